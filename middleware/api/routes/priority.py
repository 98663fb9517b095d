"""The queue: its rule book, what another one would have done, who is on call, and the report."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from middleware.api import priority_examples as examples
from middleware.api import versions
from middleware.api.answers import answer, hold_to_version
from middleware.api.describe import IfMatch, IfNoneMatch, operation
from middleware.api.door import Asking, Door, Route, TheDoor
from middleware.api.paging import Cursor, Limit
from middleware.api.schemas import priority as schemas
from middleware.api.schemas.base import When
from middleware.domain import sla
from middleware.domain.problems import InvalidError
from middleware.domain.rulebook_file import full_body_of, warnings_of
from middleware.flows import report, rulebooks, simulate
from middleware.flows.keys import Scope
from middleware.flows.rulebooks import RULEBOOK, InForce
from middleware.store import queries

router = APIRouter(route_class=Route, tags=["priority"])

DEFAULT_SPAN = timedelta(days=30)


@router.get(
    "/v1/priority/rules",
    response_model=schemas.RulesShown,
    **operation(
        Scope.POLICY_READ,
        headers={"ETag": "Its version."},
        also={304: "What you have is still right."},
        example=examples.RULES,
    ),
)
def get_priority_rules(
    request: Request, door: TheDoor, if_none_match: IfNoneMatch = None
) -> Response:
    """Show the rule book in force: weights, targets, calendars, rota and escalation steps."""
    with door.hub.database.read() as uow:
        current = rulebooks.in_force(door.hub, uow)
    return answer(request, _shown(current), version=current.version)


@router.get(
    "/v1/priority/rules/versions",
    response_model=schemas.RulesPage,
    **operation(
        Scope.POLICY_READ,
        says="One page, newest first.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.RULES_PAGE,
    ),
)
def list_priority_rules(
    request: Request, door: TheDoor, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the versions of the rule book: who put each one in force, when and why."""
    return versions.page(
        RULEBOOK, request, door, limit=limit, cursor=cursor, shape=schemas.RulesPage
    )


@router.get(
    "/v1/priority/rules/versions/{version}",
    response_model=schemas.RulesShown,
    **operation(Scope.POLICY_READ, "not-found", example=examples.RULES),
)
def get_priority_rules_version(version: str, request: Request, door: TheDoor) -> Response:
    """Show one version of the rule book."""
    return answer(request, _shown(versions.numbered(RULEBOOK, door, version)))


@router.put(
    "/v1/priority/rules",
    response_model=schemas.RulesShown,
    **operation(
        Scope.POLICY_WRITE,
        "malformed-body",
        "body-too-large",
        "not-found",
        "stale-version",
        "version-required",
        says="In force from now on; open complaints are scored anew. The same again changes "
        "nothing.",
        headers={"ETag": "Its version."},
        example=examples.RULES,
        request={
            "rules": {"rules": examples.RULES_BODY, "reason": "Gold within half an hour."},
            "rollback": {"version": 2, "reason": "Too many e-mails at night."},
        },
    ),
)
def put_priority_rules(
    asked: schemas.RulesAsked,
    request: Request,
    door: TheDoor,
    asker: Asking,
    if_match: IfMatch = None,
) -> Response:
    """Put a rule book in force as a new version, or an earlier version again.

    Clocks that have ended keep the promise that they ran under; those that run go by the new one.
    """
    with door.hub.database.read() as uow:
        current = rulebooks.in_force(door.hub, uow)
    hold_to_version(if_match, current.version)
    made = rulebooks.put(
        door.hub,
        versions.asked(RULEBOOK, door, asked.rules, asked.version, at="rules"),
        asker=asker,
        source="api",
        reason=asked.reason,
        expected=current.version,
    )
    return answer(request, _shown(made), version=made.version)


@router.post(
    "/v1/priority/simulate",
    response_model=schemas.SimulationShown,
    **operation(
        Scope.POLICY_READ,
        "malformed-body",
        "body-too-large",
        "not-found",
        example=examples.SIMULATION,
        request={
            "rules": {
                "rules": examples.RULES_BODY,
                "from": "2026-10-22T00:00:00Z",
                "to": "2026-11-21T00:00:00Z",
            }
        },
    ),
)
def simulate_priority(asked: schemas.SimulationAsked, request: Request, door: TheDoor) -> Response:
    """Show what another rule book would have made of past complaints: who moves up and down, by how
    much, and which term made it. Nothing is written.

    Each complaint is scored by what was known of it when it was last scored, at that moment.
    """
    book = versions.asked(RULEBOOK, door, asked.rules, asked.version, at="rules")
    since, until = span(door, asked.since, asked.until, "/from")
    found = simulate.simulate(door.hub, book, since=since, until=until, top=asked.top)
    shown = schemas.SimulationShown.model_validate(
        {
            **asdict(found),
            "moves": [{**asdict(move), "up": move.up} for move in found.moves],
        }
    )
    return answer(request, shown)


