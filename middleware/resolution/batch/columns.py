"""What a contact or an account is compared by: its columns for the shipped model, in ASCII.

Nothing of it is shown or stored in the hub's tables; the record stays as its remote wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

from anyascii import anyascii
from nicknames import NickNamer

from middleware.contract.canonical import Account, Contact
from middleware.resolution import normalise, postal
from middleware.resolution.identifiers import CUSTOMER_NUMBER

VERSION = "3"
"""Changes when the same record gets other columns: what was made by another one is made anew."""

TEXTS = ("given", "family", "name", "email", "phone", "street", "city", "postcode")
LISTS = ("nicks", "emails", "phones", "handles", "ids")
FIRST_OF = {"email": "emails", "phone": "phones"}
"""Texts that are the first value of a list."""
STOPPED = ("emails", "phones", "handles", "ids")
MOST_BEARERS = 50
"""A value of these that more records bear, such as a department's address, says nothing about one.
What a given name is short for is no such value: common names have it, too."""

PHONE_DIGITS = 9
"""The last digits of a number: how it is dialled within and from outside a country agree there."""
LEAST_PHONE_DIGITS = 7
_NOT_DIGITS = re.compile(r"\D")
_NOT_WORDS = re.compile(r"[^a-z0-9]+")


def columns_of(record: Contact | Account, *, regions: Sequence[str] = ()) -> dict[str, Any]:
    """A record's columns: texts or None in `TEXTS`, sorted lists or None in `LISTS`.

    `regions` are where national phone numbers are read (ISO 3166-1 alpha-2).
    """
    if isinstance(record, Contact):
        given, family = _name_of(record)
        handles = _listed(
            f"{normalise.network(one.network)}:{key}"
            for one in record.handles
            for key in (
                normalise.handle(one.handle) if one.handle else None,
                f"#{one.native_id.strip()}" if one.native_id else None,
            )
            if key
        )
        numbers = list(record.external_ids.items())
    else:
        given, family = _split(record.name)
        handles = None
        numbers = list(record.external_ids.items())
        if record.number:
            numbers.append((CUSTOMER_NUMBER, record.number))
    # A system may keep our record's id of another system under that system's name.
    own = (record.ref.connection, record.ref.id)
    address = record.address
    return {
        "given": given,
        "family": family,
        "name": " ".join(sorted(f"{given or ''} {family or ''}".split())) or None,
        "nicks": _nicks(given) if given else None,
        "emails": _listed(key for text in record.emails if (key := normalise.email(text))),
        "phones": _listed(key for text in record.phones for key in _phones(text, regions)),
        "handles": handles,
        "ids": _listed(
            f"{_plain(system)}:{key}"
            for system, value in (*numbers, own)
            if (key := normalise.external_id(value))
        ),
        "street": postal.street(address.street) if address and address.street else None,
        "city": _plain(address.city) if address else None,
        "postcode": postal.postcode(address.postal_code)
        if address and address.postal_code
        else None,
    }


def unique_ids(record: Contact | Account, schemes: Sequence[str]) -> list[tuple[str, str]]:
    """The record's numbers of which a customer has one: scheme and value, sorted."""
    numbers = dict(record.external_ids)
    if isinstance(record, Account) and record.number:
        numbers.setdefault(CUSTOMER_NUMBER, record.number)
    wanted = {scheme.strip().casefold() for scheme in schemes}
    return sorted(
        (scheme, value)
        for system, text in numbers.items()
        if (scheme := system.strip().casefold()) in wanted
        and (value := normalise.external_id(text)) is not None
    )


def _name_of(contact: Contact) -> tuple[str | None, str | None]:
    if contact.given_name or contact.family_name:
        return _plain(contact.given_name), _plain(contact.family_name)
    return _split(contact.display_name)


def _split(text: str | None) -> tuple[str | None, str | None]:
    """First and last word of a whole name; `Berg, Kim` is turned round."""
    if text and text.count(",") == 1:
        family, given = text.split(",")
        text = f"{given} {family}"
    words = (_plain(text) or "").split()
    if not words:
        return None, None
    return (words[0], words[-1]) if len(words) > 1 else (None, words[0])


@cache
def _namer() -> NickNamer:
    return NickNamer()


@lru_cache(maxsize=65_536)
def _nicks(given: str) -> list[str]:
    """The name itself and those that it may be short for."""
    return sorted({given, *_namer().canonicals_of(given)})


def _plain(text: str | None) -> str | None:
    """Small ASCII letters and digits, one blank between words."""
    return _NOT_WORDS.sub(" ", _ascii(text).lower()).strip() or None if text else None


def _phones(text: str, regions: Sequence[str]) -> Iterable[str]:
    numbers = normalise.phones(text, regions=regions) or (text,)
    for number in numbers:
        digits = _NOT_DIGITS.sub("", _ascii(number))
        if len(digits) >= LEAST_PHONE_DIGITS:
            yield digits[-PHONE_DIGITS:]


def _listed(values: Iterable[str]) -> list[str] | None:
    """Each value once, in ASCII, in order of appearance; None where there is none."""
    return list(dict.fromkeys(map(_ascii, values))) or None


def _ascii(text: str) -> str:
    return text if text.isascii() else anyascii(text)
