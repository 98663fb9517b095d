"""`amends people`, the ledger, and claims of reviews, run as an operator runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from middleware.api.schemas.ledger import (
    CannotLinkShown,
    ChangePreviewShown,
    ChangeShown,
    ReviewClaimShown,
    ReviewShown,
)
from middleware.api.schemas.people import LinkExplained, LinkShown, PersonShown, ResolvedShown
from middleware.app import Application
from middleware.contract.canonical import Contact, Handle, Kind, Ref
from middleware.settings import load
from tests.cli.test_claims import amends
from tests.cli.test_commands import CONFIG
from tests.cli.test_people import take_in

INLET = """\
[connections.desk.inlet]
source = "generic"
[actions]
note_when_enriched = false
[links]
link_from = 18
"""
NOBODY = "per_0000"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hub with Kim and her twin on file, and a complaint of which it asks whether it is Kim."""
    (tmp_path / "amends.toml").write_text(f"{CONFIG}\n{INLET}")
    kim = Contact(
        ref=Ref(connection="shop", kind=Kind.CONTACT, id="C1"),
        display_name="Kim Berg",
        emails=("kim@example.com",),
        handles=(Handle(network="x", handle="kimberg"),),
    )
    twin = Contact(ref=Ref(connection="shop", kind=Kind.CONTACT, id="C2"), display_name="K. Berg")
    take_in(tmp_path, kim, twin)
    return tmp_path


