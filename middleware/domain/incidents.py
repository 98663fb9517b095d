"""Incidents: what complaints have in common, which of it is one pile-on, and what is proposed."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from middleware.contract.actions import Operation, Reason
from middleware.contract.canonical import Frozen, Order, Shipment
from middleware.domain.bursts import BurstRules, Key, KeyKind
from middleware.domain.understanding import EntityType, Intent, Remedy, Understanding

HASHTAG = re.compile(r"(?<![\w&])#([^\W\d_]\w{2,49})")
"""`#fail`; not `#1`, nor the end of `&#39;`."""
MOST_HASHTAGS = 8
MOST_KEYS = 40
"""Keys of one complaint: a post of nothing but tags must not cost more than others."""
NO_TOPIC = frozenset({Reason.OTHER})
COUNTED = frozenset({Intent.COMPLAINT, Intent.QUESTION, None})
"""Intents that count; praise and giveaways pile up too, and nothing is wrong."""


class IncidentState(StrEnum):
    OPEN = "open"
    """Found, and nobody has looked at it."""
    CONFIRMED = "confirmed"
    """Somebody said that it is one."""
    DISMISSED = "dismissed"
    """Somebody said that it is none; it does not open again for the same burst."""
    CLOSED = "closed"


ENDED = frozenset({IncidentState.DISMISSED, IncidentState.CLOSED})


class IncidentRules(Frozen):
    """What the operator decides of incidents."""

    enabled: bool = True
    bursts: BurstRules = BurstRules()
    close_after: timedelta = timedelta(hours=24)
    """How long after its burst is over an incident that nobody closed is closed."""
    silent_since: timedelta = timedelta(days=60)
    """How far back orders are looked at for customers who are affected and silent."""
    most_affected: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    """How many orders of one incident are listed at most."""
    lot_fields: tuple[str, ...] = ("lots", "lot", "batch")
    """Where in the `extra` of an order or shipment the lot is: by line id, a list, or one."""
    warehouse_fields: tuple[str, ...] = ("warehouse",)


# --- keys -----------------------------------------------------------------------------------------


def keys_of(
    understanding: Understanding,
    text: str,
    *,
    order: Order | None,
    lines: Sequence[str],
    shipments: Sequence[Shipment],
    rules: IncidentRules,
) -> tuple[Key, ...]:
    """What a complaint may have in common with others; nothing for praise and noise.

    `order` is the one that is meant, `lines` the ids of its lines that are, `shipments` its own.
    Without an order, the articles that the text names count.
    """
    if understanding.intent.value not in COUNTED:
        return ()
    found: list[Key] = []
    if order is not None:
        meant = [line for line in order.lines if line.id in lines]
        found += [Key(KeyKind.SKU, line.sku) for line in meant if line.sku]
        found += [Key(KeyKind.LOT, lot) for lot in lots_of(order, shipments, lines, rules)]
        found += parcels_of(order, shipments, rules)
    else:
        found += [Key(KeyKind.SKU, sku) for sku in understanding.values(EntityType.SKU)]
    reason = understanding.reason.value
    if reason is not None and reason not in NO_TOPIC:
        found.append(Key(KeyKind.TOPIC, reason.value))
    tags = dict.fromkeys(tag.casefold() for tag in HASHTAG.findall(text))
    found += [Key(KeyKind.HASHTAG, tag) for tag in list(tags)[:MOST_HASHTAGS]]
    return tuple(dict.fromkeys(Key(key.kind, key.value[:200]) for key in found))[:MOST_KEYS]


SPECIFIC = frozenset({KeyKind.LOT, KeyKind.SKU})
"""Kinds that say what a complaint is about; without one its words are compared with others'."""


def lots_of(
    order: Order, shipments: Iterable[Shipment], lines: Sequence[str], rules: IncidentRules
) -> list[str]:
    """The lots of lines of an order, where a mapping gives them."""
    found: list[str] = []
    for record in (order, *shipments):
        for name in rules.lot_fields:
            given = record.extra.get(name)
            if isinstance(given, Mapping):
                found += [str(given[line]) for line in lines if given.get(line)]
            elif isinstance(given, list | tuple):
                found += [str(lot) for lot in given if lot]
            elif given:
                found.append(str(given))
    return list(dict.fromkeys(found))


