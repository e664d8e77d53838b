"""How long to wait after wrong passwords: each address for itself, longer with each, and nobody for ever."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from relay.clock import EPOCH, Clock
from relay.config.addresses import site

_FREE = 5  # wrong passwords that cost no wait
_FIRST, _LONGEST = timedelta(seconds=10), timedelta(minutes=15)
_REMEMBERED = timedelta(hours=24)
_ADDRESSES = 4096  # those that did something last: memory has an end


def delay(wrong: int, *, is_known: bool) -> timedelta:
    """Return how long after so many wrong passwords the next may be tried.

    Where somebody is logged in from it stays short: the operator must not be kept out by a neighbour.
    """
    if wrong < _FREE:
        return timedelta(0)
    doublings = min(wrong - _FREE, 30)
    return _FIRST if is_known else min(_FIRST * 2**doublings, _LONGEST)


@dataclass
class _Tries:
    wrong: int = 0
    last: datetime = EPOCH
    known_until: datetime = EPOCH


class LoginThrottle:
    """Counts in this process alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._mutex = clock, threading.Lock()
        self._tries: OrderedDict[str, _Tries] = OrderedDict()

    def try_acquire(self, address: str) -> timedelta:
        """Zero: a password may be tried now, and is counted as a wrong one until `succeed`; else how long to wait."""
        with self._mutex:
            now, tries = self._clock(), self._of(address)
            if now - tries.last > _REMEMBERED:
                tries.wrong = 0
            span = delay(tries.wrong, is_known=now < tries.known_until)
            wait = min(tries.last + span - now, span)  # the clock may have been put back
            if wait > timedelta(0):
                return wait
            tries.wrong, tries.last = tries.wrong + 1, now
            return timedelta(0)

    def succeed(self, address: str) -> None:
        """The password was right: what was wrong before is forgiven."""
        with self._mutex:
            self._of(address).wrong = 0

    def greet(self, address: str) -> None:
        """Somebody who is logged in has come from there."""
        with self._mutex:
            self._of(address).known_until = self._clock() + _REMEMBERED

    def _of(self, address: str) -> _Tries:
        key = site(address)
        tries = self._tries.setdefault(key, _Tries())
        self._tries.move_to_end(key)
        if len(self._tries) > _ADDRESSES:
            self._tries.popitem(last=False)
        return tries
