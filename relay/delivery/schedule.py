"""What follows from an attempt: pure. The database covers hours; the quick tries of seconds are the lane's."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import assert_never

from msgspec import Struct

from relay.events import Delivery, DeliveryState, Kind, Outcome
from relay.settings import Target

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
    outcome: Outcome, delivery: Delivery, policy: Target, *, now: datetime, others_pass: bool, noise: float
) -> Verdict:
    """What becomes of a delivery after this outcome.

    `others_pass`: was another call delivered to the target since this delivery's previous attempt? Only then
    is a failure the event's own. `noise` in [0, 1) spreads the retries.
    """
    match outcome.name:
        case "delivered":
            return _ended(delivery, "delivered", now, None)
        case "refused":
            return _ended(delivery, "dead", now, outcome.reason)
        case "later" | "unreachable" | "misconfigured":
            return _again(outcome, delivery, policy, now, noise, counted=False)
        case "failed":
            return _again(outcome, delivery, policy, now, noise, counted=others_pass)
        case "unclear":
            if policy.unclear == "hold" or delivery.unclear + 1 >= MAX_UNCLEAR:
                held = _ended(delivery, "held", now, outcome.reason)
                return Verdict(state=held.state, due_at=now, failures=delivery.failures + 1,
                               unclear=delivery.unclear + 1, reason=held.reason)  # fmt: skip
            return _again(outcome, delivery, policy, now, noise, counted=True, unclear=1)
        case _:
            assert_never(outcome.name)


def is_expired(delivery: Delivery, expire: dict[Kind, timedelta], now: datetime) -> bool:
    """Is it too old to be worth sending? Never, when the operator asked for it."""
    limit = expire.get(delivery.kind)
    return limit is not None and not delivery.replayed and now - delivery.aged_from > limit


def pause(policy: Target, tries: int, noise: float) -> timedelta:
    """The wait after so many tries: from `retry_first`, doubling, to `retry_max`, and a little longer."""
    doubled = policy.retry_first * 2 ** min(max(tries - 1, 0), 40) if tries < 40 else policy.retry_max
    return min(doubled, policy.retry_max) * (1 + _JITTER * noise)


def _again(
    outcome: Outcome,
    delivery: Delivery,
    policy: Target,
    now: datetime,
    noise: float,
    *,
    counted: bool,
    unclear: int = 0,
) -> Verdict:
    failures = delivery.failures + counted
    give_up_at = delivery.aged_from + policy.give_up_after
    if failures >= policy.attempts:
        return _ended(delivery, "dead", now, f"failed {failures} times; last: {outcome.reason}", failures, unclear)
    if now >= give_up_at:
        age = policy.give_up_after
        return _ended(delivery, "dead", now, f"given up after {age}; last: {outcome.reason}", failures, unclear)
    at = min(now + pause(policy, delivery.attempts + 1, noise), give_up_at)
    asked = now + (outcome.wait or timedelta(0))  # never cut short, not even by giving up
    return Verdict(
        state="due", due_at=max(at, asked), failures=failures, unclear=delivery.unclear + unclear,
        reason=outcome.reason,
    )  # fmt: skip


def _ended(
    delivery: Delivery,
    state: DeliveryState,
    now: datetime,
    reason: str | None,
    failures: int | None = None,
    unclear: int = 0,
) -> Verdict:
    return Verdict(
        state=state, due_at=now, failures=delivery.failures if failures is None else failures,
        unclear=delivery.unclear + unclear, reason=reason,
    )  # fmt: skip
