"""Whose turn it is within a call: of the deliveries of one call to one target, the first by the event's seq.

`turn` is kept in the row, so that the search for the next due delivery never wades through those that must wait.
A delivery without a session has no call and always has its turn.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select, update

from relay.store.hot import Hot
from relay.store.schema import UNFINISHED, deliveries

_of_call = (
    (deliveries.c.target == bindparam("target"))
    & (deliveries.c.source == bindparam("source"))
    & (deliveries.c.session == bindparam("session"))
)
_line = Hot(
    select(deliveries.c.seq, deliveries.c.state, deliveries.c.turn)
    .where(_of_call, UNFINISHED)
    .order_by(deliveries.c.event_seq)
)
_set_turn = Hot(update(deliveries).where(deliveries.c.seq == bindparam("row")).values(turn=bindparam("turn_")))


def is_waiting(connection: Connection, target: str, source: str, session: str | None) -> bool:
    """Does anything of this call still wait for this target, or is being sent?"""
    if session is None:
        return False
    return bool(_line.rows(connection, target=target, source=source, session=session))


def settle(connection: Connection, target: str, source: str, session: str | None) -> None:
    """Gives the turn to the first that is due; to none while one is being sent."""
    if session is None:
        return
    line = _line.rows(connection, target=target, source=source, session=session)
    busy = any(state == "sending" for _, state, _ in line)
    first = next((seq for seq, state, _ in line if state == "due"), None) if not busy else None
    for seq, state, turn in line:
        if state == "due" and bool(turn) != (seq == first):
            _set_turn.run(connection, row=seq, turn_=seq == first)
