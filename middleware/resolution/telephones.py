"""Telephone numbers that need no parsing: whole international ones, as systems keep most of them.

`phonenumbers` reads anything that a person may have written, at a price of some hundred
microseconds for what is finished already. What is not plainly finished is left to it, so that both
ways come to the same.
"""

from __future__ import annotations

import re
from functools import cache

import phonenumbers

_WRITTEN = re.compile(r"\+[1-9][0-9]{6,16}", re.ASCII)
_PUNCTUATION = str.maketrans("", "", " -().")
MOST_CODE_DIGITS = 3


def finished(text: str) -> str | None:
    """The E.164 number that a text is as it stands; None where `phonenumbers` has to say.

    A number counts as finished when its country's plan has numbers of its length and it does not
    begin with what that plan may take for a prefix to leave out.
    """
    if text[:1] != "+":
        return None
    bare = text
    # A plus within the number, or what follows one, makes another number of it.
    if not _WRITTEN.fullmatch(bare):
        bare = text.translate(_PUNCTUATION)
        if not _WRITTEN.fullmatch(bare):
            return None
    for digits in range(1, MOST_CODE_DIGITS + 1):
        plan = _plan(bare[1 : 1 + digits])
        if plan is not None:
            lengths, prefix = plan
            national = bare[1 + digits :]
            plain = national[0] != "0" and len(national) in lengths
            return bare if plain and not (prefix and prefix.match(national)) else None
    return None


@cache
def _plan(code: str) -> tuple[frozenset[int], re.Pattern[str] | None] | None:
    """The lengths of a country's numbers, and what their prefixes look like."""
    country = int(code)
    if country not in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
        return None
    region = phonenumbers.region_code_for_country_code(country)
    plan = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(country, region)
    if plan is None or plan.general_desc is None:
        return frozenset(), None
    prefix = plan.national_prefix_for_parsing
    lengths = frozenset(plan.general_desc.possible_length)
    return lengths, re.compile(prefix) if prefix else None
