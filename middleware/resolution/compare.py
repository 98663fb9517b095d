"""Comparing somebody who writes with a contact: which level each comparison is at.

A level says how far two things agree; what that is worth is in the model. Where agreeing is rarer
or more common than the level's average, `expected` is how many other records would agree so by
accident, counted in this very index (term-frequency adjustment; Winkler 2000, and Splink's
`term_frequency_adjustments`). What depends on another is asked only where it adds something: that
a handle spells a name says nothing about who of two namesakes it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rapidfuzz.distance import JaroWinkler

from middleware.domain.likeness import Looked
from middleware.resolution import names
from middleware.resolution.places import Place
from middleware.resolution.profiles import Asking, Profile, key, pair_key, word_key

LONG_HANDLE, MIDDLE_HANDLE = 7, 5
INITIALS = 12
"""About so many of those with a first name are told apart by another word's initial."""

MORE_WORDS = 50
"""So many times rarer is it that a further word of the name agrees too."""

WHOLE = frozenset(("same", "within", "joined"))
"""Levels of the name at which namesakes are told apart by nothing in the name."""

NAMED = frozenset((*WHOLE, "short", "misspelt"))
"""Levels of the name that are more than a part of it."""


class Agreement(NamedTuple):
    """What a comparison came to."""

    comparison: str
    level: str
    expected: float | None = None
    """Other records that agree so by accident; None where the level's average stands."""
    population: int = 1
    """How many records `expected` is among."""
    shown: str = ""
    """What agreed, where the level does not say it; never more than the asker shows themselves."""


PATTERNS = ("name", "name and place", "name and handles", "name, place and handles")
"""What there was to compare beside the name and the handle's likeness to it."""


def pattern(agreements: Iterable[Agreement]) -> str:
    """Which of `PATTERNS` these comparisons are: what a probability means differs by it."""
    compared = {one.comparison for one in agreements}
    handles = not compared.isdisjoint(("other_handle", "other_handle_of_namesake", "profile_link"))
    return PATTERNS[("place" in compared) + 2 * handles]


@dataclass(frozen=True)
class Rarity:
    """How common things are among the records of the index."""

    population: int
    counts: Mapping[int, int] = field(default_factory=dict)
    names: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, looked: Looked) -> Rarity:
        return cls(max(looked.population, 1), looked.counts, looked.names)

    def word(self, word: str) -> float:
        """How likely the next name has this word; half of one less than counted.

        Of words that few bear most are rarer than their share says (Good 1953), and one of those
        counted is the record that is compared.
        """
        return (max(self.names.get(word_key(word), 0), 1) - 0.5) / self.population

    def others(self, key_: int) -> float:
        """Share of the other records that bear a key too."""
        return max(self.counts.get(key_, 0) - 1, 0) / self.population


def compare(asking: Asking, profile: Profile, rarity: Rarity) -> list[Agreement]:
    """The level of each comparison that both sides have something for."""
    return compare_all(asking, (profile,), rarity)[0]


def compare_all(
    asking: Asking, profiles: Iterable[Profile], rarity: Rarity
) -> list[list[Agreement]]:
    """The same of several; what namesakes have in common is compared once."""
    by_names: dict[tuple[tuple[str, ...], ...], _Named] = {}
    found = []
    for profile in profiles:
        named = by_names.get(profile.names)
        if named is None:
            named = by_names[profile.names] = _names(asking, profile.names, rarity)
        found.append(_compare(asking, profile, rarity, named))
    return found


class _Named(NamedTuple):
    """What the names on file came to."""

    agreements: tuple[Agreement, ...]
    whole: bool
    """Whether they say the name: a handle made of it then says nothing more."""


def _names(asking: Asking, filed: tuple[tuple[str, ...], ...], rarity: Rarity) -> _Named:
    found = []
    whole = False
    if asking.name and filed:
        best = _name(asking.name, filed[0], rarity)
        if len(filed) > 1:
            others = (_name(asking.name, name, rarity) for name in filed[1:])
            best = min((best, *others), key=_rank_of_name)
        found.append(best)
        whole = best.level in WHOLE
    if asking.handle and filed and not whole:
        bare = asking.handle.strip(_DIGITS)
        level = _in_name(bare, filed[0])
        if len(filed) > 1:
            levels = (_in_name(bare, name) for name in filed)
            level = max(levels, key=_IN_NAME.index)
        found.append(Agreement("handle_in_name", level))
        whole = level in _TELLING  # a handle made of the name says the name again
    return _Named(tuple(found), whole)


