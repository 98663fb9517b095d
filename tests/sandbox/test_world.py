"""The sandbox's world: small, made up, the same everywhere, and full of traps."""

import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from middleware.sandbox import world
from middleware.sandbox.world import World, build


def test_the_same_arguments_make_the_same_world_in_another_process() -> None:
    command = "from middleware.sandbox.world import build; print(build().as_json())"
    answer = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", command], capture_output=True, check=True, text=True
    )
    assert World.from_json(answer.stdout) == build()


def test_another_seed_makes_other_people_but_the_same_traps() -> None:
    one, other = build(), build(8)
    assert one.customers[9:] != other.customers[9:]
    assert [c.name for c in one.customers[:9]] == [c.name for c in other.customers[:9]]


def test_it_moves_with_now() -> None:
    later = build(now=world.NOW + timedelta(days=30))
    assert {b.placed - a.placed for a, b in zip(build().orders, later.orders, strict=True)} == {
        timedelta(days=30)
    }
    assert [o.status for o in later.orders] == [o.status for o in build().orders]


@pytest.mark.parametrize("customers", [9, 1001])
def test_a_size_it_cannot_make_is_refused(customers: int) -> None:
    with pytest.raises(ValueError, match="between 10 and 1000"):
        build(customers=customers)


def test_a_naive_now_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        build(now=datetime(2026, 1, 1))


@pytest.mark.parametrize("customers", [10, 40, 1000])
def test_orders_fit_their_customers_and_their_state(customers: int) -> None:
    made = build(customers=customers)
    assert len(made.customers) == customers
    assert len(made.orders) == 4 * customers
    numbers = {customer.number for customer in made.customers}
    skus = {product.sku for product in made.products}
    assert len({order.number for order in made.orders}) == len(made.orders)
    assert list(made.orders) == sorted(
        made.orders, key=lambda order: (order.placed, order.customer)
    )
    for order in made.orders:
        assert order.customer in numbers
        assert {line.sku for line in order.lines} <= skus
        assert all(line.quantity > 0 and line.unit_price > 0 for line in order.lines)
        assert made.now - timedelta(days=121) < order.placed < made.now
        assert order.status in world.STATUSES
        assert (order.tracking is not None) is (order.status in ("shipped", "delivered"))
        assert (order.shipped is not None) is (order.status in ("shipped", "delivered"))
        assert (order.delivered is not None) is (order.status == "delivered")
        assert all(
            moment is None or order.placed < moment < made.now
            for moment in (order.shipped, order.delivered)
        )


def test_the_traps_are_where_the_documentation_says() -> None:
    made = build()
    maria, other = made.customer("C-1001"), made.customer("C-1002")
    assert maria.name == other.name == "Maria Schmidt"
    assert (maria.email, maria.phone, maria.handles["x"]) != (
        other.email, other.phone, other.handles["x"],
    )  # fmt: skip
    tobias, katrin = made.customer("C-1003"), made.customer("C-1004")
    assert (tobias.email, tobias.phone, tobias.street) == (
        katrin.email,
        katrin.phone,
        katrin.street,
    )
    assert tobias.given_name != katrin.given_name
    ingrid, stefan = made.customer("C-1005"), made.customer("C-1006")
    assert ingrid.company == stefan.company is not None
    assert ingrid.email != stefan.email
    mueller, mueller_too = made.customer("C-1007"), made.customer("C-1008")
    assert (mueller.family_name, mueller_too.family_name) == ("Müller", "Mueller")
    assert mueller.email != mueller_too.email
    assert not made.orders_of("C-1009")
    assert all(made.orders_of(c.number, status="delivered") for c in made.customers[:8])


def test_every_state_occurs_and_every_network_has_handles() -> None:
    made = build()
    assert set(Counter(order.status for order in made.orders)) == set(world.STATUSES)
    networks = Counter(network for customer in made.customers for network in customer.handles)
    assert set(networks) == {"x", "instagram", "facebook", "whatsapp"}
    assert min(networks.values()) >= 5
    for network in networks:
        ids = [c.handles[network].native_id for c in made.customers if network in c.handles]
        assert len(ids) == len(set(ids))


def test_nobody_real_can_be_reached() -> None:
    for customer in build(customers=1000).customers:
        assert re.search(r"@([a-z0-9-]+\.)?example\.(com|net|org)$", customer.email)
        assert re.fullmatch(r"\+493023125\d{3}|\+120255501\d{2}", customer.phone)
        assert customer.email.isascii()


def test_only_the_couple_shares_an_address_or_a_number() -> None:
    made = build(customers=1000)
    for field in ("email", "phone"):
        counts = Counter(getattr(customer, field) for customer in made.customers)
        assert [value for value, n in counts.items() if n > 1] == [
            getattr(made.customer("C-1003"), field)
        ]


def test_lookups_by_number() -> None:
    made = build()
    assert made.order("SO-10001").placed.tzinfo is UTC
    assert made.product("LAMP-101").currency == "EUR"
    for find in (made.customer, made.product, made.order):
        with pytest.raises(KeyError):
            find("nope")
