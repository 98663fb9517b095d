"""Finds the adapter behind a connection's name, or the connections that can do something.

Adapters are known by name only (`adapters.ADAPTERS`); one is imported when a connection first
needs it. Settings are somebody else's business: the registry is handed finished connections.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import secrets
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from adapters import ADAPTERS
from middleware.contract.actions import Operation
from middleware.contract.canonical import Kind
from middleware.contract.capabilities import (
    CAPABILITIES,
    WRITES,
    Connection,
    LintsOwnFiles,
    capabilities_of,
)
from middleware.contract.errors import NotOffered, Permanent
from middleware.contract.mapping import Issue, MappingInvalid, MappingSet


@dataclass(frozen=True)
class Configured:
    """A connection with the name of its adapter."""

    adapter: str
    connection: Connection


@dataclass
class _Slot:
    """One connection's place: opened once, whoever comes first."""

    configured: Configured
    lock: threading.Lock = field(default_factory=threading.Lock)
    adapter: Any = None


class Registry:
    """The opened adapters of all connections. Threads may share it."""

    def __init__(
        self, connections: Iterable[Configured] = (), *, adapters: Mapping[str, str] = ADAPTERS
    ) -> None:
        self._adapters = adapters
        self._slots: dict[str, _Slot] = {}
        for configured in connections:
            name = configured.connection.name
            if name in self._slots:
                raise ValueError(f"two connections are called {name!r}; rename one of them")
            self._slots[name] = _Slot(configured)

    def names(self) -> tuple[str, ...]:
        """All connections, in the order in which they were configured."""
        return tuple(self._slots)

    def adapter_name(self, connection: str) -> str:
        """Which adapter a connection uses; raises NotOffered for an unknown connection."""
        return self._slot(connection).configured.adapter

    def adapter(self, connection: str) -> Any:
        """The opened adapter of a connection; the remote is not asked.

        Raises NotOffered if there is no such connection or adapter, and Permanent if the adapter
        cannot be opened; the message names the settings that are wrong.
        """
        slot = self._slot(connection)
        with slot.lock:
            if slot.adapter is None:
                slot.adapter = self._opened(slot.configured)
            return slot.adapter

    def offers(self, connection: str, what: type | Operation) -> bool:
        """Whether a connection can do a capability or a write.

        A write also asks the adapter's `key_traits`, since a generic adapter can do only what its
        mapping binds. A connection that cannot be opened offers nothing.
        """
        capability = WRITES[what] if isinstance(what, Operation) else what
        try:
            adapter = self.adapter(connection)
            if capability not in capabilities_of(type(adapter)):
                return False
            for operation, written in WRITES.items():
                if written is capability:
                    adapter.key_traits(operation)
        except Permanent:
            return False
        return True

    def offering(self, what: type | Operation) -> tuple[str, ...]:
        """The connections that can do a capability or a write."""
        return tuple(name for name in self._slots if self.offers(name, what))

    def reads_by(self, connection: str, kind: Kind) -> str | None:
        """What a connection's records of a kind are read by (`Mapping.reads_by`); None where no
        mapping of ours reads them."""
        try:
            return self._slot(connection).configured.connection.mappings.pull(kind).reads_by
        except NotOffered:
            return None

    def seal(self, connection: str, salt: str | None = None) -> str:
        """What tells later whether a connection's settings or secrets have changed: `salt$hash`.

        With the salt of an earlier seal it is the same for the same configuration. Slow on purpose
        (tens of milliseconds): it is kept, and must not help anybody to guess a password.
        """
        configured = self._slot(connection).configured
        made_of = [
            configured.adapter,
            sorted((name, str(value)) for name, value in configured.connection.settings.items()),
            sorted(
                (name, secret.get_secret_value())
                for name, secret in configured.connection.secrets.items()
            ),
        ]
        salt = salt or secrets.token_hex(16)
        sealed = hashlib.scrypt(
            json.dumps(made_of).encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1
        )
        return f"{salt}${sealed.hex()}"

    def close(self) -> None:
        """Close every opened adapter. Safe to call twice; a later use opens it anew."""
        for slot in self._slots.values():
            with slot.lock:
                adapter, slot.adapter = slot.adapter, None
            if adapter is not None:
                # One adapter that fails to hang up must not keep the others open.
                with suppress(Exception):
                    adapter.close()

    def _slot(self, connection: str) -> _Slot:
        try:
            return self._slots[connection]
        except KeyError:
            raise NotOffered(f"there is no connection called {connection!r}") from None

    def _opened(self, configured: Configured) -> Any:
        name = configured.connection.name
        kind = adapter_class(configured.adapter, self._adapters)
        try:
            return kind.open(configured.connection)
        except ValidationError as error:
            # Pydantic's own text repeats the values, and somebody may have put a password there.
            wrong = "; ".join(
                f"{'.'.join(map(str, found['loc'])) or 'settings'}: {found['msg']}"
                for found in error.errors(include_input=False, include_url=False)
            )
            raise Permanent(
                f"connection {name!r} is not configured as its adapter needs it: {wrong}",
                system=configured.adapter,
            ) from None


