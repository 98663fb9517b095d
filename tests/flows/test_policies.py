"""The policy at work: held to when asked for, in races too, and tried on the past."""

from __future__ import annotations

import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from middleware.contract.actions import (
    NoteRequest,
    Operation,
    Reason,
    ReplacementOrderRequest,
    Speed,
    UndoRequest,
    WantedLine,
)
from middleware.contract.canonical import Kind, Money, Order
from middleware.domain.actions import Wanted
from middleware.domain.identity import Basis
from middleware.domain.policy import Facts, Outcome, Policy, Verdict, built_in
from middleware.domain.policy_file import policy_of
from middleware.domain.problems import (
    ConflictError,
    EvidenceMissingError,
    ForbiddenError,
    NotFoundError,
    PolicyRefusedError,
    StaleVersionError,
)
from middleware.flows import correct, policies, reconcile
from middleware.flows.backtest import Backtest, backtest
from middleware.flows.hub import Asker
from middleware.store.tables import ComplaintRow, IdentityRow, LinkRow
from tests.flows.conftest import Stage

AGENT = Asker("key_agent", role="agent")
LEAD = Asker("key_lead", role="lead")
OTHER_LEAD = Asker("key_lead_2", role="lead")
MANAGER = Asker("key_manager", role="manager")
NOBODY = Asker("key_without_role")
ROLES = ["agent", "lead", "manager"]


def made_of(*rules: dict[str, Any], caps: tuple[dict[str, Any], ...] = ()) -> Policy:
    return policy_of({"roles": ROLES, "rules": list(rules), "caps": list(caps)})


def under(stage: Stage, *rules: dict[str, Any], caps: tuple[dict[str, Any], ...] = ()) -> Stage:
    """The stage with this policy in force."""
    policies.put(stage.hub, made_of(*rules, caps=caps), asker=LEAD, source="api", reason=None)
    return stage


def order(stage: Stage, number: int, account: str = "A1") -> Order:
    return stage.order.model_copy(
        update={
            "ref": stage.ref("erp", Kind.ORDER, f"P{number}"),
            "number": f"SO-2{number:04}",
            "account": stage.ref("erp", Kind.ACCOUNT, account),
        }
    )


def orders(stage: Stage, count: int, *, apart: bool = False) -> list[Order]:
    """Orders of one customer, or each of another one's."""
    made = [order(stage, n, f"A{n}" if apart else "A1") for n in range(count)]
    stage.store(*made)
    stage.erp.put(*made)
    return made


def replacement(of: Order, *, quantity: int = 1, **changes: Any) -> Wanted:
    return Wanted(
        operation=Operation.REPLACEMENT_ORDER,
        request=ReplacementOrderRequest(
            order=of.ref,
            lines=(WantedLine(line="1", sku="LMP-100", quantity=Decimal(quantity)),),
            speed=Speed.RUSH,
            reason=Reason.DAMAGED,
        ),
        **changes,
    )


def ask(stage: Stage, wanted: Wanted, asker: Asker = AGENT) -> str:
    return correct.create(stage.hub, wanted, asker)[0]


def facts(stage: Stage, action_id: str) -> Facts:
    return Facts.model_validate(kept(stage, action_id)["facts"])


def kept(stage: Stage, action_id: str) -> dict[str, Any]:
    with stage.hub.database.read() as uow:
        action = uow.actions.get(action_id)
        assert action is not None
        assert action.policy is not None
        return action.policy


def approve(stage: Stage, action_id: str, asker: Asker, *, grant: bool = True) -> None:
    correct.approve(stage.hub, action_id, asker, grant=grant, reason=None)


# --- what is known -------------------------------------------------------------------------------


