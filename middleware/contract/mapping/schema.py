"""The file format as JSON Schema, for editors; made from the same vocabulary as the checks."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

from middleware.contract.mapping.vocabulary import DEFINITIONS, FILE

NAME = "mapping.schema.json"
COMMENT = "# yaml-language-server: $schema="
"""How the first line of a mapping file names the schema, by its relative path."""


def json_schema() -> dict[str, Any]:
    """The schema of a mapping file, JSON Schema draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Amends mapping file",
        "description": "Ours: theirs, one line per field. The guide is docs/mapping.md.",
        **FILE.schema(),
        "$defs": {name: shape.schema() for name, shape in DEFINITIONS.items()},
    }


def written() -> str:
    """The schema as it stands in `mappings/mapping.schema.json`."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> None:
    """Write the schema to the given file: `python -m middleware.contract.mapping.schema FILE`."""
    (target,) = arguments
    pathlib.Path(target).write_text(written(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
