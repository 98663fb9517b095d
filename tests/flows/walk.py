"""A random walk over the ledger, beside a model that shares no rule with it.

Everything is undone in reverse in the end, and now and then in between; after each undoing the
links, the complaints and what is held apart must be as they were before.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from sqlmodel import col, select

from middleware.contract.canonical import Account, Contact, Kind, Ref
from middleware.domain.problems import ConflictError
from middleware.flows import cannot, merge
from middleware.flows import link as links
from middleware.flows.hub import Asker
from middleware.resolution.identifiers import identifiers_of
from middleware.store.ledger import thing_of
from middleware.store.tables import ComplaintRow, LinkRow
from tests.flows.conftest import Stage
from tests.flows.test_receive import arrive, event

AGENT = Asker(principal="key_agent")
IDENTITIES, CONTACTS, ACCOUNTS = 14, 14, 8

VALID = select(LinkRow).where(col(LinkRow.valid_to).is_(None))
SAID = VALID.where(LinkRow.basis != "provisional")
"""What is held of anybody; that an account is its own provisional person says nothing."""
PROVISIONAL = VALID.where(LinkRow.basis == "provisional")

SHOWN = select(ComplaintRow.id, ComplaintRow.person_id)

Shot = tuple[dict[str, tuple[str, ...]], dict[str, str | None], frozenset[frozenset[str]]]


@dataclass
class Walk:
    stage: Stage
    random: Random
    holds: dict[str, str] = field(default_factory=dict)
    """The model: which person each thing is linked to."""
    apart: set[frozenset[str]] = field(default_factory=set)
    """The model: what was said, by things and by persons as they were then."""
    leads: dict[str, str] = field(default_factory=dict)
    """The model: merged persons, and into whom."""
    undoing: list[tuple[Shot, Callable[[], None], str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    things: list[str] = field(default_factory=list)
    persons: list[str] = field(default_factory=list)
    natives: dict[str, str] = field(default_factory=dict)
    arrivals: int = 0
    seen: Shot | None = None
    """What was there after the last operation."""

    def begin(self) -> None:
        with self.stage.hub.database.begin() as uow:
            for n in range(IDENTITIES):
                row = uow.people.see(
                    network="x",
                    native_id=f"n{n}",
                    handle=None,
                    display_name=None,
                    at=self.stage.time(),
                )
                self.things.append(row.id)
                self.natives[row.id] = f"n{n}"
            self.persons += [
                uow.people.add_person(display_name=None, at=self.stage.time()).id for _ in range(10)
            ]
        for n in range(CONTACTS):
            self.things.append(str(self._store("crm", Kind.CONTACT, n)))
        for n in range(ACCOUNTS):
            self.things.append(str(self._store("erp", Kind.ACCOUNT, n)))

    def _store(self, where: str, kind: Kind, n: int) -> Ref:
        """Sync a record; some of its addresses are shared with others."""
        ref = self.stage.ref(where, kind, f"R{n}")
        emails = tuple(
            f"{box}@example.com"
            for box in (f"box{n % 5}", f"own{n}", f"new{self.random.randrange(10**6)}")
        )
        record: Contact | Account = (
            Contact(ref=ref, display_name=f"Somebody {n % 7}", emails=emails)
            if kind is Kind.CONTACT
            else Account(ref=ref, name=f"Somebody {n % 7}", number=str(n), emails=emails)
        )
        with self.stage.hub.database.begin() as uow:
            uow.records.store([(record, identifiers_of(record))], as_of=self.stage.time())
        return ref

    # --- what happens ---------------------------------------------------------------------------

    def step(self) -> None:
        """One operation by chance, or the undoing of the last few."""
        kinds = {
            "link": 30,
            "unlink": 16,
            "merge": 16,
            "split": 12,
            "cannot": 6,
            "sync": 8,
            "arrive": 5,
            "undo": 7,
        }
        (kind,) = self.random.choices(list(kinds), list(kinds.values()))
        self.stage.time.pass_(seconds=1)
        if kind == "undo":
            for _ in range(self.random.randint(1, 4)):
                self.undo_last()
            return
        before, model = self.seen or self.shot(), self._model()
        began = time.perf_counter()
        inverse = getattr(self, f"_{kind}")()
        self.slowest[kind] = max(self.slowest.get(kind, 0.0), time.perf_counter() - began)
        self.stage.engine.owed.clear()
        self.counts[kind if inverse is not None else f"{kind} refused"] += 1
        self.seen = self.shot()
        if inverse is None:
            assert self.seen == before, f"a refused {kind} changed something"
            return

        def back() -> None:
            inverse()
            self.holds, self.apart, self.leads = model

        self.undoing.append((before, back, kind))
        self.hold()

    def undo_last(self) -> None:
        if not self.undoing:
            return
        before, back, kind = self.undoing.pop()
        self.stage.time.pass_(seconds=1)
        began = time.perf_counter()
        back()
        took = time.perf_counter() - began
        self.slowest["undo"] = max(self.slowest.get("undo", 0.0), took)
        self.stage.engine.owed.clear()
        self.counts["undone"] += 1
        self.seen = now_seen = self.shot()
        links_, complaints, apart = now_seen
        known = {one: person for one, person in complaints.items() if one in before[1]}
        for now, was in zip((links_, known, apart), before, strict=True):
            changed = set(map(str, now.items() if isinstance(now, dict) else now)) ^ set(
                map(str, was.items() if isinstance(was, dict) else was)
            )
            assert now == was, f"undoing a {kind} did not restore what was: {changed}"

    def hold(self) -> None:
        """The hub has what the model has, and nothing that is held apart is together."""
        with self.stage.hub.database.read() as uow:
            rows = list(uow.session.exec(SAID))
            provisional = list(uow.session.exec(PROVISIONAL))
        assert not {row.identity_id for row in provisional} & self.holds.keys()
        assert len({row.identity_id for row in provisional}) == len(provisional)
        held = {thing_of(row): row.person_id for row in rows}
        assert len(held) == len(rows), "a thing is linked twice"
        assert held == self.holds
        assert not any(self._parted(one, person) for one, person in held.items())

    def shot(self) -> Shot:
        with self.stage.hub.database.read() as uow:
            rows = uow.session.exec(SAID)
            valid = {
                thing_of(row): (
                    *(row.person_id, row.basis, str(row.confidence), str(row.evidence)),
                    *(row.decided_by, str(row.decided_under)),
                )
                for row in rows
            }
            nobody = {row.person_id for row in uow.session.exec(PROVISIONAL)}
            shown = {
                one: None if person_id in nobody else person_id
                for one, person_id in uow.session.exec(SHOWN)
            }
            return valid, shown, frozenset(uow.ledger.all_apart())

    # --- the model ------------------------------------------------------------------------------

    def _model(self) -> tuple[dict[str, str], set[frozenset[str]], dict[str, str]]:
        return dict(self.holds), set(self.apart), dict(self.leads)

    def _now(self, thing: str) -> str:
        while thing in self.leads:
            thing = self.leads[thing]
        return thing

    def _parted(self, thing: str, person: str) -> bool:
        """Whether somebody said that a thing is not a person, or not what else is theirs."""
        theirs = {one for one, whose in self.holds.items() if whose == person} | {person}
        return any(
            thing in pair and {self._now(other) for other in pair if other != thing} & theirs
            for pair in self.apart
        )

    def _of(self, person: str) -> list[str]:
        return sorted(one for one, whose in self.holds.items() if whose == person)

    def _living(self) -> list[str]:
        return sorted(set(self.persons) - set(self.leads))

    # --- operations: each answers its inverse, None where it was refused ------------------------

    def _link(self) -> Callable[[], None] | None:
        free = sorted(set(self.things) - set(self.holds))
        if not free:
            return None
        thing, person = self.random.choice(free), self.random.choice(self._living())
        asked = links.LinkAsked(
            person_id=person,
            reason=f"reason {self.random.randrange(100)}",
            identity_id=thing if ":" not in thing else None,
            record=Ref.parse(thing) if ":" in thing else None,
        )
        parted = self._parted(thing, person)
        try:
            link_id, new = links.put_link(self.stage.hub, asked, AGENT)
        except ConflictError:
            assert parted, "refused without a reason"
            return None
        assert new
        assert not parted, "linked although somebody said that it is not"
        self.holds[thing] = person
        return lambda: self._take_off(link_id)

    def _take_off(self, link_id: str) -> None:
        """Unlink, and forget that it was said: as if the link had never been."""
        hub = self.stage.hub
        with hub.database.read() as uow:
            row = uow.people.link(link_id)
            assert row is not None
            link_id = uow.ledger.lineages([row.origin or row.id])[row.origin or row.id].id
        links.revoke_link(hub, link_id, version=None, reason="undone", asker=AGENT)
        with hub.database.read() as uow:
            said = [
                c.id for c in uow.ledger.cannot_links_of({thing_of(row)}) if c.source == link_id
            ]
        for cannot_id in said:
            cannot.lift(hub, cannot_id, version=None, reason="undone", asker=AGENT)

    def _unlink(self) -> Callable[[], None] | None:
        if not self.holds:
            return None
        thing = self.random.choice(sorted(self.holds))
        with self.stage.hub.database.read() as uow:
            (link,) = (
                uow.people.links_of_identity(thing)
                if ":" not in thing
                else uow.people.links_of_records((Ref.parse(thing),))
            )
            persons = uow.ledger.persons_of(link)
        links.revoke_link(self.stage.hub, link.id, version=None, reason="no", asker=AGENT)
        del self.holds[thing]
        self.apart |= {frozenset((thing, person)) for person in persons}
        return lambda: (
            links.restore_link(self.stage.hub, link.id, reason="undone", asker=AGENT) and None
        )

    def _merge(self) -> Callable[[], None] | None:
        if len(self._living()) < 2:
            return None
        stays, goes = self.random.sample(self._living(), 2)
        mine, theirs = self._of(stays), self._of(goes)
        parted = (
            any(self._parted(thing, stays) for thing in theirs)
            or any(self._parted(thing, goes) for thing in mine)
            or any({self._now(one) for one in pair} == {stays, goes} for pair in self.apart)
        )
        try:
            change = merge.merge(self.stage.hub, stays, goes, reason="same", asker=AGENT)
        except ConflictError:
            assert parted, "refused without a reason"
            return None
        assert not parted, "merged although somebody said that they are two"
        self.leads[goes] = stays
        self.holds.update(dict.fromkeys(theirs, stays))
        return lambda: self._undo(change.id)

    def _undo(self, change_id: str) -> None:
        undone = merge.undo(self.stage.hub, change_id, reason="undone", asker=AGENT)
        assert undone.left_out == ()

    def _split(self) -> Callable[[], None] | None:
        several = [person for person in self._living() if len(self._of(person)) > 1]
        if not several:
            return None
        person = self.random.choice(several)
        theirs = self._of(person)
        going = self.random.sample(theirs, self.random.randint(1, len(theirs) - 1))
        asked = merge.SplitAsked(
            identities=tuple(t for t in going if ":" not in t),
            records=tuple(Ref.parse(t) for t in going if ":" in t),
        )
        change = merge.split(self.stage.hub, person, asked, reason="two", asker=AGENT)
        self.persons.append(change.other_id)
        self.holds.update(dict.fromkeys(going, change.other_id))
        self.apart |= {frozenset((thing, person)) for thing in going}

        def back() -> None:
            self._undo(change.id)
            self.persons.remove(change.other_id)

        return back

    def _cannot(self) -> Callable[[], None] | None:
        one = self.random.choice(self.things)
        other = self.random.choice([*self.things, *self._living()])
        if one == other:
            return None
        whose = [self.holds.get(thing, thing) for thing in (one, other)]
        try:
            row, new = cannot.put(self.stage.hub, one, other, reason="two", asker=AGENT)
        except ConflictError:
            assert whose[0] == whose[1], "refused without a reason"
            return None
        assert whose[0] != whose[1], "held apart although they are one"
        if not new:
            return None
        self.apart.add(frozenset((one, other)))
        return lambda: (
            cannot.lift(self.stage.hub, row.id, version=None, reason="undone", asker=AGENT) and None
        )

    def _sync(self) -> Callable[[], None] | None:
        """Records are read again with other addresses: no link changes."""
        for _ in range(3):
            self._store("crm", Kind.CONTACT, self.random.randrange(CONTACTS))
            self._store("erp", Kind.ACCOUNT, self.random.randrange(ACCOUNTS))
        return lambda: None

    def _arrive(self) -> Callable[[], None] | None:
        """Somebody complains from an address on file: the hub links whom it may."""
        author = self.random.choice(sorted(self.natives))
        box = self.random.choice(
            [f"box{self.random.randrange(5)}", *[f"own{self.random.randrange(CONTACTS)}"] * 3]
        )
        self.arrivals += 1
        n = self.arrivals
        arrive(
            self.stage,
            event(
                "My lamp arrived broken",
                id=f"w-{n}",
                conversation=f"w-{n}",
                author={
                    "native_id": self.natives[author],
                    "handle": f"h{self.natives[author]}",
                    "emails": [f"{box}@example.com"],
                },
            ),
            message_id=f"walk-{n}",
        )
        with self.stage.hub.database.read() as uow:
            rows = list(uow.session.exec(SAID))
        made = [row for row in rows if thing_of(row) not in self.holds]
        for row in made:
            assert not self._parted(thing_of(row), row.person_id), "linked against a word"
            self.holds[thing_of(row)] = row.person_id
            if row.person_id not in self.persons:
                self.persons.append(row.person_id)
        self.counts["linked by the hub"] += len(made)

        def back() -> None:
            for row in made:
                self._take_off(row.id)

        return back


def walk(stage: Stage, seed: int, operations: int) -> Walk:
    """Go so many steps, hold every one against the model, and undo everything in reverse."""
    going = Walk(stage, Random(seed))
    going.begin()
    nothing = going.shot()
    while sum(going.counts.values()) < operations:
        going.step()
    while going.undoing:
        going.undo_last()
    links_, _, apart = going.shot()
    assert (links_, apart) == (nothing[0], nothing[2])
    return going
