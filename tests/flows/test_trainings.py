"""Trainings: owed, done once, refused where they do harm, and taken back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from middleware.app import handlers
from middleware.domain.problems import ConflictError, InvalidError
from middleware.domain.understanding import Understanding
from middleware.flows import reconcile, trainings, understood
from middleware.flows.hub import Asker
from middleware.store import queries
from middleware.store.tables import UnderstandingHeadsRow, UnderstandingTrainingRow
from middleware.understanding import Rules
from middleware.understanding.pool import Pooled, PoolLimits
from middleware.understanding.trained import Trained
from tests.flows.conftest import Stage
from tests.flows.test_receive import arrive, event, the_complaint
from tests.understanding.small import small_model

ASKER = Asker("key_1", request_id="req_1")
TEXT = "our glimmerflange has wibbled"
"""Says nothing to whoever was not taught."""


def labelled(stage: Stage, folder: Path, reason: str = "stock") -> Stage:
    """The stage with sentences of the company's own."""
    path = folder / "labels.yaml"
    sentences = "".join(
        f'\n    - "glimmerflange {how}"' for how in ("wibbled", "wibbled again", "all wibbled")
    )
    path.write_text(f"reason:\n  {reason}:{sentences}\n")
    hub = replace(stage.hub, options=replace(stage.hub.options, labels=path))
    return replace(stage, hub=hub, handlers=handlers(hub))


def say(stage: Stage, **said: str) -> None:
    corrected = understood.Corrected(said)
    understood.correct(stage.hub, the_complaint(stage).id, corrected, version=None, asker=ASKER)


def train(stage: Stage, again: int | None = None) -> UnderstandingTrainingRow:
    """Ask for a training and have it done."""
    asked = trainings.ask(stage.hub, again=again, asker=ASKER)
    stage.run_due()
    return found(stage, asked.id)


def found(stage: Stage, training_id: str) -> UnderstandingTrainingRow:
    with stage.hub.database.read() as uow:
        row = uow.understandings.training(training_id)
        assert row is not None
        return row


def reason_of(stage: Stage, text: str = TEXT) -> str:
    return stage.hub.understands.understand(text).reason.alternatives[0].value


def test_heads_learn_and_every_replica_takes_them(read: Stage, tmp_path: Path) -> None:
    stage = labelled(read, tmp_path)
    arrive(stage, event("the glimmerflange wibbled on us"))
    say(stage, reason="stock", intent="complaint")
    other = Pooled(Rules(), lambda: Trained(small_model(), Rules()), PoolLimits(timeout_s=60))
    before = reason_of(stage)
    made = train(stage)
    assert (made.state, made.heads, made.why) == ("done", 1, None)
    assert made.learned_from == {"corrections": 1, "sentences": 3, "left_out": 0}
    assert made.report is not None
    assert made.report["reason"]["labels"] == 4
    assert made.report["intent"]["labels"] == 1
    assert made.started_at is not None
    assert made.ended_at is not None
    assert (before, reason_of(stage)) != ("stock", before)
    assert reason_of(stage) == "stock"
    with stage.hub.database.read() as uow:
        (entry,) = uow.audit.about(made.id)
        assert (entry.action, entry.actor) == ("understanding.train", "key_1")
    assert stage.events().count("understanding.training.done") == 1
    hub = replace(stage.hub, understands=other)
    elsewhere = replace(stage, hub=hub, handlers=handlers(hub))
    arrive(elsewhere, event(TEXT, id="m-9", conversation="c-9"), message_id="msg_9")
    there = other.trained()
    assert there is not None
    assert there.model.heads.version == "1"
    assert reason_of(elsewhere) == "stock"
    # What is kept is rounded; who fitted the heads judges by no others.
    text = "the lamp is rather late"
    assert stage.hub.understands.understand(text) == other.understand(text)
    assert trainings.in_use(hub).heads == 1
    other.close()


def test_one_that_waits_is_the_same_for_everybody_and_is_done_once(
    read: Stage, tmp_path: Path
) -> None:
    stage = labelled(read, tmp_path)
    first = trainings.ask(stage.hub, again=None, asker=ASKER)
    same = trainings.ask(stage.hub, again=None, asker=Asker("key_2"))
    back = trainings.ask(stage.hub, again=0, asker=ASKER)
    forth = trainings.ask(stage.hub, again=None, asker=ASKER)
    assert same.id == first.id
    assert len({first.id, back.id, forth.id}) == 3
    stage.run_due()
    assert [found(stage, t.id).heads for t in (first, back, forth)] == [1, 2, 3]
    trainings.run(stage.hub, first.id)
    assert found(stage, first.id).state == "done"
    with stage.hub.database.read() as uow:
        assert uow.understandings.next_number() == 4
    later = trainings.ask(stage.hub, again=None, asker=ASKER)
    assert later.id != first.id


