"""Who works which lane: owner, epoch, and a counter that moves while the owner lives.

The epoch rises at a take-over only. What stands under an old one is not overwritten, and nothing is claimed under it.
"""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from relay.store.tables import targets


class LeaseRow(Struct, frozen=True):
    """A lane's lease as it was seen."""

    target: str
    owner: str | None
    epoch: int
    renewals: int


def leases(connection: Connection) -> dict[str, LeaseRow]:
    """By target; those that never had an owner are absent."""
    found = connection.execute(select(targets.c.name, targets.c.owner, targets.c.epoch, targets.c.renewals))
    return {row[0]: LeaseRow(*row) for row in found}


def take_over(connection: Connection, target: str, owner: str, seen: LeaseRow | None) -> int | None:
    """The new epoch; None when the lease is no longer as it was seen. Creates the target's row when it has none."""
    ensure(connection, target)
    epoch, renewals = (0, 0) if seen is None else (seen.epoch, seen.renewals)
    statement = (
        update(targets)
        .where(targets.c.name == target, targets.c.epoch == epoch, targets.c.renewals == renewals)
        .values(owner=owner, epoch=targets.c.epoch + 1)
    )
    return epoch + 1 if connection.execute(statement).rowcount else None


def ensure(connection: Connection, target: str) -> None:
    """A row for the target, if it has none."""
    statement = upsert(targets).values(name=target, state="open", epoch=0)
    connection.execute(statement.on_conflict_do_nothing(index_elements=["name"]))


def renew(connection: Connection, owner: str) -> set[str]:
    """The lanes that are still this owner's."""
    statement = (
        update(targets)
        .where(targets.c.owner == owner)
        .values(renewals=targets.c.renewals + 1)
        .returning(targets.c.name)
    )
    return set(connection.execute(statement).scalars())


def release(connection: Connection, owner: str, target: str | None = None) -> None:
    """Another may have its lanes, or this one of them, at once."""
    statement = update(targets).where(targets.c.owner == owner)
    if target is not None:
        statement = statement.where(targets.c.name == target)
    connection.execute(statement.values(owner=None, renewals=targets.c.renewals + 1))
