"""Every adapter has its files, its line, and a quality file that claims no more than is proven."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from ruamel.yaml import YAML

from adapters import ADAPTERS
from middleware.contract.canonical import Kind
from middleware.contract.capabilities import CAPABILITIES, capabilities_of
from middleware.contract.paths import ConfigPath
from middleware.registry import adapter_class, capability_table
from tests.conformance.peer import Fault
from tests.conformance.peers import Found, exceptions_of, found, reads_of

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent.name for path in (ROOT / "adapters").glob("*/__init__.py"))
FILES = ("__init__.py", "adapter.py", "settings.py", "quality.yaml")


@dataclass(frozen=True)
class Rule:
    """One line of a quality file; `proof` are the shared tests that decide it, where some do.

    With `partly` they prove only a part of it: they can refute *done*, and not demand it.
    """

    name: str
    proof: Callable[[Found], Iterable[str]] = lambda _: ()
    partly: bool = False


def _faults(*faults: Fault) -> Callable[[Found], Iterable[str]]:
    def names(peer: Found) -> Iterable[str]:
        for fault in faults:
            for operation in peer.operations:
                yield f"test_write_under_fault[{peer.name}-{operation}-{fault}]"
            for read in reads_of(peer):
                if fault is not Fault.DUPLICATE:
                    yield f"test_read_under_fault[{peer.name}-{read}-{fault}]"

    return names


def _writes(*tests: str) -> Callable[[Found], Iterable[str]]:
    return lambda peer: [f"{test}[{peer.name}-{op}]" for test in tests for op in peer.operations]


def _changes(*tests: str) -> Callable[[Found], Iterable[str]]:
    return lambda peer: [
        f"{test}[{peer.name}-{kind}]" for test in tests for kind in peer.change_kinds
    ]


RULES = (
    Rule(
        "check-names-missing-permissions",
        lambda peer: [f"test_check_names_what_is_wrong_with_the_credentials[{peer.name}]"],
        partly=True,  # the suite cannot take a permission away, only the credentials
    ),
    Rule("timeouts-set", _faults(Fault.SLOW)),
    Rule(
        "error-table-covers-vendor-codes",
        _faults(Fault.THROTTLED, Fault.UNAVAILABLE, Fault.MASKED, Fault.UNAUTHORISED),
    ),
    Rule(
        "key-stamped-and-found", _writes("test_create_then_find", "test_another_process_finds_it")
    ),
    Rule("duplicate-on-key-is-found", _faults(Fault.DUPLICATE)),
    Rule("pages-not-lists", _changes("test_pages_end_and_skip_nothing")),
    Rule("cursor-resumes", _changes("test_a_changed_record_appears_after_a_saved_cursor")),
    Rule("deletions-known-or-declared"),
    Rule("secrets-redacted", lambda peer: [f"test_read[{peer.name}-{r}]" for r in reads_of(peer)]),
    Rule("payload-provenance"),
    Rule("mapping-round-trip"),
    Rule(
        "strict-types",
        lambda peer: [
            f"test_methods_look_like_the_protocols[{peer.name}]",
            f"test_unknown_settings_are_refused[{peer.name}]",
        ],
    ),
    Rule("credentials-documented"),
    Rule("limits-documented"),
)


def claims_of(name: str) -> dict[str, str]:
    path = ROOT / "adapters" / name / "quality.yaml"
    claims = YAML(typ="safe").load(path.read_text())
    assert isinstance(claims, dict)
    return claims


def contradiction(rule: Rule, claim: str, peer: Found) -> str | None:
    """What the suite has to say against a claim; None if it has nothing."""
    tests = list(rule.proof(peer))
    excepted = {
        test: exception.kind
        for test in tests
        for exception in exceptions_of(peer.name)
        if exception.matches(test)
    }
    if not tests:
        return None
    if "not_yet" in excepted.values():
        return None if claim == "todo" else "exceptions.yaml says not_yet, so this is todo"
    if len(excepted) == len(tests):
        return None if claim.startswith("exempt") else "every test of it is excepted: exempt"
    if claim == "done" or rule.partly:
        return None
    return "the suite proves it, so this is done"


def test_every_folder_has_its_line() -> None:
    assert sorted(ADAPTERS) == FOLDERS
    for name, path in ADAPTERS.items():
        assert path.startswith(f"adapters.{name}.adapter:")


@pytest.mark.parametrize("name", FOLDERS)
class TestAdapter:
    def test_it_has_its_files(self, name: str) -> None:
        missing = [file for file in FILES if not (ROOT / "adapters" / name / file).exists()]
        assert not missing
        beside = ROOT / "tests" / "adapters" / name
        assert (beside / "peer.py").exists(), "the conformance suite needs a peer"

    def test_the_class_is_what_its_line_says(self, name: str) -> None:
        kind = adapter_class(name)
        assert kind.system == name
        # A generic adapter can do what its bindings say; it has a subclass for each capability.
        assert capabilities_of(kind) or any(map(capabilities_of, kind.__subclasses__()))
        assert kind.__doc__, "say in one sentence what it speaks to"
        if hasattr(kind, "change_kinds"):
            assert all(isinstance(changing, Kind) for changing in kind.change_kinds)

    def test_its_settings_forbid_typos(self, name: str) -> None:
        assert adapter_class(name).Settings.model_config.get("extra") == "forbid"

    def test_importing_the_package_imports_no_vendor(self, name: str) -> None:
        """`adapters/<name>/__init__.py` holds a docstring, so that naming it costs nothing."""
        tree = ast.parse((ROOT / "adapters" / name / "__init__.py").read_text())
        assert ast.get_docstring(tree)
        assert len(tree.body) == 1

    def test_it_neither_retries_nor_sleeps_nor_prints(self, name: str) -> None:
        """The hub has the clock. Only the memory adapter's remote, which is no adapter, sleeps."""
        for path in (ROOT / "adapters" / name).rglob("*.py"):
            if path.name == "remote.py" and name == "memory":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                imported = (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [f"{node.module}.{alias.name}" for alias in node.names]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
                banned = {"time.sleep", "tenacity", "backoff", "sched", "sqlite3", "shelve"}
                assert not banned.intersection(imported), f"{path.name}: {imported}"
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    assert called not in {"time.sleep", "sleep", "print"}, f"{path.name}: {called}"

    def test_its_quality_file_has_the_rules(self, name: str) -> None:
        claims = claims_of(name)
        assert list(claims) == [rule.name for rule in RULES], "all of them, in this order"
        for rule, claim in claims.items():
            known = re.fullmatch(r"done|todo|exempt: \S.{9,}", claim)
            assert known, f"{rule}: {claim!r} is none of done, todo, exempt: why"

    def test_its_claims_are_not_contradicted(self, name: str) -> None:
        peer = next((one for one in found() if one.name == name), None)
        assert peer is not None
        assert not peer.problem, peer.problem
        claims = claims_of(name)
        wrong = {rule.name: contradiction(rule, claims[rule.name], peer) for rule in RULES}
        assert not {name: why for name, why in wrong.items() if why}


class TestContradictions:
    """The judge itself, on the memory adapter's peer."""

    rule = next(rule for rule in RULES if rule.name == "cursor-resumes")
    memory = next(one for one in found() if one.name == "memory")

    def with_exceptions(self, monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str]) -> None:
        from tests.conformance.peers import Excepted

        made = [
            Excepted.model_validate({"test": test, "kind": kind, "reason": "because of the test"})
            for test, kind in entries
        ]
        monkeypatch.setattr("tests.architecture.test_adapters.exceptions_of", lambda _: made)

    def test_what_is_proven_is_done(self) -> None:
        assert contradiction(self.rule, "done", self.memory) is None
        assert contradiction(self.rule, "todo", self.memory)
        assert contradiction(self.rule, "exempt: too hard", self.memory)

    def test_what_is_not_yet_is_todo(self, monkeypatch: pytest.MonkeyPatch) -> None:
        test = "test_a_changed_record_appears_after_a_saved_cursor[memory-order]"
        self.with_exceptions(monkeypatch, (test, "not_yet"))
        assert contradiction(self.rule, "todo", self.memory) is None
        assert contradiction(self.rule, "done", self.memory)

    def test_what_is_not_offered_at_all_is_exempt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.with_exceptions(monkeypatch, ("test_a_changed_record_appears_*", "not_offered"))
        assert contradiction(self.rule, "exempt: no feed", self.memory) is None
        assert contradiction(self.rule, "done", self.memory)


