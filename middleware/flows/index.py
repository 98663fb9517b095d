"""Writing anew what every stored record is found by: its identifiers, and how a customer looks.

Storing a record does it; this is for records that were stored by a version that reads identifiers
in another way, or compares other things, or by other settings: `phone_regions`,
`links.blocked`. It may be run at any time, and again.
"""

from __future__ import annotations

from middleware.contract.canonical import Kind
from middleware.flows.hub import Hub
from middleware.store.records import key_of

PAGE = 500


def index_again(hub: Hub) -> int:
    """Answers how many records were gone through; a page of them a transaction."""
    seen = 0
    last: tuple[str, str, str] | None = None
    while True:
        with hub.database.begin() as uow:
            page = uow.records.after(last, Kind, limit=PAGE, lock=True)
            if not page:
                return seen
            uow.records.find_by([(record, hub.found_by(record)) for record in page])
        seen += len(page)
        last = key_of(page[-1].ref)
