"""Where we may connect to, and that a name cannot change its mind in between."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from middleware.contract import address, http
from middleware.contract.address import AddressRefused, check_address
from middleware.contract.http import Limits
from tests.contract import lines
from tests.contract.lines import Line

INSIDE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "2002:7f00:1::",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
]
METADATA = [
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
]
PUBLIC = ["8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "64:ff9b::808:808"]


@pytest.mark.parametrize("text", INSIDE)
def test_inside(text: str) -> None:
    with pytest.raises(AddressRefused):
        address.permit(ipaddress.ip_address(text), on_premise=False)
    address.permit(ipaddress.ip_address(text), on_premise=True)


@pytest.mark.parametrize("text", METADATA)
@pytest.mark.parametrize("on_premise", [True, False])
def test_metadata_is_refused_even_on_premise(text: str, on_premise: bool) -> None:
    with pytest.raises(AddressRefused, match="metadata"):
        address.permit(ipaddress.ip_address(text), on_premise=on_premise)


@pytest.mark.parametrize("text", PUBLIC)
def test_public(text: str) -> None:
    address.permit(ipaddress.ip_address(text), on_premise=False)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1/", "private"),
        ("http://localhost:8080/", "private"),
        ("http://2130706433/", "private"),
        ("http://0x7f.1/", "private"),
        ("http://[::1]/", "private"),
        ("http://[::ffff:169.254.169.254]/", "metadata"),
        ("file:///etc/passwd", "https://"),
        ("gopher://example.com/", "https://"),
        ("https://", "https://"),
        ("//example.com/", "https://"),
        ("https://user:secret@8.8.8.8/", "credentials"),
        ("https://8.8.8.8:99999/", "URL"),
        ("https://[not-an-address]/", "URL"),
    ],
)
def test_refused_urls(url: str, says: str) -> None:
    with pytest.raises(AddressRefused, match=says):
        check_address(url, on_premise=False)


def test_what_was_found() -> None:
    found = check_address("https://8.8.8.8/hook", on_premise=False)
    assert (found.scheme, found.host, found.port, found.addresses) == (
        "https",
        "8.8.8.8",
        443,
        ("8.8.8.8",),
    )
    assert check_address("http://127.0.0.1:8069/", on_premise=True).port == 8069


def answers(monkeypatch: pytest.MonkeyPatch, *rounds: list[str]) -> None:
    """Let each look-up of a name give the next of these answers."""
    waiting = list(rounds)

    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return [(None, None, None, "", (text, 0)) for text in waiting.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_one_bad_address_spoils_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, ["8.8.8.8", "127.0.0.1"])
    with pytest.raises(AddressRefused):
        check_address("https://mixed.example.com/", on_premise=False)


def test_a_name_that_rebinds_gets_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Public when it was registered, loopback when the event goes out."""
    line = Line(lines.always(lines.answer()))
    answers(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    url = f"http://rebinding.example.com:{line.port}/"
    check_address(url, on_premise=False)
    with http.public_client(Limits()) as client, pytest.raises(Exception, match=r"private"):
        client.post(url)
    line.stop()
    assert line.connections == 0


def test_the_connection_uses_the_checked_address_and_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One look-up serves both; the Host header still bears the name."""
    line = Line(lines.always(lines.answer()))
    answers(monkeypatch, ["127.0.0.1"])
    with http.client(Limits()) as client:
        client.post(f"http://erp.example.com:{line.port}/")
    line.stop()
    assert line.applied[0].headers["host"] == f"erp.example.com:{line.port}"


def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(lines.always(lines.answer()))
    answers(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    with http.session(Limits()) as session:
        assert session.post(f"http://erp.example.com:{line.port}/").status_code == 200
    line.stop()


def test_no_address_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, [])
    with pytest.raises(socket.gaierror):
        check_address("https://nowhere.example.com/", on_premise=False)


@pytest.mark.parametrize("host", ["a" * 300, "..", "ex ample", "\u2028"])
def test_names_that_are_none(host: str) -> None:
    with pytest.raises(OSError):
        address.resolve(host, within=60)
