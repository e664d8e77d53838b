"""Stores notifications: recognises repeats, gives `seq`, makes one delivery per target. All in one commit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, bindparam, func, insert, select, update

from relay.events import CallEvent
from relay.ids import new_id
from relay.store import rows, schema, turns
from relay.store.hot import Hot
from relay.times import from_us, to_us

_REPEATS_SHOWN = 20

_last_seq = Hot(select(func.coalesce(func.max(schema.events.c.seq), 0)))
_by_digest = Hot(
    select(
        schema.events.c.seq, schema.events.c.id, schema.events.c.received_at,
        schema.events.c.repeated, schema.events.c.repeats,
    ).where(schema.events.c.digest == bindparam("digest"))
    .order_by(schema.events.c.seq.desc()).limit(bindparam("one"))
)  # fmt: skip
_count_repeat = Hot(
    update(schema.events)
    .where(schema.events.c.seq == bindparam("event_seq"))
    .values(repeated=bindparam("repeated_"), repeats=bindparam("repeats_"))
)
_insert_event = Hot(insert(schema.events))
_insert_delivery = Hot(
    insert(schema.deliveries).values({c.name: bindparam(c.name) for c in schema.deliveries.c if c.name != "seq"})
)


class Consignee(Struct, frozen=True):
    """A target that an event goes to."""

    target: str
    ordered: bool  #: does the order within a call hold for it

    def line(self, source: str, call: CallEvent) -> turns.Line:
        return turns.Line(self.target, source, call.session_id if self.ordered else None)


class NewEvent(Struct, frozen=True, kw_only=True):
    """A notification that is to be stored. `call` is None when it is quarantined."""

    source: str
    endpoint: str
    raw: bytes
    is_query: bool
    zone: str
    digest: bytes
    call: CallEvent | None
    problem: str | None
    notes: tuple[str, ...]
    received_at: datetime
    duplicate_window: timedelta
    consignees: tuple[Consignee, ...]


class Stored(Struct, frozen=True):
    event: str
    duplicate: bool


def store(connection: Connection, batch: Sequence[NewEvent]) -> list[Stored]:
    """Stores each, or counts it as a repeat of the one it repeats; in the order of the batch."""
    found = _last_seq.first(connection)
    seq = int(found[0]) if found else 0
    results: list[Stored] = []
    for new in batch:
        first = _repeated(connection, new)
        if first is not None:
            results.append(Stored(first, True))
            continue
        seq += 1
        results.append(Stored(_insert(connection, new, seq), False))
    return results


def _repeated(connection: Connection, new: NewEvent) -> str | None:
    """The id of the event that this one repeats, if it does; the repeat is then counted on it."""
    if not new.duplicate_window:
        return None
    found = _by_digest.first(connection, digest=new.digest, one=1)
    if found is None:
        return None
    seq, event_id, received_at, repeated, repeats = found
    if new.received_at - from_us(received_at) > new.duplicate_window:
        return None
    times = [*json.loads(repeats), to_us(new.received_at)][-_REPEATS_SHOWN:]
    _count_repeat.run(connection, event_seq=seq, repeated_=repeated + 1, repeats_=json.dumps(times))
    return str(event_id)


def _insert(connection: Connection, new: NewEvent, seq: int) -> str:
    event_id, call = new_id(new.received_at), new.call
    _insert_event.run(
        connection, seq=seq, id=event_id, source=new.source, endpoint=new.endpoint,
        kind=call.kind if call else None, state="accepted" if call else "quarantined",
        session=call.session_id if call else None, received_at=to_us(new.received_at), raw=new.raw, edited=None,
        is_query=new.is_query, zone=new.zone, call=rows.call_json(call) if call else None,
        phones=rows.phones(call) if call else None, problem=new.problem,
        notes=json.dumps(new.notes, ensure_ascii=False), digest=new.digest, repeated=0, repeats="[]",
    )  # fmt: skip
    if call is not None:
        deliver(connection, new.consignees, seq, event_id, new.source, call, new.received_at)
    return event_id


def deliver(
    connection: Connection, consignees: Sequence[Consignee], event_seq: int, event_id: str,
    source: str, call: CallEvent, now: datetime,
) -> None:  # fmt: skip
    """One delivery for each consignee, behind what still waits of the same call."""
    at = to_us(now)
    for consignee in consignees:
        row: dict[str, Any] = {
            "id": new_id(now), "event_seq": event_seq, "event": event_id, "target": consignee.target,
            "kind": call.kind, "source": source, "session": call.session_id, "ordered": consignee.ordered,
            "state": "due", "turn": True, "epoch": 0, "attempts": 0, "failures": 0, "unclear": 0, "due_at": at,
            "aged_from": at, "replayed": False, "tried_at": None, "delivered_at": None, "reason": None,
            "remote": None,
        }  # fmt: skip
        row["turn"] = not turns.is_waiting(connection, consignee.line(source, call))
        _insert_delivery.run(connection, **row)
