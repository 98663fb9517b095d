"""Numbers and names in a text: what has a form of its own is recognised in any language.

Nothing found here is a fact: an order number is one when an ERP says so.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from itertools import islice

import phonenumbers

from middleware.domain.articles import (
    LONGEST_NAME,
    names_something,
    numbers_in,
    sku_key,
    speaks,
    words_of,
)
from middleware.domain.understanding import Entity, EntityType
from middleware.understanding.patterns import order_pattern
from middleware.understanding.tracking import quoted, tracking_numbers

MAX_ENTITIES = 100
MAX_PRODUCTS = 200_000
MAX_SAME_FIRST_WORD = 200
"""Names that begin alike are tried one by one, so many of them."""

MOST_ALIKE = 3
"""Articles that may share words which still speak for each of them."""

_RANK = (
    EntityType.EMAIL,
    EntityType.TRACKING_NUMBER,
    EntityType.ORDER_NUMBER,
    EntityType.SKU,
    EntityType.AMOUNT,
    EntityType.DATE,
    EntityType.POSTCODE,
    EntityType.PHONE,
    EntityType.PRODUCT,
)
"""Where two overlap with the same confidence, the earlier type keeps the place."""

_SHARED = frozenset((EntityType.PRODUCT, EntityType.PHONE))
"""Of these one place in a text may be several."""


def entities(
    text: str,
    *,
    products: Articles | None = None,
    order_patterns: Sequence[str] = (),
    regions: Sequence[str] = (),
) -> tuple[Entity, ...]:
    """All entities of a text in their order; of overlapping ones the surest stays.

    Raises `PatternRefused` for a pattern of order numbers that is not allowed. `regions` are where
    phone numbers without a country code are read.
    """
    found = [
        *emails(text),
        *tracking_numbers(text),
        *order_numbers(text, order_patterns),
        *amounts(text),
        *dates(text),
        *postcodes(text),
        *phones(text, regions),
        *(articles(text, products) if products is not None else ()),
    ]
    found.sort(key=lambda e: (-e.confidence, _RANK.index(e.type), -(e.end - e.start), e.start))
    kept: list[Entity] = []
    taken = [False] * (len(text) + 1)
    for entity in found:
        if len(kept) == MAX_ENTITIES:
            break
        if any(taken[entity.start : entity.end]):
            # Several articles may share a word; the word then speaks a little for each of them. So
            # does a number that several countries have.
            there = {
                k.value
                for k in kept
                if (k.start, k.end, k.type) == (entity.start, entity.end, entity.type)
            }
            if entity.type not in _SHARED or not there or entity.value in there:
                continue
        kept.append(entity)
        taken[entity.start : entity.end] = [True] * (entity.end - entity.start)
    return tuple(sorted(kept, key=lambda e: (e.start, e.end, e.value)))


# E-mail addresses

_EMAIL = re.compile(
    r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,5}"
    r"[A-Za-z]{2,24}(?![\w-])"
)


def emails(text: str) -> Iterator[Entity]:
    for match in _EMAIL.finditer(text):
        local = match.group().partition("@")[0]
        if local.startswith(".") or local.endswith(".") or ".." in local:
            continue
        yield Entity(
            type=EntityType.EMAIL,
            value=match.group().lower(),
            start=match.start(),
            end=match.end(),
            confidence=0.98,
            why="has the form of an e-mail address",
        )


# Order numbers

_ORDER_CUE = re.compile(
    r"""(?<![^\W\d_])(?:
        (?:web|online|customer|sales|purchase|kunden|web)?[ -]?orders? | purchases? | p\.?o\.?
      | (?:re)?ordered | bestell(?:ung(?:en)?|nummern?|nr|\#)? | auftr(?:ag|äge)s?(?:nummer|nr)?
      | pedidos? | commandes? | compras? | achats? | encargos?
    )(?=[^A-Za-zÀ-ÿ]|$)""",
    re.VERBOSE | re.IGNORECASE,
)
"""A word after which an order number may stand. It may touch the number: `order48213`."""

_BETWEEN = re.compile(
    r"""(?:[\s:;=,.()\[\]"'*\#№º°-]{1,6}
        (?:(?:numbers?|numbered|num|no|nos|nr|nrs|nummern?|n|id|ids|ref|reference|code|is|was|are
           |ist|war|lautet|mit|der|with|of|the|my|es|est|el|la|de|del|número|numero|numéro
           |conf|confirmation|placed|from|under|called)(?![A-Za-zÀ-ÿ0-9]))
    ){0,4}[\s:;=.()\[\]"'*\#№º°-]{0,6}""",
    re.VERBOSE | re.IGNORECASE,
)
_SAYS_NUMBER = re.compile(
    r"\#|№|º|°|(?<![A-Za-z])(?:num|no|nr|id|ref|reference|code|n[uú]mero|num[ée]ro)",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"(?:[A-Za-z]{1,5}[-_/]?)?[0-9][0-9A-Za-z]{0,24}(?:[-_/.][0-9A-Za-z]{1,20}){0,3}(?![^\W_])"
)
_AND = re.compile(r"\s{0,3}(?:,|&|\+|/|and|und|y|et|or|oder|o|ou)\s{1,3}\#?", re.IGNORECASE)
_COUNTED = re.compile(
    r"\s{0,2}(?:x|×|%|pcs?|pieces?|units?|items?|boxes|cartons?|pallets?|bottles?|packs?|pairs?|kg"
    r"|g|ml|cm|mm|v|days?|weeks?|months?|years?|hours?|hrs?|minutes?|mins?|times|people|stück|stk"
    r"|tage?n?|wochen?|monate?n?|stunden?|unidades|piezas|d[ií]as|semanas|meses|horas|pi[èe]ces"
    r"|jours?|semaines?|mois|heures?|€|\$|£|euros?|dollars?|pounds?|bucks|eur|usd|gbp"
    r"|am|pm|uhr|th|st|nd|rd)(?![^\W_])",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:19|20)\d\d")


def order_numbers(text: str, order_patterns: Sequence[str] = ()) -> Iterator[Entity]:
    """By the connections' own patterns, and by the words that people put before a number."""
    for pattern in order_patterns:
        for match in order_pattern(pattern).finditer(text):
            yield Entity(
                type=EntityType.ORDER_NUMBER,
                value=_upper(match.group()),
                start=match.start(),
                end=match.end(),
                confidence=0.95,
                why=f"has the form {pattern}",
            )
    for cue in _ORDER_CUE.finditer(text):
        yield from _after_cue(text, cue)


def _after_cue(text: str, cue: re.Match[str]) -> Iterator[Entity]:
    between = _BETWEEN.match(text, cue.end())
    position = between.end() if between else cue.end()
    said = bool(_SAYS_NUMBER.search(text, cue.start(), position))
    for _ in range(10):
        match = _NUMBER.match(text, position)
        if match is None:
            return
        token = match.group()
        while token and not token[-1].isalnum():
            token = token[:-1]
        end = position + len(token)
        sure = _looks_like_order(token, said=said)
        if sure == 0 or _COUNTED.match(text, end) or text[max(0, position - 1)] in "$€£":
            return
        yield Entity(
            type=EntityType.ORDER_NUMBER,
            value=_upper(token),
            start=position,
            end=end,
            confidence=sure,
            why=f"stands after {quoted(cue.group())}",
        )
        more = _AND.match(text, end)
        if more is None:
            return
        position = more.end()


def _looks_like_order(token: str, *, said: bool) -> float:
    digits = sum(char.isdigit() for char in token)
    if _DATE_LIKE.fullmatch(token):
        return 0.0
    if _YEAR.fullmatch(token) and not said:
        return 0.0
    if digits >= 5 or (digits >= 4 and (said or not token.isdigit())):
        return 0.9 if said or digits >= 6 else 0.85
    if digits >= 3 and (said or token[0].isalpha()):
        return 0.7
    return 0.5 if digits == 4 else 0.0


_DATE_LIKE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}")


def _upper(token: str) -> str:
    return re.sub(r"\s+", " ", token.strip()).upper()


# Amounts

_SYMBOLS = {"€": ("EUR", 0.97), "£": ("GBP", 0.95), "$": ("USD", 0.75), "₹": ("INR", 0.95)}
_CURRENCY_WORDS = {
    "eur": ("EUR", 0.97),
    "euro": ("EUR", 0.95),
    "euros": ("EUR", 0.95),
    "usd": ("USD", 0.97),
    "us$": ("USD", 0.97),
    "dollar": ("USD", 0.75),
    "dollars": ("USD", 0.75),
    "bucks": ("USD", 0.7),
    "gbp": ("GBP", 0.97),
    "quid": ("GBP", 0.9),
    "pounds": ("GBP", 0.6),
    "chf": ("CHF", 0.97),
    "franken": ("CHF", 0.9),
    "sek": ("SEK", 0.97),
    "nok": ("NOK", 0.97),
    "dkk": ("DKK", 0.97),
    "pln": ("PLN", 0.97),
    "zł": ("PLN", 0.95),
    "cad": ("CAD", 0.95),
    "aud": ("AUD", 0.95),
}
_FIGURE = r"\d{1,3}(?:[.,'’ ]\d{3}){1,3}(?:[.,]\d{1,2})?(?!\d)|\d{1,9}(?:[.,]\d{1,2})?(?!\d)"
_WORDS = "|".join(sorted((re.escape(w) for w in _CURRENCY_WORDS), key=len, reverse=True))
_BEFORE = re.compile(
    rf"(?<![A-Za-z0-9])(?P<unit>[€£$₹]|us\$|eur|usd|gbp|chf)\s{{0,2}}(?P<figure>{_FIGURE})",
    re.IGNORECASE,
)
_AFTER = re.compile(
    rf"(?<![\d.,A-Za-z-])(?P<figure>{_FIGURE})\s{{0,2}}(?P<unit>[€£$₹]|(?:{_WORDS})(?![^\W_]))",
    re.IGNORECASE,
)


def amounts(text: str) -> Iterator[Entity]:
    """Sums with their currency; `$` and `dollars` are taken for US dollars, not for sure."""
    for pattern in (_BEFORE, _AFTER):
        for match in pattern.finditer(text):
            unit = match["unit"].lower()
            currency, sure = _SYMBOLS.get(unit) or _CURRENCY_WORDS[unit]
            amount = figure(match["figure"])
            if amount is None:
                continue
            yield Entity(
                type=EntityType.AMOUNT,
                value=f"{amount:.2f} {currency}",
                start=match.start(),
                end=match.end(),
                confidence=sure,
                why=f"a figure with {match['unit']}",
            )


def figure(text: str) -> Decimal | None:
    """A written number: `1,299.00`, `1.299,00`, `1 299` and `12,5`, as people anywhere mean it.

    The last separator is a decimal one unless three digits follow it.
    """
    cleaned = re.sub(r"[ '’]", "", text)
    last = max(cleaned.rfind("."), cleaned.rfind(","))
    if last >= 0 and len(cleaned) - last - 1 != 3:
        whole, fraction = cleaned[:last], cleaned[last + 1 :]
        cleaned = re.sub(r"[.,]", "", whole) + "." + fraction
    else:
        cleaned = re.sub(r"[.,]", "", cleaned)
    try:
        return Decimal(cleaned)
    except InvalidOperation:
        return None


# Dates

_MONTHS = {
    month: number
    for number, names in enumerate(
        (
            "january jan januar jänner enero janvier",
            "february feb februar febrero février fevrier",
            "march mar märz maerz marzo mars",
            "april apr abril avril",
            "may mai mayo",
            "june jun juni junio juin",
            "july jul juli julio juillet",
            "august aug agosto août aout",
            "september sept sep septiembre septembre",
            "october oct oktober okt octubre octobre",
            "november nov noviembre novembre",
            "december dec dezember dez diciembre décembre decembre",
        ),
        start=1,
    )
    for month in names.split(" ")
}
_NAMES = "|".join(sorted(_MONTHS, key=len, reverse=True))
_ISO = re.compile(r"(?<![\d-])(\d{4})-(\d{2})-(\d{2})(?![\d-])")
_DOTTED = re.compile(r"(?<![\d.])(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4})(?!\d)")
_SLASHED = re.compile(r"(?<![\d/])(\d{1,2})/(\d{1,2})/(\d{4})(?![\d/])")
_DAY_MONTH = re.compile(
    rf"(?<!\d)(\d{{1,2}})(?:\.|st|nd|rd|th)?\s{{1,2}}(?:de\s|of\s)?({_NAMES})\.?,?\s{{1,2}}"
    r"(?:de\s|del\s)?(\d{4})(?!\d)",
    re.IGNORECASE,
)
_MONTH_DAY = re.compile(
    rf"(?<![^\W_])({_NAMES})\.?\s{{1,2}}(\d{{1,2}})(?:st|nd|rd|th)?,?\s{{1,2}}(\d{{4}})(?!\d)",
    re.IGNORECASE,
)


def dates(text: str) -> Iterator[Entity]:
    """Full dates that can be read in one way only; `03/04/2026` is two dates, so it is none."""
    for match in _ISO.finditer(text):
        yield from _date(match, match[1], match[2], match[3], 0.97)
    for match in _DOTTED.finditer(text):
        yield from _date(match, match[3], match[2], match[1], 0.95)
    for match in _SLASHED.finditer(text):
        first, second = int(match[1]), int(match[2])
        if first > 12 >= second or first == second:
            yield from _date(match, match[3], match[2], match[1], 0.9)
        elif second > 12 >= first:
            yield from _date(match, match[3], match[1], match[2], 0.9)
    for match in _DAY_MONTH.finditer(text):
        yield from _date(match, match[3], str(_MONTHS[match[2].lower()]), match[1], 0.95)
    for match in _MONTH_DAY.finditer(text):
        yield from _date(match, match[3], str(_MONTHS[match[1].lower()]), match[2], 0.95)


def _date(match: re.Match[str], year: str, month: str, day: str, sure: float) -> Iterable[Entity]:
    try:
        found = date(int(year), int(month), int(day))
    except ValueError:
        return
    if 1990 <= found.year <= 2100:
        yield Entity(
            type=EntityType.DATE,
            value=found.isoformat(),
            start=match.start(),
            end=match.end(),
            confidence=sure,
            why="a full date",
        )


# Phones

_PHONE = re.compile(r"(?<![\w+/.-])(?:\+|00)?\(?\d[\d ().\-/\u00a0]{5,22}\d(?![\w])")


def phones(text: str, regions: Sequence[str] = ()) -> Iterator[Entity]:
    """Numbers that a numbering plan allows, with a country code or as one of `regions` has them."""
    for candidate in _PHONE.finditer(text):
        written = candidate.group()
        international = written.startswith(("+", "00"))
        if not international and _DATE_LIKE.match(written):
            continue
        if written.startswith("00"):
            written = "+" + written[2:]
        for region in (None,) if international else tuple(regions):
            match = next(iter(phonenumbers.PhoneNumberMatcher(written, region)), None)
            if match is None:
                continue
            value = phonenumbers.format_number(match.number, phonenumbers.PhoneNumberFormat.E164)
            yield Entity(
                type=EntityType.PHONE,
                value=value,
                start=candidate.start(),
                end=candidate.end(),
                confidence=0.95 if international else 0.7,
                why="valid with its country code" if international else f"valid in {region}",
            )


# Postal codes

_POSTCODE_CUE = re.compile(
    r"""(?<![^\W_])(?:post[ -]?(?:al[ -]?)?codes? | zip(?:[ -]?codes?)? | plz | postleitzahl(?:en)?
      | code[ ]postal | c[oó]digo[ ]postal | codice[ ]postale | postnummer | postnr | c\.?p\.?
      | 郵便番号 | 邮编 | 邮政编码
    )(?![^\W_])
    (?:[\s:;=,.()"'*\#-]{1,4}(?:is|was|ist|lautet|es|est|the|my|of|no|nr|number)(?![^\W_])){0,2}
    [\s:;=,.()"'*\#]{0,4}
    (?P<code>(?:[A-Z]{1,3}-)?(?=[A-Z]{0,2}\d)
      (?:[A-Z0-9]{3,9}(?:[ -](?=[A-Z]?\d)[A-Z0-9]{2,4}|[ ](?-i:[A-Z]{2}))?|[A-Z]\d[ ]\d[A-Z]{2})
    )(?![^\W_])""",
    re.VERBOSE | re.IGNORECASE,
)
_STATES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|DC|FL|GA|HI|IA|ID|IL|IN|KS|KY|LA|MA|MD|ME|MI|MN|MO|MS|MT|NC|ND|NE|NH|NJ"
    "|NM|NV|NY|OH|OK|OR|PA|PR|RI|SC|SD|TN|TX|UT|VA|VT|WA|WI|WV|WY"
)
_POSTCODE_FORMS = (
    (
        0.85,
        "the form of a British postcode",
        re.compile(
            r"(?<![\w-])(?:[A-PR-UWYZ][A-HK-Y]?\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2}"
            r"|[a-pr-uwyz][a-hk-y]?\d[a-z\d]? \d[abd-hjlnp-uw-z]{2})(?![\w-])"
        ),
    ),
    (
        0.85,
        "the form of a Canadian postal code",
        re.compile(r"(?<![\w-])[ABCEGHJ-NPRSTVXY]\d[A-Z] ?\d[A-Z]\d(?![\w-])"),
    ),
    (
        0.85,
        "stands after a state",
        re.compile(rf"(?<![\w-])(?:{_STATES})[ ,]{{1,2}}(?P<code>\d{{5}}(?:-\d{{4}})?)(?![\w-])"),
    ),
    (
        0.6,
        "the form of a Dutch postcode",
        re.compile(
            r"(?<![\w.,#€$£-])[1-9]\d{3} ?(?!S[ADS]|[GMTK]B|M?HZ|K[MGW]|MW|[AP]M|EU|UK|US|AD|BC)"
            r"[A-Z]{2}(?![\w-])"
        ),
    ),
    (
        0.4,
        "stands before a name, as of a town",
        re.compile(
            r"(?<![\w.,#€$£/-])(?P<code>(?:[A-Z]{1,3}-)?(?!(?:19|20)\d\d\s)\d{4,5})\s"
            r"(?=[A-ZÄÖÜÀ-Þ][a-zß-ÿ]{2,}(?![^\W_]))"
        ),
    ),
)


