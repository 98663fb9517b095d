"""A WSDL and all it imports: fetched under guard, kept on disk, read by zeep without a network.

zeep fetches whatever a WSDL points to while it parses, and with every one of its guards on it
still opens a local file that is named by its absolute path and puts it into the error (seen with
zeep 4.3.3; `test_the_attacks_are_real` shows it). So zeep fetches nothing here. We collect the
documents ourselves, each checked before it is opened, rewrite every import to a name of ours, and
hand zeep the finished set with a transport that knows these names and no others.

What is refused: a DTD or an entity in any document; imports from a host other than the WSDL's own
unless it is allowed; `file:` and absolute paths; relative paths that leave the WSDL's folder;
redirects to other hosts; too many or too large documents.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import posixpath
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from lxml import etree
from zeep import Settings as ZeepSettings
from zeep.wsdl import Document
from zeep.xsd.types.complex import ComplexType

from adapters.soap.schemas import OWN
from adapters.soap.settings import SoapSettings
from middleware.contract import http
from middleware.contract.errors import Permanent, RemoteError, Transient
from middleware.contract.wire import classify, classify_status

WSDL = "http://schemas.xmlsoap.org/wsdl/"
XSD = "http://www.w3.org/2001/XMLSchema"
SOAP_BINDINGS = {
    "http://schemas.xmlsoap.org/wsdl/soap/": "1.1",
    "http://schemas.xmlsoap.org/wsdl/soap12/": "1.2",
}

MOST_DOCUMENTS = 500
_HOME = "/wsdl/"  # a place that zeep resolves names against; nothing is ever read from it
_REFERENCES = {
    f"{{{WSDL}}}import": "location",
    f"{{{XSD}}}import": "schemaLocation",
    f"{{{XSD}}}include": "schemaLocation",
    f"{{{XSD}}}redefine": "schemaLocation",
}

_UNORDERED = (
    *(f"{{{WSDL}}}{name}" for name in ("definitions", "types", "portType", "binding", "service")),
    f"{{{XSD}}}schema",
)
"""Elements of which the children may come in any order."""
_COMMENTS = (f"{{{WSDL}}}documentation", f"{{{XSD}}}annotation")
_ADDRESSES = tuple(f"{{{binding}}}address" for binding in SOAP_BINDINGS)

# zeep logs bodies at DEBUG and values it cannot read at ERROR; neither belongs into a log.
logging.getLogger("zeep").setLevel(logging.CRITICAL)


class WsdlRefused(Permanent):
    """The WSDL, or something that it imports, may not be read; the message says what and why."""


def parse_xml(content: bytes) -> etree._Element:
    """Read a document that may be hostile; raises ValueError, which quotes nothing of it.

    Nothing is loaded from anywhere, entities stay unexpanded, and a document type declaration is
    refused, since neither SOAP nor WSDL allows one.
    """
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    problem = ""
    try:
        root = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        problem = f"is not well-formed XML (line {getattr(error, 'lineno', None) or 1})"
    if problem:
        raise ValueError(problem)
    if root.getroottree().docinfo.doctype or root.getroottree().docinfo.internalDTD is not None:
        raise ValueError("holds a document type declaration (DTD), which is refused")
    return root


@dataclass(frozen=True)
class Documents:
    """A WSDL with everything it imports, by names of ours; the first one is the WSDL itself."""

    contents: Mapping[str, bytes]

    @property
    def lock(self) -> str:
        """A hash of the interface. Comments, layout, the order of independent parts and the
        service's address do not count: servers generate them as they please."""
        digest = hashlib.sha256()
        for name, content in self.contents.items():
            digest.update(name.encode() + b" " + _digest(parse_xml(content)))
        return f"sha256:{digest.hexdigest()}"

    @property
    def fingerprint(self) -> str:
        """A hash of every byte."""
        digest = hashlib.sha256()
        for name, content in self.contents.items():
            digest.update(f"{name} {len(content)}\n".encode())
            digest.update(content)
        return digest.hexdigest()


