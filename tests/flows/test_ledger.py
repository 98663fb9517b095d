"""The link ledger: what people say wins over what the hub works out, and all of it is undone."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import col, select

from middleware.contract.canonical import Account, Contact, Handle, Kind, Ref
from middleware.domain.identity import Candidate
from middleware.domain.ledger import Verdict
from middleware.domain.problems import ConflictError, InvalidError, NotFoundError
from middleware.flows import cannot, lookup, merge, receive, rehearse, reviews
from middleware.flows import link as links
from middleware.flows.hub import Asker
from middleware.store import queries
from middleware.store.ledger import thing_of
from middleware.store.tables import AuditRow, LinkRow, PersonRow, ReviewRow
from tests.flows.conftest import Stage
from tests.flows.test_receive import arrive, complaints, event, inbox, the_complaint

AGENT = Asker(principal="key_agent")
EMAIL = {"emails": ["kim@example.com"]}


def links_of(stage: Stage, person_id: str | None) -> dict[str, LinkRow]:
    with stage.hub.database.read() as uow:
        return {thing_of(row): row for row in uow.people.links_of_person(person_id or "")}


def put(stage: Stage, thing: str, person_id: str | None = None, **more: bool) -> LinkRow:
    asked = links.LinkAsked(
        person_id=person_id,
        reason="said so",
        display_name=None if person_id else "Somebody",
        identity_id=thing if ":" not in thing else None,
        record=Ref.parse(thing) if ":" in thing else None,
        **more,
    )
    link_id, _ = links.put_link(stage.hub, asked, AGENT)
    with stage.hub.database.read() as uow:
        row = uow.people.link(link_id)
        assert row is not None
        return row


def unlink(stage: Stage, link: LinkRow) -> None:
    links.revoke_link(stage.hub, link.id, version=None, reason="another person", asker=AGENT)


def identity(stage: Stage, native_id: str, network: str = "x") -> str:
    with stage.hub.database.begin() as uow:
        return uow.people.see(
            network=network, native_id=native_id, handle=None, display_name=None, at=stage.time()
        ).id


def contact(stage: Stage, id_: str, **more: object) -> Contact:
    return stage.contact.model_copy(
        update={"ref": stage.ref("crm", Kind.CONTACT, id_), "external_ids": {}, **more}
    )


# --- cannot-links against the automatic path ------------------------------------------------------


@pytest.mark.parametrize("record_too", [False, True])
def test_what_was_unlinked_stays_so_through_complaints_and_syncs(
    known: Stage, record_too: bool
) -> None:
    arrive(known, event(author=EMAIL))
    first = the_complaint(known)
    held = links_of(known, first.person_id)
    unlink(known, held[first.identity_id or ""])
    if record_too:
        unlink(known, held[str(known.contact.ref)])
    known.run_due()
    for turn in range(3):
        known.time.pass_(hours=1)
        # The record is read again, once unchanged, then with another address beside.
        emails = ("kim@example.com", *(["k@example.com"] if turn else []))
        known.store(known.contact.model_copy(update={"emails": emails}))
        arrive(
            known, event(f"Again {turn}", id=f"m-{turn}", conversation=f"c-{turn}", author=EMAIL)
        )
    assert {known.settled(c.person_id) for c in complaints(known)} == {None}
    stays = {str(known.account.ref), *([] if record_too else [str(known.contact.ref)])}
    assert set(links_of(known, first.person_id)) == stays
    last = complaints(known)[0].resolution
    assert last is not None
    # The contact alone, which is nobody's any more, is a question for a person.
    assert last["decision"]["outcome"] == ("review" if record_too else "none")
    assert record_too or "somebody said" in last["decision"]["why"]
    said = [e for c in last["candidates"] for e in c["evidence"] if e["kind"] == "cannot_link"]
    assert said


def test_an_author_is_not_linked_to_whom_it_was_said_they_are_not(known: Stage) -> None:
    author = identity(known, "77")
    cannot.put(known.hub, str(known.contact.ref), author, reason="her brother", asker=AGENT)
    arrive(known, event(author=EMAIL))
    assert known.settled(the_complaint(known).person_id) is None
    with known.hub.database.read() as uow:
        assert uow.people.links_of_records([known.contact.ref, known.account.ref]) == []


def test_two_records_held_apart_never_end_in_one_person(known: Stage) -> None:
    one, other = str(known.contact.ref), str(known.account.ref)
    cannot.put(known.hub, one, other, reason="father and son", asker=AGENT)
    for turn in range(3):
        known.store(known.contact, known.account)
        arrive(known, event(id=f"m-{turn}", conversation=f"c-{turn}", author=EMAIL))
    assert {known.settled(c.person_id) for c in complaints(known)} == {None}, (
        "a shared address decides nothing"
    )
    first = put(known, one)
    with pytest.raises(ConflictError, match="father and son"):
        put(known, other, first.person_id)
    with pytest.raises(ConflictError, match="father and son"):
        put(known, other, first.person_id, although_revoked=True)
    second = put(known, other)
    with pytest.raises(ConflictError, match="father and son"):
        merge.merge(known.hub, first.person_id, second.person_id, reason="the same", asker=AGENT)
    # Nor are the orders of the one shown with the other, although the number says it is theirs.
    with known.hub.database.read() as uow:
        assert lookup.customers_of(uow, first.person_id) == [known.contact.ref]


def test_what_is_held_apart_is_no_one_candidate(known: Stage) -> None:
    cannot.put(known.hub, str(known.contact.ref), str(known.account.ref), reason="two", asker=AGENT)
    arrive(known, event(author=EMAIL))
    resolution = the_complaint(known).resolution
    assert resolution is not None
    assert [len(c["refs"]) for c in resolution["candidates"]] == [1, 1]
    assert resolution["decision"]["outcome"] == "review"


def test_a_cannot_link_is_lifted_by_a_person_alone(known: Stage) -> None:
    author = identity(known, "77")
    row, new = cannot.put(known.hub, author, str(known.contact.ref), reason="no", asker=AGENT)
    again, second = cannot.put(known.hub, str(known.contact.ref), author, reason="no", asker=AGENT)
    assert (new, second, again.id) == (True, False, row.id)
    lifted = cannot.lift(known.hub, row.id, version=1, reason="it is her", asker=AGENT)
    assert lifted.valid_to is not None
    with pytest.raises(ConflictError, match="already"):
        cannot.lift(known.hub, row.id, version=None, reason="it is her", asker=AGENT)
    arrive(known, event(author=EMAIL))
    assert the_complaint(known).person_id is not None


def test_what_is_one_person_now_is_not_held_apart(known: Stage) -> None:
    arrive(known, event(author=EMAIL))
    complaint = the_complaint(known)
    author, person = complaint.identity_id or "", complaint.person_id or ""
    for one, other in (
        (author, person),
        (author, str(known.contact.ref)),
        (str(known.contact.ref), str(known.account.ref)),
    ):
        with pytest.raises(ConflictError, match="one person now"):
            cannot.put(known.hub, one, other, reason="no", asker=AGENT)
    with pytest.raises(InvalidError):
        cannot.put(known.hub, author, author, reason="no", asker=AGENT)
    with pytest.raises(InvalidError, match="nobody"):
        cannot.put(known.hub, author, str(known.order.ref), reason="no", asker=AGENT)
    with pytest.raises(NotFoundError):
        cannot.put(known.hub, author, "per_none", reason="no", asker=AGENT)


def test_an_unlinking_is_taken_back_as_it_was(known: Stage) -> None:
    arrive(known, event(author=EMAIL))
    complaint = the_complaint(known)
    link = links_of(known, complaint.person_id)[complaint.identity_id or ""]
    unlink(known, link)
    known.time.pass_(minutes=5)
    again = links.restore_link(known.hub, link.id, reason="my mistake", asker=AGENT)
    assert again.origin == link.id
    assert (again.person_id, again.basis, again.evidence, again.decided_by) == (
        link.person_id,
        link.basis,
        link.evidence,
        "hub",
    )
    assert the_complaint(known).person_id == complaint.person_id
    with pytest.raises(ConflictError):
        links.restore_link(known.hub, link.id, reason="once more", asker=AGENT)
    with known.hub.database.read() as uow:
        assert uow.ledger.cannot_links_of({link.identity_id or ""}) == []


# --- merge, split, undo ---------------------------------------------------------------------------


def two(stage: Stage) -> tuple[str, str]:
    """A person with a complaint, an order and an author; another one with an author."""
    arrive(stage, event(author=EMAIL))
    other = put(stage, identity(stage, "other")).person_id
    return the_complaint(stage).person_id or "", other


def picture(stage: Stage) -> object:
    """All links, redirects and what is shown under whom, without ids and times of links."""
    with stage.hub.database.read() as uow:
        valid = [
            (
                *(row.person_id, thing_of(row), row.basis, row.confidence, str(row.evidence)),
                *(row.decided_by, row.decided_under),
            )
            for row in uow.session.exec(select(LinkRow).where(col(LinkRow.valid_to).is_(None)))
        ]
        shown = [(c.id, c.person_id) for c in uow.complaints.page(before=None, limit=200)]
        apart = {tuple(sorted(pair)) for pair in uow.ledger.all_apart()}
    return sorted(valid, key=str), sorted(shown), apart


def test_all_that_is_held_apart_is_followed_together(stage: Stage) -> None:
    """A run of resolution reads all of it: what it asks grows with merges, not with pairs."""
    now = stage.time()
    with stage.hub.database.begin() as uow:
        persons = [uow.people.add_person(display_name=None, at=now).id for _ in range(24)]
        for one, into in ((0, 4), (4, 6), (3, 8)):
            row = uow.session.get(PersonRow, persons[one])
            assert row is not None
            row.redirect_to = persons[into]
        for one, other in zip(persons[::2], persons[1::2], strict=True):
            uow.ledger.add_cannot_link(one, other, reason="two", source="s", by="k", at=now)
    asked = []

    def note(*given: Any) -> None:
        asked.append(given[2])

    engine = stage.hub.database.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        with stage.hub.database.read() as uow:
            apart = uow.ledger.all_apart()
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    assert len(asked) < 6
    final = {persons[0]: persons[6], persons[4]: persons[6], persons[3]: persons[8]}
    assert apart == {
        frozenset((final.get(one, one), final.get(other, other)))
        for one, other in zip(persons[::2], persons[1::2], strict=True)
    }


def test_a_merge_moves_everything_and_says_so_before(known: Stage) -> None:
    person, other = two(known)
    complaint = the_complaint(known)
    shown = merge.preview_merge(known.hub, other, person)
    assert (shown.person_id, shown.other_id, shown.conflicts) == (other, person, ())
    assert shown.moves.identities == (complaint.identity_id,)
    assert set(shown.moves.records) == {str(known.contact.ref), str(known.account.ref)}
    assert shown.moves.complaints == (complaint.id,)
    before = known.time.now
    known.time.pass_(hours=1)
    change = merge.merge(
        known.hub, other, person, reason="same voice", asker=AGENT, token=shown.token
    )
    assert links_of(known, person) == {}
    assert len(links_of(known, other)) == 4
    assert the_complaint(known).person_id == other
    with known.hub.database.read() as uow:
        found = uow.people.person(person)
        assert found is not None
        assert found.id == other
        then = uow.ledger.person_as_of(person, before)
        assert then is not None
        assert then.id == person
        assert len(uow.people.links_of_person(person, as_of=before)) == 3
        assert len(uow.people.links_of_person(other, as_of=before)) == 1
        told = uow.events.since(0, types=["person.merged"], limit=9)
        assert [e.data["other_id"] for e in told] == [person]
        (audit,) = uow.audit.about(change.id)
        assert audit.action == "person.merge"
        assert len(audit.detail["moved"]["links"]) == 3
    with pytest.raises(ConflictError, match="are one person"):
        merge.merge(known.hub, other, person, reason="again", asker=AGENT)


def test_a_complaint_after_a_merge_is_shown_under_who_stayed(known: Stage) -> None:
    person, other = two(known)
    merge.merge(known.hub, other, person, reason="the same", asker=AGENT)
    arrive(known, event("And now?", id="m-2", conversation="c-2", author=EMAIL))
    stranger = {"native_id": "88", "handle": "kim2", **EMAIL}
    arrive(known, event("Me again", id="m-3", conversation="c-3", author=stranger))
    assert {c.person_id for c in complaints(known)} == {other}


def test_undoing_a_merge_restores_what_was(known: Stage) -> None:
    person, other = two(known)
    was = picture(known)
    change = merge.merge(known.hub, other, person, reason="the same", asker=AGENT)
    arrive(known, event("And now?", id="m-2", conversation="c-2", author=EMAIL))
    known.run_due()
    known.time.pass_(days=1)
    undone = merge.undo(known.hub, change.id, reason="they are two", asker=AGENT)
    assert undone.left_out == ()
    later = complaints(known)[0]
    assert later.person_id == person, "what came to it since goes along"
    links_, shown, apart = was  # type: ignore[misc]
    assert picture(known) == (links_, sorted([*shown, (later.id, person)]), apart)
    assert known.events().count("person.split") == 1
    with known.hub.database.read() as uow:
        back = uow.people.person(person)
        assert back is not None
        assert back.id == person
        # While it was merged, the id led to the other.
        then = uow.ledger.person_as_of(person, known.time.now - timedelta(hours=1))
        assert then is not None
        assert then.id == other
    with pytest.raises(ConflictError, match="undone already"):
        merge.undo(known.hub, change.id, reason="again", asker=AGENT)


def everything(stage: Stage) -> object:
    """What is linked and shown, and all that was ever audited, told and owed."""
    with stage.hub.database.read() as uow:
        audit = uow.session.exec(sa.select(sa.func.count()).select_from(AuditRow)).scalar_one()
        told = len(uow.events.since(0, limit=1000))
    return picture(stage), audit, told, len(stage.engine.owed)


def test_what_an_undo_would_give_back_is_shown_and_not_done(known: Stage) -> None:
    person, other = two(known)
    change = merge.merge(known.hub, other, person, reason="the same", asker=AGENT)
    arrive(known, event("And now?", id="m-2", conversation="c-2", author=EMAIL))
    known.run_due()
    was = everything(known)
    seen = merge.preview_undo(known.hub, change.id, asker=AGENT)
    assert everything(known) == was
    undone = merge.undo(known.hub, change.id, reason="they are two", asker=AGENT)
    assert seen.change.moved == undone.change.moved
    assert len(seen.change.moved["complaints"]) == 2, "what came to it since goes along"
    assert everything(known) != was
    with pytest.raises(ConflictError, match="undone already"):
        merge.preview_undo(known.hub, change.id, asker=AGENT)
    with pytest.raises(NotFoundError):
        merge.preview_undo(known.hub, "chg_none", asker=AGENT)


def test_what_a_link_would_do_is_shown_and_not_done(known: Stage) -> None:
    arrive(known, event())
    complaint = the_complaint(known)
    held = complaint.person_id
    author = complaint.identity_id or ""
    with pytest.raises(ConflictError, match="is provisional"):
        links.preview_revoke(known.hub, links_of(known, held)[author].id, version=None)
    person = put(known, str(known.contact.ref)).person_id
    was = everything(known)

    def tried(thing: str, person_id: str | None) -> links.LinkPreview:
        asked = links.LinkAsked(
            person_id=person_id,
            reason="said so",
            identity_id=thing if ":" not in thing else None,
            record=Ref.parse(thing) if ":" in thing else None,
        )
        return links.preview_link(known.hub, asked, AGENT)

    assert tried(author, person) == links.LinkPreview(person, None, (complaint.id,), held)
    assert (tried(author, None).person_id, tried(author, None).leads) == (held, None), (
        "whoever is provisional stays who they are"
    )
    assert tried(str(known.account.ref), None) == links.LinkPreview(None, None, (), None)
    there = tried(str(known.contact.ref), person)
    assert there.link is not None
    assert (there.person_id, there.link.person_id, there.complaints) == (person, person, ())
    with pytest.raises(NotFoundError):
        tried(author, "per_none")
    cannot.put(known.hub, author, str(known.contact.ref), reason="no", asker=AGENT)
    with pytest.raises(ConflictError, match="can't be this person"):
        tried(author, person)
    assert picture(known)[:2] == was[0][:2]  # type: ignore[index]


def test_what_stands_on_a_link_is_shown_before_it_is_ended(known: Stage) -> None:
    arrive(known, event(author=EMAIL))
    complaint = the_complaint(known)
    link = links_of(known, complaint.person_id)[complaint.identity_id or ""]
    was = everything(known)
    _, before = links.preview_revoke(known.hub, link.id, version=link.version)
    assert before.complaints == (complaint.id,)
    assert everything(known) == was
    with pytest.raises(ConflictError, match="at version 1 now; look at it again"):
        links.preview_revoke(known.hub, link.id, version=2)
    _, strength = links.revoke_link(known.hub, link.id, version=1, reason="no", asker=AGENT)
    assert strength == before
    with pytest.raises(ConflictError, match="ended at"):
        links.preview_revoke(known.hub, link.id, version=None)
    with pytest.raises(NotFoundError):
        links.preview_revoke(known.hub, "lnk_none", version=None)


def test_an_undo_that_later_changes_build_upon_names_the_one(known: Stage) -> None:
    person, other = two(known)
    third = put(known, identity(known, "third")).person_id
    was = picture(known)
    first = merge.merge(known.hub, other, person, reason="the same", asker=AGENT)
    second = merge.merge(known.hub, third, other, reason="the same", asker=AGENT)
    with pytest.raises(ConflictError) as refused:
        merge.undo(known.hub, first.id, reason="no", asker=AGENT)
    assert refused.value.more["blocked_by"] == second.id
    author = the_complaint(known).identity_id or ""
    asked = merge.SplitAsked(identities=(author,))
    away = merge.split(known.hub, third, asked, reason="not hers", asker=AGENT)
    with pytest.raises(ConflictError) as refused:
        merge.undo(known.hub, second.id, reason="no", asker=AGENT)
    assert refused.value.more["blocked_by"] == away.id
    for change in (away, second, first):
        merge.undo(known.hub, change.id, reason="no", asker=AGENT)
    assert picture(known) == was


def test_what_was_unlinked_since_a_merge_stays_so_when_it_is_undone(known: Stage) -> None:
    person, other = two(known)
    change = merge.merge(known.hub, other, person, reason="the same", asker=AGENT)
    author = the_complaint(known).identity_id or ""
    unlink(known, links_of(known, other)[author])
    undone = merge.undo(known.hub, change.id, reason="no", asker=AGENT)
    assert undone.left_out == (author,)
    assert author not in links_of(known, person)
    arrive(known, event("Again", id="m-5", conversation="c-5", author=EMAIL))
    assert known.settled(complaints(known)[0].person_id) is None, "they were neither of the two"


def test_a_merge_is_refused_with_every_reason(known: Stage) -> None:
    one = contact(known, "C8", external_ids={"tax_id": "DE1"}, emails=())
    two_ = contact(known, "C9", external_ids={"tax_id": "DE2"}, emails=())
    known.store(one, two_)
    stage = known.with_options(duplicate_free=(known.names["crm"],))
    left, right = (put(stage, str(c.ref)).person_id for c in (one, two_))
    cannot.put(stage.hub, left, str(two_.ref), reason="cousins", asker=AGENT)
    shown = merge.preview_merge(stage.hub, left, right)
    assert {c.kind for c in shown.conflicts} == {"cannot_link", "unique_id", "duplicate"}
    with pytest.raises(ConflictError, match="cousins"):
        merge.merge(stage.hub, left, right, reason="the same", asker=AGENT)
    assert len(links_of(stage, left)) == len(links_of(stage, right)) == 1


def test_a_merge_that_would_move_something_else_than_was_shown_is_refused(known: Stage) -> None:
    person, other = two(known)
    shown = merge.preview_merge(known.hub, other, person)
    arrive(known, event("And now?", id="m-2", conversation="c-2", author=EMAIL))
    with pytest.raises(Exception, match="something else would move"):
        merge.merge(known.hub, other, person, reason="same", asker=AGENT, token=shown.token)
    assert len(links_of(known, person)) == 3


def test_a_split_holds_apart_what_it_parted(known: Stage) -> None:
    person, _ = two(known)
    complaint = the_complaint(known)
    author = complaint.identity_id or ""
    asked = merge.SplitAsked(identities=(author,), display_name="The brother")
    shown = merge.preview_split(known.hub, person, asked)
    assert shown.moves.complaints == (complaint.id,)
    was = picture(known)
    change = merge.split(known.hub, person, asked, reason="her brother", asker=AGENT)
    new = change.other_id
    assert set(links_of(known, new)) == {author}
    assert the_complaint(known).person_id == new
    with pytest.raises(ConflictError, match="her brother"):
        merge.merge(known.hub, person, new, reason="no", asker=AGENT)
    unlink(known, links_of(known, new)[author])
    arrive(known, event("Again", id="m-5", conversation="c-5", author=EMAIL))
    assert known.settled(complaints(known)[0].person_id) is None
    with known.hub.database.read() as uow:
        revoked = [x for x in uow.people.links_of_identity(author, ended=True) if x.revoked_by]
        (ended,) = revoked[-1:]
    links.restore_link(known.hub, ended.id, reason="no", asker=AGENT)
    merge.undo(known.hub, change.id, reason="it was her", asker=AGENT)
    assert set(links_of(known, person)) >= {author}
    with known.hub.database.read() as uow:
        back = uow.people.person(new)
        assert back is not None
        assert back.id == person, "the id that the split made still leads to somebody"
        said = [row.verdict for row in uow.ledger.labels_of({author}) if row.other == person]
        assert said[-1] == "unsure", "the account and its person are said to differ"
    assert the_complaint_of(known, complaint.id) == person
    assert picture(known)[0] == was[0]  # type: ignore[index]


def test_a_split_is_not_undone_where_its_person_was_held_apart_from_who_stayed(
    known: Stage,
) -> None:
    person, _ = two(known)
    author = the_complaint(known).identity_id or ""
    stays = next(thing for thing in links_of(known, person) if thing != author)
    asked = merge.SplitAsked(identities=(author,))
    change = merge.split(known.hub, person, asked, reason="her brother", asker=AGENT)
    # Not of the account, which would go back, but of the id, which would lead there.
    said, _ = cannot.put(known.hub, change.other_id, stays, reason="two people", asker=AGENT)
    with pytest.raises(ConflictError, match=r"it can't go back.*two people"):
        merge.preview_undo(known.hub, change.id, asker=AGENT)
    with pytest.raises(ConflictError, match=r"it can't go back.*two people"):
        merge.undo(known.hub, change.id, reason="it was her", asker=AGENT)
    assert set(links_of(known, change.other_id)) == {author}
    cannot.lift(known.hub, said.id, version=None, reason="one, after all", asker=AGENT)
    merge.undo(known.hub, change.id, reason="it was her", asker=AGENT)
    assert set(links_of(known, person)) >= {author, stays}


def the_complaint_of(stage: Stage, complaint_id: str) -> str | None:
    with stage.hub.database.read() as uow:
        row = uow.complaints.get(complaint_id)
        assert row is not None
        return row.person_id


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (lambda s, p: merge.SplitAsked(), InvalidError),
        (lambda s, p: merge.SplitAsked(identities=("idn_none",)), ConflictError),
        (lambda s, p: merge.SplitAsked(records=(s.order.ref,)), ConflictError),
        (
            lambda s, p: merge.SplitAsked(
                identities=tuple(t for t in links_of(s, p) if ":" not in t),
                records=(s.contact.ref, s.account.ref),
            ),
            ConflictError,
        ),
        (
            lambda s, p: merge.SplitAsked(records=(s.contact.ref,), complaints=("cmp_no",)),
            ConflictError,
        ),
    ],
)
def test_a_split_that_makes_no_sense(
    known: Stage, asked: Callable[[Stage, str], merge.SplitAsked], error: type[Exception]
) -> None:
    person, _ = two(known)
    with pytest.raises(error):
        merge.split(known.hub, person, asked(known, person), reason="no", asker=AGENT)


def test_whoever_stays_behind_does_not_keep_the_orders_of_what_left(known: Stage) -> None:
    person, _ = two(known)
    known.run_due()
    assert the_complaint(known).order_ref == str(known.order.ref)
    asked = merge.SplitAsked(records=(known.contact.ref, known.account.ref))
    known.time.pass_(minutes=2)
    change = merge.split(known.hub, person, asked, reason="the landlord's", asker=AGENT)
    known.run_due()
    complaint = the_complaint(known)
    assert (complaint.person_id, complaint.order_ref) == (person, None)
    known.time.pass_(minutes=2)
    merge.undo(known.hub, change.id, reason="theirs", asker=AGENT)
    known.run_due()
    assert the_complaint(known).order_ref == str(known.order.ref)


def test_a_complaint_stays_with_the_account_that_wrote_it(known: Stage) -> None:
    """Or the next look would take it back, without what was done for it."""
    person, _ = two(known)
    complaint = the_complaint(known)
    asked = merge.SplitAsked(records=(known.contact.ref,), complaints=(complaint.id,))
    for does in (
        lambda: merge.preview_split(known.hub, person, asked),
        lambda: merge.split(known.hub, person, asked, reason="hers", asker=AGENT),
    ):
        with pytest.raises(ConflictError, match="accounts that stay") as refused:
            does()
        assert refused.value.detail.count(complaint.id) == 1
    assert the_complaint(known).person_id == person


@pytest.mark.parametrize("how", ["merge", "record"])
def test_who_is_known_by_somebodys_word_is_not_asked_about(known: Stage, how: str) -> None:
    arrive(known, event(author={"handle": "kimberg"}))
    complaint = the_complaint(known)
    author, person = complaint.identity_id or "", complaint.person_id or ""
    with known.hub.database.read() as uow:
        (question,) = uow.reviews.page(state="open", limit=9)
    if how == "merge":
        other = put(known, str(known.contact.ref)).person_id
        merge.merge(known.hub, other, person, reason="it is them", asker=AGENT)
    else:
        put(known, str(known.account.ref), person)
    with known.hub.database.read() as uow:
        assert [row.state for row in uow.reviews.page(state=None, limit=9)] == ["settled"]
    with known.hub.database.begin() as uow:
        row = uow.reviews.get(question.id)
        assert row is not None
        row.state = "open"  # As those are that were asked before.
    said = reviews.Answered(said=reviews.Said.NONE)
    with pytest.raises(ConflictError, match="is linked to person"):
        reviews.answer(known.hub, question.id, said, version=None, asker=AGENT)
    with known.hub.database.read() as uow:
        assert uow.ledger.cannot_links_of({author}) == []


NAMELESS = {"native_id": None, "handle": "kimberg", "display_name": None}


def answered(stage: Stage) -> ReviewRow:
    """The open question, answered with its first candidate."""
    with stage.hub.database.read() as uow:
        (question,) = uow.reviews.page(state="open", limit=9)
    said = reviews.Answered(said=reviews.Said.THIS, candidate=0)
    return reviews.answer(stage.hub, question.id, said, version=None, asker=AGENT)


def test_a_candidate_whose_record_is_somebody_elses_by_now_is_no_answer(known: Stage) -> None:
    """It was shown with both records; one was split off since. The question is asked anew."""
    person = put(known, str(known.contact.ref), None).person_id
    put(known, str(known.account.ref), person)
    arrive(known, event(author=NAMELESS))
    with known.hub.database.read() as uow:
        (question,) = uow.reviews.page(state="open", limit=9)
    assert question.candidates[0]["person_id"] == person
    known.time.pass_(minutes=1)
    asked = merge.SplitAsked(records=(known.contact.ref,))
    new = merge.split(known.hub, person, asked, reason="her boss", asker=AGENT).other_id
    known.run_due()
    with pytest.raises(ConflictError, match=f"{known.contact.ref} of this candidate is {new}'s"):
        answered(known)
    assert the_complaint(known).person_id is None
    known.run_due()
    with known.hub.database.read() as uow:
        (again,) = uow.reviews.page(state="open", limit=9)
    assert again.version > question.version
    assert {one["person_id"] for one in again.candidates} == {person, new}
    answered(known)
    assert the_complaint(known).person_id == again.candidates[0]["person_id"]


def test_a_complaint_without_an_account_stays_where_a_split_moved_it(known: Stage) -> None:
    arrive(known, event(author=NAMELESS))
    answered(known)
    known.run_due()
    complaint = the_complaint(known)
    person = complaint.person_id or ""
    asked = merge.SplitAsked(records=(known.contact.ref,), complaints=(complaint.id,))
    split = merge.split(known.hub, person, asked, reason="hers", asker=AGENT)

    def looked_at() -> str | None:
        known.time.pass_(minutes=2)
        known.run_due()
        return the_complaint(known).person_id

    assert looked_at() == split.other_id
    arrive(known, event("Hello?", id="m-2", author=NAMELESS))
    assert looked_at() == split.other_id
    third = put(known, identity(known, "third")).person_id
    merged = merge.merge(known.hub, third, split.other_id, reason="same", asker=AGENT)
    assert looked_at() == third
    for change in (merged, split):
        merge.undo(known.hub, change.id, reason="no", asker=AGENT)
    assert looked_at() == person


@pytest.mark.parametrize("author", [{"handle": "kimberg"}, NAMELESS])
def test_nobody_is_asked_who_wrote_what_is_deleted(known: Stage, author: dict[str, Any]) -> None:
    def states() -> list[str]:
        with known.hub.database.read() as uow:
            return [row.state for row in uow.reviews.page(state=None, limit=9)]

    arrive(known, event(author=author))
    if author is not NAMELESS:
        arrive(known, event("Again", id="m-2", conversation="c-2", author=author))
        arrive(known, event(type_="message.deleted", text=None, id="m-2", author=author))
    assert states() == ["open"], "it is asked for what is left"
    arrive(known, event(type_="message.deleted", text=None, author=author))
    assert states() == ["settled"]


@pytest.mark.parametrize("what", ["account", "record"])
def test_an_answer_is_taken_back_with_its_link(known: Stage, what: str) -> None:
    arrive(known, event(author={"handle": "kimberg"}))
    complaint = the_complaint(known)
    row = answered(known)
    person = (row.answer or {})["person"]
    shown = Candidate.model_validate(row.candidates[0])
    assert shown.person_id is None
    records = [str(ref) for ref in shown.refs]
    ends = [complaint.identity_id or ""] if what == "account" else records
    ended = [links_of(known, person)[thing] for thing in ends]

    def word() -> list[Verdict | None]:
        with known.hub.database.read() as uow:
            each = [shown.model_copy(update={"refs": (ref,)}) for ref in shown.refs]
            return [rehearse._word(uow, complaint, one) for one in each]

    assert word() == [Verdict.SAME] * 2
    known.time.pass_(minutes=1)
    for link in ended:
        unlink(known, link)
    assert word() == [Verdict.UNSURE] * 2
    known.time.pass_(minutes=1)
    for link in ended:
        links.restore_link(known.hub, link.id, reason="my mistake", asker=AGENT)
    assert word() == [Verdict.SAME] * 2


@pytest.mark.parametrize("swapped", [False, True])
def test_whoever_lifts_a_cannot_link_takes_its_label_back(known: Stage, swapped: bool) -> None:
    author = identity(known, "77")
    one, other = sorted((author, str(known.contact.ref)), key=len, reverse=swapped)
    row, _ = cannot.put(known.hub, one, other, reason="no", asker=AGENT)
    known.time.pass_(minutes=1)
    cannot.lift(known.hub, row.id, version=1, reason="I had the wrong tab", asker=AGENT)
    with known.hub.database.read() as uow:
        said = uow.ledger.labels_of({author})
    assert [one.verdict for one in said] == ["different", "unsure"]


def test_a_cannot_link_follows_a_person_through_merges(known: Stage) -> None:
    person, other = two(known)
    third = identity(known, "third")
    cannot.put(known.hub, third, person, reason="a neighbour", asker=AGENT)
    change = merge.merge(known.hub, other, person, reason="the same", asker=AGENT)
    with pytest.raises(ConflictError, match="took these two apart"):
        put(known, third, other)
    merge.undo(known.hub, change.id, reason="no", asker=AGENT)
    assert put(known, third, other).person_id == other


def test_the_blast_radius_reaches_over_a_merge(known: Stage) -> None:
    person, other = two(known)
    complaint = the_complaint(known)
    known.time.pass_(minutes=1)
    merge.merge(known.hub, other, person, reason="the same", asker=AGENT)
    known.run_due()
    link = links_of(known, other)[complaint.identity_id or ""]
    _, strength = links.revoke_link(known.hub, link.id, version=None, reason="wrong", asker=AGENT)
    assert strength.complaints == (complaint.id,)
    assert strength.orders == (str(known.order.ref),)
    with known.hub.database.read() as uow:
        row = uow.people.link(link.id)
        assert row is not None
        assert queries.done_on_strength_of(uow, row) == strength, "kept for whoever asks later"


def test_orders_of_a_record_stand_on_its_link(known: Stage) -> None:
    arrive(known, event(author=EMAIL))
    link = links_of(known, the_complaint(known).person_id)[str(known.account.ref)]
    _, strength = links.revoke_link(known.hub, link.id, version=None, reason="wrong", asker=AGENT)
    assert strength.orders == (str(known.order.ref),)


@pytest.mark.parametrize("how", ["link", "restore"])
def test_whoever_gains_a_record_has_its_orders_beside_what_they_wrote(
    known: Stage, how: str
) -> None:
    arrive(known, event())
    person = put(known, the_complaint(known).identity_id or "").person_id
    known.run_due()
    assert the_complaint(known).order_ref is None
    link = put(known, str(known.account.ref), person)
    known.run_due()
    if how == "restore":
        unlink(known, link)
        known.run_due()
        assert the_complaint(known).order_ref is None
        links.restore_link(known.hub, link.id, reason="it is", asker=AGENT)
        known.run_due()
    assert the_complaint(known).order_ref == str(known.order.ref)


def test_what_one_account_brings_stands_beside_what_another_wrote(stage: Stage) -> None:
    stage.store(stage.contact)
    arrive(stage, event(author=EMAIL))
    person = the_complaint(stage).person_id
    stage.store(stage.account, stage.order)
    stage.run_due()
    assert the_complaint(stage).order_ref is None
    author = {"native_id": "88", "handle": "kim_at_work", **EMAIL}
    arrive(stage, event("And the bulb?", id="m-2", conversation="c-2", author=author))
    stage.run_due()
    second, first = complaints(stage)
    assert (first.person_id, second.person_id) == (person, person)
    assert first.order_ref == str(stage.order.ref)


def test_accounts_elsewhere_that_are_not_theirs_stay_out(known: Stage) -> None:
    twin = Account(
        ref=known.ref("crm", Kind.ACCOUNT, "A9"), number="1001", name="Kim Berg", emails=()
    )
    known.store(twin)
    person = put(known, str(known.account.ref)).person_id
    with known.hub.database.read() as uow:
        assert twin.ref in lookup.customers_of(uow, person)
    cannot.put(known.hub, person, str(twin.ref), reason="a number given twice", asker=AGENT)
    with known.hub.database.read() as uow:
        assert twin.ref not in lookup.customers_of(uow, person)


def test_handles_and_names_do_not_bring_back_what_was_unlinked(known: Stage) -> None:
    """More evidence than before is no reason: nothing outweighs a person's word."""
    arrive(known, event(author=EMAIL))
    complaint = the_complaint(known)
    unlink(known, links_of(known, complaint.person_id)[complaint.identity_id or ""])
    native = Handle(network="x", handle="kimberg", native_id="77")
    known.store(known.contact.model_copy(update={"handles": (native,)}))
    everything = {**EMAIL, "external_ids": {"customer_number": "1001"}}
    arrive(known, event("SO-10001!", id="m-7", conversation="c-7", author=everything))
    assert known.settled(complaints(known)[0].person_id) is None


