"""Provisional persons: whose account they stand for, and which of them nothing keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import col, delete, select, update

from middleware.domain.actions import ActionState
from middleware.domain.identity import Basis
from middleware.store.database import UnitOfWork
from middleware.store.tables import (
    ActionRow,
    ClaimRow,
    ComplaintRow,
    HandleRow,
    IdentityIdentifierRow,
    IdentityRow,
    LineHoldRow,
    LinkRow,
    PersonRow,
    ReviewRow,
)

_PROVISIONAL = col(LinkRow.basis) == Basis.PROVISIONAL.value
_ENDED = [state.value for state in ActionState if state.ended]


def link_of(uow: UnitOfWork, person_id: str) -> LinkRow | None:
    """The link of a provisional person to their account, or of one that expired the last."""
    query = select(LinkRow).where(LinkRow.person_id == person_id, _PROVISIONAL)
    return uow.session.exec(query.order_by(col(LinkRow.id).desc()).limit(1)).first()


def expired(uow: UnitOfWork, identity_id: str) -> str | None:
    """The id of the person that an account was provisionally until they expired."""
    query = (
        select(PersonRow.id)
        .join(LinkRow, col(LinkRow.person_id) == col(PersonRow.id))
        .where(
            LinkRow.identity_id == identity_id,
            _PROVISIONAL,
            col(PersonRow.expired_at).is_not(None),
        )
    )
    return uow.session.exec(query.order_by(col(LinkRow.id).desc()).limit(1)).first()


@dataclass(frozen=True)
class Due:
    """A provisional person whose time is over, and the account they stand for."""

    until: datetime
    person_id: str
    identity_id: str


def expiring(
    uow: UnitOfWork,
    now: datetime,
    *,
    among: Sequence[str] | None = None,
    after: Due | None = None,
    limit: int = 100,
) -> list[Due]:
    """Provisional persons whose time is over and on whom nothing open hangs, after one of them.

    Open are: a complaint, a question about the account, a claim, an action, and what a remedy
    takes of an order's budget.
    """
    until = col(PersonRow.provisional_until)
    person, identity = col(PersonRow.id), col(LinkRow.identity_id)
    # By person and by account apart, and no `= 'open'`: or they are looked for among all open ones.
    theirs = (col(ComplaintRow.person_id) == person, col(ComplaintRow.identity_id) == identity)
    still_open = col(ComplaintRow.state).not_in(["closed", "deleted"])
    claimed = col(ClaimRow.expires_at) > now
    hangs = (
        *(select(ComplaintRow.id).where(one, still_open) for one in theirs),
        *(
            select(ComplaintRow.id)
            .join(ClaimRow, col(ClaimRow.complaint_id) == col(ComplaintRow.id))
            .where(one, claimed)
            for one in theirs
        ),
        select(ClaimRow.subject).where(col(ClaimRow.person_id) == person, claimed),
        select(ReviewRow.id).where(col(ReviewRow.subject) == identity, ReviewRow.state == "open"),
        select(ActionRow.id).where(
            col(ActionRow.person_id) == person, col(ActionRow.state).not_in(_ENDED)
        ),
        select(LineHoldRow.action_id)
        .join(ActionRow, col(ActionRow.id) == col(LineHoldRow.action_id))
        .where(col(ActionRow.person_id) == person, col(LineHoldRow.released_at).is_(None)),
    )
    query = (
        sa.select(until, person, identity)
        .join(LinkRow, col(LinkRow.person_id) == person)
        .where(
            until <= now,
            _PROVISIONAL,
            col(LinkRow.valid_to).is_(None),
            *(~one.correlate(PersonRow, LinkRow).exists() for one in hangs),
        )
    )
    if among is not None:
        query = query.where(person.in_(among))
    if after is not None:
        later = sa.and_(until == after.until, person > after.person_id)
        query = query.where(until >= after.until, sa.or_(until > after.until, later))
    rows: Iterable[Any] = uow.session.connection().execute(
        query.order_by(until, person).limit(limit)
    )
    return [Due(*row) for row in rows]


def page(
    uow: UnitOfWork, *, expired: bool, after: tuple[datetime, str] | None = None, limit: int = 100
) -> list[tuple[PersonRow, IdentityRow]]:
    """Provisional persons with their accounts, by when they expire; or those that expired, by
    when they did."""
    moment = col(PersonRow.expired_at) if expired else col(PersonRow.provisional_until)
    last = (
        sa.select(sa.func.max(col(LinkRow.id)))
        .where(col(LinkRow.person_id) == col(PersonRow.id), _PROVISIONAL)
        .correlate(PersonRow)
        .scalar_subquery()
    )
    query = (
        select(PersonRow, IdentityRow)
        .join(LinkRow, col(LinkRow.id) == last)
        .join(IdentityRow, col(IdentityRow.id) == col(LinkRow.identity_id))
        .where(moment.is_not(None))
    )
    if after is not None:
        at, person_id = after
        query = query.where(
            sa.or_(moment > at, sa.and_(moment == at, col(PersonRow.id) > person_id))
        )
    return list(uow.session.exec(query.order_by(moment, col(PersonRow.id)).limit(limit)))


def forget_names(uow: UnitOfWork, identity_id: str) -> None:
    """Empty the display names of an account, and what it wrote with. Its handles stay: whether one
    changes its owner is told by them."""
    uow.session.exec(
        update(HandleRow).where(col(HandleRow.identity_id) == identity_id).values(display_name=None)
    )
    own = col(IdentityIdentifierRow.identity_id) == identity_id
    uow.session.exec(delete(IdentityIdentifierRow).where(own))
