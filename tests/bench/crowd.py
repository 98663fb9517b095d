"""A CRM of any size around people with real names and handles, and those who ask.

The people are read from a folder that is not ours to publish (`AMENDS_PEOPLE`, by default
`../shared/data/people`); where it is missing, a seeded crowd of invented people stands in. All
others get given and family names of the same source as its population would go on (`Urn`), new ones
among them, and share a full name as often as those seen do (`circles`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import accumulate
from pathlib import Path

from middleware.contract.canonical import Address, Contact, Handle, Kind, Ref
from middleware.domain.arrivals import Author
from middleware.resolution import names

FOLDER = Path(os.environ.get("AMENDS_PEOPLE", "../shared/data/people"))
CRM = "crm"
SHARES = {"en": 0.45, "es": 0.25, "in": 0.2, "gh": 0.1}
"""Where the recombined people come from: mostly English names, Spanish, Indian, all the world."""
_GROUPS = {
    "EddieHubCommunity/BioDrop": "in",
    "JJ/top-github-users-data": "es",
    "jaywcjlove/github-rank": "gh",
}
NOISE = 0.10
"""How many show another name after some years (742 profiles, 2020 and six years later)."""
MOVED = 0.10
"""How many show a place that has nothing to do with the one on file (the same profiles)."""


@dataclass(frozen=True)
class Someone:
    """A person with a contact on file, who may also write."""

    id: str
    group: str
    name: str
    shown: str | None = None
    """Another spelling of the name that they publish themselves."""
    handles: dict[str, str] = field(default_factory=dict)
    location: str | None = None

    @property
    def ref(self) -> Ref:
        return Ref(connection=CRM, kind=Kind.CONTACT, id=self.id)

    @property
    def half(self) -> int:
        """0 is for fitting, 1 for testing; by person, always the same."""
        return hashlib.blake2b(self.id.encode(), digest_size=1).digest()[0] % 2


def people() -> tuple[list[Someone], str]:
    """Those around whom the CRM is built, and where they come from."""
    file = FOLDER / "people.jsonl"
    if not file.exists():
        return invented(6000, seed=7), "invented (the people's folder is missing)"
    found = []
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            one = json.loads(line)
            if not names.tokens(one["names"][0]):
                continue
            found.append(
                Someone(
                    id=f"P{one['person']}",
                    group=_GROUPS.get(one["sources"][0], "en"),
                    name=one["names"][0],
                    shown=one["names"][1] if len(one["names"]) > 1 else None,
                    handles=one["handles"],
                    location=one["location"],
                )
            )
    return found, "real"


_SYLLABLES = "ka lo mi ren ta su vel dor an be chi fa gon hel jo lin mar nos per qui".split()  # noqa: SIM905
_TOWNS = "Berlin Paris Madrid London Boston Austin Mumbai Delhi Lima Oslo Rome Kyiv".split()  # noqa: SIM905


def invented(count: int, *, seed: int) -> list[Someone]:
    """People who do not exist, with names as unevenly spread as real ones are."""
    chance = random.Random(seed)

    def pool(size: int, syllables: int) -> list[str]:
        words = {"".join(chance.choices(_SYLLABLES, k=syllables)) for _ in range(size)}
        return sorted(words)

    given, family = pool(400, 2), pool(4000, 3)
    spread = [[1 / (rank + 3) for rank in range(len(words))] for words in (given, family)]
    found = []
    for number in range(count):
        first = chance.choices(given, spread[0])[0]
        last = chance.choices(family, spread[1])[0]
        other = _handle(chance, first, last)
        handles = {"github": other}
        if chance.random() < 0.5:
            same = chance.random() < 0.35
            handles["twitter"] = other if same else _handle(chance, first, last)
        found.append(
            Someone(
                id=f"P{number}",
                group=chance.choice(("en", "es", "in", "gh")),
                name=f"{first.title()} {last.title()}",
                handles=handles,
                location=chance.choice(_TOWNS) if chance.random() < 0.3 else None,
            )
        )
    return found


def _handle(chance: random.Random, first: str, last: str) -> str:
    form = chance.choice(("{f}{l}", "{f}_{l}", "{f[0]}{l}", "{l}{f}", "{f}{l[0]}", "{f}{n}", "{w}"))
    word = "".join(chance.choices(_SYLLABLES, k=4))
    return form.format(f=first, l=last, n=chance.randrange(10, 9999), w=word)


# --- everybody else --------------------------------------------------------------------------


def contacts(known: list[Someone], total: int, *, seed: int) -> Iterator[Contact]:
    """The CRM: the known people, then invented ones until there are `total`."""
    yield from map(contact_of, known[:total])
    yield from map(contact_of, others(known, total, seed=seed))


def others(known: list[Someone], total: int, *, seed: int) -> Iterator[Someone]:
    """Those who are invented, each with the group and circle that their name was drawn from."""
    used = {h.lower() for one in known if (h := one.handles.get("github"))}
    chance = random.Random(seed)
    sources = {group: _Source([o for o in known if o.group == group], chance) for group in SHARES}
    sources = {group: source for group, source in sources.items() if source.usable}
    every = [one.location for one in known if one.location]
    left = total - min(total, len(known))
    groups = list(sources)
    drawn = chance.choices(groups, [SHARES[g] for g in groups], k=left)
    for made, group in enumerate(drawn, start=1):
        circle, first, last, handle = sources[group].draw()
        if handle.lower() in used or len(handle) < 3:
            handle += str(chance.randrange(1, 99999))
        used.add(handle.lower())
        here = sources[group].places if len(sources[group].places) > 50 else every
        yield Someone(
            id=f"S{made}",
            group=f"{group}{circle}",
            name=f"{first.title()} {last.title()}",
            handles={"github": handle} if chance.random() < 0.9 else {},
            location=chance.choice(here) if here else None,
        )


def contact_of(one: Someone) -> Contact:
    handle = one.handles.get("github")
    return Contact(
        ref=one.ref,
        display_name=one.name,
        handles=(Handle(network="github", handle=handle),) if handle else (),
        address=Address(city=one.location) if one.location else None,
    )


class _Source:
    """Given and family names, forms of handles and places of one group."""

    def __init__(self, group: list[Someone], chance: random.Random) -> None:
        self._chance = chance
        both = [t for one in group if len(t := names.tokens(one.name)) > 1]
        self.usable = len(both) > 20
        self.places = [one.location for one in group if one.location]
        if not self.usable:
            return
        pairs = tuple((t[0], t[-1]) for t in both)
        new = [Inventor([pair[side] for pair in pairs], chance) for side in (0, 1)]
        circle_of = circles(pairs)
        self._circles: list[tuple[Urn, Urn]] = []
        for circle in range(max(circle_of) + 1):
            members = [p for p, c in zip(pairs, circle_of, strict=True) if c == circle]
            urns = [Urn([m[side] for m in members], chance, new[side]) for side in (0, 1)]
            self._circles.append((urns[0], urns[1]))
        self._sizes = [*accumulate(circle_of.count(c) for c in range(len(self._circles)))]
        self._forms, self._words = [], ["xyzzy", "plugh"]
        for one in group:
            handle, name = one.handles.get("github"), names.tokens(one.name)
            if handle and len(name) > 1:
                form = _form(name[0], name[-1], handle)
                self._forms.append((form, any(c.isdigit() for c in handle), "-" in handle))
                if form is None:
                    self._words.append(names.spelled(handle))
        self._forms = self._forms or [("{f}{s}{l}", False, False)]

    def draw(self) -> tuple[int, str, str, str]:
        """A circle, a given name, a family name and a handle."""
        chance = self._chance
        circle = chance.choices(range(len(self._circles)), cum_weights=self._sizes)[0]
        given, family = self._circles[circle]
        first, last = given.draw(), family.draw()
        form, digits, parted = chance.choice(self._forms)
        if form is None:
            one, other = chance.choice(self._words), chance.choice(self._words)
            return circle, first, last, (one[: len(one) // 2 + 1] + other[len(other) // 2 :])[:24]
        handle = form.format(f=first, l=last, s=chance.choice("-_") if parted else "")
        return circle, first, last, handle + (str(chance.randrange(1, 9999)) if digits else "")


_FORMS = ("{f}{s}{l}", "{l}{s}{f}", "{f[0]}{s}{l}", "{f}{s}{l[0]}", "{l}{s}{f[0]}", "{f}", "{l}")


def _form(first: str, last: str, handle: str) -> str | None:
    bare = names.letters(handle)
    return next((f for f in _FORMS if f.format(f=first, l=last, s="") == bare), None)


DISCOUNT = 0.7
"""How much rarer than they look names are that few were seen with: the tail index of names.

