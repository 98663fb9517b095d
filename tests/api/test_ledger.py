"""The link ledger over REST: cannot-links, merges and splits with previews, undoing, and why."""

from __future__ import annotations

from typing import Any

import pytest

from middleware.api.schemas.ledger import (
    CannotLinkShown,
    ChangePreviewShown,
    ChangeShown,
    WhyShown,
)
from middleware.api.schemas.people import LinkShown, PersonShown
from middleware.api.webhooks import EVENTS
from tests.api.conftest import Api, both_databases
from tests.api.test_actions import asked, create
from tests.api.test_links import made, revoke
from tests.api.test_problems import shape

EMAIL = {"emails": ["kim@example.com"]}


def known(api: Api) -> tuple[str, str, str]:
    """A complaint, its person and its identity."""
    complaint = api.send_in(author=EMAIL)
    shown = api.get(f"/v1/complaints/{complaint}").json()
    return complaint, shown["person_id"], shown["identity_id"]


def somebody(api: Api, native_id: str = "500") -> LinkShown:
    return made(api, identity={"network": "x", "native_id": native_id}, display_name="Somebody")


def merge(api: Api, person: str, other: str, **more: Any) -> Any:
    body = {"other_id": other, "reason": "the same voice", **more}
    return api.post(f"/v1/people/{person}/merge", body, scopes=("links:write",))


def why(api: Api, one: str, other: str) -> WhyShown:
    answer = api.call(
        "GET", "/v1/people/why", params={"one": one, "other": other}, scopes=("people:read",)
    )
    assert answer.status_code == 200, answer.text
    return WhyShown.model_validate(answer.json())


@both_databases
def test_two_things_are_held_apart_and_let_go_again(api: Api) -> None:
    body = {
        "one": somebody(api).person_id,
        "other": str(api.stage.contact.ref),
        "reason": "another Kim",
    }
    answer = api.put("/v1/cannot-links", body, scopes=("links:write",))
    assert answer.status_code == 201
    shown = CannotLinkShown.model_validate(answer.json())
    assert api.put("/v1/cannot-links", body).status_code == 200
    listed = api.call("GET", "/v1/cannot-links", params={"thing": shown.one}).json()["data"]
    assert [one["id"] for one in listed] == [shown.id]
    path = f"/v1/cannot-links/{shown.id}/lift"
    reason = {"reason": "it is her"}
    assert shape(api.post(path, reason))["code"] == "version-required"
    stale = api.post(path, reason, headers={"if-match": '"7"'})
    assert shape(stale)["code"] == "stale-version"
    lifted = api.post(path, reason, headers={"if-match": '"1"'})
    assert CannotLinkShown.model_validate(lifted.json()).lifted_reason == "it is her"
    assert shape(api.post(path, reason, headers={"if-match": "*"}))["code"] == "conflict"
    now = api.call("GET", "/v1/cannot-links", params={"thing": shown.one})
    assert now.json()["data"] == []
    history = api.call("GET", "/v1/cannot-links", params={"thing": shown.one, "history": True})
    assert len(history.json()["data"]) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"one": "per_1", "other": "per_1"}, "not-found"),
        ({"one": "per_1", "other": "crm:order:1"}, "validation"),
        ({"one": "somebody", "other": "per_1"}, "validation"),
        ({"one": "per_1"}, "validation"),
    ],
)
def test_a_cannot_link_that_makes_no_sense(api: Api, body: dict[str, str], code: str) -> None:
    answer = api.put("/v1/cannot-links", {"reason": "no way", **body})
    assert shape(answer)["code"] == code


