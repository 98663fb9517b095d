"""Provisional persons: made, kept, settled, expired and back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from middleware.domain.claims import Subject
from middleware.domain.ledger import Standing, standing_at
from middleware.domain.problems import ConflictError
from middleware.flows import cannot, claim, correct, merge, provisional, receive, reviews
from middleware.flows import link as links
from middleware.flows.hub import Asker
from middleware.store.provisional import expiring
from middleware.store.tables import LinkRow, PersonRow
from tests.flows.conftest import Stage
from tests.flows.test_receive import arrive, complaints, event, the_complaint

AGENT = Asker(principal="key_agent")
STRANGER = {"native_id": "5", "handle": "someone_else", "display_name": "Some One"}
KEPT = timedelta(days=60)
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what no database could see differently."""


def person(stage: Stage, person_id: str | None) -> PersonRow:
    with stage.hub.database.read() as uow:
        row = uow.session.get(PersonRow, person_id)
        assert row is not None
        return row


def identity(stage: Stage) -> str:
    return the_complaint(stage).identity_id or ""


def links_of(stage: Stage, person_id: str | None) -> list[LinkRow]:
    with stage.hub.database.read() as uow:
        return uow.people.links_of_person(person_id or "")


def changes(stage: Stage, person_id: str) -> list[str]:
    with stage.hub.database.read() as uow:
        return [row.kind for row in uow.ledger.changes_of(person_id)]


def close(stage: Stage) -> None:
    with stage.hub.database.begin() as uow:
        for row in uow.complaints.page(before=None, limit=50):
            row.state = "closed"
            uow.session.add(row)


def expire(stage: Stage) -> None:
    provisional.run(stage.hub, "2027-01-01")


def gone(stage: Stage) -> str:
    """A stranger who wrote once, was answered, and expired."""
    arrive(stage, event(author=STRANGER))
    person_id = the_complaint(stage).person_id
    assert person_id is not None
    close(stage)
    stage.time.pass_(days=61)
    expire(stage)
    assert person(stage, person_id).standing is Standing.EXPIRED
    return person_id


# --- made and kept ------------------------------------------------------------------------------


def test_a_stranger_has_an_id_that_lasts(known: Stage) -> None:
    arrive(known, event(author=STRANGER))
    first = the_complaint(known).person_id
    row = person(known, first)
    assert (row.standing, row.display_name) == (Standing.PROVISIONAL, "Some One")
    assert row.provisional_until == known.time() + KEPT
    known.time.pass_(days=20)
    arrive(known, event("And now?", id="m-2", conversation="c-2", author=STRANGER))
    assert {c.person_id for c in complaints(known)} == {first}
    assert person(known, first).provisional_until == known.time() + KEPT
    (link,) = links_of(known, first)
    assert (link.basis, link.decided_by) == ("provisional", "hub")
    assert "identity.linked" not in known.events()
    with known.hub.database.read() as uow:
        told = [e.data for e in uow.events.since(0, limit=99) if e.type == "complaint.enriched"]
    assert [(t["person_id"], t["provisional"]) for t in told] == [(first, True), (first, True)]


@on_sqlite
def test_a_new_look_at_what_was_written_is_not_hearing_of_them(known: Stage) -> None:
    arrive(known, event(author=STRANGER))
    complaint = the_complaint(known)
    until = person(known, complaint.person_id).provisional_until
    known.time.pass_(days=20)
    receive.enrich(known.hub, complaint.id)
    assert person(known, complaint.person_id).provisional_until == until
    known.run_due()  # what was found out is written into the conversation: that is open until then
    close(known)
    known.time.pass_(days=41)
    expire(known)
    assert person(known, complaint.person_id).standing is Standing.EXPIRED
    receive.enrich(known.hub, complaint.id)
    assert the_complaint(known).person_id == complaint.person_id
    assert person(known, complaint.person_id).standing is Standing.EXPIRED


