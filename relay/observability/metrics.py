"""Counters for Prometheus: what this process saw, added up over all processes, and what the store says at the scrape.

No label holds a phone, a session or a secret: only names of the configuration and words of the relay's own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay import __version__
from relay.clock import Clock
from relay.config import Settings
from relay.errors import StoreError
from relay.models import Delivery, Outcome
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
    """Lets the processes of one database add up. Before any of them counts: it decides how the library keeps values.

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
    """Takes the space of this process's files now: on a disk that is full later, a write to a mapped file would kill
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
    except PermissionError:
        return True  # somebody else's
    return True


class Metrics:
    """Counts nothing before `begin`."""

    def __init__(self, settings: Settings, store: Store, clock: Clock) -> None:
        self._settings, self._store, self._clock = settings, store, clock
        self._mutex, self._has_begun = threading.Lock(), False

    def begin(self) -> None:
        """In a process that serves or delivers. Loads the library, which a command can do without."""
        with self._mutex:
            if not self._has_begun:
                self._make()
                self._has_begun = True

    def _make(self) -> None:
        _reserve()
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self._registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self._registry}
        self._notifications = _Children(
            Counter("relay_notifications", "Notifications by what they were answered.",
                    ["source", "kind", "answer"], **own)
        )  # fmt: skip
        self._ingest = Histogram(
            "relay_ingest_seconds", "From a notification's request to its answer.", buckets=_INGEST_S, **own
        )
        self._attempts = _Children(Counter("relay_attempts", "Attempts by outcome.", ["target", "outcome"], **own))
        self._delays = _Children(
            Histogram("relay_delivery_delay_seconds", "From acceptance, or replay, to delivery.", ["target"],
                      buckets=_DELAY_S, **own)
        )  # fmt: skip

    def taken(self, source: str, kind: str | None, answer: str, seconds: float) -> None:
        """A notification was answered; `answer` is a status or accepted, duplicate, quarantined."""
        if not self._has_begun:
            return
        self._notifications.of(source, kind or "none", answer).inc()
        self._ingest.observe(seconds)

    def attempted(self, delivery: Delivery, outcome: Outcome, result: AttemptResult) -> None:
        if not self._has_begun:
            return
        self._attempts.of(delivery.target, outcome.name).inc()
        if result.delivered_at is not None:
            delay = (result.delivered_at - min(delivery.aged_from, delivery.due_at)).total_seconds()
            self._delays.of(delivery.target).observe(max(delay, 0.0))

    def text(self) -> bytes:
        """What Prometheus reads: of all processes where they add up, and of the store."""
        from prometheus_client import CollectorRegistry, generate_latest, multiprocess

        if _DIRECTORY in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library's own
        else:
            registry = self._registry
        counted: bytes = generate_latest(registry)
        stored = CollectorRegistry()
        stored.register(_Stored(self._facts))
        return counted + generate_latest(stored)

    # --- what the store says: right whichever process is asked

    def _facts(self) -> Iterator[GaugeMetricFamily]:
        yield _gauge("relay_build_info", "The version that runs.", {(__version__,): 1.0}, "version")
        try:
            found = list(self._stored())
        except StoreError:
            found = []
        yield _gauge("relay_store_up", "Whether the store can be read.", {(): float(bool(found))})
        yield from found

    def _stored(self) -> Iterator[GaugeMetricFamily]:
        now, store = self._clock(), self._store
        names = dict.fromkeys([*self._settings.targets, *store.queries.target_names()])
        figures = {name: store.queries.target_figures(name, now) for name in names}
        oldest = {
            name: max((now - each.oldest_due_at).total_seconds(), 0.0) if each.oldest_due_at else 0.0
            for name, each in figures.items()
        }
        yield _gauge("relay_backlog", "Deliveries that wait.", _by(figures, lambda each: each.due), "target")
        yield _gauge("relay_oldest_due_seconds", "For how long the oldest is due.", _by(oldest, float), "target")
        yield _gauge("relay_dead", "Dead and held deliveries.", _by(figures, lambda each: each.dead), "target")
        yield _gauge(
            "relay_target_state", "1 for the state that a target is in.",
            {(name, state): float(each.state == state) for name, each in figures.items() for state in _STATES},
            "target", "state",
        )  # fmt: skip
        yield _gauge("relay_quarantined", "Events that wait to be mended.", {(): float(store.pages.quarantined())})
        last = {name: store.queries.taken_since(name, now)[1] for name in self._settings.sources}
        yield _gauge(
            "relay_last_notification_timestamp_seconds", "When a source last sent one.",
            {(name,): at.timestamp() for name, at in last.items() if at is not None}, "source",
        )  # fmt: skip
        size = float(store.database.size_bytes())
        yield _gauge("relay_database_bytes", "The size of the database.", {(): size})


def _by(values: Mapping[str, Any], number: Callable[[Any], float]) -> dict[tuple[str, ...], float]:
    return {(name,): float(number(value)) for name, value in values.items()}


def _gauge(name: str, what: str, values: Mapping[tuple[str, ...], float], *labels: str) -> GaugeMetricFamily:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, what, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


class _Children:
    """The library's children by label values, kept: to look one up costs as much as to count."""

    def __init__(self, parent: Any) -> None:
        self._parent = parent
        self._known: dict[tuple[str, ...], Any] = {}

    def of(self, *labels: str) -> Any:
        found = self._known.get(labels)
        if found is None:
            found = self._known[labels] = self._parent.labels(*labels)
        return found


class _Stored:
    """A collector whose values are made at the scrape."""

    def __init__(self, collect: Callable[[], Iterator[GaugeMetricFamily]]) -> None:
        self.collect = collect
