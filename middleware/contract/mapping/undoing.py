"""The way back of a file of both directions: field rules become functions from ours to theirs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo
from decimal import Decimal
from typing import Any

from middleware.contract.mapping import paths
from middleware.contract.mapping.compiling import (
    CHECKED,
    CLEAR,
    Compiled,
    Run,
    currency_of,
    each_of,
    elements,
    empty,
    fused,
    lenient,
    number_of,
    options_of,
    steps_of,
    too_long,
)
from middleware.contract.mapping.fields import FieldRule
from middleware.contract.mapping.paths import Getter, Putter, Up
from middleware.contract.mapping.steps import Convert, Refused, text
from middleware.contract.mapping.values import E164, TYPES, Options, e164, factor


class Undoer:
    """Builds the plans from target to source."""

    def __init__(self, *, zone: tzinfo, unknown_value: str) -> None:
        self.zone = zone
        self.unknown_value = unknown_value

    def plan(self, rules: Iterable[FieldRule], *, creating: bool) -> tuple[Compiled, ...]:
        """The plan from target to source: of every line that is pushed."""
        plan: list[Compiled] = []
        for rule in rules:
            if not rule.direction.pushes or (rule.only_create and not creating):
                continue
            plan.extend(self._undo(rule, creating))
        return tuple(plan)

    def _undo(self, rule: FieldRule, creating: bool) -> Iterable[Compiled]:
        get, there = paths.getter(rule.path), paths.has(rule.path)
        target = rule.push_path
        assert target is not None
        if rule.origin == "each":
            run = elements(self.plan(rule.fields, creating=creating), get)
        else:
            run = self._undone(rule, get)

        def filled(record: Any, up: Up) -> Any:
            value = run(record, up)
            if value is not None:
                return value
            if rule.clear and there(record, up):
                return CLEAR
            if rule.required and (creating or there(record, up)):
                raise Refused("a value is required, it is empty")
            return None

        yield Compiled(rule, rule.key, str(rule.where), filled, paths.putter(target), get)
        if rule.type == "money" and rule.currency.path is not None:
            currency = rule.currency.path

            def code(record: Any, up: Up) -> Any:
                return currency_of(get(record, up))

            put = _agreeing(paths.getter(currency), paths.putter(currency))
            yield Compiled(rule, rule.key, str(rule.where), code, put, get)

    def _undone(self, rule: FieldRule, get: Getter) -> Run:
        options = options_of(rule, self.zone)
        chain: list[Convert] = []
        if rule.type == "money":
            chain.append(self._amount(rule, options))
        elif rule.type == "phone":
            chain.append(self._phone_out(rule))
        elif rule.type is not None:
            convert = TYPES[rule.type].writes(options)
            if rule.unit is not None:
                chain.append(self._unconverted(rule))
            if rule.type in CHECKED and rule.unknown_value:
                convert = lenient(convert, rule.unknown_value)
            chain.append(convert)
        if rule.table is not None:
            unknown = rule.unknown_value or self.unknown_value
            chain.append(rule.table.writer(unknown, secret=rule.pii))
        finish = each_of(fused(tuple(chain))) if chain else None
        steps = steps_of(rule, back=True)
        limit = None if rule.max_length is None else each_of(too_long(rule.max_length))
        keeps_list = rule.many or any(use.step.name == "split" for use in rule.uses)

        def run(record: Any, up: Up) -> Any:
            value = paths.plainly(get(record, up))
            if isinstance(value, list | tuple) and not keeps_list:
                # The remote field holds one value: the first is the one that was read from it.
                value = next((v for v in value if v is not None and v != ""), None)
            if value is None or value == "":
                return None
            for convert in (finish, steps):
                if convert is not None:
                    value = convert(value)
                    if value is None or value == "":
                        return None
            if limit is not None:
                limit(value)
            return None if empty(value) else value

        return run

    def _amount(self, rule: FieldRule, options: Options) -> Convert:
        write = TYPES["money"].writes(options)
        only = rule.currency.default if rule.currency.path is None else None

        def amount(value: Any) -> Any:
            stated = currency_of(value)
            if only is not None and stated is not None and stated != only:
                raise Refused(f"the remote holds {only} here, the amount is in {stated}")
            number = number_of(value)
            return None if number is None else write(number)

        return amount

    def _phone_out(self, rule: FieldRule) -> Convert:
        region, unknown = rule.region.default, rule.unknown_value or "keep"

        def phone(value: Any) -> Any:
            written = text(value).strip()
            if E164.fullmatch(written):
                return written
            number = e164(written, region)
            if number is None and unknown == "error":
                raise Refused("not a phone number")
            return number if number is not None or unknown == "null" else written

        return phone

    def _unconverted(self, rule: FieldRule) -> Convert:
        unit = rule.unit
        assert unit is not None
        assert unit.fixed is not None
        size = factor(unit.fixed, unit.to, unit.factors)
        number = TYPES["decimal"].reads(Options())

        def convert(value: Any) -> Decimal:
            exact: Decimal = number(value)
            return exact / size

        return convert


def _agreeing(get: Getter, put: Putter) -> Putter:
    """A putter for a place that several lines write, and must agree on."""

    def agree(out: dict[str, Any], value: Any) -> None:
        there = get(out, None)
        if there is not None and there != value:
            raise Refused(
                f"the remote holds one currency here, the amounts are in {there}, {value}"
            )
        put(out, value)

    return agree
