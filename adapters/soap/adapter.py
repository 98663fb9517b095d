"""The generic SOAP adapter: a WSDL and a bindings file make it what it is.

`SoapAdapter.open` builds a class with exactly the capabilities that the bindings bind, so that
`isinstance` and `capabilities_of` tell the truth about each connection. Nothing vendor-specific is
in here: names of operations and fields stand in the bindings and the mapping files.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from adapters.soap import fit, grammar
from adapters.soap.answers import Tree, collect, present, text
from adapters.soap.arguments import Unquotable, argument_values
from adapters.soap.bindings import Bindings, Call, EffectRule, Lookup, Write
from adapters.soap.client import AlreadyDone, Answer, Client, matches
from adapters.soap.paging import Part, Position, Window, number
from adapters.soap.settings import Secrets, SoapSettings
from adapters.soap.wsdl import Documents, Library
from middleware.contract.actions import (
    PREVIEW_KEY,
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
    StoreCreditRequest,
    WithdrawalRequest,
)
from middleware.contract.canonical import (
    Account,
    Contact,
    Frozen,
    Invoice,
    Kind,
    Money,
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
    Finding,
    FindsAccounts,
    FindsContacts,
    IssuesCredits,
    IssuesStoreCredits,
    KeyTraits,
    LintsOwnFiles,
    ListsChanges,
    ListsChangesBetween,
    MapsAgain,
    ObjectInfo,
    OpensCases,
    Page,
    PreviewsActions,
    Quarantined,
    ReadsInvoices,
    ReadsOrders,
    ReadsShipments,
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
from middleware.contract.mapping import (
    Issue,
    MappingError,
    MappingInvalid,
    MappingSet,
    Problem,
    to_record,
)
from middleware.contract.mapping.preview import masked

SYSTEM = "soap"
_MOST_PARTS = 1_000
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

R = TypeVar("R", bound=Record)


class SoapAdapter(Adapter, LintsOwnFiles):
    """What every SOAP connection has; capabilities are mixed in by `open`."""

    system: ClassVar[str] = SYSTEM
    Settings: ClassVar[type[SoapSettings]] = SoapSettings
    own_files: ClassVar[tuple[str, ...]] = (grammar.FILE_NAME,)

    def __init__(
        self, connection: Connection, settings: SoapSettings, secrets: Secrets, bindings: Bindings
    ) -> None:
        self._connection = connection.name
        self._mappings = connection.mappings
        self._settings = settings
        self._secrets = secrets
        self._bindings = bindings
        self._library = Library(settings, system=SYSTEM)
        self._client: Client | None = None
        self._opening = threading.Lock()

    @classmethod
    def open(cls, connection: Connection) -> Self:
        """Build the adapter that the connection's bindings describe.

        Raises pydantic's ValidationError for settings, secrets and the bindings file (each mistake
        with file:line:column), and WsdlRefused for a WSDL file. The remote is not talked to: a WSDL
        that has an address and no copy in `cache_dir` yet is fetched, and checked, by the first
        call.
        """
        settings = connection.settings_as(SoapSettings)
        secrets = Secrets(settings, connection.secrets)
        connection = connection.model_copy(
            update={"mappings": connection.mappings.for_connection(connection.name)}
        )
        path = _bindings_path(settings, connection.mappings)
        issues: Iterable[Issue] = ()
        try:
            bindings = grammar.read(path, connection.mappings)
        except MappingInvalid as invalid:
            issues = invalid.issues
        if not issues:
            adapter = class_for(bindings)(connection, settings, secrets, bindings)
            documents = adapter._library.stored()
            issues = adapter._connect(documents) if documents is not None else ()
        if issues:
            raise _invalid(issues)
        return cast("Self", adapter)

    @classmethod
    def lint(cls, path: Path, mappings: MappingSet) -> tuple[Issue, ...]:
        """Every mistake that a bindings file has by itself; `open` also knows the WSDL."""
        try:
            grammar.read(path, mappings)
        except MappingInvalid as invalid:
            return invalid.issues
        return ()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    # --- what the remote is and lets us do --------------------------------------------------------

    def check(self) -> CheckReport:
        findings: list[Finding] = []
        current: Documents | None = None
        try:
            current = self._library.fetch()
        except RemoteError as error:
            findings.append(
                Finding(
                    name="wsdl",
                    ok=self._client is not None,
                    detail=error.message
                    + ("; the copy on disk is used" if self._client is not None else ""),
                    remedy="check the address in wsdl, and the network between here and there",
                )
            )
        if current is not None:
            findings += self._check_wsdl(current)
        if all(finding.ok for finding in findings):
            findings.append(self._check_credentials())
        return CheckReport(findings=tuple(findings))

    def _check_wsdl(self, current: Documents) -> list[Finding]:
        """Whether the WSDL, as it is now, fits; a new one that fits is kept for the next start."""
        try:
            candidate = self._made(current)
        except RemoteError as error:
            remedy = "check the connection's wsdl, header and soap_version against the WSDL"
            return [Finding(name="wsdl", ok=False, detail=error.message, remedy=remedy)]
        issues = fit.against(self._bindings, self._mappings, candidate.interface)
        candidate.close()
        if issues:
            return [
                Finding(
                    name="bindings",
                    ok=False,
                    detail=str(issue),
                    remedy=f"mend the file and start again; the WSDL is {candidate.interface.lock}",
                )
                for issue in issues[:20]
            ]
        changed = self._client is not None and (
            self._client.interface.lock != candidate.interface.lock
        )
        self._library.keep(current)
        if self._client is None:
            self._connect(current)
        detail = f"{candidate.interface.lock}"
        if changed:
            detail += (
                "; it has changed since this connection was opened, and the bindings still fit"
            )
        return [Finding(name="wsdl", ok=True, detail=detail)]

    def _check_credentials(self) -> Finding:
        call = self._bindings.check
        if call is None:
            return Finding(
                name="credentials",
                ok=True,
                detail="not proved: the bindings name no operation for it",
                remedy="add check: {operation: …}, an operation that changes nothing",
            )
        try:
            answer = self._ask(call, {})
        except RemoteError as error:
            return Finding(
                name="credentials",
                ok=False,
                detail=error.message,
                remedy="check the connection's auth, username and secrets with the remote's admin",
            )
        version = text(answer.body, self._bindings.version) if self._bindings.version else None
        return Finding(name="credentials", ok=True, detail=f"version {version}" if version else "")

    def describe(self) -> Description:
        wire = self._wire()
        bindings, interface = self._bindings, wire.interface
        objects: dict[str, ObjectInfo] = {}
        for write in bindings.every_write():
            name = write.call.operation
            # What the bindings give, the mapping need not.
            given = {".".join(argument.path) for argument in write.call.arguments}
            fields = tuple(
                field.model_copy(update={"required": field.required and field.name not in given})
                for field in interface.input_fields(name)
            )
            objects[name] = ObjectInfo(name=name, fields=fields)
        for kind, call in self._listings():
            mapping = self._mappings.pull(kind)
            within = bindings.manner(call.operation).within
            path = ".".join(part for part in (within, call.result) if part)
            fields = interface.answer_fields(call.operation, path, mapping.object)
            if mapping.object and fields:
                objects.setdefault(mapping.object, ObjectInfo(name=mapping.object, fields=fields))
        return Description(
            system=bindings.system, version=interface.lock, objects=tuple(objects.values())
        )

    def _listings(self) -> Iterator[tuple[Kind, Call]]:
        """A call of which the rows are records of the kind, for every kind that is read."""
        bindings = self._bindings
        for kind, lookups in ((Kind.CONTACT, bindings.contacts), (Kind.ACCOUNT, bindings.accounts)):
            if lookups:
                yield kind, lookups[0].call
        if bindings.orders is not None:
            yield Kind.ORDER, bindings.orders.read
        if bindings.shipments is not None:
            yield Kind.SHIPMENT, bindings.shipments
        if bindings.invoices is not None:
            yield Kind.INVOICE, bindings.invoices
        for kind, changes in bindings.changes.items():
            yield kind, changes.call

    def key_traits(self, operation: Operation) -> KeyTraits:
        writes = [self._bindings.writes[operation]] if operation in self._bindings.writes else []
        if operation is Operation.WITHDRAWAL:
            writes = list(self._bindings.withdrawals.values())
        if not writes:
            raise self._not_bound(operation)
        return KeyTraits(
            native=all(write.native for write in writes),
            settle=max(write.settle for write in writes),
        )

    # --- the wire ---------------------------------------------------------------------------------

    def _wire(self) -> Client:
        """The client; fetches and checks the WSDL if that has not been done."""
        with self._opening:
            if self._client is None:
                documents = self._library.fetch()
                issues = self._connect(documents)
                if issues:
                    more = f", and {len(issues) - 1} more" if len(issues) > 1 else ""
                    raise Permanent(
                        f"the bindings do not fit the WSDL: {issues[0]}{more}",
                        system=SYSTEM,
                        operation="wsdl",
                        code="bindings",
                    )
                self._library.keep(documents)
            made = self._client
        assert made is not None
        return made

    def _connect(self, documents: Documents) -> list[Issue]:
        """Use these documents; answers what does not fit, and then does not use them."""
        client = self._made(documents)
        issues = fit.against(self._bindings, self._mappings, client.interface)
        if issues:
            client.close()
            return issues
        self._client = client
        return []

    def _made(self, documents: Documents) -> Client:
        return Client(documents, self._bindings, self._settings, self._secrets, system=SYSTEM)

    def _ask(self, call: Call, scope: Mapping[str, Any]) -> Answer:
        """Call a reading operation."""
        values = self._arguments(call, scope)
        return self._wire().call(call.operation, values, write=False)

    def _arguments(self, call: Call, scope: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return argument_values(call, scope, self._bindings.zone)
        except Unquotable:
            pass
        raise Rejected(
            "a value holds characters that may not go into this query",
            system=SYSTEM,
            operation=call.operation,
            code="quote",
        )

    def _parts(
        self, call: Call, scope: Mapping[str, Any], position: Position | None = None
    ) -> Iterator[Part]:
        """An answer in all its parts, from a position on; one part where there is no paging."""
        at = position or Position.start(call.paging)
        for _ in range(_MOST_PARTS):
            part = self._part(call, scope, at)
            yield part
            if part.next is None:
                return
            if part.next == at:
                break
            at = part.next
        raise Permanent(
            "the remote's pages do not end",
            system=SYSTEM,
            operation=call.operation,
            code="paging",
        )

    def _part(self, call: Call, scope: Mapping[str, Any], at: Position) -> Part:
        paging = call.paging
        asked, result = call, call.result
        if paging is not None and paging.more is not None and not at.first:
            asked, result = paging.more, paging.more.result or call.result
        positions = {"page": at.page, "offset": at.offset, "token": at.token}
        answer = self._ask(asked, {**scope, **positions})
        rows = collect(answer.body, result)
        kept = [row for row in rows if matches(row, call.only)] if call.only else rows
        following = None if paging is None else at.after(paging, answer.body, len(rows))
        return Part(kept, answer, following, len(rows))

    def _record(self, kind: Kind, row: Tree, call: Call) -> Record:
        """The canonical record of a row; raises MappingError."""
        mapping = self._mappings.pull(kind)
        row_id = text(row, call.id)
        with _named(call.operation):
            if row_id is None:
                raise MappingError([Problem(call.id, "the record has no identifier")])
            values = mapping.read(row)
            return to_record(kind, connection=self._connection, id=row_id, values=values)

    def _records(self, kind: type[R], name: Kind, call: Call, rows: Iterable[Tree]) -> list[R]:
        return [cast("R", self._record(name, row, call)) for row in rows]

    # --- finding people and customers -------------------------------------------------------------

    def _find_people(
        self, kind: Kind, lookups: tuple[Lookup, ...], clue: Clue, limit: int
    ) -> tuple[Record, ...]:
        """Everybody whom any part of the clue finds, each once. A record that cannot be read does
        not hide the others; if none can be read, that is the error."""
        found: dict[str, Record] = {}
        refused: MappingError | None = None
        for call, value in _questions(lookups, clue):
            if len(found) >= limit:
                break
            try:
                for part in self._parts(call, {"value": value, "limit": limit}):
                    for row in part.rows:
                        try:
                            record = self._record(kind, row, call)
                        except MappingError as error:
                            refused = error
                            continue
                        found.setdefault(record.ref.id, record)
                    if len(found) >= limit:
                        break
            except Missing:
                continue
        if not found and refused is not None:
            raise refused
        return tuple(found.values())[:limit]

    # --- writes -----------------------------------------------------------------------------------

    def _bound(self, operation: Operation, request: Frozen) -> Write:
        """How a write is made; a withdrawal by what made the record. Raises NotOffered."""
        write = self._bindings.writes.get(operation)
        if operation is Operation.WITHDRAWAL and isinstance(request, WithdrawalRequest):
            write = self._bindings.withdrawals.get(request.made_by)
            if write is None:
                raise self._not_bound(f"withdrawal of a {request.made_by}", operation)
        if write is None:
            raise self._not_bound(operation)
        return write

    def _not_bound(self, what: str, operation: str = "") -> NotOffered:
        return NotOffered(
            f"the bindings of this connection offer no {what}",
            system=SYSTEM,
            operation=operation or what,
        )

    def _payload(self, write: Write, request: Frozen, key: str, call: Call) -> dict[str, Any]:
        """What is sent: what the mapping writes, and the bindings' own arguments."""
        mapping = self._mappings.push(write.mapping)
        with _named(call.operation):
            payload = mapping.write({**request.model_dump(mode="python"), "key": key})
        own = self._arguments(call, {"key": key, "request": request})
        return _merged(payload, own)

    def _create(self, operation: Operation, request: Frozen, key: str) -> Receipt:
        write = self._bound(operation, request)
        mapping = self._mappings.push(write.mapping)
        payload = self._payload(write, request, key, write.call)
        duplicate = False
        try:
            answer = self._wire().call(
                write.call.operation, payload, write=True, rule=mapping.fault
            )
        except AlreadyDone:
            duplicate = True
        if duplicate:
            found = self._find(operation, request, key)
            if found is None:
                raise Ambiguous(
                    "the remote says that our key exists and does not find it",
                    system=SYSTEM,
                    operation=operation,
                    code="duplicate",
                )
            return found
        row: Tree = next(iter(collect(answer.body, write.call.result)), {})
        with _named(write.call.operation):
            parts = mapping.read_answer(row)
        existed = write.existed is not None and text(row, write.existed[0]) == write.existed[1]
        made = _text(parts.get("external_id"))
        if made is None and isinstance(request, WithdrawalRequest):
            made = request.of.id
        receipt = None
        if made is not None:
            receipt = self._receipt(
                write,
                key,
                row_id=made,
                parts={name: parts.get(name) for name in ("number", "status", "at", "url")},
                existed=existed,
            )
        if receipt is None:
            raise Ambiguous(
                "the answer to a write was not understood; look it up by its key",
                system=SYSTEM,
                operation=operation,
                code="answer",
            )
        return receipt

    def _find(self, operation: Operation, request: Frozen, key: str) -> Receipt | None:
        write = self._bound(operation, request)
        call = write.find
        rows: dict[str, Tree] = {}
        seen = 0
        try:
            for part in self._parts(call, {"key": key, "request": request}):
                seen += part.seen
                for row in part.rows:
                    if write.key and text(row, write.key) != key:
                        self._refuse_keyless(write, row)
                        continue
                    row_id = text(row, call.id)
                    if row_id is None:
                        raise Transient(
                            "a record was found that has no identifier",
                            system=SYSTEM,
                            operation=call.operation,
                            code="answer",
                        )
                    rows[row_id] = row
        except Missing:
            if not write.gone:
                return None
        if write.gone and not seen and isinstance(request, WithdrawalRequest):
            return Receipt(ref=request.of, key=key, status="deleted", already_existed=True)
        if len(rows) > 1:
            raise Duplicated(
                f"{len(rows)} records bear the key {key}; keep one and cancel the others",
                system=SYSTEM,
                operation=operation,
            )
        for row_id, row in rows.items():
            receipt = self._receipt(
                write,
                key,
                row_id=row_id,
                parts={name: text(row, path) for name, path in write.receipt.items()},
                existed=True,
            )
            if receipt is not None:
                return receipt
        return None

    def _refuse_keyless(self, write: Write, row: Tree) -> None:
        """A look-up by key that answers rows without one would always find nothing.

        Then everything would be done twice; so that is an error, which a person must mend.
        """
        if write.by_key and not present(row, write.key):
            raise Permanent(
                f"the look-up answered a record without {write.key}, which should bear our key; "
                "check `key` in the bindings",
                system=SYSTEM,
                operation=write.find.operation,
                code="key",
            )

    def _receipt(
        self, write: Write, key: str, *, row_id: str, parts: Mapping[str, Any], existed: bool
    ) -> Receipt | None:
        status = _text(parts.get("status"))
        return Receipt(
            ref=Ref(connection=self._connection, kind=write.kind, id=row_id),
            key=key,
            number=_text(parts.get("number")),
            status=status.lower() if status else "accepted",
            already_existed=existed,
            at=self._moment(parts.get("at")),
            url=_text(parts.get("url")),
        )

    def _moment(self, value: Any) -> datetime | None:
        """A moment in an answer; None where it says nothing readable."""
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                return None
        if not isinstance(value, datetime):
            return None
        return value if value.tzinfo is not None else value.replace(tzinfo=self._bindings.zone)


