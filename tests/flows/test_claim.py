"""Claims: who works on what, on both databases, and what others are told."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from middleware.contract.actions import NoteRequest, Operation
from middleware.contract.canonical import Kind, Ref
from middleware.domain.actions import Wanted
from middleware.domain.claims import ClaimedError, Subject
from middleware.domain.problems import ForbiddenError, InvalidError, NotFoundError
from middleware.flows import claim, context, correct, reconcile
from middleware.flows.claim import Asked
from middleware.flows.hub import Asker
from middleware.store.tables import AuditRow, ClaimRow, EventRow
from tests.flows.conftest import Stage
from tests.flows.test_receive import arrive, event, the_complaint

ANNA = Asker(principal="key_desk", request_id="req_1")
CALLS = Asker(principal="key_calls", request_id="req_2")

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what no database could see differently."""


@pytest.fixture
def told(known: Stage) -> Stage:
    """Kim has written that the lamp of SO-10001 is broken."""
    arrive(
        known,
        event("The LMP-100 of SO-10001 arrived broken", author={"emails": ["kim@example.com"]}),
    )
    known.run_all()
    return known


def on_complaint(stage: Stage) -> Subject:
    return Subject(complaint=the_complaint(stage).id)


def on_line(stage: Stage, line: str | None = None) -> Subject:
    return Subject(order=stage.order.ref, line=line)


def take(stage: Stage, subject: Subject, asker: Asker = ANNA, **more: Any) -> ClaimRow:
    return claim.take(stage.hub, Asked(subject=subject, **more), asker)[0]


def events(stage: Stage, type_: str) -> list[EventRow]:
    with stage.hub.database.read() as uow:
        return [e for e in uow.events.since(0, limit=1000) if e.type == type_]


def audited(stage: Stage, action: str) -> list[AuditRow]:
    with stage.hub.database.read() as uow:
        return list(uow.session.exec(select(AuditRow).where(AuditRow.action == action)))


def test_the_second_asker_hears_who_where_and_what_was_promised(told: Stage) -> None:
    took = take(
        told, on_complaint(told), agent="anna", tool="helpdesk", note="A new lamp by Friday."
    )
    wanted = told.wanted(complaint_id=the_complaint(told).id)
    action_id, _ = correct.create(told.hub, wanted, ANNA)
    with pytest.raises(ClaimedError) as refused:
        take(told, on_complaint(told), CALLS, agent="ben")
    (held,) = refused.value.more["claims"]
    assert held["holder"] == "key_desk/anna"
    assert held["tool"] == "helpdesk"
    assert held["note"] == "A new lamp by Friday."
    assert held["id"] == took.id
    assert held["taken_at"] < held["expires_at"]
    assert [action["id"] for action in held["actions"]] == [action_id]
    assert "key_desk/anna has claimed" in refused.value.detail
    assert len(events(told, "claim.taken")) == 1


def test_a_line_conflicts_with_its_order_and_the_complaint_about_it(told: Stage) -> None:
    take(told, on_line(told, "1"))
    for subject in (
        on_line(told),
        on_line(told, "1"),
        on_complaint(told),
        Subject(person=the_complaint(told).person_id),
    ):
        with pytest.raises(ClaimedError):
            take(told, subject, CALLS)
    take(told, on_line(told, "2"), CALLS)


@on_sqlite
def test_what_is_claimed_must_be_there(told: Stage) -> None:
    missing = Ref(connection=told.names["erp"], kind=Kind.ORDER, id="O9")
    for subject in (
        Subject(complaint="cmp_9"),
        Subject(person="per_9"),
        Subject(order=missing),
        on_line(told, "77"),
    ):
        with pytest.raises(NotFoundError):
            take(told, subject)
    with pytest.raises(InvalidError, match="between 1 and 1440 minutes"):
        take(told, on_complaint(told), lease=timedelta(days=3))


@on_sqlite
def test_asking_again_renews_and_an_agent_is_not_another(told: Stage) -> None:
    first = take(told, on_complaint(told), agent="anna")
    told.time.pass_(minutes=20)
    again, new = claim.take(
        told.hub, Asked(subject=on_complaint(told), agent="anna", note="Called her."), ANNA
    )
    assert not new
    assert again.id == first.id
    assert again.expires_at == told.time.now + timedelta(minutes=30)
    assert again.note == "Called her."
    with pytest.raises(ClaimedError):
        take(told, on_complaint(told), agent="ben")


def test_a_claim_ends_by_itself_and_that_is_said_once(told: Stage) -> None:
    first = take(told, on_complaint(told))
    told.time.pass_(minutes=31)
    reconcile.run(told.hub, "one")
    reconcile.run(told.hub, "two")
    assert [e.subject for e in events(told, "claim.expired")] == [first.id]
    second = take(told, on_complaint(told), CALLS)
    told.time.pass_(minutes=31)
    # Nobody has looked since; whoever asks next says so.
    third = take(told, on_complaint(told), ANNA)
    assert [e.subject for e in events(told, "claim.expired")] == [first.id, second.id]
    assert third.id not in (first.id, second.id)
    with pytest.raises(NotFoundError):
        claim.renew(told.hub, second.id or "", agent=None, asker=CALLS)


