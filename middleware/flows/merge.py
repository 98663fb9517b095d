"""Merging and splitting persons, with a preview, and undoing either.

Nothing is overwritten. What goes over to another person is ended there and said again here, with
the same evidence, by the same word; the id that is merged leads to the one that stays. A change
keeps what it moved, so that undoing it moves exactly that back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

from middleware.contract.canonical import Account, Contact, Ref
from middleware.domain.actions import ActionState
from middleware.domain.ids import new_id
from middleware.domain.ledger import ChangeKind, Thing, Verdict
from middleware.domain.problems import (
    ConflictError,
    InvalidError,
    NotFoundError,
    OutdatedPreviewError,
)
from middleware.flows import cannot, deliver, provisional, turns
from middleware.flows import link as links
from middleware.flows.hub import Asker, Hub
from middleware.resolution import normalise
from middleware.store import queries
from middleware.store.database import UnitOfWork, giving_way
from middleware.store.ledger import thing_of
from middleware.store.tables import ComplaintRow, LinkRow, PersonChangeRow, PersonRow


@dataclass(frozen=True)
class Moves:
    """What goes over to another person."""

    identities: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    open_actions: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    """What of it somebody has claimed: their work is shown under the other person afterwards."""


@dataclass(frozen=True)
class Conflict:
    """Why it is refused."""

    kind: str
    """cannot_link, unique_id, duplicate."""
    detail: str
    things: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChangePreview:
    """What a merge or a split would do, and what forbids it."""

    kind: ChangeKind
    person_id: str
    other_id: str | None
    """Who goes into the first; None for the person that a split will make."""
    moves: Moves
    conflicts: tuple[Conflict, ...] = ()

    @property
    def token(self) -> str:
        """The same while the same would move: to be sent with the change."""
        body = json.dumps([self.person_id, self.other_id, asdict(self.moves)], sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class SplitAsked:
    """What is to leave a person for a new one."""

    identities: tuple[str, ...] = ()
    records: tuple[Ref, ...] = ()
    complaints: tuple[str, ...] = ()
    """Beside those that the identities wrote; none that an account wrote that stays."""
    display_name: str | None = None

    @property
    def things(self) -> frozenset[Thing]:
        return frozenset((*self.identities, *map(str, self.records)))


@dataclass(frozen=True)
class Undone:
    """The undoing, and what could not be given back because somebody ended it since."""

    change: PersonChangeRow
    left_out: tuple[str, ...] = field(default=())
    """Identities and records."""


# --- previews -----------------------------------------------------------------------------------


def preview_merge(hub: Hub, person_id: str, other_id: str) -> ChangePreview:
    """What merging the second person into the first would move, and why it may be refused."""
    with hub.database.read() as uow:
        stays, goes = _two(uow, person_id, other_id)
        return _merge_preview(hub, uow, stays, goes)


def preview_split(hub: Hub, person_id: str, asked: SplitAsked) -> ChangePreview:
    """What a split would move. Raises as the split itself would."""
    with hub.database.read() as uow:
        return _split_preview(hub, uow, _one(uow, person_id), asked)


def _merge_preview(hub: Hub, uow: UnitOfWork, stays: PersonRow, goes: PersonRow) -> ChangePreview:
    return ChangePreview(
        kind=ChangeKind.MERGE,
        person_id=stays.id,
        other_id=goes.id,
        moves=_moves(
            hub,
            uow,
            uow.people.links_of_person(goes.id),
            uow.ledger.complaints_of(goes.id),
            [row.id for row in uow.ledger.actions_of(goes.id)],
        ),
        conflicts=tuple(_conflicts(hub, uow, stays.id, goes.id)),
    )


def _split_preview(
    hub: Hub, uow: UnitOfWork, person: PersonRow, asked: SplitAsked
) -> ChangePreview:
    held = uow.people.links_of_person(person.id)
    going = [link for link in held if thing_of(link) in asked.things]
    missing = sorted(asked.things - {thing_of(link) for link in going})
    if missing:
        raise ConflictError(
            f"not linked to person {person.id}: {', '.join(missing)}", missing=missing
        )
    if not going:
        raise InvalidError(
            "Say what is to leave: identities or records of the person.",
            errors=[{"pointer": "/identities", "code": "empty", "detail": "must name something"}],
        )
    if len(going) == len(held):
        raise ConflictError("everything would leave; there must be something that stays")
    theirs = uow.ledger.complaints_of(person.id)
    unknown = sorted(set(asked.complaints) - {row.id for row in theirs})
    if unknown:
        raise ConflictError(
            f"not complaints of person {person.id}: {', '.join(unknown)}", missing=unknown
        )
    complaints = [
        row for row in theirs if row.identity_id in asked.identities or row.id in asked.complaints
    ]
    authors = {link.identity_id for link in held if link.identity_id} - set(asked.identities)
    stay = [row.id for row in complaints if row.identity_id in authors]
    if stay:
        raise ConflictError(
            f"written by accounts that stay: {', '.join(stay)}; name the accounts that wrote "
            "them, and they go along",
            complaints=stay,
        )
    ids = {row.id for row in complaints}
    actions = [row.id for row in uow.ledger.actions_of(person.id) if row.complaint_id in ids]
    return ChangePreview(
        kind=ChangeKind.SPLIT,
        person_id=person.id,
        other_id=None,
        moves=_moves(hub, uow, going, complaints, actions),
    )


def _moves(
    hub: Hub,
    uow: UnitOfWork,
    going: Sequence[LinkRow],
    complaints: Sequence[ComplaintRow],
    actions: Sequence[str],
) -> Moves:
    rows = [row for action_id in actions if (row := uow.actions.get(action_id)) is not None]
    orders = {row.order_ref for row in complaints if row.order_ref}
    orders |= {row.order_ref for row in rows if row.order_ref}
    claims = uow.claims.near(
        complaints={row.id for row in complaints}, orders=orders, now=hub.clock()
    )
    return Moves(
        identities=tuple(sorted(link.identity_id for link in going if link.identity_id)),
        records=tuple(sorted(thing_of(link) for link in going if not link.identity_id)),
        complaints=tuple(row.id for row in complaints),
        actions=tuple(actions),
        open_actions=tuple(row.id for row in rows if not ActionState(row.state).ended),
        claims=tuple(sorted(row.subject for row in claims)),
    )


def _conflicts(hub: Hub, uow: UnitOfWork, stays: str, goes: str) -> Iterable[Conflict]:
    """Why two persons can't be one."""
    for row in uow.ledger.between(stays, goes):
        yield Conflict(
            "cannot_link",
            f"{row.one} is not {row.other} ({row.id}: {row.reason})",
            (row.one, row.other),
        )
    mine, theirs = (_somebodies(uow, person_id) for person_id in (stays, goes))
    for system in hub.options.unique_ids:
        left, right = (_ids(records, system) for records in (mine, theirs))
        if left and right and not left.keys() & right.keys():
            things = (next(iter(left.values())), next(iter(right.values())))
            yield Conflict(
                "unique_id",
                f"{things[0]} and {things[1]} have different ids in {system}, of which a customer "
                "has one",
                things,
            )
    for ref in sorted((record.ref for record in mine), key=str):
        for other in sorted((record.ref for record in theirs), key=str):
            kept_once = ref.connection in hub.options.duplicate_free
            if kept_once and (ref.connection, ref.kind) == (other.connection, other.kind):
                yield Conflict(
                    "duplicate",
                    f"{ref.connection} holds no customer twice, so {ref} is not {other}",
                    (str(ref), str(other)),
                )


