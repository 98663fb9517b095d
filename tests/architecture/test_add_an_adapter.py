"""The adapter that docs/add-an-adapter.md builds passes the suite, as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.test_adapters import RULES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-an-adapter.md").read_text()
BLOCK = re.compile(
    r'^```\w+ title="(?P<path>[^"]+)"(?: add="(?P<add>\w+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what an adapter needs, with the page's files written into it."""
    copy = tmp_path_factory.mktemp("afternoon")
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / "middleware").symlink_to(ROOT / "middleware")
    for folder in ("adapters", "mappings", "tests/conformance", "tests/architecture"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=skip)
    shutil.copy(ROOT / "tests" / "__init__.py", copy / "tests")
    (copy / "tests" / "adapters" / "memory").mkdir(parents=True)
    for name in ("__init__.py", "memory/__init__.py", "memory/peer.py"):
        shutil.copy(ROOT / "tests" / "adapters" / name, copy / "tests" / "adapters" / name)
    for block in BLOCK.finditer(PAGE):
        path = copy / block["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if block["add"]:
            head, brace, tail = path.read_text().partition("\n}\n")
            assert f"{block['add']}: dict[str, str] = {{" in head
            path.write_text(f"{head}\n{block['text'].rstrip()}{brace}{tail}")
        else:
            path.write_text(block["text"])
    return copy


def run(house: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=house,
        env={**os.environ, "PYTHONPATH": str(house), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=250,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    return told


def test_the_page_has_every_file() -> None:
    paths = [block["path"] for block in BLOCK.finditer(PAGE)]
    for needed in ("settings.py", "client.py", "adapter.py", "quality.yaml", "__init__.py"):
        assert f"adapters/tickety/{needed}" in paths
    assert "tests/adapters/tickety/peer.py" in paths


def test_the_page_explains_every_rule() -> None:
    assert re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE) == [rule.name for rule in RULES]


def test_its_adapter_passes_the_suite(house: Path) -> None:
    told = run(
        house,
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "tickety",
        "tests/conformance",
        "tests/architecture/test_adapters.py",
    )
    passed = re.search(r"(\d+) passed", told)
    assert passed, told
    assert int(passed[1]) > 60, told
    assert "xfailed" not in told


def test_its_code_is_in_the_house_style(house: Path) -> None:
    ours = ["adapters/tickety", "tests/adapters/tickety"]
    run(house, "ruff", "check", "--no-cache", *ours)
    run(house, "ruff", "format", "--no-cache", "--check", *ours)
