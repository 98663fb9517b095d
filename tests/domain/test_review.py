"""Which question comes first, and which links are looked at again."""

from __future__ import annotations

import math

import pytest

from middleware.contract.canonical import Kind, Ref
from middleware.domain import review
from middleware.domain.identity import Basis, Candidate, Evidence, EvidenceKind
from middleware.domain.ids import new_id
from middleware.domain.understanding import Severity


def candidate(score: float, id_: str = "1") -> Candidate:
    evidence = Evidence(
        kind=EvidenceKind.HANDLE, detail="the same handle", weight=score, basis=Basis.CRM_RECORD
    )
    ref = Ref(connection="crm", kind=Kind.CONTACT, id=id_)
    return Candidate(refs=(ref,), score=score, evidence=(evidence,))


def urgency(**more: object) -> int:
    given = {"followers": None, "waiting": 1, "severity": None, "bits_away": 0.0}
    return review.terms(**{**given, **more}).urgency  # type: ignore[arg-type]


def test_reach_severity_and_uncertainty_multiply() -> None:
    assert urgency() == 1_000_000
    assert urgency(followers=99) == 3_000_000
    assert urgency(waiting=3) == 3_000_000
    assert urgency(severity=Severity.CRITICAL) == 4_000_000
    assert urgency(severity=Severity.LOW, bits_away=-1.0) == 250_000
    assert urgency(bits_away=3.0) == urgency(bits_away=-3.0) == 250_000


def test_what_is_most_urgent_of_all_still_fits_the_queue() -> None:
    """Somebody with hundreds of complaints that wait could not be identified on PostgreSQL."""
    assert urgency(waiting=900, severity=Severity.CRITICAL) == 2**31 - 1


@pytest.mark.parametrize(
    ("scores", "shortfall", "away"),
    [
        ([14.0], None, -2.0),
        ([20.0, 18.0], 2.0, 4.0),  # the margin keeps it back, four bits short
        ([20.0], None, 4.0),  # something else keeps it back
        ([10.0, 9.0], 1.0, -6.0),
        ([], None, math.inf),
    ],
)
def test_how_far_a_question_is_from_its_threshold(
    scores: list[float], shortfall: float | None, away: float
) -> None:
    found = review.bits_away(
        [candidate(score) for score in scores], link_from=16, margin=6, shortfall=shortfall
    )
    assert found == away


def test_the_same_question_has_the_same_mark() -> None:
    one = review.fingerprint([candidate(10)])
    assert one == review.fingerprint([candidate(10)])
    assert one != review.fingerprint([candidate(11)])
    assert one != review.fingerprint([candidate(10, "2")])


def test_one_in_twenty_links_is_drawn_by_its_id() -> None:
    ids = [f"lnk_{n:032x}" for n in range(20_000)]
    drawn = [one for one in ids if review.audited(one)]
    assert 0.04 < len(drawn) / len(ids) < 0.06
    assert drawn == [one for one in ids if review.audited(one)]
    some = new_id("lnk")
    assert review.audited(some, share=1.0)
    assert not review.audited(some, share=0.0)
    assert set(drawn) <= {one for one in ids if review.audited(one, share=0.2)}