@on_sqlite
def test_only_the_holder_keeps_hands_over_and_gives_up(told: Stage) -> None:
    row = take(told, on_complaint(told), agent="anna")
    claim_id = row.id or ""
    with pytest.raises(ForbiddenError, match="held by key_desk/anna"):
        claim.release(told.hub, claim_id, agent="ben", asker=ANNA)
    claim.hand_over(
        told.hub, claim_id, agent="anna", to="ben", direct=False, note="Call her.", asker=ANNA
    )
    (offered,) = events(told, "claim.offered")
    assert (offered.data["holder"], offered.data["offered_to"]) == ("key_desk/anna", "key_desk/ben")
    with pytest.raises(ForbiddenError, match="not offered to key_desk/carl"):
        claim.accept(told.hub, claim_id, agent="carl", asker=ANNA)
    assert events(told, "claim.handed_over") == []
    accepted = claim.accept(told.hub, claim_id, agent="ben", asker=ANNA)
    assert (accepted.holder, accepted.offered_to) == ("key_desk/ben", None)
    assert accepted.note == "Call her."
    direct = claim.hand_over(
        told.hub, claim_id, agent="ben", to="key_calls/eve", direct=True, note=None, asker=ANNA
    )
    assert (direct.holder, direct.principal) == ("key_calls/eve", "key_calls")
    told_of = [e.data["previous"] for e in events(told, "claim.handed_over")]
    assert told_of == ["key_desk/anna", "key_desk/ben"]
    assert len(events(told, "claim.offered")) == 1
    claim.release(told.hub, claim_id, agent="eve", asker=CALLS)
    assert len(events(told, "claim.released")) == 1
    take(told, on_complaint(told), ANNA)


def test_force_is_audited_and_the_old_holder_is_told(told: Stage) -> None:
    old = take(told, on_line(told, "1"), agent="anna")
    new = take(told, on_complaint(told), CALLS, force="She is on the phone right now.")
    (forced,) = events(told, "claim.forced")
    assert (forced.data["holder"], forced.data["by"]) == ("key_desk/anna", "key_calls")
    assert forced.data["reason"] == "She is on the phone right now."
    (entry,) = audited(told, "claim.forced")
    assert (entry.actor, entry.subject) == ("key_calls", old.id)
    with pytest.raises(ClaimedError) as refused:
        take(told, on_line(told, "1"), agent="anna")
    assert refused.value.more["claims"][0]["id"] == new.id


def test_of_two_askers_one_wins(told: Stage) -> None:
    """Each wants another part of the same issue, at the same moment."""
    subjects = [on_complaint(told), on_line(told), on_line(told, "1"), on_complaint(told)] * 2
    start = threading.Barrier(len(subjects))
    won: list[str] = []
    refused: list[str] = []

    def ask(n: int) -> None:
        start.wait()
        try:
            won.append(take(told, subjects[n], Asker(principal=f"key_{n}")).holder)
        except ClaimedError:
            refused.append(f"key_{n}")

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(subjects))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(refused) == len(subjects) - 1
    assert len(events(told, "claim.taken")) == 1


@on_sqlite
def test_others_actions_are_refused_unless_they_say_why(told: Stage) -> None:
    took = take(told, on_complaint(told), agent="anna")
    wanted = told.wanted(complaint_id=the_complaint(told).id)
    with pytest.raises(ClaimedError, match="say in `override`"):
        correct.create(told.hub, wanted, CALLS)
    # Not by way of the order alone, either.
    with pytest.raises(ClaimedError):
        correct.create(told.hub, told.wanted(), CALLS)
    # Another line of the same order is another matter, and so is a note.
    correct.create(told.hub, told.wanted(line="2"), CALLS)
    place = told.ref("desk", Kind.CASE, "7")
    note = Wanted(operation=Operation.NOTE, request=NoteRequest(on=place, text="Seen."))
    correct.create(told.hub, note.model_copy(update={"complaint_id": took.complaint_id}), CALLS)
    done, _ = correct.create(
        told.hub, wanted.model_copy(update={"override": "Anna is ill today."}), CALLS
    )
    (overridden,) = events(told, "claim.overridden")
    assert overridden.data["reason"] == "Anna is ill today."
    (entry,) = audited(told, "claim.override")
    assert entry.detail["corrective"] == done
    with told.hub.database.read() as uow:
        held = uow.claims.get(took.id or "")
    assert held is not None, "she has not lost it"


@on_sqlite
def test_the_same_key_again_is_the_same_action_whoever_claimed_since(told: Stage) -> None:
    asker = replace(CALLS, key="click-1", body_hash="b")
    wanted = told.wanted(complaint_id=the_complaint(told).id)
    first, new = correct.create(told.hub, wanted, asker)
    take(told, on_complaint(told))
    assert correct.create(told.hub, wanted, asker) == (first, False)
    assert new


def test_a_claim_follows_what_its_complaint_turns_out_to_be(known: Stage) -> None:
    """Claimed while nobody knew who wrote it; then the order is named."""
    arrive(known, event("It arrived broken", author={"handle": "nobody", "display_name": "N."}))
    known.run_all()
    take(known, on_complaint(known))
    take(known, on_line(known, "2"), CALLS)
    named = event("It is LMP-100 of SO-10001", id="m-2", author={"emails": ["kim@example.com"]})
    arrive(known, named)
    known.run_all()
    assert the_complaint(known).order_ref == str(known.order.ref)
    with pytest.raises(ClaimedError):
        take(known, on_line(known, "1"), CALLS)


def test_the_context_shows_who_works_on_it(told: Stage) -> None:
    took = take(told, on_line(told, "1"), agent="anna", tool="helpdesk")
    seen = context.of_complaint(told.hub, the_complaint(told).id)
    assert seen.picture is not None
    assert [(c.subject, c.holder, c.tool) for c in seen.picture.claims] == [
        (took.subject, "key_desk/anna", "helpdesk")
    ]
