"""The sandbox's SOAP ERP as a peer of the conformance suite."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from pydantic import SecretStr

from adapters.soap import grammar
from adapters.soap.adapter import class_for
from middleware.contract.actions import (
    CancellationRequest,
    CreditRequest,
    Operation,
    Reason,
    ReplacementOrderRequest,
    ReturnRequest,
    Speed,
    StoreCreditRequest,
    Then,
    WantedLine,
    WithdrawalRequest,
)
from middleware.contract.canonical import Kind, Money, Ref
from middleware.contract.capabilities import Clue, Connection
from middleware.contract.mapping import MappingSet
from middleware.sandbox import ledger
from middleware.sandbox.erp import PATH_11, build_erp
from middleware.sandbox.server import Fault as Scripted
from middleware.sandbox.server import FaultScript, SandboxServer
from middleware.sandbox.world import build
from tests.conformance.peer import Fault, Peer, Samples

ROOT = Path(__file__).parents[3]
MAPPINGS = ROOT / "mappings" / "sandbox_erp"
PASSWORD = "erp-password-5b1e8d42"
TOTAL_S = 3.0
NAME = "erp"

MAPPING_SET = MappingSet.load(MAPPINGS)
ADAPTER = class_for(grammar.read(MAPPINGS / "bindings.yaml", MAPPING_SET))
"""What the bindings make of the SOAP adapter; the class by itself can do nothing."""

_FAULTS = {
    Fault.LOST_ANSWER: "drop_after",
    Fault.DROPPED_BEFORE: "drop_before",
    Fault.THROTTLED: "throttle",
    Fault.UNAVAILABLE: "unavailable",
    Fault.SLOW: "hang_after",
    Fault.MALFORMED: "garbage_after",
    Fault.UNAUTHORISED: "masked:unauthorised",
    Fault.DUPLICATE: "masked:duplicate",
}
_READS = ("Get", "Find", "List", "Simulate")
_WRITES = ("Create", "Cancel", "Void")
_ROWS = {
    Operation.REPLACEMENT_ORDER: "orders",
    Operation.RETURN: "returns",
    Operation.CREDIT: "credits",
    Operation.STORE_CREDIT: "vouchers",
    Operation.CANCELLATION: "cancellations",
}
_NEXT = {
    Operation.REPLACEMENT_ORDER: "order",
    Operation.RETURN: "return",
    Operation.CREDIT: "credit",
    Operation.STORE_CREDIT: "voucher",
}
"""What the ERP calls what a write makes, where it goes on by itself."""
_TABLES = {Kind.ORDER: "orders", Kind.RETURN: "returns", Kind.INVOICE: "invoices"}


class _Once(FaultScript):
    """Of everything that is armed, one request suffers one fault."""

    def next(self, line: str) -> Scripted | None:
        fault = super().next(line)
        if fault is not None:
            self.clear()
        return fault


class ErpPeer(Peer):
    """The sandbox's ERP over real sockets."""

    adapter: type[Any] = ADAPTER
    faults = frozenset({*_FAULTS, Fault.MASKED})
    hurried: ClassVar[Mapping[str, Any]] = {"total_s": TOTAL_S}

    def __init__(self, folder: Path) -> None:
        self.world = build()
        self.erp = build_erp(self.world, folder / "erp.sqlite", password=PASSWORD)
        self.server = SandboxServer(self.erp)
        self.server.faults = _Once()
        self.server.start()
        self.cache = folder / "wsdl"
        self.erp.ledger.restock("BULB-600", 100_000)
        (self.order,) = [
            self.erp.ledger.order_by_number(order.number)
            for order in self.world.orders_of("C-1001", status="delivered")[:1]
        ]

    def connection(self, **settings: Any) -> Connection:
        return Connection(
            name=NAME,
            settings={
                "wsdl": f"{self.server.url}{PATH_11}?wsdl",
                "bindings": MAPPINGS / "bindings.yaml",
                "cache_dir": self.cache,
                "on_premise": True,
                "auth": "usernametoken",
                "username": "amends",
                "connect_s": 30,
                "total_s": 60,
                **settings,
            },
            secrets={"password": SecretStr(PASSWORD)},
            mappings=MAPPING_SET,
        )

    def ref(self, kind: Kind, row_id: object) -> Ref:
        return Ref(connection=NAME, kind=kind, id=str(row_id))

    def line(self, quantity: str = "1", sku: str = "BULB-600", unit: str = "box") -> WantedLine:
        """A line of the known order, to be answered with something that is in stock."""
        assert self.order is not None
        origin = str(self.order["lines"][0]["line"])
        return WantedLine(line=origin, sku=sku, quantity=Decimal(quantity), unit=unit)

    def open_order(self) -> int:
        """An order that can still be cancelled."""
        assert self.order is not None
        line = self.order["lines"][0]
        made = self.erp.ledger.create_replacement(
            ledger.Request(
                ref=f"other-{uuid.uuid4().hex}",
                order=self.order["id"],
                customer=None,
                reason="R99",
                note=None,
                lines=(ledger.WantedLine(line["line"], "BULB-600", Decimal(1), "BX"),),
            )
        )
        return int(made["id"])

    def colleague(self, kind: str, lines: tuple[WantedLine, ...] = (), **more: Any) -> int:
        """What somebody makes for the known order without asking the hub."""
        assert self.order is not None
        units = {"piece": "EA", "box": "BX", "kg": "KG"}
        wanted = tuple(
            ledger.WantedLine(int(one.line), one.sku, one.quantity, units[one.unit or "piece"])
            for one in lines
        )
        order: int = self.order["id"]
        asked = ledger.Request(f"desk-{uuid.uuid4().hex}", order, None, "R99", None, wanted, **more)
        return int(self.erp.ledger.book(kind, asked)["id"])

    def samples(self) -> Samples:
        assert self.order is not None
        order = self.ref(Kind.ORDER, self.order["id"])
        account = self.ref(Kind.ACCOUNT, "C-1001")
        cancellable = self.ref(Kind.ORDER, self.open_order())
        reason = Reason.DAMAGED
        return Samples(
            known_clue=Clue(emails=("maria.schmidt@example.com",)),
            known_account=account,
            known_contact=self.ref(Kind.CONTACT, "C-1001"),
            known_order=order,
            known_order_number=self.order["number"],
            requests={
                Operation.REPLACEMENT_ORDER: ReplacementOrderRequest(
                    order=order,
                    account=account,
                    lines=(self.line(),),
                    speed=Speed.RUSH,
                    reason=reason,
                    note="Arrived broken.",
                ),
                Operation.RETURN: ReturnRequest(
                    order=order, lines=(self.line(),), reason=reason, then=Then.NOTHING
                ),
                Operation.CREDIT: CreditRequest(
                    order=order, amount=Money(amount=Decimal("0.01"), currency="EUR"), reason=reason
                ),
                Operation.STORE_CREDIT: StoreCreditRequest(
                    order=order,
                    account=account,
                    amount=Money(amount=Decimal("0.01"), currency="EUR"),
                    reason=reason,
                ),
                Operation.CANCELLATION: CancellationRequest(order=cancellable),
                Operation.WITHDRAWAL: WithdrawalRequest(
                    of=self.ref(Kind.ORDER, self.open_order()),
                    made_by=Operation.REPLACEMENT_ORDER,
                    made_under="amends-replaced",
                ),
            },
            impossible={
                Operation.REPLACEMENT_ORDER: ReplacementOrderRequest(
                    order=order, lines=(self.line(sku="SPKR-520", unit="piece"),)
                ),
                Operation.RETURN: ReturnRequest(
                    order=cancellable,
                    lines=(WantedLine(line="10", sku="BULB-600", quantity=Decimal(1), unit="box"),),
                ),
                Operation.CREDIT: CreditRequest(
                    order=order, amount=Money(amount=Decimal(100_000), currency="EUR")
                ),
                Operation.STORE_CREDIT: StoreCreditRequest(
                    order=order, amount=Money(amount=Decimal(100_000), currency="EUR")
                ),
                Operation.CANCELLATION: CancellationRequest(order=order),
                Operation.WITHDRAWAL: WithdrawalRequest(
                    of=order, made_by=Operation.REPLACEMENT_ORDER, made_under="amends-replaced"
                ),
            },
        )

    def count(self, operation: Operation, key: str) -> int:
        return self.erp.ledger.rows_by_ref(key)[_ROWS[operation]]

    def withdrawn(self, of: Ref) -> int:
        counting = f"SELECT count(*) AS n FROM {_TABLES[of.kind]} WHERE id = ? AND status = ?"
        return int(self.erp.ledger._all(counting, of.id, "CANCELLED")[0]["n"])

    def too_late(self, made_by: Operation, of: Ref) -> bool:
        if made_by in _NEXT:
            self.erp.ledger.advance(_NEXT[made_by], int(of.id))
        return made_by in _NEXT

    def arm(self, fault: Fault, *, write: bool) -> AbstractContextManager[None]:
        """The lie about a write is an error after it was booked; about a read, a login page."""
        name = _FAULTS.get(fault) or ("masked:error" if write else "masked:login")
        return self._armed(name, _WRITES if write else _READS)

    @contextmanager
    def _armed(self, name: str, operations: tuple[str, ...]) -> Iterator[None]:
        for operation in operations:
            match = f"POST {PATH_11} {operation}"
            self.server.faults.arm(name, match=match, seconds=TOTAL_S + 30)
        try:
            yield
        finally:
            self.server.faults.clear()

    def touch(self, kind: Kind) -> Ref:
        theirs = "customer" if kind in (Kind.ACCOUNT, Kind.CONTACT) else kind.value
        if kind is Kind.RETURN:
            self.colleague("return", (self.line(),))
        return self.ref(kind, self.erp.ledger.touch(theirs))

    def close(self) -> None:
        self.server.stop()
        self.erp.close()


def open_peer(tmp_path: Path) -> Peer:
    return ErpPeer(tmp_path)
