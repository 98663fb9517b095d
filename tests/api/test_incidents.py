"""Incidents over the API: listed, shown, decided, with what each customer may get."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.api.conftest import Api
from tests.flows.conftest import Stage
from tests.flows.test_incidents import calmed, complain, customers, look


@pytest.fixture
def known(stage: Stage) -> Stage:
    """A stage with a pile-on of seven, out of nine who bought the kettle."""
    made = calmed(stage)
    customers(made, 9, lot="L77")
    complain(made, range(7))
    look(made)
    return made


def the_incident(api: Api) -> dict[str, Any]:
    (row,) = api.get("/v1/incidents").json()["data"]
    return dict(row)


def test_an_incident_is_listed_and_shown_with_its_keys(api: Api) -> None:
    row = the_incident(api)
    assert (row["state"], row["key"], row["complaints"]) == ("open", "lot:L77", 7)
    shown = api.get(f"/v1/incidents/{row['id']}").json()
    assert {"key": "sku:KTL-7", "gives": True, "since": shown["onset_at"]} in shown["keys"]
    assert (shown["affected"], shown["silent"]) == (9, 2)
    theirs = api.get(f"/v1/complaints?incident={row['id']}").json()["data"]
    assert {one["incident_id"] for one in theirs} == {row["id"]}
    assert len(theirs) == 7
    queue = api.get(f"/v1/complaints?incident={row['id']}&sort=priority").json()["data"]
    assert {one["id"] for one in queue} == {one["id"] for one in theirs}
    assert api.get(f"/v1/complaints/{theirs[0]['id']}").json()["incident_id"] == row["id"]
    assert api.get("/v1/complaints?incident=inc_none").json()["data"] == []
    assert api.get("/v1/incidents?state=closed").json()["data"] == []
    assert api.get("/v1/incidents/inc_none").status_code == 404
    assert api.get("/v1/incidents", scopes=("people:read",)).status_code == 403


def test_its_complaints_come_in_pages(api: Api) -> None:
    path = f"/v1/incidents/{the_incident(api)['id']}/complaints?limit=3"
    seen: list[str] = []
    while path:
        page = api.get(path).json()
        seen += [one["complaint"]["id"] for one in page["data"]]
        cursor = page["next_cursor"]
        path = f"{path.split('&')[0]}&cursor={cursor}" if cursor else ""
    assert len(seen) == len(set(seen)) == 7


def test_what_somebody_may_get_is_an_action_that_is_accepted(api: Api) -> None:
    path = f"/v1/incidents/{the_incident(api)['id']}/eligibility"
    page = api.get(path, params={"complained": "true"}).json()
    first = page["data"][0]
    assert first["outcome"] == "allow"
    made = api.post("/v1/actions", first["action"], headers={"Idempotency-Key": "k1"})
    assert made.status_code == 202, made.text
    assert api.get(path).json()["data"][0]["outcome"] == "no"
    silent = api.get(path, params={"complained": "false"}).json()["data"]
    assert [one["complaint_id"] for one in silent] == [None, None]
    assert {one["outcome"] for one in silent} == {"approve"}


def test_it_is_confirmed_and_closed_under_its_version(api: Api) -> None:
    path = f"/v1/incidents/{the_incident(api)['id']}"
    etag = api.get(path).headers["ETag"]
    assert api.post(f"{path}/confirm", {}).status_code == 428
    confirmed = api.post(f"{path}/confirm", {"operation": "credit"}, headers={"If-Match": etag})
    assert confirmed.json()["state"] == "confirmed"
    assert confirmed.json()["proposed"]["operation"] == "credit"
    stale = api.post(f"{path}/close", {"reason": "x"}, headers={"If-Match": etag})
    assert stale.status_code == 412
    api.stage.time.now += timedelta(seconds=1)
    closed = api.post(
        f"{path}/close", {"reason": "x"}, headers={"If-Match": confirmed.headers["ETag"]}
    )
    assert closed.json()["state"] == "closed"
    assert "incident.closed" in api.stage.events()
    again = api.post(
        f"{path}/dismiss", {"reason": "x"}, headers={"If-Match": closed.headers["ETag"]}
    )
    assert again.status_code == 409


def test_a_complaint_is_put_in_and_taken_out(api: Api) -> None:
    path = f"/v1/incidents/{the_incident(api)['id']}/complaints"
    other = api.send_in("The colour is wrong", conversation="c-other", id="m-other")
    body = {"complaint_id": other, "reason": "the same cause"}
    assert api.post(f"{path}/put", body).json()["complaints"] == 8
    assert api.post(f"{path}/remove", body).json()["complaints"] == 7
    assert api.post(f"{path}/remove", body).status_code == 404
