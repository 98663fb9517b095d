"""Complaints of people whom no identifier leads to: who they look like, and what is done."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import delete

from middleware.contract.canonical import Account, Address, Contact, Handle, Kind
from middleware.domain.arrivals import Author
from middleware.domain.identity import EvidenceKind, Outcome
from middleware.domain.likeness import FoundBy
from middleware.flows import lookup, receive
from middleware.flows.hub import Options
from middleware.flows.index import index_again
from middleware.flows.rehearse import rehearse
from middleware.inlets import Delivery
from middleware.resolution.exact import AutoRules
from middleware.resolution.identifiers import identifiers_of
from middleware.resolution.model import shipped
from middleware.resolution.profiles import word_key
from middleware.store.tables import BlockingKeyRow, LikenessRow, NameCountRow
from tests.flows.conftest import Stage

ALLOWED = AutoRules(inferred_networks=frozenset(("x",)))


@pytest.fixture
def crowded(known: Stage) -> Stage:
    """A CRM of some hundred others, so that a name can be rare."""
    known.store(*others(known, 700))
    return known


def others(stage: Stage, count: int) -> list[Contact]:
    """Contacts whose names nobody else has."""
    consonants = "bcdfghklmnprstvz"
    words = [a + e + b + f for a in consonants for b in consonants for e in "aeo" for f in "in"]
    return [
        Contact(
            ref=stage.ref("crm", Kind.CONTACT, f"X{n}"),
            display_name=f"{words[n]} {words[-1 - n]}".title(),
        )
        for n in range(count)
    ]


def ada(stage: Stage, id_: str = "A7", **more: Any) -> Contact:
    return Contact(
        ref=stage.ref("crm", Kind.CONTACT, id_),
        display_name="Ada Quillfeather",
        address=Address(city="Vienna", country="AT"),
        handles=(Handle(network="github", handle="quillada"),),
        **more,
    )


def said(stage: Stage, text: str = "My lamp arrived broken!", **author: Any) -> str:
    """A complaint by somebody; answers its id."""
    body = {
        "type": "message.created",
        "timestamp": "2026-11-21T11:59:00Z",
        "data": {
            "id": "m1",
            "conversation": "c1",
            "text": text,
            "author": {"network": "x", "native_id": "555", **author},
            "posted_at": "2026-11-21T11:59:00Z",
        },
    }
    delivery = Delivery(
        method="POST",
        path="/",
        body=json.dumps(body).encode(),
        received_at=stage.time(),
        headers={"webhook-id": "msg_1"},
    )
    row = receive.row_of(
        delivery, connection=stage.names["desk"], source="generic", trust="signature"
    )
    with stage.hub.database.begin() as uow:
        stored = uow.inbox.store_once(row)
    receive.run(stage.hub, stored.id)
    with stage.hub.database.read() as uow:
        complaint = uow.complaints.of_conversation(stage.names["desk"], "c1")
        assert complaint is not None
        return complaint.id


def resolution(stage: Stage, complaint_id: str) -> dict[str, Any]:
    with stage.hub.database.read() as uow:
        complaint = uow.complaints.get(complaint_id)
        assert complaint is not None
        assert complaint.resolution is not None
        return {**complaint.resolution, "person_id": complaint.person_id}


PROFILE = {"handle": "quillada", "display_name": "Ada Quillfeather", "location": "Wien"}


def test_a_name_and_a_handle_give_a_candidate_with_reasons(crowded: Stage) -> None:
    crowded.store(ada(crowded))
    found = resolution(crowded, said(crowded, **PROFILE))
    assert found["decision"]["outcome"] == "review"
    assert "only likeness" in found["decision"]["why"]
    best = found["candidates"][0]
    assert best["refs"][0]["id"] == "A7"
    kinds = {e["kind"] for e in best["evidence"]}
    assert kinds >= {"name", "location", "other_handle", "prior"}
    assert best["score"] == pytest.approx(sum(e["weight"] for e in best["evidence"]))
    assert crowded.settled(found["person_id"]) is None
    assert "identity.review_needed" in crowded.events()


def namesakes(stage: Stage, *codes: str | None) -> list[Contact]:
    """So many of one name, each with a postal code or none; the first is the oldest on file."""
    found = [
        Contact(
            ref=stage.ref("crm", Kind.CONTACT, f"N{n:02}"),
            display_name="Ada Quillfeather",
            address=Address(postal_code=code, country="AT") if code else None,
        )
        for n, code in enumerate(codes)
    ]
    for one in found:
        stage.store(one)
        stage.time.pass_(minutes=1)
    return found


def test_a_postcode_in_the_text_tells_namesakes_apart(crowded: Stage) -> None:
    """Of more namesakes than are compared, the one who lives there is found and comes first."""
    namesakes(crowded, "A-1010", *["8010"] * 15)
    complaint_id = said(crowded, "My lamp is broken. Send it to 1010 Wien", **PROFILE)
    best, second = resolution(crowded, complaint_id)["candidates"][:2]
    assert best["refs"][0]["id"] == "N00"
    assert best["score"] > second["score"]
    (named,) = [e for e in best["evidence"] if e["kind"] == "postcode_mentioned"]
    assert (named["weight"], named["basis"]) == (6.0, "customer_provided")
    assert "1010" not in named["detail"]
    assert "prior" in {e["kind"] for e in best["evidence"]}


def test_a_postcode_that_an_order_went_to_is_theirs(crowded: Stage) -> None:
    contacts = namesakes(crowded, None, None, None)
    sent = crowded.order.model_copy(
        update={
            "ref": crowded.ref("crm", Kind.ORDER, "O9"),
            "number": "SO-10009",
            "account": None,
            "contact": contacts[1].ref,
            "ship_to": Address(postal_code="1010", city="Wien", country="AT"),
        }
    )
    crowded.store(sent)
    complaint_id = said(crowded, "My lamp is broken. My postcode is 1010", **PROFILE)
    best = resolution(crowded, complaint_id)["candidates"][0]
    assert best["refs"][0]["id"] == "N01"
    assert "postcode_mentioned" in {e["kind"] for e in best["evidence"]}


def test_each_reason_says_of_when_it_is(crowded: Stage) -> None:
    """What is on file is of when it was last read, what the text says of when it was written."""
    read_at = crowded.time.now
    namesakes(crowded, "1010")
    crowded.time.pass_(minutes=60)
    complaint_id = said(crowded, "My lamp is broken. My postcode is 1010", **PROFILE)
    best = resolution(crowded, complaint_id)["candidates"][0]
    moments = {e["kind"]: e["at"] and datetime.fromisoformat(e["at"]) for e in best["evidence"]}
    assert moments["name"] == read_at
    assert moments["postcode_mentioned"] == datetime(2026, 11, 21, 11, 59, tzinfo=UTC)
    assert moments["prior"] is None


def test_a_postcode_of_nobody_says_nothing(crowded: Stage) -> None:
    namesakes(crowded, "1010", "8010")
    complaint_id = said(crowded, "My lamp is broken. My postcode is 5020", **PROFILE)
    candidates = resolution(crowded, complaint_id)["candidates"]
    assert {"N00", "N01"} <= {ref["id"] for one in candidates for ref in one["refs"]}
    kinds = {e["kind"] for one in candidates for e in one["evidence"]}
    assert "postcode_mentioned" not in kinds


def test_where_the_operator_allows_it_likeness_links(crowded: Stage) -> None:
    crowded.store(ada(crowded))
    stage = crowded.with_options(auto_link=ALLOWED)
    found = resolution(stage, said(stage, **PROFILE))
    assert found["decision"]["outcome"] == "link", found["decision"]
    with stage.hub.database.read() as uow:
        links = uow.people.links_of_person(found["person_id"])
    of_identity = next(link for link in links if link.identity_id)
    assert of_identity.basis == "inferred"
    assert of_identity.confidence == found["candidates"][0]["probability"]


def test_a_new_model_is_tried_before_it_goes_live(crowded: Stage) -> None:
    crowded.store(ada(crowded))
    model = shipped()
    timid = model.model_copy(
        update={"version": "timid", "prior": model.prior.model_copy(update={"on_file": 1e-12})}
    )
    stage = crowded.with_options(auto_link=ALLOWED, likeness=timid)
    complaint_id = said(stage, **PROFILE)
    assert resolution(stage, complaint_id)["decision"]["outcome"] != "link"
    found = rehearse(stage.hub, ALLOWED, model=model)
    assert (found.decided, found.unlinks) == (1, ())
    (gained,) = found.links
    assert gained.complaint_id == complaint_id
    assert gained.things == (str(ada(crowded).ref),)
    assert stage.settled(resolution(stage, complaint_id)["person_id"]) is None, "nothing is written"
    lost = rehearse(crowded.with_options(auto_link=ALLOWED).hub, ALLOWED, model=timid)
    assert (lost.links, [one.complaint_id for one in lost.unlinks]) == ((), [complaint_id])
    assert rehearse(stage.hub, ALLOWED, model=timid).links == ()


def test_not_on_a_network_that_is_not_allowed(crowded: Stage) -> None:
    crowded.store(ada(crowded))
    stage = crowded.with_options(auto_link=ALLOWED)
    found = resolution(stage, said(stage, **{**PROFILE, "network": "instagram"}))
    assert found["decision"]["outcome"] == "review"


def test_a_handle_alone_links_nobody(crowded: Stage) -> None:
    crowded.store(ada(crowded))
    stage = crowded.with_options(auto_link=ALLOWED)
    found = resolution(stage, said(stage, handle="AdaQuillfeather"))
    assert found["decision"]["outcome"] != "link"


def test_a_deleted_contact_is_no_candidate(crowded: Stage) -> None:
    one = ada(crowded)
    crowded.store(one)
    with crowded.hub.database.begin() as uow:
        uow.records.delete([one.ref], as_of=crowded.time.now)
    found = resolution(crowded, said(crowded, **PROFILE))
    assert one.ref.id not in {r["id"] for c in found["candidates"] for r in c["refs"]}


def test_a_bio_that_names_the_company_speaks_for_its_contact(crowded: Stage) -> None:
    firm = Account(ref=crowded.ref("crm", Kind.ACCOUNT, "F"), name="Brightwater Labs, Inc.")
    crowded.store(firm, ada(crowded, account=firm.ref))
    author = Author(
        network="x",
        native_id="5",
        display_name="Ada Quillfeather",
        handle="aq",
        bio="Designs lamps at Brightwater Labs",
    )
    found = lookup.resolve(crowded.hub, author)
    assert EvidenceKind.COMPANY in {e.kind for e in found.candidates[0].evidence}
    assert found.candidates[0].refs[0].id == "A7"


def test_a_handle_that_another_account_had_is_no_proof(known: Stage) -> None:
    """The CRM has the handle without an id; the hub saw it on another account before."""
    with known.hub.database.begin() as uow:
        uow.people.see(
            network="x",
            native_id="first",
            handle="kimberg",
            display_name="Kim Berg",
            at=known.time.now - timedelta(days=9),
        )
    author = Author(network="x", native_id="second", handle="kimberg")
    found = lookup.resolve(known.hub, author)
    (candidate,) = found.candidates
    assert EvidenceKind.HANDLE_CHANGED_OWNER in {e.kind for e in candidate.evidence}
    assert found.decision.outcome is Outcome.NONE
    with known.hub.database.begin() as uow:
        uow.people.see(
            network="x",
            native_id="second",
            handle="kimberg",
            display_name=None,
            at=known.time.now,
        )
    with known.hub.database.read() as uow:
        (bearer,) = uow.people.bearers("x", "kimberg")
        assert bearer.native_id == "second"


def test_records_of_a_version_without_an_index_are_put_into_it(crowded: Stage) -> None:
    """As after an upgrade: the records are there, the index knows nothing of them."""
    crowded.store(ada(crowded))
    with crowded.hub.database.begin() as uow:
        for table in (LikenessRow, BlockingKeyRow, NameCountRow):
            uow.session.exec(delete(table))
        total = sum(uow.records.count().values())
    author = Author(network="x", native_id="5", display_name="Ada Quillfeather", handle="quillada")
    assert lookup.resolve(crowded.hub, author).candidates == ()
    for _ in range(2):
        assert index_again(crowded.hub) == total
        found = lookup.resolve(crowded.hub, author)
        assert found.candidates[0].refs[0].id == "A7"
    with crowded.hub.database.read() as uow:
        looked = uow.likeness.look([], [word_key("quillfeather")])
    assert looked.names == {word_key("quillfeather"): 1}


def test_what_an_older_release_read_in_another_way_is_read_anew(known: Stage) -> None:
    """Of every kind: an order's number, a contact's handle that was kept as an address."""
    contact = known.contact.model_copy(
        update={"handles": (Handle(network="linkedin", handle="https://linkedin.com/in/kimberg"),)}
    )
    found = FoundBy((("handle:linkedin", "https://linkedin.com/in/kimberg"),))
    known.time.pass_(minutes=1)
    with known.hub.database.begin() as uow:
        uow.records.store([(contact, found), (known.order, FoundBy(()))], as_of=known.time.now)
    wanted = [("handle:linkedin", "kimberg"), *identifiers_of(known.order)]
    with known.hub.database.read() as uow:
        before = uow.records.bearing(wanted)
    assert before.keys().isdisjoint({contact.ref, known.order.ref})
    index_again(known.hub)
    with known.hub.database.read() as uow:
        assert {contact.ref, known.order.ref} <= set(uow.records.bearing(wanted))
        old = [("handle:linkedin", "https://linkedin.com/in/kimberg")]
        assert uow.records.bearing(old) == {}


def test_the_shipped_model_is_what_a_hub_judges_by() -> None:
    assert Options().likeness.thresholds.link >= 0.99
