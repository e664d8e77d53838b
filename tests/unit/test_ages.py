"""Ages without the time in which nothing could be done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from relay.delivery import ages
from relay.models import Standstill

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def span(began: float, ended: float | None) -> Standstill:
    """Hours after noon."""
    return Standstill(NOON + began * HOUR, None if ended is None else NOON + ended * HOUR)


def test_without_standstills_it_is_the_time_that_has_passed() -> None:
    assert ages.age(NOON, NOON + 3 * HOUR, ()) == 3 * HOUR


def test_a_pause_does_not_count() -> None:
    assert ages.age(NOON, NOON + 3 * HOUR, [span(1, 2)]) == 2 * HOUR


def test_only_the_part_of_a_pause_that_it_lived_through_counts() -> None:
    assert ages.age(NOON + 1.5 * HOUR, NOON + 3 * HOUR, [span(1, 2)]) == HOUR
    assert ages.age(NOON + 2.5 * HOUR, NOON + 3 * HOUR, [span(1, 2)]) == 0.5 * HOUR


def test_while_the_pause_lasts_it_does_not_grow_older() -> None:
    for later in (2, 20, 2000):
        assert ages.age(NOON, NOON + later * HOUR, [span(1, None)]) == HOUR


def test_where_standstills_overlap_time_stands_still_once() -> None:
    assert ages.age(NOON, NOON + 10 * HOUR, [span(1, 5), span(2, 3), span(4, 6)]) == 5 * HOUR


@st.composite
def standstills(draw: Any) -> list[Standstill]:
    times = sorted(draw(st.lists(st.floats(-50, 50, allow_nan=False), max_size=8)))
    return [span(began, ended) for began, ended in zip(times[::2], times[1::2], strict=False)]


@given(standstills(), st.timedeltas(timedelta(0), 60 * HOUR), st.timedeltas(timedelta(minutes=1), 40 * HOUR))
def test_born_before_is_the_moment_from_which_it_would_be_just_too_old(
    spans: list[Standstill], later: timedelta, limit: timedelta
) -> None:
    now = NOON + later
    born = ages.born_before(limit, now, spans)

    assert abs(ages.age(born, now, spans) - limit) < timedelta(milliseconds=1)
    assert ages.age(born - HOUR, now, spans) >= limit - timedelta(milliseconds=1)
    assert ages.age(born + timedelta(minutes=1), now, spans) <= limit


@given(standstills(), st.timedeltas(timedelta(0), 60 * HOUR))
def test_grows_to_says_when(spans: list[Standstill], later: timedelta) -> None:
    now = NOON + later
    at = ages.grows_to(14 * 24 * HOUR, NOON, now, spans)
    past = [one for one in spans if one.ended is not None and one.ended <= now]

    if len(past) == len(spans):
        assert ages.age(NOON, at, spans) == 14 * 24 * HOUR
