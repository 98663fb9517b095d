"""The hub's tables. One class a table; columns say what a name cannot.

Times are aware and in UTC, on SQLite too. JSON columns hold what pydantic dumped in mode "json".
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlmodel import Field, SQLModel


class Moment(sa.types.TypeDecorator[datetime]):
    """An aware time in UTC: `timestamptz` on PostgreSQL, ISO text on SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored time needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""A number that the database gives; SQLite gives only what it calls an integer."""

_GIVEN = {"autoincrement": False}


def moment(*, null: bool = False, index: bool = False) -> Any:
    return Field(default=None if null else ..., sa_type=Moment, nullable=null, index=index)


def json(*, null: bool = False) -> Any:
    return Field(default=None if null else ..., sa_type=Json, nullable=null)


class ConnectionRow(SQLModel, table=True):
    """A connection as last declared in the configuration; deleted ones stay, to answer 410."""

    __tablename__ = "connection"

    name: str = Field(primary_key=True)
    adapter: str
    """The adapter's name, or `inlet:<source>` for one that only receives."""
    settings: dict[str, Any] = json()
    declared_at: datetime = moment()
    deleted_at: datetime | None = moment(null=True)
    health: dict[str, Any] | None = json(null=True)
    """The last check: its findings and when."""


class ConnectionStateRow(SQLModel, table=True):
    """Whether a connection is called at all; all replicas go by it. No row means `closed`."""

    __tablename__ = "connection_state"

    connection: str = Field(primary_key=True)
    state: str
    """closed (calls go through), resting (none until `until`), stopped (none until resumed)."""
    since: datetime = moment()
    until: datetime | None = moment(null=True)
    reason: dict[str, Any] | None = json(null=True)
    """What went wrong: message, code, operation; no secret, no personal data."""
    failures: int = 0
    """Failures in a row that mean that the system is down."""
    changed_by: str
    """`hub`, or who resumed it."""
    version: int = 1


class InboxRow(SQLModel, table=True):
    """An arrival's delivery, stored once and raw before anything is done with it."""

    __tablename__ = "inbox"
    __table_args__ = (
        sa.UniqueConstraint("connection", "message_id"),
        sa.Index("ix_inbox_state", "state", "received_at"),
    )

    id: str = Field(primary_key=True)
    connection: str
    message_id: str
    """The source's id of the delivery or message: what makes it the same one twice."""
    body_hash: str
    headers: dict[str, Any] = json()
    """Headers worth keeping; never credentials or signatures."""
    body: bytes
    trust: str
    """How we know who sent it: signature, token, api_key."""
    state: str
    """stored, handled, quarantined, ignored."""
    problem: dict[str, Any] | None = json(null=True)
    """Of a quarantined one: place and reason."""
    received_at: datetime = moment()
    handled_at: datetime | None = moment(null=True)
    replays: int = 0


class ComplaintRow(SQLModel, table=True):
    """One customer issue from one or more arrivals."""

    __tablename__ = "complaint"
    __table_args__ = (
        sa.UniqueConstraint("connection", "conversation"),
        sa.Index("ix_complaint_person", "person_id", "id"),
        sa.Index("ix_complaint_state", "state", "id"),
        sa.Index("ix_complaint_queue", "state", "priority", "id"),
        sa.Index("ix_complaint_brand_queue", "brand_account", "state", "priority", "id"),
        sa.Index("ix_complaint_team_queue", "team", "state", "priority", "id"),
        sa.Index("ix_complaint_rescore", "rescore_at"),
        sa.Index("ix_complaint_due", "due_at"),
        sa.Index("ix_complaint_opened", "opened_at"),
    )

    id: str = Field(primary_key=True)
    connection: str
    conversation: str
    """The source's thread or ticket: arrivals of one conversation are one issue."""
    network: str
    brand_account: str | None = None
    state: str
    """open, closed, deleted."""
    identity_id: str | None = Field(default=None, foreign_key="identity.id", index=True)
    person_id: str | None = Field(default=None, foreign_key="person.id")
    resolution: dict[str, Any] | None = json(null=True)
    """The last decision about who this is: outcome, candidates, reasons."""
    understanding: dict[str, Any] | None = json(null=True)
    order_match: dict[str, Any] | None = json(null=True)
    """Which order is meant: ranking with reasons, and the choice where there is one."""
    order_ref: str | None = None
    incident_id: str | None = Field(default=None, index=True)
    """The incident that it is part of; of several the first."""
    stale: bool = False
    """Whether arrivals have changed since it was last understood."""
    priority: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """Its score in thousandths of a point; the highest is to be dealt with first."""
    priority_terms: dict[str, Any] | None = json(null=True)
    """What the score is made of: version, at, score, inputs; see `flows.prioritise`."""
    due_at: datetime | None = moment(null=True)
    """When the first of its running clocks is due."""
    rescore_at: datetime | None = moment(null=True)
    """When its score is made anew, because time alone changes it or a rule book has changed."""
    team: str | None = None
    """Who looks after it, as a rule, an escalation or a person said."""
    status_changes: list[Any] | None = json(null=True)
    """How the conversation stood, by its source: pairs of a time and that source's word."""
    merged_into: str | None = Field(default=None, index=True)
    """The complaint that this one is the same issue as; that one may be merged further."""
    opened_at: datetime = moment()
    updated_at: datetime = moment()
    version: int = 1