def complain(stage: Stage, *, basis: Basis = Basis.CRM_RECORD) -> tuple[str, str]:
    """A complaint of somebody whose order the hub is sure of; answers its id and the person's."""
    now = stage.time()
    with stage.hub.database.begin() as uow:
        person = uow.people.add_person(display_name="Kim", at=now).id
        identity = IdentityRow(
            id="idn_1", network="x", native_id="42", first_seen_at=now, last_seen_at=now
        )
        uow.session.add(identity)
        uow.session.flush()
        for n, target in enumerate(({"identity_id": "idn_1"}, _record(stage))):
            uow.people.add_link(
                LinkRow(
                    id=f"lnk_{n}",
                    person_id=person,
                    basis=basis.value,
                    confidence=1.0,
                    evidence=[],
                    decided_by="test",
                    valid_from=now,
                    **target,
                )
            )
        uow.complaints.add(
            ComplaintRow(
                id="cmp_1",
                connection=stage.names["desk"],
                conversation="7",
                network="x",
                brand_account="acme",
                state="open",
                identity_id="idn_1",
                person_id=person,
                order_match={
                    "chosen": stage.order.ref.model_dump(mode="json"),
                    "confidence": 0.8,
                },
                order_ref=str(stage.order.ref),
                opened_at=now,
                updated_at=now,
            )
        )
    return "cmp_1", person


def _record(stage: Stage) -> dict[str, Any]:
    ref = stage.account.ref
    return {"connection": ref.connection, "kind": ref.kind.value, "record_id": ref.id}


def test_an_action_keeps_the_verdict_and_the_facts_it_was_accepted_under(known: Stage) -> None:
    complaint, person = complain(known)
    known.store(known.account.model_copy(update={"tier": "gold"}), order(known, 1))
    under(known, {"name": "named", "when": {"rush": True}, "then": "allow"})
    action = ask(
        known, replacement(known.order, complaint_id=complaint, evidence=("https://example.com/1",))
    )
    assert kept(known, action)["version"] == 1
    verdict = Verdict.model_validate(kept(known, action)["verdict"])
    assert (verdict.outcome, [say.rule for say in verdict.says]) == (Outcome.ALLOW, ["named"])
    found = facts(known, action)
    assert found == Facts(
        operation=Operation.REPLACEMENT_ORDER,
        role="agent",
        principal="key_agent",
        connection=known.names["erp"],
        brand="acme",
        network="x",
        tier="gold",
        reason=Reason.DAMAGED,
        value=Money(amount=Decimal("49.90"), currency="EUR"),
        has_order=True,
        order_age=timedelta(days=5),
        owner_known=True,
        rush=True,
        repeat_customer=True,
        irrevocable=found.irrevocable,
        attachments=1,
        match_confidence=0.8,
        identity_basis=Basis.CRM_RECORD,
        customer=person,
        customer_also=(str(known.account.ref),),
        at=known.time(),
    )
    adapter = known.hub.registry.adapter(known.names["erp"])
    taken_back = Operation.REPLACEMENT_ORDER in getattr(adapter, "withdrawable", ())
    assert found.irrevocable is not taken_back


def test_a_strangers_remedy_counts_for_the_owner_of_the_order(known: Stage) -> None:
    _, owner = complain(known)
    with known.hub.database.begin() as uow:
        stranger = uow.people.add_person(display_name="Alex", at=known.time()).id
    under(known)
    action = ask(known, replacement(known.order, person_id=stranger))
    found = facts(known, action)
    assert (found.owner_known, found.customer) == (False, owner)


def test_what_is_not_known_stays_unknown(known: Stage) -> None:
    under(known)
    found = facts(known, ask(known, replacement(known.order)))
    assert (found.match_confidence, found.identity_basis, found.tier) == (None, None, None)
    assert (found.repeat_customer, found.owner_known) == (False, False)
    assert found.customer == str(known.account.ref)


