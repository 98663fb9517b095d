"""How fast and how often was answered: clocks against their targets, in SQL on both databases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col

from middleware.store.tables import EscalationRow, SlaClockRow

GROUPS = {
    "all": None,
    "channel": col(SlaClockRow.channel),
    "brand": col(SlaClockRow.brand),
    "team": col(SlaClockRow.team),
}
HOUR_S = 3600.0


@dataclass(frozen=True)
class Responses:
    """The clocks of one kind that began in a time, of one channel, brand or team."""

    kind: str
    group: str | None
    """Which channel, brand or team; None for those without one, and for all together."""
    started: int
    answered: int
    within_hour: int
    """Answered within an hour on the wall, whatever was promised."""
    kept: int
    """Answered in time."""
    breached: int
    """Not answered in time: late, ended without an answer after it was due, or due and running."""
    median_s: float | None
    """On the wall, of those answered; the nearest rank, so a time that was really taken."""
    p90_s: float | None
    slowest_s: float | None


def responses(
    session: Session, *, by: str, since: datetime, until: datetime, now: datetime
) -> list[Responses]:
    """Counts and quantiles by kind of clock and group. `by` is one of `GROUPS`.

    A quantile is the value at the nearest rank: the smallest that at least that share of the
    values does not exceed (Hyndman & Fan 1996, definition 1), found with one sort in the database.
    """
    column = GROUPS[by]
    group: Any = column if column is not None else sa.null()
    began = sa.and_(
        col(SlaClockRow.started_at) >= since,
        col(SlaClockRow.started_at) < until,
        col(SlaClockRow.state) != "dropped",
    )
    answered = col(SlaClockRow.state) == "answered"
    late = col(SlaClockRow.used_s) > col(SlaClockRow.promised_s)
    overdue = sa.and_(col(SlaClockRow.state) == "running", col(SlaClockRow.due_at) < now)

    def count(condition: Any) -> Any:
        return sa.func.sum(sa.case((condition, 1), else_=0))

    ended = col(SlaClockRow.ended_at).is_not(None)
    counts = (
        sa.select(
            col(SlaClockRow.kind),
            group.label("grouped"),
            sa.func.count(),
            count(answered),
            count(sa.and_(answered, col(SlaClockRow.elapsed_s) <= HOUR_S)),
            count(sa.and_(answered, sa.not_(late))),
            count(sa.or_(sa.and_(ended, late), overdue)),
        )
        .where(began)
        .group_by(col(SlaClockRow.kind), *([column] if column is not None else []))
    )
    parted = [col(SlaClockRow.kind), *([column] if column is not None else [])]
    ranked = (
        sa.select(
            col(SlaClockRow.kind).label("kind"),
            group.label("grouped"),
            col(SlaClockRow.elapsed_s).label("elapsed"),
            sa.func.row_number()
            .over(partition_by=parted, order_by=col(SlaClockRow.elapsed_s))
            .label("place"),
            sa.func.count().over(partition_by=parted).label("n"),
        )
        .where(began, answered)
        .subquery()
    )
    at = ranked.c
    wanted = [
        # The nearest rank is ceil(share × n), in whole numbers.
        sa.func.max(sa.case((at.place == (at.n * part + 99) // sa.literal(100), at.elapsed)))
        if not whole
        else sa.func.max(at.elapsed)
        for part, whole in ((50, False), (90, False), (100, True))
    ]
    quantiles = sa.select(at.kind, at.grouped, *wanted).group_by(at.kind, at.grouped)
    connection = session.connection()
    times = {(row[0], row[1]): row[2:] for row in connection.execute(quantiles)}
    found = []
    for row in connection.execute(counts):
        median, p90, slowest = times.get((row[0], row[1]), (None, None, None))
        found.append(
            Responses(
                kind=row[0],
                group=row[1],
                started=int(row[2]),
                answered=int(row[3] or 0),
                within_hour=int(row[4] or 0),
                kept=int(row[5] or 0),
                breached=int(row[6] or 0),
                median_s=median,
                p90_s=p90,
                slowest_s=slowest,
            )
        )
    return sorted(found, key=lambda one: (one.kind, one.group is not None, one.group or ""))


@dataclass(frozen=True)
class Punctuality:
    """How late escalation steps were taken that were due in a time."""

    fired: int
    waiting: int
    """Due and not taken."""
    median_s: float | None
    p99_s: float | None
    latest_s: float | None


def punctuality(
    session: Session, *, since: datetime, until: datetime, now: datetime
) -> Punctuality:
    """The lateness of steps that were due in a time; quantiles as in `responses`."""
    due = sa.and_(col(EscalationRow.due_at) >= since, col(EscalationRow.due_at) < until)
    connection = session.connection()
    late = list(
        connection.execute(
            sa.select(col(EscalationRow.late_s))
            .where(due, col(EscalationRow.state) == "fired")
            .order_by(col(EscalationRow.late_s))
        ).scalars()
    )
    waiting = connection.scalar(
        sa.select(sa.func.count()).where(
            due, col(EscalationRow.state) == "due", col(EscalationRow.due_at) <= now
        )
    )

    def at(part: int) -> float | None:
        return late[-(-len(late) * part // 100) - 1] if late else None

    return Punctuality(len(late), int(waiting or 0), at(50), at(99), at(100))
