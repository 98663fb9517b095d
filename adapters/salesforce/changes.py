"""Where a sync of one kind stands: the cursor behind `changed_since`.

A run reads the rows stamped from `start` until `until`, in the order of stamp and id, and goes on
`after` the last row of the page before. `until` lies a little behind the org's clock and stays
for the whole run. The next run starts `overlap` before it: a row is stamped when it is saved and
seen when its transaction commits, which may be minutes later.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from adapters.salesforce import soql
from adapters.salesforce.soql import Clause

STAMP = "SystemModstamp"
ORDER = (STAMP, "Id")
MASTER = "MasterRecordId"
"""Of a row that a merge deleted: the one that was kept. Of any other it is null."""
MERGED = frozenset({"account", "contact", "lead"})
"""The objects that have it, in lower case."""


@dataclass(frozen=True)
class Cursor:
    """`until` is None before a run, `after` before its second page."""

    start: datetime | None = None
    until: datetime | None = None
    after: tuple[datetime, str] | None = None

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """Read what `str(cursor)` wrote; raises ValueError."""
        if text is None:
            return cls()
        try:
            said = json.loads(text)
            version, start, until, after = said
            if version != 1:
                raise ValueError("another version wrote it")  # noqa: TRY301
            return cls(
                moment_of(start) if start else None,
                moment_of(until) if until else None,
                (moment_of(after[0]), str(after[1])) if after else None,
            )
        except (ValueError, TypeError, IndexError) as error:
            raise ValueError("not a cursor of this adapter") from error

    def __str__(self) -> str:
        after = (self.after[0].isoformat(), self.after[1]) if self.after else None
        moments = (self.start, self.until)
        return json.dumps(
            [1, *(m.isoformat() if m else None for m in moments), after], separators=(",", ":")
        )

    def at(self, latest: datetime) -> Cursor:
        """The first page of a run that ends at `latest`."""
        return Cursor(self.start, latest)

    @property
    def where(self) -> Clause:
        """The rows that this cursor has before it; only within a run."""
        assert self.until is not None
        parts = [soql.compare(STAMP, "<", self.until)]
        if self.after is not None:
            stamp, key = self.after
            parts.append(
                soql.compare(STAMP, ">", stamp)
                | (soql.equal(STAMP, stamp) & soql.compare("Id", ">", key))
            )
        elif self.start is not None:
            parts.append(soql.compare(STAMP, ">=", self.start))
        return soql.all_of(parts)

    def past(self, stamp: datetime, key: str) -> Cursor:
        """The cursor after this row of the run."""
        return Cursor(self.start, self.until, (stamp, key))

    def ended(self, overlap: timedelta) -> Cursor:
        """The cursor of the next run."""
        assert self.until is not None
        return Cursor(self.until - overlap)


def moment_of(text: object) -> datetime:
    moment = datetime.fromisoformat(str(text))
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment
