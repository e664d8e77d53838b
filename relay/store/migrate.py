"""Brings a database to the newest schema; refuses one that this program does not know.

Only `migrate`, `work` and the web server's start come here; all other commands call `version.expect_current`.
"""

from __future__ import annotations

import os
import sqlite3
from datetime import datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from relay.errors import StoreError
from relay.store.database import Database
from relay.store.schema import VERSION
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
            _create_private(database)
            before = current(database)
            if before == VERSION:
                return before
            if before is not None:
                refuse_newer(database, before)
                _copy(database, before, now)
            _upgrade(database)
            return before
        except (sqlite3.Error, OSError) as exc:
            raise StoreError(f"the database {database.path} cannot be migrated: {exc}") from exc


def _create_private(database: Database) -> None:
    """It holds phones and recording links: nobody else may read it. SQLite makes its other files alike."""
    if not database.exists():
        os.close(os.open(database.path, os.O_CREAT | os.O_RDWR, 0o600))


def _copy(database: Database, before: str, now: datetime) -> None:
    """A consistent copy before the schema changes, beside the file."""
    copy = Path(f"{database.path}.bak-{before}-{now:%Y%m%d%H%M%S}")
    with database.writer_engine().connect() as connection:
        connection.connection.cursor().execute("VACUUM INTO ?", (str(copy),))


def _upgrade(database: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with database.writer_engine().connect() as connection:
        connection.execute(text("SELECT 1"))  # begins: BEGIN IMMEDIATE
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
