"""The write lock: one writer at a time over all threads and processes of this machine.

SQLite before 3.51.3 can corrupt a file when two connections write and checkpoint at the same instant
(sqlite.org/wal.html, "the WAL-reset bug"), and Debian 12 ships 3.40.1. So every write transaction of ours,
with the checkpoint that a commit may run, stands under this lock.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relay.errors import StoreBusy, StoreError

_POLL_S = 0.002


class FileLock:
    """An flock on a file of its own. The descriptor is opened after a fork: a shared one locks nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._pid = 0

    def try_acquire(self) -> bool:
        """Raises StoreError when the file cannot be opened."""
        if self._fd is None or self._pid != os.getpid():
            try:
                self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as exc:
                raise StoreError(f"the lock file {self.path} cannot be opened: {exc.strerror}") from exc
            self._pid = os.getpid()
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._fd is not None and self._pid == os.getpid():
            os.close(self._fd)
        self._fd = None

    def remove(self) -> None:
        """For a file that nobody will lock again."""
        self.path.unlink(missing_ok=True)


class WriteLock:
    """Held by the one thread of the one process that writes."""

    def __init__(self, path: Path) -> None:
        self._threads = threading.Lock()
        self._processes = FileLock(path)

    @contextmanager
    def held(self, timeout: float) -> Iterator[None]:
        """Raises StoreBusy when it is not free within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        if not self._threads.acquire(timeout=timeout):
            raise StoreBusy("the store is busy: another write has not ended in time")
        try:
            while not self._processes.try_acquire():
                if time.monotonic() >= deadline:
                    raise StoreBusy("the store is busy: another process is writing to it")
                time.sleep(_POLL_S)
            try:
                yield
            finally:
                self._processes.release()
        finally:
            self._threads.release()

    def close(self) -> None:
        self._processes.close()
