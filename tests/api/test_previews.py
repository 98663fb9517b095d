"""Doing what was shown, or nothing; and invitations."""

from __future__ import annotations

import base64
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from middleware.api.schemas.actions import ActionPreviewShown, ActionShown
from middleware.contract.actions import Operation
from middleware.contract.canonical import Money
from middleware.domain.policy import built_in
from middleware.flows import correct
from middleware.flows.hub import Asker
from tests.api.conftest import Api
from tests.api.test_actions import asked, options


@pytest.fixture(autouse=True)
def nothing_needs_approval(api: Api) -> None:
    options(api, policy=built_in(approval_of_strangers=False))


def previewed(api: Api, **changes: object) -> tuple[dict[str, object], str]:
    body = {**asked(api), **changes}
    shown = api.post("/v1/actions/preview", body, scopes=("actions:read",)).json()
    return body, ActionPreviewShown.model_validate(shown).preview_token


def create(api: Api, body: dict[str, object], token: str, key: str = "k-1") -> Any:
    return api.post(
        "/v1/actions",
        {**body, "preview_token": token},
        scopes=("actions:create",),
        headers={"idempotency-key": key},
    )


def test_what_was_shown_is_done(api: Api) -> None:
    body, token = previewed(api)
    answer = create(api, body, token)
    assert answer.status_code == 202, answer.text
    again = create(api, body, token)
    assert again.headers["location"] == answer.headers["location"]


def test_a_repeat_gets_the_first_answer_however_the_world_has_changed(api: Api) -> None:
    """The first one took all there was of the line, and the token has grown old meanwhile."""
    line = {"line": "1", "sku": "LMP-100", "quantity": "2"}
    body = asked(api)
    body, token = previewed(api, request={**body["request"], "lines": [line]})
    first = create(api, body, token)
    assert first.status_code == 202, first.text
    api.stage.time.pass_(minutes=20)
    again = create(api, body, token)
    assert again.status_code == 202, again.text
    assert again.headers["location"] == first.headers["location"]


def test_a_changed_world_is_answered_with_the_difference(api: Api) -> None:
    body, token = previewed(api)
    correct.create(api.stage.hub, api.stage.wanted(), Asker("key_other"))
    answer = create(api, body, token)
    assert answer.status_code == 409
    problem = answer.json()
    assert problem["code"] == "preview-outdated"
    changed = {change["what"]: (change["then"], change["now"]) for change in problem["changes"]}
    assert changed["pieces left of line 1"] == ("2", "1")
    api.stage.run_all()
    assert api.stage.erp.count(Operation.REPLACEMENT_ORDER) == 1


def test_a_changed_price_is_told(api: Api) -> None:
    body, token = previewed(api)
    order = api.stage.order
    dear = order.lines[0].model_copy(
        update={"unit_price": Money(amount=Decimal("59.90"), currency="EUR")}
    )
    api.stage.store(order.model_copy(update={"lines": (dear, *order.lines[1:])}))
    problem = create(api, body, token).json()
    assert {"worth", "order's lines"} <= {change["what"] for change in problem["changes"]}


def test_a_changed_policy_is_told(api: Api) -> None:
    body, token = previewed(api)
    options(api, policy=built_in(approval_over={"EUR": Decimal(1)}, approval_of_strangers=False))
    problem = create(api, body, token).json()
    assert "needs approval" in {change["what"] for change in problem["changes"]}


def test_what_the_remote_now_says_is_told(api: Api) -> None:
    body, token = previewed(api)
    api.stage.erp.put(api.stage.order.model_copy(update={"lines": ()}))
    answer = create(api, body, token)
    assert answer.status_code in (202, 409)
    if answer.status_code == 409:
        assert answer.json()["code"] == "preview-outdated"


def test_a_token_fits_its_request_only(api: Api) -> None:
    body, token = previewed(api)
    other = create(api, {**body, "note": "something else"}, token)
    assert other.status_code == 422
    assert other.json()["errors"][0]["pointer"] == "/preview_token"
    altered = create(api, body, token[:-4] + "AAAA", key="k-2")
    assert altered.status_code == 422
    assert altered.json()["errors"][0]["code"] == "not_ours"


def test_a_token_grows_old(api: Api) -> None:
    body, token = previewed(api)
    api.stage.time.pass_(minutes=16)
    answer = create(api, body, token)
    assert answer.status_code == 409
    assert answer.json()["changes"] == []


def test_a_token_holds_no_personal_data(api: Api) -> None:
    _, token = previewed(api)
    inside = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for word in (b"Kim", b"Berg", b"kim@example.com", b"Leipzig"):
        assert word not in inside


# --- invitations -----------------------------------------------------------------------------


def invited(api: Api) -> ActionShown:
    options(api, public_url="https://hub.example.com")
    body = {
        "operation": "invitation",
        "complaint_id": api.stage.complaint(),
        "request": {"valid_hours": 2},
    }
    answer = api.post(
        "/v1/actions", body, scopes=("actions:create",), headers={"idempotency-key": "inv"}
    )
    assert answer.status_code == 202, answer.text
    api.stage.run_all()
    return ActionShown.model_validate(api.get(answer.headers["location"]).json())


