"""Links that agents make and end: who somebody is, and who they turned out not to be.

A link is ended, never overwritten. Ending one answers with what was done on its strength, and
holds the two apart: putting them together again needs to be said aloud. What was ended by mistake
is restored as it was.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime

from middleware.contract.canonical import Ref
from middleware.domain.identity import Basis, Evidence, EvidenceKind
from middleware.domain.ids import new_id
from middleware.domain.ledger import SOMEBODY, Thing, Verdict, is_person
from middleware.domain.problems import ConflictError, InvalidError, NotFoundError
from middleware.flows import cannot, deliver, provisional, turns
from middleware.flows.hub import Asker, Hub
from middleware.resolution import normalise
from middleware.resolution.exact import WEIGHTS
from middleware.store import queries
from middleware.store.database import UnitOfWork, giving_way
from middleware.store.ledger import thing_of
from middleware.store.queries import Strength
from middleware.store.tables import LabelRow, LinkRow

SURE = 0.99
"""How sure an agent's word makes the hub: people err, and say so by revoking."""
SHARING = "receive.sharing"
STOOD = "receive.stood"
"""The flows that look at the accounts that wrote with what another one wrote with, when that one is
linked, and when somebody has ended its link; see `flows.waiting`."""


@dataclass(frozen=True)
class LinkAsked:
    """Which person is which identity or record, and how whoever asks knows."""

    person_id: str | None
    """None for a new person."""
    reason: str
    basis: Basis = Basis.AGENT
    display_name: str | None = None
    identity_id: str | None = None
    identity: tuple[str, str] | None = None
    """Network and native id; noted as an identity where the hub never saw it."""
    record: Ref | None = None
    although_revoked: bool = False


@dataclass(frozen=True)
class LinkPreview:
    """What a link would do."""

    person_id: str | None
    """Whose it would be, after following merges; None for a new person."""
    link: LinkRow | None
    """The one that is there already."""
    complaints: tuple[str, ...]
    """What would be shown under the person from then on."""
    leads: str | None
    """The provisional person of the account, whose id would lead there."""


@giving_way
def put_link(hub: Hub, asked: LinkAsked, asker: Asker) -> tuple[str, bool]:
    """Link a person to an identity or record; answers the link's id and whether it is new.

    Asking for what is there answers the one that is. Raises ConflictError when it is somebody
    else's, when the two were taken apart before and the request does not say that it knows, or
    when somebody said that it is not what else is linked to the person.
    """
    with hub.database.begin() as uow:
        row, new = put_in(hub, uow, asked, asker)
    return row.id, new


def preview_link(hub: Hub, asked: LinkAsked, asker: Asker) -> LinkPreview:
    """What a link would do, found by making it and rolling that back; raises as `put_link`."""
    with hub.database.trial() as uow:
        held = provisional.of(uow, asked.identity_id) if asked.identity_id is not None else None
        row, new = put_in(hub, uow, asked, asker)
        written = uow.complaints.of_identity(row.identity_id) if new and row.identity_id else []
        complaints = tuple(one.id for one in written if one.state != "deleted")
    with hub.database.read() as uow:
        person = uow.people.person(row.person_id)
    leads = held.id if held is not None and held.id != row.person_id else None
    return LinkPreview(person.id if person else None, None if new else row, complaints, leads)


