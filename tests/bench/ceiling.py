"""How much could be linked at best, and whether the crowd that says so is like people.

An oracle knows what the hub can't: how many namesakes each name is expected to have in the circles
that the crowd's names were drawn from. Its model is fitted to the very people it judges, and its
threshold is chosen with the answers in view. What it links at a precision, no model of the same
evidence exceeds by more than luck. Beside it stands the shipped model, by the functions of the
bench `identity`.

`python -m tests.bench.ceiling --half 0` asks about the people that the model was fitted to, half 1
about those held out; it takes some three minutes of one core. `--census FOLDER` holds the crowd's
rule against names of a census: a folder with `dist.all.last`, `dist.male.first` and
`dist.female.first` of the US Census of 1990, as in the package `names` of PyPI.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from middleware.resolution import names
from middleware.resolution.fitting import Labelled, fit, outcomes
from middleware.resolution.model import read_model, shipped
from middleware.resolution.profiles import Asking, Profile, likeness_of, profile_of, read
from tests.bench import crowd, identity
from tests.bench.identity import LookedUp

NAMED = ("same", "within")
"""Levels of the name at which the oracle knows how many namesakes are expected."""


def ceiling(
    people: list[crowd.Someone], contacts: int, *, half: int, model: Path | None
) -> dict[str, Any]:
    """Of the askers of a half, by kind of evidence: what the model links, and what could be."""
    chosen = read_model(model) if model else shipped()
    askers = [a for a in crowd.askers(people, network="twitter", seed=2) if a.person.half == half]
    found: dict[str, list[LookedUp]] = defaultdict(list)
    for one in identity.looked_up(people, askers, contacts, seed=1):
        found[one.evidence].append(one)
    oracle = Oracle(people, contacts, seed=1, words={w for a in found["all"] for w in a.asked.name})
    figures: dict[str, Any] = {"askers": len(askers), "model": chosen.version}
    for evidence, some in found.items():
        seen = [
            [
                identity.seen(one.author, one.asked, looked, one.one.person.ref, chosen)
                for looked in looks
            ]
            for looks, one in ((((one.on_file, one.as_stranger)), one) for one in some)
        ]
        told = [oracle.told(one) for one in some]
        fitted = fit([each for both in told for each in both], chosen, version="oracle", note="")
        at_best = [
            [(said, right) for _, said, right in outcomes(each, fitted)]
            for each in zip(*told, strict=True)
        ]
        figures[evidence] = {
            "model": identity.figures_of([s[0] for s in seen], [s[1] for s in seen]),
            "model_at_best": at_precision(
                *([(s[k].probability, s[k].right) for s in seen] for k in (0, 1))
            ),
            "oracle": at_precision(at_best[0], at_best[1], total=len(some)),
            "candidates": why_not_found(some),
        }
    return figures


def why_not_found(some: Sequence[LookedUp]) -> dict[str, float]:
    """What share of those on file is among the candidates, and why the others are not.

    `nothing alike`: no word of their name is shown or in the handle, and neither handle is in the
    other; `no key`: something is, but no key leads to it; `too common`: every key leads to more
    than its cap; `as alike as others`: more share as much than are compared.
    """
    found: Counter[str] = Counter()
    for one in some:
        contact = crowd.contact_of(one.one.person)
        likeness = likeness_of(contact)
        borne = set(likeness.keys) if likeness else set()
        shared = [(key, cap) for key, cap in one.asked.wanted if key in borne]
        if any(bearer.ref == contact.ref for bearer in one.on_file.bearers):
            found["found"] += 1
        elif not shared:
            profile = profile_of(contact)
            if one.evidence != "all":
                profile = profile._replace(handles=())
            found["no key" if _alike(one.asked, profile) else "nothing alike"] += 1
        elif all(one.on_file.counts[key] > cap for key, cap in shared):
            found["too common"] += 1
        else:
            found["as alike as others"] += 1
    return {why: round(n / len(some), 4) for why, n in sorted(found.items())}


def _alike(asked: Asking, profile: Profile) -> bool:
    words = {word for name in profile.names for word in name}
    handles = [handle for _, handle in profile.handles]
    return (
        not words.isdisjoint(asked.name)
        or any(len(word) > 3 and word in asked.handle for word in words)
        or any(h in asked.handle or asked.handle in h for h in handles if asked.handle)
    )


def at_precision(
    on_file: Sequence[tuple[float, float]],
    strangers: Sequence[tuple[float, float]],
    *,
    total: int | None = None,
) -> dict[str, float]:
    """The largest share of those on file that some threshold links at each precision."""
    every = [(p, right, False) for p, right in on_file] + [(p, False, True) for p, _ in strangers]
    every.sort(key=lambda one: (-one[0], one[1]))
    right = wrong = strange = 0.0
    best = {"at 0.99": 0.0, "at 0.995": 0.0, "at 0.99 of 80 % strangers": 0.0}
    for _, was_right, stranger in every:
        right += was_right
        strange += stranger
        wrong += 0 if stranger else 1 - was_right
        half = right / (right + wrong + strange)
        most = 0.2 * right / (0.2 * (right + wrong) + 0.8 * strange)
        for key, precision, least in zip(
            best, (half, half, most), (0.99, 0.995, 0.99), strict=True
        ):
            if precision >= least:
                best[key] = round(right / (total or len(on_file)), 4)
    return best


class Oracle:
    """Knows from which circle everybody's name was drawn."""

    def __init__(
        self, people: list[crowd.Someone], contacts: int, *, seed: int, words: set[str]
    ) -> None:
        self._sizes: Counter[str] = Counter()
        self._given: Counter[tuple[str, str]] = Counter()
        self._family: Counter[tuple[str, str]] = Counter()
        for one in crowd.others(people, contacts, seed=seed):
            given, family = one.name.lower().split(" ", 1)
            self._sizes[one.group] += 1
            if given in words:
                self._given[one.group, given] += 1
            if family in words:
                self._family[one.group, family] += 1

    def namesakes(self, given: str, family: str) -> float:
        """How many others are expected to have both names, circle by circle."""
        return sum(
            self._given[circle, given] * self._family[circle, family] / size
            for circle, size in self._sizes.items()
        )

    def told(self, one: LookedUp) -> tuple[Labelled, Labelled]:
        """On file and as a stranger, as compared but for the namesakes that are expected."""
        found = []
        for looked, on_file in ((one.on_file, True), (one.as_stranger, False)):
            label = identity.labelled(one.asked, looked, one.one.person, on_file=on_file)
            candidates = []
            for bearer, compared in zip(looked.bearers, label.candidates, strict=True):
                first = compared[0] if compared else None
                if first and first.comparison == "name" and first.level in NAMED:
                    name = read(bearer.profile).names[0]
                    known = first._replace(expected=self.namesakes(name[0], name[-1]))
                    compared = (known, *compared[1:])
                candidates.append(compared)
            found.append(replace(label, candidates=tuple(candidates)))
        return found[0], found[1]


