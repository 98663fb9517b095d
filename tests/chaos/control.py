"""The control: the same remotes and faults, and a client that creates again after a lost answer.

It must make duplicates. A harness that cannot see any proves nothing by seeing none.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2

from middleware.contract import http
from middleware.contract.actions import NoteRequest, ReplacementOrderRequest, WantedLine
from middleware.contract.canonical import Kind, Ref
from middleware.contract.errors import Permanent, RemoteError
from middleware.sandbox import crm
from tests.chaos.hubs import Times, adapters
from tests.chaos.remotes import Line, Remotes

MOST_TRIES = 25
SUBJECT = "control"


def duplicates(
    config: Path, remotes: Remotes, lines: Sequence[Line], conversation: int, *, times: Times
) -> int:
    """Make one order, case and note for each line, naively; answers how many are too many."""
    marks = [uuid.uuid4().hex for _ in lines]
    registry = adapters(config)
    erp, desk = registry.adapter("erp"), registry.adapter("desk")
    limits = http.Limits(connect_s=5, total_s=times.total_s)
    on = Ref(connection="desk", kind=Kind.CONVERSATION, id=str(conversation))

    with http.client(limits, base_url=remotes.at.crm, ca_file=remotes.at.crm_ca) as org:
        token = _login(org)

        def one(line: Line, mark: str) -> None:
            order = ReplacementOrderRequest(
                order=Ref(connection="erp", kind=Kind.ORDER, id=str(line.order)),
                lines=(
                    WantedLine(line=line.line, sku=line.sku, quantity=Decimal(1), unit=line.unit),
                ),
            )
            note = NoteRequest(on=on, text=f"Replaced {mark}")
            again(lambda: erp.create_replacement_order(order, key=mark))
            again(lambda: _case(org, token, mark))
            again(lambda: desk.create_note(note, key=mark))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, lines, marks))
    registry.close()
    remotes.settled()
    cases = remotes.cases("Subject")
    return sum(
        max(count - 1, 0)
        for mark in marks
        for count in (
            remotes.orders(mark),
            cases.get(f"{SUBJECT} {mark}", 0),
            remotes.notes(f"[amends:{mark}]"),
        )
    )


def again(create: Callable[[], Any]) -> None:
    """Create, and create again until an answer says that it worked."""
    for _ in range(MOST_TRIES):
        try:
            create()
        except Permanent:
            raise
        except (RemoteError, httpx2.HTTPError):
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the control never got an answer")


def _login(org: httpx2.Client) -> str:
    answer = org.post(
        "/services/oauth2/token",
        data={
            "grant_type": "client_credentials",
            "client_id": crm.CLIENT_ID,
            "client_secret": crm.CLIENT_SECRET,
        },
    )
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def _case(org: httpx2.Client, token: str, mark: str) -> None:
    answer = org.post(
        "/services/data/v60.0/sobjects/Case",
        json={"Subject": f"{SUBJECT} {mark}", "Status": "New"},
        headers={"Authorization": f"Bearer {token}"},
    )
    answer.raise_for_status()
    try:
        answer.json()["id"]
    except ValueError as error:
        raise httpx2.DecodingError("the answer is no JSON") from error
