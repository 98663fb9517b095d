"""The remote itself: rows in memory, and a script of what goes wrong.

Nothing in here is the hub's. A test seeds it, breaks it and counts in it:

    remote = Remote.named("shop")
    remote.put(contact, order)
    remote.script.arm(Fault.DROP, operation="case", phase="after")
    ...
    assert remote.count(Operation.CASE, key) == 1
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Literal, TypeVar

from middleware.contract.actions import (
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    NoteRequest,
    Operation,
    ReplacementOrderRequest,
    ReturnRequest,
)
from middleware.contract.canonical import (
    Case,
    CaseStatus,
    Invoice,
    InvoiceStatus,
    InvoiceType,
    Kind,
    Money,
    Order,
    OrderStatus,
    Record,
    Ref,
    Return,
    ReturnStatus,
)

T = TypeVar("T")
Phase = Literal["before", "after", "late"]
Row = Record | NoteRequest


class Fault(StrEnum):
    """What the script can do to a call; `phase` says whether the remote did its work first."""

    DROP = "drop"
    """The line drops: no answer."""
    SLOW = "slow"
    """The answer takes `seconds`."""
    GARBAGE = "garbage"
    """The answer is not to be understood."""
    BUSY = "busy"
    DOWN = "down"
    DENIED = "denied"
    DUPLICATE = "duplicate"
    """The remote says that a row with our key exists."""
    MASKED = "masked"
    """The remote says that all is well and answers with a login page."""


class Refusal(Exception):
    """The remote answered with a code of its own instead of doing what was asked."""

    def __init__(self, code: str, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.field = code, message, field


@dataclass(frozen=True)
class Armed:
    fault: Fault
    operation: str | None
    write: bool | None
    phase: Phase
    seconds: float


@dataclass
class Script:
    """Faults that wait for their call. Threads may share it."""

    waiting: list[Armed] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(
        self,
        fault: Fault,
        *,
        operation: str | None = None,
        write: bool | None = None,
        phase: Phase = "before",
        times: int = 1,
        seconds: float = 1.0,
    ) -> None:
        """Let the next `times` matching calls suffer a fault.

        `operation` is what is called: `case`, `note`, … for a write, `find_case`, `read_order`,
        `changed_since`, … for a read; None matches all. `phase` is when the remote does its work:
        `before` faults strike before it, `after` faults when it is done, and with `late` the work
        is done `seconds` after the fault struck.
        """
        with self.lock:
            self.waiting += [Armed(fault, operation, write, phase, seconds)] * times

    def disarm(self) -> None:
        """Forget every fault that has not struck."""
        with self.lock:
            self.waiting.clear()

    def next_for(self, operation: str, *, write: bool) -> Armed | None:
        with self.lock:
            for armed in self.waiting:
                if armed.operation in (None, operation) and armed.write in (None, write):
                    self.waiting.remove(armed)
                    return armed
        return None


class Remote:
    """One remote system: its records, what was written under which key, and its script."""

    _named: ClassVar[dict[str, Remote]] = {}
    _naming: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, *, token: str | None = None) -> None:
        self.token = token
        """What a connection must present; None lets everybody in."""
        self.permissions = frozenset(Operation)
        """The writes that the token allows."""
        self.script = Script()
        self.calls: Counter[str] = Counter()
        self.log: list[tuple[Ref, bool]] = []
        """Every change in its order: which record, and whether it was deleted."""
        self._records: dict[Ref, Record] = {}
        self._written: dict[tuple[Operation, str], list[tuple[Ref, Row]]] = {}
        self._numbers = 1000
        self._lock = threading.RLock()

    @classmethod
    def named(cls, name: str) -> Remote:
        """The process's remote of this name, made when it is first asked for."""
        with cls._naming:
            return cls._named.setdefault(name, cls())

    # --- what tests and colleagues do to it -------------------------------------------------------

    def put(self, *records: Record) -> None:
        """Add records or change them, as somebody working in the remote does."""
        with self._lock:
            for record in records:
                changed = record.model_copy(update={"updated_at": datetime.now(UTC)})
                self._records[record.ref] = changed
                self.log.append((record.ref, False))

    def delete(self, ref: Ref) -> None:
        with self._lock:
            del self._records[ref]
            self.log.append((ref, True))

    def count(self, operation: Operation, key: str | None = None) -> int:
        """Rows that bear a key, or that any write of this operation made."""
        with self._lock:
            return sum(
                len(rows)
                for (made_by, bears), rows in self._written.items()
                if made_by is operation and key in (None, bears)
            )

    # --- what a vendor's interface offers ---------------------------------------------------------

    def serve(
        self,
        operation: str,
        work: Callable[[], T],
        *,
        write: bool,
        token: str | None,
        timeout_s: float,
    ) -> T:
        """Answer one call as the script wants it. Raises Refusal, or what a broken line raises."""
        with self._lock:
            self.calls[operation] += 1
        if self.token is not None and token != self.token:
            raise Refusal("denied", "the token is not known")
        armed = self.script.next_for(operation, write=write)
        if armed is None:
            return self._locked(work)
        answer = self._locked(work) if armed.phase == "after" else None
        if armed.phase == "late":
            threading.Timer(armed.seconds, self._locked, [work]).start()
        if armed.fault is Fault.SLOW:
            time.sleep(min(armed.seconds, timeout_s))
            if armed.seconds >= timeout_s:
                raise TimeoutError
            return self._locked(work) if answer is None else answer
        if armed.fault is Fault.DROP:
            raise ConnectionResetError
        if armed.fault is Fault.GARBAGE:
            raise ValueError("unexpected end of the answer")
        raise Refusal(armed.fault, f"scripted: {armed.fault}")

    def _locked(self, work: Callable[[], T]) -> T:
        with self._lock:
            return work()

    def all(self, kind: type[T]) -> list[T]:
        return [record for record in self._records.values() if isinstance(record, kind)]

    def get(self, ref: Ref, kind: type[T]) -> T:
        record = self._records.get(ref)
        if not isinstance(record, kind):
            raise Refusal("unknown", f"there is no {ref.kind} {ref.id}", field="ref")
        return record

    def changes(self, kind: Kind, after: int) -> list[tuple[int, Ref, bool]]:
        """Which records of a kind changed, each at its latest place in the log."""
        latest = {
            ref: (place, ref, deleted)
            for place, (ref, deleted) in enumerate(self.log, 1)
            if place > after and ref.kind is kind
        }
        return sorted(latest.values(), key=lambda change: change[0])

    def written(self, operation: Operation, key: str) -> list[tuple[Ref, Row]]:
        return list(self._written.get((operation, key), ()))

    def write(
        self, operation: Operation, request: Any, *, key: str, unique: bool, connection: str
    ) -> tuple[Ref, Row, bool]:
        """Do it; True at the end means that the row was there already (only where `unique`)."""
        if operation not in self.permissions:
            raise Refusal("denied", f"the token may not write a {operation}")
        rows = self._written.setdefault((operation, key), [])
        if unique and rows:
            return (*rows[0], True)
        self._numbers += 1
        row = _MAKERS[operation](self, request, key, connection, str(self._numbers))
        ref = (
            row.ref
            if isinstance(row, Record)
            else Ref(connection=connection, kind=Kind.NOTE, id=str(self._numbers))
        )
        rows.append((ref, row))
        if isinstance(row, Record):
            self.put(row)
        return ref, row, False

    def validate(self, operation: Operation, request: Any, *, connection: str) -> Row:
        """The row that a write would make; nothing is kept."""
        return _MAKERS[operation](self, request, "", connection, "preview")