def _digest(element: etree._Element) -> bytes:
    """A hash of what an element says to who calls the service."""
    own = hashlib.sha256(repr(element.tag).encode())
    for name, value in sorted(element.attrib.items()):
        if name == "location" and element.tag in _ADDRESSES:
            continue
        prefix, colon, local = value.partition(":")
        if colon and prefix in element.nsmap:
            value = f"{{{element.nsmap[prefix]}}}{local}"
        own.update(repr((name, value)).encode())
    own.update(repr((element.text or "").strip()).encode())
    inner = [_digest(child) for child in element.iterchildren(etree.Element)
             if child.tag not in _COMMENTS]  # fmt: skip
    for part in sorted(inner) if element.tag in _UNORDERED else inner:
        own.update(part)
    return own.digest()


class Library:
    """Where a connection's WSDL comes from: its file or address, and the copy on disk."""

    def __init__(self, settings: SoapSettings, *, system: str) -> None:
        self._settings = settings
        self._system = system

    def stored(self) -> Documents | None:
        """The documents without a network: from the file, or from the copy of an earlier fetch.

        Raises WsdlRefused for a file that may not be read; a damaged copy is no copy.
        """
        if not self._settings.wsdl_is_remote:
            return self._collect()
        return self._load_copy()

    def fetch(self) -> Documents:
        """The documents as they are at the source now.

        Raises WsdlRefused, or what a failed HTTP call raises. Nothing is written.
        """
        return self._collect()

    def keep(self, documents: Documents) -> None:
        """Keep a copy on disk, where the settings name a folder for it. A copy that cannot be
        written is not an error: the WSDL is fetched again."""
        folder = self._copy_folder()
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for content in documents.contents.values():
                _write(folder / f"{hashlib.sha256(content).hexdigest()}.xml", content)
            listed = {
                name: hashlib.sha256(content).hexdigest()
                for name, content in documents.contents.items()
            }
            _write(folder / "documents.json", json.dumps(listed).encode())
        except OSError:
            return

    # The copy.

    def _copy_folder(self) -> Path | None:
        if self._settings.cache_dir is None or not self._settings.wsdl_is_remote:
            return None
        about = "\n".join((self._settings.wsdl, *self._settings.allowed_import_hosts))
        return self._settings.cache_dir / hashlib.sha256(about.encode()).hexdigest()[:32]

    def _load_copy(self) -> Documents | None:
        folder = self._copy_folder()
        if folder is None:
            return None
        try:
            listed = json.loads((folder / "documents.json").read_bytes())
            contents: dict[str, bytes] = {}
            for name, expected in listed.items():
                content = (folder / f"{expected}.xml").read_bytes()
                if hashlib.sha256(content).hexdigest() != expected:
                    return None
                contents[str(name)] = content
        except (OSError, ValueError, AttributeError, TypeError):
            return None
        return Documents(contents) if contents else None

    # Collecting.

    def _collect(self) -> Documents:
        settings = self._settings
        start = settings.wsdl
        if not settings.wsdl_is_remote:
            start = str(Path(start).resolve())
        names = {start: "0.wsdl"}
        waiting = [start]
        contents: dict[str, bytes] = {}
        size = 0
        with _session(settings) as session:
            while waiting:
                location = waiting.pop(0)
                content = self._open(location, session)
                size += len(content)
                if size > 4 * settings.max_bytes or len(names) > MOST_DOCUMENTS:
                    raise self._refused(
                        "the WSDL imports too much; raise max_bytes if it is legitimate"
                    )
                contents[names[location]] = self._rewritten(location, content, names, waiting)
        return Documents(contents)

    def _rewritten(
        self, location: str, content: bytes, names: dict[str, str], waiting: list[str]
    ) -> bytes:
        """The document with every import pointing at a name of ours."""
        problem, root = "", None
        try:
            root = parse_xml(content)
        except ValueError as error:
            problem = str(error)
        if root is None:
            raise self._refused(f"{_shown(location)} {problem}")
        if names[location] == "0.wsdl" and root.tag != f"{{{WSDL}}}definitions":
            raise self._refused(
                f"{_shown(location)} is no WSDL 1.1; its first element must be definitions"
            )
        for element in root.iter(*_REFERENCES):
            attribute = _REFERENCES[element.tag]
            target = element.get(attribute)
            namespace = element.get("namespace")
            if element.tag == f"{{{XSD}}}import" and namespace in OWN:
                element.set(attribute, f"own-{list(OWN).index(namespace)}.xsd")
                continue
            if target is None:
                continue
            if not target.strip():
                del element.attrib[attribute]
                continue
            there = self._resolved(location, target.strip())
            if there not in names:
                names[there] = f"{len(names)}.xsd"
                waiting.append(there)
            element.set(attribute, names[there])
        return bytes(etree.tostring(root, encoding="UTF-8", xml_declaration=True))

    def _resolved(self, base: str, target: str) -> str:
        """Where an import leads; raises WsdlRefused where it may not lead."""
        scheme = urlsplit(target).scheme.lower()
        if scheme not in ("", "http", "https"):
            raise self._refused(
                f"{_shown(base)} imports {_shown(target)}; only relative files, http and https"
            )
        if scheme or self._is_url(base):
            return self._resolved_url(base, urljoin(base, target) if self._is_url(base) else target)
        if "\0" in target or "\\" in target or Path(target).is_absolute():
            raise self._refused(f"{_shown(base)} imports an absolute path; use a relative one")
        settings = self._settings
        root = (settings.wsdl_root or Path(settings.wsdl).resolve().parent).resolve()
        path = (Path(base).parent / target).resolve()
        if not path.is_relative_to(root):
            raise self._refused(
                f"{_shown(base)} imports a file outside its folder; set wsdl_root if it is meant to"
            )
        return str(path)

    def _resolved_url(self, base: str, target: str) -> str:
        parts, own = urlsplit(target), urlsplit(self._settings.wsdl)
        if parts.username is not None or parts.password is not None:
            raise self._refused(f"{_shown(base)} imports an address with credentials in it")
        ports = {"http": 80, "https": 443}
        if self._settings.wsdl_is_remote and parts.hostname == own.hostname:
            if own.scheme == "https" and parts.scheme == "http":
                # Behind a TLS proxy servers name themselves by http.
                parts = parts._replace(scheme="https", netloc=own.netloc)
            same = (parts.port or ports[parts.scheme]) == (own.port or ports[own.scheme])
            if same and parts.scheme == own.scheme:
                return urlunsplit(parts._replace(fragment=""))
        host = (parts.hostname or "").lower()
        port = parts.port or ports[parts.scheme]
        if not {host, f"{host}:{port}"} & set(self._settings.allowed_import_hosts):
            raise self._refused(
                f"{_shown(base)} imports from the host {host or '?'}; if it may, add it to "
                "allowed_import_hosts"
            )
        return urlunsplit(parts._replace(fragment=""))

    @staticmethod
    def _is_url(location: str) -> bool:
        return location.partition(":")[0].lower() in ("http", "https")

    def _open(self, location: str, session: requests.Session) -> bytes:
        if not self._is_url(location):
            return self._read(Path(location))
        failure: RemoteError | None = None
        try:
            response = session.get(location)
        except Exception as error:
            failure = classify(error, write=False, system=self._system, operation="wsdl")
        else:
            failure = classify_status(
                response.status_code,
                response.headers,
                write=False,
                system=self._system,
                operation="wsdl",
            )
        if failure is not None:
            raise failure
        if not response.ok or response.status_code != 200:
            raise Transient(
                f"{_shown(location)} answered with status {response.status_code} and no WSDL",
                system=self._system,
                operation="wsdl",
            )
        return response.content

    def _read(self, path: Path) -> bytes:
        reason = ""
        try:
            if path.stat().st_size > self._settings.max_bytes:
                reason = "is larger than max_bytes"
            else:
                return path.read_bytes()
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
        raise self._refused(f"{_shown(str(path))} {reason}")

    def _refused(self, message: str) -> WsdlRefused:
        return WsdlRefused(message, system=self._system, operation="wsdl", code="wsdl")


