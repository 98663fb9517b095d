"""Steps that are due while the hub is killed and started again: each is taken, and once."""

from __future__ import annotations

from datetime import timedelta

from tests.flows.punctual import punctuality


def test_each_step_is_taken_once_though_the_hub_is_killed(database_url: str) -> None:
    postgresql = not database_url.startswith("sqlite")
    found = punctuality(
        database_url,
        steps=24,
        over=timedelta(seconds=3),
        kills=1,
        nodes=2 if postgresql else 1,
    )
    assert (found.fired, found.told, found.twice, found.kills) == (24, 24, 0, 1)
    assert found.median_s is not None
    assert found.median_s >= 0
