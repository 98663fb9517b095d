"""The examples of the API's description: one story, told by every operation.

Kim Weber writes in public that her lamp came broken; the hub finds out who she is and which order
is meant, and an agent sends another one. All of it is invented. The tests hold each example to the
schema of the operation that shows it.
"""

from __future__ import annotations

from typing import Any

from middleware.api import priority_examples

INBOX_ID = "inb_019c9d6f3a5e7c41b1d0a2f4c6e88a11"
COMPLAINT_ID = "cmp_019c9d6f3a5e7c41b1d0a2f4c6e88a21"
IDENTITY_ID = "idn_019c9d6f3a5e7c41b1d0a2f4c6e88a22"
LINK_ID = "lnk_019c9d6f3a5e7c41b1d0a2f4c6e88a31"
PERSON_ID = "per_019c9d6f3a5e7c41b1d0a2f4c6e88a41"
ACTION_ID = "act_019c9d6f3a5e7c41b1d0a2f4c6e88a51"
STEP_ID = "stp_019c9d6f3a5e7c41b1d0a2f4c6e88a52"
RUN_ID = "run_019c9d6f3a5e7c41b1d0a2f4c6e88a61"
EVENT_ID = "msg_019c9d6f3a5e7c41b1d0a2f4c6e88a71"
KEY_ID = "key_019c9d6f3a5e7c41b1d0a2f4c6e88a81"
OTHER_KEY_ID = "key_019c9d6f3a5e7c41b1d0a2f4c6e88a82"

WRITTEN = "2026-11-21T09:59:58Z"
RECEIVED = "2026-11-21T10:00:01Z"
HANDLED = "2026-11-21T10:00:02Z"
SYNCED = "2026-11-21T09:55:00Z"
TEXT = "@acme my lamp from SO-10001 came broken. I want a new one!"

Json = dict[str, Any]


def _page(*items: Json) -> Json:
    return {"data": list(items), "next_cursor": None, "has_more": False}


COMPLAINT_SENT: Json = {
    "connection": "api",
    "type": "message.created",
    "timestamp": WRITTEN,
    "data": {
        "id": "1727",
        "conversation": "1727",
        "author": {"network": "x", "native_id": "42", "handle": "kim_w", "display_name": "Kim"},
        "text": TEXT,
        "language": "en",
        "posted_at": WRITTEN,
        "order_numbers": ["SO-10001"],
    },
}

ACCEPTED: Json = {
    "delivery_id": INBOX_ID,
    "new": True,
    "location": f"/v1/deliveries/{INBOX_ID}",
}

BATCH: Json = {
    "results": [
        {"index": 0, "status": 202, "accepted": ACCEPTED, "problem": None},
        {
            "index": 1,
            "status": 422,
            "accepted": None,
            "problem": {
                "code": "validation",
                "detail": "The request does not fit its form",
                "errors": [
                    {
                        "pointer": "/complaints/1/data/author",
                        "detail": "is required",
                        "code": "missing",
                    }
                ],
            },
        },
    ],
    "accepted": 1,
    "refused": 1,
}

DELIVERY: Json = {
    "id": INBOX_ID,
    "connection": "api",
    "trust": "api_key",
    "state": "handled",
    "problems": [],
    "complaints": [COMPLAINT_ID],
    "received_at": RECEIVED,
    "handled_at": HANDLED,
    "replays": 0,
}

COMPLAINT_LISTED: Json = {
    "id": COMPLAINT_ID,
    "connection": "api",
    "conversation": "1727",
    "network": "x",
    "state": "open",
    "merged_into": None,
    "incident_id": None,
    "person_id": PERSON_ID,
    "order": "erp:order:1001",
    "intent": "complaint",
    "reason": "damaged",
    "severity": "normal",
    "outcome": "link",
    **priority_examples.LISTED,
    "opened_at": WRITTEN,
    "updated_at": HANDLED,
}

COMPLAINT_PAGE = _page(COMPLAINT_LISTED)

_EVIDENCE: list[Json] = [
    {
        "kind": "handle",
        "detail": "the handle k…_w is on file",
        "weight": 7.5,
        "basis": "crm_record",
        "compared": None,
        "rarity": None,
        "at": SYNCED,
    },
    {
        "kind": "order_number",
        "detail": "order SO-10001 is theirs",
        "weight": 12.0,
        "basis": "customer_provided",
        "compared": None,
        "rarity": None,
        "at": WRITTEN,
    },
]

