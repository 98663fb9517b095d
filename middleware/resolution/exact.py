"""Exact identifiers, and likeness beside them: what each is worth, and when it is enough.

Weights are bits of evidence. They are set by hand, guided by what was measured on real handles
(a known handle of seven or more letters was the same person in 98 % of single hits, of four or
fewer in 83 %; an equal display name in 92 %, in 76 % where most askers are strangers) and by who
could have made the agreement: the network, the helpdesk, or anybody who can type. They are net
weights: that anybody else bears the identifier is in them. What likeness is worth comes from the
model; a candidate for whom nothing exact speaks carries the prior as a reason of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import chain, product
from typing import Annotated

from pydantic import Field

from middleware.contract.canonical import Frozen, Handle, Kind, Ref
from middleware.domain.arrivals import Author
from middleware.domain.identity import (
    Basis,
    Candidate,
    Decision,
    Evidence,
    EvidenceKind,
    Outcome,
)
from middleware.domain.orders import digits_key, number_key
from middleware.domain.understanding import Entity, EntityType
from middleware.resolution import normalise, postal
from middleware.resolution.compare import pattern
from middleware.resolution.likely import Likely, Resembling, reasons, supporting
from middleware.resolution.model import Model, posteriors, shipped


class Before(Frozen):
    """What another account, which is linked to somebody, wrote before with."""

    scheme: str
    """email or phone."""
    value: str
    """In its normal form."""
    network: str
    inferred: bool = False
    """Whether only likeness says whose account it is."""
    at: datetime
    """When it last wrote."""


class Known(Frozen):
    """Somebody on file: a record of a CRM or ERP, or a person of the hub, or both."""

    person_id: str | None = None
    ref: Ref | None = None
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    country: str | None = None
    """Where their national numbers are read."""
    handles: tuple[Handle, ...] = ()
    external_ids: dict[str, str] = Field(default_factory=dict)
    name: str | None = None
    account: Ref | None = None
    """The account that this contact belongs to, where the record says so."""
    as_of: datetime | None = None
    """When the record was last read from its source."""
    postcodes: tuple[str, ...] = ()
    """Of their address, and of what was delivered to them, as far as that was looked up."""
    before: tuple[Before, ...] = ()
    """What nobody on file bears, and accounts of theirs wrote with."""
    order_numbers: tuple[str, ...] = ()
    """Those of the mentioned order numbers that are orders of this record or person."""


class Weight(Frozen):
    """What an agreement is worth, and what it gives the hub the right to."""

    bits: float
    basis: Basis


POSTCODE_BITS = 6.0
LONG_POSTCODE_BITS = 10.0
"""A code of letters and digits, as in Britain, Canada or the Netherlands, is a street's; one of
digits alone is a town's, and many customers of a local business have it."""

WEIGHTS: Mapping[EvidenceKind, Weight] = {
    EvidenceKind.AGENT: Weight(bits=30, basis=Basis.AGENT),
    EvidenceKind.NATIVE_ID: Weight(bits=24, basis=Basis.CRM_RECORD),
    EvidenceKind.EXTERNAL_ID: Weight(bits=22, basis=Basis.CRM_RECORD),
    EvidenceKind.EMAIL: Weight(bits=20, basis=Basis.CUSTOMER_PROVIDED),
    EvidenceKind.PHONE: Weight(bits=18, basis=Basis.CUSTOMER_PROVIDED),
    EvidenceKind.WROTE_BEFORE: Weight(bits=18, basis=Basis.CUSTOMER_PROVIDED),
    EvidenceKind.EMAIL_ALIAS: Weight(bits=13, basis=Basis.CUSTOMER_PROVIDED),
    EvidenceKind.EMAIL_MENTIONED: Weight(bits=12, basis=Basis.CUSTOMER_PROVIDED),
    EvidenceKind.ORDER_NUMBER: Weight(bits=12, basis=Basis.CUSTOMER_PROVIDED),
    EvidenceKind.PHONE_MENTIONED: Weight(bits=11, basis=Basis.CUSTOMER_PROVIDED),
    EvidenceKind.HANDLE: Weight(bits=10, basis=Basis.CRM_RECORD),
    # It leads to nobody, and is not net as the others are: it counts beside what does.
    EvidenceKind.POSTCODE_MENTIONED: Weight(bits=POSTCODE_BITS, basis=Basis.CUSTOMER_PROVIDED),
    # An equal name that nobody counted how many have; the index says more, by the model.
    EvidenceKind.NAME: Weight(bits=4, basis=Basis.INFERRED),
    EvidenceKind.SHARED: Weight(bits=-6, basis=Basis.INFERRED),
    EvidenceKind.ORDER_OF_SOMEBODY_ELSE: Weight(bits=-1, basis=Basis.INFERRED),
    EvidenceKind.HANDLE_CHANGED_OWNER: Weight(bits=-14, basis=Basis.CRM_RECORD),
    EvidenceKind.CANNOT_LINK: Weight(bits=-64, basis=Basis.AGENT),
}

