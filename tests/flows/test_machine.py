"""Corrective actions against a model: whatever people, remotes, faults and deaths do to them.

Hypothesis puts together what happens: people ask, approve, cancel, undo, finish, settle; remotes
drop answers, commit late, refuse; colleagues work in the ERP by hand; nodes die, freeze and wake.
After every step the remotes' own books are counted and held against `tests.flows.model`, which
shares no rule with the hub.

`AMENDS_MACHINE_EXAMPLES` and `AMENDS_MACHINE_STEPS` make it look for longer; a failure is printed
with the rules that lead to it and a line that repeats it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlmodel import select

from adapters.memory.remote import Fault, Phase, Refusal, Remote
from middleware.contract.actions import (
    CallBackRequest,
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    Operation,
    ReplacementOrderRequest,
    ReturnRequest,
    Speed,
    StoreCreditRequest,
    Then,
    UndoRequest,
    WantedLine,
)
from middleware.contract.canonical import (
    Invoice,
    InvoiceStatus,
    InvoiceType,
    Kind,
    Money,
    Order,
    OrderLine,
    OrderStatus,
    Record,
    Ref,
    Return,
    ReturnStatus,
)
from middleware.contract.errors import Ambiguous, RemoteError
from middleware.domain.actions import CaseWanted, Choice, Wanted
from middleware.domain.policy import Policy
from middleware.domain.policy_file import policy_of
from middleware.domain.problems import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    KeyReusedError,
    NotOfferedError,
)
from middleware.flows import carry, correct, plan, reconcile
from middleware.flows.budget import budget_of
from middleware.flows.engine import LeaseLostError
from middleware.flows.hub import Asker
from middleware.store.actions import StaleStepError
from middleware.store.database import Database
from middleware.store.tables import ActionRow, ActionStepRow, AuditRow
from tests import databases
from tests.flows import model
from tests.flows.conftest import Owed, Stage, staged
from tests.flows.model import LINES, SHIPPING, TOTAL, Asked, Books, ByHand, Shape

ENDED = {"done", "refused", "partial", "rejected", "expired", "cancelled"}
CHANGED_NOTHING = {"refused", "rejected", "expired", "cancelled"}
SETTLE_S = {"erp": 5, "crm": 0, "desk": 2}
LOOKED_UP_ONLY = {"replacement_order", "credit", "store_credit", "note"}
"""What the memory remote repeats when it is asked again."""

EUR = "EUR"

POLICY: Policy = policy_of(
    {
        "roles": ["agent", "lead", "manager"],
        "rules": [
            {
                "name": "big",
                "when": {
                    "operations": list(model.REMEDIES),
                    "over": {EUR: str(model.APPROVED_OVER)},
                    "under": {EUR: "110.01"},
                },
                "then": {"approve": "anyone"},
            },
            {
                "name": "huge",
                "when": {
                    "operations": list(model.REMEDIES),
                    "over": {EUR: str(model.APPROVED_TWICE_OVER)},
                },
                "then": {
                    "approve": [
                        {"role": "lead", "within": "2h", "delegates": ["manager"]},
                        "manager",
                    ]
                },
            },
            {
                "name": "vouchers_wait",
                "when": {"operations": ["store_credit"]},
                "then": {"cool_off": "10m"},
            },
        ],
    }
)

ROLES = {
    "key_kim": "agent",
    "key_lou": "lead",
    "key_lea": "lead",
    "key_max": "manager",
    "key_mia": "manager",
}

LINES_WANTED = st.sampled_from(
    [{"1": 1}, {"1": 2}, {"2": 1}, {"2": 3}, {"2": 4}, {"1": 1, "2": 2}, {"1": 2, "2": 4}]
)
AMOUNTS = st.sampled_from(["5.00", "30.00", "49.90", "70.00", "124.70"])
SHAPES: st.SearchStrategy[Shape] = st.one_of(
    st.fixed_dictionaries({"kind": st.just("replacement_order"), "lines": LINES_WANTED}),
    st.fixed_dictionaries(
        {
            "kind": st.just("return"),
            "lines": LINES_WANTED,
            "then": st.sampled_from([str(then) for then in Then]),
        }
    ),
    st.fixed_dictionaries(
        {"kind": st.just("credit"), "lines": LINES_WANTED, "shipping": st.booleans()}
    ),
    st.sampled_from(
        [
            {"kind": "credit", "full": True},
            {"kind": "credit", "shipping": True},
            {"kind": "credit", "lines": {"1": 1}, "amount": "49.90"},
            {"kind": "credit", "lines": {"1": 1}, "amount": "20.00"},
            {"kind": "credit", "lines": {"2": 4}, "amount": "15.00"},
            {"kind": "case"},
            {"kind": "call_back"},
            {"kind": "cancellation"},
        ]
    ),
    st.fixed_dictionaries({"kind": st.sampled_from(["credit", "store_credit"]), "amount": AMOUNTS}),
)
SMALL: st.SearchStrategy[Shape] = st.sampled_from(
    [
        {"kind": "replacement_order", "lines": {"2": 1}},
        {"kind": "replacement_order", "lines": {"1": 1}},
        {"kind": "return", "lines": {"2": 1}, "then": "refund"},
        {"kind": "return", "lines": {"2": 1}, "then": "replacement"},
        {"kind": "return", "lines": {"1": 1}, "then": "replacement"},
        {"kind": "credit", "lines": {"2": 1}},
        {"kind": "credit", "amount": "5.00"},
        {"kind": "credit", "lines": {"1": 1}, "amount": "20.00"},
        {"kind": "store_credit", "amount": "5.00"},
        {"kind": "case"},
        {"kind": "call_back"},
        {"kind": "cancellation"},
    ]
)
"""Remedies that need nobody's approval."""
PICK = st.integers(0, 1000)
WHO = st.sampled_from(sorted(ROLES))

LIFE = re.compile(r"R[WUH]*(E[HN]*(F[WUH]*E[HN]*)*(F[WUH]*)?)?")
"""An action's events: requested; waiting, unknown; an end; perhaps resumed, and an end again."""
LETTERS = {
    "action.requested": "R",
    "action.waiting": "W",
    "action.unknown": "U",
    "action.handed_over": "H",
    "action.undone": "N",
    "action.resumed": "F",
    **{f"action.{state}": "E" for state in ENDED},
}