# --- the capabilities, each mixed in where it is bound --------------------------------------------


class _FindsContacts(SoapAdapter, FindsContacts):
    def find_contacts(self, clue: Clue, *, limit: int = 10) -> tuple[Contact, ...]:
        found = self._find_people(Kind.CONTACT, self._bindings.contacts, clue, limit)
        return cast("tuple[Contact, ...]", found)


class _FindsAccounts(SoapAdapter, FindsAccounts):
    def find_accounts(self, clue: Clue, *, limit: int = 10) -> tuple[Account, ...]:
        found = self._find_people(Kind.ACCOUNT, self._bindings.accounts, clue, limit)
        return cast("tuple[Account, ...]", found)


class _ReadsOrders(SoapAdapter, ReadsOrders):
    def read_order(self, ref: Ref) -> Order:
        orders = self._bindings.orders
        assert orders is not None
        for part in self._parts(orders.read, {"id": ref.id}):
            for order in self._records(Order, Kind.ORDER, orders.read, part.rows):
                return order
        raise Missing(f"there is no order {ref.id}", system=SYSTEM, operation="read_order")

    def find_order(self, number: str) -> Order | None:
        orders = self._bindings.orders
        assert orders is not None
        try:
            for part in self._parts(orders.find, {"number": number}):
                for order in self._records(Order, Kind.ORDER, orders.find, part.rows):
                    return order
        except Missing:
            return None
        return None

    def orders_of(
        self, customer: Ref, *, since: datetime | None = None, limit: int = 50
    ) -> tuple[Order, ...]:
        orders = self._bindings.orders
        assert orders is not None
        if customer.kind not in orders.kinds:
            raise NotOffered(
                f"this connection knows the orders of {' and '.join(orders.kinds)} records only",
                system=SYSTEM,
                operation="orders_of",
            )
        found: dict[str, Order] = {}
        scope = {"customer": customer, "since": since, "limit": limit}
        for part in self._parts(orders.of, scope):
            page = self._records(Order, Kind.ORDER, orders.of, part.rows)
            fitting = [o for o in page if since is None or (o.placed_at or _BEGINNING) >= since]
            found.update((order.ref.id, order) for order in fitting)
            # In the remote's own order the rest is older than what we have.
            if orders.newest_first and (len(found) >= limit or len(fitting) < len(page)):
                break
        newest = sorted(found.values(), key=lambda o: o.placed_at or _BEGINNING, reverse=True)
        return tuple(newest[:limit])


