"""What the doors read: lists, pages and whole pictures, each from indexed columns.

This is the one module of the store that the API imports; repositories are reached through the unit
of work it is given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlmodel import SQLModel, col, select

from middleware.contract.canonical import Kind, Ref
from middleware.store import schema
from middleware.store.database import Database, UnitOfWork, gave_way
from middleware.store.ledger import thing_of
from middleware.store.people import record_of
from middleware.store.records import Stored
from middleware.store.strength import (
    NOTHING,
    Strength,
    done_on_strength_of,
    on_which_nothing_stands,
)
from middleware.store.tables import (
    ActionRow,
    ActionStepRow,
    AlarmRow,
    ApiKeyRow,
    ArrivalRow,
    AuditRow,
    CannotLinkRow,
    ClaimRow,
    ComplaintMergeRow,
    ComplaintMoveRow,
    ComplaintRow,
    ConnectionRow,
    CursorRow,
    EscalationRow,
    EventRow,
    HandleRow,
    IdentityRow,
    InboxRow,
    IncidentRow,
    JobRow,
    LabelRow,
    LineHoldRow,
    LinkRow,
    PersonChangeRow,
    PersonRow,
    QuarantineRow,
    ReceiptRow,
    RecordRow,
    ReviewRow,
    RunRow,
    SlaClockRow,
    UnderstandingTrainingRow,
)
from middleware.store.together import Asked, for_each_database, together

__all__ = [
    "NOTHING",
    "ActionRow",
    "ActionStepRow",
    "AlarmRow",
    "ApiKeyRow",
    "ArrivalRow",
    "AuditRow",
    "CannotLinkRow",
    "ClaimRow",
    "ComplaintMergeRow",
    "ComplaintMoveRow",
    "ComplaintRow",
    "ConnectionRow",
    "CursorRow",
    "EscalationRow",
    "EventRow",
    "HandleRow",
    "IdentityRow",
    "InboxRow",
    "IncidentRow",
    "JobRow",
    "LabelRow",
    "LinkRow",
    "PersonChangeRow",
    "PersonRow",
    "QuarantineRow",
    "Quarantined",
    "ReceiptRow",
    "ReviewRow",
    "RunRow",
    "SlaClockRow",
    "Strength",
    "UnderstandingTrainingRow",
    "done_on_strength_of",
    "gave_way",
    "on_which_nothing_stands",
    "record_of",
    "thing_of",
]


# --- the database itself -------------------------------------------------------------------------


def database_is_away(error: BaseException) -> bool:
    """Whether this error means that the database could not be asked, not that we asked wrongly."""
    if isinstance(error, sa.exc.TimeoutError | sa.exc.InterfaceError):
        return True
    if isinstance(error, sa.exc.DBAPIError):
        return error.connection_invalidated or isinstance(error, sa.exc.OperationalError)
    return False


def migrated(database: Database) -> bool:
    """Whether the database is at the revision that this version needs."""
    # Asked by probes every few seconds: alembic's own way reads all migrations and logs about it.
    with database.read() as uow:
        connection = uow.session.connection()
        if not sa.inspect(connection).has_table("alembic_version"):
            return False
        at = connection.scalar(sa.text("select version_num from alembic_version"))
    return str(at) == newest_revision()


@cache
def newest_revision() -> str | None:
    return schema.head()


# --- people and links ----------------------------------------------------------------------------


def identities(uow: UnitOfWork, ids: Sequence[str]) -> list[IdentityRow]:
    if not ids:
        return []
    query = select(IdentityRow).where(col(IdentityRow.id).in_(ids)).order_by(IdentityRow.id)
    return list(uow.session.exec(query))


def handles(uow: UnitOfWork, identity_ids: Sequence[str]) -> dict[str, list[HandleRow]]:
    """What these identities were called, oldest first."""
    found: dict[str, list[HandleRow]] = {}
    if not identity_ids:
        return found
    query = select(HandleRow).where(col(HandleRow.identity_id).in_(identity_ids))
    for row in uow.session.exec(query.order_by(col(HandleRow.valid_from), col(HandleRow.id))):
        found.setdefault(row.identity_id, []).append(row)
    return found


def persons_of(
    uow: UnitOfWork, person_id: str, *, as_of: datetime | None = None, history: bool = False
) -> set[str]:
    """Whose links an id stands for: who it leads to now or led to then; of its history, both."""
    if as_of is not None:
        then = uow.ledger.person_as_of(person_id, as_of)
        return {person_id if then is None else then.id}
    now = uow.ledger.now(person_id)
    return {person_id, now} if history else {now}


def links(
    uow: UnitOfWork,
    *,
    persons: Iterable[str] | None = None,
    identity_id: str | None = None,
    record: Ref | None = None,
    as_of: datetime | None = None,
    history: bool = False,
    after: str | None = None,
    limit: int = 50,
) -> list[LinkRow]:
    """Links of persons, an identity or a record, by id: those valid now, at a time, or all."""
    query = select(LinkRow)
    if persons is not None:
        query = query.where(col(LinkRow.person_id).in_(list(persons)))
    if identity_id is not None:
        query = query.where(LinkRow.identity_id == identity_id)
    if record is not None:
        query = query.where(
            LinkRow.record_id == record.id,
            LinkRow.connection == record.connection,
            LinkRow.kind == record.kind.value,
        )
    if as_of is not None:
        query = query.where(
            col(LinkRow.valid_from) <= as_of,
            sa.or_(col(LinkRow.valid_to).is_(None), col(LinkRow.valid_to) > as_of),
        )
    elif not history:
        query = query.where(col(LinkRow.valid_to).is_(None))
    if after is not None:
        query = query.where(col(LinkRow.id) > after)
    return list(uow.session.exec(query.order_by(col(LinkRow.id)).limit(limit)))


# --- quarantine ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quarantined:
    """A delivery that could not be read, without its body."""

    id: str
    connection: str
    trust: str
    problem: dict[str, Any] | None
    size: int
    received_at: datetime
    handled_at: datetime | None
    replays: int


def quarantined_deliveries(
    uow: UnitOfWork, *, connection: str | None = None, before: str | None = None, limit: int = 50
) -> list[Quarantined]:
    """Deliveries in quarantine, newest first, before an inbox id."""
    query = sa.select(
        col(InboxRow.id),
        col(InboxRow.connection),
        col(InboxRow.trust),
        col(InboxRow.problem),
        sa.func.length(InboxRow.body),
        col(InboxRow.received_at),
        col(InboxRow.handled_at),
        col(InboxRow.replays),
    ).where(col(InboxRow.state) == "quarantined")
    if connection is not None:
        query = query.where(col(InboxRow.connection) == connection)
    if before is not None:
        query = query.where(col(InboxRow.id) < before)
    rows = uow.session.connection().execute(query.order_by(col(InboxRow.id).desc()).limit(limit))
    return [Quarantined(*row) for row in rows]


def quarantined_records(
    uow: UnitOfWork,
    *,
    connection: str | None = None,
    after: tuple[str, str, str] | None = None,
    limit: int = 50,
) -> list[QuarantineRow]:
    """Remote records in quarantine, by connection, kind and id."""
    key = sa.tuple_(col(QuarantineRow.connection), col(QuarantineRow.kind), col(QuarantineRow.id))
    query = select(QuarantineRow)
    if connection is not None:
        query = query.where(QuarantineRow.connection == connection)
    if after is not None:
        query = query.where(key > sa.tuple_(*(sa.literal(part) for part in after)))
    query = query.order_by(QuarantineRow.connection, QuarantineRow.kind, QuarantineRow.id)
    return list(uow.session.exec(query.limit(limit)))


def quarantined_record(uow: UnitOfWork, ref: Ref) -> QuarantineRow | None:
    return uow.session.get(QuarantineRow, (ref.connection, ref.kind.value, ref.id))


def quarantined_count(uow: UnitOfWork, connection: str, *, most: int = 1000) -> int:
    """How many records of a connection are in quarantine, counted up to `most`."""
    some = (
        sa.select(sa.literal(1)).where(col(QuarantineRow.connection) == connection).limit(most)
    ).subquery()
    counted = uow.session.connection().execute(sa.select(sa.func.count()).select_from(some))
    return int(counted.scalar_one())


# --- keys, connections, jobs, events -------------------------------------------------------------


def keys(uow: UnitOfWork, *, after: str | None, limit: int) -> list[ApiKeyRow]:
    query = select(ApiKeyRow)
    if after is not None:
        query = query.where(col(ApiKeyRow.id) > after)
    return list(uow.session.exec(query.order_by(col(ApiKeyRow.id)).limit(limit)))


def cursors_of(uow: UnitOfWork, connection: str) -> list[CursorRow]:
    query = select(CursorRow).where(CursorRow.connection == connection)
    return list(uow.session.exec(query.order_by(CursorRow.kind)))


def alarms(uow: UnitOfWork) -> list[AlarmRow]:
    """The alarms about jobs that are up."""
    return uow.jobs.alarms()


def last_run(uow: UnitOfWork, job: str) -> RunRow | None:
    return next(iter(uow.jobs.runs_of(job, limit=1)), None)


def events_since(
    uow: UnitOfWork, seq: int, *, types: Sequence[str] = (), limit: int
) -> list[EventRow]:
    """Events after `seq`, in order, of these types or families (`action.*`)."""
    query = select(EventRow).where(col(EventRow.seq) > seq)
    named = [t for t in types if not t.endswith(".*")]
    families = [t.removesuffix("*") for t in types if t.endswith(".*")]
    if types:
        query = query.where(
            sa.or_(
                col(EventRow.type).in_(named),
                *(col(EventRow.type).startswith(family, autoescape=True) for family in families),
            )
        )
    return list(uow.session.exec(query.order_by(col(EventRow.seq)).limit(limit)))


def events_about(uow: UnitOfWork, subject: str, *, limit: int = 200) -> list[EventRow]:
    return uow.events.since(0, subject=subject, limit=limit)


def steps_of_actions(uow: UnitOfWork, ids: Sequence[str]) -> dict[str, list[ActionStepRow]]:
    """The steps of several actions, in order."""
    found: dict[str, list[ActionStepRow]] = {}
    if ids:
        query = select(ActionStepRow).where(col(ActionStepRow.action_id).in_(ids))
        for step in uow.session.exec(query.order_by(col(ActionStepRow.position))):
            found.setdefault(step.action_id, []).append(step)
    return found


def complaints_of_sources(uow: UnitOfWork, connection: str, source_ids: Sequence[str]) -> list[str]:
    """The complaints that these messages went into."""
    if not source_ids:
        return []
    query = select(ArrivalRow.complaint_id).where(
        ArrivalRow.connection == connection, col(ArrivalRow.source_id).in_(source_ids)
    )
    return sorted(set(uow.session.exec(query)))


def a_worker_is_there(uow: UnitOfWork, *, lease: timedelta) -> bool:
    return bool(uow.nodes.alive(lease=lease))


# --- the picture beside a complaint --------------------------------------------------------------

Body = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """A stored record as its JSON says it, and since when the hub knows it to be so."""

    ref: str
    connection: str
    body: Body
    as_of: datetime


@dataclass
class Picture:
    """Everything the store has for one person's context, read in one transaction."""

    person: PersonRow
    identities: list[IdentityRow] = field(default_factory=list)
    handles: dict[str, list[HandleRow]] = field(default_factory=dict)
    customers: list[Kept] = field(default_factory=list)
    orders: list[Kept] = field(default_factory=list)
    shipments: dict[str, list[Kept]] = field(default_factory=dict)
    """By the order's `connection:id`."""
    cases: list[Kept] = field(default_factory=list)
    held: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    """By order reference and line: how much of it living actions take."""
    actions: list[ActionRow] = field(default_factory=list)
    complaints: list[ComplaintRow] = field(default_factory=list)
    claims: list[ClaimRow] = field(default_factory=list)
    cursors: dict[tuple[str, str], CursorRow] = field(default_factory=dict)


