"""Whoever wrote before from another account: known by the same address or number, which is on file
nowhere, and by the same handle on another network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import delete, select

from middleware.contract.canonical import Contact, Kind
from middleware.domain.arrivals import Author
from middleware.domain.identity import Basis, EvidenceKind, Outcome
from middleware.flows import link as links
from middleware.flows import lookup, provisional, reviews
from middleware.flows.hub import Asker
from middleware.flows.index import index_again
from middleware.flows.link import LinkAsked
from middleware.flows.reviews import Answered, Said
from middleware.flows.why import why
from middleware.resolution.blocked import Blocked
from middleware.resolution.exact import AutoRules
from middleware.store.people import MOST_BEFORE
from middleware.store.tables import ComplaintRow, IdentityIdentifierRow, LinkRow, ReviewRow
from tests.flows.conftest import Stage
from tests.flows.test_likely import others
from tests.flows.test_receive import arrive, complaints, event

AGENT = Asker(principal="key_agent")
HOME = "kim@home.example"
MOBILE = "+4915112345678"


def writes(stage: Stage, number: int, **author: Any) -> ComplaintRow:
    """An account of this number writes in a conversation of its own; answers the complaint."""
    stage.time.pass_(minutes=1)
    given = {"native_id": f"n{number}", "handle": None, "display_name": None}
    arrive(stage, event(id=f"m-{number}", conversation=f"c-{number}", author=given | author))
    return next(c for c in complaints(stage) if c.conversation == f"c-{number}")


def person(stage: Stage, complaint: ComplaintRow) -> str:
    """Whose it is for good: an account that is nobody's has no person here."""
    with stage.hub.database.read() as uow:
        (link,) = uow.people.links_of_identity(complaint.identity_id or "")
        return "" if link.basis == Basis.PROVISIONAL else link.person_id


def decision(complaint: ComplaintRow) -> dict[str, Any]:
    assert complaint.resolution is not None
    found: dict[str, Any] = complaint.resolution["decision"]
    return found


def evidence(complaint: ComplaintRow) -> dict[str, dict[str, Any]]:
    """Of the best candidate, by kind."""
    return {e["kind"]: e for e in decision(complaint)["candidate"]["evidence"]}


def link(stage: Stage, complaint: ComplaintRow, person_id: str | None, name: str = "Kim") -> str:
    """An agent says whose account it is; answers the person."""
    asked = LinkAsked(
        identity_id=complaint.identity_id,
        person_id=person_id,
        display_name=None if person_id else name,
        reason="She told us on the phone.",
    )
    link_id, _ = links.put_link(stage.hub, asked, AGENT)
    stage.run_due()
    with stage.hub.database.read() as uow:
        row = uow.people.link(link_id)
        assert row is not None
        return row.person_id


@pytest.fixture
def kim(known: Stage) -> str:
    """Kim is on file by one address, and an agent said that an account with another is hers, too.
    Answers the person."""
    first = person(known, writes(known, 1, emails=["kim@example.com"]))
    assert first
    other = writes(known, 2, emails=[HOME], phones=[MOBILE])
    assert person(known, other) == ""
    return link(known, other, first)


@pytest.mark.parametrize(
    "author",
    [
        {"network": "email", "native_id": HOME},
        {"emails": ["Kim@Home.example"]},
        {"network": "whatsapp", "native_id": MOBILE.removeprefix("+")},
        {"phones": ["+49 151 12345678"]},
    ],
)
def test_an_address_or_number_that_is_on_file_nowhere_is_known_again(
    known: Stage, kim: str, author: dict[str, Any]
) -> None:
    again = writes(known, 3, **author)
    assert person(known, again) == kim
    said = evidence(again)["wrote_before"]
    assert said["basis"] == "customer_provided"
    assert said["compared"] == "with their account on x"
    assert HOME not in said["detail"]
    assert MOBILE not in said["detail"]
    assert said["at"]
    assert again.order_match is not None, "her orders are beside it"


