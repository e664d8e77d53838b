"""What threads have finished reaches the worker's main loop."""

from __future__ import annotations

import fcntl
import selectors
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from relay.web.worker import FinishedRequests, GunicornSettings

THREADS, EACH = 4, 2000


@pytest.fixture
def finished() -> Iterator[FinishedRequests]:
    made = FinishedRequests()
    made.init()
    yield made
    made.close()


def wakeups(finished: FinishedRequests) -> int:
    """Return how many bytes stand in the pipe."""
    [count] = struct.unpack("i", fcntl.ioctl(finished.fileno(), termios.FIONREAD, b"\0" * 4))
    return int(count)


def test_the_loop_is_woken_once_for_all_that_waits_and_again_for_what_comes_later(finished: FinishedRequests) -> None:
    done: list[int] = []
    for number in range(3):
        finished.defer(done.append, number)
    assert wakeups(finished) == 1
    finished.run_callbacks(finished.fileno())
    assert (done, wakeups(finished)) == ([0, 1, 2], 0)
    finished.defer(done.append, 3)
    assert wakeups(finished) == 1


def test_what_comes_while_others_are_seen_to_has_its_own_turn(finished: FinishedRequests) -> None:
    """Else a busy client could keep the loop from all others."""
    done: list[str] = []
    finished.defer(lambda: (done.append("first"), finished.defer(done.append, "second")))
    finished.run_callbacks(finished.fileno())
    assert (done, wakeups(finished)) == (["first"], 1)


def test_nothing_waits_for_a_wake_up_that_does_not_come(finished: FinishedRequests) -> None:
    done: list[tuple[int, int]] = []

    def finish(thread: int) -> None:
        for number in range(EACH):
            finished.defer(done.append, (thread, number))

    threads = [threading.Thread(target=finish, args=(thread,)) for thread in range(THREADS)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(finished.fileno(), selectors.EVENT_READ)
            for thread in threads:
                thread.start()
            while len(done) < THREADS * EACH:
                assert selector.select(timeout=30), "something is finished, and the loop sleeps"
                finished.run_callbacks(finished.fileno())
    finally:
        sys.setswitchinterval(interval)
        for each in threads:
            each.join()
    for thread in range(THREADS):
        assert [number for of, number in done if of == thread] == [*range(EACH)]


def test_a_worker_that_has_ended_minds_no_late_thread(finished: FinishedRequests) -> None:
    finished.close()
    finished.defer(print)


def test_each_of_gunicorns_settings_is_looked_up_once() -> None:
    looked_up: list[str] = []

    class Config:
        def __getattr__(self, name: str) -> Any:
            looked_up.append(name)
            return name.upper()

    settings = GunicornSettings(Config())
    assert [settings.threads, settings.threads, settings.workers] == ["THREADS", "THREADS", "WORKERS"]
    assert looked_up == ["threads", "workers"]
