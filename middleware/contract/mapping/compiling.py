"""Field rules become functions: one per line, put together once, so that a record costs little."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any

from middleware.contract.mapping import paths
from middleware.contract.mapping.fields import Condition, Fallback, FieldRule, default_of
from middleware.contract.mapping.issues import Problem
from middleware.contract.mapping.paths import Getter, Putter, Up
from middleware.contract.mapping.steps import Convert, Refused, text
from middleware.contract.mapping.tables import key_of
from middleware.contract.mapping.values import TYPES, Options, currency_code, e164, factor

Run = Callable[[Any, Up], Any]


class Nothing:
    """An explicit null: the remote field is to be emptied."""


CLEAR = Nothing()


class RefusedInside(Refused):
    """Some elements of a list were refused."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("an element was refused")
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Compiled:
    """One line as a function. `run` gives the value, None to leave it out, or raises Refused."""

    rule: FieldRule
    key: str
    place: str
    run: Run
    put: Putter
    before: Run
    """The source's value as it came, for previews and quarantine; may raise Refused."""
    inner: tuple[Compiled, ...] = ()
    """With `each`: the lines for one element."""

    def raw(self, record: Any, up: Up) -> Any:
        """The source's value, or None where not even that can be told."""
        try:
            return self.before(record, up)
        except Refused:
            return None


def apply(
    plan: Iterable[Compiled],
    record: Any,
    up: Up,
    problems: list[Problem],
    prefix: str = "",
) -> dict[str, Any]:
    """Run a plan over one record; what is refused goes to `problems`, the rest is answered."""
    out: dict[str, Any] = {}
    for line in plan:
        try:
            value = line.run(record, up)
            if value is not None:
                line.put(out, None if value is CLEAR else value)
        except RefusedInside as refused:
            problems.extend(
                Problem(f"{prefix}{line.key}.{p.field}", p.reason, p.place, p.value)
                for p in refused.problems
            )
        except Refused as refused:
            problems.append(
                Problem(prefix + line.key, str(refused), line.place, line.raw(record, up))
            )
    return out


def empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, list | tuple) and not value)


def _plain(value: Any) -> Any:
    """Enumerations as their values, in lists too."""
    if isinstance(value, list | tuple):
        return [paths.plainly(item) for item in value]
    return paths.plainly(value)


def fused(chain: tuple[Convert, ...]) -> Convert:
    """The conversions one after the other, until one of them leaves nothing."""
    if len(chain) == 1:
        return chain[0]
    if len(chain) == 2:
        first, second = chain

        def two(value: Any) -> Any:
            value = first(value)
            return None if value is None or value == "" else second(value)

        return two

    def run(value: Any) -> Any:
        for convert in chain:
            value = convert(value)
            if value is None or value == "":
                return None
        return value

    return run


