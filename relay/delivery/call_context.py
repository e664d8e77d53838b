"""What a lane lends an adapter for one delivery: the call's memory, and leave for each further request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from relay.delivery.throttle import Throttle
from relay.errors import Interrupted
from relay.models import CallEvent
from relay.store import ClaimedDelivery, Store


class CallContext:
    def __init__(
        self,
        job: ClaimedDelivery,
        store: Store,
        throttle: Throttle,
        stopping: threading.Event,
        lease_valid: Callable[[], bool],
    ) -> None:
        self._job, self._delivery, self._store, self._throttle = job, job.delivery, store, throttle
        self._stopping, self._lease_valid = stopping, lease_valid
        self._has_leave = True  # the permit that the delivery was claimed with

    def said(self) -> tuple[CallEvent, ...]:
        """Everything that UIS had said of the call up to this event, in the order of acceptance. Raises StoreError."""
        return self._store.calls.history(self._delivery)

    def done(self) -> dict[str, Any]:
        """What has been done for the call at this target. Raises StoreError."""
        return self._store.calls.progress(self._delivery)

    def remember(self, **done: Any) -> None:
        """Adds to it; on disk when it returns. Raises StoreError, and OwnershipLost when it is another's to do now."""
        self._store.calls.save_progress(self._delivery, self._job.epoch, done)

    def leave(self) -> None:
        """Waits for leave to make one more request. Raises Interrupted when none will be given any more."""
        while True:
            if self._stopping.is_set() or not self._lease_valid():
                raise Interrupted("the relay stops, or another process has the lane")
            had_leave, self._has_leave = self._has_leave, False
            wait = 0.0 if had_leave else self._throttle.try_acquire_more()
            if not wait:
                return
            self._stopping.wait(wait)
