"""What is read of an org: people, orders, changes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

from adapters.salesforce import layout, soql, spelling
from adapters.salesforce.bulk import BulkCursor
from adapters.salesforce.changes import MASTER, MERGED, ORDER, STAMP, Cursor
from adapters.salesforce.client import SYSTEM, is_id
from adapters.salesforce.loading import Loads
from adapters.salesforce.org import id_of, instant_of
from adapters.salesforce.soql import Clause
from middleware.contract.canonical import Account, Contact, Kind, Order, Record, Ref
from middleware.contract.capabilities import (
    Clue,
    CountsRecords,
    FindsAccounts,
    FindsContacts,
    ListsChanges,
    ListsChangesBetween,
    Page,
    ReadsOrders,
    ReadsRecords,
    Tally,
)
from middleware.contract.errors import (
    Missing,
    NotOffered,
    Rejected,
)
from middleware.contract.mapping import Mapping, to_record

log = logging.getLogger(__name__)

_MOST_PER_PAGE = 2000


class Reads(
    Loads,
    FindsContacts,
    FindsAccounts,
    ReadsOrders,
    ListsChanges,
    ListsChangesBetween,
    CountsRecords,
    ReadsRecords,
):
    """Look-ups, and records by page or in bulk."""

    change_kinds: ClassVar[tuple[Kind, ...]] = (
        Kind.ACCOUNT,
        Kind.CONTACT,
        Kind.PRODUCT,
        Kind.ORDER,
        Kind.CASE,
    )

    def find_contacts(self, clue: Clue, *, limit: int = 10) -> tuple[Contact, ...]:
        """Contacts with one of the clue's addresses, numbers, handles or ids, in any spelling."""
        found = self._find(Kind.CONTACT, clue, limit, operation="find_contacts")
        return tuple(record for record in found if isinstance(record, Contact))

    def find_accounts(self, clue: Clue, *, limit: int = 10) -> tuple[Account, ...]:
        """Accounts with one of the clue's numbers or ids. A standard account has no address."""
        found = self._find(Kind.ACCOUNT, clue, limit, operation="find_accounts")
        return tuple(record for record in found if isinstance(record, Account))

    def _find(self, kind: Kind, clue: Clue, limit: int, *, operation: str) -> list[Record]:
        mapping = self._connection.mappings.pull(kind)
        clauses = list(_clauses(layout.search(mapping), clue))
        if not clauses or limit < 1:
            return []
        # A spelling may mean another number in another country, so some rows may fall away again.
        rows = self._rows(
            mapping, soql.any_of(clauses), order=("Id",), limit=2 * limit + 20, operation=operation
        )
        records = (self._record(kind, mapping, row) for row in rows)
        return [record for record in records if record is not None and _bears(record, clue)][:limit]

    def read_order(self, ref: Ref) -> Order:
        mapping = self._connection.mappings.pull(Kind.ORDER)
        key = self._own_id(ref, "read_order", Kind.ORDER)
        rows = self._rows(mapping, soql.equal("Id", key), operation="read_order")
        if not rows:
            raise Missing(
                "there is no such order in Salesforce, or the hub's user may not see it",
                system=SYSTEM,
                operation="read_order",
            )
        order = to_record(
            Kind.ORDER,
            connection=self._connection.name,
            id=rows[0]["Id"],
            values=mapping.read(rows[0]),
        )
        assert isinstance(order, Order)
        return order

    def find_order(self, number: str) -> Order | None:
        mapping = self._connection.mappings.pull(Kind.ORDER)
        wanted = number.strip()
        fields = layout.search(mapping).get("number", ())
        if not wanted or not fields:
            return None
        rows = self._rows(
            mapping,
            soql.any_of([soql.equal(field, wanted) for field in fields]),
            order=("Id",),
            limit=20,
            operation="find_order",
        )
        # The first field named is what customers know; another's number may be the same by chance.
        for field in fields:
            for row in rows:
                if str(row.get(field) or "").casefold() == wanted.casefold():
                    order = self._record(Kind.ORDER, mapping, row)
                    if isinstance(order, Order):
                        return order
        return None

    def orders_of(
        self, customer: Ref, *, since: datetime | None = None, limit: int = 50
    ) -> tuple[Order, ...]:
        mapping = self._connection.mappings.pull(Kind.ORDER)
        key = self._own_id(customer, "orders_of", Kind.ACCOUNT, Kind.CONTACT)
        search = layout.search(mapping)
        fields = search.get(str(customer.kind), ())
        if not fields or limit < 1:
            return ()
        where = soql.any_of([soql.equal(field, key) for field in fields])
        placed = search.get("placed_at", ("CreatedDate",))[0]
        if since is not None:
            where &= soql.compare(
                placed, ">=", since if placed.endswith("edDate") else since.date()
            )
        rows = self._rows(
            mapping,
            where,
            order=(f"-{placed}", "-Id"),
            limit=min(limit, _MOST_PER_PAGE),
            operation="orders_of",
        )
        records = (self._record(Kind.ORDER, mapping, row) for row in rows)
        return tuple(order for order in records if isinstance(order, Order))

    def changed_since(self, kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        """Rows by SystemModstamp, deleted ones too while they are in the recycle bin (15 days).

        Of what a merge deleted, `MasterRecordId` is the record that was kept: Salesforce's object
        reference says so of Account and Contact, and its merge() that queryAll shows them.
        """
        if kind not in self.change_kinds:
            raise NotOffered(f"Salesforce lists no changes of a {kind}", system=SYSTEM)
        mapping = self._connection.mappings.pull(kind)
        size = max(1, min(limit, _MOST_PER_PAGE))
        loading = BulkCursor.parse(cursor)
        if loading is not None:
            return self._loaded(kind, mapping, loading, size)
        if cursor is None and (page := self._load(mapping)) is not None:
            return page
        try:
            begun = Cursor.parse(cursor)
        except ValueError as error:
            raise Rejected(
                f"{error}; reset it to start from the beginning",
                system=SYSTEM,
                operation="changed_since",
                field="cursor",
            ) from None
        here = begun
        if begun.until is None:
            latest = self._client.now(fresh=True) - self._settings.lag
            here = begun.at(latest.replace(microsecond=0))
        assert here.until is not None
        rows = self._changed(mapping, here, size)
        more = len(rows) >= size
        following = here.ended(self._settings.overlap)
        if more:
            last = rows[-1]
            following = here.past(_stamp_of(last), id_of(last))
        return self._page(kind, mapping, rows, cursor=str(following), more=more, as_of=here.until)

    def _changed(self, mapping: Mapping, here: Cursor, size: int) -> list[dict[str, Any]]:
        """A page of changed rows, with what a merge has left of those deleted, where the user may
        see that."""
        tells = mapping.object.lower() in MERGED and mapping.object not in self._tells_no_merge
        read = partial(
            self._rows,
            mapping,
            here.where,
            order=ORDER,
            limit=size,
            deleted=True,
            operation="changed_since",
        )
        if not tells:
            return read(extra=(STAMP, "IsDeleted"))
        try:
            return read(extra=(STAMP, "IsDeleted", MASTER))
        except NotOffered:
            # Without it, it answers; or it is another field that is missing, and it says so again.
            rows = read(extra=(STAMP, "IsDeleted"))
            log.warning("merges are not told", extra={"object": mapping.object})
            self._tells_no_merge.add(mapping.object)
            return rows

    def cursor_between(self, kind: Kind, since: datetime, until: datetime) -> str:
        if kind not in self.change_kinds:
            raise NotOffered(f"Salesforce lists no changes of a {kind}", system=SYSTEM)
        return str(Cursor(since, until))

    def count_records(self, kind: Kind) -> Tally:
        if kind not in self.change_kinds:
            raise NotOffered(f"Salesforce lists no changes of a {kind}", system=SYSTEM)
        mapping = self._connection.mappings.pull(kind)
        query = soql.count(mapping.object)
        return Tally(count=self._client.count(query, operation="count_records"))

    def read_record(self, ref: Ref) -> Record:
        """One row with all that the mapping reads now; its sync kept what it read then."""
        operation = "read_record"
        key = self._own_id(ref, operation, *self.change_kinds)
        mapping = self._connection.mappings.pull(ref.kind)
        rows = self._rows(mapping, soql.equal("Id", key), operation=operation)
        if not rows:
            raise Missing(
                f"there is no such {ref.kind} in Salesforce, or the hub's user may not see it",
                system=SYSTEM,
                operation=operation,
            )
        return self._mapped(ref.kind, mapping, rows[0])


def _clauses(search: dict[str, tuple[str, ...]], clue: Clue) -> Iterator[Clause]:
    """One condition for each part of the clue that the org has a field for."""

    def spelt(part: str, values: Iterable[str]) -> Iterator[Clause]:
        wanted = [value for value in dict.fromkeys(values) if value]
        for field in search.get(part, ()) if wanted else ():
            yield soql.among(field, wanted)

    yield from spelt("emails", clue.emails)
    yield from spelt("phones", (form for n in clue.phones for form in spelling.phones(n)))
    for handle in clue.handles:
        yield from spelt(f"handles.{handle.network}", spelling.handles(handle.handle or ""))
        yield from spelt(f"native_ids.{handle.network}", (handle.native_id or "",))
    for system, known in clue.external_ids.items():
        fields = search.get(f"external_ids.{system}", ())
        if fields != ("Id",) or is_id(known):  # SOQL refuses what cannot be an id
            yield from spelt(f"external_ids.{system}", (known,))


def _bears(record: Record, clue: Clue) -> bool:
    """Whether the record has one of the clue's parts, compared in our own forms."""
    if not isinstance(record, (Contact, Account)):
        return False
    emails = {email.casefold() for email in record.emails}
    if emails & {email.strip().casefold() for email in clue.emails}:
        return True
    if set(record.phones) & set(clue.phones):
        return True
    for system, known in clue.external_ids.items():
        mine = record.external_ids.get(system)
        if mine and (mine.casefold() == known.casefold() or (is_id(known) and mine[:15] == known)):
            return True
    return isinstance(record, Contact) and any(
        theirs.network == ours.network
        and (
            (ours.native_id is not None and theirs.native_id == ours.native_id)
            or spelling.same_handle(theirs.handle, ours.handle)
        )
        for theirs in record.handles
        for ours in clue.handles
    )


def _stamp_of(row: dict[str, Any]) -> datetime:
    return instant_of(row, STAMP)
