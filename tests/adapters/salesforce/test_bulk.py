"""A first load through Bulk API 2.0 gives the records that the ordinary queries give."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.salesforce.adapter import SalesforceAdapter
from adapters.salesforce.bulk import Below, BulkCursor, OtherColumnsError, rows_of, selection_of
from middleware.contract.canonical import Kind, Order, Record
from middleware.contract.errors import Transient
from middleware.sandbox.crm.soql import Refused, instant
from tests.adapters.salesforce.peer import LAG_S, CrmPeer
from tests.conformance.peer import Fault

UNTIL = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def peer() -> Iterator[CrmPeer]:
    peer = CrmPeer()
    yield peer
    peer.close()
    assert peer.server.errors == []


def loaded(adapter: SalesforceAdapter, kind: Kind, *, limit: int = 200) -> list[Record]:
    """All records from the beginning, each page by an adapter that may know nothing yet."""
    found: list[Record] = []
    cursor: str | None = None
    for _ in range(500):
        page = adapter.changed_since(kind, cursor, limit=limit)
        found += page.records
        cursor = page.cursor
        if not page.more:
            return found
    raise AssertionError("it does not end")


def by_id(records: list[Record]) -> dict[str, Record]:
    assert len({r.ref.id for r in records}) == len(records), "a record came twice"
    return {record.ref.id: record for record in records}


KINDS = [Kind.CONTACT, Kind.ACCOUNT, Kind.PRODUCT, Kind.CASE, Kind.ORDER]


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_object_is_loaded_by_a_job(peer: CrmPeer, kind: Kind) -> None:
    ordinary = SalesforceAdapter.open(peer.connection(bulk_over=None))
    bulk = SalesforceAdapter.open(peer.connection(bulk_over=0))
    try:
        expected = by_id(loaded(ordinary, kind))
        assert expected
        assert peer.crm.jobs.kept == {}
        assert by_id(loaded(bulk, kind, limit=3)) == expected
        jobs = list(peer.crm.jobs.kept.values())
        assert len(jobs) == (2 if kind is Kind.ORDER else 1)
        assert {job.state for job in jobs} == {"JobComplete"}
    finally:
        ordinary.close()
        bulk.close()


def test_a_small_object_is_not_worth_a_job(peer: CrmPeer) -> None:
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=1000))
    assert loaded(adapter, Kind.CONTACT)
    assert peer.crm.jobs.kept == {}
    adapter.close()


@pytest.mark.parametrize("kind", [Kind.CONTACT, Kind.ORDER])
def test_a_job_is_waited_for_and_carried_on_by_another_process(peer: CrmPeer, kind: Kind) -> None:
    peer.crm.jobs.polls = 4
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=0))
    page = adapter.changed_since(kind, None)
    adapter.close()
    waits, cursors = [page.wait], {page.cursor}
    while page.wait is not None:
        assert page.more
        assert page.records == ()
        other = SalesforceAdapter.open(peer.connection(bulk_over=0))
        page = other.changed_since(kind, page.cursor)
        other.close()
        assert page.cursor not in cursors, "the cursor stands still"
        cursors.add(page.cursor)
        waits.append(page.wait)
    assert waits == [timedelta(seconds=s) for s in (1, 2, 4, 8)] + [None]
    assert page.records
    assert len(peer.crm.jobs.kept) == (2 if kind is Kind.ORDER else 1)


def test_what_changes_during_the_load_comes_in_the_next_run(peer: CrmPeer) -> None:
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=0))
    page = adapter.changed_since(Kind.CONTACT, None, limit=2000)
    touched = peer.touch(Kind.CONTACT)
    while page.more:
        page = adapter.changed_since(Kind.CONTACT, page.cursor, limit=2000)
    following = adapter.changed_since(Kind.CONTACT, page.cursor, limit=2000)
    assert touched in {record.ref for record in following.records}
    adapter.close()


@pytest.mark.parametrize("how", ["failed", "aborted", "gone"])
@pytest.mark.parametrize("kind", [Kind.CONTACT, Kind.ORDER])
def test_a_job_that_comes_to_nothing_is_replaced_by_queries(
    peer: CrmPeer, kind: Kind, how: str
) -> None:
    ordinary = SalesforceAdapter.open(peer.connection(bulk_over=None))
    expected = by_id(loaded(ordinary, kind))
    ordinary.close()
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=0))
    page = adapter.changed_since(kind, None)
    *_, job = peer.crm.jobs.kept
    match how:
        case "failed":
            peer.crm.jobs.fails = True
        case "aborted":
            peer.crm.jobs.abort(job)
        case "gone":
            peer.crm.jobs.delete(job)
    found: list[Record] = []
    while page.more:
        page = adapter.changed_since(kind, page.cursor, limit=5)
        found += page.records
    assert by_id(found) == expected
    adapter.close()


@pytest.mark.parametrize("kind", [Kind.CONTACT, Kind.ORDER])
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("code", ["API_DISABLED_FOR_ORG", "INSUFFICIENT_ACCESS", "EXCEEDED_QUOTA"])
def test_an_org_that_takes_no_jobs_is_read_by_queries(
    peer: CrmPeer, monkeypatch: pytest.MonkeyPatch, kind: Kind, nth: int, code: str
) -> None:
    """No job at all, or not the second one."""
    ordinary = SalesforceAdapter.open(peer.connection(bulk_over=None))
    expected = by_id(loaded(ordinary, kind))
    ordinary.close()
    create, asked = peer.crm.jobs.create, 0

    def refused(*given: Any, **named: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked >= nth:
            raise Refused(code, "no", status=403 if code.startswith("API") else 400)
        return create(*given, **named)

    monkeypatch.setattr(peer.crm.jobs, "create", refused)
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=0))
    assert by_id(loaded(adapter, kind)) == expected
    assert asked == (1 if kind is Kind.CONTACT else nth)
    adapter.close()


@pytest.mark.parametrize("code", ["INVALID_QUERY_LOCATOR", "INVALID_LOCATOR", "NOT_FOUND"])
@pytest.mark.parametrize("kind", [Kind.CONTACT, Kind.ORDER])
def test_a_place_in_the_results_that_has_expired_is_not_asked_for_again(
    peer: CrmPeer, monkeypatch: pytest.MonkeyPatch, kind: Kind, code: str
) -> None:
    crowd(peer, 10, moments=5)
    ordinary = SalesforceAdapter.open(peer.connection(bulk_over=None))
    expected = by_id(loaded(ordinary, kind))
    ordinary.close()
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=0))
    page = adapter.changed_since(kind, None, limit=2)
    while not page.records:
        page = adapter.changed_since(kind, page.cursor, limit=2)
    found = {record.ref.id: record for record in page.records}

    def expired(*_: Any, **__: Any) -> Any:
        raise Refused(code, "expired", status=404 if code == "NOT_FOUND" else 400)

    monkeypatch.setattr(peer.crm.jobs, "results", expired)
    while page.more:
        page = adapter.changed_since(kind, page.cursor, limit=50)
        found |= {record.ref.id: record for record in page.records}
    assert found == expected
    adapter.close()


def test_a_load_whose_mapping_changed_under_it_is_read_by_queries(peer: CrmPeer) -> None:
    """The job selects the columns of the mapping that it was begun under."""
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=0))
    page = adapter.changed_since(Kind.CONTACT, None)
    job = next(iter(peer.crm.jobs.kept.values()))
    job.query = replace(job.query, columns=job.query.columns[:-2])
    found: list[Record] = []
    while page.more:
        page = adapter.changed_since(Kind.CONTACT, page.cursor)
        found += page.records
    ordinary = SalesforceAdapter.open(peer.connection(bulk_over=None))
    assert by_id(found) == by_id(loaded(ordinary, Kind.CONTACT))
    ordinary.close()
    adapter.close()


def test_a_part_that_is_not_what_was_asked_for_is_asked_for_again(
    peer: CrmPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.crm.jobs.polls = 1
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=0))
    page = adapter.changed_since(Kind.CONTACT, None)
    monkeypatch.setattr(peer.crm.jobs, "results", lambda *_: (b"<p>Maintenance", "null", 1))
    with pytest.raises(Transient):
        adapter.changed_since(Kind.CONTACT, page.cursor)
    adapter.close()


def test_values_are_typed_as_the_rest_api_types_them() -> None:
    types = {"Id": "id", "Active": "boolean", "Price": "currency", "N": "int", "Text": "string"}
    text = '"Id","Active","Price","N","Text"\n"a","true","10.50","3","two\nlines, ""one"""\n'
    text += '"b","false","","",""\n'
    assert rows_of(text, types) == [
        {"Id": "a", "Active": True, "Price": Decimal("10.50"), "N": 3, "Text": 'two\nlines, "one"'},
        {"Id": "b", "Active": False, "Price": None, "N": None, "Text": None},
    ]
    assert rows_of("", types) == []
    for wrong in ("<p>Maintenance", text.replace('"b",', "")):
        with pytest.raises(ValueError):
            rows_of(wrong, types)
    with pytest.raises(OtherColumnsError):
        rows_of('"Id"\n"a"\n', types)


