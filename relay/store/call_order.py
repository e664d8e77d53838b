"""Whose turn it is within a call: of the deliveries of one call to one target, the first by the event's seq.

`turn` is kept in the row, so that the search for the next due delivery never wades through those that must wait.
A delivery without a session, or to a target without order, always has its turn.

Some targets need time between two deliveries of one call (`call_gap`). It stands in `due_at` of the one whose turn
it is: so it holds whoever delivers, and moves along when the clock steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, literal_column, select

from relay.clock import span_us
from relay.models import Delivery
from relay.store.statement import Hot, HotIn, HotUpdate
from relay.store.tables import UNFINISHED, deliveries, events

_lines = HotIn(
    select(deliveries.c.session, deliveries.c.seq, deliveries.c.state, deliveries.c.turn, deliveries.c.due_at)
    .where(
        deliveries.c.target == bindparam("target"),
        deliveries.c.source == bindparam("source"),
        deliveries.c.session.in_(bindparam("among", expanding=True)),
        deliveries.c.ordered,
        UNFINISHED,
    )
    .order_by(deliveries.c.event_seq)
)
_give_turn = HotUpdate(deliveries, key="seq", also=(), values=("turn", "due_at"), where="deliveries.state = 'due'")
_RECENT = 20  # events of a call: more are only in the "call" of a template whose session is a constant
_sessions = func.json_each(bindparam("sessions")).table_valued("value")
_recent = (
    select(events.c.seq)
    .where(events.c.source == bindparam("source"), events.c.session == _sessions.c.value)
    .order_by(events.c.seq.desc())
    .limit(literal_column(str(_RECENT)))
    .correlate(_sessions)
)
# `due_at` of what has ended is when its last attempt ended; of what waits for another try it lies ahead
_last_due = (
    select(func.max(deliveries.c.due_at))
    .where(
        deliveries.c.event_seq.in_(_recent),
        deliveries.c.target == bindparam("target"),
        deliveries.c.attempts > literal_column("0"),
    )
    .correlate(_sessions)
)
_last_sent = Hot(select(_sessions.c.value, _last_due.scalar_subquery()))


class OrderKey(NamedTuple):
    """The deliveries of one call to one target. Without a session, or without order, nobody stands in line."""

    target: str
    source: str
    session: str | None


def order_key(delivery: Delivery) -> OrderKey:
    return OrderKey(delivery.target, delivery.source, delivery.session if delivery.ordered else None)


def waiting(connection: Connection, lines: Iterable[OrderKey]) -> set[OrderKey]:
    """Those of the lines in which something still waits, or is being sent."""
    return {
        OrderKey(target, source, session)
        for (target, source), among in _by_target(lines).items()
        for session, *_ in _lines.among(connection, sorted(among), target=target, source=source)
    }


def free_at(connection: Connection, gaps: Mapping[OrderKey, timedelta], now: int) -> dict[OrderKey, int]:
    """When the next delivery of a line may go out, where something of it was sent. Without a gap a line is always free.

    What will be tried again, or was tried by a clock that ran ahead, counts as sent just now.
    """
    return {
        line: min(at, now) + span_us(gaps[line])
        for (target, source), among in _by_target(line for line, gap in gaps.items() if gap).items()
        for session, at in _last_sent.rows(connection, sessions=json.dumps([*among]), target=target, source=source)
        for line in (OrderKey(target, source, session),)
        if at is not None
    }


def promote_next(
    connection: Connection, lines: Iterable[OrderKey], free_at: Mapping[OrderKey, int] = MappingProxyType({})
) -> None:
    """In each line gives the turn to the first that is due; to none while one is being sent.

    Who gets it now does not go out before the line is free.
    """
    changed: list[dict[str, Any]] = []
    for (target, source), among in _by_target(lines).items():
        passed: set[str] = set()  # calls whose turn has been given
        waiting = _lines.among(connection, sorted(among), target=target, source=source)
        busy = {session for session, _, state, *_ in waiting if state == "sending"}
        for session, seq, state, has_turn, due_at in waiting:
            if state != "due":
                continue
            due_now = session not in busy and session not in passed
            passed.add(session)
            if bool(has_turn) != due_now:
                earliest = free_at.get(OrderKey(target, source, session), due_at) if due_now else due_at
                changed.append({"seq": seq, "turn": due_now, "due_at": max(due_at, earliest)})
    if changed:
        _give_turn.run(connection, changed)


def _by_target(lines: Iterable[OrderKey]) -> dict[tuple[str, str], set[str]]:
    """The sessions by target and source, of those that stand in line at all."""
    found: dict[tuple[str, str], set[str]] = {}
    for line in lines:
        if line.session is not None:
            found.setdefault((line.target, line.source), set()).add(line.session)
    return found
