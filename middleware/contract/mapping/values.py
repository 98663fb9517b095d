"""The types of `type:`: how a remote's value becomes a typed one, and the way back.

Reading gives what canonical records hold: Decimal, date, aware datetime, bool, text. Writing gives
the same Python values, or text where `format` or `decimal_comma` asks for it; adapters put dates
and decimals into the form of their wire.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any

import phonenumbers

from middleware.contract.mapping.steps import Convert, Refused, boolean, text


@dataclass(frozen=True, slots=True)
class Options:
    """What stands beside `type:` in a field, and the file's defaults for it."""

    scale: int | None = None
    format: str | None = None
    decimal_comma: bool = False
    zone: tzinfo = UTC


@dataclass(frozen=True, slots=True)
class Type:
    """A type: `reads` builds theirs → ours, `writes` ours → theirs."""

    name: str
    doc: str
    reads: Callable[[Options], Convert]
    writes: Callable[[Options], Convert]
    options: frozenset[str] = field(default_factory=frozenset)


_PLAIN_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?", re.ASCII)
_COMMA_NUMBER = re.compile(r"[-+]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?", re.ASCII)
_SPACES = str.maketrans("", "", " \u00a0\u202f\u2009'")
_MAX_EXPONENT = 40


def _decimal(options: Options) -> Callable[[Any], Decimal]:
    scale, comma = options.scale, options.decimal_comma
    quantum = None if scale is None else Decimal(1).scaleb(-scale)

    def convert(value: Any) -> Decimal:
        if isinstance(value, Decimal):
            number = value
        elif isinstance(value, bool):
            raise Refused("a number was expected, the value is yes or no")
        elif isinstance(value, float):
            number = Decimal(repr(value))
        else:
            written = text(value)
            if not written.isalnum():
                written = written.translate(_SPACES)
            if comma and not isinstance(value, int):
                if not _COMMA_NUMBER.fullmatch(written):
                    raise Refused("not a number with a decimal comma")
                written = written.replace(".", "").replace(",", ".")
            elif len(written) > 2 * _MAX_EXPONENT or not _PLAIN_NUMBER.fullmatch(written):
                raise Refused(
                    "not a number; for 1.234,50 set decimal_comma"
                    if "," in written and not comma
                    else "not a number"
                )
            number = Decimal(written)
        if not number.is_finite():
            raise Refused("not a finite number")
        if abs(number.adjusted()) > _MAX_EXPONENT:
            if number:
                raise Refused("the number is too large or too small")
            number = Decimal(0)
        if quantum is None:
            return number
        try:
            return number.quantize(quantum, ROUND_HALF_UP)
        except InvalidOperation:
            raise Refused("the number has too many digits") from None

    return convert


def _decimal_out(options: Options) -> Convert:
    convert = _decimal(Options(scale=options.scale))
    if options.decimal_comma:
        return lambda value: f"{convert(value):f}".replace(".", ",")
    if options.format == "text":
        return lambda value: f"{convert(value):f}"
    if options.format == "number":

        def number(value: Any) -> int | float:
            exact = convert(value)
            return int(exact) if exact == exact.to_integral_value() else float(exact)

        return number
    return convert


def _integer(options: Options) -> Convert:
    convert = _decimal(Options(decimal_comma=options.decimal_comma))

    def whole(value: Any) -> int:
        if type(value) is int and abs(value) < 10**_MAX_EXPONENT:
            return value
        number = convert(value)
        if number != number.to_integral_value():
            raise Refused("not a whole number")
        return int(number)

    return whole


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCHS: Mapping[str | None, timedelta] = {
    "unix": timedelta(seconds=1),
    "unix_ms": timedelta(milliseconds=1),
}
_ODATA = re.compile(r"/Date\((-?\d{1,15})([+-]\d{4})?\)/")
_LOOKS_DATED = re.compile(r"\d{4}-?(\d\d|W)")


