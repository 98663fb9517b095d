"""What is sent, and what each answer means, against a remote that answers what the test says."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from adapters.soap.adapter import SoapAdapter
from middleware.contract.actions import Receipt, ReturnRequest, WantedLine
from middleware.contract.canonical import Kind, Money, Ref
from middleware.contract.capabilities import CountsRecords, Tally
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
from middleware.contract.mapping import AnswerUnreadable, MappingError
from tests.adapters.soap.canned import (
    BINDINGS,
    SOAP_12,
    WSDL,
    Answer,
    Canned,
    canned,
    envelope,
    open_shop,
    put_files,
    shop,
)

KEY = "amends-0123456789"
SECRET = "session-secret-7f3a91"
ORDER = Ref(connection="shop", kind=Kind.ORDER, id="7")
REQUEST = ReturnRequest(
    order=ORDER, lines=(WantedLine(line="1", sku="LAMP", quantity=Decimal("1.5")),)
)
FOUND = (
    '<Orders xmlns="urn:shop"><Order><Id>7</Id><Number>SO-7</Number><Ref>amends-0123456789</Ref>'
    "<Total>19.90</Total><Line><Sku>LAMP</Sku><Qty>2</Qty></Line></Order></Orders>"
)
NONE = '<Orders xmlns="urn:shop"/>'
CREATED = '<Created xmlns="urn:shop"><Id>9</Id></Created>'


@pytest.fixture
def remote() -> Iterator[Canned]:
    with canned() as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return put_files(tmp_path / "shop")


@pytest.fixture
def adapter(remote: Canned, folder: Path) -> Iterator[Any]:
    opened = open_shop(folder, remote.url)
    yield opened
    opened.close()


def outcome(call: Any) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        call()
    assert caught.value.system == "soap"
    assert caught.value.operation
    return caught.value


# What is sent.


def test_a_read_as_it_goes_over_the_wire(adapter: Any, remote: Canned) -> None:
    remote.say(FOUND)
    order = adapter.read_order(ORDER)
    assert order.ref == ORDER
    assert (order.number, order.reference) == ("SO-7", KEY)
    assert order.total == Money(amount=Decimal("19.90"), currency="EUR")
    assert [(line.sku, line.quantity) for line in order.lines] == [("LAMP", Decimal(2))]
    (sent,) = remote.requests
    assert (sent.method, sent.path) == ("POST", "/soap")
    assert sent.headers["content-type"] == "text/xml; charset=utf-8"
    assert sent.headers["soapaction"] == '"urn:shop/find"'
    assert sent.texts("text") == ["7"]
    assert sent.xml.tag == "{http://schemas.xmlsoap.org/soap/envelope/}Envelope"


def test_a_write_as_it_goes_over_the_wire(adapter: Any, remote: Canned) -> None:
    remote.say(CREATED)
    receipt = adapter.create_return(REQUEST, key=KEY)
    assert receipt == Receipt(ref=Ref(connection="shop", kind=Kind.RETURN, id="9"), key=KEY)
    (sent,) = remote.requests
    assert (sent.texts("Ref"), sent.texts("Sku"), sent.texts("Qty")) == ([KEY], ["LAMP"], ["1.5"])


def test_the_address_in_the_wsdl_is_ignored(adapter: Any, remote: Canned) -> None:
    """It says elsewhere.example.com; a call there would fail."""
    remote.say(NONE)
    assert adapter.find_order("x") is None


def test_the_address_in_the_wsdl_is_used_if_it_is_told_so(remote: Canned, tmp_path: Path) -> None:
    wsdl = WSDL.format(soap="soap", address=f"{remote.url}/stated")
    folder = put_files(tmp_path / "shop", wsdl=wsdl)
    adapter = open_shop(folder, "http://127.0.0.1:1", use_wsdl_address=True)
    remote.say(NONE)
    adapter.find_order("x")
    assert remote.requests[0].path == "/stated"
    adapter.close()


def test_an_address_of_the_wsdl_that_leads_inside_is_refused(
    remote: Canned, tmp_path: Path
) -> None:
    wsdl = WSDL.format(soap="soap", address=f"{remote.url}/stated")
    folder = put_files(tmp_path / "shop", wsdl=wsdl)
    adapter = open_shop(folder, "http://x.example.com", use_wsdl_address=True, on_premise=False)
    error = outcome(lambda: adapter.create_return(REQUEST, key=KEY))
    assert isinstance(error, Permanent)
    assert not remote.requests
    adapter.close()


def test_the_action_may_be_overridden(remote: Canned, tmp_path: Path) -> None:
    text = BINDINGS.replace("read_orders:", "operations: {Find: {action: urn:real}}\nread_orders:")
    adapter = open_shop(put_files(tmp_path / "shop", bindings=text), remote.url)
    remote.say(NONE)
    adapter.find_order("x")
    assert remote.requests[0].headers["soapaction"] == '"urn:real"'
    adapter.close()


def test_soap_1_2(remote: Canned, tmp_path: Path) -> None:
    folder = put_files(tmp_path / "shop", wsdl=WSDL.format(soap="soap12", address="x"))
    adapter = open_shop(folder, remote.url)
    remote.say(FOUND, space=SOAP_12)
    assert adapter.find_order("x").number == "SO-7"
    (sent,) = remote.requests
    assert sent.headers["content-type"] == (
        'application/soap+xml; charset=utf-8; action="urn:shop/find"'
    )
    assert "soapaction" not in sent.headers
    assert sent.xml.tag == f"{{{SOAP_12}}}Envelope"
    fault = (
        "<env:Fault><env:Code><env:Value>env:Sender</env:Value><env:Subcode><env:Value>x:Empty"
        "</env:Value></env:Subcode></env:Code><env:Reason><env:Text>none</env:Text></env:Reason>"
        "</env:Fault>"
    )
    remote.say(fault, status="400 Bad Request", space=SOAP_12)
    assert adapter.find_order("x") is None, "Sender.Empty is what SOAP 1.1 calls Client.Empty"
    adapter.close()


def test_moments_and_days_in_the_bindings_time_zone(remote: Canned, tmp_path: Path) -> None:
    arguments = (
        "{text: {from: since, format: '%d.%m.%Y %H:%M'}, since: since, day: since,"
        " size: limit, page: {const: '3'}}"
    )
    text = BINDINGS.replace("system: shop", "system: shop\ntimezone: Europe/Berlin").replace(
        "{text: customer.id}", arguments
    )
    adapter = open_shop(put_files(tmp_path / "shop", bindings=text), remote.url)
    remote.say(NONE)
    since = datetime(2026, 6, 30, 23, 30, tzinfo=UTC)
    account = Ref(connection="shop", kind=Kind.ACCOUNT, id="C-1")
    assert adapter.orders_of(account, since=since, limit=5) == ()
    (sent,) = remote.requests
    assert sent.texts("text") == ["01.07.2026 01:30"]
    assert sent.texts("since") == ["2026-06-30T23:30:00Z"]
    assert sent.texts("day") == [date(2026, 7, 1).isoformat()]
    assert (sent.texts("size"), sent.texts("page")) == (["5"], ["3"])
    with pytest.raises(NotOffered):
        adapter.orders_of(account.model_copy(update={"kind": Kind.CONTACT}))
    adapter.close()


@pytest.mark.parametrize(
    ("quote", "value", "sent"),
    [
        ("backslash", "O'Neil", r"N = 'O\'Neil'"),
        ("backslash", 'a\\" OR', r"N = 'a\\\" OR'"),
        ("doubled", "O'Neil", "N = 'O''Neil'"),
        ("doubled", "a\\", None),
        ("refuse", "SO-1", "N = 'SO-1'"),
        ("refuse", "O'Neil", None),
        ("refuse", "100%", None),
        ("backslash", "a\nb", None),
    ],
)
def test_a_value_in_a_query_is_quoted_or_refused(
    quote: str, value: str, sent: str | None, remote: Canned, tmp_path: Path
) -> None:
    argument = f"{{text: {{template: \"N = '{{number}}'\", quote: {quote}}}}}"
    text = BINDINGS.replace("{text: number}", argument)
    adapter = open_shop(put_files(tmp_path / "shop", bindings=text), remote.url)
    remote.say(NONE)
    if sent is None:
        assert type(outcome(lambda: adapter.find_order(value))) is Rejected
        assert not remote.requests
    else:
        assert adapter.find_order(value) is None
        assert remote.requests[0].texts("text") == [sent]
    adapter.close()


def test_steps_change_an_argument(remote: Canned, tmp_path: Path) -> None:
    argument = "{text: {from: number, use: [upper, {strip_prefix: SO-}]}}"
    text = BINDINGS.replace("{text: number}", argument)
    adapter = open_shop(put_files(tmp_path / "shop", bindings=text), remote.url)
    remote.say(NONE)
    adapter.find_order("so-7x")
    assert remote.requests[0].texts("text") == ["7X"]
    adapter.close()


def test_markup_in_values_stays_text(adapter: Any, remote: Canned) -> None:
    remote.say(NONE)
    adapter.find_order("</text><since>2020</since>&amp;")
    assert remote.requests[0].texts("text") == ["</text><since>2020</since>&amp;"]
    assert remote.requests[0].texts("since") == []


def test_what_xml_cannot_say_is_refused_before_it_is_sent(adapter: Any, remote: Canned) -> None:
    assert type(outcome(lambda: adapter.find_order("a\x00b"))) is Rejected
    assert not remote.requests


def test_a_request_that_does_not_fit_is_refused_before_it_is_sent(
    adapter: Any, remote: Canned
) -> None:
    """The mapping makes no lines, and the WSDL wants at least one."""
    empty = REQUEST.model_copy(update={"lines": ()})
    error = outcome(lambda: adapter.create_return(empty, key=KEY))
    assert type(error) is Rejected
    assert "Nothing was sent" in error.message
    assert error.field
    assert not remote.requests


# Credentials.


def test_basic(remote: Canned, folder: Path) -> None:
    secrets = {"password": "pass-wörd-81c2"}
    adapter = open_shop(folder, remote.url, auth="basic", username="hub", secrets=secrets)
    remote.say(NONE)
    adapter.find_order("x")
    told = remote.requests[0].headers["authorization"].removeprefix("Basic ")
    assert base64.b64decode(told).decode() == "hub:pass-wörd-81c2"
    adapter.close()


@pytest.mark.parametrize("digest", [False, True])
def test_username_token(digest: bool, remote: Canned, folder: Path) -> None:
    adapter = open_shop(
        folder,
        remote.url,
        auth="usernametoken",
        username="hub",
        digest=digest,
        secrets={"password": SECRET},
    )
    for _ in range(2):
        remote.say(NONE)
        adapter.find_order("x")
    first, second = remote.requests
    assert first.texts("Username") == ["hub"]
    assert (first.texts("Password") == [SECRET]) is not digest
    assert (SECRET.encode() in first.body) is not digest
    if digest:
        assert first.texts("Nonce") != second.texts("Nonce"), "a nonce is used once"
        assert str(first.texts("Created")[0]).endswith("Z")
    adapter.close()


@pytest.mark.parametrize("element", ["{urn:shop}Key", "{urn:gateway}Key"])
def test_a_header(element: str, remote: Canned, folder: Path) -> None:
    """One that the WSDL knows, and one that only a gateway before the remote knows."""
    adapter = open_shop(
        folder,
        remote.url,
        auth="header",
        header={"element": element, "values": {"Token": "secret:session", "Realm": "eu"}},
        secrets={"session": SECRET},
    )
    for _ in range(2):
        remote.say(NONE)
        adapter.find_order("x")
    for sent in remote.requests:
        (header,) = sent.xml.iter("{http://schemas.xmlsoap.org/soap/envelope/}Header")
        (key,) = header
        assert key.tag == element
        assert {etree.QName(c).localname: c.text for c in key} == {"Token": SECRET, "Realm": "eu"}
    adapter.close()


def test_a_header_that_does_not_fit_the_wsdl(remote: Canned, folder: Path) -> None:
    with pytest.raises(Permanent, match="header does not fit"):
        open_shop(
            folder,
            remote.url,
            auth="header",
            header={"element": "{urn:shop}Key", "values": {"Tokn": "x"}},
        )


# What answers mean.


def fault_of(remote: Canned, code: str, detail: str = "", *, status: str = "500 E") -> None:
    remote.fault(f"env:{code}", "SO-7 is closed", detail, status=status)


READ_FAULTS = [
    ("Client.Empty", Missing),
    ("Client.Busy", Transient),
    ("Client.No", Rejected),
    ("Client.Else", Rejected),
    ("Client", Rejected),
    ("Server", Transient),
    ("Server.Down", Transient),
    ("Whatever", Transient),
    ("MustUnderstand", Permanent),
    ("VersionMismatch", Permanent),
    ("FailedAuthentication", Unauthorised),
    ("InvalidSecurity", Unauthorised),
]
WRITE_FAULTS = [
    ("Client.Busy", Transient),
    ("Client.No", Rejected),
    ("Client.Wrong", Rejected),
    ("Client.Else", Ambiguous),
    ("Client", Ambiguous),
    ("Server", Ambiguous),
    ("Server.Down", Ambiguous),
    ("Whatever", Ambiguous),
    ("MustUnderstand", Permanent),
    ("FailedAuthentication", Unauthorised),
]


@pytest.mark.parametrize(("code", "kind"), READ_FAULTS)
def test_a_fault_on_a_read(code: str, kind: type, adapter: Any, remote: Canned) -> None:
    fault_of(remote, code)
    error = outcome(lambda: adapter.read_order(ORDER))
    assert type(error) is kind
    assert error.code == code


@pytest.mark.parametrize(("code", "kind"), WRITE_FAULTS)
def test_a_fault_on_a_write(code: str, kind: type, adapter: Any, remote: Canned) -> None:
    fault_of(remote, code)
    error = outcome(lambda: adapter.create_return(REQUEST, key=KEY))
    assert type(error) is kind
    assert error.code == code


@pytest.mark.parametrize(
    ("status", "kind"),
    [("401 No", Unauthorised), ("403 No", Forbidden), ("429 Slow", Transient),
     ("404 No", Ambiguous), ("503 No", Ambiguous), ("400 No", Ambiguous)],
)  # fmt: skip
def test_the_status_of_an_unknown_fault_on_a_write(
    status: str, kind: type, adapter: Any, remote: Canned
) -> None:
    fault_of(remote, "Client.Else", status=status)
    assert type(outcome(lambda: adapter.create_return(REQUEST, key=KEY))) is kind


def test_words_of_the_remote_are_shown_only_where_the_file_says_so(
    adapter: Any, remote: Canned
) -> None:
    fault_of(remote, "Client.No")
    assert outcome(lambda: adapter.read_order(ORDER)).message == "refused: SO-7 is closed"
    fault_of(remote, "Client.Empty")
    assert "SO-7" not in outcome(lambda: adapter.read_order(ORDER)).message
    fault_of(remote, "Client.Else")
    assert "SO-7" not in outcome(lambda: adapter.read_order(ORDER)).message


def test_the_field_that_a_fault_names(adapter: Any, remote: Canned) -> None:
    fault_of(remote, "Client.Wrong", "<x:Problem xmlns:x='u'/><Field>Line.Qty</Field>")
    assert outcome(lambda: adapter.create_return(REQUEST, key=KEY)).field == "Line.Qty"


def test_a_secret_that_the_remote_repeats_is_not_told(remote: Canned, folder: Path) -> None:
    adapter = open_shop(
        folder, remote.url, auth="usernametoken", username="hub", secrets={"password": SECRET}
    )
    remote.fault("env:Client.No", f"bad password {SECRET}")
    error = outcome(lambda: adapter.read_order(ORDER))
    told = "".join(traceback.format_exception(error)) + repr(vars(error))
    assert SECRET not in told
    assert "•••" in error.message
    adapter.close()


def test_nothing_of_an_answer_hangs_on_the_error(adapter: Any, remote: Canned) -> None:
    remote.answers.append(Answer(b"<html>SECRET CONTENT"))
    error = outcome(lambda: adapter.create_return(REQUEST, key=KEY))
    chain: BaseException | None = error
    while chain is not None:
        assert "SECRET" not in repr(chain) + repr(vars(chain))
        chain = chain.__cause__ or chain.__context__


@pytest.mark.parametrize("code_at", ["*.code", "problem.code"])
def test_a_code_in_the_detail(code_at: str, remote: Canned, tmp_path: Path) -> None:
    text = BINDINGS.replace(
        "faults:", f"fault_code: '{code_at}'\nfaults:\n  E_GONE: {{outcome: missing}}"
    )
    adapter = open_shop(put_files(tmp_path / "shop", bindings=text), remote.url)
    fault_of(
        remote, "Server.user", "<v:problem xmlns:v='urn:v'><v:code>E_GONE</v:code></v:problem>"
    )
    assert adapter.find_order("x") is None
    fault_of(
        remote, "Server.user", "<v:problem xmlns:v='urn:v'><v:code>E_ELSE</v:code></v:problem>"
    )
    error = outcome(lambda: adapter.find_order("x"))
    assert (type(error), error.code) == (Transient, "E_ELSE")
    adapter.close()


def test_the_name_of_a_detail_is_a_code_too(remote: Canned, tmp_path: Path) -> None:
    text = BINDINGS.replace("faults:", "faults:\n  NotThereFault: {outcome: missing}")
    adapter = open_shop(put_files(tmp_path / "shop", bindings=text), remote.url)
    fault_of(remote, "Server", "<v:NotThereFault xmlns:v='urn:v'/>")
    assert adapter.find_order("x") is None
    adapter.close()


def test_an_error_in_the_applications_own_element(remote: Canned, tmp_path: Path) -> None:
    """Not a SOAP fault, though the status is 500: zeep calls it an unknown one."""
    text = BINDINGS.replace("faults:", "fault_code: '*.Kind'\nfaults:\n  Closed: {outcome: retry}")
    adapter = open_shop(put_files(tmp_path / "shop", bindings=text), remote.url)
    failure = "<e:Failure xmlns:e='urn:e'><e:Kind>{}</e:Kind></e:Failure>"
    remote.say(failure.format("Closed"), status="500 E")
    assert type(outcome(lambda: adapter.create_return(REQUEST, key=KEY))) is Transient
    remote.say(failure.format("Broken"), status="500 E")
    error = outcome(lambda: adapter.create_return(REQUEST, key=KEY))
    assert (type(error), error.code) == (Ambiguous, "Broken")
    adapter.close()


ERRORS = """
error: {at: Order, when: {Number: [BAD, WORSE]}, code: Ref, message: Line.Sku, field: Id}
faults:
  E1: {outcome: reject}
  E2: {outcome: missing}
