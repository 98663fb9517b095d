"""What of a contact is compared with somebody who writes, and the keys that lead to it.

Both sides of blocking are made here, so that they agree: what a record is stored under, and what
an author is looked up by. A key is a family and a value, hashed to 64 bits; two values that share
a hash meet once in 10^13 pairs and are told apart when they are compared.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import pairwise
from typing import NamedTuple

from pydantic_core import from_json, to_json

from middleware.contract.canonical import Account, Address, Contact, Record
from middleware.domain.arrivals import Author
from middleware.domain.likeness import FoundBy, Likeness
from middleware.domain.understanding import Entity, EntityType
from middleware.resolution import names, normalise, postal
from middleware.resolution.identifiers import identifiers_of
from middleware.resolution.places import Place, place

MOST_NAMES = 3
MOST_HANDLES = 6
LEAST_SPELLED = 5
"""A handle of fewer letters leads to too many."""

LONGEST_WITH_INITIAL = 16
"""Letters of a handle up to which one of them may be an initial; each is a key to look up."""

CAPS = {
    "handle": 40,
    "site": 20,
    "postcode": 60,
    "pair": 80,
    "spelled": 60,
    "town": 60,
    "bones": 40,
    "company": 20,
}
"""Bearers from which a key of the family is no use for finding anybody."""

MOST_WANTED = 40

MOST_POSTCODES = 4
"""Of those that a text names; whoever names more lists them."""


_ENCODER = json.JSONEncoder(separators=(",", ":"))
_AS_KEY = struct.Struct("<q")
_blake2b = hashlib.blake2b


class Profile(NamedTuple):
    """A contact, or an account, as far as it is compared."""

    names: tuple[tuple[str, ...], ...] = ()
    """Each name's words, given name first."""
    handles: tuple[tuple[str, str], ...] = ()
    """Network, and letters and digits of the handle; a mailbox's name is one of network email."""
    place: Place | None = None
    sites: tuple[str, ...] = ()
    """Domains that are theirs: of addresses that not anybody can have."""
    company: str | None = None

    def written(self) -> str:
        """As it is stored."""
        towns = sorted(self.place.words) if self.place else []
        countries = sorted(self.place.countries) if self.place else []
        body = [self.names, self.handles, towns, countries, self.sites, self.company]
        text = to_json(body).decode()
        # Much faster, and the same but for what the other one escapes.
        return text if text.isascii() and "\x7f" not in text else _ENCODER.encode(body)


def read(text: str) -> Profile:
    """What `Profile.written` wrote."""
    names_, handles, towns, countries, sites, company = from_json(text)
    # Twelve are read for every look-up: nothing is made of what is empty.
    return Profile(
        (*map(tuple, names_),),
        (*map(tuple, handles),) if handles else (),
        _place((*towns,), (*countries,)) if towns or countries else None,
        (*sites,) if sites else (),
        company,
    )


@lru_cache(maxsize=65536)
def _place(towns: tuple[str, ...], countries: tuple[str, ...]) -> Place:
    return Place(words=frozenset(towns), countries=frozenset(countries))


def key(family: str, *values: str) -> int:
    """A blocking key: signed, 64 bits."""
    text = "|".join((family, *values))
    return int(_AS_KEY.unpack(_blake2b(text.encode(), digest_size=8).digest())[0])


@lru_cache(maxsize=65536)
def word_key(word: str) -> int:
    return key("word", word)


# --- what is on file -------------------------------------------------------------------------


def found_by(record: Record, *, regions: Sequence[str] = ()) -> FoundBy:
    """What a record is stored with; `regions` are where national phone numbers are read."""
    look = partial(likeness_of, record) if isinstance(record, _CUSTOMERS) else None
    return FoundBy(identifiers_of(record, regions=regions), look)


_CUSTOMERS = (Contact, Account)


def likeness_of(record: Record) -> Likeness | None:
    """The profile of a contact or account and its keys; None where nothing of it compares."""
    match record:
        case Contact():
            profile = _of_contact(record)
        case Account():
            profile = _of_account(record)
        case _:
            return None
    texts = _key_texts(profile, record.address)
    if not texts:
        return None
    words = {word for name in profile.names for word in (name[0], name[-1])}
    return Likeness(
        keys=_keys(texts), names=tuple(sorted(map(word_key, words))), profile=profile.written()
    )


def profile_of(record: Contact | Account) -> Profile:
    """The same of a record at hand."""
    return _of_contact(record) if isinstance(record, Contact) else _of_account(record)


def _of_contact(record: Contact) -> Profile:
    whole = " ".join([p for p in (record.given_name, record.family_name) if p])
    handles = [
        (normalise.network(h.network), spelled)
        for h in record.handles
        if h.handle and (name := normalise.handle(h.handle)) and (spelled := names.spelled(name))
    ]
    addresses = _addresses(record.emails)
    return Profile(
        names=_names(whole, record.display_name),
        handles=tuple(dict.fromkeys((*handles, *_mailboxes(addresses))))[:MOST_HANDLES],
        place=_address(record.address),
        sites=_sites(addresses),
    )


