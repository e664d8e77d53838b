"""Waiting for the thing itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Runs(Protocol):
    """A process, as far as it matters here."""

    def poll(self) -> int | None: ...


def eventually(reached: Callable[[], bool], what: str, within_s: float = 60.0, alive: Runs | None = None) -> None:
    """Return as soon as it is reached; fail when the process ends or the time is over.

    The longer it has waited, and the dearer a look is, the more seldom it looks: what it waits for needs the processor
    too.
    """
    began, pause = time.monotonic(), threading.Event()
    look_began = began
    while not reached():
        assert alive is None or alive.poll() is None, f"the process has ended: {what}"
        now = time.monotonic()
        assert now - began < within_s, f"not within {within_s} s: {what}"
        pause.wait(max(0.01, min((now - began) / 10, 0.1), min(2 * (now - look_began), 1.0)))
        look_began = time.monotonic()
