"""A client as ours are told to be: one key for one click, sent again until it is answered."""

from __future__ import annotations

import itertools
import random
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2

from tests.chaos.hubs import Hub, api, until
from tests.chaos.remotes import Line, Remotes

AT_ONCE = 8
UNDONE = 0.1
"""The share of actions that are taken back once they are done."""
PERSISTS = 0.7
"""The share of clients that do not take a refusal for the end."""
ASKED_AGAIN = 0.1
"""The share of accepted actions that are posted again under their key: the answer went missing."""
TELLS_EVERY_S = 20.0
FEW = 0.03
"""The share of actions at whose end the remotes recover."""
PATIENCE_S = 420.0
"""How long nothing may move before what is left counts as stuck: longer than the longest backoff,
which is what a step waits for that has failed nine times in a row."""


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
    sku: str = ""
    undo: Posted | None = None
    """What is posted once it is done, to take it back."""
    persists: bool = False
    """Whether its client asks again for what was refused, and finishes what is half done."""
    asked_again: bool = False
    path: str = "/v1/actions"


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


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
        *others, last = itertools.islice(self._turns(), len(self._clients))
        for client in others:
            with suppress(httpx2.HTTPError):
                return self._ok(client.get(path))
        return self._ok(last.get(path))

    def _turns(self) -> Iterator[httpx2.Client]:
        """All clients, each caller's from where the last began."""
        first = self._clients.index(self._next())
        return itertools.chain(self._clients[first:], self._clients[:first])

    @staticmethod
    def _ok(answer: httpx2.Response) -> Any:
        answer.raise_for_status()
        return answer.json()

    def post(self, wanted: Posted, *, seconds: float = 600) -> None:
        """Post an action, or an undo, until it is accepted, or refused for good."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            wanted.tries += 1
            try:
                answer = self._next().post(
                    wanted.path, json=wanted.body, headers={"Idempotency-Key": wanted.key}
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

    def tell(self, path: str, body: Any) -> bool:
        """Say something that may be said twice; whether a hub took it."""
        with suppress(httpx2.HTTPError):
            return self._next().post(path, json=body).is_success
        return False


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


def plans(
    lines: Sequence[Line], complaints: dict[str, str], count: int, *, seed: int
) -> list[Posted]:
    """What is posted, and what its clients have in mind for later."""
    dice = random.Random(seed)
    found = []
    for number, body in enumerate(bodies(lines, complaints, count)):
        posted = Posted(number, body, sku=lines[number].sku, persists=dice.random() < PERSISTS)
        if dice.random() < UNDONE:
            reason = f"Turned up after all, {number:04}."
            told = {"reason": reason, "note": f"Replacement {number:04} is called off."}
            posted.undo = Posted(number, told, persists=True)
        found.append(posted)
    return found


def begin(client: Client, remotes: Remotes, *, conversations: int) -> dict[str, str]:
    """Have the hub know orders and complaints: synced, and by the helpdesk's webhook.

    Answers the complaints by the number of the customer who wrote.
    """
    until(
        lambda: client.get("/v1/jobs/orders/runs")["data"][0]["state"] == "done",
        seconds=300,
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

    def part(first: int) -> None:
        try:
            for number in range(first, len(wanted), AT_ONCE):
                posted = wanted[number]
                due = began + over_s * number / len(wanted)
                time.sleep(max(0.0, due - time.monotonic()))
                client.post(posted)
                if posted in again:
                    client.post(posted)
        except BaseException as error:
            errors.append(error)

    def whole() -> None:
        threads = [threading.Thread(target=part, args=(n,), daemon=True) for n in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    thread = threading.Thread(target=whole, name="client", daemon=True)
    thread.start()
    return thread


def listing(client: Client) -> dict[str, dict[str, Any]]:
    """Every action that the hub knows, by its id, as it lists it."""
    found: dict[str, dict[str, Any]] = {}
    path = "/v1/actions?limit=200"
    while path:
        page = client.get(path)
        found |= {action["id"]: action for action in page["data"]}
        cursor = page["next_cursor"]
        path = f"/v1/actions?limit=200&cursor={cursor}" if cursor else ""
    return found


def states(client: Client) -> dict[str, str]:
    """The state of every action that the hub knows, by its id."""
    return {action_id: action["state"] for action_id, action in listing(client).items()}


def details(client: Client, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """These actions with all that the hub says of them."""
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(ids, pool.map(lambda i: client.get(f"/v1/actions/{i}"), ids), strict=True))


class People(threading.Thread):
    """People who look after actions while all goes wrong.

    They take back some of what is done, finish what is half done, ask again under a new key for
    what was out of stock, and resume connections that were stopped.
    """

    def __init__(self, client: Client, everything: list[Posted], *, given_up: str) -> None:
        super().__init__(name="people", daemon=True)
        self._client = client
        self._everything = everything
        self._given_up = given_up
        """The product that nobody asks for again."""
        self._leave = threading.Event()
        self.idle = 0
        """For how many rounds there was nothing to do."""
        self.resumed = 0
        self.finished = 0
        self.error: BaseException | None = None

    def stop(self) -> None:
        self._leave.set()
        self.join()
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        while not self._leave.wait(1 + len(self._everything) / 400):
            try:
                self.idle = self.idle + 1 if self._round() == 0 else 0
            except httpx2.HTTPError:
                self.idle = 0
            except BaseException as error:
                self.error = error
                return

    def _round(self) -> int:
        done = 0
        for connection in self._client.get("/v1/connections")["data"]:
            if connection["state"] == "stopped":
                resumed = self._client.tell(f"/v1/connections/{connection['name']}/resume", {})
                self.resumed += resumed
                done += 1
        known = states(self._client)
        for posted in list(self._everything):
            if self._leave.is_set():
                return 1
            state = known.get(posted.action_id or "")
            if state is not None and self._see_to(posted, state):
                done += 1
        return done

    def _see_to(self, posted: Posted, state: str) -> bool:
        """Do what its client wants now; whether there was something."""
        undo = posted.undo
        if state == "done" and undo is not None and undo.action_id is None and not undo.refused:
            undo.path = f"/v1/actions/{posted.action_id}/undo"
            self._client.post(undo)
            self._everything.append(undo)
            return True
        if state == "partial" and posted.persists:
            self.finished += self._client.tell(f"/v1/actions/{posted.action_id}/finish", {})
            return True
        if state == "refused" and posted.persists and not posted.asked_again:
            if posted.sku == self._given_up or posted.path != "/v1/actions":
                return False
            posted.asked_again = True
            anew = replace(
                posted, key=str(uuid.uuid4()), action_id=None, tries=0, asked_again=False
            )
            self._client.post(anew)
            self._everything.append(anew)
            return True
        return False


ENDED = frozenset({"done", "refused", "partial", "rejected", "expired", "cancelled"})


def wait_for_all(
    client: Client,
    people: People | None = None,
    *,
    patience_s: float = PATIENCE_S,
    recover: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    """Wait until no action is under way and nobody has anything to do, or until nothing has moved
    for too long; answers all states.

    When few are left `recover` is called once: a step that has failed nine times waits for five
    minutes, and then fails as likely as not once more.
    """
    recovered = False
    last: dict[str, str] = {}
    moved = told = time.monotonic()
    while True:
        try:
            now = states(client)
        except httpx2.HTTPError:
            now = last
        quiet = people is None or people.idle >= 2 or not people.is_alive()
        if now and quiet and all(state in ENDED or state == "unknown" for state in now.values()):
            return now
        left = sum(state not in ENDED and state != "unknown" for state in now.values())
        if now and not recovered and left <= max(1, len(now) * FEW):
            recovered = True
            recover()
        if now != last:
            last, moved = now, time.monotonic()
        elif time.monotonic() - moved > patience_s:
            return now
        if time.monotonic() - told > TELLS_EVERY_S:
            told = time.monotonic()
            say(", ".join(f"{count} {state}" for state, count in Counter(now.values()).items()))
        time.sleep(0.5 + len(now) / 400)
