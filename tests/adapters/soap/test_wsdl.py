"""A WSDL is a document from outside: it is fetched under guard, kept, and compared."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zeep
from zeep.exceptions import Error as ZeepError

from adapters.soap import wsdl
from adapters.soap.settings import SoapSettings
from adapters.soap.wsdl import Documents, Library, WsdlRefused
from middleware.contract.errors import Permanent, RemoteError, Transient
from tests.adapters.soap.canned import WSDL, Canned, canned

SECRET = "TOP-SECRET-TOKEN=abc123"
XSD = (
    "<xsd:schema xmlns:xsd='http://www.w3.org/2001/XMLSchema' targetNamespace='u'{}>{}</xsd:schema>"
)


@pytest.fixture
def remote() -> Iterator[Canned]:
    with canned() as made:
        yield made


def document(inside: str = "", *, doctype: str = "", extra: str = "") -> str:
    return (
        f'<?xml version="1.0"?>{doctype}<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" '
        'xmlns:xsd="http://www.w3.org/2001/XMLSchema" targetNamespace="t"><types>'
        f'<xsd:schema targetNamespace="t">{inside}</xsd:schema></types>{extra}</definitions>'
    )


def load(location: str | Path, **settings: Any) -> Documents:
    """What opening a connection does with a WSDL."""
    made = SoapSettings(
        wsdl=str(location), endpoint="http://127.0.0.1/", on_premise=True, total_s=20, **settings
    )
    documents = Library(made, system="soap").fetch()
    wsdl.read(documents, system="soap")
    return documents


def an_import(location: str) -> str:
    return f'<xsd:import namespace="u" schemaLocation="{location}"/>'


ATTACKS: dict[str, dict[str, str]] = {
    "an import over http": {"inside": an_import("{url}/internal.xsd")},
    "an import over https": {"inside": an_import("https://127.0.0.1:1/internal.xsd")},
    "an import of a file address": {"inside": an_import("file://{secret}")},
    "an import in capitals": {"inside": an_import("FILE://{secret}")},
    "an import of an absolute path": {"inside": an_import("{secret}")},
    "an import that climbs out": {"inside": an_import("../{secret_name}")},
    "an import that climbs out in disguise": {"inside": an_import("x/../../{secret_name}")},
    "an import over a link": {"inside": an_import("link.txt")},
    "an import with another scheme": {"inside": an_import("gopher://127.0.0.1/x")},
    "an import with credentials": {"inside": an_import("http://a:b@127.0.0.1/x")},
    "an include of an absolute path": {"inside": '<xsd:include schemaLocation="{secret}"/>'},
    "a redefinition of an absolute path": {"inside": '<xsd:redefine schemaLocation="{secret}"/>'},
    "a wsdl import over http": {"extra": '<import namespace="u" location="{url}/other.wsdl"/>'},
    "a wsdl import of an absolute path": {"extra": '<import namespace="u" location="{secret}"/>'},
    "an import by an imported schema": {"inside": an_import("inner.xsd")},
    "a DOCTYPE": {"doctype": "<!DOCTYPE definitions>"},
    "an internal entity": {"doctype": '<!DOCTYPE definitions [<!ENTITY a "x">]>'},
    "an external entity": {
        "doctype": '<!DOCTYPE definitions [<!ENTITY a SYSTEM "file://{secret}">]>'
    },
    "an entity over http": {"doctype": '<!DOCTYPE definitions [<!ENTITY a SYSTEM "{url}/e">]>'},
    "a parameter entity": {"doctype": '<!DOCTYPE d [<!ENTITY % a SYSTEM "{url}/e"> %a;]>'},
    "an external DTD": {"doctype": '<!DOCTYPE definitions SYSTEM "{url}/dtd">'},
    "a bomb": {
        "doctype": '<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">'
        + "".join(f'<!ENTITY a{n} "{f"&a{n - 1 if n > 1 else str()};" * 10}">' for n in range(1, 9))
        + "]>",
        "inside": '<xsd:annotation id="&a8;"/>',
    },
}


def lay_out(folder: Path, url: str, attack: dict[str, str]) -> Path:
    """The attack's WSDL in a folder of its own, with a secret outside it."""
    secret = folder / "secret.txt"
    secret.write_text(SECRET)
    inner = folder / "wsdl"
    inner.mkdir()
    (inner / "link.txt").symlink_to(secret)
    (inner / "inner.xsd").write_text(
        XSD.format("", f'<xsd:import namespace="v" schemaLocation="{url}/internal.xsd"/>')
    )
    words = {"url": url, "secret": str(secret), "secret_name": secret.name}
    filled = dict(attack)
    for name, value in words.items():
        filled = {part: text.replace(f"{{{name}}}", value) for part, text in filled.items()}
    path = inner / "service.wsdl"
    path.write_text(document(**filled))
    return path


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_by_wsdl_is_refused(name: str, remote: Canned, tmp_path: Path) -> None:
    remote.files = {"/internal.xsd": XSD.format("", "").encode()}
    path = lay_out(tmp_path, remote.url, ATTACKS[name])
    with pytest.raises(WsdlRefused) as caught:
        load(path)
    assert not remote.requests, "it was fetched"
    told = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert SECRET not in told
    assert isinstance(caught.value, Permanent)
    assert caught.value.system == "soap"


