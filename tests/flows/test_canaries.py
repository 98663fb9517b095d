"""Planted values: personal data and secrets stay out of the engine's tables and out of the log."""

from __future__ import annotations

import json
import logging
import secrets
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from middleware.app import Application
from middleware.flows.intake import Intake
from middleware.flows.receive import row_of
from middleware.inlets import Delivery
from middleware.settings import Settings
from middleware.store.database import Database
from middleware.store.tables import TABLES

WORDS = "canaryinthetext"
ADDRESS = "canary-address@example.com"
NAME = "Canaria Testperson"
SECRET = "whsec_" + "Y2FuYXJ5" * 6


def others(database: Database) -> list[tuple[str, str]]:
    """Every row of every table that is not ours, as text."""
    inspector = sa.inspect(database.engine)
    schemas = [None] if database.sqlite else ["dbos"]
    found = []
    with database.engine.connect() as connection:
        for schema in schemas:
            for name in inspector.get_table_names(schema=schema):
                if schema is None and (name in TABLES.tables or name == "alembic_version"):
                    continue
                table = sa.table(name, schema=schema)
                query = sa.select(sa.text("*")).select_from(table)
                found += [(name, repr(tuple(row))) for row in connection.execute(query)]
        connection.rollback()
    return found


def test_planted_values_are_in_no_engine_row_and_no_log(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "secret").write_text(SECRET)
    name = f"desk-{secrets.token_hex(4)}"
    settings = Settings(
        database_url=database_url,
        folder=tmp_path,
        connections={
            name: {
                "adapter": "memory",
                "inlet": {"source": "generic", "secrets": ["file:secret"]},
            }
        },
    )
    event = {
        "type": "message.created",
        "timestamp": "2026-11-21T10:00:00Z",
        "data": {
            "id": "m-1",
            "conversation": "c-1",
            "text": f"It is broken, {WORDS}",
            "author": {"network": "x", "native_id": "7", "emails": [ADDRESS], "display_name": NAME},
        },
    }
    with Application(settings) as application:
        application.open()
        application.start()
        hub = application.hub
        intake = Intake(hub)
        for n, body in enumerate((json.dumps(event).encode(), f'{{"{WORDS}": '.encode())):
            delivery = Delivery(
                method="POST",
                path="/",
                body=body,
                received_at=hub.clock(),
                headers={"webhook-id": f"msg_{n}"},
            )
            row = row_of(delivery, connection=name, source="generic", trust="signature")
            intake.submit(row).result(timeout=30)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with application.database.read() as uow:
                done = [a.state for a in uow.actions.page(before=None, limit=5)]
                waiting = uow.inbox.in_state("stored")
            if done == ["done"] and not waiting:
                break
            time.sleep(0.1)
        assert done == ["done"]
        intake.close()
        rows = others(application.database)
    assert len(rows) > 3, "the engine's tables were looked into"
    planted = (WORDS, ADDRESS, NAME, SECRET)
    leaked = [(table, word) for table, text in rows for word in planted if word in text]
    assert not leaked
    logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert not [word for word in planted if word in logged]