def _of_account(record: Account) -> Profile:
    addresses = _addresses(record.emails)
    return Profile(
        names=_names(record.name),
        handles=_mailboxes(addresses)[:MOST_HANDLES],
        place=_address(record.address),
        sites=_sites(addresses),
        company=names.company(record.name) if record.name else None,
    )


def _names(*texts: str | None) -> tuple[tuple[str, ...], ...]:
    found = [names.tokens(text) for text in texts if text]
    return tuple(dict.fromkeys([name for name in found if name]))[:MOST_NAMES]


def _addresses(emails: Iterable[str]) -> list[str]:
    """Those that are addresses, in their normal form."""
    return [address for text in emails if (address := normalise.email(text))]


def _mailboxes(addresses: Iterable[str]) -> tuple[tuple[str, str], ...]:
    bases = [base.rpartition("@")[0] for a in addresses if (base := normalise.without_alias(a))]
    return tuple([("email", box) for base in bases if len(box := names.spelled(base)) >= 6])


def _sites(addresses: Iterable[str]) -> tuple[str, ...]:
    hosts = [address.rpartition("@")[2] for address in addresses]
    found = [normalise.site(host) for host in hosts if host not in normalise.FREE_MAIL]
    return tuple(dict.fromkeys([site for site in found if site]))


def _address(address: Address | None) -> Place | None:
    if address is None:
        return None
    text = ", ".join([p for p in (address.city, address.region) if p])
    return place(text, address.country)


def _keys(texts: Iterable[str]) -> tuple[int, ...]:
    """The keys of many texts at once, each once."""
    found = dict.fromkeys([_blake2b(text.encode(), digest_size=8).digest() for text in texts])
    return struct.unpack(f"<{len(found)}q", b"".join(found))


def _key_texts(profile: Profile, address: Address | None) -> list[str]:
    """What keys are made of: a family, and values."""
    texts: list[str] = []
    for name in profile.names:
        texts += _name_texts(name, profile.place, address)
    texts += [
        f"handle|{handle}" for _, handle in profile.handles if len(handle) >= LEAST_SPELLED - 1
    ]
    texts += [f"site|{site}" for site in profile.sites]
    if profile.company:
        texts.append(f"company|{profile.company}")
    return texts


def _name_texts(name: tuple[str, ...], where: Place | None, address: Address | None) -> list[str]:
    first, last = name[0], name[-1]
    if len(name) == 1:
        texts = [f"spelled|{first}"]
    else:
        texts = [_pair_text(given, last) for given in names.formal(first)]
        if len(name) > 2:
            texts += (_pair_text(first, name[1]), _pair_text(name[1], last))
            if len(name) > 3:
                texts.append(_pair_text(first, name[2]))  # two given names, two family names
            texts.append(f"spelled|{''.join(name)}")
        texts += (
            f"spelled|{first}{last}",
            f"spelled|{last}{first}",
            f"spelled|{first[0]}{last}",
            f"spelled|{first}{last[0]}",
            f"spelled|{last}{first[0]}",
            f"bones|{first}|{names.skeleton(last)}",
            f"bones|{last}|{names.skeleton(first)}",
        )
    postcode = postal.postcode(address.postal_code) if address and address.postal_code else None
    if postcode:
        texts.append(f"postcode|{last}|{postcode}")
    for town in sorted(where.words) if where else ():
        texts.append(f"town|{last}|{town}")
        if first != last:
            texts.append(f"town|{first}|{town}")
    return texts


def pair_key(one: str, other: str) -> int:
    """The key of two words of a name, in any order."""
    return key("pair", one, other) if one <= other else key("pair", other, one)


def _pair_text(one: str, other: str) -> str:
    return f"pair|{one}|{other}" if one <= other else f"pair|{other}|{one}"


# --- who writes ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asking:
    """Somebody who writes, as far as they are compared."""

    network: str
    name: tuple[str, ...] = ()
    handle: str = ""
    """Its letters and digits."""
    place: Place | None = None
    links: tuple[tuple[str, str], ...] = ()
    """Profiles on other networks that they name themselves: network, letters and digits."""
    sites: tuple[str, ...] = ()
    bio: str = ""
    """Folded words with a blank around each."""
    wanted: tuple[tuple[int, int], ...] = ()
    """The keys to look up with their caps, the most telling first."""
    words: tuple[int, ...] = ()
    """The words of the name whose rarity matters."""
    families: dict[int, str] = field(default_factory=dict)
    """The family of each key."""


