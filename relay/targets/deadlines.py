"""One total deadline for each request: when it has passed, the connection is shut, whatever it is waiting for.

Time-outs of a socket begin anew with every byte: an answer that drips would hold its thread for ever. One thread
watches all requests, and sleeps until the next deadline.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Protocol


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Deadline:
    """Of one request. Holds a descriptor of its own: the connection's may be closed, and its number given away."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.has_passed = False
        self._mutex = threading.Lock()
        self._handle: socket.socket | None = None

    def guard(self, connection: HasFileno) -> None:
        """Shuts this connection, instead of the one before, when it passes; at once if it has."""
        # whatever its family: it is shut and closed, and nothing else
        handle = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=os.dup(connection.fileno()))
        with self._mutex:
            before, self._handle = self._handle, handle
            if self.has_passed:
                _shut(handle)
        if before is not None:
            before.close()

    def expire(self) -> None:
        with self._mutex:
            self.has_passed = True
            if self._handle is not None:
                _shut(self._handle)

    def end(self) -> None:
        """Lets go of the connection, which goes on."""
        with self._mutex:
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()


def _shut(handle: socket.socket) -> None:
    """Wakes whoever reads or writes there, also in the middle of TLS."""
    with contextlib.suppress(OSError):  # it is not connected any more
        handle.shutdown(socket.SHUT_RDWR)


class Watchdog:
    """The thread that keeps deadlines; it starts with the first of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[Deadline] = set()
        self._wakes_at = float("inf")
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[Deadline]:
        deadline = Deadline(time.monotonic() + seconds)
        self._add(deadline)
        try:
            yield deadline
        finally:
            with self._changed:
                self._running.discard(deadline)
            deadline.end()

    def _add(self, deadline: Deadline) -> None:
        with self._changed:
            self._running.add(deadline)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif deadline.at < self._wakes_at:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            for deadline in self._passed():
                deadline.expire()

    def _passed(self) -> list[Deadline]:
        """Waits for the next deadline, or for a nearer one to be set; those that have passed by then."""
        with self._changed:
            self._wakes_at = min((deadline.at for deadline in self._running), default=float("inf"))
            if self._wakes_at > (now := time.monotonic()):
                self._changed.wait(None if self._wakes_at == float("inf") else self._wakes_at - now)
            now = time.monotonic()
            passed = [deadline for deadline in self._running if deadline.at <= now]
            self._running.difference_update(passed)
            return passed


WATCHDOG = Watchdog()
