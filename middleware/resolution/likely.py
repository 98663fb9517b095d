"""Who looks like somebody who writes: the records of the index scored by the model, with reasons.

A score is log2 odds: the prior, which falls with the number of records, and what each comparison
adds. The reasons are the same numbers; nothing else goes into the score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from middleware.contract.canonical import Ref
from middleware.domain.identity import Basis, Evidence, EvidenceKind
from middleware.domain.likeness import Looked
from middleware.resolution import names
from middleware.resolution.compare import NAMED, Agreement, Rarity, compare, compare_all
from middleware.resolution.model import Model
from middleware.resolution.profiles import Asking, Profile, read

MOST_LIKELY = 4
"""Records that are worth reading whole."""
WORTH_READING = -5.0
"""Bits below which a record is nobody's candidate: three in a hundred at most."""


@dataclass(frozen=True)
class Resembling:
    """A record that looks somewhat like the author."""

    ref: Ref
    agreements: tuple[Agreement, ...]
    score: float
    """Log2 odds that it is them and not a stranger, before it competes with the others."""


@dataclass(frozen=True)
class Likely:
    """What likeness has to say."""

    population: int = 0
    nearest: tuple[Resembling, ...] = ()
    """Those worth reading, the likeliest first."""
    rest: tuple[float, ...] = ()
    """Scores of the others: they compete too."""

    @property
    def by_ref(self) -> Mapping[Ref, Resembling]:
        return {one.ref: one for one in self.nearest}


def likely(asking: Asking, looked: Looked, model: Model) -> Likely:
    """Score every record that the index answered."""
    rarity = Rarity.of(looked)
    prior = model.prior_bits(looked.population)
    profiles = [read(bearer.profile) for bearer in looked.bearers]
    scored = [
        (prior + sum(map(model.bits, agreements)), bearer, agreements)
        for bearer, agreements in zip(
            looked.bearers, compare_all(asking, profiles, rarity), strict=True
        )
    ]
    scored.sort(key=lambda one: (-one[0], one[1].id))
    nearest = [s for s in scored[:MOST_LIKELY] if s[0] >= WORTH_READING]
    return Likely(
        population=looked.population,
        nearest=tuple(Resembling(one.ref, tuple(found), score) for score, one, found in nearest),
        rest=tuple(score for score, _, _ in scored[len(nearest) :]),
    )


def with_others(
    found: Likely, asking: Asking, looked: Looked, profiles: Mapping[Ref, Profile], model: Model
) -> Likely:
    """The same with records of these profiles, which the index did not answer, or knows less of."""
    if not profiles:
        return found
    rarity, prior = Rarity.of(looked), model.prior_bits(looked.population)
    scored = []
    for ref, profile in profiles.items():
        agreements = tuple(compare(asking, profile, rarity))
        scored.append(Resembling(ref, agreements, prior + sum(map(model.bits, agreements))))
    nearest = [*(one for one in found.nearest if one.ref not in profiles), *scored]
    nearest.sort(key=lambda one: (-one.score, one.ref.id))
    return replace(found, nearest=tuple(nearest))


def with_companies(
    found: Likely, asking: Asking, accounts: Mapping[Ref, str], model: Model
) -> Likely:
    """The same, where a bio names the company of a record's account (`accounts`: its name)."""
    if not asking.bio or not accounts:
        return found
    nearest = [_in_bio(one, asking.bio, accounts.get(one.ref), model) for one in found.nearest]
    nearest.sort(key=lambda one: (-one.score, one.ref.id))
    return replace(found, nearest=tuple(nearest))


def _in_bio(one: Resembling, bio: str, account: str | None, model: Model) -> Resembling:
    company = names.company(account) if account else None
    there = any(a.comparison == "company" for a in one.agreements)
    if company is None or there or len(company) < 4 or f" {company} " not in bio:
        return one
    agreement = Agreement("company", "in_bio", shown=company)
    agreements = (*one.agreements, agreement)
    return replace(one, agreements=agreements, score=one.score + model.bits(agreement))


# --- reasons ---------------------------------------------------------------------------------

