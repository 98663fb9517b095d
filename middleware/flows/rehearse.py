"""What other thresholds, or another model of likeness, would link and unlink. Writes nothing.

A decision is stored with its candidates and their evidence, so that it can be taken again under
other thresholds. Another model sees other candidates: with one, each author is looked up anew in
what the store holds now, and decided by the model in force and by the other. No remote is asked.
Where people have said of a pair whether it is one customer, the answer is held against their word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from middleware.domain.arrivals import Author
from middleware.domain.identity import Candidate, Decision, Outcome
from middleware.domain.ledger import Verdict
from middleware.domain.understanding import Entity, Understanding
from middleware.flows import lookup
from middleware.flows.hub import Hub
from middleware.flows.reviews import things_of
from middleware.resolution.exact import AutoRules, decide
from middleware.resolution.model import Model
from middleware.store.database import UnitOfWork
from middleware.store.tables import ComplaintRow

MOST = 1000
"""Decisions that are looked at in one go; further ones are another go's."""


@dataclass
class Checked:
    """How the links of one set of thresholds stand to what people said."""

    links: int = 0
    right: int = 0
    wrong: int = 0

    @property
    def precision(self) -> float | None:
        """Of those that people said something of; None where they said nothing."""
        said = self.right + self.wrong
        return self.right / said if said else None


@dataclass(frozen=True)
class Difference:
    """A complaint whose author the other thresholds decide otherwise."""

    complaint_id: str
    identity_id: str | None
    was: Outcome
    would: Outcome
    things: tuple[str, ...]
    """Whom the link is to, or would be."""
    why: str
    said: Verdict | None
    """What people said of the pair, the latest."""
    version: str | None
    """Of the thresholds that decided then."""


@dataclass(frozen=True)
class Rehearsal:
    """What differs over one stretch of decisions."""

    version: str
    decided: int
    links: tuple[Difference, ...] = ()
    """What would be linked, and is not."""
    unlinks: tuple[Difference, ...] = ()
    """What would not be linked, and was."""
    reviews: int = 0
    """Questions that people would be asked, of those looked at."""
    was: Checked = field(default_factory=Checked)
    would: Checked = field(default_factory=Checked)
    after: str | None = None
    """The last complaint of this go, where more follow it."""


def rehearse(
    hub: Hub,
    rules: AutoRules,
    *,
    model: Model | None = None,
    after: str | None = None,
    most: int = MOST,
) -> Rehearsal:
    """Take stored decisions again under other thresholds, and with another model where one is
    given."""
    links: list[Difference] = []
    unlinks: list[Difference] = []
    was, would = Checked(), Checked()
    decided = reviews = 0
    with hub.database.read() as uow:
        rows = uow.reviews.decided(after=after, limit=most + 1)
        for row in rows[:most]:
            if not row.resolution:
                continue
            decided += 1
            if model is None:
                before = Decision.model_validate(row.resolution["decision"])
                candidates = [Candidate.model_validate(c) for c in row.resolution["candidates"]]
                now = decide(
                    candidates, auto=rules, network=row.network, model=hub.options.likeness
                )
            else:
                author, mentioned = _author(uow, row)
                before = _anew(hub, uow, author, mentioned)
                other = replace(hub.options, likeness=model, auto_link=rules)
                now = _anew(replace(hub, options=other), uow, author, mentioned)
            reviews += now.outcome is Outcome.REVIEW
            _check(uow, was, row, before)
            said = _check(uow, would, row, now)
            linked, would_link = (d.outcome is Outcome.LINK for d in (before, now))
            if linked == would_link:
                continue
            chosen = (now if would_link else before).candidate
            assert chosen is not None, "a link has its candidate"
            (links if would_link else unlinks).append(
                Difference(
                    complaint_id=row.id,
                    identity_id=row.identity_id,
                    was=before.outcome,
                    would=now.outcome,
                    things=tuple(sorted(things_of(chosen))),
                    why=now.why,
                    said=said if would_link else _word(uow, row, chosen),
                    version=before.version,
                )
            )
    return Rehearsal(
        version=rules.version,
        decided=decided,
        links=tuple(links),
        unlinks=tuple(unlinks),
        reviews=reviews,
        was=was,
        would=would,
        after=rows[most - 1].id if len(rows) > most else None,
    )


def _author(uow: UnitOfWork, row: ComplaintRow) -> tuple[Author, Sequence[Entity]]:
    """Who wrote a complaint, as they last wrote, and what they mentioned."""
    entities = Understanding.model_validate(row.understanding).entities if row.understanding else ()
    for arrival in reversed(uow.complaints.arrivals_of(row.id)):
        if not arrival.outgoing and arrival.author:
            given = {k: v for k, v in arrival.author.items() if k != "order_numbers"}
            return Author.model_validate(given), entities
    return Author(network=row.network), entities


def _anew(hub: Hub, uow: UnitOfWork, author: Author, mentioned: Sequence[Entity]) -> Decision:
    """What the hub would decide about an author by what the store holds."""
    asked = lookup.asked_by(hub, author, mentioned)
    looked = uow.likeness.look(asked.wanted, asked.words)
    _, candidates = lookup.considered(hub, uow, author, mentioned, asked, looked)
    return decide(
        candidates,
        auto=hub.options.auto_link,
        network=author.network,
        model=hub.options.likeness,
    )


def _check(
    uow: UnitOfWork, tally: Checked, row: ComplaintRow, decision: Decision
) -> Verdict | None:
    """Count a decision's link, and hold it against what people said."""
    if decision.outcome is not Outcome.LINK or decision.candidate is None:
        return None
    said = _word(uow, row, decision.candidate)
    tally.links += 1
    tally.right += said is Verdict.SAME
    tally.wrong += said is Verdict.DIFFERENT
    return said


def _word(uow: UnitOfWork, row: ComplaintRow, candidate: Candidate) -> Verdict | None:
    """What people last said of an author and a candidate."""
    subject = row.identity_id or row.id
    things = {uow.ledger.now(thing) for thing in things_of(candidate)}
    found = [
        label
        for label in uow.ledger.labels_of({subject})
        if uow.ledger.now(label.other) in things and not label.implied
    ]
    # What is taken back in the same moment that something is said does not hide it.
    found.sort(key=lambda label: (label.labelled_at, label.verdict != Verdict.UNSURE))
    return Verdict(found[-1].verdict) if found else None
