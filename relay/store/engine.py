"""What the store wants of an engine, whichever it is: durable transactions, short reads, locks between processes."""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from relay.clock import to_us
from relay.errors import StoreError
from relay.store.statement import Row, Statement

Item = TypeVar("Item")

WRITE_TIMEOUT_S = 2.0
PATIENT_TIMEOUT_S = 10.0  # of a lane, which would have to send again what it cannot record, and of commands
PAGE = 500  # rows in one read: no reader stays open for long
OWN_ROWS: tuple[str, ...] = ()
"""`alone_for` of a transaction whose rows nobody else writes, or whose one statement decides by itself."""
_CHUNK = 50  # rows in one transaction of a command: a running relay must not wait for it
_OTHERS_TURN_S = 0.005  # whoever waits for the lock looks more often than that, and would hardly ever find it free
_PROVED_EVERY = timedelta(seconds=10)

_beat = Statement(
    """
    INSERT INTO heartbeats (name, at) VALUES (:name, :now)
    ON CONFLICT (name) DO UPDATE SET at = :now WHERE heartbeats.at <= :outdated OR heartbeats.at > :now
    """
)


class Lock(Protocol):
    """Held by one process at a time; free again when that has ended."""

    def try_acquire(self) -> bool:
        """Take it, or keep it for longer. Raises StoreError."""

    def close(self) -> None:
        """Let another have it."""

    def remove(self) -> None:
        """Let go of what nobody will ask for again."""


class Changes(ABC):
    """What other processes do to the store, as far as it makes something due here."""

    def __init__(self) -> None:
        self.woken = threading.Event()  #: ends the wait when it is set

    @abstractmethod
    def wait(self, at_most_s: float) -> None:
        """Return when another process may have made something due, `woken` is set, or it is time to look."""

    def tell_others(self) -> None:  # noqa: B027  nothing to do where the others look by themselves
        """Something is due that another process delivers. Returns at once."""


