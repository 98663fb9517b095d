"""Which complaints were gathered into one issue, and what they are found by."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from middleware.store.tables import ComplaintMergeRow, ComplaintMoveRow, GatheringKeyRow


class Gathering:
    def __init__(self, session: Session) -> None:
        self._session = session

    # --- found by ---------------------------------------------------------------------------

    def keep_keys(self, complaint_id: str, keys: Sequence[str], *, at: datetime) -> None:
        """Have a complaint found by these, and by no earlier ones."""
        connection = self._session.connection()
        held = set(
            self._session.exec(
                select(GatheringKeyRow.key).where(GatheringKeyRow.complaint_id == complaint_id)
            )
        )
        gone, fresh = held - set(keys), [k for k in dict.fromkeys(keys) if k not in held]
        if gone:
            connection.execute(
                sa.delete(GatheringKeyRow).where(
                    col(GatheringKeyRow.complaint_id) == complaint_id,
                    col(GatheringKeyRow.key).in_(gone),
                )
            )
        if fresh:
            rows = [{"key": key, "complaint_id": complaint_id, "at": at} for key in fresh]
            connection.execute(sa.insert(GatheringKeyRow), rows)

    def sharing(self, keys: Collection[str], *, since: datetime, limit: int) -> list[str]:
        """Complaints with one of these keys that were told since, the latest first."""
        if not keys:
            return []
        query = (
            select(GatheringKeyRow.complaint_id, sa.func.max(GatheringKeyRow.at))
            .where(col(GatheringKeyRow.key).in_(keys), col(GatheringKeyRow.at) >= since)
            .group_by(col(GatheringKeyRow.complaint_id))
            .order_by(sa.func.max(GatheringKeyRow.at).desc())
            .limit(limit)
        )
        return [complaint_id for complaint_id, _ in self._session.exec(query)]

    def forget_keys(self, *, before: datetime) -> None:
        """Drop what nothing is compared with any more."""
        self._session.connection().execute(
            sa.delete(GatheringKeyRow).where(col(GatheringKeyRow.at) < before)
        )

    # --- decided ----------------------------------------------------------------------------

    def add(self, row: ComplaintMergeRow) -> None:
        self._session.add(row)
        self._session.flush()

    def of(self, ids: Collection[str]) -> list[ComplaintMergeRow]:
        """All that was decided about these complaints, oldest first."""
        query = select(ComplaintMergeRow).where(
            sa.or_(
                col(ComplaintMergeRow.main_id).in_(ids), col(ComplaintMergeRow.other_id).in_(ids)
            )
        )
        return list(self._session.exec(query.order_by(col(ComplaintMergeRow.id))))

    # --- moves ------------------------------------------------------------------------------

    def add_move(self, row: ComplaintMoveRow) -> None:
        self._session.add(row)
        self._session.flush()

    def moves_of(self, complaint_id: str) -> list[ComplaintMoveRow]:
        """A complaint's moves, oldest first."""
        query = select(ComplaintMoveRow).where(ComplaintMoveRow.complaint_id == complaint_id)
        return list(self._session.exec(query.order_by(col(ComplaintMoveRow.id))))