With it, a crowd grown from 2,000 people drawn from the names of the US Census of 1990 has as many
namesakes, and as unevenly spread, as one drawn from that census (docs/decisions/0011).
"""
LEAST_PAIRS = 10
"""Equal full names that must have been seen for given and family names to go together."""
MOST_CIRCLES = 8
SPREAD = 0.05
TURNS = 30


class Urn:
    """Words drawn as the next of a population would be, of whom some were seen already.

    A Pitman-Yor urn (Pitman and Yor 1997): with n drawn, a word seen m times comes next with
    (m - discount) / (n + weight), a new one with the rest, and each draw goes back in. It differs
    from drawing each time by what was seen first, under which all that were seen once are equally
    common: some of these are a hundred times rarer than others.
    """

    def __init__(
        self,
        seen: Sequence[str],
        chance: random.Random,
        new: Callable[[], str],
        *,
        discount: float = DISCOUNT,
        weight: float | None = None,
    ) -> None:
        self._chance, self._new, self.discount = chance, new, discount
        self.weight = weight_of(Counter(seen), discount) if weight is None else weight
        self._drawn: list[str] = []
        self._first: list[bool] = []
        known: set[str] = set()
        for word in seen:
            self._put(word, first=word not in known)
            known.add(word)

    def _put(self, word: str, *, first: bool) -> str:
        self._drawn.append(word)
        self._first.append(first)
        return word

    def draw(self) -> str:
        at = self._chance.random() * (len(self._drawn) + self.weight)
        if at < len(self._drawn):
            place = int(at)
            if not self._first[place] or self._chance.random() >= self.discount:
                return self._put(self._drawn[place], first=False)
        return self._put(self._new(), first=True)


def weight_of(counted: Mapping[str, int], discount: float) -> float:
    """The weight of new words under which these counts are likeliest, by golden section."""
    total, kinds = sum(counted.values()), len(counted)

    def likelihood(log: float) -> float:
        weight = math.exp(log)
        new = math.lgamma(weight / discount + kinds) - math.lgamma(weight / discount + 1)
        return new - math.lgamma(weight + total) + math.lgamma(weight + 1)

    low, high = -6.0, 14.0
    for _ in range(60):
        one, other = low + 0.382 * (high - low), low + 0.618 * (high - low)
        if likelihood(one) > likelihood(other):
            high = other
        else:
            low = one
    return math.exp(low)


@cache
def circles(pairs: tuple[tuple[str, str], ...]) -> tuple[int, ...]:
    """Who of these (given, family) belongs together, so that names are shared as often as seen.

    Given and family names of one language meet more often than by accident. People are sorted into
    the fewest circles, by a Dirichlet mixture with Gibbs sampling, in which both names drawn
    by accident make as many equal full names as were seen, less one standard error; where too
    few were, into one.
    """
    seen = _shared(pairs)
    equal = seen * len(pairs) * (len(pairs) - 1) / 2
    for count in range(1, MOST_CIRCLES + 1):
        sorted_ = _into(pairs, count) if count > 1 else [0] * len(pairs)
        members = [[p for p, c in zip(pairs, sorted_, strict=True) if c == k] for k in range(count)]
        made = sum(
            (len(m) / len(pairs)) ** 2 * _shared([g for g, _ in m]) * _shared([f for _, f in m])
            for m in members
        )
        if equal < LEAST_PAIRS or made >= seen * (1 - equal**-0.5):
            break
    return tuple(sorted_)


def _shared(words: Sequence[object]) -> float:
    """How likely two of these are equal."""
    total = len(words)
    return sum(n * (n - 1) for n in Counter(words).values()) / max(total * (total - 1), 1)


def _into(pairs: Sequence[tuple[str, str]], count: int) -> list[int]:
    chance = random.Random(count)
    found = [chance.randrange(count) for _ in pairs]
    sizes = Counter(found)
    given = Counter((c, one) for c, (one, _) in zip(found, pairs, strict=True))
    family = Counter((c, other) for c, (_, other) in zip(found, pairs, strict=True))
    kinds = [SPREAD * len(set(words)) for words in zip(*pairs, strict=True)]
    order = list(range(len(pairs)))
    for turn in range(TURNS):
        chance.shuffle(order)
        for place in order:
            (one, other), now = pairs[place], found[place]
            sizes[now] -= 1
            given[now, one] -= 1
            family[now, other] -= 1
            likely = [
                (sizes[c] + 1)
                * (given[c, one] + SPREAD)
                / (sizes[c] + kinds[0])
                * (family[c, other] + SPREAD)
                / (sizes[c] + kinds[1])
                for c in range(count)
            ]
            if turn < TURNS - 5:
                now = chance.choices(range(count), likely)[0]
            else:
                now = likely.index(max(likely))
            found[place] = now
            sizes[now] += 1
            given[now, one] += 1
            family[now, other] += 1
    return found


class Inventor:
    """New words that look like those seen, a letter after the two before it."""

    def __init__(self, seen: Sequence[str], chance: random.Random) -> None:
        self._chance = chance
        self._known = set(seen)
        self._next: dict[str, list[str]] = defaultdict(list)
        for word in seen:
            marked = f"^^{word}$"
            for place in range(len(marked) - 2):
                self._next[marked[place : place + 2]].append(marked[place + 2])

    def __call__(self) -> str:
        word = ""
        for _ in range(100):
            word = "^^"
            while len(word) < 16:
                letter = self._chance.choice(self._next[word[-2:]])
                if letter == "$":
                    break
                word += letter
            word = word[2:]
            if 3 <= len(word) <= 13 and word not in self._known:
                break
        while word in self._known or len(word) < 3:  # few letters in few orders: all are taken
            word += self._chance.choice("aeinorst")
        self._known.add(word)
        return word


# --- who asks --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """Somebody who writes, and which contact they are."""

    person: Someone
    author: Author

    def without_place(self) -> Author:
        return self.author.model_copy(update={"location": None})


def askers(known: list[Someone], *, network: str, seed: int) -> list[Asked]:
    """Everybody who has a handle on the network, under the name they show there."""
    chance = random.Random(seed)
    elsewhere = [one.location for one in known if one.location]
    found = []
    for one in known:
        handle = one.handles.get(network)
        name = names.tokens(one.name)
        if not handle or len(name) < 2:
            continue
        shown = one.shown or one.name
        if one.shown is None and chance.random() < NOISE:
            shown = _changed(chance, one.name, handle)
        place = one.location
        if place and chance.random() < MOVED:
            place = chance.choice(elsewhere)
        author = Author(
            network="x",
            native_id=f"n-{one.id}",
            handle=handle,
            display_name=shown or None,
            location=place,
        )
        found.append(Asked(person=replace(one), author=author))
    chance.shuffle(found)
    return found


def _changed(chance: random.Random, name: str, handle: str) -> str:
    """What people were seen to change their name to."""
    words = names.tokens(name)
    form = chance.random()
    if form < 0.35:
        return words[0]
    if form < 0.55:
        return " ".join(names.parts(handle))
    if form < 0.70:
        return f"{words[0]} {words[-1]}"
    if form < 0.85:
        return f"{words[0]} {words[-1][0]}"
    return f"{chance.choice(('crypto', 'devrel', 'hiring', 'phd'))} {name}"
