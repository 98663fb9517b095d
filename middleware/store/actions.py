"""Corrective actions, their steps, and how much of each order line they take."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm.attributes import set_committed_value
from sqlmodel import Session, col, select, update

from middleware.contract.canonical import Kind, Ref
from middleware.domain.budget import Take
from middleware.store.tables import ActionRow, ActionStepRow, InvitationRow, LineHoldRow
from middleware.store.together import write


class StaleStepError(Exception):
    """Somebody else has moved this step on; what we know about it is old."""


_STEPS: sa.Table = cast("Any", ActionStepRow).__table__
_ACTIONS: sa.Table = cast("Any", ActionRow).__table__
# Statements that every step of every action runs are made once: making one costs as much as
# running it.
_LOCKED = (
    select(ActionRow)
    .where(ActionRow.id == sa.bindparam("id"))
    .with_for_update()
    .execution_options(populate_existing=True)
)
_MOVED = _STEPS.update().where(
    _STEPS.c.id == sa.bindparam("seen_id"), _STEPS.c.version == sa.bindparam("seen_version")
)
_CLAIMED = _ACTIONS.update().where(
    _ACTIONS.c.id == sa.bindparam("seen_id"),
    _ACTIONS.c.version == sa.bindparam("seen_version"),
    _ACTIONS.c.pass_no == sa.bindparam("seen_pass"),
)
_ALIVE = ("queued", "running", "waiting")
_BEFORE = (
    sa.select(_ACTIONS.c.id)
    .join(_STEPS, _STEPS.c.action_id == _ACTIONS.c.id)
    .where(
        _ACTIONS.c.customer == sa.bindparam("customer"),
        _ACTIONS.c.id < sa.bindparam("action"),
        _ACTIONS.c.state.in_(_ALIVE),
        _STEPS.c.connection == sa.bindparam("connection"),
        _STEPS.c.state.in_(("planned", "sending", "waiting")),
    )
    .limit(1)
)
_HELD_UP = (
    sa.select(_ACTIONS.c.id)
    .where(
        _ACTIONS.c.customer == sa.bindparam("customer"),
        _ACTIONS.c.id > sa.bindparam("action"),
        _ACTIONS.c.state == "queued",
        _ACTIONS.c.pass_no > 0,
    )
    .order_by(_ACTIONS.c.id)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_STEPS_OF = (
    select(ActionStepRow)
    .where(ActionStepRow.action_id == sa.bindparam("id"))
    .order_by(col(ActionStepRow.position))
)
_OF_PERSON = (
    select(ActionRow)
    .where(ActionRow.person_id == sa.bindparam("id"))
    .order_by(col(ActionRow.id).desc())
    .limit(sa.bindparam("most", type_=sa.Integer()))
)


class Actions:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, action: ActionRow, steps: list[ActionStepRow]) -> None:
        self._session.add(action)
        self._session.flush()
        self._session.add_all(steps)
        self._session.flush()

    def get(self, action_id: str, *, lock: bool = False) -> ActionRow | None:
        if lock:
            return self._session.exec(_LOCKED, params={"id": action_id}).one_or_none()
        return self._session.get(ActionRow, action_id)

    def claim(self, action: ActionRow, **changes: object) -> bool:
        """Lock and change an action as an earlier transaction left it, without reading it anew.

        It belongs to this transaction then. False where anybody has changed it since; whoever
        changes one of its steps changes its version too, so that they are as they were as well.
        """
        seen = {"seen_id": action.id, "seen_version": action.version, "seen_pass": action.pass_no}
        changes["version"] = action.version + 1
        if write(self._session.connection(), _CLAIMED, {**seen, **changes}) != 1:
            return False
        self._session.add(action)
        for name, value in changes.items():
            set_committed_value(action, name, value)
        return True

    def steps_of(self, action_id: str) -> list[ActionStepRow]:
        return list(self._session.exec(_STEPS_OF, params={"id": action_id}))

    def invitation_of(self, action_id: str) -> InvitationRow | None:
        return self._session.exec(
            select(InvitationRow).where(InvitationRow.action_id == action_id)
        ).one_or_none()

    def invitation(self, invitation_id: str) -> InvitationRow | None:
        return self._session.get(InvitationRow, invitation_id)

    def use_invitation(self, invitation_id: str, *, at: datetime) -> bool:
        """Use an invitation up; False where that was done before, or it is good no longer."""
        used = self._session.connection().execute(
            sa.update(InvitationRow)
            .where(
                col(InvitationRow.id) == invitation_id,
                col(InvitationRow.used_at).is_(None),
                col(InvitationRow.revoked_at).is_(None),
                col(InvitationRow.expires_at) > at,
            )
            .values(used_at=at)
        )
        return bool(used.rowcount == 1)

    def step_of_key(self, key: str) -> ActionStepRow | None:
        return self._session.exec(
            select(ActionStepRow).where(ActionStepRow.key == key)
        ).one_or_none()

    def move(self, step: ActionStepRow, **changes: object) -> None:
        """Change a step if nobody has since it was read; raises StaleStepError otherwise."""
        seen = step.version
        changes["version"] = seen + 1
        said = {"seen_id": step.id, "seen_version": seen, **changes}
        if write(self._session.connection(), _MOVED, said) != 1:
            raise StaleStepError(step.id)
        for name, value in changes.items():
            set_committed_value(step, name, value)

    def page(
        self,
        *,
        before: str | None,
        limit: int,
        state: str | None = None,
        person_id: str | None = None,
        complaint_id: str | None = None,
        order_ref: str | None = None,
    ) -> list[ActionRow]:
        """Actions, newest first, before an action id."""
        query = select(ActionRow)
        if before is not None:
            query = query.where(col(ActionRow.id) < before)
        for column, value in (
            (ActionRow.state, state),
            (ActionRow.person_id, person_id),
            (ActionRow.complaint_id, complaint_id),
            (ActionRow.order_ref, order_ref),
        ):
            if value is not None:
                query = query.where(column == value)
        return list(self._session.exec(query.order_by(col(ActionRow.id).desc()).limit(limit)))

    def of_kind(self, kind: str, *, since: datetime) -> list[ActionRow]:
        """Actions of one kind that were asked for from a moment on."""
        query = select(ActionRow).where(col(ActionRow.created_at) >= since, ActionRow.kind == kind)
        return list(self._session.exec(query))

    def of_person(self, person_id: str, *, limit: int = 20) -> list[ActionRow]:
        """A person's actions, newest first."""
        return list(self._session.exec(_OF_PERSON, params={"id": person_id, "most": limit}))

    def overdue(self, *, before: datetime, limit: int) -> list[ActionRow]:
        """Actions that are owed a pass that should have started by then."""
        query = (
            select(ActionRow)
            .where(
                col(ActionRow.state).in_(_ALIVE),
                col(ActionRow.due_at) < before,
            )
            .order_by(col(ActionRow.due_at))
            .limit(limit)
        )
        return list(self._session.exec(query))

    def before(self, action: ActionRow, connection: str) -> str | None:
        """An earlier action of the same customer that still has to do with this connection."""
        if action.customer is None:
            return None
        asked = {"customer": action.customer, "action": action.id, "connection": connection}
        found: str | None = self._session.connection().execute(_BEFORE, asked).scalar()
        return found

    def held_up_by(self, action: ActionRow) -> ActionRow | None:
        """The next action of the same customer that may have waited for this one, locked."""
        if action.customer is None:
            return None
        asked = {"customer": action.customer, "action": action.id}
        found: str | None = self._session.connection().execute(_HELD_UP, asked).scalar()
        return self.get(found, lock=True) if found is not None else None

    def awaiting_approval(self, *, expired_by: datetime, limit: int) -> list[ActionRow]:
        """Actions that nobody approved in time."""
        query = select(ActionRow).where(
            ActionRow.state == "awaiting_approval", col(ActionRow.expires_at) < expired_by
        )
        return list(self._session.exec(query.limit(limit)))

    def holds(self, order_ref: str) -> list[Take]:
        """What living actions take of an order's budget."""
        query = select(LineHoldRow).where(
            LineHoldRow.order_ref == order_ref, col(LineHoldRow.released_at).is_(None)
        )
        return [
            Take(
                row.line,
                quantity=Decimal(row.quantity),
                returned=Decimal(row.returned),
                amount=Decimal(row.amount) if row.amount is not None else None,
                by=row.action_id,
            )
            for row in self._session.exec(query.order_by(LineHoldRow.action_id, LineHoldRow.line))
        ]

    def hold(
        self, *, action_id: str, order_ref: str, takes: Iterable[Take], currency: str | None
    ) -> None:
        """Take of an order's budget. Several takes of one line are one."""
        rows: dict[str, LineHoldRow] = {}
        for take in takes:
            row = rows.setdefault(
                take.line,
                LineHoldRow(
                    action_id=action_id,
                    order_ref=order_ref,
                    line=take.line,
                    quantity="0",
                    currency=currency,
                ),
            )
            row.quantity = str(Decimal(row.quantity) + take.quantity)
            row.returned = str(Decimal(row.returned) + take.returned)
            if take.amount is not None:
                row.amount = str(Decimal(row.amount or 0) + take.amount)
        self._session.add_all(rows.values())
        self._session.flush()

    def credits_without_invoice(self, order_ref: str) -> set[str]:
        """Actions whose credit the remote knows by another record than the credit note it leads to.

        Such as Tryton's, which makes the credit note from a complaint.
        """
        query = (
            select(ActionStepRow.action_id, ActionStepRow.receipt)
            .join(ActionRow, col(ActionRow.id) == col(ActionStepRow.action_id))
            .where(ActionRow.order_ref == order_ref, ActionStepRow.operation == "credit")
        )
        return {
            action_id
            for action_id, receipt in self._session.exec(query)
            if receipt is not None and receipt["ref"]["kind"] != Kind.INVOICE
        }

    def made_for(self, order_ref: str) -> set[str]:
        """The records that actions on an order made in remotes, and the keys they bear."""
        query = (
            select(ActionStepRow.key, ActionStepRow.receipt)
            .join(ActionRow, col(ActionRow.id) == col(ActionStepRow.action_id))
            .where(ActionRow.order_ref == order_ref)
        )
        made: set[str] = set()
        for key, receipt in self._session.exec(query):
            made.add(key)
            if receipt is not None:
                made.add(str(Ref.model_validate(receipt["ref"])))
        return made

    def release(self, action_id: str, *, at: datetime) -> None:
        """Give an action's lines back: it was refused or cancelled and changed nothing."""
        self._session.exec(
            update(LineHoldRow)
            .where(col(LineHoldRow.action_id) == action_id, col(LineHoldRow.released_at).is_(None))
            .values(released_at=at)
        )
