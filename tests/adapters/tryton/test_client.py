"""The wire alone, against payloads: what every answer means, sessions, values, the gzip trap."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from adapters.tryton import client as wire
from adapters.tryton.client import Client, Warned, decoded, encoded, result_of, unfolded
from middleware.contract import errors
from middleware.contract.errors import Ambiguous, Rejected, Transient, Unauthorised
from middleware.contract.http import Limits
from middleware.sandbox.server import SandboxServer

FAULTS = YAML(typ="safe").load((Path(__file__).parent / "payloads" / "faults.yaml").read_text())


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("fault", FAULTS, ids=[fault["name"] for fault in FAULTS])
def test_the_error_table(fault: dict[str, Any], write: bool) -> None:
    expected = fault["write" if write else "read"]
    kind = Warned if expected == "Warned" else getattr(errors, expected)
    with pytest.raises(errors.RemoteError) as raised:
        result_of(fault["status"], {}, fault["body"].encode(), 7, write=write, operation="try_it")
    error = raised.value
    assert type(error) is kind
    assert (error.system, error.operation) == ("tryton", "try_it")
    field = fault.get("field") or (None if write else fault.get("field_on_read"))
    assert error.field == field
    assert fault.get("says", "") in error.message
    assert "hides" not in fault or fault["hides"] not in error.message


def test_every_payload_says_where_it_is_from() -> None:
    assert all(
        fault["origin"] in ("captured", "constructed") or fault["origin"].startswith("constructed:")
        for fault in FAULTS
    )


def test_a_result_may_be_nothing() -> None:
    answer = b'{"id": 7, "result": null}'
    assert result_of(200, {}, answer, 7, write=True, operation="quote") is None


def test_values_go_both_ways() -> None:
    values = {
        "price": Decimal("12.50"),
        "large": Decimal("1E+3"),
        "day": date(2026, 11, 21),
        "moment": datetime(2026, 11, 21, 23, 49, 4, 162202, tzinfo=UTC),
        "none": None,
    }
    written = json.dumps(values, default=encoded)
    assert json.loads(written, object_hook=decoded) == values
    assert json.loads(written)["large"] == {"__class__": "Decimal", "decimal": "1000"}


def test_moments_are_written_in_utc() -> None:
    berlin = timezone(timedelta(hours=1))
    written = encoded(datetime(2026, 11, 21, 0, 30, tzinfo=berlin))
    assert (written["day"], written["hour"], written["minute"]) == (20, 23, 30)


def test_a_type_that_the_wire_has_no_form_for_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="set"):
        json.dumps({"tags": {1}}, default=encoded)


def test_dotted_answers_are_unfolded() -> None:
    row = {
        "id": 3,
        "party": 7,
        "party.": {"id": 7, "lang.": None, "code": "A-2001"},
        "contact.": None,
        "lines.": [{"id": 6, "product.": {"id": 5, "code": "KETL-410"}}],
        "shipments": [9],
    }
    assert unfolded(row) == {
        "id": 3,
        "party": {"id": 7, "lang": None, "code": "A-2001"},
        "contact": None,
        "lines": [{"id": 6, "product": {"id": 5, "code": "KETL-410"}}],
        "shipments": [9],
    }


# A Tryton that is no more than its wire.


class Wire:
    """Sessions, contexts and answers as Tryton has them; `answers` says what each method does."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Any], str | None]] = []
        self.sessions: set[str] = set()
        self.logins = 0
        self.answers: dict[str, Callable[[list[Any]], Any]] = {}
        self.headers: list[dict[str, str]] = []

    def __call__(self, environ: Any, start: Any) -> list[bytes]:
        body = json.loads(environ["wsgi.input"].read())
        method, params = body["method"], body["params"]
        proof = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Session ")
        self.calls.append((method, params, proof or None))
        self.headers.append({k: v for k, v in environ.items() if k.startswith("HTTP_")})
        if method == "common.db.login":
            self.logins += 1
            if params[1]["password"] != "integration-Secret-1":
                return self.refuse(start)
            token = f"token-{self.logins}"
            proof = base64.b64encode(f"{params[0]}:2:{token}".encode()).decode()
            self.sessions.add(proof)
            return self.send(environ, start, {"id": body["id"], "result": [2, token, None]})
        if method.startswith("model.") and proof not in self.sessions:
            return self.refuse(start)
        if method == "common.db.logout":
            self.sessions.discard(proof)
        if method == "model.res.user.get_preferences":
            result: Any = {"company": 1, "language": "en"}
        else:
            answer = self.answers.get(method)
            result = None if answer is None else answer(params)
        kind = "error" if isinstance(result, tuple) else "result"
        return self.send(environ, start, {"id": body["id"], kind: result})

    @staticmethod
    def refuse(start: Any) -> list[bytes]:
        start("401 Unauthorized", [("Content-Type", "text/html")])
        return [b"<!doctype html><title>401 Unauthorized</title>"]

    @staticmethod
    def send(environ: Any, start: Any, answer: Any) -> list[bytes]:
        """protocols/jsonrpc.py, `response`: above 1,400 characters it is labelled gzip, always."""
        payload = json.dumps(answer).encode()
        headers = [("Content-Type", "application/json")]
        if len(payload) > 1400:
            headers.append(("Content-Encoding", "gzip"))
            if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
                payload = gzip.compress(payload)
        start("200 OK", headers)
        return [payload]


