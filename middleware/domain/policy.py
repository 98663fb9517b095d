"""The policy: named rules and caps that say which remedies go through, and who must say yes.

A policy is data. `judge` holds what is known of one action against every rule and every cap; all
that match have a say, and the strictest wins: a rule can be added, never softened by another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PlainSerializer, StringConstraints, model_validator

from middleware.contract.actions import Operation, Reason
from middleware.contract.canonical import Currency, Frozen, Instant, Money, Text
from middleware.domain.identity import Basis
from middleware.domain.understanding import Confidence

GIVES_VALUE = frozenset(
    {Operation.REPLACEMENT_ORDER, Operation.RETURN, Operation.CREDIT, Operation.STORE_CREDIT}
)
"""Operations that give the customer something of worth."""

HUB = "hub"
"""Who asks for what the hub does by itself; no policy is held against it, and no cap counts it."""

ANYONE = "anyone"
"""Of a stage: whoever may approve at all, whatever their role."""

SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=3650)

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def _duration(value: Any) -> Any:
    """`30m`, `4h`, `30d`; a duration as it is."""
    if isinstance(value, timedelta):
        return value
    found = re.fullmatch(r"(\d{1,6})\s*([mhd])", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be a duration such as 30m, 4h or 30d")
    read = timedelta(**{_UNITS[found[2]]: int(found[1])})
    if not SHORTEST <= read <= LONGEST:
        raise ValueError("must be from 1m to 3650d")
    return read


def duration_text(duration: timedelta) -> str:
    """`30m`, `4h`, `30d`: the longest unit that says it exactly."""
    minutes = duration // timedelta(minutes=1)
    for size, unit in ((1440, "d"), (60, "h")):
        if minutes and minutes % size == 0:
            return f"{minutes // size}{unit}"
    return f"{minutes}m"


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration, json_schema_input_type=str),
    PlainSerializer(duration_text, return_type=str),
]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""The name of a rule, a cap or a role: small letters, digits, - and _."""
Limit = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=6)]
Limits = Mapping[Currency, Limit]
"""An amount for each currency that is listed; another currency is never converted."""


class PolicyInvalidError(Exception):
    """A policy contradicts itself; `mistakes` are pairs of a path into it and what is wrong."""

    def __init__(self, mistakes: Sequence[tuple[tuple[str | int, ...], str]]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(message for _, message in mistakes))


# --- what a rule asks for -----------------------------------------------------------------------


def _stage(value: Any) -> Any:
    if isinstance(value, str):
        value = {"role": value}
    if isinstance(value, Mapping) and value.get("role") == ANYONE:
        value = {**value, "role": None}
    return value


class _Stage(Frozen):
    role: Name | None = None
    """Who must say yes; None means anyone who may approve."""
    within: Duration | None = None
    """How long they have; None means as long as an action may wait."""
    delegates: tuple[Name, ...] = ()
    """Roles that may decide instead once the time is over, for as long again."""

    @model_validator(mode="after")
    def _delegates_a_role(self) -> Self:
        if self.delegates and self.role is None:
            raise ValueError("a stage that anyone decides has nobody to delegate to")
        if self.delegates and self.within is None:
            raise ValueError("delegates decide once `within` is over; say how long that is")
        return self


Stage = Annotated[_Stage, BeforeValidator(_stage)]
"""One approval of a chain, by somebody who has not approved an earlier one."""


def _chain(value: Any) -> Any:
    return [value] if isinstance(value, str | Mapping) else value


Chain = Annotated[tuple[Stage, ...], BeforeValidator(_chain)]


class Need(Frozen):
    """Evidence without which an action is not accepted."""

    attachment: bool = False
    """A photo or document, named with the request."""
    match_confidence: Confidence | None = None
    """How sure the hub must be that this order is meant."""
    identity_basis: tuple[Basis, ...] = ()
    """Why the hub holds that the account that wrote is this customer: one of these."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not (self.attachment or self.match_confidence is not None or self.identity_basis):
            raise ValueError("name the evidence: attachment, match_confidence or identity_basis")
        return self


def _ruling(value: Any) -> Any:
    if value == "allow":
        return {}
    if value == "refuse":
        return {"refuse": True}
    if isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - pydantic collects no other error
            "must be allow, refuse, or a block with approve, need or cool_off"
        )
    return value


class _Ruling(Frozen):
    refuse: bool = False
    because: Text | None = None
    """What whoever asked is told, in the company's own words."""
    approve: Chain = ()
    need: Need | None = None
    cool_off: Duration | None = None
    """How long an accepted action waits before anything is sent."""


