"""What follows from an attempt, for the delivery and for its target: pure.

The database covers hours; the quick tries of seconds are the runner's.

A target's health is about the target, the attempts of a delivery are about its event. The rule of the health:
- an answer (delivered, refused, or any that shows the target well) opens it, whatever was before;
- an outcome for which the target was not asked says nothing;
- what can only be the target's doing (later, unreachable, misconfigured) twice in a row makes it `down`;
- what may be the event's doing (failed, unclear) does so only when two different calls come to it in a row, or one
  of the two outcomes was the target's;
- a wrong password, address or certificate makes it `misconfigured` at once; what a target that restarts says too
  (403 and 404 of a 1C) when nothing else has come for ten minutes.
While it is not open one probe at a time goes out.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from relay.config import Target
from relay.i18n import Message
from relay.models import Delivery, Kind, Outcome, TargetHealth, TargetState, Verdict

MAX_UNCLEAR = 3  # a 1C that hangs after writing would otherwise write the call again and again
_JITTER = 0.25  # at most a quarter longer, never shorter

_ANSWERS = ("delivered", "refused")
_TARGETS_OWN = ("later", "unreachable", "misconfigured")
_FORBIDDEN_FOR = timedelta(minutes=10)
_PROBE_FIRST, _PROBE_MAX = timedelta(seconds=1), timedelta(minutes=1)
_PATIENT_FOR = timedelta(hours=1)  # a misconfigured target is asked every minute for so long, then rarely
_RARELY = timedelta(minutes=15)


# --- the delivery


def decide(
    outcome: Outcome,
    delivery: Delivery,
    config: Target,
    *,
    now: datetime,
    target_accepts_others: bool,
    is_well: bool,
    jitter: float,
) -> Verdict:
    """Return what becomes of a delivery after this outcome.

    `target_accepts_others`: was another call delivered to the target since this delivery's previous attempt? Only then
    is a failure the event's own. `is_well`: is the target thought well after this outcome? If not, its health spaces
    the probes, and the delivery itself waits only for as long as the target asked. `jitter` in [0, 1) spreads the
    retries.
    """
    is_events_own = outcome.health_hint == "well"
    counted = outcome.name == "unclear" or (outcome.name == "failed" and (target_accepts_others or is_events_own))
    verdict = Verdict(
        state="due",
        at=now,
        failures=delivery.failures + counted,
        unclear=delivery.unclear + (outcome.name == "unclear"),
        reason=outcome.reason,
    )
    wait = pause(config, delivery.attempts + 1, jitter)
    match outcome.name:
        case "delivered":
            return replace(verdict, state="delivered", reason=outcome.reason or None)
        case "refused":
            return replace(verdict, state="dead")
        case "later" | "unreachable" | "misconfigured":
            wait = wait if is_well or is_events_own else timedelta(0)
            return _again(verdict, outcome, delivery, config, wait)
        case "failed":
            return _again(verdict, outcome, delivery, config, wait)
        case "unclear":
            if config.unclear == "hold" or verdict.unclear >= MAX_UNCLEAR:
                text = "%(reason)s; look whether the target has it, then replay or discard it"
                return replace(verdict, state="held", reason=Message(text, reason=outcome.reason))
            return _again(verdict, outcome, delivery, config, wait)
        case _:
            assert_never(outcome.name)


def limit_wait(outcome: Outcome, longest: timedelta) -> Outcome:
    """Return the outcome without a wait that is longer than a target may ask for."""
    if outcome.wait is None or outcome.wait <= longest:
        return outcome
    reason = Message(
        "%(reason)s (it asked to wait for %(wait)s; retry_after_max = %(longest)s)",
        reason=outcome.reason,
        wait=outcome.wait,
        longest=longest,
    )
    return replace(outcome, wait=longest, reason=reason)


def is_expired(delivery: Delivery, expire: dict[Kind, timedelta], now: datetime) -> bool:
    """Is it too old to be worth sending? Never, when the operator asked for it."""
    limit = expire.get(delivery.kind)
    return limit is not None and not delivery.replayed and now - delivery.age_started_at > limit


def expiry(limit: timedelta) -> str:
    """Return the reason of a delivery that is not worth sending any more."""
    return Message("older than %(limit)s: no longer worth sending", limit=limit)


def pause(config: Target, tries: int, jitter: float) -> timedelta:
    """Return the wait after so many tries: from `retry_first`, doubling, to `retry_max`, and a little longer."""
    doubled = config.retry_first * 2 ** min(max(tries - 1, 0), 40) if tries < 40 else config.retry_max
    return min(doubled, config.retry_max) * (1 + _JITTER * jitter)


def call_free_at(outcome: Outcome, config: Target, now: datetime) -> datetime | None:
    """Return when the call's next delivery may go out, if the target may have written something; else None."""
    may_have_written = outcome.name in ("delivered", "failed", "unclear")
    return now + config.call_gap if config.call_gap and may_have_written else None


def longest_wait(config: Target) -> timedelta:
    """Return the longest that a delivery waits for its next try."""
    return max(config.retry_max * (1 + _JITTER), config.retry_after_max)


