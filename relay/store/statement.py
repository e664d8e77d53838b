"""Where SQL and Python meet: statements as text, run on the driver's own cursor, and rows as values.

Every engine takes the text. What engines write differently, a dialect supplies: how a named value is bound, how a list
is passed, and how many rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import NoneType
from typing import Any, Generic, NamedTuple, TypeVar, get_args

import msgspec
from sqlalchemy import Column, Connection, Table

from relay import i18n
from relay.clock import from_us, to_us
from relay.models import CallEvent, Exchange, Words

Model = TypeVar("Model", bound=msgspec.Struct)
Row = tuple[Any, ...]
RowsBinding = Callable[[Sequence[Mapping[str, Any]]], tuple[str, Sequence[Any]]]
"""Returns what a statement has instead of `VALUES :rows`, and the driver's parameters for it."""
_MANY = "VALUES :rows"
_LIST = re.compile(r"\bIN :(\w+)")  # PostgreSQL's `= ANY` knows the list's type by its left side
_NAME = re.compile(r"(?<!:):(\w+)")
_LAST_SEQS = "SELECT (SELECT coalesce(max(seq), 0) FROM events), (SELECT coalesce(max(seq), 0) FROM deliveries)"
_NEXT_SEQS = """
    SELECT ARRAY(SELECT nextval('events_seq_seq') FROM generate_series(1, %(events)s)),
           ARRAY(SELECT nextval('deliveries_seq_seq') FROM generate_series(1, %(deliveries)s))
"""
_encoder = msgspec.json.Encoder(enc_hook=str)  # a Message stands as its English text, bytes as base64


