"""Checks every half minute whether there is anything to send. Of several processes one does it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

import structlog

from relay.alerts import channels
from relay.alerts.notifier import Notifier
from relay.alerts.snapshot import SnapshotCollector
from relay.config import Settings
from relay.errors import StoreError
from relay.models import Shard
from relay.periodic import Periodic
from relay.store import LeaseRow, Store

log = structlog.get_logger("relay.alerts")

_PATIENCE_S = 20.0  # for channels that hang; after that the next check comes first
_UNWORKED_AFTER_S = 15.0  # by then another process has taken over a lane whose owner is gone

Owned = Callable[[], list[str]]  # returns the targets whose lanes are this process's


class AlertLoop(Periodic):
    name, every_s, fault = "alerts", 30.0, "alert.look_failed"

    def __init__(self, settings: Settings, store: Store, owned: Owned, collector: SnapshotCollector) -> None:
        super().__init__()
        self.collector = collector
        first = next((target.lanes[0] for target in settings.targets.values()), Shard(""))
        self._election = Election(first, store, owned)
        self._channels = channels.channels(settings.alerts)
        name = settings.alerts.name or socket.gethostname()
        self._notifiers = [Notifier(channel, settings, store, name, collector.summary) for channel in self._channels]

    def is_wanted(self) -> bool:
        """May any channel send? Say what keeps the others from it."""
        usable = 0
        for channel in self._channels:
            problem = channel.problem()
            usable += problem is None
            if problem == channels.MISSING:
                log.error("alert.nobody_is_told", channel=channel.name, reason=problem)
            elif problem is not None:
                log.error("alert.bad_address", reason=problem)
        return usable > 0

    def step(self, patience_s: float = _PATIENCE_S) -> None:
        """Send what is new over each channel; return when it was taken, or was not within the time."""
        if not self._election.is_won():
            return
        snapshot = self.collector.collect()
        if self.stopping.is_set():
            return  # the store closes: that is nothing to tell
        for notifier in self._notifiers:
            notifier.start(snapshot)
        ends = time.monotonic() + patience_s
        for notifier in self._notifiers:
            notifier.wait(max(0.0, ends - time.monotonic()))


class Election:
    """Decides which process sends: the owner of the first lane; where nobody works it, whoever has a lock."""

    def __init__(
        self, lane: Shard, store: Store, owned: Owned, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._lane, self._store, self._owned, self._monotonic = lane, store, owned, monotonic
        self._lock = store.database.role_lock("alerts")
        self._last_lease: LeaseRow | None = None
        self._renewed_at: float | None = None
        self._was_won = False

    def is_won(self) -> bool:
        """Is it this process that sends?"""
        with contextlib.suppress(StoreError):  # then nobody can say: as it was
            self._was_won = self._lane.target in self._owned() or (self._is_unworked() and self._lock.try_acquire())
        return self._was_won

    def _is_unworked(self) -> bool:
        lease, now = self._store.leases.all().get(self._lane), self._monotonic()
        if self._renewed_at is None or lease != self._last_lease:
            self._last_lease, self._renewed_at = lease, now
            self._lock.close()
        return now - self._renewed_at >= _UNWORKED_AFTER_S
