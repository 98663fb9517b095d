"""The classifier on exceptions as the libraries make them, and on ones it has never seen."""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3 import HTTPConnectionPool
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError, ReadTimeoutError

from middleware.contract import wire
from middleware.contract.errors import (
    Ambiguous,
    Duplicated,
    Permanent,
    Rejected,
    RemoteError,
    Transient,
    Unauthorised,
)
from tests.contract import lines
from tests.contract.lines import Line


def meant(error: BaseException, *, write: bool = True) -> RemoteError:
    return wire.classify(error, write=write, system="erp", operation="case")


def refused() -> requests.ConnectionError:
    cause = NewConnectionError(None, "refused")  # type: ignore[arg-type]
    cause.__cause__ = ConnectionRefusedError(111, "Connection refused")
    return requests.ConnectionError(MaxRetryError(None, "/", cause))  # type: ignore[arg-type]


def dropped() -> requests.ConnectionError:
    return requests.ConnectionError(ProtocolError("Connection aborted.", ConnectionResetError()))


class TestForeignSessions:
    """What a vendor library raises from a session that is not ours."""

    def test_refused(self) -> None:
        with pytest.raises(requests.ConnectionError) as caught:
            requests.post(f"http://127.0.0.1:{lines.unused_port()}/", timeout=5)
        assert type(meant(caught.value)) is Transient

    def test_dropped_after_applying_is_the_same_class(self) -> None:
        line = Line(lines.drop_after)
        with pytest.raises(requests.ConnectionError) as caught:
            requests.post(line.url, timeout=5)
        line.stop()
        assert type(meant(caught.value)) is Ambiguous
        assert type(meant(caught.value, write=False)) is Transient

    def test_httpx2(self) -> None:
        line = Line(lines.drop_after)
        with pytest.raises(httpx2.RemoteProtocolError) as dropped:
            httpx2.post(line.url)
        line.stop()
        assert type(meant(dropped.value)) is Ambiguous
        with pytest.raises(httpx2.ConnectError) as refused:
            httpx2.post(f"http://127.0.0.1:{lines.unused_port()}/")
        assert type(meant(refused.value)) is Transient

    def test_no_free_connection(self) -> None:
        line = Line(lines.drip_body)
        limits = httpx2.Limits(max_connections=1)
        with (
            httpx2.Client(limits=limits, timeout=httpx2.Timeout(60, pool=0.05)) as client,
            client.stream("GET", line.url),  # holds the only connection
            pytest.raises(httpx2.PoolTimeout) as caught,
        ):
            client.post(line.url)
        line.stop()
        assert type(meant(caught.value)) is Transient
        assert "busy" in meant(caught.value).message

    def test_raise_for_status(self) -> None:
        for status, expected in ((401, Unauthorised), (409, Rejected), (503, Ambiguous)):
            line = Line(lines.always(lines.answer(status)))
            with pytest.raises(requests.HTTPError) as theirs:
                requests.post(line.url, timeout=5).raise_for_status()
            with pytest.raises(httpx2.HTTPStatusError) as ours:
                httpx2.post(line.url).raise_for_status()
            line.stop()
            assert type(meant(theirs.value)) is type(meant(ours.value)) is expected


