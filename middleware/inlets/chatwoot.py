"""Chatwoot: account, API-inbox and agent-bot webhooks.

Payloads: chatwoot/chatwoot `app/models/message.rb` (webhook_data), `app/presenters/conversations/
event_data_presenter.rb`. Signature since 4.11.2: pull request 13572 there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from middleware.domain.arrivals import Arrival, ArrivalEvent, Author
from middleware.inlets.delivery import Answer, Delivery, Ignored, Reading, Unreadable, Verdict
from middleware.inlets.parsing import storable
from middleware.inlets.reading import (
    Part,
    delivery_id,
    header,
    limited,
    not_an_object,
    plain,
    read,
    structured,
    texts,
    tidy,
)
from middleware.inlets.signing import Keys, Scheme, digest_of, verify_token

SCHEME = Scheme(
    header="X-Chatwoot-Signature",
    prefix="sha256=",
    timestamp_header="X-Chatwoot-Timestamp",
    separator=b".",
)

_NETWORKS = {
    "Channel::Whatsapp": "whatsapp",
    "Channel::FacebookPage": "facebook",
    "Channel::Instagram": "instagram",
    "Channel::TwitterProfile": "x",
    "Channel::Telegram": "telegram",
    "Channel::Line": "line",
    "Channel::Tiktok": "tiktok",
    "Channel::Sms": "sms",
    "Channel::TwilioSms": "sms",
}
"""Channels whose `contact_inbox.source_id` is the network's own id of the person."""

_MESSAGE_TYPES = {0: "incoming", 1: "outgoing", 2: "activity", 3: "template"}
_STATUS_EVENTS = frozenset(
    f"conversation_{what}" for what in ("created", "status_changed", "opened", "resolved")
)
_HANDLES = ("screen_name", "username", "social_telegram_user_name", "social_instagram_user_name")


