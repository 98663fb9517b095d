"""People: resolved with reasons, shown whole, and found again after a merge."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.memory.remote import Fault
from middleware.api.schemas.people import PersonShown, ResolvedShown
from middleware.flows import provisional
from tests.api.conftest import Api, both_databases
from tests.api.test_problems import shape
from tests.flows.conftest import silent


def resolve(api: Api, **clue: Any) -> ResolvedShown:
    answer = api.post("/v1/people/resolve", clue, scopes=("people:read",))
    assert answer.status_code == 200, answer.text
    return ResolvedShown.model_validate(answer.json())


@both_databases
def test_candidates_are_ranked_with_reasons_that_add_up(api: Api) -> None:
    found = resolve(api, emails=["Kim@Example.com"]).resolution
    assert found.outcome == "link"
    (candidate, *_) = found.candidates
    assert str(api.stage.contact.ref) in candidate.refs
    assert candidate.score == pytest.approx(sum(e.weight for e in candidate.evidence))
    assert found.why
    assert found.sources == []


def test_an_order_number_and_a_handle_speak_together(api: Api) -> None:
    found = resolve(api, network="x", handle="@KimBerg", order_numbers=["so-10001"]).resolution
    kinds = {e.kind for e in found.candidates[0].evidence}
    assert kinds == {"handle", "order_number"}


def test_nobody_is_linked_by_asking(api: Api) -> None:
    resolve(api, emails=["kim@example.com"])
    ref = str(api.stage.contact.ref)
    assert api.call("GET", "/v1/links", params={"record": ref}).json()["data"] == []


def test_whom_the_store_does_not_know_the_remotes_are_asked_about(api: Api) -> None:
    other = api.stage.contact.model_copy(
        update={
            "ref": api.stage.contact.ref.model_copy(update={"id": "C2"}),
            "emails": ("ada@example.com",),
            "handles": (),
            "external_ids": {},
        }
    )
    api.stage.crm.put(other)
    found = resolve(api, emails=["ada@example.com"]).resolution
    assert str(other.ref) in found.candidates[0].refs
    assert {s.connection for s in found.sources} >= {api.stage.names["crm"]}
    assert {s.status for s in found.sources} == {"complete"}
    # What was answered is stored: the next one asks nobody.
    assert resolve(api, emails=["ada@example.com"]).resolution.sources == []


def test_a_remote_that_fails_or_is_slow_is_named(api: Api) -> None:
    api.stage.crm.script.arm(Fault.DOWN, times=2)
    found = resolve(api, emails=["nobody@example.com"]).resolution
    failed = {s.connection: s.why for s in found.sources if s.status == "failed"}
    assert list(failed) == [api.stage.names["crm"]]
    assert all(failed.values())
    assert found.outcome == "none"
    with silent(api.stage.erp):
        found = resolve(api, emails=["nobody@example.com"], deadline_ms=50).resolution
    slow = {s.connection: s.why for s in found.sources if s.status == "partial"}
    assert "within 0.05 s" in (slow[api.stage.names["erp"]] or "")
    assert found.outcome == "none"


@pytest.mark.parametrize(
    "clue",
    [
        {},
        {"name": "Kim"},
        {"network": "x"},
        {"handle": "kim"},
        {"emails": ["x"] * 11},
        {"deadline_ms": -1},
        {"emails": ["kim@example.com"], "deadline_ms": 30_001},
    ],
)
def test_a_clue_that_finds_nobody_is_refused(api: Api, clue: dict[str, Any]) -> None:
    assert shape(api.post("/v1/people/resolve", clue))["code"] == "validation"


@both_databases
def test_a_person_is_shown_whole(api: Api) -> None:
    complaint = api.send_in(author={"emails": ["kim@example.com"]})
    person_id = api.get(f"/v1/complaints/{complaint}").json()["person_id"]
    answer = api.get(f"/v1/people/{person_id}", scopes=("people:read",))
    shown = PersonShown.model_validate(answer.json())
    assert shown.redirected_from is None
    (identity,) = shown.identities
    assert (identity.network, identity.native_id) == ("x", "77")
    assert [h.handle for h in identity.handles] == ["kimberg"]
    records = {record.ref: record for record in shown.records}
    contact = records[str(api.stage.contact.ref)]
    assert (contact.name, contact.emails) == ("Kim Berg", ["kim@example.com"])
    assert str(api.stage.account.ref) in records
    assert {link.identity_id for link in shown.links} >= {identity.id}
    assert [c.id for c in shown.complaints] == [complaint]
    again = api.get(f"/v1/people/{person_id}", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


def test_a_merged_person_answers_with_whom_it_became(api: Api) -> None:
    with api.stage.hub.database.begin() as uow:
        stays = uow.people.add_person(display_name="Kim Berg", at=api.stage.time())
        gone = uow.people.add_person(display_name="K. Berg", at=api.stage.time())
        gone.redirect_to = stays.id
    shown = PersonShown.model_validate(api.get(f"/v1/people/{gone.id}").json())
    assert (shown.id, shown.redirected_from) == (stays.id, gone.id)
    assert api.get(f"/v1/people/{gone.id}/context").json()["person_id"] == stays.id


def test_no_such_person(api: Api) -> None:
    assert shape(api.get("/v1/people/per_none"))["code"] == "not-found"
    assert shape(api.get("/v1/people/per_none/context"))["code"] == "not-found"


def test_provisional_persons_are_listed_until_they_expire(api: Api) -> None:
    stage = api.stage
    for n in range(3):
        author = {"native_id": f"n{n}", "handle": f"h{n}", "display_name": f"N {n}"}
        api.send_in("It broke", id=f"m-{n}", conversation=f"c-{n}", author=author)
        stage.time.pass_(days=1)
    first = api.get("/v1/people?limit=2").json()
    assert [one["native_id"] for one in first["data"]] == ["n0", "n1"]
    rest = api.get(f"/v1/people?limit=2&cursor={first['next_cursor']}").json()
    assert [one["native_id"] for one in rest["data"]] == ["n2"]
    assert api.get("/v1/people?standing=expired").json()["data"] == []
    one = first["data"][0]
    before = stage.time().isoformat()
    shown = PersonShown.model_validate(api.get(f"/v1/people/{one['id']}").json())
    assert (shown.standing, shown.display_name) == ("provisional", "N 0")
    assert shown.provisional_until is not None
    assert [(x.basis, x.identity_id) for x in shown.links] == [("provisional", one["identity_id"])]
    with stage.hub.database.begin() as uow:
        for row in uow.complaints.page(before=None, limit=9):
            row.state = "closed"
    stage.time.pass_(days=58)
    provisional.run(stage.hub, "2027-01-01")
    left = api.get("/v1/people").json()["data"]
    gone = api.get("/v1/people?standing=expired").json()["data"]
    assert ([x["native_id"] for x in gone], [x["native_id"] for x in left]) == (
        ["n0", "n1"],
        ["n2"],
    )
    now = PersonShown.model_validate(api.get(f"/v1/people/{one['id']}").json())
    assert (now.standing, now.links, now.display_name) == ("expired", [], None)
    then = api.call("GET", f"/v1/people/{one['id']}", params={"as_of": before})
    was = PersonShown.model_validate(then.json())
    assert (was.standing, [x.basis for x in was.links]) == ("provisional", ["provisional"])
    changes = api.get(f"/v1/people/{one['id']}/changes").json()["data"]
    assert [(x["kind"], x["person_id"], x["made_by"]) for x in changes] == [
        ("expire", one["id"], "hub")
    ]
    assert api.post(f"/v1/changes/{changes[0]['id']}/undo", {"reason": "no!"}).status_code == 409