def asking(author: Author, mentioned: Sequence[Entity] = ()) -> Asking:
    """What an author looks like, and the keys that lead to who looks alike; a postal code that the
    text names leads to those of the name who live there."""
    network = normalise.network(author.network)
    handle = normalise.handle(author.handle) if author.handle else None
    name = names.tokens(author.display_name) if author.display_name else ()
    if handle and "".join(name) == names.letters(handle) and len(name) == 1:
        name = ()  # the handle again says nothing more
    bio = " ".join(text for text in (author.bio, author.url) if text)
    pointed = normalise.links(bio) if bio else ()
    links = tuple((n, names.spelled(h)) for n, h in pointed if n not in ("web", network))
    sites = tuple(dict.fromkeys(s for n, h in pointed if n == "web" and (s := normalise.site(h))))
    where = place(author.location) if author.location else None
    named = (postal.postcode(e.value) for e in mentioned if e.type is EntityType.POSTCODE)
    codes = tuple(dict.fromkeys(code for code in named if code is not None))[:MOST_POSTCODES]
    families: dict[int, str] = {}
    for family, found in _wanted(author, handle, name, where, links, sites, codes):
        families.setdefault(found, family)
    wanted = sorted(families.items(), key=lambda item: _ORDER[item[1]])[:MOST_WANTED]
    return Asking(
        network=network,
        name=name,
        handle=names.spelled(handle) if handle else "",
        place=where,
        links=links,
        sites=sites,
        bio=f" {' '.join(names.folded(author.bio).split())} " if author.bio else "",
        wanted=tuple((found, CAPS[family]) for found, family in wanted),
        words=tuple(word_key(word) for word in dict.fromkeys(name)),
        families=families,
    )


_ORDER = {family: place_ for place_, family in enumerate(CAPS)}


def _wanted(
    author: Author,
    handle: str | None,
    name: tuple[str, ...],
    where: Place | None,
    links: tuple[tuple[str, str], ...],
    sites: tuple[str, ...],
    postcodes: tuple[str, ...],
) -> Iterator[tuple[str, int]]:
    for _, theirs in links:
        yield "handle", key("handle", theirs)
    for site in sites:
        yield "site", key("site", site)
    if handle:
        # As it is written where it is one: its capitals show where words begin.
        plain = author.handle if author.handle and "/" not in author.handle else handle
        yield from _by_handle(plain, name)
    if name:
        yield from _by_name(name, where)
        for code in postcodes:
            for word in dict.fromkeys((name[-1], name[0])):
                yield "postcode", key("postcode", word, code)
    if author.display_name and (company := names.company(author.display_name)):
        yield "company", key("company", company)


def _by_name(name: tuple[str, ...], where: Place | None) -> Iterator[tuple[str, int]]:
    first, last = name[0], name[-1]
    pairs = [
        (a, b)
        for i, a in enumerate(name[:4])
        for b in (*name[i + 1 : 4], last)
        if a and b and a != b
    ]
    for one, other in dict.fromkeys(pairs):
        for given in sorted(names.formal(one)):
            yield "pair", pair_key(given, other)
    if len(name) > 1:
        # Whoever writes the family name first has the given name last.
        for given in sorted(names.formal(last) - {last}):
            yield "pair", pair_key(given, first)
        for spelled in ("".join(name), first[0] + last, first + last[0]):
            yield "spelled", key("spelled", spelled)
        for one, other in ((first, last), (last, first)):
            yield "bones", key("bones", one, names.skeleton(other))
    else:
        yield "spelled", key("spelled", first)
    if where:
        for town in sorted(where.words)[:3]:
            for word in dict.fromkeys((last, first)):
                yield "town", key("town", word, town)


def _by_handle(handle: str, name: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    whole = names.spelled(handle)
    if len(whole) >= LEAST_SPELLED - 1:
        yield "handle", key("handle", whole)
    bare = names.letters(handle)
    if bare != whole and len(bare) >= LEAST_SPELLED:
        yield "handle", key("handle", bare)
    for word in names.undecorated(bare) if bare else ():
        if len(word) >= LEAST_SPELLED:
            yield "spelled", key("spelled", word)
    if not name and 8 <= len(bare) <= LONGEST_WITH_INITIAL:
        for place_ in range(1, len(bare) - 1):  # the initial of another name in between
            yield "spelled", key("spelled", bare[:place_] + bare[place_ + 1 :])
    shown = [part for part in names.parts(handle) if part not in names.DECORATIONS][:4]
    pairs = [*pairwise(shown)]
    if len(shown) > 2:
        pairs.append((shown[0], shown[-1]))
    # What stays of the handle beside a word of the name may be the rest of the name.
    for word in dict.fromkeys((name[0], name[-1])) if name else ():
        for spelled in names.undecorated(bare) if len(word) >= 3 and bare else ():
            rest = spelled.replace(word, "", 1)
            if len(rest) >= 3 and rest not in names.DECORATIONS:
                pairs.append((word, rest))
            if len(name) == 1 and 2 <= len(rest) < len(spelled):
                yield "spelled", key("spelled", word + rest[0])  # the rest may be cut off
    for one, other in dict.fromkeys(pairs):
        yield "pair", pair_key(one, other)
        if name and one in name:
            yield "bones", key("bones", one, names.skeleton(other))