@pytest.fixture
def tryton() -> Iterator[tuple[Wire, Client]]:
    app = Wire()
    with SandboxServer(app) as server:
        opened = Client(
            server.url, "erp", "integration", "integration-Secret-1", Limits(total_s=60)
        )
        yield app, opened
        opened.close()
    assert server.errors == []


def called(app: Wire) -> list[str]:
    return [method for method, _, _ in app.calls]


def test_the_first_call_logs_in_and_takes_the_users_context(tryton: tuple[Wire, Client]) -> None:
    app, opened = tryton
    assert app.calls == []
    opened.call("model.sale.sale.search", [], operation="x", context={"locations": [5]})
    opened.call("model.sale.sale.search", [], operation="x")
    assert called(app) == [
        "common.db.login",
        "model.res.user.get_preferences",
        "model.sale.sale.search",
        "model.sale.sale.search",
    ]
    assert app.calls[2][1] == [[], {"company": 1, "language": "en", "locations": [5]}]


def test_large_answers_can_be_read(tryton: tuple[Wire, Client]) -> None:
    """The gzip trap: whoever does not ask for gzip gets a plain body that is labelled gzip."""
    app, opened = tryton
    app.answers["model.sale.sale.search"] = lambda _: list(range(2000))
    assert opened.call("model.sale.sale.search", [], operation="x") == list(range(2000))
    assert all("gzip" in headers["HTTP_ACCEPT_ENCODING"] for headers in app.headers)


@pytest.mark.parametrize("write", [False, True])
def test_an_ended_session_is_renewed_once(tryton: tuple[Wire, Client], write: bool) -> None:
    """Also for a write: Tryton refuses the session before it looks at the call."""
    app, opened = tryton
    app.answers["model.sale.sale.create"] = lambda _: [60]
    opened.log_in(operation="x")
    app.sessions.clear()
    made = opened.call("model.sale.sale.create", [{}], operation="x", write=write)
    assert made == [60]
    assert app.logins == 2


def test_a_session_that_ends_again_is_given_up(tryton: tuple[Wire, Client]) -> None:
    app, opened = tryton
    opened.log_in(operation="x")

    def end(_: list[Any]) -> Any:
        raise AssertionError("never reached")

    app.answers["model.sale.sale.create"] = end
    app.sessions = _Forgetful()
    with pytest.raises(Unauthorised, match="right after the login"):
        opened.call("model.sale.sale.create", [{}], operation="x", write=True)
    assert app.logins == 2


class _Forgetful(set[str]):
    """Accepts a session for its preferences and for nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.uses: dict[object, int] = {}

    def __contains__(self, proof: object) -> bool:
        self.uses[proof] = self.uses.get(proof, 0) + 1
        return super().__contains__(proof) and self.uses[proof] < 2


def test_a_wrong_password_is_said_without_it() -> None:
    with SandboxServer(Wire()) as server:
        opened = Client(server.url, "erp", "integration", "wrong-Secret-1", Limits(total_s=60))
        with pytest.raises(Unauthorised) as raised:
            opened.log_in(operation="check")
        opened.close()
    assert "password is wrong" in raised.value.message
    assert "wrong-Secret-1" not in repr(vars(raised.value)) + str(raised.value)


def test_a_database_that_is_not_loaded_is_worth_another_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Captured: a Tryton started without -d answers `["'res.user'", ""]` to its first login."""
    app = Wire()
    monkeypatch.setattr(
        app, "send", lambda environ, start, answer: Wire.send(
            environ, start, {"id": answer["id"], "error": ["'res.user'", ""]}
        ),
    )  # fmt: skip
    with SandboxServer(app) as server:
        opened = Client(server.url, "erp", "integration", "integration-Secret-1", Limits())
        with pytest.raises(Transient, match="start it with -d"):
            opened.log_in(operation="check")
        opened.close()


