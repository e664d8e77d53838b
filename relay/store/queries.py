"""What people ask the store: lists with filters, one event whole, the state of targets and sources.

Lists come by page, by `seq`, so that no reader stays open for long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, Select, TextClause, exists, func, or_, select, text

from relay.clock import from_us, iso, to_us
from relay.errors import NotFound
from relay.models import DEAD_LETTERS, DELIVERY_STATES, EVENT_STATES, Attempt, Delivery, Event
from relay.store import rows
from relay.store.sqlite.database import Database
from relay.store.tables import DEAD, DELIVERED, UNFINISHED, attempts, deliveries, events, targets

_Condition = ColumnElement[bool] | TextClause

_PAGE = 500
_QUARANTINED = text("events.state = 'quarantined'")  # QUARANTINED and DEAD, where two tables have a state
_DEAD = text("deliveries.state IN ('dead', 'held')")


_count_deliveries = select(func.count()).select_from(deliveries)


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

    @property
    def is_empty(self) -> bool:
        return self == Selection()

    def event_states(self) -> tuple[str, ...]:
        return tuple(state for state in self.states if state in EVENT_STATES)

    def delivery_states(self) -> tuple[str, ...]:
        return tuple(state for state in self.states if state in DELIVERY_STATES)


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


class Queries:
    """Reads only. Raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def events(self, wanted: Selection, *, newest: int | None = None) -> Iterator[Event]:
        """In the order of acceptance; with `newest` only the last so many."""
        statement = select(*rows.EVENT_COLUMNS).where(*event_conditions(wanted))
        after = 0
        if newest is not None:
            with self._database.read() as connection:
                found = connection.execute(
                    select(events.c.seq)
                    .where(*event_conditions(wanted))
                    .order_by(events.c.seq.desc())
                    .offset(newest)
                    .limit(1)
                ).scalar()
                after = 0 if found is None else int(found)
        while True:
            page = statement.where(events.c.seq > after).order_by(events.c.seq).limit(_PAGE)
            with self._database.read() as connection:
                found_rows = connection.execute(page).all()
            for row in found_rows:
                yield rows.event(row)
            if len(found_rows) < _PAGE:
                return
            after = found_rows[-1][0]

    def deliveries(self, wanted: Selection) -> Iterator[Delivery]:
        """In the order of their events. An event's id stands for its deliveries."""
        conditions = delivery_conditions(wanted)
        statement: Select[tuple[object, ...]] = select(*rows.DELIVERY_COLUMNS).join(
            events, events.c.seq == deliveries.c.event_seq
        )
        after = (0, 0)
        event_seq: ColumnElement[int] = deliveries.c.event_seq
        if wanted.states and set(wanted.states) <= set(DEAD_LETTERS):
            event_seq = event_seq + 0  # or SQLite would rather walk all deliveries in order than sort the few dead ones
        while True:
            page = (
                statement.where(
                    *conditions,
                    or_(event_seq > after[0], (event_seq == after[0]) & (deliveries.c.seq > after[1])),
                )
                .order_by(event_seq, deliveries.c.seq)
                .limit(_PAGE)
            )
            with self._database.read() as connection:
                found = [rows.delivery(row) for row in connection.execute(page)]
            yield from found
            if len(found) < _PAGE:
                return
            after = (found[-1].event_seq, found[-1].seq)

    def dead_letters(self, wanted: Selection) -> Iterator[Delivery | Event]:
        """Yield what an operator must look at: dead and held deliveries, then quarantined events."""
        states = wanted.states or (*DEAD_LETTERS, "quarantined")
        if set(states) & set(DEAD_LETTERS):
            yield from self.deliveries(with_states(wanted, DEAD_LETTERS, states))
        if "quarantined" in states and wanted.target is None:
            yield from self.events(with_states(wanted, ("quarantined",), states))

    def event(self, id_: str) -> Event:
        """Return the event of this id, or of the delivery of this id. Raises NotFound when there is neither."""
        of_delivery = select(deliveries.c.event_seq).where(deliveries.c.id == id_).scalar_subquery()
        statement = select(*rows.EVENT_COLUMNS).where((events.c.id == id_) | (events.c.seq == of_delivery))
        with self._database.read() as connection:
            row = connection.execute(statement).first()
        if row is None:
            raise NotFound(f"there is no event and no delivery {id_}; `python -m relay events` lists them")
        return rows.event(row)

    def deliveries_of(self, event: Event) -> list[tuple[Delivery, list[Attempt]]]:
        """Return an event's deliveries, each with its attempts."""
        of_event = select(*rows.DELIVERY_COLUMNS).where(deliveries.c.event_seq == event.seq).order_by(deliveries.c.seq)
        with self._database.read() as connection:
            return [
                (delivery, _attempts(connection, delivery))
                for delivery in [rows.delivery(row) for row in connection.execute(of_event)]
            ]

    def count_states(self, seqs: list[int]) -> dict[str, int]:
        """How many of these deliveries are in which state."""
        with self._database.read() as connection:
            counts: dict[str, int] = {}
            for start in range(0, len(seqs), _PAGE):
                statement = (
                    select(deliveries.c.state, func.count())
                    .where(deliveries.c.seq.in_(seqs[start : start + _PAGE]))
                    .group_by(deliveries.c.state)
                )
                for state, count in connection.execute(statement):
                    counts[state] = counts.get(state, 0) + int(count)
            return counts

    def target_names(self, configured: Iterable[str]) -> list[str]:
        """Return the configured targets, and after them all others that have deliveries or ever had a lane."""
        with self._database.read() as connection:
            with_lane = connection.execute(select(targets.c.name)).scalars().all()
            with_work = connection.execute(select(deliveries.c.target).where(UNFINISHED).distinct()).scalars().all()
        return list(dict.fromkeys([*configured, *sorted({*with_lane, *with_work})]))

    def has_backlog(self, target: str) -> bool:
        with self._database.read() as connection:
            waiting = select(deliveries.c.seq).where(deliveries.c.target == target, or_(UNFINISHED, DEAD)).limit(1)
            return connection.execute(waiting).first() is not None

    def target_figures(self, name: str, since: datetime) -> TargetFigures:
        columns = (targets.c.state, targets.c.reason, targets.c.last_error, targets.c.paused_at, targets.c.asked_until)
        oldest = select(func.min(deliveries.c.due_at)).where(deliveries.c.target == name, UNFINISHED)
        with self._database.read() as connection:
            row = connection.execute(select(*columns).where(targets.c.name == name)).first()
            oldest_due_at = connection.execute(oldest).scalar()
            due, delivered, dead = (
                int(connection.execute(_count_deliveries.where(deliveries.c.target == name, *conditions)).scalar_one())
                for conditions in ((UNFINISHED,), (DELIVERED, deliveries.c.delivered_at >= to_us(since)), (DEAD,))
            )
        state, reason, last_error, paused_at, asked_until = row or ("open", None, None, None, None)
        if paused_at is not None:
            state, reason = "paused", f"paused by the operator since {iso(from_us(paused_at))}"
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
        with self._database.read() as connection:
            of_source = events.c.source == source
            taken = connection.execute(
                select(func.count()).select_from(events).where(of_source, events.c.received_at >= to_us(since))
            ).scalar_one()
            last = connection.execute(select(func.max(events.c.received_at)).where(of_source)).scalar()
            return int(taken), None if last is None else from_us(last)


