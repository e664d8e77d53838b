"""What the operator's page shows, a page at a time: by key, never by offset, so that the last page costs no more."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from sqlalchemy import Connection, and_, exists, select

from relay.models import Event
from relay.store import queries
from relay.store.engine import Database
from relay.store.queries import Selection
from relay.store.statement import Statement
from relay.store.tables import EVENT, QUARANTINED, events

_count_quarantined = Statement(f"SELECT count(*) FROM events WHERE {QUARANTINED}")
_events_of_call = Statement(
    f"SELECT {EVENT.sql} FROM events WHERE source = :source AND session = :session ORDER BY seq"
)
_notifications = Statement("SELECT count(*) FROM events WHERE source = :source AND session = :session")


class Call(Struct, frozen=True):
    """One call, by the newest of its notifications that was asked for."""

    newest: Event
    notifications: int


class CallPage(Struct, frozen=True):
    calls: list[Call]
    next_before: int | None


class Pages:
    """Each page is one short read."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
