"""Issues as text, JSON, GitHub annotations or SARIF."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable
from urllib.parse import quote

from middleware.contract.mapping.codes import CODES
from middleware.contract.mapping.issues import Issue


def render(issues: Iterable[Issue], format: str = "text") -> str:  # noqa: A002
    """The issues as `text`, `json`, `github` annotations or `sarif`, ending in a line's end.

    Without issues the text and the annotations are empty. Raises ValueError for another form.
    """
    writers = {"text": _as_text, "json": _as_json, "github": _as_github, "sarif": _as_sarif}
    if format not in writers:
        raise ValueError(f"no format {format!r}; there are {', '.join(writers)}")
    written = writers[format](list(issues))
    return written + "\n" if written else ""


def _as_text(issues: list[Issue]) -> str:
    return "\n".join(map(str, issues))


def _as_json(issues: list[Issue]) -> str:
    return json.dumps(
        [
            {
                "code": issue.code,
                "severity": issue.severity,
                "message": issue.message,
                "file": issue.place.file,
                "line": issue.place.line,
                "column": issue.place.column,
            }
            for issue in issues
        ],
        indent=2,
        ensure_ascii=False,
    )


def _escaped(value: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        value = value.replace(character, f"%{ord(character):02X}")
    return value


def _as_github(issues: list[Issue]) -> str:
    """Workflow commands, one a line."""
    return "\n".join(
        f"::{issue.severity} file={_escaped(issue.place.file, ':,')},"
        f"line={max(1, issue.place.line)},col={max(1, issue.place.column)},"
        f"title={issue.code}::{_escaped(issue.message)}"
        for issue in issues
    )


def _as_sarif(issues: list[Issue]) -> str:
    """SARIF 2.1.0, with every code as a rule; adapters' own codes explain themselves."""
    rules = [
        {
            "id": code.code,
            "shortDescription": {"text": code.meaning},
            "help": {"text": code.remedy},
            "defaultConfiguration": {"level": code.severity.value},
        }
        for code in CODES.values()
    ]
    more = sorted({issue.code for issue in issues} - set(CODES))
    rules += [{"id": code} for code in more]
    order = [*CODES, *more]
    results = [
        {
            "ruleId": issue.code,
            "ruleIndex": order.index(issue.code),
            "level": issue.severity.value,
            "message": {"text": issue.message},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {
                            "uri": quote(pathlib.PurePath(issue.place.file).as_posix())
                        },
                        "region": {
                            "startLine": max(1, issue.place.line),
                            "startColumn": max(1, issue.place.column),
                        },
                    }
                }
            ],
        }
        for issue in issues
    ]
    run = {
        "tool": {"driver": {"name": "amends map lint", "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2)
