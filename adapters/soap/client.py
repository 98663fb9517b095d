"""The wire: one call of one operation, and what its answer means.

What an answer other than success means, from the first line that fits. `faults` stands in the
mapping file of a write, then in the bindings.

| The answer | on a read | on a write |
|---|---|---|
| no answer, or not in time | `wire.classify` | `wire.classify` |
| a fault, or an error in a 200, that `faults` explains | as it says there | as it says there |
| a fault of WS-Security (FailedAuthentication …) | Unauthorised | Unauthorised |
| MustUnderstand, VersionMismatch: by SOAP 1.1 nothing was processed | Permanent | Permanent |
| any other fault with status 401, 403 or 429 | `classify_status` | `classify_status` |
| any other fault of the server | Transient | Ambiguous |
| any other fault of the client, or error inside a 200 | Rejected | Ambiguous |
| no SOAP, with a status of 400 and more | `classify_status` | `classify_status` |
| no SOAP in a 200: a login page, a truncated or another answer | Transient | Ambiguous |
"""

from __future__ import annotations

import contextlib
import email.parser
import email.policy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
import zeep
from lxml import etree
from requests.auth import HTTPBasicAuth
from zeep.exceptions import Error as ZeepError
from zeep.wsdl.bindings import Soap12Binding
from zeep.wsse.username import UsernameToken
from zeep.xsd.types.complex import ComplexType

from adapters.soap.answers import Tree, collect, text, tree
from adapters.soap.arguments import put
from adapters.soap.bindings import Bindings, ErrorRule, Manner
from adapters.soap.interface import Interface
from adapters.soap.payload import Builder, Unfit, loose, mark_arrays
from adapters.soap.settings import Secrets, SoapSettings
from adapters.soap.wsdl import Documents, WsdlRefused, parse_xml
from middleware.contract import http
from middleware.contract.errors import (
    Ambiguous,
    Missing,
    Permanent,
    Rejected,
    RemoteError,
    Transient,
    Unauthorised,
)
from middleware.contract.mapping import FaultRule
from middleware.contract.wire import classify, classify_status, retry_after

ENVELOPES = {
    "http://schemas.xmlsoap.org/soap/envelope/": "1.1",
    "http://www.w3.org/2003/05/soap-envelope": "1.2",
}

_SECURITY_FAULTS = frozenset(
    {
        "UnsupportedSecurityToken", "UnsupportedAlgorithm", "InvalidSecurity",
        "InvalidSecurityToken", "FailedAuthentication", "FailedCheck", "SecurityTokenUnavailable",
    }
)  # fmt: skip
_UNPROCESSED = frozenset({"MustUnderstand", "VersionMismatch", "DataEncodingUnknown"})


class AlreadyDone(RemoteError):
    """The remote says that a record with our key exists."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answered. Paths in `body` begin where the bindings' `within` leads."""

    body: Tree
    at: datetime | None
    """The remote's clock, from the HTTP header Date."""


