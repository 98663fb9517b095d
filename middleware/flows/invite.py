"""Invitations followed: a signed link leads its holder to what they may see, once.

The link is the proof, so it is good for one use: the row is used up in the transaction that reads
what is shown, and of two who follow it at a time one is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from middleware.contract.actions import Operation
from middleware.domain.problems import GoneError, NotFoundError
from middleware.flows import deliver, handoff
from middleware.flows.draft import TOLD
from middleware.flows.handoff import Packet
from middleware.flows.hub import Hub
from middleware.flows.seal import BrokenSealError
from middleware.store.tables import ArrivalRow, ComplaintRow, InvitationRow

BY = "customer"
"""Who follows a link, in the audit trail: whoever has it."""


@dataclass(frozen=True)
class Followed:
    """What the customer may see: what was written in the conversation, without the notes among
    colleagues, and what is done about it."""

    invitation: InvitationRow
    complaint: ComplaintRow
    messages: Sequence[ArrivalRow]
    promises: Sequence[Packet]
    """Of the remedies that are done: operation, numbers, days."""


def look(hub: Hub, token: str) -> InvitationRow:
    """The invitation of a link that can still be followed; nothing is used up.

    Raises NotFoundError, and GoneError for one that was used, was taken back or has run out.
    """
    with hub.database.read() as uow:
        found = uow.actions.invitation(_id_of(hub, token))
    return _good(found, hub.clock())


def follow(hub: Hub, token: str, *, request_id: str | None = None) -> Followed:
    """Use a link up and answer what its holder may see. Raises as `look` does."""
    invitation_id = _id_of(hub, token)
    now = hub.clock()
    with hub.database.begin() as uow:
        if not uow.actions.use_invitation(invitation_id, at=now):
            _good(uow.actions.invitation(invitation_id), now)
            raise GoneError("The invitation was used already.")
        found = uow.actions.invitation(invitation_id)
        assert found is not None
        assert found.complaint_id is not None, "an invitation belongs to a complaint"
        complaint = uow.complaints.get(found.complaint_id)
        assert complaint is not None
        messages = [
            arrival
            for arrival in uow.complaints.arrivals_of(complaint.id)
            if arrival.deleted_at is None and not arrival.internal
        ]
        promises = [
            promise
            for promise in handoff.promises_of(uow, complaint.id)
            if promise["operation"] in TOLD - {Operation.INVITATION}
        ]
        uow.audit.write(
            at=now,
            actor=BY,
            action="invitation.follow",
            subject=found.id,
            request_id=request_id,
            complaint=complaint.id,
        )
        deliver.tell(
            hub,
            uow,
            "invitation.followed",
            subject=found.id,
            data={"id": found.id, "action_id": found.action_id, "complaint_id": complaint.id},
            at=now,
        )
    return Followed(found, complaint, messages[-handoff.MESSAGES :], promises)


def _id_of(hub: Hub, token: str) -> str:
    try:
        return str(hub.seal.read("invitation", token))
    except BrokenSealError:
        raise NotFoundError("No invitation has this link.") from None


def _good(found: InvitationRow | None, now: datetime) -> InvitationRow:
    if found is None:
        raise NotFoundError("No invitation has this link.")
    if found.used_at is not None:
        raise GoneError("The invitation was used already; ask for a new one.")
    if found.revoked_at is not None:
        raise GoneError("The invitation was taken back.")
    if found.expires_at <= now:
        raise GoneError("The invitation has run out; ask for a new one.")
    return found
