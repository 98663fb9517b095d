"""A CRM that speaks Salesforce's REST wire: `SandboxServer(open_crm(...), tls=True)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from middleware.sandbox.crm.app import (
    CLIENT_ID,
    CLIENT_SECRET,
    KEY_FIELD,
    MASKS,
    PASSWORD,
    SECURITY_TOKEN,
    USERNAME,
    Crm,
    DuplicateRule,
)
from middleware.sandbox.crm.seed import fill
from middleware.sandbox.world import World, build

__all__ = [
    "CLIENT_ID",
    "CLIENT_SECRET",
    "KEY_FIELD",
    "MASKS",
    "PASSWORD",
    "SECURITY_TOKEN",
    "USERNAME",
    "Crm",
    "DuplicateRule",
    "open_crm",
]


def open_crm(
    world: World | None = None,
    *,
    state_path: Path | None = None,
    orders: bool = True,
    **options: Any,
) -> Crm:
    """The org with the world in it; one that a `state_path` kept is left as it was.

    Without `orders` it leaves them to the ERP. `options` are those of `Crm`.
    """
    crm = Crm(state_path=state_path, **options)
    if not crm.rows.all("Contact"):
        fill(crm, world or build(), orders=orders)
    return crm
