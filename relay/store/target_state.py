"""A target's lane: who works it (owner, epoch, and a counter that moves while the owner lives), how the target is,
and whether the operator holds its queue.

The epoch rises at a take-over only. What stands under an old one is not overwritten, and nothing is claimed under it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct
from sqlalchemy import Connection

from relay.clock import to_us
from relay.models import TargetHealth
from relay.store import waits
from relay.store.engine import OWN_ROWS, PATIENT_TIMEOUT_S, Database
from relay.store.statement import Statement
from relay.store.tables import HEALTH, UNFINISHED

_leases = Statement("SELECT name, owner, epoch, renewals FROM targets")
_insert = Statement(
    "INSERT INTO targets (name, state, epoch) VALUES (:target, 'open', 0) ON CONFLICT (name) DO NOTHING"
)
_take_over = Statement(
    """
    UPDATE targets SET owner = :owner, epoch = epoch + 1
    WHERE name = :target AND epoch = :epoch AND renewals = :renewals
    """
)
_renew = Statement("UPDATE targets SET renewals = renewals + 1 WHERE owner = :owner RETURNING name")
_release = Statement(
    """
    UPDATE targets SET owner = NULL, renewals = renewals + 1
    WHERE owner = :owner AND name = coalesce(:target, name)
    """
)
_health = Statement(f"SELECT {HEALTH.sql} FROM targets WHERE name = :target")
_save_health = Statement(
    f"""
    UPDATE targets SET {", ".join(f"{column.name} = :{column.name}" for column in HEALTH.columns)}
    WHERE name = :target AND epoch = :epoch
    """
)
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
_DISPATCHER = "dispatcher:"
_announce = Statement(
    "INSERT INTO heartbeats (name, at) VALUES (:name, 1) ON CONFLICT (name) DO UPDATE SET at = heartbeats.at + 1"
)
_dispatchers = Statement("SELECT name, at FROM heartbeats WHERE name LIKE :pattern")
_forget_dispatcher = Statement("DELETE FROM heartbeats WHERE name = :name")
_CHUNK = 1000  # ages that move in one transaction: some milliseconds


class LeaseRow(Struct, frozen=True):
    """A lane's lease as it was seen."""

    target: str
    owner: str | None
    epoch: int
    renewals: int


class _Pause(NamedTuple):
    """A pause whose end is being counted, in microseconds."""

    began_at: int
    ends_at: int
    counted_to: int


class OperatorFlags(Struct, frozen=True):
    """What the operator wants of a lane."""

    paused: bool = False
    resumes: int = 0  #: has moved: probe at once


class Targets:
    """The lanes' leases, their targets' health, and the operator's pause. Raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def leases(self) -> dict[str, LeaseRow]:
        """Return them by target; those that never had an owner are absent."""
        with self._database.read() as connection:
            return {row[0]: LeaseRow(*row) for row in _leases.rows(connection)}

    def is_worked(self, names: Iterable[str]) -> bool:
        """Does a process that lives, as far as one look can tell, deliver to any of them?"""
        present = self.leases()
        owners = {present[name].owner for name in names if name in present}
        return any(owner is not None and not self._database.is_dead(owner) for owner in owners)

    def take_over(self, target: str, owner: str, seen: LeaseRow | None = None) -> int | None:
        """Return the new epoch of the target's lane; None when the lease is no longer as it was seen."""
        epoch, renewals = (0, 0) if seen is None else (seen.epoch, seen.renewals)
        with self._database.write(PATIENT_TIMEOUT_S, alone_for=(f"target:{target}",)) as connection:
            _insert.run(connection, target=target)
            is_ours = _take_over.run(connection, target=target, owner=owner, epoch=epoch, renewals=renewals)
        return epoch + 1 if is_ours else None

    def renew(self, owner: str) -> set[str]:
        """Return the targets whose lanes are still this owner's."""
        with self._database.write(alone_for=OWN_ROWS) as connection:
            return {name for (name,) in _renew.rows(connection, owner=owner)}

    def release(self, owner: str, target: str | None = None) -> None:
        """Let another have the owner's lanes, or this one of them, at once."""
        with self._database.write() as connection:
            _release.run(connection, owner=owner, target=target)

    def announce(self, owner: str) -> None:
        """Say that this process delivers, or would."""
        with self._database.write(alone_for=OWN_ROWS) as connection:
            _announce.run(connection, name=_DISPATCHER + owner)

    def dispatchers(self) -> dict[str, int]:
        """Return by owner a counter that moves while it lives."""
        with self._database.read() as connection:
            rows = _dispatchers.rows(connection, pattern=_DISPATCHER + "%")
        return {name.removeprefix(_DISPATCHER): beats for name, beats in rows}

    def forget_dispatcher(self, owner: str) -> None:
        """Count it no longer among those that deliver."""
        with self._database.write(alone_for=OWN_ROWS) as connection:
            _forget_dispatcher.run(connection, name=_DISPATCHER + owner)

    def health(self, target: str) -> TargetHealth:
        with self._database.read() as connection:
            row = _health.first(connection, target=target)
        return TargetHealth() if row is None else HEALTH.value(row)

    def is_paused(self, target: str) -> bool:
        """Does the operator hold the target's queue?"""
        with self._database.read() as connection:
            return _pause_span.first(connection, target=target) is not None

    def pause(self, target: str, now: datetime) -> bool:
        """Hold the target's queue. False: it was paused already."""
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            _insert.run(connection, target=target)
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
            _insert.run(connection, target=target)
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

        with self._database.read() as connection:
            rows = _waiting.rows(connection, target=target, counted_to=pause.counted_to)
        seqs = [seq for (seq,) in rows]
        return self._database.write_in_chunks(move_ages, seqs, _CHUNK) == len(seqs)

    def _finish_pause(self, target: str, pause: _Pause, now: datetime) -> bool:
        """Let the target go on. False: not yet, the pause lasts from where it has been counted to until now."""
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            _finish_pause.run(connection, target=target, ends_at=pause.ends_at, now=to_us(now))
        return pause.ends_at >= to_us(now)


def save_health(connection: Connection, target: str, epoch: int, health: TargetHealth) -> None:
    """Only under the lane's present epoch."""
    _save_health.run(connection, target=target, epoch=epoch, **HEALTH.row(health))
