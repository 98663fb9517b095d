"""NetSuite's and Salesforce's WSDLs, which are not ours to ship: tested where they are present."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from pydantic import SecretStr

from adapters.soap import wsdl
from adapters.soap.adapter import SoapAdapter
from adapters.soap.settings import SoapSettings
from adapters.soap.wsdl import Library
from middleware.contract.actions import (
    CaseRequest,
    Operation,
    ReplacementOrderRequest,
    WantedLine,
)
from middleware.contract.canonical import Contact, Kind, Money, Order, OrderStatus, Ref
from middleware.contract.capabilities import (
    Clue,
    Connection,
    CreatesReplacementOrders,
    FindsContacts,
    ListsChanges,
    OpensCases,
    ReadsOrders,
    capabilities_of,
)
from middleware.contract.errors import Ambiguous, Rejected, Transient, Unauthorised
from middleware.contract.mapping import MappingSet, Severity
from middleware.contract.mapping.lint import lint_paths
from tests.adapters.soap.canned import Canned, canned, envelope

ROOT = Path(__file__).parents[3]
VENDOR = ROOT.parent / "shared" / "data" / "vendor"
NETSUITE = VENDOR / "netsuite" / "netsuite.wsdl"
PARTNER = VENDOR / "salesforce" / "partner.wsdl"

pytestmark = pytest.mark.skipif(
    not NETSUITE.exists(),
    reason="the vendors' WSDLs are not in ../shared/data/vendor; they are not ours to ship",
)

KEY = "amends-0123456789abcdef"
SESSION = "00D5e000000FAKE!session"
XSI = "http://www.w3.org/2001/XMLSchema-instance"


@pytest.fixture
def remote() -> Iterator[Canned]:
    with canned() as made:
        yield made


def opened(wsdl_file: Path, mappings: Path, remote: Canned, **settings: Any) -> Any:
    return SoapAdapter.open(
        Connection(
            name="vendor",
            settings={
                "wsdl": str(wsdl_file),
                "endpoint": f"{remote.url}/soap",
                "on_premise": True,
                "max_bytes": 64 * 1024**2,
                **settings,
            },
            secrets={"session": SecretStr(SESSION)},
            mappings=MappingSet.load(mappings),
        )
    )


def reread(adapter: Any, operation: str, body: bytes, *, answer: bool = False) -> Any:
    """What zeep, strict, reads from a message by the vendor's own types."""
    interface = adapter._wire().interface
    bound = interface.binding.get(operation)
    element = (bound.output if answer else bound.input).body
    (inside,) = next(etree.fromstring(body).iter("{*}Body"))
    return element.parse(inside, interface.document.types)


@pytest.mark.parametrize(
    ("file", "documents", "operations"),
    [
        ("netsuite/netsuite.wsdl", 47, 42),
        ("salesforce/partner.wsdl", 1, 63),
        ("salesforce/enterprise-2017.wsdl", 1, 59),
        ("salesforce/metadata.wsdl", 1, 15),
    ],
)
def test_a_vendors_wsdl_loads_without_a_network(file: str, documents: int, operations: int) -> None:
    settings = SoapSettings(wsdl=str(VENDOR / file), endpoint="https://x.example.com/")
    collected = Library(settings, system="soap").fetch()
    assert len(collected.contents) == documents
    read = wsdl.read(collected, system="soap")
    (binding,) = read.document.bindings.values()
    assert len(list(binding.all())) == operations
    assert read.lock == collected.lock


# NetSuite.


@pytest.fixture
def netsuite(remote: Canned) -> Iterator[Any]:
    adapter = opened(NETSUITE, ROOT / "mappings" / "netsuite", remote)
    yield adapter
    adapter.close()


PLATFORM = "2023_2.platform.webservices.netsuite.com"
SALES = "urn:sales_2023_2.transactions.webservices.netsuite.com"
STATUS = f'<c:status xmlns:c="urn:core_{PLATFORM}" isSuccess="true"/>'


def failed(code: str) -> str:
    return (
        f'<c:status xmlns:c="urn:core_{PLATFORM}" isSuccess="false"><c:statusDetail type="ERROR">'
        f"<c:code>{code}</c:code><c:message>That cannot be.</c:message></c:statusDetail></c:status>"
    )


