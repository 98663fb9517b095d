"""Every fault, on every read and every write: the right error, and then the truth."""

from __future__ import annotations

from typing import Any

import pytest

from middleware.contract.actions import Operation, Receipt
from middleware.contract.errors import (
    Ambiguous,
    Permanent,
    RemoteError,
    Transient,
    Unauthorised,
)
from tests.conformance.calls import READ_CALLS, attempt, count, create, find, judge, mint
from tests.conformance.peer import Fault, Peer, Samples
from tests.conformance.peers import every_peer, every_read_and_fault, every_write_and_fault

# What a write raises, and how many rows the remote has afterwards; None where either may be.
WRITES_UNDER: dict[Fault, tuple[tuple[type[RemoteError], ...], int | None]] = {
    Fault.LOST_ANSWER: ((Ambiguous,), 1),
    Fault.DROPPED_BEFORE: ((Ambiguous,), 0),
    Fault.THROTTLED: ((Transient,), 0),
    Fault.UNAVAILABLE: ((Transient, Ambiguous), 0),
    Fault.SLOW: ((Ambiguous,), 1),
    Fault.MALFORMED: ((Ambiguous,), 1),
    Fault.MASKED: ((Transient, Permanent, Ambiguous), None),
    Fault.DUPLICATE: ((), 1),
    Fault.UNAUTHORISED: ((Unauthorised,), 0),
}

READS_UNDER: dict[Fault, tuple[type[RemoteError], ...]] = {
    Fault.LOST_ANSWER: (Transient,),
    Fault.DROPPED_BEFORE: (Transient,),
    Fault.THROTTLED: (Transient,),
    Fault.UNAVAILABLE: (Transient,),
    Fault.SLOW: (Transient,),
    Fault.MALFORMED: (Transient, Permanent),
    Fault.MASKED: (Transient, Permanent),
    Fault.UNAUTHORISED: (Unauthorised,),
}


def offered(peer: Peer, fault: Fault) -> None:
    if fault not in peer.faults:
        pytest.fail(f"the peer cannot do {fault}; say why in exceptions.yaml")


@every_write_and_fault()
def test_write_under_fault(
    peer: Peer,
    adapter: Any,
    samples: Samples,
    operation: Operation,
    fault: Fault,
    caplog: pytest.LogCaptureFixture,
) -> None:
    offered(peer, fault)
    errors, rows_expected = WRITES_UNDER[fault]
    key = mint()
    with peer.arm(fault, write=True):
        outcome = attempt(lambda: create(adapter, samples, operation, key))
    judge(outcome, peer, caplog)
    rows = count(peer, samples, operation, key)
    if errors:
        assert isinstance(outcome.error, errors), outcome
    else:
        assert isinstance(outcome.answer, Receipt), outcome
        assert outcome.answer.already_existed, "a duplicate of our own key means found"
    if rows_expected is not None:
        assert rows == rows_expected, "the peer did not do what the fault means"
    if isinstance(outcome.error, (Transient, Permanent)):
        assert rows == 0, f"it says that nothing happened, and the remote has {rows}"

    # Now as the hub recovers: look it up, and send again only what is not there.
    found = find(adapter, samples, operation, key)
    assert (found is not None) == (rows == 1), "find does not tell the truth"
    receipt = found or create(adapter, samples, operation, key)
    assert count(peer, samples, operation, key) == 1
    again = find(adapter, samples, operation, key)
    assert again is not None
    assert again.ref == receipt.ref
    if outcome.answer is not None:
        assert again.ref == outcome.answer.ref


@every_read_and_fault()
def test_read_under_fault(
    peer: Peer,
    adapter: Any,
    samples: Samples,
    read: str,
    fault: Fault,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A read that fails says so: an empty answer would be taken for the truth."""
    offered(peer, fault)
    call = READ_CALLS[read][1]
    with peer.arm(fault, write=False):
        outcome = attempt(lambda: call(adapter, samples))
    judge(outcome, peer, caplog)
    assert isinstance(outcome.error, READS_UNDER[fault]), outcome
    after = attempt(lambda: call(adapter, samples))
    assert after.error is None, f"did not recover: {after.error!r}"


@every_peer()
@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.DUPLICATE])
def test_check_under_fault(
    peer: Peer, adapter: Any, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """check() reports; an operator reads it when things are broken."""
    offered(peer, fault)
    with peer.arm(fault, write=False):
        outcome = attempt(adapter.check)
    judge(outcome, peer, caplog)
    assert outcome.error is None, f"check() raised {outcome.error!r}"
    assert not outcome.answer.ok
    assert all(f.detail and f.remedy for f in outcome.answer.findings if not f.ok)
