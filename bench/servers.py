"""Starts what is measured, each as processes of its own on loopback, and ends them by their pid."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_SOURCE = """
[storage]
url = "sqlite:///{folder}/relay.db"
{storage}
[sources.trade]
token = "bench"
targets = [{names}]
"""
# call_gap: three events share a call; the baselines send them at once, and what is measured is the relay's own work
_TARGET = """
[targets.{name}]
kind = "1c"
url = "{url}/hs/UIScom"
concurrency = {concurrency}
timeout = "{timeout}"
call_gap = "0s"
"""
_GUNICORN = [sys.executable, "-m", "gunicorn"]


class Server:
    """A running process and where it listens."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process, self.url = process, url

    def pids(self) -> list[int]:
        """The process and its children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def proportional_set_size_mb(self) -> float:
        """Master and workers together: what the machine would gain by their end."""
        rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() for pid in self.pids()]
        sizes = [line for lines in rollups for line in lines if line.startswith("Pss:")]
        return sum(int(line.split()[1]) for line in sizes) / 1024


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(url: str, *, post: bool = False) -> Any:
    with urllib.request.urlopen(url, data=b"" if post else None, timeout=60) as answer:
        return json.load(answer)


@contextmanager
def sink(delay_ms: int = 0) -> Iterator[Server]:
    """A fast target that counts."""
    port = free_port()
    with running([sys.executable, "-m", "bench.sink", str(port), str(delay_ms)], port, {}) as process:
        yield Server(process, f"http://127.0.0.1:{port}")


@contextmanager
def relay(
    folder: Path,
    targets: list[str],
    *,
    concurrency: int = 4,
    timeout: str = "30s",
    admin: str | None = None,
    storage: str = "",
    server_conf: str = "config/gunicorn.conf.py",
    source: str = "",
    **environ: str,
) -> Iterator[Server]:
    """The relay by its own gunicorn configuration, with its database in `folder`. `targets`: their addresses;
    `source`: more lines of the source."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ["onec", *(f"onec{number}" for number in range(2, len(targets) + 1))]
    text = _SOURCE.format(folder=folder, storage=storage, names=", ".join(f'"{name}"' for name in names))
    text += source
    for name, url in zip(names, targets, strict=True):
        text += _TARGET.format(name=name, url=url, concurrency=concurrency, timeout=timeout)
    if admin is not None:
        text += f'[admin]\npassword = "{admin}"\n'
    config = folder / "relay.toml"
    config.write_text(text, encoding="utf-8")
    port = free_port()
    command = [*_GUNICORN, "-c", server_conf, "wsgi:app"]
    with running(command, port, {"RELAY_CONFIG": str(config), "PORT": str(port), **environ}) as process:
        yield Server(process, f"http://127.0.0.1:{port}/trade/hs/UIScom/rec?token=bench")


@contextmanager
def worker(folder: Path) -> Iterator[None]:
    """`relay work` on the configuration of a relay in `folder`."""
    environ = {"RELAY_CONFIG": str(folder / "relay.toml")}
    with running([sys.executable, "-m", "relay", "work"], None, environ):
        yield


@contextmanager
def baseline(app: str, *, module: str = "bench.baselines", **environ: str) -> Iterator[Server]:
    """A Flask app on the same gunicorn: one worker, gthread, 16 threads."""
    port = free_port()
    command = [
        *_GUNICORN,
        "-k",
        "gthread",
        "-w",
        "1",
        "--threads",
        "16",
        "-b",
        f"127.0.0.1:{port}",
        f"{module}:{app}",
    ]
    with running(command, port, environ) as process:
        yield Server(process, f"http://127.0.0.1:{port}/trade")


@contextmanager
def running(command: list[str], port: int | None, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environ}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        if port is not None:
            _wait_for(port, process)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when the server answers; a relay says by 503 that it is not ready, the others know no such address."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10).close()
            return
        except urllib.error.HTTPError as exc:
            if exc.code != HTTPStatus.SERVICE_UNAVAILABLE:
                return
        except OSError:  # nobody listens yet
            pass
        time.sleep(0.05)
    raise RuntimeError("a server did not start; run it by hand to see why")
