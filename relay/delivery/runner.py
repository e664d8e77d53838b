"""One attempt: the sending with its quick tries, what it comes to in the store, and what the log says of it."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import structlog
from msgspec.structs import replace
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, stop_when_event_set
from tenacity.nap import sleep_using_event
from tenacity.wait import wait_random_exponential

from relay.clock import Clock
from relay.delivery import retry_policy
from relay.delivery.throttle import Throttle
from relay.errors import Interrupted, StoreError
from relay.i18n import Message, said
from relay.models import Attempt, CallEvent, ClaimedDelivery, Delivery, Exchange, Outcome, ToldCall, Verdict
from relay.store import AttemptResult, Store
from relay.targets.base import Adapter, CallContext
from relay.targets.http_client import TargetError, unthrottled

log = structlog.get_logger("relay.delivery")

_QUICK_TRIES = 3
_QUICK_WAIT_MAX_S = 2.0
_EXCHANGES_KEPT = 16  # of an attempt: a call at a CRM takes fewer steps


class AttemptRunner:
    """Makes attempts at one target."""

    def __init__(
        self,
        adapter: Adapter,
        store: Store,
        throttle: Throttle,
        clock: Clock,
        stopping: threading.Event,
        *,
        keeps_exchanges: bool,
    ) -> None:
        self._keeps_exchanges = keeps_exchanges
        self._adapter, self._config, self._throttle = adapter, adapter.settings, throttle
        self._store, self._clock, self._stopping = store, clock, stopping
        self._quick_tries = Retrying(
            retry=retry_if_result(_was_not_connected),
            stop=stop_after_attempt(_QUICK_TRIES) | stop_when_event_set(stopping),
            wait=wait_random_exponential(multiplier=0.2, max=_QUICK_WAIT_MAX_S),
            sleep=sleep_using_event(stopping),
            retry_error_callback=_last_outcome,
        )
        self.clock_jumps: deque[tuple[datetime, datetime]] = deque(maxlen=20)  #: of the wall clock: from and to

    def send(self, claimed: ClaimedDelivery, lease_valid: Callable[[], bool]) -> Outcome:
        """Try again within seconds while no connection is made; all else is for the database's patience.

        `lease_valid` is asked before each request. Raises StoreError, and Interrupted when the work must end.
        """
        context = LaneContext(claimed, self._store, self._throttle, self._stopping, lease_valid)
        exchanges: deque[Exchange] = deque(maxlen=_EXCHANGES_KEPT)
        if self._keeps_exchanges:
            context.report = exchanges.append
        try:
            outcome = self._send(claimed, context)
            outcome = retry_policy.limit_wait(outcome, self._config.retry_after_max)
        except (StoreError, Interrupted):
            raise
        except Exception as exc:  # a fault of ours: the delivery keeps its place, and the reason is seen
            log.exception("delivery.adapter_failed", **log_fields(claimed.delivery))
            reason = Message(
                "the relay failed on it (%(name)s: %(why)s); please report it", name=type(exc).__name__, why=said(exc)
            )
            outcome = Outcome(name="failed", reason=reason)
        return replace(outcome, exchanges=tuple(exchanges))

    def _send(self, claimed: ClaimedDelivery, context: CallContext) -> Outcome:
        first = send_once(self._adapter, claimed, context)
        if not _was_not_connected(first):  # most are taken at once: the library would add 70 calls of functions to each
            return first
        # the first counts as the library's own: its wait comes next
        tries: Iterator[Outcome] = chain([first], iter(lambda: send_once(self._adapter, claimed, context), None))
        outcome: Outcome = self._quick_tries(next, tries)
        return outcome

    def result(
        self, delivery: Delivery, epoch: int, began: datetime, outcome: Outcome, *, took_ms: int = 0
    ) -> AttemptResult:
        """Return what an attempt that ended like this comes to."""
        now = self._clock()
        if self.clock_jumps:
            delivery = replace(delivery, age_started_at=delivery.age_started_at + self._skipped_since(began))
        since = delivery.tried_at or delivery.age_started_at
        verdict = retry_policy.decide(
            outcome,
            delivery,
            self._config,
            now=now,
            target_accepts_others=outcome.name == "failed" and self._store.queue.another_was_delivered(delivery, since),
            is_well=self._throttle.is_well,
            jitter=random.random(),  # noqa: S311  it spreads, and protects nothing
        )
        free_at = retry_policy.call_free_at(outcome, self._config, now)
        return attempt_result(delivery, epoch, verdict, outcome, began, took_ms=took_ms, call_free_at=free_at)

    def expired(self, claimed: ClaimedDelivery, now: datetime) -> AttemptResult | None:
        """Return its end without a request, when it is too old to be worth one."""
        delivery = claimed.delivery
        if not retry_policy.is_expired(delivery, self._config.expire, now):
            return None
        log.info("delivery.expired", **log_fields(delivery))
        reason = retry_policy.expiry(self._config.expire[delivery.kind])
        verdict = Verdict(state="expired", at=now, failures=delivery.failures, unclear=delivery.unclear, reason=reason)
        return AttemptResult(
            delivery=delivery, epoch=claimed.epoch, verdict=verdict, remote_id=delivery.remote_id, attempt=None
        )

    def _skipped_since(self, began: datetime) -> timedelta:
        """Return by how much the clock has jumped forward: the store has moved what waits, not what is under way."""
        return sum((after - before for before, after in self.clock_jumps if began <= before < after), timedelta(0))


def send_once(adapter: Adapter, claimed: ClaimedDelivery, context: CallContext) -> Outcome:
    """Have the adapter deliver; what the target or the network did is an outcome. Raises what `deliver` raises else."""
    call, client = claimed.event.call, adapter.client
    if call is None:
        return Outcome(name="refused", reason=Message("the event is quarantined: there is nothing to send"))
    client.acquire, client.report = context.acquire, context.report
    try:
        return adapter.deliver(claimed, call, context)
    except TargetError as exc:
        return exc.outcome
    finally:
        client.acquire, client.report = unthrottled, None


class LaneContext(CallContext):
    def __init__(
        self,
        claimed: ClaimedDelivery,
        store: Store,
        throttle: Throttle,
        stopping: threading.Event,
        lease_valid: Callable[[], bool],
    ) -> None:
        self._claimed, self._calls, self._throttle = claimed, store.calls, throttle
        self._stopping, self._lease_valid = stopping, lease_valid
        self._has_permit = True  # the one that the delivery was claimed with

    def history(self) -> tuple[CallEvent, ...]:
        return self._calls.history(self._claimed.delivery)

    def progress(self) -> dict[str, Any]:
        return self._calls.progress(self._claimed.delivery)

    def save_progress(self, **done: Any) -> None:
        self._calls.save_progress(self._claimed.delivery, self._claimed.epoch, done)

    def calls_of(self, client: str, since: datetime) -> list[ToldCall]:
        return self._calls.of_client(self._claimed.delivery, client, since)

    def open_tasks(self, client: str) -> dict[str, str]:
        return self._calls.open_tasks(self._claimed.delivery, client)

    def forget_task(self, session: str) -> None:
        of_call = replace(self._claimed.delivery, session=session)
        self._calls.save_progress(of_call, self._claimed.epoch, {"task_of": None})

    def acquire(self) -> None:
        while True:
            if self._stopping.is_set() or not self._lease_valid():
                raise Interrupted("the relay stops, or another process has the lane")
            had_permit, self._has_permit = self._has_permit, False
            wait_s = 0.0 if had_permit else self._throttle.acquire_more()
            if not wait_s:
                return
            self._stopping.wait(wait_s)


def attempt_result(
    delivery: Delivery,
    epoch: int,
    verdict: Verdict,
    outcome: Outcome,
    began: datetime,
    *,
    took_ms: int = 0,
    call_free_at: datetime | None = None,
) -> AttemptResult:
    """Return the verdict as it is recorded, with the attempt."""
    attempt = Attempt(
        number=delivery.attempts + 1,
        at=began,
        took_ms=took_ms,
        status=outcome.status,
        outcome=outcome.name,
        reason=outcome.reason,
        exchanges=outcome.exchanges or None,
    )
    remote_id = outcome.remote_id or delivery.remote_id
    return AttemptResult(
        delivery=delivery,
        epoch=epoch,
        verdict=verdict,
        remote_id=remote_id,
        attempt=attempt,
        call_free_at=call_free_at,
    )


def log_fields(delivery: Delivery) -> dict[str, object]:
    """Return what each line of the log says of a delivery: ids, no bodies and no phones."""
    return {
        "target": delivery.target,
        "kind": delivery.kind,
        "event_id": delivery.event,
        "delivery_id": delivery.id,
        "session": delivery.session,
    }


def log_attempt(result: AttemptResult) -> None:
    """Say what an attempt came to, in one line."""
    attempt, state = result.attempt, result.verdict.state
    if attempt is None:
        return
    level = log.info if state == "delivered" else log.error if state in ("dead", "held") else log.warning
    level(
        f"delivery.{attempt.outcome}",
        **log_fields(result.delivery),
        attempt=attempt.number,
        status=attempt.status,
        took_ms=attempt.took_ms,
        now=state,
        reason=attempt.reason or None,
    )


def _was_not_connected(outcome: Outcome) -> bool:
    return outcome.name == "unreachable"


def _last_outcome(state: RetryCallState) -> Outcome:
    """Return the last outcome as the answer: the quick tries are used up."""
    assert state.outcome is not None  # noqa: S101  tenacity sets it before it asks
    outcome: Outcome = state.outcome.result()
    return outcome
