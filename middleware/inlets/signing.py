"""Checking signatures and tokens on raw bytes, and saying what would have matched.

The base strings are those of the vendors' documentation; the operator's usual mistakes (another
base string, a newline that an editor added, a secret pasted with its blanks, hex for base64) are
tried after a failure, so that the reason names the mistake instead of leaving a guess.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from middleware.inlets.delivery import Delivery, Verdict

WINDOW = timedelta(minutes=5)
"""How old, or how far ahead, a signed time may be."""

DIAGNOSED_BYTES = 256 * 1024
"""Larger bodies are not diagnosed: a stranger must not make us hash megabytes many times."""

TOKEN = "token:"  # noqa: S105 - the prefix, not a token
HANDSHAKE = "verify:"


@dataclass(frozen=True, slots=True)
class Keys:
    """Secrets by kind, each with its place among those that were given."""

    signing: tuple[tuple[int, str], ...]
    tokens: tuple[tuple[int, str], ...]
    handshake: tuple[str, ...]

    @classmethod
    def sort(cls, secrets: Sequence[str]) -> Keys:
        signing: list[tuple[int, str]] = []
        tokens: list[tuple[int, str]] = []
        handshake: list[str] = []
        for place, secret in enumerate(secrets):
            if secret.startswith(TOKEN):
                if len(secret) > len(TOKEN):
                    tokens.append((place, secret.removeprefix(TOKEN)))
            elif secret.startswith(HANDSHAKE):
                if len(secret) > len(HANDSHAKE):
                    handshake.append(secret.removeprefix(HANDSHAKE))
            elif secret.strip():
                signing.append((place, secret))
        return cls(tuple(signing), tuple(tokens), tuple(handshake))


def same(left: str, right: str) -> bool:
    """Compare in constant time; `hmac.compare_digest` itself refuses text beyond ASCII."""
    return hmac.compare_digest(left.encode("utf-8", "replace"), right.encode("utf-8", "replace"))


def hex_of(digest: bytes) -> str:
    return digest.hex()


def base64_of(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a source signs: which header, which prefix in it, which hash, which base string."""

    header: str
    prefix: str = ""
    algorithm: str = "sha256"
    encode: Callable[[bytes], str] = hex_of
    timestamp_header: str | None = None
    separator: bytes = b""
    """Between the time and the body, where the time is signed too."""
    key: Callable[[str], bytes] = str.encode

    def sign(self, secret: str, body: bytes, timestamp: str = "") -> str:
        """The header's value for this body: what the source would send."""
        base = body
        if self.timestamp_header is not None:
            base = timestamp.encode("utf-8", "replace") + self.separator + body
        return self.prefix + self.encode(hmac.digest(self.key(secret), base, self.algorithm))

    def verify(self, delivery: Delivery, keys: Keys, *, vendor: str) -> Verdict:
        """Check the signature with each signing secret, then the signed time."""
        signing = keys.signing
        if not signing:
            return Verdict(False, f"no signing secret of {vendor} is configured")
        given = delivery.headers.get(self.header)
        if given is None:
            return Verdict(False, f"the header {self.header} is missing")
        timestamp = ""
        if self.timestamp_header is not None:
            found = delivery.headers.get(self.timestamp_header)
            if found is None:
                return Verdict(False, f"the header {self.timestamp_header} is missing")
            timestamp = found
        for place, secret in signing:
            if same(self._normal(given), self.sign(secret, delivery.body, timestamp)):
                if self.timestamp_header is not None:
                    late = outside_window(timestamp, delivery.received_at)
                    if late:
                        return Verdict(False, f"the signature is right, but {late}")
                return Verdict(
                    True, f"{self.header} matches the signing secret", "signature", place
                )
        return Verdict(False, self._diagnose(delivery, given, timestamp, keys))

    def _normal(self, given: str) -> str:
        given = given.strip()
        return given.lower() if self.encode is hex_of else given

    def _diagnose(self, delivery: Delivery, given: str, timestamp: str, keys: Keys) -> str:
        failed = f"{self.header} matches none of {len(keys.signing)} signing secret(s)"
        if self.prefix and not self._normal(given).startswith(self.prefix):
            failed += f"; it should begin with {self.prefix!r}"
        if len(delivery.body) > DIAGNOSED_BYTES:
            return f"{failed}; the body is too large to try alternatives"
        wanted = given.strip().removeprefix(self.prefix)
        for key_name, key in self._alternative_keys(keys):
            for base_name, base in self._bases(delivery.body, timestamp):
                for algorithm in dict.fromkeys((self.algorithm, "sha256", "sha1")):
                    digest = hmac.digest(key, base, algorithm)
                    for encoding, text in (("hex", digest.hex()), ("base64", base64_of(digest))):
                        seen = wanted.lower() if encoding == "hex" else wanted
                        if same(seen, text) or same(seen.removeprefix(f"{algorithm}="), text):
                            return (
                                f"{failed}; it would match {encoding} HMAC-{algorithm.upper()} "
                                f"over {base_name} with {key_name}"
                            )
        return f"{failed}, nor any usual mistake: most likely the secret is another one"

    def _alternative_keys(self, keys: Keys) -> Iterator[tuple[str, bytes]]:
        for place, token in keys.tokens:
            yield f"the token given as secret {place + 1}, which must not sign", token.encode()
        for word in keys.handshake:
            yield "a word for the handshake, which must not sign", word.encode()
        for place, secret in keys.signing:
            which = f"secret {place + 1}"
            yield f"{which} as it is", secret.encode()
            if self.key(secret) != secret.encode():
                yield f"{which}, decoded", self.key(secret)
            if secret.strip() != secret:
                yield f"{which} without the blanks around it", secret.strip().encode()
            yield f"{which} with a newline after it", secret.strip().encode() + b"\n"
            for name, decode in (("base64", from_base64), ("hex", _from_hex)):
                decoded = decode(secret.strip())
                if decoded:
                    yield f"{which} decoded from {name}", decoded

    def _bases(self, body: bytes, timestamp: str) -> Iterator[tuple[str, bytes]]:
        time = timestamp.encode("utf-8", "replace")
        bodies = [("the body", body), ("the body with a newline added", body + b"\n")]
        if body.rstrip(b"\r\n") != body:
            bodies.append(("the body without its last newline", body.rstrip(b"\r\n")))
        for name, variant in bodies:
            yield f"{name} alone" if timestamp else name, variant
            if timestamp:
                yield f"the timestamp and {name}", time + variant
                yield f"the timestamp, a dot and {name}", time + b"." + variant
        yield "an empty body", b""


