"""Documents of which every version is kept: the policy, and the rule book."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlmodel import Session, col, select

from middleware.store.tables import VersionRow

Row = TypeVar("Row", bound=VersionRow)


class Versions(Generic[Row]):
    """One document's versions. The highest one is in force; rows are never updated."""

    def __init__(self, session: Session, table: type[Row]) -> None:
        self._session = session
        self._table = table

    def current(self) -> Row | None:
        """The version in force; None before there was any."""
        return next(iter(self.page(before=None, limit=1)), None)

    def version(self, number: int) -> Row | None:
        return self._session.get(self._table, number)

    def last_of(self, source: str) -> Row | None:
        """The newest version that came from the file, the API or the command line."""
        query = select(self._table).where(self._table.source == source)
        newest = query.order_by(col(self._table.version).desc()).limit(1)
        return self._session.exec(newest).first()

    def page(self, *, before: int | None, limit: int) -> list[Row]:
        """Versions, newest first."""
        query = select(self._table)
        if before is not None:
            query = query.where(col(self._table.version) < before)
        newest = query.order_by(col(self._table.version).desc()).limit(limit)
        return list(self._session.exec(newest))

    def add(
        self,
        *,
        body: dict[str, Any],
        body_hash: str,
        source: str,
        author: str,
        reason: str | None,
        at: datetime,
    ) -> Row:
        """Append a version; it must be our turn from before the last look at them."""
        last = self.current()
        row = self._table(
            version=last.version + 1 if last else 1,
            body=body,
            body_hash=body_hash,
            source=source,
            author=author,
            reason=reason,
            created_at=at,
        )
        self._session.add(row)
        self._session.flush()
        return row
