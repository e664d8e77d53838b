"""What people ask the store: lists with filters, one event whole, the state of targets and sources.

Lists come by page, so that no reader stays open for long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from operator import attrgetter
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, Select, TextClause, exists, not_, or_, select, text

from relay.clock import from_us, to_us
from relay.errors import NotFound
from relay.i18n import Message, decode
from relay.models import DEAD_LETTERS, Attempt, Delivery, DeliveryState, Event, ToldCall
from relay.store.call_progress import told_calls
from relay.store.engine import PAGE, Repository
from relay.store.statement import Statement
from relay.store.tables import ATTEMPT, DEAD, DELIVERED, DELIVERY, EVENT, QUARANTINED, UNFINISHED, deliveries, events
from relay.uis.phones import significant_digits

Condition = ColumnElement[bool] | TextClause

_attempts = Statement(f"SELECT {ATTEMPT.sql} FROM attempts WHERE delivery_seq = :delivery_seq ORDER BY seq")
_deliveries = Statement(f"SELECT {DELIVERY.sql} FROM deliveries WHERE event_seq = :event_seq ORDER BY seq")
_event = Statement(
    f"""
    SELECT {EVENT.sql} FROM events
    WHERE id = :id OR seq = (SELECT event_seq FROM deliveries WHERE deliveries.id = :id)
    """
)
_states = Statement("SELECT state, count(*) FROM deliveries WHERE seq IN :seqs GROUP BY state")
_target_names = Statement(f"SELECT name FROM targets UNION SELECT target FROM deliveries WHERE {UNFINISHED}")
_backlog = Statement(f"SELECT 1 FROM deliveries WHERE target = :target AND ({UNFINISHED} OR {DEAD}) LIMIT 1")
_target = Statement("SELECT state, reason, last_error, paused_at, asked_until FROM targets WHERE name = :target")
_target_counts = Statement(
    f"""
    SELECT
      (SELECT count(*) FROM deliveries WHERE target = :target AND {UNFINISHED}),
      (SELECT min(due_at) FROM deliveries WHERE target = :target AND {UNFINISHED}),
      (SELECT count(*) FROM deliveries WHERE target = :target AND {DELIVERED} AND delivered_at >= :since),
      (SELECT count(*) FROM deliveries WHERE target = :target AND {DEAD})
    """
)
_taken = Statement(
    """
    SELECT
      (SELECT count(*) FROM events WHERE source = :source AND received_at >= :since),
      (SELECT max(received_at) FROM events WHERE source = :source AND origin IS NULL)
    """
)

_calls_since = Statement(
    """
    SELECT count(*), count(DISTINCT CASE WHEN state = 'accepted' THEN coalesce(session, id) END),
      count(CASE WHEN state = 'quarantined' THEN 1 END)
    FROM events WHERE source = :source AND received_at >= :since
    """
)
_told_since = Statement(
    """
    SELECT source, session, received_at, call FROM events
    WHERE coalesce(began_at, received_at) >= :since AND state = 'accepted' AND session IS NOT NULL ORDER BY seq
    """
)
_failed_attempts = Statement(
    """
    SELECT target, count(*) FROM attempts JOIN deliveries ON deliveries.seq = attempts.delivery_seq
    WHERE attempts.at >= :since AND outcome <> 'delivered' GROUP BY target
    """
)


class Selection(Struct, frozen=True, kw_only=True):
    """The filters that every listing takes. Empty: everything."""

    ids: tuple[str, ...] = ()
    target: str | None = None
    source: str | None = None
    kind: str | None = None
    session: str | None = None
    phone: str | None = None  #: any part of a number
    since: datetime | None = None
    until: datetime | None = None
    states: tuple[str, ...] = ()
    not_replayed_since: datetime | None = None

    @property
    def is_empty(self) -> bool:
        return self == Selection()


class TargetFigures(Struct, frozen=True, kw_only=True):
    name: str
    state: str
    reason: str | None
    due: int
    oldest_due_at: datetime | None
    delivered: int
    dead: int
    last_error: str | None
    retry_not_before: datetime | None  #: no request before, because the target asked for time; may be over


class CallCounts(Struct, frozen=True):
    """What a source has sent in a span of time."""

    notifications: int
    calls: int
    unreadable: int  #: notifications that are in quarantine


class Queries(Repository):
    """Reads only."""

    def events(self, selection: Selection, *, newest: int | None = None) -> Iterator[Event]:
        """In the order of acceptance; with `newest` only the last so many."""
        statement = select(*EVENT.columns).where(*event_conditions(selection)).order_by(events.c.seq).limit(PAGE)

        def fetch(connection: Connection, after: int) -> Sequence[Any]:
            return connection.execute(statement.where(events.c.seq > after)).all()

        after = 0
        if newest is not None:
            latest = select(events.c.seq).where(*event_conditions(selection)).order_by(events.c.seq.desc())
            with self._database.read() as connection:
                after = connection.execute(latest.offset(newest).limit(1)).scalar() or 0
        return map(EVENT.value, chain.from_iterable(self._database.pages(fetch, after)))

    def deliveries(self, selection: Selection) -> Iterator[Delivery]:
        """In the order of their events. An event's id stands for its deliveries."""
        event_seq, seq = event_seq_of_delivery(selection), deliveries.c.seq
        statement = select_deliveries(selection).order_by(event_seq, seq).limit(PAGE)

        def fetch(connection: Connection, after: tuple[int, int]) -> Sequence[Any]:
            beyond = or_(event_seq > after[0], (event_seq == after[0]) & (seq > after[1]))
            return connection.execute(statement.where(beyond)).all()

        pages = self._database.pages(fetch, (0, 0), attrgetter("event_seq", "seq"))
        return map(DELIVERY.value, chain.from_iterable(pages))

    def letters(
        self, selection: Selection, allowed: tuple[DeliveryState, ...] = DEAD_LETTERS
    ) -> Iterator[Delivery | Event]:
        """Yield the deliveries in those of the states that are allowed, then quarantined events; without states the
        dead-letter queue.
        """
        of_deliveries, of_events = parts(selection, allowed)
        yield from self.deliveries(of_deliveries) if of_deliveries else ()
        yield from self.events(of_events) if of_events else ()

    def event(self, id_: str) -> Event:
        """Return the event of this id, or of the delivery of this id. Raises NotFound when there is neither."""
        row = self._database.first(_event, id=id_)
        if row is None:
            raise NotFound("there is no event and no delivery %(id)s; `relay events` lists them", id=id_)
        return EVENT.value(row)

    def deliveries_of(self, event: Event) -> list[tuple[Delivery, list[Attempt]]]:
        """Return an event's deliveries, each with its attempts."""
        with self._database.read() as connection:
            of_event = [DELIVERY.value(row) for row in _deliveries.rows(connection, event_seq=event.seq)]
            return [
                (delivery, [ATTEMPT.value(row) for row in _attempts.rows(connection, delivery_seq=delivery.seq)])
                for delivery in of_event
            ]

    def calls_since(self, source: str, since: datetime) -> CallCounts:
        return CallCounts(*self._database.rows(_calls_since, source=source, since=to_us(since))[0])

    def told_calls(self, since: datetime) -> list[ToldCall]:
        return told_calls(self._database.rows(_told_since, since=to_us(since)))

    def failed_attempts(self, since: datetime) -> dict[str, int]:
        """Return by target how many attempts came to something else than a delivery."""
        return dict(self._database.rows(_failed_attempts, since=to_us(since)))

    def count_states(self, seqs: list[int]) -> dict[str, int]:
        """How many of these deliveries are in which state."""
        counts: Counter[str] = Counter()
        with self._database.read() as connection:
            for start in range(0, len(seqs), PAGE):
                counts.update(dict(_states.rows(connection, seqs=seqs[start : start + PAGE])))
        return counts

    def target_names(self, configured: Iterable[str]) -> list[str]:
        """Return the configured targets, and after them all others that have deliveries or ever had a lane."""
        others = sorted(name for (name,) in self._database.rows(_target_names))
        return list(dict.fromkeys([*configured, *others]))

    def has_backlog(self, target: str) -> bool:
        return self._database.first(_backlog, target=target) is not None

    def target_figures(self, name: str, since: datetime) -> TargetFigures:
        with self._database.read() as connection:
            row = _target.first(connection, target=name)
            [(due, oldest_due_at, delivered, dead)] = _target_counts.rows(connection, target=name, since=to_us(since))
        state, reason, last_error, paused_at, asked_until = row or ("open", None, None, None, None)
        reason, last_error = (None if text is None else decode(text) for text in (reason, last_error))
        if paused_at is not None:
            state, reason = "paused", Message("paused by the operator since %(at)s", at=from_us(paused_at))
        return TargetFigures(
            name=name,
            state=state,
            reason=reason,
            due=due,
            oldest_due_at=None if oldest_due_at is None else from_us(oldest_due_at),
            delivered=delivered,
            dead=dead,
            last_error=last_error,
            retry_not_before=None if asked_until is None else from_us(asked_until),
        )

    def taken_since(self, source: str, since: datetime) -> tuple[int, datetime | None]:
        """How many notifications a source has sent since then, and when the last one came, whenever that was."""
        [(taken, last)] = self._database.rows(_taken, source=source, since=to_us(since))
        return taken, None if last is None else from_us(last)