class Client:
    """One WSDL, one binding of it, one address."""

    def __init__(
        self,
        documents: Documents,
        bindings: Bindings,
        settings: SoapSettings,
        secrets: Secrets,
        *,
        system: str,
    ) -> None:
        self.interface = Interface(documents, bindings, settings, system=system)
        self._bindings = bindings
        self._settings = settings
        self._secrets = secrets
        self.system = system
        self._binding = self.interface.binding
        if settings.use_wsdl_address and not self.interface.address:
            raise self._refused("the WSDL states no address; set the connection's endpoint")
        own = settings.use_wsdl_address
        self.address = self.interface.address if own else settings.own_address
        document = self.interface.document
        self._types = document.types
        made: Any = zeep.Client
        self._zeep: Any = made(
            document, transport=_NoLine(), wsse=self._token(), settings=document.settings
        )
        self._service = self._zeep.create_service(self._binding.name, self.address)
        self._headers = self._own_header()
        self._session = http.session(
            settings.limits, ca_file=settings.ca_file, on_premise=settings.on_premise
        )
        if settings.auth == "basic":
            self._session.auth = HTTPBasicAuth(
                (settings.username or "").encode(), secrets.of("password").encode()
            )

    def close(self) -> None:
        self._session.close()

    def _token(self) -> UsernameToken | None:
        if self._settings.auth != "usernametoken":
            return None
        made: Any = UsernameToken
        return made(  # type: ignore[no-any-return]
            self._settings.username,
            self._secrets.of("password"),
            use_digest=self._settings.digest,
            zulu_timestamp=True,
        )

    def _own_header(self) -> list[Any]:
        """The header that bears the credentials."""
        stated = self._settings.header
        if self._settings.auth != "header" or stated is None:
            return []
        values: dict[str, Any] = {}
        for path, value in stated.values.items():
            name = value.removeprefix("secret:")
            put(values, tuple(path.split(".")), value if name == value else self._secrets.of(name))
        problem = ""
        try:
            return self._header(stated.element, values)
        except Unfit as unfit:
            problem = unfit.reason
        raise self._refused(f"the header does not fit the WSDL: {problem}")

    def _header(self, name: str, values: Mapping[str, Any]) -> list[Any]:
        """A header as zeep takes it; raises Unfit."""
        qname = etree.QName(name)
        try:
            element = self._types.get_element(qname)
        except (ZeepError, LookupError, KeyError):
            element = None
        if element is None or not isinstance(element.type, ComplexType):
            # Not in the WSDL: an intermediary wants it, so nothing says what it looks like.
            return list(loose(qname.localname, qname.namespace, values, ()))
        return [Builder(self._types, zone=self._bindings.zone).element(element, values)]

    def _refused(self, message: str) -> WsdlRefused:
        return WsdlRefused(message, system=self.system, operation="wsdl", code="wsdl")

    # Calling.

    def call(
        self,
        operation: str,
        values: Mapping[str, Any],
        *,
        write: bool,
        rule: Callable[[str], FaultRule | None] = lambda _: None,
    ) -> Answer:
        """Call an operation and answer its body; raises as the table above says.

        `rule` is asked for a fault's meaning before the bindings are. AlreadyDone is raised where
        the meaning is that a record with our key exists.
        """
        manner = self._bindings.manner(operation)
        message, headers = self._message(operation, values, manner)
        failure: RemoteError | None = None
        try:
            response = self._session.post(self.address, data=message, headers=headers)
        except Exception as error:
            failure = classify(error, write=write, system=self.system, operation=operation)
        if failure is not None:
            # Outside the handler, so that no library's exception with the request hangs on it.
            raise failure
        return _Reading(self, operation, manner, response, write, rule).answer()

    def _message(
        self, operation: str, values: Mapping[str, Any], manner: Manner
    ) -> tuple[bytes, dict[str, str]]:
        """The envelope as bytes and its HTTP headers; raises Rejected, before anything is sent."""
        bound = self._binding.get(operation)
        if bound is None:
            raise self._misfit(operation, "the WSDL has no such operation")
        problem, field = "", None
        try:
            builder = Builder(self._types, manner.types, self._bindings.zone)
            arguments: dict[str, Any] = {}
            if bound.input is not None and bound.input.body is not None:
                arguments = builder.arguments(
                    bound.input.body.type, values, rpc=bound.style == "rpc"
                )
            headers = [*self._headers]
            for stated in manner.headers:
                headers += self._header(stated.element, stated.values)
            if headers:
                arguments["_soapheaders"] = headers
            envelope: etree._Element = self._zeep.create_message(
                self._service, operation, **arguments
            )
        except Unfit as unfit:
            problem, field = f"the request does not fit the WSDL: {unfit}", unfit.path
        except ZeepError as error:
            path = getattr(error, "path", None)
            field = ".".join(map(str, path)) if path else None
            problem = f"the request does not fit the WSDL at {field or operation}"
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            problem = f"the request does not fit the WSDL ({type(error).__name__})"
        if problem:
            raise self._misfit(operation, problem, field)
        if builder.arrays:
            (body,) = envelope.iterchildren("{*}Body")
            mark_arrays(body[0], builder.arrays)
        action = manner.action if manner.action is not None else bound.soapaction or ""
        lines = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{action}"'}
        if isinstance(self._binding, Soap12Binding):
            kind = "application/soap+xml; charset=utf-8"
            lines = {"Content-Type": f'{kind}; action="{action}"' if action else kind}
        return etree.tostring(envelope, encoding="UTF-8", xml_declaration=True), lines

    def _misfit(self, operation: str, message: str, field: str | None = None) -> Rejected:
        return Rejected(
            f"{message}. Nothing was sent",
            system=self.system,
            operation=operation,
            code="request",
            field=field,
        )

    def tidy(self, words: str | None) -> str:
        """A remote's words for people: one line, not too long, without our secrets."""
        line = " ".join((words or "").split())
        for secret in self._secrets.values():
            if len(secret) >= 4:
                line = line.replace(secret, "•••")
        return line[:300]


