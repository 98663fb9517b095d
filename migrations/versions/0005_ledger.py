"""The link ledger: cannot-links, merges and splits of persons, reviews and labels.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_index(op.f("ix_person_redirect_to"), "person", ["redirect_to"])
    op.create_table(
        "person_change",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("person_id", sa.String(), nullable=False),
        sa.Column("other_id", sa.String(), nullable=False),
        sa.Column("redirected", sa.String(), nullable=True),
        sa.Column("moved", JSON, nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("made_by", sa.String(), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("undoes", sa.String(), nullable=True),
        sa.Column("undone_by", sa.String(), nullable=True),
        sa.Column("undone_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"]),
        sa.ForeignKeyConstraint(["other_id"], ["person.id"]),
        sa.ForeignKeyConstraint(["undoes"], ["person_change.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_person_change_person", "person_change", ["person_id", "id"])
    op.create_index("ix_person_change_other", "person_change", ["other_id", "id"])
    op.create_index(op.f("ix_person_change_redirected"), "person_change", ["redirected"])
    op.add_column("link", sa.Column("origin", sa.String(), nullable=True))
    op.add_column("link", sa.Column("change_id", sa.String(), nullable=True))
    op.add_column("link", sa.Column("decided_under", sa.String(), nullable=True))
    op.add_column("link", sa.Column("stood", JSON, nullable=True))
    op.create_index(op.f("ix_link_origin"), "link", ["origin"])
    op.create_table(
        "cannot_link",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("one", sa.String(), nullable=False),
        sa.Column("other", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("valid_from", MOMENT, nullable=False),
        sa.Column("valid_to", MOMENT, nullable=True),
        sa.Column("lifted_by", sa.String(), nullable=True),
        sa.Column("lifted_reason", sa.String(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_cannot_link_one", "cannot_link", ["one", "valid_to"])
    op.create_index("ix_cannot_link_other", "cannot_link", ["other", "valid_to"])
    op.create_table(
        "review",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("identity_id", sa.String(), nullable=True),
        sa.Column("complaint_id", sa.String(), nullable=False),
        sa.Column("link_id", sa.String(), nullable=True),
        sa.Column("candidates", JSON, nullable=False),
        sa.Column("decision", JSON, nullable=False),
        sa.Column("terms", JSON, nullable=False),
        sa.Column("urgency", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("answer", JSON, nullable=True),
        sa.Column("answered_by", sa.String(), nullable=True),
        sa.Column("answered_at", MOMENT, nullable=True),
        sa.Column("opened_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"]),
        sa.ForeignKeyConstraint(["complaint_id"], ["complaint.id"]),
        sa.ForeignKeyConstraint(["link_id"], ["link.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_review_order", "review", ["state", "urgency", "id"])
    op.create_index("ix_review_subject", "review", ["subject", "id"])
    op.create_index(
        "ux_review_open",
        "review",
        ["subject"],
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "label",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("one", sa.String(), nullable=False),
        sa.Column("other", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("implied", sa.Boolean(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("evidence", JSON, nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("decided_under", sa.String(), nullable=True),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("labelled_by", sa.String(), nullable=False),
        sa.Column("labelled_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_label_pair", "label", ["one", "other"])
    op.create_table(
        "resolution_version",
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("first_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    _hold_apart_what_was_taken_apart()


def _hold_apart_what_was_taken_apart() -> None:
    """Links that people ended before there were cannot-links, unless they were made again."""
    link = sa.table(
        "link",
        *map(sa.column, ("id", "person_id", "identity_id", "connection", "kind", "record_id")),
        *map(sa.column, ("revoked_by", "revoked_reason")),
        sa.column("valid_to", MOMENT),
    )
    made = sa.table(
        "cannot_link",
        *map(sa.column, ("id", "one", "other", "reason", "source", "decided_by", "version")),
        sa.column("valid_from", MOMENT),
    )
    connection = op.get_bind()
    ended: dict[tuple[str, str], sa.Row[tuple[object, ...]]] = {}
    again = set()
    for row in connection.execute(sa.select(link).order_by(link.c.id)):
        thing = row.identity_id or f"{row.connection}:{row.kind}:{row.record_id}"
        one, other = sorted((thing, row.person_id))
        if row.valid_to is None:
            again.add((one, other))
        elif row.revoked_by is not None:
            ended[one, other] = row
    rows = [
        {
            "id": "cnl_" + row.id.removeprefix("lnk_"),
            "one": one,
            "other": other,
            "reason": row.revoked_reason or "unlinked",
            "source": row.id,
            "decided_by": row.revoked_by,
            "valid_from": row.valid_to,
            "version": 1,
        }
        for (one, other), row in ended.items()
        if (one, other) not in again
    ]
    if rows:
        connection.execute(sa.insert(made), rows)


def downgrade() -> None:
    for table in ("resolution_version", "label", "review", "cannot_link"):
        op.drop_table(table)
    op.drop_index(op.f("ix_link_origin"), "link")
    for column in ("stood", "decided_under", "change_id", "origin"):
        op.drop_column("link", column)
    op.drop_table("person_change")
    op.drop_index(op.f("ix_person_redirect_to"), "person")
