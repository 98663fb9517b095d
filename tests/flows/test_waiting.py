"""Complaints of whom nobody knows who wrote them, when records come that say it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from middleware.contract.canonical import Contact, Handle, Kind, Order, Record
from middleware.domain.identity import Basis
from middleware.flows import link as links
from middleware.flows import sync, waiting
from middleware.flows.hub import Asker
from middleware.flows.link import LinkAsked
from middleware.store.tables import ComplaintRow
from tests.flows.conftest import Stage
from tests.flows.test_receive import arrive, complaints, event

AGENT = Asker(principal="key_agent")


@pytest.fixture
def syncing(stage: Stage) -> Stage:
    """A hub that reads its CRM and its ERP now and then; both have been read."""
    with stage.hub.database.begin() as uow:
        declared = {
            name: {
                "flow": "sync",
                "arguments": {"connection": stage.names[name]},
                "schedule": {"every": 300},
            }
            for name in ("crm", "erp")
        }
        uow.jobs.declare(declared, at=stage.time.now)
    comes(stage)
    return stage


def comes(stage: Stage, *records: Record) -> None:
    """Records appear in the CRM or the ERP, and the next syncs bring them."""
    for record in records:
        (stage.crm if record.ref.connection == stage.names["crm"] else stage.erp).put(record)
    stage.time.pass_(minutes=5)
    for job in ("crm", "erp"):
        sync.owe(stage.hub, job, tick=stage.time.now.isoformat(), requested_by="schedule")
    stage.run_due()
    stage.time.pass_(minutes=1)
    stage.run_due()


def writes(stage: Stage, number: int = 1, text: str = "It is broken", **author: Any) -> None:
    given = {"native_id": f"n{number}", "handle": None, "display_name": None}
    arrive(stage, event(text, id=f"m-{number}", conversation=f"c-{number}", author=given | author))


def of(stage: Stage, number: int = 1) -> ComplaintRow:
    return next(c for c in complaints(stage) if c.conversation == f"c-{number}")


def person(stage: Stage, number: int = 1) -> str:
    """Whose the account is for good; an empty text where nobody knows."""
    with stage.hub.database.read() as uow:
        (link,) = uow.people.links_of_identity(of(stage, number).identity_id or "")
    return "" if link.basis == Basis.PROVISIONAL else link.person_id


def outcome(stage: Stage, number: int = 1) -> str:
    resolution = of(stage, number).resolution
    assert resolution is not None
    return str(resolution["decision"]["outcome"])


def ada(stage: Stage, **more: Any) -> Contact:
    ref = stage.ref("crm", Kind.CONTACT, "C9")
    return Contact(ref=ref, display_name="Ada Lo", **more)


def test_a_contact_that_is_made_after_they_wrote_is_found(syncing: Stage) -> None:
    writes(syncing, emails=["ada@example.com"])
    writes(syncing, 2, emails=["somebody@else.example"])
    assert outcome(syncing) == "none"
    other = of(syncing, 2).version
    comes(syncing, ada(syncing, emails=("ada@example.com",)))
    assert person(syncing)
    assert outcome(syncing) == "link"
    assert of(syncing, 2).version == other, "nothing is different for the other one"


def test_an_address_that_is_put_right_is_found(syncing: Stage) -> None:
    comes(syncing, ada(syncing, emails=("ada@exmaple.com",)))
    writes(syncing, emails=["ada@example.com"])
    assert person(syncing) == ""
    comes(syncing, ada(syncing, emails=("ada@example.com",)))
    assert person(syncing)


def test_an_order_that_comes_after_its_number_asks_whose_it_is(syncing: Stage) -> None:
    writes(syncing, text="Where is my order SO-20002?")
    assert outcome(syncing) == "none"
    ref = syncing.ref("erp", Kind.ORDER, "O2")
    order: Order = syncing.order.model_copy(update={"ref": ref, "number": "SO-20002"})
    comes(syncing, order)
    assert outcome(syncing) == "review"


def test_a_question_that_waits_is_settled_by_what_comes(syncing: Stage) -> None:
    comes(syncing, ada(syncing, handles=(Handle(network="x", handle="ada_lo"),)))
    writes(syncing, handle="ada_lo", emails=["ada@example.com"])
    assert outcome(syncing) == "review"
    comes(
        syncing,
        ada(
            syncing,
            handles=(Handle(network="x", handle="ada_lo"),),
            emails=("ada@example.com",),
        ),
    )
    assert person(syncing)
    with syncing.hub.database.read() as uow:
        assert uow.reviews.page(state="open", kind="review", limit=9) == []


def test_nobody_is_looked_at_for_what_says_nothing_of_them(syncing: Stage) -> None:
    writes(syncing, emails=["ada@example.com"])
    before = of(syncing).version
    comes(syncing, ada(syncing, emails=("lo@example.com",)))
    comes(syncing)
    assert of(syncing).version == before


def test_what_was_looked_at_again_is_left_alone_after_it(syncing: Stage) -> None:
    comes(syncing, ada(syncing, handles=(Handle(network="x", handle="ada_lo"),)))
    writes(syncing, handle="ada_lo")
    seen = set()
    for number in range(3):
        ref = syncing.ref("crm", Kind.CONTACT, f"N{number}")
        comes(syncing, Contact(ref=ref, display_name=f"Somebody {number}"))
        seen.add(of(syncing).version)
    assert len(seen) == 1


@pytest.mark.parametrize("state", ["closed", "deleted"])
def test_who_does_not_wait_is_not_looked_at(syncing: Stage, state: str) -> None:
    writes(syncing, emails=["ada@example.com"])
    with syncing.hub.database.begin() as uow:
        row = uow.complaints.get(of(syncing).id)
        assert row is not None
        row.state = state
    comes(syncing, ada(syncing, emails=("ada@example.com",)))
    assert person(syncing) == ""


def test_what_is_old_is_not_looked_at(syncing: Stage) -> None:
    writes(syncing, emails=["ada@example.com"])
    syncing.time.pass_(days=waiting.WRITTEN_WITHIN / timedelta(days=1) + 1)
    comes(syncing, ada(syncing, emails=("ada@example.com",)))
    assert person(syncing) == ""


def test_however_many_wait_the_newest_are_looked_at(
    syncing: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PAGE", 2)
    monkeypatch.setattr(waiting, "MOST", 4)
    own = [f"ada{number}@example.com" for number in range(1, 7)]
    for number, address in enumerate(own, start=1):
        writes(syncing, number, emails=[address])
    comes(syncing, ada(syncing, emails=tuple(own)))
    assert [bool(person(syncing, number)) for number in range(1, 7)] == [False] * 2 + [True] * 4


def test_many_runs_owe_one_look(syncing: Stage) -> None:
    def owed(**counts: dict[str, int]) -> int:
        with syncing.hub.database.begin() as uow:
            waiting.owe(syncing.hub, uow, counts)
        return sum(one.flow == waiting.FLOW for one in syncing.engine.owed)

    assert owed(product={"new": 7}, contact={"unchanged": 9, "new": 0}) == 0
    assert owed(contact={"new": 1}) == 1
    assert owed(order={"changed": 1}) == 1
    assert syncing.engine.owed[-1].due > syncing.time.now
    syncing.time.pass_(minutes=1)
    assert owed(account={"changed": 1}) == 2


def test_whoever_wrote_with_the_same_address_is_looked_at_when_somebody_is_linked(
    syncing: Stage,
) -> None:
    writes(syncing, 1, emails=["ada@home.example"])
    writes(syncing, 2, emails=["ada@home.example"])
    writes(syncing, 3, emails=["ben@home.example"])
    asked = LinkAsked(
        identity_id=of(syncing, 1).identity_id, person_id=None, display_name="Ada", reason="Hers."
    )
    links.put_link(syncing.hub, asked, AGENT)
    syncing.run_due()
    assert person(syncing, 1) == person(syncing, 2) != ""
    assert person(syncing, 3) == ""
