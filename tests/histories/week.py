"""Weeks of traffic: when what arrived where, which arrivals are one issue, which are a burst."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from middleware.domain.arrivals import Arrival, Author
from tests.histories.company import BRANDS, Company, Customer, Order, OrderLine, company
from tests.histories.texts import ABOUT_A_LINE, REASONS, THEMES, Writer

START = datetime(2026, 9, 7, tzinfo=UTC)
"""A Monday."""
CONNECTIONS = {
    "x": "x",
    "instagram": "meta",
    "facebook": "meta",
    "whatsapp": "chat",
    "zendesk": "desk",
}
"""Which tool takes in which network. `listening` hears public posts a second time."""
BURSTS = ("sku", "lot", "carrier", "warehouse", "hashtag", "topic")
"""What a burst can be about; `topic` has no key but the reason."""
WORDS = "words"
"""One that has none at all: many say the same in words of their own. Drawn only where asked for."""
JOINED_IN = ("hashtag", "topic", WORDS)
"""Bursts that people join in who need not have bought anything."""
QUIET = 0.3
"""Share of weeks without a burst, where none are asked for."""

_HOURS = (
    *(0.3, 0.15, 0.1, 0.1, 0.15, 0.35, 0.8, 1.3, 1.6, 1.6, 1.5, 1.4),
    *(1.5, 1.4, 1.3, 1.3, 1.4, 1.6, 1.8, 1.9, 1.8, 1.5, 1.0, 0.6),
)
_DAYS = (1.25, 1.1, 1.05, 1.0, 0.95, 0.8, 0.85)
_REASON_WEIGHTS = (14, 13, 8, 9, 22, 7, 10, 9, 8)
_RETOLD = 0.25
_FOLLOWED = 0.2
_ANSWERED = 0.5
_OTHER_ISSUE = 0.06
"""Share of complaints whose author has another issue besides."""
_COPIED = 0.03
"""Share of complaints that take over somebody else's words."""


@dataclass(frozen=True)
class Received:
    """One arrival and the truth about it. `issue` and `burst` are ids; `telling` says how it came.

    `telling`: first, follow_up, answer (ours, outgoing), or how an issue was told again: same_post
    (heard by another tool), cross_post, near_duplicate, dm, ticket, wrong_brand.
    """

    received_at: datetime
    connection: str
    arrival: Arrival
    issue: str
    telling: str
    burst: str | None = None

    @property
    def network(self) -> str:
        return self.arrival.author.network

    @property
    def brand_account(self) -> str | None:
        return self.arrival.brand_account


@dataclass(frozen=True)
class Issue:
    """What one customer has on their mind. `kind`: complaint, question, praise, noise."""

    id: str
    kind: str
    customer: str
    reason: str | None = None
    order: str | None = None
    line: str | None = None
    """Id of the order's line, for what is about one article."""
    burst: str | None = None


@dataclass(frozen=True)
class Burst:
    """Many customers with one cause. `key` is the SKU, lot, …; None where it has no key."""

    id: str
    kind: str
    key: str | None
    reason: str
    onset: datetime
    peak: datetime
    end: datetime


@dataclass(frozen=True)
class History:
    seed: int
    company: Company
    received: tuple[Received, ...]
    """By the time they were received."""
    issues: dict[str, Issue] = field(default_factory=dict)
    bursts: tuple[Burst, ...] = ()

    def as_bytes(self) -> bytes:
        """All of it but the company, one JSON object a line: for telling histories apart."""
        rows: list[Any] = [
            {**asdict(replace(r, arrival=None)), "arrival": r.arrival.model_dump(mode="json")}  # type: ignore[arg-type]
            for r in self.received
        ]
        rows += [asdict(i) for i in self.issues.values()] + [asdict(b) for b in self.bursts]
        lines = (json.dumps(row, sort_keys=True, default=str, ensure_ascii=False) for row in rows)
        return "\n".join(lines).encode()


