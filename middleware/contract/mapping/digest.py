"""What a mapping reads records by, as a digest: where a file stands and what it says of itself is
not in it, nor what it only writes."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

from middleware.contract.mapping.fields import Direction
from middleware.contract.mapping.file import MappingFile
from middleware.contract.mapping.issues import Place
from middleware.contract.mapping.steps import Step


def reading(file: MappingFile) -> str:
    """The same as long as the same record of the remote becomes the same record of ours."""
    sides = file.sides
    told = {
        "canonical": sides.canonical,
        "object": sides.object,
        "operation": sides.operation,
        "binding": sides.binding,
        "match": file.match,
        "defaults": file.defaults,
        "fields": [rule for rule in file.fields if rule.direction is not Direction.PUSH],
    }
    return hashlib.sha256(json.dumps(_plain(told), sort_keys=True).encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    """As JSON has it, without places. Raises TypeError for what might differ by process."""
    match value:
        case None | bool() | int() | float():
            return value
        case Enum():
            return value.value
        case str():
            return str(value)
        case Decimal():
            return str(value)
        case Step():
            return value.name
        case Place() | pathlib.PurePath():
            return None
        case Mapping():
            return {str(key): _plain(entry) for key, entry in value.items()}
        case tuple() | list():
            return [_plain(entry) for entry in value]
        case frozenset() | set():
            return sorted(map(str, map(_plain, value)))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"a {type(value).__name__} has no digest")
