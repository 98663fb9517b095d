"""Call-backs in Salesforce's calendars, and what of the hub's can be taken back there, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.salesforce.adapter import SalesforceAdapter
from middleware.contract.actions import Operation, Receipt, WithdrawalRequest
from middleware.contract.canonical import Kind
from middleware.contract.capabilities import Connection
from middleware.contract.errors import (
    Ambiguous,
    Missing,
    NotOffered,
    Rejected,
    Transient,
)
from middleware.contract.mapping import MappingSet
from middleware.sandbox.crm import KEY_FIELD, ids
from tests.adapters.salesforce.peer import ROOT, CrmPeer

KEY = "am-4be1f0c2d6a94d0b8a6f3e1d2c0b9a87"
BACK = "am-0d3f5b7a9c1e4f60a2b4c6d8e0f1a3b5"
MAPPINGS = ROOT / "mappings" / "salesforce"
Edit = Callable[[str], str]


@pytest.fixture
def peer() -> Iterator[CrmPeer]:
    peer = CrmPeer()
    yield peer
    peer.close()
    assert peer.server.errors == []


@pytest.fixture
def adapter(peer: CrmPeer) -> Iterator[SalesforceAdapter]:
    adapter = SalesforceAdapter.open(peer.connection())
    yield adapter
    adapter.close()


def edited(peer: CrmPeer, tmp_path: Path, edits: dict[str, Edit | None]) -> Connection:
    """A connection whose mapping files were changed; None takes one away."""
    folder = tmp_path / "mappings" / "salesforce"
    folder.mkdir(parents=True)
    for path in MAPPINGS.glob("*.map.yaml"):
        edit = edits.get(path.name.removesuffix(".map.yaml"), str)
        if edit is not None:
            (folder / path.name).write_text(edit(path.read_text()))
    return peer.connection().model_copy(update={"mappings": MappingSet.load(folder)})


def row_of(peer: CrmPeer, made: Receipt) -> dict[str, Any]:
    name = {Kind.CASE: "Case", Kind.TASK: "Event", Kind.ORDER: "Order"}[made.ref.kind]
    row = peer.crm.rows.get(name, made.ref.id)
    assert row is not None
    return dict(row)


def make(peer: CrmPeer, adapter: SalesforceAdapter, made_by: Operation) -> Receipt:
    if made_by is Operation.CASE:
        return adapter.create_case(peer.case_request(), key=KEY)
    if made_by is Operation.CALL_BACK:
        return adapter.create_call_back(peer.call_back(), key=KEY)
    return adapter.create_replacement_order(peer.replacement(), key=KEY)


def taking_back(made: Receipt, made_by: Operation, **more: Any) -> WithdrawalRequest:
    return WithdrawalRequest(
        **{"of": made.ref, "made_by": made_by, "made_under": KEY, "note": "By mistake.", **more}
    )


# Call-backs.


def test_a_call_back_is_an_event_with_a_slot(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    request = peer.call_back(description="Is the shade sold alone?")
    made = adapter.create_call_back(request, key=KEY)
    assert made.ref.kind is Kind.TASK
    assert (made.status, made.already_existed) == ("planned", False)
    row = row_of(peer, made)
    slot = (row["StartDateTime"], row["EndDateTime"])
    assert tuple(map(datetime.fromisoformat, slot)) == (request.slot_from, request.slot_to)
    assert row["DurationInMinutes"] == 30
    assert (row["WhoId"], row["WhatId"]) == (request.contact.id, peer.case)  # type: ignore[union-attr]
    assert (row["Subject"], row["Location"]) == (request.subject, "+493023125001")
    assert row["Description"] == "Is the shade sold alone?"
    assert (row["Order_Number__c"], row["ShowAs"]) == ("SO-10159", "Busy")
    assert row[KEY_FIELD] == KEY


@pytest.mark.parametrize("known", ["contact", "account"])
def test_it_stands_in_the_calendar_of_who_looks_after_the_customer(
    peer: CrmPeer, adapter: SalesforceAdapter, known: str
) -> None:
    agent = peer.crm.seed("User", Username="agent@crm.example.com")
    contact = peer.row("Contact", "Customer_Number__c", "C-1001")
    of = contact["Id"] if known == "contact" else contact["AccountId"]
    peer.crm.touch(known.title(), of, OwnerId=agent)
    account = peer.ref(Kind.ACCOUNT, contact["AccountId"])
    less = {} if known == "contact" else {"contact": None}
    made = adapter.create_call_back(peer.call_back(account=account, **less), key=KEY)
    assert row_of(peer, made)["OwnerId"] == agent


def test_a_calendar_can_be_named_instead(peer: CrmPeer, tmp_path: Path) -> None:
    desk = peer.crm.seed("User", Username="desk@crm.example.com")
    edits: dict[str, Edit | None] = {
        "call_back": lambda text: text.replace("{from: owner}", f"{{const: {desk}}}")
    }
    adapter = SalesforceAdapter.open(edited(peer, tmp_path, edits))
    made = adapter.create_call_back(peer.call_back(), key=KEY)
    assert row_of(peer, made)["OwnerId"] == desk
    assert not [line for line in peer.server.lines if "FROM%20Contact" in line or
                "FROM+Contact" in line], "nobody was asked about"  # fmt: skip
    adapter.close()


def test_a_slot_that_has_passed_is_refused(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    """By the org's clock, for the action may have waited in a queue."""
    peer.crm.ahead += timedelta(days=2)
    with pytest.raises(Rejected) as caught:
        adapter.create_call_back(peer.call_back(), key=KEY)
    assert caught.value.field == "slot_to"
    assert peer.count(Operation.CALL_BACK, KEY) == 0


