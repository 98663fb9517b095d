"""The values of intake: what they refuse."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from middleware.contract.canonical import Kind, Ref
from middleware.domain.arrivals import Arrival, ArrivalEvent, Author
from middleware.domain.identity import (
    Basis,
    Candidate,
    Decision,
    Evidence,
    EvidenceKind,
    Outcome,
)
from middleware.domain.understanding import Entity, EntityType, Judgement, Span, Understanding

AUTHOR = Author(network="x", native_id="1")
EVIDENCE = Evidence(
    kind=EvidenceKind.EMAIL, detail="the same e-mail", weight=20, basis=Basis.CUSTOMER_PROVIDED
)
REF = Ref(connection="crm", kind=Kind.CONTACT, id="1")


def test_times_are_aware_and_held_in_utc() -> None:
    arrival = Arrival(
        source_id="1",
        conversation="c",
        author=AUTHOR,
        posted_at=datetime.fromisoformat("2026-11-20T09:00:00+01:00"),
    )
    assert arrival.posted_at == datetime(2026, 11, 20, 8, tzinfo=UTC)
    assert arrival.event is ArrivalEvent.CREATED
    with pytest.raises(ValidationError):
        Arrival(source_id="1", conversation="c", author=AUTHOR, posted_at=datetime(2026, 11, 20))


@pytest.mark.parametrize("bad", [{"source_id": " "}, {"conversation": ""}, {"nickname": "x"}])
def test_an_arrival_needs_its_ids_and_knows_its_fields(bad: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Arrival(**{"source_id": "1", "conversation": "c", "author": AUTHOR, **bad})


def test_spans_run_forwards() -> None:
    with pytest.raises(ValidationError):
        Span(start=3, end=2, cue="x")
    with pytest.raises(ValidationError):
        Entity(type=EntityType.SKU, value="x", start=3, end=2, confidence=1, why="x")


def test_unknown_is_a_word() -> None:
    assert Judgement[str]().word == "unknown"
    assert Judgement[str](value="de", confidence=0.5).word == "de"


def test_values_come_surest_first_and_once() -> None:
    entities = tuple(
        Entity(type=type_, value=value, start=i, end=i + 1, confidence=sure, why="test")
        for i, (type_, value, sure) in enumerate(
            [
                (EntityType.ORDER_NUMBER, "B", 0.5),
                (EntityType.ORDER_NUMBER, "A", 0.9),
                (EntityType.ORDER_NUMBER, "B", 0.7),
                (EntityType.SKU, "C", 1.0),
            ]
        )
    )
    found = Understanding(entities=entities, by="test").values(EntityType.ORDER_NUMBER)
    assert found == ("A", "B")


def test_a_candidate_is_explained() -> None:
    candidate = Candidate(refs=(REF,), score=20, evidence=(EVIDENCE,))
    assert candidate.basis is Basis.CUSTOMER_PROVIDED
    for bad in (
        {"refs": (), "score": 20},
        {"refs": (REF,), "score": 19},
        {"refs": (REF,), "score": 0, "evidence": ()},
    ):
        with pytest.raises(ValidationError):
            Candidate(**{"evidence": (EVIDENCE,), **bad})


@pytest.mark.parametrize("outcome", [Outcome.LINK, Outcome.REVIEW])
def test_a_decision_for_somebody_names_somebody(outcome: Outcome) -> None:
    with pytest.raises(ValidationError):
        Decision(outcome=outcome, why="x")
    assert Decision(outcome=Outcome.NONE, why="x").candidate is None


def test_values_survive_json() -> None:
    candidate = Candidate(person_id="per_1", refs=(REF,), score=20, evidence=(EVIDENCE,))
    decision = Decision(outcome=Outcome.LINK, candidate=candidate, why="x")
    assert Decision.model_validate_json(decision.model_dump_json()) == decision
    judged = Understanding(
        language=Judgement[str](
            value="de", confidence=0.5, evidence=(Span(start=0, end=1, cue="x"),)
        ),
        by="test",
    )
    assert Understanding.model_validate_json(judged.model_dump_json()) == judged
