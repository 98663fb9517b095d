"""What stands at the other end of an adapter under test: a remote whose faults can be scripted.

To put an adapter under the conformance suite, write `tests/adapters/<name>/peer.py` with

    def open_peer(tmp_path: Path) -> Peer: ...

and optionally `MARKS = ("tryton",)`, pytest markers for every test of this peer, and `ADAPTER`,
where a connection's bindings decide what it can do: the class that it has once it is open. The
suite finds the peer by its folder. What the adapter cannot do stands in `exceptions.yaml`:

    - test: test_write_under_fault[soap-note-throttled]      # a test's name; * and ? are wildcards
      reason: The remote has no rate limit to answer with.
      kind: not_offered                                      # or not_yet

Such a test must fail; one that passes fails the suite, so that an improvement shows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field

from middleware.contract.actions import Operation
from middleware.contract.canonical import Frozen, Kind, Ref
from middleware.contract.capabilities import Clue, Connection


class Fault(StrEnum):
    """What may happen to one request on its way, or on its answer's way back."""

    LOST_ANSWER = "lost_answer"
    """Applied; the line drops before a byte of the answer."""
    DROPPED_BEFORE = "dropped_before"
    """Not applied; the line drops. The adapter cannot tell it from a lost answer."""
    THROTTLED = "throttled"
    """Not applied; the remote asks us to slow down, in its vendor's words."""
    UNAVAILABLE = "unavailable"
    """Not applied; the remote, or what stands before it, says that it is down."""
    SLOW = "slow"
    """Applied; answered after the adapter's time-out."""
    MALFORMED = "malformed"
    """Applied; the answer is garbage."""
    MASKED = "masked"
    """The vendor's error that lies: an error inside a 200, a login page, a fault without a code."""
    DUPLICATE = "duplicate"
    """Writes only. Applied; the remote answers that a record with our key exists already, or of a
    withdrawal, that the record is cancelled already."""
    UNAUTHORISED = "unauthorised"
    """Not applied; the credentials are refused, as when they were revoked a moment ago."""


class Samples(Frozen):
    """What the remote holds and accepts. References bear the name of `Peer.connection()`.

    None and a missing operation mean that the adapter has no such capability.
    """

    known_clue: Clue | None = None
    """Finds at least one contact or account, for each of both that the adapter finds."""
    unknown_clue: Clue = Clue(emails=("nobody-has-this-address@example.com",))
    known_contact: Ref | None = None
    known_account: Ref | None = None
    known_order: Ref | None = None
    """An order of `known_account`, or else of `known_contact`, with at least one line."""
    known_order_number: str | None = None
    """The number of `known_order`."""
    requests: dict[Operation, Frozen] = Field(default_factory=dict)
    """One request for each operation, which the remote accepts as it stands now. What a withdrawal
    takes back is a fresh record; what the other requests make can itself be taken back."""
    impossible: dict[Operation, Frozen] = Field(default_factory=dict)
    """One request for each operation that the remote refuses for a business reason."""


class Peer(ABC):
    """A remote, real or simulated, that the suite can look into and break.

    One peer serves many tests, one after another; each test uses keys of its own.
    """

    adapter: type[Any]
    """The adapter class under test."""

    faults: frozenset[Fault] = frozenset()
    """What `arm` can do. The suite asks for all; list the others in exceptions.yaml."""

    patience_s: ClassVar[float] = 20.0
    """No call of the adapter may last longer, whatever the fault; see `hurried`."""

    hurried: ClassVar[Mapping[str, Any]] = {}
    """Settings with which the adapter soon gives up, for the tests in which the remote is slow on
    purpose. Everywhere else its limits should be as long as the busiest machine needs."""

    @abstractmethod
    def connection(self) -> Connection:
        """The connection to this peer, with secrets of at least 12 characters that occur nowhere
        else, so that the suite can look for them in errors and logs."""

    @abstractmethod
    def samples(self) -> Samples:
        """Sample data. Each call gives requests that succeed now: a cancellation, for instance,
        needs a fresh order each time."""

    @abstractmethod
    def count(self, operation: Operation, key: str) -> int:
        """Rows in the remote's own data that bear our key; never asked through the adapter.

        Not asked of a withdrawal, which need not bear a key: see `withdrawn`.
        """

    def withdrawn(self, of: Ref) -> int:
        """How often the remote took this record back: 0 or 1; never asked through the adapter.

        More when it did so twice: two reversals, two entries in its history. A peer whose adapter
        WithdrawsActions must say it.
        """
        raise AssertionError(f"this peer cannot tell whether {of} was taken back")

    def too_late(self, made_by: Operation, of: Ref) -> bool:
        """Let happen to the record what cannot be undone, as colleagues would: ship the order, pay
        the credit, make the call. False where nothing of that sort exists."""
        return False

    @abstractmethod
    def arm(self, fault: Fault, *, write: bool) -> AbstractContextManager[None]:
        """Let the next request suffer a fault: the next one that changes something, or the next
        that does not. Logging in is neither. Leaving the context disarms what was not used."""

    @abstractmethod
    def touch(self, kind: Kind) -> Ref:
        """Change a record of this kind in the remote, as a colleague would; for ListsChanges."""

    @abstractmethod
    def close(self) -> None:
        """Stop it and give back its sockets. Safe to call twice."""