def test_the_hub_asks_no_policy_for_its_own_notes(known: Stage) -> None:
    under(known, {"name": "nothing", "then": "refuse"})
    note = Wanted(
        operation=Operation.NOTE,
        request=NoteRequest(on=known.ref("desk", Kind.CONVERSATION, "7"), text="Found out."),
    )
    action, _ = correct.create(known.hub, note, Asker("hub", key="k"))
    with known.hub.database.read() as uow:
        row = uow.actions.get(action)
        assert row is not None
        assert row.policy is None
    with pytest.raises(PolicyRefusedError):
        ask(known, note)


# --- refused, or not yet proved ------------------------------------------------------------------


def test_a_refusal_names_its_rules_and_leaves_nothing_but_an_audit(known: Stage) -> None:
    under(known, {"name": "no-rush", "when": {"rush": True}, "then": "refuse"})
    keyed = Asker("key_agent", key="k", body_hash="b")
    for _ in range(2):
        with pytest.raises(PolicyRefusedError) as refused:
            correct.create(known.hub, replacement(known.order), keyed)
    assert refused.value.more["rules"] == [{"rule": "no-rush", "why": "it is a rush"}]
    assert refused.value.more["policy_version"] == 1
    with known.hub.database.read() as uow:
        assert uow.actions.page(before=None, limit=10) == []
        written = [(e.action, e.actor, e.detail) for e in uow.audit.about("policy:1")]
    assert written[1:] == 2 * [
        ("policy.refuse", "key_agent", {"operation": "replacement_order", "rules": ["no-rush"]})
    ]
    assert known.events() == []


def test_missing_evidence_says_which_and_can_be_brought(known: Stage) -> None:
    under(known, {"name": "photo", "then": {"need": {"attachment": True}, "because": "A photo."}})
    with pytest.raises(EvidenceMissingError) as missing:
        ask(known, replacement(known.order))
    assert missing.value.detail.endswith("photo: A photo.")
    assert [(e["pointer"], e["code"]) for e in missing.value.errors] == [
        ("/evidence", "attachment")
    ]
    action = ask(known, replacement(known.order, evidence=("https://example.com/photo",)))
    assert known.state(action) == "queued"


# --- caps ----------------------------------------------------------------------------------------


def cap(**words: Any) -> dict[str, Any]:
    return {"name": "c", "per": "customer", "window": "1d", "count": 2, **words}


def test_a_cap_is_free_again_after_its_window(known: Stage) -> None:
    under(known, caps=(cap(),))
    first, second, third = orders(known, 3)
    ask(known, replacement(first))
    known.time.pass_(hours=12)
    ask(known, replacement(second))
    with pytest.raises(PolicyRefusedError, match="2 such actions for this customer within 1d"):
        ask(known, replacement(third))
    known.time.pass_(hours=12)
    ask(known, replacement(third))


@pytest.mark.parametrize("how", ["cancelled", "rejected", "expired", "refused"])
def test_what_changed_nothing_is_not_counted(known: Stage, how: str) -> None:
    first, second = orders(known, 2)
    wanting = [{"name": "a", "then": {"approve": "lead"}}] if how in ("rejected", "expired") else []
    under(known, *wanting, caps=(cap(count=1),))
    action = ask(known, replacement(first))
    with pytest.raises(PolicyRefusedError):
        ask(known, replacement(second))
    if how == "cancelled":
        correct.cancel(known.hub, action, AGENT)
    elif how == "rejected":
        approve(known, action, LEAD, grant=False)
    elif how == "expired":
        known.time.pass_(hours=25)
        reconcile.run(known.hub, "t1")
        known.time.now -= timedelta(hours=25)
    else:
        known.erp.permissions = frozenset()
        known.run_due()
    assert known.state(action) == how
    ask(known, replacement(second))