WARNING = ("UserWarning", ["154fa38c.complaint_similar", "A similar one exists.", ""])


def warning_once(app: Wire) -> Callable[[list[Any]], Any]:
    """A button that warns until somebody agreed, and uses the agreement up."""
    agreed: list[str] = []
    app.answers["model.res.user.warning.skip"] = lambda params: agreed.append(params[0])
    return lambda _: agreed.clear() if agreed else WARNING


def test_a_warning_is_answered_and_the_button_pressed_again(tryton: tuple[Wire, Client]) -> None:
    app, opened = tryton
    app.answers["model.sale.complaint.wait"] = warning_once(app)
    opened.press("sale.complaint", "wait", 3, operation="x", key="am-00000001")
    assert called(app)[2:] == [
        "model.sale.complaint.wait",
        "model.res.user.warning.skip",
        "model.sale.complaint.wait",
    ]
    assert app.calls[3][1][:2] == ["154fa38c.complaint_similar", False]
    assert [h.get("HTTP_IDEMPOTENCY_KEY") for h in app.headers[2:]] == [
        "am-00000001",
        None,
        "am-00000001",
    ]


def test_a_warning_that_comes_back_is_a_refusal(tryton: tuple[Wire, Client]) -> None:
    app, opened = tryton
    app.answers["model.sale.complaint.wait"] = lambda _: WARNING
    with pytest.raises(Rejected, match="A similar one exists"):
        opened.press("sale.complaint", "wait", 3, operation="x")
    assert called(app).count("model.sale.complaint.wait") == 2


def test_an_unwanted_warning_is_a_refusal() -> None:
    app = Wire()
    app.answers["model.sale.sale.quote"] = lambda _: ("UserWarning", ["a1b2.credit_limit", "!", ""])
    with SandboxServer(app) as server:
        opened = Client(
            server.url,
            *("erp", "integration", "integration-Secret-1"),
            Limits(),
            accept_warnings=("complaint_*",),
        )
        with pytest.raises(Warned) as raised:
            opened.press("sale.sale", "quote", 3, operation="x")
        opened.close()
    assert raised.value.topic == "credit_limit"
    assert "model.res.user.warning.skip" not in called(app)


def test_an_older_tryton_is_agreed_with_by_a_record(tryton: tuple[Wire, Client]) -> None:
    app, _ = tryton
    agreed: list[Any] = []
    app.answers["model.sale.complaint.wait"] = lambda _: None if agreed else WARNING
    app.answers["model.res.user.warning.create"] = lambda params: agreed.append(params[0])
    real = Wire.__call__

    def without_skip(environ: Any, start: Any) -> list[bytes]:
        body = environ["wsgi.input"].read()
        if b"res.user.warning.skip" in body:
            start("403 Forbidden", [("Content-Type", "text/html")])
            return [b"<title>403 Forbidden</title>"]
        environ["wsgi.input"].seek(0)
        return real(app, environ, start)

    with SandboxServer(without_skip) as server:
        older = Client(server.url, "erp", "integration", "integration-Secret-1", Limits())
        older.press("sale.complaint", "wait", 3, operation="x")
        older.close()
    name = "154fa38c.complaint_similar"
    assert agreed == [[{"user": 2, "name": name, "always": False}]]


def test_a_create_must_answer_one_id(tryton: tuple[Wire, Client]) -> None:
    app, opened = tryton
    app.answers["model.sale.sale.create"] = lambda _: []
    with pytest.raises(Ambiguous):
        opened.create("sale.sale", {}, operation="x")


def test_closing_logs_out(tryton: tuple[Wire, Client]) -> None:
    app, opened = tryton
    opened.log_in(operation="x")
    opened.close()
    assert app.sessions == set()
    opened.close()
    assert called(app).count("common.db.logout") == 1


def test_the_clock_is_the_servers(tryton: tuple[Wire, Client]) -> None:
    app, opened = tryton
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert before <= opened.now(operation="x") <= datetime.now(UTC)
    assert called(app) == ["common.server.version"]


def test_every_kind_of_the_table_is_one_that_tryton_sends() -> None:
    kinds = {"UserError", "UserWarning", "ConcurrencyException", "LoginException", "*"}
    assert {rule.kind for rule in wire.RULES} <= kinds
