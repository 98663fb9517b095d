"""Provisional persons, and those that expired.

Revision ID: 0015
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "person", sa.Column("provisional_until", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column("person", sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_person_provisional",
        "person",
        ["provisional_until"],
        sqlite_where=sa.text("provisional_until IS NOT NULL"),
        postgresql_where=sa.text("provisional_until IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_person_provisional", table_name="person")
    op.drop_column("person", "expired_at")
    op.drop_column("person", "provisional_until")
