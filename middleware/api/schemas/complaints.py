"""Complaints: what is sent in, and what is shown of one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from middleware.api.schemas.base import (
    Asked,
    ConnectionName,
    Moment,
    Page,
    RefShown,
    Short,
    Shown,
    When,
)
from middleware.api.schemas.claims import HeldShown
from middleware.api.schemas.priority import ClockShown, ScoreShown, StepShown
from middleware.domain.identity import EvidenceKind, Outcome
from middleware.domain.understanding import Band, CueKind, EntityType
from middleware.inlets.generic import EventAuthor, EventData, EventReach

MOST_IN_A_BATCH = 500


# --- what is sent in ---------------------------------------------------------------------------

SourceId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=180,
        pattern=r"^[^\s\x00-\x1f]([^\x00-\x1f]*[^\s\x00-\x1f])?$",
        examples=["m-1"],
    ),
]


class AuthorSent(Asked):
    """Who wrote it, as far as you know: `network` and one of native_id, handle, emails, phones."""

    network: Annotated[Short, Field(examples=["x"])]
    native_id: SourceId | None = None
    handle: Short | None = None
    display_name: Short | None = None
    emails: Annotated[list[Short], Field(max_length=20, default_factory=list)]
    phones: Annotated[list[Short], Field(max_length=20, default_factory=list)]
    external_ids: Annotated[dict[Short, Short], Field(max_length=20, default_factory=dict)]
    location: Short | None = None
    bio: Annotated[str, Field(max_length=2000)] | None = None
    url: Annotated[str, Field(max_length=2000)] | None = None
    followers: Annotated[int, Field(ge=0, le=10**12)] | None = None
    verified: bool | None = None


class ReachSent(Asked):
    """How far the message has gone until now. Send it again as edited with newer counts."""

    views: Annotated[int, Field(ge=0, lt=10**15)] | None = None
    likes: Annotated[int, Field(ge=0, lt=10**15)] | None = None
    shares: Annotated[int, Field(ge=0, lt=10**15)] | None = None
    replies: Annotated[int, Field(ge=0, lt=10**15)] | None = None


class MessageSent(Asked):
    """One message. `id` is unique in its connection and the same for its edits and deletion."""

    id: SourceId
    conversation: SourceId | None = None
    """Groups the messages of one issue; the message's own id where it is left out."""
    author: AuthorSent
    text: Annotated[str, Field(max_length=100_000)] | None = None
    language: Annotated[str, Field(pattern="^[a-z]{2}$")] | None = None
    posted_at: When | None = None
    url: Annotated[str, Field(max_length=2000)] | None = None
    brand_account: SourceId | None = None
    direct: bool | None = None
    """Whether only the company can read it. Where it is left out, a message with a `url` on a
    network that people write on in public counts as public."""
    order_numbers: Annotated[list[SourceId], Field(max_length=50, default_factory=list)]
    outgoing: bool = False
    internal: bool = False
    """A note that only your own people read: it answers nobody, and no customer gets to see it."""
    automatic: bool = False
    """A machine of yours wrote it, such as a greeting: customers read it, and it answers nobody."""
    status: Short | None = None
    in_reply_to: SourceId | None = None
    reach: ReachSent | None = None


class ComplaintSent(Asked):
    """One thing that happened at a source: the event of the generic inlet, and where it is from."""

    connection: ConnectionName = "api"
    """The connection that it belongs to; `api` for none in particular."""
    type: Literal["message.created", "message.edited", "message.deleted", "conversation.status"] = (
        "message.created"
    )
    timestamp: When
    """When it happened at the source: an older event never overwrites a newer one."""
    data: MessageSent


class ComplaintsSent(Asked):
    """Up to 500 events. Each is checked and accepted by itself."""

    complaints: Annotated[
        list[Any],
        Field(min_length=1, max_length=MOST_IN_A_BATCH),
        WithJsonSchema(
            {
                "type": "array",
                "minItems": 1,
                "maxItems": MOST_IN_A_BATCH,
                "items": {"$ref": "#/components/schemas/ComplaintSent"},
            }
        ),
    ]


class MessageEdited(Asked):
    """The new text of a message, as its source has it now."""

    text: Annotated[str, Field(min_length=1, max_length=100_000)]
    changed_at: When
    """When it was edited at the source."""


assert set(AuthorSent.model_fields) == set(EventAuthor.model_fields), "the generic inlet's form"
assert set(ReachSent.model_fields) == set(EventReach.model_fields), "the generic inlet's form"
assert set(MessageSent.model_fields) == set(EventData.model_fields), "the generic inlet's form"