# --- audits ---------------------------------------------------------------------------------------


def test_a_drawn_link_is_asked_about_and_ended_if_it_was_wrong(known: Stage) -> None:
    stage = known.with_options(audit_share=1.0)
    arrive(stage, event(author=EMAIL))
    complaint = the_complaint(stage)
    with stage.hub.database.read() as uow:
        (question,) = uow.reviews.page(state="open", limit=9)
    assert (question.kind, question.identity_id) == ("audit", complaint.identity_id)
    said = reviews.Answered(said=reviews.Said.NONE, reason="a namesake")
    reviews.answer(stage.hub, question.id, said, version=None, asker=AGENT)
    assert complaint.identity_id not in links_of(stage, complaint.person_id)
    assert stage.settled(the_complaint(stage).person_id) is None
    with stage.hub.database.read() as uow:
        verdicts = {(row.source, row.verdict) for row in uow.ledger.labels()}
    assert verdicts == {("audit", "different"), ("unlink", "different")}
    arrive(stage, event("Again", id="m-5", conversation="c-5", author=EMAIL))
    assert stage.settled(complaints(stage)[0].person_id) is None


def test_a_drawn_link_that_was_right_stays(known: Stage) -> None:
    stage = known.with_options(audit_share=1.0)
    arrive(stage, event(author=EMAIL))
    complaint = the_complaint(stage)
    before = links_of(stage, complaint.person_id)
    with stage.hub.database.read() as uow:
        (question,) = uow.reviews.page(state="open", limit=9)
    said = reviews.Answered(said=reviews.Said.THIS, candidate=0)
    reviews.answer(stage.hub, question.id, said, version=None, asker=AGENT)
    assert {one: row.id for one, row in links_of(stage, complaint.person_id).items()} == {
        one: row.id for one, row in before.items()
    }
    with stage.hub.database.read() as uow:
        assert {row.verdict for row in uow.ledger.labels()} == {"same"}


