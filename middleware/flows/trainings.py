"""Teaching the model what people said: the heads fitted anew, or earlier ones taken again.

A training is owed like other work and done by a worker; what came of it is a row, refused or not.
Heads are rows as well, never changed: every replica takes the newest with the next complaint that
it understands, so that going back means to append former heads once more.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from middleware.domain.ids import new_id
from middleware.domain.problems import ConflictError, InvalidError
from middleware.domain.understanding import TrainingState
from middleware.flows import deliver
from middleware.flows.hub import Asker, Hub
from middleware.store.database import UnitOfWork
from middleware.store.tables import UnderstandingHeadsRow, UnderstandingTrainingRow
from middleware.understanding.language import identify
from middleware.understanding.model import Heads, ModelRefusedError, heads_as_bytes, heads_from
from middleware.understanding.pool import Pooled
from middleware.understanding.refit import RefitRefusedError, read_labels, refit
from middleware.understanding.trained import Trained
from middleware.understanding.training.corpus import MalformedSentencesError, Row

log = logging.getLogger(__name__)

FLOW = "train"
MOST_LABELS = 20_000
"""Corrections that are learned from, the newest."""
READ_AT_ONCE = 500
OVERDUE = timedelta(minutes=30)
"""After how long one that has not ended is owed anew."""


@dataclass(frozen=True)
class InUse:
    """What texts are judged with."""

    model: str | None
    """None where the rules judge alone."""
    heads: int
    """Which fit of its heads; 0 are those that it came with."""
    languages: tuple[str, ...]
    """Those that a model judges."""
    own: Mapping[str, bool]
    """The questions that a model of the customer's answers too, and whether it decides."""
    refused: str | None
    """Why a configured model is not in use: what is judged meanwhile is degraded."""


def _model_of(hub: Hub) -> Trained | None:
    return hub.understands.trained() if isinstance(hub.understands, Pooled) else None


def has_model(hub: Hub) -> bool:
    """Whether texts are judged by a model, and not by the rules alone."""
    return _model_of(hub) is not None


def in_use(hub: Hub) -> InUse:
    trained = _model_of(hub)
    if trained is None:
        refused = hub.understands.refused if isinstance(hub.understands, Pooled) else None
        return InUse(None, 0, (), {}, refused)
    with hub.database.read() as uow:
        keep_up(hub, uow)
    model = trained.model
    others = trained.world.languages if trained.world is not None else ()
    return InUse(
        model.id,
        int(model.heads.version),
        tuple(dict.fromkeys((*model.languages, *others))),
        {question: not one.shadow for question, one in sorted(trained.own.items())},
        None,
    )


def keep_up(hub: Hub, uow: UnitOfWork) -> None:
    """Take the newest heads that were fitted for the model in use, where there are newer ones."""
    trained = _model_of(hub)
    if trained is None:
        return
    number = uow.understandings.heads_number(trained.model.digest)
    if str(number) == trained.model.heads.version:
        return
    row = uow.understandings.heads(number)
    if row is None:
        return
    try:
        trained.model.heads = heads_from(row.data)
    except ModelRefusedError as error:
        log.error("heads refused", extra={"number": number, "why": str(error)})  # noqa: TRY400


# --- asked for ---------------------------------------------------------------------------------


def ask(hub: Hub, *, again: int | None, asker: Asker) -> UnderstandingTrainingRow:
    """Owe a training. The last that waits is the same for everybody: it learns all there is then.

    `again` takes these heads once more instead, 0 those that the model came with. Raises
    InvalidError where there are no such heads, ConflictError where there is no model to fit.
    """
    with hub.database.begin() as uow:
        _check(hub, uow, again)
        uow.policies.take_turns(["trainings"])
        # What would be done after something else in between is another one.
        for last in uow.understandings.trainings_unfinished()[-1:]:
            if last.state == TrainingState.QUEUED and last.again == again:
                return last
        row = _asked(hub, again, asker)
        uow.understandings.add_training(row)
        _note(uow, row, asker)
        hub.engine.enqueue(uow, FLOW, row.id, name=f"{FLOW}:{row.id}")
    return row


def at_once(hub: Hub, *, again: int | None, asker: Asker) -> UnderstandingTrainingRow:
    """A training here and now, for the console. Raises as `ask` does; a refusal is in the row."""
    with hub.database.begin() as uow:
        _check(hub, uow, again)
        row = _asked(hub, again, asker)
        row.state, row.started_at = TrainingState.RUNNING, row.asked_at
        uow.understandings.add_training(row)
        _note(uow, row, asker)
    run(hub, row.id)
    with hub.database.read() as uow:
        done = uow.understandings.training(row.id)
        assert done is not None
        return done


def _check(hub: Hub, uow: UnitOfWork, again: int | None) -> None:
    trained = _trained(hub)
    if again:
        found = uow.understandings.heads(again)
        if found is None or found.model != trained.model.digest:
            detail = "the numbers of earlier trainings' heads, or 0"
            raise InvalidError(
                f"The model in use has no heads {again}.",
                errors=[{"pointer": "/heads", "code": "value", "detail": detail}],
            )


def _asked(hub: Hub, again: int | None, asker: Asker) -> UnderstandingTrainingRow:
    return UnderstandingTrainingRow(
        id=new_id("trn"),
        state=TrainingState.QUEUED,
        again=again,
        asked_by=asker.principal,
        asked_at=hub.clock(),
    )


def _note(uow: UnitOfWork, row: UnderstandingTrainingRow, asker: Asker) -> None:
    uow.audit.write(
        at=row.asked_at,
        actor=asker.principal,
        action="understanding.train",
        subject=row.id,
        request_id=asker.request_id,
        again=row.again,
    )


