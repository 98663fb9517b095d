"""Hand-offs: a complaint as somebody else gets to see it, frozen, readable by id until it expires.

What is frozen is what was known when it was handed over; whoever opens it also sees what has
changed since. Every opening is written down.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from middleware.contract.actions import Operation
from middleware.domain.actions import ActionState
from middleware.domain.channels import channel_of
from middleware.domain.ids import new_id
from middleware.domain.problems import GoneError, NotFoundError
from middleware.flows import context, deliver
from middleware.flows.draft import written_in_public
from middleware.flows.hub import Asker, Hub
from middleware.store import queries
from middleware.store.database import UnitOfWork
from middleware.store.queries import Picture
from middleware.store.tables import ArrivalRow, ComplaintRow, HandoffRow

MESSAGES = 50
"""The latest messages of a thread that are handed over."""
ORDERS = 20

Packet = dict[str, Any]


@dataclass(frozen=True)
class Opened:
    """A hand-off as it was, and what is different now: block by block, as it is now."""

    row: HandoffRow
    changed: Packet


def hand_off(
    hub: Hub,
    complaint_id: str,
    *,
    to: str,
    reason: str,
    valid_for: timedelta,
    asker: Asker,
) -> HandoffRow:
    """Freeze what is known of a complaint for somebody else. Raises NotFoundError."""
    packet = packet_of(hub, complaint_id)
    now = hub.clock()
    row = HandoffRow(
        id=new_id("hnd"),
        complaint_id=complaint_id,
        to=to,
        reason=reason,
        packet=packet,
        made_by=asker.principal,
        made_at=now,
        expires_at=now + valid_for,
    )
    with hub.database.begin() as uow:
        uow.session.add(row)
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action="handoff.make",
            subject=row.id,
            request_id=asker.request_id,
            complaint=complaint_id,
        )
        deliver.tell(
            hub,
            uow,
            "handoff.made",
            subject=row.id,
            data={
                "id": row.id,
                "complaint_id": complaint_id,
                "to": to,
                "made_by": row.made_by,
                "made_at": now.isoformat(),
                "expires_at": row.expires_at.isoformat(),
            },
            at=now,
        )
    return row


def open_(hub: Hub, handoff_id: str, asker: Asker) -> Opened:
    """Read a hand-off and what has changed since; the reading is written down.

    Raises NotFoundError, and GoneError for one that has expired.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        row = uow.incidents.handoff(handoff_id)
        if row is None:
            raise NotFoundError(f"No hand-off has the id {handoff_id}.")
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action="handoff.open" if row.expires_at > now else "handoff.refuse",
            subject=row.id,
            request_id=asker.request_id,
            complaint=row.complaint_id,
        )
    if row.expires_at <= now:
        raise GoneError("The hand-off has expired; make a new one from the complaint.")
    fresh = packet_of(hub, row.complaint_id)
    changed = {name: block for name, block in fresh.items() if block != row.packet.get(name)}
    return Opened(row, changed)


def packet_of(hub: Hub, complaint_id: str) -> Packet:
    """Thread, who and why, orders, promises, open actions, windows and claims, as JSON.

    What was said, done and claimed is that of the whole issue; the windows are those of the
    complaint's own conversation.
    """
    found = context.of_complaint(hub, complaint_id)
    complaint = found.complaint
    assert complaint is not None, "the context of a complaint has it"
    with hub.database.read() as uow:
        issue = [row.id for row in uow.complaints.issue_of(complaint)]
        arrivals = {one: uow.complaints.arrivals_of(one) for one in issue}
        actions = [action for one in issue for action in _actions(uow, one)]
        claimed = [*issue, *([complaint.order_ref] if complaint.order_ref else [])]
        claims = queries.claims(uow, claimed, now=found.read_at)
    thread = sorted(
        (arrival for one in issue for arrival in arrivals[one]),
        key=lambda a: (a.posted_at or a.received_at, a.id),
    )
    packet = {
        "complaint": _complaint(complaint),
        "thread": [_message(arrival) for arrival in thread[-MESSAGES:]],
        "identity": _identity(complaint, found.picture),
        "orders": _orders(complaint, found.picture),
        "promises": [_promise(action) for action in actions if _promise(action)],
        "actions": actions,
        "windows": _windows(complaint, arrivals[complaint.id]),
        "claims": [
            {
                "subject": claim.subject,
                "holder": claim.holder,
                "note": claim.note,
                "expires_at": claim.expires_at,
            }
            for claim in claims
        ],
    }
    # As it comes back from the database, so that what is unchanged is equal.
    plain: Packet = json.loads(json.dumps(packet, default=_text))
    return plain


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _complaint(row: ComplaintRow) -> Packet:
    understood = row.understanding or {}
    words = ("intent", "reason", "severity", "sentiment", "remedy", "language")
    return {
        "id": row.id,
        "connection": row.connection,
        "conversation": row.conversation,
        "network": row.network,
        "brand_account": row.brand_account,
        "state": row.state,
        "incident_id": row.incident_id,
        "understanding": {word: (understood.get(word) or {}).get("value") for word in words},
        "opened_at": row.opened_at,
    }


