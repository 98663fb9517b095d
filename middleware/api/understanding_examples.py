"""The example of a correction, in the story of `examples`: it was not damaged, it never worked."""

from __future__ import annotations

from typing import Any

from middleware.api.examples import COMPLAINT

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
