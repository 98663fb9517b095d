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
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Literal, TypeVar

from middleware.contract.actions import (
    CallBackRequest,
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    NoteRequest,
    Operation,
    ReplacementOrderRequest,
    ReturnRequest,
    Speed,
    StoreCreditRequest,
    Then,
    WithdrawalRequest,
)
from middleware.contract.canonical import (
    Case,
    CaseStatus,
    Instant,
    Invoice,
    InvoiceStatus,
    InvoiceType,
    Kind,
    Money,
    Order,
    OrderLine,
    OrderStatus,
    Record,
    Ref,
    Return,
    ReturnStatus,
)

T = TypeVar("T")
Phase = Literal["before", "after", "late"]
Row = Record | NoteRequest

LEAD: dict[Speed, timedelta] = {Speed.STANDARD: timedelta(days=5), Speed.RUSH: timedelta(days=1)}
"""How long goods in stock take to the customer."""


class CallBackStatus(StrEnum):
    PLANNED = "planned"
    DONE = "done"
    CANCELLED = "cancelled"


class CallBack(Record):
    """A call in somebody's day."""

    subject: str
    slot_from: Instant
    slot_to: Instant
    phone: str | None = None
    status: CallBackStatus = CallBackStatus.PLANNED


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


def _later(seconds: float, work: Callable[[], Any]) -> None:
    threading.Timer(seconds, work).start()


class Remote:
    """One remote system: its records, what was written under which key, and its script."""

    _named: ClassVar[dict[str, Remote]] = {}
    _naming: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, *, token: str | None = None) -> None:
        self.token = token
        """What a connection must present; None lets everybody in."""
        self.tenant: str | None = None
        """Who it says it is."""
        self.permissions = frozenset(Operation)
        """The writes that the token allows."""
        self.stock: dict[str, Decimal] = {}
        """What can be sent at once, by SKU; nothing is known of those that are not in it."""
        self.script = Script()
        self.later: Callable[[float, Callable[[], Any]], None] = _later
        """What sees to it that late work is done after so many seconds."""
        self.calls: Counter[str] = Counter()
        self.log: list[tuple[Ref, bool]] = []
        """Every change in its order: which record, and whether it was deleted."""
        self.times: list[datetime] = []
        """When each of them happened."""
        self.merged: dict[Ref, Ref] = {}
        """Which record one that was deleted in a merge is now."""
        self._records: dict[Ref, Record] = {}
        self._written: dict[tuple[Operation, str], list[tuple[Ref, Row]]] = {}
        self._numbers = 1000
        self._lock = threading.RLock()

    @classmethod
    def named(cls, name: str) -> Remote:
        """The process's remote of this name, made when it is first asked for."""
        with cls._naming:
            if name not in cls._named:
                cls._named[name] = cls()
                cls._named[name].tenant = name
            return cls._named[name]

    # --- what tests and colleagues do to it -------------------------------------------------------

    def put(self, *records: Record) -> None:
        """Add records or change them, as somebody working in the remote does."""
        with self._lock:
            for record in records:
                now = datetime.now(UTC)
                self._records[record.ref] = record.model_copy(update={"updated_at": now})
                self._log(record.ref, now, deleted=False)

    def merge(self, gone: Ref, into: Ref) -> None:
        """Make two records one, as somebody does who finds a customer twice: one is deleted."""
        with self._lock:
            self.delete(gone)
            self.merged[gone] = into

    def delete(self, ref: Ref) -> None:
        with self._lock:
            del self._records[ref]
            self._log(ref, datetime.now(UTC), deleted=True)

    def _log(self, ref: Ref, at: datetime, *, deleted: bool) -> None:
        self.log.append((ref, deleted))
        self.times.append(at)

    def receive(self, ref: Ref) -> None:
        """Take in what a return sends back; where it was promised, the money follows."""
        with self._lock:
            returned = self.get(ref, Return)
            self.put(returned.model_copy(update={"status": ReturnStatus.RECEIVED}))
            if returned.extra.get("then") != Then.REFUND:
                return
            worth = [line.unit_price.times(line.quantity) for line in returned.lines
                     if line.unit_price is not None]  # fmt: skip
            if not worth:
                return
            self._numbers += 1
            self.put(
                Invoice(
                    ref=Ref(connection=ref.connection, kind=Kind.INVOICE, id=str(self._numbers)),
                    type=InvoiceType.CREDIT,
                    number=f"CN-{self._numbers}",
                    order=returned.order,
                    status=InvoiceStatus.POSTED,
                    total=sum(worth[1:], worth[0]),
                    issued_on=datetime.now(UTC).date(),
                )
            )

    def withdrawn(self, ref: Ref) -> int:
        """How often a record was taken back through the interface."""
        with self._lock:
            return sum(
                1
                for (made_by, _), rows in self._written.items()
                for other, _ in rows
                if made_by is Operation.WITHDRAWAL and other == ref
            )

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
            self.later(armed.seconds, lambda: self._locked(work))
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

    def ended(self, ref: Ref) -> tuple[str, str | None] | None:
        """State and number of a record that was taken back, by whomever; None while it stands."""
        if ref not in self._records and (ref, True) in self.log:
            return "deleted", None
        record = self.get(ref, Record)
        status = getattr(record, "status", None)
        if status is None or status != _WITHDRAWN.get(type(record)):
            return None
        return str(status), getattr(record, "number", None)

    def changes(
        self, kind: Kind, after: int, last: int | None = None
    ) -> list[tuple[int, Ref, bool]]:
        """Which records of a kind changed, each at its latest place in the log."""
        latest = {
            ref: (place, ref, deleted)
            for place, (ref, deleted) in enumerate(self.log[:last], 1)
            if place > after and ref.kind is kind
        }
        return sorted(latest.values(), key=lambda change: change[0])

    def between(self, since: datetime, until: datetime) -> tuple[int, int]:
        """The places in the log before, and at, which a stretch of time begins and ends."""
        return bisect_left(self.times, since), bisect_left(self.times, until)

    def ids(self, kind: Kind) -> list[str]:
        return [ref.id for ref in self._records if ref.kind is kind]

    def written(self, operation: Operation, key: str) -> list[tuple[Ref, Row]]:
        return list(self._written.get((operation, key), ()))

    def write(
        self, operation: Operation, request: Any, *, key: str, unique: bool, connection: str
    ) -> tuple[Ref, Row, bool]:
        """Do it; True at the end means that the row was there already (only where `unique`)."""
        if operation not in self.permissions:
            raise Refusal("forbidden", f"the token may not write a {operation}")
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
                    "origin": line.id,
                }
            )
            for line in original.lines
            if line.id in wanted
        ),
        ship_to=request.ship_to or original.ship_to,
        origin=request.case or request.order,
        extra={"speed": request.speed, "deliver_by": _day(delivery(request))},
    )


