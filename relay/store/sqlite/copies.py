"""The copies beside the database, made before a migration or a restore: 30 days, and for nobody else's eyes."""

from __future__ import annotations

import contextlib
import glob
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from relay.errors import StoreError

KEPT_FOR = timedelta(days=30)

_TIME = "%Y%m%d%H%M%S"
_ENDING = re.compile(r"\.bak-\w+-(\d{14})(-wal|-shm|\.journal|\.part)?")
_FOR_OTHERS = 0o077


@dataclass(frozen=True)
class Copy:
    """One file of a copy."""

    path: Path
    made_at: datetime

    @property
    def kept_until(self) -> datetime:
        return self.made_at + KEPT_FOR


def name_for(database: Path, what: str, now: datetime) -> Path:
    """Where a copy that is made now has to stand, so that it is found again, an unfinished one too.

    `what`: its version, or its fate.
    """
    while (path := Path(f"{database}.bak-{what}-{now:{_TIME}}")).exists():
        now += timedelta(seconds=1)
    return path


def beside(database: Path) -> list[Copy]:
    """All of them, the oldest first. Their age stands in their names: a file's own changes with every `cp`."""
    found = []
    for path in database.parent.glob(f"{glob.escape(database.name)}.bak-*"):
        if match := _ENDING.fullmatch(path.name[len(database.name) :]):
            with contextlib.suppress(ValueError):  # digits that are no time: not one of ours
                found.append(Copy(path, datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)))
    return sorted(found, key=lambda copy: (copy.made_at, copy.path))


def forget(database: Path, now: datetime) -> int:
    """Delete those that have been kept for long enough; how many files. Raises StoreError."""
    outdated = [copy.path for copy in beside(database) if copy.kept_until <= now]
    for path in outdated:
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise StoreError(f"the copy {path} should be deleted, but cannot be: {exc.strerror}") from exc
    return len(outdated)


def remarks(database: Path) -> list[str]:
    """Which copies there are and until when, and which files other users may read or write."""
    copies = beside(database)
    journal = [database.with_name(database.name + suffix) for suffix in ("-wal", "-shm")]
    modes = {
        path: path.stat().st_mode & 0o777
        for path in (database, *journal, *(copy.path for copy in copies))
        if path.exists()
    }
    return [f"{copy.path} is a copy of the database, kept until {copy.kept_until:%Y-%m-%d}" for copy in copies] + [
        f"{path} is open to other users of this machine (mode {mode:04o}), and it holds phones: chmod 600 {path}"
        for path, mode in modes.items()
        if mode & _FOR_OTHERS
    ]
