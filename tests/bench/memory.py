"""The index of likeness for askers who are known beforehand, in memory: a crowd goes by once.

It answers what `middleware.store.likeness` does, a thousand times cheaper than filling a database;
a test holds the two against each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from middleware.contract.canonical import Contact, Ref
from middleware.domain.likeness import Bearer, Looked
from middleware.resolution.profiles import Asking, likeness_of
from middleware.store.likeness import foremost


class Index:
    """Of a crowd, what these askers would be answered."""

    def __init__(self, askings: Iterable[Asking], crowd: Iterable[Contact]) -> None:
        self.population = 0
        self._borne: dict[int, list[int]] = {k: [] for one in askings for k, _ in one.wanted}
        self._profiles: dict[int, tuple[str, str, str, str]] = {}
        self._names: Counter[int] = Counter()
        for number, contact in enumerate(crowd, start=1):
            likeness = likeness_of(contact)
            if likeness is None:
                continue
            self.population = number
            self._names.update(likeness.names)
            wanted = [key for key in likeness.keys if key in self._borne]
            for key in wanted:
                self._borne[key].append(number)
            if wanted:
                self._profiles[number] = (*_where(contact.ref), likeness.profile)

    def look(self, asked: Asking, *, gone: Contact | None = None) -> Looked:
        """What the index answers; where one is `gone`, as if it had never held them."""
        likeness = likeness_of(gone) if gone else None
        theirs = set(likeness.names) if likeness else set()
        borne = {}
        for key, cap in asked.wanted:
            bearers = self._borne[key][: cap + 2]
            if gone is not None:
                bearers = [n for n in bearers if self._profiles[n][:3] != _where(gone.ref)]
            if bearers:
                borne[key] = bearers[: cap + 1]
        chosen = foremost(
            {k: borne[k] for k, cap in asked.wanted if 0 < len(borne.get(k, ())) <= cap}
        )
        return Looked(
            population=self.population,
            bearers=tuple(Bearer(*self._profiles[n]) for n in chosen),
            counts={key: len(numbers) for key, numbers in borne.items()},
            names={w: n - (w in theirs) for w in asked.words if (n := self._names[w])},
        )


def _where(ref: Ref) -> tuple[str, str, str]:
    return ref.connection, ref.kind.value, ref.id
