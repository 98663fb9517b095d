"""What was made is listed so that a budget counts it, and what was taken back so that it is free.

A colleague's refund comes to the hub through the same lists as its own. What these tests read of a
record is what `middleware/domain/budget.py` adds up.
"""

from __future__ import annotations

from typing import Any

from middleware.contract.actions import (
    CreditRequest,
    Operation,
    Receipt,
    ReplacementOrderRequest,
    ReturnRequest,
    StoreCreditRequest,
    WithdrawalRequest,
)
from middleware.contract.canonical import (
    Invoice,
    InvoiceStatus,
    InvoiceType,
    Kind,
    Order,
    OrderLine,
    OrderStatus,
    Record,
    Ref,
    Return,
    ReturnStatus,
)
from middleware.contract.capabilities import WithdrawsActions
from tests.conformance.calls import create, mint
from tests.conformance.peer import Peer, Samples
from tests.conformance.peers import every_listed_remedy

Remedy = ReplacementOrderRequest | ReturnRequest | CreditRequest | StoreCreditRequest
CANCELLED = (OrderStatus.CANCELLED, ReturnStatus.CANCELLED, InvoiceStatus.CANCELLED)


def since(adapter: Any, kind: Kind, cursor: str | None) -> tuple[dict[Ref, Record | None], str]:
    """What changed from a cursor to the end, None where it was deleted; and where the end is."""
    told: dict[Ref, Record | None] = {}
    while True:
        page = adapter.changed_since(kind, cursor, limit=200)
        assert not page.quarantined, page.quarantined
        told |= {record.ref: record for record in page.records} | dict.fromkeys(page.deleted)
        cursor = page.cursor
        if not page.more:
            return told, cursor


def counts(record: Record | None, remedy: Remedy) -> bool:
    """Whether a budget can tell what this took, and of which order."""
    lines = getattr(remedy, "lines", ())

    def named(told: tuple[OrderLine, ...]) -> bool:
        wanted = {line.line for line in lines}
        skus = {line.sku for line in lines}
        return bool(told) and all(
            line.origin in wanted or (line.origin is None and line.sku in skus) for line in told
        )

    match record:
        case Return():
            return record.order == remedy.order and named(record.lines)
        case Order() if isinstance(remedy, ReplacementOrderRequest):
            return record.origin in (remedy.order, remedy.case) and named(record.lines)
        case Invoice(type=InvoiceType.CREDIT, total=total):
            return record.order == remedy.order and total is not None and total.amount > 0
        case _:
            return False


@every_listed_remedy()
def test_a_remedy_is_listed_until_it_is_taken_back(
    peer: Peer, adapter: Any, samples: Samples, operation: Operation, kind: Kind
) -> None:
    remedy = samples.requests[operation]
    assert isinstance(remedy, Remedy)
    _, cursor = since(adapter, kind, None)
    made: Receipt = create(adapter, samples, operation, mint())
    peer.touch(kind)  # a sync may look no further than the last change that is old enough
    told, cursor = since(adapter, kind, cursor)
    assert made.ref in told, "what was made is not listed under the receipt's reference"
    record = told[made.ref]
    assert counts(record, remedy), record
    assert getattr(record, "status", None) not in CANCELLED
    if not isinstance(adapter, WithdrawsActions) or operation not in adapter.withdrawable:
        return
    back = WithdrawalRequest(of=made.ref, made_by=operation, made_under=made.key)
    adapter.create_withdrawal(back, key=mint())
    peer.touch(kind)
    told, _ = since(adapter, kind, cursor)
    assert made.ref in told, "that it was taken back is not listed"
    gone = told[made.ref]
    assert gone is None or getattr(gone, "status", None) in CANCELLED, gone