def parcels_of(order: Order, shipments: Iterable[Shipment], rules: IncidentRules) -> list[Key]:
    """Where from, with whom and when an order was sent."""
    found: list[Key] = []
    parcels = list(shipments)
    for record in (*parcels, *(() if parcels else (order,))):
        warehouse = next(
            (str(v) for name in rules.warehouse_fields if (v := record.extra.get(name))), None
        )
        if warehouse is not None:
            found.append(Key(KeyKind.WAREHOUSE, warehouse))
        if not isinstance(record, Shipment):
            continue
        if record.carrier is not None:
            found.append(Key(KeyKind.CARRIER, record.carrier))
        if record.shipped_at is not None:
            sender = warehouse or record.carrier
            if sender is not None:
                day = record.shipped_at.date().isoformat()
                found.append(Key(KeyKind.SHIPPED, f"{sender}/{day}"))
    return found


def concerned_lines(
    key: Key, order: Order, shipments: Sequence[Shipment], rules: IncidentRules
) -> list[str]:
    """The ids of the lines of an order that have a key; none where it does not have it."""
    match key.kind:
        case KeyKind.SKU:
            return [line.id for line in order.lines if line.sku == key.value]
        case KeyKind.LOT:
            return [
                line.id
                for line in order.lines
                if key.value in lots_of(order, shipments, [line.id], rules)
            ]
        case KeyKind.SHIPPED | KeyKind.WAREHOUSE | KeyKind.CARRIER:
            if key in parcels_of(order, shipments, rules):
                return [line.id for line in order.lines if line.quantity > 0]
    return []


BOUGHT = frozenset({KeyKind.LOT, KeyKind.SKU, KeyKind.SHIPPED, KeyKind.WAREHOUSE, KeyKind.CARRIER})
"""Kinds that orders have: whoever bought so is affected, also who says nothing."""


# --- what is proposed -----------------------------------------------------------------------------

FOR_REASON: Mapping[Reason, Operation] = {
    Reason.DAMAGED: Operation.REPLACEMENT_ORDER,
    Reason.DEFECTIVE: Operation.REPLACEMENT_ORDER,
    Reason.WRONG_ITEM: Operation.REPLACEMENT_ORDER,
    Reason.MISSING_ITEM: Operation.REPLACEMENT_ORDER,
    Reason.LOST: Operation.REPLACEMENT_ORDER,
    Reason.BILLING: Operation.CASE,
    Reason.LATE: Operation.CASE,
    Reason.SERVICE: Operation.CASE,
}
"""What usually mends it. What a parcel that is late needs is to be found out first."""

FOR_REMEDY: Mapping[Remedy, Operation] = {
    Remedy.REPLACEMENT: Operation.REPLACEMENT_ORDER,
    Remedy.REPAIR: Operation.RETURN,
    Remedy.RETURN: Operation.RETURN,
    Remedy.REFUND: Operation.CREDIT,
    Remedy.CANCELLATION: Operation.CANCELLATION,
    Remedy.CALL_BACK: Operation.CALL_BACK,
}
ASKED_FOR = 0.3
"""The share of complaints that must ask for the same thing for that to be proposed."""


class Proposal(Frozen):
    """One remedy for all of an incident, and how it was found."""

    operation: Operation
    reason: Reason
    why: str
    of: int
    """How many complaints were looked at."""


def propose(understood: Sequence[Mapping[str, Any]]) -> Proposal | None:
    """The remedy that most ask for, else what usually mends the reason that most have.

    `understood` are stored understandings; None where they say nothing of either.
    """
    reasons: Counter[Reason] = Counter()
    remedies: Counter[Remedy] = Counter()
    for body in understood:
        reason = (body.get("reason") or {}).get("value")
        remedy = (body.get("remedy") or {}).get("value")
        if reason in set(Reason):
            reasons[Reason(reason)] += 1
        if remedy in set(Remedy) and Remedy(remedy) in FOR_REMEDY:
            remedies[Remedy(remedy)] += 1
    reason = next((r for r, _ in reasons.most_common() if r is not Reason.OTHER), Reason.OTHER)
    total = len(understood)
    for remedy, count in remedies.most_common(1):
        if count >= ASKED_FOR * total:
            why = f"{count} of {total} ask for it"
            return Proposal(operation=FOR_REMEDY[remedy], reason=reason, why=why, of=total)
    if reason not in FOR_REASON:
        return None
    why = f"{reasons[reason]} of {total} are about {reason.value.replace('_', ' ')}"
    return Proposal(operation=FOR_REASON[reason], reason=reason, why=why, of=total)


