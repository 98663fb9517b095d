"""Pages of changes: by time and id within a fixed window, parents for their children.

Tryton stamps a row with the time at which the transaction began that wrote it, and shows it when
that transaction commits. So a run reads a window that ends a little before the present, in a
stable order by stamp and id (never by offset: rows move while they are read), and the next run
begins `overlap` before the window's end, to catch what was committed late. A change to a line, an
address or a contact mechanism stamps only that row; each kind is therefore read in several
streams, of its own rows and of those inside it, and a change in any of them brings up the record.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from adapters.tryton.client import SYSTEM, Client, Row
from adapters.tryton.records import MODELS, Records, ids_in
from adapters.tryton.settings import TrytonSettings
from middleware.contract.canonical import Frozen, Instant, Kind, Record, Ref
from middleware.contract.capabilities import Merged, Page, Quarantined
from middleware.contract.errors import Rejected
from middleware.contract.mapping import MappingError


class Stream(Frozen):
    """Rows of one model in the order of their changes, and the way from a row to its record."""

    model: str
    path: str = "id"
    """The field that leads to the record's id."""
    domain: tuple[tuple[Any, ...], ...] = ()
    owner: str = ""
    """The record's model, where `path` holds references to several."""


_PARTY = (
    Stream(model="party.party"),
    Stream(model="party.contact_mechanism", path="party"),
    Stream(model="party.address", path="party"),
    Stream(model="party.identifier", path="party"),
)

STREAMS: dict[Kind, tuple[Stream, ...]] = {
    Kind.CONTACT: _PARTY,
    Kind.ACCOUNT: _PARTY,
    Kind.PRODUCT: (
        Stream(model="product.product"),
        Stream(model="product.template", path="products"),
    ),
    Kind.ORDER: (
        Stream(model="sale.sale"),
        Stream(model="sale.line", path="sale"),
        # An order's status depends on its shipments, and shipping does not touch the sale.
        Stream(model="stock.shipment.out", path="outgoing_moves.sale"),
    ),
    Kind.SHIPMENT: (
        Stream(model="stock.shipment.out"),
        Stream(
            model="stock.move",
            path="shipment",
            domain=(("shipment.id", ">", 0, "stock.shipment.out"),),
            owner="stock.shipment.out",
        ),
    ),
    Kind.INVOICE: (
        Stream(model="account.invoice", domain=(("type", "=", "out"),)),
        Stream(
            model="account.invoice.line",
            path="invoice",
            domain=(("invoice.type", "=", "out"),),
        ),
    ),
    Kind.RETURN: (
        Stream(model="sale.complaint", domain=(("actions.action", "=", "sale_return"),)),
        Stream(
            model="sale.complaint.action",
            path="complaint",
            domain=(("action", "=", "sale_return"),),
        ),
        # What a return has come to depends on the sale that it made.
        Stream(
            model="sale.sale",
            path="origin",
            domain=(("origin.actions.action", "=", "sale_return", "sale.complaint"),),
            owner="sale.complaint",
        ),
    ),
}

MOST_ROWS = 500
"""The most rows that are asked for at once; Tryton's answer grows with what is inside them."""


class Position(Frozen):
    """Behind which row a stream is read on.

    Where a page ended inside a row that leads to several records, `row` is that next row and
    `within` the last record taken of it.
    """

    stamp: Instant
    id: int = 0
    row: int = 0
    within: int = 0


class Cursor(Frozen):
    """Where a sync stands; between runs there is no `until`, and the next starts at `since`."""

    kind: Kind
    since: Instant | None = None
    """None reads everything there is."""
    until: Instant | None = None
    stream: int = 0
    position: Position | None = None

    def text(self) -> str:
        return base64.urlsafe_b64encode(self.model_dump_json(exclude_none=True).encode()).decode()

    @classmethod
    def parse(cls, kind: Kind, text: str | None) -> Cursor:
        """Read what `text()` wrote; raises Rejected on anything else."""
        if text is None:
            return cls(kind=kind)
        try:
            cursor = cls.model_validate_json(base64.b64decode(text, altchars=b"-_", validate=True))
        except (binascii.Error, ValueError, ValidationError):
            cursor = None
        if cursor is None or cursor.kind is not kind or cursor.stream >= len(STREAMS[kind]):
            raise Rejected(
                "that is no cursor of this adapter for this kind; begin anew without one",
                system=SYSTEM,
                operation="changed_since",
                field="cursor",
            )
        return cursor


