"""Keys that lead from what people show to what is on file of them."""

from __future__ import annotations

import pytest

from middleware.contract.canonical import Contact, Kind, Ref
from middleware.domain.arrivals import Author
from middleware.resolution.profiles import MOST_WANTED, asking, likeness_of

FOUND: dict[str, tuple[str | None, str, str]] = {
    "the first given and the first family name of four": (
        "Pilar Huidobro",
        "tamaco",
        "Pilar Andrea Huidobro Peltier",
    ),
    "a given name, and the beginning of the other in the handle": (
        "rishi",
        "iamrishijo",
        "Rishi Joshi",
    ),
    "an initial between the names in the handle": (None, "mikefrobbins", "Mike Robbins"),
}
NOT_FOUND: dict[str, tuple[str | None, str, str]] = {
    "a given name alone": ("josh", "josh", "Josh Thompson"),
    "two letters more in the handle": (None, "mikeftrobbins", "Mike Robbins"),
    "an initial beside a whole name": ("Ada Lo", "mikefrobbins", "Mike Robbins"),
}


def shared(display_name: str | None, handle: str, filed: str) -> set[int]:
    likeness = likeness_of(
        Contact(ref=Ref(connection="crm", kind=Kind.CONTACT, id="1"), display_name=filed)
    )
    assert likeness is not None
    asked = asking(Author(network="x", handle=handle, display_name=display_name))
    assert len(asked.wanted) <= MOST_WANTED
    return {key for key, _ in asked.wanted} & set(likeness.keys)


@pytest.mark.parametrize("case", FOUND)
def test_lead_to(case: str) -> None:
    assert shared(*FOUND[case])


@pytest.mark.parametrize("case", NOT_FOUND)
def test_do_not_lead_to(case: str) -> None:
    assert not shared(*NOT_FOUND[case])