def test_the_table_names_every_adapter_and_capability() -> None:
    table = capability_table()
    head, _, *rows = table.splitlines()
    assert [cell.strip() for cell in head.split("|")[2:-1]] == sorted(ADAPTERS)
    assert [row.split("`")[1] for row in rows] == [kind.__name__ for kind in CAPABILITIES]
    for column, name in enumerate(sorted(ADAPTERS)):
        marked = [row.split("`")[1] for row in rows if row.split("|")[column + 2].strip() == "✓"]
        assert marked == [kind.__name__ for kind in capabilities_of(adapter_class(name))]


def test_the_readme_shows_the_table() -> None:
    readme = (ROOT / "README.md").read_text()
    begin, end = "<!-- capabilities -->\n", "<!-- /capabilities -->"
    shown = readme.partition(begin)[2].partition(end)[0]
    assert shown.strip() == capability_table().strip(), (
        "put the output of `python -c 'from middleware.registry import capability_table; "
        "print(capability_table())'` between the markers"
    )


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_its_files_begin_at_the_configurations_folder(name: str) -> None:
    """A setting that names a file or folder is a `ConfigPath`, and `open` says where it begins."""
    for field, info in adapter_class(name).Settings.model_fields.items():
        types = _parts(info.rebuild_annotation())
        if Path in types or re.search(r"_(file|dir|root|path)$", field):
            assert ConfigPath in types, f"make {field} a ConfigPath"
    source = (ROOT / "adapters" / name / "adapter.py").read_text()
    assert "connection.settings_as(" in source
    assert source.count("connection.settings") == source.count("connection.settings_as(")


def _parts(annotation: Any) -> list[Any]:
    return [annotation, *(part for inner in get_args(annotation) for part in _parts(inner))]