def _again(verdict: Verdict, outcome: Outcome, delivery: Delivery, config: Target, wait: timedelta) -> Verdict:
    """Return another try after the wait, unless the delivery has had enough of them or is too old."""
    now, give_up_at = verdict.at, delivery.age_started_at + config.give_up_after
    if verdict.failures >= config.attempts:
        return replace(
            verdict,
            state="dead",
            reason=Message(
                "failed %(failures)s times; last: %(reason)s", failures=verdict.failures, reason=outcome.reason
            ),
        )
    if now >= give_up_at:
        return replace(
            verdict,
            state="dead",
            reason=Message(
                "given up after %(span)s; last: %(reason)s",
                span=config.give_up_after,
                reason=outcome.reason,
            ),
        )
    asked = now + (outcome.wait or timedelta(0))  # never cut short, not even by giving up
    return replace(verdict, next_try_at=max(min(now + wait, give_up_at), asked))


# --- the target's health


class HealthState(Struct, frozen=True, kw_only=True):
    """A target's health, and what the last attempt came to if that was no answer."""

    health: TargetHealth = TargetHealth()
    suspect: str | None = None  #: the key of the call that it came to
    targets_own: bool = False  #: could only be the target's doing


def health_after(
    state: HealthState, outcome: Outcome, call_key: str, *, probe: bool, now: datetime, jitter: float
) -> HealthState:
    """Return what is thought after this outcome of this call. `jitter` in [0, 1) spreads the probes."""
    health = state.health
    if outcome.health_hint == "not_asked":
        return state
    if outcome.name in _ANSWERS or outcome.health_hint == "well":
        wait = None if outcome.health_hint == "well" else outcome.wait  # that one is the event's alone
        return HealthState(health=TargetHealth(retry_not_before=_retry_not_before(health, wait, now)))
    forbidden = outcome.name == "misconfigured" and outcome.health_hint == "perhaps_restarting"
    forbidden_since = (health.forbidden_since or now) if forbidden else None
    retry_not_before = _retry_not_before(health, outcome.wait, now)
    name = _state_after(state, outcome, call_key, forbidden_for=now - forbidden_since if forbidden_since else None)
    health = replace(health, retry_not_before=retry_not_before, forbidden_since=forbidden_since)
    if name != "open":
        health = _with_next_probe(health, name, outcome.reason, probe=probe, now=now, jitter=jitter)
    return HealthState(health=health, suspect=call_key, targets_own=outcome.name in _TARGETS_OWN)


def call_key(delivery: Delivery) -> str:
    """Return what is taken for one call; an event without a session is its own."""
    return delivery.event if delivery.session is None else f"{delivery.source} {delivery.session}"


def request_at(health: TargetHealth) -> datetime | None:
    """Return when the next request may go out; None: now. A wait that the target asked for is never cut short."""
    waits = [health.retry_not_before, None if health.state == "open" else health.probe_at]
    return max((at for at in waits if at is not None), default=None)


def at_start(health: TargetHealth, now: datetime) -> TargetHealth:
    """Return it with a probe at once after a restart, but not before the time that the target asked for."""
    return health if health.state == "open" else replace(health, probe_at=now)


def resumed(health: TargetHealth, now: datetime) -> TargetHealth:
    """Return it with a probe at once, whatever the target asked for: the operator says that it is well again."""
    return replace(at_start(health, now), retry_not_before=None)


def believable(health: TargetHealth, now: datetime, longest: timedelta) -> TargetHealth:
    """Return it without what a clock that was ahead left behind, and without a wait longer than is allowed."""
    limits = {"since": now, "forbidden_since": now, "retry_not_before": now + longest}
    return replace(health, **{name: min(at, limits[name]) for name in limits if (at := getattr(health, name))})


def shifted(health: TargetHealth, jump: timedelta) -> TargetHealth:
    """Return it with its waits moved along with a clock that has jumped."""
    moments = ("since", "probe_at", "retry_not_before", "forbidden_since")
    return replace(health, **{name: at + jump for name in moments if (at := getattr(health, name)) is not None})


def _retry_not_before(health: TargetHealth, wait: timedelta | None, now: datetime) -> datetime | None:
    asked = None if wait is None else now + wait
    return max((at for at in (health.retry_not_before, asked) if at is not None and at > now), default=None)


def _state_after(
    state: HealthState, outcome: Outcome, call_key: str, *, forbidden_for: timedelta | None
) -> TargetState:
    if outcome.name == "misconfigured" and (forbidden_for is None or forbidden_for >= _FORBIDDEN_FOR):
        return "misconfigured"
    if state.health.state != "open":
        stays = state.health.state == "misconfigured" and outcome.name == "misconfigured"
        return "misconfigured" if stays else "down"
    targets_own = state.targets_own or outcome.name in _TARGETS_OWN
    again = state.suspect is not None and (state.suspect != call_key or targets_own)
    return "down" if again else "open"


def _with_next_probe(
    health: TargetHealth, state: TargetState, reason: str, *, probe: bool, now: datetime, jitter: float
) -> TargetHealth:
    since, longer = health.since or now, 1 + _JITTER * jitter
    if state != health.state:
        first = _PROBE_FIRST if state == "down" else _PROBE_MAX
        return replace(health, state=state, reason=reason, since=since, probes=0, probe_at=now + first * longer)
    if not probe:  # was under way when the state changed
        return replace(health, reason=reason)
    probes = health.probes + 1
    wait = _until_next_probe(state, probes, now - since)
    return replace(health, reason=reason, probes=probes, probe_at=now + wait * longer)


def _until_next_probe(state: TargetState, probes: int, lasts: timedelta) -> timedelta:
    if state == "misconfigured":
        return _PROBE_MAX if lasts < _PATIENT_FOR else _RARELY
    return min(_PROBE_FIRST * (1 << min(probes, 10)), _PROBE_MAX)
