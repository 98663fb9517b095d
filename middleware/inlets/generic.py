"""Our own format, for in-house tools and anything that can send JSON: signed, and documented here.

One event, or an array of them, as the body of a POST that is signed by Standard Webhooks 1.0
(standardwebhooks.com): headers `webhook-id`, `webhook-timestamp` (Unix seconds) and
`webhook-signature: v1,<base64 HMAC-SHA256 of "id.timestamp.body">`, several separated by blanks;
secret `whsec_<base64>`.

    {"type": "message.created", "timestamp": "2026-11-21T10:00:00Z", "data": {
        "id": "m-1", "conversation": "c-1", "text": "My parcel never came",
        "author": {"network": "x", "native_id": "42", "handle": "kim"},
        "posted_at": "2026-11-21T09:59:58Z", "order_numbers": ["SO-10001"]}}

`Event.model_json_schema()` is the schema. A field that we do not know is reported beside the
arrival, so that a typo shows, and never costs the message.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from middleware.contract.canonical import Instant
from middleware.domain.arrivals import Arrival, ArrivalEvent, Author, Reach
from middleware.inlets.delivery import Answer, Delivery, Ignored, Reading, Unreadable, Verdict
from middleware.inlets.parsing import storable
from middleware.inlets.reading import Part, delivery_id, header, limited, read, short_id
from middleware.inlets.signing import (
    DIAGNOSED_BYTES,
    Keys,
    base64_of,
    from_base64,
    outside_window,
    same,
)

EVENTS = {
    "message.created": ArrivalEvent.CREATED,
    "message.edited": ArrivalEvent.EDITED,
    "message.deleted": ArrivalEvent.DELETED,
    "conversation.status": ArrivalEvent.STATUS,
}

Id = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=180)]
Short = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]


class _Given(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)


class EventAuthor(_Given):
    """Who wrote it. `network` and one of native_id, handle, emails or phones are needed."""

    network: Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, min_length=1)]
    native_id: Id | None = None
    handle: Short | None = None
    display_name: Short | None = None
    emails: list[Short] | None = None
    phones: list[Short] | None = None
    external_ids: dict[str, Short] | None = None
    location: Short | None = None
    bio: Short | None = None
    url: Short | None = None
    followers: Annotated[int, Field(ge=0)] | None = None
    verified: bool | None = None


class EventReach(_Given):
    """How far the message has gone until now. Send it again as edited with newer counts."""

    views: Annotated[int, Field(ge=0, lt=10**15)] | None = None
    likes: Annotated[int, Field(ge=0, lt=10**15)] | None = None
    shares: Annotated[int, Field(ge=0, lt=10**15)] | None = None
    replies: Annotated[int, Field(ge=0, lt=10**15)] | None = None


class EventData(_Given):
    """One message. `id` is unique in this connection and the same for its edits and deletion."""

    id: Id
    conversation: Id | None = None
    """Groups the messages of one issue; the message's own id where it is left out."""
    author: EventAuthor
    text: str | None = None
    language: Annotated[str, StringConstraints(pattern="^[a-z]{2}$")] | None = None
    posted_at: Instant | None = None
    url: Short | None = None
    brand_account: Short | None = None
    direct: bool | None = None
    order_numbers: list[Id] | None = None
    outgoing: bool | None = None
    internal: bool | None = None
    """A note that only your own people read: it answers nobody."""
    automatic: bool | None = None
    """A machine of yours wrote it, such as a greeting: it answers nobody either."""
    status: Short | None = None
    in_reply_to: Id | None = None
    reach: EventReach | None = None


class Event(_Given):
    """What is posted to a generic inlet, alone or in an array of at most 1,000."""

    type: Literal["message.created", "message.edited", "message.deleted", "conversation.status"]
    timestamp: Instant
    """When it happened at the source; ISO 8601 with a time zone."""
    data: EventData