def history(
    seed: int,
    *,
    weeks: int = 1,
    per_week: int = 5000,
    customers: int = 2000,
    bursts: Sequence[Sequence[str]] | None = None,
    start: datetime = START,
) -> History:
    """So many weeks of about `per_week` arrivals each, and what the bursts add.

    `bursts` gives for each week the kinds of its bursts, of `BURSTS` or `WORDS`; `()` is a quiet
    week. Without it they are drawn. Raises ValueError for an unknown kind, or fewer entries than
    weeks.
    """
    if bursts is not None and len(bursts) < weeks:
        raise ValueError(f"bursts has {len(bursts)} entries for {weeks} weeks")
    if unknown := {kind for week in bursts or () for kind in week} - {*BURSTS, WORDS}:
        raise ValueError(f"there is no burst by {', '.join(unknown)}; there are {BURSTS}")
    made = company(
        random.Random(f"{seed}:company"), customers=customers, now=start + timedelta(weeks=weeks)
    )
    teller = _Teller(random.Random(f"{seed}:traffic"), made)
    plans = random.Random(f"{seed}:bursts")
    for week in range(weeks):
        monday = start + timedelta(weeks=week)
        teller.ordinary(monday, per_week)
        kinds = bursts[week] if bursts is not None else _drawn(plans)
        for kind in kinds:
            teller.burst(kind, monday + timedelta(hours=plans.uniform(6, 140)))
    return History(
        seed=seed,
        company=made,
        received=tuple(sorted(teller.received, key=lambda r: (r.received_at, r.arrival.source_id))),
        issues=teller.issues,
        bursts=tuple(teller.bursts),
    )


def _drawn(dice: random.Random) -> tuple[str, ...]:
    if dice.random() < QUIET:
        return ()
    return tuple(dice.sample(BURSTS, 1 + dice.randrange(2)))


@dataclass
class _Thread:
    """Where and as whom somebody writes: the parts that all messages of a conversation share."""

    connection: str
    author: Author
    account: str
    conversation: str
    direct: bool


