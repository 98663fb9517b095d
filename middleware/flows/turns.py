"""Who changes whose something is, one after the other, and in one order.

A change of the ledger by somebody's word, or by a run that joins persons, takes turns with every
other such change. What it then holds it holds in the order in which `receive` does, so that an
arrival that is being decided and the change do not each wait for what the other holds.
"""

from __future__ import annotations

from collections.abc import Iterable

from middleware.contract.canonical import Ref
from middleware.store.database import UnitOfWork
from middleware.store.tables import PersonRow

TURN = "person_change"


def take(uow: UnitOfWork) -> None:
    """Wait for our turn, before anything else is held; it ends with the transaction."""
    uow.policies.take_turns([TURN])


def hold(
    uow: UnitOfWork,
    *,
    identities: Iterable[str] = (),
    links: Iterable[str] = (),
    complaints: Iterable[str] = (),
    records: Iterable[Ref] = (),
    persons: Iterable[str] = (),
) -> None:
    """Hold all of these until we commit; nobody else changes them meanwhile."""
    for identity_id in sorted(set(identities)):
        uow.people.identity_by_id(identity_id, lock=True)
    if ids := set(links):
        uow.people.held(ids)
    if ids := set(complaints):
        uow.complaints.hold(ids)
    for ref in sorted(set(records), key=str):
        uow.records.get(ref, lock=True)
    for person_id in sorted(set(persons)):
        uow.session.get(PersonRow, person_id, with_for_update=True, populate_existing=True)
