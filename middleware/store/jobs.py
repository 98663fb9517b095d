"""Scheduled jobs, their runs, and the cursors of syncs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Update, func, or_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select, update

from middleware.store.tables import AlarmRow, CursorRow, JobRow, RunRow

ENDED = ("done", "failed", "overtaken", "stopped")
"""The states of a run that has ended; a resolution is stopped that would change too much."""


class Jobs:
    def __init__(self, session: Session) -> None:
        self._session = session

    def declare(self, declared: dict[str, dict[str, Any]], *, at: datetime) -> None:
        """Make the table say what the configuration says.

        `{name: {flow, arguments, schedule}}`, and where it is more than nothing `full`, `after` and
        `late_after`; see `JobRow`.
        """
        known = {row.name: row for row in self._session.exec(select(JobRow))}
        for name, given in declared.items():
            spec = {"full": None, "after": None, "late_after": None, **given}
            row = known.get(name)
            if row is None:
                self._session.add(JobRow(name=name, declared_at=at, **spec))
                continue
            if any(getattr(row, part) != said for part, said in spec.items()) or row.deleted_at:
                for part, said in spec.items():
                    setattr(row, part, said)
                row.deleted_at, row.declared_at = None, at
                row.version += 1
        for name, row in known.items():
            if name not in declared and row.deleted_at is None:
                row.deleted_at = at

    def get(self, name: str, *, lock: bool = False) -> JobRow | None:
        """A declared job; `lock` holds its row, so that its runs are owed one after another."""
        row = self._session.get(JobRow, name, with_for_update=lock or None)
        return None if row is None or row.deleted_at is not None else row

    def ever(self, name: str) -> JobRow | None:
        """A job that is declared, or was."""
        return self._session.get(JobRow, name)

    def all(self) -> list[JobRow]:
        return [row for row in self.all_ever() if row.deleted_at is None]

    def all_ever(self) -> list[JobRow]:
        """With those that are no longer declared."""
        return list(self._session.exec(select(JobRow).order_by(JobRow.name)))

    def page(self, *, after: str | None, limit: int) -> list[JobRow]:
        """Declared jobs by name, after one of them."""
        query = select(JobRow).where(col(JobRow.deleted_at).is_(None))
        if after is not None:
            query = query.where(col(JobRow.name) > after)
        return list(self._session.exec(query.order_by(JobRow.name).limit(limit)))

    def last_runs(self, jobs: Sequence[str]) -> dict[str, RunRow]:
        """The latest run of each of these jobs, by when it was owed."""
        of_job = aliased(RunRow)
        latest = select(func.max(of_job.id)).where(of_job.job == JobRow.name).scalar_subquery()
        query = select(RunRow).join(JobRow, col(RunRow.id) == latest)
        return {row.job: row for row in self._session.exec(query.where(col(JobRow.name).in_(jobs)))}

    def add_run(self, run: RunRow) -> None:
        self._session.add(run)
        self._session.flush()

    def run(self, run_id: str, *, lock: bool = False) -> RunRow | None:
        return self._session.get(RunRow, run_id, with_for_update=lock or None)

    def held_run(self, job: str) -> RunRow | None:
        """The run of a job that waits for the jobs it runs after; there is one at most."""
        query = select(RunRow).where(RunRow.job == job, RunRow.state == "held")
        return self._session.exec(query.order_by(col(RunRow.id).desc())).first()

    def held(self) -> list[RunRow]:
        query = select(RunRow).where(RunRow.state == "held")
        return list(self._session.exec(query.order_by(col(RunRow.id))))

    def last_of(
        self, job: str, *, states: Sequence[str], modes: Sequence[str] = ("changes", "full")
    ) -> RunRow | None:
        """The latest run of a job, by when it was owed, in one of these states and modes; none that
        was narrowed to some of the job's kinds."""
        query = select(RunRow).where(
            RunRow.job == job,
            col(RunRow.state).in_(states),
            col(RunRow.mode).in_(modes),
            or_(col(RunRow.wanted).is_(None), col(RunRow.wanted)["kinds"].as_string().is_(None)),
        )
        return self._session.exec(query.order_by(col(RunRow.id).desc()).limit(1)).first()

    def run_of_tick(self, job: str, tick: str) -> RunRow | None:
        query = select(RunRow).where(RunRow.job == job, RunRow.tick == tick)
        return self._session.exec(query).first()

    def runs_of(self, job: str, *, before: str | None = None, limit: int = 50) -> list[RunRow]:
        """Runs of a job, newest first."""
        query = select(RunRow).where(RunRow.job == job)
        if before is not None:
            query = query.where(col(RunRow.id) < before)
        return list(self._session.exec(query.order_by(col(RunRow.id).desc()).limit(limit)))

    def running(self) -> list[RunRow]:
        """Runs that have not ended."""
        query = select(RunRow).where(col(RunRow.state).in_(("queued", "running")))
        return list(self._session.exec(query.order_by(col(RunRow.id))))

    def cursor(self, connection: str, kind: str) -> CursorRow | None:
        return self._session.get(CursorRow, (connection, kind))

    def theirs(self, connection: str, kind: str, at: datetime) -> datetime:
        """A moment of our clock by the one that a connection's pages are dated by: since the last
        page as much time has passed there as here. Ours, where nothing was synced yet.

        What is read between two syncs is dated so. By our own clock it would hide, where theirs is
        behind, what changes next, and where theirs is ahead, it would count as old.
        """
        saved = self.cursor(connection, kind)
        return at if saved is None else saved.as_of + (at - saved.saved_at)

    def move_cursor(self, row: CursorRow, *, from_: str | None) -> bool:
        """Move a cursor on, in the transaction that stores the page it leads to.

        Answers False, and changes nothing, when it no longer stands at `from_`: somebody else has
        moved it. Two that try at once come one after the other.
        """
        connection = self._session.connection()
        if from_ is None:
            dialect = self._session.get_bind().dialect.name
            insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
            made = connection.execute(
                insert(CursorRow)
                .values(**row.model_dump())
                .on_conflict_do_nothing(index_elements=["connection", "kind"])
                .returning(col(CursorRow.value))
            )
            return made.first() is not None
        moved = connection.execute(
            update(CursorRow)
            .where(
                col(CursorRow.connection) == row.connection,
                col(CursorRow.kind) == row.kind,
                col(CursorRow.value) == from_,
            )
            .values(**row.model_dump(exclude={"connection", "kind"}))
        )
        return moved.rowcount == 1

    def cursors(self) -> list[CursorRow]:
        query = select(CursorRow).order_by(CursorRow.connection, CursorRow.kind)
        return list(self._session.exec(query))

    def raise_alarm(self, row: AlarmRow) -> bool:
        """Raise an alarm, or bring an open one's detail up to date; True where it is new.

        Two that raise the same one at once raise it once.
        """
        values = row.model_dump()
        dialect = self._session.get_bind().dialect.name
        insert = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(AlarmRow)
        connection = self._session.connection()
        new = connection.execute(
            insert.values(**values)
            .on_conflict_do_update(
                index_elements=["type", "subject"],
                set_={
                    name: insert.excluded[name] for name in ("detail", "raised_at", "cleared_at")
                },
                where=col(AlarmRow.cleared_at).is_not(None),
            )
            .returning(col(AlarmRow.type))
        ).first()
        if new is None:
            connection.execute(_this_alarm(row.type, row.subject).values(detail=row.detail))
        return new is not None

    def clear_alarm(self, type_: str, subject: str, *, at: datetime) -> bool:
        """End an alarm; False where it was not open."""
        ended = self._session.connection().execute(
            _this_alarm(type_, subject)
            .where(col(AlarmRow.cleared_at).is_(None))
            .values(cleared_at=at)
        )
        return ended.rowcount == 1

    def alarms(self) -> list[AlarmRow]:
        """Those that are open."""
        query = select(AlarmRow).where(col(AlarmRow.cleared_at).is_(None))
        return list(self._session.exec(query.order_by(AlarmRow.type, AlarmRow.subject)))


def _this_alarm(type_: str, subject: str) -> Update:
    return update(AlarmRow).where(col(AlarmRow.type) == type_, col(AlarmRow.subject) == subject)