RESOLUTION: Json = {
    "outcome": "link",
    "why": "order SO-10001 is theirs; 19.5 bits",
    "margin": None,
    "candidates": [
        {
            "person_id": PERSON_ID,
            "refs": ["crm:contact:003A1", "erp:account:501"],
            "score": 19.5,
            "probability": None,
            "evidence": _EVIDENCE,
        }
    ],
    "sources": [],
    "decided_at": HANDLED,
    "version": "exact-5d0f1c2a/9b3e7a41",
}

RESOLVED: Json = {"resolution": {**RESOLUTION, "decided_at": None}}


def _judged(value: str, confidence: float = 0.0, *evidence: Json) -> Json:
    return {
        "value": value,
        "confidence": confidence,
        "evidence": list(evidence),
        "band": None,
        "alternatives": [],
    }


COMPLAINT: Json = {
    **priority_examples.SHOWN,
    "id": COMPLAINT_ID,
    "connection": "api",
    "conversation": "1727",
    "network": "x",
    "brand_account": None,
    "team": None,
    "state": "open",
    "merged_into": None,
    "incident_id": None,
    "merges": [],
    "moves": [],
    "identity_id": IDENTITY_ID,
    "person_id": PERSON_ID,
    "order": "erp:order:1001",
    "arrivals": [
        {
            "source_id": "1727",
            "complaint_id": COMPLAINT_ID,
            "connection": "api",
            "brand_account": None,
            "outgoing": False,
            "internal": False,
            "automatic": False,
            "network": "x",
            "handle": "kim_w",
            "display_name": "Kim",
            "text": TEXT,
            "language": "en",
            "url": None,
            "posted_at": WRITTEN,
            "edited_at": None,
            "deleted_at": None,
            "received_at": RECEIVED,
        }
    ],
    "understanding": {
        "intent": _judged("complaint", 0.9, {"start": 33, "end": 39, "cue": "broken"}),
        "sentiment": _judged("negative", 0.8, {"start": 33, "end": 39, "cue": "broken"}),
        "reason": _judged("damaged", 0.85, {"start": 28, "end": 39, "cue": "came broken"}),
        "severity": _judged("normal", 0.5),
        "remedy": _judged("replacement", 0.8, {"start": 41, "end": 57, "cue": "want a new one"}),
        "language": _judged("en", 1.0),
        "entities": [
            {
                "type": "order_number",
                "value": "SO-10001",
                "confidence": 0.95,
                "start": 19,
                "end": 27,
                "why": "looks like one of this company's order numbers",
            }
        ],
        "cues": [],
        "shadow": [],
        "by": "rules/1",
        "degraded": False,
        "text": TEXT,
    },
    "resolution": RESOLUTION,
    "order_match": {
        "chosen": "erp:order:1001",
        "confidence": 0.98,
        "why": "order number SO-10001 is named",
        "ranked": [
            {
                "order": "erp:order:1001",
                "number": "SO-10001",
                "score": 107.5,
                "reasons": [
                    {"what": "order number SO-10001 is named", "points": 100.0},
                    {"what": "it was placed 2 days before", "points": 7.5},
                ],
            }
        ],
        "lines": [
            {
                "order": "erp:order:1001",
                "line": "1",
                "sku": "LMP-100",
                "score": 1.0,
                "reasons": [{"what": "it is the only article", "points": 1.0}],
            }
        ],
        "chosen_lines": ["1"],
        "warnings": [],
    },
    "actions": [ACTION_ID],
    "questions": [],
    "claims": [],
    "opened_at": WRITTEN,
    "updated_at": HANDLED,
    "version": 3,
}

IDENTITY: Json = {
    "id": IDENTITY_ID,
    "network": "x",
    "native_id": "42",
    "handles": [
        {
            "handle": "kim_w",
            "display_name": "Kim",
            "valid_from": WRITTEN,
            "valid_to": None,
        }
    ],
    "first_seen_at": WRITTEN,
    "last_seen_at": WRITTEN,
}

