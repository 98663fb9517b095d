"""What a run of resolution makes of two records: the bits, the evidence, and what keeps them apart.

Asked of one pair, outside a run: the model and the guards are a run's, and how many bear the names
is looked up, but not how many have the street or postcode: a run may come to bits more or less.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import product

from middleware.contract.canonical import Account, Contact, Kind, Ref
from middleware.domain.identity import Basis, Evidence, EvidenceKind
from middleware.flows.hub import Hub
from middleware.flows.relink import RUN
from middleware.resolution.batch.clusters import Member, Pair, grouped
from middleware.resolution.batch.columns import FIRST_OF, columns_of, unique_ids
from middleware.resolution.batch.model import Model, load, shipped
from middleware.resolution.batch.scoring import Frequencies, Row, Scorer
from middleware.resolution.profiles import word_key
from middleware.store.database import UnitOfWork
from middleware.store.records import Stored
from middleware.store.tables import LinkRow

KINDS = (Kind.CONTACT, Kind.ACCOUNT)
"""The kinds of record that are somebody."""

EVIDENCE = {
    "given": EvidenceKind.NAME,
    "family": EvidenceKind.NAME,
    "email": EvidenceKind.EMAIL,
    "phone": EvidenceKind.PHONE,
    "handle": EvidenceKind.HANDLE,
    "ids": EvidenceKind.EXTERNAL_ID,
}
"""What a comparison of the model is evidence of; the others are an address's."""


NAMES = ("given", "family")


class Against(StrEnum):
    """What keeps two records from being one customer, whatever else a run sees."""

    ONE_PER_SOURCE = "one_per_source"
    OTHER_NUMBER = "other_number"
    OTHER_PERSON = "other_person"
    UNLIKE = "unlike"
    """Neither their names nor an id say that they are one: the model's `joins` does not hold."""
    DOUBTFUL = "doubtful"
    """It is not sure enough."""


SAYS = {
    Against.ONE_PER_SOURCE: "their connection holds nobody twice (`links.duplicate_free`)",
    Against.OTHER_NUMBER: "they have different numbers of a kind of which a customer has one",
    Against.OTHER_PERSON: "they are two persons', each with more than a run's links",
    Against.UNLIKE: "neither their names nor an id say that they are one customer",
}


@dataclass(frozen=True)
class Weighed:
    """Two records, weighed."""

    one: Ref
    other: Ref
    evidence: tuple[Evidence, ...]
    """It adds up to the bits."""
    bits: float
    probability: float
    joins_from: float
    """The probability from which on a run joins two records."""
    against: Against | None

    @property
    def says(self) -> str:
        pair = f"{self.one} and {self.other}"
        if self.against is Against.DOUBTFUL:
            least = f"it joins from {self.joins_from:g} on"
            return f"resolution gives {pair} a probability of {self.probability:.3f}; {least}"
        if self.against is not None:
            alike = f"alike as they are ({self.bits:.3g} bits)"
            return f"resolution does not join {pair}, {alike}: {SAYS[self.against]}"
        return f"resolution joins {pair} when it runs, unless the rest of their groups forbids it"


def likeliest(
    hub: Hub, uow: UnitOfWork, some: Sequence[Stored], others: Sequence[Stored]
) -> Weighed | None:
    """The pair of one of these records and one of those that is likeliest to be one customer; None
    where there is none. Raises ModelUnreadableError."""
    model, chosen = model_of(hub), hub.options.resolve
    counted = uow.records.count()
    records = sum(n for (_, kind), n in counted.items() if Kind(kind) in KINDS)
    rows = {one.record.ref: _row(hub, one) for one in (*some, *others)}
    scorer = Scorer(model, records=records, frequencies=_of_names(uow, rows.values()))
    pairs = [
        (scorer.weight(rows[one.record.ref], rows[other.record.ref]), one, other)
        for one, other in product(some, others)
        if one.record.ref != other.record.ref
    ]
    if not pairs:
        return None
    bits, one, other = max(pairs, key=lambda pair: pair[0])
    left, right = one.record.ref, other.record.ref
    against: Against | None = Against.DOUBTFUL
    if bits >= model.weight_of(chosen.threshold):
        unlike = None if scorer.joins(rows[left], rows[right]) else Against.UNLIKE
        against = _guarded(hub, uow, one, other) or unlike
    return Weighed(
        one=left,
        other=right,
        evidence=evidence_of(scorer, rows[left], rows[right], str(right), other.as_of),
        bits=bits,
        probability=model.probability(bits),
        joins_from=chosen.threshold,
        against=against,
    )


