"""`python -m bench [ingest|one|memory|latency|drain|all] [--quick]`: prints the machine and a table of figures."""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import load, servers


class Figures:
    """Measured so far; `number` counts up, so that no two bodies are alike."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder, self.quick = folder, quick
        self.number = 1
        self.rows: list[tuple[str, str, str]] = []

    def next_numbers(self, count: int) -> int:
        first, self.number = self.number, self.number + count
        return first

    def add(self, figure: str, value: str, bar: str) -> None:
        self.rows.append((figure, value, bar))
        print(f"{figure:72} {value:>28}   {bar}", flush=True)


def ingest(found: Figures) -> None:
    """Requests a second, against the same gunicorn and Flask endpoint storing nothing."""
    rounds, seconds = (2, 2) if found.quick else (5, 5)
    for dispatch in ("off", "on"):
        with (
            servers.sink() as sink,
            servers.relay(found.folder / f"ingest-{dispatch}", sink.url, RELAY_DISPATCH=dispatch) as relay,
            servers.baseline("silent") as silent,
        ):
            pairs = [[_saturate(found, url, seconds) for url in (relay.url, silent.url)] for _ in range(rounds)]
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        bar = ">= 0.75" if dispatch == "off" else "delivering meanwhile"
        value = f"{ratio:.2f} ({ours:.0f}/{theirs:.0f} a second)"
        found.add(f"ingest, durable / storing nothing, dispatch {dispatch}", value, bar)


def _saturate(found: Figures, url: str, seconds: float) -> float:
    return load.saturate(url, found.folder, found.next_numbers(1_000_000), seconds)


def one(found: Figures) -> None:
    """What the relay adds to a single request, at the median."""
    count = 60 if found.quick else 200
    with (
        servers.sink() as sink,
        servers.relay(found.folder / "one", sink.url) as relay,
        servers.baseline("silent") as silent,
    ):
        added = []
        for _ in range(2 if found.quick else 5):
            ours, theirs = (_answer_ms(found, url, count) for url in (relay.url, silent.url))
            added.append(ours - theirs)
    found.add("one request at a time, added at the median", f"{statistics.median(added):.2f} ms", "<= 1.5 ms")


def _answer_ms(found: Figures, url: str, count: int) -> float:
    answered = load.one_at_a_time(url, found.next_numbers(count), count, 50)
    return load.median_ms([done - sent for _, sent, done in answered])


def memory(found: Figures) -> None:
    """Proportional set size of master and worker, idle and after many events."""
    count = 5_000 if found.quick else 100_000
    with servers.sink() as sink, servers.relay(found.folder / "memory", sink.url) as relay:
        found.add("memory, idle", f"{relay.proportional_set_size_mb():.0f} MB", "< 110 MB")
        load.post_all(relay.url, found.next_numbers(count), count)
        _wait_until(lambda: servers.call(f"{sink.url}/_stats")["distinct"] >= count, 300)
        found.add(f"memory, {count} events delivered", f"{relay.proportional_set_size_mb():.0f} MB", "< 130 MB")


def latency(found: Figures) -> None:
    """From the POST to the request at the target, 20 a second, against Flask that posts before it answers."""
    count = 60 if found.quick else 200
    with (
        servers.sink() as sink,
        servers.relay(found.folder / "latency", sink.url) as relay,
        servers.baseline("forwarding", BENCH_TARGET=f"{sink.url}/direct") as direct,
    ):
        medians = [_post_to_target(found, sink, server.url, count) for server in (relay, direct)]
    value = f"{medians[0] / medians[1]:.2f} ({medians[0]:.1f} / {medians[1]:.1f} ms)"
    found.add("POST -> request at the target, relay / Flask that stores nothing", value, "no bar yet")


def _post_to_target(found: Figures, sink: servers.Server, url: str, count: int) -> float:
    servers.call(f"{sink.url}/_reset", post=True)
    sent = load.one_at_a_time(url, found.next_numbers(count), count, 20)
    _wait_until(lambda: servers.call(f"{sink.url}/_stats")["distinct"] >= count, 30)
    times = servers.call(f"{sink.url}/_times")["times"]
    return load.median_ms([times[mark] - at for mark, at, _ in sent])


def drain(found: Figures) -> None:
    """A backlog that waits in the store, delivered to a fast target."""
    count = 500 if found.quick else 5_000
    with servers.sink() as sink, servers.relay(found.folder / "drain", sink.url) as relay:
        servers.call(f"{sink.url}/_hold", post=True)
        load.post_all(relay.url, found.next_numbers(count), count)
        released = servers.call(f"{sink.url}/_release", post=True)["now"]
        _wait_until(lambda: servers.call(f"{sink.url}/_stats")["distinct"] >= count, 120)
        last = max(servers.call(f"{sink.url}/_times")["times"].values())
    found.add(
        f"draining {count} stored events, 4 in parallel", f"{count / (last - released):.0f} a second", "no bar yet"
    )


def _wait_until(reached: Callable[[], bool], within_s: float) -> None:
    ends = time.monotonic() + within_s
    while not reached():
        if time.monotonic() > ends:
            raise SystemExit(f"not within {within_s} s")
        time.sleep(0.05)


FIGURES: dict[str, Callable[[Figures], None]] = {
    "ingest": ingest, "one": one, "memory": memory, "latency": latency, "drain": drain,
}  # fmt: skip


def _fsync_ms(folder: Path) -> float:
    spans = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            spans.append(time.perf_counter() - began)
    return load.median_ms(spans)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("figure", nargs="?", default="all", choices=["all", *FIGURES])
    parser.add_argument("--quick", action="store_true", help="a short form: says that it works, not how fast")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as name:
        folder = Path(name)
        print(
            f"{os.cpu_count()} cores, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
            f"fsync {_fsync_ms(folder):.2f} ms{'; a quick run' if wanted.quick else ''}"
        )
        found = Figures(folder, quick=wanted.quick)
        for figure, measure in FIGURES.items():
            if wanted.figure in ("all", figure):
                measure(found)


if __name__ == "__main__":
    main()
