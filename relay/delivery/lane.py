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

from relay.delivery import breaker, reports
from relay.delivery.attempts import Adapter, Attempts
from relay.delivery.breaker import call_of
from relay.delivery.bucket import Bucket
from relay.delivery.gate import Gate, Permit
from relay.delivery.reports import Watch
from relay.errors import Interrupted, OwnershipLost, StoreError
from relay.events import Health, Outcome
from relay.store import Claim, Job, Result, Store
from relay.times import Clock

log = structlog.get_logger("relay.delivery")

_STORE_RETRY_S = 1.0
_FRESH = timedelta(minutes=1)  # while a backlog drains, calls accepted since then get every second slot
_STAYS_BEHIND_S = 5.0


class _Held(NamedTuple):
    """What a thread works on: claimed, and with leave to make a request."""

    job: Job
    permit: Permit


class Lane:
    def __init__(
        self, adapter: Adapter, store: Store, clock: Clock, *, bucket: Bucket | None = None,
        monotonic: Callable[[], float] = time.monotonic, watch: Watch = lambda *_: None,
    ) -> None:  # fmt: skip
        self.adapter, self.policy, self._watch = adapter, adapter.settings, watch
        self.name = self.policy.name
        self.gate = Gate(bucket or Bucket(self.policy.rate, monotonic), clock, monotonic)
        self.epoch: int | None = None  #: under which the lane is this process's
        self.in_flight: dict[int, tuple[Job, datetime]] = {}  #: what threads have in their hands, by delivery seq
        self.unrecorded: set[int] = set()  #: may have been sent, but could not be recorded
        self._store, self._clock, self._monotonic = store, clock, monotonic
        self._may_send: Callable[[], bool] = lambda: True
        self._stopping = threading.Event()
        self.attempts = Attempts(adapter, store, self.gate, clock, self._stopping)
        self._saved = Health()  # what the store knows of the target
        self._bell = threading.Condition()
        self._rings = 0  # reasons to look for something due
        self._idle = 0  # threads that wait for the bell
        self._promised: list[Permit] = []  # of them, to notifications that are just being stored
        self._handed: deque[_Held] = deque()
        self._threads: list[threading.Thread] = []
        self._turn = 0
        self._behind_at = float("-inf")  # when something was sent that had waited for longer than a minute

    def own(self, epoch: int, may_send: Callable[[], bool]) -> None:
        """The lane is this process's. `may_send` is asked before each request: does the lease still hold?"""
        self._may_send = may_send
        self._saved = self._store.health(self.name)
        self.gate.begin(breaker.believable(self._saved, self._clock(), self.policy.retry_after_max))
        self.attempts.standstills = self._store.standstills(self.name)
        self.epoch = epoch
        if not self._threads:
            for number in range(self.policy.concurrency):
                thread = threading.Thread(target=self._work, name=f"lane-{self.name}-{number}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def disown(self) -> None:
        """The lane is another's: nothing more is begun."""
        self.epoch = None

    def wake(self) -> None:
        """There may be something to do."""
        with self._bell:
            self._rings = min(self._rings + 1, self.policy.concurrency)
            self._bell.notify()

    # --- a notification that is just being stored, and a thread that has nothing to do

    def reserve(self) -> int | None:
        """Promises a free hand to a notification: the epoch to claim its delivery under. None: there is none free."""
        if not self._bell.acquire(blocking=False):  # the lane is busy with itself
            return None
        try:
            free, epoch = self._idle - len(self._promised) - len(self._handed), self.epoch
            if epoch is None or self._rings or free < 1 or self._stopping.is_set() or not self.gate.is_open:
                return None
            if not isinstance(permit := self.gate.take(), Permit):
                return None
            with permit:
                if permit.probe:
                    return None
                self._promised.append(permit.keep())
            return epoch
        finally:
            self._bell.release()

    def release(self) -> None:
        """The promise is not needed."""
        with self._bell:
            self._promised.pop().give_back()
            self._bell.notify()

    def take(self, job: Job) -> None:
        """The promise is kept: the job goes to the free hand."""
        with self._bell:
            self._handed.append(_Held(job, self._promised.pop()))
            self._bell.notify()

    def handed(self) -> set[int]:
        """What waits for its thread, by delivery seq."""
        with self._bell:
            return {held.job.delivery.seq for held in self._handed}

    # --- stopping

    def stop_claiming(self) -> None:
        """What is in flight goes on; nothing new is begun."""
        self._stopping.set()
        if self._bell.acquire(blocking=False):  # called from a signal handler too: never wait here
            self._bell.notify_all()
            self._bell.release()

    def stop(self, deadline: float) -> None:
        """Waits until `deadline` (monotonic) for what is in flight; what cannot finish is recorded as unclear."""
        self.stop_claiming()
        for thread in self._threads:
            with self._bell:
                self._bell.notify_all()
            thread.join(max(0.0, deadline - self._monotonic()))
        for held in self._handed:
            self._put_back(held.job)
        unanswered = Outcome(name="unclear", reason="the relay was stopped while the answer was awaited")
        for job, began in list(self.in_flight.values()):
            try:
                self._store.record(
                    self.attempts.result(job.delivery, job.epoch, began, unanswered, is_open=self.gate.is_well)
                )
            except StoreError as exc:  # on disk it stands as `sending`, which says the same
                log.error("delivery.not_recorded", **reports.fields(job.delivery), reason=str(exc))

    # --- one thread

    def _work(self) -> None:
        held: _Held | None = None
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
            self._put_back(held.job)
        self.adapter.close()

    def _next(self) -> _Held | None:
        """Waits for the bell, then claims. None: nothing is due, or the lane is stopping."""
        permit = self._wait()
        return self._take_next(permit) if isinstance(permit, Permit) else permit

    def _take_next(self, permit: Permit) -> _Held | None:
        """Claims what is due next; without such, the permit goes back."""
        with permit:
            epoch = self.epoch
            job = None if epoch is None else self._store.claim(self._claim(permit, epoch))
            if job is None:
                return None
            self.wake()  # where there was one there may be more, for a neighbour
            return _Held(job, permit.keep())

    def _wait(self) -> Permit | _Held | None:
        """Something that was handed over, or leave to claim."""
        with self._bell:
            while not self._stopping.is_set():
                if self._handed:
                    return self._handed.popleft()
                wait = 1.0
                if self._rings and self.epoch is not None and self._idle >= len(self._promised):
                    permit = self.gate.take()
                    if isinstance(permit, Permit):
                        self._rings -= 1
                        return permit
                    wait = permit
                self._idle += 1
                self._bell.wait(wait)
                self._idle -= 1
        return None

    def _claim(self, permit: Permit, epoch: int) -> Claim:
        now = self._clock()
        self._turn += 1
        behind = self._monotonic() - self._behind_at < _STAYS_BEHIND_S
        every_second = behind and self._turn % 2 and not permit.probe
        fresh_since = now.replace(microsecond=0) - _FRESH if every_second else None
        return Claim(self.name, epoch, now, fresh_since, permit.probe)

    def _is_ours(self, job: Job) -> bool:
        """Asked before each request: may it still be made by this process?"""
        return self.epoch == job.epoch and self._may_send()

    def _deliver(self, held: _Held) -> _Held | None:
        """Sends one and records it; returns the next one, claimed in the same commit."""
        job, permit = held
        with permit:
            began = self._clock()
            if not self._is_ours(job):
                self._put_back(job)
                return None
            expired = self.attempts.expired(job, began)
            if expired is not None:
                self._store.record(expired)
                self.wake()
                return None
            if began - job.delivery.aged_from > _FRESH:
                self._behind_at = self._monotonic()
            self.in_flight[job.delivery.seq] = (job, began)
            try:
                return self._send(job, permit, began)
            except OwnershipLost as exc:  # as `sending` it is found by whoever has the lane now
                log.warning("delivery.lane_lost", **reports.fields(job.delivery), reason=str(exc))
                return None
            except Interrupted:  # between two requests: what was done is remembered
                self._put_back(job)
                return None
            except BaseException:  # whatever it was: it may have been sent
                self.unrecorded.add(job.delivery.seq)
                raise
            finally:
                self.in_flight.pop(job.delivery.seq, None)

    def _send(self, job: Job, permit: Permit, began: datetime) -> _Held | None:
        started, permit.is_used = self._monotonic(), True
        outcome = self.attempts.send(job, lambda: self._is_ours(job))
        took_ms = int((self._monotonic() - started) * 1000)
        before, after = permit.settle(outcome, call_of(job.delivery))
        reports.health(self.name, before, after)
        return self._record(job, began, outcome, took_ms)

    def _record(self, job: Job, began: datetime, outcome: Outcome, took_ms: int) -> _Held | None:
        """Writes it down, however long the store takes: what is not recorded would be sent again."""
        result = self.attempts.result(
            job.delivery, job.epoch, began, outcome, took_ms=took_ms, is_open=self.gate.is_well
        )
        reports.attempt(job.delivery, result, outcome)
        self._watch(job.delivery, outcome, result)
        while True:
            try:
                return self._write(result)
            except StoreError as exc:
                if self._stopping.is_set():
                    raise
                log.error("delivery.not_recorded", **reports.fields(job.delivery), reason=str(exc))
                self._stopping.wait(_STORE_RETRY_S)

    def _write(self, result: Result) -> _Held | None:
        """With leave to go on at once, the next one is claimed in the same commit."""
        health, epoch = self.gate.health, self.epoch
        result = replace(result, health=None if health == self._saved else health)
        permit = self.gate.take() if epoch is not None and not self._stopping.is_set() else None
        if epoch is None or not isinstance(permit, Permit):
            self._store.record(result)
            self._saved = health
            self.wake()  # somebody may do it when there is leave again
            return None
        with permit:
            following = self._store.record(replace(result, then=self._claim(permit, epoch)))
            self._saved = health
            return None if following is None else _Held(following, permit.keep())

    def _put_back(self, job: Job) -> None:
        try:
            self._store.put_back(job.delivery, job.epoch)
        except StoreError as exc:
            log.error("delivery.not_put_back", **reports.fields(job.delivery), reason=str(exc))
