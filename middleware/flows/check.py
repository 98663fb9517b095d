"""Checks of connections: credentials and permissions proved without touching anything."""

from __future__ import annotations

import logging
import math
import time
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any

from middleware.contract.capabilities import CheckReport, Finding
from middleware.contract.errors import RemoteError, Transient
from middleware.domain.problems import NotFoundError
from middleware.flows.hub import Hub

log = logging.getLogger(__name__)

DEADLINE = timedelta(seconds=20)


def check(hub: Hub, name: str, *, deadline: timedelta = DEADLINE) -> dict[str, Any]:
    """Check one connection and keep what was found: `{ok, at, took_ms, findings}`.

    A remote that refuses, fails or is slow is a finding, not an error. Raises NotFoundError for a
    connection that is not declared.
    """
    with hub.database.read() as uow:
        row = uow.connections.get(name)
    if row is None or row.deleted_at is not None:
        raise NotFoundError(f"there is no connection {name!r}")
    began = time.monotonic()
    report = _report(hub, name, deadline)
    now = hub.clock()
    health = {
        "ok": report.ok,
        "at": now.isoformat(),
        "took_ms": round((time.monotonic() - began) * 1000),
        "findings": [finding.model_dump(mode="json") for finding in report.findings],
    }
    with hub.database.begin() as uow:
        uow.connections.note_health(name, health)
    return health


def checked_at(health: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(health["at"])


def _report(hub: Hub, name: str, deadline: timedelta) -> CheckReport:
    if name not in hub.registry.names():
        return _only("receives", "it only receives deliveries; there is nothing to ask", ok=True)
    try:
        future: Future[CheckReport] = hub.readers.submit(hub.gate.check, name, within=deadline)
        return future.result(timeout=deadline.total_seconds())
    except TimeoutError:
        future.cancel()
        return _only(
            "answer",
            f"no answer within {deadline.total_seconds():g} s",
            remedy="See whether the address is right and the system is up.",
        )
    except RemoteError as error:
        return _only("answer", error.message, remedy=_remedy(error))
    except Exception as error:
        log.exception("a check failed", extra={"connection": name})
        return _only(
            "answer",
            f"the adapter failed with {type(error).__name__}",
            remedy="See the hub's log; this is a mistake in the adapter.",
        )


def _remedy(error: RemoteError) -> str:
    if not isinstance(error, Transient):
        return "Correct the connection's settings, secrets or permissions."
    if error.code == "busy" and error.retry_after is not None:
        return f"Check again in {math.ceil(error.retry_after.total_seconds())} seconds."
    return "See whether the address is right and the system is up."


def _only(name: str, detail: str, *, ok: bool = False, remedy: str = "") -> CheckReport:
    return CheckReport(findings=(Finding(name=name, ok=ok, detail=detail, remedy=remedy),))