HANDLE_BITS_BY_LENGTH = ((7, 10.0), (5, 7.5), (0, 5.5))
"""At least so many letters, so many bits: a short handle is more often somebody else's."""

VOUCHING_NETWORKS = frozenset(("whatsapp", "sms"))
VOUCHED_PHONE_BITS = 20.0
"""On these networks the number is the account; in a helpdesk's field somebody typed it."""

UNSURE_PHONE_BITS = 11.0
"""A number without its country that may be several: as much as one that the text names."""

ORDER_DIGITS_BITS = 8.0
"""The letters of the order number were left out; other systems may have the same digits."""

CONCLUSIVE = frozenset(
    (
        EvidenceKind.AGENT,
        EvidenceKind.NATIVE_ID,
        EvidenceKind.EXTERNAL_ID,
        EvidenceKind.EMAIL,
        EvidenceKind.PHONE,
        EvidenceKind.WROTE_BEFORE,
    )
)
"""One of these is enough where nothing speaks against it: the source vouches for the author."""

UNSHAREABLE = frozenset((EvidenceKind.AGENT, EvidenceKind.NATIVE_ID, EvidenceKind.EXTERNAL_ID))
"""What decides between two persons who share an address: nobody else can bear it."""

OF_THE_AUTHOR = frozenset((EvidenceKind.HANDLE, EvidenceKind.EMAIL_ALIAS))
OF_THE_TEXT = frozenset(
    (
        EvidenceKind.EMAIL_MENTIONED,
        EvidenceKind.PHONE_MENTIONED,
        EvidenceKind.ORDER_NUMBER,
        EvidenceKind.POSTCODE_MENTIONED,
    )
)
"""Anybody can type these, also about somebody else; they count beside one of the author's own."""

TIMELESS = frozenset(
    (
        EvidenceKind.AGENT,
        EvidenceKind.CANNOT_LINK,
        EvidenceKind.ORDER_OF_SOMEBODY_ELSE,
        EvidenceKind.PRIOR,
        EvidenceKind.SHARED,
        EvidenceKind.WROTE_BEFORE,
    )
)
"""What no reading of the candidate's records says."""

NAMING = frozenset((EvidenceKind.NAME, EvidenceKind.PROFILE_LINK))
"""Likeness links on one of these, whatever the handle looks like."""

CONTRADICTIONS = frozenset((EvidenceKind.HANDLE_CHANGED_OWNER,))


class AutoRules(Frozen):
    """When a link may be made without a person looking."""

    enabled: bool = True
    link_from: float = 16.0
    """Bits that the best candidate needs."""
    margin: float = 6.0
    """Bits that it must be ahead of the next."""
    review_from: float = 5.0
    """Below this, nobody is asked either."""
    inferred: bool = False
    """Whether likeness alone may link; set it only for networks whose rules allow it."""
    inferred_networks: frozenset[str] = frozenset()
    """The networks where it may."""
    strangers: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """The share of those who write who are nowhere on file: a link by likeness reckons with it."""
    likeness: str = Field(default_factory=lambda: shipped().version)
    """The version of the model of likeness that they go with."""
    blocked: str = ""
    """The digest of the values that are nobody's."""

    def on(self, network: str) -> AutoRules:
        """The rules for somebody on this network."""
        allowed = {normalise.network(name) for name in self.inferred_networks}
        if self.inferred or normalise.network(network) not in allowed:
            return self
        return self.model_copy(update={"inferred": True})

    @property
    def version(self) -> str:
        """What decisions are made under: the weights and these thresholds, as two digests."""
        return _version_of(self)


@lru_cache(maxsize=64)
def _version_of(rules: AutoRules) -> str:
    body = rules.model_dump(mode="json")
    return f"{MODEL}/{_digest(body | {'inferred_networks': sorted(rules.inferred_networks)})}"


