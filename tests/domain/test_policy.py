"""The policy: which rule matches what, and that the strictest of them wins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.contract.actions import Operation, Reason
from middleware.contract.canonical import Money
from middleware.domain.identity import Basis
from middleware.domain.policy import (
    Ask,
    Facts,
    Missing,
    Outcome,
    Policy,
    PolicyInvalidError,
    Use,
    Verdict,
    built_in,
    judge,
)
from middleware.domain.policy_file import (
    PolicyUnreadableError,
    body_of,
    parse_policy,
    policy_of,
    text_of,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ROLES = ["agent", "lead", "manager"]


def euros(amount: str, currency: str = "EUR") -> Money:
    return Money(amount=Decimal(amount), currency=currency)


def facts(**changes: Any) -> Facts:
    """A credit of 50 EUR for a damaged lamp, asked for by an agent."""
    return Facts.model_validate(
        {
            "operation": Operation.CREDIT,
            "role": "agent",
            "principal": "key_agent",
            "connection": "erp",
            "brand": "acme",
            "network": "x",
            "tier": "Gold",
            "reason": Reason.DAMAGED,
            "value": euros("50"),
            "has_order": True,
            "order_age": timedelta(days=10),
            "customer": "per_1",
            "match_confidence": 0.9,
            "identity_basis": Basis.CRM_RECORD,
            "at": NOW,
            **changes,
        }
    )


def policy(*rules: dict[str, Any], caps: tuple[dict[str, Any], ...] = ()) -> Policy:
    return policy_of({"roles": ROLES, "rules": list(rules), "caps": list(caps)})


def one(when: dict[str, Any], then: Any = "refuse", **more: Any) -> Policy:
    return policy({"name": "r", "when": when, "then": then, **more})


A, R, E, X = Outcome.ALLOW, Outcome.APPROVE, Outcome.EVIDENCE, Outcome.REFUSE


@pytest.mark.parametrize(
    ("when", "changes", "outcome"),
    [
        ({}, {}, X),
        ({"operations": ["credit"]}, {}, X),
        ({"operations": ["return", "cancellation"]}, {}, A),
        ({"roles": ["agent"]}, {}, X),
        ({"roles": ["lead"]}, {}, A),
        ({"roles": ["lead"]}, {"role": None}, X),
        ({"connections": ["erp"]}, {}, X),
        ({"connections": ["crm"]}, {}, A),
        ({"brands": ["acme"]}, {}, X),
        ({"brands": ["acme"]}, {"brand": None}, A),
        ({"networks": ["x"]}, {}, X),
        ({"networks": ["instagram"]}, {}, A),
        ({"tiers": ["gold", "platinum"]}, {}, X),
        ({"tiers": ["gold"]}, {"tier": None}, A),
        ({"reasons": ["damaged"]}, {}, X),
        ({"reasons": ["late"]}, {}, A),
        ({"over": {"EUR": "49.99"}}, {}, X),
        ({"over": {"EUR": "50"}}, {}, A),
        ({"under": {"EUR": "50.01"}}, {}, X),
        ({"under": {"EUR": "50"}}, {}, A),
        ({"order_older_than": "9d"}, {}, X),
        ({"order_older_than": "10d"}, {}, A),
        ({"order_younger_than": "11d"}, {}, X),
        ({"order_younger_than": "10d"}, {}, A),
        ({"order_older_than": "9d"}, {"has_order": False, "order_age": None}, A),
        ({"stranger": True}, {"owner_known": False}, X),
        ({"stranger": True}, {}, A),
        ({"stranger": False}, {}, X),
        ({"unpriced": True}, {"value": None}, X),
        ({"unpriced": True}, {"value": None, "operation": Operation.NOTE}, A),
        ({"unpriced": True}, {}, A),
        ({"rush": True}, {"rush": True}, X),
        ({"rush": True}, {}, A),
        ({"repeat_customer": True}, {"repeat_customer": True}, X),
        ({"repeat_customer": False}, {"repeat_customer": True}, A),
        ({"irrevocable": True}, {"irrevocable": True}, X),
        ({"irrevocable": True}, {}, A),
        ({"operations": ["credit"], "over": {"EUR": "60"}}, {}, A),
        ({"operations": ["credit"], "over": {"EUR": "40"}, "tiers": ["gold"]}, {}, X),
    ],
)
def test_a_rule_matches_when_all_it_names_holds(
    when: dict[str, Any], changes: dict[str, Any], outcome: Outcome
) -> None:
    assert judge(one(when), facts(**changes)).outcome is outcome


DOUBTFUL = [
    ({"over": {"EUR": "40"}}, {"value": euros("1", "USD")}),
    ({"over": {"EUR": "40"}}, {"value": None}),
    ({"under": {"EUR": "40"}}, {"value": euros("1", "USD")}),
    ({"order_older_than": "9d"}, {"order_age": None}),
]


@pytest.mark.parametrize(("when", "changes"), DOUBTFUL)
@pytest.mark.parametrize(
    ("in_doubt", "outcome"),
    [(None, R), ("approve", R), ("refuse", X), ("match", X), ("allow", A)],
)
def test_what_cannot_be_told_is_decided_as_the_rule_says(
    when: dict[str, Any], changes: dict[str, Any], in_doubt: str | None, outcome: Outcome
) -> None:
    more = {} if in_doubt is None else {"in_doubt": in_doubt}
    assert judge(one(when, **more), facts(**changes)).outcome is outcome


def test_what_gives_no_value_is_over_no_limit() -> None:
    note = facts(operation=Operation.NOTE, value=None)
    assert judge(one({"over": {"EUR": "1"}}), note).outcome is A


def test_a_part_that_surely_fails_settles_a_doubt() -> None:
    rule = one({"over": {"EUR": "40"}, "rush": True})
    assert judge(rule, facts(value=euros("1", "USD"))).outcome is A


def test_doubt_asks_the_chain_of_its_own_rule() -> None:
    rule = one({"over": {"EUR": "40"}}, {"approve": "lead"})
    assert [s.role for s in judge(rule, facts(value=None)).stages] == ["lead"]


@pytest.mark.parametrize(
    ("need", "changes", "missing"),
    [
        ({"attachment": True}, {}, [Missing.ATTACHMENT]),
        ({"attachment": True}, {"attachments": 1}, []),
        ({"match_confidence": "0.9"}, {}, []),
        ({"match_confidence": "0.91"}, {}, [Missing.MATCH_CONFIDENCE]),
        ({"match_confidence": "0.1"}, {"match_confidence": None}, [Missing.MATCH_CONFIDENCE]),
        ({"identity_basis": ["agent", "crm_record"]}, {}, []),
        ({"identity_basis": ["agent"]}, {}, [Missing.IDENTITY_BASIS]),
        ({"identity_basis": ["agent"]}, {"identity_basis": None}, [Missing.IDENTITY_BASIS]),
    ],
)
def test_evidence(need: dict[str, Any], changes: dict[str, Any], missing: list[Missing]) -> None:
    verdict = judge(one({}, {"need": need}), facts(**changes))
    assert list(verdict.missing) == missing
    assert verdict.outcome is (E if missing else A)


def test_every_rule_that_had_a_say_is_named_with_its_figures() -> None:
    verdict = judge(
        policy(
            {"name": "b", "when": {"over": {"EUR": 40}}, "then": {"approve": "lead"}},
            {"name": "a", "when": {"tiers": ["gold"]}, "then": {"refuse": True, "because": "No."}},
            {"name": "c", "when": {"rush": True}, "then": "refuse"},
            {"name": "d", "then": "allow"},
        ),
        facts(),
    )
    assert verdict.outcome is X
    assert [(say.rule, say.asks) for say in verdict.says] == [
        ("a", (Ask.REFUSE,)),
        ("b", (Ask.APPROVE,)),
        ("d", (Ask.ALLOW,)),
    ]
    assert "50 EUR" in verdict.says[1].why
    assert "40 EUR" in verdict.says[1].why
    assert str(verdict.says[0]) == "a: No."


# --- chains --------------------------------------------------------------------------------------


def chain(*chains: Any) -> Verdict:
    return judge(
        policy(*({"name": f"r{i}", "then": {"approve": c}} for i, c in enumerate(chains))), facts()
    )


@pytest.mark.parametrize(
    ("chains", "roles"),
    [
        (["lead"], ["lead"]),
        ([["lead", "manager"]], ["lead", "manager"]),
        (["lead", "manager"], ["lead", "manager"]),
        (["manager", "lead"], ["lead", "manager"]),
        ([["lead", "lead"], "lead"], ["lead", "lead"]),
        (["anyone"], [None]),
        (["anyone", "lead"], ["lead"]),
        ([["anyone", "anyone"], "lead"], [None, "lead"]),
        ([["anyone", "lead"], ["lead", "manager"]], ["lead", "manager"]),
    ],
)
def test_chains_are_joined_to_one_that_holds_them_all(
    chains: list[Any], roles: list[str | None]
) -> None:
    assert [stage.role for stage in chain(*chains).stages] == roles


def test_of_times_and_delegates_the_strictest_stays() -> None:
    one_ = {"role": "agent", "within": "4h", "delegates": ["lead", "manager"]}
    other = {"role": "agent", "within": "2h", "delegates": ["manager"]}
    (stage,) = chain(one_, other).stages
    assert (stage.within, stage.delegates) == (timedelta(hours=2), ("manager",))
    assert chain(one_, "agent").stages[0].delegates == ()
    (met,) = chain({"role": "anyone", "within": "1h"}, {"role": "lead", "within": "3h"}).stages
    assert (met.role, met.within) == ("lead", timedelta(hours=1))


# --- caps ----------------------------------------------------------------------------------------


def capped(used: Use | None, *, changes: dict[str, Any] | None = None, **cap: Any) -> Verdict:
    whole = {"name": "c", "per": "customer", "window": "30d", **cap}
    past = (used,) if used else ()
    return judge(policy(caps=(whole,)), facts(past=past, **(changes or {})))


@pytest.mark.parametrize(
    ("cap", "used", "changes", "outcome"),
    [
        ({"count": 3}, Use(cap="c", count=2), {}, A),
        ({"count": 3}, Use(cap="c", count=3), {}, X),
        ({"count": 0}, Use(cap="c"), {}, X),
        ({"count": 3, "then": {"approve": "lead"}}, Use(cap="c", count=3), {}, R),
        ({"amount": {"EUR": 100}}, Use(cap="c", count=9, sums={"EUR": Decimal(50)}), {}, A),
        ({"amount": {"EUR": 100}}, Use(cap="c", sums={"EUR": Decimal("50.01")}), {}, X),
        ({"amount": {"EUR": 100}}, Use(cap="c", sums={"USD": Decimal(99)}), {}, A),
        ({"amount": {"EUR": 100}}, Use(cap="c"), {"value": euros("1", "USD")}, R),
        ({"amount": {"EUR": 100}, "in_doubt": "allow"}, Use(cap="c"), {"value": None}, A),
        ({"count": 3}, None, {"customer": None}, R),
        ({"count": 3, "in_doubt": "refuse"}, None, {"customer": None}, X),
        ({"count": 0, "when": {"operations": ["return"]}}, None, {}, A),
        ({"count": 0, "per": "domain", "when": {"roles": ["lead"]}}, None, {}, A),
    ],
)
def test_caps(
    cap: dict[str, Any], used: Use | None, changes: dict[str, Any], outcome: Outcome
) -> None:
    assert capped(used, changes=changes, **cap).outcome is outcome


def test_a_cap_tells_what_it_counted() -> None:
    (say,) = capped(Use(cap="c", count=3), count=3).says
    assert say.rule == "c"
    assert "3 such actions for this customer within 30d" in say.why


def test_a_use_that_was_not_handed_in_is_not_taken_for_none() -> None:
    with pytest.raises(ValueError, match="was not handed in"):
        capped(None, count=3)


# --- the built-in one ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings_", "changes", "rule"),
    [
        ({}, {"owner_known": False}, "approval_of_strangers"),
        ({"approval_of_strangers": False}, {"owner_known": False}, None),
        ({}, {"owner_known": False, "operation": Operation.NOTE}, None),
        ({"approval_over": {"EUR": Decimal(49)}}, {}, "approval_over"),
        ({"approval_over": {"EUR": Decimal(50)}}, {}, None),
        ({"approval_over": {"USD": Decimal(1)}}, {}, None),
        ({"approval_over": {"EUR": Decimal(1)}}, {"value": None}, None),
        ({"approval_of_unpriced": True}, {"value": None}, "approval_of_unpriced"),
        ({}, {"value": None}, None),
    ],
)
def test_the_three_settings_are_rules(
    settings_: dict[str, Any], changes: dict[str, Any], rule: str | None
) -> None:
    verdict = judge(built_in(**settings_), facts(**changes))
    assert [say.rule for say in verdict.says] == ([rule] if rule else [])
    assert verdict.outcome is (R if rule else A)


# --- properties ----------------------------------------------------------------------------------

_conditions = st.fixed_dictionaries(
    {},
    optional={
        "operations": st.lists(st.sampled_from(["credit", "return"]), min_size=1, unique=True),
        "roles": st.lists(st.sampled_from(ROLES), min_size=1, unique=True),
        "over": st.fixed_dictionaries({"EUR": st.integers(0, 100)}),
        "rush": st.booleans(),
        "order_older_than": st.sampled_from(["5d", "20d"]),
    },
)
_stages = st.sampled_from(["anyone", *ROLES]).flatmap(
    lambda role: st.fixed_dictionaries(
        {"role": st.just(role)}, optional={"within": st.sampled_from(["1h", "4h", "1d"])}
    )
)


def _climbing(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(stages, key=lambda s: ["anyone", *ROLES].index(s["role"]))


_rulings = st.one_of(
    st.sampled_from(["allow", "refuse"]),
    st.fixed_dictionaries(
        {},
        optional={
            "approve": st.lists(_stages, min_size=1, max_size=3).map(_climbing),
            "need": st.sampled_from([{"attachment": True}, {"match_confidence": "0.95"}]),
            "cool_off": st.sampled_from(["1h", "2d"]),
        },
    ),
)
_rules = st.lists(
    st.fixed_dictionaries(
        {"when": _conditions, "then": _rulings},
        optional={"in_doubt": st.sampled_from(["approve", "refuse", "match", "allow"])},
    ),
    max_size=6,
).map(lambda rules: [{**rule, "name": f"r{i}"} for i, rule in enumerate(rules)])
_facts = st.builds(
    facts,
    role=st.sampled_from([None, *ROLES]),
    value=st.sampled_from([None, euros("50"), euros("50", "USD")]),
    rush=st.booleans(),
    order_age=st.sampled_from([None, timedelta(days=10)]),
    attachments=st.integers(0, 1),
)

ORDER = [A, R, E, X]


def at_least_as_strict(new: Verdict, old: Verdict) -> None:
    """Whatever the old verdict asks for, the new one asks for too."""
    assert ORDER.index(new.outcome) >= ORDER.index(old.outcome)
    assert set(new.missing) >= set(old.missing)
    assert (new.cool_off or timedelta(0)) >= (old.cool_off or timedelta(0))
    assert len(new.stages) >= len(old.stages)
    for role in ROLES:
        of_new = [s for s in new.stages if s.role == role]
        of_old = [s for s in old.stages if s.role == role]
        assert len(of_new) >= len(of_old)
        for mine, theirs in zip(of_new, of_old, strict=False):
            if theirs.within is not None:
                assert mine.within is not None
                assert mine.within <= theirs.within


@settings(max_examples=200, deadline=None)
@given(rules=_rules, extra=_rules, about=_facts)
def test_adding_rules_never_loosens(
    rules: list[dict[str, Any]], extra: list[dict[str, Any]], about: Facts
) -> None:
    added = [{**rule, "name": f"x-{rule['name']}"} for rule in extra]
    at_least_as_strict(judge(policy(*rules, *added), about), judge(policy(*rules), about))


@settings(max_examples=200, deadline=None)
@given(rules=_rules, about=_facts)
def test_the_strictest_of_all_rules_wins(rules: list[dict[str, Any]], about: Facts) -> None:
    whole = judge(policy(*rules), about)
    alone = [judge(policy(rule), about) for rule in rules]
    for verdict in alone:
        at_least_as_strict(whole, verdict)
    assert whole.outcome is max((v.outcome for v in alone), key=ORDER.index, default=A)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), rules=_rules, about=_facts)
def test_the_order_of_rules_means_nothing(
    data: st.DataObject, rules: list[dict[str, Any]], about: Facts
) -> None:
    shuffled = data.draw(st.permutations(rules))
    assert judge(policy(*shuffled), about) == judge(policy(*rules), about)


@settings(max_examples=100, deadline=None)
@given(rules=_rules)
def test_a_policy_survives_being_written_and_read(rules: list[dict[str, Any]]) -> None:
    made = policy(*rules)
    assert policy_of(body_of(made)) == made
    assert parse_policy(text_of(made)) == made


# --- reading -------------------------------------------------------------------------------------

MISTAKES = [
    ("rules:\n  - name: a\n    wen: {}\n    then: allow\n", "f:3:5: there is no 'wen' here"),
    ("rules:\n  - name: a\n    then: refues\n", "f:3:5: must be allow, refuse"),
    ("rules:\n  - name: a\n    when:\n      over: {EUR: -1}\n    then: allow\n", "f:4:14: "),
    ("rules:\n  - then: allow\n", "f:2:5: 'name' is missing"),
    (
        "rules:\n  - name: a\n    then: {approve: lead}\n",
        "f:3:12: the role 'lead' is not in `roles`",
    ),
    (
        "roles: [a, b]\nrules:\n  - name: x\n    then: {approve: [b, a]}\n",
        "f:4:25: a comes before in `roles`",
    ),
    (
        "rules:\n  - {name: a, then: allow}\n  - {name: a, then: allow}\n",
        "f:3:6: there is another 'a'",
    ),
    ("caps:\n  - name: c\n    per: customer\n    window: 2w\n    count: 1\n", "f:4:5: must be a d"),
    ("caps:\n  - {name: c, per: customer, window: 2d}\n", "f:2:5: a cap needs a count"),
    ("rules: [\n", "f:2:1: "),
    ("rules:\n  - name: a\n    name: b\n", "f:3:5: key 'name' stands already"),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES)
def test_a_mistake_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(PolicyUnreadableError) as refused:
        parse_policy(text, "f")
    assert any(str(mistake).startswith(told) for mistake in refused.value.mistakes), str(
        refused.value
    )


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(PolicyUnreadableError) as refused:
        parse_policy("rules:\n  - {name: A, then: allow}\n  - {name: b, then: 3}\n", "f")
    assert len(refused.value.mistakes) == 2


def test_an_amount_keeps_its_digits() -> None:
    text = "rules:\n  - {name: a, when: {over: {EUR: 0.10}}, then: refuse}\n"
    assert parse_policy(text).rules[0].when.over == {"EUR": Decimal("0.10")}


def test_a_policy_that_contradicts_itself_is_not_made() -> None:
    with pytest.raises(PolicyInvalidError):
        Policy.model_validate({"rules": [{"name": "a", "then": {"approve": "lead"}}]})
