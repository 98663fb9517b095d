"""Arrivals on their way in: inbox ▸ complaint ▸ understand ▸ identify ▸ attach orders ▸ note.

A delivery is in the inbox before this flow runs. What can't be read stays there, quarantined with
its place and reason. Everything here may be repeated: arrivals are told apart by their source's
ids, and the note is an action under a key of its own.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from middleware.contract.actions import NoteRequest, Operation
from middleware.contract.canonical import Kind, Order, Ref, Shipment
from middleware.domain import words
from middleware.domain.actions import Wanted
from middleware.domain.arrivals import Arrival, ArrivalEvent, Author
from middleware.domain.identity import Basis, Candidate, Decision, Evidence, Outcome
from middleware.domain.ids import new_id
from middleware.domain.ledger import Standing
from middleware.domain.orders import OrderMatch, which_order
from middleware.domain.turns import Urgency
from middleware.domain.understanding import EntityType, Severity, Understanding
from middleware.flows import (
    clocks,
    correct,
    deliver,
    gather,
    incidents,
    lookup,
    plan,
    prioritise,
    provisional,
    reviews,
    trainings,
    understood,
)
from middleware.flows import link as links
from middleware.flows.hub import Asker, Hub
from middleware.inlets import INLETS, Delivery, Ignored, MalformedBody, Unreadable, parse_json
from middleware.resolution import normalise
from middleware.resolution.exact import contradicting
from middleware.resolution.identifiers import identifiers_mentioned, written_with
from middleware.store.database import UnitOfWork
from middleware.store.tables import (
    ArrivalRow,
    ComplaintRow,
    InboxRow,
    LinkRow,
    PersonRow,
)

log = logging.getLogger(__name__)

LONGEST_UNDERSTOOD = 20_000
"""Characters of a conversation, the latest, that are understood together."""
ORDERS_RANKED = 50
BETTER_LOOK_AFTER = timedelta(minutes=1)
BETTER_LOOK_AT_LATEST = timedelta(hours=1)
MOST_TRIES = 10
TRIES = 3
PAUSE_S = 0.2


def row_of(delivery: Delivery, *, connection: str, source: str, trust: str) -> InboxRow:
    """The inbox row of a verified delivery, as it is stored before it is accepted."""
    digest = hashlib.sha256(delivery.body).hexdigest()
    try:
        message_id = INLETS[source].message_id(delivery, parse_json(delivery.body))
    except MalformedBody:
        message_id = f"malformed:{digest}"
    return InboxRow(
        id=new_id("inb"),
        connection=connection,
        message_id=message_id,
        body_hash=digest,
        headers={"content-type": delivery.headers.get("content-type", ""), "source": source},
        body=delivery.body,
        trust=trust,
        state="stored",
        received_at=delivery.received_at,
    )


def run(hub: Hub, *inbox_ids: str) -> None:
    """Handle deliveries one by one; one that fails does not keep the others.

    Two that arrive together may both be the first of a person or a conversation. One of them
    fails, and finds what the other made when it is tried again.
    """
    for inbox_id in inbox_ids:
        hub.rush.give_way()
        try:
            _tried(partial(handle, hub, inbox_id), inbox=inbox_id)
        except Exception as error:
            # It stays `stored`: reconcile hands it in again, and quarantines it in the end.
            log.exception(
                "delivery not handled",
                extra={"inbox": inbox_id, "error": type(error).__name__},
            )


def look(hub: Hub, complaint_id: str) -> None:
    """Look at a complaint anew, as it is owed when whose it is has changed."""
    _tried(partial(enrich, hub, complaint_id), complaint=complaint_id)


def _tried(work: Callable[[], None], **what: str) -> None:
    """Do it, and once more where somebody else was in the way."""
    for tries_left in reversed(range(TRIES)):
        try:
            work()
        except Exception:
            if not tries_left:
                raise
            log.info("tried again", extra=what)
            time.sleep(PAUSE_S)
        else:
            return


def handle(hub: Hub, inbox_id: str) -> None:
    """Turn one stored delivery into complaints."""
    with hub.database.read() as uow:
        row = uow.inbox.get(inbox_id)
    if row is None or row.state != "stored":
        return
    inlet = INLETS[row.headers["source"]]
    try:
        readings = inlet.arrivals(parse_json(row.body))
    except MalformedBody as error:
        _quarantine(hub, inbox_id, [{"place": error.place, "reason": error.reason}])
        return
    unread = [r for r in readings if isinstance(r, Unreadable)]
    arrivals = [r for r in readings if isinstance(r, Arrival)]
    touched: list[str] = []
    for arrival in arrivals:
        complaint_id = _take_in(hub, row, arrival)
        if complaint_id is not None:
            touched.append(complaint_id)
    for complaint_id in dict.fromkeys(touched):
        enrich(hub, complaint_id)
    if unread:
        _quarantine(hub, inbox_id, [{"place": u.place, "reason": u.reason} for u in unread])
        return
    ignored = [r for r in readings if isinstance(r, Ignored)]
    with hub.database.begin() as uow:
        fresh = uow.inbox.get(inbox_id)
        assert fresh is not None
        uow.inbox.settle(
            fresh,
            "handled" if arrivals else "ignored",
            at=hub.clock(),
            problem={"problems": [{"place": i.place, "reason": i.reason} for i in ignored]}
            if ignored
            else None,
        )


def _quarantine(hub: Hub, inbox_id: str, problems: list[dict[str, str]]) -> None:
    now = hub.clock()
    with hub.database.begin() as uow:
        row = uow.inbox.get(inbox_id)
        assert row is not None
        uow.inbox.settle(row, "quarantined", at=now, problem={"problems": problems})
        deliver.tell(
            hub,
            uow,
            "inbox.quarantined",
            subject=inbox_id,
            data={"id": inbox_id, "connection": row.connection, "problems": problems},
            at=now,
        )


# --- arrival ▸ complaint ---------------------------------------------------------------------


def _take_in(hub: Hub, row: InboxRow, arrival: Arrival) -> str | None:
    """Put an arrival into its complaint; answers the complaint if it is to be understood anew."""
    now = hub.clock()
    author = arrival.author
    with hub.database.begin() as uow:
        if author.native_id is not None:
            # Held before the complaint, as by whoever links the author meanwhile.
            uow.people.identity(normalise.network(author.network), author.native_id)
        complaint = uow.complaints.of_conversation(row.connection, arrival.conversation)
        known = uow.complaints.arrival(row.connection, arrival.source_id)
        match arrival.event:
            case ArrivalEvent.STATUS:
                if complaint is not None and known is None:
                    _note_status(complaint, arrival, now)
                    prioritise.heard(hub, uow, complaint, now=now)
                return None
            case ArrivalEvent.DELETED if known is not None:
                return _delete(hub, uow, complaint, known, arrival, now)
            case _ if known is not None:
                prioritise.note_reach(uow, _complaint_of(uow, known), arrival, now=now)
                return _edit(uow, complaint, known, arrival, now)
        # A deletion may overtake what it deletes: it is remembered, so that the text never shows.
        deleted = arrival.event is ArrivalEvent.DELETED
        if complaint is None:
            complaint = ComplaintRow(
                id=new_id("cmp"),
                connection=row.connection,
                conversation=arrival.conversation,
                network=arrival.author.network,
                brand_account=arrival.brand_account,
                state="deleted" if deleted else "open",
                opened_at=arrival.posted_at or row.received_at,
                updated_at=now,
            )
            uow.complaints.add(complaint)
        elif not (arrival.outgoing or deleted):
            complaint.state = "open"
        prioritise.note_reach(uow, complaint, arrival, now=now)
        if not (arrival.outgoing or deleted):
            complaint.network = arrival.author.network
            complaint.identity_id = _see(hub, uow, arrival, row) or complaint.identity_id
        uow.complaints.add_arrival(
            ArrivalRow(
                id=new_id("arr"),
                complaint_id=complaint.id,
                inbox_id=row.id,
                connection=row.connection,
                source_id=arrival.source_id,
                brand_account=arrival.brand_account,
                outgoing=arrival.outgoing,
                internal=arrival.internal,
                automatic=arrival.automatic or _by_a_bot(hub, row.connection, arrival),
                direct=arrival.direct,
                author={
                    **arrival.author.model_dump(mode="json"),
                    "order_numbers": list(arrival.order_numbers),
                },
                text="" if deleted else arrival.text,
                language=arrival.language,
                url=arrival.url,
                posted_at=arrival.posted_at,
                deleted_at=(arrival.changed_at or now) if deleted else None,
                received_at=row.received_at,
            )
        )
        complaint.stale = complaint.stale or not (arrival.outgoing or deleted)
        _bump(complaint, now)
        if arrival.outgoing:
            prioritise.heard(hub, uow, complaint, now=now)
        return _if_stale(complaint)


def _by_a_bot(hub: Hub, connection: str, arrival: Arrival) -> bool:
    """Whether the operator says that whoever wrote this for us is a machine."""
    inlet = hub.options.inlets.get(connection)
    if inlet is None or not arrival.outgoing:
        return False
    author = arrival.author
    writers = (*arrival.written_by, author.native_id, author.handle, author.display_name)
    return any(writer and writer.casefold() in inlet.bots for writer in writers)


def _if_stale(complaint: ComplaintRow | None) -> str | None:
    return complaint.id if complaint is not None and complaint.stale else None


def _see(hub: Hub, uow: UnitOfWork, arrival: Arrival, row: InboxRow) -> str | None:
    """Note the author's identity; None where the source gives no id that lasts."""
    author = arrival.author
    if author.native_id is None:
        return None
    identity = uow.people.see(
        network=normalise.network(author.network),
        native_id=author.native_id,
        handle=normalise.handle(author.handle) if author.handle else None,
        display_name=author.display_name,
        at=arrival.posted_at or row.received_at,
    )
    uow.people.bears(identity.id, written_with(author, regions=hub.options.phone_regions))
    return identity.id


