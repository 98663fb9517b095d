"""The examples of the link ledger and the review queue, in the story of `examples`.

Kim's brother writes from the account that her CRM contact has on file, and Kim is a customer twice.
"""

from __future__ import annotations

from typing import Any

from middleware.api.examples import (
    COMPLAINT_ID,
    HANDLED,
    IDENTITY_ID,
    KEY_ID,
    LINK,
    PERSON_ID,
    RESOLUTION,
    SYNCED,
)

OTHER_PERSON_ID = "per_019c9d6f3a5e7c41b1d0a2f4c6e88a42"
CANNOT_ID = "cnl_019c9d6f3a5e7c41b1d0a2f4c6e88a91"
CHANGE_ID = "chg_019c9d6f3a5e7c41b1d0a2f4c6e88a92"
REVIEW_ID = "rvw_019c9d6f3a5e7c41b1d0a2f4c6e88a93"
UNDOING_ID = "chg_019c9d6f3a5e7c41b1d0a2f4c6e88a94"
LATER = "2026-11-22T08:00:00Z"
VERSION = "exact-5d0f1c2a/9b3e7a41"

Json = dict[str, Any]


def _page(*items: Json) -> Json:
    return {"data": list(items), "next_cursor": None, "has_more": False}


CANNOT_LINK: Json = {
    "id": CANNOT_ID,
    "one": IDENTITY_ID,
    "other": PERSON_ID,
    "reason": "He is her brother; they share the tablet.",
    "source": "agent",
    "decided_by": KEY_ID,
    "valid_from": HANDLED,
    "valid_to": None,
    "lifted_by": None,
    "lifted_reason": None,
    "version": 1,
}

CANNOT_LINK_PAGE = _page(CANNOT_LINK)

CANNOT_LINK_LIFTED: Json = {
    **CANNOT_LINK,
    "valid_to": LATER,
    "lifted_by": KEY_ID,
    "lifted_reason": "It is her second account, she wrote from both.",
    "version": 2,
}

_MOVES: Json = {
    "identities": [IDENTITY_ID],
    "records": ["crm:contact:003A1"],
    "complaints": [COMPLAINT_ID],
    "actions": [],
    "open_actions": [],
    "claims": [],
}

MERGE_PREVIEW: Json = {
    "kind": "merge",
    "person_id": PERSON_ID,
    "other_id": OTHER_PERSON_ID,
    "moves": _MOVES,
    "conflicts": [
        {
            "kind": "unique_id",
            "detail": "erp:account:501 and erp:account:502 have different ids in tax_id, of which "
            "a customer has one",
            "things": ["erp:account:501", "erp:account:502"],
        }
    ],
    "preview_token": "b07a6f1d2c3e4f5061728394a5b6c7d8",
}

SPLIT_PREVIEW: Json = {**MERGE_PREVIEW, "kind": "split", "other_id": None, "conflicts": []}

MERGED: Json = {
    "id": CHANGE_ID,
    "kind": "merge",
    "person_id": PERSON_ID,
    "other_id": OTHER_PERSON_ID,
    "identities": [IDENTITY_ID],
    "records": ["crm:contact:003A1"],
    "complaints": [COMPLAINT_ID],
    "actions": [],
    "left_out": [],
    "reason": "The same customer number and voice.",
    "made_by": KEY_ID,
    "made_at": HANDLED,
    "undoes": None,
    "undone_by": None,
    "undone_at": None,
}

SPLIT: Json = {**MERGED, "kind": "split", "reason": "He wrote from her account on file."}

UNDONE: Json = {
    **MERGED,
    "id": UNDOING_ID,
    "kind": "undo",
    "reason": "They are mother and daughter.",
    "made_at": LATER,
    "undoes": CHANGE_ID,
}

CHANGES: Json = {"data": [{**MERGED, "undone_by": UNDOING_ID, "undone_at": LATER}, UNDONE]}

_RULES: Json = {
    "enabled": True,
    "link_from": 16.0,
    "margin": 6.0,
    "review_from": 5.0,
    "inferred": False,
    "inferred_networks": [],
    "strangers": 0.8,
    "likeness": "2026-11-22.3",
    "blocked": "",
    "version": VERSION,
}

WHY: Json = {
    "says": f"{KEY_ID} said that they are not: He is her brother; they share the tablet.",
    "together": False,
    "one": {"thing": IDENTITY_ID, "person_id": None, "link": None, "ended": []},
    "other": {"thing": "crm:contact:003A1", "person_id": PERSON_ID, "link": LINK, "ended": []},
    "cannot_links": [CANNOT_LINK],
    "evidence": [
        {
            "kind": "email",
            "detail": "the same e-mail k…@example.com",
            "weight": 20.0,
            "basis": "customer_provided",
            "compared": None,
            "rarity": None,
            "at": SYNCED,
        },
        {
            "kind": "cannot_link",
            "detail": "somebody said that it is not them",
            "weight": -64.0,
            "basis": "agent",
            "compared": None,
            "rarity": None,
            "at": None,
        },
    ],
    "score": -44.0,
    "decision": {
        "outcome": "none",
        "why": "somebody said that it is not whom the evidence names",
        "margin": None,
        "chosen": [],
        "version": VERSION,
    },
    "weighed": None,
    "rules": _RULES,
    "labels": [],
}

REVIEW: Json = {
    "id": REVIEW_ID,
    "kind": "review",
    "state": "open",
    "identity_id": IDENTITY_ID,
    "complaint_id": COMPLAINT_ID,
    "link_id": None,
    "candidates": RESOLUTION["candidates"],
    "outcome": "review",
    "why": "several persons share what agrees",
    "version_decided": VERSION,
    "urgency": 3.2,
    "terms": {"reach": 2.0, "severity": 2.0, "uncertainty": 0.8},
    "claimed_by": f"{KEY_ID}/anna",
    "claimed_until": "2026-11-21T10:10:02Z",
    "answer": None,
    "answered_by": None,
    "answered_at": None,
    "opened_at": HANDLED,
    "updated_at": HANDLED,
    "version": 1,
}

REVIEW_PAGE = _page(REVIEW)

REVIEW_CLAIM: Json = {
    "id": REVIEW_ID,
    "holder": f"{KEY_ID}/anna",
    "taken_at": HANDLED,
    "expires_at": "2026-11-21T10:10:02Z",
}

REVIEW_ANSWERED: Json = {
    **REVIEW,
    "state": "answered",
    "claimed_by": None,
    "claimed_until": None,
    "answer": {
        "said": "this",
        "candidate": 0,
        "reason": "She names the order in a direct message.",
        "person": PERSON_ID,
        "link": LINK["id"],
        "cannot_links": [],
    },
    "answered_by": f"{KEY_ID}/anna",
    "answered_at": LATER,
    "updated_at": LATER,
    "version": 2,
}

REVIEW_BACKTEST: Json = {
    "version": "exact-5d0f1c2a/4c1d90fe",
    "decided": 812,
    "reviews": 31,
    "links": [
        {
            "complaint_id": COMPLAINT_ID,
            "identity_id": IDENTITY_ID,
            "was": "review",
            "would": "link",
            "things": [PERSON_ID, "crm:contact:003A1"],
            "why": "order SO-10001 is theirs; 14.5 bits",
            "said": "same",
            "decided_under": VERSION,
        }
    ],
    "unlinks": [],
    "was": {"links": 640, "right": 57, "wrong": 0, "precision": 1.0},
    "would": {"links": 672, "right": 61, "wrong": 1, "precision": 0.9838709677419355},
    "after": None,
}
