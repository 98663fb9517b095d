"""Keys: who is let in, and what for."""

from __future__ import annotations

import re
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from middleware.api import auth
from middleware.api.app import routes
from middleware.api.door import Route
from middleware.domain.problems import InvalidError
from middleware.flows import keys
from middleware.flows.keys import Scope
from tests.api.conftest import Api
from tests.flows.node import until

GUARDED = [
    pytest.param(method, route.path, route.scope, id=f"{method} {route.path}")
    for route in routes()
    if isinstance(route, Route) and route.scope is not None
    for method in sorted(route.methods or ())
]

OPEN = {"/healthz", "/readyz", "/version", "/problems/{slug}", "/v1/invitations/{token}"}


def filled(path: str) -> str:
    """A path with something in each of its places."""
    return re.sub(r"\{[^}]+\}", "contact", path)


def test_every_route_says_who_may_use_it() -> None:
    public = {
        route.path
        for route in routes()
        if isinstance(route, Route) and route.scope is None and "/inlets/" not in route.path
    }
    assert public == OPEN
    assert all(isinstance(route, Route) for route in routes())


@pytest.mark.parametrize(("method", "path", "scope"), GUARDED)
def test_each_route_wants_a_key_with_its_scope(
    api: Api, method: str, path: str, scope: Scope
) -> None:
    place = filled(path)
    nobody = api.client.request(method, place)
    assert nobody.status_code == 401
    assert nobody.headers["WWW-Authenticate"] == "Bearer"
    assert nobody.json()["code"] == "unauthenticated"

    others = tuple(s for s in Scope if s not in (scope, Scope.ADMIN))
    lacking = api.call(method, place, scopes=others)
    assert lacking.status_code == 403
    assert str(scope) in lacking.json()["detail"]

    for scopes in ((scope,), (Scope.ADMIN,)):
        assert api.call(method, place, scopes=scopes).status_code not in (401, 403)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic a2V5OmtleQ==",
        "Bearer amends_live_",
        "Bearer amends_live_abc_def",
        "Bearer amends_test_" + "a" * 32 + "_" + "b" * 43,
        "Bearer amends_live_" + "a" * 32 + "_" + "b" * 43,
        "Bearer amends_live_" + "a" * 32 + "_" + "b" * 10_000,
        "Bearer amends_live_ä_" + "b" * 43,
    ],
)
def test_what_is_no_key_of_ours_names_nobody(api: Api, authorization: str) -> None:
    headers = {"Authorization": authorization.encode()}
    answer = api.client.get("/v1/keys", headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 401
    detail = "Send an API key as Authorization: Bearer; see amends keys create."
    assert answer.json()["detail"] == detail


def test_a_key_with_another_secret_is_refused(api: Api) -> None:
    _, secret = keys.make_key(api.stage.hub, "one", ["admin"])
    _, other = keys.make_key(api.stage.hub, "two", ["admin"])
    mixed = secret[:-43] + other[-43:]
    headers = {"Authorization": f"Bearer {mixed}"}
    assert api.client.get("/v1/keys", headers=headers).status_code == 401


def test_an_expired_key_is_refused_even_while_it_is_remembered(api: Api) -> None:
    hub = api.stage.hub
    _, secret = keys.make_key(hub, "short", ["admin"], hub.clock() + timedelta(minutes=1))
    headers = {"Authorization": f"Bearer {secret}"}
    assert api.client.get("/v1/keys", headers=headers).status_code == 200
    api.stage.time.pass_(minutes=2)
    assert api.client.get("/v1/keys", headers=headers).status_code == 401
    assert keys.recognise(hub, secret) is None


def test_a_revoked_key_is_refused_at_once_here_and_soon_elsewhere(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, secret = keys.make_key(api.stage.hub, "gone", ["admin"])
    headers = {"Authorization": f"Bearer {secret}"}
    assert api.client.get("/v1/keys", headers=headers).status_code == 200
    assert api.call("DELETE", f"/v1/keys/{row.id}").status_code == 204
    assert api.call("DELETE", f"/v1/keys/{row.id}").status_code == 204
    assert api.client.get("/v1/keys", headers=headers).status_code == 401

    moments = iter((1000.0, 1000.0, 1000.0 + auth.REMEMBERED))
    monkeypatch.setattr(auth, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    row, secret = keys.make_key(api.stage.hub, "gone elsewhere", ["admin"])
    headers = {"Authorization": f"Bearer {secret}"}
    assert api.client.get("/v1/keys", headers=headers).status_code == 200
    keys.revoke_key(api.stage.hub, row.id)
    assert api.client.get("/v1/keys", headers=headers).status_code == 200, "still remembered"
    assert api.client.get("/v1/keys", headers=headers).status_code == 401


def test_a_remembered_key_costs_no_look_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"Authorization": f"Bearer {api.key('jobs:read')}"}
    assert api.client.get("/v1/jobs", headers=headers).status_code == 200

    def no(*_: Any) -> None:
        raise AssertionError("looked up again")

    monkeypatch.setattr(keys, "recognise", no)
    assert api.client.get("/v1/jobs", headers=headers).status_code == 200


def test_the_use_of_a_key_is_noted_now_and_then(api: Api) -> None:
    hub = api.stage.hub
    row, secret = keys.make_key(hub, "used", ["jobs:read"])

    def used() -> Any:
        with hub.database.read() as uow:
            found = uow.keys.get(row.id)
            assert found is not None
            return found.last_used_at

    assert used() is None
    api.client.get("/v1/jobs", headers={"Authorization": f"Bearer {secret}"})
    first = until(used)
    assert first == api.stage.time()
    api.stage.time.pass_(minutes=1)
    keys.note_use(hub, row.id)
    assert used() == first
    api.stage.time.pass_(minutes=5)
    keys.note_use(hub, row.id)
    assert used() == api.stage.time()


def test_a_key_is_kept_as_a_hash_and_shown_once(api: Api) -> None:
    made = api.post("/v1/keys", {"name": "panel", "scopes": ["people:read"]})
    assert made.status_code == 201
    secret = made.json()["secret"]
    assert re.fullmatch(r"amends_live_[0-9a-f]{32}_[A-Za-z0-9_-]{43}", secret)
    listed = api.get("/v1/keys")
    assert secret.split("_", 3)[3] not in listed.text
    assert made.json()["key"] in listed.json()["data"]
    with api.stage.hub.database.read() as uow:
        row = uow.keys.get(made.json()["key"]["id"])
        assert row is not None
        assert secret[-43:] not in str(row.model_dump())
        (entry,) = uow.audit.about(row.id)
        assert entry.action == "key.create"


@pytest.mark.parametrize(
    ("name", "scopes", "expires"),
    [
        ("", ["admin"], None),
        ("x", [], None),
        ("x", ["admin", "everything"], None),
        ("x", ["admin"], timedelta(seconds=-1)),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(
    api: Api, name: str, scopes: list[str], expires: timedelta | None
) -> None:
    hub = api.stage.hub
    with pytest.raises(InvalidError):
        keys.make_key(hub, name, scopes, hub.clock() + expires if expires else None)
