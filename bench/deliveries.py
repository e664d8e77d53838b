"""Delivering: how soon, how many a second, and what a target that hangs costs the others."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from bench import load, servers
from bench.figures import Figures, wait_until
from bench.servers import Server


def latency(found: Figures) -> None:
    """From the POST to the request at the target, 20 a second, against Flask that posts before it answers."""
    count, rounds = (60, 1) if found.quick else (200, 3)
    with (
        servers.sink() as sink,
        servers.relay(found.folder / "latency", [sink.url]) as relay,
        servers.baseline("forwarding", BENCH_TARGET=f"{sink.url}/direct") as direct,
    ):
        pairs = [
            (post_to_target_ms(found, sink, relay.url, count), post_to_target_ms(found, sink, direct.url, count))
            for _ in range(rounds)
        ]
    found.add_ratio("POST -> request at the target, relay / Flask that stores nothing", pairs, "ms", "<= 1.4")


def post_to_target_ms(found: Figures, sink: Server, url: str, count: int) -> float:
    return load.median_ms(_delays(found, [sink], url, count, 20)[0])


def _delays(found: Figures, sinks: list[Server], url: str, count: int, rate: float) -> list[list[float]]:
    """From the POST to the request, for each of the sinks."""
    for sink in sinks:
        servers.call(f"{sink.url}/_reset", post=True)
    sent = load.one_at_a_time(url, found.next_numbers(count), count, rate)
    delays = []
    for sink in sinks:
        wait_for(sink, count)
        times = servers.call(f"{sink.url}/_times")["times"]
        delays.append([times[mark] - at for mark, at, _ in sent])
    return delays


def wait_for(sink: Server, count: int, within_s: float = 120) -> None:
    wait_until(lambda: servers.call(f"{sink.url}/_stats")["distinct"] >= count, within_s)


def drain(found: Figures) -> None:
    """A backlog that waits in the store, delivered to a fast target; against a bare loop of posts."""
    count, rounds = (500, 1) if found.quick else (10_000, 3)
    with servers.sink() as sink, servers.relay(found.folder / "drain", [sink.url]) as relay:
        pairs = [(drained(found, sink, relay, count), _bare(sink, count)) for _ in range(rounds)]
    found.add_ratio(f"draining {count} events / a bare loop of session.post, 4 threads", pairs, "a second", ">= 1.1")


def drained(found: Figures, sink: Server, relay: Server, count: int) -> float:
    """Deliveries a second of a backlog that was gathered while the target answered nothing."""
    _wait_until_quiet(sink)
    servers.call(f"{sink.url}/_reset", post=True)
    servers.call(f"{sink.url}/_hold", post=True)
    load.post_all(relay.url, found.next_numbers(count), count)
    released = servers.call(f"{sink.url}/_release", post=True)["now"]
    wait_for(sink, count)
    last = max(servers.call(f"{sink.url}/_times")["times"].values())
    return float(count / (last - released))


def exchanges(found: Figures) -> None:
    """What it costs to keep what was sent and answered: the same backlog with and without."""
    count, rounds = (500, 1) if found.quick else (5_000, 6)
    with (
        servers.sink() as sink,
        servers.sink() as other,
        servers.relay(found.folder / "kept", [sink.url]) as kept,
        servers.relay(found.folder / "not-kept", [other.url], storage='keep_payloads = "0d"') as not_kept,
    ):
        pairs = [(drained(found, sink, kept, count), drained(found, other, not_kept, count)) for _ in range(rounds)]
    found.add_ratio("draining, exchanges kept / not kept", pairs, "a second", ">= 0.97")


def _wait_until_quiet(sink: Server) -> None:
    """What an earlier figure has left must not be counted."""
    before = -1
    while (total := servers.call(f"{sink.url}/_stats")["total"]) != before:
        before = total
        time.sleep(1)


def _bare(sink: Server, count: int) -> float:
    servers.call(f"{sink.url}/_reset", post=True)
    command = [sys.executable, "-m", "bench.bare", sink.url, str(count)]
    done = subprocess.run(command, cwd=servers.ROOT, capture_output=True, text=True, check=True, timeout=120)
    return float(done.stdout)


def slow(found: Figures) -> None:
    """A target that takes 20 ms: 16 in parallel make 800 a second at best."""
    count = 500 if found.quick else 5_000
    with (
        servers.sink(delay_ms=20) as sink,
        servers.relay(found.folder / "slow", [sink.url], concurrency=16) as relay,
    ):
        rate = statistics.median(drained(found, sink, relay, count) for _ in range(1 if found.quick else 3))
    found.add("to a target that takes 20 ms, 16 in parallel / 800 a second", f"{rate / 800:.2f} ({rate:.0f})", ">= 0.8")


def sustained(found: Figures) -> None:
    """Posted as fast as taken for 20 s, all delivered: as shipped, and with delivery in a process of its own."""
    seconds, rounds = (4, 1) if found.quick else (20, 2)
    shipped, split = found.folder / "sustained", found.folder / "split"
    with (
        servers.sink() as sink,
        servers.relay(shipped, [sink.url]) as relay,
        servers.relay(split, [sink.url], RELAY_DISPATCH="off") as web,
        servers.worker(split),
        servers.baseline("forwarding", BENCH_TARGET=f"{sink.url}/direct") as direct,
    ):
        rates = [
            [sustained_rate(found, sink, server.url, seconds) for server in (relay, web, direct)] for _ in range(rounds)
        ]
    pairs = [(ours, theirs) for ours, _, theirs in rates]
    found.add_ratio("sustained, all delivered / Flask that stores nothing", pairs, "a second", ">= 1.3")
    pairs = [(ours, theirs) for _, ours, theirs in rates]
    found.add_ratio("the same, `relay work` beside the web server", pairs, "a second", ">= 2.0")


def sustained_rate(found: Figures, sink: Server, url: str, seconds: float) -> float:
    servers.call(f"{sink.url}/_reset", post=True)
    began = time.monotonic()
    taken = round(load.saturate(url, found.folder, found.next_numbers(1_000_000), seconds) * seconds)
    wait_for(sink, int(taken * 0.999), 300)  # wrk leaves up to 32 unanswered at its end
    return taken / (time.monotonic() - began)


def hanging(found: Figures) -> None:
    """Two healthy targets, with and without a third one that never answers."""
    count = 100 if found.quick else 600
    spans: dict[str, list[float]] = {}
    with servers.sink() as one, servers.sink() as two, servers.sink() as ill:
        servers.call(f"{ill.url}/_hold", post=True)
        with (
            servers.relay(found.folder / "well", [one.url, two.url]) as well,
            servers.relay(found.folder / "hanging", [one.url, two.url, ill.url], timeout="5s") as with_ill,
        ):
            for _ in range(1 if found.quick else 3):
                for name, relay in (("well", well), ("hanging", with_ill)):
                    delays = _delays(found, [one, two], relay.url, count, 20)
                    spans.setdefault(name, []).extend(delay for both in delays for delay in both)
        servers.call(f"{ill.url}/_release", post=True)
    for name, part in (("median", 0.5), ("99th percentile", 0.99)):
        pair = _quantile_ms(spans["hanging"], part), _quantile_ms(spans["well"], part)
        found.add_ratio(f"{name} of two targets beside one that hangs / without it", [pair], "ms", "<= 1.2")


def _quantile_ms(spans: list[float], part: float) -> float:
    return sorted(spans)[int(len(spans) * part)] * 1000
