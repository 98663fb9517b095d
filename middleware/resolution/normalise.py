"""Normal forms of what identifies people, so that equal things compare equal.

A normal form is a key for looking up and comparing; what is shown stays as the source wrote it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import phonenumbers

MAX_LENGTH = 320
"""Longer values than the longest e-mail address identify nobody."""

_ALIASES = {
    "twitter": "x",
    "fb": "facebook",
    "messenger": "facebook",
    "ig": "instagram",
    "insta": "instagram",
    "wa": "whatsapp",
    "mail": "email",
    "e-mail": "email",
}
_PROFILE = re.compile(
    r"^(?:https?://)?(?:www\.|m\.|mobile\.)?"
    r"(?:x|twitter|instagram|facebook|fb|tiktok|t)\.(?:com|me)/@?([^/?#\s]{1,64})",
    re.IGNORECASE,
)
_EMAIL = re.compile(r"^[^\s@<>\"(),:;]{1,64}@[^\s@<>\"(),:;]{1,253}\.[^\s@<>\"(),:;.]{2,63}$")


def network(name: str) -> str:
    """The one name of a network: `twitter` is `x`."""
    text = name.strip().casefold()
    return _ALIASES.get(text, text)


@lru_cache(maxsize=1024)
def email(text: str) -> str | None:
    """An address in lower case, the domain in its ASCII form; None where it is no address.

    Providers may tell upper from lower case before the `@`; none that people use does.
    """
    cleaned = unicodedata.normalize("NFKC", text).strip().strip("<>").removeprefix("mailto:")
    cleaned = cleaned.casefold()
    if len(cleaned) > MAX_LENGTH or not _EMAIL.match(cleaned):
        return None
    local, _, domain = cleaned.rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        return None
    return f"{local}@{ascii_domain.rstrip('.')}"


def email_alias(text: str) -> str | None:
    """The mailbox behind a plus-alias: `kim+shop@…` is `kim@…`. A weaker key than the address."""
    address = email(text)
    if address is None:
        return None
    local, _, domain = address.rpartition("@")
    base = local.split("+", 1)[0]
    return f"{base}@{domain}" if base else None


def phones(text: str, *, regions: Sequence[str] = ()) -> tuple[str, ...]:
    """The E.164 numbers that a text may mean: one with a country code, else one a region.

    `regions` are ISO 3166-1 alpha-2 codes of where the company's customers live; without them a
    national number means nothing. Numbers that no plan allows are left out.
    """
    cleaned = unicodedata.normalize("NFKC", text).strip()
    if len(cleaned) > 40:
        return ()
    if cleaned.startswith("00"):
        cleaned = "+" + cleaned[2:]
    found: list[str] = []
    for region in (None,) if cleaned.startswith("+") else tuple(regions):
        try:
            number = phonenumbers.parse(cleaned, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_possible_number(number):
            found.append(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    return tuple(dict.fromkeys(found))


def handle(text: str) -> str | None:
    """A handle without `@`, without a profile's address around it, in lower case."""
    cleaned = unicodedata.normalize("NFKC", text).strip()
    if len(cleaned) > MAX_LENGTH:
        return None
    if match := _PROFILE.match(cleaned):
        cleaned = match.group(1)
    return cleaned.removeprefix("@").casefold() or None


_NOT_LETTERS = re.compile(r"[^\w\s'’-]+")
_BLANKS = re.compile(r"\s+")


def name(text: str) -> str | None:
    """A display name in lower case without emojis, marks and repeated blanks.

    Accents stay: Müller, Mueller and Muller are three people until something else says so.
    """
    cleaned = unicodedata.normalize("NFKC", text[:MAX_LENGTH]).casefold()
    cleaned = _BLANKS.sub(" ", _NOT_LETTERS.sub(" ", cleaned).replace("_", " ")).strip(" -'’")
    return cleaned if any(char.isalpha() for char in cleaned) else None


def external_id(text: str) -> str | None:
    """An id of another system: blanks around it do not count, case does."""
    cleaned = text.strip()
    return cleaned if 0 < len(cleaned) <= MAX_LENGTH else None


def masked_email(address: str) -> str:
    """An address for people who need to recognise it, not to learn it: `k…@example.com`."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}…@{domain}"


def masked_phone(number: str) -> str:
    """A number with its last digits only: `…0142`."""
    return f"…{number[-4:]}"