class UnderstandingLabelRow(SQLModel, table=True):
    """What somebody says a complaint is really about. The text stays with its arrivals."""

    __tablename__ = "understanding_label"
    __table_args__ = (sa.Index("ix_understanding_label_complaint", "complaint_id", "id"),)

    id: str = Field(primary_key=True)
    complaint_id: str = Field(foreign_key="complaint.id")
    question: str
    """intent, sentiment, reason, remedy."""
    value: str
    was: str
    """What had been understood, `unknown` where nothing was."""
    judged_by: str
    said_by: str
    said_at: datetime = moment()


class UnderstandingHeadsRow(SQLModel, table=True):
    """Heads of the model that were fitted to labels; the newest of a model are in use."""

    __tablename__ = "understanding_heads"

    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    model: str
    """The model they belong to, by its hash: heads say nothing to another encoder."""
    data: bytes
    report: dict[str, Any] = json()
    """What they were fitted to, and how right they and the former ones were."""
    made_by: str
    made_at: datetime = moment()


class ArrivalRow(SQLModel, table=True):
    """One message of a complaint, as last edited at its source."""

    __tablename__ = "arrival"
    __table_args__ = (
        sa.UniqueConstraint("connection", "source_id"),
        sa.Index("ix_arrival_complaint", "complaint_id", "id"),
    )

    id: str = Field(primary_key=True)
    complaint_id: str = Field(foreign_key="complaint.id")
    inbox_id: str | None = Field(default=None, foreign_key="inbox.id")
    connection: str
    source_id: str
    brand_account: str | None = None
    """Which account of the company it was written to."""
    outgoing: bool = False
    direct: bool | None = None
    """Whether only the company could read it; None where its source did not say."""
    author: dict[str, Any] | None = json(null=True)
    text: str
    language: str | None = None
    url: str | None = None
    posted_at: datetime | None = moment(null=True)
    edited_at: datetime | None = moment(null=True)
    deleted_at: datetime | None = moment(null=True)
    received_at: datetime = moment()


class RulebookRow(SQLModel, table=True):
    """A version of the rule book. The highest one is in force; rows are never updated."""

    __tablename__ = "rulebook"

    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    body: dict[str, Any] = json()
    body_hash: str
    source: str
    """file, api or cli."""
    author: str
    reason: str | None = None
    created_at: datetime = moment()


class ReachRow(SQLModel, table=True):
    """What a source told of a message's reach at a time."""

    __tablename__ = "reach"

    complaint_id: str = Field(primary_key=True, foreign_key="complaint.id")
    at: datetime = Field(sa_type=Moment, primary_key=True)
    source_id: str = Field(primary_key=True)
    views: int | None = Field(default=None, sa_type=sa.BigInteger)
    engagement: int | None = Field(default=None, sa_type=sa.BigInteger)
    """Likes, shares and replies together."""


class SlaClockRow(SQLModel, table=True):
    """One promise about one complaint: what ran, until when, and whether it was kept."""

    __tablename__ = "sla_clock"
    __table_args__ = (
        sa.UniqueConstraint("complaint_id", "kind", "number"),
        sa.Index("ix_sla_clock_started", "started_at"),
    )

    id: str = Field(primary_key=True)
    complaint_id: str = Field(foreign_key="complaint.id")
    kind: str
    """first_response, next_response, resolution."""
    number: int
    state: str
    """running, paused, answered, closed (ended without what was promised), dropped (what it was
    about is gone)."""
    target: str
    """Its name in the rule book."""
    version: int
    """Of the rule book that it runs under."""
    promised_s: float
    """In working time."""
    used_s: float
    """Working time until it ended; while it runs, until it was last looked at."""
    started_at: datetime = moment()
    due_at: datetime | None = moment(null=True)
    """None while it is paused."""
    ended_at: datetime | None = moment(null=True)
    elapsed_s: float | None = None
    """Time on the wall from its start to its end."""
    channel: str
    brand: str | None = None
    team: str | None = None
    tier: str | None = None
    category: str | None = None