def event_conditions(selection: Selection) -> Iterator[Condition]:
    yield from _shared_conditions(selection)
    of_event = deliveries.c.event_seq == events.c.seq
    ours = [of_event] if selection.target is None else [of_event, deliveries.c.target == selection.target]
    if selection.target:
        yield exists().where(*ours)
    if selection.states == ("quarantined",):
        yield text(QUARANTINED)  # word for word what the index says
    elif selection.states:  # `discarded` is a state of events and of deliveries
        one_of_them = exists().where(*ours, deliveries.c.state.in_(selection.states))
        yield or_(events.c.state.in_(selection.states), one_of_them)
    if selection.ids:
        by_delivery = exists().where(of_event, deliveries.c.id.in_(selection.ids))
        yield or_(events.c.id.in_(selection.ids), by_delivery)


def event_seq_of_delivery(selection: Selection) -> ColumnElement[int]:
    """Return what sorts deliveries by their events. With `+ 0`, or SQLite would rather walk all of them in order than
    sort the few dead ones.
    """
    return deliveries.c.event_seq + 0 if _is_of_dead_letters(selection) else deliveries.c.event_seq


def _is_of_dead_letters(selection: Selection) -> bool:
    return bool(selection.states) and set(selection.states) <= set(DEAD_LETTERS)


