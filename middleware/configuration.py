"""What the settings say, as the parts of a hub: its connections, options, models and jobs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from middleware.contract.capabilities import Connection, WritesNotes
from middleware.contract.mapping import MappingSet
from middleware.domain.breaker import Thresholds
from middleware.domain.claims import ClaimOptions
from middleware.domain.gathering import GatheringRules
from middleware.domain.policy import Policy, built_in
from middleware.domain.policy_file import PolicyUnreadableError, read_policy
from middleware.domain.rulebook import RuleBook
from middleware.domain.rulebook_file import read_rulebook
from middleware.domain.turns import Rate
from middleware.flows.gate import Limits
from middleware.flows.hub import (
    EmailOptions,
    EndpointOptions,
    InletOptions,
    Options,
    ResolveOptions,
)
from middleware.registry import Configured
from middleware.resolution.blocked import Blocked
from middleware.resolution.exact import AutoRules
from middleware.resolution.model import Model, ModelError, read_model, shipped
from middleware.settings import (
    ConnectionSettings,
    JobSettings,
    LimitSettings,
    ScheduleSettings,
    Settings,
    SettingsError,
)
from middleware.settings import (
    resolve as resolve_secret,
)
from middleware.understanding import Rules, Understands
from middleware.understanding.model import SHIPPED, WORLD
from middleware.understanding.model import load as load_model
from middleware.understanding.own import OwnModel, OwnModelError, read_golden
from middleware.understanding.patterns import PatternRefused, order_pattern
from middleware.understanding.pool import Pooled, PoolLimits
from middleware.understanding.trained import Trained


def configured(settings: Settings) -> list[Configured]:
    """The connections that have an adapter, secrets resolved and mappings loaded."""
    return [
        Configured(adapter=c.adapter, connection=connection_of(settings, name, c))
        for name, c in settings.connections.items()
        if c.adapter is not None
    ]


def connection_of(settings: Settings, name: str, declared: ConnectionSettings) -> Connection:
    folder = mappings_of(settings, declared)
    return Connection(
        name=name,
        settings=declared.settings,
        secrets={
            k: resolve_secret(ref, folder=settings.folder) for k, ref in declared.secrets.items()
        },
        mappings=MappingSet.load(folder) if folder.is_dir() else MappingSet.empty(),
        folder=settings.folder,
    )


def mappings_of(settings: Settings, declared: ConnectionSettings) -> Path:
    """The folder of a connection's mapping files: beside the settings, else the shipped one.

    `mappings/erp` in the settings is looked for beside them first, so that an admin changes a
    shipped mapping by putting a folder of the same name there.
    """
    named = declared.mappings or Path("mappings") / (declared.adapter or "")
    own = settings.folder / named
    shipped = shipped_mappings() / named.name
    return shipped if not own.is_dir() and shipped.is_dir() else own


def shipped_mappings() -> Path:
    """Where the shipped mappings are: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "mappings"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "mappings"


def options_of(settings: Settings) -> Options:
    def secret(reference: str) -> SecretStr:
        return resolve_secret(reference, folder=settings.folder)

    inlets = {}
    for name, connection in settings.connections.items():
        if connection.inlet is None:
            continue
        inlets[name] = InletOptions(
            source=connection.inlet.source,
            secrets=tuple(secret(s) for s in connection.inlet.secrets),
            notes_to=connection.inlet.notes_to or _own_notes(name, connection),
            order_patterns=_patterns(name, connection.inlet.order_patterns),
            bots=frozenset(bot.casefold() for bot in connection.inlet.bots),
        )
    return Options(
        inlets=inlets,
        endpoints={
            name: EndpointOptions(
                url=e.url,
                secrets=tuple(secret(s) for s in e.secrets),
                types=tuple(e.types),
                on_premise=e.on_premise,
            )
            for name, e in settings.endpoints.items()
        },
        limits={
            name: limits_of(connection.limits) for name, connection in settings.connections.items()
        },
        policy=policy_of(settings),
        rulebook=rulebook_of(settings),
        email=email_of(settings),
        auto_link=AutoRules(
            enabled=settings.links.auto,
            inferred_networks=frozenset(settings.links.inferred_networks),
            strangers=settings.links.strangers,
            link_from=settings.links.link_from,
            margin=settings.links.margin,
            review_from=settings.links.review_from,
            likeness=likeness_of(settings).version,
            blocked=blocked_of(settings).digest,
        ),
        blocked=blocked_of(settings),
        likeness=likeness_of(settings),
        labels=(
            settings.folder / settings.understanding.labels
            if settings.understanding.labels
            else None
        ),
        claims=ClaimOptions(lease=settings.claims.lease, longest=settings.claims.longest),
        gathering=GatheringRules(**settings.gathering.model_dump()),
        audit_share=settings.links.audit_share,
        unique_ids=tuple(settings.links.unique_ids),
        duplicate_free=tuple(settings.links.duplicate_free),
        provisional_kept=settings.links.provisional_kept,
        survivorship={name: tuple(rule) for name, rule in settings.links.survivorship.items()},
        cases_to=settings.actions.cases_to,
        incidents=settings.incidents.rules(),
        call_hours=settings.call_hours.rules(),
        orders_from=tuple(settings.actions.orders_from),
        phone_regions=tuple(settings.phone_regions),
        resolve=resolve_options_of(settings),
        note_when_enriched=settings.actions.note_when_enriched,
        secret_key=secret(settings.secret_key) if settings.secret_key else None,
        public_url=settings.public_url.rstrip("/") if settings.public_url else None,
        action_lifetime=settings.actions.lifetime,
        read_deadline=settings.read_deadline,
    )


