"""The memory adapter's remote, with every fault that the suite knows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from pydantic import SecretStr

from adapters.memory import remote as vendor
from adapters.memory.adapter import MemoryAdapter
from adapters.memory.remote import CallBackStatus, Remote
from middleware.contract.actions import (
    CallBackRequest,
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    NoteRequest,
    Operation,
    ReplacementOrderRequest,
    ReturnRequest,
    StoreCreditRequest,
    WantedLine,
    WithdrawalRequest,
)
from middleware.contract.canonical import (
    CANONICAL,
    Account,
    Contact,
    Invoice,
    InvoiceStatus,
    Kind,
    Money,
    Order,
    OrderLine,
    OrderStatus,
    Product,
    Record,
    Ref,
    ReturnStatus,
    Shipment,
)
from middleware.contract.capabilities import Clue, Connection
from middleware.contract.mapping import MappingSet
from tests.conformance.peer import Fault, Peer, Samples

TOKEN = "memory-canary-5d0c3f9a"
PATIENCE_S = 0.3

_FAULTS: dict[Fault, tuple[vendor.Fault, vendor.Phase]] = {
    Fault.LOST_ANSWER: (vendor.Fault.DROP, "after"),
    Fault.DROPPED_BEFORE: (vendor.Fault.DROP, "before"),
    Fault.THROTTLED: (vendor.Fault.BUSY, "before"),
    Fault.UNAVAILABLE: (vendor.Fault.DOWN, "before"),
    Fault.SLOW: (vendor.Fault.SLOW, "after"),
    Fault.MALFORMED: (vendor.Fault.GARBAGE, "after"),
    Fault.MASKED: (vendor.Fault.MASKED, "after"),
    Fault.DUPLICATE: (vendor.Fault.DUPLICATE, "after"),
    Fault.UNAUTHORISED: (vendor.Fault.DENIED, "before"),
}
_TOO_LATE = {
    Operation.REPLACEMENT_ORDER: OrderStatus.SHIPPED,
    Operation.RETURN: ReturnStatus.RECEIVED,
    Operation.CREDIT: InvoiceStatus.PAID,
    Operation.STORE_CREDIT: InvoiceStatus.PAID,
    Operation.CALL_BACK: CallBackStatus.DONE,
}
PRICE = Money(amount=Decimal("12.50"), currency="EUR")
_remotes = itertools.count(1)


class MemoryPeer(Peer):
    adapter = MemoryAdapter
    faults = frozenset(_FAULTS)
    patience_s = 5.0

    def __init__(self) -> None:
        self.name = f"shop-{next(_remotes)}"
        self.remote = Remote.named(self.name)
        self.remote.token = TOKEN
        self.account = Ref(connection=self.name, kind=Kind.ACCOUNT, id="A-1")
        self.contact = Ref(connection=self.name, kind=Kind.CONTACT, id="C-1")
        self._orders = itertools.count(1)
        self.remote.put(
            Account(ref=self.account, name="Mara Lindt", emails=("mara@example.com",)),
            Contact(
                ref=self.contact,
                given_name="Mara",
                family_name="Lindt",
                emails=("mara@example.com",),
                phones=("+493023125001",),
                account=self.account,
            ),
            Product(ref=Ref(connection=self.name, kind=Kind.PRODUCT, id="P-1"), sku="MUG-RED"),
        )
        self.order = self._new_order(OrderStatus.DELIVERED)
        self.remote.put(
            Shipment(ref=Ref(connection=self.name, kind=Kind.SHIPMENT, id="S-1"), order=self.order),
            Invoice(ref=Ref(connection=self.name, kind=Kind.INVOICE, id="I-1"), order=self.order),
        )

    def _new_order(self, status: OrderStatus) -> Ref:
        number = next(self._orders)
        ref = Ref(connection=self.name, kind=Kind.ORDER, id=f"O-{number}")
        self.remote.put(
            Order(
                ref=ref,
                number=f"SO-{number}",
                account=self.account,
                contact=self.contact,
                status=status,
                placed_at=datetime.now(UTC),
                total=PRICE.times(Decimal(2)),
                lines=(OrderLine(id="1", sku="MUG-RED", quantity=Decimal(2), unit_price=PRICE),),
            )
        )
        return ref

    def connection(self) -> Connection:
        return Connection(
            name=self.name,
            settings={"timeout_s": PATIENCE_S},
            secrets={"token": SecretStr(TOKEN)},
            mappings=MappingSet.empty(),
        )

    def samples(self) -> Samples:
        line = WantedLine(line="1", sku="MUG-RED", quantity=Decimal(1))
        too_many = line.model_copy(update={"quantity": Decimal(99)})
        conversation = Ref(connection=self.name, kind=Kind.CONVERSATION, id="77")
        nowhere = Ref(connection=self.name, kind=Kind.CASE, id="nowhere")
        order = self.order
        return Samples(
            known_clue=Clue(emails=("MARA@example.com",)),
            known_contact=self.contact,
            known_account=self.account,
            known_order=order,
            known_order_number="SO-1",
            requests={
                Operation.REPLACEMENT_ORDER: ReplacementOrderRequest(order=order, lines=(line,)),
                Operation.RETURN: ReturnRequest(order=order, lines=(line,)),
                Operation.CREDIT: CreditRequest(order=order, lines=(line,)),
                Operation.CANCELLATION: CancellationRequest(
                    order=self._new_order(OrderStatus.CONFIRMED)
                ),
                Operation.STORE_CREDIT: StoreCreditRequest(order=order, amount=PRICE),
                Operation.CASE: CaseRequest(subject="Broken mug", contact=self.contact),
                Operation.CALL_BACK: self.call_back(contact=self.contact),
                Operation.NOTE: NoteRequest(on=conversation, text="A mug is on its way."),
                Operation.WITHDRAWAL: WithdrawalRequest(
                    of=self._new_order(OrderStatus.CONFIRMED),
                    made_by=Operation.REPLACEMENT_ORDER,
                    made_under="amends-replaced",
                ),
            },
            impossible={
                Operation.REPLACEMENT_ORDER: ReplacementOrderRequest(
                    order=order, lines=(too_many,)
                ),
                Operation.RETURN: ReturnRequest(order=order, lines=(too_many,)),
                Operation.CREDIT: CreditRequest(order=order, lines=(too_many,)),
                Operation.CANCELLATION: CancellationRequest(order=order),
                Operation.STORE_CREDIT: StoreCreditRequest(
                    order=order, amount=PRICE.times(Decimal(9))
                ),
                Operation.CASE: CaseRequest(subject="Broken mug", contact=nowhere),
                Operation.CALL_BACK: self.call_back(contact=nowhere),
                Operation.NOTE: NoteRequest(on=nowhere, text="Hello?"),
                Operation.WITHDRAWAL: WithdrawalRequest(
                    of=order, made_by=Operation.REPLACEMENT_ORDER, made_under="amends-replaced"
                ),
            },
        )

    def call_back(self, **more: Ref) -> CallBackRequest:
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        return CallBackRequest(
            subject="Talk about the mug",
            slot_from=tomorrow,
            slot_to=tomorrow + timedelta(hours=1),
            phone="+493023125001",
            **more,
        )

    def count(self, operation: Operation, key: str) -> int:
        return self.remote.count(operation, key)

    def withdrawn(self, of: Ref) -> int:
        return self.remote.withdrawn(of)

    def too_late(self, made_by: Operation, of: Ref) -> bool:
        if made_by not in _TOO_LATE:
            return False
        record = self.remote.get(of, Record)
        self.remote.put(record.model_copy(update={"status": _TOO_LATE[made_by]}))
        return True

    @contextmanager
    def arm(self, fault: Fault, *, write: bool) -> Iterator[None]:
        what, phase = _FAULTS[fault]
        self.remote.script.arm(what, write=write, phase=phase, seconds=PATIENCE_S * 2)
        try:
            yield
        finally:
            self.remote.script.disarm()

    def touch(self, kind: Kind) -> Ref:
        if kind is Kind.RETURN or kind is Kind.CASE:
            made = CANONICAL[kind](ref=Ref(connection=self.name, kind=kind, id=f"{kind}-1"))
            self.remote.put(made)
            return made.ref
        record = self.remote.all(CANONICAL[kind])[0]
        self.remote.put(record)
        return record.ref

    def close(self) -> None:
        """The remote is rows in this process."""


def open_peer(tmp_path: Path) -> MemoryPeer:
    return MemoryPeer()