CUSTOMER: Json = {
    "ref": "crm:contact:003A1",
    "name": "Kim Weber",
    "number": None,
    "emails": ["kim@example.com"],
    "phones": ["+493023125001"],
    "handles": [{"network": "x", "handle": "kim_w", "native_id": None}],
    "account": "crm:account:001A1",
    "tier": None,
    "language": "de",
    "address": None,
    "as_of": SYNCED,
}

LINK: Json = {
    "id": LINK_ID,
    "person_id": PERSON_ID,
    "identity_id": IDENTITY_ID,
    "record": None,
    "basis": "customer_confirmed",
    "confidence": 0.99,
    "evidence": [
        {
            "kind": "agent",
            "detail": "She named order SO-10001 and her postcode on the phone.",
            "weight": 30.0,
            "basis": "customer_confirmed",
            "compared": None,
            "rarity": None,
            "at": HANDLED,
        }
    ],
    "decided_by": KEY_ID,
    "valid_from": HANDLED,
    "valid_to": None,
    "revoked_by": None,
    "revoked_reason": None,
    "origin": None,
    "change_id": None,
    "decided_under": None,
    "version": 1,
}

LINK_PAGE = _page(LINK)

_STRENGTH: Json = {
    "complaints": [COMPLAINT_ID],
    "orders": ["erp:order:1001"],
    "actions": [ACTION_ID],
    "notes": ["desk:note:88"],
}

LINK_EXPLAINED: Json = {"link": LINK, "done_on_its_strength": _STRENGTH}

LINK_REVOKED: Json = {
    "link": {
        **LINK,
        "valid_to": "2026-11-22T08:00:00Z",
        "revoked_by": KEY_ID,
        "revoked_reason": "He is her brother; they share the account.",
        "version": 2,
    },
    "done_on_its_strength": _STRENGTH,
}

PERSON_PAGE = _page(
    {
        "id": PERSON_ID,
        "standing": "provisional",
        "provisional_until": "2027-01-20T10:00:02Z",
        "expired_at": None,
        "display_name": "Kim",
        "created_at": HANDLED,
        "identity_id": IDENTITY_ID,
        "network": "x",
        "native_id": "42",
        "last_seen_at": WRITTEN,
    }
)

PERSON: Json = {
    "id": PERSON_ID,
    "redirected_from": None,
    "standing": "settled",
    "provisional_until": None,
    "expired_at": None,
    "display_name": "Kim",
    "created_at": HANDLED,
    "as_of": None,
    "golden": [
        {
            "field": "legal_name",
            "value": "Kim Weber",
            "source": "erp:account:501",
            "at": "2026-11-20T17:00:00Z",
            "verified": False,
            "why": "the ERP has it",
            "others": [
                {"value": "K. Weber", "source": "crm:account:77", "at": None, "verified": False}
            ],
        }
    ],
    "identities": [IDENTITY],
    "records": [CUSTOMER],
    "links": [LINK],
    "complaints": [
        {"id": COMPLAINT_ID, "state": "open", "order": "erp:order:1001", "opened_at": WRITTEN}
    ],
    "actions": [
        {
            "id": ACTION_ID,
            "kind": "replacement_order",
            "state": "done",
            "order": "erp:order:1001",
            "created_at": "2026-11-21T10:03:00Z",
        }
    ],
}

_MONEY: Json = {"amount": "49.90", "currency": "EUR"}

ORDER: Json = {
    "ref": "erp:order:1001",
    "number": "SO-10001",
    "reference": None,
    "status": "delivered",
    "placed_at": "2026-11-18T08:30:00Z",
    "total": _MONEY,
    "account": "erp:account:501",
    "contact": None,
    "origin": None,
    "ship_to": {
        "name": "Kim Weber",
        "street": "Lindenweg 3",
        "city": "Berlin",
        "postal_code": "10115",
        "region": None,
        "country": "DE",
    },
    "lines": [
        {
            "id": "1",
            "sku": "LMP-100",
            "name": "Desk lamp",
            "quantity": "1",
            "left": "0",
            "unit": "piece",
            "unit_price": _MONEY,
        }
    ],
    "shipments": [
        {
            "ref": "erp:shipment:9001",
            "number": "CS-9001",
            "status": "delivered",
            "carrier": "DHL",
            "tracking_number": "JD000001",
            "planned_for": "2026-11-19",
            "shipped_at": "2026-11-19T07:00:00Z",
            "delivered_at": "2026-11-20T12:10:00Z",
        }
    ],
    "as_of": SYNCED,
}


