"""The helpdesk of the sandbox: Chatwoot's wire, its surprises, and its signed webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from middleware.domain.arrivals import Arrival
from middleware.inlets.chatwoot import ChatwootInlet
from middleware.inlets.delivery import Delivery
from middleware.sandbox.desk import (
    OUTSIDER_TOKEN,
    TOKEN,
    Desk,
    build_desk,
    sign,
)
from middleware.sandbox.server import SandboxServer
from middleware.sandbox.world import build

SECRET = "a-webhook-secret"
MAYA: dict[str, Any] = {
    "name": "Maya Brandt",
    "email": "Maya@example.com",
    "phone": "+493023125010",
    "identifier": "C-1001",
    "additional_attributes": {"social_profiles": {"twitter": "mayab"}},
}


@dataclass
class Receiver:
    """The address a webhook goes to; answers `status` and keeps what came."""

    status: str = "202 Accepted"
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        headers = {k[5:].lower(): v for k, v in environ.items() if k.startswith("HTTP_")}
        self.got.append((headers, environ["wsgi.input"].read()))
        start_response(self.status, [("Location", "/elsewhere")])
        return [b"{}"]


@dataclass
class Wired:
    desk: Desk
    server: SandboxServer
    http: httpx2.Client
    receiver: Receiver

    def write(self, **asked: Any) -> dict[str, Any]:
        answer = self.http.post("/_sandbox/write", json={"contact": MAYA} | asked)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def note(self, conversation: int, content: str | None, **more: Any) -> httpx2.Response:
        body = {"content": content, "message_type": "outgoing", "private": True, **more}
        return self.http.post(f"{API}/conversations/{conversation}/messages", json=body)


API = "/api/v1/accounts/1"


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[Callable[..., Wired]]:
    opened: list[Any] = []

    def wire(**options: Any) -> Wired:
        receiver = Receiver()
        ear = SandboxServer(receiver).start()
        desk = build_desk(webhook_url=f"{ear.url}/hook", secret=SECRET, **options)
        server = SandboxServer(desk).start()
        http = httpx2.Client(base_url=server.url, headers={"api_access_token": TOKEN})
        opened.append((http, server, desk, ear))
        return Wired(desk, server, http, receiver)

    yield wire
    for http, server, desk, ear in opened:
        http.close()
        server.stop()
        desk.close()
        ear.stop()
        assert server.errors == []


@pytest.fixture
def wired(open_desk: Callable[..., Wired]) -> Wired:
    return open_desk()


def test_a_written_message_is_posted_signed(wired: Wired) -> None:
    written = wired.write(conversation="new", text="Wo ist meine Bestellung <SO-10001>? Grüße")

    assert written["delivery"]["status"] == 202
    (headers, body) = wired.receiver.got[0]
    timestamp = headers["x_chatwoot_timestamp"]
    assert abs(int(timestamp) - time.time()) < 5
    wanted = hmac.new(SECRET.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers["x_chatwoot_signature"] == f"sha256={wanted}"
    assert headers["x_chatwoot_delivery"] == written["delivery"]["id"]
    assert b"Gr\xc3\xbc\xc3\x9fe" in body
    assert b"\\u003cSO-10001\\u003e" in body  # Rails escapes it: parsed and dumped, it differs

    event = json.loads(body)
    assert event["event"] == "message_created"
    assert event["id"] == written["message"]
    assert (event["message_type"], event["private"]) == ("incoming", False)
    assert event["content"] == "Wo ist meine Bestellung <SO-10001>? Grüße"
    assert event["sender"]["email"] == "maya@example.com"
    assert event["sender"]["additional_attributes"]["social_profiles"] == {"twitter": "mayab"}
    assert event["conversation"]["id"] == written["conversation"]
    assert event["conversation"]["meta"]["sender"]["phone_number"] == "+493023125010"
    assert event["account"]["id"] == 1


def test_the_hub_verifies_and_reads_what_the_desk_posts(wired: Wired) -> None:
    """Neither knows the other: both are written from Chatwoot's source."""
    customer = build().customers[0]
    handle = customer.handles.get("x") or next(iter(customer.handles.values()))
    wired.write(
        conversation="new",
        text="Die Lampe ist kaputt. {{ SO-10001 }} & <b>",
        network="x",
        contact={
            "name": f"{customer.given_name} {customer.family_name}",
            "email": customer.email,
            "phone": customer.phone,
            "identifier": customer.number,
            "native_id": handle.native_id,
            "additional_attributes": {"social_profiles": {"twitter": f"@{handle.handle}"}},
        },
    )
    wired.note(1, "Looked up.")
    assert wired.desk.drain()
    inlet = ChatwootInlet()
    read: list[Arrival] = []
    for headers, body in wired.receiver.got:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        delivery = Delivery("POST", "/hook", body, datetime.now(UTC), headers=named)
        verdict = inlet.verify(delivery, (SECRET,))
        assert (verdict.ok, verdict.trust) == (True, "signature"), verdict.reason
        assert not inlet.verify(delivery, ("another-secret-entirely",)).ok
        (arrival,) = inlet.arrivals(json.loads(body))
        assert isinstance(arrival, Arrival)
        read.append(arrival)
    said, noted = read
    assert said.text == "Die Lampe ist kaputt. {{ SO-10001 }} & <b>"
    assert (said.conversation, said.outgoing) == ("1", False)
    assert (said.author.network, said.author.native_id) == ("x", handle.native_id)
    assert said.author.handle == handle.handle
    assert said.author.emails == (customer.email.lower(),)
    assert said.author.external_ids["chatwoot_identifier"] == customer.number
    assert (noted.conversation, noted.outgoing) == ("1", True)


