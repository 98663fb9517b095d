"""What a run of resolution changes: links of records to persons, and nothing else.

All of a run's writing is here. A link is ended, never overwritten; one that somebody else decided
is never touched; and whatever changed since the run planned it is left for the next run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from middleware.contract.canonical import Ref
from middleware.domain.identity import Basis, Evidence
from middleware.domain.ids import new_id
from middleware.domain.ledger import ChangeKind
from middleware.flows import deliver, merge, turns
from middleware.flows import link as links
from middleware.flows.hub import Asker, Hub
from middleware.resolution.batch.persons import Assigned, Change, Do
from middleware.store import queries, resolving
from middleware.store.database import UnitOfWork, giving_way
from middleware.store.ledger import thing_of
from middleware.store.resolving import NewLink, NewPerson
from middleware.store.tables import LinkRow

RUN = "resolve"
"""Who decided a link that a run made."""


class CarriedOn(Exception):
    """Another worker carries on with this very run, or has ended it."""


@dataclass(frozen=True)
class Reason:
    """Why a record belongs to its group: the surest pair that it is part of."""

    evidence: tuple[Evidence, ...]
    confidence: float


@dataclass
class Done:
    """What came of a chunk of changes."""

    counts: dict[str, int] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)
    """Records that were changed by somebody else meanwhile, and were left alone."""
    gained: list[str] = field(default_factory=list)
    """Persons of before who have a record more: its orders stand beside what they wrote."""

    def add(self, what: str, count: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + count


@giving_way
def apply(
    hub: Hub,
    run_id: str,
    assigned: Sequence[Assigned],
    reasons: Mapping[str, Reason],
    names: Mapping[str, str],
) -> Done:
    """Carry out the changes of some groups in one transaction.

    `reasons` and `names` are by record: why it belongs there, and what a new person is called.
    Doing it twice changes nothing the second time. What came of it is counted in the run's row, in
    the same transaction. Raises CarriedOn where the run is no longer under way.
    """
    done = Done()
    with hub.database.begin() as uow:
        run = uow.jobs.run(run_id, lock=True)
        if run is None or run.state != "running":
            raise CarriedOn
        if any(one.merged for one in assigned):
            turns.take(uow)
        known = {one.person for one in assigned if one.person is not None}
        turns.hold(uow, complaints=uow.complaints.open_of(known))
        refs = [Ref.parse(ref) for one in assigned for ref in one.refs]
        live = {str(ref) for ref in resolving.hold(uow, refs)}
        themselves = resolving.hold_persons(uow, known) | {None}
        now = {str(link.ref): link for link in resolving.links_of(uow, refs)}
        barred = _named_apart(uow, [change.ref for one in assigned for change in one.changes])
        ending = _ending(uow, assigned)
        fresh: list[_Fresh] = []
        for one in assigned:
            there = one.person in themselves and all(ref in live for ref in one.refs)
            if not there or not all(_as_planned(c, now) for c in one.changes):
                done.add("late")
                done.late += one.refs
            elif all(c.do is Do.MAKE and c.ref not in barred for c in one.changes):
                fresh.append(_fresh(hub, one, reasons, names))
            else:
                _carry_out(hub, uow, run_id, one, reasons, names, ending, done)
        _write(hub, uow, run_id, fresh, done)
        links.look_again(hub, uow, uow.complaints.open_of(done.gained))
        came = Counter(run.counts.get("links", {})) + Counter(done.counts)
        run.counts = {**run.counts, "links": dict(came)}
    return done


@dataclass(frozen=True)
class _Ending:
    """The links that a chunk ends, as they are now."""

    rows: Mapping[str, LinkRow]
    quiet: Collection[str]
    """Those on which nothing stands."""


def _ending(uow: UnitOfWork, assigned: Sequence[Assigned]) -> _Ending:
    """Hold the links that these changes end."""
    ids = [change.held.link for one in assigned for change in one.changes if change.held]
    rows = uow.people.held(ids) if ids else {}
    return _Ending(rows, queries.on_which_nothing_stands(uow, rows.values()))


@dataclass(frozen=True)
class _Fresh:
    """A group that only gains links: rows to write, nothing to end."""

    person: NewPerson | None
    """The person to make, where the group has none."""
    links: list[NewLink]
    merged: tuple[str, ...]

    @property
    def person_id(self) -> str:
        return self.links[0].person_id


def _fresh(
    hub: Hub, one: Assigned, reasons: Mapping[str, Reason], names: Mapping[str, str]
) -> _Fresh:
    person = None
    if one.person is None:
        person = NewPerson(new_id("per"), _called(one, names), hub.clock())
    person_id = person.id if person is not None else one.person
    assert person_id is not None, "a record is linked to somebody"
    links = [_link(hub, person_id, change, reasons[change.ref]) for change in one.changes]
    return _Fresh(person, links, one.merged)


def _write(hub: Hub, uow: UnitOfWork, run_id: str, fresh: Sequence[_Fresh], done: Done) -> None:
    """Write what groups gain, in bulk; the audit names every link."""
    persons = [one.person for one in fresh if one.person is not None]
    links = [link for one in fresh for link in one.links]
    resolving.add(uow, persons, links)
    if links:
        uow.audit.write(
            at=hub.clock(),
            actor=RUN,
            action="links.made",
            subject=run_id,
            links=[link.id for link in links],
        )
        done.add(Do.MAKE, len(links))
    if persons:
        done.add("persons", len(persons))
    done.gained += [one.person_id for one in fresh if one.person is None]
    for one in fresh:
        for other in one.merged:
            _redirect(hub, uow, run_id, other, one.person_id)


def _named_apart(uow: UnitOfWork, refs: Sequence[str]) -> set[str]:
    """Which of these records somebody has said of that they are not something else."""
    rows = uow.ledger.cannot_links_of(refs)
    return {thing for row in rows for thing in (row.one, row.other)} & set(refs)


def _carry_out(
    hub: Hub,
    uow: UnitOfWork,
    run_id: str,
    one: Assigned,
    reasons: Mapping[str, Reason],
    names: Mapping[str, str],
    ending: _Ending,
    done: Done,
) -> None:
    """Change a group of which links are ended, or of whose records somebody has spoken."""
    person_id = one.person
    made = []
    if person_id is None and any(change.do is not Do.END for change in one.changes):
        person_id = uow.people.add_person(display_name=_called(one, names), at=hub.clock()).id
        done.add("persons")
    for change in one.changes:
        to = person_id if change.do is not Do.END else None
        was = uow.ledger.family(change.held.person) if change.held is not None else set()
        if to is not None and uow.ledger.bars(to, {change.ref} | was):
            # Said since the run planned it.
            done.add("said_apart")
            done.late.append(change.ref)
            continue
        if change.held is not None:
            _end(hub, uow, change, run_id, ending)
        if change.do is not Do.END:
            assert person_id is not None, "a record is linked to somebody"
            link = _link(hub, person_id, change, reasons[change.ref])
            resolving.add(uow, [], [link])
            made.append(link.id)
        done.add(change.do)
    if made:
        uow.audit.write(at=hub.clock(), actor=RUN, action="links.made", subject=run_id, links=made)
        done.gained += [one.person] if one.person is not None else []
    for other in one.merged:
        _redirect(hub, uow, run_id, other, person_id)


def _called(one: Assigned, names: Mapping[str, str]) -> str | None:
    return next((names[ref] for ref in one.refs if ref in names), None)


def _as_planned(change: Change, now: Mapping[str, resolving.RecordLink]) -> bool:
    link = now.get(change.ref)
    return (link.id if link else None) == (change.held.link if change.held else None)


def _link(hub: Hub, person_id: str, change: Change, reason: Reason) -> NewLink:
    return NewLink(
        id=new_id("lnk"),
        person_id=person_id,
        ref=Ref.parse(change.ref),
        basis=Basis.CRM_RECORD.value,
        confidence=reason.confidence,
        evidence=[one.model_dump(mode="json") for one in reason.evidence],
        decided_by=RUN,
        valid_from=hub.clock(),
    )


def _end(hub: Hub, uow: UnitOfWork, change: Change, run_id: str, ending: _Ending) -> None:
    """End a run's own link. Nobody took anything apart: `revoked_by` stays empty, so that the two
    may be linked again without somebody having to say so."""
    assert change.held is not None, "what is ended was there"
    row = ending.rows.get(change.held.link)
    if row is None or row.valid_to is not None:
        return
    now = hub.clock()
    quiet = row.id in ending.quiet
    strength = queries.NOTHING if quiet else queries.done_on_strength_of(uow, row)
    row.valid_to, row.revoked_reason = now, f"{run_id}: {change.do}"
    row.version += 1
    # Their orders may not be this person's after all.
    links.look_again(hub, uow, strength.complaints)
    data = {"person_id": row.person_id, "identity_id": None, "link_id": row.id}
    deliver.tell(hub, uow, "identity.unlinked", subject=row.person_id, data=data, at=now)
    uow.audit.write(
        at=now,
        actor=RUN,
        action=f"link.{change.do}",
        subject=row.id,
        run=run_id,
        person=row.person_id,
        complaints=list(strength.complaints),
        actions=list(strength.actions),
    )


def _redirect(hub: Hub, uow: UnitOfWork, run_id: str, person_id: str, into: str | None) -> None:
    """A person whose every link went to another one is found there from now on, with complaints
    and actions that no link brings: the ledger says since when, as of a merge.

    Undoing it gives back the id and what hung on it alone. The records went by the run's links and
    are named as left out: they leave in a split, which holds them apart from the next run, too.
    """
    if into is None or not resolving.unlinked(uow, person_id):
        return
    row = uow.people.person(person_id)
    if row is None or row.id != person_id:
        return
    ended = [
        link
        for link in uow.people.links_of_person(person_id, ended=True)
        if link.record_id is not None and (link.revoked_reason or "").startswith(f"{run_id}: ")
    ]
    complaints = uow.complaints.hold([one.id for one in uow.ledger.complaints_of(person_id)])
    moves = merge.Moves(
        records=tuple(sorted(thing_of(link) for link in ended)),
        complaints=tuple(one.id for one in complaints),
        actions=tuple(one.id for one in uow.ledger.actions_of(person_id)),
    )
    reason = f"a run of resolution found one customer: {run_id}"
    asker = Asker(principal=RUN)
    change = merge.change_of(ChangeKind.MERGE, into, person_id, reason, asker, hub.clock())
    change.redirected = person_id
    merge.carry(hub, uow, change, (), moves, to=into)
    change.moved = {**change.moved, "links": [link.origin or link.id for link in ended]}
    row.redirect_to = into
    merge.finish(hub, uow, change, moves, asker)