class _NoLine:
    """zeep makes messages and reads WSDLs here; it sends and fetches nothing."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class _Reading:
    """Reads one response."""

    def __init__(
        self,
        client: Client,
        operation: str,
        manner: Manner,
        response: requests.Response,
        write: bool,
        rule: Callable[[str], FaultRule | None],
    ) -> None:
        self._client, self._operation, self._manner = client, operation, manner
        self._response, self._write, self._rule = response, write, rule

    def answer(self) -> Answer:
        status = self._response.status_code
        content = self._response.content
        promised = self._client.interface.answers(self._operation)
        if not content and 200 <= status < 300 and not promised:
            return Answer({}, self._clock())
        body, problem = self._body(content)
        if body is None:
            failure = self._by_status()
            raise failure if failure is not None else self._garbled(problem)
        first = next(body.iterchildren(etree.Element), None)
        if first is not None and first.tag == f"{{{etree.QName(body).namespace}}}Fault":
            raise self._fault(first)
        if status >= 300:
            # An error in the application's own element; zeep calls it an unknown fault.
            raise self._failed(
                [*self._detail_codes(first)] if first is not None else [], "", server=True
            )
        if first is None:
            if not promised:
                return Answer({}, self._clock())
            raise self._garbled("its body is empty")
        expected = self._client.interface.expected(self._operation)
        if expected is not None and etree.QName(first).localname != expected:
            raise self._garbled("it belongs to another operation")
        within = next(iter(collect(tree(first), self._manner.within)), None)
        inside: Tree = within if isinstance(within, dict) else {}
        self._refuse_error(inside)
        return Answer(inside, self._clock())

    def _body(self, content: bytes) -> tuple[etree._Element | None, str]:
        kind = self._response.headers.get("Content-Type", "")
        if kind.lower().startswith("multipart/related"):
            content = _first_part(kind, content)
        try:
            root = parse_xml(content)
        except ValueError as error:
            page = b"<html" in content[:2000].lower()
            return None, "it is a web page, such as a login page" if page else f"it {error}"
        name = etree.QName(root)
        if name.localname != "Envelope" or name.namespace not in ENVELOPES:
            page = name.localname.lower() == "html"
            return None, "it is a web page, such as a login page" if page else "it is not SOAP"
        body = root.find(f"{{{name.namespace}}}Body")
        return body, "it has no body"

    def _clock(self) -> datetime | None:
        with contextlib.suppress(TypeError, ValueError):
            moment = parsedate_to_datetime(self._response.headers.get("Date", ""))
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return None

    # Errors.

    def _fault(self, fault: etree._Element) -> RemoteError:
        space = etree.QName(fault).namespace
        detail: etree._Element | None
        if ENVELOPES[space or ""] == "1.1":
            code = _local(fault.findtext("faultcode") or fault.findtext("{*}faultcode"))
            words = fault.findtext("faultstring") or fault.findtext("{*}faultstring") or ""
            detail = fault.find("{*}detail")
        else:
            parts = [_local(fault.findtext(f"{{{space}}}Code/{{{space}}}Value"))]
            inner = fault.find(f"{{{space}}}Code/{{{space}}}Subcode")
            while inner is not None:
                parts.append(_local(inner.findtext(f"{{{space}}}Value")))
                inner = inner.find(f"{{{space}}}Subcode")
            # SOAP 1.2 renamed the two sides; the tables use one name for each.
            parts[0] = {"Sender": "Client", "Receiver": "Server"}.get(parts[0], parts[0])
            code = ".".join(part for part in parts if part)
            words = fault.findtext(f"{{{space}}}Reason/{{{space}}}Text") or ""
            detail = fault.find(f"{{{space}}}Detail")
        codes = [*self._detail_codes(detail), code]
        field = text(tree(detail), "Field") if detail is not None else None
        last = code.rpartition(".")[2]
        if not any(self._outcome(candidate) for candidate in codes if candidate):
            if last in _SECURITY_FAULTS:
                return self._error(Unauthorised, "the remote refuses the credentials", code)
            if last in _UNPROCESSED:
                return self._error(
                    Permanent, f"the remote does not take requests of this form ({code})", code
                )
        return self._failed(codes, words, server=code.partition(".")[0] != "Client", field=field)

    def _detail_codes(self, detail: etree._Element | None) -> Iterator[str]:
        """Codes inside a fault's detail: where the bindings say, then its elements' names."""
        if detail is None:
            return
        inside = tree(detail)
        if self._manner.fault_code:
            named = inside if etree.QName(detail).localname.lower() == "detail" else {
                etree.QName(detail).localname: inside
            }  # fmt: skip
            for found in collect(named, self._manner.fault_code):
                if isinstance(found, str) and found.strip():
                    yield found.strip()
        if etree.QName(detail).localname.lower() != "detail":
            yield str(etree.QName(detail).localname)
            return
        for child in detail.iterchildren(etree.Element):
            yield str(etree.QName(child).localname)

    def _refuse_error(self, inside: Tree) -> None:
        rule = self._manner.error
        if rule is None:
            return
        for node in collect(inside, rule.at):
            if not isinstance(node, dict) or not matches(node, rule.when):
                continue
            code = text(node, rule.code) or "error"
            words = (text(node, rule.message) or "") if rule.message else ""
            raise self._failed([code], words, server=False, inside=rule, field=_named(node, rule))

    def _outcome(self, code: str) -> tuple[str, str | None, str] | None:
        """What the mapping or the bindings say about a code: outcome, message, masks."""
        ours = self._rule(code)
        if ours is not None:
            return ours.outcome, ours.message or None, ""
        rule = self._manner.outcome(code)
        if rule is None:
            return None
        message = "".join(f"{{{t}}}" if odd % 2 else t for odd, t in enumerate(rule.texts))
        return rule.outcome, message or None, rule.masks

    def _failed(
        self,
        codes: list[str],
        words: str,
        *,
        server: bool,
        inside: ErrorRule | None = None,
        field: str | None = None,
    ) -> RemoteError:
        named = [code for code in codes if code]
        code = next((c for c in named if self._outcome(c) is not None), None)
        shown = code or next(iter(named), "unknown")
        said = self._client.tidy(words)
        if code is not None:
            found = self._outcome(code)
            assert found is not None
            outcome, message, masks = found
            if message is not None:
                about = message.replace("{code}", code).replace("{faultstring}", said)
            else:
                about = f"the remote answered {code}"
                if inside is not None and said:
                    about = f"{about}: {said}"
            if masks:
                about += "; it also answers so when the credentials are wrong"
            return self._ruled(outcome, about, code, field)
        if self._response.status_code in (401, 403, 429):
            failure = self._by_status(shown)
            if failure is not None:
                return failure
        about = f"the remote answered {shown}"
        if self._write:
            about += ", which no table explains; whether it was done is not known"
            return self._error(Ambiguous, about, shown, field)
        if server:
            return self._error(Transient, about, shown, field)
        return self._error(Rejected, about, shown, field)

    def _ruled(self, outcome: str, about: str, code: str, field: str | None) -> RemoteError:
        if outcome == "already_done" and self._write:
            return self._error(AlreadyDone, about, code, field)
        if outcome == "retry":
            return Transient(
                about,
                retry_after=retry_after(self._response.headers),
                system=self._client.system,
                operation=self._operation,
                code=code,
                field=field,
            )
        kinds: dict[str, type[RemoteError]] = {
            "missing": Missing,
            "unauthorised": Unauthorised,
            "ambiguous": Ambiguous if self._write else Transient,
        }
        return self._error(kinds.get(outcome, Rejected), about, code, field)

    def _by_status(self, code: str | None = None) -> RemoteError | None:
        return classify_status(
            self._response.status_code,
            self._response.headers,
            write=self._write,
            system=self._client.system,
            operation=self._operation,
            code=code,
        )

    def _garbled(self, problem: str) -> RemoteError:
        about = f"the answer was not understood: {problem}"
        if self._write:
            return self._error(Ambiguous, f"{about}. Whether it was done is not known", "answer")
        return self._error(Transient, about, "answer")

    def _error(
        self, kind: type[RemoteError], about: str, code: str, field: str | None = None
    ) -> RemoteError:
        return kind(
            about,
            system=self._client.system,
            operation=self._operation,
            code=code,
            field=field,
        )


def _named(node: Tree, rule: ErrorRule) -> str | None:
    return text(node, rule.field) if rule.field else None


def matches(node: Tree, wanted: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether every path holds one of its values."""
    return all(text(node, path) in values for path, values in wanted.items())


def _local(name: str | None) -> str:
    """A fault code without its prefix: `soap:Client.Validation` is `Client.Validation`."""
    return (name or "").strip().rpartition(":")[2]


def _first_part(kind: str, content: bytes) -> bytes:
    """The first part of a multipart answer, which holds the envelope."""
    head = f"Content-Type: {kind}\r\n\r\n".encode("latin-1", "replace")
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + content)
    for part in message.walk():
        if not part.is_multipart():
            found = part.get_payload(decode=True)
            return found if isinstance(found, bytes) else b""
    return b""
