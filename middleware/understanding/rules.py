"""Understanding by rules: cues with weights, each judgement with the cues that made it.

No model and no training: what it says can be read in `lexicon/` and pointed at in the text. It
speaks English, and in a first set German, Spanish and French; in any other language it finds
entities and judges nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from middleware.contract.actions import Reason
from middleware.domain.understanding import (
    CueFound,
    Entity,
    Intent,
    Judgement,
    Remedy,
    Sentiment,
    Severity,
    Span,
    Understanding,
)
from middleware.understanding.cues import CueSet, Hit, Word, words_of
from middleware.understanding.entities import Articles, entities
from middleware.understanding.language import identify
from middleware.understanding.lexicon import LEXICONS, Lexicon
from middleware.understanding.lexicon.warnings import WARNINGS

K = TypeVar("K")

VERSION = "rules/1"
MAX_TEXT = 20_000
"""Characters that are read; entities and cues after them are not seen."""

MOST_EVIDENCE = 6
DOUBT = 1.2
"""What speaks for none of the classes, in points; a lone weak cue must not look sure."""
ENOUGH = 1.5
"""Points below which the answer is unknown."""
CLEAR_TROUBLE = 2.5
"""Points from which a trouble is told, not asked about."""
LEAD = 0.5
"""Points that the first class needs before the second."""


class Rules:
    """The default `Understands`. `regions` are where national phone numbers are read."""

    def __init__(self, *, regions: Sequence[str] = ()) -> None:
        self.regions = tuple(regions)
        self._articles: tuple[Mapping[str, str], Articles] | None = None

    def understand(
        self,
        text: str,
        *,
        language: str | None = None,
        products: Mapping[str, str] | None = None,
        order_patterns: Sequence[str] = (),
    ) -> Understanding:
        """Judge one text; raises `PatternRefused` for an order pattern that is not allowed.

        `products` is indexed once for as long as the same mapping is given again.
        """
        return self.read(
            text, language=language, products=products, order_patterns=order_patterns
        ).judged()

    def read(
        self,
        text: str,
        *,
        language: str | None = None,
        products: Mapping[str, str] | None = None,
        order_patterns: Sequence[str] = (),
        supposed: str | None = None,
    ) -> Reading:
        """Find everything in a text that judgements are made of; raises `PatternRefused`.

        `supposed` is the language that it is read in where it is not clear.
        """
        read = text[:MAX_TEXT]
        found = entities(
            read,
            products=self._index(products) if products else None,
            order_patterns=order_patterns,
            regions=self.regions,
        )
        spoken = identify(read, language)
        lexicon = LEXICONS.get(spoken.value or supposed or "")
        if lexicon is None:
            return Reading(spoken, found, None)
        words = words_of(_without_entities(read, found), lexicon.spellings)
        return Reading(spoken, found, _Weights(read, words, lexicon))

    def _index(self, products: Mapping[str, str]) -> Articles:
        if self._articles is None or self._articles[0] is not products:
            self._articles = (products, Articles(products))
        return self._articles[1]


def _without_entities(text: str, found: Sequence[Entity]) -> str:
    """The text with addresses and numbers blanked out, offsets unchanged: they are no words."""
    blanked = list(text)
    for entity in found:
        if entity.type in ("email", "tracking_number", "order_number", "phone"):
            blanked[entity.start : entity.end] = " " * (entity.end - entity.start)
    return "".join(blanked)


class _Weights:
    """What was found for each class of each question."""

    def __init__(self, text: str, words: Sequence[Word], lexicon: Lexicon) -> None:
        self.words = words
        self.lexicon = lexicon
        self.reasons = _weighed(lexicon.reasons, words, lexicon)
        self.severities = _weighed(lexicon.severities, words, lexicon)
        self.tone = _Tone(words, lexicon)
        asks = "?" in text or (bool(words) and words[0].text in lexicon.openers)
        self.intent = _intent(
            self.reasons,
            _weighed(lexicon.intents, words, lexicon),
            self.severities[Severity.CRITICAL],
            self.tone,
            asks=asks,
        )


@dataclass(frozen=True)
class Reading:
    """A text that was read: it can be judged by the rules alone, or under another's intent."""

    spoken: Judgement[str]
    found: tuple[Entity, ...]
    weights: _Weights | None
    """None for a text in a language that the rules do not speak."""

    @property
    def intent(self) -> Judgement[Intent]:
        """Why somebody wrote, by the rules alone."""
        return self.weights.intent if self.weights else Judgement[Intent]()

    def judged(self, told: Judgement[Intent] | None = None) -> Understanding:
        """What the rules say. `told` is an intent that somebody else judged: what is wrong, how
        bad that is and what is asked for follow from it."""
        if self.weights is None:
            return Understanding(language=self.spoken, entities=self.found, by=VERSION)
        found, words = self.weights, self.weights.words
        intent = found.intent
        if told is not None and told.known and told.value is not intent.value:
            intent = told
        waits = intent.value not in (Intent.PRAISE, Intent.NOISE)
        reason = _best(found.reasons) if waits else Judgement[Reason]()
        negators = found.lexicon.negators
        return Understanding(
            intent=intent,
            sentiment=_sentiment(found.tone, intent, reason),
            reason=reason,
            severity=_severity(found.severities, intent, words),
            remedy=_best(_weighed(found.lexicon.remedies, words, found.lexicon))
            if waits
            else Judgement[Remedy](),
            language=self.spoken,
            entities=self.found,
            cues=_warnings(words, found.lexicon.language, negators) if waits else (),
            by=VERSION,
        )


