"""Typed settings, read from `amends.toml` and the environment by the composition root alone.

`AMENDS_CONFIG` names the file (default: `amends.toml` in the working directory, if it is there);
`AMENDS_*` variables override its top-level values. Secrets are written as references:
`env:NAME` or `file:PATH`; a secret in plain text is refused.
"""

from __future__ import annotations

import os
import re
import tomllib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from apscheduler.triggers.cron import CronTrigger
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from middleware.contract.canonical import Kind
from middleware.domain.blackouts import Once, span_at, window_of
from middleware.domain.bursts import BurstRules
from middleware.domain.claims import LEASE, LONGEST_LEASE
from middleware.domain.gathering import AUTO, SUGGEST
from middleware.domain.incidents import IncidentRules
from middleware.domain.schedules import weekdays_named
from middleware.domain.slots import CallHours
from middleware.domain.survivorship import RULES, WORDS

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _duration(value: Any) -> Any:
    """`30s`, `5m`, `24h`, `2d`; anything else is left to pydantic."""
    match = re.fullmatch(r"(\d+)\s*([smhd])", value) if isinstance(value, str) else None
    return timedelta(**{UNITS[match[2]]: int(match[1])}) if match else value


def _reference(value: str) -> str:
    scheme, _, rest = value.partition(":")
    if scheme not in ("env", "file") or not rest:
        raise ValueError("a secret is written as env:NAME or file:PATH, never in plain text")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
SecretRef = Annotated[str, AfterValidator(_reference)]


class SettingsError(Exception):
    """The configuration is wrong; the message says where and what to do."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class InletSettings(Section):
    """How complaints arrive through a connection."""

    source: Literal["zendesk", "chatwoot", "freshdesk", "zammad", "meta", "x", "generic"]
    secrets: list[SecretRef] = []
    """Signing secrets or tokens; two while one is being replaced."""
    notes_to: str | None = None
    """The connection that writes notes; by default this one, if its adapter can."""
    order_patterns: list[str] = []
    """How this company's order numbers look; see `middleware.understanding.patterns`."""
    bots: list[str] = []
    """Ids or names under which machines of yours write there: what they write answers nobody."""


class LimitSettings(Section):
    """What may be asked of a remote, and how patient the hub is with it."""

    calls_at_once: Annotated[int, Field(ge=1, le=1000)] = 8
    calls_per_second: Annotated[float, Field(gt=0, le=100_000)] | None = None
    calls_per_minute: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    failures: Annotated[int, Field(ge=1, le=1000)] = 5
    """After how many failures in a row the system counts as down."""
    rest: Duration = timedelta(seconds=5)
    """The first rest; each that follows without a success is twice as long."""
    longest_rest: Duration = timedelta(minutes=5)
    refused_logins: Annotated[int, Field(ge=1, le=10)] = 2
    """After how many refused logins in a row nothing is sent until a person resumes it."""
    login_pause: Duration = timedelta(seconds=30)
    """How long after a refused login the next one is tried."""

    @model_validator(mode="after")
    def _make_sense(self) -> LimitSettings:
        for name in ("rest", "longest_rest", "login_pause"):
            given: timedelta = getattr(self, name)
            if not timedelta(0) < given <= timedelta(days=1):
                raise ValueError(f"{name} is more than nothing and at most a day")
        if self.longest_rest < self.rest:
            raise ValueError("longest_rest is not shorter than rest")
        return self


class ConnectionSettings(Section):
    """One configured remote: an adapter, an inlet, or both."""

    adapter: str | None = None
    mappings: Path | None = None
    """The folder of its mapping files; by default `mappings/<adapter>`."""
    settings: dict[str, Any] = {}
    secrets: dict[str, SecretRef] = {}
    limits: LimitSettings = LimitSettings()
    inlet: InletSettings | None = None

    @model_validator(mode="after")
    def _does_something(self) -> ConnectionSettings:
        if self.adapter is None and self.inlet is None:
            raise ValueError("a connection needs an adapter, an inlet, or both")
        return self