class _ReadsShipments(SoapAdapter, ReadsShipments):
    def shipments_of(self, order: Ref) -> tuple[Shipment, ...]:
        call = self._bindings.shipments
        assert call is not None
        return tuple(
            shipment
            for part in self._parts(call, {"order": order})
            for shipment in self._records(Shipment, Kind.SHIPMENT, call, part.rows)
        )


class _ReadsInvoices(SoapAdapter, ReadsInvoices):
    def invoices_of(self, order: Ref) -> tuple[Invoice, ...]:
        call = self._bindings.invoices
        assert call is not None
        return tuple(
            invoice
            for part in self._parts(call, {"order": order})
            for invoice in self._records(Invoice, Kind.INVOICE, call, part.rows)
        )


class _ListsChanges(SoapAdapter, ListsChanges, ListsChangesBetween, MapsAgain):
    """Windows of time, each read in parts. A window ends where the remote's clock, or ours if that
    is behind, stood when it was begun; the next one begins `overlap_s` earlier, so that what was
    committed late is seen."""

    change_kinds: ClassVar[tuple[Kind, ...]] = ()

    def changed_since(self, kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        changes = self._bindings.changes.get(kind)
        if changes is None:
            raise NotOffered(
                f"this connection lists no changes of {kind} records",
                system=SYSTEM,
                operation="changed_since",
            )
        call = changes.call
        window = self._window(cursor) or Window(None, datetime.now(UTC), None)
        at = window.position or Position.start(call.paging)
        scope = {"since": window.since, "until": window.until, "limit": limit}
        part = self._part(call, scope, at)
        if window.position is None:
            clock = self._moment(text(part.answer.body, changes.as_of)) if changes.as_of else None
            remote = clock or part.answer.at
            # Records that changed after the remote's own time are not all in this answer.
            window.ends = min(window.until, remote) if remote is not None else window.until
        ends = window.ends or window.until
        following = part.next
        counted = call.paging.total if call.paging is not None and at.total is not None else ""
        if counted and number(part.answer.body, counted) != at.total:
            # Rows left the window while we read it, and others moved up: from the top.
            following = Position.start(call.paging)
        rows = _after(part.rows, call.id, window.after)
        chosen = rows[:limit]
        if len(rows) > limit:
            # The rest of this part is asked for again, from the last row that was handed out.
            last = text(chosen[-1], call.id) or f"#{len(part.rows) - len(rows) + limit}"
            onward = Window(window.since, window.until, at, ends, last)
        elif following is None:
            onward = Window(ends - changes.overlap, None, None)
        else:
            onward = Window(window.since, window.until, following, ends)
        more = onward.position is not None
        gone = collect(part.answer.body, changes.deleted) if changes.deleted else []
        records, quarantined = self._sorted_out(kind, call, chosen)
        return Page(
            records=tuple(records),
            deleted=tuple(
                Ref(connection=self._connection, kind=kind, id=row_id)
                for node in gone
                if window.after is None and (row_id := text(node, "") or text(node, call.id))
            ),
            quarantined=tuple(quarantined),
            cursor=onward.written(),
            more=more,
            as_of=min(ends, window.since or _BEGINNING) if more else ends,
        )

    def cursor_between(self, kind: Kind, since: datetime, until: datetime) -> str:
        changes = self._bindings.changes.get(kind)
        if changes is None:
            raise NotOffered(
                f"this connection lists no changes of {kind} records",
                system=SYSTEM,
                operation="cursor_between",
            )
        return Window(since, until, Position.start(changes.call.paging), until).written()

    def map_again(self, ref: Ref, payload: Mapping[str, Any]) -> Record:
        """The record of a row that was kept: whole, as the system answered it."""
        with _named("changed_since"):
            values = self._mappings.pull(ref.kind).read(payload)
            return to_record(ref.kind, connection=self._connection, id=ref.id, values=values)

    def _sorted_out(
        self, kind: Kind, call: Call, rows: Iterable[Tree]
    ) -> tuple[list[Record], list[Quarantined]]:
        records: list[Record] = []
        quarantined: list[Quarantined] = []
        for row in rows:
            try:
                records.append(self._record(kind, row, call))
            except MappingError as error:
                problem = error.problems[0]
                quarantined.append(
                    Quarantined(
                        kind=kind,
                        id=text(row, call.id) or "",
                        field=problem.field,
                        reason=problem.reason,
                        place=problem.place,
                        payload=row if isinstance(row, dict) else {"value": row},
                    )
                )
        return records, quarantined

    def _window(self, cursor: str | None) -> Window | None:
        if cursor is None:
            return None
        try:
            return Window.read(cursor)
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        raise Rejected(
            "that is no cursor of this connection; begin anew without one",
            system=SYSTEM,
            operation="changed_since",
            field="cursor",
        )


class _CountsRecords(SoapAdapter, CountsRecords):
    """The first part of what lists changes, asked for from the beginning, says how many there are
    where the bindings name that place (`count`)."""

    def count_records(self, kind: Kind) -> Tally:
        changes = self._bindings.changes.get(kind)
        if changes is None or not changes.counts:
            raise NotOffered(
                f"this connection counts no {kind} records",
                system=SYSTEM,
                operation="count_records",
            )
        scope = {"since": None, "until": datetime.now(UTC), "limit": 1}
        part = self._part(changes.call, scope, Position.start(changes.call.paging))
        count = number(part.answer.body, changes.count)
        if count is None:
            raise Permanent(
                f"the answer of {changes.call.operation} has no number at {changes.count!r}",
                system=SYSTEM,
                operation="count_records",
            )
        return Tally(count=count)


class _PreviewsActions(SoapAdapter, PreviewsActions):
    def preview(self, operation: Operation, request: Frozen) -> Preview:
        write = self._bound(operation, request)
        rule = write.preview
        if rule is None:
            raise NotOffered(
                f"this connection cannot say beforehand what a {operation} would do",
                system=SYSTEM,
                operation=operation,
            )
        mapping = self._mappings.push(write.mapping)
        payload = self._payload(write, request, PREVIEW_KEY, write.call)
        if rule.mapped:
            asked = self._payload(write, request, PREVIEW_KEY, rule.call)
        else:
            asked = self._arguments(rule.call, {"key": PREVIEW_KEY, "request": request})
        answer = self._wire().call(rule.call.operation, asked, write=False, rule=mapping.fault)
        effects = [effect for line in rule.effects for effect in _effects(line, answer.body)]
        warnings = [effect for line in rule.warnings for effect in _effects(line, answer.body)]
        return Preview(
            effects=tuple(effects),
            warnings=tuple(warning.what for warning in warnings),
            exact=rule.mapped,
            payload=masked(mapping, payload),
        )


class _CreatesReplacementOrders(SoapAdapter, CreatesReplacementOrders):
    def create_replacement_order(self, request: ReplacementOrderRequest, *, key: str) -> Receipt:
        return self._create(Operation.REPLACEMENT_ORDER, request, key)

    def find_replacement_order(
        self, request: ReplacementOrderRequest, *, key: str
    ) -> Receipt | None:
        return self._find(Operation.REPLACEMENT_ORDER, request, key)


class _AuthorisesReturns(SoapAdapter, AuthorisesReturns):
    def create_return(self, request: ReturnRequest, *, key: str) -> Receipt:
        return self._create(Operation.RETURN, request, key)

    def find_return(self, request: ReturnRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.RETURN, request, key)


class _IssuesCredits(SoapAdapter, IssuesCredits):
    def create_credit(self, request: CreditRequest, *, key: str) -> Receipt:
        return self._create(Operation.CREDIT, request, key)

    def find_credit(self, request: CreditRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.CREDIT, request, key)


class _IssuesStoreCredits(SoapAdapter, IssuesStoreCredits):
    def create_store_credit(self, request: StoreCreditRequest, *, key: str) -> Receipt:
        return self._create(Operation.STORE_CREDIT, request, key)

    def find_store_credit(self, request: StoreCreditRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.STORE_CREDIT, request, key)


class _CancelsOrders(SoapAdapter, CancelsOrders):
    def create_cancellation(self, request: CancellationRequest, *, key: str) -> Receipt:
        return self._create(Operation.CANCELLATION, request, key)

    def find_cancellation(self, request: CancellationRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.CANCELLATION, request, key)


class _OpensCases(SoapAdapter, OpensCases):
    def create_case(self, request: CaseRequest, *, key: str) -> Receipt:
        return self._create(Operation.CASE, request, key)

    def find_case(self, request: CaseRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.CASE, request, key)


class _SchedulesCallBacks(SoapAdapter, SchedulesCallBacks):
    def create_call_back(self, request: CallBackRequest, *, key: str) -> Receipt:
        return self._create(Operation.CALL_BACK, request, key)

    def find_call_back(self, request: CallBackRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.CALL_BACK, request, key)


class _WithdrawsActions(SoapAdapter, WithdrawsActions):
    """What was taken back before, by whomever, is found; the fault tables say which codes mean so
    (`already_done`)."""

    withdrawable: ClassVar[frozenset[Operation]] = frozenset()

    def create_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt:
        return self._create(Operation.WITHDRAWAL, request, key)

    def find_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.WITHDRAWAL, request, key)


