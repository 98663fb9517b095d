"""Syncs: a page and its cursor together, and a run that dies goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from adapters.memory.adapter import MemoryAdapter
from adapters.memory.remote import Fault
from middleware.contract.canonical import Kind
from middleware.contract.capabilities import Page
from middleware.domain.problems import NotFoundError
from middleware.domain.receipts import digest_of
from middleware.flows import receipts, rounds, sync
from middleware.flows.engine import Engine
from middleware.flows.hub import Hub
from middleware.store.tables import ReceiptRow, RunRow
from tests.flows.conftest import Stage
from tests.flows.node import until


@pytest.fixture
def job(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(sync, "PAGE", 3)
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
    job.engine.owed.clear()
    with job.hub.database.begin() as uow:
        row = uow.jobs.run(first)
        assert row is not None
        row.state = "running"
    page = sync._page(job.hub, job.names["erp"], Kind.ORDER, None)
    second = run(job, "t2")
    with pytest.raises(sync._Overtaken) as caught:
        sync._store(job.hub, first, job.names["erp"], Kind.ORDER, None, page)
    assert caught.value.by == second.id


def between_pages(
    monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object], *, kind: Kind, nth: int = 2
) -> None:
    """Let something happen once, after the nth page of a kind is read and before it is stored."""
    original, pages = sync._page, 0

    def page(hub: Hub, connection: str, asked: Kind, cursor: str | None) -> Page:
        nonlocal pages
        read = original(hub, connection, asked, cursor)
        pages += asked is kind
        if asked is kind and pages == nth:
            pages += 1  # what happens may read pages too
            happens()
        return read

    monkeypatch.setattr(sync, "_page", page)


def test_a_run_that_another_one_overtakes_says_so(
    job: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, _ = sync.owe(job.hub, "erp", tick="other", requested_by="test")
    job.engine.owed.clear()
    between_pages(monkeypatch, lambda: job.handlers["sync"](other), kind=Kind.ACCOUNT, nth=1)
    row = run(job)
    assert row.state == "overtaken"
    assert row.finished_at is not None
    assert row.error == {"message": f"{other} has gone on with account", "by": {"account": other}}
    assert row.counts["order"]["pages"] == 1  # what the other one left, which is nothing
    assert stored_orders(job) == 11
    with job.hub.database.read() as uow:
        assert [r.state for r in uow.jobs.runs_of("erp")] == ["overtaken", "done"]
        assert uow.jobs.running() == []
    told = [e for e in job.events() if e == "sync.run.finished"]
    assert len(told) == 2


def test_a_worker_whose_run_was_carried_on_by_another_says_nothing(
    job: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was frozen, its lease ran out, another worker did the rest; then it woke up."""
    run_id, _ = sync.owe(job.hub, "erp", tick="t", requested_by="test")
    between_pages(monkeypatch, lambda: job.handlers["sync"](run_id), kind=Kind.ORDER)
    job.run_due()
    with job.hub.database.read() as uow:
        row = uow.jobs.run(run_id)
    assert row is not None
    assert (row.state, row.error) == ("done", None)
    assert row.counts["order"]["new"] == 11
    assert job.events().count("sync.run.finished") == 1


