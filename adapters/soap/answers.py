"""Answers as plain trees: element names to text, dicts and lists.

zeep's own reading of answers stops at an element that the WSDL does not know or that comes in
another place, and turns a value it cannot convert into None. Servers do all three. Here names
decide and types do not: what a text means is said by the mapping.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lxml import etree

XSI = "http://www.w3.org/2001/XMLSchema-instance"
TEXT = "_value_1"
"""Where the text of an element lies that has attributes too; zeep's name for it."""

_NOT_DATA = frozenset({XSI, "http://schemas.xmlsoap.org/soap/encoding/",
                       "http://schemas.xmlsoap.org/soap/envelope/",
                       "http://www.w3.org/2003/05/soap-envelope",
                       "http://www.w3.org/2003/05/soap-encoding"})  # fmt: skip

Tree = Any
"""None, a text, a dict of trees, or a list of trees."""


def tree(element: etree._Element) -> Tree:
    """The element as a tree. Repeated names become lists; references of the SOAP encoding
    (`href="#id"`) are followed, though never in a circle."""
    root = element.getroottree().getroot()
    targets: dict[str, etree._Element] = {}
    if any((found.get("href") or "").startswith("#") for found in root.iter(etree.Element)):
        targets = {f"#{found.get('id')}": found for found in root.iter(etree.Element)}
    return _tree(element, targets, ())


def _tree(
    element: etree._Element, targets: Mapping[str, etree._Element], followed: tuple[str, ...]
) -> Tree:
    href = element.get("href")
    if href in targets and len(element) == 0 and href not in followed:
        return _tree(targets[href], targets, (*followed, href))
    if element.get(f"{{{XSI}}}nil") in ("true", "1"):
        return None
    out: dict[str, Tree] = {}
    for child in element.iterchildren(etree.Element):
        name, value = etree.QName(child).localname, _tree(child, targets, followed)
        if name not in out:
            out[name] = value
        elif isinstance(out[name], _Many):
            out[name].append(value)
        else:
            out[name] = _Many((out[name], value))
    attributes = {
        etree.QName(name).localname: value
        for name, value in element.attrib.items()
        if etree.QName(name).namespace not in _NOT_DATA
        # The id that something referred to is bookkeeping; any other may be data.
        and not (name == "id" and f"#{value}" in followed)
    }
    if not out and not attributes:
        return element.text or ""
    if not out and (element.text or "").strip():
        out[TEXT] = element.text
    for name, value in attributes.items():
        out[f"attr__{name}" if name in out else name] = value
    return out


class _Many(list[Tree]):
    """A list that repetition made, unlike one that is a value."""


def collect(value: Tree, path: str) -> list[Tree]:
    """Every node at a path such as `Orders.Order`, lists laid flat; `*` is any name.

    The empty path is the value itself. What is not there, or empty, is left out.
    """
    found = list(_flat(value))
    for segment in path.split(".") if path else ():
        deeper: list[Tree] = []
        for node in found:
            if isinstance(node, dict):
                inner = list(node.values()) if segment == "*" else [node.get(segment)]
                for one in inner:
                    deeper.extend(_flat(one))
        found = deeper
    return [node for node in found if node is not None and node != ""]


def text(value: Tree, path: str) -> str | None:
    """The first text at a path, without the blanks around it."""
    for node in collect(value, path):
        inner = node.get(TEXT) if isinstance(node, dict) else node
        if isinstance(inner, str) and inner.strip():
            return inner.strip()
    return None


def present(value: Tree, path: str) -> bool:
    """Whether there is an element at a path, be it empty."""
    *above, last = path.split(".")
    holders = collect(value, ".".join(above))
    return any(isinstance(holder, dict) and last in holder for holder in holders)


def _flat(value: Tree) -> Iterator[Tree]:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    else:
        yield value