def select_deliveries(selection: Selection, columns: Iterable[ColumnElement[Any]] = DELIVERY.columns) -> Select[Any]:
    statement = select(*columns).select_from(deliveries).join(events, events.c.seq == deliveries.c.event_seq)
    return statement.where(*_delivery_conditions(selection))


def _delivery_conditions(selection: Selection) -> Iterator[Condition]:
    yield from _shared_conditions(selection)
    if selection.target:
        yield deliveries.c.target == selection.target
    if selection.states:
        yield deliveries.c.state.in_(selection.states)
    if selection.not_replayed_since:  # a pause moves where the age starts only on
        yield not_(deliveries.c.replayed & (deliveries.c.age_started_at >= to_us(selection.not_replayed_since)))
    if _is_of_dead_letters(selection):
        yield text(DEAD)  # word for word what the index says
    if selection.ids:
        yield or_(deliveries.c.id.in_(selection.ids), deliveries.c.event.in_(selection.ids))


def _shared_conditions(selection: Selection) -> Iterator[Condition]:
    for name in ("source", "session", "kind"):
        if value := getattr(selection, name):
            yield events.c[name] == value
    if selection.since:
        yield events.c.received_at >= to_us(selection.since)
    if selection.until:
        yield events.c.received_at < to_us(selection.until)
    if selection.phone:
        phone = significant_digits(selection.phone) or selection.phone
        yield events.c.phones.contains(phone, autoescape=True)


def parts(
    selection: Selection, allowed: tuple[DeliveryState, ...] = DEAD_LETTERS
) -> tuple[Selection | None, Selection | None]:
    """Return which deliveries in an allowed state, and which events in quarantine, are asked for; None: none."""
    states = selection.states or (*DEAD_LETTERS, "quarantined")
    of_deliveries = tuple(state for state in states if state in allowed)
    has_events = "quarantined" in states and selection.target is None
    return (
        replace(selection, states=of_deliveries) if of_deliveries else None,
        replace(selection, states=("quarantined",)) if has_events else None,
    )
