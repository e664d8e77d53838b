"""What the operator's page shows, a page at a time: by key, never by offset, so that the last page costs no more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import Struct
from sqlalchemy import Connection, and_, exists, func, or_, select

from relay.clock import from_us, to_us
from relay.models import DEAD_LETTERS, UNFINISHED, Delivery, Event
from relay.store import queries
from relay.store.engine import Repository
from relay.store.statement import Statement
from relay.store.tables import DELIVERY, EVENT, QUARANTINED, deliveries, events
from relay.uis.phones import significant_digits

_LOOKED_THROUGH = 50_000  # notifications, for one page: to look through all would take seconds
_READ_FOR_PAGE = 3_000  # calls
_NOT_DELIVERED = (*UNFINISHED, *DEAD_LETTERS, "expired")

_count_quarantined = Statement(f"SELECT count(*) FROM events WHERE {QUARANTINED}")
_events_of_call = Statement(
    f"SELECT {EVENT.sql} FROM events WHERE source = :source AND session = :session ORDER BY seq"
)
_deliveries_of_events = Statement(
    f"SELECT {DELIVERY.sql} FROM deliveries WHERE event_seq IN :seqs ORDER BY deliveries.seq"
)


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
