"""How right, how sure and how fast texts are understood, and that the event loop never waits.

Right: on sentences that the model was not trained on (ours, by the same author as the ones that it
was; see docs/understanding.md for what that is worth), and on a file of your own where one is
given: a CSV with `text`, `lang` where it is known, and any of intent, sentiment, reason, remedy.
Fast: CPU seconds of one thread, the best of three turns, with everything: language, entities, cues.
"""

from __future__ import annotations

import asyncio
import csv
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from middleware.app import spare_the_collector
from middleware.understanding import Rules
from middleware.understanding.heads import macro_f1
from middleware.understanding.model import load
from middleware.understanding.pool import Pooled, PoolLimits
from middleware.understanding.questions import CLASSES
from middleware.understanding.table import Line, labelled_rows
from middleware.understanding.trained import Asked, Trained
from middleware.understanding.training.corpus import (
    Row,
    held_out_sentences,
    own_sentences,
    varied,
)

FULL, SHORT = 600, 60
BURST = 300
TURNS = 3
BURSTS = 5
LEAST_TEXTS_PER_S = 200.0
MOST_LAG_MS = 25.0
MOST_ECE = 0.06
SUREST = 0.5
LEAST_PRECISION = 0.95
LEAST_MACRO_F1 = {"reason": 0.65, "complaint": 0.80, "sentiment": 0.72}


def run(size: int, held_out: Path | None = None) -> dict[str, Any]:
    """All figures. `held_out` is a labelled file of your own."""
    trained = Trained(load(), Rules())
    rows = list(varied(own_sentences(), times=2, seed=7))
    texts = [row.text for row in random.Random(7).sample(rows, min(size, len(rows)))]
    figures: dict[str, Any] = {
        "model": trained.model.id,
        "texts": len(texts),
        **_speed(trained, texts),
        **asyncio.run(_lag(trained, texts[:BURST])),
        "held_out": rightness(trained, held_out_sentences()),
    }
    if held_out is not None:
        figures["own_file"] = rightness(trained, read_held_out(held_out))
    return figures


def missed(figures: dict[str, Any]) -> list[str]:
    """Which targets were not met."""
    found = []
    if figures["texts_per_s_core"] < LEAST_TEXTS_PER_S:
        found.append(f"understanding: {figures['texts_per_s_core']} texts a second and core")
    if figures["loop_lag_ms"] > MOST_LAG_MS + figures["loop_lag_idle_ms"]:
        found.append(f"understanding: the loop waited {figures['loop_lag_ms']} ms in a burst")
    for name in ("held_out", "own_file"):
        for question, at_least in LEAST_MACRO_F1.items():
            measured = figures.get(name, {}).get(question)
            if measured is None:
                continue
            if measured["macro_f1"] < at_least:
                found.append(f"{name}, {question}: macro-F1 {measured['macro_f1']}")
            if measured["ece"] > MOST_ECE:
                found.append(f"{name}, {question}: calibration error {measured['ece']}")
            if question == "reason" and measured["precision_of_surest_half"] < LEAST_PRECISION:
                found.append(f"{name}: {measured['precision_of_surest_half']} of the surest half")
    return found


def read_held_out(path: Path) -> list[Row]:
    """A labelled file; raises ValueError for an answer that there is none of."""
    rows = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            answers = {q: (row.get(q) or "").strip() or None for q in CLASSES}
            for question, answer in answers.items():
                if answer is not None and answer not in CLASSES[question]:
                    raise ValueError(f"{path}, line {number}: {answer!r} is no {question}")
            rows.append(Row(text=row["text"], group=(row.get("lang") or ""), **answers))
    return rows


def rightness(trained: Trained, rows: Sequence[Row]) -> dict[str, Any]:
    """Accuracy, macro-F1, calibration and bands of the whole way, by question."""
    understood = trained.understand_all([Asked(row.text, "en") for row in rows])
    said = list(labelled_rows([Line(row.text, "en") for row in rows], understood))
    found: dict[str, Any] = {}
    for question in CLASSES:
        known = [(s, a) for s, row in zip(said, rows, strict=True) if (a := row.answer(question))]
        if known:
            found[question] = _scores(known, question)
    complaints = [
        (s["intent"] == "complaint", row.intent == "complaint")
        for s, row in zip(said, rows, strict=True)
        if row.intent is not None
    ]
    if complaints:
        judged, right = (np.array(side) for side in zip(*complaints, strict=True))
        found["complaint"] = {
            "rows": len(complaints),
            "accuracy": round(float((judged == right).mean()), 4),
            "macro_f1": round(macro_f1(judged.astype(int), right.astype(int)), 4),
            "ece": found["intent"]["ece"],
        }
    return found


