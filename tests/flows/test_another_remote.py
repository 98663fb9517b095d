"""A connection that leads to another system: nothing is read, deleted or written there."""

from __future__ import annotations

import pytest

from middleware.contract.actions import Operation
from middleware.contract.canonical import Kind
from middleware.contract.errors import Transient
from middleware.domain.breaker import State
from middleware.domain.policy import built_in
from middleware.domain.problems import NotFoundError, NotOfferedError
from middleware.domain.turns import Urgency
from middleware.flows import correct, sync
from middleware.flows.gate import Gate
from middleware.flows.hub import Asker
from middleware.store.tables import RunRow
from tests.flows.conftest import Stage

ADMIN = Asker(principal="cli:admin")


@pytest.fixture
def synced(stage: Stage) -> Stage:
    with stage.hub.database.begin() as uow:
        uow.jobs.declare(
            {
                "erp": {
                    "flow": "sync",
                    "arguments": {"connection": stage.names["erp"], "kinds": ["order"]},
                    "schedule": {"every": 60},
                }
            },
            at=stage.time.now,
        )
    assert run(stage, "t1").state == "done"
    return stage


def run(stage: Stage, tick: str, *, mode: str = "changes") -> RunRow:
    run_id, _ = sync.owe(stage.hub, "erp", tick=tick, requested_by="test", mode=mode)
    stage.run_due()
    with stage.hub.database.read() as uow:
        row = uow.jobs.run(run_id)
    assert row is not None
    return row


def live(stage: Stage) -> int:
    with stage.hub.database.read() as uow:
        return uow.records.live(stage.names["erp"], Kind.ORDER)


def cursor(stage: Stage) -> str:
    with stage.hub.database.read() as uow:
        row = uow.jobs.cursor(stage.names["erp"], "order")
    assert row is not None
    return row.value


def started_anew(stage: Stage) -> None:
    """What a process that begins knows: nothing but what is stored."""
    object.__setattr__(stage.hub, "gate", Gate(stage.hub))


def replaced(stage: Stage) -> None:
    """Another company's system at the same address, with none of the records."""
    stage.erp.tenant = "another"
    stage.erp.delete(stage.order.ref)


@pytest.mark.parametrize("mode", ["changes", "full"])
def test_a_run_stops_before_it_reads_or_deletes(synced: Stage, mode: str) -> None:
    first, was = synced.erp.tenant, cursor(synced)
    replaced(synced)
    read = synced.erp.calls["changed_since"]
    row = run(synced, "t2", mode=mode)
    assert row.state == "failed"
    assert row.error is not None
    told = row.error["message"]
    assert f"memory {first}" in told
    assert "memory another" in told
    assert f"amends connections accept-remote {synced.names['erp']}" in told
    assert synced.erp.calls["changed_since"] == read
    assert (live(synced), cursor(synced)) == (1, was)
    assert "connection.stopped" in synced.events()
    assert synced.hub.gate.standing(synced.names["erp"]).breaker.state is State.STOPPED
    row = run(synced, "t3", mode=mode)
    assert row.state == "failed"
    assert "memory another" in (row.error or {})["message"]


def test_resuming_is_not_accepting(synced: Stage) -> None:
    replaced(synced)
    run(synced, "t2")
    synced.hub.gate.resume(synced.names["erp"], ADMIN)
    assert run(synced, "t3").state == "failed"
    assert live(synced) == 1


def test_pointed_back_and_resumed_it_goes_on_where_it_stopped(synced: Stage) -> None:
    first = synced.erp.tenant
    synced.erp.tenant = "another"
    run(synced, "t2")
    synced.erp.tenant = first
    synced.hub.gate.resume(synced.names["erp"], ADMIN)
    row = run(synced, "t3")
    assert (row.state, row.progress) == ("done", None)


def test_one_that_is_accepted_is_read_anew_and_swept(synced: Stage) -> None:
    """Its first run is an ordinary one by its name, and reads everything for all that."""
    name = synced.names["erp"]
    other = synced.order.model_copy(update={"ref": synced.ref("erp", Kind.ORDER, "O2")})
    synced.erp.put(other)
    run(synced, "t2")
    first = synced.erp.tenant
    synced.erp.tenant = "restored"
    # A log that is shorter than the cursor knows would hide what the copy has.
    assert run(synced, "t3").state == "failed"
    assert synced.hub.gate.accept(name, ADMIN) == (f"memory {first}", "memory restored")
    row = run(synced, "t4")
    assert row.state == "done"
    assert row.counts["order"]["seen"] == 2
    assert (row.progress or {})["order"]["phase"] == "done"
    after = run(synced, "t5")
    assert (after.state, after.progress) == ("done", None)
    with synced.hub.database.read() as uow:
        (audited,) = [one for one in uow.audit.about(name) if one.action.endswith("accept_remote")]
    assert audited.detail == {"was": f"memory {first}", "now": "memory restored"}


def test_nothing_is_written_there(synced: Stage, asker: Asker) -> None:
    """Also where no sync has run since the settings were changed."""
    synced.store(synced.account, synced.order, synced.contact)
    stage = synced.with_options(policy=built_in(approval_of_strangers=False))
    stage.erp.tenant = "another"
    started_anew(stage)
    action_id, _ = correct.create(stage.hub, stage.wanted(case=None), asker)
    stage.run_due()
    assert stage.erp.count(Operation.REPLACEMENT_ORDER) == 0
    assert stage.state(action_id) == "waiting"
    stage.hub.gate.accept(stage.names["erp"], ADMIN)
    stage.run_all(hours=1)
    assert stage.erp.count(Operation.REPLACEMENT_ORDER) == 1


def test_a_write_alone_learns_who_it_is_and_goes_by_it(stage: Stage) -> None:
    name = stage.names["desk"]
    line = stage.hub.gate._line(name)
    made = lambda: "made"  # noqa: E731
    within = stage.hub.options.read_deadline
    assert line.call("create_note", made, Urgency.WORK, within, None) == "made"
    assert stage.desk.calls["remote_identity"] == 1
    line.call("create_note", made, Urgency.WORK, within, None)
    assert stage.desk.calls["remote_identity"] == 1
    stage.desk.tenant = "another"
    started_anew(stage)
    line = stage.hub.gate._line(name)
    with pytest.raises(Transient, match="memory another"):
        line.call("create_note", made, Urgency.WORK, within, None)


def test_one_that_cannot_say_is_left_alone(stage: Stage) -> None:
    stage.erp.tenant = None
    with pytest.raises(NotOfferedError):
        stage.hub.gate.accept(stage.names["erp"], ADMIN)
    with pytest.raises(NotFoundError):
        stage.hub.gate.accept("nobody", ADMIN)
    with stage.hub.database.read() as uow:
        assert uow.connections.remote(stage.names["erp"]) is None


def test_of_two_replicas_that_hear_of_it_at_once_one_is_kept(stage: Stage) -> None:
    for identity in ("a", "b"):
        with stage.hub.database.begin() as uow:
            assert uow.connections.know_remote("erp", identity, at=stage.time.now) == "a"
