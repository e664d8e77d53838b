"""How long one waits after wrong passwords."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.web.admin import auth
from relay.web.admin.auth import LoginThrottle, delay
from tests.fakes import FakeClock


@pytest.fixture
def throttle(clock: FakeClock) -> LoginThrottle:
    return LoginThrottle(clock)


def try_often(throttle: LoginThrottle, clock: FakeClock, address: str, times: int) -> None:
    """Wrong passwords from an address that waits each time as long as it must."""
    for _ in range(times):
        while wait := throttle.try_acquire(address):
            clock.now += wait


@pytest.mark.parametrize(
    ("wrong", "seconds"), [(0, 0), (4, 0), (5, 10), (6, 20), (7, 40), (10, 320), (12, 900), (1000, 900)]
)
def test_the_delay_grows_to_a_quarter_of_an_hour(wrong: int, seconds: int) -> None:
    assert delay(wrong, is_logged_in=False) == timedelta(seconds=seconds)
    assert delay(wrong, is_logged_in=True) == timedelta(seconds=min(seconds, 10))


@given(wrong=st.integers(0, 10**9), is_logged_in=st.booleans())
def test_it_never_falls_and_is_never_for_ever(wrong: int, is_logged_in: bool) -> None:
    first, second = delay(wrong, is_logged_in=is_logged_in), delay(wrong + 1, is_logged_in=is_logged_in)

    assert first <= second <= timedelta(minutes=15)


def test_one_address_waits_and_no_other(throttle: LoginThrottle) -> None:
    assert [throttle.try_acquire("192.0.2.1") for _ in range(6)] == [timedelta(0)] * 5 + [timedelta(seconds=10)]
    assert throttle.try_acquire("192.0.2.2") == timedelta(0)


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "", True),
        ("unix:", "unix:", True),
    ],
)
def test_an_address_is_what_one_sender_can_choose_among(
    throttle: LoginThrottle, first: str, second: str, is_same: bool
) -> None:
    for _ in range(5):
        throttle.try_acquire(first)

    assert bool(throttle.try_acquire(second)) == is_same


def test_asking_while_one_must_wait_makes_it_no_longer(throttle: LoginThrottle, clock: FakeClock) -> None:
    waits = [throttle.try_acquire("192.0.2.1") for _ in range(50)]
    assert waits[5:] == [timedelta(seconds=10)] * 45

    clock.forward(seconds=10)

    assert throttle.try_acquire("192.0.2.1") == timedelta(0)


def test_the_right_password_and_a_day_of_peace_forgive(throttle: LoginThrottle, clock: FakeClock) -> None:
    for forgive in (lambda: throttle.succeed("192.0.2.1"), lambda: clock.forward(hours=25)):
        try_often(throttle, clock, "192.0.2.1", 12)
        assert throttle.try_acquire("192.0.2.1") > timedelta(minutes=10)
        forgive()
        assert throttle.try_acquire("192.0.2.1") == timedelta(0)
        throttle.succeed("192.0.2.1")


def test_where_somebody_is_logged_in_from_the_wait_stays_short_and_guessing_slow(
    throttle: LoginThrottle, clock: FakeClock
) -> None:
    try_often(throttle, clock, "192.0.2.1", 20)
    throttle.greet("192.0.2.1")
    assert throttle.try_acquire("192.0.2.1") <= timedelta(seconds=10)

    began = clock.now
    for _ in range(100):
        throttle.greet("192.0.2.1")  # the operator goes on working: it forgives nothing
        try_often(throttle, clock, "192.0.2.1", 1)

    assert clock.now - began >= timedelta(seconds=990)


def test_a_clock_that_is_put_back_keeps_nobody_out(throttle: LoginThrottle, clock: FakeClock) -> None:
    try_often(throttle, clock, "192.0.2.1", 7)
    clock.forward(days=-400)

    assert throttle.try_acquire("192.0.2.1") <= timedelta(seconds=40)


@given(st.lists(st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}"), max_size=30))
def test_memory_has_an_end(addresses: list[str]) -> None:
    clock = FakeClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "_ADDRESSES", 8)
        throttle = LoginThrottle(clock)
        for number in addresses:
            throttle.try_acquire(":".join(number[at : at + 4] for at in range(0, 32, 4)))
            throttle.try_acquire(number * 100)  # what a proxy may put there
            assert len(throttle._addresses) <= 8
            assert all(len(key) <= 64 for key in throttle._addresses)


def test_many_at_once_are_as_many_tries(throttle: LoginThrottle) -> None:
    free: list[bool] = []
    begin = threading.Barrier(16)

    def guess() -> None:
        begin.wait()
        free.append(not throttle.try_acquire("192.0.2.1"))

    threads = [threading.Thread(target=guess) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert free.count(True) == 5
