"""The policy: what is in force, its versions, and what another one would have said."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from fastapi import APIRouter, Request
from starlette.responses import Response

from middleware.api import examples, paging, versions
from middleware.api.answers import answer, hold_to_version
from middleware.api.describe import IfMatch, IfNoneMatch, operation
from middleware.api.door import Asking, Route, TheDoor
from middleware.api.paging import Cursor, Limit
from middleware.api.schemas import policy as schemas
from middleware.api.schemas.base import MoneyShown, number
from middleware.api.showing import shown_verdict
from middleware.contract.canonical import Money
from middleware.domain.policy import Outcome
from middleware.domain.policy_file import body_of
from middleware.domain.problems import InvalidError
from middleware.flows import backtest, policies
from middleware.flows.backtest import Backtest, Difference
from middleware.flows.keys import Scope
from middleware.flows.policies import POLICY, InForce

router = APIRouter(route_class=Route, tags=["policy"])

DEFAULT_SPAN = timedelta(days=30)


@router.get(
    "/v1/policy",
    response_model=schemas.PolicyShown,
    **operation(
        Scope.POLICY_READ,
        headers={"ETag": "Its version."},
        also={304: "What you have is still right."},
        example=examples.POLICY,
    ),
)
def get_policy(request: Request, door: TheDoor, if_none_match: IfNoneMatch = None) -> Response:
    """Show the policy in force."""
    with door.hub.database.read() as uow:
        current = policies.in_force(door.hub, uow)
    return answer(request, _shown(current), version=current.version)


@router.get(
    "/v1/policy/versions",
    response_model=schemas.PolicyPage,
    **operation(
        Scope.POLICY_READ,
        says="One page, newest first.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.POLICY_PAGE,
    ),
)
def list_policy_versions(
    request: Request, door: TheDoor, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the versions of the policy: who put each one in force, when and why."""
    return versions.page(
        POLICY, request, door, limit=limit, cursor=cursor, shape=schemas.PolicyPage
    )


@router.get(
    "/v1/policy/versions/{version}",
    response_model=schemas.PolicyShown,
    **operation(Scope.POLICY_READ, "not-found", example=examples.POLICY),
)
def get_policy_version(version: str, request: Request, door: TheDoor) -> Response:
    """Show one version of the policy."""
    return answer(request, _shown(versions.numbered(POLICY, door, version)))


@router.put(
    "/v1/policy",
    response_model=schemas.PolicyShown,
    **operation(
        Scope.POLICY_WRITE,
        "malformed-body",
        "body-too-large",
        "not-found",
        "stale-version",
        "version-required",
        says="In force from now on; the same policy again changes nothing.",
        headers={"ETag": "Its version."},
        example=examples.POLICY,
        request={
            "policy": {"policy": examples.POLICY_BODY, "reason": "Photos before replacements."},
            "rollback": {"version": 3, "reason": "The new limits were too tight."},
        },
    ),
)
def put_policy(
    asked: schemas.PolicyAsked,
    request: Request,
    door: TheDoor,
    asker: Asking,
    if_match: IfMatch = None,
) -> Response:
    """Put a policy in force as a new version, or an earlier version again.

    Actions that were accepted before keep the verdict that they were accepted under.
    """
    with door.hub.database.read() as uow:
        current = policies.in_force(door.hub, uow)
    hold_to_version(if_match, current.version)
    made = policies.put(
        door.hub,
        versions.asked(POLICY, door, asked.policy, asked.version, at="policy"),
        asker=asker,
        source="api",
        reason=asked.reason,
        expected=current.version,
    )
    return answer(request, _shown(made), version=made.version)


@router.post(
    "/v1/policy/backtest",
    response_model=schemas.BacktestShown,
    **operation(
        Scope.POLICY_READ,
        "malformed-body",
        "body-too-large",
        "not-found",
        example=examples.BACKTEST,
        request={
            "policy": {
                "policy": examples.POLICY_BODY,
                "from": "2026-10-22T00:00:00Z",
                "to": "2026-11-21T00:00:00Z",
            }
        },
    ),
)
def backtest_policy(
    asked: schemas.BacktestAsked, request: Request, door: TheDoor, cursor: Cursor = None
) -> Response:
    """Show what a policy would have said to past actions. Nothing is written.

    Each action is judged by what was known of it when it was asked for, and by what really
    happened before. Requests that were refused left no action, and are not among them.
    """
    policy = versions.asked(POLICY, door, asked.policy, asked.version, at="policy")
    until = asked.until or door.hub.clock()
    since = asked.since or _before(until)
    if since >= until:
        raise InvalidError(
            "The time ends before it begins.",
            errors=[{"pointer": "/from", "code": "order", "detail": "must be before `to`"}],
        )
    here = paging.turn(door.cursors, request, cursor=cursor, limit=backtest.MOST)
    after = None
    if here.position is not None:
        after = (datetime.fromisoformat(here.position[0]), str(here.position[1]))
    found = backtest.backtest(door.hub, policy, since=since, until=until, after=after)
    following = None
    if found.after is not None:
        moment, last = found.after
        following = door.cursors.write(here.purpose, [moment.isoformat(), last])
    return answer(request, shown_backtest(found, following))


def _before(until: datetime) -> datetime:
    try:
        return until - DEFAULT_SPAN
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


# --- what is shown -----------------------------------------------------------------------------


def _shown(found: InForce) -> schemas.PolicyShown:
    return schemas.PolicyShown(**versions.origin(found), policy=body_of(found.document))


def shown_backtest(found: Backtest, next_cursor: str | None) -> schemas.BacktestShown:
    return schemas.BacktestShown(
        since=found.since,
        until=found.until,
        judged=found.judged,
        without_facts=found.without_facts,
        differing=len(found.differences),
        outcomes=[
            schemas.TallyShown(
                outcome=outcome,
                was=found.was[outcome].count,
                would=found.would[outcome].count,
                was_worth=_sums(found.was[outcome].sums),
                would_be_worth=_sums(found.would[outcome].sums),
            )
            for outcome in Outcome
        ],
        differences=[_difference(difference) for difference in found.differences],
        complete=found.after is None,
        next_cursor=next_cursor,
    )


def _difference(found: Difference) -> schemas.DifferenceShown:
    return schemas.DifferenceShown.model_validate(
        {
            "action_id": found.action_id,
            "created_at": found.created_at,
            "operation": found.operation,
            "value": _money(found.value),
            "version": found.version,
            "was": shown_verdict(found.was),
            "would": shown_verdict(found.would),
        }
    )


def _money(money: Money | None) -> MoneyShown | None:
    return MoneyShown(amount=number(money.amount), currency=money.currency) if money else None


def _sums(sums: Mapping[str, Decimal]) -> list[MoneyShown]:
    return [
        MoneyShown(amount=number(amount), currency=currency)
        for currency, amount in sorted(sums.items())
    ]
