"""The review queue over REST: listed by urgency, claimed, answered once, and every answer kept."""

from __future__ import annotations

from typing import Any

from middleware.api.schemas.ledger import ReviewBacktestShown, ReviewShown
from middleware.api.webhooks import EVENTS
from middleware.contract.canonical import Handle
from tests.api.conftest import Api, both_databases
from tests.api.test_problems import shape


def ask(api: Api, n: int = 1, text: str = "My lamp arrived broken", **author: Any) -> str:
    """A complaint by somebody whose handle alone is on file; answers its id."""
    contact = api.stage.contact
    handle = "kimberg"
    if n > 1:
        # Two accounts with one handle would be another question.
        handle = f"kimberg{'abcdefgh'[n]}"
        ref = contact.ref.model_copy(update={"id": f"C{n}"})
        bears = (Handle(network="x", handle=handle),)
        changes = {"ref": ref, "handles": bears, "emails": (), "phones": (), "account": None}
        api.stage.store(contact.model_copy(update=changes))
    return api.send_in(
        text,
        id=f"m-{n}",
        conversation=f"c-{n}",
        author={"native_id": str(n), "handle": handle, **author},
    )


def queue(api: Api, **query: Any) -> list[ReviewShown]:
    # One in twenty links that the hub makes is asked about too: only questions of doubt count.
    params = {"kind": "review", **query}
    answer = api.call("GET", "/v1/reviews", params=params, scopes=("people:read",))
    assert answer.status_code == 200, answer.text
    return [ReviewShown.model_validate(one) for one in answer.json()["data"]]


def say(api: Api, review: ReviewShown, said: str, **more: Any) -> Any:
    return api.post(
        f"/v1/reviews/{review.id}/answer",
        {"said": said, **more},
        headers={"if-match": f'"{review.version}"'},
        scopes=("links:write",),
    )


@both_databases
def test_an_answer_writes_link_and_label_together(api: Api) -> None:
    complaint = ask(api)
    (review,) = queue(api)
    assert review.complaint_id == complaint
    assert review.candidates[0].refs[0] in (
        str(api.stage.contact.ref),
        str(api.stage.account.ref),
    )
    assert review.urgency > 0
    answer = say(api, review, "this", candidate=0, reason="she wrote the number", agent="anna")
    assert answer.status_code == 200, answer.text
    after = ReviewShown.model_validate(answer.json())
    assert (after.state, after.version) == ("answered", 2)
    assert after.answered_by is not None
    assert after.answered_by.endswith("/anna")
    shown = api.get(f"/v1/complaints/{complaint}").json()
    assert after.answer is not None
    assert after.answer.person == shown["person_id"] is not None
    link = api.get(f"/v1/links/{after.answer.link}").json()["link"]
    assert (link["basis"], link["identity_id"]) == ("agent", review.identity_id)
    with api.stage.hub.database.read() as uow:
        labels = uow.ledger.labels()
    assert {(row.verdict, row.implied) for row in labels} == {("same", False)}
    assert all(row.evidence["handle"] == 10.0 for row in labels)
    assert queue(api) == []
    twice = shape(say(api, after, "none"))
    assert twice["code"] == "conflict"
    for told in api.get("/v1/events").json()["data"]:
        EVENTS[told["type"]][0].model_validate(told["data"])
    assert {"review.opened", "review.answered", "identity.linked"} <= set(api.stage.events())


def test_none_of_these_holds_the_author_apart_for_good(api: Api) -> None:
    complaint = ask(api)
    (review,) = queue(api)
    assert say(api, review, "none", reason="another country").status_code == 200
    with api.stage.hub.database.read() as uow:
        held = uow.ledger.cannot_links_of({review.identity_id or ""})
        assert {row.source for row in held} == {review.id}
        assert {row.verdict for row in uow.ledger.labels()} == {"different"}
    again = api.send_in(
        "Hello?", id="m-2", conversation="c-2", author={"native_id": "1", "handle": "kimberg"}
    )
    assert api.stage.settled(api.get(f"/v1/complaints/{again}").json()["person_id"]) is None
    assert queue(api) == []
    assert api.stage.settled(api.get(f"/v1/complaints/{complaint}").json()["person_id"]) is None


def test_what_nobody_could_say_is_not_asked_again_until_more_is_known(api: Api) -> None:
    ask(api)
    (review,) = queue(api)
    assert say(api, review, "unsure").status_code == 200
    api.send_in("Hello?", id="m-2", conversation="c-2", author={"native_id": "1"})
    assert queue(api) == []
    named = {"native_id": "1", "display_name": "Kim Berg"}
    api.send_in("Hello?", id="m-3", conversation="c-3", author=named)
    (more,) = queue(api)
    assert {e.kind for e in more.candidates[0].evidence} == {"handle", "name"}
    api.send_in("My order SO-10001 broke", id="m-4", conversation="c-4", author=named)
    assert queue(api) == [], "with the order's number it is enough, and nobody is asked"
    assert [one.id for one in queue(api, state="settled")] == [more.id]


