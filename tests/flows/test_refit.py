"""A model that learns from what people answered, and says what it would do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from middleware.contract.canonical import Contact, Kind, Ref
from middleware.domain.identity import Basis, Candidate, Evidence, EvidenceKind
from middleware.domain.problems import ConflictError
from middleware.flows import cannot
from middleware.flows import link as links
from middleware.flows import refit as refits
from middleware.flows.hub import Asker
from middleware.resolution.model import read_model, write_model
from middleware.store.tables import ArrivalRow, ComplaintRow, ReviewRow
from tests.flows.conftest import Stage

AGENT = Asker(principal="key_agent")
GIVEN = [a + e + b + "a" for a in "bdfgklmnprst" for e in "aeiou" for b in "lmnrst"]
FAMILY = [a + e + b + "sen" for a in "bdfgklmnprst" for e in "aeiou" for b in "lmnrst"]


def _name(number: int) -> tuple[str, str]:
    """Given names are shared by a few, so that none of them is rare."""
    return GIVEN[number % 90].title(), FAMILY[number % len(FAMILY)].title()


def _ref(stage: Stage, number: int) -> Ref:
    return stage.ref("crm", Kind.CONTACT, f"X{number}")


def _answered(
    stage: Stage, place: int, name: str, said: str, ref: Ref, *, subject: str | None = None
) -> None:
    """A question about somebody who writes, as it stands once it is answered."""
    unsaid = Evidence(
        kind=EvidenceKind.NAME, detail="x", weight=1.0, basis=Basis.INFERRED, compared="x"
    )
    candidate = Candidate(refs=(ref,), score=1.0, evidence=(unsaid,))
    now = stage.time()
    answer: dict[str, Any] = {"said": said, "candidate": 0 if said == "this" else None}
    with stage.hub.database.begin() as uow:
        complaint = ComplaintRow(
            id=f"cmp_{place:05}",
            connection=stage.names["desk"],
            conversation=f"c{place}",
            network="x",
            state="open",
            opened_at=now,
            updated_at=now,
        )
        uow.complaints.add(complaint)
        uow.complaints.add_arrival(
            ArrivalRow(
                id=f"arr_{place:05}",
                complaint_id=complaint.id,
                connection=complaint.connection,
                source_id=f"m{place}",
                author={"network": "x", "native_id": str(place), "display_name": name},
                text="It is broken.",
                received_at=now,
            )
        )
        uow.reviews.add(
            ReviewRow(
                id=f"rev_{place:05}",
                kind="review",
                state="answered",
                subject=subject or complaint.id,
                complaint_id=complaint.id,
                candidates=[candidate.model_dump(mode="json")],
                decision={},
                terms={},
                urgency=1,
                fingerprint=str(place),
                answer={**answer, "person": None},
                answered_by="kim",
                answered_at=now,
                opened_at=now,
                updated_at=now,
            )
        )


@pytest.fixture
def answered(stage: Stage) -> Stage:
    """Those with the very name are on file; those with another's family name are not."""
    stage.store(
        *(
            Contact(ref=_ref(stage, n), display_name=" ".join(_name(n)))
            for n in range(refits.LEAST_ANSWERS)
        )
    )
    for n in range(refits.LEAST_ANSWERS):
        given, family = _name(n)
        if n % 2:
            _answered(stage, n, f"{given} {family}", "this", _ref(stage, n))
        else:
            _answered(stage, n, f"{GIVEN[100 + n % 50].title()} {family}", "none", _ref(stage, n))
    return stage


def test_answers_make_a_model_that_agrees_with_them_better(answered: Stage, tmp_path: Path) -> None:
    found = refits.refit(answered.hub, version="ours-1")
    apart = found.before.authors
    assert found.on_file + found.strangers + apart == refits.LEAST_ANSWERS
    assert apart == found.after.authors > 20
    assert found.after.loss < found.before.loss
    assert found.after.wrong == 0
    assert found.model.version == "ours-1"
    assert found.model.thresholds == answered.hub.options.likeness.thresholds
    write_model(found.model, tmp_path / "model.json")
    assert read_model(tmp_path / "model.json") == found.model


def test_too_few_answers_are_refused_with_what_there_is(stage: Stage) -> None:
    _answered(stage, 1, "Ada Berg", "none", _ref(stage, 1))
    with pytest.raises(ConflictError, match=re.escape("said of 1 authors")):
        refits.refit(stage.hub, version="ours-1")


def test_an_answer_that_another_overtook_does_not_count(answered: Stage) -> None:
    """The same author was asked about again: the later answer stands."""
    likeness = answered.hub.options.likeness
    assert len(list(refits._answered(answered.hub, likeness))) == refits.LEAST_ANSWERS
    given, family = _name(1)
    answered.time.pass_(minutes=1)
    _answered(answered, 5000, f"{given} {family}", "unsure", _ref(answered, 1), subject="cmp_00001")
    assert len(list(refits._answered(answered.hub, likeness))) == refits.LEAST_ANSWERS - 1


def test_an_answer_that_was_taken_back_does_not_count(answered: Stage) -> None:
    """Somebody ended the link that it made, or lifted what it held apart."""
    now = answered.time()
    with answered.hub.database.begin() as uow:
        author = uow.people.see(
            network="x", native_id="1", handle=None, display_name=None, at=now
        ).id
        made = links.LinkAsked(None, reason="said so", identity_id=author)
        link, _ = links.put_in(answered.hub, uow, made, AGENT)
        held, _ = uow.ledger.add_cannot_link(
            author, str(_ref(answered, 2)), reason="no", source="rev_00002", by="kim", at=now
        )
        for place, wrote in ((1, {"link": link.id}), (2, {"cannot_links": [held.id]})):
            row = uow.reviews.get(f"rev_{place:05}")
            assert row is not None
            row.answer = {**(row.answer or {}), **wrote}

    def counted() -> int:
        return len(list(refits._answered(answered.hub, answered.hub.options.likeness)))

    assert counted() == refits.LEAST_ANSWERS
    links.revoke_link(answered.hub, link.id, version=None, reason="no", asker=AGENT)
    assert counted() == refits.LEAST_ANSWERS - 1
    cannot.lift(answered.hub, held.id, version=None, reason="no", asker=AGENT)
    assert counted() == refits.LEAST_ANSWERS - 2
    links.restore_link(answered.hub, link.id, reason="it was", asker=AGENT)
    assert counted() == refits.LEAST_ANSWERS - 1