def _edit(
    uow: UnitOfWork,
    complaint: ComplaintRow | None,
    known: ArrivalRow,
    arrival: Arrival,
    now: datetime,
) -> str | None:
    """Take over a newer text; an older edit, or the same text again, changes nothing."""
    changed_at = arrival.changed_at or arrival.posted_at
    last = known.edited_at or known.posted_at
    older = changed_at is not None and last is not None and changed_at < last
    if known.deleted_at is None and not older and known.text != arrival.text:
        complaint = _complaint_of(uow, known)
        known.text, known.edited_at = arrival.text, changed_at or now
        complaint.stale = complaint.stale or not known.outgoing
        _bump(complaint, now)
    return _if_stale(complaint)


def _delete(
    hub: Hub,
    uow: UnitOfWork,
    complaint: ComplaintRow | None,
    known: ArrivalRow,
    arrival: Arrival,
    now: datetime,
) -> str | None:
    """Empty a message that was deleted at its source; the complaint ends with its last one."""
    if known.deleted_at is None:
        complaint = _complaint_of(uow, known)
        known.deleted_at, known.text = arrival.changed_at or now, ""
        uow.session.flush()
        uow.vectors.drop(complaint.id)
        complaint.stale = bool(_incoming(uow, complaint.id))
        if not complaint.stale:
            complaint.state = "deleted"
            complaint.understanding = complaint.order_match = None
            _ask_no_more(uow, complaint, now)
        _bump(complaint, now)
        prioritise.heard(hub, uow, complaint, now=now)
    return _if_stale(complaint)