class EscalationRow(SQLModel, table=True):
    """A step that is taken when a clock has run for so long; the row sees to it that it is once."""

    __tablename__ = "escalation"
    __table_args__ = (
        sa.UniqueConstraint("clock_id", "step"),
        sa.Index("ix_escalation_due", "state", "due_at"),
        sa.Index("ix_escalation_complaint", "complaint_id"),
    )

    id: str = Field(primary_key=True)
    clock_id: str = Field(foreign_key="sla_clock.id")
    complaint_id: str = Field(foreign_key="complaint.id")
    step: str
    state: str
    """due, fired, cancelled."""
    due_at: datetime | None = moment(null=True)
    """None while its clock is paused."""
    fired_at: datetime | None = moment(null=True)
    late_s: float | None = None
    """How long after it was due it was taken."""
    points: float = 0.0
    """What it adds to the score while its clock runs."""
    detail: dict[str, Any] | None = json(null=True)
    """What was done: assigned, on_call, mailed (how many)."""


class SignalRow(SQLModel, table=True):
    """A complaint seen under one of its keys: what a burst of that key is made of."""

    __tablename__ = "signal"
    __table_args__ = (sa.Index("ix_signal_complaint", "complaint_id"),)

    key: str = Field(primary_key=True)
    """`kind:value`; see `middleware.domain.bursts`."""
    bucket: int = Field(primary_key=True, sa_type=sa.BigInteger, sa_column_kwargs=_GIVEN)
    """When it arrived, in buckets."""
    complaint_id: str = Field(primary_key=True, foreign_key="complaint.id")
    who: str
    """The person, else the identity, else the complaint: whom one voice is counted by."""
    reach: int = 0
    """How many follow them."""


class SignalCountRow(SQLModel, table=True):
    """How many complaints a key had in a bucket of time."""

    __tablename__ = "signal_count"
    __table_args__ = (
        sa.Index(
            "ix_signal_count_unread",
            "bucket",
            sqlite_where=sa.text("unread = 1"),
            postgresql_where=sa.text("unread"),
        ),
    )

    key: str = Field(primary_key=True)
    bucket: int = Field(primary_key=True, sa_type=sa.BigInteger, sa_column_kwargs=_GIVEN)
    count: int
    unread: bool = True
    """Whether it changed since bursts were last looked for."""


class SignalPastRow(SQLModel, table=True):
    """A key's past, as far as it is folded into its baseline; `all` keeps the week's profile."""

    __tablename__ = "signal_past"

    key: str = Field(primary_key=True)
    folded: int = Field(sa_type=sa.BigInteger)
    """The hour since 1970 up to which it is folded."""
    count: float
    season: dict[str, Any] | None = json(null=True)


class SketchRow(SQLModel, table=True):
    """What a complaint's words look like, where nothing more specific is known of it."""

    __tablename__ = "sketch"
    __table_args__ = (
        sa.Index(
            "ix_sketch_unread",
            "complaint_id",
            sqlite_where=sa.text("leader is null"),
            postgresql_where=sa.text("leader is null"),
        ),
        sa.Index("ix_sketch_leader", "leader", "bucket"),
    )

    complaint_id: str = Field(primary_key=True, foreign_key="complaint.id")
    bucket: int = Field(sa_type=sa.BigInteger)
    who: str
    reach: int = 0
    sketch: bytes
    leader: str | None = None
    """The first complaint that said the same; its own id for that one itself."""


class IncidentRow(SQLModel, table=True):
    """One pile-on: what complaints have in common, from when on, and what is done about it."""

    __tablename__ = "incident"
    __table_args__ = (
        sa.Index("ix_incident_state", "state", "id"),
        sa.Index("ix_incident_over", "over_at"),
    )

    id: str = Field(primary_key=True)
    state: str
    """open, confirmed, dismissed, closed."""
    key: str
    """What it is named by: the most specific key that covers it."""
    title: str
    onset_at: datetime = moment()
    """Since when it grows faster than usual."""
    opened_at: datetime = moment()
    last_at: datetime = moment()
    """When the last complaint of it arrived."""
    over_at: datetime | None = moment(null=True)
    """Since when it is ordinary again; None while it lasts."""
    found: int
    """Complaints in the window that opened it."""
    expected: float
    surprise: float
    complaints: int = 0
    persons: int = 0
    reach: int = Field(default=0, sa_type=sa.BigInteger)
    growth: int = 0
    """Complaints of the last hour less those of the hour before, when last looked at."""
    told: int = 0
    """How many complaints it had when its growth was last told."""
    proposed: dict[str, Any] | None = json(null=True)
    """The remedy that most of them ask for, and how that was found."""
    affected_state: str = "owed"
    """Whether everybody affected is listed: owed, listed, or capped."""
    decided_by: str | None = None
    decided_at: datetime | None = moment(null=True)
    reason: str | None = None
    updated_at: datetime = moment()
    version: int = 1


