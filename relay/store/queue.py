"""The lanes' side of the store: claims the next due deliveries, records what attempts came to.

Both work on a whole batch with few statements: each call of the driver gives up the GIL, and to get it back costs
more than a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, bindparam, exists, literal_column, select, text, update

from relay.clock import to_us
from relay.models import Attempt, ClaimedDelivery, Delivery, DeliveryState, TargetHealth
from relay.store import call_order, rows, target_state
from relay.store.group_commit import GroupCommit
from relay.store.sqlite.database import PATIENT_TIMEOUT_S, Database
from relay.store.statement import Hot, HotIn, HotInsert, HotUpdate
from relay.store.tables import DELIVERED, DUE, UNFINISHED, attempts, deliveries, events, targets

_IS_DUE = text("deliveries.state = 'due' AND deliveries.turn")  # DUE, where `events` has a state too
_due = (
    select(*rows.DELIVERY_COLUMNS, *rows.EVENT_COLUMNS)
    .join(events, events.c.seq == deliveries.c.event_seq)
    .where(
        deliveries.c.target == bindparam("target"), _IS_DUE, deliveries.c.due_at <= bindparam("now"),
        exists().where(targets.c.name == bindparam("target"), targets.c.epoch == bindparam("epoch")),
    )
    .order_by(deliveries.c.due_at, deliveries.c.event_seq)
    .limit(bindparam("count"))
)  # fmt: skip
_oldest = Hot(_due)
_fresh = Hot(_due.where(deliveries.c.due_at >= bindparam("since"), deliveries.c.aged_from >= bindparam("since")))
_clear = Hot(_due.where(deliveries.c.unclear == literal_column("0")))
_take = HotIn(
    update(deliveries)
    .where(deliveries.c.seq.in_(bindparam("among", expanding=True)))
    .values(state="sending", epoch=bindparam("epoch_"), tried_at=bindparam("now_"))
)
_SETTLED = ("state", "attempts", "failures", "unclear", "due_at", "delivered_at", "reason", "remote")
_settle = HotUpdate(
    deliveries,
    key="seq",
    also=("epoch",),
    values=_SETTLED,
    seen=("tries",),
    where="deliveries.state = 'sending' AND deliveries.attempts = new.tries",
)
_settle_late = Hot(  # an answer that came after the delivery had been taken for unclear
    update(deliveries)
    .where(
        deliveries.c.seq == bindparam("row"),
        deliveries.c.state.in_([literal_column("'due'"), literal_column("'held'")]),
    )
    .values(state="delivered", delivered_at=bindparam("at"), remote=bindparam("remote_"), reason=bindparam("none"))
)
_same_attempt = Hot(
    select(attempts.c.seq).where(
        attempts.c.delivery_seq == bindparam("row"),
        attempts.c.number == bindparam("number_"),
        attempts.c.at == bindparam("at_"),
        attempts.c.outcome == bindparam("outcome_"),
    )
)
_insert_attempts = HotInsert(attempts, without=("seq",))
_note_error = Hot(
    update(targets)
    .where(targets.c.name == bindparam("target"))
    .values(last_error=bindparam("error"), last_error_at=bindparam("at"))
)
_unclaim = Hot(
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

Row = tuple[Any, ...]

_LINGER_S = 0.0015  # that a commit waits for other lanes' under load


class Claim(Struct, frozen=True):
    """Asks for the next due delivery of a target, under the epoch of the lane's owner."""

    target: str
    epoch: int
    now: datetime
    fresh_since: datetime | None = None  #: rather one that was accepted since then
    probe: bool = False  #: rather one that cannot have arrived yet


