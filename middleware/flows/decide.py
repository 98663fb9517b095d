"""What people say of an incident: that it is one, is none, is over; what is part of it."""

from __future__ import annotations

from datetime import datetime

from middleware.contract.actions import Operation
from middleware.domain.bursts import bucket_of
from middleware.domain.incidents import ENDED, IncidentState
from middleware.domain.problems import ConflictError, NotFoundError, StaleVersionError
from middleware.flows import holding
from middleware.flows.hub import Asker, Hub
from middleware.store.database import UnitOfWork
from middleware.store.incidents import Signal
from middleware.store.tables import IncidentMemberRow, IncidentRow


def confirm(
    hub: Hub,
    incident_id: str,
    *,
    reason: str | None,
    version: int | None,
    asker: Asker,
    operation: Operation | None = None,
) -> IncidentRow:
    """Say that it is one, and with an operation which remedy its customers are to get.

    Raises NotFoundError, StaleVersionError, and ConflictError where it has ended.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        row = _living(uow, incident_id, version)
        if operation is not None:
            row.proposed = {
                "reason": "other",
                "of": 0,
                **(row.proposed or {}),
                "operation": operation.value,
                "why": f"chosen by {asker.principal}",
            }
        _decided(uow, row, IncidentState.CONFIRMED, reason, asker, now)
        holding.tell(hub, uow, "incident.confirmed", row, now)
        holding.owe_listing(hub, uow, row)
    return row


def dismiss(
    hub: Hub, incident_id: str, *, reason: str, version: int | None, asker: Asker
) -> IncidentRow:
    """Say that it is none. Its keys open no other incident until their burst is over.

    Raises NotFoundError, StaleVersionError, and ConflictError where it has ended.
    """
    return _end(hub, incident_id, IncidentState.DISMISSED, reason, version, asker)


def close(
    hub: Hub, incident_id: str, *, reason: str, version: int | None, asker: Asker
) -> IncidentRow:
    """Say that it is dealt with. Its keys open no other incident until their burst is over.

    Raises NotFoundError, StaleVersionError, and ConflictError where it has ended.
    """
    return _end(hub, incident_id, IncidentState.CLOSED, reason, version, asker)


def _end(
    hub: Hub,
    incident_id: str,
    state: IncidentState,
    reason: str,
    version: int | None,
    asker: Asker,
) -> IncidentRow:
    now = hub.clock()
    with hub.database.begin() as uow:
        row = _living(uow, incident_id, version)
        _decided(uow, row, state, reason, asker, now)
        holding.tell(hub, uow, "incident.closed", row, now)
    return row


def _decided(
    uow: UnitOfWork,
    row: IncidentRow,
    state: IncidentState,
    reason: str | None,
    asker: Asker,
    now: datetime,
) -> None:
    row.state, row.reason = state.value, reason
    row.decided_by, row.decided_at, row.updated_at = asker.principal, now, now
    row.version += 1
    _audit(uow, row, state.value, asker, now, reason=reason)


def put_in(
    hub: Hub, incident_id: str, complaint_id: str, *, reason: str, asker: Asker
) -> IncidentRow:
    """Make a complaint part of an incident by hand.

    Raises NotFoundError, and ConflictError where the incident has ended.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        row = _living(uow, incident_id, None)
        complaint = uow.complaints.get(complaint_id)
        if complaint is None:
            raise NotFoundError(f"No complaint has the id {complaint_id}.")
        member = uow.incidents.member(incident_id, complaint_id)
        if member is None:
            uow.incidents.add_member(_member(uow, row, complaint_id, asker))
        elif not member.out:
            return row
        else:
            member.out, member.put_by = False, asker.principal
        uow.session.flush()
        uow.incidents.stand_on([complaint_id], incident_id, at=now)
        if complaint.order_ref is not None:
            uow.incidents.add_affected([holding.affected_row(incident_id, complaint)])
        _remeasured(uow, row, now)
        _audit(uow, row, "put_in", asker, now, complaint=complaint_id, reason=reason)
    return row


def put_out(
    hub: Hub, incident_id: str, complaint_id: str, *, reason: str, asker: Asker
) -> IncidentRow:
    """Take a complaint out of an incident; no key puts it in again.

    Raises NotFoundError, also for a complaint that is not in it, and ConflictError where the
    incident has ended.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        row = _living(uow, incident_id, None)
        member = uow.incidents.member(incident_id, complaint_id)
        if member is None or member.out:
            raise NotFoundError(f"The complaint {complaint_id} is not in the incident.")
        member.out, member.put_by = True, asker.principal
        complaint = uow.complaints.get(complaint_id, lock=True)
        assert complaint is not None, "a member is a complaint"
        if complaint.incident_id == incident_id:
            uow.session.flush()
            others = [r.id for r in uow.incidents.of_complaint(complaint_id)]
            complaint.incident_id = min(others, default=None)
            complaint.updated_at = now
            complaint.version += 1
        uow.incidents.withdraw_affected(incident_id, complaint_id)
        _remeasured(uow, row, now)
        _audit(uow, row, "put_out", asker, now, complaint=complaint_id, reason=reason)
    return row


def _member(
    uow: UnitOfWork, row: IncidentRow, complaint_id: str, asker: Asker
) -> IncidentMemberRow:
    signal: Signal | None = uow.incidents.a_signal(complaint_id)
    complaint = uow.complaints.get(complaint_id)
    assert complaint is not None
    return IncidentMemberRow(
        incident_id=row.id,
        complaint_id=complaint_id,
        bucket=signal.bucket if signal else bucket_of(complaint.opened_at),
        who=signal.who if signal else complaint.person_id or complaint.identity_id or complaint_id,
        reach=signal.reach if signal else 0,
        put_by=asker.principal,
    )


def _remeasured(uow: UnitOfWork, row: IncidentRow, now: datetime) -> None:
    uow.session.flush()
    holding.measure(uow, row, now)
    row.updated_at = now
    row.version += 1


def _living(uow: UnitOfWork, incident_id: str, version: int | None) -> IncidentRow:
    row = known(uow, incident_id, version)
    if row.state in ENDED:
        raise ConflictError(f"the incident is {row.state} already", state=row.state)
    return row


def known(uow: UnitOfWork, incident_id: str, version: int | None) -> IncidentRow:
    """An incident, locked, if it is as it was read.

    Raises NotFoundError and StaleVersionError.
    """
    row = uow.incidents.get(incident_id, lock=True)
    if row is None:
        raise NotFoundError(f"No incident has the id {incident_id}.")
    if version is not None and row.version != version:
        raise StaleVersionError(
            f"The incident is at version {row.version}; you read version {version}.",
            headers={"ETag": f'"{row.version}"'},
        )
    return row


def _audit(
    uow: UnitOfWork,
    row: IncidentRow,
    what: str,
    asker: Asker,
    now: datetime,
    *,
    reason: str | None,
    complaint: str | None = None,
) -> None:
    uow.audit.write(
        at=now,
        actor=asker.principal,
        action=f"incident.{what}",
        subject=row.id,
        request_id=asker.request_id,
        complaint=complaint,
        reason=reason,
        version=row.version,
    )
