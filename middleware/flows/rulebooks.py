"""The rule book in force: which version that is, and how it is replaced.

As with the policy: what the configuration says is put as a version whenever it changes, and what
was put by other ways since stays in force until then. A new version has every open complaint scored
anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from middleware.domain.policy_file import hash_of
from middleware.domain.problems import NotFoundError, StaleVersionError
from middleware.domain.rulebook import RuleBook
from middleware.domain.rulebook_file import body_of, rulebook_of
from middleware.flows.hub import Asker, Hub
from middleware.store.database import UnitOfWork
from middleware.store.tables import RulebookRow

TURN = "rulebook"
"""Whose turn it is to append a version."""


@dataclass(frozen=True)
class InForce:
    """A rule book and where it comes from. Version 0 is the configured one, before any other."""

    version: int
    book: RuleBook
    source: str
    author: str
    reason: str | None
    created_at: datetime | None


def in_force(hub: Hub, uow: UnitOfWork) -> InForce:
    """The rule book that complaints are scored by now."""
    row = uow.queue.rulebook()
    return _configured(hub) if row is None else _read(row)


def version(hub: Hub, uow: UnitOfWork, number: int) -> InForce:
    """An earlier version; raises NotFoundError."""
    if number == 0:
        return _configured(hub)
    row = uow.queue.rulebook(number)
    if row is None:
        raise NotFoundError(f"the rule book has no version {number}")
    return _read(row)


def declare(hub: Hub, book: RuleBook) -> bool:
    """Make the configured rule book the one in force, if it differs from the last configured one.

    Answers whether there is a new version. The shipped one is not stored: it stays version 0 until
    there is another.
    """
    body = body_of(book)
    digest = hash_of(body)
    with hub.database.begin() as uow:
        uow.policies.take_turns([TURN])
        last = uow.queue.last_rulebook_of("file")
        if (last.body_hash if last is not None else hash_of({})) == digest:
            return False
        _append(hub, uow, body, source="file", asker=Asker("hub"), reason=None)
        return True


def put(
    hub: Hub,
    book: RuleBook,
    *,
    asker: Asker,
    source: str,
    reason: str | None,
    expected: int | None = None,
) -> InForce:
    """Make a rule book the one in force, as a new version, and owe the scoring that follows.

    The same one again changes nothing. Raises StaleVersionError when another version than
    `expected` is in force.
    """
    body = body_of(book)
    with hub.database.begin() as uow:
        uow.policies.take_turns([TURN])
        now = in_force(hub, uow)
        if expected is not None and now.version != expected:
            raise StaleVersionError(
                f"The rule book is at version {now.version}; you read version {expected}.",
                headers={"ETag": f'"{now.version}"'},
            )
        if body_of(now.book) == body:
            return now
        return _read(_append(hub, uow, body, source=source, asker=asker, reason=reason))


def _append(
    hub: Hub,
    uow: UnitOfWork,
    body: dict[str, Any],
    *,
    source: str,
    asker: Asker,
    reason: str | None,
) -> RulebookRow:
    now = hub.clock()
    last = uow.queue.rulebook()
    row = RulebookRow(
        version=last.version + 1 if last is not None else 1,
        body=body,
        body_hash=hash_of(body),
        source=source,
        author=asker.principal,
        reason=reason,
        created_at=now,
    )
    uow.queue.add_rulebook(row)
    uow.audit.write(
        at=now,
        actor=asker.principal,
        action="rulebook.put",
        subject=f"rulebook:{row.version}",
        request_id=asker.request_id,
        version=row.version,
        source=source,
        body_hash=row.body_hash,
        reason=reason,
    )
    name = f"prioritise.all:{row.version}"
    hub.engine.enqueue(uow, "prioritise.all", str(row.version), name=name)
    return row


def _configured(hub: Hub) -> InForce:
    return InForce(0, hub.options.rulebook, "file", "hub", None, None)


def _read(row: RulebookRow) -> InForce:
    return InForce(
        version=row.version,
        book=_book(json.dumps(row.body, sort_keys=True)),
        source=row.source,
        author=row.author,
        reason=row.reason,
        created_at=row.created_at,
    )


@lru_cache(maxsize=16)
def _book(body: str) -> RuleBook:
    return rulebook_of(json.loads(body))
