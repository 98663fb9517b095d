"""Cues: phrases with a weight, matched on words instead of by regular expressions.

One line of a lexicon is one cue: a weight and a phrase. In a phrase, `a|b` are alternatives, `a*`
is a beginning, `...` is up to three words in between, `....` up to eight, `<n>` is a number and
`<neg>` a negation. Every position is tried against the cues that can begin there, so time grows
with the length of the text and nothing else.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from middleware.domain.understanding import Span

MAX_WORDS = 4_000
"""Words of a text that are judged; posts and mails are shorter, logs pasted into them are not."""

GAPS = {"...": 3, "....": 8}
NEGATION_REACH = 3
"""Words after which a negation no longer speaks of what follows."""

_WORD = re.compile(
    r"[^\W_]+(?:['’`´-][^\W_]+)*"
    r"|[\u2600-\u27bf\U0001f300-\U0001faff]"
    r"|:-?[()DPp/|]|<3"
)
_BREAK = re.compile(r"[.,;:!?\n()…]|\s[-–—]\s")
_APOSTROPHES = str.maketrans("’`´", "'''")


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    """In lower case, apostrophes straight."""
    start: int
    end: int
    after_break: bool
    """A sentence or clause begins here."""
    shouted: bool = False


def words_of(text: str, spellings: Mapping[str, str] | None = None) -> list[Word]:
    """The words, numbers and emojis of a text with their places; `spellings` are set right."""
    found: list[Word] = []
    position = 0
    for match in _WORD.finditer(text):
        written = match.group()
        lowered = written.casefold().translate(_APOSTROPHES)
        if spellings:
            lowered = spellings.get(lowered, lowered)
        found.append(
            Word(
                text=lowered,
                start=match.start(),
                end=match.end(),
                after_break=not found or bool(_BREAK.search(text, position, match.start())),
                shouted=len(written) > 3 and written.isupper(),
            )
        )
        position = match.end()
        if len(found) == MAX_WORDS:
            break
    return found


@dataclass(frozen=True, slots=True)
class _Element:
    """What one word of a phrase may be, or a gap."""

    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    number: bool = False
    gap: int = 0

    def fits(self, word: str) -> bool:
        if word in self.exact:
            return True
        if self.number and (word[0].isdigit() or word in _NUMBER_WORDS):
            return True
        return bool(self.prefixes) and word.startswith(self.prefixes)


_NUMBER_WORDS = frozenset(
    (
        *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve"),
        *("eleven", "twenty", "thirty", "half"),
        *("zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "zwölf"),
        *("dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez"),
        *("deux", "trois", "quatre", "cinq", "sept", "huit", "neuf", "dix", "quinze", "vingt"),
    )
)


@dataclass(frozen=True, slots=True)
class Cue:
    phrase: str
    weight: float
    elements: tuple[_Element, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A cue where it was found: the words from `first` to before `last`."""

    cue: Cue
    first: int
    last: int
    negated: bool
    span: Span


class MalformedCue(ValueError):
    """A line of a lexicon is not a weight and a phrase."""


@dataclass(slots=True)
class CueSet:
    """Cues that speak for one thing, ready to be looked for."""

    cues: tuple[Cue, ...]
    by_word: dict[str, list[Cue]] = field(default_factory=lambda: defaultdict(list))
    by_prefix: dict[str, list[Cue]] = field(default_factory=lambda: defaultdict(list))
    by_number: list[Cue] = field(default_factory=list)

    @classmethod
    def read(cls, lines: str, negators: frozenset[str]) -> CueSet:
        """Read a block of a lexicon: one cue a line, weight first."""
        made = cls(
            tuple(
                _cue(line.strip(), negators)
                for line in lines.strip().splitlines()
                if line.strip() and not line.lstrip().startswith("#")
            )
        )
        for cue in made.cues:
            first = cue.elements[0]
            for word in first.exact:
                made.by_word[word].append(cue)
            for prefix in first.prefixes:
                made.by_prefix[prefix[:3]].append(cue)
            if first.number:
                made.by_number.append(cue)
        return made

    def vocabulary(self) -> Iterator[str]:
        """The whole words that the cues are made of."""
        for cue in self.cues:
            for element in cue.elements:
                yield from element.exact

    def find(self, words: Sequence[Word], negators: frozenset[str]) -> list[Hit]:
        """The cues in a text, the weightier first, none overlapping another of this set."""
        found: list[Hit] = []
        for index, word in enumerate(words):
            for cue in self._beginning(word.text):
                last = _match(cue.elements, 1, words, index + 1)
                if last is None:
                    continue
                negated = _is_negated(words, index, last, negators)
                span = Span(start=word.start, end=words[last - 1].end, cue=cue.phrase)
                found.append(Hit(cue, index, last, negated, span))
        found.sort(key=lambda h: (-h.cue.weight, -(h.last - h.first), h.first))
        kept: list[Hit] = []
        taken: set[int] = set()
        for hit in found:
            places = range(hit.first, hit.last)
            if taken.isdisjoint(places):
                kept.append(hit)
                taken.update(places)
        return kept

    def _beginning(self, word: str) -> Iterable[Cue]:
        yield from self.by_word.get(word, ())
        for cue in self.by_prefix.get(word[:3], ()):
            if word.startswith(cue.elements[0].prefixes):
                yield cue
        if self.by_number and (word[0].isdigit() or word in _NUMBER_WORDS):
            yield from self.by_number


def _cue(line: str, negators: frozenset[str]) -> Cue:
    weight, _, phrase = line.partition(" ")
    try:
        number = float(weight)
    except ValueError:
        raise MalformedCue(line) from None
    elements = tuple(_element(part, negators) for part in phrase.split())
    if not elements or elements[0].gap or elements[-1].gap:
        raise MalformedCue(line)
    return Cue(phrase.strip(), number, elements)


def _element(part: str, negators: frozenset[str]) -> _Element:
    if part in GAPS:
        return _Element(gap=GAPS[part])
    exact: set[str] = set()
    prefixes: list[str] = []
    number = False
    for choice in part.split("|"):
        if choice == "<n>":
            number = True
        elif choice == "<neg>":
            exact |= negators
        elif choice.endswith("*"):
            if len(choice) < 4:
                raise MalformedCue(part)
            prefixes.append(choice[:-1])
        else:
            exact.add(choice)
    return _Element(frozenset(exact), tuple(prefixes), number)


def _match(
    elements: tuple[_Element, ...], at: int, words: Sequence[Word], index: int
) -> int | None:
    """Where the rest of a phrase ends, counted in words; None where it does not go on."""
    while at < len(elements):
        element = elements[at]
        if element.gap:
            for skipped in range(element.gap + 1):
                if index + skipped >= len(words):
                    return None
                end = _match(elements, at + 1, words, index + skipped)
                if end is not None:
                    return end
            return None
        if index >= len(words) or not element.fits(words[index].text):
            return None
        at += 1
        index += 1
    return index


def _is_negated(words: Sequence[Word], first: int, last: int, negators: frozenset[str]) -> bool:
    """Whether a negation stands before a phrase; one inside of it belongs to the phrase."""
    if any(words[place].text in negators for place in range(first, last)):
        return False
    for back in range(first, max(first - NEGATION_REACH, 0), -1):
        if words[back].after_break:
            return False
        if words[back - 1].text in negators:
            return True
    return False
