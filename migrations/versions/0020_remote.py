"""Which system a connection's records are of, and which one a cursor was read from.

Revision ID: 0020
Revises: 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "connection_remote",
        sa.Column("connection", sa.String(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("known_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("connection"),
    )
    with op.batch_alter_table("cursor") as batch:
        batch.add_column(sa.Column("remote", sa.String(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("cursor") as batch:
        batch.drop_column("remote")
    op.drop_table("connection_remote")