def _block(source: str, data: Any, *, own: bool = False) -> Json:
    told = {"source": source, "as_of": SYNCED, "status": "complete", "why": None}
    if own:
        return {
            "source": "hub",
            "as_of": None,
            "status": "complete",
            "why": None,
            "sources": [],
            "data": data,
        }
    return {**told, "sources": [told], "data": data}


CONTEXT: Json = {
    "person_id": PERSON_ID,
    "complaint_id": COMPLAINT_ID,
    "person": _block(
        "crm",
        {
            "id": PERSON_ID,
            "standing": "settled",
            "provisional_until": None,
            "display_name": "Kim",
            "identities": [IDENTITY],
            "records": [CUSTOMER],
        },
    ),
    "orders": _block("erp", [ORDER]),
    "cases": {
        "source": "crm",
        "as_of": None,
        "status": "partial",
        "why": "crm: it was never read completely; what is shown was looked up",
        "sources": [
            {
                "source": "crm",
                "as_of": None,
                "status": "partial",
                "why": "it was never read completely; what is shown was looked up",
            }
        ],
        "data": [],
    },
    "complaints": _block("hub", [COMPLAINT_LISTED], own=True),
    "actions": _block(
        "hub",
        [
            {
                "id": ACTION_ID,
                "operation": "replacement_order",
                "state": "done",
                "open": False,
                "order": "erp:order:1001",
                "steps": [
                    {
                        "connection": "erp",
                        "operation": "replacement_order",
                        "state": "done",
                        "number": "SO-10077",
                    }
                ],
                "created_at": "2026-11-21T10:03:00Z",
            }
        ],
        own=True,
    ),
    "claims": _block("hub", [], own=True),
}

ACTION_ASKED: Json = {
    "operation": "replacement_order",
    "complaint_id": COMPLAINT_ID,
    "request": {
        "order": "erp:order:1001",
        "lines": [{"line": "1", "sku": "LMP-100", "quantity": "1"}],
        "speed": "rush",
        "reason": "damaged",
    },
    "case": {"priority": "high"},
    "note": "",
}

_JUDGED: Json = {
    "version": 4,
    "outcome": "allow",
    "stages": [],
    "missing": [],
    "cool_off": None,
    "says": [],
}

ACTION_PREVIEW: Json = {
    "operation": "replacement_order",
    "order": "erp:order:1001",
    "person_id": PERSON_ID,
    "value": _MONEY,
    "needs_approval": None,
    "policy": _JUDGED,
    "takes": {"1": "1"},
    "budget": [
        {
            "line": "1",
            "what": "pieces",
            "whole": "2",
            "taken": "0",
            "wanted": "1",
            "left": "1",
            "currency": None,
            "by": [],
        },
        {
            "line": "",
            "what": "money",
            "whole": "99.8",
            "taken": "0",
            "wanted": "49.9",
            "left": "49.9",
            "currency": "EUR",
            "by": [],
        },
    ],
    "stays": [],
    "steps": [
        {
            "position": 1,
            "connection": "erp",
            "operation": "replacement_order",
            "effects": [
                {"what": "create a replacement order in erp for order SO-10001", "amount": _MONEY}
            ],
            "warnings": [],
            "exact": False,
            "payload": {},
        },
        {
            "position": 2,
            "connection": "crm",
            "operation": "case",
            "effects": [{"what": "create a case in crm for order SO-10001", "amount": None}],
            "warnings": [],
            "exact": False,
            "payload": {},
        },
    ],
    "warnings": [],
    "preview_token": "qL0x1ZJ7c2VjcmV0bHkgbm90aGluZw",
    "good_until": "2026-11-21T10:18:00Z",
}

_ACTION_COMMON: Json = {
    "id": ACTION_ID,
    "operation": "replacement_order",
    "state": "done",
    "complaint_id": COMPLAINT_ID,
    "person_id": PERSON_ID,
    "order": "erp:order:1001",
    "value": _MONEY,
    "requested_by": KEY_ID,
    "created_at": "2026-11-21T10:03:00Z",
    "updated_at": "2026-11-21T10:03:01Z",
}