def put_in(hub: Hub, uow: UnitOfWork, asked: LinkAsked, asker: Asker) -> tuple[LinkRow, bool]:
    """The same in a transaction of the caller's."""
    now = hub.clock()
    turns.take(uow)
    identity_id = _identity(uow, asked, now)
    if asked.record is not None:
        _hold_beside(uow, asked.person_id, asked.record)
        _known_record(uow, asked.record)
    known = _valid(uow, identity_id, asked.record)
    person_id = _person(uow, asked.person_id, lock=True)
    held = provisional.of(uow, identity_id) if identity_id is not None else None
    if known is not None and held is None:
        owner = _person(uow, known.person_id)
        if owner == person_id or (person_id is None and asked.display_name is None):
            return known, False
        raise ConflictError(
            f"it is linked to person {owner} by link {known.id}; revoke that one first",
            link=known.id,
            person=owner,
        )
    word = provisional.Word(asker.principal, asked.reason, now)
    if person_id is not None:
        _hold_to_word(hub, uow, person_id, identity_id or str(asked.record), asked, asker)
    elif held is not None:
        person_id = held.id
        held.display_name = asked.display_name or held.display_name
    else:
        person_id = uow.people.add_person(display_name=asked.display_name, at=now).id
    row = uow.people.add_link(_row(asked, person_id, identity_id, asker, now))
    if held is not None:
        provisional.known(hub, uow, held, row, word)
    person = uow.people.person(person_id)
    assert person is not None, "a link has its person"
    provisional.confirm(hub, uow, person, word)
    if identity_id is not None:
        attach(hub, uow, identity_id, person_id, now)
        uow.reviews.settle(identity_id, at=now)
    else:
        look_again(hub, uow, uow.complaints.open_of([person_id]))
    tell(hub, uow, "identity.linked", row, now)
    cannot.say(
        uow,
        (thing_of(row), person_id),
        Verdict.SAME,
        asker,
        now,
        source="link",
        action="link.put",
        subject=row.id,
        detail={
            "person": person_id,
            "identity": identity_id,
            "record": str(asked.record) if asked.record else None,
            "basis": row.basis,
            "although_revoked": asked.although_revoked,
        },
    )
    return row, True


def _hold_to_word(
    hub: Hub, uow: UnitOfWork, person_id: str, thing: str, asked: LinkAsked, asker: Asker
) -> None:
    """Raise ConflictError where somebody said that it is not; lift what the request knows of."""
    bars = uow.ledger.bars(person_id, {thing})
    of_person = [row for row in bars if is_person(row.one) or is_person(row.other)]
    if of_person and not asked.although_revoked:
        raise ConflictError(
            "somebody took these two apart before; look at the history, and say "
            "although_revoked if you are sure",
            person=person_id,
            cannot_links=[row.id for row in of_person],
        )
    cannot.refuse([row for row in bars if row not in of_person], "it can't be this person")
    for row in of_person:
        cannot.end(hub, uow, row, reason=asked.reason, asker=asker)


@giving_way
def revoke_link(
    hub: Hub, link_id: str, *, version: int | None, reason: str, asker: Asker
) -> tuple[LinkRow, Strength]:
    """End a link; answers it and what was done on its strength.

    `version` is the one that the caller read, None when that does not matter. Raises NotFoundError
    and ConflictError (somebody ended it, or changed it, before).
    """
    with hub.database.begin() as uow:
        turns.take(uow)
        found = uow.people.link(link_id)
        if found is not None and found.identity_id is not None:
            # As receive does it: first the identity, then whatever hangs on it.
            uow.people.identity_by_id(found.identity_id, lock=True)
        row = _holding(uow, uow.people.link(link_id, lock=True), link_id, version)
        strength = revoke_in(hub, uow, row, reason=reason, asker=asker)
        if row.identity_id is not None:
            # An audit or a contradiction asks about what is no more; whoever looks again asks anew.
            uow.reviews.settle(row.identity_id, at=hub.clock())
    return row, strength


def preview_revoke(hub: Hub, link_id: str, *, version: int | None) -> tuple[LinkRow, Strength]:
    """A link, and what was done on its strength so far; raises as ending it would."""
    with hub.database.read() as uow:
        row = _holding(uow, uow.people.link(link_id), link_id, version)
        provisional.refuse_unlinking(row)
        return row, queries.done_on_strength_of(uow, row)


def _holding(uow: UnitOfWork, row: LinkRow | None, link_id: str, version: int | None) -> LinkRow:
    """The link, if it holds and is at that version."""
    if row is None:
        raise NotFoundError(f"there is no link {link_id}")
    if row.valid_to is not None:
        root = row.origin or row.id
        now = uow.ledger.lineages([root]).get(root)
        told = f"; it was carried over and is link {now.id} now" if now is not None else ""
        raise ConflictError(
            f"the link ended at {row.valid_to.isoformat()} already{told}",
            link=now.id if now is not None else None,
        )
    if version is not None and row.version != version:
        raise ConflictError(f"the link is at version {row.version} now; look at it again")
    return row


