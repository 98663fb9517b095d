"""Links: made on an agent's word, explained, undone with what stood on them, asked as of a date."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from middleware.api.schemas.people import LinkExplained, LinkShown
from tests.api.conftest import Api, both_databases
from tests.api.test_problems import shape

REASON = "She said so on the phone and knew the order."


def stranger(api: Api, **data: Any) -> str:
    """A complaint by somebody nobody knows; answers its id."""
    author = {"native_id": "99", "handle": "somebody", "display_name": "S"}
    return api.send_in("My lamp arrived broken", author=author, **data)


def person(api: Api, name: str = "Kim Berg") -> str:
    with api.stage.hub.database.begin() as uow:
        return uow.people.add_person(display_name=name, at=api.stage.time()).id


def put(api: Api, **wanted: Any) -> Any:
    return api.put("/v1/links", {"reason": REASON, **wanted}, scopes=("links:write",))


def made(api: Api, **wanted: Any) -> LinkShown:
    answer = put(api, **wanted)
    assert answer.status_code == 201, answer.text
    return LinkShown.model_validate(answer.json())


def revoke(api: Api, link: LinkShown, *, version: int | None = None, **more: Any) -> Any:
    headers = {"if-match": f'"{version or link.version}"'}
    return api.post(
        f"/v1/links/{link.id}/revoke",
        {"reason": "He is her brother."},
        headers=headers,
        scopes=("links:write",),
        **more,
    )


@both_databases
def test_an_agent_says_who_somebody_is(api: Api) -> None:
    complaint = stranger(api)
    before = api.get(f"/v1/complaints/{complaint}").json()
    assert api.stage.settled(before["person_id"]) is None
    kim = person(api)
    answer = put(api, person_id=kim, identity_id=before["identity_id"], basis="customer_confirmed")
    assert answer.status_code == 201
    link = LinkShown.model_validate(answer.json())
    assert answer.headers["location"] == f"/v1/links/{link.id}"
    assert answer.headers["etag"] == '"1"'
    assert (link.person_id, link.basis) == (kim, "customer_confirmed")
    assert link.evidence[0].detail == REASON
    assert link.evidence[0].at == link.valid_from
    assert api.get(f"/v1/complaints/{complaint}").json()["person_id"] == kim

    again = put(api, person_id=kim, identity_id=before["identity_id"])
    assert (again.status_code, again.json()["id"]) == (200, link.id)
    assert api.stage.events().count("identity.linked") == 1
    assert [o.flow for o in api.stage.engine.owed] == ["receive.enrich"]


def test_whoever_is_linked_is_looked_at_anew(api: Api) -> None:
    kim = person(api)
    made(api, person_id=kim, record=str(api.stage.account.ref))
    complaint = stranger(api)
    shown = api.get(f"/v1/complaints/{complaint}").json()
    assert (api.stage.settled(shown["person_id"]), shown["order"]) == (None, None)
    link = made(api, person_id=kim, identity_id=shown["identity_id"])
    api.stage.run_due()
    known = api.get(f"/v1/complaints/{complaint}").json()
    assert (known["person_id"], known["order"]) == (kim, str(api.stage.order.ref))
    assert revoke(api, link).status_code == 200
    api.stage.run_due()
    after = api.get(f"/v1/complaints/{complaint}").json()
    assert (api.stage.settled(after["person_id"]), after["order"]) == (None, None)


def test_an_identity_nobody_saw_yet_can_be_linked(api: Api) -> None:
    link = made(api, identity={"network": "X", "native_id": "4711"}, display_name="New")
    shown = api.get(f"/v1/people/{link.person_id}").json()
    assert shown["display_name"] == "New"
    assert [(i["network"], i["native_id"]) for i in shown["identities"]] == [("x", "4711")]


def test_a_record_can_be_linked(api: Api) -> None:
    link = made(api, person_id=person(api), record=str(api.stage.contact.ref))
    assert link.record == str(api.stage.contact.ref)
    context = api.get(f"/v1/people/{link.person_id}/context").json()
    assert [order["number"] for order in context["orders"]["data"]] == ["SO-10001"]


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({"person_id": "per_none", "identity_id": "idn_none"}, 404, "not-found"),
        ({"record": "nowhere:contact:1"}, 404, "not-found"),
        ({"record": "nowhere:order:1"}, 422, "validation"),
        ({}, 422, "validation"),
        ({"record": "crm:contact:1", "identity_id": "idn_1"}, 422, "validation"),
        ({"identity_id": "idn_1", "basis": "inferred"}, 422, "validation"),
        ({"identity_id": "idn_1", "basis": "provisional"}, 422, "validation"),
        ({"identity_id": "idn_1", "person_id": "per_1", "display_name": "K"}, 422, "validation"),
        ({"identity_id": "idn_1", "reason": "x"}, 422, "validation"),
    ],
)
def test_a_link_that_makes_no_sense(
    api: Api, wanted: dict[str, Any], status: int, code: str
) -> None:
    problem = shape(put(api, **wanted))
    assert (problem["status"], problem["code"]) == (status, code)


def test_what_is_somebody_elses_is_not_taken_away(api: Api) -> None:
    first = made(api, identity={"network": "x", "native_id": "1"})
    problem = shape(put(api, person_id=person(api), identity={"network": "x", "native_id": "1"}))
    assert (problem["code"], problem["link"]) == ("conflict", first.id)
    assert problem["person"] == first.person_id


@both_databases
def test_two_agents_at_once_are_told_of_each_other(api: Api) -> None:
    complaint = stranger(api)
    identity = api.get(f"/v1/complaints/{complaint}").json()["identity_id"]
    people = [person(api) for _ in range(4)]
    api.key("links:write")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda p: put(api, person_id=p, identity_id=identity), people))
    assert sorted(a.status_code for a in answers) == [201, 409, 409, 409]


@both_databases
def test_undoing_lists_what_was_done_on_its_strength(api: Api) -> None:
    complaint = api.send_in(
        author={"emails": ["kim@example.com"]}, connection=api.stage.names["desk"]
    )
    api.stage.run_all()
    shown = api.get(f"/v1/complaints/{complaint}").json()
    body = {
        "operation": "return",
        "complaint_id": complaint,
        "request": {
            "order": str(api.stage.order.ref),
            "lines": [{"line": "2", "sku": "BLB-1", "quantity": "1"}],
        },
    }
    action = api.post("/v1/actions", body, headers={"idempotency-key": "k"}).json()["id"]
    api.stage.run_all()
    links = api.get(f"/v1/links?identity_id={shown['identity_id']}").json()["data"]
    (link,) = [LinkShown.model_validate(one) for one in links]
    explained = LinkExplained.model_validate(api.get(f"/v1/links/{link.id}").json())
    assert explained.done_on_its_strength.complaints == [complaint]
    assert explained.done_on_its_strength.actions == [action]
    assert len(explained.done_on_its_strength.notes) == 1

    answer = revoke(api, link)
    assert answer.status_code == 200
    ended = LinkExplained.model_validate(answer.json())
    assert ended.done_on_its_strength == explained.done_on_its_strength
    assert ended.link.valid_to is not None
    assert ended.link.revoked_reason == "He is her brother."
    assert answer.headers["etag"] == '"2"'
    after = api.get(f"/v1/complaints/{complaint}").json()
    assert (after["person_id"], after["order"], after["order_match"]) == (None, None, None)
    assert "identity.unlinked" in api.stage.events()
    # What stood on it can be asked for later, too.
    later = LinkExplained.model_validate(api.get(f"/v1/links/{link.id}").json())
    assert later.done_on_its_strength.actions == [action]


def test_a_link_is_ended_in_the_version_that_was_read(api: Api) -> None:
    link = made(api, identity={"network": "x", "native_id": "1"})
    path = f"/v1/links/{link.id}/revoke"
    missing = shape(api.post(path, {"reason": "wrong one"}))
    assert (missing["status"], missing["code"]) == (428, "version-required")
    stale = revoke(api, link, version=7)
    assert (shape(stale)["status"], shape(stale)["code"]) == (412, "stale-version")
    assert stale.headers["etag"] == '"1"'
    assert revoke(api, link).status_code == 200
    problem = shape(revoke(api, link, version=2))
    assert (problem["status"], problem["code"]) == (409, "conflict")
    assert shape(api.post("/v1/links/lnk_none/revoke", {"reason": "none"}))["code"] == "not-found"


def test_what_was_taken_apart_is_not_put_together_in_silence(api: Api) -> None:
    for target in (
        {"identity": {"network": "x", "native_id": "1"}},
        {"record": str(api.stage.contact.ref)},
    ):
        kim = person(api)
        link = made(api, person_id=kim, **target)
        assert revoke(api, link).status_code == 200
        assert shape(put(api, person_id=kim, **target))["code"] == "conflict"
        other = made(api, person_id=person(api, "Somebody else"), **target)
        assert revoke(api, other).status_code == 200
        again = made(api, person_id=kim, although_revoked=True, **target)
        assert again.id != link.id


def test_who_it_was_thought_to_be_on_a_day(api: Api) -> None:
    target = {"identity": {"network": "x", "native_id": "1"}}
    one, two = person(api, "One"), person(api, "Two")
    first = made(api, person_id=one, **target)
    identity = first.identity_id
    api.stage.time.pass_(days=2)
    assert revoke(api, first).status_code == 200
    api.stage.time.pass_(days=2)
    second = made(api, person_id=two, **target)

    def asked(**query: Any) -> list[str]:
        answer = api.call("GET", "/v1/links", params={"identity_id": identity, **query})
        assert answer.status_code == 200, answer.text
        return [link["person_id"] for link in answer.json()["data"]]

    assert asked() == [two]
    assert asked(history=True) == [one, two]
    assert asked(as_of="2026-11-22T12:00:00Z") == [one]
    assert asked(as_of="2026-11-24T12:00:00+02:00") == []
    assert asked(as_of=second.valid_from.isoformat()) == [two]
    assert asked(person_id=one) == []
    page = api.call(
        "GET", "/v1/links", params={"identity_id": identity, "history": True, "limit": 1}
    )
    link = page.headers["link"]
    following = api.get(link[1 : link.index(">")]).json()
    assert [one["id"] for one in following["data"]] == [second.id]


def test_whose_links_must_be_said(api: Api) -> None:
    assert shape(api.get("/v1/links"))["code"] == "validation"
    assert shape(api.get("/v1/links?record=nonsense"))["code"] == "validation"
    assert shape(api.get("/v1/links/lnk_none"))["code"] == "not-found"
