"""The sentences that are trained on, and a company's own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from middleware.contract.actions import Reason
from middleware.understanding.features import terms
from middleware.understanding.refit import RefitRefusedError, read_labels, refit
from middleware.understanding.training.corpus import (
    MalformedSentencesError,
    Row,
    calibration_sentences,
    fetched,
    held_out_sentences,
    own_sentences,
    read_sentences,
    varied,
)
from tests.understanding.small import small_model


def test_every_class_has_its_sentences_and_none_is_held_out_too() -> None:
    own = [*own_sentences(), *calibration_sentences()]
    counted = Counter(row.reason for row in own)
    assert all(counted[reason.value] >= 60 for reason in Reason)
    assert {row.intent for row in own} >= {"complaint", "question", "praise", "noise"}

    def words(row: Row) -> frozenset[str]:
        return frozenset(term for term in terms(row.text) if term[0] == "w")

    known = {words(row) for row in own}
    assert not [row.text for row in held_out_sentences() if words(row) in known]
    trained = {words(row) for row in own_sentences()}
    assert not [row.text for row in calibration_sentences() if words(row) in trained]


def test_variations_are_the_same_for_the_same_seed_and_fill_every_place() -> None:
    rows = own_sentences()[:60]
    once = list(varied(rows, times=3, seed=5))
    assert once == list(varied(rows, times=3, seed=5))
    assert once != list(varied(rows, times=3, seed=6))
    assert not [row.text for row in once if "{" in row.text]
    assert {row.remedy for row in once} >= {"refund", "replacement", "apology", "call_back"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("My lamp broke", "line 1: a heading comes before"),
        ("[complaint negative brokn]", "line 1: 'brokn' is no reason; it is one of damaged"),
        ("[praise positive -]\nthanks => cash", "line 2: 'cash' is no remedy"),
    ],
)
def test_a_wrong_file_of_sentences_is_told_with_its_place(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(text)
    with pytest.raises(MalformedSentencesError, match=f"mine.txt, {said}"):
        read_sentences(path)


def test_a_folder_without_the_sets_is_told(tmp_path: Path) -> None:
    with pytest.raises(MalformedSentencesError, match=r"amazon_cells_labelled.txt can't be read"):
        fetched(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("reason: {brokn: [a]}", r"reason.brokn: the classes are damaged"),
        ("cause: {damaged: [a]}", r"cause: the questions are intent, sentiment, reason, remedy"),
        ("reason: {damaged: [1]}", r"reason.damaged: is a list of sentences"),
        ("- a", "holds questions"),
        ("reason: {damaged: [", "is no YAML"),
    ],
)
def test_wrong_labels_are_told_with_their_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "labels.yaml"
    path.write_text(text)
    with pytest.raises(MalformedSentencesError, match=said):
        read_labels(path)


def test_labels_teach_words_that_nobody_else_uses(tmp_path: Path) -> None:
    path = tmp_path / "labels.yaml"
    said = [
        f"the glimmerflange {how}"
        for how in ("has wibbled", "wibbled again", "is all wibbled", "went and wibbled on us")
    ]
    lines = "\n".join(f'    - "{sentence}"' for sentence in said)
    path.write_text(f"reason:\n  stock:\n{lines}\n")
    model = small_model()
    text = ["our glimmerflange wibbled"]
    before = model.answers(text)[0]["reason"]
    assert before.value != "stock"
    made = refit(model, read_labels(path), version="1")
    model.heads = made.heads
    after = model.answers(text)[0]["reason"]
    assert after.value == "stock"
    assert model.id == "small@000000000000+1"
    report = made.report["reason"]
    assert report["labels"] == 4
    assert report["held_out_after"] >= report["held_out_before"] - 0.05


def test_labels_that_contradict_everything_are_refused() -> None:
    wrong = [
        Row(text=row.text, reason="stock", group=f"own:{row.text}")
        for row in own_sentences()
        if row.reason in ("damaged", "late")
    ]
    with pytest.raises(RefitRefusedError, match="look for wrong labels"):
        refit(small_model(), wrong, version="1")
    with pytest.raises(RefitRefusedError, match="no labels to learn from"):
        refit(small_model(), [], version="1")
