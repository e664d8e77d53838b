"""A write that proves that writes are possible."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy.dialects.sqlite import insert as upsert

from relay.store.schema import heartbeats
from relay.times import to_us


def beat(connection: Connection, name: str, now: datetime) -> None:
    statement = upsert(heartbeats).values(name=name, at=to_us(now))
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"at": to_us(now)}))
