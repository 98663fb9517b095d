"""Resolution of all records: what a run links, leaves alone, stops at, and carries on with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlmodel import col, select

from middleware.contract.canonical import Account, Address, Contact, Kind, Ref
from middleware.domain.problems import ConflictError, NotFoundError
from middleware.flows import cannot, link, merge, relink, resolve, sync
from middleware.flows.hub import Asker, ResolveOptions
from middleware.flows.link import LinkAsked
from middleware.resolution import batch
from middleware.resolution.batch import executor
from middleware.resolution.batch.model import shipped
from middleware.resolution.batch.workspace import Workspace
from middleware.store.tables import ActionRow, LinkRow, PersonRow, RunRow
from tests.bench.records import Crowd
from tests.flows.conftest import Stage
from tests.flows.test_ledger import put
from tests.flows.test_receive import arrive, event, the_complaint

Somebody = Contact | Account


sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""What does not depend on the database is tried on one."""


def run(stage: Stage, tick: str = "t1", *, full: bool = False, allow: int | None = None) -> RunRow:
    mode = "full" if full else "changes"
    wanted = {"allow_changes": allow} if allow is not None else None
    run_id, _ = sync.owe(
        stage.hub, "people", tick=tick, requested_by="test", mode=mode, wanted=wanted
    )
    stage.run_due()
    with stage.hub.database.read() as uow:
        row = uow.jobs.run(run_id)
    assert row is not None
    return row


def parts(stage: Stage) -> set[frozenset[str]]:
    """Which records are one person; those that are alone are left out."""
    found: dict[str, set[str]] = defaultdict(set)
    with stage.hub.database.read() as uow:
        query = select(LinkRow).where(col(LinkRow.valid_to).is_(None))
        for row in uow.session.exec(query):
            person = uow.people.person(row.person_id)
            assert person is not None
            if row.record_id is not None:
                found[person.id].add(f"{row.connection}:{row.kind}:{row.record_id}")
    return {frozenset(records) for records in found.values() if len(records) > 1}


def person_of(stage: Stage, record: Somebody) -> str | None:
    with stage.hub.database.read() as uow:
        rows = uow.people.links_of_records([record.ref])
    return rows[0].person_id if rows else None


def crowd(size: int, seed: int = 3) -> list[Somebody]:
    return [record for record, _ in Crowd(size, seed).records()]


def kim(number: int, *, system: str = "crm", **changes: object) -> Contact:
    """One customer of whom several systems know."""
    base = Contact(
        ref=Ref.parse(f"{system}:contact:{number}"),
        given_name="Kim",
        family_name="Bergstrand",
        emails=("kim.bergstrand@example.com",),
        phones=("+4915112345678",),
        address=Address(street="12 Lake Road", city="Borkum", postal_code="26757"),
    )
    return base.model_copy(update=changes)


ASKER = Asker(principal="key_agent")


def test_records_of_one_customer_get_one_person(desk: Stage) -> None:
    desk.store(*crowd(300), kim(1), kim(2, system="shop"))
    row = run(desk)
    assert (row.state, row.error) == ("done", None)
    assert frozenset({"crm:contact:1", "shop:contact:2"}) in parts(desk)
    assert row.counts["links"]["made"] == row.counts["planned"]["made"] > 50
    assert row.counts["step"] == {
        "number": 5,
        "of": 5,
        "done": row.counts["links"]["made"],
        "total": row.counts["links"]["made"],
    }
    assert "sync.run.finished" in desk.events()
    with desk.hub.database.read() as uow:
        (made,) = uow.people.links_of_records([kim(1).ref])
        person = uow.people.person(made.person_id)
    assert person is not None
    assert person.display_name == "Kim Bergstrand"
    assert made.decided_by == relink.RUN
    assert made.confidence > 0.99
    assert {"name", "email", "phone", "address", "prior"} == {e["kind"] for e in made.evidence}
    assert all((e["kind"] == "prior") == (e["at"] is None) for e in made.evidence)
    with desk.hub.database.read() as uow:
        entries = [one for one in uow.audit.about(row.id) if one.action == "links.made"]
        links = set(uow.session.exec(select(LinkRow.id)))
    named = [link_id for one in entries for link_id in one.detail["links"]]
    assert sorted(named) == sorted(links)
    # The bits are the whole of the weight: what the confidence is made of.
    assert 1 / (1 + 2 ** -sum(e["weight"] for e in made.evidence)) == pytest.approx(
        made.confidence, abs=1e-6
    )