@on_sqlite
def test_somebody_on_file_is_never_provisional(known: Stage) -> None:
    arrive(known, event(author={"emails": ["kim@example.com"]}))
    row = person(known, the_complaint(known).person_id)
    assert row.standing is Standing.SETTLED
    assert changes(known, row.id) == []


@on_sqlite
def test_two_strangers_are_two(known: Stage) -> None:
    arrive(known, event(author=STRANGER))
    arrive(known, event(id="m-2", conversation="c-2", author={**STRANGER, "native_id": "6"}))
    assert len({c.person_id for c in complaints(known)}) == 2


# --- settled ------------------------------------------------------------------------------------


def test_evidence_settles_who_it_is_and_keeps_the_id(known: Stage) -> None:
    arrive(known, event(author=STRANGER))
    first = the_complaint(known).person_id
    before = known.time()
    known.time.pass_(days=1)
    again = {**STRANGER, "emails": ["kim@example.com"]}
    arrive(known, event("I am a customer", id="m-2", conversation="c-2", author=again))
    known.run_due()
    assert {c.person_id for c in complaints(known)} == {first}
    assert {c.order_ref for c in complaints(known)} == {str(known.order.ref)}, "both looked again"
    row = person(known, first)
    assert (row.standing, row.provisional_until) == (Standing.SETTLED, None)
    assert {link.kind for link in links_of(known, first)} == {None, "contact", "account"}
    assert [c for c in known.events() if c.startswith("person.")] == ["person.settled"]
    with known.hub.database.read() as uow:
        told = [(c.made_at, c.kind) for c in uow.ledger.standings_of(row.id)]
        then = uow.people.links_of_person(row.id, as_of=before)
    assert standing_at(row.standing, told, before) is Standing.PROVISIONAL
    assert [link.basis for link in then] == ["provisional"]


def test_who_turns_out_to_be_somebody_known_leads_there(known: Stage) -> None:
    arrive(known, event(author={"emails": ["kim@example.com"]}))
    kim = the_complaint(known).person_id
    arrive(known, event(id="m-2", conversation="c-2", author=STRANGER))
    other = complaints(known)[0].person_id
    assert other not in (None, kim)
    author = {**STRANGER, "emails": ["kim@example.com"]}
    arrive(known, event("me", id="m-3", conversation="c-3", author=author))
    known.run_due()
    assert {c.person_id for c in complaints(known)} == {kim}
    assert person(known, other).redirect_to == kim
    assert {"person.settled", "person.merged"} <= set(known.events())
    assert changes(known, other or "") == ["settle", "merge"]


def test_what_the_hub_merged_is_undone_like_any_merge(known: Stage) -> None:
    arrive(known, event(author={"emails": ["kim@example.com"]}))
    kim = the_complaint(known).person_id
    arrive(known, event(id="m-2", conversation="c-2", author=STRANGER))
    other = complaints(known)[0].person_id or ""
    author = complaints(known)[0].identity_id
    claimed = {**STRANGER, "emails": ["kim@example.com"]}
    arrive(known, event("me", id="m-3", conversation="c-3", author=claimed))
    with known.hub.database.read() as uow:
        change = uow.ledger.redirecting(other)
        assert change is not None
    merge.undo(known.hub, change.id, reason="her brother", asker=AGENT)
    assert [link.identity_id for link in links_of(known, other)] == [author]
    assert person(known, other).redirect_to is None
    assert {c.person_id for c in complaints(known) if c.identity_id == author} == {other}
    assert author not in {link.identity_id for link in links_of(known, kim)}