def _session(settings: SoapSettings) -> requests.Session:
    return http.session(settings.limits, ca_file=settings.ca_file, on_premise=settings.on_premise)


def _shown(location: str) -> str:
    """A location for people: a file's name, or an address without its query."""
    parts = urlsplit(location)
    if parts.scheme in ("http", "https"):
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))[:200]
    return posixpath.basename(parts.path or location)[:100] or "?"


def _write(path: Path, content: bytes) -> None:
    """Put the content there at once or not at all, whoever else writes the same."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# What zeep makes of it.


class _Shelf:
    """zeep's transport while it parses: it knows our documents, and nothing else exists."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = contents

    def load(self, url: str) -> bytes:
        if url in OWN:  # zeep asks for the encoding schema by its namespace
            return OWN[url]
        name = posixpath.basename(url)
        if name.startswith("own-"):
            return list(OWN.values())[int(name[4:-4])]
        if name not in self._contents:
            raise LookupError("the WSDL refers to a document that was not collected")
        return self._contents[name]


@dataclass(frozen=True, slots=True)
class Read:
    """What zeep and we read from a set of documents."""

    document: Document
    lock: str
    facts: Mapping[str, Mapping[str, Any]]
    """The closed lists (`values`) and lengths (`max_length`) of simple types, by their name."""
    extended: frozenset[Any]
    """zeep's classes of all types that other types extend."""