ORDERS = 50
CASES = 20
OTHERS = 20


def picture(
    uow: UnitOfWork,
    person: PersonRow,
    links: Iterable[LinkRow],
    customers: Sequence[Stored],
    *,
    now: datetime,
    subjects: Iterable[str] = (),
) -> Picture:
    """A person's context as the store has it. `links` are the person's, `customers` the contacts
    and accounts that are this person, `subjects` further things that may be claimed."""
    found = Picture(person)
    of_identities = [link.identity_id for link in links if link.identity_id is not None]
    found.identities = identities(uow, of_identities)
    found.handles = handles(uow, of_identities)
    found.customers = [
        Kept(
            str(stored.record.ref),
            stored.record.ref.connection,
            stored.record.model_dump(mode="json"),
            stored.as_of,
        )
        for stored in customers
    ]
    refs = [stored.record.ref for stored in customers]
    *owned, found.actions, found.complaints, cursors = together(
        uow.session.connection(),
        [
            *(Asked(_BY_OWNER[r.kind], {"connection": r.connection, "owner": r.id}) for r in refs),
            Asked(_ACTIONS, {"person": person.id}),
            Asked(_COMPLAINTS, {"person": person.id}),
            Asked(_CURSORS, {}),
        ],
    )
    found.cursors = {(row.connection, row.kind): row for row in cursors}
    found.orders, found.cases = _newest_first(row for rows in owned for row in rows)

    orders = [order.ref for order in found.orders]
    claimed = [person.id, *subjects, *(c.id for c in found.complaints), *orders]
    held, claims_, *parcels = together(
        uow.session.connection(),
        [
            Asked(_of_this(uow, _HELD), {"ids": orders}),
            Asked(_of_this(uow, _CLAIMS), {"ids": list(dict.fromkeys(claimed)), "now": now}),
            *_of_orders(uow, Kind.SHIPMENT, found.orders),
        ],
    )
    found.held = _held(held)
    found.claims = claims_
    for row in (row for rows in parcels for row in rows):
        shipment = _row(row)
        order = shipment.body.get("order") or {}
        key = f"{order.get('connection')}:{order.get('id')}"
        found.shipments.setdefault(key, []).append(shipment)
    return found


