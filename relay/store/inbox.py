"""Stores notifications: recognises duplicates, gives `seq`, makes one delivery per target. All in one commit.

What can be made before the commit is made before it: while it runs, everybody else waits.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct, json
from msgspec.structs import replace
from sqlalchemy import Connection

from relay.clock import EPOCH, from_us, new_id, to_us
from relay.i18n import Message
from relay.models import CallEvent, ClaimedDelivery, Delivery, Event
from relay.store import call_order
from relay.store.engine import Database
from relay.store.group_commit import GroupCommit
from relay.store.statement import ManyRows, Row, Statement, next_seqs
from relay.store.tables import DELIVERY, EVENT, IS_END, deliveries, events
from relay.uis.normalise import beginning_of

_LINGER_S = 0.003  # that a commit waits for others under load
_DUPLICATES_SHOWN = 20
_HOUR = timedelta(hours=1)
_REJECTIONS_KEPT = timedelta(days=8)
CAME_LATE = Message("UIS's report had brought this call already: it adds nothing, and is not delivered")
_NO_DIGIT = re.compile(r"\D")

_alike = ManyRows(
    {"digest": events.c.digest},
    """
    WITH body (digest) AS (VALUES :rows)
    SELECT source, endpoint, raw, seq, id, received_at, repeats, repeated
    FROM body LEFT JOIN events ON events.digest = body.digest ORDER BY seq
    """,
)
_count_duplicate = Statement("UPDATE events SET repeated = :count, repeats = :times WHERE seq = :seq")
_ends_of_call = Statement(
    f"""
    SELECT id, origin, call FROM events
    WHERE source = :source AND session = :session AND {IS_END} ORDER BY seq LIMIT 1
    """
)
_with_id = Statement("SELECT 1 FROM events WHERE id = :id")
_epochs = Statement("SELECT target, epoch FROM leases")
_insert_events = ManyRows.insert(events)
_insert_deliveries = ManyRows.insert(deliveries)

_count_rejections = Statement(
    """
    INSERT INTO refusals (source, status, hour, refused) VALUES (:source, :status, :hour, :count)
    ON CONFLICT (source, status, hour) DO UPDATE SET refused = refusals.refused + :count
    """
)
_forget_rejections = Statement("DELETE FROM refusals WHERE hour < :before")
_rejections = Statement(
    "SELECT source, status, sum(refused) FROM refusals WHERE hour >= :since GROUP BY source, status"
)


class Route(Struct, frozen=True):
    """A target that an event goes to."""

    target: str
    ordered: bool  #: does the order within a call hold for it
    epoch: int | None = None  #: of its lane, when that has a free hand: claim the delivery for it in the same commit
    call_gap: timedelta = timedelta(0)  #: between two deliveries of one call


def slot(source: str, session: str | None) -> int:
    """Return the number that assigns a call to a shard: the same for all its events, everywhere and for ever."""
    digest = hashlib.blake2b(f"{source} {session or ''}".encode(errors="replace"), digest_size=2).digest()
    return int.from_bytes(digest)


AddsTo = Callable[[CallEvent], bool]
"""Of the end of a call that UIS's report may have brought: does it say more than that one?"""


class NewEvent(Struct, frozen=True):
    """A notification that is to be stored. Where its id is there already, it is not stored again."""

    event: Event
    duplicate_window: timedelta
    routes: tuple[Route, ...]
    slot: int  #: of its call
    adds_to: AddsTo | None = None


class InsertResult(Struct, frozen=True):
    event: str
    duplicate: bool
    claimed: tuple[ClaimedDelivery, ...] = ()  #: those that were claimed at once for a lane that has a free hand


