"""The relay on PostgreSQL against the relay on SQLite: one process each, and several on PostgreSQL.

The server runs here too, with fsync, and wants a core of its own: on two cores it takes turns with the relay.
"""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Iterator
from pathlib import Path

from bench import deliveries, notifications, servers
from bench.figures import Figures
from bench.servers import Server
from tests.postgres import Postgres, programs, running

_TICKS = os.sysconf("SC_CLK_TCK")


def postgres(found: Figures) -> None:
    """Taking notifications, and one at a time; and what processor time both sides use for one."""
    rounds, seconds = (2, 2) if found.quick else (5, 5)
    with _server() as server, servers.sink() as sink:
        for dispatch in ("off", "on"):
            name, url = f"engines-{dispatch}", _database(server)
            with (
                servers.relay(
                    found.folder / f"{name}-p", [sink.url], RELAY_DISPATCH=dispatch, DATABASE_URL=url
                ) as ours,
                servers.relay(found.folder / name, [sink.url], RELAY_DISPATCH=dispatch) as file,
            ):
                pairs, costs = [], []
                for _ in range(rounds):
                    before = _processor_s(ours), _server_s(server)
                    rate = notifications.saturate(found, ours.url, seconds)
                    used = _processor_s(ours) - before[0], _server_s(server) - before[1]
                    costs.append([1000 * spent_s / (rate * seconds) for spent_s in used])
                    pairs.append((rate, notifications.saturate(found, file.url, seconds)))
            bar = ">= 0.9" if dispatch == "off" else "delivering meanwhile"
            found.add_ratio(f"ingest, PostgreSQL / SQLite, dispatch {dispatch}", pairs, "a second", bar)
            relay_ms, server_ms = (statistics.median(column) for column in zip(*costs, strict=True))
            found.add("processor time a notification, relay + server", f"{relay_ms:.2f} + {server_ms:.2f} ms")
        _one(found, sink, _database(server))


def _one(found: Figures, sink: Server, url: str) -> None:
    count, rounds = (60, 1) if found.quick else (200, 3)
    with (
        servers.relay(found.folder / "one-p", [sink.url], DATABASE_URL=url) as ours,
        servers.relay(found.folder / "one-s", [sink.url]) as file,
    ):
        pairs = [
            (notifications.answer_ms(found, ours.url, count), notifications.answer_ms(found, file.url, count))
            for _ in range(rounds)
        ]
    found.add_ratio("one request at a time, PostgreSQL / SQLite", pairs, "ms", "")


def processes(found: Figures) -> None:
    """1, 2 and 4 processes on PostgreSQL against one on SQLite: only taken, and taken and delivered to one target."""
    rounds, seconds = (1, 2) if found.quick else (3, 5)
    for dispatch in ("off", "on"):
        rates: dict[int, list[tuple[float, float]]] = {}
        with _server() as server, servers.sink() as sink:
            for number in range(rounds):
                for count in (1, 2, 4):
                    folder = found.folder / f"processes-{dispatch}-{number}-{count}"  # both begin with nothing
                    with (
                        servers.relay(
                            folder / "ours",
                            [sink.url],
                            RELAY_DISPATCH=dispatch,
                            DATABASE_URL=_database(server),
                            WEB_CONCURRENCY=str(count),
                        ) as ours,
                        servers.relay(folder / "file", [sink.url], RELAY_DISPATCH=dispatch) as file,
                    ):
                        pair = [_rate(found, sink, relay, seconds, dispatch) for relay in (ours, file)]
                    rates.setdefault(count, []).append((pair[0], pair[1]))
        what = "taken" if dispatch == "off" else "taken and delivered to one target"
        for count, pairs in rates.items():
            found.add_ratio(f"{what}, {count} on PostgreSQL / one on SQLite", pairs, "a second", "")


def _rate(found: Figures, sink: Server, relay: Server, seconds: float, dispatch: str) -> float:
    if dispatch == "off":
        return notifications.saturate(found, relay.url, seconds)
    return deliveries.sustained_rate(found, sink, relay.url, seconds)


@contextlib.contextmanager
def _server() -> Iterator[Postgres]:
    """A server that flushes to the disk and keeps its tables, as one in service does."""
    if programs() is None:
        raise SystemExit("PostgreSQL is needed for this figure: apt-get install postgresql")
    server = Postgres(flushes=True, autovacuum="on", shared_buffers="128MB")
    with running(server):
        yield server


def _database(server: Postgres) -> str:
    """Return the address of a new database: what a relay before has left to be delivered is not this one's."""
    return server.url(server.create_database())


def _processor_s(relay: Server) -> float:
    return sum(map(_used_s, relay.pids()))


def _server_s(server: Postgres) -> float:
    assert server.child is not None
    pid = server.child.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(_used_s, map(int, children)))


def _used_s(pid: int) -> float:
    """Processor time of a process so far; 0 of one that has just ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS
