"""One thread that understands texts in small batches, so that nobody else has to wait for it.

Requests wait in a bounded queue. Whoever waits longer than the time allowed, or finds the queue
full, gets what the rules alone say, marked `degraded`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitedTooLong
from dataclasses import dataclass
from typing import Final

from middleware.domain.understanding import Understanding
from middleware.understanding.model import ModelRefusedError
from middleware.understanding.rules import Rules
from middleware.understanding.trained import Asked, Trained, judged_by_rules

log = logging.getLogger(__name__)

_END: Final = None


BREATH_S = 5e-5


def _let_others_run() -> None:
    """Give the interpreter away for a moment.

    Who waits for it otherwise gets it after five milliseconds, and an event loop that wakes up
    waits for it several times.
    """
    time.sleep(BREATH_S)


@dataclass(frozen=True)
class PoolLimits:
    """How much waits, how long, and how much is judged together."""

    batch: int = 16
    """Texts that are judged together at most."""
    batch_wait_s: float = 0.01
    """How long the first of a batch waits for others."""
    queue: int = 2000
    """Texts that may wait; one more is judged by the rules."""
    timeout_s: float = 2.0
    """How long an asker waits before the rules answer."""


class Pooled:
    """An `Understands` that asks a `Trained` in a thread of its own.

    `load` makes the `Trained`, once, when it is first needed. Where it raises ModelRefusedError
    the rules judge everything, marked `degraded`, and `refused` says why. `close` ends the thread.
    """

    def __init__(
        self, rules: Rules, load: Callable[[], Trained], limits: PoolLimits | None = None
    ) -> None:
        self.rules = rules
        self.limits = limits or PoolLimits()
        self.refused: str | None = None
        self._load = load
        self._loaded: Trained | None = None
        self._loading = threading.Lock()
        # Its `put` takes no lock that the thread could hold while it waits for its turn to run.
        self._queue: queue.SimpleQueue[tuple[Asked, Future[Understanding]] | None] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    def trained(self) -> Trained | None:
        """The model, loaded at the first call; None where it was refused."""
        with self._loading:
            if self._loaded is None and self.refused is None:
                try:
                    self._loaded = self._load()
                except ModelRefusedError as error:
                    self.refused = str(error)
                    log.error("model refused", extra={"why": self.refused})  # noqa: TRY400
            return self._loaded

    def understand(
        self,
        text: str,
        *,
        language: str | None = None,
        products: Mapping[str, str] | None = None,
        order_patterns: Sequence[str] = (),
    ) -> Understanding:
        """Judge one text, by the rules where the model does not answer in time.

        Raises `PatternRefused` as the rules do.
        """
        asked = Asked(text, language, products, tuple(order_patterns))
        if self.trained() is None:
            return judged_by_rules(self.rules, asked, degraded=True)
        future = self.submit(asked)
        try:
            return future.result(self.limits.timeout_s)
        except WaitedTooLong:
            future.cancel()
            log.warning("understood by rules", extra={"why": "the model did not answer in time"})
            return judged_by_rules(self.rules, asked, degraded=True)

    def submit(self, asked: Asked) -> Future[Understanding]:
        """Hand in a text; what it becomes is in the future, at once where the queue is full."""
        self._begin()
        future: Future[Understanding] = Future()
        if self._queue.qsize() < self.limits.queue:
            self._queue.put((asked, future))
        else:
            log.warning("understood by rules", extra={"why": "too many texts are waiting"})
            future.set_result(judged_by_rules(self.rules, asked, degraded=True))
        return future

    def close(self) -> None:
        """End the thread; what waits is judged first."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(_END)
            thread.join()

    def _begin(self) -> None:
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="understand", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while (first := self._queue.get()) is not _END:
            batch, ended = self._batch(first)
            waiting = [(a, f) for a, f in batch if f.set_running_or_notify_cancel()]
            self._judge(waiting)
            if ended:
                return

    def _batch(
        self, first: tuple[Asked, Future[Understanding]]
    ) -> tuple[list[tuple[Asked, Future[Understanding]]], bool]:
        batch = [first]
        until = time.monotonic() + self.limits.batch_wait_s
        while len(batch) < self.limits.batch:
            try:
                item = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return batch, False
            if item is _END:
                return batch, True
            batch.append(item)
        return batch, False

    def _judge(self, waiting: Sequence[tuple[Asked, Future[Understanding]]]) -> None:
        try:
            made = self._understood([asked for asked, _ in waiting])
        except Exception:
            # One text must not take the others of its batch with it.
            for asked, future in waiting:
                self._judge_alone(asked, future)
            return
        for (_, future), understanding in zip(waiting, made, strict=True):
            future.set_result(understanding)

    def _understood(self, asked: Sequence[Asked]) -> list[Understanding]:
        trained = self.trained()
        if trained is None:
            return [judged_by_rules(self.rules, one, degraded=True) for one in asked]
        return trained.understand_all(asked, between=_let_others_run)

    def _judge_alone(self, asked: Asked, future: Future[Understanding]) -> None:
        try:
            try:
                future.set_result(self._understood([asked])[0])
            except Exception as error:
                log.warning("understood by rules", extra={"why": type(error).__name__})
                future.set_result(judged_by_rules(self.rules, asked, degraded=True))
        except Exception as error:
            future.set_exception(error)
