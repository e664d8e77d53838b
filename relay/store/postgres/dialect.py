"""How psycopg wants to have what engines write differently (`relay.store.statement.Dialect`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, Connection
from sqlalchemy.dialects import postgresql

_MEMBER = re.compile(r"\bIN \(SELECT value FROM :(\w+)\)")  # `= ANY` knows the list's type by its left side
_LIST = re.compile(r"\bFROM :(\w+)")
_NAME = re.compile(r"(?<!:):(\w+)")
_ENGINE = postgresql.dialect()  # type: ignore[no-untyped-call]
_next_seqs = """
    SELECT ARRAY(SELECT nextval('events_seq_seq') FROM generate_series(1, %(events)s)),
           ARRAY(SELECT nextval('deliveries_seq_seq') FROM generate_series(1, %(deliveries)s))
"""


def named(sql: str) -> str:
    sql = _MEMBER.sub(r"= ANY(%(\1)s)", sql.replace("%", "%%"))
    sql = _LIST.sub(r"FROM unnest(CAST(%(\1)s AS text[])) AS value", sql)
    return _NAME.sub(r"%(\1)s", sql)


def bind_list(values: Iterable[Any]) -> list[Any]:
    return list(values)


def placeholder(column: Column[Any]) -> str:
    return f"CAST(%s AS {column.type.compile(_ENGINE)})"


def next_seqs(connection: Connection, events: int, deliveries: int) -> tuple[list[int], list[int]]:
    driver = connection.connection.dbapi_connection
    row = driver.execute(_next_seqs, {"events": events, "deliveries": deliveries}).fetchone()  # type: ignore[union-attr]
    return sorted(row[0]), sorted(row[1])