def _ask_no_more(uow: UnitOfWork, complaint: ComplaintRow, now: datetime) -> None:
    """Nobody is asked who wrote what is deleted, unless the same account wrote more."""
    if complaint.identity_id is None:
        uow.reviews.settle(complaint.id, at=now)
    elif all(one.state == "deleted" for one in uow.complaints.of_identity(complaint.identity_id)):
        uow.reviews.settle(complaint.identity_id, at=now)


def _complaint_of(uow: UnitOfWork, arrival: ArrivalRow) -> ComplaintRow:
    complaint = uow.complaints.get(arrival.complaint_id, lock=True)
    assert complaint is not None, "an arrival has its complaint"
    return complaint


def _note_status(complaint: ComplaintRow, arrival: Arrival, now: datetime) -> None:
    closed = (arrival.status or "").lower() in ("resolved", "closed", "solved")
    if complaint.state != "deleted":
        complaint.state = "closed" if closed else "open"
        at = arrival.changed_at or arrival.posted_at or now
        clocks.note_status(complaint, (arrival.status or "").lower()[:60], min(at, now))
        _bump(complaint, now)


def _bump(complaint: ComplaintRow, now: datetime) -> None:
    complaint.updated_at = now
    complaint.version += 1


# --- understand ▸ identify ▸ attach orders ----------------------------------------------------


