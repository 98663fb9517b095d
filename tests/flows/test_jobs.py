"""Jobs that run after others, full runs with their sweep, backfills, and the alarms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.memory.adapter import MemoryAdapter
from adapters.memory.remote import Fault
from middleware.contract.canonical import Kind, Order
from middleware.contract.capabilities import Quarantined, Tally
from middleware.contract.errors import Rejected
from middleware.domain.turns import Urgency
from middleware.flows import pause, prioritise, receipts, reconcile, rereading, sync, watch
from middleware.flows.gate import Gate
from middleware.flows.hub import Asker
from middleware.store.jobs import Jobs
from middleware.store.tables import ReceiptRow, RunRow
from tests.flows.conftest import Stage

ME = Asker(principal="key_admin")
HOURLY = {"every": 3600}


def declare(stage: Stage, **jobs: dict[str, Any]) -> None:
    connection = stage.names["erp"]
    declared = {
        name: {
            "flow": "sync",
            "arguments": {"connection": connection, **spec.pop("arguments", {"kinds": ["order"]})},
            "schedule": spec.pop("schedule", HOURLY),
            **spec,
        }
        for name, spec in jobs.items()
    }
    with stage.hub.database.begin() as uow:
        uow.jobs.declare(declared, at=stage.time.now)


@pytest.fixture
def orders(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Ten orders in the ERP, read three at a time, and a job that syncs them."""
    monkeypatch.setattr(sync, "PAGE", 3)
    declare(stage, orders={"full": {"every": 7 * 86400}})
    stage.erp.put(*(order(stage, n) for n in range(2, 11)))
    return stage


def order(stage: Stage, n: int) -> Order:
    ref = stage.ref("erp", Kind.ORDER, f"O{n}")
    return stage.order.model_copy(update={"ref": ref, "number": f"SO-{n}"})


def tick(stage: Stage) -> str:
    return stage.time.now.strftime("%Y-%m-%dT%H:%M:%SZ")


def scheduled(stage: Stage, job: str, *, run: bool = True) -> RunRow:
    run_id, _ = sync.owe(stage.hub, job, tick=tick(stage), requested_by="schedule")
    if run:
        stage.run_due()
    return found(stage, run_id)


def asked(stage: Stage, mode: str, job: str = "orders", **wanted: Any) -> RunRow:
    run_id = sync.owe_asked(stage.hub, job, ME, mode=mode, wanted=wanted)
    stage.run_due()
    stage.time.pass_(seconds=1)
    return found(stage, run_id)


def found(stage: Stage, run_id: str) -> RunRow:
    with stage.hub.database.read() as uow:
        row = uow.jobs.run(run_id)
    assert row is not None
    return row


def receipt_of(stage: Stage, run: RunRow) -> ReceiptRow:
    with stage.hub.database.read() as uow:
        row = uow.receipts.of_run(run.id)
    assert row is not None
    return row


def live(stage: Stage) -> set[str]:
    with stage.hub.database.read() as uow:
        return set(uow.records.live_ids(stage.names["erp"], Kind.ORDER))


def alarms(stage: Stage) -> dict[tuple[str, str], dict[str, Any]]:
    with stage.hub.database.read() as uow:
        return {(row.type, row.subject): row.detail for row in uow.jobs.alarms()}


def told_of(stage: Stage, type_: str) -> list[dict[str, Any]]:
    with stage.hub.database.read() as uow:
        return [dict(e.data) for e in uow.events.since(0, limit=1000) if e.type == type_]


def look(stage: Stage) -> None:
    reconcile.run(stage.hub, tick(stage))


# --- jobs that run after others ----------------------------------------------------------------


def test_a_job_waits_for_those_it_runs_after(orders: Stage) -> None:
    declare(orders, orders={}, shipments={"after": ["orders"]})
    held = scheduled(orders, "shipments")
    assert held.state == "held"
    assert held.waits == {"for": {"orders": "has not run yet"}, "upon": {}}
    first = scheduled(orders, "orders")
    assert first.state == "done"
    after = found(orders, held.id)
    assert after.state == "done"
    assert after.waits == {"for": {}, "upon": {"orders": first.id}}