class EndpointSettings(Section):
    """Where events are delivered."""

    url: str
    secrets: Annotated[list[SecretRef], Field(min_length=1)]
    types: list[str] = ["*"]
    on_premise: bool = False


class CalendarSettings(Section):
    """Every so many days, weeks, months or years, at a time of day."""

    days: Annotated[int, Field(ge=0, le=3660)] = 0
    weeks: Annotated[int, Field(ge=0, le=520)] = 0
    months: Annotated[int, Field(ge=0, le=120)] = 0
    years: Annotated[int, Field(ge=0, le=10)] = 0
    at: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "00:00"
    first: date | None = None
    """The first day, which the others are counted from; by default Monday, 1 January 2024."""

    @model_validator(mode="after")
    def _goes_on(self) -> CalendarSettings:
        if not (self.days or self.weeks or self.months or self.years):
            raise ValueError("a calendar counts days, weeks, months or years")
        if (self.months or self.years) and self.first is not None and self.first.day > 28:
            raise ValueError("months count from a day that all of them have: 1 to 28")
        return self


class ScheduleSettings(Section):
    """When a job is due: `every`, `cron` or `calendar`, in a time zone, outside its blackouts."""

    every: Duration | None = None
    cron: str | None = None
    calendar: CalendarSettings | None = None
    timezone: str = "UTC"
    blackouts: list[dict[str, str]] = []
    """`{days = "mon-fri", from = "08:00", to = "18:00"}`, or `{since = …, until = …}`."""
    in_blackout: Literal["wait", "skip"] = "wait"
    """What becomes of a tick in a blackout: it waits for the end, or is left out."""

    @model_validator(mode="after")
    def _one_of_them(self) -> ScheduleSettings:
        if [self.every, self.cron, self.calendar].count(None) != 2:
            raise ValueError("a schedule has either `every`, `cron` or `calendar`")
        if self.every is not None and self.every < timedelta(seconds=1):
            raise ValueError("a job is due every second at most")
        try:
            CronTrigger.from_crontab(weekdays_named(self.cron or "* * * * *"), self.timezone)
        except KeyError:
            raise ValueError(f"there is no time zone {self.timezone!r}") from None
        windows = [window_of(one, timezone=self.timezone) for one in self.blackouts]
        monday = datetime(2024, 1, 1, tzinfo=UTC)
        week = [monday + timedelta(hours=hours) for hours in range(8 * 24)]
        for moment in (*week, *(one.since for one in windows if isinstance(one, Once))):
            span_at(windows, moment)
        return self


class JobSettings(Section):
    """A scheduled sync of one connection, or a resolution of all records."""

    flow: Literal["sync", "resolve"] = "sync"
    connection: str | None = None
    kinds: list[Kind] = []
    not_synced: list[Kind] = []
    """Kinds of the connection that are left out on purpose, so that no alarm names them."""
    schedule: ScheduleSettings | None = None
    """None for a job that runs whenever those that it runs after have run."""
    after: list[str] = []
    """The jobs whose run of a round must be done before this one begins its own."""
    full: Duration | ScheduleSettings | None = None
    """When everything is read anew, and what is no longer there marked as deleted."""
    most_deleted: Annotated[float, Field(ge=0, le=1)] = 0.2
    """The share of a kind's records that one full run may find gone; above it deletes nothing."""
    count_source: bool = True
    """Whether each run asks the source how many records it has, where it can say."""
    late: Duration | None = None
    """How long after a tick its run is expected to be done; by default half an hour."""

    @model_validator(mode="after")
    def _is_run_by_something(self) -> JobSettings:
        if self.schedule is None and not self.after:
            raise ValueError("nothing would run it: it needs a `schedule`, or jobs to run `after`")
        if isinstance(self.full, timedelta) and self.full < timedelta(hours=1):
            raise ValueError("everything is read anew every hour at most")
        return self


