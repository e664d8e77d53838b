"""This process's hold on lanes: taken over when nobody else has it, renewed while it lives, checked before each send.

An owner that is alive and able renews every 4 s. A contender takes over at once when the owner has ended, and when
owner, epoch and renewals have not moved for 15 s of the contender's own monotonic clock. The owner stops sending
after 12 s without a renewal: so nobody sends while another already may.

Lanes are spread evenly over the processes that announce themselves: each has its quota, and lets go of what is beyond
it. A lane that nobody takes (not every process need have the same configuration) is taken beyond the quota.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from relay.store import LeaseRow, Store

_RENEW_EVERY_S = 4.0
_HOLDS_FOR_S = 12.0
_TAKEN_OVER_AFTER_S = 15.0
_FORGOTTEN_AFTER_S = 120.0


class Lease:
    """Holds lanes for this process."""

    def __init__(self, store: Store, monotonic: Callable[[], float]) -> None:
        self.owner = uuid.uuid4().hex[:12]
        self._store, self._monotonic = store, monotonic
        self._lock = store.database.owner_lock(self.owner)
        self._renewed_at: dict[str, float] = {}  # by lane: one that another has taken over is not among them
        self._seen: dict[str, tuple[LeaseRow | None, float]] = {}  # a lane's lease, and since when it has not moved
        self._announced_at = float("-inf")
        self._others: dict[str, tuple[int, float]] = {}  # other processes' beats, and since when they have not moved

    def start(self) -> None:
        """Let others see from now on that this process lives. Raises StoreError."""
        self._lock.try_acquire()

    def is_valid(self, target: str) -> bool:
        """May this process still send to the target?"""
        return self._monotonic() - self._renewed_at.get(target, float("-inf")) < _HOLDS_FOR_S

    def announce(self) -> bool:
        """Say that this process lives and see who else does, every few seconds. Raises StoreError."""
        now = self._monotonic()
        if now - self._announced_at < _RENEW_EVERY_S:
            return False
        self._store.targets.announce(self.owner)
        self._announced_at = now
        self.observe()
        for name, (_, since) in self._others.items():
            if now - since > _FORGOTTEN_AFTER_S:
                self._store.targets.forget_dispatcher(name)
        return True

    def observe(self) -> None:
        """See which other processes live. Raises StoreError."""
        now = self._monotonic()
        beats = self._store.targets.dispatchers()
        beats.pop(self.owner, None)
        before = self._others
        self._others = {
            name: before[name] if name in before and before[name][0] == beat else (beat, now)
            for name, beat in beats.items()
        }

    def quota(self, lanes: int, present: Mapping[str, LeaseRow]) -> int:
        """Return how many of the lanes should be this process's."""
        living = [name for name in self._others if self._lives(name)]
        return share(self.owner, living, lanes, Counter(row.owner for row in present.values()))

    def watch(self, target: str, present: LeaseRow | None) -> None:
        """Note since when the lane's lease has not moved; to be called at each look at it."""
        if target not in self._seen or self._seen[target][0] != present:
            self._seen[target] = present, self._monotonic()

    def is_left_over(self, target: str, present: LeaseRow | None) -> bool:
        """Has nobody taken this free lane for long?"""
        if present is not None and present.owner is not None:
            return False
        return self._unchanged_s(target, present) >= _TAKEN_OVER_AFTER_S

    def contend(self, target: str, present: LeaseRow | None) -> int | None:
        """Take the lane over if it is free; return the epoch, None while it is another's. Raises StoreError."""
        if not self._is_free(target, present):
            return None
        began = self._monotonic()
        epoch = self._store.targets.take_over(target, self.owner, present)
        if epoch is not None:
            self._renewed_at[target] = began
        return epoch

    def renew(self) -> set[str] | None:
        """Return the lanes that are still this process's; None when it is not time yet. Raises StoreError."""
        began = self._monotonic()
        if began - min(self._renewed_at.values(), default=began) < _RENEW_EVERY_S:
            return None
        still = self._store.targets.renew(self.owner)
        self._renewed_at = dict.fromkeys(still, began)
        return still

    def release(self, target: str) -> None:
        """Let another take over this lane at once. Raises StoreError."""
        self._renewed_at.pop(target, None)
        self._store.targets.release(self.owner, target)

    def end(self) -> None:
        """Let another take over all lanes at once. Raises StoreError."""
        self._renewed_at = {}
        try:
            self._store.targets.release(self.owner)
            self._store.targets.forget_dispatcher(self.owner)
        finally:
            self._lock.remove()
            self._lock.close()

    def _is_free(self, target: str, present: LeaseRow | None) -> bool:
        if present is None or present.owner is None or present.owner == self.owner:
            return True
        if self._store.database.is_dead(present.owner):
            return True
        return self._unchanged_s(target, present) >= _TAKEN_OVER_AFTER_S

    def _unchanged_s(self, target: str, present: LeaseRow | None) -> float:
        """Return for how long the lane's lease has not moved, as far as this process has seen."""
        self.watch(target, present)
        return self._monotonic() - self._seen[target][1]

    def _lives(self, owner: str) -> bool:
        _, since = self._others[owner]
        return self._monotonic() - since < _TAKEN_OVER_AFTER_S and not self._store.database.is_dead(owner)


def share(owner: str, others: Iterable[str], lanes: int, owned: Mapping[str | None, int]) -> int:
    """Return how many lanes are an owner's when all are spread evenly; the odd ones stay with who has the most."""
    ranks = sorted({owner, *others}, key=lambda name: (-owned.get(name, 0), name))
    each, odd = divmod(lanes, len(ranks))
    return each + (ranks.index(owner) < odd)