def test_a_call_back_that_was_made_is_found_after_its_slot(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    made = adapter.create_call_back(peer.call_back(), key=KEY)
    peer.crm.ahead += timedelta(days=2)
    again = adapter.create_call_back(peer.call_back(), key=KEY)
    assert (again.ref, again.already_existed) == (made.ref, True)


def test_a_case_bears_the_number_of_an_order_that_lives_elsewhere(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    elsewhere = peer.ref(Kind.ORDER, "4711").model_copy(update={"connection": "erp"})
    request = peer.case_request(order=elsewhere, order_number="SO-10159")
    row = row_of(peer, adapter.create_case(request, key=KEY))
    assert (row["Order__c"], row["Order_Number__c"]) == (None, "SO-10159")


# Taking back.


def test_a_case_is_closed_and_says_why(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    made = make(peer, adapter, Operation.CASE)
    done = adapter.create_withdrawal(taking_back(made, Operation.CASE), key=BACK)
    assert (done.ref, done.number, done.status) == (made.ref, made.number, "closed")
    row = row_of(peer, made)
    assert (row["IsClosed"], row["Amends_Withdrawn__c"]) == (True, "other: By mistake.")
    assert row[KEY_FIELD] == KEY


def test_a_case_that_somebody_closed_is_left_as_it_is(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    made = make(peer, adapter, Operation.CASE)
    peer.crm.touch("Case", made.ref.id, Status="Closed")
    before = row_of(peer, made)
    done = adapter.create_withdrawal(taking_back(made, Operation.CASE), key=BACK)
    assert (done.status, done.already_existed) == ("closed", True)
    assert row_of(peer, made) == before


def test_a_call_back_is_cancelled_and_frees_the_time(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    made = make(peer, adapter, Operation.CALL_BACK)
    done = adapter.create_withdrawal(taking_back(made, Operation.CALL_BACK), key=BACK)
    assert done.status == "cancelled"
    row = row_of(peer, made)
    assert (row["ShowAs"], row["IsDeleted"]) == ("Free", False)
    assert row["Amends_Withdrawn__c"] == "other: By mistake."


def test_a_slot_that_is_over_is_not_taken_back(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    made = make(peer, adapter, Operation.CALL_BACK)
    peer.crm.ahead += timedelta(days=2)
    with pytest.raises(Rejected) as caught:
        adapter.create_withdrawal(taking_back(made, Operation.CALL_BACK), key=BACK)
    assert caught.value.field == "EndDateTime"
    assert row_of(peer, made)["Call_Back_Status__c"] == "Planned"


def test_a_draft_order_goes_into_the_recycle_bin_and_says_why(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    made = make(peer, adapter, Operation.REPLACEMENT_ORDER)
    request = taking_back(made, Operation.REPLACEMENT_ORDER)
    done = adapter.create_withdrawal(request, key=BACK)
    assert (done.number, done.status) == (made.number, "deleted")
    row = row_of(peer, made)
    assert (row["IsDeleted"], row["Amends_Withdrawn__c"]) == (True, "other: By mistake.")
    found = adapter.find_replacement_order(peer.replacement(), key=KEY)
    assert found is not None
    assert found.status == "deleted"


def test_an_order_in_another_state_names_the_state(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    made = make(peer, adapter, Operation.REPLACEMENT_ORDER)
    peer.crm.touch("Order", made.ref.id, Status="Shipped")
    with pytest.raises(Rejected) as caught:
        adapter.create_withdrawal(taking_back(made, Operation.REPLACEMENT_ORDER), key=BACK)
    assert "Shipped" in caught.value.message
    assert caught.value.field == "Status"
    assert not row_of(peer, made)["IsDeleted"]


CHANGES = {
    Operation.CASE: {"Subject": "She called again!"},
    Operation.CALL_BACK: {"Call_Back_Status__c": "Done"},
    Operation.REPLACEMENT_ORDER: {"Status": "Activated"},
}


@pytest.mark.parametrize("made_by", CHANGES)
def test_what_changes_between_look_and_write_is_looked_at_again(
    peer: CrmPeer,
    adapter: SalesforceAdapter,
    made_by: Operation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = make(peer, adapter, made_by)
    look = adapter._made

    def somebody_is_faster(*args: Any) -> dict[str, Any]:
        row = look(*args)
        peer.crm.ahead += timedelta(seconds=2)  # Salesforce compares whole seconds
        peer.touch_of(made.ref, **CHANGES[made_by])
        return row

    with monkeypatch.context() as patch:
        patch.setattr(adapter, "_made", somebody_is_faster)
        with pytest.raises(Transient) as caught:
            adapter.create_withdrawal(taking_back(made, made_by), key=BACK)
    assert caught.value.code == "412"
    row = row_of(peer, made)
    assert row["Amends_Withdrawn__c"] is None
    assert peer.withdrawn(made.ref) == 0
    if made_by is Operation.CASE:  # only its subject changed: the next look takes it back
        adapter.create_withdrawal(taking_back(made, made_by), key=BACK)
        assert peer.withdrawn(made.ref) == 1
    else:
        with pytest.raises(Rejected):
            adapter.create_withdrawal(taking_back(made, made_by), key=BACK)


@pytest.mark.parametrize("made_by", CHANGES)
def test_a_withdrawal_that_commits_late_overwrites_nothing(
    peer: CrmPeer, adapter: SalesforceAdapter, made_by: Operation
) -> None:
    """Its line drops; it arrives when somebody has worked on the record. So it may be sent anew."""
    made = make(peer, adapter, made_by)
    adapter.find_withdrawal(taking_back(made, made_by), key=BACK)
    verb = "POST" if made_by is Operation.REPLACEMENT_ORDER else "PATCH"
    peer.server.faults.arm("late_commit", match=f"{verb} /services/data", seconds=600)
    with pytest.raises(Ambiguous):
        adapter.create_withdrawal(taking_back(made, made_by), key=BACK)
    peer.crm.ahead += timedelta(seconds=2)
    peer.touch_of(made.ref, **CHANGES[made_by])
    assert peer.server.settle(60, now=True)
    assert peer.withdrawn(made.ref) == 0
    assert row_of(peer, made)["Amends_Withdrawn__c"] is None
    assert adapter.key_traits(Operation.WITHDRAWAL).native


@pytest.mark.parametrize("made_by", CHANGES)
@pytest.mark.parametrize(
    "fault", ["drop_after", "garbage_after", "masked:html_after", "drop_before"]
)
def test_a_lost_answer_is_looked_up(
    peer: CrmPeer, adapter: SalesforceAdapter, made_by: Operation, fault: str
) -> None:
    made = make(peer, adapter, made_by)
    request = taking_back(made, made_by)
    verbs = ("POST /services/data", "PATCH /services/data")
    with peer.armed(fault, *verbs), pytest.raises(Ambiguous):
        adapter.create_withdrawal(request, key=BACK)
    applied = fault != "drop_before"
    assert peer.withdrawn(made.ref) == int(applied)
    assert (adapter.find_withdrawal(request, key=BACK) is not None) == applied
    again = adapter.create_withdrawal(request, key=BACK)
    assert again.already_existed == applied
    assert peer.withdrawn(made.ref) == 1


def test_somebody_else_deleted_it_a_moment_before(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    made = make(peer, adapter, Operation.REPLACEMENT_ORDER)
    with peer.armed("masked:duplicate_value", "POST /services/data"):
        done = adapter.create_withdrawal(taking_back(made, Operation.REPLACEMENT_ORDER), key=BACK)
    assert (done.status, done.already_existed) == ("deleted", True)


def test_only_what_bears_the_key_is_taken_back(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    """A wrong reference must not close somebody's case."""
    made = make(peer, adapter, Operation.CASE)
    for request in (
        taking_back(made, Operation.CASE, of=peer.ref(Kind.CASE, peer.case)),
        taking_back(made, Operation.CASE, made_under="am-another-key-altogether"),
    ):
        with pytest.raises(Rejected) as caught:
            adapter.create_withdrawal(request, key=BACK)
        assert caught.value.field == KEY_FIELD
    assert not row_of(peer, made)["IsClosed"]
    with pytest.raises(Rejected):
        adapter.create_withdrawal(taking_back(made, Operation.CALL_BACK), key=BACK)
    nowhere = peer.ref(Kind.CASE, ids.make("500", 10**6))
    with pytest.raises(Missing, match="recycle bin"):
        adapter.find_withdrawal(taking_back(made, Operation.CASE, of=nowhere), key=BACK)


def test_a_long_note_is_shortened_to_the_field(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    made = make(peer, adapter, Operation.CASE)
    request = taking_back(made, Operation.CASE, note="ä" * 400)
    adapter.create_withdrawal(request, key=BACK)
    because = row_of(peer, made)["Amends_Withdrawn__c"]
    assert because.startswith("other: ää")
    assert because.endswith("(shortened)")


def test_an_org_may_delete_events_and_cancel_orders(peer: CrmPeer, tmp_path: Path) -> None:
    edits: dict[str, Edit | None] = {
        "withdraw_call_back": lambda text: text.replace("write: update", "write: delete"),
        "withdraw_replacement_order": lambda text: text.replace(
            "write: delete", "write: update"
        ).replace("fields:\n", "fields:\n  Status: {const: Cancelled}\n"),
    }
    adapter = SalesforceAdapter.open(edited(peer, tmp_path, edits))
    event = make(peer, adapter, Operation.CALL_BACK)
    done = adapter.create_withdrawal(taking_back(event, Operation.CALL_BACK), key=BACK)
    assert (done.status, row_of(peer, event)["IsDeleted"]) == ("deleted", True)
    order = make(peer, adapter, Operation.REPLACEMENT_ORDER)
    request = taking_back(order, Operation.REPLACEMENT_ORDER)
    assert adapter.create_withdrawal(request, key=BACK).status == "cancelled"
    assert not row_of(peer, order)["IsDeleted"]
    adapter.close()


def test_without_its_file_nothing_is_taken_back(peer: CrmPeer, tmp_path: Path) -> None:
    names = ("withdraw_case", "withdraw_call_back", "withdraw_replacement_order")
    none = SalesforceAdapter.open(edited(peer, tmp_path / "none", dict.fromkeys(names)))
    with pytest.raises(NotOffered):
        none.key_traits(Operation.WITHDRAWAL)
    with pytest.raises(NotOffered):
        none.create_withdrawal(peer.withdrawal(), key=BACK)
    none.close()
    one = SalesforceAdapter.open(edited(peer, tmp_path / "one", dict.fromkeys(names[:2])))
    assert one.key_traits(Operation.WITHDRAWAL).native
    with pytest.raises(NotOffered):
        one.find_withdrawal(peer.withdrawal(), key=BACK)
    one.close()


@pytest.mark.parametrize(
    ("sobject", "right", "name"),
    [
        ("Case", "updateable", "change Case"),
        ("Event", "updateable", "change Event"),
        ("Order", "deletable", "delete Order"),
        ("Order", "updateable", "delete Order"),
    ],
)
def test_check_names_the_right_to_take_back(
    peer: CrmPeer,
    adapter: SalesforceAdapter,
    monkeypatch: pytest.MonkeyPatch,
    sobject: str,
    right: str,
    name: str,
) -> None:
    describe = adapter._client.describe

    def less(which: str) -> dict[str, Any] | None:
        about = describe(which)
        return {**about, right: False} if about and which == sobject else about

    monkeypatch.setattr(adapter._client, "describe", less)
    (found,) = [finding for finding in adapter.check().findings if finding.name == name]
    assert not found.ok
    assert found.detail
    assert "permission set" in found.remedy


def test_check_names_a_field_that_may_not_be_changed(
    adapter: SalesforceAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = adapter._client.describe

    def locked(which: str) -> dict[str, Any] | None:
        about = describe(which)
        assert about is not None
        lock = {"updateable": False}
        fields = [{**f, **(lock if f["name"] == "ShowAs" else {})} for f in about["fields"]]
        return {**about, "fields": fields}

    monkeypatch.setattr(adapter._client, "describe", locked)
    (found,) = [f for f in adapter.check().findings if f.name == "change Event"]
    assert not found.ok
    assert "ShowAs" in found.detail


def test_check_says_where_the_key_field_of_events_is_made(
    adapter: SalesforceAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = adapter._client.describe

    def without_keys(which: str) -> dict[str, Any] | None:
        about = describe(which)
        assert about is not None
        return {**about, "fields": [f for f in about["fields"] if f["name"] != KEY_FIELD]}

    monkeypatch.setattr(adapter._client, "describe", without_keys)
    remedies = {f.name: f.remedy for f in adapter.check().findings}
    assert "custom field of Activity" in remedies[f"key Event.{KEY_FIELD}"]
    assert "custom field of Case" in remedies[f"key Case.{KEY_FIELD}"]


def test_times_go_out_in_utc(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    noon = datetime(2099, 7, 1, 12, tzinfo=UTC)
    request = peer.call_back(slot_from=noon, slot_to=noon + timedelta(minutes=15))
    made = adapter.create_call_back(request, key=KEY)
    assert row_of(peer, made)["StartDateTime"] == "2099-07-01T12:00:00.000+0000"
