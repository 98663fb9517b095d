"""Values that the operator says are nobody's are taken out before anything is compared."""

from __future__ import annotations

import pytest

from middleware.contract.canonical import Account, Address, Contact, Handle, Kind, Order, Ref
from middleware.domain.arrivals import Author
from middleware.domain.understanding import Entity, EntityType
from middleware.resolution.blocked import Blocked
from middleware.resolution.profiles import found_by

BLOCKED = Blocked.of(
    emails=["Info@Example.com", "@agency.example"],
    phones=["030 23125 0"],
    names=["Unknown Customer", "n/a", "-"],
    handles=["@OurBrand", "4711"],
    ids=["99999"],
    regions=("DE",),
)


def ref(kind: Kind) -> Ref:
    return Ref(connection="crm", kind=kind, id="1")


def test_a_contact_keeps_what_is_theirs() -> None:
    contact = Contact(
        ref=ref(Kind.CONTACT),
        given_name="N/A",
        family_name="Berg",
        display_name="unknown  customer",
        emails=("info@example.com", "kim@example.com", "x@agency.example", "none"),
        phones=("+49 30 23125-0", "+49 30 23125 101"),
        handles=(
            Handle(network="x", handle="OurBrand", native_id="5"),
            Handle(network="instagram", handle="https://instagram.com/ourbrand"),
            Handle(network="facebook", handle="kim", native_id="4711"),
        ),
        external_ids={"customer_number": " 99999", "erp": "7"},
    )
    left = BLOCKED.record(contact)
    assert (left.given_name, left.family_name, left.display_name) == (None, "Berg", None)
    assert left.emails == ("kim@example.com", "none")
    assert left.phones == ("+49 30 23125 101",)
    assert left.handles == (
        Handle(network="x", native_id="5"),
        Handle(network="facebook", handle="kim"),
    )
    assert left.external_ids == {"erp": "7"}
    assert contact.display_name == "unknown  customer"


def test_an_account_that_is_a_placeholder_is_found_by_nothing() -> None:
    account = Account(
        ref=ref(Kind.ACCOUNT),
        name="Unknown Customer",
        number="99999",
        phones=("030 231250",),
        address=Address(country="DE"),
    )
    found = found_by(BLOCKED.record(account))
    assert found.identifiers == ()
    assert found.likeness is not None
    assert found.likeness() is None


@pytest.mark.parametrize(
    ("given", "family"), [("Unknown", "Customer"), ("-", "-"), ("N/A", None), (None, "n/a")]
)
def test_a_name_of_placeholders_is_no_name(given: str | None, family: str | None) -> None:
    contact = Contact(ref=ref(Kind.CONTACT), given_name=given, family_name=family)
    left = BLOCKED.record(contact)
    assert (left.given_name, left.family_name) == (None, None)


def test_who_writes_keeps_what_is_theirs() -> None:
    author = Author(
        network="zendesk",
        native_id="4712",
        handle="ourbrand",
        display_name="N/A",
        emails=("info@example.com", "kim@example.com"),
        phones=("030 231250",),
        external_ids={"customer_number": "99999"},
    )
    left = BLOCKED.author(author)
    assert left == Author(network="zendesk", native_id="4712", emails=("kim@example.com",))


@pytest.mark.parametrize(
    ("network", "native_id"),
    [("email", "info@example.com"), ("whatsapp", "4930231250"), ("x", "4711")],
)
def test_an_account_that_is_everybodys_says_nothing(network: str, native_id: str) -> None:
    assert BLOCKED.author(Author(network=network, native_id=native_id)).native_id is None


def test_what_a_text_names_is_taken_out_too() -> None:
    def named(type_: EntityType, value: str) -> Entity:
        return Entity(type=type_, value=value, start=0, end=1, confidence=0.9, why="test")

    kept = [
        named(EntityType.ORDER_NUMBER, "99999"),
        named(EntityType.EMAIL, "kim@example.com"),
        named(EntityType.PHONE, "+493023125101"),
    ]
    gone = [
        named(EntityType.EMAIL, "info@example.com"),
        named(EntityType.PHONE, "+4930231250"),
    ]
    assert list(BLOCKED.mentioned([*gone, *kept])) == kept


def test_nothing_blocked_changes_nothing() -> None:
    order = Order(ref=ref(Kind.ORDER), number="99999")
    assert BLOCKED.record(order) is order
    contact = Contact(ref=ref(Kind.CONTACT), display_name="n/a")
    assert Blocked().record(contact) is contact
    assert Blocked().digest == Blocked.of(regions=("DE",)).digest == ""
    assert BLOCKED.digest != Blocked.of(names=["n/a"]).digest != ""


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ("emails", "example.com", "'example.com' is not an e-mail address or @ and a domain"),
        ("phones", "030 231250", "'030 231250' is not a phone number"),
        ("names", " ", "' ' is not a name"),
        ("ids", "", "'' is not an id"),
    ],
)
def test_a_value_that_would_block_nothing_is_refused(kind: str, value: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Blocked.of(**{kind: [value]})  # type: ignore[arg-type]