Ruling = Annotated[_Ruling, BeforeValidator(_ruling)]
"""What a rule does once it matches; empty means that it allows, which softens no other rule."""


class InDoubt(StrEnum):
    """What a rule does where it cannot be told whether it matches."""

    APPROVE = "approve"
    """Somebody approves: the rule's own chain, or anyone where it has none."""
    REFUSE = "refuse"
    MATCH = "match"
    """As if it matched."""
    ALLOW = "allow"
    """As if it did not."""


# --- when a rule matches ------------------------------------------------------------------------


class Subject(Frozen):
    """Which actions are meant: all of these must hold, and of a list one. Empty means any."""

    operations: tuple[Operation, ...] = ()
    roles: tuple[Name, ...] = ()
    """Roles of whoever asks. A key without a role is meant by every list."""
    connections: tuple[Name, ...] = ()
    """The connection that the remedy itself goes to."""
    brands: tuple[Text, ...] = ()
    """The company's own account that the customer wrote to, by the network's id."""
    reasons: tuple[Reason, ...] = ()


class Condition(Subject):
    """When a rule matches."""

    networks: tuple[Text, ...] = ()
    tiers: tuple[Text, ...] = ()
    """The customer's tier in the CRM or ERP, large and small letters alike."""
    over: Limits = Field(default_factory=dict)
    """Worth more than this."""
    under: Limits = Field(default_factory=dict)
    """Worth less than this."""
    order_older_than: Duration | None = None
    order_younger_than: Duration | None = None
    stranger: bool | None = None
    """Whether the order is not linked to the person who complains."""
    unpriced: bool | None = None
    """Whether what a remedy is worth is not known."""
    rush: bool | None = None
    repeat_customer: bool | None = None
    """Whether the customer has another order with us."""
    irrevocable: bool | None = None
    """Whether the remote offers no way to take the remedy back."""


class Rule(Frozen):
    name: Name
    note: Text | None = None
    """Why the rule is there, for whoever reads the policy."""
    when: Condition = Condition()
    then: Ruling
    in_doubt: InDoubt = InDoubt.APPROVE
    """For a value in a currency that is not listed, an unknown value or an unknown order age."""


class Scope(StrEnum):
    """Over whose actions a cap counts."""

    CUSTOMER = "customer"
    AGENT = "agent"
    """Each API key that asks."""
    ROLE = "role"
    BRAND = "brand"
    DOMAIN = "domain"
    """All that the hub does."""