class TestLayers:
    def test_the_reason_inside_decides(self) -> None:
        assert type(meant(refused())) is Transient
        assert type(meant(dropped())) is Ambiguous

    def test_an_explicit_cause_counts(self) -> None:
        wrapped = RuntimeError("the vendor library gave up")
        wrapped.__cause__ = refused()
        assert type(meant(wrapped)) is Transient

    def test_what_was_handled_at_the_time_does_not(self) -> None:
        """A refused first call must not vouch for the second, which was lost."""
        second = ValueError("the second answer made no sense")
        with pytest.raises(ValueError) as caught:
            try:
                raise refused()
            except requests.ConnectionError:
                raise second  # noqa: B904
        assert isinstance(caught.value.__context__, requests.ConnectionError)
        assert type(meant(caught.value)) is Ambiguous

    def test_evidence_of_sending_wins(self) -> None:
        lost = ReadTimeoutError(HTTPConnectionPool("erp"), "/", "timed out")
        lost.__cause__ = refused()
        assert type(meant(lost)) is Ambiguous

    def test_an_exception_that_wraps_itself(self) -> None:
        error = ValueError("round and round")
        error.args = (error,)
        assert type(meant(error)) is Ambiguous

    def test_a_garbled_record_in_the_middle_is_no_failed_handshake(self) -> None:
        garbled = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
        garbled.reason = "WRONG_VERSION_NUMBER"
        assert type(meant(requests.exceptions.SSLError(garbled))) is Ambiguous
        handshake = NewConnectionError(None, "TLS handshake failed")  # type: ignore[arg-type]
        handshake.__cause__ = garbled
        assert type(meant(requests.ConnectionError(handshake))) is Permanent

    def test_names_count_only_from_http_libraries(self) -> None:
        class ConnectError(Exception):
            """Some library's own, of which we know nothing."""

        assert type(meant(ConnectError())) is Ambiguous

    @pytest.mark.parametrize(
        "error",
        [
            KeyError("id"),
            ValueError("not JSON"),
            OSError(113, "No route to host"),
            ConnectionResetError(104, "reset"),
            BrokenPipeError(32, "pipe"),
            TimeoutError("timed out"),
            ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC]"),
            ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_whatever_is_not_recognised(self, error: Exception) -> None:
        assert type(meant(error)) is Ambiguous
        assert type(meant(error, write=False)) is Transient

    @pytest.mark.parametrize(
        "error",
        [
            ConnectionRefusedError(111, "refused"),
            socket.gaierror(-2, "Name or service not known"),
        ],
    )
    def test_bare_socket_errors(self, error: Exception) -> None:
        assert type(meant(error)) is Transient


def test_remote_errors_pass_and_learn_where_they_come_from() -> None:
    bare, named = Rejected("no"), Duplicated("two", system="crm", operation="note")
    assert meant(bare) is bare
    assert (bare.system, bare.operation) == ("erp", "case")
    assert meant(named, write=False) is named
    assert (named.system, named.operation) == ("crm", "note")


def test_a_read_is_never_ambiguous() -> None:
    unread = Ambiguous("the answer lacks its id", code="mapping", field="id")
    assert meant(unread) is unread
    read = meant(unread, write=False)
    assert type(read) is Transient
    assert (read.message, read.code, read.field) == (unread.message, "mapping", "id")


@pytest.mark.parametrize(
    "interrupt", [KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError(), GeneratorExit()]
)
def test_interrupts_are_no_answers(interrupt: BaseException) -> None:
    with pytest.raises(type(interrupt)):
        meant(interrupt)
    with (
        pytest.raises(type(interrupt)),
        wire.classifying(write=True, system="erp", operation="case"),
    ):
        raise interrupt


def test_classifying_keeps_nothing_of_the_original() -> None:
    with (
        pytest.raises(Ambiguous) as caught,
        wire.classifying(write=True, system="erp", operation="case"),
    ):
        raise ValueError("https://erp.example.com/?token=canary")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "canary" not in repr(caught.value)


class TestStatus:
    def status(self, status: int, **said: Any) -> RemoteError | None:
        headers = said.pop("headers", {})
        return wire.classify_status(
            status, headers, write=True, system="erp", operation="case", **said
        )

    @settings(deadline=None)
    @given(st.integers(-10, 1000), st.booleans())
    def test_always_an_answer_and_never_ambiguous_on_reads(self, status: int, write: bool) -> None:
        error = wire.classify_status(status, {}, write=write, system="erp", operation="case")
        assert (error is None) == (100 <= status < 400)
        assert write or not isinstance(error, Ambiguous)
        if write and error and not 400 <= status < 500 and status != 501:
            assert isinstance(error, Ambiguous), "a 5xx may come after the work was done"

    def test_the_vendor_has_the_word(self) -> None:
        error = self.status(
            400, code="REQUIRED_FIELD", message="Name\n is \x00missing", field="Name"
        )
        assert isinstance(error, Permanent)
        assert (error.message, error.code, error.field) == (
            "Name is missing",
            "REQUIRED_FIELD",
            "Name",
        )

    def test_long_messages_are_cut(self) -> None:
        error = self.status(400, message="x" * 10_000)
        assert error is not None
        assert len(error.message) == 500

    def test_retry_after_on_503_is_kept_for_reads_only(self) -> None:
        """Varnish adds Retry-After to 503s it makes up after losing the backend's answer."""
        headers = {"Retry-After": "5"}
        assert type(self.status(503, headers=headers)) is Ambiguous
        read = wire.classify_status(503, headers, write=False, system="erp", operation="case")
        assert isinstance(read, Transient)
        assert read.retry_after == timedelta(seconds=5)


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "0"}, timedelta(0)),
        ({"RETRY-AFTER": " 120 "}, timedelta(minutes=2)),
        ({"Retry-After": "1.5"}, timedelta(seconds=1.5)),
        ({"Retry-After": "3601"}, wire.LONGEST_WAIT),
        ({"Retry-After": "9" * 400}, wire.LONGEST_WAIT),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        (
            {
                "Date": format_datetime(NOW, usegmt=True),
                "Retry-After": format_datetime(NOW + timedelta(seconds=40), usegmt=True),
            },
            timedelta(seconds=40),
        ),
        (
            {
                "Date": "nonsense",
                "Retry-After": format_datetime(NOW - timedelta(days=9000), usegmt=True),
            },
            timedelta(0),
        ),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, wire.LONGEST_WAIT),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2300"}, wire.LONGEST_WAIT),
    ],
)
def test_retry_after(headers: dict[str, str], expected: timedelta | None) -> None:
    assert wire.retry_after(headers) == expected


@settings(deadline=None)
@given(st.text(max_size=60))
def test_retry_after_survives_anything(said: str) -> None:
    wait = wire.retry_after({"Retry-After": said})
    assert wait is None or timedelta(0) <= wait <= wire.LONGEST_WAIT
