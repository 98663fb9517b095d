"""Run Tryton's server until standard input closes; runs in Tryton's own environment.

usage: serve.py SCRIPT [ARGUMENTS]

A server must not outlive whoever started it, not even after a kill: the pipe closes then too.
"""

import os
import runpy
import sys
import threading


def _leave_with_the_pipe() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_leave_with_the_pipe, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
