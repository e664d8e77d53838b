"""One attempt: the sending with its quick tries, and what it comes to in the store."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from msgspec.structs import replace
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, stop_when_event_set
from tenacity.nap import sleep_using_event
from tenacity.wait import wait_random_exponential

from relay.clock import Clock
from relay.delivery import log_events, retry_policy
from relay.delivery.call_context import CallContext
from relay.delivery.throttle import Throttle
from relay.errors import Interrupted, StoreError
from relay.models import Attempt, Delivery, Outcome
from relay.store import AttemptResult, ClaimedDelivery, Store
from relay.targets.base import Adapter

log = structlog.get_logger("relay.delivery")

_QUICK_TRIES = 3
_QUICK_WAIT_MAX_S = 2.0


class AttemptRunner:
    """Makes attempts at one target."""

    def __init__(
        self, adapter: Adapter, store: Store, throttle: Throttle, clock: Clock, stopping: threading.Event
    ) -> None:
        self._adapter, self._policy, self._throttle = adapter, adapter.settings, throttle
        self._store, self._clock, self._stopping = store, clock, stopping
        self.clock_steps: deque[tuple[datetime, datetime]] = deque(maxlen=20)  #: of the wall clock: from and to

    def send(self, job: ClaimedDelivery, lease_valid: Callable[[], bool]) -> Outcome:
        """Tries again within seconds while no connection is made; all else is for the database's patience.

        `may_send` is asked before each request. Raises StoreError, and Interrupted when the work must end.
        """
        steps = CallContext(job, self._store, self._throttle, self._stopping, lease_valid)
        patience = Retrying(
            retry=retry_if_result(lambda outcome: outcome.name == "unreachable"),
            stop=stop_after_attempt(_QUICK_TRIES) | stop_when_event_set(self._stopping),
            wait=wait_random_exponential(multiplier=0.2, max=_QUICK_WAIT_MAX_S),
            sleep=sleep_using_event(self._stopping),
            retry_error_callback=_last_outcome,
        )
        try:
            outcome: Outcome = self._adapter.send(job, steps)
            if outcome.name == "unreachable":
                outcome = patience(self._again, job, steps, [outcome])
            return retry_policy.within(outcome, self._policy.retry_after_max)
        except (StoreError, Interrupted):
            raise
        except Exception as exc:  # a fault of ours: the delivery keeps its place, and the reason is seen
            log.exception("delivery.adapter_failed", **log_events.fields(job.delivery))
            return Outcome(
                name="failed", reason=f"the relay failed on it ({type(exc).__name__}: {exc}); please report it"
            )

    def result(
        self, delivery: Delivery, epoch: int, began: datetime, outcome: Outcome, *, is_open: bool, took_ms: int = 0
    ) -> AttemptResult:
        """What an attempt that ended like this comes to. `is_open`: is the target thought well after it?"""
        now = self._clock()
        if self.clock_steps:
            delivery = replace(delivery, age_started_at=delivery.age_started_at + self._skipped_since(began))
        since = delivery.tried_at or delivery.age_started_at
        target_accepts_others = outcome.name == "failed" and self._store.queue.another_was_delivered(delivery, since)
        verdict = retry_policy.decide(
            outcome, delivery, self._policy, now=now, target_accepts_others=target_accepts_others, is_open=is_open,
            jitter=random.random(),  # noqa: S311  it spreads, and protects nothing
        )  # fmt: skip
        attempt = Attempt(
            number=delivery.attempts + 1, at=began, took_ms=took_ms, status=outcome.status, outcome=outcome.name,
            reason=outcome.reason,
        )  # fmt: skip
        return AttemptResult(
            delivery=delivery, epoch=epoch, state=verdict.state, due_at=verdict.due_at, failures=verdict.failures,
            unclear=verdict.unclear, delivered_at=now if verdict.state == "delivered" else None,
            reason=verdict.reason, remote_id=outcome.remote_id or delivery.remote_id, attempt=attempt,
            call_free_at=retry_policy.call_free_at(outcome, self._policy, now),
        )  # fmt: skip

    def expired(self, job: ClaimedDelivery, now: datetime) -> AttemptResult | None:
        """Its end without a request, when it is too old to be worth one."""
        delivery = job.delivery
        if not retry_policy.is_expired(delivery, self._policy.expire, now):
            return None
        log.info("delivery.expired", **log_events.fields(delivery))
        return AttemptResult(
            delivery=delivery, epoch=job.epoch, state="expired", due_at=now, failures=delivery.failures,
            unclear=delivery.unclear, delivered_at=None, remote_id=delivery.remote_id, attempt=None,
            reason=retry_policy.expiry(self._policy.expire[delivery.kind]),
        )  # fmt: skip

    def _skipped_since(self, began: datetime) -> timedelta:
        """By how much the clock has stepped forward since then: the store has moved what waits, not what is in hand."""
        return sum((after - before for before, after in self.clock_steps if began <= before < after), timedelta(0))

    def _again(self, job: ClaimedDelivery, steps: CallContext, first: list[Outcome]) -> Outcome:
        """The first of the tries has been made already."""
        return first.pop() if first else self._adapter.send(job, steps)


def _last_outcome(state: RetryCallState) -> Outcome:
    """The quick tries are used up: the last outcome is the answer."""
    assert state.outcome is not None  # tenacity sets it before it asks  # noqa: S101
    outcome: Outcome = state.outcome.result()
    return outcome
