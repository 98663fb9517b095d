"""Every error is a problem document that says where and what, and never too much."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from middleware.api import problems
from middleware.api.routes import health
from middleware.contract.errors import (
    Ambiguous,
    Duplicated,
    Missing,
    NotOffered,
    Permanent,
    Rejected,
    RemoteError,
    Transient,
    Unauthorised,
)
from middleware.domain import problems as domain
from middleware.flows import sync
from tests.api.conftest import Api, sent

PAGES = Path(__file__).parents[2] / "docs" / "problems"


def shape(answer: Any) -> dict[str, Any]:
    """A problem document, held to what every one of them has."""
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    problems.Problem.model_validate(body)
    assert body["status"] == answer.status_code
    assert body["type"] == f"/problems/{body['code']}"
    assert body["title"] == problems.SLUGS[body["code"]].title
    assert body["retryable"] == problems.SLUGS[body["code"]].retryable
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def test_every_wrong_place_is_named_by_its_pointer(api: Api) -> None:
    body = {
        "operation": "replacement_order",
        "complaint_id": 7,
        "request": {
            "order": "nowhere",
            "lines": [
                {"line": "1", "sku": "A", "quantity": "0"},
                {"line": "2", "sku": "B", "quantity": 1.5},
                {"line": "3", "quantity": "1"},
            ],
            "speed": "sluggish",
        },
    }
    problem = shape(api.post("/v1/actions/preview", body))
    assert problem["code"] == "validation"
    assert problem["instance"] == "/v1/actions/preview"
    places = {error["pointer"]: error for error in problem["errors"]}
    assert set(places) == {
        "/complaint_id",
        "/request/order",
        "/request/lines/0/quantity",
        "/request/lines/1/quantity",
        "/request/lines/2/sku",
        "/request/speed",
    }
    assert places["/request/lines/0/quantity"]["detail"] == "must be greater than 0"
    assert places["/request/lines/2/sku"] == {
        "pointer": "/request/lines/2/sku",
        "detail": "is required",
        "code": "missing",
    }
    assert "sluggish" not in json.dumps(problem), "what was sent is not repeated"


def test_the_operation_decides_what_a_request_holds(api: Api) -> None:
    wrong = shape(api.post("/v1/actions/preview", {"operation": "gift", "request": {}}))
    assert wrong["errors"][0]["pointer"] == "/operation"
    assert "gift" not in json.dumps(wrong)
    none = shape(api.post("/v1/actions/preview", {"request": {}}))
    assert none["errors"] == [
        {"pointer": "/operation", "detail": "is required", "code": "union_tag_not_found"}
    ]


def test_unknown_names_are_refused_with_the_nearest_that_exists(api: Api) -> None:
    message = sent()
    message["data"]["author"]["emial"] = "kim@example.com"
    message["data"]["order_number"] = "SO-1"
    problem = shape(api.post("/v1/complaints", message))
    assert (problem["status"], problem["code"]) == (400, "unknown-field")
    assert {(e["pointer"], e["detail"]) for e in problem["errors"]} == {
        ("/data/author/emial", "unknown; did you mean emails?"),
        ("/data/order_number", "unknown; did you mean order_numbers?"),
    }


def test_an_unknown_name_beside_another_mistake_is_reported_with_it(api: Api) -> None:
    message = sent(type="message.shouted")
    message["extra"] = 1
    problem = shape(api.post("/v1/complaints", message))
    assert problem["code"] == "validation"
    assert {e["pointer"] for e in problem["errors"]} == {"/type", "/extra"}


@pytest.mark.parametrize(
    ("query", "pointer", "detail"),
    [
        ("stat=open", "/query/stat", "unknown; did you mean state?"),
        ("offset=7", "/query/offset", "unknown"),
    ],
)
def test_unknown_query_parameters_are_refused(
    api: Api, query: str, pointer: str, detail: str
) -> None:
    problem = shape(api.get(f"/v1/complaints?{query}"))
    assert (problem["status"], problem["code"]) == (400, "unknown-field")
    assert problem["errors"] == [{"pointer": pointer, "detail": detail, "code": "unknown"}]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=ten", "state=angry", "cursor=x"])
def test_query_values_that_do_not_fit_are_placed(api: Api, query: str) -> None:
    problem = shape(api.get(f"/v1/complaints?{query}"))
    assert problem["code"] == "validation"
    assert problem["errors"][0]["pointer"] == "/query/" + query.partition("=")[0]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"connection": }', "line 1, column 16"),
        (b'{"a": 1,\n "a": 2}', "line 2, column 2"),
        (b"\xff\xfe", "line 1, column 1"),
        (b"[" * 70 + b"]" * 70, "nested deeper"),
        (b'{"a": NaN}', "NaN"),
    ],
)
def test_a_body_that_is_no_json_is_refused_with_the_place(
    api: Api, body: bytes, where: str
) -> None:
    headers = {"content-type": "application/json"}
    problem = shape(api.call("POST", "/v1/complaints", content=body, headers=headers))
    assert (problem["status"], problem["code"]) == (400, "malformed-body")
    assert where in problem["detail"]


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", ""])
def test_a_body_of_another_type_is_refused(api: Api, kind: str) -> None:
    body = json.dumps(sent()).encode()
    answer = api.call("POST", "/v1/complaints", content=body, headers={"content-type": kind})
    assert shape(answer)["code"] == "malformed-body"


def test_an_empty_body_is_missing(api: Api) -> None:
    problem = shape(api.post("/v1/complaints"))
    assert problem["errors"] == [{"pointer": "", "detail": "is required", "code": "missing"}]


def test_who_is_not_known_is_told_so_before_the_body_is_read(api: Api) -> None:
    answer = api.client.post("/v1/complaints", content=b"{", headers={"x-request-id": "req-12345"})
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/v2/complaints", "/v1", "/", "/v1/complaints/", "/docs"])
def test_a_route_that_is_not_there(api: Api, path: str) -> None:
    assert shape(api.get(path))["code"] == "not-found"


def test_a_method_that_a_route_does_not_take(api: Api) -> None:
    answer = api.call("DELETE", "/v1/jobs")
    assert shape(answer)["code"] == "method-not-allowed"
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize("path", ["/v1/complaints/a%00b", "/v1/people/%00/context"])
def test_a_nul_in_a_path_names_nothing(api: Api, path: str) -> None:
    assert shape(api.get(path))["code"] == "not-found"


def test_a_nul_in_a_query_is_refused(api: Api) -> None:
    problem = shape(api.get("/v1/complaints?person_id=a%00b"))
    assert problem["errors"][0]["pointer"] == "/query/person_id"


@pytest.mark.parametrize(
    "moment",
    [
        "2026-11-21",
        "2026-11-21T10:00:00",
        "1763719200",
        "0001-01-01T00:00:00+14:00",
        "2026-13-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_a_time_that_is_none_is_refused(api: Api, moment: str) -> None:
    problem = shape(api.post("/v1/complaints", sent(timestamp=moment)))
    assert [e["pointer"] for e in problem["errors"]] == ["/timestamp"]
    asked = shape(api.call("GET", "/v1/links", params={"person_id": "per_1", "as_of": moment}))
    assert [e["pointer"] for e in asked["errors"]] == ["/query/as_of"]


@pytest.mark.parametrize("quantity", ["1E+9999999", "-1", "1e3", "0x1", True, 1.5, "", "١"])
def test_a_quantity_that_is_none_is_refused(api: Api, quantity: Any) -> None:
    body = {
        "operation": "return",
        "request": {
            "order": "erp:order:1",
            "lines": [{"line": "1", "sku": "A", "quantity": quantity}],
        },
    }
    problem = shape(api.post("/v1/actions/preview", body))
    assert [e["pointer"] for e in problem["errors"]] == ["/request/lines/0/quantity"]


def test_the_request_id_is_the_callers_where_it_is_sane(api: Api) -> None:
    given = {"x-request-id": "caller-0001"}
    assert api.client.get("/version", headers=given).headers["x-request-id"] == "caller-0001"
    for strange in ("short", "a" * 65, "with blank here", "<script>alert(1)</script>"):
        answer = api.client.get("/version", headers={"x-request-id": strange})
        assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])


def test_every_answer_has_safe_headers(api: Api) -> None:
    for answer in (api.client.get("/healthz"), api.get("/nowhere"), api.get("/v1/jobs")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"


def test_a_mistake_of_ours_says_nothing_but_the_request_id(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the secret is hunter2")

    monkeypatch.setattr(health, "_parts", fail)
    answer = api.client.get("/readyz")
    problem = shape(answer)
    assert (problem["status"], problem["code"]) == (500, "unexpected")
    assert "hunter2" not in answer.text
    logged = [r for r in caplog.records if r.getMessage() == "request failed"]
    assert logged[0].request_id == problem["request_id"]  # type: ignore[attr-defined]


def test_a_database_that_is_away_is_unavailable(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise sa.exc.OperationalError("select 1", {}, Exception("connection refused"))

    monkeypatch.setattr(sync, "owe", fail)
    answer = api.post("/v1/jobs/any/runs")
    assert shape(answer)["code"] == "unavailable"
    assert answer.headers["retry-after"] == "5"


def test_who_gave_way_to_another_change_is_told_so(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DeadlockDetected(Exception):
        sqlstate = "40P01"

    def fail(*_: Any, **__: Any) -> None:
        raise sa.exc.OperationalError("update", {}, DeadlockDetected())

    monkeypatch.setattr(sync, "owe", fail)
    answer = api.post("/v1/jobs/any/runs")
    assert (shape(answer)["code"], answer.headers["retry-after"]) == ("unavailable", "1")
    assert "Send it again" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Transient("busy", retry_after=timedelta(seconds=7)), 502, "upstream-unavailable"),
        (Rejected("no", field="lines.0.sku", code="E1"), 422, "upstream-rejected"),
        (Unauthorised("no permission"), 422, "upstream-rejected"),
        (Missing("gone"), 422, "upstream-rejected"),
        (Permanent("no"), 422, "upstream-rejected"),
        (NotOffered("cannot"), 422, "not-offered"),
        (Ambiguous("who knows"), 502, "upstream-ambiguous"),
        (Duplicated("two of them"), 502, "upstream-ambiguous"),
        (RemoteError("something"), 502, "upstream-unavailable"),
    ],
)
def test_what_a_remote_did_is_told_with_its_part_in_it(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: RemoteError, status: int, code: str
) -> None:
    error.system, error.operation = "erp", "preview"

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(sync, "owe", fail)
    answer = api.post("/v1/jobs/any/runs")
    problem = shape(answer)
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["upstream"] == {
        "system": "erp",
        "operation": "preview",
        "code": error.code,
        "message": error.message,
    }
    if isinstance(error, Transient):
        assert answer.headers["retry-after"] == "7"
    if error.field:
        assert problem["errors"][0]["pointer"] == "/lines/0/sku"


def test_each_problem_has_its_page_and_says_what_the_page_says(api: Api) -> None:
    pages = {page.stem for page in PAGES.glob("*.md")} - {"README"}
    assert pages == set(problems.SLUGS)
    for slug, kind in problems.SLUGS.items():
        page = api.client.get(f"/problems/{slug}")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/markdown")
        lines = page.text.splitlines()
        assert lines[0] == f"# {slug}"
        assert lines[2] == f"**{kind.status} {kind.title}.**"
        again = "Repeating the same request may help."
        assert (again in page.text) == kind.retryable
        listed = f"| [{slug}]({slug}.md) | {kind.status} | {kind.title} |"
        assert listed in (PAGES / "README.md").read_text()
    assert shape(api.client.get("/problems/none-such"))["code"] == "not-found"


def test_the_pages_may_be_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(problems, "_folders", lambda: (tmp_path,))
    page = problems.page_of("conflict")
    assert page is not None
    assert page.startswith("# conflict")
    assert problems.page_of("../README") is None


def test_the_domains_problems_are_of_known_kinds() -> None:
    def kinds(of: type[domain.ProblemError]) -> Any:
        for kind in of.__subclasses__():
            yield kind
            yield from kinds(kind)

    for kind in kinds(domain.ProblemError):
        assert problems.SLUGS[kind.slug].status == kind.status
