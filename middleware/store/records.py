"""Canonical records as last read, found by their identifiers, numbers and owners."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import ColumnElement
from sqlalchemy.dialects import postgresql
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
from middleware.store import bulk
from middleware.store.articles import Articles
from middleware.store.followed import CUSTOMERS, Followed
from middleware.store.likeness import LikenessIndex
from middleware.store.tables import QuarantineRow, RecordIdentifierRow, RecordRow
from middleware.store.together import Asked, for_each_database, moment_of, plainly

Finding = FoundBy | Sequence[Identifier] | Callable[[], FoundBy]
"""What a record is found by, or what makes it: only that of a new or changed record is made."""


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


@dataclass(frozen=True)
class Swept:
    """What one full run has seen of a kind, after which the rest is swept.

    Seen is also what a full run owed after it has seen, what was read as of later than
    `read_until`, and what lies in quarantine `since` it began.
    """

    id: str
    connection: str
    kind: Kind
    since: datetime
    read_until: datetime | None


# Made once: every look-up asks these, and building a statement takes longer than answering it.
_BY_ID = for_each_database(
    lambda among: sa.select(
        col(RecordRow.kind), sa.cast(col(RecordRow.body), sa.Text), col(RecordRow.as_of)
    ).where(
        col(RecordRow.connection) == sa.bindparam("connection"),
        col(RecordRow.kind) == sa.bindparam("kind"),
        among(col(RecordRow.id)),
        col(RecordRow.deleted_at).is_(None),
    )
)
_NUMBER = sa.select(col(RecordRow.number)).where(
    col(RecordRow.connection) == sa.bindparam("connection"),
    col(RecordRow.kind) == sa.bindparam("kind"),
    col(RecordRow.id) == sa.bindparam("id"),
    col(RecordRow.deleted_at).is_(None),
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


_SEEN_BEFORE = ("content_hash", "as_of", "deleted_at", "seen_by")


class _Known(NamedTuple):
    """What a record was before it is stored anew."""

    content_hash: str
    as_of: datetime
    deleted: bool
    seen_by: str | None


class Records:
    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def _dialect(self) -> str:
        return self._session.get_bind().dialect.name

    def store(
        self,
        records: Sequence[tuple[Record, Finding]],
        *,
        as_of: datetime,
        seen_by: str | None = None,
    ) -> Counts:
        """Write records with what they are found by, in bulk; unchanged ones cost one comparison.

        Records of one call may repeat; the last one wins. `as_of` of a stored record never goes
        back: an older reading leaves a newer one alone. `seen_by` is the full run that has seen
        them all; of several at once, the mark of the one owed last stays.
        """
        with bulk.uncollected():
            return self._store(records, as_of, seen_by)

    def _store(
        self, records: Sequence[tuple[Record, Finding]], as_of: datetime, seen_by: str | None
    ) -> Counts:
        counts = Counts(seen=len(records))
        latest = {key_of(record.ref): (record, found_by) for record, found_by in records}
        known = self._known(latest)
        new: list[bulk.Row] = []
        overwritten: list[bulk.Row] = []
        touched: list[tuple[str, str, str]] = []
        changed: list[tuple[str, str, str]] = []
        borne: list[bulk.Row] = []
        likenesses: dict[tuple[str, str, str], Likeness | None] = {}
        content: list[str] = []
        for key, (record, given) in latest.items():
            body = written(record)
            content_hash = hashlib.sha256(body).hexdigest()[:32]
            content.append(f"{key[2]}:{content_hash}\n")
            was = known.get(key)
            if was is not None and was.as_of > as_of:
                counts.unchanged += 1
                touched.append(key)
                continue
            if was is not None and was.content_hash == content_hash and not was.deleted:
                counts.unchanged += 1
                touched.append(key)
                continue
            counts.new += was is None
            if was is not None:
                counts.changed += 1
                changed.append(key)
            (new if was is None else overwritten).append(
                (
                    *key,
                    *_read_by(record),
                    body.decode(),
                    content_hash,
                    as_of,
                    None,
                    seen_by if was is None else max(seen_by or "", was.seen_by or "") or None,
                )
            )
            found_by = _made(given)
            borne += [(*one, *key) for one in dict.fromkeys(found_by.identifiers)]
            if found_by.likeness is not None:
                likenesses[key] = found_by.likeness()
        bulk.write(self._session, RecordRow, COLUMNS, new, key=KEY, likely_new=True)
        bulk.write(self._session, RecordRow, COLUMNS, overwritten, key=KEY)
        if changed:
            self._forget_identifiers(changed)
        bulk.write(self._session, RecordIdentifierRow, IDENTIFIER_COLUMNS, borne)
        if likenesses:
            LikenessIndex(self._session).put(likenesses)
        Followed(self._session).note(chain(new, overwritten))
        self._touch(touched, as_of, seen_by)
        self._release(list(latest))
        Articles(self._session).learn(record for record, _ in latest.values())
        counts.content = hash_of_text("".join(content))
        return counts

    def find_by(self, records: Sequence[tuple[Record, FoundBy]]) -> None:
        """Write anew what stored records are found by, each named once."""
        self._forget_identifiers([key_of(record.ref) for record, _ in records])
        borne = [
            (*one, *key_of(record.ref))
            for record, found_by in records
            for one in dict.fromkeys(found_by.identifiers)
        ]
        bulk.write(self._session, RecordIdentifierRow, IDENTIFIER_COLUMNS, borne)
        LikenessIndex(self._session).put(
            {
                key_of(record.ref): found_by.likeness()
                for record, found_by in records
                if found_by.likeness is not None
            }
        )

    def delete(self, refs: Iterable[Ref], *, as_of: datetime, unless_newer: bool = False) -> int:
        """Mark records as gone from their remote; they stay readable for what hangs on them. What
        lies of them in quarantine goes.

        `unless_newer` leaves those alone that were read as of later.
        """
        keys = [key_of(ref) for ref in refs]
        if not keys:
            return 0
        newer = sa.case((col(RecordRow.as_of) < as_of, as_of), else_=col(RecordRow.as_of))
        gone = sa.update(RecordRow).where(
            one_of(KEY_COLUMNS, keys, self._dialect),
            col(RecordRow.deleted_at).is_(None),
            col(RecordRow.as_of) <= as_of if unless_newer else sa.true(),
        )
        deleted = self._session.connection().execute(
            gone.values(deleted_at=as_of, as_of=newer).returning(*KEY_COLUMNS)
        )
        self._release(keys)
        found = [(row.connection, row.kind, row.id) for row in deleted]
        customers = [key for key in found if key[1] in CUSTOMERS]
        if customers:
            LikenessIndex(self._session).put(dict.fromkeys(customers))
            Followed(self._session).note(customers)
        return len(found)

    def date_back(self, connection: str, kind: Kind, *, as_of: datetime) -> None:
        """Date no record of a kind later than this, since their source's clock went back: what
        changes from now on would count as older than what is stored."""
        self._session.connection().execute(
            sa.update(RecordRow)
            .where(
                col(RecordRow.connection) == connection,
                col(RecordRow.kind) == kind.value,
                col(RecordRow.as_of) > as_of,
            )
            .values(as_of=as_of)
        )

    def mark_seen(self, refs: Iterable[Ref], *, seen_by: str) -> None:
        """Note that a full run has seen records that it could not read."""
        keys = [key_of(ref) for ref in refs]
        if keys:
            self._session.connection().execute(
                sa.update(RecordRow)
                .where(one_of(KEY_COLUMNS, keys, self._dialect))
                .values(seen_by=_latest(seen_by))
            )

    def live(self, connection: str, kind: Kind) -> int:
        """How many live records of a kind a connection has."""
        query = sa.select(sa.func.count()).where(*_live(connection, kind))
        return int(self._session.connection().execute(query).scalar_one())

    def live_ids(self, connection: str, kind: Kind) -> Iterator[str]:
        """Their ids, in no order."""
        query = sa.select(col(RecordRow.id)).where(*_live(connection, kind))
        streamed = self._session.connection().execution_options(yield_per=5000).execute(query)
        yield from streamed.scalars()

    def unseen(self, run: Swept, *, limit: int) -> list[str]:
        """Ids of live records that a full run has not seen, in order."""
        query = sa.select(col(RecordRow.id)).where(*_unseen(run))
        found = self._session.connection().execute(query.order_by(col(RecordRow.id)).limit(limit))
        return list(found.scalars())

    def some_unseen(self, run: Swept, *, limit: int) -> list[str]:
        """Ids of any of them: the first ones may be gone for a reason that others do not share."""
        query = sa.select(col(RecordRow.id)).where(*_unseen(run))
        found = self._session.connection().execute(query.order_by(sa.func.random()).limit(limit))
        return list(found.scalars())

    def count_unseen(self, run: Swept) -> int:
        query = sa.select(sa.func.count()).where(*_unseen(run))
        return int(self._session.connection().execute(query).scalar_one())

    def release_unseen(self, run: Swept) -> None:
        """Drop what lies in quarantine from before a full run, which has not met it again."""
        self._session.exec(
            delete(QuarantineRow).where(
                col(QuarantineRow.connection) == run.connection,
                col(QuarantineRow.kind) == run.kind.value,
                col(QuarantineRow.last_at) < run.since,
            )
        )

    def kept_aside(self, connection: str, kind: Kind) -> int:
        """How many records of a kind lie in quarantine and are not stored beside it."""
        live = sa.exists().where(
            col(RecordRow.connection) == col(QuarantineRow.connection),
            col(RecordRow.kind) == col(QuarantineRow.kind),
            col(RecordRow.id) == col(QuarantineRow.id),
            col(RecordRow.deleted_at).is_(None),
        )
        query = sa.select(sa.func.count()).where(
            col(QuarantineRow.connection) == connection,
            col(QuarantineRow.kind) == kind.value,
            ~live,
        )
        return int(self._session.connection().execute(query).scalar_one())

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

    def number_of(self, ref: Ref) -> str | None:
        """What people call a stored record, where they call it anything."""
        connection, kind, id_ = key_of(ref)
        asked = {"connection": connection, "kind": kind, "id": id_}
        found: str | None = self._session.connection().execute(_NUMBER, asked).scalar()
        return found

    def get_all(self, refs: Iterable[Ref]) -> list[Stored]:
        """Those of the records that are stored and not deleted."""
        by_kind: dict[tuple[str, str], list[str]] = {}
        for connection, kind, id_ in dict.fromkeys(map(key_of, refs)):
            by_kind.setdefault((connection, kind), []).append(id_)
        if not by_kind:
            return []
        statement = _BY_ID[self._dialect]
        found = plainly(
            self._session.connection(),
            [
                Asked(statement, {"connection": connection, "kind": kind, "ids": ids})
                for (connection, kind), ids in by_kind.items()
            ],
        )
        return [
            Stored(CANONICAL[Kind(kind)].model_validate_json(body), moment_of(as_of))
            for kind, body, as_of in chain.from_iterable(found)
        ]

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
        if not by_scheme:
            return {}
        statement = _BEARING[self._dialect]
        borne = plainly(
            self._session.connection(),
            [Asked(statement, {"scheme": s, "ids": values}) for s, values in by_scheme.items()],
        )
        found: dict[Ref, set[Identifier]] = {}
        for scheme, value, connection, kind, id_ in chain.from_iterable(borne):
            ref = Ref(connection=connection, kind=Kind(kind), id=id_)
            found.setdefault(ref, set()).add((scheme, value))
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

    def after(
        self,
        last: tuple[str, str, str] | None,
        kinds: Iterable[Kind],
        *,
        limit: int,
        lock: bool = False,
    ) -> list[Record]:
        """The live records of these kinds that follow, in the order of their keys; with `lock`
        nobody else changes them until we commit."""
        query = select(RecordRow).where(
            col(RecordRow.kind).in_([kind.value for kind in kinds]),
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
        query = query.order_by(*KEY_COLUMNS).limit(limit)
        rows = self._session.exec(query.with_for_update() if lock else query)
        return [_stored(row).record for row in rows]

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

    def _known(self, keys: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str, str], _Known]:
        found = bulk.known(self._session, RecordRow, _SEEN_BEFORE, keys)
        return {
            key: _Known(content_hash, moment_of(as_of), deleted_at is not None, seen_by)
            for key, (content_hash, as_of, deleted_at, seen_by) in found.items()
        }

    def _forget_identifiers(self, keys: list[tuple[str, str, str]]) -> None:
        columns = (
            col(RecordIdentifierRow.connection),
            col(RecordIdentifierRow.kind),
            col(RecordIdentifierRow.id),
        )
        self._session.exec(delete(RecordIdentifierRow).where(one_of(columns, keys, self._dialect)))

    def _touch(
        self, keys: list[tuple[str, str, str]], as_of: datetime, seen_by: str | None
    ) -> None:
        """Note that records are as they were, and who has seen them."""
        if not keys:
            return
        newer = sa.case((col(RecordRow.as_of) < as_of, as_of), else_=col(RecordRow.as_of))
        stale = col(RecordRow.as_of) < as_of
        values: dict[str, Any] = {"as_of": as_of}
        if seen_by is not None:
            stale = sa.true()
            values = {"as_of": newer, "seen_by": _latest(seen_by)}
        self._session.connection().execute(
            sa.update(RecordRow)
            .where(one_of(KEY_COLUMNS, keys, self._dialect), stale)
            .values(values)
        )

    def _holds_quarantined(self, connection: str, kind: str) -> bool:
        some = sa.select(sa.literal(1)).where(
            col(QuarantineRow.connection) == connection, col(QuarantineRow.kind) == kind
        )
        return self._session.connection().execute(some.limit(1)).first() is not None

    def _release(self, keys: list[tuple[str, str, str]]) -> None:
        """A record that maps again is no longer in quarantine."""
        kinds = {key[:2] for key in keys}
        if any(self._holds_quarantined(*kind) for kind in kinds):
            columns = (
                col(QuarantineRow.connection),
                col(QuarantineRow.kind),
                col(QuarantineRow.id),
            )
            self._session.exec(delete(QuarantineRow).where(one_of(columns, keys, self._dialect)))


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
"""Writes JSON as `model_dump_json` does."""

KEY = ("connection", "kind", "id")
READ_BY = ("number", "account_id", "contact_id", "order_id", "sorted_at")
COLUMNS = (*KEY, *READ_BY, "body", "content_hash", "as_of", "deleted_at", "seen_by")
IDENTIFIER_COLUMNS = ("scheme", "value", *KEY)
KEY_COLUMNS = (col(RecordRow.connection), col(RecordRow.kind), col(RecordRow.id))


def one_of(
    columns: Sequence[Any], keys: Iterable[tuple[str, ...]], dialect: str
) -> ColumnElement[bool]:
    """Whether the columns are one of the keys, said so that their index is used.

    SQLite reads the whole table for `(a, b, c) IN (VALUES …)`; equality of all columns but the
    last, and a list for that one, it looks up. PostgreSQL gets the list as one array: a thousand
    places in a statement take longer to prepare than to answer.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for key in keys:
        groups.setdefault(key[:-1], []).append(key[-1])

    def among(last: list[str]) -> ColumnElement[bool]:
        if dialect == "postgresql":
            listed: ColumnElement[bool] = columns[-1] == sa.any_(
                sa.literal(last, postgresql.ARRAY(sa.String()))
            )
            return listed
        found: ColumnElement[bool] = columns[-1].in_(last)
        return found

    conditions = [
        sa.and_(*(c == part for c, part in zip(columns, first, strict=False)), among(last))
        for first, last in groups.items()
    ]
    return sa.or_(sa.false(), *conditions)


