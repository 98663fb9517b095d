"""Identity: who may have written this, the evidence for and against, and the decision."""

from __future__ import annotations

from datetime import datetime
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
    PROVISIONAL = "provisional"
    """Nobody knows who it is: a provisional person stands for whoever writes from the account."""


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
    POSTCODE_MENTIONED = "postcode_mentioned"
    """The text names a postal code of theirs: it leads to nobody, and tells namesakes apart."""
    WROTE_BEFORE = "wrote_before"
    """The address or number of another account that wrote before and is theirs."""
    HANDLE = "handle"
    NAME = "name"
    NAME_PART = "name_part"
    """Part of the name agrees, or with a negative weight none of it."""
    HANDLE_IN_NAME = "handle_in_name"
    OTHER_HANDLE = "other_handle"
    """The handle on this network against those on file on others."""
    LOCATION = "location"
    PROFILE_LINK = "profile_link"
    """The profile itself points to an account or a domain on file."""
    COMPANY = "company"
    PRIOR = "prior"
    """How likely it was before anything was compared: one of so many on file, or a stranger."""
    HANDLE_CHANGED_OWNER = "handle_changed_owner"
    ORDER_OF_SOMEBODY_ELSE = "order_of_somebody_else"
    ADDRESS = "address"
    SHARED = "shared"
    """A key that several persons bear."""
    CANNOT_LINK = "cannot_link"
    """A person said that it is not them; nothing else outweighs that."""


class Evidence(Frozen):
    """One reason. `weight` is in bits: +1 doubles the odds, -1 halves them; they add up exactly.

    `detail` is for people and holds no more personal data than the reader needs: which field
    agreed and, masked, on what.
    """

    kind: EvidenceKind
    detail: Text
    weight: Annotated[float, Field(ge=-64, le=64)]
    basis: Basis
    compared: str | None = None
    """What was held against what, where `kind` does not say it."""
    rarity: float | None = None
    """How many records were to be expected to agree so by accident."""
    at: datetime | None = None
    """When it was so: when what is on file was last read from its source, when the text was
    written, when the word was given. None where it isn't of a moment, as how rare a match is."""


class Candidate(Frozen):
    """Somebody it may be: a person of the hub, or records that no person holds yet."""

    person_id: str | None = None
    refs: tuple[Ref, ...] = ()
    score: float
    """The sum of the evidence's weights."""
    evidence: Annotated[tuple[Evidence, ...], Field(min_length=1)]
    probability: float | None = None
    """Where only likeness speaks: how often such a score was right, strangers counted in."""

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
    def barred(self) -> bool:
        """Whether somebody said that it is not them."""
        return any(e.kind is EvidenceKind.CANNOT_LINK for e in self.evidence)

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
    version: str | None = None
    """Of the model and the thresholds that decided."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.outcome is not Outcome.NONE and self.candidate is None:
            raise ValueError(f"the outcome {self.outcome} needs a candidate")
        return self
