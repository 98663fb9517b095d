"""Putting every stored contact and account into the index of likenesses anew.

Storing a record keeps the index; this is for records that were stored by a version without one,
and for a version that compares other things. It may be run at any time, and again.
"""

from __future__ import annotations

from middleware.flows.hub import Hub
from middleware.resolution.profiles import likeness_of
from middleware.store.records import key_of

PAGE = 500


def index_again(hub: Hub) -> int:
    """Answers how many records were gone through; a page of them a transaction."""
    seen = 0
    last: tuple[str, str, str] | None = None
    while True:
        with hub.database.begin() as uow:
            page = uow.records.customers_after(last, limit=PAGE)
            if not page:
                return seen
            uow.likeness.put({key_of(record.ref): likeness_of(record) for record in page})
        seen += len(page)
        last = key_of(page[-1].ref)