def test_nobody_is_known_by_an_account_that_is_nobodys(known: Stage) -> None:
    writes(known, 1, emails=[HOME])
    again = writes(known, 2, emails=[HOME])
    assert person(known, again) == ""
    assert decision(again)["outcome"] == "none"


def test_a_link_that_was_taken_back_says_nothing(known: Stage, kim: str) -> None:
    with known.hub.database.read() as uow:
        (row,) = [
            one
            for one in uow.people.links_of_person(kim)
            if one.decided_by == AGENT.principal and one.identity_id
        ]
    links.revoke_link(known.hub, row.id, reason="Her brother's.", version=row.version, asker=AGENT)
    known.run_due()
    assert person(known, writes(known, 3, emails=[HOME])) == ""


def test_what_is_on_file_counts_by_whose_it_is_there(known: Stage, kim: str) -> None:
    """Ada is on file with the address that an account of Kim's wrote with: it is Ada's."""
    ref = known.ref("crm", Kind.CONTACT, "C9")
    known.store(Contact(ref=ref, display_name="Ada Lo", emails=(HOME,)))
    again = writes(known, 3, emails=[HOME])
    assert person(known, again) not in ("", kim)
    assert "wrote_before" not in evidence(again)


def test_two_who_wrote_with_one_address_are_asked_about(known: Stage, kim: str) -> None:
    husband = writes(known, 3, emails=["kim@example.com", HOME], native_id="other")
    assert person(known, husband) == kim
    third = writes(known, 4, phones=["+4915155555555"])
    lee = link(known, third, None, "Lee")
    # As it is where both wrote from one telephone before either was linked.
    with known.hub.database.begin() as uow:
        uow.people.bears(third.identity_id or "", [("email", HOME)])
    again = writes(known, 5, emails=[HOME])
    assert person(known, again) == ""
    assert decision(again)["outcome"] == "review"
    found = again.resolution["candidates"] if again.resolution else []
    assert {c["person_id"] for c in found} == {kim, lee}
    assert all("shared" in {e["kind"] for e in c["evidence"]} for c in found)


def test_a_mailbox_of_many_is_asked_about(known: Stage, kim: str) -> None:
    link(known, writes(known, 3, emails=["info@home.example"]), kim)
    again = writes(known, 4, emails=["info@home.example"])
    assert person(known, again) == ""
    assert decision(again)["outcome"] == "review"


def test_what_too_many_wrote_with_is_nobodys(known: Stage, kim: str) -> None:
    """A company's one telephone, from which half of its customers were put through."""
    with known.hub.database.begin() as uow:
        for number in range(MOST_BEFORE):
            row = uow.people.see(
                network="x", native_id=f"m{number}", handle=None, display_name=None, at=known.time()
            )
            uow.people.bears(row.id, [("email", HOME)])
            own = LinkAsked(identity_id=row.id, person_id=kim, reason="hers")
            links.put_in(known.hub, uow, own, AGENT)
    again = writes(known, 3, emails=[HOME])
    assert person(known, again) == ""
    assert decision(again)["outcome"] == "none"


def test_where_only_likeness_said_whose_account_it_is_somebody_is_asked(
    known: Stage, kim: str
) -> None:
    with known.hub.database.begin() as uow:
        for row in uow.session.exec(select(LinkRow).where(LinkRow.person_id == kim)):
            row.basis = Basis.INFERRED.value
    again = writes(known, 3, emails=[HOME])
    assert person(known, again) == ""
    assert decision(again)["outcome"] == "review"
    assert evidence(again)["wrote_before"]["basis"] == "inferred"


