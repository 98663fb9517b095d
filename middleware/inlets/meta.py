"""Meta: Messenger, Instagram and WhatsApp Cloud through one app's webhook.

Payloads: developers.facebook.com/docs/messenger-platform/reference/webhook-events,
…/docs/instagram-platform/webhooks/examples, …/docs/graph-api/webhooks/reference/page, and
…/documentation/business-messaging/whatsapp/webhooks/reference. Bytes are signed as they are sent
(non-ASCII escaped), so verify before parsing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from middleware.domain.arrivals import Arrival, ArrivalEvent, Author
from middleware.inlets.delivery import Answer, Delivery, Ignored, Reading, Unreadable, Verdict
from middleware.inlets.reading import (
    Part,
    delivery_id,
    limited,
    not_an_object,
    only_created,
    read,
    tidy,
)
from middleware.inlets.signing import Keys, Scheme, digest_of, same

SCHEME = Scheme(header="X-Hub-Signature-256", prefix="sha256=")

_VERBS = {
    "add": ArrivalEvent.CREATED,
    "edit": ArrivalEvent.EDITED,
    "edited": ArrivalEvent.EDITED,
    "update": ArrivalEvent.EDITED,
    "remove": ArrivalEvent.DELETED,
    "delete": ArrivalEvent.DELETED,
}
_POSTS = frozenset(("post", "status", "photo", "video", "share"))


class MetaInlet:
    """Chats and public comments; a conversation is a chat with one person, or a comment thread."""

    source = "meta"

    def verify(self, delivery: Delivery, secrets: Sequence[str]) -> Verdict:
        return SCHEME.verify(delivery, Keys.sort(secrets), vendor="Meta")

    def handshake(self, delivery: Delivery, secrets: Sequence[str]) -> Answer | None:
        challenge = delivery.query.get("hub.challenge")
        if delivery.method != "GET" or challenge is None:
            return None
        given = delivery.query.get("hub.verify_token", "")
        words = Keys.sort(secrets).handshake
        known = [same(given, word) for word in words]  # compare with all: no early way out
        if delivery.query.get("hub.mode") != "subscribe" or not any(known):
            return Answer(403, "text/plain", b"the verify token is not the one of this connection")
        return Answer(200, "text/plain", challenge.encode("utf-8", "replace"))

    def message_id(self, delivery: Delivery, payload: Any) -> str:
        single = only_created(self.arrivals(payload))
        if single is not None:
            return delivery_id("message", single.source_id, delivery=delivery)
        return "body:" + digest_of(delivery.body)

    def arrivals(self, payload: Any) -> tuple[Reading, ...]:
        root = Part(payload)
        if not root.is_object:
            return not_an_object(payload)
        return limited(self._readings(root))

    def _readings(self, root: Part) -> Iterator[Reading]:
        network = {
            "page": "facebook",
            "instagram": "instagram",
            "whatsapp_business_account": "whatsapp",
        }.get(root.at("object").text() or "")
        if network is None:
            yield Unreadable("/object", "page, instagram or whatsapp_business_account is needed")
            return
        if not root.at("entry").value or not isinstance(root.at("entry").value, list):
            yield Unreadable("/entry", "a list of entries is needed here")
        for entry in root.at("entry").items():
            if not entry.is_object:
                yield Unreadable(entry.place, "an object is needed here")
                continue
            brand = entry.at("id").id()
            events = [*entry.at("messaging").items(), *entry.at("standby").items()]
            for event in events:
                yield self._guarded(event, network, brand)
            changes = [*entry.at("changes").items()]
            if entry.at("field").text():  # Instagram's examples put the change into the entry
                changes.append(entry)
            if not events and not changes:
                yield Ignored(entry.place, "an entry without messages or changes")
            for change in changes:
                yield from self._change(change, network, brand)

    def _guarded(self, event: Part, network: str, brand: str | None) -> Reading:
        return read(event.place, lambda: self._chat(event, network, brand))

    def _change(self, change: Part, network: str, brand: str | None) -> Iterator[Reading]:
        field, value = change.at("field").text(), change.at("value")
        if network == "whatsapp":
            yield from self._whatsapp(field, value, change)
        elif field == "messages" and value.at("sender").is_object:
            yield self._guarded(value, network, brand)
        elif field in ("comments", "live_comments"):
            yield read(value.place, lambda: self._instagram_comment(value, brand))
        elif field in ("feed", "group_feed"):
            yield read(value.place, lambda: self._feed(value, brand))
        elif field in ("mentions", "mention"):
            yield Ignored(value.place, "a mention holds ids only; its text must be asked for")
        else:
            yield Ignored(change.place, f"the field {field or '?'} holds nothing that was said")

    def _chat(self, event: Part, network: str, brand: str | None) -> Reading:
        event.need_object()
        sender, recipient = event.at("sender", "id"), event.at("recipient", "id")
        message, edit = event.at("message"), event.at("message_edit")
        postback = event.at("postback")
        moment = event.at("timestamp").moment()
        if not any(part.is_object for part in (message, edit, postback)):
            what = next((k for k, _ in event.entries() if k in _SILENT), "no message")
            return Ignored(event.place, f"{what}: nothing was said")
        echo = message.at("is_echo").flag() or (brand is not None and sender.id() == brand)
        writer = sender.need_id()
        customer = recipient.need_id() if echo else writer
        account = writer if echo else recipient.id() or brand
        kind, body = ArrivalEvent.CREATED, message
        if edit.is_object:
            kind, body = ArrivalEvent.EDITED, edit
        elif message.at("is_deleted").flag():
            kind = ArrivalEvent.DELETED
        elif postback.is_object and not message.is_object:
            body = postback
        text = body.at("text").text() or body.at("title").text() or ""
        mid = body.at("mid").id()
        if mid is None and body is postback and moment is not None:
            mid = f"postback:{writer}:{moment.timestamp():.3f}"  # before v8 postbacks had no mid
        reply_to = message.at("reply_to", "mid").id()
        return Arrival(
            source_id=mid or body.at("mid").need_id(),
            event=kind,
            conversation=f"{network}:{account or '?'}:{customer}",
            author=Author(
                network=network,
                native_id=writer,
                handle=event.at("sender", "username").text(),
            ),
            text="" if kind is ArrivalEvent.DELETED else tidy(text),
            posted_at=moment if kind is ArrivalEvent.CREATED else None,
            changed_at=moment,
            brand_account=account,
            direct=True,
            outgoing=echo,
            written_by=(app,) if echo and (app := message.at("app_id").id()) else (),
            in_reply_to=reply_to,
        )

    def _instagram_comment(self, value: Part, brand: str | None) -> Reading:
        value.need_object()
        person, comment = value.at("from"), value.at("id").need_id()
        writer = person.at("id").need_id()
        root = value.at("parent_id").id() or comment
        media = value.at("media", "id").id()
        return Arrival(
            source_id=comment,
            conversation=f"instagram:{media or '?'}:{root}",
            author=Author(
                network="instagram", native_id=writer, handle=person.at("username").text()
            ),
            text=tidy(value.at("text").text() or ""),
            posted_at=value.at("timestamp").moment(),
            changed_at=value.at("timestamp").moment(),
            brand_account=brand,
            outgoing=writer == brand or person.at("self_ig_scoped_id").id() == brand,
            in_reply_to=value.at("parent_id").id(),
        )

    def _feed(self, value: Part, brand: str | None) -> Reading:
        value.need_object()
        item = value.at("item").text() or ("comment" if value.at("comment_id").id() else "")
        verb = value.at("verb").text() or ""
        kind = _VERBS.get(verb)
        if kind is None or (item != "comment" and item not in _POSTS):
            return Ignored(value.place, f"{verb or '?'} {item or '?'}: nothing was said")
        post = value.at("post_id").id()
        own = value.at("comment_id").id() if item == "comment" else post
        own = own or value.at("comment_id" if item == "comment" else "post_id").need_id()
        parent = value.at("parent_id").id()
        thread = own if parent is None or parent == post else parent
        person = value.at("from")
        writer = person.at("id").id() or value.at("sender_id").id()
        moment = value.at("created_time").moment()
        return Arrival(
            source_id=own,
            event=kind,
            conversation=f"facebook:{post or '?'}:{thread}" if item == "comment" else own,
            author=Author(
                network="facebook",
                native_id=writer,
                display_name=person.at("name").text() or value.at("sender_name").text(),
            ),
            text="" if kind is ArrivalEvent.DELETED else tidy(value.at("message").text() or ""),
            posted_at=moment if kind is ArrivalEvent.CREATED else None,
            changed_at=moment,
            url=value.at("post", "permalink_url").link() or value.at("permalink_url").link(),
            brand_account=brand,
            outgoing=writer is not None and writer == brand,
            in_reply_to=parent if item == "comment" else None,
        )

    def _whatsapp(self, field: str | None, value: Part, change: Part) -> Iterator[Reading]:
        if field not in ("messages", "smb_message_echoes", "message_echoes"):
            yield Ignored(change.place, f"the field {field or '?'} holds nothing that was said")
            return
        number = value.at("metadata", "phone_number_id").id()
        contacts = [*value.at("contacts").items()]
        found = False
        for message in value.at("messages").items():
            found = True
            yield read(message.place, self._bind(message, contacts, number, echo=False))
        for message in value.at("message_echoes").items():
            found = True
            yield read(message.place, self._bind(message, contacts, number, echo=True))
        for status in value.at("statuses").items():
            found = True
            yield read(status.place, self._bind_status(status, number))
        if not found:
            yield Ignored(value.place, "neither messages nor statuses")

    def _bind(self, message: Part, contacts: list[Part], number: str | None, *, echo: bool) -> Any:
        return lambda: self._whatsapp_message(message, contacts, number, echo=echo)

    def _bind_status(self, status: Part, number: str | None) -> Any:
        return lambda: self._whatsapp_status(status, number)

    def _whatsapp_message(
        self, message: Part, contacts: list[Part], number: str | None, *, echo: bool
    ) -> Reading:
        message.need_object()
        kind = message.at("type").text() or "text"
        if kind in ("reaction", "system", "unsupported", "request_welcome"):
            return Ignored(message.place, f"a WhatsApp message of type {kind} has no words")
        writer = message.at("from").id() or message.at("from_user_id").need_id()
        customer = (message.at("to").id() or message.at("to").need_id()) if echo else writer
        event, body = ArrivalEvent.CREATED, message
        source_id = message.at("id").id()
        if kind in ("revoke", "edit"):
            source_id = message.at(kind, "original_message_id").need_id()
            event = ArrivalEvent.DELETED if kind == "revoke" else ArrivalEvent.EDITED
            body = message.at("edit", "message")
        moment = message.at("timestamp").moment()
        return Arrival(
            source_id=source_id or message.at("id").need_id(),
            event=event,
            conversation=f"whatsapp:{number or '?'}:{customer}",
            author=self._whatsapp_author(writer, [] if echo else contacts),
            text="" if event is ArrivalEvent.DELETED else _whatsapp_text(body),
            posted_at=moment if event is ArrivalEvent.CREATED else None,
            changed_at=moment,
            brand_account=number,
            direct=True,
            outgoing=echo,
            in_reply_to=message.at("context", "id").id(),
        )

    def _whatsapp_author(self, writer: str, contacts: list[Part]) -> Author:
        matching = [c for c in contacts if writer in (c.at("wa_id").id(), c.at("user_id").id())]
        contact = (matching or (contacts if len(contacts) == 1 else []) or [Part(None)])[0]
        digits = writer.removeprefix("+")
        return Author(
            network="whatsapp",
            native_id=contact.at("wa_id").id() or digits,
            handle=contact.at("profile", "username").text(),
            display_name=contact.at("profile", "name").text(),
            # A business-scoped user id is not a number: only digits are a phone.
            phones=(f"+{digits}",) if digits.isascii() and digits.isdigit() else (),
        )

    def _whatsapp_status(self, status: Part, number: str | None) -> Reading:
        status.need_object()
        person = status.at("recipient_id").id() or status.at("recipient_user_id").need_id()
        word = status.at("status").text() or "unknown"
        return Arrival(
            source_id=f"{status.at('id').need_id()}:{word[:20]}",
            event=ArrivalEvent.STATUS,
            conversation=f"whatsapp:{number or '?'}:{person}",
            author=self._whatsapp_author(person, []),
            changed_at=status.at("timestamp").moment(),
            brand_account=number,
            direct=True,
            outgoing=True,
            status=word,
            in_reply_to=status.at("id").id(),
        )


_SILENT = (
    "reaction",
    "read",
    "delivery",
    "optin",
    "referral",
    "account_linking",
    "pass_thread_control",
)


def _whatsapp_text(message: Part) -> str:
    """The words of a WhatsApp message of any type: text, caption, pressed button."""
    candidates = [
        message.at("text", "body"),
        *(message.at(kind, "caption") for kind in ("image", "video", "document")),
        message.at("button", "text"),
        message.at("interactive", "button_reply", "title"),
        message.at("interactive", "list_reply", "title"),
        message.at("order", "text"),
    ]
    return tidy(next((text for part in candidates if (text := part.text())), ""))
