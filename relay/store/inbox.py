"""Stores notifications: recognises repeats, gives `seq`, makes one delivery per target. All in one commit.

What can be made before the commit is made before it: while it runs, everybody else waits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, func, literal_column, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from relay.clock import EPOCH, from_us, new_id, to_us
from relay.models import CallEvent, ClaimedDelivery, Delivery, Event
from relay.store import call_order
from relay.store import rows as values
from relay.store.group_commit import GroupCommit
from relay.store.sqlite.database import Database
from relay.store.statement import Hot, HotIn, HotInsert
from relay.store.tables import deliveries, events, refusals, targets

_LINGER_S = 0.003  # that a commit waits for others under load
_REPEATS_SHOWN = 20
_HOUR = timedelta(hours=1)
_REJECTIONS_KEPT = timedelta(days=8)

_last_seqs = Hot(
    select(
        select(func.coalesce(func.max(events.c.seq), literal_column("0"))).scalar_subquery(),
        select(func.coalesce(func.max(deliveries.c.seq), literal_column("0"))).scalar_subquery(),
    )
)
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
_epochs = HotIn(select(targets.c.name, targets.c.epoch).where(targets.c.name.in_(bindparam("among", expanding=True))))
_insert_events = HotInsert(events)
_insert_deliveries = HotInsert(deliveries)


class Route(Struct, frozen=True):
    """A target that an event goes to."""

    target: str
    ordered: bool  #: does the order within a call hold for it
    epoch: int | None = None  #: of its lane, when that has a free hand: claim the delivery for it in the same commit
    call_gap: timedelta = timedelta(0)  #: between two deliveries of one call

    def line(self, source: str, call: CallEvent) -> call_order.Line:
        return call_order.Line(self.target, source, call.session_id if self.ordered else None)


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
    routes: tuple[Route, ...]


class InsertResult(Struct, frozen=True):
    event: str
    duplicate: bool
    jobs: tuple[ClaimedDelivery, ...] = ()  #: those that were claimed at once for a lane that has a free hand


class Inbox:
    """Takes in notifications, and counts those that were rejected. Raises StoreError."""

    def __init__(self, database: Database, commits: GroupCommit) -> None:
        self._database, self._commits = database, commits

    def add(self, new: NewEvent) -> InsertResult:
        """Store a notification; on disk when it returns. Raises StoreBusy when that was not confirmed within 2 s."""
        prepared = PendingInsert(new)
        self._commits.run(_store, prepared, linger_s=_LINGER_S)
        return prepared.stored()

    def stalled_s(self) -> float:
        """For how long the commit that is under way has not ended; 0 when none is."""
        return self._commits.stalled_s()

    def count_rejections(self, counts: Mapping[tuple[str, int], int], now: datetime) -> None:
        """Add to what was rejected, by source, status and hour."""
        hour = to_us(EPOCH + (now - EPOCH) // _HOUR * _HOUR)
        with self._database.write() as connection:
            for (source, status), count in counts.items():
                statement = upsert(refusals).values(source=source, status=status, hour=hour, refused=count)
                connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=["source", "status", "hour"], set_={"refused": refusals.c.refused + count}
                    )
                )
            connection.execute(delete(refusals).where(refusals.c.hour < to_us(now - _REJECTIONS_KEPT)))

    def rejected_since(self, sources: Iterable[str], since: datetime) -> dict[str, dict[str, int]]:
        """Return by source how many were rejected, by status (as text, as JSON has it)."""
        counts: dict[str, dict[str, int]] = {source: {} for source in sources}
        statement = (
            select(refusals.c.source, refusals.c.status, func.sum(refusals.c.refused))
            .where(refusals.c.hour >= to_us(since - _HOUR))
            .group_by(refusals.c.source, refusals.c.status)
        )
        with self._database.read() as connection:
            for source, status, count in connection.execute(statement):
                counts.setdefault(source, {})[str(status)] = int(count)
        return counts


class PendingInsert:
    """A notification with its rows, as far as they can be made before the commit."""

    def __init__(self, new: NewEvent) -> None:
        self.new, self.id = new, new_id(new.received_at)
        self.key = (new.source, new.endpoint, new.raw)
        self.row = _row(new, self.id)
        self.deliveries = [] if new.call is None else _deliveries(new.routes, new.call, new.source, new.received_at)
        self.seq = 0
        self.first: Original | None = None  # the event that it repeats

    def stored(self) -> InsertResult:
        """What became of it, after the commit."""
        if self.first is not None:
            return InsertResult(self.first.id, True)
        taken = [row for row in self.deliveries if row["state"] == "sending"]
        return InsertResult(self.id, False, tuple(self._job(row) for row in taken))

    def _job(self, row: dict[str, Any]) -> ClaimedDelivery:
        new = self.new
        event = Event(
            seq=self.seq, id=self.id, source=new.source, endpoint=new.endpoint, kind=row["kind"], state="accepted",
            session=row["session"], received_at=new.received_at, raw=new.raw, edited=None, query=new.is_query,
            zone=new.zone, call=new.call, problem=None, notes=new.notes, repeats=(), repeated=0,
        )  # fmt: skip
        delivery = Delivery(
            seq=row["seq"], id=row["id"], event_seq=self.seq, event=self.id, target=row["target"], kind=row["kind"],
            source=new.source, session=row["session"], ordered=row["ordered"], state="due", attempts=0, failures=0,
            unclear=0, due_at=new.received_at, aged_from=new.received_at, replayed=False, tried_at=None,
            delivered_at=None, reason=None, remote=None,
        )  # fmt: skip
        return ClaimedDelivery(delivery, event, row["epoch"])


class Original:
    """An event that others may repeat, stored before or in this very batch."""

    def __init__(self, seq: int, event_id: str, received_at: datetime, repeats: list[int], repeated: int) -> None:
        self.seq, self.id, self.received_at = seq, event_id, received_at
        self.repeats, self.repeated, self.counted = repeats, repeated, False

    def count(self, at: datetime) -> None:
        self.repeats = [*self.repeats, to_us(at)][-_REPEATS_SHOWN:]
        self.repeated, self.counted = self.repeated + 1, True


_Key = tuple[str, str, bytes]


def _store(connection: Connection, batch: Sequence[PendingInsert]) -> list[None]:
    """Stores each, or counts it as a repeat of the one it repeats; in the order of the batch."""
    [(seq, delivery_seq)] = _last_seqs.rows(connection)
    known = _known(connection, batch)
    fresh: list[PendingInsert] = []
    for one in batch:
        first = known.get(one.key)
        if first is not None and _repeats(one.new, first):
            first.count(one.new.received_at)
            one.first = first
            continue
        seq += 1
        one.seq, one.first = seq, None
        one.row["seq"] = seq
        for row in one.deliveries:
            row["event_seq"], row["event"] = seq, one.id
        known[one.key] = Original(seq, one.id, one.new.received_at, [], 0)
        fresh.append(one)
    _insert_events.run(connection, [one.row for one in fresh])
    _insert_behind(connection, [row for one in fresh for row in one.deliveries], delivery_seq)
    for first in known.values():
        if first.counted:
            repeats = json.dumps(first.repeats)
            _count_repeat.run(connection, event_seq=first.seq, repeated_=first.repeated, repeats_=repeats)
    return [None] * len(batch)


def _known(connection: Connection, batch: Sequence[PendingInsert]) -> dict[_Key, Original]:
    """The latest event of each body in the batch."""
    digests = [one.new.digest for one in batch if one.new.duplicate_window]
    if not digests:
        return {}
    return {
        (source, endpoint, raw): Original(seq, event_id, from_us(received_at), json.loads(repeats), repeated)
        for _, source, endpoint, raw, seq, event_id, received_at, repeated, repeats in _alike.among(connection, digests)
    }


def _repeats(new: NewEvent, first: Original) -> bool:
    """Not of an event that seems to come long after it: that one was taken by a clock that was ahead."""
    return bool(new.duplicate_window) and abs(new.received_at - first.received_at) <= new.duplicate_window


def _row(new: NewEvent, event_id: str) -> dict[str, Any]:
    call = new.call
    return {
        "id": event_id, "source": new.source, "endpoint": new.endpoint,
        "kind": call.kind if call else None, "state": "accepted" if call else "quarantined",
        "session": call.session_id if call else None, "received_at": to_us(new.received_at), "raw": new.raw,
        "edited": None, "is_query": new.is_query, "zone": new.zone, "call": values.call_json(call) if call else None,
        "phones": values.phones(call) if call else None, "problem": new.problem,
        "notes": json.dumps(new.notes, ensure_ascii=False) if new.notes else "[]", "digest": new.digest,
        "repeated": 0, "repeats": "[]",
    }  # fmt: skip


def deliver(
    connection: Connection, routes: Sequence[Route], event_seq: int, event_id: str,
    source: str, call: CallEvent, now: datetime,
) -> None:  # fmt: skip
    """One delivery for each consignee, behind what still waits of the same call."""
    made = _deliveries(routes, call, source, now)
    for row in made:
        row["event_seq"], row["event"] = event_seq, event_id
    [(_, delivery_seq)] = _last_seqs.rows(connection)
    _insert_behind(connection, made, delivery_seq)


def _insert_behind(connection: Connection, made: list[dict[str, Any]], delivery_seq: int) -> None:
    lines = [call_order.Line(row["target"], row["source"], row["session"] if row["ordered"] else None) for row in made]
    waiting = call_order.waiting(connection, lines)
    epochs = _present_epochs(connection, made)
    gaps = {line: row["call_gap"] for row, line in zip(made, lines, strict=True)}
    free_at = call_order.free_at(connection, gaps, max((row["aged_from"] for row in made), default=0))
    for seq, (row, line) in enumerate(zip(made, lines, strict=True), delivery_seq + 1):
        row["seq"], row["turn"] = seq, line not in waiting
        if line.session is not None:
            waiting.add(line)
        row["due_at"] = max(row["aged_from"], free_at.get(line, 0))
        may_go = row["turn"] and row["due_at"] == row["aged_from"]
        taken = may_go and row["wanted"] is not None and row["wanted"] == epochs.get(row["target"])
        # for a lane that has a free hand: claimed in this very commit
        row["state"], row["epoch"] = ("sending", row["wanted"]) if taken else ("due", 0)
        row["tried_at"] = row["due_at"] if taken else None
    _insert_deliveries.run(connection, made)


def _present_epochs(connection: Connection, made: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Of the lanes that want theirs at once: a lane that has been taken over meanwhile gets nothing."""
    wanted = sorted({row["target"] for row in made if row["wanted"] is not None})
    return dict(_epochs.among(connection, wanted)) if wanted else {}


def _deliveries(routes: Sequence[Route], call: CallEvent, source: str, now: datetime) -> list[dict[str, Any]]:
    at = to_us(now)
    return [
        {
            "id": new_id(now), "target": route.target, "kind": call.kind, "source": source,
            "session": call.session_id, "ordered": route.ordered, "attempts": 0, "failures": 0, "unclear": 0,
            "due_at": at, "aged_from": at, "replayed": False, "delivered_at": None, "reason": None, "remote": None,
            "wanted": route.epoch, "call_gap": route.call_gap,
        }
        for route in routes
    ]  # fmt: skip