class Cap(Frozen):
    """How much may be done in a rolling time; what is more is refused or needs approval."""

    name: Name
    note: Text | None = None
    when: Subject = Subject()
    """Which actions count, and are held to it."""
    per: Scope
    window: Duration
    count: Annotated[int, Field(ge=0)] | None = None
    amount: Limits = Field(default_factory=dict)
    then: Ruling = _Ruling(refuse=True)
    in_doubt: InDoubt = InDoubt.APPROVE
    """For an amount in a currency that is not listed, or a customer who is not known."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.count is None and not self.amount:
            raise ValueError("a cap needs a count, an amount, or both")
        if not (self.then.refuse or self.then.approve):
            raise ValueError("a cap that is exceeded either refuses or asks for approval")
        return self


class Policy(Frozen):
    """All rules and caps that are in force together; their order means nothing."""

    roles: tuple[Name, ...] = ()
    """Every role that the policy names, the most junior first; chains climb in this order."""
    rules: tuple[Rule, ...] = ()
    caps: tuple[Cap, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if mistakes := [*_names(self), *_roles(self)]:
            raise PolicyInvalidError(mistakes)
        return self


_Path = tuple[str | int, ...]


def _parts(policy: Policy) -> Iterable[tuple[_Path, Rule | Cap]]:
    for index, rule in enumerate(policy.rules):
        yield ("rules", index), rule
    for index, cap in enumerate(policy.caps):
        yield ("caps", index), cap


def _names(policy: Policy) -> Iterable[tuple[_Path, str]]:
    seen: set[str] = set()
    for path, part in _parts(policy):
        if part.name in seen:
            yield (*path, "name"), f"there is another {part.name!r}; names tell rules apart"
        seen.add(part.name)
    if len(set(policy.roles)) < len(policy.roles):
        yield ("roles",), "a role is listed twice"
    if ANYONE in policy.roles:
        yield ("roles",), f"{ANYONE!r} is no role: it means whoever may approve"


def _roles(policy: Policy) -> Iterable[tuple[_Path, str]]:
    """Roles that are not listed, which no key may ever have, and chains that climb down."""
    known = ", ".join(policy.roles) or "none"
    for path, part in _parts(policy):
        for index, role in enumerate(part.when.roles):
            if role not in policy.roles:
                yield (*path, "when", "roles", index), _unlisted(role, known)
        reached = -1
        for index, stage in enumerate(part.then.approve):
            here = (*path, "then", "approve", index)
            for named in (stage.role, *stage.delegates):
                if named is not None and named not in policy.roles:
                    yield here, _unlisted(named, known)
            rank = policy.roles.index(stage.role) if stage.role in policy.roles else -1
            if rank < reached:
                yield here, f"{stage.role or ANYONE} comes before in `roles`: a chain climbs"
            reached = max(rank, reached)


def _unlisted(role: str, known: str) -> str:
    return f"the role {role!r} is not in `roles` (there: {known})"


def built_in(
    *,
    approval_over: Mapping[str, Decimal] | None = None,
    approval_of_unpriced: bool = False,
    approval_of_strangers: bool = True,
) -> Policy:
    """The policy of a hub without a policy file, made of three settings of `amends.toml`."""
    remedies = tuple(sorted(GIVES_VALUE))
    somebody = _Ruling(approve=(_Stage(),))
    rules = []
    if approval_of_strangers:
        when = Condition(operations=remedies, stranger=True)
        rules.append(Rule(name="approval_of_strangers", when=when, then=somebody))
    if approval_of_unpriced:
        when = Condition(operations=remedies, unpriced=True)
        rules.append(Rule(name="approval_of_unpriced", when=when, then=somebody))
    if approval_over:
        when = Condition(operations=remedies, over=approval_over)
        rules.append(Rule(name="approval_over", when=when, then=somebody, in_doubt=InDoubt.ALLOW))
    return Policy(rules=tuple(rules))


# --- what is held against it --------------------------------------------------------------------


class Use(Frozen):
    """What was done already within a cap's window: actions, and what they were worth."""

    cap: Name
    count: Annotated[int, Field(ge=0)] = 0
    sums: Mapping[Currency, Decimal] = Field(default_factory=dict)


class Facts(Frozen):
    """What is known of one action: ids and figures, nobody's name. None is what is not known."""

    operation: Operation
    role: str | None = None
    principal: str = ""
    connection: str = ""
    brand: str | None = None
    network: str | None = None
    tier: str | None = None
    reason: Reason | None = None
    value: Money | None = None
    has_order: bool = False
    order_age: timedelta | None = None
    owner_known: bool = True
    rush: bool = False
    repeat_customer: bool = False
    irrevocable: bool = False
    attachments: Annotated[int, Field(ge=0)] = 0
    match_confidence: Confidence | None = None
    identity_basis: Basis | None = None
    customer: str | None = None
    """The hub's person, or the record that the order belongs to."""
    customer_also: tuple[str, ...] = ()
    """What else the same customer's actions may be kept under."""
    past: tuple[Use, ...] = ()
    at: Instant


class Outcome(StrEnum):
    """What becomes of the request, the mildest first."""

    ALLOW = "allow"
    APPROVE = "approve"
    EVIDENCE = "evidence"
    """It lacks evidence; with it, it is judged again."""
    REFUSE = "refuse"


class Missing(StrEnum):
    ATTACHMENT = "attachment"
    MATCH_CONFIDENCE = "match_confidence"
    IDENTITY_BASIS = "identity_basis"