def test_who_a_complaint_without_an_account_is_from_is_kept(known: Stage) -> None:
    nameless = {"native_id": None, "handle": "kimberg", "display_name": None}
    arrive(known, event(author=nameless))
    with known.hub.database.read() as uow:
        (question,) = uow.reviews.page(state="open", limit=9)
    assert question.identity_id is None
    said = reviews.Answered(said=reviews.Said.THIS, candidate=0)
    reviews.answer(known.hub, question.id, said, version=None, asker=AGENT)
    known.run_due()
    person = the_complaint(known).person_id
    assert person is not None
    arrive(known, event("Hello?", id="m-2", author=nameless))
    assert the_complaint(known).person_id == person
    assert the_complaint(known).order_ref == str(known.order.ref)


def test_however_much_changes_of_an_account_one_look_is_owed(known: Stage) -> None:
    for n in range(3):
        arrive(known, event("Where is it?", id=f"m-{n}", conversation=f"c-{n}", author=EMAIL))
    was = picture(known)
    author = complaints(known)[0]
    link = links_of(known, author.person_id)[author.identity_id or ""]
    for _ in range(4):
        unlink(known, link)
        link = links.restore_link(known.hub, link.id, reason="my mistake", asker=AGENT)
    looks = [owed.arguments for owed in known.engine.owed if owed.flow == "receive.enrich"]
    assert sorted(looks) == sorted((c.id,) for c in complaints(known))
    known.run_due()
    assert picture(known) == was
    unlink(known, link)
    assert len([owed for owed in known.engine.owed if owed.flow == "receive.enrich"]) == 3
    known.run_due()
    assert {known.settled(c.person_id) for c in complaints(known)} == {None}


