"""Events, the endpoints that want them, and their deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlmodel import Session, col, select

from middleware.domain.ids import new_id
from middleware.store.tables import DeliveryRow, EndpointRow, EventRow
from middleware.store.together import Asked

_EVENTS: sa.Table = cast("Any", EventRow).__table__
_DELIVERIES: sa.Table = cast("Any", DeliveryRow).__table__
_APPENDED = _EVENTS.insert()
_OWED = _DELIVERIES.insert()
_TURN = Asked(sa.text("select pg_advisory_xact_lock(:key)"), {"key": 0x616D656E6473})
_ENDPOINTS = (
    select(EndpointRow).where(col(EndpointRow.deleted_at).is_(None)).order_by(col(EndpointRow.name))
)


class Events:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._told: list[Asked] = []
        self._declared: list[EndpointRow] | None = None
        """Who may want what this transaction tells: asked for once, however much it tells."""

    def append(
        self,
        type_: str,
        *,
        subject: str,
        data: dict[str, Any],
        at: datetime,
        also: Sequence[str] = (),
    ) -> list[DeliveryRow]:
        """Record an event in this transaction; answers the deliveries that it owes.

        They are written when the transaction ends: see `told`.
        """
        event_id = new_id("msg")
        event = {"id": event_id, "type": type_, "subject": subject, "data": data, "at": at}
        self._told.append(Asked(_APPENDED, event))
        if self._declared is None:
            self._declared = self.endpoints()
        wanting = [
            endpoint.name
            for endpoint in self._declared
            if endpoint.enabled and wanted(endpoint.types, type_)
        ]
        owed = [
            DeliveryRow(
                id=new_id("dlv"),
                event_id=event_id,
                endpoint=name,
                state="waiting",
                due_at=at,
                created_at=at,
            )
            for name in (*wanting, *also)
        ]
        self._told.extend(Asked(_OWED, row.model_dump()) for row in owed)
        return owed

    def told(self) -> list[Asked]:
        """What writes the events of this transaction, as the last that it does.

        Every other transaction with an event waits from here to our commit, so that nothing else
        is done in between.
        """
        if self._told and self._session.get_bind().dialect.name == "postgresql":
            return [_TURN, *self._told]
        return self._told

    def take_turn(self) -> None:
        """Wait until no other transaction writes events, and be the one that does to our end.

        `seq` grows in commit order, so that a reader who asks for what came after a `seq` misses
        nothing: on PostgreSQL writers of events take turns, SQLite has one writer anyway. What
        those before us committed is seen by the next statement. No lock may be waited for after.
        """
        if self._session.get_bind().dialect.name == "postgresql":
            self._session.connection().execute(_TURN.statement, _TURN.values)

    def since(
        self, seq: int, *, types: list[str] | None = None, subject: str | None = None, limit: int
    ) -> list[EventRow]:
        """Events after `seq`, in order."""
        query = select(EventRow).where(col(EventRow.seq) > seq)
        if types:
            query = query.where(col(EventRow.type).in_(types))
        if subject is not None:
            query = query.where(EventRow.subject == subject)
        return list(self._session.exec(query.order_by(col(EventRow.seq)).limit(limit)))

    def get(self, event_id: str) -> EventRow | None:
        return self._session.exec(select(EventRow).where(EventRow.id == event_id)).one_or_none()

    def endpoints(self) -> list[EndpointRow]:
        return list(self._session.exec(_ENDPOINTS))

    def endpoint(self, name: str) -> EndpointRow | None:
        return self._session.get(EndpointRow, name)

    def declare_endpoints(
        self, declared: dict[str, tuple[str, list[str]]], *, at: datetime
    ) -> None:
        """Make the table say what the configuration says: `{name: (url, types)}`.

        A changed address starts anew: enabled, with no failures held against it.
        """
        self._declared = None
        known = {row.name: row for row in self._session.exec(select(EndpointRow))}
        for name, (url, types) in declared.items():
            row = known.get(name)
            if row is None:
                self._session.add(EndpointRow(name=name, url=url, types=types, declared_at=at))
            elif (row.url, row.types, row.deleted_at) != (url, types, None):
                row.url, row.types, row.deleted_at, row.declared_at = url, types, None, at
                row.enabled, row.disabled_reason, row.failing_since = True, None, None
        for name, row in known.items():
            if name not in declared and row.deleted_at is None:
                row.deleted_at = at

    def delivery(self, delivery_id: str) -> DeliveryRow | None:
        return self._session.get(DeliveryRow, delivery_id)

    def put_in_doubt(self, seen: DeliveryRow) -> bool:
        """Count that a delivery is handed over from here on; False where it was since it was read,
        or has ended."""
        put = self._session.connection().execute(
            sa.update(DeliveryRow)
            .where(
                col(DeliveryRow.id) == seen.id,
                col(DeliveryRow.state) == "waiting",
                col(DeliveryRow.attempts) == seen.attempts,
                col(DeliveryRow.in_doubt) == seen.in_doubt,
            )
            .values(in_doubt=seen.in_doubt + 1)
        )
        return bool(put.rowcount == 1)

    def overdue(self, *, before: datetime, limit: int) -> list[DeliveryRow]:
        """Deliveries that should have been tried by then."""
        query = (
            select(DeliveryRow)
            .where(DeliveryRow.state == "waiting", col(DeliveryRow.due_at) < before)
            .order_by(col(DeliveryRow.due_at))
            .limit(limit)
        )
        return list(self._session.exec(query))


def wanted(patterns: list[Any], type_: str) -> bool:
    """Whether an endpoint asked for this type: by name, by `family.*`, or `*`."""
    return any(
        pattern in ("*", type_)
        or (str(pattern).endswith(".*") and type_.startswith(str(pattern)[:-1]))
        for pattern in patterns
    )
