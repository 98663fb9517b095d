"""A remote that answers what a test tells it, and small WSDLs to speak to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lxml import etree
from pydantic import SecretStr

from adapters.soap.adapter import SoapAdapter
from middleware.contract.capabilities import Connection
from middleware.contract.mapping import MappingSet
from middleware.sandbox.server import SandboxServer

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"


@dataclass
class Request:
    """What the remote was sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def xml(self) -> etree._Element:
        return etree.fromstring(self.body)

    def texts(self, name: str) -> list[str | None]:
        """The texts of all elements of this name, whatever their namespace."""
        return [found.text for found in self.xml.iter(f"{{*}}{name}")]


@dataclass
class Answer:
    body: bytes
    status: str = "200 OK"
    headers: dict[str, str] = field(default_factory=dict)


class Canned:
    """Answers in the order in which answers were put in; GETs are answered from `files`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[Answer] = []
        self.files: dict[str, bytes] = {}
        self.server = SandboxServer(self)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        headers = {
            key[5:].replace("_", "-").lower(): str(value)
            for key, value in environ.items()
            if key.startswith("HTTP_")
        }
        headers["content-type"] = environ.get("CONTENT_TYPE", "")
        self.requests.append(Request(environ["REQUEST_METHOD"], path, headers, body))
        if environ["REQUEST_METHOD"] == "GET":
            answer = (
                Answer(self.files[path]) if path in self.files else Answer(b"", "404 Not Found")
            )
        else:
            answer = self.answers.pop(0)
        start_response(
            answer.status,
            list({"Content-Type": "text/xml; charset=utf-8", **answer.headers}.items()),
        )
        return [answer.body]

    @property
    def url(self) -> str:
        return self.server.url

    def say(self, inside: str, *, status: str = "200 OK", space: str = SOAP_11) -> None:
        """Put in an answer with this body."""
        self.answers.append(Answer(envelope(inside, space=space), status))

    def fault(
        self, code: str, words: str = "no", detail: str = "", *, status: str = "500 E"
    ) -> None:
        self.say(
            f"<env:Fault><faultcode>{code}</faultcode><faultstring>{words}</faultstring>"
            f"<detail>{detail}</detail></env:Fault>",
            status=status,
        )


@contextmanager
def canned() -> Iterator[Canned]:
    remote = Canned()
    with remote.server:
        yield remote


def envelope(inside: str, *, header: str = "", space: str = SOAP_11) -> bytes:
    head = f"<env:Header>{header}</env:Header>" if header else ""
    return (
        f'<?xml version="1.0"?><env:Envelope xmlns:env="{space}">{head}'
        f"<env:Body>{inside}</env:Body></env:Envelope>"
    ).encode()


WSDL = """<?xml version="1.0"?>
<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:t="urn:shop"
    xmlns:soap="http://schemas.xmlsoap.org/wsdl/{soap}/" xmlns:xsd="http://www.w3.org/2001/XMLSchema"
    targetNamespace="urn:shop">
  <types><xsd:schema targetNamespace="urn:shop" elementFormDefault="qualified">
    <xsd:complexType name="Line"><xsd:sequence>
      <xsd:element name="Sku" type="xsd:string"/>
      <xsd:element name="Qty" type="xsd:decimal"/>
    </xsd:sequence></xsd:complexType>
    <xsd:complexType name="Order"><xsd:sequence>
      <xsd:element name="Id" type="xsd:string"/>
      <xsd:element name="Number" type="xsd:string" minOccurs="0"/>
      <xsd:element name="Ref" type="xsd:string" minOccurs="0"/>
      <xsd:element name="Total" type="xsd:decimal" minOccurs="0"/>
      <xsd:element name="Line" type="t:Line" minOccurs="0" maxOccurs="unbounded"/>
    </xsd:sequence></xsd:complexType>
    <xsd:element name="Find"><xsd:complexType><xsd:sequence>
      <xsd:element name="text" type="xsd:string" minOccurs="0"/>
      <xsd:element name="since" type="xsd:dateTime" minOccurs="0"/>
      <xsd:element name="day" type="xsd:date" minOccurs="0"/>
      <xsd:element name="page" type="xsd:int" minOccurs="0"/>
      <xsd:element name="size" type="xsd:int" minOccurs="0"/>
    </xsd:sequence></xsd:complexType></xsd:element>
    <xsd:element name="Orders"><xsd:complexType><xsd:sequence>
      <xsd:element name="Order" type="t:Order" minOccurs="0" maxOccurs="unbounded"/>
      <xsd:element name="Total" type="xsd:int" minOccurs="0"/>
      <xsd:element name="Pages" type="xsd:int" minOccurs="0"/>
      <xsd:element name="Done" type="xsd:boolean" minOccurs="0"/>
      <xsd:element name="Gone" type="xsd:string" minOccurs="0" maxOccurs="unbounded"/>
    </xsd:sequence></xsd:complexType></xsd:element>
    <xsd:element name="Create"><xsd:complexType><xsd:sequence>
      <xsd:element name="Ref" type="xsd:string"/>
      <xsd:element name="Line" type="t:Line" maxOccurs="unbounded"/>
    </xsd:sequence></xsd:complexType></xsd:element>
    <xsd:element name="Created"><xsd:complexType><xsd:sequence>
      <xsd:element name="Id" type="xsd:string" minOccurs="0"/>
      <xsd:element name="Made" type="xsd:boolean" minOccurs="0"/>
    </xsd:sequence></xsd:complexType></xsd:element>
    <xsd:element name="Key"><xsd:complexType><xsd:sequence>
      <xsd:element name="Token" type="xsd:string"/>
      <xsd:element name="Realm" type="xsd:string" minOccurs="0"/>
    </xsd:sequence></xsd:complexType></xsd:element>
  </xsd:schema></types>
  <message name="FindIn"><part name="p" element="t:Find"/></message>
  <message name="FindOut"><part name="p" element="t:Orders"/></message>
  <message name="CreateIn"><part name="p" element="t:Create"/></message>
  <message name="CreateOut"><part name="p" element="t:Created"/></message>
  <portType name="Shop">
    <operation name="Find"><input message="t:FindIn"/><output message="t:FindOut"/></operation>
    <operation name="Create">
      <input message="t:CreateIn"/><output message="t:CreateOut"/>
    </operation>
  </portType>
  <binding name="Shop" type="t:Shop">
    <soap:binding transport="http://schemas.xmlsoap.org/soap/http"/>
    <operation name="Find"><soap:operation soapAction="urn:shop/find"/>
      <input><soap:body use="literal"/></input><output><soap:body use="literal"/></output>
    </operation>
    <operation name="Create"><soap:operation soapAction="urn:shop/create"/>
      <input><soap:body use="literal"/></input><output><soap:body use="literal"/></output>
    </operation>
  </binding>
  <service name="Shop"><port name="Shop" binding="t:Shop">
    <soap:address location="{address}"/>
  </port></service>
