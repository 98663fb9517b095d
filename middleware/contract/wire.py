"""What a failed call means: nothing happened, a person must look, or nobody knows.

One table for the whole house. With `requests`, and so with zeep and simple-salesforce, "nobody
listened" and "they did it, then the line dropped" raise the same class; the difference between
sending again and shipping twice hides in `.args[0].reason`. This module digs it out. It imports
no HTTP library: it knows their exceptions by module and class name.

The rules for exceptions:

| What went wrong | on a read | on a write |
|---|---|---|
| nothing sent: refused, no route, DNS, connect or TLS time-out, pool busy | Transient | Transient |
| nothing sent, waiting is no use: certificate, no TLS there, bad URL | Permanent | Permanent |
| later, or unknown: dropped, timed out, garbled, too large, redirected | Transient | Ambiguous |

and for statuses:

| Status | on a read | on a write |
|---|---|---|
| 401, 407 | Unauthorised | Unauthorised |
| 403 | Forbidden | Forbidden |
| 404, 410 | Missing | Missing |
| 425, 429 | Transient | Transient |
| 501 | NotOffered | NotOffered |
| 408, 5xx, anything outside 100 to 599 | Transient | Ambiguous |
| every other 4xx | Rejected | Rejected |

A 5xx, 503 included, is Ambiguous on a write even when it carries Retry-After: gateways answer for
applications that may have finished the work. Varnish, for one, adds `Retry-After: 5` to the 503
it makes up when the backend's answer was lost (builtin.vcl, `vcl_backend_error`). The price of
being careful is one look-up by key. An adapter whose vendor promises more says so in its own table.

The table holds for calls that are sent once. A session that retries by itself reports only its
last attempt, so the sessions of `middleware.contract.http` never do.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from middleware.contract.address import AddressRefused
from middleware.contract.errors import (
    Ambiguous,
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

LONGEST_WAIT = timedelta(hours=1)
"""The most that a remote's Retry-After is believed; a year would park an action for ever."""


class AnswerTooLarge(Exception):
    """The answer is larger than this connection allows; raise `max_bytes` if it is legitimate."""


class RedirectRefused(Exception):
    """The remote sent us elsewhere and we did not follow; `status` is its answer's."""

    def __init__(self, status: int) -> None:
        super().__init__(f"redirect with status {status} not followed")
        self.status = status


_LIBRARIES = frozenset(
    {"requests", "urllib3", "httpx2", "httpcore2", "httpx", "httpcore", "http", "h11", "middleware"}
)

# Raised only while a connection is being made, or before that. The names are looked up in the
# exception's class and its bases, in any of the libraries above.
_BEFORE_SENDING = frozenset(
    {
        "NewConnectionError",  # urllib3: refused, unreachable; NameResolutionError derives from it
        "ConnectTimeoutError",  # urllib3
        "EmptyPoolError",  # urllib3: no free connection
        "ConnectTimeout",  # requests, httpx2
        "ConnectError",  # httpx2: refused, DNS, TLS handshake
        "PoolTimeout",  # httpx2
    }
)

# Raised only before sending, and again next time: what was asked for cannot be sent.
_UNSENDABLE = frozenset(
    {
        "InvalidURL",
        "InvalidSchema",
        "MissingSchema",
        "InvalidProxyURL",
        "LocationValueError",
        "UnsupportedProtocol",
    }
)

# Raised once a request is on its way. They win over everything else.
_AFTER_SENDING = frozenset(
    {
        "ReadTimeout",
        "ReadTimeoutError",
        "WriteTimeout",
        "ReadError",
        "WriteError",
        "ProtocolError",  # urllib3's, httpx2's and their kin: dropped or garbled
        "RemoteDisconnected",
        "IncompleteRead",
        "ChunkedEncodingError",
        "ContentDecodingError",
        "DecodeError",
        "DecodingError",
        "AnswerTooLarge",
        "RedirectRefused",
        "TooManyRedirects",
    }
)

# What OpenSSL says in a handshake when the other end cannot, or will not, speak TLS as we must.
_NO_TLS = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "UNKNOWN_PROTOCOL",
        "UNSUPPORTED_PROTOCOL",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "NO_PROTOCOLS_AVAILABLE",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
        "DH_KEY_TOO_SMALL",
    }
)

_CERTIFICATE = {  # X509_V_ERR_* of OpenSSL: (what, remedy)
    9: ("is not valid yet", "check both clocks"),
    10: ("has expired", "ask the system's operator to renew it"),
    18: ("is self-signed and not trusted", "set the connection's ca_file to it"),
    19: ("comes from an unknown authority", "set the connection's ca_file to that authority"),
    20: ("comes from an unknown authority", "set the connection's ca_file to that authority"),
    21: ("comes without its chain", "ask the system's operator to serve the whole chain"),
    62: ("is for another host name", "use the host name that the certificate bears"),
    64: ("is for another address", "use the host name that the certificate bears"),
}


