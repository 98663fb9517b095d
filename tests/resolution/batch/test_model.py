"""The model's file, its prior and calibration, and what records are compared by."""

from __future__ import annotations

import json
import math

import pytest

from middleware.contract.canonical import Account, Address, Contact, Handle, Ref
from middleware.resolution.batch.columns import columns_of, unique_ids
from middleware.resolution.batch.model import (
    ModelUnreadableError,
    Point,
    read,
    shipped,
    written,
)


def test_the_shipped_model_is_trained_and_holds_nobodys_data() -> None:
    model = shipped()
    assert model.trained
    assert read(written(model), "x") == model
    assert read(written(model), "x").fingerprint == model.fingerprint
    names = {"columns", *model.columns}
    assert not {"values", "frequencies"} & names


def test_a_file_reads_as_it_was_written() -> None:
    body = json.loads(written(shipped()))
    assert body["format"] == 1
    assert body["comparisons"][0]["levels"][0]["when"] == {"equal": ["given"]}


MISTAKES = [
    ({"comparisons": []}, "comparisons"),
    ({"format": 2}, "format"),
    ({"prior": -1}, "prior"),
    ({"surprise": 1}, "surprise"),
    (
        {"calibration": [{"weight": 2, "probability": 0.9}, {"weight": 3, "probability": 0.1}]},
        "probabilities never fall",
    ),
]


@pytest.mark.parametrize(("change", "told"), MISTAKES)
def test_a_mistake_is_told_with_its_place(change: dict[str, object], told: str) -> None:
    body = {**json.loads(written(shipped())), **change}
    with pytest.raises(ModelUnreadableError, match=told):
        read(json.dumps(body), "model.json")


@pytest.mark.parametrize(
    "when", [{}, {"share": "emails", "begins": "given"}, {"jaro_winkler": {"column": "given"}}]
)
def test_a_predicate_is_one_thing(when: dict[str, object]) -> None:
    body = json.loads(written(shipped()))
    body["comparisons"][0]["levels"][0] = {"when": when, "m": 0.5, "u": 0.1}
    with pytest.raises(ModelUnreadableError, match="levels"):
        read(json.dumps(body), "model.json")


def test_the_prior_is_rescaled_with_the_number_of_records() -> None:
    """Five times the records, a fifth of the odds."""
    model = shipped()
    assert model.prior_bits(200_000) - model.prior_bits(1_000_000) == pytest.approx(math.log2(5))


def test_calibration_takes_the_place_of_the_odds() -> None:
    model = shipped()
    assert model.probability(0) == 0.5
    assert model.probability(model.weight_of(0.99)) == pytest.approx(0.99)
    points = (Point(weight=0, probability=0.2), Point(weight=10, probability=0.98))
    measured = model.model_copy(update={"calibration": points})
    assert measured.probability(-5) == 0.2
    assert measured.probability(5) == pytest.approx(0.59)
    assert measured.probability(40) == 0.98
    assert measured.weight_of(0.59) == pytest.approx(5)
    assert measured.weight_of(0.99) == math.inf


def test_a_contact_and_an_account_have_the_same_columns() -> None:
    contact = Contact(
        ref=Ref.parse("crm:contact:1"),
        display_name="Müller, Zoë",
        emails=("Zoe@Example.com",),
        phones=("+49 151 1234567-8", "12"),
        handles=(Handle(network="Twitter", handle="@ZoeM"),),
        address=Address(street="Hauptstraße 5", city="Köln", postal_code="50 667"),
        external_ids={"customer_number": "77"},
    )
    account = Account(
        ref=Ref.parse("erp:account:9"),
        name="ZOE MULLER",
        number="77",
        phones=("0151 12345678",),
        emails=("zoe@example.com",),
    )
    one, other = columns_of(contact), columns_of(account, regions=("DE",))
    assert (one["given"], one["family"], one["name"]) == ("zoe", "muller", "muller zoe")
    assert (other["given"], other["family"]) == ("zoe", "muller")
    assert one["phones"] == other["phones"] == ["112345678"]
    assert one["emails"] == other["emails"] == ["zoe@example.com"]
    assert one["handles"] == ["x:zoem"]
    assert (one["street"], one["city"], one["postcode"]) == ("hauptstr 5", "koln", "50667")
    assert set(one["ids"]) & set(other["ids"]) == {"customer number:77"}
    assert unique_ids(contact, ["customer_number"]) == unique_ids(account, ["customer_number"])
    assert unique_ids(contact, ["tax_id"]) == []


@pytest.mark.parametrize("name", ["", "  ", "💥", None])
def test_what_is_no_name_is_none(name: str | None) -> None:
    found = columns_of(Account(ref=Ref.parse("erp:account:9"), name=name))
    assert name == "💥" or (found["given"], found["family"], found["name"]) == (None, None, None)
    assert found["emails"] is None


def test_a_nickname_is_known_by_what_it_is_short_for() -> None:
    bob = columns_of(Contact(ref=Ref.parse("crm:contact:1"), given_name="Bob", family_name="X"))
    robert = columns_of(
        Contact(ref=Ref.parse("crm:contact:2"), given_name="Robert", family_name="X")
    )
    assert "robert" in set(bob["nicks"]) & set(robert["nicks"])