def enrich(hub: Hub, complaint_id: str) -> None:
    """Understand a complaint, find out who wrote it and which order is meant, and say so.

    Remotes are asked before the transaction and under a deadline; the decision is made on what
    the store then holds. What changes meanwhile is understood anew.
    """
    for _ in range(MOST_TRIES):
        if _enriched(hub, complaint_id):
            return
    raise RuntimeError(f"complaint {complaint_id} changes faster than it can be understood")


def _enriched(hub: Hub, complaint_id: str) -> bool:
    """One try; False when the complaint changed in the meantime."""
    with hub.database.read() as uow:
        complaint = uow.complaints.get(complaint_id)
        assert complaint is not None
        incoming = _incoming(uow, complaint_id)
        linked, _ = _linked(uow, complaint)
        said = understood.corrected_before(uow, complaint_id)
        trainings.keep_up(hub, uow)
        articles = uow.articles.named_in(_text_of(incoming))
    if not incoming:
        return True
    version, identity_id = complaint.version, complaint.identity_id
    understanding = _understand(hub, complaint, incoming, articles, said)
    given = tuple(n for a in incoming for n in (a.author or {}).get("order_numbers", ()))
    _fetch_missing(hub, understanding, given)
    author = Author.model_validate(_author_of(incoming[-1]))
    resolution = lookup.resolve(
        hub,
        author,
        understanding.entities,
        urgency=Urgency.WORK,
        written_at=_written_at(incoming[-1]),
    )
    theirs = _purchases(hub, linked, resolution.decision, understanding)
    if theirs.names:
        understanding = _understand(hub, complaint, incoming, articles | theirs.names, said)
    ranked = theirs.match(understanding, given=given, at=_written_at(incoming[-1]))

    now = hub.clock()
    with hub.database.begin() as uow:
        if identity_id is not None:
            # Two complaints of one author are decided one after the other. Whoever links the
            # author holds them first, too, and then what they wrote.
            uow.people.identity_by_id(identity_id, lock=True)
        complaint = uow.complaints.get(complaint_id, lock=True)
        assert complaint is not None
        if complaint.version != version or _gone(uow, resolution.decision):
            return False
        person, decision = _person_of(hub, uow, complaint, author, resolution, understanding, now)
        if person is None and complaint.identity_id is not None:
            person = provisional.hold(
                hub,
                uow,
                complaint.identity_id,
                name=author.display_name,
                wrote=complaint.stale,
            )
        settled = person is not None and person.standing is Standing.SETTLED
        resolution = replace(resolution, decision=decision)
        match = ranked if settled else None
        complaint.person_id = person.id if person else None
        complaint.understanding = understanding.model_dump(mode="json")
        complaint.resolution = {
            "decision": resolution.decision.model_dump(mode="json"),
            "candidates": [c.model_dump(mode="json") for c in resolution.candidates[:10]],
            "sources": [asdict(s) for s in resolution.sources],
            "at": now.isoformat(),
            "seen": version,
        }
        complaint.order_match = match.model_dump(mode="json") if match else None
        complaint.order_ref = str(match.chosen) if match and match.chosen else None
        complaint.stale = False
        _bump(complaint, now)
        score = prioritise.score_in(hub, uow, complaint, now=now)
        deliver.tell(
            hub,
            uow,
            "complaint.enriched",
            subject=complaint.id,
            data={
                "id": complaint.id,
                "person_id": complaint.person_id,
                "provisional": person is not None and not settled,
                "order": complaint.order_ref,
                "outcome": resolution.decision.outcome.value,
                "intent": understanding.intent.word,
                "reason": understanding.reason.word,
                "severity": understanding.severity.word,
            },
            at=now,
        )
        order = theirs.order(match.chosen) if match and match.chosen else None
        incidents.count_in(
            hub, uow, complaint, incoming, understanding, match, order, theirs.shipments
        )
        if hub.options.note_when_enriched:
            priority = prioritise.line(score, complaint.due_at)
            _write_note(hub, uow, complaint, resolution, understanding, match, order, priority)
        gather.take_up(hub, uow, complaint, now=now)
        if understanding.degraded:
            _owe_a_better_look(hub, uow, complaint, incoming[-1], now)
    return True


