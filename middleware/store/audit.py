"""Who did what, written with the change itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlmodel import Session, col, select

from middleware.domain.ids import new_id
from middleware.store.tables import AuditRow
from middleware.store.together import Asked, write_together

_ENTRIES: sa.Table = cast("Any", AuditRow).__table__
_WRITTEN = _ENTRIES.insert()


class Audit:
    def __init__(self, session: Session) -> None:
        self._session = session
        self.entries: list[Asked] = []
        """What is still to be written: at the end of the transaction, see `UnitOfWork.end`."""

    def write(
        self,
        *,
        at: datetime,
        actor: str,
        action: str,
        subject: str,
        request_id: str | None = None,
        **detail: Any,
    ) -> None:
        """Add one entry. `detail` holds ids and figures, never personal data or secrets."""
        entry = {
            "id": new_id("aud"),
            "at": at,
            "actor": actor,
            "action": action,
            "subject": subject,
            "request_id": request_id,
            "detail": detail,
        }
        self.entries.append(Asked(_WRITTEN, entry))

    def about(self, subject: str, *, action: str | None = None) -> list[AuditRow]:
        """Every entry on one subject, or those of one action, oldest first; those of this
        transaction are among them."""
        if self.entries:
            write_together(self._session.connection(), self.entries)
            self.entries.clear()
        query = select(AuditRow).where(AuditRow.subject == subject)
        if action is not None:
            query = query.where(AuditRow.action == action)
        return list(self._session.exec(query.order_by(col(AuditRow.id))))
