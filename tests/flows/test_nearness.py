"""Pile-ons that no key explains: found by texts that are near to each other, told once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from sqlmodel import select

from middleware.contract.actions import Operation
from middleware.contract.canonical import Kind
from middleware.domain.bursts import BUCKET, bucket_of
from middleware.domain.ids import new_id
from middleware.domain.understanding import Understanding, Vector
from middleware.flows import decide, eligibility, incidents, nearness
from middleware.flows.hub import Asker
from middleware.store.tables import (
    ArrivalRow,
    ComplaintRow,
    VectorRow,
)
from middleware.understanding import Rules
from middleware.understanding.features import Matrix
from middleware.understanding.nearness import packed
from tests.flows.conftest import Stage
from tests.flows.test_incidents import (
    SKU,
    both_databases,
    calmed,
    customers,
    database_url,
    everyone,
    look,
    the_incident,
)
from tests.flows.test_receive import arrive, event

__all__ = ["database_url"]

WIDTH = 384
WORDS = ("so", "very", "really", "quite", "all", "too")


def _drawn(text: str) -> Matrix:
    return np.random.default_rng(crc32(text.encode())).normal(size=WIDTH)


class Placed(Rules):
    """Rules, and a vector that goes by a text's last word: those with the same one are near. What
    follows a point in it makes a difference, of which only the middles are alike."""

    encoder = "made-up@1"

    def understand(self, text: str, **given: Any) -> Understanding:
        theme, _, part = text.split()[-1].partition(".")
        made = _drawn(theme) + 0.65 * _drawn(part) * bool(part)
        (values,) = packed((made + 0.7 * _drawn(text))[None].astype(np.float32))
        vector = Vector(encoder=self.encoder, values=values)
        return super().understand(text, **given).model_copy(update={"vector": vector})


@dataclass
class Crowd:
    """People who complain, each once, after two weeks in which nobody said the same as others."""

    stage: Stage
    told: int = 0

    def say(self, theme: str, count: int, *, every: timedelta = timedelta(seconds=20)) -> None:
        """So many people complain about a theme, each in other words."""
        for _ in range(count):
            self.told += 1
            self.stage.time.now += every
            dice = random.Random(self.told)
            mine = ["".join(dice.choices("abdegilmnorstu", k=6)) for _ in range(6)]
            self.tell(f"{' '.join(mine)} {theme}")

    def tell(self, text: str) -> None:
        hub, now = self.stage.hub, self.stage.time.now
        complaint = ComplaintRow(
            id=new_id("cmp"),
            connection="desk",
            conversation=f"c{self.told}",
            network="x",
            state="open",
            opened_at=now,
            updated_at=now,
        )
        arrival = ArrivalRow(
            id=new_id("arr"),
            complaint_id=complaint.id,
            connection="desk",
            source_id=f"m{self.told}",
            author={"native_id": f"u{self.told}"},
            text=text,
            received_at=now,
        )
        with hub.database.begin() as uow:
            uow.complaints.add(complaint)
            uow.session.add(arrival)
            uow.session.flush()
            said = hub.understands.understand(text)
            incidents.count_in(hub, uow, complaint, [arrival], said, None, None, [])


@pytest.fixture
def crowd(known: Stage) -> Crowd:
    stage = calmed(known)
    hub = replace(stage.hub, understands=Placed())
    from middleware.app import handlers

    made = Crowd(replace(stage, hub=hub, handlers=handlers(hub)))
    for n in range(14):
        made.say(f"theme{n}", 1, every=timedelta(hours=24))
    look(made.stage)
    return made


def keys(stage: Stage) -> set[str]:
    with stage.hub.database.read() as uow:
        return {key.key for row in everyone(stage) for key in uow.incidents.keys(row.id)}


def kinds(stage: Stage) -> set[str]:
    return {key.partition(":")[0] for key in keys(stage)}


@both_databases
def test_many_who_say_the_same_in_other_words_are_one_incident(crowd: Crowd) -> None:
    stage = crowd.stage
    for theme in ("parking", "opera", "weather", "football", "music"):
        crowd.say(theme, 1)
    crowd.say("newsletter", 8)
    look(stage)
    row = the_incident(stage)
    assert (row.complaints, row.persons, row.state) == (8, 8, "open")
    assert kinds(stage) == {"near"}
    assert stage.events().count("incident.opened") == 1
    assert row.typical is not None
    assert row.typical["words"][0] == "newsletter"
    assert row.title == "complaints about “newsletter”"
    assert len(row.typical["complaints"]) == 3
    crowd.say("newsletter", 4)
    crowd.say("opera", 2)
    for _ in range(2):
        look(stage)
    assert the_incident(stage).complaints == 12


@both_databases
def test_a_complaint_that_arrives_is_placed_and_its_incident_shows_what_is_said(
    crowd: Crowd,
) -> None:
    """Through the hub's own door, with the vector that its understanding made."""
    stage = crowd.stage
    for n in range(6):
        stage.time.now += timedelta(seconds=30)
        text = f"{['so', 'very', 'really', 'quite', 'all', 'too'][n]} bad and useless newsletter"
        body = event(text, id=f"t{n}", conversation=f"t{n}", author={"native_id": f"t{n}"})
        arrive(stage, body, message_id=f"t-{n}")
    look(stage)
    assert the_incident(stage).complaints == 6
    assert "near" in kinds(stage)