def _digest(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:8]


def weights() -> dict[str, float]:
    """The bits of every kind of evidence: what the model is made of."""
    return (
        {kind.value: weight.bits for kind, weight in WEIGHTS.items()}
        | {f"handle of {letters} letters": bits for letters, bits in HANDLE_BITS_BY_LENGTH}
        | {"vouched phone": VOUCHED_PHONE_BITS, "unsure phone": UNSURE_PHONE_BITS}
        | {"order digits": ORDER_DIGITS_BITS}
        | {"long postcode": LONG_POSTCODE_BITS}
    )


MODEL = f"exact-{_digest(weights())}"


def score(
    author: Author,
    mentioned: Sequence[Entity],
    known: Sequence[Known],
    *,
    said_by_agent: Collection[str] = (),
    apart: Collection[frozenset[str]] = (),
    author_is: str | None = None,
    regions: Sequence[str] = (),
    likely: Likely | None = None,
    model: Model | None = None,
    handle_had_other_owner: bool = False,
    written_at: datetime | None = None,
) -> list[Candidate]:
    """Who it may be, likeliest first, each with the evidence that adds up to the score.

    `known` is what a look-up by any of the author's or the text's identifiers found, and the
    records that `likely` is about, which `model` (by default the shipped one) scored.
    `handle_had_other_owner` says that another account bore the author's handle before; `written_at`
    is when the author wrote what they mentioned.
    `said_by_agent` names persons (`person_id`) or records (`str(ref)`) that an agent confirmed;
    `apart` pairs of these that somebody said are not one: they are never one candidate, and a
    candidate that is apart from the author (`author_is`: the identity's id) says so.
    `regions` are where national phone numbers are read (ISO 3166-1 alpha-2). Records of several
    systems that are clearly one person are one candidate; those that merely share an address or a
    number are several, and say so.
    """
    asker = _Asker(author, mentioned, regions, handle_had_other_owner)
    groups = _groups(known, regions, apart)
    not_them = {label for pair in apart if author_is in pair for label in pair - {author_is}}
    model = model or shipped()
    by_ref = likely.by_ref if likely else {}
    found: list[tuple[_Group, list[Evidence]]] = []
    inferred: dict[int, str] = {}
    for group in groups:
        evidence = [*_evidence(asker, group, said_by_agent)]
        alike = [one for ref in group.refs if (one := by_ref.get(ref)) is not None]
        if alike and likely is not None:
            best = max(alike, key=lambda one: one.score)
            evidence, only = _with_likeness(evidence, best, model, likely.population)
            if only:
                inferred[len(found)] = pattern(best.agreements)
        if evidence:
            found.append((group, [*evidence, *_postcode(asker, group)]))
    _mark_shared(found)
    _mark_orders_of_others(found, asker)
    for group, evidence in found if not_them else ():
        if group.labels & not_them:
            evidence.append(_worth(EvidenceKind.CANNOT_LINK, "somebody said that it is not them"))
    scores = [sum(e.weight for e in evidence) for _, evidence in found]
    probable = posteriors((*scores, *(likely.rest if likely else ())))
    candidates = [
        Candidate(
            person_id=group.person_id,
            refs=group.refs,
            score=scores[place],
            evidence=tuple(
                sorted(_dated(evidence, group, written_at), key=lambda e: (-e.weight, e.kind))
            ),
            probability=(
                model.calibrated(probable[place], inferred[place]) if place in inferred else None
            ),
        )
        for place, (group, evidence) in enumerate(found)
    ]
    return sorted(candidates, key=lambda c: (-c.score, c.person_id or "", [*map(str, c.refs)]))


def _dated(
    evidence: Iterable[Evidence], group: _Group, written_at: datetime | None
) -> Iterator[Evidence]:
    """The evidence with its moments. Of several records the one read first says since when it may
    have changed."""
    read_at = min((m.as_of for m in group.members if m.as_of is not None), default=None)
    for item in evidence:
        at = None if item.kind in TIMELESS else read_at
        if item.kind in OF_THE_TEXT:
            at = written_at
        yield item if at is None else item.model_copy(update={"at": at})


def _with_likeness(
    exact: list[Evidence], alike: Resembling, model: Model, population: int
) -> tuple[list[Evidence], bool]:
    """All the evidence for a candidate, and whether only likeness speaks for it."""
    said = reasons(alike, model, population)
    exact = [e for e in exact if e.kind is not EvidenceKind.NAME]
    if any(e.weight > 0 for e in exact):
        return [*exact, *supporting(said)], False
    return [*exact, *said], True


