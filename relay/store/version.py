"""Which schema a database has, asked without Alembic: the web process never loads it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import inspect, text

from relay.errors import SchemaMismatch, StoreError
from relay.store.sqlite.database import Database
from relay.store.tables import VERSION


def current(database: Database) -> str | None:
    """The version; None when there is no database, or not one of ours."""
    if not database.exists():
        return None
    with database.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)


def expect_current(database: Database) -> None:
    """Raises StoreError when there is no database, SchemaMismatch when it is of another version."""
    if not database.exists():
        raise StoreError(
            f"there is no database {database.path} yet; start the relay, or create it with `python -m relay migrate`"
        )
    found = current(database)
    if found is None:
        raise StoreError(f"{database.path} is not the relay's database; run `python -m relay migrate`")
    if found != VERSION:
        refuse_newer(database.path, found)
        raise SchemaMismatch(
            f"{database.path} is of version {found}, this program expects {VERSION}; run `python -m relay migrate`"
        )


def refuse_newer(path: Path, found: str) -> None:
    """Raises SchemaMismatch when a newer program has made this database."""
    if found > VERSION:
        raise SchemaMismatch(
            f"{path} is of version {found}, newer than this program's {VERSION}; "
            "start the newer program, or go back to the copy it made"
        )
