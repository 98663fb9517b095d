"""Which question a person is asked first: reach × severity × uncertainty, each term shown."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from middleware.contract.canonical import Frozen
from middleware.domain.identity import Candidate
from middleware.domain.understanding import Severity

AUDIT_SHARE = 0.05
"""The part of the links made without a person that is looked at all the same."""

SHOWN = 3
"""How many candidates a question names."""

MOST_URGENT = 2**31 - 1

SEVERITY = {Severity.LOW: 0.5, Severity.NORMAL: 1.0, Severity.HIGH: 2.0, Severity.CRITICAL: 4.0}


class Terms(Frozen):
    """What a question's urgency is made of; a term that nothing is known about is 1."""

    reach: float
    """1 for one complaint and no followers, 1 more for each tenfold of followers and each further
    complaint that waits."""
    severity: float
    """0.5 low, 1 normal or unknown, 2 high, 4 critical."""
    uncertainty: float
    """1 at the threshold, one half a bit away from it, one third two bits away."""

    @property
    def urgency(self) -> int:
        """The product, in millionths; at most what the queue's column holds, which somebody with
        hundreds of complaints that wait would exceed."""
        return min(round(self.reach * self.severity * self.uncertainty * 1_000_000), MOST_URGENT)


def terms(
    *,
    followers: int | None,
    waiting: int,
    severity: Severity | None,
    bits_away: float,
) -> Terms:
    """`waiting` complaints of the same author have no person; `bits_away` is how far the deciding
    figure is from its threshold."""
    return Terms(
        reach=1.0 + math.log10(1 + (followers or 0)) + max(waiting - 1, 0),
        severity=SEVERITY[severity] if severity is not None else 1.0,
        uncertainty=1.0 / (1.0 + abs(bits_away)),
    )


def bits_away(
    candidates: Sequence[Candidate], *, link_from: float, margin: float, shortfall: float | None
) -> float:
    """How far the best candidate is from being linked or left: the margin's shortfall where the
    margin is what keeps them back, else the score's distance from `link_from`.

    `shortfall` is the margin that there is; None with one candidate.
    """
    if not candidates:
        return math.inf
    if shortfall is not None and shortfall < margin and candidates[0].score >= link_from:
        return margin - shortfall
    return candidates[0].score - link_from


def fingerprint(candidates: Sequence[Candidate]) -> str:
    """Of whom a question is about and what speaks for each: equal for the same question."""
    told = [
        f"{c.person_id}|{','.join(sorted(map(str, c.refs)))}|"
        + ",".join(sorted(f"{e.kind}:{e.weight:g}" for e in c.evidence))
        for c in candidates
    ]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]


def audited(link_id: str, *, share: float = AUDIT_SHARE) -> bool:
    """Whether a link that was made without a person is looked at: decided by its id alone."""
    drawn = int.from_bytes(hashlib.sha256(f"audit {link_id}".encode()).digest()[:8], "big")
    return drawn < share * 2**64