def _trained(hub: Hub) -> Trained:
    """The model in use. Raises ConflictError where there is none."""
    trained = _model_of(hub)
    if trained is None:
        raise ConflictError("Only the rules are in use; there is no model to fit.")
    return trained


# --- done --------------------------------------------------------------------------------------


def run(hub: Hub, training_id: str) -> None:
    """Do what was asked for. May be run again at any time: one that has ended stays as it is."""
    with hub.database.begin() as uow:
        row = uow.understandings.training(training_id, lock=True)
        if row is None or row.ended_at is not None:
            return
        row.state, row.started_at = TrainingState.RUNNING, hub.clock()
        again = row.again
    try:
        while not _kept(hub, training_id, _made(hub, again)):
            log.info("fitted anew: others were faster", extra={"training": training_id})
    except (
        RefitRefusedError,
        MalformedSentencesError,
        ModelRefusedError,
        ConflictError,
    ) as error:
        _ended(hub, training_id, TrainingState.REFUSED, str(error))
    except Exception as error:
        _ended(hub, training_id, TrainingState.FAILED, f"{type(error).__name__}; see the log")
        raise


@dataclass(frozen=True)
class _Made:
    number: int
    model: str
    heads: Heads
    report: dict[str, Any]
    learned_from: dict[str, int]


def _made(hub: Hub, again: int | None) -> _Made:
    """Heads under the next number; kept only if nobody else took it meanwhile."""
    trained = _trained(hub)
    digest = trained.model.digest
    with hub.database.read() as uow:
        keep_up(hub, uow)
        number = uow.understandings.next_number()
        if again is not None:
            former = uow.understandings.heads(again) if again else None
            heads = heads_from(former.data) if former else trained.shipped
            return _Made(number, digest, replace(heads, version=str(number)), {}, {})
        corrected, left_out = _labelled(uow, trained.model.languages)
    labels = hub.options.labels
    own = read_labels(labels) if labels else []
    made = refit(trained.model, [*corrected, *own], version=str(number))
    learned = {"corrections": len(corrected), "sentences": len(own), "left_out": left_out}
    return _Made(number, digest, made.heads, made.report, learned)


def _kept(hub: Hub, training_id: str, made: _Made) -> bool:
    """Put the heads in use; False where somebody else's have their number by now."""
    now = hub.clock()
    data = heads_as_bytes(made.heads)
    with hub.database.begin() as uow:
        uow.policies.take_turns(["trainings"])
        row = uow.understandings.training(training_id, lock=True)
        if row is None or row.ended_at is not None:
            return True
        if uow.understandings.next_number() != made.number:
            return False
        uow.understandings.add_heads(
            UnderstandingHeadsRow(
                number=made.number,
                model=made.model,
                data=data,
                report=made.report,
                made_by=row.asked_by,
                made_at=now,
            )
        )
        row.heads, row.report, row.learned_from = made.number, made.report, made.learned_from
        _end(hub, uow, row, TrainingState.DONE, None, now)
    # As every replica has them: what is kept is rounded.
    _trained(hub).model.heads = heads_from(data)
    return True


def _ended(hub: Hub, training_id: str, state: TrainingState, why: str) -> None:
    with hub.database.begin() as uow:
        row = uow.understandings.training(training_id, lock=True)
        if row is not None and row.ended_at is None:
            _end(hub, uow, row, state, why, hub.clock())


def _end(
    hub: Hub,
    uow: UnitOfWork,
    row: UnderstandingTrainingRow,
    state: TrainingState,
    why: str | None,
    now: datetime,
) -> None:
    row.state, row.why, row.ended_at = state, why, now
    deliver.tell(
        hub,
        uow,
        f"understanding.training.{state}",
        subject=row.id,
        data={
            "id": row.id,
            "state": state.value,
            "again": row.again,
            "heads": row.heads,
            "learned_from": row.learned_from or {},
            "why": why,
        },
        at=now,
    )


def _labelled(uow: UnitOfWork, languages: tuple[str, ...]) -> tuple[list[Row], int]:
    """The complaints that people corrected, with what they said, and how many were left out: those
    in a language that the model does not read. Deleted texts are not there."""
    said: dict[str, dict[str, str]] = {}
    for label in uow.understandings.labels(limit=MOST_LABELS):
        said.setdefault(label.complaint_id, {})[label.question] = label.value
    texts: dict[str, list[str]] = {}
    language: dict[str, str | None] = {}
    ids = list(said)
    for start in range(0, len(ids), READ_AT_ONCE):
        for a in uow.complaints.arrivals_of_all(ids[start : start + READ_AT_ONCE]):
            if not a.outgoing and a.deleted_at is None and a.text:
                texts.setdefault(a.complaint_id, []).append(a.text)
                language[a.complaint_id] = a.language
    rows = [
        Row(text="\n".join(texts[id_]), group=id_, **by_question)
        for id_, by_question in said.items()
        if id_ in texts
    ]
    read = [r for r in rows if identify(r.text, language[r.group]).value in (None, *languages)]
    return read, len(rows) - len(read)


def owe_overdue(hub: Hub, tick: str) -> None:
    """Owe those anew that were asked for and never ended."""
    before = hub.clock() - OVERDUE
    with hub.database.begin() as uow:
        for row in uow.understandings.trainings_unfinished():
            if (row.started_at or row.asked_at) < before:
                hub.engine.enqueue(uow, FLOW, row.id, name=f"{FLOW}:{row.id}:{tick}")
