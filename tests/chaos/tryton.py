"""A real Tryton in the ERP's place, behind a proxy that cuts lines once Tryton has committed.

Its books are counted through its own API, as its desktop client would, by nothing of the adapter's.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import httpx2

from middleware.contract.actions import Operation
from middleware.contract.canonical import Ref
from middleware.sandbox.world import build
from tests.adapters.tryton.peer import Rpc, TrytonPeer, server
from tests.chaos.remotes import Line, Remotes, TrytonAt, port_of

CUSTOMERS = 12
"""As many as the world has that Tryton is seeded with."""
TOTAL_S = 4.0
"""A confirmation takes half a second of one core, which others may be using too."""
LATE_S = 2.0
SETTLE_S = 8.0
COMMITTED = {
    "drop_after": 0.08,
    "drop_after:reset": 0.05,
    "cut_after": 0.04,
    "hang_after": 0.02,
    "late_commit": 0.03,
    "garbage_after": 0.02,
    "masked:crash": 0.02,
    "drop_before": 0.03,
    "unavailable": 0.03,
    "throttle": 0.01,
}
"""What becomes of a call that writes; mostly Tryton has committed it."""
LOOKED_AT = {"unavailable": 0.02, "drop_before": 0.02}


class TrytonRemotes(Remotes):
    """CRM and helpdesk of the sandbox, and Tryton for orders and cases."""

    def __init__(self, folder: Path, *, hub: str, seed: int = 1) -> None:
        super().__init__(
            folder,
            customers=CUSTOMERS,
            hub=hub,
            seed=seed,
            instead={"erp": self._boot},
        )
        tryton = self.peer.tryton
        self.at = replace(
            self.at,
            erp_password=tryton.password,
            cases_to="erp",
            lines=self._lines_of_sales(),
            tryton=TrytonAt(
                url=f"http://127.0.0.1:{self.wires.ports['erp']}",
                database=tryton.database,
                user=tryton.user,
                total_s=TOTAL_S,
                settle_s=SETTLE_S,
            ),
        )
        self._before = self.totals()

    def _boot(self) -> int:
        self.peer = TrytonPeer(server())
        return port_of(self.peer.toxic.url)

    def close(self) -> None:
        super().close()
        self.peer.close()

    def _lines_of_sales(self) -> list[Line]:
        """Lines of sales that have gone out, one of each sale: Tryton knows them by their ids."""
        found = []
        for order in build(customers=CUSTOMERS).orders:
            if order.status not in ("delivered", "shipped"):
                continue
            sale = self.peer.manifest["sales"][order.number]
            (line,) = self.peer.lines(order.number)
            found.append(
                Line(
                    order=sale,
                    number=order.number,
                    customer=order.customer,
                    line=line.line,
                    sku=line.sku,
                    unit=None,
                )
            )
        return found

    # --- faults ----------------------------------------------------------------------------------

    def fail(
        self,
        writes: dict[str, float],
        reads: dict[str, float],
        *,
        seed: int,
        seconds: float,
        lies: bool = True,
    ) -> None:
        super().fail(writes, reads, seed=seed, seconds=seconds, lies=lies)
        faults = self.peer.toxic.faults
        faults.clear()
        faults.chances(COMMITTED, match="WRITE", seed=seed, seconds=LATE_S)
        faults.chances(LOOKED_AT, match="READ", seed=seed + 1)

    def calm(self, *remotes: str) -> None:
        super().calm(*remotes)
        if not remotes:
            self.peer.toxic.faults.clear()

    def slow(self, seconds: float) -> None:
        super().slow(seconds)
        self.peer.toxic.faults.clear()

    def faults(self) -> dict[str, int]:
        total = super().faults()
        for name, count in self.peer.toxic.faults.fired.items():
            total[f"tryton:{name}"] = count
        return total

    def settled(self, *, seconds: float = 60) -> None:
        if not self.peer.toxic.settle(seconds):
            raise RuntimeError("late commits of Tryton that never come")
        if self.peer.toxic.errors:
            raise RuntimeError(f"the proxy is broken: {self.peer.toxic.errors[:3]}")
        super().settled(seconds=seconds)

    # --- books -----------------------------------------------------------------------------------

    refusals: frozenset[str] = frozenset()
    """Nothing here gives Tryton a reason to refuse."""

    def counted(self, step: Mapping[str, Any], operation: Operation, key: str, because: str) -> int:
        match operation:
            case Operation.REPLACEMENT_ORDER:
                return self.sales(key)
            case Operation.CASE:
                return self._count("sale.complaint", ["reference", "=", key])
            case Operation.WITHDRAWAL:
                receipt = step["receipt"]
                return self.peer.withdrawn(Ref.parse(receipt["ref"])) if receipt else 0
        return super().counted(step, operation, key, because)

    def totals(self) -> dict[Operation, int]:
        ours = ["reference", "like", "am-%"]
        found = {
            Operation.REPLACEMENT_ORDER: self._count("sale.sale", ours),
            Operation.CASE: self._count("sale.complaint", ours),
            Operation.NOTE: super().totals()[Operation.NOTE],
        }
        # Other tests of the same process may have left theirs.
        before = getattr(self, "_before", {})
        return {operation: count - before.get(operation, 0) for operation, count in found.items()}

    def sales(self, reference: str) -> int:
        """Sales that bear this reference, in whatever state."""
        return self._count("sale.sale", ["reference", "=", reference])

    def _count(self, model: str, *domain: Sequence[Any]) -> int:
        return int(self.peer.rpc.call(f"model.{model}.search_count", list(map(list, domain))))


class _Through(NamedTuple):
    """Tryton as a client without a hub reaches it: through the proxy."""

    url: str
    database: str


def naive(remotes: TrytonRemotes, count: int, *, seed: int) -> int:
    """A client that creates a sale again after a lost answer; answers how many are too many."""
    peer = remotes.peer
    faults = peer.toxic.faults
    faults.clear()
    client = Rpc(cast("Any", _Through(peer.toxic.url, peer.tryton.database)))
    faults.chances(COMMITTED, match="WRITE", seed=seed, seconds=LATE_S)
    party = peer.manifest["parties"]["C-1009"]
    address = peer.rows("SELECT id FROM party_address WHERE party = ?", party)[0][0]
    line = {
        "type": "line",
        "product": peer.manifest["products"]["MUGS-440"],
        "unit": 1,
        "quantity": 1.0,
        "unit_price": {"__class__": "Decimal", "decimal": "42.00"},
    }
    marks = [f"naive-{secrets.token_hex(8)}" for _ in range(count)]
    for mark in marks:
        sale = {
            "party": party,
            "invoice_address": address,
            "shipment_address": address,
            "reference": mark,
            "lines": [["create", [line]]],
        }
        for _ in range(25):
            try:
                client.call("model.sale.sale.create", [sale])
            except (httpx2.HTTPError, ValueError, AssertionError):
                time.sleep(0.05)
            else:
                break
    client.close()
    faults.clear()
    peer.toxic.settle()
    return sum(max(remotes.sales(mark) - 1, 0) for mark in marks)