def classify(error: BaseException, *, write: bool, system: str, operation: str) -> RemoteError:
    """Say what an exception from a remote call means for the next step.

    `write` is True when the call could have changed the remote. A `RemoteError` passes through,
    named after `system` and `operation` if it named none; from a read, an Ambiguous one becomes
    Transient, except Duplicated, which is what a look-up may find. Whatever is not recognised is
    Ambiguous on a write and Transient on a read. Interrupts (KeyboardInterrupt, cancellation and
    other exceptions that are not `Exception`s) are no answer of a remote: they are raised again.

    The message never quotes the exception: those texts hold URLs, and URLs hold personal data.
    """
    if isinstance(error, RemoteError):
        error.system = error.system or system
        error.operation = error.operation or operation
        if write or not isinstance(error, Ambiguous) or isinstance(error, Duplicated):
            return error
        return Transient(
            error.message,
            system=error.system,
            operation=error.operation,
            code=error.code,
            field=error.field,
        )
    if not isinstance(error, Exception):
        raise error

    layers = list(_layers(error))
    if answer := _answered(layers, write=write, system=system, operation=operation):
        return answer
    if not any(map(_after_sending, layers)):
        if hopeless := _hopeless(layers):
            return Permanent(hopeless, system=system, operation=operation)
        if _unsent(layers):
            return Transient(
                f"could not connect: {_connect_reason(layers)}; nothing was sent",
                system=system,
                operation=operation,
            )
    happened = _loss(layers)
    if not write:
        moved = next((layer for layer in layers if isinstance(layer, RedirectRefused)), None)
        if moved is not None:
            return Permanent(
                f"the system redirects (status {moved.status}) instead of answering; check the "
                "connection's address and whether it asks for a login",
                system=system,
                operation=operation,
            )
        return Transient(happened, system=system, operation=operation)
    return Ambiguous(
        f"{happened}; whether the write was carried out is not known",
        system=system,
        operation=operation,
    )


@contextmanager
def classifying(*, write: bool, system: str, operation: str) -> Iterator[None]:
    """Run a remote call so that it raises nothing but the three errors.

    The original exception is dropped on purpose: its text and traceback may hold a URL with
    personal data, or a token.
    """
    try:
        yield
    except Exception as error:
        raise classify(error, write=write, system=system, operation=operation) from None


def classify_status(
    status: int,
    headers: Mapping[str, str],
    *,
    write: bool,
    system: str,
    operation: str,
    code: str | None = None,
    message: str | None = None,
    field: str | None = None,
) -> RemoteError | None:
    """Say what an HTTP status means for the next step; None for 1xx, 2xx and 3xx.

    `code`, `message` and `field` are what the vendor's body says, already free of secrets and
    personal data. An adapter looks into its vendor's error table first and comes here for the rest.
    """
    if 100 <= status < 400:
        return None
    text = _tidy(message) or _STATUS_TEXT.get(status) or f"the system answered with status {status}"

    def error(kind: type[RemoteError], text: str = text) -> RemoteError:
        return kind(text, system=system, operation=operation, code=code, field=field)

    if status in (401, 407):
        return error(Unauthorised)
    if status == 403:
        return error(Forbidden)
    if status in (404, 410):
        return error(Missing)
    if status == 501:
        return error(NotOffered)
    unfinished = status == 408 or not 400 <= status < 500
    if unfinished and write:
        return error(Ambiguous, f"{text}; whether the write was carried out is not known")
    if unfinished or status in (425, 429):
        return Transient(
            text,
            retry_after=retry_after(headers),
            system=system,
            operation=operation,
            code=code,
            field=field,
        )
    return error(Rejected)


_STATUS_TEXT = {
    400: "the system says that the request is malformed",
    401: "the credentials are wrong or have expired",
    403: "the credentials lack a permission",
    404: "the record or the address does not exist in the system",
    407: "a proxy wants credentials",
    408: "the system waited too long for the request",
    409: "the request conflicts with the record's present state",
    410: "the record no longer exists in the system",
    413: "the request is too large for the system",
    422: "the system refuses the request's content",
    429: "the system asks us to slow down",
    500: "the system failed inside",
    501: "the system does not offer that",
    502: "a gateway got no proper answer from the system",
    503: "the system is not available at the moment",
    504: "a gateway waited too long for the system",
}


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """How long the remote asks us to wait, between zero and `LONGEST_WAIT`; None if it does not.

    Reads both forms (RFC 9110, 10.2.3): seconds, and a date, which is taken against the answer's
    own Date header where there is one, so that a clock that is off does no harm.
    """
    said = _header(headers, "retry-after")
    if said is None:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", said):
        # Past 18 digits it is a joke, and timedelta would overflow.
        wait = timedelta(seconds=float(said)) if len(said) <= 9 else LONGEST_WAIT
    else:
        until = _moment(said)
        if until is None:
            return None
        now = _moment(_header(headers, "date") or "") or datetime.now(UTC)
        wait = until - now
    return min(max(wait, timedelta(0)), LONGEST_WAIT)


