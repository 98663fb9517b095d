"""One model, two executors: Splink's weights and the ones scored in process are the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import duckdb
import pytest

from middleware.resolution.batch import executor, grouping
from middleware.resolution.batch.clusters import components
from middleware.resolution.batch.columns import MOST_BEARERS, columns_of, unique_ids
from middleware.resolution.batch.model import (
    Alike,
    Comparison,
    Key,
    Level,
    Model,
    Near,
    Predicate,
    Training,
    shipped,
)
from middleware.resolution.batch.workspace import Entry, Workspace
from tests.bench.records import Crowd

SIZE = 1500

EVERY = Model(
    name="every predicate",
    comparisons=(
        Comparison(
            name="given",
            needs=("given", "family"),
            levels=(
                Level(when=Predicate(equal=("given",)), m=0.5, u=0.01, rare=1),
                Level(when=Predicate(swapped=("given", "family")), m=0.03, u=1e-4),
                Level(when=Predicate(begins="given"), m=0.05, u=0.004),
                Level(when=Predicate(share="nicks"), m=0.1, u=0.002),
                Level(
                    when=Predicate(jaro_winkler=Alike(column="given", at_least=0.8)),
                    m=0.1,
                    u=0.03,
                ),
                Level(m=0.22, u=0.95),
            ),
        ),
        Comparison(
            name="family",
            needs=("family",),
            levels=(
                Level(when=Predicate(equal=("family",)), m=0.6, u=0.001, rare=0.5),
                Level(
                    when=Predicate(damerau_levenshtein=Near(column="family", at_most=2)),
                    m=0.2,
                    u=0.01,
                ),
                Level(when=Predicate(levenshtein=Near(column="family", at_most=4)), m=0.1, u=0.1),
                Level(m=0.1, u=0.9),
            ),
        ),
        Comparison(
            name="both",
            needs=("city",),
            levels=(
                Level(
                    when=Predicate(
                        all=(Predicate(equal=("city", "postcode")), Predicate(equal=("street",)))
                    ),
                    m=0.5,
                    u=1e-5,
                ),
                Level(
                    when=Predicate(any=(Predicate(share="phones"), Predicate(equal=("postcode",)))),
                    m=0.2,
                    u=1e-3,
                ),
                Level(m=0.3, u=0.99),
            ),
        ),
    ),
    blocks=(
        (Key(column="given", letters=2),),
        (Key(column="emails", each=True),),
        (Key(column="phones", each=True),),
        (Key(column="city", letters=3), Key(column="family", letters=1)),
    ),
    training=Training(sure=((Key(column="email"),),), hold=((Key(column="email"),),)),
    prior=0.7,
)


def entries(crowd: Crowd, content: str = "1") -> list[Entry]:
    return [
        Entry(str(record.ref), content, columns_of(record), unique_ids(record, ["customer_number"]))
        for record, _ in crowd.records()
    ]


@pytest.fixture(params=[shipped(), EVERY], ids=lambda model: model.name)
def space(request: pytest.FixtureRequest) -> Iterator[Workspace]:
    made = Workspace(None, request.param, threads=1)
    made.put(entries(Crowd(SIZE)))
    made.frame()
    yield made
    made.close()


def weighed(space: Workspace, least: float) -> dict[tuple[int, int], float]:
    with space.api() as api:
        found = executor.predict(
            api,
            "compared",
            space.model,
            records=space.framed,
            frequencies=space.frequencies,
            least=least,
        )
        rows = space.all(
            "SELECT unique_id_l, unique_id_r, match_weight"
            f" FROM {executor.SCRATCH}.{found.physical_name}"
        )
    return {(left, right): weight for left, right, weight in rows}


def test_both_executors_weigh_alike(space: Workspace) -> None:
    by_splink = weighed(space, -1000.0)
    assert len(by_splink) > 500
    pairs = random.Random(1).sample(sorted(by_splink), min(2000, len(by_splink)))
    rows = space.rows({number for pair in pairs for number in pair})
    scorer = space.scorer(rows.values())
    for left, right in pairs:
        ours = scorer.weight(rows[left], rows[right])
        assert ours == pytest.approx(by_splink[left, right], abs=1e-6)
        parts = scorer.parts(rows[left], rows[right])
        assert ours == pytest.approx(scorer.prior_bits + sum(p.bits for p in parts))
    if space.model is EVERY:
        rows = space.rows({number for pair in by_splink for number in pair})
        reached = {
            (part.comparison, part.level)
            for left, right in by_splink
            for part in scorer.parts(rows[left], rows[right])
        }
        every = {(c.name, n) for c in EVERY.comparisons for n in range(len(c.levels))}
        assert every <= reached


def test_increments_find_the_pairs_that_a_full_run_finds(space: Workspace) -> None:
    """New, changed and deleted records in process; then everything by Splink, in that frame."""
    rules = grouping.Rules(least=5.0, free=("crm:contact",))
    executor.weigh(space, least=0.0)
    grouping.regroup(space, rules)
    chance = random.Random(2)
    crowd = Crowd(SIZE)
    records = [record for record, _ in crowd.records()]
    for part in range(3):
        changed = [crowd.changed(record) for record in chance.sample(records, 40)]
        fresh = [
            Entry(f"{one.ref}-{part}", "1", one.columns, one.ids)
            for one in entries(Crowd(50, seed=20 + part))
        ]
        gone = [str(record.ref) for record in chance.sample(records, 10)]
        space.put([Entry(str(r.ref), f"{part}", columns_of(r), ()) for r in changed] + fresh)
        space.put([], gone)
        assert space.score_changed(least=0.0) > 0
        grouping.regroup(space, rules)
    edges, groups = _state(space)
    executor.weigh(space, least=0.0)
    grouping.regroup(space, rules)
    assert _state(space) == (edges, groups)
    assert len(groups) > 50


def _state(space: Workspace) -> tuple[set[tuple[object, ...]], set[tuple[str, ...]]]:
    edges = {(left, right, round(w, 5), j) for left, right, w, j in space.all("FROM edge")}
    groups = space.all(
        """SELECT list(ref ORDER BY ref) FROM record JOIN member USING (unique_id)
        GROUP BY number"""
    )
    return edges, {tuple(row[0]) for row in groups}


def test_a_value_that_too_many_bear_joins_nobody() -> None:
    space = Workspace(None, shipped(), threads=1)
    shared = [
        Entry(
            f"crm:contact:{n}",
            "1",
            {**one.columns, "emails": ["info@firm.example", f"own{n}@firm.example"]},
        )
        for n, one in enumerate(entries(Crowd(MOST_BEARERS + 5)))
    ]
    space.put(shared)
    space.frame()
    rows = space.rows(row[0] for row in space.all("SELECT unique_id FROM record"))
    assert {len(row["emails"]) for row in rows.values()} == {1}
    assert all(row["email"].startswith("own") for row in rows.values())
    columns = {**shared[0].columns, "emails": ["info@firm.example"]}
    space.put([Entry("crm:contact:new", "1", columns)])
    space.score_changed(least=0.0)
    (new,) = space.rows(space.numbers(["crm:contact:new"]).values()).values()
    assert (new["emails"], new["email"]) == (None, None)
    space.close()


def test_records_that_only_share_a_household_are_held_back() -> None:
    space = Workspace(None, shipped(), threads=1)
    everybody = entries(Crowd(400))
    base = {
        **everybody[0].columns,
        "emails": ["berg@example.com"],
        "phones": ["123456789"],
        "family": "bergstrand",
        "street": "1 lake road",
        "postcode": "11111",
    }
    couple = [
        Entry(
            f"crm:contact:{given}",
            "1",
            {**base, "given": given, "name": f"bergstrand {given}", "nicks": [given], "ids": None},
        )
        for given in ("anna", "peter")
    ]
    space.put([*everybody, *couple])
    space.frame()
    executor.weigh(space, least=0.0)
    numbers = sorted(space.numbers([one.ref for one in couple]).values())
    ((weight, joins),) = space.all(
        "SELECT weight, joins FROM edge WHERE l = $l AND r = $r", l=numbers[0], r=numbers[1]
    )
    assert weight > shipped().weight_of(0.99)
    assert joins is False
    space.close()


def test_what_hangs_together_by_a_long_chain_is_one_part() -> None:
    space = Workspace(None, shipped(), threads=1)
    draw = random.Random(4)
    numbers = draw.sample(range(1, 1_000), 400)
    ends = [(min(a, b), max(a, b)) for a, b in pairwise(numbers[:60])]
    others = [draw.sample(numbers[60:], 2) for _ in range(200)]
    ends += [(min(a, b), max(a, b)) for a, b in others]
    space.do(
        "CREATE TEMP TABLE judged AS SELECT unnest($l::BIGINT[]) AS l, unnest($r::BIGINT[]) AS r",
        l=[left for left, _ in ends],
        r=[right for _, right in ends],
    )
    grouping._connect(space)
    expected = {one: parts[0] for parts in components(ends) for one in parts}
    assert dict(space.all("SELECT unique_id, part FROM part")) == expected
    assert len({expected[one] for one in numbers[:60]}) == 1
    space.close()


def test_keys_that_another_version_made_are_made_anew(space: Workspace) -> None:
    executor.weigh(space, least=0.0)
    whole = len(space.all("FROM block_key"))
    space.do("UPDATE block_key SET key = key + 1")
    space.say("keyed", "0.0.0")
    (first, *_) = entries(Crowd(SIZE))
    space.put([replace(first, content="2")])
    space.score_changed(least=0.0)
    assert len(space.all("FROM block_key")) == whole
    assert space.said("keyed") == duckdb.__version__
    edges = {(left, right): round(w, 4) for left, right, w, _ in space.all("FROM edge")}
    executor.weigh(space, least=0.0)
    assert edges == {(left, right): round(w, 4) for left, right, w, _ in space.all("FROM edge")}
