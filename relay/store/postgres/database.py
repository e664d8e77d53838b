"""A PostgreSQL database: one connection that writes, two that read, all of them behind a pooler if need be.

Nothing is kept in a session: locks and time limits are given with each transaction, so that PgBouncer may pool
transactions. Writers of one source, or of one target's lane, follow each other under advisory locks that end with
their transaction; whoever needs more than that has the whole database to himself.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from relay.errors import StoreBusy, StoreError
from relay.i18n import Message
from relay.store.engine import OWN_ROWS, WRITE_TIMEOUT_S, Database, Lock
from relay.store.postgres import diagnostics, tuning
from relay.store.postgres.copy import refuse_unfinished
from relay.store.postgres.wakeups import NOTIFY, Wakeups
from relay.store.statement import driver

log = structlog.get_logger("relay.store")

_CONNECT_MIN_S, _CONNECT_MAX_S = 2, 5  # the driver has no less
_PREPARED_AFTER = 5  # executions
_STATEMENT_S = 30.0  # of a reader; a writer's own limit is the time that its caller waits
_IDLE_MS = 15_000  # a process that stands still inside a transaction does not hold up the others for longer
_READERS = 2
_CONNECTIONS = 1 + _READERS + 2  # of a process: it writes, reads, listens and tells
_READER_WAIT_S = 5.0
_SCHEMA_TIMEOUT_S = 600.0  # an index of a large table is made
_ROLE_LOCK_S = 60  # of what one process does for all; renewed meanwhile
_TOKEN_LOCK_S = 120  # longer than any exchange; after it a dead holder's lock is free
_SHARED_BY_ALL = 0x72656C6179  # "relay": shared by those who write for a source or a lane, alone for all others

# SQLSTATEs after which the transaction is surely rolled back, and may be tried again.
_BUSY = {
    "55P03": Message("another transaction holds it"),
    "57014": Message("it took too long"),
    "40P01": Message("deadlock"),
    "40001": Message("conflict"),
}
_LOST = ("OperationalError", "InterfaceError", "AdminShutdown", "ConnectionTimeout")
_READ_ONLY = "25006"  # what was the primary server is another's standby now
_SERVER_STATES = ("08", _READ_ONLY, "25P03", "28", "42501", "53", "57", "58")  # not a fault of the statement
_REMEDIES = {
    "28": Message("set user and password in DATABASE_URL"),
    "3D": Message("create the database, or set its name in DATABASE_URL"),
    "42501": Message("give the relay's user the rights on its schema"),
    "53100": Message("free some space on the server's disk; the relay goes on by itself"),
    "53300": Message("the server has too few connections; raise max_connections or use a pooler"),
}


class PostgresDatabase(Database):
    """One PostgreSQL database. Connects when it is used, and shares nothing over a fork."""

    changes: Wakeups

    def __init__(self, url: str) -> None:
        """Raises StoreError when psycopg is not installed."""
        try:
            self._url = make_url(url).set(drivername="postgresql+psycopg")
        except (ArgumentError, ValueError) as exc:
            raise StoreError(
                "DATABASE_URL cannot be read: encode its password as a URL has it, or make one of letters and digits"
            ) from exc
        self.name = f"{self._url.host or 'localhost'}/{self._url.database}"  #: without user and password
        self._mutex = threading.Lock()  # held by the thread whose transaction the writing connection has
        self._left_s: Callable[[], float] = lambda: _STATEMENT_S  # for that transaction
        self._writer = self._engine(lambda: self._left_s(), pool_size=1, timeout=0)
        event.listen(self._writer, "connect", _prepare_if_direct)
        self._reader = self._engine(
            lambda: self._deadline(_STATEMENT_S) - time.monotonic(), pool_size=_READERS, timeout=_READER_WAIT_S
        )
        # of statements on the driver itself
        self._driver_error: type[Exception] = self._writer.dialect.loaded_dbapi.Error
        self._closed = False
        self.changes = Wakeups(self._url.set(drivername="postgresql").render_as_string(hide_password=False))

    @contextmanager
    def write(
        self, timeout: float = WRITE_TIMEOUT_S, *, alone_for: Iterable[str] | None = None, pipelined: bool = False
    ) -> Iterator[Connection]:
        """Begin a transaction that is on the server's disk when the block has ended.

        Where the connection is lost in the commit itself, or the server does not answer any more, nobody knows whether
        it was made: StoreError too.
        """
        deadline = self._deadline(timeout)
        if not self._mutex.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise StoreBusy(_OCCUPIED)
        try:
            left_s = deadline - time.monotonic()  # what does much at once has it for each of its statements
            self._left_s = (lambda: left_s) if alone_for is None else lambda: deadline - time.monotonic()
            with self._translating():
                connection = self._begin(self._writer, _locks(alone_for), deadline)
                try:
                    with driver(connection).pipeline() if pipelined else contextlib.nullcontext():
                        yield connection
                        if alone_for is None:  # a command, or a lane that changes hands: others need not wait for it
                            driver(connection).execute(NOTIFY)
                        driver(connection).execute("COMMIT")
                except BaseException as exc:
                    _roll_back(connection)
                    if getattr(exc, "sqlstate", getattr(getattr(exc, "orig", None), "sqlstate", None)) == _READ_ONLY:
                        connection.invalidate()  # the next one is made to whoever is the primary
                    raise
                finally:
                    connection.close()
        finally:
            self._mutex.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that only reads, all of it as it was at one moment. Keep it short: there are two."""
        with self._translating():
            connection = self._begin(self._reader, _SNAPSHOT, self._deadline(_READER_WAIT_S))
            try:
                yield connection
            finally:
                _roll_back(connection)
                connection.close()

    def exists(self) -> bool:
        """Always: who cannot reach it learns it from the first read."""
        return True

    def expect_whole(self, connection: Connection) -> None:
        refuse_unfinished(connection, self.name)

    @contextmanager
    def schema_change(self) -> Iterator[Connection]:
        with self.write(_SCHEMA_TIMEOUT_S) as connection:
            yield connection

    def tune(self, connection: Connection) -> None:
        for statement in tuning.STORAGE:
            connection.exec_driver_sql(statement)

    def owner_lock(self, owner: str) -> Lock:  # noqa: ARG002  # none for anybody
        """Nothing to hold: that an owner lives is seen from the renewals of its leases alone."""
        return _NoLock()

    def role_lock(self, role: str) -> Lock:
        return RowLock(self, role, _ROLE_LOCK_S)

    def token_lock(self, target: str) -> Lock:
        return RowLock(self, f"token-{target}", _TOKEN_LOCK_S)

    def size_bytes(self) -> int:
        with self.read() as connection:
            return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())

    def start_warnings(self, now: datetime) -> list[str]:
        with self.read() as connection:
            return list(diagnostics.start_warnings(connection, now))

    def upkeep_warnings(self) -> list[str]:
        with self.read() as connection:
            warnings = list(diagnostics.upkeep_warnings(connection))
        with self._translating():
            return warnings if self.changes.echoes() else [*warnings, diagnostics.NOT_TOLD]

    def remarks(self, now: datetime, processes: int) -> list[str]:
        with self.read() as connection:
            connections = list(diagnostics.connection_remarks(connection, processes * _CONNECTIONS))
        return [*self.start_warnings(now), *connections, *self.upkeep_warnings()]

    def close(self) -> None:
        self._closed = True
        self.changes.stop()
        if self._mutex.acquire(timeout=WRITE_TIMEOUT_S):
            self._mutex.release()
        self._reader.dispose()
        self._writer.dispose()

    def _deadline(self, timeout: float) -> float:
        return min(time.monotonic() + timeout, self.ends_at)

    def _begin(self, engine: Engine, statement: str, deadline: float) -> Connection:
        """Begin with this statement. A connection that was lost since its last use is made anew."""
        while True:
            connection = self._connect(engine)
            left_ms = max(1, round((deadline - time.monotonic()) * 1000))
            try:
                connection.exec_driver_sql(statement.replace(_LEFT, f"'{left_ms}ms'"))
                return connection
            except BaseException as exc:
                lost = isinstance(exc, DBAPIError) and exc.connection_invalidated
                _roll_back(connection)
                connection.close()
                if not lost or time.monotonic() >= deadline:
                    raise

    def _connect(self, engine: Engine) -> Connection:
        if self._closed:
            raise StoreError("the database %(name)s has been closed: the relay is stopping", name=self.name)
        try:
            return engine.connect()
        except PoolTimeout as exc:
            raise StoreBusy("the store is busy: all its readers are in use") from exc

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Turn what an operator can mend into StoreError; a bug flies as it is."""
        try:
            yield
        except (DBAPIError, self._driver_error) as exc:
            error = self._explain(exc.orig if isinstance(exc, DBAPIError) and exc.orig else exc)
            if error is None:
                raise
            raise error from exc

    def _explain(self, original: BaseException) -> StoreError | None:
        """What an operator can mend, or what passes by itself; None for a bug."""
        state = getattr(original, "sqlstate", None) or ""
        if state in _BUSY:
            return StoreBusy("the database %(name)s is busy: %(state)s", name=self.name, state=_BUSY[state])
        is_lost = type(original).__name__ in _LOST
        if not is_lost and not state.startswith(_SERVER_STATES):
            return None
        remedy = next((what for code, what in _REMEDIES.items() if state.startswith(code)), None)
        message = next(iter(str(original).strip().splitlines()), type(original).__name__)
        return StoreError(
            "the database %(name)s cannot be used: %(message)s; %(remedy)s",
            name=self.name,
            message=message,
            remedy=remedy or Message("see whether its server runs and can be reached; the relay goes on by itself"),
        )

    def _engine(self, left_s: Callable[[], float], *, pool_size: int, timeout: float) -> Engine:
        def connect(_dialect: Any, _record: Any, address: Any, arguments: dict[str, Any]) -> Any:
            left = left_s()
            if left < _CONNECT_MIN_S / 2:  # has waited for one who tried it in vain; whoever comes new has the time
                raise StoreBusy(_OCCUPIED)
            arguments["connect_timeout"] = max(_CONNECT_MIN_S, min(int(left), _CONNECT_MAX_S))
            connection = LimitedConnection.connect(*address, **arguments)
            connection.left_s = left_s
            return connection

        try:
            from relay.store.postgres.connection import LimitedConnection

            engine = create_engine(
                self._url,
                pool_size=pool_size,
                max_overflow=0,
                pool_timeout=timeout,
                isolation_level="AUTOCOMMIT",  # `_begin` does, with its statement: SQLAlchemy's own would be waited for
                connect_args={
                    "prepare_threshold": None,
                    "keepalives_idle": 20,
                    "keepalives_interval": 5,
                    "keepalives_count": 3,
                    "tcp_user_timeout": 20_000,
                    "application_name": "relay",
                },
            )
            event.listen(engine, "do_connect", connect)
            return engine
        except ModuleNotFoundError as exc:
            raise StoreError(
                "PostgreSQL needs the extra `postgres`: run `make install EXTRAS=postgres`, or `pip "
                "install -r extras/postgres.txt`"
            ) from exc


class _NoLock:
    def try_acquire(self) -> bool:
        return True

    def close(self) -> None:
        pass

    remove = close


class RowLock:
    """A row that says until when somebody has something, by the server's clock: of a dead holder it ends by itself."""

    def __init__(self, database: PostgresDatabase, name: str, holds_for_s: int) -> None:
        self._database, self._name, self._holds_for_s = database, f"lock:{name}", holds_for_s
        self._until: int | None = None

    def try_acquire(self) -> bool:
        """Take it, or hold it for longer. Raises StoreError."""
        values = {"name": self._name, "held_us": self._holds_for_s * 1_000_000, "mine": self._until}
        with self._database.write(alone_for=OWN_ROWS) as connection:
            self._until = connection.execute(_TAKE, values).scalar()
        return self._until is not None

    def close(self) -> None:
        """Let another have it at once."""
        until, self._until = self._until, None
        if until is not None:
            with (
                contextlib.suppress(StoreError),
                self._database.write(alone_for=OWN_ROWS) as connection,
            ):
                connection.execute(_GIVE_BACK, {"name": self._name, "mine": until})

    remove = close


