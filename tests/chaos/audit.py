"""The audit: what is in the remotes' own books, counted by key. The hub is not asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from middleware.contract.actions import Operation
from middleware.domain.ids import step_key
from tests.chaos.client import ENDED, Posted
from tests.chaos.remotes import Remotes

STEPS = (Operation.REPLACEMENT_ORDER, Operation.CASE, Operation.NOTE)
MARKER = "[amends:"


@dataclass
class Audit:
    accepted: int = 0
    duplicates: int = 0
    """Rows beyond the one that each key allows, and rows that bear no key of ours."""
    lost: int = 0
    """Steps of accepted actions that no remote has a row of, and nobody was told why."""
    stuck: int = 0
    unknown: int = 0
    states: dict[str, int] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.duplicates or self.lost or self.stuck)


def audit(remotes: Remotes, posted: Sequence[Posted], states: Mapping[str, str]) -> Audit:
    """Count what every accepted action has left in the remotes.

    A key is worked out from the action's id, which is all that the client was told.
    """
    remotes.settled()
    result = Audit()
    cases = remotes.cases()
    seen: dict[Operation, int] = dict.fromkeys(STEPS, 0)
    for one in posted:
        if one.action_id is None:
            result.lost += 1
            result.details.append(f"action {one.number} was not accepted: {one.refused}")
            continue
        result.accepted += 1
        state = states.get(one.action_id, "absent")
        result.states[state] = result.states.get(state, 0) + 1
        result.unknown += state == "unknown"
        result.stuck += state not in ENDED and state != "unknown"
        counts: dict[Operation, int] = {}
        for position, operation in enumerate(STEPS, start=1):
            key = step_key(one.action_id, position, operation)
            if operation is Operation.REPLACEMENT_ORDER:
                counts[operation] = remotes.orders(key)
            elif operation is Operation.CASE:
                counts[operation] = cases.get(key, 0)
            else:
                counts[operation] = remotes.notes(f"{MARKER}{key}]")
            seen[operation] += counts[operation]
            result.duplicates += max(counts[operation] - 1, 0)
            # Nothing here gives a remote a reason to refuse: whatever is missing is lost.
            result.lost += counts[operation] == 0 and state in (*ENDED, "absent")
        if state != "done" or set(counts.values()) != {1}:
            rows = ", ".join(f"{op}: {n}" for op, n in counts.items())
            result.details.append(f"{one.action_id} ({one.number}) is {state}; {rows}")
    strays = {
        Operation.REPLACEMENT_ORDER: remotes.all_orders() - seen[Operation.REPLACEMENT_ORDER],
        Operation.CASE: sum(cases.values()) - seen[Operation.CASE],
        Operation.NOTE: remotes.notes(MARKER) - seen[Operation.NOTE],
    }
    for operation, count in strays.items():
        if count:
            result.duplicates += count
            result.details.append(f"{count} × {operation} under no key of an accepted action")
    return result