class Ask(StrEnum):
    """What one rule asked for."""

    ALLOW = "allow"
    COOL_OFF = "cool_off"
    APPROVE = "approve"
    EVIDENCE = "evidence"
    REFUSE = "refuse"


class Say(Frozen):
    """What one rule or cap had to say: its name, what it asks for, and the figures it went by."""

    rule: Name
    asks: tuple[Ask, ...]
    why: Text
    because: Text | None = None

    def __str__(self) -> str:
        return f"{self.rule}: {self.because or self.why}"


class Verdict(Frozen):
    """What a policy says to an action, and every rule that had a say, by name."""

    outcome: Outcome = Outcome.ALLOW
    stages: tuple[_Stage, ...] = ()
    missing: tuple[Missing, ...] = ()
    cool_off: Duration | None = None
    says: tuple[Say, ...] = ()

    def asking(self, ask: Ask) -> tuple[Say, ...]:
        """Those who asked for this."""
        return tuple(say for say in self.says if ask in say.asks)


# --- judging ------------------------------------------------------------------------------------


class _Match(StrEnum):
    YES = "yes"
    NO = "no"
    DOUBT = "doubt"


def caps_for(policy: Policy, facts: Facts) -> tuple[Cap, ...]:
    """The caps that an action counts towards and is held to."""
    return tuple(cap for cap in policy.caps if _is_meant(cap.when, facts))


def judge(policy: Policy, facts: Facts) -> Verdict:
    """Hold an action against every rule and cap; the strictest wins.

    `facts.past` has the use of each of `caps_for(policy, facts)` whose customer is known; raises
    ValueError where one is missing.
    """
    heard: list[tuple[_Ruling, Say]] = []
    for rule in policy.rules:
        match, whys = _matches(rule.when, facts)
        heard += _heard(rule, match, whys, facts)
    used = {use.cap: use for use in facts.past}
    for cap in caps_for(policy, facts):
        match, whys = _exceeds(cap, facts, used.get(cap.name))
        heard += _heard(cap, match, whys, facts)
    return _strictest(policy, heard, facts)


def _heard(
    part: Rule | Cap, match: _Match, whys: Sequence[str], facts: Facts
) -> Iterable[tuple[_Ruling, Say]]:
    """What a rule asks for, and how that is told; nothing where it has no say."""
    ruling = part.then
    if match is _Match.DOUBT:
        match part.in_doubt:
            case InDoubt.ALLOW:
                return
            case InDoubt.APPROVE:
                ruling = _Ruling(approve=part.then.approve or (_Stage(),))
            case InDoubt.REFUSE:
                ruling = _Ruling(refuse=True, because=part.then.because)
    elif match is _Match.NO:
        return
    lacking = _lacking(ruling.need, facts)
    asks = [
        ask
        for ask, asked in (
            (Ask.REFUSE, ruling.refuse),
            (Ask.EVIDENCE, bool(lacking)),
            (Ask.APPROVE, bool(ruling.approve)),
            (Ask.COOL_OFF, ruling.cool_off is not None),
        )
        if asked
    ]
    why = [*whys, *(_told_missing(missing, ruling.need, facts) for missing in lacking)]
    yield (
        ruling,
        Say(
            rule=part.name,
            asks=tuple(asks) or (Ask.ALLOW,),
            why="; ".join(why) or "it holds for every such action",
            because=ruling.because,
        ),
    )


def _strictest(policy: Policy, heard: Sequence[tuple[_Ruling, Say]], facts: Facts) -> Verdict:
    rulings = [ruling for ruling, _ in heard]
    missing = sorted({m for ruling in rulings for m in _lacking(ruling.need, facts)})
    stages = _joined(policy.roles, [ruling.approve for ruling in rulings if ruling.approve])
    if any(ruling.refuse for ruling in rulings):
        outcome = Outcome.REFUSE
    elif missing:
        outcome = Outcome.EVIDENCE
    else:
        outcome = Outcome.APPROVE if stages else Outcome.ALLOW
    return Verdict(
        outcome=outcome,
        stages=stages,
        missing=tuple(missing),
        cool_off=max((r.cool_off for r in rulings if r.cool_off is not None), default=None),
        says=tuple(sorted((say for _, say in heard), key=lambda say: say.rule)),
    )


