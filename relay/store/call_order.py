"""Whose turn it is within a call: of the deliveries of one call to one target, the first by the event's seq.

`turn` is kept in the row, so that the search for the next due delivery never wades through those that must wait.
A delivery without a session, or to a target without order, always has its turn.

Some targets need time between two deliveries of one call (`call_gap`). It stands in `due_at` of the one whose turn
it is: so it holds whoever delivers, and moves along when the clock steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection

from relay.clock import span_us
from relay.models import Delivery
from relay.store.statement import ManyRows, Row
from relay.store.tables import UNFINISHED, deliveries

_KEY = {name: deliveries.c[name] for name in ("target", "source", "session")}
# LEFT JOIN: every engine must begin with the few calls; one of which nothing is left has a row without `seq`
_unfinished = ManyRows(
    _KEY,
    f"""
    WITH call (target, source, session) AS (VALUES :rows)
    SELECT deliveries.target, deliveries.source, deliveries.session, seq, state, turn, due_at
    FROM call LEFT JOIN deliveries
      ON deliveries.target = call.target AND deliveries.source = call.source AND deliveries.session = call.session
      AND ordered AND {UNFINISHED}
    ORDER BY event_seq
    """,
)
_RECENT = 20  # events of a call: more are only in the "call" of a template whose session is a constant
# `due_at` of what has ended is when its last attempt ended; of what waits for another try it lies ahead
_last_sent = ManyRows(
    _KEY,
    f"""
    WITH call (target, source, session) AS (VALUES :rows)
    SELECT target, source, session, (
        SELECT max(due_at) FROM deliveries
        WHERE deliveries.target = call.target AND attempts > 0 AND event_seq IN (
            SELECT seq FROM events WHERE events.source = call.source AND events.session = call.session
            ORDER BY seq DESC LIMIT {_RECENT}
        )
    )
    FROM call
    """,
)
_set_turns = ManyRows(
    {name: deliveries.c[name] for name in ("seq", "turn", "due_at")},
    """
    WITH change (seq, turn, due_at) AS (VALUES :rows)
    UPDATE deliveries SET turn = change.turn, due_at = change.due_at FROM change
    WHERE deliveries.seq = change.seq AND deliveries.state = 'due'
    """,
)


class OrderKey(NamedTuple):
    """Names the deliveries that keep an order: those of one call to one target. Without a session there is none."""

    target: str
    source: str
    session: str | None


def order_key(delivery: Delivery) -> OrderKey:
    return OrderKey(delivery.target, delivery.source, delivery.session if delivery.ordered else None)


def waiting(connection: Connection, keys: Iterable[OrderKey]) -> set[OrderKey]:
    """Return those of the keys of which something still waits, or is being sent."""
    return {OrderKey(*row[:3]) for row in _unfinished_rows(connection, keys)}


def free_at(connection: Connection, gaps: Mapping[OrderKey, timedelta], now: int) -> dict[OrderKey, int]:
    """Return when the next delivery of a call may go out, where one was sent. Without a gap a call is always free.

    What will be tried again, or was tried by a clock that ran ahead, counts as sent just now.
    """
    last_sent = _last_sent.rows(connection, _rows(key for key, gap in gaps.items() if gap))
    sent_at = {OrderKey(*key): at for *key, at in last_sent if at is not None}
    return {key: min(at, now) + span_us(gaps[key]) for key, at in sent_at.items()}


def promote_next(
    connection: Connection, keys: Iterable[OrderKey], free_at: Mapping[OrderKey, int] = MappingProxyType({})
) -> None:
    """Give the turn in each call to the first that is due; to none while one is being sent.

    Who gets it now does not go out before the call is free.
    """
    changes: list[dict[str, Any]] = []
    passed: set[OrderKey] = set()  # calls whose turn has been given
    rows = [(OrderKey(*row[:3]), *row[3:]) for row in _unfinished_rows(connection, keys)]
    busy = {key for key, _, state, *_ in rows if state == "sending"}
    for key, seq, state, has_turn, due_at in rows:
        if state != "due":
            continue
        gets_turn = key not in busy and key not in passed
        passed.add(key)
        if bool(has_turn) != gets_turn:
            earliest = free_at.get(key, due_at) if gets_turn else due_at
            changes.append({"seq": seq, "turn": gets_turn, "due_at": max(due_at, earliest)})
    _set_turns.run(connection, changes)


def _unfinished_rows(connection: Connection, keys: Iterable[OrderKey]) -> list[Row]:
    """Return key, seq, state, turn and `due_at` of what waits, or is being sent, of these calls; in order."""
    return [row for row in _unfinished.rows(connection, _rows(keys)) if row[3] is not None]


def _rows(keys: Iterable[OrderKey]) -> list[dict[str, Any]]:
    return [key._asdict() for key in {key for key in keys if key.session is not None}]
