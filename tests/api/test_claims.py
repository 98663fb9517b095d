"""Claims, merges and moves over REST: shapes, conflicts, and what is shown of them."""

from __future__ import annotations

from typing import Any

import pytest

from middleware.api.schemas.claims import ClaimPage, ClaimShown
from middleware.api.schemas.complaints import ComplaintShown
from middleware.flows.keys import Scope
from tests.api.conftest import Api
from tests.api.test_reviews import shape
from tests.flows.test_receive import arrive, event

ANNA = {"agent": "anna", "tool": "desk", "note": "A new lamp by Friday."}


def complaints(api: Api) -> list[str]:
    """Two complaints of one account about different things; their ids, the first one first."""
    arrive(api.stage, event("My lamp arrived broken", id="m-1", conversation="c-1"))
    arrive(api.stage, event("The checkout is down", id="m-2", conversation="c-2"))
    with api.stage.hub.database.read() as uow:
        return sorted(row.id for row in uow.complaints.page(before=None, limit=5))


def shown(api: Api, complaint_id: str) -> ComplaintShown:
    return ComplaintShown.model_validate_json(api.get(f"/v1/complaints/{complaint_id}").content)


def test_the_second_asker_is_told_who_and_what_was_promised(api: Api) -> None:
    complaint, _ = complaints(api)
    taken = api.post("/v1/claims", {"complaint_id": complaint, **ANNA})
    assert taken.status_code == 201, taken.text
    claim = ClaimShown.model_validate_json(taken.content)
    assert taken.headers["location"] == f"/v1/claims/{claim.id}"
    again = api.post("/v1/claims", {"complaint_id": complaint, **ANNA, "minutes": 60})
    assert again.status_code == 200
    refused = api.post("/v1/claims", {"complaint_id": complaint, "agent": "ben"})
    assert refused.status_code == 409
    problem = shape(refused)
    assert problem["code"] == "claimed"
    (held,) = problem["claims"]
    assert held["holder"].endswith("/anna")
    assert (held["tool"], held["note"]) == ("desk", "A new lamp by Friday.")
    assert [c.id for c in shown(api, complaint).claims] == [claim.id]
    about = ClaimPage.model_validate_json(api.get(f"/v1/claims?complaint_id={complaint}").content)
    every = ClaimPage.model_validate_json(api.get("/v1/claims").content)
    assert [c.id for c in about.data] == [c.id for c in every.data] == [claim.id]


def test_a_claim_is_handed_over_renewed_and_given_up(api: Api) -> None:
    complaint, _ = complaints(api)
    claim = api.post("/v1/claims", {"complaint_id": complaint, **ANNA}).json()
    path = f"/v1/claims/{claim['id']}"
    assert api.post(f"{path}/renew", {"agent": "ben"}).status_code == 403
    assert api.post(f"{path}/renew", {"agent": "anna", "minutes": 90}).status_code == 200
    offered = api.post(f"{path}/hand-over", {"agent": "anna", "to": "ben"}).json()
    assert offered["offered_to"].endswith("/ben")
    assert offered["holder"].endswith("/anna")
    accepted = api.post(f"{path}/accept", {"agent": "ben"})
    assert accepted.json()["holder"].endswith("/ben")
    assert api.post(f"{path}/release", {"agent": "ben"}).status_code == 204
    assert shape(api.get(path))["code"] == "not-found"


@pytest.mark.parametrize(
    ("body", "status", "place"),
    [
        ({}, 422, ""),
        ({"complaint_id": "cmp_1", "person_id": "per_1"}, 422, ""),
        ({"complaint_id": "cmp_1", "line": "1"}, 422, ""),
        ({"order": "erp:case:1"}, 422, ""),
        ({"order": "nonsense"}, 422, "/order"),
        ({"complaint_id": "cmp_1", "minutes": 0}, 422, "/minutes"),
        ({"complaint_id": "cmp_1", "minutes": 10**12}, 422, "/minutes"),
        ({"complaint_id": "cmp_1", "agent": "a/b"}, 422, "/agent"),
        ({"complaint_id": "cmp_9"}, 404, None),
    ],
)
def test_what_cannot_be_claimed_says_where(
    api: Api, body: dict[str, Any], status: int, place: str | None
) -> None:
    problem = shape(api.post("/v1/claims", body))
    assert problem["status"] == status
    if place is not None:
        assert [error["pointer"] for error in problem["errors"]] == [place]


def test_merged_complaints_are_shown_as_one_and_split_again(api: Api) -> None:
    first, second = complaints(api)
    merged = api.post(f"/v1/complaints/{first}/merge", {"other_id": second, "reason": "One call."})
    assert merged.status_code == 200, merged.text
    main = ComplaintShown.model_validate_json(merged.content)
    assert [(a.source_id, a.complaint_id) for a in main.arrivals] == [
        ("m-1", first),
        ("m-2", second),
    ]
    (row,) = main.merges
    assert (row.state, row.reason, row.other_id) == ("merged", "One call.", second)
    answer = api.get(f"/v1/complaints/{second}")
    assert answer.json()["merged_into"] == first
    assert answer.headers["content-location"] == f"/v1/complaints/{first}"
    split = api.post(f"/v1/complaints/{second}/split", {"reason": "Two calls."})
    assert split.json()["merged_into"] is None
    assert [m.state for m in shown(api, first).merges] == ["split"]
    again = shape(api.post(f"/v1/complaints/{second}/split", {"reason": "Two calls."}))
    assert again["code"] == "conflict"


def test_a_moved_complaint_shows_its_trail(api: Api) -> None:
    complaint, _ = complaints(api)
    moved = api.post(
        f"/v1/complaints/{complaint}/move", {"brand_account": "pine", "reason": "Theirs."}
    )
    assert moved.status_code == 200, moved.text
    seen = ComplaintShown.model_validate_json(moved.content)
    assert seen.brand_account == "pine"
    assert [(m.from_account, m.to_account, m.reason) for m in seen.moves] == [
        (None, "pine", "Theirs.")
    ]
    nowhere = shape(api.post(f"/v1/complaints/{complaint}/move", {"reason": "Theirs."}))
    assert nowhere["status"] == 422


def test_who_may_only_read_claims_nothing(api: Api) -> None:
    complaint, _ = complaints(api)
    reading = (Scope.COMPLAINTS_READ,)
    refused = api.post("/v1/claims", {"complaint_id": complaint}, scopes=reading)
    assert shape(refused)["code"] == "forbidden"
    assert api.get("/v1/claims", scopes=reading).status_code == 200


def test_an_action_on_anothers_claim_is_refused_unless_it_says_why(api: Api) -> None:
    stage = api.stage
    stage.store(stage.account, stage.order)
    order = str(stage.order.ref)
    line = {"line": "1", "sku": "LMP-100", "quantity": "1"}
    asked = {"operation": "return", "request": {"order": order, "lines": [line]}}
    # Anna's tool has another key.
    theirs = (Scope.COMPLAINTS_WRITE,)
    taken = api.post("/v1/claims", {"order": order, "line": "1", **ANNA}, scopes=theirs)
    assert taken.status_code == 201, taken.text
    key = {"Idempotency-Key": "click-1"}
    problem = shape(api.post("/v1/actions", asked, headers=key))
    assert problem["code"] == "claimed"
    preview = api.post("/v1/actions/preview", asked).json()
    assert any("has claimed" in warning for warning in preview["warnings"])
    why = {"override": "Anna is ill today.", "preview_token": preview["preview_token"]}
    done = api.post("/v1/actions", asked | why, headers=key)
    assert done.status_code == 202, done.text
