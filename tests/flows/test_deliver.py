"""Events on their way out: signed so that others can check, and repeated until taken."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from middleware.contract import http
from middleware.flows import deliver, reconcile
from middleware.flows.hub import EndpointOptions
from middleware.store.tables import DeliveryRow, EndpointRow
from tests.flows.conftest import Stage

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLDER = "whsec_" + "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

Answer = int | tuple[int, dict[str, str]] | Callable[[], object]


@dataclass
class Got:
    path: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str = SECRET) -> Any:
        """What a receiver makes of it with the library that Standard Webhooks gives it."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """Somebody's endpoint on loopback: answers as scripted, then 204 for ever."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    got: list[Got] = field(default_factory=list)
    always: int = 204

    def next(self) -> Answer:
        return self.answers.pop(0) if self.answers else self.always


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.got.append(Got(self.path, headers, body))
            answer = made.next()
            if callable(answer):
                answer()
                return
            status, more = answer if isinstance(answer, tuple) else (answer, {})
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}/hooks"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def listening(
    stage: Stage,
    url: str,
    *,
    secrets: tuple[str, ...] = (SECRET,),
    types: tuple[str, ...] = ("*",),
    on_premise: bool = True,
) -> Stage:
    """The stage with one endpoint, `ops`, at the present time: receivers check timestamps."""
    stage.time.now = datetime.now(UTC).replace(microsecond=0)
    with stage.hub.database.begin() as uow:
        uow.events.declare_endpoints({"ops": (url, list(types))}, at=stage.time.now)
    options = EndpointOptions(
        url=url,
        secrets=tuple(SecretStr(secret) for secret in secrets),
        types=types,
        on_premise=on_premise,
    )
    return stage.with_options(endpoints={"ops": options})


@pytest.fixture
def open_(stage: Stage, receiver: Receiver) -> Stage:
    return listening(stage, receiver.url)


def tell(
    stage: Stage, type_: str = "action.done", subject: str = "act_1", data: Any = None
) -> None:
    with stage.hub.database.begin() as uow:
        deliver.tell(
            stage.hub,
            uow,
            type_,
            subject=subject,
            data=data or {"id": subject},
            at=stage.time.now,
        )


def delivery(stage: Stage) -> DeliveryRow:
    """The latest delivery."""
    import sqlmodel

    with stage.hub.database.read() as uow:
        query = sqlmodel.select(DeliveryRow).order_by(sqlmodel.col(DeliveryRow.id).desc())
        row = uow.session.exec(query).first()
    assert row is not None
    return row


def endpoint(stage: Stage) -> EndpointRow:
    with stage.hub.database.read() as uow:
        row = uow.events.endpoint("ops")
    assert row is not None
    return row


# --- what is sent ------------------------------------------------------------------------------


def test_an_event_can_be_checked_with_the_standard_library(
    open_: Stage, receiver: Receiver
) -> None:
    tell(open_, data={"id": "act_1", "name": "Zoë <&> 日本"})
    open_.run_due()
    (got,) = receiver.got
    assert got.verified() == {
        "type": "action.done",
        "timestamp": open_.time.now.isoformat(),
        "data": {"id": "act_1", "name": "Zoë <&> 日本"},
    }
    assert got.path == "/hooks"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-id"].startswith("msg_")
    with pytest.raises(WebhookVerificationError):
        got.verified(OLDER)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(got.body.replace(b"act_1", b"act_2"), got.headers)
    row = delivery(open_)
    assert (row.state, row.attempts, row.last_status) == ("delivered", 1, 204)


def test_while_a_secret_is_replaced_both_check(stage: Stage, receiver: Receiver) -> None:
    stage = listening(stage, receiver.url, secrets=(SECRET, OLDER))
    tell(stage)
    stage.run_due()
    (got,) = receiver.got
    assert got.verified(SECRET) == got.verified(OLDER)


