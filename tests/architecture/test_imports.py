"""The arrows hold, and each contract that keeps them is awake: it breaks when violated."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = Path(sys.executable).parent / "lint-imports"

# contract, the file that sins, the line it gets
SINS = [
    ("The hub points inwards", "middleware/domain/sin.py", "import middleware.store"),
    ("The hub points inwards", "middleware/store/sin.py", "import middleware.flows"),
    ("The hub points inwards", "middleware/contract/sin.py", "import middleware.domain"),
    ("The hub points inwards", "middleware/resolution/sin.py", "import middleware.store"),
    ("The hub points inwards", "middleware/helpers/__init__.py", ""),
    (
        "An adapter sees the contract and nothing else of ours",
        "adapters/memory/sin.py",
        "import middleware.domain",
    ),
    (
        "An adapter sees the contract and nothing else of ours",
        "adapters/memory/sin.py",
        "from middleware.store import tables",
    ),
    (
        "Adapters do not know each other",
        "adapters/memory/sin.py",
        "import adapters.tryton.adapter",
    ),
    (
        "Nobody imports a concrete adapter",
        "middleware/registry.py",
        "from adapters.memory.adapter import MemoryAdapter",
    ),
    (
        "The sandbox knows nothing of ours",
        "middleware/sandbox/sin.py",
        "import middleware.contract",
    ),
    (
        "Only the composition root reads settings",
        "middleware/flows/sin.py",
        "import middleware.settings",
    ),
    ("SQL lives in the store", "middleware/flows/sin.py", "import sqlalchemy"),
    ("SQL lives in the store", "adapters/memory/sin.py", "from sqlmodel import Session"),
    ("Vendor libraries live in adapters", "middleware/flows/sin.py", "import zeep"),
    ("Vendor libraries live in adapters", "middleware/contract/sin.py", "import requests"),
    ("Vendor libraries live in adapters", "middleware/store/sin.py", "import simple_salesforce"),
    ("Models live in understanding", "middleware/flows/sin.py", "import transformers"),
    (
        "Comparing names and places lives in resolution",
        "middleware/flows/sin.py",
        "import anyascii",
    ),
    ("Engines of batch resolution live in its room", "middleware/flows/sin.py", "import duckdb"),
    (
        "Engines of batch resolution live in its room",
        "middleware/resolution/sin.py",
        "from splink import Linker",
    ),
    ("The durable engine lives in one place", "middleware/store/sin.py", "from dbos import DBOS"),
    ("The inside is plain Python and pydantic", "middleware/domain/sin.py", "import fastapi"),
    ("The inside is plain Python and pydantic", "middleware/contract/sin.py", "import httpx2"),
    ("The inside is plain Python and pydantic", "middleware/domain/sin.py", "import requests"),
]


def contracts() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]]


def lint(folder: Path) -> tuple[int, str]:
    run = subprocess.run(
        [LINT, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    return run.returncode, run.stdout + run.stderr


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the rooms, to sin in."""
    copy = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package in ("middleware", "adapters"):
        shutil.copytree(
            ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__", "*.wsdl")
        )
    return copy


def test_the_arrows_hold(house: Path) -> None:
    code, told = lint(house)
    assert code == 0, told
    assert len(re.findall(r" KEPT", told)) == len(contracts())


def test_every_contract_is_tried() -> None:
    assert {name for name, _, _ in SINS} == set(contracts())


@pytest.mark.parametrize(
    ("contract", "place", "line"), SINS, ids=[f"{place}-{line}" for _, place, line in SINS]
)
def test_a_sin_breaks_its_contract(house: Path, contract: str, place: str, line: str) -> None:
    path = house / place
    before = path.read_text() if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{before or ''}\n{line}\n")
    try:
        code, told = lint(house)
    finally:
        if before is not None:
            path.write_text(before)
        elif path.name == "__init__.py":
            shutil.rmtree(path.parent)
        else:
            path.unlink()
    assert code == 1, told
    assert re.search(rf"{re.escape(contract)} BROKEN", told), told
