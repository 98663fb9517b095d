"""What the records of a kind were read by.

Revision ID: 0021
Revises: 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cursor", sa.Column("read_by", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("cursor", "read_by")
