"""The examples of incidents, drafts and hand-offs, in the story of `examples`."""

from __future__ import annotations

from typing import Any

from middleware.api.examples import COMPLAINT_ID, COMPLAINT_LISTED, HANDLED, KEY_ID, PERSON_ID

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
    "merged_into": None,
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
    "words": ["lamp", "broken", "shade"],
    "samples": [{"complaint_id": COMPLAINT_ID, "text": "The shade of my lamp came broken."}],
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
            "complaint": COMPLAINT_LISTED,
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

_WINDOW: Json = {"open": True, "way": None, "until": None, "once": False}

DRAFT_PRIVATE: Json = {
    "channel": "private",
    "language": "en",
    "text": "Hello Kim, we are sorry that it arrived damaged. This is about your order SO-10001. "
    "A replacement is ordered, under the number SO-20001.",
    "sentences": [
        {"text": "Hello Kim,", "facts": ["name"]},
        {"text": "we are sorry that it arrived damaged.", "facts": ["reason"]},
        {"text": "This is about your order SO-10001.", "facts": ["order_number"]},
        {
            "text": "A replacement is ordered, under the number SO-20001.",
            "facts": ["done_replacement_order", "action_number"],
        },
    ],
    "facts": [
        {
            "name": "order_number",
            "value": "SO-10001",
            "source": "erp:order:SO-10001",
            "personal": True,
        }
    ],
    "length": 124,
    "limit": 10000,
    "window": _WINDOW,
    "warnings": [],
}

DRAFT_PUBLIC: Json = {
    "channel": "public",
    "language": "en",
    "text": "Hello, we are sorry that it arrived damaged. Please send us a direct message, so that "
    "we can look at your order.",
    "sentences": [
        {"text": "Hello,", "facts": []},
        {"text": "we are sorry that it arrived damaged.", "facts": ["reason"]},
        {
            "text": "Please send us a direct message, so that we can look at your order.",
            "facts": ["direct_messages"],
        },
    ],
    "facts": [
        {
            "name": "reason",
            "value": "damaged",
            "source": f"complaint {COMPLAINT_ID}",
            "personal": False,
        }
    ],
    "length": 112,
    "limit": 280,
    "window": _WINDOW,
    "warnings": [],
}

DRAFTS: Json = {
    "advice": {
        "channel": "private",
        "why": "what there is to say is about the customer's order",
    },
    "drafts": [DRAFT_PRIVATE, DRAFT_PUBLIC],
}

DRAFT_CHECK: Json = {
    "may_be_sent": False,
    "length": 61,
    "limit": 280,
    "window": _WINDOW,
    "warnings": [
        {
            "code": "promise",
            "detail": "“tomorrow” promises something, and no action is done that stands behind it",
            "blocks": True,
        },
        {
            "code": "personal_data",
            "detail": "it tells everybody the customer's order_number",
            "blocks": True,
        },
    ],
}

SLOTS: Json = {
    "data": [{"slot_from": "2026-11-23T08:00:00Z", "slot_to": "2026-11-23T08:30:00Z"}],
    "timezone": "Europe/Berlin",
}

HANDOFF_MADE: Json = {
    "id": HANDOFF_ID,
    "complaint_id": COMPLAINT_ID,
    "to": "call centre",
    "reason": "She asks to be called.",
    "made_by": KEY_ID,
    "made_at": HANDLED,
    "expires_at": "2026-11-24T10:00:02Z",
}

HANDOFF: Json = {
    **HANDOFF_MADE,
    "packet": {
        "complaint": {"id": COMPLAINT_ID, "network": "x", "state": "open"},
        "thread": [
            {
                "source_id": "m-1",
                "outgoing": False,
                "internal": False,
                "automatic": False,
                "text": "My lamp arrived broken",
            }
        ],
        "identity": {"person_id": PERSON_ID, "outcome": "link", "why": "e-mail on file"},
        "orders": [{"ref": "erp:order:SO-10001", "meant": True, "number": "SO-10001"}],
        "promises": [],
        "actions": [],
        "windows": [{"channel": "private", "longest": 10000, "ways": []}],
        "claims": [],
    },
    "changed": {},
}