def _moment(options: Options) -> Callable[[Any], datetime | date]:
    """A date or an aware datetime from whatever the remote sends."""
    zone, form = options.zone, None if options.format == "text" else options.format
    exact = _decimal(Options())

    def convert(value: Any) -> datetime | date:
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=zone)
        if isinstance(value, date):
            return value
        if form in _EPOCHS:
            seconds = exact(value)
            return _from_epoch(seconds / 1000 if form == "unix_ms" else seconds)
        written = text(value).strip()
        if form is not None:
            try:
                moment = datetime.strptime(written, form)  # noqa: DTZ007  its zone follows
            except ValueError:
                raise Refused(f"not in the format {form}") from None
            return moment if moment.tzinfo else moment.replace(tzinfo=zone)
        if odata := _ODATA.fullmatch(written):
            return _from_epoch(Decimal(odata[1]) / 1000)
        if not _LOOKS_DATED.match(written):
            raise Refused("not a date or time; give its format")
        try:
            if len(written) <= 10:
                return date.fromisoformat(written)
            moment = datetime.fromisoformat(written)
        except ValueError:
            raise Refused("not a date or time; give its format") from None
        return moment if moment.tzinfo else moment.replace(tzinfo=zone)

    return convert


def _from_epoch(seconds: Decimal) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=int(seconds * 1_000_000))
    except OverflowError:
        raise Refused("a time beyond the years that a date can hold") from None


def _datetime(options: Options) -> Callable[[Any], datetime]:
    convert, zone = _moment(options), options.zone

    def moment(value: Any) -> datetime:
        found = convert(value)
        if not isinstance(found, datetime):
            found = datetime(found.year, found.month, found.day, tzinfo=zone)
        try:
            return found.astimezone(UTC)
        except (OverflowError, ValueError):
            raise Refused("a time beyond the years that a date can hold") from None

    return moment


def _date(options: Options) -> Callable[[Any], date]:
    convert, zone = _moment(options), options.zone

    def day(value: Any) -> date:
        found = convert(value)
        if not isinstance(found, datetime):
            return found
        try:
            return found.astimezone(zone).date()
        except (OverflowError, ValueError):
            raise Refused("a time beyond the years that a date can hold") from None

    return day


def _datetime_out(options: Options) -> Convert:
    convert, zone, form = _datetime(Options(zone=options.zone)), options.zone, options.format
    if form in _EPOCHS:
        tick = _EPOCHS[form]
        return lambda value: (convert(value) - _EPOCH) // tick
    if form == "text":
        return lambda value: convert(value).isoformat().replace("+00:00", "Z")
    if form is not None:
        return lambda value: convert(value).astimezone(zone).strftime(form)
    return convert


def _date_out(options: Options) -> Convert:
    convert, form = _date(Options(zone=options.zone)), options.format
    if form in _EPOCHS:
        midnight, tick = _datetime(Options(zone=options.zone)), _EPOCHS[form]
        return lambda value: (midnight(convert(value)) - _EPOCH) // tick
    if form == "text":
        return lambda value: convert(value).isoformat()
    if form is not None:
        return lambda value: convert(value).strftime(form)
    return convert


_EMAIL = re.compile(r"[^@\s,;<>()\[\]\"]{1,64}@[^@\s,;<>()\[\]\".]+(\.[^@\s,;<>()\[\]\".]+)+")


def _email(_: Options) -> Convert:
    def convert(value: Any) -> str:
        written = text(value).strip()
        if len(written) > 254 or not _EMAIL.fullmatch(written):
            raise Refused("not an e-mail address")
        return written

    return convert


E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def e164(written: str, region: str | None) -> str | None:
    """The phone number in E.164, or None where it cannot be one."""
    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _as_text(_: Options) -> Convert:
    return text


_COUNTRY_CODES = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR
    BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ
    EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW
    GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY
    KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV
    MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY
    QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG
    TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA
    ZM ZW
