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

    def take(self) -> float:
        """Takes a token and returns 0, or takes none and returns the seconds until there is one."""
        if self._rate is None:
            return 0.0
        with self._mutex:
            now = self._monotonic()
            gained = (now - self._filled_at) * self._rate.per_second
            self._tokens, self._filled_at = min(self._tokens + gained, float(self._rate.burst)), now
            if self._tokens >= 1:
                self._tokens -= 1
                return 0.0
            return (1 - self._tokens) / self._rate.per_second

    def release(self) -> None:
        """A token that was taken for nothing."""
        if self._rate is not None:
            with self._mutex:
                self._tokens = min(self._tokens + 1, float(self._rate.burst))