"""


def test_an_error_inside_a_200(remote: Canned, tmp_path: Path) -> None:
    text = (
        BINDINGS[: BINDINGS.index("faults:")] + ERRORS + BINDINGS[BINDINGS.index("read_orders:") :]
    )
    adapter = open_shop(put_files(tmp_path / "shop", bindings=text), remote.url)

    def say(number: str, code: str) -> None:
        remote.say(
            f'<Orders xmlns="urn:shop"><Order><Id>Qty</Id><Number>{number}</Number>'
            f"<Ref>{code}</Ref><Line><Sku>too many</Sku><Qty>1</Qty></Line></Order></Orders>"
        )

    say("BAD", "E1")
    error = outcome(lambda: adapter.read_order(ORDER))
    assert (type(error), error.code, error.field) == (Rejected, "E1", "Qty")
    assert "too many" in error.message
    say("WORSE", "E2")
    assert adapter.find_order("x") is None
    say("GOOD", "E1")
    assert adapter.find_order("x").number == "GOOD"
    adapter.close()


def test_an_error_inside_a_200_that_nobody_knows(remote: Canned, tmp_path: Path) -> None:
    text = BINDINGS.replace("faults:", "error: {at: Made, code: _value_1}\nfaults:").replace(
        "    settle_s: 7", "    settle_s: 7"
    )
    text = text.replace("{at: Made, code: _value_1}", "{when: {Made: 'false'}, code: Id}").replace(
        '    existed: {path: Made, is: "false"}\n', ""
    )
    adapter = open_shop(put_files(tmp_path / "shop", bindings=text), remote.url)
    remote.say('<Created xmlns="urn:shop"><Id>E9</Id><Made>false</Made></Created>')
    error = outcome(lambda: adapter.create_return(REQUEST, key=KEY))
    assert (type(error), error.code) == (Ambiguous, "E9")
    adapter.close()


GARBAGE: dict[str, Answer] = {
    "nothing": Answer(b""),
    "a login page": Answer(b"<!DOCTYPE html><html><body>Log in</body></html>"),
    "an xhtml page": Answer(b"<html xmlns='http://www.w3.org/1999/xhtml'/>"),
    "JSON": Answer(b'{"ok": true}'),
    "bytes": Answer(b"\x1f\x8b\x00\xff"),
    "a cut answer": Answer(envelope(CREATED)[:-30]),
    "an envelope without a body": Answer(f'<e:Envelope xmlns:e="{SOAP_12}"/>'.encode()),
    "an empty body": Answer(envelope("")),
    "another envelope": Answer(b"<Envelope xmlns='urn:other'><Body/></Envelope>"),
    "another operation's answer": Answer(
        envelope("<Deleted xmlns='urn:shop'><Id>9</Id></Deleted>")
    ),
    "a DTD": Answer(b"<!DOCTYPE Envelope>" + envelope(CREATED)[21:]),
    "an entity": Answer(
        b'<!DOCTYPE e [<!ENTITY a "9">]>' + envelope(CREATED.replace("9", "&a;"))[21:]
    ),
    "an external entity": Answer(
        b'<!DOCTYPE e [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
        + envelope(CREATED.replace("9", "&a;"))[21:]
    ),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_an_answer_that_is_none(name: str, adapter: Any, remote: Canned) -> None:
    remote.answers += [GARBAGE[name], GARBAGE[name]]
    assert type(outcome(lambda: adapter.create_return(REQUEST, key=KEY))) is Ambiguous
    assert type(outcome(lambda: adapter.read_order(ORDER))) is Transient


def test_an_answer_without_its_identifier(adapter: Any, remote: Canned) -> None:
    remote.say('<Created xmlns="urn:shop"/>')
    error = outcome(lambda: adapter.create_return(REQUEST, key=KEY))
    assert isinstance(error, AnswerUnreadable)
    assert isinstance(error, Ambiguous)


def test_too_large_an_answer(remote: Canned, folder: Path) -> None:
    adapter = open_shop(folder, remote.url, max_bytes=100_000)
    for _ in range(2):
        remote.say(f'<Created xmlns="urn:shop"><Id>{"9" * 200_000}</Id></Created>')
    assert type(outcome(lambda: adapter.create_return(REQUEST, key=KEY))) is Ambiguous
    assert type(outcome(lambda: adapter.read_order(ORDER))) is Transient
    adapter.close()


def test_a_redirect_is_not_followed(adapter: Any, remote: Canned) -> None:
    remote.answers.append(Answer(b"", "302 Found", {"Location": "http://elsewhere.example.com/"}))
    assert "redirect" in outcome(lambda: adapter.read_order(ORDER)).message
    assert len(remote.requests) == 1


def test_elements_in_another_order_and_unknown_ones(adapter: Any, remote: Canned) -> None:
    remote.say(
        '<x:Orders xmlns:x="urn:shop" xmlns:y="urn:new"><y:New>1</y:New>'
        "<x:Order><x:Total>3</x:Total>"
        "<x:Line><x:Qty>2</x:Qty><y:Colour>red</y:Colour><x:Sku>LAMP</x:Sku></x:Line>"
        "<x:Number>SO-7</x:Number><x:Id> 7 </x:Id></x:Order></x:Orders>"
    )
    order = adapter.find_order("x")
    assert (order.ref.id, order.number, order.lines[0].sku) == ("7", "SO-7", "LAMP")


def test_headers_in_an_answer_do_not_shift_its_body(adapter: Any, remote: Canned) -> None:
    remote.answers.append(Answer(envelope(FOUND, header="<L xmlns='urn:l'><used>3</used></L>")))
    assert adapter.find_order("x").number == "SO-7"


def test_a_multipart_answer(adapter: Any, remote: Canned) -> None:
    body = (
        b"--b1\r\nContent-Type: application/xop+xml; charset=utf-8\r\nContent-ID: <root>\r\n\r\n"
        + envelope(FOUND)
        + b"\r\n--b1\r\nContent-Type: image/png\r\nContent-ID: <i>\r\n\r\n\x89PNG\r\n--b1--\r\n"
    )
    kind = 'multipart/related; boundary=b1; type="application/xop+xml"; start="<root>"'
    remote.answers.append(Answer(body, headers={"Content-Type": kind}))
    assert adapter.find_order("x").number == "SO-7"


def test_the_same_record_in_one_element_or_many(adapter: Any, remote: Canned) -> None:
    remote.say(FOUND.replace("<Orders", "<Orders").replace("</Orders>", "") + "</Orders>")
    assert len(adapter.find_order("x").lines) == 1
    twice = FOUND.replace("<Line>", "<Line><Sku>CHAIR</Sku><Qty>1</Qty></Line><Line>")
    remote.say(twice)
    assert [line.sku for line in adapter.find_order("x").lines] == ["CHAIR", "LAMP"]


def test_a_record_that_does_not_fit_its_mapping(adapter: Any, remote: Canned) -> None:
    remote.say(FOUND.replace("<Qty>2</Qty>", "<Qty>two</Qty>"))
    error = outcome(lambda: adapter.read_order(ORDER))
    assert isinstance(error, MappingError)
    remote.say(FOUND.replace("<Id>7</Id>", ""))
    assert isinstance(outcome(lambda: adapter.read_order(ORDER)), MappingError)


# Writes and looking them up.


def test_found_by_its_key(adapter: Any, remote: Canned) -> None:
    remote.say(FOUND)
    found = adapter.find_return(REQUEST, key=KEY)
    assert found.ref == Ref(connection="shop", kind=Kind.RETURN, id="7")
    assert (found.number, found.already_existed) == ("SO-7", True)
    assert remote.requests[0].texts("text") == [KEY]


@pytest.mark.parametrize("ref", ["", "amends-012345678", "amends-01234567890", "AMENDS-0123456789"])
def test_a_row_with_another_key_is_not_ours(ref: str, adapter: Any, remote: Canned) -> None:
    """Remotes search by beginnings, and without case; the key decides."""
    remote.say(FOUND.replace(KEY, ref))
    assert adapter.find_return(REQUEST, key=KEY) is None


def test_a_look_up_that_answers_rows_without_any_key_is_an_error(
    adapter: Any, remote: Canned
) -> None:
    """Taken for nothing found, it would let everything be done twice."""
    remote.say(FOUND.replace(f"<Ref>{KEY}</Ref>", ""))
    error = outcome(lambda: adapter.find_return(REQUEST, key=KEY))
    assert (type(error), error.code) == (Permanent, "key")


def test_two_rows_with_our_key(adapter: Any, remote: Canned) -> None:
    order = FOUND[FOUND.index("<Order>") : FOUND.index("</Orders>")]
    remote.say(FOUND.replace("</Orders>", order.replace("<Id>7", "<Id>8") + "</Orders>"))
    assert type(outcome(lambda: adapter.find_return(REQUEST, key=KEY))) is Duplicated
    remote.say(FOUND.replace("</Orders>", order + "</Orders>"))
    assert adapter.find_return(REQUEST, key=KEY).ref.id == "7", "the same row twice is one row"


def test_looking_up_does_not_take_an_error_for_nothing(adapter: Any, remote: Canned) -> None:
    fault_of(remote, "Server.Down")
    assert type(outcome(lambda: adapter.find_return(REQUEST, key=KEY))) is Transient
    remote.say(FOUND.replace("<Id>7</Id>", ""))
    assert type(outcome(lambda: adapter.find_return(REQUEST, key=KEY))) is Transient


def test_a_duplicate_of_our_key_means_found(adapter: Any, remote: Canned) -> None:
    fault_of(remote, "Client.Twice")
    remote.say(FOUND)
    receipt = adapter.create_return(REQUEST, key=KEY)
    assert (receipt.ref.id, receipt.already_existed) == ("7", True)


def test_a_duplicate_that_is_not_found_is_ambiguous(adapter: Any, remote: Canned) -> None:
    fault_of(remote, "Client.Twice")
    remote.say(NONE)
    error = outcome(lambda: adapter.create_return(REQUEST, key=KEY))
    assert (type(error), error.code) == (Ambiguous, "duplicate")


def test_an_answer_may_say_that_it_was_there_before(adapter: Any, remote: Canned) -> None:
    for made, existed in (("true", False), ("false", True)):
        remote.say(f'<Created xmlns="urn:shop"><Id>9</Id><Made>{made}</Made></Created>')
        assert adapter.create_return(REQUEST, key=KEY).already_existed is existed


def test_retry_after_is_passed_on(adapter: Any, remote: Canned) -> None:
    fault = "<env:Fault><faultcode>env:Client.Busy</faultcode><faultstring/></env:Fault>"
    remote.answers.append(Answer(envelope(fault), "500 E", {"Retry-After": "7"}))
    error = outcome(lambda: adapter.create_return(REQUEST, key=KEY))
    assert isinstance(error, Transient)
    assert error.retry_after == timedelta(seconds=7)


# Answers in parts.

PAGED = """
list_changes:
  order:
    operation: Find
    arguments: {{since: {{from: since, default: "1970-01-01T00:00:00+00:00"}}, page: {page}}}
    result: Order
    id: Id
    deleted: Gone
    overlap_s: 60
    paging: {paging}
