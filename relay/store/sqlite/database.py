"""The two engines: one connection that writes, under the write lock, and short-lived readers.

Durable means on disk: WAL with `synchronous=FULL`, so that a commit survives a power cut.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from relay.errors import StoreBusy, StoreError
from relay.i18n import Message, said
from relay.store.engine import WRITE_TIMEOUT_S, Changes, Database
from relay.store.sqlite import backup, files
from relay.store.sqlite.files import FileLock, beside
from relay.store.statement import driver

log = structlog.get_logger("relay.store")

_READER_BUSY_MS = 2000  # while another process brings back what a killed one has left in the journal
_POLL_S = 0.005  # for a foreign process, the sqlite3 shell say, that holds SQLite's own lock
_READERS_KEPT = 5
_SCHEMA_TIMEOUT_S = 30.0
_SWEEP_S = 0.2  # what nobody told of is found within a quarter of a second
_LOOK_EVERY_S, _LOOK_RARELY_EVERY_S = 0.01, 0.1
_ALONE_AFTER_S = 10.0  # without a commit of another process
_SAFE_SQLITE = (3, 51, 3)  # before it, see relay.store.sqlite.files
_PAGES_GIVEN_BACK = 64  # of the file, in one transaction
_PAGES_KEPT = 64  # free ones that the next events will need anyway


class SqliteDatabase(Database):
    """One SQLite file."""

    def __init__(self, url: str) -> None:
        self.path = Path(url.removeprefix("sqlite:///"))
        self.lock = files.WriteLock(files.lock_of(self.path))
        self.presence = files.Presence(beside(self.path, ".open"))
        self._connected = False
        self._reader = self._engine(read_only=True)
        self._writer = self._engine(read_only=False)
        self._connection: Connection | None = None
        self._wal_guard = files.WalGuard(self.path)
        self._unknown_files = False
        self._data_version: int | None = None  # moves with the commits of others
        self.commits = 0  #: of this process
        self._closed = False
        self.name = str(self.path)
        self.changes = FileChanges(self)

    def owner_lock(self, owner: str) -> FileLock:
        return FileLock(beside(self.path, f".owner-{owner}"))

    def role_lock(self, role: str) -> FileLock:
        return self.owner_lock(role)

    def token_lock(self, target: str) -> FileLock:
        return FileLock(beside(self.path, f".token-{target}"))

    def is_dead(self, owner: str) -> bool:
        """Does nobody hold the owner's lock any more? The file of a dead one is removed."""
        lock = self.owner_lock(owner)
        if not lock.path.exists():
            return True
        with contextlib.closing(lock):
            if is_dead := lock.try_acquire():
                lock.remove()
            return is_dead

    def exists(self) -> bool:
        return self.path.exists()

    @contextmanager
    def write(
        self,
        timeout: float = WRITE_TIMEOUT_S,
        *,
        alone_for: Iterable[str] | None = None,  # noqa: ARG002  here always for everything
        pipelined: bool = False,  # noqa: ARG002  nothing is far away
    ) -> Iterator[Connection]:
        deadline = min(time.monotonic() + timeout, self.ends_at)
        with self.lock.held(max(0.0, deadline - time.monotonic())), self.transaction(deadline) as connection:
            yield connection

    @contextmanager
    def schema_change(self) -> Iterator[Connection]:
        """Under the write lock; a new database is for nobody else's eyes: it holds phones and recording links."""
        folder = self.path.parent
        if not folder.is_dir():
            raise StoreError(
                "the folder %(folder)s does not exist; create it, or set another storage.url", folder=folder
            )
        with self.lock.held(_SCHEMA_TIMEOUT_S):
            try:
                self.refuse_foreign_journal()
                if not self.exists():  # SQLite makes its other files alike
                    os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
                with self.transaction(time.monotonic() + WRITE_TIMEOUT_S) as connection:
                    connection.exec_driver_sql("SELECT 1")  # for SQLAlchemy, too, it has begun
                    yield connection
            except (sqlite3.Error, OSError) as exc:
                raise StoreError(
                    "the database %(name)s cannot be migrated: %(why)s", name=self.name, why=said(exc)
                ) from exc

    def keep_copy(self, version: str, now: datetime) -> None:
        backup.copy_whole(self.path, backup.copy_name(self.path, version, now))

    def size_bytes(self) -> int:
        return self.path.stat().st_size if self.exists() else 0

    def free_bytes(self) -> int | None:
        try:
            return shutil.disk_usage(self.path.parent).free
        except OSError:  # the store's to complain of, when it is written
            return None

    def copies(self) -> list[str]:
        return [str(path) for _, path in backup.copies_beside(self.path)]

    def forget_copies(self, now: datetime) -> int:
        return backup.delete_outdated(self.path, now)

    def remarks(self, now: datetime, processes: int) -> list[str]:  # noqa: ARG002  clock and machine are the same
        if sqlite3.sqlite_version_info >= _SAFE_SQLITE:
            return backup.remarks(self.path)
        old = Message("SQLite %(version)s is older than 3.51.3: let no other program write to the database")
        return [old.fill(version=sqlite3.sqlite_version), *backup.remarks(self.path)]

    def changed_elsewhere(self) -> bool:
        """Has another process committed since the last look? False also while this one is just writing."""
        with self.lock.free_in_process() as is_free:
            if not is_free or self._connection is None or self._connection.closed:
                return False
            try:
                [version] = driver(self._connection).execute("PRAGMA data_version").fetchone()
            except sqlite3.Error:  # the next sweep says what is wrong
                return False
            before, self._data_version = self._data_version, version
        return before not in (None, version)

    def give_space_back(self, timeout: float) -> bool:
        """Return some free pages to the file system; False: there are no more than the next events will need."""
        with self.write(timeout) as connection:
            raw = driver(connection)
            [free] = raw.execute("PRAGMA freelist_count").fetchone()
            if free > _PAGES_KEPT:
                raw.execute(f"PRAGMA incremental_vacuum({_PAGES_GIVEN_BACK})").fetchall()  # each row is a step
        return bool(free > _PAGES_KEPT)

    def wipe_deleted(self, timeout: float) -> bool:
        """Give all free pages back, and bring the journal into the file: a reader may keep it from that."""
        with self.write(timeout) as connection:
            driver(connection).execute("PRAGMA incremental_vacuum").fetchall()
        deadline = time.monotonic() + timeout
        while True:
            with self.lock.held(timeout):
                busy, *_ = driver(self._writing()).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy or time.monotonic() >= deadline:
                return not busy
            time.sleep(_POLL_S)

    @contextmanager
    def transaction(self, deadline: float) -> Iterator[Connection]:
        """One transaction, to be used under `lock`. Waits until `deadline` (monotonic) for other programs' locks.

        Begun and committed on the driver: SQLAlchemy's own cost more than a small commit's statements. Begun as
        immediate: a deferred transaction would check before it may insert.
        """
        with self._explained(begin_anew=True):
            connection = self._begin(deadline)
            raw = driver(connection)
            try:
                if self._unknown_files:
                    self._wal_guard.remember()
                    files.note_journal(self.path)
                    self._unknown_files = False
                yield connection
                raw.commit()
                self.commits += 1
            except BaseException:
                raw.rollback()
                raise
            finally:
                if connection.in_transaction():  # begun by a Core statement; on the driver it has ended already
                    connection.rollback()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that can only read. Keep it short: an open reader keeps the WAL from shrinking."""
        with self._explained(), self._reader.connect() as connection:
            yield connection

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(StoreError), self.lock.held(WRITE_TIMEOUT_S):
            self._forget_connection()
        self._reader.dispose()
        self._writer.dispose()
        self.lock.close()
        self.presence.leave()

    @contextmanager
    def _explained(self, *, begin_anew: bool = False) -> Iterator[None]:
        """Raises StoreError instead of the driver's errors; with `begin_anew` the next write opens the files again."""
        if self._closed:
            raise StoreError("the database %(path)s has been closed: the relay is stopping", path=self.path)
        try:
            yield
        except (DBAPIError, sqlite3.Error) as exc:
            error = self._explain(exc)
            if error is None:
                raise
            if begin_anew and not isinstance(error, StoreBusy):
                self._forget_connection()
            raise error from exc

    def refuse_foreign_journal(self) -> None:
        """Raises StoreError where SQLite would bring another database's journal into this one."""
        if not files.journal_is_foreign(self.path, look_inside=not self._connected):
            return
        what = "another file has been put in its place" if self.exists() else "the database is gone"
        raise StoreError(
            "the journal %(path)s is not the database's: %(what)s, and nothing was touched. Stop every process of "
            "the relay, then `relay restore FILE` puts the copy FILE there rightly and keeps the journal aside; "
            "for the file that is there now, FILE is %(database)s",
            path=files.journal_of(self.path),
            what=what,
            database=self.path,
        )

    def _admit(self, *_: Any) -> None:
        """Called before each connection is made."""
        self.presence.enter()
        self.refuse_foreign_journal()
        if not self.exists():  # SQLite would make an empty one, and for everybody
            raise StoreError(
                "the database %(path)s is gone; put it back, or a copy with `relay restore FILE`", path=self.path
            )
        self._connected = True

    def _begin(self, deadline: float) -> Connection:
        """Begins on the connection that writes, as soon as no other program holds SQLite's own lock."""
        while True:
            try:
                connection = self._writing()
                driver(connection).execute("BEGIN IMMEDIATE")
                return connection
            except (DBAPIError, sqlite3.Error, StoreBusy) as exc:
                if not _is_busy(exc) or time.monotonic() >= deadline:
                    raise
            time.sleep(_POLL_S)

    def _writing(self) -> Connection:
        """The connection that writes, on files that are still in their place."""
        verdict = self._wal_guard.compare()
        if verdict == "database_gone":
            raise StoreError(
                "the database %(path)s has been removed or replaced while the relay was running: nothing can be "
                "stored; put it back, or stop the relay and put a copy there with `relay restore FILE`",
                path=self.path,
            )
        if verdict == "journal_gone":
            self._save_journal()
        if self._connection is None or self._connection.closed or self._connection.invalidated:
            if not files.has_journal(self.path):
                files.forget_journal(self.path)
            self._connection = self._writer.connect()
            self._unknown_files = True  # until the first transaction has opened them
        return self._connection

    def _save_journal(self) -> None:
        """The `-wal` or the `-shm` has been deleted: brings what is in it into the database, and begins anew."""
        if self._connection is not None and self._wal_guard.journal_holds_something():
            busy, *_ = driver(self._connection).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise StoreBusy(
                    "the journal of %(path)s was deleted; it is saved as soon as nobody reads", path=self.path
                )
        self._reader.dispose()  # readers have the deleted files open too
        self._forget_connection()
        log.error(
            "store.journal_deleted",
            database=str(self.path),
            reason="somebody has deleted its -wal or -shm file; nothing was lost: what stood in it was saved",
        )

    def _forget_connection(self) -> None:
        connection, self._connection = self._connection, None
        self._wal_guard.forget()
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _explain(self, exc: DBAPIError | sqlite3.Error) -> StoreError | None:
        """What an operator can mend; None for a bug, which flies as it is."""
        original = exc.orig if isinstance(exc, DBAPIError) else exc
        is_external = isinstance(original, sqlite3.OperationalError) or type(original) is sqlite3.DatabaseError
        if not is_external or getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            return None  # a statement of ours is wrong: a bug, and nobody else's commit fails for it
        if _is_busy(exc):
            return StoreBusy("the database %(path)s is locked by another program", path=self.path)
        message = str(original)
        remedy = next((what for words, what in _REMEDIES.items() if words in message), Message("look at the disk"))
        return StoreError(
            "the database %(path)s cannot be used: %(message)s; %(remedy)s",
            path=self.path,
            message=message,
            remedy=remedy,
        )

    def _engine(self, *, read_only: bool) -> Engine:
        engine = create_engine(
            f"sqlite:///{self.path}",
            connect_args={
                "isolation_level": None,
                "check_same_thread": False,
                "timeout": _READER_BUSY_MS / 1000 if read_only else 0,  # `_begin` waits for the writer
            },
            pool_reset_on_return="rollback" if read_only else None,
            pool_size=_READERS_KEPT,
            max_overflow=-1,  # there are never more than threads, and none of them waits for another's reader
        )

        def on_connect(connection: Any, _record: Any) -> None:
            for pragma in _READER_PRAGMAS if read_only else _WRITER_PRAGMAS:
                connection.execute(pragma)

        event.listen(engine, "do_connect", self._admit)
        event.listen(engine, "connect", on_connect)
        if read_only:
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        return engine


