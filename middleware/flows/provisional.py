"""Provisional persons: whom an account is until somebody knows, and their expiry.

Whoever writes and is nobody's becomes a provisional person with an id that lasts, on whom
complaints, claims and actions hang. They stand for exactly one account. Evidence or somebody's
word settles them: they keep their id, or it leads to the person that they turned out to be. Where
nothing is heard of them for long and nothing open hangs on them, they expire; if the account
writes again they are back under the same id, because a network's account id never changes hands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from middleware.domain.identity import Basis, Evidence, EvidenceKind
from middleware.domain.ids import new_id
from middleware.domain.ledger import ChangeKind, Standing
from middleware.domain.problems import ConflictError
from middleware.flows import cannot, deliver
from middleware.flows.hub import Hub
from middleware.resolution.exact import WEIGHTS
from middleware.store import provisional
from middleware.store.database import UnitOfWork
from middleware.store.tables import IdentityRow, LinkRow, PersonChangeRow, PersonRow

HUB = "hub"
AT = timedelta(hours=3, minutes=30)
"""After midnight, in UTC: when a day's expiries are due."""
BATCH = 100
SURE = 0.99


@dataclass(frozen=True)
class Word:
    """Who says that a provisional person is known, and how they know."""

    by: str
    why: str
    at: datetime


# --- as whom an account writes ------------------------------------------------------------------


def hold(
    hub: Hub, uow: UnitOfWork, identity_id: str, *, name: str | None, wrote: bool
) -> PersonRow:
    """The provisional person of an account that nobody is linked to, made where there is none.

    If the account `wrote`, they are kept for longer, or brought back; where something is only
    looked at anew, one that expired stays so. The caller holds the identity.
    """
    now = hub.clock()
    until = now + hub.options.provisional_kept
    for link in uow.people.links_of_identity(identity_id):
        person = uow.people.person(link.person_id, lock=True)
        assert person is not None, "a link has its person"
        if wrote and person.provisional_until is not None:
            person.provisional_until = max(person.provisional_until, until)
        return person
    gone = of(uow, identity_id)
    if gone is None or uow.ledger.bars(gone.id, {identity_id}):
        person = uow.people.add_person(display_name=name, at=now)
        person.provisional_until = until
        uow.people.add_link(_link(person.id, identity_id, now))
        return person
    if not wrote:
        return gone
    gone.display_name, gone.provisional_until, gone.expired_at = name, until, None
    link = uow.people.add_link(_link(gone.id, identity_id, now))
    _changed(hub, uow, ChangeKind.RETURN, gone, [link], Word(HUB, "the account wrote again", now))
    return gone


def of(uow: UnitOfWork, identity_id: str) -> PersonRow | None:
    """Whom an account is provisionally, or was until they expired; held until we commit."""
    valid = uow.people.links_of_identity(identity_id)
    if valid and valid[0].basis != Basis.PROVISIONAL:
        return None
    person_id = valid[0].person_id if valid else provisional.expired(uow, identity_id)
    person = uow.people.person(person_id, lock=True) if person_id is not None else None
    return person if person is not None and person.standing is not Standing.SETTLED else None


# --- known from now on --------------------------------------------------------------------------


