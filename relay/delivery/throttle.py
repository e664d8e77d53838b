"""Whether a lane may make a request now: not paused by the operator, target well, rate kept.

Its waits are the monotonic clock's; what must survive a restart is kept as wall-clock times in the target's health,
which a jump of the clock moves along.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Self

from msgspec.structs import replace

from relay.clock import Clock
from relay.config.types import Rate
from relay.delivery import retry_policy
from relay.delivery.retry_policy import HealthState
from relay.models import Outcome, TargetHealth

_GAP_FIRST_S, _GAP_MAX_S, _GAP_LAST_S = 0.1, 5.0, 0.01
_ASK_AGAIN_S = 1.0  # to see a jump of the clock, or what the operator wants


class TokenBucket:
    """One token for each request; empty at start, so that a restart does not burst; without a rate bottomless."""

    def __init__(self, rate: Rate | None, monotonic: Callable[[], float]) -> None:
        self._rate, self._monotonic = rate, monotonic
        self._tokens, self._filled_at = 0.0, monotonic()
        self._mutex = threading.Lock()

    def wait_s(self) -> float:
        """Return the seconds until there is a token; 0: there is one."""
        with self._mutex:
            return self._wait_s()

    def acquire(self) -> float:
        """Take a token and return 0, or take none and return the seconds until there is one."""
        with self._mutex:
            wait_s = self._wait_s()
            if not wait_s:
                self._tokens -= 1
            return wait_s

    def release(self) -> None:
        """Put back a token that was taken for nothing."""
        with self._mutex:
            self._tokens += 1

    def _wait_s(self) -> float:
        if self._rate is None:
            return 0.0
        now = self._monotonic()
        gained = (now - self._filled_at) * self._rate.per_second
        self._tokens, self._filled_at = min(self._tokens + gained, float(self._rate.burst)), now
        return max(0.0, (1 - self._tokens) / self._rate.per_second)


class Permit:
    """Permits one request.

    A context: at the end of its block it is released, whatever happened there, unless its outcome was recorded or it
    was kept.
    """

    def __init__(self, throttle: Throttle, *, probe: bool) -> None:
        self.probe = probe  #: the target is not well: this is to see whether it is again
        self.is_used = False  #: requests may have been made with it
        self._throttle, self._is_kept = throttle, False

    def keep(self) -> Self:
        """Let it outlive the present block: whoever gets it opens one of his own."""
        self._is_kept = True
        return self

    def __enter__(self) -> Self:
        self._is_kept = False
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_kept:
            self._throttle.release(self)


class Throttle:
    """Gives out permits to make requests of one target, and learns what came of them."""

    def __init__(self, bucket: TokenBucket, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._bucket, self._clock, self._monotonic = bucket, clock, monotonic
        self._mutex = threading.Lock()
        self._state = HealthState()
        self.learned = 0  #: counts what was learned of the target here
        self._paused = False
        self._permits: set[Permit] = set()  # that are out
        self._gap_s = 0.0  # between requests, after the target asked for time
        self._free_at = 0.0  # monotonic

    @property
    def health(self) -> TargetHealth:
        return self._state.health

    @property
    def is_well(self) -> bool:
        """Is the target thought to take what comes?"""
        return self._state.health.state == "open"

    def restore(self, health: TargetHealth) -> None:
        """Go on where the former owner of the lane was."""
        with self._mutex:
            self._state = HealthState(health=retry_policy.at_start(health, self._clock()))
            self._permits.clear()

    def adopt(self, health: TargetHealth, learned: int) -> bool:
        """Think of the target as another of its lanes does, unless something was learned here since then."""
        with self._mutex:
            if learned != self.learned:
                return False
            self._state = replace(self._state, health=health)
            return True

    def set_paused(self, paused: bool) -> None:
        """Do as the operator wants."""
        self._paused = paused

    def resume(self) -> None:
        """Probe at once, for the operator: as if nothing were under way."""
        with self._mutex:
            self._permits.clear()
            self._state = HealthState(health=retry_policy.resumed(self.health, self._clock()))
            self._gap_s = self._free_at = 0.0

    def shift(self, jump: timedelta) -> None:
        """Keep the length of the waits: the wall clock has jumped."""
        with self._mutex:
            self._state = replace(self._state, health=retry_policy.shifted(self.health, jump))

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

    def acquire_more(self) -> float:
        """Return 0 if the same delivery may make a further request, else the seconds after which to ask again."""
        with self._mutex:
            wait_s = self._gap_left_s() or self._bucket.acquire()
            if not wait_s:
                self._space_out()
            return wait_s

    def release(self, permit: Permit) -> None:
        """Take back a permit of which nothing was learned, unless it is back already."""
        with self._mutex:
            if permit in self._permits:
                self._permits.remove(permit)
                if not permit.is_used:
                    self._bucket.release()

    def record_outcome(self, permit: Permit, outcome: Outcome, call_key: str) -> tuple[TargetHealth, TargetHealth]:
        """Learn what the request for the call of this key came to; return the target's health before and after."""
        with self._mutex:
            self._permits.discard(permit)
            before = self.health
            self.learned += 1
            self._state = retry_policy.health_after(
                self._state,
                outcome,
                call_key,
                probe=permit.probe,
                now=self._clock(),
                jitter=random.random(),  # noqa: S311  it spreads, and protects nothing
            )
            if outcome.health_hint == "not_asked":
                self._bucket.release()
            else:
                self._keep_pace(outcome, before.state == "open")
            return before, self.health

    def _wait_s(self) -> float:
        earliest = retry_policy.request_at(self.health)
        asked_s = 0.0 if earliest is None else (earliest - self._clock()).total_seconds()
        if (wait_s := max(asked_s, self._gap_left_s())) > 0:
            return min(wait_s, _ASK_AGAIN_S)
        if self._paused or (not self.is_well and any(permit.probe for permit in self._permits)):
            return _ASK_AGAIN_S
        return self._bucket.wait_s()

    def _gap_left_s(self) -> float:
        return max(0.0, self._free_at - self._monotonic()) if self._gap_s else 0.0

    def _space_out(self) -> None:
        """Let the next request keep its distance to the one that is made now."""
        if self._gap_s:
            self._free_at = self._monotonic() + self._gap_s

    def _keep_pace(self, outcome: Outcome, was_open: bool) -> None:
        """Ask a target that asks for time half as often, and with each delivery a fifth more often again."""
        if outcome.name == "later" and was_open and outcome.health_hint != "well":
            self._gap_s = min(max(self._gap_s * 2, _GAP_FIRST_S), _GAP_MAX_S)
            self._space_out()
        elif outcome.name == "delivered" and self._gap_s:
            self._gap_s = self._gap_s * 0.8 if self._gap_s > _GAP_LAST_S else 0.0
