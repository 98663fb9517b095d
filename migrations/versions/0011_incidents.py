"""Signals and their counts, incidents with their complaints and orders, hand-offs.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("complaint", sa.Column("incident_id", sa.String(), nullable=True))
    op.create_index("ix_complaint_incident_id", "complaint", ["incident_id"])
    op.create_table(
        "signal",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("bucket", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("complaint_id", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("reach", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["complaint_id"], ["complaint.id"]),
        sa.PrimaryKeyConstraint("key", "bucket", "complaint_id"),
    )
    op.create_index("ix_signal_complaint", "signal", ["complaint_id"])
    op.create_table(
        "signal_count",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("bucket", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("unread", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("key", "bucket"),
    )
    op.create_index(
        "ix_signal_count_unread",
        "signal_count",
        ["bucket"],
        sqlite_where=sa.text("unread = 1"),
        postgresql_where=sa.text("unread"),
    )
    op.create_table(
        "signal_past",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("folded", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Float(), nullable=False),
        sa.Column("season", JSON, nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "sketch",
        sa.Column("complaint_id", sa.String(), nullable=False),
        sa.Column("bucket", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("reach", sa.Integer(), nullable=False),
        sa.Column("sketch", sa.LargeBinary(), nullable=False),
        sa.Column("leader", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["complaint_id"], ["complaint.id"]),
        sa.PrimaryKeyConstraint("complaint_id"),
    )
    op.create_index(
        "ix_sketch_unread",
        "sketch",
        ["complaint_id"],
        sqlite_where=sa.text("leader is null"),
        postgresql_where=sa.text("leader is null"),
    )
    op.create_index("ix_sketch_leader", "sketch", ["leader", "bucket"])
    op.create_table(
        "incident",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("onset_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("over_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("found", sa.Integer(), nullable=False),
        sa.Column("expected", sa.Float(), nullable=False),
        sa.Column("surprise", sa.Float(), nullable=False),
        sa.Column("complaints", sa.Integer(), nullable=False),
        sa.Column("persons", sa.Integer(), nullable=False),
        sa.Column("reach", sa.BigInteger(), nullable=False),
        sa.Column("growth", sa.Integer(), nullable=False),
        sa.Column("told", sa.Integer(), nullable=False),
        sa.Column("proposed", JSON, nullable=True),
        sa.Column("affected_state", sa.String(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_incident_state", "incident", ["state", "id"])
    op.create_index("ix_incident_over", "incident", ["over_at"])
    op.create_table(
        "incident_key",
        sa.Column("incident_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("gives", sa.Boolean(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incident.id"]),
        sa.PrimaryKeyConstraint("incident_id", "key"),
    )
    op.create_index("ix_incident_key_key", "incident_key", ["key"])
    op.create_index(
        "ux_incident_key_live",
        "incident_key",
        ["key"],
        unique=True,
        sqlite_where=sa.text("live = 1"),
        postgresql_where=sa.text("live"),
    )
    op.create_table(
        "incident_member",
        sa.Column("incident_id", sa.String(), nullable=False),
        sa.Column("complaint_id", sa.String(), nullable=False),
        sa.Column("bucket", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("reach", sa.Integer(), nullable=False),
        sa.Column("put_by", sa.String(), nullable=True),
        sa.Column("out", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incident.id"]),
        sa.ForeignKeyConstraint(["complaint_id"], ["complaint.id"]),
        sa.PrimaryKeyConstraint("incident_id", "complaint_id"),
    )
    op.create_index("ix_incident_member_complaint", "incident_member", ["complaint_id"])
    op.create_index(
        "ix_incident_member_order",
        "incident_member",
        ["incident_id", "bucket", "complaint_id"],
    )
    op.create_table(
        "affected",
        sa.Column("incident_id", sa.String(), nullable=False),
        sa.Column("order_ref", sa.String(), nullable=False),
        sa.Column("lines", JSON, nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("complaint_id", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["incident_id"], ["incident.id"]),
        sa.PrimaryKeyConstraint("incident_id", "order_ref"),
    )
    op.create_table(
        "handoff",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("complaint_id", sa.String(), nullable=False),
        sa.Column("to", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("packet", JSON, nullable=False),
        sa.Column("made_by", sa.String(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["complaint_id"], ["complaint.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_handoff_complaint", "handoff", ["complaint_id", "id"])


def downgrade() -> None:
    for table in (
        "handoff",
        "affected",
        "incident_member",
        "incident_key",
        "incident",
        "sketch",
        "signal_past",
        "signal_count",
        "signal",
    ):
        op.drop_table(table)
    op.drop_index("ix_complaint_incident_id", "complaint")
    op.drop_column("complaint", "incident_id")