def _somebodies(uow: UnitOfWork, person_id: str) -> list[Contact | Account]:
    refs = [queries.record_of(link) for link in uow.people.links_of_person(person_id)]
    stored = uow.records.get_all(ref for ref in refs if ref is not None)
    return [s.record for s in stored if isinstance(s.record, Contact | Account)]


def _ids(records: Sequence[Contact | Account], system: str) -> dict[str, str]:
    """The ids in one system, and which record has each."""
    return {
        key: str(record.ref)
        for record in records
        if (key := normalise.external_id(record.external_ids.get(system, ""))) is not None
    }


# --- merge and split ----------------------------------------------------------------------------


@giving_way
def merge(
    hub: Hub,
    person_id: str,
    other_id: str,
    *,
    reason: str,
    asker: Asker,
    token: str | None = None,
) -> PersonChangeRow:
    """Merge the second person into the first, who stays; the second's id leads to them from now.

    `token` is that of the preview; with it, nothing is done if something else would move by now
    (OutdatedPreviewError). Raises NotFoundError, and ConflictError with every reason against it.
    """
    with hub.database.begin() as uow:
        change = merge_in(hub, uow, person_id, other_id, reason=reason, asker=asker, token=token)
        uow.ledger.add_label(
            change.other_id,
            change.person_id,
            Verdict.SAME,
            source="merge",
            subject=change.id,
            by=asker.principal,
            at=hub.clock(),
        )
    return change