def test_a_repeat_has_the_same_id_and_a_new_time(open_: Stage, receiver: Receiver) -> None:
    receiver.answers = [500]
    tell(open_)
    open_.run_all()
    first, second = receiver.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert int(second.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
    assert second.verified() == first.verified()


def test_a_large_event_names_where_to_read_it(open_: Stage, receiver: Receiver) -> None:
    tell(open_, subject="cmp_1", data={"id": "cmp_1", "text": "é" * deliver.LARGEST_BODY})
    open_.run_due()
    (got,) = receiver.got
    assert got.verified()["data"] == {"id": "cmp_1", "too_large": True}
    assert len(got.body) <= deliver.LARGEST_BODY


def test_an_endpoint_gets_what_it_asked_for(stage: Stage, receiver: Receiver) -> None:
    stage = listening(stage, receiver.url, types=("action.*", "sync.run.finished"))
    for type_ in ("action.done", "complaint.enriched", "sync.run.finished", "actions.x"):
        tell(stage, type_)
    stage.run_due()
    assert [got.verified()["type"] for got in receiver.got] == ["action.done", "sync.run.finished"]


def test_what_is_rolled_back_is_never_told(open_: Stage, receiver: Receiver) -> None:
    with pytest.raises(RuntimeError), open_.hub.database.begin() as uow:
        deliver.tell(open_.hub, uow, "x", subject="x", data={}, at=open_.time.now)
        raise RuntimeError
    open_.run_all()
    assert receiver.got == []
    assert open_.events() == []


# --- what counts as delivered --------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_taken(open_: Stage, receiver: Receiver, status: int) -> None:
    receiver.answers = [status]
    tell(open_)
    open_.run_all()
    assert len(receiver.got) == 1
    assert delivery(open_).state == "delivered"


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308, 400, 401, 404, 429, 500, 503])
def test_nothing_else_is(open_: Stage, receiver: Receiver, status: int) -> None:
    elsewhere = f"{receiver.url}/elsewhere"
    receiver.answers = [(status, {"Location": elsewhere} if 300 <= status < 400 else {})]
    tell(open_)
    open_.run_due()
    row = delivery(open_)
    assert (row.state, row.attempts, row.last_status) == ("waiting", 1, status)
    assert [got.path for got in receiver.got] == ["/hooks"], "a redirect is not followed"
    open_.run_all()
    assert delivery(open_).state == "delivered"
    assert [got.path for got in receiver.got] == ["/hooks", "/hooks"]


def test_gone_ends_the_endpoint(open_: Stage, receiver: Receiver) -> None:
    tell(open_, subject="act_1")
    tell(open_, subject="act_2")
    receiver.answers = [410]
    open_.run_all()
    assert len(receiver.got) == 1, "what was waiting for it is not sent any more"
    assert delivery(open_).state == "failed"
    assert not endpoint(open_).enabled
    assert endpoint(open_).disabled_reason == "it answered 410 Gone"
    tell(open_, subject="act_3")
    open_.run_all()
    assert len(receiver.got) == 1
    assert open_.events() == ["action.done"] * 3, "the events can still be read"


def test_nobody_there_is_a_failure_with_its_reason(open_: Stage, receiver: Receiver) -> None:
    nowhere = listening(open_, "http://127.0.0.1:9/hooks")
    tell(nowhere)
    nowhere.run_due()
    row = delivery(nowhere)
    assert (row.state, row.last_status) == ("waiting", None)
    assert row.last_error


def test_a_receiver_that_is_slow_has_not_taken_it(
    open_: Stage, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "LIMITS", http.Limits(connect_s=1, total_s=0.3, max_bytes=1024))
    release = threading.Event()
    receiver.answers = [lambda: release.wait(10)]
    tell(open_)
    open_.run_due()
    release.set()
    row = delivery(open_)
    assert (row.state, row.last_status) == ("waiting", None)
    open_.run_all()
    assert delivery(open_).state == "delivered"


# --- how often -----------------------------------------------------------------------------------


