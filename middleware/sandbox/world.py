"""One small invented company: its customers, products and orders, for every sandbox alike.

The ERP, the CRM and the helpdesk of the sandbox all show the same people, so that what one system
knows can be found in the others. Everything is made up and deterministic: the same seed, number
of customers and `now` give the same world in every process and on every machine. Addresses are
`example.com`, `.net` and `.org`, phone numbers come from the ranges that regulators set aside for
films.

The first customers are traps, always in the same place:

- C-1001 and C-1002 are two different people called Maria Schmidt;
- C-1003 and C-1004 are a couple sharing an e-mail address and a phone number;
- C-1005 and C-1006 buy for the same company;
- C-1007 and C-1008 are called Jörg Müller and Joerg Mueller, and are not the same person;
- C-1009 has never ordered anything.
"""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
"""The moment that the default world is seen from."""

ORDERS_PER_CUSTOMER = 4
DAYS_OF_HISTORY = 120
MOST_CUSTOMERS = 1000  # as many as there are fictitious German numbers

STATUSES = ("draft", "processing", "shipped", "delivered", "cancelled")

SHIPPING = Decimal("4.90")
SHIPS_FREE_FROM = Decimal("100.00")


class Handle(NamedTuple):
    """A name on a network and the network's own id of the account."""

    handle: str
    native_id: str


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody who buys; `company` is set for a buyer of a company."""

    number: str
    given_name: str
    family_name: str
    company: str | None
    email: str
    phone: str
    handles: Mapping[str, Handle]
    street: str
    city: str
    postal_code: str
    country: str

    @property
    def name(self) -> str:
        """What an ERP writes on the parcel."""
        return self.company or f"{self.given_name} {self.family_name}"


@dataclass(frozen=True, slots=True)
class Product:
    """Something sold; `stock` is what the ERP has of it at the start."""

    sku: str
    name: str
    price: Decimal
    currency: str
    unit: str
    stock: int


class OrderLine(NamedTuple):
    """What was ordered, how much, and the price of one in the product's currency."""

    sku: str
    quantity: Decimal
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the customer knows it. `tracking` and `carrier` are set once it has shipped."""

    number: str
    customer: str
    placed: datetime
    status: str
    lines: tuple[OrderLine, ...]
    tracking: str | None
    carrier: str | None
    shipped: datetime | None
    delivered: datetime | None

    @property
    def goods(self) -> Decimal:
        return sum((line.quantity * line.unit_price for line in self.lines), Decimal("0.00"))

    @property
    def shipping(self) -> Decimal:
        """What the parcel cost the customer; large orders travel free."""
        return Decimal("0.00") if self.goods >= SHIPS_FREE_FROM else SHIPPING

    @property
    def total(self) -> Decimal:
        """Goods and shipping."""
        return self.goods + self.shipping


@dataclass(frozen=True, slots=True)
class World:
    """Customers, products and orders as of `now`; orders are oldest first."""

    now: datetime
    customers: tuple[Customer, ...]
    products: tuple[Product, ...]
    orders: tuple[Order, ...]

    def customer(self, number: str) -> Customer:
        """The customer with this number; raises KeyError."""
        for customer in self.customers:
            if customer.number == number:
                return customer
        raise KeyError(number)

    def product(self, sku: str) -> Product:
        """The product with this SKU; raises KeyError."""
        for product in self.products:
            if product.sku == sku:
                return product
        raise KeyError(sku)

    def order(self, number: str) -> Order:
        """The order with this number; raises KeyError."""
        for order in self.orders:
            if order.number == number:
                return order
        raise KeyError(number)

    def orders_of(self, customer: str, *, status: str | None = None) -> tuple[Order, ...]:
        """A customer's orders, newest first, all of them or those in one status."""
        return tuple(
            order
            for order in reversed(self.orders)
            if order.customer == customer and status in (None, order.status)
        )

    def as_json(self) -> str:
        """The whole world as text, for another process; `from_json` reads it."""
        return json.dumps(
            {
                "now": self.now.isoformat(),
                "customers": [_customer_out(customer) for customer in self.customers],
                "products": [_product_out(product) for product in self.products],
                "orders": [_order_out(order) for order in self.orders],
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> World:
        """The world that `as_json` wrote; raises ValueError or KeyError on anything else."""
        data = json.loads(text)
        return cls(
            now=datetime.fromisoformat(data["now"]),
            customers=tuple(_customer_in(row) for row in data["customers"]),
            products=tuple(_product_in(row) for row in data["products"]),
            orders=tuple(_order_in(row) for row in data["orders"]),
        )


def build(seed: int = 7, customers: int = 40, *, now: datetime = NOW) -> World:
    """Make a world; the same arguments give the same one.

    `customers` is between 10 and 1000; there are four times as many orders, placed within the 120
    days before `now`, which must have a time zone. Raises ValueError.
    """
    if not 10 <= customers <= MOST_CUSTOMERS:
        raise ValueError(f"customers must be between 10 and {MOST_CUSTOMERS}, not {customers}")
    if now.tzinfo is None:
        raise ValueError("now needs a time zone")
    dice = random.Random(seed)
    people = _customers(dice, customers)
    orders = _orders(dice, people, customers * ORDERS_PER_CUSTOMER, now)
    return World(now=now, customers=people, products=_PRODUCTS, orders=orders)


_PRODUCTS = tuple(
    Product(sku=sku, name=name, price=Decimal(price), currency="EUR", unit=unit, stock=stock)
    for sku, name, price, unit, stock in (
        ("LAMP-101", "Reading lamp Lumen, brass", "89.00", "piece", 240),
        ("LAMP-102", "Floor lamp Arc, black", "149.00", "piece", 90),
        ("CHAIR-210", "Desk chair Poise, grey", "329.00", "piece", 40),
        ("DESK-300", "Standing desk Rise, oak, 160 cm", "599.00", "piece", 25),
        ("KETL-410", "Electric kettle Plume, 1.2 l", "64.50", "piece", 310),
        ("GRND-420", "Coffee grinder Mill, hand", "74.90", "piece", 180),
        ("BEAN-430", "Coffee beans Alto, roasted", "24.80", "kg", 600),
        ("MUGS-440", "Stoneware mugs, set of six", "42.00", "box", 150),
        ("HEAD-510", "Headphones Hush, wireless", "199.00", "piece", 120),
        ("SPKR-520", "Speaker Cube, wireless", "119.00", "piece", 0),
        ("BULB-600", "LED bulbs E27, box of ten", "31.90", "box", 800),
        ("COVR-700", "Cushion cover Fjord, linen", "18.40", "piece", 420),
    )
)

_GIVEN = (
    *("Lena", "Paul", "Mia", "Emil", "Clara", "Jonas", "Nora", "Felix", "Ida", "Anton", "Greta"),
    *("Oskar", "Frieda", "Theo", "Zoë", "Łukasz", "Agnieszka", "François", "Amélie", "Hugo"),
    *("Sanne", "Daan", "Fleur", "Bram", "Grace", "Walter", "Ruth", "Calvin", "Naomi", "Desmond"),
    *("Yara", "Kofi", "Meera", "Arjun", "Selin", "Emre", "Ana", "João", "Inés", "Mateo"),
)
_FAMILY = (
    *("Albrecht", "Böhm", "Castell", "Dietz", "Ebert", "Fuchs", "Grünwald", "Hartung", "Iversen"),
    *(
        "Jansen",
        "Kessler",
        "Lefèvre",
        "Moreau",
        "Nowak",
        "Oberlin",
        "Petersen",
        "Quist",
        "Rousseau",
    ),
    *("Sørensen", "Thalberg", "Unruh", "van Dijk", "Weiß", "Yıldız", "Zielinski", "Adeyemi"),
    *("Bhatt", "Carvalho", "Delgado", "Ellery", "Fairchild", "Garrison", "Holloway", "Ironwood"),
    *("Kapoor", "Lindqvist", "Marchetti", "Nakagawa", "Okafor", "Prewitt"),
)
_STREETS = (
    *("Lindenweg", "Am Anger", "Gartenstraße", "Mühlenweg", "Kirchgasse", "Hafenstraße"),
    *("Rosenallee", "Schulweg", "Birkenring", "Marktplatz"),
)
_FOREIGN_STREETS = {
    "FR": ("rue des Tilleuls", "rue du Moulin", "quai Vert"),
    "NL": ("Lindelaan", "Molenweg", "Havenkade"),
    "US": ("Linden Ave", "Mill Rd", "Harbor St"),
}
_PLACES = (
    *(("Berlin", "10115", "DE"), ("Hamburg", "20095", "DE"), ("Leipzig", "04103", "DE")),
    *(("Köln", "50667", "DE"), ("München", "80331", "DE"), ("Freiburg", "79098", "DE")),
    *(("Wien", "1010", "AT"), ("Graz", "8010", "AT"), ("Zürich", "8001", "CH")),
    *(("Lyon", "69001", "FR"), ("Nantes", "44000", "FR"), ("Utrecht", "3511 AB", "NL")),
    *(("Washington", "20001", "US"), ("Baltimore", "21201", "US")),
)
_COMPANIES = (
    *("Kranich Architekten GmbH", "Boulangerie Petit Four SARL", "Polder Interieur BV"),
    *("Harbor & Finch LLC", "Sonnenhof Hotelbetriebe AG", "Praxis am Stadtpark"),
)
_CARRIERS = ("DHL", "UPS", "DPD")


def _customers(dice: random.Random, count: int) -> tuple[Customer, ...]:
    made: list[Customer] = []
    phones_de = [f"+493023125{n:03d}" for n in range(1000)]
    phones_us = [f"+1202555{n:04d}" for n in range(100, 200)]
    dice.shuffle(phones_de)
    dice.shuffle(phones_us)
    taken: set[str] = set()

    def add(
        given: str,
        family: str,
        *,
        company: str | None = None,
        place: tuple[str, str, str] | None = None,
        email: str | None = None,
        phone: str | None = None,
        street: str | None = None,
        networks: tuple[str, ...] | None = None,
    ) -> Customer:
        city, postal_code, country = place or _PLACES[dice.randrange(len(_PLACES))]
        if phone is None:
            pool = phones_us if country == "US" and phones_us else phones_de
            phone = pool.pop()
        if email is None:
            email = _free_email(given, family, company, taken)
        taken.add(email)
        customer = Customer(
            number=f"C-{1001 + len(made)}",
            given_name=given,
            family_name=family,
            company=company,
            email=email,
            phone=phone,
            handles=_handles(dice, given, family, phone, 1001 + len(made), networks),
            street=street or _street(dice, country),
            city=city,
            postal_code=postal_code,
            country=country,
        )
        made.append(customer)
        return customer

    add(
        *("Maria", "Schmidt"), place=_PLACES[0], email="maria.schmidt@example.com",
        networks=("x", "instagram"),
    )  # fmt: skip
    add(
        *("Maria", "Schmidt"), place=_PLACES[3], email="m.schmidt@example.org",
        networks=("x", "facebook"),
    )  # fmt: skip
    first = add(
        *("Tobias", "Brandt"), place=_PLACES[1], email="familie.brandt@example.net",
        networks=("facebook", "whatsapp"),
    )  # fmt: skip
    add(
        *("Katrin", "Brandt"), place=_PLACES[1], email=first.email, phone=first.phone,
        street=first.street, networks=("instagram",),
    )  # fmt: skip
    buyer = add(
        *("Ingrid", "Falk"), company="Nordlicht Buchhandlung GmbH", place=_PLACES[2],
        networks=("x",),
    )  # fmt: skip
    add(
        *("Stefan", "Rau"), company=buyer.company, place=_PLACES[2], street=buyer.street,
        networks=(),
    )  # fmt: skip
    add(
        *("Jörg", "Müller"), place=_PLACES[4], email="joerg.mueller@example.com",
        networks=("x", "whatsapp"),
    )  # fmt: skip
    add(
        *("Joerg", "Mueller"), place=_PLACES[6], email="joerg.mueller@example.net",
        networks=("instagram",),
    )  # fmt: skip
    add("Hannelore", "Stein", place=_PLACES[5], networks=("facebook",))
    while len(made) < count:
        given = _GIVEN[dice.randrange(len(_GIVEN))]
        family = _FAMILY[dice.randrange(len(_FAMILY))]
        company = _COMPANIES[dice.randrange(len(_COMPANIES))] if dice.random() < 0.12 else None
        add(given, family, company=company)
    return tuple(made)


def _street(dice: random.Random, country: str) -> str:
    names = _FOREIGN_STREETS.get(country, _STREETS)
    name, house = names[dice.randrange(len(names))], 1 + dice.randrange(98)
    return f"{house} {name}" if country in ("FR", "US") else f"{name} {house}"


def _free_email(given: str, family: str, company: str | None, taken: set[str]) -> str:
    local = f"{ascii_name(given)}.{ascii_name(family)}"
    domain = "example.com"
    if company:
        domain = f"{ascii_name(company.split()[0])}.example.com"
    for host in (domain, "example.net", "example.org"):
        if f"{local}@{host}" not in taken:
            return f"{local}@{host}"
    number = 2
    while f"{local}{number}@{domain}" in taken:
        number += 1
    return f"{local}{number}@{domain}"


def ascii_name(text: str) -> str:
    """A name as people write it in an address: lower case, without accents or blanks."""
    for theirs, ours in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss"), ("ł", "l")):
        text = text.lower().replace(theirs, ours)
    for theirs, ours in (("ø", "oe"), ("ı", "i")):
        text = text.replace(theirs, ours)
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return "".join(c for c in plain if c.isalnum())


def _handles(
    dice: random.Random,
    given: str,
    family: str,
    phone: str,
    serial: int,
    networks: tuple[str, ...] | None,
) -> dict[str, Handle]:
    rolls = {
        network: dice.random() < share
        for network, share in (
            ("x", 0.6),
            ("instagram", 0.45),
            ("facebook", 0.3),
            ("whatsapp", 0.3),
        )
    }
    chosen = networks if networks is not None else tuple(n for n, yes in rolls.items() if yes)
    first, last = ascii_name(given), ascii_name(family)
    made = {
        "x": Handle(f"{first}_{last}_{serial % 97:02d}", str(1_400_000_000_000_000_000 + serial)),
        "instagram": Handle(f"{first}.{last}{serial}", str(17_841_400_000_000_000 + serial)),
        "facebook": Handle(f"{first}.{last}.{serial}", str(7_100_000_000_000_000 + serial)),
        "whatsapp": Handle(phone, phone.lstrip("+")),
    }
    return {network: handle for network, handle in made.items() if network in chosen}


def _orders(
    dice: random.Random, customers: tuple[Customer, ...], count: int, now: datetime
) -> tuple[Order, ...]:
    buyers = [customer.number for customer in customers if customer.number != "C-1009"]
    companies = {customer.number for customer in customers if customer.company}
    # Everybody has one delivered order, so that every complaint has something to be about.
    drafts = [(buyer, 12 + dice.randrange(DAYS_OF_HISTORY - 13), True) for buyer in buyers]
    while len(drafts) < count:
        # Half of the rest is younger than two weeks: that is what people complain about.
        span = 14 if dice.random() < 0.5 else DAYS_OF_HISTORY - 1
        drafts.append((buyers[dice.randrange(len(buyers))], dice.randrange(span), False))
    placed = sorted(
        (
            now - timedelta(days=age, hours=dice.randrange(1, 12), minutes=dice.randrange(60)),
            who,
            sure,
        )
        for who, age, sure in drafts
    )
    return tuple(
        _order(dice, f"SO-{10001 + n}", who, moment, now, company=who in companies, arrives=sure)
        for n, (moment, who, sure) in enumerate(placed)
    )


def _order(
    dice: random.Random,
    number: str,
    customer: str,
    placed: datetime,
    now: datetime,
    *,
    company: bool,
    arrives: bool,
) -> Order:
    lines: list[OrderLine] = []
    pick = list(range(len(_PRODUCTS)))
    dice.shuffle(pick)
    for index in pick[: 1 + dice.randrange(3)]:
        product = _PRODUCTS[index]
        if product.unit == "kg":
            quantity = Decimal(1 + dice.randrange(6)) / 2
        else:
            quantity = Decimal(1 + dice.randrange(12 if company else 3))
        price = product.price * Decimal("0.90") if company else product.price
        lines.append(OrderLine(product.sku, quantity, price.quantize(Decimal("0.01"))))
    age = now - placed
    shipped_at = placed + timedelta(days=1, hours=dice.randrange(24))
    delivered_at = shipped_at + timedelta(days=1 + dice.randrange(3), hours=dice.randrange(8))
    carrier = _CARRIERS[dice.randrange(len(_CARRIERS))]
    tracking = f"{carrier}{dice.randrange(10**9, 10**10)}"
    fate = 0.5 if arrives else dice.random()
    if fate < 0.03 and age > timedelta(days=2):
        status = "cancelled"
    elif age < timedelta(days=2):
        status = "draft" if fate < 0.5 else "processing"
    elif shipped_at >= now:
        status = "processing"
    elif delivered_at >= now or (fate > 0.93 and age < timedelta(days=40)):
        status = "shipped"  # the latter is lost on the way: late, and a good reason to complain
    else:
        status = "delivered"
    under_way = status in ("shipped", "delivered")
    return Order(
        number=number,
        customer=customer,
        placed=placed,
        status=status,
        lines=tuple(lines),
        tracking=tracking if under_way else None,
        carrier=carrier if under_way else None,
        shipped=shipped_at if under_way else None,
        delivered=delivered_at if status == "delivered" else None,
    )


def _customer_out(customer: Customer) -> dict[str, Any]:
    return {
        "number": customer.number,
        "given_name": customer.given_name,
        "family_name": customer.family_name,
        "company": customer.company,
        "email": customer.email,
        "phone": customer.phone,
        "handles": {network: list(handle) for network, handle in customer.handles.items()},
        "street": customer.street,
        "city": customer.city,
        "postal_code": customer.postal_code,
        "country": customer.country,
    }


def _customer_in(row: dict[str, Any]) -> Customer:
    handles = {network: Handle(*pair) for network, pair in row["handles"].items()}
    return Customer(**{**row, "handles": handles})


def _product_out(product: Product) -> dict[str, Any]:
    return {
        "sku": product.sku,
        "name": product.name,
        "price": str(product.price),
        "currency": product.currency,
        "unit": product.unit,
        "stock": product.stock,
    }


def _product_in(row: dict[str, Any]) -> Product:
    return Product(**{**row, "price": Decimal(row["price"])})


def _order_out(order: Order) -> dict[str, Any]:
    return {
        "number": order.number,
        "customer": order.customer,
        "placed": order.placed.isoformat(),
        "status": order.status,
        "lines": [[line.sku, str(line.quantity), str(line.unit_price)] for line in order.lines],
        "tracking": order.tracking,
        "carrier": order.carrier,
        "shipped": order.shipped.isoformat() if order.shipped else None,
        "delivered": order.delivered.isoformat() if order.delivered else None,
    }


def _order_in(row: dict[str, Any]) -> Order:
    return Order(
        **{
            **row,
            "placed": datetime.fromisoformat(row["placed"]),
            "lines": tuple(
                OrderLine(sku, Decimal(quantity), Decimal(price))
                for sku, quantity, price in row["lines"]
            ),
            "shipped": datetime.fromisoformat(row["shipped"]) if row["shipped"] else None,
            "delivered": datetime.fromisoformat(row["delivered"]) if row["delivered"] else None,
        }
    )
