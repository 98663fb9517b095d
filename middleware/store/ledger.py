"""What may not be linked, merges and splits of persons, and what people said of pairs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select, update

from middleware.contract.canonical import Ref
from middleware.domain.ids import new_id
from middleware.domain.ledger import ChangeKind, Thing, in_order, is_identity, is_person
from middleware.store.people import record_of
from middleware.store.tables import (
    ActionRow,
    CannotLinkRow,
    ClaimRow,
    ComplaintRow,
    LabelRow,
    LinkRow,
    PersonChangeRow,
    PersonRow,
    ResolutionVersionRow,
)
from middleware.store.together import Asked, for_each_database, plainly

Pair = frozenset[Thing]

# Made once: every context and every arrival asks it.
_NAMING = for_each_database(
    lambda among: sa.select(col(CannotLinkRow.one), col(CannotLinkRow.other)).where(
        sa.or_(among(col(CannotLinkRow.one)), among(col(CannotLinkRow.other))),
        col(CannotLinkRow.valid_to).is_(None),
    )
)

_LEADS = for_each_database(
    lambda among: sa.select(col(PersonRow.id), col(PersonRow.redirect_to)).where(
        among(col(PersonRow.id)), col(PersonRow.redirect_to).is_not(None)
    )
)


class Ledger:
    def __init__(self, session: Session) -> None:
        self._session = session

    # --- cannot-links ---------------------------------------------------------------------------

    def add_cannot_link(
        self, one: Thing, other: Thing, *, reason: str, source: str, by: str, at: datetime
    ) -> tuple[CannotLinkRow, bool]:
        """Hold two things apart; answers the assertion and whether it is new."""
        first, second = in_order(one, other)
        known = self._session.exec(
            select(CannotLinkRow).where(
                CannotLinkRow.one == first,
                CannotLinkRow.other == second,
                col(CannotLinkRow.valid_to).is_(None),
            )
        ).first()
        if known is not None:
            return known, False
        row = CannotLinkRow(
            id=new_id("cnl"),
            one=first,
            other=second,
            reason=reason,
            source=source,
            decided_by=by,
            valid_from=at,
        )
        self._session.add(row)
        self._session.flush()
        return row, True

    def cannot_link(self, cannot_id: str, *, lock: bool = False) -> CannotLinkRow | None:
        return self._session.get(CannotLinkRow, cannot_id, with_for_update=lock or None)

    def cannot_links_of(
        self,
        things: Collection[Thing],
        *,
        ended: bool = False,
        after: str | None = None,
        limit: int | None = None,
    ) -> list[CannotLinkRow]:
        """The assertions that name one of these things, oldest first; without `limit` all."""
        if not things:
            return []
        named = list(things)
        query = select(CannotLinkRow).where(
            sa.or_(col(CannotLinkRow.one).in_(named), col(CannotLinkRow.other).in_(named))
        )
        if not ended:
            query = query.where(col(CannotLinkRow.valid_to).is_(None))
        if after is not None:
            query = query.where(col(CannotLinkRow.id) > after)
        return list(self._session.exec(query.order_by(col(CannotLinkRow.id)).limit(limit)))

    def apart(self, things: Iterable[Thing]) -> set[Pair]:
        """The pairs held apart that name one of these things; persons as who they are now.

        What was said of a person that was merged since is said of whoever they were merged into.
        """
        named = set(things)
        for thing in [t for t in named if is_person(t)]:
            named |= self.family(thing)
        if not named:
            return set()
        statement = _NAMING[self._session.get_bind().dialect.name]
        (rows,) = plainly(self._session.connection(), [Asked(statement, {"ids": sorted(named)})])
        return {frozenset((self.now(one), self.now(other))) for one, other in set(rows)}

    def all_apart(self) -> set[Pair]:
        """Every pair held apart now, for whoever looks at all records at once.

        Persons are followed all together, a look-up for each merge on the way, however many pairs.
        """
        query = select(CannotLinkRow.one, CannotLinkRow.other).where(
            col(CannotLinkRow.valid_to).is_(None)
        )
        pairs = list(self._session.exec(query))
        leads: dict[Thing, Thing] = {}
        latest = {thing for pair in pairs for thing in pair if is_person(thing)}
        while latest:
            asked = Asked(_LEADS[self._session.get_bind().dialect.name], {"ids": sorted(latest)})
            (rows,) = plainly(self._session.connection(), [asked])
            leads |= dict(rows)
            latest = {into for _, into in rows} - leads.keys()

        def now(thing: Thing) -> Thing:
            seen = set()
            while thing in leads and thing not in seen:
                seen.add(thing)
                thing = leads[thing]
            return thing

        return {frozenset(map(now, pair)) for pair in pairs}

    def bars(self, person_id: str, things: Collection[Thing]) -> list[CannotLinkRow]:
        """The assertions that keep one of these things out of a person, oldest first.

        A thing is kept out by what was said of it and the person, one that was merged into them,
        or anything else that is linked to them.
        """
        rows = self.cannot_links_of(things)
        if not rows:
            return []
        theirs = self.things_of(person_id) | self.family(person_id)
        named = set(things)
        return [
            row
            for row in rows
            if (row.one in named and row.other in theirs)
            or (row.other in named and row.one in theirs)
        ]

    def between(self, one: str, other: str) -> list[CannotLinkRow]:
        """The assertions that keep two persons from being one."""
        theirs = self.things_of(other) | self.family(other)
        return self.bars(one, theirs)

    # --- persons and what is theirs -------------------------------------------------------------

    def things_of(self, person_id: str) -> set[Thing]:
        """The identities and records that are linked to a person now."""
        query = select(LinkRow).where(
            LinkRow.person_id == person_id, col(LinkRow.valid_to).is_(None)
        )
        return {thing_of(link) for link in self._session.exec(query)}

    def family(self, person_id: str) -> set[str]:
        """A person's id, and those of all that were merged into them."""
        found = {person_id}
        latest = {person_id}
        while latest:
            query = select(PersonRow.id).where(col(PersonRow.redirect_to).in_(latest))
            latest = set(self._session.exec(query)) - found
            found |= latest
        return found

    def now(self, thing: Thing) -> Thing:
        """A person's id as it is after all merges; any other thing as it is."""
        seen = set()
        while is_person(thing) and thing not in seen:
            seen.add(thing)
            row = self._session.get(PersonRow, thing)
            if row is None or row.redirect_to is None:
                break
            thing = row.redirect_to
        return thing

    def lineage(self, link: LinkRow) -> list[LinkRow]:
        """A link with those that carried it over from person to person, oldest first."""
        root = link.origin or link.id
        query = select(LinkRow).where(sa.or_(col(LinkRow.id) == root, col(LinkRow.origin) == root))
        return list(self._session.exec(query.order_by(col(LinkRow.valid_from), col(LinkRow.id))))

    def persons_of(self, link: LinkRow) -> set[str]:
        """Whose a link's identity or record was said to be: its person, and those from whom a
        merge or a split that stands carried it over."""
        found = {link.person_id}
        for row in self.lineage(link):
            change = self.change(row.change_id) if row.change_id is not None else None
            if change is None or change.undone_by is None:
                found.add(row.person_id)
        return found

    def lineages(self, roots: Collection[str]) -> dict[str, LinkRow]:
        """The link that holds now, by the one that first said so; those ended are missing."""
        query = select(LinkRow).where(
            sa.or_(col(LinkRow.id).in_(roots), col(LinkRow.origin).in_(roots)),
            col(LinkRow.valid_to).is_(None),
        )
        return {link.origin or link.id: link for link in self._session.exec(query)}

    def complaints_of(
        self, person_id: str, *, identities: Collection[str] | None = None
    ) -> list[ComplaintRow]:
        """All complaints of a person, or those of some identities."""
        query = select(ComplaintRow).where(ComplaintRow.person_id == person_id)
        if identities is not None:
            query = query.where(col(ComplaintRow.identity_id).in_(identities))
        return list(self._session.exec(query.order_by(col(ComplaintRow.id))))

    def actions_of(self, person_id: str) -> list[ActionRow]:
        query = select(ActionRow).where(ActionRow.person_id == person_id)
        return list(self._session.exec(query.order_by(col(ActionRow.id))))

    def give_actions(self, ids: Collection[str], *, was: str, to: str) -> None:
        """Show actions under another person; those that are not the first's stay."""
        if ids:
            self._session.exec(
                update(ActionRow)
                .where(col(ActionRow.id).in_(ids), col(ActionRow.person_id) == was)
                .values(person_id=to, version=col(ActionRow.version) + 1)
            )

    # --- changes --------------------------------------------------------------------------------

    def add_change(self, row: PersonChangeRow) -> None:
        self._session.add(row)
        self._session.flush()

    def change(self, change_id: str, *, lock: bool = False) -> PersonChangeRow | None:
        """The change; with `lock` as it is now, and nobody else changes it until we commit."""
        return self._session.get(
            PersonChangeRow, change_id, with_for_update=lock or None, populate_existing=lock
        )

    def changes_of(self, person_id: str) -> list[PersonChangeRow]:
        """Merges, splits and undoings that a person was part of, oldest first."""
        query = select(PersonChangeRow).where(
            sa.or_(
                col(PersonChangeRow.person_id) == person_id,
                col(PersonChangeRow.other_id) == person_id,
            )
        )
        ordered = query.order_by(col(PersonChangeRow.made_at), col(PersonChangeRow.id))
        return list(self._session.exec(ordered))

    def standings_of(self, person_id: str) -> list[PersonChangeRow]:
        """When a provisional person was settled, expired or came back, oldest first."""
        return [row for row in self.changes_of(person_id) if row.person_id == row.other_id]

    def moved_by_name(self, complaint: ComplaintRow) -> str | None:
        """Whose a complaint without an account is, where a split that stands moved it by name."""
        if complaint.person_id is None:
            return None
        query = select(PersonChangeRow).where(
            col(PersonChangeRow.other_id).in_(self.family(complaint.person_id)),
            PersonChangeRow.kind == ChangeKind.SPLIT.value,
            col(PersonChangeRow.undone_at).is_(None),
        )
        named = (row.moved["complaints"] for row in self._session.exec(query))
        return complaint.person_id if any(complaint.id in ids for ids in named) else None

    def redirecting(self, person_id: str) -> PersonChangeRow | None:
        """The change by which this id leads to another one now."""
        query = select(PersonChangeRow).where(
            PersonChangeRow.redirected == person_id, col(PersonChangeRow.undone_at).is_(None)
        )
        return self._session.exec(query).first()

    def person_as_of(self, person_id: str, at: datetime) -> PersonRow | None:
        """Who an id led to at a moment."""
        row = self._session.get(PersonRow, person_id)
        seen = set()
        while row is not None and row.id not in seen:
            seen.add(row.id)
            query = select(PersonChangeRow).where(
                PersonChangeRow.redirected == row.id,
                col(PersonChangeRow.made_at) <= at,
                sa.or_(
                    col(PersonChangeRow.undone_at).is_(None), col(PersonChangeRow.undone_at) > at
                ),
            )
            change = self._session.exec(query).first()
            if change is None:
                return row
            to = change.person_id if change.redirected == change.other_id else change.other_id
            row = self._session.get(PersonRow, to)
        return row

    # --- labels and versions --------------------------------------------------------------------

    def add_label(
        self,
        one: Thing,
        other: Thing,
        verdict: str,
        *,
        source: str,
        subject: str,
        by: str,
        at: datetime,
        implied: bool = False,
        evidence: dict[str, float] | None = None,
        score: float | None = None,
        decided_under: str | None = None,
    ) -> None:
        """Keep what a person said of a pair, an account first, as `labels_of` is asked for them.
        Only ids, figures and kinds: nothing personal."""
        if is_identity(other) and not is_identity(one):
            one, other = other, one
        self._session.add(
            LabelRow(
                id=new_id("lbl"),
                one=one,
                other=other,
                verdict=verdict,
                implied=implied,
                source=source,
                evidence=evidence or {},
                score=score,
                decided_under=decided_under,
                subject=subject,
                labelled_by=by,
                labelled_at=at,
            )
        )

    def labels(self, *, after: str | None = None, limit: int = 1000) -> list[LabelRow]:
        query = select(LabelRow)
        if after is not None:
            query = query.where(col(LabelRow.id) > after)
        return list(self._session.exec(query.order_by(col(LabelRow.id)).limit(limit)))

    def labels_of(self, things: Collection[Thing]) -> list[LabelRow]:
        """What was said of pairs with one of these things first, the latest last."""
        query = select(LabelRow).where(col(LabelRow.one).in_(things))
        return list(self._session.exec(query.order_by(col(LabelRow.labelled_at), col(LabelRow.id))))

    def declare_version(self, version: str, body: dict[str, Any], *, at: datetime) -> None:
        """Keep what a version is made of, the first time it is used."""
        if self._session.get(ResolutionVersionRow, version) is None:
            self._session.add(ResolutionVersionRow(version=version, body=body, first_at=at))

    def versions(self) -> list[ResolutionVersionRow]:
        query = select(ResolutionVersionRow).order_by(col(ResolutionVersionRow.first_at))
        return list(self._session.exec(query))

    # --- claims ---------------------------------------------------------------------------------

    def claim(self, subject: str, *, lock: bool = False) -> ClaimRow | None:
        return self._session.get(ClaimRow, subject, with_for_update=lock or None)

    def claims(self, subjects: Collection[str], *, now: datetime) -> dict[str, ClaimRow]:
        """The claims on these that have not run out."""
        query = select(ClaimRow).where(
            col(ClaimRow.subject).in_(subjects), col(ClaimRow.expires_at) > now
        )
        return {row.subject: row for row in self._session.exec(query)}

    def take_claim(self, row: ClaimRow) -> None:
        self._session.merge(row)

    def drop_claim(self, row: ClaimRow) -> None:
        self._session.delete(row)


def thing_of(link: LinkRow) -> Thing:
    """What a link says its person is."""
    if link.identity_id is not None:
        return link.identity_id
    ref: Ref | None = record_of(link)
    assert ref is not None, "a link has an identity or a record"
    return str(ref)