def as_it_was(uow: UnitOfWork, seen: Picture, as_of: datetime) -> None:
    """Leave only what was there at a moment: what those who were this person then had written."""
    theirs = [row.id for row in seen.identities]
    seen.complaints = [
        row
        for identity_id in theirs
        for row in uow.complaints.of_identity(identity_id)
        if row.opened_at <= as_of
    ]
    ids = [row.id for row in seen.complaints]
    seen.actions = [
        row
        for complaint_id in ids
        for row in uow.actions.page(before=None, limit=50, complaint_id=complaint_id)
        if row.created_at <= as_of
    ]


def claims(uow: UnitOfWork, subjects: Sequence[str], *, now: datetime) -> list[ClaimRow]:
    """The claims on these things that have not run out."""
    if not subjects:
        return []
    given = {"ids": list(dict.fromkeys(subjects)), "now": now}
    return together(uow.session.connection(), [Asked(_of_this(uow, _CLAIMS), given)])[0]


def ref_text(ref: Mapping[str, Any] | None) -> str | None:
    """A dumped reference as `connection:kind:id`."""
    return f"{ref['connection']}:{ref['kind']}:{ref['id']}" if ref else None


# Plain rows instead of ORM objects and canonical records: a context reads some hundred of them, and
# their bodies were validated when they were stored. The statements are made once: SQLAlchemy needs
# longer to build and hash one than the database to answer it.
_COLUMNS = (
    col(RecordRow.connection),
    col(RecordRow.kind),
    col(RecordRow.id),
    col(RecordRow.body),
    col(RecordRow.as_of),
    col(RecordRow.sorted_at),
)
_OF_CONNECTION = (
    col(RecordRow.connection) == sa.bindparam("connection"),
    col(RecordRow.deleted_at).is_(None),
)


