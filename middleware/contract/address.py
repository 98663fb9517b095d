"""Where we may connect to: no back doors into the network we run in.

An address that a customer or an admin types is a way in: `http://169.254.169.254/` reads a cloud's
credentials, `http://localhost:5432/` talks to the database. A name may also resolve to something
harmless when checked and to something else when used, so the check and the connection share one
resolution: `dial` connects to the addresses that were checked, and to no others.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
import time
from urllib.parse import urlsplit

from middleware.contract.canonical import Frozen

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds hand out credentials. No remote system lives there, on premise or not.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, OpenStack, DigitalOcean
        "169.254.170.2",  # AWS ECS
        "169.254.170.23",  # AWS EKS
        "fd00:ec2::254",  # AWS over IPv6
        "fd00:ec2::23",
        "fd20:ce::254",  # Google over IPv6
        "168.63.129.16",  # Azure's wire server; a public address
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
    )
)

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressRefused(ValueError):
    """The address is not one that we may connect to; the message says why and what to do."""


class Resolved(Frozen):
    """A URL's host with the addresses that it had when it was checked."""

    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]


def check_address(url: str, *, on_premise: bool, within: float = 5.0) -> Resolved:
    """Resolve a URL's host once and refuse it if it leads inside.

    Refused are schemes other than http and https, credentials in the URL, and hosts of which any
    address is a loopback, private, link-local, shared, multicast or reserved one. `on_premise`
    allows those, since an ERP in the cellar has one; cloud metadata services stay refused.
    Raises AddressRefused, and OSError if the name does not resolve within `within` seconds.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefused("the address is not a URL; write https://host/path") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AddressRefused("the address must begin with https:// or http:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("the address holds credentials; move them to the connection's secrets")
    port = port or (443 if parts.scheme == "https" else 80)
    addresses = resolve(parts.hostname, within=within)
    for address in addresses:
        permit(address, on_premise=on_premise)
    return Resolved(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port,
        addresses=tuple(map(str, addresses)),
    )


def permit(address: IPAddress, *, on_premise: bool) -> None:
    """Raise AddressRefused if we may not connect to this address."""
    reached = (address, *_inside(address))
    if not _METADATA.isdisjoint(reached):
        raise AddressRefused(
            "the address belongs to a cloud's metadata service, which no remote system uses"
        )
    if not on_premise and any(each.is_multicast or not each.is_global for each in reached):
        raise AddressRefused(
            "the address lies inside a private network; if the system is meant to be there, "
            "an admin must mark it as on premise"
        )


def _inside(address: IPAddress) -> tuple[IPAddress, ...]:
    """The IPv4 addresses that an IPv6 address wraps: mapped, 6to4, Teredo, NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    wrapped: list[IPAddress] = []
    if address.ipv4_mapped:
        wrapped.append(address.ipv4_mapped)
    if address.sixtofour:
        wrapped.append(address.sixtofour)
    if address.teredo:
        wrapped += address.teredo
    if address in _NAT64:
        wrapped.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(wrapped)


def resolve(host: str, *, within: float) -> tuple[IPAddress, ...]:
    """The addresses of a host, each once, in the resolver's order.

    Raises socket.gaierror if there is none and TimeoutError after `within` seconds: the system's
    resolver knows no time limit of ours, so it runs in a thread that may be left behind.
    """
    try:
        return (ipaddress.ip_address(host.strip("[]")),)
    except ValueError:
        pass
    answers: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            answers.put([str(entry[4][0]) for entry in found])
        except UnicodeError:
            answers.put(socket.gaierror(socket.EAI_NONAME, "not a host name"))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=max(within, 0.001))
    except queue.Empty:
        raise TimeoutError("the host name could not be resolved in time") from None
    if isinstance(answer, Exception):
        raise answer
    addresses = dict.fromkeys(ipaddress.ip_address(text.partition("%")[0]) for text in answer)
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "the host has no address")
    return tuple(addresses)


def dial(host: str, port: int, *, within: float, on_premise: bool) -> socket.socket:
    """Connect to a host by TCP, only if all its addresses are permitted, within `within` seconds.

    The time covers resolving and every address tried; each address gets a fair share of what is
    left. The socket's own timeout is what remains of it. Raises AddressRefused, socket.gaierror,
    TimeoutError, or the OSError of the last address tried.
    """
    ends = time.monotonic() + within
    addresses = resolve(host, within=within)
    for address in addresses:
        permit(address, on_premise=on_premise)
    failure: OSError | None = None
    for position, address in enumerate(addresses):
        left = ends - time.monotonic()
        if left <= 0:
            break
        sock = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
        try:
            sock.settimeout(left / (len(addresses) - position))
            sock.connect((str(address), port))
        except OSError as error:
            sock.close()
            failure = error
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(max(ends - time.monotonic(), 0.001))
        return sock
    raise failure or TimeoutError("the connection was not made in time")
