"""What is stored of a record is the same from version to version.

A hash that came out differently would make every record of every store `changed` in the first run
after an upgrade; a key or an identifier would no longer meet what is stored already. A digest here
changes only together with what writes everything anew.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from middleware.contract.canonical import (
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
    Product,
    Record,
    Ref,
    Return,
    Shipment,
)
from middleware.resolution import names
from middleware.resolution.places import Place
from middleware.resolution.profiles import Profile, _keys, found_by, key, read
from middleware.store.records import columns_of, written

AT = datetime(2026, 3, 1, 9, 30, 0, 250000, tzinfo=timezone(timedelta(hours=2)))
ACCOUNT = Ref(connection="erp", kind=Kind.ACCOUNT, id="A1")
ORDER = Ref(connection="erp", kind=Kind.ORDER, id="O1")
EUR = Money(amount=Decimal("49.90"), currency="EUR")
LINE = OrderLine(id="1", sku="LAMP", name="Lämp", quantity=Decimal("2.0"), unit_price=EUR)


def erp(kind: Kind) -> Ref:
    return Ref(connection="erp", kind=kind, id="1")


RECORDS: dict[str, tuple[Record, str]] = {
    "contact": (
        Contact(
            ref=Ref(connection="crm", kind=Kind.CONTACT, id="K1"),
            updated_at=AT,
            given_name="Bob",
            family_name="Brandt 7",
            emails=("Bob.Brandt+shop@Blog.Example.co.uk", "no address", "bob@gmail.com"),
            phones=("+1 (202) 555-0123", "+12025550123", "030 1234"),
            handles=(Handle(network="Twitter", handle="@Bob_B.84", native_id=" 9 "),),
            account=ACCOUNT,
            address=Address(city="Wien", postal_code="10 10", country="AT"),
            external_ids={" ERP ": " C-1 "},
        ),
        "a20782a271e298da",
    ),
    "contact whose name takes reading": (
        Contact(
            ref=Ref(connection="erp", kind=Kind.CONTACT, id="K2"),
            display_name="Gómez Ruiz, José María (he/him) | Acme",
            account=ACCOUNT,
            handles=(Handle(network="é", handle="gómez"),),
            extra={"note": "\u2028", "n": [1, None, True]},
        ),
        "da72a23aa8184c87",
    ),
    "account": (
        Account(
            ref=ACCOUNT, name="Wexler Legal, Inc.", number="C-1", emails=("office@wexler.legal",)
        ),
        "be1e7c9d1482076c",
    ),
    "order": (
        Order(
            ref=ORDER,
            number="so-00 10001",
            account=ACCOUNT,
            contact=Ref(connection="crm", kind=Kind.CONTACT, id="K1"),
            placed_at=AT,
            total=EUR,
            lines=(LINE,),
            origin=ORDER,
        ),
        "e9622907555c5719",
    ),
    "shipment": (
        Shipment(
            ref=erp(Kind.SHIPMENT),
            order=ORDER,
            tracking_number="jd 1",
            planned_for=date(2026, 3, 2),
        ),
        "55d115cc966fe1fd",
    ),
    "return": (
        Return(ref=erp(Kind.RETURN), number="R1", order=ORDER, lines=(LINE,)),
        "dc2dfab61efe274f",
    ),
    "invoice": (
        Invoice(ref=erp(Kind.INVOICE), number="I1", order=ORDER, account=ACCOUNT),
        "2930f2fb90837df0",
    ),
    "case": (
        Case(ref=erp(Kind.CASE), number="7", order=ORDER, opened_at=AT, subject="Kaputt"),
        "9914ec858ecfda27",
    ),
    "product": (Product(ref=erp(Kind.PRODUCT), sku="LAMP", price=EUR), "7139ef92ab42891b"),
}


def stored(record: Record) -> str:
    found = found_by(record)
    likeness = found.likeness() if found.likeness else None
    columns = columns_of(record)
    columns["sorted_at"] = str(columns["sorted_at"])
    # The keys of a nickname come in any order.
    index = likeness and [sorted(likeness.keys), likeness.names, likeness.profile]
    return json.dumps([record.model_dump_json(), columns, found.identifiers, index])


@pytest.mark.parametrize("what", RECORDS)
def test_what_is_stored_of_a_record_stays_the_same(what: str) -> None:
    record, digest = RECORDS[what]
    assert hashlib.sha256(stored(record).encode()).hexdigest()[:16] == digest, stored(record)


@pytest.mark.parametrize("what", RECORDS)
def test_a_record_is_written_as_pydantic_writes_it(what: str) -> None:
    record, _ = RECORDS[what]
    assert written(record) == record.model_dump_json().encode()


@given(st.text(alphabet="aAbeichtz 0, (|-", max_size=24))
def test_a_plain_name_is_read_as_any_other(text: str) -> None:
    plain = names._plain_words(text)
    assert plain is None or plain == names._words(text)


@pytest.mark.parametrize("text", ["Kim at Acme", "Kim bei Acme", "kim chez acme"])
def test_a_name_ends_where_somebody_works(text: str) -> None:
    assert names.tokens(text) == ("kim",)


@given(st.lists(st.tuples(st.sampled_from(["pair", "town"]), st.text(max_size=5)), max_size=6))
def test_many_keys_are_made_as_one_is(parts: list[tuple[str, str]]) -> None:
    texts = ["|".join(part) for part in parts]
    assert _keys(texts) == tuple(dict.fromkeys(key(*part) for part in parts))


TEXTS = st.text(max_size=8)


@example([("x", "\x7f")], ['\x1f"'], "é")
@example([("x", "\x7f")], [], None)
@given(
    st.lists(st.tuples(TEXTS, TEXTS), max_size=3), st.lists(TEXTS, max_size=3), st.none() | TEXTS
)
def test_a_profile_is_written_as_json_writes_it(
    handles: list[tuple[str, str]], sites: list[str], company: str | None
) -> None:
    place = Place(words=frozenset(sites)) if sites else None
    profile = Profile((("kim",),), tuple(handles), place, tuple(sites), company)
    body = [[["kim"]], handles, sorted(set(sites)), [], sites, company]
    assert profile.written() == json.dumps(body, separators=(",", ":"))
    assert read(profile.written()) == profile
