"""A tolerant view of somebody else's JSON that remembers the place of every part."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from middleware.domain.arrivals import Arrival
from middleware.inlets.delivery import Delivery, Ignored, Reading, Unreadable
from middleware.inlets.parsing import storable
from middleware.inlets.signing import digest_of

MAX_ITEMS = 5_000
"""Arrivals of one delivery; the largest documented batch is Meta's of 1,000."""

_WEB = ("https://", "http://")

MAX_ID = 180
"""Ids longer than this are replaced by their digest; they are compared, never shown."""


class Lacking(Exception):
    """A part that an arrival needs is missing or of the wrong type."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


class Part:
    """A value of a payload and the JSON pointer to it. Asking for what is not there gives None."""

    __slots__ = ("place", "value")

    def __init__(self, value: Any, place: str = "") -> None:
        self.value = value
        self.place = place

    def at(self, *path: str) -> Part:
        """The part below these keys; its value is None where one of them is missing."""
        value, place = self.value, self.place
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
            place += "/" + key.replace("~", "~0").replace("/", "~1")
        return Part(value, place)

    def items(self) -> Iterator[Part]:
        """The parts of a list; nothing for anything else."""
        if isinstance(self.value, list):
            for index, item in enumerate(self.value):
                yield Part(item, f"{self.place}/{index}")

    def entries(self) -> Iterator[tuple[str, Part]]:
        """The members of an object; nothing for anything else."""
        if isinstance(self.value, dict):
            for key in self.value:
                if isinstance(key, str):
                    yield key, self.at(key)

    @property
    def is_object(self) -> bool:
        return isinstance(self.value, dict)

    @property
    def missing(self) -> bool:
        return self.value is None

    def text(self) -> str | None:
        """A text without blanks around it; None when empty or not a text."""
        if not isinstance(self.value, str):
            return None
        return storable(self.value).strip() or None

    def id(self) -> str | None:
        """An identifier: a text or a whole number, as text. Long ones are digested."""
        if isinstance(self.value, bool):
            return None
        if isinstance(self.value, int):
            found = str(self.value) if abs(self.value) < 10**40 else None
        else:
            found = self.text()
        return found if found is None or len(found) <= MAX_ID else short_id(found)

    def link(self) -> str | None:
        """A web address; other schemes never reach a page as a link."""
        found = self.text()
        if found is None or len(found) > 2000 or not found.lower().startswith(_WEB):
            return None
        return None if any(char.isspace() for char in found) else found

    def flag(self) -> bool:
        """True for a JSON true only."""
        return self.value is True

    def count(self) -> int | None:
        """A whole number that is not negative."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            return None
        return self.value if 0 <= self.value < 10**12 else None

    def moment(self) -> datetime | None:
        """A time, however vendors write it; None without a time zone."""
        return moment_of(self.value)

    def need_id(self) -> str:
        found = self.id()
        if found is None:
            raise Lacking(self.place, "an id is needed here")
        return found

    def need_object(self) -> Part:
        if not self.is_object:
            raise Lacking(self.place, "an object is needed here")
        return self


_TWITTER = "%a %b %d %H:%M:%S %z %Y"


def moment_of(value: Any) -> datetime | None:
    """Unix seconds or milliseconds (also as text), ISO 8601, `… UTC`, or X's old format, in UTC."""
    try:
        if isinstance(value, bool) or value is None:
            return None
        if isinstance(value, int | float):
            return _from_unix(value)
        if not isinstance(value, str) or len(value) > 40:
            return None
        text = value.strip()
        if text.isascii() and text.isdigit():
            return _from_unix(int(text))
        if text.endswith(" UTC"):
            text = text.removesuffix(" UTC") + "+00:00"
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = datetime.strptime(text, _TWITTER)  # noqa: DTZ007 - %z is in it
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError, OSError):
        return None


def _from_unix(number: float) -> datetime | None:
    seconds = number / 1000 if number > 1e11 else number
    return datetime.fromtimestamp(seconds, UTC) if 0 < seconds < 4e10 else None


_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)([^<>]*)>")
_BLOCKS = re.compile(
    r"address|article|aside|blockquote|br|d[dlt]|div|fig(?:ure|caption)|footer|h[1-6r]|header"
    r"|li|main|nav|ol|p|pre|section|t(?:able|[dhr])|ul"
)
_SILENT = frozenset(("head", "script", "style", "title"))
_BLANKS = re.compile(r"[^\S\n]+")
_GAPS = re.compile(r"\n{3,}")


