"""Pile-ons at the same time: each its own incident, and one that was told as two made one again."""

from __future__ import annotations

import pytest
from sqlmodel import select

from middleware.domain.bursts import bucket_of
from middleware.domain.problems import ConflictError, StaleVersionError
from middleware.flows import decide, joined
from middleware.flows.hub import Asker
from middleware.store.incidents import Signal
from middleware.store.tables import ComplaintRow, IncidentRow
from tests.flows.conftest import Stage
from tests.flows.test_incidents import (
    both_databases,
    calmed,
    complain,
    customers,
    database_url,
    everyone,
    look,
    the_incident,
)
from tests.flows.test_nearness import Crowd, crowd

__all__ = ["crowd", "database_url"]


def keys(stage: Stage, row: IncidentRow) -> dict[str, bool]:
    with stage.hub.database.read() as uow:
        return {key.key: key.gives for key in uow.incidents.keys(row.id)}


@both_databases
def test_two_pile_ons_with_the_same_carrier_and_reason_are_two(known: Stage) -> None:
    stage = calmed(known)
    customers(stage, 8, lot="L77")
    customers(stage, 8, sku="LMP-3", lot="L12")
    customers(stage, 3, sku="MUG-1")
    complain(stage, range(8))
    look(stage)
    # What is told of other goods meanwhile belongs to neither, whoever brought it.
    complain(stage, range(3), sku="MUG-1")
    complain(stage, range(8), sku="LMP-3")
    for _ in range(2):
        look(stage)
    found = {row.key: row for row in everyone(stage)}
    assert {name: row.complaints for name, row in found.items()} == {"lot:L77": 8, "lot:L12": 8}
    assert keys(stage, found["lot:L77"])["carrier:DHL"] is False
    assert stage.events().count("incident.opened") == 2


@both_databases
def test_a_carrier_that_fails_besides_gives_what_it_has(known: Stage) -> None:
    """At first it is one article's; then everybody's, and the carrier is what they share."""
    stage = calmed(known)
    customers(stage, 6, lot="L77")
    complain(stage, range(6))
    look(stage)
    (row,) = everyone(stage)
    assert keys(stage, row)["carrier:DHL"] is False
    for n in range(12):
        customers(stage, 1, sku=f"ART-{n}")
        complain(stage, [0], sku=f"ART-{n}")
    for _ in range(2):
        look(stage)
    held = {key for row in everyone(stage) for key, gives in keys(stage, row).items() if gives}
    assert {"lot:L77", "shipped:Venlo/2026-11-18"} <= held
    assert max(row.complaints for row in everyone(stage)) >= 12


def told_twice(crowd: Crowd) -> tuple[str, str]:
    """A pile-on by words alone and one with a tag, until those who say the words use the tag, too;
    answers the incidents of the tag and of the words."""
    stage = crowd.stage
    crowd.say("newsletter", 8)
    look(stage)
    part = the_incident(stage).id
    crowd.say("#kettlegate", 8)
    look(stage)
    (whole,) = (row.id for row in everyone(stage) if row.id != part)
    here = bucket_of(stage.time())
    with stage.hub.database.begin() as uow:
        tagged = [
            Signal("hashtag:kettlegate", here, member.complaint_id, member.who, 0)
            for member in uow.incidents.members(part, limit=5)
        ]
        uow.incidents.seen(tagged, counted=[("hashtag:kettlegate", here, len(tagged))])
    return whole, part


def standing(stage: Stage, incident_id: str) -> int:
    with stage.hub.database.read() as uow:
        stand = select(ComplaintRow.id).where(ComplaintRow.incident_id == incident_id)
        return len(list(uow.session.exec(stand)))


def incident(stage: Stage, incident_id: str) -> IncidentRow:
    return next(row for row in everyone(stage) if row.id == incident_id)


@both_databases
def test_what_turns_out_to_be_one_is_one_and_can_be_parted(crowd: Crowd, asker: Asker) -> None:
    stage = crowd.stage
    whole, part = told_twice(crowd)
    look(stage)
    merged = incident(stage, part)
    assert (merged.state, merged.merged_into, merged.decided_by) == ("closed", whole, "hub")
    assert stage.events().count("incident.closed") == 1
    assert (incident(stage, whole).complaints, standing(stage, whole)) == (16, 16)
    # What comes under its key later is the other's.
    crowd.say("newsletter", 3)
    for _ in range(2):
        look(stage)
    assert incident(stage, whole).complaints == 19
    assert [row.state for row in everyone(stage)].count("open") == 1

    with pytest.raises(StaleVersionError):
        joined.part(stage.hub, part, reason="no", version=0, asker=asker)
    joined.part(stage.hub, part, reason="another cause", version=None, asker=asker)
    for _ in range(2):
        look(stage)
    again = incident(stage, part)
    assert (again.state, again.merged_into, again.complaints) == ("open", None, 11)
    # The five who used the tag belong to both.
    assert (incident(stage, whole).complaints, standing(stage, part)) == (13, 6)
    assert incident(stage, whole).key == "hashtag:kettlegate"
    with stage.hub.database.read() as uow:
        told = [entry.action for entry in uow.audit.about(part)]
    assert told == ["incident.joined", "incident.parted"]
    crowd.say("newsletter", 2)
    look(stage)
    assert incident(stage, part).complaints == 13
    assert incident(stage, whole).complaints == 13
    with pytest.raises(ConflictError):
        joined.part(stage.hub, part, reason="twice", version=None, asker=asker)


def test_what_somebody_decided_of_stays_as_it_is(crowd: Crowd, asker: Asker) -> None:
    _, part = told_twice(crowd)
    decide.confirm(crowd.stage.hub, part, reason="seen", version=None, asker=asker)
    for _ in range(2):
        look(crowd.stage)
    assert {row.state for row in everyone(crowd.stage)} == {"open", "confirmed"}
    assert incident(crowd.stage, part).merged_into is None


def test_what_goes_on_in_other_words_the_next_morning_is_the_same(crowd: Crowd) -> None:
    stage = crowd.stage
    crowd.say("newsletter.weekly", 8)
    look(stage)
    stage.time.pass_(hours=9)
    look(stage)
    assert the_incident(stage).over_at is not None
    crowd.say("newsletter.evening", 8)
    for _ in range(2):
        look(stage)
    row = the_incident(stage)
    assert (row.over_at, row.complaints) == (None, 16)
    assert stage.events().count("incident.opened") == 1
