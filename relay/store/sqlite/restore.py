"""Puts a copy in the place of the database. A journal that is not the copy's would spoil it: it is put aside."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from relay.errors import StoreError
from relay.i18n import said
from relay.store import migrate
from relay.store.sqlite import files
from relay.store.sqlite.backup import Content, copy_name, copy_whole
from relay.store.sqlite.database import SqliteDatabase


@dataclass(frozen=True)
class Restored:
    """What stands in the database's place now, and where what stood there is kept."""

    content: Content
    former: Path | None
    stray_journal: Path | None  #: was not the former database's


def restore(database: SqliteDatabase, file: Path, now: datetime) -> Restored:
    """Nothing is changed before the copy is whole and sound; what stood there is kept.

    Raises StoreError when a process has the database open, when `file` is not a sound database of the relay, or when
    the disk does not take it; SchemaMismatch when a newer program has made it.
    """
    path = database.path
    if not path.parent.is_dir():
        raise StoreError(
            "the folder %(parent)s does not exist; create it, or set another storage.url", parent=path.parent
        )
    with database.presence.exclusive():
        incoming = copy_name(path, "incoming", now)
        content = copy_whole(file, incoming, like=path.parent, without_journal=_has_foreign_journal(file))
        try:
            migrate.refuse_newer(str(file), content.version)
            former, foreign = copy_name(path, "replaced", now), _has_foreign_journal(path)
            if path.exists():
                os.link(path, former)
            incoming.replace(path)  # should a kill come now, the next start refuses the journal that is still there
            stray = _put_journal_aside(path, former, foreign=foreign)
            files.forget_journal(path)
            _sync(path.parent)
        except OSError as exc:
            raise StoreError(
                "%(file)s could not be put in the place of %(path)s: %(why)s", file=file, path=path, why=said(exc)
            ) from exc
        finally:
            incoming.unlink(missing_ok=True)
    return Restored(content, former if former.exists() else None, stray)


def _has_foreign_journal(database: Path) -> bool:
    return files.journal_is_foreign(database, look_inside=True)


def _put_journal_aside(path: Path, former: Path, *, foreign: bool) -> Path | None:
    """Keeps it with the former database; where it was another's, by a name that SQLite does not look for."""
    kept = former.with_name(former.name + (".journal" if foreign else "-wal"))
    if files.has_journal(path):
        files.journal_of(path).replace(kept)
    for suffix in ("-wal", "-shm"):
        files.beside(path, suffix).unlink(missing_ok=True)
    return kept if foreign else None


def _sync(folder: Path) -> None:
    """The names are on disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
