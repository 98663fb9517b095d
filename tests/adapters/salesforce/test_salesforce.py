"""What is Salesforce's own in the adapter; what all adapters promise is in the conformance suite.

Answers that the sandbox cannot give were constructed from Salesforce's documentation: "Status Codes
and Error Responses" (REST API Developer Guide), "sObject Tree", "OAuth 2.0 Authorization Errors".
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr, ValidationError

from adapters.salesforce.adapter import SalesforceAdapter
from adapters.salesforce.changes import Cursor
from adapters.salesforce.client import RULES
from adapters.salesforce.text import ends_with_marker, marker, shortened
from middleware.contract.actions import Operation, WantedLine
from middleware.contract.canonical import Address, Case, Contact, Handle, Kind, OrderStatus, Ref
from middleware.contract.capabilities import Clue, Connection, Finding, KeyTraits, Merged
from middleware.contract.errors import (
    Ambiguous,
    Busy,
    Duplicated,
    Forbidden,
    Missing,
    NotOffered,
    Permanent,
    Rejected,
    RemoteError,
    Transient,
    Unauthorised,
)
from middleware.contract.mapping import MappingSet
from middleware.contract.mapping.fixtures import test_paths as run_fixtures
from middleware.contract.mapping.lint import lint_paths
from middleware.sandbox.crm import (
    CLIENT_ID,
    CLIENT_SECRET,
    KEY_FIELD,
    PASSWORD,
    SECURITY_TOKEN,
    USERNAME,
    Crm,
    DuplicateRule,
    ids,
)
from tests.adapters.salesforce.peer import LAG_S, NAME, ROOT, TOTAL_S, WORLD, CrmPeer

KEY = "am-4be1f0c2d6a94d0b8a6f3e1d2c0b9a87"
OTHER_KEY = "am-00000000000000000000000000000000"
MAPPINGS = ROOT / "mappings" / "salesforce"


@pytest.fixture
def peer() -> Iterator[CrmPeer]:
    peer = CrmPeer()
    yield peer
    peer.close()
    assert peer.server.errors == []


@pytest.fixture
def adapter(peer: CrmPeer) -> Iterator[SalesforceAdapter]:
    adapter = SalesforceAdapter.open(peer.connection())
    yield adapter
    adapter.close()


def opened(connection: Connection) -> SalesforceAdapter:
    return SalesforceAdapter.open(connection)


# Logging in.


def with_secrets(connection: Connection, **secrets: str) -> Connection:
    return connection.model_copy(
        update={"secrets": {name: SecretStr(text) for name, text in secrets.items()}}
    )


def logins(peer: CrmPeer) -> Iterator[Connection]:
    yield peer.connection()
    yield with_secrets(
        peer.connection(login="password", username=USERNAME),
        password=PASSWORD,
        security_token=SECURITY_TOKEN,
    )
    yield with_secrets(peer.connection(login="token"), access_token=peer.crm.new_session())


def test_every_login_works(peer: CrmPeer) -> None:
    for connection in logins(peer):
        adapter = opened(connection)
        assert adapter.check().ok
        adapter.close()


def test_login_by_jwt() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    peer = CrmPeer(jwt_public_key=public)
    settings = peer.connection(login="jwt", username=USERNAME)
    good = opened(with_secrets(settings, consumer_key=CLIENT_ID, private_key=pem))
    assert good.check().ok
    wrong = opened(with_secrets(settings, consumer_key="another-app", private_key=pem))
    broken = opened(with_secrets(settings, consumer_key=CLIENT_ID, private_key="no PEM"))
    for adapter in (wrong, broken):
        with pytest.raises(Unauthorised):
            adapter.find_order("SO-10001")
        adapter.close()
    good.close()
    peer.close()


@pytest.mark.parametrize(
    ("settings", "secrets"),
    [
        ({"url": "http://example.my.salesforce.com"}, None),
        ({"url": "https://user@example.my.salesforce.com"}, None),
        ({"url": "https://example.my.salesforce.com/path"}, None),
        ({"url": "https://login.salesforce.com"}, None),
        ({"login": "magic"}, None),
        ({"login": "jwt"}, {"consumer_key": "x", "private_key": "y"}),
        ({"api_version": "45.0"}, None),
        ({"api_version": "v60.0"}, None),
        ({"total_s": 0}, None),
        ({"surprise": 1}, None),
        ({}, {"consumer_key": "x"}),
        ({}, {}),
        ({}, {"consumer_key": "x", "consumer_secret": "y", "surprise": "z"}),
    ],
)
def test_a_wrong_configuration_is_refused(
    settings: dict[str, Any], secrets: dict[str, str] | None
) -> None:
    given = {"consumer_key": "x", "consumer_secret": "y"} if secrets is None else secrets
    with pytest.raises(ValidationError):
        SalesforceAdapter.open(
            Connection(
                name=NAME,
                settings={"url": "https://example.my.salesforce.com", **settings},
                secrets={name: SecretStr(text) for name, text in given.items()},
                mappings=MappingSet.empty(),
            )
        )


def test_opening_asks_nothing(peer: CrmPeer) -> None:
    opened(peer.connection()).close()
    assert peer.server.stats["requests"] == 0


def test_an_ended_session_is_renewed_once(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    adapter.find_order("SO-10001")
    peer.crm.end_sessions()
    assert adapter.find_order("SO-10001") is not None
    peer.crm.end_sessions()
    receipt = adapter.create_case(peer.case_request(), key=KEY)
    assert not receipt.already_existed
    assert peer.count(Operation.CASE, KEY) == 1


def test_a_session_that_stays_over_is_not_asked_for_ever(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    adapter.find_order("SO-10001")
    before = peer.server.stats["requests"]
    with (
        peer.armed("masked:session", "GET /services/data", times=100),
        pytest.raises(Unauthorised) as caught,
    ):
        adapter.find_order("SO-10001")
    assert caught.value.code == "INVALID_SESSION_ID"
    assert peer.server.stats["requests"] - before == 3  # asked, logged in, asked


def test_a_given_token_is_not_renewed(peer: CrmPeer) -> None:
    connection = with_secrets(peer.connection(login="token"), access_token=peer.crm.new_session())
    adapter = opened(connection)
    adapter.find_order("SO-10001")
    peer.crm.end_sessions()
    with pytest.raises(Unauthorised):
        adapter.find_order("SO-10001")
    adapter.close()


@pytest.mark.parametrize("fault", ["drop_after", "unavailable", "throttle", "masked:login_page",
                                   "garbage_after", "hang_after"])  # fmt: skip
def test_a_login_that_fails_did_nothing(peer: CrmPeer, fault: str) -> None:
    """Whatever becomes of the login, the write was never sent: that is not ambiguous."""
    adapter = opened(peer.connection(**(peer.hurried if fault == "hang_after" else {})))
    with (
        peer.armed(fault, "POST /services/oauth2", times=9),
        pytest.raises((Transient, Permanent)) as caught,
    ):
        adapter.create_case(peer.case_request(), key=KEY)
    assert isinstance(caught.value, Transient)
    adapter.close()


@pytest.mark.parametrize(
    ("secrets", "code"),
    [
        ({"consumer_key": CLIENT_ID, "consumer_secret": "wrong-secret"}, "invalid_client"),
        ({"consumer_key": "wrong-key", "consumer_secret": CLIENT_SECRET}, "invalid_client_id"),
    ],
)
def test_a_refused_login_says_why(peer: CrmPeer, secrets: dict[str, str], code: str) -> None:
    adapter = opened(with_secrets(peer.connection(), **secrets))
    with pytest.raises(Unauthorised) as caught:
        adapter.find_order("SO-10001")
    assert caught.value.code == code
    assert "wrong-" not in caught.value.message
    adapter.close()


# What its errors mean.


class Scripted:
    """Passes requests on to the CRM, except for those that a test answers itself."""

    def __init__(self, crm: Crm) -> None:
        self.crm = crm
        self.match = ""
        self.status = "200 OK"
        self.body: Any = None
        self.edit: Callable[[Any], Any] | None = None

    def __call__(self, environ: Any, start_response: Any) -> Any:
        line = f"{environ['REQUEST_METHOD']} {environ['RAW_URI']}"
        if not self.match or self.match not in line:
            return self.crm(environ, start_response)
        if self.edit is None:
            start_response(self.status, [("Content-Type", "application/json")])
            return [json.dumps(self.body).encode()]
        held: list[Any] = []
        crm: Any = self.crm
        body = b"".join(crm(environ, lambda *said: held.append(said)))
        start_response(*held[0])
        return [json.dumps(self.edit(json.loads(body))).encode()]


@pytest.fixture
def scripted(peer: CrmPeer) -> Scripted:
    """The peer's server, with a script between it and the CRM."""
    script = Scripted(peer.crm)
    peer.server.app = script
    return script


