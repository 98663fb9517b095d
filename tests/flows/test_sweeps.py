"""What a full run must not believe, and what must not be lost to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from middleware.contract.canonical import Kind
from middleware.contract.capabilities import (
    CountsRecords,
    ListsChanges,
    Page,
    Quarantined,
    Tally,
)
from middleware.flows import rereading, sync
from middleware.store.database import Database
from middleware.store.tables import RunRow
from tests import databases
from tests.flows.source import LAG
from tests.flows.test_equal import World

Change = Callable[[Page], Page]


class Unasked(ListsChanges, CountsRecords):
    """The simulated source as one that can't be asked for a record."""

    change_kinds: ClassVar[tuple[Kind, ...]] = (Kind.ACCOUNT,)

    def __init__(self, source: Any) -> None:
        self._source = source
        self.mapped = source.mapped

    def changed_since(self, kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        page: Page = self._source.changed_since(kind, cursor, limit=limit)
        return page

    def count_records(self, kind: Kind) -> Tally:
        tally: Tally = self._source.count_records(kind)
        return tally

    def close(self) -> None: ...


@pytest.fixture(params=databases.BOTH)
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Twenty accounts that were read, two at a time; deletions leave no trace."""
    monkeypatch.setattr(sync, "PAGE", 2)
    url = databases.migrated(request.param, tmp_path)
    database = Database(url)
    made = World(database, tombstones=False)
    for n in range(20):
        made.source.put(f"A{n:02}", n)
    made.run("changes")
    yield made
    database.close()
    databases.drop(url)


def answers(world: World, monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    """Have the source answer otherwise than it should."""
    original = world.source.changed_since

    def changed(kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        return change(original(kind, cursor, limit=limit))

    monkeypatch.setattr(world.source, "changed_since", changed)


def hide(world: World, monkeypatch: pytest.MonkeyPatch, hidden: set[str]) -> None:
    """Have the source leave records out of its pages that it still has."""

    def fewer(page: Page) -> Page:
        shown = tuple(r for r in page.records if r.ref.id not in hidden)
        return page.model_copy(update={"records": shown})

    answers(world, monkeypatch, fewer)


def before_the_sweep(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Have something happen once between a full run's last page and its sweep."""
    original = rereading.Rereading._sweep
    done: list[bool] = []

    def sweep(self: rereading.Rereading, state: Any) -> Any:
        if not done:
            done.append(True)
            happens()
        return original(self, state)

    monkeypatch.setattr(rereading.Rereading, "_sweep", sweep)


def latest(world: World) -> RunRow:
    with world.hub.database.read() as uow:
        return uow.jobs.runs_of("accounts", limit=1)[0]


def gaps(world: World) -> list[Any]:
    with world.hub.database.read() as uow:
        receipt = uow.receipts.of_run(latest(world).id)
    assert receipt is not None
    found: list[Any] = receipt.body["gaps"]
    return found


def test_what_other_runs_read_before_a_late_sweep_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker died behind its last page, and another one took the run up an hour later."""
    world.hub.registry._source = Unasked(world.source)  # type: ignore[attr-defined]
    world.source.delete("A03")

    def meanwhile() -> None:
        for n in range(4):
            world.time.pass_(seconds=900)
            world.source.put(f"B{n}", n)
            world.run("changes")

    before_the_sweep(monkeypatch, meanwhile)
    world.run("full")
    assert world.stored() == world.source.truth()


def test_two_full_runs_at_once_delete_nothing_that_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schedule's and a person's, or those of two jobs."""
    world.hub.registry._source = Unasked(world.source)  # type: ignore[attr-defined]
    world.source.delete("A03")
    died: list[str] = []
    original = rereading.Rereading._keep
    pages = 0

    def dying(self: rereading.Rereading, *args: Any) -> Any:
        nonlocal pages
        pages += 1
        if pages == 3:
            died.append(self.run_id)
            raise SystemExit("killed")
        return original(self, *args)

    def other() -> None:
        """The second run reads two pages and stands still until the first one has ended."""
        world.time.pass_(seconds=60)
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(rereading.Rereading, "_keep", dying)
            run_id, _ = sync.owe(
                world.hub, "accounts", tick="other", requested_by="test", mode="full"
            )
            world.handlers["sync"](run_id)
        world.engine.owed.clear()

    before_the_sweep(monkeypatch, other)
    world.run("full")
    assert world.stored() == world.source.truth()
    world.source.delete("A05")
    world.handlers["sync"](died[0])
    assert world.stored() == world.source.truth()


def test_an_earlier_full_run_does_not_hide_what_a_later_one_has_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier one stood still, and goes on while the later one is about to sweep."""
    world.hub.registry._source = Unasked(world.source)  # type: ignore[attr-defined]

    def dying(*_: Any) -> None:
        raise SystemExit("killed")

    earlier, _ = sync.owe(world.hub, "accounts", tick="earlier", requested_by="test", mode="full")
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(rereading.Rereading, "_keep", dying)
        world.handlers["sync"](earlier)
    world.engine.owed.clear()
    world.source.delete("A03")
    before_the_sweep(monkeypatch, lambda: world.handlers["sync"](earlier))
    time.sleep(0.002)  # ids of runs sort by the millisecond
    world.run("full")
    assert world.stored() == world.source.truth()


def test_records_that_are_gone_do_not_vouch_for_a_page_that_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those asked for singly are taken from all that seem gone, not from the first ones."""
    for n in range(60):
        world.source.put(f"C{n:02}", n)
    world.run("changes")
    monkeypatch.setattr(rereading, "ASKED_SINGLY", 5)
    for n in range(5):
        world.source.delete(f"A{n:02}")
    hidden = {f"C{n:02}" for n in range(20, 60)}
    hide(world, monkeypatch, hidden)
    world.run("full")
    assert hidden <= set(world.stored())
    assert [gap["why"] for gap in gaps(world)] == ["sweep_refused"]


def test_a_sweep_that_is_refused_and_killed_is_refused_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found to be there is among what seems gone until the refusal is written down."""
    monkeypatch.setattr(rereading, "ASKED_SINGLY", 19)
    for n in range(1, 19):
        world.source.delete(f"A{n:02}")
    hide(world, monkeypatch, {"A00", "A19"})

    def killed(*_: Any) -> None:
        raise SystemExit("killed")

    run_id, _ = sync.owe(world.hub, "accounts", tick="full", requested_by="test", mode="full")
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(rereading.Rereading, "_tell", killed)
        world.handlers["sync"](run_id)
    world.handlers["sync"](run_id)
    assert len(world.stored()) == 20
    assert "sweep_refused" in {gap["why"] for gap in gaps(world)}


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("back", [timedelta(minutes=9), timedelta(hours=1), timedelta(days=2)])
def test_a_source_whose_clock_went_back_is_read_anew(
    world: World, back: timedelta, asked: bool
) -> None:
    """Its stamps begin before the cursor; those from before it was set right lie in its future."""
    if not asked:
        world.hub.registry._source = Unasked(world.source)  # type: ignore[attr-defined]
    world.source.skew -= back
    for n in range(3):
        world.time.pass_(seconds=30)
        world.source.put(f"A{n:02}", 100 + n)
        world.run("changes")
    for n in range(3):
        world.time.pass_(seconds=900)
        world.source.put(f"A{n:02}", 200 + n)
        world.source.put(f"E{n:02}", 300 + n)
        world.run("changes")
    assert world.stored() == world.source.truth()


@pytest.mark.parametrize("ended", [True, False])
def test_a_worker_that_wakes_up_behind_a_clock_that_went_back_leaves_the_run_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    """Another one has carried the run on meanwhile: to its end, or some pages far."""
    world.source.skew -= timedelta(hours=1)
    world.time.pass_(seconds=30)
    world.source.put("A01", 101)
    clock_back, keep = rereading.Rereading.clock_back, rereading.Rereading._keep
    stood: list[Any] = []

    def standing() -> tuple[Any, ...]:
        with world.hub.database.read() as uow:
            (cursor,) = uow.jobs.cursors()
        row = latest(world)
        return cursor.as_of, cursor.value, row.state, row.progress, row.counts

    def frozen(self: rereading.Rereading, *args: Any, **more: Any) -> None:
        if not stood:
            stood.append(None)
            with monkeypatch.context() as patch:
                if not ended:
                    patch.setattr(rereading.Rereading, "_keep", dies)
                try:
                    world.handlers["sync"](self.run_id)
                except SystemExit:
                    world.time.pass_(seconds=5)
            stood[0] = standing()
        clock_back(self, *args, **more)

    def dies(self: rereading.Rereading, before: Any, after: Any, page: Page) -> Any:
        if before["cursor"] is not None:
            raise SystemExit("killed")
        return keep(self, before, after, page)

    monkeypatch.setattr(rereading.Rereading, "clock_back", frozen)
    run_id, _ = sync.owe(world.hub, "accounts", tick="back", requested_by="test")
    world.handlers["sync"](run_id)
    assert [standing()] == stood
    assert latest(world).state == ("done" if ended else "running")
    world.handlers["sync"](run_id)
    assert latest(world).state == "done"
    world.time.pass_(seconds=LAG.total_seconds() + 1)
    world.run("changes")
    assert world.stored() == world.source.truth()


def test_what_changed_behind_the_cursor_before_anybody_saw_the_clock_go_back(world: World) -> None:
    """Further back than the overlap reaches from where the next run begins."""
    world.source.skew -= timedelta(days=2)
    world.source.put("A01", 101)
    world.time.pass_(hours=1)
    world.run("changes")
    assert world.stored() == world.source.truth()


def test_a_source_that_has_no_windows_says_what_to_do_instead(world: World) -> None:
    world.hub.registry._source = Unasked(world.source)  # type: ignore[attr-defined]
    window = {"since": world.time.now - timedelta(hours=2), "until": world.time.now}
    wanted = {name: at.isoformat() for name, at in window.items()}
    run_id, _ = sync.owe(
        world.hub, "accounts", tick="w", requested_by="test", mode="backfill", wanted=wanted
    )
    world.handlers["sync"](run_id)
    row = latest(world)
    assert row.state == "failed"
    assert row.error is not None
    assert "a full run reads everything" in row.error["message"]
    assert gaps(world) == [{"kind": "account", "why": "not_read"}]


def test_a_record_that_was_made_again_under_its_key_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that names it as deleted and shows it: what is shown is there now."""
    world.source.put("A03", 33)

    def tombstones(page: Page) -> Page:
        return page.model_copy(update={"deleted": (world.source._ref("A03"),)})

    answers(world, monkeypatch, tombstones)
    world.time.pass_(seconds=LAG.total_seconds() + 1)
    run_id, _ = sync.owe(world.hub, "accounts", tick="again", requested_by="test")
    world.handlers["sync"](run_id)
    assert world.stored() == world.source.truth()


@pytest.mark.parametrize("told", [True, False])
def test_what_lay_in_quarantine_and_is_gone_leaves_it(
    world: World, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """Otherwise the source has one fewer than we, for ever."""
    odd = Quarantined(kind=Kind.ACCOUNT, id="Q1", field="name", reason="unknown")
    world.source.put("Q1", 1)

    def unmapped(page: Page) -> Page:
        shown = tuple(r for r in page.records if r.ref.id != "Q1")
        kept = (odd,) if len(shown) < len(page.records) else ()
        return page.model_copy(update={"records": shown, "quarantined": kept})

    answers(world, monkeypatch, unmapped)
    world.run("changes")
    with world.hub.database.read() as uow:
        assert [row.id for row in uow.records.quarantined()] == ["Q1"]
    world.source.tombstones = told
    world.source.delete("Q1")
    world.time.pass_(seconds=3600)
    world.run("changes" if told else "full")
    with world.hub.database.read() as uow:
        assert uow.records.quarantined() == []
    world.run("changes")
    assert gaps(world) == []


def test_a_source_that_answers_the_same_page_for_ever_ends_the_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.source.changed_since(Kind.ACCOUNT, None, limit=2)

    def stuck(page: Page) -> Page:
        nonlocal asked
        asked += 1
        assert asked < 50, "it goes on for ever"
        return first

    asked = 0
    answers(world, monkeypatch, stuck)
    world.run("changes")
    run = latest(world)
    assert run.state == "failed"
    assert "same place" in (run.error or {})["message"]


# --- another mapping --------------------------------------------------------------------------


def read_by(world: World) -> str | None:
    with world.hub.database.read() as uow:
        (row,) = uow.jobs.cursors()
    return row.read_by


def progress(world: World) -> dict[str, Any]:
    return (latest(world).progress or {}).get("account") or {}


def test_another_mapping_is_given_to_what_is_stored(world: World) -> None:
    """The source does not send a record again because we read it otherwise."""
    assert read_by(world) == "mapping 0"
    world.run("changes")
    assert progress(world) == {}
    world.source.mapped = 1
    world.run("changes")
    assert world.stored() == world.source.truth()
    assert progress(world)["why"] == "the mapping has changed"
    assert read_by(world) == "mapping 1"
    world.run("changes")
    assert progress(world) == {}


def test_a_full_run_has_read_all_by_its_mapping(world: World) -> None:
    world.source.mapped = 1
    world.run("full")
    assert read_by(world) == "mapping 1"
    world.run("changes")
    assert progress(world) == {}


@pytest.mark.parametrize("dies", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 5, 10, 11])
def test_a_mapping_that_changes_under_a_run_is_given_to_all(
    world: World, dies: str, nth: int
) -> None:
    """Its worker dies, and the one that goes on reads otherwise."""
    world.source.mapped = 1
    world.run("changes", dies, nth, under=[("remap",)])
    world.run("changes")
    assert world.stored() == world.source.truth()
    assert read_by(world) == "mapping 2"


def test_a_node_of_the_old_mapping_leaves_nothing_behind(world: World) -> None:
    """It was reading when the others had begun to read otherwise."""
    world.source.put("A03", 33)
    changed: list[bool] = []

    def others() -> None:
        if not changed:
            changed.append(True)
            with world.hub.database.begin() as uow:
                (row,) = uow.jobs.cursors()
                row.read_by = "mapping 1"

    world.time.pass_(seconds=600)
    original = world.source.changed_since

    def slowly(kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        page = original(kind, cursor, limit=limit)
        others()
        return page

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.source, "changed_since", slowly)
        world.run("changes")
    assert changed
    world.source.mapped = 1
    world.run("changes")
    assert world.stored() == world.source.truth()


def test_what_an_older_release_has_read_is_taken_as_it_is(world: World) -> None:
    """It never said by what; reading everything at each upgrade would be dear."""
    with world.hub.database.begin() as uow:
        (row,) = uow.jobs.cursors()
        row.read_by = None
    world.run("changes")
    assert progress(world) == {}
    assert read_by(world) == "mapping 0"
