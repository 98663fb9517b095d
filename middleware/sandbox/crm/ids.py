"""Salesforce record ids: 15 case-sensitive characters, and the 18-character form of the same.

The last three of the 18 say which of the 15 are upper case, so that systems without case can
hold them (Salesforce, "What is the difference between 15 and 18 character ids", article 000385214).
"""

from __future__ import annotations

import re
import string

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CHECK = string.ascii_uppercase + "012345"
_POD = "Sb0"


def make(prefix: str, serial: int) -> str:
    """The 18-character id of the `serial`th record of the object with this key prefix."""
    digits = ""
    while serial:
        serial, digit = divmod(serial, 62)
        digits = _DIGITS[digit] + digits
    return full(prefix + _POD + digits.rjust(9, "0"))


def full(short: str) -> str:
    """The 18-character form of a 15-character id."""
    suffix = ""
    for start in (0, 5, 10):
        bits = sum(
            1 << place
            for place, character in enumerate(short[start : start + 5])
            if character in string.ascii_uppercase
        )
        suffix += _CHECK[bits]
    return short + suffix


def read(text: object) -> str | None:
    """The 18-character form of what may be an id; None when it is none."""
    if not isinstance(text, str) or not re.fullmatch("[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?", text):
        return None
    whole = full(text[:15])
    return whole if text in (whole, whole[:15]) else None
