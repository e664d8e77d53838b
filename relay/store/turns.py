"""Whose turn it is within a call: of the deliveries of one call to one target, the first by the event's seq.

`turn` is kept in the row, so that the search for the next due delivery never wades through those that must wait.
A delivery without a session, or to a target without order, always has its turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from relay.events import Delivery
from relay.store.hot import HotIn
from relay.store.schema import UNFINISHED, deliveries

_lines = HotIn(
    select(deliveries.c.session, deliveries.c.seq, deliveries.c.state, deliveries.c.turn)
    .where(
        deliveries.c.target == bindparam("target"),
        deliveries.c.source == bindparam("source"),
        deliveries.c.session.in_(bindparam("among", expanding=True)),
        deliveries.c.ordered,
        UNFINISHED,
    )
    .order_by(deliveries.c.event_seq)
)
_give_turn = HotIn(
    update(deliveries).where(deliveries.c.seq.in_(bindparam("among", expanding=True))).values(turn=bindparam("turn_"))
)


class Line(NamedTuple):
    """The deliveries of one call to one target. Without a session, or without order, nobody stands in line."""

    target: str
    source: str
    session: str | None


def line_of(delivery: Delivery) -> Line:
    return Line(delivery.target, delivery.source, delivery.session if delivery.ordered else None)


def waiting(connection: Connection, lines: Iterable[Line]) -> set[Line]:
    """Those of the lines in which something still waits, or is being sent."""
    return {
        Line(target, source, session)
        for (target, source), among in _by_target(lines).items()
        for session, *_ in _lines.among(connection, sorted(among), target=target, source=source)
    }


def settle(connection: Connection, lines: Iterable[Line]) -> None:
    """In each line gives the turn to the first that is due; to none while one is being sent."""
    turn: dict[bool, list[int]] = {True: [], False: []}
    for (target, source), among in _by_target(lines).items():
        passed: set[str] = set()  # calls whose turn has been given
        waiting = _lines.among(connection, sorted(among), target=target, source=source)
        busy = {session for session, _, state, _ in waiting if state == "sending"}
        for session, seq, state, has_turn in waiting:
            if state != "due":
                continue
            due_now = session not in busy and session not in passed
            passed.add(session)
            if bool(has_turn) != due_now:
                turn[due_now].append(seq)
    for given, seqs in turn.items():
        if seqs:
            _give_turn.run_among(connection, seqs, turn_=given)


def _by_target(lines: Iterable[Line]) -> dict[tuple[str, str], set[str]]:
    """The sessions by target and source, of those that stand in line at all."""
    found: dict[tuple[str, str], set[str]] = {}
    for line in lines:
        if line.session is not None:
            found.setdefault((line.target, line.source), set()).add(line.session)
    return found
