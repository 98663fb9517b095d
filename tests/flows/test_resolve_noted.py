"""An incremental run reads what was noted, and all of it where notes can't tell everything."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from middleware.flows import reconcile, resolve, sync
from middleware.flows.hub import ResolveOptions
from middleware.resolution.batch.workspace import Workspace
from middleware.store.followed import Followed
from tests.flows.conftest import Stage
from tests.flows.test_resolve import crowd, kim, parts, run, sqlite


def changed(stage: Stage, *numbers: int) -> None:
    """Kim is on file under so many numbers."""
    stage.time.pass_(minutes=1)
    stage.store(*(kim(number, system=f"s{number}") for number in numbers))


def held(stage: Stage) -> dict[str, str]:
    """What the workspace has of each record: hash by reference."""
    file = stage.hub.options.resolve.workspace / "resolve.duckdb"
    space = Workspace(file, resolve.model_of(stage.hub), stamp=resolve.stamp_of(stage.hub))
    try:
        return dict(space.all("SELECT ref, content FROM record"))
    finally:
        space.close()


def stored(stage: Stage) -> dict[str, str]:
    space = Workspace(None, resolve.model_of(stage.hub))
    try:
        resolve.bring_up(stage.hub, space, tell=lambda *_: None)
        return dict(space.all("SELECT ref, content FROM record"))
    finally:
        space.close()


def test_an_incremental_run_reads_what_has_changed(desk: Stage) -> None:
    desk.store(*crowd(100))
    total = run(desk).counts["records"]["seen"]
    assert total == 100
    assert run(desk, "t2").counts["records"] == {"seen": 0, "changed": 0, "deleted": 0}
    changed(desk, 1, 2)
    with desk.hub.database.begin() as uow:
        uow.records.delete([crowd(100)[0].ref], as_of=desk.time.now)
    row = run(desk, "t3")
    assert row.counts["records"] == {"seen": 3, "changed": 2, "deleted": 1}
    assert frozenset({"s1:contact:1", "s2:contact:2"}) in parts(desk)
    # What was changed and is as it was again is looked at, and is no change.
    changed(desk, 1)
    desk.time.pass_(minutes=1)
    desk.store(kim(1, system="s1", display_name="Ida"))
    desk.time.pass_(minutes=1)
    desk.store(kim(1, system="s1"))
    assert run(desk, "t4").counts["records"] == {"seen": 1, "changed": 0, "deleted": 0}
    # A full run looks at everything, and once a day every run does.
    assert run(desk, "t5", full=True).counts["records"]["seen"] == 101
    desk.time.pass_(hours=25)
    assert run(desk, "t6").counts["records"]["seen"] == 101
    assert run(desk, "t7").counts["records"]["seen"] == 0


def test_what_an_older_release_wrote_is_found_within_a_day(
    desk: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.store(*crowd(100))
    run(desk)
    with monkeypatch.context() as patch:
        patch.setattr(Followed, "note", lambda *_: None)
        changed(desk, 1)
    assert run(desk, "t2").counts["records"]["changed"] == 0
    desk.time.pass_(hours=25)
    assert run(desk, "t3").counts["records"]["changed"] == 1


@sqlite
def test_of_many_changes_every_record_is_looked_at(desk: Stage) -> None:
    desk.store(*crowd(50))
    run(desk)
    changed(desk, *range(6))
    assert run(desk, "t2").counts["records"] == {"seen": 56, "changed": 6, "deleted": 0}
    with desk.hub.database.read() as uow:
        assert uow.followed.count() == 0


def test_another_workspace_reads_everything(desk: Stage, tmp_path: Path) -> None:
    """As where two workers have a folder each: neither misses what the other has taken in."""
    elsewhere = desk.with_options(resolve=ResolveOptions(workspace=tmp_path / "elsewhere"))
    desk.store(*crowd(60))
    for number, stage in enumerate((desk, elsewhere, desk, elsewhere, elsewhere)):
        changed(desk, 2 * number, 2 * number + 1)
        assert run(stage, f"t{number}").counts["records"]["changed"] >= 2
        assert held(stage) == stored(stage)
    assert len(next(one for one in parts(desk) if "s1:contact:1" in one)) == 10


def test_a_workspace_from_a_backup_reads_everything(desk: Stage) -> None:
    file = desk.hub.options.resolve.workspace / "resolve.duckdb"
    desk.store(*crowd(60))
    run(desk)
    before = file.read_bytes()
    changed(desk, 1, 2)
    run(desk, "t2")
    file.write_bytes(before)
    changed(desk, 3)
    run(desk, "t3")
    assert held(desk) == stored(desk)


def _dies_before(part: Callable[..., object], at: int) -> Callable[..., object]:
    calls = 0

    def die(*given: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == at:
            raise SystemExit("killed")
        return part(*given, **named)

    return die


@sqlite
@pytest.mark.parametrize(
    ("owner", "name", "at"),
    [
        (Followed, "follow", 1),
        (Followed, "forget", 1),
        (Followed, "forget", 2),
        (Workspace, "say", 1),
        (Workspace, "say", 2),
        (Workspace, "say", 3),
        (Workspace, "put", 1),
        (Workspace, "put", 2),
        (Workspace, "look_at", 2),
    ],
)
@pytest.mark.parametrize("full", [False, True])
def test_a_run_that_dies_while_it_reads_misses_nothing(
    desk: Stage, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, at: int, *, full: bool
) -> None:
    monkeypatch.setattr(resolve, "PAGE", 3)
    desk.store(*crowd(120))
    run(desk)
    changed(desk, *range(8))
    with desk.hub.database.begin() as uow:
        uow.records.delete([crowd(120)[5].ref, crowd(120)[7].ref], as_of=desk.time.now)
    run_id, _ = sync.owe(
        desk.hub, "people", tick="t2", requested_by="test", mode="full" if full else "changes"
    )
    died = False
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, _dies_before(getattr(owner, name), at))
        try:
            desk.run_due()
        except SystemExit:
            died = True
    assert died or full
    changed(desk, 9)
    # It is gone for good, as when another run is the next one.
    with desk.hub.database.begin() as uow:
        row = uow.jobs.run(run_id)
        assert row is not None
        row.state = "failed" if died else row.state
    assert run(desk, "t3").state == "done"
    assert held(desk) == stored(desk)


@sqlite
@pytest.mark.parametrize("seed", range(6))
def test_whatever_changes_and_whoever_reads_the_workspace_ends_as_the_store(
    desk: Stage, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    stages = [desk, desk.with_options(resolve=ResolveOptions(workspace=tmp_path / "elsewhere"))]
    everybody = crowd(150, seed)
    desk.store(*everybody[:100])
    for step in range(25):
        desk.time.pass_(minutes=chance.choice([1, 1, 1, 900]))
        match chance.choice(["store", "store", "delete", "run", "run", "reconcile"]):
            case "store":
                some = chance.sample(everybody, chance.choice([1, 3, 20]))
                desk.store(
                    *(one.model_copy(update={"emails": (f"w{step}@example.com",)}) for one in some)
                )
            case "delete":
                with desk.hub.database.begin() as uow:
                    gone = [one.ref for one in chance.sample(everybody, 4)]
                    uow.records.delete(gone, as_of=desk.time.now)
            case "run":
                stage = chance.choice([*stages, desk, desk])
                assert run(stage, f"t{step}", full=chance.random() < 0.2).state == "done"
                assert held(stage) == stored(stage)
            case _:
                reconcile.run(desk.hub, f"r{step}")


@sqlite
def test_nothing_gathers_for_a_resolution_that_does_not_run(desk: Stage) -> None:
    desk.store(*crowd(50))
    run(desk)
    changed(desk, 1)
    with desk.hub.database.read() as uow:
        assert uow.followed.count() == 1
    desk.time.pass_(days=15)
    reconcile.run(desk.hub, "late")
    with desk.hub.database.read() as uow:
        assert uow.followed.count() == 0
    changed(desk, 2)
    assert run(desk, "t2").counts["records"]["changed"] == 2


@sqlite
def test_a_worker_whose_place_was_taken_forgets_nothing(
    desk: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was frozen while it read; another looked at everything meanwhile."""
    monkeypatch.setattr(resolve, "PAGE", 2)
    elsewhere = ResolveOptions(workspace=tmp_path / "elsewhere")
    other = replace(desk.hub, options=replace(desk.hub.options, resolve=elsewhere))
    desk.store(*crowd(80))
    run(desk)
    changed(desk, 1, 2, 3, 4)
    original, taken = Workspace.look_at, False

    def take_over(self: Workspace, contents: dict[str, str]) -> None:
        nonlocal taken
        original(self, contents)
        if not taken:
            taken = True
            with other.database.begin() as uow:
                uow.followed.follow("other", was=None, at=desk.time.now)
            changed(desk, 5, 6)

    monkeypatch.setattr(Workspace, "look_at", take_over)
    row = run(desk, "t2")
    assert row.state == "running"
    with desk.hub.database.read() as uow:
        page = uow.followed.changed(limit=100)
    assert page is not None
    assert [str(ref) for ref in page.refs] == ["s5:contact:5", "s6:contact:6"]