def _joined(roles: Sequence[str], chains: Sequence[tuple[_Stage, ...]]) -> tuple[_Stage, ...]:
    """One chain that holds every one of these: as many of each role as any asks for, junior first.

    Whoever anyone may be is also met by a role that is asked for anyway. The shortest time counts,
    and only delegates that every chain allows.
    """
    named: dict[tuple[int, int], _Stage] = {}
    for chain in chains:
        met: dict[str, int] = {}
        for stage in chain:
            if stage.role is None:
                continue
            met[stage.role] = met.get(stage.role, 0) + 1
            place = (roles.index(stage.role), met[stage.role])
            named[place] = _stricter(named[place], stage) if place in named else stage
    longest = max((len(chain) for chain in chains), default=0)
    joined = [_Stage()] * (longest - len(named)) + [named[place] for place in sorted(named)]
    anyone = [s.within for chain in chains for s in chain if s.role is None and s.within]
    if anyone:
        joined = [
            stage.model_copy(update={"within": min([*anyone, *filter(None, [stage.within])])})
            for stage in joined
        ]
    return tuple(joined)


def _stricter(one: _Stage, other: _Stage) -> _Stage:
    within = min((s.within for s in (one, other) if s.within is not None), default=None)
    return _Stage(
        role=one.role,
        within=within,
        delegates=tuple(sorted(set(one.delegates) & set(other.delegates))),
    )


def _is_meant(subject: Subject, facts: Facts) -> bool:
    return all(
        not listed or fact in listed
        for listed, fact in (
            (subject.operations, facts.operation),
            (subject.roles if facts.role is not None else (), facts.role),
            (subject.connections, facts.connection),
            (subject.brands, facts.brand),
            (subject.reasons, facts.reason),
        )
    )


def _matches(when: Condition, facts: Facts) -> tuple[_Match, list[str]]:
    """Whether a condition holds, and by which figures. One part that surely fails settles it."""
    tiers = {tier.casefold() for tier in when.tiers}
    if not _is_meant(when, facts) or (when.networks and facts.network not in when.networks):
        return _Match.NO, []
    if tiers and (facts.tier is None or facts.tier.casefold() not in tiers):
        return _Match.NO, []
    parts = [*_flags(when, facts), *_worths(when, facts), *_ages(when, facts)]
    if any(match is _Match.NO for match, _ in parts):
        return _Match.NO, []
    whys = [why for _, why in parts]
    whys += [f"its tier is {facts.tier}"] if tiers else []
    doubt = any(match is _Match.DOUBT for match, _ in parts)
    return (_Match.DOUBT if doubt else _Match.YES), whys


def _flags(when: Condition, facts: Facts) -> Iterable[tuple[_Match, str]]:
    unpriced = facts.value is None and facts.operation in GIVES_VALUE
    for wanted, fact, yes, no in (
        (
            when.stranger,
            not facts.owner_known,
            "the order is not linked to the person who complains",
            "the order is linked to the person who complains",
        ),
        (when.unpriced, unpriced, "what this is worth is not known", "its worth is known"),
        (when.rush, facts.rush, "it is a rush", "it is no rush"),
        (when.repeat_customer, facts.repeat_customer, "a repeat customer", "a first order"),
        (when.irrevocable, facts.irrevocable, "it can't be taken back", "it can be taken back"),
    ):
        if wanted is not None:
            yield (_Match.YES if wanted == fact else _Match.NO), yes if fact else no


def _worths(when: Condition, facts: Facts) -> Iterable[tuple[_Match, str]]:
    for limits, word in ((when.over, "over"), (when.under, "under")):
        if not limits:
            continue
        if facts.value is None:
            unknown = facts.operation in GIVES_VALUE
            yield (_Match.DOUBT if unknown else _Match.NO), "what this is worth is not known"
            continue
        limit = limits.get(facts.value.currency)
        if limit is None:
            yield _Match.DOUBT, f"worth {facts.value}, and no limit in {facts.value.currency}"
            continue
        amount = facts.value.amount
        beyond = amount > limit if word == "over" else amount < limit
        yield (
            _Match.YES if beyond else _Match.NO,
            f"worth {facts.value}, {word} the limit of {limit} {facts.value.currency}",
        )