@pytest.mark.parametrize("whom", ["nobody else", "a known one"])
def test_an_agents_word_settles(known: Stage, whom: str) -> None:
    arrive(known, event(author=STRANGER))
    first = the_complaint(known).person_id
    kim = None
    if whom == "a known one":
        record = links.LinkAsked(person_id=None, reason="on file", record=known.contact.ref)
        kim = links.put_link(known.hub, record, AGENT)[0]
        with known.hub.database.read() as uow:
            kim = uow.people.link(kim).person_id  # type: ignore[union-attr]
    asked = links.LinkAsked(person_id=kim, reason="She said so.", identity_id=identity(known))
    link_id, new = links.put_link(known.hub, asked, AGENT)
    known.run_due()
    assert new
    stays = kim or first
    assert the_complaint(known).person_id == stays
    assert known.settled(first) == stays
    assert [(x.id, x.basis) for x in links_of(known, stays) if x.identity_id] == [
        (link_id, "agent")
    ]


@on_sqlite
def test_a_record_of_theirs_settles_whose_account_it_is(known: Stage) -> None:
    arrive(known, event(author=STRANGER))
    first = the_complaint(known).person_id
    asked = links.LinkAsked(person_id=first, reason="named it", record=known.contact.ref)
    links.put_link(known.hub, asked, AGENT)
    assert known.settled(first) == first
    assert {x.basis for x in links_of(known, first)} == {"agent"}


def test_an_answered_question_settles(known: Stage) -> None:
    arrive(known, event())
    first = the_complaint(known).person_id
    with known.hub.database.read() as uow:
        (question,) = uow.reviews.page(state="open", limit=9)
    said = reviews.Answered(said=reviews.Said.THIS, candidate=0, reason="her postcode")
    reviews.answer(known.hub, question.id, said, version=None, asker=AGENT)
    known.run_due()
    assert the_complaint(known).person_id == first == known.settled(first)
    assert the_complaint(known).order_ref == str(known.order.ref)


@on_sqlite
def test_merging_two_of_them_is_a_word_too(known: Stage) -> None:
    arrive(known, event(author=STRANGER))
    arrive(known, event(id="m-2", conversation="c-2", author={**STRANGER, "native_id": "6"}))
    one, other = (c.person_id or "" for c in complaints(known))
    merge.merge(known.hub, one, other, reason="both accounts are hers", asker=AGENT)
    assert known.settled(one) == known.settled(other) == one
    assert [x.basis for x in links_of(known, one)] == ["agent", "agent"]


@on_sqlite
@pytest.mark.parametrize("whose", ["nobody's", "somebody's"])
def test_what_somebody_held_apart_is_not_settled_by_evidence(known: Stage, whose: str) -> None:
    if whose == "somebody's":
        # Kim has the account; the contact, which is not the author's, would come to Kim with it.
        record = links.LinkAsked(person_id=None, reason="on file", record=known.account.ref)
        links.put_link(known.hub, record, AGENT)
    arrive(known, event(author=STRANGER))
    first = the_complaint(known).person_id or ""
    cannot.put(known.hub, first, str(known.contact.ref), reason="a namesake", asker=AGENT)
    again = {**STRANGER, "emails": ["kim@example.com"]}
    arrive(known, event("me", id="m-2", conversation="c-2", author=again))
    assert {c.person_id for c in complaints(known)} == {first}
    assert known.settled(first) is None