class Dialect:
    """What an engine's driver wants to be written differently: SQLite's way, unless another engine has one."""

    def named(self, sql: str) -> str:
        """Return the text with its named values, `:name`, as the driver wants them."""
        return sql

    def bind_list(self, sql: str, name: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the text and the values with the list of this name, `IN :name`, as the driver wants it."""
        each = {f"{name}_{number}": value for number, value in enumerate(values[name])}  # for a few quicker than JSON
        names = ", ".join([f":{key}" for key in each])
        return sql.replace(f"IN :{name}", f"IN ({names})"), values | each

    def bind_rows(self, columns: Mapping[str, Column[Any]], _connection: Connection) -> RowsBinding:
        """Return what binds rows with a value for each of these columns, by name."""
        one = f"({','.join('?' * len(columns))})"

        def bind(rows: Sequence[Mapping[str, Any]]) -> tuple[str, list[Any]]:
            return "VALUES " + ",".join([one] * len(rows)), [row[name] for row in rows for name in columns]

        return bind

    def execute(self, connection: Connection, sql: str, values: Any, *, by_key: bool = False) -> Any:  # noqa: ARG002
        """Return the driver's cursor. `by_key`: its rows are found by their keys, however many there are."""
        return driver(connection).execute(sql, values)

    def changed(self, cursor: Any) -> int:
        """Return the number of rows that a statement has changed."""
        return int(cursor.rowcount)

    def next_seqs(self, connection: Connection, events: int, deliveries: int) -> tuple[Sequence[int], Sequence[int]]:
        """Return so many new numbers for events and deliveries, each above all that its source has had."""
        event, delivery = driver(connection).execute(_LAST_SEQS).fetchone()  # whoever asks is the only one who writes
        return range(event + 1, event + 1 + events), range(delivery + 1, delivery + 1 + deliveries)


class _Postgres(Dialect):
    def named(self, sql: str) -> str:
        return _NAME.sub(r"%(\1)s", _LIST.sub(r"= ANY(:\1)", sql.replace("%", "%%")))

    def bind_list(self, sql: str, name: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return sql, values | {name: list(values[name])}

    def bind_rows(self, columns: Mapping[str, Column[Any]], connection: Connection) -> RowsBinding:
        """All rows as one value: a parameter for each costs three times as much, and the text would always be new."""
        types = {name: column.type.compile(connection.dialect) for name, column in columns.items()}
        values = ", ".join(f"decode({name}, 'base64')" if kind == "BYTEA" else name for name, kind in types.items())
        names = ", ".join(f"{name} {'TEXT' if kind == 'BYTEA' else kind}" for name, kind in types.items())
        many = f"SELECT {values} FROM json_to_recordset(CAST(%s AS json)) AS given ({names})"

        def bind(rows: Sequence[Mapping[str, Any]]) -> tuple[str, list[Any]]:
            return many, [_encoder.encode([{name: row[name] for name in columns} for row in rows]).decode()]

        return bind

    def execute(self, connection: Connection, sql: str, values: Any, *, by_key: bool = False) -> Any:
        """Let the server keep the plan of what goes by key alone: any other, made for a table that was empty, would
        read all of one that has grown.
        """
        return driver(connection).execute(sql, values, prepare=None if by_key else False)

    def changed(self, cursor: Any) -> int:
        if cursor.rowcount < 0:  # it waits to be sent with what follows
            with cursor.connection.pipeline():
                pass  # entering sends it and waits
        return int(cursor.rowcount)

    def next_seqs(self, connection: Connection, events: int, deliveries: int) -> tuple[list[int], list[int]]:
        row = driver(connection).execute(_NEXT_SEQS, {"events": events, "deliveries": deliveries}).fetchone()
        return sorted(row[0]), sorted(row[1])


_DIALECTS: Mapping[str, Dialect] = {"sqlite": Dialect(), "postgresql": _Postgres()}


class Statement:
    """One statement as SQL text, its values bound by name: int, str, bytes, bool, None, and after IN a short list."""

    def __init__(self, sql: str) -> None:
        self.sql, self._lists = sql, _LIST.findall(sql)
        self._compiled: dict[str, str] = {}

    def rows(self, connection: Connection, **values: Any) -> list[Row]:
        return list(self._execute(connection, values).fetchall())

    def first(self, connection: Connection, **values: Any) -> Row | None:
        rows = self.rows(connection, **values)
        return rows[0] if rows else None

    def run(self, connection: Connection, **values: Any) -> int:
        """Return the number of rows that were changed."""
        return _DIALECTS[connection.dialect.name].changed(self._execute(connection, values))

    def _execute(self, connection: Connection, values: dict[str, Any]) -> Any:
        engine = connection.dialect.name
        sql = self._compiled.get(engine)
        if sql is None:
            sql = self._compiled[engine] = _DIALECTS[engine].named(self.sql)
        for name in self._lists:
            sql, values = _DIALECTS[engine].bind_list(sql, name, values)
        return _DIALECTS[engine].execute(connection, sql, values)


class ManyRows:
    """One statement for many rows: a call of the driver gives up the GIL, and to get it back costs more than a row.

    In the text they stand as `VALUES :rows`. Each has the values of these names, of these columns' types. What it does
    to the tables goes by key.
    """

    def __init__(self, columns: Mapping[str, Column[Any]], sql: str) -> None:
        self._columns, (self._head, self._tail) = columns, sql.split(_MANY)
        self._bindings: dict[str, RowsBinding] = {}

    @classmethod
    def insert(cls, table: Table, *, without: Sequence[str] = (), returning: str = "") -> ManyRows:
        """Return the statement that inserts rows with a value for each column."""
        columns = {column.name: column for column in table.c if column.name not in without}
        tail = f" RETURNING {returning}" if returning else ""
        return cls(columns, f"INSERT INTO {table.name} ({', '.join(columns)}) {_MANY}{tail}")

    def rows(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        """Return what the statement selects, or what its RETURNING names."""
        return list(self._execute(connection, rows).fetchall()) if rows else []

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self._execute(connection, rows)

    def _execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> Any:
        engine = connection.dialect.name
        bind = self._bindings.get(engine)
        if bind is None:
            bind = self._bindings[engine] = _DIALECTS[engine].bind_rows(self._columns, connection)
        many, values = bind(rows)
        return _DIALECTS[engine].execute(connection, self._head + many + self._tail, values, by_key=True)


def next_seqs(connection: Connection, events: int, deliveries: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return new numbers, in order; to be asked for inside the transaction, when its locks are held."""
    return _DIALECTS[connection.dialect.name].next_seqs(connection, events, deliveries)


def driver(connection: Connection) -> Any:
    """Return the driver's own connection: SQLAlchemy's `execute` costs some 50 us a statement, the driver's 5."""
    return connection.connection.dbapi_connection


class _Conversion(NamedTuple):
    read: Callable[[Any], Any]
    write: Callable[[Any], Any] | None


def _json(type_: Any) -> _Conversion:
    return _Conversion(msgspec.json.Decoder(type_).decode, lambda value: _encoder.encode(value).decode())


_CONVERSIONS: Mapping[Any, _Conversion] = {
    bool: _Conversion(bool, None),
    datetime: _Conversion(from_us, to_us),
    CallEvent: _json(CallEvent),
    tuple[Exchange, ...]: _Conversion(msgspec.json.Decoder(tuple[Exchange, ...]).decode, _encoder.encode),
    Words: _Conversion(i18n.decode, lambda text: i18n.encode(text) if isinstance(text, i18n.Message) else text),
    tuple[Words, ...]: _Conversion(
        lambda text: tuple(map(i18n.decode, msgspec.json.decode(text))),
        lambda texts: _encoder.encode(list(map(i18n.encode, texts))).decode(),
    ),
    tuple[datetime, ...]: _Conversion(
        lambda text: tuple(map(from_us, msgspec.json.decode(text))),
        lambda moments: _encoder.encode([to_us(at) for at in moments]).decode(),
    ),
}


class RowMapper(Generic[Model]):
    """Turns rows into values of a model, and back: a field is kept in the column whose key is the field's name.

    By the field's type a moment is kept in microseconds, and what has parts as JSON.
    """

    def __init__(self, model: type[Model], table: Table) -> None:
        fields = msgspec.structs.fields(model)
        self._model = model
        self._fields = tuple(field.name for field in fields)
        self.columns: tuple[Column[Any], ...] = tuple(table.c[name] for name in self._fields)
        self._names = tuple(column.name for column in self.columns)
        conversions = [(place, _CONVERSIONS.get(_without_none(field.type))) for place, field in enumerate(fields)]
        self._read = [(place, each.read) for place, each in conversions if each]
        self._write = [(self._names[place], each.write) for place, each in conversions if each and each.write]
        self.sql = ", ".join(f"{table.name}.{column.name}" for column in self.columns)
        """What a statement selects for `value`."""

    def value(self, row: Sequence[Any]) -> Model:
        values = list(row)
        for place, read in self._read:
            if values[place] is not None:
                values[place] = read(values[place])
        return self._model(**dict(zip(self._fields, values, strict=True)))

    def row(self, value: Model) -> dict[str, Any]:
        """Return the value by the names of its columns."""
        row = dict(zip(self._names, msgspec.structs.astuple(value), strict=True))
        for name, write in self._write:
            if (held := row[name]) is not None:
                row[name] = write(held)
        return row


def _without_none(type_: Any) -> Any:
    """Return what a field holds when it holds anything."""
    members = [each for each in get_args(type_) if each is not NoneType] if NoneType in get_args(type_) else []
    return members[0] if len(members) == 1 else type_
