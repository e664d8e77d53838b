"""What the operator's page shows: calls and dead letters, a page at a time, and what happened lately.

A page is found by key, never by offset, so that the last one costs no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from msgspec import Struct
from sqlalchemy import Connection, and_, exists, func, null, or_, select, text

from relay.clock import EPOCH, from_us, to_us
from relay.i18n import decode
from relay.models import DEAD_LETTERS, UNFINISHED, Delivery, Event
from relay.store import queries
from relay.store.engine import Repository
from relay.store.queries import Selection
from relay.store.statement import Statement
from relay.store.tables import DEAD, DELIVERED, DELIVERY, EVENT, QUARANTINED, deliveries, events
from relay.uis.phones import significant_digits

_LOOKED_THROUGH = 50_000  # notifications, for one page: to look through all would take seconds
_READ_FOR_PAGE = 3_000  # calls
_MOST_OF_ONE_EVENT = 64  # its deliveries, one for each target
HOUR_US = 3_600_000_000
DELAYS = 1000  # the newest of a target: enough to tell how it is, and quickly read
_NOT_DELIVERED = (*UNFINISHED, *DEAD_LETTERS, "expired")

_count_quarantined = Statement(f"SELECT count(*) FROM events WHERE {QUARANTINED}")
_events_of_call = Statement(
    f"SELECT {EVENT.sql} FROM events WHERE source = :source AND session = :session ORDER BY seq"
)
_deliveries_of_events = Statement(
    f"SELECT {DELIVERY.sql} FROM deliveries WHERE event_seq IN :seqs ORDER BY deliveries.seq"
)
_delays = Statement(  # of what nobody replayed: that it waited for an operator says nothing of the target
    f"""
    SELECT delivered_at - received_at
    FROM (
      SELECT event_seq, delivered_at FROM deliveries
      WHERE target = :target AND {DELIVERED} AND delivered_at >= :since AND NOT replayed
      ORDER BY delivered_at DESC LIMIT {DELAYS}
    ) AS newest JOIN events ON events.seq = newest.event_seq
    """
)
_ACCEPTED = (func.count(), func.min(events.c.received_at), func.max(events.c.received_at))


class CallSearch(Struct, frozen=True, kw_only=True):
    """Which calls are asked for. Empty: all."""

    text: str = ""  #: a part of a number or of a session, an extension, or words that UIS said
    source: str | None = None
    since: datetime | None = None  #: when they began
    until: datetime | None = None
    kinds: tuple[str, ...] = ()  #: that have a notification of one of these kinds
    is_undelivered: bool = False  #: of which a target lacks something


class Place(NamedTuple):
    """Where in the list of calls a page ends."""

    began_us: int
    seq: int


class StoredCall(Struct, frozen=True):
    events: list[Event]  #: in the order of acceptance
    deliveries: list[Delivery]


class CallPage(Struct, frozen=True):
    calls: list[StoredCall]
    next_before: Place | None  #: of the next page; None: this is the last one
    searched_to: datetime | None  #: further back was not looked: there may be more


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


class Hours(Struct, frozen=True):
    """Counts by the hour, by the name of the source or target; `begin` are the beginnings of the hours."""

    begin: list[datetime]
    taken: dict[str, list[int]]
    delivered: dict[str, list[int]]
    dead: dict[str, list[int]]


class Pages(Repository):
    """Each page is one short read."""

    def calls(
        self, search: CallSearch, keeps: Callable[[list[Event]], bool], before: Place | None, count: int
    ) -> CallPage:
        """Return the calls that began last, of those that are asked for and that `keeps` takes."""
        kept: list[tuple[Place, list[Event]]] = []
        last_read: Place | None = None
        with self._database.read() as connection:
            end = _end_of_search(connection, search, before)
            for number, (place, *key) in enumerate(_heads(connection, search, before, end, count + 1)):
                if len(kept) > count or number >= _READ_FOR_PAGE:
                    break
                last_read, of_call = place, _events(connection, *key)
                if keeps(of_call):
                    kept.append((place, of_call))
            else:
                last_read = end
            calls = [StoredCall(of_call, _deliveries(connection, of_call)) for _, of_call in kept[:count]]
        if len(kept) > count:
            return CallPage(calls, kept[count - 1][0], None)
        return CallPage(calls, last_read, None if last_read is None else from_us(last_read.began_us))

    def quarantined(self) -> int:
        [(count,)] = self._database.rows(_count_quarantined)
        return int(count)

    def call(self, source: str, session: str) -> StoredCall:
        """Return one call; without events when nobody has told of it."""
        with self._database.read() as connection:
            of_call = _events(connection, source, session)
            return StoredCall(of_call, _deliveries(connection, of_call))

    def dead_letters(self, selection: Selection, before: int | None, count: int) -> DeadLetterPage:
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

    def dead_reasons(self, selection: Selection) -> list[ReasonCount]:
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

    def hours(self, sources: Iterable[str], targets: Iterable[str], since: datetime, until: datetime) -> Hours:
        """Count in each hour from `since` to `until`, also in those in which nothing happened."""
        first, last = to_us(since) // HOUR_US, to_us(until) // HOUR_US
        numbers = range(first, last + 1)
        tried_at = func.coalesce(deliveries.c.tried_at, deliveries.c.due_at)
        target = deliveries.c.target
        with self._database.read() as connection:
            count = partial(_count, connection, numbers)
            return Hours(
                [EPOCH + timedelta(hours=number) for number in numbers],
                {name: count(events.c.received_at, events.c.source == name) for name in sources},
                {name: count(deliveries.c.delivered_at, target == name, text(DELIVERED)) for name in targets},
                {name: count(tried_at, target == name, text(DEAD)) for name in targets},
            )

    def delays(self, target: str, since: datetime) -> list[timedelta]:
        """Return how long what was delivered since then took from its acceptance; the newest thousand, in no order."""
        rows = self._database.rows(_delays, target=target, since=to_us(since))
        return [timedelta(microseconds=us) for (us,) in rows]


# --- the list of calls


def _end_of_search(connection: Connection, search: CallSearch, before: Place | None) -> Place | None:
    """Return how far back is looked for one page; None: to the end."""
    began = _began(events)
    statement = select(began, events.c.seq).where(*_between(search, before, None))
    statement = statement.order_by(began.desc(), events.c.seq.desc()).offset(_LOOKED_THROUGH).limit(1)
    row = connection.execute(statement).first()
    return None if row is None else Place(*row)


def _heads(
    connection: Connection, search: CallSearch, before: Place | None, end: Place | None, count: int
) -> Iterator[tuple[Place, str, str]]:
    """Yield the calls that are asked for, those that began last first; so many with each statement.

    A call stands where the first of its notifications that fit does.
    """
    earlier, began = events.alias("earlier"), _began(events)
    same_call = and_(earlier.c.source == events.c.source, earlier.c.session == events.c.session)
    is_asked_for = (*_within(search, earlier), *_fits(search, earlier))
    has_earlier = exists().where(same_call, earlier.c.seq < events.c.seq, *is_asked_for)
    columns = (began, events.c.seq, events.c.source, events.c.session)
    while True:
        statement = select(*columns).where(
            *_between(search, before, end), events.c.session.is_not(None), *_fits(search, events), ~has_earlier
        )
        rows = connection.execute(statement.order_by(began.desc(), events.c.seq.desc()).limit(count)).all()
        for began_us, seq, source, session in rows:
            before = Place(began_us, seq)
            yield before, source, session
        if len(rows) < count:
            return


def _began(of: Any) -> Any:
    """Return when a notification's call began, word for word as the index has it."""
    return func.coalesce(of.c.began_at, of.c.received_at)


