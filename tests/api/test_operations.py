"""What IT operators look at: connections, jobs, quarantine, events, keys."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import SQLModel

from adapters.memory.remote import Fault
from middleware.api.schemas import operations as schemas
from middleware.api.webhooks import EVENTS
from middleware.contract.canonical import Contact, Kind, Ref
from middleware.contract.capabilities import Quarantined
from middleware.contract.errors import Unauthorised
from middleware.domain.ids import new_id
from middleware.domain.turns import Urgency
from middleware.flows import sync, watch
from middleware.flows.hub import ResolveOptions
from middleware.store.tables import (
    CannotLinkRow,
    ConnectionRow,
    ConnectionStateRow,
    JobRow,
    RunRow,
)
from tests.api.conftest import Api, both_databases, event
from tests.api.test_problems import shape
from tests.flows.conftest import queries, silent


@pytest.fixture
def declared(api: Api) -> Api:
    """The stage's connections and a job, as the configuration would declare them."""
    names = api.stage.names
    with api.stage.hub.database.begin() as uow:
        uow.connections.declare(
            {**{name: ("memory", {}) for name in names.values()}, "insta": ("inlet:meta", {})},
            at=api.stage.time(),
        )
        uow.jobs.declare(
            {
                "erp-all": {
                    "flow": "sync",
                    "arguments": {"connection": names["erp"], "kinds": ["order", "account"]},
                    "schedule": {"every": 300.0},
                }
            },
            at=api.stage.time(),
        )
    return api


@contextmanager
def loaded(*tables: type[SQLModel]) -> Iterator[Counter[str]]:
    """How many rows of these tables the store reads meanwhile."""
    seen: Counter[str] = Counter()

    def note(row: Any, *_: Any) -> None:
        seen[type(row).__name__] += 1

    for table in tables:
        sa.event.listen(table, "load", note)
    try:
        yield seen
    finally:
        for table in tables:
            sa.event.remove(table, "load", note)


def paged(api: Api, path: str) -> list[list[Any]]:
    """A list, page by page."""
    pages = []
    while path:
        page = api.get(path)
        pages.append(page.json()["data"])
        link = page.headers.get("link", "")
        path = link[1 : link.index(">")] if link else ""
    return pages


@both_databases
def test_a_page_reads_no_more_than_it_shows(api: Api) -> None:
    """However many jobs, runs, connections and cannot-links there are."""
    hub, now = api.stage.hub, api.stage.time()
    names = [f"{kind}{mark}{n}" for kind in "ab" for mark in ("", "-", "_") for n in range(6)]
    job = {"flow": "sync", "arguments": {}, "schedule": {"every": 300.0}}
    with hub.database.begin() as uow:
        uow.jobs.declare(dict.fromkeys(names, job), at=now)
        uow.connections.declare(dict.fromkeys(names, ("memory", {})), at=now)
        for n in range(20):
            uow.ledger.add_cannot_link(
                "idn_1", f"idn_{n + 2}", reason="no", source="s", by="k", at=now
            )
        runs = {
            name: [new_id("run") for _ in range(5)] for place, name in enumerate(names) if place % 3
        }
        for name, ids in runs.items():
            for id_ in ids:
                row = RunRow(
                    id=id_,
                    job=name,
                    tick=id_,
                    state="done",
                    requested_by="t",
                    counts={},
                    queued_at=now,
                )
                uow.jobs.add_run(row)
    asked = []
    for limit in (4, 8):
        with loaded(JobRow, RunRow) as seen, queries(api.stage) as statements:
            page = api.get(f"/v1/jobs?limit={limit}").json()["data"]
        with_run = [one for one in page if one["last_run"] is not None]
        assert seen == {"JobRow": limit + 1, "RunRow": len(with_run)}
        asked.append(sum("FROM job" in one or "FROM run" in one for one in statements))
    assert asked == [2, 2], "no statement of its own for each job"
    with loaded(ConnectionRow, ConnectionStateRow) as seen:
        api.get("/v1/connections?limit=4")
    assert seen["ConnectionRow"] == 5
    with loaded(CannotLinkRow) as seen:
        api.get("/v1/cannot-links?thing=idn_1&limit=4")
    assert seen == {"CannotLinkRow": 5}

    for path in ("/v1/jobs", "/v1/connections"):
        pages = paged(api, f"{path}?limit=7")
        shown = [one for page in pages for one in page]
        assert [len(page) for page in pages] == [7, 7, 7, 7, 7, 1]
        assert sorted(one["name"] for one in shown) == sorted(names), "each once, in any collation"
        if path == "/v1/jobs":
            last = {one["name"]: one["last_run"] and one["last_run"]["id"] for one in shown}
            assert last == {name: max(runs[name]) if name in runs else None for name in names}
    held = [one for page in paged(api, "/v1/cannot-links?thing=idn_1&limit=6") for one in page]
    assert len({one["id"] for one in held}) == len(held) == 20