def _newest(owner: Any, kind: Kind, most: int) -> Any:
    newest = (
        sa.select(*_COLUMNS)
        .where(*_OF_CONNECTION, owner == sa.bindparam("owner"), col(RecordRow.kind) == kind.value)
        .order_by(col(RecordRow.sorted_at).desc(), col(RecordRow.id))
        .limit(most)
    )
    return sa.select(newest.subquery())


_BY_OWNER = {
    kind: sa.union_all(_newest(owner, Kind.ORDER, ORDERS), _newest(owner, Kind.CASE, CASES))
    for kind, owner in (
        (Kind.ACCOUNT, col(RecordRow.account_id)),
        (Kind.CONTACT, col(RecordRow.contact_id)),
    )
}


def _table(row: type[SQLModel]) -> Sequence[Any]:
    return tuple(sa.inspect(row).columns)


_BY_ORDER = for_each_database(
    lambda among: sa.select(*_COLUMNS).where(
        *_OF_CONNECTION,
        col(RecordRow.kind) == sa.bindparam("kind"),
        among(col(RecordRow.order_id)),
    )
)
_HELD = for_each_database(
    lambda among: sa.select(
        col(LineHoldRow.order_ref), col(LineHoldRow.line), col(LineHoldRow.quantity)
    ).where(among(col(LineHoldRow.order_ref)), col(LineHoldRow.released_at).is_(None))
)
_CLAIMS = for_each_database(
    lambda among: (
        sa.select(*_table(ClaimRow))
        .where(
            sa.or_(
                *(
                    among(column)
                    for column in (
                        col(ClaimRow.subject),
                        col(ClaimRow.complaint_id),
                        col(ClaimRow.person_id),
                        col(ClaimRow.order_ref),
                    )
                )
            ),
            col(ClaimRow.expires_at) > sa.bindparam("now"),
        )
        .order_by(col(ClaimRow.subject))
    )
)
_ACTIONS = (
    sa.select(*_table(ActionRow))
    .where(col(ActionRow.person_id) == sa.bindparam("person"))
    .order_by(col(ActionRow.id).desc())
    .limit(OTHERS)
)
_COMPLAINTS = (
    sa.select(*_table(ComplaintRow))
    .where(col(ComplaintRow.person_id) == sa.bindparam("person"))
    .order_by(col(ComplaintRow.id).desc())
    .limit(OTHERS)
)
_CURSORS = sa.select(*_table(CursorRow))


