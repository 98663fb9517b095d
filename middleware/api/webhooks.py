"""The events that the hub delivers, described as webhooks of the API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header
from pydantic import Field, create_model

from middleware.api.schemas.base import Moment, RefShown, Shown
from middleware.api.schemas.operations import CauseShown
from middleware.contract.actions import Operation
from middleware.domain.actions import ActionState, StepState
from middleware.domain.claims import ClaimKind
from middleware.domain.ledger import Standing
from middleware.domain.understanding import TrainingState


class StepTold(Shown):
    """One write of an action."""

    connection: str
    operation: Operation
    state: StepState
    key: str
    number: str | None


class ActionTold(Shown):
    """An action, by ids, states and numbers; nobody's name."""

    id: str
    kind: Operation
    state: ActionState
    complaint_id: str | None
    person_id: str | None
    order: RefShown | None
    undoes: str | None
    """The action that it takes back."""
    undone_by: str | None
    """The action that takes it back."""
    steps: list[StepTold]


class InvitationTold(Shown):
    """An invitation that was used."""

    id: str
    action_id: str
    complaint_id: str


class ComplaintTold(Shown):
    """What was found out about a complaint."""

    id: str
    person_id: str | None
    provisional: bool
    """Whether nobody knows yet who that person is."""
    order: RefShown | None
    outcome: str
    intent: str
    reason: str
    severity: str


class AnswerTold(Shown):
    """One answer that somebody put right."""

    was: str
    """`unknown` where nothing had been said."""
    is_: Annotated[str, Field(alias="is")]


class CorrectionTold(Shown):
    """What somebody says a complaint is really about."""

    id: str
    changes: dict[Literal["intent", "sentiment", "reason", "remedy"], AnswerTold]


class LearnedTold(Shown):
    """What a training learned from."""

    corrections: int = 0
    sentences: int = 0
    left_out: int = 0


class TrainingTold(Shown):
    """A training of the model that ended."""

    id: str
    state: TrainingState
    again: int | None
    """The heads that were to be used again."""
    heads: int | None
    """The heads in use from now on."""
    learned_from: LearnedTold
    why: str | None
    """Why nothing came of it."""


class HandoffTold(Shown):
    """A hand-off that was made; what is in it is told to whoever opens it."""

    id: str
    complaint_id: str
    to: str
    made_by: str
    made_at: Moment
    expires_at: Moment


class PrioritisedTold(Shown):
    """How urgent a complaint is, and why."""

    id: str
    priority: float
    was: float | None
    """Before; `null` when it was scored for the first time."""
    reasons: list[str]
    """What raises it most."""
    due_at: Moment | None
    brand_account: str | None
    team: str | None
    on_call: str | None
    """Who is on call at that moment; `null` within the team's hours, or without a rota."""
    rulebook_version: int


class EscalatedTold(Shown):
    """A step that was taken because a promise was about to be broken, or was."""

    id: str
    step: str
    clock: str
    """first_response, next_response or resolution."""
    target: str
    due_at: Moment | None
    """When what was promised is due."""
    step_due_at: Moment
    late_s: float
    """How long after it was due the step was taken."""
    team: str | None
    was_team: str | None
    on_call: str | None
    raised: float
    """Points that it added to the priority."""
    rulebook_version: int


class ClaimTold(Shown):
    """A claim, by ids and holders; nobody's words but the reason for taking it by force."""

    id: str
    subject: str
    kind: ClaimKind
    holder: str
    offered_to: str | None
    """Who may accept it, where it is being handed over."""
    tool: str | None
    complaint_id: str | None
    person_id: str | None
    order: RefShown | None
    taken_at: Moment
    expires_at: Moment
    by: str | None
    """Who ended it or acted in spite of it."""
    reason: str | None
    previous: str | None
    """Who held it before, where it was handed over."""


class MergeTold(Shown):
    """Two complaints that are one issue, may be, or are not."""

    id: str
    """The complaint that was merged or split off, or may be the same."""
    main_id: str
    """The complaint that stands for the issue."""
    merge_id: str
    by: str
    score: float | None
    reasons: list[str]


class MoveTold(Shown):
    """A complaint that was handed to another brand account or team."""

    id: str
    move_id: str
    from_account: str | None
    to_account: str | None
    from_team: str | None
    to_team: str | None
    by: str


class LinkTold(Shown):
    """A link that was made or ended."""

    link_id: str
    person_id: str
    identity_id: str | None


class PersonChangeTold(Shown):
    """A merge, a split, or the undoing of one."""

    change_id: str
    person_id: str
    other_id: str
    undoes: str | None
    """The change that this one takes back."""
    identities: list[str]
    records: list[RefShown]
    complaints: list[str]


class StandingTold(Shown):
    """How well the hub knows a person from now on."""

    change_id: str
    person_id: str
    standing: Standing
    provisional_until: Moment | None
    identities: list[str]


class QuestionTold(Shown):
    """A question for a person, or its answer."""

    id: str
    kind: str
    complaint_id: str
    identity_id: str | None
    urgency: float
    said: str | None
    """this, none, unsure; `null` before it is answered."""
    person_id: str | None
    """Who it was said to be."""


