"""Deletes what has been kept for long enough, a few rows at a time, and gives the space back.

A batch of 25 events keeps the write lock for some milliseconds; hundreds would make notifications wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, case, delete, func, select

from relay.clock import to_us
from relay.store import call_progress
from relay.store.sqlite.database import Database
from relay.store.tables import attempts, deliveries, events

_PAGE = 500
_BATCH = 25
_PAGES_GIVEN_BACK = 64  # of the file, in one transaction
_PAGES_KEPT = 64  # free ones that the next events will need anyway
_TIMEOUT_S = 10.0

_waiting = deliveries.c.state.in_(("due", "sending"))
_dead = deliveries.c.state.in_(("dead", "held"))
_page = (
    select(
        events.c.seq, events.c.state, events.c.received_at,
        func.coalesce(func.max(deliveries.c.delivered_at), 0), func.coalesce(func.max(deliveries.c.tried_at), 0),
        func.coalesce(func.sum(case((_waiting, 1), else_=0)), 0), func.coalesce(func.sum(case((_dead, 1), else_=0)), 0),
    )
    .join(deliveries, deliveries.c.event_seq == events.c.seq, isouter=True)
    .where(events.c.seq > bindparam("after"))
    .group_by(events.c.seq)
    .order_by(events.c.seq)
    .limit(_PAGE)
)  # fmt: skip


def prune(
    database: Database, delivered_before: datetime, dead_before: datetime, should_stop: Callable[[], bool]
) -> int:
    """How many events were deleted. `breathe` is called between batches; True: that is enough for now.

    What waits is never deleted. What an operator should look at goes when nothing has happened to it since
    `dead_before`, all else when nothing has since `delivered_before`.
    """
    deleted = 0
    for seqs in _outdated(database, to_us(delivered_before), to_us(dead_before)):
        for start in range(0, len(seqs), _BATCH):
            with database.write(_TIMEOUT_S) as connection:
                deleted += _delete(connection, seqs[start : start + _BATCH])
            if should_stop():
                return deleted
    _give_back(database, should_stop)
    return deleted


def _outdated(database: Database, delivered_before: int, dead_before: int) -> Iterator[list[int]]:
    """By page, in the order of acceptance, up to where everything is younger."""
    after, horizon = 0, max(delivered_before, dead_before)
    while True:
        with database.read() as connection:
            found = connection.execute(_page, {"after": after}).all()
        chosen = []
        for seq, state, received_at, delivered_at, tried_at, waiting, dead in found:
            before = dead_before if dead or state == "quarantined" else delivered_before
            if not waiting and max(received_at, delivered_at, tried_at) < before:
                chosen.append(seq)
        if chosen:
            yield chosen
        if len(found) < _PAGE or found[-1][2] >= horizon:
            return
        after = found[-1][0]


def _delete(connection: Connection, seqs: Sequence[int]) -> int:
    """Those of them that still do not wait: a replay may have come between."""
    of_events = select(deliveries.c.event_seq).where(deliveries.c.event_seq.in_(seqs), _waiting)
    waiting = set(connection.execute(of_events).scalars())
    going = [seq for seq in seqs if seq not in waiting]
    of_call = func.coalesce(events.c.session, events.c.id)
    found = connection.execute(select(events.c.source, of_call).where(events.c.seq.in_(going)))
    their_calls = [(source, session) for source, session in found]
    their_deliveries = select(deliveries.c.seq).where(deliveries.c.event_seq.in_(going))
    connection.execute(delete(attempts).where(attempts.c.delivery_seq.in_(their_deliveries)))
    connection.execute(delete(deliveries).where(deliveries.c.event_seq.in_(going)))
    deleted = int(connection.execute(delete(events).where(events.c.seq.in_(going))).rowcount)
    call_progress.forget(connection, their_calls)
    return deleted


def _give_back(database: Database, should_stop: Callable[[], bool]) -> None:
    """Free pages, to the file system."""
    while True:
        with database.write(_TIMEOUT_S) as connection:
            free = int(connection.exec_driver_sql("PRAGMA freelist_count").scalar_one())
            if free <= _PAGES_KEPT:
                return
            # on the driver: each row is a step of its work, and for SQLAlchemy a pragma without columns has no rows
            connection.connection.cursor().execute(f"PRAGMA incremental_vacuum({_PAGES_GIVEN_BACK})").fetchall()
        if should_stop():
            return
