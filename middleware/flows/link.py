"""Links that agents make and end: who somebody is, and who they turned out not to be.

A link is ended, never overwritten. Putting together again what somebody took apart needs to be
said aloud, and ending a link answers with what was done on its strength.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from middleware.contract.canonical import Kind, Ref
from middleware.domain.identity import Basis, Evidence, EvidenceKind
from middleware.domain.ids import new_id
from middleware.domain.problems import ConflictError, InvalidError, NotFoundError
from middleware.flows import deliver
from middleware.flows.hub import Asker, Hub
from middleware.resolution import normalise
from middleware.resolution.exact import WEIGHTS
from middleware.store import queries
from middleware.store.database import UnitOfWork
from middleware.store.queries import Strength
from middleware.store.tables import LinkRow

LINKED_KINDS = (Kind.CONTACT, Kind.ACCOUNT)
"""The kinds of record that are somebody."""

SURE = 0.99
"""How sure an agent's word makes the hub: people err, and say so by revoking."""


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


def put_link(hub: Hub, asked: LinkAsked, asker: Asker) -> tuple[str, bool]:
    """Link a person to an identity or record; answers the link's id and whether it is new.

    Asking for what is there answers the one that is. Raises ConflictError when it is somebody
    else's, or when the two were taken apart before and the request does not say that it knows.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        identity_id = _identity(uow, asked, now)
        if asked.record is not None:
            _known_record(uow, asked.record)
        known = _valid(uow, identity_id, asked.record)
        person_id = _person(uow, asked.person_id)
        if known is not None:
            owner = _person(uow, known.person_id)
            if owner == person_id or (person_id is None and asked.display_name is None):
                return known.id, False
            raise ConflictError(
                f"it is linked to person {owner} by link {known.id}; revoke that one first",
                link=known.id,
                person=owner,
            )
        if person_id is None:
            person_id = uow.people.add_person(display_name=asked.display_name, at=now).id
        elif not asked.although_revoked and _revoked(uow, person_id, identity_id, asked.record):
            raise ConflictError(
                "somebody took these two apart before; look at the history, and say "
                "although_revoked if you are sure",
                person=person_id,
            )
        row = uow.people.add_link(_row(asked, person_id, identity_id, asker, now))
        if identity_id is not None:
            _attach(hub, uow, identity_id, person_id, row.id, now)
        _tell(hub, uow, "identity.linked", row, now)
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action="link.put",
            subject=row.id,
            request_id=asker.request_id,
            person=person_id,
            identity=identity_id,
            record=str(asked.record) if asked.record else None,
            basis=row.basis,
            although_revoked=asked.although_revoked,
        )
    return row.id, True


def revoke_link(
    hub: Hub, link_id: str, *, version: int | None, reason: str, asker: Asker
) -> tuple[LinkRow, Strength]:
    """End a link; answers it and what was done on its strength.

    `version` is the one that the caller read, None when that does not matter. Raises NotFoundError
    and ConflictError (somebody ended it, or changed it, before).
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        row = uow.people.link(link_id, lock=True)
        if row is None:
            raise NotFoundError(f"there is no link {link_id}")
        if row.valid_to is not None:
            raise ConflictError(f"the link ended at {row.valid_to.isoformat()} already")
        if version is not None and row.version != version:
            raise ConflictError(f"the link is at version {row.version} now")
        strength = queries.done_on_strength_of(uow, row)
        row.valid_to = now
        row.revoked_by, row.revoked_reason = asker.principal, reason
        row.version += 1
        if row.identity_id is not None:
            _detach(hub, uow, row.identity_id, row.person_id, row.id, now)
        else:
            _look_again(hub, uow, strength.complaints, row.id)
        _tell(hub, uow, "identity.unlinked", row, now)
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action="link.revoke",
            subject=row.id,
            request_id=asker.request_id,
            person=row.person_id,
            complaints=list(strength.complaints),
            actions=list(strength.actions),
            notes=list(strength.notes),
        )
    return row, strength


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
    if ref.kind not in LINKED_KINDS:
        raise InvalidError(
            f"a person is never a record of kind {ref.kind}",
            errors=[{"pointer": "/record", "code": "kind", "detail": "must be contact or account"}],
        )
    if uow.records.get(ref, lock=True) is None:
        raise NotFoundError(f"the hub holds no record {ref}")


def _person(uow: UnitOfWork, person_id: str | None) -> str | None:
    """The person's id after following merges."""
    if person_id is None:
        return None
    person = uow.people.person(person_id)
    if person is None:
        raise NotFoundError(f"there is no person {person_id}")
    return person.id


def _valid(uow: UnitOfWork, identity_id: str | None, record: Ref | None) -> LinkRow | None:
    """The link that holds now."""
    if identity_id is not None:
        return next(iter(uow.people.links_of_identity(identity_id)), None)
    assert record is not None, "a link has an identity or a record"
    return next(iter(uow.people.links_of_records((record,))), None)


def _revoked(uow: UnitOfWork, person_id: str, identity_id: str | None, record: Ref | None) -> bool:
    if identity_id is not None:
        return uow.people.revoked_between(person_id, identity_id=identity_id)
    assert record is not None, "a link has an identity or a record"
    return queries.record_revoked_from(uow, person_id, record)


def _row(
    asked: LinkAsked, person_id: str, identity_id: str | None, asker: Asker, now: datetime
) -> LinkRow:
    evidence = Evidence(
        kind=EvidenceKind.AGENT,
        detail=asked.reason,
        weight=WEIGHTS[EvidenceKind.AGENT].bits,
        basis=asked.basis,
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


def _attach(
    hub: Hub, uow: UnitOfWork, identity_id: str, person_id: str, link_id: str, now: datetime
) -> None:
    """Show the identity's complaints under the person, and look for their orders anew."""
    changed = []
    for complaint in uow.complaints.of_identity(identity_id):
        if complaint.state != "deleted" and complaint.person_id != person_id:
            complaint.person_id, complaint.updated_at = person_id, now
            complaint.version += 1
            changed.append(complaint.id)
    _look_again(hub, uow, changed, link_id)


def _detach(
    hub: Hub, uow: UnitOfWork, identity_id: str, person_id: str, link_id: str, now: datetime
) -> None:
    """Take the person and their orders off the identity's complaints."""
    changed = []
    shown_as = {person_id, _person(uow, person_id)}
    for complaint in uow.complaints.of_identity(identity_id):
        if complaint.person_id in shown_as:
            complaint.person_id = complaint.order_match = complaint.order_ref = None
            complaint.updated_at = now
            complaint.version += 1
            changed.append(complaint.id)
    _look_again(hub, uow, changed, link_id)


def _look_again(
    hub: Hub, uow: UnitOfWork, complaints: list[str] | tuple[str, ...], why: str
) -> None:
    """Owe a new look at complaints whose person, or whose person's records, changed."""
    for complaint_id in complaints:
        version = f"{why}:{hub.clock().timestamp():.0f}"
        hub.engine.enqueue(
            uow, "receive.enrich", complaint_id, name=f"receive.enrich:{complaint_id}:{version}"
        )


def _tell(hub: Hub, uow: UnitOfWork, type_: str, row: LinkRow, now: datetime) -> None:
    data = {"person_id": row.person_id, "identity_id": row.identity_id, "link_id": row.id}
    deliver.tell(hub, uow, type_, subject=row.person_id, data=data, at=now)
