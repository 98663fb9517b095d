"""TF-IDF of words and parts of words, on numpy alone.

Weights are `(1 + ln tf) * (ln((1 + n) / (1 + df)) + 1)`, each row scaled to length one: the smooth
form of scikit-learn's `TfidfTransformer` with `sublinear_tf`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

Matrix = np.ndarray[Any, np.dtype[np.float32]]

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[\u2600-\u27bf\U0001f300-\U0001faff]|[?!]")
_DIGITS = re.compile(r"\d+")
MOST_WORDS = 400
"""Words of a text that are counted."""
AT_ONCE = 256
"""Rows multiplied together: what is between then stays in the processor's cache."""


def terms(text: str) -> Iterator[str]:
    """Words, pairs of neighbours, and runs of three and four letters within words."""
    words = [
        _DIGITS.sub("0", m.group().lower().replace("’", "'"))
        for _, m in zip(range(MOST_WORDS), _WORD.finditer(text), strict=False)
    ]
    yield from (f"w {word}" for word in words)
    yield from (f"w {one} {other}" for one, other in pairwise(words))
    for word in words:
        padded = f"_{word[:40]}_"
        for size in (3, 4):
            yield from (f"c {padded[i : i + size]}" for i in range(len(padded) - size + 1))


@dataclass(frozen=True)
class Rows:
    """Sparse rows: the values and columns of each, one after the other."""

    starts: np.ndarray[Any, np.dtype[np.int64]]
    """Where each row begins; one more at the end."""
    columns: np.ndarray[Any, np.dtype[np.int64]]
    values: Matrix
    width: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    def dot(self, weights: Matrix) -> Matrix:
        """The rows times a dense `(width, k)` matrix: `(rows, k)`."""
        out = np.zeros((len(self), weights.shape[1]), dtype=np.float32)
        for first in range(0, len(self), AT_ONCE):
            starts = self.starts[first : first + AT_ONCE + 1]
            filled = np.flatnonzero(np.diff(starts))
            if len(filled):
                part = slice(starts[0], starts[-1])
                products = weights[self.columns[part]] * self.values[part, None]
                places = starts[:-1][filled] - starts[0]
                out[first + filled] = np.add.reduceat(products, places, axis=0)
        return out

    def transposed_dot(self, right: Matrix) -> Matrix:
        """The transposed rows times a dense `(rows, k)` matrix: `(width, k)`."""
        out = np.zeros((self.width, right.shape[1]), dtype=np.float32)
        if len(self.columns):
            rows, values, columns, begins = self._by_column
            out[columns] = np.add.reduceat(right[rows] * values, begins, axis=0)
        return out

    @cached_property
    def _by_column(self) -> tuple[Any, Any, Any, Any]:
        """The same by columns: rows and values, the columns that occur, where each begins."""
        row_of = np.repeat(np.arange(len(self)), np.diff(self.starts))
        order = np.argsort(self.columns, kind="stable")
        columns = self.columns[order]
        begins = np.flatnonzero(np.r_[True, columns[1:] != columns[:-1]])
        return row_of[order], self.values[order][:, None], columns[begins], begins

    def take(self, which: Sequence[int] | np.ndarray[Any, Any]) -> Rows:
        """Some of the rows, in the order that is asked for."""
        parts = [slice(self.starts[i], self.starts[i + 1]) for i in which]
        lengths = [0, *(part.stop - part.start for part in parts)]
        columns = [self.columns[:0], *(self.columns[part] for part in parts)]
        values = [self.values[:0], *(self.values[part] for part in parts)]
        return Rows(
            np.cumsum(lengths, dtype=np.int64),
            np.concatenate(columns),
            np.concatenate(values),
            self.width,
        )


@dataclass(frozen=True)
class Vocabulary:
    """The terms that count, each with its column and its inverse document frequency."""

    columns: Mapping[str, int]
    idf: Matrix

    @classmethod
    def of(cls, texts: Sequence[str], *, at_least: int = 3, most: int = 12_000) -> Vocabulary:
        """The terms that at least so many texts have, the more frequent first."""
        seen: Counter[str] = Counter()
        for text in texts:
            seen.update(set(terms(text)))
        kept = sorted(
            (term for term, count in seen.items() if count >= at_least),
            key=lambda term: (-seen[term], term),
        )[:most]
        idf = [math.log((1 + len(texts)) / (1 + seen[term])) + 1 for term in kept]
        return cls({term: i for i, term in enumerate(kept)}, np.array(idf, dtype=np.float32))

    def rows(self, texts: Sequence[str]) -> Rows:
        """The texts as rows of length one; a text without known terms is an empty row."""
        starts = [0]
        columns: list[int] = []
        values: list[float] = []
        for text in texts:
            counted = Counter(c for t in terms(text) if (c := self.columns.get(t)) is not None)
            row = {c: (1 + math.log(n)) * float(self.idf[c]) for c, n in counted.items()}
            length = math.sqrt(sum(v * v for v in row.values())) or 1.0
            columns.extend(row)
            values.extend(v / length for v in row.values())
            starts.append(len(columns))
        return Rows(
            np.array(starts, dtype=np.int64),
            np.array(columns, dtype=np.int64),
            np.array(values, dtype=np.float32),
            len(self.columns),
        )

    def known_share(self, text: str) -> float:
        """The part of a text's words that are known; 0 for a text without words."""
        words = [t for t in terms(text) if t[0] == "w" and t.count(" ") == 1 and t[2:].isalpha()]
        return sum(word in self.columns for word in words) / len(words) if words else 0.0
