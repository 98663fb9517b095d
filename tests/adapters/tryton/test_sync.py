"""A sync of a real Tryton while it is being written to: the store ends equal to it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from middleware.app import handlers
from middleware.contract.canonical import Contact, Kind, Ref
from middleware.contract.capabilities import Connection
from middleware.contract.mapping import MappingSet
from middleware.flows import rereading, sync
from middleware.flows.hub import Asker, Hub, Options
from middleware.registry import Configured, Registry
from middleware.sandbox.tryton import INTEGRATION
from middleware.store.database import Database
from middleware.understanding import Rules
from tests import databases
from tests.adapters.tryton.peer import MARKS, ROOT, Rpc, server
from tests.flows.conftest import FakeTime, HandRun

pytestmark = [pytest.mark.tryton, MARKS[1], pytest.mark.xdist_group("tryton")]

LAG_S, OVERLAP_S = 2, 30
WRITING_S = 12.0


@pytest.fixture
def hub(tmp_path: object) -> Iterator[Hub]:
    url = databases.migrated("sqlite", tmp_path)  # type: ignore[arg-type]
    database = Database(url)
    tryton = server()
    connection = Connection(
        name="erp",
        settings={
            "url": tryton.url,
            "database": tryton.database,
            "user": INTEGRATION.user,
            "lag_s": LAG_S,
            "overlap_s": OVERLAP_S,
            "total_s": 30,
        },
        secrets={"password": SecretStr(INTEGRATION.password)},
        mappings=MappingSet.load(ROOT / "mappings" / "tryton"),
    )
    registry = Registry([Configured(adapter="tryton", connection=connection)])
    made = Hub(
        database=database,
        registry=registry,
        engine=HandRun(FakeTime()),  # type: ignore[arg-type]
        understands=Rules(),
        options=Options(),
    )
    arguments = {"connection": "erp", "kinds": ["contact"], "most_deleted": 1.0}
    with database.begin() as uow:
        spec = {"flow": "sync", "arguments": arguments, "schedule": {"every": 60}}
        uow.jobs.declare({"contacts": spec}, at=made.clock())
    yield made
    registry.close()
    database.close()


def run(hub: Hub, mode: str) -> None:
    run_id = sync.owe_asked(hub, "contacts", Asker("test"), mode=mode, wanted={})
    handlers(hub)["sync"](run_id)
    with hub.database.read() as uow:
        row = uow.jobs.run(run_id)
    assert row is not None
    assert row.state == "done", row.error


class Writer(threading.Thread):
    """Somebody who makes parties, renames them, puts them aside and deletes them, all the time."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance = random.Random(seed)
        self._until = time.monotonic() + WRITING_S
        self.writes = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        rpc = Rpc(server())
        mine: list[int] = []
        try:
            while time.monotonic() < self._until:
                what = self._chance.random()
                if what < 0.4 or len(mine) < 3:
                    name = f"Written {self._chance.getrandbits(32):08x}"
                    party = {"name": name, "code": f"W{self._chance.getrandbits(40):x}"}
                    mine += rpc.call("model.party.party.create", [party])
                elif what < 0.75:
                    name = f"Renamed {self._chance.getrandbits(32):08x}"
                    rpc.call("model.party.party.write", [self._chance.choice(mine)], {"name": name})
                elif what < 0.9:
                    gone = mine.pop(self._chance.randrange(len(mine)))
                    rpc.call("model.party.party.write", [gone], {"active": False})
                else:
                    gone = mine.pop(self._chance.randrange(len(mine)))
                    rpc.call("model.party.party.delete", [gone])
                self.writes += 1
        except BaseException as error:
            self.error = error
        finally:
            rpc.close()


def test_the_store_ends_equal_to_a_tryton_that_is_written_to(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "PAGE", 7)
    original, kept = rereading.Rereading._keep, 0

    def dying(self: rereading.Rereading, *args: object) -> object:
        nonlocal kept
        kept += 1
        if kept % 9 == 4:
            raise SystemExit("killed")
        return original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(rereading.Rereading, "_keep", dying)
    writers = [Writer(1), Writer(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        for mode in ("changes", "full"):
            run_id = sync.owe_asked(hub, "contacts", Asker("test"), mode=mode, wanted={})
            for _ in range(50):
                try:
                    handlers(hub)["sync"](run_id)
                    break
                except SystemExit:
                    continue  # another worker carries on
            time.sleep(1)
    for writer in writers:
        writer.join()
        assert writer.error is None
        assert writer.writes > 5
    monkeypatch.undo()
    time.sleep(LAG_S + 2)
    run(hub, "changes")
    run(hub, "full")

    rpc = Rpc(server())
    rows = rpc.call("model.party.party.search_read", [], 0, None, None, ["name"])
    rpc.close()
    truth = {str(row["id"]): row["name"] for row in rows}
    with hub.database.read() as uow:
        ids = list(uow.records.live_ids("erp", Kind.CONTACT))
        refs = [Ref(connection="erp", kind=Kind.CONTACT, id=id_) for id_ in ids]
        stored = [found.record for found in uow.records.get_all(refs)]
        quarantined = {row.id for row in uow.records.quarantined(connection="erp", limit=1000)}
        last = uow.jobs.last_of("contacts", states=("done",))
        assert last is not None
        receipt = uow.receipts.of_run(last.id)
    names = {record.ref.id: record.display_name for record in stored if isinstance(record, Contact)}
    assert names.keys() | quarantined == truth.keys()
    assert {key: name for key, name in names.items() if name != truth[key]} == {}
    assert receipt is not None
    assert receipt.body["source"]["contact"]["agrees"] is True
