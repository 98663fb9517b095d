"""What the sandbox's helpdesk sends, taken in: signer and payloads are not of this room."""

from __future__ import annotations

import io
import json
import queue
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from middleware.domain.arrivals import Arrival
from middleware.inlets import INLETS, Delivery, parse_json
from middleware.sandbox.desk import SECRET, Desk, build_desk

INLET = INLETS["chatwoot"]


class Ear:
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        heard: queue.Queue[Delivery] = queue.Queue()
        self.heard = heard

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                now = datetime.now(UTC)
                heard.put(Delivery("POST", self.path, body, now, headers=dict(self.headers)))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/inlets/desk"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    yield ear
    ear.close()


def write(desk: Desk, **body: Any) -> None:
    raw = json.dumps(body).encode()
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/_sandbox/write",
        "CONTENT_LENGTH": str(len(raw)),
        "wsgi.input": io.BytesIO(raw),
    }
    statuses: list[str] = []
    list(desk(environ, lambda status, headers, *_: statuses.append(status)))  # type: ignore[arg-type]
    assert statuses[0].startswith("2"), statuses


MARIA = {
    "name": "Maria Schmidt",
    "email": "maria.schmidt@example.com",
    "native_id": "2244994999",
    "identifier": "C-1001",
}


def test_a_customer_writes_and_an_agent_answers(ear: Ear) -> None:
    desk = build_desk(webhook_url=ear.url)
    try:
        write(desk, conversation="new", contact=MARIA, network="x", text="Where is SO-10001?")
        asked = ear.heard.get(timeout=10)
        verdict = INLET.verify(asked, ["another-secret", SECRET])
        assert (verdict.ok, verdict.trust, verdict.secret) == (True, "signature", 1)
        payload = parse_json(asked.body)
        (question,) = INLET.arrivals(payload)
        assert isinstance(question, Arrival)
        assert question.text == "Where is SO-10001?"
        assert not question.outgoing
        assert (question.author.network, question.author.native_id) == ("x", "2244994999")
        assert question.author.emails == ("maria.schmidt@example.com",)
        assert question.author.external_ids["chatwoot_identifier"] == "C-1001"
        assert question.posted_at is not None

        write(desk, conversation=int(question.conversation), by="agent", text="On its way!")
        answered = ear.heard.get(timeout=10)
        (answer,) = INLET.arrivals(parse_json(answered.body))
        assert isinstance(answer, Arrival)
        assert answer.outgoing
        assert answer.conversation == question.conversation
        assert answer.author.native_id != "2244994999"
        ids = {INLET.message_id(d, parse_json(d.body)) for d in (asked, answered)}
        assert len(ids) == 2
    finally:
        desk.close()
