"""How this adapter reads a mapping file: what to select, what to search, what proves what."""

from __future__ import annotations

from typing import Any

from adapters.salesforce.client import SYSTEM
from adapters.salesforce.soql import Children
from middleware.contract.actions import Operation
from middleware.contract.errors import Permanent
from middleware.contract.mapping import Mapping

KEY_LENGTH = 64
"""The longest key that the hub mints; the field that bears it must hold as much."""

NATIVE = (Operation.CASE, Operation.CALL_BACK, Operation.REPLACEMENT_ORDER)
"""What makes a record of its own, under our key."""
WITHDRAW = "withdraw_"
"""A mapping of this name and an operation's takes back what the operation made."""


def selection(mapping: Mapping) -> tuple[list[str], list[Children]]:
    """What a query must select: own columns and lookups, and the columns of each child."""
    inside = {rule.sources[0].key: ["Id"] for rule in mapping.fields if rule.origin == "each"}
    columns: list[str] = []
    for path in mapping.remote_fields:
        head, _, rest = path.partition(".")
        if path in inside:
            continue
        if head in inside:
            inside[head].append(rest)
        else:
            columns.append(path)
    children = [Children(child, tuple(dict.fromkeys(paths))) for child, paths in inside.items()]
    return columns, children


def search(mapping: Mapping) -> dict[str, tuple[str, ...]]:
    """The binding's `search`: which fields a part of a clue is compared with."""
    said = mapping.binding.get("search") or {}
    if not isinstance(said, dict):
        raise Permanent(f"{mapping.path.name}: search is a block of lists", system=SYSTEM)
    return {
        str(part): tuple(map(str, fields if isinstance(fields, list) else [fields]))
        for part, fields in said.items()
    }


def needed(mapping: Mapping) -> list[str]:
    """Every remote path that the mapping, or this adapter for it, touches."""
    paths = [*mapping.remote_fields, *(f for fields in search(mapping).values() for f in fields)]
    if mapping.pushes:
        for rule in mapping.fields:
            inner = [f"{rule.key}.{line.key}" for line in rule.fields]
            paths += inner if rule.origin == "each" else [rule.key]
        paths += answer_paths(mapping)
        paths += taken_over(mapping)
        paths += proofs(mapping)
    return list(dict.fromkeys(paths))


def answer_paths(mapping: Mapping) -> list[str]:
    return [path.key for rule in mapping.file.answer for path in rule.read_paths()]


def taken_over(mapping: Mapping) -> list[str]:
    """The original order's own fields that a mapping reads as `original.<field>`."""
    read = (path.key for rule in mapping.fields for path in rule.read_paths())
    return [key.removeprefix("original.") for key in read if key.startswith("original.")]


def key_field(mapping: Mapping) -> str:
    assert mapping.idempotency is not None
    return mapping.idempotency.field


def owns(sobject: str) -> str:
    """The object that an administrator makes custom fields on: events and tasks share theirs."""
    return "Activity" if sobject in ("Event", "Task") else sobject


def withdrawing(made_by: Operation) -> str:
    """What the mapping is called that takes back what an operation made."""
    return f"{WITHDRAW}{made_by}"


def states(mapping: Mapping, name: str) -> dict[str, list[Any]]:
    """A binding's field → values block, such as `withdrawn: {Status: [Cancelled]}`."""
    said = mapping.binding.get(name) or {}
    if not isinstance(said, dict):
        raise Permanent(f"{mapping.path.name}: {name} is a block of lists", system=SYSTEM)
    return {
        str(field): values if isinstance(values, list) else [values]
        for field, values in said.items()
    }


def proofs(mapping: Mapping) -> list[str]:
    """The fields that say whether a record is taken back, or can be."""
    fields = [*states(mapping, "withdrawn"), *states(mapping, "only_while")]
    until = mapping.binding.get("until")
    return [*fields, str(until)] if until else fields


def reads(mapping: Mapping, key: str) -> bool:
    return any(path.key == key for rule in mapping.fields for path in rule.read_paths())
