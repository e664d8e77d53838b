"""What the relay is measured against: Flask on the same gunicorn that keeps nothing."""

from __future__ import annotations

import os
import threading

import requests
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue

silent = Flask("silent")
forwarding = Flask("forwarding")
_threads = threading.local()


@silent.post("/<path:path>")
def swallow(path: str) -> ResponseReturnValue:  # noqa: ARG001  any path will do
    """Reads the body and answers what the relay answers; stores nothing."""
    request.get_data()
    return jsonify(status="accepted", event="01a2081f-e110-7c12-a1ff-38b3d96d3474", kind="finished")


@forwarding.post("/<path:path>")
def forward(path: str) -> ResponseReturnValue:  # noqa: ARG001  any path will do
    """Posts to the target before it answers; stores nothing."""
    if not hasattr(_threads, "session"):
        _threads.session = requests.Session()
    _threads.session.post(os.environ["BENCH_TARGET"], data=request.get_data(), timeout=30)
    return jsonify(status="accepted")