@pytest.mark.parametrize("name", ["an import over http", "an import of an absolute path"])
def test_the_attacks_are_real(name: str, remote: Canned, tmp_path: Path) -> None:
    """zeep alone falls for them, so the tests above prove something."""
    remote.files = {"/internal.xsd": XSD.format("", "").encode()}
    path = lay_out(tmp_path, remote.url, ATTACKS[name])
    content = b""
    try:
        zeep.Client(str(path))
    except ZeepError as error:
        content = getattr(error, "content", b"")
    assert remote.requests or SECRET.encode() in content


@pytest.mark.parametrize("encoding", ["utf-16", "utf-7", "latin-1"])
def test_a_dtd_in_another_encoding_is_refused_too(
    encoding: str, remote: Canned, tmp_path: Path
) -> None:
    text = document(doctype="<!DOCTYPE definitions>").replace(
        '<?xml version="1.0"?>', f'<?xml version="1.0" encoding="{encoding}"?>'
    )
    (tmp_path / "a.wsdl").write_bytes(text.encode(encoding))
    with pytest.raises(WsdlRefused):
        load(tmp_path / "a.wsdl")


@pytest.mark.parametrize("body", [b"", b"<html><body>Log in", b"<a/>", b"{}", b"\x00\xff", b"<a"])
def test_what_is_no_wsdl_is_refused(body: bytes, remote: Canned) -> None:
    remote.files = {"/w": body}
    with pytest.raises(WsdlRefused):
        load(f"{remote.url}/w")


def test_an_inconsistent_wsdl_is_refused(tmp_path: Path) -> None:
    text = WSDL.format(soap="soap", address="x").replace('type="t:Line"', 'type="t:Missing"')
    (tmp_path / "a.wsdl").write_text(text)
    with pytest.raises(WsdlRefused, match="not consistent"):
        load(tmp_path / "a.wsdl")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WsdlRefused, match=r"gone\.wsdl cannot be read"):
        load(tmp_path / "gone.wsdl")


def test_too_large_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wsdl").write_text(document())
    with pytest.raises(WsdlRefused, match="max_bytes"):
        load(tmp_path / "a.wsdl", max_bytes=50)


def test_too_large_an_answer_is_refused(remote: Canned) -> None:
    remote.files = {"/w": document().encode() + b" " * 2_000}
    with pytest.raises(RemoteError, match="limit"):
        load(f"{remote.url}/w", max_bytes=1_000)


def test_endless_imports_end(remote: Canned) -> None:
    """Each schema imports the next one."""

    class Endless(dict[str, bytes]):
        def __contains__(self, path: object) -> bool:
            return True

        def __getitem__(self, path: str) -> bytes:
            number = int(path.strip("/") or 0) + 1
            where = f'<xsd:import namespace="n{number}" schemaLocation="/{number}"/>'
            return (
                document(where)
                if path == "/0"
                else XSD.replace("'u'", f"'n{number - 1}'").format("", where)
            ).encode()

    remote.files = Endless()
    with pytest.raises(WsdlRefused, match="imports too much"):
        load(f"{remote.url}/0")
    assert len(remote.requests) <= wsdl.MOST_DOCUMENTS + 1


def test_schemas_that_import_each_other_load(tmp_path: Path) -> None:
    (tmp_path / "a.wsdl").write_text(document(an_import("b.xsd")))
    (tmp_path / "b.xsd").write_text(
        XSD.format("", '<xsd:import namespace="v" schemaLocation="c.xsd"/>')
    )
    (tmp_path / "c.xsd").write_text(XSD.replace("'u'", "'v'").format("", an_import("b.xsd")))
    assert len(load(tmp_path / "a.wsdl").contents) == 3


