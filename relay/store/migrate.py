"""Which schema a database has; brings it to the newest one, and refuses one that this program does not know.

Only `migrate`, `work` and the web server's start change it; all other commands call `expect_current`.
"""

from __future__ import annotations

import os
import sqlite3
import time
from datetime import datetime
from pathlib import Path

from sqlalchemy import inspect, text

from relay.errors import SchemaMismatch, StoreError
from relay.store.engine import WRITE_TIMEOUT_S
from relay.store.sqlite.backup import copy_name, copy_whole
from relay.store.sqlite.database import Database
from relay.store.tables import VERSION

_LOCK_TIMEOUT_S = 30.0


def current(database: Database) -> str | None:
    """The version; None when there is no database, or not one of ours."""
    if not database.exists():
        return None
    with database.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if version is None else str(version)


def expect_current(database: Database) -> None:
    """Raises StoreError when there is no database, SchemaMismatch when it is of another version."""
    if not database.exists():
        raise StoreError(
            f"there is no database {database.path} yet; start the relay, or create it with `python -m relay migrate`"
        )
    version = current(database)
    if version is None:
        raise StoreError(f"{database.path} is not the relay's database; run `python -m relay migrate`")
    if version != VERSION:
        refuse_newer(database.path, version)
        raise SchemaMismatch(
            f"{database.path} is of version {version}, this program expects {VERSION}; run `python -m relay migrate`"
        )


def migrate(database: Database, now: datetime) -> str | None:
    """Creates or upgrades; returns the version it was at before, None for a new one.

    Raises SchemaMismatch when the database is newer than the program, StoreError when it cannot be written.
    """
    folder = database.path.parent
    if not folder.is_dir():
        raise StoreError(f"the folder {folder} does not exist; create it, or set another storage.url")
    with database.lock.held(_LOCK_TIMEOUT_S):
        try:
            database.refuse_foreign_journal()
            if not database.exists():
                _create_private(database)
            before = current(database)
            if before == VERSION:
                return before
            if before is not None:
                refuse_newer(database.path, before)
                copy_whole(database.path, copy_name(database.path, before, now))
            _upgrade(database)
            return before
        except (sqlite3.Error, OSError) as exc:
            raise StoreError(f"the database {database.path} cannot be migrated: {exc}") from exc


def refuse_newer(path: Path, version: str) -> None:
    """Raises SchemaMismatch when a newer program has made this database."""
    if version > VERSION:
        raise SchemaMismatch(
            f"{path} is of version {version}, newer than this program's {VERSION}; "
            "start the newer program, or go back to the copy it made"
        )


def _create_private(database: Database) -> None:
    """It holds phones and recording links: nobody else may read it. SQLite makes its other files alike."""
    os.close(os.open(database.path, os.O_CREAT | os.O_RDWR, 0o600))


def _upgrade(database: Database) -> None:
    from alembic import command  # loaded only where it is needed: in no process that takes notifications
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with database.transaction(time.monotonic() + WRITE_TIMEOUT_S) as connection:
        connection.execute(text("SELECT 1"))  # for Alembic, too, it has begun
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