def _ages(when: Condition, facts: Facts) -> Iterable[tuple[_Match, str]]:
    for limit, word in ((when.order_older_than, "older"), (when.order_younger_than, "younger")):
        if limit is None:
            continue
        if facts.order_age is None:
            yield (_Match.DOUBT if facts.has_order else _Match.NO), "the order's age is not known"
            continue
        age = facts.order_age
        beyond = age > limit if word == "older" else age < limit
        yield (
            _Match.YES if beyond else _Match.NO,
            f"the order is {age.days} days old, {word} than {duration_text(limit)}",
        )


def _exceeds(cap: Cap, facts: Facts, use: Use | None) -> tuple[_Match, list[str]]:
    """Whether an action goes beyond a cap, itself counted in."""
    if cap.per is Scope.CUSTOMER and facts.customer is None:
        return _Match.DOUBT, ["whose it is is not known"]
    if use is None:
        raise ValueError(f"the use of the cap {cap.name} was not handed in")
    whys = []
    doubts = []
    window = f"for this {cap.per}" if cap.per is not Scope.DOMAIN else "in all"
    window += f" within {duration_text(cap.window)}"
    if cap.count is not None and use.count + 1 > cap.count:
        whys.append(f"{use.count} such actions {window}, and at most {cap.count} are allowed")
    if cap.amount and facts.value is not None:
        currency = facts.value.currency
        limit = cap.amount.get(currency)
        sum_ = use.sums.get(currency, Decimal(0))
        if limit is None:
            doubts.append(f"worth {facts.value}, and no limit in {currency}")
        elif sum_ + facts.value.amount > limit:
            whys.append(
                f"{_figure(sum_)} {currency} {window}, and {facts.value} more is over the limit of"
                f" {limit} {currency}"
            )
    elif cap.amount and facts.operation in GIVES_VALUE:
        doubts.append("what this is worth is not known")
    if whys:
        return _Match.YES, whys
    return (_Match.DOUBT if doubts else _Match.NO), doubts


def _figure(amount: Decimal) -> str:
    """An amount with the cents that it has, however it was added up."""
    exact = amount.normalize()
    exponent = exact.as_tuple().exponent
    return f"{exact:.2f}" if isinstance(exponent, int) and exponent >= -2 else f"{exact:f}"


def _lacking(need: Need | None, facts: Facts) -> tuple[Missing, ...]:
    if need is None:
        return ()
    lacking = []
    if need.attachment and not facts.attachments:
        lacking.append(Missing.ATTACHMENT)
    wanted = need.match_confidence
    if wanted is not None and (facts.match_confidence is None or facts.match_confidence < wanted):
        lacking.append(Missing.MATCH_CONFIDENCE)
    if need.identity_basis and facts.identity_basis not in need.identity_basis:
        lacking.append(Missing.IDENTITY_BASIS)
    return tuple(lacking)


def _told_missing(missing: Missing, need: Need | None, facts: Facts) -> str:
    assert need is not None
    match missing:
        case Missing.ATTACHMENT:
            return "no photo or document is named under `evidence`"
        case Missing.MATCH_CONFIDENCE:
            known = facts.match_confidence
            have = "is not known" if known is None else f"has confidence {known:g}"
            return f"that this order is meant {have}, and {need.match_confidence:g} is needed"
        case Missing.IDENTITY_BASIS:
            wanted = " or ".join(need.identity_basis)
            have = facts.identity_basis or "unknown"
            return f"who wrote is known by {wanted} at least, and here it is {have}"


def counts(state: str, *, undone: bool) -> bool:
    """Whether an action in this state is something done, or about to be, that caps count."""
    return state not in GIVEN_BACK and not undone


GIVEN_BACK = ("rejected", "refused", "expired", "cancelled")
"""States of actions that changed nothing: caps forget them."""


def age_of(placed_at: datetime | None, at: datetime) -> timedelta | None:
    """How old an order is, to the day: a figure to judge by and to show."""
    return None if placed_at is None else max(at - placed_at, timedelta(0))
