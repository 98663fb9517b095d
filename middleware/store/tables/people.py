"""Persons, their identities and links, and what people said of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from middleware.domain.ledger import Standing
from middleware.store.tables.columns import json, moment


class IdentityRow(SQLModel, table=True):
    """An account on a network. Its handles and names are dated attributes of it."""

    __tablename__ = "identity"
    __table_args__ = (sa.UniqueConstraint("network", "native_id"),)

    id: str = Field(primary_key=True)
    network: str
    native_id: str
    first_seen_at: datetime = moment()
    last_seen_at: datetime = moment()


class HandleRow(SQLModel, table=True):
    """What an identity was called, from when to when."""

    __tablename__ = "handle"
    __table_args__ = (
        sa.Index("ix_handle_value", "network", "handle"),
        sa.Index("ix_handle_handle", "handle"),
    )

    id: str = Field(primary_key=True)
    identity_id: str = Field(foreign_key="identity.id", index=True)
    network: str
    handle: str
    display_name: str | None = None
    valid_from: datetime = moment()
    valid_to: datetime | None = moment(null=True)


class IdentityIdentifierRow(SQLModel, table=True):
    """An address or a number that a source gave with an identity: by it the same customer is known
    when they write from elsewhere."""

    __tablename__ = "identity_identifier"
    __table_args__ = (sa.Index("ix_identity_identifier_value", "value", "scheme"),)

    identity_id: str = Field(primary_key=True, foreign_key="identity.id")
    scheme: str = Field(primary_key=True)
    """email or phone."""
    value: str = Field(primary_key=True)


class PersonRow(SQLModel, table=True):
    """The hub's stable customer; a merged one redirects and stays."""

    __tablename__ = "person"
    __table_args__ = (
        sa.Index(
            "ix_person_provisional",
            "provisional_until",
            sqlite_where=sa.text("provisional_until IS NOT NULL"),
            postgresql_where=sa.text("provisional_until IS NOT NULL"),
        ),
        sa.Index(
            "ix_person_expired",
            "expired_at",
            sqlite_where=sa.text("expired_at IS NOT NULL"),
            postgresql_where=sa.text("expired_at IS NOT NULL"),
        ),
    )

    id: str = Field(primary_key=True)
    display_name: str | None = None
    redirect_to: str | None = Field(default=None, foreign_key="person.id", index=True)
    created_at: datetime = moment()
    provisional_until: datetime | None = moment(null=True)
    """Of a provisional person: when they expire unless something is heard of them."""
    expired_at: datetime | None = moment(null=True)
    """Of one that expired: when. A settled person has neither."""

    @property
    def standing(self) -> Standing:
        if self.provisional_until is not None:
            return Standing.PROVISIONAL
        return Standing.SETTLED if self.expired_at is None else Standing.EXPIRED


class LinkRow(SQLModel, table=True):
    """A reversible assertion: this person is that identity, or that record."""

    __tablename__ = "link"
    __table_args__ = (
        sa.Index("ix_link_person", "person_id", "valid_to"),
        sa.Index("ix_link_identity", "identity_id", "valid_to"),
        sa.Index("ix_link_record", "record_id", "connection", "kind"),
    )

    id: str = Field(primary_key=True)
    person_id: str = Field(foreign_key="person.id")
    identity_id: str | None = Field(default=None, foreign_key="identity.id")
    connection: str | None = None
    kind: str | None = None
    record_id: str | None = None
    basis: str
    confidence: float
    evidence: list[Any] = json()
    decided_by: str
    valid_from: datetime = moment()
    valid_to: datetime | None = moment(null=True)
    revoked_by: str | None = None
    revoked_reason: str | None = None
    origin: str | None = Field(default=None, index=True)
    """The link that first said so, where a merge or a split carried it over to this person."""
    change_id: str | None = None
    """The merge or split that carried it over."""
    decided_under: str | None = None
    """The version of model and thresholds that decided; None where a person did."""
    stood: dict[str, Any] | None = json(null=True)
    """What stood on it when it was ended: ids only."""
    version: int = 1


