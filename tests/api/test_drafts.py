"""Drafts and hand-offs over the API: from facts, checked, frozen, audited."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from middleware.api import create_api
from middleware.api.webhooks import EVENTS
from middleware.contract.canonical import Kind
from middleware.domain.slots import CallHours
from middleware.flows.intake import Intake
from tests.api.conftest import Api, both_databases
from tests.flows.conftest import Stage

PHOTO = "https://x.example.com/kimberg/status/1"


@pytest.fixture
def known(known: Stage) -> Stage:
    hours = CallHours(hours=({"days": "mon-fri", "from": "09:00", "to": "17:00"},), at_once=2)
    return known.with_options(public_url="https://hub.example.com", call_hours=hours)


@pytest.fixture
def complaint(api: Api) -> str:
    """Kim complains on X, in public, about her order."""
    return api.send_in(
        "My lamp from order SO-10001 arrived broken",
        url=PHOTO,
        author={"emails": ["kim@example.com"]},
    )


def replace(api: Api, complaint: str, **request: Any) -> dict[str, Any]:
    body = {
        "operation": "replacement_order",
        "request": {
            "order": str(api.stage.order.ref),
            "lines": [{"line": "1", "sku": "LMP-100", "quantity": "1"}],
            **request,
        },
        "complaint_id": complaint,
    }
    made = api.post("/v1/actions", body, headers={"Idempotency-Key": "r1"})
    assert made.status_code == 202, made.text
    return dict(made.json())


def drafts(api: Api, complaint: str, **asked: Any) -> dict[str, dict[str, Any]]:
    answer = api.post(f"/v1/complaints/{complaint}/drafts", asked)
    assert answer.status_code == 200, answer.text
    return {draft["channel"]: draft for draft in answer.json()["drafts"]}


def test_a_draft_tells_what_is_done_only_once_it_is(api: Api, complaint: str) -> None:
    before = drafts(api, complaint)
    assert "SO-10001" in before["private"]["text"]
    assert "replacement" not in before["private"]["text"].lower()
    replace(api, complaint)
    waiting = drafts(api, complaint)["private"]["text"]
    assert "not confirmed yet" in waiting
    api.stage.run_due()
    done = drafts(api, complaint)["private"]
    assert "A replacement is ordered, under the number" in done["text"]
    number = next(f["value"] for f in done["facts"] if f["name"] == "action_number")
    assert number in done["text"]


def test_the_public_draft_holds_nothing_of_hers(api: Api, complaint: str) -> None:
    replace(api, complaint)
    api.stage.run_due()
    answer = api.post(f"/v1/complaints/{complaint}/drafts", {}).json()
    assert answer["advice"]["channel"] == "private"
    assert answer["drafts"][0]["channel"] == "private"
    public = answer["drafts"][1]
    private_values = {fact["value"] for fact in answer["drafts"][0]["facts"] if fact["personal"]}
    assert "Kim" in private_values
    for value in private_values:
        assert value not in public["text"]
    assert public["length"] <= public["limit"] == 280


def test_an_invitation_is_offered_in_private_until_it_ends(api: Api, complaint: str) -> None:
    place = str(api.stage.ref("desk", Kind.CONVERSATION, "7"))
    body = {
        "operation": "invitation",
        "request": {"valid_hours": 2, "on": place},
        "complaint_id": complaint,
    }
    made = api.post("/v1/actions", body, headers={"Idempotency-Key": "i1"})
    assert made.status_code == 202, made.text
    texts = drafts(api, complaint)
    assert "https://hub.example.com/v1/invitations/" in texts["private"]["text"]
    assert "/v1/invitations/" not in texts["public"]["text"]
    api.stage.time.now += timedelta(hours=3)
    assert "/v1/invitations/" not in drafts(api, complaint)["private"]["text"]


def invited(api: Api, complaint: str) -> tuple[str, str]:
    """An invitation's action, and the path that its link leads to."""
    body = {
        "operation": "invitation",
        "request": {"valid_hours": 2, "on": str(api.stage.ref("desk", Kind.CONVERSATION, "7"))},
        "complaint_id": complaint,
    }
    made = api.post("/v1/actions", body, headers={"Idempotency-Key": "i1"}).json()
    return made["id"], urlsplit(made["invitation"]["link"]).path


