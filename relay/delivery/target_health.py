"""The breaker: what a lane thinks of its target. Pure.

It is about the target, attempts are about the event. The rule:
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

from msgspec import Struct
from msgspec.structs import replace

from relay.models import Delivery, Outcome, TargetHealth, TargetState

_ANSWERS = ("delivered", "refused")
_TARGETS_OWN = ("later", "unreachable", "misconfigured")
_FORBIDDEN_FOR = timedelta(minutes=10)
_PROBE_FIRST, _PROBE_MAX = timedelta(seconds=1), timedelta(minutes=1)
_PATIENT_FOR = timedelta(hours=1)  # a misconfigured target is asked every minute for so long, then rarely
_RARELY = timedelta(minutes=15)
_JITTER = 0.25  # at most a quarter longer, never shorter


class Breaker(Struct, frozen=True, kw_only=True):
    """A target's health, and what the last attempt came to if that was no answer."""

    health: TargetHealth = TargetHealth()
    suspect: str | None = None  #: the call that it came to
    targets_own: bool = False  #: could only be the target's doing


def after(known: Breaker, outcome: Outcome, call: str, *, probe: bool, now: datetime, jitter: float) -> Breaker:
    """What is thought after this outcome of this call. `noise` in [0, 1) spreads the probes."""
    if outcome.health_hint == "not_asked":
        return known
    if outcome.name in _ANSWERS or outcome.health_hint == "well":
        wait = None if outcome.health_hint == "well" else outcome.wait  # that one is the event's alone
        return Breaker(health=TargetHealth(retry_not_before=_retry_not_before(known.health, wait, now)))
    retry_not_before = _retry_not_before(known.health, outcome.wait, now)
    forbidden = outcome.name == "misconfigured" and outcome.health_hint == "perhaps_restarting"
    forbidden_since = (known.health.forbidden_since or now) if forbidden else None
    health = replace(known.health, retry_not_before=retry_not_before, forbidden_since=forbidden_since)
    state = _state(known, outcome, call, forbidden_for=now - forbidden_since if forbidden_since else None)
    return Breaker(
        health=_unwell(health, state, outcome.reason, probe=probe, now=now, jitter=jitter),
        suspect=call, targets_own=outcome.name in _TARGETS_OWN,
    )  # fmt: skip


def call_of(delivery: Delivery) -> str:
    """What is taken for one call; an event without a session is its own."""
    return delivery.event if delivery.session is None else f"{delivery.source} {delivery.session}"


def request_at(health: TargetHealth) -> datetime | None:
    """The earliest moment of the next request; None: now. A wait that the target asked for is never cut short."""
    waits = [health.retry_not_before, None if health.state == "open" else health.probe_at]
    return max((at for at in waits if at is not None), default=None)


def at_start(health: TargetHealth, now: datetime) -> TargetHealth:
    """After a restart a probe may go at once, but not before the time that the target asked for."""
    return health if health.state == "open" else replace(health, probe_at=now)


def resumed(health: TargetHealth, now: datetime) -> TargetHealth:
    """The operator says that it is well again: a probe at once, whatever the target asked for."""
    return replace(at_start(health, now), retry_not_before=None)


def believable(health: TargetHealth, now: datetime, longest: timedelta) -> TargetHealth:
    """As it was saved, without what a clock that was ahead left behind, and without a wait longer than is allowed."""
    limits = {"since": now, "forbidden_since": now, "retry_not_before": now + longest}
    return replace(health, **{name: min(at, limits[name]) for name in limits if (at := getattr(health, name))})


def shifted(health: TargetHealth, step: timedelta) -> TargetHealth:
    """Its waits, moved with a clock that has stepped."""
    moments = ("since", "probe_at", "retry_not_before", "forbidden_since")
    return replace(health, **{name: at + step for name in moments if (at := getattr(health, name)) is not None})


def _retry_not_before(health: TargetHealth, wait: timedelta | None, now: datetime) -> datetime | None:
    asked = None if wait is None else now + wait
    waits = [at for at in (health.retry_not_before, asked) if at is not None and at > now]
    return max(waits, default=None)


def _state(known: Breaker, outcome: Outcome, call: str, *, forbidden_for: timedelta | None) -> TargetState:
    if outcome.name == "misconfigured" and (forbidden_for is None or forbidden_for >= _FORBIDDEN_FOR):
        return "misconfigured"
    if known.health.state != "open":
        stays = known.health.state == "misconfigured" and outcome.name == "misconfigured"
        return "misconfigured" if stays else "down"
    targets_own = known.targets_own or outcome.name in _TARGETS_OWN
    again = known.suspect is not None and (known.suspect != call or targets_own)
    return "down" if again else "open"


def _unwell(
    health: TargetHealth, state: TargetState, reason: str, *, probe: bool, now: datetime, jitter: float
) -> TargetHealth:
    if state == "open":
        return health
    if state != health.state:
        since = health.since or now
        first = _PROBE_FIRST if state == "down" else _PROBE_MAX
        return replace(
            health, state=state, reason=reason, since=since, probes=0, probe_at=now + first * (1 + _JITTER * jitter)
        )
    if not probe:  # was under way when the state changed
        return replace(health, reason=reason)
    probes = health.probes + 1
    pause = _pause(state, probes, now - (health.since or now)) * (1 + _JITTER * jitter)
    return replace(health, reason=reason, probes=probes, probe_at=now + pause)


def _pause(state: TargetState, probes: int, lasts: timedelta) -> timedelta:
    if state == "misconfigured":
        return _PROBE_MAX if lasts < _PATIENT_FOR else _RARELY
    return min(_PROBE_FIRST * (1 << min(probes, 10)), _PROBE_MAX)
