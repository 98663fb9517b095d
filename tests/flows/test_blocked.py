"""What the operator says is nobody's leads nowhere, in real time and in batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from middleware.contract.canonical import Account, Contact, Kind
from middleware.flows.hub import ResolveOptions
from middleware.flows.index import index_again
from middleware.resolution.blocked import Blocked
from tests.flows.conftest import Stage
from tests.flows.test_receive import arrive, event, the_complaint
from tests.flows.test_resolve import parts, run, sqlite

SWITCHBOARD = "+493023125000"
BLOCKED = Blocked.of(
    emails=["info@example.com"], phones=[SWITCHBOARD], names=["Unknown Customer"], ids=["99999"]
)


def outcome(stage: Stage) -> str:
    resolution = the_complaint(stage).resolution
    assert resolution is not None
    return str(resolution["decision"]["outcome"])


@pytest.mark.parametrize(
    ("given", "more"),
    [
        ({"emails": ["info@example.com"]}, {}),
        ({"phones": [SWITCHBOARD]}, {}),
        ({"external_ids": {"customer_number": "99999"}}, {}),
        ({"network": "email", "native_id": "info@example.com"}, {}),
        ({"handle": "nobody7"}, {"text": "Write to info@example.com or call +49 30 23125000"}),
    ],
    ids=["email", "phone", "id", "mailbox", "text"],
)
@pytest.mark.parametrize("indexed", ["before", "after"])
def test_nobody_is_found_by_it(
    stage: Stage, given: dict[str, object], more: dict[str, str], indexed: str
) -> None:
    """Whether the records were stored before it was blocked, or after."""
    record = Account(
        ref=stage.account.ref,
        name="Unknown Customer",
        number="99999",
        emails=("info@example.com",),
        phones=(SWITCHBOARD,),
    )
    blocking = stage.with_options(blocked=BLOCKED)
    found_by = (stage if indexed == "before" else blocking).hub.found_by
    stage.erp.delete(stage.account.ref)
    with stage.hub.database.begin() as uow:
        uow.records.store([(record, found_by(record))], as_of=stage.time.now)
    author = {"handle": None, "display_name": "Unknown Customer", **given}
    arrive(blocking, event(author=author, **more))
    resolution = the_complaint(stage).resolution
    assert resolution is not None
    assert resolution["candidates"] == []
    assert stage.settled(the_complaint(stage).person_id) is None


def test_what_is_theirs_beside_it_links_them(known: Stage) -> None:
    shared = known.contact.model_copy(
        update={"emails": ("info@example.com", "kim@example.com"), "handles": ()}
    )
    known.store(shared)
    blocking = known.with_options(blocked=BLOCKED)
    emails = ["info@example.com", "kim@example.com"]
    arrive(blocking, event(author={"handle": None, "emails": emails}))
    assert outcome(known) == "link"


def test_remotes_are_asked_who_is_not_known_by_anything_else(stage: Stage) -> None:
    """Whoever is on file with the switchboard's number is not known by it."""
    stage.store(stage.account.model_copy(update={"emails": (), "phones": (SWITCHBOARD,)}))
    blocking = stage.with_options(blocked=BLOCKED)
    author = {"handle": None, "phones": [SWITCHBOARD], "emails": ["kim@example.com"]}
    arrive(blocking, event(author=author))
    assert outcome(stage) == "link"


@pytest.mark.parametrize("given", [{"emails": ["info@example.com"]}, {"phones": [SWITCHBOARD]}])
def test_remotes_are_not_asked_for_it(stage: Stage, given: dict[str, object]) -> None:
    blocking = stage.with_options(blocked=BLOCKED)
    arrive(blocking, event(author={"network": "email", "native_id": None, "handle": None, **given}))
    assert stage.crm.calls["find_contacts"] == 0


def test_two_records_are_no_pair_by_it(stage: Stage) -> None:
    """A CRM gives the customer number 99999 to all that have none."""
    number = {"customer_number": "99999"}
    contact = stage.contact.model_copy(update={"external_ids": number, "handles": ()})
    account = stage.account.model_copy(
        update={"number": "99999", "emails": (), "phones": ("+493023125101",), "name": "Ada Lo"}
    )
    stage.store(contact, account)
    author = {"handle": None, "emails": ["kim@example.com"], "phones": ["+493023125101"]}
    arrive(stage.with_options(blocked=BLOCKED), event(author=author))
    assert outcome(stage) == "review"


def test_the_index_forgets_it(known: Stage) -> None:
    wanted = [("email", "kim@example.com")]
    with known.hub.database.read() as uow:
        assert uow.records.bearing(wanted)
    blocking = known.with_options(blocked=Blocked.of(emails=["kim@example.com"]))
    index_again(blocking.hub)
    with known.hub.database.read() as uow:
        assert not uow.records.bearing(wanted)
        stored = uow.records.get(known.contact.ref)
    assert stored is not None
    assert isinstance(stored.record, Contact)
    assert stored.record.emails == ("kim@example.com",)


@sqlite
def test_a_resolution_joins_nothing_by_it(desk: Stage, tmp_path: Path) -> None:
    """Nor does one whose workspace was made before it was blocked."""

    def placeholder(system: str) -> Contact:
        return Contact(
            ref=desk.contact.ref.model_copy(update={"connection": system, "kind": Kind.CONTACT}),
            given_name="Unknown",
            family_name="Customer",
            emails=("info@example.com",),
            phones=(SWITCHBOARD,),
        )

    desk.store(placeholder("crm"), placeholder("shop"))
    run(desk, full=True)
    assert len(parts(desk)) == 1
    assert desk.hub.options.resolve == ResolveOptions(workspace=tmp_path)
    run(desk.with_options(blocked=BLOCKED), "t2")
    assert parts(desk) == set()