ACTION: Json = {
    **_ACTION_COMMON,
    "settled": True,
    "role": "agent",
    "approval": None,
    "policy": _JUDGED,
    "request": ACTION_ASKED,
    "choices": ["undo"],
    "undoes": None,
    "undone_by": None,
    "invitation": None,
    "handed_over": None,
    "not_before": None,
    "next_try_at": None,
    "steps": [
        {
            "id": STEP_ID,
            "position": 1,
            "connection": "erp",
            "operation": "replacement_order",
            "state": "done",
            "key": "am-4be1f0c2d6a94d0b8a6f3c2d1e0f9a8b",
            "attempts": 1,
            "in_doubt": False,
            "sent_at": "2026-11-21T10:03:00Z",
            "settled_at": "2026-11-21T10:03:01Z",
            "receipt": {
                "ref": "erp:order:1077",
                "number": "SO-10077",
                "status": "accepted",
                "already_existed": False,
                "at": None,
                "url": None,
            },
            "error": None,
            "stays": None,
        }
    ],
    "timeline": [
        {
            "at": "2026-11-21T10:03:00Z",
            "what": "action.create",
            "by": KEY_ID,
            "request_id": "req_019c9d6f3a5e7c41b1d0a2f4c6e88a50",
            "step": None,
            "detail": {"kind": "replacement_order", "order": "erp:order:1001"},
        },
        {
            "at": "2026-11-21T10:03:01Z",
            "what": "step.sent",
            "by": "hub",
            "request_id": None,
            "step": STEP_ID,
            "detail": {
                "connection": "erp",
                "operation": "replacement_order",
                "attempt": 1,
                "outcome": "done",
                "ref": "erp:order:1077",
                "number": "SO-10077",
            },
        },
        {
            "at": "2026-11-21T10:03:01Z",
            "what": "action.done",
            "by": None,
            "request_id": None,
            "step": None,
            "detail": {},
        },
    ],
    "expires_at": "2026-11-22T10:03:00Z",
    "version": 3,
}

UNDO: Json = {
    **ACTION,
    "id": "act_019c9d8a5b2c7f10a4d3e2c1b0a99887",
    "operation": "undo",
    "state": "queued",
    "settled": False,
    "request": {"operation": "undo", "request": {"action": ACTION["id"]}, "note": ""},
    "choices": ["cancel"],
    "undoes": ACTION["id"],
    "next_try_at": "2026-11-21T10:09:00Z",
    "steps": [
        {
            **ACTION["steps"][0],
            "id": "stp_019c9d8a5b2c7f10a4d3e2c1b0a99888",
            "operation": "withdrawal",
            "state": "planned",
            "key": "am-7d20c9be51f34a0e9b8c7d6e5f4a3b2c",
            "attempts": 0,
            "sent_at": None,
            "settled_at": None,
            "receipt": None,
        }
    ],
    "timeline": [],
    "version": 1,
}

INVITATION: Json = {"expires_at": "2026-11-24T10:03:00Z"}

ACTION_PAGE = _page(_ACTION_COMMON)

CHECK: Json = {
    "ok": False,
    "at": RECEIVED,
    "took_ms": 214,
    "findings": [
        {"name": "login", "ok": True, "detail": "as integration@example.com", "remedy": ""},
        {
            "name": "permission to create sales",
            "ok": False,
            "detail": "the user is in no group that may",
            "remedy": "Put the user into the group Sales.",
        },
    ],
}

STANDING: Json = {
    "state": "stopped",
    "since": SYNCED,
    "until": None,
    "reason": {
        "cause": "refused",
        "message": "the credentials are wrong or have expired",
        "code": None,
        "operation": "find_order",
    },
    "changed_by": "hub",
}

CONNECTION: Json = {
    **STANDING,
    "name": "erp",
    "adapter": "tryton",
    "inlet": None,
    "capabilities": ["FindsAccounts", "ReadsOrders", "ListsChanges", "CreatesReplacementOrders"],
    "problem": None,
    "last_check": CHECK,
    "declared_at": SYNCED,
}

CONNECTION_PAGE = _page(CONNECTION)

CONNECTION_RESUMED: Json = CONNECTION | {
    "state": "closed",
    "reason": {
        "cause": "refused",
        "message": "resumed after a refused login: one call goes out at a time until one is let in",
        "code": None,
        "operation": None,
    },
    "changed_by": KEY_ID,
}