def test_the_root_may_be_widened(tmp_path: Path) -> None:
    (tmp_path / "wsdl").mkdir()
    (tmp_path / "xsd").mkdir()
    (tmp_path / "wsdl" / "a.wsdl").write_text(document(an_import("../xsd/b.xsd")))
    (tmp_path / "xsd" / "b.xsd").write_text(XSD.format("", ""))
    with pytest.raises(WsdlRefused, match="wsdl_root"):
        load(tmp_path / "wsdl" / "a.wsdl")
    assert len(load(tmp_path / "wsdl" / "a.wsdl", wsdl_root=tmp_path).contents) == 2


def test_imports_from_the_wsdls_own_host_are_fetched(remote: Canned) -> None:
    remote.files = {
        "/s/w": document(an_import("b.xsd")).encode(),
        "/s/b.xsd": XSD.format("", '<xsd:include schemaLocation="/c.xsd"/>').encode(),
        "/c.xsd": XSD.format("", "").encode(),
    }
    assert len(load(f"{remote.url}/s/w").contents) == 3
    assert [request.path for request in remote.requests] == ["/s/w", "/s/b.xsd", "/c.xsd"]


def test_imports_from_allowed_hosts_are_fetched(remote: Canned, tmp_path: Path) -> None:
    remote.files = {"/b.xsd": XSD.format("", "").encode()}
    (tmp_path / "a.wsdl").write_text(document(an_import(f"{remote.url}/b.xsd")))
    host = remote.url.removeprefix("http://")
    assert len(load(tmp_path / "a.wsdl", allowed_import_hosts=(host,)).contents) == 2
    with pytest.raises(WsdlRefused, match="allowed_import_hosts"):
        load(tmp_path / "a.wsdl", allowed_import_hosts=("127.0.0.1:1",))


def test_a_private_address_needs_the_on_premise_mark(remote: Canned) -> None:
    remote.files = {"/w": document().encode()}
    settings = SoapSettings(wsdl=f"{remote.url}/w", total_s=20)
    with pytest.raises(Permanent, match="on premise"):
        Library(settings, system="soap").fetch()
    assert not remote.requests


def test_a_redirect_to_another_host_is_not_followed(remote: Canned) -> None:
    with canned() as other:
        other.files = {"/w": document().encode()}

        class Elsewhere(dict[str, bytes]):
            pass

        remote.answers = []
        original = remote.__class__.__call__

        def redirect(self: Canned, environ: Any, start_response: Any) -> Any:
            if self is remote:
                start_response("302 Found", [("Location", f"{other.url}/w")])
                return [b""]
            return original(self, environ, start_response)

        remote.server.app = lambda e, s: redirect(remote, e, s)
        with pytest.raises(RemoteError, match="redirect"):
            load(f"{remote.url}/w")
        assert not other.requests


def test_a_missing_wsdl_says_so(remote: Canned) -> None:
    with pytest.raises(RemoteError):
        load(f"{remote.url}/gone")


def test_nobody_there_is_transient() -> None:
    with canned() as gone:
        url = gone.url
    with pytest.raises(Transient):
        load(f"{url}/w")


def test_well_known_schemas_come_from_us(tmp_path: Path) -> None:
    """Whatever location a WSDL gives for them, nothing is fetched."""
    imports = "".join(
        f'<xsd:import namespace="{space}" schemaLocation="http://unreachable.example.com/x.xsd"/>'
        for space in wsdl.OWN
    )
    types = (
        '<xsd:complexType name="Names"><xsd:complexContent>'
        '<xsd:restriction xmlns:e="http://schemas.xmlsoap.org/soap/encoding/" base="e:Array">'
        '<xsd:attribute ref="e:arrayType" xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" '
        'wsdl:arrayType="xsd:string[]"/></xsd:restriction></xsd:complexContent></xsd:complexType>'
        '<xsd:complexType name="Word"><xsd:simpleContent><xsd:extension base="xsd:string">'
        '<xsd:attribute ref="xml:lang"/></xsd:extension></xsd:simpleContent></xsd:complexType>'
    )
    (tmp_path / "a.wsdl").write_text(document(imports + types))
    documents = load(tmp_path / "a.wsdl")
    read = wsdl.read(documents, system="soap").document
    assert read.types.get_type("{t}Names") is not None
    assert [name for name, _ in read.types.get_type("{t}Word").attributes] == ["lang"]