# --- orders with their lines --------------------------------------------------------------------


def crowd(peer: CrmPeer, orders: int, *, moments: int) -> None:
    """More orders, created at so many moments, with none to three lines each."""
    template = peer.row("Order", "Status", "Delivered")
    item = peer.items(template["Id"])[0]
    begun = datetime(2026, 10, 1, tzinfo=UTC)
    for n in range(orders):
        at = instant(begun + timedelta(minutes=n * moments // orders))
        own = {k: template[k] for k in ("AccountId", "EffectiveDate", "Pricebook2Id", "Status")}
        dated = {"CreatedDate": at, "SystemModstamp": at}
        order = peer.crm.seed("Order", **own, **dated, OrderReferenceNumber=f"SO-8{n:04d}")
        for line in range(n % 4):
            peer.crm.seed(
                "OrderItem",
                OrderId=order,
                PricebookEntryId=item["PricebookEntryId"],
                Quantity=1.0 + line,
                UnitPrice=9.5,
                CreatedDate=at,
                SystemModstamp=at,
            )
    # A line that is added stamps its order anew; what is that young belongs to the next run.
    peer.crm.ahead += timedelta(seconds=LAG_S + 2)


@pytest.mark.parametrize("moments", [1, 3, 60])
@pytest.mark.parametrize("limit", [7, 30, 200])
def test_every_order_comes_once_with_all_its_lines(peer: CrmPeer, moments: int, limit: int) -> None:
    """However many were created at one moment, and wherever the parts end."""
    crowd(peer, 40, moments=moments)
    ordinary = SalesforceAdapter.open(peer.connection(bulk_over=None))
    expected = by_id(loaded(ordinary, Kind.ORDER))
    ordinary.close()
    crowded = [o for o in expected.values() if isinstance(o, Order) and "SO-8" in str(o.number)]
    assert Counter(len(o.lines) for o in crowded) == {0: 10, 1: 10, 2: 10, 3: 10}
    found: list[Record] = []
    cursor, more = None, True
    while more:
        # Each page by a process of its own: nothing is known but the cursor.
        adapter = SalesforceAdapter.open(peer.connection(bulk_over=0))
        page = adapter.changed_since(Kind.ORDER, cursor, limit=limit)
        if page.records:
            again = adapter.changed_since(Kind.ORDER, cursor, limit=limit)
            assert again == page, "a page that is asked for again after a kill is the same"
        adapter.close()
        found += page.records
        cursor, more = page.cursor, page.more
    assert by_id(found) == expected
    assert len(peer.crm.jobs.kept) == 2


def test_a_throttled_part_is_asked_for_again(peer: CrmPeer) -> None:
    crowd(peer, 20, moments=2)
    ordinary = SalesforceAdapter.open(peer.connection(bulk_over=None))
    expected = by_id(loaded(ordinary, Kind.ORDER))
    ordinary.close()
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=0))
    page = adapter.changed_since(Kind.ORDER, None)
    found: list[Record] = []
    throttled = 0
    while page.more:
        with peer.arm(Fault.THROTTLED, write=False), pytest.raises(Transient):
            adapter.changed_since(Kind.ORDER, page.cursor, limit=10)
        throttled += 1
        page = adapter.changed_since(Kind.ORDER, page.cursor, limit=10)
        found += page.records
    assert throttled > 5
    assert by_id(found) == expected
    adapter.close()