def test_the_most_informative_question_comes_first(api: Api) -> None:
    ask(api, 1, "Where is my lamp?")
    ask(api, 2, "Where is my lamp?", followers=90_000)
    ask(api, 3, "The lamp caught fire and burned my hand!")
    ask(api, 4, "Where is my lamp?")
    shown = queue(api)
    urgencies = [review.urgency for review in shown]
    assert urgencies == sorted(urgencies, reverse=True)
    for review in shown:
        terms = review.terms
        product = terms.reach * terms.severity * terms.uncertainty
        assert abs(review.urgency - product) < 1e-5
    natives = [native(api, review) for review in shown]
    assert set(natives[:2]) == {"2", "3"}
    assert set(natives[2:]) == {"1", "4"}
    first = api.call("GET", "/v1/reviews", params={"limit": 3}).json()
    more = api.call("GET", "/v1/reviews", params={"limit": 3, "cursor": first["next_cursor"]})
    assert [one["id"] for one in more.json()["data"]] == [shown[3].id]


def native(api: Api, review: ReviewShown) -> str:
    with api.stage.hub.database.read() as uow:
        row = uow.people.identity_by_id(review.identity_id or "")
        assert row is not None
        return row.native_id


def test_a_further_complaint_makes_the_same_question_more_urgent(api: Api) -> None:
    ask(api)
    (before,) = queue(api)
    api.send_in("Hello?", id="m-2", conversation="c-2", author={"native_id": "1"})
    (after,) = queue(api)
    assert after.id == before.id
    assert after.terms.reach == before.terms.reach + 1
    assert api.stage.events().count("review.opened") == 1


def test_a_claimed_question_is_answered_by_its_holder(api: Api) -> None:
    ask(api)
    (review,) = queue(api)
    path = f"/v1/reviews/{review.id}"
    assert api.post(f"{path}/claim", {"agent": "anna"}).status_code == 200
    problem = shape(api.post(f"{path}/claim", {"agent": "ben"}))
    assert (problem["code"], problem["holder"][-5:]) == ("conflict", "/anna")
    assert shape(say(api, review, "unsure", agent="ben"))["code"] == "conflict"
    assert shape(api.post(f"{path}/release", {"agent": "ben"}))["code"] == "conflict"
    (shown,) = queue(api)
    assert shown.claimed_by is not None
    assert api.post(f"{path}/release", {"agent": "anna"}).json()["claimed_by"] is None
    assert api.post(f"{path}/claim", {"agent": "ben"}).status_code == 200
    api.stage.time.pass_(minutes=11)
    # Ben left it: his time is over.
    body = {"said": "unsure", "agent": "anna"}
    answer = api.post(f"{path}/answer", body, headers={"if-match": '"1"'})
    assert answer.status_code == 200, answer.text


def test_answers_that_make_no_sense(api: Api) -> None:
    ask(api)
    (review,) = queue(api)
    assert shape(say(api, review, "this"))["code"] == "validation"
    assert shape(say(api, review, "this", candidate=7))["code"] == "validation"
    assert shape(say(api, review, "perhaps"))["code"] == "validation"
    missing = api.post(f"/v1/reviews/{review.id}/answer", {"said": "none"})
    assert shape(missing)["code"] == "version-required"
    nobody = api.post("/v1/reviews/rvw_1/answer", {"said": "none"}, headers={"if-match": "*"})
    assert shape(nobody)["code"] == "not-found"
    assert shape(api.get("/v1/reviews/rvw_1"))["code"] == "not-found"
    assert shape(api.post("/v1/reviews/rvw_1/claim", {}))["code"] == "not-found"
    assert len(queue(api)) == 1


def test_a_link_by_an_agent_settles_the_question(api: Api) -> None:
    ask(api)
    (review,) = queue(api)
    body = {"identity_id": review.identity_id, "reason": "said so", "display_name": "Kim"}
    assert api.put("/v1/links", body).status_code == 201
    assert queue(api) == []
    assert [one.id for one in queue(api, state="settled")] == [review.id]


def test_a_backtest_shows_what_other_thresholds_would_link_and_unlink(api: Api) -> None:
    known = {"emails": ["kim@example.com"], "native_id": "0", "handle": "kim"}
    api.send_in(author=known, id="m-0", conversation="c-0")
    ask(api, 1)
    (review,) = queue(api)
    say(api, review, "none", reason="another country")
    ask(api, 2)

    def tried(**rules: Any) -> ReviewBacktestShown:
        answer = api.post("/v1/reviews/backtest", rules, scopes=("people:read",))
        assert answer.status_code == 200, answer.text
        return ReviewBacktestShown.model_validate(answer.json())

    same = tried()
    assert (same.decided, same.links, same.unlinks) == (3, [], [])
    assert same.was == same.would
    bolder = tried(link_from=9)
    assert bolder.links == [], "a handle alone is nothing that the source vouches for"
    timid = tried(link_from=64)
    assert [one.was for one in timid.unlinks] == ["link"]
    assert timid.would.links == 0
    assert timid.version != same.version
    off = tried(enabled=False)
    assert len(off.unlinks) == 1
    wrong = api.post("/v1/reviews/backtest", {"review_from": 60})
    assert shape(wrong)["code"] == "validation"
    assert len(queue(api)) == 1, "nothing is written"
