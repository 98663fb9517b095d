"""The bench `identity` in its short size, with invented people: it runs, and its figures hold."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from middleware.domain.identity import Outcome
from middleware.resolution.profiles import asking
from middleware.store.database import Database
from tests.bench import crowd, filling, identity, memory, places
from tests.bench.ceiling import at_precision, ceiling
from tests.bench.identity import Seen


def test_the_short_bench_measures_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd, "FOLDER", tmp_path / "none")
    figures = identity.run("sqlite", tmp_path, identity.SHORT)
    assert figures["people"].startswith("invented")
    assert figures["links_of_a_handle_alone"] == 0
    assert figures["candidate_recall"] > 0.9
    for evidence in identity.EVIDENCE:
        accuracy = figures["accuracy"][evidence]
        assert accuracy["candidate_recall"] > 0.9
        assert 0 <= accuracy["ece"] < 0.5
        for linked in accuracy["said"].values():
            assert linked["wrong"] + linked["strangers_linked"] <= 5
    watched = identity.summary({"sqlite": figures})
    assert watched["p99_ms_1m_sqlite"] == figures["likeness_ms"]["p99"]
    assert set(watched["recall_auto"]) == set(identity.EVIDENCE)


def test_wrong_links_and_linked_strangers_both_cost_precision() -> None:
    linked, none = Outcome.LINK, Outcome.NONE
    on_file = [Seen(linked, True, 0.995, True)] * 8 + [Seen(linked, False, 0.995, True)]
    on_file += [Seen(none, False, 0.0, False)]
    strangers = [Seen(linked, False, 0.995, False)] + [Seen(none, False, 0.1, False)] * 9
    strangers[0] = replace(strangers[0], of_half=linked)
    figures = identity.figures_of(on_file, strangers)
    assert figures["precision_auto"] == 0.0
    assert figures["recall_auto"] == 0.0
    assert figures["said"]["half"]["strangers_linked"] == 1
    assert figures["said"]["four_in_five"]["precision_50"] == 0.8
    assert figures["recall_auto_80"] == 0.8
    assert figures["precision_auto_80"] == round(0.2 * 8 / (0.2 * 9 + 0.8), 4)
    assert figures["band_99"] == 0.8
    missed = identity.missed(
        {
            "sqlite": {
                "likeness_ms": {"p99": 9.0},
                "likeness_cpu_ms": {"p99": 0.5},
                "candidate_recall": 0.5,
                "accuracy": dict.fromkeys(identity.EVIDENCE, figures),
            }
        }
    )
    assert any("candidate recall" in m for m in missed)
    assert any("precision_auto" in m for m in missed)
    assert any("likeness_ms" in m for m in missed)
    assert not any("likeness_cpu_ms" in m for m in missed)


def test_an_invented_crowd_is_the_same_every_time() -> None:
    assert crowd.invented(50, seed=7) == crowd.invented(50, seed=7)
    assert {one.half for one in crowd.invented(50, seed=7)} == {0, 1}


def test_an_index_in_memory_answers_what_the_store_does(tmp_path: Path) -> None:
    people = crowd.invented(400, seed=7)
    askers = crowd.askers(people, network="twitter", seed=2)[:60]
    asked = [asking(one.author) for one in askers]
    index = memory.Index(asked, crowd.contacts(people, 1500, seed=1))
    with places.database("sqlite", tmp_path) as url:
        filling.fill(url, crowd.contacts(people, 1500, seed=1))
        store = Database(url)
        try:
            for one in asked:
                with store.read() as uow:
                    stored = uow.likeness.look(one.wanted, one.words)
                found = index.look(one)
                assert {b.ref for b in found.bearers} == {b.ref for b in stored.bearers}
                assert found.counts == stored.counts
                assert found.names == stored.names
                assert found.population == stored.population
            who = askers[0].person
            with store.begin() as uow:
                assert uow.records.delete([who.ref], as_of=filling.NOW) == 1
            with store.read() as uow:
                stored = uow.likeness.look(asked[0].wanted, asked[0].words)
            found = index.look(asked[0], gone=crowd.contact_of(who))
            assert who.ref in {b.ref for b in index.look(asked[0]).bearers}
            assert {b.ref for b in found.bearers} == {b.ref for b in stored.bearers}
            assert found.counts == stored.counts
            assert {k: n for k, n in stored.names.items() if n} == {
                k: n for k, n in found.names.items() if n
            }
        finally:
            store.close()


def test_an_urn_goes_on_as_it_began_and_some_words_stay_rare() -> None:
    seen = [f"w{n}" for n in range(500)] + ["often"] * 500
    urn = crowd.Urn(seen, random.Random(1), lambda: "new", discount=0.7, weight=50.0)
    drawn = Counter(urn.draw() for _ in range(20_000))
    assert drawn["often"] == pytest.approx(20_000 * 499.3 / 1050, rel=0.15)
    once = [drawn[f"w{n}"] for n in range(500)]
    mean = sum(once) / 500
    assert mean == pytest.approx(20_000 * 0.3 / 1050, rel=0.3)
    assert sum(n == 0 for n in once) > 150  # were all alike, hardly any


def test_new_names_are_found_when_all_that_look_right_are_taken() -> None:
    urn = crowd.Urn(
        ["ana", "ann"], random.Random(1), crowd.Inventor(["ana", "ann"], random.Random(1))
    )
    assert len({urn.draw() for _ in range(300)}) > 20


def test_names_that_go_together_fall_into_circles() -> None:
    chance = random.Random(1)
    north, south = (
        [(f"{a}{chance.randrange(20)}", f"{b}{chance.randrange(20)}") for _ in range(400)]
        for a, b in ("ab", "cd")
    )
    found = crowd.circles((*north, *south))
    assert len(set(found)) > 1
    sides = [Counter(found[:400]), Counter(found[400:])]
    mixed = sum(min(sides[0][circle], sides[1][circle]) for circle in set(found))
    assert mixed < 80  # of 800; were all in one, 400
    assert set(crowd.circles(tuple(zip("abcdefgh", "ijklmnop", strict=True)))) == {0}


def test_the_best_share_at_a_precision_counts_linked_strangers() -> None:
    on_file = [(0.9, True)] * 99 + [(0.5, True)] * 100
    strangers = [(0.7, False)] + [(0.1, False)] * 198
    best = at_precision(on_file, strangers)
    assert best["at 0.99"] == 1.0  # 199 right and one wrong
    assert best["at 0.995"] == 1.0
    assert best["at 0.99 of 80 % strangers"] == round(99 / 199, 4)


def test_the_oracle_is_no_worse_than_chance_on_an_invented_crowd() -> None:
    people = crowd.invented(100, seed=7)
    figures = ceiling(people, 200, half=0, model=None)
    assert figures["all"]["oracle"]["at 0.99"] > 0.3
    assert figures["handle_name"]["model"]["candidate_recall"] > 0.9
    for evidence in identity.EVIDENCE:
        why = figures[evidence]["candidates"]
        assert why["found"] == figures[evidence]["model"]["candidate_recall"]
        assert sum(why.values()) == pytest.approx(1, abs=0.001)