# --- what is answered ----------------------------------------------------------------------------


class AcceptedShown(Shown):
    """What became of what was sent: it is stored, and is handled next."""

    delivery_id: Annotated[str, Field(examples=["inb_019c9d6f3a5e7c41b1d0a2f4c6e88a11"])]
    new: bool
    """False when the same was accepted before."""
    location: str
    """Where to see what it became."""


class BatchResult(Shown):
    """What became of one item of a batch."""

    index: int
    status: int
    """202 accepted, 200 accepted before, 4xx refused."""
    accepted: AcceptedShown | None
    problem: BatchProblem | None


class BatchProblem(Shown):
    """Why an item was refused."""

    code: str
    detail: str
    errors: list[BatchFieldProblem]


class BatchFieldProblem(Shown):
    pointer: str
    detail: str
    code: str


class BatchShown(Shown):
    results: list[BatchResult]
    accepted: int
    refused: int


class PlaceShown(Shown):
    """A part of a delivery that could not be read or was none of our business, and why."""

    place: str
    reason: str


class DeliveryShown(Shown):
    """A delivery in the inbox, and what became of it."""

    id: str
    connection: str
    trust: str
    """How we know who sent it: signature, token, api_key."""
    state: str
    """stored, handled, quarantined, ignored."""
    problems: list[PlaceShown]
    complaints: list[str]
    """The complaints that its messages went into."""
    received_at: Moment
    handled_at: Moment | None
    replays: int


# --- what is shown of a complaint ----------------------------------------------------------------


class ArrivalShown(Shown):
    """One message of a complaint, as last edited at its source."""

    source_id: str
    complaint_id: str
    """The complaint that it arrived in; another one where complaints were merged."""
    connection: str
    brand_account: str | None
    """Which account of the company it was written to."""
    outgoing: bool
    internal: bool
    """Whether it is a note that only our own people read."""
    automatic: bool
    """Whether a machine of ours wrote it: a greeting, a notice that something came in."""
    network: str | None
    handle: str | None
    display_name: str | None
    text: str
    """Empty once it was deleted at its source."""
    language: str | None
    url: str | None
    posted_at: Moment | None
    edited_at: Moment | None
    deleted_at: Moment | None
    received_at: Moment


class SpanShown(Shown):
    """Where in the text the evidence stands, in code points, and which cue it is."""

    start: int
    end: int
    cue: str


class AlternativeShown(Shown):
    """One of the likeliest answers and its probability."""

    value: str
    probability: float


class JudgementShown(Shown):
    """One thing that was judged. `unknown` is an answer."""

    value: str
    confidence: float
    evidence: list[SpanShown]
    band: Band | None
    """auto: right 97 times of 100 where it was measured; suggest: for a person to confirm; unsure:
    nothing is said. `null` where rules judged, which have no probabilities."""
    alternatives: list[AlternativeShown]
    """The two likeliest answers of a model, the likelier first."""


class CueShown(SpanShown):
    """A cue that warns, whatever the complaint is about."""

    kind: CueKind


class ShadowShown(Shown):
    """What a model that decides nothing yet would have said."""

    question: str
    value: str
    probability: float
    agrees: bool


class EntityShown(Shown):
    type: EntityType
    value: str
    confidence: float
    start: int
    end: int
    why: str


class UnderstandingShown(Shown):
    """What the text says, each judgement with its evidence. Spans count in `text`."""

    intent: JudgementShown
    sentiment: JudgementShown
    reason: JudgementShown
    severity: JudgementShown
    remedy: JudgementShown
    language: JudgementShown
    entities: list[EntityShown]
    cues: list[CueShown]
    shadow: list[ShadowShown]
    by: str
    """What judged: `rules/1`, a model's id, `corrected`."""
    degraded: bool
    """Whether the rules judged alone because the model could not be asked."""
    text: str
    """The text that was understood: the incoming messages, a line each."""


class EvidenceShown(Shown):
    """One reason for or against; `weight` is in bits and adds up."""

    kind: EvidenceKind
    detail: str
    weight: float
    basis: str
    compared: str | None
    """What was held against what, where `kind` does not say it."""
    rarity: float | None
    """How many records were to be expected to agree so by accident."""
    at: Moment | None
    """When it was so: when what is on file was last read from its source, when the text was
    written, when the word was given. Null where it isn't of a moment, and in what was stored before
    the hub kept it."""


class CandidateShown(Shown):
    """Somebody it may be: a person of the hub, or records that no person holds yet."""

    person_id: str | None
    refs: list[RefShown]
    score: float
    probability: float | None
    """Where only likeness speaks for it: how often such a score was right."""
    evidence: list[EvidenceShown]


