"""Links, unlinks, merges, splits, cannot-links, syncs, complaints and undoings, in any order.

`AMENDS_LEDGER_OPERATIONS` makes it go further (10000 takes minutes); a failure names the seed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from middleware.store.database import Database
from tests import databases
from tests.flows.conftest import staged
from tests.flows.walk import walk

OPERATIONS = int(os.environ.get("AMENDS_LEDGER_OPERATIONS", "120"))
EXAMPLES = 2 if OPERATIONS <= 120 else 1


@pytest.mark.timeout(max(300, OPERATIONS))
@pytest.mark.parametrize("kind", databases.BOTH)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=OPERATIONS <= 120,
    phases=(Phase.explicit, Phase.generate),  # a seed has no smaller one that fails the same way
    suppress_health_check=list(HealthCheck),
)
@given(seed=st.integers(0, 2**32))
def test_undone_in_reverse_everything_is_as_it_was(
    kind: str, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    folder: Path = tmp_path_factory.mktemp("walk")
    url = databases.migrated(kind, folder)
    database = Database(url)
    try:
        with staged(database) as stage:
            done = walk(stage, seed, OPERATIONS)
        print(f"{kind} seed {seed}: {dict(done.counts)}, slowest {done.slowest}")
    finally:
        database.close()
        databases.drop(url)