</definitions>
"""
"""A shop with two operations. `{soap}` is soap or soap12."""

BINDINGS = """
bindings: 1
system: shop
faults:
  Client.Empty: {outcome: missing}
  Client.Busy: {outcome: retry, message: busy}
  Client.No: {outcome: reject, message: "refused: {faultstring}"}
read_orders:
  read: {operation: Find, arguments: {text: id}, result: Order, id: Id}
  find: {operation: Find, arguments: {text: number}, result: Order, id: Id}
  of: {operation: Find, arguments: {text: customer.id}, result: Order, id: Id}
writes:
  return:
    settle_s: 7
    existed: {path: Made, is: "false"}
    find: {operation: Find, arguments: {text: key}, result: Order, id: Id, key: Ref}
    receipt: {number: Number}
"""

ORDER_MAP = """
mapping: 1
id: shop.order
source: {object: Order}
target: {canonical: order}
direction: pull
match: {source: Id, target: extra.id}
fields:
  number: Number
  reference: Ref
  total: {from: Total, type: money, currency: EUR}
  lines:
    each: Line
    fields: {id: Sku, sku: Sku, quantity: {from: Qty, type: decimal, required: true}}
"""

RETURN_MAP = """
mapping: 1
id: shop.return
source: {canonical: return}
target: {operation: Create}
direction: push
idempotency: {field: Ref}
fields:
  Ref: {from: key, required: true}
  Line:
    each: lines
    fields: {Sku: sku, Qty: {from: quantity, type: decimal}}
response: {external_id: {from: Id, required: true}}
faults:
  Client.Twice: {outcome: already_done}
  Client.Wrong: {outcome: dead_letter, message: "the shop refuses it: {faultstring}"}
"""


def put_files(
    folder: Path, *, bindings: str = BINDINGS, wsdl: str | None = None, **maps: str
) -> Path:
    """The shop's files in a folder; `order_map` and `return_map` replace mapping files."""
    folder.mkdir(exist_ok=True)
    (folder / "bindings.yaml").write_text(bindings)
    given = {"order": ORDER_MAP, "return": RETURN_MAP} | {
        name.removesuffix("_map"): text for name, text in maps.items()
    }
    for name, text in given.items():
        (folder / f"{name}.map.yaml").write_text(text)
    (folder / "shop.wsdl").write_text(
        wsdl or WSDL.format(soap="soap", address="http://elsewhere.example.com/")
    )
    return folder


def shop(
    folder: Path, url: str, *, secrets: dict[str, str] | None = None, **settings: Any
) -> Connection:
    """A connection to the shop whose files lie in the folder."""
    return Connection(
        name="shop",
        settings={
            "wsdl": str(folder / "shop.wsdl"),
            "endpoint": f"{url}/soap",
            "on_premise": True,
            "total_s": 20,
            **settings,
        },
        secrets={name: SecretStr(value) for name, value in (secrets or {}).items()},
        mappings=MappingSet.load(folder),
    )


def open_shop(folder: Path, url: str, **more: Any) -> Any:
    return SoapAdapter.open(shop(folder, url, **more))
