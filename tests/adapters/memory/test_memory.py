"""What the memory adapter's remote lets a test do: seed, break, freeze in mid-commit, count."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from adapters.memory.adapter import MemoryAdapter
from adapters.memory.remote import Fault, Remote
from middleware.contract.actions import CaseRequest, CreditRequest, NoteRequest, Operation
from middleware.contract.canonical import Kind, Money, Ref
from middleware.contract.capabilities import WRITES
from middleware.contract.errors import Ambiguous, Duplicated, Rejected, Transient
from tests.adapters.memory.peer import MemoryPeer


@pytest.fixture
def peer() -> MemoryPeer:
    return MemoryPeer()


@pytest.fixture
def adapter(peer: MemoryPeer) -> MemoryAdapter:
    return MemoryAdapter.open(peer.connection())


CASE = CaseRequest(subject="Broken mug")
KEY = "amends-memory-1"


def note(peer: MemoryPeer) -> NoteRequest:
    on = Ref(connection=peer.name, kind=Kind.CONVERSATION, id="77")
    return NoteRequest(on=on, text="A mug is on its way.")


def test_a_remote_is_found_by_its_name(peer: MemoryPeer) -> None:
    assert Remote.named(peer.name) is peer.remote
    assert Remote.named("another") is not peer.remote


def test_a_fault_hits_the_call_it_was_meant_for(peer: MemoryPeer, adapter: MemoryAdapter) -> None:
    peer.remote.script.arm(Fault.BUSY, operation="case", times=2)
    adapter.create_note(note(peer), key=KEY)
    assert adapter.find_case(CASE, key=KEY) is None
    for _ in range(2):
        with pytest.raises(Transient) as caught:
            adapter.create_case(CASE, key=KEY)
        assert caught.value.retry_after == timedelta(seconds=1)
    adapter.create_case(CASE, key=KEY)
    assert peer.remote.calls["case"] == 3


def test_a_disarmed_fault_hits_nothing(peer: MemoryPeer, adapter: MemoryAdapter) -> None:
    peer.remote.script.arm(Fault.DROP)
    peer.remote.script.disarm()
    adapter.create_case(CASE, key=KEY)


def test_a_late_commit(peer: MemoryPeer, adapter: MemoryAdapter) -> None:
    """The line drops, a look-up finds nothing, and then the row appears: why `settle` exists."""
    later: list[Callable[[], Any]] = []
    peer.remote.later = lambda _seconds, work: later.append(work)
    peer.remote.script.arm(Fault.DROP, operation="case", phase="late")
    with pytest.raises(Ambiguous):
        adapter.create_case(CASE, key=KEY)
    assert adapter.find_case(CASE, key=KEY) is None
    for work in later:
        work()
    assert adapter.find_case(CASE, key=KEY) is not None


def test_slow_within_patience_is_only_slow(peer: MemoryPeer, adapter: MemoryAdapter) -> None:
    peer.remote.script.arm(Fault.SLOW, operation="case", seconds=0.01)
    adapter.create_case(CASE, key=KEY)
    assert peer.remote.count(Operation.CASE, KEY) == 1


def test_a_write_without_a_native_key_doubles(peer: MemoryPeer, adapter: MemoryAdapter) -> None:
    """As most ERPs do; so the hub must look first, and two rows are for a person to sort out."""
    assert not adapter.key_traits(Operation.NOTE).native
    adapter.create_note(note(peer), key=KEY)
    adapter.create_note(note(peer), key=KEY)
    assert peer.remote.count(Operation.NOTE, KEY) == 2
    with pytest.raises(Duplicated, match=KEY):
        adapter.find_note(note(peer), key=KEY)


def test_which_keys_are_native_is_a_setting(peer: MemoryPeer) -> None:
    settings = {"native": ["note"], "settle_s": 7}
    connection = peer.connection().model_copy(update={"settings": settings})
    adapter = MemoryAdapter.open(connection)
    assert adapter.key_traits(Operation.NOTE).native
    assert not adapter.key_traits(Operation.CASE).native
    assert adapter.key_traits(Operation.CASE).settle == timedelta(seconds=7)
    first = adapter.create_note(note(peer), key=KEY)
    assert adapter.create_note(note(peer), key=KEY).ref == first.ref


def test_a_deleted_record_is_told(peer: MemoryPeer, adapter: MemoryAdapter) -> None:
    ref = peer.touch(Kind.CASE)
    cursor = adapter.changed_since(Kind.CASE, None).cursor
    peer.remote.delete(ref)
    page = adapter.changed_since(Kind.CASE, cursor)
    assert page.deleted == (ref,)
    assert page.records == ()


def test_a_cursor_of_a_longer_log_is_not_taken(peer: MemoryPeer, adapter: MemoryAdapter) -> None:
    """The remote was restored or began anew: it would say nothing until its log is as long."""
    peer.touch(Kind.CASE)
    cursor = adapter.changed_since(Kind.CASE, None).cursor
    del peer.remote.log[-1]
    with pytest.raises(Rejected) as refused:
        adapter.changed_since(Kind.CASE, cursor)
    assert refused.value.field == "cursor"


def test_a_credit_is_priced_and_capped(peer: MemoryPeer, adapter: MemoryAdapter) -> None:
    request = peer.samples().requests[Operation.CREDIT]
    preview = adapter.preview(Operation.CREDIT, request)
    price = Money(amount=Decimal("12.50"), currency="EUR")
    assert preview.effects[0].amount == price
    too_much = CreditRequest(order=peer.order, amount=price.times(Decimal(3)))
    with pytest.raises(Rejected):
        adapter.create_credit(too_much, key=KEY)


def test_a_missing_permission_is_named(peer: MemoryPeer, adapter: MemoryAdapter) -> None:
    peer.remote.permissions = frozenset({Operation.NOTE})
    missing = {finding.name for finding in adapter.check().findings if not finding.ok}
    assert missing == {f"write {op}" for op in WRITES if op is not Operation.NOTE}


def test_another_token_is_refused(peer: MemoryPeer) -> None:
    wrong = peer.connection().model_copy(update={"secrets": {"token": SecretStr("wrong-token")}})
    assert not MemoryAdapter.open(wrong).check().ok
