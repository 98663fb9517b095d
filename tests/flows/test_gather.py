"""One issue from many complaints: merged by itself and by people, shown, and taken back."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from middleware.contract.actions import Operation
from middleware.contract.canonical import Contact, Handle, Kind
from middleware.domain.claims import ClaimedError, Subject
from middleware.domain.gathering import GatheringRules
from middleware.domain.problems import ConflictError, InvalidError, NotFoundError
from middleware.flows import claim, correct, gather, handoff, receive
from middleware.flows.hub import Asker
from middleware.inlets import Delivery
from middleware.store.tables import ComplaintMergeRow, ComplaintRow
from tests.flows.conftest import Stage, queries
from tests.flows.test_receive import arrive, complaints, event

ASKER = Asker(principal="key_agent", request_id="req_1")
TWEET = "My reading lamp arrived broken and nobody answers me, I want a new one!"

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what no database could see differently."""


@pytest.fixture
def known(stage: Stage) -> Stage:
    """Kim's CRM contact knows two of her accounts."""
    contact = stage.contact.model_copy(
        update={
            "handles": (
                Handle(network="x", handle="KimBerg", native_id="77"),
                Handle(network="instagram", handle="kim.berg", native_id="88"),
            )
        }
    )
    assert isinstance(contact, Contact)
    stage.crm.put(contact)
    stage.store(stage.account, stage.order, contact)
    return stage


INSTAGRAM = {"network": "instagram", "native_id": "88", "handle": "kim.berg"}
_SAID = iter(range(2, 10_000))


def say(stage: Stage, text: str, conversation: str, **data: Any) -> ComplaintRow:
    """Kim writes; answers the complaint of that conversation."""
    number = next(_SAID)
    stage.time.pass_(minutes=1)
    posted = stage.time.now.isoformat()
    arrive(
        stage, event(text, id=f"m-{number}", conversation=conversation, posted_at=posted, **data)
    )
    return of(stage, conversation)


def of(stage: Stage, conversation: str) -> ComplaintRow:
    return next(c for c in complaints(stage) if c.conversation == conversation)


def merges(stage: Stage) -> list[ComplaintMergeRow]:
    with stage.hub.database.read() as uow:
        return uow.gathering.of([c.id for c in complaints(stage)])


def issue(stage: Stage, conversation: str) -> set[str]:
    with stage.hub.database.read() as uow:
        return {row.conversation for row in uow.complaints.issue_of(of(stage, conversation))}


def test_a_cross_post_is_one_issue_and_another_trouble_another(known: Stage) -> None:
    first = say(known, TWEET, "x-1")
    second = say(known, TWEET, "ig-1", author=INSTAGRAM)
    other = say(known, "The checkout of your website shows an error 502", "x-2")
    assert first.person_id == second.person_id == other.person_id is not None
    assert second.merged_into == first.id
    assert of(known, "x-1").merged_into is None
    assert other.merged_into is None
    (row,) = merges(known)
    assert (row.state, row.decided_by, row.main_id) == ("merged", "hub", first.id)
    assert row.score == pytest.approx(sum(r["points"] for r in row.reasons))
    assert known.events().count("complaint.merged") == 1
    say(known, "Hello? Anybody there?", "ig-1", author=INSTAGRAM)
    assert len(merges(known)) == 1, "once is enough"


@on_sqlite
def test_the_same_words_of_strangers_are_no_issue(known: Stage) -> None:
    say(known, TWEET, "x-1", author={"native_id": "5", "handle": "a", "display_name": "A"})
    say(known, TWEET, "x-2", author={"native_id": "6", "handle": "b", "display_name": "B"})
    assert merges(known) == []


@on_sqlite
def test_who_may_be_one_is_only_suggested(known: Stage) -> None:
    """The same name, the same words, and nobody knows whether they are one."""
    say(known, TWEET, "x-1", author={"native_id": "5", "handle": "a", "display_name": "Lou Ash"})
    say(
        known,
        TWEET,
        "fb-1",
        author={"network": "facebook", "native_id": "6", "handle": "b", "display_name": "Lou Ash"},
    )
    (row,) = merges(known)
    assert row.state == "suggested"
    assert of(known, "fb-1").merged_into is None
    assert known.events().count("complaint.merge_suggested") == 1
    # Said once, not with every further message.
    say(known, "Hello? Anybody?", "x-1", author={"native_id": "5", "display_name": "Lou Ash"})
    assert len(merges(known)) == 1
    gather.merge(known.hub, row.main_id, row.other_id, reason="I asked him.", asker=ASKER)
    assert [m.state for m in merges(known)] == ["settled", "merged"]


