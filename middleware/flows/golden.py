"""The golden view of a person: one value for each field, each with where it is from and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from middleware.contract.canonical import Account, Address, Contact, Record
from middleware.contract.capabilities import ReadsShipments
from middleware.domain.survivorship import UNIQUE_IDS, Chosen, Value, choose
from middleware.flows.hub import Hub
from middleware.resolution import normalise
from middleware.resolution.identifiers import country_of
from middleware.store.records import Stored
from middleware.store.tables import HandleRow, IdentityRow


def view(
    hub: Hub,
    records: Iterable[Stored],
    identities: Sequence[IdentityRow],
    handles: dict[str, list[HandleRow]],
) -> list[Chosen]:
    """What counts of all that is linked to a person, worked out now and stored nowhere.

    An e-mail address or a number is verified when the customer has written to us from it: it is
    one of their identities. The ERP is where orders are kept: `orders_from`, else the connections
    that also know the parcels.
    """
    reached = set(_reached(identities))
    erps = {*hub.options.orders_from, *hub.registry.offering(ReadsShipments)}
    values: list[Value] = []
    for stored in records:
        at = stored.record.updated_at or stored.as_of
        erp = stored.record.ref.connection in erps
        for field, text in _said(stored.record):
            key = _key(hub, field, text, stored.record)
            values.append(
                Value(
                    field=field,
                    value=text,
                    source=str(stored.record.ref),
                    at=at,
                    erp=erp,
                    verified=(field, key) in reached,
                    key=key,
                )
            )
    values += _of_identities(identities, handles)
    return choose(values, hub.options.survivorship)


def _reached(identities: Sequence[IdentityRow]) -> Iterator[tuple[str, str]]:
    for row in identities:
        if row.network == "email" and (address := normalise.email(row.native_id)):
            yield "email", address
        if row.network in ("whatsapp", "sms"):
            for number in normalise.phones("+" + row.native_id.removeprefix("+"), regions=()):
                yield "phone", number


def _key(hub: Hub, field: str, text: str, record: Record) -> str | None:
    """An address or a number in one way of writing; None where the text itself tells."""
    if field == "email":
        return normalise.email(text)
    if field == "phone" and isinstance(record, Contact | Account):
        regions = hub.options.phone_regions
        numbers = normalise.phones(text, regions=regions, country=country_of(record))
        return numbers[0] if len(numbers) == 1 else None
    return None


def _said(record: Record) -> Iterator[tuple[str, str]]:
    """The fields that a record speaks of."""
    if not isinstance(record, Contact | Account):
        return
    if isinstance(record, Contact):
        given = " ".join(p for p in (record.given_name, record.family_name) if p)
        name = record.display_name or given
        if name:
            yield "name", name
        if record.language:
            yield "language", record.language
    else:
        if record.name:
            yield "legal_name", record.name
        if record.number:
            yield "customer_number", record.number
        if record.tier:
            yield "tier", record.tier
    for address in record.emails:
        yield "email", address
    for number in record.phones:
        yield "phone", number
    for system in UNIQUE_IDS:
        if record.external_ids.get(system):
            yield "tax_id", record.external_ids[system]
    if record.address is not None and (line := _line(record.address)):
        yield "address", line


def _line(address: Address) -> str:
    town = " ".join(p for p in (address.postal_code, address.city) if p)
    return ", ".join(
        p for p in (address.street, town or None, address.region, address.country) if p
    )


def _of_identities(
    identities: Sequence[IdentityRow], handles: dict[str, list[HandleRow]]
) -> Iterator[Value]:
    """Handles are dated by the network; the addresses that somebody wrote from are verified."""
    keys = {row.id: key for row in identities for _, key in _reached((row,))}
    for row in identities:
        seen: datetime = row.last_seen_at
        if row.network in ("email", "whatsapp", "sms"):
            yield Value(
                field="email" if row.network == "email" else "phone",
                value=row.native_id,
                source=row.id,
                at=seen,
                verified=True,
                key=keys.get(row.id),
            )
            continue
        for handle in handles.get(row.id, ()):
            if handle.valid_to is None:
                yield Value(
                    field=f"handle on {row.network}",
                    value=handle.handle,
                    source=row.id,
                    at=handle.valid_from,
                )
