"""A pile-on while the hub is killed: one incident, and every customer served once."""

from __future__ import annotations

from pathlib import Path

from tests.flows.piled import served

CUSTOMERS = 6


def test_each_customer_is_served_once_though_the_hub_is_killed(
    database_url: str, tmp_path: Path
) -> None:
    """All points at which it may be killed: `python -m tests.flows.piled`."""
    sqlite = database_url.startswith("sqlite")
    points = ["opening", "carrying"] if sqlite else ["opened"]
    found = served(database_url, tmp_path / "books", customers=CUSTOMERS, points=points)
    assert (found.incidents, found.told, found.members) == (1, 1, CUSTOMERS)
    assert found.counted == CUSTOMERS
    assert (found.actions, found.done) == (CUSTOMERS, CUSTOMERS)
    assert (found.replaced, found.twice) == (CUSTOMERS, 0)
