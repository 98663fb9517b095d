"""Claims: leases on customer issues, and which of them are about the same one.

Claims are a word among colleagues, not a lock on goods: what an order line may still be given is
guarded by its budget, whoever has claimed it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from middleware.contract.canonical import Frozen, Kind, Ref, Text
from middleware.domain.problems import ProblemError

LEASE = timedelta(minutes=30)
LONGEST_LEASE = timedelta(hours=24)


class ClaimKind(StrEnum):
    """What is claimed."""

    COMPLAINT = "complaint"
    PERSON = "person"
    """Everything of one customer."""
    ORDER = "order"
    LINE = "line"


class Subject(Frozen):
    """One thing that can be claimed: a complaint, a person, an order, or a line of an order."""

    complaint: Text | None = None
    person: Text | None = None
    order: Ref | None = None
    line: Text | None = None
    """The line's id within `order`."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [x for x in (self.complaint, self.person, self.order) if x is not None]
        if len(given) != 1:
            raise ValueError("a claim is on one of a complaint, a person and an order")
        if self.line is not None and self.order is None:
            raise ValueError("a line is a line of an order")
        if self.order is not None and self.order.kind is not Kind.ORDER:
            raise ValueError(f"{self.order} is a {self.order.kind}, not an order")
        return self

    @property
    def kind(self) -> ClaimKind:
        if self.complaint is not None:
            return ClaimKind.COMPLAINT
        if self.person is not None:
            return ClaimKind.PERSON
        return ClaimKind.ORDER if self.line is None else ClaimKind.LINE

    def __str__(self) -> str:
        """The subject in one word: the id of a complaint or a person, an order's reference, and
        `#` with the line behind it."""
        if self.order is None:
            return str(self.complaint or self.person)
        order = _without_mark(str(self.order))
        return order if self.line is None else f"{order}#{self.line}"

    @classmethod
    def parse(cls, text: str) -> Subject:
        """Read what `str(subject)` wrote; raises ValueError with the expected forms."""
        if text.startswith("cmp_"):
            return cls(complaint=text)
        if text.startswith("per_"):
            return cls(person=text)
        order, mark, line = text.partition("#")
        try:
            ref = Ref.parse(order.replace("%23", "#").replace("%25", "%"))
        except ValueError:
            raise ValueError(
                f"{text!r} can't be claimed; expected cmp_…, per_…, connection:order:id or "
                "connection:order:id#line"
            ) from None
        return cls(order=ref, line=line if mark else None)


def _without_mark(order: str) -> str:
    return order.replace("%", "%25").replace("#", "%23")


class Part(Frozen):
    """An order, or one of its lines, that a claim is about."""

    order: Text
    line: str | None = None

    def overlaps(self, other: Part) -> bool:
        if self.order != other.order:
            return False
        return self.line is None or other.line is None or self.line == other.line


class Scope(Frozen):
    """What a claim is about, as far as the hub knows today."""

    complaints: frozenset[str] = frozenset()
    """The complaint and all that are the same issue."""
    person: str | None = None
    everything: bool = False
    """Whether it is about all that this person has."""
    parts: tuple[Part, ...] = ()


def overlap(one: Scope, other: Scope) -> bool:
    """Whether two claims may be about the same issue.

    They are if they share a complaint; if one is about everything of a person and the other about
    anything of theirs; or if both are about the same order, unless each names lines and none is the
    same. Two complaints of one person with nothing else in common are two issues. Symmetric.
    """
    if one.complaints & other.complaints:
        return True
    of_one = one.person is not None and one.person == other.person
    if of_one and (one.everything or other.everything):
        return True
    return any(mine.overlaps(theirs) for mine in one.parts for theirs in other.parts)


class Held(Frozen):
    """A claim as somebody else is told of it: who, where, since and until when, what was said."""

    id: Text
    subject: Text
    holder: Text
    tool: str | None
    taken_at: datetime
    expires_at: datetime
    note: str | None
    actions: tuple[dict[str, Any], ...] = ()
    """Corrective actions under way for it: id, kind and state."""


class ClaimedError(ProblemError):
    """Somebody else has claimed it; `more["claims"]` says who, where, since when, until when, and
    what was promised."""

    status = 409
    slug = "claimed"

    def __init__(self, held: tuple[Held, ...], *, way_out: str) -> None:
        first = held[0]
        where = f" in {first.tool}" if first.tool else ""
        super().__init__(
            f"{first.holder} has claimed {first.subject}{where} since "
            f"{first.taken_at.isoformat()}, until {first.expires_at.isoformat()}. {way_out}",
            claims=[claim.model_dump(mode="json") for claim in held],
        )


class ClaimOptions(Frozen):
    """How long claims last; the operator decides."""

    lease: Annotated[timedelta, Field(gt=timedelta(0))] = LEASE
    longest: Annotated[timedelta, Field(gt=timedelta(0))] = LONGEST_LEASE

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.lease > self.longest:
            raise ValueError("the usual lease is longer than the longest one")
        return self
