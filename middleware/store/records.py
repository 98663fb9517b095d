"""Canonical records as last read, found by their identifiers, numbers and owners."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, delete, select

from middleware.contract.canonical import (
    CANONICAL,
    Account,
    Case,
    Contact,
    Invoice,
    Kind,
    Order,
    Product,
    Record,
    Ref,
    Return,
    Shipment,
)
from middleware.contract.capabilities import Quarantined
from middleware.domain.likeness import FoundBy, Identifier, Likeness
from middleware.store.likeness import LikenessIndex
from middleware.store.tables import QuarantineRow, RecordIdentifierRow, RecordRow
from middleware.store.together import Asked, for_each_database, together


@dataclass(frozen=True)
class Stored:
    """A canonical record and since when the hub knows it to be so."""

    record: Record
    as_of: datetime


@dataclass
class Counts:
    """What one page of records did to the store."""

    seen: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    quarantined: int = 0
    content: str = ""
    """A hash of what the page's records say; the same whoever reads the same page."""


# Made once: every look-up asks these, and building a statement takes longer than answering it.
_BY_ID = for_each_database(
    lambda among: sa.select(col(RecordRow.kind), col(RecordRow.body), col(RecordRow.as_of)).where(
        col(RecordRow.connection) == sa.bindparam("connection"),
        col(RecordRow.kind) == sa.bindparam("kind"),
        among(col(RecordRow.id)),
        col(RecordRow.deleted_at).is_(None),
    )
)
_BEARING = for_each_database(
    lambda among: sa.select(
        col(RecordIdentifierRow.scheme),
        col(RecordIdentifierRow.value),
        col(RecordIdentifierRow.connection),
        col(RecordIdentifierRow.kind),
        col(RecordIdentifierRow.id),
    ).where(
        col(RecordIdentifierRow.scheme) == sa.bindparam("scheme"),
        among(col(RecordIdentifierRow.value)),
    )
)


