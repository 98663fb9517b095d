"""The command as its users run it: a process, a folder, what it prints and how it ends.

Most of a short command's time is importing. One process has imported already and forks for each
command, which from there on is a process of its own.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_FORKS = """
import json, os, sys, traceback
from middleware.cli import main

def run(asked):
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(asked["printed"], start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    sys.argv = ["amends", *asked["arguments"]]
    main()

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run(json.loads(line))
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""

_forker: list[subprocess.Popen[str]] = []


def amends(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, with nothing of ours in its environment."""
    forker = _forker[0] if _forker else _started()
    assert forker.stdin is not None
    assert forker.stdout is not None
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AMENDS_")}
    with tempfile.TemporaryDirectory() as printed:
        files = [Path(printed, name) for name in ("out", "err")]
        asked = {
            "folder": str(folder),
            "environment": kept | {"COLUMNS": "80"},
            "printed": [str(file) for file in files],
            "arguments": arguments,
        }
        forker.stdin.write(json.dumps(asked) + "\n")
        forker.stdin.flush()
        code = forker.stdout.readline()
        assert code, f"the command's parent has died of {arguments}"
        return subprocess.CompletedProcess(
            arguments, int(code), *(file.read_text() for file in files)
        )


def _started() -> subprocess.Popen[str]:
    forker = subprocess.Popen(
        [sys.executable, "-c", _FORKS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(forker.kill)
    _forker.append(forker)
    return forker
