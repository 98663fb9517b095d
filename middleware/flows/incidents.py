"""Pile-ons: complaints are counted under their keys, bursts are looked for, and become incidents.

Counting is part of the transaction that understands a complaint. Looking is owed every few seconds
by whoever ticks: it goes by rows that say that they changed, so what was counted while nobody
looked is found when somebody does. It reads without a lock and writes in short transactions; a key
belongs to one living incident at a time, whoever looks.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from middleware.contract.canonical import Order, Shipment
from middleware.domain import bursts, incidents, sketches
from middleware.domain.bursts import Key, KeyKind, Reading, bucket_of
from middleware.domain.ids import new_id
from middleware.domain.incidents import SPECIFIC, IncidentState
from middleware.domain.orders import OrderMatch
from middleware.domain.sketches import Leaders
from middleware.domain.understanding import Understanding
from middleware.flows import holding, joined, nearness
from middleware.flows.baselines import ALL, Book
from middleware.flows.hub import Hub
from middleware.flows.nearness import Crowd
from middleware.store.database import UnitOfWork
from middleware.store.incidents import Signal
from middleware.store.tables import (
    ArrivalRow,
    ComplaintRow,
    IncidentKeyRow,
    IncidentRow,
)

log = logging.getLogger(__name__)

BY_TEXT = frozenset({KeyKind.TEXT, KeyKind.NEAR})
BY_COMPARING = tuple(f"{kind}:" for kind in sorted(BY_TEXT))
"""What keys begin with that are found by comparing complaints, not in one of them."""
AT_ONCE = 2000
"""Counts or texts that are looked at in one go."""
MOST_LEADERS = 1000
LED_FOR = timedelta(days=2)
"""How long a text is compared with those that come after it."""
KEPT = timedelta(days=56)
FORGOTTEN_AT = timedelta(hours=3)
"""After midnight, in UTC: when a day's forgetting is due."""
TEXTS_KEPT = nearness.KEPT


# --- counting -------------------------------------------------------------------------------------


def count_in(
    hub: Hub,
    uow: UnitOfWork,
    complaint: ComplaintRow,
    incoming: Sequence[ArrivalRow],
    understanding: Understanding,
    match: OrderMatch | None,
    order: Order | None,
    shipments: Sequence[Shipment],
) -> None:
    """Count a complaint under its keys, in the transaction that understood it.

    Once per key, however often it is understood; a key that it no longer has is taken back.
    """
    rules = hub.options.incidents
    if not rules.enabled or not incoming:
        return
    latest = incoming[-1]
    text = "\n".join(arrival.text for arrival in incoming)
    found = incidents.keys_of(
        understanding,
        text,
        order=order,
        lines=match.chosen_lines if match is not None else (),
        shipments=[s for s in shipments if order is not None and s.order == order.ref],
        rules=rules,
    )
    counted = understanding.intent.value in incidents.COUNTED
    keys = {ALL, *map(str, found)} if counted else set()
    had = uow.incidents.keys_of(complaint.id)
    gone = {key for key in had if key not in keys and not key.startswith(BY_COMPARING)}
    new = keys - had.keys()
    bucket = bucket_of(latest.received_at)
    who = complaint.person_id or complaint.identity_id or complaint.id
    reach = min(int((latest.author or {}).get("followers") or 0), 2_000_000_000)
    if gone:
        uow.incidents.unseen(complaint.id, gone)
    if new or gone:
        uow.incidents.seen(
            [Signal(key, bucket, complaint.id, who, reach) for key in sorted(new)],
            counted=[
                *((key, bucket, 1) for key in new),
                *((key, had[key], -1) for key in gone),
            ],
        )
    if counted and not any(key.kind in SPECIFIC for key in found):
        first = ALL in new
        at = bucket if first else had[ALL]
        about = {"complaint_id": complaint.id, "bucket": at, "who": who, "reach": reach}
        sketch = sketches.sketch(text)
        if first and sketch is not None:
            uow.incidents.sketched({**about, "sketch": sketch, "leader": None})
        vector = understanding.vector
        if vector is not None:
            # Of what was counted before, it is where the text lies now: a message of it may have
            # been deleted. It is compared with later ones, and not once more with earlier ones.
            placed = {"encoder": vector.encoder, "vector": vector.values, "unread": first}
            uow.vectors.keep({**about, **placed})


