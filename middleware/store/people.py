"""Identities with their dated handles, persons, and the links between all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from middleware.contract.canonical import Kind, Ref
from middleware.domain.identity import Basis
from middleware.domain.ids import new_id
from middleware.domain.likeness import Identifier
from middleware.store.tables import (
    HandleRow,
    IdentityIdentifierRow,
    IdentityRow,
    LinkRow,
    PersonRow,
)
from middleware.store.together import Asked, for_each_database, moment_of, plainly

# Made once: every context and arrival asks them, and building a statement takes longer than
# answering it.
_OF_PERSON = (
    select(LinkRow)
    .where(LinkRow.person_id == sa.bindparam("person_id"), col(LinkRow.valid_to).is_(None))
    .order_by(col(LinkRow.id))
)
_PERSON_OF = for_each_database(
    lambda among: (
        sa.select(col(LinkRow.record_id), col(LinkRow.person_id))
        .where(
            col(LinkRow.connection) == sa.bindparam("connection"),
            col(LinkRow.kind) == sa.bindparam("kind"),
            among(col(LinkRow.record_id)),
            col(LinkRow.valid_to).is_(None),
        )
        .order_by(col(LinkRow.id))
    )
)
_SEEN = sa.select(col(IdentityRow.id)).where(
    col(IdentityRow.network) == sa.bindparam("network"),
    col(IdentityRow.native_id) == sa.bindparam("native_id"),
)
_BORNE_BY_ANOTHER = (
    sa.select(col(HandleRow.id))
    .join(IdentityRow, col(IdentityRow.id) == col(HandleRow.identity_id))
    .where(
        col(HandleRow.network) == sa.bindparam("network"),
        col(HandleRow.handle) == sa.bindparam("handle"),
        col(IdentityRow.native_id) != sa.bindparam("native_id"),
    )
    .limit(sa.literal_column("1"))
)
MOST_BEFORE = 20
"""Accounts that what somebody writes with may lead to; what leads to more is nobody's."""

_LINKED = (
    col(LinkRow.identity_id) == col(IdentityRow.id),
    col(LinkRow.valid_to).is_(None),
    col(LinkRow.basis) != Basis.PROVISIONAL.value,
)
_SOMEBODYS = (
    col(IdentityRow.network),
    col(LinkRow.person_id),
    col(LinkRow.basis),
    col(IdentityRow.last_seen_at),
)
_WROTE_BEFORE = for_each_database(
    lambda among: (
        sa.select(col(IdentityIdentifierRow.scheme), col(IdentityIdentifierRow.value), *_SOMEBODYS)
        .join(IdentityRow, col(IdentityRow.id) == col(IdentityIdentifierRow.identity_id))
        .join(LinkRow, sa.and_(*_LINKED))
        .where(
            among(col(IdentityIdentifierRow.value)),
            sa.or_(
                col(IdentityRow.network) != sa.bindparam("network"),
                col(IdentityRow.native_id) != sa.bindparam("native_id"),
            ),
        )
        .order_by(col(LinkRow.id))
        .limit(sa.literal_column(str(MOST_BEFORE + 1)))
    )
)
_CALLED_SO: Any = (
    sa.select(sa.literal_column("'handle'"), col(HandleRow.handle), *_SOMEBODYS)
    .join(IdentityRow, col(IdentityRow.id) == col(HandleRow.identity_id))
    .join(LinkRow, sa.and_(*_LINKED))
    .where(
        col(HandleRow.handle) == sa.bindparam("handle"),
        col(HandleRow.network) != sa.bindparam("network"),
        col(HandleRow.valid_to).is_(None),
    )
    .order_by(col(LinkRow.id))
    .limit(sa.literal_column(str(MOST_BEFORE + 1)))
)
_BEARS = {
    "postgresql": postgresql.insert(IdentityIdentifierRow).on_conflict_do_nothing(),
    "sqlite": sqlite.insert(IdentityIdentifierRow).on_conflict_do_nothing(),
}


class WroteBefore(NamedTuple):
    """An account that is somebody's, and what it has in common with another one."""

    scheme: str
    """email, phone, or handle for the same handle on another network."""
    value: str
    network: str
    person_id: str
    basis: str
    """Of the link that says whose account it is."""
    seen_at: datetime