def _compare(asking: Asking, profile: Profile, rarity: Rarity, named: _Named) -> list[Agreement]:
    found = [*named.agreements]
    if asking.handle and profile.handles:
        other = _other_handle(asking, profile)
        if other is not None:
            found.append(_OTHER_HANDLE[named.whole][other])
    if asking.place is not None and profile.place is not None:
        found.append(_PLACES[_place(asking.place, profile.place)])
    if asking.links:
        theirs = [(n, h) for n, h in asking.links if (n, h) in profile.handles]
        if theirs:
            found.append(Agreement("profile_link", "same", shown=theirs[0][0]))
        elif {n for n, _ in asking.links} & {n for n, _ in profile.handles}:
            found.append(Agreement("profile_link", "different"))
    if asking.sites and (sites := [site for site in asking.sites if site in profile.sites]):
        more = rarity.others(key("site", sites[0])) * rarity.population
        found.append(Agreement("site", "same", more or None, rarity.population, sites[0]))
    if asking.bio and profile.company and f" {profile.company} " in asking.bio:
        found.append(Agreement("company", "in_bio", shown=profile.company))
    return found


# --- the name --------------------------------------------------------------------------------

_NAME = (
    "same", "within", "joined", "short", "misspelt", "initial", "single", "family", "given", "none"
)  # fmt: skip


def _rank_of_name(one: Agreement) -> int:
    return _NAME.index(one.level)


def _name(theirs: tuple[str, ...], filed: tuple[str, ...], rarity: Rarity) -> Agreement:
    """How a shown name agrees with one on file, both in words; the order of words is no matter."""
    first, last = filed[0], filed[-1]
    if len(theirs) > 1 and len(filed) > 1:
        if theirs == filed or (last in theirs and sorted(theirs) == sorted(filed)):
            share = _both(first, last, rarity) / MORE_WORDS ** min(len(filed) - 2, 2)
            return _by_accident("same", rarity, share)
        if first in theirs and last in theirs and first != last:
            return _by_accident("within", rarity, _both(first, last, rarity))
        if theirs[0] in filed and theirs[-1] in filed and theirs[0] != theirs[-1]:
            return _by_accident("within", rarity, _both(theirs[0], theirs[-1], rarity))
        if len(theirs) != len(filed) and _parted_otherwise(theirs, filed):
            return _by_accident("joined", rarity, _both(first, last, rarity))
        return _partly(theirs, filed, rarity)
    if "".join(theirs) == "".join(filed) and len(theirs) + len(filed) > 2:
        return _by_accident("joined", rarity, _both(theirs[0], theirs[-1], rarity))
    shared = set(theirs) & set(filed)
    if shared:
        return _by_accident("single", rarity, min(rarity.word(word) for word in shared))
    return Agreement("name", "none")