# --- what is typical of it ------------------------------------------------------------------------

_WORD = re.compile(r"[^\W\d_]{3,30}(?:['’][^\W\d_]+)?")
_NO_WORD = re.compile(r"https?://\S+|[@#]\w+|\S+@\S+")
MOST_WORDS = 5
MOST_SAMPLES = 3
OFTEN = 0.2
"""The share of an incident's texts that a word of it must be in: no name, and no typing error."""
TELLS = 1.96
"""Standard errors by which a word must be more frequent than usual."""
PRIOR_WEIGHT = 10.0


def _words(text: str) -> set[str]:
    return {word.casefold() for word in _WORD.findall(_NO_WORD.sub(" ", text))}


def telling_words(texts: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """The words that are more frequent in some texts than in others, the most telling first.

    Log-odds with an informative Dirichlet prior, by their z-scores (Monroe, Colaresi and Quinn
    2008), of the number of texts that have a word.
    """
    here = Counter(word for text in texts for word in _words(text))
    there = Counter(word for text in others for word in _words(text))
    total = len(texts) + len(others)
    found = []
    for word, count in here.items():
        if count < max(2, OFTEN * len(texts)):
            continue
        prior = PRIOR_WEIGHT * (count + there[word] + 1) / (total + 2)
        odds = [
            math.log((n + prior) / max(of + PRIOR_WEIGHT - n - prior, 0.5))
            for n, of in ((count, len(texts)), (there[word], len(others)))
        ]
        error = math.sqrt(1 / (count + prior) + 1 / (there[word] + prior))
        found.append((-(odds[0] - odds[1]) / error, word))
    return tuple(word for z, word in sorted(found) if -z >= TELLS)[:MOST_WORDS]


def samples(texts: Mapping[str, str], words: Sequence[str]) -> tuple[str, ...]:
    """The complaints whose texts have the most of the words; each wording once.

    `texts` are by complaint. Of equal ones the shorter text comes first.
    """
    ranked = sorted(
        texts, key=lambda of: (-len(_words(texts[of]) & set(words)), len(texts[of]), of)
    )
    wordings = {frozenset(_words(texts[of])): of for of in reversed(ranked)}
    return tuple(of for of in ranked if of in wordings.values())[:MOST_SAMPLES]


# --- how it is told -------------------------------------------------------------------------------

_TITLES: Mapping[KeyKind, str] = {
    KeyKind.LOT: "lot {0}",
    KeyKind.SKU: "article {0}",
    KeyKind.SHIPPED: "parcels of {0}",
    KeyKind.WAREHOUSE: "warehouse {0}",
    KeyKind.CARRIER: "carrier {0}",
    KeyKind.HASHTAG: "#{0}",
    KeyKind.TEXT: "the same words as in {0}",
    KeyKind.NEAR: "complaints like {0}",
    KeyKind.TOPIC: "complaints about {0}",
}


def title_of(key: Key, words: Sequence[str] = ()) -> str:
    """What an incident is called; where its key tells people nothing, by its usual words."""
    if words and key.kind in (KeyKind.TEXT, KeyKind.NEAR):
        return f"complaints about “{', '.join(words)}”"
    value = key.value.replace("_", " ") if key.kind is KeyKind.TOPIC else key.value
    if key.kind is KeyKind.SHIPPED:
        sender, _, day = key.value.rpartition("/")
        value = f"{sender} on {day}"
    return _TITLES[key.kind].format(value)


def has_grown(complaints: int, told: int) -> bool:
    """Whether an incident is so much larger than when it was last told: twice, and ten more."""
    return complaints >= max(2 * told, told + 10)
