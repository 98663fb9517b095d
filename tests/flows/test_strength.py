"""What stood on a record's link: also what is somebody else's by now."""

from __future__ import annotations

from middleware.flows import merge
from middleware.store import queries
from middleware.store.queries import Strength
from tests.flows.conftest import Stage
from tests.flows.test_ledger import (
    AGENT,
    EMAIL,
    contact,
    links_of,
    put,
    two,
    unlink,
)
from tests.flows.test_receive import arrive, complaints, event, the_complaint


def strength(stage: Stage, thing: str, person: str) -> Strength:
    link = links_of(stage, person)[thing]
    with stage.hub.database.read() as uow:
        return queries.done_on_strength_of(uow, link)


def test_what_was_shown_with_a_record_stands_on_it_after_its_author_was_corrected(
    known: Stage,
) -> None:
    arrive(known, event(author=EMAIL))
    shown = the_complaint(known)
    person, account = shown.person_id or "", str(known.account.ref)
    known.time.pass_(minutes=1)
    unlink(known, links_of(known, person)[shown.identity_id or ""])
    known.run_due()
    known.time.pass_(minutes=1)
    at = known.time.now.isoformat()
    arrive(known, event("More", id="m-2", conversation="c-2", author=EMAIL, posted_at=at))
    assert len(complaints(known)) == 2
    stands = strength(known, account, person)
    assert stands.complaints == (shown.id,), "what came later was never shown with it"
    assert stands.orders == (str(known.order.ref),)


def test_what_was_shown_with_a_record_stands_on_it_after_a_split(known: Stage) -> None:
    arrive(known, event(author=EMAIL))
    shown = the_complaint(known)
    person, account = shown.person_id or "", str(known.account.ref)
    known.time.pass_(minutes=1)
    asked = merge.SplitAsked(identities=(shown.identity_id or "",))
    merge.split(known.hub, person, asked, reason="her brother", asker=AGENT)
    known.run_due()
    assert strength(known, account, person).complaints == (shown.id,)
    with known.hub.database.read() as uow:
        assert queries.on_which_nothing_stands(uow, links_of(known, person).values()) == set()


def test_what_somebody_wrote_before_the_record_was_theirs_does_not_stand_on_it(
    known: Stage,
) -> None:
    arrive(known, event(author=EMAIL))
    shown = the_complaint(known)
    person = shown.person_id or ""
    known.time.pass_(minutes=1)
    unlink(known, links_of(known, person)[shown.identity_id or ""])
    known.run_due()
    known.time.pass_(minutes=1)
    second = contact(known, "C2", emails=())
    known.store(second)
    put(known, str(second.ref), person)
    assert strength(known, str(second.ref), person).complaints == ()


def test_a_merge_that_was_undone_showed_the_ones_complaints_with_the_others_record(
    known: Stage,
) -> None:
    person, other = two(known)
    arrive(known, event("Lost", id="m-2", conversation="c-2", author={"native_id": "other"}))
    lost = next(c for c in complaints(known) if c.person_id == other)
    account = str(known.account.ref)
    assert lost.id not in strength(known, account, person).complaints
    known.time.pass_(minutes=1)
    change = merge.merge(known.hub, person, other, reason="the same", asker=AGENT)
    known.run_due()
    known.time.pass_(minutes=1)
    merge.undo(known.hub, change.id, reason="no", asker=AGENT)
    known.run_due()
    assert lost.id in strength(known, account, person).complaints
