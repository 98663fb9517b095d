"""Vectors: made once with the understanding, kept small, near where texts say the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from middleware.domain.understanding import Understanding
from middleware.understanding import Rules
from middleware.understanding.encoder import OnnxEncoder
from middleware.understanding.features import Matrix
from middleware.understanding.model import load
from middleware.understanding.nearness import NEAR, cosines, packed, unpacked
from middleware.understanding.rules import VERSION
from middleware.understanding.trained import Asked, Trained, judged_by_rules


def test_what_is_packed_is_as_near_as_before() -> None:
    dice = np.random.default_rng(7)
    vectors = dice.normal(size=(60, 384)).astype(np.float32)
    vectors[30:] += vectors[:30]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kept = packed(vectors)
    assert {len(one) for one in kept} == {384}
    again = unpacked(kept)
    assert float(np.abs(cosines(again, again) - vectors @ vectors.T).max()) < 0.01
    assert packed(np.zeros((1, 3), dtype=np.float32)) == [b"\0\0\0"]
    assert cosines(again, unpacked([])).shape == (60, 0)


def test_the_understanding_brings_the_vector_and_the_encoder_reads_a_text_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []
    real = OnnxEncoder.encode

    def counted(self: OnnxEncoder, texts: Sequence[str]) -> Matrix:
        read.extend(texts)
        return real(self, texts)

    monkeypatch.setattr(OnnxEncoder, "encode", counted)
    trained = Trained(load(), Rules())
    texts = (
        "my inbox is full of your newsletter, please stop",
        "you send me far too many promotional mails",
        "the kettle arrived with a broken lid",
    )
    said = [trained.understand(text) for text in texts]
    assert [trained.understand(text, products={"K": "kettle"}).vector for text in texts] == [
        one.vector for one in said
    ]
    assert read == list(texts)
    vectors = [one.vector for one in said if one.vector is not None]
    assert len({vector.encoder for vector in vectors}) == 1
    near = cosines(*2 * [unpacked([vector.values for vector in vectors])])
    assert near[0, 1] >= NEAR > near[0, 2]
    # It is no part of what is stored and shown.
    assert "vector" not in said[0].model_dump(mode="json")
    assert "vector" not in Understanding.model_json_schema(mode="serialization")["properties"]


def test_rules_alone_have_no_vector() -> None:
    said = judged_by_rules(Rules(), Asked("my inbox is full of your newsletter"), degraded=True)
    assert (said.vector, said.by) == (None, VERSION)
