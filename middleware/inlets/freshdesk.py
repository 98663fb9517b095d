"""Freshdesk: webhooks of automation rules, with "simple" content (all boxes ticked) or ours.

Fields: support.freshdesk.com article 132589 (using webhooks in automation rules). Freshdesk does
not sign; a token of ours stands in the rule (custom header `Authorization: Bearer …`, or Basic).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from middleware.domain.arrivals import Arrival, ArrivalEvent, Author
from middleware.inlets.delivery import Answer, Delivery, Reading, Unreadable, Verdict
from middleware.inlets.reading import (
    Part,
    delivery_id,
    limited,
    not_an_object,
    plain,
    read,
    structured,
    texts,
    tidy,
)
from middleware.inlets.reading import titled as with_title
from middleware.inlets.signing import Keys, digest_of, verify_token

_PUBLIC_SOURCES = frozenset(("twitter", "facebook", "mobihelp forum", "forum"))


class FreshdeskInlet:
    """Tickets and the latest public comment; the conversation is the ticket's id."""

    source = "freshdesk"

    def verify(self, delivery: Delivery, secrets: Sequence[str]) -> Verdict:
        keys = Keys.sort(secrets)
        return verify_token(delivery, (*keys.tokens, *keys.signing), vendor="Freshdesk")

    def handshake(self, delivery: Delivery, secrets: Sequence[str]) -> Answer | None:
        return None

    def message_id(self, delivery: Delivery, payload: Any) -> str:
        ticket = Part(payload).at("freshdesk_webhook")
        return delivery_id(
            "ticket",
            ticket.at("ticket_id").id(),
            ticket.at("ticket_updated_at").id() or "",
            digest_of(delivery.body),
            delivery=delivery,
        )

    def arrivals(self, payload: Any) -> tuple[Reading, ...]:
        root = Part(payload)
        if not root.is_object:
            return not_an_object(payload)
        return limited(self._readings(root))

    def _readings(self, root: Part) -> Iterator[Reading]:
        ticket = root.at("freshdesk_webhook")
        if ticket.is_object:
            yield read(ticket.place, lambda: self._ticket(ticket))
        else:
            yield Unreadable("/freshdesk_webhook", "the content of a Freshdesk webhook is needed")

    def _ticket(self, ticket: Part) -> Reading:
        number = ticket.at("ticket_id").need_id()
        trigger = (ticket.at("triggered_event").text() or "").lower()
        raw_comment = ticket.at("ticket_latest_public_comment").text()
        created = "ticket_action:created" in trigger or (not trigger and raw_comment is None)
        speaker, comment = _spoken(raw_comment)
        description = self._body(ticket.at("ticket_description"))
        requester = ticket.at("ticket_requester_name").text() or ticket.at("requester_name").text()
        agent = ticket.at("ticket_agent_name").text()
        source_id = f"ticket:{number}"
        text = with_title(ticket.at("ticket_subject").text(), description)
        event, outgoing = ArrivalEvent.CREATED, False
        if not created and comment:
            text = comment
            source_id += ":" + hashlib.sha256(comment.encode()).hexdigest()[:16]
            # Replies of both sides fire the same event; the name before the words tells them apart.
            replied = "reply_sent" in trigger or "note_type" in trigger
            outgoing = speaker not in (None, requester) and (speaker == agent or replied)
        if not created and (comment is None or "status:" in trigger):
            event, text, outgoing = ArrivalEvent.STATUS, "", False
            status = ticket.at("ticket_status").text() or ""
            source_id = f"ticket:{number}:status:{status}:{digest_of(trigger.encode())[:8]}"
        orders, ids = structured(ticket)
        ids.pop("ticket_id", None)
        external = ticket.at("ticket_requester_unique_external_id").id()
        external = external or ticket.at("ticket_contact_unique_external_id").id()
        if external:
            ids["freshdesk_external_id"] = external
        emails = texts(ticket.at("ticket_requester_email"), ticket.at("ticket_contact_email"))
        source = (ticket.at("ticket_source").text() or "").lower()
        return Arrival(
            source_id=source_id,
            event=event,
            conversation=number,
            author=Author(
                network="email" if emails else self.source,
                native_id=emails[0].lower() if emails else external,
                display_name=requester,
                emails=emails,
                phones=texts(
                    ticket.at("ticket_requester_phone"), ticket.at("ticket_requester_mobile")
                ),
                external_ids={k: v for k, v in ids.items() if not k.startswith("ticket_")},
            ),
            text=text,
            posted_at=ticket.at("ticket_created_at").moment() if created else None,
            changed_at=ticket.at("ticket_updated_at").moment(),
            url=ticket.at("ticket_url").link(),
            direct=source not in _PUBLIC_SOURCES,
            order_numbers=orders,
            outgoing=outgoing,
            written_by=(speaker,) if speaker else (),
            status=ticket.at("ticket_status").text(),
        )

    def _body(self, part: Part) -> str | None:
        text = part.text()
        if text is None:
            return None
        return (plain(text) if "<" in text else tidy(text)) or None


_SPOKEN = re.compile(r"^([^<>\n:]{1,80}) : (.*)$", re.DOTALL)


def _spoken(comment: str | None) -> tuple[str | None, str | None]:
    """Freshdesk renders the latest comment as `Name : <div>…</div>`."""
    if comment is None:
        return None, None
    match = _SPOKEN.match(comment)
    speaker, body = (match.group(1).strip(), match.group(2)) if match else (None, comment)
    return speaker, (plain(body) if "<" in body else tidy(body)) or None