# --- connections -------------------------------------------------------------------------------


def test_connections_say_what_they_can_do(declared: Api) -> None:
    page = schemas.ConnectionPage.model_validate(declared.get("/v1/connections").json())
    by_name = {connection.name: connection for connection in page.data}
    erp = by_name[declared.stage.names["erp"]]
    assert erp.adapter == "memory"
    assert {"ReadsOrders", "CreatesReplacementOrders", "ListsChanges"} <= set(erp.capabilities)
    desk = by_name[declared.stage.names["desk"]]
    assert desk.inlet == "generic"
    assert (by_name["insta"].adapter, by_name["insta"].capabilities) == (None, [])
    one = declared.get(f"/v1/connections/{erp.name}").json()
    assert one == erp.model_dump(mode="json")


def test_connections_are_paged_by_name(declared: Api) -> None:
    names: list[str] = []
    path = "/v1/connections?limit=3"
    while path:
        page = declared.get(path)
        names += [c["name"] for c in page.json()["data"]]
        link = page.headers.get("link", "")
        path = link[1 : link.index(">")] if link else ""
    assert names == sorted([*declared.stage.names.values(), "insta"])


def test_a_check_is_kept(declared: Api) -> None:
    erp = declared.stage.names["erp"]
    before = schemas.HealthShown.model_validate(
        declared.get(f"/v1/connections/{erp}/health").json()
    )
    assert (before.status, before.last_check) == ("unchecked", None)
    answer = declared.post(f"/v1/connections/{erp}/check", scopes=("connections:check",))
    check = schemas.CheckShown.model_validate(answer.json())
    assert check.ok
    assert check.findings
    after = declared.get(f"/v1/connections/{erp}/health").json()
    assert after["status"] == "ok"
    assert after["last_check"] == answer.json()
    assert declared.get(f"/v1/connections/{erp}").json()["last_check"] == answer.json()


def test_what_a_check_finds_wrong_is_no_error(declared: Api) -> None:
    erp = declared.stage.names["erp"]
    declared.stage.erp.script.arm(Fault.DENIED, operation="check")
    check = declared.post(f"/v1/connections/{erp}/check").json()
    assert check["ok"] is False
    assert all(f["remedy"] for f in check["findings"] if not f["ok"])
    assert declared.get(f"/v1/connections/{erp}/health").json()["status"] == "failing"


def stop(declared: Api) -> str:
    """Let the ERP refuse our login until it is stopped; answers its path."""
    erp = declared.stage.names["erp"]
    declared.stage.erp.script.arm(Fault.DENIED, operation="read_order", times=2)
    remote = declared.stage.hub.gate.remote(erp, Urgency.AGENT)
    for _ in range(2):
        with pytest.raises(Unauthorised):
            remote.read_order(declared.stage.order.ref)
        declared.stage.time.pass_(seconds=30)
    return f"/v1/connections/{erp}"


