"""A write that proves that writes are possible."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, or_
from sqlalchemy.dialects.sqlite import insert as upsert

from relay.clock import to_us
from relay.store.tables import heartbeats

_EVERY = timedelta(seconds=10)


def beat(connection: Connection, name: str, now: datetime) -> None:
    """Write the moment down, unless one is there that is young enough: then the transaction has nothing to commit."""
    statement = upsert(heartbeats).values(name=name, at=to_us(now))
    outdated = or_(heartbeats.c.at <= to_us(now - _EVERY), heartbeats.c.at > to_us(now))
    connection.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_={"at": to_us(now)}, where=outdated)
    )