def from_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _from_hex(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def outside_window(timestamp: str, received_at: datetime, window: timedelta = WINDOW) -> str:
    """Why a signed time is not acceptable, or an empty text. Reads Unix seconds and ISO 8601."""
    moment = signed_time(timestamp)
    if moment is None:
        return "its timestamp is neither Unix seconds nor ISO 8601 with a time zone"
    age = received_at - moment
    minutes = int(window.total_seconds() // 60)
    if age > window:
        return f"it was signed {_span(age)} ago, more than {minutes} minutes (a replay?)"
    if age < -window:
        return f"it was signed {_span(-age)} ahead of our clock, more than {minutes} minutes"
    return ""


def signed_time(timestamp: str) -> datetime | None:
    """A timestamp header as a moment in UTC."""
    text = timestamp.strip()
    try:
        if text.isascii() and text.isdigit():
            return datetime.fromtimestamp(int(text), UTC) if len(text) <= 11 else None
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    return None if moment.tzinfo is None else moment.astimezone(UTC)


def _span(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    return f"{seconds} s" if seconds < 600 else f"{seconds // 60} min"


def verify_token(delivery: Delivery, tokens: Sequence[tuple[int, str]], *, vendor: str) -> Verdict:
    """Check a token of ours, sent as bearer, as Basic password, or as the path's last part."""
    if not tokens:
        return Verdict(False, f"no token is configured for {vendor}")
    offered = [(where, value) for where, value in _offered(delivery) if value]
    if not offered:
        return Verdict(False, "neither an Authorization header nor a token in the path")
    for where, value in offered:
        for place, token in tokens:
            if same(value, token):
                return Verdict(
                    True, f"the token came as {where}; the body is unsigned", "token", place
                )
            if same(value.strip(), token.strip()):
                return Verdict(False, f"the token as {where} matches but for blanks around it")
    kinds = ", ".join(where for where, _ in offered)
    return Verdict(False, f"no token matches what came as {kinds}")


def _offered(delivery: Delivery) -> Iterator[tuple[str, str]]:
    scheme, _, rest = delivery.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield "bearer", rest
    elif scheme.lower() == "basic":
        decoded = from_base64(rest.strip())
        if decoded is not None:
            yield "Basic password", decoded.decode("utf-8", "replace").partition(":")[2]
    yield "last part of the path", delivery.path.rstrip("/").rpartition("/")[2]


def digest_of(body: bytes) -> str:
    """A body's SHA-256 for telling deliveries apart that bear no id."""
    return hashlib.sha256(body).hexdigest()[:40]
