"""Zendesk: event webhooks, and trigger webhooks with the body that we ask admins to paste.

Event payloads: developer.zendesk.com/api-reference/webhooks/event-types/ticket-events and
…/messaging-events. Signature: developer.zendesk.com/documentation/webhooks/verifying.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from middleware.domain.arrivals import Arrival, ArrivalEvent, Author
from middleware.inlets.delivery import (
    Answer,
    Delivery,
    Ignored,
    Reading,
    Unreadable,
    Verdict,
)
from middleware.inlets.reading import (
    Part,
    delivery_id,
    header,
    language,
    limited,
    not_an_object,
    plain,
    read,
    structured,
    texts,
    tidy,
    titled,
)
from middleware.inlets.signing import Keys, Scheme, base64_of

SCHEME = Scheme(
    header="X-Zendesk-Webhook-Signature",
    encode=base64_of,
    timestamp_header="X-Zendesk-Webhook-Signature-Timestamp",
)

TRIGGER_TEMPLATE = """{
  "ticket": {
    "id": "{{ticket.id}}",
    "subject": "{{ticket.title}}",
    "description": "{{ticket.description}}",
    "status": "{{ticket.status}}",
    "url": "{{ticket.link}}",
    "via": "{{ticket.via}}",
    "created_at": "{{ticket.created_at_with_timestamp}}",
    "updated_at": "{{ticket.updated_at_with_timestamp}}",
    "comment": {"text": "{{ticket.latest_public_comment}}"},
    "requester": {
      "id": "{{ticket.requester.id}}",
      "name": "{{ticket.requester.name}}",
      "email": "{{ticket.requester.email}}",
      "phone": "{{ticket.requester.phone}}",
      "external_id": "{{ticket.requester.external_id}}",
      "language": "{{ticket.requester.language}}"
    },
    "actor": {"id": "{{current_user.id}}", "name": "{{current_user.name}}"},
    "custom_fields": {"order_number": ""}
  }
}"""
"""What to paste as JSON body of a trigger's webhook; custom fields are named by the admin."""

_PREFIX = "zen:event-type:"
_PUBLIC_CHANNELS = frozenset(("twitter", "facebook", "any_channel", "instagram"))


