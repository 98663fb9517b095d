"""The review queue: what the hub was not sure of is asked, claimed, and answered by people.

An answer writes the link, the cannot-links and the labels in one transaction. A part of the links
that were made without a person is asked about too, so that their precision is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from middleware.contract.canonical import Ref
from middleware.domain import review as urgency
from middleware.domain.arrivals import Author
from middleware.domain.identity import Basis, Candidate, Decision, Evidence, EvidenceKind, Outcome
from middleware.domain.ids import new_id
from middleware.domain.ledger import Thing, Verdict
from middleware.domain.problems import ConflictError, InvalidError, NotFoundError
from middleware.domain.understanding import Severity
from middleware.flows import cannot, deliver, lookup, provisional, turns
from middleware.flows import link as links
from middleware.flows.hub import Asker, Hub
from middleware.resolution.exact import WEIGHTS
from middleware.store.database import UnitOfWork, giving_way
from middleware.store.ledger import thing_of
from middleware.store.tables import ClaimRow, ComplaintRow, LinkRow, ReviewRow

LEASE = timedelta(minutes=10)
"""How long a claimed question is its holder's."""


class Said(StrEnum):
    """What a person answers."""

    THIS = "this"
    """This one of the candidates."""
    NONE = "none"
    """None of these."""
    UNSURE = "unsure"
    """It cannot be said."""


@dataclass(frozen=True)
class Answered:
    """An answer, and what it wrote."""

    said: Said
    candidate: int | None = None
    """Which one, counted from 0; None unless `said` is `this`."""
    reason: str = ""
    agent: str | None = None
    """Who of those behind the key answers."""


# --- questions ----------------------------------------------------------------------------------


def open_in(
    hub: Hub,
    uow: UnitOfWork,
    complaint: ComplaintRow,
    author: Author,
    decision: Decision,
    candidates: Sequence[Candidate],
    severity: Severity | None,
    *,
    now: datetime,
) -> ReviewRow | None:
    """Ask who wrote a complaint, in the transaction that could not decide it.

    One question is open about an author at a time: a further complaint makes it more urgent. What
    somebody answered before is not asked again while nothing new speaks for anybody.
    """
    shown = [c for c in candidates if not c.barred][: urgency.SHOWN]
    return _open(
        hub,
        uow,
        complaint,
        kind="review",
        link=None,
        decision=decision,
        shown=shown,
        followers=author.followers,
        severity=severity,
        now=now,
    )


def audit_in(
    hub: Hub,
    uow: UnitOfWork,
    complaint: ComplaintRow,
    author: Author,
    link: LinkRow,
    decision: Decision,
    severity: Severity | None,
    *,
    now: datetime,
) -> ReviewRow | None:
    """Ask about a link that was just made without a person, if its id is drawn."""
    if decision.candidate is None or not urgency.audited(link.id, share=hub.options.audit_share):
        return None
    return _open(
        hub,
        uow,
        complaint,
        kind="audit",
        link=link,
        decision=decision,
        shown=[decision.candidate.model_copy(update={"person_id": link.person_id})],
        followers=author.followers,
        severity=severity,
        now=now,
    )


def contradict_in(
    hub: Hub,
    uow: UnitOfWork,
    complaint: ComplaintRow,
    author: Author,
    link: LinkRow,
    decision: Decision,
    candidates: Sequence[Candidate],
    severity: Severity | None,
    *,
    now: datetime,
) -> ReviewRow | None:
    """Ask which of two it is, and say so: whom the author is linked to, who comes first, or who now
    bears what their source vouches for. The link holds until somebody answers."""
    row = _open(
        hub,
        uow,
        complaint,
        kind="contradiction",
        link=link,
        decision=decision,
        shown=candidates,
        followers=author.followers,
        severity=severity,
        now=now,
    )
    if row is not None:
        deliver.tell(
            hub,
            uow,
            "identity.review_needed",
            subject=complaint.id,
            data={"complaint_id": complaint.id, "why": decision.why},
            at=now,
        )
    return row


