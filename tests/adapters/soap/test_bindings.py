"""A wrong bindings file is refused when it is opened, with the place of each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from adapters.soap import grammar
from adapters.soap.adapter import SoapAdapter
from middleware.contract.actions import Operation
from middleware.contract.capabilities import (
    CAPABILITIES,
    AuthorisesReturns,
    CreatesReplacementOrders,
    FindsContacts,
    PreviewsActions,
    ReadsOrders,
    ReadsShipments,
    capabilities_of,
)
from middleware.contract.errors import NotOffered
from middleware.contract.mapping import MappingInvalid, MappingSet
from tests.adapters.soap.canned import (
    BINDINGS,
    ORDER_MAP,
    RETURN_MAP,
    WSDL,
    open_shop,
    put_files,
    shop,
)

NOWHERE = "http://127.0.0.1:1"

LOOKUPS = """
find_accounts:
  operation: Find
  result: Order
  id: Id
  lookups: [{by: emails, arguments: {text: value}}]
"""
CHANGES = """
list_changes:
  order:
    operation: Find
    arguments: {since: since, page: page}
    result: Order
    id: Id
    paging: {style: page, pages: Pages}
"""

# What is replaced by what, and the mistake that is found: where it stands (the first place of this
# text in the new file), its code, and words of its message.
WRONG: dict[str, tuple[str, str, str, str, str]] = {
    "an unknown key": (
        "writes:", "rites:", "rites:", "M001", "unknown key 'rites' (did you mean 'writes'?)",
    ),
    "a missing key": (
        "{text: id}, result: Order, id: Id}", "{text: id}, id: Id}",
        "{operation: Find, arguments: {text: id}, id", "M012", "'result' is missing",
    ),
    "a wrong type of value": (
        "settle_s: 7", "settle_s: soon", "soon", "M011", "whole number from 0 to 86400",
    ),
    "a version from the future": (
        "bindings: 1", "bindings: 2", "2", "M011", "whole number from 1 to 1",
    ),
    "an unknown outcome": (
        "{outcome: missing}", "{outcome: shrug}", "shrug", "M011", "must be one of already_done",
    ),
    "nothing bound": (
        BINDINGS[BINDINGS.index("read_orders:") :], "", "bindings: 1", "B007", "binds nothing",
    ),
    "a write without find": (
        "    find: {operation: Find, arguments: {text: key}, result: Order, id: Id, key: Ref}", "",
        "return:", "B001", "return has no `find`: a write that cannot be looked up",
    ),
    "a find that does not look by the key": (
        "{text: key}", "{text: request.order.id}", "{operation: Find, arguments: {text: request",
        "B001", "`find` does not look by our key",
    ),
    "a withdrawal that says nothing of what": (
        "  return:", "  withdrawal: {}\n  return:", "withdrawal:", "M012", "key 'of' is missing",
    ),
    "a withdrawal that is not told by what was made": (
        "  return:",
        "  withdrawal: {operation: Create, of: {return: {operation: Create}}}\n  return:",
        "operation: Create,", "M015", "put 'operation' below the operation that is taken back",
    ),
    "a withdrawal without find": (
        "  return:", "  withdrawal: {of: {credit: {operation: Create}}}\n  return:",
        "credit:", "B001", "withdrawal of a credit has no `find`",
    ),
    "a withdrawal of what nobody makes": (
        "  return:", "  withdrawal: {of: {credt: {operation: Create}}}\n  return:",
        "credt:", "B007", "'credt' is no operation (did you mean 'credit'?)",
    ),
    "a withdrawal of a withdrawal": (
        "  return:", "  withdrawal: {of: {withdrawal: {operation: Create}}}\n  return:",
        "withdrawal: {operation", "B007", "'withdrawal' is no operation",
    ),
    "a withdrawal of which any state is proof": (
        "  return:",
        "  withdrawal:\n    of:\n      return:\n        operation: Create\n"
        "        find: {operation: Find, arguments: {text: request.of.id}, result: Order, id: Id}\n"
        "  return:",
        "{operation: Find, arguments: {text: request.of", "B001", "say with `only` in which state",
    ),
    "a withdrawal that no mapping file writes": (
        "  return:",
        "  withdrawal:\n    of:\n      return:\n        operation: Create\n"
        "        find: {operation: Find, arguments: {text: request.of.id}, result: Order, id: Id,"
        " only: {Total: 0}}\n  return:",
        "return:\n        operation: Create", "B002", "how a withdrawal becomes their request",
    ),
    "something of a write that is no withdrawal": (
        "settle_s: 7", "settle_s: 7\n    of: {credit: {operation: Create}}", "of: {credit", "M015",
        "`of` goes with a withdrawal, not a return",
    ),
    "a deleted record as proof of a write": (
        "key: Ref}", "key: Ref, gone: true}", "gone", "M015", "gone goes with a withdrawal",
    ),
    "an operation that no remote knows": (
        "  return:", "  undo:", "undo:", "B007", "'undo' is no operation",
    ),
    "an unknown operation of ours": (
        "  return:", "  retrun:", "retrun:", "B007", "'retrun' is no operation (did you mean",
    ),
    "no mapping file for a write": (
        "  return:", "  case:", "case:", "B002", "no mapping file says how a case becomes",
    ),
    "no mapping file for a read": (
        "read_orders:", "read_shipments: {operation: Find, result: Order, id: Id}\nread_orders:",
        "read_shipments", "B002", "no mapping file says how their record becomes a shipment",
    ),
    "an argument from nowhere": (
        "{text: number}", "{text: numbr}", "numbr", "B003",
        "'numbr' is not known here; there is number (did you mean 'number'?)",
    ),
    "a part of the request that does not exist": (
        "{text: key}", "{text: key, size: request.orders}", "request.orders", "B003",
        "a request for a return has no 'orders' (did you mean 'order'?)",
    ),
    "a template that names nothing known": (
        "{text: id}", '{text: {template: "id={ids}"}}', '"id={ids}"', "B003", "'ids' is not known",
    ),
    "two origins of an argument": (
        "{text: id}", "{text: {from: id, const: x}}", "text: {from", "M002", "exactly one of from",
    ),
    "an unknown step": (
        "{text: id}", "{text: {from: id, use: [uper]}}", "uper", "M003", "unknown step 'uper'",
    ),
    "paging without an end": (
        "{text: customer.id}, result: Order, id: Id}",
        "{text: customer.id}, result: Order, id: Id, paging: {style: page}}",
        "{style: page}", "M012", "style page needs next, pages, total, done or size",
    ),
    "a page where there is no paging": (
        "{text: customer.id}", "{text: customer.id, page: page}", "page}", "B003",
        "'page' is not known here",
    ),
    "pages that may skip": (
        "read_orders:", CHANGES.strip() + "\nread_orders:", "style: page", "B005",
        "counting pages can skip a record",
    ),
    "changes that are not since": (
        "read_orders:",
        CHANGES.strip().replace("since: since, ", "").replace("pages: Pages", "total: Total")
        + "\nread_orders:",
        "operation: Find\n    arguments: {page", "M012", "no argument takes `since`",
    ),
    "an unknown kind": (
        "read_orders:",
        CHANGES.strip().replace("  order:", "  orders:").replace("pages: Pages", "total: Total")
        + "\nread_orders:",
        "orders:\n    operation", "B007", "'orders' is no kind of record (did you mean 'order'?)",
    ),
    "an unknown prefix": (
        "read_orders:", "operations: {Find: {types: {text: c:Thing}}}\nread_orders:", "c:Thing",
        "B006", "no namespace has the prefix 'c'",
    ),
    "an unknown operation of theirs": (
        "{operation: Find, arguments: {text: id}", "{operation: Fnd, arguments: {text: id}",
        "operation: Fnd", "B004", "the WSDL has no operation 'Fnd' (did you mean 'Find'?)",
    ),
    "an unknown operation that is described": (
        "read_orders:", "operations: {Fnd: {action: x}}\nread_orders:", "Fnd", "B004",
        "the WSDL has no operation 'Fnd'",
    ),
    "an unknown element of the input": (
        "{text: id}", "{txt: id}", "txt", "R201", "Find has no element 'txt'",
    ),
    "an unknown element of the answer": (
        "{text: id}, result: Order,", "{text: id}, result: Ordr,",
        "operation: Find, arguments: {text: id}, result: Ordr", "R201",
        "the answer of Find has no element 'Ordr'",
    ),
    "an unknown identifier in the answer": (
        "{text: id}, result: Order, id: Id", "{text: id}, result: Order, id: Nr",
        "operation: Find, arguments: {text: id}, result: Order, id: Nr", "R201",
        "the answer of Find has no element 'Order.Nr'",
    ),
    "an unknown element for our key": (
        "key: Ref}", "key: Reff}", "operation: Find, arguments: {text: key}", "R201",
        "the answer of Find has no element 'Order.Reff'",
    ),
    "an unknown part of a receipt": (
        "{number: Number}", "{number: Nr}", "operation: Find, arguments: {text: key}", "R201",
        "the answer of Find has no element 'Order.Nr'",
    ),
    "an unknown beginning of all answers": (
        "read_orders:", "within: Result\nread_orders:", "operation: Find", "R201",
        "the answer of Find has no element 'Result'",
    ),
    "an unknown type": (
        "read_orders:", 'operations: {Find: {types: {text: "{urn:shop}Thing"}}}\nread_orders:',
        '"{urn:shop}Thing"', "B006", "the WSDL has no type {urn:shop}Thing",
    ),
    "another WSDL than it was written for": (
        "system: shop", f"system: shop\nwsdl_lock: sha256:{'0' * 64}", "wsdl_lock", "R203",
        "the WSDL is not the one that the file was written against; it is sha256:",
    ),
    "a tab": ("  read:", "\tread:", "\tread", "M000", "a tab"),
}  # fmt: skip


def issues(caught: pytest.ExceptionInfo[ValidationError]) -> list[str]:
    found = caught.value.errors()
    assert {one["loc"] for one in found} == {("bindings",)}
    return [one["msg"] for one in found]


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_found_at_its_place(name: str, tmp_path: Path) -> None:
    old, new, anchor, code, words = WRONG[name]
    assert BINDINGS.count(old) == 1
    written = BINDINGS.replace(old, new)
    folder = put_files(tmp_path / "shop", bindings=written)
    with pytest.raises(ValidationError) as caught:
        open_shop(folder, NOWHERE)
    before = written[: written.index(anchor)]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    place = f"{folder / 'bindings.yaml'}:{line}:{column}: error {code} "
    told = issues(caught)
    assert any(one.startswith(place) and words in one for one in told), (place, told)


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("    fields: {Sku: sku,", "    fields: {Skoo: sku,", "R201", "no element 'Line.Skoo'"),
        ("    fields: {Sku: sku,", "    fields: {", "R202", "'Line.Sku' of Create is not mapped"),
        ("{external_id: {from: Id,", "{number: {from: Id,", "M012", "external_id"),
        (
            "target: {operation: Create}",
            f"target: {{operation: Create, wsdl_lock: 'sha256:{'1' * 64}'}}",
            "R203",
            "not the one",
        ),
    ],
)
def test_a_mistake_in_a_mapping_file_is_found_there(
    old: str, new: str, code: str, words: str, tmp_path: Path
) -> None:
    assert old in RETURN_MAP
    folder = put_files(tmp_path / "shop", return_map=RETURN_MAP.replace(old, new))
    with pytest.raises(ValidationError) as caught:
        open_shop(folder, NOWHERE)
    place = f"{folder / 'return.map.yaml'}:"
    told = issues(caught)
    assert any(f" {code} " in one and words in one for one in told), told
    assert any(one.startswith(place) for one in told), told


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    wrong = BINDINGS.replace("{text: id}", "{text: idd}").replace("{text: number}", "{text: nr}")
    folder = put_files(tmp_path / "shop", bindings=wrong)
    with pytest.raises(ValidationError) as caught:
        open_shop(folder, NOWHERE)
    assert len(issues(caught)) == 2


def test_the_right_file_opens(tmp_path: Path) -> None:
    adapter = open_shop(put_files(tmp_path / "shop"), NOWHERE)
    assert capabilities_of(type(adapter)) == (ReadsOrders, AuthorisesReturns)
    adapter.close()


def test_classes_tell_the_truth(tmp_path: Path) -> None:
    """Each connection's class has what its bindings bind, and nothing else."""
    only_reads = BINDINGS[: BINDINGS.index("writes:")]
    one = open_shop(put_files(tmp_path / "one"), NOWHERE)
    two = open_shop(put_files(tmp_path / "two", bindings=only_reads), NOWHERE)
    three = open_shop(put_files(tmp_path / "three"), NOWHERE)
    assert isinstance(one, SoapAdapter)
    assert isinstance(one, AuthorisesReturns)
    assert not isinstance(two, AuthorisesReturns)
    assert isinstance(two, ReadsOrders)
    assert type(one) is type(three)
    assert type(one) is not type(two)
    for missing in (FindsContacts, ReadsShipments, CreatesReplacementOrders, PreviewsActions):
        assert not isinstance(one, missing)
        assert not issubclass(type(one), missing)
    assert not any(issubclass(SoapAdapter, capability) for capability in CAPABILITIES[:5])
    assert one.key_traits(Operation.RETURN).settle.total_seconds() == 7
    with pytest.raises(NotOffered):
        two.key_traits(Operation.RETURN)
    for adapter in (one, two, three):
        adapter.close()


