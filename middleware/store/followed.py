"""Which customers' records have changed since a resolution last took them in.

A workspace *follows* the store: from then on every transaction that changes a customer's record
leaves a note of it, which is forgotten when the workspace has it. One workspace follows at a time;
while none does, as during a first load, nothing is noted. What is noted says which record it was
and not what: it is read again as it is then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col

from middleware.contract.canonical import Kind, Ref
from middleware.store import bulk
from middleware.store.tables import RecordChangeRow, RecordFollowerRow

CUSTOMERS = (Kind.CONTACT.value, Kind.ACCOUNT.value)

_NAME = "resolve"
_LOCK = 0x616D656E6475
_CHANGE = ("connection", "kind", "id")
_FOLLOWER = sa.select(col(RecordFollowerRow.token)).where(col(RecordFollowerRow.name) == _NAME)
_AT_ONCE = 500
"""Notes that one statement names."""


@dataclass(frozen=True)
class Changed:
    """Some notes, and the records that they are about, each once."""

    notes: Sequence[int]
    refs: Sequence[Ref]


class Followed:
    def __init__(self, session: Session) -> None:
        self._session = session

    def note(self, rows: Iterable[bulk.Row]) -> None:
        """Note that these records, whose rows begin with their key, are new, changed or gone, if
        they are customers' and followed.

        Whoever begins to follow waits for the transactions that found nobody following, so that it
        either reads what they wrote or has their notes.
        """
        customers = [row for row in rows if row[1] in CUSTOMERS]
        if not customers:
            return
        self._lock(shared=True)
        if self._session.connection().execute(_FOLLOWER).first() is not None:
            keys = [row[:3] for row in customers]
            bulk.write(self._session, RecordChangeRow, _CHANGE, keys)

    def follow(self, token: str, *, was: str | None, at: datetime) -> bool:
        """Follow under a token, in place of whoever did.

        True if the notes are those since the token that it `was`; else they are dropped, and the
        follower has to read everything. To be committed before anything is read.
        """
        self._lock(shared=False)
        row = self._session.get(RecordFollowerRow, _NAME)
        continued = row is not None and row.token == was
        if row is None:
            row = RecordFollowerRow(name=_NAME, token=token, since=at)
        row.token, row.since = token, at
        self._session.add(row)
        if not continued:
            self._session.connection().execute(sa.delete(RecordChangeRow))
        self._session.flush()
        return continued

    def changed(self, *, limit: int) -> Changed | None:
        """The first notes; None if there is none."""
        query = (
            sa.select(
                col(RecordChangeRow.number),
                col(RecordChangeRow.connection),
                col(RecordChangeRow.kind),
                col(RecordChangeRow.id),
            )
            .order_by(col(RecordChangeRow.number))
            .limit(limit)
        )
        rows = self._session.connection().execute(query).all()
        if not rows:
            return None
        keys = dict.fromkeys((row.connection, row.kind, row.id) for row in rows)
        refs = [Ref.model_construct(connection=c, kind=Kind(k), id=id_) for c, k, id_ in keys]
        return Changed([row.number for row in rows], refs)

    def count(self) -> int:
        """How many notes there are."""
        query = sa.select(sa.func.count()).select_from(RecordChangeRow)
        return int(self._session.connection().execute(query).scalar_one())

    def forget(self, token: str, notes: Sequence[int]) -> bool:
        """Forget notes that the follower under this token has taken in; False if another follows.

        Those alone: one with a lower number may have been committed since they were read.
        """
        self._lock(shared=True)
        if self._session.connection().execute(_FOLLOWER).scalar() != token:
            return False
        for start in range(0, len(notes), _AT_ONCE):
            of_them = col(RecordChangeRow.number).in_(notes[start : start + _AT_ONCE])
            self._session.connection().execute(sa.delete(RecordChangeRow).where(of_them))
        return True

    def unfollow(self, *, unless_since: datetime) -> bool:
        """End the following of who has not read since, so that notes don't gather for nobody."""
        stale = sa.delete(RecordFollowerRow).where(
            col(RecordFollowerRow.name) == _NAME, col(RecordFollowerRow.since) < unless_since
        )
        row = self._session.get(RecordFollowerRow, _NAME)
        if row is None or row.since >= unless_since:
            return False
        self._lock(shared=False)
        if not self._session.connection().execute(stale).rowcount:
            return False
        self._session.connection().execute(sa.delete(RecordChangeRow))
        return True

    def _lock(self, *, shared: bool) -> None:
        """Until the transaction ends. SQLite's writers take turns anyway."""
        if self._session.get_bind().dialect.name == "postgresql":
            how = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
            self._session.connection().execute(sa.text(f"select {how}(:key)"), {"key": _LOCK})
