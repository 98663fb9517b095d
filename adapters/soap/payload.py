"""From nested values to the objects that zeep renders, guided by the WSDL's types.

Values come as a mapping writes them: dicts, lists, text, numbers, moments. Names that the type
does not know go into its `xsd:any` where it has one, as elements of the type's own namespace; the
bindings' `types:` say which type stands in for an abstract or general one. Errors name the path
and never the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any

from lxml import etree
from zeep import xsd
from zeep.xsd.elements.indicators import Choice, Indicator
from zeep.xsd.types.any import AnyType
from zeep.xsd.types.builtins import Boolean, Date, DateTime, Integer, Time
from zeep.xsd.types.builtins import Decimal as XsdDecimal
from zeep.xsd.types.collection import ListType
from zeep.xsd.types.complex import ComplexType
from zeep.xsd.types.simple import AnySimpleType

from adapters.soap.answers import TEXT, XSI

Path = tuple[str, ...]

_xsd: Any = xsd  # zeep's own types are only half annotated


class Unfit(Exception):
    """A value does not fit the WSDL; `path` says where."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{'.'.join(path) or 'the request'}: {reason}")
        self.path = ".".join(path)
        self.reason = reason


@dataclass(slots=True)
class Builder:
    """Builds the arguments of one call. `arrays` collects what `mark_arrays` needs afterwards."""

    schema: Any
    types: Mapping[Path, str] = field(default_factory=dict)
    zone: tzinfo = UTC
    arrays: list[tuple[tuple[tuple[str, int], ...], str, int]] = field(default_factory=list)

    def arguments(self, body_type: Any, values: Mapping[str, Any], *, rpc: bool) -> dict[str, Any]:
        """The keyword arguments of an operation; raises Unfit."""
        if not isinstance(body_type, ComplexType):
            raise Unfit((), "the operation takes no elements")
        made = self._members(body_type, values, (), ())
        if rpc:
            # A part that is left out is left out; None would be an empty element.
            for name, _ in body_type.elements:
                made.setdefault(name, xsd.SkipValue)
        return made

    def element(self, element: Any, values: Mapping[str, Any]) -> Any:
        """A global element, such as a header, with these values; raises Unfit."""
        return element(**self._members(element.type, values, (), ()))

    def _members(
        self, kind: ComplexType, values: Mapping[str, Any], path: Path, spot: tuple[Any, ...]
    ) -> dict[str, Any]:
        members = dict(kind.elements)
        attributes = dict(kind.attributes)
        grouped = isinstance(kind._element, Choice) and kind._element.accepts_multiple
        made: dict[str, Any] = {}
        extra: list[etree._Element] = []
        for name, value in values.items():
            here, at = (*path, name), (*spot, (name, 0))
            if name in members and not isinstance(members[name], Indicator | xsd.Any):
                made[name] = self._member(members[name], value, here, at, grouped=grouped)
            elif name in attributes:
                made[name] = self._scalar(attributes[name].type, value, here)
            elif (container := _repeated(members, name)) is not None:
                owner, element = container
                for position, one in enumerate(value if isinstance(value, list) else [value]):
                    given = self._one(element, one, here, (*spot, (name, position)))
                    made.setdefault(owner, []).append({name: given})
            elif any(isinstance(member, xsd.Any) for member in members.values()):
                space = kind.qname.namespace if kind.qname is not None else None
                extra.extend(loose(name, space, value, here))
            else:
                raise Unfit(here, "the WSDL has no such element")
        if extra:
            owner = next(n for n, member in members.items() if isinstance(member, xsd.Any))
            made[owner] = extra if members[owner].accepts_multiple else extra[0]
        if isinstance(kind._element, Indicator) and kind._element.accepts_multiple:
            return _grouped(kind, made, attributes)
        return made

    def _member(
        self, element: Any, value: Any, path: Path, spot: tuple[Any, ...], *, grouped: bool
    ) -> Any:
        if isinstance(value, list | tuple) and not _takes_list(element.type):
            if element.accepts_multiple or grouped:
                name = spot[-1][0]
                return [
                    self._one(element, one, path, (*spot[:-1], (name, position)))
                    for position, one in enumerate(value)
                ]
            if len(value) != 1:
                raise Unfit(path, f"the WSDL takes one value here, there are {len(value)}")
            value = value[0]
        made = self._one(element, value, path, spot)
        return [made] if element.accepts_multiple else made

    def _one(self, element: Any, value: Any, path: Path, spot: tuple[Any, ...]) -> Any:
        if value is None:
            if not element.nillable:
                raise Unfit(path, "the WSDL does not allow it to be emptied")
            return xsd.Nil
        kind = element.type
        named = self.types.get(path)
        if named is not None:
            kind = self.schema.get_type(etree.QName(named))
        if getattr(kind, "_array_type", None) is not None:
            return self._array(kind, value, path, spot)
        if isinstance(kind, ComplexType):
            if not isinstance(value, Mapping):
                if not _has_text(kind):
                    raise Unfit(path, "the WSDL has elements here, the value has none")
                value = {TEXT: value}
            return kind(**self._members(kind, value, path, spot))
        made = self._scalar(kind, value, path)
        if type(element.type) is AnyType:
            stated = kind if type(kind) is not AnyType else _guessed(made)
            return _xsd.AnyObject(stated, made)
        return made

    def _array(self, kind: Any, value: Any, path: Path, spot: tuple[Any, ...]) -> Any:
        """An array of the SOAP encoding. Its items may come bare or under any one name."""
        if isinstance(value, Mapping):
            if len(value) != 1:
                raise Unfit(path, "an array has one kind of item")
            ((name, value),) = value.items()
            path = (*path, name)
        items = list(value) if isinstance(value, list | tuple) else [value]
        if not items:
            return xsd.SkipValue  # servers refuse an empty encoded array
        item_kind = kind._array_type.array_type
        made = []
        for item in items:
            if isinstance(item_kind, ComplexType):
                if not isinstance(item, Mapping):
                    raise Unfit(path, "the WSDL has elements here, the value has none")
                made.append(item_kind(**self._members(item_kind, item, path, spot)))
            else:
                made.append(self._scalar(item_kind, item, path))
        if item_kind is not None and item_kind.qname is not None:
            self.arrays.append((spot, item_kind.qname.text, len(made)))
        return kind(made)

    def _scalar(self, kind: Any, value: Any, path: Path) -> Any:
        if isinstance(value, Enum):
            value = value.value
        if isinstance(value, Mapping):
            if set(value) == {TEXT}:
                return self._scalar(kind, value[TEXT], path)
            raise Unfit(path, "the WSDL takes one value here, there are elements")
        if isinstance(kind, ListType):
            given = value if isinstance(value, list | tuple) else [value]
            return [self._scalar(kind.item_type, one, path) for one in given]
        if isinstance(value, list | tuple):
            raise Unfit(path, "the WSDL takes one value here, there is a list")
        try:
            return self._converted(kind, value)
        except (ValueError, InvalidOperation):
            wanted = kind.qname.localname if kind.qname is not None else type(kind).__name__
            raise Unfit(path, f"the WSDL wants a value of type {wanted}") from None

    def _converted(self, kind: Any, value: Any) -> Any:
        if isinstance(kind, Boolean):
            return _boolean(value)
        if isinstance(kind, Integer):
            number = Decimal(str(value))
            if number != number.to_integral_value():
                raise ValueError
            return int(number)
        if isinstance(kind, XsdDecimal):
            return Decimal(str(value))
        if isinstance(kind, DateTime):
            return self._moment(value)
        if isinstance(kind, Date):
            if isinstance(value, datetime):
                return value.astimezone(self.zone).date() if value.tzinfo else value.date()
            return value if isinstance(value, date) else date.fromisoformat(str(value))
        if isinstance(kind, Time):
            return value if isinstance(value, time) else time.fromisoformat(str(value))
        return written(value)

    def _moment(self, value: Any) -> datetime:
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, date):
            moment = datetime(value.year, value.month, value.day, tzinfo=self.zone)
        else:
            moment = datetime.fromisoformat(str(value))
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=self.zone)


