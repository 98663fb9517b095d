"""Why resolution joins two records or does not, said outside a run, and what a run then does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from middleware.contract.canonical import Contact
from middleware.flows import link
from middleware.flows.link import LinkAsked
from middleware.flows.weigh import Against
from middleware.flows.why import Why, why
from middleware.resolution.identifiers import CUSTOMER_NUMBER
from tests.flows.conftest import Stage
from tests.flows.test_resolve import ASKER, crowd, kim, person_of, run, sqlite


def asked(desk: Stage, one: Contact, other: Contact) -> Why:
    return why(desk.hub, str(one.ref), str(other.ref))


NUMBERS = [{"external_ids": {CUSTOMER_NUMBER: number}} for number in ("K-1", "K-2")]


@pytest.mark.parametrize(
    ("one", "other", "against"),
    [
        (kim(1), kim(2, system="shop"), None),
        (kim(1), kim(2, system="shop", given_name="Lars"), Against.UNLIKE),
        (kim(1, **NUMBERS[0]), kim(2, system="shop", **NUMBERS[1]), Against.OTHER_NUMBER),
        (kim(1), kim(2), Against.ONE_PER_SOURCE),
        (
            kim(1),
            kim(2, system="shop", emails=(), phones=("+4930123456",), address=None),
            Against.DOUBTFUL,
        ),
    ],
)
def test_a_pair_is_judged_as_a_run_judges_it(
    desk: Stage, one: Contact, other: Contact, against: Against | None
) -> None:
    desk = desk.with_options(duplicate_free=("crm",))
    desk.store(*crowd(400), one, other)
    found = asked(desk, one, other)
    assert found.weighed is not None
    assert found.weighed.against is against
    assert found.score == pytest.approx(sum(e.weight for e in found.evidence))
    assert (found.together, found.says) == (False, found.weighed.says)
    assert run(desk, allow=10_000).state == "done"
    together = person_of(desk, one) == person_of(desk, other) is not None
    assert together is (against is None)
    if together:
        assert asked(desk, one, other).says.startswith("they are one person")


def test_two_persons_are_put_together_by_nobody_but_people(desk: Stage) -> None:
    one, other = kim(1), kim(2, system="shop")
    desk.store(*crowd(400), one, other)
    for record, account in ((one, "1"), (other, "2")):
        link.put_link(desk.hub, LinkAsked(None, "wrote so", record=record.ref), ASKER)
        asks = LinkAsked(person_of(desk, record), "wrote so", identity=("x", account))
        link.put_link(desk.hub, asks, ASKER)
    found = asked(desk, one, other)
    assert found.weighed is not None
    assert found.weighed.against is Against.OTHER_PERSON
    persons = [person_of(desk, record) for record in (one, other)]
    assert why(desk.hub, *map(str, persons)).weighed == found.weighed, "of persons, their likeliest"


@sqlite
def test_a_model_that_cannot_be_read_is_named(desk: Stage, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    resolve = replace(desk.hub.options.resolve, model=tmp_path / "model.json")
    desk.store(kim(1), kim(2, system="shop"))
    found = asked(desk.with_options(resolve=resolve), kim(1), kim(2, system="shop"))
    assert found.weighed is None
    assert "model.json" in found.says
