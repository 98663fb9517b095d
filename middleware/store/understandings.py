"""What people say a complaint is about, and the heads of the model that were fitted to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from middleware.store.tables import (
    ComplaintRow,
    UnderstandingHeadsRow,
    UnderstandingLabelRow,
    UnderstandingTrainingRow,
)


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

    def said_of(self, complaints: Sequence[str]) -> dict[str, dict[str, str]]:
        """What was said last of each of these complaints, by question."""
        query = select(UnderstandingLabelRow).where(
            col(UnderstandingLabelRow.complaint_id).in_(complaints)
        )
        said: dict[str, dict[str, str]] = {}
        for row in self._session.exec(query.order_by(col(UnderstandingLabelRow.id))):
            said.setdefault(row.complaint_id, {})[row.question] = row.value
        return said

    def understood(
        self, *, since: datetime | None, until: datetime | None, after: str | None, limit: int
    ) -> list[tuple[str, Mapping[str, Any]]]:
        """What was understood of complaints opened in a time, by their ids, in the ids' order."""
        query = select(ComplaintRow.id, ComplaintRow.understanding).where(
            col(ComplaintRow.understanding).is_not(None), ComplaintRow.state != "deleted"
        )
        if since is not None:
            query = query.where(ComplaintRow.opened_at >= since)
        if until is not None:
            query = query.where(ComplaintRow.opened_at < until)
        if after is not None:
            query = query.where(col(ComplaintRow.id) > after)
        rows = self._session.exec(query.order_by(col(ComplaintRow.id)).limit(limit))
        return [(id_, kept or {}) for id_, kept in rows]

    def degraded(self, *, after: str, limit: int) -> list[str]:
        """Open complaints that the rules judged in a model's place, by id."""
        query = (
            select(ComplaintRow.id)
            .where(
                ComplaintRow.state == "open",
                col(ComplaintRow.id) > after,
                col(ComplaintRow.understanding)["degraded"].as_boolean(),
            )
            .order_by(col(ComplaintRow.id))
            .limit(limit)
        )
        return list(self._session.exec(query))

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

    # --- trainings -------------------------------------------------------------------------------

    def add_training(self, row: UnderstandingTrainingRow) -> None:
        self._session.add(row)
        self._session.flush()

    def training(self, training_id: str, *, lock: bool = False) -> UnderstandingTrainingRow | None:
        return self._session.get(
            UnderstandingTrainingRow, training_id, with_for_update=True if lock else None
        )

    def trainings_unfinished(self) -> list[UnderstandingTrainingRow]:
        """Those that are queued or running, oldest first."""
        query = select(UnderstandingTrainingRow).where(
            col(UnderstandingTrainingRow.state).in_(("queued", "running"))
        )
        return list(self._session.exec(query.order_by(col(UnderstandingTrainingRow.id))))
