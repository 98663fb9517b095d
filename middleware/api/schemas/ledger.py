"""The link ledger and the review queue: what is asked, and what is shown."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict, StringConstraints

from middleware.api.schemas.base import Asked, HubId, Moment, Page, RefText, Short, Shown
from middleware.api.schemas.complaints import CandidateShown
from middleware.api.schemas.people import LinkEvidenceShown, LinkShown
from middleware.domain.identity import Outcome
from middleware.domain.ledger import ChangeKind, Verdict
from middleware.flows.reviews import Said
from middleware.flows.weigh import Against

ThingText = Annotated[
    str,
    StringConstraints(
        pattern=r"^((per|idn)_[0-9A-Za-z]{1,64}"
        r"|[a-z0-9][a-z0-9_-]{0,62}:(contact|account):[^\x00-\x1f]{1,200})$"
    ),
    Field(
        description="A person (`per_…`), an identity (`idn_…`), or a contact or account "
        "(`connection:kind:id`).",
        examples=["crm:contact:003A1"],
    ),
]
ReasonText = Annotated[str, StringConstraints(min_length=3, max_length=1000)]
ThingShown = Annotated[str, Field(examples=["crm:contact:003A1"])]


# --- cannot-links -------------------------------------------------------------------------------


class CannotLinkWanted(Asked):
    """Two things that are not one customer, and how you know."""

    one: ThingText
    other: ThingText
    reason: ReasonText


class CannotLinkLifted(Asked):
    """Why two things may be one customer after all."""

    reason: ReasonText


class CannotLinkShown(Shown):
    """A person's word that two things are not one customer."""

    id: Annotated[str, Field(examples=["cnl_019c9d6f3a5e7c41b1d0a2f4c6e88a91"])]
    one: ThingShown
    other: ThingShown
    reason: str
    source: str
    """`agent`, or the link, review or change that it was made with."""
    decided_by: str
    valid_from: Moment
    valid_to: Moment | None
    lifted_by: str | None
    lifted_reason: str | None
    version: int


class CannotLinkPage(Page[CannotLinkShown]):
    """One page of cannot-links, oldest first."""


# --- merge and split ----------------------------------------------------------------------------


class MergeAsked(Asked):
    """Who is to go into the person of the path."""

    other_id: HubId


class MergeWanted(MergeAsked):
    """The same, with why."""

    reason: ReasonText
    preview_token: Annotated[str, StringConstraints(max_length=100)] | None = None
    """That of the preview: with it, nothing is done if something else would move by now."""


class SplitAskedBody(Asked):
    """What is to leave the person of the path for a new one."""

    identities: Annotated[list[HubId], Field(max_length=100, default_factory=list)]
    records: Annotated[list[RefText], Field(max_length=100, default_factory=list)]
    complaints: Annotated[list[HubId], Field(max_length=100, default_factory=list)]
    """Beside those that the identities wrote."""
    display_name: Short | None = None
    """The name of the new person."""


class SplitWanted(SplitAskedBody):
    """The same, with why."""

    reason: ReasonText
    preview_token: Annotated[str, StringConstraints(max_length=100)] | None = None
    """That of the preview: with it, nothing is done if something else would move by now."""


class ChangeUndone(Asked):
    """Why a merge or a split was wrong."""

    reason: ReasonText


class MovesShown(Shown):
    """What goes over to the other person."""

    identities: list[str]
    records: list[str]
    complaints: list[str]
    actions: list[str]
    open_actions: list[str]
    claims: list[str]


class ConflictShown(Shown):
    """Why it is refused."""

    kind: Literal["cannot_link", "unique_id", "duplicate"]
    detail: str
    things: list[ThingShown]


class ChangePreviewShown(Shown):
    """What a merge or a split would move, and what forbids it."""

    kind: Literal["merge", "split"]
    person_id: str
    other_id: str | None
    """Who would go into the first; `null` for the person that a split makes."""
    moves: MovesShown
    conflicts: list[ConflictShown]
    preview_token: str


class ChangeShown(Shown):
    """A merge, a split, the undoing of one; or how a provisional person stands from then on."""

    id: Annotated[str, Field(examples=["chg_019c9d6f3a5e7c41b1d0a2f4c6e88a92"])]
    kind: ChangeKind
    person_id: str
    """Who stayed, or was split."""
    other_id: str
    """Who was merged into the first, or split off it; of `settle`, `expire` and `return` the same
    as the first."""
    identities: list[str]
    records: list[str]
    complaints: list[str]
    actions: list[str]
    left_out: list[ThingShown]
    """Of an undoing, in its own answer: what somebody unlinked since, and stays so."""
    reason: str
    made_by: str
    made_at: Moment
    undoes: str | None
    undone_by: str | None
    undone_at: Moment | None


class ChangesShown(Shown):
    """All that was done to a person, oldest first."""

    data: list[ChangeShown]


# --- why ----------------------------------------------------------------------------------------


class SideShown(Shown):
    """One of the two, and whose it is."""

    thing: ThingShown
    person_id: str | None
    link: LinkShown | None
    ended: list[LinkShown]


