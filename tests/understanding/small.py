"""A model of a moment: an encoder that counts letters, and heads fitted to a few sentences."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np

from middleware.understanding.features import Matrix, Vocabulary
from middleware.understanding.heads import Dense, Head, fit
from middleware.understanding.model import Heads, Model
from middleware.understanding.questions import CLASSES
from middleware.understanding.reading import readable
from middleware.understanding.training.corpus import own_sentences

WIDTH = 32


class Letters:
    """Hashes words into a few numbers; knows nothing, and needs no file."""

    def encode(self, texts: Sequence[str]) -> Matrix:
        made = np.zeros((len(texts), WIDTH), dtype=np.float32)
        for place, text in enumerate(texts):
            for word in readable(text).lower().split():
                made[place, zlib.crc32(word.encode()) % WIDTH] += 1
        lengths = np.linalg.norm(made, axis=1, keepdims=True)
        return np.asarray(made / np.maximum(lengths, 1e-6), dtype=np.float32)


def small_model() -> Model:
    """A model that is right on most of our sentences, in a second, by their words alone."""
    return Model(Letters(), _heads(), name="small", digest="0" * 64, languages=("en",))


@cache
def _heads() -> Heads:
    rows = own_sentences()[::8]
    texts = [readable(row.text) for row in rows]
    vocabulary = Vocabulary.of(texts, at_least=2, most=1500)
    terms = vocabulary.rows(texts)
    embeddings = Letters().encode(texts)
    heads = {}
    for question, classes in CLASSES.items():
        which = [i for i, row in enumerate(rows) if row.answer(question) is not None]
        labels = np.array([classes.index(str(rows[i].answer(question))) for i in which])
        heads[question] = Head(
            classes,
            fit(Dense(embeddings[which]), WIDTH, labels, len(classes), strength=10, rounds=25),
            fit(
                terms.take(which),
                len(vocabulary.columns),
                labels,
                len(classes),
                strength=10,
                rounds=25,
            ),
            temperature=0.5,
            auto=0.9,
            suggest=0.5,
        )
    return Heads(vocabulary, heads)
