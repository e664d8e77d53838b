"""How old a waiting delivery is: time in which the queue was held, or that the clock skipped, does not count. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from relay.events import Standstill


def age(since: datetime, now: datetime, standstills: Sequence[Standstill]) -> timedelta:
    """From `since` to `now` without the standstills between."""
    return now - since - _stood_still(since, now, standstills)


def born_before(limit: timedelta, now: datetime, standstills: Sequence[Standstill]) -> datetime:
    """What began to wait at this moment is just as old as `limit`; what began earlier is older."""
    born = now - limit
    for _ in range(len(standstills) + 1):  # each round may reach into one more standstill
        born = now - limit - _stood_still(born, now, standstills)
    return born


def grows_to(limit: timedelta, since: datetime, now: datetime, standstills: Sequence[Standstill]) -> datetime:
    """When it will be as old as `limit`, if time goes on from now."""
    return now + limit - age(since, now, standstills)


def _stood_still(since: datetime, until: datetime, standstills: Sequence[Standstill]) -> timedelta:
    """How much of a span the standstills cover; where they overlap, time stands still once."""
    covered, reached = timedelta(0), since
    for span in sorted(standstills, key=lambda span: span.began):
        began, ended = max(span.began, reached), min(span.ended or until, until)
        if ended > began:
            covered += ended - began
            reached = ended
    return covered
