"""What a source says that it holds, beside what is stored of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from middleware.contract.canonical import Kind
from middleware.contract.capabilities import CountsRecords, Tally, digest_of_ids
from middleware.contract.errors import NotOffered, RemoteError
from middleware.domain.receipts import compared
from middleware.domain.turns import Urgency
from middleware.flows.hub import Hub

log = logging.getLogger(__name__)


def compare(hub: Hub, connection: str, kinds: Sequence[Kind]) -> dict[str, dict[str, Any]]:
    """Ask the source for its counts, and count what is stored right after it.

    A kind that the source cannot count is left out; one that it fails to count says why.
    """
    if not isinstance(hub.registry.adapter(connection), CountsRecords):
        return {}
    remote = hub.gate.remote(connection, Urgency.BATCH)
    found: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        try:
            tally: Tally = remote.count_records(kind)
        except NotOffered:
            continue
        except RemoteError as error:
            found[kind.value] = {"failed": error.message}
            continue
        except Exception as error:
            log.exception("adapter failed", extra={"connection": connection, "kind": kind.value})
            found[kind.value] = {"failed": f"the adapter failed with {type(error).__name__}"}
            continue
        with hub.database.read() as uow:
            held = uow.records.live(connection, kind)
            kept_aside = uow.records.kept_aside(connection, kind)
            ours = None
            if tally.digest is not None:
                ours = digest_of_ids(uow.records.live_ids(connection, kind))
        found[kind.value] = compared(
            count=tally.count,
            digest=tally.digest,
            held=held,
            kept_aside=kept_aside,
            held_digest=ours,
        )
    return found
