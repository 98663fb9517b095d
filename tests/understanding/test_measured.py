"""Floors under what was measured on the project's text data, which is not part of this repository.

What the figures are worth: the rules' author had read the seed sentences, so their figure is a
regression gate and says nothing of other texts. Of the UCI sentences the odd lines were looked at
when words were added, the even ones were not. Of Bitext's synthetic utterances the train and dev
parts were looked at, the test part was not.
"""

from __future__ import annotations

import csv
import importlib.util
import random
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from middleware.contract.actions import Reason
from middleware.domain.understanding import EntityType
from middleware.understanding import Rules
from middleware.understanding.entities import entities
from middleware.understanding.language import identify

DATA = Path(__file__).parents[3] / "shared" / "data" / "text"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the text data of the project is not beside this checkout"
)

RULES = Rules()

REASONS = {
    "damaged_item": Reason.DAMAGED,
    "wrong_item": Reason.WRONG_ITEM,
    "missing_item": Reason.MISSING_ITEM,
    "late_delivery": Reason.LATE,
    "lost_parcel": Reason.LOST,
    "billing_refund": Reason.BILLING,
    "service_staff": Reason.SERVICE,
    "quality_defect": Reason.DEFECTIVE,
    "website_app_order": Reason.OTHER,
    "stock_cancellation": Reason.OTHER,
}


def bitext(split: str) -> list[dict[str, str]]:
    with (DATA / "bitext" / f"{split}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def uci(name: str) -> list[tuple[str, str]]:
    lines = (DATA / "uci-sentences" / f"{name}_labelled.txt").read_text(encoding="utf-8")
    rows = [line.rsplit("\t", 1) for line in lines.splitlines()[1:] if "\t" in line]
    return [(text, "positive" if label == "1" else "negative") for text, label in rows]


def seeds() -> ModuleType:
    spec = importlib.util.spec_from_file_location("seed_sentences", DATA / "seed_sentences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_order_numbers_and_their_places() -> None:
    """Measured: 74 of 75 found, every place right, nothing found in 735 others."""
    found = asked = wrong = 0
    for row in bitext("test"):
        numbers = [e for e in entities(row["utterance"]) if e.type is EntityType.ORDER_NUMBER]
        if row["entity_type"] != "order_id":
            wrong += bool(numbers)
            continue
        asked += 1
        place = (int(row["start_offset"]), int(row["end_offset"]))
        found += any(
            e.value == row["entity_value"].upper() and (e.start, e.end) == place for e in numbers
        )
    assert found / asked >= 0.97
    assert wrong == 0


@pytest.mark.parametrize(
    ("name", "known", "right"),
    [("amazon_cells", 0.72, 0.93), ("yelp", 0.70, 0.93), ("imdb", 0.62, 0.88)],
)
def test_sentiment_of_reviews(name: str, known: float, right: float) -> None:
    """Measured on the even lines: known .78 / .74 / .69, of these right .96 / .97 / .93."""
    tally: Counter[str] = Counter()
    for text, label in uci(name)[1::2]:
        judged = RULES.understand(text, language="en").sentiment.word
        tally[
            "right" if judged == label else "none" if judged in ("unknown", "neutral") else "wrong"
        ] += 1
    said = tally["right"] + tally["wrong"]
    assert said / tally.total() >= known
    assert tally["right"] / said >= right


def test_reasons_of_the_seed_sentences() -> None:
    """Measured: 97 % right, 99 % of those that were not unknown; in sample, see above."""
    module = seeds()
    chance = random.Random(0)
    tally: Counter[str] = Counter()
    for category, reason in REASONS.items():
        for sentence in module.SEEDS[category]:
            judged = RULES.understand(module.fill(sentence, chance)).reason.value
            tally["none" if judged is None else "right" if judged is reason else "wrong"] += 1
    assert tally["right"] / tally.total() >= 0.93
    assert tally["right"] / (tally["right"] + tally["wrong"]) >= 0.96


@pytest.mark.parametrize(
    ("intent", "remedy", "at_least"),
    [
        ("cancel_order", "cancellation", 0.75),
        ("get_refund", "refund", 0.65),
        ("track_order", "information", 0.85),
        ("contact_human_agent", "call_back", 0.40),
    ],
)
def test_remedies_of_synthetic_requests(intent: str, remedy: str, at_least: float) -> None:
    judged = [
        RULES.understand(row["utterance"]).remedy.word
        for row in bitext("test")
        if row["intent"] == intent
    ]
    assert judged.count(remedy) / len(judged) >= at_least
    assert all(word in (remedy, "unknown") for word in judged)


def test_english_is_known_or_unknown_and_never_another_language() -> None:
    """Measured: 96 % of Bitext's test part, no other language in 810."""
    judged = Counter(identify(row["utterance"]).value for row in bitext("test"))
    assert judged["en"] / judged.total() >= 0.93
    assert set(judged) <= {"en", None}