@pytest.mark.parametrize(
    ("status", "body", "on_write", "on_read"),
    [
        *(
            ("400 Bad Request", [{"errorCode": code, "message": "x"}], rule.error, None)
            for code, rule in sorted(RULES.items())
            if code not in ("DUPLICATE_VALUE", "INVALID_SESSION_ID")
        ),
        ("500 Internal Server Error", [{"errorCode": "UNKNOWN_EXCEPTION", "message": "x"}],
         Ambiguous, Transient),
        ("500 Internal Server Error", [{"errorCode": "UNABLE_TO_LOCK_ROW", "message": "x"}],
         Ambiguous, Busy),
        ("503 Service Unavailable", [{"errorCode": "SERVER_UNAVAILABLE", "message": "x"}],
         Transient, Transient),
        ("500 Internal Server Error", "oops", Ambiguous, Transient),
        ("502 Bad Gateway", None, Ambiguous, Transient),
        ("400 Bad Request", [{"errorCode": "SOMETHING_NEW", "message": "x"}], Rejected, Rejected),
        ("400 Bad Request", [], Rejected, Rejected),
        ("400 Bad Request", {"weird": 1}, Rejected, Rejected),
        ("403 Forbidden", [{"errorCode": "SOMETHING_NEW", "message": "x"}],
         Forbidden, Forbidden),
        ("400 Bad Request",
         [{"errorCode": "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "message": "UNABLE_TO_LOCK_ROW"}],
         Busy, None),
        ("300 Multiple Choices", ["/a", "/b"], Duplicated, None),
        ("200 OK", None, Ambiguous, Transient),
        ("200 OK", [], Ambiguous, Transient),
        ("200 OK", {}, Ambiguous, Transient),
        ("200 OK", {"success": False, "errors": []}, Ambiguous, Transient),
        ("200 OK", {"success": False, "errors": [{"statusCode": "STRING_TOO_LONG"}]},
         Rejected, Transient),
        ("201 Created", {"success": True, "id": "../../etc"}, Ambiguous, None),
        ("200 OK", {"success": False, "errors": [{"statusCode": "SOMETHING_NEW"}]},
         Rejected, Transient),
        ("200 OK", {"records": "many", "done": True}, Ambiguous, Transient),
        ("200 OK", {"records": [1], "done": True}, Ambiguous, Transient),
    ],
)  # fmt: skip
def test_the_error_table(
    peer: CrmPeer,
    adapter: SalesforceAdapter,
    scripted: Scripted,
    status: str,
    body: Any,
    on_write: type[RemoteError],
    on_read: type[RemoteError] | None,
) -> None:
    scripted.status, scripted.body = status, body
    scripted.match = "POST /services/data"
    with pytest.raises(RemoteError) as written:
        adapter.create_note(peer.note_request(), key=KEY)
    assert type(written.value) is on_write
    assert written.value.system == "salesforce"
    assert written.value.operation == "create_note"
    scripted.match = "GET /services/data/v60.0/query"
    with pytest.raises(RemoteError) as read:
        adapter.read_order(peer.ref(Kind.ORDER, ids.make("801", 1)))
    assert not isinstance(read.value, Ambiguous) or isinstance(read.value, Duplicated)
    if on_read is not None:
        assert type(read.value) is on_read


def test_limits_say_how_long_to_wait(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    waits = {}
    for mask in ("limit", "busy", "lock"):
        with (
            peer.armed(f"masked:{mask}", "POST /services/data"),
            pytest.raises(Transient) as caught,
        ):
            adapter.create_note(peer.note_request(), key=KEY)
        waits[mask] = caught.value.retry_after
    assert waits == {"limit": timedelta(minutes=15), "busy": timedelta(seconds=10), "lock": None}
    with peer.armed("throttle", "POST /services/data"), pytest.raises(Transient) as caught:
        adapter.create_note(peer.note_request(), key=KEY)
    assert caught.value.retry_after == timedelta(seconds=1)


def test_messages_name_the_field_and_not_the_value(
    peer: CrmPeer, adapter: SalesforceAdapter, scripted: Scripted
) -> None:
    scripted.match, scripted.status = "POST /services/data", "400 Bad Request"
    for code, fields in (
        ("STRING_TOO_LONG", ["Subject"]),
        ("INVALID_EMAIL_ADDRESS", ["SuppliedEmail"]),
        ("MALFORMED_ID", ["ContactId"]),
        ("SOMETHING_NEW", ["X__c"]),
    ):
        said = "Subject: data value too large: canary.person@example.com +49 30 23125331"
        scripted.body = [{"errorCode": code, "message": said, "fields": fields}]
        with pytest.raises(Rejected) as caught:
            adapter.create_note(peer.note_request(), key=KEY)
        assert caught.value.code == code
        assert caught.value.field == fields[0]
        assert "canary" not in caught.value.message
        assert "23125331" not in caught.value.message


def test_an_orgs_own_rule_is_quoted_without_personal_data(
    peer: CrmPeer, adapter: SalesforceAdapter, scripted: Scripted
) -> None:
    scripted.match, scripted.status = "POST /services/data", "400 Bad Request"
    scripted.body = [
        {
            "errorCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION",
            "message": "Closed cases take no comments; call canary@example.com, +49 30 23125331",
            "fields": [],
        }
    ]
    with pytest.raises(Rejected) as caught:
        adapter.create_note(peer.note_request(), key=KEY)
    assert "Closed cases take no comments" in caught.value.message
    assert "canary" not in caught.value.message
    assert "23125331" not in caught.value.message


def test_our_token_goes_to_no_other_host(
    peer: CrmPeer, adapter: SalesforceAdapter, scripted: Scripted
) -> None:
    """simple-salesforce puts nextRecordsUrl behind the host's name, whatever it begins with."""
    scripted.match = "GET /services/data/v60.0/query"
    scripted.body = {
        "records": [],
        "done": False,
        "nextRecordsUrl": "@attacker.example.com/services/data/v60.0/query/1",
    }
    with pytest.raises(Transient) as caught:
        adapter.read_order(peer.ref(Kind.ORDER, ids.make("801", 1)))
    assert caught.value.message == "the answer was not understood", "it tried to connect"


@pytest.mark.parametrize("key", ["../User", "//attacker.example.com/x", "https://x", "500", ""])
def test_what_is_no_id_never_becomes_an_address(
    peer: CrmPeer, adapter: SalesforceAdapter, key: str
) -> None:
    before = peer.server.stats["requests"]
    if key:
        ref = Ref(connection=NAME, kind=Kind.ORDER, id=key)
        with pytest.raises(Missing):
            adapter.read_order(ref)
        with pytest.raises(Missing):
            adapter.orders_of(Ref(connection=NAME, kind=Kind.ACCOUNT, id=key))
        with pytest.raises(Missing):
            adapter.find_note(
                peer.note_request().model_copy(
                    update={"on": Ref(connection=NAME, kind=Kind.CASE, id=key)}
                ),
                key=KEY,
            )
    assert peer.server.stats["requests"] == before


# People.


def maria(peer: CrmPeer) -> dict[str, Any]:
    return peer.row("Contact", "Customer_Number__c", "C-1001")


def test_contacts_are_found_by_every_identifier(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    customer, row = WORLD.customer("C-1001"), maria(peer)
    x = customer.handles["x"]
    clues = [
        Clue(emails=(customer.email.upper(),)),
        Clue(phones=(customer.phone,)),
        Clue(handles=(Handle(network="x", handle=f"@{x.handle.upper()}"),)),
        Clue(handles=(Handle(network="x", native_id=x.native_id),)),
        Clue(external_ids={"customer_number": "C-1001"}),
        Clue(external_ids={"salesforce": row["Id"]}),
        Clue(external_ids={"salesforce": row["Id"][:15]}),
    ]
    for clue in clues:
        (found,) = adapter.find_contacts(clue)
        assert found.ref == peer.ref(Kind.CONTACT, row["Id"]), clue
    assert found.emails == (customer.email,)
    assert found.phones == (customer.phone,)
    assert found.account == peer.ref(Kind.ACCOUNT, row["AccountId"])
    assert found.external_ids["customer_number"] == "C-1001"
    assert {handle.network for handle in found.handles} == {"x", "instagram"}


@pytest.mark.parametrize(
    "spelt", ["030 23125999", "+49 30 23125999", "0049 30 23125999".replace(" ", ""),
              "030/23125999", "+493023125999"]
)  # fmt: skip
def test_a_number_is_found_in_any_spelling(
    peer: CrmPeer, adapter: SalesforceAdapter, spelt: str
) -> None:
    key = peer.crm.seed("Contact", LastName="Spelt", Phone=spelt, MailingCountryCode="DE")
    found = adapter.find_contacts(Clue(phones=("+493023125999",)))
    assert [contact.ref.id for contact in found] == [key]


def test_the_same_digits_in_another_country_are_another_number(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    peer.crm.seed("Contact", LastName="Abroad", Phone="030 23125999", MailingCountryCode="NL")
    assert adapter.find_contacts(Clue(phones=("+493023125999",))) == ()


def test_shared_identifiers_find_both(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    couple = adapter.find_contacts(Clue(emails=("familie.brandt@example.net",)))
    assert {contact.given_name for contact in couple} == {"Tobias", "Katrin"}
    assert len(adapter.find_contacts(Clue(emails=("familie.brandt@example.net",)), limit=1)) == 1


@pytest.mark.parametrize(
    "clue",
    [
        Clue(),
        Clue(name="Maria Schmidt"),
        Clue(emails=("%",), phones=("",)),
        Clue(handles=(Handle(network="myspace", handle="maria"),)),
        Clue(handles=(Handle(network="x", handle="@"),)),
        Clue(external_ids={"salesforce": "x' OR Id != null"}),
        Clue(emails=("maria.schmidt@example.com' OR Id != null OR Email = '",)),
        Clue(emails=("\ud800",), phones=("\x00",)),
    ],
)
def test_nobody_is_found_by_nothing(peer: CrmPeer, adapter: SalesforceAdapter, clue: Clue) -> None:
    assert adapter.find_contacts(clue) == ()
    assert adapter.find_accounts(clue) == ()


def test_accounts(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    customer = WORLD.customer("C-1005")
    (by_number,) = adapter.find_accounts(Clue(external_ids={"customer_number": "c-1005"}))
    assert by_number.name == customer.company
    assert by_number.number == "C-1005"
    (by_phone,) = adapter.find_accounts(Clue(phones=(customer.phone,)))
    assert by_phone == by_number


# Orders.


def test_an_order_is_read_whole(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    expected = next(o for o in WORLD.orders if o.status == "delivered" and len(o.lines) > 1)
    row = peer.row("Order", "OrderReferenceNumber", expected.number)
    order = adapter.read_order(peer.ref(Kind.ORDER, row["Id"]))
    assert order.number == expected.number
    assert order.status is OrderStatus.DELIVERED
    assert order.total is not None
    assert (order.total.amount, order.total.currency) == (expected.total, "EUR")
    lines = [(line.sku, line.quantity, line.unit_price and line.unit_price.amount)
             for line in order.lines]  # fmt: skip
    assert lines == [(line.sku, line.quantity, line.unit_price) for line in expected.lines]
    assert order.placed_at is not None
    assert order.placed_at.date() == expected.placed.date()
    assert order.ship_to is not None
    assert order.ship_to.city == WORLD.customer(expected.customer).city
    assert order == adapter.find_order(expected.number)
    assert order == adapter.find_order(row["OrderNumber"])


def test_lines_beyond_a_page_and_deleted_lines(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    row = peer.row("Order", "Status", "Delivered")
    entry = next(e for e in peer.crm.rows.all("PricebookEntry"))
    made = [
        peer.crm.seed(
            "OrderItem", OrderId=row["Id"], PricebookEntryId=entry["Id"], Quantity=n, UnitPrice=1
        )
        for n in range(1, 8)
    ]
    peer.crm.delete("OrderItem", made[3])
    peer.crm.batch = 2
    order = adapter.read_order(peer.ref(Kind.ORDER, row["Id"]))
    living = {item["Id"] for item in peer.items(row["Id"]) if not item["IsDeleted"]}
    assert {line.id for line in order.lines} == living
    peer.crm.ahead += timedelta(seconds=LAG_S + 2)
    page = adapter.changed_since(Kind.ORDER, None, limit=2000)
    (synced,) = [record for record in page.records if record.ref.id == row["Id"]]
    assert synced.model_dump() == order.model_dump()


def test_orders_of_a_customer(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    row = maria(peer)
    expected = [order.number for order in WORLD.orders_of("C-1001")]
    by_account = adapter.orders_of(peer.ref(Kind.ACCOUNT, row["AccountId"]))
    assert sorted(o.number or "" for o in by_account) == sorted(expected)
    placed = [order.placed_at for order in by_account if order.placed_at]
    assert placed == sorted(placed, reverse=True)
    by_contact = adapter.orders_of(peer.ref(Kind.CONTACT, row["Id"]))
    assert by_contact == by_account
    assert adapter.orders_of(peer.ref(Kind.CONTACT, row["Id"]), limit=1) == by_account[:1]
    since = placed[0]
    recent = adapter.orders_of(peer.ref(Kind.ACCOUNT, row["AccountId"]), since=since)
    assert {o.ref for o in recent} == {o.ref for o in by_account if o.placed_at == since}
    with pytest.raises(Rejected):
        adapter.orders_of(Ref(connection="erp", kind=Kind.ACCOUNT, id=row["AccountId"]))


def test_a_reference_number_beats_an_auto_number(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    first, second = peer.crm.rows.all("Order")[:2]
    peer.crm.touch("Order", second["Id"], OrderReferenceNumber=first["OrderNumber"])
    found = adapter.find_order(first["OrderNumber"])
    assert found is not None
    assert found.ref.id == second["Id"]
    assert adapter.find_order("%") is None
    assert adapter.find_order(" ") is None


# Changes.


def walk(
    adapter: SalesforceAdapter, kind: Kind, cursor: str | None = None, *, limit: int = 200
) -> tuple[list[Ref], str]:
    seen: list[Ref] = []
    while True:
        page = adapter.changed_since(kind, cursor, limit=limit)
        seen += [record.ref for record in page.records] + list(page.deleted)
        cursor = page.cursor
        if not page.more:
            return seen, page.cursor


def test_rows_of_one_second_are_paged_without_gaps(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    """Stamps have whole seconds, and a mass update gives thousands of rows the same one."""
    stamp = "2026-11-01T10:00:00.000+0000"
    for row in peer.crm.rows.all("Contact"):
        peer.crm.touch("Contact", row["Id"], SystemModstamp=stamp)
    seen, _ = walk(adapter, Kind.CONTACT, limit=5)
    assert len(seen) == len(set(seen)) == 12
    peer.crm.batch = 2
    again, _ = walk(adapter, Kind.CONTACT, limit=5)
    assert again == seen


def test_a_row_committed_late_is_seen_by_the_next_run(peer: CrmPeer) -> None:
    """Stamped before the last run ended, committed after it: only the overlap catches it."""
    for overlap, expected in ((60, True), (0, False)):
        adapter = opened(peer.connection(overlap_s=overlap))
        _, cursor = walk(adapter, Kind.CONTACT)
        key = peer.crm.rows.all("Contact")[3]["Id"]
        late = (peer.crm.now() - timedelta(seconds=30)).isoformat()
        peer.crm.touch("Contact", key, Title="late", SystemModstamp=late)
        seen, _ = walk(adapter, Kind.CONTACT, cursor)
        assert (peer.ref(Kind.CONTACT, key) in seen) is expected
        adapter.close()


def test_a_run_ends_behind_the_orgs_clock(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    """The org's clock, not ours: here it is a year ahead."""
    peer.crm.ahead += timedelta(days=365)
    key = peer.crm.rows.all("Contact")[0]["Id"]
    peer.crm.touch("Contact", key, Title="just now")
    page = adapter.changed_since(Kind.CONTACT, None, limit=2000)
    assert peer.ref(Kind.CONTACT, key) not in [record.ref for record in page.records]
    behind = peer.crm.now() - page.as_of
    assert timedelta(seconds=LAG_S) <= behind < timedelta(seconds=LAG_S + 3)
    peer.crm.ahead += timedelta(seconds=LAG_S + 2)
    seen, _ = walk(adapter, Kind.CONTACT, page.cursor)
    assert seen == [peer.ref(Kind.CONTACT, key)]


def test_what_changes_during_a_run_comes_in_the_next(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    first = adapter.changed_since(Kind.CONTACT, None, limit=5)
    already, unread = first.records[0].ref, first.cursor
    waiting = next(
        row["Id"] for row in peer.crm.rows.all("Contact")
        if peer.ref(Kind.CONTACT, row["Id"]) not in [r.ref for r in first.records]
    )  # fmt: skip
    for key in (already.id, waiting):
        peer.crm.touch("Contact", key, Title="changed meanwhile")
    peer.crm.ahead += timedelta(seconds=LAG_S + 2)
    rest, cursor = walk(adapter, Kind.CONTACT, unread, limit=5)
    assert peer.ref(Kind.CONTACT, waiting) not in rest
    following, _ = walk(adapter, Kind.CONTACT, cursor, limit=5)
    assert {already, peer.ref(Kind.CONTACT, waiting)} <= set(following)


def test_deleted_rows_are_told(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    _, cursor = walk(adapter, Kind.ORDER)
    order = peer.crm.rows.all("Order")[0]["Id"]
    peer.crm.delete("Order", order)
    peer.crm.ahead += timedelta(seconds=LAG_S + 2)
    page = adapter.changed_since(Kind.ORDER, cursor)
    assert page.deleted == (peer.ref(Kind.ORDER, order),)
    assert page.records == ()


@pytest.mark.parametrize("kind", [Kind.CONTACT, Kind.ACCOUNT])
def test_what_a_merge_deleted_says_which_row_it_is_now(
    peer: CrmPeer, adapter: SalesforceAdapter, kind: Kind
) -> None:
    """The loser goes to the recycle bin with the winner's id in MasterRecordId."""
    _, cursor = walk(adapter, kind)
    name = str(kind).capitalize()
    loser, winner, other = (row["Id"] for row in peer.crm.rows.all(name)[:3])
    peer.crm.touch(name, loser, MasterRecordId=winner)
    peer.crm.delete(name, loser)
    peer.crm.delete(name, other)
    peer.crm.ahead += timedelta(seconds=LAG_S + 2)
    page = adapter.changed_since(kind, cursor)
    assert set(page.deleted) >= {peer.ref(kind, loser), peer.ref(kind, other)}
    assert page.merged == (Merged(gone=peer.ref(kind, loser), into=peer.ref(kind, winner)),)


def test_a_user_who_may_not_see_what_was_merged_syncs_all_the_same(
    peer: CrmPeer, adapter: SalesforceAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, cursor = walk(adapter, Kind.CONTACT)
    loser, winner = (row["Id"] for row in peer.crm.rows.all("Contact")[:2])
    peer.crm.touch("Contact", loser, MasterRecordId=winner)
    peer.crm.delete("Contact", loser)
    peer.crm.ahead += timedelta(seconds=LAG_S + 2)
    asked: list[str] = []
    original = adapter._client.query

    def hidden(query: str, **options: Any) -> Any:
        asked.append(query)
        if "MasterRecordId" in query:
            raise NotOffered("No such column 'MasterRecordId'", code="INVALID_FIELD")
        return original(query, **options)

    monkeypatch.setattr(adapter._client, "query", hidden)
    page = adapter.changed_since(Kind.CONTACT, cursor)
    assert peer.ref(Kind.CONTACT, loser) in page.deleted
    assert page.merged == ()
    asked.clear()
    adapter.changed_since(Kind.CONTACT, cursor)
    assert len(asked) == 1


def test_a_row_that_the_mapping_refuses_is_quarantined(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    key = peer.crm.seed("Product2", Name="No code", IsActive=True)
    peer.crm.ahead += timedelta(seconds=LAG_S + 2)
    page = adapter.changed_since(Kind.PRODUCT, None)
    assert len(page.records) == len(WORLD.products)
    (kept,) = page.quarantined
    assert (kept.kind, kept.id, kept.field) == (Kind.PRODUCT, key, "sku")
    assert re.search(r"product\.map\.yaml:\d+:\d+$", kept.place)
    assert kept.payload["Name"] == "No code"
    json.dumps(kept.payload)


def test_every_kind_maps_without_quarantine(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    for kind in adapter.change_kinds:
        page = adapter.changed_since(kind, None, limit=2000)
        assert page.quarantined == ()
        assert page.records
        assert all(record.updated_at is not None for record in page.records)
    cases = adapter.changed_since(Kind.CASE, None).records
    assert isinstance(cases[0], Case)


@pytest.mark.parametrize("cursor", ["", "x", "{}", "[1]", "[2,null,null,null]",
                                    '[1,"2026-01-01",null,null]', "[1,1,1,1]"])  # fmt: skip
def test_a_cursor_of_somebody_else_is_refused(adapter: SalesforceAdapter, cursor: str) -> None:
    with pytest.raises(Rejected):
        adapter.changed_since(Kind.CONTACT, cursor)


def test_cursors_read_back_as_written() -> None:
    moment = datetime(2026, 11, 20, 9, 0, 1, tzinfo=UTC)
    for cursor in (
        Cursor(),
        Cursor(moment),
        Cursor(None, moment),
        Cursor(moment, moment, (moment, "003Sb0000000001IAA")),
    ):
        assert Cursor.parse(str(cursor)) == cursor
    assert Cursor.parse(None) == Cursor()
    assert Cursor(None, moment).ended(timedelta(minutes=10)) == Cursor(
        moment - timedelta(minutes=10)
    )


# Cases.


def test_a_case_is_opened(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    receipt = adapter.create_case(peer.case_request(), key=KEY)
    row = peer.row("Case", KEY_FIELD, KEY)
    assert receipt.ref == peer.ref(Kind.CASE, row["Id"])
    assert (receipt.number, receipt.status) == (row["CaseNumber"], "new")
    assert receipt.url == f"{peer.server.url}/{row['Id']}"
    assert receipt.at is not None
    assert not receipt.already_existed
    assert row["Subject"] == "Lamp arrived broken"
    assert (row["Priority"], row["Reason"], row["Origin"]) == ("High", "Damaged", "Social")
    assert row["ContactId"] == maria(peer)["Id"]
    assert row["AccountId"] == maria(peer)["AccountId"]


def test_asking_again_changes_nothing_that_people_changed(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    first = adapter.create_case(peer.case_request(), key=KEY)
    peer.crm.touch("Case", first.ref.id, Subject="Call back!", Status="Escalated")
    again = adapter.create_case(peer.case_request(), key=KEY)
    assert again.ref == first.ref
    assert again.already_existed
    assert again.status == "open"
    assert peer.row("Case", KEY_FIELD, KEY)["Subject"] == "Call back!"


def with_upsert(peer: CrmPeer, tmp_path: Path) -> Connection:
    folder = tmp_path / "mappings" / "salesforce"
    folder.mkdir(parents=True)
    for path in MAPPINGS.glob("*.map.yaml"):
        text = path.read_text()
        (folder / path.name).write_text(text.replace("write: create", "write: upsert"))
    return peer.connection().model_copy(update={"mappings": MappingSet.load(folder)})


@pytest.mark.parametrize("upsert", [False, True])
def test_a_write_that_commits_late(peer: CrmPeer, tmp_path: Path, upsert: bool) -> None:
    """The first attempt's line drops; it is carried out only after the second one was, and after
    somebody changed what that made. An insert is refused; an upsert writes over it."""
    connection = with_upsert(peer, tmp_path) if upsert else peer.connection()
    adapter = opened(connection)
    what = "PATCH" if upsert else "POST /services/data"
    peer.server.faults.arm("late_commit", match=what, seconds=600)
    with pytest.raises(Ambiguous):
        adapter.create_case(peer.case_request(), key=KEY)
    assert adapter.find_case(peer.case_request(), key=KEY) is None
    receipt = adapter.create_case(peer.case_request(), key=KEY)
    peer.crm.touch("Case", receipt.ref.id, Subject="Call back!")
    assert peer.server.settle(60, now=True)
    assert peer.count(Operation.CASE, KEY) == 1
    subject = peer.row("Case", KEY_FIELD, KEY)["Subject"]
    assert subject == ("Lamp arrived broken" if upsert else "Call back!")
    adapter.close()


def test_upsert_by_external_id(peer: CrmPeer, tmp_path: Path) -> None:
    adapter = opened(with_upsert(peer, tmp_path))
    first = adapter.create_case(peer.case_request(), key=KEY)
    assert peer.server.lines[-2].startswith(
        f"PATCH /services/data/v60.0/sobjects/Case/{KEY_FIELD}/{KEY}"
    )
    peer.crm.touch("Case", first.ref.id, Subject="Call back!")
    again = adapter.create_case(peer.case_request(), key=KEY)
    assert again.ref == first.ref
    assert peer.row("Case", KEY_FIELD, KEY)["Subject"] == "Call back!"
    adapter.close()


def test_a_race_for_a_key_has_one_case(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    """Another process wins between our look-up and our insert."""
    with peer.armed("masked:duplicate_value", "POST /services/data"):
        receipt = adapter.create_case(peer.case_request(), key=KEY)
    assert receipt.already_existed
    assert peer.count(Operation.CASE, KEY) == 1


def test_a_key_that_is_taken_but_hidden_is_ambiguous(
    peer: CrmPeer, adapter: SalesforceAdapter, scripted: Scripted
) -> None:
    scripted.match, scripted.status = "POST /services/data", "400 Bad Request"
    scripted.body = [
        {
            "errorCode": "DUPLICATE_VALUE",
            "message": f"duplicate value found: {KEY_FIELD} duplicates value on record with id: "
            "<unknown>",
        }
    ]
    with pytest.raises(Ambiguous) as caught:
        adapter.create_case(peer.case_request(), key=KEY)
    assert "permission" in caught.value.message
    scripted.body[0]["message"] = (
        "duplicate value found: Ticket__c duplicates value on record with id: 500Sb0000000001"
    )
    with pytest.raises(Rejected) as refused:
        adapter.create_case(peer.case_request(), key=KEY)
    assert refused.value.field == "Ticket__c"


def test_keys_that_differ_in_case_are_different(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    adapter.create_case(peer.case_request(), key=KEY)
    assert adapter.find_case(peer.case_request(), key=KEY.upper()) is None
    assert adapter.find_case(peer.case_request(), key=KEY) is not None


def test_two_cases_with_our_key_need_a_person(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    """As an org may have them whose field is not Unique."""
    adapter.create_case(peer.case_request(), key=KEY)
    twin = peer.crm.seed("Case", Subject="Twin")
    peer.crm.rows.get("Case", twin)[KEY_FIELD] = KEY  # type: ignore[index]
    with pytest.raises(Duplicated):
        adapter.find_case(peer.case_request(), key=KEY)
    with pytest.raises(Duplicated):
        adapter.create_case(peer.case_request(), key=KEY)


def test_a_case_that_somebody_deleted_is_not_opened_again(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    first = adapter.create_case(peer.case_request(), key=KEY)
    peer.crm.delete("Case", first.ref.id)
    again = adapter.create_case(peer.case_request(), key=KEY)
    assert again.ref == first.ref
    assert again.status == "deleted"
    assert peer.count(Operation.CASE, KEY) == 0


@pytest.mark.parametrize("allow_save", [True, False])
def test_duplicate_rules(peer: CrmPeer, adapter: SalesforceAdapter, allow_save: bool) -> None:
    peer.crm.rules = [DuplicateRule("Case", "Subject", allow_save=allow_save)]
    peer.crm.seed("Case", Subject="Lamp arrived broken")
    with pytest.raises(Rejected) as caught:
        adapter.create_case(peer.case_request(), key=KEY)
    assert caught.value.code == "DUPLICATES_DETECTED"
    assert "allow_duplicates" in caught.value.message
    willing = opened(peer.connection(allow_duplicates=True))
    if allow_save:
        assert not willing.create_case(peer.case_request(), key=KEY).already_existed
        peer.crm.end_sessions()  # the header must outlive a new login
        assert not willing.create_case(peer.case_request(), key=OTHER_KEY).already_existed
    else:
        with pytest.raises(Rejected):
            willing.create_case(peer.case_request(), key=KEY)
    willing.close()


def test_a_duplicate_rule_about_our_own_case_is_a_find(
    peer: CrmPeer, adapter: SalesforceAdapter, scripted: Scripted
) -> None:
    """The first attempt was carried out, and the second one runs into the org's rule."""
    peer.crm.rules = [DuplicateRule("Case", "Subject")]
    looked: list[int] = []

    def blind(answer: Any) -> Any:
        """The look-up before the insert sees nothing yet."""
        looked.append(1)
        return {**answer, "records": [], "totalSize": 0} if len(looked) == 1 else answer

    made = peer.crm.seed("Case", Subject="Lamp arrived broken", **{KEY_FIELD: KEY})
    scripted.match, scripted.edit = "GET /services/data/v60.0/queryAll", blind
    receipt = adapter.create_case(peer.case_request(), key=KEY)
    assert (receipt.ref.id, receipt.already_existed) == (made, True)


def test_a_receipt_without_its_number_is_still_a_receipt(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    adapter.find_order("SO-10001")
    peer.server.faults.arm("hang_after", match="GET")  # the look-up before, unharmed
    peer.server.faults.arm("unavailable", match="GET")
    receipt = adapter.create_case(peer.case_request(), key=KEY)
    assert receipt.number is None
    assert not receipt.already_existed
    assert receipt.ref.id == peer.row("Case", KEY_FIELD, KEY)["Id"]


def test_references_of_other_systems_are_left_out(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    elsewhere = Ref(connection="erp", kind=Kind.ORDER, id="801000000000001")
    request = peer.case_request(order=elsewhere, contact=None)
    adapter.create_case(request, key=KEY)
    row = peer.row("Case", KEY_FIELD, KEY)
    assert row["Order__c"] is None
    assert row["ContactId"] is None


# Comments.


def test_a_note_is_a_private_comment(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    receipt = adapter.create_note(peer.note_request(), key=KEY)
    row = peer.crm.rows.get("CaseComment", receipt.ref.id)
    assert row is not None
    assert row["ParentId"] == peer.case
    assert row["IsPublished"] is False
    assert row["CommentBody"] == f"A replacement is on its way.\n\n[amends:{KEY}]"
    assert adapter.key_traits(Operation.NOTE) == KeyTraits(
        native=False, settle=timedelta(minutes=10)
    )
    found = adapter.find_note(peer.note_request(), key=KEY)
    assert found is not None
    assert (found.ref, found.already_existed) == (receipt.ref, True)
    peer.crm.delete("CaseComment", receipt.ref.id)
    deleted = adapter.find_note(peer.note_request(), key=KEY)
    assert deleted is not None
    assert deleted.status == "deleted"


def test_a_note_that_quotes_another_is_not_it(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    adapter.create_note(peer.note_request(f"As I said: x\n\n[amends:{OTHER_KEY}]"), key=KEY)
    assert adapter.find_note(peer.note_request(), key=OTHER_KEY) is None
    assert adapter.find_note(peer.note_request(), key=KEY) is not None


def test_two_notes_with_our_key_need_a_person(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    adapter.create_note(peer.note_request(), key=KEY)
    adapter.create_note(peer.note_request(), key=KEY)
    with pytest.raises(Duplicated):
        adapter.find_note(peer.note_request(), key=KEY)


def test_a_long_note_is_shortened_and_found(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    """4,000 bytes, not characters."""
    request = peer.note_request("ä" * 2500)
    receipt = adapter.create_note(request, key=KEY)
    row = peer.crm.rows.get("CaseComment", receipt.ref.id)
    assert row is not None
    assert len(row["CommentBody"].encode()) <= 4000
    assert "(shortened)" in row["CommentBody"]
    assert adapter.find_note(request, key=KEY) is not None


def test_notes_go_on_cases_of_the_org_only(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    for on in (
        Ref(connection="helpdesk", kind=Kind.CASE, id=peer.case),
        Ref(connection=NAME, kind=Kind.CONVERSATION, id=peer.case),
    ):
        request = peer.note_request().model_copy(update={"on": on})
        with pytest.raises(Rejected):
            adapter.create_note(request, key=KEY)
        with pytest.raises(Rejected):
            adapter.find_note(request, key=KEY)


def test_markers_and_room() -> None:
    assert ends_with_marker(f"x {marker(KEY)} \n", KEY)
    assert not ends_with_marker(f"{marker(KEY)} x", KEY)
    assert not ends_with_marker(None, KEY)
    assert shortened("abc", 3) == "abc"
    for room in range(20, 60):
        assert len(shortened("ä😀" * 50, room).encode()) <= room


# Replacement orders.


def test_a_replacement_is_a_draft_of_the_same_goods(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    request = peer.replacement(deliver_by=date(2099, 7, 1))
    receipt = adapter.create_replacement_order(request, key=KEY)
    original = peer.crm.rows.get("Order", request.order.id)
    assert original is not None
    row = peer.row("Order", KEY_FIELD, KEY)
    assert receipt.ref == peer.ref(Kind.ORDER, row["Id"])
    assert (receipt.number, receipt.status) == (row["OrderNumber"], "draft")
    for field in ("AccountId", "BillToContactId", "Pricebook2Id", "CurrencyIsoCode",
                  "ShippingStreet", "ShippingCity", "ShippingCountryCode"):  # fmt: skip
        assert row[field] == original[field], field
    assert row["Replaces__c"] == original["Id"]
    assert (row["Status"], row["Type"], row["Speed__c"]) == ("Draft", "Replacement", "Rush")
    assert row["Deliver_By__c"] == "2099-07-01"
    assert date.fromisoformat(row["EffectiveDate"]) == peer.crm.now().date()
    (item,) = peer.items(row["Id"])
    first = peer.items(original["Id"])[0]
    assert item["PricebookEntryId"] == first["PricebookEntryId"]
    assert (item["Quantity"], item["UnitPrice"]) == (1.0, 0.0)
    read = adapter.read_order(receipt.ref)
    assert read.origin == request.order
    assert read.reference == KEY
    assert [line.origin for line in read.lines] == [request.lines[0].line]
    again = adapter.create_replacement_order(request, key=KEY)
    assert (again.ref, again.already_existed) == (receipt.ref, True)
    assert peer.count(Operation.REPLACEMENT_ORDER, KEY) == 1
    assert len(peer.items(row["Id"])) == 1


def line_of(peer: CrmPeer, **more: Any) -> WantedLine:
    return peer.replacement().lines[0].model_copy(update=more)


def test_a_substitute_comes_from_the_same_price_book(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    product = peer.crm.seed("Product2", Name="Substitute", ProductCode="SUB-1", IsActive=True)
    standard = next(row["Id"] for row in peer.crm.rows.all("Pricebook2") if row["IsStandard"])
    wholesale = peer.crm.seed("Pricebook2", Name="Wholesale", IsActive=True)

    def entry(book: str, **more: Any) -> str:
        return peer.crm.seed(
            "PricebookEntry",
            Pricebook2Id=book,
            Product2Id=product,
            UnitPrice=1,
            IsActive=True,
            **more,
        )

    entry(wholesale)
    entry(standard, CurrencyIsoCode="USD")
    right = entry(standard)
    request = peer.replacement(lines=(line_of(peer, sku="SUB-1", quantity=Decimal("1.5")),))
    adapter.create_replacement_order(request, key=KEY)
    (item,) = peer.items(peer.row("Order", KEY_FIELD, KEY)["Id"])
    assert item["PricebookEntryId"] == right
    assert item["Quantity"] == 1.5
    peer.crm.touch("PricebookEntry", right, IsActive=False)
    with pytest.raises(Rejected) as caught:
        adapter.create_replacement_order(request, key=OTHER_KEY)
    assert caught.value.field == "lines.0.sku"


def test_it_goes_where_the_request_says_and_nowhere_in_between(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    elsewhere = Address(street="Hafenstraße 3", city="Hamburg", country="DE")
    adapter.create_replacement_order(peer.replacement(ship_to=elsewhere), key=KEY)
    row = peer.row("Order", KEY_FIELD, KEY)
    assert (row["ShippingStreet"], row["ShippingCity"]) == ("Hafenstraße 3", "Hamburg")
    assert row["ShippingPostalCode"] is None, "the old post code would be wrong"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"line": ids.make("802", 10**6)}, "lines.1.line"),
        ({"sku": "NOTHING-1"}, "lines.1.sku"),
    ],
)
def test_a_line_that_cannot_be_sent_again(
    peer: CrmPeer, adapter: SalesforceAdapter, change: dict[str, Any], field: str
) -> None:
    orders = len(peer.crm.rows.all("Order"))
    with pytest.raises(Rejected) as caught:
        adapter.create_replacement_order(
            peer.replacement(lines=(line_of(peer), line_of(peer, **change))), key=KEY
        )
    assert caught.value.field == field
    assert len(peer.crm.rows.all("Order")) == orders


def test_half_an_order_is_never_made(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    """Salesforce refuses the second product; the first one and the order go with it."""
    request = peer.replacement()
    items = peer.items(request.order.id)
    entry = peer.crm.rows.get("PricebookEntry", items[0]["PricebookEntryId"])
    assert entry is not None
    other = next(e for e in peer.crm.rows.all("PricebookEntry") if e["Id"] != entry["Id"])
    second = peer.crm.seed("OrderItem", OrderId=request.order.id, PricebookEntryId=other["Id"],
                           Quantity=1, UnitPrice=1)  # fmt: skip
    peer.crm.touch("PricebookEntry", other["Id"], IsActive=False)
    product = peer.crm.rows.get("Product2", other["Product2Id"])
    assert product is not None
    lines = (
        *request.lines,
        WantedLine(line=second, sku=product["ProductCode"], quantity=Decimal(1)),
    )
    before = len(peer.crm.rows.all("Order")), len(peer.crm.rows.all("OrderItem"))
    with pytest.raises(Rejected) as caught:
        adapter.create_replacement_order(peer.replacement(lines=lines), key=KEY)
    assert caught.value.code == "FIELD_INTEGRITY_EXCEPTION"
    assert (len(peer.crm.rows.all("Order")), len(peer.crm.rows.all("OrderItem"))) == before


def test_a_replacement_of_an_order_that_is_not_there(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    gone = peer.ref(Kind.ORDER, ids.make("801", 10**6))
    with pytest.raises(Missing):
        adapter.create_replacement_order(peer.replacement(order=gone), key=KEY)


def test_a_replacement_that_commits_late_is_one_order(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    peer.server.faults.arm("late_commit", match="POST /services/data", seconds=600)
    with pytest.raises(Ambiguous):
        adapter.create_replacement_order(peer.replacement(), key=KEY)
    receipt = adapter.create_replacement_order(peer.replacement(), key=KEY)
    assert peer.server.settle(60, now=True)
    assert peer.count(Operation.REPLACEMENT_ORDER, KEY) == 1
    assert len(peer.items(receipt.ref.id)) == 1


# What a connection lacks.


def finding(report: Any, name: str) -> Finding:
    (found,) = [finding for finding in report.findings if finding.name == name]
    assert isinstance(found, Finding)
    return found


def field_edit(name: str, **change: Any) -> Callable[[Any], Any]:
    def edit(answer: Any) -> Any:
        fields = [
            {**field, **change} if field["name"] == name else field for field in answer["fields"]
        ]
        return {**answer, "fields": [f for f in fields if not f.get("gone")]}

    return edit


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gone": True}, "does not exist"),
        ({"externalId": False}, "not an External ID"),
        ({"unique": False}, "not Unique"),
        ({"length": 18}, "18 characters"),
    ],
)
def test_check_names_what_is_wrong_with_the_key_field(
    adapter: SalesforceAdapter, scripted: Scripted, change: dict[str, Any], said: str
) -> None:
    scripted.match, scripted.edit = "sobjects/Case/describe", field_edit(KEY_FIELD, **change)
    report = adapter.check()
    assert not report.ok
    found = finding(report, f"key Case.{KEY_FIELD}")
    assert not found.ok
    assert said in found.detail
    assert "Unique" in found.remedy


def test_check_names_missing_fields(adapter: SalesforceAdapter, scripted: Scripted) -> None:
    scripted.match = "sobjects/Contact/describe"
    scripted.edit = field_edit("X_Handle__c", gone=True)
    found = finding(adapter.check(), "Contact (contact.map.yaml)")
    assert not found.ok
    assert "X_Handle__c" in found.detail
    assert found.remedy


def test_check_follows_lookups_and_children(adapter: SalesforceAdapter, scripted: Scripted) -> None:
    scripted.match = "sobjects/Product2/describe"
    scripted.edit = field_edit("ProductCode", gone=True)
    found = finding(adapter.check(), "Order (order.map.yaml)")
    assert "OrderItems.Product2.ProductCode" in found.detail


def test_check_names_missing_permissions(adapter: SalesforceAdapter, scripted: Scripted) -> None:
    scripted.match = "sobjects/Case/describe"
    scripted.edit = lambda answer: {**answer, "createable": False}
    found = finding(adapter.check(), "create Case")
    assert not found.ok
    assert "may not create" in found.detail
    scripted.edit = field_edit("Priority", createable=False)
    locked = finding(adapter.check(), "create Case")
    assert "Priority" in locked.detail


def test_check_names_a_hidden_object(adapter: SalesforceAdapter, scripted: Scripted) -> None:
    scripted.match, scripted.status = "sobjects/Product2/describe", "404 Not Found"
    scripted.body = [{"errorCode": "NOT_FOUND", "message": "x"}]
    found = finding(adapter.check(), "Product2 (product.map.yaml)")
    assert not found.ok
    assert "Product2" in found.detail


def test_check_writes_nothing(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    adapter.check()
    assert not [line for line in peer.server.lines if "/services/data" in line
                and not line.startswith("GET")]  # fmt: skip


def test_the_mapping_files_fit_the_org(adapter: SalesforceAdapter) -> None:
    assert [str(issue) for issue in lint_paths([MAPPINGS], adapter.describe())] == []


@pytest.mark.parametrize("result", run_fixtures([MAPPINGS]), ids=lambda result: result.name)
def test_fixtures(result: Any) -> None:
    assert result.ok, str(result)


def test_what_has_no_mapping_is_not_offered(peer: CrmPeer) -> None:
    bare = peer.connection().model_copy(update={"mappings": MappingSet.empty()})
    adapter = opened(bare)
    for operation in Operation:
        with pytest.raises(NotOffered):
            adapter.key_traits(operation)
    with pytest.raises(NotOffered):
        adapter.find_contacts(Clue(emails=("a@example.com",)))
    assert adapter.check().ok
    adapter.close()


def test_a_preview_shows_what_would_be_written_and_nobodys_data(
    peer: CrmPeer, adapter: SalesforceAdapter
) -> None:
    before = peer.crm.count("Case", "Amends_Key__c", contains="")
    request = peer.case_request()
    shown = adapter.preview(Operation.CASE, request)
    assert not shown.exact
    assert shown.payload["object"] == "Case"
    assert shown.payload["Subject"] == "•••"
    assert shown.payload["Priority"] == "High"
    assert shown.payload["Amends_Key__c"] == "preview-only"
    assert request.subject not in str(shown)
    assert peer.crm.count("Case", "Amends_Key__c", contains="") == before


def test_calls_are_bounded(peer: CrmPeer) -> None:
    adapter = opened(peer.connection(**peer.hurried))
    adapter.find_order("SO-10001")
    with peer.armed("hang_before", "GET /services/data"), pytest.raises(Transient) as caught:
        began = time.monotonic()
        adapter.find_order("SO-10001")
    assert "in time" in caught.value.message
    assert time.monotonic() - began < TOTAL_S + 20, "the simulator hangs for half a minute more"
    adapter.close()


def test_threads_share_an_adapter(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    from concurrent.futures import ThreadPoolExecutor

    keys = [f"{KEY[:-2]}{n:02d}" for n in range(12)] * 2
    with ThreadPoolExecutor(8) as pool:
        receipts = list(
            pool.map(lambda key: adapter.create_case(peer.case_request(), key=key), keys)
        )
    assert len({receipt.ref for receipt in receipts}) == 12
    assert peer.crm.count("Case", KEY_FIELD) == 12
    assert sum(line.startswith("POST /services/oauth2") for line in peer.server.lines) == 1


def test_contacts_are_canonical(peer: CrmPeer, adapter: SalesforceAdapter) -> None:
    (found,) = adapter.find_contacts(Clue(external_ids={"customer_number": "C-1001"}))
    assert isinstance(found, Contact)
    customer = WORLD.customer("C-1001")
    assert (found.given_name, found.family_name) == (customer.given_name, customer.family_name)
    assert found.address is not None
    assert (found.address.city, found.address.country) == (customer.city, customer.country)
    assert found.extra == {}