class ChatwootInlet:
    """Messages of conversations; the conversation is its display id, as Chatwoot's API wants it."""

    source = "chatwoot"

    def verify(self, delivery: Delivery, secrets: Sequence[str]) -> Verdict:
        keys = Keys.sort(secrets)
        if SCHEME.header in delivery.headers or not keys.tokens:
            verdict = SCHEME.verify(delivery, keys, vendor="Chatwoot")
            if verdict.ok or SCHEME.header in delivery.headers:
                return verdict
            return Verdict(
                False,
                f"{verdict.reason}; Chatwoot before 4.11.2 does not sign: give the connection a "
                "secret 'token:…' and put the token at the end of the webhook's address",
            )
        return verify_token(delivery, keys.tokens, vendor="Chatwoot")

    def handshake(self, delivery: Delivery, secrets: Sequence[str]) -> Answer | None:
        return None

    def message_id(self, delivery: Delivery, payload: Any) -> str:
        if given := header(delivery.headers, "X-Chatwoot-Delivery"):
            return delivery_id("delivery", given, delivery=delivery)
        root = Part(payload)
        event, message = root.at("event").text(), root.at("id").id()
        if event == "message_created":
            return delivery_id(event, message, delivery=delivery)
        # The same record changes many times under one event and id; its body tells them apart.
        return delivery_id(event, message, digest_of(delivery.body), delivery=delivery)

    def arrivals(self, payload: Any) -> tuple[Reading, ...]:
        root = Part(payload)
        if not root.is_object:
            return not_an_object(payload)
        return limited(self._readings(root))

    def _readings(self, root: Part) -> Iterator[Reading]:
        event = root.at("event").text()
        if event in ("message_created", "message_updated"):
            yield read("", lambda: self._message(root, created=event == "message_created"))
        elif event in _STATUS_EVENTS:
            yield read("", lambda: self._status(root, event))
        elif event is None:
            yield Unreadable("/event", "a Chatwoot event is needed here")
        else:
            yield Ignored("/event", f"{storable(event)[:80]} changes nothing that was said")

    def _message(self, root: Part, *, created: bool) -> Reading:
        conversation = root.at("conversation")
        kind_value = root.at("message_type").value
        kind = _MESSAGE_TYPES.get(kind_value) if isinstance(kind_value, int) else kind_value
        if kind == "activity":
            return Ignored("/message_type", "an activity line that Chatwoot wrote itself")
        deleted = root.at("content_attributes", "deleted").flag()
        event = ArrivalEvent.CREATED if created else ArrivalEvent.EDITED
        ours = kind != "incoming" or root.at("private").flag()
        if ours:
            author = self._staff(root.at("sender"))
        else:
            author = self._customer(self._sender(root, conversation), conversation)
        orders, _ = structured(conversation.at("custom_attributes"))
        reply_to = root.at("content_attributes", "in_reply_to").id()
        return Arrival(
            source_id=f"message:{root.at('id').need_id()}",
            event=ArrivalEvent.DELETED if deleted else event,
            conversation=self._conversation(root, conversation),
            author=author,
            text="" if deleted else self._text(root),
            posted_at=root.at("created_at").moment(),
            changed_at=(root.at("updated_at") if not created else root.at("created_at")).moment(),
            brand_account=root.at("inbox", "id").id() or conversation.at("inbox_id").id(),
            direct=conversation.at("additional_attributes", "type").text() != "tweet",
            order_numbers=orders,
            outgoing=ours,
            internal=root.at("private").flag(),
            # Greetings and the like come as templates; an agent bot says so of itself.
            automatic=kind == "template" or root.at("sender", "type").text() == "agent_bot",
            status=conversation.at("status").text(),
            in_reply_to=f"message:{reply_to}" if reply_to else None,
        )

    def _status(self, root: Part, event: str) -> Reading:
        number = root.at("id").need_id()
        status = root.at("status").text()
        moment = root.at("updated_at").moment() or root.at("timestamp").moment()
        stamp = f":{moment.timestamp():.3f}" if moment else ""
        return Arrival(
            source_id=f"conversation:{number}:{event}:{(status or '')[:20]}{stamp}",
            event=ArrivalEvent.STATUS,
            conversation=number,
            author=self._customer(root.at("meta", "sender"), root),
            changed_at=moment,
            direct=root.at("additional_attributes", "type").text() != "tweet",
            order_numbers=structured(root.at("custom_attributes"))[0],
            status=status,
        )

    def _conversation(self, root: Part, conversation: Part) -> str:
        found = conversation.at("id").id() or conversation.at("display_id").id()
        return found or root.at("conversation_id").id() or conversation.at("id").need_id()

    def _sender(self, root: Part, conversation: Part) -> Part:
        for part in (root.at("sender"), root.at("contact"), conversation.at("meta", "sender")):
            if part.is_object:
                return part
        return root.at("sender")

    def _staff(self, sender: Part) -> Author:
        """An agent or a bot; templates have no sender."""
        return Author(
            network=self.source,
            native_id=f"user:{own}" if (own := sender.at("id").id()) else None,
            display_name=sender.at("name").text(),
        )

    def _customer(self, sender: Part, conversation: Part) -> Author:
        network, native = self._network(conversation)
        more = sender.at("additional_attributes")
        _, ids = structured(sender.at("custom_attributes"))
        own = sender.at("id").id()
        if own:
            ids["chatwoot_contact"] = own
        if identifier := sender.at("identifier").id():
            ids["chatwoot_identifier"] = identifier
        phones = texts(sender.at("phone_number"))
        if network in ("whatsapp", "sms") and native and native.isdigit():
            phones = tuple(dict.fromkeys((*phones, f"+{native}")))
        return Author(
            network=network,
            native_id=native or own,
            handle=self._handle(more, network),
            display_name=sender.at("name").text(),
            emails=texts(sender.at("email")),
            phones=phones,
            external_ids=ids,
            location=more.at("city").text() or more.at("location").text(),
            bio=more.at("description").text(),
            followers=more.at("followers_count").count(),
        )

    def _network(self, conversation: Part) -> tuple[str, str | None]:
        network = _NETWORKS.get(conversation.at("channel").text() or "")
        native = conversation.at("contact_inbox", "source_id").id()
        if network is None or native is None:
            return self.source, None
        kind = conversation.at("additional_attributes", "type").text()
        if kind == "instagram_direct_message":  # through a Facebook page, as older versions do
            network = "instagram"
        if native.startswith("whatsapp:"):
            network, native = "whatsapp", native.removeprefix("whatsapp:")
        if network in ("whatsapp", "sms"):
            native = native.removeprefix("+")
        return network, native

    def _handle(self, more: Part, network: str) -> str | None:
        profiles = more.at("social_profiles")
        named = profiles.at("twitter" if network == "x" else network).text()
        for found in (named, *(more.at(name).text() for name in _HANDLES)):
            if found and network != self.source:
                return found.removeprefix("@") or None
        return None

    def _text(self, root: Part) -> str:
        mail = root.at("content_attributes", "email", "text_content")
        answer = mail.at("reply").text()  # what was written now, without the quoted history
        if answer:
            return tidy(answer)
        content = root.at("content").text() or ""
        return plain(content) if "</" in content or "<br" in content else tidy(content)
