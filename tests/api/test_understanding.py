"""Corrections, trainings and what a shadow agrees to, over REST."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from middleware.api.schemas.complaints import UnderstandingShown
from middleware.api.schemas.understanding import TrainingShown
from middleware.api.webhooks import EVENTS
from middleware.domain.understanding import Shadowed, Understanding
from tests.api.conftest import Api, over
from tests.api.test_problems import shape
from tests.flows.conftest import Stage
from tests.flows.test_trainings import TEXT, labelled


def test_an_agent_says_what_it_really_is(api: Api) -> None:
    complaint = api.send_in("My lamp from order SO-10001 arrived broken")
    path = f"/v1/complaints/{complaint}/understanding"
    answer = api.post(path, {"reason": "website", "agent": "anna"}, scopes=("complaints:write",))
    assert answer.status_code == 200, answer.text
    after = UnderstandingShown.model_validate(answer.json())
    assert (after.reason.value, after.reason.band) == ("website", "auto")
    assert after.by.endswith("corrected")
    api.stage.run_due()
    kept = api.get(f"/v1/complaints/{complaint}").json()["understanding"]
    assert kept["reason"]["value"] == "website"
    (told,) = [
        e for e in api.get("/v1/events").json()["data"] if e["type"] == "complaint.corrected"
    ]
    EVENTS["complaint.corrected"][0].model_validate(told["data"])
    assert told["data"]["changes"] == {"reason": {"was": "damaged", "is": "website"}}


def test_what_is_wrong_is_said(api: Api) -> None:
    complaint = api.send_in()
    path = f"/v1/complaints/{complaint}/understanding"
    assert shape(api.post(path, {"reason": "brokn"}))["code"] == "validation"
    assert api.post(path, {}).status_code == 422
    assert api.post(path, {"reason": "late"}, scopes=("complaints:read",)).status_code == 403
    gone = api.post("/v1/complaints/cmp_nothing/understanding", {"reason": "late"})
    assert shape(gone)["code"] == "not-found"


@pytest.fixture
def taught(read: Stage, tmp_path: Path) -> Iterator[Api]:
    """The API of a hub with a model and sentences of the company's own."""
    with over(labelled(read, tmp_path)) as api:
        yield api


def test_a_training_is_owed_done_and_taken_back(taught: Api) -> None:
    path = "/v1/understanding/trainings"
    owed = taught.post(path, {}, scopes=("policy:write",))
    assert owed.status_code == 202, owed.text
    assert TrainingShown.model_validate_json(owed.text).state == "queued"
    assert taught.post(path, {}).headers["Location"] == owed.headers["Location"]
    taught.stage.run_due()
    done = TrainingShown.model_validate_json(
        taught.get(owed.headers["Location"], scopes=("policy:read",)).text
    )
    assert (done.state, done.heads) == ("done", 1)
    assert done.report["reason"].labels == 3
    assert taught.get("/v1/understanding").json()["heads"] == 1
    said = taught.post("/v1/understanding/preview", {"text": TEXT}, scopes=("complaints:read",))
    assert said.json()["reason"]["alternatives"][0]["value"] == "stock"
    assert taught.post(path, {"heads": 0}).status_code == 202
    taught.stage.run_due()
    assert taught.get("/v1/understanding").json()["heads"] == 2
    first = taught.get(f"{path}?limit=1").json()
    second = taught.get(f"{path}?limit=1&cursor={first['next_cursor']}").json()
    assert [t["heads"] for t in (*first["data"], *second["data"])] == [2, 1]
    assert second["has_more"] is False
    told = [e for e in taught.get("/v1/events").json()["data"] if "training" in e["type"]]
    assert [e["type"] for e in told] == ["understanding.training.done"] * 2
    for e in told:
        EVENTS[e["type"]][0].model_validate_json(json.dumps(e["data"]))


def test_what_cannot_be_taught_is_said(taught: Api, api: Api) -> None:
    path = "/v1/understanding/trainings"
    wrong = shape(taught.post(path, {"heads": 9}))
    assert (wrong["code"], wrong["errors"][0]["pointer"]) == ("validation", "/heads")
    assert taught.post(path, {}, scopes=("complaints:write",)).status_code == 403
    assert shape(taught.get(f"{path}/trn_nothing"))["code"] == "not-found"
    assert shape(taught.post("/v1/understanding/preview", {"text": ""}))["code"] == "validation"
    unknown = taught.post("/v1/understanding/preview", {"text": "x", "connection": "nobody"})
    assert shape(unknown)["code"] == "not-found"


def test_rules_alone_have_nothing_to_teach(api: Api) -> None:
    assert shape(api.post("/v1/understanding/trainings", {}))["code"] == "conflict"
    shown = api.get("/v1/understanding").json()
    assert (shown["model"], shown["heads"], shown["refused"]) == (None, 0, None)


def test_agreement_is_counted_over_a_time(api: Api) -> None:
    complaint = api.send_in("My lamp from order SO-10001 arrived broken")
    with api.stage.hub.database.begin() as uow:
        row = uow.complaints.get(complaint, lock=True)
        assert row is not None
        kept = Understanding.model_validate(row.understanding)
        beside = Shadowed(question="reason", value="late", probability=0.9, agrees=False)
        row.understanding = kept.model_copy(update={"shadow": (beside,)}).model_dump(mode="json")
    (one,) = api.get("/v1/understanding/agreement").json()["questions"]
    assert (one["question"], one["asked"], one["agreed"]) == ("reason", 1, 0)
    assert one["differences"] == [{"decided": "damaged", "shadow": "late", "times": 1}]
    for time in ("to=2026-11-20T00:00:00Z", "from=2026-11-21T11:59:59Z&to=2026-11-21T12:00:00Z"):
        early = api.get(f"/v1/understanding/agreement?{time}").json()
        assert early["questions"] == [], time
    turned = api.get(
        "/v1/understanding/agreement?from=2026-11-22T00:00:00Z&to=2026-11-21T00:00:00Z"
    )
    assert shape(turned)["code"] == "validation"