_KINDS: Mapping[str, EvidenceKind] = {
    "handle_in_name": EvidenceKind.HANDLE_IN_NAME,
    "other_handle": EvidenceKind.OTHER_HANDLE,
    "other_handle_of_namesake": EvidenceKind.OTHER_HANDLE,
    "place": EvidenceKind.LOCATION,
    "profile_link": EvidenceKind.PROFILE_LINK,
    "site": EvidenceKind.PROFILE_LINK,
    "company": EvidenceKind.COMPANY,
}
_COMPARED: Mapping[str, str] = {
    "name": "display name with name",
    "handle_in_name": "handle with name",
    "other_handle": "handle with handles on other networks",
    "other_handle_of_namesake": "handle with handles on other networks",
    "place": "location with address",
    "profile_link": "links in the profile with handles",
    "site": "links in the profile with e-mail domains",
    "company": "bio with account",
}
_SAYS: Mapping[tuple[str, str], str] = {
    ("name", "same"): "the same name",
    ("name", "within"): "the same given and family name",
    ("name", "joined"): "the same name in one word",
    ("name", "short"): "the same name with a short form",
    ("name", "misspelt"): "nearly the same name",
    ("name", "initial"): "the same name with an initial",
    ("name", "single"): "a name of one word that is part of theirs",
    ("name", "family"): "another given name with the family name",
    ("name", "given"): "another family name with the given name",
    ("name", "none"): "another name",
    ("handle_in_name", "whole"): "the handle is their whole name",
    ("handle_in_name", "affixed"): "the handle holds their whole name",
    ("handle_in_name", "both_in"): "the handle holds their given and family name",
    ("handle_in_name", "initial"): "the handle is their name with an initial",
    ("handle_in_name", "family_in"): "the handle holds their family name",
    ("handle_in_name", "given_in"): "the handle holds their given name",
    ("handle_in_name", "none"): "the handle says nothing of their name",
    ("place", "same_town"): "the same town or region",
    ("place", "same_country"): "the same country",
    ("place", "other_town"): "another town in the same country",
    ("place", "other_country"): "another country",
    ("place", "different"): "another place",
    ("profile_link", "same"): "the profile names their account on",
    ("profile_link", "different"): "the profile names another account than the one on file",
    ("site", "same"): "the profile links to the domain of their address:",
    ("company", "in_bio"): "the bio names their company",
}
_OTHER_HANDLES: Mapping[str, str] = {
    "exact_long": "the same handle on another network",
    "exact_of_name": "the same handle, made of the name, on another network",
    "exact_middle": "the same handle, a short one, on another network",
    "exact_short": "the same handle, a very short one, on another network",
    "letters": "the same handle but for digits on another network",
    "letters_of_name": "the same handle, made of the name, but for digits on another network",
    "contained": "one handle holds the one on another network",
    "contained_of_name": "one handle holds the one, made of the name, on another network",
    "alike": "nearly the same handle on another network",
    "different": "another handle on other networks",
}


def reasons(one: Resembling, model: Model, population: int) -> list[Evidence]:
    """The comparisons as evidence, and the prior; their weights add up to the score."""
    return [
        *(_evidence(agreement, model) for agreement in one.agreements),
        _prior(population, model.prior.on_file, model.prior_bits(population)),
    ]


@lru_cache(maxsize=8)
def _prior(population: int, on_file: float, bits: float) -> Evidence:
    """It is the same of everybody, until a record comes or goes."""
    return Evidence(
        kind=EvidenceKind.PRIOR,
        detail=f"one of {population} on file, and {1 - on_file:.0%} are strangers",
        weight=bits,
        basis=Basis.INFERRED,
        compared="anybody with anybody",
    )


def _evidence(agreement: Agreement, model: Model) -> Evidence:
    comparison, level, expected, _, shown = agreement
    bits = model.bits(agreement)
    if expected is None and not shown:
        return _plain(comparison, level, bits)
    return _said(comparison, level, bits, expected, shown)


def _said(
    comparison: str, level: str, bits: float, expected: float | None = None, shown: str = ""
) -> Evidence:
    says = _SAYS.get((comparison, level)) or _OTHER_HANDLES[level]
    if comparison in ("profile_link", "site") and shown:
        says = f"{says} {shown}"
    kind = _KINDS.get(comparison)
    if kind is None:
        kind = EvidenceKind.NAME if level in NAMED else EvidenceKind.NAME_PART
    return Evidence(
        kind=kind,
        detail=says,
        weight=bits,
        basis=Basis.INFERRED,
        compared=_COMPARED[comparison],
        rarity=expected,
    )


@lru_cache(maxsize=512)
def _plain(comparison: str, level: str, bits: float) -> Evidence:
    """Most say the same of everybody, and are made once."""
    return _said(comparison, level, bits)


def supporting(evidence: Iterable[Evidence]) -> Sequence[Evidence]:
    """What likeness adds where an exact identifier agrees, whose weight has the prior in it.

    People call themselves what they like: a likeness that is missing says nothing against an
    address that the source vouches for. That a handle spells the name is not counted beside the
    handle itself.
    """
    without = (EvidenceKind.PRIOR, EvidenceKind.HANDLE_IN_NAME)
    return [e for e in evidence if e.weight > 0 and e.kind not in without]