@both_databases
def test_a_connection_says_whether_calls_go_out(declared: Api) -> None:
    path = f"/v1/connections/{declared.stage.names['erp']}"
    before = schemas.ConnectionShown.model_validate(declared.get(path).json())
    assert (before.state, before.since, before.reason) == ("closed", None, None)
    stop(declared)
    for shown in (
        declared.get(path).json(),
        declared.get(f"{path}/health").json(),
        next(c for c in declared.get("/v1/connections").json()["data"] if c["name"] == before.name),
    ):
        assert (shown["state"], shown["until"], shown["changed_by"]) == ("stopped", None, "hub")
        assert shown["reason"]["cause"] == "refused"
        assert shown["reason"]["operation"] == "read_order"
        assert "configuration" not in shown["reason"]
    assert {"name": "connections", "ok": False, "detail": "1 stopped, 3 unchecked"} in (
        declared.get("/readyz").json()["parts"]
    )


@both_databases
def test_a_stopped_connection_is_resumed_by_a_person(declared: Api) -> None:
    path = stop(declared)
    resumed = declared.post(f"{path}/resume", scopes=("connections:check",))
    assert resumed.status_code == 200
    shown = schemas.ConnectionShown.model_validate(resumed.json())
    assert shown.state == "closed"
    assert shown.changed_by
    assert shown.changed_by.startswith("key_")
    assert shown.reason is not None
    assert "one call goes out at a time" in shown.reason.message
    remote = declared.stage.hub.gate.remote(shown.name, Urgency.AGENT)
    assert remote.read_order(declared.stage.order.ref)
    with declared.stage.hub.database.read() as uow:
        audited = [row.action for row in uow.audit.about(shown.name)]
    assert audited == ["connection.stop", "connection.resume"]
    # Again: nothing changes, and nothing more is audited.
    assert declared.post(f"{path}/resume").json()["state"] == "closed"
    told = [e for e in declared.get("/v1/events").json()["data"] if "connection" in e["type"]]
    assert [e["type"].partition(".")[2] for e in told] == ["resting", "stopped", "back"]
    for event_ in told:
        data, _ = EVENTS[event_["type"]]
        data.model_validate(event_["data"])


def test_only_who_may_check_may_resume(declared: Api) -> None:
    path = stop(declared)
    answer = declared.post(f"{path}/resume", scopes=("connections:read",))
    assert shape(answer)["code"] == "forbidden"
    assert declared.get(path).json()["state"] == "stopped"


def test_what_only_receives_is_not_resumed(declared: Api) -> None:
    assert shape(declared.post("/v1/connections/insta/resume"))["code"] == "not-found"


def test_a_second_check_waits_after_one_that_found_something(declared: Api) -> None:
    erp = declared.stage.names["erp"]
    declared.stage.erp.script.arm(Fault.DENIED, operation="check")
    declared.post(f"/v1/connections/{erp}/check")
    again = declared.post(f"/v1/connections/{erp}/check").json()
    assert again["ok"] is False
    assert again["findings"][0]["remedy"] == "Check again in 30 seconds."
    declared.stage.time.pass_(seconds=30)
    assert declared.post(f"/v1/connections/{erp}/check").json()["ok"] is True


def test_a_check_that_hangs_ends_with_its_deadline(declared: Api) -> None:
    erp = declared.stage.names["erp"]
    with silent(declared.stage.erp, "check"):
        check = declared.post(f"/v1/connections/{erp}/check?deadline_ms=100").json()
    assert check["ok"] is False
    assert "within 0.1 s" in check["findings"][0]["detail"]


def test_a_connection_that_only_receives_has_nothing_to_check(declared: Api) -> None:
    assert declared.post("/v1/connections/insta/check").json()["ok"] is True


@pytest.mark.parametrize("path", ["", "/health", "/check", "/resume"])
def test_no_such_connection(declared: Api, path: str) -> None:
    method = "POST" if path in ("/check", "/resume") else "GET"
    assert shape(declared.call(method, f"/v1/connections/none{path}"))["code"] == "not-found"