def vectors(stage: Stage) -> dict[str, VectorRow]:
    with stage.hub.database.read() as uow:
        return {row.complaint_id: row for row in uow.session.exec(select(VectorRow))}


def post(stage: Stage, n: int, text: str | None, *, message: str = "", **more: Any) -> str:
    """Somebody's message in a conversation of their own, or its deletion; answers the complaint."""
    stage.time.now += timedelta(seconds=30)
    named = {"id": f"t{n}{message}", "conversation": f"t{n}", "author": {"native_id": f"t{n}"}}
    body = event(text, **named, **more)  # type: ignore[arg-type]
    arrive(stage, body, message_id=f"t-{n}{message}-{more.get('type_', '')}")
    with stage.hub.database.read() as uow:
        complaint = uow.complaints.of_conversation(stage.names["desk"], f"t{n}")
        assert complaint is not None
        return complaint.id


@both_databases
def test_what_is_deleted_at_its_source_leaves_no_vector(crowd: Crowd) -> None:
    stage = crowd.stage
    gone = post(stage, 1, "this is bad and useless opera")
    assert gone in vectors(stage)
    post(stage, 1, None, type_="message.deleted")
    assert gone not in vectors(stage)

    # Of what is left of a conversation there is one, of that alone.
    half = post(stage, 2, "this is bad and useless opera")
    post(stage, 2, "and useless parking, bad", message="b")
    before = vectors(stage)[half]
    post(stage, 2, None, type_="message.deleted")
    after = vectors(stage)[half]
    (alone,) = packed((_drawn("bad") + 0.7 * _drawn("and useless parking, bad"))[None].astype("f4"))
    assert (after.vector == alone, after.bucket) == (True, before.bucket)
    assert before.vector != after.vector


@both_databases
def test_a_burst_goes_on_without_the_text_that_it_is_named_by(crowd: Crowd) -> None:
    stage = crowd.stage
    ids = [post(stage, n, f"{word} bad and useless newsletter") for n, word in enumerate(WORDS)]
    look(stage)
    named = next(key for key in keys(stage) if key.startswith("near:")).removeprefix("near:")
    was = vectors(stage)[named]
    assert was.centre is not None
    post(stage, ids.index(named), None, type_="message.deleted")
    assert vectors(stage)[named].vector == was.centre
    post(stage, 90, "extremely bad and useless newsletter")
    for _ in range(2):
        look(stage)
    assert the_incident(stage).complaints == len(WORDS) + 1


@both_databases
def test_what_each_of_a_crowd_without_a_key_may_get(crowd: Crowd, asker: Asker) -> None:
    """It is worked out of the order that each of them means; who means none is not listed."""
    stage = crowd.stage
    customers(stage, 3)
    ids = [post(stage, n, f"{word} bad and useless newsletter") for n, word in enumerate(WORDS)]
    orders = {of: str(stage.ref("erp", Kind.ORDER, f"{SKU}-O{n}")) for n, of in enumerate(ids[:3])}
    with stage.hub.database.begin() as uow:
        for of, order in orders.items():
            complaint = uow.complaints.get(of, lock=True)
            assert complaint is not None
            # Their order was found, and not which of its goods they mean.
            complaint.order_ref, complaint.order_match = order, {"chosen_lines": ["1"]}
    look(stage)
    assert kinds(stage) <= {"near", "text"}
    row = the_incident(stage)

    def offered() -> dict[str | None, tuple[str, str, tuple[str, ...]]]:
        found = eligibility.of_incident(
            stage.hub, row.id, asker, operation=Operation.REPLACEMENT_ORDER
        )
        return {one.complaint_id: (str(one.order), one.outcome, one.lines) for one in found}

    assert offered() == {of: (order, "approve", ("1",)) for of, order in orders.items()}
    decide.put_out(stage.hub, row.id, ids[0], reason="another cause", asker=asker)
    assert set(offered()) == set(ids[1:3])


def test_what_people_always_complain_of_is_no_burst_until_it_is(crowd: Crowd) -> None:
    stage = crowd.stage
    for n in range(70):
        crowd.say("parking" if n % 7 else "opera", 1, every=timedelta(hours=4))
    look(stage)
    assert everyone(stage) == []
    crowd.say("parking", 6, every=timedelta(minutes=40))
    look(stage)
    assert everyone(stage) == [], "somewhat more than usual"
    crowd.say("newsletter", 6, every=timedelta(minutes=40))
    look(stage)
    assert the_incident(stage).title == "complaints about “newsletter”"
    crowd.say("parking", 25, every=timedelta(minutes=1))
    look(stage)
    assert len(everyone(stage)) == 2, "far more than usual"


