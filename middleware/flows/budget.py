"""An order's budget, put together from the hub's own actions and what the remotes report."""

from __future__ import annotations

from decimal import Decimal

from middleware.contract.actions import Then
from middleware.contract.canonical import Kind, Order, Ref
from middleware.domain import budget as rules
from middleware.domain.budget import Budget, Take
from middleware.domain.orders import number_key
from middleware.flows import lookup
from middleware.store.database import UnitOfWork

REMEDIES = (Kind.RETURN, Kind.INVOICE, Kind.ORDER)
"""The kinds of record that a remedy leaves beside an order."""


def budget_of(uow: UnitOfWork, order: Order, *, lock: bool = False) -> Budget:
    """The order's budget over all its copies and all remedies in them.

    `lock` holds the rows of all copies, in one order for everybody, so that two actions on the same
    goods are planned one after another even if they name copies in different systems.
    """
    copies = copies_of(uow, order)
    if lock:
        for ref in sorted(map(str, (order.ref, *(copy.ref for copy in copies)))):
            uow.records.get(Ref.parse(ref), lock=True)
    takes = list(_takes(uow, order))
    for copy in copies:
        takes += rules.of_copy(order, copy, _takes(uow, copy))
    return Budget(order, tuple(takes))


def _takes(uow: UnitOfWork, order: Order) -> list[Take]:
    own = uow.actions.holds(str(order.ref))
    noted_later = uow.actions.credits_without_invoice(str(order.ref))
    due = [
        take.amount or Decimal(0)
        for take in own
        if take.by in noted_later or (take.returned > 0 and _is_refunded(uow, take.by))
    ]
    found = rules.elsewhere(
        uow.records.of_order(order.ref, REMEDIES), ours=uow.actions.made_for(str(order.ref))
    )
    return [*own, *rules.takes_elsewhere(order, found, refunds_due=sum(due, Decimal(0)))]


def _is_refunded(uow: UnitOfWork, action_id: str) -> bool:
    """Whether money follows the goods that an action takes back, rather than other goods."""
    action = uow.actions.get(action_id)
    return action is not None and action.request["request"].get("then") == Then.REFUND


def copies_of(uow: UnitOfWork, order: Order) -> list[Order]:
    """The same order in other systems: the same number, and the same customer or the same sum.

    A number alone is no proof: two brands may both have an order 10001.
    """
    if order.number is None:
        return []
    bearing = uow.records.bearing([("order", number_key(order.number))])
    others = [
        ref for ref in bearing if ref.kind is Kind.ORDER and ref.connection != order.ref.connection
    ]
    if not others:
        return []
    owners = _owners(uow, order)
    return [
        stored.record
        for stored in uow.records.get_all(others)
        if isinstance(stored.record, Order)
        and (
            (order.total is not None and stored.record.total == order.total)
            or bool(owners & _owners(uow, stored.record))
        )
    ]


def _owners(uow: UnitOfWork, order: Order) -> set[str]:
    """Who an order is linked to: the hub's persons behind its customer."""
    refs = [ref for ref in (order.account, order.contact) if ref is not None]
    return set(lookup.person_of(uow, refs).values())
