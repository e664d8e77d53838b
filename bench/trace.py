"""`python -m bench.trace`: prints the files of `relay/` that one notification enters, from the POST to the outcome.

The relay runs as it is shipped, gunicorn included. A first notification opens connections and compiles statements;
the second is the one that counts. Functions that a thread enters count, not what was imported at the start; nor
threads that run without any notification (the dispatcher renews leases, housekeeping, alerts).
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import load, servers
from bench.figures import wait_until

_IDLE_THREADS = ("dispatcher", "housekeeping", "alerts", "pinning")
_REST_S = 0.3  # a thread that has recorded an outcome returns to where it waits


class Entry(NamedTuple):
    """The first function of a file that was entered."""

    file: str
    function: str
    thread: str


def trace() -> list[Entry]:
    """Run a relay, post a notification and return the files that it enters, in order."""
    with tempfile.TemporaryDirectory(prefix="relay-trace-") as name, servers.sink() as sink:
        folder = Path(name)
        calls = folder / "calls.json"
        with servers.relay(folder, [sink.url], server_conf="bench/trace_conf.py", BENCH_CALLS_FILE=str(calls)) as relay:
            _deliver(relay, folder, 1)
            began = time.monotonic()
            _deliver(relay, folder, 2)
            ended = time.monotonic()
        return list(_entries(calls, began, ended))


def _deliver(relay: servers.Server, folder: Path, number: int) -> None:
    """Post notification `number` and wait until its delivery stands as delivered on disk."""
    load.one_at_a_time(relay.url, number * 3, 1, 1)
    wait_until(lambda: _delivered(folder / "relay.db") == number, 20)
    time.sleep(_REST_S)


def _delivered(database: Path) -> int:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM deliveries WHERE state = 'delivered'").fetchone()[0])
    finally:
        connection.close()


def _entries(calls: Path, began: float, ended: float) -> Iterator[Entry]:
    seen = set()
    for at, thread, file, function in json.loads(calls.read_text(encoding="utf-8")):
        if began <= at <= ended and not thread.startswith(_IDLE_THREADS) and file not in seen:
            seen.add(file)
            yield Entry(file, function, thread)


def main() -> None:
    entries = trace()
    for number, entry in enumerate(entries, 1):
        print(f"{number:3} {entry.file:40} {entry.function:28} {entry.thread}")


if __name__ == "__main__":
    main()
