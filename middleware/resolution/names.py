"""Names of people and companies in forms that compare: any script, any order, any nickname.

These are keys. What a source wrote is stored and shown as it was written.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import cleanco
from anyascii import anyascii
from cleanco.clean import strip_tail
from cleanco.termdata import terms_by_country, terms_by_type
from nicknames import NickNamer

MOST_TOKENS = 8
"""A display name of more words is a sentence."""

_SPELLED = re.compile(r"[^a-z0-9]+")
_NICKNAMES = NickNamer()
_LEGAL = frozenset(
    part
    for terms in (*terms_by_type.values(), *terms_by_country.values())
    for term in terms
    for part in _SPELLED.split(anyascii(term).lower())
    if part
)
"""Words of legal forms: gmbh, inc, sarl."""
_ENDS = frozenset(
    _SPELLED.sub("", anyascii(parts[-1]).lower()) for _, parts in cleanco.prepare_default_terms()
)
"""The last words of legal forms as one word each: gmbh, inc, sa for S.A."""
_CASE_CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ASIDE = re.compile(r"\([^)]*\)|\[[^\]]*\]|\{[^}]*\}|（[^）]*）")
_END_OF_NAME = re.compile(r"\s[@|•·—–~/]|[|•·—–~/]\s|\s-\s|\s(?:at|bei|chez)\s")
_EMPLOYED = frozenset(("at", "bei", "chez"))
_PLAIN = re.compile(r"[A-Za-z0-9 ]*")
_INSIDE_WORD = re.compile(r"['’`´.]")
_NOT_LETTERS = re.compile(r"[^a-z]+")

TITLES = frozenset(
    [
        "dr",
        "mr",
        "mrs",
        "ms",
        "miss",
        "mx",
        "prof",
        "sir",
        "dame",
        "rev",
        "hon",
        "herr",
        "frau",
        "dipl",
        "ing",
        "jr",
        "sr",
        "ii",
        "iii",
        "iv",
        "phd",
        "md",
        "mba",
        "esq",
        "rep",
        "sen",
        "senator",
        "congressman",
        "congresswoman",
        "he",
        "him",
        "his",
        "she",
        "her",
        "they",
        "them",
    ]
)
"""Words around a name that are none."""

DECORATIONS = (
    "official", "therealdeal", "thereal", "real", "the", "its", "iam", "im", "hey", "hello", "mr",
    "ms", "mrs", "dr", "dev", "hq", "app", "io", "xyz", "tweets", "online", "code", "codes",
    "writes", "art", "tv", "rep", "sen", "twts",
)  # fmt: skip
"""What people put before or behind their name when the handle is taken; longest first wins."""


def folded(text: str) -> str:
    """Lower-case ASCII letters that a text is spelled with, whatever its script."""
    if text.isascii():
        return text.lower()  # which is spelled as it is written
    return anyascii(unicodedata.normalize("NFKC", text)).lower()


@lru_cache(maxsize=65536)
def tokens(name: str) -> tuple[str, ...]:
    """The words of a person's name: `Smith, Dr. Jon (he/him) | Acme` is `jon`, `smith`.

    Scripts without blanks between names fall apart where their transliteration has a capital:
    `王小明` is `wang`, `xiao`, `ming`. Empty where nothing is a name.
    """
    text = name[:160]
    words = _plain_words(text)
    if words is None:
        words = _words(unicodedata.normalize("NFKC", text))
    kept = [word for word in words if word not in TITLES] or words
    return tuple(kept[:MOST_TOKENS])


def _plain_words(text: str) -> list[str] | None:
    """What `_words` makes of a text in which nothing has to be looked for, as in most."""
    if not _PLAIN.fullmatch(text):
        return None
    words = [part for part in _NOT_LETTERS.split(text.lower()) if part]
    return words if _EMPLOYED.isdisjoint(words) else None


def _words(text: str) -> list[str]:
    text = _ASIDE.sub(" ", _without_pictures(text))
    text = _END_OF_NAME.split(text, maxsplit=1)[0]
    family, comma, given = text.partition(",")
    if comma and given.strip() and folded(given).strip(" .") not in TITLES:
        text = f"{given} {family}"
    words: list[str] = []
    for word in text.split():
        whole = _INSIDE_WORD.sub("", word)
        spelled = whole if whole.isascii() else _CASE_CHANGE.sub(" ", anyascii(whole))
        words += [part for part in _NOT_LETTERS.split(spelled.lower()) if part]
    return words


def _without_pictures(text: str) -> str:
    if text.isascii():
        return text
    return "".join(" " if unicodedata.category(c) in ("So", "Sk", "Cs") else c for c in text)


@lru_cache(maxsize=65536)
def formal(first: str) -> frozenset[str]:
    """The first names that this one may be short for, itself included."""
    return frozenset((first, *_NICKNAMES.canonicals_of(first)))


@lru_cache(maxsize=65536)
def skeleton(token: str) -> str:
    """What stays of a word when letters swap places, double, or vowels go astray.

    The set of its consonants in order of the alphabet, after what sounds alike is spelled alike;
    a coarse cousin of Soundex (Russell 1918) that survives transpositions at any place.
    """
    text = token.replace("ph", "f").replace("ck", "k").replace("th", "t")
    text = text.translate(_ALIKE)
    bones = sorted(set(text) - _VOWELS)
    return "".join(bones) or token[:2]


_ALIKE = str.maketrans({"c": "k", "q": "k", "z": "s", "w": "v", "x": "s", "j": "i", "y": "i"})
_VOWELS = frozenset("aeiouh")


def letters(text: str) -> str:
    """Only the letters of it, in ASCII."""
    return _NOT_LETTERS.sub("", folded(text))


def spelled(text: str) -> str:
    """Its letters and digits, in ASCII: `Kim_W.84` is `kimw84`."""
    plain = folded(text)
    return plain if plain.isalnum() else _SPELLED.sub("", plain)


def parts(handle: str) -> tuple[str, ...]:
    """The words that a handle shows: `KimBerg_84` is `kim`, `berg`."""
    words = _CASE_CHANGE.sub(" ", anyascii(handle)).lower()
    return tuple(part for part in _NOT_LETTERS.split(words) if len(part) > 1)


@lru_cache(maxsize=65536)
def undecorated(word: str) -> tuple[str, ...]:
    """A handle's letters, and what stays without a common word before or behind them."""
    if not word.startswith(DECORATIONS) and not word.endswith(DECORATIONS):
        return (word,)
    found = [word]
    for decoration in DECORATIONS:
        rest = len(word) - len(decoration)
        if rest >= 5 and word.startswith(decoration):
            found.append(word[len(decoration) :])
        if rest >= 5 and word.endswith(decoration):
            found.append(word[:rest])
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=65536)
def company(name: str) -> str | None:
    """The words that make a company's name, without its legal form: `Acme, Inc.` is `acme`."""
    text = unicodedata.normalize("NFKC", name[:160]).strip()
    core = text
    # Most names have nothing to take off their end, and looking for all of it takes its time.
    if _LEGAL & set(_SPELLED.split(folded(text))):
        core = strip_tail(text)
        if core and _SPELLED.sub("", folded(core.split()[-1])) in _ENDS:
            core = cleanco.basename(text)
    words = [w for w in _SPELLED.split(folded(core or name)) if w and w not in ("the", "and")]
    return " ".join(words) or None