@on_sqlite
@pytest.mark.parametrize("how", ["a link", "a link restored", "a review answered"])
def test_what_somebody_held_apart_from_them_is_not_settled_by_a_word(
    known: Stage, how: str
) -> None:
    record = links.LinkAsked(person_id=None, reason="on file", record=known.contact.ref)
    kim_link, _ = links.put_link(known.hub, record, AGENT)
    with known.hub.database.read() as uow:
        kim = uow.people.link(kim_link).person_id  # type: ignore[union-attr]
    arrive(known, event(author={} if how == "a review answered" else STRANGER))
    asked = links.LinkAsked(person_id=kim, reason="said so", identity_id=identity(known))
    if how == "a link restored":
        link_id, _ = links.put_link(known.hub, asked, AGENT)
        links.revoke_link(known.hub, link_id, version=None, reason="no", asker=AGENT)
        arrive(known, event("Again", id="m-2", conversation="c-2", author=STRANGER))
    first = complaints(known)[0].person_id or ""
    assert first != kim
    assert known.settled(first) is None
    cannot.put(known.hub, first, str(known.contact.ref), reason="a namesake", asker=AGENT)
    with pytest.raises(ConflictError, match="a namesake"):
        if how == "a link":
            links.put_link(known.hub, asked, AGENT)
        elif how == "a link restored":
            links.restore_link(known.hub, link_id, reason="yes", asker=AGENT)
        else:
            with known.hub.database.read() as uow:
                (question,) = uow.reviews.page(state="open", limit=9)
            said = reviews.Answered(said=reviews.Said.THIS, candidate=0, reason="postcode")
            reviews.answer(known.hub, question.id, said, version=None, asker=AGENT)
    assert known.settled(first) is None
    assert person(known, first).redirect_to is None


@on_sqlite
def test_the_link_to_their_own_account_is_not_unlinked(known: Stage) -> None:
    arrive(known, event(author=STRANGER))
    (link,) = links_of(known, the_complaint(known).person_id)
    with pytest.raises(ConflictError, match="provisional"):
        links.revoke_link(known.hub, link.id, version=None, reason="no", asker=AGENT)


# --- expired and back ---------------------------------------------------------------------------


def test_nobody_expires_before_their_time_or_twice(known: Stage) -> None:
    arrive(known, event(author=STRANGER))
    first = the_complaint(known).person_id or ""
    close(known)
    known.time.pass_(days=59)
    expire(known)
    assert person(known, first).standing is Standing.PROVISIONAL
    known.time.pass_(days=1)
    expire(known)
    expire(known)
    row = person(known, first)
    assert (row.standing, row.expired_at, row.display_name) == (
        Standing.EXPIRED,
        known.time(),
        None,
    )
    assert links_of(known, first) == []
    assert changes(known, first) == ["expire"]
    assert known.events().count("person.expired") == 1
    with known.hub.database.read() as uow:
        before = known.time() - timedelta(days=30)
        (then,) = uow.people.links_of_person(first, as_of=before)
        handles = uow.people.handles_of(then.identity_id or "")
        told = [(c.made_at, c.kind) for c in uow.ledger.standings_of(first)]
    assert [(h.handle, h.display_name) for h in handles] == [("someone_else", None)]
    assert standing_at(row.standing, told, before) is Standing.PROVISIONAL
    assert the_complaint(known).person_id == first, "history stays where it was"


def test_the_same_account_gets_the_same_person_back(known: Stage) -> None:
    first = gone(known)
    arrive(known, event("Me again", id="m-2", conversation="c-2", author=STRANGER))
    assert complaints(known)[0].person_id == first
    row = person(known, first)
    assert (row.standing, row.display_name) == (Standing.PROVISIONAL, "Some One")
    assert row.provisional_until == known.time() + KEPT
    assert changes(known, first) == ["expire", "return"]
    assert "person.returned" in known.events()
    close(known)
    known.time.pass_(days=61)
    expire(known)
    assert changes(known, first) == ["expire", "return", "expire"]


@on_sqlite
def test_one_that_expired_and_is_known_at_once_keeps_the_id(known: Stage) -> None:
    first = gone(known)
    author = {**STRANGER, "emails": ["kim@example.com"]}
    arrive(known, event("Me again", id="m-2", conversation="c-2", author=author))
    assert complaints(known)[0].person_id == first == known.settled(first)


@on_sqlite
def test_a_handle_of_one_that_expired_is_not_the_next_owners(known: Stage) -> None:
    first = gone(known)
    arrive(known, event(id="m-2", conversation="c-2", author={**STRANGER, "native_id": "9"}))
    assert complaints(known)[0].person_id != first
    with known.hub.database.read() as uow:
        assert uow.people.seen("x", "9", "someone_else")[1], "the handle was another's"


