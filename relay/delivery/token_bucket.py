"""A token bucket: one token for each request, empty at start so that a restart does not burst."""

from __future__ import annotations

import threading
from collections.abc import Callable

from relay.config.types import Rate


class TokenBucket:
    """Without a rate it is bottomless. `monotonic` gives seconds."""

    def __init__(self, rate: Rate | None, monotonic: Callable[[], float]) -> None:
        self._rate, self._monotonic = rate, monotonic
        self._tokens, self._filled_at = 0.0, monotonic()
        self._mutex = threading.Lock()

    def wait_s(self) -> float:
        """Return the seconds until there is a token; 0: there is one."""
        with self._mutex:
            return self._wait_s()

    def acquire(self) -> float:
        """Take a token and return 0, or take none and return the seconds until there is one."""
        with self._mutex:
            wait_s = self._wait_s()
            if not wait_s:
                self._tokens -= 1
            return wait_s

    def release(self) -> None:
        """A token that was taken for nothing."""
        with self._mutex:
            self._tokens += 1

    def _wait_s(self) -> float:
        if self._rate is None:
            return 0.0
        now = self._monotonic()
        gained = (now - self._filled_at) * self._rate.per_second
        self._tokens, self._filled_at = min(self._tokens + gained, float(self._rate.burst)), now
        return max(0.0, (1 - self._tokens) / self._rate.per_second)