def test_what_people_split_is_never_merged_again_by_itself(known: Stage) -> None:
    first = say(known, TWEET, "x-1")
    second = say(known, TWEET, "ig-1", author=INSTAGRAM)
    gather.split(known.hub, second.id, reason="Another lamp.", asker=ASKER)
    assert of(known, "ig-1").merged_into is None
    say(known, TWEET, "ig-1", author=INSTAGRAM)
    say(known, TWEET, "x-1")
    known.run_all()
    assert of(known, "ig-1").merged_into is None
    assert of(known, "x-1").merged_into is None
    (row,) = merges(known)
    assert (row.state, row.ended_by, row.ended_reason) == ("split", "key_agent", "Another lamp.")
    # A third one goes to one of them, and does not bring them together.
    third = say(known, TWEET, "x-3")
    assert third.merged_into in (first.id, second.id)
    assert issue(known, "x-1") & issue(known, "ig-1") == set()
    # A person may change their mind.
    gather.merge(known.hub, first.id, second.id, reason="It was the same.", asker=ASKER)
    assert of(known, "ig-1").merged_into == first.id


@on_sqlite
def test_what_is_said_after_a_split_is_its_own(known: Stage) -> None:
    say(known, TWEET, "x-1")
    second = say(known, TWEET, "ig-1", author=INSTAGRAM)
    say(known, "It is the brass one.", "ig-1", author=INSTAGRAM)
    gather.split(known.hub, second.id, reason="Another lamp.", asker=ASKER)
    with known.hub.database.read() as uow:
        texts = [a.text for a in uow.complaints.arrivals_of(second.id)]
        left = [a.text for a in uow.complaints.arrivals_of(of(known, "x-1").id)]
    assert texts == [TWEET, "It is the brass one."]
    assert left == [TWEET]


def test_the_order_named_later_elsewhere_is_the_issues_order(known: Stage) -> None:
    first = say(known, TWEET.replace("I want", "want"), "x-1", order_numbers=[])
    second = say(known, TWEET + " Order SO-10001", "ig-1", author=INSTAGRAM)
    assert second.merged_into == first.id
    assert of(known, "x-1").order_ref == str(known.order.ref)
    taken = claim.Asked(subject=Subject(order=known.order.ref))
    claim.take(known.hub, claim.Asked(subject=Subject(complaint=first.id)), ASKER)
    with pytest.raises(ClaimedError):
        claim.take(known.hub, taken, Asker(principal="key_other"))


@on_sqlite
def test_claims_and_budget_hold_for_the_whole_issue(known: Stage) -> None:
    first = say(known, TWEET + " Order SO-10001, LMP-100", "x-1")
    second = say(known, TWEET + " Order SO-10001, LMP-100", "ig-1", author=INSTAGRAM)
    assert second.merged_into == first.id
    claim.take(known.hub, claim.Asked(subject=Subject(complaint=first.id)), ASKER)
    other = Asker(principal="key_other")
    with pytest.raises(ClaimedError):
        claim.take(known.hub, claim.Asked(subject=Subject(complaint=second.id)), other)
    wanted = known.wanted(complaint_id=second.id, quantity=2)
    with pytest.raises(ClaimedError):
        correct.create(known.hub, wanted, other)
    correct.create(known.hub, wanted, ASKER)
    # The same line once more, by way of the other conversation: the budget says no.
    with pytest.raises(ConflictError, match="is being put right already"):
        correct.create(known.hub, known.wanted(complaint_id=first.id, quantity=2), ASKER)