def test_a_cannot_link_holds(known: Stage, kim: str) -> None:
    """She wrote from an account that somebody says is not hers."""
    again = writes(known, 3, emails=[HOME])
    with known.hub.database.read() as uow:
        (row,) = uow.people.links_of_identity(again.identity_id or "")
    links.revoke_link(known.hub, row.id, reason="Her son's.", version=row.version, asker=AGENT)
    known.run_due()
    writes(known, 4, emails=[HOME], native_id="n3")
    assert person(known, again) == ""


def test_what_is_blocked_is_nobodys(known: Stage, kim: str) -> None:
    blocked = replace(known.hub.options, blocked=Blocked.of(emails=("@home.example",)))
    object.__setattr__(known.hub, "options", blocked)
    assert person(known, writes(known, 3, emails=[HOME])) == ""


def test_it_does_not_contradict_a_link(known: Stage, kim: str) -> None:
    """Lee is linked, and then writes with what an account of Kim's wrote with: it may be hers, and
    is on file nowhere."""
    lee = link(known, writes(known, 3), None, "Lee")
    writes(known, 4, native_id="n3", emails=[HOME])
    with known.hub.database.read() as uow:
        assert uow.reviews.page(state="open", kind="contradiction", limit=9) == []
        links_ = uow.people.links_of_person(lee)
    assert len(links_) == 1


def test_an_account_that_expired_is_forgotten(known: Stage) -> None:
    complaint = writes(known, 1, emails=[HOME])
    with known.hub.database.begin() as uow:
        row = uow.complaints.get(complaint.id)
        assert row is not None
        row.state = "closed"
        assert uow.session.exec(select(IdentityIdentifierRow)).all()
    known.time.pass_(days=90)
    provisional.run(known.hub, known.time.now.date().isoformat())
    with known.hub.database.read() as uow:
        assert uow.session.exec(select(IdentityIdentifierRow)).all() == []
    index_again(known.hub)
    with known.hub.database.read() as uow:
        assert uow.session.exec(select(IdentityIdentifierRow)).all() == []


def test_what_was_written_before_an_upgrade_is_known_after_the_index_is_written(
    known: Stage, kim: str
) -> None:
    with known.hub.database.begin() as uow:
        uow.session.exec(delete(IdentityIdentifierRow))
    assert person(known, writes(known, 3, emails=[HOME])) == ""
    index_again(known.hub)
    assert person(known, writes(known, 4, emails=[HOME])) == kim


def test_why_says_it(known: Stage, kim: str) -> None:
    with known.hub.database.begin() as uow:
        for row in uow.session.exec(select(LinkRow).where(LinkRow.person_id == kim)):
            row.basis = Basis.INFERRED.value
    again = writes(known, 3, emails=[HOME])
    found = why(known.hub, again.identity_id or "", kim)
    assert EvidenceKind.WROTE_BEFORE in {e.kind for e in found.evidence}


# --- the same handle on another network -----------------------------------------------------------


@pytest.fixture
def ada(known: Stage) -> str:
    """Ada is on file without a handle; an agent said which account on X is hers."""
    known.store(
        *others(known, 300),
        Contact(
            ref=known.ref("crm", Kind.CONTACT, "A7"),
            display_name="Ada Quillfeather",
            emails=("ada@example.com",),
        ),
    )
    first = person(known, writes(known, 1, emails=["ada@example.com"]))
    return link(known, writes(known, 2, handle="lampsmith_77"), first)


def test_the_same_handle_on_another_network_leads_to_whose_it_is(known: Stage, ada: str) -> None:
    author = Author(network="instagram", native_id="i1", handle="Lampsmith_77")
    found = lookup.resolve(known.hub, author)
    (best,) = [c for c in found.candidates if c.person_id == ada]
    said = {e.kind: e for e in best.evidence}
    assert EvidenceKind.OTHER_HANDLE in said
    assert best.probability is not None, "it is judged as a likeness"
    assert found.decision.outcome is not Outcome.LINK
    without = lookup.resolve(known.hub, author.model_copy(update={"handle": "lampsmith_78"}))
    assert all(c.person_id != ada for c in without.candidates)


