"""What can be read over a SOAP connection, each capability mixed in where it is bound."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, cast

from adapters.soap.answers import Tree, collect, text
from adapters.soap.bindings import Call
from adapters.soap.connection import SYSTEM, SoapConnection, named
from adapters.soap.paging import Position, Window, number
from middleware.contract.canonical import (
    Account,
    Contact,
    Invoice,
    Kind,
    Order,
    Record,
    Ref,
    Shipment,
)
from middleware.contract.capabilities import (
    Clue,
    CountsRecords,
    FindsAccounts,
    FindsContacts,
    ListsChanges,
    ListsChangesBetween,
    MapsAgain,
    Page,
    Quarantined,
    ReadsInvoices,
    ReadsOrders,
    ReadsShipments,
    Tally,
)
from middleware.contract.errors import (
    Missing,
    NotOffered,
    Permanent,
    Rejected,
)
from middleware.contract.mapping import (
    MappingError,
    to_record,
)

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class SoapFindsContacts(SoapConnection, FindsContacts):
    def find_contacts(self, clue: Clue, *, limit: int = 10) -> tuple[Contact, ...]:
        found = self._find_people(Kind.CONTACT, self._bindings.contacts, clue, limit)
        return cast("tuple[Contact, ...]", found)


class SoapFindsAccounts(SoapConnection, FindsAccounts):
    def find_accounts(self, clue: Clue, *, limit: int = 10) -> tuple[Account, ...]:
        found = self._find_people(Kind.ACCOUNT, self._bindings.accounts, clue, limit)
        return cast("tuple[Account, ...]", found)


class SoapReadsOrders(SoapConnection, ReadsOrders):
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


class SoapReadsShipments(SoapConnection, ReadsShipments):
    def shipments_of(self, order: Ref) -> tuple[Shipment, ...]:
        call = self._bindings.shipments
        assert call is not None
        return tuple(
            shipment
            for part in self._parts(call, {"order": order})
            for shipment in self._records(Shipment, Kind.SHIPMENT, call, part.rows)
        )


class SoapReadsInvoices(SoapConnection, ReadsInvoices):
    def invoices_of(self, order: Ref) -> tuple[Invoice, ...]:
        call = self._bindings.invoices
        assert call is not None
        return tuple(
            invoice
            for part in self._parts(call, {"order": order})
            for invoice in self._records(Invoice, Kind.INVOICE, call, part.rows)
        )


class SoapListsChanges(SoapConnection, ListsChanges, ListsChangesBetween, MapsAgain):
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
        with named("changed_since"):
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


class SoapCountsRecords(SoapConnection, CountsRecords):
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


PARTS: tuple[type[Any], ...] = (
    SoapFindsContacts,
    SoapFindsAccounts,
    SoapReadsOrders,
    SoapReadsShipments,
    SoapReadsInvoices,
    SoapListsChanges,
    SoapCountsRecords,
)


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
