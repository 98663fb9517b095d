"""A real Tryton as a peer of the conformance suite, behind a proxy that makes its days bad."""

from __future__ import annotations

import atexit
import base64
import json
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import pytest
from pydantic import SecretStr

from adapters.tryton.adapter import TrytonAdapter
from middleware.contract.actions import (
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    Operation,
    ReplacementOrderRequest,
    ReturnRequest,
    WantedLine,
    WithdrawalRequest,
)
from middleware.contract.canonical import Kind, Ref
from middleware.contract.capabilities import Clue, Connection
from middleware.contract.mapping import MappingSet
from middleware.sandbox.toxic import Lie, Toxic
from middleware.sandbox.tryton import ADMIN_PASSWORD, INTEGRATION, TrytonServer, install
from tests.conformance.peer import Fault, Peer, Samples

ROOT = Path(__file__).parents[3]
# The first test of a fresh checkout also waits until Tryton is installed.
MARKS = ("tryton", pytest.mark.timeout(1500))
NAME = "erp"
TOTAL_S = 5.0
"""A confirmation takes half a second of one core, which others may be using too."""

_WRITES = frozenset({"create", "write", "delete", "copy"})
_BUTTONS = frozenset({"quote", "confirm", "process", "cancel", "draft", "wait", "approve"})
_LOGIN = frozenset({"common.db.login", "common.db.logout", "model.res.user.get_preferences"})

_FAULTS = {
    Fault.LOST_ANSWER: "drop_after",
    Fault.DROPPED_BEFORE: "drop_before",
    Fault.THROTTLED: "throttle",
    Fault.UNAVAILABLE: "unavailable",
    Fault.SLOW: "hang_after",
    Fault.MALFORMED: "garbage_after",
    Fault.UNAUTHORISED: "masked:unauthorised",
}


def _crash(body: bytes) -> bytes:
    """What Tryton says of any exception that it does not know: an error inside a 200."""
    answer = {"id": json.loads(body)["id"], "error": ["list index out of range", "Traceback …"]}
    return json.dumps(answer).encode()


LIES = {
    "unauthorised": Lie(401, b"<!doctype html><title>401 Unauthorized</title>"),
    "login_page": Lie(200, b"<!doctype html><form>Please log in</form>"),
    "crash": Lie(200, _crash, content_type="application/json", applied=True),
}


def method_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["method"])
    except (ValueError, KeyError, TypeError):
        return ""


def sort_of(method: str) -> str:
    """READ, WRITE or LOGIN, in front of the method's name."""
    if method in _LOGIN:
        return f"LOGIN {method}"
    last = method.rpartition(".")[2]
    return f"{'WRITE' if last in _WRITES | _BUTTONS else 'READ'} {method}"


@cache
def server() -> TrytonServer:
    """One Tryton for all tests of this process; the first one ever takes two minutes."""
    home = Path(os.environ.get("AMENDS_TRYTON_HOME") or ROOT / ".amends" / "tryton")
    install(home, progress=lambda said: print(f"tryton: {said}", file=sys.__stderr__))
    started = TrytonServer(home).start()
    atexit.register(started.stop)
    return started


class Rpc:
    """Tryton's desktop client in a few lines: it shares no code with the adapter."""

    def __init__(
        self,
        tryton: TrytonServer,
        user: str = INTEGRATION.user,
        password: str = INTEGRATION.password,
    ) -> None:
        self._http = httpx2.Client(base_url=tryton.url, trust_env=False, timeout=60)
        self._path = f"/{tryton.database}/rpc/"
        uid, token, *_ = self._post("common.db.login", [user, {"password": password}, "en"], "")
        proof = base64.b64encode(f"{user}:{uid}:{token}".encode()).decode()
        self._authorization = f"Session {proof}"
        self.context: dict[str, Any] = self._post(
            "model.res.user.get_preferences", [True, {}], self._authorization
        )

    def call(self, method: str, *params: Any, **context: Any) -> Any:
        """The result; raises AssertionError with Tryton's own words."""
        return self._post(method, [*params, {**self.context, **context}], self._authorization)

    def _post(self, method: str, params: list[Any], authorization: str) -> Any:
        headers = {"Accept-Encoding": "gzip", "Authorization": authorization}
        answer = self._http.post(
            self._path,
            json={"id": 1, "method": method, "params": params},
            headers={name: value for name, value in headers.items() if value},
        )
        body = answer.json()
        assert "result" in body, body
        return body["result"]

    def close(self) -> None:
        self._http.close()


