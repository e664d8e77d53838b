"""How psycopg wants to have what engines write differently (`relay.store.statement.Dialect`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Column, Connection

_LIST = re.compile(r"\bIN :(\w+)")  # `= ANY` knows the list's type by its left side
_NAME = re.compile(r"(?<!:):(\w+)")
_encoder = msgspec.json.Encoder()  # bytes as base64
_next_seqs = """
    SELECT ARRAY(SELECT nextval('events_seq_seq') FROM generate_series(1, %(events)s)),
           ARRAY(SELECT nextval('deliveries_seq_seq') FROM generate_series(1, %(deliveries)s))
"""


def named(sql: str) -> str:
    return _NAME.sub(r"%(\1)s", _LIST.sub(r"= ANY(:\1)", sql.replace("%", "%%")))


def bind_list(sql: str, name: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return sql, values | {name: list(values[name])}


def bind_rows(
    columns: Mapping[str, Column[Any]], connection: Connection
) -> Callable[[Sequence[Mapping[str, Any]]], tuple[str, list[Any]]]:
    """All rows as one value: a parameter for each costs three times as much, and makes a text that is always new."""
    types = {name: column.type.compile(connection.dialect) for name, column in columns.items()}
    values = ", ".join(f"decode({name}, 'base64')" if kind == "BYTEA" else name for name, kind in types.items())
    names = ", ".join(f"{name} {'TEXT' if kind == 'BYTEA' else kind}" for name, kind in types.items())
    many = f"SELECT {values} FROM json_to_recordset(CAST(%s AS json)) AS given ({names})"

    def bind(rows: Sequence[Mapping[str, Any]]) -> tuple[str, list[Any]]:
        return many, [_encoder.encode([{name: row[name] for name in columns} for row in rows]).decode()]

    return bind


def next_seqs(connection: Connection, events: int, deliveries: int) -> tuple[list[int], list[int]]:
    driver = connection.connection.dbapi_connection
    row = driver.execute(_next_seqs, {"events": events, "deliveries": deliveries}).fetchone()  # type: ignore[union-attr]  # psycopg's
    return sorted(row[0]), sorted(row[1])
