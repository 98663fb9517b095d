"""From nested values to XML and back to trees, for the shapes that WSDLs come in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from adapters.soap import grammar
from adapters.soap.answers import collect, text, tree
from adapters.soap.arguments import put
from adapters.soap.client import Client
from adapters.soap.settings import Secrets, SoapSettings
from adapters.soap.wsdl import Library
from middleware.contract.errors import Rejected
from middleware.contract.mapping import MappingSet
from tests.adapters.soap.canned import ORDER_MAP, Answer, Canned, canned

SCHEMA = """
<xsd:complexType name="Amount"><xsd:simpleContent><xsd:extension base="xsd:decimal">
  <xsd:attribute name="currency" type="xsd:string" use="required"/>
</xsd:extension></xsd:simpleContent></xsd:complexType>
<xsd:complexType name="Base"><xsd:sequence>
  <xsd:element name="note" type="xsd:string" minOccurs="0" nillable="true"/>
</xsd:sequence><xsd:attribute name="externalId" type="xsd:string"/></xsd:complexType>
<xsd:complexType name="Special"><xsd:complexContent><xsd:extension base="t:Base"><xsd:sequence>
  <xsd:element name="extra" type="xsd:int"/>
</xsd:sequence></xsd:extension></xsd:complexContent></xsd:complexType>
<xsd:complexType name="Open"><xsd:sequence>
  <xsd:element name="type" type="xsd:string"/>
  <xsd:any namespace="##targetNamespace" processContents="lax" minOccurs="0" maxOccurs="unbounded"/>
</xsd:sequence></xsd:complexType>
<xsd:simpleType name="Codes"><xsd:list itemType="xsd:int"/></xsd:simpleType>
<xsd:simpleType name="Colour"><xsd:restriction base="xsd:string">
  <xsd:enumeration value="red"/><xsd:enumeration value="blue"/><xsd:maxLength value="4"/>
</xsd:restriction></xsd:simpleType>
<xsd:element name="Do"><xsd:complexType><xsd:sequence>
  <xsd:element name="words" type="xsd:string" minOccurs="0" maxOccurs="unbounded"/>
  <xsd:element name="flag" type="xsd:boolean" minOccurs="0"/>
  <xsd:element name="whole" type="xsd:int" minOccurs="0"/>
  <xsd:element name="exact" type="xsd:decimal" minOccurs="0"/>
  <xsd:element name="moment" type="xsd:dateTime" minOccurs="0"/>
  <xsd:element name="day" type="xsd:date" minOccurs="0"/>
  <xsd:element name="codes" type="t:Codes" minOccurs="0"/>
  <xsd:element name="colour" type="t:Colour" minOccurs="0"/>
  <xsd:element name="anything" type="xsd:anyType" minOccurs="0"/>
  <xsd:element name="amount" type="t:Amount" minOccurs="0"/>
  <xsd:element name="record" type="t:Base" minOccurs="0" maxOccurs="2"/>
  <xsd:element name="open" type="t:Open" minOccurs="0"/>
  <xsd:choice minOccurs="0"><xsd:element name="this" type="xsd:string"/>
    <xsd:element name="that" type="xsd:string"/></xsd:choice>
  <xsd:choice minOccurs="0" maxOccurs="unbounded"><xsd:element name="plus" type="xsd:int"/>
    <xsd:element name="minus" type="xsd:int"/></xsd:choice>
</xsd:sequence></xsd:complexType></xsd:element>
<xsd:element name="Many"><xsd:complexType><xsd:choice maxOccurs="unbounded">
  <xsd:element name="a" type="xsd:int"/><xsd:element name="b" type="xsd:int"/>
</xsd:choice></xsd:complexType></xsd:element>
<xsd:element name="Did"><xsd:complexType><xsd:sequence>
  <xsd:element name="Order" type="t:Open" minOccurs="0"/>
