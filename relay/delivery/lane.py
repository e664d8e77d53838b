"""A lane: the deliveries of one target, or of a shard of it. Its threads claim, send and record; each works on one
delivery at a time. All of them together, as whoever stores a notification finds them.

No request goes out before its delivery stands as `sending` on disk, so a kill leaves at most as many
unclear deliveries as the lane has threads.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
from msgspec.structs import replace

from relay.clock import Clock
from relay.delivery import retry_policy
from relay.delivery.runner import AttemptRunner, log_attempt, log_fields
from relay.delivery.throttle import Permit, Throttle, TokenBucket
from relay.errors import Interrupted, OwnershipLost, StoreError
from relay.i18n import Message, said
from relay.models import ClaimedDelivery, Delivery, Outcome, Shard, TargetHealth
from relay.store import AttemptResult, Claim, Probe, Store
from relay.store.engine import Changes
from relay.targets.base import Adapter

log = structlog.get_logger("relay.delivery")

Answer = TypeVar("Answer")

_STORE_RETRY_S = 1.0
_FRESH = timedelta(minutes=1)  # while a backlog drains, calls accepted since then get every second claim
_BACKLOG_FOR_S = 5.0

Observer = Callable[[AttemptResult], None]
"""Is told of each attempt; must be quick, and never fail."""


class Lane:
    def __init__(
        self,
        adapter: Adapter,
        store: Store,
        clock: Clock,
        *,
        bucket: TokenBucket | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        observe: Observer = lambda *_: None,
        stopping: threading.Event | None = None,
        shard: Shard | None = None,
        keeps_exchanges: bool = True,
    ) -> None:
        self.adapter, self.config, self._observe = adapter, adapter.settings, observe
        self.name = self.config.name  #: the target's
        self.shard = shard or Shard(self.name)
        self._concurrency = self.shard.part(self.config.concurrency)
        self.throttle = Throttle(bucket or TokenBucket(self.config.rate, monotonic), clock, monotonic)
        self.epoch: int | None = None  #: under which the lane is this process's
        self.lease_ends_at = -math.inf  #: by `monotonic`; moves with each renewal, and no request is begun later
        self.in_flight: dict[int, tuple[ClaimedDelivery, datetime]] = {}  #: and since when, by delivery seq
        self.unrecorded: set[int] = set()  #: may have been sent, but could not be recorded
        self._store, self._clock, self._monotonic = store, clock, monotonic
        self._stopping = stopping or threading.Event()
        self._stopped = threading.Event()  # nobody waits any more for what is in flight
        self.attempts = AttemptRunner(
            adapter, store, self.throttle, clock, self._stopping, keeps_exchanges=keeps_exchanges
        )
        self._saved = TargetHealth()  # what the store knows of the target
        self._unsaved = 0  # threads that have learned something of it which is not in the store yet
        self._condition = threading.Condition()
        self._wakeups = 0  # reasons to look for something due
        self._idle = 0  # threads that wait for something to do
        self._reserved: list[Permit] = []  # of them, for notifications that are just being stored
        self._assigned: deque[tuple[ClaimedDelivery, Permit]] = deque()  # claimed already, for the next free thread
        self._threads: list[threading.Thread] = []
        self._claims = 0
        self._backlog_at = float("-inf")  # when something was sent that had waited for longer than a minute

    def gain_ownership(self, epoch: int, lease_ends_at: float) -> None:
        """Make the lane this process's."""
        self.lease_ends_at = lease_ends_at
        self._saved = self._store.targets.health(self.name)
        self.throttle.restore(retry_policy.believable(self._saved, self._clock(), self.config.retry_after_max))
        self.epoch = epoch

    def lose_ownership(self) -> None:
        """Begin nothing more: the lane is another's."""
        self.epoch = None

    def start(self) -> None:
        """Start the lane's threads, unless they run."""
        while len(self._threads) < self._concurrency:
            name = f"lane-{self.name}-{self.shard.number}-{len(self._threads)}"
            self._threads.append(threading.Thread(target=self._run, name=name, daemon=True))
            self._threads[-1].start()

    def known(self) -> int | None:
        """Return a mark of what is known of the target before the store is asked; None: the store does not know it."""
        with self._condition:
            return None if self._unsaved else self.throttle.learned

    def adopt(self, health: TargetHealth, known: int | None) -> None:
        """Think of the target as its other lanes do: the store has this of it, asked after `known`."""
        if known is None or health == self._saved:
            return
        believable = retry_policy.believable(health, self._clock(), self.config.retry_after_max)
        if self.throttle.adopt(believable, known):
            self._saved = health

    def wake(self) -> None:
        """Let a thread look for something due."""
        with self._condition:
            self._wakeups = min(self._wakeups + 1, self._concurrency)
            self._condition.notify()

    # --- a notification that is just being stored, and a thread that has nothing to do

    def reserve(self) -> int | None:
        """Reserve an idle thread; return the epoch to claim the notification's delivery under. None: there is none."""
        if not self._condition.acquire(blocking=False):  # the lane is busy with itself
            return None
        try:
            free, epoch = self._idle - len(self._reserved) - len(self._assigned), self.epoch
            if epoch is None or self._wakeups or free < 1 or self._stopping.is_set() or not self.throttle.is_well:
                return None
            if (permit := self.throttle.try_acquire()) is None:
                return None
            with permit:
                if permit.probe:
                    return None
                self._reserved.append(permit.keep())
            return epoch
        finally:
            self._condition.release()

    def release(self) -> None:
        """Release a thread that is not needed after all."""
        with self._condition:
            self.throttle.release(self._reserved.pop())
            self._condition.notify()

    def assign(self, claimed: ClaimedDelivery) -> None:
        """Give the delivery to the thread that was reserved for it."""
        with self._condition:
            self._assigned.append((claimed, self._reserved.pop()))
            self._condition.notify()

    def is_idle(self) -> bool:
        """Is nothing under way: neither a delivery, nor a claim, nor a notification that may be claimed at once?"""
        with self._condition:
            waiting = not (self._reserved or self._assigned or self.in_flight)
            return waiting and self._idle == len(self._threads)

    def claimed(self) -> set[int]:
        """Return what is in flight or waits for its thread, by delivery seq."""
        with self._condition:
            return self.in_flight.keys() | {claimed.delivery.seq for claimed, _ in self._assigned}

    # --- stopping

    def stop_claiming(self) -> None:
        """Begin nothing new; what is in flight goes on."""
        self._stopping.set()
        if self._condition.acquire(blocking=False):  # called from a signal handler too: never wait here
            self._condition.notify_all()
            self._condition.release()

    def stop(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic) for what is in flight; record as unclear what cannot finish."""
        self.stop_claiming()
        for thread in self._threads:
            with self._condition:
                self._condition.notify_all()
            thread.join(max(0.0, deadline - self._monotonic()))
        self._stopped.set()
        self._unclaim_assigned()
        unanswered = Outcome(name="unclear", reason=Message("the relay was stopped while the answer was awaited"))
        for claimed, began in list(self.in_flight.values()):
            try:
                self._store.queue.record(self.attempts.result(claimed.delivery, claimed.epoch, began, unanswered))
            except StoreError as exc:  # on disk it stands as `sending`, which says the same
                log.error("delivery.not_recorded", **log_fields(claimed.delivery), reason=str(exc))

    # --- one unit of work, and the threads that do one after the other

    def step(self) -> bool:
        """Deliver what is due next. False: nothing is, or no request may be made now."""
        work = self._next_assigned() or self._claim_next()
        if work is None:
            return False
        self._deliver(*work)
        return True

    def _run(self) -> None:
        while self._wait():
            try:
                self.step()
            except StoreError as exc:
                log.error("delivery.store_unusable", target=self.name, reason=str(exc))
                self._stopping.wait(_STORE_RETRY_S)
            except Exception:  # a fault of ours must not end the lane; what it worked on is found by the maintenance
                log.exception("delivery.lane_failed", target=self.name)
                self._stopping.wait(_STORE_RETRY_S)
        self._unclaim_assigned()
        self.adapter.close()

    def _wait(self) -> bool:
        """Wait until there may be something to do. False: the lane stops."""
        with self._condition:
            while not self._stopping.is_set():
                if self._assigned:
                    return True
                wait_s = 1.0
                if self._wakeups and self.epoch is not None and self._idle >= len(self._reserved):
                    wait_s = self.throttle.wait_s()
                    if not wait_s:
                        self._wakeups -= 1
                        return True
                self._idle += 1
                self._condition.wait(wait_s)
                self._idle -= 1
        return False

    def _next_assigned(self) -> tuple[ClaimedDelivery, Permit] | None:
        with self._condition:
            return self._assigned.popleft() if self._assigned else None

    def _claim_next(self) -> tuple[ClaimedDelivery, Permit] | None:
        if (epoch := self.epoch) is None:
            return None
        if (permit := self.throttle.try_acquire()) is None:
            self.wake()  # a neighbour was quicker: somebody looks again when there is a permit
            return None
        with permit:
            claim = self._claim(permit, epoch, self._saved)
            claimed = self._store.queue.claim(claim)
            if claimed is None:
                return None
            self._saved = _with_probe(self._saved, claim)
            self.wake()  # where there was one there may be more, for a neighbour
            return claimed, permit.keep()

    def _claim(self, permit: Permit, epoch: int, stored: TargetHealth) -> Claim:
        """Return what to ask for; `stored`: the target's health, as the store has it then."""
        now = self._clock()
        self._claims += 1
        has_backlog = self._monotonic() - self._backlog_at < _BACKLOG_FOR_S
        rather_fresh = has_backlog and self._claims % 2 and not permit.probe
        fresh_since = now.replace(microsecond=0) - _FRESH if rather_fresh else None
        answered_by = now + self.config.connect_timeout + self.config.timeout
        probe = Probe(stored.probe_at, answered_by) if permit.probe else None
        return Claim(self.shard, epoch, now, fresh_since, probe)

    def _is_ours(self, claimed: ClaimedDelivery) -> bool:
        """May a request for it still be made by this process?"""
        return self.epoch == claimed.epoch and self._monotonic() < self.lease_ends_at

    def _deliver(self, claimed: ClaimedDelivery, permit: Permit) -> None:
        delivery = claimed.delivery
        with permit:
            began = self._clock()
            if not self._is_ours(claimed):
                self._unclaim(claimed)
                return
            expired = self.attempts.expired(claimed, began)
            if expired is not None:
                self._store.queue.record(expired)
                self.wake()
                return
            if began - min(delivery.age_started_at, delivery.due_at) > _FRESH:
                self._backlog_at = self._monotonic()
            self.in_flight[delivery.seq] = (claimed, began)
            try:
                self._send(claimed, permit, began)
            except OwnershipLost as exc:  # no request is under way any more: whoever has the lane now need not wait
                log.warning("delivery.lane_lost", **log_fields(delivery), reason=str(exc))
                lost = Outcome(name="unclear", reason=said(exc))
                self._store.queue.record(self.attempts.result(delivery, claimed.epoch, began, lost))
            except Interrupted:  # between two requests: what was done is remembered
                self._unclaim(claimed)
            except BaseException:  # whatever it was: it may have been sent
                self.unrecorded.add(delivery.seq)
                raise
            finally:
                self.in_flight.pop(delivery.seq, None)

    def _send(self, claimed: ClaimedDelivery, permit: Permit, began: datetime) -> None:
        started, permit.is_used = self._monotonic(), True
        outcome = self.attempts.send(claimed, lambda: self._is_ours(claimed))
        took_ms = int((self._monotonic() - started) * 1000)
        with self._condition:
            self._unsaved += 1
        try:
            self._learn(claimed, permit, outcome, began, took_ms)
        finally:
            with self._condition:
                self._unsaved -= 1

    def _learn(self, claimed: ClaimedDelivery, permit: Permit, outcome: Outcome, began: datetime, took_ms: int) -> None:
        """Record what the attempt came to, and what that says of the target."""
        before, after = self.throttle.record_outcome(permit, outcome, retry_policy.call_key(claimed.delivery))
        if before.state != after.state:
            level = log.info if after.state == "open" else log.error
            level(f"target.{after.state}", target=self.name, reason=after.reason, since=before.since or after.since)
        result = self._once_stored(
            claimed.delivery,
            lambda: self.attempts.result(claimed.delivery, claimed.epoch, began, outcome, took_ms=took_ms),
        )
        log_attempt(result)
        self._observe(result)
        self._once_stored(claimed.delivery, lambda: self._record_and_claim(result))

    def _once_stored(self, delivery: Delivery, ask_store: Callable[[], Answer]) -> Answer:
        """Ask the store, for as long as somebody waits: an answer that is not recorded would be asked for again."""
        while True:
            try:
                return ask_store()
            except StoreError as exc:
                if self._stopped.is_set():
                    raise
                log.error("delivery.not_recorded", **log_fields(delivery), reason=str(exc))
                (self._stopped if self._stopping.is_set() else self._stopping).wait(_STORE_RETRY_S)

    def _record_and_claim(self, result: AttemptResult) -> None:
        """Record it; with a permit to go on at once, claim the next one in the same commit."""
        health, epoch = self.throttle.health, self.epoch
        result = replace(result, health=None if health == self._saved else health)
        permit = self.throttle.try_acquire() if epoch is not None and not self._stopping.is_set() else None
        if epoch is None or permit is None:
            self._store.queue.record(result)
            self._saved = health
            self.wake()  # somebody may go on when there is a permit again
            return
        with permit:
            claim = self._claim(permit, epoch, health)
            following = self._store.queue.record(replace(result, claim_next=claim))
            self._saved = health
            if following is not None:
                self._saved = _with_probe(health, claim)
                with self._condition:
                    self._assigned.append((following, permit.keep()))

    def _unclaim_assigned(self) -> None:
        """Put back what no thread will come to."""
        while (work := self._next_assigned()) is not None:
            self._unclaim(work[0])

    def _unclaim(self, claimed: ClaimedDelivery) -> None:
        try:
            self._store.queue.unclaim(claimed.delivery, claimed.epoch)
        except StoreError as exc:
            log.error("delivery.not_put_back", **log_fields(claimed.delivery), reason=str(exc))


