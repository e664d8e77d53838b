"""Tells other processes that something is due, and hears it from them: LISTEN and NOTIFY.

Hearing saves waiting and nothing else: what is due is found by asking the database. A connection that listens may die
without a sound, and a pooler of transactions never passes on what it hears: so it calls itself every few seconds, and
while no echo comes back the database is asked more often.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import structlog

from relay.store.engine import Changes

log = structlog.get_logger("relay.store")

_CHANNEL = "relay_due"
NOTIFY = f"NOTIFY {_CHANNEL}"
"""Tells the others with the transaction that it is part of."""
_PROBE = "relay_probe"
_PROBE_S = 1.0
_ANSWERED_WITHIN_S = 5.0  # by a server that does not hang
# A commit that hangs keeps the lock of all NOTIFYs. The server must give up waiting for it before we give up the
# connection, or else its backend would go on waiting.
_LOCK_LIMIT = f"SET LOCAL lock_timeout = '{_ANSWERED_WITHIN_S:.0f}s'"
_ECHO_EVERY_S = 5.0
_ECHO_LATE_S = 12.0
_TELL_EVERY_S = 0.25  # a NOTIFY takes a lock that all commits of the server share
_POLL_S = 1.5
_POLL_DEAF_S = 0.25
_RECONNECT_MAX_S = 10.0


class Wakeups(Changes):
    """Two threads, started by the first who waits or tells; `conninfo` is libpq's."""

    def __init__(self, conninfo: str) -> None:
        super().__init__()
        self._conninfo = conninfo
        self._due = threading.Event()
        self._stopping = threading.Event()
        self._echoed_at = time.monotonic()  # given the time to hear itself first
        self._heard_before = True
        self._mutex = threading.Lock()
        self._started: set[str] = set()
        self._echo: str | None = None  # the channel on which the listening connection hears itself

    def hears(self) -> bool:
        """Has the listening connection heard its own call lately?"""
        return time.monotonic() - self._echoed_at < _ECHO_LATE_S

    def echoes(self) -> bool:
        """Does LISTEN bring anything at this address? Asked with two connections of its own, whoever waits."""
        with _connect(self._conninfo) as listening, _connect(self._conninfo) as telling:
            listening.execute(f"LISTEN {_PROBE}")
            _notify(telling, _PROBE)
            return any(listening.notifies(timeout=_PROBE_S, stop_after=1))

    def wait(self, at_most_s: float) -> None:
        self._start("listener", self._listen)
        hears = self.hears()
        if self._heard_before and not hears:
            log.warning("store.not_told", reason="LISTEN brings nothing: the database is asked four times a second")
        self._heard_before = hears
        if self.woken.wait(min(at_most_s, _POLL_S if hears else _POLL_DEAF_S)):
            self.woken.clear()

    def tell_others(self) -> None:
        """Something is due that this process does not deliver. Returns at once; the others hear it within 250 ms, or
        find it by asking while no connection is to be had."""
        self._start("teller", self._tell)
        self._due.set()

    def stop(self) -> None:
        self._stopping.set()
        self.woken.set()
        self._due.set()

    def _start(self, name: str, run: Any) -> None:
        with self._mutex:
            if name in self._started or self._stopping.is_set():
                return
            self._started.add(name)
        threading.Thread(target=run, name=name, daemon=True).start()

    def _listen(self) -> None:
        pauses = _pauses()
        while not self._stopping.is_set():
            try:
                self._listen_once()
            except Exception as exc:  # whatever it was: who has stopped listening must begin anew
                if self.hears():
                    pauses = _pauses()
                self._echoed_at = float("-inf")
                log.warning("store.not_listening", reason=type(exc).__name__)
                self._stopping.wait(next(pauses))

    def _listen_once(self) -> None:
        """Hear until the connection is lost. The call to itself comes from the other connection: behind a pooler one
        connection would hear its own calls, and nobody else's.
        """
        self._echo = f"relay_echo_{uuid.uuid4().hex}"
        with _connect(self._conninfo) as connection:
            connection.execute(f"LISTEN {_CHANNEL}")
            connection.execute(f"LISTEN {self._echo}")
            self._start("teller", self._tell)
            self.woken.set()  # what was told while nobody listened
            while not self._stopping.is_set():
                for notice in connection.notifies(timeout=_ECHO_EVERY_S, stop_after=1):
                    if notice.channel == self._echo:
                        self._echoed_at = time.monotonic()
                    else:
                        self.woken.set()

    def _tell(self) -> None:
        connection: Any = None
        pauses = _pauses()
        while True:
            is_due = self._due.wait(_ECHO_EVERY_S)
            self._due.clear()
            if self._stopping.is_set():
                break
            try:
                if connection is None or connection.closed:
                    connection = _connect(self._conninfo)
                if is_due:
                    _notify(connection, _CHANNEL)
                if self._echo is not None:
                    _notify(connection, self._echo)
                pauses = _pauses()
                self._stopping.wait(_TELL_EVERY_S)
            except Exception:  # told when the connection is back; meanwhile they ask the database by themselves
                if connection is not None:
                    connection.close()
                if is_due:
                    self._due.set()
                self._stopping.wait(next(pauses))
        if connection is not None:
            connection.close()


def _notify(connection: Any, channel: str) -> None:
    """Tell all who listen, in a transaction of its own: the two statements go as one."""
    connection.execute(f"{_LOCK_LIMIT}; NOTIFY {channel}")


def _pauses() -> Iterator[float]:
    """Yield how long to wait before the next connection: longer each time, and processes come back one by one."""
    pause = 0.5
    while True:
        yield pause * random.uniform(0.5, 1.5)  # noqa: S311  it spreads, and protects nothing
        pause = min(pause * 2, _RECONNECT_MAX_S)


def _connect(conninfo: str) -> Any:
    from relay.store.postgres.connection import LimitedConnection

    connection = LimitedConnection.connect(
        conninfo,
        autocommit=True,
        connect_timeout=5,
        keepalives_idle=10,
        keepalives_interval=3,
        keepalives_count=3,
        tcp_user_timeout=10_000,
        prepare_threshold=None,
        application_name="relay wakeups",
    )
    connection.left_s = lambda: _ANSWERED_WITHIN_S
    return connection
