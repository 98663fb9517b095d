"""Groups under guards: what joins, what does not, and that the order of pairs is nothing."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.resolution.batch.clusters import (
    Guards,
    Member,
    Pair,
    Why,
    components,
    grouped,
)


def pairs(text: str) -> list[Pair]:
    """`a-b:20 b-c:5`: pairs with their bits."""
    found = []
    for one in text.split():
        ends, bits = one.split(":")
        left, right = ends.split("-")
        found.append(Pair(min(left, right), max(left, right), float(bits)))
    return found


GUARDED = [
    ("a-b:20 b-c:19", {}, Guards(), ["abc"], []),
    (
        "a-b:20 b-c:19",
        {},
        Guards(apart=frozenset({("a", "c")})),
        ["ab"],
        [("b-c", Why.SAID_APART)],
    ),
    (
        "a-b:20 b-c:19",
        {"a": Member(source="crm"), "c": Member(source="crm")},
        Guards(),
        ["ab"],
        [("b-c", Why.ONE_PER_SOURCE)],
    ),
    (
        "a-b:20 b-c:19",
        {"a": Member(ids=frozenset({("no", "1")})), "c": Member(ids=frozenset({("no", "2")}))},
        Guards(),
        ["ab"],
        [("b-c", Why.OTHER_NUMBER)],
    ),
    (
        "a-b:20",
        {"a": Member(ids=frozenset({("no", "1")})), "b": Member(ids=frozenset({("tax", "2")}))},
        Guards(),
        ["ab"],
        [],
    ),
    (
        "a-b:20 b-c:19",
        {"a": Member(person="p"), "c": Member(person="q")},
        Guards(),
        ["ab"],
        [("b-c", Why.OTHER_PERSON)],
    ),
    ("a-b:20 b-c:19 c-d:18", {}, Guards(most=3), ["abc"], [("c-d", Why.TOO_LARGE)]),
    ("a-b:20 c-d:20 b-c:8", {}, Guards(), ["ab", "cd"], [("b-c", Why.BRIDGE)]),
    ("a-b:20 c-d:20 b-c:13", {}, Guards(), ["abcd"], []),
    ("a-b:20 c-d:20 b-c:8 a-d:7", {}, Guards(), ["abcd"], []),
    ("a-b:20 b-c:8", {}, Guards(), ["abc"], []),
]


@pytest.mark.parametrize(("text", "members", "guards", "groups", "refused"), GUARDED)
def test_guards(
    text: str,
    members: dict[str, Member],
    guards: Guards,
    groups: list[str],
    refused: list[tuple[str, Why]],
) -> None:
    found = grouped(pairs(text), members, guards)
    assert ["".join(group) for group in found.groups] == groups
    assert [(f"{pair.left}-{pair.right}", why) for pair, why in found.refused] == refused


def test_the_surest_pairs_decide_who_belongs() -> None:
    """Of two records that one source holds, the likelier one joins."""
    members = {"x": Member(source="crm"), "y": Member(source="crm")}
    found = grouped(pairs("a-x:15 a-y:25"), members)
    assert found.groups == [["a", "y"]]


def test_closure_without_a_guard_makes_giants_of_a_few_wrong_pairs() -> None:
    """One wrong pair in a hundred joins everybody; under guards it costs next to nothing."""
    chance = random.Random(5)
    truth = {f"{n:05d}": n // 5 for n in range(4000)}
    true = [(a, b) for a in truth for b in _kin(a) if a < b]
    wrong = [tuple(sorted(chance.sample(list(truth), 2))) for _ in range(len(true) // 8)]
    scored = [Pair(a, b, chance.uniform(14, 40)) for a, b in true if chance.random() < 0.8]
    scored += [Pair(a, b, chance.uniform(5, 11)) for a, b in wrong]

    def precision(groups: list[list[str]]) -> float:
        made = sum(len(g) * (len(g) - 1) for g in groups)
        right = sum(n * (n - 1) for g in groups for n in Counter(truth[x] for x in g).values())
        return right / made

    alone = sum(truth[p.left] == truth[p.right] for p in scored) / len(scored)
    assert alone > 0.85
    assert precision(components((p.left, p.right) for p in scored)) < 0.05
    assert precision(grouped(scored, guards=Guards(most=10)).groups) > 0.95


def _kin(one: str) -> list[str]:
    first = int(one) // 5 * 5
    return [f"{n:05d}" for n in range(first, first + 5)]


NODES = "abcdefgh"
GRAPHS = st.dictionaries(
    st.tuples(st.sampled_from(NODES), st.sampled_from(NODES)).filter(lambda p: p[0] < p[1]),
    st.integers(5, 25),
    max_size=20,
)


@settings(max_examples=200, deadline=None)
@given(
    GRAPHS,
    st.sets(st.tuples(st.sampled_from(NODES), st.sampled_from(NODES)), max_size=4),
    st.dictionaries(st.sampled_from(NODES), st.sampled_from(["crm", "erp"]), max_size=5),
    st.randoms(),
)
def test_groups_keep_the_rules_whatever_the_order(
    graph: dict[tuple[str, str], int],
    apart: set[tuple[str, str]],
    sources: dict[str, str],
    chance: random.Random,
) -> None:
    scored = [Pair(a, b, bits) for (a, b), bits in graph.items()]
    members = {node: Member(source=source) for node, source in sources.items()}
    guards = Guards(most=5, apart=frozenset((min(p), max(p)) for p in apart if p[0] != p[1]))
    found = grouped(scored, members, guards)
    chance.shuffle(scored)
    assert grouped(scored, members, guards).groups == found.groups
    home = {node: number for number, group in enumerate(found.groups) for node in group}
    assert len(home) == sum(map(len, found.groups))
    for group in found.groups:
        assert 2 <= len(group) <= guards.most
        held = [sources[node] for node in group if node in sources]
        assert len(set(held)) == len(held)
    for left, right in guards.apart:
        assert home.get(left, left) != home.get(right, right)
    # Each group hangs together, and each connected component is grouped by itself.
    whole = components((p.left, p.right) for p in scored)
    for group in found.groups:
        assert any(set(group) <= set(part) for part in whole)
    by_part = [
        group
        for part in whole
        for group in grouped([p for p in scored if p.left in part], members, guards).groups
    ]
    assert sorted(by_part) == found.groups