def test_each_round_needs_a_run_of_its_own(orders: Stage) -> None:
    declare(orders, orders={}, shipments={"after": ["orders"]})
    scheduled(orders, "orders")
    assert scheduled(orders, "shipments").state == "done"
    orders.time.pass_(hours=1)
    held = scheduled(orders, "shipments")
    assert held.state == "held"
    orders.time.pass_(hours=1)
    joined, new = sync.owe(orders.hub, "shipments", tick=tick(orders), requested_by="schedule")
    assert (joined, new) == (held.id, False), "a later tick joins the held run"
    scheduled(orders, "orders")
    assert found(orders, held.id).state == "done"


def test_a_run_from_before_the_tick_is_not_of_this_round(orders: Stage) -> None:
    """The job it runs after is due at the same tick, and only its earlier run is done."""
    declare(orders, orders={"schedule": {"every": 1800}}, shipments={"after": ["orders"]})
    scheduled(orders, "orders")
    orders.time.pass_(hours=1)
    held = scheduled(orders, "shipments")
    assert held.state == "held"
    assert held.waits == {"for": {"orders": "has not run yet"}, "upon": {}}
    scheduled(orders, "orders")
    with orders.hub.database.read() as uow:
        assert uow.jobs.held() == []


def test_a_job_without_a_schedule_takes_a_run_that_was_due_before_its_round(orders: Stage) -> None:
    """It has no times of its own that the run would have to be of."""
    declare(
        orders,
        orders={},
        accounts={"arguments": {"kinds": ["account"]}},
        follows={"schedule": None, "after": ["orders", "accounts"]},
    )
    earlier = tick(orders)
    orders.time.pass_(hours=1)
    scheduled(orders, "orders")
    sync.owe(orders.hub, "accounts", tick=earlier, requested_by="schedule")
    orders.run_due()
    with orders.hub.database.read() as uow:
        assert [run.state for run in uow.jobs.runs_of("follows")] == ["done"]


@pytest.mark.parametrize("after", [["orders"], None])
def test_a_held_run_goes_by_what_is_declared_now(orders: Stage, after: list[str] | None) -> None:
    declare(orders, orders={}, shipments={"after": ["orders"]})
    held = scheduled(orders, "shipments")
    declare(orders, shipments={"after": after})
    look(orders)
    orders.run_due()
    now = found(orders, held.id)
    assert now.waits is not None
    if after is None:
        assert (now.state, now.waits["for"]) == ("done", {})
    else:
        assert (now.state, now.waits["for"]) == ("held", {"orders": "is no longer declared"})


def test_a_job_without_a_schedule_that_is_paused_begins_no_round(orders: Stage) -> None:
    declare(orders, orders={}, follows={"schedule": None, "after": ["orders"]})
    pause.set_paused(orders.hub, "follows", ME, paused=True)
    scheduled(orders, "orders")
    with orders.hub.database.read() as uow:
        assert uow.jobs.runs_of("follows") == []


def test_one_that_failed_holds_it_and_says_so(orders: Stage) -> None:
    declare(orders, orders={}, shipments={"after": ["orders"]})
    held = scheduled(orders, "shipments")
    orders.erp.script.arm(Fault.DOWN, operation="changed_since", times=sync.TRIES)
    failed = scheduled(orders, "orders")
    assert failed.state == "failed"
    waits = found(orders, held.id).waits
    assert waits is not None
    assert f"its run {failed.id} failed" in waits["for"]["orders"]
    orders.time.pass_(hours=1)
    assert scheduled(orders, "orders").state == "done"
    assert found(orders, held.id).state == "done"


