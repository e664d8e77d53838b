"""How the relay does with much in its store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bench import deliveries, fill, load, notifications, servers
from bench.figures import Figures


def memory(found: Figures) -> None:
    """Proportional set size of master and worker: idle, with a backlog, and after it was delivered."""
    count = 2_000 if found.quick else 100_000
    with servers.sink() as sink, servers.relay(found.folder / "memory", [sink.url]) as relay:
        found.add("memory, idle", f"{relay.proportional_set_size_mb():.0f} MB", "< 110 MB")
        servers.call(f"{sink.url}/_hold", post=True)
        load.post_all(relay.url, found.next_numbers(count), count)
        found.add(f"memory, {count} deliveries waiting", f"{relay.proportional_set_size_mb():.0f} MB", "<= 150 MB")
        servers.call(f"{sink.url}/_release", post=True)
        deliveries.wait_for(sink, count, 600)
        found.add(f"memory, {count} delivered", f"{relay.proportional_set_size_mb():.0f} MB", "<= 150 MB")


def million(found: Figures) -> None:
    """The same relay on an empty file and on one with a million delivered events."""
    kept, count, seconds, rounds = (20_000, 500, 2, 1) if found.quick else (1_000_000, 10_000, 5, 3)
    empty, full = found.folder / "empty", found.folder / "full"
    with servers.sink() as sink:
        with servers.relay(full, [sink.url]):
            pass  # creates the database
        fill.with_delivered(full / "relay.db", kept)
        with servers.relay(empty, [sink.url]) as fresh, servers.relay(full, [sink.url]) as grown:
            taken = [
                (notifications.saturate(found, grown.url, seconds), notifications.saturate(found, fresh.url, seconds))
                for _ in range(rounds)
            ]
            drains = [
                (deliveries.drained(found, sink, grown, count), deliveries.drained(found, sink, fresh, count))
                for _ in range(rounds)
            ]
            found.add_ratio(f"ingest, {kept} delivered events in the file / empty", taken, "a second", ">= 0.9")
            found.add_ratio(f"drain, {kept} delivered events in the file / empty", drains, "a second", ">= 0.9")
            for command in ("status", "dead"):
                took, start = _command_s(full, command), _command_s(full, "--version")
                value = f"{took:.2f} s (of it {start:.2f} to start Python)"
                found.add(f"relay {command} with {kept} events", value, "< 1 s")


def _command_s(folder: Path, command: str) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "relay", command],
        cwd=servers.ROOT,
        check=True,
        capture_output=True,
        env={**os.environ, "RELAY_CONFIG": str(folder / "relay.toml")},
    )
    return time.perf_counter() - began
