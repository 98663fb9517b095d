"""An adapter opens strictly, does what the protocols say, and knows itself."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from middleware.contract.actions import Operation
from middleware.contract.capabilities import (
    CAPABILITIES,
    WRITES,
    Adapter,
    CheckReport,
    Description,
    KeyTraits,
    NamesItsRemote,
    capabilities_of,
)
from middleware.contract.errors import NotOffered
from tests.conformance.calls import attempt, judge
from tests.conformance.conftest import COLLECTED
from tests.conformance.peer import Fault, Peer
from tests.conformance.peers import every_peer, every_write, exceptions_of, found


@pytest.mark.parametrize("name", [one.name for one in found()])
def test_the_peer_loads(name: str) -> None:
    one = next(one for one in found() if one.name == name)
    assert not one.problem, one.problem
    assert one.adapter.system == name
    assert Adapter in one.adapter.__mro__
    assert capabilities_of(one.adapter), "an adapter can do something"


@pytest.mark.parametrize("name", [one.name for one in found()])
def test_every_exception_names_a_test(name: str, request: pytest.FixtureRequest) -> None:
    collected = request.config.stash[COLLECTED]
    if not any(test.startswith("test_write_under_fault") for test in collected):
        pytest.skip("needs the whole folder")
    unused = [
        exception.test
        for exception in exceptions_of(name)
        if not any(exception.matches(test) for test in collected)
    ]
    assert not unused, "no test has this name; is it spelt right?"


@every_peer()
def test_unknown_settings_are_refused(peer: Peer) -> None:
    connection = peer.connection()
    mistyped = {**connection.settings, "no_such_setting": 1}
    with pytest.raises(ValidationError, match="no_such_setting"):
        peer.adapter.open(connection.model_copy(update={"settings": mistyped}))


@every_peer()
def test_methods_look_like_the_protocols(peer: Peer) -> None:
    def shape(owner: type, name: str) -> list[tuple[str, Any, Any]]:
        signature = inspect.signature(getattr(owner, name))
        return [(p.name, p.kind, p.default) for p in signature.parameters.values()]

    for protocol in (Adapter, *(c for c in CAPABILITIES if c in peer.adapter.__mro__)):
        for name, member in vars(protocol).items():
            if inspect.isfunction(member) and not name.startswith("_"):
                assert shape(peer.adapter, name) == shape(protocol, name), f"{name} differs"


@every_peer()
def test_it_is_not_abstract(peer: Peer) -> None:
    assert not inspect.isabstract(peer.adapter)


@every_peer()
def test_closing_twice_is_safe(peer: Peer) -> None:
    adapter = peer.adapter.open(peer.connection())
    adapter.close()
    adapter.close()


@every_peer()
def test_check_passes(peer: Peer, adapter: Any) -> None:
    report = adapter.check()
    assert isinstance(report, CheckReport)
    assert report.findings
    assert report.ok, [finding for finding in report.findings if not finding.ok]


@every_peer()
def test_check_names_what_is_wrong_with_the_credentials(
    peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    connection = peer.connection()
    assert connection.secrets, "a peer's connection has credentials"
    wrong = {name: SecretStr(f"wrong-{name}-9c1d40") for name in connection.secrets}
    adapter = peer.adapter.open(connection.model_copy(update={"secrets": wrong}))
    outcome = attempt(adapter.check)
    adapter.close()
    judge(outcome, peer, caplog)
    assert outcome.error is None, "check() answers; it does not raise"
    bad = [finding for finding in outcome.answer.findings if not finding.ok]
    assert bad
    assert all(finding.name and finding.detail and finding.remedy for finding in bad)
    told = repr(outcome.answer)
    assert not any(secret.get_secret_value() in told for secret in wrong.values())


@every_peer()
def test_describe(peer: Peer, adapter: Any) -> None:
    description = adapter.describe()
    assert isinstance(description, Description)
    assert description.system
    assert description.objects
    assert all(described.name and described.fields for described in description.objects)


@every_peer()
def test_secrets_are_long_enough_to_look_for(peer: Peer) -> None:
    for name, secret in peer.connection().secrets.items():
        assert len(secret.get_secret_value()) >= 12, f"make {name} longer"


@every_peer()
def test_secrets_are_not_in_its_representation(peer: Peer, adapter: Any) -> None:
    told = repr(adapter) + str(adapter)
    for name, secret in peer.connection().secrets.items():
        assert secret.get_secret_value() not in told, f"{name} is in repr(adapter)"


@every_write()
def test_key_traits(peer: Peer, adapter: Any, operation: Operation) -> None:
    traits = adapter.key_traits(operation)
    assert isinstance(traits, KeyTraits)
    assert traits.settle.total_seconds() >= 0


@every_peer()
def test_no_key_traits_for_what_it_cannot_do(peer: Peer, adapter: Any) -> None:
    declared = capabilities_of(peer.adapter)
    for operation, capability in WRITES.items():
        if capability not in declared:
            with pytest.raises(NotOffered):
                adapter.key_traits(operation)


@every_peer()
def test_it_says_who_its_remote_is_or_nothing(peer: Peer, adapter: Any) -> None:
    """The same whoever asks: the hub stops where it differs."""
    if not isinstance(adapter, NamesItsRemote):
        return
    said = adapter.remote_identity()
    assert said is None or (isinstance(said, str) and said.strip() == said != "")
    assert adapter.remote_identity() == said
    again = peer.adapter.open(peer.connection())
    assert again.remote_identity() == said
    again.close()
    for secret in peer.connection().secrets.values():
        assert secret.get_secret_value() not in (said or "")


@every_peer()
def test_a_remote_that_fails_is_not_one_that_cannot_say(
    peer: Peer, adapter: Any, caplog: pytest.LogCaptureFixture
) -> None:
    if not isinstance(adapter, NamesItsRemote):
        return
    said = adapter.remote_identity()
    with peer.arm(Fault.UNAVAILABLE, write=False):
        outcome = attempt(adapter.remote_identity)
    judge(outcome, peer, caplog)
    assert outcome.error is not None or outcome.answer == said
