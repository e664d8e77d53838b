"""Starts and stops the lanes that are this process's, contends for the others, and sweeps for what has changed.

Nothing starts at import: the gunicorn hook or `relay work` calls `start` after the fork.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog

from relay.clock import Clock
from relay.delivery import maintenance
from relay.delivery.lane import Lane
from relay.delivery.maintenance import LaneMaintenance
from relay.errors import StoreError
from relay.store import ClaimedDelivery, LeaseRow, Store

log = structlog.get_logger("relay.delivery")

_SWEEP_S = 0.2  # what other processes took in, or changed, reaches a lane within a quarter of a second
_REMOVED_EVERY_S = 15.0
_GRACE_S = 18.0  # from SIGTERM: gunicorn kills after 20

_RENEW_EVERY_S = 4.0
_HOLDS_FOR_S = 12.0
_TAKEN_OVER_AFTER_S = 15.0

_WORTH_FOLLOWING = timedelta(seconds=1)
_READ_WITHIN_S = 0.05


class Dispatcher:
    def __init__(
        self, lanes: Sequence[Lane], store: Store, clock: Clock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._lanes = {lane.name: lane for lane in lanes}
        self._maintenance = {lane.name: LaneMaintenance(lane, store, clock, monotonic) for lane in lanes}
        self._store, self._clock, self._monotonic = store, clock, monotonic
        self._clock_jumps = ClockJumpDetector(clock, monotonic)
        self._unfollowed: list[tuple[datetime, datetime]] = []  # jumps of the clock
        self._lease: Lease | None = None
        self._removed_at = float("-inf")
        self._stopping = threading.Event()
        self._stop_asked_at: float | None = None
        self._ticked_at: float | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._thread.start()

    def ticked_ago(self) -> float | None:
        """Return the seconds since the last sweep; None before the first."""
        return None if self._ticked_at is None else self._monotonic() - self._ticked_at

    def owned(self) -> list[str]:
        """Return the targets whose lanes are this process's."""
        return [name for name, lane in self._lanes.items() if lane.epoch is not None]

    # --- a notification that is being stored

    def reserve(self, targets: Iterable[str]) -> dict[str, int]:
        """Reserve a thread of each lane that has an idle one; return the epochs to claim under, by target."""
        epochs = {name: lane.reserve() for name in targets if (lane := self._lanes.get(name)) is not None}
        return {name: epoch for name, epoch in epochs.items() if epoch is not None}

    def release(self, targets: Iterable[str]) -> None:
        """Release the threads that are not needed after all."""
        for name in targets:
            self._lanes[name].release()

    def dispatch(self, claimed: Iterable[ClaimedDelivery], targets: Iterable[str]) -> None:
        """Give what is claimed to the threads that were reserved for it; something new is due for the targets."""
        for one in claimed:
            self._lanes[one.delivery.target].assign(one)
        for target in targets:
            lane = self._lanes.get(target)
            if lane is not None and lane.epoch is not None:
                lane.wake()

    # --- stopping

    def stop_claiming(self) -> None:
        """Begin nothing new from now on; called in the signal handler."""
        if self._stop_asked_at is None:
            self._stop_asked_at = self._monotonic()
        self._stopping.set()
        for lane in self._lanes.values():
            lane.stop_claiming()

    def stop(self, grace_s: float = _GRACE_S) -> None:
        """Return when nothing is in flight any more, at the latest `grace_s` after the signal."""
        self.stop_claiming()
        deadline = (self._stop_asked_at or self._monotonic()) + grace_s
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - self._monotonic()))
        for lane in self._lanes.values():
            lane.stop(deadline)
        lease, self._lease = self._lease, None
        if lease is not None:
            try:
                lease.end()
            except StoreError as exc:  # whoever contends sees that this process has ended
                log.warning("dispatcher.not_released", reason=str(exc))

    # --- the dispatcher's thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._tick()
            except StoreError as exc:
                log.error("dispatcher.store_unusable", reason=str(exc))
            except Exception:  # it must go on; it does not tick meanwhile, and /readyz says so
                log.exception("dispatcher.failed")
            else:
                self._ticked_at = self._monotonic()
            self._stopping.wait(_SWEEP_S)

    def _tick(self) -> None:
        if self._lease is None:
            lease = Lease(self._store, self._monotonic)
            lease.start()
            self._lease = lease
        jump = self._clock_jumps.check()
        if jump is not None:
            log.warning("clock.stepped", by_s=round((jump[1] - jump[0]).total_seconds(), 1))
            self._unfollowed.append(jump)
        self._renew(self._lease)
        self._follow_clock()
        self._contend(self._lease)
        if self._monotonic() - self._removed_at >= _REMOVED_EVERY_S:
            self._removed_at = self._monotonic()
            self._hold_removed(self._lease)
        for name in self.owned():
            self._maintenance[name].sweep()

    def _renew(self, lease: Lease) -> None:
        still = lease.renew() if self.owned() else None
        if still is None:
            return
        for name in set(self.owned()) - still:
            self._lanes[name].lose_ownership()
            log.warning("dispatcher.lane_lost", target=name, reason="another process has taken it over")

    def _follow_clock(self) -> None:
        """Let the lanes that were this process's at a jump follow it; one that is taken over now is checked whole."""
        while self._unfollowed:
            before, after = self._unfollowed[0]
            epochs = {name: epoch for name, lane in self._lanes.items() if (epoch := lane.epoch) is not None}
            gaps = {name: self._lanes[name].config.call_gap for name in epochs}
            self._store.waits.follow_clock(epochs, before, after, gaps)
            self._unfollowed.pop(0)
            for name in epochs:
                self._maintenance[name].clock_jumped(before, after)

    def _contend(self, lease: Lease) -> None:
        """Take over the lanes that are nobody's; at once when their owner has ended."""
        missing = [lane for lane in self._lanes.values() if lane.epoch is None]
        if not missing:
            return
        rows = self._store.targets.leases()
        gained = []
        for lane in missing:
            epoch = lease.contend(lane.name, rows.get(lane.name))
            if epoch is not None:
                self._maintenance[lane.name].take_over(epoch)
                lane.gain_ownership(epoch, partial(lease.is_valid, lane.name))
                lane.start()
                gained.append(lane.name)
        if gained:
            log.info("dispatcher.delivering", targets=gained)

    def _hold_removed(self, lease: Lease) -> None:
        """Hold what was in flight to targets that are no longer configured, once nobody works their lanes any more."""
        for name, row in self._store.targets.leases().items():
            if name not in self._lanes and self._store.queue.in_flight(name) and lease.contend(name, row) is not None:
                for delivery, epoch in self._store.queue.in_flight(name):
                    maintenance.hold(self._store, delivery, epoch, self._clock())
                lease.release(name)


