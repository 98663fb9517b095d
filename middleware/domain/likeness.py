"""What a stored record is found by: its identifiers, and what it looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from middleware.contract.canonical import Kind, Ref

Identifier = tuple[str, str]
"""A scheme and a normalised value."""


class Likeness(NamedTuple):
    """What of a record is compared with somebody who writes, and the keys that lead to it."""

    keys: tuple[int, ...]
    """Blocking keys: signed 64-bit hashes, each of something that an author may show too."""
    names: tuple[int, ...]
    """Hashes of the words of the name that are counted, for how rare they are."""
    profile: str
    """JSON that `middleware.resolution.profiles` wrote and reads."""


class FoundBy(NamedTuple):
    """What a record is stored with. Its likeness is worked out only for a record that changed."""

    identifiers: tuple[Identifier, ...] = ()
    likeness: Callable[[], Likeness | None] | None = None


class Bearer(NamedTuple):
    """A record that bears at least one of the keys asked for."""

    connection: str
    kind: str
    id: str
    profile: str

    @property
    def ref(self) -> Ref:
        """Which record: made only for those that somebody wants to read."""
        return Ref(connection=self.connection, kind=Kind(self.kind), id=self.id)


@dataclass(frozen=True)
class Looked:
    """What the index answered."""

    population: int
    """How many records the index holds, or held at most."""
    bearers: tuple[Bearer, ...] = ()
    counts: Mapping[int, int] = field(default_factory=dict)
    """Of each key asked for: how many bear it, no more than its cap and one."""
    names: Mapping[int, int] = field(default_factory=dict)
    """Of each word asked for: how many records have it in their name."""


Wanted = Sequence[tuple[int, int]]
"""Keys, the most telling first, each with how many bearers make it useless."""
