"""Examples of claims, merges and moves. In the story of `examples`, Kim also wrote an e-mail."""

from __future__ import annotations

from middleware.api.examples import (
    COMPLAINT,
    COMPLAINT_ID,
    HANDLED,
    KEY_ID,
    PERSON_ID,
    WRITTEN,
    Json,
)

CLAIM_ID = "clm_019c9d6f3a5e7c41b1d0a2f4c6e88b11"
OTHER_ID = "cmp_019c9d6f3a5e7c41b1d0a2f4c6e88b12"
MERGE_ID = "mrg_019c9d6f3a5e7c41b1d0a2f4c6e88b13"
MOVE_ID = "mov_019c9d6f3a5e7c41b1d0a2f4c6e88b14"

CLAIM: Json = {
    "id": CLAIM_ID,
    "subject": COMPLAINT_ID,
    "kind": "complaint",
    "holder": f"{KEY_ID}/anna",
    "tool": "helpdesk",
    "taken_at": HANDLED,
    "expires_at": "2026-11-21T10:30:02Z",
    "note": "Promised her a new lamp by Friday.",
    "actions": [],
    "complaint_id": COMPLAINT_ID,
    "person_id": PERSON_ID,
    "order": "erp:order:1001",
    "offered_to": None,
    "version": 1,
}

CLAIM_PAGE: Json = {"data": [CLAIM], "next_cursor": None, "has_more": False}

CLAIM_OFFERED: Json = {**CLAIM, "offered_to": f"{KEY_ID}/ben", "version": 2}

CLAIM_HANDED_OVER: Json = {**CLAIM, "holder": f"{KEY_ID}/ben", "version": 3}

CLAIM_ASKED: Json = {
    "complaint_id": COMPLAINT_ID,
    "agent": "anna",
    "tool": "helpdesk",
    "note": "Promised her a new lamp by Friday.",
}

LINE_ASKED: Json = {"order": "erp:order:1001", "line": "1", "agent": "ben", "minutes": 60}

_MERGE: Json = {
    "id": MERGE_ID,
    "main_id": COMPLAINT_ID,
    "other_id": OTHER_ID,
    "state": "merged",
    "decided_by": "hub",
    "score": 10.0,
    "reasons": [
        {"what": "both name the same order", "points": 6.0},
        {"what": "both are about damaged", "points": 3.0},
        {"what": "told within half a day", "points": 1.0},
    ],
    "reason": None,
    "at": HANDLED,
    "ended_by": None,
    "ended_reason": None,
    "ended_at": None,
}

_MAIL: Json = {
    **COMPLAINT["arrivals"][0],
    "source_id": "mail-88",
    "complaint_id": OTHER_ID,
    "connection": "helpdesk",
    "network": "email",
    "handle": None,
    "text": "The lamp of SO-10001 came broken, please send a new one.",
}

MERGED: Json = {
    **COMPLAINT,
    "merges": [_MERGE],
    "arrivals": [*COMPLAINT["arrivals"], _MAIL],
    "version": COMPLAINT["version"] + 1,
}

SPLIT: Json = {
    **COMPLAINT,
    "merges": [
        {
            **_MERGE,
            "state": "split",
            "ended_by": KEY_ID,
            "ended_reason": "The e-mail is about another lamp.",
            "ended_at": HANDLED,
        }
    ],
    "version": COMPLAINT["version"] + 2,
}

MOVED: Json = {
    **COMPLAINT,
    "brand_account": "hearth_help",
    "moves": [
        {
            "id": MOVE_ID,
            "from_account": "hearth_home",
            "to_account": "hearth_help",
            "from_team": None,
            "to_team": None,
            "reason": "She bought it from the other brand.",
            "moved_by": KEY_ID,
            "moved_at": WRITTEN,
        }
    ],
    "version": COMPLAINT["version"] + 1,
}

INVITATION_FOLLOWED: Json = {
    "complaint_id": COMPLAINT_ID,
    "network": "x",
    "brand_account": None,
    "language": "en",
    "messages": [
        {"ours": False, "text": "My lamp from order SO-10001 arrived broken", "at": WRITTEN}
    ],
    "promises": [
        {
            "operation": "replacement_order",
            "numbers": ["SO-10077"],
            "deliver_by": "2026-11-24",
            "slot_from": None,
            "slot_to": None,
        }
    ],
    "used_at": HANDLED,
}