HEALTH: Json = {
    **STANDING,
    "name": "erp",
    "status": "failing",
    "last_check": CHECK,
    "synced": [{"kind": "order", "as_of": SYNCED, "saved_at": SYNCED, "run_id": RUN_ID}],
    "quarantined": 1,
}

RUN: Json = {
    "id": RUN_ID,
    "job": "erp-orders",
    "tick": SYNCED,
    "mode": "changes",
    "state": "done",
    "wanted": None,
    "waits_for": {},
    "requested_by": "schedule",
    "counts": {
        "order": {
            "pages": 1,
            "seen": 120,
            "new": 3,
            "changed": 5,
            "unchanged": 111,
            "deleted": 0,
            "quarantined": 1,
        }
    },
    "error": None,
    "queued_at": SYNCED,
    "started_at": SYNCED,
    "finished_at": SYNCED,
}

RUN_PAGE = _page(RUN)
_OWED: Json = {**RUN, "state": "queued", "counts": {}, "started_at": None, "finished_at": None}
FULL_RUN: Json = {**_OWED, "mode": "full", "tick": f"{SYNCED}/full", "wanted": {}}
BACKFILL_RUN: Json = {
    **_OWED,
    "mode": "backfill",
    "tick": f"{SYNCED}/backfill/3f2a9c1d",
    "wanted": {"since": "2026-11-20T00:00:00+00:00", "until": "2026-11-21T00:00:00+00:00"},
}
ALLOWED_RUN: Json = {**_OWED, "job": "resolve", "wanted": {"allow_changes": 2200}}
REPORT: Json = {
    "run_id": RUN_ID,
    "model": "7f6e0d5a3c11",
    "counts": {
        "records": {"seen": 1204, "changed": 1204, "deleted": 0},
        "planned": {"made": 1200, "moved": 0, "ended": 0},
    },
    "changes": [
        {
            "change": "made",
            "record": "crm:contact:0035e00000A1b2c",
            "person": None,
            "was": None,
            "beside": ["erp:account:1017"],
        }
    ],
    "refused": [
        {"why": "one_per_source", "records": ["erp:account:1017", "erp:account:1018"]},
    ],
}

RECEIPT: Json = {
    "run": RUN_ID,
    "number": 42,
    "job": "erp-orders",
    "connection": "erp",
    "mode": "changes",
    "state": "done",
    "source": {
        "order": {
            "count": 48213,
            "digest": None,
            "held": 48212,
            "kept_aside": 1,
            "differs": 0,
            "agrees": True,
            "failed": None,
        }
    },
    "windows": {
        "order": {
            "since": SYNCED,
            "until": SYNCED,
            "complete": True,
            "content": "5d41402abc4b2a76b9719d911017c592",
        }
    },
    "counts": RUN["counts"],
    "gaps": [{"kind": "order", "why": "quarantined", "count": 1}],
    "unusually_empty": [],
    "digest": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    "previous": "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7",
    "signature": "Jx8mB3ndQ0m2Qk1vYQXo2FsicmVjZWlwdCIsIjJjZjI0ZGJhIl0",
    "intact": True,
    "finished_at": SYNCED,
}

JOB: Json = {
    "name": "erp-orders",
    "flow": "sync",
    "arguments": {"connection": "erp", "kinds": ["order"]},
    "schedule": {"every": 300.0},
    "after": ["erp-customers"],
    "full": {"cron": "0 3 * * sun", "timezone": "Europe/Berlin"},
    "paused": False,
    "last_tick": SYNCED,
    "next_due": RECEIVED,
    "alarms": [
        {
            "type": "late",
            "subject": "erp-orders",
            "detail": {"why": "held", "job": "erp-orders", "run": RUN_ID, "due": SYNCED},
            "raised_at": RECEIVED,
        }
    ],
    "last_run": RUN,
    "declared_at": SYNCED,
    "version": 1,
}

JOB_PAGE = _page(JOB)

_QUARANTINED: Json = {
    "id": INBOX_ID,
    "connection": "helpdesk",
    "trust": "signature",
    "problems": [{"place": "3:14", "reason": "a value was expected"}],
    "bytes": 41,
    "received_at": RECEIVED,
    "quarantined_at": HANDLED,
    "replays": 0,
}

QUARANTINED_DELIVERIES = _page(_QUARANTINED)
QUARANTINED_DELIVERY: Json = {
    **_QUARANTINED,
    "body": '{"type": "message.created",\n "data": {}',
    "truncated": False,
}

