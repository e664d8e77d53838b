"""The files of a SQLite database, watched: what is written to a deleted file is lost at the next start.

A connection goes on with a `-wal` that somebody has deleted, and so does every commit. So before each write the
files are compared with those that were opened. The content of a deleted `-wal` is not lost yet: the connection
that has it open can still bring it into the database.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

Verdict = Literal["same", "journal_gone", "database_gone"]
_Identity = tuple[int, int]
_SHM_EVERY_S = 0.5  # it holds nothing that would be lost


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


def _identity(path: Path) -> _Identity | None:
    try:
        found = os.stat(path)  # noqa: PTH116  before every commit: a Path costs as much as the call
    except OSError:
        return None
    return found.st_dev, found.st_ino
