"""Bindings for what the sandbox's ERP does not have: call-backs, own mapping files, deletions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from middleware.contract.actions import CallBackRequest, Operation, WithdrawalRequest
from middleware.contract.canonical import Kind, Ref
from middleware.contract.capabilities import (
    AuthorisesReturns,
    PreviewsActions,
    ReadsOrders,
    SchedulesCallBacks,
    WithdrawsActions,
    capabilities_of,
)
from middleware.contract.errors import Ambiguous, NotOffered, Rejected, Transient
from tests.adapters.soap.canned import BINDINGS, Canned, canned, open_shop, put_files

KEY = "amends-key-00000001"
OURS = f"<Ref>{KEY}</Ref>"

BOUND = f"""{BINDINGS}
  call_back:
    find: {{operation: Find, arguments: {{text: key}}, result: Order, id: Id, key: Ref}}
    preview:
      operation: Find
      arguments: {{text: request.order_number}}
      mapped: false
      effects: [{{each: Order, what: "somebody calls about {{Number}}"}}]
  withdrawal:
    of:
      call_back:
        operation: Create
        settle_s: 9
        find:
          operation: Find
          arguments: {{text: request.of.id}}
          result: Order
          id: Id
          only: {{Number: ["void", "closed"]}}
      return:
        operation: Create
        settle_s: 11
        native: true
        find:
          operation: Find
          arguments: {{text: request.made_under}}
          result: Order
          id: Id
          only: {{Number: "void"}}
          gone: true
"""

CALL_BACK_MAP = """
mapping: 1
id: shop.call_back
source: {canonical: call_back}
target: {operation: Create}
direction: push
idempotency: {field: Ref}
fields:
  Ref: {from: key, required: true}
  Line.0.Sku: {from: subject, required: true}
  Line.0.Qty: {const: "1"}
response: {external_id: {from: Id, required: true}}
"""

WITHDRAWAL_MAP = """
mapping: 1
id: shop.withdrawal
source: {canonical: withdrawal}
target: {operation: Create}
direction: push
idempotency: {field: Ref}
fields:
  Ref: {from: key, required: true}
  Line.0.Sku: {const: "withdraw"}
  Line.0.Qty: {const: "0"}
faults:
  Client.Before: {outcome: already_done}
  Client.Late: {outcome: reject, message: "too late: {faultstring}"}