# --- looking --------------------------------------------------------------------------------------


def run(hub: Hub, tick: str) -> None:
    """Look for bursts, see how the known ones go on, and close what is over."""
    if not hub.options.incidents.enabled:
        return
    now = hub.clock()
    while _compare_texts(hub, now) == AT_ONCE:
        pass
    crowds = nearness.look(hub, now)
    with hub.database.read() as uow:
        lasting = [row.id for row in uow.incidents.lasting()]
        old = now - hub.options.incidents.close_after
        late = [row.id for row in uow.incidents.to_be_closed(over_before=old)]
    # First, so that a key that bursts only now is compared with all that belongs to them.
    for incident_id in lasting:
        see_on(hub, incident_id, now)
    while look(hub, now) == AT_ONCE:
        pass
    # After the keys, which explain most of them.
    for crowd in crowds.found:
        _answer_for_crowd(hub, crowd, now)
    joined.join(hub, now)
    with hub.database.begin() as uow:
        uow.vectors.mark_read(crowds.seen)
    for incident_id in late:
        _close_by_itself(hub, incident_id, old, now)
    _owe_listings(hub, tick)


def owe(hub: Hub, uow: UnitOfWork, tick: str) -> None:
    """Owe a look at what came, and once a day that what is old is forgotten: at three in the
    morning, or as soon after as somebody ticks."""
    hub.engine.enqueue(uow, "incidents", tick, name=f"incidents:{tick}")
    day = (hub.clock() - FORGOTTEN_AT).date().isoformat()
    hub.engine.enqueue(uow, "incidents.forget", day, name=f"incidents.forget:{day}")


def forget(hub: Hub, day: str) -> None:
    """Drop what no baseline and no burst needs any more."""
    now = hub.clock()
    with hub.database.begin() as uow:
        texts_before = bucket_of(now - TEXTS_KEPT)
        uow.incidents.forget(before=bucket_of(now - KEPT), texts_before=texts_before)
        old = now - hub.options.incidents.close_after
        uow.vectors.forget(before=texts_before, over_before=old)


def _owe_listings(hub: Hub, tick: str) -> None:
    """Owe the lists anew whose flow ended without making them."""
    with hub.database.read() as uow:
        unlisted = uow.incidents.unlisted(limit=20)
    for incident_id in unlisted:
        name = f"incidents.affected:{incident_id}"
        if not hub.engine.pending(name):
            with hub.database.begin() as uow:
                hub.engine.enqueue(uow, "incidents.affected", incident_id, name=f"{name}:{tick}")


def _compare_texts(hub: Hub, now: datetime) -> int:
    """Find for each new text the first one that said the same; answers how many were looked at."""
    with hub.database.read() as uow:
        unread = uow.incidents.unread_sketches(limit=AT_ONCE)
        if not unread:
            return 0
        since = bucket_of(now - LED_FOR)
        before = uow.incidents.leaders(since=since, limit=MOST_LEADERS)
    leaders, known = Leaders(before), {name for name, _ in before}
    led: dict[str, str] = {}
    for row in unread:
        leader = leaders.nearest(row.sketch)
        if leader is None:
            leader = row.complaint_id
            leaders.add(leader, row.sketch)
        led[row.complaint_id] = leader
    followed = {leader for of, leader in led.items() if of != leader}
    rows = {row.complaint_id: row for row in unread}
    with hub.database.begin() as uow:
        uow.policies.take_turns(["sketches"])
        uow.incidents.led(led)
        signals: list[Signal] = []
        for of, leader in led.items():
            # A text that nobody repeats is no key yet; the first one counts with its first copy.
            if leader in followed or leader in known:
                row = rows[of]
                signals.append(_of_text(leader, row.bucket, of, row.who, row.reach))
        for leader in followed & known:
            first = uow.incidents.sketch(leader)
            if first is not None:
                at = first.bucket
                signals.append(_of_text(leader, at, leader, first.who, first.reach))
        fresh = uow.incidents.not_yet(signals)
        uow.incidents.seen(fresh, counted=nearness.counted(fresh))
    return len(unread)


