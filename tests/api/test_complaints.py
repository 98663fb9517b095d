"""Complaints: sent in once, shown with their reasons, changed as their source changed them."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from middleware.api.schemas.complaints import ComplaintShown, DeliveryShown
from tests.api.conftest import Api, both_databases, event, sent
from tests.api.test_problems import shape
from tests.flows.node import until


@both_databases
def test_a_complaint_is_shown_with_everything_found_out(api: Api) -> None:
    answer = api.post("/v1/complaints", sent(author={"emails": ["kim@example.com"]}))
    assert answer.status_code == 202
    accepted = answer.json()
    assert answer.headers["location"] == accepted["location"]
    waiting = api.get(accepted["location"]).json()
    assert (waiting["state"], waiting["complaints"]) == ("stored", [])
    api.stage.run_due()

    delivery = DeliveryShown.model_validate(api.get(accepted["location"]).json())
    assert (delivery.state, delivery.trust) == ("handled", "api_key")
    (complaint_id,) = delivery.complaints
    shown = ComplaintShown.model_validate(api.get(f"/v1/complaints/{complaint_id}").json())
    assert shown.connection == "api"
    assert shown.person_id is not None
    assert shown.order == str(api.stage.order.ref)
    (arrival,) = shown.arrivals
    assert (arrival.text, arrival.handle) == (
        "My lamp from order SO-10001 arrived broken",
        "kimberg",
    )

    understood = shown.understanding
    assert understood is not None
    assert (understood.intent.value, understood.reason.value) == ("complaint", "damaged")
    (span, *_) = understood.reason.evidence
    assert understood.text[span.start : span.end].strip()
    assert understood.remedy.value == "unknown"
    assert [e.value for e in understood.entities if e.type == "order_number"] == ["SO-10001"]

    assert shown.resolution is not None
    assert shown.resolution.outcome == "link"
    (candidate, *_) = shown.resolution.candidates
    assert candidate.score == pytest.approx(sum(e.weight for e in candidate.evidence))
    assert str(api.stage.contact.ref) in candidate.refs
    assert shown.order_match is not None
    assert shown.order_match.chosen == str(api.stage.order.ref)
    assert shown.order_match.ranked[0].reasons

    (listed,) = api.get("/v1/complaints").json()["data"]
    assert listed["id"] == complaint_id
    assert (listed["intent"], listed["outcome"]) == ("complaint", "link")


def test_the_same_event_is_accepted_once(api: Api) -> None:
    first = api.post("/v1/complaints", sent())
    # The order of keys is the sender's business.
    turned = {key: sent()[key] for key in reversed(sent())}
    again = api.post("/v1/complaints", turned)
    assert again.status_code == 202
    assert again.json() == first.json() | {"new": False}
    other = shape(api.post("/v1/complaints", sent("something else")))
    assert (other["status"], other["code"]) == (422, "idempotency-key-reused")
    assert api.inbox() == ["stored"]


def test_an_answer_may_be_waited_for(api: Api) -> None:
    def handle() -> None:
        until(api.inbox)
        api.stage.run_due()

    worker = threading.Thread(target=handle)
    worker.start()
    answer = api.post("/v1/complaints", sent(), headers={"prefer": "wait=30"})
    worker.join()
    assert answer.headers["preference-applied"] == "wait=30"
    assert api.get(answer.headers["location"]).json()["state"] == "handled"


@pytest.mark.parametrize(
    ("message", "pointer"),
    [
        (sent(connection="nobody"), "/connection"),
        (sent(author={"native_id": None, "handle": None}), "/data/author"),
        (sent(None), "/data/text"),
        (sent("  "), "/data/text"),
    ],
)
def test_what_could_only_be_quarantined_is_refused_at_the_door(
    api: Api, message: dict[str, Any], pointer: str
) -> None:
    problem = shape(api.post("/v1/complaints", message))
    assert problem["code"] == "validation"
    assert [e["pointer"] for e in problem["errors"]] == [pointer]
    assert api.inbox() == []


def test_each_item_of_a_batch_has_its_own_result(api: Api) -> None:
    good = sent(id="m-1")
    wrong = sent(id="m-2")
    del wrong["data"]["author"]
    unknown = sent(id="m-3")
    unknown["data"]["colour"] = "red"
    nobody = sent(id="m-4", connection="nobody")
    batch = {"complaints": [good, wrong, unknown, nobody, good, "nonsense"]}
    answer = api.post("/v1/complaints/batch", batch)
    assert answer.status_code == 202
    shown = answer.json()
    assert (shown["accepted"], shown["refused"]) == (2, 4)
    assert [r["status"] for r in shown["results"]] == [202, 422, 400, 422, 200, 422]
    pointers = [
        [e["pointer"] for e in r["problem"]["errors"]] for r in shown["results"] if r["problem"]
    ]
    assert pointers == [
        ["/complaints/1/data/author"],
        ["/complaints/2/data/colour"],
        ["/complaints/3/connection"],
        ["/complaints/5"],
    ]
    assert shown["results"][2]["problem"]["code"] == "unknown-field"
    assert api.inbox() == ["stored"]


@pytest.mark.parametrize("count", [0, 501])
def test_a_batch_holds_up_to_500(api: Api, count: int) -> None:
    problem = shape(api.post("/v1/complaints/batch", {"complaints": [sent()] * count}))
    assert [e["pointer"] for e in problem["errors"]] == ["/complaints"]


def test_a_full_batch_is_stored(api: Api) -> None:
    batch = {"complaints": [sent(id=f"m-{n}", conversation=f"c-{n}") for n in range(500)]}
    shown = api.post("/v1/complaints/batch", batch).json()
    assert (shown["accepted"], shown["refused"]) == (500, 0)
    ids = {r["accepted"]["delivery_id"] for r in shown["results"]}
    assert len(ids) == 500


def test_an_edit_at_the_source_is_an_arrival(api: Api) -> None:
    complaint = api.send_in()
    edit = {"text": "It is lost", "changed_at": "2026-11-21T12:30:00Z"}
    answer = api.call("PATCH", "/v1/arrivals/api/m-1", json=edit)
    assert answer.status_code == 202
    api.stage.run_due()
    (arrival,) = api.get(f"/v1/complaints/{complaint}").json()["arrivals"]
    assert (arrival["text"], arrival["edited_at"]) == ("It is lost", "2026-11-21T12:30:00Z")

    older = {"text": "An old thought", "changed_at": "2026-11-21T12:10:00Z"}
    api.call("PATCH", "/v1/arrivals/api/m-1", json=older)
    api.stage.run_due()
    (arrival,) = api.get(f"/v1/complaints/{complaint}").json()["arrivals"]
    assert arrival["text"] == "It is lost"


def test_a_deletion_at_the_source_empties_the_text(api: Api) -> None:
    complaint = api.send_in()
    answer = api.call("DELETE", "/v1/arrivals/api/m-1?changed_at=2026-11-21T12:45:00Z")
    assert answer.status_code == 202
    api.stage.run_due()
    shown = api.get(f"/v1/complaints/{complaint}").json()
    assert (shown["state"], shown["understanding"]) == ("deleted", None)
    assert shown["arrivals"][0]["text"] == ""
    assert shown["arrivals"][0]["deleted_at"] == "2026-11-21T12:45:00Z"
    (listed,) = api.get("/v1/complaints?state=deleted").json()["data"]
    assert listed["intent"] == "unknown"


def test_messages_of_other_inlets_can_be_changed_too(api: Api) -> None:
    body = json.loads(event(id="a/b c", author={"handle": None}))
    api.deliver(json.dumps(body).encode())
    api.stage.run_due()
    desk = api.stage.names["desk"]
    assert api.call("DELETE", f"/v1/arrivals/{desk}/a%2Fb%20c").status_code == 202
    api.stage.run_due()
    (listed,) = api.get("/v1/complaints").json()["data"]
    assert listed["state"] == "deleted"


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_message_nobody_knows_cannot_be_changed(api: Api, method: str) -> None:
    edit = {"text": "x", "changed_at": "2026-11-21T12:30:00Z"}
    more = {"json": edit} if method == "PATCH" else {}
    problem = shape(api.call(method, "/v1/arrivals/api/never-seen", **more))
    assert problem["code"] == "not-found"
    assert "POST /v1/complaints" in problem["detail"]


def test_what_cannot_be_read_shows_why(api: Api) -> None:
    answer = api.deliver(b'[{"type": "message.created"}]')
    api.stage.run_due()
    shown = api.get(answer.json()["location"]).json()
    assert shown["state"] == "quarantined"
    assert {p["place"] for p in shown["problems"]} == {"/0/timestamp", "/0/data"}


def test_what_you_have_is_not_sent_again(api: Api) -> None:
    complaint = api.send_in()
    first = api.get(f"/v1/complaints/{complaint}")
    tag = first.headers["etag"]
    for given in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = api.get(f"/v1/complaints/{complaint}", headers={"if-none-match": given})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    edit = {"text": "It is lost", "changed_at": "2026-11-21T12:30:00Z"}
    api.call("PATCH", "/v1/arrivals/api/m-1", json=edit)
    api.stage.run_due()
    changed = api.get(f"/v1/complaints/{complaint}", headers={"if-none-match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


def test_no_such_complaint(api: Api) -> None:
    assert shape(api.get("/v1/complaints/cmp_1"))["code"] == "not-found"
    assert shape(api.get("/v1/deliveries/inb_1"))["code"] == "not-found"


# --- pages -------------------------------------------------------------------------------------


def many(api: Api, count: int, first: int = 0) -> None:
    numbers = range(first, first + count)
    batch = {"complaints": [sent(id=f"m-{n}", conversation=f"c-{n}") for n in numbers]}
    api.post("/v1/complaints/batch", batch)
    api.stage.run_due(most=1000)


def test_a_list_is_read_to_its_end_while_others_write(api: Api) -> None:
    many(api, 7)
    all_of_it = [row["id"] for row in api.get("/v1/complaints").json()["data"]]
    assert len(all_of_it) == 7
    seen: list[str] = []
    page = api.get("/v1/complaints?limit=3")
    seen += [row["id"] for row in page.json()["data"]]
    many(api, 2, first=100)
    while page.json()["has_more"]:
        link = page.headers["link"]
        assert link.endswith('; rel="next"')
        page = api.get(link[1 : link.index(">")])
        seen += [row["id"] for row in page.json()["data"]]
    assert seen == all_of_it
    assert page.json()["next_cursor"] is None
    assert "link" not in page.headers


def test_a_cursor_belongs_to_its_list_and_its_filters(api: Api) -> None:
    many(api, 3)
    cursor = api.get("/v1/complaints?limit=1").json()["next_cursor"]
    assert api.get(f"/v1/complaints?limit=2&cursor={cursor}").status_code == 200
    altered = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    for path in (
        f"/v1/complaints?state=open&cursor={cursor}",
        f"/v1/actions?cursor={cursor}",
        f"/v1/complaints?cursor={altered}",
        f"/v1/complaints?cursor={cursor}AAAA",
        "/v1/complaints?cursor=%F0%9F%92%A1",
    ):
        problem = shape(api.get(path))
        assert [e["pointer"] for e in problem["errors"]] == ["/query/cursor"]


def test_lists_can_be_narrowed(api: Api) -> None:
    complaint = api.send_in(author={"emails": ["kim@example.com"]})
    person = api.get(f"/v1/complaints/{complaint}").json()["person_id"]
    for query, count in (
        (f"person_id={person}", 1),
        ("person_id=per_other", 0),
        ("state=open", 1),
        ("state=closed", 0),
        ("connection=api", 1),
        ("connection=other", 0),
    ):
        assert len(api.get(f"/v1/complaints?{query}").json()["data"]) == count