class IncidentKeyRow(SQLModel, table=True):
    """A key that an incident answers for; while it is live, no other incident opens for it."""

    __tablename__ = "incident_key"
    __table_args__ = (
        sa.Index(
            "ux_incident_key_live",
            "key",
            unique=True,
            sqlite_where=sa.text("live = 1"),
            postgresql_where=sa.text("live"),
        ),
        sa.Index("ix_incident_key_key", "key"),
    )

    incident_id: str = Field(primary_key=True, foreign_key="incident.id")
    key: str = Field(primary_key=True)
    gives: bool
    """Whether all its complaints belong to the incident; a wider one is only attached."""
    since: int = Field(sa_type=sa.BigInteger)
    """The bucket from which on."""
    live: bool = True


class IncidentMemberRow(SQLModel, table=True):
    """A complaint of an incident, or one that somebody took out of it."""

    __tablename__ = "incident_member"
    __table_args__ = (
        sa.Index("ix_incident_member_complaint", "complaint_id"),
        sa.Index("ix_incident_member_order", "incident_id", "bucket", "complaint_id"),
    )

    incident_id: str = Field(primary_key=True, foreign_key="incident.id")
    complaint_id: str = Field(primary_key=True, foreign_key="complaint.id")
    bucket: int = Field(sa_type=sa.BigInteger)
    who: str
    reach: int = 0
    put_by: str | None = None
    """Who put it in by hand, or took it out; None where a key did."""
    out: bool = False


class AffectedRow(SQLModel, table=True):
    """An order that an incident concerns, whether or not its customer has complained."""

    __tablename__ = "affected"

    incident_id: str = Field(primary_key=True, foreign_key="incident.id")
    order_ref: str = Field(primary_key=True)
    lines: list[Any] = json()
    """Ids of the lines that are concerned."""
    why: str
    """The key that it has, or `complaint`."""
    complaint_id: str | None = None
    """The complaint about it; None of somebody who is silent."""


class HandoffRow(SQLModel, table=True):
    """A complaint as it stood when it was handed to somebody else, readable until it expires."""

    __tablename__ = "handoff"
    __table_args__ = (sa.Index("ix_handoff_complaint", "complaint_id", "id"),)

    id: str = Field(primary_key=True)
    complaint_id: str = Field(foreign_key="complaint.id")
    to: str
    reason: str
    packet: dict[str, Any] = json()
    made_by: str
    made_at: datetime = moment()
    expires_at: datetime = moment()


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
    __table_args__ = (sa.Index("ix_handle_value", "network", "handle"),)

    id: str = Field(primary_key=True)
    identity_id: str = Field(foreign_key="identity.id", index=True)
    network: str
    handle: str
    display_name: str | None = None
    valid_from: datetime = moment()
    valid_to: datetime | None = moment(null=True)


class PersonRow(SQLModel, table=True):
    """The hub's stable customer; a merged one redirects and stays."""

    __tablename__ = "person"

    id: str = Field(primary_key=True)
    display_name: str | None = None
    redirect_to: str | None = Field(default=None, foreign_key="person.id", index=True)
    created_at: datetime = moment()


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
    """How it came to be: `agent`, or the id of the link, review or change that it was made with."""
    decided_by: str
    valid_from: datetime = moment()
    valid_to: datetime | None = moment(null=True)
    lifted_by: str | None = None
    lifted_reason: str | None = None
    version: int = 1


class PersonChangeRow(SQLModel, table=True):
    """A merge or a split of persons, or the undoing of one, with what it takes to undo it."""

    __tablename__ = "person_change"
    __table_args__ = (
        sa.Index("ix_person_change_person", "person_id", "id"),
        sa.Index("ix_person_change_other", "other_id", "id"),
    )

    id: str = Field(primary_key=True)
    kind: str
    """merge, split, undo."""
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


class RecordRow(SQLModel, table=True):
    """A canonical record as last read from its remote, with the columns that reads go by."""

    __tablename__ = "record"
    __table_args__ = (
        sa.Index("ix_record_account", "connection", "account_id", "kind", "sorted_at"),
        sa.Index("ix_record_contact", "connection", "contact_id", "kind", "sorted_at"),
        sa.Index("ix_record_order", "connection", "order_id", "kind"),
        sa.Index("ix_record_number", "number", "kind"),
    )

    connection: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    number: str | None = None
    account_id: str | None = None
    contact_id: str | None = None
    order_id: str | None = None
    sorted_at: datetime | None = moment(null=True)
    """What lists sort by, newest first: when an order was placed, a case opened."""
    body: dict[str, Any] = json()
    content_hash: str
    as_of: datetime = moment()
    deleted_at: datetime | None = moment(null=True)
    seen_by: str | None = None
    """The full run that last saw it; what the latest one did not see is gone."""


