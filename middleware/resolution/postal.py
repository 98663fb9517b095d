"""Postal addresses in normal forms: the same house is the same text, however it was written.

What is left out or shortened is what people leave out or shorten: kinds of streets, directions,
the words before a flat's number, the country before a postal code. The English forms follow
Publication 28 of the United States Postal Service, the others common usage. Towns are not here: see
`places`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from middleware.resolution.names import folded

_NOT_WORDS = re.compile(r"[^a-z0-9]+")
_SHORT = {
    word: short
    for short, words in {
        "st": "street saint sankt san santo santa",
        "str": "strasse straat",
        "av": "avenue ave aven avenida avda avd",
        "bd": "boulevard blvd boul bvd bld",
        "rd": "road",
        "dr": "drive drv",
        "ln": "lane",
        "ct": "court crt",
        "pl": "place platz plein plac",
        "pza": "plaza piazza placa",
        "sq": "square",
        "ter": "terrace terr tce",
        "hwy": "highway hiway",
        "pkwy": "parkway pky",
        "cir": "circle circ",
        "cl": "close",
        "cres": "crescent cresc",
        "gdns": "gardens gdn",
        "gr": "grove grv",
        "mt": "mount",
        "r": "rue rua",
        "c": "calle",
        "v": "via",
        "ch": "chemin",
        "rte": "route",
        "n": "north nord norte",
        "s": "south sud sur",
        "e": "east est este ost",
        "w": "west oeste ouest",
        "ne": "northeast",
        "nw": "northwest",
        "se": "southeast",
        "sw": "southwest",
    }.items()
    for word in words.split()
}
_LEFT_OUT = frozenset(
    (
        "app", "appartement", "appt", "apt", "apto", "apartment", "flat", "no", "nr", "num",
        "number", "numero", "rm", "room", "ste", "stiege", "suite", "unit", "whg", "wohnung",
        "de", "del", "den", "der", "des", "du", "la", "le",
    )
)  # fmt: skip
_ENDINGS = ("strasse", "straat")
_OF_HOUSES = frozenset("abcdfghk")
"""Letters behind a number that are part of it, and no direction."""


def street(text: str) -> str | None:
    """Street and number in small ASCII, numbers last: `12 N. Main Street, Apt 4` and
    `12 North Main St #4` are `n main st 12 4`, `Hauptstraße 5 A` and `Hauptstr. 5a` `hauptstr 5a`.
    """
    words: list[str] = []
    numbers: list[str] = []
    last = ""
    for word in _NOT_WORDS.split(folded(text)):
        if not word or word in _LEFT_OUT:
            continue
        if word[0].isdigit():
            numbers.append(word)
        elif last.isdigit() and word in _OF_HOUSES:
            numbers[-1] += word
        else:
            short = _SHORT.get(word, word)
            if len(short) > 7 and short.endswith(_ENDINGS):
                short = f"{short.removesuffix('strasse').removesuffix('straat')}str"
            words.append(short)
        last = word
    return " ".join((*words, *numbers)) or None


_OF_COUNTRY = re.compile(
    r"\A(?:A|AT|B|BE|BG|CH|CY|CZ|D|DE|DK|E|EE|ES|F|FI|FIN|FR|GR|H|HR|HU|I|IT|L|LT|LU|LV|N|NL|NO|P"
    r"|PL|PT|RO|S|SE|SI|SK)-(?=\d)"
)
"""What is written before a postal code of Europe, as on a letter from abroad."""
_ZIP_PLUS_4 = re.compile(r"(\d{5})-?\d{4}")


@lru_cache(maxsize=65536)
def postcode(text: str) -> str | None:
    """A postal code in capitals without blanks or dashes: `sw1a 1aa` is `SW1A1AA`.

    Without the country before it (`D-10115` is `10115`), and without the four digits of a ZIP+4,
    which say which block of the street and are left out as often as not.
    """
    written = re.sub(r"\s+", "", unicodedata.normalize("NFKC", text)).upper()
    written = _OF_COUNTRY.sub("", written)
    if long := _ZIP_PLUS_4.fullmatch(written):
        return long[1]
    cleaned = written.replace("-", "")
    return cleaned if 3 <= len(cleaned) <= 10 and any(c.isdigit() for c in cleaned) else None


def masked_postcode(code: str) -> str:
    """A postal code for people who need to recognise it, not to learn it: `10…`."""
    return f"{code[:2]}…"
