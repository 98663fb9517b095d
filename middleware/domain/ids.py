"""Ids of the hub's own rows, and the keys stamped into remote records."""

from __future__ import annotations

import hashlib
import secrets
import time

from middleware.contract.actions import Operation


def new_id(prefix: str) -> str:
    """A fresh id such as `act_019f…`: prefix, then a version-7 UUID in hex (RFC 9562, 5.7).

    Ids of one process sort by the millisecond they were made in.
    """
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return f"{prefix}_{value:032x}"


def step_key(action_id: str, position: int, operation: Operation) -> str:
    """The idempotency key of one step: made of the action alone, so that it can be made again.

    35 characters at most, which is what the narrowest reference field that we know of holds
    (SAP's PurchaseOrderByCustomer).
    """
    digest = hashlib.sha256(f"{action_id}/{position}/{operation}".encode()).hexdigest()
    return f"am-{digest[:32]}"
