"""Counts what was refused, by source and status, for `status`: kept in memory, written at most once a second."""

from __future__ import annotations

import threading
import time
from collections import Counter

import structlog

from relay.errors import StoreError
from relay.store import Store
from relay.times import Clock

log = structlog.get_logger("relay.refusals")

_EVERY_S = 1.0


class Refusals:
    """An attacker who tries secrets must not cost a commit each."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._counts: Counter[tuple[str, int]] = Counter()
        self._mutex = threading.Lock()
        self._written_at = float("-inf")
        self._later: threading.Timer | None = None  # writes what came too soon after the last

    def add(self, source: str, status: int) -> None:
        with self._mutex:
            self._counts[source, status] += 1
            due = time.monotonic() - self._written_at >= _EVERY_S
            if not due and self._later is None:
                self._later = threading.Timer(_EVERY_S, self.flush)
                self._later.daemon = True
                self._later.start()
        if due:
            self.flush()

    def flush(self) -> None:
        with self._mutex:
            counts, self._counts = self._counts, Counter()
            self._written_at, self._later = time.monotonic(), None
        if not counts:
            return
        try:
            self._store.add_refusals(counts, self._clock())
        except StoreError as exc:
            log.warning("refusals.not_written", reason=str(exc))
            with self._mutex:
                self._counts.update(counts)
