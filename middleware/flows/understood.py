"""What people say a complaint is really about: kept, seen from then on, and held against a model.

A correction stands as long as nobody says otherwise, whatever the model thinks of later messages.
`middleware.flows.trainings` learns from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
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
from middleware.store.tables import ComplaintRow, UnderstandingLabelRow
from middleware.understanding.questions import CLASSES, NO_REMEDY

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


# --- degraded ----------------------------------------------------------------------------------

DEGRADED = "receive.degraded"
LOOKED_AT_ONCE = 200


def owe_degraded(hub: Hub) -> None:
    """Owe a look at what the rules judged while there was no model: this hub has one."""
    with hub.database.begin() as uow:
        name = f"{DEGRADED}:{hub.clock().isoformat()}"
        hub.engine.enqueue(uow, DEGRADED, "", name=name)


def look_at_degraded(hub: Hub, after: str) -> None:
    """Have open complaints with a degraded result that follow one, `after`, looked at again."""
    with hub.database.begin() as uow:
        ids = uow.understandings.degraded(after=after, limit=LOOKED_AT_ONCE)
        links.look_again(hub, uow, ids)
        if len(ids) == LOOKED_AT_ONCE:
            name = f"{DEGRADED}:{hub.clock().isoformat()}:{ids[-1]}"
            hub.engine.enqueue(uow, DEGRADED, ids[-1], name=name)


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


def agreement(
    hub: Hub, *, since: datetime | None = None, until: datetime | None = None
) -> list[Agreement]:
    """By question, over the stored complaints that were opened from `since` until `until`."""
    asked: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    corrected: Counter[str] = Counter()
    right: Counter[str] = Counter()
    differing: dict[str, Counter[tuple[str, str]]] = {}
    after: str | None = None
    while True:
        with hub.database.read() as uow:
            page = uow.understandings.understood(
                since=since, until=until, after=after, limit=COUNTED_AT_ONCE
            )
            said = uow.understandings.said_of([id_ for id_, kept in page if kept.get("shadow")])
        for id_, kept in page:
            for raw in kept.get("shadow", ()):
                shadow = Shadowed.model_validate(raw)
                asked[shadow.question] += 1
                agreed[shadow.question] += shadow.agrees
                if not shadow.agrees:
                    decided = _likeliest(kept[shadow.question])
                    differing.setdefault(shadow.question, Counter())[decided, shadow.value] += 1
                truth = said.get(id_, {}).get(shadow.question)
                if truth is not None:
                    corrected[shadow.question] += 1
                    right[shadow.question] += truth == shadow.value
        if len(page) < COUNTED_AT_ONCE:
            break
        after = page[-1][0]
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
