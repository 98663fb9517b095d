"""What needs no parsing is read as `phonenumbers` reads it."""

from __future__ import annotations

import random

import phonenumbers
import pytest

from middleware.resolution import normalise
from middleware.resolution.telephones import finished


def parsed(text: str) -> str | None:
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def test_the_quick_way_says_what_the_library_says() -> None:
    draw, codes = random.Random(3), sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
    quick = 0
    for _ in range(8_000):
        national = "".join(draw.choice("0123456789") for _ in range(draw.randrange(4, 14)))
        text = f"+{draw.choice(codes)}{national}"
        if draw.random() < 0.3:
            at = draw.randrange(2, len(text) + 1)
            text = text[:at] + draw.choice((" ", "-", ".", " (", ") ", "--")) + text[at:]
        found = finished(text)
        if found is not None:
            quick += 1
            assert found == parsed(text), text
    assert quick > 1_000


def test_most_countries_numbers_are_read_the_quick_way() -> None:
    examples = [phonenumbers.example_number(region) for region in phonenumbers.SUPPORTED_REGIONS]
    known = [
        phonenumbers.format_number(one, phonenumbers.PhoneNumberFormat.E164)
        for one in examples
        if one is not None
    ]
    assert all(finished(number) in (None, number) for number in known)
    assert sum(finished(number) is not None for number in known) > 0.9 * len(known)


@pytest.mark.parametrize(
    "text",
    [
        "+49 (0) 151 12345678",
        "+390612345678",
        "0151 12345678",
        "+1 800 FLOWERS",
        "+4915112345678 ext. 12",
        "+491511234567890123",
        "+49151+12345678",
        "+999 123 456 789",
        "+",
        "",
    ],
)
def test_what_is_not_plainly_finished_is_left_to_the_library(text: str) -> None:
    assert finished(text) is None
    expected = parsed(text) if text.startswith("+") else None
    assert normalise.phones(text) == ((expected,) if expected else ())
