"""The exact identifiers that records bear and that a complaint names, in their normal forms.

An identifier is a scheme and a value. Records are stored with theirs; whoever writes is looked up
by theirs. Both sides are made here, so that they agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from middleware.contract.canonical import Account, Contact, Handle, Order, Record, Shipment
from middleware.domain.arrivals import Author
from middleware.domain.orders import digits_key, number_key
from middleware.domain.understanding import Entity, EntityType
from middleware.resolution import normalise

Identifier = tuple[str, str]

CUSTOMER_NUMBER = "customer_number"
"""The external id under which other systems keep an account's number."""


def identifiers_of(record: Record, *, regions: Sequence[str] = ()) -> tuple[Identifier, ...]:
    """What a stored record is found by. A national number is read where its bearer lives, else in
    all `regions`."""
    match record:
        case Contact():
            found = _addresses(record.emails, record.phones, regions, country_of(record))
            found += _handles(record.handles)
            found += _externals(record.external_ids.items())
        case Account():
            found = _addresses(record.emails, record.phones, regions, country_of(record))
            found += _externals(record.external_ids.items())
            if record.number:
                found += _externals([(CUSTOMER_NUMBER, record.number)])
        case Order():
            found = _numbers("order", (record.number,))
        case Shipment():
            found = _numbers("tracking", (record.tracking_number,))
        case _:
            return ()
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


def written_with(author: Author, *, regions: Sequence[str] = ()) -> tuple[Identifier, ...]:
    """Of these, what is theirs whichever source gives it: addresses and numbers. An id may be of
    one helpdesk alone, or of a whole company."""
    found = identifiers_of_author(author, regions=regions)
    return tuple(one for one in found if one[0] in ("email", "phone"))


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


def country_of(record: Contact | Account) -> str | None:
    """The country that a record's address is in."""
    return record.address.country if record.address is not None else None


def _addresses(
    emails: Iterable[str],
    phones: Iterable[str],
    regions: Sequence[str],
    country: str | None = None,
) -> list[Identifier]:
    found = []
    for text in emails:
        address = normalise.email(text)
        if address is not None:
            found.append(("email", address))
            base = normalise.without_alias(address)
            if base is not None:
                found.append(("email_alias", base))
    for text in phones:
        numbers = normalise.phones(text, regions=regions, country=country)
        found += [("phone", number) for number in numbers]
    return found


def _handles(handles: Iterable[Handle]) -> list[Identifier]:
    found = []
    for handle in handles:
        network = normalise.network(handle.network)
        if handle.native_id:
            found.append((f"native:{network}", handle.native_id.strip()))
        name = normalise.handle(handle.handle) if handle.handle else None
        if name is not None:
            found.append((f"handle:{network}", name))
    return found


def _externals(ids: Iterable[tuple[str, str]]) -> list[Identifier]:
    return [
        (f"external:{system.strip().casefold()}", key)
        for system, value in ids
        if (key := normalise.external_id(value)) is not None
    ]


def _numbers(scheme: str, numbers: Iterable[str | None]) -> list[Identifier]:
    found = []
    for number in numbers:
        if not number:
            continue
        key = number_key(number)
        if key:
            found.append((scheme, key))
        if scheme == "order" and (digits := digits_key(number)) is not None:
            found.append(("order_digits", digits))
    return found
