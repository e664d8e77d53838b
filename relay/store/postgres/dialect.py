"""How psycopg wants to have what engines write differently (`relay.store.statement.Dialect`)."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Column, Connection

_LIST = re.compile(r"\bIN :(\w+)")  # `= ANY` knows the list's type by its left side
_NAME = re.compile(r"(?<!:):(\w+)")
_next_seqs = """
    SELECT ARRAY(SELECT nextval('events_seq_seq') FROM generate_series(1, %(events)s)),
           ARRAY(SELECT nextval('deliveries_seq_seq') FROM generate_series(1, %(deliveries)s))
"""


def named(sql: str) -> str:
    return _NAME.sub(r"%(\1)s", _LIST.sub(r"= ANY(:\1)", sql.replace("%", "%%")))


def bind_list(sql: str, name: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return sql, values | {name: list(values[name])}


def placeholder(column: Column[Any], connection: Connection) -> str:
    return f"CAST(%s AS {column.type.compile(connection.dialect)})"


def next_seqs(connection: Connection, events: int, deliveries: int) -> tuple[list[int], list[int]]:
    driver = connection.connection.dbapi_connection
    row = driver.execute(_next_seqs, {"events": events, "deliveries": deliveries}).fetchone()  # type: ignore[union-attr]  # psycopg's
    return sorted(row[0]), sorted(row[1])
