"""Gathering: complaints of one issue become one, whichever channel and tool they came through.

Nothing is rewritten: the later complaint says which one it was merged into, and keeps its own
conversation, arrivals and understanding. Undoing it is taking that word back. A complaint is only
ever merged by whoever holds its own row, and by itself only into an older one, so that two that are
handled at once wait for each other once, at the turn of events, and never in a circle.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from middleware.contract.actions import NoteRequest, Operation
from middleware.contract.canonical import Ref
from middleware.domain.actions import Wanted
from middleware.domain.gathering import Band, Compared, Told, best, compare, keys
from middleware.domain.ids import new_id
from middleware.domain.ledger import Standing
from middleware.domain.orders import number_key
from middleware.domain.problems import ConflictError, InvalidError, NotFoundError
from middleware.domain.understanding import EntityType, Intent, Understanding
from middleware.flows import correct, deliver, plan, prioritise
from middleware.flows.hub import Asker, Hub
from middleware.store.database import UnitOfWork
from middleware.store.tables import (
    ArrivalRow,
    ComplaintMergeRow,
    ComplaintMoveRow,
    ComplaintRow,
    PersonRow,
)

log = logging.getLogger(__name__)

MOST_COMPARED = 30
"""Complaints that one is held against, the latest of each kind of key."""
UNGATHERED = frozenset({Intent.PRAISE, Intent.NOISE})
"""Nobody waits for an answer to these; only the very same post is gathered."""


# --- by itself ----------------------------------------------------------------------------------


def take_up(hub: Hub, uow: UnitOfWork, complaint: ComplaintRow, *, now: datetime) -> None:
    """Hold a complaint that was understood against the others, and merge it or suggest to.

    The caller holds its row, and will wait for no lock after this.
    """
    uow.claims.follow(complaint.id, person_id=complaint.person_id, order_ref=complaint.order_ref)
    rules = hub.options.gathering
    if not rules.enabled or complaint.state != "open":
        return
    (told,) = told_of(uow, [complaint])
    mine = keys(told)
    # Whoever is understood at the same moment is before us now, committed, or will find us.
    uow.events.take_turn()
    uow.gathering.keep_keys(complaint.id, mine, at=told.last_at)
    if complaint.merged_into is not None:
        if complaint.order_ref is not None and uow.complaints.root_of(complaint).order_ref is None:
            _owe(hub, uow, uow.complaints.root_of(complaint), complaint)
        return
    found = _found(hub, uow, complaint, told, mine)
    ours = {row.id for row in uow.complaints.issue_of(complaint)}
    for root, compared in found:
        if root.id in ours or compared.band is Band.APART:
            continue
        theirs = {row.id for row in uow.complaints.issue_of(root)}
        before = _decided(uow, ours, theirs)
        if any(row.state == "split" for row in before):
            continue
        if compared.band is Band.SUGGESTED:
            if not any(row.state == "suggested" for row in before):
                _suggest(hub, uow, root, complaint, compared, now)
        elif _age(root) < _age(complaint):
            _merge(hub, uow, complaint, root, compared=compared, now=now)
            prioritise.score_in(hub, uow, complaint, now=now)
            _owe(hub, uow, root, complaint)
            return
        else:
            # The younger one merges itself, holding its own row.
            _owe(hub, uow, root, complaint)
    _adopt(uow, complaint, now)


def _owe(hub: Hub, uow: UnitOfWork, whose: ComplaintRow, because_of: ComplaintRow) -> None:
    """Have another complaint looked at, by somebody who holds its row."""
    name = f"gather:{whose.id}:{because_of.id}:{because_of.version}"
    hub.engine.enqueue(uow, "gather", whose.id, name=name)


def run(hub: Hub, complaint_id: str) -> None:
    """Hold a complaint against the others once more, after one of them has changed."""
    now = hub.clock()
    with hub.database.begin() as uow:
        complaint = uow.complaints.get(complaint_id, lock=True)
        if complaint is not None and complaint.understanding is not None:
            take_up(hub, uow, complaint, now=now)


def told_of(uow: UnitOfWork, complaints: Sequence[ComplaintRow]) -> list[Told]:
    """What is known of each complaint by its own arrivals."""
    arrivals: dict[str, list[ArrivalRow]] = {}
    for arrival in uow.complaints.arrivals_of_all([c.id for c in complaints]):
        if not arrival.outgoing and arrival.deleted_at is None:
            arrivals.setdefault(arrival.complaint_id, []).append(arrival)
    people = uow.people.persons({c.person_id for c in complaints if c.person_id is not None})
    return [_told(c, arrivals.get(c.id, ()), people.get(c.person_id or "")) for c in complaints]


def _told(
    complaint: ComplaintRow, arrivals: Sequence[ArrivalRow], person: PersonRow | None
) -> Told:
    understood = Understanding.model_validate(complaint.understanding or {"by": "nobody"})
    gathered = understood.intent.value not in UNGATHERED
    given = [n for a in arrivals for n in (a.author or {}).get("order_numbers", ())]
    numbers = [*given, *understood.values(EntityType.ORDER_NUMBER)]
    goods = [*understood.values(EntityType.SKU), *understood.values(EntityType.PRODUCT)]
    match = complaint.order_match or {}
    own = match.get("chosen") is not None
    candidates = (complaint.resolution or {}).get("candidates", ())
    times = [a.posted_at or a.received_at for a in arrivals] or [complaint.opened_at]
    # Two provisional persons may well be one: of them only the accounts are known.
    settled = person is not None and person.standing is Standing.SETTLED
    return Told(
        id=complaint.id,
        person=complaint.person_id if settled else None,
        identity=complaint.identity_id,
        name=(arrivals[-1].author or {}).get("display_name") if arrivals else None,
        perhaps=frozenset(_ref_text(ref) for c in candidates for ref in c["refs"]),
        order=complaint.order_ref if own else None,
        numbers=frozenset(number_key(n) for n in numbers),
        goods=frozenset(goods),
        lines=frozenset(match.get("chosen_lines") or ()) if own else frozenset(),
        reason=understood.reason.value,
        text="\n".join(a.text for a in arrivals) if gathered else "",
        urls=frozenset(a.url for a in arrivals if a.url),
        first_at=min(times),
        last_at=max(times),
    )


def _ref_text(ref: dict[str, Any]) -> str:
    return f"{ref['connection']}:{ref['kind']}:{ref['id']}"


def _found(
    hub: Hub, uow: UnitOfWork, complaint: ComplaintRow, told: Told, mine: Sequence[str]
) -> list[tuple[ComplaintRow, Compared]]:
    """The issues that this may be, each by the complaint that stands for it, the likeliest first.

    Of the same author only what is a complaint or a question is compared; the same post always is.
    """
    rules = hub.options.gathering
    since = told.first_at - rules.window
    ids: list[str] = uow.gathering.sharing(mine, since=since, limit=MOST_COMPARED)
    if told.person is not None:
        ids += [row.id for row in uow.complaints.of_person(told.person, limit=MOST_COMPARED)]
    if told.identity is not None:
        ids += [row.id for row in uow.complaints.latest_of_identity(told.identity, MOST_COMPARED)]
    issues: dict[str, ComplaintRow] = {}
    compared: dict[str, list[Compared]] = {}
    rows = [
        row
        for row in uow.complaints.get_all(set(ids) - {complaint.id})
        if row.state == "open" and row.understanding is not None
    ]
    for row, other in zip(rows, told_of(uow, rows), strict=True):
        if not (told.text and other.text) and not told.urls & other.urls:
            continue
        root = uow.complaints.root_of(row)
        if root.state != "open":
            continue
        issues[root.id] = root
        compared.setdefault(root.id, []).append(compare(told, other, rules))
    found = [(issues[id_], one) for id_, group in compared.items() if (one := best(group))]
    order = (Band.AUTO, Band.SUGGESTED, Band.APART)
    return sorted(found, key=lambda f: (order.index(f[1].band), -f[1].score, f[0].id))


def _age(row: ComplaintRow) -> tuple[datetime, str]:
    return row.opened_at, row.id


def _decided(
    uow: UnitOfWork, ours: Collection[str], theirs: Collection[str]
) -> list[ComplaintMergeRow]:
    """What was decided before between the complaints of two issues."""
    return [
        row
        for row in uow.gathering.of(ours)
        if (row.main_id in ours and row.other_id in theirs)
        or (row.main_id in theirs and row.other_id in ours)
    ]


def _merge(
    hub: Hub,
    uow: UnitOfWork,
    other: ComplaintRow,
    main: ComplaintRow,
    *,
    now: datetime,
    compared: Compared | None = None,
    by: str = "hub",
    reason: str | None = None,
) -> ComplaintMergeRow:
    """Say of a complaint whose row is held that it is the same issue as another."""
    for suggested in _decided(uow, {main.id}, {other.id}):
        if suggested.state == "suggested":
            suggested.state, suggested.ended_by, suggested.ended_at = "settled", by, now
    other.merged_into = main.id
    _bump(other, now)
    row = ComplaintMergeRow(
        id=new_id("mrg"),
        main_id=main.id,
        other_id=other.id,
        state="merged",
        decided_by=by,
        score=compared.score if compared is not None else None,
        reasons=[r.model_dump() for r in compared.reasons] if compared is not None else [],
        reason=reason,
        at=now,
    )
    uow.gathering.add(row)
    _tell(hub, uow, "complaint.merged", row, now, by=by)
    _audit(uow, "complaint.merge", row, now, by=by)
    return row


def _suggest(
    hub: Hub,
    uow: UnitOfWork,
    main: ComplaintRow,
    other: ComplaintRow,
    compared: Compared,
    now: datetime,
) -> None:
    main, other = sorted((main, other), key=_age)
    row = ComplaintMergeRow(
        id=new_id("mrg"),
        main_id=main.id,
        other_id=other.id,
        state="suggested",
        decided_by="hub",
        score=compared.score,
        reasons=[r.model_dump() for r in compared.reasons],
        at=now,
    )
    uow.gathering.add(row)
    _tell(hub, uow, "complaint.merge_suggested", row, now, by="hub")


def _adopt(uow: UnitOfWork, complaint: ComplaintRow, now: datetime) -> None:
    """Take over which order is meant from what was merged into it, where it did not say itself.

    `order_match` stays without a choice: that it was not its own is seen by that.
    """
    if complaint.order_ref is not None or not uow.complaints.below(complaint.id):
        return
    for row in uow.complaints.issue_of(complaint):
        if row.order_ref is None or row.person_id != complaint.person_id or row.id == complaint.id:
            continue
        complaint.order_ref = row.order_ref
        uow.claims.follow(complaint.id, person_id=row.person_id, order_ref=row.order_ref)
        _bump(complaint, now)
        return


# --- by people ----------------------------------------------------------------------------------


def merge(hub: Hub, main_id: str, other_id: str, *, reason: str, asker: Asker) -> ComplaintMergeRow:
    """Say that two complaints are one issue; `main_id` stands for it from now on.

    Where one was merged before, the one that stands for its issue is meant. Raises NotFoundError,
    and ConflictError where they are one issue already.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        main, other = _both(uow, main_id, other_id)
        if main.id == other.id:
            raise ConflictError("they are one issue already", main=main.id)
        merged = _merge(hub, uow, other, main, now=now, by=asker.principal, reason=reason)
        _adopt(uow, main, now)
        _bump(main, now)
        for row in (other, main):
            prioritise.score_in(hub, uow, row, now=now)
    return merged


