"""A source with a clock of its own, which shows changes as real ones do.

A row is stamped when its transaction begins and seen when that commits, which may be minutes later.
A run's window ends a little before the source's time, pages go by stamp and id, and the next run
begins `overlap` before the window's end. Deletions leave tombstones, or do not; pages may repeat
rows; cursors may expire; calls may be turned away.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from middleware.contract.canonical import Account, Kind, Record, Ref
from middleware.contract.capabilities import (
    CountsRecords,
    ListsChanges,
    ListsChangesBetween,
    Page,
    ReadsRecords,
    Tally,
    digest_of_ids,
)
from middleware.contract.errors import Missing, Rejected, Transient

LAG = timedelta(seconds=5)
OVERLAP = timedelta(minutes=10)
NAME = "source"


@dataclass
class Row:
    id: str
    value: int
    stamp: datetime
    seen_from: datetime
    deleted: bool = False


@dataclass
class Source(ListsChanges, ListsChangesBetween, CountsRecords, ReadsRecords):
    """The adapter and its remote in one."""

    clock: Callable[[], datetime]
    tombstones: bool = True
    skew: timedelta = timedelta(0)
    change_kinds: ClassVar[tuple[Kind, ...]] = (Kind.ACCOUNT,)
    rows: dict[str, Row] = field(default_factory=dict)
    pending: list[Row] = field(default_factory=list)
    epoch: int = 0
    """Cursors of an earlier epoch have expired."""
    mapped: int = 0
    """How often its mapping was changed: each gives the records other numbers."""
    turned_away: int = 0
    repeats: bool = False
    before_page: Callable[[], None] = lambda: None

    @property
    def now(self) -> datetime:
        return self.clock() + self.skew

    # What people do in it.

    def put(self, key: str, value: int, *, commits_after: timedelta = timedelta(0)) -> None:
        self._commit(Row(key, value, self.now, self.now + commits_after))

    def delete(self, key: str) -> None:
        if key in self.rows and not self.rows[key].deleted:
            self._commit(Row(key, 0, self.now, self.now, deleted=True))

    def _commit(self, row: Row) -> None:
        self.settle()
        if row.seen_from > self.now:
            # Whoever else writes the row meanwhile waits for its lock: the last to commit counts.
            self.pending = [p for p in self.pending if p.id != row.id]
            self.pending.append(row)
        elif not any(p.id == row.id for p in self.pending):
            self._apply(row)

    def settle(self) -> None:
        for row in sorted(self.pending, key=lambda p: p.seen_from):
            if row.seen_from <= self.now:
                self.pending.remove(row)
                self._apply(row)

    def _apply(self, row: Row) -> None:
        if row.deleted and not self.tombstones:
            self.rows.pop(row.id, None)
        else:
            self.rows[row.id] = row

    def truth(self) -> dict[str, int]:
        self.settle()
        return {row.id: self._number(row) for row in self.rows.values() if not row.deleted}

    # What an adapter does.

    def changed_since(self, kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        self.before_page()
        self._answer("changed_since")
        said = json.loads(cursor) if cursor else {"epoch": self.epoch}
        if said["epoch"] != self.epoch:
            raise Rejected("the cursor has expired", operation="changed_since", field="cursor")
        since = datetime.fromisoformat(said["since"]) if said.get("since") else None
        until = datetime.fromisoformat(said["until"]) if said.get("until") else self.now - LAG
        after = tuple(said["after"]) if said.get("after") else None
        fits = [
            row
            for row in sorted(self.rows.values(), key=lambda r: (r.stamp.isoformat(), r.id))
            if row.stamp < until
            and (since is None or row.stamp >= since)
            and (after is None or (row.stamp.isoformat(), row.id) > after)
        ]
        chosen, more = fits[:limit], len(fits) > limit
        following: dict[str, Any] = {"epoch": self.epoch}
        if more:
            following |= {k: said[k] for k in ("since",) if k in said}
            last = chosen[-1]
            following |= {"until": until.isoformat(), "after": [last.stamp.isoformat(), last.id]}
        else:
            following["since"] = (until - OVERLAP).isoformat()
        living = [self._record(row) for row in chosen if not row.deleted]
        if self.repeats and living:
            living = [living[-1], *living]
        return Page(
            records=tuple(living),
            deleted=tuple(self._ref(row.id) for row in chosen if row.deleted),
            cursor=json.dumps(following),
            more=more,
            as_of=until,
        )

    def cursor_between(self, kind: Kind, since: datetime, until: datetime) -> str:
        window = {"since": since.isoformat(), "until": until.isoformat()}
        return json.dumps({"epoch": self.epoch, **window})

    def count_records(self, kind: Kind) -> Tally:
        self._answer("count_records")
        truth = self.truth()
        return Tally(count=len(truth), digest=digest_of_ids(truth))

    def read_record(self, ref: Ref) -> Record:
        self._answer("read_record")
        row = self.rows.get(ref.id)
        if row is None or row.deleted:
            raise Missing("there is none", operation="read_record")
        return self._record(row)

    def close(self) -> None: ...

    def _answer(self, operation: str) -> None:
        self.settle()
        if self.turned_away:
            self.turned_away -= 1
            wait = timedelta(seconds=20)
            raise Transient("too many requests", operation=operation, retry_after=wait)

    def _record(self, row: Row) -> Account:
        return Account(
            ref=self._ref(row.id),
            name=f"value {row.value}",
            number=str(self._number(row)),
            updated_at=row.stamp.astimezone(UTC),
        )

    def _number(self, row: Row) -> int:
        return row.value + 1000 * self.mapped

    def _ref(self, key: str) -> Ref:
        return Ref(connection=NAME, kind=Kind.ACCOUNT, id=key)
