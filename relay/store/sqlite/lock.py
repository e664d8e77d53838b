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
from contextlib import closing, contextmanager
from pathlib import Path

from relay.errors import StoreBusy, StoreError
from relay.i18n import said

_POLL_S = 0.002


def open_private(path: Path, like: Path | None = None) -> int:
    """Open a file that only its owner may read, made if there is none: it holds phones, or guards what does.

    What root makes belongs to the owner of `like` (else of the folder): the relay, which runs as another user, could
    not open it otherwise. What was there already is given to nobody, and a link is not followed.
    """
    how = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, how | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, how, 0o600)
    if os.geteuid() == 0:
        owner = (like or path.parent).stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


class FileLock:
    """An flock on a file of its own. The descriptor is opened after a fork: a shared one locks nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._pid = 0

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Raises StoreError when the file cannot be opened. `shared`: others may hold it too, if they share it."""
        if self._fd is None or self._pid != os.getpid():
            try:
                self._fd = open_private(self.path)
            except OSError as exc:
                raise StoreError(
                    "the lock file %(path)s cannot be opened: %(why)s", path=self.path, why=said(exc)
                ) from exc
            self._pid = os.getpid()
        try:
            fcntl.flock(self._fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
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
        self.path = path
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

    @contextmanager
    def free_in_process(self) -> Iterator[bool]:
        """Let no thread of this process write meanwhile; False: one is writing just now."""
        is_free = self._threads.acquire(blocking=False)
        try:
            yield is_free
        finally:
            if is_free:
                self._threads.release()

    def close(self) -> None:
        self._processes.close()


class Presence:
    """Shared by all processes that have the database open; held alone by who puts another file in its place."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)
        self._mutex = threading.Lock()

    def enter(self) -> None:
        """From now on until `leave` nobody has it alone. Raises StoreError while somebody has."""
        with self._mutex:
            if not self._lock.try_acquire(shared=True):
                raise StoreError("a copy is just being put in the database's place (`relay restore`); start again")

    def leave(self) -> None:
        with self._mutex:
            self._lock.close()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Raises StoreError while any process has the database open, this one too."""
        with closing(FileLock(self._lock.path)) as lock:
            if not lock.try_acquire():
                raise StoreError(
                    "a process has the database open: stop the relay (web and `relay work`) and every `relay` command"
                )
            yield
