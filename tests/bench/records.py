"""Invented customers as three systems hold them: a CRM, an ERP and a shop.

Deterministic, of any size, and with the truth. Names are common ones and invented ones, skewed as
names are; records are copied by people who mistype, abbreviate, move, marry and change their
e-mail address. Households share an address, a number, sometimes a mailbox; firms have a mailbox
that a hundred contacts bear. Nobody in it exists.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from middleware.contract.canonical import Account, Address, Contact, Handle, Kind, Ref

MEAN_RECORDS = 1.43
"""Records of a customer, on average."""
SYSTEMS = ("crm", "erp", "shop")

GIVEN = re.findall(
    r"\w+",
    """
james mary robert patricia john jennifer michael linda david elizabeth william barbara richard
susan joseph jessica thomas sarah christopher karen charles lisa daniel nancy matthew betty
anthony margaret mark sandra donald ashley steven kimberly paul emily andrew donna joshua michelle
kenneth carol kevin amanda brian dorothy george melissa timothy deborah ronald stephanie edward
rebecca jason sharon jeffrey laura ryan cynthia jacob kathleen gary amy nicholas angela eric
shirley jonathan anna stephen brenda larry pamela justin emma scott nicole brandon helen benjamin
samantha samuel katherine gregory christine alexander debra frank rachel patrick carolyn raymond
janet jack catherine dennis maria jerry heather tyler diane aaron ruth jose julie adam olivia
nathan joyce henry virginia zachary victoria douglas kelly peter lauren kyle christina noah joan
ethan evelyn juergen anke stefan ulrike matthias sabine pierre claire luc camille giulia marco
sofia lars ingrid piotr agnieszka jan katarzyna carlos lucia javier carmen miguel pilar mehmet
ayse ali fatima wei li hiroshi yuki raj priya anil sunita
""",
)
FAMILY = re.findall(
    r"\w+",
    """
smith johnson williams brown jones garcia miller davis rodriguez martinez hernandez lopez gonzalez
wilson anderson thomas taylor moore jackson martin lee perez thompson white harris sanchez clark
ramirez lewis robinson walker young allen king wright scott torres nguyen hill flores green adams
nelson baker hall rivera campbell mitchell carter roberts mueller schmidt schneider fischer weber
meyer wagner becker schulz hoffmann dubois moreau laurent rossi russo ferrari nowak kowalski
jansen de_vries larsson hansen yilmaz kaya sharma patel wang zhang tanaka
""",
)
SHORT = {
    "robert": "bob", "william": "bill", "james": "jim", "john": "jack", "michael": "mike",
    "elizabeth": "liz", "katherine": "kate", "thomas": "tom", "richard": "rick",
    "christopher": "chris", "jennifer": "jen", "daniel": "dan", "joseph": "joe",
    "margaret": "maggie", "patricia": "pat", "matthew": "matt", "anthony": "tony",
    "steven": "steve", "susan": "sue", "deborah": "debbie", "rebecca": "becky", "samuel": "sam",
    "benjamin": "ben", "alexander": "alex", "nicholas": "nick", "timothy": "tim", "edward": "ed",
    "charles": "charlie", "andrew": "andy", "kenneth": "ken", "gregory": "greg",
    "victoria": "vicky", "kimberly": "kim", "jessica": "jess", "stephanie": "steph",
}  # fmt: skip
SYLLABLES = re.findall(
    r"\w+",
    """
