"""Replicas that are started at the same moment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from middleware.app import Application
from middleware.settings import Settings
from middleware.store.ledger import Ledger
from tests import databases


def test_replicas_that_begin_at_once_declare_the_same_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would find nothing declared and declare it, if one didn't wait for the other."""
    both = threading.Barrier(2)
    declare = Ledger.declare_version

    def together(self: Ledger, *arguments: Any, **named: Any) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        declare(self, *arguments, **named)

    monkeypatch.setattr(Ledger, "declare_version", together)
    url = databases.migrated("postgresql", tmp_path)
    replicas = [Application(Settings(database_url=url)) for _ in range(2)]
    try:
        with ThreadPoolExecutor(2) as threads:
            for opening in [threads.submit(one.open) for one in replicas]:
                opening.result(60)
        with replicas[0].database.engine.connect() as connection:
            for table in ("resolution_version", "policy"):
                assert connection.scalar(sa.text(f"select count(*) from {table}")) == 1, table
            connection.rollback()
    finally:
        for one in replicas:
            one.close()
        databases.drop(url)
