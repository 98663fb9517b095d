"""What is Chatwoot's own in the adapter; what all adapters promise is in the conformance suite."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pydantic import SecretStr, ValidationError

from adapters.chatwoot.adapter import ChatwootAdapter
from adapters.chatwoot.client import verdict
from adapters.chatwoot.settings import ChatwootSettings
from adapters.chatwoot.text import as_written, key_of, marker, shortened
from middleware.contract.actions import NoteRequest, Operation
from middleware.contract.canonical import Kind, Ref
from middleware.contract.capabilities import Clue, Connection, KeyTraits
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
from middleware.contract.mapping import Mapping, MappingSet, fixtures
from middleware.contract.mapping.lint import lint
from middleware.sandbox.desk import OUTSIDER_TOKEN, build_desk
from middleware.sandbox.server import SandboxServer
from tests.adapters.chatwoot.peer import ROOT, TOKEN, DeskPeer

KEY = "am-4be1f0c2d6a94d0b8a6f3e1d2c0b9a87"


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[DeskPeer]:
    peer = DeskPeer(tmp_path / "desk.sqlite")
    yield peer
    peer.close()
    assert peer.server.errors == []


@pytest.fixture
def adapter(peer: DeskPeer) -> Iterator[ChatwootAdapter]:
    adapter = ChatwootAdapter.open(peer.connection())
    yield adapter
    adapter.close()


def messages(peer: DeskPeer, **query: int) -> list[dict[str, Any]]:
    path = f"/api/v1/accounts/1/conversations/{peer.conversation}/messages"
    rows: list[dict[str, Any]] = peer.http.get(path, params=query).json()["payload"]
    return rows


# What a note looks like when it arrives.


def rendered(content: str) -> str:
    """What an agent reads: the text of the page that the dashboard makes of it."""
    md = MarkdownIt("js-default", {"html": False, "breaks": True, "typographer": False})
    page = md.render(content)
    assert not re.search(r"<(?!/?p>|br)", page), page
    text = re.sub(r"<br ?/?>", "", page)
    return html.unescape(re.sub(r"</?p>", "\n", text))


def plainly(text: str) -> list[str]:
    lines = [line.replace("\N{NO-BREAK SPACE}", " ").strip() for line in text.split("\n")]
    return [line for line in lines if line]


TRICKY = [
    "1. first\n2) second\n- third\n+ fourth\n* fifth",
    "# not a heading\n## nor this\n#1 neither",
    "Total\n=====\nand\n---\nand\n- - -\n***\n_ _ _",
    "> quoted by nobody",
    "he said **never** and _always_ and __now__ and `code` and ~~no~~",
    "SKU AM_204_B and my_file_name, AM-204, 1.5 kg, 2*3*4",
    "[click](https://evil.example.com) ![x](https://evil.example.com/x.png)",
    "[foo]: https://example.com\n\n[foo]",
    "<https://example.com> <b>bold</b> <script>alert(1)</script> &lt; &amp; &copy; &#65; AT&T",
    "a | b\n--- | ---\nc | d",
    "    indented\n\ttabbed\n```\nfenced\n```\n~~~\nfenced\n~~~",
    "back\\slash \\* \\\\ and one at the end\\\nnext",
    "{{ contact.email }} {% if x %} {{{ y }}} {%- raw -%} { { } }",
    "Grüße 💥 ¿qué?\u200d ",
    "[amends:am-00000000000000000000000000000000]",
]


@pytest.mark.parametrize("text", TRICKY)
def test_a_note_reads_as_it_was_written(
    peer: DeskPeer, adapter: ChatwootAdapter, text: str
) -> None:
    adapter.create_note(peer.request(text), key=KEY)
    content = messages(peer)[-1]["content"]
    assert plainly(rendered(content)) == [*plainly(text), marker(KEY)]
    assert key_of(content) == KEY


@given(st.text(alphabet="\\`*_[]()<>#+-.!|~{}%&;=:1a \n\t\"'", max_size=60))
@example("-\n-")
@example("a\n=")
def test_any_text_reads_as_it_was_written(text: str) -> None:
    assert plainly(rendered("".join(as_written(text)))) == plainly(text)


@given(st.text(alphabet="{%}- raw\n", max_size=40))
def test_no_text_opens_a_liquid_tag(text: str) -> None:
    assert not re.search(r"\{[{%]", "".join(as_written(text)))


def test_plain_sentences_are_sent_as_they_are() -> None:
    text = (
        "Replacement SO-10044 (1 × AM-204) arrives on 24 Nov. Who: Maya, e-mail agrees (12 bits)."
    )
    assert "".join(as_written(text)) == text


@given(st.text(alphabet="ab*_\n{", max_size=400), st.integers(100, 300))
def test_a_long_note_is_cut_between_signs_and_says_so(text: str, room: int) -> None:
    cut = shortened(text, room)
    assert len(cut) <= room
    whole = "".join(as_written(text))
    if len(whole) <= room:
        assert cut == whole
    else:
        kept, _, said = cut.rpartition("\n\n(shortened: ")
        assert whole.startswith(kept)
        assert not re.search(r"(?<!\\)(\\\\)*\\$", kept)
        assert "characters are missing)" in said


def test_a_very_long_note_arrives_with_its_key(peer: DeskPeer, adapter: ChatwootAdapter) -> None:
    request = peer.request("*" * 100_000 + "the end")
    adapter.create_note(request, key=KEY)
    content = messages(peer)[-1]["content"]
    assert len(content) <= 150_000
    assert "characters are missing)" in content
    found = adapter.find_note(request, key=KEY)
    assert found is not None
    assert found.already_existed


# Finding it again.


def test_a_note_is_private_found_again_and_linked(peer: DeskPeer, adapter: ChatwootAdapter) -> None:
    made = adapter.create_note(peer.request(), key=KEY)
    row = messages(peer)[-1]
    assert (row["private"], row["message_type"]) == (True, 1)
    assert made.ref == Ref(connection="helpdesk", kind=Kind.NOTE, id=str(row["id"]))
    assert made.at is not None
    assert made.at.timestamp() == row["created_at"]
    assert made.url == (
        f"{peer.server.url}/app/accounts/1/conversations/{peer.conversation}?messageId={row['id']}"
    )
    found = adapter.find_note(peer.request("another text"), key=KEY)
    assert found == made.model_copy(update={"already_existed": True})
    assert adapter.find_note(peer.request(), key="am-somebody-else") is None


@pytest.mark.parametrize("later", [0, 1, 17, 18, 19, 20, 21, 36, 37, 38, 39, 40, 41, 77])
def test_a_note_is_found_on_whichever_page_it_lies(
    peer: DeskPeer, adapter: ChatwootAdapter, later: int
) -> None:
    adapter.create_note(peer.request(), key=KEY)
    for number in range(later):
        peer.write(f"message {number}", conversation=peer.conversation)
    found = adapter.find_note(peer.request(), key=KEY)
    assert found is not None
    assert adapter.find_note(peer.request(), key="am-not-written") is None


def test_pages_that_swapped_two_messages_lose_none(
    peer: DeskPeer, adapter: ChatwootAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes of Chatwoot may commit ids in another order than their times."""
    times = {id_: id_ for id_ in range(1, 60)} | {39: 40, 40: 39}
    asked: list[dict[str, int]] = []

    def page(path: str, query: dict[str, int], *, operation: str) -> dict[str, Any]:
        asked.append(query)
        ids = [id_ for id_ in times if id_ < query.get("before", 1000)]
        ids = sorted(ids, key=lambda id_: times[id_])[-20:]
        return {"payload": [{"id": id_, "private": True, "content": f"{id_}"} for id_ in ids]}

    monkeypatch.setattr(adapter._wire, "get", page)
    seen = [message["id"] for message in adapter._messages("1")]
    assert sorted(seen) == sorted(times)
    assert len(asked) < 8


