"""Identity: who may have written this, the evidence for and against, and the decision."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from middleware.contract.canonical import Frozen, Ref, Text


class Basis(StrEnum):
    """Why the hub may hold a link."""

    CUSTOMER_PROVIDED = "customer_provided"
    CUSTOMER_CONFIRMED = "customer_confirmed"
    CRM_RECORD = "crm_record"
    AGENT = "agent"
    INFERRED = "inferred"
    """Worked out from likeness; networks restrict it, so it never links by itself by default."""


class EvidenceKind(StrEnum):
    """What speaks for a candidate, or with a negative weight against it."""

    AGENT = "agent"
    NATIVE_ID = "native_id"
    EXTERNAL_ID = "external_id"
    EMAIL = "email"
    PHONE = "phone"
    EMAIL_MENTIONED = "email_mentioned"
    PHONE_MENTIONED = "phone_mentioned"
    EMAIL_ALIAS = "email_alias"
    ORDER_NUMBER = "order_number"
    HANDLE = "handle"
    NAME = "name"
    HANDLE_CHANGED_OWNER = "handle_changed_owner"
    ORDER_OF_SOMEBODY_ELSE = "order_of_somebody_else"
    ADDRESS = "address"
    PRIOR = "prior"
    """How likely any two are one customer before they are compared; nearly always against."""
    SHARED = "shared"
    """A key that several persons bear."""


class Evidence(Frozen):
    """One reason. `weight` is in bits: +1 doubles the odds, -1 halves them; they add up exactly.

    `detail` is for people and holds no more personal data than the reader needs: which field
    agreed and, masked, on what.
    """

    kind: EvidenceKind
    detail: Text
    weight: Annotated[float, Field(ge=-64, le=64)]
    basis: Basis


class Candidate(Frozen):
    """Somebody it may be: a person of the hub, or records that no person holds yet."""

    person_id: str | None = None
    refs: tuple[Ref, ...] = ()
    score: float
    """The sum of the evidence's weights."""
    evidence: Annotated[tuple[Evidence, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _explained(self) -> Self:
        if self.person_id is None and not self.refs:
            raise ValueError("a candidate needs a person or at least one record")
        if abs(self.score - sum(e.weight for e in self.evidence)) > 1e-9:
            raise ValueError("a candidate's score is the sum of its evidence")
        return self

    @property
    def strongest(self) -> Evidence:
        return max(self.evidence, key=lambda e: e.weight)

    @property
    def basis(self) -> Basis:
        """The basis of a link to this candidate: that of its strongest evidence."""
        return self.strongest.basis


class Outcome(StrEnum):
    LINK = "link"
    REVIEW = "review"
    NONE = "none"


class Decision(Frozen):
    """What to do about an identity. `candidate` is the best one, also for a review."""

    outcome: Outcome
    candidate: Candidate | None = None
    margin: float | None = None
    """Bits between the best and the runner-up; None when there is only one."""
    why: Text

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.outcome is not Outcome.NONE and self.candidate is None:
            raise ValueError(f"the outcome {self.outcome} needs a candidate")
        return self
