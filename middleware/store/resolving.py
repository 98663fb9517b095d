"""What a run of resolution reads of the hub's tables, and holds while it changes links."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import col

from middleware.contract.canonical import Kind, Ref
from middleware.store import bulk
from middleware.store.database import UnitOfWork
from middleware.store.records import KEY_COLUMNS, key_of, one_of
from middleware.store.tables import LinkRow, PersonRow, RecordRow

LINK_KEY = (col(LinkRow.connection), col(LinkRow.kind), col(LinkRow.record_id))
AT_ONCE = 2_000
"""Links that are read at once, and keys that one statement names."""


@dataclass(frozen=True)
class RecordLink:
    """A valid link between a person, after following a merge, and a record."""

    id: str
    person_id: str
    ref: Ref
    decided_by: str


@dataclass(frozen=True)
class Contents:
    """A page of live records of one kind of a connection."""

    count: int
    last: str
    ids: str
    """A JSON array; `hashes`, of what each says, is one in the same order."""
    hashes: str


def contents(
    uow: UnitOfWork, connection: str, kind: Kind, *, after: str, limit: int
) -> Contents | None:
    """The live records of a kind whose ids come after one, and the hashes of what they say.

    The database puts them together: a run looks at every record, and at most of them only so far.
    """
    page = (
        sa.select(col(RecordRow.id), col(RecordRow.content_hash))
        .where(
            col(RecordRow.connection) == connection,
            col(RecordRow.kind) == kind.value,
            col(RecordRow.id) > after,
            col(RecordRow.deleted_at).is_(None),
        )
        .order_by(col(RecordRow.id))
        .limit(limit)
        .subquery()
    )
    in_json = sa.func.json_agg if _dialect(uow) == "postgresql" else sa.func.json_group_array
    arrays = [sa.cast(in_json(column), sa.Text) for column in (page.c.id, page.c.content_hash)]
    query = sa.select(sa.func.count(), sa.func.max(page.c.id), *arrays)
    found = Contents(*uow.session.connection().execute(query).one())
    return found if found.count else None


def contents_of(uow: UnitOfWork, refs: Iterable[Ref]) -> dict[str, str]:
    """The hashes of what those of these records say that are live, by reference."""
    columns = ("content_hash", "deleted_at")
    found = bulk.known(uow.session, RecordRow, columns, map(key_of, refs))
    return {":".join(key): content for key, (content, deleted) in found.items() if deleted is None}


def links_of(uow: UnitOfWork, refs: Iterable[Ref]) -> list[RecordLink]:
    """The valid links of these records, oldest first."""
    keys = [key_of(ref) for ref in refs]
    parts = (keys[start : start + AT_ONCE] for start in range(0, len(keys), AT_ONCE))
    found = [link for part in parts for link in _links(uow, one_of(LINK_KEY, part, _dialect(uow)))]
    return sorted(found, key=lambda link: link.id)


def links_of_persons(uow: UnitOfWork, persons: Iterable[str]) -> list[RecordLink]:
    """The valid links that these persons, and those merged into them, have to records."""
    wanted, found = list(persons), []
    for start in range(0, len(wanted), AT_ONCE):
        part = wanted[start : start + AT_ONCE]
        merged = sa.select(col(PersonRow.id)).where(col(PersonRow.redirect_to).in_(part))
        of_them = sa.or_(col(LinkRow.person_id).in_(part), col(LinkRow.person_id).in_(merged))
        found += _links(uow, of_them)
    return found


def held_by_others(uow: UnitOfWork, *, run: str) -> Iterator[tuple[Ref, str]]:
    """Records of persons on whom something else than a run's own links (`run`) hangs."""
    query = (
        sa.select(col(LinkRow.person_id))
        .where(col(LinkRow.valid_to).is_(None), col(LinkRow.decided_by) != run)
        .distinct()
    )
    persons = list(uow.session.connection().execute(query).scalars())
    for start in range(0, len(persons), AT_ONCE):
        found = _links(uow, col(LinkRow.person_id).in_(persons[start : start + AT_ONCE]))
        yield from ((link.ref, link.person_id) for link in found)


