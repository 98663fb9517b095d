"""Corrective actions inside a budget: policies, cooling-off, undo, invitations, money held.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "policy",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("body_hash", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    op.create_table(
        "signing_key",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("secret", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "invitation",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("action_id", sa.String(), nullable=False),
        sa.Column("complaint_id", sa.String(), nullable=True),
        sa.Column("person_id", sa.String(), nullable=True),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["action_id"], ["action.id"]),
        sa.ForeignKeyConstraint(["complaint_id"], ["complaint.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_invitation_action_id", "invitation", ["action_id"])

    op.add_column("action", sa.Column("role", sa.String(), nullable=True))
    op.add_column("action", sa.Column("customer", sa.String(), nullable=True))
    op.add_column("action", sa.Column("policy", JSON, nullable=True))
    op.add_column("action", sa.Column("not_before", MOMENT, nullable=True))
    op.add_column("action", sa.Column("undoes", sa.String(), nullable=True))
    op.add_column("action", sa.Column("undone_by", sa.String(), nullable=True))
    op.add_column("action", sa.Column("handed_over", JSON, nullable=True))
    op.create_index("ix_action_created", "action", ["created_at"])
    op.create_index("ix_action_customer", "action", ["customer", "id"])

    op.add_column("api_key", sa.Column("role", sa.String(), nullable=True))

    op.add_column(
        "line_hold", sa.Column("returned", sa.String(), nullable=False, server_default="0")
    )
    op.add_column("line_hold", sa.Column("amount", sa.String(), nullable=True))
    op.add_column("line_hold", sa.Column("currency", sa.String(), nullable=True))

    # A replacement is found beside the order that it replaces.
    origin = {"sqlite": "json_extract(body, '$.origin.{}')", "postgresql": "body->'origin'->>'{}'"}
    of = origin[op.get_bind().dialect.name]
    op.execute(
        f"update record set order_id = {of.format('id')} where kind = 'order'"  # noqa: S608
        f" and {of.format('kind')} = 'order' and {of.format('connection')} = connection"
    )


def downgrade() -> None:
    for column in ("currency", "amount", "returned"):
        op.drop_column("line_hold", column)
    op.drop_column("api_key", "role")
    op.drop_index("ix_action_customer", "action")
    op.drop_index("ix_action_created", "action")
    for column in (
        "handed_over",
        "undone_by",
        "undoes",
        "not_before",
        "policy",
        "customer",
        "role",
    ):
        op.drop_column("action", column)
    op.drop_table("invitation")
    op.drop_table("signing_key")
    op.drop_table("policy")