class SourceShown(Shown):
    """What one remote contributed to an answer."""

    connection: str
    status: Literal["complete", "partial", "failed"]
    why: str | None


class ResolutionShown(Shown):
    """Who it may be, and the decision. `review` means a person should look."""

    outcome: Outcome
    why: str
    margin: float | None
    """Bits between the best and the next; `null` with one candidate or none."""
    candidates: list[CandidateShown]
    sources: list[SourceShown]
    decided_at: Moment | None
    version: str | None
    """Of the model and the thresholds that decided."""


class ReasonShown(Shown):
    what: str
    points: float


class RankedOrderShown(Shown):
    order: RefShown
    number: str | None
    score: float
    reasons: list[ReasonShown]


class RankedLineShown(Shown):
    order: RefShown
    line: str
    sku: str | None
    score: float
    reasons: list[ReasonShown]


class OrderMatchShown(Shown):
    """Which order is meant: the ranking with its reasons, and a choice where one stands out."""

    chosen: RefShown | None
    confidence: float
    why: str
    ranked: list[RankedOrderShown]
    lines: list[RankedLineShown]
    chosen_lines: list[str]
    warnings: list[str]


class ComplaintListed(Shown):
    """A complaint in a list."""

    id: Annotated[str, Field(examples=["cmp_019c9d6f3a5e7c41b1d0a2f4c6e88a21"])]
    connection: str
    conversation: str
    network: str
    state: str
    """open, closed, deleted."""
    merged_into: str | None
    """The complaint that this one was merged into; that one may be merged further."""
    incident_id: str | None
    """The pile-on that it is part of."""
    person_id: str | None
    order: RefShown | None
    """The order that is meant, where one stands out."""
    intent: str
    reason: str
    severity: str
    outcome: str
    """link, review, none; `unknown` until it was looked into."""
    priority: float | None
    """In points; the highest is the most urgent. `null` until it was scored."""
    due_at: Moment | None
    """When the first of the promises about it is due."""
    team: str | None
    brand_account: str | None
    opened_at: Moment
    updated_at: Moment


class MergeShown(Shown):
    """Two complaints held against each other: what was decided, by whom and why."""

    id: str
    main_id: str
    other_id: str
    state: Literal["merged", "suggested", "split", "settled"]
    """merged; suggested (may be one); split (a person said that they are two, and nothing merges
    them by itself again); settled (a suggestion that somebody followed)."""
    decided_by: str
    score: float | None
    """The sum of the reasons' points; `null` where a person decided."""
    reasons: list[ReasonShown]
    reason: str | None
    """A person's words."""
    at: Moment
    ended_by: str | None
    ended_reason: str | None
    ended_at: Moment | None


class MoveShown(Shown):
    """A move to another brand account or team."""

    id: str
    from_account: str | None
    to_account: str | None
    from_team: str | None
    to_team: str | None
    reason: str
    moved_by: str
    moved_at: Moment


class ComplaintShown(Shown):
    """One customer issue: what was written, what it means, who wrote it, which order is meant."""

    id: Annotated[str, Field(examples=["cmp_019c9d6f3a5e7c41b1d0a2f4c6e88a21"])]
    connection: str
    conversation: str
    network: str
    brand_account: str | None
    team: str | None
    """Who looks after it, where somebody said so."""
    state: str
    merged_into: str | None
    """The complaint that stands for the issue, where this was merged; ask for that one."""
    incident_id: str | None
    """The pile-on that it is part of, `GET /v1/incidents/{id}`."""
    merges: list[MergeShown]
    """What was merged into this one, or may be the same; and what was split off it."""
    moves: list[MoveShown]
    """From which brand accounts and teams it came here, oldest first."""
    identity_id: str | None
    person_id: str | None
    order: RefShown | None
    arrivals: list[ArrivalShown]
    """Of all complaints that are this issue, oldest first."""
    understanding: UnderstandingShown | None
    resolution: ResolutionShown | None
    order_match: OrderMatchShown | None
    actions: list[str]
    """Corrective actions for this issue, newest first."""
    priority: ScoreShown | None
    """How urgent it is and why; `null` until it was scored."""
    due_at: Moment | None
    clocks: list[ClockShown]
    escalations: list[StepShown]
    questions: list[str]
    """Open reviews: who is behind this issue?"""
    claims: list[HeldShown]
    """Who works on it."""
    opened_at: Moment
    updated_at: Moment
    version: int


class ComplaintPage(Page[ComplaintListed]):
    """One page of complaints, newest first."""