def hold(uow: UnitOfWork, refs: Iterable[Ref]) -> set[Ref]:
    """Hold these records until the transaction ends; answers those that are live."""
    query = (
        sa.select(*KEY_COLUMNS)
        .where(
            one_of(KEY_COLUMNS, [key_of(r) for r in refs], _dialect(uow)),
            col(RecordRow.deleted_at).is_(None),
        )
        .order_by(*KEY_COLUMNS)
        .with_for_update()
    )
    return {_ref(row) for row in uow.session.connection().execute(query)}


def hold_persons(uow: UnitOfWork, person_ids: Iterable[str]) -> set[str]:
    """Keep these people from being merged until the transaction ends; answers those that are
    themselves, and not merged."""
    query = (
        sa.select(col(PersonRow.id))
        .where(col(PersonRow.id).in_(list(person_ids)), col(PersonRow.redirect_to).is_(None))
        .order_by(col(PersonRow.id))
        .with_for_update(read=True)
    )
    return set(uow.session.connection().execute(query).scalars())


@dataclass(frozen=True, slots=True)
class NewPerson:
    """A person as `add` writes one."""

    id: str
    display_name: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link of a record to a person as `add` writes one."""

    id: str
    person_id: str
    ref: Ref
    basis: str
    confidence: float
    evidence: list[dict[str, Any]]
    decided_by: str
    valid_from: datetime


def add(uow: UnitOfWork, persons: Sequence[NewPerson], links: Sequence[NewLink]) -> None:
    """Write new persons, and links to persons, in bulk."""
    named = [(one.id, one.display_name, one.created_at) for one in persons]
    bulk.write(uow.session, PersonRow, _PERSON, named)
    rows = [
        (
            one.id,
            one.person_id,
            *key_of(one.ref),
            one.basis,
            one.confidence,
            json.dumps(one.evidence),
            one.decided_by,
            one.valid_from,
            1,
        )
        for one in links
    ]
    bulk.write(uow.session, LinkRow, _LINK, rows)


_PERSON = ("id", "display_name", "created_at")
_LINK = (
    "id", "person_id", "connection", "kind", "record_id", "basis", "confidence", "evidence",
    "decided_by", "valid_from", "version",
)  # fmt: skip


def counted(uow: UnitOfWork, *, run: str) -> int:
    """How many valid links runs have made."""
    query = sa.select(sa.func.count()).where(
        col(LinkRow.decided_by) == run, col(LinkRow.valid_to).is_(None)
    )
    return int(uow.session.connection().execute(query).scalar_one())


def unlinked(uow: UnitOfWork, person_id: str) -> bool:
    """Whether no valid link leads to a person."""
    query = sa.select(col(LinkRow.id)).where(
        col(LinkRow.person_id) == person_id, col(LinkRow.valid_to).is_(None)
    )
    # As this transaction leaves it: what it has ended is written first.
    return uow.session.execute(query.limit(1)).first() is None


def _dialect(uow: UnitOfWork) -> str:
    return uow.session.get_bind().dialect.name


def _links(uow: UnitOfWork, condition: sa.ColumnElement[bool]) -> list[RecordLink]:
    query: Any = (
        sa.select(
            col(LinkRow.id).label("link"),
            sa.func.coalesce(col(PersonRow.redirect_to), col(PersonRow.id)).label("person"),
            col(LinkRow.connection),
            col(LinkRow.kind),
            col(LinkRow.record_id).label("id"),
            col(LinkRow.decided_by),
        )
        .join(PersonRow, col(PersonRow.id) == col(LinkRow.person_id))
        .where(col(LinkRow.valid_to).is_(None), col(LinkRow.record_id).is_not(None), condition)
        .order_by(col(LinkRow.id))
    )
    return [
        RecordLink(row.link, row.person, _ref(row), row.decided_by)
        for row in uow.session.connection().execute(query)
    ]


def _ref(row: Any) -> Ref:
    return Ref.model_construct(connection=row.connection, kind=Kind(row.kind), id=row.id)
