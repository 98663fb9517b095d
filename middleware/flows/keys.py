"""API keys: made once, shown once, kept as a hash, and recognised on every request."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from middleware.domain.ids import new_id
from middleware.domain.problems import InvalidError, NotFoundError
from middleware.flows.hub import Hub
from middleware.store.tables import ApiKeyRow

PREFIX = "amends_live_"
"""What every key begins with, so that secret scanners can know one when they see it."""

ROLE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

RANDOM_BYTES = 32
LONGEST_KEY = 120


class Scope(StrEnum):
    """What a key may do. `admin` may do everything."""

    COMPLAINTS_READ = "complaints:read"
    COMPLAINTS_WRITE = "complaints:write"
    PEOPLE_READ = "people:read"
    PEOPLE_WRITE = "people:write"
    LINKS_WRITE = "links:write"
    ACTIONS_READ = "actions:read"
    ACTIONS_CREATE = "actions:create"
    ACTIONS_APPROVE = "actions:approve"
    CONNECTIONS_READ = "connections:read"
    CONNECTIONS_CHECK = "connections:check"
    JOBS_READ = "jobs:read"
    JOBS_RUN = "jobs:run"
    EVENTS_READ = "events:read"
    QUARANTINE_READ = "quarantine:read"
    QUARANTINE_WRITE = "quarantine:write"
    POLICY_READ = "policy:read"
    POLICY_WRITE = "policy:write"
    ADMIN = "admin"


_SCOPES = frozenset(scope.value for scope in Scope)


@dataclass(frozen=True)
class Principal:
    """Who asks: the id and name of an API key, and what it may do."""

    id: str
    name: str
    scopes: frozenset[Scope]
    expires_at: datetime | None = None
    role: str | None = None
    """What it is to the policy; None is subject to the limits of all roles."""

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


def make_key(
    hub: Hub,
    name: str,
    scopes: Iterable[Scope | str],
    expires: datetime | None = None,
    *,
    role: str | None = None,
    by: str = "cli",
    request_id: str | None = None,
) -> tuple[ApiKeyRow, str]:
    """Make a key; answers its row and the key itself, which nobody can show again.

    `role` is what its holder is to the policy, such as `lead`. Raises InvalidError for an empty
    name, an unknown scope, no scope, a role that no policy could name, or an expiry that is over.
    """
    now = hub.clock()
    if not name.strip():
        raise InvalidError("a key needs a name that says who uses it", errors=_at("/name", "empty"))
    wanted = _known_scopes(scopes)
    if expires is not None and expires <= now:
        raise InvalidError("the expiry is over already", errors=_at("/expires_at", "past"))
    if role is not None and not ROLE.fullmatch(role):
        raise InvalidError(
            "a role has small letters, digits, - and _ only", errors=_at("/role", "pattern")
        )
    random = secrets.token_bytes(RANDOM_BYTES)
    row = ApiKeyRow(
        id=new_id("key"),
        name=name.strip(),
        secret_hash=_hash(random),
        scopes=[scope.value for scope in wanted],
        role=role,
        created_at=now,
        expires_at=expires,
    )
    with hub.database.begin() as uow:
        uow.keys.add(row)
        uow.audit.write(
            at=now,
            actor=by,
            action="key.create",
            subject=row.id,
            request_id=request_id,
            scopes=row.scopes,
            role=row.role,
            expires_at=expires.isoformat() if expires else None,
        )
    return row, _text(row.id, random)


def revoke_key(hub: Hub, key_id: str, *, by: str = "cli", request_id: str | None = None) -> None:
    """End a key. A second time changes nothing; raises NotFoundError for an unknown one."""
    now = hub.clock()
    with hub.database.begin() as uow:
        row = uow.keys.get(key_id)
        if row is None:
            raise NotFoundError(f"there is no key {key_id}")
        if row.revoked_at is not None:
            return
        row.revoked_at = now
        uow.audit.write(
            at=now, actor=by, action="key.revoke", subject=row.id, request_id=request_id
        )


def recognise(hub: Hub, text: str) -> Principal | None:
    """Whose key this is; None for one that is malformed, unknown, wrong, revoked or expired."""
    parts = _parts(text)
    if parts is None:
        return None
    key_id, random = parts
    with hub.database.read() as uow:
        row = uow.keys.get(key_id)
    known = row.secret_hash if row is not None else _hash(b"")
    right = hmac.compare_digest(known, _hash(random))
    if row is None or not right or row.revoked_at is not None:
        return None
    if row.expires_at is not None and row.expires_at <= hub.clock():
        return None
    scopes = frozenset(Scope(scope) for scope in row.scopes if scope in _SCOPES)
    return Principal(
        id=row.id, name=row.name, scopes=scopes, expires_at=row.expires_at, role=row.role
    )


def note_use(hub: Hub, key_id: str) -> None:
    """Write down that a key was used, unless that was done a few minutes ago."""
    now = hub.clock()
    with hub.database.read() as uow:
        row = uow.keys.get(key_id)
        if row is None or not uow.keys.use_is_due(row, at=now):
            return
    with hub.database.begin() as uow:
        row = uow.keys.get(key_id)
        if row is not None and uow.keys.use_is_due(row, at=now):
            row.last_used_at = now


def _known_scopes(scopes: Iterable[Scope | str]) -> list[Scope]:
    wanted = list(dict.fromkeys(scopes))
    unknown = [scope for scope in wanted if scope not in _SCOPES]
    if unknown or not wanted:
        known = ", ".join(Scope)
        detail = f"unknown: {', '.join(unknown)}" if unknown else "a key needs at least one scope"
        raise InvalidError(f"{detail}; the scopes are {known}", errors=_at("/scopes", "scope"))
    return [Scope(scope) for scope in wanted]


def _at(pointer: str, code: str) -> list[dict[str, str]]:
    return [{"pointer": pointer, "code": code, "detail": "see detail"}]


def _text(key_id: str, random: bytes) -> str:
    secret = base64.urlsafe_b64encode(random).decode().rstrip("=")
    return f"{PREFIX}{key_id.removeprefix('key_')}_{secret}"


def _parts(text: str) -> tuple[str, bytes] | None:
    if not text.startswith(PREFIX) or len(text) > LONGEST_KEY or not text.isascii():
        return None
    middle, _, secret = text.removeprefix(PREFIX).partition("_")
    try:
        random = base64.b64decode(secret + "=" * (-len(secret) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(random) != RANDOM_BYTES or not middle.isalnum():
        return None
    return f"key_{middle}", random


def _hash(random: bytes) -> str:
    # The random part has 256 bits: a slow hash would protect nothing and cost every request.
    return hashlib.sha256(random).hexdigest()
