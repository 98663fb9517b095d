"""Ticks of runs that the console asked for begin with their moment, as all do.

Revision ID: 0023
Revises: 0022
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, column in (("job", "last_tick"), ("run", "tick")):
        tick = sa.column(column, sa.String())
        table = sa.table(name, tick)
        begun = sa.update(table).where(tick.like("cli:%"))
        op.execute(begun.values({column: sa.func.substr(tick, 5)}))


def downgrade() -> None:
    """What a tick is called makes no difference to an older release."""
