"""What every SOAP connection has: its WSDL, the wire, and how a bound call is made."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast
from urllib.parse import urlsplit

from adapters.soap import fit, grammar
from adapters.soap.answers import Tree, collect, present, text
from adapters.soap.arguments import Unquotable, argument_values
from adapters.soap.bindings import Bindings, Call, Lookup, Write
from adapters.soap.client import AlreadyDone, Answer, Client, matches
from adapters.soap.paging import Part, Position
from adapters.soap.settings import Secrets, SoapSettings
from adapters.soap.wsdl import Documents, Library
from middleware.contract.actions import (
    Operation,
    Receipt,
    WithdrawalRequest,
)
from middleware.contract.canonical import (
    Frozen,
    Kind,
    Record,
    Ref,
)
from middleware.contract.capabilities import (
    Adapter,
    CheckReport,
    Clue,
    Connection,
    Description,
    Finding,
    KeyTraits,
    LintsOwnFiles,
    NamesItsRemote,
    ObjectInfo,
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

SYSTEM = "soap"
_MOST_PARTS = 1_000

R = TypeVar("R", bound=Record)


class SoapConnection(Adapter, LintsOwnFiles, NamesItsRemote):
    """What every SOAP connection has, whatever its bindings bind."""

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

    def remote_identity(self) -> str | None:
        """The address that calls go to: SOAP has no word for who answers there."""
        own = self._settings.own_address
        address = urlsplit(self._wire().address if self._settings.use_wsdl_address else own)
        return f"{address.netloc.lower()}{address.path}"

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
        with named(call.operation):
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
        with named(call.operation):
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
        with named(write.call.operation):
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


# --- small parts ----------------------------------------------------------------------------------


@contextmanager
def named(operation: str) -> Iterator[None]:
    """A mapping does not know whose records it maps: its errors are given a name here."""
    try:
        yield
    except RemoteError as error:
        error.system = error.system or SYSTEM
        error.operation = operation
        raise


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