class ResolveSettings(Section):
    """How records are resolved against records; see docs/resolution.md."""

    workspace: Path = Path(".amends")
    model: Path | None = None
    threshold: Annotated[float, Field(gt=0.5, lt=1)] = 0.99
    review_from: Annotated[float, Field(gt=0, lt=1)] = 0.5
    unique_ids: list[str] = ["customer_number"]
    """Systems in `external_ids` in which a customer has one number, besides `links.unique_ids`."""
    most_in_group: Annotated[int, Field(ge=2, le=1000)] = 50
    most_changes: Annotated[int, Field(ge=0)] = 1000
    most_changed_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    memory: Annotated[str, Field(pattern=r"^[1-9][0-9]*(MB|GB)$")] = "2GB"
    engine: Literal["duckdb", "spark"] = "duckdb"
    spark: dict[str, str] = {}

    @model_validator(mode="after")
    def _in_order(self) -> ResolveSettings:
        if self.review_from > self.threshold:
            raise ValueError("review_from is not more than threshold")
        return self


class PolicySettings(Section):
    """Which remedies go through: a policy file, or three settings in its place."""

    file: Path | None = None
    """A policy file (see docs/policy.md), relative to the folder of the settings."""
    approval_over: dict[str, Decimal] = {}
    approval_of_unpriced: bool = False
    approval_of_strangers: bool = True

    @model_validator(mode="after")
    def _one_of_both(self) -> PolicySettings:
        beside = sorted(self.model_fields_set - {"file"})
        if self.file is not None and beside:
            raise ValueError(
                f"`file` says all of the policy; write {', '.join(beside)} as rules of it"
            )
        return self


class PrioritySettings(Section):
    """What the queue of complaints goes by."""

    file: Path | None = None
    """A rule book (see docs/priority.md), relative to the folder of the settings; by default the
    shipped one."""


class EmailSettings(Section):
    """The mail server that escalation steps send through."""

    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    sender: Annotated[str, Field(pattern=r"^[^@\s,;<>]+@[^@\s,;<>]+$")]
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: SecretRef | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> EmailSettings:
        if (self.username is None) != (self.password is None):
            raise ValueError("a login has a username and a password")
        if self.username is not None and self.security == "none":
            raise ValueError("a password is not sent without starttls or tls")
        return self


class ActionSettings(Section):
    cases_to: str | None = None
    """The connection that cases are opened in; by default the first that offers it."""
    orders_from: list[str] = []
    """The connections whose orders count where several hold the same one."""
    lifetime: Duration = timedelta(hours=24)
    note_when_enriched: bool = True


class IncidentSettings(Section):
    """When complaints about one thing are a pile-on; see docs/incidents.md."""

    enabled: bool = True
    windows: list[Duration] = [
        timedelta(minutes=15),
        timedelta(hours=1),
        timedelta(hours=3),
        timedelta(hours=6),
    ]
    least_complaints: Annotated[int, Field(ge=2)] = 5
    least_persons: Annotated[int, Field(ge=2)] = 5
    least_ratio: Annotated[float, Field(gt=1)] = 3.0
    surprise: Annotated[float, Field(gt=0, le=50)] = 6.0
    """Zeros after the point of how improbable it must be."""
    ends_below: Annotated[float, Field(ge=0)] = 2.0
    quiet: Duration = timedelta(hours=1)
    variation: Annotated[float, Field(ge=0.05, le=2)] = 0.3
    close_after: Duration = timedelta(hours=24)
    silent_since: Duration = timedelta(days=60)
    most_affected: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    lot_fields: list[str] = ["lots", "lot", "batch"]
    warehouse_fields: list[str] = ["warehouse"]

    @model_validator(mode="after")
    def _makes_sense(self) -> IncidentSettings:
        self.rules()
        return self

    def rules(self) -> IncidentRules:
        """The same for the flows; raises ValueError for what contradicts itself."""
        given = self.model_dump()
        bursts = {name: given.pop(name) for name in BurstRules.model_fields if name in given}
        return IncidentRules.model_validate({**given, "bursts": bursts})


