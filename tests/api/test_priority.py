"""The queue over REST: its order, its rule book, simulations, who is on call, the report."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from middleware.api import priority_examples
from middleware.flows import prioritise
from tests.api.conftest import Api, both_databases
from tests.api.test_problems import shape as problem_of

STEPS = {
    "targets": [{"name": "hour", "first_response": "1h"}],
    "teams": [{"when": {"brand": "b-1"}, "team": "one"}],
    "escalations": [{"name": "late", "used": 1.0, "add": 1.5}],
}


def shape(answer: Any, code: str) -> dict[str, Any]:
    """The problem that was answered, of this kind."""
    body = problem_of(answer)
    assert body["code"] == code
    return body


def write(api: Api, n: int, text: str = "My lamp is broken", **data: Any) -> str:
    author = {"native_id": str(n), "handle": f"somebody{'abcdefgh'[n]}", **data.pop("author", {})}
    return api.send_in(text, id=f"m-{n}", conversation=f"c-{n}", author=author, **data)


def queue(api: Api, **query: Any) -> list[str]:
    """The ids of all pages, a page of two at a time."""
    params = {"sort": "priority", "limit": 2, **query}
    ids: list[str] = []
    while True:
        answer = api.call("GET", "/v1/complaints", params=params, scopes=("complaints:read",))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        ids += [one["id"] for one in page["data"]]
        if page["next_cursor"] is None:
            return ids
        params["cursor"] = page["next_cursor"]


def put(api: Api, rules: dict[str, Any]) -> Any:
    current = api.get("/v1/priority/rules")
    answer = api.put(
        "/v1/priority/rules", {"rules": rules}, headers={"if-match": current.headers["etag"]}
    )
    api.stage.run_due()
    return answer


@both_databases
def test_the_most_urgent_comes_first(api: Api) -> None:
    assert put(api, STEPS).status_code == 200
    mild = write(api, 1, "How do I change the bulb?", brand_account="b-1")
    plain = write(api, 2, brand_account="b-1")
    loud = write(api, 3, author={"followers": 2_000_000, "verified": True}, brand_account="b-2")
    grave = write(api, 4, "The lamp caught fire and burned my hand", brand_account="b-2")
    twin = write(api, 5, brand_account="b-1")
    assert queue(api) == [grave, loud, plain, twin, mild]
    assert queue(api, brand="b-1") == [plain, twin, mild]
    assert queue(api, brand="b-2") == [grave, loud]
    assert queue(api, team="one") == [plain, twin, mild]
    assert queue(api, state="closed") == []
    newest = api.get("/v1/complaints", params={"limit": 1}).json()["data"][0]
    assert newest["id"] == twin

    shown = api.get(f"/v1/complaints/{grave}").json()
    assert shown["priority"]["points"] == max(
        round(sum(t["points"] for t in shown["priority"]["terms"]), 3), shown["priority"]["floor"]
    )
    assert {t["name"] for t in shown["priority"]["terms"]} >= {"severity", "influence", "time"}
    assert shown["priority"]["rulebook_version"] == 1
    (clock,) = shown["clocks"]
    assert (clock["kind"], clock["state"], clock["due_at"]) == (
        "first_response",
        "running",
        shown["due_at"],
    )
    assert [(s["step"], s["state"]) for s in shown["escalations"]] == [("late", "due")]

    api.stage.time.pass_(minutes=61)
    prioritise.run(api.stage.hub, "tick")
    shown = api.get(f"/v1/complaints/{grave}").json()
    (step,) = shown["escalations"]
    assert (step["state"], step["late_s"]) == ("fired", 120.0)
    assert any(t["name"] == "raised" for t in shown["priority"]["terms"])


def test_filters_that_do_not_go_together_are_refused(api: Api) -> None:
    for query, name in (
        ({"sort": "priority", "person_id": "per_1"}, "person_id"),
        ({"brand": "b-1"}, "brand"),
        ({"team": "one"}, "team"),
    ):
        answer = api.get("/v1/complaints", params=query)
        problem = shape(answer, "validation")
        assert problem["errors"][0]["pointer"] == f"/query/{name}"


def test_a_cursor_of_one_order_is_none_of_the_other(api: Api) -> None:
    for n in (1, 2, 3):
        write(api, n)
    page = api.get("/v1/complaints", params={"sort": "priority", "limit": 1}).json()
    answer = api.get("/v1/complaints", params={"cursor": page["next_cursor"], "limit": 1})
    shape(answer, "validation")


def test_the_rule_book_is_put_with_versions_and_put_back(api: Api) -> None:
    first = api.get("/v1/priority/rules", scopes=("policy:read",)).json()
    assert first["version"] == 0
    made = put(api, priority_examples.RULES_BODY)
    assert made.status_code == 200, made.text
    assert made.json()["version"] == 1
    # What is shown can be put again, and is the same.
    again = put(api, made.json()["rules"])
    assert again.json()["version"] == 1
    assert made.json()["warnings"] == []
    mistyped = {"targets": [{"name": "vip", "when": {"tier": "glod"}, "first_response": "1h"}]}
    (warning,) = put(api, mistyped).json()["warnings"]
    assert warning["pointer"] == "/targets/0/when/tier"
    assert "did you mean 'gold'?" in warning["detail"]
    body = {"version": 0, "reason": "too strict"}
    back = api.put("/v1/priority/rules", body, headers={"if-match": '"2"'})
    assert (back.json()["version"], back.json()["rules"]) == (3, first["rules"])
    versions = api.get("/v1/priority/rules/versions").json()["data"]
    assert [(v["version"], v["reason"]) for v in versions] == [
        (3, "too strict"),
        (2, None),
        (1, None),
    ]
    assert api.get("/v1/priority/rules/versions/1").json()["rules"] == made.json()["rules"]
    shape(api.get("/v1/priority/rules/versions/9"), "not-found")
    shape(api.put("/v1/priority/rules", body, headers={"if-match": '"1"'}), "stale-version")
    shape(api.put("/v1/priority/rules", body), "version-required")


def test_a_rule_book_that_buries_somebody_is_refused_with_its_place(api: Api) -> None:
    problem = shape(put(api, {"scoring": {"influence": {"most": 50}}}), "validation")
    assert {e["pointer"] for e in problem["errors"]} == {
        "/rules/scoring/severity/high",
        "/rules/scoring/severity/critical",
        "/rules/scoring/time",
    }


def test_a_simulation_writes_nothing(api: Api) -> None:
    one = write(api, 1)
    write(api, 2, "How do I change the bulb?", author={"followers": 200_000})
    tried = {"scoring": {"weights": {"sentiment": 0.0, "intent": 0.0}}}
    asked = {"rules": tried, "to": (api.stage.time() + timedelta(hours=1)).isoformat()}
    answer = api.post("/v1/priority/simulate", asked, scopes=("policy:read",))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["complaints"] == 2
    move = next(m for m in found["moves"] if m["complaint_id"] == one)
    assert (move["up"], move["term"]) == (-1, "sentiment")
    assert api.get("/v1/priority/rules").json()["version"] == 0
    wrong = {**asked, "from": asked["to"]}
    assert (
        shape(api.post("/v1/priority/simulate", wrong), "validation")["errors"][0]["pointer"]
        == "/from"
    )


def test_who_is_on_call(api: Api) -> None:
    put(api, priority_examples.RULES_BODY)

    def who(at: str) -> Any:
        return api.get("/v1/priority/on-call", params={"at": at}).json()["on_call"]

    assert who("2026-11-23T09:00:00Z") is None
    assert who("2026-11-23T02:00:00Z") == "ben"
    assert who("2026-11-24T02:00:00Z") == "anna"


def test_the_report_tells_what_was_answered(api: Api) -> None:
    put(api, STEPS)
    write(api, 1)
    write(api, 2)
    api.stage.time.pass_(minutes=10)
    at = api.stage.time().isoformat()
    write_back = {"id": "o-1", "conversation": "c-1", "outgoing": True, "posted_at": at}
    api.send_in("We are on it", timestamp=at, **write_back)
    api.stage.time.pass_(minutes=80)
    answer = api.get("/v1/reports/response", params={"by": "channel"}, scopes=("complaints:read",))
    assert answer.status_code == 200, answer.text
    (x,) = answer.json()["groups"]
    assert (x["kind"], x["group"], x["started"], x["answered"]) == ("first_response", "x", 2, 1)
    assert (x["answered_share"], x["within_hour"], x["breached"]) == (0.5, 1, 1)
    assert x["median_s"] == x["p90_s"] == 660.0
    assert answer.json()["escalations"]["waiting"] == 1