def test_an_unlinked_author_is_not_linked_again_and_why_says_so(api: Api) -> None:
    _, person, identity = known(api)
    together = why(api, identity, person)
    assert together.together
    assert {e.kind for e in together.evidence} >= {"email", "handle"}
    (link,) = api.get(f"/v1/links?identity_id={identity}").json()["data"]
    revoke(api, LinkShown.model_validate(link))
    api.stage.run_due()
    later = api.send_in("Again", id="m-2", conversation="c-2", author=EMAIL)
    assert api.stage.settled(api.get(f"/v1/complaints/{later}").json()["person_id"]) is None
    apart = why(api, str(api.stage.contact.ref), identity)
    assert not apart.together
    assert "He is her brother." in apart.says
    assert [c.source for c in apart.cannot_links] == [link["id"]]
    assert apart.score == pytest.approx(sum(e.weight for e in apart.evidence))
    assert apart.score is not None
    assert apart.score < 0
    assert apart.decision is not None
    assert apart.decision.outcome == "none"
    assert apart.rules.version == apart.decision.version
    assert [ended.id for ended in apart.one.ended] == [link["id"]]


def test_why_a_record_was_linked_that_is_gone_since(api: Api) -> None:
    _, person, author = known(api)
    ref = api.stage.contact.ref
    with api.stage.hub.database.begin() as uow:
        uow.records.delete([ref], as_of=api.stage.time.now)
    shown = why(api, author, str(ref))
    assert shown.together
    assert shown.says == (
        f"they are one person, {person}, decided by hub; {ref} is gone from its system"
    )
    never = ref.model_copy(update={"id": "never"})
    answer = api.get("/v1/people/why", params={"one": author, "other": str(never)})
    assert shape(answer)["code"] == "not-found"


@pytest.mark.parametrize("asked_as", ["who went", "who stayed"])
def test_what_is_held_apart_from_a_merged_person_is_found_by_either_id(
    api: Api, asked_as: str
) -> None:
    _, person, _ = known(api)
    other, third, fourth = (somebody(api, n) for n in ("500", "600", "700"))
    for one, held in ((third, person), (fourth, other.person_id)):
        body = {"one": one.identity_id, "other": held, "reason": "a neighbour"}
        assert api.put("/v1/cannot-links", body, scopes=("links:write",)).status_code == 201
    assert merge(api, other.person_id, person).status_code == 201
    thing = person if asked_as == "who went" else other.person_id
    listed = api.get("/v1/cannot-links", params={"thing": thing}).json()["data"]
    assert {one["one"] for one in listed} == {third.identity_id, fourth.identity_id}


def test_why_there_is_no_link_between_strangers(api: Api) -> None:
    nobody = somebody(api).identity_id or ""
    found = why(api, nobody, str(api.stage.contact.ref))
    assert (found.together, found.score) == (False, 0.0)
    records = why(api, str(api.stage.contact.ref), str(api.stage.account.ref))
    assert {e.kind for e in records.evidence} == {"prior", "external_id", "email", "name"}
    assert records.score == pytest.approx(sum(e.weight for e in records.evidence))
    assert records.decision is None
    assert records.weighed is not None
    assert (records.weighed.bits, records.weighed.against) == (records.score, None)
    assert "when it runs" in records.says
    missing = api.call("GET", "/v1/people/why", params={"one": "per_1", "other": "per_2"})
    assert shape(missing)["code"] == "not-found"
    same = api.call("GET", "/v1/people/why", params={"one": nobody, "other": nobody})
    assert shape(same)["code"] == "validation"


def test_why_a_handle_alone_is_no_link(api: Api) -> None:
    complaint = api.send_in("Where is my lamp?")
    identity = api.get(f"/v1/complaints/{complaint}").json()["identity_id"]
    found = why(api, identity, str(api.stage.contact.ref))
    # One word of a name says nothing where one contact is all there is.
    assert [e.kind for e in found.evidence] == ["handle"]
    assert "10 bits speak for it, a link needs 16" in found.says


