"""The journal beside a database: whether it is its own, and whether it is still there. SQLite asks neither.

SQLite brings any `-wal` of the right name into the database, and what is not its own spoils it. Two signs tell before
it has read anything:

- In the lock file stands which two files were written together, by their inodes. The journal is still that one and
  the database is another: it was replaced. When both are others, the whole folder was moved or brought back.
- Only a database in WAL mode has a journal. A copy that the relay has made is not in WAL mode until it is used, so
  this finds a copy, too, that was written over the database and has its inode.

They do not find files of a running database, copied by other means, that were written over it (`cp`).

And a connection goes on with a `-wal` that somebody has deleted, and so does every commit, until the next start. So
before each write the files are compared with those that were opened; what a deleted `-wal` holds is brought into the
database by the connection that has it open.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Literal

from relay.errors import StoreError
from relay.i18n import said
from relay.store.sqlite.lock import open_private

Verdict = Literal["same", "journal_gone", "database_gone"]
_Identity = tuple[int, int]
_SHM_EVERY_S = 0.5  # it holds nothing that would be lost

Noted = tuple[int, int]
"""The inodes of a database and of its journal. Not the devices: they have other numbers after a boot."""

_HEADER = b"SQLite format 3\x00"
_VERSIONS = slice(18, 20)  # of the format, for writing and reading: sqlite.org/fileformat.html
_NOT_WAL = b"\x01\x01"


def path_of(database: Path) -> Path:
    return database.with_name(database.name + "-wal")


def holds_something(database: Path) -> bool:
    return (journal := _status(path_of(database))) is not None and journal.st_size > 0


def is_foreign(database: Path, lock: Path, *, look_inside: bool) -> bool:
    """Would SQLite bring another database's journal into this one?

    `look_inside` reads the database itself: only while this process has no connection to it, because closing any
    descriptor of a file ends all locks that the process has on it (sqlite.org/howtocorrupt.html, 2.2).
    """
    journal = _status(path_of(database))
    if journal is None or journal.st_size == 0:
        return False
    present = _status(database)
    if present is None or present.st_size == 0:
        return True
    its_own = belongs(_noted(lock), (present.st_ino, journal.st_ino))
    return not its_own or (look_inside and _is_no_wal_database(database))


def belongs(noted: Noted | None, present: Noted) -> bool:
    """Can the present journal be the present database's?"""
    return noted is None or noted[1] != present[1] or noted[0] == present[0]


def note(database: Path, lock: Path) -> None:
    """Keep in the lock file that these two are written together; under the write lock. Raises StoreError."""
    present, journal = _status(database), _status(path_of(database))
    if present is not None and journal is not None:
        _write(lock, f"{present.st_ino:20} {journal.st_ino:20}\n")  # of one width: read while it is written, too


def forget(lock: Path) -> None:
    """There is no journal: the number of the former one may be given to the next. Raises StoreError."""
    if (present := _status(lock)) is not None and present.st_size > 0:
        _write(lock, "")


class WalGuard:
    """What a writing connection has open. Not for several threads: it belongs under the write lock."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._journal = [database.with_name(database.name + suffix) for suffix in ("-wal", "-shm")]
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
