"""Which texts say the same in other words: the encoder's vectors, kept small and compared.

A vector is kept as one signed byte for each of its numbers (symmetric quantisation by its own
largest one); of two that were kept so the cosine is off by less than 0.01. Texts are near from
`NEAR` on, by cosine, as of sentence embeddings (Reimers and Gurevych 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from middleware.understanding.features import Matrix

NEAR = 0.55
"""From this cosine on two texts are about the same thing; chosen by `tests.bench.nearness`."""


ALIKE = 0.65
"""From this cosine on the middles of two neighbourhoods are parts of one thing; chosen likewise."""


def middle(vectors: Matrix) -> bytes:
    """The middle of some vectors, as one of them is kept."""
    return packed(vectors.mean(axis=0, keepdims=True))[0]


def packed(vectors: Matrix) -> list[bytes]:
    """Vectors `(texts, width)` as bytes, `width` for each text."""
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=1e-9)
    return [row.tobytes() for row in np.rint(vectors / largest * 127).astype(np.int8)]


def unpacked(kept: Sequence[bytes]) -> Matrix:
    """Vectors of length one, `(texts, width)`, of the same encoder."""
    if not kept:
        return np.zeros((0, 0), dtype=np.float32)
    vectors = np.frombuffer(b"".join(kept), dtype=np.int8).reshape(len(kept), -1)
    found = vectors.astype(np.float32)
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
    return found


def cosines(one: Matrix, other: Matrix) -> Matrix:
    """The cosine of each of `one` with each of `other`, `(one, other)`."""
    if not len(one) or not len(other):
        return np.zeros((len(one), len(other)), dtype=np.float32)
    return np.asarray(one @ other.T, dtype=np.float32)