def decide(
    candidates: Sequence[Candidate],
    *,
    auto: AutoRules,
    network: str | None = None,
    model: Model | None = None,
) -> Decision:
    """Link, ask a person, or neither. Doubt is an answer: review.

    `network` is the author's, which may allow what others don't; `model` (by default the shipped
    one) has the thresholds of candidates for whom only likeness speaks. A candidate whom somebody
    said it is not is never chosen, whatever speaks for them.
    """
    version, auto = auto.version, auto.on(network) if network is not None else auto
    ranked = sorted((c for c in candidates if not c.barred), key=lambda c: -c.score)
    if not ranked:
        why = (
            "somebody said that it is not whom the evidence names"
            if candidates
            else "nobody on file bears any of these identifiers"
        )
        return Decision(outcome=Outcome.NONE, why=why, version=version)
    best = ranked[0]
    margin = best.score - ranked[1].score if len(ranked) > 1 else None

    def answer(outcome: Outcome, why: str) -> Decision:
        return Decision(outcome=outcome, candidate=best, margin=margin, why=why, version=version)

    if best.probability is not None:
        return answer(*_of_likeness(best, best.probability, margin, auto, model or shipped()))
    if best.score < auto.review_from:
        if any(e.kind in CONTRADICTIONS for e in best.evidence):
            return answer(Outcome.NONE, "the handle has changed its owner; nothing else agrees")
        return answer(Outcome.NONE, f"{_bits(best.score)} are too little to ask anybody")
    kinds = {e.kind for e in best.evidence if e.weight > 0}
    doubt = _doubt(best, kinds, margin, auto)
    if doubt:
        return answer(Outcome.REVIEW, doubt)
    return answer(Outcome.LINK, f"{best.strongest.detail}; {_bits(best.score)}")


def contradicting(
    candidates: Sequence[Candidate], theirs: Candidate | None, *, auto: AutoRules
) -> Candidate | None:
    """Who else the author would be linked to, had nobody linked them to somebody before.

    Only what the source vouches for can say that, such as their e-mail address: not what anybody
    can type, nor a likeness, nor what the one whom they are linked to (`theirs`) bears, too. Nor
    that an account of somebody else's wrote with it, which is on file nowhere.
    """
    borne = _conclusive(theirs) if theirs is not None else set()
    borne.add(EvidenceKind.WROTE_BEFORE)
    others = (
        one
        for one in candidates
        if one is not theirs
        and not one.barred
        and one.score >= auto.link_from
        and _conclusive(one) - borne
    )
    return max(others, key=lambda one: one.score, default=None)


def _conclusive(candidate: Candidate) -> set[EvidenceKind]:
    return {e.kind for e in candidate.evidence if e.weight > 0 and e.kind in CONCLUSIVE}


def _of_likeness(
    best: Candidate,
    probability: float,
    margin: float | None,
    auto: AutoRules,
    model: Model,
) -> tuple[Outcome, str]:
    """What to do, and why, where nothing exact speaks for the best candidate."""
    limits = model.thresholds
    sure = f"{probability:.1%} sure"
    kinds = {e.kind for e in best.evidence if e.weight > 0}
    if probability < limits.review:
        return Outcome.NONE, f"looks like somebody on file, but only {sure}"
    if any(e.kind in CONTRADICTIONS for e in best.evidence):
        return Outcome.REVIEW, "the handle has changed its owner since it was put on file"
    if not auto.enabled:
        return Outcome.REVIEW, "links are not made without a person here"
    if not auto.inferred:
        return Outcome.REVIEW, f"only likeness speaks for it; {sure}"
    if not NAMING & kinds:
        return Outcome.REVIEW, "a handle alone says who it is to nobody"
    if margin is not None and margin < limits.margin:
        return Outcome.REVIEW, f"the next candidate is only {_bits(margin)} behind"
    there = model.among(probability, auto.strangers)
    if there < limits.link:
        where = f" where {auto.strangers:.0%} are strangers"
        return (
            Outcome.REVIEW,
            f"{there:.1%} sure{where} is less than the {limits.link:.0%} that a link needs",
        )
    return Outcome.LINK, f"{best.strongest.detail}; {sure}"


