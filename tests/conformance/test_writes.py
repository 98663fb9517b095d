"""Every write is a pair under a key: done once, found again, and refused without a trace."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from middleware.contract.actions import Operation, Receipt
from middleware.contract.errors import NotOffered, Permanent, RemoteError
from tests.conformance.calls import attempt, count, create, find, judge, mint
from tests.conformance.peer import Peer, Samples
from tests.conformance.peers import every_keyed_write, every_write


@every_write()
def test_create_then_find(
    peer: Peer,
    adapter: Any,
    samples: Samples,
    operation: Operation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    key = mint()
    assert find(adapter, samples, operation, key) is None
    assert count(peer, samples, operation, key) == 0
    made = attempt(lambda: create(adapter, samples, operation, key))
    judge(made, peer, caplog)
    assert made.error is None, made.error
    assert not made.answer.already_existed
    assert made.answer.ref.connection == peer.connection().name
    assert count(peer, samples, operation, key) == 1
    found = find(adapter, samples, operation, key)
    assert found is not None
    assert found.ref == made.answer.ref
    assert found.number == made.answer.number
    assert found.already_existed
    assert count(peer, samples, operation, key) == 1, "looking it up made nothing"


@every_write()
def test_another_process_finds_it(
    peer: Peer, adapter: Any, samples: Samples, operation: Operation
) -> None:
    key = mint()
    made = create(adapter, samples, operation, key)
    another = peer.adapter.open(peer.connection())
    try:
        found = find(another, samples, operation, key)
    finally:
        another.close()
    assert found is not None
    assert found.ref == made.ref


@every_write()
def test_a_native_key_makes_one_row(
    peer: Peer, adapter: Any, samples: Samples, operation: Operation
) -> None:
    key = mint()
    first = create(adapter, samples, operation, key)
    if not adapter.key_traits(operation).native:
        # Then the hub looks first, and what it looks up must be there at once.
        assert find(adapter, samples, operation, key) is not None
        return
    second = create(adapter, samples, operation, key)
    assert second.ref == first.ref
    assert second.already_existed
    assert count(peer, samples, operation, key) == 1


@every_write()
def test_a_native_key_makes_one_row_under_concurrency(
    peer: Peer, adapter: Any, samples: Samples, operation: Operation
) -> None:
    if not adapter.key_traits(operation).native:
        assert count(peer, samples, operation, mint()) == 0
        return
    key = mint()
    adapters = [peer.adapter.open(peer.connection()) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        outcomes = list(
            threads.map(lambda one: attempt(lambda: create(one, samples, operation, key)), adapters)
        )
    for one in adapters:
        one.close()
    assert all(o.error is None or isinstance(o.error, RemoteError) for o in outcomes), outcomes
    assert any(isinstance(o.answer, Receipt) for o in outcomes)
    assert count(peer, samples, operation, key) == 1


@every_keyed_write()
def test_keys_are_compared_whole(
    peer: Peer, adapter: Any, samples: Samples, operation: Operation
) -> None:
    """A key that begins or ends like another is another; so a search by parts would lie."""
    key = mint()
    create(adapter, samples, operation, f"{key}-2")
    assert find(adapter, samples, operation, key) is None
    assert find(adapter, samples, operation, key.removeprefix("amends-")) is None
    assert find(adapter, samples, operation, f"{key}-22") is None
    assert find(adapter, samples, operation, f"{key}-2") is not None


@every_keyed_write()
def test_the_longest_key_fits(
    peer: Peer, adapter: Any, samples: Samples, operation: Operation
) -> None:
    key = f"{mint()}-{'k' * 64}"[:64]
    made = create(adapter, samples, operation, key)
    found = find(adapter, samples, operation, key)
    assert found is not None
    assert found.ref == made.ref
    assert find(adapter, samples, operation, key[:-1]) is None


@every_write()
def test_two_keys_make_two_rows(peer: Peer, adapter: Any, operation: Operation) -> None:
    first_key, second_key = mint(), mint()
    samples = [peer.samples(), peer.samples()]
    first = create(adapter, samples[0], operation, first_key)
    second = create(adapter, samples[1], operation, second_key)
    assert first.ref != second.ref
    assert count(peer, samples[0], operation, first_key) == 1
    assert count(peer, samples[1], operation, second_key) == 1


@every_write()
def test_the_impossible_is_refused(
    peer: Peer,
    adapter: Any,
    samples: Samples,
    operation: Operation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    key = mint()
    request = samples.impossible[operation]
    outcome = attempt(lambda: getattr(adapter, f"create_{operation}")(request, key=key))
    judge(outcome, peer, caplog)
    assert isinstance(outcome.error, Permanent), outcome
    assert not isinstance(outcome.error, NotOffered)
    impossible = samples.model_copy(update={"requests": samples.impossible})
    assert count(peer, impossible, operation, key) == 0