def ask_about(
    hub: Hub, uow: UnitOfWork, link: LinkRow, others: Sequence[Candidate], why: str
) -> None:
    """Put the link of an account, and whose it may be instead, to a person; not where it never
    wrote, or is nobody's."""
    assert link.identity_id is not None, "it is about an account"
    complaint = next(iter(uow.complaints.latest_of_identity(link.identity_id, 1)), None)
    if complaint is None or link.basis == Basis.PROVISIONAL:
        return
    evidence = [Evidence.model_validate(one) for one in link.evidence]
    refs = lookup.customers_of(uow, link.person_id)
    mine = on_file(link.person_id, sorted(refs, key=str), evidence)
    decision = Decision(outcome=Outcome.LINK, candidate=mine, why=why)
    author = Author(network=complaint.network)
    shown = (mine, *others)
    contradict_in(hub, uow, complaint, author, link, decision, shown, None, now=hub.clock())


def on_file(person_id: str, refs: Sequence[Ref], evidence: Sequence[Evidence]) -> Candidate:
    """A person as a candidate, by what once spoke for them."""
    word = Evidence(kind=EvidenceKind.PRIOR, detail="linked before", weight=0, basis=Basis.AGENT)
    told = tuple(evidence) or (word,)
    return Candidate(
        person_id=person_id, refs=tuple(refs), score=sum(e.weight for e in told), evidence=told
    )


def _open(
    hub: Hub,
    uow: UnitOfWork,
    complaint: ComplaintRow,
    *,
    kind: str,
    link: LinkRow | None,
    decision: Decision,
    shown: Sequence[Candidate],
    followers: int | None,
    severity: Severity | None,
    now: datetime,
) -> ReviewRow | None:
    subject = complaint.identity_id or complaint.id
    mark = urgency.fingerprint(shown)
    row = uow.reviews.open_about(subject)
    last = None if row is not None else uow.reviews.last_answered(subject)
    if last is not None and last.fingerprint == mark and kind != "audit":
        return None
    rules = hub.options.auto_link
    terms = urgency.terms(
        followers=followers,
        waiting=uow.reviews.waiting(complaint.identity_id) if complaint.identity_id else 1,
        severity=severity,
        bits_away=urgency.bits_away(
            shown, link_from=rules.link_from, margin=rules.margin, shortfall=decision.margin
        ),
    )
    new = row is None
    if row is None:
        row = ReviewRow(
            id=new_id("rvw"),
            kind=kind,
            state="open",
            subject=subject,
            identity_id=complaint.identity_id,
            complaint_id=complaint.id,
            link_id=link.id if link is not None else None,
            candidates=[],
            decision={},
            terms={},
            urgency=0,
            fingerprint=mark,
            opened_at=now,
            updated_at=now,
        )
    row.kind, row.link_id = kind, link.id if link is not None else None
    row.complaint_id, row.fingerprint, row.updated_at = complaint.id, mark, now
    row.candidates = [c.model_dump(mode="json") for c in shown]
    row.decision = decision.model_dump(mode="json", exclude={"candidate"})
    row.terms, row.urgency = terms.model_dump(), terms.urgency
    if not new:
        row.version += 1
        return row
    uow.reviews.add(row)
    _tell(hub, uow, "review.opened", row, now)
    return row


# --- claims -------------------------------------------------------------------------------------