def _of_text(leader: str, bucket: int, complaint_id: str, who: str, reach: int) -> Signal:
    return Signal(str(Key(KeyKind.TEXT, leader)), bucket, complaint_id, who, reach)


@dataclass(frozen=True)
class Found:
    """A key that bursts, the window that shows it, and where it began."""

    key: Key
    reading: Reading
    onset: int
    complaints: frozenset[str]
    book: Book | None = None
    """What the key is held against; None of texts, which no other key explains."""


def look(hub: Hub, now: datetime) -> int:
    """Look at the counts that changed; answers how many there were."""
    rules = hub.options.incidents.bursts
    with hub.database.read() as uow:
        unread = uow.incidents.unread(limit=AT_ONCE)
        if not unread:
            return 0
        book = Book.opened(hub, uow, {row.key for row in unread}, oldest=unread[0].bucket)
        live = uow.incidents.live_keys()
        ends: dict[str, list[int]] = defaultdict(list)
        for row in unread:
            if row.key != ALL and row.count > 0:
                ends[row.key].append(row.bucket)
        found: list[Found] = []
        for key, last in ends.items():
            if key in live and (live[key].gives or Key.parse(key).kind not in holding.WIDE):
                continue
            reading = bursts.burst(
                book.tracks[key], book.season, book.everything, ends=last, rules=rules
            )
            if reading is not None:
                began = bursts.onset(book.tracks[key], reading, rules=rules)
                one = _with_people(uow, Key.parse(key), reading, began, book, rules.least_persons)
                found += [one] if one is not None else []
    found.sort(key=lambda one: (one.key.kind.rank, -one.reading.surprise, one.key.value))
    with hub.database.begin() as uow:
        book.keep(uow)
    # Each in a transaction of its own: events are told one transaction at a time, so whoever tells
    # one must not go on to rows that another teller may hold.
    for one in found:
        with hub.database.begin() as uow:
            uow.policies.take_turns(["incidents"])
            _answer_for(hub, uow, one, now)
    # Last, so that whatever breaks off before is looked at again.
    with hub.database.begin() as uow:
        uow.incidents.mark_read((row.key, row.bucket, row.count) for row in unread)
    return len(unread)


def _answer_for_crowd(hub: Hub, crowd: Crowd, now: datetime) -> None:
    """Count texts that burst under a key of their own, and answer for it as for any."""
    found = Found(
        crowd.key,
        crowd.reading,
        crowd.onset,
        frozenset(signal.complaint_id for signal in crowd.signals),
    )
    # Apart: who deletes a message holds its complaint and then asks for this row.
    with hub.database.begin() as uow:
        uow.vectors.set_centre(crowd.key.value, crowd.centre)
    with hub.database.begin() as uow:
        uow.policies.take_turns(["incidents"])
        fresh = uow.incidents.not_yet(crowd.signals)
        counted = nearness.counted(fresh)
        uow.incidents.seen(fresh, counted=counted)
        # This is the look at them: later they would burst again, when it is long over.
        uow.incidents.mark_read(counted)
        values = {"folded": crowd.past.folded, "count": crowd.past.count, "season": None}
        uow.incidents.save_past(str(crowd.key), None, values)
        _answer_for(hub, uow, found, now)


