"""The queue over both databases: scores, clocks, steps that are taken once, and what others see."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from middleware.app import handlers
from middleware.contract.canonical import Kind, Money, OrderStatus
from middleware.domain.ids import new_id
from middleware.domain.priority import MILLI
from middleware.domain.rulebook_file import rulebook_of
from middleware.flows import prioritise, report, rulebooks, simulate, sync
from middleware.flows.hub import Asker
from middleware.store.tables import (
    ComplaintRow,
    EscalationRow,
    EventRow,
    SlaClockRow,
)
from tests.api.conftest import both_databases, database_url
from tests.flows.conftest import Stage, queries
from tests.flows.test_receive import arrive, event, the_complaint

__all__ = ["database_url"]

KIM = {"emails": ["kim@example.com"]}


def terms(complaint: ComplaintRow) -> dict[str, Any]:
    kept = complaint.priority_terms
    assert kept is not None
    return {term["name"]: term for term in kept["score"]["terms"]}


def clocks(stage: Stage) -> dict[str, SlaClockRow]:
    with stage.hub.database.read() as uow:
        rows = uow.queue.clocks_of(the_complaint(stage).id)
    return {f"{row.kind} {row.number}": row for row in rows}


def steps(stage: Stage) -> list[EscalationRow]:
    with stage.hub.database.read() as uow:
        return uow.queue.steps_of(the_complaint(stage).id)


def told(stage: Stage, type_: str) -> list[EventRow]:
    with stage.hub.database.read() as uow:
        return [e for e in uow.events.since(0, limit=1000) if e.type == type_]


def put(stage: Stage, **body: Any) -> int:
    made = rulebooks.put(
        stage.hub, rulebook_of(body), asker=Asker("key_admin"), source="api", reason=None
    )
    stage.run_due()
    return made.version


def look(stage: Stage) -> None:
    """What a clock on a node does every two seconds."""
    prioritise.owe(stage.hub, stage.time().isoformat())
    stage.run_due()


def answer(stage: Stage, *, id_: str = "a-1", minutes_ago: float = 0) -> None:
    at = (stage.time() - timedelta(minutes=minutes_ago)).isoformat()
    arrive(stage, event("We are on it", id=id_, outgoing=True, posted_at=at), message_id=id_)


def status(stage: Stage, word: str) -> None:
    now = stage.time().isoformat()
    body = event("", type_="conversation.status", id=f"s-{now}-{word}", status=word)
    arrive(stage, {**body, "timestamp": now}, message_id=f"s-{now}-{word}")


STEPS = {
    "targets": [{"name": "hour", "first_response": "1h", "resolution": "1d"}],
    "people": {"ann": "ann@example.com"},
    "escalations": [
        {"name": "nearly", "used": 0.75, "add": 1.0},
        {"name": "late", "used": 1.0, "assign": "leads", "add": 2.0},
        {"name": "very-late", "late": "30m", "assign": "board"},
    ],
}


@both_databases
def test_a_complaint_is_scored_when_it_is_understood(known: Stage) -> None:
    tiered = known.account.model_copy(update={"tier": "Gold"})
    known.store(tiered)
    arrive(known, event(author={**KIM, "followers": 7000, "verified": True}))
    complaint = the_complaint(known)
    shown = terms(complaint)
    assert complaint.priority == round(sum(t["points"] for t in shown.values()) * MILLI)
    assert shown["value"]["input"] == {
        "tier": "Gold",
        "revenue": 119.8,
        "revenue_from": "orders",
        "open_orders": 0,
        "years": 0.01,
    }
    assert shown["value"]["points"] > 1.0
    assert shown["influence"]["why"] == "7,000 followers, verified"
    assert shown["repeat"]["why"] == "the first contact"
    assert not shown["growth"]["known"]
    assert complaint.due_at == datetime(2026, 11, 21, 12, 59, tzinfo=UTC)
    (said,) = told(known, "complaint.prioritised")
    assert said.data["priority"] == complaint.priority / MILLI
    assert said.data["was"] is None
    assert said.data["rulebook_version"] == 0
    (note,) = known.notes()
    assert f"Priority: {complaint.priority / MILLI:.0f} (tier Gold, 120 EUR a year" in note
    assert "due 2026-11-21 12:59 UTC" in note


@both_databases
def test_value_comes_from_figures_and_from_orders(known: Stage) -> None:
    def order(id_: str, total: str, days: int, state: OrderStatus, currency: str = "EUR") -> Any:
        return known.order.model_copy(
            update={
                "ref": known.order.ref.model_copy(update={"id": id_}),
                "number": f"SO-{id_}",
                "total": Money(amount=Decimal(total), currency=currency),
                "placed_at": known.time() - timedelta(days=days),
                "status": state,
            }
        )

    known.store(
        order("O2", "1000.00", 100, OrderStatus.PROCESSING),
        order("O3", "50.00", 30, OrderStatus.CANCELLED),
        order("O4", "70.00", 20, OrderStatus.DELIVERED, "JPY"),
        order("O5", "5000.00", 730, OrderStatus.DELIVERED),
    )
    arrive(known, event(author=KIM))
    given = terms(the_complaint(known))["value"]["input"]
    # The newest year counts: not what was cancelled, nor what is older or in unknown money.
    assert given["revenue"] == 1119.8
    assert given["revenue_from"] == "orders"
    assert given["uncounted"] == ["JPY"]
    assert given["open_orders"] == 1
    assert given["years"] == 2.0
    known.store(
        known.account.model_copy(
            update={
                "revenue": Money(amount=Decimal(250_000), currency="EUR"),
                "extra": {"margin": "0.4"},
            }
        )
    )
    put(known, scoring={"value": {"margin_field": "margin"}})
    look(known)
    given = terms(the_complaint(known))["value"]["input"]
    assert (given["revenue"], given["revenue_from"]) == (250_000, "account")
    assert given["margin"] == 0.4


def test_an_answer_ends_the_clock_and_a_question_starts_the_next(known: Stage) -> None:
    arrive(known, event(author=KIM))
    known.time.pass_(minutes=20)
    answer(known)
    first = clocks(known)["first_response 1"]
    assert (first.state, first.elapsed_s, first.used_s) == ("answered", 1260.0, 1260.0)
    complaint = the_complaint(known)
    assert complaint.due_at == datetime(2026, 11, 24, 11, 59, tzinfo=UTC)  # the resolution's
    known.time.pass_(minutes=40)
    now = known.time().isoformat()
    arrive(known, {**event("And?", id="m-2", posted_at=now, author=KIM), "timestamp": now})
    assert clocks(known)["next_response 1"].due_at == known.time() + timedelta(hours=4)
    assert the_complaint(known).due_at == known.time() + timedelta(hours=4)
    known.time.pass_(hours=1)
    status(known, "solved")
    made = clocks(known)
    assert made["next_response 1"].state == "closed"
    assert made["resolution 1"].state == "answered"
    assert the_complaint(known).due_at is None
    assert the_complaint(known).rescore_at is None


def test_waiting_for_the_customer_is_not_counted(known: Stage) -> None:
    arrive(known, event(author=KIM))
    known.time.pass_(minutes=9)
    status(known, "pending")
    assert clocks(known)["first_response 1"].state == "paused"
    assert the_complaint(known).due_at is None
    known.time.pass_(hours=5)
    look(known)
    assert terms(the_complaint(known))["time"]["points"] == 0
    status(known, "open")
    assert the_complaint(known).due_at == known.time() + timedelta(minutes=50)


def test_time_alone_raises_a_score_step_by_step(known: Stage) -> None:
    arrive(known, event(author=KIM))
    seen = []
    for minutes in (25, 10, 10, 9, 10, 60):
        known.time.pass_(minutes=minutes)
        look(known)
        seen.append(terms(the_complaint(known))["time"]["points"])
    assert seen == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert [e.data["was"] is None for e in told(known, "complaint.prioritised")] == [True] + 5 * [
        False
    ]
    due = the_complaint(known).rescore_at
    assert due is not None  # the resolution's first step
    assert due > known.time()


@both_databases
def test_steps_are_taken_once_and_say_how_late(known: Stage) -> None:
    put(known, **STEPS)
    arrive(known, event(author=KIM))
    before = the_complaint(known).priority
    due = [(s.step, s.state, s.due_at) for s in steps(known)]
    t0 = datetime(2026, 11, 21, 11, 59, tzinfo=UTC)
    assert due == [
        ("nearly", "due", t0 + timedelta(minutes=45)),
        ("late", "due", t0 + timedelta(minutes=60)),
        ("very-late", "due", t0 + timedelta(minutes=90)),
    ]
    look(known)
    assert told(known, "complaint.escalated") == []
    # Everything was down for an hour and seven minutes: two are due, and late.
    known.time.pass_(minutes=67)
    for _ in range(3):
        look(known)
        known.time.pass_(seconds=2)
    fired = told(known, "complaint.escalated")
    assert [(e.data["step"], e.data["late_s"]) for e in fired] == [
        ("nearly", 23 * 60.0),
        ("late", 8 * 60.0),
    ]
    complaint = the_complaint(known)
    assert complaint.team == "leads"
    shown = terms(complaint)
    assert shown["raised"]["points"] == 3.0
    assert complaint.priority == pytest.approx(before + 3000 + 4000, abs=1)  # time is up, too
    with known.hub.database.read() as uow:
        acts = [a.action for a in uow.audit.about(complaint.id)]
    assert acts.count("complaint.escalate") == 2
    # Answered, nothing more happens, and what was raised is not raised any more.
    answer(known)
    assert [s.state for s in steps(known)] == ["fired", "fired", "cancelled"]
    known.time.pass_(hours=3)
    look(known)
    assert len(told(known, "complaint.escalated")) == 2
    assert "raised" not in terms(the_complaint(known))


@both_databases
def test_two_workers_take_a_step_once(known: Stage) -> None:
    put(known, **STEPS)
    arrive(known, event(author=KIM))
    known.time.pass_(minutes=50)
    (step, *_) = steps(known)
    taken: list[bool] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        taken.append(prioritise.fire(known.hub, step.id, step.complaint_id))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False, False, False, True]
    assert len(told(known, "complaint.escalated")) == 1


def test_an_answer_that_came_first_calls_the_step_off(known: Stage) -> None:
    """Due, but not taken yet, when the answer that was on its way is stored."""
    put(known, **STEPS)
    arrive(known, event(author=KIM))
    known.time.pass_(minutes=50)
    answer(known, minutes_ago=10)
    look(known)
    assert told(known, "complaint.escalated") == []
    assert {s.state for s in steps(known)} == {"cancelled"}


@both_databases
def test_a_step_that_fails_stays_due(known: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    put(known, **STEPS)
    arrive(known, event(author=KIM))
    known.time.pass_(minutes=50)
    real = prioritise._take

    def fail(*given: Any) -> None:
        real(*given)
        raise RuntimeError("the database went away")

    monkeypatch.setattr(prioritise, "_take", fail)
    look(known)
    assert told(known, "complaint.escalated") == []
    assert steps(known)[0].state == "due"
    monkeypatch.setattr(prioritise, "_take", real)
    known.time.pass_(seconds=2)
    look(known)
    assert [e.data["step"] for e in told(known, "complaint.escalated")] == ["nearly"]


@both_databases
def test_a_new_rule_book_scores_what_is_open_anew(known: Stage) -> None:
    arrive(known, event(author=KIM))
    before = the_complaint(known).priority
    number = put(
        known,
        scoring={"sentiment": {"positive": -1, "neutral": 0, "negative": 3}},
        targets=[{"name": "fast", "first_response": "30m"}],
        teams=[{"when": {"channel": "x"}, "team": "social"}],
    )
    look(known)
    complaint = the_complaint(known)
    assert complaint.priority_terms is not None
    assert complaint.priority_terms["version"] == number == 1
    assert complaint.priority == pytest.approx(before + 2000, abs=1)
    assert complaint.team == "social"
    assert complaint.due_at == datetime(2026, 11, 21, 12, 29, tzinfo=UTC)
    made = clocks(known)
    assert made["first_response 1"].version == 1
    assert made["resolution 1"].state == "dropped"  # nobody promises it any more
    assert put(known, **rulebook_body(known)) == number  # the same again is no new version


def rulebook_body(stage: Stage) -> dict[str, Any]:
    with stage.hub.database.read() as uow:
        row = uow.queue.rulebooks.current()
        assert row is not None
        return row.body


def test_the_configured_rule_book_is_put_once_and_stays_until_it_changes(known: Stage) -> None:
    book = rulebook_of({"targets": []})
    assert not rulebooks.declare(known.hub, rulebook_of({}))
    assert rulebooks.declare(known.hub, book)
    assert not rulebooks.declare(known.hub, book)
    put(known, targets=[{"name": "api", "first_response": "1h"}])
    assert not rulebooks.declare(known.hub, book)
    with known.hub.database.read() as uow:
        assert rulebooks.in_force(known.hub, uow).version == 2


@both_databases
def test_reach_is_kept_and_its_growth_counts(known: Stage) -> None:
    first = event(author=KIM, reach={"views": 1000, "likes": 3})
    arrive(known, first)
    shown = terms(the_complaint(known))
    assert shown["influence"]["input"] == {"views": 1000, "engagement": 3}
    assert not shown["growth"]["known"]
    known.time.pass_(minutes=60)
    again = event(type_="message.edited", author=KIM, reach={"views": 36_000, "likes": 3})
    arrive(known, {**again, "timestamp": known.time().isoformat()})
    look(known)
    shown = terms(the_complaint(known))
    assert shown["growth"]["input"] == {"views_per_hour": 34426.23, "engagement_per_hour": 0.0}
    assert shown["growth"]["points"] == pytest.approx(0.3 * 2.978, abs=0.001)
    # When nothing more is told, it does not stay a growing one for ever.
    known.time.pass_(hours=7)
    look(known)
    assert not terms(the_complaint(known))["growth"]["known"]


@both_databases
def test_who_writes_again_comes_sooner(known: Stage) -> None:
    arrive(known, event(author=KIM))
    with known.hub.database.read() as uow:
        first = uow.complaints.page(before=None, limit=1)[0].id
    arrive(known, event("Broken too", id="m-5", conversation="c-5", author=KIM))
    with known.hub.database.read() as uow:
        second = next(c for c in uow.complaints.page(before=None, limit=5) if c.id != first)
    assert terms(second)["repeat"]["why"] == "1 other complaint in 30 days"
    assert terms(second)["repeat"]["points"] == 0.75


def test_a_deleted_complaint_is_promised_nothing(known: Stage) -> None:
    put(known, **STEPS)
    arrive(known, event(author=KIM))
    arrive(known, event("", type_="message.deleted", author=KIM))
    assert {row.state for row in clocks(known).values()} == {"dropped"}
    assert {step.state for step in steps(known)} == {"cancelled"}
    assert the_complaint(known).due_at is None


@both_databases
def test_scoring_adds_few_statements_to_intake(
    known: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive(known, event(author=KIM))
    with queries(known) as scored:
        arrive(known, event("One", id="m-2", conversation="c-2", author=KIM))
    inside: list[int] = []
    real = prioritise.score_in

    def counted(*given: Any, **more: Any) -> Any:
        with queries(known) as seen:
            made = real(*given, **more)
        inside.append(len(seen))
        return made

    monkeypatch.setattr(prioritise, "score_in", counted)
    arrive(known, event("Two", id="m-3", conversation="c-3", author=KIM))
    assert len(inside) == 1
    assert inside[0] <= 16, inside
    assert inside[0] < 0.3 * len(scored), (inside, len(scored))


def test_the_queue_and_what_is_due_are_read_from_indexes(known: Stage) -> None:
    arrive(known, event(author=KIM))
    plans: list[str] = []
    engine = known.hub.database.engine

    def explain(_c: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.append(" / ".join(row[3] for row in cursor.fetchall()))

    with known.hub.database.read() as uow:
        sa.event.listen(engine, "before_cursor_execute", explain)
        try:
            for more in ({}, {"brand": "b"}, {"team": "t"}):
                uow.complaints.queue(after=(5, "cmp_1"), limit=10, **more)
            uow.queue.due_steps(known.time(), limit=10)
            uow.queue.due_scores(known.time(), limit=10)
        finally:
            sa.event.remove(engine, "before_cursor_execute", explain)
    wanted = ("queue", "brand_queue", "team_queue", "due", "rescore")
    assert len(plans) == len(wanted)
    for plan, index in zip(plans, wanted, strict=True):
        assert f"_{index} (" in plan, plan
        assert "SCAN" not in plan


# --- report and simulation ----------------------------------------------------------------------


def clock_rows(stage: Stage, *given: tuple[str, float | None, float, str | None]) -> None:
    """Clocks of a promise of an hour: channel, minutes until the answer, minutes since, team."""
    now = stage.time()
    stage_row = ComplaintRow(
        id="cmp_x",
        connection="api",
        conversation="x",
        network="x",
        state="open",
        opened_at=now,
        updated_at=now,
    )
    with stage.hub.database.begin() as uow:
        uow.session.add(stage_row)
        uow.session.flush()
        for n, (channel, minutes, since, team) in enumerate(given):
            began = now - timedelta(minutes=since)
            ended = began + timedelta(minutes=minutes) if minutes is not None else None
            uow.session.add(
                SlaClockRow(
                    id=f"clk_{n}",
                    complaint_id="cmp_x",
                    kind="first_response",
                    number=n,
                    state="answered" if ended else "running",
                    target="t",
                    version=1,
                    promised_s=3600,
                    used_s=(minutes or 0) * 60,
                    started_at=began,
                    due_at=began + timedelta(hours=1),
                    ended_at=ended,
                    elapsed_s=minutes * 60 if minutes is not None else None,
                    channel=channel,
                    team=team,
                )
            )


@both_databases
def test_the_report_counts_and_ranks_exactly(stage: Stage) -> None:
    times = [5, 10, 15, 20, 25, 30, 35, 40, 90, 120, 61]
    clock_rows(
        stage,
        *[("x", float(m), 500.0, "care") for m in times],
        ("x", None, 30.0, None),
        ("x", None, 200.0, "care"),
        ("email", 60.0, 300.0, None),
    )
    now = stage.time()

    def groups(by: str) -> dict[str | None, Any]:
        found = report.response_report(
            stage.hub, by=by, since=now - timedelta(days=1), until=now
        ).groups
        return {one.group: one for one in found}

    x = groups("channel")["x"]
    assert (x.started, x.answered, x.within_hour, x.kept, x.breached) == (13, 11, 8, 8, 4)
    ordered = sorted(times)
    assert x.median_s == ordered[5] * 60
    assert x.p90_s == ordered[9] * 60
    assert x.slowest_s == 120 * 60
    mail = groups("channel")["email"]
    assert (mail.answered, mail.within_hour, mail.kept, mail.median_s) == (1, 1, 1, 3600)
    assert groups("team")["care"].started == 12
    assert groups("team")[None].started == 2
    assert groups("all")[None].started == 14
    assert groups("brand")[None].started == 14
    later = report.response_report(stage.hub, by="all", since=now, until=now + timedelta(days=1))
    assert later.groups == ()


@both_databases
def test_a_simulation_says_who_moves_and_why_and_writes_nothing(known: Stage) -> None:
    known.store(known.account.model_copy(update={"tier": "platinum"}))
    arrive(known, event("My lamp is broken", id="m-1", conversation="c-1", author=KIM))
    for n, followers in ((2, 500), (3, 900_000)):
        arrive(
            known,
            event(
                "My lamp is broken",
                id=f"m-{n}",
                conversation=f"c-{n}",
                author={
                    "native_id": str(n),
                    "handle": f"somebody{'abcd'[n]}",
                    "display_name": "S",
                    "followers": followers,
                },
            ),
        )
    with known.hub.database.read() as uow:
        ids = {c.conversation: c.id for c in uow.complaints.page(before=None, limit=9)}
        before = [e.seq for e in uow.events.since(0, limit=1000)]
    kim, quiet, loud = ids["c-1"], ids["c-2"], ids["c-3"]
    tried = rulebook_of({"scoring": {"weights": {"value": 0.0}}})
    since, until = known.time() - timedelta(days=30), known.time() + timedelta(days=1)
    found = simulate.simulate(known.hub, tried, since=since, until=until, top=1)
    assert (found.complaints, found.unscored, found.complete) == (3, 0, True)
    moves = {move.complaint_id: move for move in found.moves}
    assert {id_: (m.was_rank, m.would_rank, m.up) for id_, m in moves.items()} == {
        kim: (1, 3, -2),
        loud: (2, 1, 1),
        quiet: (3, 2, 1),
    }
    assert (moves[kim].term, moves[loud].term) == ("value", None)
    assert moves[kim].by == pytest.approx(moves[kim].would - moves[kim].was, abs=0.002)
    assert (found.top, found.overlap) == (1, 0)
    assert (found.up, found.down) == (2, 1)
    assert found.terms == {"value": 1}
    same = simulate.simulate(known.hub, rulebook_of({}), since=since, until=until)
    assert (same.moved, same.overlap, same.terms) == (0, 3, {})
    with known.hub.database.read() as uow:
        assert [e.seq for e in uow.events.since(0, limit=1000)] == before
        assert uow.queue.rulebooks.current() is None


def test_a_simulated_promise_counts_the_time_that_had_passed(known: Stage) -> None:
    arrive(known, event(author=KIM))
    known.time.pass_(minutes=31)
    look(known)
    tried = rulebook_of({"targets": [{"name": "fast", "first_response": "30m"}]})
    since, until = known.time() - timedelta(days=30), known.time() + timedelta(days=1)
    found = simulate.simulate(known.hub, tried, since=since, until=until)
    assert found.terms == {"time": 1}


@both_databases
def test_another_tier_from_a_sync_scores_the_open_complaints_of_its_customer_anew(
    known: Stage,
) -> None:
    """The sync only owes it; a page in which nothing changed owes nothing."""
    arrive(known, event(author=KIM))
    assert the_complaint(known).person_id is not None
    other = known.account.model_copy(
        update={"ref": known.ref("erp", Kind.ACCOUNT, "A2"), "number": "1002", "emails": ()}
    )
    known.erp.put(other)
    synced(known)
    known.run_due()
    look(known)
    before = the_complaint(known)

    known.erp.put(other.model_copy(update={"tier": "gold"}))
    synced(known)
    known.run_due()
    assert the_complaint(known).rescore_at == before.rescore_at, "somebody else's"

    known.erp.put(known.account.model_copy(update={"tier": "gold"}))
    synced(known)
    assert the_complaint(known).rescore_at == before.rescore_at, "not in the sync's transaction"
    known.run_due()
    known.time.pass_(seconds=1)
    look(known)
    after = the_complaint(known)
    assert after.priority > before.priority
    assert after.priority_terms is not None
    assert after.priority_terms["inputs"]["worth"]["tier"] == "gold"

    synced(known)
    assert not [o for o in known.engine.owed if o.flow == "prioritise.accounts"]


@both_databases
def test_an_order_that_changed_scores_the_open_complaints_of_its_customer_anew(
    known: Stage,
) -> None:
    arrive(known, event(author=KIM))
    other = known.order.model_copy(
        update={"ref": known.ref("erp", Kind.ORDER, "O2"), "number": "SO-2", "account": None}
    )
    known.erp.put(other)
    synced(known, "order")
    known.run_due()
    look(known)
    before = the_complaint(known)

    known.erp.put(other.model_copy(update={"status": OrderStatus.CANCELLED}))
    synced(known, "order")
    known.run_due()
    assert the_complaint(known).rescore_at == before.rescore_at, "somebody else's"

    known.erp.put(known.order.model_copy(update={"status": OrderStatus.CANCELLED}))
    synced(known, "order")
    known.run_due()
    known.time.pass_(seconds=1)
    look(known)

    def worth(complaint: ComplaintRow) -> tuple[Any, Any]:
        assert complaint.priority_terms is not None
        found = complaint.priority_terms["inputs"]["worth"]
        return found["revenue"], found["open_orders"]

    assert worth(before) != worth(the_complaint(known))
    assert worth(the_complaint(known)) == (None, 0)


def synced(stage: Stage, kind: str = "account") -> None:
    """A run of a job that syncs the ERP's records of a kind; what it owes is left owing."""
    hub, name = stage.hub, stage.names["erp"]
    arguments = {"connection": name, "kinds": [kind]}
    spec = {"flow": "sync", "arguments": arguments, "schedule": {"every": "24h"}}
    with hub.database.begin() as uow:
        uow.jobs.declare({"accounts": spec}, at=stage.time())
    run_id, _ = sync.owe(hub, "accounts", tick=new_id("tick"), requested_by="test")
    stage.engine.owed = [owed for owed in stage.engine.owed if owed.flow != "sync"]
    sync.run(hub, run_id)


