"""The three ways a remote call can fail, named by what the hub may do next.

*Transient*: nothing happened, ask again. *Permanent*: nothing happened, a person must look.
*Ambiguous*: it may have happened, look it up by key before anything else. Reads are never
ambiguous; on a write, whatever an adapter does not recognise is ambiguous.
"""

from __future__ import annotations

from datetime import timedelta


class RemoteError(Exception):
    """A remote system did not do what was asked.

    `message` is shown to people and stored, so it must hold no secret and no personal data;
    `code` is the vendor's own error code where it has one; `field` names the place in the request
    (ours or theirs) when the remote says which one it refused.
    """

    def __init__(
        self,
        message: str,
        *,
        system: str = "",
        operation: str = "",
        code: str | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.system = system
        self.operation = operation
        self.code = code
        self.field = field


class Transient(RemoteError):
    """Nothing happened; it may be repeated, not before `retry_after` where the remote said so."""

    def __init__(
        self,
        message: str,
        *,
        retry_after: timedelta | None = None,
        system: str = "",
        operation: str = "",
        code: str | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message, system=system, operation=operation, code=code, field=field)
        self.retry_after = retry_after


class Busy(Transient):
    """Nothing happened: one record takes nothing at the moment, while the system itself is well.

    Locked by somebody, or by a limit of its own. Its connection's breaker does not count it.
    """


class Permanent(RemoteError):
    """Nothing happened and repeating will not help; a person must look."""


class Rejected(Permanent):
    """The remote understood the request and refuses it (validation, business rule, state)."""


class Unauthorised(Permanent):
    """The credentials are wrong, expired, or lack a permission; the message names which."""


class Forbidden(Unauthorised):
    """The credentials are right, but may not do this: no login was refused, no account locks."""


class Missing(Permanent):
    """The record that the request refers to does not exist in the remote."""


class NotOffered(Permanent):
    """This connection cannot do that; its mapping or its vendor does not offer it."""


class AnotherRemote(Permanent):
    """Another system answers than the one whose records the hub holds; raised by its own gate."""


class Fenced(BaseException):
    """Whoever began this call may not send any more: somebody else may be doing it already.

    Raised by the fence of `middleware.contract.http` at the edge of the wire. It is no answer of a
    remote and no error of an adapter, so that neither may take it for one: like an interrupt, it
    is no `Exception`.
    """


class Ambiguous(RemoteError):
    """It may have happened: the answer was lost or not understood. Look it up by key first."""


class Duplicated(Ambiguous):
    """Several remote records bear our key; only a person can say which one counts."""
