"""Whether a lane may make a request now."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config.types import Rate
from relay.delivery.dispatcher import ClockJumpDetector
from relay.delivery.throttle import Permit, Throttle, TokenBucket
from relay.models import Outcome, TargetHealth

NOW = datetime(2026, 3, 2, 9, 45, tzinfo=UTC)


class Time:
    """A wall clock and a monotonic one; they part when the wall clock is set."""

    def __init__(self) -> None:
        self.wall, self.seconds = NOW, 0.0

    def pass_(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds

    def throttle(self, rate: Rate | None = None) -> Throttle:
        return Throttle(TokenBucket(rate, lambda: self.seconds), lambda: self.wall, lambda: self.seconds)


def taken(throttle: Throttle) -> Permit:
    permit = throttle.try_acquire()
    assert permit is not None
    return permit


def settle(throttle: Throttle, name: Any, call: str = "a", wait: float | None = None) -> None:
    outcome = Outcome(name=name, wait=None if wait is None else timedelta(seconds=wait))
    throttle.record_outcome(taken(throttle), outcome, call)


def test_a_paused_throttle_lets_nothing_through_until_it_is_resumed() -> None:
    throttle = Time().throttle()
    throttle.set_paused(True)
    assert throttle.try_acquire() is None
    throttle.set_paused(False)
    assert not taken(throttle).probe


def test_while_a_probe_is_under_way_there_is_no_other() -> None:
    time = Time()
    throttle = time.throttle()
    settle(throttle, "unreachable")
    time.pass_(1)
    settle(throttle, "unreachable")
    time.pass_(2)
    assert taken(throttle).probe
    for _ in range(100):
        time.pass_(60)
        assert throttle.try_acquire() is None


def test_a_probe_that_was_not_sent_may_be_taken_again() -> None:
    time = Time()
    throttle = time.throttle()
    throttle.restore(TargetHealth(state="down", probe_at=NOW))
    throttle.release(taken(throttle))
    assert taken(throttle).probe


def ill(time: Time, rate: Rate | None = None) -> Throttle:
    """A throttle that lets out a probe."""
    throttle = time.throttle(rate)
    throttle.restore(TargetHealth(state="down", probe_at=NOW))
    return throttle


def test_resuming_starts_afresh_whatever_became_of_the_probe() -> None:
    throttle = ill(Time())
    lost = taken(throttle)
    assert throttle.try_acquire() is None

    throttle.resume()
    again = taken(throttle)
    assert again.probe
    throttle.release(lost)  # it comes back late: the new one is still under way
    assert throttle.try_acquire() is None


def test_an_outcome_that_nobody_can_reckon_with_does_not_keep_the_permit() -> None:
    throttle = ill(Time())
    with pytest.raises(OverflowError), taken(throttle) as permit:
        throttle.record_outcome(permit, Outcome(name="later", wait=timedelta.max), "a")

    assert taken(throttle).probe


@given(st.lists(st.sampled_from(["nothing", "fails", "used", "settled", "settling fails", "kept"]), max_size=20))
def test_every_permit_is_back_at_the_end_of_its_block_unless_it_was_kept(ends: list[str]) -> None:
    """Whatever happens in the block: no probe is under way then, and what was not used has cost no token."""
    time = Time()
    throttle = ill(time, Rate(1, 1000))
    time.pass_(1000)
    spent = 0
    for end in ends:
        time.wall += timedelta(hours=1)  # the rate's clock stands still
        with contextlib.suppress(RuntimeError, OverflowError), taken(throttle) as permit:
            assert permit.probe
            permit.is_used = end not in ("nothing", "fails", "kept")
            if end == "fails":
                raise RuntimeError
            if end.startswith("settl"):
                wait = timedelta.max if end == "settling fails" else None
                throttle.record_outcome(permit, Outcome(name="unreachable", wait=wait), "a")
            if end == "kept":
                permit.keep()
        spent += end in ("used", "settled", "settling fails")
        if end == "kept":
            assert throttle.try_acquire() is None
            with permit:
                pass
    time.wall += timedelta(hours=1)
    throttle.resume()
    assert tokens(throttle) == 1000 - spent


def tokens(throttle: Throttle) -> int:
    throttle.restore(TargetHealth())
    count = 0
    while throttle.try_acquire():
        count += 1
    return count


@given(
    st.floats(0.5, 20),
    st.integers(1, 50),
    st.lists(st.floats(0.001, 3), min_size=1, max_size=300),
    st.lists(st.integers(0, 299), max_size=3),
)
def test_a_rate_is_kept_over_restarts(per_second: float, burst: int, pauses: list[float], restarts: list[int]) -> None:
    """In any span of time at most the burst and what the rate gives, also when the process is new."""
    time, rate = Time(), Rate(per_second, burst)
    throttle, sent = time.throttle(rate), []
    for number, pause in enumerate(pauses):
        if number in restarts:
            throttle = time.throttle(rate)
        time.pass_(pause)
        while throttle.try_acquire():
            sent.append(time.seconds)
    for first, began in enumerate(sent):
        for last in range(first, len(sent)):
            allowed = burst + per_second * (sent[last] - began)
            assert last - first + 1 <= allowed + 1e-6


def test_a_bucket_is_empty_at_start() -> None:
    throttle = Time().throttle(Rate(1.9, 45))
    assert throttle.wait_s() == 1 / 1.9


def pauses_until_let_through(time: Time, throttle: Throttle) -> tuple[Permit, float]:
    waited = 0.0
    while (permit := throttle.try_acquire()) is None:
        wait_s = throttle.wait_s()
        waited += wait_s
        time.pass_(wait_s)
    return permit, waited


def test_a_target_that_asks_for_time_is_called_half_as_often_and_recovers() -> None:
    time = Time()
    throttle = time.throttle()
    gaps = []
    for _ in range(4):
        for name in ("later", "delivered"):  # every second one: not enough to call it down
            permit, _ = pauses_until_let_through(time, throttle)
            throttle.record_outcome(permit, Outcome(name=name), "a")
        permit, waited = pauses_until_let_through(time, throttle)
        throttle.release(permit)
        gaps.append(waited)
    assert gaps == sorted(gaps)
    assert gaps[-1] > gaps[0] > 0
    for _ in range(60):
        permit, _ = pauses_until_let_through(time, throttle)
        throttle.record_outcome(permit, Outcome(name="delivered"), "a")
    assert throttle.try_acquire()
    assert throttle.try_acquire()  # as fast as before


def test_a_step_of_the_wall_clock_neither_shortens_nor_lengthens_what_the_target_asked_for() -> None:
    for hours in (1, -1):
        time = Time()
        throttle = time.throttle()
        settle(throttle, "later", wait=600)
        time.wall += timedelta(hours=hours)
        throttle.shift(timedelta(hours=hours))
        time.pass_(599)
        assert throttle.try_acquire() is None
        time.pass_(2)
        assert throttle.try_acquire()


# --- noticing the step


def watched(time: Time) -> Callable[[], tuple[datetime, datetime] | None]:
    return ClockJumpDetector(lambda: time.wall, lambda: time.seconds).check


def test_a_clock_that_goes_its_way_has_not_stepped() -> None:
    time = Time()
    step = watched(time)
    for seconds in (0.25, 0.25, 300, 86400, 0.25):
        assert step() is None
        time.pass_(seconds)


def test_a_step_is_seen_once_with_what_it_would_have_been() -> None:
    for hours in (1, -1):
        time = Time()
        step = watched(time)
        step()
        time.pass_(0.25)
        time.wall += timedelta(hours=hours)
        assert step() == (NOW + timedelta(seconds=0.25), NOW + timedelta(hours=hours, seconds=0.25))
        time.pass_(0.25)
        assert step() is None


def test_a_process_stopped_between_the_two_readings_is_no_step() -> None:
    time = Time()

    def wall() -> datetime:
        time.pass_(30)  # stopped here
        return time.wall

    detector = ClockJumpDetector(wall, lambda: time.seconds)
    assert [detector.check() for _ in range(3)] == [None, None, None]
