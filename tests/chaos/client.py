"""A client as ours are told to be: one key for one click, sent again until it is answered."""

from __future__ import annotations

import itertools
import random
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.chaos.hubs import Hub, api, until
from tests.chaos.remotes import Line, Remotes

AT_ONCE = 8
ASKED_AGAIN = 0.1
"""The share of accepted actions that are posted again under their key: the answer went missing."""
PATIENCE_S = 240.0
"""How long nothing may move before what is left counts as stuck."""


@dataclass
class Posted:
    """One action, as its client knows it."""

    number: int
    body: dict[str, Any]
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    action_id: str | None = None
    """Set when it was accepted: answered 2xx."""
    refused: str | None = None
    """What a 4xx said, which no retry mends."""
    tries: int = 0


class Client:
    """Talks to whichever hub answers."""

    def __init__(self, hubs: Sequence[Hub], key: str) -> None:
        self._clients = [api(hub, key) for hub in hubs]
        self._turn: Iterator[httpx2.Client] = itertools.cycle(self._clients)
        self._lock = threading.Lock()

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def _next(self) -> httpx2.Client:
        with self._lock:
            return next(self._turn)

    def get(self, path: str) -> Any:
        """One answer of any hub; raises httpx2.HTTPError when none gives one."""
        for _ in self._clients[1:]:
            with suppress(httpx2.HTTPError):
                return self._ok(self._next().get(path))
        return self._ok(self._next().get(path))

    @staticmethod
    def _ok(answer: httpx2.Response) -> Any:
        answer.raise_for_status()
        return answer.json()

    def post(self, wanted: Posted, *, seconds: float = 300) -> None:
        """Post an action until it is accepted, or refused for good."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            wanted.tries += 1
            try:
                answer = self._next().post(
                    "/v1/actions", json=wanted.body, headers={"Idempotency-Key": wanted.key}
                )
            except httpx2.HTTPError:
                time.sleep(0.15)
                continue
            if answer.is_success:
                found = str(answer.json()["id"])
                if wanted.action_id not in (None, found):
                    raise RuntimeError("one idempotency key, two actions")
                wanted.action_id = found
                return
            # 409 under our own key: the first request is still being answered.
            if answer.status_code in (409, 429) or answer.status_code >= 500:
                if answer.status_code == 409 and "idempotency" not in answer.text:
                    wanted.refused = answer.text
                    return
                time.sleep(0.2)
                continue
            wanted.refused = f"{answer.status_code} {answer.text}"
            return
        raise RuntimeError(f"action {wanted.number} was never answered")


def bodies(lines: Sequence[Line], complaints: dict[str, str], count: int) -> list[dict[str, Any]]:
    """Three-step actions, each on an order line of its own: order, case and note.

    `complaints` are the complaints of customers, by customer number; the note of an action goes to
    the conversation of one of them.
    """
    if count > len(lines):
        raise ValueError(f"{count} actions need as many order lines; there are {len(lines)}")
    talk = itertools.cycle(complaints.values())
    return [
        {
            "operation": "replacement_order",
            "complaint_id": complaints.get(line.customer) or next(talk),
            "request": {
                "order": f"erp:order:{line.order}",
                "lines": [
                    {"line": line.line, "sku": line.sku, "quantity": "1"}
                    | ({"unit": line.unit} if line.unit else {})
                ],
                "speed": "rush",
                "reason": "damaged",
            },
            "case": {"subject": f"Replacement {number:04}", "priority": "high"},
            "note": f"Replacement {number:04} is on its way.",
        }
        for number, line in enumerate(lines[:count])
    ]


def begin(client: Client, remotes: Remotes, *, conversations: int) -> dict[str, str]:
    """Have the hub know orders and complaints: synced, and by the helpdesk's webhook.

    Answers the complaints by the number of the customer who wrote.
    """
    until(
        lambda: client.get("/v1/jobs/orders/runs")["data"][0]["state"] == "done",
        seconds=120,
        what="the orders are synced",
    )
    customers = list(dict.fromkeys(line.customer for line in remotes.at.lines))[:conversations]
    spoken = {str(remotes.write(who, "It arrived broken.")): who for who in customers}

    def heard() -> dict[str, str] | None:
        listed = client.get("/v1/complaints?limit=200")["data"]
        found = {spoken[c["conversation"]]: c["id"] for c in listed if c["conversation"] in spoken}
        return found if len(found) == len(spoken) else None

    found: dict[str, str] = until(heard, seconds=120, what="the complaints arrived")
    return found


def post_all(
    client: Client, wanted: Sequence[Posted], *, over_s: float, seed: int
) -> threading.Thread:
    """Post these spread over a time, several at once; answers the thread that does it."""
    dice = random.Random(seed)
    again = [w for w in wanted if dice.random() < ASKED_AGAIN]
    began = time.monotonic()
    errors: list[BaseException] = []

    def part(mine: Sequence[Posted]) -> None:
        try:
            for posted in mine:
                due = began + over_s * posted.number / max(len(wanted), 1)
                time.sleep(max(0.0, due - time.monotonic()))
                client.post(posted)
                if posted in again:
                    client.post(posted)
        except BaseException as error:
            errors.append(error)

    def whole() -> None:
        threads = [
            threading.Thread(target=part, args=(wanted[n::AT_ONCE],), daemon=True)
            for n in range(AT_ONCE)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    thread = threading.Thread(target=whole, name="client", daemon=True)
    thread.start()
    return thread


def states(client: Client) -> dict[str, str]:
    """The state of every action that the hub knows, by its id."""
    found: dict[str, str] = {}
    path = "/v1/actions?limit=200"
    while path:
        page = client.get(path)
        found |= {action["id"]: action["state"] for action in page["data"]}
        cursor = page["next_cursor"]
        path = f"/v1/actions?limit=200&cursor={cursor}" if cursor else ""
    return found


ENDED = frozenset({"done", "refused", "partial", "rejected", "expired", "cancelled"})


def wait_for_all(client: Client, *, patience_s: float = PATIENCE_S) -> dict[str, str]:
    """Wait until no action is under way, or nothing has moved for too long; answers all states."""
    last: dict[str, str] = {}
    moved = time.monotonic()
    while True:
        try:
            now = states(client)
        except httpx2.HTTPError:
            now = last
        if now and all(state in ENDED or state == "unknown" for state in now.values()):
            return now
        if now != last:
            last, moved = now, time.monotonic()
        elif time.monotonic() - moved > patience_s:
            return now
        time.sleep(0.5)