def test_a_line_of_an_order_that_nobody_may_see_keeps_no_other_line(peer: CrmPeer) -> None:
    crowd(peer, 20, moments=2)
    ordinary = SalesforceAdapter.open(peer.connection(bulk_over=None))
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=0))
    page = adapter.changed_since(Kind.ORDER, None)
    # Of the lines' job, but not of the orders': as if that had run before the order was made.
    headers = next(job for job in peer.crm.jobs.kept.values() if job.query.sobject.name == "Order")
    hidden = headers.rows.pop(9)["Id"]
    found: list[Record] = []
    while page.more:
        page = adapter.changed_since(Kind.ORDER, page.cursor, limit=4)
        found += page.records
    expected = by_id(loaded(ordinary, Kind.ORDER))
    assert expected.pop(hidden)
    assert by_id(found) == expected
    ordinary.close()
    adapter.close()


@pytest.mark.parametrize("sobject", ["Order", "OrderItem"])
def test_results_in_another_order_are_not_believed(peer: CrmPeer, sobject: str) -> None:
    """An org that splits a job into chunks may answer in the order of those."""
    crowd(peer, 30, moments=30)
    ordinary = SalesforceAdapter.open(peer.connection(bulk_over=None))
    expected = by_id(loaded(ordinary, Kind.ORDER))
    ordinary.close()
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=0))
    page = adapter.changed_since(Kind.ORDER, None)
    job = next(job for job in peer.crm.jobs.kept.values() if job.query.sobject.name == sobject)
    half = len(job.rows) // 2
    job.rows[:] = job.rows[half:] + job.rows[:half]
    found: dict[str, Record] = {}
    while page.more:
        page = adapter.changed_since(Kind.ORDER, page.cursor, limit=5)
        found |= {record.ref.id: record for record in page.records}
    assert found == expected
    adapter.close()


