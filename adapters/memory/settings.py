"""What an operator writes under a connection that uses this adapter."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from middleware.contract.actions import Operation


class MemorySettings(BaseModel):
    """Settings of a connection; an unknown one is an error, so that a typo never vanishes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    remote: str | None = None
    """Which of the process's remotes to use (`Remote.named`); None means the connection's name."""
    timeout_s: Annotated[float, Field(gt=0)] = 5.0
    """How long a call waits for its answer."""
    settle_s: Annotated[float, Field(ge=0)] = 0.0
    """How long the remote may still carry out a request whose answer we gave up on."""
    native: frozenset[Operation] = frozenset(
        {
            Operation.CASE,
            Operation.CALL_BACK,
            Operation.RETURN,
            Operation.CANCELLATION,
            Operation.WITHDRAWAL,
        }
    )
    """The writes whose key the remote itself keeps unique. The others it repeats when asked again,
    as most ERPs do, so that tests can drive both disciplines."""