def sales_order(internal: str = "4712", external: str = KEY, tag: str = "record") -> str:
    return (
        f'<m:{tag} xmlns:m="urn:messages_{PLATFORM}" xmlns:s="{SALES}" xmlns:xsi="{XSI}" '
        f'xmlns:c="urn:core_{PLATFORM}" xsi:type="s:SalesOrder" internalId="{internal}" '
        f'externalId="{external}"><s:createdDate>2026-11-20T01:00:00.000-08:00</s:createdDate>'
        '<s:entity internalId="82"><c:name>Nordlicht Buchhandlung GmbH</c:name></s:entity>'
        "<s:tranDate>2026-11-20T00:00:00.000-08:00</s:tranDate><s:tranId>SO-4712</s:tranId>"
        "<s:orderStatus>_pendingFulfillment</s:orderStatus><s:total>0.0</s:total>"
        "<s:status>Pending Fulfillment</s:status><s:itemList><s:item>"
        '<s:item internalId="9"><c:name>LAMP-102</c:name></s:item>'
        "<s:quantity>1.0</s:quantity><s:rate>0.00</s:rate><s:line>1</s:line></s:item></s:itemList>"
        f"</m:{tag}>"
    )


def read_response(inside: str) -> str:
    space = f"urn:messages_{PLATFORM}"
    return f'<getResponse xmlns="{space}"><readResponse>{inside}</readResponse></getResponse>'


REPLACEMENT = ReplacementOrderRequest(
    order=Ref(connection="vendor", kind=Kind.ORDER, id="4711"),
    account=Ref(connection="vendor", kind=Kind.ACCOUNT, id="82"),
    lines=(WantedLine(line="1", sku="LAMP-102", quantity=Decimal(1)),),
)


def test_netsuite_offers_what_is_bound(netsuite: Any) -> None:
    assert capabilities_of(type(netsuite)) == (ReadsOrders, ListsChanges, CreatesReplacementOrders)
    assert netsuite.key_traits(Operation.REPLACEMENT_ORDER).native


def test_netsuites_mapping_fits_its_wsdl(netsuite: Any) -> None:
    found = lint_paths([ROOT / "mappings" / "netsuite"], netsuite.describe())
    assert [str(one) for one in found if one.severity is Severity.ERROR] == []


def test_a_sales_order_is_upserted_under_our_key(netsuite: Any, remote: Canned) -> None:
    space = f"urn:messages_{PLATFORM}"
    answer = (
        f'<upsertResponse xmlns="{space}" xmlns:xsi="{XSI}" xmlns:c="urn:core_{PLATFORM}">'
        f"<writeResponse>{STATUS}<baseRef internalId='4712' externalId='{KEY}' type='salesOrder' "
        "xsi:type='c:RecordRef'/></writeResponse></upsertResponse>"
    )
    remote.say(answer)
    receipt = netsuite.create_replacement_order(REPLACEMENT, key=KEY)
    assert receipt.ref == Ref(connection="vendor", kind=Kind.ORDER, id="4712")
    (sent,) = remote.requests
    assert sent.headers["soapaction"] == '"upsert"'
    record = reread(netsuite, "upsert", sent.body).record
    assert type(record)._xsd_type.qname.text == f"{{{SALES}}}SalesOrder"
    assert record.externalId == KEY
    assert record.entity.internalId == "82"
    assert record.memo == "Replacement for order 4711"
    (item,) = record.itemList.item
    assert (item.item.externalId, item.quantity, item.rate) == ("LAMP-102", 1.0, "0")
    reread(netsuite, "upsert", envelope(answer), answer=True)


def test_a_sales_order_is_found_by_our_key(netsuite: Any, remote: Canned) -> None:
    answer = read_response(STATUS + sales_order())
    remote.say(answer)
    found = netsuite.find_replacement_order(REPLACEMENT, key=KEY)
    assert (found.ref.id, found.number, found.status) == ("4712", "SO-4712", "pending fulfillment")
    (sent,) = remote.requests
    asked = reread(netsuite, "get", sent.body).baseRef
    assert (asked.externalId, asked.type) == (KEY, "salesOrder")
    assert type(asked)._xsd_type.qname.localname == "RecordRef"
    reread(netsuite, "get", envelope(answer), answer=True)


def test_a_sales_order_that_is_not_there(netsuite: Any, remote: Canned) -> None:
    remote.say(read_response(failed("RCRD_DSNT_EXIST")))
    assert netsuite.find_replacement_order(REPLACEMENT, key=KEY) is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("USER_ERROR", Rejected),
        ("UNEXPECTED_ERROR", Ambiguous),
        ("EXCEEDED_REQUEST_LIMIT", Transient),
    ],
)
def test_a_refused_upsert(code: str, kind: type, netsuite: Any, remote: Canned) -> None:
    space = f"urn:messages_{PLATFORM}"
    remote.say(
        f'<upsertResponse xmlns="{space}"><writeResponse>{failed(code)}</writeResponse>'
        "</upsertResponse>"
    )
    with pytest.raises(kind) as caught:
        netsuite.create_replacement_order(REPLACEMENT, key=KEY)
    assert caught.value.code == code


