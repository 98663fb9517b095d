"""Payload by payload: what each source's words become in ours."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from middleware.domain.arrivals import Arrival, ArrivalEvent
from middleware.inlets import INLETS, Ignored, Reading, Unreadable
from tests.inlets.payloads import load

CREATED, EDITED = ArrivalEvent.CREATED, ArrivalEvent.EDITED
DELETED, STATUS = ArrivalEvent.DELETED, ArrivalEvent.STATUS


def readings(name: str) -> tuple[Reading, ...]:
    return INLETS[name.partition("/")[0]].arrivals(load(name))


def only(name: str) -> Arrival:
    (reading,) = readings(name)
    assert isinstance(reading, Arrival), reading
    return reading


EXPECTED: dict[str, dict[str, Any]] = {
    "zendesk/ticket_created": {
        "source_id": "ticket:5158",
        "event": CREATED,
        "conversation": "5158",
        "author.network": "zendesk",
        "author.native_id": "8447388090494",
        "text": "Broken on arrival\n\nMy blender from order SO-10002 arrived smashed.",
        "posted_at": datetime(2026, 11, 20, 8, 12, 7, tzinfo=UTC),
        "changed_at": datetime(2026, 11, 20, 8, 15, 30, 123456, tzinfo=UTC),
        "brand_account": "8447346621310",
        "direct": True,
        "outgoing": False,
        "status": "OPEN",
    },
    "zendesk/comment_added": {
        "source_id": "comment:9876543210",
        "conversation": "5158",
        "author.display_name": "Maria Schmidt",
        "text": "Any news? I still have no replacement.",
        "outgoing": False,
        "direct": True,
    },
    "zendesk/comment_by_staff": {
        "outgoing": True,
        "internal": True,
        "direct": True,
        "event": CREATED,
    },
    "zendesk/comment_redacted": {
        "source_id": "comment:9876543210",
        "event": DELETED,
        "text": "",
    },
    "zendesk/status_changed": {
        "event": STATUS,
        "status": "SOLVED",
        "source_id": "event:01JQMQH83YNAKWSWJ8B1QH2NSF",
        "conversation": "5158",
    },
    "zendesk/soft_deleted": {"event": DELETED, "source_id": "ticket:5158"},
    "zendesk/chat_message": {
        "source_id": "message:67ab5f55155becd183e284cb",
        "conversation": "141",
        "author.native_id": "67ab5f53a96f98663935c300",
        "text": "Where is my parcel?",
        "outgoing": False,
    },
    "zendesk/trigger": {
        "source_id": "ticket:5158",
        "text": "Broken on arrival\n\nMy blender arrived smashed.",
        "author.emails": ("maria.schmidt@example.com",),
        "author.phones": ("+49 30 23125 101",),
        "author.external_ids": {"zendesk_external_id": "C-1001"},
        "order_numbers": ("SO-10002",),
        "url": "https://shop.zendesk.com/agent/tickets/5158",
        "language": "de",
        "outgoing": False,
    },
    "chatwoot/message_created": {
        "source_id": "message:101",
        "event": CREATED,
        "conversation": "12",
        "author.network": "chatwoot",
        "author.native_id": "7",
        "author.emails": ("maria.schmidt@example.com",),
        "author.phones": ("+493023125101",),
        "author.location": "Berlin",
        "author.external_ids": {
            "customer_number": "C-1001",
            "chatwoot_contact": "7",
            "chatwoot_identifier": "crm-003",
        },
        "text": "My blender arrived smashed 😡",
        "order_numbers": ("SO-10002",),
        "brand_account": "1",
        "posted_at": datetime(2026, 11, 20, 8, 13, 20, tzinfo=UTC),
        "outgoing": False,
        "direct": True,
    },
    "chatwoot/private_note": {
        "outgoing": True,
        "internal": True,
        "source_id": "message:102",
        "author.native_id": "user:2",
        "author.emails": (),
        "author.external_ids": {},
    },
    "chatwoot/message_deleted": {"event": DELETED, "source_id": "message:101", "text": ""},
    "chatwoot/message_edited": {
        "event": EDITED,
        "source_id": "message:101",
        "text": "My blender arrived smashed, order SO-10002",
        "changed_at": datetime(2026, 11, 20, 8, 20, tzinfo=UTC),
    },
    "chatwoot/whatsapp_old": {
        "author.network": "whatsapp",
        "author.native_id": "12025550142",
        "author.phones": ("+12025550142",),
        "outgoing": False,
        "posted_at": datetime(2026, 11, 20, 8, 13, 20, tzinfo=UTC),
    },
    "chatwoot/email": {"text": "It never came."},
    "chatwoot/status_changed": {"event": STATUS, "status": "resolved", "conversation": "12"},
    "freshdesk/created": {
        "source_id": "ticket:11",
        "event": CREATED,
        "conversation": "11",
        "text": "Where is my order?\n\nOrder SO-10002 has not arrived.",
        "author.network": "email",
        "author.native_id": "maria.schmidt@example.com",
        "author.display_name": "Maria Schmidt",
        "author.external_ids": {"freshdesk_external_id": "C-1001"},
        "order_numbers": ("SO-10002",),
        "url": "https://shop.freshdesk.com/helpdesk/tickets/11",
        "outgoing": False,
    },
    "freshdesk/customer_replied": {"text": "Still nothing.\nPlease help", "outgoing": False},
    "freshdesk/agent_replied": {"text": "We are on it.", "outgoing": True},
    "freshdesk/status_changed": {"event": STATUS, "status": "Closed", "text": ""},
    "zammad/customer_email": {
        "source_id": "article:104",
        "conversation": "81",
        "author.network": "zammad",
        "author.native_id": "8",
        "author.display_name": "Maria Schmidt",
        "author.emails": ("maria.schmidt@example.com",),
        "author.external_ids": {"customer_number": "C-1001", "zammad_user": "8"},
        "text": "Blender broken\n\nMy blender arrived smashed.\nOrder SO-10002",
        "order_numbers": ("SO-10002",),
        "language": "en",
        "brand_account": "Users",
        "outgoing": False,
        "status": "new",
    },
    "zammad/agent_note": {
        "outgoing": True,
        "internal": True,
        "author.display_name": "Alex Agent",
    },
    "zammad/tweet": {
        "author.network": "x",
        "author.handle": "mschmidt",
        "author.native_id": None,
        "direct": False,
        "text": "@shop where is my order?",
    },
    "zammad/state_only": {"event": STATUS, "status": "closed", "conversation": "81"},
    "meta/messenger_one": {
        "source_id": "m_AAA1",
        "conversation": "facebook:111111111:7700001",
        "author.network": "facebook",
        "author.native_id": "7700001",
        "brand_account": "111111111",
        "direct": True,
        "posted_at": datetime(2026, 11, 21, 8, 33, 20, 123000, tzinfo=UTC),
    },
    "meta/messenger_edit": {
        "source_id": "m_AAA1",
        "event": EDITED,
        "text": "My parcel SO-10002 never came",
    },
    "meta/instagram_unsend": {"source_id": "aWdfMQ==", "event": DELETED, "text": ""},
    "meta/instagram_comment": {
        "source_id": "17990001",
        "conversation": "instagram:17900001:17980001",
        "author.handle": "maria.schmidt",
        "author.native_id": "88001",
        "text": "still waiting for my refund",
        "direct": False,
        "in_reply_to": "17980001",
    },
    "meta/whatsapp_text": {
        "source_id": "wamid.AAA1",
        "conversation": "whatsapp:106540352242922:12025550142",
        "author.native_id": "12025550142",
        "author.phones": ("+12025550142",),
        "author.display_name": "Kim Doe",
        "text": "The lamp is cracked",
        "direct": True,
    },
    "meta/whatsapp_image": {"text": "look at this", "in_reply_to": "wamid.AAA0"},
    "meta/whatsapp_status": {
        "event": STATUS,
        "status": "delivered",
        "source_id": "wamid.OUT1:delivered",
        "outgoing": True,
        "conversation": "whatsapp:106540352242922:12025550142",
    },
    "meta/whatsapp_revoke": {"event": DELETED, "source_id": "wamid.AAA1"},
    "x/mention": {
        "source_id": "1991400000000000001",
        "author.native_id": "2244994999",
        "author.handle": "mschmidt",
        "author.followers": 120,
        "author.verified": False,
        "author.location": "Berlin",
        "text": "@shop my order SO-10002 arrived smashed & leaking, what now?",
        "language": "en",
        "direct": False,
        "outgoing": False,
        "brand_account": "3805104374",
        "url": "https://x.com/mschmidt/status/1991400000000000001",
    },
    "x/edited": {
        "source_id": "1991400000000000001",
        "event": EDITED,
        "text": "@shop my order SO-10003 arrived smashed, what now?",
    },
    "x/reply_by_brand": {
        "outgoing": True,
        "conversation": "1991400000000000001",
        "in_reply_to": "1991400000000000001",
    },
    "x/deleted": {
        "event": DELETED,
        "source_id": "1991400000000000001",
        "changed_at": datetime(2026, 11, 20, 8, 15, tzinfo=UTC),
    },
    "x/direct_message": {
        "source_id": "1991400000000000100",
        "conversation": "dm:3805104374:2244994999",
        "author.handle": "mschmidt",
        "text": "my order is SO-10002",
        "direct": True,
        "outgoing": False,
    },
    "x/stream_post": {
        "source_id": "1991400000000000200",
        "author.handle": "mschmidt",
        "author.followers": 120,
        "conversation": "1991400000000000200",
    },
    "generic/created": {
        "source_id": "m-1",
        "conversation": "c-1",
        "author.network": "x",
        "author.handle": "mschmidt",
        "author.external_ids": {"customer_number": "C-1001"},
        "order_numbers": ("SO-10002",),
        "posted_at": datetime(2026, 11, 20, 8, 13, 20, tzinfo=UTC),
        "changed_at": datetime(2026, 11, 20, 8, 13, 21, tzinfo=UTC),
    },
}


@pytest.mark.parametrize("name", EXPECTED)
def test_one_arrival(name: str) -> None:
    arrival = only(name)
    found: dict[str, Any] = {}
    for path in EXPECTED[name]:
        value: Any = arrival
        for step in path.split("."):
            value = getattr(value, step)
        found[path] = value
    assert found == EXPECTED[name]


@pytest.mark.parametrize("name", ["zendesk/tags_changed", "chatwoot/typing", "x/likes_and_reposts"])
def test_what_says_nothing_is_ignored_with_a_reason(name: str) -> None:
    found = readings(name)
    assert found
    assert all(isinstance(reading, Ignored) and reading.reason for reading in found)


def test_zammads_agents_are_ours_in_public_too() -> None:
    payload = load("zammad/agent_note")
    payload["article"]["internal"] = False
    (reading,) = INLETS["zammad"].arrivals(payload)
    assert isinstance(reading, Arrival)
    assert (reading.outgoing, reading.internal) == (True, False)


@pytest.mark.parametrize("public", [True, False])
def test_what_zendesk_shows_to_colleagues_alone_is_a_note(public: bool) -> None:
    payload = load("zendesk/comment_by_staff")
    payload["event"]["comment"]["is_public"] = public
    (reading,) = INLETS["zendesk"].arrivals(payload)
    assert isinstance(reading, Arrival)
    assert (reading.outgoing, reading.internal) == (True, not public)


def test_a_note_of_an_in_house_tool_is_ours() -> None:
    payload = load("generic/created")
    payload["data"]["internal"] = True
    (reading,) = INLETS["generic"].arrivals(payload)
    assert isinstance(reading, Arrival)
    assert (reading.outgoing, reading.internal) == (True, True)


def test_a_template_of_chatwoot_is_not_the_customers_word() -> None:
    payload = load("chatwoot/message_created")
    payload["message_type"], payload["sender"] = "template", None
    (reading,) = INLETS["chatwoot"].arrivals(payload)
    assert isinstance(reading, Arrival)
    assert (reading.outgoing, reading.automatic) == (True, True)
    assert reading.author.native_id is None
    assert reading.author.emails == ()


@pytest.mark.parametrize(("kind", "automatic"), [("agent_bot", True), ("user", False)])
def test_a_bot_of_chatwoot_is_no_agent(kind: str, automatic: bool) -> None:
    payload = load("chatwoot/message_created")
    payload["message_type"], payload["sender"] = "outgoing", {"id": 3, "name": "A", "type": kind}
    (reading,) = INLETS["chatwoot"].arrivals(payload)
    assert isinstance(reading, Arrival)
    assert (reading.outgoing, reading.automatic) == (True, automatic)


@pytest.mark.parametrize(
    ("kind", "outgoing", "automatic"),
    [
        ("end_user", False, False),
        ("agent", True, False),
        ("trigger", True, True),
        ("system", True, True),
    ],
)
def test_an_answer_bot_of_zendesk_is_no_agent(kind: str, outgoing: bool, automatic: bool) -> None:
    payload = load("zendesk/chat_message")
    payload["event"]["actor"]["type"] = kind
    (reading,) = INLETS["zendesk"].arrivals(payload)
    assert isinstance(reading, Arrival)
    assert (reading.outgoing, reading.automatic) == (outgoing, automatic)


@pytest.mark.parametrize(
    ("name", "writers"),
    [
        ("freshdesk/agent_replied", "Alex Agent"),
        ("meta/messenger", "1517776481860111"),
        ("zendesk/trigger", "8447388090494"),
    ],
)
def test_who_wrote_for_us_is_told(name: str, writers: str) -> None:
    found = [
        r for r in INLETS[name.partition("/")[0]].arrivals(load(name)) if isinstance(r, Arrival)
    ]
    assert any(writers in r.written_by for r in found)


@pytest.mark.parametrize(("sender", "automatic"), [("System", True), ("Agent", False)])
def test_what_zammads_triggers_send_is_no_agents_word(sender: str, automatic: bool) -> None:
    payload = load("zammad/agent_note")
    payload["article"] |= {"internal": False, "sender": sender}
    (reading,) = INLETS["zammad"].arrivals(payload)
    assert isinstance(reading, Arrival)
    assert (reading.outgoing, reading.automatic) == (True, automatic)


def test_a_chat_holds_both_sides() -> None:
    asked, answered, read = readings("meta/messenger")
    assert isinstance(asked, Arrival)
    assert isinstance(answered, Arrival)
    assert isinstance(read, Ignored)
    assert (asked.outgoing, answered.outgoing) == (False, True)
    assert asked.conversation == answered.conversation
    assert answered.in_reply_to == asked.source_id
    assert read.place == "/entry/0/messaging/2"


def test_a_comment_is_added_edited_and_removed() -> None:
    added, edited, removed, liked, answered = readings("meta/page_feed")
    assert isinstance(added, Arrival)
    assert isinstance(edited, Arrival)
    assert isinstance(removed, Arrival)
    assert isinstance(answered, Arrival)
    assert isinstance(liked, Ignored)
    assert [a.event for a in (added, edited, removed)] == [CREATED, EDITED, DELETED]
    assert {a.source_id for a in (added, edited, removed)} == {"5_9"}
    assert added.url == "https://www.facebook.com/shop/posts/5"
    assert removed.text == ""
    assert answered.outgoing
    assert answered.conversation == added.conversation == "facebook:111111111_5:5_9"


def test_a_batch_of_a_thousand_is_a_thousand_arrivals() -> None:
    payload = load("meta/messenger_one")
    template = payload["entry"][0]["messaging"][0]
    payload["entry"][0]["messaging"] = [
        {**template, "message": {"mid": f"m_{n}", "text": f"no {n}"}} for n in range(1000)
    ]
    found = INLETS["meta"].arrivals(payload)
    assert len({r.source_id for r in found if isinstance(r, Arrival)}) == 1000


def test_more_than_can_be_read_is_named() -> None:
    payload = load("meta/messenger_one")
    payload["entry"] = payload["entry"] * 5001
    found = INLETS["meta"].arrivals(payload)
    assert len(found) == 5001
    assert isinstance(found[-1], Unreadable)


def test_a_batch_of_ours_says_what_is_wrong_and_where() -> None:
    deleted, nobody, zoneless, status, typo = readings("generic/batch")
    assert isinstance(deleted, Arrival)
    assert deleted.event is DELETED
    assert isinstance(nobody, Unreadable)
    assert nobody.place == "/1/data/author"
    assert isinstance(zoneless, Unreadable)
    assert zoneless.place == "/2/timestamp"
    assert isinstance(status, Arrival)
    assert (status.event, status.status) == (STATUS, "closed")
    assert isinstance(typo, Ignored)
    assert typo.place == "/3/data/odrer_numbers"


@pytest.mark.parametrize(
    ("name", "path", "place"),
    [
        ("zendesk/ticket_created", ("detail", "id"), "/detail/id"),
        ("zendesk/comment_added", ("event", "comment", "id"), "/event/comment/id"),
        ("chatwoot/message_created", ("id",), "/id"),
        ("freshdesk/created", ("freshdesk_webhook", "ticket_id"), "/freshdesk_webhook/ticket_id"),
        ("zammad/customer_email", ("ticket", "id"), "/ticket/id"),
        (
            "meta/messenger_one",
            ("entry", 0, "messaging", 0, "message", "mid"),
            "/entry/0/messaging/0/message/mid",
        ),
        (
            "meta/whatsapp_text",
            ("entry", 0, "changes", 0, "value", "messages", 0, "id"),
            "/entry/0/changes/0/value/messages/0/id",
        ),
        ("x/mention", ("tweet_create_events", 0, "user"), "/tweet_create_events/0/user"),
        ("x/deleted", ("tweet_delete_events", 0, "status"), "/tweet_delete_events/0/status"),
        ("generic/created", ("data", "id"), "/data/id"),
    ],
)
@pytest.mark.parametrize("bad", [None, {}, [], True])
def test_what_is_missing_is_named_by_its_place(
    name: str, path: tuple[str | int, ...], place: str, bad: object
) -> None:
    payload = load(name)
    part = payload
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = bad
    source = name.partition("/")[0]
    unreadable = [r for r in INLETS[source].arrivals(payload) if isinstance(r, Unreadable)]
    assert unreadable
    assert unreadable[0].place.startswith(place)


@pytest.mark.parametrize("name", ["zendesk/trigger", "generic/created", "freshdesk/created"])
@pytest.mark.parametrize("bad", ["javascript:alert(1)", "https://a b", "data:text/html,x"])
def test_only_web_addresses_become_links(name: str, bad: str) -> None:
    payload = load(name)
    if name == "zendesk/trigger":
        payload["ticket"]["url"] = bad if "://" in bad else f"javascript://{bad}"
    elif name == "generic/created":
        payload["data"]["url"] = bad
    else:
        payload["freshdesk_webhook"]["ticket_url"] = bad
    (reading,) = INLETS[name.partition("/")[0]].arrivals(payload)
    assert isinstance(reading, Arrival)
    assert reading.url is None


def test_a_reply_and_its_ticket_are_two_messages() -> None:
    """Triggers know no id of a comment: the words tell comments of one ticket apart."""
    payload = load("zendesk/trigger")
    payload["ticket"]["comment"]["text"] = "Still nothing!"
    (first,) = INLETS["zendesk"].arrivals(payload)
    (again,) = INLETS["zendesk"].arrivals(payload)
    payload["ticket"]["comment"]["text"] = "Hello?"
    (second,) = INLETS["zendesk"].arrivals(payload)
    assert isinstance(first, Arrival)
    assert isinstance(second, Arrival)
    assert first == again
    assert first.text == "Still nothing!"
    assert len({"ticket:5158", first.source_id, second.source_id}) == 3
    payload["ticket"]["actor"]["id"] = "99"
    (by_agent,) = INLETS["zendesk"].arrivals(payload)
    assert isinstance(by_agent, Arrival)
    assert by_agent.outgoing