def test_how_fresh_a_connection_is(declared: Api) -> None:
    erp = declared.stage.names["erp"]
    declared.post("/v1/jobs/erp-all/runs")
    declared.stage.run_due()
    quarantine(declared, "O9")
    health = schemas.HealthShown.model_validate(
        declared.get(f"/v1/connections/{erp}/health").json()
    )
    assert {fresh.kind for fresh in health.synced} == {"order", "account"}
    assert health.quarantined == 1


# --- jobs --------------------------------------------------------------------------------------


@both_databases
def test_a_job_is_run_now(declared: Api) -> None:
    answer = declared.post("/v1/jobs/erp-all/runs", scopes=("jobs:run",))
    assert answer.status_code == 202
    queued = schemas.RunShown.model_validate(answer.json())
    assert queued.state == "queued"
    assert declared.post("/v1/jobs/erp-all/runs", scopes=("jobs:run",)).json()["id"] == queued.id
    declared.stage.run_due()
    run = schemas.RunShown.model_validate(declared.get(answer.headers["location"]).json())
    assert run.state == "done"
    assert run.counts["order"]["seen"] == 1
    assert run.requested_by.startswith("key_")
    declared.stage.time.pass_(seconds=2)
    later = declared.post("/v1/jobs/erp-all/runs").json()["id"]
    page = schemas.RunPage.model_validate(declared.get("/v1/jobs/erp-all/runs").json())
    assert [r.id for r in page.data] == [later, queued.id]
    job = schemas.JobShown.model_validate(declared.get("/v1/jobs/erp-all").json())
    assert job.last_run is not None
    assert job.last_run.id == later
    listed = schemas.JobPage.model_validate(declared.get("/v1/jobs").json())
    assert listed.data == [job]


@both_databases
def test_a_run_that_has_ended_shows_its_receipt(declared: Api) -> None:
    run = declared.post("/v1/jobs/erp-all/runs", scopes=("jobs:run",)).headers["location"]
    assert shape(declared.get(f"{run}/receipt"))["code"] == "not-found"
    declared.stage.run_due()
    answer = declared.get(f"{run}/receipt", scopes=("jobs:read",))
    receipt = schemas.ReceiptShown.model_validate(answer.json())
    assert (receipt.number, receipt.previous, receipt.gaps) == (1, None, [])
    assert receipt.windows["order"].complete
    assert receipt.counts["order"]["seen"] == 1
    assert receipt.intact
    with declared.stage.hub.database.begin() as uow:
        row = uow.receipts.of_run(receipt.run)
        assert row is not None
        row.body = {**row.body, "gaps": [{"kind": "order", "why": "not_read"}]}
    assert declared.get(f"{run}/receipt").json()["intact"] is False


def test_a_job_is_paused_and_resumed(declared: Api) -> None:
    version = declared.get("/v1/jobs/erp-all").headers["etag"]
    paused = declared.post("/v1/jobs/erp-all/pause", scopes=("jobs:run",))
    assert paused.json()["paused"] is True
    assert paused.headers["etag"] != version
    assert declared.post("/v1/jobs/erp-all/pause").headers["etag"] == paused.headers["etag"]
    assert declared.post("/v1/jobs/erp-all/resume").json()["paused"] is False


