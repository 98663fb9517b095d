"""Provisional persons: whose account they stand for, and which of them nothing keeps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import col, select, update

from middleware.domain.actions import ActionState
from middleware.domain.identity import Basis
from middleware.store.database import UnitOfWork
from middleware.store.tables import (
    ActionRow,
    ClaimRow,
    ComplaintRow,
    HandleRow,
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


def expiring(
    uow: UnitOfWork,
    now: datetime,
    *,
    among: Sequence[str] | None = None,
    after: str = "",
    limit: int = 100,
) -> list[tuple[str, str]]:
    """Provisional persons whose time is over and on whom nothing open hangs, with their accounts.

    In the order of their ids, after one of them. Open are: a complaint, a question about the
    account, a claim, an action, and what a remedy takes of an order's budget.
    """
    person, identity = col(PersonRow.id), col(LinkRow.identity_id)
    theirs = sa.or_(
        col(ComplaintRow.person_id) == person, col(ComplaintRow.identity_id) == identity
    )
    hangs = (
        select(ComplaintRow.id).where(theirs, ComplaintRow.state == "open"),
        select(ReviewRow.id).where(col(ReviewRow.subject) == identity, ReviewRow.state == "open"),
        select(ClaimRow.subject).where(
            col(ClaimRow.expires_at) > now,
            sa.or_(
                col(ClaimRow.person_id) == person,
                col(ClaimRow.complaint_id).in_(select(ComplaintRow.id).where(theirs)),
            ),
        ),
        select(ActionRow.id).where(
            col(ActionRow.person_id) == person, col(ActionRow.state).not_in(_ENDED)
        ),
        select(LineHoldRow.action_id)
        .join(ActionRow, col(ActionRow.id) == col(LineHoldRow.action_id))
        .where(col(ActionRow.person_id) == person, col(LineHoldRow.released_at).is_(None)),
    )
    query = (
        sa.select(person, identity)
        .join(LinkRow, col(LinkRow.person_id) == person)
        .where(
            col(PersonRow.provisional_until) <= now,
            _PROVISIONAL,
            col(LinkRow.valid_to).is_(None),
            person > after,
            *(~one.correlate(PersonRow, LinkRow).exists() for one in hangs),
        )
    )
    if among is not None:
        query = query.where(person.in_(among))
    rows = uow.session.connection().execute(query.order_by(person).limit(limit))
    return [(str(row[0]), str(row[1])) for row in rows]


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
    """Empty the display names of an account. Its handles stay: whether one changes its owner is
    told by them."""
    uow.session.exec(
        update(HandleRow).where(col(HandleRow.identity_id) == identity_id).values(display_name=None)
    )
