"""Flask + huey: a notification goes into a queue in SQLite, four threads post it. Needs `pip install huey`."""

from __future__ import annotations

import os
import threading

import requests
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from huey import SqliteHuey  # type: ignore[import-not-found]  # installed only for this comparison

queue = SqliteHuey(filename=os.environ["BENCH_QUEUE"], fsync=True)
app = Flask("queued")
_threads = threading.local()


@queue.task(retries=10, retry_delay=5)  # type: ignore[untyped-decorator]  # huey has no types
def deliver(body: bytes) -> None:
    if not hasattr(_threads, "session"):
        _threads.session = requests.Session()
    _threads.session.post(os.environ["BENCH_TARGET"], data=body, timeout=30).raise_for_status()


@app.post("/<path:path>")
def take(path: str) -> ResponseReturnValue:  # noqa: ARG001  any path will do
    deliver(request.get_data())
    return jsonify(status="accepted")
