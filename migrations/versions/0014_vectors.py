"""Vectors of texts, and what is typical of an incident.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "vector",
        sa.Column("complaint_id", sa.String(), nullable=False),
        sa.Column("bucket", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("reach", sa.Integer(), nullable=False),
        sa.Column("encoder", sa.String(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("unread", sa.Boolean(), nullable=False),
        sa.Column("centre", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["complaint_id"], ["complaint.id"]),
        sa.PrimaryKeyConstraint("complaint_id"),
    )
    op.create_index("ix_vector_bucket", "vector", ["bucket"])
    op.create_index(
        "ix_vector_unread",
        "vector",
        ["complaint_id"],
        sqlite_where=sa.text("unread = 1"),
        postgresql_where=sa.text("unread"),
    )
    op.add_column("incident", sa.Column("typical", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("incident", "typical")
    op.drop_table("vector")
