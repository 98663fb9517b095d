"""The chaos harness in the short form that runs with every other test."""

from __future__ import annotations

import pytest

from tests import databases
from tests.chaos.hubs import Times
from tests.chaos.run import TAKEN_OVER_WITHIN_S, WRITES, Wanted, broken, run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.mark.parametrize("database", databases.BOTH)
def test_whatever_dies_and_fails_every_action_has_one_effect(database: str) -> None:
    """Kills of the only process, while remotes answer, drop, hang, lie and commit late."""
    figures = run(Wanted(database=database, actions=25, kills=3, seed=20261121))
    assert broken(figures) == [], figures
    assert figures["kills"] == 3
    assert figures["states"] == {"done": 25}
    assert figures["unknown"] == 0


def test_a_replica_takes_over_what_a_frozen_and_a_dead_one_had() -> None:
    figures = run(
        Wanted(
            database="postgresql",
            actions=18,
            kills=0,
            replicas=2,
            seed=20261122,
            # Fewer faults: what is measured is the takeover, not the remotes' bad days.
            writes={name: weight / 3 for name, weight in WRITES.items()},
            times=Times(lease_s=4),
            control=False,
        )
    )
    assert broken(figures) == [], figures
    assert figures["freezes"] == 1
    assert figures["takeover_owned"] >= 1
    assert figures["takeover_s"] < TAKEN_OVER_WITHIN_S
    assert figures["states"] == {"done": 18}