def test_going_back_appends_former_heads(read: Stage, tmp_path: Path) -> None:
    stage = labelled(read, tmp_path)
    before = stage.hub.understands.understand(TEXT)
    assert train(stage).heads == 1
    taught = stage.hub.understands.understand(TEXT)
    assert taught.reason != before.reason
    back = train(stage, again=0)
    assert (back.state, back.again, back.heads, back.report) == ("done", 0, 2, {})
    after = stage.hub.understands.understand(TEXT)
    assert after.reason.alternatives == before.reason.alternatives
    assert after.by.startswith("small@000000000000+2")
    assert train(stage, again=1).heads == 3
    assert stage.hub.understands.understand(TEXT).reason == taught.reason
    with pytest.raises(InvalidError, match="no heads 9"):
        trainings.ask(stage.hub, again=9, asker=ASKER)
    _other_model(stage, number=4)
    with pytest.raises(InvalidError, match="no heads 4"):
        trainings.ask(stage.hub, again=4, asker=ASKER)


def test_what_would_do_harm_is_refused_and_told(read: Stage, tmp_path: Path) -> None:
    nothing = train(read)
    assert (nothing.state, nothing.heads) == ("refused", None)
    assert "there are no labels" in (nothing.why or "")
    stage = labelled(read, tmp_path)
    assert stage.hub.options.labels is not None
    stage.hub.options.labels.write_text("reason:\n  brokn: [x]\n")
    assert "reason.brokn: the classes are" in (train(stage).why or "")
    stage.hub.options.labels.unlink()
    assert "can't be read" in (train(stage).why or "")
    assert read.events().count("understanding.training.refused") == 3
    assert trainings.in_use(stage.hub).heads == 0


def test_somebody_else_was_faster(
    read: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = labelled(read, tmp_path)
    fit = trainings.refit
    fitted: list[str] = []

    def slowly(*arguments: object, version: str) -> object:
        made = fit(*arguments, version=version)  # type: ignore[arg-type]
        fitted.append(version)
        if len(fitted) == 1:
            _other_model(stage, number=1)
        return made

    monkeypatch.setattr(trainings, "refit", slowly)
    assert train(stage).heads == 2
    assert fitted == ["1", "2"]
    assert trainings.in_use(stage.hub).heads == 2


def test_a_failure_is_told_and_one_that_was_lost_is_owed_anew(
    read: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = labelled(read, tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(trainings, "refit", lambda *_, **__: 1 // 0)
        asked = trainings.ask(stage.hub, again=None, asker=ASKER)
        with pytest.raises(ZeroDivisionError):
            stage.run_due()
    failed = found(stage, asked.id)
    assert (failed.state, failed.why) == ("failed", "ZeroDivisionError; see the log")
    assert stage.events().count("understanding.training.failed") == 1
    lost = trainings.ask(stage.hub, again=None, asker=ASKER)
    stage.engine.owed.clear()
    reconcile.run(stage.hub, "t1")
    stage.run_due()
    assert found(stage, lost.id).state == "queued"
    stage.time.now += trainings.OVERDUE + timedelta(seconds=1)
    reconcile.run(stage.hub, "t2")
    stage.run_due()
    assert found(stage, lost.id).state == "done"


def test_only_what_the_model_reads_is_learned(read: Stage, tmp_path: Path) -> None:
    stage = labelled(read, tmp_path)
    text = "Meine Lampe ist leider immer noch nicht bei mir angekommen, das ist wirklich ärgerlich"
    arrive(stage, event(text))
    say(stage, reason="late")
    assert train(stage).learned_from == {"corrections": 0, "sentences": 3, "left_out": 1}


def test_what_was_deleted_is_not_learned(read: Stage, tmp_path: Path) -> None:
    stage = labelled(read, tmp_path)
    arrive(stage, event())
    say(stage, reason="late")
    gone = event(type_="message.deleted") | {"timestamp": "2026-11-21T12:30:00Z"}
    arrive(stage, gone, message_id="msg_3")
    assert train(stage).learned_from == {"corrections": 0, "sentences": 3, "left_out": 0}


def test_heads_of_another_model_are_left_alone(read: Stage) -> None:
    _other_model(read, number=7)
    arrive(read, event())
    assert trainings.in_use(read.hub).heads == 0
    kept = Understanding.model_validate(the_complaint(read).understanding)
    assert not kept.degraded


def test_rules_have_nothing_to_fit(known: Stage) -> None:
    with pytest.raises(ConflictError, match="Only the rules"):
        trainings.ask(known.hub, again=None, asker=ASKER)
    with known.hub.database.read() as uow:
        assert queries.trainings(uow, before=None, limit=9) == []
    assert trainings.in_use(known.hub).model is None


def _other_model(stage: Stage, *, number: int) -> None:
    """Heads of another model under this number."""
    with stage.hub.database.begin() as uow:
        uow.understandings.add_heads(
            UnderstandingHeadsRow(
                number=number,
                model="1" * 64,
                data=b"nothing",
                report={},
                made_by="x",
                made_at=stage.time(),
            )
        )
