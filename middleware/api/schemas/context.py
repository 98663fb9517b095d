"""The one answer that an agent's panel needs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from middleware.api.schemas.base import Moment, RefShown, Shown
from middleware.api.schemas.complaints import ComplaintListed
from middleware.api.schemas.people import IdentityShown
from middleware.api.schemas.records import (
    BlockSource,
    CaseShown,
    CustomerShown,
    OrderShown,
    Status,
)
from middleware.domain.ledger import Standing


class Block(Shown):
    """One part of a context: where it is from, how fresh it is, and whether it is all there is.

    `partial` and `failed` say in `why` what is missing; the rest of the answer is right anyway.
    """

    source: Annotated[str, Field(examples=["erp"])]
    """The systems behind it, separated by commas; `hub` for the hub's own."""
    as_of: Moment | None
    """The oldest of the sources' times; `null` where none was ever read completely."""
    status: Status
    why: str | None
    sources: list[BlockSource]


class PersonCard(Shown):
    id: str
    standing: Standing
    """`provisional` where nobody knows yet whose account it is."""
    provisional_until: Moment | None
    display_name: str | None
    identities: list[IdentityShown]
    records: list[CustomerShown]


class PersonBlock(Block):
    data: PersonCard | None


class OrdersBlock(Block):
    data: list[OrderShown]


class CasesBlock(Block):
    data: list[CaseShown]


class StepCard(Shown):
    connection: str
    operation: str
    state: str
    number: str | None


class ActionCard(Shown):
    id: str
    operation: str
    state: str
    open: bool
    order: RefShown | None
    steps: list[StepCard]
    created_at: Moment


class ActionsBlock(Block):
    data: list[ActionCard]


class ClaimCard(Shown):
    """A lease on an issue, so that two teams do not solve it twice."""

    subject: str
    holder: str
    tool: str | None
    """Where the holder works."""
    note: str | None
    taken_at: Moment
    expires_at: Moment


class ClaimsBlock(Block):
    data: list[ClaimCard]


class ComplaintsBlock(Block):
    data: list[ComplaintListed]


class ContextShown(Shown):
    """Person, orders, cases, actions and claims in one answer, each with source and freshness."""

    person_id: str | None
    complaint_id: str | None
    person: PersonBlock
    orders: OrdersBlock
    cases: CasesBlock
    complaints: ComplaintsBlock
    actions: ActionsBlock
    claims: ClaimsBlock
