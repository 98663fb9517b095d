"""Accepting goes before handling: while deliveries rush in, whoever handles them gives way.

Both share one process and its processor. What is accepted can be handled a little later; what is
not accepted in time is lost to a source that does not repeat it.
"""

from __future__ import annotations

import time

AT_ONCE = 4
"""From so many deliveries in one commit on, more are coming than can be handled beside it."""
LASTS_S = 0.25
"""For how long a commit of so many says that there is a rush, and how long one run gives way."""
STEP_S = 0.02


class Rush:
    """Whether deliveries rush in, as the one writer of this process sees it."""

    def __init__(self) -> None:
        self._until = 0.0

    def stored(self, count: int) -> None:
        """So many deliveries were committed together."""
        if count >= AT_ONCE:
            self._until = time.monotonic() + LASTS_S

    def give_way(self) -> None:
        """Wait while there is a rush; a quarter of a second at most, so that nothing ever stops."""
        end = time.monotonic() + LASTS_S
        while time.monotonic() < min(self._until, end):
            time.sleep(STEP_S)
