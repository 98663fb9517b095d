"""From pairs to groups that are one customer: connected, but not at any price.

Whatever is connected by likely pairs is not one customer: one wrong pair joins two whole groups,
and on noisy records that ends in giants. So groups grow from the surest pair on, as Kruskal's
algorithm grows a spanning forest, and a pair that would break a rule joins nothing; then what
hangs together by a single doubtful pair is parted there.

The answer depends on the pairs alone, not on their order, and each connected component by itself:
an incremental run that looks at the touched ones only comes to what a full run comes to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

Name = TypeVar("Name", str, int)


@dataclass(frozen=True)
class Pair:
    """Two records by their references, the lesser first, and the bits for their being one."""

    left: str
    right: str
    weight: float


@dataclass(frozen=True)
class Member:
    """What the guards need to know of a record."""

    source: str | None = None
    """Where it is from, if that source is declared to hold nobody twice."""
    ids: frozenset[tuple[str, str]] = frozenset()
    """Numbers that one customer has one of: scheme and value."""
    person: str | None = None
    """The person that somebody other than a run has linked it to."""


class Why(StrEnum):
    """Which guard kept a pair from joining."""

    SAID_APART = "said_apart"
    """Somebody said that two of the records are not one customer."""
    ONE_PER_SOURCE = "one_per_source"
    OTHER_NUMBER = "other_number"
    """They have different numbers of a kind of which a customer has one."""
    OTHER_PERSON = "other_person"
    """They are linked to two persons, and not by a run."""
    TOO_LARGE = "too_large"
    BRIDGE = "bridge"
    """Nothing but this one doubtful pair held two groups together."""


@dataclass(frozen=True)
class Guards:
    """What a group may not be."""

    most: int = 50
    """Records in a group."""
    bridge_bits: float = 12.0
    """A pair of fewer bits does not hold two groups of two or more together by itself."""
    apart: frozenset[tuple[str, str]] = frozenset()
    """Pairs of references that are never one customer, the lesser first."""


@dataclass
class Grouped:
    """Groups of two and more, each sorted; and the pairs that joined nothing, with the reason."""

    groups: list[list[str]] = field(default_factory=list)
    refused: list[tuple[Pair, Why]] = field(default_factory=list)


def grouped(
    pairs: Iterable[Pair], members: Mapping[str, Member] | None = None, guards: Guards | None = None
) -> Grouped:
    """Group records that likely pairs connect, under the guards.

    A record that `members` does not name has no source, numbers or person.
    """
    guards = guards or Guards()
    growing = _Growing(members or {}, guards)
    accepted: list[Pair] = []
    found = Grouped()
    for pair in sorted(pairs, key=lambda p: (-p.weight, p.left, p.right)):
        why = growing.join(pair.left, pair.right)
        if why is None:
            accepted.append(pair)
        else:
            found.refused.append((pair, why))
    inside: dict[str, list[Pair]] = defaultdict(list)
    for pair in accepted:
        inside[growing.leader(pair.left)].append(pair)
    for held in inside.values():
        parts, cut = _parted(held, guards.bridge_bits)
        found.groups += parts
        found.refused += [(pair, Why.BRIDGE) for pair in cut]
    found.groups.sort()
    return found


def components(pairs: Iterable[tuple[Name, Name]]) -> list[list[Name]]:
    """What pairs connect, without any guard; each sorted."""
    leaders: dict[Name, Name] = {}
    for left, right in pairs:
        first, second = _leader(leaders, left), _leader(leaders, right)
        leaders[max(first, second)] = min(first, second)
    gathered: dict[Name, list[Name]] = defaultdict(list)
    for one in leaders:
        gathered[_leader(leaders, one)].append(one)
    return sorted(sorted(group) for group in gathered.values())


def _leader(leaders: dict[Name, Name], one: Name) -> Name:
    while (above := leaders.setdefault(one, one)) != one:
        leaders[one] = leaders.setdefault(above, above)
        one = leaders[one]
    return one


class _Growing:
    """Groups while they grow, with what each one's members bear."""

    def __init__(self, members: Mapping[str, Member], guards: Guards) -> None:
        self._members = members
        self._guards = guards
        self._leaders: dict[str, str] = {}
        self._groups: dict[str, list[str]] = {}
        self._borne: dict[str, _Borne] = {}
        self._foes: dict[str, set[str]] = defaultdict(set)
        for left, right in guards.apart:
            self._foes[left].add(right)
            self._foes[right].add(left)

    def leader(self, one: str) -> str:
        return _leader(self._leaders, one)

    def join(self, left: str, right: str) -> Why | None:
        """Put the two's groups together, or say why not."""
        first, second = self.leader(left), self.leader(right)
        if first == second:
            return None
        why = self._against(first, second)
        if why is not None:
            return why
        if len(self._groups[first]) < len(self._groups[second]):
            first, second = second, first
        self._leaders[second] = first
        self._groups[first] += self._groups.pop(second)
        self._borne[first].add(self._borne.pop(second))
        return None

    def _against(self, first: str, second: str) -> Why | None:
        mine, left = self._led(first)
        theirs, right = self._led(second)
        if len(mine) + len(theirs) > self._guards.most:
            return Why.TOO_LARGE
        few, many = sorted((mine, theirs), key=len)
        if self._foes and any(
            not self._foes[one].isdisjoint(many) for one in few if one in self._foes
        ):
            return Why.SAID_APART
        if not left.sources.isdisjoint(right.sources):
            return Why.ONE_PER_SOURCE
        if left.persons and right.persons and left.persons != right.persons:
            return Why.OTHER_PERSON
        common = left.ids & right.ids
        schemes = {scheme for scheme, _ in left.ids} & {scheme for scheme, _ in right.ids}
        return Why.OTHER_NUMBER if schemes - {scheme for scheme, _ in common} else None

    def _led(self, leader: str) -> tuple[list[str], _Borne]:
        """The group of a leader, and what its members bear."""
        if leader not in self._groups:
            self._groups[leader] = [leader]
            self._borne[leader] = _Borne.of(self._members.get(leader, Member()))
        return self._groups[leader], self._borne[leader]


