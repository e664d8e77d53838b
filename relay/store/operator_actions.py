"""What the operator changes: replay, discard, another target, and letting a quarantined event in.

Each is a conditional update on the state that was seen, so that a running lane is never overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from sqlalchemy import Connection, bindparam, exists, select, update

from relay.clock import to_us
from relay.models import CallEvent, Delivery, Event
from relay.store import call_order, inbox, rows
from relay.store.sqlite.database import PATIENT_TIMEOUT_S, Database
from relay.store.statement import Hot
from relay.store.tables import deliveries, events

_replay = Hot(
    update(deliveries)
    .where(deliveries.c.seq == bindparam("row"), deliveries.c.state == bindparam("seen"))
    .values(
        state="due", attempts=bindparam("zero"), failures=bindparam("zero"), unclear=bindparam("zero"),
        due_at=bindparam("due"), aged_from=bindparam("now"), replayed=True, turn=bindparam("alone"),
    )
)  # fmt: skip
_discard = Hot(
    update(deliveries)
    .where(deliveries.c.seq == bindparam("row"), deliveries.c.state == bindparam("seen"))
    .values(state="discarded", turn=False)
)
_discard_event = Hot(
    update(events).where(events.c.seq == bindparam("row"), events.c.state == "quarantined").values(state="discarded")
)
_accept = Hot(
    update(events)
    .where(events.c.seq == bindparam("row"), events.c.state == "quarantined")
    .values(
        state="accepted", kind=bindparam("kind_"), session=bindparam("session_"), call=bindparam("call_"),
        phones=bindparam("phones_"), edited=bindparam("edited_"), notes=bindparam("notes_"), problem=bindparam("none"),
    )
)  # fmt: skip


_reroute = Hot(
    update(deliveries)
    .where(deliveries.c.seq == bindparam("row"), deliveries.c.state == bindparam("seen"))
    .values(
        target=bindparam("to"), ordered=bindparam("ordered_"), state="due", turn=bindparam("alone"),
        attempts=bindparam("zero"), failures=bindparam("zero"), unclear=bindparam("zero"), due_at=bindparam("now"),
        aged_from=bindparam("now"), replayed=True, reason=bindparam("none"), remote=bindparam("none"),
    )
)  # fmt: skip


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


class OperatorActions:
    """Each returns how many were changed; those whose state has changed meanwhile are not. Raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replay(self, batch: Sequence[Replay]) -> int:
        """Put back to `due`, attempts and age counted anew."""
        return self._database.write_in_chunks(_replay_all, batch)

    def discard(self, batch: Sequence[Discard]) -> int:
        """Take out of the queue for good; the later ones of their calls may pass."""
        return self._database.write_in_chunks(_discard_all, batch)

    def discard_events(self, batch: Sequence[Event]) -> int:
        """Give up quarantined events."""
        return self._database.write_in_chunks(_discard_events, batch)

    def reroute(self, batch: Sequence[Reroute]) -> int:
        """Move to another target; not those that it has already."""
        return self._database.write_in_chunks(_reroute_all, batch)

    def reaccept(self, wanted: Reacceptance) -> bool:
        """Accept a quarantined event, with one delivery per route. False: somebody was quicker."""
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            return _reaccept(connection, wanted)


def _replay_all(connection: Connection, batch: Sequence[Replay]) -> list[bool]:
    return [_replay_one(connection, wanted) for wanted in batch]


def _replay_one(connection: Connection, wanted: Replay) -> bool:
    delivery = wanted.delivery
    changed = _replay.run(
        connection, row=delivery.seq, seen=delivery.state, due=to_us(wanted.due_at), now=to_us(wanted.now),
        zero=0, alone=call_order.order_key(delivery).session is None,
    )  # fmt: skip
    _let_pass(connection, wanted)
    return bool(changed)


def _discard_all(connection: Connection, batch: Sequence[Discard]) -> list[bool]:
    results = []
    for wanted in batch:
        results.append(bool(_discard.run(connection, row=wanted.delivery.seq, seen=wanted.delivery.state)))
        _let_pass(connection, wanted)
    return results


def _let_pass(connection: Connection, changed: Replay | Discard) -> None:
    """Whoever is the first of the call now, when the call is free."""
    line = call_order.order_key(changed.delivery)
    call_order.promote_next(
        connection, [line], call_order.free_at(connection, {line: changed.call_gap}, to_us(changed.now))
    )


def _discard_events(connection: Connection, batch: Sequence[Event]) -> list[bool]:
    return [bool(_discard_event.run(connection, row=event.seq)) for event in batch]


def _reroute_all(connection: Connection, batch: Sequence[Reroute]) -> list[bool]:
    """False: its state has changed meanwhile, or the other target has this event already."""
    return [_reroute_one(connection, wanted) for wanted in batch]


def _reroute_one(connection: Connection, wanted: Reroute) -> bool:
    delivery = wanted.delivery
    theirs = exists().where(deliveries.c.event_seq == delivery.event_seq, deliveries.c.target == wanted.target)
    if connection.execute(select(theirs)).scalar():
        return False
    alone = not wanted.ordered or delivery.session is None
    rerouted = _reroute.run(
        connection, row=delivery.seq, seen=delivery.state, to=wanted.target, ordered_=wanted.ordered,
        now=to_us(wanted.now), alone=alone, zero=0, none=None,
    )  # fmt: skip
    there = call_order.OrderKey(wanted.target, delivery.source, delivery.session if wanted.ordered else None)
    free_at = call_order.free_at(connection, {there: wanted.call_gap}, to_us(wanted.now))
    call_order.promote_next(connection, [call_order.order_key(delivery), there], free_at)
    return bool(rerouted)


def _reaccept(connection: Connection, wanted: Reacceptance) -> bool:
    event, call = wanted.event, wanted.call
    changed = _accept.run(
        connection, row=event.seq, kind_=call.kind, session_=call.session_id, call_=rows.call_json(call),
        phones_=rows.phones(call), edited_=wanted.edited, notes_=json.dumps(wanted.notes, ensure_ascii=False),
        none=None,
    )  # fmt: skip
    if not changed:
        return False
    inbox.deliver(connection, wanted.routes, event.seq, event.id, event.source, call, wanted.now)
    call_order.promote_next(connection, [route.order_key(event.source, call) for route in wanted.routes])
    return True
