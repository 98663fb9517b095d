"""What another policy would have said to past actions. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from middleware.contract.canonical import Money
from middleware.domain.policy import Cap, Facts, Outcome, Policy, Use, Verdict, caps_for, judge
from middleware.flows import policies
from middleware.flows.hub import Hub
from middleware.store.database import UnitOfWork
from middleware.store.tables import ActionRow

MOST = 1000
"""Actions that are judged in one go; further ones are another go's."""


@dataclass(frozen=True)
class Difference:
    """One action that the other policy would have treated differently."""

    action_id: str
    created_at: datetime
    operation: str
    value: Money | None
    was: Verdict
    version: int
    """Of the policy that it was accepted under."""
    would: Verdict


@dataclass
class Tally:
    """How many actions came to one outcome, and what they were worth together."""

    count: int = 0
    sums: dict[str, Decimal] = field(default_factory=dict)

    def add(self, value: Money | None) -> None:
        self.count += 1
        if value is not None:
            self.sums[value.currency] = self.sums.get(value.currency, Decimal(0)) + value.amount


@dataclass(frozen=True)
class Backtest:
    """What differs in one stretch of the past."""

    since: datetime
    until: datetime
    judged: int
    without_facts: int
    """Actions that no policy judged: the hub's own notes, and those of before there was one."""
    was: Mapping[Outcome, Tally]
    would: Mapping[Outcome, Tally]
    differences: tuple[Difference, ...]
    after: tuple[datetime, str] | None
    """The last action of this go, where more follow it; None when the past is complete."""


def backtest(
    hub: Hub,
    policy: Policy,
    *,
    since: datetime,
    until: datetime,
    after: tuple[datetime, str] | None = None,
    most: int = MOST,
) -> Backtest:
    """Hold what was known of each action, when it was asked for, against another policy.

    Each is judged by what really happened before it. What the other policy would have kept from
    happening is not taken out of the past, and what was refused outright left no action to judge.
    """
    was: dict[Outcome, Tally] = {outcome: Tally() for outcome in Outcome}
    would: dict[Outcome, Tally] = {outcome: Tally() for outcome in Outcome}
    differences = []
    judged = without = 0
    with hub.database.read() as uow:
        rows = uow.policies.judged(since=since, until=until, after=after, limit=most + 1)
        for row in rows[:most]:
            if row.policy is None:
                without += 1
                continue
            judged += 1
            facts = Facts.model_validate(row.policy["facts"])
            before = Verdict.model_validate(row.policy["verdict"])
            version = int(row.policy["version"])
            now = judge(policy, _with_past(hub, uow, policy, facts, row, version))
            was[before.outcome].add(facts.value)
            would[now.outcome].add(facts.value)
            if _asked(before) != _asked(now):
                differences.append(
                    Difference(
                        action_id=row.id,
                        created_at=row.created_at,
                        operation=row.kind,
                        value=facts.value,
                        was=before,
                        version=version,
                        would=now,
                    )
                )
    last = rows[most - 1] if len(rows) > most else None
    return Backtest(
        since=since,
        until=until,
        judged=judged,
        without_facts=without,
        was=was,
        would=would,
        differences=tuple(differences),
        after=(last.created_at, last.id) if last else None,
    )


def _with_past(
    hub: Hub, uow: UnitOfWork, policy: Policy, facts: Facts, row: ActionRow, version: int
) -> Facts:
    """The facts with the use of the other policy's caps as it was then.

    A cap that was in force with the same words keeps the count that it was judged by.
    """
    caps = caps_for(policy, facts)
    if not caps:
        return facts.model_copy(update={"past": ()})
    kept = {use.cap: use for use in facts.past}
    same = set(_caps_of(hub, uow, version))
    known: list[Use] = [kept[cap.name] for cap in caps if cap.name in kept and _key(cap) in same]
    names = {use.cap for use in known}
    anew = policies.past_use(uow, [cap for cap in caps if cap.name not in names], facts, as_of=row)
    return facts.model_copy(update={"past": (*known, *anew)})


def _caps_of(hub: Hub, uow: UnitOfWork, version: int) -> list[str]:
    return [_key(cap) for cap in policies.version(hub, uow, version).document.caps]


def _key(cap: Cap) -> str:
    """What a cap counts, whatever it does about it."""
    return cap.model_dump_json(include={"name", "when", "per", "window"})


def _asked(verdict: Verdict) -> object:
    return verdict.outcome, verdict.stages, verdict.missing, verdict.cool_off