def test_a_second_run_changes_nothing(desk: Stage) -> None:
    desk.store(*crowd(300))
    run(desk)
    before = parts(desk)
    for tick, full in (("t2", False), ("t3", True)):
        row = run(desk, tick, full=full)
        assert row.state == "done"
        assert row.counts["planned"] == {"made": 0, "moved": 0, "ended": 0}
        assert row.counts["weigh"]["full"] == int(full)
    assert parts(desk) == before


def test_what_has_changed_is_found_on_every_page(
    desk: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids of every kind, in pages of two, of several systems; pages may end anywhere."""
    monkeypatch.setattr(resolve, "PAGE", 2)
    odd = ('a"b', "a:b", "[1]", "Zoë", "\x1f", "\\", "z,'")
    somebody = [
        kim(0, ref=Ref(connection=system, kind=Kind.CONTACT, id=id_))
        for system, ids in (("crm", odd), ("shop", odd[:4]), ("erp", odd[:1]))
        for id_ in ids
    ]
    space = Workspace(None, shipped(), threads=1)

    def brought_up() -> tuple[int, ...]:
        return tuple(resolve.bring_up(desk.hub, space, tell=lambda *_: None).values())

    desk.store(*somebody)
    assert brought_up() == (12, 12, 0)
    assert {ref for (ref,) in space.all("SELECT ref FROM record")} == {
        str(one.ref) for one in somebody
    }
    assert brought_up() == (12, 0, 0)
    desk.time.pass_(minutes=1)
    desk.store(*(one.model_copy(update={"given_name": "Ida"}) for one in somebody[2:9:3]))
    with desk.hub.database.begin() as uow:
        uow.records.delete([somebody[1].ref, somebody[11].ref], as_of=desk.time.now)
    assert brought_up() == (10, 3, 2)
    assert space.one("SELECT count(*) FROM record WHERE given = 'ida'") == 3
    assert brought_up() == (10, 0, 0)
    space.close()


@sqlite
@pytest.mark.parametrize("seed", [1, 2])
def test_incremental_runs_end_in_the_links_of_a_full_one(
    desk: Stage, seed: int, tmp_path: Path
) -> None:
    """New, changed and deleted records against the rest: a full run afterwards changes nothing.

    One with an empty workspace counts anew how many records and how frequent values are, so that
    it may think otherwise of pairs that are at the threshold, and of them only.
    """
    source = Crowd(420, seed)
    everybody = [record for record, _ in source.records()]
    first, later = everybody[:360], everybody[360:]
    desk.store(*first)
    run(desk)
    run(desk, "frame", full=True)
    desk.time.pass_(minutes=1)
    for number, chunk in enumerate((later[:30], later[30:])):
        changed = [source.changed(record) for record in first[number * 12 : number * 12 + 12]]
        desk.store(*chunk, *changed)
        with desk.hub.database.begin() as uow:
            gone = [record.ref for record in first[200 + number * 5 : 205 + number * 5]]
            uow.records.delete(gone, as_of=desk.time.now)
        row = run(desk, f"part {number}")
        assert row.state == "done"
        assert row.counts["weigh"]["full"] == 0
        assert row.counts["records"]["deleted"] == 5
        desk.time.pass_(minutes=1)
    incremental = parts(desk)
    row = run(desk, "full", full=True)
    assert row.counts["planned"] == {"made": 0, "moved": 0, "ended": 0}
    fresh = desk.with_options(resolve=ResolveOptions(workspace=tmp_path / "fresh"))
    row = run(fresh, "fresh")
    assert row.counts["weigh"]["full"] == 1
    assert sum(row.counts["planned"].values()) <= 3
    assert len(parts(desk) ^ incremental) <= 3


@sqlite
def test_what_is_put_together_keeps_the_oldest_person_and_what_is_split_the_largest_part(
    desk: Stage,
) -> None:
    other = {"emails": ("k@elsewhere.example",), "phones": ("+4915198765432",), "address": None}
    one, two = [kim(1), kim(2, system="shop")], [kim(3, **other), kim(4, system="shop", **other)]
    desk.store(*crowd(200), *one, *two)
    run(desk)
    older, newer = sorted(str(person_of(desk, r)) for r in (one[0], two[0]))
    assert older != newer
    # A record that knows both addresses puts them together.
    emails, phones = (*one[0].emails, *two[0].emails), (*one[0].phones, *two[0].phones)
    both = kim(5, emails=emails, phones=phones)
    desk.store(both)
    row = run(desk, "t2")
    assert row.counts["planned"]["moved"] == 2
    assert {person_of(desk, r) for r in (*one, *two, both)} == {older}
    with desk.hub.database.read() as uow:
        gone = uow.session.get(PersonRow, newer)
    assert gone is not None
    assert gone.redirect_to == older
    # It was wrong, and is put right at its source.
    desk.time.pass_(minutes=1)
    desk.store(both.model_copy(update={"emails": one[0].emails, "phones": one[0].phones}))
    row = run(desk, "t3")
    assert {person_of(desk, r) for r in (*one, both)} == {older}
    apart = {person_of(desk, r) for r in two}
    assert len(apart) == 1
    assert apart.isdisjoint({older, newer})


def test_a_person_whom_a_run_finds_to_be_another_leads_there_with_all_that_is_theirs(
    desk: Stage,
) -> None:
    """Also as of a date, and what no link brings: complaints of no account, actions for nobody's
    complaint. It stands in the ledger as a merge, and is told as one."""
    other = {"emails": ("k@elsewhere.example",), "phones": ("+4915198765432",), "address": None}
    one, two = [kim(1), kim(2, system="shop")], [kim(3, **other), kim(4, system="shop", **other)]
    desk.store(*crowd(200), *one, *two)
    run(desk)
    older, newer = sorted(str(person_of(desk, r)) for r in (one[0], two[0]))
    gone = two if person_of(desk, two[0]) == newer else one
    complaint, now = desk.complaint(), desk.time.now
    with desk.hub.database.begin() as uow:
        row = uow.complaints.get(complaint)
        assert row is not None
        row.person_id = newer
        uow.session.add(
            ActionRow(
                id="act_1",
                kind="replacement",
                state="done",
                person_id=newer,
                request={},
                requested_by="key_agent",
                expires_at=now,
                created_at=now,
                updated_at=now,
            )
        )
    desk.time.pass_(minutes=1)
    emails, phones = (*one[0].emails, *two[0].emails), (*one[0].phones, *two[0].phones)
    desk.store(kim(5, emails=emails, phones=phones))
    run(desk, "t2")
    with desk.hub.database.read() as uow:
        found = [uow.ledger.person_as_of(newer, at) for at in (now, desk.time.now)]
        assert [row.id for row in uow.ledger.complaints_of(older)] == [complaint]
        assert [row.id for row in uow.ledger.actions_of(older)] == ["act_1"]
        (change,) = uow.ledger.changes_of(newer)
    assert [row and row.id for row in found] == [newer, older]
    assert (change.kind, change.redirected, change.made_by) == ("merge", newer, relink.RUN)
    assert change.moved["records"] == sorted(str(record.ref) for record in gone)
    assert "person.merged" in desk.events()
    # The records went by the run's own links; what the change itself moved goes back.
    undone = merge.undo(desk.hub, change.id, reason="no", asker=ASKER)
    assert set(undone.left_out) == {str(record.ref) for record in gone}
    with desk.hub.database.read() as uow:
        assert [row.id for row in uow.ledger.complaints_of(newer)] == [complaint]
        assert [row.id for row in uow.ledger.actions_of(newer)] == ["act_1"]
    asked = merge.SplitAsked(records=tuple(record.ref for record in gone))
    merge.split(desk.hub, older, asked, reason="another", asker=ASKER)
    desk.time.pass_(minutes=1)
    desk.store(*(record.model_copy(update={"display_name": "K."}) for record in gone))
    run(desk, "t3", full=True)
    assert older not in {person_of(desk, record) for record in gone}


@sqlite
def test_what_was_shown_on_the_strength_of_an_ended_link_is_looked_at_again(desk: Stage) -> None:
    """And said in the audit; of a person with no complaint there is nothing to say."""
    desk.store(*crowd(200), kim(1), kim(2, system="shop"))
    run(desk)
    complaint = desk.complaint()
    with desk.hub.database.begin() as uow:
        row = uow.complaints.get(complaint)
        assert row is not None
        row.person_id, version = person_of(desk, kim(1)), row.version
    other = {"given_name": "Olu", "emails": ("o@elsewhere.example",), "phones": (), "address": None}
    with desk.hub.database.read() as uow:
        others = uow.records.after(None, [Kind.CONTACT], limit=500)
    stray = next(
        one
        for one in others
        if isinstance(one, Contact) and person_of(desk, one) and one.ref != kim(1).ref
    )
    desk.time.pass_(minutes=1)
    desk.store(kim(2, system="shop", family_name="Adeyemi", **other))
    desk.store(stray.model_copy(update={"family_name": "Quux", **other}))
    run(desk, "t2")
    with desk.hub.database.read() as uow:
        ended = uow.session.exec(select(LinkRow).where(col(LinkRow.valid_to).is_not(None))).all()
        told = {
            link.record_id: entry.detail["complaints"]
            for link in ended
            for entry in uow.audit.about(link.id)
            if entry.action in ("link.ended", "link.moved")
        }
    assert told["2"] == [complaint]
    assert told[stray.ref.id] == []
    with desk.hub.database.read() as uow:
        again = uow.complaints.get(complaint)
    assert again is not None
    assert again.version > version


@sqlite
def test_two_persons_whom_somebody_else_knows_are_not_put_together(desk: Stage) -> None:
    desk.store(*crowd(200), kim(1), kim(2, system="shop"))
    for record in (kim(1), kim(2, system="shop")):
        link.put_link(
            desk.hub,
            LinkAsked(person_id=None, reason="they said so", record=record.ref, display_name="Kim"),
            ASKER,
        )
    before = {person_of(desk, kim(1)), person_of(desk, kim(2, system="shop"))}
    row = run(desk)
    assert row.counts["refused"]["other_person"] == 1
    assert {person_of(desk, kim(1)), person_of(desk, kim(2, system="shop"))} == before
    found = resolve.report(desk.hub, row.id)
    assert found is not None
    assert found["refused"] == [
        {"why": "other_person", "records": ["crm:contact:1", "shop:contact:2"]}
    ]


def test_what_somebody_took_apart_stays_apart(desk: Stage) -> None:
    desk.store(*crowd(200), kim(1), kim(2, system="shop"))
    run(desk)
    with desk.hub.database.read() as uow:
        (made,) = uow.people.links_of_records([kim(1).ref])
    link.revoke_link(desk.hub, made.id, version=None, reason="a namesake", asker=ASKER)
    for tick, full in (("t2", False), ("t3", True)):
        row = run(desk, tick, full=full)
        assert row.counts["planned"]["made"] == 0
        assert row.counts["refused"]["said_apart"] == 1
        assert person_of(desk, kim(1)) is None
    again = LinkAsked(
        person_id=made.person_id, reason="it is", record=kim(1).ref, although_revoked=True
    )
    link.put_link(desk.hub, again, ASKER)
    assert "said_apart" not in run(desk, "t4").counts["refused"]


@sqlite
def test_a_source_without_duplicates_is_believed(desk: Stage) -> None:
    desk = desk.with_options(duplicate_free=("crm",))
    desk.store(*crowd(200), kim(1), kim(2), kim(3, system="shop"))
    row = run(desk)
    assert row.counts["refused"]["one_per_source"] >= 1
    assert person_of(desk, kim(1)) != person_of(desk, kim(2))


@sqlite
def test_a_run_that_would_change_too_much_stops_and_says_what(desk: Stage) -> None:
    desk = desk.with_options(resolve=replace(desk.hub.options.resolve, most_changes=3))
    desk.store(*crowd(200), kim(1), kim(2, system="shop"))
    row = run(desk)
    changes = row.counts["planned"]["made"]
    assert (row.state, row.error and row.error["changes"]) == ("stopped", changes)
    assert parts(desk) == set()
    found = resolve.report(desk.hub, row.id)
    assert found is not None
    assert len(found["changes"]) == min(changes, resolve.EXAMPLES)
    assert {one["change"] for one in found["changes"]} == {"made"}
    told = str(found)
    assert "ergstrand" not in told
    assert "@" not in told
    assert run(desk, "t2", allow=changes - 1).state == "stopped"
    allowed = run(desk, "t3", allow=changes)
    assert (allowed.state, allowed.counts["links"]["made"]) == ("done", changes)


def test_a_stopped_run_is_let_through_by_its_report(desk: Stage) -> None:
    """With what came meanwhile, as far as any run may; and not by a report that is outdated."""
    desk = desk.with_options(resolve=replace(desk.hub.options.resolve, most_changes=3))
    desk.store(*crowd(200))
    first = run(desk, full=True)
    second = run(desk, "t2")
    assert first.error == second.error
    with pytest.raises(ConflictError, match=f"{second.id} ran since"):
        resolve.allow(desk.hub, first.id, ASKER)
    desk.store(kim(1), kim(2, system="shop"))
    allowed = resolve.allow(desk.hub, second.id, ASKER)
    desk.run_due()
    with desk.hub.database.read() as uow:
        done = uow.jobs.run(allowed)
    assert done is not None
    assert second.error is not None
    assert done.wanted == {"allow_changes": second.error["changes"] + 3}
    assert (done.state, done.counts["links"]["made"]) == ("done", second.error["changes"] + 2)
    for run_id in (second.id, allowed):
        with pytest.raises(ConflictError):
            resolve.allow(desk.hub, run_id, ASKER)
    with pytest.raises(NotFoundError):
        resolve.allow(desk.hub, "run_none", ASKER)


@pytest.mark.parametrize("spoken_of", [False, True])
def test_whose_record_a_run_finds_has_its_orders_beside_what_they_wrote(
    desk: Stage, spoken_of: bool
) -> None:
    arrive(desk, event("My lamp from order SO-10001 arrived broken"))
    complaint = the_complaint(desk)
    first = kim(1, system=desk.names["crm"])
    desk.store(*crowd(200), first)
    person = put(desk, complaint.identity_id or "").person_id
    put(desk, str(first.ref), person)
    desk.run_due()
    assert the_complaint(desk).order_ref is None
    there = {"phones": first.phones, "address": first.address, "emails": first.emails}
    desk.store(desk.account.model_copy(update={"name": "Kim Bergstrand", **there}), desk.order)
    if spoken_of:
        other = str(crowd(200)[0].ref)
        cannot.put(desk.hub, str(desk.account.ref), other, reason="no", asker=ASKER)
    run(desk)
    assert person_of(desk, desk.account) == person
    assert the_complaint(desk).order_ref == str(desk.order.ref)


@sqlite
@pytest.mark.parametrize("dies_in", ["_weigh", "_group", "_plan", "_link"])
def test_a_run_that_dies_is_carried_on(
    desk: Stage, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    desk.store(*crowd(200))
    run_id, _ = sync.owe(desk.hub, "people", tick="t", requested_by="test")

    def die(*_: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(resolve._Run, dies_in, die)
        desk.run_due()
    desk.handlers["resolve"](run_id)
    _ended_like_another(desk, run_id)


def _dies_between_changes(desk: Stage, monkeypatch: pytest.MonkeyPatch, dies_at: int) -> str:
    """A run that dies when so many parts of its changes are committed; its id."""
    monkeypatch.setattr(resolve, "AT_ONCE", 7)
    run_id, _ = sync.owe(desk.hub, "people", tick="t", requested_by="test")
    original, chunks = relink.apply, 0

    def die(*given: object) -> object:
        nonlocal chunks
        chunks += 1
        done = original(*given)  # type: ignore[arg-type]
        if chunks == dies_at:
            raise SystemExit("killed")
        return done

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(relink, "apply", die)
        desk.run_due()
    return run_id


@pytest.mark.parametrize("dies_at", [1, 3])
def test_a_run_that_dies_between_changes_is_carried_on_as_one(
    desk: Stage, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    desk.store(*crowd(200))
    run_id = _dies_between_changes(desk, monkeypatch, dies_at)
    linked = len(parts(desk))
    assert linked > 0
    desk.handlers["resolve"](run_id)
    assert len(parts(desk)) > linked
    with desk.hub.database.read() as uow:
        row = uow.jobs.run(run_id)
        links = uow.session.exec(select(LinkRow)).all()
    assert row is not None
    made = {"made": len(links), "moved": 0, "ended": 0}
    assert row.counts["links"] == {**made, "persons": len(parts(desk))}
    assert row.counts["records"]["seen"] == row.counts["records"]["changed"] == len(crowd(200))
    assert row.counts["planned"] == made, "what it did before it died is part of the run"
    found = resolve.report(desk.hub, run_id)
    assert found is not None
    assert found["counts"]["planned"] == made
    named = {one["record"] for one in found["changes"]}
    assert len(named) == len(found["changes"]) == min(len(links), resolve.EXAMPLES)
    _ended_like_another(desk, run_id)


@sqlite
@pytest.mark.parametrize("more", [0, 1])
def test_what_a_run_changed_before_it_died_counts_for_its_limit(
    desk: Stage, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    records = crowd(200)
    desk.store(*records)
    chosen = desk.hub.options.resolve
    shown = run(desk.with_options(resolve=replace(chosen, most_changes=0)), "t0")
    assert shown.error is not None
    changes = shown.error["changes"]
    limited = desk.with_options(resolve=replace(chosen, most_changes=changes))
    run_id = _dies_between_changes(limited, monkeypatch, 3)
    limited.store(*[kim(n) for n in range(1, 1 + 2 * more)])
    limited.handlers["resolve"](run_id)
    with limited.hub.database.read() as uow:
        row = uow.jobs.run(run_id)
    assert row is not None
    assert row.state == ("stopped" if more else "done")
    if more:
        assert row.error is not None
        assert (row.error["changes"], row.error["allowed"]) == (changes + 2, changes)


def test_who_was_merged_since_the_run_planned_gains_nothing(
    desk: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.store(*crowd(200), kim(1))
    person, other = (put(desk, one).person_id for one in (str(kim(1).ref), _author(desk)))
    desk.store(kim(2, system="shop"))
    original = relink.apply

    def apply(*given: Any) -> relink.Done:
        monkeypatch.setattr(relink, "apply", original)
        merge.merge(desk.hub, other, person, reason="the same", asker=ASKER)
        return original(*given)

    monkeypatch.setattr(relink, "apply", apply)
    assert run(desk).counts["links"]["late"] > 0
    assert run(desk, "t2").counts["links"]["made"] > 0
    with desk.hub.database.read() as uow:
        valid = uow.session.exec(select(LinkRow).where(col(LinkRow.valid_to).is_(None)))
        assert person not in {row.person_id for row in valid}
    assert person_of(desk, kim(2, system="shop")) == other


def _author(stage: Stage) -> str:
    with stage.hub.database.begin() as uow:
        seen = uow.people.see(
            network="x", native_id="900", handle=None, display_name=None, at=stage.time()
        )
    return seen.id


def test_a_worker_that_lost_its_run_changes_nothing_more(
    desk: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.store(*crowd(200))
    run_id = _dies_between_changes(desk, monkeypatch, 1)
    was = parts(desk)
    with desk.hub.database.begin() as uow:
        row = uow.jobs.run(run_id)
        assert row is not None
        row.state = "failed"
    desk.run_due()
    with pytest.raises(relink.CarriedOn):
        relink.apply(desk.hub, run_id, (), {}, {})
    assert parts(desk) == was


def _ended_like_another(stage: Stage, run_id: str) -> None:
    with stage.hub.database.read() as uow:
        row = uow.jobs.run(run_id)
    assert row is not None
    assert (row.state, row.error) == ("done", None)
    assert len(parts(stage)) > 20
    after = run(stage, "after", full=True)
    assert after.counts["planned"] == {"made": 0, "moved": 0, "ended": 0}


@sqlite
def test_a_worker_that_stops_owes_the_rest(desk: Stage) -> None:
    desk.store(*crowd(200))
    run_id, _ = sync.owe(desk.hub, "people", tick="t", requested_by="test")
    desk.engine.stopping = True
    desk.handlers["resolve"](*desk.engine.owed.pop().arguments)
    desk.engine.stopping = False
    (owed,) = desk.engine.owed
    assert (owed.flow, owed.arguments) == ("resolve", (run_id,))
    desk.run_due()
    _ended_like_another(desk, run_id)


@sqlite
@pytest.mark.parametrize("others", [2, 4, 16, 64])
def test_a_small_hub_knows_its_customers_by_name_and_address(desk: Stage, others: int) -> None:
    """Among twenty records an address that two share is every tenth: it is no common one for it."""
    one, two = kim(1, phones=(), address=None), kim(2, system="shop", phones=(), address=None)
    family = kim(3, system="shop", given_name="Lars", phones=(), address=None)
    desk.store(one, two, family, *crowd(others * 4)[:others])
    run(desk)
    assert person_of(desk, one) == person_of(desk, two) is not None
    assert person_of(desk, family) is None, "who shares an address with them is another"


@sqlite
@pytest.mark.parametrize(
    ("why", "says"),
    [
        (duckdb.OutOfMemoryException("no block"), "more to weigh than fits into 2GB"),
        (duckdb.IOException("Could not write file: No space left on device"), "is full"),
        (ValueError("ours"), "failed with RuntimeError; see the log"),
    ],
)
def test_a_machine_that_is_too_small_is_said_to_be(
    desk: Stage, monkeypatch: pytest.MonkeyPatch, why: Exception, says: str
) -> None:
    """As Splink wraps it; and the next run, with more, carries on."""

    def weigh(*_: object, **__: object) -> None:
        raise RuntimeError("Error executing the following sql") from why

    desk.store(*crowd(60))
    with monkeypatch.context() as patch:
        patch.setattr(executor, "weigh", weigh)
        row = run(desk)
    assert row.state == "failed"
    assert row.error is not None
    assert says in row.error["message"]
    assert run(desk, "t2").counts["links"]["made"] > 0


@sqlite
def test_a_workspace_that_is_none_is_named(desk: Stage, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "broken"):
        if folder.name == "broken":
            folder.mkdir()
            (folder / "resolve.duckdb").write_bytes(b"no database" * 500)
        options = replace(desk.hub.options.resolve, workspace=folder)
        row = run(desk.with_options(resolve=options), folder.name)
        assert row.error is not None
        assert row.error["message"].startswith(f"{folder / 'resolve.duckdb'} can't be opened")


def test_what_somebody_changes_meanwhile_is_left_for_the_next_run(
    desk: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.store(*crowd(200), kim(1), kim(2, system="shop"))
    original = relink.apply

    def meanwhile(*given: object) -> object:
        monkeypatch.setattr(relink, "apply", original)
        asked = LinkAsked(
            person_id=None, reason="they said so", record=kim(1).ref, display_name="Kim"
        )
        link.put_link(desk.hub, asked, ASKER)
        return original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(relink, "apply", meanwhile)
    row = run(desk)
    assert row.counts["links"]["late"] == 1
    assert person_of(desk, kim(2, system="shop")) is None
    assert run(desk, "t2").counts["links"]["made"] == 1
    assert person_of(desk, kim(2, system="shop")) == person_of(desk, kim(1))


@sqlite
def test_one_run_at_a_time(desk: Stage) -> None:
    first, _ = sync.owe(desk.hub, "people", tick="t1", requested_by="test")
    desk.engine.owed.clear()
    with desk.hub.database.begin() as uow:
        row = uow.jobs.run(first)
        assert row is not None
        row.state = "running"
    second = run(desk, "t2")
    assert (second.state, second.error and second.error["by"]) == ("overtaken", first)


@sqlite
def test_without_the_extra_the_run_says_what_to_install(
    desk: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(batch.NEEDED, "batch", ("no_such_library",))
    row = run(desk)
    assert row.state == "failed"
    assert row.error is not None
    assert "pip install 'amends[batch]'" in row.error["message"]


@sqlite
def test_a_model_that_can_not_be_read_ends_the_run_with_the_place(
    desk: Stage, tmp_path: Path
) -> None:
    wrong = tmp_path / "model.json"
    wrong.write_text('{"name": "mine", "comparisons": []}')
    desk = desk.with_options(resolve=replace(desk.hub.options.resolve, model=wrong))
    row = run(desk)
    assert row.state == "failed"
    assert row.error is not None
    assert "comparisons" in row.error["message"]


@sqlite
def test_training_learns_from_the_store(desk: Stage) -> None:
    desk.store(*crowd(1500))
    told: list[Sequence[int]] = []
    model = resolve.train(desk.hub, tell=lambda *given: told.append(given))
    assert model.trained
    assert model.trained_on == 1500
    assert told[0] == (0, 1500)
    family = next(c for c in model.comparisons if c.name == "family")
    bits = [level.bits for level in family.levels]
    assert bits[0] > 5 > 0 > bits[-1]
