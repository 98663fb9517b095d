"""The remotes of the chaos runs: SOAP ERP, CRM and helpdesk in a process that nobody kills.

`python -m tests.chaos.remotes FOLDER CUSTOMERS HUB_URL` serves until its standard input is closed.
Their books lie in files; what happened is counted there, never in the hub.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2

from middleware.contract import http
from middleware.sandbox import crm, desk, erp
from middleware.sandbox.server import SandboxServer
from middleware.sandbox.world import World, build

ROOT = Path(__file__).parents[2]
STOCK = 1_000_000
MESSAGES_A_MINUTE = 1_000_000

WRITES = {
    "erp": "CreateReplacementOrder",
    "crm": "POST /services/data",
    "desk": "POST /api/v1/accounts",
}
"""What the fault scripts match: the write that each remote is sent."""
READS = {"erp": "FindOrderByRef", "crm": "GET /services/data", "desk": "GET /api/v1/accounts"}


@dataclass(frozen=True)
class Line:
    """One order line that may be put right once."""

    order: int
    number: str
    customer: str
    line: str
    sku: str
    unit: str | None


@dataclass(frozen=True)
class Addresses:
    erp: str
    wsdl: str
    crm: str
    crm_ca: str
    desk: str
    desk_token: str
    desk_secret: str
    lines: list[Line]


def main(folder: str, customers: str, hub: str) -> None:
    home = Path(folder)
    world = build(customers=int(customers), now=datetime.now(UTC).replace(microsecond=0))
    with ExitStack() as stack:
        books = erp.build_erp(world, home / "erp.sqlite")
        stack.callback(books.close)
        for product in world.products:
            books.ledger.restock(product.sku, STOCK)
        org = crm.open_crm(world, state_path=home / "crm.sqlite", daily_limit=10_000_000)
        stack.callback(org.close)
        helpdesk = desk.build_desk(
            home / "desk.sqlite",
            f"{hub}/v1/inlets/desk",
            messages_a_minute=MESSAGES_A_MINUTE,
        )
        stack.callback(helpdesk.close)
        erp_server = stack.enter_context(SandboxServer(books))
        crm_server = stack.enter_context(SandboxServer(org, tls=True, tls_dir=home))
        desk_server = stack.enter_context(SandboxServer(helpdesk))
        addresses = Addresses(
            erp=erp_server.url,
            wsdl=f"{erp_server.url}{erp.PATH_11}?wsdl",
            crm=crm_server.url,
            crm_ca=str(crm_server.ca_file),
            desk=desk_server.url,
            desk_token=desk.TOKEN,
            desk_secret=desk.SECRET,
            lines=_lines(world, books),
        )
        print(json.dumps(asdict(addresses)), flush=True)
        sys.stdin.read()


def _lines(world: World, books: erp.Erp) -> list[Line]:
    """Lines that the ERP accepts a replacement of."""
    found = []
    for order in world.orders:
        booked = books.ledger.order_by_number(order.number)
        if booked is None or order.status in ("draft", "cancelled"):
            continue
        found += [
            Line(
                order=booked["id"],
                number=order.number,
                customer=order.customer,
                line=str(line["line"]),
                sku=line["sku"],
                unit={"EA": "piece", "BX": "box", "KG": "kg"}.get(line["unit"]),
            )
            for line in booked["lines"]
            if Decimal(line["quantity"]) >= 1
        ]
    return found


class Remotes:
    """The remotes' process, its faults and its books, as seen from the harness."""

    def __init__(self, folder: Path, *, customers: int, hub: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.remotes", str(folder), str(customers), hub],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        told = self._process.stdout.readline()
        if not told:
            raise RuntimeError(f"the remotes did not start: status {self._process.wait()}")
        answer = json.loads(told)
        answer["lines"] = [Line(**line) for line in answer["lines"]]
        self.at = Addresses(**answer)
        self._world = build(customers=customers)
        limits = http.Limits(connect_s=10, total_s=60)
        self._clients: dict[str, httpx2.Client] = {
            "erp": http.client(limits, base_url=self.at.erp),
            "crm": http.client(limits, base_url=self.at.crm, ca_file=self.at.crm_ca),
            "desk": http.client(limits, base_url=self.at.desk),
        }
        self._lock = threading.Lock()

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, remote: str, path: str, body: Any = None) -> Any:
        with self._lock:
            client = self._clients[remote]
            answer = client.get(path) if body is None else client.post(path, json=body)
        answer.raise_for_status()
        return answer.json()

    # --- faults ----------------------------------------------------------------------------------

    def fail(
        self, writes: dict[str, float], reads: dict[str, float], *, seed: int, seconds: float
    ) -> None:
        """Let writes and look-ups suffer faults with these probabilities, from now on.

        `seconds` is how late a late commit comes, and how long an answer hangs.
        """
        for number, remote in enumerate(WRITES):
            self.calm(remote)
            for match, weights in ((WRITES[remote], writes), (READS[remote], reads)):
                rule = {
                    "weights": weights,
                    "match": match,
                    "seed": seed + number,
                    "seconds": seconds,
                }
                self._ask(remote, "/_sandbox/faults", {"chances": rule})

    def slow(self, seconds: float) -> None:
        """Let every write take that long, and succeed."""
        for remote, match in WRITES.items():
            self.calm(remote)
            rule = {"weights": {"hang_after": 1.0}, "match": match, "seed": 1, "seconds": seconds}
            self._ask(remote, "/_sandbox/faults", {"chances": rule})

    def calm(self, *remotes: str) -> None:
        """No more faults."""
        for remote in remotes or WRITES:
            self._ask(remote, "/_sandbox/faults", {"clear": True})

    def faults(self) -> dict[str, int]:
        """How often each fault has struck, over all remotes."""
        total: dict[str, int] = {}
        for remote in WRITES:
            for name, count in self._ask(remote, "/_sandbox/stats")["faults"].items():
                total[name] = total.get(name, 0) + count
        return total

    def settled(self, *, seconds: float = 60) -> None:
        """Wait until no late commit is to come."""
        end = time.monotonic() + seconds
        while any(self._ask(remote, "/_sandbox/stats")["pending"] for remote in WRITES):
            if time.monotonic() > end:
                raise RuntimeError("late commits that never come")
            time.sleep(0.05)
        broken = {r: n for r in WRITES if (n := self._ask(r, "/_sandbox/stats")["errors"])}
        if broken:
            raise RuntimeError(f"the sandbox itself is broken: {broken}")

    # --- books -----------------------------------------------------------------------------------

    def write(self, customer: str, text: str) -> int:
        """Let a customer write to the helpdesk; answers the conversation."""
        who = self._world.customer(customer)
        contact = {"name": who.name, "email": who.email, "identifier": who.number}
        body = {"contact": contact, "text": text, "conversation": "new"}
        return int(self._ask("desk", "/_sandbox/write", body)["conversation"])

    def orders(self, key: str) -> int:
        """Replacement orders that bear this key."""
        return int(self._ask("erp", f"/_sandbox/rows?ref={key}")["orders"])

    def all_orders(self) -> int:
        """Replacement orders, whatever they bear."""
        return int(self._ask("erp", "/_sandbox/rows")["replacement_orders"])

    def cases(self, field: str = crm.KEY_FIELD) -> dict[str, int]:
        """How many cases bear each key, or whatever stands in another field."""
        rows = self._ask("crm", f"/_sandbox/rows?object=Case&field={field}")
        counts: dict[str, int] = rows["counts"]
        return counts

    def notes(self, marker: str) -> int:
        """Messages that hold this text."""
        return int(self._ask("desk", f"/_sandbox/rows?marker={marker}")["count"])


if __name__ == "__main__":
    main(*sys.argv[1:])
