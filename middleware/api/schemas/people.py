"""People, identities and links: what is asked, and what is shown."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, Strict, model_validator

from middleware.api.schemas.base import (
    Asked,
    HubId,
    Moment,
    Page,
    RefShown,
    RefText,
    Short,
    Shown,
)
from middleware.api.schemas.complaints import ResolutionShown, SourceId
from middleware.api.schemas.records import CustomerShown
from middleware.domain.identity import Basis
from middleware.domain.ledger import Standing


class ClueAsked(Asked):
    """What is known about somebody. Exact parts count most; a name alone finds nobody."""

    network: Annotated[Short, Field(examples=["x"])] = "unknown"
    """Whose `native_id` and `handle` these are."""
    native_id: SourceId | None = None
    handle: Short | None = None
    name: Short | None = None
    """The display name: with a handle it finds those who look alike."""
    location: Short | None = None
    """Where they say they are, as their profile has it."""
    bio: Annotated[str, Field(max_length=2000)] | None = None
    """What their profile says; its links and company are compared."""
    url: Short | None = None
    emails: Annotated[list[Short], Field(max_length=10, default_factory=list)]
    phones: Annotated[list[Short], Field(max_length=10, default_factory=list)]
    external_ids: Annotated[dict[Short, Short], Field(max_length=10, default_factory=dict)]
    order_numbers: Annotated[list[Short], Field(max_length=10, default_factory=list)]
    postcodes: Annotated[list[Short], Field(max_length=4, default_factory=list)]
    """Postal codes of theirs, as they gave them: one finds nobody, and tells namesakes apart."""
    deadline_ms: Annotated[int, Field(ge=0, le=30_000)] | None = None
    """How long remotes may take to answer; what is late is named."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        exact = (
            self.native_id,
            self.handle,
            self.emails,
            self.phones,
            self.external_ids,
            self.order_numbers,
        )
        if not any(exact):
            raise ValueError(
                "needs one of native_id, handle, emails, phones, external_ids, order_numbers"
            )
        if (self.native_id or self.handle) and self.network == "unknown":
            raise ValueError("a native_id or handle needs the network that it belongs to")
        return self


class ResolvedShown(Shown):
    """Ranked candidates with the evidence that adds up to their scores, and the decision."""

    resolution: ResolutionShown


class HandleShown(Shown):
    """What an identity was called, from when to when."""

    handle: str
    display_name: str | None
    valid_from: Moment
    valid_to: Moment | None


class IdentityShown(Shown):
    """An account on a network, by the network's unchangeable id."""

    id: str
    network: str
    native_id: str
    handles: list[HandleShown]
    first_seen_at: Moment
    last_seen_at: Moment


class IdentityWanted(Asked):
    """An account on a network, by the network's unchangeable id."""

    network: Annotated[Short, Field(examples=["x"])]
    native_id: SourceId


class LinkWanted(Asked):
    """Who an identity or a record is: a person of the hub, or a new one without `person_id`."""

    person_id: HubId | None = None
    display_name: Short | None = None
    """The name of a new person."""
    identity_id: HubId | None = None
    identity: IdentityWanted | None = None
    record: RefText | None = None
    basis: Annotated[Basis, Strict(False)] = Basis.AGENT
    reason: Annotated[str, Field(min_length=3, max_length=1000)]
    """Why you are sure; it becomes the link's evidence."""
    although_revoked: bool = False
    """Says that you know somebody took these two apart before."""

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if sum(x is not None for x in (self.identity_id, self.identity, self.record)) != 1:
            raise ValueError("needs exactly one of identity_id, identity, record")
        if self.person_id is not None and self.display_name is not None:
            raise ValueError("display_name is for a new person; leave it out beside person_id")
        if self.basis in (Basis.INFERRED, Basis.PROVISIONAL):
            raise ValueError(
                "what was only inferred or is provisional is decided by the hub; say how you know"
            )
        return self


class LinkRevoked(Asked):
    """Why a link is ended."""

    reason: Annotated[str, Field(min_length=3, max_length=1000)]