class _Teller:
    """Makes up issues and tells them; what it has told is in `received`, in no order."""

    def __init__(self, dice: random.Random, made: Company) -> None:
        self._dice = dice
        self._company = made
        self._writer = Writer(dice)
        self._by_number = {c.number: c for c in made.customers}
        self._orders: dict[str, list[Order]] = {}
        for order in made.orders:
            self._orders.setdefault(order.customer, []).append(order)
        self._numbers = itertools.count(1)
        self._told_of: set[str] = set()
        self._orderless: set[str] = set()
        self._asked: set[tuple[str, str]] = set()
        self.received: list[Received] = []
        self.issues: dict[str, Issue] = {}
        self.bursts: list[Burst] = []
        self._themes: dict[str, str] = {}

    # --- ordinary weeks ----------------------------------------------------------------------

    def ordinary(self, monday: datetime, arrivals: int) -> None:
        """A week's traffic with its rhythm over days and hours, without a burst."""
        dice = self._dice
        goal = len(self.received) + arrivals
        while len(self.received) < goal:
            day = dice.choices(range(7), _DAYS)[0]
            hour = dice.choices(range(24), _HOURS)[0]
            at = monday + timedelta(days=day, hours=hour, seconds=dice.randrange(3600))
            customer = dice.choice(self._company.customers)
            if dice.random() < 0.62:
                self._complaint(customer, at)
            else:
                self._other(customer, at)

    def _other(self, customer: Customer, at: datetime) -> None:
        kind = self._dice.choices(("question", "praise", "noise"), (4, 3, 2))[0]
        product = self._dice.choice(self._company.products)
        account = BRANDS[product.brand][0]
        thread = self._thread(customer, self._network(customer), account)
        text = self._writer.other(kind, {"item": product.name, "account": account})
        # The same words twice would be the same question.
        if (customer.number, text) not in self._asked:
            self._asked.add((customer.number, text))
            issue = self._issue(Issue(id="", kind=kind, customer=customer.number))
            self._say(thread, at, text, issue, "first")

    def _complaint(self, customer: Customer, at: datetime) -> None:
        dice = self._dice
        reason = dice.choices(REASONS, _REASON_WEIGHTS)[0]
        bought = [o for o in self._orders.get(customer.number, ()) if o.shipped_at < at]
        if reason in ABOUT_A_LINE:
            bought = [o for o in bought if o.delivered_at is not None and o.delivered_at < at]
        # Whoever has told of an order tells of it again, or of something else, below.
        bought = [o for o in bought if o.number not in self._told_of]
        if not bought and (
            reason not in ("service", "website") or customer.number in self._orderless
        ):
            return
        if not bought:
            self._orderless.add(customer.number)
        order = max(
            dice.sample(bought, min(2, len(bought))), key=lambda o: o.placed_at, default=None
        )
        line = dice.choice(order.lines) if order is not None else None
        self._tell(customer, at, reason, order, line)
        if order is None or dice.random() >= _OTHER_ISSUE:
            return
        later = at + timedelta(hours=dice.uniform(0.2, 100))
        rest = [x for x in order.lines if x != line]
        others = [o for o in bought if o != order and o.number not in self._told_of]
        if reason in ABOUT_A_LINE and rest and dice.random() < 0.5:
            self._tell(customer, later, dice.choice(sorted(ABOUT_A_LINE)), order, rest[0])
        elif others:
            other = dice.choice(others)
            again = reason if dice.random() < 0.4 else dice.choice(REASONS)
            self._tell(customer, later, again, other, dice.choice(other.lines))
        elif reason == "late":
            self._tell(customer, later, dice.choice(("damaged", "wrong_item")), order, line)

    def _tell(
        self,
        customer: Customer,
        at: datetime,
        reason: str,
        order: Order | None,
        line: OrderLine | None,
        *,
        burst: Burst | None = None,
    ) -> None:
        """Tell a new issue, and maybe again elsewhere, with what follows in the conversation."""
        dice = self._dice
        network = self._network(customer)
        german = customer.language == "de"
        joined_in = burst is not None and burst.kind in JOINED_IN
        fact = (
            ""
            if burst is not None and burst.kind == WORDS
            else self._writer.fact(reason, german=german and network != "zendesk")
        )
        if order is not None:
            self._told_of.add(order.number)
        issue = self._issue(
            Issue(
                id="",
                kind="complaint",
                customer=customer.number,
                reason=reason,
                order=order.number if order else None,
                line=line.id if line and reason in ABOUT_A_LINE else None,
                burst=burst.id if burst else None,
            )
        )
        brand = order.brand if order else dice.choice(list(BRANDS))
        account = BRANDS[brand][0 if dice.random() < 0.8 else -1]
        retold = tuple(
            dict.fromkeys(
                self._way(customer, network)
                for _ in range(dice.choices((1, 2, 3), (75, 20, 5))[0])
                if dice.random() < _RETOLD
            )
        )
        if joined_in:
            # Whoever joins in says so again; nobody opens a ticket about it.
            retold = tuple(way for way in retold if way not in ("dm", "ticket"))
        if "wrong_brand" in retold:
            account = BRANDS[dice.choice([b for b in BRANDS if b != brand])][0]
        slots = self._slots(order, line, account)
        thread = self._thread(customer, network, account)
        if burst is not None and joined_in:
            slots |= {"tag": burst.key or "", "theme": self._themes.get(burst.id, "")}
            text = self._writer.of_burst(burst.kind, reason, slots, order=False)
        else:
            text = self._write(fact, slots, thread, customer)
        if dice.random() < _COPIED * (4 if burst else 1):
            text = self._copied(reason, burst) or text
        first = self._say(thread, at, text, issue, "first", order)
        for way in retold:
            again = self._writer.reworded(fact, reason)
            self._again(way, first, thread, issue, order, line, brand, again)
        self._follow(thread, at, issue)

    def _again(
        self,
        way: str,
        first: Received,
        thread: _Thread,
        issue: Issue,
        order: Order | None,
        line: OrderLine | None,
        brand: str,
        fact: str,
    ) -> None:
        dice, told = self._dice, first.arrival.text
        customer = self._by_number[issue.customer]
        network, account = first.network, thread.account

        def later(least: float, most: float) -> datetime:
            return first.received_at + timedelta(minutes=dice.uniform(least, most))

        if way == "same_post":
            heard = replace(thread, connection="listening", conversation=f"l-{thread.conversation}")
            self._say(heard, later(1, 6), told, issue, way, url=first.arrival.url)
        elif way == "cross_post":
            others = [n for n in customer.handles if n not in (network, "whatsapp")]
            accounts = [a for a in BRANDS[brand] if a != account]
            if others and (not accounts or dice.random() < 0.7):
                network = dice.choice(others)
            else:
                account = accounts[0] if accounts else "hearth_help"
            text = told.replace(f"@{thread.account}", f"@{account}")
            self._say(self._thread(customer, network, account), later(0, 15), text, issue, way)
        elif way == "near_duplicate":
            text = self._writer.again(told)
            there = self._thread(customer, network, account)
            self._say(there, later(20, 36 * 60), text, issue, way, order)
        elif way == "wrong_brand":
            right = BRANDS[brand][0]
            text = told.replace(f"@{account}", f"@{right}")
            text = self._writer.again(text) if dice.random() < 0.5 else text
            self._say(self._thread(customer, network, right), later(10, 480), text, issue, way)
        else:
            there = self._thread(customer, "zendesk" if way == "ticket" else network, account)
            there = replace(there, direct=True)
            text = self._write(fact, self._slots(order, line, account), there, customer)
            span = (10, 48 * 60) if way == "ticket" else (5, 6 * 60)
            self._say(there, later(*span), text, issue, way, order)

    def _follow(self, thread: _Thread, at: datetime, issue: Issue) -> None:
        dice = self._dice
        if dice.random() < _FOLLOWED:
            for _ in range(1 + dice.randrange(2)):
                at += timedelta(minutes=dice.expovariate(1 / 240))
                self._say(thread, at, self._writer.follow_up(), issue, "follow_up")
        if dice.random() < _ANSWERED:
            at += timedelta(minutes=dice.lognormvariate(4, 1))
            self._say(thread, at, self._writer.answer(), issue, "answer")

    # --- bursts ------------------------------------------------------------------------------

    def burst(self, kind: str, onset: datetime) -> None:
        """Many customers with one cause: onset, growth to a peak, decay."""
        dice = self._dice
        rising = timedelta(hours=dice.uniform(1, 6))
        decay = timedelta(hours=dice.uniform(3, 14))
        key, reason, affected = self._cause(kind, onset)
        affected = [a for a in affected if a[1] is None or a[1].number not in self._told_of]
        size = min(len(affected), 40 + int(120 * dice.random() ** 1.5))
        picked = dice.sample(affected, size)
        burst = Burst(
            id=f"burst-{len(self.bursts) + 1}",
            kind=kind,
            key=key,
            reason=reason,
            onset=onset,
            peak=onset + rising,
            end=onset + rising + 3 * decay,
        )
        if kind == WORDS:
            self._themes[burst.id] = dice.choice(sorted(THEMES))
        self.bursts.append(burst)
        # Growth like t², decay like exp(-t): areas rising/3 and decay·(1 - e⁻³), drawn by inverse.
        up, down = rising / 3, decay * (1 - math.exp(-3))
        share = up / (up + down)
        for customer, order, line in picked:
            u = dice.random()
            if dice.random() < share:
                at = onset + rising * u ** (1 / 3)
            else:
                at = burst.peak - decay * math.log(1 - u * (1 - math.exp(-3)))
            self._tell(customer, at, reason, order, line, burst=burst)

    def _cause(
        self, kind: str, at: datetime
    ) -> tuple[str | None, str, list[tuple[Customer, Order | None, OrderLine | None]]]:
        dice = self._dice
        if kind in JOINED_IN:
            everybody = [(c, None, None) for c in self._company.customers]
            if kind == WORDS:
                return None, "other", list(everybody)
            if kind == "topic":
                return None, "website", list(everybody)
            product = dice.choice(self._company.products).name.split(" ")[0]
            return f"#no{product}gate", "service", list(everybody)
        sold = [
            (order, line)
            for order in self._company.orders
            if at - timedelta(days=21) < order.shipped_at < at - timedelta(days=1)
            for line in order.lines
        ]
        reason = {
            "sku": dice.choice(("defective", "damaged")),
            "lot": dice.choice(("defective", "missing_item")),
            "carrier": dice.choice(("late", "lost")),
            "warehouse": dice.choice(("wrong_item", "missing_item")),
        }[kind]

        def key_of(order: Order, line: OrderLine) -> str:
            keys = {"sku": line.sku, "lot": line.lot, "carrier": order.carrier}
            return keys.get(kind, order.warehouse)

        if reason in ABOUT_A_LINE:
            sold = [(o, x) for o, x in sold if o.delivered_at is not None and o.delivered_at < at]
        counted: dict[str, int] = {}
        for order, line in sold:
            counted[key_of(order, line)] = counted.get(key_of(order, line), 0) + 1
        # One of the keys that enough people bought.
        key = dice.choice(sorted(counted, key=lambda k: (-counted[k], k))[:5])
        theirs = {o.customer: (o, x) for o, x in sold if key_of(o, x) == key}
        return key, reason, [(self._by_number[c], o, x) for c, (o, x) in theirs.items()]

    # --- one message -------------------------------------------------------------------------

    def _issue(self, issue: Issue) -> Issue:
        named = replace(issue, id=f"issue-{len(self.issues) + 1}")
        self.issues[named.id] = named
        return named

    def _network(self, customer: Customer) -> str:
        weights = {"x": 5, "instagram": 3, "facebook": 3, "whatsapp": 2, "zendesk": 4}
        ways = [n for n in weights if n == "zendesk" or n in customer.handles]
        return self._dice.choices(ways, [weights[n] for n in ways])[0]

    def _way(self, customer: Customer, network: str) -> str:
        """How an issue may be told again that was first told there."""
        ways = {"near_duplicate": 4, "ticket": 4}
        if network in ("x", "instagram", "facebook"):
            ways |= {"same_post": 4, "cross_post": 4, "dm": 5, "wrong_brand": 3}
        if network == "zendesk":
            ways["wrong_brand"] = 2
        return self._dice.choices(list(ways), list(ways.values()))[0]

    def _thread(self, customer: Customer, network: str, account: str) -> _Thread:
        followers = customer.followers if network in ("x", "instagram") else None
        if network == "zendesk":
            author = Author(
                network=network,
                native_id=f"9{int(customer.number[2:]):09d}",
                display_name=customer.name,
                emails=(customer.email,),
            )
        else:
            handle, native = customer.handles[network]
            author = Author(
                network=network,
                native_id=native,
                handle=handle,
                display_name=customer.name,
                phones=(customer.phone,) if network == "whatsapp" else (),
                followers=followers,
            )
        return _Thread(
            connection=CONNECTIONS[network],
            author=author,
            account=account,
            conversation=f"{network}-{next(self._numbers)}",
            direct=network in ("zendesk", "whatsapp"),
        )

    def _slots(self, order: Order | None, line: OrderLine | None, account: str) -> dict[str, str]:
        product = line.name if line else self._dice.choice(self._company.products).name
        return {
            # People leave the series out as often as not.
            "item": product if self._dice.random() < 0.5 else product.rsplit(" ", 1)[0],
            "order": order.number if order else "",
            "carrier": order.carrier if order else "DHL",
            "account": account,
            "tag": "",
        }

    def _write(self, fact: str, slots: dict[str, str], thread: _Thread, customer: Customer) -> str:
        names = bool(slots["order"]) and self._dice.random() < (0.75 if thread.direct else 0.3)
        long = thread.connection == "desk"
        german = customer.language == "de"
        return self._writer.complaint(fact, slots, order=names, long=long, german=german)

    def _copied(self, reason: str, burst: Burst | None) -> str | None:
        """Somebody else's words, of the same burst or for the same reason, lately."""
        for told in itertools.islice(reversed(self.received), 300):
            issue = self.issues[told.issue]
            if told.telling != "first" or issue.reason != reason:
                continue
            if "SO-" not in told.arrival.text and (burst is None or told.burst == burst.id):
                return told.arrival.text
        return None

    def _say(
        self,
        thread: _Thread,
        at: datetime,
        text: str,
        issue: Issue,
        telling: str,
        order: Order | None = None,
        *,
        url: str | None = None,
    ) -> Received:
        number = next(self._numbers)
        at = at.replace(microsecond=0)
        ours = telling == "answer"
        author = thread.author
        if ours:
            author = Author(network=author.network, native_id="1", display_name="Service")
        public = not thread.direct
        field_filled = thread.connection == "desk" and order is not None and not ours
        lag = self._dice.uniform(60, 300) if thread.connection == "listening" else 0
        received = Received(
            received_at=at + timedelta(seconds=round(lag + self._dice.uniform(1, 8), 3)),
            connection=thread.connection,
            arrival=Arrival(
                source_id=f"{thread.connection}-{number}",
                conversation=thread.conversation,
                author=author,
                text=text,
                posted_at=at,
                url=url or (f"https://{author.network}.example/{number}" if public else None),
                brand_account=thread.account,
                direct=thread.direct,
                order_numbers=(order.number,)
                if field_filled and order and self._dice.random() < 0.25
                else (),
                outgoing=ours,
            ),
            issue=issue.id,
            telling=telling,
            burst=issue.burst,
        )
        self.received.append(received)
        return received


def weeks_of(received: Sequence[Received]) -> Iterator[tuple[datetime, list[Received]]]:
    """What was received by week, with the week's Monday."""

    def monday(one: Received) -> datetime:
        day = one.received_at.replace(hour=0, minute=0, second=0, microsecond=0)
        return day - timedelta(days=day.weekday())

    for when, group in itertools.groupby(received, key=monday):
        yield when, list(group)
