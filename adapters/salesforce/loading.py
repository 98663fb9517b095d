"""A first load through query jobs of Bulk API 2.0, which count as a few API requests.

A job is begun, asked after until it is complete, and read part by part; each of these is a page of
changes, and the cursor between them names the job. Where the mapping reads child rows (an order's
lines), which no job can nest, they are selected by a second job. Both come in the order of when the
parent was created, and are read side by side: a part of parents, and as many parts of children as
begin before its last parent. What jobs cannot do, or did not do, the ordinary queries do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from adapters.salesforce import layout, soql
from adapters.salesforce.bulk import CREATED, Below, BulkCursor, Selection, selection_of
from adapters.salesforce.changes import MASTER, STAMP, Cursor
from adapters.salesforce.org import Org, id_of, instant_of
from middleware.contract.canonical import Kind, Record, Ref
from middleware.contract.capabilities import Merged, Page, Quarantined
from middleware.contract.errors import Forbidden, Permanent, Unauthorised
from middleware.contract.mapping import Mapping, MappingError

_OPERATION = "changed_since"
_UNDER_WAY = ("UploadComplete", "InProgress")
_CHILDREN_PER_PARENT = 4
"""Children are read in parts of so many times as many rows as their parents."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class _OutOfOrderError(Exception):
    """A job's results do not come in the order that was asked for."""