@giving_way
def claim(hub: Hub, review_id: str, *, agent: str | None, asker: Asker) -> ClaimRow:
    """Take a question for ten minutes, or keep it for another ten.

    Raises NotFoundError, and ConflictError where it is closed or somebody else's.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        row = _open_one(uow, review_id)
        _not_anothers(uow, row, _holder(agent, asker), now)
        claimed = ClaimRow(
            subject=row.id,
            holder=_holder(agent, asker),
            taken_at=now,
            expires_at=now + LEASE,
        )
        uow.ledger.take_claim(claimed)
    return claimed


@giving_way
def release(hub: Hub, review_id: str, *, agent: str | None, asker: Asker) -> None:
    """Give a question back. One that is not held is left as it is."""
    now = hub.clock()
    with hub.database.begin() as uow:
        row = _open_one(uow, review_id)
        _not_anothers(uow, row, _holder(agent, asker), now)
        held = uow.ledger.claim(row.id)
        if held is not None:
            uow.ledger.drop_claim(held)


def _open_one(uow: UnitOfWork, review_id: str) -> ReviewRow:
    row = uow.reviews.get(review_id, lock=True)
    if row is None:
        raise NotFoundError(f"there is no review {review_id}")
    if row.state != "open":
        raise ConflictError(f"the question is {row.state} already", state=row.state)
    return row


def _not_anothers(uow: UnitOfWork, row: ReviewRow, holder: str, now: datetime) -> None:
    held = uow.ledger.claim(row.id)
    if held is not None and held.holder != holder and held.expires_at > now:
        raise ConflictError(
            f"{held.holder} looks at it until {held.expires_at.isoformat()}",
            holder=held.holder,
        )


def _holder(agent: str | None, asker: Asker) -> str:
    return f"{asker.principal}/{agent}" if agent else asker.principal


# --- answers ------------------------------------------------------------------------------------


class _OvertakenError(ConflictError):
    """A candidate is not any more who was shown: the question is asked anew."""


def answer(
    hub: Hub, review_id: str, said: Answered, *, version: int | None, asker: Asker
) -> ReviewRow:
    """Answer a question: link, cannot-links and labels are written together, or nothing is.

    `this` links the author to the candidate (of a contradiction: instead of whom they were linked
    to, if it is not the same), `none` holds the author apart from every candidate shown (of an
    audit and a contradiction: ends the link), `unsure` only closes the question. Raises
    NotFoundError, InvalidError (there is no such candidate), and ConflictError (closed, changed
    since it was read, somebody else's, or the link is not possible any more). Where the candidate
    is not any more who was shown, the complaint is looked at again.
    """
    try:
        return _answer(hub, review_id, said, version=version, asker=asker)
    except _OvertakenError:
        with hub.database.begin() as uow:
            row = uow.reviews.get(review_id)
            if row is not None:
                links.look_again(hub, uow, [row.complaint_id])
        raise


@giving_way
def _answer(
    hub: Hub, review_id: str, said: Answered, *, version: int | None, asker: Asker
) -> ReviewRow:
    now = hub.clock()
    with hub.database.begin() as uow:
        turns.take(uow)
        seen = uow.reviews.get(review_id)
        if seen is not None and seen.identity_id is not None:
            # As receive does it: first the identity, then whatever hangs on it.
            uow.people.identity_by_id(seen.identity_id, lock=True)
        row = _open_one(uow, review_id)
        _not_anothers(uow, row, _holder(said.agent, asker), now)
        if version is not None and row.version != version:
            raise ConflictError(f"the question is at version {row.version} now")
        candidates = [Candidate.model_validate(c) for c in row.candidates]
        chosen = _chosen(said, candidates)
        wrote: dict[str, Any] = {"link": None, "cannot_links": [], "person": None}
        if chosen is not None:
            wrote["person"], wrote["link"] = _this(hub, uow, row, chosen, said, asker, now)
        elif said.said is Said.NONE:
            wrote["cannot_links"] = _none(hub, uow, row, candidates, said, asker, now)
        _label(uow, row, candidates, said, asker, now)
        row.state, row.updated_at = "answered", now
        row.answered_by, row.answered_at = _holder(said.agent, asker), now
        row.answer = {
            "said": said.said.value,
            "candidate": said.candidate,
            "reason": said.reason,
            **wrote,
        }
        row.version += 1
        held = uow.ledger.claim(row.id)
        if held is not None:
            uow.ledger.drop_claim(held)
        _tell(hub, uow, "review.answered", row, now)
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action="review.answer",
            subject=row.id,
            request_id=asker.request_id,
            said=said.said.value,
            candidate=said.candidate,
            **wrote,
        )
    return row


def _chosen(said: Answered, candidates: Sequence[Candidate]) -> Candidate | None:
    if said.said is not Said.THIS:
        return None
    if said.candidate is None or not 0 <= said.candidate < len(candidates):
        raise InvalidError(
            f"Say which candidate: 0 to {len(candidates) - 1}.",
            errors=[
                {
                    "pointer": "/candidate",
                    "code": "candidate",
                    "detail": "must be the number of a candidate shown",
                }
            ],
        )
    return candidates[said.candidate]


def _this(
    hub: Hub,
    uow: UnitOfWork,
    row: ReviewRow,
    chosen: Candidate,
    said: Answered,
    asker: Asker,
    now: datetime,
) -> tuple[str, str | None]:
    """Link the author and the candidate's records; answers the person and the author's link."""
    if row.link_id is not None:
        link = _asked_about(uow, row)
        said_of = uow.ledger.now(chosen.person_id) if chosen.person_id is not None else None
        if row.kind == "audit" or said_of == uow.ledger.now(link.person_id):
            return link.person_id, link.id
        reason = said.reason or "somebody else, said in a review"
        links.revoke_in(hub, uow, link, reason=reason, asker=asker)
    if row.identity_id is not None:
        uow.people.identity_by_id(row.identity_id, lock=True)
    there = [uow.records.get(ref, lock=True) for ref in sorted(chosen.refs, key=str)]
    chosen = chosen.model_copy(update={"refs": tuple(one.record.ref for one in there if one)})
    if chosen.person_id is None and not chosen.refs:
        raise _OvertakenError(
            "the records of this candidate are gone from their systems; who is on file now is "
            "shown once the complaint was looked at again"
        )
    known = _whose(uow, row, chosen)
    person = uow.people.person(known, lock=True) if known is not None else None
    until_now = provisional.of(uow, row.identity_id) if row.identity_id is not None else None
    if person is None:
        person = until_now
    if person is None:
        complaint = uow.complaints.get(row.complaint_id)
        incoming = [a for a in uow.complaints.arrivals_of(row.complaint_id) if not a.outgoing]
        name = (incoming[-1].author or {}).get("display_name") if incoming else None
        assert complaint is not None
        person = uow.people.add_person(display_name=name, at=now)
    link_records(
        hub,
        uow,
        person.id,
        chosen,
        now,
        by=asker.principal,
        under=row.decision["version"],
        looking_at=row.complaint_id,
    )
    if row.identity_id is None:
        complaint = uow.complaints.get(row.complaint_id, lock=True)
        assert complaint is not None
        complaint.person_id, complaint.updated_at = person.id, now
        complaint.version += 1
        links.look_again(hub, uow, [complaint.id])
        return person.id, None
    _not_linked(uow, row.identity_id)
    cannot.refuse(uow.ledger.bars(person.id, {row.identity_id}), "it can't be this person")
    word = Evidence(
        kind=EvidenceKind.AGENT,
        detail=said.reason or "said so in a review",
        weight=WEIGHTS[EvidenceKind.AGENT].bits,
        basis=Basis.AGENT,
        at=now,
    )
    made = uow.people.add_link(
        LinkRow(
            id=new_id("lnk"),
            person_id=person.id,
            identity_id=row.identity_id,
            basis=Basis.AGENT.value,
            confidence=links.SURE,
            evidence=[e.model_dump(mode="json") for e in (word, *chosen.evidence)],
            decided_by=asker.principal,
            decided_under=row.decision["version"],
            valid_from=now,
        )
    )
    if until_now is not None:
        word_of = provisional.Word(asker.principal, word.detail, now)
        provisional.known(hub, uow, until_now, made, word_of)
    links.attach(hub, uow, row.identity_id, person.id, now)
    links.tell(hub, uow, "identity.linked", made, now)
    return person.id, made.id


def _whose(uow: UnitOfWork, row: ReviewRow, chosen: Candidate) -> str | None:
    """The person of a candidate, None for nobody's; raises where a record of theirs went to
    somebody else since the question was asked."""
    held = uow.people.links_of_records(chosen.refs)
    known = uow.ledger.now(chosen.person_id) if chosen.person_id is not None else None
    if known is None and held:
        known = min(held, key=lambda link: link.id).person_id
    for link in held:
        if link.person_id != known and link.valid_from > row.updated_at:
            raise _OvertakenError(
                f"{thing_of(link)} of this candidate is {link.person_id}'s by now; whose the "
                "others are is shown once the complaint was looked at again",
                link=link.id,
            )
    return known


def _none(
    hub: Hub,
    uow: UnitOfWork,
    row: ReviewRow,
    candidates: Sequence[Candidate],
    said: Answered,
    asker: Asker,
    now: datetime,
) -> list[str]:
    """Hold the author apart from every candidate; of one about a link, end it."""
    reason = said.reason or "none of these, said in a review"
    if row.link_id is not None:
        links.revoke_in(hub, uow, _asked_about(uow, row), reason=reason, asker=asker)
    if row.identity_id is None:
        return []
    _not_linked(uow, row.identity_id)
    made = []
    for thing in sorted({thing for c in candidates for thing in things_of(c)}):
        cannot_row, _ = uow.ledger.add_cannot_link(
            row.identity_id, thing, reason=reason, source=row.id, by=asker.principal, at=now
        )
        made.append(cannot_row.id)
    return made


def _not_linked(uow: UnitOfWork, identity_id: str) -> None:
    """Raise ConflictError where an account is somebody's, not provisionally, by now."""
    linked = next(iter(uow.people.links_of_identity(identity_id)), None)
    if linked is not None and linked.basis != Basis.PROVISIONAL:
        raise ConflictError(
            f"the author is linked to person {linked.person_id} by now", link=linked.id
        )


def _asked_about(uow: UnitOfWork, row: ReviewRow) -> LinkRow:
    """The link that an audit or a contradiction is about, wherever a merge carried it; raises
    ConflictError."""
    assert row.link_id is not None, "it is about a link"
    link = uow.people.link(row.link_id)
    assert link is not None
    now = uow.ledger.lineages([link.origin or link.id]).get(link.origin or link.id)
    if now is None:
        raise ConflictError("somebody ended the link by now", link=link.id)
    return now


def things_of(candidate: Candidate) -> set[Thing]:
    """What a candidate is: the person and the records."""
    persons = {candidate.person_id} if candidate.person_id is not None else set()
    return {*persons, *map(str, candidate.refs)}


def link_records(
    hub: Hub,
    uow: UnitOfWork,
    person_id: str,
    candidate: Candidate,
    now: datetime,
    *,
    by: str,
    under: str | None,
    looking_at: str,
) -> None:
    """Link the candidate's records to the person: those that no person has yet, and of which
    nobody said that they are not theirs. What else the person wrote than the complaint that is
    looked at has their orders beside it, too."""
    made = False
    taken = {thing_of(link) for link in uow.people.links_of_records(candidate.refs)}
    for ref in candidate.refs:
        if str(ref) in taken or uow.ledger.bars(person_id, {str(ref)}):
            continue
        made = True
        uow.people.add_link(
            LinkRow(
                id=new_id("lnk"),
                person_id=person_id,
                connection=ref.connection,
                kind=ref.kind.value,
                record_id=ref.id,
                basis=Basis.CRM_RECORD.value,
                confidence=confidence(candidate),
                evidence=[e.model_dump(mode="json") for e in candidate.evidence],
                decided_by=by,
                decided_under=under,
                valid_from=now,
            )
        )
    if made:
        links.look_again(hub, uow, set(uow.complaints.open_of([person_id])) - {looking_at})


def confidence(candidate: Candidate) -> float:
    """How sure it is: as calibrated, or the candidate's bits as a probability at even odds."""
    if candidate.probability is not None:
        return candidate.probability
    return 1 / (1 + 2 ** -min(max(candidate.score, -64.0), 64.0))


def _label(
    uow: UnitOfWork,
    row: ReviewRow,
    candidates: Sequence[Candidate],
    said: Answered,
    asker: Asker,
    now: datetime,
) -> None:
    """Keep what was said of each candidate; of those not chosen it only follows."""
    for place, candidate in enumerate(candidates):
        if said.said is Said.THIS:
            verdict = Verdict.SAME if place == said.candidate else Verdict.DIFFERENT
        else:
            verdict = Verdict.DIFFERENT if said.said is Said.NONE else Verdict.UNSURE
        for thing in sorted(things_of(candidate)):
            uow.ledger.add_label(
                row.subject,
                thing,
                verdict,
                source=row.kind,
                subject=row.id,
                by=_holder(said.agent, asker),
                at=now,
                implied=said.said is Said.THIS and place != said.candidate,
                evidence={e.kind.value: e.weight for e in candidate.evidence},
                score=candidate.score,
                decided_under=row.decision["version"],
            )


def _tell(hub: Hub, uow: UnitOfWork, type_: str, row: ReviewRow, now: datetime) -> None:
    answered = row.answer or {}
    deliver.tell(
        hub,
        uow,
        type_,
        subject=row.id,
        data={
            "id": row.id,
            "kind": row.kind,
            "complaint_id": row.complaint_id,
            "identity_id": row.identity_id,
            "urgency": row.urgency / 1_000_000,
            "said": answered.get("said"),
            "person_id": answered.get("person"),
        },
        at=now,
    )
