"""The API over the stage of the flows' tests: a real hub, remotes in memory, a clock that waits."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from middleware.api import create_api
from middleware.flows import keys
from middleware.flows.intake import Intake
from middleware.flows.keys import Scope
from tests import databases
from tests.flows.conftest import Stage, asker, known, read, stage

__all__ = ["asker", "known", "read", "stage"]

SECRET = "whsec_" + "a2V5" * 8
"""The signing secret of the stage's helpdesk."""


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """SQLite; a test that says `both_databases` runs on PostgreSQL too."""
    url = databases.migrated(getattr(request, "param", "sqlite"), tmp_path)
    yield url
    databases.drop(url)


both_databases = pytest.mark.parametrize("database_url", databases.BOTH, indirect=True)


@dataclass
class Api:
    """A client with a key for whatever it asks, and the stage behind it."""

    client: TestClient
    app: FastAPI
    stage: Stage
    intake: Intake
    _keys: dict[frozenset[str], str] = field(default_factory=dict)

    def key(self, *scopes: str) -> str:
        """A key with these scopes."""
        wanted = frozenset(scopes or (Scope.ADMIN,))
        if wanted not in self._keys:
            _, self._keys[wanted] = keys.make_key(self.stage.hub, "test", sorted(wanted))
        return self._keys[wanted]

    def call(
        self,
        method: str,
        path: str,
        *,
        scopes: tuple[str, ...] = (),
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> httpx2.Response:
        sent = {"Authorization": f"Bearer {self.key(*scopes)}", **(headers or {})}
        return self.client.request(method, path, headers=sent, **more)

    def get(self, path: str, **more: Any) -> httpx2.Response:
        return self.call("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        return self.call("POST", path, **({"json": body} if body is not None else {}), **more)

    def put(self, path: str, body: Any, **more: Any) -> httpx2.Response:
        return self.call("PUT", path, json=body, **more)

    def send_in(self, text: str = "My lamp from order SO-10001 arrived broken", **data: Any) -> str:
        """Post a complaint and have it handled; answers its id."""
        answer = self.post("/v1/complaints", sent(text, **data))
        assert answer.status_code == 202, answer.text
        self.stage.run_due()
        shown = self.get(answer.headers["Location"]).json()
        (complaint,) = shown["complaints"]
        return str(complaint)

    def deliver(self, body: bytes, *, message_id: str = "msg_1", **more: Any) -> httpx2.Response:
        """Deliver to the stage's helpdesk inlet, signed as its source signs."""
        headers = signed(self.stage, body, message_id) | more.pop("headers", {})
        path = more.pop("path", f"/v1/inlets/{self.stage.names['desk']}")
        return self.client.post(path, content=body, headers=headers, **more)

    def inbox(self) -> list[str]:
        """The states of everything in the inbox."""
        with self.stage.hub.database.read() as uow:
            states = ("stored", "handled", "quarantined", "ignored")
            return [row.state for s in states for row in uow.inbox.in_state(s)]


def sent(
    text: str | None = "My lamp from order SO-10001 arrived broken", **data: Any
) -> dict[str, Any]:
    """A complaint as somebody sends it in."""
    author = {"network": "x", "native_id": "77", "handle": "kimberg", "display_name": "Kim"}
    type_ = data.pop("type", "message.created")
    timestamp = data.pop("timestamp", "2026-11-21T11:59:00Z")
    connection = data.pop("connection", "api")
    return {
        "connection": connection,
        "type": type_,
        "timestamp": timestamp,
        "data": {
            "id": "m-1",
            "conversation": "c-1",
            "author": author | data.pop("author", {}),
            **({"text": text} if text is not None else {}),
            **data,
        },
    }


def signed(stage: Stage, body: bytes, message_id: str = "msg_1") -> dict[str, str]:
    timestamp = str(int(stage.time().timestamp()))
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    base = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, base, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
        "content-type": "application/json",
    }


def event(text: str = "My lamp arrived broken", **data: Any) -> bytes:
    """One event in the form of the generic inlet."""
    body = sent(text, **data)
    del body["connection"]
    return json.dumps(body).encode()


@contextmanager
def over(stage: Stage) -> Iterator[Api]:
    """The API over a stage."""
    intake = Intake(stage.hub)
    app = create_api(
        stage.hub,
        intake,
        version="1.2.3",
        requests_per_minute=None,
    )
    with TestClient(app) as client:
        yield Api(client=client, app=app, stage=stage, intake=intake)
    intake.close()


@pytest.fixture
def api(known: Stage) -> Iterator[Api]:
    """The API over a stage whose records are synced."""
    with over(known) as made:
        yield made
