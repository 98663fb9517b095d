"""Fits the heads anew to what a company's own people say, in seconds and without torch.

The regressions begin at the shipped ones and are held to them (a Gaussian prior around the former
weights instead of around zero), so that a few labels move what they speak of and leave the rest.
The hub's own sentences are learned along, so that nothing is forgotten.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from middleware.understanding.features import Matrix, Rows, Vocabulary
from middleware.understanding.heads import Dense, Head, Labels, Regression, fit, macro_f1
from middleware.understanding.model import Heads, Model
from middleware.understanding.questions import CLASSES
from middleware.understanding.reading import readable
from middleware.understanding.training.corpus import (
    MalformedSentencesError,
    Row,
    calibration_sentences,
    fill,
    held_out_sentences,
    own_sentences,
)

OWN_WEIGHT = 4.0
"""What a label of the company's weighs beside a sentence of ours."""
STRENGTH = 1.0
"""How far the weights may leave where they were."""
FOLDS = 5
FEWEST_TO_MEASURE = 20
MOST_LOST = 0.05
"""The accuracy on our held-out sentences that labels may cost; more is a sign that they are
wrong."""


MOST_OURS = 1_500
"""How many of the hub's own sentences stand beside a company's labels, drawn by chance."""


class RefitRefusedError(ValueError):
    """The heads are not fitted anew; the message says why."""


@dataclass(frozen=True)
class Refit:
    heads: Heads
    report: dict[str, Any]
    """By question: how many labels, and how right the former heads and these are on the labels
    (in five folds, each judged by heads that did not see it) and on our held-out sentences."""


def read_labels(path: Path) -> list[Row]:
    """A company's own sentences: `question: {class: [sentence, …]}`.

    Raises MalformedSentencesError with the place.
    """
    try:
        said = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedSentencesError(f"{path} can't be read: {error}") from None
    except YAMLError as error:
        raise MalformedSentencesError(f"{path} is no YAML: {error}") from None
    if not isinstance(said, dict):
        raise MalformedSentencesError(f"{path}: the file holds questions with their classes")
    rows = []
    for question, by_class in said.items():
        if question not in CLASSES:
            raise MalformedSentencesError(
                f"{path}: {question}: the questions are {', '.join(CLASSES)}"
            )
        if not isinstance(by_class, dict):
            raise MalformedSentencesError(f"{path}: {question}: has classes with their sentences")
        for label, sentences in by_class.items():
            where = f"{path}: {question}.{label}"
            if label not in CLASSES[question]:
                raise MalformedSentencesError(
                    f"{where}: the classes are {', '.join(CLASSES[question])}"
                )
            if not isinstance(sentences, list) or not all(
                isinstance(s, str) and s.strip() for s in sentences
            ):
                raise MalformedSentencesError(f"{where}: is a list of sentences")
            rows += [Row(text=s, group=f"own:{s}", **{question: label}) for s in sentences]
    return rows


def refit(model: Model, own: Sequence[Row], *, version: str) -> Refit:
    """Fit the model's present heads to a company's labels. Raises RefitRefusedError."""
    if not own:
        raise RefitRefusedError(
            "there are no labels to learn from: correct complaints, or write labels.yaml"
        )
    chance = random.Random(0)  # noqa: S311
    ours = [
        replace(row, text=fill(row.text, chance))
        for row in chance.sample([*own_sentences(), *calibration_sentences()], MOST_OURS)
    ]
    rows = [*ours, *own]
    embeddings = model.encoder.encode([row.text for row in rows])
    texts = [readable(row.text) for row in rows]
    vocabulary, former = _widened(model.heads, texts[len(ours) :])
    terms = vocabulary.rows(texts)
    held = held_out_sentences()
    held_embeddings = model.encoder.encode([row.text for row in held])
    held_terms = vocabulary.rows([readable(row.text) for row in held])
    made: dict[str, Head] = {}
    report: dict[str, Any] = {}
    for question, head in former.items():
        mine = [i for i in range(len(ours), len(rows)) if rows[i].answer(question) is not None]
        if not mine:
            made[question] = head
            continue
        base = [i for i in range(len(ours)) if rows[i].answer(question) is not None]
        made[question] = _fitted(head, rows, [*base, *mine], question, embeddings, terms, len(ours))
        found = _on_held_out(head, made[question], held, question, held_embeddings, held_terms)
        lost = found["held_out_before"] - found["held_out_after"]
        if lost > MOST_LOST:
            raise RefitRefusedError(
                f"with these labels {lost:.0%} fewer of our own held-out sentences get their"
                f" {question} right; look for wrong labels among the {len(mine)}"
            )
        report[question] = {
            "labels": len(mine),
            **_in_folds(head, rows, base, mine, question, embeddings, terms, len(ours)),
            **found,
        }
    return Refit(Heads(vocabulary, made, version), report)


