"""Opens peers and adapters for the shared tests, and marks what an adapter may not pass."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.peer import Fault, Peer, Samples
from tests.conformance.peers import exceptions_of, found

COLLECTED = pytest.StashKey[set[str]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    peers = {peer.name: (peer, exceptions_of(peer.name)) for peer in found()}
    names = config.stash.setdefault(COLLECTED, set())
    for item in items:
        callspec = getattr(item, "callspec", None)
        name = callspec.params.get("peer") if callspec else None
        if name not in peers:
            continue
        names.add(item.name)
        peer, exceptions = peers[name]
        for mark in peer.marks:
            item.add_marker(mark)
        for exception in exceptions:
            if exception.matches(item.name):
                why = f"{exception.kind}: {exception.reason}"
                item.add_marker(pytest.mark.xfail(reason=why, strict=True))


@pytest.fixture(scope="session")
def peer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    """The peer of this name; one serves all tests of a run."""
    module = next(one.module for one in found() if one.name == request.param)
    opened: Peer = module.open_peer(tmp_path_factory.mktemp(request.param))  # type: ignore[union-attr]
    yield opened
    opened.close()


@pytest.fixture
def samples(peer: Peer) -> Samples:
    return peer.samples()


@pytest.fixture
def adapter(
    request: pytest.FixtureRequest, peer: Peer, caplog: pytest.LogCaptureFixture
) -> Iterator[Any]:
    caplog.set_level(logging.DEBUG)
    connection = peer.connection()
    if request.node.callspec.params.get("fault") is Fault.SLOW:
        settings = {**connection.settings, **peer.hurried}
        connection = connection.model_copy(update={"settings": settings})
    opened = peer.adapter.open(connection)
    yield opened
    opened.close()