def test_name_and_handle_together_say_more_than_the_name(known: Stage, ada: str) -> None:
    author = Author(network="instagram", native_id="i1", display_name="Ada Quillfeather")
    alone = lookup.resolve(known.hub, author).candidates[0]
    handled = author.model_copy(update={"handle": "lampsmith_77"})
    both = lookup.resolve(known.hub, handled).candidates[0]
    assert alone.person_id == both.person_id == ada
    assert both.score > alone.score
    allowed = replace(
        known.hub.options,
        auto_link=AutoRules(inferred_networks=frozenset(("instagram",))),
    )
    object.__setattr__(known.hub, "options", allowed)
    assert lookup.resolve(known.hub, handled).decision.outcome is Outcome.LINK


def test_a_handle_that_was_given_up_leads_nowhere(known: Stage, ada: str) -> None:
    writes(known, 3, native_id="n2", handle="somebody_new")
    author = Author(network="instagram", native_id="i1", handle="lampsmith_77")
    assert all(c.person_id != ada for c in lookup.resolve(known.hub, author).candidates)


# --- and back again -------------------------------------------------------------------------------


def contradictions(stage: Stage) -> list[ReviewRow]:
    with stage.hub.database.read() as uow:
        return list(uow.reviews.page(state="open", kind="contradiction", limit=9))


def unlink(stage: Stage, complaint: ComplaintRow) -> None:
    with stage.hub.database.read() as uow:
        (row,) = uow.people.links_of_identity(complaint.identity_id or "")
    links.revoke_link(stage.hub, row.id, reason="Her son's.", version=row.version, asker=AGENT)
    stage.run_due()


def the(stage: Stage, number: int) -> ComplaintRow:
    return next(c for c in complaints(stage) if c.conversation == f"c-{number}")


def test_what_stood_on_a_link_that_is_taken_back_is_asked_about(known: Stage, kim: str) -> None:
    """The hub linked a third account since the second one was hers, which it is not."""
    third = writes(known, 3, emails=[HOME])
    assert person(known, third) == kim
    unlink(known, the(known, 2))
    (asked,) = contradictions(known)
    assert asked.identity_id == third.identity_id
    assert "not theirs any more" in asked.decision["why"]
    assert person(known, third) == kim, "the link holds until somebody says"
    word = Answered(Said.NONE, None, "It is her son.")
    reviews.answer(known.hub, asked.id, word, version=asked.version, asker=AGENT)
    known.run_due()
    assert person(known, third) == ""
    assert contradictions(known) == []


def test_what_stands_on_more_is_left_alone(known: Stage, kim: str) -> None:
    """An agent's word, and what the CRM has on file."""
    third = writes(known, 3, emails=[HOME])
    fourth = writes(known, 4, phones=[MOBILE, "+4915155555555"])
    fifth = writes(known, 5, emails=["kim@example.com", HOME])
    sixth = writes(known, 6)
    with known.hub.database.begin() as uow:
        for one in (the(known, 2), sixth):
            uow.people.bears(one.identity_id or "", [("phone", "+4915199999999")])
    assert link(known, sixth, kim) == kim
    assert {person(known, one) for one in (third, fourth, fifth)} == {kim}
    unlink(known, the(known, 2))
    assert {one.identity_id for one in contradictions(known)} == {fourth.identity_id}, (
        "the fifth, which the CRM's address vouches for, wrote with the third's; an agent said "
        "whose the sixth is"
    )


def test_two_that_stood_on_the_same_do_not_hold_each_other(known: Stage, kim: str) -> None:
    third, fourth = writes(known, 3, emails=[HOME]), writes(known, 4, emails=[HOME])
    assert person(known, third) == person(known, fourth) == kim
    unlink(known, the(known, 2))
    asked = {one.identity_id for one in contradictions(known)}
    assert asked == {third.identity_id, fourth.identity_id}
