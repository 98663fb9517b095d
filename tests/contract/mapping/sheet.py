"""Short mapping files for tests."""

from __future__ import annotations

from textwrap import dedent, indent

import pytest

from middleware.contract.mapping import Issue, Mapping, MappingInvalid

HEADS = {
    "pull": "source: {object: Thing}\ntarget: {canonical: contact}\n",
    "both": "source: {object: Thing}\ntarget: {canonical: contact}\n",
    "push": "source: {canonical: case_update}\ntarget: {object: Thing}\n",
}


def sheet(fields: str, *, direction: str = "pull", more: str = "") -> str:
    """The text of a mapping file with these lines under `fields:`, which is line 6."""
    return (
        f"mapping: 1\nid: test.thing\n{HEADS[direction]}direction: {direction}\n"
        f"fields:\n{indent(dedent(fields).strip(), '  ')}\n{dedent(more)}"
    )


def pull(fields: str, more: str = "") -> Mapping:
    return Mapping.parse(sheet(fields, more=more))


def push(fields: str, more: str = "") -> Mapping:
    return Mapping.parse(sheet(fields, direction="push", more=more))


def both(fields: str, more: str = "") -> Mapping:
    return Mapping.parse(sheet(fields, direction="both", more=more))


def issues(text: str) -> tuple[Issue, ...]:
    """The issues that the text is refused for."""
    with pytest.raises(MappingInvalid) as caught:
        Mapping.parse(text)
    return caught.value.issues