def test_a_worker_whose_run_is_being_carried_on_leaves_it_alone(
    job: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other worker is not done when the frozen one wakes up."""
    run_id, _ = sync.owe(job.hub, "erp", tick="t", requested_by="test")

    def one_page() -> None:
        with job.hub.database.read() as uow:
            saved = uow.jobs.cursor(job.names["erp"], "order")
        assert saved is not None
        page = sync._page(job.hub, job.names["erp"], Kind.ORDER, saved.value)
        sync._store(job.hub, run_id, job.names["erp"], Kind.ORDER, saved.value, page)

    between_pages(monkeypatch, one_page, kind=Kind.ORDER)
    job.run_due()
    with job.hub.database.read() as uow:
        (row,) = uow.jobs.running()
    assert (row.id, row.state) == (run_id, "running")
    job.handlers["sync"](run_id)
    assert stored_orders(job) == 11


def test_a_worker_that_stops_owes_the_rest(job: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, _ = sync.owe(job.hub, "erp", tick="t", requested_by="test")
    between_pages(monkeypatch, lambda: setattr(job.engine, "stopping", True), kind=Kind.ORDER)
    job.handlers["sync"](*job.engine.owed.pop().arguments)
    with job.hub.database.read() as uow:
        (row,) = uow.jobs.running()
    assert (row.id, row.counts["order"]["pages"]) == (run_id, 2)
    job.engine.stopping = False
    (owed,) = job.engine.owed
    assert (owed.flow, owed.arguments, owed.due) == ("sync", (run_id,), job.time.now)
    job.run_due()
    with job.hub.database.read() as uow:
        done = uow.jobs.run(run_id)
    assert done is not None
    assert (done.state, done.counts["order"]["new"]) == ("done", 11)


def test_a_run_goes_on_at_once_when_its_worker_restarts(
    job: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real engine, stopped in the middle of a run as a new release does it."""
    original, pages = sync._page, 0

    def slowly(hub: Hub, connection: str, kind: Kind, cursor: str | None) -> Page:
        nonlocal pages
        pages += 1
        time.sleep(0.3)
        return original(hub, connection, kind, cursor)

    monkeypatch.setattr(sync, "_page", slowly)

    def start() -> tuple[Hub, Engine]:
        engine = Engine(job.hub.database, poll=timedelta(milliseconds=50))
        hub = replace(job.hub, engine=engine)
        engine.work({"sync": partial(sync.run, hub)})
        return hub, engine

    hub, engine = start()
    run_id, _ = sync.owe(hub, "erp", tick="t", requested_by="test")
    until(lambda: pages >= 3)
    engine.stop()
    stopped_at = pages
    with hub.database.read() as uow:
        assert [r.id for r in uow.jobs.running()] == [run_id]
    hub, engine = start()
    try:
        until(lambda: not _running(hub))
    finally:
        engine.stop()
    with hub.database.read() as uow:
        row = uow.jobs.run(run_id)
    assert row is not None
    assert (row.state, row.counts["order"]["new"]) == ("done", 11)
    assert pages > stopped_at


def _running(hub: Hub) -> bool:
    with hub.database.read() as uow:
        return bool(uow.jobs.running())


def test_an_adapters_own_mistake_ends_the_run_with_its_name(
    job: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> Page:
        raise KeyError("kim@example.com")

    monkeypatch.setattr(MemoryAdapter, "changed_since", broken)
    row = run(job)
    assert row.state == "failed"
    assert row.error is not None
    assert row.error["message"] == "the adapter failed with KeyError; see the log"
    assert any(r.message == "adapter failed" for r in caplog.records)


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


def test_a_kind_that_does_not_exist_fails_with_the_reason(job: Stage) -> None:
    with job.hub.database.begin() as uow:
        row = uow.jobs.get("erp")
        assert row is not None
        row.arguments = {"connection": job.names["erp"], "kinds": ["ordre"]}
    row_ = run(job)
    assert row_.state == "failed"
    assert row_.error is not None
    assert "'ordre'" in row_.error["message"]


def test_owed_is_part_of_the_transaction(job: Stage) -> None:
    hub = replace(job.hub)
    with pytest.raises(RuntimeError), hub.database.begin() as uow:
        job.engine.enqueue(uow, "sync", "x", name="x")
        raise RuntimeError
    assert job.engine.owed == []


# --- receipts ------------------------------------------------------------------------------------


def receipt_of(stage: Stage, row: RunRow) -> ReceiptRow:
    with stage.hub.database.read() as uow:
        receipt = uow.receipts.of_run(row.id)
    assert receipt is not None
    return receipt


def test_each_run_leaves_a_receipt_that_follows_the_one_before(job: Stage) -> None:
    first = receipt_of(job, run(job))
    assert (first.number, first.previous, first.body["gaps"]) == (1, None, [])
    assert first.body["windows"]["order"]["since"] is None
    assert first.body["windows"]["order"]["complete"]
    assert first.body["counts"]["order"]["seen"] == 11
    job.time.pass_(minutes=1)
    second = receipt_of(job, run(job, "t2"))
    assert (second.number, second.previous, second.body["gaps"]) == (2, first.digest, [])
    windows = [one.body["windows"]["order"] for one in (first, second)]
    assert windows[1]["since"] == windows[0]["until"]
    assert windows[1]["from"] == windows[0]["to"]
    assert receipts.check(job.hub, first.connection) == receipts.Checked(first.connection, 2, None)


def test_the_same_records_give_the_same_content(job: Stage) -> None:
    first = receipt_of(job, run(job)).body["windows"]["order"]["content"]
    forget_cursors(job)
    again = receipt_of(job, run(job, "t2"))
    assert again.body["windows"]["order"]["content"] == first
    assert {gap["why"] for gap in again.body["gaps"]} == {"read_anew"}
    forget_cursors(job)
    job.erp.put(job.order.model_copy(update={"number": "SO-CHANGED"}))
    changed = receipt_of(job, run(job, "t3"))
    assert changed.body["windows"]["order"]["content"] != first


def test_a_receipt_names_what_was_not_read(job: Stage) -> None:
    run(job)
    job.erp.script.arm(Fault.DOWN, operation="changed_since", times=1000)
    failed = run(job, "t2")
    assert failed.state == "failed"
    gaps = receipt_of(job, failed).body["gaps"]
    assert gaps == [{"kind": "account", "why": "not_read"}, {"kind": "order", "why": "not_read"}]
    job.erp.script.disarm()
    job.time.pass_(minutes=10)
    assert receipt_of(job, run(job, "t3")).body["gaps"] == []


def test_a_cursor_that_was_moved_by_hand_is_a_gap(job: Stage) -> None:
    run(job)
    with job.hub.database.begin() as uow:
        row = uow.jobs.cursor(job.names["erp"], "order")
        assert row is not None
        row.value = "0"
    moved = receipt_of(job, run(job, "t2"))
    assert moved.body["gaps"] == [{"kind": "order", "why": "not_where_the_last_ended"}]


@pytest.mark.parametrize("part", ["body", "signature", "digest", "gone", "previous"])
def test_a_chain_that_was_tampered_with_is_broken(job: Stage, part: str) -> None:
    rows = [receipt_of(job, run(job, f"t{n}")) for n in range(3)]
    name = rows[0].connection
    with job.hub.database.begin() as uow:
        row = uow.receipts.of_run(rows[1].run_id)
        assert row is not None
        match part:
            case "body":
                row.body = {**row.body, "counts": {}}
            case "signature":
                row.signature = job.hub.seal.write("preview", row.digest)
            case "digest":
                row.body = {**row.body, "counts": {}}
                row.digest = digest_of(row.body)
            case "gone":
                uow.session.delete(row)
            case "previous":
                row.previous = "0" * 64
    found = receipts.check(job.hub, name)
    assert found.broken is not None
    assert ("receipt 2" in found.broken) is True


@pytest.mark.parametrize("left", [2, 0])
def test_receipts_that_were_taken_off_the_end_are_missed(job: Stage, left: int) -> None:
    """Nothing in the chain itself follows them; the runs are there."""
    rows = [receipt_of(job, run(job, f"t{n}")) for n in range(3)]
    name = rows[0].connection
    with job.hub.database.begin() as uow:
        for one in rows[left:]:
            row = uow.receipts.of_run(one.run_id)
            assert row is not None
            uow.session.delete(row)
    with job.hub.database.read() as uow:
        assert name in receipts.connections(uow)
    found = receipts.check(job.hub, name)
    assert found.broken == f"the receipt of run {rows[left].run_id} is missing"
    assert receipts.check(job.hub, job.names["crm"]).broken is None


def take_out(stage: Stage) -> None:
    with stage.hub.database.begin() as uow:
        uow.jobs.declare({}, at=stage.time.now)


def test_a_run_whose_job_was_taken_out_ends_with_what_it_had_read(
    job: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker stopped in the middle of the orders, and started with another configuration."""
    run_id, _ = sync.owe(job.hub, "erp", tick="t", requested_by="test")
    between_pages(monkeypatch, lambda: setattr(job.engine, "stopping", True), kind=Kind.ORDER)
    job.handlers["sync"](*job.engine.owed.pop().arguments)
    job.engine.stopping = False
    take_out(job)
    job.run_due()
    with job.hub.database.read() as uow:
        row = uow.jobs.run(run_id)
    assert row is not None
    assert row.state == "failed"
    assert row.error == {"message": "the job was taken out of the configuration"}
    body = receipt_of(job, row).body
    assert (body["counts"]["order"]["new"], body["error"]) == (stored_orders(job), row.error)
    assert body["gaps"] == [{"kind": "order", "why": "not_to_the_end"}]
    assert receipts.check(job.hub, job.names["erp"]).broken is None


@pytest.mark.parametrize("kinds", [["order"], None])
def test_a_run_that_never_began_names_what_its_job_would_have_read(
    job: Stage, kinds: list[str] | None
) -> None:
    with job.hub.database.begin() as uow:
        row = uow.jobs.get("erp")
        assert row is not None
        row.arguments = {"connection": "nobody", "kinds": kinds}
    failed = run(job)
    gaps = receipt_of(job, failed).body["gaps"]
    assert gaps == [{"kind": kind, "why": "not_read"} for kind in kinds or ()]


@pytest.mark.parametrize("left", [1, 0])
def test_receipts_of_a_job_that_was_taken_out_are_missed_too(job: Stage, left: int) -> None:
    rows = [receipt_of(job, run(job, f"t{n}")) for n in range(2)]
    take_out(job)
    assert receipts.check(job.hub, rows[0].connection).broken is None
    with job.hub.database.begin() as uow:
        for one in rows[left:]:
            row = uow.receipts.of_run(one.run_id)
            assert row is not None
            uow.session.delete(row)
    with job.hub.database.read() as uow:
        assert receipts.connections(uow) == [rows[0].connection]
    found = receipts.check(job.hub, rows[0].connection)
    assert found.broken == f"the receipt of run {rows[left].run_id} is missing"


def test_a_run_that_was_held_when_its_job_was_taken_out_lacks_no_receipt(job: Stage) -> None:
    """It never ran, so there is nothing that it could prove."""
    with job.hub.database.begin() as uow:
        arguments = {"connection": job.names["erp"]}
        spec = {"flow": "sync", "arguments": arguments, "schedule": {"every": 60}}
        uow.jobs.declare({"erp": {**spec, "after": ["first"]}, "first": spec}, at=job.time.now)
    held, _ = sync.owe(job.hub, "erp", tick="t", requested_by="schedule")
    take_out(job)
    rounds.look_again(job.hub)
    with job.hub.database.read() as uow:
        row = uow.jobs.run(held)
    assert row is not None
    assert (row.state, row.error) == ("failed", {"message": receipts.NOT_DECLARED})
    assert row.finished_at == job.time.now
    assert receipts.check(job.hub, job.names["erp"]).broken is None


def test_an_outage_does_not_hide_that_there_is_nothing_any_more(job: Stage) -> None:
    """Three saw something, one failed before it saw anything, and the next sees nothing."""
    for n in range(3):
        job.erp.put(job.order.model_copy(update={"number": f"SO-N{n}"}), job.account)
        run(job, f"t{n}")
        job.time.pass_(hours=1)
    job.erp.script.arm(Fault.DOWN, operation="changed_since", times=1000)
    assert run(job, "t3").state == "failed"
    job.erp.script.disarm()
    job.time.pass_(hours=1)
    assert "order" in receipt_of(job, run(job, "t4")).body["unusually_empty"]
    assert "sync.run.empty" in job.events()


def test_nothing_where_there_always_was_something_is_told(job: Stage) -> None:
    for n in range(3):
        job.erp.put(job.order.model_copy(update={"number": f"SO-N{n}"}))
        run(job, f"t{n}")
    assert "sync.run.empty" not in job.events()
    job.time.pass_(days=1)
    empty = run(job, "t9")
    assert empty.counts["order"]["seen"] == 0
    assert receipt_of(job, empty).body["unusually_empty"] == ["order"]
    assert job.events().count("sync.run.empty") == 1
    subject = f"{job.names['erp']}:order"
    with job.hub.database.read() as uow:
        assert [(one.type, one.subject) for one in uow.jobs.alarms()] == [("empty", subject)]
    job.erp.put(job.order.model_copy(update={"number": "SO-AGAIN"}))
    run(job, "t10")
    with job.hub.database.read() as uow:
        assert uow.jobs.alarms() == []
    assert job.events().count("sync.alarm.cleared") == 1


def test_what_another_job_sees_is_not_what_this_one_usually_sees(job: Stage) -> None:
    for n in range(3):
        job.erp.put(job.order.model_copy(update={"number": f"SO-N{n}"}))
        run(job, f"t{n}")
    with job.hub.database.begin() as uow:
        arguments = {"connection": job.names["erp"], "kinds": ["order"]}
        spec = {"flow": "sync", "arguments": arguments, "schedule": {"every": 60}}
        uow.jobs.declare({"erp": spec, "nightly": spec}, at=job.time.now)
    job.time.pass_(days=1)
    run_id, _ = sync.owe(job.hub, "nightly", tick="t9", requested_by="test")
    job.run_due()
    with job.hub.database.read() as uow:
        first = uow.receipts.of_run(run_id)
    assert first is not None
    assert first.body["counts"]["order"]["seen"] == 0
    assert first.body["unusually_empty"] == []
    assert "sync.run.empty" not in job.events()


def forget_cursors(stage: Stage) -> None:
    with stage.hub.database.begin() as uow:
        for row in uow.jobs.cursors():
            uow.session.delete(row)