def test_who_is_on_call_is_told_with_the_score(known: Stage) -> None:
    rules = {
        "calendars": {"office": {"open": {"mon": ["09:00-17:00"]}}},
        "people": {"ann": "ann@example.com"},
        "rota": {"hours": "office", "first": "2026-11-16T00:00:00", "people": ["ann"]},
    }
    put(known, **rules)  # it is a Saturday
    arrive(known, event())
    assert [e.data["on_call"] for e in told(known, "complaint.prioritised")] == ["ann"]
    known.time.pass_(hours=46)  # Monday at ten
    arrive(known, event("Hello?", id="m-2"), message_id="msg_2")
    assert told(known, "complaint.prioritised")[-1].data["on_call"] is None


def test_a_machine_that_the_operator_names_answers_nobody(known: Stage) -> None:
    put(known, **STEPS)
    desk = known.names["desk"]
    inlet = replace(known.hub.options.inlets[desk], bots=frozenset({"helpful hal"}))
    hub = replace(known.hub, options=replace(known.hub.options, inlets={desk: inlet}))
    named = replace(known, hub=hub, handlers=handlers(hub))
    arrive(named, event())
    said = event("Have you tried our pages?", id="n-1", outgoing=True)
    said["data"]["author"] = {"network": "x", "native_id": "bot-1", "display_name": "Helpful Hal"}
    arrive(named, said, message_id="msg_n")
    assert clocks(named)["first_response 1"].state == "running"
    theirs = event("I am a customer called so", id="n-2")
    theirs["data"]["author"] |= {"display_name": "Helpful Hal"}
    arrive(named, theirs, message_id="msg_t")
    with named.hub.database.read() as uow:
        kept = uow.complaints.arrivals_of(the_complaint(named).id)
    assert {a.source_id: a.automatic for a in kept} == {"m-1": False, "n-1": True, "n-2": False}
    answer(named)
    assert clocks(named)["first_response 1"].state == "answered"


@both_databases
def test_a_note_among_colleagues_answers_nobody_nor_does_a_machine(known: Stage) -> None:
    put(known, **STEPS)
    arrive(known, event())
    note = event("Her lamp, I think", id="n-1", internal=True)
    arrive(known, note, message_id="msg_n")
    greeting = event("We will be with you soon", id="n-2", automatic=True)
    arrive(known, greeting, message_id="msg_g")
    assert clocks(known)["first_response 1"].state == "running"
    known.time.pass_(minutes=46)
    look(known)
    assert [step.state for step in steps(known)][:1] == ["fired"], "it is due all the same"
    answer(known)
    assert clocks(known)["first_response 1"].state == "answered"