@dataclass
class Call:
    """One call of the hub to a remote, as the remote's side of the wire saw it."""

    what: str
    """send or look."""
    at: datetime
    outcome: str = "silence"
    ended: datetime | None = None

    @property
    def may_have_done_it(self) -> bool:
        return self.what == "send" and self.outcome in ("silence", "done", "Ambiguous")


@dataclass
class Zombie:
    """A pass that froze: what it held in its hands."""

    action_id: str
    number: int
    sending: carry.Sending
    sent: carry.Sent | None


@dataclass
class Seen:
    """All rows about actions, at one moment."""

    actions: dict[str, ActionRow]
    steps: dict[str, list[ActionStepRow]]
    events: dict[str, list[str]]
    audit: dict[str, list[AuditRow]]
    budget: dict[tuple[str, str], Decimal]

    def in_state(self, *states: str) -> list[str]:
        return [a.id for a in self.actions.values() if a.state in states]


class Machine(RuleBasedStateMachine):
    """The hub over three memory remotes, and what happens to it."""

    database: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="machine-")))
        url = databases.migrated(self.database, folder)
        self.stack.callback(databases.drop, url)
        database = Database(url)
        self.stack.callback(database.close)
        stage = self.stack.enter_context(staged(database))
        self.stage: Stage = stage.with_options(policy=POLICY)
        self.hub, self.time, self.engine = self.stage.hub, self.stage.time, self.stage.engine
        self.remotes: dict[str, Remote] = {
            "erp": stage.erp,
            "crm": stage.crm,
            "desk": stage.desk,
        }
        self.by_connection = {stage.names[n]: remote for n, remote in self.remotes.items()}
        self.erp = stage.erp
        self.order = stage.order.model_copy(
            update={
                "total": Money(amount=TOTAL, currency=EUR),
                "shipping": Money(amount=SHIPPING, currency=EUR),
            }
        )
        self.other_order = stage.order.model_copy(
            update={
                "ref": stage.ref("erp", Kind.ORDER, "O2"),
                "number": "SO-10002",
                "status": OrderStatus.CONFIRMED,
                "total": Money(amount=Decimal("20.00"), currency=EUR),
                "lines": stage.order.lines[1:],
            }
        )
        self.erp.put(self.order, self.other_order)
        self.stage.store(stage.account, stage.contact, self.order, self.other_order)
        self.complaint = self.stage.complaint()

        self.books = Books()
        self.keys: dict[tuple[str, str], tuple[Shape, str, datetime]] = {}
        self.late: list[tuple[datetime, Callable[[], Any]]] = []
        self.calls: dict[str, list[Call]] = defaultdict(list)
        self.unrecorded: Counter[str] = Counter()
        self.hang = 0.0
        self.doubled: set[str] = set()
        self.zombies: list[Zombie] = []
        self.wrong: list[str] = []
        self.versions: dict[str, tuple[int, str]] = {}
        self.ticks = 0
        self.numbers = 0
        for name, remote in self.remotes.items():
            remote.later = self._later
            self._watch(name)
        self.seen = self._see()

    # --- the wire, seen from the remotes' side ---------------------------------------------------

    def _watch(self, name: str) -> None:
        """Write down every send and every look-up, and hold each send against those before."""
        adapter: Any = self.hub.registry.adapter(self.stage.names[name])
        for operation in Operation:
            create = getattr(adapter, f"create_{operation}", None)
            find = getattr(adapter, f"find_{operation}", None)
            if create is not None and find is not None:
                setattr(adapter, f"create_{operation}", self._sent(name, str(operation), create))
                setattr(adapter, f"find_{operation}", self._looked(find))

    def _sent(self, name: str, operation: str, create: Callable[..., Any]) -> Callable[..., Any]:
        def send(request: Any, *, key: str) -> Any:
            self._drain()
            self._may_be_sent(name, operation, key)
            call = Call("send", self.time.now)
            self.calls[key].append(call)
            try:
                receipt = create(request, key=key)
            except RemoteError as error:
                call.outcome = type(error).__name__
                if isinstance(error, Ambiguous):
                    self.time.pass_(seconds=self.hang)
                raise
            else:
                call.outcome = "done"
                return receipt
            finally:
                self.hang = 0.0
                call.ended = self.time.now

        return send

    def _looked(self, find: Callable[..., Any]) -> Callable[..., Any]:
        def look(request: Any, *, key: str) -> Any:
            self._drain()
            call = Call("look", self.time.now)
            self.calls[key].append(call)
            found = find(request, key=key)
            call.outcome = "found" if found is not None else "none"
            call.ended = self.time.now
            return found

        return look

    def _may_be_sent(self, name: str, operation: str, key: str) -> None:
        """A send that may have worked is followed by another only after a look-up found nothing.

        Where the remote does not guard the key itself, not before it has settled.
        """
        calls = self.calls[key]
        last = next((n for n in reversed(range(len(calls))) if calls[n].may_have_done_it), None)
        if last is None:
            return
        given_up = calls[last].ended or calls[last].at
        settled = given_up
        if operation in LOOKED_UP_ONLY:
            settled += timedelta(seconds=SETTLE_S[name])
        looks = [c for c in calls[last + 1 :] if c.what == "look" and c.outcome == "none"]
        if not any(look.at >= settled for look in looks):
            self.wrong.append(f"{operation} {key} sent again without a look-up that proves it void")

    def _later(self, seconds: float, work: Callable[[], Any]) -> None:
        self.late.append((self.time.now + timedelta(seconds=self.hang + seconds), work))

    def _drain(self) -> None:
        """Let the remotes do what is late by now."""
        due = [work for at, work in self.late if at <= self.time.now]
        self.late = [(at, work) for at, work in self.late if at > self.time.now]
        for work in due:
            with suppress(Refusal):
                work()

    # --- running ---------------------------------------------------------------------------------

    def _run(self, *, most: int = 200) -> None:
        """Run what is due; a death leaves the pass it struck in `self.struck`."""
        for _ in range(most):
            self._drain()
            due = next((o for o in self.engine.owed if o.due <= self.time.now), None)
            if due is None:
                return
            self.engine.owed.remove(due)
            self.struck: Owed | None = due
            self.stage.handlers[due.flow](*due.arguments)
        raise AssertionError("it never comes to rest")

    def _see(self) -> Seen:
        with self.hub.database.read() as uow:
            actions = {a.id: a for a in uow.session.exec(select(ActionRow)).all()}
            steps: dict[str, list[ActionStepRow]] = defaultdict(list)
            for step in sorted(uow.session.exec(select(ActionStepRow)), key=lambda s: s.position):
                steps[step.action_id].append(step)
            events: dict[str, list[str]] = defaultdict(list)
            for event in uow.events.since(0, limit=100_000):
                events[event.subject].append(event.type)
            audit: dict[str, list[AuditRow]] = defaultdict(list)
            for entry in uow.session.exec(select(AuditRow)):
                audit[entry.subject].append(entry)
            stored = uow.records.get(self.order.ref)
            assert stored is not None
            assert isinstance(stored.record, Order)
            budget = budget_of(uow, stored.record)
            taken = {(what, line): budget.taken(line, what)[0] for what, line in model.WHOLE}
        return Seen(actions, steps, events, audit, taken)

    def _pick(self, of: Sequence[Any], pick: int) -> Any:
        return of[pick % len(of)]

    def _asker(self, who: str, key: str | None = None, body: str = "") -> Asker:
        return Asker(who, role=ROLES[who], key=key, body_hash=body)

    # --- asking ----------------------------------------------------------------------------------

    def _wanted(self, shape: Shape, *, case: bool = False, note: bool = False) -> Wanted:
        kind = shape["kind"]
        lines = tuple(
            WantedLine(line=line, sku=f"SKU-{line}", quantity=Decimal(n))
            for line, n in shape.get("lines", {}).items()
        )
        amount = shape.get("amount")
        money = Money(amount=Decimal(amount), currency=EUR) if amount is not None else None
        order = self.order.ref
        request: Any
        match kind:
            case "replacement_order":
                request = ReplacementOrderRequest(order=order, lines=lines, speed=Speed.RUSH)
            case "return":
                request = ReturnRequest(order=order, lines=lines, then=Then(shape["then"]))
            case "credit":
                request = CreditRequest(
                    order=order,
                    lines=lines,
                    amount=money,
                    shipping=shape.get("shipping", False),
                    full=shape.get("full", False),
                )
            case "store_credit":
                assert money is not None
                request = StoreCreditRequest(order=order, amount=money)
            case "cancellation":
                request = CancellationRequest(order=self.other_order.ref)
            case "case":
                request = CaseRequest(subject="See to it", order_number="SO-10001")
            case "call_back":
                request = CallBackRequest(
                    subject="Call",
                    slot_from="2099-01-04T09:00:00Z",  # type: ignore[arg-type]
                    slot_to="2099-01-04T10:00:00Z",  # type: ignore[arg-type]
                )
            case "undo":
                request = UndoRequest(action=shape["of"])
            case _:
                raise AssertionError(kind)
        return Wanted(
            operation=Operation(kind),
            request=request,
            case=CaseWanted() if case and kind != "case" else None,
            note="" if note else None,
            complaint_id=self.complaint if note else None,
        )

    def _accepted(self, action_id: str, shape: Shape, who: str) -> None:
        assert action_id not in self.books.asked, "another request was given this action"
        self.books.asked[action_id] = Asked(action_id, shape, who, self.time.now)

    @rule(shape=SHAPES, who=WHO, case=st.booleans(), note=st.booleans(), keyed=st.booleans())
    def ask(self, shape: Shape, who: str, case: bool, note: bool, keyed: bool) -> None:
        wanted = self._wanted(shape, case=case, note=note)
        self.numbers += 1
        key = f"k{self.numbers}" if keyed else None
        body = f"{shape}{case}{note}"
        mine, already = model.takes(shape), self.books.taken()
        try:
            action_id, new = correct.create(self.hub, wanted, self._asker(who, key, body))
        except ConflictError as conflict:
            assert not model.fits(mine, already), f"{shape} fits: {already}"
            by = set(conflict.more["by"])
            assert by
            assert by <= self.books.holders(), f"{by} hold nothing"
        except InvalidError:
            assert model.never_was(mine)
        else:
            assert new
            assert model.fits(mine, already), f"{shape} does not fit: {already}"
            self._accepted(action_id, shape, who)
            if key is not None:
                self.keys[who, key] = (
                    {**shape, "case": case, "note": note},
                    action_id,
                    self.time.now,
                )

    @initialize(shapes=st.lists(SHAPES, min_size=1, max_size=3), who=WHO)
    def some_are_asked_for(self, shapes: list[Shape], who: str) -> None:
        for shape in shapes:
            self.ask(shape, who, case=False, note=True, keyed=True)

    @rule(shape=SMALL, who=WHO, case=st.booleans(), minutes=st.sampled_from([0, 15]))
    def ask_and_run(self, shape: Shape, who: str, case: bool, minutes: int) -> None:
        self.ask(shape, who, case=case, note=False, keyed=False)
        self.work_goes_on(minutes)

    @rule(shape=SMALL, first=st.sampled_from(["erp", "crm"]))
    def half_of_it_is_refused(self, shape: Shape, first: str) -> None:
        """The case beside it may not be opened, or the replacement beside a return."""
        remote = self.remotes[first]
        lacks = Operation.CASE if first == "crm" else Operation.REPLACEMENT_ORDER
        remote.permissions -= {lacks}
        if first == "erp":
            shape = {"kind": "return", "lines": {"2": 1}, "then": "replacement"}
        self.ask(shape, "key_kim", case=first == "crm", note=False, keyed=False)
        self.work_goes_on(15)
        remote.permissions |= {lacks}

    def _something_to_do(self, shape: Shape) -> None:
        """See to it that a pass is due, so that whatever strikes next strikes something."""
        if not self._passes():
            self.ask(shape, "key_kim", case=False, note=False, keyed=False)

    @precondition(lambda self: self.keys)
    @rule(pick=PICK, other=st.booleans())
    def ask_again_with_the_same_key(self, pick: int, other: bool) -> None:
        (who, key), (told, action_id, at) = self._pick(sorted(self.keys.items(), key=str), pick)
        if self.time.now - at > timedelta(hours=23):
            return
        shape = {k: v for k, v in told.items() if k not in ("case", "note")}
        wanted = self._wanted(shape, case=told["case"], note=told["note"])
        body = f"{shape}{told['case']}{told['note']}"
        if other:
            with pytest.raises(KeyReusedError):
                correct.create(self.hub, wanted, self._asker(who, key, body + "!"))
            return
        assert correct.create(self.hub, wanted, self._asker(who, key, body)) == (action_id, False)

    @rule(
        line=st.sampled_from(sorted(LINES)), kind=st.sampled_from(["replacement_order", "credit"])
    )
    def two_ask_at_once(self, line: str, kind: str) -> None:
        """Both were planned before either was stored; only one can have what is left."""
        already = self.books.taken()
        left = LINES[line][0] - already.get(("pieces", line), Decimal(0))
        if left < 1:
            return
        shape = {"kind": kind, "lines": {line: int(left)}}
        if not model.fits(model.takes(shape), already):
            return
        won: list[str] = []
        lost: list[ConflictError] = []
        together = threading.Barrier(2)

        def ask(who: str) -> None:
            together.wait()
            try:
                won.append(correct.create(self.hub, self._wanted(shape), self._asker(who))[0])
            except ConflictError as conflict:
                lost.append(conflict)

        threads = [threading.Thread(target=ask, args=(who,)) for who in ("key_kim", "key_lou")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(lost)) == (1, 1), f"{len(won)} won, {len(lost)} were told of it"
        assert won[0] in lost[0].more["actions"]
        with self.hub.database.read() as uow:
            row = uow.actions.get(won[0])
            assert row is not None
            self._accepted(won[0], shape, row.requested_by)

    # --- approving, calling off, taking back -----------------------------------------------------

    @precondition(lambda self: self.seen.in_state("awaiting_approval"))
    @rule(pick=PICK, who=WHO | st.none(), grant=st.sampled_from([True, True, True, False]))
    def decide(self, pick: int, who: str | None, grant: bool) -> None:
        """Somebody says yes or no; None is whoever asked for it."""
        action_id = self._pick(self.seen.in_state("awaiting_approval"), pick)
        asked = self.books.asked[action_id]
        who = who or asked.by
        must_not = who == asked.by or who in asked.approved_by
        try:
            correct.approve(self.hub, action_id, self._asker(who), grant=grant, reason=None)
        except (ConflictError, ForbiddenError):
            return
        assert not must_not, f"{who} had a say in what is not theirs to decide"
        if grant:
            asked.approved_by.append(who)
            asked.approved_at = self.time.now

    @precondition(lambda self: self.seen.in_state("awaiting_approval"))
    @rule(pick=PICK)
    def all_approve(self, pick: int) -> None:
        for who in ("key_lou", "key_lea", "key_max", "key_mia"):
            if self.seen.in_state("awaiting_approval"):
                self.decide(pick, who, grant=True)
                self.seen = self._see()

    @precondition(lambda self: self.seen.actions)
    @rule(pick=PICK, who=WHO)
    def call_off(self, pick: int, who: str) -> None:
        """Whatever is taken back then must never show up in a remote."""
        alive = self.seen.in_state("awaiting_approval", "queued", "waiting", "running")
        action_id = self._pick(alive or list(self.seen.actions), pick)
        with suppress(ConflictError):
            correct.cancel(self.hub, action_id, self._asker(who))

    @precondition(lambda self: self.seen.in_state("done", "partial"))
    @rule(
        pick=PICK,
        who=WHO,
        run=st.booleans(),
        refused=st.sampled_from([None, None, "erp", "crm"]),
    )
    def undo(self, pick: int, who: str, run: bool, refused: str | None) -> None:
        made = self.seen.in_state("done", "partial")
        remedies = [a for a in made if self.seen.actions[a].kind in model.REMEDIES]
        action = self.seen.actions[self._pick(remedies or made, pick)]
        shape = {"kind": "undo", "of": action.id}
        for_ever = ("note", "cancellation", "withdrawal")
        possible = (
            action.kind != "undo"
            and action.undone_by is None
            and any(
                s.state == "done" and s.operation not in for_ever
                for s in self.seen.steps[action.id]
            )
        )
        try:
            undo, _ = correct.create(self.hub, self._wanted(shape), self._asker(who))
        except (ConflictError, InvalidError, NotOfferedError):
            assert not possible
            return
        assert possible
        self._accepted(undo, shape, who)
        if refused is not None:
            self.remotes[refused].permissions -= {Operation.WITHDRAWAL}
        if run:
            self._run()
        if refused is not None:
            self.remotes[refused].permissions |= {Operation.WITHDRAWAL}

    @precondition(lambda self: self.seen.in_state("partial"))
    @rule(pick=PICK, who=WHO)
    def finish(self, pick: int, who: str) -> None:
        with suppress(ConflictError):
            correct.finish(
                self.hub, self._pick(self.seen.in_state("partial"), pick), self._asker(who)
            )

    @precondition(lambda self: self.seen.in_state("partial", "unknown"))
    @rule(pick=PICK, who=WHO)
    def hand_over(self, pick: int, who: str) -> None:
        action_id = self._pick(self.seen.in_state("partial", "unknown"), pick)
        with suppress(ConflictError):
            correct.hand_over(self.hub, action_id, self._asker(who), reason="by phone")

    @precondition(lambda self: self.seen.in_state("unknown"))
    @rule(pick=PICK, who=WHO)
    def settle(self, pick: int, who: str) -> None:
        """Somebody looks into the remote and says what is there; of two, they cancel one."""
        self._pass(10)
        action_id = self._pick(self.seen.in_state("unknown"), pick)
        (step,) = [s for s in self.seen.steps[action_id] if s.state == "unknown"]
        remote = self.by_connection[step.connection]
        made = None
        if step.operation == "withdrawal":
            of = Ref.model_validate((step.request or {})["of"])
            made = of if remote.ended(of) is not None else None
        else:
            rows = remote.written(Operation(step.operation), step.key)
            made = rows[0][0] if rows else None
            for _ref, row in rows[1:]:
                if isinstance(row, Order | Invoice):
                    remote.put(row.model_copy(update={"status": type(row.status)("cancelled")}))
        correct.settle(
            self.hub,
            action_id,
            step.id,
            self._asker(who),
            made=made,
            number=None,
            reason="I looked",
        )

    # --- time and work ---------------------------------------------------------------------------

    def _pass(self, seconds: float) -> None:
        self.time.pass_(seconds=seconds)
        self._drain()

    @rule(
        seconds=st.sampled_from([1, 2, 4, 6, 30, 130, 700, 7300, 90_000]),
        run=st.booleans(),
        tick=st.booleans(),
    )
    def time_passes(self, seconds: int, run: bool, tick: bool) -> None:
        """Perhaps nobody works meanwhile: all nodes are down."""
        self._pass(seconds)
        if tick:
            self.reconcile()
        if run:
            self._run()

    def reconcile(self) -> None:
        self.ticks += 1
        reconcile.run(self.hub, f"t{self.ticks}")

    @rule(minutes=st.sampled_from([0, 1, 15]))
    def work_goes_on(self, minutes: int) -> None:
        until = self.time.now + timedelta(minutes=minutes)
        self._run()
        for _ in range(60):
            due = min((o.due for o in self.engine.owed), default=until)
            if due >= until:
                break
            self.time.now = max(due, self.time.now)
            self._run()
        self.time.now = max(self.time.now, until)

    # --- remotes on a bad day --------------------------------------------------------------------

    @rule(
        shape=SMALL,
        desk=st.sampled_from([False, False, False, False, True]),
        fault=st.sampled_from([Fault.DROP, Fault.DROP, Fault.GARBAGE, Fault.MASKED]),
        phase=st.sampled_from(["before", "after", "after", "late", "late"]),
        seconds=st.sampled_from([0.2, 1.5, 4.5]),
        hang=st.sampled_from([0.0, 12.0]),
        then=st.sampled_from([None, None, Fault.BUSY, Fault.DOWN, Fault.DENIED, "forbidden"]),
        minutes=st.sampled_from([0, 1, 15]),
    )
    def answers_get_lost(
        self,
        shape: Shape,
        desk: bool,
        fault: Fault,
        phase: Phase,
        seconds: float,
        hang: float,
        then: Fault | str | None,
        minutes: int,
    ) -> None:
        """The remote does it, or not, or in a moment, and nobody hears of it; `then` something."""
        name = "desk" if desk else "crm" if shape["kind"] in ("case", "call_back") else "erp"
        if phase == "late":
            seconds = min(seconds, SETTLE_S[name] - 0.5)
            if seconds <= 0:
                return
        remote = self.remotes[name]
        remote.script.arm(fault, write=True, phase=phase, seconds=seconds)
        self._something_to_do(shape)
        self.hang = hang
        self._run()
        if isinstance(then, Fault):
            remote.script.arm(then, write=True)
        elif then is not None:
            remote.permissions = frozenset()
        self.work_goes_on(minutes)

    @rule(shape=SMALL, phase=st.sampled_from(["before", "after"]))
    def nobody_can_tell(self, shape: Shape, phase: Phase) -> None:
        """The answer is lost, and the remote stays away until the action has expired."""
        self._something_to_do(shape)
        for name in ("erp", "crm"):
            script = self.remotes[name].script
            script.arm(Fault.DROP, write=True, phase=phase)
            script.arm(Fault.DOWN, times=60)
        self._run()
        self._pass(90_000)
        self._run()
        for name in ("erp", "crm"):
            self.all_is_well(name, "key_max")

    @rule(
        name=st.sampled_from(["erp", "erp", "crm", "desk"]),
        fault=st.sampled_from([Fault.BUSY, Fault.DOWN, Fault.DROP, Fault.DENIED]),
        write=st.sampled_from([None, False, False]),
        times=st.sampled_from([1, 3, 60]),
    )
    def is_away(self, name: str, fault: Fault, write: bool | None, times: int) -> None:
        self.remotes[name].script.arm(fault, write=write, times=times)

    @rule(
        name=st.sampled_from(["erp", "erp", "crm"]),
        operation=st.sampled_from(
            [
                None,
                Operation.REPLACEMENT_ORDER,
                Operation.RETURN,
                Operation.CASE,
                Operation.WITHDRAWAL,
            ]
        ),
    )
    def permissions_change(self, name: str, operation: Operation | None) -> None:
        """One is taken away or given back, or all are given."""
        remote = self.remotes[name]
        remote.permissions = (
            frozenset(Operation) if operation is None else remote.permissions ^ {operation}
        )

    @rule(name=st.sampled_from(["erp", "crm", "desk"]), who=WHO)
    def all_is_well(self, name: str, who: str) -> None:
        self.remotes[name].script.disarm()
        self.hub.gate.resume(self.stage.names[name], self._asker(who))

    # --- nodes that die and freeze ---------------------------------------------------------------

    @rule(
        shape=SMALL,
        where=st.sampled_from(
            ["_announce", "_send", "_settle", "_settle", "_announce_again", "lease"]
        ),
        nth=st.sampled_from([1, 1, 2]),
        after=st.booleans(),
        again=st.booleans(),
    )
    def dies(self, shape: Shape, where: str, nth: int, after: bool, again: bool) -> None:
        """The node dies before or after the n-th time it does this; the engine hands out again.

        Or the engine's row is lost too, and reconcile has to find it.
        """
        self.hang = 0.0
        self._something_to_do(shape)
        if where == "lease":
            self.engine.guards.append(_lost)
            try:
                self._struck_by(LeaseLostError, again=again)
            finally:
                self.engine.guards.clear()
            return
        real = getattr(carry, where)
        times = 0

        def dying(*arguments: Any, **named: Any) -> Any:
            nonlocal times
            times += 1
            if times != nth:
                return real(*arguments, **named)
            if where == "_settle" and not after and not arguments[-1].looking:
                self.unrecorded[arguments[-2].key] += 1
            if after:
                result = real(*arguments, **named)
                if where == "_send" and not result.looking:
                    self.unrecorded[arguments[-1].key] += 1
            raise SystemExit("killed")

        with mock.patch.object(carry, where, dying):
            self._struck_by(SystemExit, again=again)

    def _struck_by(self, what: type[BaseException], *, again: bool) -> None:
        self.struck = None
        try:
            self._run()
        except what:
            if again and self.struck is not None:
                self.engine.owed.append(self.struck)

    def _passes(self) -> list[Owed]:
        return [o for o in self.engine.owed if o.flow == "correct" and o.due <= self.time.now]

    @rule(shape=SMALL, pick=PICK, sent=st.booleans())
    def freezes(self, shape: Shape, pick: int, sent: bool) -> None:
        """The node stops in the middle, before or after it has sent."""
        self.hang = 0.0
        self._something_to_do(shape)
        if not self._passes():
            return
        owed = self._pick(self._passes(), pick)
        action_id, number = owed.arguments[0], int(owed.arguments[1])
        sending = carry._announce(self.hub, action_id, number)
        if not isinstance(sending, carry.Sending):
            return
        self.engine.owed.remove(owed)
        outcome = None
        if sent:
            outcome = carry._send(self.hub, action_id, number, sending)
            if not outcome.looking:
                self.unrecorded[sending.key] += 1
        self.zombies.append(Zombie(action_id, number, sending, outcome))

    @rule(shape=SMALL, fault=st.sampled_from([Fault.BUSY, Fault.DROP]), cancel=st.booleans())
    def two_nodes_have_it(self, shape: Shape, fault: Fault, cancel: bool) -> None:
        """One froze with bad news in its hands, the next with good news; then the first wakes."""
        if self.zombies or self._passes():
            return
        self.remotes["crm" if shape["kind"] in ("case", "call_back") else "erp"].script.arm(
            fault, write=True
        )
        self.freezes(shape, 0, sent=True)
        for _ in range(2):
            self._pass(130)
            self.reconcile()
        self._hear()
        self.freezes(shape, 0, sent=True)
        if len(self.zombies) == 2 and len({z.action_id for z in self.zombies}) == 1:
            self.wakes_up(0)
            if cancel:
                with suppress(ConflictError):
                    correct.cancel(self.hub, self.zombies[0].action_id, self._asker("key_max"))

    @precondition(lambda self: self.zombies)
    @rule(pick=PICK)
    def wakes_up(self, pick: int) -> None:
        """It knows nothing of what has happened meanwhile, and has lost its lease."""
        zombie = self.zombies.pop(pick % len(self.zombies))
        who = (self.hub, zombie.action_id, zombie.number)
        with suppress(StaleStepError):
            sent = zombie.sent
            if sent is None:
                self.engine.guards.append(_lost)
                try:
                    sent = carry._send(*who, zombie.sending)
                except LeaseLostError:
                    carry._step_back(*who, zombie.sending)
                    return
                finally:
                    self.engine.guards.clear()
            goes_on = carry._settle(self.hub, zombie.number, zombie.sending, sent)
            if zombie.sent is not None and not sent.looking:
                self.unrecorded[zombie.sending.key] -= 1
            if goes_on:
                carry.run(self.hub, zombie.action_id, str(zombie.number))

    # --- colleagues in the ERP -------------------------------------------------------------------

    @rule(
        order=st.sampled_from(["O1", "O2", "O2"]),
        status=st.sampled_from([OrderStatus.CONFIRMED, OrderStatus.SHIPPED, OrderStatus.CANCELLED]),
    )
    def colleague_changes_an_order(self, order: str, status: OrderStatus) -> None:
        record = self.erp.get(self.stage.ref("erp", Kind.ORDER, order), Order)
        self.erp.put(record.model_copy(update={"status": status}))

    @rule(
        kind=st.sampled_from(["credit", "return", "replacement_order"]),
        amount=st.sampled_from(["5.00", "49.90"]),
        line=st.sampled_from(sorted(LINES)),
        told=st.booleans(),
    )
    def colleague_puts_it_right(self, kind: str, amount: str, line: str, told: bool) -> None:
        """A remedy by hand; the hub hears of it with the next sync."""
        self.numbers += 1
        number = f"H{self.numbers}"
        lines = tuple(
            OrderLine(id="1", sku=found.sku, quantity=Decimal(1), origin=found.id)
            for found in self.order.lines
            if found.id == line
        )
        made: Record
        match kind:
            case "credit":
                made = Invoice(
                    ref=self.stage.ref("erp", Kind.INVOICE, number),
                    order=self.order.ref,
                    type=InvoiceType.CREDIT,
                    status=InvoiceStatus.POSTED,
                    total=Money(amount=Decimal(amount), currency=EUR),
                )
            case "return":
                made = Return(
                    ref=self.stage.ref("erp", Kind.RETURN, number),
                    order=self.order.ref,
                    status=ReturnStatus.AUTHORISED,
                    lines=lines,
                )
            case _:
                made = Order(
                    ref=self.stage.ref("erp", Kind.ORDER, number),
                    origin=self.order.ref,
                    status=OrderStatus.CONFIRMED,
                    lines=lines,
                )
        self.erp.put(made)
        if told:
            self.sync()

    @precondition(lambda self: self._made())
    @rule(pick=PICK, cancelled=st.booleans())
    def colleague_works_on_what_was_made(self, pick: int, cancelled: bool) -> None:
        """Ships, pays, takes in or cancels a remedy, ours or another colleague's."""
        record = self._pick(self._made(), pick)
        if self.erp.ended(record.ref) is not None:
            return
        if cancelled:
            record = record.model_copy(update={"status": type(record.status)("cancelled")})
        elif isinstance(record, Order):
            record = record.model_copy(update={"status": OrderStatus.SHIPPED})
        elif isinstance(record, Invoice):
            record = record.model_copy(update={"status": InvoiceStatus.PAID})
        elif record.status is ReturnStatus.AUTHORISED:
            self.erp.receive(record.ref)
            return
        self.erp.put(record)

    def _made(self) -> list[Any]:
        """The remedies of the order in the ERP's books, whoever made them."""
        return [
            record
            for record in self.erp.all(Record)
            if (isinstance(record, Order) and record.origin == self.order.ref)
            or (isinstance(record, Invoice | Return) and record.order == self.order.ref)
        ]

    @rule()
    def sync(self) -> None:
        """The hub is told what stands in the ERP, but for what it has itself under way."""
        self._pass(1)
        ours: set[Ref] = set()
        under_way: set[Ref] = set()
        for steps in self._see().steps.values():
            for step in steps:
                remote = self.by_connection[step.connection]
                refs = [ref for ref, _ in remote.written(Operation(step.operation), step.key)]
                if step.state != "done" or step.key in self.doubled:
                    under_way.update(refs)
                ours.update(refs)
        told: list[Record] = [
            self.erp.get(self.order.ref, Order),
            self.erp.get(self.other_order.ref, Order),
        ]
        for record in self._made():
            if record.ref in under_way:
                continue
            told.append(record)
            if record.ref in ours:
                continue
            if record.status == "cancelled":
                self.books.by_hand.pop(str(record.ref), None)
            else:
                self.books.by_hand[str(record.ref)] = _by_hand(record)
        self.stage.store(*told)

    @precondition(lambda self: self._doubtful())
    @rule(pick=PICK)
    def remote_makes_it_twice(self, pick: int) -> None:
        """The remote itself errs: a second record under our key. Only a person can say."""
        step = self._pick(self._doubtful(), pick)
        self.doubled.add(step.key)
        operation = Operation(step.operation)
        with suppress(Refusal):
            self.erp.write(
                operation,
                plan.load(operation, step.request),
                key=step.key,
                unique=False,
                connection=step.connection,
            )

    def _doubtful(self) -> list[ActionStepRow]:
        return [
            step
            for steps in self.seen.steps.values()
            for step in steps
            if step.in_doubt
            and step.operation in model.REMEDIES
            and step.operation in LOOKED_UP_ONLY
            and self.erp.count(Operation(step.operation), step.key) == 1
        ]

    # --- what holds after every step -------------------------------------------------------------

    @invariant()
    def all_holds(self) -> None:
        self._hear()
        assert self.wrong == []
        self._each_step_has_its_effect()
        self._budget_is_as_the_model_has_it()
        self._remotes_hold_no_more_than_there_is()
        self._nothing_went_out_unapproved()
        self._the_story_is_told_once()
        self._undos_agree()
        self._versions_grow()
        self._every_send_is_written_down()

    def _hear(self) -> None:
        """What has happened; in the midst of a rule in which time goes by, too."""
        self._drain()
        before, self.seen = self.seen, self._see()
        self._follow(before)

    def _effects(self, step: ActionStepRow) -> int:
        """How often the remote's own books bear the step's key."""
        return self.by_connection[step.connection].count(Operation(step.operation), step.key)

    def _follow(self, before: Seen) -> None:
        """Let the model hear how actions ended; what is taken back is judged by the ERP's books."""
        for action in self.seen.actions.values():
            asked = self.books.asked.get(action.id)
            if asked is None:
                assert action.requested_by == "hub", f"{action.id} was never asked for"
                assert action.kind == "note"
                asked = Asked(action.id, {"kind": "note"}, "hub", self.time.now)
                self.books.asked[action.id] = asked
            if action.state in CHANGED_NOTHING:
                asked.held = False
            earlier = before.actions.get(action.id)
            ended = action.undoes is not None and action.state in ("done", "partial")
            if ended and (earlier is None or earlier.version != action.version):
                assert action.undoes is not None
                records = [
                    ref
                    for step in self.seen.steps[action.undoes]
                    if step.operation in model.REMEDIES and step.state == "done"
                    for ref, _ in self.erp.written(Operation(step.operation), step.key)[:1]
                ]
                if records and all(self.erp.ended(ref) is not None for ref in records):
                    self.books.asked[action.undoes].held = False
        lost = set(self.books.asked) - set(self.seen.actions)
        assert not lost, f"accepted and gone: {lost}"

    def _each_step_has_its_effect(self) -> None:
        for action in self.seen.actions.values():
            steps = self.seen.steps[action.id]
            for step in steps:
                made = self._effects(step)
                what = f"{action.kind} {action.state}: {step.operation} {step.state}, {made} made"
                if step.key not in self.doubled:
                    assert made <= 1, what
                if step.operation == "withdrawal" and step.request is not None:
                    remote = self.by_connection[step.connection]
                    of = Ref.model_validate(step.request["of"])
                    assert remote.withdrawn(of) <= 1, what
                    assert step.state != "done" or remote.ended(of) is not None, what
                elif step.state == "done":
                    assert made >= 1, what
                if step.state in ("planned", "refused", "cancelled"):
                    assert made == 0, what
            if action.state in CHANGED_NOTHING:
                assert not any(map(self._effects, steps)), f"{action.kind} is {action.state}"
            if action.state == "done":
                assert all(step.state == "done" for step in steps)
            if action.state == "unknown":
                offered = correct.choices_of(action, steps)
                assert Choice.SETTLE in offered

    def _budget_is_as_the_model_has_it(self) -> None:
        expected = self.books.taken()
        for key, amount in self.seen.budget.items():
            assert amount == expected.get(key, 0), f"{key}: {amount} taken, not {expected.get(key)}"

    def _remotes_hold_no_more_than_there_is(self) -> None:
        """What stands of ours in the ERP, by its own books; each key counts once."""
        standing: list[model.Taken] = []
        for action_id, steps in self.seen.steps.items():
            shape = self.books.asked[action_id].shape
            for step in steps:
                if step.operation not in model.REMEDIES:
                    continue
                rows = self.erp.written(Operation(step.operation), step.key)[:1]
                if not rows or self.erp.ended(rows[0][0]) is not None:
                    continue
                if shape["kind"] == "return" and step.operation == "replacement_order":
                    shape = {"kind": "replacement_order", "lines": shape["lines"]}
                elif shape.get("then") == "replacement":
                    shape = {**shape, "then": "nothing"}
                taken = model.takes(shape)
                row = self.erp.get(rows[0][0], Record)
                if isinstance(row, Invoice):
                    assert row.total is not None
                    assert row.total.amount == taken["money", ""]
                standing.append(taken)
        assert model.fits(model.total(standing), {}), f"too much stands: {standing}"

    def _nothing_went_out_unapproved(self) -> None:
        for action_id, steps in self.seen.steps.items():
            asked = self.books.asked[action_id]
            sends = [
                call.at for s in steps for call in self.calls.get(s.key, ()) if call.what == "send"
            ]
            if not sends:
                continue
            others = set(asked.approved_by) - {asked.by}
            assert len(others) >= model.approvals(asked.shape), f"{asked.shape}: {others} approved"
            if asked.shape["kind"] == "store_credit":
                begun = asked.approved_at or asked.at
                assert min(sends) >= begun + timedelta(seconds=model.VOUCHERS_WAIT_S)

    def _the_story_is_told_once(self) -> None:
        for action in self.seen.actions.values():
            types = self.seen.events[action.id]
            story = "".join(LETTERS[type_] for type_ in types)
            assert LIFE.fullmatch(story), f"{action.kind} {action.state}: {types}"
            turns = [t for t in types if LETTERS[t] in "EF"]
            ended = bool(turns) and LETTERS[turns[-1]] == "E"
            assert ended == (action.state in ENDED), f"{action.state}: {types}"
            if ended:
                assert turns[-1] == f"action.{action.state}"

    def _undos_agree(self) -> None:
        for action in self.seen.actions.values():
            if action.undone_by is not None:
                undo = self.seen.actions[action.undone_by]
                assert undo.undoes == action.id
                assert undo.state not in CHANGED_NOTHING
            if action.undoes is not None and action.state not in CHANGED_NOTHING:
                assert self.seen.actions[action.undoes].undone_by == action.id

    def _versions_grow(self) -> None:
        for action in self.seen.actions.values():
            was, state = self.versions.get(action.id, (0, ""))
            assert action.version >= was
            assert action.state == state or action.version > was, f"{state} > {action.state}"
            self.versions[action.id] = (action.version, action.state)
            for step in self.seen.steps[action.id]:
                was, state = self.versions.get(step.id, (0, ""))
                assert step.version >= was
                assert step.state == state or step.version > was
                self.versions[step.id] = (step.version, step.state)

    def _every_send_is_written_down(self) -> None:
        for action_id, steps in self.seen.steps.items():
            written = Counter(
                entry.detail["step"]
                for entry in self.seen.audit[action_id]
                if entry.action == "step.sent"
            )
            for step in steps:
                sends = sum(call.what == "send" for call in self.calls.get(step.key, ()))
                told = written[step.id] + self.unrecorded[step.key]
                assert told >= sends, f"{step.operation} sent {sends} times, {told} in the timeline"
            assert [e.action for e in self.seen.audit[action_id]].count("action.create") == 1

    # --- the end ---------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self._comes_to_rest()
        finally:
            self.stack.close()

    def _comes_to_rest(self) -> None:
        """The faults are lifted, time runs, people settle what is unknown: everything ends."""
        self.hang = 0.0
        for remote in self.remotes.values():
            remote.script.disarm()
            remote.permissions = frozenset(Operation)
        for name in self.remotes:
            self.hub.gate.resume(self.stage.names[name], self._asker("key_max"))
        self._pass(10)
        for turn in range(300):
            self._run()
            self.all_holds()
            open_ = [a for a in self.seen.actions.values() if a.state not in ENDED]
            if not open_:
                return
            if all(a.state in ("unknown", "awaiting_approval") for a in open_):
                unknown = self.seen.in_state("unknown")
                if unknown:
                    self.settle(turn, "key_mia")
                else:
                    self._pass(90_000)
                    self.reconcile()
                continue
            due = min((o.due for o in self.engine.owed), default=None)
            if due is None or turn % 10 == 9:
                self._pass(300)
                self.reconcile()
            else:
                self.time.now = max(due, self.time.now)
        stuck = [(a.kind, a.state) for a in self.seen.actions.values() if a.state not in ENDED]
        raise AssertionError(f"stuck: {stuck}")


