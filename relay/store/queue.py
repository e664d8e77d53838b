"""The lanes' side of the store: claims the next due deliveries, records what attempts came to.

Both work on a whole batch with few statements: each call of the driver gives up the GIL, and to get it back costs
more than a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Connection

from relay.clock import to_us
from relay.i18n import encode
from relay.models import Attempt, ClaimedDelivery, Delivery, Shard, TargetHealth, Verdict
from relay.store import call_order, target_state
from relay.store.engine import PATIENT_TIMEOUT_S, Database
from relay.store.group_commit import GroupCommit
from relay.store.statement import ManyRows, Row, Statement
from relay.store.tables import (
    ATTEMPT,
    DELIVERED,
    DELIVERY,
    DUE,
    EVENT,
    HEALTH,
    IN_LANE,
    UNFINISHED,
    attempts,
    deliveries,
)


def _select_due(condition: str = "TRUE") -> Statement:
    return Statement(
        f"""
        SELECT {DELIVERY.sql}, {EVENT.sql}
        FROM deliveries JOIN events ON events.seq = deliveries.event_seq
        WHERE {IN_LANE} AND {DUE} AND deliveries.due_at <= :now AND {condition}
          AND EXISTS (SELECT 1 FROM leases WHERE leases.target = :target AND leases.epoch = :epoch)
        ORDER BY deliveries.due_at, deliveries.event_seq LIMIT :limit
        """
    )


_due = _select_due()
_due_fresh = _select_due("deliveries.due_at >= :since AND deliveries.aged_from >= :since")
_due_never_unclear = _select_due("deliveries.unclear = 0")
_set_sending = ManyRows(
    {name: deliveries.c[name] for name in ("seq", "epoch", "tried_at")},
    """
    WITH claim (seq, epoch, tried_at) AS (VALUES :rows)
    UPDATE deliveries SET state = 'sending', epoch = claim.epoch, tried_at = claim.tried_at
    FROM claim WHERE deliveries.seq = claim.seq
    """,
)
_COLUMNS = {column.name: column for column in deliveries.c}
_RESULT = ("state", "attempts", "failures", "unclear", "due_at", "delivered_at", "reason", "remote")
_save_results = ManyRows(
    {name: _COLUMNS[name] for name in ("seq", "epoch", *_RESULT)} | {"tries": deliveries.c["attempts"]},
    f"""
    WITH result (seq, epoch, {", ".join(_RESULT)}, tries) AS (VALUES :rows)
    UPDATE deliveries SET {", ".join(f"{name} = result.{name}" for name in _RESULT)} FROM result
    WHERE deliveries.seq = result.seq AND deliveries.epoch = result.epoch
      AND deliveries.state = 'sending' AND deliveries.attempts = result.tries
    RETURNING deliveries.seq
    """,
)
_save_late_success = Statement(  # an answer that came after the delivery had been taken for unclear
    """
    UPDATE deliveries SET state = 'delivered', delivered_at = :delivered_at, remote = :remote, reason = NULL
    WHERE seq = :seq AND state IN ('due', 'held')
    """
)
_same_attempt = Statement(
    "SELECT 1 FROM attempts WHERE delivery_seq = :seq AND number = :number AND at = :at AND outcome = :outcome"
)
_insert_attempts = ManyRows.insert(attempts, without=("seq",))
_drop_exchanges = Statement(
    "UPDATE attempts SET exchanges = NULL WHERE delivery_seq IN :seqs AND exchanges IS NOT NULL"
)
_note_error = Statement("UPDATE targets SET last_error = :error, last_error_at = :at WHERE name = :target")
_unclaim = Statement(
    """
    UPDATE deliveries SET state = 'due', tried_at = :tried_at
    WHERE seq = :seq AND state = 'sending' AND epoch = :epoch
    """
)
_in_flight = Statement(
    f"""
    SELECT epoch, {DELIVERY.sql} FROM deliveries
    WHERE {IN_LANE} AND {UNFINISHED} AND state = 'sending'
    """
)
_poll = Statement(
    f"""
    SELECT
      leases.target, shard, shards,
      (
        SELECT due_at FROM deliveries
        WHERE deliveries.target = leases.target AND deliveries.slot % leases.shards = leases.shard AND {DUE}
        ORDER BY due_at, event_seq LIMIT 1
      ),
      paused_at, resumes, {HEALTH.sql}
    FROM leases JOIN targets ON targets.name = leases.target WHERE leases.owner = :owner
    """
)
_other_call_delivered = Statement(
    f"""
    SELECT 1 FROM deliveries
    WHERE target = :target AND {DELIVERED} AND delivered_at > :since
      AND (session <> :session OR session IS NULL OR source <> :source)
    LIMIT 1
    """
)

_LINGER_S = 0.0015  # that a commit waits for other lanes' under load


class Probe(Struct, frozen=True):
    """The right to probe a target, which one of its lanes has at a time."""

    seen_at: datetime | None  #: when the next probe was to be sent, as the store said
    until: datetime  #: then, at the latest, the lane has learned what came of it


class LaneView(Struct, frozen=True):
    """What a lane has to know of others' doing."""

    due_us: int | None = None  #: when its next delivery is due; None: there is none
    flags: target_state.OperatorFlags = target_state.OperatorFlags()
    health: TargetHealth = TargetHealth()