def _header(headers: Mapping[str, str], name: str) -> str | None:
    return next((value.strip() for key, value in headers.items() if key.lower() == name), None)


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _tidy(message: str | None) -> str:
    """One line of at most 500 characters, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in message or "").split())[:500]


def _layers(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it wraps: its arguments, its `.reason`, its explicit cause.

    `__context__` is left out. It is whatever happened to be handled at the time, such as the
    refused call before the one that was dropped, and would prove the wrong thing.
    """
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting and len(seen) < 50:
        layer = waiting.pop(0)
        if not isinstance(layer, BaseException) or id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        waiting += [*layer.args, getattr(layer, "reason", None), layer.__cause__]


def _named(error: BaseException, names: frozenset[str]) -> bool:
    return any(
        base.__name__ in names and base.__module__.partition(".")[0] in _LIBRARIES
        for base in type(error).__mro__
    )


def _answered(
    layers: list[BaseException], *, write: bool, system: str, operation: str
) -> RemoteError | None:
    """What `raise_for_status` raised, by the status that it was raised for."""
    for layer in layers:
        response = getattr(layer, "response", None)
        if response is not None and _named(layer, frozenset({"HTTPError", "HTTPStatusError"})):
            return classify_status(
                response.status_code,
                response.headers,
                write=write,
                system=system,
                operation=operation,
            )
    return None


def _after_sending(layer: BaseException) -> bool:
    return _named(layer, _AFTER_SENDING) and not _illegal_header(layer)


def _illegal_header(layer: BaseException) -> bool:
    """Whether a header of ours cannot be sent: a token with a line break at its end, mostly.

    h11 says so before it sends a byte. requests says it with a class that it also uses for the
    answer's headers, then wrapping urllib3's exception.
    """
    if _named(layer, frozenset({"LocalProtocolError"})):
        return str(layer).startswith("Illegal header")
    theirs = layer.args and isinstance(layer.args[0], BaseException)
    return (
        not theirs
        and type(layer).__module__.startswith("requests.")
        and (_named(layer, frozenset({"InvalidHeader"})))
    )


def _unsent(layers: list[BaseException]) -> bool:
    return any(
        isinstance(layer, (socket.gaierror, ConnectionRefusedError))
        or _named(layer, _BEFORE_SENDING)
        for layer in layers
    )


def _hopeless(layers: list[BaseException]) -> str | None:
    """Why it could not be sent and cannot be next time, with the remedy; None if that is not so."""
    for layer in layers:
        if isinstance(layer, ssl.SSLCertVerificationError):
            what, remedy = _CERTIFICATE.get(
                getattr(layer, "verify_code", 0),
                ("cannot be verified", "check it and the connection's ca_file"),
            )
            return f"the system's certificate {what}; {remedy}. Nothing was sent"
        if (
            isinstance(layer, ssl.SSLError)
            and getattr(layer, "reason", None) in _NO_TLS
            and _unsent(layers)  # a garbled record later in the conversation says the same
        ):
            return (
                "the system does not speak TLS as required at this address; check that the "
                "address begins with the right one of http and https. Nothing was sent"
            )
        if isinstance(layer, AddressRefused):
            return f"{layer}. Nothing was sent"
        if _named(layer, _UNSENDABLE):
            return "the connection's address is not a URL that can be called. Nothing was sent"
        if _illegal_header(layer):
            return (
                "a header cannot be sent as it is; check the connection's secrets for line breaks "
                "and blanks. Nothing was sent"
            )
    return None


def _connect_reason(layers: list[BaseException]) -> str:
    for layer in layers:
        if isinstance(layer, socket.gaierror):
            return "the host name could not be resolved"
        if isinstance(layer, ConnectionRefusedError):
            return "nobody listens at the address (connection refused)"
        if _named(layer, frozenset({"PoolTimeout", "EmptyPoolError"})):
            return "all connections to the system are busy"
        if isinstance(layer, ssl.SSLError):
            return "the TLS handshake failed"
        if isinstance(layer, TimeoutError) or _named(
            layer, frozenset({"ConnectTimeout", "TimeoutException"})
        ):
            return "the system did not take the connection in time"
    return "the address cannot be reached"


def _loss(layers: list[BaseException]) -> str:
    for layer in layers:
        if isinstance(layer, AnswerTooLarge):
            return "the answer was larger than the connection's limit"
        if isinstance(layer, RedirectRefused):
            return f"the system redirected (status {layer.status}) instead of answering"
        if isinstance(layer, TimeoutError) or _named(
            layer,
            frozenset({"ReadTimeout", "ReadTimeoutError", "WriteTimeout"}),
        ):
            return "the answer did not come in time"
        if isinstance(layer, (ConnectionError, ssl.SSLError)) or _named(
            layer,
            frozenset({"ProtocolError", "RemoteDisconnected", "IncompleteRead", "NetworkError"}),
        ):
            return "the line dropped before the whole answer was here"
    return "the answer was not understood"
