"""Stores notifications: recognises repeats, gives `seq`, makes one delivery per target. All in one commit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, bindparam, func, select, update

from relay.events import CallEvent
from relay.ids import new_id
from relay.store import rows as values
from relay.store import turns
from relay.store.hot import Hot, HotIn, HotInsert
from relay.store.schema import deliveries, events
from relay.times import from_us, to_us

_REPEATS_SHOWN = 20

_last_seq = Hot(select(func.coalesce(func.max(events.c.seq), 0)))
_alike = HotIn(
    select(
        events.c.digest, events.c.source, events.c.endpoint, events.c.raw, events.c.seq, events.c.id,
        events.c.received_at, events.c.repeated, events.c.repeats,
    )
    .where(events.c.digest.in_(bindparam("among", expanding=True)))
    .order_by(events.c.seq)
)  # fmt: skip
_count_repeat = Hot(
    update(events)
    .where(events.c.seq == bindparam("event_seq"))
    .values(repeated=bindparam("repeated_"), repeats=bindparam("repeats_"))
)
_insert_events = HotInsert(events)
_insert_deliveries = HotInsert(deliveries, without=("seq",))


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
    digest: int  #: 64 bits of a hash of source, endpoint and body
    call: CallEvent | None
    problem: str | None
    notes: tuple[str, ...]
    received_at: datetime
    duplicate_window: timedelta
    consignees: tuple[Consignee, ...]


class Stored(Struct, frozen=True):
    event: str
    duplicate: bool


class _First:
    """An event that others may repeat, stored before or in this very batch."""

    def __init__(self, seq: int, event_id: str, received_at: datetime, repeats: list[int], repeated: int) -> None:
        self.seq, self.id, self.received_at = seq, event_id, received_at
        self.repeats, self.repeated, self.counted = repeats, repeated, False

    def count(self, at: datetime) -> None:
        self.repeats = [*self.repeats, to_us(at)][-_REPEATS_SHOWN:]
        self.repeated, self.counted = self.repeated + 1, True


_Key = tuple[str, str, bytes]


def store(connection: Connection, batch: Sequence[NewEvent]) -> list[Stored]:
    """Stores each, or counts it as a repeat of the one it repeats; in the order of the batch."""
    [(seq,)] = _last_seq.rows(connection)
    known = _known(connection, batch)
    rows: list[dict[str, Any]] = []
    results: list[Stored] = []
    fresh: list[tuple[NewEvent, int, str]] = []
    for new in batch:
        first = known.get((new.source, new.endpoint, new.raw))
        if first is not None and _repeats(new, first):
            first.count(new.received_at)
            results.append(Stored(first.id, True))
            continue
        seq += 1
        event_id = new_id(new.received_at)
        known[new.source, new.endpoint, new.raw] = _First(seq, event_id, new.received_at, [], 0)
        rows.append(_row(new, seq, event_id))
        fresh.append((new, seq, event_id))
        results.append(Stored(event_id, False))
    _insert_events.run(connection, rows)
    _deliver_all(connection, fresh)
    for first in known.values():
        if first.counted:
            repeats = json.dumps(first.repeats)
            _count_repeat.run(connection, event_seq=first.seq, repeated_=first.repeated, repeats_=repeats)
    return results


def _known(connection: Connection, batch: Sequence[NewEvent]) -> dict[_Key, _First]:
    """The latest event of each body in the batch."""
    digests = [new.digest for new in batch if new.duplicate_window]
    if not digests:
        return {}
    return {
        (source, endpoint, raw): _First(seq, event_id, from_us(received_at), json.loads(repeats), repeated)
        for _, source, endpoint, raw, seq, event_id, received_at, repeated, repeats in _alike.among(connection, digests)
    }


def _repeats(new: NewEvent, first: _First) -> bool:
    return bool(new.duplicate_window) and new.received_at - first.received_at <= new.duplicate_window


def _row(new: NewEvent, seq: int, event_id: str) -> dict[str, Any]:
    call = new.call
    return {
        "seq": seq, "id": event_id, "source": new.source, "endpoint": new.endpoint,
        "kind": call.kind if call else None, "state": "accepted" if call else "quarantined",
        "session": call.session_id if call else None, "received_at": to_us(new.received_at), "raw": new.raw,
        "edited": None, "is_query": new.is_query, "zone": new.zone, "call": values.call_json(call) if call else None,
        "phones": values.phones(call) if call else None, "problem": new.problem,
        "notes": json.dumps(new.notes, ensure_ascii=False) if new.notes else "[]", "digest": new.digest,
        "repeated": 0, "repeats": "[]",
    }  # fmt: skip


def _deliver_all(connection: Connection, fresh: Sequence[tuple[NewEvent, int, str]]) -> None:
    made = [
        _delivery(consignee, seq, event_id, new.source, new.call, new.received_at)
        for new, seq, event_id in fresh
        if new.call is not None
        for consignee in new.consignees
    ]
    _insert_behind(connection, made)


def deliver(
    connection: Connection, consignees: Sequence[Consignee], event_seq: int, event_id: str,
    source: str, call: CallEvent, now: datetime,
) -> None:  # fmt: skip
    """One delivery for each consignee, behind what still waits of the same call."""
    made = [_delivery(consignee, event_seq, event_id, source, call, now) for consignee in consignees]
    _insert_behind(connection, made)


def _insert_behind(connection: Connection, made: list[dict[str, Any]]) -> None:
    lines = [turns.Line(row["target"], row["source"], row["session"] if row["ordered"] else None) for row in made]
    waiting = turns.waiting(connection, lines)
    for row, line in zip(made, lines, strict=True):
        row["turn"] = line not in waiting
        if line.session is not None:
            waiting.add(line)
    _insert_deliveries.run(connection, made)


def _delivery(
    consignee: Consignee, event_seq: int, event_id: str, source: str, call: CallEvent, now: datetime
) -> dict[str, Any]:
    at = to_us(now)
    return {
        "id": new_id(now), "event_seq": event_seq, "event": event_id, "target": consignee.target, "kind": call.kind,
        "source": source, "session": call.session_id, "ordered": consignee.ordered, "state": "due", "turn": True,
        "epoch": 0, "attempts": 0, "failures": 0, "unclear": 0, "due_at": at, "aged_from": at, "replayed": False,
        "tried_at": None, "delivered_at": None, "reason": None, "remote": None,
    }  # fmt: skip
