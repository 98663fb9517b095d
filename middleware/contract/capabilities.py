"""What an adapter can do. Implementing a protocol is declaring the capability.

Every protocol is runtime-checkable and its methods are abstract: a class that inherits one and
forgets half of it cannot be constructed. Methods block; the hub brings the concurrency, the
retries and the clock. Every method raises only the errors of `middleware.contract.errors`.

A write is a pair. `create_x(request, key=...)` does it and stamps the key into the remote record;
`find_x(request, key=...)` finds the record again by that key, or answers None. The request is
given to `find_x` only to narrow where to look (which conversation, which order); the key decides.
A "duplicate" answer about our own key means *found*: return its receipt, `already_existed=True`.
`find_x` raises `Duplicated` when several records bear the key.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from middleware.contract.actions import (
    CallBackRequest,
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    NoteRequest,
    Operation,
    Preview,
    Receipt,
    ReplacementOrderRequest,
    ReturnRequest,
    StoreCreditRequest,
    WithdrawalRequest,
)
from middleware.contract.canonical import (
    Account,
    Contact,
    Frozen,
    Handle,
    Instant,
    Invoice,
    Kind,
    Order,
    Record,
    Ref,
    Shipment,
)
from middleware.contract.mapping import Issue, MappingSet
from middleware.contract.paths import FOLDER

Typed = TypeVar("Typed", bound=BaseModel)


class Connection(Frozen):
    """One configured remote, as its adapter gets it: secrets resolved, mappings loaded."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """What stands in the configuration, checked by the adapter's own `Settings`."""
    secrets: Mapping[str, SecretStr] = Field(default_factory=dict)
    mappings: MappingSet
    folder: Path | None = None
    """The configuration's folder, which relative paths in the settings begin at."""

    def settings_as(self, model: type[Typed]) -> Typed:
        """The settings in their typed form, paths made whole. Raises pydantic's ValidationError."""
        return model.model_validate(dict(self.settings), context={FOLDER: self.folder})


class KeyTraits(Frozen):
    """How far a remote itself guards our key for one operation.

    `native`: the remote refuses or merges a second write with the same key, at any time, under
    any concurrency (an upsert on a unique external id, a client-chosen id). Otherwise the hub
    looks before it writes, and after a lost answer waits `settle`: the longest time in which the
    remote may still commit a request whose answer we gave up on. With a native key it asks again at
    once, and waits that long only before it believes that a second send was refused.
    """

    native: bool
    settle: timedelta = timedelta(0)


class Finding(Frozen):
    """One result of a check: a permission, a field, a limit."""

    name: str
    ok: bool
    detail: str = ""
    remedy: str = ""
    """What to do about it, in one sentence."""


