"""Consistent copies of the database, made while others write to it, and verified by opening them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from relay.errors import StoreError
from relay.store.sqlite.wal_guard import open_private


@dataclass(frozen=True)
class Content:
    """What a copy holds."""

    version: str
    events: int


def back_up(database: Path, copy: Path) -> Content:
    """Make a copy that only its owner may read; under its name it appears only when it is whole.

    Raises StoreError when the file exists, cannot be written, or does not pass SQLite's own check.
    """
    if copy.exists():
        raise StoreError(f"{copy} exists already; give another name, or remove it")
    if not copy.parent.is_dir():
        raise StoreError(f"the folder {copy.parent} does not exist; create it")
    return copy_whole(database, copy)


def copy_whole(source: Path, copy: Path, *, like: Path | None = None, without_journal: bool = False) -> Content:
    """Make a copy in the place of whatever has its name.

    `like`: whose owner gets what root copies; else the source's. `without_journal`: the one beside the source is not
    its own.
    Raises StoreError when the source is not a sound database of the relay, or the copy cannot be written.
    """
    unfinished = copy.with_name(copy.name + ".part")
    try:
        unfinished.unlink(missing_ok=True)
        os.close(open_private(unfinished, like or source))
        with _opened(source, "immutable=1" if without_journal else "mode=ro") as database:
            database.execute("SELECT version_num FROM alembic_version").fetchall()  # VACUUM does not say what is wrong
            database.execute("VACUUM INTO ?", (str(unfinished),))  # reads one state; nobody waits for it
        content = _verify(unfinished)
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(copy)
    except (sqlite3.Error, OSError) as exc:
        raise StoreError(f"the copy {copy} of {source} could not be made: {exc}") from exc
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return content


def _verify(copy: Path) -> Content:
    """Raises StoreError for a copy that one could not go on with."""
    with _opened(copy, "mode=ro") as opened:
        [(verdict,), *_] = opened.execute("PRAGMA integrity_check").fetchall()
        [(version,)] = opened.execute("SELECT version_num FROM alembic_version").fetchall()
        [(count,)] = opened.execute("SELECT count(*) FROM events").fetchall()
    if verdict != "ok":
        raise StoreError(f"the copy is not sound ({verdict}); look at the disk")
    return Content(str(version), int(count))


def _opened(path: Path, how: str) -> contextlib.closing[sqlite3.Connection]:
    """Read-only, so that its end checkpoints nothing: only those who hold the write lock do."""
    return contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, isolation_level=None))
