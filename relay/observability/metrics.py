"""Counters for Prometheus: what this process saw, added up over all processes, and what the store says at the scrape.

No label holds a phone, a session or a secret: only names of the configuration and words of the relay's own.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay import __version__
from relay.clock import Clock
from relay.config import Settings
from relay.errors import StoreError
from relay.store import AttemptResult, Store

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # the library reads it when it is imported
_INGEST_S = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 4)
_DELAY_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 300, 900, 3600, 14400, 43200, 86400)
_FILE_BYTES = 256 * 1024  # several times what the names of a large configuration need
_STATES = ("open", "paused", "down", "misconfigured")
UNKNOWN = "unknown"  #: the source of what came to an address that is nobody's


def prepare(database: Path) -> None:
    """Let the processes of one database add up. Before any of them counts: it decides how the library keeps values.

    What dead processes counted is forgotten here, at a start, and only here: a counter must not fall meanwhile.
    """
    folder = database.with_name(database.name + ".metrics")
    try:
        folder.mkdir(exist_ok=True)
        for file in folder.glob("*_*.db"):
            if not _lives(file.stem.rpartition("_")[2]):
                file.unlink(missing_ok=True)
    except OSError:
        return  # each process counts for itself then; a folder that cannot be written is the store's to complain of
    os.environ[_DIRECTORY] = str(folder)


def _reserve() -> None:
    """Take the space of this process's files now: on a disk that is full later, a write to a mapped file would kill
    the process (SIGBUS). Where there is no space, each process counts for itself.
    """
    folder = os.environ.get(_DIRECTORY)
    if folder is None:
        return
    try:
        for kind in ("counter", "histogram"):
            with (Path(folder) / f"{kind}_{os.getpid()}.db").open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, _FILE_BYTES)
    except (OSError, AttributeError):  # macOS has no such call
        del os.environ[_DIRECTORY]


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # somebody else's
        pass
    return True


class Metrics:
    """Counts nothing before `start`."""

    def __init__(self, settings: Settings, store: Store, clock: Clock) -> None:
        self._settings, self._store, self._clock = settings, store, clock
        self._mutex, self._is_started = threading.Lock(), False

    def start(self) -> None:
        """Begin to count, in a process that serves or delivers. Loads the library, which a command can do without."""
        with self._mutex:
            if not self._is_started:
                self._make()
                self._is_started = True

    def _make(self) -> None:
        _reserve()
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self._registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self._registry}
        answered = "Notifications by what they were answered."
        notifications = Counter("relay_notifications", answered, ["source", "kind", "answer"], **own)
        self._ingest = Histogram(
            "relay_ingest_seconds", "From a notification's request to its answer.", buckets=_INGEST_S, **own
        )
        attempts = Counter("relay_attempts", "Attempts by outcome.", ["target", "outcome"], **own)
        delay = "From acceptance, or replay, to delivery."
        delays = Histogram("relay_delivery_delay_seconds", delay, ["target"], buckets=_DELAY_S, **own)
        # the library's own search for what has these labels takes 5 us
        self._notifications = functools.cache(notifications.labels)
        self._attempts = functools.cache(attempts.labels)
        self._delays = functools.cache(delays.labels)

    def record_notification(self, source: str, kind: str | None, answer: str, seconds: float) -> None:
        """Count a notification that was answered; `answer` is a status or accepted, duplicate, quarantined."""
        if not self._is_started:
            return
        self._notifications(source, kind or "none", answer).inc()
        self._ingest.observe(seconds)

    def record_attempt(self, result: AttemptResult) -> None:
        if not self._is_started or result.attempt is None:
            return
        delivery, verdict = result.delivery, result.verdict
        self._attempts(delivery.target, result.attempt.outcome).inc()
        if verdict.state == "delivered":
            delay = (verdict.at - min(delivery.age_started_at, delivery.due_at)).total_seconds()
            self._delays(delivery.target).observe(max(delay, 0.0))

    def text(self) -> bytes:
        """Return what Prometheus reads: of all processes where they add up, and of the store."""
        from prometheus_client import CollectorRegistry, generate_latest, multiprocess

        counted, stored = self._registry, CollectorRegistry()
        if _DIRECTORY in os.environ:
            counted = CollectorRegistry()
            multiprocess.MultiProcessCollector(counted)  # type: ignore[no-untyped-call]  # the library's own
        stored.register(self)
        return generate_latest(counted) + generate_latest(stored)

    # --- what the store says: right whichever process is asked

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges, as the library asks a collector for them at the scrape."""
        yield _gauge("relay_build_info", "The version that runs.", {__version__: 1.0}, "version")
        try:
            gauges = list(self._of_store())
        except StoreError:
            gauges = []
        yield _gauge("relay_store_up", "Whether the store can be read.", {(): float(bool(gauges))})
        yield from gauges

    def _of_store(self) -> Iterator[GaugeMetricFamily]:
        now, store = self._clock(), self._store
        names = store.queries.target_names(self._settings.targets)
        figures = [store.queries.target_figures(name, now) for name in names]
        delays = {each.name: max((now - (each.oldest_due_at or now)).total_seconds(), 0.0) for each in figures}
        states = {(each.name, state): each.state == state for each in figures for state in _STATES}
        last_at = {name: store.queries.taken_since(name, now)[1] for name in self._settings.sources}
        last = {name: at.timestamp() for name, at in last_at.items() if at is not None}
        backlog, dead = ({each.name: getattr(each, key) for each in figures} for key in ("due", "dead"))
        yield _gauge("relay_backlog", "Deliveries that wait.", backlog, "target")
        yield _gauge("relay_oldest_due_seconds", "For how long the oldest is due.", delays, "target")
        yield _gauge("relay_dead", "Dead and held deliveries.", dead, "target")
        yield _gauge("relay_target_state", "1 for the state that a target is in.", states, "target", "state")
        yield _gauge("relay_quarantined", "Events that wait to be mended.", {(): store.pages.quarantined()})
        yield _gauge("relay_last_notification_timestamp_seconds", "When a source last sent one.", last, "source")
        yield _gauge("relay_database_bytes", "The size of the database.", {(): store.database.size_bytes()})


def _gauge(name: str, meaning: str, values: Mapping[Any, float], *labels: str) -> GaugeMetricFamily:
    """Return a gauge; `values` by the label, or by the labels in a tuple."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, meaning, labels=labels)
    for key, value in values.items():
        family.add_metric(key if isinstance(key, tuple) else (key,), float(value))
    return family
