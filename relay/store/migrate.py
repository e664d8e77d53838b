"""Which schema a database has; brings it to the newest one, and refuses one that this program does not know.

Only `migrate`, `work` and the web server's start change it; all other commands call `expect_current`.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from relay.errors import SchemaMismatch, StoreError
from relay.store.engine import Database
from relay.store.tables import VERSION

_OWN = {"alembic_version", "events", "deliveries", "refusals"}
"""Tables that every version of the relay has."""


def current(database: Database) -> str | None:
    """The version; None when there is no database, or an empty one. Raises StoreError for another program's."""
    if not database.exists():
        return None
    with database.read() as connection:
        version = _version(connection, database.name)
        if version == VERSION:
            database.expect_whole(connection)
        return version


def expect_current(database: Database) -> None:
    """Raises StoreError when there is no database, SchemaMismatch when it is of another version."""
    if not database.exists():
        raise StoreError(
            "there is no database %(name)s yet; start the relay, or create it with `relay migrate`",
            name=database.name,
        )
    found = current(database)
    if found is None:
        raise StoreError("%(name)s is not the relay's database; run `relay migrate`", name=database.name)
    if found != VERSION:
        refuse_newer(database.name, found)
        raise SchemaMismatch(
            "%(name)s is of version %(found)s, this program expects %(version)s; run `relay migrate`",
            name=database.name,
            found=found,
            version=VERSION,
        )


def migrate(database: Database, now: datetime) -> str | None:
    """Creates or upgrades; returns the version it was at before, None for a new one.

    Raises SchemaMismatch when the database is newer than the program, StoreError when it cannot be written, or is
    another program's.
    """
    if database.exists():
        with database.read() as connection:  # who only opens SQLite's file to write has changed it
            _version(connection, database.name)
    with database.schema_change() as connection:
        before = _version(connection, database.name)
        if before == VERSION:
            return before
        if before is not None:
            refuse_newer(database.name, before)
            database.keep_copy(before, now)
        _upgrade(connection)
        database.tune(connection)
    return before


def refuse_newer(name: str, version: str) -> None:
    """Raises SchemaMismatch when a newer program has made this database."""
    if version > VERSION:
        raise SchemaMismatch(
            "%(name)s is of version %(version)s, newer than this program's %(own)s; start the "
            "newer program, or go back to the copy it made",
            name=name,
            version=version,
            own=VERSION,
        )


def _version(connection: Connection, name: str) -> str | None:
    tables = set(inspect(connection).get_table_names())
    if tables and not tables >= _OWN:
        raise StoreError(
            "%(name)s holds tables of another program: nothing was changed there; give the relay a database of its own",
            name=name,
        )
    version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if tables else None
    return None if version is None else str(version)


def _upgrade(connection: Connection) -> None:
    from alembic import command  # loaded only where it is needed: in no process that takes notifications
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
