"""All mapping files of one system."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable

from middleware.contract.errors import NotOffered
from middleware.contract.mapping.file import SUFFIX, root_of
from middleware.contract.mapping.issues import Issue, MappingInvalid, Place
from middleware.contract.mapping.mapping import Mapping


class MappingSet:
    """The mappings that a connection uses, found by what they map. Immutable."""

    def __init__(self, mappings: Iterable[Mapping] = (), *, directory: str = "") -> None:
        self._mappings = tuple(mappings)
        self._directory = directory
        issues = list(clashes(self._mappings))
        if issues:
            raise MappingInvalid(issues)

    @classmethod
    def empty(cls) -> MappingSet:
        """A set without mappings, for adapters that need none."""
        return cls()

    @classmethod
    def load(cls, directory: pathlib.Path, *, connection: str | None = None) -> MappingSet:
        """Every `*.map.yaml` below a directory; raises MappingInvalid with every mistake in all.

        With `connection`, files that name another connection are left out.
        """
        directory = pathlib.Path(directory)
        if not directory.is_dir():
            message = "no such directory; mappings are files named <object>.map.yaml in it"
            raise MappingInvalid([Issue("M000", message, Place(str(directory)))])
        mappings: list[Mapping] = []
        issues = list(misnamed(directory))
        root = root_of(directory / "any")
        for path in files_below(directory):
            try:
                mappings.append(Mapping.load(path, root=root))
            except MappingInvalid as invalid:
                issues.extend(invalid.issues)
        if connection is not None:
            mappings = [m for m in mappings if m.connection in (None, connection)]
        issues.extend(clashes(mappings))
        if issues:
            raise MappingInvalid(issues)
        return cls(mappings, directory=str(directory))

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        return self._mappings

    def for_connection(self, connection: str) -> MappingSet:
        """The files for this connection: those that name it, and those that name none."""
        return MappingSet(
            (m for m in self._mappings if m.connection in (None, connection)),
            directory=self._directory,
        )

    def pull(self, canonical: str) -> Mapping:
        """The mapping theirs → ours for a canonical record; raises NotOffered."""
        return self._the(
            [m for m in self._mappings if m.canonical == canonical and m.pulls], canonical, "pull"
        )

    def push(self, canonical: str) -> Mapping:
        """The mapping ours → theirs for a record or an operation; raises NotOffered."""
        return self._the(
            [m for m in self._mappings if m.canonical == canonical and m.pushes], canonical, "push"
        )

    def has_pull(self, canonical: str) -> bool:
        return any(m.canonical == canonical and m.pulls for m in self._mappings)

    def has_push(self, canonical: str) -> bool:
        return any(m.canonical == canonical and m.pushes for m in self._mappings)

    def _the(self, found: list[Mapping], canonical: str, way: str) -> Mapping:
        specific = [m for m in found if m.connection is not None] or found
        if len(specific) == 1:
            return specific[0]
        if specific:
            named = ", ".join(sorted(str(m.connection) for m in specific))
            raise NotOffered(
                f"several mappings {way} {canonical}, for {named}; choose with for_connection"
            )
        where = f" in {self._directory}" if self._directory else ""
        raise NotOffered(
            f"no mapping{where} can {way} {canonical}; add a file <object>{SUFFIX} for it"
        )


def files_below(directory: pathlib.Path) -> list[pathlib.Path]:
    """Every mapping file below a directory, in order."""
    return sorted(directory.rglob(f"*{SUFFIX}"))


def misnamed(directory: pathlib.Path) -> Iterable[Issue]:
    """M000: files that look like mappings, but would be passed over because of their name."""
    for path in sorted(directory.rglob("*.map.yml")):
        message = f"a mapping's name ends in {SUFFIX}; this file would be passed over"
        yield Issue("M000", message, Place(str(path)))


def clashes(mappings: Iterable[Mapping]) -> Iterable[Issue]:
    """M014: two files with the same id, or for the same record, way and connection."""
    ids: dict[str, Mapping] = {}
    roles: dict[tuple[str, str, str | None], Mapping] = {}
    for mapping in mappings:
        first = ids.setdefault(mapping.id, mapping)
        if first is not mapping:
            yield Issue(
                "M014", f"id {mapping.id!r} is taken by {first.path}",
                mapping.file.places.get("id", mapping.file.place),
            )  # fmt: skip
        for way, does in (("pull", mapping.pulls), ("push", mapping.pushes)):
            if not does:
                continue
            other = roles.setdefault((way, mapping.canonical, mapping.connection), mapping)
            if other is not mapping:
                yield Issue(
                    "M014",
                    f"{other.path} already {way}s {mapping.canonical} for this connection",
                    mapping.file.places.get("fields", mapping.file.place),
                )
