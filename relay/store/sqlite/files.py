"""The files beside a database: its locks, and its journal. SQLite asks nothing of what follows.

**One writer at a time**, over all threads and processes of this machine. SQLite before 3.51.3 can corrupt a file when
two connections write and checkpoint at the same instant (sqlite.org/wal.html, "the WAL-reset bug"), and Debian 12
ships 3.40.1. So every write transaction of ours, with the checkpoint that a commit may run, stands under `WriteLock`.

**Whose a journal is.** SQLite brings any `-wal` of the right name into the database, and what is not its own spoils it.
Two signs tell before it has read anything:

- In the lock file stands which two files were written together, by their inodes. The journal is still that one and
  the database is another: it was replaced. When both are others, the whole folder was moved or brought back.
- Only a database in WAL mode has a journal. A copy that the relay has made is not in WAL mode until it is used, so
  this finds a copy, too, that was written over the database and has its inode.

They do not find files of a running database, copied by other means, that were written over it (`cp`).

**Whether it is still there.** A connection goes on with a `-wal` that somebody has deleted, and so does every commit,
until the next start. So before each write the files are compared with those that were opened; what a deleted `-wal`
holds is brought into the database by the connection that has it open.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from relay.errors import StoreBusy, StoreError
from relay.i18n import said

_POLL_S = 0.002  # for another process that writes
Verdict = Literal["same", "journal_gone", "database_gone"]
_Identity = tuple[int, int]
_SHM_EVERY_S = 0.5  # it holds nothing that would be lost

Noted = tuple[int, int]
"""The inodes of a database and of its journal. Not the devices: they have other numbers after a boot."""

_HEADER = b"SQLite format 3\x00"
_VERSIONS = slice(18, 20)  # of the format, for writing and reading: sqlite.org/fileformat.html
_NOT_WAL = b"\x01\x01"


def beside(database: Path, ending: str) -> Path:
    """Return the file of this ending that belongs to a database."""
    return database.with_name(database.name + ending)


def lock_of(database: Path) -> Path:
    return beside(database, ".lock")


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


# --- the journal


def journal_of(database: Path) -> Path:
    return beside(database, "-wal")


def has_journal(database: Path) -> bool:
    """Does anything stand in it?"""
    return (journal := _status(journal_of(database))) is not None and journal.st_size > 0


def journal_is_foreign(database: Path, *, look_inside: bool) -> bool:
    """Would SQLite bring another database's journal into this one?

    `look_inside` reads the database itself: only while this process has no connection to it, because closing any
    descriptor of a file ends all locks that the process has on it (sqlite.org/howtocorrupt.html, 2.2).
    """
    journal = _status(journal_of(database))
    if journal is None or journal.st_size == 0:
        return False
    present = _status(database)
    if present is None or present.st_size == 0:
        return True
    its_own = journal_belongs(_noted(lock_of(database)), (present.st_ino, journal.st_ino))
    return not its_own or (look_inside and _is_no_wal_database(database))


def journal_belongs(noted: Noted | None, present: Noted) -> bool:
    """Can the present journal be the present database's?"""
    return noted is None or noted[1] != present[1] or noted[0] == present[0]


def note_journal(database: Path) -> None:
    """Keep in the lock file that these two are written together; under the write lock. Raises StoreError."""
    present, journal = _status(database), _status(journal_of(database))
    if present is not None and journal is not None:
        # of one width: it is read while it is written, too
        _write(lock_of(database), f"{present.st_ino:20} {journal.st_ino:20}\n")


def forget_journal(database: Path) -> None:
    """There is none: the number of the former one may be given to the next. Raises StoreError."""
    lock = lock_of(database)
    if (present := _status(lock)) is not None and present.st_size > 0:
        _write(lock, "")


class WalGuard:
    """What a writing connection has open. Not for several threads: it belongs under the write lock."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._journal = [beside(database, suffix) for suffix in ("-wal", "-shm")]
        self._opened: _Identity | None = None
        self._journal_opened: list[_Identity | None] = []
        self._looked_at = float("-inf")
        self._wal: int | None = None  # keeps the inode, so that its number is not given to another file

    def remember(self) -> None:
        """Those that are open now; the database itself only the first time."""
        self.forget()
        self._opened = self._opened or _identity(self._database)
        self._journal_opened = [_identity(path) for path in self._journal]
        try:
            self._wal = os.open(self._journal[0], os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._wal = None

    def forget(self) -> None:
        """The connection is closed: its journal is nobody's any more."""
        self._journal_opened = []
        if self._wal is not None:
            os.close(self._wal)
            self._wal = None

    def compare(self) -> Verdict:
        """Are they still those that were opened?"""
        if self._opened is not None and _identity(self._database) != self._opened:
            return "database_gone"
        if self._journal_opened and _identity(self._journal[0]) == self._journal_opened[0]:
            if time.monotonic() - self._looked_at < _SHM_EVERY_S:
                return "same"
            self._looked_at = time.monotonic()
        if self._journal_opened and [_identity(path) for path in self._journal] != self._journal_opened:
            return "journal_gone"
        return "same"

    def journal_holds_something(self) -> bool:
        """Is there anything left in the `-wal` that was opened? Another process may have saved it already."""
        return self._wal is not None and os.fstat(self._wal).st_size > 0


def _write(lock: Path, text: str) -> None:
    try:
        descriptor = open_private(lock)
        try:
            os.pwrite(descriptor, text.encode(), 0)
            os.ftruncate(descriptor, len(text))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise StoreError(
            "the lock file %(lock)s cannot be written: %(why)s; look at the disk", lock=lock, why=said(exc)
        ) from exc


def _noted(lock: Path) -> Noted | None:
    try:
        database, journal = lock.read_text(encoding="ascii").split()
        return int(database), int(journal)
    except (OSError, ValueError):
        return None


def _is_no_wal_database(database: Path) -> bool:
    try:
        with database.open("rb") as file:
            header = file.read(100)
    except OSError:
        return False  # SQLite will say what is wrong
    return header.startswith(_HEADER) and header[_VERSIONS] == _NOT_WAL


def _status(path: Path) -> os.stat_result | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _identity(path: Path) -> _Identity | None:
    try:
        status = os.stat(path)  # noqa: PTH116  before every commit: a Path costs as much as the call
    except OSError:
        return None
    return status.st_dev, status.st_ino