class ReviewTold(Shown):
    """A complaint whose author a person should look at."""

    complaint_id: str
    why: str


class RunTold(Shown):
    """A run that ended."""

    id: str
    job: str
    state: str
    counts: dict[str, dict[str, int]]
    receipt: str | None = None
    """The hash of its receipt; a resolution has none."""
    gaps: int | None = None
    """How many gaps the receipt names."""


class EmptyRunTold(Shown):
    """A run that saw nothing of what it usually sees."""

    id: str
    job: str
    connection: str
    kinds: list[str]


class SweepRefusedTold(Shown):
    """A full run that would have marked too much as deleted, and marked nothing."""

    id: str
    job: str
    connection: str
    kind: str
    count: int
    """How many records it did not see."""
    of: int
    """How many there are."""
    why: str


class JobLateTold(Shown):
    """A job of which no run is done that should be."""

    job: str
    connection: str | None
    kinds: list[str]
    run: str | None
    """The run that is not done, if one was begun."""
    due: Moment
    why: str
    """not_started, held, queued, running, failed, overtaken or stopped."""


class UnscheduledTold(Shown):
    """A job that nothing ever runs, or a connection with kinds that no job syncs."""

    job: str | None
    connection: str | None
    kinds: list[str]
    run: str | None
    due: Moment | None
    why: str
    """schedule_unreadable, never_due, no_schedule, after_unknown, after_paused or no_job."""


class AlarmClearedTold(Shown):
    """An alarm about jobs that is over."""

    alarm: str
    """late, unscheduled, empty or sweep."""
    subject: str


class RecordsQuarantinedTold(Shown):
    """Records of one page that could not be mapped."""

    connection: str
    kind: str
    count: int


class DeliveryQuarantinedTold(Shown):
    """A delivery that could not be read."""

    id: str
    connection: str
    problems: list[dict[str, str]]


class IncidentTold(Shown):
    """A pile-on, in figures."""

    id: str
    state: str
    key: str
    """What its complaints have in common, such as `lot:L77`."""
    title: str
    onset_at: Moment
    complaints: int
    persons: int
    reach: int
    growth_per_hour: int
    expected: float
    """How many complaints the window that opened it would have had by its own past."""
    proposed: str | None
    """The remedy that is proposed for all of them."""


class ConnectionTold(Shown):
    """Whether calls go out to a remote, and why not."""

    connection: str
    state: str
    since: Moment
    until: Moment | None
    reason: CauseShown | None
    changed_by: str


ACTIONS = {
    "requested": "An action was accepted; it may wait for approval.",
    "waiting": "A remote did not answer, or asked to wait; the action goes on by itself.",
    "done": "Every step is done, with its receipt.",
    "refused": "A remote refused it; nothing happened anywhere.",
    "partial": "Some steps are done, a later one was refused: somebody must look.",
    "unknown": "It can't be found out whether a step happened: somebody must look.",
    "rejected": "It was not approved.",
    "expired": "It waited too long; nothing more will be sent.",
    "cancelled": "It was called off before anything was sent.",
    "resumed": "What was left of it is tried again.",
    "handed_over": "A person took it out of the hub's hands.",
    "duplicated": "A worker woke up from being frozen and made a step once more: keep one.",
    "undone": "Another action took it back, as far as it could be.",
}

CLAIMS = {
    "taken": "Somebody works on an issue, and has said so.",
    "renewed": "A claim was kept for longer.",
    "released": "A claim was given up.",
    "offered": "A claim is to go over to somebody else, who has not accepted it yet.",
    "handed_over": "A claim went over to somebody else.",
    "forced": "A claim was ended by somebody who took it by force: tell its holder.",
    "overridden": "Somebody acted on what another has claimed: tell its holder.",
    "expired": "A claim has run out.",
}

