"""Postal addresses: what is one house, and what is another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.contract.canonical import Address, Contact, Ref
from middleware.resolution import postal
from middleware.resolution.batch.columns import columns_of


@pytest.mark.parametrize(
    ("one", "other", "normal"),
    [
        ("12 N. Main Street, Apt 4", "12 North Main St #4", "n main st 12 4"),
        ("Hauptstraße 5 A", "Hauptstr. 5a", "hauptstr 5a"),
        ("Bonner Straße 5", "bonner str 5", "bonner str 5"),
        ("5, rue de la Paix", "5 Rue Paix", "r paix 5"),
        ("Calle Mayor 7", "C/ Mayor, 7", "c mayor 7"),
        ("Avenida de América 3", "Avda. América, 3", "av america 3"),
        ("Kerkstraat 12-2", "Kerkstr. 12 2", "kerkstr 12 2"),
        ("Saint Mary's Road 9", "9 St. Mary's Rd", "st mary s rd 9"),
        (
            "1600 Pennsylvania Avenue NW",
            "1600 Pennsylvania Ave Northwest",
            "pennsylvania av nw 1600",
        ),
        ("ул. Ленина, 5", "Ul. Lenina 5", "ul lenina 5"),
        ("Platz der Republik 1", "Pl. der Republik 1", "pl republik 1"),
    ],
)
def test_streets(one: str, other: str, normal: str) -> None:
    assert postal.street(one) == postal.street(other) == normal


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hauptstr. 5", "Hauptstr. 6"),
        ("Hauptstr. 5", "Hauptstr. 5b"),
        ("12 N Main St", "12 S Main St"),
        ("12 Oak Lane", "12 Oak Road"),
        ("12 N Main St", "12n Main St"),
    ],
)
def test_another_house_is_another_text(one: str, other: str) -> None:
    assert postal.street(one) != postal.street(other)


@pytest.mark.parametrize("text", ["", "  ", ".", "Apt. No."])
def test_what_names_no_street_is_none(text: str) -> None:
    assert postal.street(text) is None


@given(st.text(max_size=80))
def test_a_normal_form_stays_as_it_is(text: str) -> None:
    found = postal.street(text)
    if found is not None:
        assert postal.street(found) == found


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("sw1a 1aa", "SW1A1AA"),
        ("10115", "10115"),
        ("D-10115", "10115"),
        ("fin - 00100", "00100"),
        ("1012 AB", "1012AB"),
        ("94105-1234", "94105"),
        ("941051234", "94105"),
        ("01310-100", "01310100"),
        ("１００-０００１", "1000001"),
        ("AB", None),
        ("Berlin", None),
        ("12345678901", None),
        ("", None),
    ],
)
def test_postcodes(text: str, key: str | None) -> None:
    assert postal.postcode(text) == key


def test_records_are_compared_by_them() -> None:
    one, other = (
        columns_of(
            Contact(
                ref=Ref.parse(f"crm:contact:{number}"),
                address=Address(street=street, postal_code=code),
            )
        )
        for number, (street, code) in enumerate(
            [("12 N. Main Street", "94105-1234"), ("12 north main st", "94105")]
        )
    )
    assert (one["street"], one["postcode"]) == (other["street"], other["postcode"])
