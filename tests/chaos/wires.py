"""The lines to the remotes, and what befalls lines: TCP proxies that break in the middle of bytes.

They run in the harness. What a remote does wrong is decided in the remote; here only the way to it
is bad: reset after so many bytes of a request or an answer, silent without being closed, refusing
everybody for a while, or so slow that nobody waits.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

CHANCES: Mapping[str, float] = {
    "reset_request": 0.03,
    "reset_answer": 0.04,
    "silent_request": 0.02,
    "silent_answer": 0.03,
    "drip_answer": 0.03,
}
"""How likely a new connection is to suffer each, once so many bytes went that way."""
FURTHEST = 6000
"""Within how many bytes it happens: a TLS handshake, a few requests, or many of them."""
UP_S = (10.0, 30.0)
DOWN_S = (0.5, 2.5)
"""Between which times a line is up, and refuses everybody."""
DRIP = (16, 0.1)
"""So many bytes every so many seconds."""


def free_port() -> int:
    """A port that nobody listens on, below those that outgoing connections get.

    A client that dials a port of its own range while nobody listens there may reach itself, and
    then whoever listened there cannot come back.
    """
    for _ in range(200):
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


@dataclass
class Fate:
    """What happens to one connection."""

    name: str
    after: int

    def strikes(self, way: str) -> bool:
        return self.name.endswith(way)


class Wires:
    """One proxy in front of each remote, by the remote's port; `ports` says where they listen."""

    def __init__(self, remotes: Mapping[str, int], *, seed: int) -> None:
        self.ports = {remote: free_port() for remote in remotes}
        self._to = dict(remotes)
        self._dice = random.Random(seed)
        self._bad = False
        self._struck: Counter[str] = Counter()
        self._servers: dict[str, asyncio.Server] = {}
        self._open: set[asyncio.StreamWriter] = set()
        self._seen: WeakSet[asyncio.StreamWriter] = WeakSet()
        self._loop = asyncio.new_event_loop()
        self._tasks: list[asyncio.Task[None]] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="wires", daemon=True)
        self._thread.start()
        for remote in self._to:
            self._wait(self._listen(remote))

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    def break_down(self) -> None:
        """Begin to strike, each remote in turn also with refused connections."""
        self._wait(self._begin())

    def mend(self) -> None:
        """Strike no more; connections that were left silent are closed."""
        self._wait(self._end())

    @property
    def struck(self) -> dict[str, int]:
        """How often each fault happened."""
        return {f"tcp:{name}": count for name, count in self._struck.items()}

    def close(self) -> None:
        self._wait(self._end())
        self._wait(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    # Everything below runs in the loop.

    async def _begin(self) -> None:
        if not self._bad:
            self._bad = True
            self._tasks = [asyncio.create_task(self._ups_and_downs(r)) for r in self._to]

    async def _end(self) -> None:
        self._bad = False
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for remote in self._to:
            if remote not in self._servers:
                await self._listen(remote)
        for writer in list(self._open):
            writer.transport.abort()

    async def _shut(self) -> None:
        for server in self._servers.values():
            server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in list(self._seen):
            writer.transport.abort()
        await asyncio.sleep(0.05)

    async def _listen(self, remote: str) -> None:
        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._meet(remote, reader, writer)

        self._servers[remote] = await asyncio.start_server(
            meet, "127.0.0.1", self.ports[remote], reuse_address=True, backlog=256
        )

    async def _ups_and_downs(self, remote: str) -> None:
        while True:
            await asyncio.sleep(self._dice.uniform(*UP_S))
            server = self._servers.pop(remote)
            server.close()
            self._struck["refused"] += 1
            await asyncio.sleep(self._dice.uniform(*DOWN_S))
            await self._listen(remote)

    def _fate(self) -> Fate | None:
        point = self._dice.random()
        for name, weight in CHANCES.items():
            if point < weight:
                return Fate(name, self._dice.randrange(1, FURTHEST))
            point -= weight
        return None

    async def _meet(
        self, remote: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        fate = self._fate() if self._bad else None
        self._open.add(writer)
        self._seen.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            back, there = await asyncio.open_connection("127.0.0.1", self._to[remote])
            self._seen.add(there)
            ways = [
                asyncio.create_task(self._carry(reader, there, writer, fate, "request")),
                asyncio.create_task(self._carry(back, writer, writer, fate, "answer")),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            self._open.discard(writer)
            # What the remote has not got in full is not a request: it must not arrive later.
            if there is not None:
                there.transport.abort()
            with suppress(OSError):
                writer.close()

    async def _carry(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        fate: Fate | None,
        way: str,
    ) -> None:
        """Pass bytes on in one direction until an end closes, or its fate strikes."""
        passed, slow = 0, False
        with suppress(OSError):
            while part := await source.read(65536):
                due = fate is not None and fate.strikes(way) and passed + len(part) >= fate.after
                if due and not slow:
                    assert fate is not None
                    self._struck[fate.name] += 1
                    before = max(fate.after - passed, 0)
                    target.write(part[:before])
                    await target.drain()
                    part = part[before:]
                    if fate.name.startswith("reset"):
                        _reset(client)
                        return
                    if fate.name.startswith("silent"):
                        await self._swallow(source, hold=way == "answer")
                        return
                    slow = True
                passed += len(part)
                if slow:
                    for start in range(0, len(part), DRIP[0]):
                        target.write(part[start : start + DRIP[0]])
                        await target.drain()
                        await asyncio.sleep(DRIP[1])
                else:
                    target.write(part)
                    await target.drain()

    async def _swallow(self, source: asyncio.StreamReader, *, hold: bool) -> None:
        """Read on and pass nothing: the line is there, and nobody is at its end."""
        while await source.read(65536):
            pass
        if hold:
            # The remote has hung up; its client is not to notice.
            await asyncio.sleep(3600)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, as a firewall or a crashed host does."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
