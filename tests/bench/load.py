"""Load from a process of its own: requests over so many connections, each answered before the next.

`python -m tests.bench.load PORT CONNECTIONS SECONDS FILE` sends the requests of the file, one a
line as base64, in their order; a file that runs out starts anew only with `--repeat`. Prints one
JSON object: how many were answered 2xx, how many otherwise, and how long each took.
"""

from __future__ import annotations

import base64
import json
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """One round: `taken` are the seconds that each request took, in no order."""

    ok: int
    failed: int
    seconds: float
    taken: tuple[float, ...]
    size: int = 0
    """Bytes of the last answer."""

    @property
    def per_second(self) -> float:
        return self.ok / self.seconds


def percentile(taken: Sequence[float], share: float) -> float:
    """The smallest time that this share of the requests did not exceed."""
    ordered = sorted(taken)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.began = 0.0
        self.buffer = b""

    def send(self, request: bytes) -> None:
        self.began = time.perf_counter()
        self.buffer = b""
        self.socket.sendall(request)

    def answered(self) -> int | None:
        """Read what is there; the status once the answer is complete."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server hung up")
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return None
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return int(head[9:12]) if len(body) >= length else None


def hold(port: int, connections: int, seconds: float, requests: Iterator[bytes]) -> Measured:
    """Keep every connection busy until the time is over or the requests are used up."""
    chooser = selectors.DefaultSelector()
    taken: list[float] = []
    failed = 0
    began = time.perf_counter()
    end = began + seconds
    busy = 0
    for _ in range(connections):
        connection = _Connection(port)
        request = next(requests, None)
        if request is None:
            break
        connection.send(request)
        chooser.register(connection.socket, selectors.EVENT_READ, connection)
        busy += 1
    while busy:
        for key, _ in chooser.select(timeout=30):
            connection = key.data
            status = connection.answered()
            if status is None:
                continue
            now = time.perf_counter()
            if 200 <= status < 300:
                taken.append(now - connection.began)
            else:
                failed += 1
            request = next(requests, None) if now < end else None
            if request is None:
                chooser.unregister(connection.socket)
                connection.socket.close()
                busy -= 1
            else:
                connection.send(request)
    return Measured(len(taken), failed, time.perf_counter() - began, tuple(taken))


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """The bytes of one request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def measure(
    port: int,
    requests: Iterable[bytes],
    folder: Path,
    *,
    connections: int,
    seconds: float,
    repeat: bool = False,
) -> Measured:
    """One round, held by another process."""
    file = folder / "requests"
    file.write_bytes(b"\n".join(base64.b64encode(one) for one in requests))
    command = [sys.executable, "-m", "tests.bench.load", str(port), str(connections)]
    command += [str(seconds), str(file), *(["--repeat"] if repeat else [])]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, check=True
    )
    answer = json.loads(done.stdout)
    return Measured(**{**answer, "taken": tuple(answer["taken"])})


Asked = tuple[int, bytes]
"""A port, and the request that is sent there."""


def alternate(asked: Sequence[Asked], folder: Path, *, pairs: int) -> list[Measured]:
    """Ask several servers in turn, one request after the other, from another process."""
    file = folder / "asked"
    lines = [f"{port} {base64.b64encode(one).decode()}" for port, one in asked]
    file.write_text("\n".join(lines))
    command = [sys.executable, "-m", "tests.bench.load", "--in-turn", str(pairs), str(file)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, check=True
    )
    return [Measured(**{**a, "taken": tuple(a["taken"])}) for a in json.loads(done.stdout)]


def in_turn(pairs: str, file: str) -> None:
    asked = [line.split() for line in Path(file).read_text().splitlines()]
    connections = [_Connection(int(port)) for port, _ in asked]
    requests = [base64.b64decode(one) for _, one in asked]
    taken: list[list[float]] = [[] for _ in asked]
    failed = [0] * len(asked)
    sizes = [0] * len(asked)
    began = time.perf_counter()
    for _ in range(int(pairs)):
        for place, (connection, one) in enumerate(zip(connections, requests, strict=True)):
            connection.send(one)
            while (status := connection.answered()) is None:
                pass
            if 200 <= status < 300:
                taken[place].append(time.perf_counter() - connection.began)
            else:
                failed[place] += 1
            sizes[place] = len(connection.buffer)
    seconds = time.perf_counter() - began
    measured = [
        Measured(len(t), f, seconds, tuple(t), size)
        for t, f, size in zip(taken, failed, sizes, strict=True)
    ]
    print(json.dumps([vars(one) for one in measured]))


def main(port: str, connections: str, seconds: str, file: str, *flags: str) -> None:
    requests = [base64.b64decode(line) for line in Path(file).read_bytes().splitlines()]
    rest = cycle(requests) if "--repeat" in flags else iter(requests)
    measured = hold(int(port), int(connections), float(seconds), rest)
    print(json.dumps(vars(measured)))


if __name__ == "__main__":
    if sys.argv[1] == "--in-turn":
        in_turn(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
