"""The lines of a mapping file as they were read and checked, before they become functions."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from middleware.contract.mapping import paths, tables
from middleware.contract.mapping.document import Block, Node, Scalar, Sequence, plain
from middleware.contract.mapping.issues import Place, did_you_mean
from middleware.contract.mapping.paths import Path
from middleware.contract.mapping.steps import STEPS, Argument, Refused, Step, boolean
from middleware.contract.mapping.tables import Table
from middleware.contract.mapping.values import FACTORS, TYPES, Options, format_fault
from middleware.contract.mapping.vocabulary import (
    DEFINITIONS,
    SOURCES,
    Report,
    template_parts,
)


class Direction(StrEnum):
    PULL = "pull"
    PUSH = "push"
    BOTH = "both"

    @property
    def pulls(self) -> bool:
        return self is not Direction.PUSH

    @property
    def pushes(self) -> bool:
        return self is not Direction.PULL


@dataclass(frozen=True, slots=True)
class Fallback:
    """A value taken from a field, or else a fixed one: `currency`, `region`."""

    path: Path | None
    default: str | None


@dataclass(frozen=True, slots=True)
class Unit:
    path: Path | None
    fixed: str | None
    to: str
    factors: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of `when:`; `test` is present, absent, in or not_in."""

    path: Path
    test: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Use:
    step: Step
    argument: Any
    place: Place


@dataclass(frozen=True, slots=True)
class FieldRule:
    """One line of `fields:`. `path` is the target's; `sources` are where the value comes from."""

    key: str
    path: Path
    place: Place
    direction: Direction
    origin: str
    """Which of `SOURCES` the line has."""
    sources: tuple[Path, ...] = ()
    texts: tuple[str, ...] = ()
    """With `template`: the literal texts around the sources."""
    const: Any = None
    push_to: Path | None = None
    uses: tuple[Use, ...] = ()
    table: Table | None = None
    type: str | None = None
    scale: int | None = None
    currency: Fallback = Fallback(None, None)
    region: Fallback = Fallback(None, None)
    format: str | None = None
    unit: Unit | None = None
    default: Any = None
    required: bool = False
    max_length: int | None = None
    many: bool = False
    when: tuple[Condition, ...] = ()
    only_create: bool = False
    clear: bool = False
    conflict: str = "newest"
    unknown_value: str | None = None
    pii: bool = False
    decimal_comma: bool = False
    fields: tuple[FieldRule, ...] = ()
    places: Mapping[str, Place] = field(default_factory=dict)

    @property
    def where(self) -> Place:
        """The place of what the line says about its source."""
        return self.places.get(self.origin, self.place)

    def read_paths(self) -> Iterator[Path]:
        """Every path that the forward way reads, in the order of the file."""
        yield from self.sources
        for fallback in (self.currency, self.region):
            if fallback.path is not None:
                yield fallback.path
        if self.unit is not None and self.unit.path is not None:
            yield self.unit.path
        for condition in self.when:
            yield condition.path

    @property
    def push_path(self) -> Path | None:
        """The path that the way back writes."""
        if self.origin in ("from", "each"):
            return self.sources[0]
        return self.push_to


@dataclass(frozen=True, slots=True)
class Defaults:
    on_error: str = "quarantine"
    unknown_value: str = "error"
    conflict: str = "newest"
    timezone: str = "UTC"
    decimal_comma: bool = False
    region: str | None = None
    currency: str | None = None


