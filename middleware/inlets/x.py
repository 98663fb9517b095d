"""X: Account Activity webhooks, and posts that a filtered stream delivers by webhook.

Payloads: docs.x.com/x-api/account-activity/introduction (the objects are those of the old
enterprise API), docs.x.com/x-api/fundamentals/edit-posts. The challenge is asked at creation, on
demand and every 30 minutes where it was not answered within 24 hours; an answer takes < 3 s.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from typing import Any

from middleware.domain.arrivals import Arrival, ArrivalEvent, Author, Reach
from middleware.inlets.delivery import Answer, Delivery, Ignored, Reading, Unreadable, Verdict
from middleware.inlets.reading import (
    Lacking,
    Part,
    delivery_id,
    language,
    limited,
    not_an_object,
    only_created,
    read,
    tidy,
)
from middleware.inlets.signing import Keys, Scheme, base64_of, digest_of

SCHEME = Scheme(header="x-twitter-webhooks-signature", prefix="sha256=", encode=base64_of)

_HEARD = ("tweet_create_events", "tweet_delete_events", "direct_message_events")


class XInlet:
    """Posts and direct messages about the accounts that the webhook is subscribed to."""

    source = "x"

    def verify(self, delivery: Delivery, secrets: Sequence[str]) -> Verdict:
        if not _may_be_a_body(delivery.body):
            return Verdict(False, "no delivery of X looks like that; it may be a signed challenge")
        return SCHEME.verify(delivery, Keys.sort(secrets), vendor="X")

    def handshake(self, delivery: Delivery, secrets: Sequence[str]) -> Answer | None:
        asked = delivery.query.get("crc_token")
        if delivery.method != "GET" or asked is None:
            return None
        challenge = asked.encode("utf-8", "replace")
        if _may_be_a_body(challenge):
            return Answer(403, "text/plain", b"this is no challenge of X")
        signing = Keys.sort(secrets).signing
        if not signing:
            return Answer(503, "text/plain", b"no consumer secret is configured")
        # The newest secret: X knows one consumer secret, and it is the one just set.
        answer = {"response_token": SCHEME.sign(signing[0][1], challenge)}
        return Answer(200, "application/json", json.dumps(answer).encode())

    def message_id(self, delivery: Delivery, payload: Any) -> str:
        single = only_created(self.arrivals(payload))
        if single is not None:
            # The same post comes once for each subscribed account that it concerns.
            return delivery_id(
                "post", single.source_id, single.brand_account or "", delivery=delivery
            )
        return "body:" + digest_of(delivery.body)

    def arrivals(self, payload: Any) -> tuple[Reading, ...]:
        root = Part(payload)
        if not root.is_object:
            return not_an_object(payload)
        return limited(self._readings(root))

    def _readings(self, root: Part) -> Iterator[Reading]:
        brand = root.at("for_user_id").id()
        users = root.at("users")
        known = False
        for key, part in root.entries():
            if key in _HEARD and not isinstance(part.value, list):
                known = True
                yield Unreadable(part.place, "a list of events is needed here")
            elif key == "tweet_create_events":
                for post in part.items():
                    known = True
                    yield read(post.place, _bind(self._post, post, brand))
            elif key == "tweet_delete_events":
                for gone in part.items():
                    known = True
                    yield read(gone.place, _bind(self._deletion, gone, brand))
            elif key == "direct_message_events":
                for message in part.items():
                    known = True
                    yield read(message.place, _bind(self._message, message, brand, users))
            elif key.endswith(("_event", "_events")):
                known = True
                yield Ignored(part.place, f"{key[:60]}: nothing was said")
        if root.at("data").is_object and root.at("data", "text").text() is not None:
            known = True
            yield read("/data", lambda: self._stream_post(root))
        if not known:
            yield Unreadable("", "neither events of an account nor a post of a stream")

    def _post(self, post: Part, brand: str | None) -> Reading:
        post.need_object()
        if post.at("retweeted_status").is_object:
            return Ignored(post.place, "a repost says nothing of its own")
        own = _number(post, "id_str", "id")
        person = post.at("user").need_object()
        writer = _number(person, "id_str", "id")
        handle = person.at("screen_name").text()
        text = (
            post.at("extended_tweet", "full_text").text()
            or post.at("full_text").text()
            or post.at("text").text()
            or ""
        )
        first = post.at("edit_history", "initial_tweet_id").id() or own
        reply_to = post.at("in_reply_to_status_id_str").id()
        moment = post.at("timestamp_ms").moment() or post.at("created_at").moment()
        return Arrival(
            source_id=first,
            event=ArrivalEvent.CREATED if first == own else ArrivalEvent.EDITED,
            conversation=post.at("conversation_id_str").id() or reply_to or first,
            author=Author(
                network="x",
                native_id=writer,
                handle=handle,
                display_name=person.at("name").text(),
                location=person.at("location").text(),
                bio=person.at("description").text(),
                url=person.at("url").link(),
                followers=person.at("followers_count").count(),
                verified=_truth(person.at("verified")),
            ),
            text=tidy(html.unescape(text)),
            language=language(post.at("lang")),
            posted_at=moment if first == own else None,
            changed_at=moment,
            url=f"https://x.com/{handle}/status/{own}" if handle else None,
            brand_account=brand,
            outgoing=writer == brand,
            in_reply_to=reply_to,
            reach=_reach(
                post, None, "favorite_count", ("retweet_count", "quote_count"), "reply_count"
            ),
        )

    def _deletion(self, gone: Part, brand: str | None) -> Reading:
        status = gone.at("status").need_object()
        own, writer = status.at("id").need_id(), status.at("user_id").need_id()
        return Arrival(
            source_id=own,
            event=ArrivalEvent.DELETED,
            conversation=own,
            author=Author(network="x", native_id=writer),
            changed_at=gone.at("timestamp_ms").moment(),
            brand_account=brand,
            outgoing=writer == brand,
        )

    def _message(self, message: Part, brand: str | None, users: Part) -> Reading:
        message.need_object()
        if message.at("type").text() != "message_create":
            return Ignored(message.place, "a direct message event that says nothing")
        body = message.at("message_create").need_object()
        writer = body.at("sender_id").need_id()
        recipient = body.at("target", "recipient_id").need_id()
        person = users.at(writer)
        other = recipient if writer == brand else writer
        moment = message.at("created_timestamp").moment()
        return Arrival(
            source_id=message.at("id").need_id(),
            conversation=f"dm:{recipient if other == writer else writer}:{other}",
            author=Author(
                network="x",
                native_id=writer,
                handle=person.at("screen_name").text(),
                display_name=person.at("name").text(),
                location=person.at("location").text(),
                bio=person.at("description").text(),
                url=person.at("url").link(),
                followers=person.at("followers_count").count(),
                verified=_truth(person.at("verified")),
            ),
            text=tidy(html.unescape(body.at("message_data", "text").text() or "")),
            posted_at=moment,
            changed_at=moment,
            brand_account=brand or recipient,
            direct=True,
            outgoing=writer == brand,
        )

    def _stream_post(self, root: Part) -> Reading:
        """A post in the words of the v2 API: `data`, and the author among `includes`."""
        post = root.at("data")
        own, writer = post.at("id").need_id(), post.at("author_id").need_id()
        users = [*root.at("includes", "users").items()]
        person = next((u for u in users if u.at("id").id() == writer), Part(None))
        history = [*post.at("edit_history_tweet_ids").items()]
        first = (history[0].id() if history else None) or own
        replied = next(
            (
                found
                for ref in post.at("referenced_tweets").items()
                if ref.at("type").text() == "replied_to" and (found := ref.at("id").id())
            ),
            None,
        )
        handle = person.at("username").text()
        moment = post.at("created_at").moment()
        return Arrival(
            source_id=first,
            event=ArrivalEvent.CREATED if first == own else ArrivalEvent.EDITED,
            conversation=post.at("conversation_id").id() or replied or first,
            author=Author(
                network="x",
                native_id=writer,
                handle=handle,
                display_name=person.at("name").text(),
                location=person.at("location").text(),
                bio=person.at("description").text(),
                url=person.at("url").link(),
                followers=person.at("public_metrics", "followers_count").count(),
                verified=_truth(person.at("verified")),
            ),
            text=tidy(html.unescape(post.at("text").text() or "")),
            language=language(post.at("lang")),
            posted_at=moment if first == own else None,
            changed_at=moment,
            url=f"https://x.com/{handle}/status/{own}" if handle else None,
            in_reply_to=replied,
            reach=_reach(
                post.at("public_metrics"),
                "impression_count",
                "like_count",
                ("retweet_count", "quote_count"),
                "reply_count",
            ),
        )


def _may_be_a_body(content: bytes) -> bool:
    """Whether this could be what X delivers, rather than a challenge: JSON with a structure.

    X signs bodies and challenges with the same secret and in the same way, and anybody may ask us
    to sign a challenge. So the two are kept apart here: what we sign for whoever asks is never
    taken as a delivery.
    """
    return any(mark in content for mark in b'{["')


def _bind(method: Any, *arguments: Any) -> Any:
    return lambda: method(*arguments)


def _number(part: Part, *names: str) -> str:
    """An id, from the text form first: the number form loses digits in many JSON readers."""
    for name in names:
        found = part.at(name).id()
        if found is not None:
            return found
    raise Lacking(part.at(names[0]).place, "an id is needed here")


def _reach(
    part: Part, views: str | None, likes: str, shares: tuple[str, ...], replies: str
) -> Reach | None:
    """The counts of a post, by X's names for them; None where it has none."""
    shared = [n for name in shares if (n := part.at(name).count()) is not None]
    reach = Reach(
        views=part.at(views).count() if views is not None else None,
        likes=part.at(likes).count(),
        shares=sum(shared) if shared else None,
        replies=part.at(replies).count(),
    )
    return reach if reach.told else None


def _truth(part: Part) -> bool | None:
    return part.value if isinstance(part.value, bool) else None