def revoke_in(hub: Hub, uow: UnitOfWork, row: LinkRow, *, reason: str, asker: Asker) -> Strength:
    """End a valid link in a transaction of the caller's, and hold the two apart from now on.

    Raises ConflictError for a provisional one.
    """
    provisional.refuse_unlinking(row)
    now = hub.clock()
    strength = queries.done_on_strength_of(uow, row)
    row.valid_to = now
    row.revoked_by, row.revoked_reason = asker.principal, reason
    row.stood = {name: list(ids) for name, ids in asdict(strength).items()}
    row.version += 1
    for person_id in sorted(uow.ledger.persons_of(row)):
        uow.ledger.add_cannot_link(
            thing_of(row), person_id, reason=reason, source=row.id, by=asker.principal, at=now
        )
    if row.identity_id is not None:
        _detach(hub, uow, row.identity_id, row.person_id, now)
        if uow.people.sharing(row.identity_id):
            name = f"{STOOD}:{row.id}"
            hub.engine.enqueue(uow, STOOD, row.identity_id, row.person_id, name=name)
    else:
        look_again(hub, uow, strength.complaints)
    tell(hub, uow, "identity.unlinked", row, now)
    _withdraw(uow, row, asker, now)
    cannot.say(
        uow,
        (thing_of(row), row.person_id),
        Verdict.DIFFERENT,
        asker,
        now,
        source="unlink",
        action="link.revoke",
        subject=row.id,
        detail={"person": row.person_id, **row.stood},
        evidence={one["kind"]: one["weight"] for one in row.evidence},
        decided_under=row.decided_under,
    )
    return strength


@giving_way
def restore_link(hub: Hub, link_id: str, *, reason: str, asker: Asker) -> LinkRow:
    """Take an unlinking back: the link holds again as it was, under a new id from now on.

    Raises NotFoundError, and ConflictError for one that nobody ended, that holds again already,
    whose identity or record is somebody else's by now, or that somebody else's word forbids.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        turns.take(uow)
        found = uow.people.link(link_id)
        if found is None:
            raise NotFoundError(f"there is no link {link_id}")
        if found.identity_id is not None:
            uow.people.identity_by_id(found.identity_id, lock=True)
        else:
            record = queries.record_of(found)
            assert record is not None, "a link has an identity or a record"
            _hold_beside(uow, found.person_id, record)
        row = uow.people.link(link_id, lock=True)
        assert row is not None
        if row.revoked_by is None:
            raise ConflictError("nobody ended this link; there is nothing to take back")
        record = queries.record_of(row)
        known = _valid(uow, row.identity_id, record)
        held = provisional.of(uow, row.identity_id) if row.identity_id is not None else None
        if known is not None and held is None:
            raise ConflictError(
                f"it is linked to person {known.person_id} by link {known.id} now",
                link=known.id,
                person=known.person_id,
            )
        person_id = _person(uow, row.person_id, lock=True)
        assert person_id is not None
        thing = thing_of(row)
        for apart in uow.ledger.cannot_links_of({thing}):
            if apart.source == row.id:
                cannot.end(hub, uow, apart, reason=reason, asker=asker)
        uow.session.flush()
        cannot.refuse(uow.ledger.bars(person_id, {thing}), "it can't be this person")
        again = uow.people.add_link(carried(row, person_id, at=now, change_id=None))
        if held is not None:
            word = provisional.Word(asker.principal, reason, now)
            provisional.known(hub, uow, held, again, word)
        if row.identity_id is not None:
            attach(hub, uow, row.identity_id, person_id, now)
            uow.reviews.settle(row.identity_id, at=now)
        else:
            look_again(hub, uow, uow.complaints.open_of([person_id]))
        tell(hub, uow, "identity.linked", again, now)
        _say_again(uow, row, person_id, asker, now)
        cannot.say(
            uow,
            (thing, person_id),
            Verdict.SAME,
            asker,
            now,
            source="link",
            action="link.restore",
            subject=again.id,
            detail={"person": person_id, "restores": row.id},
        )
    return again


def _withdraw(uow: UnitOfWork, row: LinkRow, asker: Asker, now: datetime) -> None:
    """Take back what was said of a link's account or record and what else is linked to its person:
    whoever said that the account is this record's customer was believed by the link that ends."""
    for label in _last_said(uow, row, row.person_id):
        if label.verdict == Verdict.SAME:
            uow.ledger.add_label(
                label.one,
                label.other,
                Verdict.UNSURE,
                source="unlink",
                subject=row.id,
                by=asker.principal,
                at=now,
            )