class Database(ABC):
    """Opens nothing until it is used, and nothing that a fork would share."""

    name: str  #: for people, without a password
    changes: Changes
    ends_at = math.inf  #: monotonic: of a process that is to end; it waits for the database no longer

    @abstractmethod
    def write(
        self, timeout: float = WRITE_TIMEOUT_S, *, alone_for: Iterable[str] | None = None, pipelined: bool = False
    ) -> AbstractContextManager[Connection]:
        """Begin a transaction that is on disk when the block has ended.

        `alone_for`: what nobody else may write for meanwhile, as "source:NAME" or "target:NAME"; None: anything.
        `pipelined`: only Statement and ManyRows are used, and what they need not wait for may go with what follows.
        Raises StoreBusy when that was not free in time, StoreError when the database cannot be used.
        """

    @abstractmethod
    def read(self) -> AbstractContextManager[Connection]:
        """Give a connection that only reads, all of it as it was at one moment. Keep it short."""

    def rows(self, statement: Statement, **values: Any) -> list[Row]:
        with self.read() as connection:
            return statement.rows(connection, **values)

    def first(self, statement: Statement, **values: Any) -> Row | None:
        with self.read() as connection:
            return statement.first(connection, **values)

    def pages(
        self,
        fetch: Callable[[Connection, Any], Sequence[Any]],
        after: Any = 0,
        key: Callable[[Any], Any] = itemgetter(0),
        size: int = PAGE,
    ) -> Iterator[Sequence[Any]]:
        """Yield rows a page at a time, each in a read of its own: by key, never by offset, so the last costs no more.

        `fetch` returns the first `size` rows whose key is above the one that it is given.
        """
        while True:
            with self.read() as connection:
                page = fetch(connection, after)
            yield page
            if len(page) < size:
                return
            after = key(page[-1])

    @abstractmethod
    def exists(self) -> bool:
        """Is there a database, if perhaps an empty one?"""

    def expect_whole(self, connection: Connection) -> None:  # noqa: B027  nothing to expect of most engines
        """Raise StoreError when what stands there is not all of it."""

    @abstractmethod
    def schema_change(self) -> AbstractContextManager[Connection]:
        """Begin a transaction that has the whole database to itself; a database that does not exist is created."""

    def keep_copy(self, version: str, now: datetime) -> None:  # noqa: B027  those of a server are its operator's
        """Keep a copy of what stands there before a migration, where the engine can make one. Raises StoreError."""

    def tune(self, connection: Connection) -> None:  # noqa: B027  nothing of most engines
        """Ask of the engine, after a migration, what only this one has to be asked."""

    @abstractmethod
    def owner_lock(self, owner: str) -> Lock:
        """Return what a process holds for as long as it lives."""

    @abstractmethod
    def role_lock(self, role: str) -> Lock:
        """Return what is held by the one process that does something for all."""

    def is_dead(self, owner: str) -> bool:  # noqa: ARG002  nobody can say it of another machine
        """Has that process surely ended? False: perhaps not."""
        return False

    @abstractmethod
    def token_lock(self, target: str) -> Lock:
        """Return what is held by whoever exchanges the target's tokens: each may be exchanged once only."""

    @abstractmethod
    def size_bytes(self) -> int:
        """Return what it takes on the disk; 0 when it cannot be told."""

    def free_bytes(self) -> int | None:
        """Return what is left on its disk; None when it cannot be told."""
        return None

    def give_space_back(self, timeout: float) -> bool:  # noqa: ARG002  a server does it by itself
        """Return some free space to the file system; False: there is no more than will be needed."""
        return False

    def wipe_deleted(self, timeout: float) -> bool:  # noqa: ARG002  a server writes its files anew when it is told to
        """See to it that nothing of deleted rows is left in the files; False: there still is. Raises StoreError."""
        return False

    def copies(self) -> list[str]:
        """Return the copies of it that are known, wherever they are."""
        return []

    def forget_copies(self, now: datetime) -> int:  # noqa: ARG002  there are none
        """Delete copies that have been kept for long enough; how many files. Raises StoreError."""
        return 0

    def start_warnings(self, now: datetime) -> list[str]:  # noqa: ARG002  most engines are set up by the relay itself
        """Return what makes the engine lose what it has confirmed, or tell another time. Raises StoreError."""
        return []

    def upkeep_warnings(self) -> list[str]:
        """Return what makes the engine slower than it should be. Raises StoreError."""
        return []

    @abstractmethod
    def remarks(self, now: datetime, processes: int) -> list[str]:
        """Return what an operator should know of the way the engine runs, for so many processes. Raises StoreError."""

    @abstractmethod
    def close(self) -> None:
        """Close when the write that is under way has ended; afterwards nothing opens it again."""

    def write_in_chunks(
        self, change: Callable[[Connection, Sequence[Item]], Sequence[bool]], items: Sequence[Item], chunk: int = _CHUNK
    ) -> int:
        """Change many rows, some in each transaction; return how many were changed. A StoreError says it too."""
        changed = 0
        try:
            for start in range(0, len(items), chunk):
                if start:
                    time.sleep(_OTHERS_TURN_S)
                with self.write(PATIENT_TIMEOUT_S) as connection:
                    some = sum(change(connection, items[start : start + chunk]))
                changed += some
        except StoreError as exc:
            exc.changed = changed
            raise
        return changed

    def prove_writable(self, now: datetime, name: str = "readyz", timeout: float = WRITE_TIMEOUT_S) -> None:
        """Commit once in ten seconds, however often and by how many processes it is asked. Raises StoreError."""
        with self.write(timeout, alone_for=OWN_ROWS) as connection:
            _beat.run(connection, name=name, now=to_us(now), outdated=to_us(now - _PROVED_EVERY))


class Repository:
    """The reads and changes of one theme. Raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database
