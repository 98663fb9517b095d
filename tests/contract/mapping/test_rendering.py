"""Issues in the four forms that people and machines read."""

from __future__ import annotations

import json

import pytest

from middleware.contract.mapping import Issue, Place, Severity
from middleware.contract.mapping.codes import CODES
from middleware.contract.mapping.lint import render

ISSUES = [
    Issue("M001", "unknown key 'a%b'\nsecond line", Place("maps/a,b.map.yaml", 3, 5)),
    Issue("M007", "no fixtures", Place("maps/c.map.yaml"), Severity.WARNING),
]


def test_text_is_one_line_per_issue_as_compilers_write_it():
    assert render(ISSUES[1:]) == "maps/c.map.yaml: warning M007 no fixtures\n"
    assert render(ISSUES).startswith("maps/a,b.map.yaml:3:5: error M001 unknown key")
    assert render([]) == ""


def test_json_holds_every_part():
    assert json.loads(render(ISSUES, "json")) == [
        {
            "code": "M001",
            "severity": "error",
            "message": "unknown key 'a%b'\nsecond line",
            "file": "maps/a,b.map.yaml",
            "line": 3,
            "column": 5,
        },
        {
            "code": "M007",
            "severity": "warning",
            "message": "no fixtures",
            "file": "maps/c.map.yaml",
            "line": 0,
            "column": 0,
        },
    ]


def test_github_annotations_escape_what_would_end_them():
    assert render(ISSUES, "github").splitlines() == [
        "::error file=maps/a%2Cb.map.yaml,line=3,col=5,title=M001::"
        "unknown key 'a%25b'%0Asecond line",
        "::warning file=maps/c.map.yaml,line=1,col=1,title=M007::no fixtures",
    ]


def test_sarif_names_a_rule_for_every_code():
    sarif = json.loads(render(ISSUES, "sarif"))
    assert sarif["version"] == "2.1.0"
    (run,) = sarif["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(CODES)
    first, second = run["results"]
    assert rules[first["ruleIndex"]]["id"] == first["ruleId"] == "M001"
    assert (first["level"], second["level"]) == ("error", "warning")
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "maps/a%2Cb.map.yaml"},
        "region": {"startLine": 3, "startColumn": 5},
    }
    assert json.loads(render([], "sarif"))["runs"][0]["results"] == []


def test_another_form_is_refused_by_name():
    with pytest.raises(ValueError, match="there are text, json, github, sarif"):
        render([], "xml")
