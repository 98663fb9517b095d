"""Which actions need somebody else's approval, and by which rule."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from pydantic import Field

from middleware.contract.actions import Operation
from middleware.contract.canonical import Frozen, Money

GIVES_VALUE = frozenset({Operation.REPLACEMENT_ORDER, Operation.RETURN, Operation.CREDIT})
"""Operations that give the customer something of worth."""


class Policy(Frozen):
    """The limits that an operator sets."""

    approval_over: Mapping[str, Decimal] = Field(default_factory=dict)
    """Per currency: remedies worth more than this need approval. No entry means no limit."""
    approval_of_unpriced: bool = False
    """Whether a remedy whose worth is not known needs approval."""
    approval_of_strangers: bool = True
    """Whether a remedy for an order that is not linked to the complaint's person needs approval."""


def approval_rule(
    policy: Policy, operation: Operation, *, value: Money | None, owner_known: bool
) -> str | None:
    """The rule that asks for an approval, in words; None when none does."""
    if operation not in GIVES_VALUE:
        return None
    if policy.approval_of_strangers and not owner_known:
        return "approval_of_strangers: the order is not linked to the person who complains"
    if value is None:
        if policy.approval_of_unpriced:
            return "approval_of_unpriced: what this is worth is not known"
        return None
    limit = policy.approval_over.get(value.currency)
    if limit is not None and value.amount > limit:
        return f"approval_over: worth {value}, over the limit of {limit} {value.currency}"
    return None