def _owe_a_better_look(
    hub: Hub, uow: UnitOfWork, complaint: ComplaintRow, last: ArrivalRow, now: datetime
) -> None:
    """What the rules judged since the model had no time is judged again: after a minute, and then
    after as long as it has been waiting.

    Where the model was refused, only a hub that is begun anew can have one; see
    `understood.look_at_degraded`.
    """
    if not trainings.has_model(hub):
        return
    waits = min(max(now - last.received_at, BETTER_LOOK_AFTER), BETTER_LOOK_AT_LATEST)
    hub.engine.enqueue(
        uow,
        "receive.enrich",
        complaint.id,
        name=f"receive.enrich:{complaint.id}:degraded:{complaint.version}",
        delay=waits,
    )


def _incoming(uow: UnitOfWork, complaint_id: str) -> list[ArrivalRow]:
    return [
        a
        for a in uow.complaints.arrivals_of(complaint_id)
        if not a.outgoing and a.deleted_at is None
    ]


def _author_of(arrival: ArrivalRow) -> dict[str, Any]:
    return {k: v for k, v in (arrival.author or {}).items() if k != "order_numbers"}


def _written_at(arrival: ArrivalRow) -> datetime:
    return arrival.posted_at or arrival.received_at


def _linked(uow: UnitOfWork, complaint: ComplaintRow) -> tuple[str | None, LinkRow | None]:
    """The person that this identity is linked to already, and not provisionally, and the link that
    says so; where its source names no identity, whom a person said it was, and no link."""
    if complaint.identity_id is None:
        moved = uow.ledger.moved_by_name(complaint)
        if moved is not None:
            return moved, None
        last = uow.reviews.last_answered(complaint.id)
        return (last.answer or {}).get("person") if last is not None else None, None
    link = next(iter(uow.people.links_of_identity(complaint.identity_id)), None)
    if link is None or link.basis == Basis.PROVISIONAL:
        return None, None
    return link.person_id, link


def _understand(
    hub: Hub,
    complaint: ComplaintRow,
    incoming: Sequence[ArrivalRow],
    products: Mapping[str, str],
    said: Mapping[str, str],
) -> Understanding:
    inlet = hub.options.inlets.get(complaint.connection)
    judged = hub.understands.understand(
        _text_of(incoming),
        language=incoming[-1].language,
        products=products,
        order_patterns=inlet.order_patterns if inlet else (),
    )
    return understood.as_said(judged, said)


def _text_of(incoming: Sequence[ArrivalRow]) -> str:
    return "\n".join(a.text for a in incoming)[-LONGEST_UNDERSTOOD:]


def _fetch_missing(hub: Hub, understanding: Understanding, given: Sequence[str]) -> None:
    """Ask the remotes for order numbers that were named and that the store does not hold."""
    numbers = (*given, *understanding.values(EntityType.ORDER_NUMBER))
    if not numbers:
        return
    with hub.database.read() as uow:
        wanted = identifiers_mentioned(understanding.entities)
        held = uow.records.bearing(i for i in wanted if i[0] in ("order", "order_digits"))
    if not any(ref.kind is Kind.ORDER for ref in held):
        lookup.find_orders(hub, tuple(dict.fromkeys(numbers))[:5], urgency=Urgency.WORK)


