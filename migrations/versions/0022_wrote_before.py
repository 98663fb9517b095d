"""What identities bear beside their handles, and handles whatever their network.

Revision ID: 0022
Revises: 0021
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identity_identifier",
        sa.Column("identity_id", sa.String(), nullable=False),
        sa.Column("scheme", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"]),
        sa.PrimaryKeyConstraint("identity_id", "scheme", "value"),
    )
    op.create_index("ix_identity_identifier_value", "identity_identifier", ["value", "scheme"])
    op.create_index("ix_handle_handle", "handle", ["handle"])


def downgrade() -> None:
    op.drop_index("ix_handle_handle", table_name="handle")
    op.drop_table("identity_identifier")