class _WritesNotes(SoapAdapter, WritesNotes):
    def create_note(self, request: NoteRequest, *, key: str) -> Receipt:
        return self._create(Operation.NOTE, request, key)

    def find_note(self, request: NoteRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.NOTE, request, key)


_WRITES: dict[Operation, type[SoapAdapter]] = {
    Operation.REPLACEMENT_ORDER: _CreatesReplacementOrders,
    Operation.RETURN: _AuthorisesReturns,
    Operation.CREDIT: _IssuesCredits,
    Operation.STORE_CREDIT: _IssuesStoreCredits,
    Operation.CANCELLATION: _CancelsOrders,
    Operation.CASE: _OpensCases,
    Operation.CALL_BACK: _SchedulesCallBacks,
    Operation.NOTE: _WritesNotes,
}

_classes: dict[tuple[Any, ...], type[SoapAdapter]] = {}


def class_for(bindings: Bindings) -> type[SoapAdapter]:
    """The class with what these bindings bind; the same bindings give the same class."""
    parts: list[type[SoapAdapter]] = []
    for bound, part in (
        (bindings.contacts, _FindsContacts),
        (bindings.accounts, _FindsAccounts),
        (bindings.orders, _ReadsOrders),
        (bindings.shipments, _ReadsShipments),
        (bindings.invoices, _ReadsInvoices),
        (bindings.changes, _ListsChanges),
        ([c for c in bindings.changes.values() if c.counts], _CountsRecords),
        ([w for w in bindings.every_write() if w.preview is not None], _PreviewsActions),
        (bindings.withdrawals, _WithdrawsActions),
    ):
        if bound:
            parts.append(part)
    parts += [_WRITES[operation] for operation in Operation if operation in bindings.writes]
    kinds, withdrawable = tuple(bindings.changes), frozenset(bindings.withdrawals)
    key = (*parts, kinds, withdrawable)
    if key not in _classes:
        members: dict[str, Any] = {"__module__": __name__, "__doc__": SoapAdapter.__doc__}
        if kinds:
            members["change_kinds"] = kinds
        if withdrawable:
            members["withdrawable"] = withdrawable
        _classes[key] = type("SoapAdapter", tuple(parts), members)
    return _classes[key]


