"""What the operator's page shows, a page at a time: by key, never by offset, so that the last page costs no more."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, and_, exists, func, select

from relay.clock import from_us, to_us
from relay.models import DEAD_LETTERS, Delivery, Event
from relay.store import queries, rows
from relay.store.queries import Selection
from relay.store.sqlite.database import Database
from relay.store.tables import DEAD, DELIVERED, QUARANTINED, deliveries, events

HOUR_US = 3_600_000_000


class DeadLetterPage(Struct, frozen=True):
    """A page of the dead-letter queue, the newest events first."""

    letters: list[Delivery | Event]
    accepted_at: dict[str, datetime]  #: by the event's id
    next_before: int | None  #: the key of the next page; None: this is the last one


class Call(Struct, frozen=True):
    """One call, by the newest of its notifications that was asked for."""

    newest: Event
    notifications: int


class CallPage(Struct, frozen=True):
    calls: list[Call]
    next_before: int | None


class Hour(Struct):
    """What happened within an hour; `at` is the hour since 1970."""

    at: int
    taken: int = 0
    delivered: int = 0
    dead: int = 0


class Pages:
    """Each page is one short read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def dead_letters(self, wanted: Selection, before: int | None, count: int) -> DeadLetterPage:
        """The dead-letter queue, the newest events first."""
        with self._database.read() as connection:
            return _dead_letters(connection, wanted, before, count)

    def calls(self, wanted: Selection, before: int | None, count: int) -> CallPage:
        """The newest first. A call stands where the newest of its notifications stands that fits the filters."""
        with self._database.read() as connection:
            return _calls(connection, wanted, before, count)

    def quarantined(self) -> int:
        """How many events are waiting to be mended."""
        statement = select(func.count()).select_from(events).where(QUARANTINED)
        with self._database.read() as connection:
            return int(connection.execute(statement).scalar_one())

    def events_of_call(self, source: str, session: str) -> list[Event]:
        """In the order of acceptance."""
        of_call = select(*rows.EVENT_COLUMNS).where(events.c.source == source, events.c.session == session)
        with self._database.read() as connection:
            return [rows.event(row) for row in connection.execute(of_call.order_by(events.c.seq))]

    def hours(self, sources: Iterable[str], targets: Iterable[str], since: datetime, until: datetime) -> list[Hour]:
        """Each hour from `since` to `until`, also those in which nothing happened."""
        with self._database.read() as connection:
            return _hours(connection, sources, targets, since, until)


def _dead_letters(connection: Connection, wanted: Selection, before: int | None, count: int) -> DeadLetterPage:
    found: list[Delivery | Event] = []
    states = wanted.states or (*DEAD_LETTERS, "quarantined")
    if set(states) & set(DEAD_LETTERS):
        found += _dead_deliveries(connection, queries.with_states(wanted, DEAD_LETTERS, states), before, count)
    if "quarantined" in states and wanted.target is None:
        found += _quarantined(connection, queries.with_states(wanted, ("quarantined",), states), before, count)
    found.sort(key=_event_seq, reverse=True)
    page = found[:count]
    if len(found) > count:  # all letters of one event stand on one page
        page += [each for each in found[count:] if _event_seq(each) == _event_seq(page[-1])]
    of_page = select(events.c.id, events.c.received_at).where(events.c.seq.in_({_event_seq(each) for each in page}))
    accepted_at = {event: from_us(at) for event, at in connection.execute(of_page)}
    return DeadLetterPage(page, accepted_at, _event_seq(page[-1]) if len(found) > len(page) else None)


def _event_seq(letter: Delivery | Event) -> int:
    return letter.event_seq if isinstance(letter, Delivery) else letter.seq


_MOST_OF_ONE_EVENT = 64  # its deliveries, one for each target


def _dead_deliveries(connection: Connection, wanted: Selection, before: int | None, count: int) -> Iterable[Delivery]:
    key = deliveries.c.event_seq + 0  # or SQLite would rather walk all deliveries in order than sort the few dead ones
    statement = select(*rows.DELIVERY_COLUMNS).join(events, events.c.seq == deliveries.c.event_seq)
    statement = statement.where(*queries.delivery_conditions(wanted))
    if before is not None:
        statement = statement.where(key < before)
    statement = statement.order_by(key.desc(), deliveries.c.seq.desc()).limit(count + _MOST_OF_ONE_EVENT)
    return [rows.delivery(row) for row in connection.execute(statement)]


def _quarantined(connection: Connection, wanted: Selection, before: int | None, count: int) -> Iterable[Event]:
    statement = select(*rows.EVENT_COLUMNS).where(*queries.event_conditions(wanted))
    if before is not None:
        statement = statement.where(events.c.seq < before)
    return [rows.event(row) for row in connection.execute(statement.order_by(events.c.seq.desc()).limit(count + 1))]


def _calls(connection: Connection, wanted: Selection, before: int | None, count: int) -> CallPage:
    later = events.alias("later")
    fits_too = queries.phone_conditions(wanted, later.c.phones)
    same_call = and_(later.c.source == events.c.source, later.c.session == events.c.session)
    has_later = exists().where(same_call, later.c.seq > events.c.seq, *fits_too)
    statement = select(*rows.EVENT_COLUMNS).where(
        *queries.event_conditions(wanted), events.c.session.is_not(None), ~has_later
    )
    if before is not None:
        statement = statement.where(events.c.seq < before)
    found = [rows.event(row) for row in connection.execute(statement.order_by(events.c.seq.desc()).limit(count + 1))]
    page = [Call(event, _notifications(connection, event)) for event in found[:count]]
    return CallPage(page, page[-1].newest.seq if len(found) > count else None)


def _notifications(connection: Connection, event: Event) -> int:
    of_call = events.c.source == event.source, events.c.session == event.session
    return int(connection.execute(select(func.count()).select_from(events).where(*of_call)).scalar_one())


def _hours(
    connection: Connection, sources: Iterable[str], targets: Iterable[str], since: datetime, until: datetime
) -> list[Hour]:
    first, last = to_us(since) // HOUR_US, to_us(until) // HOUR_US
    found = {at: Hour(at) for at in range(first, last + 1)}
    start = first * HOUR_US

    def add(name: str, column: Any, *conditions: Any) -> None:
        hour = column // HOUR_US
        statement = select(hour, func.count()).where(*conditions, column >= start).group_by(hour)
        for at, count in connection.execute(statement):
            if at in found:
                setattr(found[at], name, getattr(found[at], name) + count)

    for source in sources:
        add("taken", events.c.received_at, events.c.source == source)
    for target in targets:
        of_target = deliveries.c.target == target
        add("delivered", deliveries.c.delivered_at, of_target, DELIVERED)
        add("dead", func.coalesce(deliveries.c.tried_at, deliveries.c.due_at), of_target, DEAD)
    return list(found.values())
