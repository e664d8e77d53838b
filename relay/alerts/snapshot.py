"""Collects what alerts are evaluated on: from the store and the disk, and since when, as far as was watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import asdict

from relay.alerts.evaluate import Snapshot, SourceStatus, TargetStatus, summary_moment
from relay.calls.missed_calls import missed_calls, waiting_clients
from relay.clock import EPOCH, Clock
from relay.config import Settings
from relay.errors import StoreError
from relay.store import CallCounts, Store, TargetFigures

_MISSED_WITHIN = timedelta(days=4)  # a call that waits for longer than over a weekend is no news
_MISSED_EVERY = timedelta(minutes=1)
_UNNOTIFIED_WITHIN = timedelta(hours=1)


class Summary(Struct, frozen=True):
    """What was in the last 24 hours."""

    sources: tuple[tuple[str, CallCounts, int, int], ...]  #: with missed calls, and clients who wait for a call back
    targets: tuple[tuple[TargetFigures, int], ...]  #: with the number of attempts that failed


class SnapshotCollector:
    """`token_ends`: when the tokens of targets end, by target."""

    def __init__(self, settings: Settings, store: Store, clock: Clock, token_ends: Mapping[str, datetime]) -> None:
        self._settings, self._store, self._clock = settings, store, clock
        self._token_ends = token_ends
        self._started_at: datetime | None = None
        self._open_since: dict[str, datetime] = {}
        self._store_down_since: datetime | None = None
        self._missed: Mapping[str, Sequence[datetime]] = {}
        self._missed_read_at = EPOCH

    def collect(self) -> Snapshot:
        now = self._clock()
        self._started_at = self._started_at or now
        try:
            self._store.database.prove_writable(now)
            names = self._store.queries.target_names(self._settings.targets)
            figures = [self._store.queries.target_figures(name, now) for name in names]
            opened = {each.name: self._open_since.get(each.name, now) for each in figures if each.state == "open"}
            snapshot = self.look(figures, now, watched_since=self._started_at, open_since=opened)
            self._open_since = opened
        except StoreError:
            self._store_down_since = self._store_down_since or now
            return Snapshot(now=now, store_down_since=self._store_down_since)
        self._store_down_since = None
        return snapshot

    def look(
        self,
        targets: Iterable[TargetFigures],
        now: datetime,
        *,
        watched_since: datetime,
        open_since: Mapping[str, datetime],
    ) -> Snapshot:
        """Return what the store and the disk say; `open_since` by target. Raises StoreError."""
        store, settings = self._store, self._settings
        figures, at = {each.name: each for each in targets}, settings.alerts.summary
        return Snapshot(
            now=now,
            targets=tuple(
                self._target(each, open_since.get(name)) for name, each in figures.items() if name in settings.targets
            ),
            sources=tuple(self._sources(now, watched_since)),
            dead={name: each.dead for name, each in figures.items() if each.dead or name in settings.targets},
            unreadable=store.pages.quarantined(),
            missed=self._waiting(now),
            token_ends=self._token_ends,
            free_bytes=store.database.free_bytes(),
            summary_at=None if at is None else summary_moment(at, settings.timezone, now),
        )

    def _waiting(self, now: datetime) -> Mapping[str, Sequence[datetime]]:
        """Return by source since when clients wait; once a minute, for it reads all calls of days."""
        if self._settings.alerts.missed_for and abs(now - self._missed_read_at) >= _MISSED_EVERY:
            self._missed_read_at = now
            self._missed = waiting_clients(missed_calls(self._store.queries.told_calls(now - _MISSED_WITHIN)))
        return self._missed

    def _sources(self, now: datetime, watched_since: datetime) -> Iterator[SourceStatus]:
        reports, store = self._store.reports.states(), self._store
        for name, source in self._settings.sources.items():
            last_at, has_report = store.queries.taken_since(name, now)[1], source.report is not None
            since = max(last_at or EPOCH, now - _UNNOTIFIED_WITHIN)
            unnotified, first = store.reports.unnotified(name, since) if has_report else (0, None)
            yield SourceStatus(
                name=name,
                zone=source.timezone,
                last_at=last_at,
                watched_since=watched_since,
                unnotified=unnotified,
                unnotified_since=first,
                report=reports.get(name) if has_report else None,
            )

    def summary(self) -> Summary:
        """Return what was in the last 24 hours. Raises StoreError."""
        store, settings, now = self._store, self._settings, self._clock()
        since = now - timedelta(hours=24)
        failed, missed = store.queries.failed_attempts(since), missed_calls(store.queries.told_calls(since))
        counts, waiting = Counter(call.source for call in missed), waiting_clients(missed)
        return Summary(
            sources=tuple(
                (name, store.queries.calls_since(name, since), counts[name], len(waiting.get(name, ())))
                for name in settings.sources
            ),
            targets=tuple(
                (store.queries.target_figures(name, since), failed.get(name, 0)) for name in settings.targets
            ),
        )

    def _target(self, figures: TargetFigures, open_since: datetime | None) -> TargetStatus:
        since = None if figures.state == "open" else self._store.targets.health(figures.name).since
        return TargetStatus(**asdict(figures), since=since, open_since=open_since)