"""
_COUNTRIES = frozenset(_COUNTRY_CODES.split())
_CURRENCY = re.compile(r"[A-Z]{3}")


def _country(_: Options) -> Convert:
    def convert(value: Any) -> str:
        written = text(value).strip().upper()
        if written not in _COUNTRIES:
            raise Refused("not a two-letter country code (ISO 3166-1); use a table for names")
        return written

    return convert


def _currency(_: Options) -> Convert:
    return currency_code


def currency_code(value: Any) -> str:
    """A three-letter currency code in capitals; raises Refused."""
    written = text(value).strip().upper()
    if not _CURRENCY.fullmatch(written):
        raise Refused("not a three-letter currency code (ISO 4217)")
    return written


def _uuid(_: Options) -> Convert:
    def convert(value: Any) -> str:
        try:
            return str(uuid.UUID(text(value).strip()))
        except ValueError:
            raise Refused("not a UUID") from None

    return convert


def _boolean(_: Options) -> Convert:
    return boolean


_ALL = (
    Type("string", "text; numbers become their digits", _as_text, _as_text),
    Type("integer", "a whole number", _integer, _integer, frozenset({"decimal_comma"})),
    Type("decimal", "an exact number; `scale` rounds half up", _decimal, _decimal_out,
         frozenset({"scale", "decimal_comma", "format"})),
    Type("money", "an amount with its `currency`", _decimal, _decimal_out,
         frozenset({"scale", "decimal_comma", "format", "currency"})),
    Type("boolean", "yes or no", _boolean, _boolean),
    Type("date", "a day", _date, _date_out, frozenset({"format"})),
    Type("datetime", "a moment; without an offset it is in `defaults.timezone`", _datetime,
         _datetime_out, frozenset({"format"})),
    Type("email", "an e-mail address", _email, _email),
    Type("phone", "a phone number as E.164, as it stands where it cannot be read", _as_text,
         _as_text, frozenset({"region"})),
    Type("country", "an ISO 3166-1 two-letter code", _country, _country),
    Type("currency", "an ISO 4217 code", _currency, _currency),
    Type("uuid", "a UUID in its usual form", _uuid, _uuid),
)  # fmt: skip

TYPES: Mapping[str, Type] = MappingProxyType({kind.name: kind for kind in _ALL})
"""Every type that a mapping may name."""

SAMPLE = datetime(2026, 11, 21, 13, 14, 15, tzinfo=UTC)


def format_fault(form: str, *, reads: bool) -> str | None:
    """What is wrong with the form of a date or time, or None; `reads` when text is parsed by it."""
    if form == "text" or form in _EPOCHS:
        return None
    try:
        written = SAMPLE.strftime(form)
        if written == form:
            return "holds no % directive such as %d.%m.%Y; or write unix, unix_ms, text"
        if reads:
            datetime.strptime(written, form)  # noqa: DTZ007  tried, not kept
    except (ValueError, re.error):
        return "cannot be read back; use directives such as %d.%m.%Y %H:%M:%S"
    return None


FACTORS: Mapping[str, tuple[str, Decimal]] = MappingProxyType(
    {
        "mg": ("mass", Decimal("0.001")), "g": ("mass", Decimal(1)), "kg": ("mass", Decimal(1000)),
        "t": ("mass", Decimal(1_000_000)), "lb": ("mass", Decimal("453.59237")),
        "oz": ("mass", Decimal("28.349523125")),
        "mm": ("length", Decimal("0.001")), "cm": ("length", Decimal("0.01")),
        "m": ("length", Decimal(1)), "km": ("length", Decimal(1000)),
        "in": ("length", Decimal("0.0254")), "ft": ("length", Decimal("0.3048")),
        "ml": ("volume", Decimal("0.001")), "cl": ("volume", Decimal("0.01")),
        "l": ("volume", Decimal(1)), "m3": ("volume", Decimal(1000)),
        "s": ("time", Decimal(1)), "min": ("time", Decimal(60)), "h": ("time", Decimal(3600)),
        "d": ("time", Decimal(86400)),
        "piece": ("count", Decimal(1)), "pair": ("count", Decimal(2)),
        "dozen": ("count", Decimal(12)),
    }
)  # fmt: skip
"""Units that convert by themselves: their dimension and their size in its base unit."""


def factor(unit: str, to: str, own: Mapping[str, Decimal]) -> Decimal:
    """How many `to` one `unit` is; `own` are the mapping's own factors. Raises Refused."""
    if unit == to:
        return Decimal(1)
    if unit in own:
        return own[unit]
    known, wanted = FACTORS.get(unit), FACTORS.get(to)
    if known is None or wanted is None or known[0] != wanted[0]:
        raise Refused(f"no conversion from this unit to {to}; give it under unit.factors")
    return known[1] / wanted[1]