def _person_of(
    hub: Hub,
    uow: UnitOfWork,
    complaint: ComplaintRow,
    author: Author,
    resolution: lookup.Resolution,
    understanding: Understanding,
    now: datetime,
) -> tuple[PersonRow | None, Decision]:
    """The person behind a complaint, as linked before or as decided now; and the decision."""
    decision = resolution.decision
    linked, link = _linked(uow, complaint)
    severity = understanding.severity.value
    if linked is not None:
        person = uow.people.person(linked)
        if person is not None and link is not None:
            decision = _as_linked(
                hub, uow, complaint, author, resolution, person, link, severity, now
            )
        return person, decision
    if decision.outcome is not Outcome.LINK or decision.candidate is None:
        if decision.outcome is Outcome.REVIEW:
            deliver.tell(
                hub,
                uow,
                "identity.review_needed",
                subject=complaint.id,
                data={"complaint_id": complaint.id, "why": decision.why},
                at=now,
            )
            reviews.open_in(
                hub,
                uow,
                complaint,
                author,
                decision,
                resolution.candidates,
                severity,
                now=now,
            )
        return None, decision
    candidate = decision.candidate
    known = candidate.person_id or _holder(uow, candidate)
    person = uow.people.person(known, lock=True) if known else None
    # Somebody may have taken them apart since the decision was made; only somebody may put them
    # together again.
    things = reviews.things_of(candidate)
    held = provisional.of(uow, complaint.identity_id) if complaint.identity_id is not None else None
    barred = (
        uow.ledger.bars(person.id, {complaint.identity_id})
        if person is not None and complaint.identity_id is not None
        else [
            row
            for row in uow.ledger.cannot_links_of({complaint.identity_id or complaint.id})
            if {row.one, row.other} & (things if person is None else set())
        ]
    )
    if held is not None:
        barred += uow.ledger.bars(held.id, things)
        barred += uow.ledger.between(person.id, held.id) if person is not None else []
    if barred:
        return None, decision.model_copy(
            update={
                "outcome": Outcome.NONE,
                "why": f"somebody said that it is not them ({barred[0].id})",
            }
        )
    if person is None:
        person = held or uow.people.add_person(display_name=author.display_name, at=now)
    link = None
    if complaint.identity_id is not None:
        link = uow.people.add_link(
            LinkRow(
                id=new_id("lnk"),
                person_id=person.id,
                identity_id=complaint.identity_id,
                basis=candidate.basis.value,
                confidence=reviews.confidence(candidate),
                evidence=[e.model_dump(mode="json") for e in candidate.evidence],
                decided_by="hub",
                decided_under=decision.version,
                valid_from=now,
            )
        )
    reviews.link_records(
        hub,
        uow,
        person.id,
        candidate,
        now,
        by="hub",
        under=decision.version,
        looking_at=complaint.id,
    )
    if link is not None:
        identity_id = complaint.identity_id
        assert identity_id is not None, "a link of an author has an identity"
        if held is not None:
            word = provisional.Word("hub", decision.why, now)
            provisional.known(hub, uow, held, link, word)
        # What the same account wrote before is theirs, too.
        complaint.person_id = person.id
        links.attach(hub, uow, identity_id, person.id, now)
        uow.reviews.settle(identity_id, at=now)
        reviews.audit_in(hub, uow, complaint, author, link, decision, severity, now=now)
        deliver.tell(
            hub,
            uow,
            "identity.linked",
            subject=person.id,
            data={"person_id": person.id, "identity_id": complaint.identity_id, "link_id": link.id},
            at=now,
        )
        uow.audit.write(
            at=now,
            actor="hub",
            action="link.put",
            subject=link.id,
            person=person.id,
            identity=complaint.identity_id,
            basis=link.basis,
            version=decision.version,
        )
    return person, decision


def _as_linked(
    hub: Hub,
    uow: UnitOfWork,
    complaint: ComplaintRow,
    author: Author,
    resolution: lookup.Resolution,
    person: PersonRow,
    link: LinkRow,
    severity: Severity | None,
    now: datetime,
) -> Decision:
    """The decision about somebody who is linked: it stands, whatever is on file of them now.

    Where what the source vouches for is somebody else's, a person is asked which of the two it is.
    """
    decision, records = resolution.decision, set(lookup.customers_of(uow, person.id))
    theirs = next(
        (c for c in resolution.candidates if c.person_id == person.id or records & set(c.refs)),
        None,
    )
    other = contradicting(resolution.candidates, theirs, auto=hub.options.auto_link)
    if theirs is None:
        evidence = tuple(Evidence.model_validate(one) for one in link.evidence)
        theirs = reviews.on_file(person.id, sorted(records, key=str), evidence)
    agrees = decision.outcome is Outcome.LINK and decision.candidate is theirs
    why = decision.why if agrees else "linked before"
    if other is not None:
        why = f"linked before, but {other.strongest.detail} speaks for somebody else"
    stands = decision.model_copy(
        update={"outcome": Outcome.LINK, "candidate": theirs, "margin": None, "why": why}
    )
    if other is not None:
        shown = (theirs, other)
        reviews.contradict_in(hub, uow, complaint, author, link, stands, shown, severity, now=now)
    return stands


