"""Receive: from a stored delivery to a complaint with its person, its order and a note."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from adapters.memory.remote import Fault
from middleware.contract.actions import Operation
from middleware.contract.canonical import Address, Contact, Handle, Kind
from middleware.flows import link as links
from middleware.flows import lookup, receive, reconcile
from middleware.flows.hub import Asker
from middleware.inlets import Delivery
from middleware.store.tables import ArrivalRow, ComplaintRow
from tests.flows.conftest import Stage


def event(
    text: str = "My lamp arrived broken", *, type_: str = "message.created", **data: Any
) -> dict[str, Any]:
    author = {"network": "x", "native_id": "77", "handle": "KimBerg", "display_name": "Kim Berg"}
    return {
        "type": type_,
        "timestamp": "2026-11-21T11:59:00Z",
        "data": {
            "id": "m-1",
            "conversation": "c-1",
            "text": text,
            "author": author | data.pop("author", {}),
            "posted_at": "2026-11-21T11:59:00Z",
            **data,
        },
    }


def arrive(stage: Stage, payload: Any, *, message_id: str | None = None) -> str:
    """Store a delivery as the door does, and owe its handling; answers the inbox id."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    headers = {"webhook-id": message_id or f"msg_{hash(body)}"}
    delivery = Delivery(
        method="POST", path="/", body=body, received_at=stage.time(), headers=headers
    )
    row = receive.row_of(
        delivery, connection=stage.names["desk"], source="generic", trust="signature"
    )
    with stage.hub.database.begin() as uow:
        stored = uow.inbox.store_once(row)
        stage.engine.enqueue(uow, "receive", stored.id, name=f"receive:{stored.id}")
    stage.run_due()
    return stored.id


def complaints(stage: Stage) -> list[ComplaintRow]:
    with stage.hub.database.read() as uow:
        return uow.complaints.page(before=None, limit=50)


def the_complaint(stage: Stage) -> ComplaintRow:
    (complaint,) = complaints(stage)
    return complaint


def arrivals(stage: Stage) -> list[ArrivalRow]:
    with stage.hub.database.read() as uow:
        return uow.complaints.arrivals_of(the_complaint(stage).id)


def inbox(stage: Stage, inbox_id: str) -> tuple[str, Any]:
    with stage.hub.database.read() as uow:
        row = uow.inbox.get(inbox_id)
        assert row is not None
        return row.state, row.problem


def test_an_email_on_file_leads_to_person_orders_and_note(known: Stage) -> None:
    inbox_id = arrive(known, event(author={"emails": ["Kim@Example.com"]}))
    complaint = the_complaint(known)
    assert inbox(known, inbox_id)[0] == "handled"
    assert complaint.person_id is not None
    assert complaint.resolution is not None
    assert complaint.resolution["decision"]["outcome"] == "link"
    assert complaint.order_ref == str(known.order.ref)
    assert complaint.understanding is not None
    assert complaint.understanding["intent"]["value"] == "complaint"
    assert complaint.understanding["reason"]["value"] == "damaged"
    assert known.desk.count(Operation.NOTE) == 1
    assert "complaint.enriched" in known.events()
    assert "identity.linked" in known.events()


def test_contact_and_account_of_one_person_are_both_linked(known: Stage) -> None:
    arrive(known, event(author={"emails": ["kim@example.com"]}))
    with known.hub.database.read() as uow:
        links = uow.people.links_of_person(the_complaint(known).person_id or "")
    assert {(link.connection, link.kind) for link in links if link.record_id} == {
        (known.names["crm"], "contact"),
        (known.names["erp"], "account"),
    }
    assert sum(link.identity_id is not None for link in links) == 1


def test_an_identity_that_is_linked_needs_no_evidence_again(known: Stage) -> None:
    arrive(known, event(author={"emails": ["kim@example.com"]}))
    arrive(known, event("And nobody answers!", id="m-9", conversation="c-9"))
    first, second = complaints(known)
    assert first.person_id == second.person_id


def test_a_handle_alone_is_for_a_person_to_review(known: Stage) -> None:
    arrive(known, event())
    complaint = the_complaint(known)
    assert known.settled(complaint.person_id) is None
    assert complaint.resolution is not None
    assert complaint.resolution["decision"]["outcome"] == "review"
    assert "identity.review_needed" in known.events()


