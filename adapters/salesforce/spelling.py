"""How people spell in a CRM what we know in one form.

SOQL compares text as it stands, without case. A look-up therefore asks for every usual spelling;
what it finds is compared again in our form.
"""

from __future__ import annotations

import phonenumbers


def phones(number: str) -> tuple[str, ...]:
    """The usual spellings of an E.164 number; the number alone when it is none."""
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return (number,)
    forms = phonenumbers.PhoneNumberFormat
    international, national, dashed = (
        phonenumbers.format_number(parsed, form)
        for form in (forms.INTERNATIONAL, forms.NATIONAL, forms.RFC3966)
    )
    digits = number.removeprefix("+")
    local = "".join(c for c in national if c.isdigit())
    spelt = [number, international, national, dashed.removeprefix("tel:"), digits, local]
    spelt += [f"00{digits}", f"+{parsed.country_code} {parsed.national_number}"]
    spelt += [national.replace(" ", ""), national.replace(" ", "-"), national.replace(" ", "/", 1)]
    if parsed.country_code == 1 and len(local) == 10:
        area, exchange, line = local[:3], local[3:6], local[6:]
        spelt += [f"{mark.join((area, exchange, line))}" for mark in "-. "]
        spelt += [f"1-{area}-{exchange}-{line}", f"+1 ({area}) {exchange}-{line}"]
    return tuple(dict.fromkeys(spelt))


def handles(handle: str) -> tuple[str, ...]:
    """A handle with and without its @."""
    bare = handle.strip().removeprefix("@")
    return (bare, f"@{bare}") if bare else ()


def same_handle(left: str | None, right: str | None) -> bool:
    """Whether two spellings name the same handle."""
    if not left or not right:
        return False
    return left.strip().removeprefix("@").casefold() == right.strip().removeprefix("@").casefold()