def known(hub: Hub, uow: UnitOfWork, held: PersonRow, link: LinkRow, word: Word) -> None:
    """Settle the provisional person of an account by the link that says whose it is.

    To be called between making the link and showing complaints by it: those of the account are
    taken off `held`. Where the link leads to somebody else, the id leads there from now on and the
    actions go over, as a merge that can be undone. Raises ConflictError where somebody held the two
    persons apart.
    """
    assert link.identity_id is not None, "a provisional person stands for an account"
    complaints = []
    for complaint in uow.complaints.of_identity(link.identity_id):
        if complaint.person_id == held.id:
            complaint.person_id = None
            complaints.append(complaint.id)
    _end(uow.people.links_of_identity(link.identity_id), word.at)
    _settle(hub, uow, held, [link], word)
    if link.person_id == held.id:
        return
    cannot.refuse(uow.ledger.between(link.person_id, held.id), "it can't be this person")
    actions = [row.id for row in uow.ledger.actions_of(held.id)]
    uow.ledger.give_actions(actions, was=held.id, to=link.person_id)
    held.redirect_to = link.person_id
    change = _change(ChangeKind.MERGE, link.person_id, held.id, [link], word)
    change.redirected = held.id
    change.moved = {**change.moved, "complaints": complaints, "actions": actions}
    uow.ledger.add_change(change)
    told = {
        "change_id": change.id,
        "person_id": change.person_id,
        "other_id": change.other_id,
        "undoes": None,
        "identities": change.moved["identities"],
        "records": [],
        "complaints": complaints,
    }
    deliver.tell(hub, uow, "person.merged", subject=change.person_id, data=told, at=word.at)
    _audit(uow, change)


def confirm(hub: Hub, uow: UnitOfWork, person: PersonRow, word: Word) -> None:
    """Settle a person by what somebody said of them, such as a record of theirs or a merge; of a
    settled one nothing changes. The account is theirs by that word from now on."""
    if person.standing is Standing.SETTLED:
        return
    was = provisional.link_of(uow, person.id)
    assert was is not None, "they stand for an account"
    assert was.identity_id is not None, "they stand for an account"
    ended = was.valid_to is not None
    links = []
    if not ended or not (
        uow.people.links_of_identity(was.identity_id)
        or uow.ledger.bars(person.id, {was.identity_id})
    ):
        _end([was], word.at)
        links.append(uow.people.add_link(_by_word(person.id, was.identity_id, word)))
        uow.reviews.settle(was.identity_id, at=word.at)
    _settle(hub, uow, person, links, word)


def account_of(uow: UnitOfWork, person: PersonRow) -> str | None:
    """The account that a person stands for whom nobody knows."""
    if person.standing is Standing.SETTLED:
        return None
    link = provisional.link_of(uow, person.id)
    return link.identity_id if link is not None else None


def refuse_unlinking(link: LinkRow) -> None:
    """Raise ConflictError for the link of a provisional person to their account."""
    if link.basis == Basis.PROVISIONAL:
        raise ConflictError(
            "the person is provisional: nobody has said whose account it is, so there is nothing "
            "to take back; link it to whom it belongs to",
            person=link.person_id,
        )


def _settle(
    hub: Hub, uow: UnitOfWork, person: PersonRow, links: Sequence[LinkRow], word: Word
) -> None:
    person.provisional_until = person.expired_at = None
    _changed(hub, uow, ChangeKind.SETTLE, person, links, word)


def listed(
    hub: Hub, *, expired: bool, after: tuple[datetime, str] | None = None, limit: int
) -> list[tuple[PersonRow, IdentityRow]]:
    """Provisional persons with their accounts, by when they expire; or those that expired, by
    when they did."""
    with hub.database.read() as uow:
        return provisional.page(uow, expired=expired, after=after, limit=limit)


# --- expiry -------------------------------------------------------------------------------------


def owe(hub: Hub, uow: UnitOfWork) -> None:
    """Owe once a day, over all nodes, that those expire of whom nothing was heard for long."""
    day = (hub.clock() - AT).date().isoformat()
    hub.engine.enqueue(uow, "resolve.expire", day, name=f"resolve.expire:{day}")


def run(hub: Hub, day: str) -> None:
    """Expire whoever is due, some at a time. One that was stopped halfway goes on with the rest:
    who expired is not due any more."""
    after = None
    while True:
        with hub.database.read() as uow:
            due = provisional.expiring(uow, hub.clock(), after=after, limit=BATCH)
        if not due:
            return
        with hub.database.begin() as uow:
            _expire(hub, uow, due)
        after = due[-1]


