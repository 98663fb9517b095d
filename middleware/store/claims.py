"""Claims on customer issues: found by what they are about, never by reading them all."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from middleware.domain.claims import ClaimKind
from middleware.store.tables import ClaimRow

_ISSUES = [kind.value for kind in ClaimKind]


class Claims:
    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, claim_id: str, *, lock: bool = False) -> ClaimRow | None:
        """A claim that was not given up, run out or not."""
        query = select(ClaimRow).where(ClaimRow.id == claim_id)
        return self._session.exec(query.with_for_update() if lock else query).one_or_none()

    def of_subject(self, subject: str) -> ClaimRow | None:
        return self._session.get(ClaimRow, subject, with_for_update=True)

    def near(
        self,
        *,
        complaints: Collection[str] = (),
        persons: Collection[str] = (),
        orders: Collection[str] = (),
        now: datetime,
    ) -> list[ClaimRow]:
        """The claims that have anything to do with these and have not run out, oldest first."""
        about = [
            column.in_(values)
            for column, values in (
                (col(ClaimRow.complaint_id), complaints),
                (col(ClaimRow.person_id), persons),
                (col(ClaimRow.order_ref), orders),
            )
            if values
        ]
        if not about:
            return []
        query = select(ClaimRow).where(
            sa.or_(*about), col(ClaimRow.kind).in_(_ISSUES), col(ClaimRow.expires_at) > now
        )
        return list(self._session.exec(query.order_by(col(ClaimRow.id))))

    def page(
        self, *, before: str | None, limit: int, holder: str | None = None, now: datetime
    ) -> list[ClaimRow]:
        """The claims that have not run out, newest first, before a claim's id."""
        query = select(ClaimRow).where(
            col(ClaimRow.kind).in_(_ISSUES), col(ClaimRow.expires_at) > now
        )
        if before is not None:
            query = query.where(col(ClaimRow.id) < before)
        if holder is not None:
            query = query.where(ClaimRow.holder == holder)
        return list(self._session.exec(query.order_by(col(ClaimRow.id).desc()).limit(limit)))

    def run_out(self, *, by: datetime, limit: int) -> list[ClaimRow]:
        """Claims whose time is over and that nobody has said so of."""
        query = select(ClaimRow).where(
            col(ClaimRow.expires_at) <= by, col(ClaimRow.kind).in_(_ISSUES)
        )
        return list(self._session.exec(query.order_by(col(ClaimRow.expires_at)).limit(limit)))

    def add(self, row: ClaimRow) -> None:
        self._session.add(row)
        self._session.flush()

    def drop(self, row: ClaimRow) -> None:
        self._session.delete(row)
        self._session.flush()

    def follow(self, complaint_id: str, *, person_id: str | None, order_ref: str | None) -> None:
        """Have the claims on a complaint found by the person and the order it turned out to be."""
        self._session.connection().execute(
            sa.update(ClaimRow)
            .where(
                col(ClaimRow.complaint_id) == complaint_id,
                col(ClaimRow.kind) == ClaimKind.COMPLAINT.value,
            )
            .values(person_id=person_id, order_ref=order_ref)
        )
