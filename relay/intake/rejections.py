"""Counts what was rejected, by source and status, for `status`: kept in memory, written at most once a second."""

from __future__ import annotations

import threading
from collections import Counter

import structlog

from relay.clock import Clock
from relay.errors import StoreError
from relay.store import Store

log = structlog.get_logger("relay.refusals")

_EVERY_S = 1.0


class Rejections:
    """An attacker who tries secrets must not cost a commit each."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._counts: Counter[tuple[str, int]] = Counter()
        self._mutex = threading.Lock()
        self._later: threading.Timer | None = None

    def add(self, source: str, status: int) -> None:
        """Count one, never waiting for the store: when that does not answer, the sender has waited already."""
        with self._mutex:
            self._counts[source, status] += 1
            if self._later is None:
                self._later = threading.Timer(_EVERY_S, self.flush)
                self._later.daemon = True
                self._later.start()

    def flush(self) -> None:
        with self._mutex:
            counts, self._counts = self._counts, Counter()
            self._later = None
        if not counts:
            return
        try:
            self._store.inbox.count_rejections(counts, self._clock())
        except StoreError as exc:
            log.warning("refusals.not_written", reason=str(exc))
            with self._mutex:
                self._counts.update(counts)