def _lost() -> None:
    raise LeaseLostError("node")


def _by_hand(record: Record) -> ByHand:
    """What a colleague's remedy takes, by the record that they made."""
    taken: model.Taken = {}
    if isinstance(record, Invoice):
        assert record.total is not None
        return ByHand(taken, credit=record.total.amount)
    assert isinstance(record, Order | Return)
    for line in record.lines:
        assert line.origin is not None
        money = line.quantity * LINES[line.origin][1]
        model.add(taken, "pieces", line.origin, line.quantity)
        model.add(taken, "money", line.origin, money)
        if isinstance(record, Return):
            model.add(taken, "returned", line.origin, line.quantity)
    back = taken["money", ""] if isinstance(record, Return) else Decimal(0)
    return ByHand(taken, worth_back=back)


def _lane(kind: str, *, examples: int) -> type:
    machine = type(f"On{kind.title()}", (Machine,), {"database": kind})
    longer = int(os.environ.get("AMENDS_MACHINE_EXAMPLES", "0"))
    case: type = machine.TestCase
    case.settings = settings(  # type: ignore[attr-defined]
        max_examples=longer // (1 if kind == "sqlite" else 4) or examples,
        stateful_step_count=int(os.environ.get("AMENDS_MACHINE_STEPS", "30")),
        deadline=None,
        derandomize=False,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    return case


TestOnSqlite = _lane("sqlite", examples=15)
TestOnPostgresql = _lane("postgresql", examples=3)
