"""Tryton: its parties, sales, shipments and invoices, and what can be put right in it.

A party is an account, and a contact where it is a person. A replacement order is a sale at no
charge; a case, a return and a credit are complaints, the latter two with an action that Tryton
carries out when the complaint is approved.

Tryton's `reference` bears our key and is not unique. Every write is therefore made as a draft that
does nothing yet, in one call; what makes it count, confirming or approving, comes after a look at
whether it is the only one with its key. Of any number of writers at most one gets beyond the draft.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel

from adapters.tryton import checking, parties
from adapters.tryton.changes import STREAMS, Changes
from adapters.tryton.client import SYSTEM, Client, Row
from adapters.tryton.planning import SALE, Planner, cancellable
from adapters.tryton.records import Records, ids_in, missing
from adapters.tryton.settings import Secrets, TrytonSettings
from adapters.tryton.withdrawing import INVOICE, WITHDRAWABLE, Standing, Withdrawals
from middleware.contract.actions import (
    PREVIEW_KEY,
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    Operation,
    Preview,
    Receipt,
    ReplacementOrderRequest,
    ReturnRequest,
    WithdrawalRequest,
)
from middleware.contract.canonical import (
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
    Adapter,
    AuthorisesReturns,
    CancelsOrders,
    CheckReport,
    Clue,
    Connection,
    CountsRecords,
    CreatesReplacementOrders,
    Description,
    FindsAccounts,
    FindsContacts,
    IssuesCredits,
    KeyTraits,
    ListsChanges,
    ListsChangesBetween,
    NamesItsRemote,
    OpensCases,
    Page,
    PreviewsActions,
    ReadsInvoices,
    ReadsOrders,
    ReadsRecords,
    ReadsShipments,
    Tally,
    WithdrawsActions,
)
from middleware.contract.errors import (
    Ambiguous,
    Busy,
    Duplicated,
    Missing,
    NotOffered,
    Permanent,
    RemoteError,
    Transient,
)
from middleware.contract.wire import classifying

OPERATIONS = (
    Operation.REPLACEMENT_ORDER,
    Operation.RETURN,
    Operation.CREDIT,
    Operation.CANCELLATION,
    Operation.CASE,
    Operation.WITHDRAWAL,
)
KINDS = {
    Operation.REPLACEMENT_ORDER: Kind.ORDER,
    Operation.RETURN: Kind.RETURN,
    # Until the complaint is approved there is no credit note that it could refer to.
    Operation.CREDIT: Kind.CASE,
    Operation.CANCELLATION: Kind.ORDER,
    Operation.CASE: Kind.CASE,
}
"""What a receipt refers to. Returns and credits are the complaints that make them; a credit is its
credit note once Tryton made that, so that whoever lists invoices knows it again."""

R = TypeVar("R", bound=Record)
P = TypeVar("P", Contact, Account)


class TrytonAdapter(
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
    CancelsOrders,
    OpensCases,
    WithdrawsActions,
):
    """Speaks JSON-RPC to one database of one Tryton."""

    system: ClassVar[str] = SYSTEM
    Settings: ClassVar[type[BaseModel]] = TrytonSettings
    change_kinds: ClassVar[tuple[Kind, ...]] = tuple(STREAMS)
    withdrawable: ClassVar[frozenset[Operation]] = frozenset(WITHDRAWABLE)

    def __init__(self, connection: Connection, settings: TrytonSettings, secrets: Secrets) -> None:
        self._connection = connection
        self._settings = settings
        self._client = Client(
            settings.url,
            settings.database,
            settings.user,
            secrets.password.get_secret_value(),
            settings.limits,
            ca_file=settings.ca_file,
            accept_warnings=settings.accept_warnings,
        )
        self._records = Records(self._client, connection, settings)
        self._planner = Planner(self._client, self._records, connection, settings)
        self._withdrawals = Withdrawals(self._client, self._records)
        self._changes = Changes(self._client, self._records, settings, connection.name)

    @classmethod
    def open(cls, connection: Connection) -> Self:
        settings = connection.settings_as(TrytonSettings)
        secrets = Secrets.model_validate(dict(connection.secrets))
        return cls(connection, settings, secrets)

    def close(self) -> None:
        self._client.close()

    # What Tryton is and lets us do.

    def check(self) -> CheckReport:
        return checking.check(self._client, self._settings)

    def describe(self) -> Description:
        models = {mapping.object for mapping in self._connection.mappings.mappings}
        with classifying(write=False, system=SYSTEM, operation="describe"):
            return checking.describe(self._client, sorted(models))

    def remote_identity(self) -> str | None:
        with classifying(write=False, system=SYSTEM, operation="remote_identity"):
            return checking.identity(self._client, self._settings)

    def key_traits(self, operation: Operation) -> KeyTraits:
        """The key is text in a field that need not be unique: Tryton does not guard it."""
        if operation not in OPERATIONS:
            raise self._not_offered(f"Tryton takes no {operation}", str(operation))
        return KeyTraits(native=False, settle=self._settings.settle)

    # Who it is.

    def find_contacts(self, clue: Clue, *, limit: int = 10) -> tuple[Contact, ...]:
        return self._parties(Kind.CONTACT, Contact, clue, limit, "find_contacts")

    def find_accounts(self, clue: Clue, *, limit: int = 10) -> tuple[Account, ...]:
        return self._parties(Kind.ACCOUNT, Account, clue, limit, "find_accounts")

    def _parties(
        self, kind: Kind, model: type[P], clue: Clue, limit: int, operation: str
    ) -> tuple[P, ...]:
        """Parties that Tryton finds by any part of the clue, compared exactly on our side."""
        found: list[P] = []
        domain = parties.domain(clue)
        if not domain:
            return ()
        if kind is Kind.CONTACT and self._settings.person_category:
            domain = [domain, ["categories.name", "=", self._settings.person_category]]
        with classifying(write=False, system=SYSTEM, operation=operation):
            ids = self._records.ids("party.party", domain, operation, limit=20 * limit)
            for row in self._records.rows(kind, ids, operation=operation):
                record = self._records.record(kind, row)
                assert isinstance(record, model)
                if parties.bears(record, clue):
                    found.append(record)
        return tuple(found[:limit])

    # What they bought.

    def read_order(self, ref: Ref) -> Order:
        with classifying(write=False, system=SYSTEM, operation="read_order"):
            id_ = self._records.id_of(ref, (Kind.ORDER,), "read_order")
            orders = self._orders([id_], "read_order")
        if not orders:
            raise missing(Kind.ORDER, "read_order")
        return orders[0]

    def find_order(self, number: str) -> Order | None:
        with classifying(write=False, system=SYSTEM, operation="find_order"):
            if not number.isprintable():
                return None
            # Numbers are unique within a company's sequence; of several the newest is meant.
            domain = [["number", "=", number]]
            ids = self._records.ids(SALE, domain, "find_order", limit=1, order=(("id", "DESC"),))
            return next(iter(self._orders(ids, "find_order")), None)

    def orders_of(
        self, customer: Ref, *, since: datetime | None = None, limit: int = 50
    ) -> tuple[Order, ...]:
        """Sales to the party, and for a contact also those that name them as the one to talk to."""
        operation = "orders_of"
        with classifying(write=False, system=SYSTEM, operation=operation):
            id_ = self._records.id_of(customer, (Kind.CONTACT, Kind.ACCOUNT), operation)
            domain: list[Any] = [["party", "=", id_]]
            if customer.kind is Kind.CONTACT:
                domain = [["OR", ["party", "=", id_], ["contact.party", "=", id_]]]
            if since is not None:
                undated = [["sale_date", "=", None], ["create_date", ">=", since]]
                # The day's own beginning depends on the company's zone; the record decides.
                day = since.astimezone(UTC).date()
                domain.append(["OR", ["sale_date", ">=", day - timedelta(days=1)], undated])
            newest = (("sale_date", "DESC NULLS FIRST"), ("id", "DESC"))
            ids = self._records.ids(SALE, domain, operation, limit=limit, order=newest)
            orders = self._orders(ids, operation)
        oldest = datetime.min.replace(tzinfo=UTC)
        kept = [one for one in orders if since is None or (one.placed_at or oldest) >= since]
        return tuple(sorted(kept, key=lambda one: one.placed_at or oldest, reverse=True))

    def _orders(self, ids: Sequence[int], operation: str) -> list[Order]:
        rows = self._records.rows(Kind.ORDER, ids, operation=operation)
        return [_as(Order, self._records.record(Kind.ORDER, row)) for row in rows]

    def shipments_of(self, order: Ref) -> tuple[Shipment, ...]:
        """Also those that other orders share; they are given as this order's."""
        operation = "shipments_of"
        with classifying(write=False, system=SYSTEM, operation=operation):
            sale = self._records.sale(order, ("shipments",), operation)
            ids = ids_in(sale["shipments"])
            rows = self._records.rows(Kind.SHIPMENT, ids, operation=operation)
            found = [_as(Shipment, self._records.record(Kind.SHIPMENT, row)) for row in rows]
        return tuple(one.model_copy(update={"order": order}) for one in found)

    def invoices_of(self, order: Ref) -> tuple[Invoice, ...]:
        """What was billed, and the credit notes of complaints about the order or its invoices."""
        operation = "invoices_of"
        with classifying(write=False, system=SYSTEM, operation=operation):
            fields = ("invoices.lines", "line_lines")
            sale = self._records.sale(order, fields, operation)
            bills: list[Row] = sale["invoices"]
            origins = [f"{SALE},{sale['id']}"]
            origins += [f"sale.line,{id_}" for id_ in ids_in(sale["line_lines"])]
            origins += [f"account.invoice,{bill['id']}" for bill in bills]
            origins += [f"account.invoice.line,{id_}" for b in bills for id_ in ids_in(b["lines"])]
            actions = self._client.search_read(
                "sale.complaint.action",
                [["complaint.origin", "in", origins]],
                ("result",),
                operation=operation,
            )
            credits_ = [id_ for one in actions for id_ in ids_in(one["result"], "account.invoice")]
            ids = [*ids_in(bills), *sorted(set(credits_))]
            rows = self._records.rows(Kind.INVOICE, ids, operation=operation)
            found = [_as(Invoice, self._records.record(Kind.INVOICE, row)) for row in rows]
        return tuple(one.model_copy(update={"order": order}) for one in found)

    def changed_since(self, kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        if kind not in STREAMS:
            raise self._not_offered(f"changes of a {kind} cannot be listed", "changed_since")
        with classifying(write=False, system=SYSTEM, operation="changed_since"):
            return self._changes.page(kind, cursor, limit=limit)

    def cursor_between(self, kind: Kind, since: datetime, until: datetime) -> str:
        if kind not in STREAMS:
            raise self._not_offered(f"changes of a {kind} cannot be listed", "cursor_between")
        return self._changes.between(kind, since, until)

    def count_records(self, kind: Kind) -> Tally:
        operation = "count_records"
        if kind not in STREAMS:
            raise self._not_offered(f"changes of a {kind} cannot be listed", operation)
        with classifying(write=False, system=SYSTEM, operation=operation):
            return Tally(count=self._changes.count(kind))

    def read_record(self, ref: Ref) -> Record:
        operation = "read_record"
        with classifying(write=False, system=SYSTEM, operation=operation):
            id_ = self._records.id_of(ref, self.change_kinds, operation)
            rows = self._records.rows(ref.kind, [id_], operation=operation)
            rows = [row for row in rows if self._records.belongs(ref.kind, row)]
            if not rows:
                raise missing(ref.kind, operation)
            return self._records.record(ref.kind, rows[0])

    def preview(self, operation: Operation, request: Frozen) -> Preview:
        """What would be sent and what it is worth, by Tryton's own arithmetic.

        Not exact: only a try would show every rule of Tryton's, and a try leaves a gap in the
        sequence of order numbers.
        """
        with classifying(write=False, system=SYSTEM, operation="preview"):
            if operation is Operation.CANCELLATION:
                return self._planner.cancellation(request, "preview")
            if isinstance(request, WithdrawalRequest):
                return self._withdrawals.preview(request, "preview")
            return self._planner.plan(operation, request, PREVIEW_KEY, "preview", dry=True).preview

    # What puts it right: each a pair.

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

    def create_case(self, request: CaseRequest, *, key: str) -> Receipt:
        return self._create(Operation.CASE, request, key)

    def find_case(self, request: CaseRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.CASE, key)

    def create_cancellation(self, request: CancellationRequest, *, key: str) -> Receipt:
        """Presses Cancel; a confirmed sale goes back to draft first. One in process is refused."""
        operation = "create_cancellation"
        sale = self._records.sale(request.order, ("state", "_timestamp"), operation)
        id_, state, seen = sale["id"], sale["state"], sale["_timestamp"]
        if state == "cancelled":
            return self._receipt(Operation.CANCELLATION, SALE, id_, key, operation, existed=True)
        cancellable(state, operation)
        back = state == "confirmed"
        if back:
            self._client.press(SALE, "draft", id_, operation=operation, key=key, seen=seen)
        with _begun("the order is a draft again", operation, begun=back):
            again = None if back else seen
            self._client.press(SALE, "cancel", id_, operation=operation, key=key, seen=again)
        with _begun("the order is cancelled", operation):
            return self._receipt(Operation.CANCELLATION, SALE, id_, key, operation, existed=False)

    def find_cancellation(self, request: CancellationRequest, *, key: str) -> Receipt | None:
        """The order's state is the proof, whoever cancelled it."""
        operation = "find_cancellation"
        sale = self._records.sale(request.order, ("state",), operation)
        if sale["state"] != "cancelled":
            return None
        return self._receipt(Operation.CANCELLATION, SALE, sale["id"], key, operation, existed=True)

    def create_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt:
        """Cancels the draft that was made, or the shipments of a sale that is in process."""
        operation = "create_withdrawal"
        made, before = self._withdrawals.take_back(request, key, operation)
        return self._taken_back(made, request, key, existed=before)

    def find_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt | None:
        """The record's state is the proof, whoever cancelled it."""
        with classifying(write=False, system=SYSTEM, operation="find_withdrawal"):
            made = self._withdrawals.standing(request, "find_withdrawal")
        return self._taken_back(made, request, key, existed=True) if made.done else None

    def _taken_back(
        self, made: Standing, request: WithdrawalRequest, key: str, *, existed: bool
    ) -> Receipt:
        return Receipt(
            ref=request.of,
            key=key,
            number=made.number,
            status="cancelled",
            already_existed=existed,
            url=self._url(made.model, made.id),
        )

    # How a write is made.

    def _create(self, what: Operation, request: Frozen, key: str) -> Receipt:
        """Find it, else make the draft, see that it is alone, and let it count."""
        operation = f"create_{what}"
        found = self._found(what, key, operation)
        if found is not None:
            return found
        plan = self._planner.plan(what, request, key, operation)
        id_ = self._client.create(plan.model, plan.values, operation=operation, key=key)
        with _begun("the draft is made", operation):
            try:
                alone = self._bearing(plan.model, plan.field, key, operation) == [id_]
                if alone:
                    self._carry_on(what, plan.model, id_, key, operation)
                    return self._receipt(what, plan.model, id_, key, operation, existed=False)
            except Permanent as refusal:
                self._take_back(plan.model, id_, key, operation, refusal.message)
                raise
            self._take_back(plan.model, id_, key, operation, "another one is there")
        raise Busy(
            "another process wrote the same at the same moment; this one's is taken back",
            system=SYSTEM,
            operation=operation,
        )

    def _find(self, what: Operation, key: str) -> Receipt | None:
        return self._found(what, key, f"find_{what}")

    def _found(self, what: Operation, key: str, operation: str) -> Receipt | None:
        """The record with the key, carried on where it stopped; raises Duplicated."""
        model, field = self._planner.place_of_key(what, operation)
        ids = self._bearing(model, field, key, operation)
        if not ids:
            return None
        if len(ids) > 1:
            raise Duplicated(
                f"{len(ids)} records bear our key; keep one and cancel the others in Tryton",
                system=SYSTEM,
                operation=operation,
            )
        try:
            self._carry_on(what, model, ids[0], key, operation)
        except Permanent as refusal:
            # It exists and goes no further by itself: neither done nor undone.
            raise Ambiguous(
                f"the record exists and does not count yet; {refusal.message}",
                system=SYSTEM,
                operation=operation,
                code=refusal.code,
                field=refusal.field,
            ) from None
        except Ambiguous as lost:
            # The buttons are pressed by what the state says, so looking again is safe.
            raise Transient(lost.message, system=SYSTEM, operation=operation) from None
        return self._receipt(what, model, ids[0], key, operation, existed=True)

    def _bearing(self, model: str, field: str, key: str, operation: str) -> list[int]:
        """Ids of the records whose field is the key; three tell as much as a thousand."""
        rows = self._client.search_read(
            model, [[field, "=", key]], (field,), operation=operation, limit=3
        )
        return [row["id"] for row in rows if row[field] == key]

    def _carry_on(self, what: Operation, model: str, id_: int, key: str, operation: str) -> None:
        """Press the buttons that the record's state and the settings still ask for."""
        for button, before in self._buttons(what):
            if self._state(model, id_, operation) != before:
                continue
            try:
                self._client.press(model, button, id_, operation=operation, key=key)
            except Permanent:
                # Somebody else may have pressed it between our look and our press.
                if self._state(model, id_, operation) == before:
                    raise

    def _buttons(self, what: Operation) -> tuple[tuple[str, str], ...]:
        """Button and the state in which it is pressed, in order."""
        if what is Operation.REPLACEMENT_ORDER:
            return (("quote", "draft"), ("confirm", "quotation")) if self._settings.confirm else ()
        if what is Operation.CASE:
            return (("wait", "draft"),) if self._settings.submit_cases else ()
        return (("wait", "draft"), ("approve", "waiting")) if self._settings.approve else ()

    def _take_back(self, model: str, id_: int, key: str, operation: str, why: str) -> None:
        """Delete a draft of ours, so that nothing happened; Ambiguous where that fails."""
        back = {"quotation": "cancel", "waiting": "draft"}
        try:
            state = self._state(model, id_, operation)
            if state in back:
                self._client.press(model, back[state], id_, operation=operation, key=key)
            self._client.delete(model, id_, operation=operation, key=key)
        except RemoteError:
            raise Ambiguous(
                f"a draft with our key is left in Tryton; {why}", system=SYSTEM, operation=operation
            ) from None

    def _state(self, model: str, id_: int, operation: str) -> str:
        rows = self._client.read(model, [id_], ("state",), operation=operation)
        return str(rows[0]["state"]) if rows else ""

    def _receipt(
        self, what: Operation, model: str, id_: int, key: str, operation: str, *, existed: bool
    ) -> Receipt:
        fields = ["number", "state", "create_date"]
        if what is Operation.CREDIT:
            fields.append("actions.result")
        try:
            (row,) = self._client.read(model, [id_], fields, operation=operation)
        except (Missing, ValueError):
            # Another writer took its draft back between our look and this.
            raise Busy("the record vanished just now", system=SYSTEM, operation=operation) from None
        # Tryton works on what is confirmed or approved when its queue gets to it.
        pending = row["state"] in ("confirmed", "waiting", "approved")
        kind, made = KINDS[what], id_
        for action in row.get("actions") or ():
            for note in ids_in(action["result"], INVOICE):
                kind, made = Kind.INVOICE, note
        return Receipt(
            ref=Ref(connection=self._connection.name, kind=kind, id=str(made)),
            key=key,
            number=row["number"],
            status="pending" if pending else row["state"],
            already_existed=existed,
            at=row["create_date"],
            url=self._url(model, id_),
        )

    def _url(self, model: str, id_: int) -> str:
        return f"{self._settings.url}/#{self._settings.database}/model/{model}/{id_}"

    def _not_offered(self, message: str, operation: str) -> NotOffered:
        return NotOffered(message, system=SYSTEM, operation=operation)


@contextmanager
def _begun(what: str, operation: str, *, begun: bool = True) -> Iterator[None]:
    """Around what follows a write that took effect: a failure now leaves it in doubt.

    A refusal passes: whoever catches it knows what was begun.
    """
    try:
        yield
    except (Transient, Ambiguous) as error:
        if not begun or isinstance(error, Duplicated):
            raise
        raise Ambiguous(
            f"{what}; then {error.message}", system=SYSTEM, operation=operation, code=error.code
        ) from None


def _as(kind: type[R], record: Record) -> R:
    assert isinstance(record, kind)
    return record
