"""What was made can be taken back, once, while it is not too late; the record's state proves it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from middleware.contract.actions import Operation, Receipt, WithdrawalRequest
from middleware.contract.capabilities import WRITES, WithdrawsActions
from middleware.contract.errors import Missing, NotOffered, Permanent, Rejected
from tests.conformance.calls import (
    attempt,
    count,
    create,
    find,
    judge,
    mint,
    nowhere,
    withdrawal_of,
)
from tests.conformance.peer import Peer, Samples
from tests.conformance.peers import every_peer_that, every_withdrawable


def make(adapter: Any, samples: Samples, made_by: Operation) -> WithdrawalRequest:
    """Make something, and how to take it back."""
    key = mint()
    made = create(adapter, samples, made_by, key)
    return WithdrawalRequest(of=made.ref, made_by=made_by, made_under=key, note="asked to")


def withdraw(adapter: Any, request: WithdrawalRequest, key: str) -> Receipt:
    receipt = adapter.create_withdrawal(request, key=key)
    assert isinstance(receipt, Receipt)
    assert receipt.key == key
    assert receipt.ref.connection == request.of.connection
    return receipt


@every_withdrawable()
def test_what_was_made_is_taken_back(
    peer: Peer,
    adapter: Any,
    samples: Samples,
    made_by: Operation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    request, key = make(adapter, samples, made_by), mint()
    assert adapter.find_withdrawal(request, key=key) is None
    assert peer.withdrawn(request.of) == 0
    done = attempt(lambda: withdraw(adapter, request, key))
    judge(done, peer, caplog)
    assert done.error is None, done.error
    assert not done.answer.already_existed
    assert peer.withdrawn(request.of) == 1
    another = peer.adapter.open(peer.connection())
    try:
        found = another.find_withdrawal(request, key=key)
    finally:
        another.close()
    assert found is not None
    assert found.already_existed
    assert found.ref == done.answer.ref


@every_withdrawable()
def test_taking_back_twice_is_one_effect_and_a_receipt(
    peer: Peer, adapter: Any, samples: Samples, made_by: Operation
) -> None:
    """Another key, too: somebody else's withdrawal is proof as good as ours."""
    request = make(adapter, samples, made_by)
    first = withdraw(adapter, request, mint())
    for key in (first.key, mint()):
        again = attempt(partial(withdraw, adapter, request, key))
        assert again.error is None, again.error
        assert again.answer.already_existed
        assert again.answer.ref == first.ref
        assert adapter.find_withdrawal(request, key=key) is not None
    assert peer.withdrawn(request.of) == 1


@every_withdrawable()
def test_what_is_taken_back_was_made_all_the_same(
    peer: Peer, adapter: Any, samples: Samples, made_by: Operation
) -> None:
    """The hub looks for its key before a resend; it must find what was cancelled meanwhile."""
    request = make(adapter, samples, made_by)
    withdraw(adapter, request, mint())
    found = find(adapter, samples, made_by, request.made_under)
    assert found is not None
    assert found.ref == request.of


@every_withdrawable()
def test_too_late_is_refused(
    peer: Peer,
    adapter: Any,
    samples: Samples,
    made_by: Operation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    request, key = make(adapter, samples, made_by), mint()
    if not peer.too_late(made_by, request.of):
        pytest.skip(f"there is always time to take back a {made_by} there")
    outcome = attempt(lambda: adapter.create_withdrawal(request, key=key))
    judge(outcome, peer, caplog)
    assert isinstance(outcome.error, Rejected), outcome
    assert adapter.find_withdrawal(request, key=key) is None
    assert peer.withdrawn(request.of) == 0


@every_peer_that(WithdrawsActions)
def test_what_it_cannot_take_back_is_not_offered(
    peer: Peer, adapter: Any, samples: Samples, caplog: pytest.LogCaptureFixture
) -> None:
    known = withdrawal_of(samples)
    assert peer.adapter.withdrawable <= set(WRITES) - {Operation.WITHDRAWAL}
    for made_by in set(WRITES) - {Operation.WITHDRAWAL} - peer.adapter.withdrawable:
        request = known.model_copy(update={"made_by": made_by})
        for method in (adapter.create_withdrawal, adapter.find_withdrawal):
            outcome = attempt(partial(method, request, key=mint()))
            judge(outcome, peer, caplog)
            assert isinstance(outcome.error, NotOffered), (made_by, outcome)
    assert count(peer, samples, Operation.WITHDRAWAL, mint()) == 0


@every_withdrawable()
def test_what_is_not_there_is_not_taken_back(
    peer: Peer,
    adapter: Any,
    samples: Samples,
    made_by: Operation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A record that never was, or that the hub may not see, is no proof of a withdrawal."""
    request = make(adapter, samples, made_by)
    lost = request.model_copy(update={"of": nowhere(peer, request.of.kind)})
    outcome = attempt(lambda: adapter.create_withdrawal(lost, key=mint()))
    judge(outcome, peer, caplog)
    assert isinstance(outcome.error, Permanent), outcome
    looked = attempt(lambda: adapter.find_withdrawal(lost, key=mint()))
    judge(looked, peer, caplog)
    assert looked.answer is None
    assert looked.error is None or isinstance(looked.error, Missing)
