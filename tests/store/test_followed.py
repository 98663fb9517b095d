"""Notes of changed customers: of whom, for whom, and that none falls between two transactions."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from middleware.contract.canonical import Contact, Kind, Order, OrderStatus, Ref
from middleware.store.database import Database

T0 = datetime(2026, 11, 1, tzinfo=UTC)


def contact(id_: str, name: str = "Kim") -> Contact:
    return Contact(ref=Ref(connection="crm", kind=Kind.CONTACT, id=id_), display_name=name)


def order(id_: str) -> Order:
    ref = Ref(connection="crm", kind=Kind.ORDER, id=id_)
    return Order(ref=ref, number=id_, status=OrderStatus.SHIPPED)


def store(database: Database, *records: Contact | Order, at: datetime = T0) -> None:
    with database.begin() as uow:
        uow.records.store([(one, []) for one in records], as_of=at)


def follow(database: Database, token: str, was: str | None = None) -> bool:
    with database.begin() as uow:
        return uow.followed.follow(token, was=was, at=T0)


def noted(database: Database) -> list[str]:
    with database.read() as uow:
        found = uow.followed.changed(limit=100)
    return [] if found is None else [str(ref) for ref in found.refs]


def test_nothing_is_noted_for_nobody(database: Database) -> None:
    store(database, contact("1"))
    assert noted(database) == []
    assert not follow(database, "a")
    assert noted(database) == []


def test_what_is_new_changed_gone_and_back_is_noted_and_what_is_as_it_was_is_not(
    database: Database,
) -> None:
    store(database, contact("1"), contact("2"), contact("3"))
    follow(database, "a")
    store(database, contact("1"), contact("2", "Ida"), contact("4"), order("5"), at=_later(1))
    assert sorted(noted(database)) == ["crm:contact:2", "crm:contact:4"]
    with database.begin() as uow:
        uow.records.delete([contact("3").ref, contact("9").ref], as_of=_later(2))
    assert sorted(noted(database)) == ["crm:contact:2", "crm:contact:3", "crm:contact:4"]
    forget(database, "a")
    store(database, contact("3"), at=_later(3))
    assert noted(database) == ["crm:contact:3"]
    # Twice is one record and two notes.
    store(database, contact("3", "Bo"), at=_later(4))
    assert noted(database) == ["crm:contact:3"]
    with database.read() as uow:
        assert uow.followed.count() == 2


def test_who_takes_over_reads_everything_and_who_was_there_forgets_nothing(
    database: Database,
) -> None:
    follow(database, "a")
    store(database, contact("1"))
    assert follow(database, "b", was="a")
    assert noted(database) == ["crm:contact:1"]
    assert not follow(database, "c", was="a")
    assert noted(database) == []
    store(database, contact("2"))
    assert not forget(database, "b")
    assert noted(database) == ["crm:contact:2"]
    assert forget(database, "c")
    assert noted(database) == []


def test_what_is_noted_meanwhile_is_not_forgotten(database: Database) -> None:
    follow(database, "a")
    store(database, *(contact(str(n)) for n in range(1200)))
    with database.read() as uow:
        page = uow.followed.changed(limit=1100)
    assert page is not None
    store(database, contact("1", "Ida"), at=_later(1))
    with database.begin() as uow:
        assert uow.followed.forget("a", page.notes)
    assert len(noted(database)) == 100
    assert "crm:contact:1" in {str(ref) for ref in _all(database)}


def test_who_does_not_come_back_is_forgotten(database: Database) -> None:
    follow(database, "a")
    store(database, contact("1"))
    with database.begin() as uow:
        assert not uow.followed.unfollow(unless_since=T0)
    with database.begin() as uow:
        assert uow.followed.unfollow(unless_since=_later(1))
        assert not uow.followed.unfollow(unless_since=_later(1))
    assert noted(database) == []
    assert not follow(database, "b", was="a")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_who_begins_to_follow_waits_for_what_found_nobody(database: Database) -> None:
    """A record that was written before anybody followed is there to be read, or is noted."""
    began, seen = threading.Event(), []

    def begin() -> None:
        began.set()
        follow(database, "a")
        with database.read() as uow:
            seen.append(uow.records.get(contact("1").ref))

    thread = threading.Thread(target=begin)
    with database.begin() as uow:
        uow.records.store([(contact("1"), [])], as_of=T0)
        thread.start()
        assert began.wait(10)
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(10)
    assert seen[0] is not None
    assert noted(database) == []


def forget(database: Database, token: str) -> bool:
    with database.begin() as uow:
        page = uow.followed.changed(limit=100)
        assert page is not None
        return uow.followed.forget(token, page.notes)


def _all(database: Database) -> list[Ref]:
    with database.read() as uow:
        page = uow.followed.changed(limit=5000)
    assert page is not None
    return list(page.refs)


def _later(minutes: int) -> datetime:
    return T0 + timedelta(minutes=minutes)
