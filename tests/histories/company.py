"""A company that sells things for the home under three brands: who bought what, sent how."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from middleware.contract import canonical
from middleware.contract.canonical import Handle, Kind, Money, Record, Ref

NETWORKS = ("x", "instagram", "facebook", "whatsapp")
BRANDS: dict[str, tuple[str, ...]] = {
    "hearth": ("hearth_home", "hearth_help"),
    "pine": ("pine_outdoor",),
    "tinker": ("tinker_kids",),
}
"""The brands and their accounts; the first is where most people write."""
CARRIERS = ("DHL", "UPS", "DPD", "GLS")
WAREHOUSES = ("Leipzig", "Venlo", "Lyon")


@dataclass(frozen=True)
class Product:
    sku: str
    name: str
    price: Decimal
    brand: str
    lots: tuple[str, ...]


@dataclass(frozen=True)
class Customer:
    number: str
    name: str
    email: str
    phone: str
    handles: dict[str, tuple[str, str]]
    """Handle and unchangeable id by network."""
    on_file: frozenset[str]
    """Which of `email`, `phone` and the networks the CRM knows; empty for a stranger."""
    followers: int
    tier: str
    language: str


@dataclass(frozen=True)
class OrderLine:
    id: str
    sku: str
    name: str
    quantity: int
    price: Decimal
    lot: str


@dataclass(frozen=True)
class Order:
    number: str
    customer: str
    brand: str
    placed_at: datetime
    shipped_at: datetime
    delivered_at: datetime | None
    carrier: str
    warehouse: str
    tracking: str
    lines: tuple[OrderLine, ...]


@dataclass(frozen=True)
class Company:
    products: tuple[Product, ...]
    customers: tuple[Customer, ...]
    orders: tuple[Order, ...]

    def orders_of(self, customer: str) -> tuple[Order, ...]:
        """A customer's orders, oldest first."""
        return tuple(order for order in self.orders if order.customer == customer)


_GOODS = {
    "hearth": (
        *("reading lamp", "floor lamp", "desk chair", "standing desk", "electric kettle"),
        *("coffee grinder", "toaster", "frying pan", "wool blanket", "bookshelf", "mirror"),
        *("bedside table", "duvet cover", "hand mixer", "glass carafe", "wall clock"),
    ),
    "pine": (
        *("tent", "sleeping bag", "camping stove", "hiking backpack", "headlamp", "rain jacket"),
        *("trekking poles", "cool box", "folding chair", "water filter", "hammock"),
    ),
    "tinker": (
        *("wooden train", "balance bike", "puzzle", "building blocks", "doll house", "kite"),
        *("paint set", "telescope", "scooter", "toy kitchen"),
    ),
}
_SERIES = ("Lumen", "Arc", "Fjord", "Alto", "Rise", "Cube", "Plume", "Birch", "Nova", "Terra")
_GIVEN = (
    *("Lena", "Paul", "Mia", "Emil", "Clara", "Jonas", "Nora", "Felix", "Ida", "Anton", "Greta"),
    *("Oskar", "Frieda", "Theo", "Hugo", "Sanne", "Daan", "Fleur", "Bram", "Grace", "Walter"),
    *("Ruth", "Calvin", "Naomi", "Desmond", "Yara", "Kofi", "Meera", "Arjun", "Selin", "Emre"),
    *("Ana", "Ines", "Mateo", "Olive", "Percy", "Wanda", "Igor", "Salma", "Tariq", "Bridget"),
)
_FAMILY = (
    *("Albrecht", "Castell", "Dietz", "Ebert", "Fuchs", "Hartung", "Iversen", "Jansen", "Kessler"),
    *("Moreau", "Nowak", "Oberlin", "Petersen", "Quist", "Rousseau", "Thalberg", "Unruh", "Adler"),
    *("Bhatt", "Carvalho", "Delgado", "Ellery", "Fairchild", "Garrison", "Holloway", "Ironwood"),
    *("Kapoor", "Lindqvist", "Marchetti", "Nakagawa", "Okafor", "Prewitt", "Sandoval", "Tremaine"),
    *("Upton", "Vance", "Whitlock", "Yardley", "Zeller", "Amsel", "Brock", "Corwin", "Dunmore"),
)
_TIERS = ("standard",) * 16 + ("silver",) * 3 + ("gold",)


def company(dice: random.Random, *, customers: int, now: datetime) -> Company:
    """A company with so many customers and about three orders each, placed before `now`."""
    products = tuple(_products(dice))
    people = tuple(_customer(dice, n) for n in range(customers))
    orders = tuple(
        order for order in _orders(dice, people, products, now) if order.shipped_at < now
    )
    return Company(products=products, customers=people, orders=orders)


def _products(dice: random.Random) -> Iterator[Product]:
    for brand, goods in _GOODS.items():
        for n, noun in enumerate(goods):
            sku = f"{noun.replace(' ', '')[:4].upper()}-{100 + 7 * n}{brand[0].upper()}"
            yield Product(
                sku=sku,
                name=f"{noun} {_SERIES[(n + len(brand)) % len(_SERIES)]}",
                price=Decimal(dice.randrange(900, 40_000)) / 100,
                brand=brand,
                lots=tuple(f"L{dice.randrange(26, 47)}{n:02d}{brand[0].upper()}{k}" for k in "ABC"),
            )


