"""Values that the operator says are nobody's: a switchboard's number, a placeholder for a name.

They are taken out of records and authors before these are compared or indexed, so that nothing is
found by them and nothing counts them, in real time and in batch. What is stored keeps them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from middleware.contract.canonical import Account, Contact, Frozen, Handle, Record
from middleware.domain.arrivals import Author
from middleware.domain.understanding import Entity, EntityType
from middleware.resolution import normalise
from middleware.resolution.identifiers import country_of

R = TypeVar("R", bound=Record)


class Blocked(Frozen):
    """Values in their normal forms that are never evidence."""

    emails: frozenset[str] = frozenset()
    """Addresses; `@example.com` stands for all of a domain."""
    phones: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    """Whole names, and given or family names."""
    handles: frozenset[str] = frozenset()
    """Handles and networks' own ids, on any network."""
    ids: frozenset[str] = frozenset()
    """Numbers and ids in any other system."""
    regions: tuple[str, ...] = ()
    """Where national phone numbers are read."""

    @classmethod
    def of(
        cls,
        *,
        emails: Iterable[str] = (),
        phones: Iterable[str] = (),
        names: Iterable[str] = (),
        handles: Iterable[str] = (),
        ids: Iterable[str] = (),
        regions: Sequence[str] = (),
    ) -> Blocked:
        """Read values as somebody wrote them. Raises ValueError for one that is none of its kind:
        it would block nothing."""
        return cls(
            emails=_read(emails, "an e-mail address or @ and a domain", _email),
            phones=_read(phones, "a phone number", lambda t: normalise.phones(t, regions=regions)),
            names=_read(names, "a name", lambda text: _one(_name(text))),
            handles=_read(handles, "a handle", lambda text: _one(normalise.handle(text))),
            ids=_read(ids, "an id", lambda text: _one(normalise.external_id(text))),
            regions=tuple(regions),
        )

    @property
    def digest(self) -> str:
        """The same while the same is blocked; empty for nothing."""
        if not self:
            return ""
        said = [sorted(getattr(self, kind)) for kind in _KINDS]
        return hashlib.sha256(repr(said).encode()).hexdigest()[:8]

    def __bool__(self) -> bool:
        return any(getattr(self, kind) for kind in _KINDS)

    # --- what is left -------------------------------------------------------------------------

    def author(self, author: Author) -> Author:
        """Somebody who writes without what is blocked: to be compared, and not to be known by."""
        if not self:
            return author
        shown, handle = author.display_name, author.handle
        network, own = normalise.network(author.network), author.native_id
        if own and (
            self._is_handle(own)
            or (network == "email" and self._is_email(own))
            or (network == "whatsapp" and not self._phones(("+" + own.removeprefix("+"),), None))
        ):
            own = None
        return author.model_copy(
            update={
                "emails": self._emails(author.emails),
                "phones": self._phones(author.phones, None),
                "display_name": shown if shown and not self._is_name(shown) else None,
                "handle": handle if handle and not self._is_handle(handle) else None,
                "native_id": own,
                "external_ids": self._ids(author.external_ids),
            }
        )

    def mentioned(self, entities: Sequence[Entity]) -> Sequence[Entity]:
        """What a text names without what is blocked."""
        if not self:
            return entities
        return [one for one in entities if not self._names(one)]

    def record(self, record: R) -> R:
        """A contact or account without what is blocked; any other record as it is."""
        if not self or not isinstance(record, Contact | Account):
            return record
        left: dict[str, object] = {
            "emails": self._emails(record.emails),
            "phones": self._phones(record.phones, country_of(record)),
            "external_ids": self._ids(record.external_ids),
        }
        if isinstance(record, Account):
            number = record.number
            left["name"] = None if record.name and self._is_name(record.name) else record.name
            left["number"] = None if number and self._is_id(number) else number
            return record.model_copy(update=left)
        left["handles"] = tuple(h for one in record.handles if (h := self._handle(one)))
        given, family, shown = record.given_name, record.family_name, record.display_name
        if self._is_name(" ".join(part for part in (given, family) if part)):
            given = family = None
        left["given_name"] = given if given and not self._is_name(given) else None
        left["family_name"] = family if family and not self._is_name(family) else None
        left["display_name"] = shown if shown and not self._is_name(shown) else None
        return record.model_copy(update=left)

    def _names(self, one: Entity) -> bool:
        match one.type:
            case EntityType.EMAIL:
                return self._is_email(one.value)
            case EntityType.PHONE:
                return one.value in self.phones
            case _:
                return False

    def _emails(self, texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(text for text in texts if not self._is_email(text))

    def _is_email(self, text: str) -> bool:
        address = normalise.email(text)
        if address is None:
            return False
        return address in self.emails or f"@{address.rpartition('@')[2]}" in self.emails

    def _phones(self, texts: Iterable[str], country: str | None) -> tuple[str, ...]:
        def blocked(text: str) -> bool:
            meant = normalise.phones(text, regions=self.regions, country=country)
            return not self.phones.isdisjoint(meant)

        return tuple(text for text in texts if not blocked(text))

    def _is_name(self, text: str) -> bool:
        return _name(text) in self.names

    def _is_handle(self, text: str) -> bool:
        return normalise.handle(text) in self.handles

    def _handle(self, one: Handle) -> Handle | None:
        """What is left of it: it may be its name alone that is blocked."""
        if one.native_id and self._is_handle(one.native_id):
            one = one.model_copy(update={"native_id": None})
        if one.handle and self._is_handle(one.handle):
            one = one.model_copy(update={"handle": None})
        return one if one.handle or one.native_id else None

    def _ids(self, ids: dict[str, str]) -> dict[str, str]:
        return {system: value for system, value in ids.items() if not self._is_id(value)}

    def _is_id(self, text: str) -> bool:
        return normalise.external_id(text) in self.ids


_KINDS = ("emails", "phones", "names", "handles", "ids")


def _read(texts: Iterable[str], what: str, keys: Callable[[str], Sequence[str]]) -> frozenset[str]:
    found: set[str] = set()
    for text in texts:
        read = keys(text)
        if not read:
            raise ValueError(f"{text!r} is not {what}")
        found.update(read)
    return frozenset(found)


def _one(key: str | None) -> tuple[str, ...]:
    return () if key is None else (key,)


def _email(text: str) -> tuple[str, ...]:
    domain = text.strip().startswith("@")
    address = normalise.email(f"x{text.strip()}" if domain else text)
    if address is None:
        return ()
    return (address.removeprefix("x"),) if domain else (address,)


def _name(text: str) -> str | None:
    """A name, or what stands in its place: `-`, `N/A`."""
    return normalise.name(text) or text.strip().casefold() or None
