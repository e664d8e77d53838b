"""Taking notifications: how many a second, and what one of them waits."""

from __future__ import annotations

import statistics

from bench import load, servers
from bench.figures import Figures


def ingest(found: Figures) -> None:
    """Requests a second, against the same gunicorn and Flask endpoint storing nothing."""
    rounds, seconds = (2, 2) if found.quick else (5, 5)
    for dispatch in ("off", "on"):
        with (
            servers.sink() as sink,
            servers.relay(found.folder / f"ingest-{dispatch}", [sink.url], RELAY_DISPATCH=dispatch) as relay,
            servers.baseline("silent") as silent,
        ):
            pairs = [(saturate(found, relay.url, seconds), saturate(found, silent.url, seconds)) for _ in range(rounds)]
        bar = ">= 0.80" if dispatch == "off" else "delivering meanwhile"
        found.add_ratio(f"ingest, durable / storing nothing, dispatch {dispatch}", pairs, "a second", bar)


def saturate(found: Figures, url: str, seconds: float) -> float:
    return load.saturate(url, found.folder, found.next_numbers(1_000_000), seconds)


def one(found: Figures) -> None:
    """What the relay adds to a single request, at the median."""
    count = 60 if found.quick else 200
    with (
        servers.sink() as sink,
        servers.relay(found.folder / "one", [sink.url]) as relay,
        servers.baseline("silent") as silent,
    ):
        added = []
        for _ in range(2 if found.quick else 5):
            ours, theirs = (answer_ms(found, url, count) for url in (relay.url, silent.url))
            added.append(ours - theirs)
    found.add("one request at a time, added at the median", f"{statistics.median(added):.2f} ms", "<= 0.8 ms")


def answer_ms(found: Figures, url: str, count: int) -> float:
    answered = load.one_at_a_time(url, found.next_numbers(count), count, 50)
    return load.median_ms([done - sent for _, sent, done in answered])