def test_a_job_without_a_schedule_follows_every_round(orders: Stage) -> None:
    declare(
        orders,
        orders={},
        accounts={"arguments": {"kinds": ["account"]}},
        resolve={"schedule": None, "after": ["orders", "accounts"]},
    )
    for _ in range(2):
        at = tick(orders)
        scheduled(orders, "orders")
        with orders.hub.database.read() as uow:
            (held,) = uow.jobs.held()
        assert held.waits == {"for": {"accounts": "has not run yet"}, "upon": {}}
        look(orders)  # the accounts of the last round are still those of the last round
        assert found(orders, held.id).state == "held"
        scheduled(orders, "accounts")
        assert (found(orders, held.id).state, held.tick) == ("done", at)
        with orders.hub.database.read() as uow:
            job = uow.jobs.get("resolve")
        assert job is not None
        assert job.last_tick == at
        orders.time.pass_(hours=1)
    with orders.hub.database.read() as uow:
        assert [run.state for run in uow.jobs.runs_of("resolve")] == ["done", "done"]


def test_a_run_of_some_kinds_is_nobodys_round(orders: Stage) -> None:
    """Somebody reads the accounts anew: the orders, which others wait for, were not read."""
    declare(
        orders,
        orders={"arguments": {"kinds": ["order", "account"]}},
        shipments={"after": ["orders"]},
        follows={"schedule": None, "after": ["orders"], "arguments": {"kinds": ["account"]}},
    )
    held = scheduled(orders, "shipments")
    some = asked(orders, "full", kinds=["account"])
    assert some.state == "done"
    hour = {"since": orders.time.now - timedelta(hours=1), "until": orders.time.now}
    window = asked(orders, "backfill", **{name: at.isoformat() for name, at in hour.items()})
    assert window.state == "done"
    assert found(orders, held.id).state == "held"
    with orders.hub.database.read() as uow:
        assert uow.jobs.runs_of("follows") == []
        assert uow.jobs.last_of("orders", states=("done",)) is None
    whole = asked(orders, "full", most_deleted=0.5)
    assert found(orders, held.id).state == "done"
    with orders.hub.database.read() as uow:
        assert len(uow.jobs.runs_of("follows")) == 1
        done = uow.jobs.last_of("orders", states=("done",))
    assert done is not None
    assert done.id == whole.id


def test_a_person_is_not_made_to_wait(orders: Stage) -> None:
    declare(orders, orders={}, shipments={"after": ["orders"]})
    run_id, _ = sync.owe(orders.hub, "shipments", tick=tick(orders), requested_by="key_admin")
    orders.run_due()
    assert found(orders, run_id).state == "done"


def test_a_held_run_is_not_released_into_a_blackout_or_a_pause(orders: Stage) -> None:
    noon = {"from": "12:00", "to": "13:00"}
    declare(
        orders,
        orders={},
        shipments={"after": ["orders"], "schedule": {**HOURLY, "blackouts": [noon]}},
    )
    orders.time.now = datetime(2026, 11, 21, 11, 0, tzinfo=UTC)
    held = scheduled(orders, "shipments")
    orders.time.now = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
    scheduled(orders, "orders")
    waiting = found(orders, held.id)
    assert waiting.waits is not None
    assert waiting.waits["for"] == {"schedule": "a blackout until 2026-11-21T13:00:00Z"}
    orders.time.now = datetime(2026, 11, 21, 13, 0, tzinfo=UTC)
    pause.set_paused(orders.hub, "shipments", ME, paused=True)
    look(orders)
    waiting = found(orders, held.id)
    assert waiting.waits is not None
    assert waiting.waits["for"] == {"schedule": "the job is paused"}
    pause.set_paused(orders.hub, "shipments", ME, paused=False)
    look(orders)
    orders.run_due()
    assert found(orders, held.id).state == "done"