def test_what_was_undone_is_not_counted(known: Stage) -> None:
    first, second = orders(known, 2)
    remedies = {"operations": ["replacement_order"]}
    under(known, caps=(cap(count=1, when=remedies),))
    action = ask(known, replacement(first))
    known.run_due()
    undo = Wanted(operation=Operation.UNDO, request=UndoRequest(action=action))
    taking_back = ask(known, undo)
    with pytest.raises(PolicyRefusedError):
        ask(known, replacement(second))
    known.run_due()
    assert known.state(taking_back) == "done"
    ask(known, replacement(second))


def test_money_is_counted_to_the_cent(known: Stage) -> None:
    under(known, caps=(cap(count=None, amount={"EUR": "149.70"}),))
    first, second, third = orders(known, 3)
    ask(known, replacement(first))
    ask(known, replacement(second, quantity=2))
    with pytest.raises(PolicyRefusedError, match=r"149\.70 EUR for this customer"):
        ask(known, replacement(third))


@pytest.mark.parametrize(
    ("per", "second_asker", "apart", "held"),
    [
        ("agent", AGENT, True, True),
        ("agent", Asker("key_agent_2", role="agent"), True, False),
        ("role", Asker("key_agent_2", role="agent"), True, True),
        ("role", LEAD, True, False),
        ("customer", LEAD, False, True),
        ("customer", AGENT, True, False),
        ("domain", LEAD, True, True),
        ("brand", LEAD, True, True),
    ],
)
def test_what_a_cap_counts_together(
    known: Stage, per: str, second_asker: Asker, apart: bool, held: bool
) -> None:
    under(known, caps=(cap(per=per, count=1),))
    first, second = orders(known, 2, apart=apart)
    ask(known, replacement(first))
    if held:
        with pytest.raises(PolicyRefusedError):
            ask(known, replacement(second), second_asker)
    else:
        ask(known, replacement(second), second_asker)


@pytest.mark.parametrize(
    ("when", "counted"),
    [
        ({"operations": ["replacement_order"], "reasons": ["damaged"], "roles": ["agent"]}, True),
        ({"connections": ["elsewhere"]}, False),
        ({"reasons": ["late"]}, False),
        ({"brands": ["acme"]}, False),
    ],
)
def test_a_cap_counts_only_what_it_is_about(
    known: Stage, when: dict[str, Any], counted: bool
) -> None:
    (first,) = orders(known, 1)
    under(known)
    ask(known, replacement(first))
    policy = made_of(caps=(cap(when=when),))
    with known.hub.database.read() as uow:
        (row,) = uow.actions.page(before=None, limit=5)
        found = facts(known, row.id)
        (use,) = policies.past_use(uow, policy.caps, found)
    assert use.count == int(counted)


def test_a_cap_that_is_exceeded_may_ask_for_approval(known: Stage) -> None:
    under(known, caps=(cap(count=1, then={"approve": "lead"}),))
    first, second = orders(known, 2)
    assert known.state(ask(known, replacement(first))) == "queued"
    assert known.state(ask(known, replacement(second))) == "awaiting_approval"


@pytest.mark.parametrize("per", ["customer", "agent", "domain"])
def test_of_a_race_for_the_last_of_a_cap_only_so_many_win(known: Stage, per: str) -> None:
    under(known, caps=(cap(per=per, count=3),))
    racing = orders(known, 8)
    start = threading.Barrier(len(racing))
    outcomes: list[str] = []

    def run(wanted: Wanted) -> None:
        start.wait()
        try:
            ask(known, wanted)
            outcomes.append("accepted")
        except PolicyRefusedError:
            outcomes.append("refused")

    threads = [threading.Thread(target=run, args=(replacement(o),)) for o in racing]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["accepted"] * 3 + ["refused"] * 5


# --- approval ------------------------------------------------------------------------------------


def chained(stage: Stage, *stages: Any, **ruling: Any) -> str:
    under(stage, {"name": "chain", "then": {"approve": list(stages), **ruling}})
    action = ask(stage, replacement(stage.order))
    assert stage.state(action) == "awaiting_approval"
    return action