def test_a_remote_whose_pages_do_not_advance_is_not_believed(
    adapter: ChatwootAdapter, peer: DeskPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"id": id_, "private": True, "content": ""} for id_ in range(1, 21)]
    monkeypatch.setattr(adapter._wire, "get", lambda *_, **__: {"payload": rows})
    with pytest.raises(Transient, match="advance"):
        adapter.find_note(peer.request(), key=KEY)


def test_only_a_private_note_that_ends_with_the_marker_counts(
    peer: DeskPeer, adapter: ChatwootAdapter
) -> None:
    by_customer = f"You wrote {marker(KEY)}"
    peer.write(by_customer, conversation=peer.conversation)
    peer.write(f"We did it {marker(KEY)}", conversation=peer.conversation, by="agent")
    adapter.create_note(peer.request(f"The customer wrote: {by_customer}"), key="am-another-key")
    path = f"/api/v1/accounts/1/conversations/{peer.conversation}/messages"
    quoted = {"content": f"{marker(KEY)} is what they quoted", "private": True}
    assert peer.http.post(path, json=quoted).status_code == 200
    assert adapter.find_note(peer.request(), key=KEY) is None


def test_two_notes_with_the_key_are_for_a_person(peer: DeskPeer, adapter: ChatwootAdapter) -> None:
    adapter.create_note(peer.request(), key=KEY)
    for number in range(30):
        peer.write(f"message {number}", conversation=peer.conversation)
    adapter.create_note(peer.request(), key=KEY)
    with pytest.raises(Duplicated, match="2 notes"):
        adapter.find_note(peer.request(), key=KEY)


