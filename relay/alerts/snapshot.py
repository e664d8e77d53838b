"""What is so now: asked of the store and of the disk, with what only a watcher can know, since when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from relay.alerts.evaluate import Snapshot, SourceFact, TargetFact
from relay.clock import Clock
from relay.config import Settings
from relay.errors import StoreError
from relay.store import Store, TargetFigures


class SnapshotCollector:
    """`token_ends`: when the tokens of targets end, by target."""

    def __init__(self, settings: Settings, store: Store, clock: Clock, token_ends: Mapping[str, datetime]) -> None:
        self._settings, self._store, self._clock = settings, store, clock
        self._token_ends = token_ends
        self._began: datetime | None = None
        self._open_since: dict[str, datetime] = {}
        self._store_down_since: datetime | None = None

    def facts(self) -> Snapshot:
        now = self._clock()
        self._began = self._began or now
        try:
            found = self._stored(now, self._began)
        except StoreError:
            self._store_down_since = self._store_down_since or now
            return Snapshot(now=now, store_down_since=self._store_down_since)
        self._store_down_since = None
        return found

    def _stored(self, now: datetime, began: datetime) -> Snapshot:
        store, settings = self._store, self._settings
        store.database.prove_writable(now)
        names = dict.fromkeys([*settings.targets, *store.queries.target_names()])
        figures = {name: store.queries.target_figures(name, now) for name in names}
        return Snapshot(
            now=now, token_ends=self._token_ends, unreadable=store.pages.quarantined(), free_bytes=self._free_bytes(),
            dead={name: each.dead for name, each in figures.items() if each.dead or name in settings.targets},
            targets=tuple(self._target(figures[name], now) for name in settings.targets),
            sources=tuple(
                SourceFact(
                    name=name, zone=source.timezone, watched_since=began,
                    last_at=store.queries.taken_since(name, now)[1],
                )
                for name, source in settings.sources.items()
            ),
        )  # fmt: skip

    def _target(self, found: TargetFigures, now: datetime) -> TargetFact:
        is_open = found.state == "open"
        if is_open:
            self._open_since.setdefault(found.name, now)
        else:
            self._open_since.pop(found.name, None)
        return TargetFact(
            name=found.name, state=found.state, reason=found.reason, due=found.due, oldest_due_at=found.oldest_due_at,
            since=None if is_open else self._store.targets.health(found.name).since,
            open_since=self._open_since.get(found.name),
        )  # fmt: skip

    def _free_bytes(self) -> int | None:
        try:
            return self._store.database.free_bytes()
        except OSError:  # the store's to complain of
            return None