def delivery(request: ReplacementOrderRequest) -> date:
    """The day on which goods in stock would arrive: as promised, else as the speed has it."""
    return request.deliver_by or datetime.now(UTC).date() + LEAD[request.speed]


def _day(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _return(
    remote: Remote, request: ReturnRequest, key: str, connection: str, number: str
) -> Return:
    order = remote.get(request.order, Order)
    _lines_in(order, request)
    original = {line.id: line for line in order.lines}
    return Return(
        ref=Ref(connection=connection, kind=Kind.RETURN, id=number),
        number=f"RMA-{number}",
        order=request.order,
        status=ReturnStatus.AUTHORISED,
        lines=tuple(
            OrderLine(
                id=str(place),
                sku=original[line.line].sku,
                quantity=line.quantity,
                unit=line.unit or original[line.line].unit,
                unit_price=original[line.line].unit_price,
                origin=line.line,
            )
            for place, line in enumerate(request.lines, 1)
        ),
        extra={"key": key, "then": request.then},
    )


def _credit(
    remote: Remote, request: CreditRequest, key: str, connection: str, number: str
) -> Invoice:
    order = remote.get(request.order, Order)
    _lines_in(order, request)
    amount = _credited(order, request)
    if order.total and (
        amount.currency != order.total.currency or amount.amount > order.total.amount
    ):
        raise Refusal("invalid", "the credit is not within the order's total", field="amount")
    return Invoice(
        ref=Ref(connection=connection, kind=Kind.INVOICE, id=number),
        type=InvoiceType.CREDIT,
        number=f"CN-{number}",
        order=request.order,
        account=order.account,
        status=InvoiceStatus.DRAFT,
        total=amount,
        issued_on=datetime.now(UTC).date(),
        extra={"key": key},
    )


def _credited(order: Order, request: CreditRequest) -> Money:
    """What a credit is worth, from the order's own prices unless it names an amount."""
    if request.full:
        if order.total is None:
            raise Refusal("invalid", "the order has no total to give back", field="full")
        return order.total
    prices = {line.id: line.unit_price for line in order.lines}
    parts = [price.times(line.quantity) for line in request.lines
             if (price := prices[line.line]) is not None]  # fmt: skip
    if request.amount is not None:
        if parts and request.amount.amount > parts[0].amount:
            raise Refusal("invalid", "that is more than the line cost", field="amount")
        return request.amount
    if request.shipping:
        if order.shipping is None:
            raise Refusal("invalid", "the order's shipping cost nothing", field="shipping")
        parts.append(order.shipping)
    if not parts:
        raise Refusal("invalid", "the order's lines have no price", field="lines")
    return sum(parts[1:], parts[0])


def _store_credit(
    remote: Remote, request: StoreCreditRequest, key: str, connection: str, number: str
) -> Invoice:
    """A voucher. It is told as a credit of the order, so that whoever adds those up sees it."""
    order = remote.get(request.order, Order)
    if order.total and (
        request.amount.currency != order.total.currency
        or request.amount.amount > order.total.amount
    ):
        raise Refusal("invalid", "the voucher is not within the order's total", field="amount")
    if request.expires_on is not None and request.expires_on <= datetime.now(UTC).date():
        raise Refusal("invalid", "the voucher would have expired", field="expires_on")
    return Invoice(
        ref=Ref(connection=connection, kind=Kind.INVOICE, id=number),
        type=InvoiceType.CREDIT,
        number=f"GC-{number}",
        order=request.order,
        account=request.account or order.account,
        status=InvoiceStatus.POSTED,
        total=request.amount,
        issued_on=datetime.now(UTC).date(),
        extra={"key": key, "voucher": True, "expires_on": _day(request.expires_on)},
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
        extra={"key": key, "order_number": request.order_number},
    )


def _call_back(
    remote: Remote, request: CallBackRequest, key: str, connection: str, number: str
) -> CallBack:
    for about in (request.contact, request.account, request.order, request.case):
        if about is not None and about.connection == connection:
            remote.get(about, Record)
    if request.slot_to <= datetime.now(UTC):
        raise Refusal("invalid", "the slot has passed", field="slot_to")
    return CallBack(
        ref=Ref(connection=connection, kind=Kind.TASK, id=number),
        subject=request.subject,
        slot_from=request.slot_from,
        slot_to=request.slot_to,
        phone=request.phone,
        extra={"key": key, "order_number": request.order_number},
    )


_WITHDRAWN: dict[type[Record], StrEnum] = {
    Order: OrderStatus.CANCELLED,
    Return: ReturnStatus.CANCELLED,
    Invoice: InvoiceStatus.CANCELLED,
    Case: CaseStatus.CLOSED,
    CallBack: CallBackStatus.CANCELLED,
}
"""The state that a record of each sort ends in when it is taken back."""

_TOO_LATE: dict[type[Record], dict[StrEnum, str]] = {
    Order: {
        OrderStatus.SHIPPED: "the order has left the house",
        OrderStatus.DELIVERED: "the order has left the house",
    },
    Return: {
        ReturnStatus.RECEIVED: "the goods have come back",
        ReturnStatus.CLOSED: "the return is settled",
    },
    Invoice: {InvoiceStatus.PAID: "the money has been paid, or the voucher spent"},
    CallBack: {CallBackStatus.DONE: "the call has been made"},
}
"""The states that nothing is taken back from, and why."""


def _withdrawal(
    remote: Remote, request: WithdrawalRequest, key: str, connection: str, number: str
) -> Record:
    if remote.ended(request.of) is not None:
        raise Refusal("duplicate", "it is taken back already")
    record = remote.get(request.of, Record)
    status = getattr(record, "status", None)
    if type(record) not in _WITHDRAWN or status is None:
        raise Refusal("invalid", f"a {request.of.kind} cannot be taken back", field="of")
    too_late = _TOO_LATE.get(type(record), {}).get(status)
    if too_late is not None:
        raise Refusal("invalid", too_late, field="of")
    return record.model_copy(update={"status": _WITHDRAWN[type(record)]})


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
    Operation.STORE_CREDIT: _store_credit,
    Operation.CANCELLATION: _cancellation,
    Operation.CASE: _case,
    Operation.CALL_BACK: _call_back,
    Operation.NOTE: _note,
    Operation.WITHDRAWAL: _withdrawal,
}