# When Chatwoot says no, or something else.


def test_a_422_after_storing_is_ambiguous_and_the_note_is_found(
    peer: DeskPeer, adapter: ChatwootAdapter
) -> None:
    peer.server.faults.arm("masked:after_commit", match="POST")
    with pytest.raises(Ambiguous, match="422"):
        adapter.create_note(peer.request(), key=KEY)
    assert adapter.find_note(peer.request(), key=KEY) is not None


def test_a_flooded_conversation_is_tried_again_in_a_minute(
    peer: DeskPeer, adapter: ChatwootAdapter
) -> None:
    peer.server.faults.arm("masked:flooded", match="POST")
    with pytest.raises(Transient) as refused:
        adapter.create_note(peer.request(), key=KEY)
    assert refused.value.retry_after == timedelta(seconds=60)
    assert adapter.find_note(peer.request(), key=KEY) is None


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (401, {"error": "Invalid Access Token"}, Unauthorised, "revoked"),
        (
            401,
            {"errors": ["You need to sign in or sign up before continuing."]},
            Unauthorised,
            "proxy",
        ),
        (401, {"error": "Access to this endpoint is not authorized for bots"}, Unauthorised, "bot"),
        (401, {"error": "You are not authorized to do this action"}, Forbidden, "agent"),
        (401, None, Unauthorised, ""),
        (403, None, Forbidden, ""),
        (404, {"error": "Resource could not be found"}, Missing, ""),
        (422, {"error": "Validation failed: Content is too long"}, Rejected, "too long"),
        (422, {"message": "Email is invalid", "attributes": ["email"]}, Rejected, ""),
        (422, {"error": "Gültigkeitsprüfung ist fehlgeschlagen: Content"}, Ambiguous, "422"),
        (422, {"error": "PG::Error: DETAIL: Failing row (maya@example.com)"}, Ambiguous, "422"),
        (422, None, Ambiguous, ""),
        (429, {"error": "Retry later"}, Transient, ""),
        (500, None, Ambiguous, ""),
        (502, None, Ambiguous, ""),
        (200, None, Ambiguous, "login page"),
        (302, None, Ambiguous, ""),
    ],
)
def test_what_an_answer_to_a_write_means(
    status: int, body: object, kind: type[RemoteError], says: str
) -> None:
    error = verdict(status, {}, body, write=True, operation="create_note")
    assert type(error) is kind
    assert says in error.message
    assert "maya" not in str(error)
    assert (error.system, error.operation) == ("chatwoot", "create_note")
    on_read = verdict(status, {}, body, write=False, operation="find_note")
    assert not isinstance(on_read, Ambiguous)


def test_a_note_goes_only_where_it_can(peer: DeskPeer, adapter: ChatwootAdapter) -> None:
    def on(**more: Any) -> NoteRequest:
        ref = {"connection": "helpdesk", "kind": Kind.CONVERSATION, "id": "1"} | more
        return NoteRequest(on=Ref.model_validate(ref), text="Hello")

    for request, error in (
        (on(connection="other"), Rejected),
        (on(kind=Kind.CASE), Rejected),
        (on(id="1/../../profile"), Missing),
        (on(id="1?x=2"), Missing),
        (on(id="٣"), Missing),
        (on(id="999"), Missing),
    ):
        with pytest.raises(error):
            adapter.create_note(request, key=KEY)
        with pytest.raises(error):
            adapter.find_note(request, key=KEY)
    assert peer.count(Operation.NOTE, KEY) == 0


