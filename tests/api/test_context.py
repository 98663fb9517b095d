"""Context: everything beside a complaint, each block saying where from, how fresh, how whole."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from adapters.memory.remote import Fault
from middleware.api.schemas.context import ContextShown
from middleware.contract.canonical import (
    Case,
    CaseStatus,
    Kind,
    Order,
    OrderStatus,
    Shipment,
    ShipmentStatus,
)
from middleware.store.tables import ClaimRow, CursorRow
from tests.api.conftest import Api, both_databases
from tests.api.test_problems import shape
from tests.flows.conftest import silent


@pytest.fixture
def complaint(api: Api) -> str:
    return api.send_in(author={"emails": ["kim@example.com"]})


def shown(api: Api, path: str) -> ContextShown:
    answer = api.get(path, scopes=("people:read",))
    assert answer.status_code == 200, answer.text
    return ContextShown.model_validate(answer.json())


def synced(api: Api, connection: str, *kinds: Kind) -> None:
    """Say that these kinds were read completely up to now."""
    with api.stage.hub.database.begin() as uow:
        for kind in kinds:
            uow.jobs.move_cursor(
                CursorRow(
                    connection=api.stage.names[connection],
                    kind=kind.value,
                    value="1",
                    as_of=api.stage.time(),
                    run_id="run_1",
                    saved_at=api.stage.time(),
                ),
                from_=None,
            )


@both_databases
def test_everything_beside_a_complaint(api: Api, complaint: str) -> None:
    stage = api.stage
    parcel = Shipment(
        ref=stage.ref("erp", Kind.SHIPMENT, "S1"),
        order=stage.order.ref,
        status=ShipmentStatus.DELIVERED,
        tracking_number="JD1",
        delivered_at=stage.time() - timedelta(days=1),
    )
    case = Case(
        ref=stage.ref("crm", Kind.CASE, "K1"),
        number="00001",
        subject="Late last time",
        status=CaseStatus.CLOSED,
        contact=stage.contact.ref,
        opened_at=stage.time() - timedelta(days=90),
    )
    stage.store(parcel, case)
    synced(api, "erp", Kind.ACCOUNT, Kind.ORDER, Kind.CASE, Kind.CONTACT)
    synced(api, "crm", Kind.ACCOUNT, Kind.ORDER, Kind.CASE, Kind.CONTACT)
    with stage.hub.database.begin() as uow:
        uow.session.add(
            ClaimRow(
                subject=complaint,
                holder="key_other",
                note="on it",
                taken_at=stage.time(),
                expires_at=stage.time() + timedelta(minutes=10),
            )
        )
        uow.session.add(
            ClaimRow(
                subject=str(stage.order.ref),
                holder="key_late",
                taken_at=stage.time() - timedelta(hours=2),
                expires_at=stage.time() - timedelta(hours=1),
            )
        )
    body = {
        "operation": "replacement_order",
        "complaint_id": complaint,
        "request": {
            "order": str(stage.order.ref),
            "lines": [{"line": "1", "sku": "LMP-100", "quantity": "1"}],
        },
    }
    api.post("/v1/actions", body, headers={"idempotency-key": "k"})

    context = shown(api, f"/v1/complaints/{complaint}/context")
    assert context.complaint_id == complaint
    assert context.person.data is not None
    assert {r.ref for r in context.person.data.records} == {
        str(stage.contact.ref),
        str(stage.account.ref),
    }
    (order,) = context.orders.data
    assert (order.number, order.status, order.total and order.total.amount) == (
        "SO-10001",
        "delivered",
        "119.80",
    )
    assert [(line.id, line.quantity, line.left) for line in order.lines] == [
        ("1", "2", "1"),
        ("2", "4", "4"),
    ]
    assert [s.tracking_number for s in order.shipments] == ["JD1"]
    assert [c.number for c in context.cases.data] == ["00001"]
    assert [c.id for c in context.complaints.data] == [complaint]
    (action,) = context.actions.data
    assert (action.state, action.open) == ("queued", True)
    assert [c.holder for c in context.claims.data] == ["key_other"]
    for block in (context.person, context.orders, context.cases):
        assert (block.status, block.why, block.as_of) == ("complete", None, stage.time())
        assert {s.source for s in block.sources} == {stage.names["erp"], stage.names["crm"]}

    of_person = shown(api, f"/v1/people/{context.person_id}/context")
    assert of_person.orders == context.orders
    assert of_person.complaint_id is None


def test_what_was_never_read_completely_is_partial(api: Api, complaint: str) -> None:
    synced(api, "erp", Kind.ORDER)
    context = shown(api, f"/v1/complaints/{complaint}/context")
    assert (context.orders.status, context.orders.as_of) == ("partial", None)
    states = {s.source: s.status for s in context.orders.sources}
    assert states == {api.stage.names["erp"]: "complete", api.stage.names["crm"]: "partial"}
    assert "never read completely" in (context.orders.why or "")


def test_whom_nobody_knows_has_a_context_that_says_so(api: Api) -> None:
    author = {"native_id": "99", "handle": "somebody"}
    complaint = api.send_in("It broke", author=author)
    context = shown(api, f"/v1/complaints/{complaint}/context")
    assert context.person.data is not None
    assert (context.person.data.standing, context.person.data.records) == ("provisional", [])
    assert context.person.data.provisional_until is not None
    assert context.orders.status == "partial"
    assert "nobody knows" in (context.orders.why or "")
    assert [c.id for c in context.complaints.data] == [complaint]


def test_a_person_without_records_says_so(api: Api) -> None:
    with api.stage.hub.database.begin() as uow:
        person = uow.people.add_person(display_name="Nobody", at=api.stage.time())
    context = shown(api, f"/v1/people/{person.id}/context")
    assert (context.orders.status, context.orders.data) == ("partial", [])
    assert "no contact or account" in (context.orders.why or "")


def test_a_fresh_look_is_asked_for(api: Api, complaint: str) -> None:
    stage = api.stage
    new = Order(
        ref=stage.ref("erp", Kind.ORDER, "O2"),
        number="SO-10002",
        account=stage.account.ref,
        status=OrderStatus.CONFIRMED,
        placed_at=stage.time(),
    )
    stage.erp.put(new)
    path = f"/v1/complaints/{complaint}/context"
    assert len(shown(api, path).orders.data) == 1
    fresh = shown(api, f"{path}?refresh=true")
    assert [o.number for o in fresh.orders.data] == ["SO-10002", "SO-10001"]
    erp = next(s for s in fresh.orders.sources if s.source == stage.names["erp"])
    assert (erp.status, erp.as_of) == ("complete", stage.time())


def test_a_remote_that_hangs_holds_nothing_up(api: Api, complaint: str) -> None:
    path = f"/v1/complaints/{complaint}/context?refresh=true&deadline_ms=30"
    with silent(api.stage.erp, "orders_of"):
        context = shown(api, path)
    erp = next(s for s in context.orders.sources if s.source == api.stage.names["erp"])
    assert erp.status == "partial"
    assert "0.03 s" in (erp.why or "")
    assert [o.number for o in context.orders.data] == ["SO-10001"]


def test_a_remote_that_fails_is_named(api: Api, complaint: str) -> None:
    api.stage.erp.script.arm(Fault.DOWN, operation="orders_of")
    context = shown(api, f"/v1/complaints/{complaint}/context?refresh=true")
    erp = next(s for s in context.orders.sources if s.source == api.stage.names["erp"])
    assert (erp.status, bool(erp.why)) == ("failed", True)
    assert [o.number for o in context.orders.data] == ["SO-10001"]


@pytest.mark.parametrize("query", ["deadline_ms=-1", "deadline_ms=30001", "refresh=perhaps"])
def test_what_a_deadline_may_be(api: Api, complaint: str, query: str) -> None:
    problem = shape(api.get(f"/v1/complaints/{complaint}/context?{query}"))
    assert problem["code"] == "validation"


def test_a_context_you_have_is_not_sent_again(api: Api, complaint: str) -> None:
    path = f"/v1/complaints/{complaint}/context"
    tag = api.get(path).headers["etag"]
    assert api.get(path, headers={"if-none-match": tag}).status_code == 304
    changed = api.stage.order.model_copy(update={"status": OrderStatus.CANCELLED})
    api.stage.time.pass_(minutes=1)
    api.stage.store(changed)
    assert api.get(path, headers={"if-none-match": tag}).status_code == 200


def test_odd_amounts_are_plain_decimals(api: Api, complaint: str) -> None:
    line = api.stage.order.lines[0].model_copy(update={"quantity": Decimal("2E+1")})
    api.stage.time.pass_(minutes=1)
    api.stage.store(api.stage.order.model_copy(update={"lines": (line,)}))
    context = shown(api, f"/v1/complaints/{complaint}/context")
    assert context.orders.data[0].lines[0].quantity == "20"


def test_no_such_complaint(api: Api) -> None:
    assert shape(api.get("/v1/complaints/cmp_none/context"))["code"] == "not-found"
