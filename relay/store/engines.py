"""Which engine an address names."""

from __future__ import annotations

from relay.store.database import Database

POSTGRES = ("postgres://", "postgresql://")
SQLITE = "sqlite:///"


def open_database(url: str) -> Database:
    """Raises StoreError when the engine's driver is not installed."""
    if url.startswith(POSTGRES):
        from relay.store.postgres.database import PostgresDatabase  # psycopg is an extra

        return PostgresDatabase(url)
    from relay.store.sqlite.database import SqliteDatabase

    return SqliteDatabase(url)
