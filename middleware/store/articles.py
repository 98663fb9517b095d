"""The articles of all connections, as products and lines of orders have named them.

Found by their numbers and by the first words of their names, each an entry in one index: what a
look-up costs goes by the length of the text, whatever the size of the catalogue.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col

from middleware.contract.canonical import Order, Product, Record
from middleware.domain.articles import keys_in, keys_of
from middleware.store import bulk
from middleware.store.tables import ArticleKeyRow, ArticleRow
from middleware.store.together import for_each_database

MOST_BEARERS = 4
"""Articles that an entry has at most; one that has as many tells none of them apart."""
MOST_FOUND = 50
MOST_REMEMBERED = 50_000

_Article = tuple[str, str, str]
"""Connection, SKU, name."""

_HELD = for_each_database(
    lambda among: sa.select(
        col(ArticleRow.connection), col(ArticleRow.sku), col(ArticleRow.name)
    ).where(col(ArticleRow.connection) == sa.bindparam("connection"), among(col(ArticleRow.sku)))
)
_BORNE = for_each_database(
    lambda among: sa.select(
        col(ArticleKeyRow.key), col(ArticleKeyRow.connection), col(ArticleKeyRow.sku)
    ).where(among(col(ArticleKeyRow.key)))
)
_remembered: WeakKeyDictionary[Any, set[_Article]] = WeakKeyDictionary()
"""By engine, articles that were seen in committed rows: most lines name one of these."""


class Articles:
    def __init__(self, session: Session) -> None:
        self._session = session

    def learn(self, records: Iterable[Record]) -> None:
        """Keep the articles that products and orders name; known ones cost a look-up in memory.

        An article that is named anew is found by its former names as well.
        """
        known = _remembered.setdefault(self._session.get_bind(), set())
        named: dict[tuple[str, str], str] = {}
        for found in _named(records):
            if found in known:
                continue
            one = _article(found)
            if one not in known and (one[2] or one[:2] not in named):
                named[one[:2]] = one[2]
        if not named:
            return
        held = self._held(named)
        fresh = {
            key: name
            for key, name in named.items()
            if key not in held or name not in ("", held[key])
        }
        sa.event.listen(
            self._session, "after_commit", lambda _: _remember(known, named.items()), once=True
        )
        if not fresh:
            return
        rows = sorted((connection, sku, name) for (connection, sku), name in fresh.items())
        bulk.write(self._session, ArticleRow, ("connection", "sku", "name"), rows, key=ARTICLE_KEY)
        wanted = sorted({(k, c, sku) for c, sku, name in rows for k in keys_of(sku, name)})
        borne: dict[str, set[tuple[str, str]]] = {}
        for row in self._borne(sorted({key for key, _, _ in wanted})):
            borne.setdefault(row.key, set()).add((row.connection, row.sku))
        new = []
        for key, connection, sku in wanted:
            bearers = borne.setdefault(key, set())
            if (connection, sku) not in bearers and len(bearers) < MOST_BEARERS:
                bearers.add((connection, sku))
                new.append({"key": key, "connection": connection, "sku": sku})
        if new:
            self._session.connection().execute(self._unless_there(), new)

    def named_in(self, text: str) -> dict[str, str]:
        """Articles whose number or name a text may hold: name by SKU, at most fifty."""
        keys = keys_in(text)
        if not keys:
            return {}
        bearers: dict[str, set[tuple[str, str]]] = {}
        for row in self._borne(keys):
            bearers.setdefault(row.key, set()).add((row.connection, row.sku))
        # The longest names say the most.
        telling = sorted(
            (key for key, found in bearers.items() if len(found) < MOST_BEARERS),
            key=lambda key: (key[0] != "s", -len(key), key),
        )
        chosen = list(dict.fromkeys(one for key in telling for one in sorted(bearers[key])))
        names = self._held(chosen[:MOST_FOUND])
        return {sku: name or sku for (_, sku), name in names.items()}

    @property
    def _dialect(self) -> str:
        return self._session.get_bind().dialect.name

    def _held(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        by_connection: dict[str, list[str]] = {}
        for connection, sku in keys:
            by_connection.setdefault(connection, []).append(sku)
        found: dict[tuple[str, str], str] = {}
        for connection, skus in by_connection.items():
            asked = {"connection": connection, "ids": skus}
            for row in self._session.connection().execute(_HELD[self._dialect], asked):
                found[row.connection, row.sku] = row.name
        return found

    def _borne(self, keys: Sequence[str]) -> Sequence[Any]:
        return self._session.connection().execute(_BORNE[self._dialect], {"ids": list(keys)}).all()

    def _unless_there(self) -> Any:
        """Somebody else may write the same entry at the same time."""
        insert = postgresql.insert if self._dialect == "postgresql" else sqlite.insert
        return insert(ArticleKeyRow).on_conflict_do_nothing()


ARTICLE_KEY = ("connection", "sku")
LONGEST = 200
"""Characters of a number or a name that are kept."""


def _remember(known: set[_Article], articles: Collection[tuple[tuple[str, str], str]]) -> None:
    if len(known) + len(articles) > MOST_REMEMBERED:
        known.clear()
    known.update((connection, sku, name) for (connection, sku), name in articles)


def _named(records: Iterable[Record]) -> Iterable[tuple[str, str, str | None]]:
    for record in records:
        match record:
            case Order():
                connection = record.ref.connection
                for line in record.lines:
                    if sku := line.sku:
                        yield connection, sku, line.name
            case Product():
                yield record.ref.connection, record.sku, record.name


def _article(named: tuple[str, str, str | None]) -> _Article:
    connection, sku, name = named
    return connection, sku[:LONGEST], (name or "")[:LONGEST]
