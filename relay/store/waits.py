"""What waits, as a whole: ends what is overdue, and follows a step of the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, bindparam, case, exists, select, update

from relay.clock import to_us
from relay.models import Delivery, DeliveryState
from relay.store import call_order, rows, target_state
from relay.store.sqlite.database import PATIENT_TIMEOUT_S, Database
from relay.store.statement import Hot
from relay.store.tables import UNFINISHED, deliveries, standstills, targets

_PAGE = 200  # whoever ends them has other lanes to see to, and a lease to renew
_SECOND = timedelta(seconds=1)

_give_up = Hot(
    update(deliveries)
    .where(deliveries.c.seq == bindparam("row"), deliveries.c.state == "due")
    .values(state=bindparam("state_"), reason=bindparam("reason_"))
)


class Expiry(Struct, frozen=True):
    """A delivery that is given up without another try."""

    delivery: Delivery
    state: DeliveryState
    reason: str
    now: datetime
    call_gap: timedelta


class Waits:
    """The deliveries of a lane that are not under way. Raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_overdue(self, target: str, born_before: datetime, kind: str | None = None) -> list[Delivery]:
        """Return a page of those that wait since before then; with `kind` of that kind only, and none replayed."""
        statement = select(*rows.DELIVERY_COLUMNS).where(
            deliveries.c.target == target,
            UNFINISHED,
            deliveries.c.state == "due",
            deliveries.c.aged_from <= to_us(born_before),
        )
        if kind is not None:
            statement = statement.where(deliveries.c.kind == kind, deliveries.c.replayed.is_(False))
        with self._database.read() as connection:
            page = connection.execute(statement.order_by(deliveries.c.event_seq).limit(_PAGE))
            return [rows.delivery(row) for row in page]

    def expire(self, batch: Sequence[Expiry]) -> int:
        """Give them up; return how many ended. Those whose state has changed meanwhile go on."""
        return self._database.write_in_chunks(_expire, batch)

    def follow_clock(
        self, lanes: Mapping[str, int], before: datetime, after: datetime, gaps: Mapping[str, timedelta]
    ) -> None:
        """The wall clock has stepped: waits keep their length, and a step forward ages nobody.

        All these lanes, given with their epochs, follow it in one commit, and once only. `gaps`: between two
        deliveries of one call, by the lane's name; what waits for its gap is not tried yet.
        """
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            _follow_clock(connection, lanes, before, after, gaps)

    def shorten(self, target: str, now: datetime, longest: timedelta) -> int:
        """Let a page of those wait from now that are due later than they were told to wait, or than the `longest`
        pause between two tries allows; return how many. Such is left by a clock that was ahead and was set right.
        """
        overlong = deliveries.c.state == "due", deliveries.c.due_at > _latest(now, longest)
        page = select(deliveries.c.seq).where(deliveries.c.target == target, UNFINISHED, *overlong).limit(_PAGE)
        with self._database.read() as connection:
            seqs = list(connection.execute(page).scalars())
        if seqs:
            aged_from = case((deliveries.c.aged_from > to_us(now), to_us(now)), else_=deliveries.c.aged_from)
            shortened = update(deliveries).where(deliveries.c.seq.in_(seqs), *overlong)
            with self._database.write(PATIENT_TIMEOUT_S) as connection:
                connection.execute(shortened.values(due_at=_latest(now, longest), aged_from=aged_from))
        return len(seqs)


def _expire(connection: Connection, batch: Sequence[Expiry]) -> list[bool]:
    """False: its state was no longer the one that was seen."""
    ended = [
        bool(_give_up.run(connection, row=one.delivery.seq, state_=one.state, reason_=one.reason)) for one in batch
    ]
    gaps = {call_order.line_of(one.delivery): one.call_gap for one in batch}
    now = max((to_us(one.now) for one in batch), default=0)
    call_order.settle(connection, gaps, call_order.free_at(connection, gaps, now))
    return ended


def _follow_clock(
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


def _latest(now: datetime, longest: timedelta) -> ColumnElement[int]:
    """When a delivery can be due at the latest: a replay with a rate may have told it to come much later."""
    was_tried = deliveries.c.tried_at >= deliveries.c.aged_from  # since it was accepted or replayed
    was_told = deliveries.c.due_at > deliveries.c.aged_from
    told = case((was_told, deliveries.c.due_at - deliveries.c.aged_from), else_=0)
    return to_us(now) + case((was_tried, longest // timedelta(microseconds=1)), else_=told)