def _live(connection: str, kind: Kind) -> tuple[ColumnElement[bool], ...]:
    return (
        col(RecordRow.connection) == connection,
        col(RecordRow.kind) == kind.value,
        col(RecordRow.deleted_at).is_(None),
    )


def _latest(seen_by: str) -> ColumnElement[str]:
    """The mark of a full run, or that of one owed after it; ids of runs sort by when."""
    later = col(RecordRow.seen_by) > seen_by
    return sa.case((later, col(RecordRow.seen_by)), else_=seen_by)


def _unseen(run: Swept) -> tuple[ColumnElement[bool], ...]:
    in_quarantine = sa.exists().where(
        col(QuarantineRow.connection) == col(RecordRow.connection),
        col(QuarantineRow.kind) == col(RecordRow.kind),
        col(QuarantineRow.id) == col(RecordRow.id),
        col(QuarantineRow.last_at) >= run.since,
    )
    unseen = sa.func.coalesce(col(RecordRow.seen_by), "") < run.id
    read_since = col(RecordRow.as_of) > run.read_until if run.read_until else sa.false()
    return (*_live(run.connection, run.kind), unseen, ~read_since, ~in_quarantine)


def _made(given: Finding) -> FoundBy:
    if callable(given):
        return given()
    return given if isinstance(given, FoundBy) else FoundBy(tuple(given))


