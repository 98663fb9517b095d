"""What every test may ask for."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from middleware.store.database import Database
from tests import databases

databases.thrown_away = True
# Before pytest makes its own folder, which holds every test's SQLite.
if (room := databases.room()) is not None:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", room)

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker does all that needs Tryton, and installs it; the others do not wait for that."""
    for item in items:
        if item.get_closest_marker("tryton") is not None:
            item.add_marker(pytest.mark.xdist_group("tryton"))


@pytest.fixture(autouse=True)
def _logging_stays() -> Iterator[None]:
    """Commands that run in this process set up logging for the whole of it."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(params=databases.BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, migrated database; the test runs once on each kind."""
    url = databases.migrated(request.param, tmp_path)
    yield url
    databases.drop(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()