def test_people_merge_and_split_what_they_know_better(known: Stage) -> None:
    first = say(known, "The checkout shows an error 502", "x-1")
    second = say(known, "Where is my parcel? It is a week late!", "x-2")
    third = say(known, "I was charged twice on my card!", "x-3")
    assert merges(known) == []
    gather.merge(known.hub, second.id, third.id, reason="One call.", asker=ASKER)
    gather.merge(known.hub, first.id, third.id, reason="One call.", asker=ASKER)
    assert issue(known, "x-3") == {"x-1", "x-2", "x-3"}
    assert of(known, "x-3").merged_into == second.id, "as it was said"
    with pytest.raises(ConflictError, match="one issue already"):
        gather.merge(known.hub, third.id, first.id, reason="Again.", asker=ASKER)
    with pytest.raises(ConflictError, match="through another complaint"):
        gather.split(known.hub, first.id, other_id=third.id, reason="No.", asker=ASKER)
    gather.split(known.hub, second.id, reason="Two calls.", asker=ASKER)
    assert issue(known, "x-1") == {"x-1"}
    assert issue(known, "x-3") == {"x-2", "x-3"}
    with pytest.raises(ConflictError, match="was not merged"):
        gather.split(known.hub, first.id, reason="No.", asker=ASKER)
    with pytest.raises(NotFoundError):
        gather.merge(known.hub, first.id, "cmp_9", reason="No.", asker=ASKER)


@on_sqlite
def test_closed_and_old_complaints_are_let_be(known: Stage) -> None:
    say(known, TWEET, "x-1")
    with known.hub.database.begin() as uow:
        row = uow.complaints.get(of(known, "x-1").id, lock=True)
        assert row is not None
        row.state = "closed"
    assert say(known, TWEET, "x-2").merged_into is None
    known.time.pass_(days=8)
    assert say(known, TWEET, "x-3").merged_into is None


def test_the_younger_one_goes_to_the_older_whichever_is_understood_last(known: Stage) -> None:
    stranger = {"native_id": "5", "handle": "kb", "display_name": "Kim Berg"}
    first = say(known, TWEET, "x-1", author=stranger)
    second = say(known, TWEET, "ig-1", author=INSTAGRAM)
    assert known.settled(first.person_id) is None
    assert second.merged_into is None
    assert [m.state for m in merges(known)] == ["suggested"]
    say(known, "I am a customer", "x-1", author=stranger | {"emails": ["kim@example.com"]})
    assert of(known, "x-1").person_id == second.person_id
    assert of(known, "ig-1").merged_into == first.id
    assert of(known, "x-1").merged_into is None
    assert [m.state for m in merges(known)] == ["settled", "merged"]


@on_sqlite
def test_gathering_can_be_turned_off(known: Stage) -> None:
    off = known.with_options(gathering=GatheringRules(enabled=False))
    say(off, TWEET, "x-1")
    say(off, TWEET, "ig-1", author=INSTAGRAM)
    assert merges(known) == []


