"""The bench `identity` in its short size, with invented people: it runs, and its figures hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from middleware.domain.identity import Outcome
from tests.bench import crowd, identity
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
        assert accuracy["wrong"] + accuracy["strangers_linked"] <= 5
    watched = identity.summary({"sqlite": figures})
    assert watched["p99_ms_1m_sqlite"] == figures["likeness_ms"]["p99"]
    assert set(watched["recall_auto"]) == set(identity.EVIDENCE)


def test_wrong_links_and_linked_strangers_both_cost_precision() -> None:
    linked, none = Outcome.LINK, Outcome.NONE
    on_file = [Seen(linked, True, 0.995, True)] * 8 + [Seen(linked, False, 0.995, True)]
    on_file += [Seen(none, False, 0.0, False)]
    strangers = [Seen(linked, False, 0.995, False)] + [Seen(none, False, 0.1, False)] * 9
    figures = identity._figures(on_file, strangers)
    assert figures["recall_auto"] == 0.8
    assert figures["precision_auto"] == 0.8
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