# --- what each write makes, and why it may be refused --------------------------------------------


def _lines_in(order: Order, request: Any) -> None:
    known = {line.id: line.quantity for line in order.lines}
    for line in request.lines:
        if line.quantity > known.get(line.line, Decimal(0)):
            raise Refusal("invalid", "the order has no such line or not so many", field="lines")


def _replacement(
    remote: Remote, request: ReplacementOrderRequest, key: str, connection: str, number: str
) -> Order:
    original = remote.get(request.order, Order)
    _lines_in(original, request)
    wanted = {line.line: line for line in request.lines}
    return Order(
        ref=Ref(connection=connection, kind=Kind.ORDER, id=number),
        number=f"SO-{number}",
        reference=key,
        account=request.account or original.account,
        contact=original.contact,
        status=OrderStatus.CONFIRMED,
        placed_at=datetime.now(UTC),
        lines=tuple(
            line.model_copy(
                update={
                    "sku": wanted[line.id].sku,
                    "quantity": wanted[line.id].quantity,
                    "unit_price": line.unit_price and line.unit_price.times(Decimal(0)),
                }
            )
            for line in original.lines
            if line.id in wanted
        ),
        ship_to=request.ship_to or original.ship_to,
        origin=request.case or request.order,
    )


def _return(
    remote: Remote, request: ReturnRequest, key: str, connection: str, number: str
) -> Return:
    order = remote.get(request.order, Order)
    _lines_in(order, request)
    return Return(
        ref=Ref(connection=connection, kind=Kind.RETURN, id=number),
        number=f"RMA-{number}",
        order=request.order,
        status=ReturnStatus.AUTHORISED,
        extra={"key": key},
    )