# --- is the crowd like people ----------------------------------------------------------------


def seen_once(people: Sequence[crowd.Someone], *, share: float = 0.3) -> dict[str, Any]:
    """Of names seen once among a share of the people: how many of the rest have them.

    Beside what was counted stands what the urn of the crowd says, and what drawing all of them
    alike often would (a Poisson distribution of the same mean).
    """
    found = {}
    for group in ("en", "es", "in"):
        for side, place in (("given", 0), ("family", -1)):
            words = [
                t[place]
                for one in people
                if one.group == group and len(t := names.tokens(one.name)) > 1
            ]
            if len(words) > 100:
                found[f"{group} {side}"] = _again(words, share)
    return found


def _again(words: list[str], share: float) -> dict[str, list[float]]:
    counted, urn, alike = [0.0] * 4, [0.0] * 4, [0.0] * 4
    once = 0
    for seed in range(10):
        random.Random(seed).shuffle(words)
        cut = int(len(words) * share)
        first, rest = Counter(words[:cut]), Counter(words[cut:])
        weight = crowd.weight_of(first, crowd.DISCOUNT)
        shape = 1 - crowd.DISCOUNT
        mean = shape * (len(words) - cut) / (cut + weight)
        for word in (w for w, n in first.items() if n == 1):
            once += 1
            counted[min(rest[word], 3)] += 1
        for k in range(3):
            urn[k] += _negative_binomial(k, shape, mean) / 10
            alike[k] += math.exp(-mean) * mean**k / math.factorial(k) / 10
    urn[3], alike[3] = 1 - sum(urn), 1 - sum(alike)
    rounded = ([round(x, 3) for x in some] for some in ([c / once for c in counted], urn, alike))
    return dict(zip(("counted", "urn", "alike"), rounded, strict=True))