def test_a_redelivery_is_the_same_body_and_id_under_a_new_signature(
    open_desk: Callable[..., Wired],
) -> None:
    clock = iter(range(1_760_000_000, 1_770_000_000, 60))
    wired = open_desk(now=lambda: float(next(clock)))
    wired.write(conversation="new", text="Hello")
    wired.write(conversation=1, text="Anybody?")

    again = wired.http.post("/_sandbox/redeliver", json={}).json()
    assert again["status"] == 202
    second, third = wired.receiver.got[1:]
    assert second[1] == third[1]
    assert second[0]["x_chatwoot_delivery"] == third[0]["x_chatwoot_delivery"] == again["id"]
    assert second[0]["x_chatwoot_timestamp"] != third[0]["x_chatwoot_timestamp"]
    assert third[0]["x_chatwoot_signature"] == sign(
        SECRET, third[0]["x_chatwoot_timestamp"], third[1]
    )

    first = wired.http.get("/_sandbox/deliveries").json()["deliveries"][0]
    wired.http.post("/_sandbox/redeliver", json={"delivery": first["id"]})
    assert wired.receiver.got[3][1].decode() == first["body"]
    assert wired.http.post("/_sandbox/redeliver", json={"delivery": "?"}).status_code == 404


@pytest.mark.parametrize("status", ["500 Oops", "302 Found", "401 No"])
def test_a_refused_webhook_is_reported_and_not_retried(wired: Wired, status: str) -> None:
    wired.receiver.status = status
    written = wired.write(conversation="new", text="Hello")
    assert written["delivery"]["status"] == int(status[:3])
    assert len(wired.receiver.got) == 1


def test_an_unreachable_webhook_leaves_the_message() -> None:
    desk = build_desk(webhook_url="http://127.0.0.1:9/nobody", secret=SECRET)
    with (
        SandboxServer(desk) as server,
        httpx2.Client(base_url=server.url, headers={"api_access_token": TOKEN}) as http,
    ):
        answer = http.post("/_sandbox/write", json={"contact": MAYA, "text": "Hello"}).json()
        assert answer["delivery"]["status"] is None
        assert "refused" in answer["delivery"]["error"].lower()
        assert len(http.get(f"{API}/conversations/1/messages").json()["payload"]) == 1
    desk.close()


def test_a_note_posts_a_webhook_too_and_never_delays_its_answer(wired: Wired) -> None:
    conversation = wired.write(conversation="new", text="Hello")["conversation"]
    answer = wired.note(conversation, "Looked up: SO-10001", echo_id="e1")
    assert answer.status_code == 200
    note = answer.json()
    assert (note["message_type"], note["private"], note["echo_id"]) == (1, True, "e1")
    assert note["conversation_id"] == conversation
    assert wired.desk.drain()
    event = json.loads(wired.receiver.got[1][1])
    assert (event["message_type"], event["private"]) == ("outgoing", True)
    assert event["sender"]["type"] == "user"


def test_one_person_is_one_contact_and_an_agent_can_reply(wired: Wired) -> None:
    first = wired.write(conversation="new", text="Hello", network="x")
    second = wired.write(conversation="new", text="Hello again", network="instagram")
    reply = wired.write(conversation=second["conversation"], text="Sorry!", by="agent")
    assert first["contact"] == second["contact"] == reply["contact"]
    event = json.loads(wired.receiver.got[2][1])
    assert (event["message_type"], event["conversation"]["channel"]) == (
        "outgoing",
        "Channel::Instagram",
    )


