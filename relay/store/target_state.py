"""A target's lane: who works it (owner, epoch, and a counter that moves while the owner lives), how the target is,
and whether the operator holds its queue.

The epoch rises at a take-over only. What stands under an old one is not overwritten, and nothing is claimed under it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from relay.clock import from_us, to_us
from relay.models import TargetHealth
from relay.store import waits
from relay.store.sqlite.database import PATIENT_TIMEOUT_S, Database
from relay.store.statement import Hot, Statement
from relay.store.tables import targets

_MOMENTS = {
    "since": "since",
    "probe_at": "probe_at",
    "asked_until": "retry_not_before",
    "forbidden_since": "forbidden_since",
}
"""The columns that hold moments, and the fields of TargetHealth that stand in them."""
_save = Hot(
    update(targets)
    .where(targets.c.name == bindparam("target"), targets.c.epoch == bindparam("of"))
    .values({name: bindparam(f"{name}_") for name in ("state", "reason", "probes", *_MOMENTS)})
)
_load = Hot(
    select(targets.c.state, targets.c.reason, targets.c.probes, *(targets.c[name] for name in _MOMENTS))
    .where(targets.c.name == bindparam("target"))
)  # fmt: skip
_flags = Hot(
    select(targets.c.paused_at, targets.c.resumes).where(targets.c.name == bindparam("target"))
)  # fmt: skip


_pause = Statement("UPDATE targets SET paused_at = :now WHERE name = :target AND paused_at IS NULL")
_paused_at = Statement("SELECT paused_at FROM targets WHERE name = :target")
_resume = Statement("UPDATE targets SET paused_at = NULL, resumes = resumes + 1 WHERE name = :target")


class LeaseRow(Struct, frozen=True):
    """A lane's lease as it was seen."""

    target: str
    owner: str | None
    epoch: int
    renewals: int


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
        statement = select(targets.c.name, targets.c.owner, targets.c.epoch, targets.c.renewals)
        with self._database.read() as connection:
            return {row[0]: LeaseRow(*row) for row in connection.execute(statement)}

    def is_worked(self, names: Iterable[str]) -> bool:
        """Does a process that lives deliver to any of them?"""
        present = self.leases()
        owners = {present[name].owner for name in names if name in present}
        return any(owner is not None and not self._database.is_dead(owner) for owner in owners)

    def take_over(self, target: str, owner: str, seen: LeaseRow | None = None) -> int | None:
        """Return the new epoch of the target's lane; None when the lease is no longer as it was seen."""
        epoch, renewals = (0, 0) if seen is None else (seen.epoch, seen.renewals)
        statement = (
            update(targets)
            .where(targets.c.name == target, targets.c.epoch == epoch, targets.c.renewals == renewals)
            .values(owner=owner, epoch=targets.c.epoch + 1)
        )
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            _ensure(connection, target)
            return epoch + 1 if connection.execute(statement).rowcount else None

    def renew(self, owner: str) -> set[str]:
        """Return the targets whose lanes are still this owner's."""
        statement = update(targets).where(targets.c.owner == owner).values(renewals=targets.c.renewals + 1)
        with self._database.write() as connection:
            return set(connection.execute(statement.returning(targets.c.name)).scalars())

    def release(self, owner: str, target: str | None = None) -> None:
        """Let another have the owner's lanes, or this one of them, at once."""
        statement = update(targets).where(targets.c.owner == owner)
        if target is not None:
            statement = statement.where(targets.c.name == target)
        with self._database.write() as connection:
            connection.execute(statement.values(owner=None, renewals=targets.c.renewals + 1))

    def health(self, target: str) -> TargetHealth:
        with self._database.read() as connection:
            return _health(connection, target)

    def pause(self, target: str, now: datetime) -> bool:
        """Hold the target's queue. False: it was paused already."""
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            _ensure(connection, target)
            return bool(_pause.run(connection, target=target, now=to_us(now)))

    def resume(self, target: str, now: datetime) -> bool:
        """Let it go on, nobody older by the pause, and ask for a probe at once. False: it was not paused."""
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            _ensure(connection, target)
            [(paused_at,)] = _paused_at.rows(connection, target=target)
            _resume.run(connection, target=target)
            if paused_at is None:
                return False
            waits.stand_still(connection, target, paused_at, to_us(now))
            return True


def _ensure(connection: Connection, target: str) -> None:
    """A row for the target, if it has none."""
    statement = upsert(targets).values(name=target, state="open", epoch=0)
    connection.execute(statement.on_conflict_do_nothing(index_elements=["name"]))


def _health(connection: Connection, target: str) -> TargetHealth:
    found = _load.first(connection, target=target)
    if found is None:
        return TargetHealth()
    state, reason, probes, *moments = found
    known = {field: None if us is None else from_us(us) for field, us in zip(_MOMENTS.values(), moments, strict=True)}
    return TargetHealth(state=state, reason=reason, probes=probes, **known)


def save_health(connection: Connection, target: str, epoch: int, health: TargetHealth) -> None:
    """Only under the lane's present epoch."""
    moments = {column: getattr(health, field) for column, field in _MOMENTS.items()}
    _save.run(
        connection, target=target, of=epoch, state_=health.state, reason_=health.reason, probes_=health.probes,
        **{f"{name}_": None if at is None else to_us(at) for name, at in moments.items()},
    )  # fmt: skip


def operator_flags(connection: Connection, target: str) -> OperatorFlags:
    found = _flags.first(connection, target=target)
    return OperatorFlags() if found is None else OperatorFlags(found[0] is not None, found[1])