def _with_probe(stored: TargetHealth, claim: Claim) -> TargetHealth:
    """Return the health as the store has it after this claim."""
    return stored if claim.probe is None else replace(stored, probe_at=claim.probe.until)


class Lanes:
    """The lanes of all targets, each found by its target and by the slot of a call."""

    def __init__(self, lanes: Sequence[Lane], changes: Changes) -> None:
        self.by_shard = {lane.shard: lane for lane in lanes}
        self.counts = {lane.name: lane.shard.count for lane in lanes}  #: of lanes, by target
        self.has_new = False  #: something was stored since the dispatcher looked at what is due
        self.may_wait_long = False  #: the dispatcher looks again before long only if it is woken
        self._changes = changes

    def reserve(self, targets: Iterable[str], slot: int) -> dict[str, int]:
        """Reserve a thread of each lane that has an idle one, for a notification that is just being stored; return the
        epochs to claim under, by target.
        """
        epochs = {name: lane.reserve() for name in targets if (lane := self._find(name, slot)) is not None}
        return {name: epoch for name, epoch in epochs.items() if epoch is not None}

    def release(self, targets: Iterable[str], slot: int) -> None:
        """Release the threads that are not needed after all."""
        for name in targets:
            if (lane := self._find(name, slot)) is not None:
                lane.release()

    def dispatch(self, claimed: Iterable[ClaimedDelivery], targets: Iterable[str], slot: int) -> None:
        """Give what is claimed to the threads that were reserved for it; something new is due for the targets."""
        self.has_new = True
        if self.may_wait_long:
            self._changes.woken.set()
        for one in claimed:
            if (lane := self._find(one.delivery.target, slot)) is not None:
                lane.assign(one)
        for target in targets:
            lane = self._find(target, slot)
            if lane is not None and lane.epoch is not None:
                lane.wake()
            else:
                self._changes.tell_others()

    def _find(self, target: str, slot: int) -> Lane | None:
        count = self.counts.get(target)
        return None if count is None else self.by_shard.get(Shard(target, slot % count, count))
