"""The store's front: each method is one question or one durable change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from relay.errors import NotFound, OwnershipLost
from relay.models import DEAD_LETTERS, Attempt, CallEvent, ClaimedDelivery, Delivery, Event, Standstill, TargetHealth
from relay.store import (
    call_progress,
    heartbeats,
    inbox,
    leases,
    operator_actions,
    overdue,
    queries,
    queue,
    rejection_counts,
    retention,
    target_state,
    version,
)
from relay.store.admin_pages import Pages
from relay.store.alert_state import AlertStateStore
from relay.store.group_commit import GroupCommit
from relay.store.leases import LeaseRow
from relay.store.sessions import AdminSessions
from relay.store.sqlite import backup
from relay.store.sqlite.database import Database
from relay.store.sqlite.lock import FileLock
from relay.store.target_state import OperatorFlags
from relay.store.tokens import TokenStore

Item = TypeVar("Item")

_RECORD_TIMEOUT_S = 10.0  # a lane has time; what is not recorded would be sent again
_COMPANY_S, _LANES_COMPANY_S = 0.003, 0.0015  # that a commit waits for others under load
_CHUNK = 50  # rows in one transaction of the command line: a running relay must not wait for it


class Store:
    """Durable changes return after the commit that holds them. All raise StoreError when it cannot be made."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self._commits = GroupCommit(self.database)
        self.pages = Pages(self.database)
        self.told = AlertStateStore(self.database)
        self.sessions = AdminSessions(self.database)

    def expect_current(self) -> None:
        version.expect_current(self.database)

    def close(self) -> None:
        self.database.close()

    # --- intake

    def stalled_s(self) -> float:
        """For how long the commit that is under way has not ended; 0 when none is."""
        return self._commits.stalled_s()

    def add(self, new: inbox.NewEvent) -> inbox.InsertResult:
        """Raises StoreBusy when the commit was not confirmed within 2 s."""
        prepared = inbox.PendingInsert(new)
        self._commits.run(inbox.store, prepared, linger_s=_COMPANY_S)
        return prepared.stored()

    def add_refusals(self, counts: Mapping[tuple[str, int], int], now: datetime) -> None:
        with self.database.write() as connection:
            rejection_counts.add_refusals(connection, counts, now)

    def prove_writable(self, now: datetime) -> None:
        """Raises StoreError. Commits once in ten seconds, however often and by how many processes it is asked."""
        with self.database.write() as connection:
            heartbeats.beat(connection, "readyz", now)

    # --- lanes

    def owner_lock(self, owner: str) -> FileLock:
        return self.database.owner_lock(owner)

    def is_dead(self, owner: str) -> bool:
        """Has the process ended that has these leases?"""
        return self.database.is_dead(owner)

    def is_worked(self, targets: Iterable[str]) -> bool:
        """Does a process that lives deliver to any of them?"""
        found = self.leases()
        owners = {found[name].owner for name in targets if name in found}
        return any(owner is not None and not self.is_dead(owner) for owner in owners)

    def leases(self) -> dict[str, LeaseRow]:
        with self.database.read() as connection:
            return leases.leases(connection)

    def take_over(self, target: str, owner: str, seen: LeaseRow | None = None) -> int | None:
        """The new epoch of the target's lane; None when the lease is no longer as it was seen."""
        with self.database.write(_RECORD_TIMEOUT_S) as connection:
            return leases.take_over(connection, target, owner, seen)

    def renew(self, owner: str) -> set[str]:
        """The targets whose lanes are still this owner's."""
        with self.database.write() as connection:
            return leases.renew(connection, owner)

    def release(self, owner: str, target: str | None = None) -> None:
        """Its lanes, or this one of them, are anybody's."""
        with self.database.write() as connection:
            leases.release(connection, owner, target)

    def claim(self, wanted: queue.Claim) -> ClaimedDelivery | None:
        return queue.job(self._commits.run(queue.claim, wanted, _RECORD_TIMEOUT_S), wanted.epoch)

    def record(self, result: queue.AttemptResult) -> ClaimedDelivery | None:
        """Returns the job that `result.then` claimed in the same commit."""
        row = self._commits.run(queue.record, result, _RECORD_TIMEOUT_S, linger_s=_LANES_COMPANY_S)
        return None if result.then is None else queue.job(row, result.then.epoch)

    def unclaim(self, delivery: Delivery, epoch: int) -> bool:
        return self._commits.run(queue.unclaim, (delivery, epoch), _RECORD_TIMEOUT_S)

    def in_flight(self, target: str) -> list[tuple[Delivery, int]]:
        """With the epoch of the owner that has or had them."""
        with self.database.read() as connection:
            return queue.in_flight(connection, target)

    def health(self, target: str) -> TargetHealth:
        with self.database.read() as connection:
            return target_state.load(connection, target)

    def look(self, target: str) -> tuple[int | None, OperatorFlags]:
        """When the lane's next delivery is due, in microseconds (None: it has none), and what the operator wants."""
        with self.database.read() as connection:
            return queue.first_due_at(connection, target), target_state.orders(connection, target)

    def standstills(self, target: str) -> tuple[Standstill, ...]:
        with self.database.read() as connection:
            return target_state.load_standstills(connection, target)

    def follow_clock(
        self, lanes: Mapping[str, int], before: datetime, after: datetime, gaps: Mapping[str, timedelta]
    ) -> None:
        """The wall clock has stepped: waits keep their length, and a step forward ages nobody.

        All these lanes, given with their epochs, follow it in one commit, and once only. `gaps`: between two
        deliveries of one call, by the lane's name; what waits for its gap is not tried yet.
        """
        with self.database.write(_RECORD_TIMEOUT_S) as connection:
            overdue.follow_clock(connection, lanes, before, after, gaps)

    def shorten_waits(self, target: str, now: datetime, longest: timedelta) -> int:
        """How many had been told to wait by a clock that was ahead; by page, until there are none."""
        with self.database.read() as connection:
            found = overdue.overlong(connection, target, now, longest)
        if found:
            with self.database.write(_RECORD_TIMEOUT_S) as connection:
                overdue.shorten(connection, found, now, longest)
        return len(found)

    def list_overdue(self, target: str, born_before: datetime, kind: str | None = None) -> list[Delivery]:
        """Those that wait since before then, by page; with `kind` only of that kind, and none that was replayed."""
        with self.database.read() as connection:
            return overdue.list_overdue(connection, target, born_before, kind)

    def end(self, endings: Sequence[overdue.Expiry]) -> int:
        """How many ended without another try; those whose state has changed meanwhile go on."""
        return sum(self._in_chunks(overdue.end, endings))

    def move(self, moves: Sequence[overdue.Reroute]) -> int:
        """How many went to another target; not those that it has already, nor those that have changed meanwhile."""
        return sum(self._in_chunks(overdue.move, moves))

    def another_was_delivered(self, delivery: Delivery, since: datetime) -> bool:
        with self.database.read() as connection:
            return queue.another_was_delivered(connection, delivery, since)

    def said(self, delivery: Delivery) -> tuple[CallEvent, ...]:
        """Everything that UIS had said of the call up to this delivery's event, in the order of acceptance."""
        with self.database.read() as connection:
            return call_progress.said(connection, delivery.source, delivery.session, delivery.event_seq)

    def said_of(self, event: Event) -> tuple[CallEvent, ...]:
        """Everything that UIS had said of the event's call up to it, in the order of acceptance."""
        with self.database.read() as connection:
            return call_progress.said(connection, event.source, event.session, event.seq)

    def done(self, delivery: Delivery) -> dict[str, Any]:
        """What has been done for the call at the delivery's target."""
        with self.database.read() as connection:
            return call_progress.done(connection, delivery)

    def remember(self, delivery: Delivery, epoch: int, done: dict[str, Any]) -> None:
        """Adds to what has been done for the call; on disk when it returns.

        Raises OwnershipLost when the lane has another epoch by now: then it is another's to say what was done.
        """
        if not self._commits.run(
            call_progress.remember, call_progress.CallProgress(delivery, epoch, done), _RECORD_TIMEOUT_S
        ):
            raise OwnershipLost(f"another process has the lane of {delivery.target} by now")

    def token_store(self, target: str) -> TokenStore:
        return TokenStore(self.database, target)

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
        if set(states) & set(DEAD_LETTERS):
            yield from self.deliveries(queries.with_states(wanted, DEAD_LETTERS, states))
        if "quarantined" in states and wanted.target is None:
            yield from self.events(queries.with_states(wanted, ("quarantined",), states))

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
            return rejection_counts.refused_since(connection, sources, since)

    def count_states(self, seqs: list[int]) -> dict[str, int]:
        with self.database.read() as connection:
            return queries.count_states(connection, seqs)

    def pause(self, target: str, now: datetime) -> bool:
        """False: it was paused already."""
        with self.database.write(_RECORD_TIMEOUT_S) as connection:
            return target_state.pause(connection, target, now)

    def resume(self, target: str, now: datetime) -> bool:
        """Asks for a probe at once. False: it was not paused."""
        with self.database.write(_RECORD_TIMEOUT_S) as connection:
            return target_state.resume(connection, target, now)

    def prune(self, delivered_before: datetime, dead_before: datetime, should_stop: Callable[[], bool]) -> int:
        """How many events were deleted; the file shrinks. `breathe` is called between batches; True ends it."""
        return retention.prune(self.database, delivered_before, dead_before, should_stop)

    def back_up(self, copy: Path) -> int:
        """Makes a consistent copy while others write; returns how many events it holds. Raises StoreError."""
        return backup.back_up(self.database.path, copy).events

    def replay(self, wanted: Sequence[operator_actions.Replay]) -> int:
        """How many were put back; those whose state has changed meanwhile are not."""
        return sum(self._in_chunks(operator_actions.replay, wanted))

    def discard(self, wanted: Sequence[operator_actions.Discard]) -> int:
        return sum(self._in_chunks(operator_actions.discard, wanted))

    def discard_events(self, wanted: Sequence[Event]) -> int:
        return sum(self._in_chunks(operator_actions.discard_events, wanted))

    def admit(self, wanted: operator_actions.Reacceptance) -> bool:
        return all(self._in_chunks(operator_actions.admit, [wanted]))

    def _in_chunks(
        self, change: Callable[[Connection, Sequence[Item]], list[bool]], items: Sequence[Item]
    ) -> Iterator[bool]:
        for start in range(0, len(items), _CHUNK):
            with self.database.write(_RECORD_TIMEOUT_S) as connection:
                results = change(connection, items[start : start + _CHUNK])
            yield from results
