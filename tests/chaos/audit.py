"""The audit: what is in the remotes' own books, counted by key.

The hub says what it believes; the books say what is so. A step that the hub calls done has one row
under its key, one that it calls refused or never sent has none, and an outcome that it does not
know is shown to people with what they can do about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from middleware.contract.actions import Operation
from middleware.domain.ids import step_key
from tests.chaos.client import ENDED, Posted


class Books(Protocol):
    """What the remotes' own rows say."""

    refusals: frozenset[str]
    """The codes under which a remote may refuse for good."""

    def settled(self, *, seconds: float = 60) -> None: ...

    def counted(self, step: Mapping[str, Any], operation: Operation, key: str, because: str) -> int:
        """How many rows a step has: under its key, or of a withdrawal that leaves no key, under
        its reason or in what it names."""

    def totals(self) -> Mapping[Operation, int]:
        """How many rows there are that the hub may have made, whatever they bear."""


@dataclass
class Audit:
    accepted: int = 0
    duplicates: int = 0
    """Rows beyond the one that each key allows, rows of steps that are not done by what the hub
    says, and rows that bear no key of an action."""
    lost: int = 0
    """Accepted actions that the hub does not know, steps that it calls done and no remote has a
    row of, and actions that ended without a reason that a remote had."""
    stuck: int = 0
    """Actions that did not end, and unknown outcomes that nobody is shown."""
    unknown: int = 0
    undone: int = 0
    refused: int = 0
    states: dict[str, int] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.duplicates or self.lost or self.stuck)


def audit(books: Books, posted: Sequence[Posted], shown: Mapping[str, Mapping[str, Any]]) -> Audit:
    """Count what every action has left in the remotes; `shown` is each as the API shows it.

    A key is worked out from the action's id, which is all that a client was told.
    """
    books.settled()
    result = Audit()
    seen: dict[Operation, int] = {}
    for one in posted:
        if one.action_id is None:
            result.lost += 1
            result.details.append(f"action {one.number} was not accepted: {one.refused}")
            continue
        result.accepted += 1
        if one.action_id not in shown:
            result.lost += 1
            result.details.append(f"{one.action_id} ({one.number}) was accepted and is not there")
    for action in shown.values():
        _one(books, action, result, seen)
    for operation, count in books.totals().items():
        strays = count - seen.get(operation, 0)
        if strays:
            result.duplicates += abs(strays)
            result.details.append(f"{strays} x {operation} under no key of an action")
    return result


def _one(
    books: Books, action: Mapping[str, Any], result: Audit, seen: dict[Operation, int]
) -> None:
    state = action["state"]
    result.states[state] = result.states.get(state, 0) + 1
    found: list[str] = []
    if state == "unknown":
        result.unknown += 1
        if "settle" not in action["choices"]:
            found.append("nobody is shown what to do about it")
            result.stuck += 1
    elif state not in ENDED:
        result.stuck += 1
        found.append("it did not end")
    reasons = []
    counts = []
    because = _because(action)
    for step in action["steps"]:
        operation = Operation(step["operation"])
        key = step_key(action["id"], step["position"], operation)
        rows = books.counted(step, operation, key, because)
        seen[operation] = seen.get(operation, 0) + rows
        counts.append(f"{operation} {step['state']}: {rows}")
        result.duplicates += max(rows - 1, 0)
        if rows > 1:
            found.append(f"{rows} x {operation}")
        if step["state"] == "done" and not rows:
            result.lost += 1
            found.append(f"{operation} is done and nowhere")
        if step["state"] in ("refused", "cancelled", "planned") and rows:
            result.duplicates += rows
            found.append(f"{operation} is {step['state']} and there")
        if step["state"] == "refused":
            reasons.append((step["error"] or {}).get("code"))
    if state in ("refused", "partial"):
        result.refused += 1
        if not set(reasons) & books.refusals:
            result.lost += 1
            found.append(f"no remote had a reason for {reasons}")
    elif state in ("expired", "rejected", "cancelled"):
        result.lost += 1
        found.append("nobody asked for that")
    if action["operation"] == Operation.UNDO and state == "done":
        result.undone += 1
    if found:
        result.details.append(
            f"{action['id']} ({action['operation']}) is {state}; {'; '.join(found)};"
            f" {', '.join(counts)}"
        )


def _because(action: Mapping[str, Any]) -> str:
    """The reason that an undo was asked for with."""
    request = action["request"].get("request") or {}
    return str(request.get("note") or "")
