"""The examples of the queue, in the story of `examples`."""

from __future__ import annotations

from typing import Any

from middleware.domain.rulebook import RuleBook
from middleware.domain.rulebook_file import full_body_of

Json = dict[str, Any]

_ID = "cmp_019c9d6f3a5e7c41b1d0a2f4c6e88a21"
_KEY = "key_019c9d6f3a5e7c41b1d0a2f4c6e88a81"
WRITTEN = "2026-11-21T10:00:00Z"
SCORED = "2026-11-21T10:00:03Z"
DUE = "2026-11-21T11:00:00Z"

_CLOCK_ID = "clk_019c9d6f3a5e7c41b1d0a2f4c6e88ab1"


def _term(name: str, given: Json, points: float, why: str, *, known: bool = True) -> Json:
    return {
        "name": name,
        "input": given,
        "known": known,
        "weight": 1.0,
        "points": points,
        "why": why,
    }


SCORE: Json = {
    "points": 2.5,
    "terms": [
        _term("severity", {"value": "normal"}, 0.0, "severity normal"),
        _term("sentiment", {"value": "negative"}, 1.0, "sentiment negative"),
        _term("intent", {"value": "complaint"}, 0.0, "intent complaint"),
        _term(
            "value",
            {"tier": "gold", "open_orders": 1, "years": 1.0},
            1.45,
            "tier gold, 1 open orders, 1 years a customer (not known: revenue)",
        ),
        _term("influence", {"followers": 260}, 0.05, "260 followers"),
        _term("time", {"clock": "first_response", "used": 0.0}, 0.0, "0% of the time for the first "
              "response is used"),
        _term("repeat", {"others": 0, "unanswered": 1}, 0.0, "the first contact"),
        _term("growth", {}, 0.0, "no growth of reach was told; counts as neutral", known=False),
    ],
    "floor": -2.0,
    "floored": False,
    "rulebook_version": 3,
    "at": SCORED,
    "next_at": "2026-11-21T10:30:00Z",
}  # fmt: skip

CLOCK: Json = {
    "id": _CLOCK_ID,
    "kind": "first_response",
    "number": 1,
    "state": "running",
    "target": "within-the-hour",
    "promised_s": 3600.0,
    "used_s": 3.0,
    "started_at": WRITTEN,
    "due_at": DUE,
    "ended_at": None,
    "rulebook_version": 3,
}

STEP: Json = {
    "step": "hour-is-up",
    "clock_id": _CLOCK_ID,
    "state": "due",
    "due_at": DUE,
    "fired_at": None,
    "late_s": None,
    "detail": {},
}

LISTED: Json = {"priority": 2.5, "due_at": DUE, "team": "care", "brand_account": None}
SHOWN: Json = {
    "priority": SCORE,
    "due_at": DUE,
    "team": "care",
    "clocks": [CLOCK],
    "escalations": [STEP],
}

RULES_BODY: Json = {
    "calendars": {
        "office": {
            "zone": "Europe/Berlin",
            "open": {day: ["08:00-12:00", "13:00-18:00"] for day in ("mon", "tue", "wed", "thu")},
            "holidays": {"12-25": [], "2026-12-24": ["08:00-12:00"]},
        }
    },
    "targets": [
        {"name": "gold", "when": {"tier": "gold"}, "first_response": "30m"},
        {
            "name": "mail",
            "when": {"channel": "email"},
            "first_response": "4h",
            "calendar": "office",
        },
        {"name": "rest", "first_response": "1h", "next_response": "4h", "resolution": "3d"},
    ],
    "people": {"anna": "anna@example.com", "ben": "ben@example.com"},
    "rota": {
        "zone": "Europe/Berlin",
        "hours": "office",
        "first": "2026-01-05T08:00:00",
        "every": "7d",
        "people": ["anna", "ben"],
    },
    "escalations": [
        {"name": "hour-is-up", "used": 1.0, "assign": "leads", "add": 2.0, "email": "on_call"}
    ],
}

RULES: Json = {
    "version": 3,
    "source": "api",
    "author": _KEY,
    "reason": "Gold within half an hour.",
    "created_at": "2026-11-20T09:00:00Z",
    "rules": full_body_of(RuleBook()),
    "warnings": [],
}

RULES_PAGE: Json = {
    "data": [{name: value for name, value in RULES.items() if name not in ("rules", "warnings")}],
    "next_cursor": None,
    "has_more": False,
}

SIMULATION: Json = {
    "since": "2026-10-22T10:00:00Z",
    "until": "2026-11-21T10:00:00Z",
    "version": 3,
    "complaints": 412,
    "unscored": 0,
    "complete": True,
    "moved": 96,
    "up": 31,
    "down": 65,
    "top": 50,
    "overlap": 44,
    "terms": {"value": 90, "time": 12},
    "moves": [
        {
            "complaint_id": _ID,
            "opened_at": WRITTEN,
            "was": 2.5,
            "would": 4.5,
            "was_rank": 80,
            "would_rank": 12,
            "up": 68,
            "term": "value",
            "by": 2.0,
            "why": "tier gold",
        }
    ],
}

ON_CALL: Json = {"at": "2026-11-21T02:00:00Z", "on_call": "ben", "rulebook_version": 3}

REPORT: Json = {
    "since": "2026-10-22T10:00:00Z",
    "until": "2026-11-21T10:00:00Z",
    "by": "channel",
    "groups": [
        {
            "kind": "first_response",
            "group": "x",
            "started": 400,
            "answered": 380,
            "answered_share": 0.95,
            "within_hour": 352,
            "within_hour_share": 0.88,
            "kept": 360,
            "breached": 34,
            "median_s": 1240.0,
            "p90_s": 3105.0,
            "slowest_s": 90210.0,
        }
    ],
    "escalations": {
        "fired": 41,
        "waiting": 0,
        "median_s": 1.1,
        "p99_s": 2.4,
        "latest_s": 2.6,
    },
}