def test_a_person_has_one_source_id_in_each_inbox(wired: Wired) -> None:
    wired.write(conversation="new", text="Hello", network="x", contact=MAYA | {"native_id": "4711"})
    wired.write(conversation="new", text="Again", network="x")
    wired.write(conversation="new", text="Elsewhere", network="instagram")
    inboxes = [json.loads(body)["conversation"]["contact_inbox"] for _, body in wired.receiver.got]
    assert [inbox["source_id"] for inbox in inboxes[:2]] == ["4711", "4711"]
    assert inboxes[2]["source_id"] != "4711"


def test_messages_are_paged_as_chatwoot_pages_them(wired: Wired) -> None:
    conversation = wired.write(conversation="new", text="0")["conversation"]
    for number in range(1, 25):
        wired.note(conversation, str(number))
    path = f"{API}/conversations/{conversation}/messages"

    def contents(**query: int) -> list[str]:
        payload = wired.http.get(path, params=query).json()["payload"]
        return [message["content"] for message in payload]

    latest = wired.http.get(path).json()["payload"]
    assert [m["content"] for m in latest] == [str(n) for n in range(5, 25)]
    assert contents(before=latest[0]["id"]) == ["0", "1", "2", "3", "4"]
    assert contents(before=1) == []
    assert contents(after=1) == [str(n) for n in range(1, 25)]
    assert contents(after=2, before=4) == ["1", "2"]


def test_content_is_rendered_limited_and_never_holds_a_null_byte(wired: Wired) -> None:
    conversation = wired.write(conversation="new", text="{{contact.name}} stays")["conversation"]
    rendered = wired.note(conversation, "Dear {{ contact.name }}, {{ nothing }}`{{ kept }}`{% x %}")
    assert rendered.json()["content"] == "Dear Maya Brandt, `{{ kept }}`"
    assert wired.note(conversation, "broken {{ template").json()["content"] == "broken {{ template"
    assert wired.note(conversation, "x" * 150_000).status_code == 200
    too_long = wired.note(conversation, "x" * 150_001)
    assert too_long.status_code == 422
    assert too_long.json() == {
        "error": "Validation failed: Content is too long (maximum is 150000 characters)"
    }
    assert wired.note(conversation, "a\x00b").json() == {"error": "string contains null byte"}
    incoming = wired.http.get(f"{API}/conversations/1/messages").json()["payload"][0]
    assert incoming["content"] == "{{contact.name}} stays"


def test_a_flood_is_refused_as_a_validation_error(open_desk: Callable[..., Wired]) -> None:
    wired = open_desk(messages_a_minute=2)
    conversation = wired.write(conversation="new", text="Hello")["conversation"]
    assert wired.note(conversation, "one").status_code == 200
    flooded = wired.note(conversation, "two")
    assert (flooded.status_code, flooded.json()) == (
        422,
        {"error": "Validation failed: Too many messages"},
    )


def test_who_may_not_is_told_so_as_chatwoot_tells_it(wired: Wired) -> None:
    wired.write(conversation="new", text="Hello")
    path = f"{API}/conversations/1/messages"

    def refusal(path: str, token: str | None) -> tuple[int, Any]:
        headers = {"api_access_token": token} if token else {}
        with httpx2.Client(base_url=wired.server.url, headers=headers) as http:
            answer = http.get(path)
        return answer.status_code, answer.json()

    assert refusal(path, None) == (
        401,
        {"errors": ["You need to sign in or sign up before continuing."]},
    )
    assert refusal(path, "wrong") == (401, {"error": "Invalid Access Token"})
    assert refusal(path, OUTSIDER_TOKEN) == (
        401,
        {"error": "You are not authorized to access this account"},
    )
    missing = {"error": "Resource could not be found"}
    assert refusal("/api/v1/accounts/2/conversations/1", TOKEN) == (404, missing)
    assert refusal(f"{API}/conversations/99/messages", TOKEN) == (404, missing)
    assert refusal("/api/v1/profile", OUTSIDER_TOKEN)[1]["accounts"] == []
    assert refusal("/api/v1/profile", TOKEN)[1]["accounts"][0]["role"] == "agent"
    assert wired.http.get("/api/v1/nothing").status_code == 404
    bad = wired.http.post(path, content=b"{", headers={"Content-Type": "application/json"})
    assert bad.status_code == 400