class RecordIdentifierRow(SQLModel, table=True):
    """An exact, normalised identifier that a record bears: e-mail, phone, handle, number."""

    __tablename__ = "record_identifier"
    __table_args__ = (sa.Index("ix_record_identifier_record", "connection", "kind", "id"),)

    scheme: str = Field(primary_key=True)
    """email, phone, handle:<network>, native:<network>, external:<system>, number."""
    value: str = Field(primary_key=True)
    connection: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    id: str = Field(primary_key=True)


class ArticleRow(SQLModel, table=True):
    """An article as a product, or a line of an order, last named it."""

    __tablename__ = "article"

    connection: str = Field(primary_key=True)
    sku: str = Field(primary_key=True)
    name: str
    """Empty where nothing has said it."""


class ArticleKeyRow(SQLModel, table=True):
    """What an article is found by in a text: `s:` and its number, `n:` and words of its name."""

    __tablename__ = "article_key"

    key: str = Field(primary_key=True)
    connection: str = Field(primary_key=True)
    sku: str = Field(primary_key=True)


class LikenessRow(SQLModel, table=True):
    """What a contact or account looks like, as far as it is compared with somebody who writes."""

    __tablename__ = "likeness"
    __table_args__ = (sa.UniqueConstraint("connection", "kind", "id"),)

    nid: int | None = Field(default=None, primary_key=True, sa_type=Number)
    """The record's short name in the index."""
    connection: str
    kind: str
    id: str
    profile: str
    """JSON of `middleware.resolution.profiles`."""
    keys: bytes
    """The keys that lead here, packed; what is taken away when the record changes."""
    names: bytes
    """The words of the name that are counted, packed."""


class BlockingKeyRow(SQLModel, table=True):
    """One of the hashed keys that lead to a record."""

    __tablename__ = "blocking_key"
    __table_args__ = ({"sqlite_with_rowid": False},)

    key: int = Field(primary_key=True, sa_type=sa.BigInteger, sa_column_kwargs=_GIVEN)
    nid: int = Field(primary_key=True, sa_type=sa.BigInteger, sa_column_kwargs=_GIVEN)


class NameCountRow(SQLModel, table=True):
    """How many records have a word in their name: how rare it is here."""

    __tablename__ = "name_count"

    key: int = Field(primary_key=True, sa_type=sa.BigInteger, sa_column_kwargs=_GIVEN)
    n: int = Field(sa_type=sa.BigInteger)


class QuarantineRow(SQLModel, table=True):
    """A remote record that could not be mapped, kept with place and reason until it can."""

    __tablename__ = "quarantine"

    connection: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    field: str
    reason: str
    place: str
    payload: dict[str, Any] = json()
    first_at: datetime = moment()
    last_at: datetime = moment()


class ActionRow(SQLModel, table=True):
    """A corrective action with a life of its own."""

    __tablename__ = "action"
    __table_args__ = (
        sa.Index("ix_action_person", "person_id", "id"),
        sa.Index("ix_action_complaint", "complaint_id", "id"),
        sa.Index("ix_action_due", "state", "due_at"),
        sa.Index("ix_action_customer", "customer", "id"),
        sa.Index("ix_action_created", "created_at"),
    )

    id: str = Field(primary_key=True)
    kind: str
    state: str
    complaint_id: str | None = Field(default=None, foreign_key="complaint.id")
    person_id: str | None = Field(default=None, foreign_key="person.id")
    order_ref: str | None = Field(default=None, index=True)
    request: dict[str, Any] = json()
    value: dict[str, Any] | None = json(null=True)
    """What it is worth at the original order's prices, where they are known."""
    requested_by: str
    role: str | None = None
    """The role of whoever asked, which limits go by."""
    customer: str | None = None
    """Whose it is: actions of one customer are carried out in the order they were asked for."""
    approval: dict[str, Any] | None = json(null=True)
    """Which rule asks for one; then who decided, when, and why."""
    policy: dict[str, Any] | None = json(null=True)
    """The verdict it was accepted under: version, rules, and what they went by."""
    not_before: datetime | None = moment(null=True)
    """The end of a cooling-off: until then nothing is sent and it can be called off."""
    undoes: str | None = None
    """The action that this one takes back."""
    undone_by: str | None = None
    """The action that takes this one back, once one does."""
    handed_over: dict[str, Any] | None = json(null=True)
    """Who took it out of the hub's hands, when and why."""
    pass_no: int = 0
    """Which run may still act on it; an older one that wakes up is refused."""
    due_at: datetime | None = moment(null=True)
    """When the next pass is expected to have started, while one is owed."""
    expires_at: datetime = moment()
    created_at: datetime = moment()
    updated_at: datetime = moment()
    version: int = 1


