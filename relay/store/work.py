"""The lanes' side of the store: claims the next due delivery, records what an attempt came to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection, bindparam, insert, literal_column, select, update

from relay.events import Attempt, Delivery, DeliveryState, Event
from relay.store import rows, turns
from relay.store.hot import Hot
from relay.store.schema import DELIVERED, DUE, UNFINISHED, attempts, deliveries, events, targets
from relay.times import to_us

_next_due = Hot(
    select(*rows.DELIVERY_COLUMNS)
    .where(deliveries.c.target == bindparam("target"), DUE, deliveries.c.due_at <= bindparam("now"))
    .order_by(deliveries.c.due_at, deliveries.c.event_seq)
    .limit(bindparam("one"))
)
_event = Hot(select(*rows.EVENT_COLUMNS).where(events.c.seq == bindparam("event_seq")))
_take = Hot(
    update(deliveries)
    .where(deliveries.c.seq == bindparam("row"), deliveries.c.state == "due")
    .values(state="sending", epoch=bindparam("epoch_"), tried_at=bindparam("now_"))
)
_settle = Hot(
    update(deliveries)
    .where(deliveries.c.seq == bindparam("row"), deliveries.c.state == "sending", deliveries.c.epoch == bindparam("of"))
    .values(
        {
            name: bindparam(f"{name}_")
            for name in ("state", "attempts", "failures", "unclear", "due_at", "delivered_at", "reason", "remote")
        }
    )
)
_settle_late = Hot(  # an answer that came after the delivery had been taken for unclear
    update(deliveries)
    .where(
        deliveries.c.seq == bindparam("row"),
        deliveries.c.state.in_([literal_column("'due'"), literal_column("'held'")]),
    )
    .values(state="delivered", delivered_at=bindparam("at"), remote=bindparam("remote_"), reason=bindparam("none"))
)
_insert_attempt = Hot(insert(attempts).values({c.name: bindparam(c.name) for c in attempts.c if c.name != "seq"}))
_note_error = Hot(
    update(targets)
    .where(targets.c.name == bindparam("target"))
    .values(last_error=bindparam("error"), last_error_at=bindparam("at"))
)
_put_back = Hot(
    update(deliveries)
    .where(deliveries.c.seq == bindparam("row"), deliveries.c.state == "sending", deliveries.c.epoch == bindparam("of"))
    .values(state="due", tried_at=bindparam("tried"))
)
_sending = Hot(
    select(*rows.DELIVERY_COLUMNS, deliveries.c.epoch).where(
        deliveries.c.target == bindparam("target"), UNFINISHED, deliveries.c.state == "sending"
    )
)
_first_due = Hot(
    select(deliveries.c.due_at).where(deliveries.c.target == bindparam("target"), DUE)
    .order_by(deliveries.c.due_at, deliveries.c.event_seq).limit(bindparam("one"))
)  # fmt: skip
_delivered_since = Hot(
    select(deliveries.c.seq).where(
        deliveries.c.target == bindparam("target"), DELIVERED, deliveries.c.delivered_at > bindparam("since"),
        (deliveries.c.session != bindparam("session")) | deliveries.c.session.is_(None)
        | (deliveries.c.source != bindparam("source")),
    ).limit(bindparam("one"))
)  # fmt: skip


class Job(Struct, frozen=True):
    """A claimed delivery with its event: on disk it stands as `sending`."""

    delivery: Delivery
    event: Event
    epoch: int


class Claim(Struct, frozen=True):
    target: str
    epoch: int
    now: datetime


class Result(Struct, frozen=True, kw_only=True):
    """What becomes of a delivery after an attempt. Without `attempt` there was none (it expired)."""

    delivery: Delivery
    epoch: int
    state: DeliveryState
    due_at: datetime
    failures: int
    unclear: int
    delivered_at: datetime | None
    reason: str | None
    remote: str | None
    attempt: Attempt | None
    then: Claim | None = None  #: claim the lane's next one in the same commit


def claim(connection: Connection, batch: Sequence[Claim]) -> list[Job | None]:
    """For each the next due delivery of its target, now `sending`; None when nothing is due."""
    return [_claim_one(connection, wanted) for wanted in batch]


def _claim_one(connection: Connection, wanted: Claim) -> Job | None:
    now = to_us(wanted.now)
    found = _next_due.first(connection, target=wanted.target, now=now, one=1)
    if found is None:
        return None
    delivery = rows.delivery(found)
    _take.run(connection, row=delivery.seq, epoch_=wanted.epoch, now_=now)
    return Job(delivery, rows.event(_event.rows(connection, event_seq=delivery.event_seq)[0]), wanted.epoch)


def record(connection: Connection, batch: Sequence[Result]) -> list[Job | None]:
    """Writes each result and its attempt, lets the call's next delivery pass, and claims what is wanted."""
    for result in batch:
        _record_one(connection, result)
    return [None if result.then is None else _claim_one(connection, result.then) for result in batch]


def _record_one(connection: Connection, result: Result) -> None:
    delivery, attempt = result.delivery, result.attempt
    changed = _settle.run(
        connection, row=delivery.seq, of=result.epoch, state_=result.state,
        attempts_=delivery.attempts if attempt is None else attempt.number, failures_=result.failures,
        unclear_=result.unclear, due_at_=to_us(result.due_at),
        delivered_at_=None if result.delivered_at is None else to_us(result.delivered_at),
        reason_=result.reason, remote_=result.remote,
    )  # fmt: skip
    if not changed and result.delivered_at is not None:
        changed = _settle_late.run(
            connection, row=delivery.seq, at=to_us(result.delivered_at), remote_=result.remote, none=None
        )
    if attempt is not None:
        _insert_attempt.run(
            connection, delivery_seq=delivery.seq, number=attempt.number, at=to_us(attempt.at),
            took_ms=attempt.took_ms, status=attempt.status, outcome=attempt.outcome, reason=attempt.reason,
        )  # fmt: skip
        if attempt.outcome != "delivered":
            _note_error.run(connection, target=delivery.target, error=attempt.reason, at=to_us(attempt.at))
    if changed:
        turns.settle(connection, turns.line_of(delivery))


def put_back(connection: Connection, batch: Sequence[Job]) -> list[bool]:
    """Back to `due` without counting: claimed, but its request was not begun."""
    results = []
    for job in batch:
        tried = None if job.delivery.tried_at is None else to_us(job.delivery.tried_at)
        results.append(bool(_put_back.run(connection, row=job.delivery.seq, of=job.epoch, tried=tried)))
        turns.settle(connection, turns.line_of(job.delivery))
    return results


def left_sending(connection: Connection, target: str) -> list[tuple[Delivery, int]]:
    """What an owner that is gone had in `sending`, with its epoch: it may have arrived."""
    return [(rows.delivery(row[:-1]), row[-1]) for row in _sending.rows(connection, target=target)]


def first_due_at(connection: Connection, target: str) -> int | None:
    """When the lane's next delivery is due, in microseconds; None when it has none."""
    found = _first_due.first(connection, target=target, one=1)
    return None if found is None else int(found[0])


def another_was_delivered(connection: Connection, delivery: Delivery, since: datetime) -> bool:
    """Has the target taken another call since then? Then a failure is the event's own."""
    return bool(
        _delivered_since.rows(
            connection, target=delivery.target, since=to_us(since), session=delivery.session or "",
            source=delivery.source, one=1,
        )
    )  # fmt: skip
