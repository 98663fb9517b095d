"""Finds mistakes in mapping files, alone (M-codes) and against the live remote (R-codes)."""

from __future__ import annotations

import pathlib
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from middleware.contract.actions import REQUESTS, Operation
from middleware.contract.canonical import CANONICAL, Handle, Kind, Money, Ref
from middleware.contract.capabilities import Description
from middleware.contract.mapping.codes import issue
from middleware.contract.mapping.fields import Direction, FieldRule
from middleware.contract.mapping.file import SUFFIX, root_of
from middleware.contract.mapping.issues import Issue, MappingInvalid, Place, did_you_mean
from middleware.contract.mapping.live import against
from middleware.contract.mapping.mapping import Mapping
from middleware.contract.mapping.mapping_set import clashes, files_below, misnamed
from middleware.contract.mapping.paths import Path
from middleware.contract.mapping.rendering import render

__all__ = ["drift", "find_files", "fixtures_of", "lint", "lint_paths", "render"]

FIXTURES_SUFFIX = ".fixtures.yaml"


def find_files(given: Iterable[pathlib.Path]) -> list[pathlib.Path]:
    """The mapping files among the paths and below the directories, in order, each once."""
    found: dict[pathlib.Path, None] = {}
    for path in map(pathlib.Path, given):
        found.update(dict.fromkeys(files_below(path) if path.is_dir() else [path]))
    return list(found)


def fixtures_of(path: pathlib.Path) -> pathlib.Path:
    """The fixture file that belongs to a mapping file."""
    return path.with_name(path.name.removesuffix(SUFFIX) + FIXTURES_SUFFIX)


def lint_paths(
    given: Iterable[pathlib.Path], description: Description | None = None
) -> list[Issue]:
    """Every issue in the mapping files at, or below, the paths; in the order of the places.

    With a `description` of the remote they are checked against it too; where the files are those
    of several systems, the ones in the folder that bears the described system's name.
    """
    issues: list[Issue] = []
    systems: dict[pathlib.Path, list[Mapping]] = {}
    for folder in map(pathlib.Path, given):
        if folder.is_dir():
            issues.extend(misnamed(folder))
            if not files_below(folder):
                issues.append(issue("M000", f"no file *{SUFFIX} in it", Place(str(folder))))
    for path in find_files(given):
        try:
            mapping = Mapping.load(path)
        except MappingInvalid as invalid:
            issues.extend(invalid.issues)
            continue
        systems.setdefault(_system_of(path), []).append(mapping)
        if not fixtures_of(path).is_file():
            message = f"no fixtures; add {fixtures_of(path).name} beside it"
            issues.append(issue("M007", message, mapping.file.place))
    named = {folder for folder in systems if description and folder.name == description.system}
    for folder, mappings in systems.items():
        described = description if not named or folder in named else None
        for mapping in mappings:
            issues.extend(lint(mapping, described))
        issues.extend(clashes(mappings))
    return in_order(issues)


def _system_of(path: pathlib.Path) -> pathlib.Path:
    """The folder below the tree that stands for one system."""
    tree, here = root_of(path), path.absolute().parent
    inner = here.relative_to(tree).parts if here.is_relative_to(tree) else ()
    return tree.joinpath(*inner[:1])


def lint(mapping: Mapping, description: Description | None = None) -> list[Issue]:
    """What one correct mapping file still has against it, in the order of the file."""
    issues = [*mapping.file.warnings, *_canonical_issues(mapping)]
    if description is not None:
        issues.extend(against(mapping, description))
    return in_order(issues)


def in_order(issues: Iterable[Issue]) -> list[Issue]:
    """The issues in the order of their places."""
    return sorted(issues, key=lambda found: (found.place, found.code, found.message))


def drift(mapping: Mapping, description: Description) -> list[Issue]:
    """What changed in the remote since the file was written: R101, R105, R201, R202 and R203."""
    codes = {"R101", "R105", "R201", "R202", "R203"}
    return in_order(found for found in against(mapping, description) if found.code in codes)


def _canonical_issues(mapping: Mapping) -> Iterator[Issue]:
    """M015: our paths that look like a field of the record or request, and are none.

    A target that resembles no field is meant for `extra`, where such values are kept; a source of
    a push that resembles none may be what the adapter adds.
    """
    name = mapping.canonical
    if mapping.direction is Direction.PUSH:
        if name in set(Operation):
            yield from _unknown_sources(mapping.fields, REQUESTS[Operation(name)], name)
    elif name in set(Kind) and (model := CANONICAL.get(Kind(name))) is not None:
        yield from _unplaced(mapping.fields, model, name)


def _unknown_sources(rules: Iterable[FieldRule], model: Any, name: str) -> Iterator[Issue]:
    for rule in rules:
        for path in rule.read_paths():
            if (hint := _misspelt(path, model)) is not None:
                yield issue("M015", f"{name} has no field {path.text!r}{hint}", rule.where)
        if rule.origin == "each" and len(rule.sources[0]) == 1:
            key = rule.sources[0].key
            field = model.model_fields.get(key) if model is not None else None
            inner = _inner(field.annotation) if field is not None else None
            yield from _unknown_sources(rule.fields, inner, f"{name}.{key}")


def _misspelt(path: Path, model: Any) -> str | None:
    """What a path of ours was meant to be, where it names no field and resembles one."""
    here = None if path.ups else model
    for segment in path.segments:
        if here is None:
            return None
        if segment not in here.model_fields:
            return did_you_mean(segment, {*here.model_fields, "key"} - {segment}) or None
        here = _inner(here.model_fields[segment].annotation)
    return None


def _unplaced(rules: Iterable[FieldRule], model: type[BaseModel], name: str) -> Iterator[Issue]:
    for rule in rules:
        if not rule.direction.pulls:
            continue
        here: Any = model
        for segment in rule.path.segments:
            names = set(here.model_fields) - {"ref", "extra"}
            if segment not in names:
                if hint := did_you_mean(segment, names):
                    message = f"{name} has no field {rule.key!r}{hint}; it is kept in extra"
                    yield issue("M015", message, rule.place)
                break
            here = _inner(here.model_fields[segment].annotation)
            if here is None or here in (Ref, Money, Handle):
                break
        else:
            if rule.origin == "each" and here is not None:
                yield from _unplaced(rule.fields, here, f"{name}.{rule.key}")


def _inner(annotation: Any) -> Any:
    """The model inside an annotation such as `Address | None` or `tuple[OrderLine, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        if (found := _inner(argument)) is not None:
            return found
    return None
