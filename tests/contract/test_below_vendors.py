"""The session below zeep and simple-salesforce, which pass time-outs of their own, or none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import pytest
from simple_salesforce.api import Salesforce
from zeep.transports import Transport

from middleware.contract import http, wire
from middleware.contract.errors import Ambiguous, Permanent, RemoteError, Transient
from middleware.contract.http import Limits
from tests.contract import lines
from tests.contract.lines import Certificates, Line

Raised = Callable[..., RemoteError]
PATIENT = Limits(connect_s=60, total_s=60, max_bytes=200_000)
SHORT = Limits(connect_s=60, total_s=60, read_s=0.5)
"""For lines that fall silent once they have the request."""


def by_zeep(url: str, limits: Limits, *, write: bool, ca_file: str) -> None:
    with http.session(limits, ca_file=ca_file) as session:
        transport: Any = cast("Any", Transport)(
            session=session, timeout=300, operation_timeout=None
        )
        if write:
            transport.post(url, b"<x/>", {"SOAPAction": "create"})
        else:
            transport.load(url)


def by_simple_salesforce(url: str, limits: Limits, *, write: bool, ca_file: str) -> None:
    with http.session(limits, ca_file=ca_file) as session:
        salesforce: Any = Salesforce(
            instance_url=url, session_id="session-canary", session=session, version="60.0"
        )
        if write:
            salesforce.Case.create({"Subject": "Broken mug"})
        else:
            salesforce.query("SELECT Id FROM Case")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return lines.make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def serve(certificates: Certificates) -> Iterator[Callable[..., Line]]:
    """Over TLS, because simple-salesforce speaks nothing else."""
    running: list[Line] = []

    def start(behaviour: Any, *, tls: bool = True) -> Line:
        running.append(Line(behaviour, tls=certificates.server(certificates.good) if tls else None))
        return running[-1]

    yield start
    for line in running:
        line.stop()


@pytest.fixture
def raised(certificates: Certificates) -> Raised:
    return partial(_raised, str(certificates.ca))


def _raised(
    ca_file: str, call: Any, url: str, limits: Limits = PATIENT, *, write: bool
) -> RemoteError:
    begin = time.monotonic()
    with pytest.raises(Exception, match=r".") as caught:
        call(url, limits, write=write, ca_file=ca_file)
    assert time.monotonic() - begin < 30, "sooner than the line mends, and than the vendor's limits"
    return wire.classify(caught.value, write=write, system="erp", operation="case")


@pytest.mark.parametrize("write", [True, False], ids=["write", "read"])
@pytest.mark.parametrize("call", [by_zeep, by_simple_salesforce])
class TestBelow:
    @pytest.mark.parametrize(
        "behaviour",
        [
            lines.drop_before,
            lines.drop_after,
            lines.reset_after,
            lines.slow_after,
            lines.drip_body,
            lines.drip_head,
            lines.oversized,
            lines.gzip_bomb,
            lines.garbage,
        ],
        ids=lambda behaviour: behaviour.__name__,
    )
    def test_broken(
        self,
        serve: Callable[..., Line],
        raised: Raised,
        call: Any,
        write: bool,
        behaviour: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        line = serve(behaviour)
        monkeypatch.setattr(http, "time", lines.Clock(line))
        limits = SHORT if behaviour is lines.slow_after else PATIENT
        error = raised(call, line.url, limits, write=write)
        assert type(error) is (Ambiguous if write else Transient)
        assert "session-canary" not in repr(error)

    def test_refused(self, raised: Raised, call: Any, write: bool) -> None:
        url = f"https://127.0.0.1:{lines.unused_port()}/"
        assert type(raised(call, url, write=write)) is Transient

    def test_not_tls(
        self, serve: Callable[..., Line], raised: Raised, call: Any, write: bool
    ) -> None:
        line = serve(lines.plain_http, tls=False)
        url = line.url.replace("http:", "https:")
        assert type(raised(call, url, write=write)) is Permanent

    def test_sent_to_another_host(
        self, serve: Callable[..., Line], raised: Raised, call: Any, write: bool
    ) -> None:
        other = serve(lines.always(lines.answer()))
        line = serve(lines.always(lines.answer(302, Location=other.url)))
        assert type(raised(call, line.url, write=write)) is (Ambiguous if write else Permanent)
        assert other.connections == 0
