"""Databases of the newest schema: migrated once in a process, copied for each test."""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from relay import bootstrap
from relay.clock import now_utc
from relay.config import Settings
from relay.store import Store, migrate


def create(settings: Settings) -> None:
    """Create the database that the settings name, unless it is there; ask of unused targets what a start asks."""
    create_at(settings.storage.url)
    if settings.unused_targets():
        bootstrap.migrate(settings)


def create_at(url: str) -> None:
    """Write a new, empty database, readable by its owner only, as `relay migrate` makes it.

    A PostgreSQL database has its tables already.
    """
    path = Path(url.removeprefix("sqlite:///"))
    if not url.startswith("sqlite:///") or path.exists():
        return
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(_migrated())


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "relay.db"
        with closing(Store(f"sqlite:///{path}")) as store:
            migrate.migrate(store.database, now_utc())
        assert [file.name for file in path.parent.glob("*-wal")] == [], "all is in the file itself"
        return path.read_bytes()
