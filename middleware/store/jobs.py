"""Scheduled jobs, their runs, and the cursors of syncs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select, update

from middleware.store.tables import CursorRow, JobRow, RunRow


class Jobs:
    def __init__(self, session: Session) -> None:
        self._session = session

    def declare(self, declared: dict[str, dict[str, Any]], *, at: datetime) -> None:
        """Make the table say what the configuration says: `{name: {flow, arguments, schedule}}`."""
        known = {row.name: row for row in self._session.exec(select(JobRow))}
        for name, spec in declared.items():
            row = known.get(name)
            if row is None:
                self._session.add(JobRow(name=name, declared_at=at, **spec))
                continue
            was = {"flow": row.flow, "arguments": row.arguments, "schedule": row.schedule}
            if was != spec or row.deleted_at is not None:
                row.flow, row.arguments = spec["flow"], spec["arguments"]
                row.schedule = spec["schedule"]
                row.deleted_at, row.declared_at = None, at
                row.version += 1
        for name, row in known.items():
            if name not in declared and row.deleted_at is None:
                row.deleted_at = at

    def get(self, name: str, *, lock: bool = False) -> JobRow | None:
        """A declared job; `lock` holds its row, so that its runs are owed one after another."""
        row = self._session.get(JobRow, name, with_for_update=lock or None)
        return None if row is None or row.deleted_at is not None else row

    def all(self) -> list[JobRow]:
        query = select(JobRow).where(col(JobRow.deleted_at).is_(None)).order_by(JobRow.name)
        return list(self._session.exec(query))

    def add_run(self, run: RunRow) -> None:
        self._session.add(run)
        self._session.flush()

    def run(self, run_id: str) -> RunRow | None:
        return self._session.get(RunRow, run_id)

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
