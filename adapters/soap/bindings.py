"""What a bindings file says: which operation of the WSDL does what the hub asks for.

`grammar.read` makes it from the file, `fit.against` checks it against the WSDL, and the adapter
does what it says. The guide for the people who write it is `docs/soap-bindings.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta, tzinfo
from pathlib import Path
from typing import Any

from middleware.contract.actions import Operation
from middleware.contract.canonical import Kind
from middleware.contract.mapping.issues import Place


@dataclass(frozen=True, slots=True)
class Argument:
    """One element of an operation's input, and where its value comes from."""

    path: tuple[str, ...]
    place: Place
    source: tuple[str, ...] = ()
    const: Any = None
    texts: tuple[str, ...] = ()
    """With a template: literal text and paths by turns."""
    quote: str = "refuse"
    format: str | None = None
    default: Any = None
    steps: tuple[Callable[[Any], Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Paging:
    """How an answer that does not fit into one comes in several."""

    style: str
    place: Place
    next: str = ""
    pages: str = ""
    total: str = ""
    done: str = ""
    size: int = 0
    start: int = 1
    stable: bool = False
    more: Call | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One operation with its arguments, and where its rows lie in the answer."""

    operation: str
    place: Place
    arguments: tuple[Argument, ...] = ()
    result: str = ""
    id: str = ""
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    paging: Paging | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """How somebody is found by one part of a clue."""

    by: str
    call: Call


@dataclass(frozen=True, slots=True)
class Orders:
    read: Call
    find: Call
    of: Call
    kinds: tuple[Kind, ...]
    newest_first: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """How changed records of one kind are listed."""

    call: Call
    deleted: str
    as_of: str
    overlap: timedelta
    count: str = ""
    """Where an answer says how many records there are in all."""

    @property
    def counts(self) -> bool:
        """Whether that is what a sync would read: it passes nothing over."""
        return bool(self.count) and not self.call.only


@dataclass(frozen=True, slots=True)
class EffectRule:
    """A line of a preview: text over the answer, or over each row of it."""

    what: tuple[str, ...]
    each: str = ""
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    amount: str = ""
    currency: str = ""
    """A path, or a code such as EUR."""


@dataclass(frozen=True, slots=True)
class PreviewRule:
    call: Call
    mapped: bool
    """Whether the operation takes what the mapping writes, and so simulates the write itself."""
    effects: tuple[EffectRule, ...]
    warnings: tuple[EffectRule, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """A write and how it is found again."""

    operation: Operation
    mapping: str
    """What the push mapping that writes the request is for."""
    place: Place
    call: Call
    find: Call
    key: str
    """The path of our key in a row that `find` answers."""
    by_key: bool
    """Whether `find` asks for our key; otherwise it asks for the record that was changed."""
    kind: Kind
    native: bool
    settle: timedelta
    receipt: Mapping[str, str]
    gone: bool
    """Whether a record that is not there any more is proof too, for a withdrawal."""
    existed: tuple[str, str] | None
    preview: PreviewRule | None


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """An error inside an answer with status 200."""

    at: str
    when: Mapping[str, tuple[str, ...]]
    code: str
    message: str
    field: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a fault code or a business error's code means."""

    code: str
    outcome: str
    texts: tuple[str, ...]
    masks: str
    """What this fault is also given for: `credentials`, where the remote hides wrong ones."""

    def fits(self, code: str) -> bool:
        if self.code.endswith("*"):
            return code.startswith(self.code[:-1])
        return code == self.code


@dataclass(frozen=True, slots=True)
class Header:
    """A SOAP header that goes with an operation, always the same."""

    element: str
    values: Mapping[str, Any]
    place: Place


@dataclass(frozen=True, slots=True)
class Manner:
    """How one operation is called and its answer read."""

    action: str | None = None
    within: str = ""
    error: ErrorRule | None = None
    faults: tuple[Outcome, ...] = ()
    fault_code: str = ""
    headers: tuple[Header, ...] = ()
    types: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    type_places: Mapping[tuple[str, ...], Place] = field(default_factory=dict)

    def outcome(self, code: str) -> Outcome | None:
        """The exact entry, else the longest `prefix*` that fits."""
        fitting = [rule for rule in self.faults if rule.fits(code)]
        return max(fitting, key=lambda r: (not r.code.endswith("*"), len(r.code)), default=None)


@dataclass(frozen=True, slots=True)
class Bindings:
    """A checked bindings file."""

    path: Path
    place: Place
    system: str
    lock: str | None
    lock_place: Place
    service: str | None
    port: str | None
    zone: tzinfo
    usual: Manner
    manners: Mapping[str, Manner]
    manner_places: Mapping[str, Place]
    check: Call | None
    version: str
    contacts: tuple[Lookup, ...] = ()
    accounts: tuple[Lookup, ...] = ()
    orders: Orders | None = None
    shipments: Call | None = None
    invoices: Call | None = None
    changes: Mapping[Kind, Changes] = field(default_factory=dict)
    writes: Mapping[Operation, Write] = field(default_factory=dict)
    withdrawals: Mapping[Operation, Write] = field(default_factory=dict)
    """How a write is taken back, by the operation that made it."""

    def every_write(self) -> Iterator[Write]:
        yield from self.writes.values()
        yield from self.withdrawals.values()

    def manner(self, operation: str) -> Manner:
        return self.manners.get(operation, self.usual)

    def calls(self) -> Iterator[Call]:
        """Every bound call."""
        yield from _reads(self)
        for write in self.every_write():
            yield write.call
            yield write.find
            if write.preview is not None:
                yield write.preview.call


def _reads(bindings: Bindings) -> Iterator[Call]:
    direct = [bindings.check, bindings.shipments, bindings.invoices]
    direct += [lookup.call for lookup in (*bindings.contacts, *bindings.accounts)]
    if bindings.orders is not None:
        direct += [bindings.orders.read, bindings.orders.find, bindings.orders.of]
    direct += [changes.call for changes in bindings.changes.values()]
    for call in direct:
        if call is None:
            continue
        yield call
        if call.paging is not None and call.paging.more is not None:
            yield call.paging.more