def _warnings(
    words: Sequence[Word], language: str, negators: frozenset[str]
) -> tuple[CueFound, ...]:
    """The cues that warn, in the order of the text."""
    found = [
        CueFound(kind=kind, **hit.span.model_dump())
        for kind, cues in WARNINGS.get(language, {}).items()
        for hit in cues.find(words, negators)
        if not hit.negated
    ]
    return tuple(sorted(found, key=lambda cue: (cue.start, cue.kind)))


class _Weight:
    """What was found for one class: cues, and points that grow ever more slowly with them."""

    __slots__ = ("hits", "points")

    def __init__(self, hits: Iterable[Hit]) -> None:
        self.hits = [hit for hit in hits if not hit.negated]
        ordered = sorted((hit.cue.weight for hit in self.hits), reverse=True)
        self.points = sum(weight * 0.6**index for index, weight in enumerate(ordered))

    @property
    def spans(self) -> tuple[Span, ...]:
        return _spans(self.hits)


def _spans(hits: Iterable[Hit]) -> tuple[Span, ...]:
    strongest = sorted(hits, key=lambda hit: (-hit.cue.weight, hit.first))[:MOST_EVIDENCE]
    return tuple(hit.span for hit in sorted(strongest, key=lambda hit: hit.first))


def _weighed(
    groups: Mapping[K, CueSet], words: Sequence[Word], lexicon: Lexicon
) -> dict[K, _Weight]:
    return {key: _Weight(cues.find(words, lexicon.negators)) for key, cues in groups.items()}


def _best(weights: Mapping[K, _Weight]) -> Judgement[K]:
    """The class with the most points, unknown where they are few or another is as likely."""
    return _leading(
        {key: weight.points for key, weight in weights.items()},
        {key: weight.spans for key, weight in weights.items()},
    )


def _leading(points: Mapping[K, float], spans: Mapping[K, tuple[Span, ...]]) -> Judgement[K]:
    ranked = sorted(points.items(), key=lambda item: -item[1])
    if not ranked:
        return Judgement[K]()
    best, top = ranked[0]
    second = ranked[1][1] if len(ranked) > 1 else 0.0
    if top < ENOUGH or top - second < LEAD:
        return Judgement[K]()
    # The second counts in full, the rest is noise of a few shared words.
    confidence = top / (top + max(second, 0.0) + DOUBT)
    return Judgement[K](value=best, confidence=round(confidence, 3), evidence=spans.get(best, ()))


class _Tone:
    """Glad and sad words, with what turns, strengthens and outweighs them."""

    def __init__(self, words: Sequence[Word], lexicon: Lexicon) -> None:
        glad = lexicon.positive.find(words, lexicon.negators)
        sad = lexicon.negative.find(words, lexicon.negators)
        # A phrase that holds the other's word wins over it: "not good" is no "good".
        places = {place: hit for hit in (*glad, *sad) for place in range(hit.first, hit.last)}
        for hit in (*glad, *sad):
            for place in range(hit.first, hit.last):
                if hit.last - hit.first > places[place].last - places[place].first:
                    places[place] = hit
        turn = max(
            (i for i, word in enumerate(words) if word.text in lexicon.contrasts), default=-1
        )
        self.glad = self.sad = 0.0
        self.glad_hits: list[Hit] = []
        self.sad_hits: list[Hit] = []
        for hits, is_glad in ((glad, True), (sad, False)):
            for hit in hits:
                if any(places[place] is not hit for place in range(hit.first, hit.last)):
                    continue
                weight = hit.cue.weight * _strength(words, hit, lexicon)
                if turn >= 0:
                    weight *= 1.4 if hit.first > turn else 0.6
                if hit.negated and not is_glad:
                    continue  # "don't waste your money" praises nothing, "not bad" not much
                if is_glad and not hit.negated:
                    self.glad += weight
                    self.glad_hits.append(hit)
                else:
                    self.sad += weight
                    self.sad_hits.append(hit)