def _row(hub: Hub, stored: Stored) -> Row:
    record = hub.options.blocked.record(stored.record)
    assert isinstance(record, Contact | Account), "only these are somebody"
    row = columns_of(record, regions=hub.options.phone_regions)
    return {**row, **{name: (row[every] or [None])[0] for name, every in FIRST_OF.items()}}


def _of_names(uow: UnitOfWork, rows: Iterable[Row]) -> Frequencies:
    """The share of the records that have each of these rows' given and family names."""
    words = {row[part] for row in rows for part in NAMES if row[part] and " " not in row[part]}
    looked = uow.likeness.look((), [word_key(word) for word in sorted(words)])
    bearers = {word: looked.names.get(word_key(word), 0) for word in words}
    shares = {word: n / looked.population for word, n in bearers.items() if n}
    return dict.fromkeys(NAMES, shares)


def _guarded(hub: Hub, uow: UnitOfWork, one: Stored, other: Stored) -> Against | None:
    """Which guard refuses such a pair, whatever it weighs."""
    pair = Pair(str(one.record.ref), str(other.record.ref), 0.0)
    members = {str(s.record.ref): _member(hub, uow, s) for s in (one, other)}
    refused = grouped([pair], members).refused
    return Against(refused[0][1].value) if refused else None


def _member(hub: Hub, uow: UnitOfWork, stored: Stored) -> Member:
    record = hub.options.blocked.record(stored.record)
    assert isinstance(record, Contact | Account), "only these are somebody"
    ref = record.ref
    free = ref.connection in hub.options.duplicate_free
    return Member(
        source=f"{ref.connection}:{ref.kind}" if free else None,
        ids=frozenset(unique_ids(record, hub.options.resolve.unique_ids)),
        person=_held_by(uow, uow.people.links_of_records((ref,))),
    )


def _held_by(uow: UnitOfWork, links: Iterable[LinkRow]) -> str | None:
    """The person of a link, if on them hangs more than links of a run's."""
    for link in links:
        theirs = uow.people.links_of_person(link.person_id)
        if any(one.decided_by != RUN for one in theirs):
            return link.person_id
    return None


def model_of(hub: Hub) -> Model:
    """The model that the settings name, or the one that comes with the hub."""
    chosen = hub.options.resolve.model
    return load(chosen) if chosen else shipped()


def evidence_of(
    scorer: Scorer, left: Row, right: Row, other: str, at: datetime
) -> tuple[Evidence, ...]:
    """What speaks for and against two rows' being one customer, the prior first; `other` names the
    right one."""
    prior = Evidence(
        kind=EvidenceKind.PRIOR,
        detail="any two records, before they are compared",
        weight=scorer.prior_bits,
        basis=Basis.CRM_RECORD,
    )
    return (
        prior,
        *(
            _evidence(part.comparison, part.bits, other, at)
            for part in scorer.parts(left, right)
            if part.level is not None and part.bits
        ),
    )


def _evidence(comparison: str, bits: float, other: str, at: datetime) -> Evidence:
    verb = "agrees with" if bits > 0 else "differs from"
    return Evidence(
        kind=EVIDENCE.get(comparison, EvidenceKind.ADDRESS),
        detail=f"{comparison} {verb} that of {other}",
        weight=max(-64.0, min(64.0, bits)),
        basis=Basis.CRM_RECORD,
        at=at,
    )