class People:
    def __init__(self, session: Session) -> None:
        self._session = session

    def identity(self, network: str, native_id: str) -> IdentityRow | None:
        query = select(IdentityRow).where(
            IdentityRow.network == network, IdentityRow.native_id == native_id
        )
        return self._session.exec(query.with_for_update()).one_or_none()

    def seen(
        self, network: str, native_id: str, handle: str | None = None
    ) -> tuple[str | None, bool]:
        """The id of an identity, where it was seen before; and whether an account with another id
        bears the handle, or once did."""
        asked = [Asked(_SEEN, {"network": network, "native_id": native_id})]
        if handle is not None:
            named = {"network": network, "handle": handle, "native_id": native_id}
            asked.append(Asked(_BORNE_BY_ANOTHER, named))
        (found, *others) = plainly(self._session.connection(), asked)
        return (found[0][0] if found else None), any(others)

    def bears(self, identity_id: str, identifiers: Iterable[Identifier]) -> None:
        """Note what the source gave with an identity; what is known of it already stays."""
        rows = [
            {"identity_id": identity_id, "scheme": scheme, "value": value}
            for scheme, value in sorted(set(identifiers))
        ]
        if rows:
            connection = self._session.connection()
            connection.execute(_BEARS[connection.dialect.name], rows)

    def sharing(self, identity_id: str) -> list[str]:
        """Other accounts that bear an address or a number of this one."""
        theirs, own = aliased(IdentityIdentifierRow), aliased(IdentityIdentifierRow)
        query = (
            select(theirs.identity_id)
            .join(own, sa.and_(col(own.value) == theirs.value, col(own.scheme) == theirs.scheme))
            .where(own.identity_id == identity_id, theirs.identity_id != identity_id)
            .order_by(theirs.identity_id)
            .distinct()
            .limit(MOST_BEFORE)
        )
        return list(self._session.exec(query))

    def wrote_before(
        self,
        network: str,
        native_id: str | None,
        handle: str | None,
        identifiers: Collection[Identifier],
    ) -> list[WroteBefore]:
        """Other accounts that are linked to somebody, not provisionally, and bear one of these
        identifiers, or the handle on another network; none where there are too many."""
        connection = self._session.connection()
        asked = []
        if identifiers:
            own = {"network": network, "native_id": native_id or ""}
            values = [value for _, value in identifiers]
            asked.append(Asked(_WROTE_BEFORE[connection.dialect.name], {**own, "ids": values}))
        if handle is not None:
            asked.append(Asked(_CALLED_SO, {"network": network, "handle": handle}))
        wanted = {*identifiers, ("handle", handle)}
        return [
            WroteBefore(scheme, value, network_, person_id, basis, moment_of(seen_at))
            for rows in (plainly(connection, asked) if asked else ())
            if len(rows) <= MOST_BEFORE
            for scheme, value, network_, person_id, basis, seen_at in rows
            if (scheme, value) in wanted
        ]

    def identity_by_id(self, identity_id: str, *, lock: bool = False) -> IdentityRow | None:
        return self._session.get(IdentityRow, identity_id, with_for_update=lock or None)

    def see(
        self,
        *,
        network: str,
        native_id: str,
        handle: str | None,
        display_name: str | None,
        at: datetime,
    ) -> IdentityRow:
        """Note that an identity was seen, under which handle and name, as of `at`.

        A changed handle or name ends the old one's validity and begins the new one's; a sighting
        older than what is known changes nothing.
        """
        row = self.identity(network, native_id)
        if row is None:
            row = IdentityRow(
                id=new_id("idn"),
                network=network,
                native_id=native_id,
                first_seen_at=at,
                last_seen_at=at,
            )
            self._session.add(row)
            self._session.flush()
        row.last_seen_at = max(row.last_seen_at, at)
        if handle:
            current = self.current_handle(row.id)
            if current is None or (
                (current.handle, current.display_name) != (handle, display_name)
                and at >= current.valid_from
            ):
                if current is not None:
                    current.valid_to = at
                self._end_of_others(network, handle, row.id, at)
                self._session.add(
                    HandleRow(
                        id=new_id("hdl"),
                        identity_id=row.id,
                        network=network,
                        handle=handle,
                        display_name=display_name,
                        valid_from=at,
                    )
                )
                self._session.flush()
        return row

    def current_handle(self, identity_id: str) -> HandleRow | None:
        query = select(HandleRow).where(
            HandleRow.identity_id == identity_id, col(HandleRow.valid_to).is_(None)
        )
        return self._session.exec(query.order_by(col(HandleRow.valid_from).desc())).first()

    def handles_of(self, identity_id: str) -> list[HandleRow]:
        query = select(HandleRow).where(HandleRow.identity_id == identity_id)
        return list(self._session.exec(query.order_by(col(HandleRow.valid_from))))

    def bearers(self, network: str, handle: str) -> list[IdentityRow]:
        """Identities that bear this handle now."""
        query = (
            select(IdentityRow)
            .join(HandleRow, col(HandleRow.identity_id) == IdentityRow.id)
            .where(
                HandleRow.network == network,
                HandleRow.handle == handle,
                col(HandleRow.valid_to).is_(None),
            )
        )
        return list(self._session.exec(query))

    def _end_of_others(self, network: str, handle: str, identity_id: str, at: datetime) -> None:
        """Two accounts never bear one handle at once: who was seen with it before gave it up."""
        query = select(HandleRow).where(
            HandleRow.network == network,
            HandleRow.handle == handle,
            HandleRow.identity_id != identity_id,
            col(HandleRow.valid_to).is_(None),
            col(HandleRow.valid_from) <= at,
        )
        for other in self._session.exec(query):
            other.valid_to = at

    def add_person(self, *, display_name: str | None, at: datetime) -> PersonRow:
        row = PersonRow(id=new_id("per"), display_name=display_name, created_at=at)
        self._session.add(row)
        self._session.flush()
        return row

    def person(self, person_id: str, *, lock: bool = False) -> PersonRow | None:
        """The person, after following redirects. `lock` holds it: no merge takes it away."""

        def get(wanted: str) -> PersonRow | None:
            return self._session.get(
                PersonRow, wanted, with_for_update=lock or None, populate_existing=lock
            )

        row = get(person_id)
        seen = set()
        while row is not None and row.redirect_to is not None and row.id not in seen:
            seen.add(row.id)
            row = get(row.redirect_to)
        return row

    def persons(self, ids: Collection[str]) -> dict[str, PersonRow]:
        """The people of these ids, each after following redirects; unknown ids are left out."""
        # Held until the end: what the session has loaded it answers without asking again.
        loaded = list(self._session.exec(select(PersonRow).where(col(PersonRow.id).in_(ids))))
        found = {row.id: self.person(row.id) for row in loaded}
        return {id_: row for id_, row in found.items() if row is not None}

    def add_link(self, row: LinkRow) -> LinkRow:
        self._session.add(row)
        self._session.flush()
        return row

    def link(self, link_id: str, *, lock: bool = False) -> LinkRow | None:
        """The link; with `lock` as it is now, and nobody else changes it until we commit."""
        return self._session.get(
            LinkRow, link_id, with_for_update=lock or None, populate_existing=lock
        )

    def held(self, link_ids: Collection[str]) -> dict[str, LinkRow]:
        """Links as they are now, by id; nobody else changes them until we commit."""
        query = select(LinkRow).where(col(LinkRow.id).in_(link_ids)).order_by(col(LinkRow.id))
        rows = self._session.exec(
            query.with_for_update(), execution_options={"populate_existing": True}
        )
        return {row.id: row for row in rows}

    def links_of_person(
        self, person_id: str, *, as_of: datetime | None = None, ended: bool = False
    ) -> list[LinkRow]:
        """A person's links: those valid now, those valid at `as_of`, or with `ended` all."""
        if as_of is None and not ended:
            return list(self._session.exec(_OF_PERSON, params={"person_id": person_id}))
        query = select(LinkRow).where(LinkRow.person_id == person_id)
        return self._links(query, as_of=as_of, ended=ended)

    def links_of_identity(
        self, identity_id: str, *, as_of: datetime | None = None, ended: bool = False
    ) -> list[LinkRow]:
        query = select(LinkRow).where(LinkRow.identity_id == identity_id)
        return self._links(query, as_of=as_of, ended=ended)

    def links_of_records(
        self, refs: Iterable[Ref], *, as_of: datetime | None = None, ended: bool = False
    ) -> list[LinkRow]:
        """Links to any of these records: valid now, valid at `as_of`, or with `ended` all."""
        wanted = [
            sa.and_(
                col(LinkRow.connection) == ref.connection,
                col(LinkRow.kind) == ref.kind.value,
                col(LinkRow.record_id) == ref.id,
            )
            for ref in refs
        ]
        if not wanted:
            return []
        return self._links(select(LinkRow).where(sa.or_(*wanted)), as_of=as_of, ended=ended)

    def persons_of_records(self, refs: Iterable[Ref]) -> dict[Ref, str]:
        """Which person each of these records is linked to now."""
        by_kind: dict[tuple[str, Kind], list[str]] = {}
        for ref in refs:
            by_kind.setdefault((ref.connection, ref.kind), []).append(ref.id)
        if not by_kind:
            return {}
        if self._session.autoflush:
            self._session.flush()
        statement = _PERSON_OF[self._session.get_bind().dialect.name]
        asked = [
            Asked(statement, {"connection": connection, "kind": kind.value, "ids": ids})
            for (connection, kind), ids in by_kind.items()
        ]
        return {
            Ref(connection=connection, kind=kind, id=id_): person
            for (connection, kind), rows in zip(
                by_kind, plainly(self._session.connection(), asked), strict=True
            )
            for id_, person in rows
        }

    def _links(
        self, query: SelectOfScalar[LinkRow], *, as_of: datetime | None, ended: bool
    ) -> list[LinkRow]:
        if as_of is not None:
            query = query.where(
                col(LinkRow.valid_from) <= as_of,
                sa.or_(col(LinkRow.valid_to).is_(None), col(LinkRow.valid_to) > as_of),
            )
        elif not ended:
            query = query.where(col(LinkRow.valid_to).is_(None))
        return list(self._session.exec(query.order_by(col(LinkRow.id))))


def record_of(link: LinkRow) -> Ref | None:
    """The record that a link leads to, if it leads to one."""
    if link.connection is None or link.kind is None or link.record_id is None:
        return None
    return Ref(connection=link.connection, kind=Kind(link.kind), id=link.record_id)
