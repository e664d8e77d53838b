"""How SQLite's driver wants to have what engines write differently (`relay.store.statement.Dialect`)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column

_LIST = re.compile(r"\bFROM (:\w+)")


def named(sql: str) -> str:
    return _LIST.sub(r"FROM json_each(\1)", sql)


def bind_list(values: Iterable[Any]) -> str:
    return json.dumps(list(values))


def placeholder(_column: Column[Any]) -> str:
    return "?"
