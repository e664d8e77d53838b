"""A consistent copy of the database while others write to it, verified by opening it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from relay.errors import StoreError
from relay.store.database import Database
from relay.store.schema import VERSION


def back_up(database: Database, copy: Path) -> int:
    """How many events the copy holds. Under its name it appears only when it is whole.

    Raises StoreError when the file exists, cannot be written, or does not pass SQLite's own check.
    """
    if copy.exists():
        raise StoreError(f"{copy} exists already; give another name, or remove it")
    if not copy.parent.is_dir():
        raise StoreError(f"the folder {copy.parent} does not exist; create it")
    unfinished = copy.with_name(copy.name + ".part")
    try:
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # it holds phones: for nobody else
        with contextlib.closing(sqlite3.connect(database.path, isolation_level=None)) as source:
            source.execute("PRAGMA wal_autocheckpoint=0")  # only those who hold the write lock checkpoint
            source.execute("VACUUM INTO ?", (str(unfinished),))  # reads one state; nobody waits for it
        count = _verify(unfinished)
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(copy)
    except (sqlite3.Error, OSError) as exc:
        raise StoreError(f"the copy {copy} could not be made: {exc}") from exc
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return count


def _verify(copy: Path) -> int:
    """Raises StoreError for a copy that one could not go on with."""
    with contextlib.closing(sqlite3.connect(f"file:{copy}?mode=ro", uri=True)) as opened:
        [(verdict,), *_] = opened.execute("PRAGMA integrity_check").fetchall()
        [(version,)] = opened.execute("SELECT version_num FROM alembic_version").fetchall()
        [(count,)] = opened.execute("SELECT count(*) FROM events").fetchall()
    if verdict != "ok" or version != VERSION:
        raise StoreError(f"the copy is not sound ({verdict}, version {version}); look at the disk")
    return int(count)
