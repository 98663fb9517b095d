"""`python -m middleware.sandbox.tryton [install|serve] [--home FOLDER] [--port N]`."""

from __future__ import annotations

import argparse
import contextlib
import threading
from pathlib import Path

from middleware.sandbox.tryton import TrytonServer, default_home, install


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m middleware.sandbox.tryton")
    parser.add_argument("command", choices=("install", "serve"))
    parser.add_argument("--home", type=Path, default=None, help="default: .amends/tryton")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    asked = parser.parse_args()
    home = asked.home or default_home()
    install(home, progress=lambda said: print(f"tryton: {said}", flush=True))  # noqa: T201
    if asked.command == "serve":
        with TrytonServer(home, port=asked.port) as server, contextlib.suppress(KeyboardInterrupt):
            print(f"tryton: {server.url} database {server.database}", flush=True)  # noqa: T201
            threading.Event().wait()


if __name__ == "__main__":
    main()