@dataclass(slots=True)
class Reader:
    """Turns checked blocks into field rules, and reports what a shape alone cannot show."""

    report: Report
    defaults: Defaults
    tables: Mapping[str, Table | None]
    base: pathlib.Path
    """Where the paths of table files start."""
    root: pathlib.Path
    """What they may not leave."""
    pushing: bool = False
    """Whether the forward way is ours to theirs."""

    def rules(
        self, node: Node | None, direction: Direction, *, inverted: bool
    ) -> tuple[FieldRule, ...]:
        """The rules of a `fields` block; `inverted` when `both` and `push` mean the way back."""
        if not isinstance(node, Block):
            return ()
        rules: list[FieldRule] = []
        for key, entry in node.entries.items():
            quiet = Report()
            alone = DEFINITIONS["fields"].check(Block(node.place, {key: entry}), quiet)
            if not alone:
                continue
            rule = self._rule(key, entry.key.place, entry.node, direction, inverted)
            if rule is not None:
                rules.append(rule)
        self._collisions([(r.path, r.key, r.place) for r in rules])
        if inverted:
            self._collisions(
                [
                    (r.push_path, r.push_path.text, r.where)
                    for r in rules
                    if r.direction.pushes and r.push_path is not None
                ]
            )
        return tuple(rules)

    def _collisions(self, targets: Iterable[tuple[Path, str, Place]]) -> None:
        """M010: a place that two lines would write, or that is both a list and named fields."""
        seen: dict[tuple[str, ...], tuple[str, Place, bool]] = {}
        lists: dict[tuple[str, ...], bool] = {}
        for path, name, place in targets:
            steps = [path.segments[: depth + 1] for depth in range(len(path))]
            for depth, step in enumerate(steps):
                is_last = depth == len(steps) - 1
                numbered = depth > 0 and paths.is_index(path.segments[depth], path.literal[depth])
                taken = seen.get(step)
                if taken is not None and (taken[2] or is_last):
                    self._collide(name, taken, place, same=taken[2] and is_last)
                    break
                if lists.setdefault(step[:-1], numbered) is not numbered:
                    above = ".".join(step[:-1])
                    message = f"{above!r} cannot be a list and hold named fields"
                    self.report.error("M010", message, place)
                    break
                seen.setdefault(step, (name, place, is_last))

    def _collide(
        self, name: str, taken: tuple[str, Place, bool], place: Place, *, same: bool
    ) -> None:
        other, first, _ = taken
        shorter = min(name, other, key=len)
        hint = "" if same else f"; where {shorter!r} is a reference, write {shorter}.id"
        self.report.error(
            "M010", f"{name!r} and {other!r} (line {first.line}) write the same place{hint}", place
        )

    def _rule(
        self, key: str, place: Place, node: Node, outer: Direction, inverted: bool
    ) -> FieldRule | None:
        block = node if isinstance(node, Block) else Block(node.place)
        errors = self.report.errors
        if isinstance(node, Scalar):
            origins = ["from"]
        else:
            origins = [name for name in SOURCES if name in block.entries]
        if len(origins) != 1:
            what = " and ".join(origins) if origins else "none"
            self.report.error(
                "M002", f"{key!r} needs exactly one of {', '.join(SOURCES)}; it has {what}", place
            )
            return None
        (origin,) = origins
        direction = self._direction(block, outer)
        sources, texts = self._sources(origin, node, block)
        rule = FieldRule(
            key=key,
            path=paths.parse(key),
            place=place,
            direction=direction,
            origin=origin,
            sources=sources,
            texts=texts,
            const=self._value(block, "const"),
            push_to=paths.parse(t) if (t := self._text(block, "push_to")) else None,
            uses=self._uses(block),
            table=self._table(block),
            type=self._text(block, "type"),
            scale=self._value(block, "scale"),
            currency=self._fallback(block, "currency", self.defaults.currency),
            region=self._fallback(block, "region", self.defaults.region),
            format=self._text(block, "format"),
            unit=self._unit(block),
            default=self._value(block, "default"),
            required=bool(self._value(block, "required")),
            max_length=self._value(block, "max_length"),
            many=bool(self._value(block, "many")),
            when=self._when(block),
            only_create=bool(self._value(block, "only_create")),
            clear=bool(self._value(block, "clear")),
            conflict=self._text(block, "conflict") or self.defaults.conflict,
            unknown_value=self._text(block, "unknown_value"),
            pii=bool(self._value(block, "pii")),
            decimal_comma=bool(
                self._value(block, "decimal_comma")
                if "decimal_comma" in block.entries
                else self.defaults.decimal_comma
            ),
            fields=self.rules(block.get("fields"), direction, inverted=inverted)
            if origin == "each"
            else (),
            places={
                **{name: entry.node.place for name, entry in block.entries.items()},
                **({"from": node.place} if isinstance(node, Scalar) else {}),
            },
        )
        self._together(rule, block, inverted)
        return rule if self.report.errors == errors else None

    def _direction(self, block: Block, outer: Direction) -> Direction:
        stated = self._text(block, "direction")
        if stated is None or stated == outer:
            return outer
        if outer is not Direction.BOTH:
            entry = block.entries["direction"]
            self.report.error(
                "M011",
                f"the file's direction is {outer}; a field narrows only both",
                entry.node.place,
            )
            return outer
        return Direction(stated)

    @staticmethod
    def _text(block: Block, key: str) -> str | None:
        node = block.get(key)
        return node.text if isinstance(node, Scalar) else None

    @staticmethod
    def _value(block: Block, key: str) -> Any:
        node = block.get(key)
        return node.value if isinstance(node, Scalar) else None

    @staticmethod
    def _sources(origin: str, node: Node, block: Block) -> tuple[tuple[Path, ...], tuple[str, ...]]:
        if isinstance(node, Scalar):
            return (paths.parse(node.text),), ()
        inner = block.get(origin)
        if isinstance(inner, Sequence):
            return tuple(paths.parse(i.text) for i in inner.items if isinstance(i, Scalar)), ()
        assert isinstance(inner, Scalar)
        if origin == "const":
            return (), ()
        if origin == "template":
            parts = template_parts(inner.text)
            return tuple(map(paths.parse, parts[1::2])), parts[::2]
        return (paths.parse(inner.text),), ()

    def _uses(self, block: Block) -> tuple[Use, ...]:
        node = block.get("use")
        if not isinstance(node, Sequence):
            return ()
        uses: list[Use] = []
        for item in node.items:
            if isinstance(item, Scalar):
                uses.append(Use(STEPS[item.text], None, item.place))
            elif isinstance(item, Block):
                ((name, entry),) = item.entries.items()
                argument = plain(entry.node)
                is_list = STEPS[name].argument in (Argument.SWAP, Argument.PAD)
                uses.append(Use(STEPS[name], tuple(argument) if is_list else argument, item.place))
        return tuple(uses)

    def _table(self, block: Block) -> Table | None:
        node = block.get("table")
        if isinstance(node, Scalar):
            if node.text in self.tables:
                return self.tables[node.text]
            hint = did_you_mean(node.text, self.tables)
            self.report.error("M004", f"no table {node.text!r}{hint}", node.place)
            return None
        if isinstance(node, Block):
            return tables.from_block("", node, self.base, self.root, self.report)
        return None

    def _fallback(self, block: Block, key: str, default: str | None) -> Fallback:
        node = block.get(key)
        if isinstance(node, Scalar):
            return Fallback(None, node.text)
        if isinstance(node, Block):
            source = self._text(node, "from")
            return Fallback(
                paths.parse(source) if source else None, self._text(node, "default") or default
            )
        return Fallback(None, default)

    def _unit(self, block: Block) -> Unit | None:
        node = block.get("unit")
        if not isinstance(node, Block):
            return None
        source, fixed = self._text(node, "from"), self._text(node, "is")
        if (source is None) == (fixed is None):
            self.report.error("M012", "unit needs either from or is", node.place)
            return None
        to = self._text(node, "to") or ""
        own = node.get("factors")
        factors = (
            {
                unit: Decimal(e.node.text)
                for unit, e in own.entries.items()
                if isinstance(e.node, Scalar)
            }
            if isinstance(own, Block)
            else {}
        )
        if fixed is not None and fixed != to and fixed not in factors:
            known, wanted = FACTORS.get(fixed), FACTORS.get(to)
            if known is None or wanted is None or known[0] != wanted[0]:
                self.report.error(
                    "M011", f"no conversion from {fixed} to {to}; give it under factors", node.place
                )
        return Unit(paths.parse(source) if source else None, fixed, to, factors)

    def _when(self, block: Block) -> tuple[Condition, ...]:
        node = block.get("when")
        items = node.items if isinstance(node, Sequence) else (node,) if node is not None else ()
        conditions: list[Condition] = []
        for item in items:
            if not isinstance(item, Block):
                continue
            keys = set(item.entries)
            if len(keys) == 1 and keys <= {"present", "absent"}:
                (test,) = keys
                conditions.append(Condition(paths.parse(self._text(item, test) or ""), test))
                continue
            tests = keys - {"from"}
            if "from" not in keys or len(tests) != 1 or tests & {"present", "absent"}:
                self.report.error(
                    "M011",
                    "a condition is present: path, absent: path, or from: path with one of is, "
                    "is_not, in, not_in",
                    item.place,
                )
                continue
            (test,) = tests
            values = item.get(test)
            listed = (
                [i.value for i in values.items if isinstance(i, Scalar)]
                if isinstance(values, Sequence)
                else [self._value(item, test)]
            )
            name = {"is": "in", "is_not": "not_in"}.get(test, test)
            path = paths.parse(self._text(item, "from") or "")
            conditions.append(Condition(path, name, tuple(map(tables.key_of, listed))))
        return tuple(conditions)

    def _together(self, rule: FieldRule, block: Block, inverted: bool) -> None:
        """What one key requires of, or forbids to, another."""
        error = self.report.error
        place_of = block.place_of
        if (rule.origin == "each") != ("fields" in block.entries):
            error("M012", "each and fields belong together", rule.place)
        allowed_beside_each = {"each", "fields", "direction", "when", "required", "only_create",
                               "conflict", "pii", "clear"}  # fmt: skip
        if rule.origin == "each" and (extra := sorted(set(block.entries) - allowed_beside_each)):
            error("M011", f"{extra[0]} has no meaning beside each", place_of(extra[0]))
        allowed_beside_const = {"const", "direction", "when", "only_create", "conflict", "pii",
                                "max_length", "required"}  # fmt: skip
        if rule.origin == "const" and (extra := sorted(set(block.entries) - allowed_beside_const)):
            error("M011", f"{extra[0]} has no meaning beside const", place_of(extra[0]))
        if rule.push_to is not None and rule.origin not in ("first_of", "all_of"):
            error("M011", "push_to belongs to first_of and all_of", place_of("push_to"))
        if rule.push_to is not None and (rule.push_to.ups or rule.push_to.special):
            error("M013", f"{rule.push_to.text!r} can be read, not written", place_of("push_to"))
        options = {"scale", "currency", "region", "format"} & set(block.entries)
        allowed = TYPES[rule.type].options if rule.type else frozenset()
        for name in sorted(options - allowed):
            users = ", ".join(t.name for t in TYPES.values() if name in t.options)
            error("M011", f"{name} needs type: {users.replace(', ', ' or ')}", place_of(name))
        if rule.unit is not None and rule.type not in ("integer", "decimal"):
            error("M011", "unit needs type: integer or decimal", place_of("unit"))
        if rule.type in ("decimal", "money") and rule.format not in (None, "text", "number"):
            error("M011", "the format of a number is text or number", place_of("format"))
        if rule.type in ("date", "datetime") and rule.format is not None:
            fault = format_fault(rule.format, reads=not self.pushing)
            if fault is not None:
                error("M011", f"format {rule.format!r} {fault}", place_of("format"))
        for name in ("clear", "only_create"):
            if name in block.entries and not rule.direction.pushes:
                self.report.warning("M016", f"{name} has no effect on a pull", place_of(name))
        if "default" in block.entries:
            self._check_default(rule, place_of("default"))
        if rule.table is not None and rule.type not in (None, "money", "phone"):
            self._check_table(rule, rule.table, place_of("table"))
        longest = max((len(str(v)) for v in (rule.const, rule.default) if v is not None), default=0)
        if rule.max_length is not None and longest > rule.max_length:
            error(
                "M011",
                f"max_length is {rule.max_length}, the value here has {longest} characters",
                place_of("max_length"),
            )
        if inverted and rule.direction.pushes and rule.origin != "each":
            self._check_way_back(rule, place_of)
        elif (
            inverted and rule.direction.pushes and (rule.sources[0].ups or rule.sources[0].special)
        ):
            error(
                "M009",
                f"{rule.sources[0].text!r} cannot be written; say direction: pull",
                rule.where,
            )

    def _check_default(self, rule: FieldRule, place: Place) -> None:
        try:
            default_of(rule)
        except Refused as refused:
            self.report.error("M011", f"default: {refused}", place)

    def _check_table(self, rule: FieldRule, table: Table, place: Place) -> None:
        """The type comes after the table, so every target of the table must be of the type."""
        convert = TYPES[rule.type or "string"].reads(Options(decimal_comma=rule.decimal_comma))
        targets = [*table.entries.values(), table.otherwise]
        for target in targets:
            try:
                if target is not None and rule.format is None:
                    convert(target)
            except Refused as refused:
                self.report.error("M011", f"the table gives {target!r}: {refused}", place)

    def _check_way_back(self, rule: FieldRule, place_of: Any) -> None:
        """A field of a `both` file that is pushed must be invertible: M009, or M005 for tables."""
        remedy = "say direction: pull"

        def refuse(reason: str, key: str) -> None:
            self.report.error(
                "M009", f"{rule.key!r} has no way back: {reason}; {remedy}", place_of(key)
            )

        if rule.origin in ("template", "const"):
            refuse(f"a {rule.origin} cannot be undone", rule.origin)
            return
        if rule.origin in ("first_of", "all_of") and rule.push_to is None:
            self.report.error(
                "M009",
                f"{rule.key!r} has no way back: name the field to write with push_to, or {remedy}",
                place_of(rule.origin),
            )
        for use in rule.uses:
            if use.step.back is None:
                self.report.error(
                    "M009",
                    f"{rule.key!r} has no way back: "
                    f"step {use.step.name} cannot be undone; {remedy}",
                    use.place,
                )
        target = rule.push_path
        if target is not None and (target.ups or target.special):
            refuse(f"{target.text!r} cannot be written", rule.origin)
        if rule.when:
            refuse("its condition reads the other side", "when")
        currency = rule.currency.path
        if rule.type == "money" and currency is not None and (currency.ups or currency.special):
            refuse(f"the currency {currency.text!r} cannot be written", "currency")
        if rule.unit is not None and rule.unit.path is not None:
            refuse("the unit is not known on the way back (use is)", "unit")
        if rule.table is not None:
            tables.one_to_one(rule.table, place_of("table"), self.report)


def default_of(rule: FieldRule) -> Any:
    """The default as a typed value; raises Refused when it does not fit the type."""
    default = rule.default
    if default is None or rule.type is None:
        return default
    if rule.type == "boolean":
        return boolean(default)
    if rule.type == "phone":
        return str(default)
    return TYPES[rule.type].reads(Options(scale=rule.scale))(default)