@both_databases
def test_a_link_is_followed_once_however_many_ask_at_a_time(api: Api, complaint: str) -> None:
    replace(api, complaint)
    action, path = invited(api, complaint)
    api.send_in("She may be the one of C-1001", id="n-1", internal=True)
    handed = api.post(f"/v1/complaints/{complaint}/handoffs", {"to": "calls", "reason": "asked"})
    packet = api.get(handed.headers["Location"]).json()["packet"]
    assert [one["internal"] for one in packet["thread"]] == [False, True]
    api.stage.run_due()
    assert api.client.get(path).status_code == 200, "looking uses nothing up"
    with ThreadPoolExecutor(8) as askers:
        answers = list(askers.map(lambda _: api.client.post(path), range(8)))
    assert sorted(one.status_code for one in answers) == [200] + [410] * 7
    shown = next(one for one in answers if one.status_code == 200)
    assert shown.headers["Cache-Control"] == "no-store"
    (message,) = shown.json()["messages"]
    assert (message["ours"], "SO-10001" in message["text"]) == (False, True)
    (promise,) = shown.json()["promises"]
    assert promise["operation"] == "replacement_order"
    assert promise["numbers"]
    refused = api.client.post(path)
    assert refused.json()["code"] == "gone"
    assert "used already" in refused.json()["detail"]
    assert api.client.get(path).status_code == 410
    assert api.get(f"/v1/actions/{action}").json()["invitation"]["used_at"] is not None
    assert "/v1/invitations/" not in drafts(api, complaint)["private"]["text"]
    assert api.stage.events().count("invitation.followed") == 1


def test_a_link_that_has_run_out_was_taken_back_or_made_up_leads_nowhere(
    api: Api, complaint: str
) -> None:
    action, path = invited(api, complaint)
    assert api.client.post(f"{path[:-1]}{'A' if path[-1] != 'A' else 'B'}").status_code == 404
    assert api.client.post("/v1/invitations/nonsense").status_code == 404
    with api.stage.hub.database.begin() as uow:
        row = uow.actions.invitation_of(action)
        assert row is not None
        row.revoked_at = api.stage.time()
    assert "taken back" in api.client.post(path).json()["detail"]
    with api.stage.hub.database.begin() as uow:
        row = uow.actions.invitation_of(action)
        assert row is not None
        row.revoked_at = None
    api.stage.time.now += timedelta(hours=2)
    gone = api.client.post(path)
    assert (gone.status_code, "run out" in gone.json()["detail"]) == (410, True)
    with api.stage.hub.database.read() as uow:
        row = uow.actions.invitation_of(action)
        assert row is not None
        assert row.used_at is None


def test_links_are_counted_by_the_address_that_follows_them(known: Stage) -> None:
    intake = Intake(known.hub)
    app = create_api(known.hub, intake, version="1", requests_per_minute=2)
    with TestClient(app) as client:
        answers = [client.post("/v1/invitations/nonsense") for _ in range(3)]
    intake.close()
    assert [one.status_code for one in answers] == [404, 404, 429]
    assert "Retry-After" in answers[2].headers


@pytest.mark.parametrize(
    ("sent", "public"),
    [
        ({"direct": True, "url": PHOTO}, False),
        ({"direct": False}, True),
        ({"url": PHOTO}, True),
        ({}, False),
    ],
)
def test_who_could_read_it_is_what_the_source_says(
    api: Api, sent: dict[str, Any], public: bool
) -> None:
    complaint = api.send_in(**sent)
    assert set(drafts(api, complaint)) == {"private"} | ({"public"} if public else set())
    text = {"text": "So sorry!", "channel": "public", "complaint_id": complaint}
    assert api.post("/v1/drafts/check", text).json()["may_be_sent"] is public
    handed = api.post(f"/v1/complaints/{complaint}/handoffs", {"to": "calls", "reason": "asked"})
    packet = api.get(handed.headers["Location"]).json()["packet"]
    assert {w["channel"] for w in packet["windows"]} >= ({"public"} if public else {"private"})
    assert ("public" in {w["channel"] for w in packet["windows"]}) is public