ber ton vil feld port ford burg ham mont clair wood lake brook haven bury dale rid mar san nor sud
ost west al ka li mo ra te gra ken zel dor win hol bra sto fen cor pel tra hu
""",
)
FREE = ("gmail.com", "outlook.com", "yahoo.com", "icloud.com", "gmx.de", "proton.me")


@dataclass(frozen=True)
class Card:
    """What one record says of a customer."""

    given: str | None
    family: str | None
    emails: tuple[str, ...] = ()
    phone: str | None = None
    street: str | None = None
    city: str | None = None
    postcode: str | None = None
    handle: str | None = None
    number: str | None = None


@dataclass
class Crowd:
    """A source of customers; the same `seed` and `size` give the same ones."""

    size: int
    seed: int = 7
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        r = self._random
        customers = max(10, int(self.size / MEAN_RECORDS))

        def invented(count: int, parts: tuple[int, ...]) -> list[str]:
            made: dict[str, None] = {}
            while len(made) < count:
                made["".join(r.choice(SYLLABLES) for _ in range(r.choice(parts)))] = None
            return list(made)

        self._given = _Skewed([*GIVEN, *invented(1500, (2, 3))], 0.9)
        self._family = _Skewed([f.replace("_", " ") for f in FAMILY] + invented(12000, (2, 3)), 0.8)
        self._cities = _Skewed(invented(2000, (2, 3)), 0.8)
        self._streets = [
            f"{r.choice(self._family.names)} {t}"
            for t in ("street", "road", "avenue", "lane")
            for _ in range(3000)
        ]
        self._firms = [
            f"{r.choice(self._family.names)}{t}".replace(" ", "")
            for t in ("foods", "labs", "media", "bank", "tools")
            for _ in range(max(20, customers // 60))
        ]

    def records(self) -> Iterator[tuple[Contact | Account, int]]:
        """So many records, each with the number of the customer it is of."""
        r, made, customer = self._random, 0, 0
        before: Card | None = None
        while made < self.size:
            card = self._customer(before if r.random() < 0.06 else None, customer)
            before = card
            also = r.choices((0, 1, 2, 3), (70, 20, 7, 3))[0]
            for copy in range(1 + also):
                said = card if copy == 0 else self._copied(card)
                yield self._record(self._forgotten(said), made, r.choice(SYSTEMS)), customer
                made += 1
                if made == self.size:
                    return
            customer += 1

    def changed(self, record: Contact | Account) -> Contact | Account:
        """The record after somebody has worked on it: a mistype, or another phone."""
        if isinstance(record, Contact) and record.family_name:
            return record.model_copy(
                update={"family_name": self._typo(record.family_name), "phones": (self._phone(),)}
            )
        return record.model_copy(update={"phones": (self._phone(),)})

    def _customer(self, kin: Card | None, number: int) -> Card:
        """Somebody; with `kin`, one of their household."""
        r = self._random
        given, family = self._given.one(r), kin.family if kin else self._family.one(r)
        assert family is not None
        firm = r.choice(self._firms) + ".com" if r.random() < 0.5 else None
        email = self._email(given, family, firm)
        if kin and kin.emails and r.random() < 0.2:
            email = kin.emails[0]
        elif firm and r.random() < 0.02:
            email = f"info@{r.choice(self._firms[:20])}.com"
        city = self._cities.one(r)
        return Card(
            given=given,
            family=family,
            emails=(email,),
            phone=kin.phone if kin and r.random() < 0.5 else self._phone(),
            street=kin.street if kin else f"{r.randrange(1, 300)} {r.choice(self._streets)}",
            city=kin.city if kin else city,
            postcode=kin.postcode if kin else f"{abs(hash_(city)) % 9000 + 1000}{r.randrange(10)}",
            handle=self._handle(given, family) if r.random() < 0.35 else None,
            number=f"{100000 + number}" if r.random() < 0.4 else None,
        )

    def _copied(self, card: Card) -> Card:
        """The same customer, entered somewhere else by somebody else at another time."""
        r = self._random
        given, family = card.given or "", card.family or ""
        change: dict[str, Any] = {}
        if r.random() < 0.12 and given in SHORT:
            change["given"] = SHORT[given]
        elif r.random() < 0.06:
            change["given"] = given[:1]
        elif r.random() < 0.12:
            change["given"] = self._typo(given)
        if r.random() < 0.15:
            change["family"] = self._typo(family)
        elif r.random() < 0.03:
            change["family"] = self._family.one(r)
        elif r.random() < 0.03:
            change |= {"given": family, "family": given}
        if r.random() < 0.35:
            other = self._email(given, family, None)
            change["emails"] = (other, *card.emails) if r.random() < 0.3 else (other,)
        elif r.random() < 0.06:
            change["emails"] = tuple(self._typo(e) for e in card.emails)
        if r.random() < 0.25:
            change["phone"] = self._phone()
        elif r.random() < 0.05 and card.phone:
            change["phone"] = self._typo(card.phone, string.digits)
        if r.random() < 0.12:
            city = self._cities.one(r)
            change |= {
                "street": f"{r.randrange(1, 300)} {r.choice(self._streets)}",
                "city": city,
                "postcode": f"{abs(hash_(city)) % 9000 + 1000}{r.randrange(10)}",
            }
        elif r.random() < 0.12 and card.street:
            change["street"] = self._typo(card.street)
        if card.handle is None and r.random() < 0.3:
            change["handle"] = self._handle(given, family)
        if r.random() < 0.4:
            change["number"] = None
        return replace(card, **change)

    def _forgotten(self, card: Card) -> Card:
        """Some of it was never filled in."""
        r = self._random
        shares = {"phone": 0.25, "street": 0.2, "city": 0.06, "postcode": 0.12, "given": 0.015}
        lost: dict[str, Any] = {name: None for name, p in shares.items() if r.random() < p}
        if r.random() < 0.18:
            lost["emails"] = ()
        return replace(card, **lost)

    def _record(self, card: Card, number: int, system: str) -> Contact | Account:
        address = Address(street=card.street, city=card.city, postal_code=card.postcode)
        phones = (card.phone,) if card.phone else ()
        if system == "erp":
            return Account(
                ref=Ref(connection=system, kind=Kind.ACCOUNT, id=f"{number}"),
                name=" ".join(part for part in (card.given, card.family) if part),
                number=card.number,
                emails=card.emails,
                phones=phones,
                address=address,
            )
        return Contact(
            ref=Ref(connection=system, kind=Kind.CONTACT, id=f"{number}"),
            given_name=card.given,
            family_name=card.family,
            emails=card.emails,
            phones=phones,
            address=address,
            handles=(Handle(network="x", handle=card.handle),) if card.handle else (),
            external_ids={"customer_number": card.number} if card.number else {},
        )

    def _email(self, given: str, family: str, firm: str | None) -> str:
        r, p = self._random, self._random.random()
        a, b = given.replace(" ", ""), family.replace(" ", "")
        local = (
            f"{a}.{b}" if p < 0.45 else f"{a[:1]}{b}" if p < 0.7 else f"{a}{b[:1]}"
            if p < 0.8 else f"{b}{r.randrange(1, 999)}"
        )  # fmt: skip
        return f"{local}@{firm}" if firm else f"{local}{r.randrange(1, 9999)}@{r.choice(FREE)}"

    def _handle(self, given: str, family: str) -> str:
        r, p = self._random, self._random.random()
        a, b = given.replace(" ", ""), family.replace(" ", "")
        return f"{a}{b}{r.randrange(100)}" if p < 0.5 else f"{a[:1]}_{b}{r.randrange(1000)}"

    def _phone(self) -> str:
        return f"+49{self._random.randrange(1_510_000_0000, 1_799_999_9999)}"

    def _typo(self, text: str, letters: str = string.ascii_lowercase) -> str:
        r, at = self._random, self._random.randrange(max(1, len(text)))
        match r.randrange(4):
            case 0:
                return text[:at] + r.choice(letters) + text[at + 1 :]
            case 1 if len(text) > 2:
                return text[:at] + text[at + 1 :]
            case 2 if len(text) > 2:
                at = min(at, len(text) - 2)
                return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        return text[:at] + r.choice(letters) + text[at:]


class _Skewed:
    """Names of which the first are common and the last are rare."""

    def __init__(self, names: list[str], power: float) -> None:
        self.names = names
        self._sums = list(accumulate(1 / (rank + 8) ** power for rank in range(len(names))))

    def one(self, r: random.Random) -> str:
        return r.choices(self.names, cum_weights=self._sums)[0]


def hash_(text: str) -> int:
    """The same in every process, which Python's own is not."""
    value = 0
    for char in text:
        value = (value * 131 + ord(char)) % 1_000_003
    return value
