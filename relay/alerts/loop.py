"""Looks every half minute, and has people told what is new. Of several processes one does it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from relay.alerts import channels
from relay.alerts.channels import Channel
from relay.alerts.notifier import Notifier
from relay.alerts.snapshot import SnapshotCollector
from relay.config import Settings
from relay.errors import StoreError
from relay.store import LeaseRow, Store

log = structlog.get_logger("relay.alerts")

_EVERY_S = 30.0
_PATIENCE_S = 20.0  # for channels that hang; after that the next look comes first
_UNWORKED_AFTER_S = 15.0  # as a lane is taken over


class Owner(Protocol):
    def owned(self) -> list[str]:
        """The targets whose lanes are this process's."""


class AlertLoop:
    def __init__(self, settings: Settings, store: Store, owner: Owner, gathering: SnapshotCollector) -> None:
        self._settings, self._gathering = settings, gathering
        self._turn = Turn(next(iter(settings.targets), ""), store, owner)
        self._channels = channels.channels(settings.alerts)
        name = settings.alerts.name or socket.gethostname()
        self._listeners = [Notifier(channel, settings, store, name) for channel in self._channels]
        self._stopping = threading.Event()

    def start(self) -> None:
        """Nothing, where there is nobody to tell."""
        if self._channels and _can_tell(self._channels):
            threading.Thread(target=self._run, name="alerts", daemon=True).start()

    def stop_soon(self) -> None:
        self._stopping.set()

    def look(self, patience_s: float = _PATIENCE_S) -> None:
        """Returns when everybody who had to be told was told, or would not hear within the time."""
        if not self._turn.is_mine():
            return
        facts = self._gathering.facts()
        if self._stopping.is_set():
            return  # the store closes: that is no trouble
        for listener in self._listeners:
            listener.begin(facts)
        ends = time.monotonic() + patience_s
        for listener in self._listeners:
            listener.wait(max(0.0, ends - time.monotonic()))

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            try:
                self.look()
            except Exception:  # what is watched must not suffer from who watches
                log.exception("alert.look_failed")


class Turn:
    """The owner of the first lane tells. Where nobody works it, whoever has a lock: that too must be told of."""

    def __init__(
        self, target: str, store: Store, owner: Owner, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._target, self._store, self._owner, self._monotonic = target, store, owner, monotonic
        self._lock = store.database.role_lock("alerts")
        self._seen: LeaseRow | None = None
        self._moved_at: float | None = None
        self._was_mine = False

    def is_mine(self) -> bool:
        with contextlib.suppress(StoreError):  # then nobody can say: as it was
            self._was_mine = self._target in self._owner.owned() or (self._is_unworked() and self._lock.try_acquire())
        return self._was_mine

    def _is_unworked(self) -> bool:
        present, now = self._store.targets.leases().get(self._target), self._monotonic()
        if self._moved_at is None or present != self._seen:
            self._seen, self._moved_at = present, now
            self._lock.close()
        return now - self._moved_at >= _UNWORKED_AFTER_S


def _can_tell(found: Sequence[Channel]) -> bool:
    if channels.is_missing():
        log.error("alert.nobody_is_told", reason=channels.MISSING)
        return False
    for channel in found:
        problem = channel.problem()
        if problem is not None:
            log.error("alert.bad_address", reason=problem)
    return True