def test_contacts_are_searched_by_substring_and_wildcard(wired: Wired) -> None:
    for number in range(17):
        body = {"name": f"Ann {number}", "email": f"ann_{number}@example.com"}
        assert wired.http.post(f"{API}/contacts", json=body).status_code == 200
    wired.write(conversation="new", text="Hello")

    def search(q: str, **more: Any) -> Any:
        return wired.http.get(f"{API}/contacts/search", params={"q": q, **more})

    found = search("MAYA@example.com").json()
    assert [c["identifier"] for c in found["payload"]] == ["C-1001"]
    assert [c["identifier"] for c in search("+493023125010").json()["payload"]] == ["C-1001"]
    assert search("c-1001").json()["payload"] == []  # an identifier's case counts
    assert len(search("ann_1@example.com").json()["payload"]) == 1
    assert len(search("ann_1").json()["payload"]) == 8  # 1, 10 to 16: _ and the rest are a pattern
    first, second = search("@example.com").json(), search("@example.com", page=2).json()
    assert (len(first["payload"]), first["meta"]["has_more"]) == (15, True)
    assert (len(second["payload"]), second["meta"]["has_more"]) == (3, False)
    assert search(" ").status_code == 422
    assert search("x", sort="password").status_code == 400
    shown = wired.http.get(f"{API}/contacts/{found['payload'][0]['id']}").json()["payload"]
    assert shown["email"] == "maya@example.com"


@pytest.mark.parametrize(
    ("body", "attributes"),
    [
        ({"email": "maya@EXAMPLE.com"}, ["email"]),
        ({"email": "nonsense"}, ["email"]),
        ({"phone_number": "030 123"}, ["phone_number"]),
        ({"identifier": "C-1001", "phone_number": "+493023125010"}, ["phone_number", "identifier"]),
    ],
)
def test_a_contact_that_breaks_a_rule_is_refused(
    wired: Wired, body: dict[str, str], attributes: list[str]
) -> None:
    wired.write(conversation="new", text="Hello")
    answer = wired.http.post(f"{API}/contacts", json=body)
    assert (answer.status_code, answer.json()["attributes"]) == (422, attributes)


def test_it_counts_its_own_rows_and_keeps_them(tmp_path: Path) -> None:
    state = tmp_path / "desk.sqlite"
    for round_ in range(2):
        desk = build_desk(state)
        with (
            SandboxServer(desk) as server,
            httpx2.Client(base_url=server.url, headers={"api_access_token": TOKEN}) as http,
        ):
            written = http.post("/_sandbox/write", json={"contact": MAYA, "text": "Hello"}).json()
            assert written["delivery"] is None
            assert written["conversation"] == round_ + 1
            http.post(
                f"{API}/conversations/1/messages",
                json={"content": "done\n\n[amends:am-1]", "private": True},
            )
            rows = http.get("/_sandbox/rows", params={"marker": "[amends:am-1]"}).json()
            assert rows["count"] == round_ + 1
            assert http.get("/_sandbox/rows", params={"marker": "[amends:am-2]"}).json() == {
                "count": 0,
                "ids": [],
            }
        desk.close()


@pytest.mark.parametrize(
    ("variant", "status", "applied"),
    [("after_commit", 422, 1), ("flooded", 422, 0), ("login", 200, 0), ("unauthorised", 401, 0)],
)
def test_it_lies_as_asked(wired: Wired, variant: str, status: int, applied: int) -> None:
    conversation = wired.write(conversation="new", text="Hello")["conversation"]
    wired.server.faults.arm(f"masked:{variant}", match="POST")
    assert wired.note(conversation, "marked").status_code == status
    rows = wired.http.get("/_sandbox/rows", params={"marker": "marked"}).json()
    assert rows["count"] == applied


def test_open_conversations_are_listed(wired: Wired) -> None:
    wired.write(conversation="new", text="Hello")
    wired.write(conversation="new", text="Hello again")
    data = wired.http.get(f"{API}/conversations").json()["data"]
    assert data["meta"]["all_count"] == 2
    assert {row["id"] for row in data["payload"]} == {1, 2}
    assert data["payload"][0]["messages"][0]["content"].startswith("Hello")
    assert (
        wired.http.get(f"{API}/conversations", params={"status": "resolved"}).json()["data"][
            "payload"
        ]
        == []
    )
    assert (
        wired.http.get(f"{API}/conversations/2").json()["meta"]["sender"]["name"] == "Maya Brandt"
    )
    assert wired.http.get("/api").json()["version"]