class Claim(Struct, frozen=True):
    """Asks for the next due delivery of a lane, under the epoch of its owner."""

    shard: Shard
    epoch: int
    now: datetime
    fresh_since: datetime | None = None  #: rather one that was accepted since then
    probe: Probe | None = None  #: rather one that cannot have arrived yet, and only if no other lane was quicker


class AttemptResult(Struct, frozen=True, kw_only=True):
    """What becomes of a delivery after an attempt. Without `attempt` there was none (it expired)."""

    delivery: Delivery
    epoch: int
    verdict: Verdict
    remote_id: str | None
    attempt: Attempt | None
    call_free_at: datetime | None = None  #: no other delivery of its call before
    health: TargetHealth | None = None  #: the target's, if this attempt has changed it
    claim_next: Claim | None = None  #: claim the lane's next one in the same commit


class DeliveryQueue:
    """What lanes do with their deliveries; on disk when it returns. Raises StoreError."""

    def __init__(self, database: Database, commits: GroupCommit) -> None:
        self._database, self._commits = database, commits

    def claim(self, claim: Claim) -> ClaimedDelivery | None:
        """Return the next due delivery of the target, now `sending`; None when nothing is due."""
        return _claimed(
            self._commits.run(_claim, claim, PATIENT_TIMEOUT_S, alone_for=(f"target:{claim.shard.target}",)),
            claim.epoch,
        )

    def record(self, result: AttemptResult) -> ClaimedDelivery | None:
        """Write down what an attempt came to; return what `claim_next` claimed in the same commit."""
        row = self._commits.run(
            _record, result, PATIENT_TIMEOUT_S, alone_for=_lane(result.delivery), linger_s=_LINGER_S
        )
        return None if result.claim_next is None else _claimed(row, result.claim_next.epoch)

    def unclaim(self, delivery: Delivery, epoch: int) -> bool:
        """Put back what was claimed under this epoch, without counting: its request was not begun."""
        return self._commits.run(_unclaim_all, (delivery, epoch), PATIENT_TIMEOUT_S, alone_for=_lane(delivery))

    def in_flight(self, shard: Shard) -> list[tuple[Delivery, int]]:
        """Return what stands as `sending`, with the epoch of the owner that claimed it."""
        return [(DELIVERY.value(row), epoch) for epoch, *row in self._database.rows(_in_flight, **asdict(shard))]

    def poll(self, owner: str) -> dict[Shard, LaneView]:
        """Return how the lanes of this owner stand."""
        rows = self._database.rows(_poll, owner=owner)
        return {
            Shard(*key): LaneView(
                due_us, target_state.OperatorFlags(paused_at is not None, resumes), HEALTH.value(health)
            )
            for *key, due_us, paused_at, resumes, health in ((*row[:6], row[6:]) for row in rows)
        }

    def another_was_delivered(self, delivery: Delivery, since: datetime) -> bool:
        """Has the target taken another call since then? Then a failure is the event's own."""
        call = {"source": delivery.source, "session": delivery.session or ""}
        which = {"target": delivery.target, "since": to_us(since), **call}
        return self._database.first(_other_call_delivered, **which) is not None


def _lane(delivery: Delivery) -> tuple[str, str]:
    """Return the locks of what moves turns: of the lane, and of the source, which adds to the same calls."""
    return f"target:{delivery.target}", f"source:{delivery.source}"


def _claimed(row: Row | None, epoch: int) -> ClaimedDelivery | None:
    """Return the row of a claim as a value: made outside the commit, where nobody waits for it."""
    if row is None:
        return None
    border = len(DELIVERY.columns)
    return ClaimedDelivery(DELIVERY.value(row[:border]), EVENT.value(row[border:]), epoch)


def _claim(connection: Connection, batch: Sequence[Claim]) -> list[Row | None]:
    """Return for each the row of the next due delivery of its target, now `sending`; None when nothing is due."""
    claimed: list[Row | None] = [None] * len(batch)
    alike: dict[tuple[Shard, int, datetime | None, Probe | None], list[int]] = {}
    for place, claim in enumerate(batch):
        alike.setdefault((claim.shard, claim.epoch, claim.fresh_since, claim.probe), []).append(place)
    for places in alike.values():
        rows = _claim_alike(connection, batch[places[-1]], len(places))
        for place, row in zip(places, rows, strict=False):
            claimed[place] = row
    return claimed


