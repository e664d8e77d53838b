"""Starts and stops the lanes, in the one process that owns them, and sweeps for what others have put there.

Nothing starts at import: the gunicorn hook or `relay work` calls `start` after the fork.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from relay.delivery.lane import Lane
from relay.errors import StoreError
from relay.store import Store

log = structlog.get_logger("relay.delivery")

_SWEEP_S = 0.25  # what the command line changes reaches a lane within this
_GRACE_S = 18.0  # from SIGTERM: gunicorn kills after 20


class Dispatcher:
    def __init__(self, lanes: Sequence[Lane], store: Store, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lanes = {lane.name: lane for lane in lanes}
        self._store, self._monotonic = store, monotonic
        self._owner = store.owner_lock()
        self._owns = False
        self._stopping = threading.Event()
        self._told_at: float | None = None
        self._ticked_at: float | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._thread.start()

    def wake(self, targets: Iterable[str]) -> None:
        """Something new is due for these targets."""
        for target in targets:
            lane = self._lanes.get(target)
            if lane is not None and self._owns:
                lane.wake()

    def ticked_ago(self) -> float | None:
        """Seconds since the last sweep; None before the first."""
        return None if self._ticked_at is None else self._monotonic() - self._ticked_at

    def stop_claiming(self) -> None:
        """Called in the signal handler: from now on nothing new is begun."""
        if self._told_at is None:
            self._told_at = self._monotonic()
        self._stopping.set()
        for lane in self._lanes.values():
            lane.stop_claiming()

    def stop(self, grace_s: float = _GRACE_S) -> None:
        """Returns when nothing is in flight any more, at the latest `grace_s` after the signal."""
        self.stop_claiming()
        deadline = (self._told_at or self._monotonic()) + grace_s
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - self._monotonic()))
        for lane in self._lanes.values():
            if self._owns:
                lane.stop(deadline)
        self._owner.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._sweep()
            except StoreError as exc:
                log.error("dispatcher.store_unusable", reason=str(exc))
            except Exception:  # it must go on; it does not tick meanwhile, and /readyz says so
                log.exception("dispatcher.failed")
            else:
                self._ticked_at = self._monotonic()
            self._stopping.wait(_SWEEP_S)

    def _sweep(self) -> None:
        if not self._owns and not self._take_over():
            return
        for lane in self._lanes.values():
            lane.sweep()

    def _take_over(self) -> bool:
        """Becomes the owner if no other process is; at once when the former one has died."""
        if not self._owner.try_acquire():
            return False
        try:
            for lane in self._lanes.values():
                epoch = self._store.take_over(lane.name)
                lane.recover()
                lane.prepare(epoch)
        except StoreError:
            self._owner.release()
            raise
        self._owns = True
        for lane in self._lanes.values():
            lane.start()
        log.info("dispatcher.delivering", targets=list(self._lanes))
        return True
