"""Loads the payloads beside this file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "payloads"
NAMES = sorted(p.relative_to(FOLDER).with_suffix("").as_posix() for p in FOLDER.rglob("*.json"))


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_bytes())
