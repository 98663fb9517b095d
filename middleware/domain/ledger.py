"""The link ledger's words: things that may be one customer, and what was said of two of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from middleware.contract.canonical import Kind, Ref
from middleware.domain.problems import InvalidError

Thing = str
"""A person's or an identity's id, or a record's `connection:kind:id`."""

PERSON, IDENTITY = "per_", "idn_"
SOMEBODY = (Kind.CONTACT, Kind.ACCOUNT)
"""The kinds of record that are somebody."""


class Verdict(StrEnum):
    """What a person says of two things."""

    SAME = "same"
    DIFFERENT = "different"
    UNSURE = "unsure"


class ChangeKind(StrEnum):
    """What was done to persons."""

    MERGE = "merge"
    SPLIT = "split"
    UNDO = "undo"
    SETTLE = "settle"
    """A provisional person is known from now on."""
    EXPIRE = "expire"
    """Nothing was heard of a provisional person for long."""
    RETURN = "return"
    """The account of one that expired wrote again."""


class Standing(StrEnum):
    """How well the hub knows a person."""

    SETTLED = "settled"
    PROVISIONAL = "provisional"
    """An account of which nobody knows whose it is."""
    EXPIRED = "expired"
    """A provisional person of whom nothing was heard for long."""


BEFORE = {
    ChangeKind.SETTLE: Standing.PROVISIONAL,
    ChangeKind.EXPIRE: Standing.PROVISIONAL,
    ChangeKind.RETURN: Standing.EXPIRED,
}
"""What a person was until such a change."""


def standing_at(now: Standing, changes: Iterable[tuple[datetime, str]], at: datetime) -> Standing:
    """What a person was at a moment: what the first change after it says they were until then.

    `now` is what they are, `changes` are when and what kind, oldest first.
    """
    later = (ChangeKind(kind) for made_at, kind in changes if made_at > at)
    return next((BEFORE[kind] for kind in later if kind in BEFORE), now)


def is_person(thing: Thing) -> bool:
    return thing.startswith(PERSON) and ":" not in thing


def is_identity(thing: Thing) -> bool:
    return thing.startswith(IDENTITY) and ":" not in thing


def record(thing: Thing) -> Ref | None:
    """The record that a thing is, if it is one."""
    return Ref.parse(thing) if ":" in thing else None


def in_order(one: Thing, other: Thing) -> tuple[Thing, Thing]:
    """A pair is the same whichever is said first."""
    return (one, other) if one <= other else (other, one)


def checked(text: str, pointer: str) -> Thing:
    """A thing as somebody wrote it; raises InvalidError with the place."""
    if is_person(text) or is_identity(text):
        return text
    try:
        ref = Ref.parse(text)
    except ValueError:
        ref = None
    if ref is None or ref.kind not in SOMEBODY:
        raise InvalidError(
            f"{text!r} is nobody: say a person (per_…), an identity (idn_…) or a contact or "
            "account (connection:kind:id).",
            errors=[
                {
                    "pointer": pointer,
                    "code": "thing",
                    "detail": "must be per_…, idn_…, connection:contact:id or "
                    "connection:account:id",
                }
            ],
        )
    return str(ref)
