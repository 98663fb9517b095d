"""What IT operators look at: connections, jobs, quarantine, events, keys, and the hub itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from middleware.api.schemas.base import Asked, Moment, Page, RefShown, Short, Shown, When
from middleware.contract.canonical import Kind

# --- connections -------------------------------------------------------------------------------


class FindingShown(Shown):
    """One result of a check: a permission, a field, a limit."""

    name: str
    ok: bool
    detail: str
    remedy: str


class CheckShown(Shown):
    """What the last check found, without changing anything in the remote."""

    ok: bool
    at: Moment
    took_ms: int
    findings: list[FindingShown]


class CauseShown(Shown):
    """Why nothing is sent to a remote, or less than was configured."""

    cause: Literal["down", "throttled", "refused", "another"]
    """It does not answer; it asked us to wait; it refused our login; another system answers than
    the one whose records the hub holds."""
    message: str
    code: str | None
    """The remote's own code, where it gave one."""
    operation: str | None
    """What was asked when it happened."""


class StandingShown(Shown):
    """Whether calls go out to a remote."""

    state: Literal["closed", "resting", "stopped"]
    """As of a circuit breaker: `closed` lets calls through, `resting` none until `until`,
    `stopped` none until somebody resumes it."""
    since: Moment | None
    """`null` while nothing ever happened."""
    until: Moment | None
    """While resting: when the next call tries whether it is back."""
    reason: CauseShown | None
    changed_by: str | None
    """`hub`, `configuration`, or who resumed it."""


class ConnectionShown(StandingShown):
    """One configured remote."""

    name: str
    adapter: str | None
    """The adapter that speaks to it; `null` for a connection that only receives."""
    inlet: str | None
    """The source whose deliveries it takes; `null` for one that takes none."""
    capabilities: list[str]
    """What it can do: `FindsContacts`, `ReadsOrders`, `CreatesReplacementOrders` …"""
    problem: str | None
    """Why it cannot be opened, where it cannot."""
    last_check: CheckShown | None
    declared_at: Moment


class ConnectionPage(Page[ConnectionShown]):
    """One page of connections, by name."""


class FreshnessShown(Shown):
    """Up to when records of one kind are known to be completely read."""

    kind: str
    as_of: Moment
    saved_at: Moment
    run_id: str


class HealthShown(StandingShown):
    """How a connection is: whether calls go out, its last check, and how fresh its records are."""

    name: str
    status: Literal["ok", "failing", "unchecked"]
    last_check: CheckShown | None
    synced: list[FreshnessShown]
    quarantined: int
    """Records of it that lie in quarantine (counted up to 1,000)."""


# --- jobs --------------------------------------------------------------------------------------


class RunShown(Shown):
    """One execution of a job, and the proof of what it saw and stored."""

    id: Annotated[str, Field(examples=["run_019c9d6f3a5e7c41b1d0a2f4c6e88a61"])]
    job: str
    tick: str
    mode: str
    """changes, full (everything, then what was not seen is marked as deleted), or backfill."""
    state: str
    """held (it waits for other jobs), queued, running, done, failed, overtaken (another run went
    on with what was left), stopped (a resolution that would have changed too much)."""
    wanted: dict[str, Any] | None
    """What it was narrowed to: kinds, most_deleted, since and until; of a resolution, how many
    links it may change (`allow_changes`)."""
    waits_for: dict[str, str]
    """Of a held run: the jobs that it waits for, or `schedule`, and why."""
    requested_by: str
    counts: dict[str, dict[str, int]]
    """Of a sync, per kind: pages, seen, new, changed, unchanged, deleted, quarantined. Of a
    resolution: step, records, weigh, pairs, groups, refused, planned, links."""
    error: dict[str, Any] | None
    queued_at: Moment
    started_at: Moment | None
    finished_at: Moment | None


class WindowShown(Shown):
    """What a run read of one kind."""

    since: Moment | None
    """As of when the reading before this one ended; `null` for the first."""
    until: Moment
    """As of when this one ended."""
    complete: bool
    """Whether the last page was read."""
    content: str
    """A hash over what the records read say, page by page."""


