"""The queue: scores, rule books with versions, SLA clocks, escalation steps, reach over time.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)
QUEUES = {
    "ix_complaint_queue": ["state", "priority", "id"],
    "ix_complaint_brand_queue": ["brand_account", "state", "priority", "id"],
    "ix_complaint_team_queue": ["team", "state", "priority", "id"],
    "ix_complaint_rescore": ["rescore_at"],
    "ix_complaint_due": ["due_at"],
    "ix_complaint_opened": ["opened_at"],
}


def upgrade() -> None:
    op.add_column(
        "complaint", sa.Column("priority", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column("complaint", sa.Column("priority_terms", JSON, nullable=True))
    op.add_column("complaint", sa.Column("due_at", MOMENT, nullable=True))
    op.add_column("complaint", sa.Column("rescore_at", MOMENT, nullable=True))
    op.add_column("complaint", sa.Column("team", sa.String(), nullable=True))
    op.add_column("complaint", sa.Column("status_changes", JSON, nullable=True))
    # What is open gets its score as soon as a worker is there.
    op.execute("update complaint set rescore_at = opened_at where state = 'open'")
    for name, columns in QUEUES.items():
        op.create_index(name, "complaint", columns)
    op.create_table(
        "rulebook",
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
        "reach",
        sa.Column("complaint_id", sa.String(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("views", sa.BigInteger(), nullable=True),
        sa.Column("engagement", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["complaint_id"], ["complaint.id"]),
        sa.PrimaryKeyConstraint("complaint_id", "at", "source_id"),
    )
    op.create_table(
        "sla_clock",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("complaint_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("promised_s", sa.Float(), nullable=False),
        sa.Column("used_s", sa.Float(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("elapsed_s", sa.Float(), nullable=True),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("brand", sa.String(), nullable=True),
        sa.Column("team", sa.String(), nullable=True),
        sa.Column("tier", sa.String(), nullable=True),
        sa.Column("category", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["complaint_id"], ["complaint.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("complaint_id", "kind", "number"),
    )
    op.create_index("ix_sla_clock_started", "sla_clock", ["started_at"])
    op.create_table(
        "escalation",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("clock_id", sa.String(), nullable=False),
        sa.Column("complaint_id", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("fired_at", MOMENT, nullable=True),
        sa.Column("late_s", sa.Float(), nullable=True),
        sa.Column("points", sa.Float(), nullable=False),
        sa.Column("detail", JSON, nullable=True),
        sa.ForeignKeyConstraint(["clock_id"], ["sla_clock.id"]),
        sa.ForeignKeyConstraint(["complaint_id"], ["complaint.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("clock_id", "step"),
    )
    op.create_index("ix_escalation_due", "escalation", ["state", "due_at"])
    op.create_index("ix_escalation_complaint", "escalation", ["complaint_id"])


def downgrade() -> None:
    for table in ("escalation", "sla_clock", "reach", "rulebook"):
        op.drop_table(table)
    for name in QUEUES:
        op.drop_index(name, "complaint")
    for name in ("status_changes", "team", "rescore_at", "due_at", "priority_terms", "priority"):
        op.drop_column("complaint", name)
