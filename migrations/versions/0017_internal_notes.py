"""Which messages are notes among colleagues, and which a machine wrote.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("internal", "automatic"):
        op.add_column(
            "arrival", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())
        )
    # The hub's own notes bear the key that they were written under. Of older notes by people
    # nothing says what they are.
    op.execute("UPDATE arrival SET internal = true WHERE outgoing AND text LIKE '%[amends:am-%'")


def downgrade() -> None:
    op.drop_column("arrival", "automatic")
    op.drop_column("arrival", "internal")