def _bindings_path(settings: SoapSettings, mappings: MappingSet) -> Path:
    """The bindings file; raises ValidationError where none is named and none is found."""
    if settings.bindings is not None:
        return settings.bindings
    folders = dict.fromkeys(mapping.path.parent for mapping in mappings.mappings)
    found = [f / grammar.FILE_NAME for f in folders if (f / grammar.FILE_NAME).is_file()]
    if len(found) == 1:
        return found[0]
    many = "more than one" if found else "none"
    raise _invalid([f"name the bindings file: there is {many} beside the mapping files"])


def _invalid(issues: Iterable[object]) -> ValidationError:
    """The issues as what `open` raises."""
    return ValidationError.from_exception_data(
        "SoapSettings",
        [
            InitErrorDetails(
                type=PydanticCustomError("bindings", "{issue}", {"issue": str(issue)}),
                loc=("bindings",),
                input=None,
            )
            for issue in issues
        ],
    )


# --- small parts ----------------------------------------------------------------------------------


@contextmanager
def _named(operation: str) -> Iterator[None]:
    """A mapping does not know whose records it maps: its errors are given a name here."""
    try:
        yield
    except RemoteError as error:
        error.system = error.system or SYSTEM
        error.operation = operation
        raise


def _after(rows: list[Tree], path: str, last: str | None) -> list[Tree]:
    """The rows that come after one. All of them, if that one is not there any more."""
    if last is None:
        return rows
    if last.startswith("#"):
        return rows[int(last[1:]) :]
    for position, row in enumerate(rows, start=1):
        if text(row, path) == last:
            return rows[position:]
    return rows


