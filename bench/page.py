"""The operator's page: how quickly it opens on a large database, and what it and a scrape cost those who post."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import requests

from bench import fill, load, notifications, servers
from bench.figures import Figures

_VIEWS = ("/admin/", "/admin/dead", "/admin/calls", "/admin/calls?phone=0123", "/admin/calls/trade/1000", "/metrics")
_PASSWORD = "bench"


def page(found: Figures) -> None:
    """Each view on a million delivered events, the first time and at the median."""
    kept, rounds = (20_000, 3) if found.quick else (1_000_000, 20)
    folder = found.folder / "page"
    with servers.sink() as sink:
        with servers.relay(folder, [sink.url]):
            pass  # creates the database
        fill.with_delivered(folder / "relay.db", kept)
        with servers.relay(folder, [sink.url], admin=_PASSWORD) as relay:
            operator = _Operator(relay.url)
            for path in _VIEWS:
                if operator.knows(path):
                    spans = [operator.open_s(path) for _ in range(rounds)]
                    value = f"{load.median_ms(spans[1:]):.0f} ms (the first time {spans[0] * 1000:.0f})"
                    found.add(f"GET {path} with {kept} events", value, "< 300 ms")


def watched(found: Figures) -> None:
    """Ingest while somebody has the overview open and Prometheus scrapes, against ingest alone."""
    rounds, seconds = (1, 6) if found.quick else (5, 15)
    with (
        servers.sink() as sink,
        servers.relay(found.folder / "watched", [sink.url], admin=_PASSWORD) as relay,
    ):
        operator = _Operator(relay.url)
        pairs = []
        for _ in range(rounds):
            with _Watching(operator.watch):
                looked_at = notifications.saturate(found, relay.url, seconds)
            pairs.append((looked_at, notifications.saturate(found, relay.url, seconds)))
    found.add_ratio("ingest, the overview open and a scrape every 5 s / alone", pairs, "a second", ">= 0.95")


class _Operator:
    """Somebody who is logged in."""

    def __init__(self, url: str) -> None:
        self._base = "http://" + urlsplit(url).netloc
        self._session = requests.Session()
        form = self._session.get(f"{self._base}/admin/login").text
        token = re.search(r'name="form" value="([^"]+)"', form)
        assert token is not None
        self._session.post(f"{self._base}/admin/login", data={"password": _PASSWORD, "form": token[1]})

    def knows(self, path: str) -> bool:
        return self._session.get(self._base + path).status_code == 200

    def open_s(self, path: str) -> float:
        began = time.perf_counter()
        answer = self._session.get(self._base + path)
        assert answer.status_code == 200, path
        return time.perf_counter() - began

    def watch(self) -> None:
        """The overview as a browser keeps it fresh, and a scrape."""
        for path in ("/admin/", "/metrics"):
            self._session.get(self._base + path)


class _Watching:
    """Looks every 5 s until it is left: as a browser with the overview does, and three times as often as Prometheus."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look, self._over = look, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(5):
            self._look()