class ActionStepRow(SQLModel, table=True):
    """One write to one remote. Committed as `sending` before the call, it is the intent journal."""

    __tablename__ = "action_step"
    __table_args__ = (
        sa.UniqueConstraint("action_id", "position"),
        sa.Index("ix_action_step_state", "state", "connection"),
    )

    id: str = Field(primary_key=True)
    action_id: str = Field(foreign_key="action.id")
    position: int
    connection: str
    operation: str
    key: str = Field(unique=True)
    state: str
    wanted: dict[str, Any] = json()
    """What the plan says of it; the request is made of this when its turn comes."""
    request: dict[str, Any] | None = json(null=True)
    """The canonical request, written down with the first intent and never changed after."""
    attempts: int = 0
    sent_at: datetime | None = moment(null=True)
    """When the last send was announced; None while none ever was."""
    in_doubt: bool = False
    """True from an announced send until its outcome is known."""
    doubt_until: datetime | None = moment(null=True)
    """Until when an earlier send may still land, on a remote that merges it with a later one."""
    receipt: dict[str, Any] | None = json(null=True)
    error: dict[str, Any] | None = json(null=True)
    settled_at: datetime | None = moment(null=True)
    version: int = 1


class LineHoldRow(SQLModel, table=True):
    """How much of an order line's budget an action takes, while that action is alive or done."""

    __tablename__ = "line_hold"
    __table_args__ = (sa.Index("ix_line_hold_order", "order_ref", "line"),)

    action_id: str = Field(primary_key=True, foreign_key="action.id")
    order_ref: str
    line: str = Field(primary_key=True)
    """The line's id; empty for what is taken of the whole order, `shipping` for its shipping."""
    quantity: str
    """Pieces made good. A decimal as text, exact on both databases."""
    returned: str = "0"
    """Pieces taken back."""
    amount: str | None = None
    """Money or goods given for it, in the order's currency; None where no price is known."""
    currency: str | None = None
    released_at: datetime | None = moment(null=True)


class PolicyRow(SQLModel, table=True):
    """A version of the policy. The highest one is in force; rows are never updated."""

    __tablename__ = "policy"

    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    body: dict[str, Any] = json()
    body_hash: str
    source: str
    """file, api or cli."""
    author: str
    reason: str | None = None
    created_at: datetime = moment()


class InvitationRow(SQLModel, table=True):
    """A signed link to a private channel. The link itself is not kept."""

    __tablename__ = "invitation"

    id: str = Field(primary_key=True)
    action_id: str = Field(foreign_key="action.id", index=True)
    complaint_id: str | None = Field(default=None, foreign_key="complaint.id")
    person_id: str | None = None
    expires_at: datetime = moment()
    revoked_at: datetime | None = moment(null=True)
    used_at: datetime | None = moment(null=True)
    """When its link was followed, which ended it."""
    created_at: datetime = moment()


class SigningKeyRow(SQLModel, table=True):
    """A key that the hub signs its own tokens with, the same on all replicas."""

    __tablename__ = "signing_key"

    name: str = Field(primary_key=True)
    secret: str
    created_at: datetime = moment()


class IdempotencyRow(SQLModel, table=True):
    """A request under a client's key, and the answer it got, kept for a day."""

    __tablename__ = "idempotency"

    principal: str = Field(primary_key=True)
    route: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    body_hash: str
    status: int | None = None
    """None while the first request still runs."""
    answer: dict[str, Any] | None = json(null=True)
    location: str | None = None
    created_at: datetime = moment(index=True)


class ClaimRow(SQLModel, table=True):
    """A lease: on a customer issue, so that two teams do not solve it twice, or on a question."""

    __tablename__ = "claim"
    __table_args__ = (
        sa.Index("ix_claim_complaint", "complaint_id"),
        sa.Index("ix_claim_person", "person_id"),
        sa.Index("ix_claim_order", "order_ref"),
        sa.Index("ix_claim_expires", "expires_at"),
    )

    subject: str = Field(primary_key=True)
    """What is claimed, as `domain.claims.Subject` writes it; of a question, its id."""
    id: str | None = Field(default=None, unique=True)
    """None for the lease on a question."""
    kind: str = "review"
    """complaint, person, order, line; review for a question."""
    holder: str
    """The principal, and after a `/` the agent."""
    principal: str | None = None
    tool: str | None = None
    """Where the holder works: a connection, or what the tool calls itself."""
    note: str | None = None
    """What was promised, in the holder's words."""
    complaint_id: str | None = None
    person_id: str | None = None
    order_ref: str | None = None
    """Of a complaint: person and order as last understood; claims are found by these."""
    offered_to: str | None = None
    """The holder that it is to be handed over to, once they accept."""
    taken_at: datetime = moment()
    expires_at: datetime = moment()
    version: int = 1


