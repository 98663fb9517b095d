"""Pile-ons: counted as complaints come, found as bursts, one incident each, and for whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from middleware.contract.actions import Operation, ReplacementOrderRequest
from middleware.contract.canonical import (
    Account,
    Contact,
    Kind,
    Money,
    Order,
    OrderLine,
    OrderStatus,
    Record,
    Shipment,
)
from middleware.domain import bursts
from middleware.flows import baselines, correct, decide, eligibility, incidents
from middleware.flows.hub import Asker
from middleware.store.tables import IncidentRow, SignalRow
from tests import databases
from tests.flows.conftest import Stage
from tests.flows.test_receive import arrive, event

SKU = "KTL-7"

both_databases = pytest.mark.parametrize("database_url", databases.BOTH, indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """SQLite; a test that says `both_databases` runs on PostgreSQL too."""
    url = databases.migrated(getattr(request, "param", "sqlite"), tmp_path)
    yield url
    databases.drop(url)


def customers(
    stage: Stage, count: int, *, sku: str = SKU, lot: str | None = None, pieces: int = 1
) -> None:
    """So many customers with one order each, of that article, sent from Venlo by DHL."""
    records: list[Record] = []
    for n in range(count):
        account = stage.ref("erp", Kind.ACCOUNT, f"{sku}-A{n}")
        order = stage.ref("erp", Kind.ORDER, f"{sku}-O{n}")
        records += [
            Account(
                ref=account,
                name=f"Customer {n}",
                number=f"{sku}9{n}",
                emails=(f"{sku}{n}@example.com".lower(),),
            ),
            Contact(
                ref=stage.ref("crm", Kind.CONTACT, f"{sku}-C{n}"),
                display_name=f"Customer {n}",
                emails=(f"{sku}{n}@example.com".lower(),),
                external_ids={"customer_number": f"{sku}9{n}"},
            ),
            Order(
                ref=order,
                number=f"SO-{sku}{n:03d}",
                account=account,
                status=OrderStatus.DELIVERED,
                placed_at=stage.time.now - timedelta(days=4),
                total=Money(amount=Decimal("30.00"), currency="EUR"),
                lines=(
                    OrderLine(
                        id="1",
                        sku=sku,
                        name="Kettle",
                        quantity=Decimal(pieces),
                        unit_price=Money(amount=Decimal("30.00"), currency="EUR"),
                    ),
                ),
                extra={"lots": {"1": lot}} if lot else {},
            ),
            Shipment(
                ref=stage.ref("erp", Kind.SHIPMENT, f"{sku}-S{n}"),
                order=order,
                carrier="DHL",
                shipped_at=stage.time.now - timedelta(days=3),
                extra={"warehouse": "Venlo"},
            ),
        ]
    stage.store(*records)


def complain(
    stage: Stage,
    who: Sequence[int],
    *,
    text: str = "My kettle arrived broken",
    sku: str = SKU,
    followers: int = 10,
    every: timedelta = timedelta(seconds=20),
) -> None:
    """Each of these customers complains once."""
    for n in who:
        stage.time.now += every
        email = f"{sku}{n}@example.com".lower()
        body = event(
            text,
            id=f"m-{sku}-{n}",
            conversation=f"c-{sku}-{n}",
            author={
                "native_id": f"{sku}{n}",
                "handle": f"{sku}{n}",
                "display_name": f"Customer {n}",
                "emails": [email],
                "followers": followers,
            },
        )
        body["timestamp"] = stage.time.now.isoformat()
        arrive(stage, body, message_id=f"msg-{sku}-{n}")


def look(stage: Stage) -> None:
    stage.time.now += timedelta(seconds=10)
    stage.handlers["incidents"]("tick")
    stage.run_due()


def everyone(stage: Stage, state: str | None = None) -> list[IncidentRow]:
    with stage.hub.database.read() as uow:
        return uow.incidents.page(before=None, limit=50, states=[state] if state else [])


def the_incident(stage: Stage) -> IncidentRow:
    (row,) = everyone(stage)
    return row


def calmed(stage: Stage) -> Stage:
    """The stage as if it had seen two quiet weeks."""
    stage = stage.with_options(note_when_enriched=False)
    now = bursts.bucket_of(stage.time.now) // bursts.BUCKETS_AN_HOUR - 6
    season = bursts.Season(folded=now - 14 * 24)
    season.fold(now, {hour * bursts.BUCKETS_AN_HOUR: 1 for hour in range(now - 14 * 24, now)})
    with stage.hub.database.begin() as uow:
        baselines.Book(season, {}, {}, {baselines.ALL: None}).keep(uow)
    return stage


@pytest.fixture
def calm(known: Stage) -> Stage:
    return calmed(known)


@pytest.fixture
def piled(calm: Stage) -> Stage:
    """Ten customers bought a kettle of one lot; eight complain within minutes."""
    stage = calm
    customers(stage, 10, lot="L77")
    complain(stage, range(8))
    look(stage)
    return stage


@both_databases
def test_a_pile_on_is_one_incident_named_by_what_is_most_specific(piled: Stage) -> None:
    row = the_incident(piled)
    assert (row.state, row.key, row.title) == ("open", "lot:L77", "lot L77")
    assert (row.complaints, row.persons, row.reach) == (8, 8, 80)
    assert row.proposed is not None
    assert row.proposed["operation"] == "replacement_order"
    with piled.hub.database.read() as uow:
        keys = {key.key for key in uow.incidents.keys(row.id)}
        members = uow.incidents.members(row.id, limit=50)
        complaints = uow.incidents.complaints([m.complaint_id for m in members])
    assert {"lot:L77", f"sku:{SKU}", "carrier:DHL", "topic:damaged"} <= keys
    assert {c.incident_id for c in complaints.values()} == {row.id}
    assert piled.events().count("incident.opened") == 1


def test_one_angry_customer_is_no_pile_on(calm: Stage) -> None:
    stage = calm
    customers(stage, 1)
    for n in range(20):
        body = event(
            "My kettle arrived broken",
            id=f"m{n}",
            conversation=f"c{n}",
            author={"emails": [f"{SKU.lower()}0@example.com"]},
        )
        arrive(stage, body, message_id=f"one-{n}")
    look(stage)
    assert everyone(stage) == []


def test_praise_does_not_pile_up(calm: Stage) -> None:
    stage = calm
    customers(stage, 9)
    complain(stage, range(9), text="I love my new kettle, thank you so much! #lovely")
    look(stage)
    assert everyone(stage) == []


@both_databases
def test_what_has_no_key_is_found_by_its_words(calm: Stage) -> None:
    stage = calm
    for n in range(7):
        stage.time.now += timedelta(seconds=30)
        body = event(
            f"Your app crashes whenever I try to pay for my basket, useless! {n}{n}",
            id=f"t{n}",
            conversation=f"t{n}",
            author={"native_id": f"t{n}", "handle": f"stranger_{n}", "display_name": f"T {n}"},
        )
        arrive(stage, body, message_id=f"text-{n}")
    look(stage)
    row = the_incident(stage)
    assert row.complaints == 7


@both_databases
def test_it_grows_ends_and_is_closed_by_itself(piled: Stage) -> None:
    customers(piled, 19, lot="L77")
    complain(piled, range(8, 19), every=timedelta(seconds=30))
    look(piled)
    row = the_incident(piled)
    assert (row.complaints, row.told) == (19, 19)
    assert piled.events().count("incident.grown") == 1
    assert row.growth > 0
    piled.time.pass_(hours=2)
    look(piled)
    assert the_incident(piled).over_at is not None
    assert the_incident(piled).state == "open"
    piled.time.pass_(hours=25)
    look(piled)
    assert the_incident(piled).state == "closed"
    assert piled.events().count("incident.closed") == 1
    look(piled)
    assert piled.events().count("incident.closed") == 1


@both_databases
def test_what_is_dismissed_does_not_open_again_for_the_same_burst(
    piled: Stage, asker: Asker
) -> None:
    row = the_incident(piled)
    decide.dismiss(piled.hub, row.id, reason="a test order", version=row.version, asker=asker)
    customers(piled, 20, lot="L77")
    complain(piled, range(10, 20))
    look(piled)
    assert [r.state for r in everyone(piled)] == ["dismissed"]
    assert the_incident(piled).complaints == 18
    piled.time.pass_(hours=3)
    look(piled)
    assert the_incident(piled).over_at is not None
    complain(piled, [8, 9])
    piled.time.pass_(hours=25)
    look(piled)
    customers(piled, 32, lot="L77")
    complain(piled, range(20, 32), every=timedelta(seconds=5))
    look(piled)
    assert [r.state for r in everyone(piled)] == ["open", "dismissed"]


def test_what_flares_up_again_goes_on_as_the_same_incident(piled: Stage) -> None:
    piled.time.pass_(hours=3)
    look(piled)
    assert the_incident(piled).over_at is not None
    customers(piled, 19, lot="L77")
    complain(piled, range(10, 19))
    look(piled)
    row = the_incident(piled)
    assert row.over_at is None
    assert (row.state, row.complaints) == ("open", 17)
    with piled.hub.database.read() as uow:
        assert {key.live for key in uow.incidents.keys(row.id)} == {True}


def test_what_was_counted_while_nobody_looked_is_found(calm: Stage) -> None:
    stage = calm
    customers(stage, 8)
    complain(stage, range(8))
    stage.time.pass_(hours=3)
    look(stage)
    row = the_incident(stage)
    assert row.complaints == 8
    assert row.onset_at < stage.time.now - timedelta(hours=2)


@both_databases
def test_a_complaint_is_counted_once_however_often_it_is_understood(piled: Stage) -> None:
    with piled.hub.database.read() as uow:
        member = uow.incidents.members(the_incident(piled).id, limit=1)[0]
        before = uow.incidents.counts({f"sku:{SKU}": 0})
    piled.handlers["receive.enrich"](member.complaint_id)
    with piled.hub.database.read() as uow:
        assert uow.incidents.counts({f"sku:{SKU}": 0}) == before
    changed = event(
        "It never arrived, where is it?",
        type_="message.edited",
        id="m-KTL-7-0",
        conversation="c-KTL-7-0",
        author={"native_id": "KTL-70"},
    )
    changed["timestamp"] = piled.time.now.isoformat()
    arrive(piled, changed, message_id="edit")
    with piled.hub.database.read() as uow:
        counts = uow.incidents.counts({"topic:damaged": 0})["topic:damaged"]
    assert sum(counts.values()) == 7


def eligible(stage: Stage, asker: Asker, **more: Any) -> dict[str, eligibility.Eligible]:
    found = eligibility.of_incident(stage.hub, the_incident(stage).id, asker, limit=50, **more)
    return {one.number or "": one for one in found}


@both_databases
def test_the_silent_are_listed_and_the_budget_says_who_may_get_what(
    piled: Stage, asker: Asker
) -> None:
    found = eligible(piled, asker)
    assert sorted(found) == [f"SO-{SKU}{n:03d}" for n in range(10)]
    silent = found[f"SO-{SKU}009"]
    assert silent.complaint_id is None
    spoken = found[f"SO-{SKU}000"]
    assert spoken.complaint_id is not None
    assert spoken.outcome == "allow"
    assert spoken.wanted is not None
    assert spoken.worth == Money(amount=Decimal("30.00"), currency="EUR")
    assert spoken.wanted.operation is Operation.REPLACEMENT_ORDER
    correct.create(piled.hub, spoken.wanted, asker)
    again = eligible(piled, asker)[f"SO-{SKU}000"]
    assert (again.outcome, again.wanted) == ("no", None)
    assert "put right already" in again.why[0]
    assert set(eligible(piled, asker, complained=False)) == {f"SO-{SKU}008", f"SO-{SKU}009"}


def test_what_is_left_of_a_line_is_what_somebody_may_get(calm: Stage, asker: Asker) -> None:
    customers(calm, 6, lot="L77", pieces=3)
    complain(calm, range(6))
    look(calm)
    first = eligible(calm, asker)[f"SO-{SKU}000"].wanted
    assert first is not None
    assert isinstance(first.request, ReplacementOrderRequest)
    assert first.request.lines[0].quantity == 3
    one = first.request.lines[0].model_copy(update={"quantity": Decimal(1)})
    request = first.request.model_copy(update={"lines": (one,)})
    correct.create(calm.hub, first.model_copy(update={"request": request}), asker)
    left = eligible(calm, asker)[f"SO-{SKU}000"].wanted
    assert left is not None
    assert isinstance(left.request, ReplacementOrderRequest)
    assert left.request.lines[0].quantity == 2


def test_a_stranger_needs_an_approval_as_any_action_does(piled: Stage, asker: Asker) -> None:
    silent = eligible(piled, asker)[f"SO-{SKU}009"]
    assert silent.person_id is None
    assert silent.outcome == "approve"
    assert any("not linked" in why for why in silent.why)


@both_databases
def test_a_complaint_is_put_out_and_stays_out(piled: Stage, asker: Asker) -> None:
    row = the_incident(piled)
    with piled.hub.database.read() as uow:
        member = uow.incidents.members(row.id, limit=1)[0]
    decide.put_out(piled.hub, row.id, member.complaint_id, reason="another thing", asker=asker)
    complain(piled, [8])
    look(piled)
    with piled.hub.database.read() as uow:
        complaint = uow.complaints.get(member.complaint_id)
        audit = [a.action for a in uow.audit.about(row.id)]
    assert complaint is not None
    assert complaint.incident_id is None
    assert the_incident(piled).complaints == 8
    assert "incident.put_out" in audit
    decide.put_in(piled.hub, row.id, member.complaint_id, reason="it is", asker=asker)
    assert the_incident(piled).complaints == 9


def test_nothing_is_counted_where_it_is_switched_off(known: Stage) -> None:
    rules = known.hub.options.incidents.model_copy(update={"enabled": False})
    stage = known.with_options(incidents=rules)
    customers(stage, 8)
    complain(stage, range(8))
    look(stage)
    with stage.hub.database.read() as uow:
        assert uow.incidents.counts({baselines.ALL: 0}) == {baselines.ALL: {}}


def test_what_is_old_is_forgotten_once_a_day_though_nobody_ticked_at_three(calm: Stage) -> None:
    customers(calm, 1)
    complain(calm, [0])

    def tick() -> list[str]:
        with calm.hub.database.begin() as uow:
            incidents.owe(calm.hub, uow, calm.time().isoformat())
        owed = [one.flow for one in calm.engine.owed]
        calm.run_due()
        return owed

    def signals() -> int:
        with calm.hub.database.read() as uow:
            return len(uow.session.exec(select(SignalRow)).all())

    assert "incidents.forget" in tick()
    assert signals() > 0
    calm.time.pass_(seconds=10)
    assert "incidents.forget" not in tick()
    # Down for two months, up again in the evening.
    calm.time.now = calm.time.now.replace(hour=2, minute=59) + timedelta(days=60, hours=20)
    assert "incidents.forget" in tick()
    assert signals() == 0
    calm.time.now = calm.time.now.replace(hour=2) + timedelta(days=1)
    assert "incidents.forget" not in tick(), "not before three in the morning"
    calm.time.now = calm.time.now.replace(hour=3)
    assert "incidents.forget" in tick()
