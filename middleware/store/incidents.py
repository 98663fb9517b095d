"""Signals under their keys, and the incidents that bursts of them are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased
from sqlmodel import Session, SQLModel, col, select

from middleware.contract.canonical import CANONICAL, Kind, Record
from middleware.store.tables import (
    AffectedRow,
    ComplaintRow,
    HandoffRow,
    IncidentKeyRow,
    IncidentMemberRow,
    IncidentRow,
    RecordRow,
    SignalCountRow,
    SignalPastRow,
    SignalRow,
    SketchRow,
)

MOST_BOUND = 500
"""Values bound in one statement."""


def _insert(table: type[SQLModel], dialect: str) -> Any:
    return (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)


# Made once: each complaint that is understood asks these.
_COUNTED = {
    dialect: (made := _insert(SignalCountRow, dialect)).on_conflict_do_update(
        index_elements=["key", "bucket"],
        set_={
            "count": col(SignalCountRow.count) + made.excluded["count"],
            "unread": sa.true(),
        },
    )
    for dialect in ("postgresql", "sqlite")
}
_NEW: dict[tuple[type[SQLModel], str], Any] = {
    (table, dialect): _insert(table, dialect).on_conflict_do_nothing()
    for table in (SignalRow, SketchRow, IncidentMemberRow, AffectedRow)
    for dialect in ("postgresql", "sqlite")
}
_OF_COMPLAINT = sa.select(col(SignalRow.key), col(SignalRow.bucket)).where(
    col(SignalRow.complaint_id) == sa.bindparam("id")
)


@dataclass(frozen=True)
class Signal:
    """A complaint under a key."""

    key: str
    bucket: int
    complaint_id: str
    who: str
    reach: int


@dataclass(frozen=True)
class Figures:
    """How large an incident is."""

    complaints: int
    persons: int
    reach: int
    last: int | None
    """The bucket of its last complaint."""


class Incidents:
    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def _dialect(self) -> str:
        return self._session.get_bind().dialect.name

    def _put(self, table: type[SQLModel], rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert those that are not there."""
        if rows:
            statement = _NEW[table, self._dialect]
            self._session.connection().execute(statement, [dict(row) for row in rows])

    # --- signals --------------------------------------------------------------------------------

    def keys_of(self, complaint_id: str) -> dict[str, int]:
        """The keys that a complaint was seen under, and in which bucket."""
        rows = self._session.connection().execute(_OF_COMPLAINT, {"id": complaint_id})
        return {row.key: row.bucket for row in rows}

    def seen(self, signals: Sequence[Signal], *, counted: Iterable[tuple[str, int, int]]) -> None:
        """Write signals; `counted` are key, bucket and by how much its count changes."""
        self._put(SignalRow, [vars(signal) for signal in signals])
        # In the order of the keys, so that two writers never wait for each other in a circle.
        changes = [
            {"key": key, "bucket": bucket, "count": by, "unread": True}
            for key, bucket, by in sorted(counted)
        ]
        if changes:
            self._session.connection().execute(_COUNTED[self._dialect], changes)

    def unseen(self, complaint_id: str, keys: Iterable[str]) -> None:
        """Take a complaint from under keys that it no longer has."""
        gone = sa.delete(SignalRow).where(
            col(SignalRow.complaint_id) == complaint_id, col(SignalRow.key).in_(list(keys))
        )
        self._session.connection().execute(gone)

    def sketched(self, row: Mapping[str, Any]) -> None:
        self._put(SketchRow, [row])

    def unread_sketches(self, *, limit: int) -> list[SketchRow]:
        query = select(SketchRow).where(col(SketchRow.leader).is_(None))
        return list(self._session.exec(query.order_by(col(SketchRow.complaint_id)).limit(limit)))

    def leaders(self, *, since: int, limit: int) -> list[tuple[str, bytes]]:
        """The texts that others were like since then, the latest first."""
        query = (
            select(SketchRow.complaint_id, SketchRow.sketch)
            .where(SketchRow.leader == SketchRow.complaint_id, col(SketchRow.bucket) >= since)
            .order_by(col(SketchRow.bucket).desc(), col(SketchRow.complaint_id))
            .limit(limit)
        )
        return [(row[0], row[1]) for row in self._session.exec(query)]

    def sketch(self, complaint_id: str) -> SketchRow | None:
        return self._session.get(SketchRow, complaint_id)

    def not_yet(self, signals: Sequence[Signal]) -> list[Signal]:
        """Those of the signals that are not written, each complaint once under a key."""
        held: set[tuple[str, str]] = set()
        for part in _parts(sorted({s.complaint_id for s in signals})):
            query = sa.select(col(SignalRow.key), col(SignalRow.complaint_id)).where(
                col(SignalRow.complaint_id).in_(part)
            )
            held |= {
                (row.key, row.complaint_id) for row in self._session.connection().execute(query)
            }
        fresh = {(s.key, s.complaint_id): s for s in signals}
        return [signal for place, signal in fresh.items() if place not in held]

    def led(self, leaders: Mapping[str, str]) -> None:
        """Say which text each of these is like."""
        statement = (
            sa.update(SketchRow)
            .where(col(SketchRow.complaint_id) == sa.bindparam("of"))
            .values(leader=sa.bindparam("by"))
        )
        rows = [{"of": of, "by": by} for of, by in sorted(leaders.items())]
        if rows:
            self._session.connection().execute(statement, rows)

    def unread(self, *, limit: int) -> list[SignalCountRow]:
        """Counts that changed since bursts were looked for, the oldest buckets first."""
        query = select(SignalCountRow).where(col(SignalCountRow.unread).is_(True))
        ordered = query.order_by(col(SignalCountRow.bucket), col(SignalCountRow.key))
        return list(self._session.exec(ordered.limit(limit)))

    def mark_read(self, counts: Iterable[tuple[str, int, int]]) -> None:
        """Say that these counts (key, bucket, count) were looked at; one that is another by now
        stays unread."""
        statement = (
            sa.update(SignalCountRow)
            .where(
                col(SignalCountRow.key) == sa.bindparam("k"),
                col(SignalCountRow.bucket) == sa.bindparam("b"),
                col(SignalCountRow.count) == sa.bindparam("n"),
            )
            .values(unread=sa.false())
        )
        found = [{"k": key, "b": bucket, "n": count} for key, bucket, count in sorted(counts)]
        if found:
            self._session.connection().execute(statement, found)

    def pasts(self, keys: Sequence[str]) -> dict[str, SignalPastRow]:
        found: dict[str, SignalPastRow] = {}
        for part in _parts(keys):
            query = select(SignalPastRow).where(col(SignalPastRow.key).in_(part))
            found |= {row.key: row for row in self._session.exec(query)}
        return found

    def counts(self, since: Mapping[str, int]) -> dict[str, dict[int, int]]:
        """The counts of each key from a bucket on."""
        found: dict[str, dict[int, int]] = {key: {} for key in since}
        for part in _parts(list(since)):
            least = min(since[key] for key in part)
            query: Any = sa.select(
                col(SignalCountRow.key),
                col(SignalCountRow.bucket),
                col(SignalCountRow.count).label("found"),
            ).where(col(SignalCountRow.key).in_(part), col(SignalCountRow.bucket) >= least)
            for row in self._session.connection().execute(query):
                if row.bucket >= since[row.key]:
                    found[row.key][row.bucket] = row.found
        return found

    def save_past(self, key: str, was: int | None, values: Mapping[str, Any]) -> None:
        """Keep a key's past, unless another worker has kept a later one meanwhile."""
        if was is None:
            made = _insert(SignalPastRow, self._dialect).values(key=key, **values)
            self._session.connection().execute(made.on_conflict_do_nothing())
            return
        self._session.connection().execute(
            sa.update(SignalPastRow)
            .where(col(SignalPastRow.key) == key, col(SignalPastRow.folded) == was)
            .values(**values)
        )

    def signals(self, key: str, first: int, last: int, *, limit: int) -> list[Signal]:
        """The signals of a key in buckets from `first` to `last`, the latest first."""
        query = (
            sa.select(*_SIGNAL)
            .where(col(SignalRow.key) == key, col(SignalRow.bucket).between(first, last))
            .order_by(col(SignalRow.bucket).desc(), col(SignalRow.complaint_id))
            .limit(limit)
        )
        return [Signal(*row) for row in self._session.connection().execute(query)]

    def unexplained(
        self,
        key: str,
        first: int,
        last: int,
        *,
        by: Iterable[str],
        over_after: datetime,
        limit: int,
    ) -> list[Signal]:
        """Those of `signals` whose complaints no incident holds for another of its keys, of kinds
        `by`, nor would hold if its burst, over later than that, were not over."""
        other = aliased(SignalRow)

        def explains(name: Any) -> Any:
            return sa.and_(name != key, sa.or_(*(name.startswith(f"{kind}:") for kind in by)))

        held = (
            sa.select(sa.literal(1))
            .select_from(IncidentMemberRow)
            .join(
                IncidentKeyRow,
                col(IncidentKeyRow.incident_id) == col(IncidentMemberRow.incident_id),
            )
            .where(
                col(IncidentMemberRow.complaint_id) == col(SignalRow.complaint_id),
                col(IncidentMemberRow.out).is_(False),
                col(IncidentKeyRow.gives).is_(True),
                explains(col(IncidentKeyRow.key)),
            )
        )
        given = (
            sa.select(sa.literal(1))
            .select_from(other)
            .join(IncidentKeyRow, col(IncidentKeyRow.key) == col(other.key))
            .join(IncidentRow, col(IncidentRow.id) == col(IncidentKeyRow.incident_id))
            .where(
                col(other.complaint_id) == col(SignalRow.complaint_id),
                col(other.bucket) >= col(IncidentKeyRow.since),
                col(IncidentKeyRow.gives).is_(True),
                sa.or_(col(IncidentRow.over_at).is_(None), col(IncidentRow.over_at) > over_after),
                explains(col(other.key)),
            )
        )
        query = (
            sa.select(*_SIGNAL)
            .where(
                col(SignalRow.key) == key,
                col(SignalRow.bucket).between(first, last),
                ~held.exists(),
                ~given.exists(),
            )
            .order_by(col(SignalRow.bucket).desc(), col(SignalRow.complaint_id))
            .limit(limit)
        )
        return [Signal(*row) for row in self._session.connection().execute(query)]

    def a_signal(self, complaint_id: str) -> Signal | None:
        """One of a complaint's signals: when it came, from whom, and how far it is heard."""
        query = sa.select(*_SIGNAL).where(col(SignalRow.complaint_id) == complaint_id).limit(1)
        row = self._session.connection().execute(query).first()
        return Signal(*row) if row is not None else None

    def forget(self, *, before: int, texts_before: int) -> None:
        """Drop what no baseline and no burst needs any more."""
        connection = self._session.connection()
        connection.execute(sa.delete(SignalRow).where(col(SignalRow.bucket) < before))
        connection.execute(sa.delete(SignalCountRow).where(col(SignalCountRow.bucket) < before))
        connection.execute(sa.delete(SketchRow).where(col(SketchRow.bucket) < texts_before))

    # --- incidents ------------------------------------------------------------------------------

    def add(self, row: IncidentRow) -> None:
        self._session.add(row)
        self._session.flush()

    def get(self, incident_id: str, *, lock: bool = False) -> IncidentRow | None:
        return self._session.get(
            IncidentRow, incident_id, with_for_update=lock or None, populate_existing=lock
        )

    def page(
        self, *, before: str | None, limit: int, states: Sequence[str] = ()
    ) -> list[IncidentRow]:
        """Incidents, newest first, before an incident id."""
        query = select(IncidentRow)
        if states:
            query = query.where(col(IncidentRow.state).in_(list(states)))
        if before is not None:
            query = query.where(col(IncidentRow.id) < before)
        return list(self._session.exec(query.order_by(col(IncidentRow.id).desc()).limit(limit)))

    def lasting(self) -> list[IncidentRow]:
        """Those whose burst is not over."""
        query = select(IncidentRow).where(col(IncidentRow.over_at).is_(None))
        return list(self._session.exec(query.order_by(col(IncidentRow.id))))

    def to_be_closed(self, *, over_before: datetime) -> list[IncidentRow]:
        """Those that nobody closed and whose burst was over by then."""
        query = select(IncidentRow).where(
            col(IncidentRow.state).in_(["open", "confirmed"]),
            col(IncidentRow.over_at) < over_before,
        )
        return list(self._session.exec(query.order_by(col(IncidentRow.id)).limit(100)))

    def unlisted(self, *, limit: int) -> list[str]:
        """Ids of incidents whose affected orders are to be looked for."""
        query = select(IncidentRow.id).where(
            IncidentRow.affected_state == "owed", col(IncidentRow.state).in_(["open", "confirmed"])
        )
        return list(self._session.exec(query.order_by(col(IncidentRow.id)).limit(limit)))

    def live_keys(self) -> dict[str, IncidentKeyRow]:
        query = select(IncidentKeyRow).where(col(IncidentKeyRow.live).is_(True))
        return {row.key: row for row in self._session.exec(query)}

    def keys(self, incident_id: str) -> list[IncidentKeyRow]:
        query = select(IncidentKeyRow).where(IncidentKeyRow.incident_id == incident_id)
        return list(self._session.exec(query.order_by(col(IncidentKeyRow.key))))

    def add_key(self, row: IncidentKeyRow) -> None:
        self._session.merge(row)
        self._session.flush()

    def last_of_key(self, key: str) -> IncidentRow | None:
        """The latest incident that a key gave its complaints."""
        query = (
            select(IncidentRow)
            .join(IncidentKeyRow, col(IncidentKeyRow.incident_id) == col(IncidentRow.id))
            .where(
                IncidentKeyRow.key == key,
                col(IncidentKeyRow.gives).is_(True),
                col(IncidentRow.merged_into).is_(None),
            )
            .order_by(col(IncidentRow.id).desc())
            .limit(1)
        )
        return self._session.exec(query).first()

    def take_up(self, incident_id: str) -> None:
        """Let an incident answer for its keys again, but for those that another one has taken."""
        taken = sa.select(col(IncidentKeyRow.key)).where(col(IncidentKeyRow.live).is_(True))
        self._session.connection().execute(
            sa.update(IncidentKeyRow)
            .where(
                col(IncidentKeyRow.incident_id) == incident_id,
                col(IncidentKeyRow.key).not_in(taken),
            )
            .values(live=True)
        )

    def let_go(self, incident_id: str) -> None:
        """Free the keys of an incident for another one."""
        self._session.connection().execute(
            sa.update(IncidentKeyRow)
            .where(col(IncidentKeyRow.incident_id) == incident_id)
            .values(live=False)
        )

    def remove_keys(self, incident_id: str, keys: Iterable[str]) -> None:
        self._session.connection().execute(
            sa.delete(IncidentKeyRow).where(
                col(IncidentKeyRow.incident_id) == incident_id,
                col(IncidentKeyRow.key).in_(sorted(keys)),
            )
        )
        self._session.expire_all()

    def handoff(self, handoff_id: str) -> HandoffRow | None:
        return self._session.get(HandoffRow, handoff_id)

    # --- their complaints -----------------------------------------------------------------------

    def newcomers(self, incident_id: str, *, limit: int) -> list[Signal]:
        """Complaints under the keys of an incident, since those keys burst, that are not in it."""
        query = (
            sa.select(*_SIGNAL)
            .join(IncidentKeyRow, col(IncidentKeyRow.key) == col(SignalRow.key))
            .outerjoin(
                IncidentMemberRow,
                sa.and_(
                    col(IncidentMemberRow.incident_id) == incident_id,
                    col(IncidentMemberRow.complaint_id) == col(SignalRow.complaint_id),
                ),
            )
            .where(
                col(IncidentKeyRow.incident_id) == incident_id,
                col(IncidentKeyRow.gives).is_(True),
                col(SignalRow.bucket) >= col(IncidentKeyRow.since),
                col(IncidentMemberRow.complaint_id).is_(None),
            )
            .limit(limit)
        )
        found = [Signal(*row) for row in self._session.connection().execute(query)]
        return list({signal.complaint_id: signal for signal in found}.values())

    def join(self, incident_id: str, signals: Sequence[Signal], *, at: datetime) -> None:
        """Make complaints part of an incident; of several the first one stands on them."""
        self._put(
            IncidentMemberRow,
            [
                {
                    "incident_id": incident_id,
                    "complaint_id": s.complaint_id,
                    "bucket": s.bucket,
                    "who": s.who,
                    "reach": s.reach,
                    "put_by": None,
                    "out": False,
                }
                for s in signals
            ],
        )
        self.stand_on([s.complaint_id for s in signals], incident_id, at=at)

    def stand_on(self, complaints: Sequence[str], incident_id: str, *, at: datetime) -> None:
        for part in _parts(sorted(complaints)):
            self._session.connection().execute(
                sa.update(ComplaintRow)
                .where(col(ComplaintRow.id).in_(part), col(ComplaintRow.incident_id).is_(None))
                .values(
                    incident_id=incident_id,
                    updated_at=at,
                    version=col(ComplaintRow.version) + 1,
                )
            )

    def stand_instead(
        self, before: str, now: str, *, at: datetime, only: Sequence[str] | None = None
    ) -> None:
        """Make complaints that stand on one incident stand on another: all, or some of them."""
        moved = (
            sa.update(ComplaintRow)
            .where(col(ComplaintRow.incident_id) == before)
            .values(incident_id=now, updated_at=at, version=col(ComplaintRow.version) + 1)
        )
        connection = self._session.connection()
        if only is None:
            connection.execute(moved)
            return
        for part in _parts(sorted(only)):
            connection.execute(moved.where(col(ComplaintRow.id).in_(part)))

    def held_only_by(self, whole: str, part: str) -> list[str]:
        """The complaints that are in both incidents, and in the first by none of its keys and by
        nobody's hand."""
        theirs = aliased(IncidentMemberRow)
        own = (
            sa.select(sa.literal(1))
            .select_from(SignalRow)
            .join(IncidentKeyRow, col(IncidentKeyRow.key) == col(SignalRow.key))
            .where(
                col(SignalRow.complaint_id) == col(IncidentMemberRow.complaint_id),
                col(SignalRow.bucket) >= col(IncidentKeyRow.since),
                col(IncidentKeyRow.incident_id) == whole,
                col(IncidentKeyRow.gives).is_(True),
            )
        )
        query = (
            sa.select(col(IncidentMemberRow.complaint_id))
            .join(theirs, col(theirs.complaint_id) == col(IncidentMemberRow.complaint_id))
            .where(
                col(IncidentMemberRow.incident_id) == whole,
                col(IncidentMemberRow.put_by).is_(None),
                col(theirs.incident_id) == part,
                col(theirs.out).is_(False),
                ~own.exists(),
            )
        )
        return list(self._session.connection().execute(query).scalars())

    def leave(self, incident_id: str, complaints: Sequence[str]) -> None:
        """Take complaints out of an incident that no key of it holds any more."""
        for part in _parts(sorted(complaints)):
            self._session.connection().execute(
                sa.delete(IncidentMemberRow).where(
                    col(IncidentMemberRow.incident_id) == incident_id,
                    col(IncidentMemberRow.complaint_id).in_(part),
                )
            )
        for complaint_id in complaints:
            self.withdraw_affected(incident_id, complaint_id)

    def member(self, incident_id: str, complaint_id: str) -> IncidentMemberRow | None:
        return self._session.get(IncidentMemberRow, (incident_id, complaint_id))

    def add_member(self, row: IncidentMemberRow) -> None:
        self._session.add(row)
        self._session.flush()

    def of_complaint(self, complaint_id: str) -> list[IncidentRow]:
        """The incidents that a complaint is part of, the newest first."""
        query = (
            select(IncidentRow)
            .join(IncidentMemberRow, col(IncidentMemberRow.incident_id) == col(IncidentRow.id))
            .where(
                IncidentMemberRow.complaint_id == complaint_id,
                col(IncidentMemberRow.out).is_(False),
            )
        )
        return list(self._session.exec(query.order_by(col(IncidentRow.id).desc())))

    def members(
        self, incident_id: str, *, before: tuple[int, str] | None = None, limit: int
    ) -> list[IncidentMemberRow]:
        """The complaints in an incident, newest first, before a bucket and complaint id."""
        query = select(IncidentMemberRow).where(
            IncidentMemberRow.incident_id == incident_id, col(IncidentMemberRow.out).is_(False)
        )
        if before is not None:
            place = sa.tuple_(col(IncidentMemberRow.bucket), col(IncidentMemberRow.complaint_id))
            query = query.where(place < sa.tuple_(*map(sa.literal, before)))
        ordered = query.order_by(
            col(IncidentMemberRow.bucket).desc(), col(IncidentMemberRow.complaint_id).desc()
        )
        return list(self._session.exec(ordered.limit(limit)))

    def member_ids(self, incident_id: str, *, since: int, limit: int) -> set[str]:
        query = (
            sa.select(col(IncidentMemberRow.complaint_id))
            .where(
                col(IncidentMemberRow.incident_id) == incident_id,
                col(IncidentMemberRow.out).is_(False),
                col(IncidentMemberRow.bucket) >= since,
            )
            .limit(limit)
        )
        return set(self._session.connection().execute(query).scalars())

    def figures(self, incident_id: str) -> Figures:
        mine = sa.and_(
            col(IncidentMemberRow.incident_id) == incident_id,
            col(IncidentMemberRow.out).is_(False),
        )
        voices = (
            sa.select(
                sa.func.count().label("complaints"),
                sa.func.max(col(IncidentMemberRow.reach)).label("reach"),
                sa.func.max(col(IncidentMemberRow.bucket)).label("last"),
            )
            .where(mine)
            .group_by(col(IncidentMemberRow.who))
            .subquery()
        )
        query = sa.select(
            sa.func.coalesce(sa.func.sum(voices.c.complaints), 0),
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(voices.c.reach), 0),
            sa.func.max(voices.c.last),
        )
        complaints, persons, reach, last = self._session.connection().execute(query).one()
        return Figures(int(complaints), int(persons), int(reach), last)

    def arrived(self, incident_id: str, first: int, last: int) -> int:
        """How many of its complaints arrived in buckets from `first` to `last`."""
        query = sa.select(sa.func.count()).where(
            col(IncidentMemberRow.incident_id) == incident_id,
            col(IncidentMemberRow.out).is_(False),
            col(IncidentMemberRow.bucket).between(first, last),
        )
        return int(self._session.connection().execute(query).scalar_one())

    def complaints(self, ids: Sequence[str]) -> dict[str, ComplaintRow]:
        found: dict[str, ComplaintRow] = {}
        for part in _parts(list(ids)):
            query = select(ComplaintRow).where(col(ComplaintRow.id).in_(part))
            found |= {row.id: row for row in self._session.exec(query)}
        return found

    # --- whom they concern ----------------------------------------------------------------------

    def add_affected(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """List orders; of one that is listed as silent, say that its customer has complained."""
        self._put(AffectedRow, rows)
        spoken = [
            {"i": row["incident_id"], "o": row["order_ref"], "c": row["complaint_id"]}
            for row in rows
            if row["complaint_id"] is not None
        ]
        if spoken:
            self._session.connection().execute(
                sa.update(AffectedRow)
                .where(
                    col(AffectedRow.incident_id) == sa.bindparam("i"),
                    col(AffectedRow.order_ref) == sa.bindparam("o"),
                    col(AffectedRow.complaint_id).is_(None),
                )
                .values(complaint_id=sa.bindparam("c")),
                spoken,
            )

    def affected(
        self,
        incident_id: str,
        *,
        after: str | None,
        limit: int,
        complained: bool | None = None,
    ) -> list[AffectedRow]:
        """Orders that an incident concerns, by reference, after one of them."""
        query = select(AffectedRow).where(AffectedRow.incident_id == incident_id)
        if after is not None:
            query = query.where(col(AffectedRow.order_ref) > after)
        if complained is not None:
            given = col(AffectedRow.complaint_id).is_not(None)
            query = query.where(given if complained else sa.not_(given))
        return list(self._session.exec(query.order_by(col(AffectedRow.order_ref)).limit(limit)))

    def withdraw_affected(self, incident_id: str, complaint_id: str) -> None:
        """Take the orders off the list that only this complaint put there."""
        mine = sa.and_(
            col(AffectedRow.incident_id) == incident_id,
            col(AffectedRow.complaint_id) == complaint_id,
        )
        connection = self._session.connection()
        connection.execute(sa.delete(AffectedRow).where(mine, col(AffectedRow.why) == "complaint"))
        connection.execute(sa.update(AffectedRow).where(mine).values(complaint_id=None))

    def count_affected(self, incident_id: str) -> tuple[int, int]:
        """How many orders it concerns, and of how many nobody has complained."""
        query = sa.select(sa.func.count(), sa.func.count(col(AffectedRow.complaint_id))).where(
            col(AffectedRow.incident_id) == incident_id
        )
        everything, complained = self._session.connection().execute(query).one()
        return int(everything), int(everything - complained)

    def naming(self, kind: Kind, text: str, *, since: datetime | None = None) -> Iterator[Record]:
        """Live records of a kind whose body has this value somewhere, in no order.

        No index leads there: the whole kind is read, which is nothing for an answer to wait on.
        `since` leaves out those that lists sort before.
        """
        text_of = sa.cast(col(RecordRow.body), sa.Text)
        quoted = json.dumps(text, ensure_ascii=False)
        # SQLite keeps what SQLAlchemy's serialiser wrote, PostgreSQL its own form.
        escaped = json.dumps(text)
        contains = sa.func.instr if self._dialect == "sqlite" else sa.func.strpos
        query = sa.select(col(RecordRow.body)).where(
            col(RecordRow.kind) == kind.value,
            col(RecordRow.deleted_at).is_(None),
            sa.or_(*(contains(text_of, form) > 0 for form in dict.fromkeys((quoted, escaped)))),
        )
        if since is not None:
            query = query.where(
                sa.or_(col(RecordRow.sorted_at).is_(None), col(RecordRow.sorted_at) >= since)
            )
        streamed = self._session.connection().execution_options(yield_per=500).execute(query)
        for body in streamed.scalars():
            yield CANONICAL[kind].model_validate_json(json.dumps(body))


_SIGNAL = (
    col(SignalRow.key),
    col(SignalRow.bucket),
    col(SignalRow.complaint_id),
    col(SignalRow.who),
    col(SignalRow.reach),
)


def _parts(values: Sequence[str]) -> Iterator[list[str]]:
    for place in range(0, len(values), MOST_BOUND):
        yield list(values[place : place + MOST_BOUND])