class ZendeskInlet:
    """Tickets and their comments; the conversation is the ticket's id."""

    source = "zendesk"

    def verify(self, delivery: Delivery, secrets: Sequence[str]) -> Verdict:
        return SCHEME.verify(delivery, Keys.sort(secrets), vendor="Zendesk")

    def handshake(self, delivery: Delivery, secrets: Sequence[str]) -> Answer | None:
        return None

    def message_id(self, delivery: Delivery, payload: Any) -> str:
        root = Part(payload)
        if event := root.at("id").id():
            return delivery_id("event", event, delivery=delivery)
        invocation = header(delivery.headers, "X-Zendesk-Webhook-Invocation-Id")
        return delivery_id("invocation" if invocation else None, invocation, delivery=delivery)

    def arrivals(self, payload: Any) -> tuple[Reading, ...]:
        root = Part(payload)
        if not root.is_object:
            return not_an_object(payload)
        return limited(self._readings(root))

    def _readings(self, root: Part) -> Iterator[Reading]:
        kind = root.at("type").text()
        if kind is not None and kind.startswith(_PREFIX):
            yield read("", lambda: self._event(root, kind.removeprefix(_PREFIX)))
        elif root.at("ticket").is_object:
            yield read("/ticket", lambda: self._trigger(root.at("ticket")))
        else:
            yield Unreadable(
                "/type", "neither a Zendesk event nor the body of our trigger template"
            )

    def _event(self, root: Part, kind: str) -> Reading:
        if not kind.startswith(("ticket.", "messaging_ticket.")):
            return Ignored("/type", f"{kind} is not about a ticket")
        ticket = root.at("detail").need_object()
        number = ticket.at("id").need_id()
        event = root.at("event")
        moment = root.at("time").moment()
        if kind == "messaging_ticket.message_added":
            return self._chat(root, number)
        if kind == "ticket.comment_added":
            return self._comment(root, number)
        if kind == "ticket.comment_redacted":
            return self._redacted(root, number)
        requester = self._requester(ticket)
        if kind in ("ticket.created", "ticket.subject_changed", "ticket.description_changed"):
            created = kind == "ticket.created"
            return Arrival(
                source_id=f"ticket:{number}",
                event=ArrivalEvent.CREATED if created else ArrivalEvent.EDITED,
                conversation=number,
                author=requester,
                text=titled(ticket.at("subject").text(), self._body(ticket.at("description"))),
                posted_at=ticket.at("created_at").moment(),
                changed_at=moment,
                brand_account=ticket.at("brand_id").id(),
                direct=self._direct(ticket),
                order_numbers=structured(ticket.at("custom_fields"))[0],
                status=ticket.at("status").text(),
            )
        if kind in ("ticket.soft_deleted", "ticket.permanently_deleted"):
            return Arrival(
                source_id=f"ticket:{number}",
                event=ArrivalEvent.DELETED,
                conversation=number,
                author=requester,
                changed_at=moment,
                direct=self._direct(ticket),
            )
        if kind in ("ticket.status_changed", "ticket.marked_as_spam", "ticket.merged"):
            status = event.at("current").text() or ticket.at("status").text()
            return Arrival(
                source_id=f"event:{root.at('id').need_id()}",
                event=ArrivalEvent.STATUS,
                conversation=number,
                author=requester,
                changed_at=moment,
                direct=self._direct(ticket),
                status=status if kind == "ticket.status_changed" else kind.partition(".")[2],
            )
        return Ignored("/type", f"{kind} changes nothing that was said")

    def _comment(self, root: Part, number: str) -> Reading:
        ticket, comment = root.at("detail"), root.at("event", "comment").need_object()
        author = comment.at("author")
        staff = author.at("is_staff").flag()
        public = comment.at("is_public").value is not False
        return Arrival(
            source_id=f"comment:{comment.at('id').need_id()}",
            conversation=number,
            author=self._person(author.at("id").need_id(), author.at("name").text()),
            text=self._body(comment.at("body")) or "",
            posted_at=root.at("time").moment(),
            changed_at=root.at("time").moment(),
            brand_account=ticket.at("brand_id").id(),
            direct=self._direct(ticket) or not public,
            order_numbers=structured(ticket.at("custom_fields"))[0],
            outgoing=staff or not public,  # only staff can write private comments
            internal=not public,
            status=ticket.at("status").text(),
        )

    def _redacted(self, root: Part, number: str) -> Reading:
        comment = root.at("event", "comment")
        text = self._body(comment.at("body"))
        return Arrival(
            source_id=f"comment:{comment.at('id').need_id()}",
            event=ArrivalEvent.EDITED if text else ArrivalEvent.DELETED,
            conversation=number,
            author=self._requester(root.at("detail")),
            text=text or "",
            changed_at=root.at("time").moment(),
            direct=self._direct(root.at("detail")),
        )

    def _chat(self, root: Part, number: str) -> Reading:
        actor, message = root.at("event", "actor"), root.at("event", "message").need_object()
        return Arrival(
            source_id=f"message:{message.at('id').need_id()}",
            conversation=number,
            author=self._person(actor.at("id").need_id(), actor.at("name").text()),
            text=self._body(message.at("body")) or "",
            posted_at=root.at("time").moment(),
            changed_at=root.at("time").moment(),
            direct=True,
            outgoing=actor.at("type").text() != "end_user",
            # Answer bots are of the type system; the others are agent and end_user.
            automatic=actor.at("type").text() in ("system", "trigger"),
        )

    def _trigger(self, ticket: Part) -> Reading:
        number = ticket.at("id").need_id()
        requester, actor = ticket.at("requester"), ticket.at("actor")
        orders, ids = structured(ticket.at("custom_fields"))
        description = self._body(ticket.at("description"))
        comment = self._body(ticket.at("comment", "text")) or self._body(
            ticket.at("latest_comment")
        )
        actor_id, requester_id = actor.at("id").id(), requester.at("id").id()
        staff = actor_id is not None and requester_id is not None and actor_id != requester_id
        first = comment is None or description is None or _same_words(description, comment)
        if first:
            source_id, text = f"ticket:{number}", titled(ticket.at("subject").text(), description)
            text = text or comment or ""
        else:
            # Triggers know no id of the comment; the same words in the same ticket are one message.
            text = comment or ""
            source_id = f"ticket:{number}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        given = requester.at("external_id").id()
        return Arrival(
            source_id=source_id,
            conversation=number,
            author=Author(
                network=self.source if requester_id else "email",
                native_id=requester_id or _lower(requester.at("email").text()),
                display_name=requester.at("name").text(),
                emails=texts(requester.at("email")),
                phones=texts(requester.at("phone")),
                external_ids={**ids, **({"zendesk_external_id": given} if given else {})},
            ),
            text=text,
            language=language(requester.at("language")),
            posted_at=(ticket.at("created_at") if first else ticket.at("updated_at")).moment(),
            changed_at=ticket.at("updated_at").moment(),
            url=_with_scheme(ticket.at("url")).link(),
            direct=(ticket.at("via").text() or "").lower() not in _PUBLIC_CHANNELS,
            order_numbers=orders,
            outgoing=staff and not first,
            written_by=tuple(w for w in (actor_id, actor.at("name").text()) if w),
            status=ticket.at("status").text(),
        )

    def _requester(self, ticket: Part) -> Author:
        return self._person(ticket.at("requester_id").id(), None)

    def _person(self, native_id: str | None, name: str | None) -> Author:
        return Author(network=self.source, native_id=native_id, display_name=name)

    def _direct(self, ticket: Part) -> bool:
        return (ticket.at("via", "channel").text() or "").lower() not in _PUBLIC_CHANNELS

    def _body(self, part: Part) -> str | None:
        text = part.text()
        if text is None:
            return None
        return (plain(text) if "</" in text or "<br" in text else tidy(text)) or None


def _same_words(description: str, comment: str) -> bool:
    """Zendesk renders comments with a header line of dashes, date and author above the words."""
    return description.split() == comment.split() or comment.endswith(description)


def _lower(text: str | None) -> str | None:
    return text.lower() if text else None


def _with_scheme(part: Part) -> Part:
    """`{{ticket.link}}` gives the address without its scheme."""
    text = part.text()
    return part if text is None or "://" in text else Part(f"https://{text}", part.place)
