"""Brings a database to the newest schema; refuses one that this program does not know.

Only `migrate`, `work` and the web server's start come here; all other commands call `version.expect_current`.
"""

from __future__ import annotations

import os
import sqlite3
import time
from datetime import datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from relay.errors import StoreError
from relay.store.sqlite import copies
from relay.store.sqlite.backup import copy_whole
from relay.store.sqlite.database import WRITE_TIMEOUT_S, Database
from relay.store.tables import VERSION
from relay.store.version import current, refuse_newer

_LOCK_TIMEOUT_S = 30.0


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
                copy_whole(database.path, copies.name_for(database.path, before, now))
            _upgrade(database)
            return before
        except (sqlite3.Error, OSError) as exc:
            raise StoreError(f"the database {database.path} cannot be migrated: {exc}") from exc


def _create_private(database: Database) -> None:
    """It holds phones and recording links: nobody else may read it. SQLite makes its other files alike."""
    os.close(os.open(database.path, os.O_CREAT | os.O_RDWR, 0o600))


def _upgrade(database: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with database.transaction(time.monotonic() + WRITE_TIMEOUT_S) as connection:
        connection.execute(text("SELECT 1"))  # for Alembic, too, it has begun
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