def _with_people(
    uow: UnitOfWork, key: Key, reading: Reading, began: int, book: Book, least: int
) -> Found | None:
    """The burst with its complaints, if enough different people are in it."""
    first = min(reading.first, began)
    signals = uow.incidents.signals(str(key), first, reading.last, limit=holding.MOST_COMPARED)
    if len({s.who for s in signals if s.bucket >= reading.first}) < least:
        return None
    return Found(key, reading, began, frozenset(s.complaint_id for s in signals), book)


def _answer_for(hub: Hub, uow: UnitOfWork, found: Found, now: datetime) -> None:
    """Attach a bursting key to the incident that it tells of too, or open one.

    A wide key that bursts only because of complaints that incidents have already is attached and
    gives nothing, until what else it has is a burst as well.
    """
    live = uow.incidents.live_keys()
    held = live.get(str(found.key))
    if held is not None and (held.gives or found.key.kind not in holding.WIDE):
        return  # another worker was quicker
    again = uow.incidents.last_of_key(str(found.key)) if held is None else None
    if again is not None and _flares_up(hub, again, now):
        _take_up(uow, again, now)
        holding.absorb(uow, again, now)
        return
    lately = now - hub.options.incidents.close_after
    besides = _besides(hub, uow, found, over_after=lately)
    if held is not None and besides is None:
        return
    best: tuple[float, str, set[str]] | None = None
    alike = nearness.alike(uow, found.key, over_after=lately)
    same = {live[key].incident_id for key in alike & live.keys()}
    for key in sorted(alike if not same else ()):
        again = uow.incidents.last_of_key(key)
        if again is not None and _flares_up(hub, again, now):
            _take_up(uow, again, now)
            live, same = uow.incidents.live_keys(), {again.id}
            break
    kinds: dict[str, set[KeyKind]] = defaultdict(set)
    for one in (one for one in live.values() if one.gives):
        kinds[one.incident_id].add(Key.parse(one.key).kind)
    for incident_id in sorted(kinds):
        theirs = uow.incidents.member_ids(
            incident_id, since=min(found.reading.first, found.onset), limit=holding.MOST_COMPARED
        )
        shared = 1.0 if incident_id in same else bursts.overlap(set(found.complaints), theirs)
        least = bursts.least_shared(found.key, kinds[incident_id]) if besides else 0.0
        if shared >= least and (best is None or shared > best[0]):
            best = (shared, incident_id, theirs)
    if held is not None and (best is None or best[1] != held.incident_id):
        held.live = False
        uow.session.flush()
    if best is None:
        if besides is not None:
            _open(hub, uow, besides, now)
        return
    _, incident_id, theirs = best
    if found.key.kind in holding.WIDE:
        gives = besides is not None
    else:
        gives = incident_id in same or bursts.is_part_of(set(found.complaints), theirs)
    uow.incidents.add_key(
        IncidentKeyRow(
            incident_id=incident_id,
            key=str(found.key),
            gives=gives,
            since=found.onset,
        )
    )
    row = uow.incidents.get(incident_id, lock=True)
    assert row is not None, "a live key has its incident"
    holding.absorb(uow, row, now)
    holding.name_anew(uow, row)
    if gives and found.key.kind in incidents.BOUGHT:
        row.version += 1
        holding.owe_listing(hub, uow, row)


def _besides(hub: Hub, uow: UnitOfWork, found: Found, *, over_after: datetime) -> Found | None:
    """The burst of a wide key without the complaints that incidents have for a more specific one,
    or had until lately, None where none is left; of any other key the burst itself."""
    if found.book is None or found.key.kind not in holding.WIDE:
        return found
    rules, book, key = hub.options.incidents.bursts, found.book, str(found.key)
    last = max(book.tracks[key].counts)
    since = found.reading.last - rules.longest + 1
    # What is near to a text is a part of what says the same, and explains nothing.
    by = [k for k in KeyKind if k.rank < found.key.kind.rank and k not in BY_TEXT]
    rest = uow.incidents.unexplained(
        key, since, last, by=by, over_after=over_after, limit=holding.MOST_COMPARED
    )
    track = replace(book.tracks[key], counts=Counter(s.bucket for s in rest))
    ends = sorted(track.counts)
    reading = bursts.burst(track, book.season, book.everything, ends=ends, rules=rules)
    if reading is None or len({s.who for s in rest}) < rules.least_persons:
        return None
    began = bursts.onset(track, reading, rules=rules)
    theirs = frozenset(s.complaint_id for s in rest if s.bucket >= min(began, reading.first))
    return Found(found.key, reading, began, theirs, book)


