"""Value tables: codes of one system in the words of the other."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from middleware.contract.mapping.document import Block, Scalar
from middleware.contract.mapping.issues import Place
from middleware.contract.mapping.shapes import Report
from middleware.contract.mapping.steps import Convert, Refused, text

MAX_BYTES = 16 * 1024 * 1024
WILDCARD = "*"
MAX_DIGITS = 40


@dataclass(frozen=True, slots=True)
class Table:
    """`entries` is keyed by the source value's text; `otherwise` None means there is none."""

    name: str
    place: Place
    entries: Mapping[str, Any]
    sources: Mapping[str, Any]
    """The source values as typed in the file, by their text."""
    otherwise: Any
    pairs: bool

    def doubles(self) -> tuple[str, ...]:
        """Target values that several source values share."""
        seen: dict[str, int] = {}
        for target in self.entries.values():
            seen[text(target)] = seen.get(text(target), 0) + 1
        return tuple(target for target, count in seen.items() if count > 1)

    def reader(self, unknown: str, *, secret: bool) -> Convert:
        """Source → target. A `secret` value is not repeated in the reason."""
        return _lookup(self.entries, self.otherwise, unknown, secret)

    def writer(self, unknown: str, *, secret: bool) -> Convert:
        """Target → source, of a one-to-one table."""
        back = {text(target): self.sources[source] for source, target in self.entries.items()}
        return _lookup(back, None, unknown, secret)


def key_of(value: Any) -> str:
    """The text by which a table knows a value: 1, 1.0 and "1" are the same code."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return f"{value:.0f}" if value.adjusted() < MAX_DIGITS else text(value)
    return text(value)


def _lookup(entries: Mapping[str, Any], otherwise: Any, unknown: str, secret: bool) -> Convert:
    known = ", ".join(list(entries)[:12]) + (", …" if len(entries) > 12 else "")

    def convert(value: Any) -> Any:
        code = value if type(value) is str else key_of(value)
        if code in entries:
            return entries[code]
        if otherwise is not None:
            return otherwise
        if unknown == "keep":
            return value
        if unknown == "null":
            return None
        which = "the value" if secret or len(code) > 64 else repr(code)
        raise Refused(f"{which} is not in the table; known: {known}")

    return convert


def from_block(name: str, block: Block, base: Path, root: Path, report: Report) -> Table | None:
    """Read a checked table; reports M004, M005, M012 and answers None when it is wrong."""
    kinds = [kind for kind in ("pairs", "map", "file") if kind in block.entries]
    if len(kinds) != 1:
        report.error("M012", "a table needs exactly one of pairs, map, file", block.place)
        return None
    (kind,) = kinds
    otherwise: Any = None
    if isinstance(stated := block.get("otherwise"), Scalar):
        otherwise = stated.value
    entries: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    if kind == "file":
        entry = block.entries["file"]
        assert isinstance(entry.node, Scalar)
        found = _from_file(entry.node, base, root, report)
        if found is None:
            return None
        entries, sources = found, {source: source for source in found}
    else:
        codes = block.get(kind)
        assert isinstance(codes, Block)
        for source, code in codes.entries.items():
            assert isinstance(code.node, Scalar)
            entries[source] = code.node.value
            sources[source] = code.key.value if code.key.value is not None else source
    if WILDCARD in entries:
        if otherwise is not None:
            report.error("M011", 'a table has "*" or otherwise, not both', block.place)
            return None
        otherwise = entries.pop(WILDCARD)
        sources.pop(WILDCARD)
    table = Table(name, block.place, entries, sources, otherwise, kind == "pairs")
    if kind == "pairs" and not one_to_one(table, block.place_of("pairs"), report):
        return None
    if kind == "pairs" and otherwise is not None:
        report.error("M005", "pairs go both ways, so they have no otherwise; use map", block.place)
        return None
    return table


def one_to_one(table: Table, place: Place, report: Report) -> bool:
    """Report M005 when two source values share a target, so that the way back is a guess."""
    doubles = table.doubles()
    if not doubles:
        return True
    return report.error(
        "M005",
        f"two-way table is not one-to-one: several entries give {', '.join(map(repr, doubles))}",
        place,
    )


def _from_file(node: Scalar, base: Path, root: Path, report: Report) -> dict[str, Any] | None:
    path = (base / node.text).resolve()
    if not path.is_relative_to(root.resolve()):
        report.error("M004", f"{node.text} lies outside the mappings directory", node.place)
        return None
    try:
        if path.exists() and not path.is_file():
            report.error("M004", f"{node.text} is not a file", node.place)
            return None
        if path.stat().st_size > MAX_BYTES:
            report.error("M004", f"{node.text} is larger than {MAX_BYTES} bytes", node.place)
            return None
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        report.error("M004", f"{node.text} is not UTF-8 (byte {error.start})", node.place)
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        report.error("M004", f"{node.text} cannot be read: {reason}", node.place)
        return None
    return _from_csv(content, str(Path(node.place.file).parent / node.text), report)


def _from_csv(content: str, file: str, report: Report) -> dict[str, Any] | None:
    header = content.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    entries: dict[str, Any] = {}
    errors = report.errors
    try:
        names = [name.strip() for name in next(rows, [])]
        if names != ["source", "target"]:
            report.error("M004", "the first line must be source,target", Place(file, 1, 1))
            return None
        for row in rows:
            place = Place(file, rows.line_num, 1)
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != 2:
                report.error("M004", f"{len(row)} columns; a table has 2", place)
            elif row[0] in entries:
                report.error("M004", f"{row[0]!r} stands twice in the column source", place)
            else:
                entries[row[0]] = row[1]
    except csv.Error as error:
        report.error("M004", f"not CSV: {error}", Place(file, rows.line_num, 1))
        return None
    return entries if report.errors == errors else None
