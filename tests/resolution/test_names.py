"""Names, companies, places and links in forms that compare."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.resolution import names, normalise
from middleware.resolution.places import place

NAMES = {
    "Kim Berg": ("kim", "berg"),
    "  KIM   berg 🌻": ("kim", "berg"),
    "Smith, Dr. Jon (he/him) | Acme": ("jon", "smith"),
    "Kim Berg, PhD": ("kim", "berg"),
    "Jon Smith @ Acme": ("jon", "smith"),
    "王小明": ("wang", "xiao", "ming"),
    "김철수": ("gim", "cheol", "su"),
    "Иван Петров": ("ivan", "petrov"),
    "Łukasz Żak": ("lukasz", "zak"),
    "Jose\u0301 García": ("jose", "garcia"),
    "𝓚𝓲𝓶 Berg": ("kim", "berg"),
    "Anne-Marie O’Brien": ("anne", "marie", "obrien"),
    "🌻🌻": (),
    "12345": (),
    "": (),
}


@pytest.mark.parametrize("text", NAMES)
def test_the_words_of_a_name(text: str) -> None:
    assert names.tokens(text) == NAMES[text]


@given(st.text(max_size=200))
def test_any_text_has_words_of_small_letters(text: str) -> None:
    for word in names.tokens(text):
        assert word.isascii()
        assert word.isalpha()
        assert word == word.lower()


def test_short_forms_lead_to_the_same_name() -> None:
    assert "robert" in names.formal("bob") & names.formal("rob")
    assert names.formal("zzyx") == {"zzyx"}


@pytest.mark.parametrize(
    ("one", "other"), [("smith", "smtih"), ("phillip", "filip"), ("berg", "brg"), ("haas", "has")]
)
def test_a_slip_leaves_the_bones(one: str, other: str) -> None:
    assert names.skeleton(one) == names.skeleton(other)


def test_what_people_put_around_a_taken_handle_comes_off() -> None:
    assert "kimberg" in names.undecorated("therealkimberg")
    assert "kimberg" in names.undecorated("kimbergofficial")
    assert names.undecorated("dev") == ("dev",)
    assert names.parts("RepAndyBiggsAZ") == ("rep", "andy", "biggs", "az")


def test_a_company_is_its_name_without_the_legal_form() -> None:
    assert names.company("Acme, Inc.") == names.company("ACME") == "acme"
    assert names.company("Schmidt Floristik GmbH & Co. KG") == "schmidt floristik"


def test_places_agree_in_any_language() -> None:
    wien, vienna = place("Wien 🇦🇹"), place("Vienna, Austria")
    assert wien is not None
    assert vienna is not None
    assert wien.words == vienna.words
    assert vienna.countries == {"AT"}
    jose, francisco = place("San José, CA"), place("San Francisco")
    assert jose is not None
    assert francisco is not None
    assert not jose.words & francisco.words
    assert place("Earth") is None
    assert place("") is None


@pytest.mark.parametrize(
    "page", ["linktr.ee/kim", "https://kim.wordpress.com", "t.co/a1", "mastodon.social/@kim"]
)
def test_where_anybody_may_have_a_page_is_nobodys_site(page: str) -> None:
    """Else whoever has one would be taken for somebody who works there."""
    assert normalise.links(page) == ()


def test_links_in_a_bio() -> None:
    bio = "CTO. https://github.com/KimW | www.kim.dev/about, linkedin.com/in/kim-w?x=1 me@foo.com"
    assert normalise.links(bio) == (
        ("github", "kimw"),
        ("web", "kim.dev"),
        ("linkedin", "kim-w"),
    )
    pages = "facebook.com/profile.php?id=1 linkedin.com/company/acme x.com/i/lists/7"
    assert normalise.links(pages) == ()
    moved = "bsky.app/profile/kim.dev threads.com/@kim fb.com/kim.w"
    assert normalise.links(moved) == (
        ("bluesky", "kim.dev"),
        ("threads", "kim"),
        ("facebook", "kim.w"),
    )
    assert normalise.site("blog.kim.co.uk") == "kim.co.uk"
    assert normalise.site("localhost") is None
