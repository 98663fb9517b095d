"""What every flow works with, put together once by `middleware.app`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr

from middleware.contract.canonical import Record
from middleware.domain.claims import ClaimOptions
from middleware.domain.gathering import GatheringRules
from middleware.domain.incidents import IncidentRules
from middleware.domain.likeness import FoundBy
from middleware.domain.policy import Policy, built_in
from middleware.domain.review import AUDIT_SHARE
from middleware.domain.rulebook import RuleBook
from middleware.domain.slots import CallHours
from middleware.domain.survivorship import UNIQUE_IDS
from middleware.flows.engine import Engine
from middleware.flows.gate import Gate, Limits
from middleware.flows.rush import Rush
from middleware.flows.seal import Seal, kept_key
from middleware.registry import Registry
from middleware.resolution.blocked import Blocked
from middleware.resolution.exact import AutoRules
from middleware.resolution.identifiers import CUSTOMER_NUMBER
from middleware.resolution.model import Model, shipped
from middleware.resolution.profiles import found_by
from middleware.store.database import Database
from middleware.understanding import Understands


@dataclass(frozen=True)
class InletOptions:
    """One connection that complaints arrive through."""

    source: str
    """Which inlet reads it: zendesk, chatwoot, freshdesk, zammad, meta, x, generic."""
    secrets: tuple[SecretStr, ...] = ()
    """Signing secrets or tokens; two while one is being replaced."""
    notes_to: str | None = None
    """The connection that writes notes on its conversations."""
    order_patterns: tuple[str, ...] = ()
    """How this company's order numbers look; see `middleware.understanding.patterns`."""
    bots: frozenset[str] = frozenset()
    """Who writes for us and is a machine: ids and names of its source, in small letters."""


@dataclass(frozen=True)
class EndpointOptions:
    """Where events are delivered."""

    url: str
    secrets: tuple[SecretStr, ...]
    """`whsec_…`; the first signs, further ones sign too while they are being replaced."""
    types: tuple[str, ...] = ("*",)
    on_premise: bool = False
    """Whether the address may be a private one."""


@dataclass(frozen=True)
class ResolveOptions:
    """How records are resolved against records."""

    workspace: Path = Path(".amends")
    """The folder of the file that a resolution works in."""
    model: Path | None = None
    """A model file; None means the one that comes with the hub."""
    threshold: float = 0.99
    """From this probability on a pair joins two records."""
    review_from: float = 0.5
    """From this probability on a pair is kept, for people to look at."""
    unique_ids: tuple[str, ...] = (CUSTOMER_NUMBER, *UNIQUE_IDS)
    """Systems in `external_ids` in which a customer has one number."""
    most_in_group: int = 50
    most_changes: int = 1000
    """A run that would change more links stops, unless `most_changed_share` of a run's links is
    more."""
    most_changed_share: float = 0.05
    memory: str = "2GB"
    """What the workspace takes of memory before it spills to disk."""
    engine: str = "duckdb"
    """duckdb, or spark for what does not fit a machine."""
    spark: Mapping[str, str] = field(default_factory=dict)
    """Spark's own configuration, such as `spark.master`."""


@dataclass(frozen=True)
class EmailOptions:
    """The mail server that escalation steps send through."""

    host: str
    sender: str
    port: int = 587
    security: str = "starttls"
    """starttls, tls or none."""
    username: str | None = None
    password: SecretStr | None = None