def test_a_mapping_that_drops_the_marker_writes_nothing(peer: DeskPeer) -> None:
    good = next(m for m in peer.connection().mappings.mappings if m.canonical == "note")
    text = good.path.read_text()
    for wrong in (
        text.replace("{text}\\n\\n[amends:{key}]", "[amends:{key}] {text}"),
        text.replace("\\n\\n[amends:{key}]", " [amends:{key}] thanks"),
    ):
        connection = peer.connection().model_copy(
            update={"mappings": MappingSet([Mapping.parse(wrong, good.path)])}
        )
        adapter = ChatwootAdapter.open(connection)
        with pytest.raises(Permanent):
            adapter.create_note(peer.request(), key=KEY)
        adapter.close()
    assert len(messages(peer)) == 1


def test_its_key_is_not_native_and_settles_as_configured(
    peer: DeskPeer, adapter: ChatwootAdapter
) -> None:
    assert adapter.key_traits(Operation.NOTE) == KeyTraits(
        native=False, settle=timedelta(seconds=60)
    )
    with pytest.raises(NotOffered):
        adapter.key_traits(Operation.CREDIT)
    other = ChatwootAdapter.open(peer.connection(settle_s=5))
    assert other.key_traits(Operation.NOTE).settle == timedelta(seconds=5)
    other.close()


# Contacts.


def test_contacts_are_found_by_exact_parts_only(peer: DeskPeer, adapter: ChatwootAdapter) -> None:
    for number in range(17):
        body = {"name": f"Maya {number}", "email": f"not.maya.brandt_{number}@example.com"}
        assert peer.http.post("/api/v1/accounts/1/contacts", json=body).status_code == 200
    (maya,) = adapter.find_contacts(Clue(emails=("Maya.Brandt@Example.com",)))
    assert maya.emails == ("maya.brandt@example.com",)
    assert maya.display_name == "Maya Brandt"
    assert maya.phones == ("+493023125010",)
    assert {(h.network, h.handle) for h in maya.handles} == {("x", "mayab")}
    assert maya.external_ids["chatwoot_identifier"] == "C-1001"

    same = Clue(
        emails=("maya.brandt@example.com",),
        phones=("+493023125010",),
        external_ids={"chatwoot_identifier": "C-1001"},
    )
    assert adapter.find_contacts(same) == (maya,)
    assert adapter.find_contacts(Clue(phones=("+493023125010",))) == (maya,)
    assert adapter.find_contacts(Clue(external_ids={"chatwoot_identifier": "C-1001"})) == (maya,)
    for nobody in (
        Clue(emails=("brandt@example.com",)),
        Clue(emails=("maya_brandt@example.com",)),  # _ is a wildcard to Chatwoot
        Clue(emails=("%",)),
        Clue(phones=("+4930231250",)),
        Clue(external_ids={"erp": "C-1001"}),
        Clue(name="Maya Brandt"),
        Clue(),
    ):
        assert adapter.find_contacts(nobody) == ()


def test_an_exact_contact_is_found_behind_pages_of_others(
    peer: DeskPeer, adapter: ChatwootAdapter
) -> None:
    for number in range(40):
        body = {"name": f"A {number:02}", "email": f"{number}anna@example.com"}
        peer.http.post("/api/v1/accounts/1/contacts", json=body)
    peer.http.post("/api/v1/accounts/1/contacts", json={"name": "Z", "email": "anna@example.com"})
    (anna,) = adapter.find_contacts(Clue(emails=("anna@example.com",)), limit=1)
    assert anna.display_name == "Z"


# Whether it would work.


def finding(connection: Connection) -> dict[str, tuple[bool, str, str]]:
    adapter = ChatwootAdapter.open(connection)
    report = adapter.check()
    adapter.close()
    assert report.ok == all(f.ok for f in report.findings)
    assert all(f.ok or f.remedy for f in report.findings)
    return {f.name: (f.ok, f.detail, f.remedy) for f in report.findings}


def test_check_names_what_is_there(peer: DeskPeer) -> None:
    before = peer.server.stats["requests"]
    found = finding(peer.connection())
    assert {name for name, (ok, _, _) in found.items() if ok} == {
        "address",
        "token",
        "account",
        "write notes",
        "read conversations",
        "search contacts",
    }
    assert all(line.startswith("GET ") for line in list(peer.server.lines)[before:])


