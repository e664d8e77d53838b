"""What is done by itself in the process that delivers: retention once an hour, warnings once a day."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

import structlog

from relay.clock import Clock
from relay.config import Storage
from relay.errors import StoreError
from relay.periodic import Periodic
from relay.store import Store, retention

log = structlog.get_logger("relay.housekeeping")

_BREATHER_S = 0.05  # between batches: notifications go first
_WARN_EVERY = 24  # rounds

Warnings = Mapping[str, Callable[[datetime], list[str]]]  # by target: what will need mending before long, at a time


class Housekeeping(Periodic):
    name, every_s, first_after_s, fault = "housekeeping", 3600.0, 60.0, "retention.failed"

    def __init__(
        self, store: Store, storage: Storage, clock: Clock, is_on_duty: Callable[[], bool], warnings: Warnings
    ) -> None:
        self._store, self._storage, self._clock, self._is_on_duty = store, storage, clock, is_on_duty
        super().__init__()
        self._warnings, self._rounds = warnings, 0

    def prune(self, *, breather_s: float = 0.0) -> int:
        """Delete what has been kept for long enough, old copies of the database too; return how many events."""
        now = self._clock()
        database, storage = self._store.database, self._storage
        should_stop = partial(self.stopping.wait, breather_s)
        self._store.clicks.forget(now - storage.keep_delivered)
        retention.forget_exchanges(database, now - storage.keep_payloads, should_stop)
        deleted = retention.prune(database, now - storage.keep_delivered, now - storage.keep_dead, should_stop)
        if files := self._store.database.forget_copies(now):
            log.info("retention.copies_deleted", files=files)
        return deleted

    def warn(self) -> None:
        for target, warnings in self._warnings.items():
            for reason in warnings(self._clock()):
                log.warning("target.warning", target=target, reason=reason)

    def step(self) -> None:
        if not self._is_on_duty():  # of several processes, one does it
            return
        if self._rounds % _WARN_EVERY == 0:
            self.warn()
        self._rounds += 1
        try:
            deleted = self.prune(breather_s=_BREATHER_S)
        except StoreError as exc:
            log.warning("retention.failed", reason=str(exc))
        else:
            if deleted:
                log.info("retention.pruned", events=deleted)
