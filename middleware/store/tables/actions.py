"""Corrective actions, their steps, what they hold of a budget, and the policy."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from middleware.store.tables.columns import json, moment


class ActionRow(SQLModel, table=True):
    """A corrective action with a life of its own."""

    __tablename__ = "action"
    __table_args__ = (
        sa.Index("ix_action_person", "person_id", "id"),
        sa.Index("ix_action_complaint", "complaint_id", "id"),
        sa.Index("ix_action_due", "state", "due_at"),
        sa.Index("ix_action_customer", "customer", "id"),
        sa.Index("ix_action_created", "created_at"),
    )

    id: str = Field(primary_key=True)
    kind: str
    state: str
    complaint_id: str | None = Field(default=None, foreign_key="complaint.id")
    person_id: str | None = Field(default=None, foreign_key="person.id")
    order_ref: str | None = Field(default=None, index=True)
    request: dict[str, Any] = json()
    value: dict[str, Any] | None = json(null=True)
    """What it is worth at the original order's prices, where they are known."""
    requested_by: str
    role: str | None = None
    """The role of whoever asked, which limits go by."""
    customer: str | None = None
    """Whose it is: actions of one customer are carried out in the order they were asked for."""
    approval: dict[str, Any] | None = json(null=True)
    """Which rule asks for one; then who decided, when, and why."""
    policy: dict[str, Any] | None = json(null=True)
    """The verdict it was accepted under: version, rules, and what they went by."""
    not_before: datetime | None = moment(null=True)
    """The end of a cooling-off: until then nothing is sent and it can be called off."""
    undoes: str | None = None
    """The action that this one takes back."""
    undone_by: str | None = None
    """The action that takes this one back, once one does."""
    handed_over: dict[str, Any] | None = json(null=True)
    """Who took it out of the hub's hands, when and why."""
    pass_no: int = 0
    """Which run may still act on it; an older one that wakes up is refused."""
    due_at: datetime | None = moment(null=True)
    """When the next pass is expected to have started, while one is owed."""
    expires_at: datetime = moment()
    created_at: datetime = moment()
    updated_at: datetime = moment()
    version: int = 1


class ActionStepRow(SQLModel, table=True):
    """One write to one remote. Committed as `sending` before the call, it is the intent journal."""

    __tablename__ = "action_step"
    __table_args__ = (
        sa.UniqueConstraint("action_id", "position"),
        sa.Index("ix_action_step_state", "state", "connection"),
    )

    id: str = Field(primary_key=True)
    action_id: str = Field(foreign_key="action.id")
    position: int
    connection: str
    operation: str
    key: str = Field(unique=True)
    state: str
    wanted: dict[str, Any] = json()
    """What the plan says of it; the request is made of this when its turn comes."""
    request: dict[str, Any] | None = json(null=True)
    """The canonical request, written down with the first intent and never changed after."""
    attempts: int = 0
    sent_at: datetime | None = moment(null=True)
    """When the last send was announced; None while none ever was."""
    in_doubt: bool = False
    """True from an announced send until its outcome is known."""
    doubt_until: datetime | None = moment(null=True)
    """Until when an earlier send may still land, on a remote that merges it with a later one."""
    receipt: dict[str, Any] | None = json(null=True)
    error: dict[str, Any] | None = json(null=True)
    settled_at: datetime | None = moment(null=True)
    version: int = 1


class LineHoldRow(SQLModel, table=True):
    """How much of an order line's budget an action takes, while that action is alive or done."""

    __tablename__ = "line_hold"
    __table_args__ = (sa.Index("ix_line_hold_order", "order_ref", "line"),)

    action_id: str = Field(primary_key=True, foreign_key="action.id")
    order_ref: str
    line: str = Field(primary_key=True)
    """The line's id; empty for what is taken of the whole order, `shipping` for its shipping."""
    quantity: str
    """Pieces made good. A decimal as text, exact on both databases."""
    returned: str = "0"
    """Pieces taken back."""
    amount: str | None = None
    """Money or goods given for it, in the order's currency; None where no price is known."""
    currency: str | None = None
    released_at: datetime | None = moment(null=True)


class InvitationRow(SQLModel, table=True):
    """A signed link to a private channel. The link itself is not kept."""

    __tablename__ = "invitation"

    id: str = Field(primary_key=True)
    action_id: str = Field(foreign_key="action.id", index=True)
    complaint_id: str | None = Field(default=None, foreign_key="complaint.id")
    person_id: str | None = None
    expires_at: datetime = moment()
    revoked_at: datetime | None = moment(null=True)
    used_at: datetime | None = moment(null=True)
    """When its link was followed, which ended it."""
    created_at: datetime = moment()


class SigningKeyRow(SQLModel, table=True):
    """A key that the hub signs its own tokens with, the same on all replicas."""

    __tablename__ = "signing_key"

    name: str = Field(primary_key=True)
    secret: str
    created_at: datetime = moment()
