"""What the store needs of an engine, whichever it is: transactions, and to know which processes live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from sqlalchemy import Connection

Item = TypeVar("Item")

WRITE_TIMEOUT_S = 2.0
PATIENT_TIMEOUT_S = 10.0  # of a lane, which would have to send again what it cannot record, and of commands
CHUNK = 50  # rows in one transaction of a command: a running relay must not wait for it


class Database(Protocol):
    """Raises StoreBusy when it is not free in time, StoreError when it cannot be used."""

    def write(self, timeout: float = WRITE_TIMEOUT_S) -> AbstractContextManager[Connection]:
        """One transaction, of one writer at a time; on disk when the block has ended."""

    def write_in_chunks(
        self,
        change: Callable[[Connection, Sequence[Item]], Sequence[bool]],
        items: Sequence[Item],
        chunk: int = CHUNK,
    ) -> int:
        """Change many rows, some in each transaction; return how many were changed."""

    def read(self) -> AbstractContextManager[Connection]:
        """A connection that can only read, for a short while."""

    def is_dead(self, owner: str) -> bool:
        """Has the process that was this owner of lanes ended?"""

    def give_space_back(self, timeout: float) -> bool:
        """Return some of what was freed to the file system; False: there is no more."""