class Loads(Org):
    """Rows as pages, and the first ones in bulk."""

    def _page(
        self,
        kind: Kind,
        mapping: Mapping,
        rows: Iterable[dict[str, Any]],
        *,
        cursor: str,
        more: bool,
        as_of: datetime,
    ) -> Page:
        records: list[Record] = []
        quarantined: list[Quarantined] = []
        deleted: list[Ref] = []
        merged: list[Merged] = []
        for row in rows:
            key = id_of(row)
            if row.get("IsDeleted") is True:
                deleted.append(self._ref(kind, key))
                if row.get(MASTER):
                    into = self._ref(kind, row[MASTER])
                    merged.append(Merged(gone=deleted[-1], into=into))
                continue
            try:
                records.append(self._mapped(kind, mapping, row))
            except MappingError as error:
                problem = error.problems[0]
                quarantined.append(
                    Quarantined(
                        kind=kind,
                        id=key,
                        field=problem.field,
                        reason=problem.reason,
                        place=problem.place,
                        payload=_plain(row),
                    )
                )
        return Page(
            records=tuple(records),
            deleted=tuple(deleted),
            merged=tuple(merged),
            quarantined=tuple(quarantined),
            cursor=cursor,
            more=more,
            as_of=as_of,
        )

    def _load(self, mapping: Mapping) -> Page | None:
        """Begin query jobs where the object is large enough and jobs can select it."""
        over = self._settings.bulk_over
        if over is None:
            return None
        rows = self._client.count(soql.count(mapping.object), operation=_OPERATION)
        selected = self._selection(mapping) if rows > over else None
        if selected is None:
            return None
        latest = self._client.now(fresh=True) - self._settings.lag
        until = latest.replace(microsecond=0)
        order = (CREATED, "Id") if selected.inner is not None else ()
        query = soql.select(
            selected.own.types, mapping.object, Cursor().at(until).where, order=order
        )
        try:
            job = self._client.begin_job(mapping.object, query, operation=_OPERATION)
            if selected.inner is None:
                return self._waiting(BulkCursor(until, job))
            query = soql.select(
                selected.inner.types,
                selected.inner.sobject,
                order=(selected.created, selected.lookup, "Id"),
            )
            below = self._client.begin_job(selected.inner.sobject, query, operation=_OPERATION)
        except Permanent:
            # The org or the user has no Bulk API, its jobs of the day are used up, or it does not
            # take the query: what stands in the way of ordinary queries too is told by those.
            return None
        return self._waiting(BulkCursor(until, job, below=Below(below)))

    def _loaded(self, kind: Kind, mapping: Mapping, here: BulkCursor, size: int) -> Page:
        """The next part of a load, or a page that says to wait for it.

        Jobs that failed, are gone or refused, select other columns than the mapping reads by now,
        or answer in another order than they were asked for are given up: the same window is read by
        ordinary queries.
        """
        ordinary = Cursor().at(here.until)
        given_up = self._page(kind, mapping, (), cursor=str(ordinary), more=True, as_of=here.until)
        selected = self._selection(mapping)
        if selected is None or (selected.inner is None) != (here.below is None):
            return given_up
        try:
            if not here.locator:
                states = self._states(selected, here)
                if not states <= {"JobComplete", *_UNDER_WAY}:
                    return given_up
                if states != {"JobComplete"}:
                    return self._waiting(here.asked_after())
            rows, locator = self._client.job_results(
                mapping.object, here.job, selected.own.types, here.locator, limit=size
            )
            below = here.below
            if below is not None and rows:
                below = self._joined(selected, below, rows, size)
        except Unauthorised as error:
            if not isinstance(error, Forbidden):
                raise  # nothing else could be read either
            return given_up
        except (Permanent, _OutOfOrderError):
            return given_up
        following = here.at(locator, below) if locator else ordinary.ended(self._settings.overlap)
        return self._page(
            kind, mapping, rows, cursor=str(following), more=bool(locator), as_of=here.until
        )

    def _states(self, selected: Selection, here: BulkCursor) -> set[str]:
        found = {self._client.job_state(selected.own.sobject, here.job, operation=_OPERATION)}
        if here.below is not None and selected.inner is not None:
            inner = selected.inner.sobject
            found.add(self._client.job_state(inner, here.below.job, operation=_OPERATION))
        return found

    def _joined(
        self, selected: Selection, below: Below, parents: list[dict[str, Any]], size: int
    ) -> Below:
        """Give each parent its child rows; where to read on for the parents after these.

        Parts of children are read until one ends behind the last parent. Of parents created at
        the same moment, some may be in the next part: it begins at the first part that holds
        children of that moment. Raises _OutOfOrderError.
        """
        inner = selected.inner
        assert inner is not None, "there are children"
        moments = [instant_of(parent, CREATED) for parent in parents]
        _ascending([below.reached or _LONG_AGO, *moments])
        last = moments[-1]
        by_id: dict[str, list[dict[str, Any]]] = {id_of(parent): [] for parent in parents}
        locator, start, before = below.locator, None, _LONG_AGO
        while True:
            rows, following = self._client.job_results(
                inner.sobject,
                below.job,
                inner.types,
                locator,
                limit=_CHILDREN_PER_PARENT * size,
            )
            created = [_moment(row, selected.created) for row in rows]
            _ascending([before, *created])
            before = created[-1] if created else before
            for row in rows:
                if row[selected.lookup] in by_id:
                    by_id[row[selected.lookup]].append(row)
            if start is None and (before >= last or not following):
                start = locator
            if before > last or not following:
                break
            locator = following
        for parent in parents:
            parent[selected.relationship] = by_id[id_of(parent)]
        return replace(below, locator=start or "", reached=last)

    def _waiting(self, here: BulkCursor) -> Page:
        return Page(records=(), cursor=str(here), more=True, as_of=here.until, wait=here.wait)

    def _selection(self, mapping: Mapping) -> Selection | None:
        """What jobs select for a mapping, worked out once; None where they can't."""
        if mapping.object not in self._selections:
            columns, children = layout.selection(mapping)
            self._selections[mapping.object] = selection_of(
                mapping.object,
                ("Id", *columns, STAMP),
                {child.relationship: child.columns for child in children},
                self._client.describe,
            )
        return self._selections[mapping.object]


def _ascending(moments: Sequence[datetime]) -> None:
    if any(later < earlier for earlier, later in pairwise(moments)):
        raise _OutOfOrderError


def _moment(row: dict[str, Any], path: str) -> datetime:
    """When a child's parent was created; long ago for one whose parent can't be seen."""
    parent, _, field = path.partition(".")
    inner = row[parent]
    return instant_of(inner, field) if inner[field] is not None else _LONG_AGO


def _plain(value: Any) -> Any:
    """A row as JSON can hold it, for the quarantine."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if name != "attributes"}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Decimal) else value