def test_what_a_job_cannot_select() -> None:
    def field(name: str, type_: str = "string", *parents: str) -> dict[str, object]:
        lookup = name.removesuffix("Id") if parents else None
        return {
            "name": name,
            "type": type_,
            "referenceTo": list(parents),
            "relationshipName": lookup,
        }

    account = [field("Id", "id"), field("Name"), field("BillingAddress", "address")]
    contact = [field("AccountId", "reference", "Account"), field("Name"), field("CreatedDate")]
    case = [field("WhoId", "reference", "Contact", "Lead"), field("Name")]
    below = {"relationshipName": "Contacts", "childSObject": "Contact", "field": "AccountId"}
    org = {
        "Account": {"fields": [*account, field("CreatedDate")], "childRelationships": [below]},
        "Contact": {"fields": contact},
        "Case": {"fields": case},
    }

    def types(sobject: str, *columns: str, **children: list[str]) -> dict[str, str] | None:
        found = selection_of(sobject, columns, children, org.get)
        return None if found is None else dict((found.inner or found.own).types)

    assert types("Account", "Id", "name") == {"Id": "id", "name": "string"}
    assert types("Account", "Id", "BillingAddress") is None
    assert types("Contact", "Account.Name") == {"Account.Name": "string"}
    assert types("Contact", "Account.Nothing") is None
    assert types("Case", "Who.Name") is None, "of several objects"
    assert types("Nothing", "Id") is None
    assert types("Account", "Id", Contacts=["Name"]) == {
        "Name": "string",
        "AccountId": "reference",
        "Account.CreatedDate": "string",
    }
    assert types("Account", "Id", Cases=["Name"]) is None
    assert types("Account", "Id", Contacts=["Name"], Cases=["Name"]) is None


def test_a_cursor_survives_being_written() -> None:
    here = BulkCursor(UNTIL, "750000000000001AAA", "50000", 3)
    joined = replace(here, below=Below("750000000000002AAA", "7", UNTIL))
    for one in (here, joined, replace(here, below=Below("750000000000002AAA"))):
        assert BulkCursor.parse(str(one)) == one
    for wrong in (None, "", "no", "[1,null,null,null]", json.dumps([2, "x", "y", "", 0])):
        assert BulkCursor.parse(wrong) is None
