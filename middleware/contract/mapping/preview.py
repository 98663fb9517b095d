"""What a mapping makes of one real record, line by line, before anything is stored or sent."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Values
from dataclasses import dataclass
from typing import Any

from middleware.contract.mapping import document
from middleware.contract.mapping.compiling import CLEAR, Compiled
from middleware.contract.mapping.document import plain
from middleware.contract.mapping.fields import Direction, FieldRule
from middleware.contract.mapping.issues import Issue, MappingInvalid, Place
from middleware.contract.mapping.mapping import Mapping
from middleware.contract.mapping.paths import Up
from middleware.contract.mapping.steps import Refused

MASK = "•••"
MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One line of a preview: `after` is what goes to `target`, or `problem` says why nothing does.

    With `masked` the line holds personal data, and `before` and `after` do not show it.
    """

    target: str
    source: str
    before: Any
    after: Any
    problem: str
    place: str
    masked: bool = False

    @property
    def ok(self) -> bool:
        return not self.problem


def preview(
    mapping: Mapping, sample: Values[str, Any], *, show_personal: bool = False
) -> list[PreviewRow]:
    """The lines of a mapping over a sample: theirs for a pull or both, ours for a push.

    Fields with `pii: true` are masked unless `show_personal`.
    """
    plan = mapping.creating if mapping.direction is Direction.PUSH else mapping.reading
    return list(_rows(plan, dict(sample), None, "", show_personal, hidden=False))


def pushed(
    rules: Iterable[FieldRule], mapping: Mapping, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldRule]]:
    """Every path of theirs that a mapping file writes, with its line."""
    back = mapping.direction.pulls
    for rule in rules:
        if not rule.direction.pushes:
            continue
        target = rule.push_path if back else rule.path
        if target is None:
            continue
        path = (*above, *target.segments)
        if rule.fields:
            yield from pushed(rule.fields, mapping, path)
        else:
            yield path, rule


def masked(mapping: Mapping, payload: Values[str, Any]) -> dict[str, Any]:
    """What a push would send, for people to look at: what the mapping calls personal is hidden."""
    personal = {path for path, rule in pushed(mapping.fields, mapping) if rule.pii}

    def shown(value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            return {name: shown(inner, (*path, name)) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [shown(inner, path) for inner in value]
        if value is not None and any(path[: len(one)] == one for one in personal):
            return MASK
        return value if isinstance(value, str | int | float | bool | None) else str(value)

    return {name: shown(value, (name,)) for name, value in payload.items()}


def preview_file(
    path: pathlib.Path,
    sample: Values[str, Any] | pathlib.Path,
    *,
    show_personal: bool = False,
) -> list[PreviewRow]:
    """`preview` of a mapping file; raises MappingInvalid.

    The sample is a record, or a JSON or YAML file with one; of a fixture file the first `in`.
    """
    mapping = Mapping.load(pathlib.Path(path))
    record = sample if isinstance(sample, Values) else read_sample(pathlib.Path(sample))
    return preview(mapping, record, show_personal=show_personal)


def read_sample(path: pathlib.Path) -> dict[str, Any]:
    """A sample record from a JSON or YAML file; raises MappingInvalid with the place."""
    place = Place(str(path))
    if path.suffix == ".json":
        try:
            if path.stat().st_size > MAX_BYTES:
                raise MappingInvalid([Issue("M000", f"larger than {MAX_BYTES} bytes", place)])
            found = json.loads(path.read_text(encoding="utf-8-sig"))
        except json.JSONDecodeError as error:
            where = Place(str(path), error.lineno, error.colno)
            raise MappingInvalid([Issue("M000", f"not JSON: {error.msg}", where)]) from error
        except (UnicodeDecodeError, RecursionError, OSError) as error:
            reason = getattr(error, "strerror", None) or "not JSON"
            raise MappingInvalid([Issue("M000", f"cannot be read: {reason}", place)]) from error
    else:
        found = plain(document.read(path))
    if isinstance(found, list) and found:
        first = found[0]
        found = first["in"] if isinstance(first, dict) and "in" in first else first
    if not isinstance(found, dict):
        raise MappingInvalid([Issue("M000", "a sample is one record, an object of fields", place)])
    return found


def _rows(
    plan: Iterable[Compiled],
    record: Any,
    up: Up,
    prefix: str,
    show: bool,
    *,
    hidden: bool,
) -> Iterator[PreviewRow]:
    for line in plan:
        rule = line.rule
        masked = (rule.pii or hidden) and not show
        before = line.raw(record, up)
        problem, after = "", None
        try:
            after = line.run(record, up)
        except Refused as refused:
            problem = str(refused)
        if line.inner and before is not None and (problem or after is not None):
            elements = before if isinstance(before, list | tuple) else [before]
            for index, element in enumerate(elements):
                yield from _rows(
                    line.inner,
                    element,
                    (record, up, index + 1),
                    f"{prefix}{line.key}.{index + 1}.",
                    show,
                    hidden=rule.pii or hidden,
                )
            continue
        yield PreviewRow(
            target=prefix + line.key,
            source=_source(rule),
            before=_shown(before, masked),
            after=_shown(None if after is CLEAR else after, masked),
            problem=problem,
            place=line.place,
            masked=masked,
        )


def _shown(value: Any, masked: bool) -> Any:
    return MASK if masked and value not in (None, "", [], ()) else value


def _source(rule: FieldRule) -> str:
    """Where the value comes from, as it stands in the file."""
    if rule.origin == "const":
        return f"const {rule.const}"
    if rule.origin == "template":
        parts = [rule.texts[0]]
        for path, following in zip(rule.sources, rule.texts[1:], strict=True):
            parts += [f"{{{path.text}}}", following]
        return "".join(parts)
    joint = {"first_of": " | ", "all_of": " + "}.get(rule.origin, "")
    return joint.join(path.text for path in rule.sources)