@both_databases
def test_a_merge_is_previewed_made_told_and_undone(api: Api) -> None:
    complaint, person, identity = known(api)
    other = somebody(api).person_id
    before = api.stage.time().isoformat()
    api.stage.time.pass_(hours=1)
    asked = api.post(f"/v1/people/{other}/merge/preview", {"other_id": person})
    shown = ChangePreviewShown.model_validate(asked.json())
    assert shown.moves.complaints == [complaint]
    assert shown.conflicts == []
    answer = merge(api, other, person, preview_token=shown.preview_token)
    assert answer.status_code == 201, answer.text
    change = ChangeShown.model_validate(answer.json())
    assert answer.headers["location"] == f"/v1/changes/{change.id}"

    now = PersonShown.model_validate(api.get(f"/v1/people/{person}").json())
    assert (now.id, now.redirected_from) == (other, person)
    assert [c.id for c in now.complaints] == [complaint]
    then = api.call("GET", f"/v1/people/{person}", params={"as_of": before})
    was = PersonShown.model_validate(then.json())
    assert (was.id, was.redirected_from) == (person, None)
    assert {link.identity_id for link in was.links} >= {identity}
    assert [c.id for c in was.complaints] == [complaint]
    assert api.get(f"/v1/people/{person}/context").json()["person_id"] == other

    def links(**query: Any) -> int:
        found = api.call("GET", "/v1/links", params={"person_id": person, **query})
        return len(found.json()["data"])

    assert links() == 4
    assert links(as_of=before) == 3
    assert links(history=True) == 3 + 1 + 3
    listed = api.get(f"/v1/people/{person}/changes").json()["data"]
    assert [one["id"] for one in listed] == [change.id]

    undone = api.post(f"/v1/changes/{change.id}/undo", {"reason": "they are two"})
    assert undone.status_code == 201, undone.text
    assert ChangeShown.model_validate(undone.json()).undoes == change.id
    back = PersonShown.model_validate(api.get(f"/v1/people/{person}").json())
    assert (back.id, [c.id for c in back.complaints]) == (person, [complaint])
    assert api.get(f"/v1/changes/{change.id}").json()["undone_by"] == undone.json()["id"]
    again = shape(api.post(f"/v1/changes/{change.id}/undo", {"reason": "once more"}))
    assert again["code"] == "conflict"
    for told in api.get("/v1/events").json()["data"]:
        EVENTS[told["type"]][0].model_validate(told["data"])
    assert {"person.merged", "person.split"} <= set(api.stage.events())


def test_a_merge_against_somebodys_word_is_refused_with_it(api: Api) -> None:
    _, person, _ = known(api)
    other = somebody(api)
    body = {"one": other.identity_id, "other": person, "reason": "a namesake"}
    assert api.put("/v1/cannot-links", body).status_code == 201
    problem = shape(merge(api, other.person_id, person))
    assert problem["code"] == "conflict"
    assert problem["conflicts"][0]["kind"] == "cannot_link"
    preview = api.post(f"/v1/people/{person}/merge/preview", {"other_id": other.person_id})
    assert preview.json()["conflicts"][0]["detail"].endswith("a namesake)")
    assert shape(merge(api, person, person))["code"] == "conflict"
    assert shape(merge(api, person, "per_none"))["code"] == "not-found"
    assert shape(api.get("/v1/people/per_none/changes"))["code"] == "not-found"


def test_a_blocked_undo_names_what_blocks_it(api: Api) -> None:
    first, second, third = (somebody(api, str(n)).person_id for n in range(3))
    change = merge(api, first, second).json()["id"]
    later = merge(api, third, first).json()["id"]
    problem = shape(api.post(f"/v1/changes/{change}/undo", {"reason": "wrong"}))
    assert (problem["code"], problem["blocked_by"]) == ("conflict", later)


def test_a_split_takes_the_complaints_along(api: Api) -> None:
    complaint, person, identity = known(api)
    body = {"identities": [identity], "display_name": "Her brother"}
    shown = api.post(f"/v1/people/{person}/split/preview", body)
    assert shown.json()["moves"]["complaints"] == [complaint]
    answer = api.post(
        f"/v1/people/{person}/split",
        {**body, "reason": "he wrote", "preview_token": "0" * 32},
    )
    assert shape(answer)["code"] == "preview-outdated"
    answer = api.post(f"/v1/people/{person}/split", {**body, "reason": "he wrote"})
    change = ChangeShown.model_validate(answer.json())
    new = PersonShown.model_validate(api.get(f"/v1/people/{change.other_id}").json())
    assert (new.display_name, [c.id for c in new.complaints]) == ("Her brother", [complaint])
    assert "he wrote" in why(api, person, change.other_id).says


