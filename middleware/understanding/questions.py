"""The questions that a model is asked of a text, and the answers that there are."""

from __future__ import annotations

from collections.abc import Mapping

from middleware.contract.actions import Reason
from middleware.domain.understanding import Intent, Remedy, Sentiment

NO_REMEDY = "none"
"""The class of a text that asks for nothing."""

CLASSES: Mapping[str, tuple[str, ...]] = {
    "intent": tuple(i.value for i in Intent),
    "sentiment": tuple(s.value for s in Sentiment),
    "reason": tuple(r.value for r in Reason),
    "remedy": (*(r.value for r in Remedy), NO_REMEDY),
}
"""The classes of each question, in the order of a head's columns."""