def test_a_stranger_is_nobody(known: Stage) -> None:
    arrive(known, event(author={"native_id": "5", "handle": "someone_else", "display_name": "S"}))
    complaint = the_complaint(known)
    assert known.settled(complaint.person_id) is None
    assert complaint.resolution is not None
    assert complaint.resolution["decision"]["outcome"] == "none"
    assert complaint.order_match is None


def test_nobody_in_the_store_is_asked_for_in_the_remotes(stage: Stage) -> None:
    arrive(stage, event(author={"emails": ["kim@example.com"]}))
    assert the_complaint(stage).person_id is not None
    with stage.hub.database.read() as uow:
        assert uow.records.get(stage.contact.ref) is not None


def test_a_remote_that_fails_is_named_and_holds_nothing_up(stage: Stage) -> None:
    stage.crm.script.arm(Fault.DOWN, times=100)
    arrive(stage, event(author={"emails": ["kim@example.com"]}))
    complaint = the_complaint(stage)
    assert complaint.resolution is not None
    sources = {s["connection"]: s["status"] for s in complaint.resolution["sources"]}
    assert sources[stage.names["crm"]] == "failed"
    assert complaint.person_id is not None  # the ERP knows the address too


def test_an_order_number_that_is_not_synced_is_fetched(stage: Stage) -> None:
    stage.store(stage.account, stage.contact)
    arrive(
        stage,
        event("Where is order SO-10001? It is broken", author={"emails": ["kim@example.com"]}),
    )
    assert the_complaint(stage).order_ref == str(stage.order.ref)


def test_an_article_of_the_catalogue_is_found_whoever_writes(known: Stage) -> None:
    """A stranger names what another customer bought; that is a hint, and no order of theirs."""
    line = known.order.lines[0]
    assert line.sku is not None
    arrive(known, event(f"your {line.sku} arrived broken", author={"native_id": "990"}))
    complaint = the_complaint(known)
    assert complaint.understanding is not None
    (found,) = (e for e in complaint.understanding["entities"] if e["type"] == "sku")
    assert (found["value"], found["start"]) == (line.sku, 5)
    assert found["why"].startswith("the article number of")
    assert (known.settled(complaint.person_id), complaint.order_ref) == (None, None)


def test_somebody_elses_order_number_is_no_evidence(known: Stage) -> None:
    other = known.order.model_copy(
        update={
            "ref": known.ref("erp", Kind.ORDER, "O2"),
            "number": "SO-20002",
            "account": known.ref("erp", Kind.ACCOUNT, "A2"),
        }
    )
    known.erp.put(other)
    known.store(other)
    arrive(
        known,
        event("My order SO-20002 is broken", author={"emails": ["kim@example.com"]}),
    )
    complaint = the_complaint(known)
    assert complaint.order_ref != str(other.ref)
    assert complaint.order_match is not None
    assert complaint.order_match["warnings"]


def test_a_switchboards_number_hides_nobody(known: Stage) -> None:
    """Five hundred bear the number; one of them the account, and the order is Kim's."""
    staff = [
        known.contact.model_copy(
            update={
                "ref": known.ref("crm", Kind.CONTACT, f"S{n:03}"),
                "display_name": f"Employee Number{n}",
                "emails": (),
                "handles": (Handle(network="x", native_id="900"),) if n == 499 else (),
                "phones": ("+493012345678",),
                "external_ids": {},
            }
        )
        for n in range(500)
    ]
    known.store(*staff)
    phones = ["+493012345678"]
    arrive(known, event(author={"native_id": "900", "handle": "any", "phones": phones}))
    person = known.settled(the_complaint(known).person_id)
    with known.hub.database.read() as uow:
        linked = lookup.customers_of(uow, person or "")
    assert linked == [staff[499].ref]
    text = "Order SO-10001 came broken"
    kim = {"native_id": "901", "phones": phones}
    arrive(known, event(text, id="m-2", conversation="c-2", author=kim))
    (resolution,) = [c.resolution for c in complaints(known) if c.conversation == "c-2"]
    assert resolution is not None
    assert {"connection": known.names["erp"], "kind": "account", "id": "A1"} in [
        ref for candidate in resolution["candidates"] for ref in candidate["refs"]
    ]


