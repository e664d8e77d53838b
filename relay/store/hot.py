"""Statements of the hot path: written in SQLAlchemy Core, compiled once, run on the driver's own cursor.

Core's `execute` costs some 50 us a statement, the driver 5; an event and its delivery take a dozen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.elements import ClauseElement

_DIALECT = sqlite.dialect(paramstyle="named")


class Hot:
    """One prepared statement. Values must be plain: int, str, bytes, None."""

    def __init__(self, statement: ClauseElement) -> None:
        compiled = statement.compile(dialect=_DIALECT)
        self.sql = str(compiled)
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}

    def rows(self, connection: Connection, **params: Any) -> list[tuple[Any, ...]]:
        cursor = _cursor(connection)
        try:
            return list(cursor.execute(self.sql, {**self._fixed, **params}).fetchall())
        finally:
            cursor.close()

    def first(self, connection: Connection, **params: Any) -> tuple[Any, ...] | None:
        found = self.rows(connection, **params)
        return found[0] if found else None

    def run(self, connection: Connection, **params: Any) -> int:
        """The number of rows that were changed."""
        cursor = _cursor(connection)
        try:
            return int(cursor.execute(self.sql, {**self._fixed, **params}).rowcount)
        finally:
            cursor.close()

    def run_many(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        cursor = _cursor(connection)
        try:
            cursor.executemany(self.sql, [{**self._fixed, **row} for row in rows])
        finally:
            cursor.close()


def _cursor(connection: Connection) -> Any:
    return connection.connection.cursor()