@dataclass(frozen=True)
class Options:
    """What the operator decides."""

    inlets: Mapping[str, InletOptions] = field(default_factory=dict)
    endpoints: Mapping[str, EndpointOptions] = field(default_factory=dict)
    policy: Policy = field(default_factory=built_in)
    """The configured policy; in force until one is stored."""
    rulebook: RuleBook = field(default_factory=RuleBook)
    """The configured rule book of the queue; in force until one is stored."""
    email: EmailOptions | None = None
    """None means that steps tell by event alone."""
    auto_link: AutoRules = field(default_factory=AutoRules)
    audit_share: float = AUDIT_SHARE
    """The part of the links made without a person that a person is asked about."""
    unique_ids: tuple[str, ...] = UNIQUE_IDS
    """External ids of which a customer has one: two persons with different ones never merge."""
    duplicate_free: tuple[str, ...] = ()
    """Connections that hold no customer twice: a person has one record of a kind of each."""
    provisional_kept: timedelta = timedelta(days=60)
    """How long a provisional person stays of whom nothing is heard."""
    survivorship: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Which source wins for which field, where it is not as `domain.survivorship` has it."""
    labels: Path | None = None
    """A file of the company's own sentences, which trainings learn from beside corrections."""
    likeness: Model = field(default_factory=shipped)
    """What a likeness is worth."""
    blocked: Blocked = field(default_factory=Blocked)
    """Values that are nobody's, and never evidence."""
    phone_regions: tuple[str, ...] = ()
    """Where the customers live: how phone numbers without a country are read."""
    cases_to: str | None = None
    """The connection that cases are opened in; None means the first that offers it."""
    orders_from: tuple[str, ...] = ()
    """The connections whose orders count where several hold the same one, the first first."""
    note_when_enriched: bool = True
    """Whether the conversation gets a note with what was found out."""
    claims: ClaimOptions = field(default_factory=ClaimOptions)
    """How long claims last."""
    gathering: GatheringRules = field(default_factory=GatheringRules)
    """When complaints are one issue."""
    incidents: IncidentRules = field(default_factory=IncidentRules)
    """When complaints about one thing are a pile-on, and what becomes of that."""
    call_hours: CallHours = field(default_factory=CallHours)
    """When customers are called, and in whose time zone times are told."""
    limits: Mapping[str, Limits] = field(default_factory=dict)
    """What may be asked of each connection at once and over time; `Limits()` for the others."""
    resolve: ResolveOptions = field(default_factory=ResolveOptions)
    secret_key: SecretStr | None = None
    """What the hub seals its tokens with; None means a key that the database keeps."""
    public_url: str | None = None
    """Where customers and helpdesks reach the hub, without a slash at the end."""
    preview_lifetime: timedelta = timedelta(minutes=15)
    """How long an action can be asked for by what its preview showed."""
    action_lifetime: timedelta = timedelta(hours=24)
    """How long an accepted action may wait for its remote."""
    read_deadline: timedelta = timedelta(seconds=3)
    """How long an answer to an agent waits for a remote."""
    recheck_after: timedelta = timedelta(minutes=2)
    """After how long an action that waited is looked at once more before anything is sent."""
    call_margin: timedelta = timedelta(seconds=90)
    """After how long a pass that was not heard of is owed anew; longer than any remote call."""
    finished_kept: timedelta = timedelta(days=2)
    """How long the engine's own rows of finished flows are kept."""


@dataclass(frozen=True)
class Asker:
    """Who asks, and under which of their idempotency keys."""

    principal: str
    request_id: str | None = None
    role: str | None = None
    """What the policy takes them for; None is subject to the limits of all roles."""
    key: str | None = None
    route: str = "POST /v1/actions"
    body_hash: str = ""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Hub:
    database: Database
    registry: Registry
    engine: Engine
    understands: Understands
    options: Options
    clock: Callable[[], datetime] = utc_now
    readers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=16, thread_name_prefix="reader")
    )
    """Threads that ask remotes for an answer somebody is waiting for."""
    rush: Rush = field(default_factory=Rush)
    """Whether deliveries rush in, so that handling them gives way to accepting them."""
    seal: Seal = field(init=False)
    """What tokens of the hub's own are sealed with."""
    gate: Gate = field(init=False)
    """What every call to a remote goes through."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "gate", Gate(self))
        object.__setattr__(self, "seal", Seal(self._signing_key))

    def found_by(self, record: Record) -> FoundBy:
        """What a record is stored with, as the operator has it read."""
        options = self.options
        return found_by(options.blocked.record(record), regions=options.phone_regions)

    def _signing_key(self) -> bytes:
        if self.options.secret_key is not None:
            return self.options.secret_key.get_secret_value().encode()
        return kept_key(self.database, now=self.clock())