class FileChanges(Changes):
    """Looks at the file: SQLite says in microseconds whether another process has written.

    Rarely while this one writes and no other does: for each look the threads that work have to stop.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        super().__init__()
        self._database = database
        self._alone_from = float("-inf")  # monotonic: by then no other process has written for long
        self._commits = 0  # this process's, when it last waited

    def wait(self, at_most_s: float) -> None:
        began = time.monotonic()
        ends = began + min(at_most_s, _SWEEP_S)
        before, self._commits = self._commits, self._database.commits
        is_alone_and_writes = self._commits != before and began >= self._alone_from
        every_s = _LOOK_RARELY_EVERY_S if is_alone_and_writes else _LOOK_EVERY_S
        while (left_s := ends - time.monotonic()) > 0 and not self.woken.wait(min(every_s, left_s)):
            if self._database.changed_elsewhere():
                self._alone_from = time.monotonic() + _ALONE_AFTER_S
                break
        self.woken.clear()


def _is_busy(exc: Exception) -> bool:
    """Does another program hold the database, for a while?"""
    if isinstance(exc, StoreBusy):
        return True
    original = exc.orig if isinstance(exc, DBAPIError) else exc
    return isinstance(original, sqlite3.OperationalError) and any(word in str(original) for word in ("locked", "busy"))


_NO_RIGHT = Message("let the user that runs the relay write to it; the relay goes on by itself")
_REMEDIES = {
    "full": Message("free some space; the relay goes on by itself"),
    "readonly": _NO_RIGHT,
    "read-only": _NO_RIGHT,
    "unable to open": Message("let the user that runs the relay open it"),
    "malformed": Message("stop the relay, and go back to a copy with `relay restore FILE`"),
}

_WRITER_PRAGMAS = (
    "PRAGMA auto_vacuum=INCREMENTAL",  # before WAL and the first table, or it has no effect
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA mmap_size=0",
    "PRAGMA secure_delete=ON",  # what is deleted is gone from the file: it was somebody's phone
    f"PRAGMA journal_size_limit={16 * 1024 * 1024}",  # what a long reader made it grow to is given back
)
_READER_PRAGMAS = (
    "PRAGMA query_only=ON",
    "PRAGMA wal_autocheckpoint=0",  # readers never checkpoint
    "PRAGMA mmap_size=0",
)
