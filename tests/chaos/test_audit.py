"""The audit sees what it is there to see: an auditor who never finds anything proves nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from middleware.contract import http
from middleware.contract.actions import Operation
from middleware.domain.ids import step_key
from middleware.sandbox.server import SandboxServer
from tests.chaos.audit import Audit, audit
from tests.chaos.client import Posted, post_all
from tests.chaos.wires import CHANCES, Wires

ORDER, NOTE = Operation.REPLACEMENT_ORDER, Operation.NOTE


class Books:
    """Rows by key, as remotes would count them."""

    refusals = frozenset({"OUT_OF_STOCK"})

    def __init__(self, *rows: tuple[Operation, str]) -> None:
        self.rows = rows

    def settled(self, *, seconds: float = 60) -> None:
        """Nothing is late here."""

    def counted(self, step: Mapping[str, Any], operation: Operation, key: str, because: str) -> int:
        return self.rows.count((operation, key))

    def totals(self) -> dict[Operation, int]:
        return {kind: sum(row[0] is kind for row in self.rows) for kind in (ORDER, NOTE)}


def action(
    state: str,
    *steps: str,
    id_: str = "act_1",
    code: str | None = None,
    choices: tuple[str, ...] = (),
) -> dict[str, Any]:
    kinds = (ORDER, NOTE)
    return {
        "id": id_,
        "operation": ORDER,
        "state": state,
        "choices": list(choices),
        "request": {},
        "steps": [
            {
                "position": position,
                "operation": kinds[position - 1],
                "connection": "erp",
                "state": step,
                "error": {"code": code} if step == "refused" else None,
            }
            for position, step in enumerate(steps, start=1)
        ],
    }


def audited(shown: dict[str, Any] | None, *rows: Operation, strays: int = 0) -> Audit:
    keys = {ORDER: step_key("act_1", 1, ORDER), NOTE: step_key("act_1", 2, NOTE)}
    books = Books(*[(kind, keys[kind]) for kind in rows], *[(ORDER, "somebody's")] * strays)
    posted = Posted(1, {}, action_id="act_1")
    return audit(books, [posted], {shown["id"]: shown} if shown else {})


@pytest.mark.parametrize(
    ("shown", "rows"),
    [
        (action("done", "done", "done"), (ORDER, NOTE)),
        (action("refused", "refused", "cancelled", code="OUT_OF_STOCK"), ()),
        (action("partial", "done", "refused", code="OUT_OF_STOCK"), (ORDER,)),
        (action("unknown", "unknown", "planned", choices=("settle",)), (ORDER,)),
        (action("unknown", "unknown", "planned", choices=("settle",)), ()),
    ],
)
def test_what_is_as_the_hub_says_is_clean(
    shown: dict[str, Any], rows: tuple[Operation, ...]
) -> None:
    found = audited(shown, *rows)
    assert found.clean, found.details
    assert found.details == []


@pytest.mark.parametrize(
    ("shown", "rows", "wrong"),
    [
        (action("done", "done", "done"), (ORDER, ORDER, NOTE), "duplicates"),
        (action("done", "done", "done"), (ORDER, NOTE, NOTE), "duplicates"),
        (action("refused", "refused", "cancelled", code="OUT_OF_STOCK"), (ORDER,), "duplicates"),
        (action("partial", "done", "cancelled"), (ORDER, NOTE), "duplicates"),
        (action("done", "done", "done"), (ORDER,), "lost"),
        (action("refused", "refused", "cancelled", code="TIRED"), (), "lost"),
        (action("partial", "done", "refused"), (ORDER,), "lost"),
        (action("expired", "cancelled", "cancelled"), (), "lost"),
        (None, (), "lost"),
        (action("waiting", "waiting", "planned"), (), "stuck"),
        (action("running", "done", "sending"), (ORDER, NOTE), "stuck"),
        (action("unknown", "unknown", "planned"), (ORDER,), "stuck"),
    ],
)
def test_what_is_not_is_found(
    shown: dict[str, Any] | None, rows: tuple[Operation, ...], wrong: str
) -> None:
    found = audited(shown, *rows)
    assert getattr(found, wrong) >= 1, found
    assert not found.clean
    assert found.details


def test_rows_that_nobody_asked_for_are_duplicates() -> None:
    assert audited(action("done", "done", "done"), ORDER, NOTE, strays=2).duplicates == 2


def test_an_action_that_was_refused_at_the_door_is_lost() -> None:
    posted = Posted(1, {}, refused="400")
    assert audit(Books(), [posted], {}).lost == 1


def test_a_batch_is_posted_in_its_time_however_many_went_before() -> None:
    seen: list[int] = []

    class Desk:
        def post(self, one: Posted) -> None:
            seen.append(one.number)

    batch = [Posted(number, {}) for number in range(1000, 1012)]
    thread = post_all(Desk(), batch, over_s=0.1, seed=1)  # type: ignore[arg-type]
    thread.join(20)
    assert not thread.is_alive()
    assert set(seen) == set(range(1000, 1012))


def test_lines_break_in_every_way_and_are_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fault strikes a real connection; what was mended carries everything."""

    def answer(environ: Any, start: Any) -> list[bytes]:
        environ["wsgi.input"].read()
        start("200 OK", [("Content-Type", "text/plain")])
        return [b"x" * 2000]

    monkeypatch.setattr("tests.chaos.wires.UP_S", (60.0, 60.0))
    broken, patient = http.Limits(total_s=2), http.Limits(connect_s=60, total_s=60)
    with SandboxServer(answer) as server:
        for name in CHANCES:
            monkeypatch.setattr("tests.chaos.wires.CHANCES", {name: 1.0})
            monkeypatch.setattr("tests.chaos.wires.FURTHEST", 90)
            wires = Wires({"erp": server.port}, seed=1)
            try:
                url = f"http://127.0.0.1:{wires.ports['erp']}"
                wires.break_down()
                with http.client(broken, base_url=url) as client, pytest.raises(httpx2.HTTPError):
                    client.post("/", content=b"y" * 3000)
                assert wires.struck == {f"tcp:{name}": 1}
                wires.mend()
                with http.client(patient, base_url=url) as client:
                    assert client.post("/", content=b"y" * 3000).content == b"x" * 2000
            finally:
                wires.close()


def test_a_line_that_is_down_refuses_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.wires.CHANCES", {})
    monkeypatch.setattr("tests.chaos.wires.UP_S", (0.05, 0.05))
    monkeypatch.setattr("tests.chaos.wires.DOWN_S", (30.0, 30.0))

    def answer(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [b"here"]

    with SandboxServer(answer) as server:
        wires = Wires({"erp": server.port}, seed=1)
        try:
            url = f"http://127.0.0.1:{wires.ports['erp']}"
            wires.break_down()
            patient = http.Limits(connect_s=60, total_s=60)
            end = time.monotonic() + 60
            with pytest.raises(httpx2.ConnectError):
                while time.monotonic() < end:
                    with http.client(patient, base_url=url) as client:
                        client.get("/")
                    time.sleep(0.02)
            wires.mend()
            with http.client(patient, base_url=url) as client:
                assert client.get("/").content == b"here"
        finally:
            wires.close()