def path_of(shown: ActionShown) -> str:
    assert shown.invitation is not None
    return shown.invitation.link.removeprefix("https://hub.example.com")


def test_an_invitation_is_a_link_that_the_agents_get(api: Api) -> None:
    shown = invited(api)
    assert shown.state == "done"
    (note,) = api.stage.notes()
    assert shown.invitation is not None
    assert shown.invitation.link in note
    answer = api.client.get(path_of(shown))
    assert answer.status_code == 200
    assert set(answer.json()) == {"expires_at"}


def test_an_invitation_runs_out(api: Api) -> None:
    shown = invited(api)
    api.stage.time.pass_(hours=3)
    assert api.client.get(path_of(shown)).status_code == 410


def test_an_invitation_is_taken_back(api: Api) -> None:
    shown = invited(api)
    answer = api.post(
        f"/v1/actions/{shown.id}/undo",
        {"reason": "sent to the wrong person"},
        scopes=("actions:create",),
        headers={"idempotency-key": "undo"},
    )
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] == "done"
    assert api.client.get(path_of(shown)).status_code == 410


def test_a_made_up_link_leads_nowhere(api: Api) -> None:
    token = path_of(invited(api)).rpartition("/")[2]
    assert api.client.get(f"/v1/invitations/{token[:-2]}xx").status_code == 404
    assert api.client.get("/v1/invitations/abc").status_code == 404


def test_without_an_address_of_its_own_the_hub_invites_nobody(api: Api) -> None:
    body = {
        "operation": "invitation",
        "complaint_id": api.stage.complaint(),
        "request": {},
    }
    answer = api.post(
        "/v1/actions", body, scopes=("actions:create",), headers={"idempotency-key": "inv"}
    )
    assert answer.status_code == 422
    assert answer.json()["code"] == "not-offered"


# --- undo, finish, hand over, settle ---------------------------------------------------------


def test_an_action_is_undone_through_the_api(api: Api) -> None:
    body, token = previewed(api)
    made = create(api, body, token)
    api.stage.run_all()
    path = made.headers["location"]
    before = ActionShown.model_validate(api.get(path).json())
    assert before.choices == ["undo"]
    answer = api.post(
        f"{path}/undo", {"note": ""}, scopes=("actions:create",), headers={"idempotency-key": "u"}
    )
    assert answer.status_code == 202, answer.text
    same = api.post(
        f"{path}/undo", {"note": ""}, scopes=("actions:create",), headers={"idempotency-key": "u"}
    )
    assert same.headers["location"] == answer.headers["location"]
    api.stage.run_all()
    undo = ActionShown.model_validate(api.get(answer.headers["location"]).json())
    assert undo.state == "done"
    assert undo.undoes == before.id
    after = ActionShown.model_validate(api.get(path).json())
    assert after.undone_by == undo.id
    assert after.choices == []
    sent = [moment for moment in undo.timeline if moment.what == "step.sent"]
    assert {moment.step for moment in sent} == {step.id for step in undo.steps}
    assert all(moment.detail["outcome"] == "done" for moment in sent)


def test_a_partial_action_is_finished_or_handed_over(api: Api) -> None:
    api.stage.crm.permissions = frozenset()
    body, token = previewed(api)
    path = create(api, body, token).headers["location"]
    api.stage.run_all()
    shown = ActionShown.model_validate(api.get(path).json())
    assert shown.state == "partial"
    assert shown.choices == ["finish", "undo", "hand_over"]
    handed = api.post(
        f"{path}/hand-over", {"reason": "I call them"}, scopes=("actions:create",)
    ).json()
    assert handed["handed_over"]["reason"] == "I call them"
    api.stage.crm.permissions = frozenset(Operation)
    api.stage.time.pass_(seconds=timedelta(minutes=1).total_seconds())
    finished = api.post(f"{path}/finish", {}, scopes=("actions:create",))
    assert finished.json()["state"] == "queued"
    api.stage.run_all()
    assert api.get(path).json()["state"] == "done"
    again = api.post(f"{path}/finish", {}, scopes=("actions:create",))
    assert again.status_code == 409
    assert again.json()["choices"] == ["undo"]


def test_settling_needs_an_unknown_step(api: Api) -> None:
    body, token = previewed(api)
    path = create(api, body, token).headers["location"]
    api.stage.run_all()
    step = api.get(path).json()["steps"][0]["id"]
    answer = api.post(
        f"{path}/steps/{step}/settle",
        {"made": None, "reason": "I looked"},
        scopes=("actions:approve",),
    )
    assert answer.status_code == 409
    forbidden = api.post(
        f"{path}/steps/{step}/settle",
        {"made": None, "reason": "I looked"},
        scopes=("actions:create",),
    )
    assert forbidden.status_code == 403
