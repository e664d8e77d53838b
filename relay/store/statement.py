"""Statements of the hot path: written in SQLAlchemy Core, compiled once, run on the driver's own cursor.

Core's `execute` costs some 50 us a statement, the driver 5; an event and its delivery take a dozen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.elements import ClauseElement

_DIALECT = sqlite.dialect(paramstyle="named")


class Statement:
    """One statement as SQL text, its values bound by name. Values must be plain: int, str, bytes, None."""

    def __init__(self, sql: str) -> None:
        self.sql = sql

    def rows(self, connection: Connection, **params: Any) -> list[tuple[Any, ...]]:
        cursor = _cursor(connection)
        try:
            return list(cursor.execute(self.sql, params).fetchall())
        finally:
            cursor.close()

    def first(self, connection: Connection, **params: Any) -> tuple[Any, ...] | None:
        found = self.rows(connection, **params)
        return found[0] if found else None

    def run(self, connection: Connection, **params: Any) -> int:
        """Return the number of rows that were changed."""
        cursor = _cursor(connection)
        try:
            return int(cursor.execute(self.sql, params).rowcount)
        finally:
            cursor.close()


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


class HotIn(Hot):
    """A statement with one list in it, `column.in_(bindparam("among", expanding=True))`."""

    def __init__(self, statement: ClauseElement) -> None:
        super().__init__(statement)
        self._before, self._after = self.sql.split("(__[POSTCOMPILE_among])")

    def among(self, connection: Connection, values: Sequence[Any], **params: Any) -> list[tuple[Any, ...]]:
        cursor = _cursor(connection)
        try:
            return list(self._execute(cursor, values, params).fetchall())
        finally:
            cursor.close()

    def run_among(self, connection: Connection, values: Sequence[Any], **params: Any) -> int:
        """The number of rows that were changed."""
        cursor = _cursor(connection)
        try:
            return int(self._execute(cursor, values, params).rowcount)
        finally:
            cursor.close()

    def _execute(self, cursor: Any, values: Sequence[Any], params: Mapping[str, Any]) -> Any:
        names = {f"among_{number}": value for number, value in enumerate(values)}
        sql = f"{self._before}({','.join(f':{name}' for name in names)}){self._after}"
        return cursor.execute(sql, {**self._fixed, **params, **names})


class HotInsert:
    """Many rows in one statement: a call of the driver gives up the GIL, and to get it back costs more than a row."""

    def __init__(self, table: Table, *, without: Sequence[str] = ()) -> None:
        self.columns = tuple(column.name for column in table.c if column.name not in without)
        self._head = f"INSERT INTO {table.name} ({', '.join(self.columns)}) VALUES "  # noqa: S608  names of our own
        self._row = f"({','.join('?' * len(self.columns))})"

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Every row must have a value for each column."""
        if not rows:
            return
        cursor = _cursor(connection)
        try:
            values = [row[name] for row in rows for name in self.columns]
            cursor.execute(self._head + ",".join([self._row] * len(rows)), values)
        finally:
            cursor.close()


class HotUpdate:
    """Different values for many rows in one statement; a row is found by `key` and must agree in `also`.

    `where` may compare the row with `new`, which has, besides the values, the columns named in `seen`.
    """

    def __init__(
        self,
        table: Table,
        *,
        key: str,
        also: Sequence[str],
        values: Sequence[str],
        where: str,
        seen: Sequence[str] = (),
    ) -> None:
        self.columns = (key, *also, *values, *seen)
        same = " AND ".join(f"{table.name}.{name} = new.{name}" for name in (key, *also))
        self._head = f"WITH new({', '.join(self.columns)}) AS (VALUES "
        self._row = f"({','.join('?' * len(self.columns))})"
        self._tail = (
            f") UPDATE {table.name} SET {', '.join(f'{name} = new.{name}' for name in values)} "  # noqa: S608  our names
            f"FROM new WHERE {same} AND {where} RETURNING {table.name}.{key}"
        )

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> set[Any]:
        """The keys of the rows that were changed."""
        cursor = _cursor(connection)
        try:
            values = [row[name] for row in rows for name in self.columns]
            cursor.execute(self._head + ",".join([self._row] * len(rows)) + self._tail, values)
            return {key for (key,) in cursor.fetchall()}
        finally:
            cursor.close()


def _cursor(connection: Connection) -> Any:
    return connection.connection.cursor()