def _gone(uow: UnitOfWork, decision: Decision) -> bool:
    """Whether a record of whom this is linked to has gone since it was looked up: a merge in its
    system may have been followed already. The others are held until we commit."""
    if decision.outcome is not Outcome.LINK or decision.candidate is None:
        return False
    held = [uow.records.get(ref, lock=True) for ref in sorted(decision.candidate.refs, key=str)]
    return None in held


def _holder(uow: UnitOfWork, candidate: Candidate) -> str | None:
    """Who got the candidate's records, which we hold, since they were looked up."""
    return min(lookup.person_of(uow, candidate.refs).values(), default=None)


@dataclass(frozen=True)
class Purchases:
    """A person's orders with their shipments, and named orders that are somebody else's."""

    orders: tuple[Order, ...] = ()
    shipments: tuple[Shipment, ...] = ()
    elsewhere: tuple[str, ...] = ()

    @property
    def names(self) -> dict[str, str]:
        """What they bought: name by SKU."""
        return {x.sku: x.name or x.sku for order in self.orders for x in order.lines if x.sku}

    def order(self, ref: Ref) -> Order:
        return next(order for order in self.orders if order.ref == ref)

    def match(
        self, understanding: Understanding, *, given: Sequence[str], at: datetime
    ) -> OrderMatch:
        return which_order(
            understanding,
            self.orders,
            self.shipments,
            at=at,
            given=given,
            elsewhere=self.elsewhere,
        )


def _purchases(
    hub: Hub, linked: str | None, decision: Decision, understanding: Understanding
) -> Purchases:
    """What the person bought whom this will be linked to, or is."""
    candidate = decision.candidate if decision.outcome is Outcome.LINK else None
    person_id = linked or (candidate.person_id if candidate else None)
    with hub.database.read() as uow:
        if person_id is not None:
            customers = lookup.customers_of(uow, person_id)
        elif candidate is not None:
            customers = [record.ref for record in lookup.related(uow, candidate.refs)]
        else:
            return Purchases()
        stored = uow.records.orders_of(customers, limit=ORDERS_RANKED)
        own = {s.record.ref for s in stored}
        held = [s.record for s in stored if isinstance(s.record, Order)]
        orders = lookup.once(hub, held, named=lambda order: (order.ref.connection, order.number))
        shipments = uow.records.of_orders(Kind.SHIPMENT, own)
        named = uow.records.bearing(
            i for i in identifiers_mentioned(understanding.entities) if i[0] == "order"
        )
        foreign = uow.records.get_all(ref for ref in named if ref not in own)
    return Purchases(
        orders=tuple(orders),
        shipments=tuple(s.record for s in shipments if isinstance(s.record, Shipment)),
        elsewhere=tuple(
            s.record.number
            for s in foreign
            if isinstance(s.record, Order) and s.record.number is not None
        ),
    )


def _write_note(
    hub: Hub,
    uow: UnitOfWork,
    complaint: ComplaintRow,
    resolution: lookup.Resolution,
    understanding: Understanding,
    match: OrderMatch | None,
    order: Order | None,
    priority: str,
) -> None:
    """Owe a note on the conversation with what was found out; the same words only once."""
    place = plan.conversation_of(hub, complaint)
    if place is None:
        return
    text = words.enriched(resolution.decision, understanding, match, order, priority)
    digest = hashlib.sha256(text.encode()).hexdigest()
    correct.create_in(
        hub,
        uow,
        Wanted(
            operation=Operation.NOTE,
            request=NoteRequest(on=place, text=text),
            complaint_id=complaint.id,
        ),
        Asker(
            principal="hub",
            key=f"enriched:{complaint.id}:{digest[:16]}",
            route="flow receive",
            body_hash=digest,
        ),
    )
