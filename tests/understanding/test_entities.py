"""Numbers and names in texts."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.domain.understanding import Entity, EntityType
from middleware.understanding import tracking
from middleware.understanding.entities import Articles, entities, figure


def found(text: str, type_: EntityType, **options: object) -> list[str]:
    return [e.value for e in entities(text, **options) if e.type is type_]  # type: ignore[arg-type]


ORDERS = {
    "please stop purchase 204477310095516": ["204477310095516"],
    "stuck: order731100249850": ["731100249850"],
    "where is my order #48213": ["48213"],
    "Order no. SO-10294 came damaged": ["SO-10294"],
    "my order number is 112-993": ["112-993"],
    "order: W2291034, please": ["W2291034"],
    "PO 77120 is late": ["77120"],
    "orders 10001, 10002 and 10003 are late": ["10001", "10002", "10003"],
    "my order 1034 never came": ["1034"],
    "order ref AB-55102.": ["AB-55102"],
    "Bestellung Nr. 4500017733 fehlt": ["4500017733"],
    "meine Bestellnummer lautet SO-10002": ["SO-10002"],
    "Auftragsnummer: 0031877": ["0031877"],
    "mi pedido número 88123 no llega": ["88123"],
    "ma commande n° 77881 est en retard": ["77881"],
    "so-10002 order so-10002": ["SO-10002"],
    # not orders
    "I ordered 500 pieces": [],
    "I ordered 5000 pieces": [],
    "I ordered 40000 x screws": [],
    "the order of 2024": [],
    "ordered 2 weeks ago": [],
    "ordered 12 x 500 ml": [],
    "in order to get 5000 points": [],
    "an order of 10000 euros": [],
    "an order for $10000": [],
    "ordered in 2024": [],
    "ordered on 12.11.2026": [],
    "call 48213": [],
    "#48213 is trending": [],
    "about invoice #70431": [],
    "the border 48213": [],
    "reorder": [],
    "": [],
}


@pytest.mark.parametrize("text", ORDERS)
def test_order_numbers_by_the_words_around_them(text: str) -> None:
    assert found(text, EntityType.ORDER_NUMBER) == ORDERS[text]


def test_order_numbers_by_the_pattern_of_a_connection() -> None:
    text = "What about 303-1234567-7654321 and so-00017?"
    patterns = (r"\d{3}-\d{7}-\d{7}", r"SO-\d{5}")
    (first, second) = (
        e for e in entities(text, order_patterns=patterns) if e.type is EntityType.ORDER_NUMBER
    )
    assert (first.value, second.value) == ("303-1234567-7654321", "SO-00017")
    assert text[first.start : first.end] == "303-1234567-7654321"
    assert first.confidence > 0.9
    assert found(text, EntityType.ORDER_NUMBER) == []


def test_a_number_of_three_digits_is_less_sure() -> None:
    by_length = {
        text: next(e.confidence for e in entities(text) if e.type is EntityType.ORDER_NUMBER)
        for text in ("order no 123", "order no 1234567")
    }
    assert by_length["order no 123"] < by_length["order no 1234567"]


RIGHT = {
    "UPS": ("ups_check", ["1Z9763EF1210861375", "1Z5R89390357567127", "1Z879E930346834440"]),
    "S10": ("s10_check", ["RB123456785GB", "RR473124829FI", "RA123456785US"]),
    "FedEx Express": ("fedex_express_check", ["986578788855", "477179081230", "799531274483"]),
    "FedEx Ground": ("fedex_ground_check", ["041441760228964", "568283610012000"]),
    "DHL Express": ("dhl_express_check", ["3318810025", "8487135506", "3318810036"]),
    "SSCC": ("sscc_check", ["00340434161094022115"]),
    "USPS": ("usps_check", ["9400111899223818218407", "9405511899223197428490"]),
    "Identcode": ("identcode_check", ["563102430313"]),
}
"""Numbers that carriers and standards bodies publish as examples."""


@pytest.mark.parametrize("name", RIGHT)
def test_published_tracking_numbers_have_right_check_digits(name: str) -> None:
    check, numbers = RIGHT[name]
    assert all(getattr(tracking, check)(number) for number in numbers)


@pytest.mark.parametrize("name", RIGHT)
def test_nine_of_ten_wrong_digits_are_noticed(name: str) -> None:
    check, numbers = RIGHT[name]
    for number in numbers:
        place = max(i for i, char in enumerate(number) if char.isdigit())
        others = [number[:place] + d + number[place + 1 :] for d in "0123456789"]
        assert sum(getattr(tracking, check)(other) for other in others) == 1


TRACKING = {
    "1Z9763EF1210861375 is stuck": (["1Z9763EF1210861375"], 0.9),
    "1z 9763 ef12 1086 1375": (["1Z9763EF1210861375"], 0.9),
    "1Z9763EF1210861376 is stuck": ([], 0),
    "my parcel RR473124829FI": (["RR473124829FI"], 0.9),
    "RR473124828FI": ([], 0),
    "DHL 3318810025 has not moved": (["3318810025"], 0.9),
    "3318810025": ([], 0),
    "FedEx tracking number 986578788855": (["986578788855"], 0.9),
    "SSCC 00340434161094022115": (["00340434161094022115"], 0.75),
    "Sendungsnummer: JJD0099999": (["JJD0099999"], 0.5),
    "the parcel arrived": ([], 0),
}


@pytest.mark.parametrize("text", TRACKING)
def test_tracking_numbers(text: str) -> None:
    numbers, at_least = TRACKING[text]
    hits = [e for e in entities(text) if e.type is EntityType.TRACKING_NUMBER]
    assert [e.value for e in hits] == numbers
    assert all(e.confidence >= at_least for e in hits)


OTHERS: dict[str, tuple[EntityType, list[str]]] = {
    "mail me at Maria.Schmidt+shop@Example.com.": (
        EntityType.EMAIL,
        ["maria.schmidt+shop@example.com"],
    ),
    "a@b, @shop, me@localhost, x@@example.com, .a@example.com": (EntityType.EMAIL, []),
    "<kim@mail.example.co.uk>": (EntityType.EMAIL, ["kim@mail.example.co.uk"]),
    "call +1 202 555 0142 please": (EntityType.PHONE, ["+12025550142"]),
    "0049 30 23125 101": (EntityType.PHONE, ["+493023125101"]),
    "call 030 23125 101": (EntityType.PHONE, []),
    "20.11.2026 12345678": (EntityType.PHONE, []),
    "charged £25 and 49,99 € and $1,299.00": (
        EntityType.AMOUNT,
        ["25.00 GBP", "49.99 EUR", "1299.00 USD"],
    ),
    "80 euros, 1.299,00 EUR, EUR 1 000": (
        EntityType.AMOUNT,
        ["80.00 EUR", "1299.00 EUR", "1000.00 EUR"],
    ),
    "I lost 5 kg and 10 points": (EntityType.AMOUNT, []),
    "on 2026-11-20, 20.11.2026, 11/21/2026": (
        EntityType.DATE,
        ["2026-11-20", "2026-11-20", "2026-11-21"],
    ),
    "03/04/2026": (EntityType.DATE, []),
    "20 November 2026, Nov 21, 2026, 22. November 2026": (
        EntityType.DATE,
        ["2026-11-20", "2026-11-21", "2026-11-22"],
    ),
    "el 20 de noviembre de 2026 o le 21 novembre 2026": (
        EntityType.DATE,
        ["2026-11-20", "2026-11-21"],
    ),
    "31.02.2026 and 2026-13-01": (EntityType.DATE, []),
    "Ada Lo, SW1A 1AA, not EC1A1BB": (EntityType.POSTCODE, ["SW1A 1AA"]),
    "my post code is ec1a 1bb thanks": (EntityType.POSTCODE, ["EC1A 1BB"]),
    "postcode: EC1A1BB": (EntityType.POSTCODE, ["EC1A1BB"]),
    "K1A 0B1 or K1A0B1": (EntityType.POSTCODE, ["K1A 0B1", "K1A0B1"]),
    "1012 AB Amsterdam, 1000 GB, 1200 PM": (EntityType.POSTCODE, ["1012 AB"]),
    "Austin, TX 78701-1234": (EntityType.POSTCODE, ["78701-1234"]),
    "ZIP 94105": (EntityType.POSTCODE, ["94105"]),
    "PLZ: 1010 an Wien": (EntityType.POSTCODE, ["1010"]),
    "ship to 10115 Berlin, or D-80331 München": (EntityType.POSTCODE, ["10115", "D-80331"]),
    "Code postal 75001, c.p. 28013": (EntityType.POSTCODE, ["75001", "28013"]),
    "order 48213 to Berlin, Bestellung 12345 Ist nicht da": (EntityType.POSTCODE, []),
    "plz help, 48213 is late, plz 5 days": (EntityType.POSTCODE, []),
    "Kunde seit 2024 Und 3000 Euro, 12345 Stück": (EntityType.POSTCODE, []),
    "invoice #70431 Is wrong, €4000 Refund": (EntityType.POSTCODE, []),
}


@pytest.mark.parametrize("text", OTHERS)
def test_addresses_sums_and_dates(text: str) -> None:
    type_, values = OTHERS[text]
    assert found(text, type_) == values


def test_national_phone_numbers_need_a_region() -> None:
    assert found("call 030 23125 101", EntityType.PHONE, regions=("DE",)) == ["+493023125101"]


def test_a_national_number_is_one_of_each_country_that_has_it() -> None:
    written = "call 0664 1234567"
    assert found(written, EntityType.PHONE, regions=("AT", "DE", "AT")) == [
        "+436641234567",
        "+496641234567",
    ]
    assert found("call 202-555-0142", EntityType.PHONE, regions=("US", "CA")) == ["+12025550142"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1,299.00", "1299.00"),
        ("1.299,00", "1299.00"),
        ("1 299", "1299"),
        ("1'299.50", "1299.50"),
        ("12,5", "12.5"),
        ("12.345", "12345"),
        ("1.234.567", "1234567"),
    ],
)
def test_figures_as_people_write_them(written: str, meant: str) -> None:
    assert figure(written) == Decimal(meant)


ARTICLES = Articles(
    {
        "BL-500": "Vortex Blender 500",
        "BL-700": "Vortex Blender 700",
        "LMP-100": "Desk Lamp Classic",
        "KTL": "Kettle",
        "12345": "Toaster",
        "": "no number",
        "X-1": "",
    }
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my BL-500 is broken", [(EntityType.SKU, "BL-500")]),
        ("my bl500 is broken", [(EntityType.SKU, "BL-500")]),
        ("the Vortex Blender 700 leaks", [(EntityType.PRODUCT, "BL-700")]),
        (
            "my blender leaks",
            [(EntityType.PRODUCT, "BL-500"), (EntityType.PRODUCT, "BL-700")],
        ),
        ("two kettles broke", [(EntityType.PRODUCT, "KTL")]),
        ("the desk lamp classic flickers", [(EntityType.PRODUCT, "LMP-100")]),
        ("the lamp flickers", [(EntityType.PRODUCT, "LMP-100")]),
        ("article 12345", [(EntityType.SKU, "12345")]),
        ("nothing of ours", []),
    ],
)
def test_articles(text: str, expected: list[tuple[EntityType, str]]) -> None:
    hits = [(e.type, e.value) for e in entities(text, products=ARTICLES)]
    assert hits == expected


def test_a_word_that_several_articles_share_says_less() -> None:
    def sure(text: str) -> float:
        return max(e.confidence for e in entities(text, products=ARTICLES))

    assert sure("my blender") < sure("my lamp") < sure("my desk lamp classic") < sure("BL-500")


def test_what_overlaps_is_one_thing() -> None:
    text = "order 1Z9763EF1210861375"
    assert [e.type for e in entities(text)] == [EntityType.TRACKING_NUMBER]
    text = "order SO-12345 SO-12345@example.com"
    assert sorted(e.type for e in entities(text)) == [EntityType.EMAIL, EntityType.ORDER_NUMBER]


def no_two_overlap(found: tuple[Entity, ...]) -> bool:
    spans = sorted({(e.start, e.end) for e in found})
    return all(left[1] <= right[0] for left, right in pairwise(spans))


@given(st.text(max_size=200) | st.text("orderNo#.: 0123456789SO-+@$€/,()ZA", max_size=120))
def test_any_text(text: str) -> None:
    result = entities(text, products=ARTICLES, order_patterns=(r"SO-\d+",), regions=("DE", "US"))
    assert no_two_overlap(result)
    for entity in result:
        assert 0 <= entity.start < entity.end <= len(text)
        assert text[entity.start : entity.end].strip()


def test_the_first_words_of_a_name_are_found_as_far_as_they_go() -> None:
    index = Articles({"L-1": "Nordic floor lamp, brass", "L-2": "Nordic floor mirror, oval"})
    text = "Both the nordic floor lamp and the nordic floor thing flicker, thank you very much"
    found = [e for e in entities(text, products=index) if e.type is EntityType.PRODUCT]
    said = {(text[e.start : e.end], e.value): (e.confidence, e.why) for e in found}
    assert said["nordic floor lamp", "L-1"] == (
        0.7,
        "the first 3 words of Nordic floor lamp, brass",
    )
    assert said["nordic floor", "L-1"][0] == said["nordic floor", "L-2"][0] == 0.45
    assert not list(entities("thank you, again", products=Articles({"C": "Thank you card"})))
