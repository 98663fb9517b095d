"""The chaos harness in the short form that runs with every other test; in full: `make chaos`."""

from __future__ import annotations

import pytest

from tests.chaos.hubs import Times
from tests.chaos.run import TAKEN_OVER_WITHIN_S, WRITES, Wanted, broken, run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

BRISK = Times(total_s=1.0, late_s=1.0, settle_s=4.0, lease_s=4)
FEWER = {name: weight / 2 for name, weight in WRITES.items()}
"""Half the faults of a full run: nobody waits here for a step that fails nine times in a row."""


def test_whatever_dies_and_fails_every_action_has_one_effect() -> None:
    """Kills of the only process, while remotes and lines fail, lie, refuse and commit late."""
    figures = run(
        Wanted(
            database="sqlite", actions=12, kills=2, seed=20261121, times=BRISK, writes=dict(FEWER)
        )
    )
    assert broken(figures) == [], figures
    assert figures["kills"] == 2
    assert figures["accepted"] >= 12
    assert set(figures["states"]) <= {"done", "refused", "partial"}
    assert figures["states"]["done"] >= 8
    assert figures["control_duplicates"] > 0


def test_a_replica_takes_over_what_a_frozen_and_a_dead_one_had() -> None:
    figures = run(
        Wanted(
            database="postgresql",
            actions=14,
            kills=0,
            replicas=2,
            seed=20261122,
            # Fewer faults: what is measured is the takeover, not the remotes' bad days.
            writes={name: weight / 3 for name, weight in WRITES.items()},
            times=BRISK,
            control=False,
        )
    )
    assert broken(figures) == [], figures
    assert figures["freezes"] == 1
    assert figures["takeover_owned"] >= 1
    assert figures["takeover_s"] < TAKEN_OVER_WITHIN_S
    assert figures["states"]["done"] >= 10


@pytest.mark.tryton
def test_a_real_tryton_whose_answers_are_cut_off_is_asked_once() -> None:
    """The proxy before it cuts the line when Tryton has committed, and before, and in between."""
    figures = run(
        Wanted(
            database="sqlite",
            erp="tryton",
            actions=8,
            kills=1,
            seed=20261123,
            writes=dict(FEWER),
        )
    )
    assert broken(figures) == [], figures
    assert figures["kills"] == 1
    assert figures["states"]["done"] >= 5
    assert figures["control_duplicates"] > 0
