"""A CRM of any size around people with real names and handles, and those who ask.

The people are read from a folder that is not ours to publish (`AMENDS_PEOPLE`, by default
`../shared/data/people`); where it is missing, a seeded crowd of invented people stands in. All
others are recombined from given and family names of the same source, so that names are as rare or
common as they are there; a share of surnames as large as the unseen share (Good 1953) is invented.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
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
    used = {h.lower() for one in known if (h := one.handles.get("github"))}
    for one in known[:total]:
        yield contact_of(one)
    chance = random.Random(seed)
    sources = {group: _Source([o for o in known if o.group == group], chance) for group in SHARES}
    sources = {group: source for group, source in sources.items() if source.usable}
    every = [one.location for one in known if one.location]
    left = total - min(total, len(known))
    groups = list(sources)
    drawn = chance.choices(groups, [SHARES[g] for g in groups], k=left)
    for made, group in enumerate(drawn, start=1):
        first, last, handle = sources[group].draw()
        if handle.lower() in used or len(handle) < 3:
            handle += str(chance.randrange(1, 99999))
        used.add(handle.lower())
        here = sources[group].places if len(sources[group].places) > 50 else every
        yield contact_of(
            Someone(
                id=f"S{made}",
                group=group,
                name=f"{first.title()} {last.title()}",
                handles={"github": handle} if chance.random() < 0.9 else {},
                location=chance.choice(here) if here else None,
            )
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
        self._given = _Spread([t[0] for t in both], chance)
        self._family = _Spread([t[-1] for t in both], chance)
        self._forms, self._words = [], ["xyzzy", "plugh"]
        for one in group:
            handle, name = one.handles.get("github"), names.tokens(one.name)
            if handle and len(name) > 1:
                form = _form(name[0], name[-1], handle)
                self._forms.append((form, any(c.isdigit() for c in handle), "-" in handle))
                if form is None:
                    self._words.append(names.spelled(handle))
        self._forms = self._forms or [("{f}{s}{l}", False, False)]

    def draw(self) -> tuple[str, str, str]:
        chance = self._chance
        first, last = self._given.draw(), self._family.draw()
        form, digits, parted = chance.choice(self._forms)
        if form is None:
            one, other = chance.choice(self._words), chance.choice(self._words)
            return first, last, (one[: len(one) // 2 + 1] + other[len(other) // 2 :])[:24]
        handle = form.format(f=first, l=last, s=chance.choice("-_") if parted else "")
        return first, last, handle + (str(chance.randrange(1, 9999)) if digits else "")


_FORMS = ("{f}{s}{l}", "{l}{s}{f}", "{f[0]}{s}{l}", "{f}{s}{l[0]}", "{l}{s}{f[0]}", "{f}", "{l}")


def _form(first: str, last: str, handle: str) -> str | None:
    bare = names.letters(handle)
    return next((f for f in _FORMS if f.format(f=first, l=last, s="") == bare), None)


class _Spread:
    """Words drawn as often as they were seen, and new ones as often as new ones are met."""

    def __init__(self, seen: list[str], chance: random.Random) -> None:
        self._chance = chance
        counted = Counter(seen)
        once = sum(1 for n in counted.values() if n == 1)
        twice = sum(1 for n in counted.values() if n == 2) or 1
        self._unseen = once / len(seen)
        self._words, self._seen = list(counted), set(counted)
        discount = once / (once + 2 * twice)
        self._sums = list(accumulate(n - discount for n in counted.values()))
        self._next: dict[str, list[str]] = defaultdict(list)
        for word in seen:
            marked = f"^^{word}$"
            for place in range(len(marked) - 2):
                self._next[marked[place : place + 2]].append(marked[place + 2])

    def draw(self) -> str:
        if self._chance.random() < self._unseen:
            return self._new()
        at = self._chance.random() * self._sums[-1]
        return self._words[min(bisect_left(self._sums, at), len(self._words) - 1)]

    def _new(self) -> str:
        while True:
            word = "^^"
            while len(word) < 16:
                letter = self._chance.choice(self._next[word[-2:]])
                if letter == "$":
                    break
                word += letter
            word = word[2:]
            if 3 <= len(word) <= 13 and word not in self._seen:
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
    found = []
    for one in known:
        handle = one.handles.get(network)
        name = names.tokens(one.name)
        if not handle or len(name) < 2:
            continue
        shown = one.shown or one.name
        if one.shown is None and chance.random() < NOISE:
            shown = _changed(chance, one.name, handle)
        author = Author(
            network="x",
            native_id=f"n-{one.id}",
            handle=handle,
            display_name=shown or None,
            location=one.location,
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