def _between(search: CallSearch, before: Place | None, end: Place | None) -> Iterator[queries.Condition]:
    began = _began(events)
    yield from _within(search, events)
    if before:
        yield began <= before.began_us
        yield or_(began < before.began_us, events.c.seq < before.seq)
    if end:
        yield began >= end.began_us
        yield or_(began > end.began_us, events.c.seq >= end.seq)


def _within(search: CallSearch, of: Any) -> Iterator[queries.Condition]:
    if search.since:
        yield _began(of) >= to_us(search.since)
    if search.until:
        yield _began(of) < to_us(search.until)


def _fits(search: CallSearch, of: Any) -> Iterator[queries.Condition]:
    if search.source:
        yield of.c.source == search.source
    if search.kinds:
        yield of.c.kind.in_(search.kinds)
    if search.is_undelivered:
        yield exists().where(deliveries.c.event_seq == of.c.seq, deliveries.c.state.in_(_NOT_DELIVERED))
    if search.text:
        yield or_(*_says(search.text, of))


def _says(text: str, of: Any) -> Iterator[queries.Condition]:
    """Yield where a text may stand in an event: engines know no case of Cyrillic letters, so each is tried."""
    yield of.c.session.contains(text, autoescape=True)
    digits = significant_digits(text)
    if digits and not any(sign.isalpha() for sign in text):
        yield of.c.phones.contains(digits)
        yield of.c.call.contains(f'"extension":"{digits}"')
        return
    for word in dict.fromkeys((text, text.lower(), text.upper(), text.capitalize(), text.title())):
        yield of.c.call.contains(json.dumps(word, ensure_ascii=False)[1:-1], autoescape=True)


def _events(connection: Connection, source: str, session: str) -> list[Event]:
    return [EVENT.value(row) for row in _events_of_call.rows(connection, source=source, session=session)]


def _deliveries(connection: Connection, of_call: Sequence[Event]) -> list[Delivery]:
    rows = _deliveries_of_events.rows(connection, seqs=[event.seq for event in of_call]) if of_call else []
    return [DELIVERY.value(row) for row in rows]


# --- dead letters, and what happened lately


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


def _count(connection: Connection, numbers: range, column: Any, *conditions: Any) -> list[int]:
    """Count the rows in each of the hours since 1970."""
    hour = column // HOUR_US
    statement = select(hour, func.count()).where(*conditions, column >= numbers.start * HOUR_US).group_by(hour)
    counts: dict[int, int] = {at: number for at, number in connection.execute(statement)}  # noqa: C416  rows, no pairs
    return [counts.get(number, 0) for number in numbers]