def test_a_text_is_checked(api: Api, complaint: str) -> None:
    body = {
        "text": "Sorry Kim, order SO-10001 will be replaced tomorrow!",
        "channel": "public",
        "complaint_id": complaint,
    }
    found = api.post("/v1/drafts/check", body).json()
    assert found["may_be_sent"] is False
    assert {w["code"] for w in found["warnings"]} == {"personal_data", "promise"}
    fine = {"text": "Sorry to hear that. Please send us a message.", "channel": "public"}
    assert api.post("/v1/drafts/check", {**fine, "network": "x"}).json()["may_be_sent"] is True
    assert api.post("/v1/drafts/check", fine).status_code == 422
    long = {"text": "a" * 281, "channel": "public", "network": "x"}
    assert api.post("/v1/drafts/check", long).json()["warnings"][0]["code"] == "too_long"
    mail = {"text": "a", "channel": "public", "network": "email"}
    assert api.post("/v1/drafts/check", mail).status_code == 422


def test_a_time_for_a_call_is_offered_as_often_as_calls_are_made_at_once(
    api: Api, complaint: str
) -> None:
    def times() -> list[str]:
        found = api.get("/v1/call-back-slots", params={"limit": 2}).json()["data"]
        return [one["slot_from"][11:16] for one in found]

    def wanted(begin: str, end: str, phone: str = "+4930123456") -> dict[str, Any]:
        request = {"subject": "Call", "slot_from": begin, "slot_to": end, "phone": phone}
        return {"operation": "call_back", "request": request, "complaint_id": complaint}

    def agree(place: int, begin: str, end: str) -> str:
        asked = wanted(f"2026-11-23T{begin}:00Z", f"2026-11-23T{end}:00Z", f"+49301234{place:02}")
        made = api.post("/v1/actions", asked, headers={"Idempotency-Key": f"call-{place}"})
        assert made.status_code == 202, made.text
        return str(made.json()["id"])

    assert times() == ["09:00", "09:30"]
    first = agree(1, "09:15", "09:45")
    assert times() == ["09:00", "09:30"]
    agree(2, "09:30", "10:00")
    assert times() == ["09:00", "10:00"]
    assert "10:00" in drafts(api, complaint, call_back=True)["private"]["text"]
    body = wanted("2026-11-23T09:30:00Z", "2026-11-23T10:00:00Z")
    warned = api.post("/v1/actions/preview", body).json()["warnings"]
    assert any(w == "2 calls are agreed for that time already, and 2 made at once" for w in warned)
    other = api.post("/v1/actions/preview", wanted("2026-11-23T10:00:00Z", "2026-11-23T10:30:00Z"))
    assert not any("agreed" in w for w in other.json()["warnings"])
    assert api.post(f"/v1/actions/{first}/cancel").status_code in (200, 202)
    assert times() == ["09:00", "09:30"]


def test_a_handoff_is_frozen_shows_what_changed_and_expires(api: Api, complaint: str) -> None:
    made = api.post(
        f"/v1/complaints/{complaint}/handoffs",
        {"to": "call centre", "reason": "wants a call", "valid_hours": 5},
    )
    assert made.status_code == 201
    path = made.headers["Location"]
    (told,) = [
        e["data"] for e in api.get("/v1/events").json()["data"] if e["type"] == "handoff.made"
    ]
    EVENTS["handoff.made"][0].model_validate(told)
    assert (told["id"], told["complaint_id"]) == (made.json()["id"], complaint)
    assert told["to"] == "call centre"
    assert "wants a call" not in told.values()
    first = api.get(path).json()
    assert first["changed"] == {}
    assert set(first["packet"]) == {
        "complaint", "thread", "identity", "orders", "promises", "actions", "windows", "claims",
    }  # fmt: skip
    assert first["packet"]["identity"]["evidence"]
    assert first["packet"]["orders"][0]["number"] == "SO-10001"
    replace(api, complaint)
    api.stage.run_due()
    later = api.get(path).json()
    assert later["packet"] == first["packet"]
    assert {"actions", "promises"} <= set(later["changed"])
    assert api.get(path, scopes=("complaints:read",)).status_code == 403
    api.stage.time.now += timedelta(hours=6)
    assert api.get(path).status_code == 410
    with api.stage.hub.database.read() as uow:
        audit = [row.action for row in uow.audit.about(first["id"])]
    assert audit == ["handoff.make", "handoff.open", "handoff.open", "handoff.refuse"]
    assert api.get("/v1/handoffs/hnd_nothing").status_code == 404