def test_a_fault_of_netsuites(netsuite: Any, remote: Canned) -> None:
    detail = (
        f'<f:invalidCredentialsFault xmlns:f="urn:faults_{PLATFORM}">'
        "<f:code>INVALID_LOGIN_CREDENTIALS</f:code><f:message>no</f:message>"
        "</f:invalidCredentialsFault>"
    )
    remote.fault("env:Server.userException", "no", detail)
    with pytest.raises(Unauthorised):
        netsuite.create_replacement_order(REPLACEMENT, key=KEY)


def searched(tag: str, records: str, *, pages: int, page: int) -> str:
    return (
        f'<{tag} xmlns="urn:messages_{PLATFORM}"><c:searchResult xmlns:c="urn:core_{PLATFORM}">'
        f"{STATUS}<c:totalRecords>2</c:totalRecords><c:pageSize>1</c:pageSize>"
        f"<c:totalPages>{pages}</c:totalPages><c:pageIndex>{page}</c:pageIndex>"
        f"<c:searchId>WEBSERVICES_1</c:searchId><c:recordList>{records}</c:recordList>"
        f"</c:searchResult></{tag}>"
    )


def test_changed_sales_orders_come_in_pages(netsuite: Any, remote: Canned) -> None:
    first = searched("searchResponse", _core(sales_order("1")), pages=2, page=1)
    second = searched("searchMoreWithIdResponse", _core(sales_order("2")), pages=2, page=2)
    remote.say(first)
    remote.say(second)
    page = netsuite.changed_since(Kind.ORDER, None)
    last = netsuite.changed_since(Kind.ORDER, page.cursor)
    assert (page.more, last.more) == (True, False)
    (order,) = page.records
    assert isinstance(order, Order)
    assert order.status is OrderStatus.PROCESSING
    assert order.total == Money(amount=Decimal("0.0"), currency="EUR")
    assert [record.ref.id for record in (*page.records, *last.records)] == ["1", "2"]
    asked, more = remote.requests
    search = reread(netsuite, "search", asked.body).searchRecord
    assert type(search)._xsd_type.qname.localname == "TransactionSearchBasic"
    assert search.lastModifiedDate.operator == "within"
    assert search.type.searchValue == ["_salesOrder"]
    assert asked.texts("bodyFieldsOnly") == ["false"]
    again = reread(netsuite, "searchMoreWithId", more.body)
    assert (again.searchId, again.pageIndex) == ("WEBSERVICES_1", 2)
    reread(netsuite, "search", envelope(first), answer=True)


def _core(record: str) -> str:
    return record.replace("<m:record", "<c:record").replace("</m:record", "</c:record")


# Salesforce, through its partner WSDL.


@pytest.fixture
def partner(remote: Canned) -> Iterator[Any]:
    adapter = opened(
        PARTNER,
        Path(__file__).parent / "vendor" / "salesforce_partner",
        remote,
        auth="header",
        header={
            "element": "{urn:partner.soap.sforce.com}SessionHeader",
            "values": {"sessionId": "secret:session"},
        },
    )
    yield adapter
    adapter.close()


def contact(record_id: str) -> str:
    """The partner API says a record's id twice."""
    return (
        f'<records xmlns:xsi="{XSI}" xmlns:sf="urn:sobject.partner.soap.sforce.com" '
        f'xsi:type="sf:sObject"><sf:type>Contact</sf:type><sf:Id>{record_id}</sf:Id>'
        f"<sf:Id>{record_id}</sf:Id><sf:FirstName>Maria</sf:FirstName>"
        '<sf:LastName>Schmidt</sf:LastName><sf:Email xsi:nil="true"/></records>'
    )


def queried(records: str, *, tag: str = "query", locator: str = "", header: str = "") -> str:
    done = "false" if locator else "true"
    return (
        f'<{tag}Response xmlns="urn:partner.soap.sforce.com"><result><done>{done}</done>'
        f"<queryLocator>{locator}</queryLocator>{records}<size>1</size></result></{tag}Response>"
    )


CASE = CaseRequest(
    subject="Lamp arrived broken <again>",
    priority="high",
    contact=Ref(connection="vendor", kind=Kind.CONTACT, id="003A"),
)


def test_partner_offers_what_is_bound(partner: Any) -> None:
    assert capabilities_of(type(partner)) == (FindsContacts, ListsChanges, OpensCases)


