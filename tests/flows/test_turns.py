"""Changes of the ledger that meet: none is lost, made against another, or failed for its sake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
import sqlalchemy as sa

from middleware.contract.canonical import Ref
from middleware.domain.problems import ConflictError
from middleware.flows import cannot, merge, turns
from middleware.flows import link as links
from middleware.store.database import TRIES, Database, UnitOfWork, gave_way, giving_way
from tests.flows.conftest import Stage
from tests.flows.test_ledger import AGENT, contact, identity, put, unlink

BECAUSE: dict[str, Any] = {"reason": "said so", "asker": AGENT}


class DriverError(Exception):
    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def refused(sqlstate: str) -> sa.exc.OperationalError:
    return sa.exc.OperationalError("update", {}, DriverError(sqlstate))


def test_of_two_that_wait_for_each_other_both_are_done(known: Stage) -> None:
    both = Barrier(2)
    begun: list[str] = []

    def hold(uow: UnitOfWork, ref: Ref) -> None:
        assert uow.records.get(ref, lock=True) is not None

    @giving_way
    def change(database: Database, refs: Sequence[Ref]) -> None:
        first, second = refs
        with database.begin() as uow:
            begun.append(first.id)
            hold(uow, first)
            # Who writes to SQLite is alone, and so is who begins anew.
            with suppress(BrokenBarrierError):
                both.wait(2)
            hold(uow, second)

    refs = [known.contact.ref, known.account.ref]
    with ThreadPoolExecutor() as pool:
        doing = [pool.submit(change, known.hub.database, r) for r in (refs, refs[::-1])]
        assert [one.exception(30) for one in doing] == [None, None]
    # Whoever begins anew may be faster than who waits, and give way once more.
    assert len(begun) == 2 if known.hub.database.sqlite else 2 < len(begun) <= 1 + TRIES


@pytest.mark.parametrize(
    ("sqlstate", "times"), [("40P01", TRIES), ("40001", TRIES), ("23505", 1), ("57014", 1)]
)
def test_only_who_gave_way_begins_anew_and_not_for_ever(sqlstate: str, times: int) -> None:
    begun = []

    @giving_way
    def change() -> None:
        begun.append(1)
        raise refused(sqlstate)

    with pytest.raises(sa.exc.OperationalError) as raised:
        change()
    assert len(begun) == times
    assert gave_way(raised.value) is (times > 1)


@pytest.mark.parametrize(
    "what", ["link", "link record", "unlink", "restore", "merge", "split", "undo", "apart", "lift"]
)
def test_changes_take_turns(known: Stage, what: str) -> None:
    one, two, three = (contact(known, id_) for id_ in ("C7", "C8", "C9"))
    known.store(one, two, three)
    held = put(known, str(one.ref))
    stays, goes = held.person_id, put(known, identity(known, "500")).person_id
    ended = put(known, str(two.ref), stays)
    unlink(known, ended)
    other = put(known, identity(known, "501"), stays)
    merged = merge.merge(known.hub, stays, put(known, identity(known, "502")).person_id, **BECAUSE)
    said, _ = cannot.put(known.hub, str(two.ref), str(three.ref), **BECAUSE)
    asked = merge.SplitAsked(identities=(other.identity_id or "",))
    changes: dict[str, Callable[[], object]] = {
        "link": lambda: put(known, identity(known, "503"), stays),
        "link record": lambda: put(known, str(three.ref), stays),
        "unlink": lambda: unlink(known, held),
        "restore": lambda: links.restore_link(known.hub, ended.id, **BECAUSE),
        "merge": lambda: merge.merge(known.hub, stays, goes, **BECAUSE),
        "split": lambda: merge.split(known.hub, stays, asked, **BECAUSE),
        "undo": lambda: merge.undo(known.hub, merged.id, **BECAUSE),
        "apart": lambda: cannot.put(known.hub, goes, str(one.ref), **BECAUSE),
        "lift": lambda: cannot.lift(known.hub, said.id, version=None, **BECAUSE),
    }
    identity(known, "503")
    with ThreadPoolExecutor() as pool:
        with known.hub.database.begin() as uow:
            uow.session.connection()
            turns.take(uow)
            doing = pool.submit(changes[what])
            assert not wait([doing], timeout=0.3).done
        assert doing.exception(30) is None


def test_what_becomes_one_person_is_not_held_apart_meanwhile(
    known: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds two records apart waits for a merge that has found nothing against it."""
    one, two = (contact(known, id_) for id_ in ("C8", "C9"))
    known.store(one, two)
    stays, goes = (put(known, str(record.ref)).person_id for record in (one, two))
    finish = merge.finish
    with ThreadPoolExecutor() as pool:
        apart: Any = None

        def meanwhile(*given: Any) -> None:
            nonlocal apart
            apart = pool.submit(
                cannot.put, known.hub, str(one.ref), str(two.ref), reason="no", asker=AGENT
            )
            assert not wait([apart], timeout=0.5).done
            finish(*given)

        monkeypatch.setattr(merge, "finish", meanwhile)
        merge.merge(known.hub, stays, goes, reason="the same", asker=AGENT)
        told = apart.exception(30)
    assert isinstance(told, ConflictError)
    assert "they are one person now" in told.detail
