"""The registry opens each connection's adapter once, and says what it can do."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import SecretStr

from adapters.memory.adapter import MemoryAdapter
from middleware.contract.actions import Operation
from middleware.contract.capabilities import (
    Connection,
    FindsContacts,
    KeyTraits,
    ListsChanges,
    OpensCases,
    WritesNotes,
)
from middleware.contract.errors import NotOffered, Permanent
from middleware.contract.mapping import MappingSet
from middleware.registry import Configured, Registry, adapter_class, capability_table

opened: list[str] = []
closed: list[str] = []


class Slow(MemoryAdapter):
    """Takes its time to open, as an adapter that parses a WSDL does."""

    @classmethod
    def open(cls, connection: Connection) -> Any:
        threading.Event().wait(0.05)
        opened.append(connection.name)
        return super().open(connection)

    def close(self) -> None:
        closed.append(self._connection)


class Bound(MemoryAdapter):
    """A generic adapter whose mapping binds nothing but cases."""

    def key_traits(self, operation: Operation) -> KeyTraits:
        if operation is not Operation.CASE:
            raise NotOffered("not bound")
        return super().key_traits(operation)


class FailsToClose(MemoryAdapter):
    def close(self) -> None:
        raise OSError("already gone")


class OnlyNotes(WritesNotes):
    system = "notes"


ADAPTERS = {
    "memory": "adapters.memory.adapter:MemoryAdapter",
    "slow": f"{__name__}:Slow",
    "bound": f"{__name__}:Bound",
    "fails": f"{__name__}:FailsToClose",
    "absent": "adapters.no_such_folder.adapter:Nothing",
}


def configured(adapter: str, name: str | None = None, **settings: Any) -> Configured:
    secrets = {"token": SecretStr("registry-canary-77aa")}
    connection = Connection(
        name=name or adapter, settings=settings, secrets=secrets, mappings=MappingSet.empty()
    )
    return Configured(adapter, connection)


@pytest.fixture(autouse=True)
def fresh() -> None:
    opened.clear()
    closed.clear()


def test_an_adapter_is_opened_once_however_many_ask() -> None:
    registry = Registry([configured("slow")], adapters=ADAPTERS)
    with ThreadPoolExecutor(8) as threads:
        adapters = list(threads.map(lambda _: registry.adapter("slow"), range(16)))
    assert len({id(adapter) for adapter in adapters}) == 1
    assert opened == ["slow"]


def test_opening_one_does_not_hold_up_another() -> None:
    registry = Registry([configured("slow"), configured("memory")], adapters=ADAPTERS)
    with registry._slots["slow"].lock:
        assert isinstance(registry.adapter("memory"), MemoryAdapter)


def test_nothing_is_opened_before_it_is_needed() -> None:
    registry = Registry([configured("slow"), configured("absent")], adapters=ADAPTERS)
    assert registry.names() == ("slow", "absent")
    assert registry.adapter_name("slow") == "slow"
    assert opened == []


def test_who_offers_what() -> None:
    registry = Registry(
        [configured("memory"), configured("bound"), configured("absent")], adapters=ADAPTERS
    )
    assert registry.offering(OpensCases) == ("memory", "bound")
    assert registry.offering(Operation.CASE) == ("memory", "bound")
    assert registry.offering(Operation.NOTE) == ("memory",)
    assert registry.offering(WritesNotes) == ("memory",)
    assert registry.offering(ListsChanges) == ("memory", "bound")
    assert registry.offers("memory", FindsContacts)
    assert not registry.offers("bound", Operation.RETURN)
    assert not registry.offers("nobody", FindsContacts)


def test_unknown_names() -> None:
    registry = Registry([configured("absent"), configured("unheard-of")], adapters=ADAPTERS)
    with pytest.raises(NotOffered, match="no connection called 'shop'"):
        registry.adapter("shop")
    with pytest.raises(NotOffered, match="no adapter called 'unheard-of'"):
        registry.adapter("unheard-of")
    with pytest.raises(NotOffered, match="not installed"):
        registry.adapter("absent")


def test_wrong_settings_are_named_without_their_values() -> None:
    registry = Registry(
        [configured("memory", pasword="hunter2-canary", timeout_s=-1)], adapters=ADAPTERS
    )
    with pytest.raises(Permanent) as caught:
        registry.adapter("memory")
    assert "pasword" in caught.value.message
    assert "timeout_s" in caught.value.message
    assert "hunter2" not in repr(caught.value)
    assert not registry.offers("memory", OpensCases)


def test_two_connections_of_one_name() -> None:
    with pytest.raises(ValueError, match="two connections are called 'erp'"):
        Registry([configured("memory", "erp"), configured("bound", "erp")], adapters=ADAPTERS)


def test_closing() -> None:
    registry = Registry(
        [configured("fails"), configured("slow"), configured("memory")], adapters=ADAPTERS
    )
    first = registry.adapter("slow")
    registry.adapter("fails")
    registry.close()
    registry.close()
    assert closed == ["slow"]
    assert registry.adapter("slow") is not first


def test_table() -> None:
    table = capability_table(
        {"notes": f"{__name__}:OnlyNotes", **ADAPTERS, "absent": ADAPTERS["slow"]}
    )
    lines = table.splitlines()
    assert lines[0] == "|  | absent | bound | fails | memory | notes | slow |"
    assert "| `WritesNotes` | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ |" in lines
    assert "| `OpensCases` | ✓ | ✓ | ✓ | ✓ |  | ✓ |" in lines


def test_adapter_class_by_name() -> None:
    assert adapter_class("memory") is MemoryAdapter