@cache
def _mappings() -> MappingSet:
    return MappingSet.load(ROOT / "mappings" / "tryton")


class TrytonPeer(Peer):
    """Tryton, its database to look into, and what it takes to break the way to it."""

    adapter: type[Any] = TrytonAdapter
    faults = frozenset({*_FAULTS, Fault.MASKED})
    hurried: ClassVar[Mapping[str, Any]] = {"total_s": TOTAL_S}
    patience_s: ClassVar[float] = 6 * TOTAL_S

    def __init__(self, tryton: TrytonServer) -> None:
        self.tryton = tryton
        self.rpc = Rpc(tryton)
        self.cancelled: dict[str, int] = {}
        """Which sale a cancellation with our key was about; it leaves no other trace of the key."""
        self.toxic = Toxic(tryton.url, label=self._label, lies=LIES).start()
        world, manifest = tryton.world, tryton.manifest
        self.manifest = manifest
        self.customer = world.customer("C-1001")
        self.order = world.orders_of("C-1001", status="delivered")[-1]
        self.unbilled = next(o for o in reversed(world.orders) if o.status == "processing")

    def _label(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> str:
        called = method_of(body)
        if called == "model.sale.sale.cancel" and "idempotency-key" in headers:
            self.cancelled[headers["idempotency-key"]] = json.loads(body)["params"][0][0]
        return sort_of(called)

    # What the suite asks for.

    def connection(self, **settings: Any) -> Connection:
        return Connection(
            name=NAME,
            settings={
                "url": self.toxic.url,
                "database": self.tryton.database,
                "user": INTEGRATION.user,
                "connect_s": 30,
                "total_s": 60,
                "person_category": "Person",
                "employer_relation": "Employed by",
                "lag_s": 0,
                **settings,
            },
            secrets={"password": SecretStr(INTEGRATION.password)},
            mappings=_mappings(),
        )

    def ref(self, kind: Kind, id_: int) -> Ref:
        return Ref(connection=NAME, kind=kind, id=str(id_))

    def sale(self, number: str) -> Ref:
        """The reference of a seeded order."""
        return self.ref(Kind.ORDER, self.manifest["sales"][number])

    def lines(self, number: str, quantity: str = "1") -> tuple[WantedLine, ...]:
        """So much of the first line of a seeded order."""
        sale = self.manifest["sales"][number]
        line, code = self.rows(
            "SELECT l.id, p.code FROM sale_line l JOIN product_product p ON p.id = l.product "
            "WHERE l.sale = ? ORDER BY l.id LIMIT 1",
            sale,
        )[0]
        return (WantedLine(line=str(line), sku=code, quantity=Decimal(quantity)),)

    def draft(self, customer: str = "C-1009") -> Ref:
        """A fresh draft sale, as somebody in sales would make one."""
        party = self.manifest["parties"][customer]
        address = self.rows("SELECT id FROM party_address WHERE party = ?", party)[0][0]
        line = {
            "type": "line",
            "product": self.manifest["products"]["MUGS-440"],
            "unit": 1,
            "quantity": 1.0,
            "unit_price": {"__class__": "Decimal", "decimal": "42.00"},
        }
        values = {
            "party": party,
            "invoice_address": address,
            "shipment_address": address,
            "lines": [["create", [line]]],
        }
        (id_,) = self.rpc.call("model.sale.sale.create", [values])
        return self.ref(Kind.ORDER, id_)

    def samples(self) -> Samples:
        number = self.order.number
        order = self.sale(number)
        wanted = self.lines(number)
        too_many = (wanted[0].model_copy(update={"quantity": Decimal(9999)}),)
        unknown = (wanted[0].model_copy(update={"sku": "NO-SUCH-SKU"}),)
        party = self.manifest["parties"][self.customer.number]
        return Samples(
            known_clue=Clue(emails=(self.customer.email,)),
            known_contact=self.ref(Kind.CONTACT, party),
            known_account=self.ref(Kind.ACCOUNT, party),
            known_order=order,
            known_order_number=number,
            requests={
                Operation.REPLACEMENT_ORDER: ReplacementOrderRequest(order=order, lines=wanted),
                Operation.RETURN: ReturnRequest(order=order, lines=wanted),
                Operation.CREDIT: CreditRequest(order=order, lines=wanted),
                Operation.CANCELLATION: CancellationRequest(order=self.draft()),
                Operation.CASE: CaseRequest(subject="The lamp flickers", order=order),
                Operation.WITHDRAWAL: WithdrawalRequest(
                    of=self.draft(),
                    made_by=Operation.REPLACEMENT_ORDER,
                    made_under="amends-replaced",
                ),
            },
            impossible={
                Operation.REPLACEMENT_ORDER: ReplacementOrderRequest(order=order, lines=unknown),
                Operation.RETURN: ReturnRequest(order=order, lines=too_many),
                Operation.CREDIT: CreditRequest(
                    order=self.sale(self.unbilled.number), lines=self.lines(self.unbilled.number)
                ),
                Operation.CANCELLATION: CancellationRequest(order=order),
                Operation.CASE: CaseRequest(subject="Nobody in particular complains"),
                Operation.WITHDRAWAL: WithdrawalRequest(
                    of=order, made_by=Operation.REPLACEMENT_ORDER, made_under="amends-replaced"
                ),
            },
        )

    def count(self, operation: Operation, key: str) -> int:
        if operation is Operation.CANCELLATION:
            sale = self.cancelled.get(key, 0)
            count = "SELECT count(*) FROM sale_sale WHERE id = ? AND state = 'cancelled'"
            return int(self.rows(count, sale)[0][0])
        table = "sale_sale" if operation is Operation.REPLACEMENT_ORDER else "sale_complaint"
        count = f"SELECT count(*) FROM {table} WHERE reference = ?"
        return int(self.rows(count, key)[0][0])

    def withdrawn(self, of: Ref) -> int:
        """A sale that is cancelled, or of which nothing is sent; a complaint that came to nothing,
        itself or in what it made."""
        if of.kind is Kind.ORDER:
            query = (
                "SELECT count(*) FROM sale_sale s WHERE s.id = ? AND (s.state = 'cancelled' OR ("
                "EXISTS (SELECT 1 FROM sale_line l JOIN stock_move m"
                " ON m.origin = 'sale.line,' || l.id WHERE l.sale = s.id) AND NOT EXISTS"
                " (SELECT 1 FROM sale_line l JOIN stock_move m ON m.origin = 'sale.line,' || l.id"
                " WHERE l.sale = s.id AND m.state != 'cancelled')))"
            )
            return int(self.rows(query, int(of.id))[0][0])
        if of.kind is Kind.INVOICE:
            query = "SELECT count(*) FROM account_invoice WHERE id = ? AND state = 'cancelled'"
            return int(self.rows(query, int(of.id))[0][0])
        query = "SELECT state FROM sale_complaint WHERE id = ?"
        states = [state for (state,) in self.rows(query, int(of.id))]
        return len([1 for state in states if state == "cancelled"] or self._unmade(int(of.id)))

    def _unmade(self, complaint: int) -> list[int]:
        made = self.rows("SELECT result FROM sale_complaint_action WHERE complaint = ?", complaint)
        found = []
        for (result,) in made:
            model, _, id_ = (result or "").partition(",")
            if model:
                query = f"SELECT state FROM {model.replace('.', '_')} WHERE id = ?"
                found += [1 for (state,) in self.rows(query, int(id_)) if state == "cancelled"]
        return found

    def too_late(self, made_by: Operation, of: Ref) -> bool:
        """The warehouse picks the parcel, the return is confirmed, the credit note is posted."""
        if made_by is Operation.REPLACEMENT_ORDER:
            query = (
                "SELECT m.shipment FROM sale_line l JOIN stock_move m"
                " ON m.origin = 'sale.line,' || l.id WHERE l.sale = ?"
            )
            shipment = int(self.rows(query, int(of.id))[0][0].partition(",")[2])
            # The hub's user may cancel shipments, and not take goods that are not there.
            boss = Rpc(self.tryton, "admin", ADMIN_PASSWORD)
            boss.call("model.stock.shipment.out.assign_force", [shipment])
            boss.call("model.stock.shipment.out.pick", [shipment])
            boss.close()
            return True
        if made_by not in (Operation.RETURN, Operation.CREDIT):
            return False
        model, id_ = "account.invoice", of.id
        if made_by is Operation.RETURN:
            query = "SELECT result FROM sale_complaint_action WHERE complaint = ?"
            model, _, id_ = self.rows(query, int(of.id))[0][0].partition(",")
        for button in ("quote", "confirm") if model == "sale.sale" else ("post",):
            self.rpc.call(f"model.{model}.{button}", [int(id_)])
        return True

    def arm(self, fault: Fault, *, write: bool) -> AbstractContextManager[None]:
        """On a write the vendor's lie is an error inside a 200; on a read it is a login page."""
        name = _FAULTS.get(fault) or ("masked:crash" if write else "masked:login_page")
        return self.armed(name, "WRITE" if write else "READ")

    @contextmanager
    def armed(self, fault: str, match: str, *, times: int = 1) -> Iterator[None]:
        """Let the next requests whose label has `match` suffer; a refused session stays refused."""
        self.toxic.faults.arm(fault, match=match, times=times, seconds=TOTAL_S + 30)
        if fault == "masked:unauthorised":
            self.toxic.faults.arm(fault, match="LOGIN common.db.login")
        try:
            yield
        finally:
            self.toxic.faults.clear()

    def touch(self, kind: Kind) -> Ref:
        """Mostly a change inside the record, which leaves the record's own stamp alone."""
        party = self.manifest["parties"][self.customer.number]
        sale = self.manifest["sales"][self.order.number]
        call = self.rpc.call
        if kind is Kind.CONTACT:
            query = "SELECT id FROM party_contact_mechanism WHERE party = ? AND type = 'phone'"
            phone = self.rows(query, party)[0][0]
            call("model.party.contact_mechanism.write", [phone], {"comment": "rings in the shop"})
            return self.ref(kind, party)
        if kind is Kind.ACCOUNT:
            address = self.rows("SELECT id FROM party_address WHERE party = ?", party)[0][0]
            call("model.party.address.write", [address], {"city": self.customer.city})
            return self.ref(kind, party)
        if kind is Kind.ORDER:
            order = self.draft()
            line = self.rows("SELECT id FROM sale_line WHERE sale = ?", int(order.id))[0][0]
            call("model.sale.line.write", [line], {"quantity": 2.0})
            return order
        if kind is Kind.SHIPMENT:
            (shipments,) = call("model.sale.sale.read", [sale], ["shipments"])
            shipment = shipments["shipments"][0]
            call("model.stock.shipment.out.write", [shipment], {"reference": self.order.tracking})
            return self.ref(kind, shipment)
        if kind is Kind.INVOICE:  # a draft one: what is posted cannot be changed
            unbilled = self.manifest["sales"][self.unbilled.number]
            (invoices,) = call("model.sale.sale.read", [unbilled], ["invoices.lines"])
            invoice = invoices["invoices."][0]
            line = invoice["lines"][0]
            call("model.account.invoice.line.write", [line], {"note": "asked about"})
            return self.ref(kind, invoice["id"])
        if kind is Kind.RETURN:  # what it has come to stands in the sale that it made
            return self.colleagues_return()
        assert kind is Kind.PRODUCT
        product = self.manifest["products"]["LAMP-101"]
        template = self.rows("SELECT template FROM product_product WHERE id = ?", product)[0][0]
        call("model.product.template.write", [template], {"name": "Reading lamp Lumen, brass"})
        return self.ref(kind, product)

    def colleagues_return(self) -> Ref:
        """A return of one of the known order's first line, that somebody in sales is drafting."""
        sale = self.manifest["sales"][self.order.number]
        (line,) = self.lines(self.order.number)
        query = (
            "SELECT t.id FROM sale_complaint_type t JOIN ir_model m ON m.id = t.origin"
            " WHERE m.name = 'sale.sale'"
        )
        returning = {
            "action": "sale_return",
            "sale_lines": [["create", [{"line": int(line.line), "quantity": 1.0}]]],
        }
        values = {
            "customer": self.manifest["parties"][self.customer.number],
            "type": self.rows(query)[0][0],
            "origin": f"sale.sale,{sale}",
            "actions": [["create", [returning]]],
        }
        (id_,) = self.rpc.call("model.sale.complaint.create", [values])
        return self.ref(Kind.RETURN, id_)

    def close(self) -> None:
        """The server is shared and ends with the process."""
        self.toxic.stop()
        self.rpc.close()

    # What tests of this adapter ask for besides.

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Tryton's own rows, read from its file."""
        uri = f"{self.tryton.file.as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=20)) as database:
            return database.execute(query, values).fetchall()


def open_peer(tmp_path: Path) -> Peer:
    return TrytonPeer(server())
