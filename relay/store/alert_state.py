"""What people have been told of troubles, by the channel that told them: a restart does not tell it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, insert, select

from relay.clock import from_us, to_us
from relay.store.database import OWN_ROWS, Database
from relay.store.tables import alerts

_MOMENTS = ("at", "since", "over_at", "back_at")
_KEYS = ("channel", "key")


class AlertStateStore:
    """Raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, channel: str) -> dict[str, dict[str, Any]]:
        """By the trouble's key."""
        with self._database.read() as connection:
            rows = connection.execute(select(alerts).where(alerts.c.channel == channel)).mappings().all()
        return {
            row["key"]: {name: _read(name, value) for name, value in row.items() if name not in _KEYS} for row in rows
        }

    def save(self, channel: str, states: Mapping[str, Mapping[str, Any]]) -> None:
        """All of it: there are few."""
        rows = [
            {"channel": channel, "key": key, **{name: _write(name, value) for name, value in each.items()}}
            for key, each in states.items()
        ]
        with self._database.write(alone_for=OWN_ROWS) as connection:
            connection.execute(delete(alerts).where(alerts.c.channel == channel))
            if rows:
                connection.execute(insert(alerts), rows)


def _read(name: str, value: Any) -> Any:
    return from_us(value) if name in _MOMENTS and value is not None else value


def _write(name: str, value: Any) -> Any:
    return to_us(value) if name in _MOMENTS and value is not None else value
