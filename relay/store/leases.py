"""Who works which lane: its owner, an epoch, and a counter that moves while the owner lives; who lives at all.

The epoch rises at a take-over and when a lane is let go: what stands under an old one is not overwritten, and nothing
is claimed under it. All lanes of a target draw from one number, in `targets`: an epoch is one owner's at one lane.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Connection

from relay.models import Shard
from relay.store import target_state
from relay.store.engine import OWN_ROWS, PATIENT_TIMEOUT_S, Database
from relay.store.statement import Statement

TAKEN_OVER_AFTER_S = 12.0
"""For so long a lease has not moved when its owner counts as gone."""

_LANE = "target = :target AND shard = :number AND shards = :count"
_all = Statement("SELECT target, shard, shards, owner, epoch, renewals FROM leases")
_next_epoch = Statement("UPDATE targets SET epoch = epoch + 1 WHERE name = :target RETURNING epoch")
_insert = Statement(
    """
    INSERT INTO leases (target, shard, shards, owner, epoch, renewals)
    VALUES (:target, :number, :count, :owner, :epoch, 0) ON CONFLICT (target, shard, shards) DO NOTHING
    """
)
_take_over = Statement(
    f"""
    UPDATE leases SET owner = :owner, epoch = :epoch
    WHERE {_LANE} AND epoch = :seen_epoch AND renewals = :renewals
    """
)
_delete = Statement(f"DELETE FROM leases WHERE {_LANE} AND epoch = :epoch AND renewals = :renewals")
_renew = Statement("UPDATE leases SET renewals = renewals + 1 WHERE owner = :owner RETURNING target, shard, shards")
_owned = Statement("SELECT target, shard, shards FROM leases WHERE owner = :owner")
_release = Statement(
    f"UPDATE leases SET owner = NULL, epoch = :epoch, renewals = renewals + 1 WHERE {_LANE} AND owner = :owner"
)
_DISPATCHER = "dispatcher:"
_announce = Statement(
    "INSERT INTO heartbeats (name, at) VALUES (:name, 1) ON CONFLICT (name) DO UPDATE SET at = heartbeats.at + 1"
)
_dispatchers = Statement("SELECT name, at FROM heartbeats WHERE name LIKE :pattern")
_forget_dispatcher = Statement("DELETE FROM heartbeats WHERE name = :name")


class LeaseRow(Struct, frozen=True):
    """A lane's lease as it was seen."""

    shard: Shard
    owner: str | None
    epoch: int
    renewals: int


class Leases:
    """The leases of all lanes. Raises StoreError."""

    def __init__(self, database: Database, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database, self._watch = database, LeaseWatch(database, monotonic)

    def all(self) -> dict[Shard, LeaseRow]:
        """Return those that ever had an owner, and were not given up for lanes that split the target otherwise."""
        rows = [LeaseRow(Shard(*row[:3]), *row[3:]) for row in self._database.rows(_all)]
        return {row.shard: row for row in rows}

    def is_worked(self, targets: Iterable[str]) -> bool:
        """Does a process that lives deliver to any of them, as far as the looks until now can tell?

        Over a network only a lease that does not move shows that its owner is gone: who looks once cannot tell.
        """
        leases = self.all()
        self._watch.look(leases)
        names = {*targets}
        return any(row.shard.target in names and self._watch.holds(row) for row in leases.values())

    def take_over(
        self, shard: Shard, owner: str, seen: LeaseRow | None = None, instead: Iterable[LeaseRow] = ()
    ) -> int | None:
        """Return the lane's new epoch; None when its lease, or one of those that it comes `instead` of, is no longer
        as it was seen.
        """
        with self._database.write(PATIENT_TIMEOUT_S, alone_for=(f"target:{shard.target}",)) as connection:
            target_state.add(connection, shard.target)
            epoch = _draw_epoch(connection, shard.target)
            for row in instead:
                if not _delete.run(connection, epoch=row.epoch, renewals=row.renewals, **asdict(row.shard)):
                    return None
            if seen is None:
                is_ours = _insert.run(connection, owner=owner, epoch=epoch, **asdict(shard))
            else:
                before = {"seen_epoch": seen.epoch, "renewals": seen.renewals}
                is_ours = _take_over.run(connection, owner=owner, epoch=epoch, **before, **asdict(shard))
        return epoch if is_ours else None

    def renew(self, owner: str) -> set[Shard]:
        """Return the lanes that are still this owner's."""
        with self._database.write(alone_for=OWN_ROWS) as connection:
            return {Shard(*row) for row in _renew.rows(connection, owner=owner)}

    def release(self, owner: str, shard: Shard | None = None) -> None:
        """Let another have the owner's lanes, or this one of them, at once; nothing more is claimed under its epoch."""
        with self._database.write() as connection:
            lanes = [Shard(*row) for row in _owned.rows(connection, owner=owner)] if shard is None else [shard]
            for lane in lanes:
                epoch = _draw_epoch(connection, lane.target)
                _release.run(connection, owner=owner, epoch=epoch, **asdict(lane))

    def announce(self, owner: str) -> None:
        """Say that this process delivers, or would."""
        with self._database.write(alone_for=OWN_ROWS) as connection:
            _announce.run(connection, name=_DISPATCHER + owner)

    def dispatchers(self) -> dict[str, int]:
        """Return by owner a counter that moves while it lives."""
        rows = self._database.rows(_dispatchers, pattern=_DISPATCHER + "%")
        return {name.removeprefix(_DISPATCHER): beats for name, beats in rows}

    def forget_dispatcher(self, owner: str) -> None:
        """Count it no longer among those that deliver."""
        with self._database.write(alone_for=OWN_ROWS) as connection:
            _forget_dispatcher.run(connection, name=_DISPATCHER + owner)


class LeaseWatch:
    """Tells which leases hold, as far as one who looks at them again and again can tell, by a clock of its own."""

    def __init__(self, database: Database, monotonic: Callable[[], float]) -> None:
        self._database, self._monotonic = database, monotonic
        self._seen: dict[Shard, tuple[LeaseRow | None, float]] = {}  # and since when it has not moved

    def look(self, leases: Mapping[Shard, LeaseRow | None]) -> None:
        """Note which of all leases have moved since the last look; None: of one that never had an owner."""
        now = self._monotonic()
        self._seen = {
            shard: self._seen[shard] if shard in self._seen and self._seen[shard][0] == row else (row, now)
            for shard, row in leases.items()
        }

    def since(self, shard: Shard) -> float:
        """Return the moment of the look that first saw the lease as it is."""
        return self._seen[shard][1] if shard in self._seen else self._monotonic()

    def holds(self, row: LeaseRow) -> bool:
        """Has the lease an owner that may live?"""
        if row.owner is None or self._database.is_dead(row.owner):
            return False
        return self._monotonic() - self.since(row.shard) < TAKEN_OVER_AFTER_S


def _draw_epoch(connection: Connection, target: str) -> int:
    [(epoch,)] = _next_epoch.rows(connection, target=target)
    return int(epoch)
