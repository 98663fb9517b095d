"""Pausing and resuming scheduled jobs."""

from __future__ import annotations

from middleware.domain.problems import NotFoundError
from middleware.flows.hub import Asker, Hub


def set_paused(hub: Hub, job: str, asker: Asker, *, paused: bool) -> None:
    """Pause a job, or let its schedule count again; what is so already stays so."""
    now = hub.clock()
    with hub.database.begin() as uow:
        row = uow.jobs.get(job)
        if row is None:
            raise NotFoundError(f"there is no job {job!r}")
        if row.paused == paused:
            return
        row.paused = paused
        if not paused:
            row.counts_from = now
        row.version += 1
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action="job.pause" if paused else "job.resume",
            subject=job,
            request_id=asker.request_id,
        )