def _parted_otherwise(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two names run alike, family name last or first: `王小明` is three words,
    and in Latin two, in either order; Anna Lena may be Annalena."""
    left, right = "".join(one), "".join(other)
    if len(left) != len(right):
        return False
    turned = "".join((one[-1], *one[:-1])), "".join((other[-1], *other[:-1]))
    return not {left, turned[0]}.isdisjoint((right, turned[1]))


def _partly(theirs: tuple[str, ...], filed: tuple[str, ...], rarity: Rarity) -> Agreement:
    first, last = theirs[0], theirs[-1]
    for given, family in ((filed[0], filed[-1]), (filed[-1], filed[0])):
        if last == family:
            if names.formal(first) & names.formal(given):
                return _by_accident("short", rarity, _both(first, last, rarity))
            if (len(first) == 1 or len(given) == 1) and first[0] == given[0]:
                return _by_accident("initial", rarity, rarity.word(last) / INITIALS)
            if _alike(first, given):
                return _by_accident("misspelt", rarity, _both(given, last, rarity))
        elif first == given:
            if (len(last) == 1 or len(family) == 1) and last[0] == family[0]:
                return _by_accident("initial", rarity, rarity.word(first) / INITIALS)
            if _alike(last, family):
                return _by_accident("misspelt", rarity, _both(first, family, rarity))
    if last in (filed[0], filed[-1]):
        return _by_accident("family", rarity, rarity.word(last))
    if first in (filed[0], filed[-1]):
        return _by_accident("given", rarity, rarity.word(first))
    return Agreement("name", "none")


def _by_accident(level: str, rarity: Rarity, share: float) -> Agreement:
    return Agreement("name", level, share * rarity.population, rarity.population)


def _both(one: str, other: str, rarity: Rarity) -> float:
    """Share of the records with both words: as counted, and as the two meet by accident."""
    return rarity.word(one) * rarity.word(other) + rarity.others(pair_key(one, other))


def _alike(one: str, other: str) -> bool:
    """Whether a word is likely the other one misspelt."""
    if min(len(one), len(other)) < 4:
        return False
    if names.skeleton(one) == names.skeleton(other) and abs(len(one) - len(other)) <= 2:
        return True
    return JaroWinkler.similarity(one, other) >= 0.92


# --- the handle ------------------------------------------------------------------------------

_IN_NAME = ("none", "given_in", "family_in", "both_in", "initial", "affixed", "whole")


_DIGITS = "0123456789"


def _in_name(bare: str, name: tuple[str, ...]) -> str:
    """How a handle, without the digits around it, derives from a name on file."""
    first, last = name[0], name[-1]
    if len(name) == 1:
        return "given_in" if len(first) >= 4 and first in bare else "none"
    if bare in (first + last, last + first, "".join(name)):
        return "whole"
    if len(first) + len(last) >= 7 and (first + last in bare or last + first in bare):
        return "affixed"
    if len(last) >= 3 and bare in (first[0] + last, last + first[0]):
        return "initial"
    if len(first) >= 3 and bare in (first + last[0], last[0] + first):
        return "initial"
    if len(last) >= 4 and len(first) >= 3 and last in bare and first in bare:
        return "both_in"
    if len(last) >= 5 and last in bare:
        return "family_in"
    return "given_in" if len(first) >= 4 and first in bare else "none"


_OTHER = (
    "exact_long", "exact_middle", "exact_of_name", "exact_short", "letters", "contained",
    "letters_of_name", "contained_of_name", "alike", "different",
)  # fmt: skip
_TELLING = ("whole", "affixed", "both_in", "initial")


def _other_handle(asking: Asking, profile: Profile) -> str | None:
    """The best agreement of the handle with those on file on other networks; None without any."""
    best: str | None = None
    for network, filed in profile.handles:
        if network == asking.network:
            continue
        if network == "email" and filed != asking.handle:
            continue  # a mailbox of another name is nothing unusual
        level = _same_handle(asking.handle, filed, profile.names)
        if best is None or _OTHER.index(level) < _OTHER.index(best):
            best = level
    return best


def _same_handle(one: str, other: str, filed: tuple[tuple[str, ...], ...]) -> str:
    """How far two handles agree; one that is made of the name a namesake may have too."""
    if one == other:
        if _of_name(one, filed):
            return "exact_of_name"
        if len(one) >= LONG_HANDLE:
            return "exact_long"
        return "exact_middle" if len(one) >= MIDDLE_HANDLE else "exact_short"
    bare, other_bare = one.strip(_DIGITS), other.strip(_DIGITS)
    if bare == other_bare and len(bare) >= MIDDLE_HANDLE:
        return "letters_of_name" if _of_name(bare, filed) else "letters"
    if min(len(one), len(other)) >= MIDDLE_HANDLE and (one in other or other in one):
        return "contained_of_name" if _of_name(min(one, other, key=len), filed) else "contained"
    return "alike" if JaroWinkler.similarity(one, other) >= 0.92 else "different"


def _of_name(handle: str, filed: tuple[tuple[str, ...], ...]) -> bool:
    """Whether a handle, in letters and digits, says no more than a name does."""
    letters, bare = names.letters(handle), handle.strip(_DIGITS)
    return any(letters in name or _in_name(bare, name) in _TELLING for name in filed)


def _place(one: Place, other: Place) -> str:
    if one.words & other.words:
        return "same_town"
    if one.countries and other.countries:
        if not one.countries & other.countries:
            return "other_country"
        return "other_town" if one.words and other.words else "same_country"
    return "different"


LEVELS: Mapping[str, tuple[str, ...]] = {
    "name": _NAME,
    "handle_in_name": tuple(reversed(_IN_NAME)),
    "other_handle": _OTHER,
    "other_handle_of_namesake": _OTHER,
    "place": ("same_town", "same_country", "other_town", "different", "other_country"),
    "profile_link": ("same", "different"),
    "site": ("same",),
    "company": ("in_bio",),
}
"""Every comparison with its levels, from the best to the worst."""

_OTHER_HANDLE = [
    {level: Agreement(comparison, level) for level in _OTHER}
    for comparison in ("other_handle", "other_handle_of_namesake")
]
_PLACES = {level: Agreement("place", level) for level in LEVELS["place"]}