class AttemptResult(Struct, frozen=True, kw_only=True):
    """What becomes of a delivery after an attempt. Without `attempt` there was none (it expired)."""

    delivery: Delivery
    epoch: int
    state: DeliveryState
    due_at: datetime
    failures: int
    unclear: int
    delivered_at: datetime | None
    reason: str | None
    remote_id: str | None
    attempt: Attempt | None
    call_free_at: datetime | None = None  #: no other delivery of its call before
    health: TargetHealth | None = None  #: the target's, if this attempt has changed it
    then: Claim | None = None  #: claim the lane's next one in the same commit


class DeliveryQueue:
    """What lanes do with their deliveries; on disk when it returns. Raises StoreError."""

    def __init__(self, database: Database, commits: GroupCommit) -> None:
        self._database, self._commits = database, commits

    def claim(self, wanted: Claim) -> ClaimedDelivery | None:
        """Return the next due delivery of the target, now `sending`; None when nothing is due."""
        return _claimed(self._commits.run(_claim, wanted, PATIENT_TIMEOUT_S), wanted.epoch)

    def record(self, result: AttemptResult) -> ClaimedDelivery | None:
        """Write down what an attempt came to; return the delivery that `result.then` claimed in the same commit."""
        row = self._commits.run(_record, result, PATIENT_TIMEOUT_S, linger_s=_LINGER_S)
        return None if result.then is None else _claimed(row, result.then.epoch)

    def unclaim(self, delivery: Delivery, epoch: int) -> bool:
        """Put back what was claimed under this epoch, without counting: its request was not begun."""
        return self._commits.run(_unclaim_all, (delivery, epoch), PATIENT_TIMEOUT_S)

    def in_flight(self, target: str) -> list[tuple[Delivery, int]]:
        """Return what stands as `sending`, with the epoch of the owner that claimed it."""
        with self._database.read() as connection:
            return [(rows.delivery(row[:-1]), row[-1]) for row in _sending.rows(connection, target=target)]

    def poll(self, target: str) -> tuple[int | None, target_state.OperatorFlags]:
        """When the lane's next delivery is due, in microseconds (None: it has none), and what the operator wants."""
        with self._database.read() as connection:
            found = _first_due.first(connection, target=target, one=1)
            return None if found is None else int(found[0]), target_state.operator_flags(connection, target)

    def another_was_delivered(self, delivery: Delivery, since: datetime) -> bool:
        """Has the target taken another call since then? Then a failure is the event's own."""
        with self._database.read() as connection:
            return bool(
                _delivered_since.rows(
                    connection,
                    target=delivery.target,
                    since=to_us(since),
                    session=delivery.session or "",
                    source=delivery.source,
                    one=1,
                )
            )


def _claimed(row: Row | None, epoch: int) -> ClaimedDelivery | None:
    """The row of a claim as a value: made outside the commit, where nobody waits for it."""
    if row is None:
        return None
    border = len(rows.DELIVERY_COLUMNS)
    return ClaimedDelivery(rows.delivery(row[:border]), rows.event(row[border:]), epoch)


def _claim(connection: Connection, batch: Sequence[Claim]) -> list[Row | None]:
    """For each the row of the next due delivery of its target, now `sending`; None when nothing is due."""
    results: list[Row | None] = [None] * len(batch)
    alike: dict[tuple[str, int, datetime | None, bool], list[int]] = {}
    for place, wanted in enumerate(batch):
        alike.setdefault((wanted.target, wanted.epoch, wanted.fresh_since, wanted.probe), []).append(place)
    for places in alike.values():
        found = _claim_some(connection, batch[places[-1]], len(places))
        for place, row in zip(places, found, strict=False):
            results[place] = row
    return results


def _claim_some(connection: Connection, wanted: Claim, count: int) -> list[Row]:
    now = to_us(wanted.now)
    shared = {"target": wanted.target, "epoch": wanted.epoch, "now": now}
    found: list[Row] = []
    if wanted.fresh_since is not None:
        found = _fresh.rows(connection, **shared, count=count, since=to_us(wanted.fresh_since))
    elif wanted.probe:
        found = _clear.rows(connection, **shared, count=count)
    if len(found) < count:
        known = {row[0] for row in found}
        more = _oldest.rows(connection, **shared, count=count)
        found += [row for row in more if row[0] not in known][: count - len(found)]
    if found:
        _take.run_among(connection, [row[0] for row in found], epoch_=wanted.epoch, now_=now)
    return found