</xsd:sequence></xsd:complexType></xsd:element>
"""
DOCUMENT = f"""<?xml version="1.0"?>
<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:t="urn:shapes"
    xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" targetNamespace="urn:shapes"
    xmlns:xsd="http://www.w3.org/2001/XMLSchema">
  <types><xsd:schema targetNamespace="urn:shapes" elementFormDefault="qualified">{SCHEMA}
  </xsd:schema></types>
  <message name="DoIn"><part name="p" element="t:Do"/></message>
  <message name="ManyIn"><part name="p" element="t:Many"/></message>
  <message name="Out"><part name="p" element="t:Did"/></message>
  <portType name="P">
    <operation name="Do"><input message="t:DoIn"/><output message="t:Out"/></operation>
    <operation name="Many"><input message="t:ManyIn"/><output message="t:Out"/></operation>
    <operation name="Tell"><input message="t:DoIn"/></operation>
  </portType>
  <binding name="P" type="t:P"><soap:binding transport="http://schemas.xmlsoap.org/soap/http"/>
    <operation name="Do"><soap:operation soapAction="do"/><input><soap:body use="literal"/></input>
      <output><soap:body use="literal"/></output></operation>
    <operation name="Many"><soap:operation soapAction="m"/><input><soap:body use="literal"/></input>
      <output><soap:body use="literal"/></output></operation>
    <operation name="Tell"><soap:operation soapAction="t"/><input><soap:body use="literal"/></input>
    </operation>
  </binding>
  <service name="P"><port name="P" binding="t:P"><soap:address location="http://x/"/></port></service>
</definitions>
"""
ENCODED = """<?xml version="1.0"?>
<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:t="urn:rpc"
    xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" targetNamespace="urn:rpc"
    xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:xsd="http://www.w3.org/2001/XMLSchema"
    xmlns:enc="http://schemas.xmlsoap.org/soap/encoding/">
  <types><xsd:schema targetNamespace="urn:rpc">
    <xsd:import namespace="http://schemas.xmlsoap.org/soap/encoding/"
        schemaLocation="http://schemas.xmlsoap.org/soap/encoding/"/>
    <xsd:complexType name="item"><xsd:all>
      <xsd:element name="sku" type="xsd:string"/><xsd:element name="qty" type="xsd:double"/>
    </xsd:all></xsd:complexType>
    <xsd:complexType name="itemArray"><xsd:complexContent><xsd:restriction base="enc:Array">
      <xsd:attribute ref="enc:arrayType" wsdl:arrayType="t:item[]"/>
    </xsd:restriction></xsd:complexContent></xsd:complexType>
    <xsd:complexType name="words"><xsd:complexContent><xsd:restriction base="enc:Array">
      <xsd:attribute ref="enc:arrayType" wsdl:arrayType="xsd:string[]"/>
    </xsd:restriction></xsd:complexContent></xsd:complexType>
    <xsd:complexType name="order"><xsd:all>
      <xsd:element name="ref" type="xsd:string"/><xsd:element name="items" type="t:itemArray"/>
    </xsd:all></xsd:complexType>
  </xsd:schema></types>
  <message name="In"><part name="session" type="xsd:string"/><part name="order" type="t:order"/>
    <part name="tags" type="t:words"/><part name="store" type="xsd:string"/></message>
  <message name="Out"><part name="result" type="t:order"/></message>
  <portType name="P">
    <operation name="place"><input message="t:In"/><output message="t:Out"/></operation>
  </portType>
  <binding name="P" type="t:P">
    <soap:binding style="rpc" transport="http://schemas.xmlsoap.org/soap/http"/>
    <operation name="place"><soap:operation soapAction="urn:place"/>
      <input><soap:body use="encoded" namespace="urn:rpc"
        encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"/></input>
      <output><soap:body use="encoded" namespace="urn:rpc"
        encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"/></output></operation>
  </binding>
  <service name="P"><port name="P" binding="t:P"><soap:address location="http://x/"/></port></service>
</definitions>
"""
BINDINGS = """
bindings: 1
system: shapes
timezone: Europe/Berlin
namespaces: {{t: urn:shapes}}
operations:
  {operation}: {{types: {types}}}