class CallHourSettings(Section):
    """When customers are called back; see docs/incidents.md."""

    timezone: str = "UTC"
    hours: list[dict[str, str]] = []
    """`{days = "mon-fri", from = "09:00", to = "17:00"}`."""
    slot: Duration = timedelta(minutes=30)
    notice: Duration = timedelta(hours=1)
    ahead: Duration = timedelta(days=5)
    offered: Annotated[int, Field(ge=1, le=20)] = 3
    at_once: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How many customers can be called at the same time."""

    @model_validator(mode="after")
    def _makes_sense(self) -> CallHourSettings:
        try:
            self.rules()
        except ZoneInfoNotFoundError:
            raise ValueError(f"there is no time zone {self.timezone!r}") from None
        return self

    def rules(self) -> CallHours:
        """The same for the flows; raises ValueError for what contradicts itself."""
        ZoneInfo(self.timezone)
        return CallHours.model_validate(self.model_dump())


def _region(text: str) -> str:
    """A country that telephones are numbered in; a wrong code would leave numbers unread."""
    code = text.strip().upper()
    if code not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f"{text!r} is no country's code, such as DE, or GB for the United Kingdom")
    return code


class BlockedSettings(Section):
    """Values that are nobody's: they are never evidence, whoever bears them."""

    emails: list[str] = []
    """Addresses, and `@example.com` for all of a domain."""
    phones: list[str] = []
    """With a country code, or as `phone_regions` have them: a switchboard's."""
    names: list[str] = []
    """Whole names, given names or family names: `Unknown Customer`, `n/a`."""
    handles: list[str] = []
    """Handles, or networks' own ids, on any network: the company's own."""
    ids: list[str] = []
    """Numbers and ids in any other system: `0`, `99999`."""


class LinkSettings(Section):
    """What may be linked without a person looking."""

    auto: bool = True
    inferred_networks: list[str] = []
    """Networks where even a link that was only inferred may be made; most forbid it."""
    strangers: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """The share of those who write who are on file nowhere: an inferred link reckons with it."""
    link_from: Annotated[float, Field(ge=0, le=64)] = 16.0
    """Bits of evidence that a link needs; docs/people.md says how to try others first."""
    margin: Annotated[float, Field(ge=0, le=64)] = 6.0
    """Bits that the best must be ahead of the next."""
    review_from: Annotated[float, Field(ge=0, le=64)] = 5.0
    """Bits from which a person is asked."""
    audit_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """The part of the links made without a person that a person is asked about."""
    unique_ids: list[str] = ["tax_id", "vat_id"]
    """External ids of which a customer has one."""
    duplicate_free: list[str] = []
    """Connections that hold no customer twice."""
    provisional_kept: Annotated[Duration, Field(ge=timedelta(days=1))] = timedelta(days=60)
    """How long a provisional person stays of whom nothing is heard: longer than goods may be sent
    back and a refund takes, so that a second message about one issue finds the same person."""
    survivorship: dict[str, list[str]] = {}
    """Which source wins for a field: erp, crm, verified, newest or a connection, best first."""
    model: Path | None = None
    """A model of likeness fitted to your own labels, relative to the folder of the settings."""
    blocked: BlockedSettings = BlockedSettings()

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> LinkSettings:
        if self.review_from > self.link_from:
            raise ValueError("review_from is not more than link_from")
        return self


class OwnModelSettings(Section):
    """A sequence classifier of your own, for one question."""

    path: Path
    """The folder with `config.json`, `*.safetensors` and the tokenizer."""
    labels: Annotated[dict[str, str], Field(min_length=1)]
    """Its label to ours, for each label that it has."""
    golden: Path
    """Sentences with their right answer, a CSV with `text` and `label`; checked at start."""
    golden_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.9
    shadow: bool = True
    """Whether it only runs beside: what it would have said is kept, and decides nothing."""
    max_length: Annotated[int, Field(ge=8, le=2048)] = 128
    auto: Annotated[float, Field(ge=0.5, le=1)] = 0.95
    """The probability from which its answer needs nobody to look."""
    suggest: Annotated[float, Field(ge=0, le=1)] = 0.5


