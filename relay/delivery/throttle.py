"""Whether a lane may make a request now: owned, not held by the operator, target well, rate kept.

The waits of a gate are the monotonic clock's; what must survive a restart is kept as wall-clock times in the
target's health, which a step of the clock moves along.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Self

from relay.clock import Clock
from relay.delivery import target_health
from relay.delivery.target_health import Breaker
from relay.delivery.token_bucket import TokenBucket
from relay.models import Outcome, TargetHealth

_GAP_FIRST_S, _GAP_MAX_S, _GAP_LAST_S = 0.1, 5.0, 0.01
_ASK_AGAIN_S = 1.0


class Permit:
    """Leave to make one request.

    A context: at the end of its block it goes back, whatever happened there, unless it was settled or kept.
    """

    def __init__(self, throttle: Throttle, *, probe: bool) -> None:
        self.probe = probe  #: the target is not well: this is to see whether it is again
        self.is_used = False  #: requests may have been made with it
        self._throttle, self._is_kept = throttle, False

    def keep(self) -> Self:
        """Let it outlive the present block: whoever gets it opens one of his own."""
        self._is_kept = True
        return self

    def settle(self, outcome: Outcome, call: str) -> tuple[TargetHealth, TargetHealth]:
        """Tell the gate what the request came to; the target's health before and after."""
        return self._throttle.settle(self, outcome, call)

    def release(self) -> None:
        self._throttle.take_back(self)

    def __enter__(self) -> Self:
        self._is_kept = False
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_kept:
            self.release()


class Throttle:
    def __init__(self, bucket: TokenBucket, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._bucket, self._clock, self._monotonic = bucket, clock, monotonic
        self._mutex = threading.Lock()
        self._breaker = Breaker()
        self._paused = False
        self._permits: set[Permit] = set()  # that are out
        self._gap_s = 0.0  # between requests, after the target asked for time
        self._free_at = 0.0  # monotonic

    @property
    def health(self) -> TargetHealth:
        return self._breaker.health

    @property
    def is_well(self) -> bool:
        """Is the target thought to take what comes?"""
        return self._breaker.health.state == "open"

    @property
    def is_open(self) -> bool:
        return self.is_well and not self._paused

    def begin(self, health: TargetHealth) -> None:
        """Goes on where the former owner of the lane was."""
        with self._mutex:
            self._breaker = Breaker(health=target_health.at_start(health, self._clock()))
            self._permits.clear()

    def hold(self, paused: bool) -> None:
        """By the operator, or no longer."""
        with self._mutex:
            self._paused = paused

    def resume(self) -> None:
        """The operator asks for a probe at once: as if nothing were under way."""
        with self._mutex:
            self._permits.clear()
            self._breaker = Breaker(health=target_health.resumed(self._breaker.health, self._clock()))
            self._gap_s = self._free_at = 0.0

    def shift(self, step: timedelta) -> None:
        """The wall clock has stepped."""
        with self._mutex:
            known = self._breaker
            self._breaker = Breaker(
                health=target_health.shifted(known.health, step), suspect=known.suspect, targets_own=known.targets_own
            )

    def wait_s(self) -> float:
        """Return the seconds after which it is worth asking for a permit; 0: now."""
        with self._mutex:
            return self._wait_s()

    def try_acquire(self) -> Permit | None:
        """Return a permit; None when no request may be made now."""
        with self._mutex:
            if self._wait_s() or self._bucket.acquire():
                return None
            self._space_out()
            permit = Permit(self, probe=not self.is_well)
            self._permits.add(permit)
            return permit

    def try_acquire_more(self) -> float:
        """Acquire leave for a further request of the same delivery: 0, or the seconds after which to ask again."""
        with self._mutex:
            wait_s = self._gap_left_s() or self._bucket.acquire()
            if not wait_s:
                self._space_out()
            return wait_s

    def take_back(self, permit: Permit) -> None:
        """A permit of which nothing was learned; nothing happens when it is back already."""
        with self._mutex:
            if permit not in self._permits:
                return
            self._permits.remove(permit)
            if not permit.is_used:
                self._bucket.release()

    def settle(self, permit: Permit, outcome: Outcome, call: str) -> tuple[TargetHealth, TargetHealth]:
        """Learns what the request came to; the target's health before and after."""
        with self._mutex:
            self._permits.discard(permit)
            before = self._breaker.health
            self._breaker = target_health.after(
                self._breaker, outcome, call, probe=permit.probe, now=self._clock(),
                jitter=random.random(),  # noqa: S311  it spreads, and protects nothing
            )  # fmt: skip
            if outcome.health_hint == "not_asked":
                self._bucket.release()
                return before, before
            self._keep_pace(outcome, before.state == "open")
            return before, self._breaker.health

    def _wait_s(self) -> float:
        health_at = target_health.request_at(self.health)
        asked = 0.0 if health_at is None else (health_at - self._clock()).total_seconds()
        if (wait_s := max(asked, self._gap_left_s())) > 0:
            return min(wait_s, _ASK_AGAIN_S)  # to see a step of the clock, or the operator's word
        if self._paused or (not self.is_well and any(permit.probe for permit in self._permits)):
            return _ASK_AGAIN_S
        return self._bucket.wait_s()

    def _gap_left_s(self) -> float:
        return max(0.0, self._free_at - self._monotonic()) if self._gap_s else 0.0

    def _space_out(self) -> None:
        """A request is made: the next one keeps its distance."""
        if self._gap_s:
            self._free_at = self._monotonic() + self._gap_s

    def _keep_pace(self, outcome: Outcome, was_open: bool) -> None:
        """A target that asks for time is called half as often; with each delivery a fifth more often again."""
        if outcome.name == "later" and was_open and outcome.health_hint != "well":
            self._gap_s = min(max(self._gap_s * 2, _GAP_FIRST_S), _GAP_MAX_S)
            self._free_at = self._monotonic() + self._gap_s
        elif outcome.name == "delivered" and self._gap_s:
            self._gap_s = self._gap_s * 0.8 if self._gap_s > _GAP_LAST_S else 0.0