def test_a_chain_is_granted_stage_by_stage_by_different_people(known: Stage) -> None:
    action = chained(known, "lead", "lead", "manager")
    with pytest.raises(ForbiddenError, match="the role lead"):
        approve(known, action, NOBODY)
    with pytest.raises(ForbiddenError, match="the role lead"):
        approve(known, action, MANAGER)
    approve(known, action, LEAD)
    assert known.state(action) == "awaiting_approval"
    with pytest.raises(ForbiddenError, match="one stage"):
        approve(known, action, LEAD)
    approve(known, action, OTHER_LEAD)
    assert known.run_due() == 0
    approve(known, action, MANAGER)
    assert known.state(action) == "queued"
    known.run_due()
    assert known.state(action) == "done"
    assert known.erp.count(Operation.REPLACEMENT_ORDER) == 1


def test_whoever_asked_approves_no_stage(known: Stage) -> None:
    under(known, {"name": "chain", "then": {"approve": "lead"}})
    action = ask(known, replacement(known.order), LEAD)
    with pytest.raises(ForbiddenError, match="cannot approve it"):
        approve(known, action, LEAD)


def test_one_no_ends_it(known: Stage) -> None:
    action = chained(known, "lead", "manager")
    approve(known, action, LEAD)
    approve(known, action, MANAGER, grant=False)
    assert known.state(action) == "rejected"
    assert known.run_due() == 0


def test_a_stage_that_nobody_decides_goes_to_its_delegates_and_then_expires(known: Stage) -> None:
    action = chained(known, {"role": "lead", "within": "2h", "delegates": ["manager"]})
    with pytest.raises(ForbiddenError):
        approve(known, action, MANAGER)
    known.time.pass_(hours=2)
    reconcile.run(known.hub, "t1")
    assert known.state(action) == "awaiting_approval"
    known.time.pass_(hours=1)
    approve(known, action, MANAGER)
    assert known.state(action) == "queued"
    late = ask(known, replacement(orders(known, 1)[0]))
    known.time.pass_(hours=2)
    reconcile.run(known.hub, "t2")
    known.time.pass_(hours=2)
    reconcile.run(known.hub, "t3")
    assert known.state(late) == "expired"


def test_a_stage_is_over_on_time_whoever_notices(known: Stage) -> None:
    action = chained(known, {"role": "lead", "within": "2h", "delegates": ["manager"]})
    known.time.pass_(hours=3)
    approve(known, action, MANAGER)
    assert known.state(action) == "queued"
    late = ask(known, replacement(orders(known, 1)[0]))
    known.time.pass_(hours=4)
    with pytest.raises(ConflictError, match="time in which"):
        approve(known, late, LEAD)


def test_each_stage_has_its_own_time(known: Stage) -> None:
    action = chained(known, {"role": "lead", "within": "2h"}, {"role": "manager", "within": "1h"})
    known.time.pass_(minutes=90)
    approve(known, action, LEAD)
    known.time.pass_(minutes=45)
    reconcile.run(known.hub, "t1")
    assert known.state(action) == "awaiting_approval"
    known.time.pass_(minutes=20)
    reconcile.run(known.hub, "t2")
    assert known.state(action) == "expired"


# --- cooling off ---------------------------------------------------------------------------------


def not_before(stage: Stage, action_id: str) -> Any:
    with stage.hub.database.read() as uow:
        action = uow.actions.get(action_id)
        assert action is not None
        return action.not_before


def test_nothing_is_sent_while_an_action_cools_off(known: Stage) -> None:
    under(known, {"name": "slow", "then": {"cool_off": "30h"}})
    action = ask(known, replacement(known.order))
    assert not_before(known, action) == known.time() + timedelta(hours=30)
    (owed,) = [owed for owed in known.engine.owed if owed.flow == "correct"]
    assert owed.due == not_before(known, action)
    known.time.pass_(hours=29)
    reconcile.run(known.hub, "t1")
    known.run_due()
    assert known.state(action) == "queued"
    assert known.erp.count(Operation.REPLACEMENT_ORDER) == 0
    known.time.pass_(hours=1)
    known.run_due()
    assert known.state(action) == "done"


