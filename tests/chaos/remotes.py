"""The remotes of the chaos runs: SOAP ERP, CRM and helpdesk in a process that nobody kills.

`python -m tests.chaos.remotes FOLDER CUSTOMERS HUB_URL` serves until its standard input is closed.
Each line of that is an order to it: `{"ahead_s": 7200}` sets all clocks, `{"stock": {"SKU": 0}}`
counts the warehouse anew. Their books lie in files; what happened is counted there, never in the
hub, which reaches them over the lines of `wires`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from middleware.contract import http
from middleware.contract.actions import Operation
from middleware.sandbox import crm, desk, erp
from middleware.sandbox.server import SandboxServer
from middleware.sandbox.world import World, build
from tests.chaos.wires import Wires

ROOT = Path(__file__).parents[2]
MARKER = "[amends:"
STOCK = 1_000_000
MESSAGES_A_MINUTE = 1_000_000

WRITES = {
    "erp": "CreateReplacementOrder",
    "crm": "POST /services/data",
    "desk": "POST /api/v1/accounts",
}
"""What the fault scripts match: the write that each remote is sent."""
TAKING_BACK = {"erp": "CancelOrder", "crm": "PATCH /services/data"}
READS = {
    "erp": ("FindOrderByRef", "GetOrder"),
    "crm": ("GET /services/data",),
    "desk": ("GET /api/v1/accounts",),
}
LIES = {
    "erp": {"masked:duplicate": 0.03, "masked:error": 0.03, "masked:busy": 0.02},
    "crm": {
        "masked:duplicate_value": 0.03,
        "masked:unknown": 0.02,
        "masked:html_after": 0.02,
        "masked:lock": 0.02,
        "masked:false": 0.03,
    },
    "desk": {"masked:after_commit": 0.05},
}
"""What each remote says that is not so, or, as `false` of the CRM, a refusal that is lifted later.
See the sandboxes for what each means."""

SCARCE, GONE = "LAMP-101", "BULB-600"
"""A product that is out of stock now and then, and one that never comes in again."""
REFUSALS = frozenset({"OUT_OF_STOCK", "FIELD_CUSTOM_VALIDATION_EXCEPTION"})
"""The codes of what a remote here may refuse for good."""


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
class TrytonAt:
    """A real Tryton in the ERP's place, and how patient the hub is with it."""

    url: str
    database: str
    user: str
    total_s: float
    settle_s: float


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
    erp_password: str = "sandbox"
    cases_to: str = "crm"
    tryton: TrytonAt | None = None


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
            now=lambda: time.time() + org.ahead.total_seconds(),
        )
        stack.callback(helpdesk.close)
        erp_server = stack.enter_context(SandboxServer(books))
        crm_server = stack.enter_context(SandboxServer(org, tls=True, tls_dir=home))
        desk_server = stack.enter_context(SandboxServer(helpdesk))
        stack.callback(_tell_errors, erp_server, crm_server, desk_server)
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
        for line in sys.stdin:
            order = json.loads(line)
            for sku, stock in order.get("stock", {}).items():
                books.ledger.restock(sku, stock)
            if "ahead_s" in order:
                books.ledger.ahead = org.ahead = timedelta(seconds=order["ahead_s"])