def _widened(heads: Heads, texts: Sequence[str]) -> tuple[Vocabulary, dict[str, Head]]:
    """The vocabulary with what several of a company's texts say, and the heads for it."""
    old = heads.vocabulary
    fresh = Vocabulary.of(texts, at_least=2, most=4_000)
    added = sorted(term for term in fresh.columns if term not in old.columns)
    columns = dict(old.columns)
    for term in added:
        columns[term] = len(columns)
    # A new term is as rare as the rarest one known.
    rarest = float(old.idf.max()) if len(old.idf) else 1.0
    idf = np.concatenate([old.idf, np.full(len(added), rarest, dtype=np.float32)])
    widened = {}
    for question, head in heads.by_question.items():
        weights = head.on_terms.weights
        zeros = np.zeros((len(added), weights.shape[1]), dtype=np.float32)
        widened[question] = replace(
            head,
            on_terms=Regression(np.concatenate([weights, zeros]), head.on_terms.bias),
        )
    return Vocabulary(columns, idf), widened


def _fitted(
    head: Head,
    rows: Sequence[Row],
    which: Sequence[int],
    question: str,
    embeddings: Matrix,
    terms: Rows,
    ours: int,
) -> Head:
    labels = _labels(rows, which, head.classes, question)
    weights = np.array([OWN_WEIGHT if i >= ours else 1.0 for i in which], dtype=np.float32)
    taken = list(which)
    return replace(
        head,
        on_embedding=fit(
            Dense(embeddings[taken]),
            embeddings.shape[1],
            labels,
            len(head.classes),
            strength=STRENGTH,
            weights=weights,
            around=head.on_embedding,
            rounds=40,
        ),
        on_terms=fit(
            terms.take(taken),
            terms.width,
            labels,
            len(head.classes),
            strength=STRENGTH,
            weights=weights,
            around=head.on_terms,
            rounds=40,
        ),
    )


def _labels(
    rows: Sequence[Row], which: Sequence[int], classes: Sequence[str], question: str
) -> Labels:
    return np.array([classes.index(str(rows[i].answer(question))) for i in which])


def _in_folds(
    head: Head,
    rows: Sequence[Row],
    base: Sequence[int],
    mine: Sequence[int],
    question: str,
    embeddings: Matrix,
    terms: Rows,
    ours: int,
) -> Mapping[str, float | None]:
    """How right the former and the new heads are on labels that they did not see."""
    if len(mine) < FEWEST_TO_MEASURE:
        return {"labels_before": None, "labels_after": None}
    before = after = 0
    for fold in range(FOLDS):
        asked = [i for place, i in enumerate(mine) if place % FOLDS == fold]
        learned = [i for place, i in enumerate(mine) if place % FOLDS != fold]
        trial = _fitted(head, rows, [*base, *learned], question, embeddings, terms, ours)
        labels = _labels(rows, asked, head.classes, question)
        for one, is_new in ((head, False), (trial, True)):
            right = int((one.raw(embeddings[asked], terms.take(asked)).argmax(1) == labels).sum())
            before, after = (before, after + right) if is_new else (before + right, after)
    return {
        "labels_before": round(before / len(mine), 4),
        "labels_after": round(after / len(mine), 4),
    }


def _on_held_out(
    former: Head,
    new: Head,
    held: Sequence[Row],
    question: str,
    embeddings: Matrix,
    terms: Rows,
) -> Mapping[str, float]:
    which = [i for i, row in enumerate(held) if row.answer(question) is not None]
    labels = _labels(held, which, new.classes, question)
    found = {}
    for name, head in (("before", former), ("after", new)):
        predicted = head.raw(embeddings[which], terms.take(which)).argmax(1)
        found[f"held_out_{name}"] = round(float((predicted == labels).mean()), 4)
        found[f"held_out_macro_f1_{name}"] = round(macro_f1(predicted, labels), 4)
    return found
