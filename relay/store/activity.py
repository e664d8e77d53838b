"""What happened lately, for the overview: counts by the hour, and how long deliveries took."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, func, select, text

from relay.clock import EPOCH, to_us
from relay.store.engine import Repository
from relay.store.statement import Statement
from relay.store.tables import DEAD, DELIVERED, deliveries, events

HOUR_US = 3_600_000_000
DELAYS = 1000  # the newest of a target: enough to tell how it is, and quickly read

_delays = Statement(  # of what nobody replayed: that it waited for an operator says nothing of the target
    f"""
    SELECT delivered_at - received_at
    FROM (
      SELECT event_seq, delivered_at FROM deliveries
      WHERE target = :target AND {DELIVERED} AND delivered_at >= :since AND NOT replayed
      ORDER BY delivered_at DESC LIMIT {DELAYS}
    ) AS newest JOIN events ON events.seq = newest.event_seq
    """
)


class Hours(Struct, frozen=True):
    """Counts by the hour, by the name of the source or target; `begin` are the beginnings of the hours."""

    begin: list[datetime]
    taken: dict[str, list[int]]
    delivered: dict[str, list[int]]
    dead: dict[str, list[int]]


class Activity(Repository):
    def hours(self, sources: Iterable[str], targets: Iterable[str], since: datetime, until: datetime) -> Hours:
        """Count in each hour from `since` to `until`, also in those in which nothing happened."""
        first, last = to_us(since) // HOUR_US, to_us(until) // HOUR_US
        numbers = range(first, last + 1)
        tried_at = func.coalesce(deliveries.c.tried_at, deliveries.c.due_at)
        target = deliveries.c.target
        with self._database.read() as connection:
            count = partial(_count, connection, numbers)
            return Hours(
                [EPOCH + timedelta(hours=number) for number in numbers],
                {name: count(events.c.received_at, events.c.source == name) for name in sources},
                {name: count(deliveries.c.delivered_at, target == name, text(DELIVERED)) for name in targets},
                {name: count(tried_at, target == name, text(DEAD)) for name in targets},
            )

    def delays(self, target: str, since: datetime) -> list[timedelta]:
        """Return how long what was delivered since then took from its acceptance; the newest thousand, in no order."""
        rows = self._database.rows(_delays, target=target, since=to_us(since))
        return [timedelta(microseconds=us) for (us,) in rows]


def _count(connection: Connection, numbers: range, column: Any, *conditions: Any) -> list[int]:
    """Count the rows in each of the hours since 1970."""
    hour = column // HOUR_US
    statement = select(hour, func.count()).where(*conditions, column >= numbers.start * HOUR_US).group_by(hour)
    counts: dict[int, int] = {at: number for at, number in connection.execute(statement)}  # noqa: C416  rows, no pairs
    return [counts.get(number, 0) for number in numbers]