class GapShown(Shown):
    """Something that a run may have missed."""

    kind: str
    why: str
    """not_read, not_to_the_end, not_where_the_last_ended, read_anew, quarantined, sweep_refused,
    fewer_than_the_source, more_than_the_source or other_records_than_the_source."""
    count: int | None


class SourceShown(Shown):
    """What the source said that it has of a kind, beside what was stored right after."""

    count: int | None
    digest: str | None
    """A hash over the ids, where the source can say."""
    held: int | None
    kept_aside: int | None
    """How many lie in quarantine."""
    differs: int | None
    """How many more the source has. Not zero while it is being worked in."""
    agrees: bool | None
    failed: str | None
    """Why it could not be asked; the others are `null` then."""


class ReceiptShown(Shown):
    """What a run saw and stored, chained to the connection's receipt before it, and signed."""

    run: str
    number: int
    """Counts up within the connection, without a gap."""
    job: str
    connection: str
    mode: str
    state: str
    source: dict[str, SourceShown]
    """By kind; empty where the source counts nothing."""
    windows: dict[str, WindowShown]
    counts: dict[str, dict[str, int]]
    gaps: list[GapShown]
    """Empty: the run read on from where the last one stopped, to the end."""
    unusually_empty: list[str]
    """Kinds of which nothing was seen, while every run before saw some."""
    digest: str
    """SHA-256 of the sealed body."""
    previous: str | None
    signature: str
    intact: bool
    """Whether digest and signature still fit what is stored."""
    finished_at: Moment


class LinkPlanned(Shown):
    """A link that a resolution changed, or would have."""

    change: str
    """made, moved (to another person) or ended."""
    record: str
    person: str | None
    """Whose it becomes; `null` for a new person, and where it is ended."""
    was: str | None
    """Whose it was."""
    beside: list[str]
    """Records of the same customer, at most three."""


class KeptApart(Shown):
    """Two records that are alike and were not put together."""

    why: str
    """said_apart, one_per_source, other_number, other_person, too_large or bridge."""
    records: list[str]


class ReportShown(Shown):
    """What a resolution changed, or would have changed if it was stopped, and why."""

    run_id: str
    model: str
    """The fingerprint of the model."""
    counts: dict[str, dict[str, int]]
    """As of its plan; `planned` counts the links to be made, moved and ended."""
    changes: list[LinkPlanned]
    """At most twenty of each kind."""
    refused: list[KeptApart]
    """At most five for each reason."""


class RunPage(Page[RunShown]):
    """One page of runs, newest first."""


Kinds = Annotated[
    tuple[Annotated[Kind, Field(strict=False)], ...], Field(max_length=20, strict=False)
]


class FullWanted(Asked):
    """A full run: everything is read anew, and what is no longer there marked as deleted."""

    kinds: Kinds = ()
    """By default all of the job's."""
    most_deleted: Annotated[float, Field(ge=0, le=1)] | None = None
    """The share of a kind's records that may be found gone; by default the job's own."""


class BackfillWanted(Asked):
    """A window of the past, read again; the ordinary runs go on from where they are."""

    since: When
    until: When
    kinds: Kinds = ()
    """By default all of the job's."""


class AlarmShown(Shown):
    """Something about jobs that somebody should look at."""

    type: str
    """late, unscheduled, empty or sweep."""
    subject: str
    """A job, a connection, or `connection:kind`."""
    detail: dict[str, Any]
    raised_at: Moment


class JobShown(Shown):
    """A flow with a schedule."""

    name: str
    flow: str
    arguments: dict[str, Any]
    schedule: dict[str, Any] | None
    """`null` for a job that runs whenever those it runs after have run."""
    after: list[str]
    """The jobs whose run of a round must be done first."""
    full: dict[str, Any] | None
    """When everything is read anew."""
    paused: bool
    last_tick: str | None
    next_due: Moment | None
    """`null` while it is paused, and where it has no schedule of its own."""
    alarms: list[AlarmShown]
    """Those that are up about the job, its connection, or a kind of it."""
    last_run: RunShown | None
    declared_at: Moment
    version: int


