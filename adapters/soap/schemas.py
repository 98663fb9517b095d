"""Our own copies of the four schemas that WSDLs import from the web, as far as they refer to them.

They were written for Amends from the specifications. With them no WSDL makes us fetch anything
from `schemas.xmlsoap.org` or `www.w3.org`, which are slow when they answer at all.
"""

from __future__ import annotations

from collections.abc import Mapping

SOAP_ENCODING = "http://schemas.xmlsoap.org/soap/encoding/"

_SIMPLE = [
    "string",
    "boolean",
    "decimal",
    "float",
    "double",
    "integer",
    "int",
    "long",
    "short",
    "byte",
    "date",
    "dateTime",
    "time",
    "duration",
    "anyURI",
    "QName",
    "NMTOKEN",
    "token",
    "normalizedString",
    "language",
    "base64Binary",
    "hexBinary",
    "unsignedLong",
    "unsignedInt",
    "unsignedShort",
    "unsignedByte",
    "nonNegativeInteger",
    "positiveInteger",
    "nonPositiveInteger",
    "negativeInteger",
]


def _encoded(name: str) -> str:
    return f"""
  <xs:complexType name="{name}">
    <xs:simpleContent>
      <xs:extension base="xs:{name}"><xs:attributeGroup ref="tns:commonAttributes"/></xs:extension>
    </xs:simpleContent>
  </xs:complexType>
  <xs:element name="{name}" type="tns:{name}"/>"""


# SOAP 1.1, section 5.
_ENCODING = f"""<?xml version="1.0" encoding="UTF-8"?>
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:tns="{SOAP_ENCODING}"
           targetNamespace="{SOAP_ENCODING}">
  <xs:attribute name="arrayType" type="xs:string"/>
  <xs:attribute name="offset" type="xs:string"/>
  <xs:attribute name="position" type="xs:string"/>
  <xs:attribute name="root" type="xs:boolean"/>
  <xs:attributeGroup name="commonAttributes">
    <xs:attribute name="id" type="xs:ID"/>
    <xs:attribute name="href" type="xs:anyURI"/>
  </xs:attributeGroup>
  <xs:attributeGroup name="arrayAttributes">
    <xs:attribute ref="tns:arrayType"/>
    <xs:attribute ref="tns:offset"/>
  </xs:attributeGroup>
  <xs:group name="Array">
    <xs:sequence>
      <xs:any namespace="##any" minOccurs="0" maxOccurs="unbounded" processContents="lax"/>
    </xs:sequence>
  </xs:group>
  <xs:complexType name="Array">
    <xs:group ref="tns:Array" minOccurs="0"/>
    <xs:attributeGroup ref="tns:arrayAttributes"/>
    <xs:attributeGroup ref="tns:commonAttributes"/>
  </xs:complexType>
  <xs:element name="Array" type="tns:Array"/>
  <xs:group name="Struct">
    <xs:sequence>
      <xs:any namespace="##any" minOccurs="0" maxOccurs="unbounded" processContents="lax"/>
    </xs:sequence>
  </xs:group>
  <xs:complexType name="Struct">
    <xs:group ref="tns:Struct" minOccurs="0"/>
    <xs:attributeGroup ref="tns:commonAttributes"/>
  </xs:complexType>
  <xs:element name="Struct" type="tns:Struct"/>
  <xs:simpleType name="base64"><xs:restriction base="xs:base64Binary"/></xs:simpleType>
{"".join(map(_encoded, _SIMPLE))}
</xs:schema>
"""

# WSDL 1.1, section 2.2: the attribute that types an encoded array.
_WSDL = """<?xml version="1.0" encoding="UTF-8"?>
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"
           targetNamespace="http://schemas.xmlsoap.org/wsdl/">
  <xs:attribute name="arrayType" type="xs:string"/>
</xs:schema>
"""

# XML 1.0 and XML Base.
_XML = """<?xml version="1.0" encoding="UTF-8"?>
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"
           targetNamespace="http://www.w3.org/XML/1998/namespace">
  <xs:attribute name="lang" type="xs:string"/>
  <xs:attribute name="space" type="xs:NCName" default="preserve"/>
  <xs:attribute name="base" type="xs:anyURI"/>
  <xs:attribute name="id" type="xs:ID"/>
  <xs:attributeGroup name="specialAttrs">
    <xs:attribute ref="xml:base"/>
    <xs:attribute ref="xml:lang"/>
    <xs:attribute ref="xml:space"/>
    <xs:attribute ref="xml:id"/>
  </xs:attributeGroup>
</xs:schema>
"""

# Describing Media Content of Binary Data in XML, W3C note of 2005.
_XMLMIME = """<?xml version="1.0" encoding="UTF-8"?>
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"
           xmlns:tns="http://www.w3.org/2005/05/xmlmime"
           targetNamespace="http://www.w3.org/2005/05/xmlmime">
  <xs:attribute name="contentType" type="xs:string"/>
  <xs:attribute name="expectedContentTypes" type="xs:string"/>
  <xs:complexType name="base64Binary">
    <xs:simpleContent>
      <xs:extension base="xs:base64Binary"><xs:attribute ref="tns:contentType"/></xs:extension>
    </xs:simpleContent>
  </xs:complexType>
</xs:schema>
"""

OWN: Mapping[str, bytes] = {
    SOAP_ENCODING: _ENCODING.encode(),
    "http://schemas.xmlsoap.org/wsdl/": _WSDL.encode(),
    "http://www.w3.org/XML/1998/namespace": _XML.encode(),
    "http://www.w3.org/2005/05/xmlmime": _XMLMIME.encode(),
}
"""The schemas by their namespace."""
