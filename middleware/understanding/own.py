"""A customer's own sequence classifier, for one of the questions.

Any folder that `AutoModelForSequenceClassification.from_pretrained` reads: safetensors only, no
code from the folder, nothing fetched. Its labels are mapped to ours, and before it is used it must
answer golden sentences. In shadow it decides nothing; what it would have said is kept.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from middleware.domain.understanding import Band
from middleware.understanding.heads import softmax
from middleware.understanding.model import Answer
from middleware.understanding.questions import CLASSES
from middleware.understanding.reading import readable

FEWEST_GOLDEN = 5
MOST_AT_ONCE = 32


class OwnModelError(Exception):
    """A customer's own model can't be used; the message begins with the setting to mend."""


def read_golden(path: Path) -> list[tuple[str, str]]:
    """Golden sentences: a CSV with `text` and `label`, in our words. Raises OwnModelError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OwnModelError(f"golden: {path} can't be read: {error}") from None
    if len(rows) < FEWEST_GOLDEN:
        raise OwnModelError(f"golden: {path} has {len(rows)} sentences, {FEWEST_GOLDEN} are needed")
    for place, row in enumerate(rows, 2):
        if not row.get("text") or not row.get("label"):
            raise OwnModelError(f"golden: {path}, line {place}: `text` or `label` is empty")
    return [(row["text"], row["label"]) for row in rows]


class OwnModel:
    """A classifier in a folder. What can be checked without loading it is checked at once.

    `load` loads it and asks the golden sentences. Both raise OwnModelError.
    """

    def __init__(
        self,
        question: str,
        folder: Path,
        labels: Mapping[str, str],
        *,
        golden: Sequence[tuple[str, str]],
        golden_accuracy: float,
        shadow: bool,
        max_length: int = 128,
        auto: float = 0.95,
        suggest: float = 0.5,
    ) -> None:
        self.question = question
        self.folder = folder
        self.labels = dict(labels)
        self.golden = golden
        self.golden_accuracy = golden_accuracy
        self.shadow = shadow
        self.max_length = max_length
        self.auto = auto
        self.suggest = suggest
        self._classes: tuple[str, ...] = ()
        self._model: Any = None
        self._tokenizer: Any = None
        self._check_folder()

    def _check_folder(self) -> None:
        config = _config_of(self.folder)
        if not list(self.folder.glob("*.safetensors")):
            raise OwnModelError(
                f"path: {self.folder} has no *.safetensors; save the model with"
                " save_pretrained(..., safe_serialization=True)"
            )
        if "auto_map" in config:
            raise OwnModelError(
                f"path: {self.folder} needs code of its own (auto_map in config.json), which is"
                " never run"
            )
        named = {str(label) for label in (config.get("id2label") or {}).values()}
        if missing := sorted(named - set(self.labels)):
            raise OwnModelError(f"labels: the model also says {', '.join(missing)}; map each")
        if unknown := sorted(set(self.labels) - named):
            raise OwnModelError(
                f"labels: the model never says {', '.join(unknown)}; it says"
                f" {', '.join(sorted(named))}"
            )
        classes = CLASSES[self.question]
        for label, ours in self.labels.items():
            if ours not in classes:
                raise OwnModelError(
                    f"labels.{label}: {ours!r} is no {self.question}; it is one of"
                    f" {', '.join(classes)}"
                )
        for text, label in self.golden:
            if label not in classes:
                raise OwnModelError(
                    f"golden: {label!r} (for {text[:40]!r}) is no {self.question}; it is one of"
                    f" {', '.join(classes)}"
                )

    def load(self) -> None:
        """Load the model and ask it the golden sentences. Raises OwnModelError."""
        try:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ImportError:
            raise OwnModelError(
                "path: transformers is not installed; pip install 'amends[models]'"
            ) from None
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False
            )
            self._model = AutoModelForSequenceClassification.from_pretrained(
                self.folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
            ).eval()
        except Exception as error:
            raise OwnModelError(f"path: {self.folder} can't be loaded: {error}") from None
        said = self._model.config.id2label
        self._classes = tuple(self.labels[str(said[i])] for i in range(len(said)))
        answers = self.answers([text for text, _ in self.golden])
        wrong = [
            f"{text[:60]!r} is {label}, not {answer.value}"
            for (text, label), answer in zip(self.golden, answers, strict=True)
            if answer.value != label
        ]
        right = 1 - len(wrong) / len(self.golden)
        if right < self.golden_accuracy:
            raise OwnModelError(
                f"golden: {right:.0%} of the golden sentences are right,"
                f" {self.golden_accuracy:.0%} are needed: {'; '.join(wrong[:3])}"
            )

    def answers(self, texts: Sequence[str]) -> list[Answer]:
        """What the model says of each text, in our words."""
        import torch

        found: list[Answer] = []
        for start in range(0, len(texts), MOST_AT_ONCE):
            part = [readable(text) for text in texts[start : start + MOST_AT_ONCE]]
            read = self._tokenizer(
                part,
                padding=True,
                truncation=True,
                max_length=self.max_length,
                return_tensors="pt",
            )
            with torch.inference_mode():
                scores = self._model(**read).logits.float().numpy()
            found += [self._answer(row) for row in softmax(np.asarray(scores))]
        return found

    def _answer(self, probabilities: Any) -> Answer:
        # Several of its labels may be one of ours: "anger" and "sadness" are both negative.
        by_class: dict[str, float] = {}
        for ours, probability in zip(self._classes, probabilities, strict=True):
            by_class[ours] = by_class.get(ours, 0.0) + float(probability)
        ranked = sorted(by_class.items(), key=lambda item: (-item[1], item[0]))[:2]
        value, sure = ranked[0]
        band = (
            Band.AUTO
            if sure >= self.auto
            else Band.SUGGEST
            if sure >= self.suggest
            else Band.UNSURE
        )
        kept = tuple((name, min(round(p, 4), 1.0)) for name, p in ranked)
        return Answer(value, kept[0][1], band, kept)


def _config_of(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OwnModelError(f"path: {path} can't be read: {error.strerror}") from None
    except ValueError:
        raise OwnModelError(f"path: {path} is no JSON") from None
    if not isinstance(config, dict):
        raise OwnModelError(f"path: {path} is no object")
    return config
