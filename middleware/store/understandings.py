"""What people say a complaint is about, and the heads of the model that were fitted to it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlmodel import Session, col, select

from middleware.store.tables import ComplaintRow, UnderstandingHeadsRow, UnderstandingLabelRow


class Understandings:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add_label(self, row: UnderstandingLabelRow) -> None:
        self._session.add(row)
        self._session.flush()

    def labels_of(self, complaint_id: str) -> dict[str, UnderstandingLabelRow]:
        """What was said last of a complaint, by question."""
        query = select(UnderstandingLabelRow).where(
            UnderstandingLabelRow.complaint_id == complaint_id
        )
        rows = self._session.exec(query.order_by(col(UnderstandingLabelRow.id)))
        return {row.question: row for row in rows}

    def labels(self, *, limit: int) -> list[UnderstandingLabelRow]:
        """The newest labels, oldest first."""
        query = select(UnderstandingLabelRow).order_by(col(UnderstandingLabelRow.id).desc())
        return list(reversed(list(self._session.exec(query.limit(limit)))))

    def understood(self, *, after: str | None, limit: int) -> list[ComplaintRow]:
        """Complaints that were understood, oldest first."""
        query = select(ComplaintRow).where(
            col(ComplaintRow.understanding).is_not(None), ComplaintRow.state != "deleted"
        )
        if after is not None:
            query = query.where(col(ComplaintRow.id) > after)
        return list(self._session.exec(query.order_by(col(ComplaintRow.id)).limit(limit)))

    def heads_number(self, model: str) -> int:
        """The number of the newest heads of a model; 0 where none were fitted."""
        query = select(sa.func.max(UnderstandingHeadsRow.number)).where(
            UnderstandingHeadsRow.model == model
        )
        return self._session.exec(query).one() or 0

    def heads(self, number: int) -> UnderstandingHeadsRow | None:
        return self._session.get(UnderstandingHeadsRow, number)

    def next_number(self) -> int:
        query = select(sa.func.max(UnderstandingHeadsRow.number))
        return (self._session.exec(query).one() or 0) + 1

    def add_heads(self, row: UnderstandingHeadsRow) -> None:
        self._session.add(row)
        self._session.flush()
