"""What waits, as a whole: ends what is overdue, and follows a step of the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Connection

from relay.clock import span_us, to_us
from relay.i18n import encode
from relay.models import Delivery, DeliveryState, Shard
from relay.store import call_order
from relay.store.engine import PATIENT_TIMEOUT_S, Repository
from relay.store.statement import Statement
from relay.store.tables import DELIVERY, IN_LANE, UNFINISHED

_PAGE = 200  # whoever ends them has other lanes to see to, and a lease to renew
_SECOND = timedelta(seconds=1)

_overdue = Statement(
    f"""
    SELECT {DELIVERY.sql} FROM deliveries
    WHERE {IN_LANE} AND {UNFINISHED} AND state = 'due' AND aged_from <= :before
      AND (:of_any_kind OR kind = :kind AND NOT replayed)
    ORDER BY event_seq LIMIT {_PAGE}
    """
)
_expire = Statement("UPDATE deliveries SET state = :state, reason = :reason WHERE seq = :seq AND state = 'due'")
_STAND_STILL = "aged_from = CASE WHEN aged_from < :began THEN aged_from + :ended - :began ELSE :ended END"
_stand_still = Statement(
    f"UPDATE deliveries SET {_STAND_STILL} WHERE {IN_LANE} AND {UNFINISHED} AND aged_from < :ended"
)
_stand_still_some = Statement(  # found by seq alone: with the target SQLite would walk all that waits for it
    f"UPDATE deliveries SET {_STAND_STILL} WHERE seq IN :seqs AND aged_from < :ended"
)
_note_step = Statement(
    """
    UPDATE leases SET clock_stepped_to = :after
    WHERE target = :target AND epoch = :epoch AND (clock_stepped_to IS NULL OR clock_stepped_to <> :after)
    """
)
_shift_pause = Statement(
    """
    UPDATE targets SET paused_at = paused_at + :after - :before, pause_ends_at = pause_ends_at + :after - :before
    WHERE name = :target
    """
)
_shift_forward = Statement(
    f"""
    UPDATE deliveries SET due_at = due_at + :after - :before
    WHERE {IN_LANE} AND {UNFINISHED} AND state = 'due' AND due_at > :before
      AND (tried_at <= :before OR tried_at IS NULL AND due_at <= :before + :gap)
    """
)
_shift_back = Statement(
    f"""
    UPDATE deliveries SET due_at = due_at + :after - :before
    WHERE {IN_LANE} AND {UNFINISHED} AND state = 'due' AND due_at > :after
      AND CASE WHEN tried_at IS NULL THEN due_at > :after + :gap ELSE tried_at NOT BETWEEN :just_now AND :after END
    """
)
# When a delivery can be due at the latest: what was tried since it was accepted or replayed, after the longest pause;
# else after what it was told to wait: a replay with a rate may have told it to come much later.
_LATEST = """
    :now + CASE WHEN tried_at >= aged_from THEN :longest WHEN due_at > aged_from THEN due_at - aged_from ELSE 0 END
"""
_overlong = Statement(
    f"""
    SELECT seq FROM deliveries
    WHERE {IN_LANE} AND {UNFINISHED} AND state = 'due' AND due_at > {_LATEST} LIMIT {_PAGE}
    """
)
_shorten = Statement(
    f"""
    UPDATE deliveries
    SET due_at = {_LATEST}, aged_from = CASE WHEN aged_from > :now THEN :now ELSE aged_from END
    WHERE seq IN :seqs AND state = 'due' AND due_at > {_LATEST}
    """
)


class Expiry(Struct, frozen=True):
    """A delivery that is given up without another try."""

    delivery: Delivery
    state: DeliveryState
    reason: str
    now: datetime
    call_gap: timedelta


class Waits(Repository):
    """The deliveries of a lane that are not under way."""

    def list_overdue(self, shard: Shard, born_before: datetime, kind: str | None = None) -> list[Delivery]:
        """Return a page of those that wait since before then; with `kind` of that kind only, and none replayed."""
        which = {"before": to_us(born_before), "of_any_kind": kind is None, "kind": kind or ""}
        return [DELIVERY.value(row) for row in self._database.rows(_overdue, **asdict(shard), **which)]

    def expire(self, batch: Sequence[Expiry]) -> int:
        """Give them up; return how many ended. Those whose state has changed meanwhile go on."""
        return self._database.write_in_chunks(_expire_all, batch)

    def follow_clock(
        self, lanes: Mapping[Shard, int], before: datetime, after: datetime, gaps: Mapping[Shard, timedelta]
    ) -> None:
        """The wall clock has stepped from `before` to `after`; `lanes` are those of the owner, with their epochs.

        Waits keep their length. A step forward ages nobody; a step back makes those that wait younger by it.
        What was taken or tried since the step, before it was noticed, stays as it is, and so does what has got its turn
        since (`gaps` between two deliveries of one call, by lane). All follow it in one commit, and once
        only, however often they are told: the same commit writes down to what the clock has stepped.
        """
        step = {"before": to_us(before), "after": to_us(after)}
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            for shard, epoch in lanes.items():
                if not _note_step.run(connection, target=shard.target, epoch=epoch, after=step["after"]):
                    continue
                if shard.number == 0:  # whose lane has it moves what the target has once
                    _shift_pause.run(connection, target=shard.target, **step)
                gap, lane = span_us(gaps.get(shard, timedelta(0))), asdict(shard)
                if after > before:
                    _shift_forward.run(connection, **lane, gap=gap, **step)
                    _stand_still.run(connection, **lane, began=step["before"], ended=step["after"])
                else:
                    _shift_back.run(connection, **lane, gap=gap, just_now=to_us(after - _SECOND), **step)

    def shorten(self, shard: Shard, now: datetime, longest: timedelta) -> int:
        """Let a page of those wait from now that are due later than they were told to wait, or than the `longest`
        pause between two tries allows; return how many. Such is left by a clock that was ahead and was set right.
        """
        limits = {"now": to_us(now), "longest": span_us(longest)}
        seqs = [seq for (seq,) in self._database.rows(_overlong, **asdict(shard), **limits)]
        if seqs:
            with self._database.write(PATIENT_TIMEOUT_S) as connection:
                _shorten.run(connection, seqs=seqs, **limits)
        return len(seqs)


def _expire_all(connection: Connection, batch: Sequence[Expiry]) -> list[bool]:
    """False: its state was no longer the one that was seen."""
    expired = [
        bool(_expire.run(connection, seq=one.delivery.seq, state=one.state, reason=encode(one.reason))) for one in batch
    ]
    gaps = {call_order.order_key(one.delivery): one.call_gap for one in batch}
    now = max((to_us(one.now) for one in batch), default=0)
    call_order.promote_next(connection, gaps, call_order.free_at(connection, gaps, now))
    return expired


def stand_still(connection: Connection, seqs: Sequence[int], began_us: int, ended_us: int) -> None:
    """Let none of these have aged from then to then: what came in meanwhile is as new."""
    _stand_still_some.run(connection, seqs=seqs, began=began_us, ended=ended_us)
