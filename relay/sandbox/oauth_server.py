"""Gives out the tokens of a simulated OAuth server: an access token lives for a while, a refresh token for one use.

The caller holds its own lock, and compares the client's id and secret itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from relay.clock import Clock


class Pair(Struct, frozen=True):
    """Holds what one exchange gives."""

    access: str
    refresh: str
    expires_at: datetime


class Tokens:
    """Gives out tokens for one client."""

    def __init__(self, refresh_token: str, *, access_lives: timedelta, refresh_lives: timedelta, clock: Clock) -> None:
        self._access_lives, self._refresh_lives, self._clock = access_lives, refresh_lives, clock
        self._name = refresh_token.removesuffix("-1")
        self._refresh, self._refresh_ends = refresh_token, clock() + refresh_lives
        self._expires: dict[str, datetime] = {}  # of each access token that was given out
        self._number = 1

    def refresh(self, refresh_token: str) -> Pair | None:
        """Return a new pair; None when the refresh token was used before, has expired or is not known."""
        now = self._clock()
        if refresh_token != self._refresh or now >= self._refresh_ends:
            return None
        self._number += 1
        self._refresh, self._refresh_ends = f"{self._name}-{self._number}", now + self._refresh_lives
        pair = Pair(f"{self._name}-access-{self._number}", self._refresh, now + self._access_lives)
        self._expires[pair.access] = pair.expires_at
        return pair

    def status(self, access: str) -> Literal["valid", "expired", "unknown"]:
        ends = self._expires.get(access)
        if ends is None:
            return "unknown"
        return "valid" if self._clock() < ends else "expired"

    def expire(self) -> None:
        """End all access tokens now; the refresh token stays."""
        self._expires = dict.fromkeys(self._expires, self._clock())
