"""A CRM makes one contact of two: who was linked to the one that is gone follows."""

from __future__ import annotations

from typing import Any

import pytest

from middleware.contract.canonical import Contact, Kind, Order, Ref
from middleware.contract.capabilities import Merged
from middleware.domain.problems import ConflictError
from middleware.flows import cannot, lookup, merge, merged, reviews, sync
from middleware.flows.hub import Asker
from middleware.flows.reviews import Answered, Said
from middleware.store.tables import LinkRow, RunRow
from tests.flows.conftest import Stage
from tests.flows.test_ledger import AGENT, identity, links_of, put
from tests.flows.test_receive import arrive, complaints, event, the_complaint

KIM = {"emails": ["kim@example.com"]}


@pytest.fixture
def crm(stage: Stage) -> Stage:
    """Kim is on file twice in the CRM, and wrote from the address of the one."""
    with stage.hub.database.begin() as uow:
        arguments = {"connection": stage.names["crm"], "kinds": ["contact"]}
        spec = {"flow": "sync", "arguments": arguments, "schedule": {"every": 60}}
        uow.jobs.declare({"crm": spec}, at=stage.time.now)
    stage.crm.put(winner(stage), *(filler(stage, n) for n in range(9)))
    synced(stage)
    arrive(stage, event(author=KIM))
    return stage


def winner(stage: Stage) -> Contact:
    ref = stage.ref("crm", Kind.CONTACT, "C2")
    return Contact(ref=ref, display_name="K. Berg", emails=("berg@example.com",))


def filler(stage: Stage, number: int) -> Contact:
    ref = stage.ref("crm", Kind.CONTACT, f"F{number}")
    return Contact(ref=ref, display_name=f"Somebody {number}")


def synced(stage: Stage, mode: str = "changes", **wanted: object) -> RunRow:
    run_id, _ = sync.owe(
        stage.hub,
        "crm",
        tick=f"{stage.time.now.isoformat()}",
        requested_by="test",
        mode=mode,
        wanted=dict(wanted),
    )
    stage.run_due()
    stage.time.pass_(minutes=1)
    with stage.hub.database.read() as uow:
        row = uow.jobs.run(run_id)
    assert row is not None
    assert row.state == "done", row.error
    return row


def follow(stage: Stage, gone: Ref, into: Ref, mode: str = "changes") -> RunRow:
    stage.crm.merge(gone, into)
    return synced(stage, mode)


def of(stage: Stage, ref: Ref) -> LinkRow | None:
    with stage.hub.database.read() as uow:
        return next(iter(uow.people.links_of_records([ref])), None)


@pytest.mark.parametrize("mode", ["changes", "full"])
def test_the_link_leads_to_the_record_that_is_left(crm: Stage, mode: str) -> None:
    person = the_complaint(crm).person_id
    before = of(crm, crm.contact.ref)
    assert before is not None
    row = follow(crm, crm.contact.ref, winner(crm).ref, mode)
    assert row.counts["contact"]["deleted"] == 1
    link = of(crm, winner(crm).ref)
    assert link is not None
    assert (link.person_id, link.origin, link.decided_by) == (person, before.id, "hub")
    assert "merged contact C1 into C2" in link.evidence[0]["detail"]
    assert of(crm, crm.contact.ref) is None
    with crm.hub.database.read() as uow:
        ended = uow.people.link(before.id)
    assert ended is not None
    assert ended.valid_to is not None
    assert "merged contact C1 into C2" in (ended.revoked_reason or "")
    assert the_complaint(crm).person_id == person


def test_an_account_that_is_linked_is_found_with_what_the_other_record_says(crm: Stage) -> None:
    order = crm.order.model_copy(
        update={
            "ref": crm.ref("crm", Kind.ORDER, "O9"),
            "number": "SO-9",
            "account": None,
            "contact": winner(crm).ref,
        }
    )
    crm.crm.put(order)
    crm.store(order)
    follow(crm, crm.contact.ref, winner(crm).ref)
    arrive(crm, event("SO-9 is broken", id="m-2", conversation="c-2"))
    second = next(c for c in complaints(crm) if c.conversation == "c-2")
    assert second.order_ref == str(order.ref)


