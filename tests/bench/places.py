"""Where a benchmark runs: databases, servers in processes of their own, and the machine itself."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2

from tests import databases
from tests.chaos.hubs import Hub, Times, prepare, write_settings
from tests.chaos.wires import free_port

ROOT = Path(__file__).parents[2]


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a migrated database of this kind."""
    url = databases.migrated(kind, folder)
    try:
        yield url
    finally:
        databases.drop(url)


@contextmanager
def empty_database(kind: str, folder: Path) -> Iterator[str]:
    url = databases.empty(kind, folder)
    try:
        yield url
    finally:
        databases.drop(url)


@contextmanager
def hub(folder: Path, url: str, *arguments: str, more: str = "") -> Iterator[tuple[Hub, str]]:
    """`amends serve` over a database; answers it and an API key."""
    config = write_settings(
        folder, database_url=url, remotes=None, times=Times(lease_s=15), more=more
    )
    text = config.read_text().replace('log_level = "WARNING"', 'log_level = "INFO"')
    config.write_text(text)
    key = prepare(config)
    made = Hub(config, "hub", arguments=arguments)
    made.start()
    try:
        made.ready()
        yield made, key
    finally:
        made.close()


@contextmanager
def bare(folder: Path, url: str, kind: str) -> Iterator[int]:
    """The bare endpoint over a database; answers its port."""
    port = free_port()
    log = (folder / f"bare-{kind}.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bare", str(port), url, kind],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    try:
        _answers(port, process)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _answers(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        with suppress(httpx2.HTTPError):
            httpx2.get(f"http://127.0.0.1:{port}/openapi.json", trust_env=False)
            return
        time.sleep(0.05)
    raise RuntimeError("the bare endpoint does not answer")


def syncs_per_second(folder: Path, *, seconds: float = 1.0) -> float:
    """How often this disk makes a block of 4 KiB last."""
    block = os.urandom(4096)
    descriptor = os.open(folder / "sync", os.O_CREAT | os.O_WRONLY)
    try:
        count = 0
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            os.pwrite(descriptor, block, 4096 * (count % 64))
            os.fdatasync(descriptor)
            count += 1
        return count / (time.perf_counter() - began)
    finally:
        os.close(descriptor)


def machine(folder: Path) -> dict[str, Any]:
    """What the figures of this run depend on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load_1m": round(os.getloadavg()[0], 1),
        "fdatasync_per_s": round(syncs_per_second(folder)),
        "python": platform.python_version(),
    }


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
