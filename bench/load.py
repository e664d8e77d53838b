"""Load on a loopback address: as fast as it is taken, or one request at a time."""

from __future__ import annotations

import http.client
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from bench import bodies

CONNECTIONS = 32


def saturate(url: str, folder: Path, first: int, seconds: float) -> float:
    """Requests a second of a closed loop of 32 connections. Needs wrk (Debian's package)."""
    _expect_loopback(url)
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is needed for this figure: apt-get install wrk")
    script = bodies.write_wrk_script(folder, first)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "--timeout", "20s", "-s", str(script), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True)
    requests, microseconds, errors = next(
        map(int, line.split()[1:]) for line in done.stdout.splitlines() if line.startswith("RESULT")
    )
    if errors:
        raise SystemExit(f"{errors} of {requests} requests failed: the figure would mean nothing")
    return requests / microseconds * 1e6


def one_at_a_time(url: str, first: int, count: int, rate: float) -> list[tuple[str, float, float]]:
    """(mark, sent at, answered at) of each; one connection, `rate` a second."""
    _expect_loopback(url)
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    path = f"{parts.path}?{parts.query}"
    began, found = time.monotonic(), []
    for number in range(count):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        body = bodies.body(first + number)
        sent = time.monotonic()
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        connection.getresponse().read()
        found.append((f"ev-{first + number}", sent, time.monotonic()))
    connection.close()
    return found


def post_all(url: str, first: int, count: int, threads: int = 8) -> None:
    """Posts so many events from several connections, as fast as they are taken."""
    _expect_loopback(url)
    numbers, mutex = iter(range(first, first + count)), threading.Lock()
    workers = [threading.Thread(target=_post_some, args=(url, numbers, mutex)) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _post_some(url: str, numbers: Iterator[int], mutex: threading.Lock) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    while True:
        with mutex:
            number = next(numbers, None)
        if number is None:
            connection.close()
            return
        connection.request("POST", f"{parts.path}?{parts.query}", bodies.body(number))
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"a post was answered {answer.status}")


def until_answered(url: str, within_s: float = 30) -> None:
    """Until the server answers at all."""
    ends = time.monotonic() + within_s
    while time.monotonic() < ends:
        try:
            one_at_a_time(f"{url}?", 0, 1, 100)
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{url} does not answer")


def median_ms(spans: list[float]) -> float:
    return statistics.median(spans) * 1000


def _expect_loopback(url: str) -> None:
    if urlsplit(url).hostname != "127.0.0.1":
        raise SystemExit("the load goes to 127.0.0.1 only")