def test_contacts_are_queried(partner: Any, remote: Canned) -> None:
    remote.say(queried(contact("003A")))
    (found,) = partner.find_contacts(Clue(emails=("o'neil@example.com",)))
    assert isinstance(found, Contact)
    assert (found.ref.id, found.given_name, found.emails) == ("003A", "Maria", ())
    (sent,) = remote.requests
    query = str(reread(partner, "query", sent.body).queryString)
    assert query.endswith(r"WHERE Email = 'o\'neil@example.com'")
    assert sent.texts("sessionId") == [SESSION]


def test_changed_contacts_come_in_pages(partner: Any, remote: Canned) -> None:
    remote.say(queried(contact("003A"), locator="01g-500"))
    remote.say(queried(contact("003B"), tag="queryMore"))
    page = partner.changed_since(Kind.CONTACT, None)
    last = partner.changed_since(Kind.CONTACT, page.cursor)
    assert [record.ref.id for record in (*page.records, *last.records)] == ["003A", "003B"]
    assert remote.requests[0].texts("queryString") == [
        "SELECT Id, FirstName, LastName, Email FROM Contact"
    ]
    assert remote.requests[1].texts("queryLocator") == ["01g-500"]
    remote.say(queried(""))
    partner.changed_since(Kind.CONTACT, last.cursor)
    (query,) = remote.requests[2].texts("queryString")
    assert query is not None
    assert query.partition("WHERE ")[2].startswith("SystemModstamp >= 20")


def upserted(*, created: str = "true", success: str = "true", error: str = "") -> str:
    problem = (
        f"<errors><message>no</message><statusCode>{error}</statusCode></errors>" if error else ""
    )
    return (
        '<upsertResponse xmlns="urn:partner.soap.sforce.com"><result>'
        f"<created>{created}</created>{problem}<id>500A</id><success>{success}</success>"
        "</result></upsertResponse>"
    )


def test_a_case_is_upserted_under_our_key(partner: Any, remote: Canned) -> None:
    remote.say(upserted())
    receipt = partner.create_case(CASE, key=KEY)
    assert (receipt.ref.kind, receipt.ref.id, receipt.already_existed) == (Kind.CASE, "500A", False)
    (sent,) = remote.requests
    asked = reread(partner, "upsert", sent.body)
    assert asked.externalIDFieldName == "Amends_Key__c"
    (record,) = asked.sObjects
    assert record.type == "Case"
    assert {etree.QName(e).localname: e.text for e in record._value_1} == {
        "Amends_Key__c": KEY,
        "Subject": "Lamp arrived broken <again>",
        "Priority": "High",
        "ContactId": "003A",
    }
    assert {etree.QName(e).namespace for e in record._value_1} == {
        "urn:sobject.partner.soap.sforce.com"
    }
    assert sent.texts("allowFieldTruncation") == ["false"]
    remote.say(upserted(created="false"))
    assert partner.create_case(CASE, key=KEY).already_existed


def test_a_case_is_found_by_our_key(partner: Any, remote: Canned) -> None:
    record = (
        '<records xmlns:sf="urn:sobject.partner.soap.sforce.com"><sf:type>Case</sf:type>'
        "<sf:Id>500A</sf:Id><sf:CaseNumber>00001042</sf:CaseNumber><sf:Status>New</sf:Status>"
        f"<sf:Amends_Key__c>{KEY}</sf:Amends_Key__c></records>"
    )
    remote.say(queried(record))
    found = partner.find_case(CASE, key=KEY)
    assert (found.ref.id, found.number, found.status) == ("500A", "00001042", "new")
    remote.say(queried(""))
    assert partner.find_case(CASE, key=KEY) is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [("DUPLICATES_DETECTED", Rejected), ("UNABLE_TO_LOCK_ROW", Ambiguous)],
)
def test_a_refused_case(code: str, kind: type, partner: Any, remote: Canned) -> None:
    remote.say(upserted(success="false", error=code))
    with pytest.raises(kind) as caught:
        partner.create_case(CASE, key=KEY)
    assert caught.value.code == code


def test_an_expired_session(partner: Any, remote: Canned) -> None:
    detail = (
        '<sf:UnexpectedErrorFault xmlns:sf="urn:fault.partner.soap.sforce.com">'
        f"<sf:exceptionCode>INVALID_SESSION_ID</sf:exceptionCode><sf:exceptionMessage>{SESSION}"
        "</sf:exceptionMessage></sf:UnexpectedErrorFault>"
    )
    remote.fault("sf:INVALID_SESSION_ID", f"Invalid session {SESSION}", detail)
    with pytest.raises(Unauthorised) as caught:
        partner.create_case(CASE, key=KEY)
    assert caught.value.message == "the session has expired"
    assert SESSION not in repr(vars(caught.value))
