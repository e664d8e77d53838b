"""What follows from an attempt: pure. The database covers hours; the quick tries of seconds are the lane's."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from relay.config import Target
from relay.models import Delivery, DeliveryState, Kind, Outcome

MAX_UNCLEAR = 3  # a 1C that hangs after writing would otherwise write the call again and again
_JITTER = 0.25  # at most a quarter longer, never shorter


class Verdict(Struct, frozen=True, kw_only=True):
    """The state that a delivery goes to, and why."""

    state: DeliveryState
    due_at: datetime
    failures: int
    unclear: int
    reason: str | None = None


def decide(
    outcome: Outcome, delivery: Delivery, policy: Target, *, now: datetime, target_accepts_others: bool, is_open: bool,
    jitter: float,
) -> Verdict:  # fmt: skip
    """What becomes of a delivery after this outcome.

    `others_pass`: was another call delivered to the target since this delivery's previous attempt? Only then
    is a failure the event's own. `is_open`: is the target thought well after this outcome? If not, the breaker
    spaces the probes, and the delivery itself waits only for as long as the target asked. `noise` in [0, 1)
    spreads the retries.
    """
    again = Retry(outcome, delivery, policy, now, jitter)
    match outcome.name:
        case "delivered":
            return _ended(delivery, "delivered", now, outcome.reason or None)
        case "refused":
            return _ended(delivery, "dead", now, outcome.reason)
        case "later" | "unreachable" | "misconfigured":
            return again.verdict(counted=False, paused=is_open or outcome.health_hint == "well")
        case "failed":
            return again.verdict(counted=target_accepts_others or outcome.health_hint == "well")
        case "unclear":
            if policy.unclear == "hold" or delivery.unclear + 1 >= MAX_UNCLEAR:
                return _ended(delivery, "held", now, outcome.reason, failures=1, unclear=1)
            return again.verdict(counted=True, unclear=1)
        case _:
            assert_never(outcome.name)


def within(outcome: Outcome, longest: timedelta) -> Outcome:
    """A target may ask for time, but not for more than this."""
    if outcome.wait is None or outcome.wait <= longest:
        return outcome
    reason = f"{outcome.reason} (it asked to wait for {outcome.wait}; retry_after_max = {longest})"
    return replace(outcome, wait=longest, reason=reason)


def is_expired(delivery: Delivery, expire: dict[Kind, timedelta], now: datetime) -> bool:
    """Is it too old to be worth sending? Never, when the operator asked for it."""
    limit = expire.get(delivery.kind)
    return limit is not None and not delivery.replayed and now - delivery.age_started_at > limit


def expiry(limit: timedelta) -> str:
    """The reason of a delivery that is not worth sending any more."""
    return f"older than {limit}: no longer worth sending"


def pause(policy: Target, tries: int, jitter: float) -> timedelta:
    """The wait after so many tries: from `retry_first`, doubling, to `retry_max`, and a little longer."""
    doubled = policy.retry_first * 2 ** min(max(tries - 1, 0), 40) if tries < 40 else policy.retry_max
    return min(doubled, policy.retry_max) * (1 + _JITTER * jitter)


def call_free_at(outcome: Outcome, policy: Target, now: datetime) -> datetime | None:
    """When the next delivery of the same call may go out, if the target may have written something; else None."""
    may_have_written = outcome.name in ("delivered", "failed", "unclear")
    return now + policy.call_gap if policy.call_gap and may_have_written else None


def longest_wait(policy: Target) -> timedelta:
    """The longest that a delivery waits for its next try."""
    return max(policy.retry_max * (1 + _JITTER), policy.retry_after_max)


class Retry(Struct, frozen=True):
    """Another try, unless it has had enough of them or is too old."""

    outcome: Outcome
    delivery: Delivery
    policy: Target
    now: datetime
    jitter: float

    def verdict(self, *, counted: bool, unclear: int = 0, paused: bool = True) -> Verdict:
        delivery, policy, now = self.delivery, self.policy, self.now
        failures = delivery.failures + counted
        give_up_at = delivery.age_started_at + policy.give_up_after
        if failures >= policy.attempts:
            reason = f"failed {failures} times; last: {self.outcome.reason}"
            return _ended(delivery, "dead", now, reason, failures=counted, unclear=unclear)
        if now >= give_up_at:
            reason = f"given up after {policy.give_up_after}; last: {self.outcome.reason}"
            return _ended(delivery, "dead", now, reason, failures=counted, unclear=unclear)
        wait = pause(policy, delivery.attempts + 1, self.jitter) if paused else timedelta(0)
        asked = now + (self.outcome.wait or timedelta(0))  # never cut short, not even by giving up
        return Verdict(
            state="due", due_at=max(min(now + wait, give_up_at), asked), failures=failures,
            unclear=delivery.unclear + unclear, reason=self.outcome.reason,
        )  # fmt: skip


def _ended(
    delivery: Delivery, state: DeliveryState, now: datetime, reason: str | None, *, failures: int = 0, unclear: int = 0
) -> Verdict:
    """`failures` and `unclear`: what this attempt adds to them."""
    return Verdict(
        state=state, due_at=now, failures=delivery.failures + failures, unclear=delivery.unclear + unclear,
        reason=reason,
    )  # fmt: skip