def written(record: Record) -> bytes:
    """As `model_dump_json` writes it, which takes its time to pass its arguments on."""
    return record.__pydantic_serializer__.to_json(record)


def key_of(ref: Ref) -> tuple[str, str, str]:
    return (ref.connection, ref.kind._value_, ref.id)


def hash_of(body: dict[str, Any]) -> str:
    """A hash of what a record says, by its body as `model_dump(mode="json")` makes it."""
    return hash_of_text(_ENCODER.encode(body))


def hash_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def columns_of(record: Record) -> dict[str, Any]:
    """The columns that reads go by."""
    return dict(zip(READ_BY, _read_by(record), strict=True))


def _read_by(record: Record) -> tuple[Any, ...]:
    """Number, account, contact, order, and what lists sort by."""
    here, at = record.ref.connection, record.updated_at
    match record:
        case Contact():
            return None, _own(record.account, here), None, None, at
        case Order():
            return (
                record.number,
                _own(record.account, here),
                _own(record.contact, here),
                # What it replaces, so that an order's replacements are found beside its returns.
                _own(_order_of(record.origin), here),
                record.placed_at or at,
            )
        case Case():
            return (
                record.number,
                _own(record.account, here),
                _own(record.contact, here),
                _own(record.order, here),
                record.opened_at or at,
            )
        case Shipment():
            number = record.tracking_number or record.number
            return number, None, None, _own(record.order, here), at
        case Invoice():
            order = _own(record.order, here)
            return record.number, _own(record.account, here), None, order, at
        case Return():
            return record.number, None, None, _own(record.order, here), at
        case Account():
            return record.number, None, None, None, at
        case Product():
            return record.sku, None, None, None, at
        case _:
            return None, None, None, None, at


def _own(ref: Ref | None, connection: str) -> str | None:
    return ref.id if ref is not None and ref.connection == connection else None


def _order_of(ref: Ref | None) -> Ref | None:
    return ref if ref is not None and ref.kind is Kind.ORDER else None


def _newest_first(row: RecordRow) -> tuple[bool, datetime | None, str]:
    return (row.sorted_at is not None, row.sorted_at, row.id)


def _stored(row: Any) -> Stored:
    record = CANONICAL[Kind(row.kind)].model_validate_json(json.dumps(row.body))
    return Stored(record=record, as_of=row.as_of)
