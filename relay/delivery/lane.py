"""A lane: the deliveries of one target. Its threads claim, send and record; each holds one delivery at a time.

No request goes out before its delivery stands as `sending` on disk, so a kill leaves at most as many
unclear deliveries as the lane has threads.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import structlog
from msgspec.structs import replace
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, stop_when_event_set
from tenacity.nap import sleep_using_event
from tenacity.wait import wait_random_exponential

from relay.delivery import schedule
from relay.delivery.bucket import Bucket
from relay.errors import StoreError
from relay.events import Attempt, Delivery, Outcome
from relay.settings import Target
from relay.store import Claim, Job, Result, Store
from relay.times import Clock, to_us

log = structlog.get_logger("relay.delivery")

_QUICK_TRIES = 3
_QUICK_WAIT_MAX_S = 2.0
_STORE_RETRY_S = 1.0
_ORPHANS_EVERY_S = 15.0


class Adapter(Protocol):
    """What a lane needs of a target: to send, and to say what came of it."""

    settings: Target

    def send(self, job: Job) -> Outcome:
        """Makes the requests that this delivery needs. Never raises for what the target or the network did."""

    def close(self) -> None:
        """Ends what the calling thread holds open at the target."""


class Lane:
    def __init__(
        self, adapter: Adapter, store: Store, clock: Clock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.adapter, self.policy = adapter, adapter.settings
        self.name = self.policy.name
        self._store, self._clock, self._monotonic = store, clock, monotonic
        self._bucket = Bucket(self.policy.rate, monotonic)
        self._stopping = threading.Event()
        self._bell = threading.Condition()
        self._rings = 0
        self._epoch = 0
        self._in_flight: dict[int, tuple[Job, datetime]] = {}  # by delivery seq
        self._threads: list[threading.Thread] = []
        self._suspects: set[int] = set()  # `sending` on disk, but in no thread's hands
        self._looked_at = float("-inf")

    def prepare(self, epoch: int) -> None:
        """Makes it this process's: what it claims from now on stands under this epoch."""
        self._epoch = epoch

    def start(self) -> None:
        for number in range(self.policy.concurrency):
            thread = threading.Thread(target=self._work, name=f"lane-{self.name}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def wake(self) -> None:
        """There may be something to do."""
        with self._bell:
            self._rings = min(self._rings + 1, self.policy.concurrency)
            self._bell.notify()

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
        unanswered = Outcome(name="unclear", reason="the relay was stopped while the answer was awaited")
        for job, began in list(self._in_flight.values()):
            try:
                self._record(job, began, unanswered)
            except StoreError:  # it has been logged; on disk it stands as `sending`, which says the same
                continue

    def recover(self) -> None:
        """Takes in what a former owner left in `sending`: those may have arrived."""
        for delivery, epoch in self._store.left_sending(self.name):
            self._take_in(delivery, epoch, "the relay was killed while the answer was awaited")

    def sweep(self) -> None:
        """Rings the bell where something is due; takes in what stands as `sending` but that no thread holds.

        Such an orphan is what a claim leaves whose commit was made but not confirmed. It is one only when it was
        one a while ago already: a claim that has just been made is not yet in a thread's hands.
        """
        due_at = self._store.first_due_at(self.name)
        if due_at is not None and due_at <= to_us(self._clock()):
            self.wake()
        if self._monotonic() - self._looked_at < _ORPHANS_EVERY_S:
            return
        self._looked_at = self._monotonic()
        orphans = {
            d.seq: (d, epoch) for d, epoch in self._store.left_sending(self.name) if d.seq not in self._in_flight
        }
        for seq in self._suspects & orphans.keys():
            self._take_in(*orphans[seq], "the relay lost hold of it; it may have been sent")
        self._suspects = set(orphans)

    def _take_in(self, delivery: Delivery, epoch: int, reason: str) -> None:
        log.warning("delivery.recovered", **_fields(delivery), reason=reason)
        began = delivery.tried_at or self._clock()
        self._store.record(self._result(delivery, epoch, began, Outcome(name="unclear", reason=reason), took_ms=0))

    # --- one thread

    def _work(self) -> None:
        job: Job | None = None
        while not self._stopping.is_set():
            try:
                job = self._deliver(job) if job is not None else self._next()
            except StoreError as exc:
                job = None
                log.error("delivery.store_unusable", target=self.name, reason=str(exc))
                self._stopping.wait(_STORE_RETRY_S)
            except Exception:  # a fault of ours must not end the lane; what it held is found by `sweep`
                job = None
                log.exception("delivery.lane_failed", target=self.name)
                self._stopping.wait(_STORE_RETRY_S)
        if job is not None:
            self._put_back(job)
        self.adapter.close()

    def _next(self) -> Job | None:
        """Waits for the bell, then claims. None: nothing is due, or the lane is stopping."""
        with self._bell:
            while not self._rings and not self._stopping.is_set():
                self._bell.wait(1.0)
            if self._stopping.is_set():
                return None
            self._rings -= 1
        while wait := self._bucket.take():
            if self._stopping.wait(wait):
                return None
        job = self._store.claim(self._claim())
        if job is None:
            self._bucket.give_back()
        else:
            self.wake()  # where there was one there may be more, for a neighbour
        return job

    def _claim(self) -> Claim:
        return Claim(self.name, self._epoch, self._clock())

    def _deliver(self, job: Job) -> Job | None:
        """Sends one and records it; returns the next one, claimed in the same commit."""
        began = self._clock()
        if schedule.is_expired(job.delivery, self.policy.expire, began):
            return self._store.record(self._expired(job, began))
        self._in_flight[job.delivery.seq] = (job, began)
        try:
            started = self._monotonic()
            outcome = self._send(job)
            return self._record(job, began, outcome, int((self._monotonic() - started) * 1000), claim_next=True)
        finally:
            self._in_flight.pop(job.delivery.seq, None)

    def _send(self, job: Job) -> Outcome:
        patience = Retrying(
            retry=retry_if_result(lambda outcome: outcome.name == "unreachable"),
            stop=stop_after_attempt(_QUICK_TRIES) | stop_when_event_set(self._stopping),
            wait=wait_random_exponential(multiplier=0.2, max=_QUICK_WAIT_MAX_S),
            sleep=sleep_using_event(self._stopping),
            retry_error_callback=_last_outcome,
        )
        try:
            outcome: Outcome = patience(self.adapter.send, job)
        except Exception as exc:  # a fault of ours: the delivery keeps its place, and the reason is seen
            log.exception("delivery.adapter_failed", **_fields(job.delivery))
            return Outcome(
                name="failed", reason=f"the relay failed on it ({type(exc).__name__}: {exc}); please report it"
            )
        return outcome

    def _record(
        self, job: Job, began: datetime, outcome: Outcome, took_ms: int = 0, *, claim_next: bool = False
    ) -> Job | None:
        """Writes it down, however long the store takes: what is not recorded would be sent again."""
        result = self._result(job.delivery, job.epoch, began, outcome, took_ms)
        _log_attempt(job.delivery, result, outcome)
        while True:
            then = self._claim() if claim_next and not self._stopping.is_set() and not self._bucket.take() else None
            try:
                following = self._store.record(replace(result, then=then))
            except StoreError as exc:
                log.error("delivery.not_recorded", **_fields(job.delivery), reason=str(exc))
                if self._stopping.wait(_STORE_RETRY_S):
                    raise
                continue
            if following is None:
                if then is not None:
                    self._bucket.give_back()
                elif claim_next:
                    self.wake()
            return following

    def _put_back(self, job: Job) -> None:
        try:
            self._store.put_back(job)
        except StoreError as exc:
            log.error("delivery.not_put_back", **_fields(job.delivery), reason=str(exc))

    # --- results

    def _result(self, delivery: Delivery, epoch: int, began: datetime, outcome: Outcome, took_ms: int) -> Result:
        now = self._clock()
        since = delivery.tried_at or delivery.aged_from
        others_pass = outcome.name == "failed" and self._store.another_was_delivered(delivery, since)
        verdict = schedule.decide(
            outcome,
            delivery,
            self.policy,
            now=now,
            others_pass=others_pass,
            noise=random.random(),  # noqa: S311
        )
        attempt = Attempt(
            number=delivery.attempts + 1, at=began, took_ms=took_ms, status=outcome.status, outcome=outcome.name,
            reason=outcome.reason,
        )  # fmt: skip
        return Result(
            delivery=delivery, epoch=epoch, state=verdict.state, due_at=verdict.due_at, failures=verdict.failures,
            unclear=verdict.unclear, delivered_at=now if verdict.state == "delivered" else None,
            reason=verdict.reason, remote=outcome.remote or delivery.remote, attempt=attempt,
        )  # fmt: skip

    def _expired(self, job: Job, now: datetime) -> Result:
        delivery = job.delivery
        log.info("delivery.expired", **_fields(delivery))
        return Result(
            delivery=delivery, epoch=job.epoch, state="expired", due_at=now, failures=delivery.failures,
            unclear=delivery.unclear, delivered_at=None, remote=delivery.remote, attempt=None,
            reason=f"older than {self.policy.expire[delivery.kind]}: no longer worth sending", then=self._claim(),
        )  # fmt: skip


def _last_outcome(state: RetryCallState) -> Outcome:
    """The quick tries are used up: the last outcome is the answer."""
    assert state.outcome is not None  # tenacity sets it before it asks  # noqa: S101
    outcome: Outcome = state.outcome.result()
    return outcome


def _fields(delivery: Delivery) -> dict[str, object]:
    return {
        "target": delivery.target, "kind": delivery.kind, "event_id": delivery.event, "delivery_id": delivery.id,
        "session": delivery.session,
    }  # fmt: skip


def _log_attempt(delivery: Delivery, result: Result, outcome: Outcome) -> None:
    level = log.info if result.state == "delivered" else log.error if result.state in ("dead", "held") else log.warning
    attempt = result.attempt
    level(
        f"delivery.{outcome.name}", **_fields(delivery), attempt=attempt.number if attempt else None,
        status=outcome.status, took_ms=attempt.took_ms if attempt else None, now=result.state,
        reason=outcome.reason or None,
    )  # fmt: skip