def _take_up(uow: UnitOfWork, row: IncidentRow, now: datetime) -> None:
    """Let the burst of an incident go on."""
    row.over_at, row.updated_at = None, now
    row.version += 1
    uow.incidents.take_up(row.id)


def _flares_up(hub: Hub, row: IncidentRow, now: datetime) -> bool:
    """Whether a burst that was over is not so long over that this would be another one."""
    lately = row.over_at is not None and now - row.over_at < hub.options.incidents.close_after
    by_itself = row.decided_by == "hub"
    return lately and not (row.state == IncidentState.CLOSED and by_itself)


def _open(hub: Hub, uow: UnitOfWork, found: Found, now: datetime) -> None:
    row = IncidentRow(
        id=new_id("inc"),
        state=IncidentState.OPEN.value,
        key=str(found.key),
        title=incidents.title_of(found.key),
        onset_at=bursts.begins(found.onset),
        opened_at=now,
        last_at=now,
        found=found.reading.found,
        expected=round(found.reading.expected, 3),
        surprise=round(found.reading.surprise, 2),
        updated_at=now,
    )
    uow.incidents.add(row)
    uow.incidents.add_key(
        IncidentKeyRow(incident_id=row.id, key=row.key, gives=True, since=found.onset)
    )
    holding.absorb(uow, row, now)
    row.told = row.complaints
    row.proposed = holding.proposed(uow, row.id)
    holding.characterise(uow, row)
    holding.tell(hub, uow, "incident.opened", row, now)
    log.warning("incident opened", extra={"incident": row.id, "burst": row.key})
    holding.owe_listing(hub, uow, row)


def see_on(hub: Hub, incident_id: str, now: datetime) -> None:
    """Take in what came, tell of growth, name it anew where that fits better, and see its end."""
    with hub.database.read() as uow:
        row = uow.incidents.get(incident_id)
        if row is None or row.over_at is not None:
            return
        keys = [key.key for key in uow.incidents.keys(incident_id) if key.gives and key.live]
        came = bool(uow.incidents.newcomers(incident_id, limit=1))
        book = Book.opened(hub, uow, set(keys), oldest=bucket_of(now))
    rules = hub.options.incidents.bursts
    here = bucket_of(now)
    over = not came and all(
        bursts.is_over(book.tracks[key], book.season, book.everything, now=here, rules=rules)
        for key in keys
    )
    if not came and not over:
        return
    with hub.database.begin() as uow:
        row = uow.incidents.get(incident_id, lock=True)
        if row is None or row.over_at is not None:
            return
        came = holding.absorb(uow, row, now)
        if came:
            holding.name_anew(uow, row)
            row.proposed = holding.proposed(uow, row.id) or row.proposed
            if row.state != IncidentState.DISMISSED and incidents.has_grown(
                row.complaints, row.told
            ):
                row.told = row.complaints
                holding.tell(hub, uow, "incident.grown", row, now)
        elif over:
            row.over_at = now
            uow.incidents.let_go(row.id)
        row.updated_at = now
        row.version += 1


def _close_by_itself(hub: Hub, incident_id: str, old: datetime, now: datetime) -> None:
    with hub.database.begin() as uow:
        row = uow.incidents.get(incident_id, lock=True)
        if row is None or row.state in incidents.ENDED or row.over_at is None:
            return
        if row.over_at >= old:
            return
        row.state, row.reason, row.updated_at = "closed", "its burst is over", now
        row.decided_by, row.decided_at = "hub", now
        row.version += 1
        holding.tell(hub, uow, "incident.closed", row, now)
