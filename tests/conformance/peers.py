"""Finds the peers, and spreads the shared tests over what their adapters can do."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter
from ruamel.yaml import YAML

from middleware.contract.actions import Operation
from middleware.contract.canonical import Kind
from middleware.contract.capabilities import (
    WRITES,
    ListsChanges,
    WithdrawsActions,
    capabilities_of,
)
from middleware.registry import adapter_class
from tests.conformance.peer import Fault

FOLDER = Path(__file__).parents[1] / "adapters"


class Excepted(BaseModel):
    """A shared test that an adapter does not pass, and why."""

    model_config = ConfigDict(extra="forbid")

    test: str
    reason: Annotated[str, StringConstraints(min_length=15)]
    kind: Literal["not_offered", "not_yet"]

    def matches(self, name: str) -> bool:
        # Brackets are part of a test's name; only * and ? are wildcards.
        return fnmatchcase(name, self.test.replace("[", "[[]"))


@dataclass(frozen=True)
class Found:
    """One folder with a peer; `problem` says why it cannot be used."""

    name: str
    adapter: Any
    module: ModuleType | None
    problem: str = ""

    @property
    def marks(self) -> tuple[str, ...]:
        return tuple(getattr(self.module, "MARKS", ()))

    @property
    def operations(self) -> tuple[Operation, ...]:
        if self.adapter is None:
            return ()
        declared = capabilities_of(self.adapter)
        return tuple(op for op, capability in WRITES.items() if capability in declared)

    @property
    def change_kinds(self) -> tuple[Kind, ...]:
        offers = self.adapter is not None and ListsChanges in capabilities_of(self.adapter)
        return tuple(self.adapter.change_kinds) if offers else ()

    @property
    def withdrawable(self) -> tuple[Operation, ...]:
        if not self.has(WithdrawsActions):
            return ()
        return tuple(op for op in Operation if op in self.adapter.withdrawable)

    def has(self, capability: type) -> bool:
        return self.adapter is not None and capability in capabilities_of(self.adapter)


@cache
def found() -> tuple[Found, ...]:
    """Every adapter folder under tests/adapters with a peer.py."""
    return tuple(_find(path.parent.name) for path in sorted(FOLDER.glob("*/peer.py")))


def _find(name: str) -> Found:
    try:
        module = importlib.import_module(f"tests.adapters.{name}.peer")
        # A generic adapter gets its capabilities from its bindings: the peer says which class.
        return Found(name, getattr(module, "ADAPTER", None) or adapter_class(name), module)
    except Exception as error:
        return Found(name, None, None, f"{type(error).__name__}: {error}")


def exceptions_of(name: str) -> list[Excepted]:
    """The entries of an adapter's exceptions.yaml; none if there is no such file."""
    path = FOLDER / name / "exceptions.yaml"
    if not path.exists():
        return []
    entries = YAML(typ="safe").load(path.read_text()) or []
    return TypeAdapter(list[Excepted]).validate_python(entries)


# --- decorators: one test each for … --------------------------------------------------------------


def _spread(names: str, rows: Iterable[tuple[Any, ...]]) -> pytest.MarkDecorator:
    columns = names.split(",")
    return pytest.mark.parametrize(
        columns if len(columns) > 1 else names,
        [
            pytest.param(*row, id="-".join(str(part).removesuffix("()") for part in row))
            for row in rows
        ],
        indirect=["peer"],
    )


def every_peer() -> pytest.MarkDecorator:
    return _spread("peer", ((f.name,) for f in found() if f.adapter))


def every_peer_that(capability: type) -> pytest.MarkDecorator:
    return _spread("peer", ((f.name,) for f in found() if f.has(capability)))


def every_write() -> pytest.MarkDecorator:
    return _spread("peer,operation", ((f.name, op) for f in found() for op in f.operations))


def every_keyed_write() -> pytest.MarkDecorator:
    """Without withdrawals: their proof is the record's own state, whoever changed it."""
    return _spread(
        "peer,operation",
        ((f.name, op) for f in found() for op in f.operations if op is not Operation.WITHDRAWAL),
    )


def every_withdrawable() -> pytest.MarkDecorator:
    return _spread("peer,made_by", ((f.name, op) for f in found() for op in f.withdrawable))


_REMEDIES = {
    Operation.REPLACEMENT_ORDER: Kind.ORDER,
    Operation.RETURN: Kind.RETURN,
    Operation.CREDIT: Kind.INVOICE,
    Operation.STORE_CREDIT: Kind.INVOICE,
}


def every_listed_remedy() -> pytest.MarkDecorator:
    """Of what an order is compensated with, what its adapter both makes and lists."""
    return _spread(
        "peer,operation,kind",
        (
            (f.name, op, kind)
            for f in found()
            for op, kind in _REMEDIES.items()
            if op in f.operations and kind in f.change_kinds
        ),
    )


def every_write_and_fault() -> pytest.MarkDecorator:
    return _spread(
        "peer,operation,fault",
        ((f.name, op, fault) for f in found() for op in f.operations for fault in Fault),
    )


def every_changing_kind() -> pytest.MarkDecorator:
    return _spread("peer,kind", ((f.name, kind) for f in found() for kind in f.change_kinds))


def every_read() -> pytest.MarkDecorator:
    return _spread("peer,read", ((f.name, read) for f in found() for read in reads_of(f)))


def every_read_and_fault() -> pytest.MarkDecorator:
    return _spread(
        "peer,read,fault",
        (
            (f.name, read, fault)
            for f in found()
            for read in reads_of(f)
            for fault in Fault
            if fault is not Fault.DUPLICATE
        ),
    )


def reads_of(peer: Found) -> tuple[str, ...]:
    """The methods that only read: of the reading capabilities, and the finding half of writes."""
    from tests.conformance.calls import READ_CALLS

    return tuple(name for name, (capability, _) in READ_CALLS.items() if peer.has(capability))
