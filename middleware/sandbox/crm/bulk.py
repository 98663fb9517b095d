"""Query jobs of Bulk API 2.0: made, asked after, read part by part, aborted, deleted.

Source: Salesforce's Bulk API 2.0 and Bulk API Developer Guide, "Query Jobs": a job is
`UploadComplete`, `InProgress` and then `JobComplete`; its results are CSV with a header, in parts
that `Sforce-Locator` leads through, `null` at the end. Nested queries, COUNT and compound fields
are refused.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from middleware.sandbox.crm import ids, soql
from middleware.sandbox.crm.rows import Row
from middleware.sandbox.crm.soql import Path as FieldPath
from middleware.sandbox.crm.soql import Query, Refused

_OPERATIONS = ("query", "queryAll")
_MOST_RECORDS = 50_000


@dataclass
class Job:
    """One query job; its rows are those there were when it was begun."""

    id: str
    operation: str
    text: str
    query: Query
    rows: list[Row]
    created: str
    asked: int = 0
    state: str = "UploadComplete"


@dataclass
class Jobs:
    """The org's query jobs. `polls` is how often one is asked after before it is complete."""

    polls: int = 2
    fails: bool = False
    """Whether jobs fail instead, as they do where the org has used up its bulk limits."""
    kept: dict[str, Job] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def create(
        self, asked: Mapping[str, Any], run: Callable[[Query, bool], list[Row]], now: str
    ) -> Job:
        operation, text = asked.get("operation"), asked.get("query")
        if operation not in _OPERATIONS or not isinstance(text, str):
            raise Refused("INVALIDJOB", "operation and query are required")
        query = soql.parse(text)
        nested = any(not isinstance(column, FieldPath) for column in query.columns)
        if query.counts or nested or query.offset:
            raise Refused("API_ERROR", "Nested, aggregate and OFFSET queries are not supported")
        rows = run(query, operation == "queryAll")
        with self._lock:
            job = Job(ids.make("750", 1 + len(self.kept)), str(operation), text, query, rows, now)
            self.kept[job.id] = job
        return job

    def of(self, key: str) -> Job:
        with self._lock:
            job = self.kept.get(key)
        if job is None:
            raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)
        return job

    def look(self, key: str) -> Job:
        """Ask after a job, which goes on while it is asked after."""
        job = self.of(key)
        if job.state in ("UploadComplete", "InProgress"):
            job.asked += 1
            job.state = "InProgress" if job.asked < self.polls else self._ended
        return job

    @property
    def _ended(self) -> str:
        return "Failed" if self.fails else "JobComplete"

    def abort(self, key: str) -> Job:
        job = self.of(key)
        if job.state in ("UploadComplete", "InProgress"):
            job.state = "Aborted"
        return job

    def delete(self, key: str) -> None:
        self.of(key)
        with self._lock:
            del self.kept[key]

    def results(
        self, key: str, asked: Mapping[str, str], rows: Callable[[str, str], Row | None]
    ) -> tuple[bytes, str, int]:
        """A part as CSV, the locator of the next part, and how many records it has."""
        job = self.of(key)
        if job.state != "JobComplete":
            raise Refused("INVALIDJOBSTATE", "The job is not complete")
        begin = asked.get("locator", "0")
        most = asked.get("maxRecords", str(_MOST_RECORDS))
        if not begin.isdigit() or not most.isdigit() or not int(most):
            raise Refused("INVALID_LOCATOR", "invalid locator or maxRecords")
        end = int(begin) + min(int(most), _MOST_RECORDS)
        part = job.rows[int(begin) : end]
        paths = [column for column in job.query.columns if isinstance(column, FieldPath)]
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow([_name(path) for path in paths])
        writer.writerows([_text(path.read(row, rows)) for path in paths] for row in part)
        return text.getvalue().encode(), "null" if end >= len(job.rows) else str(end), len(part)


def shown(job: Job, *, user: str, version: str) -> dict[str, Any]:
    """A job as it is described."""
    told = {
        "id": job.id,
        "operation": job.operation,
        "object": job.query.sobject.name,
        "createdById": user,
        "createdDate": job.created,
        "systemModstamp": job.created,
        "state": job.state,
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": float(version),
        "lineEnding": "LF",
        "columnDelimiter": "COMMA",
    }
    if job.state == "JobComplete":
        told |= {"numberRecordsProcessed": len(job.rows), "retries": 0, "totalProcessingTime": 1}
    if job.state == "Failed":
        told["errorMessage"] = "Unable to query"
    return told


def _name(path: FieldPath) -> str:
    return ".".join([*(str(lookup.relationship) for lookup in path.lookups), path.field.name])


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text.removesuffix("+0000") + "Z" if text.endswith("+0000") else text
