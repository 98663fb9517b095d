"""The examples of understanding, in the story of `examples`: it was not damaged at all."""

from __future__ import annotations

from typing import Any

from middleware.api.examples import COMPLAINT, KEY_ID

Json = dict[str, Any]

CORRECTED: Json = {
    **COMPLAINT["understanding"],
    "reason": {
        "value": "defective",
        "confidence": 1.0,
        "evidence": [],
        "band": "auto",
        "alternatives": [
            {"value": "damaged", "probability": 0.86},
            {"value": "defective", "probability": 0.09},
        ],
    },
    "by": "goods@3f9a1c0b7d21, rules/1, corrected",
}

PREVIEW: Json = COMPLAINT["understanding"]

IN_USE: Json = {
    "model": "goods@3f9a1c0b7d21+3",
    "heads": 3,
    "languages": ["en"],
    "own": [{"question": "sentiment", "decides": False}],
    "refused": None,
}

TRAINING: Json = {
    "id": "trn_019c9d6f3a5e7c41b1d0a2f4c6e88aa1",
    "state": "done",
    "again": None,
    "heads": 3,
    "learned_from": {"corrections": 41, "sentences": 12, "left_out": 2},
    "report": {
        "reason": {
            "labels": 53,
            "labels_before": 0.7358,
            "labels_after": 0.8868,
            "held_out_before": 0.8654,
            "held_out_after": 0.8615,
            "held_out_macro_f1_before": 0.8511,
            "held_out_macro_f1_after": 0.8492,
        }
    },
    "why": None,
    "asked_by": KEY_ID,
    "asked_at": "2026-11-21T09:00:00Z",
    "started_at": "2026-11-21T09:00:01Z",
    "ended_at": "2026-11-21T09:00:09Z",
}
TRAINING_PAGE: Json = {"data": [TRAINING], "next_cursor": None, "has_more": False}
TRAINING_OWED: Json = {
    **TRAINING,
    "state": "queued",
    "heads": None,
    "learned_from": None,
    "report": {},
    "started_at": None,
    "ended_at": None,
}

AGREEMENT: Json = {
    "since": "2026-10-22T00:00:00Z",
    "until": "2026-11-21T00:00:00Z",
    "questions": [
        {
            "question": "sentiment",
            "asked": 812,
            "agreed": 763,
            "corrected": 19,
            "right": 14,
            "differences": [{"decided": "neutral", "shadow": "negative", "times": 31}],
        }
    ],
}