def _doubt(
    best: Candidate, kinds: Collection[EvidenceKind], margin: float | None, auto: AutoRules
) -> str:
    """Why a person should look, or an empty text."""
    if not auto.enabled:
        return "links are not made without a person here"
    if any(e.kind in CONTRADICTIONS for e in best.evidence):
        return "the handle has changed its owner since it was put on file"
    if any(e.kind is EvidenceKind.SHARED for e in best.evidence) and not UNSHAREABLE & set(kinds):
        return "several persons share what agrees"
    if margin is not None and margin < auto.margin:
        return f"the next candidate is only {_bits(margin)} behind"
    if best.score < auto.link_from:
        return f"{_bits(best.score)} are less than the {auto.link_from:g} that a link needs"
    if best.basis is Basis.INFERRED and not auto.inferred:
        return "only likeness speaks for it"
    conclusive = bool(CONCLUSIVE & set(kinds))
    supported = bool(OF_THE_AUTHOR & set(kinds)) and bool(OF_THE_TEXT & set(kinds))
    if not conclusive and not supported and not auto.inferred:
        return "nothing that the source vouches for agrees"
    return ""


def _bits(score_: float) -> str:
    return f"{score_:.3g} bits"


class _Asker:
    """The author's and the text's identifiers in their normal forms."""

    def __init__(
        self,
        author: Author,
        mentioned: Sequence[Entity],
        regions: Sequence[str],
        handle_had_other_owner: bool = False,
    ) -> None:
        self.handle_had_other_owner = handle_had_other_owner
        self.network = normalise.network(author.network)
        self.native_id = (author.native_id or "").strip() or None
        self.handle = normalise.handle(author.handle) if author.handle else None
        self._shown = author.display_name
        self.emails = _keys(author.emails, normalise.email)
        self.phones = _phone_keys(author.phones, regions)
        self.external_ids = _ids(author.external_ids)
        self.mentioned_emails = _keys(_of(mentioned, EntityType.EMAIL), normalise.email)
        self.mentioned_phones = _phone_keys(_of(mentioned, EntityType.PHONE), regions)
        self.postcodes = _keys(_of(mentioned, EntityType.POSTCODE), postal.postcode)
        self.orders = {number_key(n): n for n in _of(mentioned, EntityType.ORDER_NUMBER)}
        if self.network == "email" and self.native_id:
            self.emails |= _keys((self.native_id,), normalise.email)
        if self.network == "whatsapp" and self.native_id:
            self.phones |= _phone_keys(("+" + self.native_id.removeprefix("+"),), ())

    @cached_property
    def name(self) -> str | None:
        return normalise.name(self._shown) if self._shown else None


def _of(entities: Sequence[Entity], type_: EntityType) -> tuple[str, ...]:
    return tuple(e.value for e in entities if e.type is type_)


def _keys(values: Iterable[str], normal: Callable[[str], str | None]) -> set[str]:
    return {key for value in values if (key := normal(value)) is not None}


def _phone_keys(
    values: Iterable[str], regions: Sequence[str], country: str | None = None
) -> dict[str, bool]:
    """The numbers that texts may mean, and of each whether it is surely meant."""
    found: dict[str, bool] = {}
    for text in values:
        numbers = normalise.phones(text, regions=regions, country=country)
        for number in numbers:
            found[number] = found.get(number, False) or len(numbers) == 1
    return found


def _ids(ids: Mapping[str, str]) -> set[tuple[str, str]]:
    return {
        (system.strip().casefold(), key)
        for system, value in ids.items()
        if (key := normalise.external_id(value)) is not None
    }