def _say_again(uow: UnitOfWork, row: LinkRow, person_id: str, asker: Asker, now: datetime) -> None:
    """Say again what the ending of a link took back, where nobody said anything else since."""
    for label in _last_said(uow, row, person_id):
        if label.verdict == Verdict.UNSURE and label.subject == row.id:
            uow.ledger.add_label(
                label.one,
                label.other,
                Verdict.SAME,
                source="link",
                subject=row.id,
                by=asker.principal,
                at=now,
            )


def _last_said(uow: UnitOfWork, row: LinkRow, person_id: str) -> list[LabelRow]:
    """The last word of each pair of a link's thing and another thing of a person."""
    thing = thing_of(row)
    theirs = uow.ledger.things_of(person_id) - {thing}
    last: dict[frozenset[Thing], LabelRow] = {}
    for label in uow.ledger.labels_of({thing, *theirs}):
        pair = frozenset((label.one, label.other))
        if thing in pair and pair & theirs and not label.implied:
            last[pair] = label
    return list(last.values())


def carried(row: LinkRow, person_id: str, *, at: datetime, change_id: str | None) -> LinkRow:
    """The same link for another person, or again for the same one, from a moment on."""
    return LinkRow(
        id=new_id("lnk"),
        person_id=person_id,
        identity_id=row.identity_id,
        connection=row.connection,
        kind=row.kind,
        record_id=row.record_id,
        basis=row.basis,
        confidence=row.confidence,
        evidence=row.evidence,
        decided_by=row.decided_by,
        decided_under=row.decided_under,
        valid_from=at,
        origin=row.origin or row.id,
        change_id=change_id,
    )


def _identity(uow: UnitOfWork, asked: LinkAsked, now: datetime) -> str | None:
    if asked.identity_id is not None:
        row = uow.people.identity_by_id(asked.identity_id)
        if row is None:
            raise NotFoundError(f"there is no identity {asked.identity_id}")
        # Locked, so that two agents who link it at once are told of each other.
        uow.people.identity(row.network, row.native_id)
        return row.id
    if asked.identity is None:
        return None
    network, native_id = asked.identity
    return uow.people.see(
        network=normalise.network(network),
        native_id=native_id,
        handle=None,
        display_name=None,
        at=now,
    ).id


def _known_record(uow: UnitOfWork, ref: Ref) -> None:
    if ref.kind not in SOMEBODY:
        raise InvalidError(
            f"a person is never a record of kind {ref.kind}",
            errors=[{"pointer": "/record", "code": "kind", "detail": "must be contact or account"}],
        )
    if uow.records.get(ref, lock=True) is None:
        raise NotFoundError(f"the hub holds no record {ref}")


def _hold_beside(uow: UnitOfWork, person_id: str | None, record: Ref) -> None:
    """Hold a record, the person whose it will be, and what changes beside it: the complaints whose
    orders may be the record's, and the account of a provisional person."""
    person = uow.people.person(person_id) if person_id is not None else None
    if person is None:
        turns.hold(uow, records=[record])
        return
    account = provisional.account_of(uow, person)
    turns.hold(
        uow,
        identities=[account] if account is not None else [],
        complaints=uow.complaints.open_of([person.id]),
        records=[record],
        persons=[person.id],
    )


