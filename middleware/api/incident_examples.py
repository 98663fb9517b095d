"""The examples of incidents, drafts and hand-offs, in the story of `examples`."""

from __future__ import annotations

from typing import Any

from middleware.api.examples import COMPLAINT_ID, HANDLED, KEY_ID, PERSON_ID

INCIDENT_ID = "inc_019c9d6f3a5e7c41b1d0a2f4c6e88b01"
HANDOFF_ID = "hnd_019c9d6f3a5e7c41b1d0a2f4c6e88b02"
SINCE = "2026-11-21T09:40:00Z"

Json = dict[str, Any]

INCIDENT: Json = {
    "id": INCIDENT_ID,
    "state": "open",
    "key": "lot:L77",
    "title": "lot L77",
    "onset_at": SINCE,
    "opened_at": HANDLED,
    "last_at": HANDLED,
    "over_at": None,
    "found": 8,
    "expected": 0.02,
    "surprise": 12.4,
    "complaints": 8,
    "persons": 8,
    "reach": 12840,
    "growth_per_hour": 8,
    "proposed": {
        "operation": "replacement_order",
        "reason": "damaged",
        "why": "7 of 8 are about damaged",
        "of": 8,
    },
    "decided_by": None,
    "decided_at": None,
    "reason": None,
    "updated_at": HANDLED,
    "version": 1,
}

INCIDENT_PAGE: Json = {"data": [INCIDENT], "next_cursor": None, "has_more": False}

INCIDENT_DETAIL: Json = {
    **INCIDENT,
    "keys": [
        {"key": "lot:L77", "gives": True, "since": SINCE},
        {"key": "sku:LMP-100", "gives": True, "since": SINCE},
        {"key": "topic:damaged", "gives": False, "since": SINCE},
    ],
    "affected": 41,
    "silent": 33,
    "affected_state": "listed",
}

INCIDENT_CONFIRMED: Json = {
    **INCIDENT_DETAIL,
    "state": "confirmed",
    "decided_by": KEY_ID,
    "decided_at": HANDLED,
    "version": 2,
}

INCIDENT_ENDED: Json = {
    **INCIDENT_CONFIRMED,
    "state": "closed",
    "reason": "The lot is out of the shops.",
    "version": 3,
}

INCIDENT_MEMBER_PAGE: Json = {
    "data": [
        {
            "complaint": {
                "id": COMPLAINT_ID,
                "connection": "chatwoot",
                "conversation": "4711",
                "network": "x",
                "state": "open",
                "person_id": PERSON_ID,
                "order": "erp:order:SO-10001",
                "intent": "complaint",
                "reason": "damaged",
                "severity": "normal",
                "outcome": "link",
                "opened_at": HANDLED,
                "updated_at": HANDLED,
            },
            "reach": 310,
            "put_by": None,
        }
    ],
    "next_cursor": None,
    "has_more": False,
}

ELIGIBILITY_PAGE: Json = {
    "data": [
        {
            "order": "erp:order:SO-10001",
            "number": "SO-10001",
            "lines": ["1"],
            "complaint_id": COMPLAINT_ID,
            "person_id": PERSON_ID,
            "outcome": "allow",
            "why": [],
            "action": {
                "operation": "replacement_order",
                "request": {
                    "order": "erp:order:SO-10001",
                    "lines": [{"line": "1", "sku": "LMP-100", "quantity": "1"}],
                    "reason": "damaged",
                },
                "complaint_id": COMPLAINT_ID,
                "person_id": PERSON_ID,
            },
            "worth": {"amount": "49.90", "currency": "EUR"},
        },
        {
            "order": "erp:order:SO-10007",
            "number": "SO-10007",
            "lines": ["2"],
            "complaint_id": None,
            "person_id": None,
            "outcome": "approve",
            "why": [
                "approval_of_strangers: the order is not linked to the person who complains",
            ],
            "action": None,
            "worth": None,
        },
    ],
    "next_cursor": None,
    "has_more": False,
}