class _Group:
    """Records and a person that are the same candidate; only what is asked for is normalised."""

    def __init__(self, members: Sequence[Known], regions: Sequence[str]) -> None:
        self.members = tuple(members)
        self._regions = regions
        self.person_id = next((m.person_id for m in members if m.person_id), None)
        self.refs = tuple(dict.fromkeys(m.ref for m in members if m.ref is not None))

    @property
    def of_somebody(self) -> bool:
        """Whether a person is meant, and not only a company."""
        return any(ref.kind is Kind.CONTACT for ref in self.refs)

    @cached_property
    def emails(self) -> set[str]:
        return _keys(chain.from_iterable(m.emails for m in self.members), normalise.email)

    @cached_property
    def aliases(self) -> set[str]:
        return _keys(self.emails, normalise.email_alias)

    @cached_property
    def phones(self) -> dict[str, bool]:
        found: dict[str, bool] = {}
        for one in self.members:
            for number, sure in _phone_keys(one.phones, self._regions, one.country).items():
                found[number] = found.get(number, False) or sure
        return found

    @property
    def handles(self) -> tuple[Handle, ...]:
        return tuple(chain.from_iterable(m.handles for m in self.members))

    @property
    def external_ids(self) -> set[tuple[str, str]]:
        return set(chain.from_iterable(_ids(m.external_ids) for m in self.members))

    @cached_property
    def names(self) -> set[str]:
        return _keys((m.name for m in self.members if m.name), normalise.name)

    @cached_property
    def postcodes(self) -> set[str]:
        return _keys(chain.from_iterable(m.postcodes for m in self.members), postal.postcode)

    @cached_property
    def orders(self) -> set[str]:
        return {number_key(n) for m in self.members for n in m.order_numbers}

    @property
    def labels(self) -> set[str]:
        """What an agent may call it."""
        return {str(ref) for ref in self.refs} | ({self.person_id} if self.person_id else set())


def _groups(
    known: Sequence[Known], regions: Sequence[str], apart: Collection[frozenset[str]] = ()
) -> list[_Group]:
    """Put together what is one person: the same person_id, the same record, or a sure pair.

    A sure pair are two records of different systems with the same id in a third one, or with an
    equal name and an equal address or number, or a contact and its own account where no other
    contact claims that account.
    Two persons of the hub are never put together: that is a merge, and a person's decision. Nor is
    what somebody said is apart, directly or through others.
    """
    if len(known) < 2:
        return [_Group(known, regions)] if known else []
    leader = [*range(len(known))]
    labels = [
        {label for label in (one.person_id, one.ref and str(one.ref)) if label}
        for one in (known if apart else ())
    ]

    def held_apart(left: int, right: int) -> bool:
        sides: tuple[set[str], ...] = tuple(
            set().union(*(labels[i] for i in range(len(known)) if find(i) == side))
            for side in (left, right)
        )
        return any(frozenset(pair) in apart for pair in product(*sides))

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    def join(left: int, right: int) -> None:
        left, right = sorted((find(left), find(right)))
        if left == right:
            return
        persons = {known[i].person_id for i in range(len(known)) if find(i) in (left, right)} - {
            None
        }
        if len(persons) <= 1 and not (apart and held_apart(left, right)):
            leader[right] = left

    records = [one.ref and (one.ref.connection, one.ref.kind, one.ref.id) for one in known]
    for index, one in enumerate(known):
        for other in range(index):
            same_person = one.person_id is not None and one.person_id == known[other].person_id
            same_record = records[index] is not None and records[index] == records[other]
            if same_person or same_record:
                join(other, index)
    claims: dict[Ref, list[int]] = defaultdict(list)
    for index, one in enumerate(known):
        if one.account is not None:
            claims[one.account].append(index)
    for index, one in enumerate(known):
        if one.ref is not None and len(claims.get(one.ref, ())) == 1:
            join(claims[one.ref][0], index)
    alone = [_Group((one,), regions) for one in known]
    alike: dict[object, list[int]] = defaultdict(list)
    for index, group in enumerate(alone):
        for key in (*group.names, *group.external_ids):
            alike[key].append(index)
    for same in alike.values():
        for position, index in enumerate(same):
            for other in same[:position]:
                if _sure_pair(alone[other], alone[index]):
                    join(other, index)
    gathered: dict[int, list[int]] = defaultdict(list)
    for index in range(len(known)):
        gathered[find(index)].append(index)
    return [
        alone[members[0]]
        if len(members) == 1
        else _Group([known[index] for index in members], regions)
        for members in gathered.values()
    ]


def _sure_pair(left: _Group, right: _Group) -> bool:
    """Whether two records are surely one customer's; never two of one kind in one system.

    The same id in a third system is enough. The same address or number needs the same name too:
    couples and departments share them.
    """
    systems = {(ref.connection, ref.kind) for ref in left.refs}
    if not left.refs or not right.refs:
        return False
    if systems & {(ref.connection, ref.kind) for ref in right.refs}:
        return False
    if left.external_ids & right.external_ids:
        return True
    if not left.names & right.names:
        return False
    return bool(left.emails & right.emails or left.phones.keys() & right.phones.keys())


