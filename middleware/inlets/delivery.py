"""What an inlet takes and gives: a delivery, its verdict, an answer, and what could not be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

from middleware.domain.arrivals import Arrival

Trust = Literal["signature", "token", "none"]
"""How sure we are of the sender: `signature` covers the body, `token` says only who may post."""


class Headers(Mapping[str, str]):
    """HTTP headers; names compare without case. Of repeated ones the last counts."""

    def __init__(self, items: Mapping[str, str] | None = None) -> None:
        self._items = {name.lower(): value for name, value in (items or {}).items()}

    def __getitem__(self, name: str) -> str:
        return self._items[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Headers({sorted(self._items)})"  # names only: values hold credentials


@dataclass(frozen=True, slots=True)
class Delivery:
    """One HTTP request from a source, as it came: nothing is parsed yet."""

    method: str
    path: str
    body: bytes
    received_at: datetime
    """Aware."""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Any mapping is taken; it is kept as `Headers`."""

    def __post_init__(self) -> None:
        if self.received_at.tzinfo is None:
            raise ValueError("Delivery.received_at needs a time zone")
        object.__setattr__(self, "headers", Headers(self.headers))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a delivery is from its source. `reason` is for the operator, never for the sender.

    It says what was checked and, where it failed, what would have matched; it holds no secret.
    """

    ok: bool
    reason: str
    trust: Trust = "none"
    secret: int | None = None
    """Which of the given secrets matched, counted from 0: an old one still in use shows here."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a source must be answered to prove that this address is ours."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A part of a payload that should have been an arrival and could not be read."""

    place: str
    """JSON pointer into the payload; empty for the whole of it."""
    reason: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """A part of a payload that is none of our business: a like, a typing indicator, a new tag."""

    place: str
    reason: str


Reading = Arrival | Unreadable | Ignored


@runtime_checkable
class Inlet(Protocol):
    """Takes one source's webhooks. Pure: the caller brings secrets, clock and storage.

    Secrets are given newest first, two or more while one is being replaced, in three kinds told
    apart by a prefix: no prefix is a signing secret of the vendor; `token:…` is a token of ours
    that the source sends as bearer, Basic password or last part of the path; `verify:…` is a word
    for the handshake. They are kept apart because tokens and handshake words stand in access
    logs and must never be able to sign. A source that cannot sign takes unprefixed ones as tokens.
    """

    source: str

    def verify(self, delivery: Delivery, secrets: Sequence[str]) -> Verdict:
        """Check the raw bytes; call it before anything is parsed."""

    def handshake(self, delivery: Delivery, secrets: Sequence[str]) -> Answer | None:
        """The answer to the source's question whether we are we; None when it asks nothing."""

    def message_id(self, delivery: Delivery, payload: Any) -> str:
        """The same for every repetition of a delivery, different for different ones."""

    def arrivals(self, payload: Any) -> tuple[Reading, ...]:
        """What a parsed payload holds, in its order. Never raises, whatever the JSON is."""
