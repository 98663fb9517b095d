"""Whatever the JSON is, an inlet answers; a vendor's next version must not stop us."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from middleware.domain.arrivals import Arrival
from middleware.inlets import INLETS, Delivery, Ignored, Unreadable
from tests.inlets.payloads import NAMES, load

NOW = datetime(2026, 11, 20, 8, 15, tzinfo=UTC)

WORDS = sorted(
    {
        key
        for name in NAMES
        for key in json.dumps(load(name)).replace("\\", " ").split('"')
        if key.isidentifier() or key.startswith("zen:")
    }
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**30), max_value=10**30)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(WORDS)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=6), inner, max_size=6)
    ),
    max_leaves=30,
)


def check(source: str, payload: Any) -> None:
    inlet = INLETS[source]
    readings = inlet.arrivals(payload)
    for reading in readings:
        assert isinstance(reading, Arrival | Unreadable | Ignored)
        if isinstance(reading, Arrival):
            assert reading.source_id
            assert "\x00" not in reading.model_dump_json()
            reading.model_dump_json().encode()
    assert readings or payload == [], "every payload says something"
    body = json.dumps(payload).encode()
    message_id = inlet.message_id(Delivery("POST", "/", body, NOW), payload)
    assert 0 < len(message_id) <= 200


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(sorted(INLETS)), JSON)
def test_any_json(source: str, payload: Any) -> None:
    check(source, payload)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), st.sampled_from(sorted(INLETS)), st.integers(0, 2**32), SCALARS)
def test_a_real_payload_with_parts_replaced(name: str, other: str, seed: int, value: Any) -> None:
    payload = mutated(load(name), random.Random(seed), value)
    check(name.partition("/")[0], payload)
    check(other, payload)


def mutated(payload: Any, chance: random.Random, value: Any) -> Any:
    """The payload with some of its parts replaced, dropped, or wrapped in something else."""
    if isinstance(payload, dict):
        return {
            key: mutated(part, chance, value)
            for key, part in payload.items()
            if chance.random() > 0.02
        }
    if isinstance(payload, list):
        return [mutated(part, chance, value) for part in payload]
    roll = chance.random()
    if roll < 0.06:
        return value
    if roll < 0.08:
        return [payload]
    return {"value": payload} if roll < 0.10 else payload


@pytest.mark.parametrize("name", NAMES)
def test_fields_that_we_do_not_know_change_nothing(name: str) -> None:
    source = name.partition("/")[0]
    before = INLETS[source].arrivals(load(name))
    after = INLETS[source].arrivals(_with_extras(load(name)))
    arrivals = [r for r in after if isinstance(r, Arrival)]
    assert arrivals == [r for r in before if isinstance(r, Arrival)]


def _with_extras(value: Any) -> Any:
    if isinstance(value, dict):
        known = {k: v if k == "external_ids" else _with_extras(v) for k, v in value.items()}
        return {**known, "zz_new": {"a": [1, None]}}
    return [_with_extras(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", NAMES)
def test_the_same_delivery_has_the_same_id_and_another_has_another(name: str) -> None:
    source = name.partition("/")[0]
    payload = load(name)

    def id_of(payload: Any, headers: dict[str, str] | None = None) -> str:
        body = json.dumps(payload).encode()
        delivery = Delivery("POST", "/", body, NOW, headers=headers or {})
        return INLETS[source].message_id(delivery, payload)

    assert id_of(payload) == id_of(payload)
    others = [n for n in NAMES if n.startswith(source) and n != name]
    edits_share_ids = {id_of(load(n)) for n in others}
    assert id_of(payload) not in edits_share_ids


@pytest.mark.parametrize(
    ("source", "header"),
    [
        ("chatwoot", "X-Chatwoot-Delivery"),
        ("zammad", "X-Zammad-Delivery"),
        ("generic", "webhook-id"),
        ("zendesk", "X-Zendesk-Webhook-Invocation-Id"),
    ],
)
def test_a_delivery_id_of_the_source_is_used(source: str, header: str) -> None:
    payload = {"anything": 1}
    ids = {
        INLETS[source].message_id(
            Delivery("POST", "/", body, NOW, headers={header: given}), payload
        )
        for given in ("one", "two")
        for body in (b"1", b"2")
    }
    assert len(ids) == 2


def test_an_edit_is_not_taken_for_its_original() -> None:
    """Chatwoot sends every change of a message under the same event and id."""
    edited, deleted = load("chatwoot/message_edited"), load("chatwoot/message_deleted")
    ids = {
        INLETS["chatwoot"].message_id(Delivery("POST", "/", json.dumps(p).encode(), NOW), p)
        for p in (load("chatwoot/message_created"), edited, deleted)
    }
    assert len(ids) == 3


def test_long_ids_are_shortened_and_stay_different() -> None:
    payload = load("chatwoot/message_created")
    found = set()
    for char in "ab":
        payload["id"] = char * 100_000
        (reading,) = INLETS["chatwoot"].arrivals(payload)
        assert isinstance(reading, Arrival)
        assert len(reading.source_id) < 200
        found.add(reading.source_id)
    assert len(found) == 2
