"""What waits, as a whole: ends what has outlived its time, follows a step of the clock, moves to another target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, bindparam, case, exists, select, update

from relay.clock import to_us
from relay.models import Delivery, DeliveryState
from relay.store import call_order, rows, target_state
from relay.store.statement import Hot
from relay.store.tables import UNFINISHED, deliveries, standstills, targets

_PAGE = 200  # whoever ends them has other lanes to see to, and a lease to renew
_SECOND = timedelta(seconds=1)

_end = Hot(
    update(deliveries)
    .where(deliveries.c.seq == bindparam("row"), deliveries.c.state == "due")
    .values(state=bindparam("state_"), reason=bindparam("reason_"))
)
_move = Hot(
    update(deliveries)
    .where(deliveries.c.seq == bindparam("row"), deliveries.c.state == bindparam("seen"))
    .values(
        target=bindparam("to"), ordered=bindparam("ordered_"), state="due", turn=bindparam("alone"),
        attempts=bindparam("zero"), failures=bindparam("zero"), unclear=bindparam("zero"), due_at=bindparam("now"),
        aged_from=bindparam("now"), replayed=True, reason=bindparam("none"), remote=bindparam("none"),
    )
)  # fmt: skip


class Expiry(Struct, frozen=True):
    """A delivery that is given up without another try."""

    delivery: Delivery
    state: DeliveryState
    reason: str
    now: datetime
    call_gap: timedelta


class Reroute(Struct, frozen=True):
    """A delivery that goes to another target, as if it were new there."""

    delivery: Delivery
    target: str
    ordered: bool
    call_gap: timedelta
    now: datetime


def list_overdue(connection: Connection, target: str, born_before: datetime, kind: str | None) -> list[Delivery]:
    """The first of those that wait since before then; with `kind` only of that kind, and none that was replayed."""
    statement = select(*rows.DELIVERY_COLUMNS).where(
        deliveries.c.target == target, UNFINISHED, deliveries.c.state == "due",
        deliveries.c.aged_from <= to_us(born_before),
    )  # fmt: skip
    if kind is not None:
        statement = statement.where(deliveries.c.kind == kind, deliveries.c.replayed.is_(False))
    found = connection.execute(statement.order_by(deliveries.c.event_seq).limit(_PAGE))
    return [rows.delivery(row) for row in found]


def end(connection: Connection, batch: Sequence[Expiry]) -> list[bool]:
    """False: its state was no longer the one that was seen."""
    ended = [bool(_end.run(connection, row=one.delivery.seq, state_=one.state, reason_=one.reason)) for one in batch]
    gaps = {call_order.line_of(one.delivery): one.call_gap for one in batch}
    now = max((to_us(one.now) for one in batch), default=0)
    call_order.settle(connection, gaps, call_order.free_at(connection, gaps, now))
    return ended


def move(connection: Connection, batch: Sequence[Reroute]) -> list[bool]:
    """False: its state has changed meanwhile, or the other target has this event already."""
    return [_move_one(connection, wanted) for wanted in batch]


def _move_one(connection: Connection, wanted: Reroute) -> bool:
    delivery = wanted.delivery
    theirs = exists().where(deliveries.c.event_seq == delivery.event_seq, deliveries.c.target == wanted.target)
    if connection.execute(select(theirs)).scalar():
        return False
    alone = not wanted.ordered or delivery.session is None
    moved = _move.run(
        connection, row=delivery.seq, seen=delivery.state, to=wanted.target, ordered_=wanted.ordered,
        now=to_us(wanted.now), alone=alone, zero=0, none=None,
    )  # fmt: skip
    there = call_order.Line(wanted.target, delivery.source, delivery.session if wanted.ordered else None)
    free_at = call_order.free_at(connection, {there: wanted.call_gap}, to_us(wanted.now))
    call_order.settle(connection, [call_order.line_of(delivery), there], free_at)
    return bool(moved)


def follow_clock(
    connection: Connection, lanes: Mapping[str, int], before: datetime, after: datetime, gaps: Mapping[str, timedelta]
) -> None:
    """The wall clock has stepped from `before` to `after`; `lanes` are those of the owner, with their epochs.

    Waits keep their length. A step forward ages nobody; a step back makes those that wait younger by it.
    What was taken or tried since the step, before it was noticed, stays as it is, and so does what has got its turn
    since (`gaps` between two deliveries of one call). A lane follows a step once, however often it is told: the
    standstill that the same commit writes says that it has. (One that ends before it begins, after a step back, is
    no span of time to anybody.)
    """
    for target, epoch in lanes.items():
        its_own = exists().where(targets.c.name == target, targets.c.epoch == epoch)
        followed = exists().where(
            standstills.c.target == target,
            standstills.c.began_at == to_us(before),
            standstills.c.ended_at == to_us(after),
        )
        if connection.execute(select(its_own & ~followed)).scalar():
            _shift_waits(connection, target, before, after, gaps.get(target, timedelta(0)))
            target_state.add_standstill(connection, target, before, after)


def _shift_waits(connection: Connection, target: str, before: datetime, after: datetime, call_gap: timedelta) -> None:
    step = (after - before) // timedelta(microseconds=1)
    waiting = update(deliveries).where(deliveries.c.target == target, UNFINISHED, deliveries.c.state == "due")
    tried_at = deliveries.c.tried_at
    if after > before:
        in_its_gap = tried_at.is_(None) & (deliveries.c.due_at <= to_us(before + call_gap))
        waiting = waiting.where(deliveries.c.due_at > to_us(before), (tried_at <= to_us(before)) | in_its_gap)
    else:
        since_the_step = tried_at.is_not(None) & tried_at.between(to_us(after - _SECOND), to_us(after))
        in_its_gap = tried_at.is_(None) & (deliveries.c.due_at <= to_us(after + call_gap))
        waiting = waiting.where(deliveries.c.due_at > to_us(after), ~since_the_step, ~in_its_gap)
    connection.execute(waiting.values(due_at=deliveries.c.due_at + step))


def overlong(connection: Connection, target: str, now: datetime, longest: timedelta) -> list[int]:
    """A page of what is due later than it was told to wait, or than the `longest` pause between two tries allows.

    Such is left behind by a clock that was ahead and was set right while nobody looked.
    """
    statement = select(deliveries.c.seq).where(deliveries.c.target == target, UNFINISHED, *_is_overlong(now, longest))
    return list(connection.execute(statement.limit(_PAGE)).scalars())


def shorten(connection: Connection, seqs: Sequence[int], now: datetime, longest: timedelta) -> None:
    """Lets these wait from now, and for no longer than that."""
    found = update(deliveries).where(deliveries.c.seq.in_(seqs), *_is_overlong(now, longest))
    aged_from = case((deliveries.c.aged_from > to_us(now), to_us(now)), else_=deliveries.c.aged_from)
    connection.execute(found.values(due_at=_latest(now, longest), aged_from=aged_from))


def _is_overlong(now: datetime, longest: timedelta) -> tuple[ColumnElement[bool], ...]:
    return deliveries.c.state == "due", deliveries.c.due_at > _latest(now, longest)


def _latest(now: datetime, longest: timedelta) -> ColumnElement[int]:
    """When a delivery can be due at the latest: a replay with a rate may have told it to come much later."""
    was_tried = deliveries.c.tried_at >= deliveries.c.aged_from  # since it was accepted or replayed
    was_told = deliveries.c.due_at > deliveries.c.aged_from
    told = case((was_told, deliveries.c.due_at - deliveries.c.aged_from), else_=0)
    return to_us(now) + case((was_tried, longest // timedelta(microseconds=1)), else_=told)
