"""The model that comes with the hub: it is what its manifest says, and reads what people write."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from functools import cache
from pathlib import Path

import pytest

from middleware.domain.understanding import Band, CueKind, Intent, Understanding
from middleware.understanding import Rules
from middleware.understanding.model import SHIPPED, ModelRefusedError, load
from middleware.understanding.questions import CLASSES
from middleware.understanding.trained import Trained
from middleware.understanding.training.corpus import (
    CALIBRATION,
    CONTEXT,
    SENTENCES,
    WISHES,
    held_out_sentences,
)
from tests.bench.understanding import rightness

LEAST = {"reason": 0.80, "complaint": 0.82, "sentiment": 0.74, "intent": 0.74}
"""Macro-F1 on our held-out sentences below which something broke; see docs/understanding.md."""


@cache
def shipped() -> Trained:
    return Trained(load(), Rules())


def read(text: str) -> Understanding:
    return shipped().understand(text)


@pytest.mark.parametrize(
    ("text", "intent", "reason"),
    [
        ("@northwind box was soaked and the vase is in pieces", "complaint", "damaged"),
        ("@northwind ordered a medium got an XL, send the right one", "complaint", "wrong_item"),
        ("paid for 6 cups, 5 in the box", "complaint", "missing_item"),
        ("was meant to be here tuesday and there's still no sign of my order", "complaint", "late"),
        ("app says delivered but there is nothing at my door", "complaint", "lost"),
        ("you charged me twice, I want the second payment back", "complaint", "billing"),
        ("50 minutes on hold and then they hung up on me", "complaint", "service"),
        ("the zip broke on my jacket after a week", "complaint", "defective"),
        ("your website crashes whenever I try to pay", "complaint", "website"),
        ("why was my order cancelled, it said in stock", "complaint", "stock"),
    ],
)
def test_what_people_write_is_understood(text: str, intent: str, reason: str) -> None:
    said = read(text)
    assert (said.intent.word, said.reason.word) == (intent, reason)
    assert said.by.startswith("goods@")
    assert not said.degraded


def test_praise_and_questions_wait_for_no_remedy() -> None:
    praise = read("love my new shoes, thank you so much!")
    assert praise.intent.value is Intent.PRAISE
    assert praise.sentiment.word == "positive"
    assert (praise.reason.value, praise.remedy.value) == (None, None)
    assert read("do you ship to Norway?").intent.value is Intent.QUESTION


def test_cues_warn_with_their_places() -> None:
    text = "Third time I write: the heater caught fire. My lawyer will be in touch by Friday"
    found = {cue.kind: text[cue.start : cue.end] for cue in read(text).cues}
    assert found[CueKind.SAFETY] == "fire"
    assert found[CueKind.LEGAL] == "lawyer"
    assert found[CueKind.REPEAT] == "Third time"
    assert found[CueKind.DEADLINE] == "by Friday"
    assert read("my lawyer loves this lamp, thank you!").cues == ()


def test_sentences_that_it_never_saw() -> None:
    """Measured figures are in the manifest; these are floors under them."""
    found = rightness(shipped(), held_out_sentences())
    for question, least in LEAST.items():
        assert found[question]["macro_f1"] >= least, question
    assert found["reason"]["precision_of_surest_half"] >= 0.93
    assert found["intent"]["auto_precision"] >= 0.95


def test_the_manifest_tells_what_it_is_made_of() -> None:
    manifest = json.loads((SHIPPED / "manifest.json").read_text())
    model = shipped().model
    files = (*sorted(SENTENCES.glob("*.txt")), WISHES, CONTEXT)
    sentences = b"".join(p.read_bytes() for p in files)
    assert manifest["texts"]["own_sha256"] == hashlib.sha256(sentences).hexdigest(), (
        "the sentences are others than the model was trained on: run `amends train`"
    )
    kept = b"".join(p.read_bytes() for p in sorted(CALIBRATION.glob("*.txt")))
    assert manifest["texts"]["calibration_sha256"] == hashlib.sha256(kept).hexdigest()
    assert manifest["base"]["weights_sha256"].startswith("53aa5117")
    assert {"seed", "epochs", "times", "kept"} <= set(manifest["recipe"])
    assert {"torch", "transformers", "onnxruntime", "numpy"} <= set(manifest["versions"])
    assert {"held_out_sentences", "uci_imdb"} <= set(manifest["metrics"])
    for question, classes in CLASSES.items():
        assert model.heads.by_question[question].classes == classes
        assert 0.5 < model.heads.by_question[question].auto <= 1.01
    assert "Apache License" in (SHIPPED / "LICENSE").read_text()
    assert "all-MiniLM-L6-v2" in (SHIPPED / "NOTICE").read_text()


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json", "heads.npz"])
def test_a_file_that_is_another_one_is_refused(tmp_path: Path, name: str) -> None:
    for path in SHIPPED.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / name).unlink()
    with pytest.raises(ModelRefusedError, match=f"{name} can't be read"):
        load(tmp_path)
    shutil.copy(SHIPPED / name, tmp_path / name)
    with (tmp_path / name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelRefusedError, match=f"{name} has the sha256"):
        load(tmp_path)


def test_a_manifest_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match="the model is not there"):
        load(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ModelRefusedError, match="is no JSON"):
        load(tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "x"}')
    with pytest.raises(ModelRefusedError, match="lacks languages, files"):
        load(tmp_path)


def test_time_grows_no_faster_than_the_text_and_ends() -> None:
    began = time.process_time()
    said = shipped().understand("my parcel is late and " * 5000, language="en")
    assert said.intent.band is not Band.UNSURE
    assert time.process_time() - began < 5
