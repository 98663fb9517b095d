"""Pages of changes: no record is skipped, and a cursor outlives the process that got it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest

from middleware.contract.canonical import CANONICAL, Kind, Ref
from middleware.contract.capabilities import ListsChanges, MapsAgain, Page, ReadsRecords
from middleware.contract.errors import Missing, NotOffered, Permanent
from middleware.contract.mapping import Mapping, MappingError, Problem
from tests.conformance.calls import attempt, judge, nowhere
from tests.conformance.peer import Peer
from tests.conformance.peers import every_changing_kind, every_peer_that


def walk(adapter: Any, kind: Kind, cursor: str | None, *limits: int) -> tuple[set[Ref], str]:
    """Every reference from a cursor to the end, and where the end is.

    Each page takes the next of the limits, and the last of them from then on.
    """
    seen: set[Ref] = set()
    for number in range(2_000):
        limit = limits[min(number, len(limits) - 1)]
        page = adapter.changed_since(kind, cursor, limit=limit)
        assert isinstance(page, Page)
        assert len(page.records) + len(page.quarantined) <= limit
        assert all(isinstance(record, CANONICAL[kind]) for record in page.records)
        assert {one.gone for one in page.merged} <= set(page.deleted)
        seen |= {record.ref for record in page.records} | set(page.deleted)
        assert not page.more or page.cursor != cursor, "the cursor stands still"
        cursor = page.cursor
        if not page.more:
            return seen, page.cursor
    raise AssertionError("2,000 pages and still more; is the cursor going in circles?")


@every_changing_kind()
def test_pages_end_and_skip_nothing(peer: Peer, adapter: Any, kind: Kind) -> None:
    peer.touch(kind)
    at_once, _ = walk(adapter, kind, None, 200)
    bit_by_bit, _ = walk(adapter, kind, None, *[1] * 20, 3, 200)
    assert at_once
    assert bit_by_bit == at_once
    connection = peer.connection().name
    assert all((ref.connection, ref.kind) == (connection, kind) for ref in at_once)


@every_changing_kind()
def test_a_changed_record_appears_after_a_saved_cursor(
    peer: Peer, adapter: Any, kind: Kind
) -> None:
    _, cursor = walk(adapter, kind, None, 200)
    touched = peer.touch(kind)
    another = peer.adapter.open(peer.connection())
    try:
        seen, _ = walk(another, kind, cursor, 2)
    finally:
        another.close()
    assert touched in seen


@every_changing_kind()
def test_a_cursor_can_be_read_again(peer: Peer, adapter: Any, kind: Kind) -> None:
    _, cursor = walk(adapter, kind, None, 200)
    peer.touch(kind)
    first, _ = walk(adapter, kind, cursor, 200)
    again, _ = walk(adapter, kind, cursor, 200)
    assert first
    assert first <= again


@every_changing_kind()
def test_pages_say_as_of_when(peer: Peer, adapter: Any, kind: Kind) -> None:
    page = adapter.changed_since(kind, None, limit=1)
    assert page.as_of <= datetime.now(UTC) + timedelta(minutes=1)


@every_peer_that(ListsChanges)
def test_other_kinds_are_not_offered(peer: Peer, adapter: Any) -> None:
    assert peer.adapter.change_kinds
    for kind in Kind:
        if kind not in peer.adapter.change_kinds:
            with pytest.raises(NotOffered):
                adapter.changed_since(kind, None)


@every_changing_kind()
def test_a_broken_cursor_is_refused(
    peer: Peer, adapter: Any, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    """It must not be read as the beginning, nor end in a crash."""
    outcome = attempt(lambda: adapter.changed_since(kind, "no cursor' OR 1=1"))
    judge(outcome, peer, caplog)
    assert isinstance(outcome.error, Permanent)


def refuse(*_: object) -> NoReturn:
    raise MappingError([Problem("everything", "is refused", "some.map.yaml:1:1")])


@every_changing_kind()
def test_what_was_kept_aside_is_taken_once_it_maps(
    peer: Peer, adapter: Any, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter reads a record alone, or has kept all of it that its mapping needs."""
    touched = peer.touch(kind)
    listed = {r.ref.id: r for r in adapter.changed_since(kind, None, limit=200).records}
    record = listed.get(touched.id) or next(iter(listed.values()))
    with monkeypatch.context() as patch:
        patch.setattr(Mapping, "read", refuse)
        page = adapter.changed_since(kind, None, limit=200)
    kept = {item.id: json.loads(json.dumps(item.payload)) for item in page.quarantined}
    # The second list may hold what the first one's upper bound left out.
    assert kept.keys() | {r.ref.id for r in page.records} >= listed.keys()
    if isinstance(adapter, ReadsRecords):
        assert adapter.read_record(record.ref) == record
        with pytest.raises(Missing):
            adapter.read_record(nowhere(peer, kind))
    else:
        assert isinstance(adapter, MapsAgain), "offer ReadsRecords, or MapsAgain"
        assert adapter.map_again(record.ref, kept[record.ref.id]) == record
