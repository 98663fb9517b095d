"""Normal forms of what identifies people, so that equal things compare equal.

A normal form is a key for looking up and comparing; what is shown stays as the source wrote it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import phonenumbers
import tldextract

from middleware.resolution.telephones import finished

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
    r"^(?:https?://)?(?:www\.|m\.|mobile\.|[a-z]{2}\.)?"
    r"(?:(?:x|twitter|instagram|facebook|fb|tiktok|t|threads|github)\.(?:com|me|net)/@?"
    r"|youtube\.com/@|linkedin\.com/in/|bsky\.app/profile/)([^/?#\s]{1,64})",
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
    cleaned = unicodedata.normalize("NFKC", text).strip().strip("<>").casefold()
    cleaned = cleaned.removeprefix("mailto:")
    if len(cleaned) > MAX_LENGTH or not _EMAIL.match(cleaned):
        return None
    local, _, domain = cleaned.rpartition("@")
    ascii_domain = _ascii_domain(domain)
    return None if ascii_domain is None else f"{local}@{ascii_domain}"


@lru_cache(maxsize=4096)
def _ascii_domain(domain: str) -> str | None:
    try:
        return domain.encode("idna").decode("ascii").rstrip(".")
    except UnicodeError:
        return None


def email_alias(text: str) -> str | None:
    """The mailbox behind an alias: `kim+shop@…` is `kim@…`, and `k.im@googlemail.com`
    `kim@gmail.com`. A weaker key than the address."""
    address = email(text)
    return None if address is None else without_alias(address)


def without_alias(address: str) -> str | None:
    """The same for an address in its normal form."""
    google = address.endswith(_GOOGLE)
    if "+" not in address and not google:
        return address
    local, _, domain = address.rpartition("@")
    base = local.split("+", 1)[0]
    if google:
        base, domain = base.replace(".", ""), "gmail.com"
    return f"{base}@{domain}" if base else None


_GOOGLE = ("@gmail.com", "@googlemail.com")
"""One and the same, and dots before the `@` say nothing."""


def of_many(address: str) -> bool:
    """Whether an address in its normal form is one that several people write from: `info@…`."""
    return address.partition("@")[0].replace("-", "") in _OF_MANY


_OF_MANY = frozenset(
    (
        "accounting", "accounts", "admin", "billing", "contact", "customerservice", "donotreply",
        "einkauf", "enquiries", "finance", "hello", "help", "helpdesk", "hr", "info", "kontakt",
        "kundenservice", "mail", "marketing", "noreply", "office", "orders", "post", "postmaster",
        "procurement", "purchasing", "reception", "sales", "secretary", "sekretariat", "service",
        "shop", "support", "team", "vertrieb", "webmaster",
    )
)  # fmt: skip


def phones(
    text: str, *, regions: Sequence[str] = (), country: str | None = None
) -> tuple[str, ...]:
    """The E.164 numbers that a text may mean: one with a country code, else one a region.

    `regions` are ISO 3166-1 alpha-2 codes of where the company's customers live, `country` is where
    this one does: a number that its plan has is read there alone. Without either a national number
    means nothing. Numbers that no plan allows are left out.
    """
    cleaned = unicodedata.normalize("NFKC", text).strip()
    if len(cleaned) > 40:
        return ()
    if cleaned[:4].casefold() == "tel:":
        cleaned = cleaned[4:]
    if cleaned.startswith("00"):
        cleaned = "+" + cleaned[2:]
    if (whole := finished(cleaned)) is not None:
        return (whole,)
    return _parsed(cleaned, tuple(regions), country)


@lru_cache(maxsize=4096)
def _parsed(cleaned: str, regions: tuple[str, ...], country: str | None) -> tuple[str, ...]:
    found: list[str] = []
    nearest = (country, *regions) if country else regions
    for region in (None,) if cleaned.startswith("+") else nearest:
        try:
            number = phonenumbers.parse(cleaned, region)
        except phonenumbers.NumberParseException:
            continue
        if region is not None and region == country and phonenumbers.is_valid_number(number):
            return (phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164),)
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
        if cleaned.casefold() in _NOT_HANDLES:
            return None
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


_URL = re.compile(
    r"(?<![\w@.])(?:https?://)?((?:[\w-]{1,63}\.)+[a-z]{2,24})(/[^\s,;)\]}>]*)?", re.IGNORECASE
)
_HOSTS = {
    "x.com": "x",
    "twitter.com": "x",
    "instagram.com": "instagram",
    "facebook.com": "facebook",
    "fb.com": "facebook",
    "bsky.app": "bluesky",
    "github.com": "github",
    "linkedin.com": "linkedin",
    "youtube.com": "youtube",
    "tiktok.com": "tiktok",
    "threads.net": "threads",
    "threads.com": "threads",
    "medium.com": "medium",
    "dev.to": "devto",
    "t.me": "telegram",
}
_NOT_HANDLES = frozenset(
    (
        "about", "company", "events", "explore", "groups", "hashtag", "home", "i", "intent", "orgs",
        "p", "pages", "people", "permalink.php", "photo.php", "playlist", "posts", "profile.php",
        "reel", "school", "search", "share", "sharer", "sharer.php", "shorts", "stories",
        "story.php", "watch",
    )
)  # fmt: skip
"""What stands where a handle would in addresses of many people's pages."""
_UNDER = frozenset(("in", "user", "u", "c", "channel", "profile"))
_OF_ANYBODY = frozenset(
    (
        "about.me", "amazon.com", "apple.com", "beacons.ai", "behance.net", "bio.link", "bit.ly",
        "blogger.com", "blogspot.com", "bsky.social", "buymeacoffee.com", "carrd.co", "discord.com",
        "discord.gg", "dribbble.com", "ebay.com", "etsy.com", "ghost.io", "github.io",
        "gitlab.com", "gitlab.io", "goo.gl", "google.com", "herokuapp.com", "ko-fi.com",
        "linkin.bio", "linktr.ee", "lnk.bio", "mastodon.social", "meetup.com", "netlify.app",
        "notion.site", "ow.ly", "pages.dev", "patreon.com", "pinterest.com", "quora.com",
        "reddit.com", "snapchat.com", "soundcloud.com", "spotify.com", "squarespace.com",
        "stackoverflow.com", "substack.com", "t.co", "taplink.cc", "tinyurl.com", "tumblr.com",
        "twitch.tv", "vercel.app", "vimeo.com", "wa.me", "weebly.com", "wikipedia.org",
        "wixsite.com", "wordpress.com", "xing.com", "youtu.be",
    )
)  # fmt: skip
"""Where anybody may have a page, or a short address: who points there is not of that company."""
MOST_LINKS = 8