_NOW_US = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
_TAKE = text(
    f"""
    INSERT INTO heartbeats (name, at) VALUES (:name, {_NOW_US} + :held_us)
    ON CONFLICT (name) DO UPDATE SET at = excluded.at
    WHERE heartbeats.at < {_NOW_US} OR heartbeats.at = CAST(:mine AS bigint) RETURNING at
    """
)
_GIVE_BACK = text("DELETE FROM heartbeats WHERE name = :name AND at = :mine")

# What waits is a small part of a table that grows and empties faster than it is analysed. By old statistics whole
# tables would be read: eight times the time of a commit already at 7,000 events. A way that is off and has to be taken
# all the same is reckoned so dear that the server would compile the plan, for 40 ms (its JIT).
_BY_INDEX = [
    *(f"set_config('enable_{way}', 'off', true)" for way in ("seqscan", "hashjoin", "mergejoin", "material")),
    "set_config('jit', 'off', true)",
]

_OCCUPIED = Message("the store is busy: another write has not ended in time")
_LEFT = ":left"  # of a writer's time
_SNAPSHOT = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
    f"SET LOCAL statement_timeout = '{_STATEMENT_S:.0f}s'; SET LOCAL idle_in_transaction_session_timeout = {_IDLE_MS}"
)


def _prepare_if_direct(driver: Any, _record: object) -> None:
    """Let the driver prepare what comes again: the server need not parse it.

    A pooler of transactions does not keep what was prepared. It shows by numbers of its own for its sessions.
    """
    (pid,) = driver.execute("SELECT pg_backend_pid()").fetchone()
    if pid == driver.info.backend_pid:
        driver.prepare_threshold = _PREPARED_AFTER


