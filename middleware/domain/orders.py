"""Which order, and which of its lines, a complaint is about."""

from __future__ import annotations

from middleware.contract.canonical import Frozen, Ref, Text
from middleware.domain.understanding import Confidence


class Reasoned(Frozen):
    """One reason for a rank, in words for people, and what it adds to the score."""

    what: Text
    points: float


class RankedOrder(Frozen):
    order: Ref
    number: str | None
    score: float
    reasons: tuple[Reasoned, ...]


class RankedLine(Frozen):
    order: Ref
    line: Text
    """The line's id within the order."""
    sku: str | None
    score: float
    reasons: tuple[Reasoned, ...]


class OrderMatch(Frozen):
    """The person's orders, likeliest first; `chosen` only where one stands out."""

    ranked: tuple[RankedOrder, ...] = ()
    chosen: Ref | None = None
    confidence: Confidence = 0.0
    why: Text
    lines: tuple[RankedLine, ...] = ()
    """Lines of the chosen order, likeliest first."""
    chosen_lines: tuple[str, ...] = ()
    """Ids of the lines that are meant; empty where that is open."""
    warnings: tuple[str, ...] = ()
