"""A customer's own model: refused with the setting to mend, held to golden sentences, in shadow."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from middleware.configuration import understanding_of
from middleware.domain.understanding import Band
from middleware.settings import Settings, SettingsError
from middleware.understanding import Rules
from middleware.understanding.model import ModelRefusedError
from middleware.understanding.own import OwnModel, OwnModelError, read_golden
from middleware.understanding.trained import Trained
from tests.understanding.small import small_model

LABELS = {"NEG": "negative", "NEU": "neutral", "POS": "positive"}
GOLDEN = [
    ("bad awful broken", "negative"),
    ("awful bad", "negative"),
    ("what when", "neutral"),
    ("great lovely", "positive"),
    ("lovely great thanks", "positive"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like a model; nothing in it can be loaded."""
    made = tmp_path / "sentiment"
    made.mkdir()
    (made / "config.json").write_text(json.dumps({"id2label": dict(enumerate(LABELS))}))
    (made / "model.safetensors").write_bytes(b"")
    with (tmp_path / "golden.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(GOLDEN)
    return tmp_path


def own(folder: Path, **changes: Any) -> OwnModel:
    given: dict[str, Any] = {"labels": LABELS, "golden": GOLDEN, "golden_accuracy": 0.9}
    given |= {"shadow": True, **changes}
    labels = given.pop("labels")
    return OwnModel("sentiment", folder / "sentiment", labels, **given)


def test_labels_must_map_onto_ours(folder: Path) -> None:
    with pytest.raises(OwnModelError, match=r"^labels: the model also says POS; map each"):
        own(folder, labels={"NEG": "negative", "NEU": "neutral"})
    with pytest.raises(OwnModelError, match=r"^labels: the model never says MIXED"):
        own(folder, labels={**LABELS, "MIXED": "neutral"})
    with pytest.raises(OwnModelError, match=r"^labels.POS: 'glad' is no sentiment; it is one of"):
        own(folder, labels={**LABELS, "POS": "glad"})
    with pytest.raises(OwnModelError, match=r"^golden: 'sad' \(for 'x'\) is no sentiment"):
        own(folder, golden=[("x", "sad")])


def test_pickles_and_code_are_never_loaded(folder: Path) -> None:
    (folder / "sentiment" / "model.safetensors").rename(folder / "sentiment" / "model.bin")
    with pytest.raises(OwnModelError, match=r"^path: .* has no \*.safetensors"):
        own(folder)
    (folder / "sentiment" / "model.safetensors").write_bytes(b"")
    config = {"id2label": dict(enumerate(LABELS)), "auto_map": {"AutoModel": "evil.Model"}}
    (folder / "sentiment" / "config.json").write_text(json.dumps(config))
    with pytest.raises(OwnModelError, match=r"^path: .* needs code of its own"):
        own(folder)
    with pytest.raises(OwnModelError, match=r"^path: .*config.json can't be read"):
        own(folder / "elsewhere")


def test_golden_sentences_are_read_with_their_places(folder: Path) -> None:
    assert read_golden(folder / "golden.csv") == GOLDEN
    (folder / "few.csv").write_text("text,label\na,positive\n")
    with pytest.raises(OwnModelError, match=r"^golden: .* has 1 sentences, 5 are needed"):
        read_golden(folder / "few.csv")
    (folder / "odd.csv").write_text("text,label\n" + "a,positive\n" * 5 + "b,\n")
    with pytest.raises(OwnModelError, match="line 7: `text` or `label` is empty"):
        read_golden(folder / "odd.csv")


def test_settings_name_the_place_of_what_is_wrong(folder: Path) -> None:
    declared = {"path": "sentiment", "labels": {"NEG": "negative"}, "golden": "golden.csv"}
    settings = Settings(folder=folder, understanding={"own": {"sentiment": declared}})
    with pytest.raises(SettingsError, match=r"^understanding.own.sentiment.labels: the model also"):
        understanding_of(settings)
    with pytest.raises(ValueError, match="rules_only asks no model"):
        Settings(understanding={"rules_only": True, "own": {"sentiment": declared}})


def _tiny(folder: Path) -> None:
    """A real classifier of a few neurons, whose head is set to look for three words."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    words = ["[PAD]", "[UNK]", "bad", "awful", "broken", "what", "when", "great", "lovely"]
    words.append("thanks")
    vocabulary = {word: i for i, word in enumerate(words)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    model = transformers.BertForSequenceClassification(config)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    read = tokenizer([text for text, _ in GOLDEN], padding=True, return_tensors="pt")
    ours = list(LABELS.values())
    target = torch.tensor([ours.index(label) for _, label in GOLDEN])
    for _ in range(60):
        optimizer.zero_grad()
        model(**read, labels=target).loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder, safe_serialization=True)


def test_a_model_in_shadow_is_kept_beside_and_then_decides(folder: Path) -> None:
    _tiny(folder / "sentiment")
    text = "lovely lovely great thanks"
    beside = Trained(small_model(), Rules(), own={"sentiment": own(folder)})
    said = beside.understand(text, language="en")
    (shadow,) = said.shadow
    assert (shadow.question, shadow.value) == ("sentiment", "positive")
    assert shadow.agrees == (said.sentiment.alternatives[0].value == "positive")
    decides = Trained(small_model(), Rules(), own={"sentiment": own(folder, shadow=False)})
    decided = decides.understand("bad awful broken bad", language="en")
    assert decided.shadow == ()
    assert decided.sentiment.word == "negative"
    assert decided.sentiment.band in (Band.AUTO, Band.SUGGEST)
    assert "own:sentiment" in decided.by


def test_a_model_that_fails_its_golden_sentences_is_refused(folder: Path) -> None:
    _tiny(folder / "sentiment")
    wrong = own(folder, golden=[(text, "neutral") for text, _ in GOLDEN])
    with pytest.raises(
        ModelRefusedError,
        match=r"understanding.own.sentiment.golden: 20% of the golden sentences are right, 90%",
    ):
        Trained(small_model(), Rules(), own={"sentiment": wrong})