def test_what_falls_into_parts_is_told_once(crowd: Crowd) -> None:
    """Nobody of one part is near to anybody of the other, but they are about the same."""
    stage = crowd.stage
    crowd.say("newsletter.daily", 8)
    look(stage)
    crowd.say("newsletter.weekly", 8)
    crowd.say("opera", 8)
    for _ in range(2):
        look(stage)
    assert sorted(row.complaints for row in everyone(stage)) == [8, 16]
    assert len(keys(stage)) == 3


@both_databases
def test_what_a_key_explains_is_told_once(crowd: Crowd) -> None:
    stage = crowd.stage
    crowd.say("#kettlegate", 9)
    look(stage)
    row = the_incident(stage)
    assert row.key == "hashtag:kettlegate"
    assert kinds(stage) == {"hashtag", "near"}
    assert stage.events().count("incident.opened") == 1


def test_a_key_that_shows_later_takes_over_the_name(crowd: Crowd) -> None:
    stage = crowd.stage
    crowd.say("kettlegate", 6)
    look(stage)
    assert the_incident(stage).key.startswith("near:")
    (key,) = keys(stage)
    with stage.hub.database.read() as uow:
        leader = uow.session.get(VectorRow, key.removeprefix("near:"))
    assert leader is not None
    hub, placed = stage.hub, leader.vector

    class Same(Placed):
        def understand(self, text: str, **given: Any) -> Understanding:
            said = super().understand(text, **given)
            vector = Vector(encoder=self.encoder, values=placed)
            return said.model_copy(update={"vector": vector})

    crowd.stage = replace(stage, hub=replace(hub, understands=Same()))
    crowd.say("#kettlegate", 14)
    for _ in range(2):
        look(stage)
    row = the_incident(stage)
    assert (row.key, row.complaints) == ("hashtag:kettlegate", 20)


def test_vectors_of_different_encoders_are_never_compared(crowd: Crowd) -> None:
    stage = crowd.stage
    crowd.say("newsletter", 4)
    other = Placed()
    other.encoder = "made-up@2"
    crowd.stage = replace(stage, hub=replace(stage.hub, understands=other))
    crowd.say("newsletter", 4)
    look(stage)
    assert everyone(stage) == []


def test_without_a_model_there_is_no_vector_and_words_alone_are_compared(crowd: Crowd) -> None:
    stage = crowd.stage
    crowd.stage = replace(stage, hub=replace(stage.hub, understands=Rules()))
    crowd.say("newsletter", 8)
    look(stage)
    assert "near" not in kinds(stage)
    with stage.hub.database.read() as uow:
        assert uow.vectors.unread(limit=1) == []


def test_one_person_alone_is_no_crowd(crowd: Crowd) -> None:
    for _ in range(8):
        crowd.say("newsletter", 1)
        with crowd.stage.hub.database.begin() as uow:
            for row in uow.vectors.unread(limit=100):
                row.who = "one"
                uow.session.add(row)
    look(crowd.stage)
    assert everyone(crowd.stage) == []


@both_databases
def test_what_flares_up_again_is_the_same_and_what_was_dismissed_stays_so(
    crowd: Crowd, asker: Asker
) -> None:
    stage = crowd.stage
    crowd.say("newsletter", 8)
    look(stage)
    row = the_incident(stage)
    decide.dismiss(stage.hub, row.id, reason="known", version=row.version, asker=asker)
    stage.time.pass_(hours=3)
    look(stage)
    assert the_incident(stage).over_at is not None
    crowd.say("newsletter", 9)
    for _ in range(2):
        look(stage)
    row = the_incident(stage)
    assert (row.state, row.complaints, row.over_at) == ("dismissed", 17, None)
    assert stage.events().count("incident.opened") == 1


def test_vectors_are_forgotten_but_for_what_an_incident_is_named_by(crowd: Crowd) -> None:
    stage = crowd.stage
    crowd.say("newsletter", 8)
    look(stage)
    stage.time.pass_(days=15)
    incidents.forget(stage.hub, "day")
    with stage.hub.database.read() as uow:
        left = [row.complaint_id for row in uow.session.exec(select(VectorRow))]
    assert [f"near:{of}" for of in left] == sorted(keys(stage))
    look(stage)
    stage.time.pass_(days=2)
    incidents.forget(stage.hub, "another")
    with stage.hub.database.read() as uow:
        assert list(uow.session.exec(select(VectorRow))) == []


def test_it_is_found_after_the_looking_broke_off(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = crowd.stage
    crowd.say("newsletter", 8)

    def broken(*_: object) -> Sequence[object]:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(incidents, "_answer_for", broken)
        with pytest.raises(RuntimeError):
            look(stage)
    assert everyone(stage) == []
    look(stage)
    assert the_incident(stage).complaints == 8
    assert nearness.look(stage.hub, stage.time()).seen == []
    with stage.hub.database.read() as uow:
        since = bucket_of(stage.time() - 12 * BUCKET)
        (key,) = keys(stage)
        assert sum(uow.incidents.counts({key: since})[key].values()) == 8