def understanding_of(settings: Settings) -> Understands:
    """What understands texts, as configured. Raises SettingsError with the place.

    The model itself is loaded when it is first needed, or at `Application.start`.
    """
    chosen = settings.understanding
    rules = Rules(regions=settings.phone_regions)
    if chosen.rules_only:
        return rules
    folder = settings.folder / chosen.model if chosen.model else SHIPPED
    own: dict[str, OwnModel] = {}
    for question, model in chosen.own.items():
        where = f"understanding.own.{question}"
        try:
            own[question] = OwnModel(
                question,
                settings.folder / model.path,
                model.labels,
                golden=read_golden(settings.folder / model.golden),
                golden_accuracy=model.golden_accuracy,
                shadow=model.shadow,
                max_length=model.max_length,
                auto=model.auto,
                suggest=model.suggest,
            )
        except OwnModelError as error:
            raise SettingsError(f"{where}.{error}") from None
    return Pooled(
        rules,
        lambda: Trained(
            load_model(folder),
            rules,
            own=own,
            world=load_model(WORLD) if chosen.multilingual else None,
        ),
        PoolLimits(
            batch=chosen.batch, queue=chosen.queue, timeout_s=chosen.timeout.total_seconds()
        ),
    )


def blocked_of(settings: Settings) -> Blocked:
    """The values that are nobody's."""
    try:
        return Blocked.of(**settings.links.blocked.model_dump(), regions=settings.phone_regions)
    except ValueError as error:
        raise SettingsError(f"links.blocked: {error}") from None


def likeness_of(settings: Settings) -> Model:
    """The configured model of likeness, or the shipped one."""
    if settings.links.model is None:
        return shipped()
    try:
        return read_model(settings.folder / settings.links.model)
    except ModelError as error:
        raise SettingsError(f"links.model: {error}") from None


def resolve_options_of(settings: Settings) -> ResolveOptions:
    chosen = settings.resolve
    return ResolveOptions(
        workspace=settings.folder / chosen.workspace,
        model=settings.folder / chosen.model if chosen.model else None,
        threshold=chosen.threshold,
        review_from=chosen.review_from,
        unique_ids=(*settings.links.unique_ids, *chosen.unique_ids),
        most_in_group=chosen.most_in_group,
        most_changes=chosen.most_changes,
        most_changed_share=chosen.most_changed_share,
        memory=chosen.memory,
        engine=chosen.engine,
        spark=chosen.spark,
    )


def limits_of(declared: LimitSettings) -> Limits:
    """What one process may ask of a connection, as the gate has it."""
    per_second = [
        declared.calls_per_second,
        declared.calls_per_minute / 60 if declared.calls_per_minute is not None else None,
    ]
    return Limits(
        calls_at_once=declared.calls_at_once,
        rates=tuple(Rate(rate) for rate in per_second if rate is not None),
        thresholds=Thresholds(
            failures=declared.failures,
            rest=declared.rest,
            longest_rest=declared.longest_rest,
            refusals=declared.refused_logins,
            pause=declared.login_pause,
        ),
    )