def _claim_alike(connection: Connection, claim: Claim, count: int) -> list[Row]:
    now = to_us(claim.now)
    lane = {**asdict(claim.shard), "epoch": claim.epoch, "now": now}
    rows: list[Row] = []
    if claim.fresh_since is not None:
        rows = _due_fresh.rows(connection, **lane, limit=count, since=to_us(claim.fresh_since))
    elif claim.probe is not None:
        rows = _due_never_unclear.rows(connection, **lane, limit=count)
    if len(rows) < count:
        preferred = {seq for seq, *_ in rows}
        others = [row for row in _due.rows(connection, **lane, limit=count) if row[0] not in preferred]
        rows += others[: count - len(rows)]
    if rows and claim.probe is not None:
        target, probe = claim.shard.target, claim.probe
        if not target_state.begin_probe(connection, target, probe.seen_at, probe.until):
            return []
    _set_sending.run(connection, [{"seq": seq, "epoch": claim.epoch, "tried_at": now} for seq, *_ in rows])
    return rows


def _record(connection: Connection, batch: Sequence[AttemptResult]) -> list[Row | None]:
    """Write each result and its attempt, let the call's next delivery pass, and claim what is asked for.

    A result whose commit was made but not confirmed comes again: it changes nothing any more.
    """
    saved = {seq for (seq,) in _save_results.rows(connection, [_result_row(result) for result in batch])}
    new = [result for result in batch if result.delivery.seq in saved or not _is_recorded(connection, result)]
    for result in new:
        if result.delivery.seq not in saved and _save_late(connection, result):
            saved.add(result.delivery.seq)
    for result in batch:
        if result.health is not None:
            target_state.save_health(connection, result.delivery.target, result.epoch, result.health)
    tries = [(result.delivery.seq, result.attempt) for result in new if result.attempt is not None]
    again = [
        result.delivery.seq
        for result in new
        if result.attempt and result.attempt.exchanges and (result.attempt.number > 1 or result.delivery.replayed)
    ]
    if again:  # only those of the last attempt are kept; a replay counts attempts anew
        _drop_exchanges.run(connection, seqs=again)
    _insert_attempts.run(connection, [{**ATTEMPT.row(attempt), "delivery_seq": seq} for seq, attempt in tries])
    for result in batch:
        if result.attempt is not None and result.attempt.outcome != "delivered":
            at = to_us(result.attempt.at)
            _note_error.run(connection, target=result.delivery.target, error=encode(result.attempt.reason), at=at)
    keys = [(call_order.order_key(result.delivery), result) for result in batch if result.delivery.seq in saved]
    free_at = {key: to_us(result.call_free_at) for key, result in keys if result.call_free_at is not None}
    call_order.promote_next(connection, [key for key, _ in keys], free_at)
    claims = [(place, result.claim_next) for place, result in enumerate(batch) if result.claim_next is not None]
    claimed: list[Row | None] = [None] * len(batch)
    if claims:
        for (place, _), row in zip(claims, _claim(connection, [claim for _, claim in claims]), strict=True):
            claimed[place] = row
    return claimed


def _result_row(result: AttemptResult) -> dict[str, Any]:
    delivery, attempt, verdict = result.delivery, result.attempt, result.verdict
    return {
        "seq": delivery.seq,
        "epoch": result.epoch,
        "state": verdict.state,
        "attempts": delivery.attempts if attempt is None else attempt.number,
        "failures": verdict.failures,
        "unclear": verdict.unclear,
        "due_at": to_us(verdict.next_try_at or verdict.at),  # of what has ended: when; the call's gap begins there
        "delivered_at": to_us(verdict.at) if verdict.state == "delivered" else None,
        "reason": None if verdict.reason is None else encode(verdict.reason),
        "remote": result.remote_id,
        "tries": delivery.attempts,
    }


def _save_late(connection: Connection, result: AttemptResult) -> bool:
    seq, verdict = result.delivery.seq, result.verdict
    return verdict.state == "delivered" and bool(
        _save_late_success.run(connection, seq=seq, delivered_at=to_us(verdict.at), remote=result.remote_id)
    )


def _is_recorded(connection: Connection, result: AttemptResult) -> bool:
    """Does its attempt stand there already?"""
    attempt, seq = result.attempt, result.delivery.seq
    if attempt is None:
        return False
    recorded = _same_attempt.first(
        connection, seq=seq, number=attempt.number, at=to_us(attempt.at), outcome=attempt.outcome
    )
    return recorded is not None


def _unclaim_all(connection: Connection, batch: Sequence[tuple[Delivery, int]]) -> list[bool]:
    """Put back to `due` without counting: claimed under this epoch, but its request was not begun."""
    results = []
    for delivery, epoch in batch:
        tried_at = None if delivery.tried_at is None else to_us(delivery.tried_at)
        results.append(bool(_unclaim.run(connection, seq=delivery.seq, epoch=epoch, tried_at=tried_at)))
    call_order.promote_next(connection, [call_order.order_key(delivery) for delivery, _ in batch])
    return results