def test_the_retries_are_those_that_are_documented(open_: Stage, receiver: Receiver) -> None:
    """5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h, each up to a tenth later."""
    receiver.always = 500
    tell(open_)
    times = []
    open_.run_due()
    times.append(open_.time.now)
    while open_.engine.owed:
        open_.time.now = min(owed.due for owed in open_.engine.owed)
        open_.run_due()
        times.append(open_.time.now)
    waits = [after - before for before, after in pairwise(times)]
    documented = [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert len(waits) == len(documented)
    for wait, seconds in zip(waits, documented, strict=True):
        assert timedelta(seconds=seconds) <= wait <= timedelta(seconds=seconds * 1.1)
    assert len(receiver.got) == 10
    row = delivery(open_)
    assert (row.state, row.attempts, row.due_at) == ("failed", 10, None)
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1


def test_a_receiver_that_asks_for_time_gets_it(open_: Stage, receiver: Receiver) -> None:
    receiver.answers = [(429, {"Retry-After": "600"})]
    tell(open_)
    open_.run_due()
    (owed,) = open_.engine.owed
    assert owed.due - open_.time.now >= timedelta(seconds=600)
    assert delivery(open_).due_at == owed.due


def test_five_days_of_failures_disable_it(open_: Stage, receiver: Receiver) -> None:
    receiver.always = 500
    for _ in range(5):
        tell(open_)
        open_.run_all(hours=24)
        assert endpoint(open_).enabled
        open_.time.now = max(open_.time.now, endpoint(open_).declared_at) + timedelta(minutes=1)
    while open_.time.now <= (endpoint(open_).failing_since or open_.time.now) + timedelta(days=5):
        open_.time.pass_(hours=6)
    tell(open_)
    open_.run_due()
    row = endpoint(open_)
    assert not row.enabled
    assert row.disabled_reason
    assert row.disabled_reason.startswith("nothing but failures since")
    before = len(receiver.got)
    open_.run_all(hours=500)
    assert len(receiver.got) == before
    # Another address is another endpoint.
    again = listening(open_, receiver.url.replace("/hooks", "/new"))
    receiver.always = 204
    tell(again)
    again.run_due()
    assert receiver.got[-1].path == "/new"
    assert endpoint(again).enabled


def test_one_success_ends_the_count(open_: Stage, receiver: Receiver) -> None:
    receiver.answers = [500, 204]
    tell(open_)
    open_.run_due()
    assert endpoint(open_).failing_since == open_.time.now
    open_.run_all()
    assert endpoint(open_).failing_since is None


# --- once more, rather than never ----------------------------------------------------------------


def test_a_death_before_the_outcome_is_noted_sends_it_again_under_the_same_id(
    open_: Stage, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(open_)
    (owed,) = open_.engine.owed

    def crash(*_: object, **__: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(deliver, "_settle", crash)
        open_.run_due()
    assert delivery(open_).state == "waiting"
    open_.handlers["deliver"](*owed.arguments)  # as the engine does after a restart
    assert [got.headers["webhook-id"] for got in receiver.got] == [
        receiver.got[0].headers["webhook-id"]
    ] * 2
    assert delivery(open_).state == "delivered"


def test_a_delivery_that_nobody_carries_any_more_is_taken_up(
    open_: Stage, receiver: Receiver
) -> None:
    tell(open_)
    open_.engine.owed.clear()  # the engine's row is lost
    reconcile.run(open_.hub, "t1")
    assert open_.engine.owed == []
    open_.time.now += open_.hub.options.call_margin + timedelta(seconds=1)
    reconcile.run(open_.hub, "t2")
    open_.run_due()
    assert len(receiver.got) == 1
    assert delivery(open_).state == "delivered"


def test_an_attempt_that_was_made_is_not_made_again(open_: Stage, receiver: Receiver) -> None:
    receiver.answers = [500]
    tell(open_)
    (owed,) = open_.engine.owed
    open_.run_due()
    open_.handlers["deliver"](*owed.arguments)
    assert len(receiver.got) == 1
    open_.run_all()
    open_.handlers["deliver"](delivery(open_).id, "1")
    assert len(receiver.got) == 2


def test_an_endpoint_that_is_no_longer_declared_ends_its_deliveries(
    open_: Stage, receiver: Receiver
) -> None:
    tell(open_)
    with open_.hub.database.begin() as uow:
        uow.events.declare_endpoints({}, at=open_.time.now)
    open_.with_options(endpoints={}).run_due()
    assert receiver.got == []
    row = delivery(open_)
    assert (row.state, row.last_error) == ("failed", "the endpoint is no longer declared")


# --- addresses -----------------------------------------------------------------------------------


def test_a_private_address_is_not_called_unless_the_operator_says_so(
    stage: Stage, receiver: Receiver
) -> None:
    stage = listening(stage, receiver.url, on_premise=False)
    tell(stage)
    stage.run_due()
    assert receiver.got == []
    row = delivery(stage)
    assert (row.state, row.last_status) == ("waiting", None)
    assert row.last_error
    listening(stage, receiver.url).run_all()
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
    ],
)
def test_no_spelling_of_an_inside_address_is_called(
    stage: Stage, receiver: Receiver, host: str
) -> None:
    port = receiver.url.rsplit(":", 1)[1].partition("/")[0]
    stage = listening(stage, f"http://{host}:{port}/hooks", on_premise=False)
    tell(stage)
    stage.run_due()
    assert receiver.got == []
    assert delivery(stage).last_status is None


def test_an_error_that_is_kept_names_no_secret(open_: Stage) -> None:
    stage = listening(open_, "http://127.0.0.1:9/hooks?token=s3cr3t-t0ken")
    tell(stage)
    stage.run_due()
    row = delivery(stage)
    assert row.last_error
    assert "s3cr3t" not in row.last_error
    assert SECRET not in json.dumps(row.model_dump(mode="json"))