class Inbox:
    """Takes in notifications, and counts those that were rejected. Raises StoreError."""

    def __init__(self, database: Database, commits: GroupCommit) -> None:
        self._database, self._commits = database, commits

    def add(self, new: NewEvent) -> InsertResult:
        """Store a notification; on disk when it returns. Raises StoreBusy when that was not confirmed within 2 s."""
        pending = PendingInsert(new)
        self._commits.run(
            _insert, pending, linger_s=_LINGER_S, alone_for=(f"source:{new.event.source}", *_targets(new))
        )
        return pending.result()

    def add_reported(self, new: NewEvent) -> InsertResult:
        """Store what UIS's report says of a call, unless its end is known; in a commit of its own, so that a
        notification of the same call comes before it or after it."""
        pending = PendingInsert(new)
        with self._database.write(alone_for=(f"source:{new.event.source}",)) as connection:
            known = _known(connection, pending)
            if known is None:
                _insert(connection, [pending])
        return pending.result() if known is None else InsertResult(known, True)

    def stalled_s(self) -> float:
        """Return for how long commits have been tried of which none was confirmed; 0 when the last one was."""
        return self._commits.stalled_s()

    def count_rejections(self, counts: Mapping[tuple[str, int], int], now: datetime) -> None:
        """Add to what was rejected, by source, status and hour."""
        hour = to_us(EPOCH + (now - EPOCH) // _HOUR * _HOUR)
        with self._database.write(alone_for=("rejections",)) as connection:
            for (source, status), count in counts.items():
                _count_rejections.run(connection, source=source, status=status, hour=hour, count=count)
            _forget_rejections.run(connection, before=to_us(now - _REJECTIONS_KEPT))

    def rejected_since(self, sources: Iterable[str], since: datetime) -> dict[str, dict[str, int]]:
        """Return by source how many were rejected, by status (as text, as JSON has it)."""
        counts: dict[str, dict[str, int]] = {source: {} for source in sources}
        for source, status, count in self._database.rows(_rejections, since=to_us(since - _HOUR)):
            counts.setdefault(source, {})[str(status)] = int(count)
        return counts


class PendingInsert:
    """A notification with its rows, as far as they can be made before the commit."""

    def __init__(self, new: NewEvent) -> None:
        self.new, self.event = new, new.event
        self.digest, call = _digest(new.event), new.event.call
        self.row = EVENT.row(new.event)
        self.row.update(
            phones=call and phones(call), digest=self.digest, began_at=began_us(call, new.event.received_at)
        )
        self.deliveries = _pending_deliveries(new.event, call, new.routes, new.event.received_at, new.slot)
        self.original: Original | None = None  # the event that it is a duplicate of

    def brings_nothing(self) -> None:
        """Store it without deliveries: the report had brought its call."""
        notes = (*self.event.notes, CAME_LATE)
        self.event = replace(self.event, notes=notes)
        self.row["notes"] = EVENT.row(self.event)["notes"]
        self.deliveries = []

    def result(self) -> InsertResult:
        """Return what became of it, after the commit."""
        if self.original is not None:
            return InsertResult(self.original.id, True)
        claimed = [pending for pending in self.deliveries if pending.row["state"] == "sending"]
        event = replace(self.event, seq=self.row["seq"]) if claimed else self.event
        return InsertResult(self.event.id, False, tuple(pending.claimed(event) for pending in claimed))


def _known(connection: Connection, pending: PendingInsert) -> str | None:
    """Return the event that says already what the report says."""
    event = pending.event
    if event.kind == "finished":
        end = _ends_of_call.first(connection, source=event.source, session=event.session)
        if end is not None:
            return str(end[0])
    return event.id if _with_id.first(connection, id=event.id) else None


def came_late(connection: Connection, source: str, session: str | None, adds_to: AddsTo | None) -> bool:
    """Is it the end of a call that the report has brought, and says nothing more?"""
    if adds_to is None or session is None:
        return False
    end = _ends_of_call.first(connection, source=source, session=session)
    return end is not None and end[1] == "report" and not adds_to(json.decode(end[2], type=CallEvent))


def _targets(new: NewEvent) -> Iterable[str]:
    """Return the locks of the lanes for which a delivery may be claimed in the event's own commit."""
    return (f"target:{route.target}" for route in new.routes if route.epoch is not None)


class PendingDelivery:
    """A delivery that is to be stored, with its row as far as it can be made before the commit."""

    def __init__(self, delivery: Delivery, route: Route) -> None:
        self.delivery, self.route = delivery, route
        self.row = DELIVERY.row(delivery)
        self.order_key = call_order.order_key(delivery)

    def claimed(self, event: Event) -> ClaimedDelivery:
        delivery = replace(self.delivery, seq=self.row["seq"], event_seq=event.seq)
        return ClaimedDelivery(delivery, event, self.row["epoch"])


class Original:
    """An event that may have duplicates, stored before or in this very batch."""

    def __init__(self, seq: int, event_id: str, received_at: datetime, times: list[int], count: int) -> None:
        self.seq, self.id, self.received_at = seq, event_id, received_at
        self.duplicate_times, self.duplicate_count, self.has_new = times, count, False

    def count(self, at: datetime) -> None:
        self.duplicate_times = [*self.duplicate_times, to_us(at)][-_DUPLICATES_SHOWN:]
        self.duplicate_count, self.has_new = self.duplicate_count + 1, True

    def has_duplicate(self, new: NewEvent) -> bool:
        """Is it the same again? Not what seems to come long before: a clock that was ahead took this one."""
        window = new.duplicate_window
        return bool(window) and abs(new.event.received_at - self.received_at) <= window


_Body = tuple[str, str, bytes]
"""Source, endpoint and raw bytes: what is alike in an event and its duplicates."""


def _insert(connection: Connection, batch: Sequence[PendingInsert]) -> list[None]:
    """Store each, or count it as a duplicate of the one that came before; in the order of the batch."""
    seqs, delivery_seqs = next_seqs(connection, len(batch), sum(len(pending.deliveries) for pending in batch))
    originals = _latest_alike(connection, batch)
    fresh: list[PendingInsert] = []
    for pending in batch:
        new, event = pending.new, pending.event
        body = event.source, event.endpoint, event.raw
        pending.original = originals.get(body)
        if pending.original is not None and pending.original.has_duplicate(new):
            pending.original.count(event.received_at)
            continue
        if came_late(connection, event.source, event.session, new.adds_to):
            pending.brings_nothing()
        seq = seqs[len(fresh)]
        pending.original, pending.row["seq"] = None, seq
        for delivery in pending.deliveries:
            delivery.row["event_seq"] = seq
        originals[body] = Original(seq, event.id, event.received_at, [], 0)
        fresh.append(pending)
    _insert_events.run(connection, [pending.row for pending in fresh])
    _insert_behind(connection, [delivery for pending in fresh for delivery in pending.deliveries], delivery_seqs)
    for original in originals.values():
        if original.has_new:
            times = json.encode(original.duplicate_times).decode()
            _count_duplicate.run(connection, seq=original.seq, count=original.duplicate_count, times=times)
    return [None] * len(batch)


def _latest_alike(connection: Connection, batch: Sequence[PendingInsert]) -> dict[_Body, Original]:
    """Return the latest event of each body in the batch."""
    digests = {pending.digest for pending in batch if pending.new.duplicate_window}
    return {
        (source, endpoint, raw): Original(seq, event_id, from_us(received_at), json.decode(times), count)
        for source, endpoint, raw, seq, event_id, received_at, times, count in _alike.rows(
            connection, [{"digest": digest} for digest in digests]
        )
        if seq is not None
    }


def _digest(event: Event) -> int:
    """Finds what may be a duplicate: source, endpoint and the exact body. Never the call: it has several events.

    64 bits, signed as a database has them: a random key spoils fewer pages the smaller it is.
    """
    alike = b"\x00".join((event.source.encode(), event.endpoint.encode(), event.raw))
    return int.from_bytes(hashlib.blake2b(alike, digest_size=8).digest(), signed=True)


def phones(call: CallEvent) -> str:
    """Return the digits of every number of a call, for the search by phone."""
    numbers = {call.caller, call.callee, call.client_number, call.employee_number, call.virtual_number}
    return " ".join([_NO_DIGIT.sub("", number) for number in numbers if number])


def began_us(call: CallEvent | None, received_at: datetime) -> int | None:
    """Return when a call began, for the list of calls; None where UIS does not say it, or its clock must be wrong."""
    at = None if call is None else beginning_of(call, received_at)
    return None if at is None else to_us(at)


def deliver(connection: Connection, event: Event, call: CallEvent, routes: Sequence[Route], now: datetime) -> None:
    """Make one delivery for each route of a stored event, behind what still waits of the same call."""
    pending = _pending_deliveries(event, call, routes, now, slot(event.source, call.session_id))
    _, seqs = next_seqs(connection, 0, len(pending))
    _insert_behind(connection, pending, seqs)


def _pending_deliveries(
    event: Event, call: CallEvent | None, routes: Sequence[Route], now: datetime, slot: int
) -> list[PendingDelivery]:
    return [PendingDelivery(_delivery(event, call, route, now, slot), route) for route in routes] if call else []


def _delivery(event: Event, call: CallEvent, route: Route, now: datetime, slot: int) -> Delivery:
    return Delivery(
        seq=0,
        id=new_id(now),
        event_seq=event.seq,
        event=event.id,
        target=route.target,
        kind=call.kind,
        source=event.source,
        session=call.session_id,
        ordered=route.ordered,
        slot=slot,
        state="due",
        due_at=now,
        age_started_at=now,
    )


def _insert_behind(connection: Connection, batch: Sequence[PendingDelivery], seqs: Sequence[int]) -> None:
    """Store the deliveries, each behind what still waits of its call; claim those that may go for a free lane."""
    waiting = call_order.waiting(connection, [pending.order_key for pending in batch])
    epochs = _present_epochs(connection, batch)
    gaps = {pending.order_key: pending.route.call_gap for pending in batch}
    free_at = call_order.free_at(connection, gaps, max((pending.row["aged_from"] for pending in batch), default=0))
    for pending, seq in zip(batch, seqs, strict=False):
        row, key, epoch = pending.row, pending.order_key, pending.route.epoch
        row["seq"], row["turn"] = seq, key not in waiting
        if key.session is not None:
            waiting.add(key)
        accepted_at = row["aged_from"]
        row["due_at"] = max(accepted_at, free_at.get(key, 0))
        may_go = row["turn"] and row["due_at"] == accepted_at
        is_claimed = may_go and (key.target, epoch) in epochs
        row["state"], row["epoch"] = ("sending", epoch) if is_claimed else ("due", 0)
        row["tried_at"] = accepted_at if is_claimed else None
    _insert_deliveries.run(connection, [pending.row for pending in batch])


def _present_epochs(connection: Connection, batch: Iterable[PendingDelivery]) -> set[Row]:
    """Return them where a lane wants its delivery at once: one that has been taken over meanwhile gets nothing."""
    return set(_epochs.rows(connection)) if any(pending.route.epoch is not None for pending in batch) else set()
