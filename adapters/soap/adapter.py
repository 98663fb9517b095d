"""The generic SOAP adapter: a WSDL and a bindings file make it what it is.

`SoapAdapter.open` builds a class with exactly the capabilities that the bindings bind, so that
`isinstance` and `capabilities_of` tell the truth about each connection. Nothing vendor-specific is
in here: names of operations and fields stand in the bindings and the mapping files.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from adapters.soap import grammar, reading, writing
from adapters.soap.bindings import Bindings
from adapters.soap.connection import SoapConnection
from adapters.soap.settings import Secrets, SoapSettings
from middleware.contract.actions import (
    Operation,
)
from middleware.contract.capabilities import (
    Connection,
)
from middleware.contract.mapping import (
    Issue,
    MappingInvalid,
    MappingSet,
)


class SoapAdapter(SoapConnection):
    """A SOAP connection; `open` mixes in what its bindings bind."""

    bindable: ClassVar[tuple[type, ...]] = (*reading.PARTS, *writing.PARTS)

    @classmethod
    def open(cls, connection: Connection) -> Self:
        """Build the adapter that the connection's bindings describe.

        Raises pydantic's ValidationError for settings, secrets and the bindings file (each mistake
        with file:line:column), and WsdlRefused for a WSDL file. The remote is not talked to: a WSDL
        that has an address and no copy in `cache_dir` yet is fetched, and checked, by the first
        call.
        """
        settings = connection.settings_as(SoapSettings)
        secrets = Secrets(settings, connection.secrets)
        connection = connection.model_copy(
            update={"mappings": connection.mappings.for_connection(connection.name)}
        )
        path = _bindings_path(settings, connection.mappings)
        issues: Iterable[Issue] = ()
        try:
            bindings = grammar.read(path, connection.mappings)
        except MappingInvalid as invalid:
            issues = invalid.issues
        if not issues:
            adapter = class_for(bindings)(connection, settings, secrets, bindings)
            documents = adapter._library.stored()
            issues = adapter._connect(documents) if documents is not None else ()
        if issues:
            raise _invalid(issues)
        return cast("Self", adapter)


_classes: dict[tuple[Any, ...], type[SoapAdapter]] = {}


def class_for(bindings: Bindings) -> type[SoapAdapter]:
    """The class with what these bindings bind; the same bindings give the same class."""
    parts: list[type[Any]] = []
    for bound, part in (
        (bindings.contacts, reading.SoapFindsContacts),
        (bindings.accounts, reading.SoapFindsAccounts),
        (bindings.orders, reading.SoapReadsOrders),
        (bindings.shipments, reading.SoapReadsShipments),
        (bindings.invoices, reading.SoapReadsInvoices),
        (bindings.changes, reading.SoapListsChanges),
        ([c for c in bindings.changes.values() if c.counts], reading.SoapCountsRecords),
        ([w for w in bindings.every_write() if w.preview is not None], writing.SoapPreviewsActions),
        (bindings.withdrawals, writing.SoapWithdrawsActions),
    ):
        if bound:
            parts.append(part)
    parts += [writing.WRITES[operation] for operation in Operation if operation in bindings.writes]
    kinds, withdrawable = tuple(bindings.changes), frozenset(bindings.withdrawals)
    key = (*parts, kinds, withdrawable)
    if key not in _classes:
        members: dict[str, Any] = {"__module__": __name__, "__doc__": SoapAdapter.__doc__}
        if kinds:
            members["change_kinds"] = kinds
        if withdrawable:
            members["withdrawable"] = withdrawable
        _classes[key] = type("SoapAdapter", (*parts, SoapAdapter), members)
    return _classes[key]


def _bindings_path(settings: SoapSettings, mappings: MappingSet) -> Path:
    """The bindings file; raises ValidationError where none is named and none is found."""
    if settings.bindings is not None:
        return settings.bindings
    folders = dict.fromkeys(mapping.path.parent for mapping in mappings.mappings)
    found = [f / grammar.FILE_NAME for f in folders if (f / grammar.FILE_NAME).is_file()]
    if len(found) == 1:
        return found[0]
    many = "more than one" if found else "none"
    raise _invalid([f"name the bindings file: there is {many} beside the mapping files"])


def _invalid(issues: Iterable[object]) -> ValidationError:
    """The issues as what `open` raises."""
    return ValidationError.from_exception_data(
        "SoapSettings",
        [
            InitErrorDetails(
                type=PydanticCustomError("bindings", "{issue}", {"issue": str(issue)}),
                loc=("bindings",),
                input=None,
            )
            for issue in issues
        ],
    )