def test_an_ended_link_is_restored(api: Api) -> None:
    _, person, identity = known(api)
    (found,) = api.get(f"/v1/links?identity_id={identity}").json()["data"]
    link = LinkShown.model_validate(found)
    assert link.decided_under is not None
    revoke(api, link)
    answer = api.post(f"/v1/links/{link.id}/restore", {"reason": "wrong tab"})
    again = LinkShown.model_validate(answer.json())
    assert (answer.status_code, again.person_id, again.origin) == (201, person, link.id)
    assert again.evidence == link.evidence
    twice = shape(api.post(f"/v1/links/{link.id}/restore", {"reason": "wrong tab"}))
    assert twice["code"] == "conflict"
    assert shape(api.post("/v1/links/lnk_1/restore", {"reason": "no"}))["code"] == "validation"


def test_the_golden_view_says_where_each_value_is_from(api: Api) -> None:
    other = api.stage.account.model_copy(
        update={
            "name": "Kim Berg GmbH",
            "emails": ("office@example.com",),
            "phones": ("+49 40 1234567", "0049 (40) 1234567"),
        }
    )
    api.stage.store(other)
    author = {"network": "email", "native_id": "kim@example.com", "handle": None, **EMAIL}
    complaint = api.send_in(author=author)
    person = api.get(f"/v1/complaints/{complaint}").json()["person_id"]
    shown = PersonShown.model_validate(api.get(f"/v1/people/{person}").json())
    golden = {one.field: one for one in shown.golden}
    assert golden["email"].value == "kim@example.com"
    assert golden["email"].verified
    assert golden["legal_name"].value == "Kim Berg GmbH"
    assert golden["legal_name"].source == str(api.stage.account.ref)
    assert golden["customer_number"].value == "1001"
    assert golden["name"].source == str(api.stage.contact.ref)
    assert [o.value for o in golden["email"].others] == ["office@example.com"]
    assert {o.value for o in golden["phone"].others}.isdisjoint(other.phones)
    (link,) = api.call("GET", "/v1/links", params={"record": str(other.ref)}).json()["data"]
    revoke(api, LinkShown.model_validate(link))
    after = PersonShown.model_validate(api.get(f"/v1/people/{person}").json())
    assert "legal_name" not in {one.field for one in after.golden}


@both_databases
def test_a_merged_persons_id_leads_on_everywhere(api: Api) -> None:
    """A helpdesk has kept the id from before; twice merged, and taken apart again."""
    complaint, old, _ = known(api)
    assert create(api, {**asked(api), "person_id": old}).status_code == 202
    middle, last = somebody(api).person_id, somebody(api, "600").person_id
    assert merge(api, middle, old).status_code == 201
    changed = merge(api, last, middle)
    assert changed.status_code == 201

    def lists(person: str) -> list[Any]:
        def listed(path: str) -> list[Any]:
            answer = api.get(path, params={"person_id": person})
            assert answer.status_code == 200, answer.text
            return list(answer.json()["data"])

        return [
            [one["id"] for one in listed("/v1/complaints")],
            len(listed("/v1/actions")),
            sorted(one["identity_id"] or one["record"] for one in listed("/v1/links")),
            api.get(f"/v1/people/{person}").json()["id"],
            api.get(f"/v1/people/{person}/context").json()["person_id"],
        ]

    assert lists(old) == lists(middle) == lists(last)
    assert lists(old)[0] == [complaint]
    assert lists(old)[1] == 1
    assert lists(old)[3:] == [last, last]
    undone = api.post(
        f"/v1/changes/{changed.json()['id']}/undo",
        {"reason": "not her"},
        scopes=("links:write",),
    )
    assert undone.status_code == 201, undone.text
    assert lists(old) == lists(middle) != lists(last)
    assert lists(last)[:2] == [[], 0]