def test_the_same_delivery_twice_changes_nothing(known: Stage) -> None:
    payload = event(author={"emails": ["kim@example.com"]})
    first = arrive(known, payload, message_id="msg_1")
    again = arrive(known, payload, message_id="msg_1")
    assert first == again
    assert len(arrivals(known)) == 1
    assert known.desk.count(Operation.NOTE) == 1


def test_the_same_message_in_another_delivery_changes_nothing(known: Stage) -> None:
    payload = event(author={"emails": ["kim@example.com"]})
    arrive(known, payload, message_id="msg_1")
    arrive(known, payload, message_id="msg_2")
    assert len(arrivals(known)) == 1
    assert known.desk.count(Operation.NOTE) == 1


def test_a_conversation_is_one_complaint(known: Stage) -> None:
    arrive(known, event())
    arrive(known, event("It is order SO-10001", id="m-2"))
    assert len(arrivals(known)) == 2
    understood = the_complaint(known).understanding
    assert understood is not None
    assert any(e["value"] == "SO-10001" for e in understood["entities"])


def test_an_edit_is_understood_anew_and_an_older_one_ignored(known: Stage) -> None:
    arrive(known, event("Nice lamp, thank you!"))
    later = event("The lamp is broken!", type_="message.edited")
    later["timestamp"] = "2026-11-21T12:30:00Z"
    arrive(known, later)
    older = event("Older words", type_="message.edited")
    older["timestamp"] = "2026-11-21T12:10:00Z"
    arrive(known, older)
    (arrival,) = arrivals(known)
    assert arrival.text == "The lamp is broken!"
    understood = the_complaint(known).understanding
    assert understood is not None
    assert understood["reason"]["value"] in ("damaged", "defective")


def test_a_deleted_message_is_emptied_and_its_complaint_ends(known: Stage) -> None:
    arrive(known, event())
    arrive(known, event(type_="message.deleted", text=None))
    (arrival,) = arrivals(known)
    complaint = the_complaint(known)
    assert arrival.text == ""
    assert arrival.deleted_at is not None
    assert (complaint.state, complaint.understanding) == ("deleted", None)
    arrive(known, event("Back again", type_="message.edited"))
    assert arrivals(known)[0].text == ""


def test_a_deletion_that_overtakes_its_message_still_counts(known: Stage) -> None:
    arrive(known, event(type_="message.deleted", text=None))
    arrive(known, event("This was deleted"))
    (arrival,) = arrivals(known)
    assert arrival.text == ""
    assert the_complaint(known).state == "deleted"


@pytest.mark.parametrize(
    ("body", "place"),
    [(b'{"type": ', "1:"), (b"\xff\xfe", ""), (b"<xml/>", "1:")],
)
def test_a_malformed_body_waits_in_quarantine_with_its_place(
    known: Stage, body: bytes, place: str
) -> None:
    inbox_id = arrive(known, body)
    state, problem = inbox(known, inbox_id)
    assert state == "quarantined"
    assert place in problem["problems"][0]["place"]
    assert problem["problems"][0]["reason"]
    assert complaints(known) == []
    assert "inbox.quarantined" in known.events()


def test_one_unreadable_part_does_not_cost_its_neighbours(known: Stage) -> None:
    payload = [event(), {"type": "message.created", "data": {"text": "no author"}}]
    state, problem = inbox(known, arrive(known, payload))
    assert state == "quarantined"
    assert problem["problems"][0]["place"].startswith("/1")
    assert len(complaints(known)) == 1