class JobPage(Page[JobShown]):
    """One page of jobs, by name."""


# --- quarantine --------------------------------------------------------------------------------


class ProblemPlace(Shown):
    place: str
    reason: str


class QuarantinedDelivery(Shown):
    """A delivery that could not be read: stored raw, with the place and the reason."""

    id: str
    connection: str
    trust: str
    problems: list[ProblemPlace]
    bytes: int
    received_at: Moment
    quarantined_at: Moment | None
    replays: int


class QuarantinedDeliveryBody(QuarantinedDelivery):
    """The same with its body, for whoever mends it."""

    body: str
    """The body as text, undecodable bytes replaced."""
    truncated: bool


class QuarantinedDeliveryPage(Page[QuarantinedDelivery]):
    """One page of quarantined deliveries, newest first."""


class QuarantinedRecord(Shown):
    """A remote record that could not be mapped, with the rule's place and the reason."""

    ref: RefShown
    connection: str
    kind: str
    id: str
    field: str
    reason: str
    place: str
    """file:line:column of the mapping rule that refused it."""
    payload: dict[str, Any]
    first_at: Moment
    last_at: Moment


class QuarantinedRecordPage(Page[QuarantinedRecord]):
    """One page of quarantined records, by connection, kind and id."""


class ReplayedShown(Shown):
    """What came of a replay."""

    id: str
    state: Literal["queued", "stored", "quarantined"]
    problems: list[ProblemPlace]


# --- events ------------------------------------------------------------------------------------


class EventShown(Shown):
    """What the hub tells others. `id` is the webhook-id that its deliveries bear."""

    id: Annotated[str, Field(examples=["msg_019c9d6f3a5e7c41b1d0a2f4c6e88a71"])]
    type: Annotated[str, Field(examples=["action.done"])]
    subject: str
    timestamp: Moment
    data: dict[str, Any]


class EventFeed(Shown):
    """Events in order. `next_cursor` is where to go on, also when there is nothing new."""

    data: list[EventShown]
    next_cursor: str
    has_more: bool


# --- keys --------------------------------------------------------------------------------------

ScopeName = Literal[
    "complaints:read",
    "complaints:write",
    "people:read",
    "people:write",
    "links:write",
    "actions:read",
    "actions:create",
    "actions:approve",
    "connections:read",
    "connections:check",
    "jobs:read",
    "jobs:run",
    "events:read",
    "quarantine:read",
    "quarantine:write",
    "policy:read",
    "policy:write",
    "admin",
]


class KeyAsked(Asked):
    """A new key: who uses it, and what it may do."""

    name: Short
    scopes: Annotated[list[ScopeName], Field(min_length=1, max_length=18)]
    role: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")] | None = None
    """What its holder is to the policy, such as `lead`; without one, the limits of all apply."""
    expires_at: When | None = None


class KeyShown(Shown):
    """An API key without its secret part, which the hub does not have."""

    id: Annotated[str, Field(examples=["key_019c9d6f3a5e7c41b1d0a2f4c6e88a81"])]
    name: str
    scopes: list[str]
    role: str | None
    """What its holder is to the policy."""
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None
    last_used_at: Moment | None
    """Written down every five minutes at most."""


class KeyMade(Shown):
    """A new key. `secret` is shown here and nowhere else."""

    key: KeyShown
    secret: Annotated[str, Field(examples=["amends_live_019c9d…_Zm9v…"])]


class KeyPage(Page[KeyShown]):
    """One page of keys, oldest first."""


# --- the hub itself ----------------------------------------------------------------------------


class AliveShown(Shown):
    status: Literal["ok"]


class PartShown(Shown):
    """One thing that the hub needs."""

    name: str
    ok: bool
    detail: str


class ReadyShown(Shown):
    """Whether the hub can take work. Failing connections degrade it; they do not stop it."""

    status: Literal["ready", "degraded", "not_ready"]
    parts: list[PartShown]


class VersionShown(Shown):
    version: str
    api: Literal["v1"]
