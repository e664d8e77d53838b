"""Counts requests against the limits of the simulated systems. The caller holds its own lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

Monotonic = Callable[[], float]


class LeakyBucket:
    """Admits requests: each fills it by one, time empties it; what would overflow is not admitted."""

    def __init__(self, holds: float, drains_per_s: float, monotonic: Monotonic) -> None:
        self._holds, self._drains_per_s, self._monotonic = holds, drains_per_s, monotonic
        self.empty()

    def empty(self) -> None:
        self._level, self._looked_at = 0.0, self._monotonic()

    def admits(self) -> bool:
        now = self._monotonic()
        self._level = max(0.0, self._level - (now - self._looked_at) * self._drains_per_s)
        self._looked_at = now
        if self._level + 1 > self._holds:
            return False
        self._level += 1
        return True


class Window:
    """Admits so many requests within the last second. Those that were not admitted count as well."""

    def __init__(self, most: int, monotonic: Monotonic) -> None:
        self._most, self._monotonic = most, monotonic
        self._asked_at: deque[float] = deque()

    def empty(self) -> None:
        self._asked_at.clear()

    def admits(self) -> bool:
        now = self._monotonic()
        while self._asked_at and self._asked_at[0] <= now - 1:
            self._asked_at.popleft()
        self._asked_at.append(now)
        return len(self._asked_at) <= self._most
