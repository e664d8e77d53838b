"""Who is logged in to the operator's page: the same for every process of the database.

The store sees digests only: who reads it cannot make a cookie of them.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, insert, or_, select

from relay.clock import to_us
from relay.store.sqlite.database import Database
from relay.store.tables import admin_sessions


class AdminSessions:
    """Raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, digest: str, now: datetime, ends_at: datetime, *, instead_of: str | None = None) -> None:
        """Keep a session, on disk when it returns; those that are over go, and the one that it replaces."""
        over = or_(admin_sessions.c.ends_at <= to_us(now), admin_sessions.c.digest == instead_of)
        with self._database.write() as connection:
            connection.execute(delete(admin_sessions).where(over))
            connection.execute(insert(admin_sessions).values(digest=digest, ends_at=to_us(ends_at)))

    def lasts(self, digest: str, now: datetime) -> bool:
        """Has the session begun, and neither ended nor been ended?"""
        lasting = admin_sessions.c.digest == digest, admin_sessions.c.ends_at > to_us(now)
        with self._database.read() as connection:
            return connection.execute(select(admin_sessions.c.digest).where(*lasting)).first() is not None

    def end(self, digest: str) -> None:
        """End a session for every process; on disk when it returns."""
        with self._database.write() as connection:
            connection.execute(delete(admin_sessions).where(admin_sessions.c.digest == digest))
