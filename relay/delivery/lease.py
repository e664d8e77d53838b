"""This process's hold on lanes: taken over when nobody else has it, renewed while it lives, checked before each send.

An owner that is alive and able renews every 3 s. A contender takes over at once when the owner has ended or let go,
and when owner, epoch and renewals have not moved for 12 s of the contender's own monotonic clock. The owner begins no
request after 9 s without a renewal. So nobody begins one while another already may. A request that was begun before
may outlast the lease: what was in flight is left alone until it must have ended.

Lanes are spread evenly over the processes that announce themselves: each has its quota, and lets go of what is beyond
it. A lane that nobody takes (not every process need have the same configuration) is taken beyond the quota. Lanes that
split a target otherwise than present ones are taken when all of those are free.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from relay.models import Shard
from relay.store import LeaseRow, LeaseWatch, Store
from relay.store.leases import TAKEN_OVER_AFTER_S

_RENEW_EVERY_S = 3.0
HOLDS_FOR_S = 9.0
_FORGOTTEN_AFTER_S = 120.0

Rows = Mapping[Shard, LeaseRow]
"""All leases, as they were seen at one look."""


class Lease:
    """Holds lanes for this process."""

    def __init__(self, store: Store, monotonic: Callable[[], float]) -> None:
        self.owner = uuid.uuid4().hex[:12]
        self._store, self._monotonic = store, monotonic
        self._lock = store.database.owner_lock(self.owner)
        self._renewed_at: dict[Shard, float] = {}  # by lane: one that another has taken over is not among them
        self._watch = LeaseWatch(store.database, monotonic)
        self._announced_at = float("-inf")
        self._others: dict[str, tuple[int, float]] = {}  # other processes' beats, and since when they have not moved

    def start(self) -> None:
        """Let others see from now on that this process lives. Raises StoreError."""
        self._lock.try_acquire()

    def ends_at(self, shard: Shard) -> float:
        """Return until when this process may begin a request for the lane, unless it renews: by its monotonic clock."""
        return self._renewed_at.get(shard, float("-inf")) + HOLDS_FOR_S

    def announce(self) -> bool:
        """Say that this process lives and see who else does, every few seconds. Raises StoreError."""
        now = self._monotonic()
        if now - self._announced_at < _RENEW_EVERY_S:
            return False
        self._store.leases.announce(self.owner)
        self._announced_at = now
        self.observe()
        for name, (_, since) in self._others.items():
            if now - since > _FORGOTTEN_AFTER_S:
                self._store.leases.forget_dispatcher(name)
        return True

    def observe(self) -> None:
        """See which other processes live. Raises StoreError."""
        now = self._monotonic()
        beats = self._store.leases.dispatchers()
        beats.pop(self.owner, None)
        before = self._others
        self._others = {
            name: before[name] if name in before and before[name][0] == beat else (beat, now)
            for name, beat in beats.items()
        }

    def quota(self, lanes: int, present: Rows) -> int:
        """Return how many of the lanes should be this process's."""
        living = [name for name in self._others if self._lives(name)]
        return share(self.owner, living, lanes, Counter(row.owner for row in present.values()))

    def look(self, lanes: Iterable[Shard], present: Rows) -> None:
        """Note since when the leases have not moved; to be called at each look at them."""
        self._watch.look({**dict.fromkeys(lanes), **present})

    def is_left_over(self, shard: Shard, present: Rows) -> bool:
        """Has nobody taken this free lane for long?"""
        row = present.get(shard)
        if row is not None and row.owner is not None:
            return False
        return self._monotonic() - self._watch.since(shard) >= TAKEN_OVER_AFTER_S

    def contend(self, shard: Shard, present: Rows) -> int | None:
        """Take the lane over if it is free; return the epoch, None while it is another's. Raises StoreError."""
        former = self._former(shard, present)
        if any(row.owner != self.owner and self._watch.holds(row) for row in former):
            return None
        began = self._monotonic()
        instead = [row for row in former if row.shard != shard]
        epoch = self._store.leases.take_over(shard, self.owner, present.get(shard), instead)
        if epoch is not None:
            self._renewed_at[shard] = began
        return epoch

    def former_holds_until(self, shard: Shard, present: Rows) -> float:
        """Return until when a former owner of the lane's calls may begin requests, if it lives: by this process's
        monotonic clock.
        """
        rows = [row for row in self._former(shard, present) if not self._is_dead(row.owner)]
        return max((self._watch.since(row.shard) + HOLDS_FOR_S for row in rows), default=float("-inf"))

    def renew(self) -> set[Shard] | None:
        """Return the lanes that are still this process's; None when it is not time yet. Raises StoreError."""
        began = self._monotonic()
        if began - min(self._renewed_at.values(), default=began) < _RENEW_EVERY_S:
            return None
        still = self._store.leases.renew(self.owner)
        self._renewed_at = dict.fromkeys(still, began)
        return still

    def release(self, shard: Shard) -> None:
        """Let another take over this lane at once. Raises StoreError."""
        self._renewed_at.pop(shard, None)
        self._store.leases.release(self.owner, shard)

    def end(self) -> None:
        """Let another take over all lanes at once. Raises StoreError."""
        self._renewed_at = {}
        try:
            self._store.leases.release(self.owner)
            self._store.leases.forget_dispatcher(self.owner)
        finally:
            self._lock.remove()
            self._lock.close()

    def _former(self, shard: Shard, present: Rows) -> list[LeaseRow]:
        """Return the leases that must not hold any more: the lane's own, and those that split the target otherwise."""
        return [
            row
            for row in present.values()
            if row.shard.target == shard.target and (row.shard == shard or row.shard.count != shard.count)
        ]

    def _is_dead(self, owner: str | None) -> bool:
        return owner is not None and self._store.database.is_dead(owner)

    def _lives(self, owner: str) -> bool:
        _, since = self._others[owner]
        return self._monotonic() - since < TAKEN_OVER_AFTER_S and not self._is_dead(owner)


def share(owner: str, others: Iterable[str], lanes: int, owned: Mapping[str | None, int]) -> int:
    """Return how many lanes are an owner's when all are spread evenly; the odd ones stay with who has the most."""
    ranks = sorted({owner, *others}, key=lambda name: (-owned.get(name, 0), name))
    each, odd = divmod(lanes, len(ranks))
    return each + (ranks.index(owner) < odd)


def spread(shards: Iterable[Shard], owned: Iterable[Shard] = ()) -> list[Shard]:
    """Return the lanes in the order in which a process should have them: each target once, then each twice, …

    Of the targets that it has equally often, those with the most shards come first: others may have only these left.
    """
    had = Counter(shard.target for shard in owned)
    ranks: dict[Shard, tuple[int, int]] = {}
    for shard in shards:
        ranks[shard] = had[shard.target], -shard.count
        had[shard.target] += 1
    return sorted(ranks, key=ranks.__getitem__)