def test_everything_is_read_anew_or_a_window_again(declared: Api) -> None:
    wanted = {"kinds": ["order"], "most_deleted": 0.5}
    answer = declared.post("/v1/jobs/erp-all/full", json=wanted, scopes=("jobs:run",))
    assert answer.status_code == 202
    full = schemas.RunShown.model_validate(answer.json())
    assert (full.mode, full.wanted) == ("full", wanted)
    now = declared.stage.time.now
    window = {"since": f"{now:%Y-%m-%d}T00:00:00Z", "until": f"{now:%Y-%m-%dT%H:%M:%S}Z"}
    again = declared.post("/v1/jobs/erp-all/backfill", json=window, scopes=("jobs:run",))
    assert again.status_code == 202
    declared.stage.run_due()
    run = schemas.RunShown.model_validate(declared.get(answer.headers["location"]).json())
    assert (run.state, list(run.counts)) == ("done", ["order"])
    receipt = declared.get(f"{answer.headers['location']}/receipt").json()
    assert receipt["mode"] == "full"
    assert receipt["source"]["order"]["agrees"] is True
    backfilled = declared.get(again.headers["location"]).json()
    assert (backfilled["mode"], backfilled["state"]) == ("backfill", "done")


def declare_resolution(declared: Api) -> None:
    with declared.stage.hub.database.begin() as uow:
        jobs = {row.name: row for row in uow.jobs.all()}
        spec = {"flow": "resolve", "arguments": {}, "schedule": {"every": 86400}}
        kept = {
            name: {"flow": row.flow, "arguments": row.arguments, "schedule": row.schedule}
            for name, row in jobs.items()
        }
        uow.jobs.declare({**kept, "people": spec}, at=declared.stage.time.now)


def test_a_resolution_is_of_all_records(declared: Api) -> None:
    declare_resolution(declared)
    for body, pointer in (
        ({"kinds": ["contact"]}, "/kinds"),
        ({"most_deleted": 0}, "/most_deleted"),
    ):
        problem = shape(declared.post("/v1/jobs/people/full", json=body, scopes=("jobs:run",)))
        assert (problem["status"], problem["errors"][0]["pointer"]) == (422, pointer)
    assert declared.post("/v1/jobs/people/full", json={}, scopes=("jobs:run",)).status_code == 202


def test_a_resolution_that_was_stopped_is_looked_at_and_let_through(
    declared: Api, tmp_path: Path
) -> None:
    chosen = ResolveOptions(workspace=tmp_path, most_changes=0, most_changed_share=0)
    declared.stage = declared.stage.with_options(resolve=chosen)
    declared.app.state.door.hub = declared.stage.hub
    declare_resolution(declared)
    said = {"given_name": "Ada", "family_name": "Oyelaran", "emails": ("ada@example.org",)}
    two = [Contact(ref=Ref.parse(f"{s}:contact:C9"), **said) for s in ("crm", "erp")]
    declared.stage.store(*two)
    run = declared.post("/v1/jobs/people/runs").headers["location"]
    assert shape(declared.get(f"{run}/report"))["code"] == "not-found"
    assert shape(declared.post(f"{run}/allow"))["code"] == "conflict"
    declared.stage.run_due()
    stopped = schemas.RunShown.model_validate(declared.get(run).json())
    assert (stopped.state, stopped.error and stopped.error["changes"]) == ("stopped", 4)
    report = schemas.ReportShown.model_validate(
        declared.get(f"{run}/report", scopes=("jobs:read",)).json()
    )
    assert report.counts["planned"] == {"made": 4, "moved": 0, "ended": 0}
    shown = {(one.change, one.record, one.person, *one.beside) for one in report.changes}
    refs = [str(one.ref) for one in two]
    assert shown > {("made", refs[0], None, refs[1]), ("made", refs[1], None, refs[0])}
    answer = declared.post(f"{run}/allow", scopes=("jobs:run",))
    assert answer.status_code == 202
    declared.stage.run_due()
    done = declared.get(answer.headers["location"]).json()
    assert (done["state"], done["counts"]["links"]["made"]) == ("done", 4)
    assert shape(declared.post(f"{run}/allow"))["code"] == "conflict"