class Lease:
    """Owns lanes: taken over when nobody else has them, renewed while it lives, checked before each request.

    An owner that is alive and able renews every 4 s. A contender takes over at once when the owner has ended, and when
    owner, epoch and renewals have not moved for 15 s of the contender's own monotonic clock. The owner stops sending
    after 12 s without a renewal: so nobody sends while another already may.
    """

    def __init__(self, store: Store, monotonic: Callable[[], float]) -> None:
        self.owner = uuid.uuid4().hex[:12]
        self._store, self._monotonic = store, monotonic
        self._lock = store.database.owner_lock(self.owner)
        self._renewed_at: dict[str, float] = {}  # by lane: one that another has taken over is not among them
        self._seen: dict[str, tuple[LeaseRow, float]] = {}  # a lane's lease, and since when it has not moved

    def start(self) -> None:
        """Let others see from now on that this process lives. Raises StoreError."""
        self._lock.try_acquire()

    def is_valid(self, target: str) -> bool:
        """May this process still send to the target?"""
        return self._monotonic() - self._renewed_at.get(target, float("-inf")) < _HOLDS_FOR_S

    def contend(self, target: str, row: LeaseRow | None) -> int | None:
        """Take the lane over if it is free; return the epoch, None while it is another's. Raises StoreError."""
        if not self._is_free(target, row):
            return None
        began = self._monotonic()
        epoch = self._store.targets.take_over(target, self.owner, row)
        if epoch is not None:
            self._renewed_at[target] = began
        return epoch

    def renew(self) -> set[str] | None:
        """Return the lanes that are still this process's; None when it is not time yet. Raises StoreError."""
        began = self._monotonic()
        if began - min(self._renewed_at.values(), default=began) < _RENEW_EVERY_S:
            return None
        still = self._store.targets.renew(self.owner)
        self._renewed_at = dict.fromkeys(still, began)
        return still

    def release(self, target: str) -> None:
        """Let another take over this lane at once. Raises StoreError."""
        self._renewed_at.pop(target, None)
        self._store.targets.release(self.owner, target)

    def end(self) -> None:
        """Let another take over all lanes at once. Raises StoreError."""
        self._renewed_at = {}
        try:
            self._store.targets.release(self.owner)
        finally:
            self._lock.remove()
            self._lock.close()

    def _is_free(self, target: str, row: LeaseRow | None) -> bool:
        if row is None or row.owner is None or row.owner == self.owner:
            return True
        if self._store.database.is_dead(row.owner):
            return True
        seen, since = self._seen.get(target, (None, 0.0))
        if row != seen:
            self._seen[target] = (row, self._monotonic())
            return False
        return self._monotonic() - since >= _TAKEN_OVER_AFTER_S


class ClockJumpDetector:
    """Notices when the wall clock jumps: it and the monotonic clock then no longer agree.

    The rule: times in the database are the wall clock's. When it jumps, the waits of the deliveries and of the target
    (`due_at`, probes, what a target asked for) are moved with it and keep their length. Ages (`expire`,
    `give_up_after`) do not grow by a jump forward; a jump back makes what waits younger by it. Leases, rates and
    time-outs go by the monotonic clock alone. A machine that slept looks like a jump forward.
    """

    def __init__(self, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._clock, self._monotonic = clock, monotonic
        self._last: tuple[datetime, float] | None = None

    def check(self) -> tuple[datetime, datetime] | None:
        """Return what the wall clock would show had it not jumped since the last call, and what it shows, if it has."""
        began = self._monotonic()
        wall = self._clock()
        if self._monotonic() - began > _READ_WITHIN_S:
            return None  # stopped between the two readings: they do not belong together
        last, self._last = self._last, (wall, began)
        if last is None:
            return None
        expected = last[0] + timedelta(seconds=began - last[1])
        return (expected, wall) if abs(wall - expected) > _WORTH_FOLLOWING else None
