"""Which person a group is: the one it has, as far as possible, so that ids stay.

What somebody else than a run has linked is never touched. A person whose records now make several
groups stays with the largest part; a group that comes to hold several persons keeps the oldest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Held:
    """The link that a record has: to which person, and whether a run made it."""

    link: str
    person: str
    by_run: bool


class Do(StrEnum):
    MAKE = "made"
    MOVE = "moved"
    END = "ended"


@dataclass(frozen=True)
class Change:
    """One record's link is made, moved to another person, or ended."""

    do: Do
    ref: str
    held: Held | None = None
    """The link that is ended or moved."""


@dataclass(frozen=True)
class Assigned:
    """A group, the person it is (None for a new one), and what has to change for that."""

    refs: tuple[str, ...]
    person: str | None
    changes: tuple[Change, ...]
    merged: tuple[str, ...] = ()
    """Persons that are this one now, and have nothing left of their own in it."""


def assign(
    groups: Sequence[tuple[str, ...]],
    held: Mapping[str, Held],
    records_of: Mapping[str, Sequence[str]],
    group_of: Callable[[str], object],
) -> list[Assigned]:
    """What has to change for each group to be one person; groups that need nothing are left out.

    `held` has the links of the groups' records, `records_of` all records of each person in it, and
    `group_of` names any record's group. Ids of persons sort by age.
    """
    home = {person: _home(records, group_of) for person, records in records_of.items()}
    found = (_assigned(refs, held, home, group_of(refs[0])) for refs in groups)
    return [one for one in found if one.changes]


def _home(records: Iterable[str], group_of: Callable[[str], object]) -> object:
    """The group that a person stays with: most of its records, then the first of them."""
    parts: dict[object, list[str]] = defaultdict(list)
    for ref in records:
        parts[group_of(ref)].append(ref)
    return min(parts, key=lambda part: (-len(parts[part]), min(parts[part])))


def _assigned(
    refs: tuple[str, ...], held: Mapping[str, Held], home: Mapping[str, object], group: object
) -> Assigned:
    links = {ref: held[ref] for ref in refs if ref in held}
    fixed = Counter(link.person for link in links.values() if not link.by_run)
    staying = sorted({link.person for link in links.values() if home[link.person] == group})
    if fixed:
        person: str | None = min(fixed, key=lambda p: (-fixed[p], p))
    else:
        person = staying[0] if staying else None
    changes = []
    for ref in refs:
        link = links.get(ref)
        if link is None:
            if len(refs) > 1:
                changes.append(Change(Do.MAKE, ref))
        elif link.by_run and link.person != person:
            changes.append(Change(Do.MOVE if len(refs) > 1 else Do.END, ref, link))
    merged = tuple(one for one in staying if one != person and one not in fixed)
    return Assigned(refs, person, tuple(changes), merged)