EVENTS: dict[str, tuple[type[Shown], str]] = {
    **{f"action.{state}": (ActionTold, text) for state, text in ACTIONS.items()},
    "complaint.enriched": (ComplaintTold, "A complaint was understood, and its author looked for."),
    "complaint.corrected": (CorrectionTold, "Somebody said what a complaint is really about."),
    "understanding.training.done": (
        TrainingTold,
        "The model was fitted to what people said, or went back to an earlier fit.",
    ),
    "understanding.training.refused": (TrainingTold, "A training would do harm: nothing changed."),
    "understanding.training.failed": (TrainingTold, "A training failed; the log says why."),
    "complaint.prioritised": (
        PrioritisedTold,
        "A complaint was scored for the first time, its score moved by half a point or more, or "
        "something else is due first.",
    ),
    "complaint.escalated": (
        EscalatedTold,
        "A step was taken because what was promised about a complaint is nearly or wholly late.",
    ),
    "complaint.merged": (MergeTold, "A complaint is the same issue as another one."),
    "complaint.merge_suggested": (MergeTold, "Two complaints may be one issue: look at them."),
    "complaint.split": (MergeTold, "A person said that a complaint is an issue of its own."),
    "complaint.moved": (MoveTold, "A complaint was handed to another brand account or team."),
    "invitation.followed": (
        InvitationTold,
        "A customer followed the link to a private channel, which ended it.",
    ),
    "handoff.made": (
        HandoffTold,
        "A complaint was frozen for whoever takes over: open it by its id until it expires.",
    ),
    **{f"claim.{what}": (ClaimTold, text) for what, text in CLAIMS.items()},
    "identity.linked": (LinkTold, "A person was linked to an identity or a record."),
    "identity.unlinked": (LinkTold, "A link was ended."),
    "identity.review_needed": (ReviewTold, "Somebody should say who this is."),
    "person.merged": (
        PersonChangeTold,
        "A person was merged into another, whose id it leads to now; or a split was undone.",
    ),
    "person.split": (
        PersonChangeTold,
        "Identities and records went over to a person of their own; or a merge was undone.",
    ),
    "person.settled": (
        StandingTold,
        "A provisional person is known; where their id leads to somebody else from now on, "
        "`person.merged` says so, too.",
    ),
    "person.expired": (
        StandingTold,
        "Nothing was heard of a provisional person for long, and nothing open hung on them.",
    ),
    "person.returned": (
        StandingTold,
        "The account of a provisional person that had expired wrote again: the same id holds.",
    ),
    "review.opened": (QuestionTold, "A question about who somebody is waits for a person."),
    "review.answered": (QuestionTold, "A person said who somebody is, or is not."),
    "sync.run.finished": (RunTold, "A run of a job ended."),
    "sync.run.empty": (
        EmptyRunTold,
        "A run saw no record of a kind of which every run before it saw some: look whether the "
        "connection still reads what it should.",
    ),
    "sync.sweep.refused": (
        SweepRefusedTold,
        "A full run did not see more of a kind's records than it may mark as deleted, so it marked "
        "none: look what the source shows, then run it again with a larger `most_deleted`.",
    ),
    "sync.job.late": (
        JobLateTold,
        "No run of a job is done that was due longer ago than it may take; told once until it is.",
    ),
    "sync.job.unscheduled": (
        UnscheduledTold,
        "Nothing will ever run a job, or no job syncs what a connection has; told once until it is "
        "mended.",
    ),
    "sync.alarm.cleared": (AlarmClearedTold, "An alarm about a job is over."),
    "mapping.record_quarantined": (RecordsQuarantinedTold, "Records could not be mapped."),
    "connection.resting": (
        ConnectionTold,
        "A remote does not answer, asked us to wait for long, or refused our login once: nothing "
        "is sent until the next try.",
    ),
    "connection.stopped": (
        ConnectionTold,
        "A remote refuses our login, or is another system than before: nothing is sent until "
        "somebody resumes the connection.",
    ),
    "connection.back": (ConnectionTold, "Calls go out to a remote again."),
    "incident.opened": (IncidentTold, "Complaints about one thing pile up: somebody should look."),
    "incident.confirmed": (
        IncidentTold,
        "Somebody said that a pile-on is one, and which remedy its customers are to get.",
    ),
    "incident.grown": (IncidentTold, "A pile-on is twice as large as when it was last told of."),
    "incident.closed": (
        IncidentTold,
        "A pile-on was dealt with or dismissed, or is over; its state says which.",
    ),
    "inbox.quarantined": (DeliveryQuarantinedTold, "A delivery could not be read."),
}
"""Every type of event: what its `data` holds, and what it tells."""

WebhookId = Annotated[
    str, Header(alias="webhook-id", description="The same for every attempt: what to dedupe by.")
]
WebhookTimestamp = Annotated[
    str, Header(alias="webhook-timestamp", description="Unix seconds of this attempt.")
]
WebhookSignature = Annotated[
    str,
    Header(
        alias="webhook-signature",
        description="`v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`; several by blanks.",
    ),
]


def install(app: FastAPI) -> None:
    """Document every event."""
    for type_, (data, text) in EVENTS.items():
        _install(app, type_, data, text)


def _install(app: FastAPI, type_: str, data: type[Shown], text: str) -> None:
    name = "".join(part.capitalize() for part in type_.replace("_", ".").split("."))
    fields: dict[str, Any] = {
        "type": (Literal[type_], ...),
        "timestamp": (Annotated[Moment, Field(description="When it happened.")], ...),
        "data": (data, ...),
    }
    body = create_model(f"{name}Event", __base__=Shown, __doc__=text, **fields)

    def webhook(
        event: Any,
        webhook_id: WebhookId,
        webhook_timestamp: WebhookTimestamp,
        webhook_signature: WebhookSignature,
    ) -> None:
        return None

    webhook.__name__ = "on_" + type_.replace(".", "_")
    webhook.__annotations__["event"] = body
    app.webhooks.post(
        type_,
        tags=["webhooks"],
        summary=text.rstrip("."),
        description=f"{text} Answer any 2xx within 15 seconds; it is repeated for three days "
        "otherwise. 410 ends the deliveries to an endpoint. A body over 20 kB has `data` "
        "`{id, too_large}` in place of the whole.",
        status_code=204,
        responses={
            204: {"description": "Taken."},
            410: {"description": "Deliver nothing more here."},
            422: {"description": "Not taken; it is repeated."},
        },
    )(webhook)
