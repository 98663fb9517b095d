"""Somebody is linked, and later what their source vouches for is somebody else's."""

from __future__ import annotations

import pytest

from middleware.contract.canonical import Contact, Kind
from middleware.domain.problems import ConflictError
from middleware.flows import link as links
from middleware.flows import reviews
from middleware.flows.hub import Asker
from middleware.flows.reviews import Answered, Said
from middleware.store.tables import ComplaintRow, ReviewRow
from tests.flows.conftest import Stage
from tests.flows.test_receive import arrive, complaints, event

ASKER = Asker(principal="key_agent")


@pytest.fixture
def linked(known: Stage) -> Stage:
    """Kim wrote from her address, and Ada is on file with another one."""
    known.store(ada(known))
    arrive(known, event(author={"emails": ["kim@example.com"]}))
    return known


def ada(stage: Stage) -> Contact:
    ref = stage.ref("crm", Kind.CONTACT, "C2")
    return Contact(ref=ref, display_name="Ada Lo", emails=("ada@example.com",))


def writes(stage: Stage, number: int = 2, **author: object) -> ComplaintRow:
    """The same account writes again, as this author; answers the complaint."""
    stage.time.pass_(minutes=number)
    arrive(stage, event(id=f"m-{number}", conversation=f"c-{number}", author=author))
    return next(c for c in complaints(stage) if c.conversation == f"c-{number}")


def question(stage: Stage) -> ReviewRow:
    with stage.hub.database.read() as uow:
        (row,) = uow.reviews.page(state="open", kind="contradiction", limit=9)
    return row


def open_questions(stage: Stage) -> int:
    with stage.hub.database.read() as uow:
        return len(uow.reviews.page(state="open", kind="contradiction", limit=9))


def answered(stage: Stage, said: Said, candidate: int | None = None) -> ReviewRow:
    row = question(stage)
    word = Answered(said, candidate, "asked them")
    return reviews.answer(stage.hub, row.id, word, version=row.version, asker=ASKER)


def who(stage: Stage, complaint: ComplaintRow) -> str | None:
    with stage.hub.database.read() as uow:
        row = uow.complaints.get(complaint.id)
        assert row is not None
        person = uow.people.person(row.person_id) if row.person_id else None
    return person.id if person else None


def test_the_link_holds_and_a_person_is_asked_which_it_is(linked: Stage) -> None:
    (first,) = complaints(linked)
    again = writes(linked, emails=["ada@example.com"])
    assert again.person_id == first.person_id
    row = question(linked)
    assert row.candidates[0]["person_id"] == first.person_id
    assert row.candidates[1]["refs"][0]["id"] == "C2"
    assert again.resolution is not None
    decision = again.resolution["decision"]
    assert decision["outcome"] == "link"
    assert decision["candidate"]["person_id"] == first.person_id
    assert "speaks for somebody else" in decision["why"]
    assert "identity.review_needed" in linked.events()


def test_one_question_however_often_they_write(linked: Stage) -> None:
    for number in (2, 3, 4):
        writes(linked, number, emails=["ada@example.com"])
    assert open_questions(linked) == 1


def test_who_stays_is_not_asked_about_again(linked: Stage) -> None:
    (first,) = complaints(linked)
    writes(linked, emails=["ada@example.com"])
    row = answered(linked, Said.THIS, 0)
    assert row.answer is not None
    assert row.answer["person"] == first.person_id
    assert writes(linked, 3, emails=["ada@example.com"]).person_id == first.person_id
    assert open_questions(linked) == 0


def test_who_it_is_after_all_gets_the_account_and_what_it_wrote(linked: Stage) -> None:
    (first,) = complaints(linked)
    again = writes(linked, emails=["ada@example.com"])
    row = answered(linked, Said.THIS, 1)
    assert row.answer is not None
    assert row.answer["person"] != first.person_id
    linked.run_due()
    assert {who(linked, first), who(linked, again)} == {row.answer["person"]}
    with linked.hub.database.read() as uow:
        (held,) = uow.people.links_of_records([ada(linked).ref])
    assert held.person_id == row.answer["person"]
    # It stays so, though Kim's address is seen again: that is another question.
    assert who(linked, writes(linked, 3, emails=["kim@example.com"])) == row.answer["person"]
    assert open_questions(linked) == 0


