"""Syncs: a page and its cursor together, and a run that dies goes on where it stopped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapters.memory.remote import Fault
from middleware.contract.canonical import Kind
from middleware.domain.problems import NotFoundError
from middleware.flows import sync
from middleware.store.tables import RunRow
from tests.flows.conftest import Stage


@pytest.fixture
def job(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(sync, "PAGE", 3)
    monkeypatch.setattr(sync.time, "sleep", lambda _s: None)
    with stage.hub.database.begin() as uow:
        uow.jobs.declare(
            {
                "erp": {
                    "flow": "sync",
                    "arguments": {"connection": stage.names["erp"], "kinds": ["account", "order"]},
                    "schedule": {"every": 60},
                }
            },
            at=stage.time.now,
        )
    orders = [
        stage.order.model_copy(
            update={"ref": stage.ref("erp", Kind.ORDER, f"O{n}"), "number": f"SO-{n}"}
        )
        for n in range(2, 12)
    ]
    stage.erp.put(*orders)
    return stage


def run(stage: Stage, tick: str = "t1") -> RunRow:
    run_id, _ = sync.owe(stage.hub, "erp", tick=tick, requested_by="test")
    stage.run_due()
    with stage.hub.database.read() as uow:
        row = uow.jobs.run(run_id)
    assert row is not None
    return row


def stored_orders(stage: Stage) -> int:
    with stage.hub.database.read() as uow:
        return uow.records.count().get((stage.names["erp"], "order"), 0)


def test_a_run_reads_every_page(job: Stage) -> None:
    row = run(job)
    assert row.state == "done"
    assert stored_orders(job) == 11
    assert row.counts["order"]["new"] == 11
    assert row.counts["order"]["pages"] >= 4
    assert row.counts["account"]["new"] == 1
    assert "sync.run.finished" in job.events()


def test_the_next_run_reads_only_what_changed(job: Stage) -> None:
    run(job)
    job.erp.put(job.order.model_copy(update={"number": "SO-CHANGED"}))
    row = run(job, "t2")
    assert row.counts["order"]["changed"] == 1
    assert row.counts["order"]["new"] == 0


def test_a_deleted_record_is_marked(job: Stage) -> None:
    run(job)
    job.erp.delete(job.order.ref)
    row = run(job, "t2")
    assert row.counts["order"]["deleted"] == 1
    assert stored_orders(job) == 10


def test_a_tick_is_owed_once(job: Stage) -> None:
    first, new = sync.owe(job.hub, "erp", tick="t", requested_by="a")
    again, new_again = sync.owe(job.hub, "erp", tick="t", requested_by="b")
    assert (first, new, new_again) == (again, True, False)


def test_an_unknown_job_is_not_found(job: Stage) -> None:
    with pytest.raises(NotFoundError):
        sync.owe(job.hub, "nobody", tick="t", requested_by="a")


@pytest.mark.parametrize("dies_at", range(1, 6))
def test_a_run_that_dies_at_any_page_goes_on_where_it_stopped(
    job: Stage, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    pages = 0
    original = sync._store

    def die(*args: object) -> None:
        nonlocal pages
        pages += 1
        if pages == dies_at:
            raise SystemExit("killed")
        original(*args)  # type: ignore[arg-type]

    run_id, _ = sync.owe(job.hub, "erp", tick="t", requested_by="test")
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(sync, "_store", die)
        job.run_due()
    job.handlers["sync"](run_id)
    with job.hub.database.read() as uow:
        row = uow.jobs.run(run_id)
    assert row is not None
    assert row.state == "done"
    assert stored_orders(job) == 11
    assert row.counts["order"]["new"] == 11


def test_two_runs_do_not_leapfrog(job: Stage) -> None:
    """The page of a run whose cursor another run has moved is not stored."""
    first, _ = sync.owe(job.hub, "erp", tick="t1", requested_by="test")
    with job.hub.database.begin() as uow:
        row = uow.jobs.run(first)
        assert row is not None
        row.state = "running"
    page = sync._page(job.hub, job.names["erp"], Kind.ORDER, None)
    run(job, "t2")
    with pytest.raises(sync._Overtaken):
        sync._store(job.hub, first, job.names["erp"], Kind.ORDER, None, page)


def test_a_remote_that_is_busy_is_asked_again(job: Stage) -> None:
    job.erp.script.arm(Fault.BUSY, operation="changed_since", times=3)
    assert run(job).state == "done"


def test_a_remote_that_stays_away_ends_the_run_and_the_next_goes_on(job: Stage) -> None:
    job.erp.script.arm(Fault.DOWN, operation="changed_since", times=sync.TRIES)
    row = run(job)
    assert row.state == "failed"
    assert row.error is not None
    assert row.error["class"] == "Transient"
    assert run(job, "t2").state == "done"
    assert stored_orders(job) == 11


def test_a_connection_that_lists_no_changes_fails_with_the_reason(job: Stage) -> None:
    with job.hub.database.begin() as uow:
        row = uow.jobs.get("erp")
        assert row is not None
        row.arguments = {"connection": "nobody"}
    row_ = run(job)
    assert row_.state == "failed"
    assert row_.error is not None
    assert "nobody" in row_.error["message"]


def test_owed_is_part_of_the_transaction(job: Stage) -> None:
    hub = replace(job.hub)
    with pytest.raises(RuntimeError), hub.database.begin() as uow:
        job.engine.enqueue(uow, "sync", "x", name="x")
        raise RuntimeError
    assert job.engine.owed == []
