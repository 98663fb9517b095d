"""Reads asked together: the same rows as one by one, and the same errors."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlmodel import col

from middleware.store.database import Database
from middleware.store.tables import PersonRow
from middleware.store.together import Asked, for_each_database, together

T0 = datetime(2026, 7, 1, 12, tzinfo=UTC)
AMONG = for_each_database(
    lambda among: (
        sa.select(*sa.inspect(PersonRow).columns)
        .where(among(col(PersonRow.id)))
        .order_by(col(PersonRow.id))
    )
)
NAMED = sa.select(*sa.inspect(PersonRow).columns).where(
    col(PersonRow.display_name) == sa.bindparam("name"), col(PersonRow.redirect_to).is_(None)
)


@pytest.fixture
def people(database: Database) -> Database:
    with database.begin() as uow:
        for number in range(4):
            uow.session.add(PersonRow(id=f"per_{number}", display_name=f"N{number}", created_at=T0))
    return database


def test_rows_come_per_statement_in_the_order_asked(people: Database) -> None:
    dialect = people.engine.dialect.name
    with people.read() as uow:
        some, one, none = together(
            uow.session.connection(),
            [
                Asked(AMONG[dialect], {"ids": ["per_3", "per_1"]}),
                Asked(NAMED, {"name": "N2"}),
                Asked(AMONG[dialect], {"ids": []}),
            ],
        )
    assert [row.id for row in some] == ["per_1", "per_3"]
    assert [row.id for row in one] == ["per_2"]
    assert none == []
    assert some[0].created_at == T0
    assert some[0].created_at.utcoffset() == T0.utcoffset()


def test_they_see_what_their_transaction_wrote(people: Database) -> None:
    with people.begin() as uow:
        uow.session.add(PersonRow(id="per_new", display_name="New", created_at=T0))
        uow.session.flush()
        (found,) = together(uow.session.connection(), [Asked(NAMED, {"name": "New"})])
    assert [row.id for row in found] == ["per_new"]


def test_a_wrong_statement_is_a_database_error(people: Database) -> None:
    wrong = sa.select(sa.column("nothing")).select_from(sa.table("nowhere"))
    with people.read() as uow:
        with pytest.raises(sa.exc.DBAPIError) as caught:
            together(uow.session.connection(), [Asked(NAMED, {"name": "N1"}), Asked(wrong, {})])
        assert not caught.value.connection_invalidated
    with people.read() as uow:  # the connection is of use again
        assert together(uow.session.connection(), [Asked(NAMED, {"name": "N1"})])[0]


def test_a_lost_database_is_told_as_such(people: Database) -> None:
    if people.sqlite:
        return  # a file is not lost
    with people.read() as uow:
        connection = uow.session.connection()
        pid = connection.execute(sa.text("select pg_backend_pid()")).scalar_one()
        with people.engine.connect() as other:
            other.execute(sa.text("select pg_terminate_backend(:pid)"), {"pid": pid})
        with pytest.raises(sa.exc.DBAPIError) as caught:
            together(connection, [Asked(NAMED, {"name": "N1"})])
        assert caught.value.connection_invalidated
    with people.read() as uow:
        assert together(uow.session.connection(), [Asked(NAMED, {"name": "N1"})])[0]
