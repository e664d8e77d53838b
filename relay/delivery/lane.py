"""A lane: the deliveries of one target. Its threads claim, send and record; each holds one delivery at a time.

No request goes out before its delivery stands as `sending` on disk, so a kill leaves at most as many
unclear deliveries as the lane has threads.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from msgspec.structs import replace

from relay.clock import Clock
from relay.delivery import log_events, target_health
from relay.delivery.log_events import Watch
from relay.delivery.runner import AttemptRunner
from relay.delivery.target_health import call_of
from relay.delivery.throttle import Permit, Throttle
from relay.delivery.token_bucket import TokenBucket
from relay.errors import Interrupted, OwnershipLost, StoreError
from relay.models import Outcome, TargetHealth
from relay.store import AttemptResult, Claim, ClaimedDelivery, Store
from relay.targets.base import Adapter

log = structlog.get_logger("relay.delivery")

_STORE_RETRY_S = 1.0
_FRESH = timedelta(minutes=1)  # while a backlog drains, calls accepted since then get every second slot
_STAYS_BEHIND_S = 5.0


class Claimed(NamedTuple):
    """What a thread works on: claimed, and with leave to make a request."""

    job: ClaimedDelivery
    permit: Permit


class Lane:
    def __init__(
        self, adapter: Adapter, store: Store, clock: Clock, *, bucket: TokenBucket | None = None,
        monotonic: Callable[[], float] = time.monotonic, watch: Watch = lambda *_: None,
    ) -> None:  # fmt: skip
        self.adapter, self.policy, self._watch = adapter, adapter.settings, watch
        self.name = self.policy.name
        self.throttle = Throttle(bucket or TokenBucket(self.policy.rate, monotonic), clock, monotonic)
        self.epoch: int | None = None  #: under which the lane is this process's
        self.in_flight: dict[
            int, tuple[ClaimedDelivery, datetime]
        ] = {}  #: what threads have in their hands, by delivery seq
        self.unrecorded: set[int] = set()  #: may have been sent, but could not be recorded
        self._store, self._clock, self._monotonic = store, clock, monotonic
        self._lease_valid: Callable[[], bool] = lambda: True
        self._stopping = threading.Event()
        self.attempts = AttemptRunner(adapter, store, self.throttle, clock, self._stopping)
        self._saved = TargetHealth()  # what the store knows of the target
        self._condition = threading.Condition()
        self._wakeups = 0  # reasons to look for something due
        self._idle = 0  # threads that wait for the bell
        self._reserved: list[Permit] = []  # of them, to notifications that are just being stored
        self._inbox: deque[Claimed] = deque()
        self._threads: list[threading.Thread] = []
        self._turn = 0
        self._behind_at = float("-inf")  # when something was sent that had waited for longer than a minute

    def gain_ownership(self, epoch: int, lease_valid: Callable[[], bool]) -> None:
        """The lane is this process's. `may_send` is asked before each request: does the lease still hold?"""
        self._lease_valid = lease_valid
        self._saved = self._store.targets.health(self.name)
        self.throttle.begin(target_health.believable(self._saved, self._clock(), self.policy.retry_after_max))
        self.epoch = epoch
        if not self._threads:
            for number in range(self.policy.concurrency):
                thread = threading.Thread(target=self._work, name=f"lane-{self.name}-{number}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def lose_ownership(self) -> None:
        """The lane is another's: nothing more is begun."""
        self.epoch = None

    def wake(self) -> None:
        """There may be something to do."""
        with self._condition:
            self._wakeups = min(self._wakeups + 1, self.policy.concurrency)
            self._condition.notify()

    # --- a notification that is just being stored, and a thread that has nothing to do

    def reserve(self) -> int | None:
        """Promises a free hand to a notification: the epoch to claim its delivery under. None: there is none free."""
        if not self._condition.acquire(blocking=False):  # the lane is busy with itself
            return None
        try:
            free, epoch = self._idle - len(self._reserved) - len(self._inbox), self.epoch
            if epoch is None or self._wakeups or free < 1 or self._stopping.is_set() or not self.throttle.is_open:
                return None
            if not isinstance(permit := self.throttle.take(), Permit):
                return None
            with permit:
                if permit.probe:
                    return None
                self._reserved.append(permit.keep())
            return epoch
        finally:
            self._condition.release()

    def release(self) -> None:
        """The promise is not needed."""
        with self._condition:
            self._reserved.pop().release()
            self._condition.notify()

    def take(self, job: ClaimedDelivery) -> None:
        """The promise is kept: the job goes to the free hand."""
        with self._condition:
            self._inbox.append(Claimed(job, self._reserved.pop()))
            self._condition.notify()

    def handed(self) -> set[int]:
        """What waits for its thread, by delivery seq."""
        with self._condition:
            return {held.job.delivery.seq for held in self._inbox}

    # --- stopping

    def stop_claiming(self) -> None:
        """What is in flight goes on; nothing new is begun."""
        self._stopping.set()
        if self._condition.acquire(blocking=False):  # called from a signal handler too: never wait here
            self._condition.notify_all()
            self._condition.release()

    def stop(self, deadline: float) -> None:
        """Waits until `deadline` (monotonic) for what is in flight; what cannot finish is recorded as unclear."""
        self.stop_claiming()
        for thread in self._threads:
            with self._condition:
                self._condition.notify_all()
            thread.join(max(0.0, deadline - self._monotonic()))
        for held in self._inbox:
            self._unclaim(held.job)
        unanswered = Outcome(name="unclear", reason="the relay was stopped while the answer was awaited")
        for job, began in list(self.in_flight.values()):
            try:
                self._store.queue.record(
                    self.attempts.result(job.delivery, job.epoch, began, unanswered, is_open=self.throttle.is_well)
                )
            except StoreError as exc:  # on disk it stands as `sending`, which says the same
                log.error("delivery.not_recorded", **log_events.fields(job.delivery), reason=str(exc))

    # --- one thread

    def _work(self) -> None:
        held: Claimed | None = None
        while not self._stopping.is_set():
            try:
                held = self._deliver(held) if held is not None else self._next()
            except StoreError as exc:
                held = None
                log.error("delivery.store_unusable", target=self.name, reason=str(exc))
                self._stopping.wait(_STORE_RETRY_S)
            except Exception:  # a fault of ours must not end the lane; what it held is found by the upkeep
                held = None
                log.exception("delivery.lane_failed", target=self.name)
                self._stopping.wait(_STORE_RETRY_S)
        if held is not None:
            self._unclaim(held.job)
        self.adapter.close()

    def _next(self) -> Claimed | None:
        """Waits for the bell, then claims. None: nothing is due, or the lane is stopping."""
        permit = self._wait()
        return self._take_next(permit) if isinstance(permit, Permit) else permit

    def _take_next(self, permit: Permit) -> Claimed | None:
        """Claims what is due next; without such, the permit goes back."""
        with permit:
            epoch = self.epoch
            job = None if epoch is None else self._store.queue.claim(self._claim(permit, epoch))
            if job is None:
                return None
            self.wake()  # where there was one there may be more, for a neighbour
            return Claimed(job, permit.keep())

    def _wait(self) -> Permit | Claimed | None:
        """Something that was handed over, or leave to claim."""
        with self._condition:
            while not self._stopping.is_set():
                if self._inbox:
                    return self._inbox.popleft()
                wait = 1.0
                if self._wakeups and self.epoch is not None and self._idle >= len(self._reserved):
                    permit = self.throttle.take()
                    if isinstance(permit, Permit):
                        self._wakeups -= 1
                        return permit
                    wait = permit
                self._idle += 1
                self._condition.wait(wait)
                self._idle -= 1
        return None

    def _claim(self, permit: Permit, epoch: int) -> Claim:
        now = self._clock()
        self._turn += 1
        behind = self._monotonic() - self._behind_at < _STAYS_BEHIND_S
        every_second = behind and self._turn % 2 and not permit.probe
        fresh_since = now.replace(microsecond=0) - _FRESH if every_second else None
        return Claim(self.name, epoch, now, fresh_since, permit.probe)

    def _is_ours(self, job: ClaimedDelivery) -> bool:
        """Asked before each request: may it still be made by this process?"""
        return self.epoch == job.epoch and self._lease_valid()

    def _deliver(self, held: Claimed) -> Claimed | None:
        """Sends one and records it; returns the next one, claimed in the same commit."""
        job, permit = held
        with permit:
            began = self._clock()
            if not self._is_ours(job):
                self._unclaim(job)
                return None
            expired = self.attempts.expired(job, began)
            if expired is not None:
                self._store.queue.record(expired)
                self.wake()
                return None
            if began - min(job.delivery.age_started_at, job.delivery.due_at) > _FRESH:
                self._behind_at = self._monotonic()
            self.in_flight[job.delivery.seq] = (job, began)
            try:
                return self._send(job, permit, began)
            except OwnershipLost as exc:  # as `sending` it is found by whoever has the lane now
                log.warning("delivery.lane_lost", **log_events.fields(job.delivery), reason=str(exc))
                return None
            except Interrupted:  # between two requests: what was done is remembered
                self._unclaim(job)
                return None
            except BaseException:  # whatever it was: it may have been sent
                self.unrecorded.add(job.delivery.seq)
                raise
            finally:
                self.in_flight.pop(job.delivery.seq, None)

    def _send(self, job: ClaimedDelivery, permit: Permit, began: datetime) -> Claimed | None:
        started, permit.is_used = self._monotonic(), True
        outcome = self.attempts.send(job, lambda: self._is_ours(job))
        took_ms = int((self._monotonic() - started) * 1000)
        before, after = permit.settle(outcome, call_of(job.delivery))
        log_events.health(self.name, before, after)
        return self._record(job, began, outcome, took_ms)

    def _record(self, job: ClaimedDelivery, began: datetime, outcome: Outcome, took_ms: int) -> Claimed | None:
        """Writes it down, however long the store takes: what is not recorded would be sent again."""
        result = self.attempts.result(
            job.delivery, job.epoch, began, outcome, took_ms=took_ms, is_open=self.throttle.is_well
        )
        log_events.attempt(job.delivery, result, outcome)
        self._watch(job.delivery, outcome, result)
        while True:
            try:
                return self._write(result)
            except StoreError as exc:
                if self._stopping.is_set():
                    raise
                log.error("delivery.not_recorded", **log_events.fields(job.delivery), reason=str(exc))
                self._stopping.wait(_STORE_RETRY_S)

    def _write(self, result: AttemptResult) -> Claimed | None:
        """With leave to go on at once, the next one is claimed in the same commit."""
        health, epoch = self.throttle.health, self.epoch
        result = replace(result, health=None if health == self._saved else health)
        permit = self.throttle.take() if epoch is not None and not self._stopping.is_set() else None
        if epoch is None or not isinstance(permit, Permit):
            self._store.queue.record(result)
            self._saved = health
            self.wake()  # somebody may do it when there is leave again
            return None
        with permit:
            following = self._store.queue.record(replace(result, claim_next=self._claim(permit, epoch)))
            self._saved = health
            return None if following is None else Claimed(following, permit.keep())

    def _unclaim(self, job: ClaimedDelivery) -> None:
        try:
            self._store.queue.unclaim(job.delivery, job.epoch)
        except StoreError as exc:
            log.error("delivery.not_put_back", **log_events.fields(job.delivery), reason=str(exc))
