"""Zammad: webhooks of triggers with the default payload.

Payload and headers: admin-docs.zammad.org/en/latest/manage/webhook/payload.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from middleware.domain.arrivals import Arrival, ArrivalEvent, Author
from middleware.inlets.delivery import Answer, Delivery, Reading, Unreadable, Verdict
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
from middleware.inlets.signing import Keys, Scheme, verify_token

SCHEME = Scheme(header="X-Hub-Signature", prefix="sha1=", algorithm="sha1")

_NETWORKS = {
    "twitter": "x",
    "facebook": "facebook",
    "whatsapp": "whatsapp",
    "telegram": "telegram",
    "sms": "sms",
}
"""First word of an article's type, such as `twitter status`, to the network."""

_PUBLIC_TYPES = frozenset(("twitter status", "facebook feed post", "facebook feed comment"))
_AT = re.compile(r"@([A-Za-z0-9_.]{1,40})")


class ZammadInlet:
    """Tickets with the article that fired the trigger; the conversation is the ticket's id."""

    source = "zammad"

    def verify(self, delivery: Delivery, secrets: Sequence[str]) -> Verdict:
        keys = Keys.sort(secrets)
        if SCHEME.header in delivery.headers or not keys.tokens:
            return SCHEME.verify(delivery, keys, vendor="Zammad")
        return verify_token(delivery, keys.tokens, vendor="Zammad")

    def handshake(self, delivery: Delivery, secrets: Sequence[str]) -> Answer | None:
        return None

    def message_id(self, delivery: Delivery, payload: Any) -> str:
        given = header(delivery.headers, "X-Zammad-Delivery")
        return delivery_id("delivery" if given else None, given, delivery=delivery)

    def arrivals(self, payload: Any) -> tuple[Reading, ...]:
        root = Part(payload)
        if not root.is_object:
            return not_an_object(payload)
        return limited(self._readings(root))

    def _readings(self, root: Part) -> Iterator[Reading]:
        ticket, article = root.at("ticket"), root.at("article")
        if not ticket.is_object:
            yield Unreadable("/ticket", "a ticket is needed here; use Zammad's default payload")
        elif article.at("id").id() is not None:
            yield read("/article", lambda: self._article(ticket, article))
        else:
            yield read("/ticket", lambda: self._state(ticket))

    def _article(self, ticket: Part, article: Part) -> Reading:
        from_customer = article.at("sender").text() == "Customer"
        internal = article.at("internal").flag()
        kind = (article.at("type").text() or "").lower()
        first = ticket.at("article_count").value == 1
        body = article.at("body").text() or ""
        html = article.at("content_type").text() == "text/html"
        text = plain(body) if html else tidy(body)
        title = article.at("subject").text() or ticket.at("title").text()
        author = self._customer(ticket, article, kind) if from_customer else self._staff(article)
        return Arrival(
            source_id=f"article:{article.at('id').need_id()}",
            conversation=ticket.at("id").need_id(),
            author=author,
            text=titled(title, text) if first and kind in ("email", "web", "phone") else text,
            language=language(article.at("detected_language")),
            posted_at=article.at("created_at").moment(),
            changed_at=article.at("updated_at").moment() or article.at("created_at").moment(),
            brand_account=ticket.at("group", "name").text() or ticket.at("group_id").id(),
            direct=kind not in _PUBLIC_TYPES,
            order_numbers=structured(ticket)[0],
            outgoing=not from_customer or internal,
            internal=internal,
            automatic=article.at("sender").text() == "System",  # what its triggers send
            status=self._status(ticket),
        )

    def _state(self, ticket: Part) -> Reading:
        number = ticket.at("id").need_id()
        moment = ticket.at("updated_at").moment()
        status = self._status(ticket)
        stamp = f"{moment.timestamp():.3f}" if moment else ""
        return Arrival(
            source_id=f"ticket:{number}:{(status or '')[:40]}:{stamp}",
            event=ArrivalEvent.STATUS,
            conversation=number,
            author=self._customer(ticket, Part(None), ""),
            changed_at=moment,
            direct=True,
            order_numbers=structured(ticket)[0],
            status=status,
        )

    def _status(self, ticket: Part) -> str | None:
        state = ticket.at("state")
        return state.at("name").text() or state.text()

    def _customer(self, ticket: Part, article: Part, kind: str) -> Author:
        person = ticket.at("customer")
        network = _NETWORKS.get(kind.partition(" ")[0], self.source)
        handle = None
        if network == "x":
            at = _AT.search(article.at("from").text() or "")
            handle = at.group(1) if at else person.at("login").text()
        own = person.at("id").id() or ticket.at("customer_id").id()
        _, ids = structured(person)
        for noise in ("created_by_id", "updated_by_id", "organization_id"):
            ids.pop(noise, None)
        if own:
            ids["zammad_user"] = own
        return Author(
            network=network,
            # Zammad gives its own user id only; on a foreign network that is nobody's native id.
            native_id=own if network == self.source else None,
            handle=handle,
            display_name=_full_name(person),
            emails=texts(person.at("email")),
            phones=texts(person.at("phone"), person.at("mobile")),
            external_ids=ids,
            location=person.at("city").text() or person.at("address").text(),
            url=person.at("web").link(),
        )

    def _staff(self, article: Part) -> Author:
        person = article.at("created_by")
        return Author(
            network=self.source,
            native_id=person.at("id").id() or article.at("created_by_id").id(),
            display_name=_full_name(person) or article.at("from").text(),
        )


def _full_name(person: Part) -> str | None:
    names = (person.at("firstname").text(), person.at("lastname").text())
    return " ".join(name for name in names if name and name != "-") or None
