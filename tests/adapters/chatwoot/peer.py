"""The sandbox's helpdesk as a peer of the conformance suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import httpx2
from pydantic import SecretStr

from adapters.chatwoot.adapter import ChatwootAdapter
from middleware.contract.actions import NoteRequest, Operation
from middleware.contract.canonical import Kind, Ref
from middleware.contract.capabilities import Clue, Connection
from middleware.contract.mapping import MappingSet
from middleware.sandbox.desk import build_desk
from middleware.sandbox.server import SandboxServer
from tests.conformance.peer import Fault, Peer, Samples

ROOT = Path(__file__).parents[3]
TOKEN = "desk-token-4f1d2c7a9b"
TOTAL_S = 2.5

_FAULTS = {
    Fault.LOST_ANSWER: "drop_after",
    Fault.DROPPED_BEFORE: "drop_before",
    Fault.THROTTLED: "throttle",
    Fault.UNAVAILABLE: "unavailable",
    Fault.SLOW: "hang_after",
    Fault.MALFORMED: "garbage_after",
    Fault.UNAUTHORISED: "masked:unauthorised",
}


@cache
def _mappings() -> MappingSet:
    return MappingSet.load(ROOT / "mappings" / "chatwoot")


class DeskPeer(Peer):
    """Chatwoot's wire, served by the sandbox."""

    adapter: type[Any] = ChatwootAdapter
    faults = frozenset({*_FAULTS, Fault.MASKED})
    hurried: ClassVar[Mapping[str, Any]] = {"total_s": TOTAL_S}

    def __init__(self, state: Path) -> None:
        self.desk = build_desk(state, token=TOKEN)
        self.server = SandboxServer(self.desk).start()
        self.http = httpx2.Client(base_url=self.server.url, headers={"api_access_token": TOKEN})
        self.conversation = self.write("Where is my order SO-10001?")

    def write(self, text: str, **more: Any) -> int:
        """Let a customer write; answers the conversation."""
        person = {
            "name": "Maya Brandt",
            "email": "maya.brandt@example.com",
            "phone": "+493023125010",
            "identifier": "C-1001",
            "additional_attributes": {"social_profiles": {"twitter": "@mayab"}},
        }
        answer = self.http.post("/_sandbox/write", json={"contact": person, "text": text} | more)
        return int(answer.json()["conversation"])

    def connection(self, **settings: Any) -> Connection:
        return Connection(
            name="helpdesk",
            settings={
                "url": self.server.url,
                "account_id": 1,
                "connect_s": 30,
                "total_s": 60,
                **settings,
            },
            secrets={"token": SecretStr(TOKEN)},
            mappings=_mappings(),
        )

    def request(self, text: str = "Replacement SO-10044 is on its way.") -> NoteRequest:
        on = Ref(connection="helpdesk", kind=Kind.CONVERSATION, id=str(self.conversation))
        return NoteRequest(on=on, text=text)

    def samples(self) -> Samples:
        nowhere = Ref(connection="helpdesk", kind=Kind.CONVERSATION, id="999999")
        return Samples(
            known_clue=Clue(emails=("maya.brandt@example.com",)),
            requests={Operation.NOTE: self.request()},
            impossible={Operation.NOTE: NoteRequest(on=nowhere, text="Nobody is there.")},
        )

    def count(self, operation: Operation, key: str) -> int:
        answer = self.http.get("/_sandbox/rows", params={"marker": f"[amends:{key}]"})
        return int(answer.json()["count"])

    def arm(self, fault: Fault, *, write: bool) -> AbstractContextManager[None]:
        """On a write the vendor's lie is a 422 after storing; on a read it is a login page."""
        name = _FAULTS.get(fault) or ("masked:after_commit" if write else "masked:login")
        return self._armed(name, "POST /api" if write else "GET /api")

    @contextmanager
    def _armed(self, name: str, match: str) -> Iterator[None]:
        self.server.faults.arm(name, match=match, seconds=TOTAL_S + 30)
        try:
            yield
        finally:
            self.server.faults.clear()

    def touch(self, kind: Kind) -> Ref:
        raise NotImplementedError("the adapter lists no changes")

    def close(self) -> None:
        self.http.close()
        self.server.stop()
        self.desk.close()


def open_peer(tmp_path: Path) -> Peer:
    return DeskPeer(tmp_path / "desk.sqlite")
