"""The other repositories: what is stored once, moved once, answered once."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from middleware.domain.ids import new_id
from middleware.store.actions import StaleStepError
from middleware.store.database import Database
from middleware.store.events import wanted
from middleware.store.queries import database_is_away
from middleware.store.tables import ActionRow, ActionStepRow, CursorRow, InboxRow, LinkRow

T0 = datetime(2026, 11, 1, tzinfo=UTC)


def delivery(message: str, body: bytes = b"{}") -> InboxRow:
    return InboxRow(
        id=new_id("inb"),
        connection="desk",
        message_id=message,
        body_hash=body.decode(),
        headers={},
        body=body,
        trust="signature",
        state="stored",
        received_at=T0,
    )


def test_a_delivery_is_stored_once(database: Database) -> None:
    first = delivery("m1")
    with database.begin() as uow:
        assert uow.inbox.store_once(first).id == first.id
    with database.begin() as uow:
        again = uow.inbox.store_once(delivery("m1", b'{"a":1}'))
    assert again.id == first.id
    assert again.body_hash == "{}"


def test_eight_at_once_store_one_delivery(database: Database) -> None:
    ids: list[str] = []

    def store() -> None:
        with database.begin() as uow:
            ids.append(uow.inbox.store_once(delivery("same")).id)

    threads = [threading.Thread(target=store) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1


def action() -> tuple[ActionRow, ActionStepRow]:
    row = ActionRow(
        id=new_id("act"),
        kind="case",
        state="queued",
        request={},
        requested_by="key",
        expires_at=T0 + timedelta(days=1),
        created_at=T0,
        updated_at=T0,
    )
    step = ActionStepRow(
        id=new_id("stp"),
        action_id=row.id,
        position=1,
        connection="crm",
        operation="case",
        key=new_id("am"),
        state="planned",
        wanted={},
    )
    return row, step


def test_a_step_moves_once_from_what_was_read(database: Database) -> None:
    row, step = action()
    with database.begin() as uow:
        uow.actions.add(row, [step])
    with database.read() as uow:
        (stale,) = uow.actions.steps_of(row.id)
    with database.begin() as uow:
        (seen,) = uow.actions.steps_of(row.id)
        uow.actions.move(seen, state="sending", sent_at=T0)
        assert (seen.state, seen.version) == ("sending", 2)
    with database.begin() as uow, pytest.raises(StaleStepError):
        uow.actions.move(stale, state="done")
    with database.read() as uow:
        assert [s.state for s in uow.actions.steps_of(row.id)] == ["sending"]


@pytest.mark.parametrize("other", ["version", "pass_no"])
def test_an_action_is_claimed_only_as_it_was_left(database: Database, other: str) -> None:
    row, step = action()
    with database.begin() as uow:
        uow.actions.add(row, [step])
    with database.begin() as uow:
        left = uow.actions.get(row.id, lock=True)
        assert left is not None
    with database.begin() as uow:
        assert uow.actions.claim(left, due_at=T0)
        left.state = "running"
    with database.begin() as uow:
        seen = uow.actions.get(row.id, lock=True)
        assert seen is not None
        assert (seen.state, seen.due_at, seen.version) == ("running", T0, 2)
        setattr(seen, other, getattr(seen, other) + 1)
    with database.begin() as uow:
        assert not uow.actions.claim(left, due_at=None)
        left.state = "done"
    with database.read() as uow:
        kept = uow.actions.get(row.id)
        assert kept is not None
        assert (kept.state, kept.due_at) == ("running", T0)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one worker
def test_who_falls_silent_in_a_transaction_holds_nobody_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("middleware.store.database.LONGEST_SILENCE_S", 0.5)
    frozen = Database(database.url)
    row, step = action()
    with database.begin() as uow:
        uow.actions.add(row, [step])
    try:
        with pytest.raises(sa.exc.DBAPIError) as told, frozen.begin() as silent:
            assert silent.actions.get(row.id, lock=True) is not None
            with database.begin() as uow:
                seen = uow.actions.get(row.id, lock=True)
                assert seen is not None
                seen.state = "running"
            silent.actions.get(row.id, lock=True)
        assert database_is_away(told.value)
    finally:
        frozen.close()


def test_a_key_is_taken_once_and_answers(database: Database) -> None:
    taken = {"principal": "p", "route": "r", "key": "k", "body_hash": "h"}
    with database.begin() as uow:
        assert uow.keys.take(**taken, at=T0) is None
        uow.keys.answer(
            principal="p", route="r", key="k", status=202, answer={"id": "act_1"}, location="/x"
        )
    with database.begin() as uow:
        first = uow.keys.take(**taken, at=T0)
        assert first is not None
        assert first.answer == {"id": "act_1"}
        assert uow.keys.forget_answers(before=T0 + timedelta(seconds=1)) == 1
        assert uow.keys.take(**taken, at=T0) is None


def test_events_are_read_in_commit_order(database: Database) -> None:
    """A reader that remembers the last `seq` must never miss one that committed later."""
    seen: list[int] = []
    stop = threading.Event()

    def write(name: str) -> None:
        for n in range(25):
            with database.begin() as uow:
                uow.events.append("t", subject=name, data={"n": n}, at=T0)

    def read() -> None:
        last = 0
        while not stop.is_set() or last < 100:
            with database.read() as uow:
                for event in uow.events.since(last, limit=50):
                    assert event.seq is not None
                    last = event.seq
                    seen.append(last)
            if stop.is_set() and not uow:
                break

    reader = threading.Thread(target=read)
    reader.start()
    writers = [threading.Thread(target=write, args=(f"w{n}",)) for n in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join(timeout=60)
    assert len(seen) == 100
    assert seen == sorted(seen)


def test_an_event_is_the_last_that_its_transaction_writes(database: Database) -> None:
    """From there to the commit every other transaction with an event waits."""
    with database.begin() as uow:
        uow.events.append("t", subject="x", data={}, at=T0)
        assert uow.events.since(0, limit=9) == []
    with pytest.raises(RuntimeError), database.begin() as uow:
        uow.events.append("t", subject="y", data={}, at=T0)
        raise RuntimeError
    with database.read() as uow:
        assert [event.subject for event in uow.events.since(0, limit=9)] == ["x"]


@pytest.mark.parametrize(
    ("patterns", "type_", "expected"),
    [
        (["*"], "action.done", True),
        (["action.*"], "action.done", True),
        (["action.*"], "actions.done", False),
        (["action.done"], "action.refused", False),
        ([], "action.done", False),
    ],
)
def test_endpoints_get_what_they_asked_for(patterns: list[str], type_: str, expected: bool) -> None:
    assert wanted(patterns, type_) is expected


def test_a_delivery_is_owed_to_each_endpoint_that_wants_the_event(database: Database) -> None:
    with database.begin() as uow:
        uow.events.declare_endpoints(
            {"a": ("https://a.example", ["*"]), "b": ("https://b.example", ["action.*"])}, at=T0
        )
        assert len(uow.events.append("action.done", subject="x", data={}, at=T0)) == 2
        assert len(uow.events.append("sync.run.finished", subject="x", data={}, at=T0)) == 1
        uow.events.declare_endpoints({"b": ("https://b.example", ["action.*"])}, at=T0)
        assert len(uow.events.append("sync.run.finished", subject="x", data={}, at=T0)) == 0


def test_a_changed_handle_ends_the_old_one(database: Database) -> None:
    with database.begin() as uow:
        seen = uow.people.see(network="x", native_id="7", handle="kim", display_name="Kim", at=T0)
        again = uow.people.see(
            network="x", native_id="7", handle="kim_b", display_name="Kim", at=T0 + timedelta(1)
        )
        older = uow.people.see(
            network="x", native_id="7", handle="kim0", display_name="Kim", at=T0 - timedelta(1)
        )
        assert seen.id == again.id == older.id
        assert uow.people.bearers("x", "kim") == []
        assert [row.id for row in uow.people.bearers("x", "kim_b")] == [seen.id]
        assert [h.handle for h in uow.people.handles_of(seen.id)] == ["kim", "kim_b"]


def test_links_are_read_as_of_a_date(database: Database) -> None:
    with database.begin() as uow:
        person = uow.people.add_person(display_name="Kim", at=T0)
        identity = uow.people.see(
            network="x", native_id="7", handle="kim", display_name=None, at=T0
        )
        uow.people.add_link(
            LinkRow(
                id="lnk",
                person_id=person.id,
                identity_id=identity.id,
                basis="agent",
                confidence=1.0,
                evidence=[],
                decided_by="key",
                valid_from=T0,
                valid_to=T0 + timedelta(days=2),
                revoked_by="key2",
            )
        )
        assert uow.people.links_of_person(person.id) == []
        assert len(uow.people.links_of_person(person.id, as_of=T0 + timedelta(days=1))) == 1
        assert uow.people.links_of_person(person.id, as_of=T0 + timedelta(days=2)) == []
        assert len(uow.people.links_of_person(person.id, ended=True)) == 1


def test_a_connection_that_is_no_longer_declared_is_marked_deleted(database: Database) -> None:
    with database.begin() as uow:
        uow.connections.declare({"erp": ("memory", {}), "crm": ("memory", {})}, at=T0)
        uow.connections.declare({"crm": ("memory", {"a": 1})}, at=T0 + timedelta(1))
        assert [row.name for row in uow.connections.all()] == ["crm"]
        gone = uow.connections.get("erp")
        assert gone is not None
        assert gone.deleted_at == T0 + timedelta(1)
        uow.connections.declare({"erp": ("memory", {}), "crm": ("memory", {})}, at=T0)
        assert len(uow.connections.all()) == 2


def test_a_cursor_moves_only_from_where_it_stands(database: Database) -> None:
    def cursor(value: str) -> CursorRow:
        return CursorRow(
            connection="erp", kind="order", value=value, as_of=T0, run_id="r", saved_at=T0
        )

    with database.begin() as uow:
        assert uow.jobs.move_cursor(cursor("1"), from_=None)
    with database.begin() as uow:
        assert not uow.jobs.move_cursor(cursor("9"), from_=None)
        assert not uow.jobs.move_cursor(cursor("9"), from_="0")
        assert uow.jobs.move_cursor(cursor("2"), from_="1")
    with database.read() as uow:
        row = uow.jobs.cursor("erp", "order")
        assert row is not None
        assert row.value == "2"


def test_two_that_move_one_cursor_at_once_come_one_after_the_other(database: Database) -> None:
    moved: list[bool] = []

    def move(n: int) -> None:
        row = CursorRow(
            connection="erp", kind="case", value=str(n), as_of=T0, run_id="r", saved_at=T0
        )
        with database.begin() as uow:
            moved.append(uow.jobs.move_cursor(row, from_=None))

    threads = [threading.Thread(target=move, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(moved) == [False] * 5 + [True]


def test_leases_run_out_by_the_databases_clock(database: Database) -> None:
    with database.begin() as uow:
        uow.nodes.beat("a")
        uow.nodes.beat("a")
    with database.read() as uow:
        assert uow.nodes.alive(lease=timedelta(seconds=30)) == {"a"}
        assert uow.nodes.alive(lease=timedelta(seconds=-1)) == set()
    with database.begin() as uow:
        uow.nodes.leave("a")
        assert uow.nodes.alive(lease=timedelta(seconds=30)) == set()


def test_an_entry_of_the_history_is_read_in_its_own_transaction_and_written_once(
    database: Database,
) -> None:
    with database.begin() as uow:
        uow.audit.write(at=T0, actor="hub", action="first", subject="act_1")
        assert [one.action for one in uow.audit.about("act_1")] == ["first"]
        uow.audit.write(at=T0, actor="hub", action="second", subject="act_1")
    with database.read() as uow:
        assert [one.action for one in uow.audit.about("act_1")] == ["first", "second"]