class ComplaintMergeRow(SQLModel, table=True):
    """Two complaints that are one issue, or were, or may be.

    No foreign keys here nor in `complaint.merged_into`: checking one would wait for whoever works
    on the other complaint, who may wait for us.
    """

    __tablename__ = "complaint_merge"
    __table_args__ = (
        sa.Index("ix_complaint_merge_main", "main_id", "id"),
        sa.Index("ix_complaint_merge_other", "other_id", "id"),
    )

    id: str = Field(primary_key=True)
    main_id: str
    other_id: str
    """The one that was merged into the main one."""
    state: str
    """merged, suggested, split (a person's word: never again by itself), settled (a suggestion that
    somebody followed)."""
    decided_by: str
    score: float | None = None
    """Points of likeness; None where a person decided."""
    reasons: list[Any] = json()
    """What spoke for it and against: what and points. No text of anybody."""
    reason: str | None = None
    """A person's words."""
    at: datetime = moment()
    ended_by: str | None = None
    ended_reason: str | None = None
    ended_at: datetime | None = moment(null=True)


class GatheringKeyRow(SQLModel, table=True):
    """What complaints of one issue have in common: found by it without reading them all."""

    __tablename__ = "gathering_key"
    __table_args__ = (
        sa.Index("ix_gathering_key_complaint", "complaint_id"),
        sa.Index("ix_gathering_key_at", "at"),
    )

    key: str = Field(primary_key=True)
    """`url:`, `order:` and `text:` with a hash of it."""
    complaint_id: str = Field(primary_key=True)
    at: datetime = moment()


class ComplaintMoveRow(SQLModel, table=True):
    """A complaint that was handed to another brand account or team."""

    __tablename__ = "complaint_move"
    __table_args__ = (sa.Index("ix_complaint_move_complaint", "complaint_id", "id"),)

    id: str = Field(primary_key=True)
    complaint_id: str
    from_account: str | None = None
    to_account: str | None = None
    from_team: str | None = None
    to_team: str | None = None
    reason: str
    moved_by: str
    moved_at: datetime = moment()


class JobRow(SQLModel, table=True):
    """A scheduled job: when what is to be run. Declared in the configuration."""

    __tablename__ = "job"

    name: str = Field(primary_key=True)
    flow: str
    """sync or resolve."""
    arguments: dict[str, Any] = json()
    schedule: dict[str, Any] | None = json(null=True)
    """None for a job that runs after others and has no times of its own."""
    full: dict[str, Any] | None = json(null=True)
    """When everything is read anew; None means never by itself."""
    after: list[Any] | None = json(null=True)
    """The jobs that must have finished their run of a round before this one begins its own."""
    late_after: float | None = None
    """Seconds after a tick within which its run is expected to be done; None means the usual."""
    paused: bool = False
    last_tick: str | None = None
    """The latest tick that an ordinary run was owed for."""
    last_full: str | None = None
    """The latest tick that a full run was owed for."""
    counts_from: datetime | None = moment(null=True)
    """When it was last resumed: what was due before is not made up for."""
    declared_at: datetime = moment()
    deleted_at: datetime | None = moment(null=True)
    version: int = 1


class RunRow(SQLModel, table=True):
    """One execution of a job, and the proof of what it saw and stored."""

    __tablename__ = "run"
    __table_args__ = (sa.Index("ix_run_job", "job", "id"),)

    id: str = Field(primary_key=True)
    job: str
    tick: str
    state: str
    """held, queued, running, done, failed, or overtaken by another run of the same job."""
    mode: str = "changes"
    """changes, full (everything, then a sweep), or backfill (a window of the past)."""
    wanted: dict[str, Any] | None = json(null=True)
    """What was asked for beside the job's own arguments: since, until, kinds, most_deleted."""
    progress: dict[str, Any] | None = json(null=True)
    """Per kind: where a reading stands that goes by a cursor of its own; see `flows.rereading`."""
    waits: dict[str, Any] | None = json(null=True)
    """Of a run of a round: `for` what it waits, and the runs that it was released `upon`."""
    requested_by: str
    counts: dict[str, Any] = json()
    """Per kind: pages, seen, new, changed, unchanged, deleted, quarantined."""
    windows: dict[str, Any] | None = json(null=True)
    """Per kind: since, until, from, to, content, complete; see `flows.receipts`."""
    error: dict[str, Any] | None = json(null=True)
    queued_at: datetime = moment()
    started_at: datetime | None = moment(null=True)
    finished_at: datetime | None = moment(null=True)


