"""Invitations that are used once, arrivals that say who may read them, e-mails in doubt.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("invitation", sa.Column("used_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("arrival", sa.Column("direct", sa.Boolean(), nullable=True))
    op.add_column(
        "delivery", sa.Column("in_doubt", sa.Integer(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    op.drop_column("delivery", "in_doubt")
    op.drop_column("arrival", "direct")
    op.drop_column("invitation", "used_at")