def test_an_action_that_cools_off_can_be_called_off(known: Stage) -> None:
    under(known, {"name": "slow", "then": {"cool_off": "2h"}})
    action = ask(known, replacement(known.order))
    known.time.pass_(hours=1)
    correct.cancel(known.hub, action, AGENT)
    known.run_all()
    assert known.state(action) == "cancelled"
    assert known.erp.count(Operation.REPLACEMENT_ORDER) == 0


def test_cooling_off_begins_with_the_last_yes(known: Stage) -> None:
    action = chained(known, "lead", cool_off="2h")
    known.time.pass_(hours=3)
    approve(known, action, LEAD)
    assert not_before(known, action) == known.time() + timedelta(hours=2)
    known.run_due()
    assert known.state(action) == "queued"
    known.time.pass_(hours=2)
    known.run_due()
    assert known.state(action) == "done"


# --- versions ------------------------------------------------------------------------------------


def current(stage: Stage) -> policies.InForce:
    with stage.hub.database.read() as uow:
        return policies.in_force(stage.hub, uow)


def test_before_any_version_the_configured_policy_is_in_force(known: Stage) -> None:
    strict = known.with_options(policy=made_of({"name": "no", "then": "refuse"}))
    assert current(strict).version == 0
    with pytest.raises(PolicyRefusedError):
        ask(strict, replacement(strict.order))


def test_the_configured_policy_becomes_a_version_when_it_changes(known: Stage) -> None:
    first, second = built_in(), built_in(approval_of_unpriced=True)
    assert policies.declare(known.hub, first)
    assert not policies.declare(known.hub, first)
    put = policies.put(known.hub, made_of(), asker=LEAD, source="api", reason="quiet")
    assert (put.version, put.author, put.reason) == (2, "key_lead", "quiet")
    assert not policies.declare(known.hub, first)
    assert current(known).document == made_of()
    assert policies.declare(known.hub, second)
    assert (current(known).version, current(known).document) == (3, second)


def test_an_earlier_version_comes_back_as_a_new_one(known: Stage) -> None:
    old, new = made_of({"name": "old", "then": "refuse"}), made_of()
    for policy in (old, new):
        policies.put(known.hub, policy, asker=LEAD, source="api", reason=None)
    back = policies.put_back(known.hub, 1, asker=MANAGER, source="cli", reason="too lax")
    assert (back.version, back.document, back.source) == (3, old, "cli")
    with known.hub.database.read() as uow:
        assert [row.version for row in uow.policies.versions.page(before=None, limit=9)] == [
            3,
            2,
            1,
        ]
        (entry,) = uow.audit.about("policy:3")
    assert (entry.action, entry.actor) == ("policy.put", "key_manager")
    with pytest.raises(NotFoundError):
        policies.put_back(known.hub, 9, asker=MANAGER, source="cli", reason=None)


def test_whoever_read_an_older_version_is_told_so(known: Stage) -> None:
    def put(policy: Policy, expected: int) -> int:
        return policies.put(
            known.hub, policy, asker=LEAD, source="api", reason=None, expected=expected
        ).version

    assert put(made_of(), 0) == 1
    with pytest.raises(StaleVersionError):
        put(made_of({"name": "a", "then": "allow"}), 0)
    assert put(made_of(), 1) == 1, "the same policy again is no new version"


def test_of_racing_policies_each_is_a_version_of_its_own(known: Stage) -> None:
    start = threading.Barrier(6)
    made: list[int] = []

    def run(number: int) -> None:
        start.wait()
        policy = made_of({"name": f"r{number}", "then": "allow"})
        made.append(policies.put(known.hub, policy, asker=LEAD, source="api", reason=None).version)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [1, 2, 3, 4, 5, 6]


