"""The policy over REST: shown, put with the version that was read, and tried on the past."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Api

BODY: dict[str, Any] = {
    "roles": ["agent", "lead"],
    "rules": [
        {"name": "rush", "when": {"rush": True}, "then": {"approve": [{"role": "lead"}]}},
    ],
}


def put(api: Api, body: dict[str, Any] | None = None, *, version: int = 0, **more: Any) -> Any:
    return api.put(
        "/v1/policy",
        {"policy": BODY if body is None else body, **more},
        headers={"If-Match": f'"{version}"'},
    )


def asked(api: Api, **changes: Any) -> dict[str, Any]:
    return {
        "operation": "replacement_order",
        "request": {
            "order": str(api.stage.order.ref),
            "lines": [{"line": "1", "sku": "LMP-100", "quantity": "1"}],
            "speed": "rush",
            "reason": "damaged",
        },
        **changes,
    }


def ask(api: Api, key: str = "k1", **changes: Any) -> Any:
    return api.post("/v1/actions", asked(api, **changes), headers={"Idempotency-Key": key})


def held_by(api: Api, role: str | None, *scopes: str) -> dict[str, str]:
    """The header of a new key of this role."""
    body = {"name": "somebody", "scopes": list(scopes), **({"role": role} if role else {})}
    made = api.post("/v1/keys", body)
    assert made.status_code == 201
    assert made.json()["key"]["role"] == role
    return {"Authorization": f"Bearer {made.json()['secret']}"}


def test_a_policy_is_put_shown_and_put_back(api: Api) -> None:
    first = api.get("/v1/policy")
    assert (first.json()["version"], first.headers["etag"]) == (0, '"0"')
    made = put(api, reason="Rush needs a lead.")
    assert made.status_code == 200
    assert made.headers["etag"] == '"1"'
    shown = api.get("/v1/policy").json()
    assert shown == made.json()
    assert (shown["policy"], shown["source"], shown["reason"]) == (
        BODY,
        "api",
        "Rush needs a lead.",
    )
    assert put(api, {}, version=1).json()["version"] == 2
    back = api.put("/v1/policy", {"version": 1}, headers={"If-Match": '"2"'}).json()
    assert (back["version"], back["policy"]) == (3, BODY)
    assert api.get("/v1/policy/versions/2").json()["policy"] == {}
    page = api.get("/v1/policy/versions?limit=2").json()
    assert [row["version"] for row in page["data"]] == [3, 2]
    rest = api.get("/v1/policy/versions", params={"limit": 2, "cursor": page["next_cursor"]})
    assert [row["version"] for row in rest.json()["data"]] == [1]


def test_a_version_that_is_not_the_last_is_refused(api: Api) -> None:
    put(api)
    assert put(api, {}, version=0).status_code == 412
    missing = api.put("/v1/policy", {"policy": {}})
    assert (missing.status_code, missing.json()["code"]) == (428, "version-required")
    assert api.get("/v1/policy").json()["version"] == 1


def test_mistakes_are_told_with_their_places(api: Api) -> None:
    wrong = put(api, {"rules": [{"name": "a", "then": "refues"}], "cap": []})
    assert wrong.status_code == 422
    assert {error["pointer"] for error in wrong.json()["errors"]} == {
        "/policy/rules/0/then",
        "/policy/cap",
    }
    neither = api.put("/v1/policy", {"reason": "why"}, headers={"If-Match": '"0"'})
    assert neither.status_code == 422
    for path in ("/v1/policy/versions/7", "/v1/policy/versions/x"):
        assert api.get(path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/policy", "policy:read"),
        ("GET", "/v1/policy/versions", "policy:read"),
        ("POST", "/v1/policy/backtest", "policy:read"),
        ("PUT", "/v1/policy", "policy:write"),
    ],
)
def test_the_policy_has_scopes_of_its_own(api: Api, method: str, path: str, scope: str) -> None:
    others = {"policy:read", "policy:write", "actions:approve"} - {scope}
    refused = api.call(method, path, scopes=tuple(sorted(others)), json={})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    allowed = api.call(method, path, scopes=(scope,), json={"policy": {}})
    assert allowed.status_code in (200, 428)


def test_a_refusal_and_missing_evidence_are_problems_that_name_rules(api: Api) -> None:
    put(api, {"rules": [{"name": "no-rush", "when": {"rush": True}, "then": "refuse"}]})
    refused = ask(api)
    assert (refused.status_code, refused.json()["code"]) == (403, "policy-refused")
    assert refused.json()["rules"] == [{"rule": "no-rush", "why": "it is a rush"}]
    put(api, {"rules": [{"name": "photo", "then": {"need": {"attachment": True}}}]}, version=1)
    missing = ask(api)
    assert (missing.status_code, missing.json()["code"]) == (422, "evidence-missing")
    assert missing.json()["errors"][0]["pointer"] == "/evidence"
    proved = ask(api, evidence=["https://example.com/photo.jpg"])
    assert proved.status_code == 202
    assert proved.json()["request"]["evidence"] == ["https://example.com/photo.jpg"]


def test_a_preview_shows_the_verdict_without_refusing(api: Api) -> None:
    put(api, {"rules": [{"name": "no-rush", "when": {"rush": True}, "then": "refuse"}]})
    shown = api.post("/v1/actions/preview", asked(api))
    assert shown.status_code == 200
    verdict = shown.json()["policy"]
    assert (verdict["version"], verdict["outcome"]) == (1, "refuse")
    assert verdict["says"] == [
        {"rule": "no-rush", "asks": ["refuse"], "why": "it is a rush", "because": None}
    ]


def test_an_approval_is_the_role_s_that_the_stage_names(api: Api) -> None:
    put(api)
    waiting = ask(api).json()
    assert waiting["state"] == "awaiting_approval"
    assert [stage["role"] for stage in waiting["approval"]["stages"]] == ["lead"]
    path = f"/v1/actions/{waiting['id']}/approve"
    refused = api.client.post(path, json={}, headers=held_by(api, None, "actions:approve"))
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    granted = api.client.post(path, json={}, headers=held_by(api, "lead", "actions:approve"))
    assert granted.status_code == 200
    assert granted.json()["approval"]["stages"][0]["granted"] is True
    assert granted.json()["policy"]["outcome"] == "approve"


def test_a_cooling_off_is_shown(api: Api) -> None:
    put(api, {"rules": [{"name": "slow", "then": {"cool_off": "2h"}}]})
    shown = ask(api).json()
    assert shown["not_before"] == "2026-11-21T14:00:00Z"
    assert shown["policy"]["cool_off"] == "2h"
    assert api.post(f"/v1/actions/{shown['id']}/cancel").json()["state"] == "cancelled"


def test_a_role_limits_its_keys(api: Api) -> None:
    put(
        api,
        {
            "roles": ["agent", "lead"],
            "rules": [{"name": "r", "when": {"roles": ["agent"]}, "then": "refuse"}],
        },
    )
    for role, status in (("agent", 403), (None, 403), ("lead", 202)):
        headers = held_by(api, role, "actions:create") | {"Idempotency-Key": f"k-{role}"}
        assert api.client.post("/v1/actions", json=asked(api), headers=headers).status_code == (
            status
        )


def test_a_backtest_shows_what_would_differ_and_writes_nothing(api: Api) -> None:
    put(api)
    action = ask(api).json()
    api.stage.time.pass_(hours=1)
    same = api.post("/v1/policy/backtest", {"version": 1}).json()
    assert (same["judged"], same["differing"], same["complete"]) == (1, 0, True)
    other = api.post("/v1/policy/backtest", {"policy": {}, "from": "2026-11-21T00:00:00Z"}).json()
    (difference,) = other["differences"]
    assert (difference["action_id"], difference["version"]) == (action["id"], 1)
    assert difference["was"]["outcome"] == "approve"
    assert difference["would"]["outcome"] == "allow"
    tallies = {tally["outcome"]: tally for tally in other["outcomes"]}
    assert (tallies["approve"]["was"], tallies["allow"]["would"]) == (1, 1)
    assert tallies["approve"]["was_worth"] == [{"amount": "49.90", "currency": "EUR"}]
    assert api.get("/v1/policy").json()["version"] == 1
    nothing = api.post(
        "/v1/policy/backtest",
        {"version": 1, "from": "2026-11-20T00:00:00Z", "to": "2026-11-21T00:00:00Z"},
    )
    assert nothing.json()["judged"] == 0
    backwards = {"version": 1, "from": "2026-11-21T00:00:00Z", "to": "2026-11-20T00:00:00Z"}
    assert api.post("/v1/policy/backtest", backwards).status_code == 422


def test_a_long_backtest_goes_on_where_it_stopped(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("middleware.flows.backtest.MOST", 1)
    monkeypatch.setattr(
        "middleware.flows.backtest.backtest.__kwdefaults__", {"after": None, "most": 1}
    )
    put(api, {})
    made = [ask(api, key=f"k{n}").json()["id"] for n in range(2)]
    api.stage.time.pass_(hours=1)
    body = {"policy": BODY, "from": "2026-11-21T00:00:00Z", "to": "2026-11-22T00:00:00Z"}
    first = api.post("/v1/policy/backtest", body).json()
    assert (first["judged"], first["complete"]) == (1, False)
    second = api.post(f"/v1/policy/backtest?cursor={first['next_cursor']}", body).json()
    assert (second["judged"], second["complete"]) == (1, True)
    seen = [d["action_id"] for part in (first, second) for d in part["differences"]]
    assert sorted(seen) == sorted(made)
