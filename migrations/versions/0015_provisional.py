"""Provisional persons, and those that expired.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

INDEXES = {"provisional_until": "ix_person_provisional", "expired_at": "ix_person_expired"}


def upgrade() -> None:
    for column in INDEXES:
        op.add_column("person", sa.Column(column, sa.DateTime(timezone=True), nullable=True))
    for column, index in INDEXES.items():
        of_some = sa.text(f"{column} IS NOT NULL")
        op.create_index(index, "person", [column], sqlite_where=of_some, postgresql_where=of_some)


def downgrade() -> None:
    for column, index in INDEXES.items():
        op.drop_index(index, table_name="person")
        op.drop_column("person", column)