@router.get(
    "/v1/priority/on-call",
    response_model=schemas.OnCallShown,
    **operation(Scope.POLICY_READ, example=examples.ON_CALL),
)
def get_on_call(
    request: Request,
    door: TheDoor,
    at: Annotated[When | None, Query(description="Which moment; by default now.")] = None,
) -> Response:
    """Show who is on call at a moment, outside the hours of the team."""
    moment = at or door.hub.clock()
    with door.hub.database.read() as uow:
        current = rulebooks.in_force(door.hub, uow)
    try:
        who = sla.on_call(current.document, moment)
    except OverflowError:
        raise InvalidError(
            "Nobody has a clock for that moment.",
            errors=[{"pointer": "/query/at", "code": "range", "detail": "is too far away"}],
        ) from None
    shown = schemas.OnCallShown(at=moment, on_call=who, rulebook_version=current.version)
    return answer(request, shown)


@router.get(
    "/v1/reports/response",
    response_model=schemas.ResponseReportShown,
    **operation(Scope.COMPLAINTS_READ, example=examples.REPORT),
)
def get_response_report(
    request: Request,
    door: TheDoor,
    by: Annotated[Literal["all", "channel", "brand", "team"], Query()] = "all",
    since: Annotated[
        When | None, Query(alias="from", description="By default 30 days before `to`.")
    ] = None,
    until: Annotated[When | None, Query(alias="to", description="By default now.")] = None,
) -> Response:
    """Report response times and rates against what was promised, of clocks that began in a time.

    Times are on the wall; whether a promise was kept goes by the working time of its calendar.
    """
    begin, end = span(door, since, until, "/query/from")
    found = report.response_report(door.hub, by=by, since=begin, until=end)
    shown = schemas.ResponseReportShown.model_validate(
        {
            "since": begin,
            "until": end,
            "by": by,
            "groups": [
                {
                    **asdict(one),
                    "answered_share": round(one.answered / one.started, 4),
                    "within_hour_share": round(one.within_hour / one.started, 4),
                }
                for one in found.groups
            ],
            "escalations": asdict(found.escalations),
        }
    )
    return answer(request, shown)


def span(
    door: Door, since: datetime | None, until: datetime | None, pointer: str
) -> tuple[datetime, datetime]:
    """The time that is asked about; raises InvalidError where it ends before it begins."""
    end = until or door.hub.clock()
    try:
        begin = since or end - DEFAULT_SPAN
    except OverflowError:
        begin = datetime.min.replace(tzinfo=UTC)
    if begin >= end:
        raise InvalidError(
            "The time ends before it begins.",
            errors=[{"pointer": pointer, "code": "order", "detail": "must be before `to`"}],
        )
    return begin, end


def _shown(found: InForce) -> schemas.RulesShown:
    return schemas.RulesShown(
        **versions.origin(found),
        rules=full_body_of(found.document),
        warnings=[
            schemas.WarningShown(pointer=warning.pointer, detail=warning.message)
            for warning in warnings_of(found.document)
        ],
    )


# --- of one complaint ----------------------------------------------------------------------------


def score_shown(row: queries.ComplaintRow) -> schemas.ScoreShown | None:
    """The score of a complaint as it is stored; None before it was scored."""
    kept = row.priority_terms
    if kept is None:
        return None
    return schemas.ScoreShown.model_validate(
        {
            **kept["score"],
            "rulebook_version": kept["version"],
            "at": kept["at"],
            "next_at": row.rescore_at,
        }
    )


def clock_shown(row: queries.SlaClockRow) -> schemas.ClockShown:
    return schemas.ClockShown.model_validate(
        {
            **{name: getattr(row, name) for name in schemas.ClockShown.model_fields if name in _OF},
            "rulebook_version": row.version,
        }
    )


_OF = frozenset(queries.SlaClockRow.model_fields)


def step_shown(row: queries.EscalationRow) -> schemas.StepShown:
    return schemas.StepShown(
        step=row.step,
        clock_id=row.clock_id,
        state=row.state,
        due_at=row.due_at,
        fired_at=row.fired_at,
        late_s=row.late_s,
        detail=row.detail or {},
    )
