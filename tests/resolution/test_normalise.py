"""Normal forms: what is the same, and what is nothing at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.resolution import normalise


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Maria.Schmidt@Example.COM", "maria.schmidt@example.com"),
        (" <kim@example.com> ", "kim@example.com"),
        ("mailto:kim@example.com", "kim@example.com"),
        ("kim@exämple.com", "kim@xn--exmple-cua.com"),
        ("ＫＩＭ@example.com", "kim@example.com"),
        ("kim+shop@example.com", "kim+shop@example.com"),
        ("MAILTO:Kim@example.com", "kim@example.com"),
        ("k.im@gmail.com", "k.im@gmail.com"),
        ("kim", None),
        ("kim@localhost", None),
        ("kim@@example.com", None),
        ("k im@example.com", None),
        ("@example.com", None),
        ("kim@example..com", None),
        ("k" * 400 + "@example.com", None),
        ("", None),
    ],
)
def test_emails(text: str, key: str | None) -> None:
    assert normalise.email(text) == key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("kim+shop+2@example.com", "kim@example.com"),
        ("kim@example.com", "kim@example.com"),
        ("+shop@example.com", None),
        ("nobody", None),
        ("K.i.m+shop@googlemail.com", "kim@gmail.com"),
        ("kim@gmail.com", "kim@gmail.com"),
        ("k.im@example.com", "k.im@example.com"),
        ("k.im@notgmail.com", "k.im@notgmail.com"),
    ],
)
def test_aliases_are_a_key_of_their_own(text: str, key: str | None) -> None:
    assert normalise.email_alias(text) == key


@pytest.mark.parametrize(
    ("country", "regions", "keys"),
    [
        ("AT", ("DE",), ("+436641234567",)),
        ("AT", (), ("+436641234567",)),
        ("DE", ("AT", "CH"), ("+496641234567",)),
        ("FR", ("DE",), ("+496641234567",)),
        (None, ("DE", "AT"), ("+496641234567", "+436641234567")),
        (None, (), ()),
    ],
)
def test_a_national_number_is_read_where_its_bearer_lives(
    country: str | None, regions: tuple[str, ...], keys: tuple[str, ...]
) -> None:
    """Where that country's plan has no such number, it may as well be of another one."""
    assert normalise.phones("0664 1234567", regions=regions, country=country) == keys


@pytest.mark.parametrize(
    ("text", "regions", "keys"),
    [
        ("+1 (202) 555-0142", (), ("+12025550142",)),
        ("0049 30 23125-101", (), ("+493023125101",)),
        ("030 23125 101", (), ()),
        ("030 23125 101", ("DE",), ("+493023125101",)),
        ("(202) 555-0142", ("US", "DE"), ("+12025550142", "+492025550142")),
        ("+99 1", ("DE",), ()),
        ("tel:+493023125101", (), ("+493023125101",)),
        ("call me", ("DE",), ()),
        ("", (), ()),
        ("1" * 100, ("DE",), ()),
    ],
)
def test_phones(text: str, regions: tuple[str, ...], keys: tuple[str, ...]) -> None:
    assert normalise.phones(text, regions=regions) == keys


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("@KimDoe", "kimdoe"),
        ("KimDoe ", "kimdoe"),
        ("https://x.com/KimDoe?lang=de", "kimdoe"),
        ("http://www.twitter.com/@KimDoe/", "kimdoe"),
        ("instagram.com/kim.doe", "kim.doe"),
        ("https://www.facebook.com/profile.php?id=100012", None),
        ("https://x.com/intent/user?user_id=7", None),
        ("https://de.linkedin.com/in/Kim-Doe-84/", "kim-doe-84"),
        ("linkedin.com/in/kimdoe?trk=x", "kimdoe"),
        ("https://www.threads.net/@kimdoe", "kimdoe"),
        ("https://youtube.com/@KimDoe", "kimdoe"),
        ("https://bsky.app/profile/kim.example", "kim.example"),
        ("https://github.com/KimDoe", "kimdoe"),
        ("https://www.linkedin.com/company/acme", "https://www.linkedin.com/company/acme"),
        ("https://youtube.com/watch?v=1", "https://youtube.com/watch?v=1"),
        ("https://example.com/kim", "https://example.com/kim"),
        ("@", None),
        ("", None),
    ],
)
def test_handles(text: str, key: str | None) -> None:
    assert normalise.handle(text) == key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("  Maria   SCHMIDT ", "maria schmidt"),
        ("🌻 Maria Schmidt 🌻", "maria schmidt"),
        ("Jörg Müller", "jörg müller"),
        ("Joerg Mueller", "joerg mueller"),
        ("Anne-Marie O’Neil", "anne-marie o’neil"),
        ("12345", None),
        ("🌻", None),
        ("", None),
    ],
)
def test_names(text: str, key: str | None) -> None:
    assert normalise.name(text) == key


@pytest.mark.parametrize(
    ("name", "meant"), [("Twitter", "x"), (" X ", "x"), ("IG", "instagram"), ("mastodon",) * 2]
)
def test_networks(name: str, meant: str) -> None:
    assert normalise.network(name) == meant


@given(st.text(max_size=80))
def test_normal_forms_are_stable_and_never_raise(text: str) -> None:
    for normal in (normalise.email, normalise.email_alias, normalise.name):
        key = normal(text)
        assert key is None or normal(key) == key
    for number in normalise.phones(text, regions=("DE", "US")):
        assert normalise.phones(number) == (number,)
    normalise.handle(text)
    normalise.network(text)
    normalise.external_id(text)


def test_masks_show_no_more_than_needed() -> None:
    assert normalise.masked_email("maria.schmidt@example.com") == "m…@example.com"
    assert normalise.masked_phone("+12025550142") == "…0142"
