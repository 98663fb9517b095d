"""Jobs that read everything anew, run after others and backfill; alarms; what a full run saw.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("record", sa.Column("seen_by", sa.String(), nullable=True))
    with op.batch_alter_table("job") as job:
        job.alter_column("schedule", existing_type=JSON, nullable=True)
        job.add_column(sa.Column("full", JSON, nullable=True))
        job.add_column(sa.Column("after", JSON, nullable=True))
        job.add_column(sa.Column("late_after", sa.Float(), nullable=True))
        job.add_column(sa.Column("last_full", sa.String(), nullable=True))
        job.add_column(sa.Column("counts_from", sa.DateTime(timezone=True), nullable=True))
    # Runs from the command line named their ticks so that they came after every later one.
    op.execute("update job set last_tick = null where last_tick like 'cli:%'")
    op.add_column("run", sa.Column("mode", sa.String(), nullable=False, server_default="changes"))
    op.add_column("run", sa.Column("wanted", JSON, nullable=True))
    op.add_column("run", sa.Column("progress", JSON, nullable=True))
    op.add_column("run", sa.Column("waits", JSON, nullable=True))
    op.create_table(
        "alarm",
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("detail", JSON, nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("type", "subject"),
    )


def downgrade() -> None:
    op.drop_table("alarm")
    for name in ("waits", "progress", "wanted", "mode"):
        op.drop_column("run", name)
    op.execute("delete from job where schedule is null or cast(schedule as text) = 'null'")
    with op.batch_alter_table("job") as job:
        for name in ("counts_from", "last_full", "late_after", "after", "full"):
            job.drop_column(name)
        job.alter_column("schedule", existing_type=JSON, nullable=False)
    op.drop_column("record", "seen_by")
