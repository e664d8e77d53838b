"""Collects what alerts are evaluated on: from the store and the disk, and since when, as far as was watched."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from relay.alerts.evaluate import Snapshot, SourceStatus, TargetStatus, summary_moment
from relay.clock import Clock
from relay.config import Settings
from relay.errors import StoreError
from relay.store import CallCounts, Store, TargetFigures


class Summary(Struct, frozen=True):
    """What was in the last 24 hours."""

    sources: tuple[tuple[str, CallCounts], ...]
    targets: tuple[tuple[TargetFigures, int], ...]  #: with the number of attempts that failed


class SnapshotCollector:
    """`token_ends`: when the tokens of targets end, by target."""

    def __init__(self, settings: Settings, store: Store, clock: Clock, token_ends: Mapping[str, datetime]) -> None:
        self._settings, self._store, self._clock = settings, store, clock
        self._token_ends = token_ends
        self._started_at: datetime | None = None
        self._open_since: dict[str, datetime] = {}
        self._store_down_since: datetime | None = None

    def collect(self) -> Snapshot:
        now = self._clock()
        self._started_at = self._started_at or now
        try:
            snapshot = self._stored(now, self._started_at)
        except StoreError:
            self._store_down_since = self._store_down_since or now
            return Snapshot(now=now, store_down_since=self._store_down_since)
        self._store_down_since = None
        return snapshot

    def _stored(self, now: datetime, watched_since: datetime) -> Snapshot:
        store, settings = self._store, self._settings
        store.database.prove_writable(now)
        names = store.queries.target_names(settings.targets)
        figures = {name: store.queries.target_figures(name, now) for name in names}
        sources = tuple(
            SourceStatus(
                name=name,
                zone=source.timezone,
                last_at=store.queries.taken_since(name, now)[1],
                watched_since=watched_since,
            )
            for name, source in settings.sources.items()
        )
        return Snapshot(
            now=now,
            targets=tuple(self._target(figures[name], now) for name in settings.targets),
            sources=sources,
            dead={name: each.dead for name, each in figures.items() if each.dead or name in settings.targets},
            unreadable=store.pages.quarantined(),
            token_ends=self._token_ends,
            free_bytes=self._free_bytes(),
            summary_at=self._summary_at(now),
        )

    def summary(self) -> Summary:
        """Return what was in the last 24 hours. Raises StoreError."""
        store, settings, now = self._store, self._settings, self._clock()
        since = now - timedelta(hours=24)
        failed = store.queries.failed_attempts(since)
        return Summary(
            sources=tuple((name, store.queries.calls_since(name, since)) for name in settings.sources),
            targets=tuple(
                (store.queries.target_figures(name, since), failed.get(name, 0)) for name in settings.targets
            ),
        )

    def _summary_at(self, now: datetime) -> datetime | None:
        at = self._settings.alerts.summary
        return None if at is None else summary_moment(at, self._settings.timezone, now)

    def _target(self, figures: TargetFigures, now: datetime) -> TargetStatus:
        is_open = figures.state == "open"
        if is_open:
            self._open_since.setdefault(figures.name, now)
        else:
            self._open_since.pop(figures.name, None)
        return TargetStatus(
            name=figures.name,
            state=figures.state,
            reason=figures.reason,
            since=None if is_open else self._store.targets.health(figures.name).since,
            open_since=self._open_since.get(figures.name),
            due=figures.due,
            oldest_due_at=figures.oldest_due_at,
        )

    def _free_bytes(self) -> int | None:
        try:
            return self._store.database.free_bytes()
        except OSError:  # the store's to complain of
            return None