def test_two_that_are_handled_at_once_end_as_one_issue(known: Stage) -> None:
    """Whichever is understood first, neither waits for the other in a circle."""
    for round_ in range(3):
        text = f"{TWEET} Number {round_} of my lamps, the {'old ' * (round_ + 1)}one."
        ids = []
        for conversation, author in (("x", {}), ("ig", INSTAGRAM), ("x2", {})):
            name = f"{conversation}-{round_}"
            body = json.dumps(event(text, id=name, conversation=name, author=author)).encode()
            delivery = Delivery(
                method="POST",
                path="/",
                body=body,
                received_at=known.time(),
                headers={"webhook-id": name},
            )
            row = receive.row_of(
                delivery, connection=known.names["desk"], source="generic", trust="signature"
            )
            with known.hub.database.begin() as uow:
                ids.append(uow.inbox.store_once(row).id)
        threads = [threading.Thread(target=receive.run, args=(known.hub, i)) for i in ids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        known.run_all(hours=1)
        with known.hub.database.read() as uow:
            states = [row.state for i in ids if (row := uow.inbox.get(i)) is not None]
        assert states == ["handled"] * 3
        found = issue(known, f"x-{round_}")
        assert {f"x-{round_}", f"ig-{round_}", f"x2-{round_}"} <= found


def clocks_of(stage: Stage, conversation: str) -> dict[str, str]:
    with stage.hub.database.read() as uow:
        rows = uow.queue.clocks_of(of(stage, conversation).id)
    return {row.kind: row.state for row in rows if row.number == 1}


def test_an_issue_has_its_clocks_once_and_an_answer_anywhere_stops_them(known: Stage) -> None:
    say(known, TWEET, "x-1")
    say(known, TWEET, "ig-1", author=INSTAGRAM)
    known.run_all()
    assert clocks_of(known, "x-1")["first_response"] == "running"
    assert "running" not in clocks_of(known, "ig-1").values()
    assert of(known, "ig-1").due_at is None
    with known.hub.database.read() as uow:
        queue = uow.complaints.queue(after=None, limit=10)
        assert [row.conversation for row in queue] == ["x-1"]
    say(known, "We send a new one today.", "ig-1", outgoing=True)
    known.run_all()
    assert clocks_of(known, "x-1")["first_response"] == "answered"
    gather.split(known.hub, of(known, "ig-1").id, reason="two lamps", asker=ASKER)
    assert clocks_of(known, "ig-1")["first_response"] == "answered"
    assert clocks_of(known, "x-1")["first_response"] == "running"


@on_sqlite
def test_whoever_takes_an_issue_over_reads_all_of_it(known: Stage) -> None:
    say(known, TWEET, "x-1")
    say(known, TWEET, "ig-1", author=INSTAGRAM)
    say(known, "Still waiting, and now it rattles.", "ig-1", author=INSTAGRAM)
    for conversation in ("x-1", "ig-1"):
        packet = handoff.packet_of(known.hub, of(known, conversation).id)
        texts = [message["text"] for message in packet["thread"]]
        assert texts == [TWEET, TWEET, "Still waiting, and now it rattles."]
        assert packet["complaint"]["conversation"] == conversation


def test_a_move_leaves_its_trail_and_takes_all_along(known: Stage) -> None:
    row = say(known, TWEET + " LMP-100", "7", brand_account="hearth_home")
    claim.take(known.hub, claim.Asked(subject=Subject(complaint=row.id)), ASKER)
    gather.move(known.hub, row.id, account="pine_outdoor", team=None, reason="Theirs.", asker=ASKER)
    gather.move(known.hub, row.id, account=None, team="returns", reason="A return.", asker=ASKER)
    moved = of(known, "7")
    assert (moved.brand_account, moved.team) == ("pine_outdoor", "returns")
    with known.hub.database.read() as uow:
        trail = uow.gathering.moves_of(row.id)
        arrivals = uow.complaints.arrivals_of(row.id)
        claims = claim.claims_on(known.hub, uow, moved)
    assert [(m.from_account, m.to_account, m.to_team) for m in trail] == [
        ("hearth_home", "pine_outdoor", None),
        ("pine_outdoor", "pine_outdoor", "returns"),
    ]
    assert arrivals[0].brand_account == "hearth_home", "it was written there"
    assert [c.holder for c in claims] == ["key_agent"]
    assert known.events().count("complaint.moved") == 2
    known.run_all()
    notes = known.notes()
    assert "Moved from hearth_home to pine_outdoor: Theirs." in notes
    assert "Moved to the team returns: A return." in notes
    with pytest.raises(InvalidError, match="there already"):
        gather.move(known.hub, row.id, account="pine_outdoor", team=None, reason="x", asker=ASKER)
    with pytest.raises(InvalidError, match="Say where to"):
        gather.move(known.hub, row.id, account=None, team=None, reason="x", asker=ASKER)


@on_sqlite
def test_notes_are_still_written_where_each_was_told(known: Stage) -> None:
    say(known, TWEET, "x-1")
    say(known, TWEET, "ig-1", author=INSTAGRAM)
    known.run_all()
    assert known.desk.count(Operation.NOTE) == 2
    assert known.ref("desk", Kind.CASE, "x-1") != known.ref("desk", Kind.CASE, "ig-1")


@on_sqlite
def test_being_held_against_many_asks_no_more_than_against_one(known: Stage) -> None:
    asked = []
    for number in range(8):
        author = {"native_id": f"9{number}", "handle": f"other{number}", "display_name": None}
        with queries(known) as seen:
            say(known, TWEET, f"x-{number}", author=author)
        asked.append(len(seen))
    assert max(asked[3:]) <= asked[2], "each complaint costs statements of its own"