def test_a_run_that_another_node_released_is_not_released_again(
    orders: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(orders, orders={}, shipments={"after": ["orders"]})
    held = scheduled(orders, "shipments")
    scheduled(orders, "orders")
    done = found(orders, held.id)
    monkeypatch.setattr(Jobs, "held", lambda _: [held])  # as it was read a moment before
    orders.time.pass_(hours=1)
    look(orders)
    orders.run_due()
    assert found(orders, held.id).model_dump() == done.model_dump()
    assert done.state == "done"


def test_a_held_run_whose_job_is_gone_ends(orders: Stage) -> None:
    declare(orders, orders={}, shipments={"after": ["orders"]})
    held = scheduled(orders, "shipments")
    declare(orders, orders={})
    look(orders)
    assert found(orders, held.id).state == "failed"


# --- everything anew, and the sweep ------------------------------------------------------------


def vanish(stage: Stage, *numbers: int) -> None:
    """Records that are gone from the source without a word in its list of changes."""
    for n in numbers:
        del stage.erp._records[stage.ref("erp", Kind.ORDER, f"O{n}")]
    gone = {stage.ref("erp", Kind.ORDER, f"O{n}") for n in numbers}
    stage.erp.log[:] = [
        (stage.account.ref, False) if ref in gone else (ref, deleted)
        for ref, deleted in stage.erp.log
    ]


def test_a_full_run_finds_what_is_gone_and_leaves_the_cursor(orders: Stage) -> None:
    scheduled(orders, "orders")
    vanish(orders, 4, 5)
    orders.time.pass_(hours=1)
    assert scheduled(orders, "orders").counts["order"]["deleted"] == 0
    with orders.hub.database.read() as uow:
        before = uow.jobs.cursor(orders.names["erp"], "order")
    full = asked(orders, "full")
    assert full.state == "done"
    assert full.counts["order"]["deleted"] == 2
    assert full.counts["order"]["changed"] == 0
    assert live(orders) == {f"O{n}" for n in range(1, 11)} - {"O4", "O5"}
    with orders.hub.database.read() as uow:
        after = uow.jobs.cursor(orders.names["erp"], "order")
    assert before is not None
    assert after is not None
    assert (after.value, after.run_id) == (before.value, before.run_id)
    body = receipt_of(orders, full).body
    assert (body["mode"], body["gaps"]) == ("full", [])
    assert body["source"]["order"]["agrees"] is True
    orders.time.pass_(hours=1)
    assert receipt_of(orders, scheduled(orders, "orders")).body["gaps"] == []


def test_a_sweep_that_would_delete_too_much_deletes_nothing_and_says_so(orders: Stage) -> None:
    scheduled(orders, "orders")
    vanish(orders, 2, 3, 4)
    refused = asked(orders, "full")
    assert refused.state == "done"
    assert len(live(orders)) == 10
    gaps = receipt_of(orders, refused).body["gaps"]
    assert {"kind": "order", "why": "sweep_refused", "count": 3} in gaps
    subject = f"{orders.names['erp']}:order"
    assert alarms(orders)["sweep", subject]["count"] == 3
    asked(orders, "full")
    assert orders.events().count("sync.sweep.refused") == 1, "told once"
    assert asked(orders, "full", most_deleted=0.5).counts["order"]["deleted"] == 3
    assert ("sweep", subject) not in alarms(orders)
    assert "sync.alarm.cleared" in orders.events()


def test_a_sweep_is_refused_for_the_kind_alone_that_would_lose_too_much(orders: Stage) -> None:
    declare(orders, orders={"arguments": {"kinds": ["order", "account"]}})
    scheduled(orders, "orders")
    vanish(orders, 2, 3, 4)
    refused = asked(orders, "full")
    assert refused.progress is not None
    assert [refused.progress[kind]["phase"] for kind in ("order", "account")] == ["done", "done"]
    assert receipt_of(orders, refused).body["gaps"] == [
        {"kind": "order", "why": "sweep_refused", "count": 3}
    ]


def test_what_is_there_when_asked_for_singly_is_kept(
    orders: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list leaves one out that the source still has."""
    scheduled(orders, "orders")
    orders.erp.log[:] = [
        entry if entry[0].id != "O7" else (orders.account.ref, False) for entry in orders.erp.log
    ]
    full = asked(orders, "full")
    assert full.counts["order"]["deleted"] == 0
    assert "O7" in live(orders)
    # With more to ask for than are asked for, the sweep is not believed: of the three that are left
    # out, one is gone, and two are asked for.
    vanish(orders, 4)
    monkeypatch.setattr(rereading, "ASKED_SINGLY", 2)
    vanished = {"O2"}
    orders.erp.log[:] = [
        entry if entry[0].id not in vanished else (orders.account.ref, False)
        for entry in orders.erp.log
    ]
    refused = asked(orders, "full", most_deleted=1.0)
    assert [g["why"] for g in receipt_of(orders, refused).body["gaps"]] == ["sweep_refused"]
    assert "O4" in live(orders)


def test_what_lies_in_quarantine_is_not_swept(
    orders: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduled(orders, "orders")
    original = MemoryAdapter.changed_since

    def unmappable(self: MemoryAdapter, kind: Kind, cursor: str | None, *, limit: int = 200) -> Any:
        page = original(self, kind, cursor, limit=limit)
        odd = [r for r in page.records if r.ref.id == "O3"]
        return page.model_copy(
            update={
                "records": tuple(r for r in page.records if r.ref.id != "O3"),
                "quarantined": tuple(
                    Quarantined(kind=kind, id=r.ref.id, field="status", reason="unknown")
                    for r in odd
                ),
            }
        )

    monkeypatch.setattr(MemoryAdapter, "changed_since", unmappable)
    full = asked(orders, "full")
    assert (full.counts["order"]["deleted"], full.counts["order"]["quarantined"]) == (0, 1)
    assert "O3" in live(orders)


@pytest.mark.parametrize("dies_at", range(1, 7))
def test_a_full_run_that_dies_at_any_page_goes_on(
    orders: Stage, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    scheduled(orders, "orders")
    vanish(orders, 4)
    run_id = sync.owe_asked(orders.hub, "orders", ME, mode="full", wanted={})
    original, pages = rereading.Rereading._keep, 0

    def die(self: rereading.Rereading, *args: Any) -> Any:
        nonlocal pages
        pages += 1
        if pages == dies_at:
            raise SystemExit("killed")
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(rereading.Rereading, "_keep", die)
        try:
            orders.run_due()
        except SystemExit:
            orders.handlers["sync"](run_id)
    full = found(orders, run_id)
    assert (full.state, full.counts["order"]["deleted"]) == ("done", 1)
    assert full.counts["order"]["seen"] == 9
    assert "O4" not in live(orders)


def test_a_cursor_that_the_remote_no_longer_takes_is_replaced(orders: Stage) -> None:
    scheduled(orders, "orders")
    vanish(orders, 6)
    with orders.hub.database.begin() as uow:
        row = uow.jobs.cursor(orders.names["erp"], "order")
        assert row is not None
        row.value = "expired"
    orders.time.pass_(hours=1)
    anew = scheduled(orders, "orders")
    assert anew.state == "done"
    assert "O6" not in live(orders)
    orders.erp.put(order(orders, 77))
    orders.time.pass_(hours=1)
    following = scheduled(orders, "orders")
    assert (following.state, following.counts["order"]["seen"]) == ("done", 1)
    assert "O77" in live(orders)


def test_an_adapter_that_takes_no_cursor_at_all_fails(
    orders: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Rejected("no", field="cursor")

    monkeypatch.setattr(MemoryAdapter, "changed_since", refuse)
    assert scheduled(orders, "orders").state == "failed"


# --- backfills ---------------------------------------------------------------------------------


def test_a_backfill_reads_a_window_again_and_leaves_the_cursor(orders: Stage) -> None:
    scheduled(orders, "orders")
    since = datetime.now(UTC)
    orders.erp.put(order(orders, 3), order(orders, 50))
    until = datetime.now(UTC)
    orders.erp.put(order(orders, 60))
    orders.time.pass_(hours=1)
    scheduled(orders, "orders")
    with orders.hub.database.begin() as uow:
        before = uow.jobs.cursor(orders.names["erp"], "order")
        # Something has spoilt what is stored.
        uow.records.delete([order(orders, 50).ref], as_of=orders.time.now)
    window = {"since": since.isoformat(), "until": until.isoformat()}
    again = asked(orders, "backfill", **window)
    assert again.state == "done"
    assert again.counts["order"]["seen"] == 2
    assert again.counts["order"]["changed"] == 1
    assert "O50" in live(orders)
    with orders.hub.database.read() as uow:
        after = uow.jobs.cursor(orders.names["erp"], "order")
    assert before is not None
    assert after is not None
    assert after.value == before.value
    assert receipt_of(orders, again).body["gaps"] == []
    orders.time.pass_(hours=1)
    assert receipt_of(orders, scheduled(orders, "orders")).body["gaps"] == []


def test_a_backfill_of_a_quiet_day_is_no_alarm(orders: Stage) -> None:
    for n in (3, 4, 5):
        scheduled(orders, "orders")
        orders.erp.put(order(orders, n).model_copy(update={"number": f"SO-N{n}"}))
        orders.time.pass_(hours=1)
    day = {"since": "2020-01-01T00:00:00+00:00", "until": "2020-01-02T00:00:00+00:00"}
    quiet = asked(orders, "backfill", **day)
    assert (quiet.state, quiet.counts["order"]["seen"]) == ("done", 0)
    assert receipt_of(orders, quiet).body["unusually_empty"] == []
    assert alarms(orders) == {}


def test_a_backfill_marks_what_was_deleted_in_its_window(orders: Stage) -> None:
    scheduled(orders, "orders")
    since = datetime.now(UTC)
    orders.erp.delete(order(orders, 5).ref)
    until = datetime.now(UTC)
    again = asked(orders, "backfill", since=since.isoformat(), until=until.isoformat())
    assert again.counts["order"]["deleted"] == 1
    assert "O5" not in live(orders)


def test_whose_orders_a_full_run_finds_changed_are_scored_anew(
    orders: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduled(orders, "orders")
    told: list[str] = []

    def owed(_hub: Any, _uow: Any, records: Any, *, name: str) -> None:
        told.extend(record.ref.id for record in records)

    monkeypatch.setattr(prioritise, "owe_accounts", owed)
    asked(orders, "full")
    assert told == []
    orders.erp.put(order(orders, 3).model_copy(update={"number": "SO-CHANGED"}))
    assert asked(orders, "full").counts["order"]["changed"] == 1
    assert "O3" in told


# --- what the source says ----------------------------------------------------------------------


def test_a_receipt_holds_the_sources_count_beside_ours(
    orders: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = receipt_of(orders, scheduled(orders, "orders")).body["source"]["order"]
    assert (said["count"], said["held"], said["differs"], said["agrees"]) == (10, 10, 0, True)
    assert len(said["digest"]) == 32
    monkeypatch.setattr(MemoryAdapter, "count_records", lambda *_: Tally(count=12))
    for expected in ([], [{"kind": "order", "why": "fewer_than_the_source", "count": 2}]):
        orders.time.pass_(hours=1)
        body = receipt_of(orders, scheduled(orders, "orders")).body
        assert body["source"]["order"]["agrees"] is False
        assert body["gaps"] == expected, "once is no gap, twice is one"


def test_other_records_in_the_same_number_do_not_agree(orders: Stage) -> None:
    scheduled(orders, "orders")
    with orders.hub.database.begin() as uow:
        uow.records.delete([order(orders, 5).ref], as_of=orders.time.now)
    orders.store(order(orders, 99))
    orders.time.pass_(hours=1)
    said = receipt_of(orders, scheduled(orders, "orders")).body["source"]["order"]
    assert (said["differs"], said["agrees"]) == (0, False)


def test_a_source_that_fails_to_count_does_not_fail_the_run(orders: Stage) -> None:
    orders.erp.script.arm(Fault.DOWN, operation="count_records", times=1)
    run = scheduled(orders, "orders")
    assert run.state == "done"
    assert "failed" in receipt_of(orders, run).body["source"]["order"]
    assert receipts.check(orders.hub, orders.names["erp"]).broken is None


# --- alarms ------------------------------------------------------------------------------------


def test_a_late_job_is_told_once_and_cleared(orders: Stage) -> None:
    scheduled(orders, "orders")
    orders.time.now = datetime(2026, 11, 21, 13, 30, tzinfo=UTC)
    look(orders)
    assert alarms(orders) == {}
    for _ in range(3):
        orders.time.pass_(seconds=1)
        look(orders)
        assert ("late", "orders") in alarms(orders)
    late = {"why": "not_started", "job": "orders", "run": None, "due": "2026-11-21T13:00:00Z"}
    assert alarms(orders)["late", "orders"] == late
    (told,) = told_of(orders, "sync.job.late")
    assert told == {"connection": None, "kinds": [], **late}
    scheduled(orders, "orders")
    look(orders)
    assert alarms(orders) == {}
    assert orders.events().count("sync.alarm.cleared") == 1


@pytest.mark.parametrize("why", ["queued", "failed", "held"])
def test_a_late_job_says_why(orders: Stage, why: str) -> None:
    after = ["accounts"] if why == "held" else None
    declare(
        orders,
        orders={"late_after": 60.0, "after": after},
        accounts={"schedule": {"every": 86400}, "arguments": {"kinds": ["account"]}},
    )
    if why == "failed":
        orders.erp.script.arm(Fault.DOWN, operation="changed_since", times=100)
    orders.time.pass_(hours=1)
    scheduled(orders, "orders", run=why != "queued")
    orders.time.pass_(minutes=2)
    (late,) = [f for f in watch.find(orders.hub, orders.time.now) if f.type == "late"]
    assert (late.subject, late.why) == ("orders", why)


def late(stage: Stage) -> dict[str, str]:
    found = watch.find(stage.hub, stage.time.now)
    return {one.subject: one.why for one in found if one.type == "late"}


def test_a_job_that_never_ran_is_late(orders: Stage) -> None:
    orders.time.pass_(hours=2)
    assert late(orders) == {"orders": "not_started"}


def test_one_that_follows_others_is_late_with_a_run_that_is_not_done(orders: Stage) -> None:
    declare(orders, orders={}, follows={"schedule": None, "after": ["orders"]})
    assert late(orders) == {}
    scheduled(orders, "orders")
    orders.time.pass_(hours=2)
    assert late(orders) == {"orders": "not_started"}
    scheduled(orders, "orders", run=False)
    orders.run_due()
    sync.owe(orders.hub, "follows", tick=tick(orders) + "/2", requested_by="key_admin")
    orders.time.pass_(minutes=31)
    assert late(orders) == {"follows": "queued"}
    declare(orders, orders={}, follows={"schedule": None, "after": ["nobody"]})
    found = watch.find(orders.hub, orders.time.now)
    assert [(one.type, one.why) for one in found] == [("unscheduled", "after_unknown")]
    pause.set_paused(orders.hub, "follows", ME, paused=True)
    assert watch.find(orders.hub, orders.time.now) == []


def test_a_resolution_that_is_stopped_each_time_is_late(orders: Stage) -> None:
    """One that follows others has no due time to miss: the run that was stopped tells."""
    declare(
        orders,
        orders={},
        resolve={"schedule": None, "after": ["orders"], "late_after": 60.0},
        reports={"after": ["resolve"]},
    )
    scheduled(orders, "orders")
    assert scheduled(orders, "reports").state == "done"
    with orders.hub.database.begin() as uow:
        (row,) = uow.jobs.runs_of("resolve")
        assert row.state == "done"
    orders.time.pass_(hours=1)
    run = scheduled(orders, "orders")
    assert run.state == "done"
    with orders.hub.database.begin() as uow:
        row = uow.jobs.runs_of("resolve")[0]
        row.state, row.error = "stopped", {"message": "9 links would change, 3 may"}
        stopped = row.id
    orders.time.pass_(minutes=2)
    (late,) = [f for f in watch.find(orders.hub, orders.time.now) if f.subject == "resolve"]
    assert (late.type, late.why, late.detail["run"]) == ("late", "stopped", stopped)
    held = scheduled(orders, "reports")
    assert held.waits is not None
    assert held.waits["for"]["resolve"] == f"its run {stopped} stopped: 9 links would change, 3 may"


def test_a_paused_job_is_not_late_and_neither_is_one_just_resumed(orders: Stage) -> None:
    scheduled(orders, "orders")
    pause.set_paused(orders.hub, "orders", ME, paused=True)
    orders.time.pass_(hours=5)
    assert watch.find(orders.hub, orders.time.now) == []
    pause.set_paused(orders.hub, "orders", ME, paused=False)
    assert watch.find(orders.hub, orders.time.now) == []
    orders.time.pass_(hours=2)
    assert [f.type for f in watch.find(orders.hub, orders.time.now)] == ["late"]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"schedule": {"cron": "61 * * * *"}}, "schedule_unreadable"),
        ({"schedule": {"cron": "0 0 30 2 *"}}, "never_due"),
        ({"schedule": None}, "no_schedule"),
        ({"schedule": None, "after": ["nobody"]}, "after_unknown"),
    ],
)
def test_a_job_that_nothing_runs_is_an_alarm(orders: Stage, spec: dict[str, Any], why: str) -> None:
    declare(orders, orders={}, lost=dict(spec))
    look(orders)
    look(orders)
    assert alarms(orders)["unscheduled", "lost"]["why"] == why
    assert orders.events().count("sync.job.unscheduled") == 1
    declare(orders, orders={})
    look(orders)
    assert alarms(orders) == {}


def test_kinds_that_no_job_syncs_are_an_alarm_unless_left_out_on_purpose(orders: Stage) -> None:
    erp = orders.names["erp"]
    with orders.hub.database.begin() as uow:
        uow.connections.declare({erp: ("memory", {})}, at=orders.time.now)
    look(orders)
    missing = alarms(orders)["unscheduled", erp]
    assert "order" not in missing["kinds"]
    assert set(missing["kinds"]) == {str(k) for k in MemoryAdapter.change_kinds} - {"order"}
    left_out = {"kinds": ["order"], "not_synced": missing["kinds"]}
    declare(orders, orders={"arguments": left_out})
    look(orders)
    assert alarms(orders) == {}


@pytest.mark.parametrize("named", ["a", "b"])
def test_a_job_that_names_no_kinds_syncs_them_all(orders: Stage, named: str) -> None:
    erp = orders.names["erp"]
    whole: dict[str, Any] = {"arguments": {}}
    declare(orders, **{name: {} if name == named else dict(whole) for name in ("a", "b")})
    with orders.hub.database.begin() as uow:
        uow.connections.declare({erp: ("memory", {})}, at=orders.time.now)
        assert watch.raised(orders.hub, uow, "empty", f"{erp}:contact", {}, at=orders.time.now)
    look(orders)
    assert set(alarms(orders)) == {("empty", f"{erp}:contact")}


@pytest.mark.parametrize("gone", [True, False])
def test_what_a_run_has_raised_ends_with_the_kind_that_no_job_syncs_any_more(
    orders: Stage, gone: bool
) -> None:
    """No run will ever clear it, and health would be bad for ever."""
    subject = f"{orders.names['erp']}:order"
    with orders.hub.database.begin() as uow:
        for type_ in ("empty", "sweep"):
            assert watch.raised(orders.hub, uow, type_, subject, {}, at=orders.time.now)
    look(orders)
    assert {("empty", subject), ("sweep", subject)} <= alarms(orders).keys()
    if gone:
        declare(orders)
    else:
        declare(orders, orders={"arguments": {"kinds": ["account"]}})
    look(orders)
    assert not {("empty", subject), ("sweep", subject)} & alarms(orders).keys()
    assert orders.events().count("sync.alarm.cleared") == 2


# --- priority ----------------------------------------------------------------------------------


def test_whatever_a_job_asks_is_asked_as_a_batch(
    orders: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agents' look-ups go first: what the gate does with a batch, its own tests prove."""
    asked_as: list[Urgency] = []
    original = Gate.remote

    def remote(self: Gate, connection: str, urgency: Urgency, **more: Any) -> Any:
        asked_as.append(urgency)
        return original(self, connection, urgency, **more)

    monkeypatch.setattr(Gate, "remote", remote)
    scheduled(orders, "orders")
    vanish(orders, 4)
    asked(orders, "full")
    now = datetime.now(UTC)
    since = (now - timedelta(hours=1)).isoformat()
    asked(orders, "backfill", since=since, until=now.isoformat())
    assert len(asked_as) > 10
    assert set(asked_as) == {Urgency.BATCH}
