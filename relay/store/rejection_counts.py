"""What was refused, counted by source, status and hour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.sqlite import insert as upsert

from relay.clock import EPOCH, to_us
from relay.store.tables import refusals

_HOUR = timedelta(hours=1)
_KEEP_REFUSALS = timedelta(days=8)


def add_refusals(connection: Connection, counts: Mapping[tuple[str, int], int], now: datetime) -> None:
    """Counts what was refused, by source, status and hour."""
    hour = to_us(EPOCH + (now - EPOCH) // _HOUR * _HOUR)
    for (source, status), count in counts.items():
        statement = upsert(refusals).values(source=source, status=status, hour=hour, refused=count)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["source", "status", "hour"], set_={"refused": refusals.c.refused + count}
            )
        )
    connection.execute(delete(refusals).where(refusals.c.hour < to_us(now - _KEEP_REFUSALS)))


def refused_since(connection: Connection, sources: Iterable[str], since: datetime) -> dict[str, dict[str, int]]:
    """By source: how many were refused, by status (as text, as JSON has it)."""
    found: dict[str, dict[str, int]] = {source: {} for source in sources}
    statement = (
        select(refusals.c.source, refusals.c.status, func.sum(refusals.c.refused))
        .where(refusals.c.hour >= to_us(since - _HOUR))
        .group_by(refusals.c.source, refusals.c.status)
    )
    for source, status, count in connection.execute(statement):
        found.setdefault(source, {})[str(status)] = int(count)
    return found
