"""The sandbox's CRM, as simple-salesforce sees it, unmodified and over TLS.

What is expected here was constructed from Salesforce's REST API Developer Guide, the Object
Reference and the SOQL reference (API 60.0).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed,
    SalesforceError,
    SalesforceExpiredSession,
    SalesforceMoreThanOneRecord,
    SalesforceRefusedRequest,
    SalesforceResourceNotFound,
)
from simple_salesforce.login import SalesforceLogin, token_login

from middleware.sandbox.crm import (
    CLIENT_ID,
    CLIENT_SECRET,
    KEY_FIELD,
    MASKS,
    PASSWORD,
    SECURITY_TOKEN,
    USERNAME,
    Crm,
    DuplicateRule,
    ids,
    open_crm,
    schema,
    soql,
)
from middleware.sandbox.server import SandboxServer
from middleware.sandbox.world import build

Served = tuple[SandboxServer, Crm, Any]  # Any: its objects are made up by __getattr__


@pytest.fixture
def served() -> Iterator[Served]:
    crm = open_crm(build(customers=12))
    with SandboxServer(crm, tls=True) as server:
        yield server, crm, connect(server)
    assert server.errors == []
    crm.close()


def http(server: SandboxServer) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.verify = server.ca_file or True
    return session


def connect(server: SandboxServer) -> Any:
    session = http(server)
    token, instance = token_login(
        f"{server.url}/services/oauth2/token",
        {
            "grant_type": "client_credentials",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        },
        "sandbox",
        CLIENT_ID,
        None,
        None,
        session,
    )
    return Salesforce(session_id=token, instance=instance, session=session, version="60.0")


def refused(call: Any) -> tuple[int, str]:
    with pytest.raises(SalesforceError) as caught:
        call()
    content: Any = caught.value.content
    return caught.value.status, content[0]["errorCode"]


# Ids.


def test_ids_have_their_checksum() -> None:
    # Pairs from Salesforce's own documentation of the 18-character form.
    assert ids.full("001A0000006Vm9r") == "001A0000006Vm9rIAC"
    assert ids.full("0013000000000aa") == "0013000000000aaAAA"
    assert ids.read("001A0000006Vm9rIAC") == ids.read("001A0000006Vm9r") == "001A0000006Vm9rIAC"
    assert ids.read("001A0000006Vm9rIAB") is None
    assert ids.read("001A0000006Vm9") is None
    assert len({ids.make("500", n) for n in range(500)}) == 500
    assert [ids.make("500", n) for n in range(5000)] == sorted(
        ids.make("500", n) for n in range(5000)
    )


# Logins.


def test_soap_login(served: Served) -> None:
    server, _, _ = served
    session, instance = SalesforceLogin(
        username=USERNAME,
        password=PASSWORD,
        security_token=SECURITY_TOKEN,
        scratch_url=server.url,
        session=http(server),
        sf_version="60.0",
    )
    client: Any = Salesforce(session_id=session, instance=instance, session=http(server))
    assert client.query("SELECT Id FROM Contact LIMIT 1")["totalSize"] == 1
    with pytest.raises(SalesforceAuthenticationFailed) as caught:
        SalesforceLogin(
            username=USERNAME,
            password="wrong",
            security_token="wrong",
            scratch_url=server.url,
            session=http(server),
            sf_version="60.0",
        )
    assert caught.value.code == "INVALID_LOGIN"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"client_id": "wrong"}, "invalid_client_id"),
        ({"grant_type": "magic"}, "unsupported_grant_type"),
        ({"grant_type": "password", "username": USERNAME, "password": "no"}, "invalid_grant"),
    ],
)
def test_oauth_refuses(served: Served, change: dict[str, str], code: str) -> None:
    server, _, _ = served
    form = {
        "grant_type": "client_credentials",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        **change,
    }
    with pytest.raises(SalesforceAuthenticationFailed) as caught:
        token_login(f"{server.url}/services/oauth2/token", form, "", "", None, None, http(server))
    assert caught.value.code == code


def test_jwt_login_is_checked() -> None:
    import jwt

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    crm = Crm(jwt_public_key=public)
    with SandboxServer(crm, tls=True) as server:

        def login(key: rsa.RSAPrivateKey = private, **change: Any) -> str:
            claims = {
                "iss": CLIENT_ID,
                "sub": USERNAME,
                "aud": "https://login.salesforce.com",
                "exp": str(int(datetime.now(UTC).timestamp()) + 120),
                **change,
            }
            token, _ = token_login(
                f"{server.url}/services/oauth2/token",
                {
                    "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                    "assertion": jwt.encode(claims, key, algorithm="RS256"),
                },
                "sandbox",
                CLIENT_ID,
                None,
                None,
                http(server),
            )
            return str(token)

        assert login()
        for wrong in (
            {"iss": "x"},
            {"sub": "x"},
            {"aud": "https://elsewhere.example.com"},
            {"exp": "1"},
            {"key": other},
        ):
            with pytest.raises(SalesforceAuthenticationFailed):
                login(**wrong)


def test_a_session_ends(served: Served) -> None:
    server, crm, client = served
    crm.end_sessions()
    with pytest.raises(SalesforceExpiredSession) as caught:
        client.query("SELECT Id FROM Contact")
    assert caught.value.content[0]["errorCode"] == "INVALID_SESSION_ID"  # type: ignore[index]
    assert connect(server).query("SELECT Id FROM Contact")["totalSize"] == 12


def test_the_days_requests_run_out() -> None:
    crm = Crm(daily_limit=2)
    with SandboxServer(crm, tls=True) as server:
        client = connect(server)
        client.query("SELECT Id FROM Contact")
        client.query("SELECT Id FROM Contact")
        with pytest.raises(SalesforceRefusedRequest) as caught:
            client.query("SELECT Id FROM Contact")
    assert caught.value.content[0]["errorCode"] == "REQUEST_LIMIT_EXCEEDED"  # type: ignore[index]


# Rows.


def test_create_read_update_delete(served: Served) -> None:
    _, crm, client = served
    made = client.Case.create({"Subject": "Broken lamp", "Priority": "High"})
    assert made["success"] is True
    key = made["id"]
    assert key.startswith("500")
    assert len(key) == 18
    case = client.Case.get(key)
    assert (case["Subject"], case["Status"], case["IsClosed"]) == ("Broken lamp", "New", False)
    assert case["CaseNumber"].isdigit()
    assert case["CreatedDate"].endswith(".000+0000")
    assert client.Case.get(key[:15])["Id"] == key
    crm.ahead += timedelta(seconds=5)
    assert client.Case.update(key, {"Status": "Closed"}) == 204
    closed = client.Case.get(key)
    assert closed["IsClosed"] is True
    assert closed["ClosedDate"] is not None
    assert closed["SystemModstamp"] > case["SystemModstamp"]
    assert client.Case.delete(key) == 204
    with pytest.raises(SalesforceResourceNotFound) as caught:
        client.Case.get(key)
    assert caught.value.content[0]["errorCode"] == "ENTITY_IS_DELETED"  # type: ignore[index]
    assert refused(lambda: client.Case.get(ids.make("500", 10**6))) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("name", "values", "code"),
    [
        ("Contact", {"FirstName": "Mia"}, "REQUIRED_FIELD_MISSING"),
        ("Contact", {"LastName": ""}, "REQUIRED_FIELD_MISSING"),
        ("Contact", {"LastName": "x" * 81}, "STRING_TOO_LONG"),
        ("Contact", {"LastName": "x", "Email": "nobody"}, "INVALID_EMAIL_ADDRESS"),
        ("Contact", {"LastName": "x", "Nonsense": 1}, "INVALID_FIELD"),
        ("Contact", {"LastName": "x", "Name": "y"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ("Contact", {"LastName": "x", "AccountId": "mine"}, "MALFORMED_ID"),
        ("Contact", {"LastName": "x", "AccountId": ids.make("500", 1)}, "MALFORMED_ID"),
        ("Contact", {"LastName": "x", "AccountId": ids.make("001", 9**9)},
         "INVALID_CROSS_REFERENCE_KEY"),
        ("Contact", {"LastName": {"a": 1}}, "JSON_PARSER_ERROR"),
        ("Case", {"Priority": "Panic"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ("Account", {"Name": "x", "AnnualRevenue": "much"}, "JSON_PARSER_ERROR"),
        ("Account", {"Name": "x", "AnnualRevenue": 1e17}, "NUMBER_OUTSIDE_VALID_RANGE"),
        ("Order", {"EffectiveDate": "2026-11-20", "Status": "Draft"}, "REQUIRED_FIELD_MISSING"),
        ("User", {"Username": "x"}, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_refused(
    served: Served, name: str, values: dict[str, Any], code: str
) -> None:
    _, crm, client = served
    before = len(crm.rows.all(name))
    assert refused(lambda: getattr(client, name).create(values)) == (400, code)
    assert len(crm.rows.all(name)) == before


def test_an_order_is_born_as_a_draft(served: Served) -> None:
    _, crm, client = served
    order = dict(crm.rows.all("Order")[0])
    values = {
        "AccountId": order["AccountId"],
        "EffectiveDate": "2026-11-20",
        "Pricebook2Id": order["Pricebook2Id"],
    }
    assert refused(lambda: client.Order.create({**values, "Status": "Activated"})) == (
        400,
        "FAILED_ACTIVATION",
    )
    made = client.Order.create({**values, "Status": "Draft"})["id"]
    assert refused(lambda: client.Order.update(made, {"Status": "Activated"}))[1] == (
        "FAILED_ACTIVATION"
    )
    entry = crm.rows.all("PricebookEntry")[0]
    item = {"OrderId": made, "Quantity": 2, "UnitPrice": 1.5}
    assert refused(lambda: client.OrderItem.create(item))[1] == "REQUIRED_FIELD_MISSING"
    client.OrderItem.create({**item, "PricebookEntryId": entry["Id"]})
    assert client.Order.get(made)["TotalAmount"] == 3.0
    client.Order.update(made, {"Status": "Activated"})
    assert (
        refused(lambda: client.OrderItem.create({**item, "PricebookEntryId": entry["Id"]}))[1]
        == "FIELD_INTEGRITY_EXCEPTION"
    )


def test_upsert_by_external_id(served: Served) -> None:
    server, crm, client = served
    first = client.Case.upsert(f"{KEY_FIELD}/KEY-1", {"Subject": "One"}, raw_response=True)
    assert first.status_code == 201
    assert first.json()["created"] is True
    again = client.Case.upsert(f"{KEY_FIELD}/key-1", {"Subject": "Two"}, raw_response=True)
    assert again.status_code == 200
    assert again.json() == {
        "id": first.json()["id"], "success": True, "errors": [], "created": False
    }  # fmt: skip
    assert client.Case.get_by_custom_id(KEY_FIELD, "KEY-1")["Subject"] == "Two"
    old: Any = Salesforce(
        session_id=client.session_id,
        instance=client.sf_instance,
        session=http(server),
        version="45.0",
    )
    assert old.Case.upsert(f"{KEY_FIELD}/KEY-1", {"Subject": "Three"}) == 204
    assert refused(lambda: client.Case.upsert(f"{KEY_FIELD}/K", {KEY_FIELD: "K"}))[1] == (
        "INVALID_FIELD"
    )
    assert refused(lambda: client.Case.upsert("Subject/K", {"Origin": "Web"}))[0] == 404
    odd = "ä b/c?&%25"
    client.Contact.upsert(f"Customer_Number__c/{quote(odd, safe='')}", {"LastName": "Odd"})
    assert crm.count("Contact", "Customer_Number__c", odd) == 1
    assert client.Contact.get_by_custom_id("Customer_Number__c", "C-1001")["LastName"]


def test_an_external_id_that_is_not_unique_answers_300(served: Served) -> None:
    _, crm, client = served
    crm.seed("Contact", LastName="Twin", Customer_Number__c="C-1001")
    with pytest.raises(SalesforceMoreThanOneRecord) as caught:
        client.Contact.upsert("Customer_Number__c/C-1001", {"LastName": "x"})
    assert len(caught.value.content) == 2


def test_a_unique_field_refuses_a_second_row(served: Served) -> None:
    _, crm, client = served
    client.Case.create({"Subject": "One", KEY_FIELD: "KEY-1"})
    assert refused(lambda: client.Case.create({"Subject": "Two", KEY_FIELD: "key-1"})) == (
        400,
        "DUPLICATE_VALUE",
    )
    assert crm.count("Case", KEY_FIELD) == 1
    # A deleted row gives its value free, and so does one that changed it.
    key = crm.rows.by("Case", KEY_FIELD, "KEY-1")[0]["Id"]
    client.Case.update(key, {KEY_FIELD: "KEY-2"})
    client.Case.create({"Subject": "Three", KEY_FIELD: "KEY-1"})
    client.Case.delete(key)
    client.Case.create({"Subject": "Four", KEY_FIELD: "KEY-2"})


def test_a_race_for_a_key_has_one_winner(served: Served) -> None:
    server, crm, _ = served
    answers: list[int | str] = []

    def create() -> None:
        try:
            connect(server).Case.create({"Subject": "x", KEY_FIELD: "RACE-1"})
            answers.append("made")
        except SalesforceError as error:
            answers.append(error.content[0]["errorCode"])  # type: ignore[index]

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, answers)) == ["DUPLICATE_VALUE"] * 7 + ["made"]
    assert crm.count("Case", KEY_FIELD, "RACE-1") == 1


@pytest.mark.parametrize("allow_save", [True, False])
def test_duplicate_rules(served: Served, allow_save: bool) -> None:
    _, crm, client = served
    crm.rules = [DuplicateRule("Contact", "Email", allow_save=allow_save)]
    twin = {"LastName": "Schmidt", "Email": "maria.schmidt@example.com"}
    with pytest.raises(SalesforceError) as caught:
        client.Contact.create(twin)
    error: Any = caught.value.content[0]
    assert error["errorCode"] == "DUPLICATES_DETECTED"
    assert error["duplicateResut"]["allowSave"] is allow_save
    matched = error["duplicateResut"]["matchResults"][0]["matchRecords"][0]["record"]["Id"]
    assert client.Contact.get(matched)["Email"] == "maria.schmidt@example.com"
    header = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}
    if allow_save:
        assert client.Contact.create(twin, headers=header)["success"]
    else:
        assert refused(lambda: client.Contact.create(twin, headers=header))[1] == (
            "DUPLICATES_DETECTED"
        )


def tree(order: Any, entry: str, key: str, **item: Any) -> dict[str, Any]:
    return {
        "records": [
            {
                "attributes": {"type": "Order", "referenceId": "order"},
                "AccountId": order["AccountId"],
                "Pricebook2Id": order["Pricebook2Id"],
                "EffectiveDate": "2026-11-20",
                "Status": "Draft",
                KEY_FIELD: key,
                "OrderItems": {
                    "records": [
                        {
                            "attributes": {"type": "OrderItem", "referenceId": "line1"},
                            "PricebookEntryId": entry,
                            "Quantity": 1,
                            "UnitPrice": 0,
                            **item,
                        }
                    ]
                },
            }
        ]
    }


def test_a_tree_is_all_or_nothing(served: Served) -> None:
    _, crm, client = served
    order, entry = crm.rows.all("Order")[0], crm.rows.all("PricebookEntry")[0]["Id"]
    body = tree(order, entry, "TREE-1")
    made = client.restful("composite/tree/Order", method="POST", json=body)
    assert made is not None
    assert made["hasErrors"] is False
    assert [result["referenceId"] for result in made["results"]] == ["order", "line1"]
    assert client.OrderItem.get(made["results"][1]["id"])["OrderId"] == made["results"][0]["id"]
    orders, items = len(crm.rows.all("Order")), len(crm.rows.all("OrderItem"))
    for wrong in (body, tree(order, entry, "TREE-2", Quantity="many"), tree(order, "x", "TREE-2")):
        with pytest.raises(SalesforceError) as caught:
            client.restful("composite/tree/Order", method="POST", json=wrong)
        content: Any = caught.value.content
        assert (caught.value.status, content["hasErrors"]) == (400, True)
    assert len(crm.rows.all("Order")) == orders
    assert len(crm.rows.all("OrderItem")) == items
    assert crm.count("Order", KEY_FIELD, "TREE-2") == 0
    client.restful("composite/tree/Order", method="POST", json=tree(order, entry, "TREE-3"))
    right = tree(order, entry, "TREE-2")
    assert client.restful("composite/tree/Order", method="POST", json=right) is not None
    assert crm.count("Order", KEY_FIELD, "TREE-2") == 1


def test_a_comments_limit_counts_bytes(served: Served) -> None:
    _, _, client = served
    case = client.Case.create({"Subject": "x"})["id"]
    client.CaseComment.create({"ParentId": case, "CommentBody": "ä" * 2000})
    assert refused(
        lambda: client.CaseComment.create({"ParentId": case, "CommentBody": "ä" * 2001})
    ) == (400, "STRING_TOO_LONG")


def test_a_crm_without_orders() -> None:
    crm = open_crm(build(customers=12), orders=False)
    assert crm.rows.all("Contact")
    assert crm.rows.all("Product2")
    assert not crm.rows.all("Order")


def test_deleting_takes_what_hangs_on_it(served: Served) -> None:
    _, crm, client = served
    order = crm.rows.all("Order")[0]["Id"]
    client.Order.delete(order)
    items = [row for row in crm.rows.all("OrderItem") if row["OrderId"] == order]
    assert items
    assert all(row["IsDeleted"] for row in items)


def test_describe(served: Served) -> None:
    _, _, client = served
    described = client.Case.describe()
    fields = {field["name"]: field for field in described["fields"]}
    assert fields[KEY_FIELD]["externalId"] is fields[KEY_FIELD]["unique"] is True
    assert fields["CaseNumber"]["createable"] is False
    assert "High" in [value["value"] for value in fields["Priority"]["picklistValues"]]
    assert fields["ContactId"]["referenceTo"] == ["Contact"]
    assert [c["relationshipName"] for c in described["childRelationships"]] == [
        "CaseComments",
        "Events",
    ]
    everything = client.describe()
    assert everything is not None
    assert {o["name"]: o["keyPrefix"] for o in everything["sobjects"]}["Order"] == "801"
    assert client.limits()["DailyApiRequests"]["Max"] == 100_000
    assert refused(lambda: client.Nonsense__c.describe())[0] == 404


WSDL = Path(__file__).parents[3] / "shared/data/vendor/salesforce/enterprise-2017.wsdl"


@pytest.mark.skipif(not WSDL.exists(), reason="the vendor's WSDL is not part of the repository")
def test_standard_fields_are_the_vendors() -> None:
    text = WSDL.read_text()
    # Younger than that WSDL, or hidden in its org.
    absent = {"CurrencyIsoCode", "HasOptedOutOfEmail", "QuantityUnitOfMeasure"}
    types = {"currency": "double", "datetime": "dateTime", "reference": "ID", "id": "ID"}
    for sobject in schema.OBJECTS.values():
        if not sobject.writable:
            continue  # users and the organization are only hinted at
        block = re.search(f'complexType name="{sobject.name}">(.*?)</complexType', text, re.DOTALL)
        assert block is not None, sobject.name
        theirs = dict(re.findall(r'<element name="(\w+)"[^>]*type="\w+:(\w+)"', block.group(1)))
        for field in sobject.fields.values():
            if field.custom or field.name in absent or field.type == "id":
                continue
            if field.name.endswith("CountryCode"):
                continue
            plain = field.type if field.type in ("boolean", "date", "double", "int") else "string"
            assert theirs[field.name] == types.get(field.type, plain), (sobject.name, field.name)


def event(**values: Any) -> dict[str, Any]:
    return {"Subject": "Call", "StartDateTime": "2026-11-23T13:00:00Z", **values}


def test_an_event_lasts_as_long_as_its_times_say(served: Served) -> None:
    """Event, Object Reference: a start, and an end or a duration; both only if they agree."""
    _, _, client = served
    half_past = "2026-11-23T13:30:00Z"
    made = client.Event.create(event(EndDateTime=half_past))["id"]
    assert made.startswith("00U")
    row = client.Event.get(made)
    assert (row["DurationInMinutes"], row["ActivityDateTime"]) == (30, row["StartDateTime"])
    client.Event.update(made, {"DurationInMinutes": 45})
    assert client.Event.get(made)["EndDateTime"] == "2026-11-23T13:45:00.000+0000"
    client.Event.update(made, {"StartDateTime": "2026-11-23T14:00:00Z"})
    assert client.Event.get(made)["EndDateTime"] == "2026-11-23T14:45:00.000+0000"
    client.Event.create(event(EndDateTime=half_past, DurationInMinutes=30))
    for values, code in (
        (event(), "REQUIRED_FIELD_MISSING"),
        ({"Subject": "Call", "DurationInMinutes": 30}, "REQUIRED_FIELD_MISSING"),
        (event(EndDateTime=half_past, DurationInMinutes=31), "FIELD_INTEGRITY_EXCEPTION"),
        (event(EndDateTime="2026-11-23T12:00:00Z"), "FIELD_INTEGRITY_EXCEPTION"),
        (event(DurationInMinutes=15 * 24 * 60), "FIELD_INTEGRITY_EXCEPTION"),
        (event(EndDateTime=half_past, ActivityDateTime=half_past), "FIELD_INTEGRITY_EXCEPTION"),
    ):
        assert refused(lambda values=values: client.Event.create(values)) == (400, code)


def test_an_events_account_is_what_it_is_about_or_whose_contact(served: Served) -> None:
    _, crm, client = served
    contact = next(row for row in crm.rows.all("Contact"))
    other = next(r for r in crm.rows.all("Account") if r["Id"] != contact["AccountId"])
    case = crm.seed("Case", Subject="x")
    common = event(DurationInMinutes=5, WhoId=contact["Id"])
    for what, account in (
        (other["Id"], other["Id"]),
        (case, contact["AccountId"]),
        (None, contact["AccountId"]),
    ):
        made = client.Event.create({**common, "WhatId": what})["id"]
        assert client.Event.get(made)["AccountId"] == account
    wrong = {**common, "WhatId": contact["Id"]}
    assert refused(lambda: client.Event.create(wrong)) == (400, "MALFORMED_ID")


def test_two_events_do_not_bear_one_key(served: Served) -> None:
    _, _, client = served
    client.Event.create(event(DurationInMinutes=5, **{KEY_FIELD: "k-1"}))
    again = event(DurationInMinutes=5, **{KEY_FIELD: "k-1"})
    assert refused(lambda: client.Event.create(again)) == (400, "DUPLICATE_VALUE")


def test_a_change_may_be_conditional(served: Served) -> None:
    """If-Unmodified-Since, "Conditional Request Headers": whole seconds of LastModifiedDate."""
    _, crm, client = served
    key = crm.seed("Case", Subject="x")
    changed = datetime.fromisoformat(client.Case.get(key)["LastModifiedDate"])

    def update(since: str) -> int:
        headers = {"If-Unmodified-Since": since}
        return int(client.Case.update(key, {"Subject": "y"}, headers=headers))

    assert update(format_datetime(changed.replace(microsecond=0), usegmt=True)) == 204
    crm.ahead += timedelta(seconds=5)
    crm.touch("Case", key, Subject="z")
    with pytest.raises(SalesforceError) as caught:
        update(format_datetime(changed, usegmt=True))
    assert caught.value.status == 412
    assert client.Case.get(key)["Subject"] == "z"
    with pytest.raises(SalesforceError) as caught:
        update("yesterday")
    assert caught.value.status == 400


@pytest.mark.parametrize("together", [True, False])
def test_a_composite_is_one_transaction_if_asked(served: Served, together: bool) -> None:
    _, crm, client = served
    first, second = crm.seed("Case", Subject="x"), crm.seed("Case", Subject="x")
    base = "/services/data/v60.0/sobjects/Case/"
    steps = [
        {"method": "PATCH", "url": base + first, "referenceId": "a", "body": {"Subject": "y"}},
        {"method": "PATCH", "url": base + second, "referenceId": "b", "body": {"Nonsense": 1}},
        {"method": "DELETE", "url": base + second, "referenceId": "c"},
    ]

    def ask() -> list[tuple[int, str | None]]:
        body = {"allOrNone": together, "compositeRequest": steps}
        answer = client.restful("composite", method="POST", json=body)["compositeResponse"]
        assert [step["referenceId"] for step in answer] == ["a", "b", "c"]
        return [(s["httpStatusCode"], s["body"] and s["body"][0]["errorCode"]) for s in answer]

    halted = (400, "PROCESSING_HALTED")
    told = [halted, (400, "INVALID_FIELD"), halted] if together else [
        (204, None), (400, "INVALID_FIELD"), (204, None)]  # fmt: skip
    assert ask() == told
    assert client.Case.get(first)["Subject"] == ("x" if together else "y")
    assert crm.rows.get("Case", second)["IsDeleted"] is not together  # type: ignore[index]


def test_a_composites_steps_have_headers_of_their_own(served: Served) -> None:
    _, crm, client = served
    key = crm.seed("Case", Subject="x")
    url = f"/services/data/v60.0/sobjects/Case/{key}"
    long_ago = {"If-Unmodified-Since": "Tue, 31 May 2016 18:00:00 GMT"}
    steps = [
        {"method": "PATCH", "url": url, "referenceId": "a", "body": {}, "httpHeaders": long_ago},
        {"method": "DELETE", "url": url, "referenceId": "b"},
    ]
    body = {"allOrNone": True, "compositeRequest": steps}
    answer = client.restful("composite", method="POST", json=body)["compositeResponse"]
    assert [step["httpStatusCode"] for step in answer] == [412, 400]
    assert crm.rows.get("Case", key)["IsDeleted"] is False  # type: ignore[index]
    wrongs: list[dict[str, Any]] = [{}, {"compositeRequest": []}, {"compositeRequest": [{}]}]
    for wrong in wrongs:
        asked = {"method": "POST", "json": wrong}
        refusal = refused(lambda asked=asked: client.restful("composite", **asked))
        assert refusal == (400, "INVALID_INPUT")


# Queries.


def names(client: Any, where: str) -> list[str]:
    found = client.query_all(f"SELECT FirstName, LastName FROM Contact {where}")
    return [f"{row['FirstName']} {row['LastName']}" for row in found["records"]]


@pytest.fixture
def people() -> Iterator[Any]:
    crm = Crm()
    home = crm.seed("Account", Name="Home", AccountNumber="A-1")
    for first, last, mail, account in (
        ("Ana", "Ost", "ana@example.com", home),
        ("Ben", "West", "BEN@example.com", None),
        ("Cem", "O'Süd", None, None),
        ("Dan", "50%_", "dan@example.com", home),
        (None, "back\\slash", None, None),
    ):
        crm.seed("Contact", FirstName=first, LastName=last, Email=mail, AccountId=account)
        crm.ahead += timedelta(seconds=10)
    with SandboxServer(crm, tls=True) as server:
        yield connect(server)
    assert server.errors == []


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("WHERE Email = 'ben@EXAMPLE.com'", ["Ben West"]),
        ("WHERE Email = null ORDER BY LastName", ["None back\\slash", "Cem O'Süd"]),
        ("WHERE Email != null AND Account.Name = 'home'", ["Ana Ost", "Dan 50%_"]),
        ("WHERE Email != 'ana@example.com' AND FirstName != null",
         ["Ben West", "Cem O'Süd", "Dan 50%_"]),
        ("WHERE LastName IN ('west', 'Ost')", ["Ana Ost", "Ben West"]),
        ("WHERE FirstName NOT IN ('Ana', 'Ben', null)", ["Cem O'Süd", "Dan 50%_"]),
        ("WHERE LastName LIKE '%st'", ["Ana Ost", "Ben West"]),
        ("WHERE LastName LIKE '_st'", ["Ana Ost"]),
        (r"WHERE LastName LIKE '50\%\_'", ["Dan 50%_"]),
        (r"WHERE LastName = 'O\'Süd'", ["Cem O'Süd"]),
        (r"WHERE LastName = 'back\\slash'", ["None back\\slash"]),
        (r"WHERE LastName = 'O\u0027Süd'", ["Cem O'Süd"]),
        ("WHERE (FirstName = 'Ana' OR FirstName = 'Ben') AND (NOT Email LIKE 'ana%')",
         ["Ben West"]),
        ("WHERE NOT (FirstName = 'Ana' OR FirstName = null) ORDER BY FirstName DESC LIMIT 2",
         ["Dan 50%_", "Cem O'Süd"]),
        ("ORDER BY FirstName NULLS LAST LIMIT 1 OFFSET 4", ["None back\\slash"]),
        ("ORDER BY FirstName ASC LIMIT 1", ["None back\\slash"]),
        ("WHERE FirstName > 'b' AND FirstName <= 'CEM'", ["Ben West", "Cem O'Süd"]),
        ("WHERE Account.AccountNumber = null LIMIT 1", ["Ben West"]),
        ("WHERE HasOptedOutOfEmail = true", []),
        ("WHERE CreatedDate < 1999-12-31T23:59:59.999+01:00", []),
    ],
)  # fmt: skip
def test_soql(people: Any, where: str, expected: list[str]) -> None:
    assert names(people, where) == expected


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT Id FROM Contact WHERE", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE Id = null AND Id = null OR Id = null", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE LastName = 'open", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE LastName = 'a\nb'", "MALFORMED_QUERY"),
        (r"SELECT Id FROM Contact WHERE LastName = '\q'", "MALFORMED_QUERY"),
        (r"SELECT Id FROM Contact WHERE LastName = '\%'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact LIMIT 1 DROP", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact; DELETE", "MALFORMED_QUERY"),
        ("SELECT Id, FROM Contact", "MALFORMED_QUERY"),
        ("SELECT Id Contact", "MALFORMED_QUERY"),
        ("SELECT Id FROM Nothing", "INVALID_TYPE"),
        ("SELECT Id, Nothing FROM Contact", "INVALID_FIELD"),
        ("SELECT Id, Id FROM Contact", "INVALID_FIELD"),
        ("SELECT Id, Nobody.Name FROM Contact", "INVALID_FIELD"),
        ("SELECT Id, (SELECT Id FROM Orders) FROM Contact", "INVALID_TYPE"),
        ("SELECT Id FROM Contact WHERE LastName = 5", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE CreatedDate > '2026-01-01T00:00:00Z'", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE Description = 'x'", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FROM Contact WHERE CreatedDate LIKE 'x'", "INVALID_FIELD"),
        ("SELECT Id FROM Contact ORDER BY Description", "INVALID_FIELD"),
    ],
)
def test_wrong_soql_is_refused(people: Any, query: str, code: str) -> None:
    assert refused(lambda: people.query(query)) == (400, code)


def test_the_object_named_order_can_be_queried(served: Served) -> None:
    _, _, client = served
    found = client.query(
        "SELECT Id, Account.Name, (SELECT Id, Product2.ProductCode FROM OrderItems LIMIT 1) "
        "FROM Order ORDER BY OrderNumber LIMIT 1"
    )["records"][0]
    assert found["Account"]["Name"]
    assert found["OrderItems"]["records"][0]["Product2"]["ProductCode"]
    assert client.query("SELECT COUNT() FROM Order WHERE Account.Name != null")["totalSize"] == 48


def test_further_pages(served: Served) -> None:
    _, crm, client = served
    crm.batch = 5
    first = client.query("SELECT Id FROM Contact ORDER BY Id")
    assert (len(first["records"]), first["totalSize"], first["done"]) == (5, 12, False)
    ids_seen = [row["Id"] for row in client.query_all("SELECT Id FROM Contact")["records"]]
    assert len(set(ids_seen)) == 12
    assert refused(lambda: client.query_more("0r8Sb0000000001AAA-5")) == (
        400,
        "INVALID_QUERY_LOCATOR",
    )
    crm.batch = 1
    parent = client.query(
        "SELECT Id, (SELECT Id FROM Orders) FROM Account WHERE AccountNumber = 'C-1001'"
    )
    orders = parent["records"][0]["Orders"]
    assert orders["done"] is False
    more = client.query_more(orders["nextRecordsUrl"], identifier_is_url=True)
    assert len(more["records"]) == 1


def test_deleted_rows_show_in_query_all_only(served: Served) -> None:
    _, crm, client = served
    order = crm.rows.all("Order")[0]["Id"]
    item = next(row["Id"] for row in crm.rows.all("OrderItem") if row["OrderId"] == order)
    client.OrderItem.delete(item)
    query = f"SELECT Id, (SELECT Id FROM OrderItems) FROM Order WHERE Id = '{order}'"
    alive = client.query(query)["records"][0]["OrderItems"]
    assert item not in [row["Id"] for row in (alive or {"records": []})["records"]]
    everything = client.query(query, include_deleted=True)["records"][0]["OrderItems"]["records"]
    assert item in [row["Id"] for row in everything]
    client.Order.delete(order)
    assert client.query(query)["totalSize"] == 0
    assert client.query(query, include_deleted=True)["totalSize"] == 1


def test_get_updated_and_deleted(served: Served) -> None:
    _, crm, client = served
    key = crm.rows.all("Contact")[0]["Id"]
    begun = crm.now() - timedelta(minutes=5)
    client.Contact.update(key, {"Title": "Dr"})
    client.Contact.delete(crm.rows.all("Contact")[1]["Id"])
    until = crm.now() + timedelta(minutes=5)
    assert client.Contact.updated(begun, until)["ids"] == [key]
    gone = client.Contact.deleted(begun, until)["deletedRecords"]
    assert [row["id"] for row in gone] == [crm.rows.all("Contact")[1]["Id"]]
    assert refused(lambda: client.Contact.deleted(until, until))[1] == "INVALID_REPLICATION_DATE"


def test_stamps_have_whole_seconds_and_never_go_back(served: Served) -> None:
    _, crm, client = served
    key = client.Case.create({"Subject": "x"})["id"]
    first = client.Case.get(key)["SystemModstamp"]
    crm.ahead -= timedelta(minutes=1)
    client.Case.update(key, {"Subject": "y"})
    assert client.Case.get(key)["SystemModstamp"] == first
    assert soql.instant(datetime(2026, 1, 2, 3, 4, 5, 999_999, UTC)) == (
        "2026-01-02T03:04:05.000+0000"
    )


# Lies, memory, and what other processes see.

NOT_APPLIED = sorted(name for name, effect in MASKS.items() if "nothing happened" in effect)
APPLIED = sorted(set(MASKS) - set(NOT_APPLIED))


@pytest.mark.parametrize("mask", NOT_APPLIED)
def test_masks_that_do_nothing(served: Served, mask: str) -> None:
    server, crm, client = served
    before = len(crm.rows.all("Case"))
    server.faults.arm(f"masked:{mask}", match="POST")
    client.session.post(
        f"{client.base_url}sobjects/Case", json={"Subject": "x"}, headers=client.headers
    )
    assert len(crm.rows.all("Case")) == before


@pytest.mark.parametrize("mask", APPLIED)
def test_masks_that_lie_about_what_they_did(served: Served, mask: str) -> None:
    server, crm, client = served
    server.faults.arm(f"masked:{mask}", match="POST")
    answer = client.session.post(
        f"{client.base_url}sobjects/Case",
        json={"Subject": "x", KEY_FIELD: "LIE-1"},
        headers=client.headers,
    )
    assert "success" not in answer.text
    assert crm.count("Case", KEY_FIELD, "LIE-1") == 1


def test_rows_outlive_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "crm.sqlite"
    crm = open_crm(build(customers=12), state_path=path)
    with SandboxServer(crm, tls=True) as server:
        before = connect(server)
        made = before.Case.create({"Subject": "kept", KEY_FIELD: "KEPT-1"})["id"]
        deleted = before.Case.create({"Subject": "gone", KEY_FIELD: "GONE-1"})["id"]
        before.Case.delete(deleted)
        token = before.session_id
    # No close: the process was killed.
    again = open_crm(build(customers=12), state_path=path)
    with SandboxServer(again, tls=True) as server:
        client: Any = Salesforce(
            session_id=token,
            instance=server.url.removeprefix("https://"),
            session=http(server),
            version="60.0",
        )
        assert client.Case.get(made)["Subject"] == "kept"
        assert client.query("SELECT Id FROM Contact")["totalSize"] == 12
        assert refused(lambda: client.Case.create({KEY_FIELD: "KEPT-1"}))[1] == "DUPLICATE_VALUE"
        assert client.Case.create({KEY_FIELD: "GONE-1"})["id"] not in (made, deleted)
    crm.close()
    again.close()


def test_counting_over_http(served: Served) -> None:
    server, crm, client = served
    key = client.Case.create({"Subject": "x", KEY_FIELD: "COUNT-1"})["id"]
    for text in ("a [amends:N-1]", "b [amends:N-1]", "c"):
        client.CaseComment.create({"ParentId": key, "CommentBody": text})

    def rows(**query: str) -> Any:
        return http(server).get(f"{server.url}/_sandbox/rows", params=query).json()

    assert rows(object="Case", field=KEY_FIELD) == {"count": 1, "counts": {"COUNT-1": 1}}
    assert rows(object="Case", field=KEY_FIELD, value="COUNT-1") == {"count": 1}
    assert rows(object="CaseComment", field="CommentBody", contains="[amends:N-1]") == {"count": 2}
    assert "error" in rows(object="Case", field="Nothing")
    http(server).post(
        f"{server.url}/_sandbox/duplicate_rules",
        data=json.dumps([{"object": "Contact", "field": "Email"}]),
    )
    assert crm.rules == [DuplicateRule("Contact", "Email")]
    http(server).post(f"{server.url}/_sandbox/sessions")
    assert refused(lambda: client.query("SELECT Id FROM Case"))[1] == "INVALID_SESSION_ID"