def _message(row: ArrivalRow) -> Packet:
    author = row.author or {}
    return {
        "source_id": row.source_id,
        "connection": row.connection,
        "outgoing": row.outgoing,
        "internal": row.internal,
        "automatic": row.automatic,
        "handle": author.get("handle"),
        "display_name": author.get("display_name"),
        "text": row.text,
        "url": row.url,
        "at": row.posted_at or row.received_at,
        "deleted": row.deleted_at is not None,
    }


def _identity(complaint: ComplaintRow, seen: Picture | None) -> Packet:
    decision = (complaint.resolution or {}).get("decision") or {}
    candidate = decision.get("candidate") or {}
    return {
        "person_id": complaint.person_id,
        "display_name": seen.person.display_name if seen is not None else None,
        "outcome": decision.get("outcome"),
        "why": decision.get("why"),
        "basis": candidate.get("basis"),
        "evidence": [one.get("detail") for one in candidate.get("evidence") or ()],
        "customers": [
            {
                "ref": kept.ref,
                "name": kept.body.get("display_name") or kept.body.get("name"),
                "number": kept.body.get("number"),
                "emails": kept.body.get("emails") or [],
                "phones": kept.body.get("phones") or [],
                "tier": kept.body.get("tier"),
            }
            for kept in (seen.customers if seen is not None else ())
        ],
    }


def _orders(complaint: ComplaintRow, seen: Picture | None) -> list[Packet]:
    """The person's orders, the one that is meant first."""
    if seen is None:
        return []
    ranked = sorted(seen.orders, key=lambda kept: kept.ref != complaint.order_ref)[:ORDERS]
    match = complaint.order_match or {}
    return [
        {
            "ref": kept.ref,
            "meant": kept.ref == complaint.order_ref,
            "lines_meant": match.get("chosen_lines") if kept.ref == complaint.order_ref else [],
            "number": kept.body.get("number"),
            "status": kept.body.get("status"),
            "placed_at": kept.body.get("placed_at"),
            "total": kept.body.get("total"),
            "lines": [
                {name: line.get(name) for name in ("id", "sku", "name", "quantity", "unit_price")}
                for line in kept.body.get("lines") or ()
            ],
            "shipments": [
                {
                    name: parcel.body.get(name)
                    for name in ("number", "status", "carrier", "tracking_number", "shipped_at")
                }
                for parcel in seen.shipments.get(kept.ref.replace(":order:", ":", 1), ())
            ],
        }
        for kept in ranked
    ]


def _actions(uow: UnitOfWork, complaint_id: str) -> list[Packet]:
    rows = [
        row
        for row in uow.actions.page(before=None, limit=50, complaint_id=complaint_id)
        if row.kind != Operation.NOTE
    ]
    steps = queries.steps_of_actions(uow, [row.id for row in rows])
    return [
        {
            "id": row.id,
            "operation": row.kind,
            "state": row.state,
            "open": not ActionState(row.state).ended,
            "order": row.order_ref,
            "value": row.value,
            "deliver_by": row.request["request"].get("deliver_by"),
            "slot_from": row.request["request"].get("slot_from"),
            "slot_to": row.request["request"].get("slot_to"),
            "requested_by": row.requested_by,
            "steps": [
                {
                    "connection": step.connection,
                    "operation": step.operation,
                    "state": step.state,
                    "number": (step.receipt or {}).get("number"),
                }
                for step in steps.get(row.id, [])
            ],
            "created_at": row.created_at,
        }
        for row in rows
    ]


def promises_of(uow: UnitOfWork, complaint_id: str) -> list[Packet]:
    """What the customer may count on: the remedies of a complaint that are done."""
    told = (_promise(action) for action in _actions(uow, complaint_id))
    return [promise for promise in told if promise is not None]


def _promise(action: Packet) -> Packet | None:
    """What the customer may count on: a done remedy, and by when."""
    if action["state"] != ActionState.DONE:
        return None
    numbers = [step["number"] for step in action["steps"] if step["number"]]
    return {
        "action": action["id"],
        "operation": action["operation"],
        "numbers": numbers,
        "deliver_by": action["deliver_by"],
        "slot_from": action["slot_from"],
        "slot_to": action["slot_to"],
    }


def _windows(complaint: ComplaintRow, arrivals: list[ArrivalRow]) -> list[Packet]:
    """Until when the network takes an answer, in public and in private; times, not what is left,
    so that nothing changes by itself."""
    incoming = [a for a in arrivals if not a.outgoing and a.deleted_at is None]
    if not incoming:
        return []
    last = incoming[-1]
    wrote_at = last.posted_at or last.received_at
    in_public = written_in_public(complaint, last)
    found = []
    for public in (True, False) if in_public else (False,):
        channel = channel_of(complaint.network, public=public, wrote_in_public=in_public)
        if channel is None:
            continue
        found.append(
            {
                "channel": "public" if public else "private",
                "longest": channel.longest,
                "counted": channel.counted.value,
                "since": wrote_at,
                "ways": [
                    {"way": w.way, "once": w.once, "until": wrote_at + w.lasts}
                    for w in channel.windows
                ],
            }
        )
    return found
