"""`amends doctor`: what is wrong with an installation, and how to mend it."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal

from middleware.app import Application
from middleware.configuration import mappings_of
from middleware.contract.capabilities import CheckReport
from middleware.contract.mapping.lint import lint_paths
from middleware.flows import policies, rulebooks, watch
from middleware.settings import Settings, SettingsError, load, resolve
from middleware.store import schema
from middleware.understanding.pool import Pooled

PATIENCE_S = 20.0
SKEW = timedelta(seconds=5)
LITTLE_SPACE = 500 * 1024**2


@dataclass(frozen=True)
class Line:
    """One finding: `✓` fine, `!` worth a look, `✗` broken."""

    mark: Literal["✓", "!", "✗"]
    what: str
    detail: str = ""
    remedy: str = ""


def examine(config: Path | None) -> Iterator[Line]:
    """Check everything from Python to the last connection, one line at a time."""
    yield _python()
    yield _sqlite()
    try:
        settings = load(config)
    except SettingsError as error:
        yield Line("✗", "settings", str(error), "mend the lines named; `amends init` shows a whole")
        return
    yield Line("✓", "settings", f"{len(settings.connections)} connections")
    missing = list(_secrets(settings))
    yield from missing
    yield from _mappings(settings)
    if any(line.mark == "✗" for line in missing):
        return
    try:
        application = Application(settings)
    except Exception as error:
        yield Line("✗", "start", str(error), "mend what the message names")
        return
    with application:
        usable = True
        for line in _database(application):
            usable = usable and line.mark != "✗"
            yield line
        yield from _connections(application)
        yield _model(application)
        if usable:
            yield from _jobs(application)
            yield from _policy(application)
            yield from _rulebook(application)


def _policy(application: Application) -> Iterator[Line]:
    """The policy in force, and the roles whose approval nobody could give."""
    if schema.at(application.database) is None:
        return
    hub = application.hub
    with application.database.read() as uow:
        current = policies.in_force(hub, uow)
        alone = policies.roles_without_keys(hub, uow)
    policy = current.document
    found = f"version {current.version}: {len(policy.rules)} rules, {len(policy.caps)} caps"
    yield Line("✓", "policy", found)
    for role in alone:
        yield Line(
            "!",
            f"policy role {role}",
            "asked for an approval, and no key has it",
            f"amends keys create NAME --scope actions:approve --role {role}",
        )


def _model(application: Application) -> Line:
    """Whether the model that reads complaints is the one that its manifest describes."""
    understands = application.hub.understands
    if not isinstance(understands, Pooled):
        return Line("✓", "understanding", "by rules, as configured")
    trained = understands.trained()
    if trained is None:
        return Line(
            "✗",
            "understanding",
            f"by rules alone, marked degraded: {understands.refused}",
            "mend what the message names, then start the hub anew",
        )
    shadows = [f", {q} in shadow" for q, one in sorted(trained.own.items()) if one.shadow]
    world = f", {trained.world.id}" if trained.world is not None else ""
    return Line("✓", "understanding", f"{trained.model.id}{world}{''.join(shadows)}")


def _rulebook(application: Application) -> Iterator[Line]:
    """The rule book in force, and e-mails that no server would send."""
    if schema.at(application.database) is None:
        return
    hub = application.hub
    with application.database.read() as uow:
        current = rulebooks.in_force(hub, uow)
    book = current.document
    counts = f"{len(book.targets)} targets, {len(book.escalations)} escalation steps"
    yield Line("✓", "rule book", f"version {current.version}: {counts}")
    if hub.options.email is None and any(step.email for step in book.escalations):
        yield Line(
            "!",
            "rule book",
            "escalation steps name e-mail addresses, and no mail server is configured",
            "add [email] with host and sender; the event is told in any case",
        )


def _python() -> Line:
    version = ".".join(map(str, sys.version_info[:3]))
    return Line("✓", "Python", version)


def _sqlite() -> Line:
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < (3, 35):
        return Line("!", "SQLite", version, "3.35 or newer is needed; or use PostgreSQL")
    return Line("✓", "SQLite", version)


def _secrets(settings: Settings) -> Iterator[Line]:
    references: dict[str, str] = {}
    if settings.secret_key is None:
        yield Line(
            "!",
            "secret_key",
            "not set: page cursors end with the process",
            'set secret_key = "env:AMENDS_SECRET_KEY"',
        )
    else:
        references["secret_key"] = settings.secret_key
    if settings.email is not None and settings.email.password is not None:
        references["email.password"] = settings.email.password
    for name, connection in settings.connections.items():
        for key, reference in connection.secrets.items():
            references[f"connections.{name}.secrets.{key}"] = reference
        for n, reference in enumerate(connection.inlet.secrets if connection.inlet else []):
            references[f"connections.{name}.inlet.secrets[{n}]"] = reference
        if connection.inlet and not connection.inlet.secrets:
            yield Line(
                "✗",
                f"connections.{name}.inlet",
                "no secret: nothing would be accepted",
                "add the source's signing secret, or a token",
            )
    for name, endpoint in settings.endpoints.items():
        for n, reference in enumerate(endpoint.secrets):
            references[f"endpoints.{name}.secrets[{n}]"] = reference
    wrong = 0
    for place, reference in references.items():
        try:
            resolve(reference, folder=settings.folder)
        except SettingsError as error:
            wrong += 1
            yield Line("✗", place, str(error), "set it, or correct the reference")
    if not wrong:
        yield Line("✓", "secrets", f"{len(references)} found")


def _mappings(settings: Settings) -> Iterator[Line]:
    for name, connection in settings.connections.items():
        if connection.adapter is None:
            continue
        folder = mappings_of(settings, connection)
        if connection.mappings is not None and not folder.is_dir():
            yield Line("✗", f"mapping {name}", f"there is no folder {folder}", "correct `mappings`")
            continue
        files = sorted(folder.rglob("*.map.yaml"))
        issues = lint_paths(files)
        broken = [issue for issue in issues if str(issue.severity) == "error"]
        for issue in broken:
            yield Line("✗", f"mapping {name}", str(issue), "see docs/mapping.md for the code")
        if not broken and files:
            yield Line("✓", f"mapping {name}", f"{len(files)} files")


def _database(application: Application) -> Iterator[Line]:
    database = application.database
    if database.path is not None:
        database.path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(database.path.parent).free
        if free < LITTLE_SPACE:
            yield Line("!", "disk", f"{free // 1024**2} MiB free", "make room for the database")
    try:
        database.ping()
    except Exception as error:
        first = str(error).splitlines()[0]
        yield Line("✗", "database", first, "start it, or correct AMENDS_DATABASE_URL")
        return
    at, head = schema.at(database), schema.head()
    if at == head:
        yield Line("✓", "database", f"revision {at}")
    elif at is None and database.sqlite:
        yield Line("✓", "database", "new; it is made at the first start")
    else:
        yield Line("✗", "database", f"at revision {at}, needs {head}", "run `amends db upgrade`")
        return
    if at is not None and not database.sqlite:
        with database.read() as uow:
            skew = abs(uow.nodes.database_time() - datetime.now(UTC))
        if skew > SKEW:
            yield Line("!", "clock", f"{skew} from the database's", "synchronise the clocks (NTP)")
        else:
            yield Line("✓", "clock", "agrees with the database's")


def _connections(application: Application) -> Iterator[Line]:
    registry = application.hub.registry
    pool = ThreadPoolExecutor(max_workers=8)
    checks = {name: pool.submit(partial(_check, application, name)) for name in registry.names()}
    for name, check in checks.items():
        try:
            report = check.result(timeout=PATIENCE_S)
        except TookTooLong:
            yield Line("✗", f"connection {name}", f"no answer in {PATIENCE_S:g} s", "is it up?")
        except Exception as error:
            yield Line("✗", f"connection {name}", str(error), "mend what the message names")
        else:
            for finding in report.findings:
                mark: Literal["✓", "✗"] = "✓" if finding.ok else "✗"
                yield Line(mark, f"{name}: {finding.name}", finding.detail, finding.remedy)
    pool.shutdown(wait=False, cancel_futures=True)


def _check(application: Application, name: str) -> CheckReport:
    return application.hub.gate.check(name)


def _jobs(application: Application) -> Iterator[Line]:
    if schema.at(application.database) is None:
        return
    hub = application.hub
    for found in watch.find(hub, hub.clock()):
        yield _alarm(found)
    with application.database.read() as uow:
        for alarm in uow.jobs.alarms():
            if alarm.type == "empty":
                yield Line(
                    "!",
                    f"sync of {alarm.subject}",
                    "a run saw nothing of it, and every run before it saw some",
                    "look whether the connection still reads what it should",
                )
            elif alarm.type == "sweep":
                detail = alarm.detail
                count = f"{detail.get('count')} of {detail.get('of')}"
                yield Line(
                    "!",
                    f"sweep of {alarm.subject}",
                    f"{count} records were not seen, and none was marked: {detail.get('why')}",
                    f"`amends sync run {detail.get('job')} --full --most-deleted 1` if that is so",
                )
        for job in uow.jobs.all():
            if job.paused:
                yield Line("!", f"job {job.name}", "paused", f"`amends jobs resume {job.name}`")
            last = next(iter(uow.jobs.runs_of(job.name, limit=1)), None)
            if last is not None and last.state == "failed":
                message = (last.error or {}).get("message", "")
                yield Line("!", f"job {job.name}", f"last run failed: {message}", "see its runs")


_WHY = {
    "not_started": "no run was begun: is a worker running?",
    "held": "its run waits for other jobs",
    "queued": "its run waits for a worker",
    "running": "its run is still going on",
    "failed": "its runs fail",
    "overtaken": "its runs were overtaken by others",
    "schedule_unreadable": "its schedule can't be read",
    "never_due": "its schedule is never due",
    "no_schedule": "it has no schedule",
    "after_unknown": "it runs after a job that is not there",
    "after_paused": "it runs after a job that is paused",
}


def _alarm(found: watch.Found) -> Line:
    if found.why == "no_job":
        kinds = ", ".join(found.detail["kinds"])
        return Line(
            "!",
            f"jobs for {found.subject}",
            f"nothing syncs {kinds}",
            f'add [jobs.sync-{found.subject}] with connection = "{found.subject}" and a schedule, '
            "or name the kinds as `not_synced` in one of its jobs",
        )
    due = f" since {found.detail['due']}" if found.type == "late" else ""
    remedy = "`amends jobs list` shows what it does" if found.type == "late" else "mend its lines"
    return Line("!", f"job {found.subject}", f"{found.type}{due}: {_WHY[found.why]}", remedy)
