"""Tracking numbers, by their check digits and by the words before them.

Check digits follow the carriers' and standards bodies' publications: UPS (modulo 10 over letters
and digits), UPU S10 (modulo 11), FedEx Express (modulo 11) and Ground (modulo 10), DHL Express
waybills (modulo 7), Deutsche Post Identcode (modulo 10, weights 4 and 9), GS1 SSCC and USPS
(modulo 10, weight 3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from middleware.domain.understanding import Entity, EntityType

_UPS = re.compile(r"(?<![A-Za-z0-9])1Z(?:[ -]?[A-Za-z0-9]){16}(?![A-Za-z0-9])", re.IGNORECASE)
_S10 = re.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2}[ ]?\d{3}[ ]?\d{3}[ ]?\d{2}[ ]?\d[ ]?[A-Z]{2}(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_LONG = re.compile(r"(?<![\dA-Za-z+.,])\d(?:[ -]?\d){9,33}(?![\dA-Za-z])")
_TRACKING_CUE = re.compile(
    r"""(?<![^\W_])(?:track(?:ing|ed)?|waybill|airway[ ]?bill|awb|consignment|parcel|shipment
    |package|sendungs?(?:nummer|nr|verfolgung)?|sendung|paket(?:nummer|nr)?|trackingnummer
    |seguimiento|env[ií]o|localizador|suivi|colis|dhl|fedex|ups|usps|dpd|gls|hermes|royal[ ]mail)
    (?![^\W_])""",
    re.VERBOSE | re.IGNORECASE,
)
_ANY_TRACKING = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z0-9]{0,10}\d)[A-Z0-9]{9,34}(?![A-Za-z0-9])")
_NUMBER_WORD = re.compile(
    r"[\s:#.]{0,4}(?:(?:number|no|nr|nummer|id|code|num[ée]ro|n[uú]mero|is|ist|es|est|de)\b"
    r"[\s:#.]{0,4}){0,3}",
    re.IGNORECASE,
)
_NEAR = 45


def tracking_numbers(text: str) -> Iterator[Entity]:
    """Numbers with a right check digit; a plain number also needs a word that says what it is."""
    for pattern, check, name in ((_UPS, ups_check, "UPS"), (_S10, s10_check, "UPU S10")):
        for match in pattern.finditer(text):
            number = _squeezed(match.group())
            if check(number):
                yield _tracking(match.start(), match.end(), number, 0.97, f"{name} check digit")
    cues = [match.span() for match in _TRACKING_CUE.finditer(text)]
    for match in _LONG.finditer(text):
        number = _squeezed(match.group())
        near = any(end <= match.start() and match.start() - end <= _NEAR for _, end in cues)
        for check, name, alone in (
            (sscc_check, "GS1 SSCC", True),
            (usps_check, "USPS", True),
            (fedex_express_check, "FedEx Express", False),
            (fedex_ground_check, "FedEx Ground", False),
            (dhl_express_check, "DHL Express", False),
            (identcode_check, "Deutsche Post Identcode", False),
        ):
            if (alone or near) and check(number):
                sure = 0.93 if near else 0.8
                yield _tracking(match.start(), match.end(), number, sure, f"{name} check digit")
                break
    for start, end in cues:
        between = _NUMBER_WORD.match(text, end)
        at = between.end() if between else end
        said = bool(re.search(r"[#:]|n[ruo°ú]|id|code", text[end:at], re.IGNORECASE))
        loose = _ANY_TRACKING.match(text, at)
        if loose and (said or text[start:end].lower().startswith(("track", "sendungs", "suivi"))):
            number = loose.group()
            yield _tracking(
                loose.start(),
                loose.end(),
                number,
                0.55,
                f"stands after {quoted(text[start:end])}; no known check digit",
            )


def _tracking(start: int, end: int, number: str, sure: float, why: str) -> Entity:
    return Entity(
        type=EntityType.TRACKING_NUMBER,
        value=number,
        start=start,
        end=end,
        confidence=sure,
        why=why,
    )


def _squeezed(text: str) -> str:
    return re.sub(r"[ -]", "", text).upper()


def ups_check(number: str) -> bool:
    """UPS: letters count as (code - 63) modulo 10; every second of 15 doubles; modulo 10."""
    if not re.fullmatch(r"1Z[A-Z0-9]{15}\d", number):
        return False
    total = 0
    for index, char in enumerate(number[2:17]):
        value = int(char) if char.isdigit() else (ord(char) - 63) % 10
        total += value * 2 if index % 2 else value
    return (10 - total % 10) % 10 == int(number[17])


def s10_check(number: str) -> bool:
    """UPU S10: weights 8 6 4 2 3 5 9 7, modulo 11; 10 becomes 0 and 11 becomes 5."""
    if not re.fullmatch(r"[A-Z]{2}\d{9}[A-Z]{2}", number):
        return False
    weights = (8, 6, 4, 2, 3, 5, 9, 7)
    rest = 11 - sum(w * int(d) for w, d in zip(weights, number[2:10], strict=True)) % 11
    return {10: 0, 11: 5}.get(rest, rest) == int(number[10])


def _mod10(digits: str, weights: tuple[int, int]) -> bool:
    """The last digit completes a sum weighted from the right to a multiple of ten."""
    total = sum(int(d) * weights[i % 2] for i, d in enumerate(reversed(digits[:-1])))
    return (10 - total % 10) % 10 == int(digits[-1])


def sscc_check(number: str) -> bool:
    """GS1 SSCC of 18 digits behind the application identifier 00."""
    return len(number) == 20 and number.startswith("00") and _mod10(number[2:], (3, 1))


def usps_check(number: str) -> bool:
    """USPS packages: 22 digits from 91 to 95."""
    return bool(re.fullmatch(r"9[1-5]\d{20}", number)) and _mod10(number, (3, 1))


def fedex_express_check(number: str) -> bool:
    """FedEx Express, 12 digits: weights 3 1 7 from the left, modulo 11, then modulo 10."""
    if len(number) != 12:
        return False
    total = sum(int(d) * (3, 1, 7)[i % 3] for i, d in enumerate(number[:11]))
    return total % 11 % 10 == int(number[11])


def fedex_ground_check(number: str) -> bool:
    """FedEx Ground, 15 digits."""
    return len(number) == 15 and _mod10(number, (3, 1))


def dhl_express_check(number: str) -> bool:
    """DHL Express waybill, 10 digits: the first nine modulo 7."""
    return len(number) == 10 and int(number[:9]) % 7 == int(number[9])


def identcode_check(number: str) -> bool:
    """Deutsche Post Identcode, 12 digits."""
    return len(number) == 12 and _mod10(number, (4, 9))


def quoted(text: str) -> str:
    """A few words of the text, for a reason that people read."""
    return f"“{text.strip()[:30]}”"
