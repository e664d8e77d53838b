"""How SQLite's driver wants to have what engines write differently (`relay.store.statement.Dialect`)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, Connection

_LIST = re.compile(r"\bFROM (:\w+)")


def named(sql: str) -> str:
    return _LIST.sub(r"FROM json_each(\1)", sql)


def bind_list(values: Iterable[Any]) -> str:
    return json.dumps(list(values))


def placeholder(_column: Column[Any]) -> str:
    return "?"


def next_seqs(connection: Connection, events: int, deliveries: int) -> tuple[range, range]:
    """Behind the last that there are: whoever asks is the only one who writes."""
    driver = connection.connection.dbapi_connection
    event, delivery = driver.execute(_LAST_SEQS).fetchone()  # type: ignore[union-attr]
    return range(event + 1, event + 1 + events), range(delivery + 1, delivery + 1 + deliveries)


_LAST_SEQS = "SELECT (SELECT coalesce(max(seq), 0) FROM events), (SELECT coalesce(max(seq), 0) FROM deliveries)"
