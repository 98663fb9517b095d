"""The exact identifiers that records bear and that a complaint names, in their normal forms.

An identifier is a scheme and a value. Records are stored with theirs; whoever writes is looked up
by theirs. Both sides are made here, so that they agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from middleware.contract.canonical import Account, Contact, Handle, Order, Record, Shipment
from middleware.domain.arrivals import Author
from middleware.domain.orders import digits_key, number_key
from middleware.domain.understanding import Entity, EntityType
from middleware.resolution import normalise

Identifier = tuple[str, str]

CUSTOMER_NUMBER = "customer_number"
"""The external id under which other systems keep an account's number."""


def identifiers_of(record: Record) -> tuple[Identifier, ...]:
    """What a stored record is found by."""
    match record:
        case Contact():
            found = [*_addresses(record.emails, record.phones, ()), *_handles(record.handles)]
            found += _externals(record.external_ids.items())
        case Account():
            found = [*_addresses(record.emails, record.phones, ())]
            found += _externals(record.external_ids.items())
            if record.number:
                found += _externals([(CUSTOMER_NUMBER, record.number)])
        case Order():
            found = [*_numbers("order", (record.number,))]
        case Shipment():
            found = [*_numbers("tracking", (record.tracking_number,))]
        case _:
            found = []
    return tuple(dict.fromkeys(found))


def identifiers_of_author(author: Author, *, regions: Sequence[str] = ()) -> tuple[Identifier, ...]:
    """What somebody who writes may be on file under."""
    network = normalise.network(author.network)
    emails, phones = author.emails, author.phones
    if network == "email" and author.native_id:
        emails = (*emails, author.native_id)
    if network == "whatsapp" and author.native_id:
        phones = (*phones, "+" + author.native_id.removeprefix("+"))
    handle = Handle(network=network, handle=author.handle, native_id=author.native_id)
    found = [
        *_addresses(emails, phones, regions),
        *_handles((handle,)),
        *_externals(author.external_ids.items()),
    ]
    return tuple(dict.fromkeys(found))


def identifiers_mentioned(
    entities: Sequence[Entity], *, regions: Sequence[str] = ()
) -> tuple[Identifier, ...]:
    """What a text names: addresses, phones, and numbers of orders and parcels."""

    def of(type_: EntityType) -> list[str]:
        return [e.value for e in entities if e.type is type_]

    found = [
        *_addresses(of(EntityType.EMAIL), of(EntityType.PHONE), regions),
        *_numbers("order", of(EntityType.ORDER_NUMBER)),
        *_numbers("tracking", of(EntityType.TRACKING_NUMBER)),
    ]
    return tuple(dict.fromkeys(found))


def _addresses(
    emails: Iterable[str], phones: Iterable[str], regions: Sequence[str]
) -> Iterator[Identifier]:
    for text in emails:
        for scheme, normal in (("email", normalise.email), ("email_alias", normalise.email_alias)):
            value = normal(text)
            if value is not None:
                yield scheme, value
    for text in phones:
        for number in normalise.phones(text, regions=regions):
            yield "phone", number


def _handles(handles: Iterable[Handle]) -> Iterator[Identifier]:
    for handle in handles:
        network = normalise.network(handle.network)
        if handle.native_id:
            yield f"native:{network}", handle.native_id.strip()
        name = normalise.handle(handle.handle) if handle.handle else None
        if name is not None:
            yield f"handle:{network}", name


def _externals(ids: Iterable[tuple[str, str]]) -> Iterator[Identifier]:
    for system, value in ids:
        key = normalise.external_id(value)
        if key is not None:
            yield f"external:{system.strip().casefold()}", key


def _numbers(scheme: str, numbers: Iterable[str | None]) -> Iterator[Identifier]:
    for number in numbers:
        if not number:
            continue
        key = number_key(number)
        if key:
            yield scheme, key
        digits = digits_key(number)
        if digits is not None and scheme == "order":
            yield "order_digits", digits
