"""A person's picture as plain JSON, made from stored bodies without validating them again.

A context holds some hundred records; the models in `schemas` describe what is made here, and the
tests hold it to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from middleware.store import queries
from middleware.store.queries import Kept, Picture, ref_text

of = queries.picture

Json = dict[str, Any]


def identities(seen: Picture) -> list[Json]:
    return [
        {
            "id": row.id,
            "network": row.network,
            "native_id": row.native_id,
            "handles": [
                {
                    "handle": handle.handle,
                    "display_name": handle.display_name,
                    "valid_from": handle.valid_from,
                    "valid_to": handle.valid_to,
                }
                for handle in seen.handles.get(row.id, ())
            ],
            "first_seen_at": row.first_seen_at,
            "last_seen_at": row.last_seen_at,
        }
        for row in seen.identities
    ]


def customer(kept: Kept) -> Json:
    """A contact or an account."""
    body = kept.body
    given = " ".join(p for p in (body.get("given_name"), body.get("family_name")) if p)
    return {
        "ref": kept.ref,
        "name": body.get("display_name") or body.get("name") or given or None,
        "number": body.get("number"),
        "emails": body.get("emails") or [],
        "phones": body.get("phones") or [],
        "handles": [
            {
                "network": handle["network"],
                "handle": handle.get("handle"),
                "native_id": handle.get("native_id"),
            }
            for handle in body.get("handles") or ()
        ],
        "account": ref_text(body.get("account")),
        "tier": body.get("tier"),
        "language": body.get("language"),
        "address": _address(body.get("address")),
        "as_of": kept.as_of,
    }


def order(kept: Kept, seen: Picture) -> Json:
    body = kept.body
    held = seen.held.get(kept.ref, {})
    return {
        "ref": kept.ref,
        "number": body.get("number"),
        "reference": body.get("reference"),
        "status": body["status"],
        "placed_at": body.get("placed_at"),
        "total": _money(body.get("total")),
        "account": ref_text(body.get("account")),
        "contact": ref_text(body.get("contact")),
        "origin": ref_text(body.get("origin")),
        "ship_to": _address(body.get("ship_to")),
        "lines": [
            {
                "id": line["id"],
                "sku": line.get("sku"),
                "name": line.get("name"),
                "quantity": _plain(line["quantity"]),
                "left": _left(line["quantity"], held.get(line["id"])),
                "unit": line.get("unit"),
                "unit_price": _money(line.get("unit_price")),
            }
            for line in body.get("lines") or ()
        ],
        "shipments": [
            shipment(parcel)
            for parcel in seen.shipments.get(f"{kept.connection}:{body['ref']['id']}", ())
        ],
        "as_of": kept.as_of,
    }


def shipment(kept: Kept) -> Json:
    body = kept.body
    return {
        "ref": kept.ref,
        "number": body.get("number"),
        "status": body["status"],
        "carrier": body.get("carrier"),
        "tracking_number": body.get("tracking_number"),
        "planned_for": body.get("planned_for"),
        "shipped_at": body.get("shipped_at"),
        "delivered_at": body.get("delivered_at"),
    }


def case(kept: Kept) -> Json:
    body = kept.body
    return {
        "ref": kept.ref,
        "number": body.get("number"),
        "subject": body.get("subject"),
        "status": body["status"],
        "priority": body.get("priority"),
        "order": ref_text(body.get("order")),
        "opened_at": body.get("opened_at"),
        "as_of": kept.as_of,
    }


def claim(row: queries.ClaimRow) -> Json:
    return {
        "subject": row.subject,
        "holder": row.holder,
        "tool": row.tool,
        "note": row.note,
        "taken_at": row.taken_at,
        "expires_at": row.expires_at,
    }


def block(sources: Iterable[Json], data: Any) -> Json:
    """One part of a context, with what its sources say of themselves put together."""
    told = list(sources)
    worst = "complete"
    if any(s["status"] != "complete" for s in told):
        worst = "failed" if all(s["status"] == "failed" for s in told) else "partial"
    whys = [f"{s['source']}: {s['why']}" for s in told if s["why"]]
    times = [s["as_of"] for s in told]
    return {
        "source": ", ".join(s["source"] for s in told),
        "as_of": None if not times or None in times else min(times),
        "status": worst,
        "why": "; ".join(whys) or None,
        "sources": told,
        "data": data,
    }


def source(name: str, *, as_of: datetime | None, status: str, why: str | None = None) -> Json:
    return {"source": name, "as_of": as_of, "status": status, "why": why}


def _money(body: Mapping[str, Any] | None) -> Json | None:
    return (
        None if body is None else {"amount": _plain(body["amount"]), "currency": body["currency"]}
    )


def _plain(number: str) -> str:
    """A stored decimal without an exponent."""
    return f"{Decimal(number):f}" if "E" in number or "e" in number else number


def _left(quantity: str, taken: Decimal | None) -> str:
    return _plain(quantity) if not taken else f"{max(Decimal(quantity) - taken, Decimal(0)):f}"


def _address(body: Mapping[str, Any] | None) -> Json | None:
    if body is None:
        return None
    names = ("name", "street", "city", "postal_code", "region", "country")
    return {name: body.get(name) for name in names}
