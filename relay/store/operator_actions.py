"""What the operator changes: replay, discard, and letting a quarantined event in.

Each is a conditional update on the state that was seen, so that a running lane is never overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from sqlalchemy import Connection, bindparam, update

from relay.clock import to_us
from relay.models import CallEvent, Delivery, Event
from relay.store import call_order, inbox, rows
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
_admit = Hot(
    update(events)
    .where(events.c.seq == bindparam("row"), events.c.state == "quarantined")
    .values(
        state="accepted", kind=bindparam("kind_"), session=bindparam("session_"), call=bindparam("call_"),
        phones=bindparam("phones_"), edited=bindparam("edited_"), notes=bindparam("notes_"), problem=bindparam("none"),
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


class Reacceptance(Struct, frozen=True, kw_only=True):
    """A quarantined event that can be read now, perhaps because the operator mended it."""

    event: Event
    call: CallEvent
    edited: bytes | None
    notes: tuple[str, ...]
    routes: tuple[inbox.Route, ...]
    now: datetime


def replay(connection: Connection, batch: Sequence[Replay]) -> list[bool]:
    """Back to `due`, attempts and age counted anew. False: its state was no longer the one that was seen."""
    return [_replay_one(connection, wanted) for wanted in batch]


def _replay_one(connection: Connection, wanted: Replay) -> bool:
    delivery = wanted.delivery
    changed = _replay.run(
        connection, row=delivery.seq, seen=delivery.state, due=to_us(wanted.due_at), now=to_us(wanted.now),
        zero=0, alone=call_order.line_of(delivery).session is None,
    )  # fmt: skip
    _let_pass(connection, wanted)
    return bool(changed)


def discard(connection: Connection, batch: Sequence[Discard]) -> list[bool]:
    """Out of the queue for good; the later ones of its call may pass."""
    results = []
    for wanted in batch:
        results.append(bool(_discard.run(connection, row=wanted.delivery.seq, seen=wanted.delivery.state)))
        _let_pass(connection, wanted)
    return results


def _let_pass(connection: Connection, changed: Replay | Discard) -> None:
    """Whoever is the first of the call now, when the call is free."""
    line = call_order.line_of(changed.delivery)
    call_order.settle(connection, [line], call_order.free_at(connection, {line: changed.call_gap}, to_us(changed.now)))


def discard_events(connection: Connection, batch: Sequence[Event]) -> list[bool]:
    return [bool(_discard_event.run(connection, row=event.seq)) for event in batch]


def admit(connection: Connection, batch: Sequence[Reacceptance]) -> list[bool]:
    """Accepts quarantined events, with one delivery per consignee. False: somebody was quicker."""
    return [_admit_one(connection, wanted) for wanted in batch]


def _admit_one(connection: Connection, wanted: Reacceptance) -> bool:
    event, call = wanted.event, wanted.call
    changed = _admit.run(
        connection, row=event.seq, kind_=call.kind, session_=call.session_id, call_=rows.call_json(call),
        phones_=rows.phones(call), edited_=wanted.edited, notes_=json.dumps(wanted.notes, ensure_ascii=False),
        none=None,
    )  # fmt: skip
    if not changed:
        return False
    inbox.deliver(connection, wanted.routes, event.seq, event.id, event.source, call, wanted.now)
    call_order.settle(connection, [route.line(event.source, call) for route in wanted.routes])
    return True