def _credit(
    remote: Remote, request: CreditRequest, key: str, connection: str, number: str
) -> Invoice:
    order = remote.get(request.order, Order)
    _lines_in(order, request)
    prices = {line.id: line.unit_price for line in order.lines}
    amount = request.amount
    for line in request.lines if amount is None else ():
        price = prices[line.line]
        if price is not None:
            part = price.times(line.quantity)
            amount = part if amount is None else amount + part
    if amount is None or (order.total and amount.amount > order.total.amount):
        raise Refusal("invalid", "the credit is not within the order's total", field="amount")
    return Invoice(
        ref=Ref(connection=connection, kind=Kind.INVOICE, id=number),
        type=InvoiceType.CREDIT,
        number=f"CN-{number}",
        order=request.order,
        account=order.account,
        status=InvoiceStatus.DRAFT,
        total=Money(amount=amount.amount, currency=amount.currency),
        extra={"key": key},
    )


def _cancellation(
    remote: Remote, request: CancellationRequest, key: str, connection: str, number: str
) -> Order:
    order = remote.get(request.order, Order)
    if order.status in (OrderStatus.SHIPPED, OrderStatus.DELIVERED):
        raise Refusal("invalid", "the order has left the house", field="order")
    return order.model_copy(update={"status": OrderStatus.CANCELLED})


def _case(remote: Remote, request: CaseRequest, key: str, connection: str, number: str) -> Case:
    for about in (request.contact, request.account, request.order):
        if about is not None and about.connection == connection:
            remote.get(about, Record)
    return Case(
        ref=Ref(connection=connection, kind=Kind.CASE, id=number),
        number=f"CASE-{number}",
        subject=request.subject,
        description=request.description,
        status=CaseStatus.NEW,
        priority=request.priority,
        contact=request.contact,
        account=request.account,
        order=request.order,
        opened_at=datetime.now(UTC),
        extra={"key": key},
    )


def _note(
    remote: Remote, request: NoteRequest, key: str, connection: str, number: str
) -> NoteRequest:
    if request.on.kind is not Kind.CONVERSATION:
        remote.get(request.on, Record)
    return request


_MAKERS: dict[Operation, Callable[[Remote, Any, str, str, str], Row]] = {
    Operation.REPLACEMENT_ORDER: _replacement,
    Operation.RETURN: _return,
    Operation.CREDIT: _credit,
    Operation.CANCELLATION: _cancellation,
    Operation.CASE: _case,
    Operation.NOTE: _note,
}