def _negative_binomial(k: int, shape: float, mean: float) -> float:
    p = shape / (shape + mean)
    log = math.lgamma(k + shape) - math.lgamma(shape) - math.lgamma(k + 1)
    found: float = math.exp(log) * p**shape * (1 - p) ** k
    return found


def census(folder: Path, *, contacts: int = 1_000_000, sample: int = 2000) -> dict[str, Any]:
    """Strangers' namesakes in a CRM of the census's names, and in one grown from a sample."""
    chance = random.Random(1)
    parts = (["dist.male.first", "dist.female.first"], ["dist.all.last"])
    real = [_as_printed([folder / name for name in files]) for files in parts]
    drawn = [chance.choices(words, cum_weights=sums, k=sample) for words, sums in real]
    asked = [*zip(*drawn, strict=True)]
    found = {}
    people = zip(
        *(chance.choices(words, cum_weights=sums, k=contacts) for words, sums in real), strict=True
    )
    found["census"] = _by_name(asked, Counter(people), contacts)
    urns = [crowd.Urn(words, chance, _New()) for words in drawn]
    grown = Counter((urns[0].draw(), urns[1].draw()) for _ in range(contacts))
    found["grown from a sample"] = _by_name(asked, grown, contacts)
    alike = []
    for words in drawn:
        counted, new = Counter(words), _New()
        unseen = sum(1 for n in counted.values() if n == 1) / len(words)
        again = chance.choices(
            [*counted], [n - crowd.DISCOUNT for n in counted.values()], k=contacts
        )
        alike.append([new() if chance.random() < unseen else word for word in again])
    found["those seen once alike"] = _by_name(asked, Counter(zip(*alike, strict=True)), contacts)
    return found


class _New:
    def __init__(self) -> None:
        self._made = 0

    def __call__(self) -> str:
        self._made += 1
        return f"new {self._made}"


def _as_printed(files: Sequence[Path]) -> tuple[list[str], list[float]]:
    """Names with running sums of frequency; ties of the printed digits fall off as ranks do.

    What the census does not list is spread over ever rarer names, by a power of the rank of 1.6.
    """
    listed = sorted((float(line.split()[1]) for f in files for line in f.open()), reverse=True)
    sure = sum(1 for share in listed if share >= 0.004)
    slope = math.log(listed[sure - 1] / listed[sure // 3]) / math.log(sure / (sure // 3 + 1))
    shares = listed[:sure]
    shares += [shares[-1] * (rank / sure) ** slope for rank in range(sure + 1, len(listed) + 1)]
    scale = 90.483 / sum(shares)
    shares = [share * scale for share in shares]
    rest, count = 9.517, len(shares)
    while rest > 0 and len(shares) < 2_000_000:
        shares.append(shares[count - 1] * (len(shares) / count) ** -1.6)
        rest -= shares[-1]
    return [str(rank) for rank in range(len(shares))], [*accumulate(shares)]


def _by_name(
    asked: Sequence[tuple[str, str]], crm: Mapping[tuple[str, str], int], contacts: int
) -> dict[str, float]:
    """How many strangers have a namesake, and what a name that nobody else has could link."""
    counts = [Counter[str](), Counter[str]()]
    for pair, n in crm.items():
        for side in (0, 1):
            counts[side][pair[side]] += n
    expected = sorted(
        (counts[0][given] * counts[1][family] / contacts, crm.get((given, family), 0))
        for given, family in asked
    )
    on_file = [(-e, True) for e, others in expected if not others]
    strangers = [(-e, False) for e, others in expected if others == 1]
    return {
        "strangers with a namesake": round(sum(o > 0 for _, o in expected) / len(asked), 4),
        "linked by name alone": at_precision(on_file, strangers, total=len(asked))["at 0.995"],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what the oracle and the model link, and how like people the crowd is."""
    parser = argparse.ArgumentParser(prog="tests.bench.ceiling", description=main.__doc__)
    parser.add_argument("--contacts", type=int, default=identity.FULL.contacts)
    parser.add_argument("--half", type=int, choices=(0, 1), default=0)
    parser.add_argument("--model", type=Path, help="not the shipped one")
    parser.add_argument("--census", type=Path, help="a folder with a census's names")
    asked = parser.parse_args(arguments)
    people, source = crowd.people()
    figures: dict[str, Any] = {"people": source, "seen_once": seen_once(people)}
    if asked.census:
        figures["census"] = census(asked.census)
    figures |= ceiling(people, asked.contacts, half=asked.half, model=asked.model)
    print(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
