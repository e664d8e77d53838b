"""Whose turn it is within a call: of the deliveries of one call to one target, the first by the event's seq.

`turn` is kept in the row, so that the search for the next due delivery never wades through those that must wait.
A delivery without a session, or to a target without order, always has its turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from relay.events import Delivery
from relay.store.hot import Hot, HotIn
from relay.store.schema import UNFINISHED, deliveries

_of_call = (
    (deliveries.c.target == bindparam("target"))
    & (deliveries.c.source == bindparam("source"))
    & (deliveries.c.session == bindparam("session"))
    & deliveries.c.ordered
)
_line = Hot(
    select(deliveries.c.seq, deliveries.c.state, deliveries.c.turn)
    .where(_of_call, UNFINISHED)
    .order_by(deliveries.c.event_seq)
)
_sessions = HotIn(
    select(deliveries.c.session)
    .where(
        deliveries.c.target == bindparam("target"),
        deliveries.c.source == bindparam("source"),
        deliveries.c.session.in_(bindparam("among", expanding=True)),
        deliveries.c.ordered,
        UNFINISHED,
    )
    .distinct()
)
_set_turn = Hot(update(deliveries).where(deliveries.c.seq == bindparam("row")).values(turn=bindparam("turn_")))


class Line(NamedTuple):
    """The deliveries of one call to one target. Without a session, or without order, nobody stands in line."""

    target: str
    source: str
    session: str | None


def line_of(delivery: Delivery) -> Line:
    return Line(delivery.target, delivery.source, delivery.session if delivery.ordered else None)


def waiting(connection: Connection, lines: Iterable[Line]) -> set[Line]:
    """Those of the lines in which something still waits, or is being sent."""
    sessions: dict[tuple[str, str], set[str]] = {}
    for line in lines:
        if line.session is not None:
            sessions.setdefault((line.target, line.source), set()).add(line.session)
    return {
        Line(target, source, session)
        for (target, source), among in sessions.items()
        for (session,) in _sessions.among(connection, sorted(among), target=target, source=source)
    }


def settle(connection: Connection, line: Line) -> None:
    """Gives the turn to the first that is due; to none while one is being sent."""
    if line.session is None:
        return
    waiting = _line.rows(connection, **line._asdict())
    busy = any(state == "sending" for _, state, _ in waiting)
    first = next((seq for seq, state, _ in waiting if state == "due"), None) if not busy else None
    for seq, state, turn in waiting:
        if state == "due" and bool(turn) != (seq == first):
            _set_turn.run(connection, row=seq, turn_=seq == first)
