"""The dead-letter queue as the operator's page shows it: a page at a time, and counted by reason."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection, func, select

from relay.clock import from_us
from relay.i18n import decode
from relay.models import DEAD_LETTERS, Delivery, Event
from relay.store import queries
from relay.store.engine import Database
from relay.store.queries import Selection
from relay.store.tables import DELIVERY, EVENT, deliveries, events

_MOST_OF_ONE_EVENT = 64  # its deliveries, one for each target


class DeadLetterPage(Struct, frozen=True):
    """A page of the dead-letter queue, the newest events first."""

    letters: list[Delivery | Event]
    accepted_at: dict[str, datetime]  #: by the event's id
    next_before: int | None  #: the key of the next page; None: this is the last one


class ReasonCount(Struct, frozen=True):
    """How many dead letters of a target are in a state for a reason, and when their events were accepted."""

    target: str | None  #: none for events in quarantine
    state: str
    reason: str | None
    count: int
    oldest: datetime
    newest: datetime


class DeadLetters:
    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, selection: Selection, before: int | None, count: int) -> DeadLetterPage:
        """Return those of events before this `seq`. By key, never by offset: the last page costs no more."""
        with self._database.read() as connection:
            return _page(connection, selection, before, count)

    def reasons(self, selection: Selection) -> list[ReasonCount]:
        """Count all that fit, reasons told apart by their exact text."""
        of_deliveries, of_events = _parts(selection)
        with self._database.read() as connection:
            counts = _count_deliveries(connection, of_deliveries) if of_deliveries else []
            return counts + (_count_events(connection, of_events) if of_events else [])


def _parts(selection: Selection) -> tuple[Selection | None, Selection | None]:
    """Return which deliveries, and which events in quarantine, are asked for; None: none."""
    states = selection.states or (*DEAD_LETTERS, "quarantined")
    of_deliveries = queries.with_states(selection, DEAD_LETTERS, states)
    of_events = queries.with_states(selection, ("quarantined",), states)
    has_events = bool(of_events.states) and selection.target is None
    return of_deliveries if of_deliveries.states else None, of_events if has_events else None


def _page(connection: Connection, selection: Selection, before: int | None, count: int) -> DeadLetterPage:
    of_deliveries, of_events = _parts(selection)
    letters: list[Delivery | Event] = []
    if of_deliveries:
        letters += _dead_deliveries(connection, of_deliveries, before, count)
    if of_events:
        letters += _quarantined(connection, of_events, before, count + 1)
    letters.sort(key=_event_seq, reverse=True)
    page = letters[:count]
    if len(letters) > count:  # all letters of one event stand on one page
        page += [letter for letter in letters[count:] if _event_seq(letter) == _event_seq(page[-1])]
    of_page = select(events.c.id, events.c.received_at).where(events.c.seq.in_({_event_seq(each) for each in page}))
    accepted_at = {event: from_us(at) for event, at in connection.execute(of_page)}
    return DeadLetterPage(page, accepted_at, _event_seq(page[-1]) if len(letters) > len(page) else None)


def _event_seq(letter: Delivery | Event) -> int:
    return letter.event_seq if isinstance(letter, Delivery) else letter.seq


def _dead_deliveries(connection: Connection, selection: Selection, before: int | None, count: int) -> list[Delivery]:
    event_seq = queries.event_seq_of_delivery(selection)
    statement = select(*DELIVERY.columns).join(events, events.c.seq == deliveries.c.event_seq)
    statement = statement.where(*queries.delivery_conditions(selection))
    if before is not None:
        statement = statement.where(event_seq < before)
    statement = statement.order_by(event_seq.desc(), deliveries.c.seq.desc()).limit(count + _MOST_OF_ONE_EVENT)
    return [DELIVERY.value(row) for row in connection.execute(statement)]


def _quarantined(connection: Connection, selection: Selection, before: int | None, count: int) -> list[Event]:
    statement = select(*EVENT.columns).where(*queries.event_conditions(selection))
    if before is not None:
        statement = statement.where(events.c.seq < before)
    return [EVENT.value(row) for row in connection.execute(statement.order_by(events.c.seq.desc()).limit(count))]


_ACCEPTED = (func.count(), func.min(events.c.received_at), func.max(events.c.received_at))


def _count_deliveries(connection: Connection, selection: Selection) -> list[ReasonCount]:
    columns = (deliveries.c.target, deliveries.c.state, deliveries.c.reason)
    statement = select(*columns, *_ACCEPTED).join(events, events.c.seq == deliveries.c.event_seq)
    statement = statement.where(*queries.delivery_conditions(selection)).group_by(*columns)
    return [
        ReasonCount(target, state, _said(reason), count, from_us(oldest), from_us(newest))
        for target, state, reason, count, oldest, newest in connection.execute(statement)
    ]


def _count_events(connection: Connection, selection: Selection) -> list[ReasonCount]:
    statement = select(events.c.problem, *_ACCEPTED).where(*queries.event_conditions(selection))
    return [
        ReasonCount(None, "quarantined", _said(problem), count, from_us(oldest), from_us(newest))
        for problem, count, oldest, newest in connection.execute(statement.group_by(events.c.problem))
    ]


def _said(text: str | None) -> str | None:
    return None if text is None else decode(text)