_read: OrderedDict[str, Read] = OrderedDict()
_read_lock = threading.Lock()
_MOST_READ = 16


def read(documents: Documents, *, system: str) -> Read:
    """Read the documents, once for all connections of this process.

    Raises WsdlRefused where zeep cannot make sense of them.
    """
    key = documents.fingerprint
    with _read_lock:
        if key in _read:
            _read.move_to_end(key)
            return _read[key]
        problem = ""
        try:
            document = Document(
                f"{_HOME}0.wsdl",
                cast("Any", _Shelf(documents.contents)),
                settings=ZeepSettings(
                    strict=True,
                    forbid_dtd=True,
                    forbid_entities=True,
                    # It would forbid zeep's own import of the SOAP encoding, which the shelf
                    # answers. Nothing else can come in: the shelf is zeep's only way out.
                    forbid_external=False,
                    xml_huge_tree=False,
                ),
            )
        except Exception as error:
            # zeep raises what it meets, and puts the document into it.
            problem = type(error).__name__
        if problem:
            raise WsdlRefused(
                f"the WSDL is not consistent ({problem}); a schema that it needs may be missing",
                system=system,
                operation="wsdl",
                code="wsdl",
            )
        made = Read(document, documents.lock, _facts(documents), _extended(document.types))
        _read[key] = made
        while len(_read) > _MOST_READ:
            _read.popitem(last=False)
        return made


def _extended(schema: Any) -> frozenset[Any]:
    return frozenset(
        base
        for kind in schema.types
        if isinstance(kind, ComplexType)
        for base in kind._extension_types
    )


def _facts(documents: Documents) -> dict[str, dict[str, Any]]:
    """What restricts named simple types; zeep drops it."""
    found: dict[str, dict[str, Any]] = {}
    for content in documents.contents.values():
        for schema in parse_xml(content).iter(f"{{{XSD}}}schema"):
            space = schema.get("targetNamespace") or ""
            for simple in schema.iterfind(f"{{{XSD}}}simpleType"):
                restriction = simple.find(f"{{{XSD}}}restriction")
                if restriction is None:
                    continue
                facts: dict[str, Any] = {}
                values = [
                    value
                    for facet in restriction.iterfind(f"{{{XSD}}}enumeration")
                    if (value := facet.get("value")) is not None
                ]
                if values:
                    facts["values"] = tuple(values)
                longest = restriction.find(f"{{{XSD}}}maxLength")
                if longest is not None and (longest.get("value") or "").isdecimal():
                    facts["max_length"] = int(longest.get("value") or 0)
                found[f"{{{space}}}{simple.get('name')}"] = facts
    return found
