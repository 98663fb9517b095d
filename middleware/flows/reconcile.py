"""Reconcile: whatever was promised and is not under way is taken up again.

Work is normally carried by the engine. This flow looks at our own rows instead, so that nothing
depends on the engine's: an action that is owed a pass, an outcome nobody knows, a delivery stored
and not handled, an event not delivered.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from middleware.contract.actions import REQUESTS, Operation, Receipt
from middleware.contract.errors import Duplicated, RemoteError
from middleware.domain.actions import ActionState, StepState, describe_error
from middleware.domain.turns import Urgency
from middleware.flows import claim, correct, deliver, life, rounds, trainings, watch
from middleware.flows.hub import Hub
from middleware.understanding.glance import haste

log = logging.getLogger(__name__)

AT_ONCE = 100
UNKNOWN_ASKED_EVERY = timedelta(minutes=10)
ANSWERS_KEPT = timedelta(hours=24)
"""How long an idempotency key answers with its first answer."""
FOLLOWED_FOR = timedelta(days=14)
"""How long a resolution that does not run has its changed records noted."""
MOST_REPLAYS = 5
"""How often a delivery that cannot be handled is tried before it is put in quarantine."""


def run(hub: Hub, tick: str) -> None:
    now = hub.clock()
    _owe_actions(hub, now)
    _expire_approvals(hub, now)
    _owe_deliveries(hub, now)
    _owe_arrivals(hub, now, tick)
    _owe_runs(hub, now, tick)
    trainings.owe_overdue(hub, tick)
    rounds.look_again(hub)
    watch.look(hub)
    claim.expire(hub)
    _look_up_unknown(hub, now)
    with hub.database.begin() as uow:
        uow.gathering.forget_keys(before=now - 2 * hub.options.gathering.window)
        uow.keys.forget_answers(before=now - ANSWERS_KEPT)
        uow.nodes.forget(older_than=timedelta(days=1))
        uow.followed.unfollow(unless_since=now - FOLLOWED_FOR)
    hub.engine.tidy(older_than=hub.options.finished_kept)


def _owe_actions(hub: Hub, now: datetime) -> None:
    with hub.database.read() as uow:
        overdue = [action.id for action in uow.actions.overdue(before=now, limit=AT_ONCE)]
    for action_id in overdue:
        with hub.database.begin() as uow:
            action = uow.actions.get(action_id, lock=True)
            if action is None or action.due_at is None or action.due_at >= now:
                continue
            log.warning("action taken up again", extra={"action": action_id})
            life.owe_pass(hub, uow, action, at=now)


def _expire_approvals(hub: Hub, now: datetime) -> None:
    with hub.database.read() as uow:
        late = [a.id for a in uow.actions.awaiting_approval(expired_by=now, limit=AT_ONCE)]
    for action_id in late:
        correct.expire_approval(hub, action_id)


def _owe_deliveries(hub: Hub, now: datetime) -> None:
    with hub.database.begin() as uow:
        for delivery in uow.events.overdue(before=now - hub.options.call_margin, limit=AT_ONCE):
            delivery.due_at = now
            deliver.owe(hub, uow, delivery, again=now)


def _owe_arrivals(hub: Hub, now: datetime, tick: str) -> None:
    # What waits in the queue is not left behind, however long it takes: only what arrived before
    # the oldest of it was owed has been passed over.
    oldest = hub.engine.oldest("receive")
    before = min(now, oldest or now) - hub.options.call_margin
    with hub.database.begin() as uow:
        for inbox_id in uow.inbox.left_behind(before=before, limit=AT_ONCE):
            row = uow.inbox.get(inbox_id)
            assert row is not None
            row.replays += 1
            if row.replays > MOST_REPLAYS:
                uow.inbox.settle(
                    row,
                    "quarantined",
                    at=now,
                    problem={"place": "", "reason": "it could not be handled; see the log"},
                )
                continue
            hub.engine.enqueue(
                uow,
                "receive",
                inbox_id,
                name=f"receive:{inbox_id}:{tick}",
                priority=haste(row.body),
            )


def _owe_runs(hub: Hub, now: datetime, tick: str) -> None:
    """Runs whose flow ended without saying so."""
    with hub.database.read() as uow:
        silent = [r for r in uow.jobs.running() if now - r.queued_at > hub.options.call_margin]
        flows = {row.name: row.flow for row in uow.jobs.all()}
    for row in silent:
        flow = flows.get(row.job, "sync")
        name = f"{flow}:{row.job}:{row.tick}"
        if not hub.engine.pending(name):
            with hub.database.begin() as uow:
                hub.engine.enqueue(uow, flow, row.id, name=f"{name}:{tick}")


def _look_up_unknown(hub: Hub, now: datetime) -> None:
    """Ask the remotes about outcomes that are not known; a person may be quicker."""
    with hub.database.read() as uow:
        unknown = uow.actions.page(before=None, limit=AT_ONCE, state=ActionState.UNKNOWN.value)
    for action in unknown:
        if action.handed_over is None and now - action.updated_at >= UNKNOWN_ASKED_EVERY:
            look_up(hub, action.id)


def look_up(hub: Hub, action_id: str) -> None:
    """Look an action's unknown step up by its key, and settle it if the remote can tell.

    Found once: the step is done and the action goes on. Not found: nothing happened, and nothing
    will be sent after the action has expired, so the step is cancelled. Found several times, or
    no answer: it stays unknown.
    """
    with hub.database.read() as uow:
        step = next(
            (s for s in uow.actions.steps_of(action_id) if s.state == StepState.UNKNOWN), None
        )
    if step is None or step.request is None or step.sent_at is None:
        return
    operation = Operation(step.operation)
    request = REQUESTS[operation].model_validate(step.request)
    found: Receipt | None = None
    error: RemoteError | None = None
    settled = False
    try:
        remote = hub.gate.remote(step.connection, Urgency.BATCH)
        traits = remote.key_traits(operation)
        # Before the look-up, which may take a while: what it did not find may come meanwhile.
        latest = max(step.doubt_until or step.sent_at, step.sent_at + traits.settle)
        settled = hub.clock() >= latest
        found = getattr(remote, f"find_{operation}")(request, key=step.key)
    except Duplicated as duplicated:
        error = duplicated
    except RemoteError as failed:
        error = failed
    correct.resolve_unknown(
        hub,
        action_id,
        step.id,
        found=found,
        absent=found is None and error is None and settled,
        error=describe_error(error) if error else None,
    )