def _record(connection: Connection, batch: Sequence[AttemptResult]) -> list[Row | None]:
    """Writes each result and its attempt, lets the call's next delivery pass, and claims what is wanted.

    A result whose commit was made but not confirmed comes again: it changes nothing any more.
    """
    settled = _settle.run(connection, [_settlement(result) for result in batch])
    new = [result for result in batch if result.delivery.seq in settled or not _is_known(connection, result)]
    for result in new:
        if result.delivery.seq not in settled and result.delivered_at is not None:
            late = _settle_late.run(
                connection, row=result.delivery.seq, at=to_us(result.delivered_at), remote_=result.remote_id, none=None
            )
            settled |= {result.delivery.seq} if late else set()
    for result in batch:
        if result.health is not None:
            target_state.save_health(connection, result.delivery.target, result.epoch, result.health)
    _insert_attempts.run(connection, [_attempt(result.delivery, result.attempt) for result in new if result.attempt])
    for result in batch:
        if result.attempt is not None and result.attempt.outcome != "delivered":
            at = to_us(result.attempt.at)
            _note_error.run(connection, target=result.delivery.target, error=result.attempt.reason, at=at)
    lines = [(call_order.line_of(result.delivery), result) for result in batch if result.delivery.seq in settled]
    free_at = {line: to_us(result.call_free_at) for line, result in lines if result.call_free_at is not None}
    call_order.settle(connection, [line for line, _ in lines], free_at)
    wanted = [(place, result.then) for place, result in enumerate(batch) if result.then is not None]
    claimed: list[Row | None] = [None] * len(batch)
    if wanted:
        for (place, _), row in zip(wanted, _claim(connection, [then for _, then in wanted]), strict=True):
            claimed[place] = row
    return claimed


def _settlement(result: AttemptResult) -> dict[str, Any]:
    delivery, attempt = result.delivery, result.attempt
    return {
        "seq": delivery.seq, "epoch": result.epoch, "state": result.state,
        "attempts": delivery.attempts if attempt is None else attempt.number, "failures": result.failures,
        "unclear": result.unclear, "due_at": to_us(result.due_at),
        "delivered_at": None if result.delivered_at is None else to_us(result.delivered_at),
        "reason": result.reason, "remote": result.remote_id, "tries": delivery.attempts,
    }  # fmt: skip


def _is_known(connection: Connection, result: AttemptResult) -> bool:
    """Does its attempt stand there already?"""
    attempt = result.attempt
    return attempt is not None and bool(
        _same_attempt.rows(
            connection,
            row=result.delivery.seq,
            number_=attempt.number,
            at_=to_us(attempt.at),
            outcome_=attempt.outcome,
        )
    )


def _attempt(delivery: Delivery, attempt: Attempt) -> dict[str, Any]:
    return {
        "delivery_seq": delivery.seq, "number": attempt.number, "at": to_us(attempt.at), "took_ms": attempt.took_ms,
        "status": attempt.status, "outcome": attempt.outcome, "reason": attempt.reason,
    }  # fmt: skip


def _unclaim_all(connection: Connection, batch: Sequence[tuple[Delivery, int]]) -> list[bool]:
    """Back to `due` without counting: claimed under this epoch, but its request was not begun."""
    results = []
    for delivery, epoch in batch:
        tried = None if delivery.tried_at is None else to_us(delivery.tried_at)
        results.append(bool(_unclaim.run(connection, row=delivery.seq, of=epoch, tried=tried)))
    call_order.settle(connection, [call_order.line_of(delivery) for delivery, _ in batch])
    return results
