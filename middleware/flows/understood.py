"""What people say a complaint is really about: kept, learned from, and seen from then on.

A correction stands as long as nobody says otherwise, whatever the model thinks of later messages.
Heads that were fitted to corrections are rows; every replica takes the newest with the next
complaint it understands.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from middleware.contract.actions import Reason
from middleware.domain.ids import new_id
from middleware.domain.problems import ConflictError, InvalidError, NotFoundError
from middleware.domain.understanding import (
    Band,
    Intent,
    Judgement,
    Remedy,
    Sentiment,
    Shadowed,
    Understanding,
)
from middleware.flows import deliver
from middleware.flows import link as links
from middleware.flows.hub import Asker, Hub
from middleware.store.database import UnitOfWork
from middleware.store.tables import (
    ComplaintRow,
    UnderstandingHeadsRow,
    UnderstandingLabelRow,
)
from middleware.understanding.model import ModelRefusedError, heads_as_bytes, heads_from
from middleware.understanding.pool import Pooled
from middleware.understanding.questions import CLASSES, NO_REMEDY
from middleware.understanding.refit import Refit, refit
from middleware.understanding.training.corpus import Row

log = logging.getLogger(__name__)

MOST_LABELS = 20_000
"""Corrections that are learned from, the newest."""
COUNTED_AT_ONCE = 500
CORRECTED = "corrected"
"""What judged where a person did."""


@dataclass(frozen=True)
class Corrected:
    """What somebody says of a complaint, by question; `none` as a remedy says that they want
    nothing."""

    said: Mapping[str, str]
    agent: str | None = None
    """Who of those behind the key says it."""


def correct(
    hub: Hub, complaint_id: str, corrected: Corrected, *, version: int | None, asker: Asker
) -> ComplaintRow:
    """Keep what somebody says, show it at once, and owe a new look: the order meant may differ.

    Raises NotFoundError, InvalidError (an answer that there is none of), ConflictError (not yet
    understood, or changed since it was read).
    """
    _check(corrected.said)
    now = hub.clock()
    said_by = f"{asker.principal}:{corrected.agent}" if corrected.agent else asker.principal
    with hub.database.begin() as uow:
        complaint = uow.complaints.get(complaint_id, lock=True)
        if complaint is None:
            raise NotFoundError(f"No complaint has the id {complaint_id}.")
        if version is not None and complaint.version != version:
            raise ConflictError(f"The complaint is at version {complaint.version} now.")
        if complaint.understanding is None:
            raise ConflictError("The complaint has not been understood yet, or was deleted.")
        understood = Understanding.model_validate(complaint.understanding)
        changes: dict[str, dict[str, str]] = {}
        for question, value in corrected.said.items():
            was = getattr(understood, question).word
            uow.understandings.add_label(
                UnderstandingLabelRow(
                    id=new_id("lbl"),
                    complaint_id=complaint.id,
                    question=question,
                    value=value,
                    was=was,
                    judged_by=understood.by,
                    said_by=said_by,
                    said_at=now,
                )
            )
            changes[question] = {"was": was, "is": value}
        after = as_said(understood, corrected.said)
        complaint.understanding = after.model_dump(mode="json")
        complaint.updated_at = now
        complaint.version += 1
        deliver.tell(
            hub,
            uow,
            "complaint.corrected",
            subject=complaint.id,
            data={"id": complaint.id, "changes": changes},
            at=now,
        )
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action="complaint.correct",
            subject=complaint.id,
            request_id=asker.request_id,
            agent=corrected.agent,
            changes=changes,
        )
        links.look_again(hub, uow, (complaint.id,))
    return complaint


def _check(said: Mapping[str, str]) -> None:
    if not said:
        raise InvalidError("Say at least one of intent, sentiment, reason and remedy.")
    errors = [
        {
            "pointer": f"/{question}",
            "code": "value",
            "detail": f"must be one of {', '.join(CLASSES[question])}",
        }
        for question, value in said.items()
        if value not in CLASSES[question]
    ]
    if errors:
        raise InvalidError("There is no such answer.", errors=errors)


def as_said(understood: Understanding, said: Mapping[str, str]) -> Understanding:
    """An understanding with what people said in the place of what was judged."""
    kinds: dict[str, type[Intent | Sentiment | Reason | Remedy]] = {
        "intent": Intent,
        "sentiment": Sentiment,
        "reason": Reason,
        "remedy": Remedy,
    }
    changed: dict[str, Judgement[Any]] = {}
    for question, value in said.items():
        judged = getattr(understood, question)
        right = None if value == NO_REMEDY else kinds[question](value)
        changed[question] = Judgement[Any](
            value=right,
            confidence=1.0,
            evidence=judged.evidence if judged.value == right else (),
            band=Band.AUTO,
            alternatives=judged.alternatives,
        )
    by = understood.by if understood.by.endswith(CORRECTED) else f"{understood.by}, {CORRECTED}"
    return understood.model_copy(update={**changed, "by": by}) if changed else understood


def corrected_before(uow: UnitOfWork, complaint_id: str) -> dict[str, str]:
    """What people said of a complaint, by question."""
    return {q: row.value for q, row in uow.understandings.labels_of(complaint_id).items()}


# --- heads ---------------------------------------------------------------------------------------


def keep_up(hub: Hub, uow: UnitOfWork) -> None:
    """Take the newest heads that were fitted for the model in use, where there are newer ones."""
    understands = hub.understands
    trained = understands.trained() if isinstance(understands, Pooled) else None
    if trained is None or not isinstance(understands, Pooled):
        return
    number = uow.understandings.heads_number(trained.model.digest)
    if str(number) == trained.model.heads.version:
        return
    row = uow.understandings.heads(number)
    if row is None:
        return
    try:
        understands.use(heads_from(row.data))
    except ModelRefusedError as error:
        log.error("heads refused", extra={"number": number, "why": str(error)})  # noqa: TRY400


@dataclass(frozen=True)
class Retrained:
    number: int
    refit: Refit


def retrain(hub: Hub, own: Sequence[Row], *, asker: Asker) -> Retrained:
    """Fit the heads anew to all corrections and to `own` sentences; they are in use from now on.

    Raises ConflictError (there is no model to fit), RefitRefusedError (there are no labels, or
    they contradict what was learned before).
    """
    understands = hub.understands
    trained = understands.trained() if isinstance(understands, Pooled) else None
    if trained is None or not isinstance(understands, Pooled):
        raise ConflictError("Only the rules are in use; there is no model to fit.")
    with hub.database.read() as uow:
        keep_up(hub, uow)
        labelled = _labelled(uow)
        number = uow.understandings.next_number()
    made = refit(trained.model, [*labelled, *own], version=str(number))
    now = hub.clock()
    with hub.database.begin() as uow:
        if uow.understandings.next_number() != number:
            raise ConflictError("Somebody else fitted the heads meanwhile; see what they made.")
        uow.understandings.add_heads(
            UnderstandingHeadsRow(
                number=number,
                model=trained.model.digest,
                data=heads_as_bytes(made.heads),
                report=made.report,
                made_by=asker.principal,
                made_at=now,
            )
        )
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action="understanding.retrain",
            subject=f"heads:{number}",
            request_id=asker.request_id,
            model=trained.model.name,
            corrections=len(labelled),
            sentences=len(own),
            report=made.report,
        )
    understands.use(made.heads)
    return Retrained(number, made)


def _labelled(uow: UnitOfWork) -> list[Row]:
    """The complaints that people corrected, with what they said; deleted texts are not there."""
    said: dict[str, dict[str, str]] = {}
    for label in uow.understandings.labels(limit=MOST_LABELS):
        said.setdefault(label.complaint_id, {})[label.question] = label.value
    rows = []
    for complaint_id, by_question in said.items():
        texts = [
            a.text
            for a in uow.complaints.arrivals_of(complaint_id)
            if not a.outgoing and a.deleted_at is None and a.text
        ]
        if texts:
            rows.append(Row(text="\n".join(texts), group=complaint_id, **by_question))
    return rows


# --- shadow --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """How often a model in shadow found what the deciding one did, and what people said."""

    question: str
    asked: int
    agreed: int
    corrected: int
    """Of these, how many people corrected or confirmed."""
    right: int
    """Of those, how often the model in shadow had it right."""
    differences: tuple[tuple[str, str, int], ...]
    """What was decided, what the shadow said, and how often; the most frequent first."""


def agreement(hub: Hub) -> list[Agreement]:
    """Over all stored complaints, by question."""
    asked: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    corrected: Counter[str] = Counter()
    right: Counter[str] = Counter()
    differing: dict[str, Counter[tuple[str, str]]] = {}
    after: str | None = None
    while True:
        with hub.database.read() as uow:
            page = uow.understandings.understood(after=after, limit=COUNTED_AT_ONCE)
            said = {
                row.id: corrected_before(uow, row.id)
                for row in page
                if (row.understanding or {}).get("shadow")
            }
        for row in page:
            kept = row.understanding or {}
            for raw in kept.get("shadow", ()):
                shadow = Shadowed.model_validate(raw)
                asked[shadow.question] += 1
                agreed[shadow.question] += shadow.agrees
                if not shadow.agrees:
                    decided = _likeliest(kept[shadow.question])
                    differing.setdefault(shadow.question, Counter())[decided, shadow.value] += 1
                if shadow.question in said[row.id]:
                    corrected[shadow.question] += 1
                    right[shadow.question] += said[row.id][shadow.question] == shadow.value
        if len(page) < COUNTED_AT_ONCE:
            break
        after = page[-1].id
    return [
        Agreement(
            question,
            asked[question],
            agreed[question],
            corrected[question],
            right[question],
            tuple((a, b, n) for (a, b), n in differing.get(question, Counter()).most_common(10)),
        )
        for question in sorted(asked)
    ]


def _likeliest(judged: Mapping[str, Any]) -> str:
    alternatives = judged.get("alternatives") or ()
    return str(alternatives[0]["value"] if alternatives else judged.get("value") or "unknown")
