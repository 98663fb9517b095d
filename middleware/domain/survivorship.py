"""Which of several values for one field counts: rules as data, and the choice with its reason.

Values are never stored as chosen. They are chosen anew from what is linked at the moment, so that
undoing a link or a merge gives back what was there before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from middleware.contract.canonical import Frozen

ERP, CRM, VERIFIED, NEWEST = "erp", "crm", "verified", "newest"
WORDS = (ERP, CRM, VERIFIED, NEWEST)
"""What a rule may prefer beside a connection by its name."""

UNIQUE_IDS = ("tax_id", "vat_id")
"""External ids that the state gives out: nobody has two."""

RULES: Mapping[str, tuple[str, ...]] = {
    "name": (CRM, NEWEST),
    "legal_name": (ERP, NEWEST),
    "tax_id": (ERP, NEWEST),
    "customer_number": (ERP, NEWEST),
    "email": (VERIFIED, NEWEST),
    "phone": (VERIFIED, NEWEST),
    "address": (ERP, NEWEST),
    "language": (CRM, NEWEST),
    "tier": (ERP, NEWEST),
    "handle": (NEWEST,),
}
"""What counts for each field, the first that tells two values apart; `handle` on every network."""


class Value(Frozen):
    """What one source says of one field."""

    field: str
    value: str
    source: str
    """The record (`connection:kind:id`) or the identity that says so."""
    at: datetime | None = None
    """When the source last changed it, as far as that is known; else when we last read it."""
    erp: bool = False
    """Whether orders are kept where it comes from."""
    verified: bool = False
    """Whether the customer has written to us from it."""
    key: str | None = None
    """The same for values that are one, however they are written; by default the text tells."""

    @property
    def connection(self) -> str | None:
        return self.source.split(":", 1)[0] if ":" in self.source else None


class Chosen(Frozen):
    """The value that counts, why, and what others say."""

    field: str
    value: str
    source: str
    at: datetime | None
    verified: bool
    why: str
    others: tuple[Value, ...] = ()
    """Different values that did not win, the next best first."""


def choose(
    values: Iterable[Value], rules: Mapping[str, Sequence[str]] | None = None
) -> list[Chosen]:
    """The golden view: one value for each field that any source has, in the order of the rules.

    A field without a rule of its own goes to the newest. Equal values are one, also where they are
    written otherwise; it is told by the source that ranks best.
    """
    in_force = {**RULES, **(rules or {})}
    by_field: dict[str, list[Value]] = {}
    for value in values:
        if value.value.strip():
            by_field.setdefault(value.field, []).append(value)
    order = {name: place for place, name in enumerate(in_force)}
    return [
        _chosen(name, found, in_force.get(name.partition(" on ")[0], (NEWEST,)))
        for name, found in sorted(
            by_field.items(), key=lambda item: (order.get(item[0], len(order)), item[0])
        )
    ]


def _chosen(name: str, found: Sequence[Value], rule: Sequence[str]) -> Chosen:
    ranked = sorted(
        sorted(found, key=_in_any_order),
        key=lambda v: tuple(_rank(v, word) for word in rule),
        reverse=True,
    )
    best = ranked[0]
    others: dict[str, Value] = {}
    for value in ranked[1:]:
        if _same(value) != _same(best):
            others.setdefault(_same(value), value)
    return Chosen(
        field=name,
        value=best.value,
        source=best.source,
        at=best.at,
        verified=best.verified,
        why=_why(best, list(others.values()), rule),
        others=tuple(others.values()),
    )


def _why(best: Value, others: Sequence[Value], rule: Sequence[str]) -> str:
    if not others:
        return "the only one"
    for word in rule:
        if _rank(best, word) != _rank(others[0], word):
            return _TOLD.get(word, f"from {word}, which counts first")
    return "the same rank; the first by its reference"


_TOLD = {
    ERP: "the ERP has it",
    CRM: "the CRM has it",
    VERIFIED: "the customer has written from it",
    NEWEST: "the newest",
}


def _rank(value: Value, word: str) -> float:
    match word:
        case "erp":
            return float(value.erp)
        case "crm":
            return float(value.connection is not None and not value.erp)
        case "verified":
            return float(value.verified)
        case "newest":
            return value.at.timestamp() if value.at is not None else float("-inf")
        case _:
            return float(value.connection == word)


def _in_any_order(value: Value) -> tuple[str, str, bool, bool, float]:
    """What tells values apart that every rule ranks alike, whichever came first."""
    newest = -_rank(value, NEWEST)
    return value.source, value.value, not value.verified, not value.erp, newest


def _same(value: Value) -> str:
    return value.key or " ".join(value.value.casefold().split())