def _expire(hub: Hub, uow: UnitOfWork, due: Sequence[provisional.Due]) -> None:
    """Expire those that are still due once nobody can change them any more."""
    # In the order in which receive takes them: an account before its person.
    for identity_id in sorted(one.identity_id for one in due):
        uow.people.identity_by_id(identity_id, lock=True)
    persons = {
        person_id: uow.people.person(person_id, lock=True)
        for person_id in sorted(one.person_id for one in due)
    }
    now = hub.clock()
    for one in provisional.expiring(uow, now, among=list(persons), limit=BATCH):
        person, identity_id = persons[one.person_id], one.identity_id
        assert person is not None, "it was read above"
        links = uow.people.links_of_identity(identity_id)
        _end(links, now)
        person.provisional_until, person.expired_at, person.display_name = None, now, None
        provisional.forget_names(uow, identity_id)
        word = Word(HUB, "nothing was heard of them, and nothing hangs on them", now)
        _changed(hub, uow, ChangeKind.EXPIRE, person, links, word)


# --- rows ---------------------------------------------------------------------------------------


def _end(links: Sequence[LinkRow], at: datetime) -> None:
    """End provisional links. Nobody took anything apart: `revoked_by` stays empty."""
    for link in links:
        if link.basis == Basis.PROVISIONAL and link.valid_to is None:
            link.valid_to = at
            link.version += 1


def _link(person_id: str, identity_id: str, at: datetime) -> LinkRow:
    return LinkRow(
        id=new_id("lnk"),
        person_id=person_id,
        identity_id=identity_id,
        basis=Basis.PROVISIONAL.value,
        confidence=1.0,
        evidence=[],
        decided_by=HUB,
        valid_from=at,
    )


def _by_word(person_id: str, identity_id: str, word: Word) -> LinkRow:
    evidence = Evidence(
        kind=EvidenceKind.AGENT,
        detail=word.why,
        weight=WEIGHTS[EvidenceKind.AGENT].bits,
        basis=Basis.AGENT,
        at=word.at,
    )
    return LinkRow(
        id=new_id("lnk"),
        person_id=person_id,
        identity_id=identity_id,
        basis=Basis.AGENT.value,
        confidence=SURE,
        evidence=[evidence.model_dump(mode="json")],
        decided_by=word.by,
        valid_from=word.at,
    )


TOLD = {
    ChangeKind.SETTLE: "person.settled",
    ChangeKind.EXPIRE: "person.expired",
    ChangeKind.RETURN: "person.returned",
}


def _changed(
    hub: Hub,
    uow: UnitOfWork,
    kind: ChangeKind,
    person: PersonRow,
    links: Sequence[LinkRow],
    word: Word,
) -> None:
    """Keep in the ledger how a person stands from now on, and tell of it."""
    change = _change(kind, person.id, person.id, links, word)
    uow.ledger.add_change(change)
    told = {
        "change_id": change.id,
        "person_id": person.id,
        "standing": person.standing.value,
        "provisional_until": until.isoformat() if (until := person.provisional_until) else None,
        "identities": change.moved["identities"],
    }
    deliver.tell(hub, uow, TOLD[kind], subject=person.id, data=told, at=word.at)
    _audit(uow, change)


def _change(
    kind: ChangeKind, person_id: str, other_id: str, links: Sequence[LinkRow], word: Word
) -> PersonChangeRow:
    return PersonChangeRow(
        id=new_id("chg"),
        kind=kind.value,
        person_id=person_id,
        other_id=other_id,
        moved={
            "links": [link.id for link in links],
            "identities": [link.identity_id for link in links],
            "records": [],
            "complaints": [],
            "actions": [],
        },
        reason=word.why,
        made_by=word.by,
        made_at=word.at,
    )


def _audit(uow: UnitOfWork, change: PersonChangeRow) -> None:
    uow.audit.write(
        at=change.made_at,
        actor=change.made_by,
        action=f"person.{change.kind}",
        subject=change.id,
        person=change.person_id,
        other=change.other_id,
        moved=change.moved,
    )