@dataclass(slots=True)
class _Borne:
    """What a group's members bear."""

    sources: set[str]
    persons: set[str]
    ids: set[tuple[str, str]]

    @classmethod
    def of(cls, one: Member) -> _Borne:
        return cls(
            sources=set() if one.source is None else {one.source},
            persons=set() if one.person is None else {one.person},
            ids=set(one.ids),
        )

    def add(self, other: _Borne) -> None:
        self.sources |= other.sources
        self.persons |= other.persons
        self.ids |= other.ids


def _parted(pairs: Sequence[Pair], least: float) -> tuple[list[list[str]], list[Pair]]:
    """Part a group at its weakest doubtful bridge until there is none; the parts, and the cuts.

    A bridge is a pair without which the group falls apart (Tarjan 1974). One that a single record
    hangs by is no doubt about the others, and stays.
    """
    cut: list[Pair] = []
    held = list(pairs)
    while (weakest := _weakest_bridge(held, least)) is not None:
        held.remove(weakest)
        cut.append(weakest)
    return components((pair.left, pair.right) for pair in held), cut


def _weakest_bridge(pairs: Sequence[Pair], least: float) -> Pair | None:
    if len(pairs) < 3 or all(pair.weight >= least for pair in pairs):
        return None
    near: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        near[pair.left].append((pair.right, number))
        near[pair.right].append((pair.left, number))
    doubtful = [
        pairs[number]
        for number, below, size in _bridges(near)
        if pairs[number].weight < least and below >= 2 and size - below >= 2
    ]
    return min(doubtful, key=lambda p: (p.weight, p.left, p.right), default=None)


def _bridges(near: Mapping[str, Collection[tuple[str, int]]]) -> Iterable[tuple[int, int, int]]:
    """Each bridge's number, how many records lie beyond it, and how many there are in all."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    below: dict[str, int] = {}
    for root in near:
        if root in order:
            continue
        began, found = len(order), []
        order[root] = low[root] = len(order)
        below[root] = 1
        path = [(root, -1, iter(near[root]))]
        while path:
            one, came_by, others = path[-1]
            for other, number in others:
                if number == came_by:
                    continue
                if other in order:
                    low[one] = min(low[one], order[other])
                    continue
                order[other] = low[other] = len(order)
                below[other] = 1
                path.append((other, number, iter(near[other])))
                break
            else:
                path.pop()
                if path:
                    above = path[-1][0]
                    low[above] = min(low[above], low[one])
                    below[above] += below[one]
                    if low[one] > order[above]:
                        found.append((came_by, below[one]))
        size = len(order) - began
        yield from ((number, count, size) for number, count in found)