def test_a_death_between_storing_and_handling_loses_nothing(
    known: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(receive, "enrich", crash)
        inbox_id = arrive(known, event(author={"emails": ["kim@example.com"]}))
    assert inbox(known, inbox_id)[0] == "stored"
    known.time.pass_(minutes=5)
    reconcile.run(known.hub, "t")
    known.run_due()
    assert inbox(known, inbox_id)[0] == "handled"
    assert the_complaint(known).person_id is not None


def test_what_can_never_be_handled_ends_in_quarantine(
    known: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("poison")

    monkeypatch.setattr(receive, "enrich", crash)
    inbox_id = arrive(known, event())
    for n in range(reconcile.MOST_REPLAYS + 2):
        known.time.pass_(minutes=5)
        reconcile.run(known.hub, f"t{n}")
        known.run_due()
    assert inbox(known, inbox_id)[0] == "quarantined"


def test_a_complaint_that_changes_meanwhile_is_understood_anew(
    known: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own note comes back as a message while the complaint is being looked at."""
    original = receive._purchases
    meddled: list[int] = []

    def meddle(*args: Any) -> Any:
        if not meddled:
            meddled.append(1)
            with known.hub.database.begin() as uow:
                complaint = uow.complaints.page(before=None, limit=1)[0]
                complaint.version += 1
                uow.session.add(complaint)
        return original(*args)

    monkeypatch.setattr(receive, "_purchases", meddle)
    arrive(known, event(author={"emails": ["kim@example.com"]}))
    assert meddled
    assert the_complaint(known).person_id is not None


def test_many_at_once_from_one_author_are_one_person(known: Stage) -> None:
    ids = []
    for n in range(6):
        body = event(id=f"m-{n}", conversation=f"c-{n}", author={"emails": ["kim@example.com"]})
        delivery = Delivery(
            method="POST",
            path="/",
            body=json.dumps(body).encode(),
            received_at=known.time(),
            headers={"webhook-id": f"msg_{n}"},
        )
        row = receive.row_of(
            delivery, connection=known.names["desk"], source="generic", trust="signature"
        )
        with known.hub.database.begin() as uow:
            ids.append(uow.inbox.store_once(row).id)
    threads = [threading.Thread(target=receive.run, args=(known.hub, i)) for i in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {inbox(known, i)[0] for i in ids} == {"handled"}
    persons = {complaint.person_id for complaint in complaints(known)}
    assert len(complaints(known)) == 6
    assert len(persons) == 1
    assert None not in persons
    with known.hub.database.read() as uow:
        links = uow.people.links_of_person(persons.pop() or "")
    assert sum(link.identity_id is not None for link in links) == 1
    assert sum(link.record_id is not None for link in links) == 2


def test_links_that_somebody_took_apart_stay_apart(known: Stage) -> None:
    arrive(known, event(author={"emails": ["kim@example.com"]}))
    complaint = the_complaint(known)
    with known.hub.database.begin() as uow:
        (link,) = [
            found
            for found in uow.people.links_of_person(complaint.person_id or "")
            if found.identity_id is not None
        ]
    asker = Asker(principal="key_agent")
    links.revoke_link(known.hub, link.id, version=None, reason="her brother", asker=asker)
    known.time.pass_(hours=1)
    arrive(known, event("Again", id="m-5", author={"emails": ["kim@example.com"]}))
    assert known.settled(the_complaint(known).person_id) is None


@pytest.mark.parametrize(
    ("country", "outcome"), [("AT", "link"), ("DE", "none"), (None, "review")], ids=str
)
def test_a_number_on_file_without_its_country_is_found(
    known: Stage, country: str | None, outcome: str
) -> None:
    """It is read where its bearer lives; as likely as not elsewhere it is for a person to say."""
    stage = known.with_options(phone_regions=("DE", "AT"))
    address = Address(country=country) if country else None
    record = stage.contact.model_copy(
        update={"emails": (), "handles": (), "phones": ("0664 1234567",), "address": address}
    )
    with stage.hub.database.begin() as uow:
        uow.records.store([(record, stage.hub.found_by(record))], as_of=stage.time.now)
    arrive(stage, event(author={"handle": None, "phones": ["+43 664 1234567"]}))
    resolution = the_complaint(stage).resolution
    assert resolution is not None
    assert resolution["decision"]["outcome"] == outcome
    with stage.hub.database.read() as uow:
        stored = uow.records.get(record.ref)
    assert stored is not None
    assert isinstance(stored.record, Contact)
    assert stored.record.phones == ("0664 1234567",), "what is stored is never rewritten"
