"""Every scheme against the formula of its vendor's documentation, written out here again."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from middleware.inlets import INLETS, Delivery, Verdict
from middleware.inlets.generic import sign

NOW = datetime(2026, 11, 20, 8, 15, tzinfo=UTC)
BODY = '{"text":"größer \\u00e9", "n": 1}'.encode()
SECRET = "s3cr3t-of-the-vendor"
OLD = "an-older-secret-here"
WHSEC = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
OLD_WHSEC = "whsec_" + base64.b64encode(b"76543210fedcba9876543210").decode()

Signer = Callable[[str, bytes, datetime], Mapping[str, str]]


def digest(secret: str, base: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(secret.encode(), base, algorithm).digest()


def zendesk(secret: str, body: bytes, at: datetime) -> Mapping[str, str]:
    stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "x-zendesk-webhook-signature": base64.b64encode(
            digest(secret, stamp.encode() + body)
        ).decode(),
        "X-Zendesk-Webhook-Signature-Timestamp": stamp,
    }


def chatwoot(secret: str, body: bytes, at: datetime) -> Mapping[str, str]:
    stamp = str(int(at.timestamp()))
    base = stamp.encode() + b"." + body
    return {
        "X-Chatwoot-Signature": "sha256=" + digest(secret, base).hex(),
        "X-Chatwoot-Timestamp": stamp,
    }


def zammad(secret: str, body: bytes, at: datetime) -> Mapping[str, str]:
    return {"X-Hub-Signature": "sha1=" + digest(secret, body, "sha1").hex()}


def meta(secret: str, body: bytes, at: datetime) -> Mapping[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + digest(secret, body).hex()}


def x(secret: str, body: bytes, at: datetime) -> Mapping[str, str]:
    return {
        "X-Twitter-Webhooks-Signature": "sha256=" + base64.b64encode(digest(secret, body)).decode()
    }


def generic(secret: str, body: bytes, at: datetime) -> Mapping[str, str]:
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", at, body.decode()),
    }


SIGNERS: dict[str, Signer] = {
    "zendesk": zendesk,
    "chatwoot": chatwoot,
    "zammad": zammad,
    "meta": meta,
    "x": x,
    "generic": generic,
}
TIMED = ("zendesk", "chatwoot", "generic")


def secrets(source: str) -> tuple[str, str]:
    return (WHSEC, OLD_WHSEC) if source == "generic" else (SECRET, OLD)


def verdict(
    source: str,
    headers: Mapping[str, str],
    given: tuple[str, ...],
    *,
    body: bytes = BODY,
    path: str = "/v1/inlets/desk",
) -> Verdict:
    delivery = Delivery("POST", path, body, NOW, headers=headers)
    answer = INLETS[source].verify(delivery, given)
    for secret in given:
        bare = secret.removeprefix("token:").removeprefix("verify:")
        assert len(bare) < 2 or bare not in answer.reason
    return answer


@pytest.mark.parametrize("source", SIGNERS)
def test_a_right_signature_is_taken(source: str) -> None:
    new, old = secrets(source)
    answer = verdict(source, SIGNERS[source](new, BODY, NOW), (new, old))
    assert (answer.ok, answer.trust, answer.secret) == (True, "signature", 0)


@pytest.mark.parametrize("source", SIGNERS)
def test_an_old_secret_is_still_taken_and_named(source: str) -> None:
    new, old = secrets(source)
    answer = verdict(source, SIGNERS[source](old, BODY, NOW), (new, old))
    assert (answer.ok, answer.secret) == (True, 1)


@pytest.mark.parametrize("source", SIGNERS)
@pytest.mark.parametrize("body", [BODY + b" ", BODY[:-1], b"", BODY.replace(b"1", b"2")])
def test_another_body_is_refused(source: str, body: bytes) -> None:
    new, old = secrets(source)
    headers = SIGNERS[source](new, BODY, NOW)
    answer = verdict(source, headers, (new, old), body=body)
    assert (answer.ok, answer.trust, answer.secret) == (False, "none", None)


@pytest.mark.parametrize("source", SIGNERS)
def test_another_secret_is_refused(source: str) -> None:
    new, old = secrets(source)
    assert not verdict(source, SIGNERS[source](new, BODY, NOW), (old,)).ok
    assert not verdict(source, SIGNERS[source](new, BODY, NOW), ()).ok


@pytest.mark.parametrize("source", SIGNERS)
def test_every_header_is_needed(source: str) -> None:
    new, _ = secrets(source)
    headers = dict(SIGNERS[source](new, BODY, NOW))
    for name in headers:
        less = {k: v for k, v in headers.items() if k != name}
        answer = verdict(source, less, (new,))
        assert not answer.ok
        assert name.lower() in answer.reason.lower()


@pytest.mark.parametrize("source", SIGNERS)
def test_empty_secrets_sign_nothing(source: str) -> None:
    for empty in ("", " ", "token:", "verify:"):
        signer = SIGNERS[source]
        headers = signer(WHSEC if source == "generic" else empty, BODY, NOW)
        assert not verdict(source, headers, (empty,)).ok


@pytest.mark.parametrize("source", SIGNERS)
def test_tokens_and_handshake_words_never_sign(source: str) -> None:
    """They stand in access logs; whoever reads those must not be able to sign."""
    word = "whsec_" + base64.b64encode(b"w" * 24).decode() if source == "generic" else "logged-word"
    for prefix in ("token:", "verify:"):
        headers = SIGNERS[source](word, BODY, NOW)
        assert not verdict(source, headers, (f"{prefix}{word}",)).ok


@pytest.mark.parametrize("source", TIMED)
@pytest.mark.parametrize(
    ("age", "ok"),
    [(0, True), (299, True), (301, False), (86_400, False), (-299, True), (-301, False)],
)
def test_replays_are_refused(source: str, age: int, ok: bool) -> None:
    new, _ = secrets(source)
    answer = verdict(source, SIGNERS[source](new, BODY, NOW - timedelta(seconds=age)), (new,))
    assert answer.ok is ok
    assert ok or "the signature is right, but" in answer.reason


def test_a_signed_time_that_is_no_time_is_refused() -> None:
    for stamp in ("soon", "", "99999999999999", "2026-11-20T08:15:00"):
        base = stamp.encode() + BODY
        headers = {
            "X-Zendesk-Webhook-Signature": base64.b64encode(digest(SECRET, base)).decode(),
            "X-Zendesk-Webhook-Signature-Timestamp": stamp,
        }
        assert not verdict("zendesk", headers, (SECRET,)).ok


def test_the_vector_that_github_publishes_for_the_same_scheme() -> None:
    """docs.github.com, validating webhook deliveries: the scheme that Meta uses too."""
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    answer = verdict(
        "meta",
        {"X-Hub-Signature-256": signature},
        ("It's a Secret to Everybody",),
        body=b"Hello, World!",
    )
    assert answer.ok


def test_zendesk_signs_requests_without_a_body() -> None:
    assert verdict("zendesk", zendesk(SECRET, b"", NOW), (SECRET,), body=b"").ok


def test_our_own_signature_is_that_of_the_standard() -> None:
    made = sign(WHSEC, "msg_1", int(NOW.timestamp()), BODY)
    assert made == Webhook(WHSEC).sign("msg_1", NOW, BODY.decode())


def test_one_of_several_standard_signatures_is_enough() -> None:
    headers = dict(generic(WHSEC, BODY, NOW))
    headers["webhook-signature"] = f"v1a,abc v1,AAAA {headers['webhook-signature']}"
    assert verdict("generic", headers, (WHSEC,)).ok
    headers["webhook-signature"] = "v1a,abc"
    assert not verdict("generic", headers, (WHSEC,)).ok


def test_case_and_blanks_of_a_hex_signature_do_not_count() -> None:
    headers = {"X-Hub-Signature-256": " SHA256=" + digest(SECRET, BODY).hex().upper() + " "}
    assert verdict("meta", headers, (SECRET,)).ok


# What the reason says after a failure.


def chatwoot_headers(base: bytes, secret: str = SECRET) -> Mapping[str, str]:
    return {
        "X-Chatwoot-Signature": "sha256=" + digest(secret, base).hex(),
        "X-Chatwoot-Timestamp": STAMP,
    }


STAMP = str(int(NOW.timestamp()))
MISTAKES = {
    "body only": (BODY, SECRET, SECRET, "over the body alone with secret 1 as it is"),
    "no dot": (STAMP.encode() + BODY, SECRET, SECRET, "over the timestamp and the body"),
    "newline added": (
        f"{STAMP}.".encode() + BODY + b"\n",
        SECRET,
        SECRET,
        "a dot and the body with a newline added",
    ),
    "secret with blanks": (
        f"{STAMP}.".encode() + BODY,
        SECRET,
        f" {SECRET}\n",
        "without the blanks around it",
    ),
    "secret decoded": (
        f"{STAMP}.".encode() + BODY,
        "decoded secret",
        base64.b64encode(b"decoded secret").decode(),
        "decoded from base64",
    ),
    "the token": (f"{STAMP}.".encode() + BODY, "ours", "token:ours", "which must not sign"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_reason_names_the_usual_mistakes(name: str) -> None:
    base, used, configured, told = MISTAKES[name]
    given = (configured,) if not configured.startswith("token:") else (OLD, configured)
    answer = verdict("chatwoot", chatwoot_headers(base, used), given)
    assert not answer.ok
    assert told in answer.reason


def test_the_reason_names_hash_and_encoding() -> None:
    made = base64.b64encode(digest(SECRET, BODY, "sha1")).decode()
    answer = verdict("meta", {"X-Hub-Signature-256": f"sha256={made}"}, (SECRET,))
    assert "base64 HMAC-SHA1 over the body" in answer.reason


def test_the_reason_admits_that_it_does_not_know() -> None:
    answer = verdict("meta", meta("quite-another", BODY, NOW), (SECRET,))
    assert "most likely the secret is another one" in answer.reason


def test_the_reason_of_the_generic_inlet() -> None:
    raw = base64.b64encode(hmac.digest(base64.b64decode(WHSEC[6:]), BODY, "sha256")).decode()
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": STAMP,
        "webhook-signature": f"v1,{raw}",
    }
    answer = verdict("generic", headers, (WHSEC,))
    assert not answer.ok
    assert "the body alone" in answer.reason


def test_large_bodies_are_not_hashed_many_times() -> None:
    body = b"x" * (300 * 1024)
    answer = verdict("meta", meta(SECRET, b"other", NOW), (SECRET,), body=body)
    assert "too large to try alternatives" in answer.reason


# Sources that do not sign.

BASIC = base64.b64encode(b"amends:path-token").decode()


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"Authorization": "Bearer path-token"}, "/v1/inlets/desk"),
        ({"authorization": f"Basic {BASIC}"}, "/v1/inlets/desk"),
        ({}, "/v1/inlets/desk/path-token"),
        ({}, "/v1/inlets/desk/path-token/"),
        ({"Authorization": "Bearer wrong"}, "/v1/inlets/desk/path-token"),
    ],
)
@pytest.mark.parametrize("source", ["freshdesk", "chatwoot", "zammad"])
def test_a_token_stands_in_for_a_signature(
    source: str, headers: Mapping[str, str], path: str
) -> None:
    answer = verdict(source, headers, ("token:other", "token:path-token"), path=path)
    assert (answer.ok, answer.trust, answer.secret) == (True, "token", 1)


@pytest.mark.parametrize("source", ["freshdesk", "chatwoot", "zammad"])
@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({}, "/v1/inlets/desk/other"),
        ({}, "/"),
        ({}, ""),
        ({"Authorization": "Bearer"}, "/v1/inlets/desk"),
        ({"Authorization": "Basic !!!"}, "/v1/inlets/desk"),
        ({"Authorization": "Bearer path-token "}, "/v1/inlets/desk"),
    ],
)
def test_a_wrong_token_is_refused(source: str, headers: Mapping[str, str], path: str) -> None:
    assert not verdict(source, headers, ("token:path-token",), path=path).ok


def test_freshdesk_takes_plain_secrets_as_tokens() -> None:
    headers = {"Authorization": "Bearer path-token"}
    assert verdict("freshdesk", headers, ("path-token",)).trust == "token"


def test_a_signing_secret_is_no_path_token_where_the_vendor_signs() -> None:
    answer = verdict("chatwoot", {}, (SECRET,), path=f"/v1/inlets/desk/{SECRET}")
    assert not answer.ok
    assert "token:" in answer.reason


def test_a_wrong_signature_is_not_saved_by_a_token() -> None:
    headers = dict(chatwoot("wrong", BODY, NOW))
    answer = verdict("chatwoot", headers, (SECRET, "token:tok"), path="/v1/inlets/desk/tok")
    assert not answer.ok


ANY_TEXT = st.text(max_size=60)


@given(
    source=st.sampled_from(sorted(INLETS)),
    headers=st.dictionaries(
        st.sampled_from(
            [
                "X-Zendesk-Webhook-Signature",
                "X-Zendesk-Webhook-Signature-Timestamp",
                "X-Chatwoot-Signature",
                "X-Chatwoot-Timestamp",
                "X-Hub-Signature",
                "X-Hub-Signature-256",
                "x-twitter-webhooks-signature",
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature",
                "Authorization",
            ]
        ),
        ANY_TEXT,
    ),
    body=st.binary(max_size=80),
    path=ANY_TEXT,
    given_secrets=st.lists(ANY_TEXT, max_size=3),
)
def test_strangers_get_an_answer_and_never_an_exception(
    source: str,
    headers: dict[str, str],
    body: bytes,
    path: str,
    given_secrets: list[str],
) -> None:
    delivery = Delivery("POST", path, body, NOW, headers=headers)
    answer = INLETS[source].verify(delivery, given_secrets)
    assert isinstance(answer.ok, bool)
    assert answer.ok == (answer.trust != "none")


def test_a_delivery_knows_its_time_zone() -> None:
    with pytest.raises(ValueError):
        Delivery("POST", "/", b"", NOW.replace(tzinfo=None))


def test_headers_do_not_show_their_values() -> None:
    delivery = Delivery("POST", "/", b"", NOW, headers={"Authorization": "Bearer abc"})
    assert "abc" not in repr(delivery.headers)
    assert delivery.headers["AUTHORIZATION"] == "Bearer abc"


def test_hashes_are_those_of_the_standard_library() -> None:
    assert digest("k", b"m") == hmac.new(b"k", b"m", hashlib.sha256).digest()
