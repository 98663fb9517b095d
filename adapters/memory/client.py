"""The wire: one call to the remote, and what its answers mean."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from adapters.memory.remote import Refusal, Remote
from middleware.contract import wire
from middleware.contract.errors import (
    Ambiguous,
    Forbidden,
    Missing,
    Rejected,
    RemoteError,
    Transient,
    Unauthorised,
)

SYSTEM = "memory"

T = TypeVar("T")

# The vendor's codes. Whatever is not in here is Ambiguous on a write and Transient on a read.
ERRORS: dict[str, type[RemoteError]] = {
    "busy": Transient,
    "down": Transient,  # this vendor answers it before it begins; many others do not
    "denied": Unauthorised,
    "forbidden": Forbidden,
    "unknown": Missing,
    "invalid": Rejected,
}


class DuplicateKey(Exception):
    """The remote says that a row with our key exists: it means *found*."""


class Client:
    """Calls the remote. No retries, no sleeping, always a time-out."""

    def __init__(self, remote: Remote, *, token: str | None, timeout_s: float) -> None:
        self.remote = remote
        self._token = token
        self._timeout_s = timeout_s

    def call(self, operation: str, work: Callable[[], T], *, write: bool = False) -> T:
        """Ask the remote for something; raises the three errors and, on a write, DuplicateKey."""
        try:
            return self.remote.serve(
                operation, work, write=write, token=self._token, timeout_s=self._timeout_s
            )
        except Refusal as refusal:
            if refusal.code == "duplicate" and write:
                raise DuplicateKey from None
            raise error_of(refusal, operation, write=write) from None
        except Exception as error:
            raise wire.classify(error, write=write, system=SYSTEM, operation=operation) from None


def error_of(refusal: Refusal, operation: str, *, write: bool) -> RemoteError:
    """The error that a refusal stands for."""
    kind = ERRORS.get(refusal.code, Ambiguous if write else Transient)
    error = kind(
        refusal.message,
        system=SYSTEM,
        operation=operation,
        code=refusal.code,
        field=refusal.field,
    )
    if isinstance(error, Transient) and refusal.code == "busy":
        error.retry_after = timedelta(seconds=1)
    return error
