"""Incidents over the API: listed, shown, decided, with what each customer may get."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from middleware.api.webhooks import EVENTS
from middleware.store.tables import IncidentRow
from tests.api.conftest import Api
from tests.flows.conftest import Stage
from tests.flows.test_incidents import calmed, complain, customers, look
from tests.flows.test_receive import arrive, event


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
    (told,) = [
        e["data"] for e in api.get("/v1/events").json()["data"] if e["type"] == "incident.confirmed"
    ]
    EVENTS["incident.confirmed"][0].model_validate(told)
    assert (told["state"], told["proposed"]) == ("confirmed", "credit")
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


@pytest.fixture
def told(known: Stage) -> Stage:
    """Beside it, six complaints about the same service, in nearly the same words."""
    known.time.pass_(minutes=30)
    for n, how in enumerate(("so", "very", "really", "quite", "all", "too")):
        known.time.now += timedelta(seconds=30)
        named = {"id": f"t{n}", "conversation": f"t{n}", "author": {"native_id": f"t{n}"}}
        text = f"{how} useless and rude service on the phone since the new hotline"
        arrive(known, event(text, **named), message_id=f"t-{n}")
    look(known)
    return known


def test_what_is_typical_of_it_is_shown_with_samples(told: Stage, api: Api) -> None:
    rows = api.get("/v1/incidents").json()["data"]
    (row,) = (one for one in rows if one["key"] != "lot:L77")
    shown = api.get(f"/v1/incidents/{row['id']}").json()
    assert {"service", "hotline"} & set(shown["words"])
    assert "kettle" not in shown["words"]
    assert row["title"] == f"complaints about “{', '.join(shown['words'])}”"
    texts = [one["text"] for one in shown["samples"]]
    assert 1 <= len(texts) <= 3
    assert all("rude service" in text for text in texts)
    theirs = api.get(f"/v1/incidents/{row['id']}/complaints").json()["data"]
    assert {one["complaint_id"] for one in shown["samples"]} <= {
        one["complaint"]["id"] for one in theirs
    }
    # What is deleted at its source is no sample any more.
    sampled = shown["samples"][0]["complaint_id"]
    with told.hub.database.begin() as uow:
        for arrival in uow.complaints.arrivals_of(sampled):
            arrival.deleted_at = told.time.now
    left = api.get(f"/v1/incidents/{row['id']}").json()["samples"]
    assert [one["complaint_id"] for one in left] == [
        one["complaint_id"] for one in shown["samples"][1:]
    ]


def test_what_was_joined_is_parted_under_its_version(api: Api) -> None:
    row = the_incident(api)
    path = f"/v1/incidents/{row['id']}/part"
    asked = {"reason": "another cause"}
    assert row["merged_into"] is None
    assert api.post(path, asked).status_code == 428
    assert api.post(path, asked, headers={"If-Match": '"99"'}).status_code == 412
    etag = f'"{row["version"]}"'
    assert api.post(path, asked, headers={"If-Match": etag}).status_code == 409
    with api.stage.hub.database.begin() as uow:
        other = uow.incidents.get(row["id"])
        assert other is not None
        made = {**other.model_dump(), "id": "inc_part", "state": "closed", "key": "topic:damaged"}
        uow.incidents.add(IncidentRow(**{**made, "merged_into": row["id"], "version": 1}))
    assert api.get("/v1/incidents/inc_part").json()["merged_into"] == row["id"]
    parted = api.post("/v1/incidents/inc_part/part", asked, headers={"If-Match": '"1"'})
    assert parted.status_code == 200, parted.text
    assert (parted.json()["state"], parted.json()["merged_into"]) == ("open", None)
    assert api.get(f"/v1/incidents/{row['id']}").json()["complaints"] == 7
