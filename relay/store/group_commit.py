"""Group commit: threads that wait to commit let the first of them commit for all.

Whoever comes while a commit runs is in the next one. Under load the leader gives the others a little time to join:
as many as were there the last time. Without it a busy process, whose threads take turns, would commit nearly
every notification by itself (measured: 1.5 a commit; two fifths of its time). A lone request never waits.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from relay.errors import StoreBusy, StoreError
from relay.store.engine import WRITE_TIMEOUT_S, Database

Item = TypeVar("Item")
Result = TypeVar("Result")
Operation = Callable[[Connection, Sequence[Item]], Sequence[Result]]
"""Does its work for many items at once, inside the transaction, and returns a result for each."""

_BATCH = 64
_LINGER_FOR_MAX = 12


class _Waiting:
    __slots__ = ("alone_for", "committed", "deadline", "error", "item", "leads", "operation", "over", "result", "woken")

    def __init__(self, operation: Operation[Any, Any], item: Any, deadline: float, alone_for: Iterable[str]) -> None:
        self.operation, self.item, self.deadline, self.alone_for = operation, item, deadline, alone_for
        self.result: Any = None
        self.error: BaseException | None = None
        self.over = self.leads = self.committed = False
        self.woken = threading.Lock()  # held until it is woken: a third of an Event's price
        self.woken.acquire()


class GroupCommit:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._mutex = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._led = False
        self._stalled_since: float | None = None
        self._failed_at = math.inf  # the last of them; none while one is under way
        self._expected = 1  # how many were there the last time: in the commit, and come while it ran
        self._lingering = False
        self._complete = threading.Lock()  # held while the leader lingers
        self._complete.acquire()

    def stalled_s(self) -> float:
        """Return for how long commits have been tried of which none was confirmed; 0 when the last one was, or none has
        been tried for a while.
        """
        since, now = self._stalled_since, time.monotonic()
        return 0.0 if since is None or now - self._failed_at > WRITE_TIMEOUT_S else now - since

    def run(
        self,
        operation: Operation[Item, Result],
        item: Item,
        timeout: float = WRITE_TIMEOUT_S,
        *,
        alone_for: Iterable[str],
        linger_s: float = 0.0,
    ) -> Result:
        """Return the item's result, after the commit that holds it; `linger_s`: so long that may wait for others.

        `alone_for`: what the item needs for itself, see `Database.write`.

        Raises StoreBusy when that was not confirmed within `timeout` seconds, StoreError when it failed,
        and whatever the operation raised for this item alone.
        """
        mine = _Waiting(operation, item, time.monotonic() + timeout, alone_for)
        with self._mutex:
            self._queue.append(mine)
            mine.leads = not self._led
            self._led = True
            if self._lingering and len(self._queue) >= self._expected:
                self._lingering = False
                self._complete.release()
        if not mine.leads and not mine.woken.acquire(timeout=timeout):
            self._give_up(mine)
        if not mine.over:
            if linger_s:
                self._linger(linger_s)
            self._lead(mine.deadline)
        if mine.error is not None:
            raise mine.error
        if not mine.committed:
            raise StoreBusy("the commit was not confirmed: the thread that made it has been ended")
        result: Result = mine.result
        return result

    def _give_up(self, mine: _Waiting) -> None:
        with self._mutex:
            if mine.over or mine.leads:
                return
            if mine in self._queue:
                self._queue.remove(mine)  # surely not stored
        raise StoreBusy("the commit was not confirmed in time")

    def _linger(self, within_s: float) -> None:
        """Wait for as many as there were the last time, but not for long."""
        with self._mutex:
            self._lingering = len(self._queue) < self._expected
            if not self._lingering:
                return
        if self._complete.acquire(timeout=within_s):
            return
        with self._mutex:
            if self._lingering:
                self._lingering = False
            else:  # completed at the last instant: the lock has been released for us
                self._complete.acquire()

    def _lead(self, deadline: float) -> None:
        """Commit for all that wait. What the leader has waited for its turn is over: nobody waits twice."""
        with self._mutex:
            batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
        if not self.stalled_s():
            self._stalled_since = time.monotonic()
        self._failed_at = math.inf
        try:
            self._commit(batch, deadline)
        finally:
            if any(waiting.committed for waiting in batch):
                self._stalled_since = None
            else:
                self._failed_at = time.monotonic()
            with self._mutex:
                for waiting in batch:
                    waiting.over = True
                following = self._queue[0] if self._queue else None
                self._expected = min(len(batch) + len(self._queue), _LINGER_FOR_MAX)
                self._led = following is not None
                if following is not None:
                    following.leads = True
            for waiting in batch[1:]:  # the first is the leader itself
                waiting.woken.release()
            if following is not None:
                following.woken.release()

    def _commit(self, batch: list[_Waiting], deadline: float) -> None:
        try:
            names = {name for waiting in batch for name in waiting.alone_for}
            left_s = max(0.0, deadline - time.monotonic())
            with self._database.write(left_s, alone_for=names, pipelined=True) as connection:
                for operation, members in _by_operation(batch):
                    results = operation(connection, [member.item for member in members])
                    for member, result in zip(members, results, strict=True):
                        member.result = result
            for member in batch:
                member.committed = True
        except StoreError as exc:
            for waiting in batch:
                waiting.error = exc
        except Exception as exc:  # one of them is poisonous: rolled back, and each on its own
            if len(batch) == 1:
                batch[0].error = exc
                return
            for waiting in batch:
                self._commit([waiting], deadline)


def _by_operation(batch: list[_Waiting]) -> list[tuple[Operation[Any, Any], list[_Waiting]]]:
    groups: dict[Operation[Any, Any], list[_Waiting]] = {}
    for waiting in batch:
        groups.setdefault(waiting.operation, []).append(waiting)
    return list(groups.items())
