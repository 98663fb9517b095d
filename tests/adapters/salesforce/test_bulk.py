"""A first load through Bulk API 2.0 gives the records that the ordinary queries give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from adapters.salesforce.adapter import SalesforceAdapter
from adapters.salesforce.bulk import BulkCursor, rows_of, types_of
from middleware.contract.canonical import Kind, Record
from middleware.contract.errors import Transient
from tests.adapters.salesforce.peer import CrmPeer

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


@pytest.mark.parametrize("kind", [Kind.CONTACT, Kind.ACCOUNT, Kind.PRODUCT, Kind.CASE])
def test_a_large_object_is_loaded_by_a_job(peer: CrmPeer, kind: Kind) -> None:
    ordinary = SalesforceAdapter.open(peer.connection(bulk_over=None))
    bulk = SalesforceAdapter.open(peer.connection(bulk_over=0))
    try:
        expected = by_id(loaded(ordinary, kind))
        assert expected
        assert peer.crm.jobs.kept == {}
        assert by_id(loaded(bulk, kind, limit=3)) == expected
        (job,) = peer.crm.jobs.kept.values()
        assert job.state == "JobComplete"
    finally:
        ordinary.close()
        bulk.close()


def test_a_small_object_is_not_worth_a_job(peer: CrmPeer) -> None:
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=1000))
    assert loaded(adapter, Kind.CONTACT)
    assert peer.crm.jobs.kept == {}
    adapter.close()


def test_an_order_has_lines_inside_which_no_job_can_select(peer: CrmPeer) -> None:
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=0))
    assert loaded(adapter, Kind.ORDER)
    assert peer.crm.jobs.kept == {}
    adapter.close()


def test_a_job_is_waited_for_and_carried_on_by_another_process(peer: CrmPeer) -> None:
    peer.crm.jobs.polls = 4
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=0))
    page = adapter.changed_since(Kind.CONTACT, None)
    adapter.close()
    waits, cursors = [page.wait], {page.cursor}
    while page.wait is not None:
        assert page.more
        assert page.records == ()
        other = SalesforceAdapter.open(peer.connection(bulk_over=0))
        page = other.changed_since(Kind.CONTACT, page.cursor)
        other.close()
        assert page.cursor not in cursors, "the cursor stands still"
        cursors.add(page.cursor)
        waits.append(page.wait)
    assert waits == [timedelta(seconds=s) for s in (1, 2, 4, 8)] + [None]
    assert page.records
    assert len(peer.crm.jobs.kept) == 1


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
def test_a_job_that_comes_to_nothing_is_replaced_by_queries(peer: CrmPeer, how: str) -> None:
    ordinary = SalesforceAdapter.open(peer.connection(bulk_over=None))
    expected = by_id(loaded(ordinary, Kind.CONTACT))
    ordinary.close()
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=0))
    page = adapter.changed_since(Kind.CONTACT, None)
    (job,) = peer.crm.jobs.kept
    match how:
        case "failed":
            peer.crm.jobs.fails = True
        case "aborted":
            peer.crm.jobs.abort(job)
        case "gone":
            peer.crm.jobs.delete(job)
    found: list[Record] = []
    while page.more:
        page = adapter.changed_since(Kind.CONTACT, page.cursor, limit=5)
        found += page.records
    assert by_id(found) == expected
    adapter.close()


def test_a_part_that_is_not_what_was_asked_for_is_asked_for_again(
    peer: CrmPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.crm.jobs.polls = 1
    adapter = SalesforceAdapter.open(peer.connection(bulk_over=0))
    page = adapter.changed_since(Kind.CONTACT, None)
    monkeypatch.setattr(peer.crm.jobs, "results", lambda *_: (b'"Id","Name"\n"x","y"\n', "null", 1))
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
    for wrong in ('"Id"\n"a"\n', text.replace('"b",', "")):
        with pytest.raises(ValueError):
            rows_of(wrong, types)


def test_what_a_job_cannot_select() -> None:
    described = {
        "fields": [
            {"name": "Id", "type": "id"},
            {"name": "MailingAddress", "type": "address"},
            {"name": "Name", "type": "string"},
        ]
    }
    assert types_of(["Id", "name"], described) == {"Id": "id", "name": "string"}
    assert types_of(["Id", "MailingAddress"], described) is None
    assert types_of(["Id", "Account.Name"], described) is None


def test_a_cursor_survives_being_written() -> None:
    here = BulkCursor(UNTIL, "750000000000001AAA", "50000", 3)
    assert BulkCursor.parse(str(here)) == here
    for wrong in (None, "", "no", "[1,null,null,null]", json.dumps([2, "x", "y", "", 0])):
        assert BulkCursor.parse(wrong) is None
