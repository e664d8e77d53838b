"""What is done again and again goes on after a fault, and ends when it is told to."""

from __future__ import annotations

import threading
from typing import Any

from relay.periodic import Periodic

PATIENCE_S = 10.0


class Counting(Periodic):
    name, every_s, fault = "counting", 0.001, "count.failed"

    def __init__(self) -> None:
        super().__init__()
        self.steps, self.third = 0, threading.Event()

    def step(self) -> None:
        self.steps += 1
        if self.steps < 3:
            raise ValueError("a fault")
        self.third.set()


class Unwanted(Counting):
    name = "unwanted"

    def is_wanted(self) -> bool:
        return False


def threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_a_fault_ends_one_step_only_and_an_end_is_an_end(logged: list[Any]) -> None:
    counting = Counting()
    counting.start()
    [thread] = threads("counting")
    assert counting.third.wait(PATIENCE_S)
    counting.stop_soon()
    thread.join(PATIENCE_S)

    assert [(line["event"], line["log_level"]) for line in logged] == [("count.failed", "error")] * 2
    assert not thread.is_alive()


def test_where_there_is_nothing_to_do_no_thread_is_started() -> None:
    Unwanted().start()
    assert threads("unwanted") == []
