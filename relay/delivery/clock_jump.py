"""Notices when the wall clock steps: it and the monotonic clock then no longer agree.

The rule: times in the database are the wall clock's. When it steps, the waits of the deliveries and of the target
(`due_at`, probes, what a target asked for) are moved with it and keep their length. Ages (`expire`,
`give_up_after`) do not grow by a step forward; a step back makes what waits younger by it. Leases, rates and
time-outs go by the monotonic clock alone. A machine that slept looks like a step forward.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from relay.clock import Clock

_WORTH_FOLLOWING = timedelta(seconds=1)
_READ_WITHIN_S = 0.05


class ClockJumpDetector:
    def __init__(self, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._clock, self._monotonic = clock, monotonic
        self._last: tuple[datetime, float] | None = None

    def step(self) -> tuple[datetime, datetime] | None:
        """What the wall clock would show had it not stepped since the last call, and what it shows; None: no step."""
        began = self._monotonic()
        wall = self._clock()
        if self._monotonic() - began > _READ_WITHIN_S:
            return None  # stopped between the two readings: they do not belong together
        known, self._last = self._last, (wall, began)
        if known is None:
            return None
        expected = known[0] + timedelta(seconds=began - known[1])
        return (expected, wall) if abs(wall - expected) > _WORTH_FOLLOWING else None
