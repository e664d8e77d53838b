"""How SQLite's driver wants to have what engines write differently (`relay.store.statement.Dialect`)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column


def named(sql: str) -> str:
    return sql


def bind_list(sql: str, name: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A parameter for each: quicker than `json_each` for the few that there are."""
    each = {f"{name}_{number}": value for number, value in enumerate(values[name])}
    names = ", ".join([f":{key}" for key in each])
    return sql.replace(f"IN :{name}", f"IN ({names})"), values | each


def placeholder(_column: Column[Any]) -> str:
    return "?"
