"""Tokens that the hub gives out and knows again: page cursors, previews, invitations.

A token is readable by whoever has it and holds nothing secret; it can't be altered or made up, and
one made for one purpose is of no use for another. All replicas seal with the same key: the
configured `secret_key`, or one that the database keeps.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import Any

from middleware.store.database import Database
from middleware.store.tables import SigningKeyRow

SIGNATURE_BYTES = 16
INSTANCE = "instance"


class BrokenSealError(ValueError):
    """The token was altered, or was not made by this hub for this purpose."""


class Seal:
    """Writes and reads tokens. The key is loaded when it is first needed."""

    def __init__(self, load: Callable[[], bytes]) -> None:
        self._load = load

    def prepare(self) -> None:
        """Load the key, which may take a transaction: before one in which something is sealed."""
        self._key  # noqa: B018

    def write(self, purpose: str, body: Any) -> str:
        """A token with a JSON value in it, fit for a URL."""
        raw = json.dumps([purpose, body], separators=(",", ":"), sort_keys=True).encode()
        return base64.urlsafe_b64encode(self._sign(raw) + raw).decode().rstrip("=")

    def read(self, purpose: str, token: str) -> Any:
        """What is in a token; raises BrokenSealError."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise BrokenSealError(purpose) from None
        signature, body = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(body)):
            raise BrokenSealError(purpose)
        made_for, value = json.loads(body)
        if made_for != purpose:
            raise BrokenSealError(purpose)
        return value

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:SIGNATURE_BYTES]

    @cached_property
    def _key(self) -> bytes:
        return hashlib.sha256(b"amends seal\x00" + self._load()).digest()


def kept_key(database: Database, *, now: datetime) -> bytes:
    """The key that the database keeps for all replicas; made by whoever needs it first."""
    with database.begin() as uow:
        uow.keys.add_signing_key(
            SigningKeyRow(name=INSTANCE, secret=secrets.token_hex(32), created_at=now)
        )
        return bytes.fromhex(uow.keys.signing_key(INSTANCE))
