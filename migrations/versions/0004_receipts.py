"""A receipt for every run of a sync; until when an earlier send of a step may still land.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column(
        "action_step", sa.Column("doubt_until", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column("run", sa.Column("windows", JSON, nullable=True))
    op.create_table(
        "receipt",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("connection", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("previous", sa.String(), nullable=True),
        sa.Column("signature", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"]),
        sa.PrimaryKeyConstraint("run_id"),
        sa.UniqueConstraint("connection", "number"),
    )
    op.create_index(op.f("ix_receipt_job"), "receipt", ["job"])


def downgrade() -> None:
    op.drop_index(op.f("ix_receipt_job"), "receipt")
    op.drop_table("receipt")
    op.drop_column("run", "windows")
    op.drop_column("action_step", "doubt_until")