"""


def numbered(*ids: int, **more: object) -> str:
    rows = "".join(f"<Order><Id>{n}</Id><Number>SO-{n}</Number></Order>" for n in ids)
    rest = "".join(f"<{name}>{value}</{name}>" for name, value in more.items())
    return f'<Orders xmlns="urn:shop">{rows}{rest}</Orders>'


def paged(folder: Path, remote: Canned, paging: str, page: str = "page") -> Any:
    text = BINDINGS + PAGED.format(page=page, paging=paging)
    return open_shop(put_files(folder, bindings=text), remote.url)


def read_all(adapter: Any, cursor: str | None = None, limit: int = 200) -> tuple[list[str], str]:
    ids: list[str] = []
    for _ in range(20):
        page = adapter.changed_since(Kind.ORDER, cursor, limit=limit)
        ids += [record.ref.id for record in page.records]
        cursor = page.cursor
        if not page.more:
            return ids, page.cursor
    raise AssertionError("it does not end")


@pytest.mark.parametrize(
    ("paging", "answers", "pages"),
    [
        ("{style: page, pages: Pages, stable: true}", [{"Pages": 2}, {"Pages": 2}], ["1", "2"]),
        ("{style: page, pages: Pages, start: 0, stable: true}", [{"Pages": 2}] * 2, ["0", "1"]),
        ("{style: page, total: Total}", [{"Total": 4}, {"Total": 4}], ["1", "2"]),
        ("{style: page, done: Done, stable: true}", [{}, {"Done": "true"}], ["1", "2"]),
        ("{style: page, size: 2, stable: true}", [{}, {}, {}], ["1", "2", "3"]),
        ("{style: page, next: Total, stable: true}", [{"Total": 5}, {}], ["1", "5"]),
    ],
)
def test_pages(
    paging: str, answers: list[dict[str, object]], pages: list[str], remote: Canned, tmp_path: Path
) -> None:
    adapter = paged(tmp_path / "shop", remote, paging)
    rows = [(1, 2), (3, 4), ()]
    for ids, more in zip(rows, answers, strict=False):
        remote.say(numbered(*ids, **more))
    assert read_all(adapter)[0] == ["1", "2", "3", "4"]
    assert [sent.texts("page")[0] for sent in remote.requests] == pages
    adapter.close()


def test_offsets(remote: Canned, tmp_path: Path) -> None:
    adapter = paged(tmp_path / "shop", remote, "{style: offset, total: Total}", page="offset")
    remote.say(numbered(1, 2, 3, Total=4))
    remote.say(numbered(4, Total=4))
    assert read_all(adapter)[0] == ["1", "2", "3", "4"]
    assert [sent.texts("page")[0] for sent in remote.requests] == ["0", "3"]
    adapter.close()


@pytest.mark.parametrize(
    ("paging", "more"),
    [("{style: page, total: Total}", ""), ("{style: token, next: Total}", "Total")],
)
def test_a_remote_that_says_how_many_there_are_is_believed(
    remote: Canned, tmp_path: Path, paging: str, more: str
) -> None:
    page = "token" if more else "page"
    text = BINDINGS + PAGED.format(page=page, paging=paging)
    counted = text.replace("    paging:", f"    count: {more}\n    paging:") if more else text
    adapter = open_shop(put_files(tmp_path / "shop", bindings=counted), remote.url)
    assert isinstance(adapter, CountsRecords)
    remote.say(numbered(1, 2, Total=4))
    assert adapter.count_records(Kind.ORDER) == Tally(count=4)
    assert remote.requests[-1].texts("since")[0].startswith("1970-01-01"), "from the beginning"
    remote.say(numbered(1, 2))
    with pytest.raises(Permanent, match="no number at 'Total'"):
        adapter.count_records(Kind.ORDER)
    with pytest.raises(NotOffered):
        adapter.count_records(Kind.CONTACT)
    adapter.close()


def test_who_says_no_number_counts_nothing(remote: Canned, tmp_path: Path) -> None:
    adapter = paged(tmp_path / "shop", remote, "{style: token, next: Total}", page="token")
    assert not isinstance(adapter, CountsRecords)
    adapter.close()


def test_tokens_and_deleted_records(remote: Canned, tmp_path: Path) -> None:
    paging = "{style: token, next: Total}"
    adapter = paged(tmp_path / "shop", remote, paging, page="token")
    remote.say(numbered(1, Total=77).replace("</Orders>", "<Gone>5</Gone><Gone>6</Gone></Orders>"))
    remote.say(numbered(2))
    page = adapter.changed_since(Kind.ORDER, None)
    assert [str(ref) for ref in page.deleted] == ["shop:order:5", "shop:order:6"]
    assert page.more
    last = adapter.changed_since(Kind.ORDER, page.cursor)
    assert not last.more
    assert [sent.texts("page") for sent in remote.requests] == [[], ["77"]]
    adapter.close()


def test_rows_that_slip_while_we_read_are_read_again(remote: Canned, tmp_path: Path) -> None:
    """Order 1 changes after page 1: order 3 moves up to page 1, where we have been already."""
    adapter = paged(tmp_path / "shop", remote, "{style: page, total: Total}")
    remote.say(numbered(1, 2, Total=4))
    remote.say(numbered(4, Total=3))
    remote.say(numbered(2, 3, Total=3))
    remote.say(numbered(4, Total=3))
    ids, _ = read_all(adapter)
    assert set(ids) == {"1", "2", "3", "4"}
    assert [sent.texts("page")[0] for sent in remote.requests] == ["1", "2", "1", "2"]
    adapter.close()


def test_a_part_larger_than_the_limit_is_handed_out_in_pieces(
    remote: Canned, tmp_path: Path
) -> None:
    adapter = paged(tmp_path / "shop", remote, "{style: token, next: Total}", page="token")
    whole = numbered(1, 2, 3, 4, 5)
    for _ in range(3):
        remote.say(whole)
    assert read_all(adapter, limit=2)[0] == ["1", "2", "3", "4", "5"]
    # What was handed out last is gone: everything of the part again, rather than skip.
    remote.say(whole)
    page = adapter.changed_since(Kind.ORDER, None, limit=2)
    remote.say(numbered(1, 3, 4))
    again = adapter.changed_since(Kind.ORDER, page.cursor, limit=2)
    assert [record.ref.id for record in again.records] == ["1", "3"]
    adapter.close()


def test_rows_without_an_identifier_are_kept_aside_and_the_rest_goes_on(
    remote: Canned, tmp_path: Path
) -> None:
    adapter = paged(tmp_path / "shop", remote, "{style: token, next: Total}", page="token")
    nameless = "<Order><Number>SO-0</Number></Order>"
    whole = numbered(1, 2).replace("</Order><Order>", f"</Order>{nameless}<Order>")
    for _ in range(3):
        remote.say(whole)
    first = adapter.changed_since(Kind.ORDER, None, limit=2)
    assert [r.ref.id for r in first.records] == ["1"]
    (aside,) = first.quarantined
    assert (aside.field, aside.payload["Number"]) == ("Id", "SO-0")
    second = adapter.changed_since(Kind.ORDER, first.cursor, limit=2)
    assert [r.ref.id for r in second.records] == ["2"]
    assert not second.more
    adapter.close()


def test_the_next_window_begins_where_the_remotes_clock_stood(
    remote: Canned, tmp_path: Path
) -> None:
    """Our clock may be ahead; then what changed in between would be skipped."""
    adapter = paged(tmp_path / "shop", remote, "{style: token, next: Total}", page="token")
    behind = datetime.now(UTC) - timedelta(minutes=10)
    stamp = behind.strftime("%a, %d %b %Y %H:%M:%S GMT")
    remote.answers.append(Answer(envelope(numbered(1)), headers={"Date": stamp}))
    page = adapter.changed_since(Kind.ORDER, None)
    assert abs(page.as_of - behind) < timedelta(seconds=2)
    remote.say(numbered())
    adapter.changed_since(Kind.ORDER, page.cursor)
    since = datetime.fromisoformat(str(remote.requests[1].texts("since")[0]))
    assert abs(since - (behind - timedelta(seconds=60))) < timedelta(seconds=2)
    adapter.close()


@pytest.mark.parametrize(
    "cursor",
    ["", "{}", "[]", "1", '{"since": 1}', '{"since": "2026-01-01"}', '{"since": null, "at": [1]}'],
)
def test_a_broken_cursor(cursor: str, remote: Canned, tmp_path: Path) -> None:
    adapter = paged(tmp_path / "shop", remote, "{style: token, next: Total}", page="token")
    assert type(outcome(lambda: adapter.changed_since(Kind.ORDER, cursor))) is Rejected
    assert not remote.requests
    adapter.close()


def test_pages_that_do_not_end(
    remote: Canned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.soap.connection._MOST_PARTS", 5)
    text = BINDINGS.replace(
        "{text: customer.id}, result: Order, id: Id}",
        "{text: customer.id, page: token}, result: Order, id: Id, "
        "paging: {style: token, next: Total}}",
    )
    adapter = open_shop(put_files(tmp_path / "shop", bindings=text), remote.url)
    for _ in range(5):
        remote.say(numbered(1, Total=77))
    error = outcome(lambda: adapter.orders_of(ORDER.model_copy(update={"kind": Kind.ACCOUNT})))
    assert (type(error), error.code) == (Permanent, "paging")
    adapter.close()


# The connection as a whole.


def test_the_wsdl_is_fetched_by_the_first_call_and_kept(remote: Canned, tmp_path: Path) -> None:
    folder = put_files(tmp_path / "shop")
    wsdl = (folder / "shop.wsdl").read_bytes()
    remote.files = {"/soap": wsdl}
    settings: dict[str, Any] = {"wsdl": f"{remote.url}/soap?wsdl", "cache_dir": tmp_path / "cache"}
    adapter = open_shop(folder, remote.url, endpoint=None, **settings)
    assert not remote.requests, "opening talks to nobody"
    remote.say(NONE)
    assert adapter.find_order("x") is None
    assert [sent.method for sent in remote.requests] == ["GET", "POST"]
    adapter.close()
    remote.files = {}
    again = open_shop(folder, remote.url, endpoint=None, **settings)
    remote.say(NONE)
    again.find_order("x")
    assert [sent.method for sent in remote.requests] == ["GET", "POST", "POST"]
    again.close()


def test_a_wsdl_that_does_not_fit_is_found_by_the_first_call(
    remote: Canned, tmp_path: Path
) -> None:
    text = BINDINGS.replace(
        "{operation: Find, arguments: {text: id}", "{operation: Get, arguments: {text: id}"
    )
    folder = put_files(tmp_path / "shop", bindings=text)
    remote.files = {"/soap": (folder / "shop.wsdl").read_bytes()}
    adapter = open_shop(folder, remote.url, endpoint=None, wsdl=f"{remote.url}/soap")
    error = outcome(lambda: adapter.create_return(REQUEST, key=KEY))
    assert (type(error), error.code) == (Permanent, "bindings")
    assert "bindings.yaml:9:" in error.message
    report = adapter.check()
    assert not report.ok
    assert any("B004" in finding.detail for finding in report.findings)
    adapter.close()


def test_check_sees_that_the_wsdl_has_changed(remote: Canned, tmp_path: Path) -> None:
    folder = put_files(tmp_path / "shop")
    wsdl = (folder / "shop.wsdl").read_text()
    remote.files = {"/soap": wsdl.encode()}
    settings: dict[str, Any] = {"wsdl": f"{remote.url}/soap", "cache_dir": tmp_path / "cache"}
    adapter = open_shop(folder, remote.url, endpoint=None, **settings)
    assert adapter.check().ok
    lock = adapter.describe().version
    remote.files = {"/soap": wsdl.replace('name="Done"', 'name="Colour"').encode()}
    report = adapter.check()
    assert report.ok
    assert "has changed" in report.findings[0].detail
    adapter.close()
    # With the lock written down it is a mistake, and the copy on disk stays what it was.
    locked = BINDINGS.replace("system: shop", f"system: shop\nwsdl_lock: {lock}")
    (folder / "bindings.yaml").write_text(locked)
    remote.files = {"/soap": wsdl.encode()}
    adapter = open_shop(folder, remote.url, endpoint=None, wsdl=f"{remote.url}/soap")
    assert adapter.check().ok
    remote.files = {"/soap": wsdl.replace('name="Done"', 'name="Colour"').encode()}
    report = adapter.check()
    assert not report.ok
    assert any("R203" in finding.detail for finding in report.findings)
    adapter.close()


def test_check_goes_on_with_the_copy_when_the_wsdl_cannot_be_fetched(
    remote: Canned, tmp_path: Path
) -> None:
    folder = put_files(tmp_path / "shop")
    remote.files = {"/soap": (folder / "shop.wsdl").read_bytes()}
    settings: dict[str, Any] = {"wsdl": f"{remote.url}/soap", "cache_dir": tmp_path / "cache"}
    first = open_shop(folder, remote.url, endpoint=None, **settings)
    assert first.check().ok
    first.close()
    remote.files = {}
    again = open_shop(folder, remote.url, endpoint=None, **settings)
    report = again.check()
    assert report.ok
    assert "the copy on disk is used" in report.findings[0].detail
    again.close()


CHECK = "check: {operation: Find, arguments: {text: {const: ping}}, version: Order.Number}\n"


def test_check_proves_the_credentials(remote: Canned, tmp_path: Path) -> None:
    text = BINDINGS.replace("read_orders:", CHECK + "read_orders:")
    adapter = open_shop(put_files(tmp_path / "shop", bindings=text), remote.url)
    remote.say(FOUND)
    report = adapter.check()
    assert report.ok
    assert report.findings[-1].detail == "version SO-7"
    fault_of(remote, "FailedAuthentication")
    report = adapter.check()
    assert not report.ok
    assert report.findings[-1].name == "credentials"
    adapter.close()


def test_describe(adapter: Any) -> None:
    told = adapter.describe()
    objects = {described.name: described.fields for described in told.objects}
    assert set(objects) == {"Create", "Order"}
    fields = {field.name: field for field in objects["Create"]}
    assert list(fields) == ["Ref", "Line", "Line.Sku", "Line.Qty"]
    assert (fields["Line.Qty"].type, fields["Line.Qty"].required) == ("decimal", True)
    assert (fields["Line"].type, fields["Ref"].type) == ("object", "string")
    assert told.version.startswith("sha256:")


def test_threads_share_an_adapter(remote: Canned, folder: Path) -> None:
    remote.files = {"/soap": (folder / "shop.wsdl").read_bytes()}
    adapter = open_shop(folder, remote.url, endpoint=None, wsdl=f"{remote.url}/soap")
    for _ in range(40):
        remote.say(FOUND)
    with ThreadPoolExecutor(8) as threads:
        orders = list(threads.map(lambda _: adapter.find_order("x"), range(40)))
    assert {order.number for order in orders} == {"SO-7"}
    assert [sent.method for sent in remote.requests].count("GET") == 1
    adapter.close()


def test_its_representation_tells_nothing(remote: Canned, folder: Path) -> None:
    connection = shop(
        folder, remote.url, auth="basic", username="hub", secrets={"password": SECRET}
    )
    adapter = SoapAdapter.open(connection)
    assert SECRET not in repr(adapter) + repr(vars(adapter))
    adapter.close()
