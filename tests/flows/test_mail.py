"""E-mails of escalation steps: owed with their event, sent once each, repeated when they fail."""

from __future__ import annotations

import email
import email.policy
import smtplib
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from middleware.flows import prioritise, reconcile
from middleware.flows.hub import EmailOptions
from middleware.store.tables import DeliveryRow
from tests.api.conftest import both_databases, database_url
from tests.flows.conftest import Stage
from tests.flows.test_prioritise import KIM, STEPS, look, put
from tests.flows.test_receive import arrive, event, the_complaint

__all__ = ["database_url"]

RULES: dict[str, Any] = {
    **STEPS,
    "calendars": {"office": {"open": {"mon": ["09:00-17:00"]}}},
    "rota": {"hours": "office", "first": "2026-01-05T09:00:00", "people": ["ann"]},
}


class Server(socketserver.ThreadingTCPServer):
    """A mail server of a few words, which answers `RCPT` and the message as it is told."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        self.messages: list[tuple[str, email.message.EmailMessage]] = []
        self.to_recipient = {"boss@example.com": b"250 ok"}
        self.to_message: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Talk)


class _Talk(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        to = ""
        while line := self.rfile.readline().strip():
            word = line.split(b" ")[0].upper()
            said = b"250 ok"
            if word == b"RCPT":
                to = line.split(b"<")[1].rstrip(b">").decode()
                said = self.server.to_recipient.get(to, b"250 ok")
            elif word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                body = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    body += part
                said = self.server.to_message.pop(0) if self.server.to_message else b"250 ok"
                if said.startswith(b"250"):
                    read = email.message_from_bytes(body, policy=email.policy.default)
                    self.server.messages.append((to, read))
            elif word == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(said + b"\r\n")


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def mailing(stage: Stage, server: Server) -> Stage:
    port = server.server_address[1]
    options = EmailOptions(
        host="127.0.0.1", port=port, sender="amends@example.com", security="none"
    )
    return stage.with_options(email=options)


def late(stage: Stage, *to: str) -> None:
    """A complaint that nobody answered in time, which is mailed to these."""
    named = list(to or ("ann", "boss@example.com", "on_call"))
    put(stage, **{**RULES, "escalations": [{"name": "late", "used": 1.0, "email": named}]})
    arrive(stage, event(author=KIM))
    stage.time.pass_(minutes=61)
    prioritise.run(stage.hub, "tick")


def mails(stage: Stage) -> dict[str, DeliveryRow]:
    with stage.hub.database.read() as uow:
        events = [e.id for e in uow.events.since(0, limit=100) if e.type == "complaint.escalated"]
        query = select(DeliveryRow).where(col(DeliveryRow.event_id).in_(events))
        found = list(uow.session.exec(query))
    return {row.endpoint: row for row in found}


@both_databases
def test_a_step_mails_whom_it_names_once_each(known: Stage, server: Server) -> None:
    stage = mailing(known, server)
    late(stage)
    stage.run_due()
    # Ann is named, and is on call: one message.
    assert sorted(to for to, _ in server.messages) == ["ann@example.com", "boss@example.com"]
    complaint = the_complaint(stage)
    _, message = server.messages[0]
    assert complaint.id in message["Subject"]
    assert message["From"] == "amends@example.com"
    assert "late_s: 120.0" in message.get_content()
    assert "lamp" not in message.get_content()
    assert {row.state for row in mails(stage).values()} == {"delivered"}
    assert len({m["Message-ID"] for _, m in server.messages}) == 1
    for _ in range(2):
        look(stage)
    assert len(server.messages) == 2


def test_what_was_refused_is_tried_again_and_an_unknown_address_is_not(
    known: Stage, server: Server
) -> None:
    server.to_recipient = {"boss@example.com": b"550 no such user"}
    server.to_message = [b"451 try later"]
    stage = mailing(known, server)
    late(stage)
    stage.run_due()
    made = mails(stage)
    assert made["mailto:boss@example.com"].state == "failed"
    assert (made["mailto:ann@example.com"].state, made["mailto:ann@example.com"].attempts) == (
        "waiting",
        1,
    )
    stage.time.pass_(seconds=6)
    stage.run_due()
    assert mails(stage)["mailto:ann@example.com"].state == "delivered"
    assert [to for to, _ in server.messages] == ["ann@example.com"]


def test_without_a_mail_server_the_event_is_told_and_says_that_nobody_was_mailed(
    known: Stage,
) -> None:
    late(known)
    assert mails(known) == {}
    with known.hub.database.read() as uow:
        (step,) = uow.queue.steps_of(the_complaint(known).id)
    assert step.detail is not None
    assert (step.detail["mailed"], step.detail["not_mailed"]) == (0, 2)
    assert step.late_s == timedelta(minutes=2).total_seconds()


class PowerCutError(BaseException):
    """What a kill looks like from within."""


def cut(stage: Stage, monkeypatch: pytest.MonkeyPatch, *, before: bool) -> None:
    """Run the deliveries that are due, killed as the first message is handed over."""
    real = smtplib.SMTP.data

    def killed(self: smtplib.SMTP, text: bytes) -> object:
        if not before:
            real(self, text)
        raise PowerCutError

    with monkeypatch.context() as patched:
        patched.setattr(smtplib.SMTP, "data", killed)
        with pytest.raises(PowerCutError):
            stage.run_due()


def taken_up_again(stage: Stage) -> None:
    """What was owed and not heard of is owed anew."""
    stage.time.pass_(minutes=5)
    reconcile._owe_deliveries(stage.hub, stage.time())
    stage.run_due()


@both_databases
def test_a_mail_that_may_have_arrived_is_repeated_once_as_the_same(
    known: Stage, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = mailing(known, server)
    late(stage, "ann")
    cut(stage, monkeypatch, before=False)
    (row,) = mails(stage).values()
    assert (row.state, row.in_doubt) == ("waiting", 1), "it is in doubt before it is sent"
    taken_up_again(stage)
    (row,) = mails(stage).values()
    assert (row.state, row.in_doubt) == ("delivered", 1)
    assert len({bytes(message) for _, message in server.messages}) == 1
    assert [to for to, _ in server.messages] == ["ann@example.com"] * 2


def test_a_mail_in_doubt_twice_is_left_alone(
    known: Stage, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = mailing(known, server)
    late(stage, "ann")
    cut(stage, monkeypatch, before=False)
    stage.time.pass_(minutes=5)
    reconcile._owe_deliveries(stage.hub, stage.time())
    cut(stage, monkeypatch, before=True)
    for _ in range(3):
        taken_up_again(stage)
    (row,) = mails(stage).values()
    assert (row.state, row.last_error) == ("failed", "no answer told whether it arrived, twice")
    assert len(server.messages) == 1


def test_a_line_that_breaks_leaves_a_mail_in_doubt_only_once_its_text_was_sent(
    known: Stage, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = mailing(known, server)
    late(stage, "ann")

    def broken(*_: object) -> object:
        raise smtplib.SMTPServerDisconnected("gone")

    for method, in_doubt in (("rcpt", 0), ("data", 1)):
        with monkeypatch.context() as patched:
            patched.setattr(smtplib.SMTP, method, broken)
            stage.run_due()
        (row,) = mails(stage).values()
        assert (row.state, row.in_doubt) == ("waiting", in_doubt), method
        stage.time.pass_(minutes=6)
    stage.run_due()
    assert len(server.messages) == 1
