"""A document that the hub goes by, of which every version is kept: which one is in force, and how
it is replaced.

What the configuration says is put as a version whenever it changes, and what was put by other ways
since stays in force until then.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar

from middleware.domain.policy_file import hash_of
from middleware.domain.problems import NotFoundError, StaleVersionError
from middleware.flows.hub import Asker, Hub
from middleware.store.database import UnitOfWork
from middleware.store.tables import VersionRow
from middleware.store.versions import Versions

D = TypeVar("D")


@dataclass(frozen=True)
class InForce(Generic[D]):
    """A document and where it comes from. Version 0 is the configured one, before any is stored."""

    version: int
    document: D
    source: str
    author: str
    reason: str | None
    created_at: datetime | None


class Document(Generic[D]):
    """One kind of document; its functions are the only way to a version of it."""

    def __init__(
        self,
        name: str,
        title: str,
        *,
        rows: Callable[[UnitOfWork], Versions[Any]],
        configured: Callable[[Hub], D],
        body_of: Callable[[D], dict[str, Any]],
        read: Callable[[dict[str, Any]], D],
        shipped: dict[str, Any] | None = None,
        then: Callable[[Hub, UnitOfWork, int], None] = lambda hub, uow, version: None,
    ) -> None:
        """`name` is in the audit, `title` in what people read. A configured document of the body
        `shipped` is no version before there is another. `then` is owed with each new version."""
        self.name, self.title = name, title
        self.rows, self.read = rows, read
        self._configured = configured
        self._body_of = body_of
        self._shipped = hash_of(shipped) if shipped is not None else None
        self._then = then
        self._document = lru_cache(maxsize=16)(lambda body: read(json.loads(body)))

    def in_force(self, hub: Hub, uow: UnitOfWork) -> InForce[D]:
        """The version that is gone by now."""
        row = self.rows(uow).current()
        return self._zero(hub) if row is None else self._read(row)

    def version(self, hub: Hub, uow: UnitOfWork, number: int) -> InForce[D]:
        """An earlier version; raises NotFoundError."""
        if number == 0:
            return self._zero(hub)
        row = self.rows(uow).version(number)
        if row is None:
            raise NotFoundError(f"the {self.title} has no version {number}")
        return self._read(row)

    def declare(self, hub: Hub, document: D) -> bool:
        """Make the configured document the one in force, if it differs from the last configured.

        Answers whether there is a new version.
        """
        body = self._body_of(document)
        digest = hash_of(body)
        with hub.database.begin() as uow:
            uow.policies.take_turns([self.name])
            last = self.rows(uow).last_of("file")
            if (last.body_hash if last is not None else self._shipped) == digest:
                return False
            self._append(hub, uow, body, source="file", asker=Asker("hub"), reason=None)
            return True

    def put(
        self,
        hub: Hub,
        document: D,
        *,
        asker: Asker,
        source: str,
        reason: str | None,
        expected: int | None = None,
    ) -> InForce[D]:
        """Make a document the one in force, as a new version.

        The same one again changes nothing. Raises StaleVersionError when another version than
        `expected` is in force.
        """
        body = self._body_of(document)
        with hub.database.begin() as uow:
            uow.policies.take_turns([self.name])
            now = self.in_force(hub, uow)
            if expected is not None and now.version != expected:
                raise StaleVersionError(
                    f"The {self.title} is at version {now.version}; you read version {expected}.",
                    headers={"ETag": f'"{now.version}"'},
                )
            if self._body_of(now.document) == body:
                return now
            return self._read(
                self._append(hub, uow, body, source=source, asker=asker, reason=reason)
            )

    def put_back(
        self, hub: Hub, number: int, *, asker: Asker, source: str, reason: str | None
    ) -> InForce[D]:
        """Make an earlier version's document the one in force, as a new version. See `put`."""
        with hub.database.read() as uow:
            document = self.version(hub, uow, number).document
        return self.put(hub, document, asker=asker, source=source, reason=reason)

    def _append(
        self,
        hub: Hub,
        uow: UnitOfWork,
        body: dict[str, Any],
        *,
        source: str,
        asker: Asker,
        reason: str | None,
    ) -> VersionRow:
        now = hub.clock()
        row: VersionRow = self.rows(uow).add(
            body=body,
            body_hash=hash_of(body),
            source=source,
            author=asker.principal,
            reason=reason,
            at=now,
        )
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action=f"{self.name}.put",
            subject=f"{self.name}:{row.version}",
            request_id=asker.request_id,
            version=row.version,
            source=source,
            body_hash=row.body_hash,
            reason=reason,
        )
        self._then(hub, uow, row.version)
        return row

    def _zero(self, hub: Hub) -> InForce[D]:
        return InForce(0, self._configured(hub), "file", "hub", None, None)

    def _read(self, row: VersionRow) -> InForce[D]:
        return InForce(
            version=row.version,
            document=self._document(json.dumps(row.body, sort_keys=True)),
            source=row.source,
            author=row.author,
            reason=row.reason,
            created_at=row.created_at,
        )
