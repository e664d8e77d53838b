"""The maintenance of a lane, by the dispatcher's thread: wakes it where something is due, obeys the operator, recovers
what was left in flight, ends what is overdue.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from relay.clock import Clock, to_us
from relay.delivery import retry_policy
from relay.delivery.lane import Lane
from relay.delivery.runner import attempt_result, log_fields
from relay.i18n import Message, join
from relay.models import Delivery, DeliveryState, Kind, Outcome, Verdict
from relay.store import Expiry, LaneView, OperatorFlags, Store

log = structlog.get_logger("relay.delivery")

_ORPHANS_EVERY_S = 15.0
_OVERDUE_EVERY_S = 60.0
_CLOCK_WAS_AHEAD = "they were due later than any wait allows: the clock had been ahead"


class LaneMaintenance:
    """Maintains one lane that is this process's."""

    def __init__(self, lane: Lane, store: Store, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._lane, self._store, self._clock, self._monotonic = lane, store, clock, monotonic
        self._flags: OperatorFlags | None = None
        self._suspects: set[int] = set()  # `sending` on disk, but no thread works on it
        self._former_ends_at: float | None = None  # until then a former owner's requests may be under way
        self._orphans_at = self._overdue_at = float("-inf")
        self._is_new = False  # there may be waits left of a clock that was ahead

    def take_over(self, epoch: int, former_holds_until: float = float("-inf")) -> None:
        """Begin with a lane that was another's: what its former owner had in flight may have arrived.

        While that one may live (until then it may have begun requests), so may its requests; what they are about waits.
        """
        longest = self._lane.config.connect_timeout + self._lane.config.timeout
        self._former_ends_at = former_holds_until + longest.total_seconds()
        self._recover_former(epoch)
        self._flags = self._store.targets.flags(self._lane.name)
        self._lane.throttle.set_paused(self._flags.paused)
        self._suspects, self._is_new = set(), True
        self._orphans_at, self._overdue_at = self._monotonic(), float("-inf")

    def sweep(self, seen: LaneView) -> None:
        """Do what is to be done now that the lane stands like this."""
        if self._is_new:
            self._is_new = self._shorten_waits()
        if seen.flags != self._flags:
            self._obey(seen.flags)
        if self._lane.epoch is not None:
            self._recover_former(self._lane.epoch)
        if seen.due_us is not None and seen.due_us <= to_us(self._clock()):
            self._lane.wake()
        if self._monotonic() - self._orphans_at >= _ORPHANS_EVERY_S:
            self._orphans_at = self._monotonic()
            self._recover_orphans()
        if self._monotonic() - self._overdue_at >= _OVERDUE_EVERY_S and not self._end_overdue():
            self._overdue_at = self._monotonic()

    def clock_jumped(self, before: datetime, after: datetime) -> None:
        """Keep the length of the lane's own waits: the wall clock has jumped, and the store has followed."""
        self._lane.attempts.clock_jumps.append((before, after))
        self._lane.throttle.shift(after - before)

    def _shorten_waits(self) -> bool:
        """End waits that nothing explains but a clock that was ahead. Are there more?"""
        longest = retry_policy.longest_wait(self._lane.config)
        shortened = self._store.waits.shorten(self._lane.shard, self._clock(), longest)
        if shortened:
            log.warning("delivery.wait_shortened", target=self._lane.name, count=shortened, reason=_CLOCK_WAS_AHEAD)
        return shortened > 0

    def _obey(self, flags: OperatorFlags) -> None:
        former, self._flags = self._flags, flags
        self._lane.throttle.set_paused(flags.paused)
        if former is not None and flags.resumes != former.resumes:
            self._lane.throttle.resume()
            self._lane.wake()

    def _recover_former(self, epoch: int) -> None:
        """Recover what a former owner had in flight, once its requests must have ended."""
        if self._former_ends_at is None or self._monotonic() < self._former_ends_at:
            return
        for delivery, theirs in self._store.queue.in_flight(self._lane.shard):
            if theirs != epoch and delivery.seq not in self._lane.in_flight:
                self._recover(delivery, theirs, Message("the relay was killed while the answer was awaited"))
        self._former_ends_at = None

    def _recover_orphans(self) -> None:
        """Recover what stands as `sending` but no thread works on: a claim whose commit was not confirmed, or worse.

        It is one only when it was one a while ago already: no thread has begun with what was just claimed.
        """
        claimed = self._lane.claimed()
        in_flight = self._store.queue.in_flight(self._lane.shard)
        if self._former_ends_at is not None:
            in_flight = [(delivery, epoch) for delivery, epoch in in_flight if epoch == self._lane.epoch]
        orphans = {delivery.seq: (delivery, epoch) for delivery, epoch in in_flight if delivery.seq not in claimed}
        for seq in self._suspects & orphans.keys():
            delivery, epoch = orphans[seq]
            if epoch == self._lane.epoch and seq not in self._lane.unrecorded:
                self._store.queue.unclaim(delivery, epoch)  # surely not sent
            else:
                self._recover(delivery, epoch, Message("the relay lost hold of it; it may have been sent"))
            self._lane.unrecorded.discard(seq)
        self._suspects = set(orphans)

    def _recover(self, delivery: Delivery, epoch: int, reason: str) -> None:
        log.warning("delivery.recovered", **log_fields(delivery), reason=reason)
        outcome = Outcome(name="unclear", reason=reason)
        began = delivery.tried_at or self._clock()
        self._store.queue.record(self._lane.attempts.result(delivery, epoch, began, outcome))

    def _end_overdue(self) -> bool:
        """Look for what is too old: while a target is not open hardly anything is tried.

        Ends one page of it, for the other lanes wait meanwhile, and so does the lease. Is there more?
        """
        if self._flags is not None and self._flags.paused:
            return False  # nobody ages: how long it was is known when it ends
        config, health = self._lane.config, self._lane.throttle.health
        for kind, limit in config.expire.items():
            if self._end(limit, kind, "expired", retry_policy.expiry(limit)):
                return True
        reason: str = Message("given up after %(span)s", span=config.give_up_after)
        if health.state != "open":
            state = Message("the target is %(state)s: %(reason)s", state=Message(health.state), reason=health.reason)
            reason = join(reason, state)
        return self._end(config.give_up_after, None, "dead", reason)

    def _end(self, limit: timedelta, kind: Kind | None, state: DeliveryState, reason: str) -> bool:
        """Has it ended something? Then there may be more."""
        now, gap = self._clock(), self._lane.config.call_gap
        overdue = self._store.waits.list_overdue(self._lane.shard, now - limit, kind)
        if not overdue:
            return False
        ended = self._store.waits.expire(
            [Expiry(delivery, state, _with_last_reason(reason, delivery), now, gap) for delivery in overdue]
        )
        level = log.error if state == "dead" else log.warning
        level("delivery.outlived", target=self._lane.name, now=state, count=ended, reason=reason)
        return ended > 0


def hold(store: Store, delivery: Delivery, epoch: int, now: datetime) -> None:
    """Let the operator decide: what was in flight to a target when it was removed from the configuration."""
    reason = Message("the target was removed while the answer was awaited; it may have arrived")
    verdict = Verdict(state="held", at=now, failures=delivery.failures, unclear=delivery.unclear + 1, reason=reason)
    outcome = Outcome(name="unclear", reason=reason)
    store.queue.record(attempt_result(delivery, epoch, verdict, outcome, delivery.tried_at or now))


def _with_last_reason(reason: str, delivery: Delivery) -> str:
    return Message("%(reason)s; last: %(last)s", reason=reason, last=delivery.reason) if delivery.reason else reason
