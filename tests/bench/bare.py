"""What the hub is held against: bare FastAPI endpoints over the same kind of database.

`python -m tests.bench.bare PORT URL KIND` serves one insert (`insert`) or three indexed reads
(`reads`) with the same server, settings and database pragmas as the hub, and nothing else.
"""

from __future__ import annotations

import sys
import uuid
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI, Request
from sqlalchemy.orm import registry
from sqlmodel import Field, Session, SQLModel, col, select

from middleware.store.tables import PersonRow, RecordRow

ORDERS = 50


class _Own(SQLModel, registry=registry()):
    """Apart from the hub's tables, which migrations are held against."""


class BareRow(_Own, table=True):
    """One row for each request."""

    __tablename__ = "bare"

    id: str = Field(primary_key=True)
    body: bytes
    received_at: datetime


def engine_of(url: str) -> sa.Engine:
    """An engine as a careful beginner sets it up: pooled, WAL, every commit on the disk."""
    if not url.startswith("sqlite"):
        driver = url.replace("postgresql://", "postgresql+psycopg://", 1)
        return sa.create_engine(driver, pool_size=16, max_overflow=16)
    engine = sa.create_engine(url, pool_size=16, max_overflow=16)

    def prepare(connection: Any, _: Any) -> None:
        for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    sa.event.listen(engine, "connect", prepare)
    return engine


def inserting(engine: sa.Engine) -> FastAPI:
    """One committed row, then 202."""
    _Own.metadata.create_all(engine)
    app = FastAPI()

    def store(body: bytes) -> str:
        row = BareRow(id=uuid.uuid4().hex, body=body, received_at=datetime.now(UTC))
        key = row.id
        with Session(engine) as session:
            session.add(row)
            session.commit()
        return key

    @app.post("/rows", status_code=202)
    def accept(payload: dict[str, Any], request: Request) -> dict[str, str]:
        # FastAPI has read and parsed the body; an endpoint in a thread gets no raw one.
        return {"id": store(request._body)}

    return app


def reading(engine: sa.Engine) -> FastAPI:
    """A person, their contact record, and their fifty newest orders."""
    app = FastAPI()

    @app.get("/people/{person_id}")
    def read(person_id: str, crm: str, contact: str, erp: str, account: str) -> dict[str, Any]:
        with Session(engine) as session:
            person = session.get(PersonRow, person_id)
            record = session.get(RecordRow, (crm, "contact", contact))
            query = (
                select(RecordRow)
                .where(
                    RecordRow.connection == erp,
                    RecordRow.account_id == account,
                    RecordRow.kind == "order",
                )
                .order_by(col(RecordRow.sorted_at).desc())
                .limit(ORDERS)
            )
            orders = session.exec(query).all()
            assert person is not None
            assert record is not None
            return {
                "person": {"id": person.id, "name": person.display_name},
                "contact": record.body,
                "orders": [order.body for order in orders],
            }

    return app


def main(port: str, url: str, kind: str) -> None:
    engine = engine_of(url)
    app = inserting(engine) if kind == "insert" else reading(engine)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(port),
        log_config=None,
        access_log=False,
        server_header=False,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
