"""Consistent copies of the database, made while others write to it, and verified by opening them.

Those beside the database are made before a migration or a restore, and kept for 30 days, for nobody else's eyes.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from relay.errors import StoreError
from relay.i18n import Message, said
from relay.store.sqlite.files import beside, open_private

KEPT_FOR = timedelta(days=30)

_TIME = "%Y%m%d%H%M%S"
_ENDING = re.compile(r"\.bak-\w+-(\d{14})(-wal|-shm|\.journal|\.part)?")
_FOR_OTHERS = 0o077
_KEPT = Message("%(path)s is a copy of the database, kept until %(day)s")
_OPEN = Message(
    "%(path)s is open to other users of this machine (mode %(mode)s), and it holds phones: chmod 600 %(path)s"
)


@dataclass(frozen=True)
class Content:
    """What a copy holds."""

    version: str
    events: int


def back_up(database: Path, copy: Path) -> Content:
    """Make a copy that only its owner may read. Raises StoreError when the file exists, and as `copy_whole`."""
    if copy.exists():
        raise StoreError("%(copy)s exists already; give another name, or remove it", copy=copy)
    if not copy.parent.is_dir():
        raise StoreError("the folder %(parent)s does not exist; create it", parent=copy.parent)
    return copy_whole(database, copy)


def copy_whole(source: Path, copy: Path, *, like: Path | None = None, without_journal: bool = False) -> Content:
    """Make a copy in the place of whatever has its name.

    `like`: whose owner gets what root copies; else the source's. `without_journal`: the source's is another's.
    Raises StoreError when the source is not a sound database of the relay, or the copy cannot be written.
    """
    unfinished = beside(copy, ".part")
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
        raise StoreError(
            "the copy %(copy)s of %(source)s could not be made: %(why)s", copy=copy, source=source, why=said(exc)
        ) from exc
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
        raise StoreError("the copy is not sound (%(verdict)s); look at the disk", verdict=verdict)
    return Content(str(version), int(count))


def _opened(path: Path, how: str) -> contextlib.closing[sqlite3.Connection]:
    """Read-only, so that its end checkpoints nothing: only those who hold the write lock do."""
    return contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, isolation_level=None))


def copy_name(database: Path, what: str, now: datetime) -> Path:
    """Return where a copy that is made now has to stand, so that it is found again; `what`: its version or fate."""
    while (path := Path(f"{database}.bak-{what}-{now:{_TIME}}")).exists():
        now += timedelta(seconds=1)
    return path


def copies_beside(database: Path) -> list[tuple[datetime, Path]]:
    """Return when each was made, the oldest first. That stands in their names: a file's own changes with every `cp`."""
    copies = []
    for path in database.parent.glob(f"{glob.escape(database.name)}.bak-*"):
        if match := _ENDING.fullmatch(path.name[len(database.name) :]):
            with contextlib.suppress(ValueError):  # digits that are no time: not one of ours
                copies.append((datetime.strptime(match[1], _TIME).replace(tzinfo=UTC), path))
    return sorted(copies)


def delete_outdated(database: Path, now: datetime) -> int:
    """Delete those that have been kept for long enough; how many files. Raises StoreError."""
    outdated = [path for made_at, path in copies_beside(database) if made_at + KEPT_FOR <= now]
    for path in outdated:
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise StoreError(
                "the copy %(path)s should be deleted, but cannot be: %(why)s", path=path, why=said(exc)
            ) from exc
    return len(outdated)


def remarks(database: Path) -> list[str]:
    """Which copies there are and until when, and which files other users may read or write."""
    copies = copies_beside(database)
    files = [database, *(beside(database, suffix) for suffix in ("-wal", "-shm"))]
    modes = {path: path.stat().st_mode & 0o777 for path in (*files, *(path for _, path in copies)) if path.exists()}
    return [
        *(_KEPT.fill(path=path, day=f"{made_at + KEPT_FOR:%Y-%m-%d}") for made_at, path in copies),
        *(_OPEN.fill(path=path, mode=f"{mode:04o}") for path, mode in modes.items() if mode & _FOR_OTHERS),
    ]