def test_a_look_that_failed_is_not_the_last(known: Stage) -> None:
    arrive(known, event(author=EMAIL))
    complaint = the_complaint(known)
    link = links_of(known, complaint.person_id)[str(known.account.ref)]
    unlink(known, link)
    known.engine.owed.clear()  # as good as failed: it changes nothing
    links.restore_link(known.hub, link.id, reason="my mistake", asker=AGENT)
    assert known.engine.owed == []
    known.time.pass_(minutes=1)
    (again,) = (row for row in links_of(known, complaint.person_id).values() if row.origin)
    unlink(known, again)
    assert [owed.flow for owed in known.engine.owed] == ["receive.enrich"]


def test_a_look_under_way_sees_what_changes_meanwhile(
    known: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both looks have one name: the one under way has to see what the other is owed for."""
    arrive(known, event(author=EMAIL))
    complaint = the_complaint(known)
    assert complaint.order_ref == str(known.order.ref)
    held = links_of(known, complaint.person_id)
    unlink(known, held[str(known.contact.ref)])
    match = receive.Purchases.match
    others = [held[str(known.account.ref)]]

    def before_it_is_kept(*args: Any, **kwargs: Any) -> Any:
        if others:
            unlink(known, others.pop())
        return match(*args, **kwargs)

    monkeypatch.setattr(receive.Purchases, "match", before_it_is_kept)
    assert [owed.flow for owed in known.engine.owed] == ["receive.enrich"]
    known.run_due()
    assert the_complaint(known).order_ref is None


@pytest.mark.parametrize("what", ["look", "message", "unlink"])
def test_an_account_is_held_before_what_it_wrote(
    known: Stage, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Whoever held them the other way round would wait for each other in a circle."""
    monkeypatch.setattr(receive, "TRIES", 1)
    arrive(known, event(author=EMAIL))
    complaint = the_complaint(known)
    identity_id = complaint.identity_id or ""
    link = links_of(known, complaint.person_id)[identity_id]
    does: dict[str, Callable[[], object]] = {
        "look": lambda: receive.look(known.hub, complaint.id),
        "message": lambda: arrive(known, event("Hello?", id="m-2", author=EMAIL)),
        "unlink": lambda: unlink(known, link),
    }
    with ThreadPoolExecutor() as pool, known.hub.database.begin() as uow:
        uow.people.identity_by_id(identity_id, lock=True)
        doing = pool.submit(does[what])
        if not known.hub.database.sqlite:
            until_somebody_waits(known)
        assert uow.complaints.get(complaint.id, lock=True) is not None
        uow.session.commit()
        answer = doing.result(30)
    if isinstance(answer, str):
        assert inbox(known, answer)[0] == "handled"


def until_somebody_waits(stage: Stage, how_many: int = 1) -> None:
    waiting = sa.text("select count(*) from pg_locks where not granted")
    for _ in range(300):
        with stage.hub.database.read() as uow:
            if uow.session.execute(waiting).scalar_one() >= how_many:
                return
        time.sleep(0.1)
    raise AssertionError("nobody waits for anything")


def test_whoever_holds_complaints_reads_them_as_they_are(known: Stage) -> None:
    if known.hub.database.sqlite:
        pytest.skip("its writers take turns")
    arrive(known, event(author=EMAIL))
    complaint = the_complaint(known)
    with known.hub.database.begin() as uow:
        read_before = uow.complaints.get(complaint.id)
        assert read_before is not None
        receive.enrich(known.hub, complaint.id)
        assert [row.version for row in uow.complaints.hold([complaint.id])] == [
            the_complaint(known).version
        ]


def test_of_two_who_end_one_link_at_once_one_is_told(known: Stage) -> None:
    arrive(known, event(author=EMAIL))
    complaint = the_complaint(known)
    identity_id = complaint.identity_id or ""
    link = links_of(known, complaint.person_id)[identity_id]
    with ThreadPoolExecutor() as pool:
        with known.hub.database.begin() as uow:
            uow.people.identity_by_id(identity_id, lock=True)
            ending = [pool.submit(unlink, known, link) for _ in range(2)]
            if not known.hub.database.sqlite:
                until_somebody_waits(known)
                time.sleep(0.2)
        told = [doing.exception(30) for doing in ending]
    assert sorted(type(error).__name__ for error in told) == ["ConflictError", "NoneType"]


def test_of_two_who_undo_one_change_at_once_one_is_told_so(known: Stage) -> None:
    person, other = two(known)
    change = merge.merge(known.hub, other, person, reason="the same", asker=AGENT)
    with ThreadPoolExecutor() as pool:
        with known.hub.database.begin() as uow:
            uow.policies.take_turns(["person_change"])
            undoing = [
                pool.submit(merge.undo, known.hub, change.id, reason="no", asker=AGENT)
                for _ in range(2)
            ]
            if not known.hub.database.sqlite:
                until_somebody_waits(known, 2)
        told = [doing.exception(30) for doing in undoing]
    (refused,) = [error for error in told if error is not None]
    assert "undone already" in str(refused)
    assert known.events().count("person.split") == 1


@pytest.mark.parametrize("what", ["account", "record"])
def test_whoever_merges_and_whoever_unlinks_do_not_wait_for_each_other(
    known: Stage, what: str
) -> None:
    if known.hub.database.sqlite:
        pytest.skip("its writers take turns")
    person, other = two(known)
    author = the_complaint(known).identity_id or ""
    link = links_of(known, person)[author if what == "account" else str(known.account.ref)]
    with ThreadPoolExecutor() as pool:
        with known.hub.database.begin() as uow:
            uow.people.person(person, lock=True)
            merging = pool.submit(
                merge.merge, known.hub, other, person, reason="the same", asker=AGENT
            )
            until_somebody_waits(known)
            unlinking = pool.submit(unlink, known, link)
            until_somebody_waits(known, 2)
        assert merging.exception(30) is None
        told = unlinking.exception(30)
    assert isinstance(told, ConflictError)
    assert "carried over" in told.detail


def test_what_the_same_account_wrote_before_is_theirs_once_it_is_linked(known: Stage) -> None:
    """And an unlinking that is taken back restores the same for all of it."""
    arrive(known, event("Where is it?", author={"handle": "nobody"}))
    assert known.settled(the_complaint(known).person_id) is None
    arrive(known, event("Again", id="m-2", conversation="c-2", author=EMAIL))
    was = picture(known)
    (person,) = {c.person_id for c in complaints(known)}
    assert person is not None
    link = links_of(known, person)[complaints(known)[0].identity_id or ""]
    unlink(known, link)
    assert {known.settled(c.person_id) for c in complaints(known)} == {None}
    links.restore_link(known.hub, link.id, reason="my mistake", asker=AGENT)
    assert picture(known) == was
