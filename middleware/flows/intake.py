"""Intake: deliveries are stored and their handling owed in one commit, before they are accepted.

One writer thread takes whatever has arrived and commits it together: under load many deliveries
share one disk sync, and none waits for a lock that another holds. While more comes in than can be
handled, what sounds urgent is handled first; all of it is stored.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice

from middleware.flows.hub import Hub
from middleware.store.tables import InboxRow
from middleware.understanding.glance import Haste, haste

log = logging.getLogger(__name__)

MOST_IN_ONE_COMMIT = 256
MOST_WAITING = 2048
HANDLED_TOGETHER = 16
"""How many deliveries of one commit are handed to one run of the receive flow."""


class BusyError(Exception):
    """More deliveries are waiting to be stored than are worth promising anything to."""


@dataclass(frozen=True)
class Accepted:
    """What became of a delivery at the door."""

    inbox_id: str
    new: bool
    same_body: bool
    """False when a known message id came with another body."""


@dataclass(frozen=True)
class _Waiting:
    row: InboxRow
    done: Future[Accepted]


class Intake:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(MOST_WAITING)
        self._writer = threading.Thread(target=self._write, name="intake", daemon=True)
        self._writer.start()

    def submit(self, row: InboxRow) -> Future[Accepted]:
        """Hand in a delivery; the future is done when it is committed. Raises BusyError."""
        waiting = _Waiting(row, Future())
        try:
            self._waiting.put_nowait(waiting)
        except queue.Full:
            raise BusyError from None
        return waiting.done

    def close(self) -> None:
        """Commit what is waiting and stop."""
        self._waiting.put(None)
        self._writer.join(timeout=30)

    def _write(self) -> None:
        while True:
            batch, more = self._collect()
            if batch:
                self._commit(batch)
            if not more:
                return

    def _collect(self) -> tuple[list[_Waiting], bool]:
        """Whatever is waiting now, at least one; False when there will be no more."""
        first = self._waiting.get()
        if first is None:
            return [], False
        batch = [first]
        while len(batch) < MOST_IN_ONE_COMMIT:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return batch, False
            batch.append(item)
        return batch, True

    def _commit(self, batch: list[_Waiting]) -> None:
        try:
            accepted = self._store(batch)
        except Exception as error:
            if len(batch) > 1:
                # One bad row must not refuse its neighbours.
                for item in batch:
                    self._commit([item])
                return
            log.exception("a delivery could not be stored")
            batch[0].done.set_exception(error)
            return
        self._hub.rush.stored(len(batch))
        for item, result in zip(batch, accepted, strict=True):
            item.done.set_result(result)

    def _store(self, batch: list[_Waiting]) -> list[Accepted]:
        with self._hub.database.begin() as uow:
            stored = uow.inbox.store_all_once([item.row for item in batch])
            accepted = [
                Accepted(
                    inbox_id=kept.id,
                    new=kept.id == item.row.id,
                    same_body=kept.body_hash == item.row.body_hash,
                )
                for item, kept in zip(batch, stored, strict=True)
            ]
            new: dict[Haste, list[str]] = {}
            for item, result in zip(batch, accepted, strict=True):
                if result.new:
                    new.setdefault(haste(item.row.body), []).append(result.inbox_id)
            for level, found in sorted(new.items()):
                for ids in _chunks(found, HANDLED_TOGETHER):
                    self._hub.engine.enqueue(
                        uow, "receive", *ids, name=f"receive:{ids[0]}", priority=level
                    )
        return accepted


def _chunks(items: list[str], size: int) -> Iterator[list[str]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
