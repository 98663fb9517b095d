"""Everything an adapter can do, over a remote that lives in this process.

Read this before you write your own, top to bottom: the class inherits one protocol for each thing
it can do, opens without talking to the remote, gives canonical records out, and every write is a
pair. What a vendor would make you do besides, `docs/add-an-adapter.md` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Self, TypeVar

from adapters.memory.client import SYSTEM, Client, DuplicateKey
from adapters.memory.remote import LEAD, Remote, Row, delivery
from adapters.memory.settings import MemorySettings
from middleware.contract.actions import (
    CallBackRequest,
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    Effect,
    NoteRequest,
    Operation,
    Preview,
    Receipt,
    ReplacementOrderRequest,
    ReturnRequest,
    Speed,
    StoreCreditRequest,
    WithdrawalRequest,
)
from middleware.contract.canonical import (
    CANONICAL,
    Account,
    Contact,
    Frozen,
    Invoice,
    Kind,
    Order,
    Record,
    Ref,
    Shipment,
)
from middleware.contract.capabilities import (
    WRITES,
    Adapter,
    AuthorisesReturns,
    CancelsOrders,
    CheckReport,
    Clue,
    Connection,
    CountsRecords,
    CreatesReplacementOrders,
    Description,
    FieldInfo,
    Finding,
    FindsAccounts,
    FindsContacts,
    IssuesCredits,
    IssuesStoreCredits,
    KeyTraits,
    ListsChanges,
    ListsChangesBetween,
    Merged,
    NamesItsRemote,
    ObjectInfo,
    OpensCases,
    Page,
    PreviewsActions,
    ReadsInvoices,
    ReadsOrders,
    ReadsRecords,
    ReadsShipments,
    SchedulesCallBacks,
    Tally,
    WithdrawsActions,
    WritesNotes,
    digest_of_ids,
)
from middleware.contract.errors import Ambiguous, Duplicated, NotOffered, Rejected, RemoteError

T = TypeVar("T")

_CURSOR = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)
"""A place in the log; of a window of the past also where it ends."""


class MemoryAdapter(
    Adapter,
    NamesItsRemote,
    FindsContacts,
    FindsAccounts,
    ReadsOrders,
    ReadsShipments,
    ReadsInvoices,
    ListsChanges,
    ListsChangesBetween,
    CountsRecords,
    ReadsRecords,
    PreviewsActions,
    CreatesReplacementOrders,
    AuthorisesReturns,
    IssuesCredits,
    IssuesStoreCredits,
    CancelsOrders,
    OpensCases,
    SchedulesCallBacks,
    WritesNotes,
    WithdrawsActions,
):
    """A remote in memory. Tests reach it with `Remote.named(connection name)`."""

    system: ClassVar[str] = SYSTEM
    Settings: ClassVar[type[MemorySettings]] = MemorySettings
    change_kinds: ClassVar[tuple[Kind, ...]] = tuple(CANONICAL)
    withdrawable: ClassVar[frozenset[Operation]] = frozenset(
        {
            Operation.REPLACEMENT_ORDER,
            Operation.RETURN,
            Operation.CREDIT,
            Operation.STORE_CREDIT,
            Operation.CASE,
            Operation.CALL_BACK,
        }
    )

    def __init__(self, connection: str, settings: MemorySettings, client: Client) -> None:
        self._connection = connection
        self._settings = settings
        self._client = client
        self._remote = client.remote

    @classmethod
    def open(cls, connection: Connection) -> Self:
        settings = connection.settings_as(MemorySettings)
        token = connection.secrets.get("token")
        client = Client(
            Remote.named(settings.remote or connection.name),
            token=token.get_secret_value() if token else None,
            timeout_s=settings.timeout_s,
        )
        return cls(connection.name, settings, client)

    def close(self) -> None:
        """Nothing is held open."""

    # --- what the remote is and lets us do --------------------------------------------------------

    def check(self) -> CheckReport:
        try:
            allowed = self._client.call("check", lambda: self._remote.permissions)
        except RemoteError as error:
            remedy = "check the connection's token and whether the system is up"
            finding = Finding(name="connect", ok=False, detail=error.message, remedy=remedy)
            return CheckReport(findings=(finding,))
        return CheckReport(
            findings=(
                Finding(name="connect", ok=True),
                *(
                    Finding(
                        name=f"write {operation}",
                        ok=operation in allowed,
                        detail="" if operation in allowed else "the token lacks this permission",
                        remedy="" if operation in allowed else f"allow the token to {operation}",
                    )
                    for operation in WRITES
                ),
            )
        )

    def describe(self) -> Description:
        return self._client.call(
            "describe",
            lambda: Description(
                system=SYSTEM,
                version="1",
                objects=tuple(
                    ObjectInfo(
                        name=kind,
                        fields=tuple(
                            FieldInfo(name=name, required=field.is_required())
                            for name, field in record.model_fields.items()
                        ),
                    )
                    for kind, record in CANONICAL.items()
                ),
            ),
        )

    def remote_identity(self) -> str | None:
        return self._client.call("remote_identity", lambda: self._remote.tenant)

    def key_traits(self, operation: Operation) -> KeyTraits:
        return KeyTraits(
            native=operation in self._settings.native,
            settle=timedelta(seconds=self._settings.settle_s),
        )

    # --- reads ------------------------------------------------------------------------------------

    def find_contacts(self, clue: Clue, *, limit: int = 10) -> tuple[Contact, ...]:
        return self._select("find_contacts", Contact, lambda c: _known_by(c, clue), limit)

    def find_accounts(self, clue: Clue, *, limit: int = 10) -> tuple[Account, ...]:
        return self._select("find_accounts", Account, lambda a: _known_by(a, clue), limit)

    def read_order(self, ref: Ref) -> Order:
        return self._client.call("read_order", lambda: self._remote.get(ref, Order))

    def find_order(self, number: str) -> Order | None:
        found = self._select("find_order", Order, lambda order: order.number == number, 1)
        return found[0] if found else None

    def orders_of(
        self, customer: Ref, *, since: datetime | None = None, limit: int = 50
    ) -> tuple[Order, ...]:
        oldest = datetime.min.replace(tzinfo=UTC)
        orders = self._select(
            "orders_of",
            Order,
            lambda order: (
                customer in (order.account, order.contact)
                and (since is None or (order.placed_at or oldest) >= since)
            ),
            None,
        )
        newest_first = sorted(orders, key=lambda order: order.placed_at or oldest, reverse=True)
        return tuple(newest_first[:limit])

    def shipments_of(self, order: Ref) -> tuple[Shipment, ...]:
        return self._select("shipments_of", Shipment, lambda s: s.order == order, None)

    def invoices_of(self, order: Ref) -> tuple[Invoice, ...]:
        return self._select("invoices_of", Invoice, lambda i: i.order == order, None)

    def changed_since(self, kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        if kind not in self.change_kinds:
            message = f"this system lists no changes of {kind} records"
            raise NotOffered(message, system=SYSTEM, operation="changed_since")
        places = _CURSOR.fullmatch(cursor or "0")
        # A remote that began anew has a shorter log than the one that the cursor was made for.
        if places is None or int(places[1]) > len(self._remote.log):
            message = "that is no cursor of this adapter; begin anew without one"
            raise Rejected(message, system=SYSTEM, operation="changed_since", field="cursor")
        start, last = int(places[1]), int(places[2]) if places[2] else None

        def page() -> Page:
            changes = self._remote.changes(kind, start, last)
            chosen = changes[:limit]
            # As they are now: in a window of the past, one may have been deleted after it.
            there = set(self._remote.ids(kind))
            gone = tuple(ref for _, ref, _ in chosen if ref.id not in there)
            merged = self._remote.merged
            following = str(chosen[-1][0] if chosen else start)
            return Page(
                records=tuple(
                    self._remote.get(ref, Record) for _, ref, _ in chosen if ref.id in there
                ),
                deleted=gone,
                merged=tuple(Merged(gone=r, into=merged[r]) for r in gone if r in merged),
                cursor=following if last is None else f"{following}-{last}",
                more=len(changes) > limit,
                as_of=datetime.now(UTC),
            )

        return self._client.call("changed_since", page)

    def cursor_between(self, kind: Kind, since: datetime, until: datetime) -> str:
        begin, end = self._client.call("cursor_between", lambda: self._remote.between(since, until))
        return f"{begin}-{end}"

    def count_records(self, kind: Kind) -> Tally:
        ids = self._client.call("count_records", lambda: self._remote.ids(kind))
        return Tally(count=len(ids), digest=digest_of_ids(ids))

    def read_record(self, ref: Ref) -> Record:
        return self._client.call("read_record", lambda: self._remote.get(ref, Record))

    def preview(self, operation: Operation, request: Frozen) -> Preview:
        if isinstance(request, WithdrawalRequest):
            found = self.find_withdrawal(request, key=request.made_under)
            if found is not None:
                return Preview(
                    effects=(Effect(what="nothing would change"),),
                    warnings=(f"it is taken back already: {found.status}",),
                    exact=True,
                )
        row = self._client.call(
            "preview",
            lambda: self._remote.validate(operation, request, connection=self._connection),
        )
        amount = row.total if isinstance(row, Invoice) else None
        what = f"a {operation.replace('_', ' ')} would be made"
        if isinstance(request, WithdrawalRequest):
            what = f"the {request.of.kind} {request.of.id} would be taken back"
        effects = [Effect(what=what, amount=amount)]
        warnings: list[str] = []
        if isinstance(request, ReplacementOrderRequest):
            effects.append(Effect(what=f"it would arrive on {delivery(request)}"))
            warnings = self._doubts(request)
        return Preview(effects=tuple(effects), warnings=tuple(warnings), exact=True)

    def _doubts(self, request: ReplacementOrderRequest) -> list[str]:
        """What stands against a delivery as wished: too little in stock, too short a time."""
        stock = self._client.call("preview", lambda: dict(self._remote.stock))
        doubts = [
            f"{stock[line.sku]} of {line.sku} are in stock, {line.quantity} are wanted"
            for line in request.lines
            if line.sku in stock and stock[line.sku] < line.quantity
        ]
        soonest = datetime.now(UTC).date() + LEAD[Speed.RUSH]
        if delivery(request) < soonest:
            doubts.append(f"the soonest delivery is on {soonest}")
        return doubts

    # --- writes: each is a pair -------------------------------------------------------------------

    def create_replacement_order(self, request: ReplacementOrderRequest, *, key: str) -> Receipt:
        return self._create(Operation.REPLACEMENT_ORDER, request, key)

    def find_replacement_order(
        self, request: ReplacementOrderRequest, *, key: str
    ) -> Receipt | None:
        return self._find(Operation.REPLACEMENT_ORDER, key)

    def create_return(self, request: ReturnRequest, *, key: str) -> Receipt:
        return self._create(Operation.RETURN, request, key)

    def find_return(self, request: ReturnRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.RETURN, key)

    def create_credit(self, request: CreditRequest, *, key: str) -> Receipt:
        return self._create(Operation.CREDIT, request, key)

    def find_credit(self, request: CreditRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.CREDIT, key)

    def create_store_credit(self, request: StoreCreditRequest, *, key: str) -> Receipt:
        return self._create(Operation.STORE_CREDIT, request, key)

    def find_store_credit(self, request: StoreCreditRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.STORE_CREDIT, key)

    def create_cancellation(self, request: CancellationRequest, *, key: str) -> Receipt:
        return self._create(Operation.CANCELLATION, request, key)

    def find_cancellation(self, request: CancellationRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.CANCELLATION, key)

    def create_case(self, request: CaseRequest, *, key: str) -> Receipt:
        return self._create(Operation.CASE, request, key)

    def find_case(self, request: CaseRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.CASE, key)

    def create_call_back(self, request: CallBackRequest, *, key: str) -> Receipt:
        return self._create(Operation.CALL_BACK, request, key)

    def find_call_back(self, request: CallBackRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.CALL_BACK, key)

    def create_note(self, request: NoteRequest, *, key: str) -> Receipt:
        return self._create(Operation.NOTE, request, key)

    def find_note(self, request: NoteRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.NOTE, key)

    def create_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt:
        """Cancel, void or close what was made. What is taken back already is found."""
        self._may_withdraw(request)
        try:
            return self._write(Operation.WITHDRAWAL, request, key)
        except DuplicateKey:
            found = self.find_withdrawal(request, key=key)
            if found is None:
                message = "the system says that it is taken back, and shows it standing"
                raise Ambiguous(message, system=SYSTEM, operation=Operation.WITHDRAWAL) from None
            return found

    def find_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt | None:
        """The record's own state is the proof, whoever took it back."""
        self._may_withdraw(request)
        ended = self._client.call("find_withdrawal", lambda: self._remote.ended(request.of))
        if ended is None:
            return None
        status, number = ended
        return Receipt(ref=request.of, key=key, number=number, status=status, already_existed=True)

    def _may_withdraw(self, request: WithdrawalRequest) -> None:
        if request.made_by not in self.withdrawable:
            message = f"this system cannot take back a {request.made_by}"
            raise NotOffered(message, system=SYSTEM, operation=Operation.WITHDRAWAL)

    def _create(self, operation: Operation, request: Frozen, key: str) -> Receipt:
        try:
            return self._write(operation, request, key)
        except DuplicateKey:
            found = self._find(operation, key)
            if found is None:
                message = "the system says that our key exists and does not find it"
                raise Ambiguous(message, system=SYSTEM, operation=operation) from None
            return found

    def _write(self, operation: Operation, request: Frozen, key: str) -> Receipt:
        ref, row, existed = self._client.call(
            operation,
            lambda: self._remote.write(
                operation,
                request,
                key=key,
                unique=operation in self._settings.native,
                connection=self._connection,
            ),
            write=True,
        )
        return _receipt(ref, row, key, existed=existed)

    def _find(self, operation: Operation, key: str) -> Receipt | None:
        rows = self._client.call(f"find_{operation}", lambda: self._remote.written(operation, key))
        if len(rows) > 1:
            message = f"{len(rows)} records bear the key {key}; keep one and cancel the others"
            raise Duplicated(message, system=SYSTEM, operation=operation)
        return _receipt(*rows[0], key, existed=True) if rows else None

    def _select(
        self, operation: str, kind: type[T], wanted: Callable[[T], bool], limit: int | None
    ) -> tuple[T, ...]:
        found = self._client.call(
            operation, lambda: [record for record in self._remote.all(kind) if wanted(record)]
        )
        return tuple(found[:limit])


def _receipt(ref: Ref, row: Row, key: str, *, existed: bool) -> Receipt:
    return Receipt(
        ref=ref,
        key=key,
        number=getattr(row, "number", None),
        already_existed=existed,
    )


def _known_by(record: Contact | Account, clue: Clue) -> bool:
    """Whether the record bears any exact part of the clue."""
    mails = {mail.casefold() for mail in record.emails}
    handles = record.handles if isinstance(record, Contact) else ()
    return (
        not mails.isdisjoint(mail.casefold() for mail in clue.emails)
        or not set(record.phones).isdisjoint(clue.phones)
        or any(
            clue.external_ids.get(system) == known for system, known in record.external_ids.items()
        )
        or any(
            (theirs.native_id or theirs.handle) is not None
            and theirs.network == ours.network
            and (
                theirs.native_id == ours.native_id is not None
                or theirs.handle == ours.handle is not None
            )
            for theirs in clue.handles
            for ours in handles
        )
    )