read_orders:
  read: &read {{operation: {operation}, result: {result}, id: {id}}}
  find: *read
  of: *read
"""


@pytest.fixture
def remote() -> Iterator[Canned]:
    with canned() as made:
        yield made


class Wire:
    """A client below the adapter: values in, XML out."""

    def __init__(self, folder: Path, remote: Canned, document: str, **words: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "x.wsdl").write_text(document)
        said = {"operation": "Do", "types": "{note: t:Special}", "result": "Order", "id": "type"}
        (folder / "bindings.yaml").write_text(BINDINGS.format(**(said | words)))
        (folder / "order.map.yaml").write_text(ORDER_MAP)
        settings = SoapSettings(
            wsdl=str(folder / "x.wsdl"), endpoint=f"{remote.url}/s", on_premise=True, total_s=20
        )
        self.bindings = grammar.read(folder / "bindings.yaml", MappingSet.load(folder))
        self.remote = remote
        documents = Library(settings, system="soap").fetch()
        self.client = Client(
            documents, self.bindings, settings, Secrets(settings, {}), system="soap"
        )

    def send(self, values: dict[str, Any], operation: str = "Do", answer: str = "Did") -> Any:
        """The element that was sent, below the body."""
        self.remote.say(f'<{answer} xmlns="urn:shapes"/>')
        self.client.call(operation, values, write=True)
        (sent,) = next(self.remote.requests.pop().xml.iter("{*}Body"))
        return sent


@pytest.fixture
def wire(tmp_path: Path, remote: Canned) -> Iterator[Wire]:
    made = Wire(tmp_path / "x", remote, DOCUMENT, types="{record: t:Special}")
    yield made
    made.client.close()


class Reason(StrEnum):
    LATE = "late"


@pytest.mark.parametrize(
    ("values", "sent"),
    [
        ({"words": ["a", "b"]}, ["a", "b"]),
        ({"words": "a"}, ["a"]),
        ({"words": Reason.LATE}, ["late"]),
        ({"words": Decimal("1E+3")}, ["1000"]),
        ({"flag": True}, ["true"]),
        ({"flag": "false"}, ["false"]),
        ({"whole": "007"}, ["7"]),
        ({"whole": Decimal("3.00")}, ["3"]),
        ({"exact": "1.50"}, ["1.50"]),
        ({"exact": Decimal("0.000001")}, ["0.000001"]),
        ({"moment": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}, ["2026-01-02T03:04:05Z"]),
        ({"moment": "2026-01-02T03:04:05"}, ["2026-01-02T03:04:05+01:00"]),
        ({"moment": date(2026, 7, 1)}, ["2026-07-01T00:00:00+02:00"]),
        ({"day": datetime(2026, 6, 30, 23, 0, tzinfo=UTC)}, ["2026-07-01"]),
        ({"day": "2026-07-01"}, ["2026-07-01"]),
        ({"codes": [1, "2"]}, ["1 2"]),
        ({"colour": "red"}, ["red"]),
        ({"anything": "x"}, ["x"]),
        ({"this": "x"}, ["x"]),
        ({"words": ["one"], "whole": 1}, ["one", "1"]),
    ],
)
def test_values_become_what_the_schema_wants(
    values: dict[str, Any], sent: list[str], wire: Wire
) -> None:
    assert [child.text for child in wire.send(values)] == sent


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"whole": "many"}, "whole"),
        ({"whole": 1.5}, "whole"),
        ({"exact": "1,5"}, "exact"),
        ({"exact": "NaNa"}, "exact"),
        ({"flag": "perhaps"}, "flag"),
        ({"moment": "yesterday"}, "moment"),
        ({"day": "01.07.2026"}, "day"),
        ({"codes": ["x"]}, "codes"),
        ({"whole": [1, 2]}, "whole"),
        ({"whole": {"a": 1}}, "whole"),
        ({"words": {"a": 1}}, "words"),
        ({"whole": None}, "whole"),
        ({"nothing": 1}, "nothing"),
        ({"record": "text"}, "record"),
        ({"record": {"extra": "x"}}, "record.extra"),
        ({"amount": {"value": "1"}}, "amount.value"),
        ({"open": {"type": "x", "no name": "y"}}, "open.no name"),
        ({"open": {"type": "x", "a": "\x01"}}, "open.a"),
    ],
)
def test_values_that_do_not_fit_are_refused_with_their_path(
    values: dict[str, Any], path: str, wire: Wire
) -> None:
    with pytest.raises(Rejected) as caught:
        wire.client.call("Do", values, write=True)
    assert caught.value.field == path
    assert not wire.remote.requests
    assert str(values[next(iter(values))]) not in caught.value.message or path == "nothing"


def test_a_record_of_a_special_type_with_an_attribute(wire: Wire) -> None:
    sent = wire.send({"record": {"externalId": "k", "note": None, "extra": 3}})
    (record,) = sent
    kind = record.get("{http://www.w3.org/2001/XMLSchema-instance}type")
    prefix, _, name = kind.partition(":")
    assert (record.nsmap[prefix], name) == ("urn:shapes", "Special")
    assert record.get("externalId") == "k"
    note, extra = record
    assert note.get("{http://www.w3.org/2001/XMLSchema-instance}nil") == "true"
    assert extra.text == "3"


def test_a_value_with_an_attribute(wire: Wire) -> None:
    (amount,) = wire.send({"amount": {"_value_1": "12.50", "currency": "EUR"}})
    assert (amount.text, amount.get("currency")) == ("12.50", "EUR")


def test_open_content_takes_names_that_the_schema_does_not_know(wire: Wire) -> None:
    values = {
        "type": "Case",
        "Subject": "a & b",
        "Tags": ["x", "y"],
        "Deep": {"Inner": Decimal("1.0")},
        "Empty": None,
        "{urn:other}Else": datetime(2026, 1, 2, tzinfo=UTC),
    }
    (sent,) = wire.send({"open": values})
    assert [(etree.QName(c).namespace, etree.QName(c).localname) for c in sent] == [
        *(("urn:shapes", n) for n in ("type", "Subject", "Tags", "Tags", "Deep", "Empty")),
        ("urn:other", "Else"),
    ]
    assert sent[1].text == "a & b"
    assert sent[4][0].text == "1.0"
    assert sent[6].text == "2026-01-02T00:00:00Z"


def test_repeated_choices_keep_their_members(wire: Wire) -> None:
    sent = wire.send({"plus": [1, 2], "minus": 3})
    assert sorted((etree.QName(c).localname, c.text) for c in sent) == [
        ("minus", "3"), ("plus", "1"), ("plus", "2"),
    ]  # fmt: skip
    sent = wire.send({"a": [1, 2], "b": 3}, operation="Many")
    assert sorted((etree.QName(c).localname, c.text) for c in sent) == [
        ("a", "1"), ("a", "2"), ("b", "3"),
    ]  # fmt: skip


def test_an_operation_without_an_answer(wire: Wire) -> None:
    wire.remote.answers.append(Answer(b"", "202 Accepted"))
    assert wire.client.call("Tell", {"words": "x"}, write=True).body == {}


def test_what_the_wsdl_says_about_fields(wire: Wire) -> None:
    fields = {field.name: field for field in wire.client.interface.input_fields("Do")}
    assert fields["colour"].values == ("red", "blue")
    assert fields["colour"].max_length == 4
    assert fields["amount.currency"].required
    assert fields["record.extra"].type == "int"
    assert not fields["this"].required
    assert "open.*" not in fields


# RPC with the SOAP encoding.


@pytest.fixture
def encoded(tmp_path: Path, remote: Canned) -> Iterator[Wire]:
    made = Wire(
        tmp_path / "rpc", remote, ENCODED, operation="place", types="{x: t:order}",
        result="result", id="ref",
    )  # fmt: skip
    yield made
    made.client.close()


def test_an_encoded_array_says_its_type_and_length(encoded: Wire, remote: Canned) -> None:
    remote.say('<r:placeResponse xmlns:r="urn:rpc"><result><ref>k</ref></result></r:placeResponse>')
    items = [{"sku": "LAMP", "qty": 1}, {"sku": "DESK", "qty": "2"}]
    values = {"session": "s", "order": {"ref": "k", "items": {"line": items}}, "tags": ["a", "b"]}
    answer = encoded.client.call("place", values, write=True)
    assert text(answer.body, "result.ref") == "k"
    (sent,) = remote.requests
    (call,) = next(sent.xml.iter("{*}Body"))
    assert call.tag == "{urn:rpc}place"
    assert [etree.QName(part).localname for part in call] == ["session", "order", "tags"], (
        "a part without a value is left out"
    )
    array = call.find("order/items")
    encoding = "{http://schemas.xmlsoap.org/soap/encoding/}arrayType"
    prefix, _, rest = array.get(encoding).partition(":")
    assert (array.nsmap[prefix], rest) == ("urn:rpc", "item[2]")
    assert sent.texts("sku") == ["LAMP", "DESK"]
    prefix, _, rest = call.find("tags").get(encoding).partition(":")
    assert (call.nsmap.get(prefix) or call.find("tags").nsmap[prefix], rest) == (
        "http://www.w3.org/2001/XMLSchema", "string[2]",
    )  # fmt: skip
    assert [child.text for child in call.find("tags")] == ["a", "b"]


def test_an_empty_encoded_array_is_left_out(encoded: Wire, remote: Canned) -> None:
    remote.say('<r:placeResponse xmlns:r="urn:rpc"><result/></r:placeResponse>')
    encoded.client.call("place", {"session": "s", "tags": []}, write=True)
    (sent,) = remote.requests
    assert [etree.QName(p).localname for p in next(sent.xml.iter("{*}Body"))[0]] == ["session"]


def test_references_inside_an_answer_are_followed(encoded: Wire, remote: Canned) -> None:
    remote.say(
        '<r:placeResponse xmlns:r="urn:rpc"><result href="#o"/></r:placeResponse>'
        '<multiRef id="o"><ref href="#t"/><items><i href="#l"/><i href="#l"/></items></multiRef>'
        '<multiRef id="t">k</multiRef><multiRef id="l"><sku>LAMP</sku><up href="#o"/></multiRef>'
    )
    answer = encoded.client.call("place", {"session": "s"}, write=True)
    assert text(answer.body, "result.ref") == "k"
    assert [text(item, "sku") for item in collect(answer.body, "result.items.i")] == ["LAMP"] * 2
    assert collect(answer.body, "result.items.i.up") != [], "a circle ends"


# Trees.


def test_trees() -> None:
    root = etree.fromstring(
        '<a xmlns:i="http://www.w3.org/2001/XMLSchema-instance" xmlns:n="urn:n" k="v" i:type="x">'
        '<n:b>1</n:b><b>2</b><c i:nil="true"/><d/><e f="g">text</e><h h="1"><i>2</i></h></a>'
    )
    read = tree(root)
    assert read == {
        "b": ["1", "2"], "c": None, "d": "", "e": {"_value_1": "text", "f": "g"},
        "h": {"i": "2", "h": "1"}, "k": "v",
    }  # fmt: skip
    assert collect(read, "b") == ["1", "2"]
    assert collect(read, "*.f") == ["g"]
    assert (text(read, "e"), text(read, "c"), text(read, "nope.x")) == ("text", None, None)
    assert text("  x ", "") == "x"


def test_an_attribute_gives_way_to_an_element_of_its_name() -> None:
    assert tree(etree.fromstring('<a b="1"><b>2</b></a>')) == {"b": "2", "attr__b": "1"}


def test_put_makes_dicts_and_lists() -> None:
    out: dict[str, Any] = {}
    put(out, ("a", "0", "b"), 1)
    put(out, ("a", "1", "b"), 2)
    put(out, ("c",), 3)
    put(out, ("d", "1"), 4)
    assert out == {"a": [{"b": 1}, {"b": 2}], "c": 3, "d": [None, 4]}