class Changes:
    """Reads one page after another."""

    def __init__(
        self, client: Client, records: Records, settings: TrytonSettings, connection: str
    ) -> None:
        self._client = client
        self._records = records
        self._settings = settings
        self._connection = connection

    def page(self, kind: Kind, text: str | None, *, limit: int) -> Page:
        cursor = Cursor.parse(kind, text)
        if cursor.until is None:
            # Its clock rounds down to a second; what happened within it belongs to the window.
            now = self._client.now(operation="changed_since")
            cursor = cursor.model_copy(
                update={"until": now + timedelta(seconds=1) - self._settings.lag}
            )
        until = cursor.until
        assert until is not None
        ids: list[int] = []
        while not ids and cursor.stream < len(STREAMS[kind]):
            ids, cursor = self._next(cursor, until, max(1, min(limit, MOST_ROWS)))
        ended = cursor.stream == len(STREAMS[kind])
        records, deleted, quarantined = self._read(kind, ids, fresh=cursor.since is None)
        merged = self._merged(kind, deleted)
        after = Cursor(kind=kind, since=until - self._settings.overlap) if ended else cursor
        return Page(
            records=tuple(records),
            deleted=tuple(deleted),
            merged=tuple(merged),
            quarantined=tuple(quarantined),
            cursor=after.text(),
            more=not ended,
            as_of=until - timedelta(seconds=1),
        )

    def between(self, kind: Kind, since: datetime, until: datetime) -> str:
        """The cursor of a window of the past; Tryton's stamps within it count as they are now."""
        return Cursor(kind=kind, since=since, until=until).text()

    def count(self, kind: Kind) -> int:
        """How many records a reading from the beginning would find."""
        stream = STREAMS[kind][0]
        domain = [*(list(clause) for clause in stream.domain), *self._records.domain(kind)]
        return self._client.search_count(
            stream.model,
            domain,
            operation="count_records",
            context={"active_test": False} if kind is Kind.PRODUCT else None,
        )

    def _next(self, cursor: Cursor, until: datetime, limit: int) -> tuple[list[int], Cursor]:
        """Ids of at most `limit` records, and the cursor behind them."""
        stream = STREAMS[cursor.kind][cursor.stream]
        rows = self._rows(stream, cursor, until, limit)
        ids: dict[int, None] = {}
        position = cursor.position
        for row in rows:
            within = position.within if position is not None and position.row == row["id"] else 0
            owners = [id_ for id_ in sorted(set(_owners(stream, row))) if id_ > within]
            for id_ in owners:
                if id_ not in ids and len(ids) == limit:
                    return list(ids), cursor.model_copy(update={"position": position})
                ids[id_] = None
                before = position or Position(stamp=row["last_modified_at"], id=row["id"] - 1)
                position = before.model_copy(update={"row": row["id"], "within": id_})
            position = Position(stamp=row["last_modified_at"], id=row["id"])
        if len(rows) == limit:
            return list(ids), cursor.model_copy(update={"position": position})
        following = {"stream": cursor.stream + 1, "position": None}
        return list(ids), cursor.model_copy(update=following)

    def _rows(self, stream: Stream, cursor: Cursor, until: datetime, limit: int) -> list[Row]:
        domain: list[Any] = [list(clause) for clause in stream.domain]
        domain.append(["last_modified_at", "<=", until])
        since = cursor.since
        if since is None and cursor.stream:
            # Reading everything, the records bring what is inside them; only what changes inside
            # while they are read must be looked for.
            since = until - self._settings.overlap
        if since is not None:
            domain.append(["last_modified_at", ">=", since])
        at = cursor.position
        if at is not None:
            same = [["last_modified_at", "=", at.stamp], ["id", ">", at.id]]
            domain.append(["OR", ["last_modified_at", ">", at.stamp], same])
        return self._client.search_read(
            stream.model,
            domain,
            {"last_modified_at", stream.path},
            order=(("last_modified_at", "ASC"), ("id", "ASC")),
            limit=limit,
            operation="changed_since",
            context={"active_test": False},
        )

    def _read(
        self, kind: Kind, ids: list[int], *, fresh: bool
    ) -> tuple[list[Record], list[Ref], list[Quarantined]]:
        """The records; those that are gone, deactivated or no longer of the kind as deleted.

        `fresh` says that nobody has them yet, so that nothing need be said of what is gone.
        """
        records: list[Record] = []
        quarantined: list[Quarantined] = []
        there: set[int] = set()
        for row in self._records.rows(kind, ids, operation="changed_since"):
            if not self._records.belongs(kind, row):
                continue
            there.add(row["id"])
            try:
                records.append(self._records.record(kind, row))
            except MappingError as error:
                quarantined.append(self._records.quarantined(kind, row, error))
        gone = [] if fresh else [id_ for id_ in ids if id_ not in there]
        deleted = [Ref(connection=self._connection, kind=kind, id=str(id_)) for id_ in gone]
        return records, deleted, quarantined

    def _merged(self, kind: Kind, deleted: list[Ref]) -> list[Merged]:
        """Of the parties that are gone those that the wizard `party.replace` replaced by another:
        it deactivates one and leaves `replaced_by` on it (trytond 8.2, modules/party/party.py)."""
        if not deleted or MODELS[kind] != "party.party":
            return []
        rows = self._client.search_read(
            "party.party",
            [["id", "in", [int(ref.id) for ref in deleted]], ["replaced_by", "!=", None]],
            ("replaced_by",),
            operation="changed_since",
            limit=len(deleted),
            context={"active_test": False},
        )
        return [
            Merged(
                gone=Ref(connection=self._connection, kind=kind, id=str(row["id"])),
                into=Ref(connection=self._connection, kind=kind, id=str(row["replaced_by"])),
            )
            for row in rows
        ]


def _owners(stream: Stream, row: Row) -> list[int]:
    value: object = row
    for name in stream.path.split("."):
        if isinstance(value, list):
            value = [one.get(name) for one in value if isinstance(one, dict)]
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return ids_in(value, stream.owner)