class CheckReport(Frozen):
    """What `check()` found, without changing anything in the remote."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings)


class FieldInfo(Frozen):
    """A remote field, as far as the remote describes it."""

    name: str
    type: str = "string"
    label: str = ""
    required: bool = False
    writable: bool = True
    max_length: int | None = None
    values: tuple[str, ...] = ()
    unique: bool = False


class ObjectInfo(Frozen):
    """A remote object or operation, by the name that mappings use for it."""

    name: str
    fields: tuple[FieldInfo, ...]


class Description(Frozen):
    """What the remote says about itself."""

    system: str
    version: str = ""
    objects: tuple[ObjectInfo, ...] = ()


class Clue(Frozen):
    """What is known about somebody, to look them up by. All parts are exact, none is a pattern."""

    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    """E.164."""
    handles: tuple[Handle, ...] = ()
    external_ids: Mapping[str, str] = Field(default_factory=dict)
    name: str | None = None


class Quarantined(Frozen):
    """A remote record that could not be mapped: kept aside with the place and the reason."""

    kind: Kind
    id: str
    field: str
    reason: str
    place: str = ""
    """file:line:column of the mapping rule that refused it."""
    payload: dict[str, Any] = Field(default_factory=dict)


class Merged(Frozen):
    """A deleted record that somebody merged into another one in the remote."""

    gone: Ref
    into: Ref


class Page(Frozen):
    """One page of changes. `cursor` is where the next page, or the next run, starts."""

    records: tuple[Record, ...]
    deleted: tuple[Ref, ...] = ()
    merged: tuple[Merged, ...] = ()
    """Of the deleted those of which the remote says that they are another record of it now: who
    was linked to one follows."""
    quarantined: tuple[Quarantined, ...] = ()
    cursor: str
    more: bool
    as_of: Instant
    """The remote is known to be complete in this answer up to here."""
    wait: timedelta | None = None
    """Set where the remote is still preparing what was asked for: when to ask for the next page."""

    @property
    def gone(self) -> tuple[Ref, ...]:
        """What was deleted and not made again under its key since: nothing that the page shows."""
        shown = {record.ref for record in self.records}
        return tuple(ref for ref in self.deleted if ref not in shown)


class Tally(Frozen):
    """What a remote says that it holds of one kind."""

    count: int
    digest: str | None = None
    """`digest_of_ids` over all ids, where the remote can say."""


def digest_of_ids(ids: Iterable[str]) -> str:
    """A hash of a set of ids, the same in whatever order they come: the sum of their SHA-256
    modulo 2^128, in hexadecimal."""
    total = sum(int.from_bytes(hashlib.sha256(i.encode()).digest()[:16], "big") for i in ids)
    return f"{total % 2**128:032x}"


@runtime_checkable
class Adapter(Protocol):
    """What every adapter has beside its capabilities."""

    system: ClassVar[str]
    """The adapter's name: its folder, its key in `adapters.ADAPTERS`, its mappings' folder."""
    Settings: ClassVar[type[BaseModel]]
    """The typed form of `Connection.settings`; forbids unknown fields."""
    bindable: ClassVar[tuple[type, ...]] = ()
    """What the bindings of a connection may add to it, each a class of capabilities."""

    @classmethod
    @abstractmethod
    def open(cls, connection: Connection) -> Self:
        """Build it, without talking to the remote. Raises pydantic's ValidationError."""

    @abstractmethod
    def check(self) -> CheckReport:
        """Prove credentials and permissions without touching anything; name what is missing."""

    @abstractmethod
    def describe(self) -> Description:
        """The remote's version, objects and fields, for linting mappings."""

    @abstractmethod
    def key_traits(self, operation: Operation) -> KeyTraits:
        """How the remote guards our key; raises NotOffered for a write it cannot do."""

    @abstractmethod
    def close(self) -> None:
        """Give back sockets. Safe to call twice."""


@runtime_checkable
class LintsOwnFiles(Protocol):
    """Has files of its own beside the mapping files; `amends map lint` reads them too.

    Says something of the adapter, not of its connections, and is therefore no capability.
    """

    own_files: ClassVar[tuple[str, ...]]
    """What such files are called."""

    @classmethod
    @abstractmethod
    def lint(cls, path: Path, mappings: MappingSet) -> tuple[Issue, ...]:
        """Every mistake in one of them, which lies beside these mapping files."""


@runtime_checkable
class ReadsRecords(Protocol):
    """Reads any record alone that its syncs list: what lies in quarantine is tried again so.

    An adapter that lists changes offers this or `MapsAgain`. Neither is a capability that anybody
    chooses a connection by.
    """

    @abstractmethod
    def read_record(self, ref: Ref) -> Record:
        """The record as its sync would make it now; raises Missing, and MappingError."""


@runtime_checkable
class MapsAgain(Protocol):
    """Keeps remote records whole in quarantine: they are mapped again, and nobody is asked."""

    @abstractmethod
    def map_again(self, ref: Ref, payload: Mapping[str, Any]) -> Record:
        """The record that its sync would make of the payload now; raises MappingError."""


