"""The sandbox's CRM as a peer of the conformance suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import SecretStr

from adapters.salesforce.adapter import SalesforceAdapter
from middleware.contract.actions import (
    CallBackRequest,
    CaseRequest,
    NoteRequest,
    Operation,
    Reason,
    ReplacementOrderRequest,
    Speed,
    WantedLine,
    WithdrawalRequest,
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
TOTAL_S = 2.5
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
_WITHDRAWN = {
    Kind.CASE: ("Case", "IsClosed", True),
    Kind.TASK: ("Event", "Call_Back_Status__c", "Cancelled"),
    Kind.ORDER: ("Order", "Status", "Cancelled"),
}
_BEARS = {
    Operation.CASE: ("Case", KEY_FIELD),
    Operation.CALL_BACK: ("Event", KEY_FIELD),
    Operation.REPLACEMENT_ORDER: ("Order", KEY_FIELD),
}


@cache
def _mappings() -> MappingSet:
    return MappingSet.load(ROOT / "mappings" / "salesforce")


class CrmPeer(Peer):
    """Salesforce's wire, served by the sandbox over TLS."""

    adapter: type[Any] = SalesforceAdapter
    faults = frozenset({*_FAULTS, Fault.MASKED})
    hurried: ClassVar[Mapping[str, Any]] = {"total_s": TOTAL_S}

    def __init__(self, state: Path | None = None, **options: Any) -> None:
        self.crm: Crm = open_crm(WORLD, state_path=state, **options)
        self.case = self.crm.seed("Case", Subject="A lamp came broken")
        # What was seeded a moment ago is old enough for a sync to see it.
        self.crm.ahead += timedelta(seconds=LAG_S + 2)
        self.server = SandboxServer(self.crm, tls=True).start()
        self._touched = 0
        self._made = 0

    def connection(self, **settings: Any) -> Connection:
        return Connection(
            name=NAME,
            settings={
                "url": self.server.url,
                "ca_file": self.server.ca_file,
                "connect_s": 30,
                "total_s": 60,
                "lag_s": LAG_S,
                "overlap_s": 60,
                **settings,
            },
            secrets={
                "consumer_key": SecretStr(CLIENT_ID),
                "consumer_secret": SecretStr(CLIENT_SECRET),
            },
            mappings=_mappings(),
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

    def call_back(self, **more: Any) -> CallBackRequest:
        contact = self.row("Contact", "Customer_Number__c", "C-1001")
        tomorrow = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        return CallBackRequest(
            **{
                "subject": "Talk about the broken lamp",
                "slot_from": tomorrow,
                "slot_to": tomorrow + timedelta(minutes=30),
                "phone": "+493023125001",
                "contact": self.ref(Kind.CONTACT, contact["Id"]),
                "order_number": "SO-10159",
                "case": self.ref(Kind.CASE, self.case),
                **more,
            }
        )

    def withdrawal(self, **more: Any) -> WithdrawalRequest:
        """Of a case that was just opened, unless it says otherwise."""
        self._made += 1
        key = f"amends-made-before-{self._made}"
        case = None if "of" in more else self.crm.seed("Case", Subject="A lamp came broken",
                                                       **{KEY_FIELD: key})  # fmt: skip
        return WithdrawalRequest(
            **{
                "of": case and self.ref(Kind.CASE, case),
                "made_by": Operation.CASE,
                "made_under": key,
                "reason": Reason.OTHER,
                "note": "Opened for the wrong customer.",
                **more,
            }
        )

    def activated(self) -> WithdrawalRequest:
        """Of a replacement order that somebody activated already."""
        order = self.row("Order", "Status", "Delivered")
        key = f"amends-activated-{self._made}"
        made = self.crm.seed(
            "Order",
            **{name: order[name] for name in ("AccountId", "Pricebook2Id", "EffectiveDate")},
            Status="Activated",
            Replaces__c=order["Id"],
            **{KEY_FIELD: key},
        )
        return self.withdrawal(
            of=self.ref(Kind.ORDER, made), made_by=Operation.REPLACEMENT_ORDER, made_under=key
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
                Operation.CALL_BACK: self.call_back(),
                Operation.NOTE: self.note_request(),
                Operation.WITHDRAWAL: self.withdrawal(),
            },
            impossible={
                Operation.REPLACEMENT_ORDER: self.replacement(
                    lines=(WantedLine(line="802000000000000", sku="X-1", quantity=Decimal(1)),)
                ),
                Operation.CASE: self.case_request(contact=nobody),
                Operation.CALL_BACK: self.call_back(contact=nobody),
                Operation.WITHDRAWAL: self.activated(),
                Operation.NOTE: NoteRequest(on=no_case, text="Nobody reads this."),
            },
        )

    def count(self, operation: Operation, key: str) -> int:
        if operation is Operation.NOTE:
            return self.crm.count("CaseComment", "CommentBody", contains=f"[amends:{key}]")
        return self.crm.count(*_BEARS[operation], key)

    def withdrawn(self, of: Ref) -> int:
        """Closing, cancelling and deleting merge there: twice is once."""
        name, field, value = _WITHDRAWN[of.kind]
        row = self.crm.rows.get(name, of.id)
        assert row is not None
        return int(row["IsDeleted"] or row[field] == value)

    def too_late(self, made_by: Operation, of: Ref) -> bool:
        if made_by is Operation.CASE:
            return False
        _, field, _ = _WITHDRAWN[of.kind]
        self.touch_of(of, **{field: "Done" if of.kind is Kind.TASK else "Activated"})
        return True

    def touch_of(self, of: Ref, **values: Any) -> None:
        """Change a record as a colleague would."""
        self.crm.touch(_WITHDRAWN[of.kind][0], of.id, **values)

    def arm(self, fault: Fault, *, write: bool) -> AbstractContextManager[None]:
        """The vendor's lie is a login page with 200; on a write it comes after the fact."""
        name = _FAULTS.get(fault) or ("masked:html_after" if write else "masked:login_page")
        methods = ("POST", "PATCH", "DELETE") if write else ("GET",)
        return self.armed(name, *(f"{method} /services/data" for method in methods))

    @contextmanager
    def armed(self, name: str, *matches: str, times: int = 1) -> Iterator[None]:
        for match in matches:
            self.server.faults.arm(name, match=match, seconds=TOTAL_S + 30, times=times)
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