def merge_in(
    hub: Hub,
    uow: UnitOfWork,
    person_id: str,
    other_id: str,
    *,
    reason: str,
    asker: Asker,
    token: str | None = None,
) -> PersonChangeRow:
    """The same in a transaction of the caller's, which nobody's word need be behind: it leaves no
    label. Where it raises, nothing was written."""
    _hold(uow, person_id, other_id)
    stays, goes = _two(uow, person_id, other_id)
    shown = _merge_preview(hub, uow, stays, goes)
    if shown.conflicts:
        raise ConflictError(
            "these two can't be one person: " + "; ".join(c.detail for c in shown.conflicts),
            conflicts=[asdict(c) for c in shown.conflicts],
        )
    _hold_to_preview(shown, token)
    for person in (stays, goes):
        word = provisional.Word(asker.principal, reason, hub.clock())
        provisional.confirm(hub, uow, person, word)
    change = change_of(ChangeKind.MERGE, stays.id, goes.id, reason, asker, hub.clock())
    change.redirected = goes.id
    held = uow.people.links_of_person(goes.id)
    carry(hub, uow, change, held, shown.moves, to=stays.id)
    goes.redirect_to = stays.id
    finish(hub, uow, change, shown.moves, asker)
    return change


@giving_way
def split(
    hub: Hub,
    person_id: str,
    asked: SplitAsked,
    *,
    reason: str,
    asker: Asker,
    token: str | None = None,
) -> PersonChangeRow:
    """Move identities and records of a person to a new one, and hold the two apart.

    Complaints and actions go with the identities that wrote; further complaints by name. Raises
    NotFoundError, InvalidError, ConflictError (it is not theirs, nothing would stay, or a complaint
    is named that an account wrote which stays: it is shown under whoever that account is).
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        _hold(uow, person_id)
        person = _one(uow, person_id)
        shown = _split_preview(hub, uow, person, asked)
        _hold_to_preview(shown, token)
        new = uow.people.add_person(display_name=asked.display_name, at=now)
        change = change_of(ChangeKind.SPLIT, person.id, new.id, reason, asker, now)
        held = [
            link for link in uow.people.links_of_person(person.id) if thing_of(link) in asked.things
        ]
        carry(hub, uow, change, held, shown.moves, to=new.id)
        made = [
            row.id
            for row, fresh in (
                uow.ledger.add_cannot_link(
                    thing, person.id, reason=reason, source=change.id, by=asker.principal, at=now
                )
                for thing in sorted(asked.things)
            )
            if fresh
        ]
        change.moved = {**change.moved, "cannot_links": made}
        finish(hub, uow, change, shown.moves, asker)
        for thing in sorted(asked.things):
            uow.ledger.add_label(
                thing,
                person.id,
                Verdict.DIFFERENT,
                source="split",
                subject=change.id,
                by=asker.principal,
                at=now,
            )
    return change


@giving_way
def undo(hub: Hub, change_id: str, *, reason: str, asker: Asker) -> Undone:
    """Undo a merge or a split: what it moved goes back, with the evidence it had.

    What somebody unlinked since stays unlinked and is named. Raises NotFoundError; ConflictError
    where it was undone before, where a later change builds upon it (named: undo that one first),
    or where somebody said since that what would come together is not one customer.
    """
    with hub.database.begin() as uow:
        return _undo_in(hub, uow, change_id, reason=reason, asker=asker)


@giving_way
def preview_undo(hub: Hub, change_id: str, *, asker: Asker) -> Undone:
    """What undoing would give back, found by undoing and rolling that back; raises as `undo`."""
    with hub.database.trial() as uow:
        return _undo_in(hub, uow, change_id, reason="", asker=asker)


def _undo_in(hub: Hub, uow: UnitOfWork, change_id: str, *, reason: str, asker: Asker) -> Undone:
    now = hub.clock()
    known = uow.ledger.change(change_id)
    if known is None:
        raise NotFoundError(f"there is no merge or split {change_id}")
    _hold(uow, known.person_id, known.other_id)
    change = uow.ledger.change(change_id, lock=True)
    assert change is not None
    if change.kind == ChangeKind.UNDO:
        raise ConflictError("an undoing is not undone: merge or split again")
    if change.kind not in (ChangeKind.MERGE, ChangeKind.SPLIT):
        raise ConflictError(f"{change_id} is no merge and no split: there is nothing to undo")
    if change.undone_by is not None:
        raise ConflictError(f"it was undone already by {change.undone_by}", change=change.undone_by)
    merged = change.kind == ChangeKind.MERGE
    here, back = (
        (change.person_id, change.other_id) if merged else (change.other_id, change.person_id)
    )
    going, ended = _still_there(uow, change, here)
    _not_built_upon(uow, change)
    things = {thing_of(link) for link in going}
    own = set(change.moved.get("cannot_links", ()))
    cannot.refuse(
        [row for row in uow.ledger.bars(back, things) if row.id not in own],
        "it can't go back",
    )
    undoing = change_of(ChangeKind.UNDO, change.person_id, change.other_id, reason, asker, now)
    undoing.undoes = change.id
    moves = _moves_back(hub, uow, change, going, here)
    carry(hub, uow, undoing, going, moves, to=back)
    for row in uow.ledger.cannot_links_of(things):
        if row.id in own:
            cannot.end(hub, uow, row, reason=reason, asker=asker)
    if merged:
        gone = uow.session.get(PersonRow, change.other_id)
        assert gone is not None
        gone.redirect_to = None
    else:
        _close_if_empty(hub, uow, undoing, change)
        for thing in sorted(things):
            # The splitting said that they differ, of each.
            uow.ledger.add_label(
                thing,
                change.person_id,
                Verdict.UNSURE,
                source="undo",
                subject=undoing.id,
                by=asker.principal,
                at=now,
            )
    change.undone_by, change.undone_at = undoing.id, now
    finish(hub, uow, undoing, moves, asker)
    uow.ledger.add_label(
        change.other_id,
        change.person_id,
        Verdict.DIFFERENT if merged else Verdict.SAME,
        source="undo",
        subject=undoing.id,
        by=asker.principal,
        at=now,
    )
    return Undone(undoing, ended)


# --- the parts of all three ---------------------------------------------------------------------


def _one(uow: UnitOfWork, person_id: str) -> PersonRow:
    person = uow.people.person(person_id)
    if person is None:
        raise NotFoundError(f"there is no person {person_id}")
    return person


def _two(uow: UnitOfWork, person_id: str, other_id: str) -> tuple[PersonRow, PersonRow]:
    stays, goes = _one(uow, person_id), _one(uow, other_id)
    if stays.id == goes.id:
        raise ConflictError(f"{person_id} and {other_id} are one person: {stays.id}")
    return stays, goes


def _hold(uow: UnitOfWork, *person_ids: str) -> None:
    """Hold persons, their accounts and links, and the complaints that will move."""
    turns.take(uow)
    found = {uow.ledger.now(person_id) for person_id in person_ids} | set(person_ids)
    known = sorted(person_id for person_id in found if uow.session.get(PersonRow, person_id))
    held = [link for person_id in known for link in uow.people.links_of_person(person_id)]
    complaints = [row for person_id in known for row in uow.ledger.complaints_of(person_id)]
    authors = {link.identity_id for link in held} | {row.identity_id for row in complaints}
    turns.hold(
        uow,
        identities=[one for one in authors if one is not None],
        links=[link.id for link in held],
        complaints=[row.id for row in complaints],
        persons=known,
    )


def _hold_to_preview(shown: ChangePreview, token: str | None) -> None:
    if token is not None and token != shown.token:
        raise OutdatedPreviewError(
            "something else would move than the preview showed; look at a new one", changes=[]
        )


def change_of(
    kind: ChangeKind, person_id: str, other_id: str, reason: str, asker: Asker, at: datetime
) -> PersonChangeRow:
    """A change of which nothing is said yet of what it moves."""
    return PersonChangeRow(
        id=new_id("chg"),
        kind=kind.value,
        person_id=person_id,
        other_id=other_id,
        moved={},
        reason=reason,
        made_by=asker.principal,
        made_at=at,
    )


def carry(
    hub: Hub,
    uow: UnitOfWork,
    change: PersonChangeRow,
    held: Sequence[LinkRow],
    moves: Moves,
    *,
    to: str,
) -> None:
    """End links here and say them again there; show complaints and actions there. Who changes
    persons holds the complaints."""
    now = hub.clock()
    for link in held:
        link.valid_to = now
        link.version += 1
    uow.session.flush()
    for link in held:
        uow.people.add_link(links.carried(link, to, at=now, change_id=change.id))
    again = []
    for complaint_id in moves.complaints:
        row = uow.complaints.get(complaint_id)
        assert row is not None
        row.person_id, row.updated_at = to, now
        row.version += 1
        if row.state == "open":
            again.append(row.id)
    source = change.person_id if to == change.other_id else change.other_id
    if moves.records:
        # Those that stay where they are have other records, and so other orders, beside them.
        again += uow.complaints.open_of([source, to])
    uow.ledger.give_actions(moves.actions, was=source, to=to)
    links.look_again(hub, uow, set(again))
    change.moved = {
        "links": [link.origin or link.id for link in held],
        "identities": list(moves.identities),
        "records": list(moves.records),
        "complaints": list(moves.complaints),
        "actions": list(moves.actions),
    }


def _still_there(
    uow: UnitOfWork, change: PersonChangeRow, here: str
) -> tuple[list[LinkRow], tuple[str, ...]]:
    """The links that the change moved and that are where it put them; what was ended since."""
    roots = list(change.moved["links"])
    now = uow.ledger.lineages(roots)
    for root in roots:
        if root in now and now[root].person_id != here:
            _blocked(now[root].change_id)
    ended = [thing_of(row) for root in roots if root not in now and (row := uow.people.link(root))]
    return [now[root] for root in roots if root in now], tuple(sorted(ended))


def _not_built_upon(uow: UnitOfWork, change: PersonChangeRow) -> None:
    """Raise ConflictError where one of the two was merged further since."""
    for person_id in (change.person_id, change.other_id):
        later = uow.ledger.redirecting(person_id)
        if later is not None and later.id != change.id:
            _blocked(later.id)


def _blocked(change_id: str | None) -> None:
    raise ConflictError(f"{change_id} builds upon it; undo that one first", blocked_by=change_id)


def _moves_back(
    hub: Hub, uow: UnitOfWork, change: PersonChangeRow, going: Sequence[LinkRow], here: str
) -> Moves:
    """What goes back: what the change moved, and what came to it since."""
    identities = {link.identity_id for link in going if link.identity_id is not None}
    taken: Collection[str] = set(change.moved["complaints"])
    complaints = [
        row
        for row in uow.ledger.complaints_of(here)
        if row.id in taken or row.identity_id in identities
    ]
    ids = {row.id for row in complaints}
    with_it = set(change.moved["actions"])
    actions = [
        row.id
        for row in uow.ledger.actions_of(here)
        if row.id in with_it or row.complaint_id in ids
    ]
    return _moves(hub, uow, going, complaints, actions)


def _close_if_empty(
    hub: Hub, uow: UnitOfWork, undoing: PersonChangeRow, change: PersonChangeRow
) -> None:
    """A person that a split made and that holds nothing any more leads back to whom they left."""
    uow.session.flush()
    left = change.other_id
    if uow.people.links_of_person(left) or uow.ledger.complaints_of(left):
        return
    # What was said of the id is said of them from now on.
    cannot.refuse(uow.ledger.between(change.person_id, left), "it can't go back")
    row = uow.session.get(PersonRow, left)
    assert row is not None
    row.redirect_to = change.person_id
    undoing.redirected = left


def finish(hub: Hub, uow: UnitOfWork, change: PersonChangeRow, moves: Moves, asker: Asker) -> None:
    """Keep the change, and tell of it: two became one, or one became two."""
    uow.ledger.add_change(change)
    joined = change.kind == ChangeKind.MERGE
    if change.undoes is not None:
        undone = uow.ledger.change(change.undoes)
        joined = undone is not None and undone.kind == ChangeKind.SPLIT
    deliver.tell(
        hub,
        uow,
        "person.merged" if joined else "person.split",
        subject=change.person_id,
        data={
            "change_id": change.id,
            "person_id": change.person_id,
            "other_id": change.other_id,
            "undoes": change.undoes,
            "identities": list(moves.identities),
            "records": list(moves.records),
            "complaints": list(moves.complaints),
        },
        at=change.made_at,
    )
    uow.audit.write(
        at=change.made_at,
        actor=asker.principal,
        action=f"person.{change.kind}",
        subject=change.id,
        request_id=asker.request_id,
        person=change.person_id,
        other=change.other_id,
        undoes=change.undoes,
        moved=change.moved,
    )
