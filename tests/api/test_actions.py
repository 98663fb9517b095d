"""Corrective actions through the API: previewed, created once, approved, cancelled, followed."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from adapters.memory.remote import Fault
from middleware.api.schemas.actions import ActionPreviewShown, ActionShown
from middleware.contract.actions import Operation
from middleware.domain.policy import built_in
from middleware.flows import correct
from tests.api.conftest import Api, both_databases
from tests.api.test_problems import shape


def asked(api: Api, **changes: Any) -> dict[str, Any]:
    """A rush replacement of one lamp, with a case beside it."""
    return {
        "operation": "replacement_order",
        "request": {
            "order": str(api.stage.order.ref),
            "lines": [{"line": "1", "sku": "LMP-100", "quantity": "1"}],
            "speed": "rush",
            "reason": "damaged",
        },
        "case": {"priority": "high"},
        **changes,
    }


@pytest.fixture(autouse=True)
def nothing_needs_approval(api: Api) -> None:
    options(api, policy=built_in(approval_of_strangers=False))


def options(api: Api, **changes: Any) -> None:
    """Change what the operator decided, for the API and the flows alike."""
    staged = api.stage.with_options(**changes)
    api.stage = staged
    api.app.state.door.hub = staged.hub


def create(api: Api, body: dict[str, Any] | None = None, *, key: str = "key-1", **more: Any) -> Any:
    headers = {"idempotency-key": key, **more.pop("headers", {})}
    return api.post("/v1/actions", body or asked(api), headers=headers, **more)


@both_databases
def test_an_action_is_carried_out_and_followed(api: Api) -> None:
    answer = create(api)
    assert answer.status_code == 202
    accepted = ActionShown.model_validate(answer.json())
    assert answer.headers["location"] == f"/v1/actions/{accepted.id}"
    assert (accepted.state, accepted.settled) == ("queued", False)
    assert accepted.value is not None
    assert (accepted.value.amount, accepted.value.currency) == ("49.90", "EUR")
    assert [s.state for s in accepted.steps] == ["planned", "planned"]
    assert accepted.request["request"]["order"] == str(api.stage.order.ref)

    api.stage.run_all()
    shown = ActionShown.model_validate(api.get(answer.headers["location"]).json())
    assert (shown.state, shown.settled) == ("done", True)
    order, case = shown.steps
    assert order.receipt is not None
    assert order.receipt.number
    assert order.attempts == 1
    assert case.operation is Operation.CASE
    assert api.stage.erp.count(Operation.REPLACEMENT_ORDER, order.key) == 1
    assert api.stage.crm.count(Operation.CASE, case.key) == 1
    told = sorted(moment.what for moment in shown.timeline)
    assert told == ["action.create", "action.done", "action.requested", "step.sent", "step.sent"]
    asked_by = [moment.by for moment in shown.timeline if moment.what == "action.create"]
    assert asked_by == [shown.requested_by]

    (listed,) = api.get(f"/v1/actions?order={api.stage.order.ref}").json()["data"]
    assert listed["id"] == shown.id
    assert api.get("/v1/actions?state=queued").json()["data"] == []


def test_a_preview_says_what_would_happen_and_does_nothing(api: Api) -> None:
    shown = ActionPreviewShown.model_validate(
        api.post("/v1/actions/preview", asked(api), scopes=("actions:read",)).json()
    )
    assert [s.operation for s in shown.steps] == ["replacement_order", "case"]
    assert shown.takes == {"1": "1"}
    assert shown.needs_approval is None
    assert shown.value is not None
    assert shown.value.amount == "49.90"
    assert api.get("/v1/actions").json()["data"] == []
    assert not api.stage.erp.count(Operation.REPLACEMENT_ORDER)


# --- once --------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "", "  "])
def test_an_action_needs_a_key(api: Api, key: str | None) -> None:
    headers = {} if key is None else {"idempotency-key": key}
    problem = shape(api.post("/v1/actions", asked(api), headers=headers))
    assert (problem["status"], problem["code"]) == (400, "idempotency-key-missing")


@pytest.mark.parametrize("key", ["a b", "a" * 256, "schl\u00fcssel"])
def test_a_key_is_plain_text(api: Api, key: str) -> None:
    headers = {"idempotency-key": key.encode(), "authorization": f"Bearer {api.key()}".encode()}
    answer = api.client.post("/v1/actions", json=asked(api), headers=headers)  # type: ignore[arg-type]
    assert shape(answer)["errors"][0]["pointer"] == "/header/Idempotency-Key"


def test_the_same_key_answers_the_same_action(api: Api) -> None:
    first = create(api)
    api.stage.run_all()
    again = create(api)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert again.json()["state"] == "done"
    assert api.stage.erp.count(Operation.REPLACEMENT_ORDER) == 1


def test_the_same_key_with_another_body_is_refused(api: Api) -> None:
    create(api)
    other = asked(api)
    other["request"]["speed"] = "standard"
    problem = shape(create(api, other))
    assert (problem["status"], problem["code"]) == (422, "idempotency-key-reused")
    assert len(api.get("/v1/actions").json()["data"]) == 1


def test_a_key_belongs_to_whoever_sent_it(api: Api) -> None:
    first = create(api, scopes=("actions:create",))
    second = create(api, scopes=("actions:create", "actions:read"))
    assert first.json()["id"] != second.json()["id"]


def test_a_key_whose_request_failed_may_be_used_again(api: Api) -> None:
    wrong = asked(api)
    wrong["request"]["order"] = "erp:order:none"
    assert shape(create(api, wrong))["code"] == "not-found"
    assert create(api).status_code == 202


def test_the_same_key_at_the_same_time_is_told_to_wait(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()
    really = correct.create

    def slowly(*args: Any, **more: Any) -> Any:
        inside.set()
        assert go_on.wait(20)
        return really(*args, **more)

    monkeypatch.setattr(correct, "create", slowly)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(create, api)
        assert inside.wait(20)
        second = create(api)
        problem = shape(second)
        assert (problem["status"], problem["code"]) == (409, "idempotency-in-progress")
        assert second.headers["retry-after"] == "1"
        go_on.set()
        answer = first.result(20)
    assert answer.status_code == 202
    assert create(api).json()["id"] == answer.json()["id"]


@both_databases
def test_many_at_once_under_one_key_are_one_action(api: Api) -> None:
    api.key()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: create(api), range(16)))
    assert {a.status_code for a in answers} <= {202, 409}
    accepted = {a.json()["id"] for a in answers if a.status_code == 202}
    assert len(accepted) == 1
    api.stage.run_all()
    assert api.stage.erp.count(Operation.REPLACEMENT_ORDER) == 1


@both_databases
def test_two_decisions_never_take_more_than_there_is(api: Api) -> None:
    body = asked(api)
    body["request"]["lines"][0]["quantity"] = "2"
    api.key()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: create(api, body, key=f"key-{n}"), range(4)))
    assert sorted(a.status_code for a in answers) == [202, 409, 409, 409]
    refused = next(a for a in answers if a.status_code == 409)
    problem = shape(refused)
    assert problem["code"] == "conflict"
    assert problem["actions"] == [next(a.json()["id"] for a in answers if a.status_code == 202)]


# --- waiting, approving, cancelling ------------------------------------------------------------


def test_an_answer_may_be_waited_for(api: Api) -> None:
    answered = threading.Event()

    def carry_out() -> None:
        while not answered.wait(0.3):
            api.stage.run_all()

    worker = threading.Thread(target=carry_out)
    worker.start()
    answer = create(api, headers={"prefer": "respond-async, wait=20"})
    answered.set()
    worker.join()
    assert answer.status_code == 202
    assert answer.json()["state"] == "done"
    assert answer.headers["preference-applied"] == "wait=20"


def test_waiting_ends(api: Api) -> None:
    began = time.monotonic()
    answer = create(api, headers={"prefer": "wait=1"})
    assert 0.9 < time.monotonic() - began < 10
    assert answer.json()["settled"] is False


def test_an_approval_is_somebody_elses(api: Api) -> None:
    options(api, policy=built_in(approval_over={"EUR": Decimal(20)}, approval_of_strangers=False))
    body = asked(api)
    preview = api.post("/v1/actions/preview", body).json()
    assert preview["needs_approval"].startswith("approval_over")
    answer = create(api, body)
    path = answer.headers["location"]
    waiting = answer.json()
    assert (waiting["state"], waiting["settled"]) == ("awaiting_approval", True)
    assert waiting["approval"]["rule"].startswith("approval_over")

    own = shape(api.post(f"{path}/approve", {}))
    assert (own["status"], own["code"]) == (403, "forbidden")
    boss = ("actions:approve",)
    approved = api.post(f"{path}/approve", {"reason": "she is right"}, scopes=boss)
    assert approved.status_code == 200
    assert approved.json()["state"] == "queued"
    assert approved.json()["approval"]["granted"] is True
    assert shape(api.post(f"{path}/reject", {}, scopes=boss))["code"] == "conflict"
    api.stage.run_all()
    assert api.get(path).json()["state"] == "done"


def test_what_is_rejected_is_not_carried_out(api: Api) -> None:
    options(api, policy=built_in(approval_over={"EUR": Decimal(20)}, approval_of_strangers=False))
    path = create(api).headers["location"]
    rejected = api.post(f"{path}/reject", {"reason": "too dear"}, scopes=("actions:approve",))
    assert rejected.json()["state"] == "rejected"
    assert {s["state"] for s in rejected.json()["steps"]} == {"cancelled"}
    api.stage.run_all()
    assert not api.stage.erp.count(Operation.REPLACEMENT_ORDER)


def test_an_action_is_called_off_until_it_was_sent(api: Api) -> None:
    path = create(api).headers["location"]
    assert api.post(f"{path}/cancel").json()["state"] == "cancelled"
    assert api.post(f"{path}/cancel").status_code == 200
    api.stage.run_all()
    assert not api.stage.erp.count(Operation.REPLACEMENT_ORDER)

    sent = create(api, key="key-2").headers["location"]
    api.stage.run_all()
    problem = shape(api.post(f"{sent}/cancel"))
    assert (problem["code"], problem["state"]) == ("conflict", "done")


def test_what_a_remote_refused_is_shown(api: Api) -> None:
    api.stage.erp.permissions = frozenset()
    path = create(api).headers["location"]
    api.stage.run_all()
    shown = ActionShown.model_validate(api.get(path).json())
    assert shown.state == "refused"
    error = shown.steps[0].error
    assert error is not None
    assert error.error == "Forbidden"
    assert error.message


def test_an_unknown_outcome_is_shown_as_unknown(api: Api) -> None:
    api.stage.erp.script.arm(Fault.DROP, phase="after", operation="replacement_order")
    api.stage.erp.script.arm(Fault.DOWN, operation="find_replacement_order", times=10_000)
    path = create(api).headers["location"]
    api.stage.run_all(hours=30)
    shown = ActionShown.model_validate(api.get(path).json())
    assert (shown.state, shown.settled) == ("unknown", True)
    assert shown.steps[0].in_doubt


# --- what makes no sense -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"request": {"order": "nowhere:order:1"}}, 404, "not-found"),
        ({"complaint_id": "cmp_none"}, 404, "not-found"),
        ({"person_id": "per_none"}, 404, "not-found"),
    ],
)
def test_what_an_action_names_must_be_there(
    api: Api, change: dict[str, Any], status: int, code: str
) -> None:
    body = asked(api)
    body["request"] |= change.pop("request", {})
    problem = shape(create(api, body | change))
    assert (problem["status"], problem["code"]) == (status, code)


def test_a_line_that_is_not_there_is_placed(api: Api) -> None:
    body = asked(api)
    body["request"]["lines"].append({"line": "9", "sku": "X", "quantity": "1"})
    problem = shape(create(api, body))
    assert [e["pointer"] for e in problem["errors"]] == ["/request/lines/1/line"]


def test_what_no_connection_offers_is_not_offered(api: Api) -> None:
    body = {"operation": "note", "request": {"on": "nowhere:conversation:1", "text": "hello"}}
    problem = shape(create(api, body))
    assert (problem["status"], problem["code"]) == (422, "not-offered")


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("return", {"lines": [{"line": "2", "sku": "BLB-1", "quantity": "1"}]}),
        ("credit", {"amount": {"amount": "5.00", "currency": "EUR"}}),
        ("cancellation", {}),
    ],
)
def test_every_remedy_can_be_asked_for(api: Api, operation: str, request_: dict[str, Any]) -> None:
    body = {"operation": operation, "request": {"order": str(api.stage.order.ref), **request_}}
    assert api.post("/v1/actions/preview", body).status_code == 200
    path = create(api, body).headers["location"]
    api.stage.run_all()
    shown = ActionShown.model_validate(api.get(path).json())
    assert shown.operation == operation
    assert shown.settled


def test_a_case_and_a_note_by_themselves(api: Api) -> None:
    case = {"operation": "case", "request": {"subject": "Call her back", "priority": "urgent"}}
    assert create(api, case, key="case").status_code == 202
    place = f"{api.stage.names['desk']}:conversation:c-1"
    note = {"operation": "note", "request": {"on": place, "text": "She called."}}
    assert create(api, note, key="note").status_code == 202
    api.stage.run_all()
    states = {a["operation"]: a["state"] for a in api.get("/v1/actions").json()["data"]}
    assert states == {"case": "done", "note": "done"}


def test_no_such_action(api: Api) -> None:
    boss = ("actions:approve",)
    assert shape(api.get("/v1/actions/act_none"))["code"] == "not-found"
    assert shape(api.post("/v1/actions/act_none/cancel"))["code"] == "not-found"
    approve = api.post("/v1/actions/act_none/approve", {}, scopes=boss)
    assert shape(approve)["code"] == "not-found"


def test_an_actions_tag_is_its_version(api: Api) -> None:
    path = create(api).headers["location"]
    first = api.get(path)
    tag = first.headers["etag"]
    assert tag == f'"{first.json()["version"]}"'
    assert api.get(path, headers={"if-none-match": tag}).status_code == 304
    api.stage.run_all()
    assert api.get(path, headers={"if-none-match": tag}).status_code == 200