def _roll_back(connection: Connection) -> None:
    with contextlib.suppress(DBAPIError):  # it is lost: the server rolls back by itself
        connection.rollback()


def _locks(alone_for: Iterable[str] | None) -> str:
    """Begin a transaction that writes: its limits, and its locks in an order that all keep.

    READ COMMITTED: what it has waited for must be seen when it has its locks.
    """
    limits = (
        f"set_config('lock_timeout', {_LEFT}, true)",
        f"set_config('statement_timeout', {_LEFT}, true)",
        f"set_config('idle_in_transaction_session_timeout', '{_IDLE_MS}ms', true)",
    )
    if alone_for is None:
        # may take any way: no plan of it is kept for the others
        locks = [
            "set_config('plan_cache_mode', 'force_custom_plan', true)",
            f"pg_advisory_xact_lock({_SHARED_BY_ALL})",
        ]
    else:
        keys = sorted(map(_lock_key, set(alone_for)))
        locks = [
            *_BY_INDEX,
            f"pg_advisory_xact_lock_shared({_SHARED_BY_ALL})",
            *(f"pg_advisory_xact_lock({key})" for key in keys),
        ]
    return f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT {', '.join((*limits, *locks))}"


def _lock_key(name: str) -> int:
    digest = hashlib.blake2b(f"relay:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