def _evidence(asker: _Asker, group: _Group, said_by_agent: Collection[str]) -> Iterator[Evidence]:
    if said_by_agent and group.labels & set(said_by_agent):
        yield _worth(EvidenceKind.AGENT, "an agent said so")
    yield from _handles(asker, group)
    for system, _ in sorted(asker.external_ids and asker.external_ids & group.external_ids):
        yield _worth(EvidenceKind.EXTERNAL_ID, f"the same id in {system}")
        break  # two ids of the same helpdesk are one fact
    emails = sorted(asker.emails and asker.emails & group.emails)
    if emails:
        yield _worth(EvidenceKind.EMAIL, f"the same e-mail {normalise.masked_email(emails[0])}")
        if group.of_somebody and all(map(normalise.of_many, emails)) and not _named(asker, group):
            yield _worth(EvidenceKind.SHARED, "several people write from such a mailbox")
    elif asker.emails:
        aliases = sorted(_keys(asker.emails, normalise.email_alias) & group.aliases)
        if aliases:
            yield _worth(
                EvidenceKind.EMAIL_ALIAS,
                f"the same mailbox {normalise.masked_email(aliases[0])} but for an alias",
            )
    phones = asker.phones.keys() & group.phones.keys() if asker.phones else set()
    if phones:
        vouched = VOUCHED_PHONE_BITS if asker.network in VOUCHING_NETWORKS else None
        yield _same_phone(asker.phones, group.phones, vouched)
    for address in sorted(
        asker.mentioned_emails and (asker.mentioned_emails & group.emails) - set(emails)
    ):
        yield _worth(
            EvidenceKind.EMAIL_MENTIONED, f"the text names {normalise.masked_email(address)}"
        )
        break
    for number in sorted(
        asker.mentioned_phones and (asker.mentioned_phones.keys() & group.phones.keys()) - phones
    ):
        yield _worth(
            EvidenceKind.PHONE_MENTIONED,
            f"the text names the phone {normalise.masked_phone(number)}",
        )
        break
    yield from _orders(asker, group)
    yield from _before(asker, group)
    if group.names and asker.name in group.names:
        yield _worth(EvidenceKind.NAME, "the same name")


def _before(asker: _Asker, group: _Group) -> Iterator[Evidence]:
    """An address or a number that an account of theirs wrote with; the surest of several."""
    said = [one for member in group.members for one in member.before]
    for one in sorted(said, key=lambda b: (b.inferred, b.scheme, b.value, b.network))[:1]:
        if one.scheme == "email":
            what, sure = f"e-mail {normalise.masked_email(one.value)}", True
        else:
            what = f"phone {normalise.masked_phone(one.value)}"
            sure = asker.phones.get(one.value, False)
        yield Evidence(
            kind=EvidenceKind.WROTE_BEFORE,
            detail=f"an account of theirs wrote with the same {what}",
            weight=WEIGHTS[EvidenceKind.WROTE_BEFORE].bits if sure else UNSURE_PHONE_BITS,
            basis=Basis.INFERRED if one.inferred else Basis.CUSTOMER_PROVIDED,
            compared=f"with their account on {one.network}",
            at=one.at,
        )
        if one.scheme == "email" and normalise.of_many(one.value) and not _named(asker, group):
            yield _worth(EvidenceKind.SHARED, "several people write from such a mailbox")


def _postcode(asker: _Asker, group: _Group) -> Iterator[Evidence]:
    codes = sorted(asker.postcodes and asker.postcodes & group.postcodes, key=len)
    if codes:
        code = codes[-1]
        long = len(code) >= 5 and not code.isdigit()
        detail = f"the text names their postcode {postal.masked_postcode(code)}"
        bits = LONG_POSTCODE_BITS if long else None
        yield _worth(EvidenceKind.POSTCODE_MENTIONED, detail, bits)


def _same_phone(
    left: Mapping[str, bool], right: Mapping[str, bool], bits: float | None = None
) -> Evidence:
    """A number that both have; the surest of several."""
    number = min(left.keys() & right.keys(), key=lambda n: (not (left[n] and right[n]), n))
    masked = normalise.masked_phone(number)
    if left[number] and right[number]:
        return _worth(EvidenceKind.PHONE, f"the same phone {masked}", bits)
    told = f"the same phone {masked}, if it is of the same country"
    return _worth(EvidenceKind.PHONE, told, UNSURE_PHONE_BITS)