QUARANTINED_RECORDS = _page(
    {
        "ref": "erp:order:1017",
        "connection": "erp",
        "kind": "order",
        "id": "1017",
        "field": "status",
        "reason": "the table order_status has no entry for this value",
        "place": "mappings/tryton/order.map.yaml:21:5",
        "payload": {"state": "half-shipped"},
        "first_at": SYNCED,
        "last_at": SYNCED,
    }
)

EVENT_FEED: Json = {
    "data": [
        {
            "id": EVENT_ID,
            "type": "complaint.enriched",
            "subject": COMPLAINT_ID,
            "timestamp": HANDLED,
            "data": {
                "id": COMPLAINT_ID,
                "person_id": PERSON_ID,
                "provisional": False,
                "order": "erp:order:1001",
                "outcome": "link",
                "intent": "complaint",
                "reason": "damaged",
                "severity": "normal",
            },
        }
    ],
    "next_cursor": "e1041",
    "has_more": False,
}

_KEY: Json = {
    "id": OTHER_KEY_ID,
    "name": "helpdesk panel",
    "scopes": ["complaints:read", "people:read", "actions:create", "actions:read"],
    "role": "agent",
    "created_at": RECEIVED,
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": None,
}

KEY_MADE: Json = {"key": _KEY, "secret": "amends_live_019c9d…_shown-once"}
KEY_PAGE = _page(_KEY)

POLICY_BODY: Json = {
    "roles": ["agent", "lead", "manager"],
    "rules": [
        {
            "name": "big-remedies",
            "when": {"operations": ["credit", "replacement_order"], "over": {"EUR": "200"}},
            "then": {
                "approve": [
                    {"role": "lead", "within": "4h", "delegates": ["manager"]},
                ]
            },
        },
        {
            "name": "photo-of-damage",
            "when": {"reasons": ["damaged"], "over": {"EUR": "50"}},
            "then": {"need": {"attachment": True}},
            "in_doubt": "allow",
        },
    ],
    "caps": [
        {
            "name": "credits-per-customer",
            "when": {"operations": ["credit"]},
            "per": "customer",
            "window": "30d",
            "count": 3,
        }
    ],
}
_POLICY_LISTED: Json = {
    "version": 4,
    "source": "api",
    "author": KEY_ID,
    "reason": "Photos before replacements.",
    "created_at": "2026-11-21T09:00:00Z",
}
POLICY: Json = {**_POLICY_LISTED, "policy": POLICY_BODY}
POLICY_PAGE = _page(_POLICY_LISTED)


def _tally(outcome: str, was: int, would: int, *, worth: tuple[str | None, str | None]) -> Json:
    return {
        "outcome": outcome,
        "was": was,
        "would": would,
        "was_worth": [{"amount": worth[0], "currency": "EUR"}] if worth[0] else [],
        "would_be_worth": [{"amount": worth[1], "currency": "EUR"}] if worth[1] else [],
    }


BACKTEST: Json = {
    "since": "2026-10-22T00:00:00Z",
    "until": "2026-11-21T00:00:00Z",
    "judged": 41,
    "without_facts": 12,
    "differing": 1,
    "outcomes": [
        _tally("allow", 41, 40, worth=("2011.40", "1771.40")),
        _tally("approve", 0, 1, worth=(None, "240.00")),
        _tally("evidence", 0, 0, worth=(None, None)),
        _tally("refuse", 0, 0, worth=(None, None)),
    ],
    "differences": [
        {
            "action_id": ACTION_ID,
            "created_at": "2026-11-20T10:03:00Z",
            "operation": "credit",
            "value": {"amount": "240.00", "currency": "EUR"},
            "version": 3,
            "was": {"outcome": "allow", "stages": [], "missing": [], "cool_off": None, "says": []},
            "would": {
                "outcome": "approve",
                "stages": [{"role": "lead", "within": "4h", "delegates": ["manager"]}],
                "missing": [],
                "cool_off": None,
                "says": [
                    {
                        "rule": "big-remedies",
                        "asks": ["approve"],
                        "why": "worth 240.00 EUR, over the limit of 200 EUR",
                        "because": None,
                    }
                ],
            },
        }
    ],
    "complete": True,
    "next_cursor": None,
}
