"""Accepting a webhook durably, against a bare endpoint that inserts one row.

Both take the same bodies over the same number of connections from the same client, in turn. The
hub's worker is off (`amends serve --no-work`): what is measured is verifying, storing and enqueuing
before the 2xx.
"""

from __future__ import annotations

import json
import statistics
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from middleware.inlets.generic import sign
from tests.bench import places
from tests.bench.load import Measured, measure, percentile, request

CONNECTIONS = 32
MOST_PER_SECOND = 3000
"""How many requests are made ready for each second; a server that takes more ends its round."""


@dataclass(frozen=True)
class Size:
    rounds: int
    seconds: float


FULL = Size(rounds=5, seconds=4.0)
SHORT = Size(rounds=2, seconds=1.5)


def run(database: str, folder: Path, size: Size) -> dict[str, Any]:
    """Requests per second of both, in turn; the first round of each is thrown away."""
    with (
        places.empty_database(database, folder) as bare_url,
        places.database(database, folder) as url,
        places.bare(folder, bare_url, "insert") as bare_port,
        places.hub(folder, url, "--no-work") as (hub, _),
    ):
        secret = (folder / "secrets" / "generic").read_text()
        rounds: dict[str, list[Measured]] = {"bare": [], "inlet": []}
        for number in range(size.rounds + 1):
            for name, port, path in (
                ("bare", bare_port, "/rows"),
                ("inlet", hub.port, "/v1/inlets/listening"),
            ):
                measured = measure(
                    port,
                    deliveries(path, secret, count=int(size.seconds * MOST_PER_SECOND)),
                    folder,
                    connections=CONNECTIONS,
                    seconds=size.seconds,
                )
                if measured.failed:
                    raise RuntimeError(f"{name}: {measured.failed} requests were not accepted")
                if number:
                    rounds[name].append(measured)
            places.say(
                f"intake, {database}, round {number}: "
                + ", ".join(f"{n} {r[-1].per_second:.0f}/s" for n, r in rounds.items() if r)
            )
    rates = {name: [m.per_second for m in done] for name, done in rounds.items()}
    taken = {name: [t for m in done for t in m.taken] for name, done in rounds.items()}
    ratios = [inlet / bare for inlet, bare in zip(rates["inlet"], rates["bare"], strict=True)]
    return {
        "bare_per_s": round(statistics.median(rates["bare"])),
        "inlet_per_s": round(statistics.median(rates["inlet"])),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_least": round(min(ratios), 2),
        "ratio_most": round(max(ratios), 2),
        "bare_p99_ms": round(percentile(taken["bare"], 0.99) * 1000, 1),
        "inlet_p99_ms": round(percentile(taken["inlet"], 0.99) * 1000, 1),
        "accepted": len(taken["inlet"]),
    }


def deliveries(path: str, secret: str, *, count: int) -> list[bytes]:
    """Signed deliveries, each a message of its own."""
    at = int(time.time())
    made = []
    for _ in range(count):
        delivery, message = f"msg_{uuid.uuid4().hex}", uuid.uuid4().hex
        event = {
            "type": "message.created",
            "timestamp": datetime.fromtimestamp(at, UTC).isoformat(),
            "data": {
                "id": message,
                "conversation": f"c-{message}",
                "author": {
                    "network": "x",
                    "native_id": message,
                    "handle": f"h{message[:10]}",
                    "display_name": "Maya Brandt",
                },
                "text": "My lamp from order SO-10001 arrived broken, and nobody answers. " * 4,
                "posted_at": datetime.fromtimestamp(at, UTC).isoformat(),
                "url": f"https://x.example.com/h/status/{message}",
            },
        }
        body = json.dumps(event).encode()
        headers = {
            "Content-Type": "application/json",
            "webhook-id": delivery,
            "webhook-timestamp": str(at),
            "webhook-signature": sign(secret, delivery, at, body),
        }
        made.append(request("POST", path, headers, body))
    return made
