"""Intake: one commit for what arrives together, and each delivery once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
import sqlalchemy as sa

from middleware.domain.ids import new_id
from middleware.flows import intake as intake_module
from middleware.flows.intake import HANDLED_TOGETHER, Accepted, BusyError, Intake
from middleware.store.tables import InboxRow
from tests.flows.conftest import Stage


def row(stage: Stage, message_id: str, body: bytes = b"{}") -> InboxRow:
    return InboxRow(
        id=new_id("inb"),
        connection=stage.names["desk"],
        message_id=message_id,
        body_hash=hashlib.sha256(body).hexdigest(),
        headers={"source": "generic"},
        body=body,
        trust="signature",
        state="stored",
        received_at=stage.time(),
    )


@pytest.fixture
def intake(stage: Stage) -> Iterator[Intake]:
    made = Intake(stage.hub)
    yield made
    made.close()


class Gate:
    """Holds the writer before its commit, so that more arrives meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inside, self.open = threading.Event(), threading.Event()
        self.batches: list[int] = []
        store = Intake._store

        def held(intake: Intake, batch: list[intake_module._Waiting]) -> list[Accepted]:
            self.inside.set()
            assert self.open.wait(30)
            self.batches.append(len(batch))
            return store(intake, batch)

        monkeypatch.setattr(Intake, "_store", held)


def stored(stage: Stage) -> dict[str, InboxRow]:
    with stage.hub.database.read() as uow:
        return {r.message_id: r for r in uow.inbox.in_state("stored", limit=1000)}


def results(futures: list[Future[Accepted]]) -> list[Accepted]:
    return [future.result(timeout=30) for future in futures]


def test_a_delivery_is_stored_and_its_handling_owed(stage: Stage, intake: Intake) -> None:
    given = row(stage, "m1", b'{"a": 1}')
    (accepted,) = results([intake.submit(given)])
    assert accepted == Accepted(inbox_id=given.id, new=True, same_body=True)
    kept = stored(stage)["m1"]
    assert kept.model_dump() == given.model_dump()
    assert [(o.flow, o.arguments) for o in stage.engine.owed] == [("receive", (given.id,))]


def test_a_repeat_is_known_and_does_nothing(stage: Stage, intake: Intake) -> None:
    (first,) = results([intake.submit(row(stage, "m1"))])
    again, other = results(
        [intake.submit(row(stage, "m1")), intake.submit(row(stage, "m1", b'{"other": 1}'))]
    )
    assert again == Accepted(inbox_id=first.inbox_id, new=False, same_body=True)
    assert other == Accepted(inbox_id=first.inbox_id, new=False, same_body=False)
    assert stored(stage)["m1"].body == b"{}"
    assert len(stage.engine.owed) == 1


def test_what_arrives_together_is_committed_together(
    stage: Stage, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    first = intake.submit(row(stage, "first"))
    assert gate.inside.wait(30)
    rest = [intake.submit(row(stage, f"m{n}")) for n in range(40)]
    gate.open.set()
    accepted = results([first, *rest])
    assert gate.batches == [1, 40]
    assert all(a.new and a.same_body for a in accepted)
    assert len(stored(stage)) == 41
    owed = [o.arguments for o in stage.engine.owed]
    assert [len(ids) for ids in owed] == [1, HANDLED_TOGETHER, HANDLED_TOGETHER, 8]
    assert sorted(i for ids in owed for i in ids) == sorted(a.inbox_id for a in accepted)


def test_repeats_in_one_commit_are_one_row(
    stage: Stage, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight senders, one message; two of them have got its body wrong."""
    (before,) = results([intake.submit(row(stage, "before"))])
    gate = Gate(monkeypatch)
    plug = intake.submit(row(stage, "plug"))
    assert gate.inside.wait(30)
    same = [intake.submit(row(stage, "same")) for _ in range(6)]
    wrong = [intake.submit(row(stage, "same", b"[]")) for _ in range(2)]
    old = intake.submit(row(stage, "before"))
    other = intake.submit(row(stage, "other"))
    gate.open.set()
    results([plug])
    assert [a.new for a in results(same)] == [True] + [False] * 5
    assert [a.same_body for a in results(wrong)] == [False, False]
    assert len({a.inbox_id for a in results(same + wrong)}) == 1
    assert results([old]) == [Accepted(before.inbox_id, new=False, same_body=True)]
    assert results([other])[0].new
    assert set(stored(stage)) == {"before", "plug", "same", "other"}


def test_a_message_id_belongs_to_its_connection(stage: Stage, intake: Intake) -> None:
    mine, theirs = row(stage, "m1"), row(stage, "m1")
    theirs.connection = "elsewhere"
    first, second = results([intake.submit(mine), intake.submit(theirs)])
    assert first.new
    assert second.new
    again = row(stage, "m1")
    again.connection = "elsewhere"
    assert results([intake.submit(again)])[0].inbox_id == theirs.id


def test_one_bad_row_does_not_refuse_its_neighbours(
    stage: Stage, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    plug = intake.submit(row(stage, "plug"))
    assert gate.inside.wait(30)
    bad = row(stage, "bad")
    bad.received_at = bad.received_at.replace(tzinfo=None)  # the store refuses it
    good = [intake.submit(row(stage, f"m{n}")) for n in range(3)]
    failing = intake.submit(bad)
    gate.open.set()
    results([plug])
    assert all(a.new for a in results(good))
    with pytest.raises(sa.exc.StatementError):
        failing.result(timeout=30)
    assert set(stored(stage)) == {"plug", "m0", "m1", "m2"}


def test_nothing_is_promised_when_too_many_wait(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "MOST_WAITING", 3)
    gate = Gate(monkeypatch)
    intake = Intake(stage.hub)
    futures = [intake.submit(row(stage, "plug"))]
    assert gate.inside.wait(30)
    futures += [intake.submit(row(stage, f"m{n}")) for n in range(3)]
    with pytest.raises(BusyError):
        intake.submit(row(stage, "one too many"))
    gate.open.set()
    assert all(a.new for a in results(futures))
    assert "one too many" not in stored(stage)
    intake.close()


def test_what_waits_when_it_closes_is_stored(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    intake = Intake(stage.hub)
    futures = [intake.submit(row(stage, "plug"))]
    assert gate.inside.wait(30)
    futures += [intake.submit(row(stage, f"m{n}")) for n in range(5)]
    gate.open.set()
    intake.close()
    assert all(a.new for a in results(futures))
    assert len(stored(stage)) == 6


def test_a_failed_commit_is_told_and_owes_nothing(
    stage: Stage, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(stage.engine, "enqueue", fail)
        future = intake.submit(row(stage, "m1"))
        with pytest.raises(OSError, match="full"):
            future.result(timeout=30)
    assert stored(stage) == {}
    assert results([intake.submit(row(stage, "m1"))])[0].new, "the writer is still at work"
