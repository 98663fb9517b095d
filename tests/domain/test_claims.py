"""Which claims are about the same issue, and how subjects are written."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from middleware.contract.canonical import Kind, Ref
from middleware.domain.claims import ClaimKind, ClaimOptions, Part, Scope, Subject, overlap

ORDER = "erp:order:O1"
OTHER_ORDER = "erp:order:O2"


def complaint(
    *ids: str, person: str | None = "per_1", parts: tuple[tuple[str, str | None], ...] = ()
) -> Scope:
    return Scope(
        complaints=frozenset(ids),
        person=person,
        parts=tuple(Part(order=order, line=line) for order, line in parts),
    )


def line(order: str, id_: str | None, person: str | None = "per_1") -> Scope:
    return Scope(person=person, parts=(Part(order=order, line=id_),))


PERSON = Scope(person="per_1", everything=True)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (complaint("cmp_1"), complaint("cmp_1"), True),
        (complaint("cmp_1"), complaint("cmp_2"), False),
        (complaint("cmp_1", "cmp_2"), complaint("cmp_2"), True),
        (complaint("cmp_1", parts=((ORDER, "1"),)), line(ORDER, "1"), True),
        (complaint("cmp_1", parts=((ORDER, "1"),)), line(ORDER, "2"), False),
        (complaint("cmp_1", parts=((ORDER, None),)), line(ORDER, "2"), True),
        (complaint("cmp_1", parts=((ORDER, "1"),)), line(ORDER, None), True),
        (complaint("cmp_1"), line(ORDER, "1"), False),
        (
            complaint("cmp_1", parts=((ORDER, "1"),)),
            complaint("cmp_2", parts=((ORDER, "1"),)),
            True,
        ),
        (line(ORDER, "1"), line(ORDER, None), True),
        (line(ORDER, "1"), line(ORDER, "1"), True),
        (line(ORDER, "1"), line(ORDER, "2"), False),
        (line(ORDER, "1"), line(OTHER_ORDER, "1"), False),
        (line(ORDER, None), line(OTHER_ORDER, None), False),
        (PERSON, complaint("cmp_1"), True),
        (PERSON, line(ORDER, "1"), True),
        (PERSON, complaint("cmp_1", person="per_2"), False),
        (PERSON, complaint("cmp_1", person=None), False),
        (PERSON, PERSON, True),
    ],
)
def test_claims_overlap_when_they_may_be_about_one_issue(
    one: Scope, other: Scope, same: bool
) -> None:
    assert overlap(one, other) is same
    assert overlap(other, one) is same


_SCOPES = st.builds(
    Scope,
    complaints=st.frozensets(st.sampled_from(["cmp_1", "cmp_2", "cmp_3"]), max_size=2),
    person=st.sampled_from([None, "per_1", "per_2"]),
    everything=st.booleans(),
    parts=st.lists(
        st.builds(
            Part,
            order=st.sampled_from([ORDER, OTHER_ORDER]),
            line=st.sampled_from([None, "1", "2"]),
        ),
        max_size=2,
    ).map(tuple),
)


@given(_SCOPES, _SCOPES)
def test_overlapping_is_symmetric(one: Scope, other: Scope) -> None:
    assert overlap(one, other) == overlap(other, one)


@pytest.mark.parametrize(
    "subject",
    [
        Subject(complaint="cmp_1"),
        Subject(person="per_1"),
        Subject(order=Ref(connection="erp", kind=Kind.ORDER, id="O1")),
        Subject(order=Ref(connection="erp", kind=Kind.ORDER, id="O1"), line="3"),
        Subject(order=Ref(connection="erp", kind=Kind.ORDER, id="O#1%23"), line="a#b"),
    ],
)
def test_a_subject_is_read_as_it_was_written(subject: Subject) -> None:
    assert Subject.parse(str(subject)) == subject


def test_different_subjects_are_written_differently() -> None:
    orders = [Ref(connection="erp", kind=Kind.ORDER, id=i) for i in ("1", "1#2", "1%232")]
    subjects = [Subject(order=o, line=x) for o, x in itertools.product(orders, (None, "2", "#2"))]
    assert len({str(s) for s in subjects}) == len(subjects)
    assert {s.kind for s in subjects} == {ClaimKind.ORDER, ClaimKind.LINE}


@pytest.mark.parametrize(
    "given_",
    [
        {},
        {"complaint": "cmp_1", "person": "per_1"},
        {"complaint": "cmp_1", "line": "1"},
        {"order": Ref(connection="erp", kind=Kind.CASE, id="1")},
    ],
)
def test_a_subject_is_one_thing(given_: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Subject.model_validate(given_)


def test_nonsense_is_no_subject() -> None:
    with pytest.raises(ValueError, match="can't be claimed; expected cmp_"):
        Subject.parse("the lamp")


def test_the_usual_lease_is_not_longer_than_the_longest() -> None:
    with pytest.raises(ValidationError, match="longer than the longest"):
        ClaimOptions(lease=timedelta(hours=2), longest=timedelta(hours=1))