class UnderstandingSettings(Section):
    """How texts are understood; see docs/understanding.md."""

    model: Path | None = None
    """A folder that `amends train` wrote; by default the model that comes with the hub."""
    rules_only: bool = False
    """Whether no model is asked at all."""
    multilingual: bool = False
    """Whether texts in other languages are judged by a model too; needs the extra of that name."""
    labels: Path | None = None
    """A file of your own sentences per class, which trainings learn from beside corrections."""
    batch: Annotated[int, Field(ge=1, le=256)] = 16
    queue: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    """Texts that may wait for the model; one more is judged by the rules."""
    timeout: Duration = timedelta(seconds=2)
    """How long a text waits for the model before the rules judge it."""
    own: dict[Literal["intent", "sentiment", "reason", "remedy"], OwnModelSettings] = {}

    @model_validator(mode="after")
    def _make_sense(self) -> UnderstandingSettings:
        if not timedelta(0) < self.timeout <= timedelta(minutes=10):
            raise ValueError("timeout is more than nothing and at most ten minutes")
        if self.rules_only and (self.model or self.own or self.multilingual):
            raise ValueError(
                "rules_only asks no model: leave out `model`, `own` and `multilingual`, or"
                " rules_only"
            )
        return self


class ClaimSettings(Section):
    """How long somebody who works on an issue keeps it to themselves."""

    lease: Annotated[Duration, Field(gt=timedelta(0))] = LEASE
    longest: Annotated[Duration, Field(gt=timedelta(0))] = LONGEST_LEASE

    @model_validator(mode="after")
    def _in_order(self) -> ClaimSettings:
        if self.lease > self.longest:
            raise ValueError("lease is not longer than longest")
        return self


class GatheringSettings(Section):
    """When complaints from several channels and tools are one."""

    enabled: bool = True
    window: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(days=60))] = timedelta(days=7)
    """How far apart two complaints may be told and still be one issue."""
    auto_from: Annotated[float, Field(gt=0, le=100)] = AUTO
    """Points from which two complaints of one person are one; docs/coordination.md has them."""
    suggest_from: Annotated[float, Field(gt=0, le=100)] = SUGGEST
    """Points from which a person is told that they may be one."""

    @model_validator(mode="after")
    def _in_order(self) -> GatheringSettings:
        if self.suggest_from > self.auto_from:
            raise ValueError("suggest_from is not more than auto_from")
        return self


class _Environment(EnvSettingsSource):
    """The environment, where a secret stands itself: what is kept is where it stands."""

    def __call__(self) -> dict[str, Any]:
        found = super().__call__()
        secret = found.get("secret_key")
        if isinstance(secret, str) and not secret.startswith(("env:", "file:")):
            found["secret_key"] = "env:AMENDS_SECRET_KEY"  # noqa: S105 - where it stands
        return found


