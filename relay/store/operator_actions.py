"""What the operator changes: replay, discard, another target, and letting a quarantined event in.

Each is a conditional update on the state that was seen, so that a running lane is never overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection

from relay.clock import from_us, to_us
from relay.models import CallEvent, Delivery, Event
from relay.store import call_order, inbox
from relay.store.call_order import OrderKey
from relay.store.engine import PATIENT_TIMEOUT_S, Item, Repository
from relay.store.statement import Statement
from relay.store.tables import EVENT

_replay = Statement(
    """
    UPDATE deliveries
    SET state = 'due', attempts = 0, failures = 0, unclear = 0, due_at = :due_at, aged_from = :now, replayed = TRUE,
        turn = :turn
    WHERE seq = :seq AND state = :seen
    """
)
_REPLAY = "replay:"
_begin = Statement("INSERT INTO heartbeats (name, at) VALUES (:name, :now) ON CONFLICT (name) DO NOTHING")
_begun_at = Statement("SELECT at FROM heartbeats WHERE name = :name")
_finish = Statement("DELETE FROM heartbeats WHERE name = :name")
_discard = Statement("UPDATE deliveries SET state = 'discarded', turn = FALSE WHERE seq = :seq AND state = :seen")
_discard_event = Statement("UPDATE events SET state = 'discarded' WHERE seq = :seq AND state = 'quarantined'")
_accept = Statement(
    """
    UPDATE events
    SET state = 'accepted', kind = :kind, session = :session, call = :call, phones = :phones, edited = :edited,
        notes = :notes, problem = NULL, began_at = :began_at
    WHERE seq = :seq AND state = 'quarantined'
    """
)
_reroute = Statement(  # a target has an event once
    """
    UPDATE deliveries
    SET target = :target, ordered = :ordered, state = 'due', turn = :turn, attempts = 0, failures = 0, unclear = 0,
        due_at = :now, aged_from = :now, replayed = TRUE, reason = NULL, remote = NULL
    WHERE seq = :seq AND state = :seen
      AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.event_seq = :event_seq AND d.target = :target)
    """
)


class Replay(Struct, frozen=True):
    delivery: Delivery
    due_at: datetime
    now: datetime
    call_gap: timedelta = timedelta(0)  #: between two deliveries of one call


class Discard(Struct, frozen=True):
    delivery: Delivery
    now: datetime
    call_gap: timedelta = timedelta(0)


class Reroute(Struct, frozen=True):
    """A delivery that goes to another target, as if it were new there."""

    delivery: Delivery
    target: str
    ordered: bool
    call_gap: timedelta
    now: datetime


class Reacceptance(Struct, frozen=True, kw_only=True):
    """A quarantined event that can be read now, perhaps because the operator mended it."""

    event: Event
    call: CallEvent
    edited: bytes | None
    notes: tuple[str, ...]
    routes: tuple[inbox.Route, ...]
    now: datetime
    adds_to: inbox.AddsTo | None = None


class OperatorActions(Repository):
    """Each returns how many were changed; those whose state has changed meanwhile are not. Raises StoreError."""

    def replay(self, batch: Sequence[Replay]) -> int:
        """Put back to `due`, attempts and age counted anew."""
        return self._database.write_in_chunks(partial(_each, _replay_one), batch)

    def begin_replay(self, name: str, now: datetime) -> None:
        """Note when the replay of this name began, and so what it has put back; one that was broken off has begun."""
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            _begin.run(connection, name=_REPLAY + name, now=to_us(now))

    def replay_begun_at(self, name: str) -> datetime | None:
        """Return when the replay of this name began that was broken off; None: none was."""
        row = self._database.first(_begun_at, name=_REPLAY + name)
        return None if row is None else from_us(row[0])

    def finish_replay(self, name: str) -> None:
        """Let the next replay of this name begin anew."""
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            _finish.run(connection, name=_REPLAY + name)

    def discard(self, batch: Sequence[Discard]) -> int:
        """Take out of the queue for good; the later ones of their calls may pass."""
        return self._database.write_in_chunks(partial(_each, _discard_one), batch)

    def discard_events(self, batch: Sequence[Event]) -> int:
        """Give up quarantined events."""
        return self._database.write_in_chunks(
            lambda connection, some: [bool(_discard_event.run(connection, seq=event.seq)) for event in some],
            batch,
        )

    def reroute(self, batch: Sequence[Reroute]) -> int:
        """Move to another target; not those that it has already."""
        return self._database.write_in_chunks(partial(_each, _reroute_one), batch)

    def reaccept(self, reacceptance: Reacceptance) -> bool:
        """Accept a quarantined event, with one delivery per route. False: somebody was quicker."""
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            return _reaccept(connection, reacceptance)


def _each(change: Callable[[Connection, Item], bool], connection: Connection, batch: Sequence[Item]) -> list[bool]:
    """Make a change of each; False: its state is no longer the one that was seen."""
    return [change(connection, one) for one in batch]


def _replay_one(connection: Connection, replay: Replay) -> bool:
    delivery, key = replay.delivery, call_order.order_key(replay.delivery)
    due_at, now = to_us(replay.due_at), to_us(replay.now)
    replayed = _replay.run(
        connection, seq=delivery.seq, seen=delivery.state, due_at=due_at, now=now, turn=key.session is None
    )
    _promote_next(connection, {key: replay.call_gap}, replay.now)
    return bool(replayed)


def _discard_one(connection: Connection, discard: Discard) -> bool:
    discarded = _discard.run(connection, seq=discard.delivery.seq, seen=discard.delivery.state)
    _promote_next(connection, {call_order.order_key(discard.delivery): discard.call_gap}, discard.now)
    return bool(discarded)


def _promote_next(connection: Connection, gaps: Mapping[OrderKey, timedelta], now: datetime) -> None:
    """Let pass whoever is the first of these calls now, when its call is free."""
    call_order.promote_next(connection, gaps, call_order.free_at(connection, gaps, to_us(now)))


def _reroute_one(connection: Connection, reroute: Reroute) -> bool:
    """False also where the other target has this event already."""
    delivery = reroute.delivery
    here = call_order.order_key(delivery)
    there = call_order.order_key(replace(delivery, target=reroute.target, ordered=reroute.ordered))
    rerouted = _reroute.run(
        connection,
        seq=delivery.seq,
        seen=delivery.state,
        event_seq=delivery.event_seq,
        target=reroute.target,
        ordered=reroute.ordered,
        turn=there.session is None,
        now=to_us(reroute.now),
    )
    if rerouted:
        _promote_next(connection, {here: timedelta(0), there: reroute.call_gap}, reroute.now)
    return bool(rerouted)


def _reaccept(connection: Connection, reacceptance: Reacceptance) -> bool:
    call, routes, notes = reacceptance.call, reacceptance.routes, reacceptance.notes
    if inbox.came_late(connection, reacceptance.event.source, call.session_id, reacceptance.adds_to):
        routes, notes = (), (*notes, inbox.CAME_LATE)
    event = replace(
        reacceptance.event, kind=call.kind, session=call.session_id, call=call, edited=reacceptance.edited, notes=notes
    )
    began_us = inbox.began_us(call, event.received_at)
    if not _accept.run(connection, phones=inbox.phones(call), began_at=began_us, **EVENT.row(event)):
        return False
    inbox.deliver(connection, event, call, routes, reacceptance.now)
    keys = [OrderKey(route.target, event.source, call.session_id if route.ordered else None) for route in routes]
    call_order.promote_next(connection, keys)
    return True