MAX_EVENTS = 1_000


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header for a body, as senders make it."""
    base = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64_of(hmac.digest(_key(secret), base, "sha256"))


class GenericInlet:
    """Messages in our own format."""

    source = "generic"

    def verify(self, delivery: Delivery, secrets: Sequence[str]) -> Verdict:
        signing = Keys.sort(secrets).signing
        if not signing:
            return Verdict(False, "no signing secret is configured for this connection")
        values = []
        for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
            value = header(delivery.headers, name)
            if value is None:
                return Verdict(False, f"the header {name} is missing")
            values.append(value)
        message_id, timestamp, signatures = values
        base = f"{message_id}.{timestamp}.".encode("utf-8", "replace") + delivery.body
        given = [s.removeprefix("v1,") for s in signatures.split()[:16] if s.startswith("v1,")]
        if not given:
            return Verdict(False, "webhook-signature holds no signature of version v1")
        for place, secret in signing:
            made = base64_of(hmac.digest(_key(secret), base, "sha256"))
            if any(same(one, made) for one in given):
                late = outside_window(timestamp, delivery.received_at)
                if late:
                    return Verdict(False, f"the signature is right, but {late}")
                return Verdict(True, "webhook-signature matches the secret", "signature", place)
        return Verdict(False, _diagnose(delivery.body, message_id, timestamp, given, signing))

    def handshake(self, delivery: Delivery, secrets: Sequence[str]) -> Answer | None:
        return None

    def message_id(self, delivery: Delivery, payload: Any) -> str:
        given = header(delivery.headers, "webhook-id")
        return delivery_id("webhook" if given else None, given, delivery=delivery)

    def arrivals(self, payload: Any) -> tuple[Reading, ...]:
        return limited(self._readings(Part(payload)))

    def _readings(self, root: Part) -> Iterator[Reading]:
        if root.is_object:
            yield from self._event(root)
        elif isinstance(root.value, list):
            for index, event in enumerate(root.items()):
                if index == MAX_EVENTS:
                    yield Unreadable(event.place, f"more than {MAX_EVENTS} events in one body")
                    return
                yield from self._event(event)
        else:
            yield Unreadable("", "an event or an array of events is needed")

    def _event(self, event: Part) -> Iterator[Reading]:
        try:
            parsed = Event.model_validate(event.value)
        except ValidationError as error:
            for problem in error.errors(include_input=False, include_url=False)[:20]:
                part = event
                place = event.place
                for step in problem["loc"]:
                    part = part.at(str(step))
                    place = part.place
                yield Unreadable(place, problem["msg"])
            return
        yield read(event.place, lambda: _arrival(event, parsed))
        for part, model in (
            (event, Event),
            (event.at("data"), EventData),
            (event.at("data", "author"), EventAuthor),
            (event.at("data", "reach"), EventReach),
        ):
            for key, member in part.entries():
                if key not in model.model_fields:
                    yield Ignored(member.place[:200], "we know no field of this name")


def _arrival(event: Part, parsed: Event) -> Reading:
    data, author = parsed.data, parsed.data.author
    kind = EVENTS[parsed.type]
    if not (author.native_id or author.handle or author.emails or author.phones):
        place = event.at("data", "author").place
        return Unreadable(place, "one of native_id, handle, emails or phones is needed")
    if kind in (ArrivalEvent.CREATED, ArrivalEvent.EDITED) and not (data.text or "").strip():
        return Unreadable(event.at("data", "text").place, "a text is needed for a message")
    handle = (author.handle or "").removeprefix("@").strip()
    return Arrival(
        source_id=storable(data.id),
        event=kind,
        conversation=short_id(storable(data.conversation or data.id)),
        author=Author(
            network=storable(author.network),
            native_id=_clean(author.native_id),
            handle=_clean(handle),
            display_name=_clean(author.display_name),
            emails=tuple(_all_clean(author.emails)),
            phones=tuple(_all_clean(author.phones)),
            external_ids={
                storable(name): storable(value)
                for name, value in (author.external_ids or {}).items()
                if value
            },
            location=_clean(author.location),
            bio=_clean(author.bio),
            url=event.at("data", "author", "url").link(),
            followers=author.followers,
            verified=author.verified,
        ),
        text="" if kind is ArrivalEvent.DELETED else storable(data.text or "").strip(),
        language=data.language,
        posted_at=data.posted_at or (parsed.timestamp if kind is ArrivalEvent.CREATED else None),
        changed_at=parsed.timestamp,
        url=event.at("data", "url").link(),
        brand_account=_clean(data.brand_account),
        direct=data.direct,
        order_numbers=tuple(_all_clean(data.order_numbers)),
        outgoing=data.outgoing or data.internal or data.automatic or False,
        internal=data.internal or False,
        automatic=data.automatic or False,
        status=_clean(data.status),
        in_reply_to=_clean(data.in_reply_to),
        reach=Reach(**data.reach.model_dump()) if data.reach is not None else None,
    )


def _clean(text: str | None) -> str | None:
    return storable(text).strip() or None if text else None


def _all_clean(values: list[str] | None) -> Iterator[str]:
    for value in dict.fromkeys(values or ()):
        if cleaned := _clean(value):
            yield cleaned


def _key(secret: str) -> bytes:
    """The bytes that sign: what stands behind `whsec_` in base64, else the text itself."""
    text = secret.strip()
    return from_base64(text.removeprefix("whsec_")) or text.encode()


def _diagnose(
    body: bytes,
    message_id: str,
    timestamp: str,
    given: list[str],
    signing: Sequence[tuple[int, str]],
) -> str:
    failed = f"webhook-signature matches none of {len(signing)} secret(s)"
    if len(body) > DIAGNOSED_BYTES:
        return f"{failed}; the body is too large to try alternatives"
    prefix = f"{message_id}.{timestamp}.".encode("utf-8", "replace")
    stripped = body.rstrip(b"\r\n")
    bases = (
        ("id.timestamp.body", prefix + body),
        ("the body alone", body),
        ("timestamp.body", f"{timestamp}.".encode("utf-8", "replace") + body),
        ("the body with a newline added", prefix + body + b"\n"),
        ("the body without its last newline", prefix + stripped),
    )
    for place, secret in signing:
        keys = (
            ("the decoded secret", _key(secret)),
            ("the secret's text instead of what it decodes to", secret.strip().encode()),
            (
                "the secret's text without whsec_ instead of what it decodes to",
                secret.strip().removeprefix("whsec_").encode(),
            ),
        )
        for key_name, key in keys:
            for base_name, base in bases:
                digest = hmac.digest(key, base, "sha256")
                if any(same(one, base64_of(digest)) for one in given):
                    return f"{failed}; secret {place + 1}: it is over {base_name}, by {key_name}"
                if any(same(one.lower(), digest.hex()) for one in given):
                    return f"{failed}; secret {place + 1}: it is hex instead of base64"
    return f"{failed}, nor any usual mistake: most likely the secret is another one"