def _of_this(uow: UnitOfWork, statements: Mapping[str, Any]) -> Any:
    return statements[uow.session.get_bind().dialect.name]


def _row(row: Any) -> Kept:
    body = row.body if isinstance(row.body, dict) else json.loads(row.body)
    return Kept(f"{row.connection}:{row.kind}:{row.id}", row.connection, body, row.as_of)


def _newest_first(rows: Iterable[Any]) -> tuple[list[Kept], list[Kept]]:
    """Orders and cases of several owners, each once and newest first."""
    found = {(row.connection, row.kind, row.id): row for row in rows}
    newest = sorted(
        found.values(),
        key=lambda row: (row.sorted_at is not None, row.sorted_at, row.id),
        reverse=True,
    )
    orders = [row for row in newest if row.kind == Kind.ORDER][:ORDERS]
    cases = [row for row in newest if row.kind == Kind.CASE][:CASES]
    return [_row(row) for row in orders], [_row(row) for row in cases]


def _of_orders(uow: UnitOfWork, kind: Kind, orders: Sequence[Kept]) -> list[Asked]:
    by_connection: dict[str, list[str]] = {}
    for order in orders:
        by_connection.setdefault(order.connection, []).append(order.body["ref"]["id"])
    return [
        Asked(_of_this(uow, _BY_ORDER), {"connection": connection, "kind": kind.value, "ids": ids})
        for connection, ids in by_connection.items()
    ]


def _held(rows: Iterable[Any]) -> dict[str, dict[str, Decimal]]:
    held: dict[str, dict[str, Decimal]] = {}
    for row in rows:
        lines = held.setdefault(row.order_ref, {})
        lines[row.line] = lines.get(row.line, Decimal(0)) + Decimal(row.quantity)
    return held


def trainings(uow: UnitOfWork, *, before: str | None, limit: int) -> list[UnderstandingTrainingRow]:
    """Trainings of the model, the newest first."""
    query = select(UnderstandingTrainingRow)
    if before is not None:
        query = query.where(col(UnderstandingTrainingRow.id) < before)
    return list(
        uow.session.exec(query.order_by(col(UnderstandingTrainingRow.id).desc()).limit(limit))
    )
