"""How a target is, and whether the operator holds its queue: one row, whatever number of lanes deliver to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct
from sqlalchemy import Connection

from relay.clock import to_us
from relay.models import TargetHealth
from relay.store import waits
from relay.store.engine import PATIENT_TIMEOUT_S, Repository
from relay.store.statement import Statement
from relay.store.tables import HEALTH, UNFINISHED

_insert = Statement(
    "INSERT INTO targets (name, state, epoch) VALUES (:target, 'open', 0) ON CONFLICT (name) DO NOTHING"
)
_health = Statement(f"SELECT {HEALTH.sql} FROM targets WHERE name = :target")
_save_health = Statement(
    f"""
    UPDATE targets SET {", ".join(f"{column.name} = :{column.name}" for column in HEALTH.columns)}
    WHERE name = :target
      AND EXISTS (SELECT 1 FROM leases WHERE leases.target = :target AND leases.epoch = :epoch)
    """
)
_begin_probe = Statement("UPDATE targets SET probe_at = :until WHERE name = :target AND coalesce(probe_at, 0) = :seen")
_flags = Statement("SELECT paused_at, resumes FROM targets WHERE name = :target")
_pause = Statement("UPDATE targets SET paused_at = :now WHERE name = :target AND paused_at IS NULL")
_end_pause = Statement(
    "UPDATE targets SET pause_ends_at = coalesce(pause_ends_at, :now) WHERE name = :target AND paused_at IS NOT NULL"
)
_pause_span = Statement(
    "SELECT paused_at, pause_ends_at, pause_counted_to FROM targets WHERE name = :target AND paused_at IS NOT NULL"
)
_waiting = Statement(
    f"SELECT seq FROM deliveries WHERE target = :target AND {UNFINISHED} AND seq > :counted_to ORDER BY seq"
)
_note_counted = Statement(
    """
    UPDATE targets SET pause_counted_to = :last
    WHERE name = :target AND pause_ends_at = :ends_at AND pause_counted_to < :first
    """
)
_finish_pause = Statement(
    """
    UPDATE targets
    SET paused_at = CASE WHEN pause_ends_at < :now THEN pause_ends_at END, pause_ends_at = NULL, pause_counted_to = 0,
      resumes = resumes + 1
    WHERE name = :target AND pause_ends_at = :ends_at
    """
)
_ask_for_probe = Statement("UPDATE targets SET resumes = resumes + 1 WHERE name = :target")
_CHUNK = 1000  # ages that move in one transaction: some milliseconds


class _Pause(NamedTuple):
    """A pause whose end is being counted, in microseconds."""

    began_at: int
    ends_at: int
    counted_to: int


class OperatorFlags(Struct, frozen=True):
    """What the operator wants of a target."""

    paused: bool = False
    resumes: int = 0  #: has moved: probe at once


class Targets(Repository):
    """The targets' health, and the operator's pause."""

    def health(self, target: str) -> TargetHealth:
        row = self._database.first(_health, target=target)
        return TargetHealth() if row is None else HEALTH.value(row)

    def is_paused(self, target: str) -> bool:
        return self.flags(target).paused

    def flags(self, target: str) -> OperatorFlags:
        row = self._database.first(_flags, target=target)
        return OperatorFlags() if row is None else OperatorFlags(row[0] is not None, row[1])

    def pause(self, target: str, now: datetime) -> bool:
        """Hold the target's queue. False: it was paused already."""
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            add(connection, target)
            return bool(_pause.run(connection, target=target, now=to_us(now)))

    def resume(self, target: str, now: datetime) -> bool:
        """Let it go on, nobody older by the pause, and ask for a probe at once. False: it was not paused.

        Ages move some at a time, and the target stays paused until all have: nobody's commit waits for long, and where
        a killed process has stopped, the next `resume` goes on. The time from then to now is a pause of its own.
        """
        while (pause := self._pause_to_count(target, now)) is not None:
            if self._count_pause(target, pause) and self._finish_pause(target, pause, now):
                return True
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            _ask_for_probe.run(connection, target=target)
        return False

    def _pause_to_count(self, target: str, now: datetime) -> _Pause | None:
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            add(connection, target)
            _end_pause.run(connection, target=target, now=to_us(now))
            row = _pause_span.first(connection, target=target)
        return None if row is None else _Pause(*row)

    def _count_pause(self, target: str, pause: _Pause) -> bool:
        """False: another process resumes the target too, and has moved some of the ages."""

        def move_ages(connection: Connection, seqs: Sequence[int]) -> list[bool]:
            if not _note_counted.run(connection, target=target, ends_at=pause.ends_at, first=seqs[0], last=seqs[-1]):
                return []
            waits.stand_still(connection, seqs, pause.began_at, pause.ends_at)
            return [True] * len(seqs)

        rows = self._database.rows(_waiting, target=target, counted_to=pause.counted_to)
        seqs = [seq for (seq,) in rows]
        return self._database.write_in_chunks(move_ages, seqs, _CHUNK) == len(seqs)

    def _finish_pause(self, target: str, pause: _Pause, now: datetime) -> bool:
        """Let the target go on. False: not yet, the pause lasts from where it has been counted to until now."""
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            _finish_pause.run(connection, target=target, ends_at=pause.ends_at, now=to_us(now))
        return pause.ends_at >= to_us(now)


def add(connection: Connection, target: str) -> None:
    _insert.run(connection, target=target)


def save_health(connection: Connection, target: str, epoch: int, health: TargetHealth) -> None:
    """Only under a present epoch of one of its lanes."""
    _save_health.run(connection, target=target, epoch=epoch, **HEALTH.row(health))


def begin_probe(connection: Connection, target: str, seen: datetime | None, until: datetime) -> bool:
    """Keep the next probe for this lane until then. False: another lane of the target was quicker."""
    return bool(
        _begin_probe.run(connection, target=target, seen=0 if seen is None else to_us(seen), until=to_us(until))
    )
