"""Looks every half minute, and tells what is new. Of several processes one does it: the owner of the first lane."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import structlog

from relay.alerts import words
from relay.alerts.rules import Facts, SourceFact, TargetFact, Told, news, troubles
from relay.errors import StoreError
from relay.settings import Settings
from relay.store import Store
from relay.times import Clock

log = structlog.get_logger("relay.alerts")

_EVERY_S = 30.0
_AT_MOST_EVERY_S = 60.0

Warnings = Callable[[datetime], list[tuple[str, str]]]


class Owner(Protocol):
    def owned(self) -> list[str]:
        """The targets whose lanes are this process's."""


class Teller(Protocol):
    def problem(self) -> str | None: ...

    def tell(self, title: str, body: str) -> dict[str, bool]:
        """Which channels took it."""


class Watch:
    def __init__(
        self, settings: Settings, store: Store, clock: Clock, owner: Owner, teller: Teller, warnings: Warnings
    ) -> None:
        self._settings, self._store, self._clock = settings, store, clock
        self._owner, self._teller, self._warnings = owner, teller, warnings
        self._limits, self._began = settings.alerts, clock()
        self._told: dict[str, Told] | None = None
        self._said_at: datetime | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        if not self._limits.urls:
            return
        problem = self._teller.problem()
        if problem is not None:
            log.error("alert.nobody_is_told", reason=problem)
            return
        threading.Thread(target=self._run, name="alerts", daemon=True).start()

    def stop_soon(self) -> None:
        self._stopping.set()

    def look(self) -> str | None:
        """One look; the message that was sent, if there was something to say and a channel took it."""
        if not self._is_mine():
            return None
        facts = self._facts()
        known = self._known()
        found = news(troubles(facts, self._limits), known, self._limits, facts.now)
        if not found.items:
            self._keep(known, found.told)
            return None
        if self._said_at is not None and (facts.now - self._said_at).total_seconds() < _AT_MOST_EVERY_S:
            return None  # with the next look
        body = words.message(found.items, self._limits.language, self._settings.timezone)
        if not any(self._teller.tell(self.title, body).values()):
            log.warning("alert.not_told", count=len(found.items), reason="no channel took it; told with the next look")
            return None
        self._said_at = facts.now
        self._keep(known, found.told)
        return body

    @property
    def title(self) -> str:
        return f"UIS relay {self._limits.name or socket.gethostname()}"

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            try:
                self.look()
            except Exception:  # what is watched must not suffer from who watches
                log.exception("alert.look_failed")

    def _is_mine(self) -> bool:
        first = next(iter(self._settings.targets), None)
        return first is not None and first in self._owner.owned()

    # --- what was told

    def _known(self) -> dict[str, Told]:
        if self._told is None:
            try:
                self._told = {key: Told(**told) for key, told in self._store.told.load().items()}
            except StoreError:
                return {}  # asked again; a store that is down is told from memory
        return self._told

    def _keep(self, before: dict[str, Told], after: dict[str, Told]) -> None:
        self._told = after
        if after == before:
            return
        try:
            self._store.told.save({key: _plain(told) for key, told in after.items()})
        except StoreError as exc:
            log.warning("alert.not_kept", reason=str(exc))

    # --- what is so

    def _facts(self) -> Facts:
        now = self._clock()
        try:
            return self._of_store(now)
        except StoreError:
            return Facts(now=now, store_is_up=False)

    def _of_store(self, now: datetime) -> Facts:
        store, settings = self._store, self._settings
        store.prove_writable(now)
        figures = {name: store.target_figures(name, now) for name in settings.targets}
        targets = tuple(
            TargetFact(
                name=name, state=each.state, reason=each.reason, since=store.health(name).since, due=each.due,
                oldest_due_at=each.oldest_due_at,
            )
            for name, each in figures.items()
        )  # fmt: skip
        sources = tuple(
            SourceFact(name=name, last_at=store.taken_since(name, now)[1] or self._began, zone=source.timezone)
            for name, source in settings.sources.items()
        )
        return Facts(
            now=now, targets=targets, sources=sources, warnings=tuple(self._warnings(now)),
            dead=sum(each.dead for each in figures.values()) + store.pages.quarantined(),
            free_bytes=shutil.disk_usage(store.database.path.parent).free,
        )  # fmt: skip


def _plain(told: Told) -> dict[str, object]:
    return {name: getattr(told, name) for name in Told.__struct_fields__}
