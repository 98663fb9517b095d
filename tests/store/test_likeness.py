"""The index of likenesses: kept with the records, found by keys, counted by words."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from middleware.contract.canonical import Contact, Kind, Ref
from middleware.domain.likeness import Looked
from middleware.resolution.profiles import found_by, key, pair_key, word_key
from middleware.store import likeness
from middleware.store.database import Database
from middleware.store.likeness import MOST_BEARERS, foremost

T0 = datetime(2026, 11, 22, 9, tzinfo=UTC)


def contact(id_: str, name: str) -> Contact:
    return Contact(ref=Ref(connection="crm", kind=Kind.CONTACT, id=id_), display_name=name)


def store(database: Database, *contacts: Contact, at: datetime = T0) -> None:
    with database.begin() as uow:
        uow.records.store([(c, found_by(c)) for c in contacts], as_of=at)


def look(database: Database, one: str, other: str, *, cap: int = 10) -> Looked:
    with database.read() as uow:
        words = [word_key(one), word_key(other)]
        return uow.likeness.look([(pair_key(one, other), cap)], words)


def ids(looked: Looked) -> set[str]:
    return {bearer.ref.id for bearer in looked.bearers}


def rows(database: Database) -> tuple[int, int, int]:
    with database.read() as uow:
        connection = uow.session.connection()
        count = [
            connection.execute(sa.text(f"select {what} from {table}")).scalar()
            for what, table in (
                ("count(*)", "likeness"),
                ("count(*)", "blocking_key"),
                ("coalesce(sum(n), 0)", "name_count"),
            )
        ]
    return count[0], count[1], count[2]


def test_a_stored_contact_is_found_by_its_keys(database: Database) -> None:
    store(database, contact("1", "Kim Berg"), contact("2", "Ada Berg"), contact("3", "Kim Lo"))
    looked = look(database, "kim", "berg")
    (bearer,) = looked.bearers
    assert bearer.ref.id == "1"
    assert looked.counts == {pair_key("kim", "berg"): 1}
    assert looked.names == {word_key("kim"): 2, word_key("berg"): 2}
    assert looked.population >= 3


def test_a_changed_name_leaves_nothing_behind(database: Database) -> None:
    store(database, contact("1", "Kim Berg"))
    before = rows(database)
    store(database, contact("1", "Ada Lo"), at=T0 + timedelta(hours=1))
    assert ids(look(database, "kim", "berg")) == set()
    assert ids(look(database, "ada", "lo")) == {"1"}
    assert look(database, "kim", "berg").names.get(word_key("kim"), 0) == 0
    store(database, contact("1", "Kim Berg"), at=T0 + timedelta(hours=2))
    assert rows(database) == before


def test_an_unchanged_record_writes_nothing_anew(database: Database) -> None:
    store(database, contact("1", "Kim Berg"))
    before = rows(database)
    store(database, contact("1", "Kim Berg"), at=T0 + timedelta(hours=1))
    assert rows(database) == before


def test_a_deleted_record_is_found_no_more_and_counted_no_more(database: Database) -> None:
    one, other = contact("1", "Kim Berg"), contact("2", "Kim Berg")
    store(database, one, other)
    with database.begin() as uow:
        uow.records.delete([one.ref], as_of=T0)
    assert ids(look(database, "kim", "berg")) == {"2"}
    assert look(database, "kim", "berg").names[word_key("kim")] == 1
    store(database, one, at=T0 + timedelta(hours=1))
    assert ids(look(database, "kim", "berg")) == {"1", "2"}


def test_a_contact_without_a_name_is_in_no_index(database: Database) -> None:
    store(database, contact("1", "Kim Berg"))
    store(database, contact("1", "🌻"), at=T0 + timedelta(hours=1))
    assert rows(database)[:2] == (0, 0)
    assert rows(database)[2] == 0


def test_a_key_that_too_many_bear_finds_nobody_and_says_so(database: Database) -> None:
    store(database, *(contact(str(n), "Kim Berg") for n in range(12)))
    looked = look(database, "kim", "berg", cap=10)
    assert looked.bearers == ()
    assert looked.counts == {pair_key("kim", "berg"): 11}
    assert look(database, "kim", "berg", cap=12).counts == {pair_key("kim", "berg"): 12}


def test_the_telling_keys_come_first_when_there_are_too_many(database: Database) -> None:
    many = [contact(str(n), f"Kim {chr(97 + n // 26)}{chr(97 + n % 26)}berg") for n in range(200)]
    store(database, *many)
    wanted = [(pair_key("kim", "hrberg"), 10)]
    wanted += [(key("spelled", f"kim{letter}"), 60) for letter in "abc"]
    with database.read() as uow:
        looked = uow.likeness.look(wanted)
    assert len(looked.bearers) == MOST_BEARERS
    assert "199" in ids(looked)


def test_a_rolled_back_page_counts_nothing(database: Database) -> None:
    class Halt(Exception):
        pass

    try:
        with database.begin() as uow:
            one = contact("1", "Kim Berg")
            uow.records.store([(one, found_by(one))], as_of=T0)
            raise Halt
    except Halt:
        pass
    assert rows(database) == (0, 0, 0)


def test_pages_of_one_transaction_are_counted_once_each(database: Database) -> None:
    with database.begin() as uow:
        for one in (contact("1", "Kim Berg"), contact("2", "Kim Lo")):
            uow.records.store([(one, found_by(one))], as_of=T0)
    assert look(database, "kim", "berg").names[word_key("kim")] == 2


def test_asking_for_nothing_finds_nobody(database: Database) -> None:
    with database.read() as uow:
        assert uow.likeness.look([]) == Looked(population=0)


bearers_by_key = st.lists(
    st.sets(st.integers(1, 40), min_size=1, max_size=30), min_size=1, max_size=6
)


@given(bearers_by_key)
def test_those_compared_are_the_first_of_all_in_order(bearers: list[set[int]]) -> None:
    by_key = {key: sorted(nids) for key, nids in enumerate(bearers)}

    def rank(nid: int) -> tuple[int, int, int, int]:
        keys = [key for key, nids in by_key.items() if nid in nids]
        return -len(keys), min(len(by_key[key]) for key in keys), keys[0], -nid

    expected = sorted({nid for nids in bearers for nid in nids}, key=rank)[:MOST_BEARERS]
    chosen = foremost(by_key)
    assert sorted(chosen) == sorted(expected)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "loses",
    [
        "deallocate all",
        "select pg_terminate_backend(pg_backend_pid())",
    ],
)
def test_a_look_whose_connection_or_statement_was_lost_goes_another_way(
    database: Database, loses: str
) -> None:
    """As when PostgreSQL was started anew, or something between us gave the line to another."""
    store(database, contact("1", "Kim Berg"))
    wanted, words = [(pair_key("kim", "berg"), 10)], [word_key("kim")]
    before = database.look(wanted, words)
    assert ids(before) == {"1"}
    held = database._quick.raw_connection()
    with suppress(psycopg.OperationalError):
        held.driver_connection.execute(loses)  # type: ignore[union-attr]
    driver = held.driver_connection
    held.close()
    assert database.look(wanted, words) == before
    # The one that failed is gone, and the next is as quick as ever.
    assert database.look(wanted, words) == before
    held = database._quick.raw_connection()
    assert held.driver_connection is not driver
    held.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_libpq_refuses_is_raised_as_psycopg_would(database: Database) -> None:
    held = database._quick.raw_connection()
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        likeness._past_the_cursor(held.driver_connection, ["{x}", "{1}", "{1}"])
    held.close()