def test_orders_still_held_as_the_one_that_is_gone_are_read_anew(crm: Stage) -> None:
    """Tryton gives the sales to the other party without stamping them."""
    order = crm.order.model_copy(
        update={"ref": crm.ref("crm", Kind.ORDER, "O9"), "account": None, "contact": None}
    )
    crm.store(order.model_copy(update={"contact": crm.contact.ref}))
    crm.crm.put(order.model_copy(update={"contact": winner(crm).ref}))
    follow(crm, crm.contact.ref, winner(crm).ref)
    with crm.hub.database.read() as uow:
        stored = uow.records.get(order.ref)
    assert stored is not None
    assert isinstance(stored.record, Order)
    assert stored.record.contact == winner(crm).ref


def test_a_deletion_that_is_no_merge_leaves_the_link(crm: Stage) -> None:
    crm.crm.delete(crm.contact.ref)
    synced(crm)
    assert of(crm, crm.contact.ref) is not None
    assert of(crm, winner(crm).ref) is None


def test_whom_nobody_is_linked_to_needs_nothing(crm: Stage) -> None:
    follow(crm, filler(crm, 1).ref, filler(crm, 2).ref)
    assert of(crm, filler(crm, 2).ref) is None


def test_two_persons_become_one_which_can_be_undone(crm: Stage) -> None:
    author = identity(crm, "99")
    other = put(crm, str(winner(crm).ref))
    put(crm, author, other.person_id)
    mine = the_complaint(crm).person_id
    follow(crm, crm.contact.ref, winner(crm).ref)
    assert the_complaint(crm).person_id == other.person_id
    theirs = links_of(crm, other.person_id)
    assert {author, the_complaint(crm).identity_id, str(winner(crm).ref)} <= set(theirs)
    with crm.hub.database.read() as uow:
        person = uow.people.person(mine or "")
        assert person is not None
        assert person.id == other.person_id
        (change,) = uow.ledger.changes_of(person.id)
        # Nobody said so here: what follows from another's merge is no label.
        assert {one.source for one in uow.ledger.labels()} == {"link"}
    assert change.made_by == "sync"
    assert "merged contact C1 into C2" in change.reason
    merge.undo(crm.hub, change.id, reason="two people", asker=AGENT)
    crm.run_due()
    # The remote shows the deletion again: what somebody undid stays undone.
    crm.crm.log.append((crm.contact.ref, True))
    crm.crm.times.append(crm.crm.times[-1])
    synced(crm)
    synced(crm, "full")
    assert the_complaint(crm).person_id == mine


def test_doing_it_twice_changes_nothing(crm: Stage) -> None:
    follow(crm, crm.contact.ref, winner(crm).ref)
    first = of(crm, winner(crm).ref)
    merged.follow(crm.hub, Merged(gone=crm.contact.ref, into=winner(crm).ref))
    again = of(crm, winner(crm).ref)
    assert first is not None
    assert again is not None
    assert first.id == again.id


@pytest.mark.parametrize("at_once", [True, False])
def test_a_chain_of_merges_leads_to_its_end(crm: Stage, at_once: bool) -> None:
    person = the_complaint(crm).person_id
    # In the page the second merge may stand before the first.
    between, last = crm.ref("crm", Kind.CONTACT, "A0"), filler(crm, 1).ref
    crm.crm.put(winner(crm).model_copy(update={"ref": between}))
    synced(crm)
    crm.crm.merge(crm.contact.ref, between)
    if not at_once:
        synced(crm)
    follow(crm, between, last)
    link = of(crm, last)
    assert link is not None
    assert link.person_id == person


def test_records_that_lead_to_each_other_end(crm: Stage) -> None:
    crm.crm.merge(crm.contact.ref, winner(crm).ref)
    follow(crm, winner(crm).ref, crm.contact.ref)
    assert of(crm, crm.contact.ref) is not None


