"""Typed settings, read from `amends.toml` and the environment by the composition root alone.

`AMENDS_CONFIG` names the file (default: `amends.toml` in the working directory, if it is there);
`AMENDS_*` variables override its top-level values. Secrets are written as references:
`env:NAME` or `file:PATH`; a secret in plain text is refused.
"""

from __future__ import annotations

import os
import re
import tomllib
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

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
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from middleware.contract.canonical import Kind
from middleware.domain.schedules import weekdays_named

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


class ScheduleSettings(Section):
    """When a job is due: `every`, or `cron` in a time zone."""

    every: Duration | None = None
    cron: str | None = None
    timezone: str = "UTC"

    @model_validator(mode="after")
    def _one_of_both(self) -> ScheduleSettings:
        if (self.every is None) == (self.cron is None):
            raise ValueError("a schedule has either `every` or `cron`")
        if self.every is not None and self.every < timedelta(seconds=1):
            raise ValueError("a job is due every second at most")
        if self.cron is not None:
            try:
                CronTrigger.from_crontab(weekdays_named(self.cron), timezone=self.timezone)
            except KeyError:
                raise ValueError(f"there is no time zone {self.timezone!r}") from None
        return self


class JobSettings(Section):
    """A scheduled sync of one connection, or a resolution of all records."""

    flow: Literal["sync", "resolve"] = "sync"
    connection: str | None = None
    kinds: list[Kind] = []
    schedule: ScheduleSettings


class ResolveSettings(Section):
    """How records are resolved against records; see docs/resolution.md."""

    workspace: Path = Path(".amends")
    model: Path | None = None
    threshold: Annotated[float, Field(gt=0.5, lt=1)] = 0.99
    review_from: Annotated[float, Field(gt=0, lt=1)] = 0.5
    duplicate_free: list[str] = []
    unique_ids: list[str] = ["customer_number"]
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


class ActionSettings(Section):
    cases_to: str | None = None
    """The connection that cases are opened in; by default the first that offers it."""
    orders_from: list[str] = []
    """The connections whose orders count where several hold the same one."""
    lifetime: Duration = timedelta(hours=24)
    note_when_enriched: bool = True


class LinkSettings(Section):
    """What may be linked without a person looking."""

    auto: bool = True
    inferred_networks: list[str] = []
    """Networks where even a link that was only inferred may be made; most forbid it."""


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
    phone_regions: list[str] = []
    """Where the customers live (ISO 3166-1 alpha-2): how numbers without a country are read."""
    requests_per_minute: Annotated[int, Field(gt=0)] = 1200
    """How many requests one API key may make."""
    connections: dict[str, ConnectionSettings] = {}
    endpoints: dict[str, EndpointSettings] = {}
    jobs: dict[str, JobSettings] = {}
    policy: PolicySettings = PolicySettings()
    actions: ActionSettings = ActionSettings()
    links: LinkSettings = LinkSettings()
    resolve: ResolveSettings = ResolveSettings()

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
        return env_settings, init_settings

    @model_validator(mode="after")
    def _names_exist(self) -> Settings:
        for name, job in self.jobs.items():
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
        for name in self.resolve.duplicate_free:
            if name not in self.connections:
                raise ValueError(f"resolve.duplicate_free: there is no connection {name!r}")
        for name in self.actions.orders_from:
            if name not in self.connections:
                raise ValueError(f"actions.orders_from: there is no connection {name!r}")
        if self.actions.cases_to not in (None, *self.connections):
            raise ValueError(f"actions.cases_to: there is no connection {self.actions.cases_to!r}")
        return self


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
