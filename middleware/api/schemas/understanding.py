"""What somebody says a complaint is really about."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Strict

from middleware.api.schemas.base import Asked, Short
from middleware.contract.actions import Reason
from middleware.domain.understanding import Intent, Remedy, Sentiment


class UnderstandingCorrected(Asked):
    """At least one of the four; what is left out stays as it was judged."""

    intent: Annotated[Intent, Strict(False)] | None = None
    sentiment: Annotated[Sentiment, Strict(False)] | None = None
    reason: Annotated[Reason, Strict(False)] | None = None
    remedy: Annotated[Remedy, Strict(False)] | Literal["none"] | None = None
    """`none` says that they want nothing."""
    agent: Short | None = None
    """Who of those behind your key says it."""
