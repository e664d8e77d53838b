"""Who is logged in to the operator's page: the same for every process of the database.

The store sees digests only: who reads it cannot make a cookie of them.
"""

from __future__ import annotations

from datetime import datetime

from relay.clock import to_us
from relay.store.engine import OWN_ROWS, Repository
from relay.store.statement import Statement

_insert = Statement("INSERT INTO admin_sessions (digest, ends_at) VALUES (:digest, :ends_at)")
_lasts = Statement("SELECT 1 FROM admin_sessions WHERE digest = :digest AND ends_at > :now")
_end = Statement("DELETE FROM admin_sessions WHERE digest = :digest")
_end_outdated = Statement("DELETE FROM admin_sessions WHERE ends_at <= :now")


class AdminSessions(Repository):
    def begin(self, digest: str, now: datetime, ends_at: datetime, *, instead_of: str | None = None) -> None:
        """Keep a session, on disk when it returns; those that are over go, and the one that it replaces."""
        with self._database.write(alone_for=OWN_ROWS) as connection:
            _end_outdated.run(connection, now=to_us(now))
            if instead_of is not None:
                _end.run(connection, digest=instead_of)
            _insert.run(connection, digest=digest, ends_at=to_us(ends_at))

    def lasts(self, digest: str, now: datetime) -> bool:
        """Has the session begun, and neither ended nor been ended?"""
        return self._database.first(_lasts, digest=digest, now=to_us(now)) is not None

    def end(self, digest: str) -> None:
        """End a session for every process; on disk when it returns."""
        with self._database.write(alone_for=OWN_ROWS) as connection:
            _end.run(connection, digest=digest)