class CannotLinkRow(SQLModel, table=True):
    """A person's word that two things are not one customer. It wins over every automatic path.

    A thing is a person's or an identity's id, or a record's `connection:kind:id`.
    """

    __tablename__ = "cannot_link"
    __table_args__ = (
        sa.Index("ix_cannot_link_one", "one", "valid_to"),
        sa.Index("ix_cannot_link_other", "other", "valid_to"),
    )

    id: str = Field(primary_key=True)
    one: str
    """The one that sorts first."""
    other: str
    reason: str
    source: str
    """How it came to be: `agent`, or the id of the link, review or change that it was made with, or
    of what was said of a record that its remote has merged into this one."""
    decided_by: str
    valid_from: datetime = moment()
    valid_to: datetime | None = moment(null=True)
    lifted_by: str | None = None
    lifted_reason: str | None = None
    version: int = 1


class PersonChangeRow(SQLModel, table=True):
    """A merge or a split of persons, or the undoing of one, with what it takes to undo it; or that
    a provisional person was settled, expired or came back: then `other_id` is the same one."""

    __tablename__ = "person_change"
    __table_args__ = (
        sa.Index("ix_person_change_person", "person_id", "id"),
        sa.Index("ix_person_change_other", "other_id", "id"),
    )

    id: str = Field(primary_key=True)
    kind: str
    """merge, split, undo; settle, expire, return."""
    person_id: str = Field(foreign_key="person.id")
    """Who it was done to: who stays after a merge, who was split."""
    other_id: str = Field(foreign_key="person.id")
    """Who was merged into the first, or split off it."""
    redirected: str | None = Field(default=None, index=True)
    """Whose id leads to the other one since: until it is undone."""
    moved: dict[str, Any] = json()
    """What went over: links (by the one that first said so), complaints, actions; cannot-links."""
    reason: str
    made_by: str
    made_at: datetime = moment()
    undoes: str | None = Field(default=None, foreign_key="person_change.id")
    undone_by: str | None = None
    undone_at: datetime | None = moment(null=True)


class ReviewRow(SQLModel, table=True):
    """A question for a person: who is this? With the candidates and what speaks for each."""

    __tablename__ = "review"
    __table_args__ = (
        sa.Index("ix_review_order", "state", "urgency", "id"),
        sa.Index(
            "ux_review_open",
            "subject",
            unique=True,
            sqlite_where=sa.text("state = 'open'"),
            postgresql_where=sa.text("state = 'open'"),
        ),
        sa.Index("ix_review_subject", "subject", "id"),
    )

    id: str = Field(primary_key=True)
    kind: str
    """review (nobody was sure), audit (a link that was made, looked at again)."""
    state: str
    """open, answered, settled (the question went away by itself)."""
    subject: str
    """The identity in question; the complaint where its source names no identity."""
    identity_id: str | None = Field(default=None, foreign_key="identity.id")
    complaint_id: str = Field(foreign_key="complaint.id")
    """The complaint that raised it last."""
    link_id: str | None = Field(default=None, foreign_key="link.id")
    """Of an audit: the link in question."""
    candidates: list[Any] = json()
    decision: dict[str, Any] = json()
    """Outcome, why, margin, version; without the candidate."""
    terms: dict[str, Any] = json()
    """What its urgency is made of: reach, severity, uncertainty."""
    urgency: int
    """The product of its terms in millionths; the highest is asked first."""
    fingerprint: str
    """Of the candidates and their evidence: the same question is not asked again."""
    answer: dict[str, Any] | None = json(null=True)
    answered_by: str | None = None
    answered_at: datetime | None = moment(null=True)
    opened_at: datetime = moment()
    updated_at: datetime = moment()
    version: int = 1


class LabelRow(SQLModel, table=True):
    """What a person said of a pair, for whoever trains or tests a model. References only."""

    __tablename__ = "label"
    __table_args__ = (sa.Index("ix_label_pair", "one", "other"),)

    id: str = Field(primary_key=True)
    one: str
    other: str
    verdict: str
    """same, different, unsure."""
    implied: bool = False
    """Whether it only follows from what was said, such as of those not chosen."""
    source: str
    """review, audit, link, unlink, cannot_link, merge, split, undo."""
    evidence: dict[str, Any] = json()
    """Bits by kind of evidence, as far as they were known; no detail."""
    score: float | None = None
    decided_under: str | None = None
    subject: str
    """The review, link, cannot-link or change that it came with."""
    labelled_by: str
    labelled_at: datetime = moment()


class ResolutionVersionRow(SQLModel, table=True):
    """What a version of model and thresholds is made of. Rows are never updated."""

    __tablename__ = "resolution_version"

    version: str = Field(primary_key=True)
    body: dict[str, Any] = json()
    first_at: datetime = moment()
