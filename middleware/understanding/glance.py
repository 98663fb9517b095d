"""A first glance at a delivery: whether somebody may be hurt, before it is understood.

It orders the queue while more arrives than can be handled, and decides nothing else. So it is
cheap and errs towards haste: the words of the lexicons' severities, in whatever language, anywhere
in the body as it came.
"""

from __future__ import annotations

import re
from enum import IntEnum
from functools import cache

from middleware.domain.understanding import Severity
from middleware.understanding.cues import CueSet, words_of
from middleware.understanding.lexicon import LEXICONS

MOST_BYTES = 16_384
"""Of a body that are looked at; a longer one is glanced at from its beginning."""
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
_BREAKS = re.compile(r"\\[nrt]")
_LETTERS = re.compile(r"[^\W\d_]+")


class Haste(IntEnum):
    """In which order deliveries are handled while many wait; the smallest first."""

    DANGER = 1
    """Somebody may be hurt."""
    HIGH = 2
    """A lawyer, the press, a deadline."""
    USUAL = 3


def haste(body: bytes) -> Haste:
    """How much haste a delivery asks for, by the words in it."""
    text = body[:MOST_BYTES].decode(errors="ignore")
    if "\\" in text:
        text = _BREAKS.sub(" ", _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text))
    lowered = text.casefold()
    present = set(_LETTERS.findall(lowered))
    words = None
    for severity, level in ((Severity.CRITICAL, Haste.DANGER), (Severity.HIGH, Haste.HIGH)):
        exact, prefixes = _beginnings(severity)
        if present.isdisjoint(exact) and not (
            prefixes and any(word.startswith(prefixes) for word in present)
        ):
            continue
        words = words_of(text) if words is None else words
        for lexicon in LEXICONS.values():
            cues: CueSet = lexicon.severities[severity]
            for hit in cues.find(words, lexicon.negators):
                if not hit.negated and hit.cue.weight >= 2:
                    return level
    return Haste.USUAL


@cache
def _beginnings(severity: Severity) -> tuple[frozenset[str], tuple[str, ...]]:
    """The words that cues of a severity begin with, in all languages: whole ones and beginnings."""
    exact: set[str] = set()
    prefixes: set[str] = set()
    for lexicon in LEXICONS.values():
        for cue in lexicon.severities[severity].cues:
            for word in cue.elements[0].exact:
                exact |= set(_LETTERS.findall(word.casefold()))
            prefixes |= set(cue.elements[0].prefixes)
    return frozenset(exact), tuple(sorted(prefixes))