@runtime_checkable
class NamesItsRemote(Protocol):
    """Says which remote answers: one organisation, one company's database, one account.

    No capability that anybody chooses a connection by. The hub keeps what it first heard, and calls
    nothing in a remote that says something else: the ids of two systems may be the same.
    """

    @abstractmethod
    def remote_identity(self) -> str | None:
        """The same for as long as it is the same system, and no other one's; shown to people.

        What the remote itself says comes first; where it says nothing, the address it answers at.
        None where there is nothing to tell it by; a remote that fails to answer is an error.
        """


@runtime_checkable
class FindsContacts(Protocol):
    @abstractmethod
    def find_contacts(self, clue: Clue, *, limit: int = 10) -> tuple[Contact, ...]:
        """Contacts that bear any of the clue's exact parts."""


@runtime_checkable
class FindsAccounts(Protocol):
    @abstractmethod
    def find_accounts(self, clue: Clue, *, limit: int = 10) -> tuple[Account, ...]:
        """Accounts that bear any of the clue's exact parts."""


@runtime_checkable
class ReadsOrders(Protocol):
    @abstractmethod
    def read_order(self, ref: Ref) -> Order:
        """One order with its lines; raises Missing."""

    @abstractmethod
    def find_order(self, number: str) -> Order | None:
        """The order that customers know by this number."""

    @abstractmethod
    def orders_of(
        self, customer: Ref, *, since: datetime | None = None, limit: int = 50
    ) -> tuple[Order, ...]:
        """Orders of an account or contact, newest first, with their lines."""


@runtime_checkable
class ReadsShipments(Protocol):
    @abstractmethod
    def shipments_of(self, order: Ref) -> tuple[Shipment, ...]: ...


@runtime_checkable
class ReadsInvoices(Protocol):
    @abstractmethod
    def invoices_of(self, order: Ref) -> tuple[Invoice, ...]: ...


@runtime_checkable
class ListsChanges(Protocol):
    """Pages of records changed since a cursor; cursors are opaque to the hub.

    Reading the same cursor again gives the same or newer states of the same records. A page may
    overlap the last one; it never skips. `cursor=None` starts from the beginning.
    """

    change_kinds: ClassVar[tuple[Kind, ...]]

    @abstractmethod
    def changed_since(self, kind: Kind, cursor: str | None, *, limit: int = 200) -> Page: ...


@runtime_checkable
class ListsChangesBetween(Protocol):
    """Begins a list of changes at a time of the remote's own clock: what backfills go by.

    No capability that anybody chooses a connection by, and only beside `ListsChanges`.
    """

    @abstractmethod
    def cursor_between(self, kind: Kind, since: datetime, until: datetime) -> str:
        """The cursor of the records changed from `since` until `until` as they are now."""


@runtime_checkable
class CountsRecords(Protocol):
    """Says how many records of a kind there are: what a sync's receipt is held against.

    No capability that anybody chooses a connection by, and only beside `ListsChanges`. It raises
    NotOffered for a kind that cannot be counted.
    """

    @abstractmethod
    def count_records(self, kind: Kind) -> Tally:
        """What a sync that reads everything now would store or keep aside."""


@runtime_checkable
class CreatesReplacementOrders(Protocol):
    @abstractmethod
    def create_replacement_order(
        self, request: ReplacementOrderRequest, *, key: str
    ) -> Receipt: ...

    @abstractmethod
    def find_replacement_order(
        self, request: ReplacementOrderRequest, *, key: str
    ) -> Receipt | None: ...


@runtime_checkable
class AuthorisesReturns(Protocol):
    @abstractmethod
    def create_return(self, request: ReturnRequest, *, key: str) -> Receipt: ...

    @abstractmethod
    def find_return(self, request: ReturnRequest, *, key: str) -> Receipt | None: ...