class WhyDecisionShown(Shown):
    """What the hub decides about the author now."""

    outcome: Outcome
    why: str
    margin: float | None
    chosen: list[ThingShown]
    version: str | None


class WeighedShown(Shown):
    """What a run of resolution makes of two records by themselves; a run also counts how frequent
    their very values are, and sees the rest of their groups."""

    one: RefText
    other: RefText
    bits: float
    probability: float
    joins_from: float
    """The probability from which on a run joins two records."""
    against: Against | None
    """one_per_source, other_number, other_person, unlike (their names differ, and they share no
    id), doubtful (not sure enough); `null` where a run joins such a pair."""


class RulesShown(Shown):
    """The thresholds that decide."""

    enabled: bool
    link_from: float
    margin: float
    review_from: float
    inferred: bool
    """Whether likeness alone may link, on any network."""
    inferred_networks: list[str]
    """The networks where it may."""
    strangers: float
    """The share of those who write who are on file nowhere: a link by likeness reckons with it."""
    likeness: str
    """The version of the model of likeness."""
    blocked: str
    """A digest of the values that are nobody's (`links.blocked`); empty where none is."""
    version: str


class LabelShown(Shown):
    """What a person said of a pair."""

    one: ThingShown
    other: ThingShown
    verdict: Verdict
    source: str
    subject: str
    labelled_by: str
    labelled_at: Moment


class WhyShown(Shown):
    """Why two things are one customer, or why not."""

    says: str
    together: bool
    one: SideShown
    other: SideShown
    cannot_links: list[CannotLinkShown]
    evidence: list[LinkEvidenceShown]
    score: float | None
    """The sum of the evidence's weights in bits; `null` where there is nothing to compare."""
    decision: WhyDecisionShown | None
    weighed: WeighedShown | None
    """Where neither of the two is an identity: their likeliest records, whose the evidence is."""
    rules: RulesShown
    labels: list[LabelShown]


# --- reviews ------------------------------------------------------------------------------------


class TermsShown(Shown):
    """What the urgency is the product of."""

    reach: float
    severity: float
    uncertainty: float


class ReviewAnswerShown(Shown):
    """What was answered, and what it wrote."""

    said: Said
    candidate: int | None
    reason: str
    person: str | None
    link: str | None
    cannot_links: list[str]


class ReviewShown(Shown):
    """A question for a person: who is this?"""

    id: Annotated[str, Field(examples=["rvw_019c9d6f3a5e7c41b1d0a2f4c6e88a93"])]
    kind: Literal["review", "audit", "contradiction"]
    state: Literal["open", "answered", "settled"]
    identity_id: str | None
    complaint_id: str
    link_id: str | None
    candidates: list[CandidateShown]
    outcome: Outcome
    why: str
    version_decided: str | None
    """Of the model and thresholds that were not sure."""
    urgency: float
    terms: TermsShown
    claimed_by: str | None
    claimed_until: Moment | None
    answer: ReviewAnswerShown | None
    answered_by: str | None
    answered_at: Moment | None
    opened_at: Moment
    updated_at: Moment
    version: int


class ReviewPage(Page[ReviewShown]):
    """One page of questions, the most urgent first."""


class ReviewClaimed(Asked):
    """Who takes a question."""

    agent: Short | None = None
    """Who of those behind your key; without it, the key itself."""


class ReviewClaimShown(Shown):
    """A question that is somebody's for a while."""

    id: str
    holder: str
    taken_at: Moment
    expires_at: Moment


class ReviewAnswered(Asked):
    """Who it is: `this` candidate, `none` of these, or `unsure`."""

    said: Annotated[Said, Strict(False)]
    candidate: Annotated[int, Field(ge=0, le=9)] | None = None
    """Of `this`: which one, counted from 0."""
    reason: Annotated[str, StringConstraints(max_length=1000)] = ""
    agent: Short | None = None
    """Who of those behind your key answers."""


class BacktestAsked(Asked):
    """Thresholds to try; what is left out is as it is now."""

    link_from: Annotated[float, Field(ge=0, le=64, strict=False)] | None = None
    margin: Annotated[float, Field(ge=0, le=64, strict=False)] | None = None
    review_from: Annotated[float, Field(ge=0, le=64, strict=False)] | None = None
    enabled: bool | None = None
    after: Annotated[str, StringConstraints(max_length=100)] | None = None
    """`after` of the answer before: where a long past goes on."""


class DecisionDiffShown(Shown):
    """An author whom other thresholds would decide otherwise."""

    complaint_id: str
    identity_id: str | None
    was: Outcome
    would: Outcome
    things: list[ThingShown]
    why: str
    said: Verdict | None
    """What people said of the pair."""
    decided_under: str | None


class CheckedShown(Shown):
    """Links, held against what people said."""

    links: int
    right: int
    wrong: int
    precision: float | None


class ReviewBacktestShown(Shown):
    """What other thresholds would link and unlink. Nothing is written."""

    version: str
    decided: int
    reviews: int
    links: list[DecisionDiffShown]
    unlinks: list[DecisionDiffShown]
    was: CheckedShown
    would: CheckedShown
    after: str | None
    """Where to go on; `null` when the past is complete."""