"""

RETURNED_MAP = WITHDRAWAL_MAP.replace("shop.withdrawal", "shop.withdraw_return").replace(
    "canonical: withdrawal}", "canonical: withdraw_return}"
).replace('const: "withdraw"', 'const: "unreturn"')  # fmt: skip

CALL = CallBackRequest(
    subject="Talk about the mug",
    slot_from=datetime(2026, 11, 23, 9, tzinfo=UTC),
    slot_to=datetime(2026, 11, 23, 10, tzinfo=UTC),
    order_number="SO-10017",
)


def back(made_by: Operation, kind: Kind) -> WithdrawalRequest:
    of = Ref(connection="shop", kind=kind, id="7")
    return WithdrawalRequest(of=of, made_by=made_by, made_under="amends-made-0001")


CALLED = back(Operation.CALL_BACK, Kind.TASK)
RETURNED = back(Operation.RETURN, Kind.RETURN)


@pytest.fixture
def remote() -> Iterator[Canned]:
    with canned() as made:
        yield made


@pytest.fixture
def adapter(remote: Canned, tmp_path: Path) -> Iterator[Any]:
    folder = put_files(
        tmp_path / "shop",
        bindings=BOUND,
        call_back_map=CALL_BACK_MAP,
        withdrawal_map=WITHDRAWAL_MAP,
        withdraw_return_map=RETURNED_MAP,
    )
    opened = open_shop(folder, remote.url)
    yield opened
    opened.close()


def rows(*orders: str) -> str:
    inside = "".join(f"<Order>{order}</Order>" for order in orders)
    return f'<Orders xmlns="urn:shop">{inside}</Orders>'


def created(inside: str = "") -> str:
    return f'<Created xmlns="urn:shop">{inside}</Created>'


def test_a_call_back_is_made_and_found_as_a_task(adapter: Any, remote: Canned) -> None:
    remote.say(created("<Id>7</Id>"))
    receipt = adapter.create_call_back(CALL, key=KEY)
    assert receipt.ref == Ref(connection="shop", kind=Kind.TASK, id="7")
    assert remote.requests[-1].texts("Sku") == ["Talk about the mug"]
    remote.say(rows(f"<Id>7</Id>{OURS}"))
    found = adapter.find_call_back(CALL, key=KEY)
    assert (found.ref, found.already_existed) == (receipt.ref, True)


def test_a_preview_that_only_reads_sends_nothing_that_is_mapped(
    adapter: Any, remote: Canned
) -> None:
    remote.say(rows("<Id>7</Id><Number>SO-10017</Number>"))
    preview = adapter.preview(Operation.CALL_BACK, CALL)
    assert [one.what for one in preview.effects] == ["somebody calls about SO-10017"]
    assert not preview.exact
    assert preview.payload["Line"] == [{"Sku": "Talk about the mug", "Qty": "1"}]
    (asked,) = (one for one in remote.requests if one.method == "POST")
    assert (asked.texts("text"), asked.texts("Ref")) == (["SO-10017"], [])


def test_what_is_bound_can_be_taken_back_and_nothing_else(adapter: Any) -> None:
    assert capabilities_of(type(adapter)) == (
        ReadsOrders, PreviewsActions, AuthorisesReturns, SchedulesCallBacks, WithdrawsActions,
    )  # fmt: skip
    assert adapter.withdrawable == {Operation.CALL_BACK, Operation.RETURN}
    for method in (adapter.create_withdrawal, adapter.find_withdrawal):
        with pytest.raises(NotOffered, match="no withdrawal of a credit"):
            method(back(Operation.CREDIT, Kind.INVOICE), key=KEY)


def test_its_key_traits_are_the_worst_of_them(adapter: Any) -> None:
    traits = adapter.key_traits(Operation.WITHDRAWAL)
    assert (traits.native, traits.settle.total_seconds()) == (False, 11)


def test_an_answer_without_an_identifier_is_about_what_was_taken_back(
    adapter: Any, remote: Canned
) -> None:
    remote.say(created())
    assert adapter.create_withdrawal(CALLED, key=KEY).ref == CALLED.of
    assert remote.requests[-1].texts("Sku") == ["withdraw"]


def test_a_mapping_file_of_its_own_comes_first(adapter: Any, remote: Canned) -> None:
    remote.say(created())
    adapter.create_withdrawal(RETURNED, key=KEY)
    assert remote.requests[-1].texts("Sku") == ["unreturn"]


def test_the_state_is_the_proof(adapter: Any, remote: Canned) -> None:
    remote.say(rows("<Id>7</Id><Number>open</Number>"))
    assert adapter.find_withdrawal(CALLED, key=KEY) is None
    remote.say(rows("<Id>7</Id><Number>closed</Number><Ref>of somebody else</Ref>"))
    assert adapter.find_withdrawal(CALLED, key=KEY).ref == CALLED.of


def test_cancelled_before_is_found_and_too_late_is_refused(adapter: Any, remote: Canned) -> None:
    remote.fault("env:Client.Before")
    remote.say(rows("<Id>7</Id><Number>void</Number>"))
    assert adapter.create_withdrawal(CALLED, key=KEY).already_existed
    remote.fault("env:Client.Before")
    remote.say(rows("<Id>7</Id><Number>open</Number>"))
    with pytest.raises(Ambiguous):
        adapter.create_withdrawal(CALLED, key=KEY)
    remote.fault("env:Client.Late", "the call was made")
    with pytest.raises(Rejected, match="too late: the call was made"):
        adapter.create_withdrawal(CALLED, key=KEY)


def test_what_is_not_there_is_proof_only_where_the_file_says_so(
    adapter: Any, remote: Canned
) -> None:
    for nothing in (lambda: remote.fault("env:Client.Empty"), lambda: remote.say(rows())):
        nothing()
        assert adapter.find_withdrawal(CALLED, key=KEY) is None
        nothing()
        gone = adapter.find_withdrawal(RETURNED, key=KEY)
        assert (gone.ref, gone.status) == (RETURNED.of, "deleted")
    assert remote.requests[-1].texts("text") == ["amends-made-0001"]
    remote.say(rows("<Id>7</Id><Number>open</Number>"))
    assert adapter.find_withdrawal(RETURNED, key=KEY) is None, "it is there, and stands"
    remote.fault("env:Client.Busy")
    with pytest.raises(Transient):
        adapter.find_withdrawal(RETURNED, key=KEY)
