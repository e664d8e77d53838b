"""The two engines: one connection that writes, under the write lock, and short-lived readers.

Durable means on disk: WAL with `synchronous=FULL`, so that a commit survives a power cut.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from relay.errors import StoreBusy, StoreError
from relay.store.files import Files
from relay.store.lock import FileLock, WriteLock

log = structlog.get_logger("relay.store")

WRITE_TIMEOUT_S = 2.0
_BUSY_MS = 2000  # for a foreign process, the sqlite3 shell say, that holds SQLite's own lock


class Database:
    """One SQLite file. Opens nothing until it is used, and nothing that a fork would share."""

    def __init__(self, url: str) -> None:
        self.path = Path(url.removeprefix("sqlite:///"))
        self.lock = WriteLock(self.path.with_name(self.path.name + ".lock"))
        self._reader = self._engine(read_only=True)
        self._writer = self._engine(read_only=False)
        self._connection: Connection | None = None
        self._files = Files(self.path)
        self._unknown_files = False
        self._closed = False

    def owner_lock(self, owner: str) -> FileLock:
        """Held by a process for as long as it lives: while it is, its leases hold."""
        return FileLock(self.path.with_name(f"{self.path.name}.owner-{owner}"))

    def token_lock(self, target: str) -> FileLock:
        """Held by whoever exchanges the target's tokens: each may be exchanged once only."""
        return FileLock(self.path.with_name(f"{self.path.name}.token-{target}"))

    def is_dead(self, owner: str) -> bool:
        """Does nobody hold the owner's lock any more? The file of a dead one is removed."""
        lock = self.owner_lock(owner)
        if not lock.path.exists():
            return True
        try:
            if not lock.try_acquire():
                return False
            lock.remove()
            return True
        finally:
            lock.close()

    def exists(self) -> bool:
        return self.path.exists()

    @contextmanager
    def write(self, timeout: float = WRITE_TIMEOUT_S) -> Iterator[Connection]:
        """One transaction under the write lock; on disk when the block has ended.

        Raises StoreBusy when the lock was not free in time, StoreError when the database cannot be used.
        """
        with self.lock.held(timeout):
            self._refuse_closed()
            try:
                with _transaction(self._writing()) as connection:
                    if self._unknown_files:
                        self._files.remember()
                        self._unknown_files = False
                    yield connection
            except (DBAPIError, sqlite3.Error) as exc:
                self._translate(exc)
                raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that can only read. Keep it short: an open reader keeps the WAL from shrinking."""
        self._refuse_closed()
        try:
            with self._reader.connect() as connection:
                yield connection
        except (DBAPIError, sqlite3.Error) as exc:
            self._translate(exc)
            raise

    def writer_engine(self) -> Engine:
        """For migrations, which bring transactions of their own; to be used under `lock`."""
        return self._writer

    def close(self) -> None:
        """Closes when the write that is under way has ended; afterwards nothing opens it again."""
        self._closed = True
        with contextlib.suppress(StoreBusy), self.lock.held(WRITE_TIMEOUT_S):
            self._forget_connection()
        self._reader.dispose()
        self._writer.dispose()
        self.lock.close()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreError(f"the database {self.path} has been closed: the relay is stopping")

    def _writing(self) -> Connection:
        """The connection that writes, on files that are still in their place."""
        verdict = self._files.compare()
        if verdict == "database_gone":
            raise StoreError(
                f"the database {self.path} has been removed or replaced while the relay was running: nothing can be "
                "stored; put it back, or restart the relay to begin with the file that is there now"
            )
        if verdict == "journal_gone":
            self._save_journal()
        if self._connection is None or self._connection.closed or self._connection.invalidated:
            self._connection = self._writer.connect()
            self._unknown_files = True  # until the first transaction has opened them
        return self._connection

    def _save_journal(self) -> None:
        """The `-wal` or the `-shm` has been deleted: brings what is in it into the database, and begins anew."""
        if self._connection is not None and self._files.journal_holds_something():
            busy, *_ = _driver(self._connection).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise StoreBusy(f"the journal of {self.path} was deleted; it is saved as soon as nobody reads")
        self._reader.dispose()  # readers have the deleted files open too
        self._forget_connection()
        log.error(
            "store.journal_deleted", database=str(self.path),
            reason="somebody has deleted its -wal or -shm file; nothing was lost: what stood in it was saved",
        )  # fmt: skip

    def _forget_connection(self) -> None:
        connection, self._connection = self._connection, None
        self._files.forget()
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _translate(self, exc: Exception) -> None:
        """Raises StoreError for what an operator can mend; lets bugs fly."""
        original = exc.orig if isinstance(exc, DBAPIError) else exc
        if not isinstance(original, sqlite3.OperationalError) and type(original) is not sqlite3.DatabaseError:
            return
        if getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            return  # a statement of ours is wrong: a bug, and nobody else's commit fails for it
        text = str(original)
        if "locked" in text or "busy" in text:
            raise StoreBusy(f"the database {self.path} is locked by another program") from exc
        self._forget_connection()
        remedy = next((what for words, what in _REMEDIES.items() if words in text), "look at the disk")
        raise StoreError(f"the database {self.path} cannot be used: {text}; {remedy}") from exc

    def _engine(self, *, read_only: bool) -> Engine:
        engine = create_engine(
            f"sqlite:///{self.path}",
            connect_args={"isolation_level": None, "check_same_thread": False, "timeout": _BUSY_MS / 1000},
            pool_reset_on_return=None if not read_only else "rollback",
        )

        def on_connect(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            for pragma in _READER_PRAGMAS if read_only else _WRITER_PRAGMAS:
                cursor.execute(pragma)
            cursor.close()

        event.listen(engine, "connect", on_connect)
        if read_only:
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        else:
            event.listen(engine, "begin", _begin_writing)
        return engine


def _begin_writing(connection: Connection) -> None:
    """Immediate: a deferred transaction would check before it may insert."""
    if not _driver(connection).in_transaction:
        _driver(connection).execute("BEGIN IMMEDIATE")


def _driver(connection: Connection) -> sqlite3.Connection:
    found = connection.connection.dbapi_connection
    assert isinstance(found, sqlite3.Connection)  # noqa: S101  the only driver there is
    return found


@contextmanager
def _transaction(connection: Connection) -> Iterator[Connection]:
    """Begun and committed on the driver: SQLAlchemy's own cost more than a small commit's statements."""
    driver = _driver(connection)
    driver.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        driver.commit()
    except BaseException:
        driver.rollback()
        raise
    finally:
        if connection.in_transaction():  # begun by a Core statement; on the driver it has ended already
            connection.rollback()


_REMEDIES = {
    "full": "free some space; the relay goes on by itself",
    "readonly": "let the user that runs the relay write to it; the relay goes on by itself",
    "read-only": "let the user that runs the relay write to it; the relay goes on by itself",
    "unable to open": "let the user that runs the relay open it",
    "malformed": "stop the relay, and go back to a copy made with `relay backup`",
}

_WRITER_PRAGMAS = (
    f"PRAGMA busy_timeout={_BUSY_MS}",
    "PRAGMA auto_vacuum=INCREMENTAL",  # before WAL and the first table, or it has no effect
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA mmap_size=0",
)
_READER_PRAGMAS = (
    f"PRAGMA busy_timeout={_BUSY_MS}",
    "PRAGMA query_only=ON",
    "PRAGMA wal_autocheckpoint=0",  # readers never checkpoint
    "PRAGMA mmap_size=0",
)
