"""Salesforce: contacts, accounts, orders and cases to read; what it writes can be taken back.

A call-back is an Event, which has a start and an end, while a Task has a day only (Object
Reference: Event.StartDateTime and EndDateTime; Task.ActivityDate, whose time means nothing).
Custom fields of events belong to Activity and may be Unique external ids there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Self

from pydantic import BaseModel

from adapters.salesforce import layout, soql, spelling
from adapters.salesforce.bulk import BulkCursor, types_of
from adapters.salesforce.changes import ORDER, STAMP, Cursor
from adapters.salesforce.checking import Checking
from adapters.salesforce.client import SYSTEM, Client, is_id
from adapters.salesforce.settings import Configured, SalesforceSettings, Secrets
from adapters.salesforce.soql import Children, Clause
from adapters.salesforce.text import ends_with_marker, marker, shortened
from middleware.contract.actions import (
    PREVIEW_KEY,
    CallBackRequest,
    CaseRequest,
    Effect,
    NoteRequest,
    Operation,
    Preview,
    Receipt,
    ReplacementOrderRequest,
    WithdrawalRequest,
)
from middleware.contract.canonical import Account, Contact, Frozen, Kind, Order, Record, Ref
from middleware.contract.capabilities import (
    Adapter,
    CheckReport,
    Clue,
    Connection,
    CountsRecords,
    CreatesReplacementOrders,
    Description,
    FindsAccounts,
    FindsContacts,
    KeyTraits,
    ListsChanges,
    ListsChangesBetween,
    OpensCases,
    Page,
    PreviewsActions,
    Quarantined,
    ReadsOrders,
    ReadsRecords,
    SchedulesCallBacks,
    Tally,
    WithdrawsActions,
    WritesNotes,
)
from middleware.contract.errors import (
    Ambiguous,
    Duplicated,
    Missing,
    NotOffered,
    Permanent,
    Rejected,
    RemoteError,
    Transient,
)
from middleware.contract.mapping import AnswerUnreadable, Mapping, MappingError, to_record
from middleware.contract.mapping.preview import masked

_KINDS = {
    Operation.CASE: Kind.CASE,
    Operation.CALL_BACK: Kind.TASK,
    Operation.REPLACEMENT_ORDER: Kind.ORDER,
}
_OBJECTS = {Kind.CONTACT: "Contact", Kind.ACCOUNT: "Account", Kind.CASE: "Case"}
_CHANGED = "LastModifiedDate"
_LONGEST_BECAUSE = 255
_LONGEST_COMMENT = 4000
"""Bytes of CaseComment.CommentBody (Object Reference)."""
_MOST_PER_PAGE = 2000


class SalesforceAdapter(
    Adapter,
    FindsContacts,
    FindsAccounts,
    ReadsOrders,
    ListsChanges,
    ListsChangesBetween,
    CountsRecords,
    ReadsRecords,
    CreatesReplacementOrders,
    OpensCases,
    SchedulesCallBacks,
    WritesNotes,
    WithdrawsActions,
    PreviewsActions,
):
    """Speaks Salesforce's REST API as one user of one org."""

    system: ClassVar[str] = SYSTEM
    Settings: ClassVar[type[BaseModel]] = SalesforceSettings
    change_kinds: ClassVar[tuple[Kind, ...]] = (
        Kind.ACCOUNT,
        Kind.CONTACT,
        Kind.PRODUCT,
        Kind.ORDER,
        Kind.CASE,
    )
    withdrawable: ClassVar[frozenset[Operation]] = frozenset(layout.NATIVE)

    def __init__(self, connection: Connection, configured: Configured) -> None:
        self._connection = connection
        self._settings = configured.settings
        self._client = Client(configured.settings, configured.secrets)
        self._typed: dict[tuple[str, ...], dict[str, str] | None] = {}

    @classmethod
    def open(cls, connection: Connection) -> Self:
        settings = connection.settings_as(SalesforceSettings)
        secrets = Secrets.model_validate(dict(connection.secrets))
        return cls(connection, Configured(settings=settings, secrets=secrets))

    def close(self) -> None:
        self._client.close()

    # People.

    def find_contacts(self, clue: Clue, *, limit: int = 10) -> tuple[Contact, ...]:
        """Contacts with one of the clue's addresses, numbers, handles or ids, in any spelling."""
        found = self._find(Kind.CONTACT, clue, limit, operation="find_contacts")
        return tuple(record for record in found if isinstance(record, Contact))

    def find_accounts(self, clue: Clue, *, limit: int = 10) -> tuple[Account, ...]:
        """Accounts with one of the clue's numbers or ids. A standard account has no address."""
        found = self._find(Kind.ACCOUNT, clue, limit, operation="find_accounts")
        return tuple(record for record in found if isinstance(record, Account))

    def _find(self, kind: Kind, clue: Clue, limit: int, *, operation: str) -> list[Record]:
        mapping = self._connection.mappings.pull(kind)
        clauses = list(_clauses(layout.search(mapping), clue))
        if not clauses or limit < 1:
            return []
        # A spelling may mean another number in another country, so some rows may fall away again.
        rows = self._rows(
            mapping, soql.any_of(clauses), order=("Id",), limit=2 * limit + 20, operation=operation
        )
        records = (self._record(kind, mapping, row) for row in rows)
        return [record for record in records if record is not None and _bears(record, clue)][:limit]

    # Orders.

    def read_order(self, ref: Ref) -> Order:
        mapping = self._connection.mappings.pull(Kind.ORDER)
        key = self._own_id(ref, "read_order", Kind.ORDER)
        rows = self._rows(mapping, soql.equal("Id", key), operation="read_order")
        if not rows:
            raise Missing(
                "there is no such order in Salesforce, or the hub's user may not see it",
                system=SYSTEM,
                operation="read_order",
            )
        order = to_record(
            Kind.ORDER,
            connection=self._connection.name,
            id=rows[0]["Id"],
            values=mapping.read(rows[0]),
        )
        assert isinstance(order, Order)
        return order

    def find_order(self, number: str) -> Order | None:
        mapping = self._connection.mappings.pull(Kind.ORDER)
        wanted = number.strip()
        fields = layout.search(mapping).get("number", ())
        if not wanted or not fields:
            return None
        rows = self._rows(
            mapping,
            soql.any_of([soql.equal(field, wanted) for field in fields]),
            order=("Id",),
            limit=20,
            operation="find_order",
        )
        # The first field named is what customers know; another's number may be the same by chance.
        for field in fields:
            for row in rows:
                if str(row.get(field) or "").casefold() == wanted.casefold():
                    order = self._record(Kind.ORDER, mapping, row)
                    if isinstance(order, Order):
                        return order
        return None

    def orders_of(
        self, customer: Ref, *, since: datetime | None = None, limit: int = 50
    ) -> tuple[Order, ...]:
        mapping = self._connection.mappings.pull(Kind.ORDER)
        key = self._own_id(customer, "orders_of", Kind.ACCOUNT, Kind.CONTACT)
        search = layout.search(mapping)
        fields = search.get(str(customer.kind), ())
        if not fields or limit < 1:
            return ()
        where = soql.any_of([soql.equal(field, key) for field in fields])
        placed = search.get("placed_at", ("CreatedDate",))[0]
        if since is not None:
            where &= soql.compare(
                placed, ">=", since if placed.endswith("edDate") else since.date()
            )
        rows = self._rows(
            mapping,
            where,
            order=(f"-{placed}", "-Id"),
            limit=min(limit, _MOST_PER_PAGE),
            operation="orders_of",
        )
        records = (self._record(Kind.ORDER, mapping, row) for row in rows)
        return tuple(order for order in records if isinstance(order, Order))

    # Changes.

    def changed_since(self, kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        """Rows by SystemModstamp, deleted ones too while they are in the recycle bin (15 days)."""
        if kind not in self.change_kinds:
            raise NotOffered(f"Salesforce lists no changes of a {kind}", system=SYSTEM)
        mapping = self._connection.mappings.pull(kind)
        size = max(1, min(limit, _MOST_PER_PAGE))
        loading = BulkCursor.parse(cursor)
        if loading is not None:
            return self._loaded(kind, mapping, loading, size)
        if cursor is None and (page := self._load(mapping)) is not None:
            return page
        try:
            begun = Cursor.parse(cursor)
        except ValueError as error:
            raise Rejected(
                f"{error}; reset it to start from the beginning",
                system=SYSTEM,
                operation="changed_since",
                field="cursor",
            ) from None
        here = begun
        if begun.until is None:
            latest = self._client.now(fresh=True) - self._settings.lag
            here = begun.at(latest.replace(microsecond=0))
        assert here.until is not None
        rows = self._rows(
            mapping,
            here.where,
            extra=(STAMP, "IsDeleted"),
            order=ORDER,
            limit=size,
            deleted=True,
            operation="changed_since",
        )
        more = len(rows) >= size
        following = here.ended(self._settings.overlap)
        if more:
            last = rows[-1]
            following = here.past(_stamp_of(last), _id_of(last))
        return self._page(kind, mapping, rows, cursor=str(following), more=more, as_of=here.until)

    def _page(
        self,
        kind: Kind,
        mapping: Mapping,
        rows: Iterable[dict[str, Any]],
        *,
        cursor: str,
        more: bool,
        as_of: datetime,
    ) -> Page:
        records: list[Record] = []
        quarantined: list[Quarantined] = []
        deleted: list[Ref] = []
        for row in rows:
            key = _id_of(row)
            if row.get("IsDeleted") is True:
                deleted.append(self._ref(kind, key))
                continue
            try:
                records.append(self._mapped(kind, mapping, row))
            except MappingError as error:
                problem = error.problems[0]
                quarantined.append(
                    Quarantined(
                        kind=kind,
                        id=key,
                        field=problem.field,
                        reason=problem.reason,
                        place=problem.place,
                        payload=_plain(row),
                    )
                )
        return Page(
            records=tuple(records),
            deleted=tuple(deleted),
            quarantined=tuple(quarantined),
            cursor=cursor,
            more=more,
            as_of=as_of,
        )

    def _load(self, mapping: Mapping) -> Page | None:
        """Begin a query job where the object is large enough and a job can select it."""
        operation = "changed_since"
        over = self._settings.bulk_over
        columns, children = layout.selection(mapping)
        if over is None or children:
            return None
        rows = self._client.count(soql.count(mapping.object), operation=operation)
        if rows <= over or self._types(mapping, columns) is None:
            return None
        latest = self._client.now(fresh=True) - self._settings.lag
        here = Cursor().at(latest.replace(microsecond=0))
        query = soql.select(("Id", *columns, STAMP), mapping.object, here.where)
        job = self._client.begin_job(mapping.object, query, operation=operation)
        return self._waiting(BulkCursor(latest.replace(microsecond=0), job))

    def _loaded(self, kind: Kind, mapping: Mapping, here: BulkCursor, size: int) -> Page:
        """The next part of a query job, or a page that says to wait for it.

        A job that failed or is gone is given up: the same window is read by ordinary queries.
        """
        columns, _ = layout.selection(mapping)
        ordinary = Cursor().at(here.until)
        given_up = self._page(kind, mapping, (), cursor=str(ordinary), more=True, as_of=here.until)
        types = self._types(mapping, columns)
        if types is None:
            return given_up
        try:
            if not here.locator:
                state = self._client.job_state(mapping.object, here.job, operation="changed_since")
                if state in ("UploadComplete", "InProgress"):
                    return self._waiting(here.asked_after())
                if state != "JobComplete":
                    return given_up
            rows, locator = self._client.job_results(
                mapping.object, here.job, types, here.locator, limit=size
            )
        except Missing:
            return given_up
        following = str(here.at(locator) if locator else ordinary.ended(self._settings.overlap))
        return self._page(
            kind, mapping, rows, cursor=following, more=bool(locator), as_of=here.until
        )

    def _waiting(self, here: BulkCursor) -> Page:
        return Page(records=(), cursor=str(here), more=True, as_of=here.until, wait=here.wait)

    def _types(self, mapping: Mapping, columns: Sequence[str]) -> dict[str, str] | None:
        """The types of what a job selects, asked for once; None where it can't select that."""
        wanted = tuple(dict.fromkeys(("Id", *columns, STAMP)))
        if wanted not in self._typed:
            described = self._client.describe(mapping.object)
            self._typed[wanted] = types_of(wanted, described) if described is not None else None
        return self._typed[wanted]

    def cursor_between(self, kind: Kind, since: datetime, until: datetime) -> str:
        if kind not in self.change_kinds:
            raise NotOffered(f"Salesforce lists no changes of a {kind}", system=SYSTEM)
        return str(Cursor(since, until))

    def count_records(self, kind: Kind) -> Tally:
        if kind not in self.change_kinds:
            raise NotOffered(f"Salesforce lists no changes of a {kind}", system=SYSTEM)
        mapping = self._connection.mappings.pull(kind)
        query = soql.count(mapping.object)
        return Tally(count=self._client.count(query, operation="count_records"))

    def read_record(self, ref: Ref) -> Record:
        """One row with all that the mapping reads now; its sync kept what it read then."""
        operation = "read_record"
        key = self._own_id(ref, operation, *self.change_kinds)
        mapping = self._connection.mappings.pull(ref.kind)
        rows = self._rows(mapping, soql.equal("Id", key), operation=operation)
        if not rows:
            raise Missing(
                f"there is no such {ref.kind} in Salesforce, or the hub's user may not see it",
                system=SYSTEM,
                operation=operation,
            )
        return self._mapped(ref.kind, mapping, rows[0])

    # Writes.

    def key_traits(self, operation: Operation) -> KeyTraits:
        """Cases, events and orders bear the key in a unique field; a comment in its text.

        Taking back sets a state or deletes, so that a second time changes nothing; and nothing that
        comes late overwrites what people did meanwhile (see `Client.update`).
        """
        if operation is Operation.WITHDRAWAL and any(
            self._connection.mappings.has_push(layout.withdrawing(made_by))
            for made_by in layout.NATIVE
        ):
            return KeyTraits(native=True, settle=self._settings.settle)
        if operation not in (*layout.NATIVE, Operation.NOTE):
            raise NotOffered(
                f"Salesforce takes no {operation}", system=SYSTEM, operation=str(operation)
            )
        self._push(operation)
        if operation is Operation.NOTE:
            return KeyTraits(native=False, settle=self._settings.settle)
        return KeyTraits(native=True, settle=self._settings.settle)

    def preview(self, operation: Operation, request: Frozen) -> Preview:
        """What would be written, by the mapping: Salesforce itself simulates nothing."""
        name = "preview"
        self._are_there(request, name)
        lines: dict[str, list[dict[str, Any]]] = {}
        match request:
            case ReplacementOrderRequest():
                mapping = self._push(operation)
                (child, _), values, products = self._replacement(mapping, request, PREVIEW_KEY)
                lines, what = {child: products}, "a draft order, which somebody activates there"
            case CaseRequest():
                mapping = self._push(operation)
                values = mapping.write({**self._ours(request), "key": PREVIEW_KEY})
                what = "a case"
            case CallBackRequest():
                mapping = self._push(operation)
                values = mapping.write(
                    {**self._slot(mapping, request, operation=name), "key": PREVIEW_KEY}
                )
                what = "an event in the calendar of whoever owns the customer"
            case NoteRequest():
                mapping, values = self._comment(request, PREVIEW_KEY, operation=name)
                what = "a private comment on the case"
            case WithdrawalRequest():
                return self._foreseen(request, name)
            case _:
                raise NotOffered(f"Salesforce takes no {operation}", system=SYSTEM, operation=name)
        shown = {"object": mapping.object, **masked(mapping, {**values, **lines})}
        return Preview(effects=(Effect(what=what),), payload=shown)

    def _are_there(self, request: Frozen, name: str) -> None:
        """Raise Missing for a record that a request leads to and that nobody sees there."""
        for field in ("contact", "account", "case", "on"):
            ref = getattr(request, field, None)
            if not isinstance(ref, Ref) or ref.connection != self._connection.name:
                continue
            sobject = _OBJECTS.get(ref.kind)
            if sobject is None or not is_id(ref.id):
                continue
            query = soql.select(("Id",), sobject, soql.equal("Id", ref.id))
            if not self._client.query(query, operation=name):
                raise Missing(
                    f"there is no such {sobject} in Salesforce, or the hub's user may not see it",
                    system=SYSTEM,
                    operation=name,
                    field=field,
                )

    def create_case(self, request: CaseRequest, *, key: str) -> Receipt:
        def create(mapping: Mapping) -> str:
            return self._insert(mapping, self._ours(request), key, operation="create_case")

        return self._once(Operation.CASE, key, create)

    def find_case(self, request: CaseRequest, *, key: str) -> Receipt | None:
        return self._by_key(Operation.CASE, key, "find_case")

    def create_call_back(self, request: CallBackRequest, *, key: str) -> Receipt:
        """An event in the calendar of whoever owns the contact, or the account."""
        name = "create_call_back"

        def create(mapping: Mapping) -> str:
            ours = self._slot(mapping, request, operation=name)
            return self._insert(mapping, ours, key, operation=name)

        return self._once(Operation.CALL_BACK, key, create)

    def _slot(
        self, mapping: Mapping, request: CallBackRequest, *, operation: str
    ) -> dict[str, Any]:
        if request.slot_to <= self._client.now():
            raise Rejected("the slot has passed", system=SYSTEM, operation=operation,
                           field="slot_to")  # fmt: skip
        ours = self._ours(request)
        if layout.reads(mapping, "owner"):
            ours["owner"] = self._owner(ours, operation=operation)
        return ours

    def find_call_back(self, request: CallBackRequest, *, key: str) -> Receipt | None:
        return self._by_key(Operation.CALL_BACK, key, "find_call_back")

    def create_replacement_order(self, request: ReplacementOrderRequest, *, key: str) -> Receipt:
        """A draft order with its products, made in one transaction; somebody activates it there."""

        def create(mapping: Mapping) -> str:
            sobject, values, lines = self._replacement(mapping, request, key)
            return self._client.plant(
                mapping.object,
                values,
                {sobject[0]: (sobject[1], lines)},
                operation="create_replacement_order",
            )

        return self._once(Operation.REPLACEMENT_ORDER, key, create)

    def find_replacement_order(
        self, request: ReplacementOrderRequest, *, key: str
    ) -> Receipt | None:
        return self._by_key(Operation.REPLACEMENT_ORDER, key, "find_replacement_order")

    def create_note(self, request: NoteRequest, *, key: str) -> Receipt:
        """A private comment on a case."""
        mapping, values = self._comment(request, key, operation="create_note")
        made = self._client.create(mapping.object, values, operation="create_note")
        return Receipt(ref=self._ref(Kind.NOTE, made), key=key, url=self._client.url_of(made))

    def _comment(
        self, request: NoteRequest, key: str, *, operation: str
    ) -> tuple[Mapping, dict[str, Any]]:
        """The mapping and the comment that it makes of a note, which must end with the key."""
        mapping = self._push(Operation.NOTE)
        self._own_id(request.on, operation, Kind.CASE)
        room = _LONGEST_COMMENT - len(marker(key)) - 2
        ours = {**self._ours(request), "key": key, "text": shortened(request.text, room)}
        values = mapping.write(ours)
        if not ends_with_marker(values.get(layout.key_field(mapping)), key):
            raise Permanent(
                f"{mapping.path.name} does not put {marker('{key}')} at the end of the field that "
                "its idempotency names; without it a comment could not be found again",
                system=SYSTEM,
                operation=operation,
            )
        return mapping, values

    def find_note(self, request: NoteRequest, *, key: str) -> Receipt | None:
        """The comment of the case that ends with the key's marker, deleted or not.

        Reads all comments of the case: the text of a comment cannot be filtered by.
        """
        mapping = self._push(Operation.NOTE)
        case = self._own_id(request.on, "find_note", Kind.CASE)
        field = layout.key_field(mapping)
        query = soql.select(
            ("Id", "IsDeleted", field, *layout.answer_paths(mapping)),
            mapping.object,
            soql.equal("ParentId", case),
            order=("Id",),
        )
        rows = self._client.query(query, operation="find_note", deleted=True)
        hits = [row for row in rows if ends_with_marker(row.get(field), key)]
        return self._receipt(Kind.NOTE, mapping, hits, key, operation="find_note")

    def create_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt:
        """Close the case, cancel the event or delete the draft order, as the mapping says.

        What is taken back already is found and left as it is. What somebody changed between our
        look and our write stays too: it is looked at again (Transient).
        """
        name = "create_withdrawal"
        mapping, kind = self._withdrawal(request, name)
        row = self._made(mapping, kind, request, name)
        found = self._taken_back(mapping, kind, row, key, name)
        if found is not None:
            return found
        self._in_time(mapping, row, name)
        values = mapping.write(
            {**request.model_dump(mode="python"), "key": key, "because": _because(request)}
        )
        deletes = mapping.binding.get("write") == "delete"
        send = self._client.discard if deletes else self._client.update
        try:
            send(
                mapping.object,
                request.of.id,
                values,
                unmodified_since=_instant_of(row, _CHANGED),
                operation=name,
            )
        except Missing:  # somebody else was faster
            found = self.find_withdrawal(request, key=key)
            if found is None:
                raise
            return found
        try:
            told = self.find_withdrawal(request, key=key)
        except RemoteError:
            told = None
        if told is not None:
            return told.model_copy(update={"already_existed": False})
        return Receipt(ref=request.of, key=key, url=self._client.url_of(request.of.id))

    def find_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt | None:
        """The record's own state is the proof, or that it lies in the recycle bin.

        A record that is nowhere is none: the hub's user may have lost the right to see it.
        """
        name = "find_withdrawal"
        mapping, kind = self._withdrawal(request, name)
        row = self._made(mapping, kind, request, name)
        return self._taken_back(mapping, kind, row, key, name)

    def _foreseen(self, request: WithdrawalRequest, name: str) -> Preview:
        """What taking it back would do; raises Rejected where it is too late."""
        mapping, kind = self._withdrawal(request, name)
        row = self._made(mapping, kind, request, name)
        if self._taken_back(mapping, kind, row, PREVIEW_KEY, name) is not None:
            warning = f"the {mapping.object} is taken back already"
            return Preview(effects=(Effect(what="nothing"),), warnings=(warning,))
        self._in_time(mapping, row, name)
        deletes = mapping.binding.get("write") == "delete"
        verb = "deleted, and lies in the recycle bin" if deletes else "closed as taken back"
        values = mapping.write(
            {**request.model_dump(mode="python"), "key": PREVIEW_KEY, "because": _because(request)}
        )
        shown = {"object": mapping.object, "Id": request.of.id, **masked(mapping, values)}
        return Preview(effects=(Effect(what=f"the {mapping.object} is {verb}"),), payload=shown)

    def _withdrawal(self, request: WithdrawalRequest, name: str) -> tuple[Mapping, Kind]:
        if request.made_by not in self.withdrawable:
            raise NotOffered(
                f"Salesforce cannot take back a {request.made_by}", system=SYSTEM, operation=name
            )
        return (
            self._connection.mappings.push(layout.withdrawing(request.made_by)),
            _KINDS[request.made_by],
        )

    def _made(
        self, mapping: Mapping, kind: Kind, request: WithdrawalRequest, name: str
    ) -> dict[str, Any]:
        """The row that was made, which must bear the key that it was made under."""
        key_field = layout.key_field(self._push(request.made_by))
        columns = (*layout.proofs(mapping), *layout.answer_paths(mapping))
        query = soql.select(
            ("Id", "IsDeleted", _CHANGED, key_field, *columns),
            mapping.object,
            soql.equal("Id", self._own_id(request.of, name, kind)),
        )
        rows = self._client.query(query, operation=name, deleted=True)
        if not rows:
            raise Missing(
                f"there is no such {mapping.object} in Salesforce, not in its recycle bin either, "
                "or the hub's user may not see it",
                system=SYSTEM,
                operation=name,
            )
        if rows[0].get(key_field) != request.made_under:
            raise Rejected(
                f"this {mapping.object} does not bear the key that it is said to be made under",
                system=SYSTEM,
                operation=name,
                field=key_field,
            )
        return rows[0]

    def _taken_back(
        self, mapping: Mapping, kind: Kind, row: dict[str, Any], key: str, name: str
    ) -> Receipt | None:
        proven = layout.states(mapping, "withdrawn")
        if row.get("IsDeleted") is True or any(row.get(f) in vs for f, vs in proven.items()):
            return self._receipt(kind, mapping, [row], key, operation=name)
        return None

    def _in_time(self, mapping: Mapping, row: dict[str, Any], name: str) -> None:
        for field, values in layout.states(mapping, "only_while").items():
            if row.get(field) not in values:
                raise Rejected(
                    f"its {field} is {row.get(field)}; it can be taken back only while it is "
                    f"{' or '.join(map(str, values))}",
                    system=SYSTEM,
                    operation=name,
                    field=field,
                )
        until = mapping.binding.get("until")
        ends = _instant_of(row, str(until)) if until and row.get(str(until)) is not None else None
        if ends is not None and ends <= self._client.now():
            raise Rejected(f"its {until} has passed", system=SYSTEM, operation=name,
                           field=str(until))  # fmt: skip

    def _insert(self, mapping: Mapping, ours: dict[str, Any], key: str, *, operation: str) -> str:
        """A new record under the key, or by the mapping's wish over the one that bears it."""
        values = mapping.write({**ours, "key": key})
        if mapping.binding.get("write", "create") == "upsert":
            field = layout.key_field(mapping)
            values.pop(field, None)
            return self._client.upsert(mapping.object, field, key, values, operation=operation)
        return self._client.create(mapping.object, values, operation=operation)

    def _owner(self, ours: dict[str, Any], *, operation: str) -> str | None:
        """Who looks after the customer there: the owner of the contact, else of the account."""
        for name, sobject in (("contact", "Contact"), ("account", "Account")):
            if ours.get(name) is None:
                continue
            query = soql.select(("Id", "OwnerId"), sobject, soql.equal("Id", ours[name]["id"]))
            for row in self._client.query(query, operation=operation):
                owner = row.get("OwnerId")
                return owner if isinstance(owner, str) and is_id(owner) else None
        return None

    def _once(self, operation: Operation, key: str, create: Callable[[Mapping], str]) -> Receipt:
        """Find the record that bears the key, else create it; Salesforce refuses a second one."""
        name = f"create_{operation}"
        mapping = self._push(operation)
        found = self._by_key(operation, key, name)
        if found is not None:
            return found
        try:
            made = create(mapping)
        except Rejected as refusal:
            if refusal.code not in ("DUPLICATE_VALUE", "DUPLICATES_DETECTED"):
                raise
            return self._beaten(operation, mapping, key, refusal)
        receipt = Receipt(ref=self._ref(_kind_of(operation), made), key=key)
        try:
            # The id proves it; number, state and time are for people, and can be read later.
            told = self._by_key(operation, key, name)
        except RemoteError:
            told = None
        if told is not None and told.ref == receipt.ref:
            return told.model_copy(update={"already_existed": False})
        return receipt.model_copy(update={"url": self._client.url_of(made)})

    def _beaten(
        self, operation: Operation, mapping: Mapping, key: str, refusal: Rejected
    ) -> Receipt:
        """What "duplicate" means: ours was there already, or another record is in the way."""
        name = f"create_{operation}"
        about_key = refusal.code == "DUPLICATE_VALUE" and refusal.field == layout.key_field(mapping)
        try:
            found = self._by_key(operation, key, name)
        except Transient as error:
            if about_key:
                raise Ambiguous(
                    f"Salesforce says that a record bears our key; reading it failed: "
                    f"{error.message}",
                    system=SYSTEM,
                    operation=name,
                    code=refusal.code,
                ) from None
            raise
        if found is not None:
            return found
        if about_key:
            raise Ambiguous(
                "Salesforce says that a record bears our key, but shows none; the hub's user may "
                "lack the permission to see it",
                system=SYSTEM,
                operation=name,
                code=refusal.code,
                field=refusal.field,
            )
        raise refusal

    def _by_key(self, operation: Operation, key: str, name: str) -> Receipt | None:
        mapping = self._push(operation)
        field = layout.key_field(mapping)
        query = soql.select(
            ("Id", "IsDeleted", field, *layout.answer_paths(mapping)),
            mapping.object,
            soql.equal(field, key),
            order=("Id",),
        )
        rows = self._client.query(query, operation=name, deleted=True)
        hits = [row for row in rows if row.get(field) == key]  # SOQL compares without case
        return self._receipt(_kind_of(operation), mapping, hits, key, operation=name)

    def _receipt(
        self,
        kind: Kind,
        mapping: Mapping,
        rows: Sequence[dict[str, Any]],
        key: str,
        *,
        operation: str,
    ) -> Receipt | None:
        """The receipt of what was found. A record that people deleted was made all the same."""
        living = [row for row in rows if row.get("IsDeleted") is not True]
        if len(living) > 1:
            raise Duplicated(
                f"{len(living)} records of {mapping.object} bear our key",
                system=SYSTEM,
                operation=operation,
            )
        if not rows:
            return None
        row = (living or rows)[0]
        try:
            said = mapping.read_answer(row)
        except AnswerUnreadable as unreadable:
            raise Transient(unreadable.message, system=SYSTEM, operation=operation) from None
        status = str(said.get("status") or "accepted")
        made = _id_of(row)
        return Receipt(
            ref=self._ref(kind, made),
            key=key,
            number=said.get("number"),
            status=status if living else "deleted",
            already_existed=True,
            at=said.get("at"),
            url=self._client.url_of(made),
        )

    def _replacement(
        self, mapping: Mapping, request: ReplacementOrderRequest, key: str
    ) -> tuple[tuple[str, str], dict[str, Any], list[dict[str, Any]]]:
        """The child relationship and its object, the order's values, and its products' values."""
        name = "create_replacement_order"
        lines = mapping.binding.get("lines")
        if not isinstance(lines, dict) or not {"children", "object"} <= set(lines):
            raise Permanent(
                f"{mapping.path.name} needs target.lines: {{children: OrderItems, object: "
                "OrderItem}",
                system=SYSTEM,
                operation=name,
            )
        children, item = str(lines["children"]), str(lines["object"])
        order = self._original(mapping, request, children)
        entries = self._entries(order, request, children)
        values = mapping.write(
            {
                **self._ours(request),
                "key": key,
                "today": self._client.now().date(),
                "original": order,
                "ship_to": self._ship_to(request, order),
                "lines": [
                    {**line.model_dump(mode="python"), "price_entry": entry}
                    for line, entry in zip(request.lines, entries, strict=True)
                ],
            }
        )
        made = list(values.pop(children, ()))
        return (children, item), values, made

    def _original(
        self, mapping: Mapping, request: ReplacementOrderRequest, children: str
    ) -> dict[str, Any]:
        """The original order's row: what our own reading needs of it, and what is taken over."""
        name = "create_replacement_order"
        key = self._own_id(request.order, name, Kind.ORDER)
        columns, below = layout.selection(self._connection.mappings.pull(Kind.ORDER))
        priced = {"Id": None, "PricebookEntryId": None, "Product2.ProductCode": None}
        for child in below:
            if child.relationship == children:
                priced |= dict.fromkeys(child.columns)
        below = [child for child in below if child.relationship != children]
        query = soql.select(
            ("Id", "Pricebook2Id", *columns, *layout.taken_over(mapping)),
            mapping.object,
            soql.equal("Id", key),
            children=[*below, Children(children, tuple(priced))],
        )
        named = [*(child.relationship for child in below), children]
        rows = self._client.query(query, operation=name, children=named)
        if not rows:
            raise Missing("there is no such order in Salesforce", system=SYSTEM, operation=name)
        return rows[0]

    def _ship_to(
        self, request: ReplacementOrderRequest, original: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Where to send it: as asked for, else where the original went."""
        if request.ship_to is not None:
            return request.ship_to.model_dump()
        order = self._mapped(Kind.ORDER, self._connection.mappings.pull(Kind.ORDER), original)
        assert isinstance(order, Order)
        return order.ship_to.model_dump() if order.ship_to else None

    def _entries(
        self, order: dict[str, Any], request: ReplacementOrderRequest, children: str
    ) -> list[str]:
        """The price book entry of each line: the original's, or for a substitute the book's."""
        name = "create_replacement_order"
        by_line = {str(item.get("Id")): item for item in order[children]}
        for number, line in enumerate(request.lines):
            if line.line not in by_line:
                raise Rejected(
                    "the original order has no such line",
                    system=SYSTEM,
                    operation=name,
                    field=f"lines.{number}.line",
                )
        substitutes = {
            line.sku for line in request.lines if _sku_of(by_line[line.line]) != line.sku
        }
        known: dict[str, str] = {}
        if substitutes and order.get("Pricebook2Id"):
            where = (
                soql.among("Product2.ProductCode", sorted(substitutes))
                & soql.equal("Pricebook2Id", str(order["Pricebook2Id"]))
                & soql.equal("IsActive", True)
            )
            if order.get("CurrencyIsoCode"):
                where &= soql.equal("CurrencyIsoCode", str(order["CurrencyIsoCode"]))
            query = soql.select(
                ("Id", "Product2.ProductCode"), "PricebookEntry", where, order=("-Id",)
            )
            for row in self._client.query(query, operation=name):
                known[_sku_of(row) or ""] = _id_of(row)
        entries: list[str] = []
        for number, line in enumerate(request.lines):
            item = by_line[line.line]
            entry = (
                item.get("PricebookEntryId") if _sku_of(item) == line.sku else known.get(line.sku)
            )
            if not isinstance(entry, str):
                raise Rejected(
                    "the original order's price book has no active entry for this product",
                    system=SYSTEM,
                    operation=name,
                    field=f"lines.{number}.sku",
                )
            entries.append(entry)
        return entries

    # What is there.

    def check(self) -> CheckReport:
        """Logs in, and compares the org's objects, fields and permissions with the mappings."""
        return self._looking().check()

    def describe(self) -> Description:
        """The objects that the mappings use. Fields behind lookups and of children, as far as a
        mapping names them, are listed under their whole path."""
        return self._looking().describe()

    def _looking(self) -> Checking:
        mappings = self._connection.mappings.mappings
        return Checking(self._client, mappings, self._settings.api_version)

    # Rows and records.

    def _rows(
        self,
        mapping: Mapping,
        where: Clause,
        *,
        operation: str,
        extra: Sequence[str] = (),
        order: Sequence[str] = (),
        limit: int | None = None,
        deleted: bool = False,
    ) -> list[dict[str, Any]]:
        """The rows of the mapping's object with all that the mapping reads."""
        columns, children = layout.selection(mapping)
        query = soql.select(
            ("Id", *columns, *extra),
            mapping.object,
            where,
            children=children,
            order=order,
            limit=limit,
        )
        return self._client.query(
            query,
            operation=operation,
            deleted=deleted,
            children=[child.relationship for child in children],
        )

    def _mapped(self, kind: Kind, mapping: Mapping, row: dict[str, Any]) -> Record:
        return to_record(
            kind, connection=self._connection.name, id=_id_of(row), values=mapping.read(row)
        )

    def _record(self, kind: Kind, mapping: Mapping, row: dict[str, Any]) -> Record | None:
        """The row's record; None for one that the mapping refuses. A sync quarantines those."""
        try:
            return self._mapped(kind, mapping, row)
        except MappingError:
            return None

    def _push(self, operation: Operation) -> Mapping:
        mapping = self._connection.mappings.push(str(operation))
        if mapping.idempotency is None:
            raise Permanent(
                f"{mapping.path.name} has no idempotency: it does not say which field bears the "
                "key",
                system=SYSTEM,
            )
        return mapping

    def _ours(self, request: Frozen) -> dict[str, Any]:
        """The request as a mapping sees it; references to other systems mean nothing there."""
        ours = request.model_dump(mode="python")
        for name in ("contact", "account", "order", "case", "on"):
            ref = getattr(request, name, None)
            if isinstance(ref, Ref) and (
                ref.connection != self._connection.name or not is_id(ref.id)
            ):
                ours[name] = None
        return ours

    def _own_id(self, ref: Ref, operation: str, *kinds: Kind) -> str:
        """The reference's id, which must be one of this org and of one of these kinds."""
        if ref.connection != self._connection.name or ref.kind not in kinds:
            wanted = " or ".join(map(str, kinds))
            raise Rejected(
                f"this needs a {wanted} of {self._connection.name}, not a {ref.kind} of "
                f"{ref.connection}",
                system=SYSTEM,
                operation=operation,
            )
        if not is_id(ref.id):
            raise Missing(
                "a Salesforce id has 15 or 18 letters and digits",
                system=SYSTEM,
                operation=operation,
            )
        return ref.id

    def _ref(self, kind: Kind, key: str) -> Ref:
        return Ref(connection=self._connection.name, kind=kind, id=key)


def _clauses(search: dict[str, tuple[str, ...]], clue: Clue) -> Iterator[Clause]:
    """One condition for each part of the clue that the org has a field for."""

    def spelt(part: str, values: Iterable[str]) -> Iterator[Clause]:
        wanted = [value for value in dict.fromkeys(values) if value]
        for field in search.get(part, ()) if wanted else ():
            yield soql.among(field, wanted)

    yield from spelt("emails", clue.emails)
    yield from spelt("phones", (form for n in clue.phones for form in spelling.phones(n)))
    for handle in clue.handles:
        yield from spelt(f"handles.{handle.network}", spelling.handles(handle.handle or ""))
        yield from spelt(f"native_ids.{handle.network}", (handle.native_id or "",))
    for system, known in clue.external_ids.items():
        fields = search.get(f"external_ids.{system}", ())
        if fields != ("Id",) or is_id(known):  # SOQL refuses what cannot be an id
            yield from spelt(f"external_ids.{system}", (known,))


def _bears(record: Record, clue: Clue) -> bool:
    """Whether the record has one of the clue's parts, compared in our own forms."""
    if not isinstance(record, (Contact, Account)):
        return False
    emails = {email.casefold() for email in record.emails}
    if emails & {email.strip().casefold() for email in clue.emails}:
        return True
    if set(record.phones) & set(clue.phones):
        return True
    for system, known in clue.external_ids.items():
        mine = record.external_ids.get(system)
        if mine and (mine.casefold() == known.casefold() or (is_id(known) and mine[:15] == known)):
            return True
    return isinstance(record, Contact) and any(
        theirs.network == ours.network
        and (
            (ours.native_id is not None and theirs.native_id == ours.native_id)
            or spelling.same_handle(theirs.handle, ours.handle)
        )
        for theirs in record.handles
        for ours in clue.handles
    )


def _kind_of(operation: Operation) -> Kind:
    return _KINDS[operation]


def _because(request: WithdrawalRequest) -> str:
    return shortened(": ".join(filter(None, (request.reason, request.note))), _LONGEST_BECAUSE)


def _sku_of(row: dict[str, Any]) -> str | None:
    product = row.get("Product2")
    code = product.get("ProductCode") if isinstance(product, dict) else None
    return code if isinstance(code, str) else None


def _id_of(row: dict[str, Any]) -> str:
    key = row.get("Id")
    if not isinstance(key, str) or not is_id(key):
        raise Transient("a row of the answer has no id", system=SYSTEM)
    return key


def _stamp_of(row: dict[str, Any]) -> datetime:
    return _instant_of(row, STAMP)


def _instant_of(row: dict[str, Any], field: str) -> datetime:
    try:
        moment = datetime.fromisoformat(str(row.get(field)))
    except ValueError:
        raise Transient(f"a row of the answer has no {field}", system=SYSTEM) from None
    if moment.tzinfo is None:
        raise Transient(f"a row's {field} has no zone", system=SYSTEM)
    return moment


def _plain(value: Any) -> Any:
    """A row as JSON can hold it, for the quarantine."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if name != "attributes"}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Decimal) else value