@runtime_checkable
class IssuesCredits(Protocol):
    @abstractmethod
    def create_credit(self, request: CreditRequest, *, key: str) -> Receipt: ...

    @abstractmethod
    def find_credit(self, request: CreditRequest, *, key: str) -> Receipt | None: ...


@runtime_checkable
class IssuesStoreCredits(Protocol):
    @abstractmethod
    def create_store_credit(self, request: StoreCreditRequest, *, key: str) -> Receipt: ...

    @abstractmethod
    def find_store_credit(self, request: StoreCreditRequest, *, key: str) -> Receipt | None: ...


@runtime_checkable
class CancelsOrders(Protocol):
    """Cancels an order that has not shipped. The order's own state is the proof it happened."""

    @abstractmethod
    def create_cancellation(self, request: CancellationRequest, *, key: str) -> Receipt: ...

    @abstractmethod
    def find_cancellation(self, request: CancellationRequest, *, key: str) -> Receipt | None: ...


@runtime_checkable
class OpensCases(Protocol):
    @abstractmethod
    def create_case(self, request: CaseRequest, *, key: str) -> Receipt: ...

    @abstractmethod
    def find_case(self, request: CaseRequest, *, key: str) -> Receipt | None: ...


@runtime_checkable
class SchedulesCallBacks(Protocol):
    """Puts a call into somebody's day: a task or event with a time slot."""

    @abstractmethod
    def create_call_back(self, request: CallBackRequest, *, key: str) -> Receipt: ...

    @abstractmethod
    def find_call_back(self, request: CallBackRequest, *, key: str) -> Receipt | None: ...


@runtime_checkable
class WritesNotes(Protocol):
    @abstractmethod
    def create_note(self, request: NoteRequest, *, key: str) -> Receipt: ...

    @abstractmethod
    def find_note(self, request: NoteRequest, *, key: str) -> Receipt | None: ...


@runtime_checkable
class WithdrawsActions(Protocol):
    """Takes back what the hub made, for as long as the remote lets it.

    The record's own state is the proof that it happened: `find_withdrawal` answers a receipt when
    the record is cancelled, void, closed or gone, whoever did it. `create_withdrawal` raises
    `Rejected` with the remote's reason when it is too late: shipped, paid, spent.
    """

    withdrawable: ClassVar[frozenset[Operation]]
    """The operations whose effects it takes back; for any other it raises `NotOffered`."""

    @abstractmethod
    def create_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt: ...

    @abstractmethod
    def find_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt | None: ...


@runtime_checkable
class PreviewsActions(Protocol):
    """Says what a write would do by asking the remote, without leaving anything behind."""

    @abstractmethod
    def preview(self, operation: Operation, request: Frozen) -> Preview: ...


WRITES: dict[Operation, type] = {
    Operation.REPLACEMENT_ORDER: CreatesReplacementOrders,
    Operation.RETURN: AuthorisesReturns,
    Operation.CREDIT: IssuesCredits,
    Operation.STORE_CREDIT: IssuesStoreCredits,
    Operation.CANCELLATION: CancelsOrders,
    Operation.CASE: OpensCases,
    Operation.CALL_BACK: SchedulesCallBacks,
    Operation.NOTE: WritesNotes,
    Operation.WITHDRAWAL: WithdrawsActions,
}
"""The capability behind each operation: methods `create_<operation>` and `find_<operation>`."""

READS: tuple[type, ...] = (
    FindsContacts,
    FindsAccounts,
    ReadsOrders,
    ReadsShipments,
    ReadsInvoices,
    ListsChanges,
    PreviewsActions,
)

CAPABILITIES: tuple[type, ...] = (*READS, *WRITES.values())


def capabilities_of(adapter: type) -> tuple[type, ...]:
    """The capabilities that an adapter class declares, in the order of `CAPABILITIES`."""
    return tuple(c for c in CAPABILITIES if c in adapter.__mro__)
