"""The review queue: questions for people, the most informative first."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from middleware.store.tables import ComplaintRow, PersonRow, ReviewRow


class Reviews:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, row: ReviewRow) -> None:
        self._session.add(row)
        self._session.flush()

    def get(self, review_id: str, *, lock: bool = False) -> ReviewRow | None:
        return self._session.get(
            ReviewRow, review_id, with_for_update=lock or None, populate_existing=lock
        )

    def open_about(self, subject: str) -> ReviewRow | None:
        """The open question about an identity, or about a complaint without one."""
        query = select(ReviewRow).where(ReviewRow.subject == subject, ReviewRow.state == "open")
        return self._session.exec(query.with_for_update()).one_or_none()

    def settle(self, subject: str, *, at: datetime) -> None:
        """Close the open question about somebody: it was decided otherwise."""
        row = self.open_about(subject)
        if row is not None:
            row.state, row.updated_at = "settled", at
            row.version += 1

    def last_answered(self, subject: str) -> ReviewRow | None:
        query = select(ReviewRow).where(ReviewRow.subject == subject, ReviewRow.state == "answered")
        ordered = query.order_by(col(ReviewRow.answered_at).desc(), col(ReviewRow.id).desc())
        return self._session.exec(ordered.limit(1)).first()

    def answered(self, *, after: str | None, limit: int) -> list[ReviewRow]:
        """Questions that people answered, oldest first."""
        query = select(ReviewRow).where(ReviewRow.state == "answered")
        if after is not None:
            query = query.where(col(ReviewRow.id) > after)
        return list(self._session.exec(query.order_by(col(ReviewRow.id)).limit(limit)))

    def open_about_any(self, subjects: Collection[str]) -> list[ReviewRow]:
        """The open questions about these, the first asked first."""
        query = select(ReviewRow).where(
            col(ReviewRow.subject).in_(subjects), ReviewRow.state == "open"
        )
        return list(self._session.exec(query.order_by(col(ReviewRow.id))))

    def page(
        self,
        *,
        state: str | None,
        kind: str | None = None,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[ReviewRow]:
        """Questions, the most urgent first, of equal ones the oldest; after one of them."""
        query = select(ReviewRow)
        if state is not None:
            query = query.where(ReviewRow.state == state)
        if kind is not None:
            query = query.where(ReviewRow.kind == kind)
        if after is not None:
            urgency, id_ = after
            query = query.where(
                sa.or_(
                    col(ReviewRow.urgency) < urgency,
                    sa.and_(col(ReviewRow.urgency) == urgency, col(ReviewRow.id) > id_),
                )
            )
        ordered = query.order_by(col(ReviewRow.urgency).desc(), col(ReviewRow.id))
        return list(self._session.exec(ordered.limit(limit)))

    def waiting(self, identity_id: str) -> int:
        """How many open complaints of an identity have no person yet, or a provisional one."""
        query = select(sa.func.count()).where(
            col(ComplaintRow.identity_id) == identity_id,
            sa.or_(
                col(ComplaintRow.person_id).is_(None),
                col(ComplaintRow.person_id).in_(
                    select(PersonRow.id).where(col(PersonRow.provisional_until).is_not(None))
                ),
            ),
            col(ComplaintRow.state) == "open",
        )
        return int(self._session.exec(query).one())

    def decided(self, *, after: str | None, limit: int) -> list[ComplaintRow]:
        """Complaints whose author was looked for, oldest first: what a backtest goes over."""
        query = select(ComplaintRow).where(
            col(ComplaintRow.resolution).is_not(None), ComplaintRow.state != "deleted"
        )
        if after is not None:
            query = query.where(col(ComplaintRow.id) > after)
        return list(self._session.exec(query.order_by(col(ComplaintRow.id)).limit(limit)))