def _calibration_error(hit: Any, sure: Any) -> float:
    """Expected calibration error over ten bins of equal width (Guo et al. 2017)."""
    bins = np.minimum((sure * 10).astype(int), 9)
    return sum(
        abs(float(hit[bins == b].mean() - sure[bins == b].mean())) * float((bins == b).mean())
        for b in range(10)
        if (bins == b).any()
    )


def _scores(known: Sequence[tuple[dict[str, Any], str]], question: str) -> dict[str, Any]:
    classes = [*CLASSES[question], "unknown"]
    judged = np.array([classes.index(row[question]) for row, _ in known])
    right = np.array([classes.index(answer) for _, answer in known])
    sure = np.array([float(row[f"{question}_probability"]) for row, _ in known])
    hit = judged == right
    # What as many answers show on average that are right just as often as they are said to be.
    as_said = np.random.default_rng(3).random((200, len(known))) < sure
    half = np.argsort(-sure)[: max(int(len(known) * SUREST), 1)]
    auto = np.array([row[f"{question}_band"] == "auto" for row, _ in known])
    return {
        "rows": len(known),
        "accuracy": round(float(hit.mean()), 4),
        "macro_f1": round(macro_f1(judged, right), 4),
        "ece": round(_calibration_error(hit, sure), 4),
        "ece_if_perfect": round(
            float(np.mean([_calibration_error(drawn, sure) for drawn in as_said])), 4
        ),
        "precision_of_surest_half": round(float(hit[half].mean()), 4),
        "auto_share": round(float(auto.mean()), 4),
        "auto_precision": round(float(hit[auto].mean()), 4) if auto.any() else None,
    }


def _speed(trained: Trained, texts: Sequence[str]) -> dict[str, Any]:
    trained.understand_all([Asked(text) for text in texts[:16]])
    cpu: list[float] = []
    wall: list[float] = []
    singles: list[float] = []
    for turn in range(TURNS):
        # Texts are remembered for a while; each turn brings others.
        asked = [Asked(f"{text} {turn}") for text in texts]
        cpu_began, began = time.process_time(), time.perf_counter()
        for start in range(0, len(asked), 16):
            trained.understand_all(asked[start : start + 16])
        cpu.append(time.process_time() - cpu_began)
        wall.append(time.perf_counter() - began)
    for text in texts[:100]:
        began = time.process_time()
        trained.understand_all([Asked(f"{text} alone")])
        singles.append((time.process_time() - began) * 1000)
    return {
        "texts_per_s_core": round(len(texts) / min(cpu), 1),
        "texts_per_s_wall": round(len(texts) / min(wall), 1),
        "single_cpu_ms_p50": round(float(np.percentile(singles, 50)), 2),
        "single_cpu_ms_p99": round(float(np.percentile(singles, 99)), 2),
    }


async def _lag(trained: Trained, texts: Sequence[str]) -> dict[str, Any]:
    pool = Pooled(Rules(), lambda: trained, PoolLimits(timeout_s=60))
    pool.trained()
    spare_the_collector()
    lags: list[float] = []
    stop = asyncio.Event()

    async def tick() -> None:
        while not stop.is_set():
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            lags.append((time.perf_counter() - began - 0.001) * 1000)

    async def watched(seconds: float, burst: Sequence[str]) -> tuple[float, float]:
        lags.clear()
        stop.clear()
        ticking = asyncio.create_task(tick())
        await asyncio.sleep(seconds)
        began = time.perf_counter()
        futures = [asyncio.wrap_future(pool.submit(Asked(text))) for text in burst]
        await asyncio.gather(*futures)
        took = time.perf_counter() - began
        stop.set()
        await ticking
        return max(lags), took

    idle, _ = await watched(1.0, [])
    worst = [
        await watched(0.05, [f"{text} burst {turn}" for text in texts]) for turn in range(BURSTS)
    ]
    pool.close()
    return {
        "loop_lag_ms": round(min(lag for lag, _ in worst), 1),
        "loop_lag_worst_ms": round(max(lag for lag, _ in worst), 1),
        "loop_lag_idle_ms": round(idle, 1),
        "burst": len(texts),
        "burst_seconds": round(min(took for _, took in worst), 2),
    }


def summary(figures: dict[str, Any]) -> dict[str, Any]:
    """What is looked for first, beside the rest."""
    first = ("texts_per_s_core", "loop_lag_ms", "loop_lag_worst_ms")
    return {name: figures[name] for name in first}