def _grouped(
    kind: ComplexType, made: dict[str, Any], attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """The members of a type whose whole content repeats, as zeep takes them."""
    own = {name: value for name, value in made.items() if name not in attributes}
    rest = {name: value for name, value in made.items() if name in attributes}
    if isinstance(kind._element, Choice):
        parts = [
            {name: one}
            for name, value in own.items()
            for one in (value if isinstance(value, list) else [value])
        ]
        return {TEXT: parts, **rest}
    return {TEXT: [own], **rest}


def written(value: Any) -> str:
    """A value as text of an element."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "1": True, "false": False, "0": False}
    if str(value).strip().lower() not in known:
        raise ValueError
    return known[str(value).strip().lower()]


def _guessed(value: Any) -> Any:
    if isinstance(value, bool):
        return _xsd.Boolean()
    if isinstance(value, int):
        return _xsd.Integer()
    return _xsd.String()


def _takes_list(kind: Any) -> bool:
    return isinstance(kind, ListType) or getattr(kind, "_array_type", None) is not None


def _has_text(kind: Any) -> bool:
    """Whether the type is a simple one with attributes."""
    return isinstance(kind._element, xsd.Element) and isinstance(kind._element.type, AnySimpleType)


def _repeated(members: Mapping[str, Any], name: str) -> tuple[str, Any] | None:
    """The repeated group that an element belongs to, and the element."""
    for owner, member in members.items():
        if isinstance(member, Indicator):
            inner = dict(member.elements)
            if name in inner and not isinstance(inner[name], Indicator | xsd.Any):
                return owner, inner[name]
    return None


def loose(name: str, space: str | None, value: Any, path: Path) -> Iterator[etree._Element]:
    """Elements for open content, in the namespace of the type that is open."""
    if isinstance(value, list | tuple):
        for one in value:
            yield from loose(name, space, one, path)
        return
    try:
        element = etree.Element(name if name.startswith("{") else etree.QName(space, name))
    except ValueError:
        raise Unfit(path, "it is not a name that XML allows") from None
    if value is None:
        element.set(f"{{{XSI}}}nil", "true")
    elif isinstance(value, Mapping):
        for inner, one in value.items():
            element.extend(list(loose(inner, space, one, (*path, inner))))
    else:
        try:
            element.text = written(value.value if isinstance(value, Enum) else value)
        except ValueError:
            raise Unfit(path, "it holds characters that XML does not allow") from None
    yield element


# What the WSDL asks for, for bindings and descriptions.


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in an operation's input or answer: an element, an attribute, or open content."""

    name: str
    kind: Any
    required: bool
    many: bool
    nillable: bool
    open: bool = False


def slots(kind: Any) -> dict[str, Slot]:
    """The elements and attributes directly below a type; open content stands under `*`."""
    found: dict[str, Slot] = {}
    if not isinstance(kind, ComplexType):
        return found
    item = getattr(kind, "_array_type", None)
    if item is not None:
        return {"item": Slot("item", item.array_type, False, True, False)}
    if _has_text(kind):
        text: Any = kind._element
        found[TEXT] = Slot(TEXT, text.type, True, False, False)
    else:
        _collect_slots(kind._element, True, False, found)
    for name, attribute in kind.attributes:
        if isinstance(attribute, xsd.AnyAttribute) or attribute.name is None:
            continue
        found.setdefault(name, Slot(name, attribute.type, bool(attribute.required), False, False))
    return found


def _collect_slots(part: Any, required: bool, many: bool, found: dict[str, Slot]) -> None:
    if part is None:
        return
    optional = part.min_occurs == 0
    repeated = bool(getattr(part, "accepts_multiple", False)) or many
    if isinstance(part, xsd.Any):
        found["*"] = Slot("*", None, False, True, False, open=True)
    elif isinstance(part, xsd.Element):
        needed = required and not optional and not part.nillable and part.default is None
        found.setdefault(
            part.attr_name, Slot(part.attr_name, part.type, needed, repeated, part.nillable)
        )
    else:
        inner = required and not optional and not isinstance(part, Choice)
        members = [part.child] if hasattr(part, "child") else list(part)
        for member in members:
            _collect_slots(member, inner, repeated, found)


def slot_at(
    kind: Any, path: Path, *, schema: Any, types: Mapping[Path, str], above: Path = ()
) -> Slot | None:
    """Where a path leads, or None; list positions in the path are passed over."""
    slot: Slot | None = None
    for segment in path:
        if segment.isdecimal() and slot is not None and slot.many:
            continue
        here = slots(kind)
        slot = here.get(segment)
        if slot is None and getattr(kind, "_array_type", None) is not None:
            slot = here["item"]  # an encoded array's items have any name
        above = (*above, segment)
        if slot is None:
            if segment == TEXT and not here:
                return Slot(TEXT, kind, True, False, False)
            return here.get("*")
        kind = schema.get_type(etree.QName(types[above])) if above in types else slot.kind
        if type(kind) is AnyType or (kind is None and slot.open):
            return Slot(segment, kind, False, True, False, open=True)
        slot = Slot(slot.name, kind, slot.required, slot.many, slot.nillable, slot.open)
    return slot


def mark_arrays(
    body: etree._Element, arrays: list[tuple[tuple[tuple[str, int], ...], str, int]]
) -> None:
    """Say the type and length of each encoded array, which zeep leaves out.

    Without it some servers store an empty record and answer that all is well.
    """
    encoding = "http://schemas.xmlsoap.org/soap/encoding/"
    for spot, name, count in arrays:
        element: etree._Element | None = body
        for segment, position in spot:
            if element is None:
                break
            named = [c for c in element if etree.QName(c).localname == segment]
            element = named[position] if position < len(named) else None
        if element is None:
            continue
        kind = etree.QName(name)
        prefix = next((p for p, uri in element.nsmap.items() if uri == kind.namespace and p), None)
        if prefix is None:
            # An attribute's value cannot declare a prefix; an attribute that uses it can.
            element.set(f"{{{kind.namespace}}}declares", "")
            prefix = next(p for p, uri in element.nsmap.items() if uri == kind.namespace and p)
            del element.attrib[f"{{{kind.namespace}}}declares"]
        element.set(f"{{{encoding}}}arrayType", f"{prefix}:{kind.localname}[{count}]")
        element.set(f"{{{XSI}}}type", _array_name(element, encoding))


def _array_name(element: etree._Element, encoding: str) -> str:
    prefix = next(p for p, uri in element.nsmap.items() if uri == encoding and p)
    return f"{prefix}:Array"