class ReceiptRow(SQLModel, table=True):
    """What a run saw and stored, sealed and chained to the receipt before it. Never changed."""

    __tablename__ = "receipt"
    __table_args__ = (sa.UniqueConstraint("connection", "number"),)

    run_id: str = Field(primary_key=True, foreign_key="run.id")
    job: str = Field(index=True)
    connection: str
    number: int
    """Counts up within the connection, without a gap."""
    body: dict[str, Any] = json()
    digest: str
    """SHA-256 of the body as canonical JSON."""
    previous: str | None = None
    """The digest of the connection's receipt before this one; also in the body."""
    signature: str


class CursorRow(SQLModel, table=True):
    """Where a sync of one kind from one connection stopped; saved with the page it belongs to."""

    __tablename__ = "cursor"

    connection: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    value: str
    as_of: datetime = moment()
    run_id: str
    saved_at: datetime = moment()


class AlarmRow(SQLModel, table=True):
    """Something about the jobs that somebody should look at, from when to when."""

    __tablename__ = "alarm"

    type: str = Field(primary_key=True)
    """late, unscheduled, empty or sweep."""
    subject: str = Field(primary_key=True)
    """A job, or `connection:kind`."""
    detail: dict[str, Any] = json()
    raised_at: datetime = moment()
    cleared_at: datetime | None = moment(null=True)


class EventRow(SQLModel, table=True):
    """What we tell others. `seq` grows in commit order."""

    __tablename__ = "event"

    seq: int | None = Field(
        default=None,
        sa_column=sa.Column(
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
    )
    id: str = Field(unique=True)
    """`msg_…`: the webhook-id of Standard Webhooks."""
    type: str = Field(index=True)
    subject: str = Field(index=True)
    """The id of what it is about."""
    data: dict[str, Any] = json()
    at: datetime = moment()


class DeliveryRow(SQLModel, table=True):
    """One event on its way to one endpoint."""

    __tablename__ = "delivery"
    __table_args__ = (
        sa.UniqueConstraint("event_id", "endpoint"),
        sa.Index("ix_delivery_due", "state", "due_at"),
    )

    id: str = Field(primary_key=True)
    event_id: str = Field(foreign_key="event.id")
    endpoint: str
    state: str
    """waiting, delivered, failed."""
    attempts: int = 0
    due_at: datetime | None = moment(null=True)
    last_status: int | None = None
    last_error: str | None = None
    in_doubt: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """E-mails that were handed to a server whose answer is not known."""
    created_at: datetime = moment()
    finished_at: datetime | None = moment(null=True)


class EndpointRow(SQLModel, table=True):
    """Where events are delivered. Declared in the configuration; its secret is not here."""

    __tablename__ = "endpoint"

    name: str = Field(primary_key=True)
    url: str
    types: list[Any] = json()
    enabled: bool = True
    disabled_reason: str | None = None
    failing_since: datetime | None = moment(null=True)
    declared_at: datetime = moment()
    deleted_at: datetime | None = moment(null=True)


class AuditRow(SQLModel, table=True):
    """Who did what to what, written with the change itself. Rows are never updated."""

    __tablename__ = "audit"
    __table_args__ = (sa.Index("ix_audit_subject", "subject", "id"),)

    id: str = Field(primary_key=True)
    at: datetime = moment()
    actor: str
    action: str
    subject: str
    request_id: str | None = None
    detail: dict[str, Any] = json()
    """Ids and figures only: no personal data, no secrets."""


class ApiKeyRow(SQLModel, table=True):
    """An API key, of which only a hash is kept."""

    __tablename__ = "api_key"

    id: str = Field(primary_key=True)
    name: str
    secret_hash: str
    scopes: list[Any] = json()
    role: str | None = None
    """What its holder is to the policy: agent, lead, …; None is subject to the limits of all."""
    created_at: datetime = moment()
    expires_at: datetime | None = moment(null=True)
    revoked_at: datetime | None = moment(null=True)
    last_used_at: datetime | None = moment(null=True)


class NodeRow(SQLModel, table=True):
    """A worker's lease: a node that stops renewing it loses its work to the others."""

    __tablename__ = "node"

    id: str = Field(primary_key=True)
    seen_at: datetime = moment()
    started_at: datetime = moment()


TABLES = SQLModel.metadata
