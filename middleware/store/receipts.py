"""Receipts of runs: written once, in a chain for each connection."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import sqlalchemy as sa
from sqlmodel import Session, col, select

from middleware.domain.receipts import Sealed
from middleware.store.tables import ReceiptRow, RunRow

_CHAIN_LOCK = 0x616D656E6474
_AT_ONCE = 500


class Receipts:
    def __init__(self, session: Session) -> None:
        self._session = session

    def hold(self) -> None:
        """Have writers of receipts take turns until the transaction ends."""
        if self._session.get_bind().dialect.name == "postgresql":
            self._session.connection().execute(
                sa.text("select pg_advisory_xact_lock(:key)"), {"key": _CHAIN_LOCK}
            )

    def add(self, row: ReceiptRow) -> None:
        self._session.add(row)
        self._session.flush()

    def of_run(self, run_id: str) -> ReceiptRow | None:
        return self._session.get(ReceiptRow, run_id)

    def latest(self, connection: str, *, limit: int = 1) -> list[ReceiptRow]:
        """A connection's receipts, newest first."""
        query = select(ReceiptRow).where(ReceiptRow.connection == connection)
        return list(self._session.exec(query.order_by(col(ReceiptRow.number).desc()).limit(limit)))

    def lacking(self, jobs: Collection[str], *, but: str) -> list[str]:
        """The ended runs of these jobs that have no receipt, oldest first; `but` is the error of
        those that never had one."""
        written = select(ReceiptRow.run_id).where(ReceiptRow.run_id == RunRow.id)
        why = col(RunRow.error)["message"].as_string()
        query = select(RunRow.id).where(
            col(RunRow.job).in_(jobs),
            col(RunRow.finished_at).is_not(None),
            sa.or_(col(RunRow.error).is_(None), why.is_(None), why != but),
            ~written.exists(),
        )
        return list(self._session.exec(query.order_by(RunRow.id)))

    def connections(self) -> list[str]:
        """Those that have a chain."""
        query = select(ReceiptRow.connection).distinct().order_by(ReceiptRow.connection)
        return list(self._session.exec(query))

    def chain(self, connection: str) -> Iterator[Sealed]:
        """A connection's receipts, oldest first."""
        last = 0
        while True:
            query = (
                select(ReceiptRow)
                .where(ReceiptRow.connection == connection, col(ReceiptRow.number) > last)
                .order_by(col(ReceiptRow.number))
                .limit(_AT_ONCE)
            )
            rows = list(self._session.exec(query))
            yield from map(sealed, rows)
            if len(rows) < _AT_ONCE:
                return
            last = rows[-1].number


def sealed(row: ReceiptRow) -> Sealed:
    return Sealed(row.number, row.body, row.digest, row.previous, row.signature)
