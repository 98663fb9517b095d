"""Complaints and the arrivals they are made of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from middleware.store.tables import ArrivalRow, ComplaintRow, PersonRow

_OF_PERSON = (
    select(ComplaintRow)
    .where(ComplaintRow.person_id == sa.bindparam("id"))
    .order_by(col(ComplaintRow.id).desc())
    .limit(sa.bindparam("most", type_=sa.Integer()))
)


class Complaints:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, row: ComplaintRow) -> None:
        self._session.add(row)
        self._session.flush()

    def get(self, complaint_id: str, *, lock: bool = False) -> ComplaintRow | None:
        return self._session.get(ComplaintRow, complaint_id, with_for_update=lock or None)

    def hold(self, ids: Collection[str]) -> list[ComplaintRow]:
        """These complaints as they are now, by id; nobody else changes them until we commit."""
        if not ids:
            return []
        self._session.flush()
        query = select(ComplaintRow).where(col(ComplaintRow.id).in_(ids))
        query = query.order_by(col(ComplaintRow.id)).with_for_update()
        return list(self._session.exec(query, execution_options={"populate_existing": True}))

    def of_conversation(self, connection: str, conversation: str) -> ComplaintRow | None:
        query = select(ComplaintRow).where(
            ComplaintRow.connection == connection, ComplaintRow.conversation == conversation
        )
        return self._session.exec(query.with_for_update()).one_or_none()

    def of_person(self, person_id: str, *, limit: int = 20) -> list[ComplaintRow]:
        """A person's complaints, newest first."""
        return list(self._session.exec(_OF_PERSON, params={"id": person_id, "most": limit}))

    def open_of(self, person_ids: Collection[str]) -> list[str]:
        """The ids of the open complaints of these people."""
        if not person_ids:
            return []
        query = select(ComplaintRow.id).where(
            col(ComplaintRow.person_id).in_(person_ids), ComplaintRow.state == "open"
        )
        return list(self._session.exec(query.order_by(col(ComplaintRow.id))))

    def of_identity(self, identity_id: str) -> list[ComplaintRow]:
        query = select(ComplaintRow).where(ComplaintRow.identity_id == identity_id)
        return list(self._session.exec(query.order_by(col(ComplaintRow.id))))

    def latest_of_identity(self, identity_id: str, limit: int) -> list[ComplaintRow]:
        """The complaints of one account, newest first."""
        query = select(ComplaintRow).where(ComplaintRow.identity_id == identity_id)
        return list(self._session.exec(query.order_by(col(ComplaintRow.id).desc()).limit(limit)))

    def page(
        self,
        *,
        before: str | None,
        limit: int,
        state: str | None = None,
        person_id: str | None = None,
        connection: str | None = None,
        incident_id: str | None = None,
    ) -> list[ComplaintRow]:
        """Complaints, newest first, before a complaint id."""
        query = select(ComplaintRow)
        if before is not None:
            query = query.where(col(ComplaintRow.id) < before)
        if state is not None:
            query = query.where(ComplaintRow.state == state)
        if person_id is not None:
            query = query.where(ComplaintRow.person_id == person_id)
        if connection is not None:
            query = query.where(ComplaintRow.connection == connection)
        if incident_id is not None:
            query = query.where(ComplaintRow.incident_id == incident_id)
        return list(self._session.exec(query.order_by(col(ComplaintRow.id).desc()).limit(limit)))

    def queue(
        self,
        *,
        after: tuple[int, str] | None,
        limit: int,
        state: str = "open",
        brand: str | None = None,
        team: str | None = None,
        connection: str | None = None,
        incident_id: str | None = None,
    ) -> list[ComplaintRow]:
        """Issues in one state, most urgent first, of equal ones the oldest; after a priority
        and an id. State, brand and team are read from an index."""
        priority, id_ = col(ComplaintRow.priority), col(ComplaintRow.id)
        query = select(ComplaintRow).where(
            ComplaintRow.state == state, col(ComplaintRow.merged_into).is_(None)
        )
        if after is not None:
            query = query.where(
                priority <= after[0],
                sa.or_(priority < after[0], sa.and_(priority == after[0], id_ > after[1])),
            )
        for column, wanted in (
            (ComplaintRow.brand_account, brand),
            (ComplaintRow.team, team),
            (ComplaintRow.connection, connection),
            (ComplaintRow.incident_id, incident_id),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        return list(self._session.exec(query.order_by(priority.desc(), id_).limit(limit)))

    def root_of(self, complaint: ComplaintRow) -> ComplaintRow:
        """The complaint that stands for the whole issue: itself unless it was merged."""
        seen: dict[str, ComplaintRow] = {}
        row = complaint
        while row.merged_into is not None and row.id not in seen:
            seen[row.id] = row
            following = self._session.get(ComplaintRow, row.merged_into)
            if following is None:
                return row
            row = following
        # Should people ever merge in a circle at the same moment, all of it has one answer.
        return min(seen.values(), key=lambda one: one.id) if row.id in seen else row

    def issue_of(self, complaint: ComplaintRow) -> list[ComplaintRow]:
        """All complaints that are one issue with this, the one that stands for it first."""
        found = {root.id: root for root in (self.root_of(complaint),)}
        level = list(found)
        while level:
            query = select(ComplaintRow).where(col(ComplaintRow.merged_into).in_(level))
            rows = self._session.exec(query.order_by(col(ComplaintRow.id)))
            fresh = [row for row in rows if row.id not in found]
            found |= {row.id: row for row in fresh}
            level = [row.id for row in fresh]
        return list(found.values())

    def below(self, complaint_id: str) -> bool:
        """Whether any complaint was merged into this one."""
        query = select(ComplaintRow.id).where(ComplaintRow.merged_into == complaint_id).limit(1)
        return self._session.exec(query).first() is not None

    def get_all(self, ids: Collection[str]) -> list[ComplaintRow]:
        """These complaints as they are committed now, by id."""
        query = select(ComplaintRow).where(col(ComplaintRow.id).in_(ids))
        return list(self._session.exec(query.order_by(col(ComplaintRow.id))))

    def add_arrival(self, row: ArrivalRow) -> None:
        self._session.add(row)
        self._session.flush()

    def arrival(self, connection: str, source_id: str) -> ArrivalRow | None:
        query = select(ArrivalRow).where(
            ArrivalRow.connection == connection, ArrivalRow.source_id == source_id
        )
        return self._session.exec(query).one_or_none()

    def arrivals_of(self, complaint_id: str) -> list[ArrivalRow]:
        """The arrivals of a complaint, oldest first, deleted ones too."""
        query = select(ArrivalRow).where(ArrivalRow.complaint_id == complaint_id)
        return list(self._session.exec(query.order_by(col(ArrivalRow.id))))

    def arrivals_of_all(self, ids: Sequence[str]) -> list[ArrivalRow]:
        """The arrivals of several complaints, oldest first within each."""
        query = select(ArrivalRow).where(col(ArrivalRow.complaint_id).in_(ids))
        return list(self._session.exec(query.order_by(col(ArrivalRow.id))))

    def of_nobody(self, *, since: datetime, before: str | None, limit: int) -> list[ComplaintRow]:
        """Open complaints, newest first, before a complaint id, that somebody wrote to since then
        of whom nobody knows who they are."""
        query = (
            select(ComplaintRow)
            .join(PersonRow, col(PersonRow.id) == col(ComplaintRow.person_id), isouter=True)
            .where(
                ComplaintRow.state == "open",
                col(ComplaintRow.updated_at) >= since,
                sa.or_(
                    col(ComplaintRow.person_id).is_(None),
                    col(PersonRow.provisional_until).is_not(None),
                ),
            )
        )
        if before is not None:
            query = query.where(col(ComplaintRow.id) < before)
        return list(self._session.exec(query.order_by(col(ComplaintRow.id).desc()).limit(limit)))

    def incoming(self, *, after: str, limit: int) -> list[ArrivalRow]:
        """What customers wrote, by id, after one of them."""
        query = select(ArrivalRow).where(
            col(ArrivalRow.id) > after, col(ArrivalRow.outgoing).is_(False)
        )
        return list(self._session.exec(query.order_by(col(ArrivalRow.id)).limit(limit)))

    def status_changes_of(self, ids: Sequence[str]) -> dict[str, Any]:
        """How the conversations of several complaints stood; see `ComplaintRow`."""
        query = sa.select(col(ComplaintRow.id), col(ComplaintRow.status_changes)).where(
            col(ComplaintRow.id).in_(ids)
        )
        return {row[0]: row[1] for row in self._session.connection().execute(query)}