class Settings(BaseSettings):
    """Everything an operator decides."""

    model_config = SettingsConfigDict(env_prefix="AMENDS_", extra="forbid")

    database_url: str = "sqlite:///amends.db"
    listen: str = "127.0.0.1:8080"
    public_url: str = ""
    """The address that others reach the hub by, for the API's description."""
    secret_key: SecretRef | None = None
    """Signs what the hub hands out and takes back, such as page cursors."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    read_deadline: Duration = timedelta(seconds=3)
    lease: Duration = timedelta(seconds=15)
    phone_regions: list[Annotated[str, AfterValidator(_region)]] = []
    """Where the customers live (ISO 3166-1 alpha-2): how numbers without a country are read."""
    requests_per_minute: Annotated[int, Field(gt=0)] = 1200
    """How many requests one API key may make."""
    connections: dict[str, ConnectionSettings] = {}
    endpoints: dict[str, EndpointSettings] = {}
    jobs: dict[str, JobSettings] = {}
    policy: PolicySettings = PolicySettings()
    priority: PrioritySettings = PrioritySettings()
    email: EmailSettings | None = None
    actions: ActionSettings = ActionSettings()
    links: LinkSettings = LinkSettings()
    claims: ClaimSettings = ClaimSettings()
    gathering: GatheringSettings = GatheringSettings()
    incidents: IncidentSettings = IncidentSettings()
    call_hours: CallHourSettings = CallHourSettings()
    resolve: ResolveSettings = ResolveSettings()
    understanding: UnderstandingSettings = UnderstandingSettings()

    folder: Path = Path()
    """What relative paths are relative to: the folder of the file these were read from."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return _Environment(settings_cls), init_settings

    @model_validator(mode="after")
    def _names_exist(self) -> Settings:
        for name, job in self.jobs.items():
            for earlier in job.after:
                if earlier not in self.jobs:
                    raise ValueError(f"jobs.{name}.after: there is no job {earlier!r}")
            if job.flow == "resolve":
                if job.connection is not None or job.kinds:
                    raise ValueError(
                        f"jobs.{name}: a resolution is of all connections; leave out connection"
                        " and kinds"
                    )
                continue
            if job.connection is None:
                raise ValueError(f"jobs.{name}.connection: name the connection to sync")
            if job.connection not in self.connections:
                raise ValueError(
                    f"jobs.{name}.connection: there is no connection {job.connection!r}"
                )
        for name in self.jobs:
            circle = _circle(self.jobs, name, ())
            if circle:
                raise ValueError(f"jobs.{name}.after: {' after '.join(circle)} is a circle")
        for name, connection in self.connections.items():
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name):
                raise ValueError(
                    f"connections.{name}: a name has small letters, digits, - and _ only"
                )
            target = connection.inlet.notes_to if connection.inlet else None
            if target is not None and target not in self.connections:
                raise ValueError(
                    f"connections.{name}.inlet.notes_to: there is no connection {target!r}"
                )
        for field in self.links.survivorship:
            if field not in RULES:
                raise ValueError(
                    f"links.survivorship.{field}: there is no such field; there are "
                    + ", ".join(RULES)
                )
        for place, names in (
            ("links.duplicate_free", self.links.duplicate_free),
            *(
                (f"links.survivorship.{field}", [name for name in names if name not in WORDS])
                for field, names in self.links.survivorship.items()
            ),
        ):
            for name in names:
                if name not in self.connections:
                    raise ValueError(f"{place}: there is no connection {name!r}")
        for name in self.actions.orders_from:
            if name not in self.connections:
                raise ValueError(f"actions.orders_from: there is no connection {name!r}")
        if self.actions.cases_to not in (None, *self.connections):
            raise ValueError(f"actions.cases_to: there is no connection {self.actions.cases_to!r}")
        return self


def _circle(
    jobs: dict[str, JobSettings], name: str, way: tuple[str, ...]
) -> tuple[str, ...] | None:
    """The way from a job over those it runs after back to one of them, if there is one."""
    if name in way:
        return (*way[way.index(name) :], name)
    found = (_circle(jobs, earlier, (*way, name)) for earlier in jobs[name].after)
    return next((circle for circle in found if circle), None)


def load(path: Path | None = None) -> Settings:
    """Read the settings. Raises SettingsError with the place of every mistake."""
    named = path or (Path(os.environ["AMENDS_CONFIG"]) if "AMENDS_CONFIG" in os.environ else None)
    file = named or Path("amends.toml")
    values: dict[str, Any] = {}
    if named is not None or file.exists():
        try:
            values = tomllib.loads(file.read_text())
        except OSError as error:
            raise SettingsError(f"{file}: {error.strerror}; `amends init` writes one") from None
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{file}: {error}") from None
    try:
        return Settings(**{**values, "folder": file.resolve().parent})
    except ValidationError as error:
        mistakes = [
            f"{'.'.join(str(part) for part in mistake['loc']) or 'settings'}: {mistake['msg']}"
            for mistake in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError("\n".join([f"{file} is wrong:", *mistakes])) from None


def resolve(reference: str, *, folder: Path) -> SecretStr:
    """The secret behind a reference. Raises SettingsError that says which one is missing."""
    scheme, _, rest = reference.partition(":")
    if scheme == "env":
        value = os.environ.get(rest)
        if not value:
            raise SettingsError(f"the environment variable {rest} is not set")
        return SecretStr(value)
    try:
        return SecretStr((folder / rest).read_text().strip())
    except OSError as error:
        raise SettingsError(f"the secret file {rest} can't be read: {error.strerror}") from None