def test_check_names_what_is_missing(peer: DeskPeer) -> None:
    wrong = peer.connection().model_copy(update={"secrets": {"token": SecretStr("not-the-token")}})
    ok, detail, remedy = finding(wrong)["token"]
    assert not ok
    assert "revoked" in detail
    assert "profile" in remedy

    outsider = peer.connection().model_copy(
        update={"secrets": {"token": SecretStr(OUTSIDER_TOKEN)}}
    )
    assert finding(outsider)["account"][0] is False
    assert finding(peer.connection(account_id=2))["account"][0] is False

    found = finding(peer.connection(url="http://127.0.0.1:9"))
    assert list(found) == ["address"]
    assert "refused" in found["address"][1]

    peer.server.faults.arm("masked:unauthorised", match="contacts/search")
    found = finding(peer.connection())
    assert [name for name, (ok, _, _) in found.items() if not ok] == ["search contacts"]


def test_check_names_a_role_that_may_not_write(tmp_path: Path) -> None:
    desk = build_desk(tmp_path / "desk.sqlite", token=TOKEN, role="reporter")
    with SandboxServer(desk) as server:
        connection = Connection(
            name="helpdesk",
            settings={"url": server.url, "account_id": 1},
            secrets={"token": SecretStr(TOKEN)},
            mappings=MappingSet.empty(),
        )
        ok, _, remedy = finding(connection)["write notes"]
        assert not ok
        assert "agent" in remedy
    desk.close()


def test_check_names_an_address_that_redirects(peer: DeskPeer) -> None:
    """As with FORCE_SSL and an address that begins with http: reads work, writes never do."""

    def moved(environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path.startswith("/old"):
            start_response("301 Moved", [("Location", path.removeprefix("/old"))])
            return [b""]
        return peer.desk(environ, start_response)

    with SandboxServer(moved) as server:
        found = finding(peer.connection(url=f"{server.url}/old"))
    assert list(found) == ["address"]
    assert "redirects" in found["address"][1]


def test_its_mapping_files_fit_what_it_describes(peer: DeskPeer, adapter: ChatwootAdapter) -> None:
    described = adapter.describe()
    assert described.version
    for mapping in peer.connection().mappings.mappings:
        assert lint(mapping, described) == []
    results = fixtures.test_paths([ROOT / "mappings" / "chatwoot"])
    assert len(results) == 4
    assert [str(result) for result in results if not result.ok] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "helpdesk.example.com"},
        {"url": "https://user:secret@helpdesk.example.com"},
        {"url": "https://helpdesk.example.com/?x=1"},
        {"account_id": 0},
        {"total_s": 0},
        {"longest_note": 200_000},
        {"surprise": True},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ChatwootSettings.model_validate(
            {"url": "https://helpdesk.example.com", "account_id": 1} | wrong
        )


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ünicode"])
def test_a_token_that_cannot_be_one_is_refused(peer: DeskPeer, token: str) -> None:
    connection = peer.connection().model_copy(update={"secrets": {"token": SecretStr(token)}})
    with pytest.raises(ValidationError):
        ChatwootAdapter.open(connection)
    with pytest.raises(ValidationError):
        ChatwootAdapter.open(connection.model_copy(update={"secrets": {}}))


def test_a_slash_at_the_end_and_a_path_before_the_api_are_fine(peer: DeskPeer) -> None:
    settings = ChatwootSettings(url="https://example.com/helpdesk/", account_id=1)
    assert settings.url == "https://example.com/helpdesk"
    adapter = ChatwootAdapter.open(peer.connection(url=f"{peer.server.url}/"))
    assert adapter.describe().version
    adapter.close()
    adapter.close()


def test_the_token_goes_into_the_header_that_chatwoot_documents(
    peer: DeskPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[httpx2.Request] = []
    adapter = ChatwootAdapter.open(peer.connection())
    send = adapter._wire._http.send

    def keep(request: httpx2.Request, **more: Any) -> httpx2.Response:
        sent.append(request)
        return send(request, **more)

    monkeypatch.setattr(adapter._wire._http, "send", keep)
    adapter.describe()
    adapter.close()
    assert sent[0].headers["api_access_token"] == TOKEN