# --- the past ------------------------------------------------------------------------------------

HISTORY = made_of(
    {"name": "big", "when": {"over": {"EUR": 60}}, "then": {"approve": "lead"}},
    {"name": "slow", "when": {"stranger": True}, "then": {"cool_off": "1h"}},
    caps=(cap(name="some", count=2, then={"approve": "lead"}),),
)


def lived(stage: Stage) -> list[str]:
    """Some actions under one policy, of which one is called off and one rejected later."""
    policies.put(stage.hub, HISTORY, asker=LEAD, source="api", reason=None)
    made = []
    for n, of in enumerate(orders(stage, 5)):
        made.append(ask(stage, replacement(of, quantity=1 + n % 2)))
        stage.time.pass_(hours=1)
    correct.cancel(stage.hub, made[0], AGENT)
    approve(stage, made[1], LEAD, grant=False)
    stage.time.pass_(hours=1)
    made.append(ask(stage, replacement(stage.order)))
    stage.time.pass_(hours=1)
    return made


def try_(stage: Stage, policy: Policy, **more: Any) -> Backtest:
    now = stage.time()
    return backtest(stage.hub, policy, **{"since": now - timedelta(days=30), "until": now, **more})


def test_the_policy_in_force_differs_in_nothing_from_itself(known: Stage) -> None:
    made = lived(known)
    found = try_(known, HISTORY)
    assert (found.judged, found.differences, found.after) == (len(made), (), None)
    assert found.was == found.would
    assert found.was[Outcome.APPROVE].count >= 2


def test_counting_anew_finds_what_was_counted_then(known: Stage) -> None:
    """The same cap under another name is not remembered: the past is asked."""
    lived(known)
    body = HISTORY.model_dump(mode="json")
    body["caps"][0]["name"] = "renamed"
    assert try_(known, policy_of(body)).differences == ()


def test_another_policy_shows_what_would_differ(known: Stage) -> None:
    made = lived(known)
    found = try_(known, made_of({"name": "no", "when": {"over": {"EUR": 60}}, "then": "refuse"}))
    by_id = {difference.action_id: difference for difference in found.differences}
    assert by_id[made[1]].was.outcome is Outcome.APPROVE
    assert by_id[made[1]].would.outcome is Outcome.REFUSE
    assert [say.rule for say in by_id[made[1]].would.says] == ["no"]
    assert found.would[Outcome.REFUSE].count == 2
    assert found.would[Outcome.REFUSE].sums == {"EUR": Decimal("199.60")}
    with known.hub.database.read() as uow:
        assert len(uow.actions.page(before=None, limit=50)) == len(made)


def test_a_new_cap_is_tried_on_the_past_as_it_was(known: Stage) -> None:
    made = lived(known)
    found = try_(known, made_of(caps=(cap(name="new", count=1),)))
    refused = [d.action_id for d in found.differences if d.would.outcome is Outcome.REFUSE]
    assert refused == made[1:]


def test_a_long_past_is_tried_in_parts(known: Stage) -> None:
    made = lived(known)
    policy = made_of({"name": "no", "then": "refuse"})
    seen: list[str] = []
    after = None
    for _ in range(9):
        part = try_(known, policy, after=after, most=2)
        assert part.judged <= 2
        seen += [difference.action_id for difference in part.differences]
        after = part.after
        if after is None:
            break
    assert seen == made


def test_the_hubs_own_notes_are_left_out(known: Stage) -> None:
    note = Wanted(
        operation=Operation.NOTE,
        request=NoteRequest(on=known.ref("desk", Kind.CONVERSATION, "7"), text="Found out."),
    )
    correct.create(known.hub, note, Asker("hub", key="k"))
    known.time.pass_(hours=1)
    found = try_(known, made_of())
    assert (found.judged, found.without_facts) == (0, 1)