def policy_of(settings: Settings) -> Policy:
    """The configured policy: its file, or the built-in one. Raises SettingsError with places."""
    chosen = settings.policy
    if chosen.file is None:
        return built_in(**chosen.model_dump(exclude={"file"}))
    try:
        return read_policy(settings.folder / chosen.file, str(chosen.file))
    except PolicyUnreadableError as error:
        raise SettingsError(f"the policy is wrong:\n{error}") from None


def rulebook_of(settings: Settings) -> RuleBook:
    """The configured rule book: its file, or the shipped one. Raises SettingsError with places."""
    file = settings.priority.file
    if file is None:
        return RuleBook()
    try:
        return read_rulebook(settings.folder / file, str(file))
    except PolicyUnreadableError as error:
        raise SettingsError(f"the rule book is wrong:\n{error}") from None


def email_of(settings: Settings) -> EmailOptions | None:
    chosen = settings.email
    if chosen is None:
        return None
    return EmailOptions(
        host=chosen.host,
        port=chosen.port,
        sender=chosen.sender,
        security=chosen.security,
        username=chosen.username,
        password=resolve_secret(chosen.password, folder=settings.folder)
        if chosen.password is not None
        else None,
    )


def _patterns(name: str, patterns: list[str]) -> tuple[str, ...]:
    """Order patterns that can be searched for safely; raises SettingsError for others."""
    for place, pattern in enumerate(patterns):
        try:
            order_pattern(pattern)
        except PatternRefused as error:
            where = f"connections.{name}.inlet.order_patterns[{place}]"
            raise SettingsError(f"{where}: {error}") from None
    return tuple(patterns)


def _own_notes(name: str, connection: ConnectionSettings) -> str | None:
    """A helpdesk's notes go back where its complaints come from, if its adapter writes any."""
    from middleware.registry import adapter_class

    if connection.adapter is None:
        return None
    return name if issubclass(adapter_class(connection.adapter), WritesNotes) else None


def declared_connections(settings: Settings) -> dict[str, tuple[str, dict[str, Any]]]:
    return {
        name: (
            c.adapter or f"inlet:{c.inlet.source if c.inlet else ''}",
            {"settings": c.settings, "inlet": c.inlet.source if c.inlet else None},
        )
        for name, c in settings.connections.items()
    }


def declared_jobs(settings: Settings) -> dict[str, dict[str, Any]]:
    declared = {}
    for name, job in settings.jobs.items():
        declared[name] = {
            "flow": job.flow,
            "arguments": {
                "connection": job.connection,
                "kinds": [str(kind) for kind in job.kinds],
                **_unusual(job),
            }
            if job.flow == "sync"
            else {},
            "schedule": _stored_schedule(job.schedule) if job.schedule is not None else None,
            "after": list(job.after) or None,
            "full": _stored_schedule(
                ScheduleSettings(every=job.full) if isinstance(job.full, timedelta) else job.full
            )
            if job.full is not None
            else None,
            "late_after": job.late.total_seconds() if job.late is not None else None,
        }
    return declared


def _unusual(job: JobSettings) -> dict[str, Any]:
    """The arguments that say something else than their defaults."""
    found: dict[str, Any] = {}
    if job.most_deleted != JobSettings.model_fields["most_deleted"].default:
        found["most_deleted"] = job.most_deleted
    if job.not_synced:
        found["not_synced"] = [str(kind) for kind in job.not_synced]
    if not job.count_source:
        found["count_source"] = False
    return found


def _stored_schedule(schedule: ScheduleSettings) -> dict[str, Any]:
    """A schedule as the table has it; see `middleware.flows.due`."""
    stored: dict[str, Any] = {}
    if schedule.every is not None:
        stored["every"] = schedule.every.total_seconds()
    elif schedule.cron is not None:
        stored |= {"cron": schedule.cron, "timezone": schedule.timezone}
    elif schedule.calendar is not None:
        stored["calendar"] = schedule.calendar.model_dump(mode="json", exclude_none=True)
        stored["timezone"] = schedule.timezone
    if schedule.blackouts:
        stored |= {
            "timezone": schedule.timezone,
            "blackouts": schedule.blackouts,
            "in_blackout": schedule.in_blackout,
        }
    return stored


def database_url(settings: Settings) -> str:
    """The database's URL; a relative SQLite file lies beside the configuration."""
    url = settings.database_url
    prefix = "sqlite:///"
    if url.startswith(prefix) and not url.startswith(prefix + "/") and url != prefix:
        return f"{prefix}{settings.folder / url.removeprefix(prefix)}"
    return url
