"""Claims on issues, complaints that are one issue, and moves to another brand account.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

CLAIMED = ("complaint_id", "person_id", "order_ref")


def upgrade() -> None:
    with op.batch_alter_table("claim") as claim:
        claim.add_column(sa.Column("id", sa.String(), nullable=True))
        # Until now only questions were claimed.
        claim.add_column(sa.Column("kind", sa.String(), nullable=False, server_default="review"))
        for name in ("principal", "tool", *CLAIMED, "offered_to"):
            claim.add_column(sa.Column(name, sa.String(), nullable=True))
        claim.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
        claim.create_unique_constraint("claim_id_key", ["id"])
    op.create_index("ix_claim_complaint", "claim", ["complaint_id"])
    op.create_index("ix_claim_person", "claim", ["person_id"])
    op.create_index("ix_claim_order", "claim", ["order_ref"])
    op.create_index("ix_claim_expires", "claim", ["expires_at"])
    op.add_column("complaint", sa.Column("merged_into", sa.String(), nullable=True))
    op.create_index("ix_complaint_merged_into", "complaint", ["merged_into"])
    op.add_column("arrival", sa.Column("brand_account", sa.String(), nullable=True))
    op.create_table(
        "complaint_merge",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("main_id", sa.String(), nullable=False),
        sa.Column("other_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("reasons", JSON, nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_by", sa.String(), nullable=True),
        sa.Column("ended_reason", sa.String(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_complaint_merge_main", "complaint_merge", ["main_id", "id"])
    op.create_index("ix_complaint_merge_other", "complaint_merge", ["other_id", "id"])
    op.create_table(
        "gathering_key",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("complaint_id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", "complaint_id"),
    )
    op.create_index("ix_gathering_key_complaint", "gathering_key", ["complaint_id"])
    op.create_index("ix_gathering_key_at", "gathering_key", ["at"])
    op.create_table(
        "complaint_move",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("complaint_id", sa.String(), nullable=False),
        sa.Column("from_account", sa.String(), nullable=True),
        sa.Column("to_account", sa.String(), nullable=True),
        sa.Column("from_team", sa.String(), nullable=True),
        sa.Column("to_team", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("moved_by", sa.String(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_complaint_move_complaint", "complaint_move", ["complaint_id", "id"])


def downgrade() -> None:
    for name in ("complaint_move", "gathering_key", "complaint_merge"):
        op.drop_table(name)
    op.drop_column("arrival", "brand_account")
    op.drop_index("ix_complaint_merged_into", "complaint")
    op.drop_column("complaint", "merged_into")
    op.execute("delete from claim where kind <> 'review'")
    for name in ("expires", "order", "person", "complaint"):
        op.drop_index(f"ix_claim_{name}", "claim")
    with op.batch_alter_table("claim") as claim:
        claim.drop_constraint("claim_id_key", type_="unique")
        for name in ("version", "offered_to", *reversed(CLAIMED), "tool", "principal", "kind"):
            claim.drop_column(name)
        claim.drop_column("id")