def test_neither_of_them_ends_the_link(linked: Stage) -> None:
    (first,) = complaints(linked)
    again = writes(linked, emails=["ada@example.com"])
    records = [ada(linked).ref, linked.contact.ref]
    with linked.hub.database.read() as uow:
        holders = set(uow.people.persons_of_records(records).values())
    assert holders == {first.person_id}
    answered(linked, Said.NONE)
    linked.run_due()
    for complaint in (first, again, writes(linked, 3, emails=["ada@example.com"])):
        assert who(linked, complaint) not in holders
    with linked.hub.database.read() as uow:
        (link,) = uow.people.links_of_identity(first.identity_id or "")
    assert link.basis == "provisional"


def test_an_agents_link_is_asked_about_and_not_overturned(known: Stage) -> None:
    known.store(ada(known))
    arrive(known, event(author={"handle": "nobody", "display_name": "N"}))
    (first,) = complaints(known)
    with known.hub.database.read() as uow:
        (own,) = uow.people.links_of_records([known.contact.ref]) or (None,)
    person = own.person_id if own is not None else None
    asked = links.LinkAsked(
        identity_id=first.identity_id,
        person_id=person,
        display_name=None if person else "Kim",
        reason="she said so",
    )
    links.put_link(known.hub, asked, ASKER)
    again = writes(known, emails=["ada@example.com"], handle="nobody", display_name="N")
    with known.hub.database.read() as uow:
        (link,) = uow.people.links_of_identity(first.identity_id or "")
    assert link.decided_by == ASKER.principal
    assert who(known, again) == link.person_id
    assert open_questions(known) == 1


def test_somebody_who_is_linked_is_not_called_nobody(known: Stage) -> None:
    """The note beside the complaint says whose it is, also where nothing on file agrees."""
    arrive(known, event(author={"emails": ["kim@example.com"]}))
    (first,) = complaints(known)
    with known.hub.database.begin() as uow:
        uow.records.delete([known.contact.ref], as_of=known.time.now)
    again = writes(known, handle="renamed", display_name="?")
    assert again.person_id == first.person_id
    assert again.resolution is not None
    decision = again.resolution["decision"]
    assert (decision["outcome"], decision["why"]) == ("link", "linked before")
    assert open_questions(known) == 0


@pytest.mark.parametrize(
    "author",
    [
        {"emails": ["kim@example.com"]},
        {"emails": ["kim@example.com", "ada@example.com"]},
        {"emails": ["somebody@else.example"]},
        {"handle": "adalo", "display_name": "Ada Lo"},
    ],
)
def test_what_contradicts_nothing_asks_nobody(linked: Stage, author: dict[str, object]) -> None:
    writes(linked, **author)
    assert open_questions(linked) == 0


def test_a_text_contradicts_nothing(linked: Stage) -> None:
    """Anybody can name somebody else's address."""
    linked.time.pass_(minutes=2)
    text = "Broken. Please write to my sister: ada@example.com"
    arrive(linked, event(text, id="m-2", conversation="c-2"))
    assert open_questions(linked) == 0


def test_a_question_about_a_link_that_somebody_ends_is_settled(linked: Stage) -> None:
    """It would stay open for ever, as nothing but `unsure` could be answered."""
    (first,) = complaints(linked)
    writes(linked, emails=["ada@example.com"])
    asked = question(linked)
    with linked.hub.database.read() as uow:
        (link,) = uow.people.links_of_identity(first.identity_id or "")
    links.revoke_link(linked.hub, link.id, version=link.version, reason="not her", asker=ASKER)
    assert open_questions(linked) == 0
    with pytest.raises(ConflictError, match="settled"):
        reviews.answer(
            linked.hub, asked.id, Answered(Said.THIS, 1), version=asked.version, asker=ASKER
        )


def test_whom_somebody_said_that_it_is_not_is_not_asked_about(linked: Stage) -> None:
    (first,) = complaints(linked)
    assert first.identity_id is not None
    with linked.hub.database.begin() as uow:
        uow.ledger.add_cannot_link(
            first.identity_id,
            str(ada(linked).ref),
            reason="her sister",
            source="test",
            by="key_agent",
            at=linked.time.now,
        )
    assert writes(linked, emails=["ada@example.com"]).person_id == first.person_id
    assert open_questions(linked) == 0