class Records:
    def __init__(self, session: Session) -> None:
        self._session = session

    def store(
        self,
        records: Sequence[tuple[Record, FoundBy | Sequence[Identifier]]],
        *,
        as_of: datetime,
    ) -> Counts:
        """Write records with what they are found by, in bulk; unchanged ones cost one comparison.

        Records of one call may repeat; the last one wins. `as_of` of a stored record never goes
        back: an older reading leaves a newer one alone.
        """
        counts = Counts(seen=len(records))
        latest = {key_of(record.ref): (record, found_by) for record, found_by in records}
        known = self._known(latest)
        rows: list[dict[str, Any]] = []
        touched: list[tuple[str, str, str]] = []
        identifiers_of: list[dict[str, Any]] = []
        likenesses: dict[tuple[str, str, str], Likeness | None] = {}
        content = hashlib.sha256()
        for key, (record, given) in latest.items():
            found_by = given if isinstance(given, FoundBy) else FoundBy(tuple(given))
            body = record.model_dump(mode="json")
            content_hash = hash_of(body)
            content.update(f"{key[2]}:{content_hash}\n".encode())
            was = known.get(key)
            if was is not None and was.as_of > as_of:
                counts.unchanged += 1
                continue
            if was is not None and was.content_hash == content_hash and was.deleted_at is None:
                counts.unchanged += 1
                touched.append(key)
                continue
            counts.new += was is None
            counts.changed += was is not None
            rows.append(
                {
                    **columns_of(record),
                    "connection": key[0],
                    "kind": key[1],
                    "id": key[2],
                    "body": body,
                    "content_hash": content_hash,
                    "as_of": as_of,
                    "deleted_at": None,
                }
            )
            identifiers_of += [
                {
                    "scheme": scheme,
                    "value": value,
                    "connection": key[0],
                    "kind": key[1],
                    "id": key[2],
                }
                for scheme, value in dict.fromkeys(found_by.identifiers)
            ]
            if found_by.likeness is not None:
                likenesses[key] = found_by.likeness()
        if rows:
            self._upsert(rows)
            self._forget_identifiers([(row["connection"], row["kind"], row["id"]) for row in rows])
            if identifiers_of:
                self._session.connection().execute(sa.insert(RecordIdentifierRow), identifiers_of)
        if likenesses:
            LikenessIndex(self._session).put(likenesses)
        self._touch(touched, as_of)
        self._release(list(latest))
        counts.content = content.hexdigest()[:32]
        return counts

    def delete(self, refs: Iterable[Ref], *, as_of: datetime) -> int:
        """Mark records as gone from their remote; they stay readable for what hangs on them."""
        deleted = []
        for ref in refs:
            row = self._session.get(RecordRow, key_of(ref))
            if row is not None and row.deleted_at is None:
                row.deleted_at = as_of
                row.as_of = max(row.as_of, as_of)
                deleted.append(key_of(ref))
        self._session.flush()
        if deleted:
            LikenessIndex(self._session).put(dict.fromkeys(deleted))
        return len(deleted)

    def quarantine(self, items: Iterable[Quarantined], *, connection: str, at: datetime) -> int:
        """Keep what could not be mapped, with place and reason; the latest reason stands."""
        count = 0
        for item in items:
            row = self._session.get(QuarantineRow, (connection, item.kind.value, item.id))
            if row is None:
                row = QuarantineRow(
                    connection=connection,
                    kind=item.kind.value,
                    id=item.id,
                    field=item.field,
                    reason=item.reason,
                    place=item.place,
                    payload=item.payload,
                    first_at=at,
                    last_at=at,
                )
            row.field, row.reason, row.place = item.field, item.reason, item.place
            row.payload, row.last_at = item.payload, at
            self._session.add(row)
            count += 1
        self._session.flush()
        return count

    def quarantined(self, *, connection: str | None = None, limit: int = 50) -> list[QuarantineRow]:
        query = select(QuarantineRow)
        if connection is not None:
            query = query.where(QuarantineRow.connection == connection)
        return list(
            self._session.exec(query.order_by(col(QuarantineRow.last_at).desc()).limit(limit))
        )

    def get(self, ref: Ref, *, lock: bool = False) -> Stored | None:
        row = self._session.get(RecordRow, key_of(ref), with_for_update=lock or None)
        return None if row is None or row.deleted_at is not None else _stored(row)

    def get_all(self, refs: Iterable[Ref]) -> list[Stored]:
        """Those of the records that are stored and not deleted."""
        by_kind: dict[tuple[str, str], list[str]] = {}
        for connection, kind, id_ in dict.fromkeys(map(key_of, refs)):
            by_kind.setdefault((connection, kind), []).append(id_)
        dialect = self._session.get_bind().dialect.name
        found = together(
            self._session.connection(),
            [
                Asked(_BY_ID[dialect], {"connection": connection, "kind": kind, "ids": ids})
                for (connection, kind), ids in by_kind.items()
            ],
        )
        return [_stored(row) for rows in found for row in rows]

    def of_order(self, order: Ref, kinds: Iterable[Kind]) -> list[Record]:
        """The records of these kinds that hang on an order in its own system."""
        query = select(RecordRow).where(
            RecordRow.connection == order.connection,
            RecordRow.order_id == order.id,
            col(RecordRow.kind).in_([kind.value for kind in kinds]),
            col(RecordRow.deleted_at).is_(None),
        )
        return [_stored(row).record for row in self._session.exec(query.order_by(RecordRow.id))]

    def bearing(self, identifiers: Iterable[Identifier]) -> dict[Ref, set[Identifier]]:
        """The records that bear any of these identifiers, and which ones."""
        by_scheme: dict[str, list[str]] = {}
        for scheme, value in dict.fromkeys(identifiers):
            by_scheme.setdefault(scheme, []).append(value)
        dialect = self._session.get_bind().dialect.name
        found: dict[Ref, set[Identifier]] = {}
        for scheme, values in by_scheme.items():
            borne = {"scheme": scheme, "ids": values}
            for row in self._session.connection().execute(_BEARING[dialect], borne):
                ref = Ref(connection=row.connection, kind=Kind(row.kind), id=row.id)
                found.setdefault(ref, set()).add((row.scheme, row.value))
        return found

    def numbered(self, kind: Kind, numbers: Iterable[str]) -> list[Stored]:
        """Records that people know by one of these numbers."""
        wanted = list(dict.fromkeys(numbers))
        if not wanted:
            return []
        query = select(RecordRow).where(
            col(RecordRow.number).in_(wanted),
            RecordRow.kind == kind.value,
            col(RecordRow.deleted_at).is_(None),
        )
        return [_stored(row) for row in self._session.exec(query)]

    def orders_of(self, customers: Iterable[Ref], *, limit: int = 50) -> list[Stored]:
        """Orders of these accounts and contacts, newest first."""
        return self._owned(Kind.ORDER, customers, limit)

    def cases_of(self, customers: Iterable[Ref], *, limit: int = 20) -> list[Stored]:
        return self._owned(Kind.CASE, customers, limit)

    def of_orders(self, kind: Kind, orders: Iterable[Ref]) -> list[Stored]:
        """Shipments, returns or invoices of these orders."""
        by_connection: dict[str, list[str]] = {}
        for ref in orders:
            by_connection.setdefault(ref.connection, []).append(ref.id)
        found: list[Stored] = []
        for connection, ids in by_connection.items():
            query = select(RecordRow).where(
                RecordRow.connection == connection,
                RecordRow.kind == kind.value,
                col(RecordRow.order_id).in_(ids),
                col(RecordRow.deleted_at).is_(None),
            )
            found += [_stored(row) for row in self._session.exec(query)]
        return found

    def customers_after(
        self, last: tuple[str, str, str] | None, *, limit: int
    ) -> list[Contact | Account]:
        """The live contacts and accounts that follow, in the order of their keys."""
        query = select(RecordRow).where(
            col(RecordRow.kind).in_([Kind.CONTACT.value, Kind.ACCOUNT.value]),
            col(RecordRow.deleted_at).is_(None),
        )
        if last is not None:
            connection, kind, id_ = last
            query = query.where(
                sa.or_(
                    col(RecordRow.connection) > connection,
                    sa.and_(
                        col(RecordRow.connection) == connection,
                        sa.or_(
                            col(RecordRow.kind) > kind,
                            sa.and_(col(RecordRow.kind) == kind, col(RecordRow.id) > id_),
                        ),
                    ),
                )
            )
        rows = self._session.exec(query.order_by(*KEY_COLUMNS).limit(limit))
        found = [_stored(row).record for row in rows]
        return [record for record in found if isinstance(record, Contact | Account)]

    def count(self) -> dict[tuple[str, str], int]:
        """How many live records of each kind each connection has."""
        query = (
            select(RecordRow.connection, RecordRow.kind, sa.func.count())
            .where(col(RecordRow.deleted_at).is_(None))
            .group_by(RecordRow.connection, RecordRow.kind)
        )
        return {(connection, kind): n for connection, kind, n in self._session.exec(query)}

    def _owned(self, kind: Kind, customers: Iterable[Ref], limit: int) -> list[Stored]:
        found: dict[tuple[str, str, str], RecordRow] = {}
        owners = {Kind.ACCOUNT: RecordRow.account_id, Kind.CONTACT: RecordRow.contact_id}
        for ref in dict.fromkeys(customers):
            if ref.kind not in owners:
                continue
            query = select(RecordRow).where(
                RecordRow.connection == ref.connection,
                owners[ref.kind] == ref.id,
                RecordRow.kind == kind.value,
                col(RecordRow.deleted_at).is_(None),
            )
            newest = query.order_by(col(RecordRow.sorted_at).desc(), col(RecordRow.id)).limit(limit)
            found |= {(r.connection, r.kind, r.id): r for r in self._session.exec(newest)}
        rows = sorted(found.values(), key=_newest_first, reverse=True)[:limit]
        return [_stored(row) for row in rows]

    def _known(self, keys: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str, str], Any]:
        columns = (
            col(RecordRow.connection),
            col(RecordRow.kind),
            col(RecordRow.id),
            col(RecordRow.content_hash),
            col(RecordRow.as_of),
            col(RecordRow.deleted_at),
        )
        query = sa.select(*columns).where(one_of(KEY_COLUMNS, keys))
        return {(r.connection, r.kind, r.id): r for r in self._session.connection().execute(query)}

    def _upsert(self, rows: list[dict[str, Any]]) -> None:
        dialect = self._session.get_bind().dialect.name
        insert = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(RecordRow)
        changed = {name: insert.excluded[name] for name in rows[0] if name not in KEY}
        statement = insert.on_conflict_do_update(index_elements=list(KEY), set_=changed)
        self._session.connection().execute(statement, rows)

    def _forget_identifiers(self, keys: list[tuple[str, str, str]]) -> None:
        columns = (
            col(RecordIdentifierRow.connection),
            col(RecordIdentifierRow.kind),
            col(RecordIdentifierRow.id),
        )
        self._session.exec(delete(RecordIdentifierRow).where(one_of(columns, keys)))

    def _touch(self, keys: list[tuple[str, str, str]], as_of: datetime) -> None:
        if keys:
            self._session.connection().execute(
                sa.update(RecordRow)
                .where(one_of(KEY_COLUMNS, keys), col(RecordRow.as_of) < as_of)
                .values(as_of=as_of)
            )

    def _release(self, keys: list[tuple[str, str, str]]) -> None:
        """A record that maps again is no longer in quarantine."""
        if keys:
            columns = (
                col(QuarantineRow.connection),
                col(QuarantineRow.kind),
                col(QuarantineRow.id),
            )
            self._session.exec(delete(QuarantineRow).where(one_of(columns, keys)))


