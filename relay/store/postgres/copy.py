"""Copies a SQLite store into a PostgreSQL database: every row, a few thousand in each transaction, and goes on where
it was broken off.

While it is under way the destination carries a mark, and no relay starts on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, func, select, text

from relay.errors import StoreError
from relay.store import migrate
from relay.store.engine import PATIENT_TIMEOUT_S, Database
from relay.store.sqlite import files
from relay.store.sqlite.database import SqliteDatabase
from relay.store.tables import heartbeats, metadata

_CHUNK = 2_000
_TABLES = [table for table in metadata.sorted_tables if table is not heartbeats]  # signs of life mean nothing elsewhere
_MARK = "copying"  # and for each table, behind a colon, up to where its rows are the copy's
_FIND_MARK = text("SELECT at FROM heartbeats WHERE name = :name").bindparams(name=_MARK)
_FIND_MARKS = text("SELECT name, at FROM heartbeats WHERE name LIKE :pattern").bindparams(pattern=f"{_MARK}%")
_SET_MARK = text("INSERT INTO heartbeats (name, at) VALUES (:name, :at)")
_DROP_MARKS = text("DELETE FROM heartbeats WHERE name LIKE :pattern").bindparams(pattern=f"{_MARK}%")

Report = Callable[[str, int, int], None]
"""Called with the table, how many of its rows stand in the destination, and how many there are."""


def refuse_unfinished(connection: Connection, name: str) -> None:
    """Raise StoreError when a copy into this database was broken off."""
    if connection.execute(_FIND_MARK).first() is not None:
        raise StoreError(
            "a copy into %(name)s was not finished; run `relay copy` again with the same addresses", name=name
        )


def copy_store(
    source: SqliteDatabase, destination: Database, now: datetime, report: Report, *, overwrite: bool = False
) -> dict[str, int]:
    """Copy all; return the rows by table. Raises StoreError while the source is open, and for other rows there unless
    they may be overwritten.
    """
    with source.presence.exclusive():
        pass  # else: StoreError
    migrate.expect_current(source)
    migrate.migrate(destination, now)
    if files.has_journal(source.path):  # a killed relay's: brought into the file later, it would have changed it
        source.wipe_deleted(PATIENT_TIMEOUT_S)
    with source.lock.held(PATIENT_TIMEOUT_S):  # whoever starts now stores nothing that would be left behind
        with source.read() as connection:
            ends = {table.name: _last(connection, table) for table in _TABLES if "seq" in table.c}
        _begin(destination, _fingerprint(source), ends, overwrite=overwrite)
        counts = {}
        for table in _TABLES:
            counts[table.name] = _copy_table(table, source, destination, report, ends.get(table.name, 0))
        _finish(destination)
    return counts


def _fingerprint(source: SqliteDatabase) -> int:
    """Return what differs when anything has been stored meanwhile."""
    return source.path.stat().st_mtime_ns // 1_000 + files.has_journal(source.path)


def _begin(destination: Database, fingerprint: int, ends: Mapping[str, int], *, overwrite: bool) -> None:
    """Set the marks. A copy of this very file goes on; of one that has changed since, it begins anew.

    What else stands there, a running relay may have accepted: it is deleted only where it may be overwritten.
    """
    with destination.write(PATIENT_TIMEOUT_S) as connection:
        marks: dict[str, int] = dict(connection.execute(_FIND_MARKS).all())
        if marks.get(_MARK) == fingerprint and not overwrite:
            return
        if not overwrite and (others := _others(connection, marks)):
            raise StoreError(
                "%(name)s holds what this copy has not brought there: %(rows)s; give an empty database, or lose all of "
                "that with --overwrite",
                name=destination.name,
                rows=", ".join(f"{count} {table}" for table, count in others.items()),
            )
        names = ", ".join(table.name for table in metadata.sorted_tables)
        connection.execute(text(f"TRUNCATE {names}"))
        connection.execute(_SET_MARK, {"name": _MARK, "at": fingerprint})
        for name, last in ends.items():  # what a relay that runs already stores there meanwhile comes behind
            connection.execute(text(f"SELECT setval('{name}_seq_seq', {last + 1})"))
            connection.execute(_SET_MARK, {"name": f"{_MARK}:{name}", "at": last})


def _others(connection: Connection, marks: Mapping[str, int]) -> dict[str, int]:
    """Return how many rows a copy with these marks has not brought, by table. Of what has no order all are its own."""
    counts = {
        table.name: _count(connection, table, table.c.seq > marks.get(f"{_MARK}:{table.name}", 0))
        if "seq" in table.c
        else _count(connection, table)
        for table in _TABLES
        if "seq" in table.c or not marks
    }
    return {name: count for name, count in counts.items() if count}


def _copy_table(table: Table, source: SqliteDatabase, destination: Database, report: Report, end: int) -> int:
    with source.read() as connection:
        total = _count(connection, table)
    if "seq" not in table.c:  # there are few
        with destination.write(PATIENT_TIMEOUT_S) as connection:
            connection.execute(table.delete())
            with source.read() as reading:
                _insert(connection, table, reading.execute(select(table)).all())
        report(table.name, total, total)
        return total
    with destination.read() as connection:
        done = _count(connection, table, table.c.seq <= end)
        after = _last(connection, table, table.c.seq <= end)
    report(table.name, done, total)
    rest = select(table).order_by(table.c.seq).limit(_CHUNK)

    def fetch(connection: Connection, after: int) -> Sequence[Row[Any]]:
        return connection.execute(rest.where(table.c.seq > after)).all()

    for rows in source.pages(fetch, after, attrgetter("seq"), _CHUNK):
        with destination.write(PATIENT_TIMEOUT_S) as connection:
            _insert(connection, table, rows)
        done += len(rows)
        report(table.name, done, total)
    if done != total:
        raise StoreError(
            "%(done)s of %(total)s rows of %(table)s stand in %(database)s; begin with an empty one",
            done=done,
            total=total,
            table=table.name,
            database=destination.name,
        )
    return done


def _insert(connection: Connection, table: Table, rows: Sequence[Row[Any]]) -> None:
    columns = ", ".join(column.name for column in table.c)
    driver: Any = connection.connection.dbapi_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _finish(destination: Database) -> None:
    """Let the sequences go on behind the rows, and take the marks away."""
    with destination.write(PATIENT_TIMEOUT_S) as connection:
        for table in metadata.sorted_tables:
            if "seq" in table.c:
                connection.execute(
                    text(f"SELECT setval('{table.name}_seq_seq', (SELECT coalesce(max(seq), 0) + 1 FROM {table.name}))")
                )
        connection.execute(_DROP_MARKS)


def _count(connection: Connection, table: Table, *where: ColumnElement[bool]) -> int:
    return int(connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one())


def _last(connection: Connection, table: Table, *where: ColumnElement[bool]) -> int:
    return int(connection.execute(select(func.coalesce(func.max(table.c.seq), 0)).where(*where)).scalar_one())
