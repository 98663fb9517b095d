"""The sandbox's CRM as a peer of the conformance suite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from adapters.salesforce.adapter import SalesforceAdapter
from middleware.contract.actions import (
    CaseRequest,
    NoteRequest,
    Operation,
    Reason,
    ReplacementOrderRequest,
    Speed,
    WantedLine,
)
from middleware.contract.canonical import Kind, Ref
from middleware.contract.capabilities import Clue, Connection
from middleware.contract.mapping import MappingSet
from middleware.sandbox.crm import CLIENT_ID, CLIENT_SECRET, KEY_FIELD, Crm, ids, open_crm
from middleware.sandbox.server import SandboxServer
from middleware.sandbox.world import build
from tests.conformance.peer import Fault, Peer, Samples

ROOT = Path(__file__).parents[3]
NAME = "crm"
TOTAL_S = 1.5
LAG_S = 2
WORLD = build(customers=12)

_FAULTS = {
    Fault.LOST_ANSWER: "drop_after",
    Fault.DROPPED_BEFORE: "drop_before",
    # Salesforce says 403 where others say 429.
    Fault.THROTTLED: "masked:limit",
    Fault.UNAVAILABLE: "unavailable",
    Fault.SLOW: "hang_after",
    Fault.MALFORMED: "garbage_after",
    Fault.DUPLICATE: "masked:duplicate_value",
    Fault.UNAUTHORISED: "masked:unauthorised",
}
_OBJECTS = {
    Kind.ACCOUNT: ("Account", "Phone", "+493023125{:03d}"),
    Kind.CONTACT: ("Contact", "Title", "Title {}"),
    Kind.PRODUCT: ("Product2", "Name", "Name {}"),
    Kind.ORDER: ("Order", "Description", "Text {}"),
    Kind.CASE: ("Case", "Subject", "Subject {}"),
}
_BEARS = {
    Operation.CASE: ("Case", KEY_FIELD),
    Operation.REPLACEMENT_ORDER: ("Order", KEY_FIELD),
}


class CrmPeer(Peer):
    """Salesforce's wire, served by the sandbox over TLS."""

    adapter: type[Any] = SalesforceAdapter
    faults = frozenset({*_FAULTS, Fault.MASKED})

    def __init__(self, state: Path | None = None, **options: Any) -> None:
        self.crm: Crm = open_crm(WORLD, state_path=state, **options)
        self.case = self.crm.seed("Case", Subject="A lamp came broken")
        # What was seeded a moment ago is old enough for a sync to see it.
        self.crm.ahead += timedelta(seconds=LAG_S + 2)
        self.server = SandboxServer(self.crm, tls=True).start()
        self._touched = 0

    def connection(self, **settings: Any) -> Connection:
        return Connection(
            name=NAME,
            settings={
                "url": self.server.url,
                "ca_file": self.server.ca_file,
                "connect_s": 1,
                "total_s": TOTAL_S,
                "lag_s": LAG_S,
                "overlap_s": 60,
                **settings,
            },
            secrets={
                "consumer_key": SecretStr(CLIENT_ID),
                "consumer_secret": SecretStr(CLIENT_SECRET),
            },
            mappings=MappingSet.load(ROOT / "mappings" / "salesforce"),
        )

    def ref(self, kind: Kind, key: str) -> Ref:
        return Ref(connection=NAME, kind=kind, id=key)

    def row(self, name: str, field: str, value: str) -> dict[str, Any]:
        """The first living row with this value."""
        return next(
            dict(row)
            for row in self.crm.rows.all(name)
            if row[field] == value and not row["IsDeleted"]
        )

    def items(self, order: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self.crm.rows.all("OrderItem") if row["OrderId"] == order]

    def replacement(self, **more: Any) -> ReplacementOrderRequest:
        order = self.row("Order", "Status", "Delivered")
        item = self.items(order["Id"])[0]
        sku = self.crm.rows.get("Product2", item["Product2Id"])
        assert sku is not None
        line = WantedLine(line=item["Id"], sku=sku["ProductCode"], quantity=Decimal(1))
        return ReplacementOrderRequest(
            **{
                "order": self.ref(Kind.ORDER, order["Id"]),
                "account": self.ref(Kind.ACCOUNT, order["AccountId"]),
                "lines": (line,),
                "speed": Speed.RUSH,
                "reason": Reason.DAMAGED,
                "note": "The shade was cracked.",
                **more,
            }
        )

    def case_request(self, **more: Any) -> CaseRequest:
        contact = self.row("Contact", "Customer_Number__c", "C-1001")
        return CaseRequest(
            **{
                "subject": "Lamp arrived broken",
                "description": "The shade of LAMP-101 is cracked.",
                "reason": Reason.DAMAGED,
                "priority": "high",
                "contact": self.ref(Kind.CONTACT, contact["Id"]),
                "origin": "x",
                **more,
            }
        )

    def note_request(self, text: str = "A replacement is on its way.") -> NoteRequest:
        return NoteRequest(on=self.ref(Kind.CASE, self.case), text=text)

    def samples(self) -> Samples:
        customer = WORLD.customer("C-1001")
        contact = self.row("Contact", "Customer_Number__c", "C-1001")
        order = next(
            dict(row)
            for row in self.crm.rows.all("Order")
            if row["AccountId"] == contact["AccountId"] and not row["Replaces__c"]
        )
        nobody = self.ref(Kind.CONTACT, ids.make("003", 10**6))
        no_case = self.ref(Kind.CASE, ids.make("500", 10**6))
        return Samples(
            known_clue=Clue(emails=(customer.email,), phones=(customer.phone,)),
            known_contact=self.ref(Kind.CONTACT, contact["Id"]),
            known_account=self.ref(Kind.ACCOUNT, contact["AccountId"]),
            known_order=self.ref(Kind.ORDER, order["Id"]),
            known_order_number=order["OrderReferenceNumber"],
            requests={
                Operation.REPLACEMENT_ORDER: self.replacement(),
                Operation.CASE: self.case_request(),
                Operation.NOTE: self.note_request(),
            },
            impossible={
                Operation.REPLACEMENT_ORDER: self.replacement(
                    lines=(WantedLine(line="802000000000000", sku="X-1", quantity=Decimal(1)),)
                ),
                Operation.CASE: self.case_request(contact=nobody),
                Operation.NOTE: NoteRequest(on=no_case, text="Nobody reads this."),
            },
        )

    def count(self, operation: Operation, key: str) -> int:
        if operation is Operation.NOTE:
            return self.crm.count("CaseComment", "CommentBody", contains=f"[amends:{key}]")
        return self.crm.count(*_BEARS[operation], key)

    def arm(self, fault: Fault, *, write: bool) -> AbstractContextManager[None]:
        """The vendor's lie is a login page with 200; on a write it comes after the fact."""
        name = _FAULTS.get(fault) or ("masked:html_after" if write else "masked:login_page")
        return self.armed(name, "POST /services/data" if write else "GET /services/data")

    @contextmanager
    def armed(self, name: str, match: str, *, times: int = 1) -> Iterator[None]:
        self.server.faults.arm(name, match=match, seconds=TOTAL_S + 1, times=times)
        try:
            yield
        finally:
            self.server.faults.clear()

    def touch(self, kind: Kind) -> Ref:
        """Change a row, then let the org's clock run on until a sync looks that far."""
        name, field, text = _OBJECTS[kind]
        self._touched += 1
        key = next(row["Id"] for row in self.crm.rows.all(name) if not row["IsDeleted"])
        self.crm.touch(name, key, **{field: text.format(self._touched)})
        self.crm.ahead += timedelta(seconds=LAG_S + 2)
        return self.ref(kind, key)

    def close(self) -> None:
        self.server.stop()
        self.crm.close()


def open_peer(tmp_path: Path) -> Peer:
    return CrmPeer(tmp_path / "crm.sqlite")
