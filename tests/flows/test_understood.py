"""Corrections: kept, shown at once, standing against the model, and learned from."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from middleware.app import handlers
from middleware.contract.actions import Reason
from middleware.domain.problems import ConflictError, InvalidError, NotFoundError
from middleware.domain.understanding import Band, Remedy, Shadowed, Understanding
from middleware.flows import understood
from middleware.flows.hub import Asker
from middleware.understanding import Rules
from middleware.understanding.model import ModelRefusedError
from middleware.understanding.pool import Pooled
from middleware.understanding.trained import Trained
from tests.flows.conftest import Stage
from tests.flows.test_receive import arrive, event, the_complaint

ASKER = Asker("key_1", request_id="req_1")


def shown(stage: Stage) -> Understanding:
    return Understanding.model_validate(the_complaint(stage).understanding)


def say(stage: Stage, agent: str | None = None, **said: str) -> None:
    complaint = the_complaint(stage)
    understood.correct(
        stage.hub, complaint.id, understood.Corrected(said, agent), version=None, asker=ASKER
    )


def test_a_correction_stands_and_is_told(read: Stage) -> None:
    arrive(read, event("My lamp arrived broken, I want a new one"))
    before = shown(read)
    assert before.by.startswith("small@")
    assert before.reason.alternatives
    say(read, "anna", reason="defective", remedy="none")
    after = shown(read)
    assert (after.reason.value, after.reason.confidence) == (Reason.DEFECTIVE, 1.0)
    assert after.reason.band is Band.AUTO
    assert after.remedy.value is None
    assert after.by == f"{before.by}, corrected"
    read.run_due()
    assert shown(read).reason.value is Reason.DEFECTIVE
    arrive(read, event("And it arrived broken, smashed!", id="m-2"), message_id="msg_2")
    assert shown(read).reason.value is Reason.DEFECTIVE
    assert "complaint.corrected" in read.events()
    with read.hub.database.read() as uow:
        labels = uow.understandings.labels_of(the_complaint(read).id)
        (entry,) = [
            e for e in uow.audit.about(the_complaint(read).id) if e.action == "complaint.correct"
        ]
    assert {q: (row.value, row.was) for q, row in labels.items()} == {
        "reason": ("defective", before.reason.word),
        "remedy": ("none", before.remedy.word),
    }
    assert labels["reason"].said_by == "key_1:anna"
    assert entry.detail["changes"]["reason"]["is"] == "defective"
    say(read, reason="damaged")
    read.run_due()
    assert shown(read).reason.value is Reason.DAMAGED


def test_what_cannot_be_corrected_is_refused(read: Stage) -> None:
    arrive(read, event())
    complaint = the_complaint(read)

    def correct(id_: str, version: int | None = None, **said: str) -> None:
        understood.correct(read.hub, id_, understood.Corrected(said), version=version, asker=ASKER)

    with pytest.raises(NotFoundError):
        correct("cmp_nothing", reason="late")
    with pytest.raises(InvalidError, match="no such answer") as refused:
        correct(complaint.id, reason="brokn", remedy="refund")
    assert [e["pointer"] for e in refused.value.errors] == ["/reason"]
    with pytest.raises(InvalidError, match="at least one"):
        correct(complaint.id)
    with pytest.raises(ConflictError, match="version"):
        correct(complaint.id, version=complaint.version - 1, reason="late")
    arrive(
        read,
        event(type_="message.deleted") | {"timestamp": "2026-11-21T12:30:00Z"},
        message_id="msg_3",
    )
    with pytest.raises(ConflictError, match="deleted"):
        correct(complaint.id, reason="late")
    with read.hub.database.read() as uow:
        assert uow.understandings.labels(limit=10) == []


def test_agreement_of_a_shadow_is_counted_against_people_too(known: Stage) -> None:
    arrive(known, event())
    complaint = the_complaint(known)
    with known.hub.database.begin() as uow:
        row = uow.complaints.get(complaint.id, lock=True)
        assert row is not None
        kept = Understanding.model_validate(row.understanding)
        shadow = Shadowed(question="reason", value="late", probability=0.9, agrees=False)
        row.understanding = kept.model_copy(update={"shadow": (shadow,)}).model_dump(mode="json")
    (before,) = understood.agreement(known.hub)
    assert (before.asked, before.agreed, before.corrected) == (1, 0, 0)
    assert before.differences == (("damaged", "late", 1),)
    say(known, reason="late", remedy=Remedy.REFUND.value)
    (after,) = understood.agreement(known.hub)
    assert (after.corrected, after.right) == (1, 1)


# --- degraded ------------------------------------------------------------------------------------


def test_what_the_model_had_no_time_for_is_judged_again(read: Stage) -> None:
    pool = read.hub.understands
    assert isinstance(pool, Pooled)
    pool.limits = replace(pool.limits, queue=0)
    arrive(read, event("My lamp arrived broken, I want a new one"))
    read.run_due()
    assert shown(read).degraded
    read.time.now += timedelta(minutes=1)
    read.run_due()
    assert shown(read).degraded
    pool.limits = replace(pool.limits, queue=9)
    (owed,) = [o for o in read.engine.owed if o.flow == "receive.enrich"]
    assert timedelta(minutes=1) <= owed.due - read.time.now <= timedelta(minutes=2)
    read.run_all()
    assert not shown(read).degraded
    assert shown(read).by.startswith("small@")
    assert not [o for o in read.engine.owed if o.flow == "receive.enrich"]


def test_a_hub_that_has_its_model_back_looks_at_what_is_open(read: Stage) -> None:
    def refuse() -> Trained:
        raise ModelRefusedError("its files are not what its manifest says")

    without = replace(read.hub, understands=Pooled(Rules(), refuse))
    alone = replace(read, hub=without, handlers=handlers(without))
    for n in range(3):
        arrive(alone, event(id=f"m-{n}", conversation=f"c-{n}"), message_id=f"msg_{n}")
    alone.run_all()
    assert not [o for o in read.engine.owed if o.flow == "receive.enrich"]
    with read.hub.database.begin() as uow:
        first, second, third = uow.understandings.degraded(after="", limit=9)
        row = uow.complaints.get(second, lock=True)
        assert row is not None
        row.state = "closed"
    understood.owe_degraded(read.hub)
    read.run_all()
    with read.hub.database.read() as uow:
        kept = {id_: uow.complaints.get(id_) for id_ in (first, second, third)}
    assert [
        bool(row and row.understanding and row.understanding["degraded"]) for row in kept.values()
    ] == [False, True, False]


def test_many_are_looked_at_in_turns(read: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = read.hub.understands
    assert isinstance(pool, Pooled)
    pool.refused = "for a test"
    for n in range(5):
        arrive(read, event(id=f"m-{n}", conversation=f"c-{n}"), message_id=f"msg_{n}")
    pool.refused = None
    monkeypatch.setattr(understood, "LOOKED_AT_ONCE", 2)
    with read.hub.database.read() as uow:
        ids = uow.understandings.degraded(after="", limit=9)
    assert len(ids) == 5
    understood.owe_degraded(read.hub)
    read.run_all()
    with read.hub.database.read() as uow:
        assert uow.understandings.degraded(after="", limit=9) == []
