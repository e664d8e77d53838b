"""Other relays beside ours, when they are installed: Flask + huey (`pip install huey`) and Node-RED (`npm -g`).

So that the table compares like with like, each row says who stores a notification before it answers.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import deliveries, load, servers
from bench.figures import Figures
from bench.servers import Server


def others(found: Figures) -> None:
    with servers.sink() as sink:
        with servers.relay(found.folder / "ours", [sink.url]) as relay:
            _measure(found, "the relay (stores, then answers)", sink, relay)
        with servers.baseline("forwarding", BENCH_TARGET=f"{sink.url}/direct") as direct:
            _measure(found, "Flask that posts before it answers (stores nothing)", sink, direct)
        if importlib.util.find_spec("huey") is None:
            found.add("Flask + huey", "not installed: pip install huey")
        else:
            with _huey(found.folder / "huey", sink) as queue:
                _measure(found, "Flask + huey, SQLite, fsync (stores, then answers)", sink, queue)
        if shutil.which("node-red") is None:
            found.add("Node-RED", "not installed: npm install -g node-red")
        else:
            with _node_red(found.folder / "node-red", sink) as red:
                _measure(found, "Node-RED (stores nothing)", sink, red)


def _measure(found: Figures, name: str, sink: Server, relay: Server) -> None:
    count, seconds = (60, 3) if found.quick else (200, 10)
    soon = deliveries.post_to_target_ms(found, sink, relay.url, count)
    rate = deliveries.sustained_rate(found, sink, relay.url, seconds)
    size = relay.proportional_set_size_mb()
    found.add(name, f"{soon:.1f} ms, {rate:.0f}/s, {size:.0f} MB", "POST -> target, sustained, memory")


@contextmanager
def _huey(folder: Path, sink: Server) -> Iterator[Server]:
    folder.mkdir()
    environ = {"BENCH_TARGET": f"{sink.url}/direct", "BENCH_QUEUE": str(folder / "huey.db")}
    consumer = [sys.executable, "-m", "huey.bin.huey_consumer", "bench.queued.queue", "-w", "4", "-k", "thread"]
    with servers.baseline("app", module="bench.queued", **environ) as web, servers.running(consumer, None, environ):
        yield web


@contextmanager
def _node_red(folder: Path, sink: Server) -> Iterator[Server]:
    """http in -> http request -> http response."""
    folder.mkdir()
    port = servers.free_port()
    nodes = [
        {"id": "tab", "type": "tab", "label": "relay"},
        {"id": "in", "z": "tab", "type": "http in", "url": "/trade", "method": "post", "wires": [["ask"]]},
        {
            "id": "ask",
            "z": "tab",
            "type": "http request",
            "method": "POST",
            "ret": "txt",
            "paytoqs": "ignore",
            "url": f"{sink.url}/direct",
            "persist": True,
            "wires": [["out"]],
        },
        {"id": "out", "z": "tab", "type": "http response", "statusCode": "200", "wires": []},
    ]
    (folder / "flows.json").write_text(json.dumps(nodes), encoding="utf-8")
    command = ["node-red", "-u", str(folder), "-p", str(port), "flows.json"]
    with servers.running(command, port, {}) as process:
        url = f"http://127.0.0.1:{port}/trade"
        load.until_answered(url)
        yield Server(process, url)