def test_the_bindings_file_lies_beside_the_mapping_files(tmp_path: Path) -> None:
    folder = put_files(tmp_path / "shop")
    (folder / "bindings.yaml").rename(tmp_path / "elsewhere.yaml")
    with pytest.raises(ValidationError, match="there is none beside the mapping files"):
        open_shop(folder, NOWHERE)
    open_shop(folder, NOWHERE, bindings=tmp_path / "elsewhere.yaml").close()


def test_lookups_take_what_they_leave_out_from_above(tmp_path: Path) -> None:
    account = ORDER_MAP.replace("shop.order", "shop.account").replace(
        "canonical: order", "canonical: account"
    )
    account = account[: account.index("fields:")] + "fields: {number: Number}\n"
    folder = put_files(tmp_path / "shop", bindings=BINDINGS + LOOKUPS, account_map=account)
    bound = grammar.read(folder / "bindings.yaml", MappingSet.load(folder))
    (lookup,) = bound.accounts
    assert (lookup.by, lookup.call.operation, lookup.call.result) == ("emails", "Find", "Order")
    without = LOOKUPS.replace("  result: Order\n", "")
    folder = put_files(tmp_path / "other", bindings=BINDINGS + without, account_map=account)
    with pytest.raises(MappingInvalid, match="'result' is missing"):
        grammar.read(folder / "bindings.yaml", MappingSet.load(folder))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"auth": "basic"}, "needs a username"),
        ({"auth": "usernametoken", "username": "u"}, "password"),
        ({"auth": "header"}, "needs header.element"),
        ({"auth": "header", "header": {"element": "no-namespace"}}, "pattern"),
        (
            {"auth": "header", "header": {"element": "{u}K", "values": {"T": "secret:token"}}},
            "token",
        ),
        ({"digest": True}, "digest goes with"),
        ({"endpoint": None}, "needs an endpoint"),
        ({"endpoint": "http://a:b@127.0.0.1/"}, "holds credentials"),
        ({"total_s": 0}, "greater than 0"),
        ({"soap_version": "2.0"}, "'1.1' or '1.2'"),
        ({"allowed_import_hosts": ["http://x"]}, "pattern"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    settings: dict[str, object], words: str, tmp_path: Path
) -> None:
    folder = put_files(tmp_path / "shop")
    with pytest.raises(ValidationError) as caught:
        open_shop(folder, NOWHERE, **settings)
    assert words in str(caught.value)


def test_without_a_wsdl_yet_it_opens_and_says_so_when_called(tmp_path: Path) -> None:
    """Opening talks to nobody; a remote that is down must not keep the hub from starting."""
    folder = put_files(tmp_path / "shop")
    connection = shop(folder, NOWHERE, wsdl=f"{NOWHERE}/w")
    adapter = SoapAdapter.open(connection)
    report = adapter.check()
    assert not report.ok
    assert report.findings[0].name == "wsdl"
    adapter.close()


def test_a_wsdl_for_another_version_of_soap(tmp_path: Path) -> None:
    folder = put_files(tmp_path / "shop")
    with pytest.raises(Exception, match="no SOAP port"):
        open_shop(folder, NOWHERE, soap_version="1.2")
    (folder / "shop.wsdl").write_text(WSDL.format(soap="soap12", address="x"))
    open_shop(folder, NOWHERE, soap_version="1.2").close()