# --- what people said ---------------------------------------------------------------------------


def test_what_was_said_of_the_one_is_said_of_the_other(crm: Stage) -> None:
    brother = identity(crm, "55")
    gone, into = filler(crm, 1).ref, filler(crm, 2).ref
    said, _ = cannot.put(crm.hub, str(gone), brother, reason="her brother", asker=AGENT)
    follow(crm, gone, into)
    with crm.hub.database.read() as uow:
        (row,) = uow.ledger.cannot_links_of({str(into)})
        assert [one.id for one in uow.ledger.cannot_links_of({str(gone)})] == [said.id]
    assert {row.one, row.other} == {brother, str(into)}
    assert (row.reason, row.decided_by, row.source) == ("her brother", AGENT.principal, said.id)


def test_two_that_somebody_held_apart_are_not_made_one_but_asked_about(crm: Stage) -> None:
    person = the_complaint(crm).person_id
    cannot.put(crm.hub, str(crm.contact.ref), str(winner(crm).ref), reason="twins", asker=AGENT)
    follow(crm, crm.contact.ref, winner(crm).ref)
    assert of(crm, winner(crm).ref) is None
    assert of(crm, crm.contact.ref) is not None
    with crm.hub.database.read() as uow:
        (row,) = uow.reviews.page(state="open", kind="contradiction", limit=9)
    assert "merged contact C1 into C2" in row.decision["why"]
    assert row.candidates[0]["person_id"] == person
    assert row.candidates[1]["refs"][0]["id"] == "C2"
    assert "identity.review_needed" in crm.events()
    # Whoever looks says which it is.
    answered = Answered(Said.THIS, 1, "the CRM is right")
    reviews.answer(crm.hub, row.id, answered, version=row.version, asker=Asker("key_agent"))
    crm.run_due()
    link = of(crm, winner(crm).ref)
    assert link is not None
    assert the_complaint(crm).person_id == link.person_id != person


def test_persons_of_whom_somebody_said_they_differ_are_not_merged(crm: Stage) -> None:
    other = put(crm, str(winner(crm).ref))
    mine = the_complaint(crm).person_id or ""
    cannot.put(crm.hub, mine, other.person_id, reason="father and son", asker=AGENT)
    follow(crm, crm.contact.ref, winner(crm).ref)
    assert the_complaint(crm).person_id == mine
    with crm.hub.database.read() as uow:
        (row,) = uow.reviews.page(state="open", kind="contradiction", limit=9)
    assert row.candidates[1]["person_id"] == other.person_id
    assert "father and son" in row.decision["why"]


def test_an_account_that_is_not_the_one_that_is_gone_is_asked_about(crm: Stage) -> None:
    """Somebody said that it is not the one; it is linked to the other, and both are one now."""
    gone = filler(crm, 1).ref
    cannot.put(crm.hub, str(gone), the_complaint(crm).identity_id or "", reason="no", asker=AGENT)
    follow(crm, gone, crm.contact.ref)
    with crm.hub.database.read() as uow:
        assert uow.ledger.cannot_links_of({str(crm.contact.ref)}) == []
        (row,) = uow.reviews.page(state="open", kind="contradiction", limit=9)
    assert len(row.candidates) == 1


def test_different_customer_numbers_are_never_one_person(crm: Stage) -> None:
    options = {"unique_ids": ("customer_number",)}
    strict = crm.with_options(**options)
    numbered = winner(crm).model_copy(update={"external_ids": {"customer_number": "2002"}})
    crm.crm.put(numbered)
    synced(crm)
    account = crm.account.model_copy(update={"external_ids": {"customer_number": "1001"}})
    crm.store(account)
    other = put(crm, str(numbered.ref))
    put(crm, str(account.ref), the_complaint(crm).person_id)
    follow(strict, crm.contact.ref, numbered.ref)
    assert the_complaint(crm).person_id != other.person_id