def _customer(dice: random.Random, n: int) -> Customer:
    given, family = dice.choice(_GIVEN), dice.choice(_FAMILY)
    plain = f"{given}.{family}".lower()
    ids = {"x": 14, "instagram": 17, "facebook": 71, "whatsapp": 49}
    handles = {
        network: (f"{plain.replace('.', '_')}{n}", f"{ids[network]}{n:010d}")
        for network in NETWORKS
        if dice.random() < (0.7 if network == "x" else 0.5)
    }
    phone = f"+493023125{n:04d}"
    if "whatsapp" in handles:
        handles["whatsapp"] = (phone, phone.lstrip("+"))
    stranger = dice.random() < 0.08
    known = {
        way
        for way in ("email", "phone", *handles)
        if dice.random() < {"email": 0.97, "phone": 0.9}.get(way, 0.85)
    }
    return Customer(
        number=f"C-{100001 + n}",
        name=f"{given} {family}",
        email=f"{plain}{n}@example.com",
        phone=phone,
        handles=handles,
        on_file=frozenset() if stranger else frozenset(known | {"email"}),
        followers=int(10 ** dice.gauss(2.2, 0.8)),
        tier=dice.choice(_TIERS),
        language="de" if dice.random() < 0.15 else "en",
    )


def _orders(
    dice: random.Random,
    people: tuple[Customer, ...],
    products: tuple[Product, ...],
    now: datetime,
) -> Iterator[Order]:
    by_brand = {b: [p for p in products if p.brand == b] for b in BRANDS}
    number = 100_000
    for customer in people:
        for _ in range(1 + dice.randrange(5)):
            number += dice.randrange(1, 4)
            brand = dice.choice(("hearth", "hearth", "hearth", "pine", "tinker"))
            placed = now - timedelta(minutes=dice.randrange(2 * 1440, 45 * 1440))
            shipped = placed + timedelta(hours=6 + dice.randrange(40))
            delivered = shipped + timedelta(hours=20 + dice.randrange(70))
            carrier = dice.choice(CARRIERS)
            picked = dice.sample(by_brand[brand], 1 + dice.randrange(3))
            # Lots follow one another in time, so that one lot is sold in one stretch of weeks.
            stretch = min(2, int((now - placed).days / 15))
            yield Order(
                number=f"SO-{number}",
                customer=customer.number,
                brand=brand,
                placed_at=placed,
                shipped_at=shipped,
                delivered_at=delivered if delivered < now else None,
                carrier=carrier,
                warehouse=dice.choice(WAREHOUSES),
                tracking=f"{carrier}{dice.randrange(10**9, 10**10)}",
                lines=tuple(
                    OrderLine(
                        id=str(n + 1),
                        sku=product.sku,
                        name=product.name,
                        quantity=1 + dice.randrange(2),
                        price=product.price,
                        lot=product.lots[stretch],
                    )
                    for n, product in enumerate(picked)
                ),
            )


def records_of(company: Company, *, crm: str = "crm", erp: str = "erp") -> Iterator[Record]:
    """What the CRM and the ERP know: contacts, accounts, orders and shipments.

    Strangers have an account and orders but nothing that says which account on a network they are.
    The lot of a line is in the order's `extra["lots"]` by line id, the warehouse in
    `extra["warehouse"]` of order and shipment.
    """
    for customer in company.customers:
        account = Ref(connection=erp, kind=Kind.ACCOUNT, id=customer.number)
        emails = (customer.email,) if "email" in customer.on_file else ()
        phones = (customer.phone,) if "phone" in customer.on_file else ()
        yield canonical.Account(
            ref=account,
            name=customer.name,
            number=customer.number,
            emails=emails,
            phones=phones,
            tier=customer.tier,
        )
        if not customer.on_file:
            continue
        given, family = customer.name.split(" ", 1)
        yield canonical.Contact(
            ref=Ref(connection=crm, kind=Kind.CONTACT, id=customer.number),
            given_name=given,
            family_name=family,
            display_name=customer.name,
            emails=emails,
            phones=phones,
            handles=tuple(
                Handle(network=network, handle=handle, native_id=native)
                for network, (handle, native) in customer.handles.items()
                if network in customer.on_file
            ),
            external_ids={erp: customer.number},
        )
    for order in company.orders:
        ref = Ref(connection=erp, kind=Kind.ORDER, id=order.number)
        yield canonical.Order(
            ref=ref,
            number=order.number,
            account=Ref(connection=erp, kind=Kind.ACCOUNT, id=order.customer),
            status=canonical.OrderStatus.DELIVERED
            if order.delivered_at
            else canonical.OrderStatus.SHIPPED,
            placed_at=order.placed_at,
            lines=tuple(
                canonical.OrderLine(
                    id=line.id,
                    sku=line.sku,
                    name=line.name,
                    quantity=Decimal(line.quantity),
                    unit_price=Money(amount=line.price, currency="EUR"),
                )
                for line in order.lines
            ),
            extra={
                "lots": {line.id: line.lot for line in order.lines},
                "warehouse": order.warehouse,
                "brand": order.brand,
            },
        )
        yield canonical.Shipment(
            ref=Ref(connection=erp, kind=Kind.SHIPMENT, id=f"S{order.number}"),
            order=ref,
            number=f"S{order.number}",
            status=canonical.ShipmentStatus.DELIVERED
            if order.delivered_at
            else canonical.ShipmentStatus.SHIPPED,
            carrier=order.carrier,
            tracking_number=order.tracking,
            shipped_at=order.shipped_at,
            delivered_at=order.delivered_at,
            extra={"warehouse": order.warehouse},
        )