def told(folder: Path, *arguments: str) -> Any:
    """What a command prints as JSON."""
    result = amends(folder, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refused(folder: Path, *arguments: str) -> str:
    """Why a command is refused; nothing of it is a traceback."""
    result = amends(folder, *arguments)
    assert result.exit_code == 1, result.stdout
    assert isinstance(result.exception, SystemExit), result.exception
    return result.stderr


def new(folder: Path, contact: str) -> LinkShown:
    """A new person who is that contact."""
    asked = ("people", "link", "new", contact, "--name", f"The {contact}", "--reason", "A call.")
    return LinkShown.model_validate(told(folder, *asked))


def wrote(folder: Path) -> tuple[str, str]:
    """Who wrote the complaint, and the complaint."""
    (review,) = told(folder, "reviews", "list")
    return review["identity_id"], review["complaint_id"]


def counted(folder: Path) -> tuple[int, int]:
    """How much the audit trail and the events hold."""
    with Application(load(folder / "amends.toml")) as application:
        application.open()
        with application.database.read() as uow:
            events = uow.events.since(0, limit=1000)
            audit = uow.session.connection().exec_driver_sql("SELECT count(*) FROM audit")
            return audit.scalar_one(), len(events)


def test_a_link_is_tried_made_ended_and_restored(folder: Path) -> None:
    kim = new(folder, "shop:contact:C1").person_id
    identity, complaint = wrote(folder)
    link = ("people", "link", kim, identity)

    (provisional,) = (one["id"] for one in told(folder, "people", "provisional"))
    before = counted(folder)
    assert told(folder, *link, "--preview") == {
        "person_id": kim, "link": None, "complaints": [complaint], "leads": provisional,
    }  # fmt: skip
    assert f"it would be {kim}" in amends(folder, *link, "--preview").stdout
    assert complaint in amends(folder, *link, "--preview").stdout
    assert counted(folder) == before, "a preview writes nothing"
    assert len(told(folder, "people", "links", kim)) == 1

    assert "say why with --reason" in refused(folder, *link)
    assert "reason: string must have at least 3 characters" in refused(
        folder, *link, "--reason", "so"
    )
    made = LinkShown.model_validate(
        told(folder, *link, "--basis", "customer_confirmed", "--reason", "Named her postcode.")
    )
    assert made.decided_by.startswith("cli:")
    assert (made.basis, made.evidence[0].detail) == ("customer_confirmed", "Named her postcode.")
    audit, events = counted(folder)
    assert audit > before[0]
    assert events > before[1], "as over the API"
    assert "it was there" in amends(folder, *link, "--reason", "Again.").stdout
    assert told(folder, *link, "--preview")["link"]["id"] == made.id

    unlink = ("people", "unlink", made.id)
    shown = LinkExplained.model_validate(told(folder, *unlink, "--preview"))
    assert (shown.link.valid_to, shown.done_on_its_strength.complaints) == (None, [complaint])
    assert f"complaints shown with it: {complaint}" in amends(folder, *unlink, "--preview").stdout
    stale = refused(folder, *unlink, "--reason", "Her sister.", "--version", "7")
    assert "at version 1 now; look at it again" in stale
    ended = LinkExplained.model_validate(
        told(folder, *unlink, "--reason", "Her sister.", "--version", "1")
    )
    assert ended.link.revoked_reason == "Her sister."
    assert ended.done_on_its_strength == shown.done_on_its_strength
    assert "ended at" in refused(folder, *unlink, "--preview")
    history = amends(folder, "people", "links", identity, "--history").stdout
    assert "Her sister." in history

    apart = refused(folder, *link, "--reason", "Sure.")
    assert "although_revoked" in apart
    (held,) = told(folder, "people", "cannot-links", "list", kim)
    assert (held["one"], held["other"]) == (identity, kim)
    again = told(folder, "people", "restore", made.id, "--reason", "The wrong tab.")
    assert again["origin"] == made.id
    assert told(folder, "people", "cannot-links", "list", kim) == []


def test_who_somebody_may_be_is_found_by_what_is_known(folder: Path) -> None:
    asked = ("people", "resolve", "--email", "kim@example.com")
    found = ResolvedShown.model_validate(told(folder, *asked)).resolution
    assert found.candidates[0].refs == ["shop:contact:C1"]
    read = amends(folder, *asked).stdout
    assert read.startswith(f"{found.outcome}: {found.why}")
    assert "0: shop:contact:C1, " in read
    kim = new(folder, "shop:contact:C1").person_id
    assert f"0: {kim}, " in amends(folder, *asked).stdout
    assert told(folder, "people", "resolve", "--network", "x", "--handle", "kimberg")["resolution"]
    assert "needs one of" in refused(folder, "people", "resolve", "--name", "Kim")
    assert "needs the network" in refused(folder, "people", "resolve", "--handle", "kimberg")


def test_what_can_be_no_link_is_refused_with_the_place(folder: Path) -> None:
    kim = new(folder, "shop:contact:C1").person_id
    why = ("--reason", "A call.")
    assert f"no person {NOBODY}" in refused(
        folder, "people", "link", NOBODY, "shop:contact:C2", *why
    )
    assert "is nobody" in refused(folder, "people", "link", kim, "kimberg", *why)
    assert "record: " in refused(folder, "people", "link", kim, kim, *why)
    assert "holds no record" in refused(folder, "people", "link", kim, "shop:contact:C9", *why)
    inferred = refused(folder, "people", "link", kim, "idn_1", "--basis", "inferred", *why)
    assert "decided by the hub" in inferred
    result = amends(
        folder, "people", "link", "new", "shop:contact:C1", "--name", "B", *why, "--json"
    )
    problem = json.loads(result.stdout)
    assert (result.exit_code, problem["code"], problem["person"]) == (1, "conflict", kim)
    unseen = told(folder, "people", "link", kim, "4711", "--network", "X", *why)
    shown = told(folder, "people", "show", kim)
    assert [(one["id"], one["network"]) for one in shown["identities"]] == [
        (unseen["identity_id"], "x")
    ]


def test_two_are_merged_split_and_put_back(folder: Path) -> None:
    kim, twin = (new(folder, f"shop:contact:{n}").person_id for n in ("C1", "C2"))
    identity, complaint = wrote(folder)
    told(folder, "people", "link", twin, identity, "--reason", "A call.")
    with_twin = told(folder, "people", "show", twin)["created_at"]

    merge = ("people", "merge", kim, twin)
    before = counted(folder)
    seen = ChangePreviewShown.model_validate(told(folder, *merge, "--preview"))
    assert (seen.moves.identities, seen.moves.complaints) == ([identity], [complaint])
    read = amends(folder, *merge, "--preview").stdout
    assert f"complaints that would move: {complaint}" in read
    assert seen.preview_token in read
    assert counted(folder) == before
    assert "say why" in refused(folder, *merge)
    outdated = refused(folder, *merge, "--reason", "One voice.", "--preview-token", "other")
    assert "look at a new one" in outdated
    made = ChangeShown.model_validate(
        told(folder, *merge, "--reason", "One voice.", "--preview-token", seen.preview_token)
    )
    assert (made.kind, made.records) == ("merge", ["shop:contact:C2"])

    now = amends(folder, "people", "show", twin)
    assert f"{twin} was merged into {kim}" in now.stdout
    assert "are one person" in refused(folder, *merge, "--reason", "Again.")
    then = PersonShown.model_validate(told(folder, "people", "show", twin, "--as-of", with_twin))
    assert (then.id, then.redirected_from) == (twin, None)
    early = refused(folder, "people", "show", kim, "--as-of", "2020-01-01T00:00:00Z")
    assert f"No person had the id {kim} then; one has it since" in early
    assert "say which time zone" in refused(folder, "people", "show", kim, "--as-of", "2020-01-01")
    assert "No person has the id" in refused(folder, "people", "show", NOBODY)

    split = ("people", "split", kim, "shop:contact:C2")
    shown = ChangePreviewShown.model_validate(told(folder, *split, "--preview"))
    assert (shown.kind, shown.moves.records) == ("split", ["shop:contact:C2"])
    assert "everything would leave" in refused(
        folder, *split, "shop:contact:C1", identity, "--preview"
    )
    parted = ChangeShown.model_validate(
        told(folder, *split, "--name", "The twin", "--reason", "Two birthdays.")
    )
    assert told(folder, "people", "show", parted.other_id)["display_name"] == "The twin"

    undo = ("people", "undo", made.id)
    assert f"{parted.id} builds upon it" in refused(folder, *undo, "--preview")
    first = ("people", "undo", parted.id)
    before = counted(folder)
    back = told(folder, *first, "--preview")
    assert (back["undoes"], back["records"], back["left_out"]) == (
        parted.id, ["shop:contact:C2"], [],
    )  # fmt: skip
    assert "it would be: undo of" in amends(folder, *first, "--preview").stdout
    assert counted(folder) == before
    assert told(folder, "people", "changes", kim)[-1]["id"] == parted.id, "nothing is undone yet"
    assert told(folder, *first, "--reason", "One birthday.")["undoes"] == parted.id
    assert told(folder, *undo, "--reason", "Twins.")["complaints"] == [complaint]
    assert told(folder, "people", "show", twin)["redirected_from"] is None
    listed = amends(folder, "people", "changes", kim).stdout
    assert listed.count("undone by chg_") == 2
    assert "no merge or split chg_1" in refused(
        folder, "people", "undo", "chg_1", "--reason", "No."
    )
    assert "undone already" in refused(folder, *undo, "--reason", "Again.")


def test_what_was_held_apart_is_not_merged_until_it_is_lifted(folder: Path) -> None:
    kim, twin = (new(folder, f"shop:contact:{n}").person_id for n in ("C1", "C2"))
    put = ("people", "cannot-links", "put", "shop:contact:C1", "shop:contact:C2")
    held = CannotLinkShown.model_validate(told(folder, *put, "--reason", "Two of them."))
    tried = amends(folder, "people", "merge", kim, twin, "--preview", "--json")
    assert tried.exit_code == 1, "it would be refused"
    assert [one["kind"] for one in json.loads(tried.stdout)["conflicts"]] == ["cannot_link"]
    assert (
        "would be refused (cannot_link)"
        in amends(folder, "people", "merge", kim, twin, "--preview").stdout
    )
    problem = amends(folder, "people", "merge", kim, twin, "--reason", "One.", "--json")
    assert problem.exit_code == 1
    assert json.loads(problem.stdout)["conflicts"][0]["things"] == [held.one, held.other]
    lift = ("people", "cannot-links", "lift", held.id, "--reason", "One of them.")
    assert "at version 1 now" in refused(folder, *lift, "--version", "2")
    assert "lifted by cli:" in amends(folder, *lift).stdout
    assert "lifted at" in refused(folder, *lift)
    assert told(folder, "people", "cannot-links", "list", kim) == []
    assert len(told(folder, "people", "cannot-links", "list", "shop:contact:C1", "--history")) == 1
    assert amends(folder, "people", "merge", kim, twin, "--preview").exit_code == 0


def test_a_question_is_claimed_released_and_answered_by_its_holder(folder: Path) -> None:
    (review,) = told(folder, "reviews", "list")
    ReviewShown.model_validate(review)
    ours = review["id"]
    claimed = ReviewClaimShown.model_validate(
        told(folder, "reviews", "claim", ours, "--agent", "anna")
    )
    assert claimed.holder.startswith("cli:")
    assert claimed.holder.endswith("/anna")
    assert f"held by {claimed.holder} until" in amends(folder, "reviews", "show", ours).stdout
    for asked in (("claim", ours), ("release", ours), ("answer", ours, "unsure")):
        assert f"{claimed.holder} looks at it" in refused(
            folder, "reviews", *asked, "--agent", "bo"
        )
    assert "anybody's again" in amends(folder, "reviews", "release", ours, "--agent", "anna").stdout
    assert told(folder, "reviews", "show", ours)["claimed_by"] is None
    amends(folder, "reviews", "claim", ours, "--agent", "anna")
    answer = ("reviews", "answer", ours, "this", "0", "--agent", "anna")
    assert "at version 1 now" in refused(folder, *answer, "--version", "4")
    shown = ReviewShown.model_validate(told(folder, *answer, "--version", "1"))
    assert (shown.state, shown.answered_by) == ("answered", claimed.holder)
    assert "said this" in amends(folder, "reviews", "show", ours).stdout
    assert "answered already" in refused(folder, "reviews", "claim", ours)
    assert "No review has the id rvw_1" in refused(folder, "reviews", "show", "rvw_1")
    assert "no review rvw_1" in refused(folder, "reviews", "claim", "rvw_1")