def plain(markup: str) -> str:
    """The text of an HTML fragment, blocks on lines of their own. Linear in any input."""
    markup = _without_comments(markup)
    pieces: list[str] = []
    position = 0
    silent: str | None = None
    for tag in _TAG.finditer(markup):
        name = tag.group(2).lower()
        if silent is None:
            pieces.append(markup[position : tag.start()])
            if _BLOCKS.fullmatch(name):
                pieces.append("\n")
            if name in _SILENT and not tag.group(1):
                silent = name
        elif name == silent and tag.group(1):
            silent = None
        position = tag.end()
    if silent is None:
        pieces.append(markup[position:])
    return tidy(html.unescape("".join(pieces)))


def _without_comments(markup: str) -> str:
    if "<!--" not in markup:
        return markup
    kept, position = [], 0
    while (start := markup.find("<!--", position)) >= 0:
        kept.append(markup[position:start])
        end = markup.find("-->", start + 4)
        if end < 0:
            return "".join(kept)
        position = end + 3
    kept.append(markup[position:])
    return "".join(kept)


def tidy(text: str) -> str:
    """Blanks collapsed, at most one empty line in a row."""
    lines = (_BLANKS.sub(" ", line).strip() for line in storable(text).split("\n"))
    return _GAPS.sub("\n\n", "\n".join(lines)).strip()


def titled(subject: str | None, body: str | None) -> str:
    """Subject and body as one text, without saying the same twice."""
    if not subject or (body and body.startswith(subject)):
        return body or ""
    return f"{subject}\n\n{body}" if body else subject


_ORDER_FIELD = re.compile(
    r"^(?:cf_|ticket_cf_|custom_)?"
    r"(?:(?:sales_|web_|shop_)?order(?:_?(?:no|nr|num|number|id|ref|reference))?"
    r"|bestell(?:ung|nummer|_?nr)|auftrags?(?:nummer|_?nr)?"
    r"|(?:numero_(?:de_)?)?(?:pedido|commande))$"
)
_ID_FIELD = re.compile(r"^[a-z][a-z0-9_]{0,40}_(?:id|number|no|nr)$")


def structured(fields: Part) -> tuple[tuple[str, ...], dict[str, str]]:
    """Order numbers and ids of other systems among custom fields, by the fields' names."""
    orders: list[str] = []
    ids: dict[str, str] = {}
    for key, part in fields.entries():
        name = re.sub(r"[\s-]+", "_", key.strip().lower())
        value = part.id()
        if value is None:
            continue
        if _ORDER_FIELD.match(name):
            orders.append(value)
        elif _ID_FIELD.match(name):
            ids[name] = value
    return tuple(dict.fromkeys(orders)), ids


def texts(*parts: Part) -> tuple[str, ...]:
    """The distinct texts among these parts."""
    return tuple(dict.fromkeys(text for part in parts if (text := part.text()) is not None))


def language(part: Part) -> str | None:
    """ISO 639-1 of a language tag such as `de-AT`; None for `und` and X's own codes."""
    text = part.text()
    if text is None or not re.match(r"^[A-Za-z]{2}(?:[-_]|$)", text):
        return None
    return text[:2].lower()


def read(place: str, build: Callable[[], Reading]) -> Reading:
    """Build one reading; what it lacks becomes an `Unreadable` with its place."""
    try:
        return build()
    except Lacking as lacking:
        return Unreadable(lacking.place, lacking.reason)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        return Unreadable(place, f"{field}: {first['msg']}")


def limited(readings: Iterator[Reading]) -> tuple[Reading, ...]:
    """At most `MAX_ITEMS` readings; what is over is named, not dropped in silence."""
    found: list[Reading] = []
    for reading in readings:
        if len(found) == MAX_ITEMS:
            found.append(Unreadable("", f"more than {MAX_ITEMS} parts; the rest was not read"))
            break
        found.append(reading)
    return tuple(found)


def not_an_object(payload: Any) -> tuple[Reading, ...]:
    return (Unreadable("", f"an object is needed, not {_kind(payload)}"),)


def _kind(value: Any) -> str:
    for kind, name in ((dict, "an object"), (list, "an array"), (str, "a text")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "a number or a truth value"


def short_id(text: str) -> str:
    return text if len(text) <= MAX_ID else "sha256-" + digest_of(text.encode("utf-8", "replace"))


def delivery_id(*parts: str | None, delivery: Delivery) -> str:
    """The parts joined, or the body's digest where one of them is missing."""
    if any(part is None for part in parts):
        return "body:" + digest_of(delivery.body)
    return short_id(":".join(part for part in parts if part is not None))


def only_created(readings: tuple[Reading, ...]) -> Arrival | None:
    """The one new message of a payload that holds nothing else worth telling apart."""
    arrivals = [r for r in readings if isinstance(r, Arrival)]
    others = [r for r in readings if isinstance(r, Unreadable | Ignored)]
    if len(arrivals) == 1 and not others and arrivals[0].event == "created":
        return arrivals[0]
    return None


def header(headers: Mapping[str, str], name: str) -> str | None:
    """A header's value without blanks, None when empty."""
    return headers.get(name, "").strip() or None
