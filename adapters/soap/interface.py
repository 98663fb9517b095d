"""What the WSDL offers: operations, and what goes into and comes out of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lxml import etree
from zeep import xsd
from zeep.exceptions import Error as ZeepError
from zeep.wsdl.bindings import Soap11Binding, Soap12Binding
from zeep.xsd.types.any import AnyType
from zeep.xsd.types.complex import ComplexType

from adapters.soap import wsdl
from adapters.soap.bindings import Bindings
from adapters.soap.payload import slot_at, slots
from adapters.soap.settings import SoapSettings
from adapters.soap.wsdl import Documents, WsdlRefused
from middleware.contract.capabilities import FieldInfo

_DEEPEST = 6
"""How deep a description goes; vendors' types contain themselves."""
_MOST_FIELDS = 2_000


class Interface:
    """One SOAP port of a WSDL, as zeep read it."""

    def __init__(
        self, documents: Documents, bindings: Bindings, settings: SoapSettings, *, system: str
    ) -> None:
        read = wsdl.read(documents, system=system)
        self.lock = read.lock
        self.document: Any = read.document
        self.binding, self.address = self._chosen(bindings, settings.soap_version, system)
        self._bindings = bindings
        self._facts = read.facts
        self._extended = read.extended

    def _chosen(self, bindings: Bindings, version: str | None, system: str) -> tuple[Any, str]:
        """The binding to use, and the address that the WSDL states for it."""
        kinds = {"1.1": Soap11Binding, "1.2": Soap12Binding}
        wanted: Any = kinds.get(version or "", (Soap11Binding, Soap12Binding))
        for name, service in self.document.services.items():
            if bindings.service not in (None, name):
                continue
            for port_name, port in service.ports.items():
                if bindings.port in (None, port_name) and isinstance(port.binding, wanted):
                    return port.binding, port.binding_options.get("address") or ""
        raise WsdlRefused(
            "the WSDL has no SOAP port that fits the bindings' service and port and the "
            "connection's soap_version",
            system=system,
            operation="wsdl",
            code="wsdl",
        )

    def operations(self) -> Iterable[str]:
        return list(self.binding.all())

    def knows_type(self, name: str) -> bool:
        try:
            return self.document.types.get_type(etree.QName(name)) is not None
        except (ZeepError, LookupError, KeyError):
            return False

    def lacks(
        self, operation: str, path: tuple[str, ...], types: Mapping[tuple[str, ...], str]
    ) -> bool:
        kind = self._input(operation)
        return slot_at(kind, path, schema=self.document.types, types=types) is None

    def lacks_answer(self, operation: str, path: tuple[str, ...]) -> bool:
        kind = self._output(operation)
        for position in range(1, len(path) + 1):
            at = slot_at(kind, path[:position], schema=self.document.types, types={})
            if at is None:
                above = (
                    slot_at(kind, path[: position - 1], schema=self.document.types, types={})
                    if position > 1
                    else None
                )
                holder = above.kind if above is not None else kind
                # A type that others extend may be one of those in the answer.
                return getattr(holder, "_value_class", None) not in self._extended
            if at.open:
                return False
        return kind is None and bool(path)

    def needs(
        self,
        operation: str,
        paths: Iterable[tuple[str, ...]],
        types: Mapping[tuple[str, ...], str],
    ) -> Iterator[str]:
        rpc = self.binding.get(operation).style == "rpc"
        yield from _needed(self._input(operation), list(paths), self.document.types, types, (), rpc)

    def input_fields(self, operation: str) -> tuple[FieldInfo, ...]:
        """The elements of an operation's input, by path, for describing it."""
        types = self._bindings.manner(operation).types
        return self._fields(self._input(operation), types)

    def answer_fields(self, operation: str, path: str, name: str) -> tuple[FieldInfo, ...]:
        """The elements of an operation's answer below a path.

        Where the WSDL puts a general type there, the one called `name` that extends it counts.
        """
        kind = self._output(operation)
        if path:
            at = slot_at(kind, tuple(path.split(".")), schema=self.document.types, types={})
            kind = at.kind if at is not None else None
        if getattr(kind, "_value_class", None) in self._extended:
            special = [
                found
                for found in self.document.types.types
                if isinstance(found, ComplexType)
                and found.qname is not None
                and found.qname.localname == name
                and kind._value_class in found._extension_types
            ]
            if len(special) == 1:
                kind = special[0]
        return self._fields(kind, {})

    def _input(self, operation: str) -> Any:
        bound = self.binding.get(operation)
        body = bound.input.body if bound is not None and bound.input is not None else None
        return body.type if body is not None else None

    def _output(self, operation: str) -> Any:
        bound = self.binding.get(operation)
        body = bound.output.body if bound is not None and bound.output is not None else None
        return body.type if body is not None else None

    def expected(self, operation: str) -> str | None:
        """The element that the answer's body begins with, where the WSDL fixes it."""
        bound = self.binding.get(operation)
        if bound is None or bound.style == "rpc" or bound.output is None:
            return None
        body = bound.output.body
        if body is None or getattr(bound.output, "_is_body_wrapped", False):
            return None
        return str(etree.QName(body.qname).localname)

    def answers(self, operation: str) -> bool:
        """Whether the WSDL promises an answer at all."""
        bound = self.binding.get(operation)
        return bound is not None and bound.output is not None and bound.output.body is not None

    def _fields(self, kind: Any, types: Mapping[tuple[str, ...], str]) -> tuple[FieldInfo, ...]:
        found: list[FieldInfo] = []

        def walk(kind: Any, above: tuple[str, ...], seen: tuple[Any, ...]) -> None:
            if len(above) >= _DEEPEST or kind in seen:
                return
            for name, slot in slots(kind).items():
                if len(found) >= _MOST_FIELDS or slot.open:
                    continue
                path = (*above, name)
                inner = slot.kind
                if path in types:
                    inner = self.document.types.get_type(etree.QName(types[path]))
                facts = self._facts.get(inner.qname.text, {}) if inner.qname is not None else {}
                found.append(
                    FieldInfo(
                        name=".".join(path),
                        type=_type_name(inner),
                        required=slot.required,
                        max_length=facts.get("max_length"),
                        values=facts.get("values", ()),
                    )
                )
                walk(inner, path, (*seen, kind))

        walk(kind, (), ())
        return tuple(found)


def _type_name(kind: Any) -> str:
    if isinstance(kind, ComplexType):
        return "object"
    if type(kind) is AnyType:
        return "any"
    for base in type(kind).__mro__:
        name = getattr(base, "_default_qname", None)
        if base.__module__ == xsd.String.__module__ and name is not None:
            return str(name.localname)
    return "string"


def _needed(
    kind: Any,
    paths: list[tuple[str, ...]],
    schema: Any,
    types: Mapping[tuple[str, ...], str],
    above: tuple[str, ...],
    lenient: bool,
) -> Iterator[str]:
    """Required elements below a type that is sent, which no path reaches."""
    here = slots(kind)
    groups: dict[str, list[tuple[str, ...]]] = {}
    for path in paths:
        rest = path[1:]
        while rest and rest[0].isdecimal():
            rest = rest[1:]
        groups.setdefault(path[0], []).append(rest)
    for name, slot in here.items():
        if slot.required and name not in groups and not lenient:
            yield ".".join((*above, name))
    for name, inside in groups.items():
        found = here.get(name)
        deeper = [path for path in inside if path]
        if found is None or found.open or len(deeper) < len(inside):
            continue
        at = (*above, name)
        inner = schema.get_type(etree.QName(types[at])) if at in types else found.kind
        yield from _needed(inner, deeper, schema, types, at, False)
