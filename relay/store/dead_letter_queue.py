"""The dead-letter queue as the operator's page shows it: a page at a time, and counted by reason."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection, func, null, select

from relay.clock import from_us
from relay.i18n import decode
from relay.models import Delivery, Event
from relay.store import queries
from relay.store.engine import Repository
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


class DeadLetters(Repository):
    def page(self, selection: Selection, before: int | None, count: int) -> DeadLetterPage:
        """Return those of events before this `seq`. By key, never by offset: the last page costs no more."""
        of_deliveries, of_events = queries.parts(selection)
        with self._database.read() as connection:
            letters: list[Delivery | Event] = []
            if of_deliveries:
                letters += _dead_deliveries(connection, of_deliveries, before, count)
            if of_events:
                letters += _quarantined(connection, of_events, before, count + 1)
            letters.sort(key=_event_seq, reverse=True)
            page = letters[:count]
            if len(letters) > count:  # all letters of one event stand on one page
                page += [letter for letter in letters[count:] if _event_seq(letter) == _event_seq(page[-1])]
            of_page = select(events.c.id, events.c.received_at).where(events.c.seq.in_(set(map(_event_seq, page))))
            accepted_at = {event: from_us(at) for event, at in connection.execute(of_page)}
        return DeadLetterPage(page, accepted_at, _event_seq(page[-1]) if len(letters) > len(page) else None)

    def reasons(self, selection: Selection) -> list[ReasonCount]:
        """Count all that fit, reasons told apart by their exact text."""
        of_deliveries, of_events = queries.parts(selection)
        statements = []
        if of_deliveries:
            alike = (deliveries.c.target, deliveries.c.state, deliveries.c.reason)
            statements.append(queries.select_deliveries(of_deliveries, (*alike, *_ACCEPTED)).group_by(*alike))
        if of_events:
            counted = select(null(), events.c.state, events.c.problem, *_ACCEPTED)
            fitting = counted.where(*queries.event_conditions(of_events))
            statements.append(fitting.group_by(events.c.state, events.c.problem))
        with self._database.read() as connection:
            return [
                ReasonCount(target, state, reason and decode(reason), count, from_us(oldest), from_us(newest))
                for statement in statements
                for target, state, reason, count, oldest, newest in connection.execute(statement)
            ]


_ACCEPTED = (func.count(), func.min(events.c.received_at), func.max(events.c.received_at))


def _event_seq(letter: Delivery | Event) -> int:
    return letter.event_seq if isinstance(letter, Delivery) else letter.seq


def _dead_deliveries(connection: Connection, selection: Selection, before: int | None, count: int) -> list[Delivery]:
    event_seq = queries.event_seq_of_delivery(selection)
    statement = queries.select_deliveries(selection).where(*([] if before is None else [event_seq < before]))
    statement = statement.order_by(event_seq.desc(), deliveries.c.seq.desc()).limit(count + _MOST_OF_ONE_EVENT)
    return [DELIVERY.value(row) for row in connection.execute(statement)]


def _quarantined(connection: Connection, selection: Selection, before: int | None, count: int) -> list[Event]:
    statement = select(*EVENT.columns).where(*queries.event_conditions(selection))
    if before is not None:
        statement = statement.where(events.c.seq < before)
    return [EVENT.value(row) for row in connection.execute(statement.order_by(events.c.seq.desc()).limit(count))]