class LinkEvidenceShown(Shown):
    kind: str
    detail: str
    weight: float
    basis: str
    compared: str | None
    """What was held against what, where `kind` does not say it."""
    rarity: float | None
    """How many records were to be expected to agree so by accident."""
    at: Moment | None
    """When it was so: when what is on file was last read from its source, when the text was
    written, when the word was given. Null where it isn't of a moment, and in what was stored before
    the hub kept it."""


class LinkShown(Shown):
    """A reversible assertion that a person is an identity, or a record."""

    id: Annotated[str, Field(examples=["lnk_019c9d6f3a5e7c41b1d0a2f4c6e88a31"])]
    person_id: str
    identity_id: str | None
    record: RefShown | None
    basis: Basis
    confidence: float
    evidence: list[LinkEvidenceShown]
    decided_by: str
    valid_from: Moment
    valid_to: Moment | None
    revoked_by: str | None
    revoked_reason: str | None
    origin: str | None
    """The link that first said so, where a merge, a split or a restoring carried it over."""
    change_id: str | None
    """The merge, split or undoing that carried it over."""
    decided_under: str | None
    """The version of model and thresholds that decided; `null` where a person did."""
    version: int


class LinkRestored(Asked):
    """Why the ending of a link was a mistake."""

    reason: Annotated[str, Field(min_length=3, max_length=1000)]


class LinkPage(Page[LinkShown]):
    """One page of links, oldest first."""


class StrengthShown(Shown):
    """What was shown, done and written while the link held."""

    complaints: list[str]
    orders: list[RefShown]
    """Shown as theirs: meant, ranked, or acted upon."""
    actions: list[str]
    notes: list[RefShown]


class LinkExplained(Shown):
    """A link, and what stands on it."""

    link: LinkShown
    done_on_its_strength: StrengthShown


class ComplaintOfPerson(Shown):
    id: str
    state: str
    order: RefShown | None
    opened_at: Moment


class ActionOfPerson(Shown):
    id: str
    kind: str
    state: str
    order: RefShown | None
    created_at: Moment


class OtherValueShown(Shown):
    """What another source says."""

    value: str
    source: str
    at: Moment | None
    verified: bool


class GoldenShown(Shown):
    """The value that counts for one field, from where, and why."""

    field: Annotated[str, Field(examples=["email"])]
    value: str
    source: str
    """A record (`connection:kind:id`) or an identity."""
    at: Moment | None
    verified: bool
    """Whether the customer has written to us from it."""
    why: str
    others: list[OtherValueShown]


class PersonShown(Shown):
    """The hub's stable customer, and everything that is held to be them."""

    id: Annotated[str, Field(examples=["per_019c9d6f3a5e7c41b1d0a2f4c6e88a41"])]
    redirected_from: str | None
    """The id that was asked for, where that person was merged into this one."""
    standing: Standing
    """`settled`; `provisional` for an account of which nobody knows whose it is; `expired` for one
    of which nothing was heard for long since."""
    provisional_until: Moment | None
    """When a provisional person expires, unless the account writes or something open hangs on them
    by then; `null` beside `as_of`."""
    expired_at: Moment | None
    display_name: str | None
    created_at: Moment
    as_of: Moment | None
    """The moment whose links are shown; `null` for now."""
    golden: list[GoldenShown]
    """One value for each field, chosen by the rules of survivorship and stored nowhere."""
    identities: list[IdentityShown]
    records: list[CustomerShown]
    links: list[LinkShown]
    complaints: list[ComplaintOfPerson]
    actions: list[ActionOfPerson]


class PersonListed(Shown):
    """A provisional person, or one that expired, by the account they stand for."""

    id: str
    standing: Standing
    provisional_until: Moment | None
    expired_at: Moment | None
    display_name: str | None
    created_at: Moment
    identity_id: str
    network: str
    native_id: str
    last_seen_at: Moment


class PersonPage(Page[PersonListed]):
    """One page of persons, by when they expire or did."""
