"""Who asks: API keys, remembered for a few seconds, and what they may do."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from anyio.to_thread import run_sync

from middleware.api.problems import UnauthenticatedError
from middleware.domain.problems import ForbiddenError
from middleware.flows import keys
from middleware.flows.hub import Hub
from middleware.flows.keys import Principal, Scope

log = logging.getLogger(__name__)

REMEMBERED = 5.0
"""Seconds for which a recognised key is not looked up again, and so for which a revocation made
by another process may go unnoticed."""
USE_NOTED_EVERY = 300.0
MOST_REMEMBERED = 10_000


class Keyring:
    """Recognises keys. What it remembers of one is a hash, never the key."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._known: dict[bytes, tuple[Principal, float]] = {}
        self._noted: dict[str, float] = {}
        self._lock = threading.Lock()
        self._notes = ThreadPoolExecutor(max_workers=1, thread_name_prefix="key-use")

    async def recognise(self, authorization: str | None) -> Principal:
        """Whose key the header holds; raises UnauthenticatedError, the same for every reason."""
        scheme, _, text = (authorization or "").partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text:
            raise _nobody()
        digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
        now = time.monotonic()
        known = self._known.get(digest)
        if known is not None and known[1] > now:
            principal = known[0]
        else:
            found = await run_sync(keys.recognise, self._hub, text)
            if found is None:
                self._known.pop(digest, None)
                raise _nobody()
            principal = found
            self._remember(digest, principal, now)
        if principal.expires_at is not None and principal.expires_at <= self._hub.clock():
            raise _nobody()
        self._note(principal.id, now)
        return principal

    def forget(self, key_id: str) -> None:
        """Look a key up anew from now on: it was revoked."""
        with self._lock:
            gone = [d for d, (principal, _) in self._known.items() if principal.id == key_id]
            for digest in gone:
                del self._known[digest]

    def close(self) -> None:
        self._notes.shutdown(wait=True)

    def _remember(self, digest: bytes, principal: Principal, now: float) -> None:
        with self._lock:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[digest] = (principal, now + REMEMBERED)

    def _note(self, key_id: str, now: float) -> None:
        """Have the use written down, now and then, by a thread that no request waits for."""
        last = self._noted.get(key_id)
        if last is not None and now - last < USE_NOTED_EVERY:
            return
        self._noted[key_id] = now
        try:
            self._notes.submit(self._write_use, key_id)
        except RuntimeError:
            log.debug("shutting down; the key's use is not noted", extra={"principal": key_id})

    def _write_use(self, key_id: str) -> None:
        try:
            keys.note_use(self._hub, key_id)
        except Exception:
            log.warning("the use of a key could not be noted", extra={"principal": key_id})


def permit(principal: Principal, scope: Scope) -> None:
    """Raise ForbiddenError that names the scope a key lacks."""
    if not principal.may(scope):
        raise ForbiddenError(
            f"This route needs the scope {scope}, which this key does not have.",
            errors=[{"pointer": "", "detail": f"missing scope {scope}", "code": "scope"}],
        )


def _nobody() -> UnauthenticatedError:
    return UnauthenticatedError("Send an API key as Authorization: Bearer; see amends keys create.")
