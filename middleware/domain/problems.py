"""What a caller did wrong or ran into, by the stable slug that documents it.

The API turns these into `application/problem+json`; the slugs are pages in `docs/problems/`.
"""

from __future__ import annotations

from typing import Any


class ProblemError(Exception):
    """Something the caller can act on: a stable slug, a status, and the way out in words."""

    status = 400
    slug = "validation"

    def __init__(
        self, detail: str, *, errors: list[dict[str, str]] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or []
        """Each with `pointer` (JSON Pointer into the request), `detail` and `code`."""
        self.more = more
        """Further members of the problem document."""


class InvalidError(ProblemError):
    """The request is well formed and says something that cannot be."""

    status = 422
    slug = "validation"


class NotFoundError(ProblemError):
    status = 404
    slug = "not-found"


class GoneError(ProblemError):
    status = 410
    slug = "gone"


class ConflictError(ProblemError):
    """The state of things does not allow it; `more` names what is in the way."""

    status = 409
    slug = "conflict"


class ForbiddenError(ProblemError):
    status = 403
    slug = "forbidden"


class NotOfferedError(ProblemError):
    """No connection can do that."""

    status = 422
    slug = "not-offered"


class OutdatedPreviewError(ProblemError):
    """What a preview showed is no longer so; `changes` says what: then and now."""

    status = 409
    slug = "preview-outdated"


class KeyReusedError(ProblemError):
    """The idempotency key came before with another body."""

    status = 422
    slug = "idempotency-key-reused"


class KeyInUseError(ProblemError):
    """The first request under this key is still running."""

    status = 409
    slug = "idempotency-in-progress"


class StaleVersionError(ProblemError):
    status = 412
    slug = "stale-version"


class PolicyRefusedError(ProblemError):
    """The policy in force does not allow it; `more["rules"]` names each rule that says so."""

    status = 403
    slug = "policy-refused"


class EvidenceMissingError(ProblemError):
    """The policy in force asks for evidence that the request does not bring."""

    status = 422
    slug = "evidence-missing"
