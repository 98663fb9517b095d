"""What query jobs of Bulk API 2.0 select, where a load through them stands, and their rows.

Source: Bulk API 2.0 and Bulk API Developer Guide, "Query Jobs" and "SOQL Considerations".
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from adapters.salesforce.changes import moment_of

_NUMBERS = ("double", "currency", "percent")
_UNSUITED = ("address", "location", "base64")
LONGEST_WAIT = timedelta(seconds=30)
CREATED = "CreatedDate"
"""Set once: two jobs that run at different times agree about it."""


@dataclass(frozen=True)
class Below:
    """Where the job of the child rows stands: its part at `locator` is the first that may hold
    rows of parents that were not read yet. `reached` is when the last parent read was created."""

    job: str
    locator: str = ""
    reached: datetime | None = None


@dataclass(frozen=True)
class BulkCursor:
    """Where a load stands: a job, and in its results the part at `locator`."""

    until: datetime
    job: str
    locator: str = ""
    polls: int = 0
    below: Below | None = None

    @classmethod
    def parse(cls, text: str | None) -> BulkCursor | None:
        """Read what `str(cursor)` wrote; None for anything else."""
        try:
            version, until, job, locator, polls, *below = json.loads(text or "")
            if version != 2:
                return None
            inner = None
            if below:
                inner_job, part, reached = below
                inner = Below(str(inner_job), str(part), moment_of(reached) if reached else None)
            return cls(moment_of(until), str(job), str(locator), int(polls), inner)
        except (ValueError, TypeError):
            return None

    def __str__(self) -> str:
        parts = [2, self.until.isoformat(), self.job, self.locator, self.polls]
        if self.below is not None:
            reached = self.below.reached.isoformat() if self.below.reached else None
            parts += [self.below.job, self.below.locator, reached]
        return json.dumps(parts, separators=(",", ":"))

    def asked_after(self) -> BulkCursor:
        return replace(self, polls=self.polls + 1)

    def at(self, locator: str, below: Below | None = None) -> BulkCursor:
        return replace(self, locator=locator, below=below)

    @property
    def wait(self) -> timedelta:
        """How long to leave the job alone: longer each time."""
        return min(timedelta(seconds=2 ** min(self.polls, 10)), LONGEST_WAIT)


@dataclass(frozen=True)
class Selected:
    """What one job selects: an object, and the columns with their types."""

    sobject: str
    types: Mapping[str, str]


@dataclass(frozen=True)
class Selection:
    """What a load selects: an object's rows, and those of one child relationship."""

    own: Selected
    relationship: str = ""
    inner: Selected | None = None
    lookup: str = ""
    """The children's field that names their parent, such as OrderId."""
    created: str = ""
    """The children's path to when their parent was created, such as Order.CreatedDate."""


Describe = Callable[[str], Mapping[str, Any] | None]


def selection_of(
    sobject: str,
    columns: Sequence[str],
    children: Mapping[str, Sequence[str]],
    describe: Describe,
) -> Selection | None:
    """What jobs select for these columns and child relationships; None where they can't.

    A job has no nested queries, so that child rows need a job of their own, which is read side by
    side with that of their parents: one relationship, whose parents say when they were created.
    """
    if len(children) > 1:
        return None
    if not children:
        own = _selected(sobject, columns, describe)
        return Selection(own) if own is not None else None
    own = _selected(sobject, (*columns, CREATED), describe)
    relationship, wanted = next(iter(children.items()))
    child = next(
        (
            one
            for one in (describe(sobject) or {}).get("childRelationships") or ()
            if one.get("relationshipName") == relationship
        ),
        None,
    )
    if own is None or child is None:
        return None
    lookup = str(child["field"])
    parent = _field(describe(child["childSObject"]), lookup).get("relationshipName")
    if not parent:
        return None
    created = f"{parent}.{CREATED}"
    inner = _selected(child["childSObject"], (*wanted, lookup, created), describe)
    return Selection(own, relationship, inner, lookup, created) if inner is not None else None


def _selected(sobject: str, columns: Sequence[str], describe: Describe) -> Selected | None:
    types = {column: _type(sobject, column, describe) for column in dict.fromkeys(columns)}
    if any(not type_ or type_ in _UNSUITED for type_ in types.values()):
        return None
    return Selected(sobject, types)


def _type(sobject: str, path: str, describe: Describe) -> str:
    """The type of a field, also of a parent's (`Product2.Name`); empty where there is none, or
    the parent may be of several objects."""
    head, _, rest = path.partition(".")
    described = describe(sobject)
    if not rest:
        return str(_field(described, head).get("type", ""))
    for one in (described or {}).get("fields", ()):
        if str(one.get("relationshipName") or "").lower() == head.lower():
            parents = list(one.get("referenceTo") or ())
            return _type(parents[0], rest, describe) if len(parents) == 1 else ""
    return ""


def _field(described: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    fields = (described or {}).get("fields", ())
    return next((one for one in fields if one["name"].lower() == name.lower()), {})


class OtherColumnsError(Exception):
    """The job was begun under another mapping: it selects other columns than are read now."""


def rows_of(text: str, types: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of a part, as the REST API would answer them: a parent's fields within the parent.
    Raises ValueError, and OtherColumnsError.

    Columns are told by their place. A part begins with a header.
    """
    lines = csv.reader(io.StringIO(text, newline=""))
    header = next(lines, None)
    if header is None:
        return []
    if [name.lower() for name in header] != [name.lower() for name in types]:
        if all(re.fullmatch(r"\w+(\.\w+)*", name) for name in header):
            raise OtherColumnsError
        raise ValueError("that is no part of a job's results")
    return [_row(line, types) for line in lines]


def _row(line: Sequence[str], types: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for said, (path, type_) in zip(line, types.items(), strict=True):
        *parents, name = path.split(".")
        here = row
        for parent in parents:
            here = here.setdefault(parent, {})
        here[name] = _value(said, type_)
    return row


def _value(text: str, type_: str) -> Any:
    if text == "":
        return None
    if type_ == "boolean":
        return text == "true"
    if type_ in _NUMBERS:
        return Decimal(text)
    return int(text) if type_ == "int" else text