def each_of(convert: Convert) -> Convert:
    """The conversion, applied to every value of a list; nested lists are laid flat."""

    def run(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return convert(value)
        out: list[Any] = []
        for item in value:
            if item is None or item == "":
                continue
            made = run(item)
            if isinstance(made, list):
                out.extend(made)
            elif made is not None and made != "":
                out.append(made)
        return out or None

    return run


def steps_of(rule: FieldRule, *, back: bool) -> Convert | None:
    """All steps of a line as one conversion."""
    joining, splitting = ("split", "join") if back else ("join", "split")
    stages: list[Convert] = []
    chain: list[Convert] = []

    def end_stage() -> None:
        if chain:
            stages.append(each_of(fused(tuple(chain))))
            chain.clear()

    for use in reversed(rule.uses) if back else rule.uses:
        build = use.step.back if back else use.step.forward
        assert build is not None
        if use.step.name == joining:
            # Joining takes the list whole; every other step takes its values one by one.
            end_stage()
            stages.append(build(use.argument))
        else:
            chain.append(build(use.argument))
            if use.step.name == splitting:
                end_stage()
    end_stage()
    return fused(tuple(stages)) if stages else None


def options_of(rule: FieldRule, zone: tzinfo) -> Options:
    """What a line says beside its type."""
    return Options(
        scale=rule.scale, format=rule.format, decimal_comma=rule.decimal_comma, zone=zone
    )


def _fallback(fallback: Fallback) -> Getter:
    if fallback.path is None:
        return lambda record, up: fallback.default
    get = paths.getter(fallback.path)

    def found(record: Any, up: Up) -> Any:
        value = paths.plainly(get(record, up))
        return fallback.default if value is None or value == "" else value

    return found


def _condition(condition: Condition) -> Callable[[Any, Up], bool]:
    get, values = paths.getter(condition.path), frozenset(condition.values)
    if condition.test == "present":
        return lambda record, up: not empty(get(record, up))
    if condition.test == "absent":
        return lambda record, up: empty(get(record, up))
    wanted = condition.test == "in"

    def compare(record: Any, up: Up) -> bool:
        value = paths.plainly(get(record, up))
        if isinstance(value, dict | list | tuple) or value is None:
            return not wanted
        return (key_of(value) in values) is wanted

    return compare


def _source(rule: FieldRule) -> Run:
    """The raw value of a line, before its steps."""
    getters = [paths.getter(path) for path in rule.sources]
    if rule.origin == "first_of":

        def first(record: Any, up: Up) -> Any:
            for get in getters:
                value = get(record, up)
                if isinstance(value, str):
                    if value and not value.isspace():
                        return value
                elif not empty(value):
                    return value
            return None

        return first
    if rule.origin == "all_of":

        def every(record: Any, up: Up) -> Any:
            found: list[Any] = []
            for get in getters:
                value = get(record, up)
                if isinstance(value, list | tuple):
                    found.extend(item for item in value if not empty(item))
                elif not empty(value):
                    found.append(value)
            return found or None

        return every
    if rule.origin == "template":
        return _template(rule.texts, getters)
    return getters[0]


def _template(texts: tuple[str, ...], getters: list[Getter]) -> Run:
    first, rest = texts[0], tuple(zip(getters, texts[1:], strict=True))

    def fill(record: Any, up: Up) -> Any:
        parts = [first]
        found = False
        for get, following in rest:
            value = paths.plainly(get(record, up))
            if value is not None and value != "":
                part = text(value).strip()
                found = found or bool(part)
                parts.append(part)
            parts.append(following)
        # A template whose fields are all empty says nothing, whatever stands between them.
        return "".join(parts).strip() if found else None

    return fill


def number_of(money: Any) -> Any:
    """The amount of a Money-shaped value, or the value itself."""
    if isinstance(money, dict):
        return money.get("amount")
    return getattr(money, "amount", money)


def currency_of(money: Any) -> Any:
    if isinstance(money, dict):
        return money.get("currency")
    return getattr(money, "currency", None)


def too_long(limit: int) -> Convert:
    def check(value: Any) -> Any:
        if value is not None and len(text(value)) > limit:
            raise Refused(f"{len(text(value))} characters, the limit is {limit}")
        return value

    return check


def lenient(convert: Convert, unknown: str) -> Convert:
    """The conversion, with `unknown_value` instead of a refusal."""
    if unknown == "error":
        return convert

    def run(value: Any) -> Any:
        try:
            return convert(value)
        except Refused:
            return value if unknown == "keep" else None

    return run


CHECKED = frozenset({"email", "country", "currency", "uuid"})


class Compiler:
    """Builds plans for one file. `pushing` when the forward way is ours → theirs."""

    def __init__(
        self,
        *,
        zone: tzinfo = UTC,
        unknown_value: str = "error",
        pushing: bool = False,
    ) -> None:
        self.zone = zone
        self.unknown_value = unknown_value
        self.pushing = pushing

    def forward(self, rules: Iterable[FieldRule], *, creating: bool = True) -> tuple[Compiled, ...]:
        """The plan from source to target, of every line that goes this way."""
        return tuple(
            self._forward(rule, creating)
            for rule in rules
            if (rule.direction.pushes if self.pushing else rule.direction.pulls)
            and (creating or not (self.pushing and rule.only_create))
        )

    def _forward(self, rule: FieldRule, creating: bool) -> Compiled:
        place, put = str(rule.where), paths.putter(rule.path)
        if rule.origin == "const":
            constant = rule.const
            run: Run = lambda record, up: constant  # noqa: E731
            return Compiled(rule, rule.key, place, self._conditional(rule, run), put, run)
        get = _source(rule)
        inner = self.forward(rule.fields, creating=creating)
        run = elements(inner, get) if rule.origin == "each" else self._value(rule, get)
        run = self._conditional(rule, self._filled(rule, run))
        return Compiled(rule, rule.key, place, run, put, get, inner)

    def _conditional(self, rule: FieldRule, run: Run) -> Run:
        if not rule.when:
            return run
        tests = tuple(map(_condition, rule.when))
        return lambda record, up: (
            run(record, up) if all(test(record, up) for test in tests) else None
        )

    def _filled(self, rule: FieldRule, run: Run) -> Run:
        """What an empty value becomes: the default, an explicit null, a refusal, or nothing."""
        default = default_of(rule)
        if self.pushing and rule.type is not None and default is not None:
            default = TYPES[rule.type].writes(options_of(rule, self.zone))(default)
        if default is not None:

            def with_default(record: Any, up: Up) -> Any:
                value = run(record, up)
                return default if value is None else value

            if rule.type != "money" or self.pushing:
                return with_default
            amount = self._money(rule, [])
            return lambda record, up: (
                value if (value := run(record, up)) is not None else amount(default, record, up)
            )
        if rule.required:

            def needed(record: Any, up: Up) -> Any:
                value = run(record, up)
                if value is None:
                    raise Refused("a value is required, it is empty")
                return value

            return needed
        if self.pushing and rule.clear and rule.sources:
            present = [paths.has(path) for path in rule.sources]
            return lambda record, up: (
                value
                if (value := run(record, up)) is not None
                else CLEAR
                if any(has(record, up) for has in present)
                else None
            )
        return run

    def _value(self, rule: FieldRule, get: Getter) -> Run:
        steps = steps_of(rule, back=False)
        finish = self._finish(rule)
        limit = None if rule.max_length is None else each_of(too_long(rule.max_length))
        many, pushing = rule.many, self.pushing

        def run(record: Any, up: Up) -> Any:
            value = get(record, up)
            if value is None or value == "":
                return None
            if pushing:
                value = _plain(value)
            if steps is not None:
                value = steps(value)
                if value is None or value == "":
                    return None
            if finish is not None:
                value = finish(value, record, up)
                if value == "":
                    return None
            if limit is not None:
                limit(value)
            if isinstance(value, list | tuple) and not value:
                return None
            if many and value is not None and not isinstance(value, list | tuple):
                return [value]
            return value

        if not pushing and not many and limit is None and finish is None and steps is not None:
            convert = steps

            def stepped(record: Any, up: Up) -> Any:
                value = get(record, up)
                if value is None or value == "":
                    return None
                value = convert(value)
                return None if value == "" else value

            return stepped
        return run

    def _finish(self, rule: FieldRule) -> Callable[[Any, Any, Up], Any] | None:
        """Table, type and unit as one function of the value and its record."""
        chain: list[Convert] = []
        if rule.table is not None:
            unknown = rule.unknown_value or self.unknown_value
            chain.append(rule.table.reader(unknown, secret=rule.pii))
        if rule.type == "phone":
            return self._phone(rule, chain)
        if rule.type == "money":
            return self._money(rule, chain)
        if rule.type is not None:
            kind = TYPES[rule.type]
            options = options_of(rule, self.zone)
            if rule.unit is not None:
                return self._quantity(rule, chain, options)
            convert = (kind.writes if self.pushing else kind.reads)(options)
            if rule.type in CHECKED and rule.unknown_value:
                convert = lenient(convert, rule.unknown_value)
            chain.append(convert)
        if not chain:
            return None
        convert = each_of(fused(tuple(chain)))
        return lambda value, record, up: convert(value)

    def _phone(self, rule: FieldRule, chain: list[Convert]) -> Callable[[Any, Any, Up], Any]:
        table = fused(tuple(chain)) if chain else None
        region_of = _fallback(rule.region)
        unknown = rule.unknown_value or "keep"

        def convert(value: Any, record: Any, up: Up) -> Any:
            if isinstance(value, list | tuple):
                found = [convert(v, record, up) for v in value if v is not None and v != ""]
                return [v for v in found if v is not None] or None
            if table is not None:
                value = table(value)
            written = text(value).strip()
            region = region_of(record, up)
            number = e164(written, text(region).strip().upper() if region else None)
            if number is not None or unknown == "null":
                return number
            if unknown == "keep":
                return written
            raise Refused("not a phone number" + ("" if region else "; set its region"))

        return convert

    def _money(self, rule: FieldRule, chain: list[Convert]) -> Callable[[Any, Any, Up], Any]:
        kind = TYPES["money"]
        options = options_of(rule, self.zone)
        if self.pushing:
            amount_out = kind.writes(options)
            only = rule.currency.default if rule.currency.path is None else None

            def send(value: Any, record: Any, up: Up) -> Any:
                stated = currency_of(value)
                if only is not None and stated is not None and stated != only:
                    raise Refused(f"the remote holds {only} here, the amount is in {stated}")
                amount = number_of(value)
                return None if amount is None else amount_out(amount)

            return send
        read = fused((*chain, kind.reads(options)))
        code_of = _fallback(rule.currency)

        def money(value: Any, record: Any, up: Up) -> Any:
            if isinstance(value, list | tuple):
                raise Refused("one amount was expected, the value is a list")
            if isinstance(value, dict):
                currency: Any = value.get("currency") or code_of(record, up)
                value = value.get("amount")
                if value is None or value == "":
                    return None
            else:
                currency = code_of(record, up)
            amount = read(value)
            if amount is None:
                return None
            if currency is None:
                raise Refused("an amount without a currency; set currency")
            return {"amount": amount, "currency": currency_code(currency)}

        return money

    def _quantity(
        self, rule: FieldRule, chain: list[Convert], options: Options
    ) -> Callable[[Any, Any, Up], Any]:
        unit = rule.unit
        assert unit is not None
        assert rule.type is not None
        kind = TYPES[rule.type]
        comma = options.decimal_comma and not self.pushing
        exact = fused((*chain, TYPES["decimal"].reads(Options(decimal_comma=comma))))
        last = kind.writes(options) if self.pushing else kind.reads(Options(scale=options.scale))
        get = paths.getter(unit.path) if unit.path is not None else None

        def convert(value: Any, record: Any, up: Up) -> Any:
            if isinstance(value, list | tuple):
                raise Refused("one quantity was expected, the value is a list")
            stated = paths.plainly(get(record, up)) if get is not None else unit.fixed
            number = exact(value)
            if number is None:
                return None
            if stated is not None and stated != "":
                number = number * factor(text(stated), unit.to, unit.factors)
            return last(number)

        return convert


def elements(plan: tuple[Compiled, ...], get: Getter) -> Run:
    """Run the plan over each element of a list; a single object counts as a list of one."""

    def run(record: Any, up: Up) -> Any:
        values = get(record, up)
        if values is None or values == "":
            return None
        if not isinstance(values, list | tuple):
            values = (values,)
        problems: list[Problem] = []
        out: list[dict[str, Any]] = []
        for index, item in enumerate(values):
            if item is not None:
                out.append(apply(plan, item, (record, up, index + 1), problems, f"{index + 1}."))
        if problems:
            raise RefusedInside(problems)
        return out or None

    return run


def needed_paths(
    rules: Iterable[FieldRule], stack: tuple[tuple[str, ...], ...] = ((),)
) -> Iterable[str]:
    """Their paths that the pulled lines read, as the remote spells them."""
    for rule in rules:
        if not rule.direction.pulls:
            continue
        for path in rule.read_paths():
            base = stack[max(0, len(stack) - 1 - path.ups)]
            if path.special != "#" and (spelt := (*base, *path.segments)):
                yield ".".join(spelt)
        if rule.origin == "each":
            (path,) = rule.sources
            base = stack[max(0, len(stack) - 1 - path.ups)]
            yield from needed_paths(rule.fields, (*stack, (*base, *path.segments)))