def test_whoever_has_something_open_waits(known: Stage) -> None:
    arrive(known, event())  # the handle alone is a question for a person
    first = the_complaint(known).person_id or ""
    known.time.pass_(days=61)

    def waits() -> bool:
        expire(known)
        return person(known, first).standing is Standing.PROVISIONAL

    assert waits(), "an open complaint"
    close(known)
    assert waits(), "an open question"
    with known.hub.database.begin() as uow:
        uow.reviews.settle(identity(known), at=known.time())
    arrive(known, event("Mine", id="m-2", conversation="c-2", author=STRANGER))
    strangers, mine = complaints(known)
    elsewhere = claim.Asked(subject=Subject(complaint=strangers.id))
    claim.take(known.hub, elsewhere, AGENT)  # which is nothing to the first one
    for subject in (Subject(person=first), Subject(complaint=mine.id)):
        taken, _ = claim.take(known.hub, claim.Asked(subject=subject), AGENT)
        assert waits(), "a claim"
        claim.release(known.hub, taken.id or "", agent=None, asker=AGENT)
    action, _ = correct.create(known.hub, known.wanted(person_id=first), AGENT)
    assert waits(), "an action"
    with known.hub.database.begin() as uow:
        row = uow.actions.get(action, lock=True)
        assert row is not None
        row.state = "done"
    assert waits(), "what the remedy takes of the order's budget"
    with known.hub.database.begin() as uow:
        uow.actions.release(action, at=known.time())
    assert not waits()


@pytest.mark.parametrize("killed_after", [0, 1, 2])
@pytest.mark.parametrize("within", [False, True])
def test_an_expiry_killed_at_any_boundary_is_finished_by_the_next_try(
    known: Stage, monkeypatch: pytest.MonkeyPatch, killed_after: int, *, within: bool
) -> None:
    """Before a batch, and within its transaction when all is written but nothing is committed."""
    for n in range(5):
        author = {"native_id": f"k{n}", "handle": f"k{n}", "display_name": "K"}
        arrive(known, event(id=f"m-{n}", conversation=f"c-{n}", author=author))
    close(known)
    known.time.pass_(days=61)
    monkeypatch.setattr(provisional, "BATCH", 2)
    done, real = 0, provisional._expire

    def dies(*args: object) -> None:
        nonlocal done
        if done == killed_after and not within:
            raise KeyboardInterrupt
        real(*args)  # type: ignore[arg-type]
        if done == killed_after:
            raise KeyboardInterrupt
        done += 1

    monkeypatch.setattr(provisional, "_expire", dies)
    with pytest.raises(KeyboardInterrupt):
        expire(known)
    persons = [c.person_id or "" for c in complaints(known)]
    assert sum(bool(changes(known, p)) for p in persons) == 2 * killed_after
    monkeypatch.setattr(provisional, "_expire", real)
    expire(known)
    assert [changes(known, p) for p in persons] == [["expire"]] * 5
    assert known.events().count("person.expired") == 5


def test_one_who_writes_while_the_expiry_runs_stays(known: Stage) -> None:
    """Who is due is looked up before anybody is held, and once more afterwards."""
    arrive(known, event(author=STRANGER))
    first = the_complaint(known).person_id or ""
    close(known)
    known.time.pass_(days=61)
    with known.hub.database.read() as uow:
        due = expiring(uow, known.time())
    arrive(known, event("Hello?", id="m-2", conversation="c-2", author=STRANGER))
    close(known)
    with known.hub.database.begin() as uow:
        provisional._expire(known.hub, uow, due)
    assert person(known, first).standing is Standing.PROVISIONAL


@on_sqlite
def test_it_is_owed_once_a_day_over_all_nodes(known: Stage) -> None:
    for _ in range(3):
        with known.hub.database.begin() as uow:
            provisional.owe(known.hub, uow)
    assert [o.flow for o in known.engine.owed].count("resolve.expire") == 1