def _both(uow: UnitOfWork, main_id: str, other_id: str) -> tuple[ComplaintRow, ComplaintRow]:
    """The complaints that stand for the issues of these two, both held."""
    ids = []
    for complaint_id in (main_id, other_id):
        row = uow.complaints.get(complaint_id)
        if row is None:
            raise NotFoundError(f"No complaint has the id {complaint_id}.")
        ids.append(uow.complaints.root_of(row).id)
    for complaint_id in sorted(set(ids)):
        row = uow.complaints.get(complaint_id, lock=True)
        assert row is not None
        uow.session.refresh(row)
        if row.merged_into is not None:
            raise ConflictError("one of them was merged at this moment; look again")
    main, other = (uow.complaints.get(complaint_id) for complaint_id in ids)
    assert main is not None
    assert other is not None
    return main, other


def split(
    hub: Hub, complaint_id: str, *, other_id: str | None = None, reason: str, asker: Asker
) -> ComplaintMergeRow:
    """Say that a complaint is an issue of its own: undo its merge, or with `other_id` hold it apart
    from another one that it was not merged into.

    What is written in its conversation is its own again, and nothing merges the two by itself
    afterwards. Raises NotFoundError, InvalidError, and ConflictError where it was not merged.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        row = uow.complaints.get(complaint_id)
        if row is None:
            raise NotFoundError(f"No complaint has the id {complaint_id}.")
        from_id = other_id or row.merged_into
        if from_id is None:
            raise ConflictError("the complaint was not merged; name the other one to hold it apart")
        if from_id == complaint_id:
            raise InvalidError(
                "A complaint can't be held apart from itself.",
                errors=[{"pointer": "/other_id", "code": "same", "detail": "is the same one"}],
            )
        for held_id in sorted((complaint_id, from_id)):
            held = uow.complaints.get(held_id, lock=True)
            if held is None:
                raise NotFoundError(f"No complaint has the id {held_id}.")
            uow.session.refresh(held)
        if other_id is None and row.merged_into != from_id:
            raise ConflictError("the complaint was merged or split at this moment; look again")
        main = uow.complaints.get(from_id)
        assert main is not None
        if row.merged_into is None and main.merged_into == row.id:
            row, main = main, row
        elif row.merged_into != main.id and main.id in {
            one.id for one in uow.complaints.issue_of(row)
        }:
            raise ConflictError(
                "they are one issue through another complaint; split that one",
                merged_into=row.merged_into,
            )
        ended = _held_apart(uow, row, main, asker, reason, now)
        _tell(hub, uow, "complaint.split", ended, now, by=asker.principal)
        _audit(uow, "complaint.split", ended, now, by=asker.principal, asker=asker)
        if main.order_ref is not None and not (main.order_match or {}).get("chosen"):
            main.order_ref = None
            uow.session.flush()
            _adopt(uow, main, now)
        for one in (row, main):
            prioritise.score_in(hub, uow, one, now=now)
    return ended


def _held_apart(
    uow: UnitOfWork,
    row: ComplaintRow,
    main: ComplaintRow,
    asker: Asker,
    reason: str,
    now: datetime,
) -> ComplaintMergeRow:
    """Take back that the one was merged into the other, and keep that they are two."""
    decided = _decided(uow, {row.id}, {main.id})
    living = [one for one in decided if one.state in ("merged", "suggested")]
    for one in living:
        one.state = "split"
        one.ended_by, one.ended_reason, one.ended_at = asker.principal, reason, now
    if row.merged_into == main.id:
        row.merged_into = None
        _bump(row, now)
        _bump(main, now)
    if living:
        return living[-1]
    apart = ComplaintMergeRow(
        id=new_id("mrg"),
        main_id=main.id,
        other_id=row.id,
        state="split",
        decided_by=asker.principal,
        reasons=[],
        reason=reason,
        at=now,
        ended_by=asker.principal,
        ended_reason=reason,
        ended_at=now,
    )
    uow.gathering.add(apart)
    return apart


def move(
    hub: Hub,
    complaint_id: str,
    *,
    account: str | None,
    team: str | None,
    reason: str,
    asker: Asker,
) -> ComplaintMoveRow:
    """Hand a complaint to another brand account or team; the trail and the conversation say so.

    Whatever hangs on the complaint goes along: claims, clocks, corrective actions. Raises
    NotFoundError, InvalidError (neither is named, or it is there already).
    """
    now = hub.clock()
    if account is None and team is None:
        raise InvalidError(
            "Say where to: another brand account, another team, or both.",
            errors=[{"pointer": "/brand_account", "code": "missing", "detail": "or team"}],
        )
    with hub.database.begin() as uow:
        row = uow.complaints.get(complaint_id, lock=True)
        if row is None:
            raise NotFoundError(f"No complaint has the id {complaint_id}.")
        to_account = row.brand_account if account is None else account
        to_team = row.team if team is None else team
        if (to_account, to_team) == (row.brand_account, row.team):
            raise InvalidError(
                "It is there already.",
                errors=[{"pointer": "/brand_account", "code": "same", "detail": "has it already"}],
            )
        moved = ComplaintMoveRow(
            id=new_id("mov"),
            complaint_id=row.id,
            from_account=row.brand_account,
            to_account=to_account,
            from_team=row.team,
            to_team=to_team,
            reason=reason,
            moved_by=asker.principal,
            moved_at=now,
        )
        row.brand_account, row.team = to_account, to_team
        _bump(row, now)
        prioritise.score_in(hub, uow, row, now=now)
        uow.gathering.add_move(moved)
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action="complaint.move",
            subject=row.id,
            request_id=asker.request_id,
            move=moved.id,
            to_account=to_account,
            to_team=to_team,
        )
        deliver.tell(
            hub,
            uow,
            "complaint.moved",
            subject=row.id,
            data={
                "id": row.id,
                "move_id": moved.id,
                "from_account": moved.from_account,
                "to_account": moved.to_account,
                "from_team": moved.from_team,
                "to_team": moved.to_team,
                "by": asker.principal,
            },
            at=now,
        )
        _note_move(hub, uow, row, moved)
    return moved


def _note_move(hub: Hub, uow: UnitOfWork, complaint: ComplaintRow, moved: ComplaintMoveRow) -> None:
    place = plan.conversation_of(hub, complaint)
    if place is None:
        return
    parts = []
    if moved.from_account != moved.to_account:
        parts.append(f"from {moved.from_account or 'no account'} to {moved.to_account}")
    if moved.from_team != moved.to_team:
        parts.append(f"to the team {moved.to_team}")
    text = f"Moved {' and '.join(parts)}: {moved.reason}"
    _write(hub, uow, complaint.id, place, text, key=f"moved:{moved.id}")


def _write(
    hub: Hub, uow: UnitOfWork, complaint_id: str, place: Ref, text: str, *, key: str
) -> None:
    note = NoteRequest(on=place, text=text)
    correct.create_in(
        hub,
        uow,
        Wanted(operation=Operation.NOTE, request=note, complaint_id=complaint_id),
        Asker(principal="hub", key=key, route="flow gather", body_hash=key),
    )


def _bump(complaint: ComplaintRow, now: datetime) -> None:
    complaint.updated_at = now
    complaint.version += 1


def _tell(
    hub: Hub, uow: UnitOfWork, type_: str, row: ComplaintMergeRow, now: datetime, *, by: str
) -> None:
    deliver.tell(
        hub,
        uow,
        type_,
        subject=row.other_id,
        data={
            "id": row.other_id,
            "main_id": row.main_id,
            "merge_id": row.id,
            "by": by,
            "score": row.score,
            "reasons": [str(r["what"]) for r in row.reasons],
        },
        at=now,
    )


def _audit(
    uow: UnitOfWork,
    action: str,
    row: ComplaintMergeRow,
    now: datetime,
    *,
    by: str,
    asker: Asker | None = None,
) -> None:
    uow.audit.write(
        at=now,
        actor=by,
        action=action,
        subject=row.other_id,
        request_id=asker.request_id if asker is not None else None,
        main=row.main_id,
        merge=row.id,
    )
