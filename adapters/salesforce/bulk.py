"""A first load through a query job of Bulk API 2.0, which counts as a few API requests.

A job is begun, asked after until it is complete, and read part by part; each of these is a page of
changes, and the cursor between them names the job. What a job cannot do (nested queries), or did
not do, the ordinary queries do. Source: Bulk API 2.0 and Bulk API Developer Guide, "Query Jobs"
and "SOQL Considerations".
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from adapters.salesforce.changes import moment_of

_NUMBERS = ("double", "currency", "percent")
_UNSUITED = ("address", "location", "base64")
LONGEST_WAIT = timedelta(seconds=30)


@dataclass(frozen=True)
class BulkCursor:
    """Where a load stands: a job, and in its results the part at `locator`."""

    until: datetime
    job: str
    locator: str = ""
    polls: int = 0

    @classmethod
    def parse(cls, text: str | None) -> BulkCursor | None:
        """Read what `str(cursor)` wrote; None for anything else."""
        try:
            version, until, job, locator, polls = json.loads(text or "")
            if version != 2:
                return None
            return cls(moment_of(until), str(job), str(locator), int(polls))
        except (ValueError, TypeError):
            return None

    def __str__(self) -> str:
        parts = [2, self.until.isoformat(), self.job, self.locator, self.polls]
        return json.dumps(parts, separators=(",", ":"))

    def asked_after(self) -> BulkCursor:
        return replace(self, polls=self.polls + 1)

    def at(self, locator: str) -> BulkCursor:
        return replace(self, locator=locator)

    @property
    def wait(self) -> timedelta:
        """How long to leave the job alone: longer each time."""
        return min(timedelta(seconds=2 ** min(self.polls, 10)), LONGEST_WAIT)


def types_of(columns: Sequence[str], described: Mapping[str, Any]) -> dict[str, str] | None:
    """The type of each column, by the object's description; None where a job can't select them.

    A parent's field has no type here, and is therefore left to the ordinary queries.
    """
    own = {one["name"].lower(): str(one["type"]) for one in described["fields"]}
    types = {column: own.get(column.lower(), "") for column in columns}
    if any(not type_ or type_ in _UNSUITED for type_ in types.values()):
        return None
    return types


def rows_of(text: str, types: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of a part, as the REST API would answer them. Raises ValueError.

    Columns are told by their place. A part begins with a header.
    """
    lines = csv.reader(io.StringIO(text, newline=""))
    header = next(lines, None)
    if header is None:
        return []
    if [name.lower() for name in header] != [name.lower() for name in types]:
        raise ValueError("the columns are not those that were asked for")
    return [
        {name: _value(said, type_) for said, (name, type_) in zip(line, types.items(), strict=True)}
        for line in lines
    ]


def _value(text: str, type_: str) -> Any:
    if text == "":
        return None
    if type_ == "boolean":
        return text == "true"
    if type_ in _NUMBERS:
        return Decimal(text)
    return int(text) if type_ == "int" else text