@pytest.mark.parametrize(
    ("what", "body", "pointer"),
    [
        ("full", {"kinds": ["case"]}, "/kinds/0"),
        ("full", {"kinds": ["ordre"]}, "/kinds/0"),
        ("full", {"most_deleted": 2}, "/most_deleted"),
        ("backfill", {"since": "2026-11-20T00:00:00Z"}, "/until"),
        (
            "backfill",
            {"since": "2026-11-20T00:00:00Z", "until": "2026-11-19T00:00:00Z"},
            "/until",
        ),
        (
            "backfill",
            {"since": "2026-11-20T00:00:00Z", "until": "2036-11-19T00:00:00Z"},
            "/until",
        ),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(
    declared: Api, what: str, body: dict[str, Any], pointer: str
) -> None:
    answer = declared.post(f"/v1/jobs/erp-all/{what}", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_job_shows_when_it_is_due_what_it_waits_for_and_its_alarms(declared: Api) -> None:
    stage = declared.stage
    with stage.hub.database.begin() as uow:
        erp = uow.jobs.get("erp-all")
        assert erp is not None
        spec = {"flow": "sync", "arguments": erp.arguments, "schedule": {"every": 300.0}}
        after = {**spec, "after": ["erp-all"]}
        uow.jobs.declare({"erp-all": spec, "later": after}, at=stage.time())
    stage.time.pass_(hours=2)
    held = sync.owe(stage.hub, "later", tick="2026-11-21T14:00:00Z", requested_by="schedule")
    watch.look(stage.hub)
    job = schemas.JobShown.model_validate(declared.get("/v1/jobs/later").json())
    assert job.after == ["erp-all"]
    assert job.next_due is not None
    assert job.next_due > stage.time()
    assert [(a.type, a.subject, a.detail["why"]) for a in job.alarms][:1] == [
        ("late", "later", "held")
    ]
    run = schemas.RunShown.model_validate(declared.get(f"/v1/runs/{held[0]}").json())
    assert (run.state, run.waits_for) == ("held", {"erp-all": "has not run yet"})
    ready = declared.get("/readyz").json()
    assert ready["status"] == "degraded"
    (part,) = [part for part in ready["parts"] if part["name"] == "jobs"]
    assert "2 late: erp-all, later" in part["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/none"),
        ("GET", "/v1/jobs/none/runs"),
        ("POST", "/v1/jobs/none/runs"),
        ("POST", "/v1/jobs/none/pause"),
        ("GET", "/v1/runs/none"),
        ("GET", "/v1/runs/none/receipt"),
        ("GET", "/v1/runs/none/report"),
        ("POST", "/v1/runs/none/allow"),
    ],
)
def test_no_such_job(declared: Api, method: str, path: str) -> None:
    assert shape(declared.call(method, path))["code"] == "not-found"


# --- quarantine --------------------------------------------------------------------------------


def quarantine(api: Api, *ids: str, kind: Kind = Kind.ORDER, connection: str = "erp") -> None:
    items = [
        Quarantined(
            kind=kind,
            id=id_,
            field="status",
            reason="the table has no entry for this value",
            place="order.map.yaml:3:5",
            payload={"state": "?"},
        )
        for id_ in ids
    ]
    with api.stage.hub.database.begin() as uow:
        name = api.stage.names[connection]
        uow.records.quarantine(items, connection=name, at=api.stage.time())


@both_databases
def test_a_delivery_is_shown_and_replayed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = api.deliver(b'{"type": ').json()["delivery_id"]
    api.stage.run_due()
    shown = schemas.QuarantinedDeliveryBody.model_validate(
        api.get(f"/v1/quarantine/deliveries/{delivery}", scopes=("quarantine:read",)).json()
    )
    assert (shown.body, shown.truncated) == ('{"type": ', False)
    # Somebody mends what could not read it: here, by making it readable.
    with api.stage.hub.database.begin() as uow:
        row = uow.inbox.get(delivery)
        assert row is not None
        row.body = event()
    path = f"/v1/quarantine/deliveries/{delivery}/replay"
    answer = api.post(path, scopes=("quarantine:write",))
    assert answer.status_code == 202
    api.stage.run_due()
    assert api.get(answer.headers["location"]).json()["state"] == "handled"
    assert api.get("/v1/quarantine/deliveries").json()["data"] == []
    assert shape(api.post(path))["code"] == "conflict"
    gone = shape(api.get(f"/v1/quarantine/deliveries/{delivery}"))
    assert gone["code"] == "not-found"
    assert shape(api.post("/v1/quarantine/deliveries/none/replay"))["code"] == "not-found"


def test_what_still_cannot_be_read_comes_back(api: Api) -> None:
    delivery = api.deliver(b"nonsense").json()["delivery_id"]
    api.stage.run_due()
    for _ in range(2):
        api.post(f"/v1/quarantine/deliveries/{delivery}/replay")
        api.stage.time.pass_(seconds=1)
        api.stage.run_due()
        (listed,) = api.get("/v1/quarantine/deliveries").json()["data"]
        assert listed["id"] == delivery


def test_quarantined_deliveries_are_paged_newest_first(api: Api) -> None:
    made = []
    for n in range(5):
        made.append(api.deliver(b"nonsense", message_id=f"m-{n}").json()["delivery_id"])
        time.sleep(0.002)
        api.deliver(b"nonsense %d" % n, message_id=f"n-{n}")
    api.stage.run_due()
    with api.stage.hub.database.read() as uow:
        kept = sorted((row.id for row in uow.inbox.in_state("quarantined")), reverse=True)
    seen: list[str] = []
    path = "/v1/quarantine/deliveries?limit=2"
    while path:
        page = api.get(path)
        seen += [d["id"] for d in page.json()["data"]]
        link = page.headers.get("link", "")
        path = link[1 : link.index(">")] if link else ""
    assert seen == kept
    assert api.get("/v1/quarantine/deliveries?connection=none").json()["data"] == []


@both_databases
def test_records_are_shown_with_the_rule_that_refused_them(api: Api) -> None:
    quarantine(api, "O7", "O8", "O9")
    quarantine(api, "C7", kind=Kind.CONTACT, connection="crm")
    seen: list[schemas.QuarantinedRecord] = []
    path = "/v1/quarantine/records?limit=2"
    while path:
        page = api.get(path, scopes=("quarantine:read",))
        seen += schemas.QuarantinedRecordPage.model_validate(page.json()).data
        link = page.headers.get("link", "")
        path = link[1 : link.index(">")] if link else ""
    assert [r.id for r in seen] == ["C7", "O7", "O8", "O9"]
    assert seen[1].place == "order.map.yaml:3:5"
    erp = api.stage.names["erp"]
    only = api.get(f"/v1/quarantine/records?connection={erp}").json()["data"]
    assert [r["id"] for r in only] == ["O7", "O8", "O9"]


def test_a_record_is_read_again(api: Api) -> None:
    erp = api.stage.names["erp"]
    quarantine(api, "O1", "O9")
    answer = api.post(f"/v1/quarantine/records/{erp}/order/O1/replay")
    assert answer.json() == {"id": f"{erp}:order:O1", "state": "stored", "problems": []}
    left = api.get("/v1/quarantine/records").json()["data"]
    assert [r["id"] for r in left] == ["O9"]
    # Still not to be read: the remote's own reason, and it stays.
    problem = shape(api.post(f"/v1/quarantine/records/{erp}/order/O9/replay"))
    assert problem["code"] == "upstream-rejected"
    assert problem["upstream"]["operation"]
    assert len(api.get("/v1/quarantine/records").json()["data"]) == 1


def test_a_record_of_any_kind_is_read_again(api: Api) -> None:
    quarantine(api, "C1", "C7", kind=Kind.CONTACT, connection="crm")
    crm = api.stage.names["crm"]
    answer = api.post(f"/v1/quarantine/records/{crm}/contact/C1/replay")
    assert answer.json() == {"id": f"{crm}:contact:C1", "state": "stored", "problems": []}
    problem = shape(api.post(f"/v1/quarantine/records/{crm}/contact/C7/replay"))
    assert problem["code"] == "upstream-rejected"
    assert shape(api.post(f"/v1/quarantine/records/{crm}/contact/C8/replay"))["code"] == "not-found"
    assert shape(api.post(f"/v1/quarantine/records/{crm}/gift/C8/replay"))["code"] == "validation"


# --- events ------------------------------------------------------------------------------------


@both_databases
def test_events_are_read_in_order_and_from_where_one_stopped(declared: Api) -> None:
    declared.send_in(author={"emails": ["kim@example.com"]})
    declared.post("/v1/jobs/erp-all/runs")
    declared.stage.run_due()
    told = declared.stage.events()
    assert len(told) >= 3
    seen: list[str] = []
    path = "/v1/events?limit=1"
    while True:
        feed = schemas.EventFeed.model_validate(declared.get(path, scopes=("events:read",)).json())
        seen += [e.type for e in feed.data]
        path = f"/v1/events?limit=1&cursor={feed.next_cursor}"
        if not feed.has_more:
            break
    assert seen == told
    again = declared.get(path).json()
    assert (again["data"], again["has_more"]) == ([], False)
    assert again["next_cursor"] == feed.next_cursor


def test_events_are_chosen_by_type_and_family(declared: Api) -> None:
    declared.send_in(author={"emails": ["kim@example.com"]})

    def types(wanted: str) -> set[str]:
        feed = declared.call("GET", "/v1/events", params={"types": wanted}).json()
        return {e["type"] for e in feed["data"]}

    assert types("complaint.enriched") == {"complaint.enriched"}
    assert types("identity.*,complaint.enriched") == {"complaint.enriched", "identity.linked"}
    assert types("action.done") == set()
    assert types("complaint_enriched") == set()


def test_an_event_may_be_waited_for(declared: Api) -> None:
    cursor = declared.get("/v1/events").json()["next_cursor"]

    def later() -> None:
        time.sleep(0.3)
        declared.send_in(author={"emails": ["kim@example.com"]})

    worker = threading.Thread(target=later)
    declared.key()
    worker.start()
    began = time.monotonic()
    feed = declared.get(f"/v1/events?cursor={cursor}&wait=20").json()
    worker.join()
    assert feed["data"]
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    "query", ["cursor=1", "cursor=e", "cursor=e1x", "types=*", "types=A.b", "types=a,,b", "wait=31"]
)
def test_what_is_no_place_in_the_feed(api: Api, query: str) -> None:
    problem = shape(api.get(f"/v1/events?{query}"))
    assert [e["pointer"] for e in problem["errors"]] == ["/query/" + query.partition("=")[0]]


# --- keys --------------------------------------------------------------------------------------


def test_keys_are_paged(api: Api) -> None:
    for n in range(3):
        api.post("/v1/keys", {"name": f"key {n}", "scopes": ["events:read"]})
    names: list[str] = []
    path = "/v1/keys?limit=2"
    while path:
        page = api.get(path)
        names += [k.name for k in schemas.KeyPage.model_validate(page.json()).data]
        link = page.headers.get("link", "")
        path = link[1 : link.index(">")] if link else ""
    assert names.count("test") == 1
    assert {"key 0", "key 1", "key 2"} <= set(names)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "x", "scopes": ["everything"]}, "/scopes/0"),
        ({"name": "x", "scopes": []}, "/scopes"),
        ({"name": " ", "scopes": ["admin"]}, "/name"),
        ({"name": "x", "scopes": ["admin"], "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
    ],
)
def test_a_key_that_makes_no_sense(api: Api, body: dict[str, Any], pointer: str) -> None:
    problem = shape(api.post("/v1/keys", body))
    assert [e["pointer"] for e in problem["errors"]] == [pointer]


def test_no_such_key(api: Api) -> None:
    assert shape(api.call("DELETE", "/v1/keys/key_none"))["code"] == "not-found"
