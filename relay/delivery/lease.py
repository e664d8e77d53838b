"""This process's hold on lanes: taken over when nobody else has it, renewed while it lives, checked before each send.

An owner that is alive and able renews every 4 s. A contender takes over at once when the owner has ended, and when
owner, epoch and renewals have not moved for 15 s of the contender's own monotonic clock. The owner stops sending
after 12 s without a renewal: so nobody sends while another already may.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from relay.store import LeaseRow, Store

_RENEW_EVERY_S = 4.0
_HOLDS_FOR_S = 12.0
_TAKEN_OVER_AFTER_S = 15.0


class Lease:
    def __init__(self, store: Store, monotonic: Callable[[], float]) -> None:
        self.owner = uuid.uuid4().hex[:12]
        self._store, self._monotonic = store, monotonic
        self._lock = store.database.owner_lock(self.owner)
        self._renewed_at: dict[str, float] = {}  # by lane: one that another has taken over is not among them
        self._seen: dict[str, tuple[LeaseRow, float]] = {}  # a lane's lease, and since when it has not moved

    def begin(self) -> None:
        """From now on others can see that this process lives. Raises StoreError."""
        self._lock.try_acquire()

    def holds(self, target: str) -> bool:
        """May this process still send to the target?"""
        return self._monotonic() - self._renewed_at.get(target, float("-inf")) < _HOLDS_FOR_S

    def contend(self, target: str, present: LeaseRow | None) -> int | None:
        """The epoch under which the lane is now this process's; None while it is another's. Raises StoreError."""
        if not self._is_free(target, present):
            return None
        began = self._monotonic()
        epoch = self._store.targets.take_over(target, self.owner, present)
        if epoch is not None:
            self._renewed_at[target] = began
        return epoch

    def renew(self) -> set[str] | None:
        """The lanes that are still this process's; None when it is not time yet. Raises StoreError."""
        began = self._monotonic()
        if began - min(self._renewed_at.values(), default=began) < _RENEW_EVERY_S:
            return None
        still = self._store.targets.renew(self.owner)
        self._renewed_at = dict.fromkeys(still, began)
        return still

    def let_go(self, target: str) -> None:
        """Another may take over this lane at once. Raises StoreError."""
        self._renewed_at.pop(target, None)
        self._store.targets.release(self.owner, target)

    def end(self) -> None:
        """Lets go: another may take over at once. Raises StoreError."""
        self._renewed_at = {}
        try:
            self._store.targets.release(self.owner)
        finally:
            self._lock.remove()
            self._lock.close()

    def _is_free(self, target: str, present: LeaseRow | None) -> bool:
        if present is None or present.owner is None or present.owner == self.owner:
            return True
        if self._store.database.is_dead(present.owner):
            return True
        known, since = self._seen.get(target, (None, 0.0))
        if present != known:
            self._seen[target] = (present, self._monotonic())
            return False
        return self._monotonic() - since >= _TAKEN_OVER_AFTER_S
