"""The hub itself: alive, ready, degraded, not ready."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from middleware.api.schemas.operations import ReadyShown
from middleware.store import queries
from tests.api.conftest import Api, both_databases


def ready(api: Api) -> tuple[int, ReadyShown]:
    answer = api.client.get("/readyz")
    return answer.status_code, ReadyShown.model_validate(answer.json())


def test_alive(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("asked the database")

    monkeypatch.setattr(api.stage.hub.database, "ping", fail)
    assert api.client.get("/healthz").json() == {"status": "ok"}
    assert api.client.get("/version").json() == {"version": "1.2.3", "api": "v1"}


def test_ready(api: Api) -> None:
    status, shown = ready(api)
    assert (status, shown.status) == (200, "ready")
    parts = ["database", "migrations", "worker", "connections", "jobs"]
    assert [part.name for part in shown.parts] == parts


@both_databases
def test_without_a_worker_nothing_would_be_done(api: Api) -> None:
    api.stage.engine.working = False
    status, shown = ready(api)
    assert (status, shown.status) == (503, "not_ready")
    assert next(p for p in shown.parts if p.name == "worker").ok is False
    if not api.stage.hub.database.sqlite:
        # Elsewhere somebody else may be the worker.
        with api.stage.hub.database.begin() as uow:
            uow.nodes.beat("another")
        assert ready(api)[0] == 200


def test_a_failing_connection_degrades_and_stops_nothing(api: Api) -> None:
    with api.stage.hub.database.begin() as uow:
        uow.connections.declare({"erp": ("memory", {})}, at=api.stage.time())
        uow.session.flush()
        uow.connections.note_health("erp", {"ok": False, "at": "", "took_ms": 1, "findings": []})
    status, shown = ready(api)
    assert (status, shown.status) == (200, "degraded")
    assert next(p for p in shown.parts if p.name == "connections").detail == "1 failing"


def test_a_database_that_is_behind(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "newest_revision", lambda: "9999")
    status, shown = ready(api)
    assert (status, shown.status) == (503, "not_ready")
    assert "amends db upgrade" in next(p for p in shown.parts if p.name == "migrations").detail


def test_a_database_without_a_table(api: Api) -> None:
    with api.stage.hub.database.begin() as uow:
        uow.session.connection().execute(sa.text("drop table alembic_version"))
    assert ready(api)[0] == 503


def test_a_database_that_is_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise sa.exc.OperationalError("select 1", {}, Exception("refused"))

    monkeypatch.setattr(api.stage.hub.database, "ping", fail)
    status, shown = ready(api)
    assert (status, shown.status) == (503, "not_ready")
    assert [part.name for part in shown.parts] == ["database"]
