"""Writing anew what every stored record is found by: its identifiers, and how a customer looks;
and what those who wrote are known by when they write from elsewhere.

Storing a record or an arrival does it; this is for what was stored by a version that reads
identifiers in another way, or compares other things, or by other settings: `phone_regions`,
`links.blocked`. It may be run at any time, and again.
"""

from __future__ import annotations

from middleware.contract.canonical import Kind
from middleware.domain.arrivals import Author
from middleware.flows.hub import Hub
from middleware.resolution import normalise
from middleware.resolution.identifiers import written_with
from middleware.store.records import key_of

PAGE = 500


def index_again(hub: Hub) -> int:
    """Answers how many records were gone through; a page of them a transaction."""
    _who_wrote(hub)
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


def _who_wrote(hub: Hub) -> None:
    """Note of accounts that are somebody's what they wrote with; what expired stays forgotten."""
    last = ""
    while True:
        with hub.database.begin() as uow:
            page = uow.complaints.incoming(after=last, limit=PAGE)
            if not page:
                return
            for arrival in page:
                given = {k: v for k, v in (arrival.author or {}).items() if k != "order_numbers"}
                author = Author.model_validate(given)
                own = written_with(author, regions=hub.options.phone_regions)
                if author.native_id is None or not own:
                    continue
                identity = uow.people.identity(normalise.network(author.network), author.native_id)
                if identity is not None and uow.people.links_of_identity(identity.id):
                    uow.people.bears(identity.id, own)
            last = page[-1].id