def test_one_that_fails_keeps_no_other_and_is_begun_anew(
    crm: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, real, failed = [], merged.follow, 0

    def failing(hub: object, one: Merged) -> None:
        nonlocal failed
        if one.gone.id == "F1" and failed < 2 * merged.TRIES:
            failed += 1
            raise RuntimeError("a deadlock")
        done.append(one.gone.id)
        real(crm.hub, one)

    monkeypatch.setattr(merged, "follow", failing)
    monkeypatch.setattr(merged, "PAUSE_S", 0)
    crm.crm.merge(filler(crm, 1).ref, filler(crm, 2).ref)
    follow(crm, filler(crm, 3).ref, filler(crm, 4).ref)
    assert done == ["F3"]
    crm.time.pass_(minutes=1)
    crm.run_due()
    assert done == ["F3"]
    crm.time.pass_(minutes=2)
    crm.run_due()
    assert done == ["F3", "F1"]


def test_one_that_always_fails_comes_to_rest(crm: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def failing(_hub: object, one: Merged) -> None:
        tried.append(one.gone.id)
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(merged, "follow", failing)
    monkeypatch.setattr(merged, "PAUSE_S", 0)
    follow(crm, filler(crm, 1).ref, filler(crm, 2).ref)
    for _ in range(30):
        crm.time.pass_(hours=1)
        crm.run_due()
    assert len(tried) == merged.TRIES * merged.MOST_OFTEN


def addressed(stage: Stage, number: int) -> Contact:
    return filler(stage, number).model_copy(update={"emails": ("fay@example.com",)})


def test_what_is_merged_while_somebody_is_looked_up_is_not_linked(
    crm: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The merge is followed between the look-up and the link: nobody would follow it again."""
    crm.crm.put(addressed(crm, 1))
    synced(crm)
    look_up, looks = lookup.resolve, []

    def slow(*given: Any, **more: Any) -> lookup.Resolution:
        found = look_up(*given, **more)
        looks.append([ref.id for one in found.candidates for ref in one.refs])
        if len(looks) == 1:
            crm.crm.put(addressed(crm, 2))
            follow(crm, filler(crm, 1).ref, filler(crm, 2).ref)
        return found

    monkeypatch.setattr(lookup, "resolve", slow)
    author = {"native_id": "9", "emails": ["fay@example.com"]}
    arrive(crm, event(id="m-9", conversation="c-9", author=author))
    assert [ids[0] for ids in looks[:2]] == ["F1", "F2"]
    assert of(crm, filler(crm, 1).ref) is None
    link = of(crm, filler(crm, 2).ref)
    assert link is not None
    assert link.person_id == next(c for c in complaints(crm) if c.conversation == "c-9").person_id


def test_a_candidate_that_is_gone_when_a_person_answers_is_not_linked(crm: Stage) -> None:
    crm.crm.put(addressed(crm, 1), addressed(crm, 2))
    synced(crm)
    author = {"native_id": "9", "emails": ["fay@example.com"]}
    arrive(crm, event(id="m-9", conversation="c-9", author=author))
    with crm.hub.database.read() as uow:
        (row,) = uow.reviews.page(state="open", kind="review", limit=9)
    (place,) = [n for n, c in enumerate(row.candidates) if c["refs"][0]["id"] == "F1"]
    follow(crm, filler(crm, 1).ref, filler(crm, 2).ref)
    with crm.hub.database.read() as uow:
        still = uow.reviews.get(row.id)
    if still is not None and still.state == "open":
        word = Answered(Said.THIS, place, "asked her")
        with pytest.raises(ConflictError, match="gone"):
            reviews.answer(crm.hub, row.id, word, version=still.version, asker=AGENT)
    assert of(crm, filler(crm, 1).ref) is None
    crm.time.pass_(minutes=1)
    crm.run_due()
    assert of(crm, filler(crm, 2).ref) is not None, "who is left is sure, once it is looked at"
    with crm.hub.database.read() as uow:
        assert uow.reviews.page(state="open", kind="review", limit=9) == []
