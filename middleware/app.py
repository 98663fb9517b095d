"""The composition root: puts the hub together from its settings, and runs its parts."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

import structlog

from middleware.configuration import (
    configured,
    database_url,
    declared_connections,
    declared_jobs,
    options_of,
    understanding_of,
)
from middleware.flows import (
    articles,
    carry,
    correct,
    deliver,
    eligibility,
    gather,
    incidents,
    merged,
    policies,
    prioritise,
    provisional,
    receive,
    reconcile,
    resolve,
    rulebooks,
    sync,
    trainings,
    understood,
    waiting,
)
from middleware.flows import link as links
from middleware.flows.engine import Engine
from middleware.flows.hub import (
    Hub,
)
from middleware.flows.intake import Intake
from middleware.jobs.clock import Clock
from middleware.registry import Registry
from middleware.resolution.exact import weights
from middleware.settings import (
    Settings,
)
from middleware.store import schema
from middleware.store.database import Database
from middleware.understanding.pool import Pooled

log = logging.getLogger(__name__)


class SchemaBehindError(Exception):
    """The database's tables are older than this version needs; run `amends db upgrade`."""


class Application:
    """A hub put together: its database open and migrated, its connections declared.

    `start` adds the worker and the clock; without it the hub only accepts and answers.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(database_url(settings))
        self.hub = Hub(
            database=self.database,
            registry=Registry(configured(settings)),
            engine=Engine(self.database, lease=settings.lease),
            understands=understanding_of(settings),
            options=options_of(settings),
        )
        self.clock: Clock | None = None
        self._intake: Intake | None = None

    @property
    def intake(self) -> Intake:
        if self._intake is None:
            self._intake = Intake(self.hub)
        return self._intake

    def migrate(self) -> None:
        """Bring our tables and the engine's to this version."""
        schema.upgrade(self.database)
        Engine.migrate(self.database)

    def open(self) -> None:
        """Make the database fit for use and tell it what is configured.

        SQLite is migrated on the way; elsewhere that is an operator's decision. Raises
        SchemaBehindError.
        """
        if self.database.sqlite:
            if self.database.path is not None:
                self.database.path.parent.mkdir(parents=True, exist_ok=True)
            self.migrate()
        elif schema.at(self.database) != schema.head():
            raise SchemaBehindError(
                f"the database is at revision {schema.at(self.database)}, this version needs"
                f" {schema.head()}; run `amends db upgrade`"
            )
        now = self.hub.clock()
        with self.database.begin() as uow:
            # Replicas are started at the same moment: the second finds what the first has declared.
            uow.policies.take_turns(["declared"])
            uow.connections.declare(declared_connections(self.settings), at=now)
            uow.events.declare_endpoints(
                {n: (e.url, list(e.types)) for n, e in self.hub.options.endpoints.items()}, at=now
            )
            uow.jobs.declare(declared_jobs(self.settings), at=now)
            rules = self.hub.options.auto_link
            uow.ledger.declare_version(
                rules.version,
                {"rules": rules.model_dump(mode="json"), "weights": weights()},
                at=now,
            )
        policies.declare(self.hub, self.hub.options.policy)
        rulebooks.declare(self.hub, self.hub.options.rulebook)

    def warm(self) -> list[tuple[str, str]]:
        """Open every adapter and the model, so that no request has to; answers the connections that
        failed, and why.

        Connections that were stopped under another configuration are resumed: only here, since
        a command beside a hub that still runs with the old one must not have it try that again.
        """
        self.hub.gate.reconsider()
        failed = []
        for name in self.hub.registry.names():
            try:
                self.hub.registry.adapter(name)
            except Exception as error:
                log.warning("connection can't be opened", extra={"connection": name})
                failed.append((name, str(error)))
        if isinstance(self.hub.understands, Pooled):
            self.hub.understands.trained()
        spare_the_collector()
        return failed

    def start(self) -> None:
        """Become a worker, and tick."""
        self.warm()
        self.hub.engine.work(handlers(self.hub))
        articles.owe(self.hub)
        if trainings.has_model(self.hub):
            understood.owe_degraded(self.hub)
        self.clock = Clock(self.hub, partial(owe_reconcile, self.hub))
        self.clock.start()

    def api(self) -> Any:
        """The REST API over this hub."""
        from middleware.api import create_api

        return create_api(
            self.hub,
            self.intake,
            version=_version(),
            requests_per_minute=self.settings.requests_per_minute,
            servers=[self.settings.public_url] if self.settings.public_url else [],
        )

    def close(self) -> None:
        if self.clock is not None:
            self.clock.stop()
        if self._intake is not None:
            self._intake.close()
        self.hub.engine.stop()
        self.hub.readers.shutdown(wait=False, cancel_futures=True)
        if isinstance(self.hub.understands, Pooled):
            self.hub.understands.close()
        self.hub.registry.close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def spare_the_collector() -> None:
    """Take what is loaded by now for good: the collector of cycles need not visit it any more.

    Modules, models and tables are most of what a hub holds, and each full collection went through
    them all with every thread waiting.
    """
    gc.collect()
    gc.freeze()


def handlers(hub: Hub) -> dict[str, Callable[..., None]]:
    """The flows by the names they are enqueued under."""
    return {
        "receive": partial(receive.run, hub),
        "receive.enrich": partial(receive.look, hub),
        waiting.FLOW: partial(waiting.run, hub),
        links.SHARING: partial(waiting.look_at_sharing, hub),
        links.STOOD: partial(waiting.ask, hub),
        merged.FLOW: partial(merged.run, hub),
        understood.DEGRADED: partial(understood.look_at_degraded, hub),
        "gather": partial(gather.run, hub),
        "correct": partial(carry.run, hub),
        "correct.story": partial(correct.tell_story, hub),
        "sync": partial(sync.run, hub),
        articles.FLOW: partial(articles.learn, hub),
        "resolve": partial(resolve.run, hub),
        "deliver": partial(deliver.run, hub),
        "reconcile": partial(reconcile.run, hub),
        "prioritise": partial(prioritise.run, hub),
        "prioritise.one": partial(prioritise.rescore, hub),
        "prioritise.accounts": partial(prioritise.accounts_changed, hub),
        "prioritise.all": partial(prioritise.run_all, hub),
        "resolve.expire": partial(provisional.run, hub),
        "incidents": partial(incidents.run, hub),
        "incidents.forget": partial(incidents.forget, hub),
        "incidents.affected": partial(eligibility.list_affected, hub),
        trainings.FLOW: partial(trainings.run, hub),
    }


def owe_reconcile(hub: Hub, tick: str) -> None:
    with hub.database.begin() as uow:
        hub.engine.enqueue(uow, "reconcile", tick, name=f"reconcile:{tick}")
        incidents.owe(hub, uow, tick)
        provisional.owe(hub, uow)


def _version() -> str:
    from middleware import __version__

    return __version__


HIDDEN = frozenset(
    {"authorization", "password", "secret", "token", "key", "body", "text", "email", "phone"}
)
"""Words in a log field's name whose value is never written."""


def set_up_logging(level: str) -> None:
    """Logs as one JSON object a line, without secrets and personal data."""

    def hide(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {
            name: "…" if any(word in name.lower() for word in HIDDEN) else value
            for name, value in event.items()
        }

    chain: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide,
    ]
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("apscheduler", "httpx2", "httpcore2", "zeep", "dbos"):
        logging.getLogger(noisy).setLevel("WARNING")
