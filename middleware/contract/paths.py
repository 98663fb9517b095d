"""Paths in a connection's settings: relative to the configuration's folder, not to the process's.

A field of an adapter's `Settings` that names a file or folder is a `ConfigPath`; the settings are
then made with `Connection.settings_as`, which knows the folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

FOLDER = "folder"
"""Under which name the folder stands in pydantic's validation context."""


def in_folder(path: Path, info: ValidationInfo) -> Path:
    """The path from the configuration's folder on; an absolute one stays what it is."""
    folder = (info.context or {}).get(FOLDER)
    return path if folder is None else folder / path


ConfigPath = Annotated[Path, AfterValidator(in_folder)]
"""A file or folder that an operator names: relative to the folder of `amends.toml`."""