KEY = ("connection", "kind", "id")
KEY_COLUMNS = (col(RecordRow.connection), col(RecordRow.kind), col(RecordRow.id))


def one_of(columns: Sequence[Any], keys: Iterable[tuple[str, ...]]) -> ColumnElement[bool]:
    """Whether the columns are one of the keys, said so that their index is used.

    SQLite reads the whole table for `(a, b, c) IN (VALUES …)`; equality of all columns but the
    last, and a list for that one, it looks up.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for key in keys:
        groups.setdefault(key[:-1], []).append(key[-1])
    conditions = [
        sa.and_(
            *(c == part for c, part in zip(columns, first, strict=False)), columns[-1].in_(last)
        )
        for first, last in groups.items()
    ]
    return sa.or_(sa.false(), *conditions)


def key_of(ref: Ref) -> tuple[str, str, str]:
    return (ref.connection, ref.kind.value, ref.id)


def hash_of(body: dict[str, Any]) -> str:
    """A hash of what a record says; the same for equal records whatever the order of keys."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def columns_of(record: Record) -> dict[str, Any]:
    """The columns that reads go by."""
    columns: dict[str, Any] = {
        "number": None,
        "account_id": None,
        "contact_id": None,
        "order_id": None,
        "sorted_at": record.updated_at,
    }

    def own(ref: Ref | None) -> str | None:
        return ref.id if ref is not None and ref.connection == record.ref.connection else None

    match record:
        case Order():
            columns |= {
                "number": record.number,
                "account_id": own(record.account),
                "contact_id": own(record.contact),
                # What it replaces, so that an order's replacements are found beside its returns.
                "order_id": own(_order_of(record.origin)),
                "sorted_at": record.placed_at or record.updated_at,
            }
        case Case():
            columns |= {
                "number": record.number,
                "account_id": own(record.account),
                "contact_id": own(record.contact),
                "order_id": own(record.order),
                "sorted_at": record.opened_at or record.updated_at,
            }
        case Shipment():
            columns |= {
                "number": record.tracking_number or record.number,
                "order_id": own(record.order),
            }
        case Invoice():
            columns |= {
                "number": record.number,
                "account_id": own(record.account),
                "order_id": own(record.order),
            }
        case Return():
            columns |= {"number": record.number, "order_id": own(record.order)}
        case Account():
            columns["number"] = record.number
        case Contact():
            columns["account_id"] = own(record.account)
        case Product():
            columns["number"] = record.sku
    return columns


def _order_of(ref: Ref | None) -> Ref | None:
    return ref if ref is not None and ref.kind is Kind.ORDER else None


def _newest_first(row: RecordRow) -> tuple[bool, datetime | None, str]:
    return (row.sorted_at is not None, row.sorted_at, row.id)


def _stored(row: Any) -> Stored:
    record = CANONICAL[Kind(row.kind)].model_validate_json(json.dumps(row.body))
    return Stored(record=record, as_of=row.as_of)
