"""What the operator's page shows, a page at a time: by key, never by offset, so that the last page costs no more."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, and_, exists, func, select, text

from relay.clock import from_us, to_us
from relay.models import DEAD_LETTERS, Delivery, Event
from relay.store import queries
from relay.store.engine import Database
from relay.store.queries import Selection
from relay.store.statement import Statement
from relay.store.tables import DEAD, DELIVERED, DELIVERY, EVENT, QUARANTINED, deliveries, events

HOUR_US = 3_600_000_000

_count_quarantined = Statement(f"SELECT count(*) FROM events WHERE {QUARANTINED}")
_events_of_call = Statement(
    f"SELECT {EVENT.sql} FROM events WHERE source = :source AND session = :session ORDER BY seq"
)
_notifications = Statement("SELECT count(*) FROM events WHERE source = :source AND session = :session")


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

    def dead_letters(self, selection: Selection, before: int | None, count: int) -> DeadLetterPage:
        """The dead-letter queue, the newest events first."""
        with self._database.read() as connection:
            return _dead_letters(connection, selection, before, count)

    def calls(self, selection: Selection, before: int | None, count: int) -> CallPage:
        """The newest first. A call stands where the newest of its notifications stands that fits the filters."""
        with self._database.read() as connection:
            return _calls(connection, selection, before, count)

    def quarantined(self) -> int:
        """How many events are waiting to be mended."""
        with self._database.read() as connection:
            [(count,)] = _count_quarantined.rows(connection)
        return int(count)

    def events_of_call(self, source: str, session: str) -> list[Event]:
        """In the order of acceptance."""
        with self._database.read() as connection:
            return [EVENT.value(row) for row in _events_of_call.rows(connection, source=source, session=session)]

    def hours(self, sources: Iterable[str], targets: Iterable[str], since: datetime, until: datetime) -> list[Hour]:
        """Each hour from `since` to `until`, also those in which nothing happened."""
        with self._database.read() as connection:
            return _hours(connection, sources, targets, since, until)


def _dead_letters(connection: Connection, selection: Selection, before: int | None, count: int) -> DeadLetterPage:
    letters: list[Delivery | Event] = []
    states = selection.states or (*DEAD_LETTERS, "quarantined")
    if set(states) & set(DEAD_LETTERS):
        of_deliveries = queries.with_states(selection, DEAD_LETTERS, states)
        letters += _dead_deliveries(connection, of_deliveries, before, count)
    if "quarantined" in states and selection.target is None:
        letters += _quarantined(connection, queries.with_states(selection, ("quarantined",), states), before, count)
    letters.sort(key=_event_seq, reverse=True)
    page = letters[:count]
    if len(letters) > count:  # all letters of one event stand on one page
        page += [letter for letter in letters[count:] if _event_seq(letter) == _event_seq(page[-1])]
    of_page = select(events.c.id, events.c.received_at).where(events.c.seq.in_({_event_seq(each) for each in page}))
    accepted_at = {event: from_us(at) for event, at in connection.execute(of_page)}
    return DeadLetterPage(page, accepted_at, _event_seq(page[-1]) if len(letters) > len(page) else None)


def _event_seq(letter: Delivery | Event) -> int:
    return letter.event_seq if isinstance(letter, Delivery) else letter.seq


_MOST_OF_ONE_EVENT = 64  # its deliveries, one for each target


def _dead_deliveries(connection: Connection, selection: Selection, before: int | None, count: int) -> list[Delivery]:
    event_seq = queries.event_seq_of_delivery(selection)
    statement = select(*DELIVERY.columns).join(events, events.c.seq == deliveries.c.event_seq)
    statement = statement.where(*queries.delivery_conditions(selection))
    if before is not None:
        statement = statement.where(event_seq < before)
    statement = statement.order_by(event_seq.desc(), deliveries.c.seq.desc()).limit(count + _MOST_OF_ONE_EVENT)
    return [DELIVERY.value(row) for row in connection.execute(statement)]


def _quarantined(connection: Connection, selection: Selection, before: int | None, count: int) -> list[Event]:
    return _newest_events(connection, queries.event_conditions(selection), before, count + 1)


def _calls(connection: Connection, selection: Selection, before: int | None, count: int) -> CallPage:
    later = events.alias("later")
    fits_too = queries.phone_conditions(selection, later.c.phones)
    same_call = and_(later.c.source == events.c.source, later.c.session == events.c.session)
    has_later = exists().where(same_call, later.c.seq > events.c.seq, *fits_too)
    conditions = [*queries.event_conditions(selection), events.c.session.is_not(None), ~has_later]
    newest = _newest_events(connection, conditions, before, count + 1)
    page = [Call(event, _count_notifications(connection, event)) for event in newest[:count]]
    return CallPage(page, page[-1].newest.seq if len(newest) > count else None)


def _newest_events(
    connection: Connection, conditions: Iterable[queries.Condition], before: int | None, count: int
) -> list[Event]:
    statement = select(*EVENT.columns).where(*conditions)
    if before is not None:
        statement = statement.where(events.c.seq < before)
    return [EVENT.value(row) for row in connection.execute(statement.order_by(events.c.seq.desc()).limit(count))]


def _count_notifications(connection: Connection, event: Event) -> int:
    [(count,)] = _notifications.rows(connection, source=event.source, session=event.session)
    return int(count)


def _hours(
    connection: Connection, sources: Iterable[str], targets: Iterable[str], since: datetime, until: datetime
) -> list[Hour]:
    first, last = to_us(since) // HOUR_US, to_us(until) // HOUR_US
    hours = {at: Hour(at) for at in range(first, last + 1)}
    start = first * HOUR_US

    def add(name: str, column: Any, *conditions: Any) -> None:
        hour = column // HOUR_US
        statement = select(hour, func.count()).where(*conditions, column >= start).group_by(hour)
        for at, count in connection.execute(statement):
            if at in hours:
                setattr(hours[at], name, getattr(hours[at], name) + count)

    for source in sources:
        add("taken", events.c.received_at, events.c.source == source)
    for target in targets:
        of_target = deliveries.c.target == target
        add("delivered", deliveries.c.delivered_at, of_target, text(DELIVERED))
        add("dead", func.coalesce(deliveries.c.tried_at, deliveries.c.due_at), of_target, text(DEAD))
    return list(hours.values())
