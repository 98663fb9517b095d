"""The index against its own rows: what it answers, and that it follows the records."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import sqlalchemy as sa

from middleware.contract.canonical import Contact, Ref
from middleware.domain.likeness import Bearer, Looked
from middleware.resolution.profiles import Asking, asking, found_by, likeness_of, word_key
from middleware.store.database import Database
from middleware.store.likeness import MOST_BEARERS
from tests.bench import crowd

T0 = datetime(2026, 11, 22, 9, tzinfo=UTC)
PEOPLE = crowd.invented(700, seed=5)
CONTACTS = list(crowd.contacts(PEOPLE, 1500, seed=1))


@pytest.fixture
def filled(database: Database) -> Database:
    store(database, CONTACTS, at=T0)
    return database


def store(database: Database, contacts: list[Contact], *, at: datetime) -> None:
    with database.begin() as uow:
        uow.records.store([(one, found_by(one)) for one in contacts], as_of=at)


def askers() -> list[Asking]:
    """People of the crowd as they write, by name and handle and by either, and strangers."""
    found = []
    for one in crowd.askers(PEOPLE, network="twitter", seed=2):
        author = one.author
        found.append(asking(author))
        found.append(asking(author.model_copy(update={"display_name": None})))
        found.append(asking(author.model_copy(update={"handle": None, "location": None})))
        name = (author.display_name or "x").split()
        slip = " ".join([*name[:-1], name[-1][:-1] or "x"])
        found.append(asking(author.model_copy(update={"display_name": slip, "handle": "zz99"})))
    return found


class ByHand:
    """What the answers must be, without an index; contacts in the order of their numbers."""

    def __init__(self, contacts: list[Contact]) -> None:
        self.contacts = contacts
        self.profiles: dict[Ref, str] = {}
        self._bearing: dict[int, list[int]] = {}
        self._words: Counter[int] = Counter()
        for n, one in enumerate(contacts):
            likeness = likeness_of(one)
            if likeness is None:
                continue
            self.profiles[one.ref] = likeness.profile
            for key in likeness.keys:
                self._bearing.setdefault(key, []).append(n)
            self._words.update(likeness.names)

    def look(self, asked: Asking) -> Looked:
        caps = dict(asked.wanted)
        counts = {
            key: min(len(self._bearing[key]), cap + 1)
            for key, cap in asked.wanted
            if key in self._bearing
        }
        borne: dict[int, list[int]] = {}
        for key, count in counts.items():
            for n in self._bearing[key] if count <= caps[key] else ():
                borne.setdefault(n, []).append(key)
        order = [*counts]
        best = sorted(
            borne,
            key=lambda n: (
                -len(borne[n]),
                min(counts[key] for key in borne[n]),
                order.index(borne[n][0]),
                -n,
            ),
        )
        refs = [self.contacts[n].ref for n in best[:MOST_BEARERS]]
        return Looked(
            population=len(self.contacts),
            bearers=tuple(
                Bearer(ref.connection, ref.kind.value, ref.id, self.profiles[ref]) for ref in refs
            ),
            counts=counts,
            names={word: self._words[word] for word in asked.words if self._words[word]},
        )


class TestAnswers:
    def test_are_those_that_the_rows_give_by_hand(self, filled: Database) -> None:
        """More than a thousand arrivals; some of them within a transaction, too."""
        every, by_hand = askers(), ByHand(CONTACTS)
        assert len(every) > 1000
        crowded = over = 0
        for place, asked in enumerate(every):
            looked, expected = filled.look(asked.wanted, asked.words), by_hand.look(asked)
            assert set(looked.bearers) == set(expected.bearers)
            assert (looked.counts, looked.names) == (expected.counts, expected.names)
            assert looked.population >= expected.population
            if place % 10 == 0:
                with filled.read() as uow:
                    again = uow.likeness.look(asked.wanted, asked.words)
                assert set(again.bearers) == set(looked.bearers)
                assert (again.counts, again.names) == (looked.counts, looked.names)
            crowded += len(looked.bearers) == MOST_BEARERS
            over += any(n > dict(asked.wanted)[k] for k, n in looked.counts.items())
        assert crowded, "somebody has more namesakes than are compared"
        assert over, "some key is borne by too many"

    def test_see_what_their_own_transaction_wrote(self, filled: Database) -> None:
        one = CONTACTS[0].model_copy(update={"display_name": "Quillon Featherby"})
        asked = asking(crowd.askers(PEOPLE, network="twitter", seed=2)[0].author)
        word = word_key("featherby")
        with filled.begin() as uow:
            uow.records.store([(one, found_by(one))], as_of=T0 + timedelta(hours=1))
            key = likeness_of(one)
            assert key is not None
            inside = uow.likeness.look([(key.keys[0], 10)], asked.words)
            assert [b.ref for b in inside.bearers] == [one.ref]
        outside = filled.look([(key.keys[0], 10)], [word])
        assert [b.ref for b in outside.bearers] == [one.ref]
        assert outside.names == {word: 1}

    def test_come_on_a_new_connection_where_the_old_one_was_lost(self, filled: Database) -> None:
        asked = askers()[0]
        before = filled.look(asked.wanted, asked.words)
        if filled.sqlite:
            held = filled.engine.raw_connection()
            held.driver_connection.close()  # type: ignore[union-attr]  # it is connected
            held.close()
        else:
            plain = filled.url.replace("postgresql+psycopg://", "postgresql://", 1)
            with psycopg.connect(plain, autocommit=True) as other:
                other.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                )
        for _ in range(2):
            assert set(filled.look(asked.wanted, asked.words).bearers) == set(before.bearers)


class TestRows:
    def test_follow_the_records_whatever_happens_to_them(self, database: Database) -> None:
        """New, changed, nameless, deleted, returned and repeated ones; some rolled back."""
        chance = random.Random(3)
        kept: dict[Ref, Contact] = {}
        for turn in range(25):
            page = {
                one.ref: one.model_copy(
                    update={
                        "display_name": chance.choice(
                            (one.display_name, chance.choice(CONTACTS).display_name, "🌻", None)
                        )
                    }
                )
                for one in chance.sample(CONTACTS[:60], 12)
            }
            gone = chance.sample(CONTACTS[:60], 4)
            at = T0 + timedelta(minutes=turn)
            try:
                with database.begin() as uow:
                    uow.records.store([(c, found_by(c)) for c in page.values()], as_of=at)
                    uow.records.delete([one.ref for one in gone], as_of=at)
                    if turn % 5 == 4:
                        raise InterruptedError
            except InterruptedError:
                continue
            kept |= page
            for one in gone:
                kept.pop(one.ref, None)
        keys: Counter[tuple[str, int]] = Counter()
        words: Counter[int] = Counter()
        for one in kept.values():
            likeness = likeness_of(one)
            keys.update((one.ref.id, key) for key in (likeness.keys if likeness else ()))
            words.update(likeness.names if likeness else ())
        assert len(words) > 20
        with database.read() as uow:
            connection = uow.session.connection()
            rows = connection.execute(
                sa.text("select id, key from blocking_key join likeness using (nid)")
            )
            assert Counter((row.id, row.key) for row in rows) == keys
            alone = "select count(*) from blocking_key where nid not in (select nid from likeness)"
            assert connection.execute(sa.text(alone)).scalar() == 0
            counted = connection.execute(sa.text("select key, n from name_count where n <> 0"))
            assert {row.key: row.n for row in counted} == words