def postcodes(text: str) -> Iterator[Entity]:
    """Postal codes after a word for them, in a form that only they have, or before a town.

    Five digits alone are none: nobody could tell them from an order's.
    """
    for match in _POSTCODE_CUE.finditer(text):
        yield _postcode(match, 0.9, f"stands after {quoted(match.group().split()[0])}")
    for sure, why, form in _POSTCODE_FORMS:
        for match in form.finditer(text):
            if _COUNTED.match(text, match.end("code" if "code" in form.groupindex else 0)) is None:
                yield _postcode(match, sure, why)


def _postcode(match: re.Match[str], sure: float, why: str) -> Entity:
    group: str | int = "code" if "code" in match.re.groupindex else 0
    return Entity(
        type=EntityType.POSTCODE,
        value=_upper(match[group]),
        start=match.start(group),
        end=match.end(group),
        confidence=sure,
        why=why,
    )


# Articles


class Articles:
    """The articles that may be meant, indexed once: building takes time, looking up does not."""

    def __init__(self, products: Mapping[str, str]) -> None:
        self.given = dict(islice(products.items(), MAX_PRODUCTS))
        self.by_key = {sku_key(sku): sku for sku in self.given}
        self.by_key.pop("", None)
        self.by_first: dict[str, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
        self.bearers: dict[str, set[str]] = defaultdict(set)
        self.beginnings: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for sku, name in self.given.items():
            parts = tuple(word for word, _, _ in words_of(name or ""))[:12]
            if parts:
                self.by_first[parts[0]].append((parts, sku))
            for n in range(2, min(len(parts), LONGEST_NAME + 1)):
                if names_something(parts[:n]):
                    self.beginnings[parts[:n]].add(sku)
            for part in set(parts):
                if speaks(part):
                    self.bearers[part].add(sku)


def articles(text: str, index: Articles) -> Iterator[Entity]:
    """SKUs as they are, whole names, and words of a name that few of the given articles have."""
    if not index.given:
        return
    yield from _skus(text, index)
    words = words_of(text)
    for position, (word, start, end) in enumerate(words):
        for parts, sku in index.by_first.get(word, ())[:MAX_SAME_FIRST_WORD]:
            window = words[position : position + len(parts)]
            if tuple(w for w, _, _ in window) == parts and (len(parts) > 1 or len(word) >= 4):
                sure = 0.9 if len(parts) > 1 else 0.75
                yield _product(sku, start, window[-1][2], sure, f"the name {index.given[sku]}")
        yield from _beginning(index, words[position : position + LONGEST_NAME])
        owners = index.bearers.get(word, ())
        if 0 < len(owners) <= MOST_ALIKE:
            sure = 0.6 if len(owners) == 1 else 0.35
            for sku in sorted(owners):
                yield _product(sku, start, end, sure, f"a word of {index.given[sku]}")


def _beginning(index: Articles, words: Sequence[tuple[str, int, int]]) -> Iterator[Entity]:
    """Articles whose names begin with the words that stand here: with as many as possible."""
    for n in range(len(words), 1, -1):
        owners = index.beginnings.get(tuple(word for word, _, _ in words[:n]), ())
        if 0 < len(owners) <= MOST_ALIKE:
            sure = 0.7 if len(owners) == 1 else 0.45
            for sku in sorted(owners):
                why = f"the first {n} words of {index.given[sku]}"
                yield _product(sku, words[0][1], words[n - 1][2], sure, why)
            return


def _skus(text: str, index: Articles) -> Iterator[Entity]:
    """Whole tokens that are a SKU, blanks and dashes aside."""
    for token, start in numbers_in(text):
        sku = index.by_key.get(sku_key(token))
        if sku is None:
            continue
        plain = token.isdigit() or token.isalpha()
        if len(token) < 3 or (plain and len(token) < 5 and token != sku):
            continue
        yield Entity(
            type=EntityType.SKU,
            value=sku,
            start=start,
            end=start + len(token),
            confidence=0.6 if plain and len(token) < 6 else 0.95,
            why=f"the article number of {index.given[sku] or sku}"[:120],
        )


def _product(sku: str, start: int, end: int, sure: float, why: str) -> Entity:
    return Entity(
        type=EntityType.PRODUCT, value=sku, start=start, end=end, confidence=sure, why=why[:120]
    )