def _attempts(connection: Connection, delivery: Delivery) -> list[Attempt]:
    statement = select(*rows.ATTEMPT_COLUMNS).where(attempts.c.delivery_seq == delivery.seq).order_by(attempts.c.seq)
    return [rows.attempt(row) for row in connection.execute(statement)]


def event_conditions(wanted: Selection) -> list[_Condition]:
    conditions = _shared_conditions(wanted)
    if wanted.kind:
        conditions.append(events.c.kind == wanted.kind)
    if wanted.session:
        conditions.append(events.c.session == wanted.session)
    of_event = deliveries.c.event_seq == events.c.seq
    ours = [of_event] if wanted.target is None else [of_event, deliveries.c.target == wanted.target]
    if wanted.target:
        conditions.append(exists().where(*ours))
    if wanted.states == ("quarantined",):
        conditions.append(_QUARANTINED)  # word for word what the index says
    elif wanted.states:  # `discarded` is a state of events and of deliveries
        one_of_them = exists().where(*ours, deliveries.c.state.in_(wanted.delivery_states()))
        conditions.append(or_(events.c.state.in_(wanted.event_states()), one_of_them))
    if wanted.ids:
        by_delivery = exists().where(of_event, deliveries.c.id.in_(wanted.ids))
        conditions.append(or_(events.c.id.in_(wanted.ids), by_delivery))
    return conditions


def delivery_conditions(wanted: Selection) -> list[_Condition]:
    conditions = _shared_conditions(wanted)
    if wanted.kind:
        conditions.append(deliveries.c.kind == wanted.kind)
    if wanted.session:
        conditions.append(events.c.session == wanted.session)
    if wanted.target:
        conditions.append(deliveries.c.target == wanted.target)
    if wanted.states:
        conditions.append(deliveries.c.state.in_(wanted.delivery_states()))
        if set(wanted.states) <= set(DEAD_LETTERS):
            conditions.append(_DEAD)  # word for word what the index says
    if wanted.ids:
        conditions.append(or_(deliveries.c.id.in_(wanted.ids), deliveries.c.event.in_(wanted.ids)))
    return conditions


def _shared_conditions(wanted: Selection) -> list[_Condition]:
    conditions: list[_Condition] = []
    if wanted.source:
        conditions.append(events.c.source == wanted.source)
    if wanted.since:
        conditions.append(events.c.received_at >= to_us(wanted.since))
    if wanted.until:
        conditions.append(events.c.received_at < to_us(wanted.until))
    return conditions + phone_conditions(wanted, events.c.phones)


def phone_conditions(wanted: Selection, phones: ColumnElement[str]) -> list[_Condition]:
    """That a number, or a part of it, is among the phones of an event."""
    if not wanted.phone:
        return []
    digits = re.sub(r"\D", "", wanted.phone)
    if len(digits) == 11 and digits[0] == "8":
        digits = digits[1:]  # +7 and 8 are the same line
    return [phones.contains(digits or wanted.phone, autoescape=True)]


def with_states(wanted: Selection, only: tuple[str, ...], states: tuple[str, ...]) -> Selection:
    """The same, in those of the states that are among `only`."""
    return replace(wanted, states=tuple(state for state in states if state in only))
