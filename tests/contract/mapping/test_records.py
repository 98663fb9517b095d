"""Canonical records from what a mapping read."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from middleware.contract.canonical import (
    CANONICAL,
    Account,
    Address,
    Case,
    Contact,
    Handle,
    Invoice,
    Kind,
    Money,
    Order,
    OrderLine,
    OrderStatus,
    Ref,
)
from middleware.contract.mapping import Mapping, MappingError, to_record
from tests.contract.mapping.sheet import pull, sheet


def ref(kind: Kind, id: str, connection: str = "crm") -> Ref:  # noqa: A002
    return Ref(connection=connection, kind=kind, id=id)


def test_a_contact_takes_the_shapes_that_mappings_give():
    contact = to_record(
        Kind.CONTACT,
        connection="crm",
        id="003",
        values={
            "given_name": "Ana",
            "emails": "ana@example.com",
            "phones": ["+12025550143", None, "+12025550143"],
            "handles": {
                "x": "ana",
                "instagram": {"handle": "ana.s", "native_id": 99},
                "facebook": None,
            },
            "account": 42,
            "address": {"city": "Recife", "country": "BR", "district": "Boa Vista"},
            "external_ids": {"erp": 42, "old": None},
            "updated_at": datetime(2026, 1, 1, tzinfo=UTC),
            "birth_date": date(1988, 2, 29),
            "loyalty": {"tier": "gold", "credit": {"amount": Decimal(1), "currency": "EUR"}},
        },
    )
    assert contact == Contact(
        ref=ref(Kind.CONTACT, "003"),
        updated_at=datetime(2026, 1, 1, tzinfo=UTC),
        given_name="Ana",
        emails=("ana@example.com",),
        phones=("+12025550143",),
        handles=(
            Handle(network="x", handle="ana"),
            Handle(network="instagram", handle="ana.s", native_id="99"),
        ),
        account=ref(Kind.ACCOUNT, "42"),
        address=Address(city="Recife", country="BR"),
        external_ids={"erp": "42"},
        extra={
            "address.district": "Boa Vista",
            "birth_date": date(1988, 2, 29),
            "loyalty.tier": "gold",
            "loyalty.credit": {"amount": Decimal(1), "currency": "EUR"},
        },
    )


def test_an_order_takes_lines_money_and_references():
    order = to_record(
        Kind.ORDER,
        connection="erp",
        id="7",
        values={
            "number": 10001,
            "account": {"id": "C-1", "erp_number": "0042"},
            "contact": {"id": 5, "connection": "crm"},
            "status": "shipped",
            "total": {"amount": "9.90", "currency": "EUR"},
            "origin": "case:CS-9",
            "lines": [
                {"id": 1, "sku": 4711, "quantity": Decimal(2), "product": "P-1", "weight": 3},
                {"id": "2", "quantity": "0.5", "unit_price": {"amount": 1, "currency": "EUR"}},
            ],
        },
    )
    assert order == Order(
        ref=ref(Kind.ORDER, "7", "erp"),
        number="10001",
        account=ref(Kind.ACCOUNT, "C-1", "erp"),
        contact=ref(Kind.CONTACT, "5", "crm"),
        status=OrderStatus.SHIPPED,
        total=Money(amount=Decimal("9.90"), currency="EUR"),
        origin=ref(Kind.CASE, "CS-9", "erp"),
        lines=(
            OrderLine(
                id="1", sku="4711", quantity=Decimal(2), product=ref(Kind.PRODUCT, "P-1", "erp")
            ),
            OrderLine(
                id="2",
                quantity=Decimal("0.5"),
                unit_price=Money(amount=Decimal(1), currency="EUR"),
            ),
        ),
        extra={"account.erp_number": "0042", "lines.1.weight": 3},
    )


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ("SO-1", ref(Kind.ORDER, "SO-1")),
        (17, ref(Kind.ORDER, "17")),
        ("case:1", ref(Kind.CASE, "1")),
        ("urn:1", ref(Kind.ORDER, "urn:1")),
        ({"id": 1, "kind": "case"}, ref(Kind.CASE, "1")),
        ({"id": 1, "kind": Kind.CASE}, ref(Kind.CASE, "1")),
        ({"id": None, "kind": "case"}, None),
        ("", None),
        (None, None),
        (ref(Kind.CASE, "1"), ref(Kind.CASE, "1")),
    ],
)
def test_a_free_reference_may_name_its_kind(stated, found):
    order = to_record(Kind.ORDER, connection="crm", id="1", values={"origin": stated})
    assert isinstance(order, Order)
    assert order.origin == found


def test_a_reference_of_another_kind_than_its_name_is_taken_as_it_is_stated():
    order = to_record(
        Kind.ORDER, connection="crm", id="1", values={"account": {"kind": "contact", "id": 1}}
    )
    assert isinstance(order, Order)
    assert order.account == ref(Kind.CONTACT, "1")


@pytest.mark.parametrize("kind", CANONICAL)
def test_every_kind_is_built_from_its_id_alone_where_it_may_be(kind):
    values = {"sku": "A"} if kind is Kind.PRODUCT else {}
    record = to_record(kind, connection="crm", id="1", values=values)
    assert type(record) is CANONICAL[kind]
    assert record.ref == ref(kind, "1")


def test_what_does_not_fit_is_told_with_the_line_that_made_it():
    mapping = pull(
        """
        name: N
        revenue: {from: R, type: money, currency: EUR}
        address.country: C
        tier: T
        """.replace("contact", "account")
    )
    values = mapping.read({"N": ["a"], "C": "Germany", "R": 1, "T": 5})
    with pytest.raises(MappingError) as caught:
        to_record(Kind.ACCOUNT, connection="erp", id="1", values=values)
    assert [(p.field, p.place) for p in caught.value.problems] == [
        ("name", "text.map.yaml:7:9"),
        ("address.country", "text.map.yaml:9:20"),
    ]
    assert "Germany" not in str(caught.value)
    assert caught.value.problems[1].value == "Germany"


def test_what_does_not_fit_inside_a_list_is_told_by_the_line_inside():
    fields = "lines: {each: L, fields: {id: I, quantity: {from: Q}}}"
    mapping = Mapping.parse(sheet(fields).replace("contact", "order"))
    values = mapping.read({"L": [{"I": 1, "Q": 1}, {"I": 2, "Q": "many"}]})
    with pytest.raises(MappingError) as caught:
        to_record(Kind.ORDER, connection="erp", id="1", values=values)
    assert [(p.field, p.place) for p in caught.value.problems] == [
        ("lines.2.quantity", "text.map.yaml:7:53")
    ]


def test_a_status_that_nobody_knows_is_a_problem_not_a_guess():
    with pytest.raises(MappingError, match=r"status: Input should be 'draft', 'confirmed'"):
        to_record(Kind.ORDER, connection="erp", id="1", values={"status": "S3"})


def test_a_kind_without_a_record_is_refused():
    with pytest.raises(MappingError, match="no canonical record of kind note"):
        to_record(Kind.NOTE, connection="crm", id="1", values={})


def test_our_own_words_and_shapes_pass_through():
    invoice = to_record(
        Kind.INVOICE,
        connection="erp",
        id="1",
        values={
            "id": 1,
            "order": ref(Kind.ORDER, "9", "other"),
            "total": Money(amount=Decimal(1), currency="EUR"),
            "extra": {"a": 1},
            "b": {"c": 2},
            "empty": None,
        },
    )
    assert invoice == Invoice(
        ref=ref(Kind.INVOICE, "1", "erp"),
        order=ref(Kind.ORDER, "9", "other"),
        total=Money(amount=Decimal(1), currency="EUR"),
        extra={"a": 1, "b.c": 2},
    )


def test_handles_may_be_listed_as_they_are_in_the_record():
    listed = [{"network": "x", "handle": "ana"}]
    for stated in (listed, listed[0], {"x": ["ana"]}):
        contact = to_record(Kind.CONTACT, connection="c", id="1", values={"handles": stated})
        assert isinstance(contact, Contact)
        assert contact.handles == (Handle(network="x", handle="ana"),)


def test_empty_parts_are_left_out():
    case = to_record(
        Kind.CASE, connection="c", id="1", values={"contact": {"id": ""}, "subject": None}
    )
    assert isinstance(case, Case)
    assert case.contact is None
    account = to_record(Kind.ACCOUNT, connection="c", id="1", values={"address": {"district": "x"}})
    assert isinstance(account, Account)
    assert account.address is None
    assert account.extra == {"address.district": "x"}
