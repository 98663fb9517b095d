"""Which value counts: rules as data, and the reason beside the choice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.domain.survivorship import Value, choose

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def value(text: str, field: str = "email", **more: Any) -> Value:
    return Value(field=field, value=text, **{"source": f"crm:contact:{text}", "at": T0, **more})


@pytest.mark.parametrize(
    ("field", "values", "wins", "why"),
    [
        ("email", [value("old"), value("new", at=T0 + timedelta(1))], "new", "the newest"),
        (
            "email",
            [value("used", verified=True), value("new", at=T0 + timedelta(1))],
            "used",
            "the customer has written from it",
        ),
        (
            "email",
            [
                value("first", verified=True),
                value("then", verified=True, at=T0 + timedelta(1)),
                value("new", at=T0 + timedelta(2)),
            ],
            "then",
            "the newest",
        ),
        (
            "legal_name",
            [
                value("Ltd", "legal_name", erp=True, source="erp:account:1"),
                value("Trade", "legal_name", at=T0 + timedelta(9)),
            ],
            "Ltd",
            "the ERP has it",
        ),
        ("email", [value("only")], "only", "the only one"),
        ("email", [value("dated"), value("undated", at=None)], "dated", "the newest"),
        ("shoe size", [value("41", "shoe size")], "41", "the only one"),
    ],
)
def test_the_rule_of_its_field_decides(
    field: str, values: list[Value], wins: str, why: str
) -> None:
    for given_values in (values, values[::-1]):
        (chosen,) = choose(given_values)
        assert (chosen.field, chosen.value, chosen.why) == (field, wins, why)
        assert {o.value for o in chosen.others} == {v.value for v in values} - {wins}


def test_a_rule_of_the_configuration_goes_before_ours() -> None:
    values = [
        value("a@example.com", source="shop:contact:1"),
        value("b@example.com", source="crm:contact:1", verified=True),
    ]
    (chosen,) = choose(values, {"email": ("shop", "newest")})
    assert (chosen.value, chosen.why) == ("a@example.com", "from shop, which counts first")


def test_the_rule_of_handles_is_that_of_every_network() -> None:
    """Two accounts on one network: the one that the customer has written from counts first."""
    values = [
        value("kim_new", field="handle on x", source="idn_2"),
        value("kim_old", field="handle on x", source="idn_1", at=None, verified=True),
    ]
    (newest,) = choose(values)
    (chosen,) = choose(values, {"handle": ("verified", "newest")})
    assert (newest.value, chosen.value) == ("kim_new", "kim_old")


def test_the_same_value_in_other_letters_is_no_other_value() -> None:
    (chosen,) = choose([value("Kim@Example.com"), value("kim@example.com", at=None)])
    assert chosen.others == ()
    assert choose([value(" ")]) == []


def test_the_same_value_written_otherwise_is_no_other_value() -> None:
    one = value("040 123456", field="phone", key="+4940123456", source="crm:contact:1")
    same = value("+49 (40) 123456", field="phone", key="+4940123456", source="erp:account:1")
    other = value("040 123456", field="phone", key="+3940123456", source="erp:account:2")
    (chosen,) = choose([one, same, other])
    assert [o.value for o in chosen.others] == ["040 123456"]
    assert [o.key for o in chosen.others] == ["+3940123456"]


def test_of_equals_the_one_that_was_written_from_is_told() -> None:
    one = Value(field="legal_name", value="a", source="crm:contact:1", at=T0)
    other = one.model_copy(update={"verified": True})
    assert choose([one, other]) == choose([other, one])
    assert choose([one, other])[0].verified


@given(
    st.lists(
        st.builds(
            Value,
            field=st.sampled_from(["email", "legal_name"]),
            value=st.sampled_from("abc"),
            source=st.sampled_from(["erp:account:1", "crm:contact:1", "crm:contact:2"]),
            at=st.sampled_from([None, T0, T0 + timedelta(1)]),
            erp=st.booleans(),
            verified=st.booleans(),
        )
    ),
    st.randoms(),
)
def test_the_order_in_which_values_come_does_not_matter(values: list[Value], random: Any) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    told = [(c.field, c.value, c.source, c.verified) for c in choose(values)]
    assert told == [(c.field, c.value, c.source, c.verified) for c in choose(shuffled)]
    assert {c.field for c in choose(values)} == {v.field for v in values}