def adapter_class(name: str, adapters: Mapping[str, str] = ADAPTERS) -> Any:
    """The class of an adapter by its name; raises NotOffered if it is unknown or not installed."""
    path = adapters.get(name)
    if path is None:
        raise NotOffered(f"there is no adapter called {name!r}; there are {', '.join(adapters)}")
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise NotOffered(
            f"the adapter {name!r} needs the Python package {error.name!r}, which is not installed"
        ) from error


def own_files(
    given: Iterable[Path], adapters: Mapping[str, str] = ADAPTERS
) -> dict[Path, type[LintsOwnFiles]]:
    """The files among the paths, and below the folders, that are an adapter's own, and whose.

    They are told by their names. Adapters are imported only where there may be such a file.
    """
    candidates = [
        file
        for path in given
        for file in (sorted(path.rglob("*.y*ml")) if path.is_dir() else [path])
        if not file.name.endswith((".map.yaml", ".fixtures.yaml"))
    ]
    if not candidates:
        return {}
    owners: dict[str, type[LintsOwnFiles]] = {}
    for name in adapters:
        # One that is not installed here owns no file that could be read here.
        with suppress(NotOffered):
            kind = adapter_class(name, adapters)
            if LintsOwnFiles in kind.__mro__:
                owners |= dict.fromkeys(kind.own_files, kind)
    return {file: owners[file.name] for file in candidates if file.name in owners}


def lint_own_files(found: Mapping[Path, type[LintsOwnFiles]]) -> list[Issue]:
    """Every mistake in adapters' own files, each read with the mapping files beside it.

    Where those are wrong themselves, a file is left unread: what it lacks cannot be told yet.
    """
    issues: dict[Issue, None] = {}
    for path, kind in found.items():
        with suppress(MappingInvalid):
            mappings = MappingSet.load(path.parent)
            named = sorted({m.connection for m in mappings.mappings if m.connection is not None})
            for connection in named or [""]:
                of_one = mappings.for_connection(connection)
                issues |= dict.fromkeys(kind.lint(path, of_one))
    return list(issues)


def capability_table(adapters: Mapping[str, str] = ADAPTERS) -> str:
    """Which adapter can do what, as a Markdown table: a row for each capability.

    ✓ is what every connection of the adapter can do, ○ what one can do whose bindings say how.
    """
    classes = {name: adapter_class(name, adapters) for name in sorted(adapters)}
    rows = [
        ["", *classes],
        ["---", *(":-:" for _ in classes)],
        *(
            [f"`{capability.__name__}`", *(_mark(kind, capability) for kind in classes.values())]
            for capability in CAPABILITIES
        ),
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _mark(adapter: Any, capability: type) -> str:
    if capability in capabilities_of(adapter):
        return "✓"
    bound = any(capability in capabilities_of(part) for part in getattr(adapter, "bindable", ()))
    return "○" if bound else ""