def _tell_errors(*servers: SandboxServer) -> None:
    """Print what the sandbox's own applications raised."""
    for server in servers:
        for error in server.errors:
            print(error, file=sys.stderr, flush=True)


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
    """The remotes' process, the lines to it, its faults and its books, as seen from the harness."""

    def __init__(
        self,
        folder: Path,
        *,
        customers: int,
        hub: str,
        seed: int = 1,
        instead: Mapping[str, Callable[[], int]] | None = None,
    ) -> None:
        """`instead` of a remote something else may listen, on the port that it answers."""
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
        near = Addresses(**answer)
        self._world = build(customers=customers)
        limits = http.Limits(connect_s=10, total_s=60)
        self._clients: dict[str, httpx2.Client] = {
            "erp": http.client(limits, base_url=near.erp),
            "crm": http.client(limits, base_url=near.crm, ca_file=near.crm_ca),
            "desk": http.client(limits, base_url=near.desk),
        }
        self._lock = threading.Lock()
        ends = {name: port_of(getattr(near, name)) for name in WRITES}
        ends |= {name: boot() for name, boot in (instead or {}).items()}
        self.wires = Wires(ends, seed=seed)
        ports = self.wires.ports
        self.at = replace(
            near,
            erp=moved(near.erp, ports["erp"]),
            wsdl=moved(near.wsdl, ports["erp"]),
            crm=moved(near.crm, ports["crm"]),
            desk=moved(near.desk, ports["desk"]),
        )
        """Where the hub finds them: at the other end of the lines."""
        self.jumps = 0
        self._cases: dict[str, int] = {}
        self._closed: dict[str, int] = {}

    def close(self) -> None:
        self.wires.close()
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

    def _order(self, **what: Any) -> None:
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()

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
        """Let writes and look-ups suffer faults with these probabilities, from now on.

        `seconds` is how late a late commit comes, and how long an answer hangs. With `lies` the
        remotes also answer what is not so, and refuse some of what they are asked.
        """
        for number, remote in enumerate(WRITES):
            self.calm(remote)
            rules = [(WRITES[remote], writes | (LIES[remote] if lies else {}))]
            if remote in TAKING_BACK:
                rules.append((TAKING_BACK[remote], writes))
            rules += [(match, reads) for match in READS[remote]]
            for match, weights in rules:
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

    def recover(self) -> None:
        """All is well again, the lines included."""
        self.calm()
        self.wires.mend()

    def stock(self, sku: str, count: int = STOCK) -> None:
        """Count the warehouse anew."""
        self._order(stock={sku: count})

    def jump(self, ahead_s: float) -> None:
        """Set the clocks of all remotes so far ahead, or back."""
        self.jumps += 1
        self._order(ahead_s=ahead_s)

    def faults(self) -> dict[str, int]:
        """How often each fault has struck, over all remotes and the lines to them."""
        total = dict(self.wires.struck)
        if self.jumps:
            total["clock_jumped"] = self.jumps
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
        self._cases, self._closed = self.cases(), self.cases("Amends_Withdrawn__c")

    def errors(self) -> int:
        """How often the sandbox itself raised; it prints them when it is closed."""
        return sum(self._ask(remote, "/_sandbox/stats")["errors"] for remote in WRITES)

    # --- books -----------------------------------------------------------------------------------

    def write(self, customer: str, text: str) -> int:
        """Let a customer write to the helpdesk; answers the conversation."""
        who = self._world.customer(customer)
        contact = {"name": who.name, "email": who.email, "identifier": who.number}
        body = {"contact": contact, "text": text, "conversation": "new"}
        return int(self._ask("desk", "/_sandbox/write", body)["conversation"])

    refusals = REFUSALS

    def counted(self, step: Mapping[str, Any], operation: Operation, key: str, because: str) -> int:
        """Rows under a key, as of when all was settled; see `audit.Books`."""
        match operation, step["connection"]:
            case Operation.REPLACEMENT_ORDER, _:
                return self.orders(key)
            case Operation.CASE, _:
                return self._cases.get(key, 0)
            case Operation.NOTE, _:
                return self.notes(f"{MARKER}{key}]")
            case Operation.WITHDRAWAL, "erp":
                return self.withdrawals(key)
            case Operation.WITHDRAWAL, "crm":
                return self._closed.get(f"other: {because}", 0)
        raise ValueError(f"nobody counts a {operation} in {step['connection']}")

    def totals(self) -> dict[Operation, int]:
        """All rows that the hub may have made."""
        return {
            Operation.REPLACEMENT_ORDER: self.all_orders(),
            Operation.CASE: sum(self._cases.values()),
            Operation.NOTE: self.notes(MARKER),
            Operation.WITHDRAWAL: self.all_withdrawals() + sum(self._closed.values()),
        }

    def orders(self, key: str) -> int:
        """Replacement orders that bear this key."""
        return int(self._ask("erp", f"/_sandbox/rows?ref={key}")["orders"])

    def withdrawals(self, key: str) -> int:
        """Rows of the ERP that were taken back under this key."""
        return int(self._ask("erp", f"/_sandbox/rows?ref={key}")["withdrawals"])

    def all_withdrawals(self) -> int:
        """Orders that were taken back, whatever for."""
        return int(self._ask("erp", "/_sandbox/rows")["cancellations"])

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


def port_of(url: str) -> int:
    """The port in a URL."""
    port = urlsplit(url).port
    assert port is not None
    return port


def moved(url: str, port: int) -> str:
    """The same URL at another port of this machine."""
    return urlsplit(url)._replace(netloc=f"127.0.0.1:{port}").geturl()


if __name__ == "__main__":
    main(*sys.argv[1:])
