"""How old a waiting delivery is: time in which the queue was held, or that the clock skipped, does not count. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from relay.models import Standstill


def age(since: datetime, now: datetime, standstills: Sequence[Standstill]) -> timedelta:
    """From `since` to `now` without the standstills between."""
    stood_still = timedelta(0)
    for began, ended in _spans(standstills, now):
        stood_still += max(min(ended, now) - max(began, since), timedelta(0))
    return now - since - stood_still


def born_before(limit: timedelta, now: datetime, standstills: Sequence[Standstill]) -> datetime:
    """What began to wait at this moment is just as old as `limit`; what began earlier is older."""
    reached, left = now, limit
    for began, ended in reversed(_spans(standstills, now)):
        if reached - ended >= left:
            break
        left -= reached - ended
        reached = began
    return reached - left


def grows_to(limit: timedelta, since: datetime, now: datetime, standstills: Sequence[Standstill]) -> datetime:
    """When it will be as old as `limit`, if time goes on from now."""
    return now + limit - age(since, now, standstills)


def _spans(standstills: Sequence[Standstill], until: datetime) -> list[tuple[datetime, datetime]]:
    """In order and up to `until`; where they overlap, time stands still once."""
    merged: list[tuple[datetime, datetime]] = []
    for span in sorted(standstills, key=lambda span: span.began):
        began, ended = span.began, min(span.ended or until, until)
        if merged:
            began = max(began, merged[-1][1])
        if ended > began:
            merged.append((began, ended))
    return merged
