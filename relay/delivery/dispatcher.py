"""Starts and stops the lanes that are this process's, contends for the others, and sweeps for what has changed.

Nothing starts at import: the gunicorn hook or `relay work` calls `start` after the fork.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from relay.clock import Clock
from relay.delivery import maintenance
from relay.delivery.lane import Lane, Lanes
from relay.delivery.lease import Lease, spread
from relay.delivery.maintenance import LaneMaintenance
from relay.errors import StoreError
from relay.models import Shard
from relay.store import Store

log = structlog.get_logger("relay.delivery")

_SWEEP_S = 0.2  # what falls due, or another process has changed, reaches a lane within a quarter of a second
_IDLE_SWEEP_S = 1.5
_AFTER_FAILURE_S = 0.2
_KEEPS_S = 600.0
_REMOVED_EVERY_S = 15.0
_GRACE_S = 18.0  # from SIGTERM: gunicorn kills after 20

_WORTH_FOLLOWING = timedelta(seconds=1)
_READ_WITHIN_S = 0.05


class Dispatcher:
    def __init__(
        self, lanes: Sequence[Lane], store: Store, clock: Clock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._changes = store.database.changes
        self.lanes = Lanes(lanes, self._changes)
        self._lanes = self.lanes.by_shard
        self._maintenance = {lane.shard: LaneMaintenance(lane, store, clock, monotonic) for lane in lanes}
        self._store, self._clock, self._monotonic = store, clock, monotonic
        self._clock_jumps = ClockJumpDetector(clock, monotonic)
        self._unfollowed: list[tuple[datetime, datetime]] = []  # jumps of the clock
        self._lease: Lease | None = None
        self._removed_at = float("-inf")
        self._leaving: set[Shard] = set()  # lanes that are another's as soon as nothing of them is under way
        self._keeps_until = float("-inf")  # what was left over by the others is not given to them again at once
        self._has_waiting = True  # had the last sweep seen anything that waits?
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
        """Return the targets whose first lane is this process's: what is done once for a target is done here."""
        return [shard.target for shard in self.owned_lanes() if shard.number == 0]

    def owned_lanes(self) -> list[Shard]:
        return [shard for shard, lane in self._lanes.items() if lane.epoch is not None]

    # --- stopping

    def stop_claiming(self) -> None:
        """Begin nothing new from now on; called in the signal handler."""
        if self._stop_asked_at is None:
            self._stop_asked_at = self._monotonic()
        self._stopping.set()
        self._changes.woken.set()
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
                self._ticked_at = self._monotonic()
                self._wait()
            except StoreError as exc:
                log.error("dispatcher.store_unusable", reason=str(exc))
            except Exception:  # it must go on; it does not tick meanwhile, and /readyz says so
                log.exception("dispatcher.failed")
            else:
                continue
            self._stopping.wait(_AFTER_FAILURE_S)

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
        if self._lease.announce():
            self._rebalance(self._lease)
        self._give_away(self._lease)
        self._contend(self._lease)
        if self._monotonic() - self._removed_at >= _REMOVED_EVERY_S:
            self._removed_at = self._monotonic()
            self._hold_removed(self._lease)
        self._sweep(self._lease)

    def _sweep(self, lease: Lease) -> None:
        """Let the lanes see what is due, what the operator wants, and what other lanes have learned of the target."""
        self.lanes.has_new = False
        lanes = [self._lanes[shard] for shard in self.owned_lanes() if shard not in self._leaving]
        known = {lane.shard: lane.known() for lane in lanes}
        views = self._store.queue.poll(lease.owner) if lanes else {}
        for lane in lanes:
            view = views.get(lane.shard)
            if view is not None:  # else another has taken it over: the next renewal says so
                lane.adopt(view.health, known[lane.shard])
                self._maintenance[lane.shard].sweep(view)
        self._has_waiting = any(view.due_us is not None for view in views.values())

    def _wait(self) -> None:
        """Wait for the next sweep: long where nothing waits and nothing is under way, so that nothing can fall due."""
        self.lanes.may_wait_long = True  # before the look at what is new: whoever comes in between wakes it
        is_busy = self._has_waiting or self.lanes.has_new or any(lane.claimed() for lane in self._lanes.values())
        self.lanes.may_wait_long = not is_busy
        self._changes.wait(_SWEEP_S if is_busy else _IDLE_SWEEP_S)
        self.lanes.may_wait_long = False

    def _renew(self, lease: Lease) -> None:
        still = lease.renew() if self.owned_lanes() else None
        if still is None:
            return
        for shard in self.owned_lanes():
            if shard in still:
                self._lanes[shard].lease_ends_at = lease.ends_at(shard)
                continue
            self._lanes[shard].lose_ownership()
            log.warning("dispatcher.lane_lost", **_log_fields(shard), reason="another process has taken it over")

    def _rebalance(self, lease: Lease) -> None:
        """Give away lanes that another process should have; first what is under way ends."""
        owned = [shard for shard in self.owned_lanes() if shard not in self._leaving]
        beyond = len(owned) - lease.quota(len(self._lanes), self._store.leases.all())
        if beyond > 0 and self._monotonic() >= self._keeps_until:
            for shard in spread(owned)[-beyond:]:
                self._lanes[shard].throttle.set_paused(True)
                self._leaving.add(shard)

    def _give_away(self, lease: Lease) -> None:
        for shard in [*self._leaving]:
            lane = self._lanes[shard]
            if lane.epoch is not None and not lane.is_idle():
                continue
            lane.lose_ownership()
            lease.release(shard)  # where that fails, it is tried again
            self._leaving.discard(shard)
            log.info("dispatcher.lane_given", **_log_fields(shard), reason="another process has fewer")

    def _follow_clock(self) -> None:
        """Let the lanes that were this process's at a jump follow it; one that is taken over now is checked whole."""
        while self._unfollowed:
            before, after = self._unfollowed[0]
            epochs = {shard: epoch for shard, lane in self._lanes.items() if (epoch := lane.epoch) is not None}
            gaps = {shard: self._lanes[shard].config.call_gap for shard in epochs}
            self._store.waits.follow_clock(epochs, before, after, gaps)
            self._unfollowed.pop(0)
            for shard in epochs:
                self._maintenance[shard].clock_jumped(before, after)

    def _contend(self, lease: Lease) -> None:
        """Take over the lanes that are nobody's; at once when their owner has ended."""
        missing = [shard for shard, lane in self._lanes.items() if lane.epoch is None and shard not in self._leaving]
        if not missing:
            return
        lease.observe()
        rows = self._store.leases.all()
        lease.look(self._lanes, rows)
        room = lease.quota(len(self._lanes), rows) - len(self.owned_lanes())
        gained: list[Shard] = []
        for shard in spread(missing, self.owned_lanes()):
            row = rows.get(shard)
            is_ours = row is not None and row.owner == lease.owner  # taken over, but something failed then
            if len(gained) >= room and not is_ours and not lease.is_left_over(shard, rows):
                continue
            epoch = lease.contend(shard, rows)
            if epoch is not None:
                self._begin(shard, epoch, lease, lease.former_holds_until(shard, rows))
                gained.append(shard)
                if len(gained) > room:
                    self._keeps_until = self._monotonic() + _KEEPS_S
        if gained:
            log.info("dispatcher.delivering", targets=list(dict.fromkeys(shard.target for shard in gained)))

    def _begin(self, shard: Shard, epoch: int, lease: Lease, former_holds_until: float) -> None:
        lane = self._lanes[shard]
        self._maintenance[shard].take_over(epoch, former_holds_until)
        lane.gain_ownership(epoch, lease.ends_at(shard))
        lane.start()

    def _hold_removed(self, lease: Lease) -> None:
        """Hold what was in flight to targets that are no longer configured, once nobody works their lanes any more."""
        rows = self._store.leases.all()
        lease.look(self._lanes, rows)
        for target in {shard.target for shard in rows} - self.lanes.counts.keys():
            whole = Shard(target)
            if self._store.queue.in_flight(whole) and lease.contend(whole, rows) is not None:
                for delivery, epoch in self._store.queue.in_flight(whole):
                    maintenance.hold(self._store, delivery, epoch, self._clock())
                lease.release(whole)


def _log_fields(shard: Shard) -> dict[str, object]:
    """Return what the log says of a lane: which one it is, where the target has several."""
    return {"target": shard.target} | ({"shard": shard.number, "shards": shard.count} if shard.count > 1 else {})


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
