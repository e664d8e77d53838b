"""What threads have finished reaches the worker's main loop."""

from __future__ import annotations

import fcntl
import os
import queue
import struct
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.web.worker import FinishedRequests, GunicornSettings


@pytest.fixture
def finished() -> Iterator[FinishedRequests]:
    made = FinishedRequests()
    made.init()
    yield made
    made.close()
    os.close(made._write_fd)


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


def test_what_comes_just_before_the_loop_reads_is_seen_to_and_the_next_wakes_it(
    finished: FinishedRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(descriptor: int, size: int) -> bytes:
        finished.defer(done.append, "second")
        return real_read(descriptor, size)

    done: list[str] = []
    finished.defer(done.append, "first")
    real_read = os.read
    with monkeypatch.context() as patched:
        patched.setattr(os, "read", read)
        finished.run_callbacks(finished.fileno())
    assert (done, wakeups(finished)) == (["first", "second"], 0)
    finished.defer(done.append, "third")
    assert wakeups(finished) == 1


def test_what_comes_just_after_the_loop_has_looked_wakes_it(finished: FinishedRequests) -> None:
    class Late(queue.SimpleQueue[Any]):
        def qsize(self) -> int:
            looked = super().qsize()
            finished.defer(done.append, "second")
            return looked

    done: list[str] = []
    finished._queue = Late()
    finished.defer(done.append, "first")
    finished.run_callbacks(finished.fileno())
    assert (done, wakeups(finished)) == (["first"], 1)


def test_the_loop_is_woken_when_there_is_something_to_find(finished: FinishedRequests) -> None:
    class Woken(queue.SimpleQueue[Any]):
        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
            assert wakeups(finished) == 0, "the loop may look before it stands there"
            super().put(item, block, timeout)

    finished._queue = Woken()
    finished.defer(print)
    assert wakeups(finished) == 1


def test_a_thread_that_is_late_writes_into_no_other_file(tmp_path: Path) -> None:
    finished = FinishedRequests()
    finished.init()
    finished.close()
    with (tmp_path / "a").open("w+b", buffering=0) as one, (tmp_path / "b").open("w+b", buffering=0) as another:
        finished.defer(print)
        assert [one.seek(0, os.SEEK_END), another.seek(0, os.SEEK_END)] == [0, 0]
    os.close(finished._write_fd)


def test_each_of_gunicorns_settings_is_looked_up_once() -> None:
    looked_up: list[str] = []

    class Config:
        def __getattr__(self, name: str) -> Any:
            looked_up.append(name)
            return name.upper()

    settings = GunicornSettings(Config())
    assert [settings.threads, settings.threads, settings.workers] == ["THREADS", "THREADS", "WORKERS"]
    assert looked_up == ["threads", "workers"]