def links(text: str) -> tuple[tuple[str, str], ...]:
    """Where a bio points to: `(network, handle)` of profiles, `("web", host)` of other sites, but
    for those where anybody may have a page."""
    found: list[tuple[str, str]] = []
    for match in _URL.finditer(text[:2000]):
        host = match.group(1).casefold()
        for prefix in ("www.", "m.", "mobile."):
            host = host.removeprefix(prefix)
        segments = [part for part in (match.group(2) or "").split("/") if part]
        target = _HOSTS.get(host)
        if target is None:
            if site(host) not in _OF_ANYBODY:
                found.append(("web", host))
            continue
        if len(segments) > 1 and segments[0].casefold() in _UNDER:
            segments = segments[1:]
        shown = segments[0].split("?", 1)[0].split("#", 1)[0] if segments else ""
        if shown.casefold() not in _NOT_HANDLES and (name_ := handle(shown)) is not None:
            found.append((target, name_))
    return tuple(dict.fromkeys(found))[:MOST_LINKS]


FREE_MAIL = frozenset(
    [
        "gmail.com",
        "googlemail.com",
        "outlook.com",
        "hotmail.com",
        "live.com",
        "msn.com",
        "yahoo.com",
        "ymail.com",
        "aol.com",
        "icloud.com",
        "me.com",
        "mac.com",
        "proton.me",
        "protonmail.com",
        "pm.me",
        "gmx.de",
        "gmx.net",
        "gmx.com",
        "web.de",
        "t-online.de",
        "mail.ru",
        "yandex.ru",
        "yandex.com",
        "qq.com",
        "163.com",
        "126.com",
        "naver.com",
        "orange.fr",
        "free.fr",
        "wanadoo.fr",
        "laposte.net",
        "libero.it",
        "hey.com",
        "fastmail.com",
        "zoho.com",
        "mail.com",
    ]
)
"""Domains that anybody may have an address under."""


@lru_cache(maxsize=65536)
def site(host: str) -> str | None:
    """The domain that somebody registered: `blog.kim.co.uk` is `kim.co.uk`; None for no domain."""
    found = _REGISTRIES.extract_str(host)
    return found.top_domain_under_public_suffix.casefold() or None


_REGISTRIES = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
"""By the list of public suffixes that the library brings along; nothing is fetched."""
