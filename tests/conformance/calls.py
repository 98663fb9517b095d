"""One sample call for every method of the contract, and what its failure must look like."""

from __future__ import annotations

import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from middleware.contract.actions import Operation, Receipt, WithdrawalRequest
from middleware.contract.canonical import Kind, Ref
from middleware.contract.capabilities import (
    WRITES,
    FindsAccounts,
    FindsContacts,
    ListsChanges,
    PreviewsActions,
    ReadsInvoices,
    ReadsOrders,
    ReadsShipments,
)
from middleware.contract.errors import RemoteError
from tests.conformance.peer import Peer, Samples

Call = Callable[[Any, Samples], Any]


def mint() -> str:
    """A key that nobody has used."""
    return f"amends-{uuid.uuid4().hex}"


def customer_of(samples: Samples) -> Ref:
    customer = samples.known_account or samples.known_contact
    assert customer is not None, "Samples need a known_account or known_contact with an order"
    return customer


def order_of(samples: Samples) -> Ref:
    assert samples.known_order is not None, "Samples need a known_order"
    return samples.known_order


def _preview(adapter: Any, samples: Samples) -> Any:
    operation, request = next(iter(samples.requests.items()))
    return adapter.preview(operation, request)


def _finding(operation: Operation) -> Call:
    def find(adapter: Any, samples: Samples) -> Any:
        return getattr(adapter, f"find_{operation}")(samples.requests[operation], key=mint())

    return find


READ_CALLS: dict[str, tuple[type, Call]] = {
    "find_contacts": (FindsContacts, lambda a, s: a.find_contacts(s.known_clue)),
    "find_accounts": (FindsAccounts, lambda a, s: a.find_accounts(s.known_clue)),
    "read_order": (ReadsOrders, lambda a, s: a.read_order(order_of(s))),
    "find_order": (ReadsOrders, lambda a, s: a.find_order(s.known_order_number)),
    "orders_of": (ReadsOrders, lambda a, s: a.orders_of(customer_of(s))),
    "shipments_of": (ReadsShipments, lambda a, s: a.shipments_of(order_of(s))),
    "invoices_of": (ReadsInvoices, lambda a, s: a.invoices_of(order_of(s))),
    "changed_since": (ListsChanges, lambda a, s: a.changed_since(a.change_kinds[0], None)),
    "preview": (PreviewsActions, _preview),
    **{
        f"find_{operation}": (capability, _finding(operation))
        for operation, capability in WRITES.items()
    },
}
"""Method → the capability that it belongs to, and a call of it that succeeds."""


@dataclass(frozen=True)
class Outcome:
    answer: Any
    error: Exception | None
    seconds: float


def attempt(call: Callable[[], Any]) -> Outcome:
    """Call it, and say what came of it and how long it took."""
    begin = time.monotonic()
    try:
        return Outcome(call(), None, time.monotonic() - begin)
    except Exception as error:
        return Outcome(None, error, time.monotonic() - begin)


def judge(outcome: Outcome, peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    """What holds for every call: only our errors, in time, saying where, never telling secrets."""
    assert outcome.seconds < peer.patience_s, f"took {outcome.seconds:.1f} s; set a time-out"
    told = caplog.text
    error = outcome.error
    if error is not None:
        told += "".join(traceback.format_exception(error)) + repr(vars(error))
        assert isinstance(error, RemoteError), f"{error!r} is not one of the three errors"
        assert error.system == peer.adapter.system, "an error names its system"
        assert error.operation, "an error names the operation that failed"
        assert error.message.strip(), "an error says what happened"
    for name, secret in peer.connection().secrets.items():
        assert secret.get_secret_value() not in told, f"the secret {name!r} is in an error or log"


def create(adapter: Any, samples: Samples, operation: Operation, key: str) -> Receipt:
    receipt = getattr(adapter, f"create_{operation}")(samples.requests[operation], key=key)
    assert isinstance(receipt, Receipt)
    assert receipt.key == key
    return receipt


def find(adapter: Any, samples: Samples, operation: Operation, key: str) -> Receipt | None:
    receipt = getattr(adapter, f"find_{operation}")(samples.requests[operation], key=key)
    assert receipt is None or (isinstance(receipt, Receipt) and receipt.key == key)
    return receipt


def count(peer: Peer, samples: Samples, operation: Operation, key: str) -> int:
    """How often the remote did it, in the remote's own data."""
    if operation is Operation.WITHDRAWAL:
        return peer.withdrawn(withdrawal_of(samples).of)
    return peer.count(operation, key)


def withdrawal_of(samples: Samples) -> WithdrawalRequest:
    request = samples.requests[Operation.WITHDRAWAL]
    assert isinstance(request, WithdrawalRequest)
    return request


def nowhere(peer: Peer, kind: Kind) -> Ref:
    """A reference to a record that does not exist."""
    return Ref(connection=peer.connection().name, kind=kind, id="999999999")