def _strength(words: Sequence[Word], hit: Hit, lexicon: Lexicon) -> float:
    before = words[hit.first - 1].text if hit.first > 0 else ""
    strength = 1.3 if before in lexicon.boosters else 1.0
    return strength * (1.2 if any(words[i].shouted for i in range(hit.first, hit.last)) else 1.0)


def _intent(
    reasons: Mapping[Reason, _Weight],
    intents: Mapping[Intent, _Weight],
    harm: _Weight,
    tone: _Tone,
    *,
    asks: bool,
) -> Judgement[Intent]:
    trouble = max(reasons.values(), key=lambda weight: weight.points)
    points = {intent: weight.points for intent, weight in intents.items()}
    spans = {intent: weight.spans for intent, weight in intents.items()}
    # Words of trouble are also words of praise ("your support is great"): where the tone is glad
    # and nothing is sad they count for little. One word of thanks turns no broken cup to praise.
    calm = tone.sad == 0
    glad = calm and tone.glad > 0 and tone.glad >= 0.6 * trouble.points
    points[Intent.COMPLAINT] = trouble.points * (0.4 if glad else 1.0) + tone.sad
    points[Intent.COMPLAINT] += harm.points
    spans[Intent.COMPLAINT] = _spans([*trouble.hits, *harm.hits, *tone.sad_hits])
    points[Intent.QUESTION] += 1.6 if asks else 0.0
    if trouble.points >= CLEAR_TROUBLE:
        points[Intent.QUESTION] *= 0.5  # "why did I get a lamp?" asks, and complains
    points[Intent.PRAISE] += tone.glad - 0.8 * tone.sad - (0.0 if glad else 0.5 * trouble.points)
    spans[Intent.PRAISE] = _spans([*intents[Intent.PRAISE].hits, *tone.glad_hits])
    return _leading(points, spans)


def _sentiment(
    tone: _Tone, intent: Judgement[Intent], reason: Judgement[Reason]
) -> Judgement[Sentiment]:
    net = tone.glad - tone.sad
    total = tone.glad + tone.sad
    if intent.value is Intent.COMPLAINT and reason.known:
        # "Thanks for the broken cup" thanks nobody.
        net, total = net - 1.2, total + 1.2
    if abs(net) < 0.45:
        if total == 0 and intent.value in (Intent.QUESTION, Intent.NOISE):
            return Judgement[Sentiment](
                value=Sentiment.NEUTRAL, confidence=0.6, evidence=intent.evidence
            )
        return Judgement[Sentiment]()
    value, hits = (
        (Sentiment.POSITIVE, tone.glad_hits) if net > 0 else (Sentiment.NEGATIVE, tone.sad_hits)
    )
    evidence = _spans(hits) or reason.evidence
    confidence = (abs(net) / (total + 0.6)) * (1 - math.exp(-abs(net) - 0.5))
    return Judgement[Sentiment](value=value, confidence=round(confidence, 3), evidence=evidence)


def _severity(
    weights: Mapping[Severity, _Weight], intent: Judgement[Intent], words: Sequence[Word]
) -> Judgement[Severity]:
    """The worst that a cue says; without cues a complaint is normal and the rest is low."""
    critical, high = weights[Severity.CRITICAL], weights[Severity.HIGH]
    if critical.points >= ENOUGH and intent.value not in (Intent.PRAISE, Intent.NOISE):
        return _grade(Severity.CRITICAL, critical.points, critical.spans)
    if intent.value in (Intent.PRAISE, Intent.NOISE, Intent.QUESTION):
        return Judgement[Severity](
            value=Severity.LOW, confidence=intent.confidence, evidence=intent.evidence
        )
    shouted = sum(word.shouted for word in words) >= 4
    if high.points + (0.5 if shouted else 0.0) >= ENOUGH:
        return _grade(Severity.HIGH, high.points, high.spans)
    low = weights[Severity.LOW]
    if low.points >= ENOUGH:
        return _grade(Severity.LOW, low.points, low.spans)
    if intent.value is Intent.COMPLAINT:
        return Judgement[Severity](
            value=Severity.NORMAL,
            confidence=round(0.6 * intent.confidence, 3),
            evidence=intent.evidence,
        )
    return Judgement[Severity]()


def _grade(value: Severity, points: float, spans: tuple[Span, ...]) -> Judgement[Severity]:
    return Judgement[Severity](
        value=value, confidence=round(points / (points + DOUBT), 3), evidence=spans
    )