# The copy on disk.


def library(remote: Canned, cache: Path) -> Library:
    made = SoapSettings(wsdl=f"{remote.url}/w", cache_dir=cache, on_premise=True, total_s=20)
    return Library(made, system="soap")


def test_a_kept_copy_works_without_the_server(remote: Canned, tmp_path: Path) -> None:
    remote.files = {
        "/w": document(an_import("b.xsd")).encode(),
        "/b.xsd": XSD.format("", "").encode(),
    }
    first = library(remote, tmp_path)
    assert first.stored() is None
    documents = first.fetch()
    first.keep(documents)
    remote.server.stop()
    again = library(remote, tmp_path).stored()
    assert again == documents
    assert again is not None
    assert again.lock == documents.lock


def test_a_damaged_copy_is_no_copy(remote: Canned, tmp_path: Path) -> None:
    remote.files = {"/w": document().encode()}
    first = library(remote, tmp_path)
    first.keep(first.fetch())
    (kept,) = tmp_path.rglob("*.xml")
    kept.write_bytes(kept.read_bytes().replace(b"definitions", b"definitionz"))
    assert library(remote, tmp_path).stored() is None
    (listing,) = tmp_path.rglob("documents.json")
    listing.write_text("[1, 2]")
    assert library(remote, tmp_path).stored() is None


def test_the_copy_belongs_to_the_address_and_what_it_may_import(
    remote: Canned, tmp_path: Path
) -> None:
    remote.files = {"/w": document().encode()}
    first = library(remote, tmp_path)
    first.keep(first.fetch())
    other = SoapSettings(wsdl=f"{remote.url}/other", cache_dir=tmp_path, on_premise=True)
    wider = SoapSettings(
        wsdl=f"{remote.url}/w", cache_dir=tmp_path, on_premise=True, allowed_import_hosts=("x",)
    )
    assert Library(other, system="soap").stored() is None
    assert Library(wider, system="soap").stored() is None


def test_a_folder_that_cannot_be_written_is_no_error(remote: Canned, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    remote.files = {"/w": document().encode()}
    first = library(remote, tmp_path / "file" / "below")
    first.keep(first.fetch())
    assert first.stored() is None


# The lock.


def lock(text: str, tmp_path: Path) -> str:
    (tmp_path / "a.wsdl").write_text(text)
    return load(tmp_path / "a.wsdl").lock


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("http://one.example.com/", "http://two.example.com/"),
        ("<types>", "<types>\n\n   <!-- a comment -->"),
        ('<portType name="Shop">', '<portType name="Shop"><documentation>New!</documentation>'),
        ("xmlns:t=", "xmlns:unused='urn:x' xmlns:t="),
        (
            '<message name="FindIn"><part name="p" element="t:Find"/></message>\n'
            '  <message name="FindOut"><part name="p" element="t:Orders"/></message>',
            '<message name="FindOut"><part name="p" element="t:Orders"/></message>\n'
            '  <message name="FindIn"><part name="p" element="t:Find"/></message>',
        ),
    ],
    ids=["address", "comment", "documentation", "prefix", "order"],
)
def test_the_lock_passes_over_what_does_not_matter(old: str, new: str, tmp_path: Path) -> None:
    text = WSDL.format(soap="soap", address="http://one.example.com/")
    assert old in text
    assert lock(text, tmp_path) == lock(text.replace(old, new), tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name="Qty" type="xsd:decimal"', 'name="Qty" type="xsd:int"'),
        ('name="Number" type="xsd:string" minOccurs="0"', 'name="Number" type="xsd:string"'),
        ("urn:shop/find", "urn:shop/search"),
        ('name="Sku" type="xsd:string"/>\n      <xsd:element name="Qty" type="xsd:decimal"/>',
         'name="Qty" type="xsd:decimal"/>\n      <xsd:element name="Sku" type="xsd:string"/>'),
    ],
    ids=["type", "required", "action", "order of a sequence"],
)  # fmt: skip
def test_the_lock_sees_what_matters(old: str, new: str, tmp_path: Path) -> None:
    text = WSDL.format(soap="soap", address="http://one.example.com/")
    assert old in text
    assert lock(text, tmp_path) != lock(text.replace(old, new), tmp_path)


def test_a_503_for_a_wsdl_is_transient(remote: Canned) -> None:
    remote.server.faults.arm("unavailable")
    with pytest.raises(Transient):
        load(f"{remote.url}/w")