def _named(asker: _Asker, group: _Group) -> bool:
    """Whether the author's name is the candidate's, in whatever order."""
    return asker.name is not None and any(
        sorted(asker.name.split()) == sorted(name.split()) for name in group.names
    )


def _orders(asker: _Asker, group: _Group) -> Iterator[Evidence]:
    if not asker.orders:
        return
    for key in sorted(asker.orders.keys() & group.orders):
        yield _worth(EvidenceKind.ORDER_NUMBER, f"order {asker.orders[key]} is theirs")
        return
    digits = {found: number for number in group.orders if (found := digits_key(number))}
    for key in sorted(asker.orders):
        if key.isdigit() and digits_key(key) in digits:
            detail = f"{asker.orders[key]} are the digits of an order of theirs"
            yield _worth(EvidenceKind.ORDER_NUMBER, detail, ORDER_DIGITS_BITS)
            return


def _handles(asker: _Asker, group: _Group) -> Iterator[Evidence]:
    """The network's own id decides; a handle without one is weaker; a handle whose id is another
    one has changed its owner, and what was known about it is about somebody else."""
    on_file = [h for h in group.handles if normalise.network(h.network) == asker.network]
    if not on_file:
        return
    if asker.native_id is not None and asker.native_id in {h.native_id for h in on_file}:
        yield _worth(EvidenceKind.NATIVE_ID, f"the same account on {asker.network}")
        return
    if asker.handle is None:
        return
    same = [h for h in on_file if h.handle and normalise.handle(h.handle) == asker.handle]
    if not same:
        return
    if asker.handle_had_other_owner and not any(h.native_id for h in same):
        yield _worth(
            EvidenceKind.HANDLE_CHANGED_OWNER,
            f"another account on {asker.network} had this handle before",
        )
    elif any(h.native_id is None or asker.native_id is None for h in same):
        bits = next(bits for length, bits in HANDLE_BITS_BY_LENGTH if len(asker.handle) >= length)
        yield _worth(EvidenceKind.HANDLE, f"the same handle on {asker.network}", bits)
    else:
        yield _worth(
            EvidenceKind.HANDLE_CHANGED_OWNER,
            f"the handle on {asker.network} is on file with another account id",
        )


def _worth(kind: EvidenceKind, detail: str, bits: float | None = None) -> Evidence:
    weight = WEIGHTS[kind]
    return Evidence(
        kind=kind,
        detail=detail,
        weight=weight.bits if bits is None else bits,
        basis=weight.basis,
    )


_SHAREABLE = frozenset(
    (
        EvidenceKind.EMAIL,
        EvidenceKind.PHONE,
        EvidenceKind.EMAIL_ALIAS,
        EvidenceKind.WROTE_BEFORE,
    )
)


def _mark_shared(found: Sequence[tuple[_Group, list[Evidence]]]) -> None:
    """Say of addresses and numbers that agree with several candidates that they are shared.

    Whoever alone bears another one that agrees is in no doubt: of all who have the number of a
    company's switchboard, the one whose address it is.
    """
    bearers: dict[tuple[EvidenceKind, str], int] = defaultdict(int)
    for _, evidence in found:
        for item in evidence:
            if item.kind in _SHAREABLE:
                bearers[item.kind, item.detail] += 1
    for _, evidence in found:
        of_many = [e for e in evidence if e.kind is EvidenceKind.SHARED]
        theirs = {e.kind for e in evidence if bearers.get((e.kind, e.detail)) == 1}
        if EvidenceKind.PHONE in theirs or (EvidenceKind.EMAIL in theirs and not of_many):
            evidence[:] = [e for e in evidence if e not in of_many]
            continue
        most = max((bearers[e.kind, e.detail] for e in evidence if e.kind in _SHAREABLE), default=0)
        if most > 1 and not of_many:
            evidence.append(_worth(EvidenceKind.SHARED, f"{most} on file share what agrees"))


def _mark_orders_of_others(found: Sequence[tuple[_Group, list[Evidence]]], asker: _Asker) -> None:
    """A named order that is one candidate's speaks a little against the others."""
    if not asker.orders:
        return
    for group, evidence in found:
        others = {key for other, _ in found if other is not group for key in other.orders}
        theirs = sorted((asker.orders.keys() & others) - group.orders)
        if theirs:
            evidence.append(
                _worth(
                    EvidenceKind.ORDER_OF_SOMEBODY_ELSE,
                    f"order {asker.orders[theirs[0]]} is somebody else's",
                )
            )
