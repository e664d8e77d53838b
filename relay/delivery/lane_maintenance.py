"""The upkeep of a lane, by the dispatcher's thread: rings where something is due, obeys the operator, takes in what
was left behind, ends what has outlived its time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from relay.clock import Clock, to_us
from relay.delivery import log_events, retry_policy
from relay.delivery.lane import Lane
from relay.models import Attempt, Delivery, DeliveryState, Kind, Outcome
from relay.store import AttemptResult, Expiry, OperatorFlags, Store

log = structlog.get_logger("relay.delivery")

_ORPHANS_EVERY_S = 15.0
_OUTLIVED_EVERY_S = 60.0
_CLOCK_WAS_AHEAD = "they were due later than any wait allows: the clock had been ahead"


class LaneMaintenance:
    """Of one lane that is this process's."""

    def __init__(self, lane: Lane, store: Store, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._lane, self._store, self._clock, self._monotonic = lane, store, clock, monotonic
        self._orders: OperatorFlags | None = None
        self._suspects: set[int] = set()  # `sending` on disk, but in no thread's hands
        self._orphans_at = self._outlived_at = float("-inf")
        self._is_new = False  # there may be waits left of a clock that was ahead

    def begin(self, epoch: int) -> None:
        """The lane has just been taken over: what its former owner had in `sending` may have arrived."""
        for delivery, theirs in self._store.queue.in_flight(self._lane.name):
            if theirs != epoch and delivery.seq not in self._lane.in_flight:
                self._take_in(delivery, theirs, "the relay was killed while the answer was awaited")
        _, self._orders = self._store.queue.poll([self._lane.name])[self._lane.name]
        self._lane.throttle.hold(self._orders.paused)
        self._suspects, self._is_new = set(), True
        self._orphans_at, self._outlived_at = self._monotonic(), float("-inf")

    def sweep(self, due_at: int | None, flags: OperatorFlags) -> None:
        """Act on what the store has for the lane: when its next delivery is due, and what the operator wants."""
        if self._is_new:
            self._is_new = self._shorten_waits()
        if flags != self._orders:
            self._obey(flags)
        if due_at is not None and due_at <= to_us(self._clock()):
            self._lane.wake()
        if self._monotonic() - self._orphans_at >= _ORPHANS_EVERY_S:
            self._orphans_at = self._monotonic()
            self._take_in_orphans()
        if self._monotonic() - self._outlived_at >= _OUTLIVED_EVERY_S and not self._end_outlived():
            self._outlived_at = self._monotonic()

    def clock_stepped(self, before: datetime, after: datetime) -> None:
        """The wall clock has stepped, and the store has followed: the waits of this lane keep their length."""
        self._lane.attempts.clock_steps.append((before, after))
        self._lane.throttle.shift(after - before)

    def _shorten_waits(self) -> bool:
        """Ends waits that nothing explains but a clock that was ahead. Are there more?"""
        shortened = self._store.waits.shorten(
            self._lane.name, self._clock(), retry_policy.longest_wait(self._lane.policy)
        )
        if shortened:
            log.warning("delivery.wait_shortened", target=self._lane.name, count=shortened, reason=_CLOCK_WAS_AHEAD)
        return shortened > 0

    def _obey(self, orders: OperatorFlags) -> None:
        known, self._orders = self._orders, orders
        self._lane.throttle.hold(orders.paused)
        if known is not None and orders.resumes != known.resumes:
            self._lane.throttle.resume()
            self._lane.wake()

    def _take_in_orphans(self) -> None:
        """What stands as `sending` but is in nobody's hands: a claim whose commit was made but not confirmed.

        It is one only when it was one a while ago already: what has just been claimed is not in a thread's hands yet.
        """
        held = self._lane.in_flight.keys() | self._lane.handed()
        found = {d.seq: (d, epoch) for d, epoch in self._store.queue.in_flight(self._lane.name) if d.seq not in held}
        for seq in self._suspects & found.keys():
            delivery, epoch = found[seq]
            if epoch == self._lane.epoch and seq not in self._lane.unrecorded:
                self._store.queue.unclaim(delivery, epoch)  # surely not sent
            else:
                self._take_in(delivery, epoch, "the relay lost hold of it; it may have been sent")
            self._lane.unrecorded.discard(seq)
        self._suspects = set(found)

    def _take_in(self, delivery: Delivery, epoch: int, reason: str) -> None:
        log.warning("delivery.recovered", **log_events.fields(delivery), reason=reason)
        began = delivery.tried_at or self._clock()
        outcome = Outcome(name="unclear", reason=reason)
        is_well = self._lane.throttle.is_well
        self._store.queue.record(self._lane.attempts.result(delivery, epoch, began, outcome, is_open=is_well))

    def _end_outlived(self) -> bool:
        """While a target is not open hardly anything is tried: what is too old has to be looked for.

        Ends one page of it, for the other lanes wait meanwhile, and so does the lease. Is there more?
        """
        if self._orders is not None and self._orders.paused:
            return False  # nobody ages: how long it was is known when it ends
        now, policy = self._clock(), self._lane.policy
        for kind, limit in policy.expire.items():
            if self._end(limit, now, kind, "expired", retry_policy.expiry(limit)):
                return True
        health = self._lane.throttle.health
        why = f"; the target is {health.state}: {health.reason}" if health.state != "open" else ""
        return self._end(policy.give_up_after, now, None, "dead", f"given up after {policy.give_up_after}{why}")

    def _end(self, limit: timedelta, now: datetime, kind: Kind | None, state: DeliveryState, reason: str) -> bool:
        """Has it ended something? Then there may be more."""
        found = self._store.waits.list_overdue(self._lane.name, now - limit, kind)
        if not found:
            return False
        gap = self._lane.policy.call_gap
        endings = [Expiry(delivery, state, _last_words(delivery, reason), now, gap) for delivery in found]
        ended = self._store.waits.expire(endings)
        level = log.error if state == "dead" else log.warning
        level("delivery.outlived", target=self._lane.name, now=state, count=ended, reason=reason)
        return ended > 0


def hold(store: Store, delivery: Delivery, epoch: int, now: datetime) -> None:
    """What a target had in `sending` when it was removed from the configuration waits for the operator."""
    reason = "the target was removed while the answer was awaited; it may have arrived"
    attempt = Attempt(
        number=delivery.attempts + 1, at=delivery.tried_at or now, took_ms=0, status=None, outcome="unclear",
        reason=reason,
    )  # fmt: skip
    store.queue.record(
        AttemptResult(
            delivery=delivery, epoch=epoch, state="held", due_at=now, failures=delivery.failures,
            unclear=delivery.unclear + 1, delivered_at=None, reason=reason, remote_id=delivery.remote_id,
            attempt=attempt,
        )
    )  # fmt: skip


def _last_words(delivery: Delivery, reason: str) -> str:
    return f"{reason}; last: {delivery.reason}" if delivery.reason else reason
