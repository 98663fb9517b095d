"""A correction over REST."""

from __future__ import annotations

from middleware.api.schemas.complaints import UnderstandingShown
from middleware.api.webhooks import EVENTS
from tests.api.conftest import Api
from tests.api.test_problems import shape


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
