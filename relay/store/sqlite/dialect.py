"""How SQLite's driver wants to have what engines write differently (`relay.store.statement.Dialect`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection


def named(sql: str) -> str:
    return sql


def bind_list(sql: str, name: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A parameter for each: quicker than `json_each` for the few that there are."""
    each = {f"{name}_{number}": value for number, value in enumerate(values[name])}
    names = ", ".join([f":{key}" for key in each])
    return sql.replace(f"IN :{name}", f"IN ({names})"), values | each


def bind_rows(
    columns: Mapping[str, Column[Any]], _connection: Connection
) -> Callable[[Sequence[Mapping[str, Any]]], tuple[str, list[Any]]]:
    """A parameter for each value."""
    one = f"({','.join('?' * len(columns))})"

    def bind(rows: Sequence[Mapping[str, Any]]) -> tuple[str, list[Any]]:
        return "VALUES " + ",".join([one] * len(rows)), [row[name] for row in rows for name in columns]

    return bind


def next_seqs(connection: Connection, events: int, deliveries: int) -> tuple[range, range]:
    """Behind the last that there are: whoever asks is the only one who writes."""
    driver = connection.connection.dbapi_connection
    event, delivery = driver.execute(_LAST_SEQS).fetchone()  # type: ignore[union-attr]  # sqlite3's
    return range(event + 1, event + 1 + events), range(delivery + 1, delivery + 1 + deliveries)


_LAST_SEQS = "SELECT (SELECT coalesce(max(seq), 0) FROM events), (SELECT coalesce(max(seq), 0) FROM deliveries)"