def _questions(lookups: Iterable[Lookup], clue: Clue) -> Iterator[tuple[Call, Any]]:
    """Each call to make for a clue, with the value to look by."""
    for lookup in lookups:
        part, _, name = lookup.by.partition(".")
        if part == "emails":
            yield from ((lookup.call, email) for email in clue.emails if email)
        elif part == "phones":
            yield from ((lookup.call, phone) for phone in clue.phones if phone)
        elif part == "name" and clue.name:
            yield lookup.call, clue.name
        elif part == "external_ids" and clue.external_ids.get(name):
            yield lookup.call, clue.external_ids[name]
        elif part == "handles":
            for handle in clue.handles:
                if name in ("", handle.network):
                    yield lookup.call, handle


def _effects(rule: EffectRule, body: Tree) -> Iterator[Effect]:
    for row in collect(body, rule.each):
        if rule.only and not matches(row, rule.only):
            continue
        what = "".join(
            (text(row, part) or "?") if odd % 2 else part for odd, part in enumerate(rule.what)
        ).strip()
        yield Effect(what=what or "?", amount=_money(rule, row, body))


def _money(rule: EffectRule, row: Tree, body: Tree) -> Money | None:
    stated = text(row, rule.amount) if rule.amount else None
    currency = rule.currency
    if not (len(currency) == 3 and currency.isupper()):
        currency = (text(row, currency) or text(body, currency) or "") if currency else ""
    if stated is None or not currency:
        return None
    try:
        return Money(amount=Decimal(stated), currency=currency)
    except (InvalidOperation, ValidationError):
        return None


def _merged(payload: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The payload with the bindings' own arguments; these do not replace what was mapped."""
    for name, value in own.items():
        there = payload.get(name)
        if isinstance(there, dict) and isinstance(value, Mapping):
            _merged(there, value)
        else:
            payload.setdefault(name, value)
    return payload


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return str(getattr(value, "value", value))
