"""The vectors of complaints' texts, for as long as later ones are compared with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from middleware.domain.bursts import KeyKind
from middleware.store.tables import ArrivalRow, IncidentKeyRow, IncidentRow, VectorRow

_NEW = {
    "postgresql": postgresql.insert(VectorRow).on_conflict_do_nothing(),
    "sqlite": sqlite.insert(VectorRow).on_conflict_do_nothing(),
}
_NEAR_KEY = f"{KeyKind.NEAR}:"


class Vectors:
    def __init__(self, session: Session) -> None:
        self._session = session

    def keep(self, row: Mapping[str, Any]) -> None:
        """Keep a complaint's vector, unless it has one."""
        connection = self._session.connection()
        connection.execute(_NEW[connection.dialect.name], [dict(row)])

    def drop(self, complaint_id: str) -> None:
        """Forget where a complaint's text was; of one that a burst is named by the middle stays,
        which is of many texts."""
        mine = col(VectorRow.complaint_id) == complaint_id
        named_by = col(VectorRow.centre).is_not(None)
        connection = self._session.connection()
        connection.execute(sa.delete(VectorRow).where(mine, sa.not_(named_by)))
        connection.execute(sa.update(VectorRow).where(mine).values(vector=col(VectorRow.centre)))

    def set_centre(self, complaint_id: str, centre: bytes) -> None:
        """Say what the middle is of the texts near to the one that a burst is named by."""
        mine = col(VectorRow.complaint_id) == complaint_id
        self._session.connection().execute(sa.update(VectorRow).where(mine).values(centre=centre))

    def unread(self, *, limit: int) -> list[VectorRow]:
        """Those that were not compared with others, by complaint id."""
        query = select(VectorRow).where(col(VectorRow.unread).is_(True))
        return list(self._session.exec(query.order_by(col(VectorRow.complaint_id)).limit(limit)))

    def get(self, complaint_id: str) -> VectorRow | None:
        return self._session.get(VectorRow, complaint_id)

    def mark_read(self, complaints: Iterable[str]) -> None:
        statement = (
            sa.update(VectorRow)
            .where(col(VectorRow.complaint_id) == sa.bindparam("of"))
            .values(unread=sa.false())
        )
        rows = [{"of": of} for of in sorted(complaints)]
        if rows:
            self._session.connection().execute(statement, rows)

    def between(self, encoder: str, first: int, last: int, *, limit: int) -> Sequence[Any]:
        """What an encoder made in buckets from `first` to `last`, the latest first: rows with
        `complaint_id`, `bucket`, `who`, `reach` and `vector`."""
        query = (
            sa.select(
                col(VectorRow.complaint_id),
                col(VectorRow.bucket),
                col(VectorRow.who),
                col(VectorRow.reach),
                col(VectorRow.vector),
            )
            .where(col(VectorRow.encoder) == encoder, col(VectorRow.bucket).between(first, last))
            .order_by(col(VectorRow.bucket).desc(), col(VectorRow.complaint_id))
            .limit(limit)
        )
        return self._session.connection().execute(query).all()

    def followed(self, *, over_after: datetime) -> list[VectorRow]:
        """Those that incidents are named by whose burst lasts, or was over later than that."""
        keys = (
            sa.select(col(IncidentKeyRow.key))
            .join(IncidentRow, col(IncidentRow.id) == col(IncidentKeyRow.incident_id))
            .where(
                col(IncidentKeyRow.key).startswith(_NEAR_KEY),
                sa.or_(col(IncidentRow.over_at).is_(None), col(IncidentRow.over_at) > over_after),
            )
        )
        found = self._session.connection().execute(keys).scalars()
        leaders = sorted({str(key).removeprefix(_NEAR_KEY) for key in found})
        # By id: the vectors are many, such keys few.
        query = select(VectorRow).where(col(VectorRow.complaint_id).in_(leaders))
        return list(self._session.exec(query.order_by(col(VectorRow.complaint_id))))

    def forget(self, *, before: int, over_before: datetime) -> None:
        """Drop those of earlier buckets, but for those that others are still compared with."""
        followed = [row.complaint_id for row in self.followed(over_after=over_before)]
        self._session.connection().execute(
            sa.delete(VectorRow).where(
                col(VectorRow.bucket) < before, col(VectorRow.complaint_id).not_in(followed)
            )
        )

    def texts_of(self, complaints: Sequence[str]) -> dict[str, str]:
        """What customers wrote in each of these complaints, as far as it is not deleted."""
        query = (
            sa.select(col(ArrivalRow.complaint_id), col(ArrivalRow.text))
            .where(
                col(ArrivalRow.complaint_id).in_(list(complaints)),
                col(ArrivalRow.outgoing).is_(False),
                col(ArrivalRow.deleted_at).is_(None),
            )
            .order_by(col(ArrivalRow.received_at), col(ArrivalRow.id))
        )
        found: dict[str, list[str]] = {}
        for row in self._session.connection().execute(query):
            found.setdefault(row.complaint_id, []).append(row.text)
        return {of: "\n".join(texts) for of, texts in found.items()}
