"""Sketches of texts: which of them say nearly the same, without a model.

A sketch is one-permutation minwise hashing (Broder 1997; Li, Owen and Zhang 2012) of the text's
five-character shingles, with one byte kept of each bin's minimum (Li and König 2010). The share of
bins in which two sketches agree estimates the Jaccard likeness of the texts. Whoever has an
embedding of texts replaces `sketch` and `likeness` by it; nothing else looks inside.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from operator import eq
from zlib import crc32

BINS = 64
SHINGLE = 5
SHORTEST = 24
"""Letters below which a text says too little to be like another one."""
ALIKE = 0.4
"""From this likeness on two texts say the same: copies, cross-posts, close paraphrases."""
_CHANCE = 1 / 255
"""How often bins of different texts agree by accident."""

_ADDRESS = re.compile(r"https?://\S+|[@#]\w+|\S+@\S+|\d+")
_NO_LETTER = re.compile(r"[\W_]+")


def sketch(text: str) -> bytes | None:
    """The sketch of a text; None for one that says too little.

    Names, numbers, tags and addresses, which copies differ by, are left out.
    """
    plain = unicodedata.normalize("NFKD", _ADDRESS.sub(" ", text)).casefold()
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    words = _NO_LETTER.sub(" ", plain).strip()
    if len(words) < SHORTEST:
        return None
    least = [0xFFFFFFFF] * BINS
    for shingle in {words[place : place + SHINGLE] for place in range(len(words) - SHINGLE + 1)}:
        value = crc32(shingle.encode())
        place, rest = value % BINS, value // BINS
        least[place] = min(least[place], rest)
    # 0 stands for an empty bin.
    return bytes(0 if rest == 0xFFFFFFFF else rest % 255 + 1 for rest in least)


def likeness(one: bytes, other: bytes) -> float:
    """How alike two sketched texts are, from 0 to 1."""
    empty = sum(not (a or b) for a, b in zip(one, other, strict=True))
    agree = sum(map(eq, one, other)) - empty
    share = agree / (BINS - empty) if empty < BINS else 0.0
    return max((share - _CHANCE) / (1 - _CHANCE), 0.0)


ROWS = 3
"""Bins that must agree for two sketches to be compared at all: 21 chances of three, which 75 % of
the pairs that are as alike as `ALIKE` have, 94 % of those half alike, and hardly any others."""


class Leaders:
    """Texts that others are compared with, found by bands of their sketches."""

    def __init__(self, known: Iterable[tuple[str, bytes]] = ()) -> None:
        self._sketches: dict[str, bytes] = {}
        self._bands: dict[tuple[int, bytes], list[str]] = {}
        for name, sketched in known:
            self.add(name, sketched)

    def __contains__(self, name: str) -> bool:
        return name in self._sketches

    def add(self, name: str, sketched: bytes) -> None:
        self._sketches[name] = sketched
        for band in _bands(sketched):
            self._bands.setdefault(band, []).append(name)

    def nearest(self, wanted: bytes) -> str | None:
        """The one that says the same; of several the likest, of equal ones the first."""
        found = {name for band in _bands(wanted) for name in self._bands.get(band, ())}
        ranked = sorted((-likeness(wanted, self._sketches[name]), name) for name in found)
        return ranked[0][1] if ranked and -ranked[0][0] >= ALIKE else None


def _bands(sketched: bytes) -> Iterator[tuple[int, bytes]]:
    for place in range(0, BINS - ROWS + 1, ROWS):
        band = sketched[place : place + ROWS]
        if 0 not in band:
            yield place, band