def _person(uow: UnitOfWork, person_id: str | None, *, lock: bool = False) -> str | None:
    """The person's id after following merges; `lock` holds them where they are."""
    if person_id is None:
        return None
    person = uow.people.person(person_id, lock=lock)
    if person is None:
        raise NotFoundError(f"there is no person {person_id}")
    return person.id


def _valid(uow: UnitOfWork, identity_id: str | None, record: Ref | None) -> LinkRow | None:
    """The link that holds now."""
    if identity_id is not None:
        return next(iter(uow.people.links_of_identity(identity_id)), None)
    assert record is not None, "a link has an identity or a record"
    return next(iter(uow.people.links_of_records((record,))), None)


def _row(
    asked: LinkAsked, person_id: str, identity_id: str | None, asker: Asker, now: datetime
) -> LinkRow:
    evidence = Evidence(
        kind=EvidenceKind.AGENT,
        detail=asked.reason,
        weight=WEIGHTS[EvidenceKind.AGENT].bits,
        basis=asked.basis,
        at=now,
    )
    record = asked.record
    return LinkRow(
        id=new_id("lnk"),
        person_id=person_id,
        identity_id=identity_id,
        connection=record.connection if record else None,
        kind=record.kind.value if record else None,
        record_id=record.id if record else None,
        basis=asked.basis.value,
        confidence=SURE,
        evidence=[evidence.model_dump(mode="json")],
        decided_by=asker.principal,
        valid_from=now,
    )


def attach(hub: Hub, uow: UnitOfWork, identity_id: str, person_id: str, now: datetime) -> None:
    """Show the identity's complaints under the person, and look for their orders anew; owe a look
    at whose the accounts are that wrote with the same address or number."""
    changed = []
    for complaint in uow.complaints.of_identity(identity_id):
        if complaint.state != "deleted" and complaint.person_id != person_id:
            complaint.person_id, complaint.updated_at = person_id, now
            complaint.version += 1
            changed.append(complaint.id)
    look_again(hub, uow, changed)
    if uow.people.sharing(identity_id):
        # Not here: whoever is at their complaints may be waiting for ours.
        name = f"{SHARING}:{identity_id}:{person_id}:{now.isoformat()}"
        hub.engine.enqueue(uow, SHARING, identity_id, name=name)


def _detach(hub: Hub, uow: UnitOfWork, identity_id: str, person_id: str, now: datetime) -> None:
    """Take the person and their orders off the identity's complaints."""
    changed = []
    shown_as = {person_id, _person(uow, person_id)}
    for complaint in uow.complaints.of_identity(identity_id):
        if complaint.person_id in shown_as:
            complaint.person_id = complaint.order_match = complaint.order_ref = None
            complaint.updated_at = now
            complaint.version += 1
            changed.append(complaint.id)
    look_again(hub, uow, changed)


def look_again(hub: Hub, uow: UnitOfWork, complaints: Collection[str]) -> None:
    """Owe a new look at complaints whose person, or whose person's records, changed.

    However much changes since a complaint was last looked at, one look is owed. One that is under
    way sees that the complaint has a new version, and begins anew; after a minute another one is
    owed all the same, so that none that failed is the last.
    """
    if not complaints:
        return
    minute = int(hub.clock().timestamp()) // 60
    for complaint in uow.complaints.hold(complaints):
        complaint.version += 1
        seen = (complaint.resolution or {}).get("seen", 0)
        name = f"receive.enrich:{complaint.id}:{seen}:{minute}"
        hub.engine.enqueue(uow, "receive.enrich", complaint.id, name=name)


def tell(hub: Hub, uow: UnitOfWork, type_: str, row: LinkRow, now: datetime) -> None:
    data = {"person_id": row.person_id, "identity_id": row.identity_id, "link_id": row.id}
    deliver.tell(hub, uow, type_, subject=row.person_id, data=data, at=now)
