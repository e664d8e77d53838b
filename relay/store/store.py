"""The store's front: each method is one question or one durable change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from msgspec.structs import replace
from sqlalchemy import Connection

from relay.errors import NotFound
from relay.events import DEAD_LETTERS, Attempt, Delivery, Event
from relay.store import changes, notifications, owners, queries, version, work
from relay.store.database import Database
from relay.store.group_commit import GroupCommit
from relay.store.lock import FileLock

Item = TypeVar("Item")

_RECORD_TIMEOUT_S = 10.0  # a lane has time; what is not recorded would be sent again
_CHUNK = 50  # rows in one transaction of the command line: a running relay must not wait for it


class Store:
    """Durable changes return after the commit that holds them. All raise StoreError when it cannot be made."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self._commits = GroupCommit(self.database)

    def expect_current(self) -> None:
        version.expect_current(self.database)

    def owner_lock(self) -> FileLock:
        return self.database.owner_lock()

    def close(self) -> None:
        self.database.close()

    # --- intake

    def stalled_s(self) -> float:
        """For how long the commit that is under way has not ended; 0 when none is."""
        return self._commits.stalled_s()

    def add(self, new: notifications.NewEvent) -> notifications.Stored:
        """Raises StoreBusy when the commit was not confirmed within 2 s."""
        return self._commits.run(notifications.store, new)

    def add_refusals(self, counts: Mapping[tuple[str, int], int], now: datetime) -> None:
        with self.database.write() as connection:
            owners.add_refusals(connection, counts, now)

    def prove_writable(self, now: datetime) -> None:
        with self.database.write() as connection:
            owners.beat(connection, "readyz", now)

    # --- lanes

    def take_over(self, target: str) -> int:
        with self.database.write(_RECORD_TIMEOUT_S) as connection:
            return owners.take_over(connection, target)

    def claim(self, wanted: work.Claim) -> work.Job | None:
        return self._commits.run(work.claim, wanted, _RECORD_TIMEOUT_S)

    def record(self, result: work.Result) -> work.Job | None:
        """Returns the job that `result.then` claimed in the same commit."""
        return self._commits.run(work.record, result, _RECORD_TIMEOUT_S)

    def put_back(self, job: work.Job) -> bool:
        return self._commits.run(work.put_back, job, _RECORD_TIMEOUT_S)

    def left_sending(self, target: str) -> list[tuple[Delivery, int]]:
        """With the epoch of the owner that had them."""
        with self.database.read() as connection:
            return work.left_sending(connection, target)

    def first_due_at(self, target: str) -> int | None:
        with self.database.read() as connection:
            return work.first_due_at(connection, target)

    def another_was_delivered(self, delivery: Delivery, since: datetime) -> bool:
        with self.database.read() as connection:
            return work.another_was_delivered(connection, delivery, since)

    # --- people

    def events(self, wanted: queries.Selection, *, newest: int | None = None) -> Iterator[Event]:
        return queries.list_events(self.database, wanted, newest=newest)

    def deliveries(self, wanted: queries.Selection) -> Iterator[Delivery]:
        return queries.list_deliveries(self.database, wanted)

    def event(self, wanted: str) -> Event:
        """Raises NotFound when neither an event nor a delivery has this id."""
        with self.database.read() as connection:
            found = queries.event_by_id(connection, wanted)
        if found is None:
            raise NotFound(f"there is no event and no delivery {wanted}; `python -m relay events` lists them")
        return found

    def whole(self, event: Event) -> list[tuple[Delivery, list[Attempt]]]:
        """An event's deliveries, each with its attempts."""
        with self.database.read() as connection:
            return [
                (delivery, queries.attempts_of(connection, delivery))
                for delivery in queries.deliveries_of(connection, event)
            ]

    def dead_letters(self, wanted: queries.Selection) -> Iterator[Delivery | Event]:
        """What an operator must look at: dead and held deliveries, then quarantined events."""
        states = wanted.states or (*DEAD_LETTERS, "quarantined")
        dead = tuple(state for state in states if state in DEAD_LETTERS)
        if dead:
            yield from self.deliveries(_with_states(wanted, dead))
        if "quarantined" in states and wanted.target is None:
            yield from self.events(_with_states(wanted, ("quarantined",)))

    def has_backlog(self, target: str) -> bool:
        with self.database.read() as connection:
            return queries.has_backlog(connection, target)

    def target_names(self) -> list[str]:
        with self.database.read() as connection:
            return queries.target_names(connection)

    def target_figures(self, name: str, since: datetime) -> queries.TargetFigures:
        with self.database.read() as connection:
            return queries.target_figures(connection, name, since)

    def taken_since(self, source: str, since: datetime) -> tuple[int, datetime | None]:
        with self.database.read() as connection:
            return queries.taken_since(connection, source, since)

    def refused_since(self, sources: Sequence[str], since: datetime) -> dict[str, dict[str, int]]:
        with self.database.read() as connection:
            return owners.refused_since(connection, sources, since)

    def count_states(self, seqs: list[int]) -> dict[str, int]:
        with self.database.read() as connection:
            return queries.count_states(connection, seqs)

    def replay(self, wanted: Sequence[changes.Replay]) -> int:
        """How many were put back; those whose state has changed meanwhile are not."""
        return sum(self._in_chunks(changes.replay, wanted))

    def discard(self, wanted: Sequence[Delivery]) -> int:
        return sum(self._in_chunks(changes.discard, wanted))

    def discard_events(self, wanted: Sequence[Event]) -> int:
        return sum(self._in_chunks(changes.discard_events, wanted))

    def admit(self, wanted: changes.Admission) -> bool:
        return all(self._in_chunks(changes.admit, [wanted]))

    def _in_chunks(
        self, change: Callable[[Connection, Sequence[Item]], list[bool]], items: Sequence[Item]
    ) -> Iterator[bool]:
        for start in range(0, len(items), _CHUNK):
            with self.database.write(_RECORD_TIMEOUT_S) as connection:
                results = change(connection, items[start : start + _CHUNK])
            yield from results


def _with_states(wanted: queries.Selection, states: tuple[str, ...]) -> queries.Selection:
    return replace(wanted, states=states)
